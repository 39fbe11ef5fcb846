"""What the value of an option may be; pure.

Each check takes text (from a flag or the environment) or a TOML value, and returns the value; its ValueError says in
half a sentence why not.
"""

import ipaddress
import math
from collections.abc import Callable
from typing import Any

from ui.keymap import Keymap
from wire import limits, names

YES = ("1", "true", "yes", "on")
NO = ("0", "false", "no", "off")
ADDRESSES_MAX = 16  # chosen: name servers, or members of etcd, to try in turn
ETCD = "etcd://"

Check = Callable[[Any], Any]


def text(value: Any) -> str:
    """Any printable text."""
    if not isinstance(value, str):
        raise ValueError(f"it should be text in quotes, not {value!r}")
    if not value:
        raise ValueError("it is empty")
    if not value.isprintable():
        raise ValueError("it has characters that cannot be printed")
    return value


def yes_or_no(value: Any) -> bool:
    """A switch."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in YES + NO:
        return value.lower() in YES
    raise ValueError(f"it should be true or false, not {value!r}")


def one_of(*words: str) -> Callable[[Any], str]:
    """One of these words, in any case; where "yes" and "no" are among them, so are the other words for them."""

    def check(value: Any) -> str:
        word = str(value).lower() if isinstance(value, str | int) else ""
        if word in YES + NO and {"yes", "no"} <= set(words):
            return "yes" if word in YES else "no"
        if word not in words:
            raise ValueError(f"it should be {', '.join(words[:-1])} or {words[-1]}, not {value!r}")
        return word

    return check


def number(value: Any) -> float:
    """A number from 0 up."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"it should be a number, not {value!r}")
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"it should be a number, not {value!r}") from None
    if not math.isfinite(found) or found < 0:
        raise ValueError(f"it should be a number from 0 up, not {value}")
    return found


def whole(low: int, high: int) -> Callable[[Any], int]:
    """A whole number between these, both included."""

    def check(value: Any) -> int:
        try:
            found = int(value) if not isinstance(value, bool | float) else None
        except (TypeError, ValueError):
            found = None
        if found is None or not low <= found <= high:
            raise ValueError(f"it should be a whole number from {low} to {high}, not {value!r}")
        return found

    return check


def seconds(low: float, high: float) -> Callable[[Any], float]:
    """A time between these, or 0."""

    def check(value: Any) -> float:
        found = number(value)
        if found != 0 and not low <= found <= high:
            raise ValueError(f"it should be from {low:g} to {high:g} seconds, not {value}")
        return found

    return check


def above_zero(check: Callable[[Any], float]) -> Callable[[Any], float]:
    """What `check` lets pass, but 0."""

    def checked(value: Any) -> float:
        found = check(value)
        if found == 0:
            raise ValueError("it should be more than 0")
        return found

    return checked


def posts_per_s(value: Any) -> float:
    """`20`, `20/s` or `20/second`."""
    if isinstance(value, str):
        value = value.removesuffix("/second").removesuffix("/s")
    return number(value)


def ticket(value: Any) -> str:
    """A ticket, without the line ends a terminal may have put into it; whether it is one is seen when it is used."""
    return text("".join(value.split()) if isinstance(value, str) else value)


def service(value: Any) -> str:
    """The name of a room."""
    return names.check_service(text(value))


def nick(value: Any) -> str:
    """The name of a person."""
    return names.check_nick(text(value))


def host(value: Any) -> str:
    """A host name or an address, without a port."""
    found = text(value).removeprefix("[").removesuffix("]")
    if any(char.isspace() or char in "/,@" for char in found):
        raise ValueError(f"{value!r} is no host name or address")
    if ":" in found:
        try:
            ipaddress.IPv6Address(found.partition("%")[0])
        except ValueError:
            raise ValueError(f"{value!r} is no host name or address (a port goes into its own option)") from None
    return found


port = whole(1, 65_535)


def join_address(host_name: str, port_number: int) -> str:
    """`host:port`, with brackets round an IPv6 address."""
    return f"[{host_name}]:{port_number}" if ":" in host_name else f"{host_name}:{port_number}"


def addresses(value: Any, usual_port: int = limits.DNS_PORT) -> tuple[str, ...]:
    """`H:P[,H:P]`, or a TOML list of such; without a port it is the usual one."""
    parts = value if isinstance(value, list | tuple) else text(value).split(",")
    found = []
    for part in parts:
        address = text(part).strip()
        name, colon, end = address.rpartition(":")
        if not colon or (address.count(":") > 1 and not name.endswith("]")):
            name, end = address, str(usual_port)
        found.append(join_address(host(name), port(end)))
    if not 1 <= len(found) <= ADDRESSES_MAX:
        raise ValueError(f"it should name 1 to {ADDRESSES_MAX} addresses")
    return tuple(found)


def store(value: Any) -> str:
    """`sqlite`, `memory`, or `etcd://H:P[,H:P]`."""
    found = text(value)
    if found.lower() in ("sqlite", "memory"):
        return found.lower()
    if not found.lower().startswith(ETCD):
        raise ValueError(f"it should be sqlite, memory or {ETCD}HOST:PORT[,HOST:PORT], not {value!r}")
    return ETCD + ",".join(addresses(found[len(ETCD) :].removesuffix("/"), limits.ETCD_PORT))


def keys(value: Any) -> dict[str, tuple[str, ...]]:
    """Keys by the action they do: a TOML table of keys and lists of keys, or `action=key,action=key`.

    What is returned would pass too. Enter, which always sends, is not in it.
    """
    if isinstance(value, str):
        given = dict[str, list[str]]()
        for part in text(value).split(","):
            name, equals, key = part.partition("=")
            if not equals:
                raise ValueError(f"it should be like 'redraw=f5,close=meta q'; {part[:40]!r} has no '='")
            given.setdefault(name.strip(), []).append(key)
    elif isinstance(value, dict):
        given = {name: [one] if isinstance(one, str) else one for name, one in value.items()}
        if not all(
            isinstance(ones, list | tuple) and all(isinstance(one, str) for one in ones) for ones in given.values()
        ):
            raise ValueError("each action should have a key in quotes, or a list of such")
    else:
        raise ValueError(f"it should be a table of actions and their keys, not {value!r}")
    return Keymap.from_overrides(given).overrides
