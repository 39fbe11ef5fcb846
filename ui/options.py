"""Every option of every command: where its value may come from, and which wins; pure.

A value comes from a flag, else from RELEVO_<OPTION> in the environment, else from the TOML file, else it is the
default. In the file an option stands at the top, for all commands that know it, or in a table named after one
command (`[dns]`), for that one alone.
"""

import difflib
import ipaddress
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from wire import limits, names
from wire.errors import RelevoError
from wire.exits import EXIT_CONFIG, EXIT_USAGE

COMMAND_NAMES = ("dns", "chat", "serve", "send", "tail", "status", "handover")
_ROOM = COMMAND_NAMES[1:]
_PARTICIPANTS = ("chat", "serve")
LOG_LEVELS = ("debug", "info", "warning", "error")
_YES = ("1", "true", "yes", "on")
_NO = ("0", "false", "no", "off")


class CommandError(RelevoError):
    """A command cannot go on: the sentence says what, where, why and what to try; `exit_code` is an EXIT_ number."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


# --- what a value may be: each takes text (flag, environment) or a TOML value; ValueError says why not --------------


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"it should be text in quotes, not {value!r}")
    if not value:
        raise ValueError("it is empty")
    if not value.isprintable():
        raise ValueError("it has characters that cannot be printed")
    return value


def _yes_or_no(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _YES + _NO:
        return value.lower() in _YES
    raise ValueError(f"it should be true or false, not {value!r}")


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"it should be a number, not {value!r}")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"it should be a number, not {value!r}") from None
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"it should be a number from 0 up, not {value}")
    return number


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        try:
            number = int(value) if not isinstance(value, bool | float) else None
        except (TypeError, ValueError):
            number = None
        if number is None or not low <= number <= high:
            raise ValueError(f"it should be a whole number from {low} to {high}, not {value!r}")
        return number

    return check


def _seconds(low: float, high: float) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        number = _number(value)
        if number != 0 and not low <= number <= high:
            raise ValueError(f"it should be from {low:g} to {high:g} seconds, not {value}")
        return number

    return check


def _above_zero(check: Callable[[Any], float]) -> Callable[[Any], float]:
    def checked(value: Any) -> float:
        number = check(value)
        if number == 0:
            raise ValueError("it should be more than 0")
        return number

    return checked


def _posts_per_s(value: Any) -> float:
    """`20`, `20/s` or `20/second`."""
    if isinstance(value, str):
        value = value.removesuffix("/second").removesuffix("/s")
    return _number(value)


def _service(value: Any) -> str:
    return names.check_service(_text(value))


def _nick(value: Any) -> str:
    return names.check_nick(_text(value))


def _host(value: Any) -> str:
    host = _text(value).removeprefix("[").removesuffix("]")
    if any(char.isspace() or char in "/,@" for char in host):
        raise ValueError(f"{value!r} is no host name or address")
    if ":" in host:
        try:
            ipaddress.IPv6Address(host.partition("%")[0])
        except ValueError:
            raise ValueError(f"{value!r} is no host name or address (a port goes into its own option)") from None
    return host


_port = _whole(1, 65_535)


def join_address(host: str, port: int) -> str:
    """`host:port`, with brackets round an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _addresses(value: Any) -> tuple[str, ...]:
    """`H:P[,H:P]`, or a TOML list of such; without a port it is the usual one."""
    parts = value if isinstance(value, list) else _text(value).split(",")
    found = []
    for part in parts:
        text = _text(part).strip()
        host, colon, port = text.rpartition(":")
        if not colon or (text.count(":") > 1 and not host.endswith("]")):
            host, port = text, str(limits.DNS_PORT)
        found.append(join_address(_host(host), _port(port)))
    if not 1 <= len(found) <= 16:
        raise ValueError("it should name 1 to 16 addresses")
    return tuple(found)


def _log_level(value: Any) -> str:
    level = _text(value).lower()
    if level not in LOG_LEVELS:
        raise ValueError(f"it should be one of {', '.join(LOG_LEVELS)}, not {value!r}")
    return level


def _store(value: Any) -> str:
    store = _text(value)
    if store not in ("sqlite", "memory"):
        raise ValueError(f"it should be sqlite or memory, not {value!r}")
    return store


# --- the table -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Option:
    """One option. `key` is its name in the file and, in capitals after RELEVO_, in the environment.

    `commands`: which commands have it. `metavar` is empty for a switch. `default` is already checked.
    `has_effect`: False for what scripts may pass to any version, but this one does nothing with (and says so).
    """

    key: str
    flags: tuple[str, ...]
    check: Callable[[Any], Any]
    default: Any
    metavar: str
    help: str
    commands: tuple[str, ...]
    has_effect: bool = True


OPTIONS: tuple[Option, ...] = (
    Option(
        "server_uri",
        ("-u", "--server_uri"),
        _service,
        str(names.DEFAULT_SERVICE),
        "NAME",
        "the room's service name",
        _ROOM,
    ),
    Option(
        "serve_first",
        ("-s", "--serve-first"),
        _yes_or_no,
        False,
        "",
        "be the first active server; otherwise a name nobody ever served is claimed after a moment",
        _PARTICIPANTS,
    ),
    Option(
        "min_n",
        ("-n", "--min_n"),
        _whole(0, limits.MEMBERS_MAX),
        0,
        "N",
        "members needed before the chat begins",
        _PARTICIPANTS,
    ),
    Option("dns_ip", ("--dns_ip",), _host, "localhost", "IP", "where zdns, the name server, is", COMMAND_NAMES),
    Option("dns_port", ("--dns_port",), _port, limits.DNS_PORT, "PORT", "and its port", COMMAND_NAMES),
    Option(
        "dns",
        ("--dns",),
        _addresses,
        None,
        "H:P[,H:P]",
        "the same in one, or several name servers to try in turn",
        COMMAND_NAMES,
    ),
    Option("name", ("--name",), _nick, None, "NICK", "what to be called; default: the account's name", _ROOM),
    Option(
        "term",
        ("--term",),
        _seconds(0.05, 1_000_000),
        limits.TERM_MS / 1000,
        "SECONDS",
        "time between handovers, fractions allowed, 0 never",
        _PARTICIPANTS,
    ),
    Option("no_serve", ("--no-serve",), _yes_or_no, False, "", "never take the server role", ("chat",)),
    Option(
        "bind",
        ("--bind",),
        _host,
        None,
        "IP",
        "the own address others should use; default: the one towards zdns",
        _ROOM,
    ),
    Option(
        "data_dir",
        ("--data-dir",),
        _text,
        None,
        "DIR",
        "where to keep files: zdns' records, and the log",
        COMMAND_NAMES,
    ),
    Option("ephemeral", ("--ephemeral",), _yes_or_no, False, "", "write no files, not even a log", _PARTICIPANTS),
    Option(
        "fresh",
        ("--fresh",),
        _yes_or_no,
        False,
        "",
        "give up a history that nobody here holds, and start anew",
        _PARTICIPANTS,
    ),
    Option(
        "flood",
        ("--flood",),
        _posts_per_s,
        limits.FLOOD_POSTS_PER_S,
        "N",
        "posts a second a person may send, 0 unlimited",
        _PARTICIPANTS,
    ),
    Option("plain", ("--plain",), _yes_or_no, False, "", "lines of text: for pipes, ssh and screen readers", ("chat",)),
    Option("json", ("--json",), _yes_or_no, False, "", "one JSON object a line", ("chat", "send", "tail", "status")),
    Option("since", ("--since",), _whole(1, 2**63 - 1), None, "SEQ", "begin with message number SEQ", ("tail",)),
    Option("count", ("--count",), _whole(1, 2**63 - 1), None, "N", "end after N messages", ("tail",)),
    Option(
        "no_follow",
        ("--no-follow",),
        _yes_or_no,
        False,
        "",
        "print what is there and end; without --since: everything",
        ("tail",),
    ),
    Option(
        "timeout",
        ("--timeout",),
        _above_zero(_seconds(0.05, 1_000_000)),
        30.0,
        "SECONDS",
        "how long to wait for an answer",
        ("send", "status", "handover"),
    ),
    Option("to", ("--to",), _nick, None, "NAME", "hand over to the machine of NAME; default: to any", ("handover",)),
    Option("host", ("--host",), _host, "0.0.0.0", "IP", "the address to listen at", ("dns",)),
    Option("port", ("--port",), _whole(0, 65_535), limits.DNS_PORT, "PORT", "the port to listen at", ("dns",)),
    Option("store", ("--store",), _store, "sqlite", "sqlite|memory", "where the records are kept", ("dns",)),
    Option(
        "lease",
        ("--lease",),
        _above_zero(_seconds(0.2, 3_600)),
        limits.LEASE_MS / 1000,
        "SECONDS",
        "how long a server that says nothing is still counted on",
        ("dns",),
    ),
    Option(
        "open", ("--open",), _yes_or_no, False, "", "let anybody on the network take part", ("dns",), has_effect=False
    ),
    Option(
        "check",
        ("--check",),
        _yes_or_no,
        False,
        "",
        "only see whether one answers at --dns_ip and --dns_port (exit 0 or 69)",
        ("dns",),
    ),
    Option("ticket", ("--ticket",), _text, None, "T", "the ticket of the room", _ROOM, has_effect=False),
    Option(
        "replicas",
        ("--replicas",),
        _whole(0, 15),
        1,
        "K",
        "copies of the history kept elsewhere",
        _PARTICIPANTS,
        has_effect=False,
    ),
    Option(
        "debug_endpoint",
        ("--debug-endpoint",),
        _text,
        None,
        "ENDPOINT",
        "for the monitor",
        _PARTICIPANTS,
        has_effect=False,
    ),
    Option(
        "metrics_port",
        ("--metrics-port",),
        _whole(0, 65_535),
        None,
        "PORT",
        "metrics and health",
        _PARTICIPANTS,
        has_effect=False,
    ),
    Option("log_level", ("--log-level",), _log_level, "warning", "LEVEL", ", ".join(LOG_LEVELS), COMMAND_NAMES),
    Option("log_file", ("--log-file",), _text, None, "FILE", "where the log goes", COMMAND_NAMES),
)

_BY_KEY = {option.key: option for option in OPTIONS}


def options_of(command: str) -> list[Option]:
    """The options that `command` has, in the order of the table."""
    return [option for option in OPTIONS if command in option.commands]


@dataclass(frozen=True, slots=True)
class Settings:
    """The values of one command's options, checked, by key; `dns` is always a tuple of "host:port".

    `given`: the keys that were given a value somewhere, in the order of the table.
    """

    command: str
    values: Mapping[str, Any]
    given: tuple[str, ...] = ()

    def __getitem__(self, key: str) -> Any:
        return self.values[key]


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
    return Settings(command, values, tuple(key for key, rank in ranks.items() if rank < len(layers)))


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
            return CommandError(f"RELEVO_{option.key.upper()} in the environment: {cause}", EXIT_CONFIG)
        return CommandError(f"{self.name}: {option.key}: {cause}", EXIT_CONFIG)


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    found = {option.key: environment.get(f"RELEVO_{option.key.upper()}", "") for option in OPTIONS}
    return {key: value for key, value in found.items() if value}


def _from_file(command: str, file: Mapping[str, Any], file_name: str) -> list[_Layer]:
    """The command's own table, then the top of the file; every key in the file is looked at."""
    top: dict[str, Any] = {}
    tables: dict[str, dict[str, Any]] = {}
    for key, value in file.items():
        if isinstance(value, dict):
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
    return (join_address(values["dns_ip"], values["dns_port"]),)
