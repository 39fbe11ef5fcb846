"""The table of slash commands: what the parser knows, and what help, completion and manual say; pure."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlashCommand:
    """One command. `short` are further names it goes by; `example` is a line one could type; `more` explains."""

    name: str
    usage: str
    example: str
    help: str
    short: tuple[str, ...] = ()
    more: str = ""


COMMANDS: tuple[SlashCommand, ...] = (
    SlashCommand("help", "/help [COMMAND]", "/help msg", "list the commands, or explain one", ("h", "?")),
    SlashCommand(
        "msg",
        "/msg NICK TEXT",
        "/msg ana see you at ten",
        "tell one member something in private",
        ("m", "tell"),
        "Or: @ana see you at ten",
    ),
    SlashCommand("who", "/who", "/who", "list who is here, and who serves", ("w", "names")),
    SlashCommand("nick", "/nick NAME", "/nick ana", "be called something else from now on"),
    SlashCommand("away", "/away [REASON]", "/away back at two", "be shown as away"),
    SlashCommand("back", "/back", "/back", "be shown as here again"),
    SlashCommand(
        "history",
        "/history [COUNT [BEFORE]]",
        "/history 50 1204",
        "show the last COUNT messages, or earlier ones",
        more="BEFORE is the number of a message; each page says what to type for the one before it.",
    ),
    SlashCommand(
        "search", "/search WORDS", "/search lunch on friday", "find messages with these words in them", ("find",)
    ),
    SlashCommand("status", "/status", "/status", "show who serves this room, and the last handovers"),
    SlashCommand(
        "handover",
        "/handover [NICK]",
        "/handover bo",
        "hand the server role over now",
        more="To the machine of NICK, or to any. It also happens by itself; nobody needs to notice.",
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
_TEXTS = (
    ("TEXT", "post it to everybody"),
    ("@NICK TEXT", "tell NICK something in private"),
    ("//TEXT", "post a line that begins with a slash"),
)


def overview() -> list[str]:
    """One line for each thing one can type, for `/help`."""
    rows = [*_TEXTS, *((command.usage, command.help) for command in COMMANDS)]
    width = max(len(usage) for usage, _ in rows)
    return [f"{usage:<{width}}  {help_text}" for usage, help_text in rows]


def explanation(command: SlashCommand) -> list[str]:
    """Usage, help, example and short forms of one command, for `/help COMMAND`."""
    lines = [command.usage, f"{command.help[0].upper()}{command.help[1:]}.", f"Example: {command.example}"]
    if command.more:
        lines.insert(2, command.more)
    if command.short:
        lines.append(f"Short: {' '.join('/' + short for short in command.short)}")
    return lines


def complete(line: str, nicks: Sequence[str]) -> list[str]:
    """What the last word of `line` could become by Tab: a command at the start, otherwise a nick."""
    head, blank, word = line.rpartition(" ")
    if head.lower() in ("/help", "/h", "/?"):
        return [f"{command.name} " for command in COMMANDS if command.name.startswith(word.lower())]
    if not blank and word.startswith("/"):
        return [f"/{command.name} " for command in COMMANDS if command.name.startswith(word[1:].lower())]
    mark = "@" if word.startswith("@") and not head else ""
    begun = word.removeprefix(mark).casefold()
    after = ": " if not blank and not mark else " "
    return [f"{mark}{nick}{after}" for nick in nicks if nick.casefold().startswith(begun)]
