"""Names that must not be mixed up, and the checks a name must pass; pure."""

import re
import unicodedata
from typing import NewType

from wire import limits

ServiceName = NewType("ServiceName", str)
Nick = NewType("Nick", str)
ServerId = NewType("ServerId", str)
LinkId = NewType("LinkId", str)

DEFAULT_SERVICE = ServiceName("backend.com")

_SERVICE = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")
# Letters, marks, numbers, and the punctuation people put into nicknames.
_NICK_PUNCTUATION = "-_.'^|[]{}"


def check_service(text: str) -> ServiceName:
    """Return the service name that `text` stands for, in lower case.

    Raises:
        ValueError: the name is empty, too long (limits.SERVICE_CHARS_MAX) or has a character a host name may not have.
    """
    name = text.strip().lower()
    if not name:
        raise ValueError("a service name may not be empty")
    if len(name) > limits.SERVICE_CHARS_MAX:
        raise ValueError(f"a service name has at most {limits.SERVICE_CHARS_MAX} characters, this one has {len(name)}")
    if not _SERVICE.fullmatch(name):
        raise ValueError(
            f"{name!r} is no service name: use letters, digits, '-', '_' and '.', as in {DEFAULT_SERVICE!r}"
        )
    return ServiceName(name)


def check_nick(text: str) -> Nick:
    """Return the nick that `text` stands for, in Unicode's composed form (NFKC).

    Raises:
        ValueError: the nick is empty, too long (limits.NICK_CHARS_MAX) or has a character that would confuse readers.
    """
    nick = unicodedata.normalize("NFKC", text.strip())
    if not nick:
        raise ValueError("a nick may not be empty")
    if len(nick) > limits.NICK_CHARS_MAX:
        raise ValueError(f"a nick has at most {limits.NICK_CHARS_MAX} characters, this one has {len(nick)}")
    for char in nick:
        if unicodedata.category(char)[0] not in "LMN" and char not in _NICK_PUNCTUATION:
            raise ValueError(f"a nick may not contain {char!r}: use letters, digits and {_NICK_PUNCTUATION}")
    if unicodedata.category(nick[0])[0] not in "LN" and nick[0] not in "_^|[]{}":
        raise ValueError(f"a nick may not begin with {nick[0]!r}")
    return Nick(nick)


def nick_key(nick: str) -> str:
    """The form in which two nicks are compared: composed, without case ("Ana" and "ANA" are one)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", nick).casefold())


def nick_with_suffix(nick: Nick, number: int) -> Nick:
    """The `number`-th form of a nick that is taken: ana, ana-2, ana-3 …, never over the limit."""
    suffix = f"-{number}"
    return Nick(nick[: limits.NICK_CHARS_MAX - len(suffix)] + suffix)
