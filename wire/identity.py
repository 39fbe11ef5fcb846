"""Who somebody is: the key that its connections prove; ids that name their key; permits; pure.

On a closed network every participant has a CURVE key pair, and its public key, 40 characters of Z85, is what it is.
Ids of members and servers begin with the fingerprint of their key, so that anyone who knows the key of a connection
can tell, without asking anybody, whether it may speak for an id. On an open network nobody has a key: it is the empty
text, and ids are what their owners say.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final

KEY_CHARS: Final = 40  # of a CURVE key in Z85
FINGERPRINT_CHARS: Final = 32  # 128 bits: nobody finds a second key of the same fingerprint
SECRET_BYTES: Final = 16  # of a room's secret, which is in its ticket
PROOF_BYTES: Final = 32
_SHOWN_GROUPS: Final = 4


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair, in Z85."""

    public: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a participant of a closed network has: its own keys, and what the ticket says.

    `zdns_key`: zdns' public key. `secret`: the room's, shared by all who have the ticket.
    """

    keys: KeyPair
    zdns_key: str
    secret: bytes = field(repr=False)


def fingerprint(key: str) -> str:
    """The first 128 bits of the SHA-256 digest of a public key in Z85, as hex digits; of no key: nothing."""
    return hashlib.sha256(key.encode()).hexdigest()[:FINGERPRINT_CHARS] if key else ""


def make_id(key: str, nonce: str) -> str:
    """An id that belongs to `key`; `nonce` tells it from the others of that key. Without a key it is the nonce."""
    return f"{fingerprint(key)}-{nonce}" if key else nonce


def belongs(id_: str, key: str) -> bool:
    """Whether whoever has `key` may speak for `id_`. On an open network, without keys, everybody may."""
    return not key or id_.startswith(f"{fingerprint(key)}-")


def same_owner(one: str, other: str) -> bool:
    """Whether two ids are of one key, by what they say themselves."""
    return one.partition("-")[0] == other.partition("-")[0]


def owner(id_: str) -> str:
    """The fingerprint an id begins with; nothing if it names no key."""
    head, dash, _ = id_.partition("-")
    return head if dash and len(head) == FINGERPRINT_CHARS else ""


def shown(fingerprint_: str) -> str:
    """A fingerprint as people compare it: its first 64 bits, in groups."""
    return "-".join(fingerprint_[at : at + 4] for at in range(0, 4 * _SHOWN_GROUPS, 4)) if fingerprint_ else ""


def proof(secret: bytes, zdns_key: str, key: str) -> bytes:
    """What shows zdns that the holder of `key` knows the room's secret; of no use to anybody else, or elsewhere."""
    return _mac(secret, "relevo admission", zdns_key, key)


def permit(permit_key: bytes, key: str) -> bytes:
    """What shows a server that zdns has admitted the holder of `key`."""
    return _mac(permit_key, "relevo permit", key)


def token(token_key: bytes, key: str) -> bytes:
    """What shows zdns that it has admitted the holder of `key` before; nobody else can make it."""
    return _mac(token_key, "relevo token", key)


def is_token(token_key: bytes, key: str, given: bytes) -> bool:
    """Whether `given` is the token of `key`; compared in constant time."""
    return hmac.compare_digest(token(token_key, key), given)


def is_permit(permit_key: bytes, key: str, given: bytes) -> bool:
    """Whether `given` is the permit of `key`; compared in constant time."""
    return hmac.compare_digest(permit(permit_key, key), given)


def is_proof(secret: bytes, zdns_key: str, key: str, given: bytes) -> bool:
    """Whether `given` proves the room's secret; compared in constant time."""
    return hmac.compare_digest(proof(secret, zdns_key, key), given)


def _mac(key: bytes, *parts: str) -> bytes:
    return hmac.digest(key, "\0".join(parts).encode(), "sha256")
