"""One service in a store that several zdns share: its keys and values, and what a request changes in them; pure.

Every zdns reads what is there, judges a request by the rules of the registry, and asks the store to carry
the changes out only if the keys they touch are still as they were read. So any number of zdns may do the
same at once: one of them succeeds, the others read again and judge anew.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from urllib.parse import quote

import msgspec

from wire import limits
from wire.errors import RefusalCode
from wire.messages import (
    Claim,
    DnsReply,
    NameRequest,
    Record,
    Refused,
    Register,
    Resolve,
    ServerInfo,
)
from zdns.registry import Registry

ROOT = "/relevo/"
_FORMAT = b"r1"
_DIGEST_BYTES = 16


class Presence(msgspec.Struct, frozen=True, array_like=True):
    """Somebody who is there. Kept for as long as the etcd lease of the zdns it talks to, and that zdns' patience."""

    server: ServerInfo
    has_copy: bool


@dataclass(frozen=True, slots=True)
class Damaged:
    """A value that no zdns of this version wrote under its key; `why` is half a sentence."""

    why: str


Value = Record | Presence | Damaged

_encoder = msgspec.msgpack.Encoder()
_record_decoder = msgspec.msgpack.Decoder(Record)
_presence_decoder = msgspec.msgpack.Decoder(Presence)


@dataclass(frozen=True, slots=True)
class Row:
    """One key as it was read. `revision` is that of its last change, `lease` 0 when it stays for ever."""

    value: Value
    revision: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Range:
    """An answer of the store: the keys of a service that changed since some revision, and how many there are in all."""

    cluster: int
    revision: int
    rows: Mapping[str, Row]
    count: int


@dataclass(frozen=True, slots=True)
class View:
    """Everything a store has of one service at one revision. Invariant: nothing is missing and nothing too much."""

    service: str
    cluster: int
    revision: int
    rows: Mapping[str, Row]

    @property
    def record(self) -> Record | None:
        """The record, if there is a good one."""
        row = self.rows.get(record_key(self.service))
        return row.value if row is not None and isinstance(row.value, Record) else None

    @property
    def present(self) -> list[Presence]:
        """Who is there, in the order of their keys."""
        return [row.value for _, row in sorted(self.rows.items()) if isinstance(row.value, Presence)]

    def merged(self, changed: Range) -> "View | None":
        """This view with what has changed since; None if keys are gone, so that everything has to be read."""
        if changed.cluster != self.cluster or changed.revision < self.revision:
            return None  # another etcd, or one that was put back to an older state
        # Nothing that exists is missing in here. So as many keys as exist are exactly those that exist.
        rows = {**self.rows, **changed.rows}
        if len(rows) != changed.count:
            return None
        return View(self.service, changed.cluster, changed.revision, rows)

    def without(self, changes: "Iterable[Change]") -> "View":
        """This view after the deletions among `changes`, before anything else."""
        gone = {change.key for change in changes if change.value is None}
        rows = {key: row for key, row in self.rows.items() if key not in gone} if gone else self.rows
        return View(self.service, self.cluster, self.revision, rows)

    def after(self, changes: "Iterable[Change]") -> "View":
        """This view as it will be when `changes` are carried out: good to judge by, not to compare with."""
        rows = dict(self.rows)
        for change in changes:
            if change.value is None:
                rows.pop(change.key, None)
            else:
                rows[change.key] = Row(change.value, change.revision, change.lease)
        return View(self.service, self.cluster, self.revision, rows)


@dataclass(frozen=True, slots=True)
class Change:
    """One key's new value (None: it goes), if its last change is still `revision` (0: it does not exist).

    `lease`: with which it ends; 0: it stays.
    """

    key: str
    value: Record | Presence | None
    revision: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, once `changes` are in the store. `is_there`: the asker stands by then."""

    reply: DnsReply
    changes: tuple[Change, ...] = ()
    is_there: bool = False


# --- keys and values -----------------------------------------------------------------------------------------------


def prefix(service: str) -> str:
    """What every key of a service begins with. A service name has no slash, so no other's keys do."""
    return f"{ROOT}{service}/"


def record_key(service: str) -> str:
    """Where the record of a service is."""
    return f"{prefix(service)}record"


def presence_key(service: str, id_: str) -> str:
    """Where it says that a server is there. Ids come from outside and may have any character."""
    return f"{prefix(service)}servers/{quote(id_, safe='')}"


def pack(key: str, value: Record | Presence) -> bytes:
    """A value as it is stored, good under this key alone."""
    body = _encoder.encode(value)
    return _FORMAT + _digest(key, body) + body


def unpack(service: str, key: str, data: bytes) -> Value:
    """A value from the store; `Damaged` for what `pack` never made under this key."""
    if len(data) > limits.ETCD_VALUE_BYTES_MAX:
        return Damaged(f"it has {len(data)} bytes")
    head = len(_FORMAT) + _DIGEST_BYTES
    if not data.startswith(_FORMAT):
        return Damaged("it is not marked as one of this version")
    body = data[head:]
    if data[len(_FORMAT) : head] != _digest(key, body):
        return Damaged("its checksum is wrong")
    try:
        if key == record_key(service):
            record = _record_decoder.decode(body)
            return record if record.service == service else Damaged(f"it is about {record.service}")
        presence = _presence_decoder.decode(body)
    except msgspec.DecodeError as error:
        return Damaged(str(error))
    return (
        presence if key == presence_key(service, presence.server.id) else Damaged(f"it is about {presence.server.id}")
    )


def _digest(key: str, body: bytes) -> bytes:
    return sha256(b"%d:%s%s" % (len(key.encode()), key.encode(), body)).digest()[:_DIGEST_BYTES]


# --- judging ---------------------------------------------------------------------------------------------------------


def judge(view: View, request: NameRequest, now_ms: int, *, lease_ms: int, lease: int, rng: Random) -> Verdict:
    """What to answer to a request and what to change first, if everything is still as in `view`.

    Args:
        view: of the service that the request names.
        request: anything that may come to zdns.
        now_ms: monotonic time.
        lease_ms: how long a server may be silent.
        lease: under which this zdns writes who is there.
        rng: draws the standby that is picked.
    """
    row = view.rows.get(record_key(view.service))
    if row is not None and isinstance(row.value, Damaged):
        return Verdict(Refused(request.ask, RefusalCode.STORE_FAILED, damage(view)[: limits.MESSAGE_CHARS_MAX]))
    # What the store has is all there is to know: nobody has to tell, and nobody may.
    registry = Registry([], lease_ms, now_ms, rng=rng, takes_up=False)
    registry.share(view.service, view.record, ((one.server, one.has_copy) for one in view.present), now_ms)
    decision = registry.decide(request, now_ms)
    changes: list[Change] = []
    if decision.record is not None:
        registry.adopt(decision.record)  # which makes sure that epochs and versions rise
        changes.append(Change(record_key(view.service), decision.record, row.revision if row is not None else 0))
    asker = asker_of(request)
    shared = registry.shared(view.service, asker)
    changes += _presence_changes(view, asker, Presence(*shared) if shared is not None else None, lease)
    return Verdict(decision.reply, tuple(changes), shared is not None)


def overdue(view: View, id_: str, lease: int) -> tuple[Change, ...]:
    """What it takes to forget a server that has been silent for too long, unless another zdns has heard it since."""
    row = view.rows.get(presence_key(view.service, id_))
    if row is None or row.lease != lease:
        return ()
    return (Change(presence_key(view.service, id_), None, row.revision),)


def applied(view: View, changes: Sequence[Change]) -> bool:
    """Whether the store is as `changes` would have it: how a doubtful answer is settled.

    A record cannot be mistaken for another zdns': equal epoch, version and active server come from the same
    request, to which both give the same answer.
    """
    return all(_is_applied(view.rows.get(change.key), change) for change in changes)


def owned(view: View, lease: int) -> list[str]:
    """The servers whose presence this zdns has to end when they fall silent."""
    return [row.value.server.id for row in view.rows.values() if row.lease == lease and isinstance(row.value, Presence)]


def damage(view: View) -> str:
    """A sentence about keys that are not as this program wrote them; empty when all are good."""
    bad = [(key, row.value.why) for key, row in sorted(view.rows.items()) if isinstance(row.value, Damaged)]
    if not bad:
        return ""
    key, why = next(((key, why) for key, why in bad if key == record_key(view.service)), bad[0])
    others = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    return f"{key} in etcd is damaged and is not used: {why}{others}"


def refusal(ask: int, sentence: str) -> Refused:
    """The answer to a request that the store certainly did not carry out."""
    text = f"zdns could not write it down, so it did not happen: {sentence}"
    return Refused(ask, RefusalCode.STORE_FAILED, text[: limits.MESSAGE_CHARS_MAX])


def asker_of(request: NameRequest) -> str:
    """The id of the server that asks; empty when anybody may."""
    match request:
        case Resolve():
            return ""
        case Register() | Claim():
            return request.server.id
        case _:
            return request.server


def _presence_changes(view: View, id_: str, wanted: Presence | None, lease: int) -> Iterable[Change]:
    key = presence_key(view.service, id_)
    row = view.rows.get(key)
    is_there = row is not None and isinstance(row.value, Presence)
    if wanted is None:
        return [Change(key, None, row.revision)] if is_there and row is not None else []
    # Whoever talks to this zdns now is this one's to miss, even if another zdns wrote the same before.
    if row is not None and row.value == wanted and row.lease == lease:
        return []
    return [Change(key, wanted, row.revision if row is not None else 0, lease)]


def _is_applied(row: Row | None, change: Change) -> bool:
    if change.value is None or row is None:
        return change.value is None and row is None
    return row.value == change.value and row.lease == change.lease
