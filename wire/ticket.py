"""Tickets: where a zdns is, its public key and its room's secret, in one line to be pasted; pure."""

import base64
import hashlib
import re
from dataclasses import dataclass, field
from typing import Final

from wire import limits
from wire.identity import KEY_CHARS, SECRET_BYTES

SCHEME: Final = "relevo://"
_CHECK_BYTES: Final = 4  # of a digest: so that a slip of the hand is called one, not a wrong key
_KEY_BYTES: Final = 32
_ENCODED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_ENCODED_CHARS: Final = -(-(_KEY_BYTES + SECRET_BYTES + _CHECK_BYTES) * 4 // 3)
_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})")
# The same code as Python's Base85 but for the alphabet.
_Z85: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_B85: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_TO_Z85: Final = str.maketrans(_B85, _Z85)
_TO_B85: Final = str.maketrans(_Z85, _B85)


class TicketError(ValueError):
    """Not a ticket; the text is a sentence for people, and never holds any part of what was given."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """All that is needed to join from another machine.

    `addresses`: of zdns, "host:port", the one to ask first first. `zdns_key`: 40 characters of Z85.
    """

    addresses: tuple[str, ...]
    zdns_key: str
    secret: bytes = field(repr=False)

    def __str__(self) -> str:
        body = z85_bytes(self.zdns_key) + self.secret
        encoded = base64.urlsafe_b64encode(body + _check(self.addresses, body)).decode().rstrip("=")
        return f"{SCHEME}{','.join(self.addresses)}/#{encoded}"


def parse(text: str) -> Ticket:
    """Read a ticket; space around it, and line ends that a terminal put into it, do no harm.

    Raises:
        TicketError: it is none, or part of it is missing or mistyped.
    """
    text = "".join(text.split())
    if len(text) > limits.TICKET_CHARS_MAX:
        raise TicketError(f"a ticket has at most {limits.TICKET_CHARS_MAX} characters, this text has {len(text)}")
    if not text.startswith(SCHEME):
        raise TicketError(f"a ticket begins with {SCHEME}: copy the whole line that `relevo ticket` prints")
    where, mark, encoded = text.removeprefix(SCHEME).partition("/#")
    if not mark:
        raise TicketError("the part after /# is missing: put the ticket in quotes, as a shell may cut it there")
    addresses = tuple(where.split(","))
    if len(addresses) > limits.ENDPOINTS_MAX or not all(map(_is_address, addresses)):
        raise TicketError("it does not say where zdns is: host:port stands between relevo:// and /#")
    if not _ENCODED.issuperset(encoded):
        raise TicketError("it holds a character that no ticket has: copy it once more")
    if len(encoded) != _ENCODED_CHARS:
        raise TicketError("it is cut short, or has something added: copy the whole line once more")
    data = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if check != _check(addresses, body):
        raise TicketError("a character of it is wrong: copy it once more")
    ticket = Ticket(addresses, z85_text(body[:_KEY_BYTES]), body[_KEY_BYTES:])
    if str(ticket) != text:
        raise TicketError("a character of it is wrong: copy it once more")
    return ticket


def z85_bytes(text: str) -> bytes:
    """What Z85 stands for, 4 bytes for 5 characters. Source: ZeroMQ RFC 32.

    Raises:
        ValueError: it is no Z85.
    """
    if len(text) % 5 or not set(text) <= set(_Z85):
        raise ValueError("Z85 comes in groups of 5 of its characters")
    return base64.b85decode(text.translate(_TO_B85))


def z85_text(data: bytes) -> str:
    """Bytes, a multiple of 4, as Z85."""
    return base64.b85encode(data).decode().translate(_TO_Z85)


def is_key(text: str) -> bool:
    """Whether it can be a public key: 40 characters of Z85."""
    try:
        return len(text) == KEY_CHARS and len(z85_bytes(text)) == _KEY_BYTES
    except ValueError:
        return False


def _is_address(text: str) -> bool:
    match = _ADDRESS.fullmatch(text)
    return match is not None and 0 < int(match[1]) < 65_536


def _check(addresses: tuple[str, ...], body: bytes) -> bytes:
    return hashlib.sha256(",".join(addresses).encode() + b"\0" + body).digest()[:_CHECK_BYTES]
