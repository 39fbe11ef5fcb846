"""A typed line to what it asks for: an intent, a local action, or a sentence saying what is wrong; pure.

Nothing that looks like a command is ever posted: an unknown `/x` is an error, ` /x` (a blank in front) is asked
about, and `//x` is how to post `/x`. The same holds for `@nick text`, which is private; `@@x` posts `@x`. A text
that begins with "/me " is an action wherever it is shown, so that `//me waves` does the same as `/me waves`.
"""

import unicodedata
from dataclasses import dataclass

from peer import intents
from ui import commands, options
from wire import limits, names

HISTORY_COUNT_MAX = limits.FETCH_ENTRIES_MAX
_SEQ_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ShowHelp:
    """Show these lines; nobody else is concerned."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShowKeys:
    """Show what the keys do."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Tell `text` to who told us something in private last."""

    text: str


@dataclass(frozen=True, slots=True)
class ShowTopic:
    """Show what the room is about."""


@dataclass(frozen=True, slots=True)
class Ignore:
    """Do not show what `nick` says, or, if so already, show it again; None: list whom we ignore."""

    nick: str | None


@dataclass(frozen=True, slots=True)
class Export:
    """Write the messages to a new file: as JSON lines when the name ends in ".jsonl", otherwise as text."""

    path: str


@dataclass(frozen=True, slots=True)
class ShowQueue:
    """List own texts without an outcome."""


@dataclass(frozen=True, slots=True)
class Clear:
    """Empty the screen."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the page of the private talk that is shown."""


@dataclass(frozen=True, slots=True)
class Set:
    """Give a setting another value; without one show it, without a name all. Both were checked: `ui.options`."""

    name: str | None
    value: str | None


@dataclass(frozen=True, slots=True)
class Problem:
    """The line cannot be done; the sentence says why, and what would do."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """A blank line."""


Local = ShowHelp | ShowKeys | Reply | ShowTopic | Ignore | Export | ShowQueue | Clear | Close | Set
Parsed = intents.UserIntent | Local | Problem | Nothing


def parse(line: str) -> Parsed:
    """What a typed line (or a pasted run of lines) asks for; never raises."""
    text = line.rstrip("\r\n")
    bare = text.lstrip(_leading(text))
    if not bare.strip():
        return Nothing()
    if any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        return Problem("This line is not proper text (UTF-8), so it was not sent.")
    if bare.startswith("//"):
        return _say(bare[1:])
    if bare.startswith("@@"):
        return _say(bare[1:])
    if bare[0] == "/":
        return _command(text) if text[0] == "/" else _guarded("/", bare)
    if bare[0] == "@":
        return _private(text) if text[0] == "@" else _guarded("@", bare)
    return _say(text)


def _leading(text: str) -> str:
    """The characters at the start of `text` that are not seen: blanks, and those without a shape."""
    unseen = []
    for char in text:
        if not char.isspace() and unicodedata.category(char) not in ("Cc", "Cf"):
            break
        unseen.append(char)
    return "".join(unseen)


def _guarded(mark: str, bare: str) -> Problem:
    word = bare.split()[0][:40]
    return Problem(
        f"Not sent: there is a blank in front of {word}. Take it away for the command,"
        f" or type {mark}{word} … to post it as text."
    )


def _say(text: str) -> Parsed:
    return _measured(text) or intents.Say(text)


def _measured(text: str) -> Problem | None:
    size_bytes = len(text.encode())
    if size_bytes > limits.TEXT_BYTES_MAX:
        return Problem(
            f"Not sent: a text has at most {limits.TEXT_BYTES_MAX:,} bytes, this one has {size_bytes:,}."
            " Send it in parts."
        )
    return None


def _private(text: str) -> Parsed:
    """`@nick text`; a comma or colon after the nick is not part of it."""
    word, _, rest = text[1:].partition(" ")
    return _tell(word.rstrip(":,"), rest.strip(), f"To post a text that begins with @, type @{text[:20].strip()} …")


def _tell(nick: str, text: str, otherwise: str) -> Parsed:
    try:
        to = names.check_nick(nick)
    except ValueError as error:
        return Problem(f"Not sent: whom is this for? {str(error)[:1].upper()}{str(error)[1:]}. {otherwise}".strip())
    if not text:
        return Problem(f"Not sent: what should {to} be told? Type /msg {to} and the text. {otherwise}".strip())
    return _measured(text) or intents.Tell(to, text)


def _command(text: str) -> Parsed:
    word, *rest = text[1:].split(maxsplit=1) if text[1:2].strip() else [""]
    if not word:
        return Problem("A command is a word right after the slash; /help lists them.")
    command = commands.find(word[:100])
    if isinstance(command, commands.NoCommand):
        return Problem(
            f"Not sent: {command.sentence[0].lower()}{command.sentence[1:]} To post it as text, begin with //."
        )
    return _build(command, rest[0].strip() if rest else "")


def _build(command: commands.SlashCommand, rest: str) -> Parsed:
    """What a known command asks for with `rest` as what was typed after it."""
    if not rest and command.name in _NEEDS_MORE:
        return _usage(command)
    match command.name:
        case "help":
            return _help(rest)
        case "msg":
            nick, *text = rest.split(maxsplit=1)
            return _tell(nick.removeprefix("@"), text[0] if text else "", "")
        case "reply":
            return _measured(rest) or Reply(rest)
        case "me":
            return _say(f"/me {rest}")
        case "away":
            return _away(rest)
        case "topic":
            return _topic(rest)
        case "history":
            return _history(command, rest.split())
        case "search":
            return _search(rest)
        case "export":
            return Export(rest)
        case "set":
            return _set(rest)
        case "queue":
            return _queue(command, rest.split())
        case "nick" | "ignore" | "handover":
            return _named(command, rest)
        case _:
            return _bare(command, rest)


_NEEDS_MORE = ("msg", "reply", "me", "nick", "search", "export")


def _bare(command: commands.SlashCommand, rest: str) -> Parsed:
    """The commands that take nothing after their name."""
    if rest:
        return Problem(f"/{command.name} takes nothing after it.")
    match command.name:
        case "who":
            return intents.AskWho()
        case "back":
            return intents.GoAway(None)
        case "clear":
            return Clear()
        case "close":
            return Close()
        case "status":
            return intents.AskStatus()
        case _:
            return intents.Quit()


def _named(command: commands.SlashCommand, rest: str) -> Parsed:
    """The commands that take a nick, or nothing."""
    try:
        nick = names.check_nick(rest.removeprefix("@")) if rest else None
    except ValueError as error:
        return Problem(f"{str(error)[:1].upper()}{str(error)[1:]}.")
    match command.name:
        case "nick":
            return intents.ChangeNick(nick or "")
        case "ignore":
            return Ignore(nick)
        case _:
            return intents.AskHandover(nick)


def _usage(command: commands.SlashCommand) -> Problem:
    return Problem(f"Usage: {command.usage}, for example {command.example}")


_HINT = "The first letters are enough, and Tab completes; /help keys tells the keys."


def _help(rest: str) -> Parsed:
    if not rest:
        return ShowHelp((*commands.overview(), _HINT))
    if rest.lower() in commands.HELP_TOPICS:
        return ShowKeys()
    command = commands.find(rest.split()[0].removeprefix("/")[:100])
    if isinstance(command, commands.NoCommand):
        return Problem(command.sentence)
    return ShowHelp(tuple(commands.explanation(command)))


def _away(rest: str) -> Parsed:
    if len(rest) > limits.AWAY_CHARS_MAX:
        return Problem(f"A reason has at most {limits.AWAY_CHARS_MAX} characters, this one has {len(rest)}.")
    return intents.GoAway(rest)


def _topic(rest: str) -> Parsed:
    if not rest:
        return ShowTopic()
    topic = "" if rest == "-" else " ".join(rest.split())
    if len(topic) > limits.ROOM_TOPIC_CHARS_MAX:
        return Problem(f"A topic has at most {limits.ROOM_TOPIC_CHARS_MAX} characters, this one has {len(topic)}.")
    return intents.SetTopic(topic)


def _history(command: commands.SlashCommand, words: list[str]) -> Parsed:
    if len(words) > 2 or not all(word.isascii() and word.isdigit() and len(word) < 20 for word in words):
        return _usage(command)
    count, before, *_ = [*map(int, words), *(50, 0)[len(words) :]]
    if not 1 <= count <= HISTORY_COUNT_MAX:
        return Problem(f"/history shows 1 to {HISTORY_COUNT_MAX} messages at once.")
    if before > _SEQ_MAX:
        return Problem("There is no message with so high a number.")
    return intents.AskHistory(before, count)


def _queue(command: commands.SlashCommand, words: list[str]) -> Parsed:
    match [word.lower() for word in words]:
        case []:
            return ShowQueue()
        case ["drop"]:
            return intents.DropPosts()
        case ["drop", number] if number.isascii() and number.isdigit() and len(number) < 20:
            return intents.DropPosts(int(number))
        case _:
            return _usage(command)


def _search(rest: str) -> Parsed:
    if len(rest) > limits.QUERY_CHARS_MAX:
        return Problem(f"A search has at most {limits.QUERY_CHARS_MAX} characters, this one has {len(rest)}.")
    return intents.AskSearch(rest)


def _set(rest: str) -> Parsed:
    """`/set theme dark`, and `/set theme=dark` as well."""
    name, *value = rest.replace("=", " ", 1).split(maxsplit=1) or [""]
    try:
        if not name:
            return Set(None, None)
        option = options.setting(name)
        if not value:
            return Set(option.key, None)
        options.check_setting(option.key, value[0])
        return Set(option.key, value[0])
    except ValueError as error:
        return Problem(str(error))
