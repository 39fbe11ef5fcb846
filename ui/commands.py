"""The table of slash commands: what the parser knows, and what help, completion and manual say; pure."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ui import options

# What a file name that is half typed could become: each begins with what was typed, folders end in "/".
Files = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class SlashCommand:
    """One command. `short` are further names it goes by; `example` is a line one could type; `more` explains.

    `takes` is what Tab offers after it: "text" (nicks, too), "nick", "command", "setting", "file", or nothing.
    `is_listed`: it has a line of its own in `/help`, which is to fit a screen of 24 rows.
    """

    name: str
    usage: str
    example: str
    help: str
    short: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    takes: str = ""
    is_listed: bool = True


COMMANDS: tuple[SlashCommand, ...] = (
    SlashCommand(
        "help",
        "/help [COMMAND]",
        "/help msg",
        "list the commands, or explain one",
        ("h", "?"),
        ("/help keys tells what the keys do.",),
        "command",
        is_listed=False,
    ),
    SlashCommand(
        "msg",
        "/msg NICK TEXT",
        "/msg ana see you at ten",
        "tell NICK something in private; or: @NICK TEXT",
        ("m", "tell"),
        ("The talk has a page of its own; /close closes it.",),
        "text",
    ),
    SlashCommand(
        "reply",
        "/reply TEXT",
        "/reply I am on my way",
        "answer who told you something in private last",
        ("r",),
        ("In private, as /msg does.",),
        "text",
    ),
    SlashCommand(
        "me",
        "/me TEXT",
        "/me waves",
        "say what you do: * ana waves",
        more=("It is a text that begins with /me, and each client shows it so.",),
        takes="text",
    ),
    SlashCommand("nick", "/nick NAME", "/nick ana", "be called something else from now on"),
    SlashCommand("who", "/who", "/who", "list who is here, and who serves", ("w", "names")),
    SlashCommand("away", "/away [REASON]", "/away back at two", "be shown as away; /back: as here again"),
    SlashCommand("back", "/back", "/back", "be shown as here again", is_listed=False),
    SlashCommand(
        "topic",
        "/topic [TEXT]",
        "/topic the party on friday",
        "show what the room is about, or say so",
        ("t",),
        ("/topic - takes the topic away.",),
        "text",
    ),
    SlashCommand(
        "ignore",
        "/ignore [NICK]",
        "/ignore bo",
        "hide what NICK says, or show it again",
        more=(
            "Only for you, and until you leave; nobody is told. The same again ends it.",
            "Without NICK: whom you ignore.",
        ),
        takes="nick",
    ),
    SlashCommand(
        "history",
        "/history [COUNT [BEFORE]]",
        "/history 50 1204",
        "show the last COUNT messages, or earlier ones",
        more=("BEFORE is the number of a message.",),
    ),
    SlashCommand(
        "search",
        "/search WORDS",
        "/search lunch on friday",
        "find messages of the room with all these words",
        ("find",),
        ("In any order and in any case; the author's name counts as well.",),
        takes="text",
    ),
    SlashCommand("clear", "/clear", "/clear", "empty the screen; nothing is lost", ("cls",)),
    SlashCommand(
        "close",
        "/close",
        "/close",
        "close the page of a private talk",
        more=("Whatever comes later opens it again. What was said there is kept nowhere.",),
    ),
    SlashCommand(
        "export",
        "/export FILE",
        "/export tea.txt",
        "write the messages to a new file",
        more=("As text, or as JSON lines to a FILE that ends in .jsonl.", "Private texts are not in it."),
        takes="file",
    ),
    SlashCommand(
        "queue",
        "/queue [drop [NUMBER]]",
        "/queue drop 3",
        "list your texts that are not through yet",
        more=(
            "With drop: do not send post NUMBER of that list any more; without a",
            "number all of them. What was sent before may be posted all the same, and",
            "of several such posts only the last one can be dropped.",
        ),
    ),
    SlashCommand("status", "/status", "/status", "show who serves, and the last handovers"),
    SlashCommand(
        "handover",
        "/handover [NICK]",
        "/handover bo",
        "hand the server role over now",
        more=("To the machine of NICK, or to any.", "It also happens by itself; nobody needs to notice."),
        takes="nick",
    ),
    SlashCommand(
        "set",
        "/set [NAME [VALUE]]",
        "/set theme light",
        "show the settings of the console, or change one",
        more=("Until you leave. To keep it, write it into relevo.toml.",),
        takes="setting",
    ),
    SlashCommand("quit", "/quit", "/quit", "leave; the room goes on", ("q", "exit", "leave")),
)


@dataclass(frozen=True, slots=True)
class NoCommand:
    """A word that names no command, with the sentence that says so."""

    sentence: str


def find(word: str) -> SlashCommand | NoCommand:
    """The command that `word` (without its slash) means: a name, a short form, or the beginning of just one name."""
    key = word.lower()
    for command in COMMANDS:
        if key == command.name or key in command.short:
            return command
    begun = [command for command in COMMANDS if key and command.name.startswith(key)]
    if len(begun) == 1:
        return begun[0]
    if begun:
        names = [f"/{command.name}" for command in begun]
        return NoCommand(f"/{word} could be {', '.join(names[:-1])} or {names[-1]}: type a letter more.")
    return NoCommand(f"There is no command /{word}.{_did_you_mean(key)}")


def _did_you_mean(key: str) -> str:
    known = {name: command.name for command in COMMANDS for name in (command.name, *command.short) if len(name) > 1}
    close = difflib.get_close_matches(key[:40], list(known), n=1, cutoff=0.6)
    return f" Did you mean /{known[close[0]]}?" if close else " /help lists them."


# What is no command, in the same two columns.
TEXTS = (
    ("TEXT", "post it to everybody"),
    ("@NICK TEXT", "tell NICK something in private"),
    ("//TEXT", "post a line that begins with a slash"),
)
_POSTING = ("TEXT", "post it to all; //TEXT: with a slash in front")
HELP_TOPICS = ("keys",)  # what /help explains besides commands


def overview() -> list[str]:
    """One line for each thing one can type, or for two that belong together, for `/help`."""
    rows = [_POSTING, *((command.usage, command.help) for command in COMMANDS if command.is_listed)]
    width = max(len(usage) for usage, _ in rows)
    return [f"{usage:<{width}}  {help_text}" for usage, help_text in rows]


def explanation(command: SlashCommand) -> list[str]:
    """Usage, help, example and short forms of one command, for `/help COMMAND`."""
    lines = [command.usage, f"{command.help[0].upper()}{command.help[1:]}.", *more_of(command)]
    lines.append(f"Example: {command.example}")
    if command.short:
        lines.append(f"Short: {' '.join('/' + short for short in command.short)}")
    return lines


def more_of(command: SlashCommand) -> list[str]:
    """What there is to know beyond its help; of `/set`, also the settings."""
    if command.takes != "setting":
        return list(command.more)
    found = map(options.setting, options.SETTABLE)
    return [*command.more, *(f"{one.key}: {', '.join(one.words) or 'a number'}" for one in found)]


# --- completion ------------------------------------------------------------------------------------------------------


def no_files(_text: str) -> Sequence[str]:
    """Nobody looks at the disk."""
    return ()


def complete(line: str, nicks: Sequence[str], files: Files = no_files) -> list[str]:
    """What the last word of `line` could become by Tab: a command at the start, otherwise what the command takes.

    Args:
        line: what is typed, up to the cursor.
        nicks: members in the order in which they are offered.
        files: finds the names that a half typed file name could become.
    """
    head, blank, word = line.rpartition(" ")
    if not line.startswith("/") or line.startswith("//"):
        return _nicks(word, nicks, is_first=not blank)
    if not blank:
        return [f"/{command.name} " for command in COMMANDS if command.name.startswith(word[1:].lower())]
    command = find(head.split()[0][1:])
    if isinstance(command, NoCommand):
        return []
    before = head.split()[1:]  # whole words between the command and the last one
    match command.takes:
        case "command" if not before:
            words = [*(one.name for one in COMMANDS), *HELP_TOPICS]
            return [f"{one} " for one in words if one.startswith(word.removeprefix("/").lower())]
        case "nick" if not before:
            return _nicks(word, nicks)
        case "text":
            return _nicks(word, nicks)
        case "setting":
            return _settings(before, word)
        case "file":
            # A name may have blanks in it; what is completed is the part behind the last one.
            name = line.split(maxsplit=1)[1] if len(line.split(maxsplit=1)) > 1 else ""
            return [found[len(name) - len(word) :] for found in files(name) if found.startswith(name)]
        case _:
            return []


def _nicks(word: str, nicks: Sequence[str], *, is_first: bool = False) -> list[str]:
    """Nicks that begin like `word`; one at the beginning of a line is spoken to, unless it is told in private."""
    mark = "@" if word.startswith("@") else ""
    begun = word.removeprefix(mark).casefold()
    after = ": " if is_first and not mark else " "
    return [f"{mark}{nick}{after}" for nick in nicks if nick.casefold().startswith(begun)]


def _settings(before: Sequence[str], word: str) -> list[str]:
    begun = word.lower()
    if not before:
        return [f"{name} " for name in options.SETTABLE if name.startswith(begun.replace("-", "_"))]
    try:
        option = options.setting(before[0])
    except ValueError:
        return []
    return [f"{one} " for one in option.words if one.startswith(begun)] if len(before) == 1 else []
