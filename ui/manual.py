"""The manual as Markdown and as a man page, made from the tables of commands, options, slash commands, keys; pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ui import commands
from ui.keymap import EDITING, NO_KEY, PLAIN_KEYS, STARRED, Keymap, labels
from ui.options import COMMAND_NAMES, OPTIONS, Option, default_text, variable_of
from ui.usage import ABOUT, USAGES
from wire import exits

WRITTEN_BY = "Written by scripts/manual from the tables in the code; change those."


@dataclass(frozen=True, slots=True)
class Part:
    """A heading. `depth` 1: a section, 2: a part of one."""

    title: str
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph; what stands between backticks is to be typed as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Terms:
    """Things and what they are. `heads`: over the two columns."""

    heads: tuple[str, str]
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines as they would be typed."""

    lines: tuple[str, ...]


Block = Part | Text | Terms | Lines

_EXIT_CODES = (
    (exits.EXIT_OK, "done"),
    (exits.EXIT_USAGE, "the command line means nothing"),
    (exits.EXIT_UNAVAILABLE, "no zdns, or nobody serves and this one may not"),
    (exits.EXIT_INTERNAL, "internal error; the sentence names the log"),
    (exits.EXIT_LATE, "not acknowledged in time"),
    (exits.EXIT_VERSION, "versions differ"),
    (exits.EXIT_REFUSED, "refused: the ticket, the name, or the right to do it"),
    (exits.EXIT_CONFIG, "bad configuration, or a file that will not do"),
    (exits.EXIT_INTERRUPTED, "interrupted before anything happened"),
)

_FILES = (
    ("$XDG_CONFIG_HOME/relevo/relevo.toml", "options; `--config FILE` or `RELEVO_CONFIG` names another file"),
    (
        "$XDG_DATA_HOME/relevo/",
        "histories, posts that wait, and the records of zdns; `--data-dir` names another folder",
    ),
    ("$XDG_DATA_HOME/relevo/keys/", "keys, tickets and bans; refused when other accounts can read them"),
    ("$XDG_STATE_HOME/relevo/log", "the log; `--log-file` names another file"),
    ("$RELEVO_HOME/", "when this is set, all of them are here"),
)

_EXAMPLE_FILE = (
    'name = "ana"                 # for all commands',
    "",
    "[chat]                       # for relevo chat alone",
    'theme = "light"',
    "bell = false",
    'keys = { redraw = "f5", next-page = ["f6", "ctrl n"] }',
)


def blocks() -> list[Block]:
    """The whole manual."""
    return [
        Text(f"{ABOUT} One program, `relevo`, has all the commands below."),
        *_commands(),
        *_chat(),
        *_keys(),
        *_options(),
        *_configuration(),
        Part("Files"),
        Terms(("file", "what it is"), tuple((f"`{name}`", text) for name, text in _FILES)),
        Part("Exit codes"),
        Terms(("code", "meaning"), tuple((str(code), text) for code, text in _EXIT_CODES)),
    ]


def _commands() -> list[Block]:
    rows = [(f"`relevo {name} {USAGES[name].words}".rstrip() + "`", USAGES[name].about) for name in COMMAND_NAMES]
    return [
        Part("Commands"),
        Terms(("command", "what it does"), tuple(rows)),
        Text("Each has `--help`, and `--print-config`, which prints its options as they stand."),
        Part("Examples", 2),
        Lines(tuple(line for name in COMMAND_NAMES for line in USAGES[name].examples)),
    ]


def _chat() -> list[Block]:
    return [
        Part("In the chat"),
        Text(
            "A line is posted by Enter. One that begins with `/` or `@` never is, unless that character is doubled."
            " The first letters of a command are enough, and Tab completes."
        ),
        Terms(("line", "what it does"), tuple((f"`{line}`", help_text) for line, help_text in commands.TEXTS)),
        Part("Slash commands", 2),
        Terms(("command", "what it does"), tuple((f"`{one.usage}`", _explained(one)) for one in commands.COMMANDS)),
        Text(
            "A text that begins with `/me ` is an action wherever it is shown; `//me waves` does the same as"
            " `/me waves`."
        ),
    ]


def _explained(command: commands.SlashCommand) -> str:
    short = [f"Short: {', '.join(f'`/{one}`' for one in command.short)}."] if command.short else []
    more = [text if text.endswith(".") else f"{text}." for text in commands.more_of(command)]
    return " ".join([f"{_sentence(command.help)}", *more, f"Example: `{command.example}`.", *short])


def _keys() -> list[Block]:
    rows = [(row.keys, f"{row.help} (`{row.name}`)") for row in Keymap().rows()]
    return [
        Part("Keys"),
        Part("In the full-screen console", 2),
        Text(
            f"A key with a star does it {STARRED}. The names in brackets are those of the actions: `--keys`,"
            " `RELEVO_KEYS` and the table `keys` in the file give them other keys, or none."
        ),
        Terms(("key", "what it does"), tuple((keys or NO_KEY, text) for keys, text in rows)),
        Part("In the line client", 2),
        Terms(("key", "what it does"), tuple((labels(keys), text) for keys, text in PLAIN_KEYS)),
        Part("Editing, in both", 2),
        Terms(("key", "what it does"), tuple((labels(keys), text) for keys, text in EDITING)),
    ]


def _options() -> list[Block]:
    found: list[Block] = [
        Part("Options"),
        Text("An option is a flag (`--min_n 3`), a variable (`RELEVO_MIN_N=3`) and a key in a file (`min_n = 3`)."),
    ]
    groups: dict[tuple[str, ...], list[Option]] = {}
    for option in OPTIONS:
        if option.has_effect:
            groups.setdefault(option.commands, []).append(option)
    for names in sorted(groups, key=lambda names: -len(names)):
        found.append(Part(f"Of {_whose(names)}", 2))
        rows = [(f"`{_flags(option)}`", _option_text(option)) for option in groups[names]]
        found.append(Terms(("option", "what it does"), tuple(rows)))
    return found


def _whose(names: tuple[str, ...]) -> str:
    if names == COMMAND_NAMES:
        return "all commands"
    if len(names) == len(COMMAND_NAMES) - 1:
        return f"all commands but {next(name for name in COMMAND_NAMES if name not in names)}"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _flags(option: Option) -> str:
    return ", ".join(f"{flag} {option.metavar}".rstrip() for flag in option.all_flags)


def _option_text(option: Option) -> str:
    default = default_text(option)
    return f"{_sentence(option.help)} " + (f"Default: {default}. " if default else "") + f"`{variable_of(option)}`"


def _configuration() -> list[Block]:
    return [
        Part("Configuration"),
        Text(
            "Nothing needs to be configured. A flag wins over the environment, that over the file, and that over the"
            " default. In the file a key at the top is for all commands that know it; one in a table named after a"
            " command is for that command alone. `relevo chat --print-config` prints such a file."
        ),
        Lines(_EXAMPLE_FILE),
        Text(
            "Colours are left out where `NO_COLOR` is set, and keys are named as in `ctrl x`, `meta x` (Alt and x),"
            " `f5` or `page up`."
        ),
    ]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


# --- Markdown --------------------------------------------------------------------------------------------------------


def markdown() -> str:
    """The manual as Markdown."""
    lines = ["# The manual", "", f"<!-- {WRITTEN_BY} -->", ""]
    for block in blocks():
        lines += [*_markdown(block), ""]
    return "\n".join(lines[:-1]) + "\n"


def _markdown(block: Block) -> list[str]:
    match block:
        case Part(title, depth):
            return [f"{'#' * (depth + 1)} {title}"]
        case Text(text):
            return [text]
        case Lines(lines):
            return ["```", *lines, "```"]
        case Terms(heads, rows):
            return [
                f"| {' | '.join(heads)} |",
                "| --- | --- |",
                *(f"| {_cell(term)} | {_cell(text)} |" for term, text in rows),
            ]


def _cell(text: str) -> str:
    """Text in a table; a star that means itself must not begin emphasis."""
    plain = re.split("(`[^`]*`)", text.replace("|", "\\|"))
    return "".join(part if part.startswith("`") else part.replace("*", "\\*") for part in plain)


# --- man page --------------------------------------------------------------------------------------------------------


def man_page() -> str:
    """The manual in roff, for man(1)."""
    lines = [
        f'.\\" {WRITTEN_BY}',
        '.TH RELEVO 1 "" relevo "User Commands"',
        ".SH NAME",
        rf"relevo \- {_roff(ABOUT[0].lower() + ABOUT[1:-1])}",
        ".SH SYNOPSIS",
        r"\fBrelevo\fR \fICOMMAND\fR [\fISERVICE\fR] [\fIOPTION\fR ...]",
        ".SH DESCRIPTION",
    ]
    for block in blocks():
        lines += _man(block)
    return "\n".join(lines) + "\n"


def _man(block: Block) -> Sequence[str]:
    match block:
        case Part(title, 1):
            return [f'.SH "{_roff(title.upper())}"']
        case Part(title, _):
            return [f'.SS "{_roff(title)}"']
        case Text(text):
            return [".PP", _roff(text)]
        case Lines(lines):
            return [".PP", ".nf", ".RS", *map(_roff_typed, lines), ".RE", ".fi"]
        case Terms(_, rows):
            return [line for term, text in rows for line in (".TP", _roff(term), _roff(text))]


def _roff(text: str) -> str:
    """Text with what stands between backticks in bold; no line of it is taken for a request."""
    parts = re.split("`([^`]*)`", text)
    return "".join(
        rf"\fB{_roff_typed(part)}\fR" if index % 2 else _roff_typed(part) for index, part in enumerate(parts)
    )


def _roff_typed(text: str) -> str:
    for plain, escaped in (("\\", "\\e"), ("-", "\\-"), ("'", "\\(aq"), ("…", "...")):
        text = text.replace(plain, escaped)
    return rf"\&{text}" if text.startswith(".") else text
