"""Every option of every command: where its value may come from, and which wins; pure.

A value comes from a flag, else from RELEVO_<OPTION> in the environment, else from the TOML file, else it is the
default. In the file an option stands at the top, for all commands that know it, or in a table named after one
command (`[dns]`), for that one alone.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ui import checks
from wire import limits, names
from wire.errors import RelevoError
from wire.exits import EXIT_CONFIG, EXIT_USAGE

_MEMBERS = ("chat", "serve", "send", "tail", "status", "handover")  # and guests: whoever has to be let in
COMMAND_NAMES = ("dns", *_MEMBERS, "ticket", "ban")
_ROOM = (*_MEMBERS, "ban")
_PARTICIPANTS = ("chat", "serve")
_CHAT = ("chat",)
LOG_LEVELS = ("debug", "info", "warning", "error")
THEMES = ("auto", "dark", "light", "mono")
COLORS = ("auto", "never", "16", "256")
SIGNS = ("auto", "yes", "no")
JOINS = ("smart", "all", "none")
ON_OFF = ("on", "off")
PASTE_LINES_MAX = 10_000  # chosen: more than a text of full size has


class CommandError(RelevoError):
    """A command cannot go on: the sentence says what, where, why and what to try; `exit_code` is an EXIT_ number."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


# --- the table -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Option:
    """One option. `key` is its name in the file and, in capitals after RELEVO_, in the environment.

    `commands`: which commands have it. `metavar` is empty for a switch. `default` is already checked.
    `has_no`: the switch has a second flag, `--no-…`, that turns it off. `words`: all it may be, if they are few.
    `is_secret`: what it is given is never printed. `has_effect`: False for what scripts may pass to any version, but
    this one does nothing with (and says so).
    """

    key: str
    flags: tuple[str, ...]
    check: checks.Check
    default: Any
    metavar: str
    help: str
    commands: tuple[str, ...]
    has_effect: bool = True
    is_secret: bool = False
    has_no: bool = False
    words: tuple[str, ...] = ()

    @property
    def all_flags(self) -> tuple[str, ...]:
        """Its flags, the one that turns it off included."""
        return self.flags + tuple(f"--no-{flag[2:]}" for flag in self.flags if self.has_no)


OPTIONS: tuple[Option, ...] = (
    Option(
        "server_uri",
        ("-u", "--server_uri"),
        checks.service,
        str(names.DEFAULT_SERVICE),
        "NAME",
        "the room's service name",
        _ROOM,
    ),
    Option(
        "serve_first",
        ("-s", "--serve-first"),
        checks.yes_or_no,
        False,
        "",
        "be the first active server; otherwise a name nobody ever served is claimed after a moment",
        _PARTICIPANTS,
    ),
    Option(
        "min_n",
        ("-n", "--min_n"),
        checks.whole(0, limits.MEMBERS_MAX),
        0,
        "N",
        "members needed before the chat begins",
        _PARTICIPANTS,
    ),
    Option("dns_ip", ("--dns_ip",), checks.host, "localhost", "IP", "where zdns, the name server, is", COMMAND_NAMES),
    Option("dns_port", ("--dns_port",), checks.port, limits.DNS_PORT, "PORT", "and its port", COMMAND_NAMES),
    Option(
        "dns",
        ("--dns",),
        checks.addresses,
        None,
        "H:P[,H:P]",
        "the same in one, or several name servers to try in turn",
        COMMAND_NAMES,
    ),
    Option("name", ("--name",), checks.nick, None, "NICK", "what to be called; default: the account's name", _ROOM),
    Option(
        "term",
        ("--term",),
        checks.seconds(0.05, 1_000_000),
        limits.TERM_MS / 1000,
        "SECONDS",
        "time between handovers, fractions allowed, 0 never",
        _PARTICIPANTS,
    ),
    Option("no_serve", ("--no-serve",), checks.yes_or_no, False, "", "never take the server role", ("chat",)),
    Option(
        "bind",
        ("--bind",),
        checks.host,
        None,
        "IP",
        "the own address others should use; default: the one towards zdns",
        _ROOM,
    ),
    Option(
        "data_dir",
        ("--data-dir",),
        checks.text,
        None,
        "DIR",
        "where to keep files: histories, posts that wait, zdns' records, and the log",
        COMMAND_NAMES,
    ),
    Option(
        "replicas",
        ("--replicas",),
        checks.whole(0, limits.REPLICAS_MAX),
        limits.REPLICAS,
        "K",
        "copies of the history that others keep while this one serves; a post is committed once they have it",
        _PARTICIPANTS,
    ),
    Option(
        "ephemeral",
        ("--ephemeral",),
        checks.yes_or_no,
        False,
        "",
        "write no files, not even a log: what this machine holds of the history dies with it",
        _PARTICIPANTS,
    ),
    Option(
        "fresh",
        ("--fresh",),
        checks.yes_or_no,
        False,
        "",
        "give up a history that nobody here holds, and start anew",
        _PARTICIPANTS,
    ),
    Option(
        "flood",
        ("--flood",),
        checks.posts_per_s,
        limits.FLOOD_POSTS_PER_S,
        "N",
        "posts a second a person may send, 0 unlimited",
        _PARTICIPANTS,
    ),
    Option(
        "plain",
        ("--plain",),
        checks.yes_or_no,
        False,
        "",
        "lines of text: for pipes, ssh and screen readers",
        ("chat",),
    ),
    Option(
        "theme",
        ("--theme",),
        checks.one_of(*THEMES),
        "auto",
        "|".join(THEMES),
        "the console's colours: for a dark or a light background, or none",
        _CHAT,
        words=THEMES,
    ),
    Option(
        "colors",
        ("--colors",),
        checks.one_of(*COLORS),
        "auto",
        "|".join(COLORS),
        "how many colours the console uses",
        _CHAT,
        words=COLORS,
    ),
    Option(
        "ascii",
        ("--ascii",),
        checks.one_of(*SIGNS),
        "auto",
        "",
        "draw lines and marks with plain letters; by default where the terminal cannot do better",
        _CHAT,
        has_no=True,
        words=SIGNS,
    ),
    Option(
        "mouse",
        ("--mouse",),
        checks.yes_or_no,
        False,
        "",
        "let the console have the mouse; the terminal then marks text with Shift only",
        _CHAT,
        has_no=True,
        words=ON_OFF,
    ),
    Option(
        "bell",
        ("--bell",),
        checks.yes_or_no,
        True,
        "",
        "ring when somebody names you or tells you something in private",
        _CHAT,
        has_no=True,
        words=ON_OFF,
    ),
    Option(
        "joins",
        ("--joins",),
        checks.one_of(*JOINS),
        "smart",
        "|".join(JOINS),
        "whose coming and going the log tells; smart: of those who spoke lately",
        _CHAT,
        words=JOINS,
    ),
    Option(
        "paste_lines",
        ("--paste-lines",),
        checks.whole(1, PASTE_LINES_MAX),
        3,
        "N",
        "ask before posting a paste of more than N lines",
        _CHAT,
    ),
    Option(
        "keys",
        ("--keys",),
        checks.keys,
        {},
        "ACTION=KEY,...",
        "other keys for actions of the console; the manual lists them",
        _CHAT,
    ),
    Option(
        "json", ("--json",), checks.yes_or_no, False, "", "one JSON object a line", ("chat", "send", "tail", "status")
    ),
    Option("since", ("--since",), checks.whole(1, 2**63 - 1), None, "SEQ", "begin with message number SEQ", ("tail",)),
    Option("count", ("--count",), checks.whole(1, 2**63 - 1), None, "N", "end after N messages", ("tail",)),
    Option(
        "no_follow",
        ("--no-follow",),
        checks.yes_or_no,
        False,
        "",
        "print what is there and end; without --since: everything",
        ("tail",),
    ),
    Option(
        "timeout",
        ("--timeout",),
        checks.above_zero(checks.seconds(0.05, 1_000_000)),
        30.0,
        "SECONDS",
        "how long to wait for an answer",
        ("send", "status", "handover", "ban"),
    ),
    Option(
        "to", ("--to",), checks.nick, None, "NAME", "hand over to the machine of NAME; default: to any", ("handover",)
    ),
    Option("host", ("--host",), checks.host, "0.0.0.0", "IP", "the address to listen at", ("dns",)),
    Option("port", ("--port",), checks.whole(0, 65_535), limits.DNS_PORT, "PORT", "the port to listen at", ("dns",)),
    Option(
        "store",
        ("--store",),
        checks.store,
        "sqlite",
        "sqlite|memory|etcd://H:P[,H:P]",
        "where the records are kept",
        ("dns",),
    ),
    Option(
        "lease",
        ("--lease",),
        checks.above_zero(checks.seconds(0.2, 3_600)),
        limits.LEASE_MS / 1000,
        "SECONDS",
        "how long a server that says nothing is still counted on",
        ("dns",),
    ),
    Option(
        "open",
        ("--open",),
        checks.yes_or_no,
        False,
        "",
        "let anybody on the network take part, and read everything on its way: no keys, no ticket",
        ("dns",),
    ),
    Option(
        "check",
        ("--check",),
        checks.yes_or_no,
        False,
        "",
        "only see whether one answers at --dns_ip and --dns_port (exit 0 or 69)",
        ("dns",),
    ),
    Option(
        "ticket",
        ("--ticket",),
        checks.ticket,
        None,
        "T",
        "the ticket that `relevo dns` has printed; needed once, and not on the machine of zdns; given in the"
        " environment, other accounts of this machine do not see it",
        _MEMBERS,
        is_secret=True,
    ),
    Option(
        "renew",
        ("--renew",),
        checks.yes_or_no,
        False,
        "",
        "make another ticket: the old one is worthless, and who was let in before can come back",
        ("ticket",),
    ),
    Option(
        "everyone",
        ("--everyone",),
        checks.yes_or_no,
        False,
        "",
        "with --renew: everybody needs the new ticket, also who is in",
        ("ticket",),
    ),
    Option(
        "ticket_host",
        ("--host",),
        checks.host,
        None,
        "H",
        "the name or address of this machine to put into the ticket; default: the one zdns announced",
        ("ticket",),
    ),
    Option("qr", ("--qr",), checks.yes_or_no, False, "", "show it as a QR code too, at a terminal", ("ticket",)),
    Option("list", ("--list",), checks.yes_or_no, False, "", "list who is banned", ("ban",)),
    Option(
        "lift",
        ("--lift",),
        checks.text,
        None,
        "NICK-OR-FINGERPRINT",
        "let somebody who is banned come back",
        ("ban",),
    ),
    Option(
        "debug_endpoint",
        ("--debug-endpoint",),
        checks.text,
        None,
        "ENDPOINT",
        "for the monitor",
        _PARTICIPANTS,
        has_effect=False,
    ),
    Option(
        "metrics_port",
        ("--metrics-port",),
        checks.whole(0, 65_535),
        None,
        "PORT",
        "metrics and health",
        _PARTICIPANTS,
        has_effect=False,
    ),
    Option(
        "log_level",
        ("--log-level",),
        checks.one_of(*LOG_LEVELS),
        "warning",
        "LEVEL",
        ", ".join(LOG_LEVELS),
        COMMAND_NAMES,
    ),
    Option("log_file", ("--log-file",), checks.text, None, "FILE", "where the log goes", COMMAND_NAMES),
)

_BY_KEY = {option.key: option for option in OPTIONS}
_TABLES = ("keys",)  # options that a table in the file may give

# What `/set` can change while the console runs.
SETTABLE = ("theme", "colors", "ascii", "mouse", "bell", "joins", "paste_lines")


def variable_of(option: Option) -> str:
    """The environment variable that gives it a value."""
    return f"RELEVO_{option.key.upper()}"


def default_text(option: Option) -> str:
    """Its default as a person would type it; empty where there is none to speak of."""
    match option.default:
        case None | False | dict():
            return ""
        case True:
            return "on"
        case float():
            return f"{option.default:g}"
        case _:
            return str(option.default)


def options_of(command: str) -> list[Option]:
    """The options that `command` has, in the order of the table."""
    return [option for option in OPTIONS if command in option.commands]


@dataclass(frozen=True, slots=True)
class Settings:
    """The values of one command's options, checked, by key; `dns` is always a tuple of "host:port".

    `given`: the keys that were given a value somewhere, in the order of the table; `origins`: where that was, by key.
    """

    command: str
    values: Mapping[str, Any]
    given: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    @property
    def given_dns(self) -> tuple[str, ...] | None:
        """The name servers that somebody named; None: nobody did."""
        return self.values["dns"] if {"dns", "dns_ip", "dns_port"} & set(self.given) else None


def settle(
    command: str,
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    file: Mapping[str, Any],
    file_name: str,
) -> Settings:
    """Find the value of every option of `command`.

    Args:
        command: one of COMMAND_NAMES.
        flags: what the command line gave, by key; an absent or None value was not given.
        environment: the process's.
        file: the TOML file as read; empty when there is none. `file_name` is what to call it.

    Raises:
        CommandError: a value will not do, or the file has a key that means nothing.
    """
    layers = [
        _Layer("flag", {key: value for key, value in flags.items() if value is not None}, ""),
        _Layer("environment", _from_environment(environment), ""),
        *_from_file(command, file, file_name),
    ]
    values: dict[str, Any] = {}
    ranks: dict[str, int] = {}
    for option in options_of(command):
        values[option.key], ranks[option.key] = option.default, len(layers)
        for rank, layer in enumerate(layers):
            if option.key in layer.values:
                values[option.key], ranks[option.key] = layer.check(option), rank
                break
    values["dns"] = _addresses_of(values, ranks, layers)
    given = tuple(key for key, rank in ranks.items() if rank < len(layers))
    return Settings(command, values, given, {key: layers[ranks[key]].origin(_BY_KEY[key]) for key in given})


@dataclass(frozen=True, slots=True)
class _Layer:
    """One place values come from: the command line, the environment, or a table of the file `name`."""

    kind: str
    values: Mapping[str, Any]
    name: str

    def check(self, option: Option) -> Any:
        try:
            return option.check(self.values[option.key])
        except ValueError as error:
            raise self.error(option, f"{error}.") from error

    def error(self, option: Option, cause: str) -> CommandError:
        if self.kind == "flag":
            return CommandError(f"{option.flags[-1]}: {cause}", EXIT_USAGE)
        if self.kind == "environment":
            return CommandError(f"{variable_of(option)} in the environment: {cause}", EXIT_CONFIG)
        return CommandError(f"{self.name}: {option.key}: {cause}", EXIT_CONFIG)

    def origin(self, option: Option) -> str:
        """Where a value of this option came from, in a few words."""
        match self.kind:
            case "flag" if option.has_no and self.values[option.key] is False:
                return f"flag {option.all_flags[-1]}"
            case "flag":
                return f"flag {option.flags[-1]}"
            case "environment":
                return f"environment, {variable_of(option)}"
            case _:
                return f"file {self.name}"


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    found = {option.key: environment.get(variable_of(option), "") for option in OPTIONS}
    return {key: value for key, value in found.items() if value}


def _from_file(command: str, file: Mapping[str, Any], file_name: str) -> list[_Layer]:
    """The command's own table, then the top of the file; every key in the file is looked at."""
    top: dict[str, Any] = {}
    tables: dict[str, dict[str, Any]] = {}
    for key, value in file.items():
        if isinstance(value, dict) and key not in _TABLES:
            if key not in COMMAND_NAMES:
                raise CommandError(
                    _unknown(f"{file_name}: there is no command {key!r} for the table [{key}].", key, COMMAND_NAMES),
                    EXIT_CONFIG,
                )
            tables[key] = _keyed(value, f"{file_name}, table [{key}]", [option.key for option in options_of(key)])
        else:
            top.update(_keyed({key: value}, file_name, list(_BY_KEY)))
    own = tables.get(command, {})
    return [_Layer("file", own, f"{file_name}, table [{command}]"), _Layer("file", top, file_name)]


def _keyed(table: Mapping[str, Any], where: str, known: list[str]) -> dict[str, Any]:
    found = {}
    for key, value in table.items():
        plain = key.replace("-", "_")
        if plain not in known:
            raise CommandError(_unknown(f"{where}: there is no option {key!r}.", plain, known), EXIT_CONFIG)
        found[plain] = value
    return found


def _unknown(sentence: str, word: str, known: list[str] | tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"{sentence} Did you mean {close[0]!r}?" if close else f"{sentence} Known: {', '.join(known)}."


def _addresses_of(values: Mapping[str, Any], ranks: Mapping[str, int], layers: list[_Layer]) -> tuple[str, ...]:
    """The name servers: `dns`, or `dns_ip` with `dns_port`, whichever was said at the more important place."""
    in_parts = min(ranks["dns_ip"], ranks["dns_port"])
    if ranks["dns"] < in_parts:
        return tuple(values["dns"])
    if ranks["dns"] == in_parts < len(layers):
        raise layers[in_parts].error(_BY_KEY["dns"], "it says the same as dns_ip and dns_port; give one or the other.")
    return (checks.join_address(values["dns_ip"], values["dns_port"]),)


# --- settings of the running console ---------------------------------------------------------------------------------


def setting(name: str) -> Option:
    """The option that `/set` means by this name.

    Raises:
        ValueError: there is none, or it cannot change any more; the sentence says what can.
    """
    key = name.lower().replace("-", "_")
    if key in SETTABLE:
        return _BY_KEY[key]
    there_are = f"There are {', '.join(SETTABLE)}."
    if key in _BY_KEY:
        raise ValueError(f"{key} can only be given at the start, as {_BY_KEY[key].flags[-1]}. {there_are}")
    close = difflib.get_close_matches(key[:40], SETTABLE, n=1)
    raise ValueError(f"There is no setting {name[:40]!r}. " + (f"Did you mean {close[0]}?" if close else there_are))


def check_setting(name: str, text: str) -> Any:
    """The value of a setting that was typed.

    Raises:
        ValueError: with a sentence: there is no such setting, or it may not have this value.
    """
    option = setting(name)
    try:
        return option.check(text)
    except ValueError as error:
        may = f"{', '.join(option.words[:-1])} or {option.words[-1]}" if option.words else ""
        cause = f"it should be {may}, not {text[:40]!r}" if may else str(error)
        raise ValueError(f"{option.key}: {cause}.") from error


def shown_setting(value: Any) -> str:
    """A value as one would type it after `/set NAME`."""
    return ("off", "on")[value] if isinstance(value, bool) else str(value)
