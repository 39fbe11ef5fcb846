"""Who may ask a closed zdns, and for whom; what servers are told about whom to let in; pure."""

import hashlib
import hmac
from collections import OrderedDict
from dataclasses import dataclass, field

import msgspec

from wire import identity, limits
from wire.errors import RefusalCode
from wire.identity import KeyPair
from wire.messages import (
    Admit,
    Admitted,
    Claim,
    DnsReply,
    DnsRequest,
    Door,
    NameRequest,
    Record,
    Refused,
    Register,
    Registered,
    Renew,
    Resolve,
)

_encoder = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class Ban:
    """A key that is not let in any more. `name`: what its holder was called, for people."""

    fingerprint: str
    name: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class House:
    """What makes a network closed; zdns keeps it in a file of its own.

    `secret`: shared by all who have the ticket. `permit_key`: makes the permits that servers want to see; they have it
    too, so it changes with each ban. `number`: rises with each change. `generation`: rises when everybody is out who
    does not show the ticket anew.
    """

    keys: KeyPair
    secret: bytes = field(repr=False)
    permit_key: bytes = field(repr=False)
    number: int
    bans: tuple[Ban, ...] = ()
    generation: int = 0

    @property
    def token_key(self) -> bytes:
        """Makes the tokens of those who were admitted; only zdns has it."""
        return hmac.digest(self.keys.secret.encode(), f"relevo token {self.generation}".encode(), "sha256")

    @property
    def seal_key(self) -> bytes:
        """Makes the seals of records; the same as long as zdns has the same keys."""
        return hmac.digest(self.keys.secret.encode(), b"relevo record", "sha256")

    @property
    def door(self) -> Door:
        """What servers are told."""
        banned = tuple(ban.fingerprint for ban in self.bans)
        return Door(self.number, self.permit_key, banned, self.generation)


class Doorkeeper:
    """Judges each request before the registry sees it. Invariant: nothing is answered to a key not admitted."""

    def __init__(self, house: House | None) -> None:
        """`house`: None for an open network, where everybody may ask for everybody."""
        self._house = house
        self._banned: frozenset[str] = frozenset()
        self._admitted: OrderedDict[str, None] = OrderedDict()
        if house is not None:
            self.change(house)

    def change(self, house: House) -> None:
        """The house is another one now: who is banned may have changed, or whether anybody is let in still."""
        if self._house is None or self._house.generation != house.generation:
            self._admitted.clear()
        self._house = house
        self._banned = frozenset(ban.fingerprint for ban in house.bans)

    def judge(self, request: DnsRequest, key: str) -> DnsReply | None:
        """The answer, if the door gives it; None: let the registry decide. `key`: of the asker's connection."""
        house = self._house
        if house is None:
            return Admitted(request.ask, b"", b"") if isinstance(request, Admit) else None
        if identity.fingerprint(key) in self._banned:
            return Refused(request.ask, RefusalCode.BANNED, "whoever runs zdns has banned this key from it")
        if isinstance(request, Admit):
            return self._admit(house, request, key)
        if key not in self._admitted:
            return Refused(request.ask, RefusalCode.NOT_ADMITTED, "show the ticket first")
        self._admitted.move_to_end(key)
        if not _speaks_for_itself(request, key):
            return Refused(request.ask, RefusalCode.NOT_YOURS, "this server id belongs to another key than yours")
        return None

    def complete(self, request: NameRequest, reply: DnsReply) -> DnsReply:
        """The registry's answer, with what a server should know of the door if it does not yet."""
        if self._house is None or not isinstance(request, Register | Renew) or not isinstance(reply, Registered):
            return reply
        if request.door == self._house.number:
            return reply
        return msgspec.structs.replace(reply, door=self._house.door)

    def seal(self, record: Record) -> Record:
        """The record with the seal of this zdns; on an open network as it is."""
        if self._house is None:
            return record
        return msgspec.structs.replace(record, seal=_seal(self._house.seal_key, record))

    def is_sealed(self, record: Record) -> bool:
        """Whether this zdns, or the one before it, has granted exactly this record; on an open network who knows."""
        if self._house is None:
            return True
        return hmac.compare_digest(_seal(self._house.seal_key, record), record.seal)

    def _admit(self, house: House, request: Admit, key: str) -> DnsReply:
        if request.protocol != limits.PROTOCOL:
            sentence = (
                f"versions differ: you speak protocol {request.protocol}, this zdns speaks protocol {limits.PROTOCOL}; "
                "update the older of the two"
            )
            return Refused(request.ask, RefusalCode.VERSION, sentence)
        has_token = identity.is_token(house.token_key, key, request.token)
        if not has_token and not identity.is_proof(house.secret, house.keys.public, key, request.proof):
            sentence = "this ticket is no longer valid: ask whoever runs zdns for a new one (`relevo ticket` prints it)"
            return Refused(request.ask, RefusalCode.BAD_TICKET, sentence)
        self._admitted[key] = None
        self._admitted.move_to_end(key)
        if len(self._admitted) > limits.ADMITTED_MAX:
            self._admitted.popitem(last=False)  # it shows its token again
        return Admitted(request.ask, identity.permit(house.permit_key, key), identity.token(house.token_key, key))


def _speaks_for_itself(request: NameRequest, key: str) -> bool:
    match request:
        case Resolve():
            return True
        case Register(server=server) | Claim(server=server):
            return identity.belongs(server.id, key) and server.key == key
        case _:
            return identity.belongs(request.server, key)


def _seal(key: bytes, record: Record) -> bytes:
    body = _encoder.encode(msgspec.structs.replace(record, seal=b""))
    return hmac.digest(key, hashlib.sha256(body).digest(), "sha256")
