"""Records, epochs, versions, in-sync lists, leases: every rule of who may serve a name; pure.

Safety rests on the records alone: each change compares the caller's epoch (and version), so that nothing a
slow, repeated or deposed caller says can undo a later decision. Leases say only who is worth naming.

Records may be lost all the same, with the disk they were on. Whoever holds a copy of a history tells of the record
under which it holds it, and the newest one told is taken up. Until those who may know of a name have had the time
to say so, the grace, it is given to nobody.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

import msgspec

from wire import identity, limits, names
from wire.errors import InvariantViolated, RefusalCode
from wire.messages import (
    Claim,
    ClaimKind,
    DnsReply,
    Done,
    Granted,
    Leave,
    NameRequest,
    NameState,
    Pick,
    Picked,
    Record,
    Refused,
    Register,
    Registered,
    Renew,
    Resolve,
    Resolved,
    ServerInfo,
    SetInSync,
    Transfer,
)

# An epoch this high was never reached honestly; above it the next one might not fit its field.
_EPOCH_MAX = 2**62
_REGISTER_ANEW = "you are not registered (any more): register anew"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to answer. `record`, if any, is saved, synced and then adopted before the answer leaves."""

    reply: DnsReply
    record: Record | None = None


@dataclass(slots=True)
class _Lease:
    server: ServerInfo
    ends_ms: int
    # Of the history, as far as it said; one that has only just come is given the benefit of the doubt.
    has_copy: bool = True
    # It has said which record it knows. Who has not is thought to be there, and asked to register when it renews.
    is_registered: bool = True
    # It was started again, and its disk lacks what it had in memory. Until it has everything again.
    is_behind: bool = False


@dataclass(slots=True)
class _Service:
    record: Record | None = None
    leases: dict[str, _Lease] = field(default_factory=dict)
    # The epoch of the record that was taken up last because a server told of it; 0: none was.
    told_epoch: int = 0


class Seals(Protocol):
    """How records of one's own are known again."""

    def seal(self, record: Record) -> Record:
        """The record, with a seal."""

    def is_sealed(self, record: Record) -> bool:
        """Whether its seal is right."""


class Registry:
    """What zdns knows. Invariant: an epoch is granted to one server, once; epochs and versions only rise."""

    def __init__(
        self,
        records: Iterable[Record],
        lease_ms: int,
        now_ms: int,
        *,
        rng: Random,
        grace_ms: int = 0,
        takes_up: bool = True,
        seals: Seals | None = None,
    ) -> None:
        """Go on from stored `records`: the servers they name get one full lease from `now_ms`.

        Args:
            records: what is known of before anybody says anything.
            lease_ms: how long a server that does not renew is thought to be there.
            now_ms: monotonic time.
            rng: draws the standbys that are picked.
            grace_ms: for so long from `now_ms` no name is given away of which `records` tell nothing.
            takes_up: a record that a server tells takes the place of an older one, or of none.
            seals: with them, only a record that has the right one is taken up.
        """
        if lease_ms <= 0:
            raise ValueError("a lease has to last")
        self._lease_ms = lease_ms
        self._rng = rng
        self._takes_up = takes_up
        self._seals = seals
        self._grace_ends_ms = now_ms + grace_ms
        self._swept_ms = now_ms
        self._services: dict[str, _Service] = {}
        for record in records:
            service = _Service(record)
            self._presume(service, record, now_ms)
            self._services[record.service] = service

    def decide(self, request: NameRequest, now_ms: int) -> Decision:
        """Judge one request. Records stay as they are until `adopt`; leases may begin, go on or end."""
        return self._sealed(self._decide(request, now_ms))

    def _decide(self, request: NameRequest, now_ms: int) -> Decision:
        try:
            name = names.check_service(request.service)
        except ValueError as error:
            return _refuse(request.ask, RefusalCode.BAD_NAME, str(error))
        if isinstance(request, Resolve | Register) and request.protocol != limits.PROTOCOL:
            return _refuse(request.ask, RefusalCode.VERSION, _version_sentence(request.protocol))
        if isinstance(request, Register | Claim) and not (request.server.router and request.server.feed):
            return _refuse(
                request.ask, RefusalCode.MALFORMED, "a server has an endpoint for posts and one for its feed"
            )
        self._sweep(now_ms)
        service = self._services.get(name, _Service())
        _forget_expired(service, now_ms)
        match request:
            case Resolve(ask=ask):
                return Decision(Resolved(ask, _state(service), service.record, _standby_names(service)))
            case Register():
                return self._register(service, name, request, now_ms)
            case Renew():
                return self._renew(service, request, now_ms)
            case Pick():
                return self._pick(service, request)
            case Claim():
                return self._claim(service, name, request, now_ms)
            case Transfer():
                return self._transfer(service, request, now_ms)
            case SetInSync():
                return self._set_in_sync(service, request, now_ms)
            case Leave():
                return _leave(service, request)

    def _sealed(self, decision: Decision) -> Decision:
        """The same, with a seal on the record that it makes, also where the answer tells of it."""
        if self._seals is None or decision.record is None:
            return decision
        record = self._seals.seal(decision.record)
        reply = decision.reply
        if getattr(reply, "record", None) == decision.record:
            reply = msgspec.structs.replace(reply, record=record)
        return Decision(reply, record)

    def adopt(self, record: Record) -> None:
        """Take over a record that a `Decision` carried and that is safely stored.

        Raises:
            InvariantViolated: its epoch or version is not higher than that of the record it replaces.
        """
        service = self._services.setdefault(record.service, _Service())
        was = service.record
        if was is not None and (record.epoch < was.epoch or record.version <= was.version):
            raise InvariantViolated(
                f"service={record.service} epoch {was.epoch} version {was.version} cannot be followed by "
                f"epoch {record.epoch} version {record.version}"
            )
        service.record = record
        for server in record.in_sync:
            # Whoever comes onto the list, or is made the active one, has everything.
            is_promoted = was is not None and record.epoch > was.epoch and server.id == record.active.id
            lease = service.leases.get(server.id)
            if lease is not None and (is_promoted or was is None or not _is_in_sync(was, server.id)):
                lease.is_behind = False

    def extend_leases(self, lost_ms: int) -> None:
        """Give back time in which nobody could renew, or tell of a record, because zdns itself stood still."""
        self._grace_ends_ms += lost_ms
        for service in self._services.values():
            for lease in service.leases.values():
                lease.ends_ms += lost_ms

    def evict(self, banned: Container[str]) -> None:
        """Forget the servers of these fingerprints: nobody is to hand over to them, or to wait for them."""
        for service in self._services.values():
            for id_ in [id_ for id_ in service.leases if identity.owner(id_) in banned]:
                del service.leases[id_]

    def describe(self) -> str:
        """How much is known, in one short line."""
        servers_count = sum(len(service.leases) for service in self._services.values())
        return f"zdns services={len(self._services)} servers={servers_count}"

    # --- standing by ---------------------------------------------------------------------------------------------

    def _register(self, service: _Service, name: str, request: Register, now_ms: int) -> Decision:
        told = _told(service, name, request) if self._may_take_up(request.record) else None
        record = told or service.record
        full = self._admit(service, name, request.server, record, now_ms, registers=True)
        if full:
            return _refuse(request.ask, RefusalCode.FULL, full, service.record)
        if request.behind:
            service.leases[request.server.id].is_behind = True
        if told is not None:
            service.told_epoch = told.epoch
            self._presume(service, told, now_ms)
        after = _Service(record, service.leases, service.told_epoch)
        return Decision(self._registered(after, request.ask, now_ms), told)

    def _may_take_up(self, record: Record | None) -> bool:
        return record is not None and self._takes_up and (self._seals is None or self._seals.is_sealed(record))

    def _renew(self, service: _Service, request: Renew, now_ms: int) -> Decision:
        lease = service.leases.get(request.server)
        if lease is None or not lease.is_registered:
            self._refresh(service, request.server, now_ms)
            return _refuse(request.ask, RefusalCode.NOT_REGISTERED, _REGISTER_ANEW, service.record)
        lease.ends_ms = now_ms + self._lease_ms
        lease.has_copy = service.record is not None and request.holds == service.record.log
        lease.is_behind = lease.is_behind or request.behind
        return Decision(self._registered(service, request.ask, now_ms))

    def _registered(self, service: _Service, ask: int, now_ms: int) -> Registered:
        wait_ms = self._grace_ends_ms - now_ms if self._is_unsure(service, now_ms) else 0
        return Registered(ask, self._lease_ms, _state(service), service.record, _standby_names(service), wait_ms)

    def _pick(self, service: _Service, request: Pick) -> Decision:
        if request.server not in service.leases:
            return _refuse(request.ask, RefusalCode.NOT_REGISTERED, _REGISTER_ANEW, service.record)
        wanted = names.nick_key(request.name)
        servers = [
            server
            for server in _standbys(service)
            if server.id != request.server
            and server.id not in request.exclude
            and (not wanted or names.nick_key(server.name) == wanted)
        ]
        return Decision(Picked(request.ask, self._rng.choice(servers) if servers else None))

    # --- changes of the record -------------------------------------------------------------------------------------

    def _claim(self, service: _Service, name: str, request: Claim, now_ms: int) -> Decision:
        record, server = service.record, request.server
        if request.epoch >= _EPOCH_MAX:
            return _refuse(request.ask, RefusalCode.MALFORMED, f"no service was ever at epoch {request.epoch}", record)
        if request.kind is not ClaimKind.FAILOVER and not request.log:
            return _refuse(request.ask, RefusalCode.MALFORMED, "a new history needs a name", record)
        others = {id_ for id_ in service.leases if id_ != server.id}
        full = self._admit(service, name, server, record, now_ms, registers=False)
        if full:
            return _refuse(request.ask, RefusalCode.FULL, full, record)
        if record is not None and _is_claimed(service, record, request):
            return Decision(Granted(request.ask, record))
        if self._is_unsure(service, now_ms):
            return _refuse(request.ask, RefusalCode.BUSY, _grace_sentence(name), record)
        if record is None:
            if request.kind is ClaimKind.FAILOVER:
                return _refuse(request.ask, RefusalCode.STALE_EPOCH, f"nobody ever served {name}: claim it first")
            # The claimer may remember an epoch that we do not (our store was lost): epochs rise all the same.
            return _grant(request.ask, _fresh(name, request, version=1))
        if record.ended and request.kind is not ClaimKind.FAILOVER and record.epoch == request.epoch:
            return _grant(request.ask, _fresh(name, request, version=record.version + 1))
        if request.kind is ClaimKind.FIRST and not record.ended:
            return _refuse(request.ask, RefusalCode.TAKEN, f"{name} is served by {record.active.name} already", record)
        if record.epoch != request.epoch:
            return _refuse(request.ask, RefusalCode.STALE_EPOCH, _epoch_sentence(request.epoch, record), record)
        if request.kind is ClaimKind.FRESH:
            holders = [holder.name or holder.id for holder in _holders(service) if holder.id in others]
            if holders:
                sentence = f"the history of {name} is not lost: {', '.join(holders)} has it and is there"
                return _refuse(request.ask, RefusalCode.ALIVE, sentence, record)
            return _grant(request.ask, _fresh(name, request, version=record.version + 1))
        if request.from_disk and server.id in record.volatile:
            service.leases[server.id].is_behind = True
        # One that was started again and lacks something will never serve in this epoch.
        active_lives = record.active.id in others and not service.leases[record.active.id].is_behind
        return _fail_over(request, record, active_lives=active_lives)

    def _transfer(self, service: _Service, request: Transfer, now_ms: int) -> Decision:
        record = service.record
        if record is not None and record.epoch == request.epoch + 1 and record.active.id == request.to:
            self._refresh(service, request.server, now_ms)
            return Decision(Granted(request.ask, record))
        checked = self._check_active(service, request, now_ms)
        if isinstance(checked, Decision):
            return checked
        if checked.version != request.version:
            return _refuse(
                request.ask, RefusalCode.STALE_VERSION, _version_of_record_sentence(request, checked), checked
            )
        to = next((server for server in _standbys(service) if server.id == request.to), None)
        if to is not None and _is_in_sync(checked, to.id):
            return _grant(request.ask, _moved(checked, to))
        # A repeat of this request may still be under way. With a new version it can never be granted.
        record = msgspec.structs.replace(checked, version=checked.version + 1)
        if to is None:
            called = next((server.name for server in record.in_sync if server.id == request.to), request.to)
            refused = Refused(request.ask, RefusalCode.NOT_STANDBY, f"{called} does not stand by", record)
        else:
            sentence = f"{to.name or to.id} does not have the whole history of {record.service}"
            refused = Refused(request.ask, RefusalCode.NOT_IN_SYNC, sentence[: limits.MESSAGE_CHARS_MAX], record)
        return Decision(refused, record)

    def _set_in_sync(self, service: _Service, request: SetInSync, now_ms: int) -> Decision:
        checked = self._check_active(service, request, now_ms)
        if isinstance(checked, Decision):
            return checked
        record = checked
        if request.server not in request.in_sync:
            return _refuse(request.ask, RefusalCode.MALFORMED, "the active server is in sync with itself", record)
        # The active one first, each once, the others in the order given.
        wanted = list(dict.fromkeys((request.server, *request.in_sync)))
        volatile = tuple(id_ for id_ in wanted if id_ in request.volatile)
        is_so = wanted == [server.id for server in record.in_sync] and set(volatile) == set(record.volatile)
        if is_so and request.version == record.version - 1:
            return Decision(Granted(request.ask, record))
        if request.version != record.version:
            return _refuse(request.ask, RefusalCode.STALE_VERSION, _version_of_record_sentence(request, record), record)
        known = {server.id: server for server in _named(record)}
        known.update((lease.server.id, lease.server) for lease in service.leases.values())
        strangers = [id_ for id_ in wanted if id_ not in known]
        if strangers:
            # As with a transfer: a late copy of this request is never to be granted after it was refused.
            record = msgspec.structs.replace(record, version=record.version + 1)
            refused = Refused(request.ask, RefusalCode.NOT_STANDBY, f"{strangers[0]} does not stand by", record)
            return Decision(refused, record)
        in_sync = (record.active, *(known[id_] for id_ in wanted[1:]))
        record = msgspec.structs.replace(record, version=record.version + 1, in_sync=in_sync, volatile=volatile)
        return _grant(request.ask, record)

    def _check_active(self, service: _Service, request: Transfer | SetInSync, now_ms: int) -> Record | Decision:
        """The record, if the asker is the active server of the epoch it names; else the refusal."""
        record = service.record
        self._refresh(service, request.server, now_ms)
        is_behind = record is None or (record.epoch, record.version) < (request.epoch, request.version)
        if is_behind and self._is_unsure(service, now_ms):
            return _refuse(request.ask, RefusalCode.BUSY, _grace_sentence(request.service), record)
        if record is None:
            return _refuse(request.ask, RefusalCode.NOT_ACTIVE, f"nobody ever served {request.service}")
        if record.epoch != request.epoch:
            return _refuse(request.ask, RefusalCode.STALE_EPOCH, _epoch_sentence(request.epoch, record), record)
        if record.active.id != request.server:
            sentence = f"{record.active.name} serves in epoch {record.epoch}, not you"
            return _refuse(request.ask, RefusalCode.NOT_ACTIVE, sentence, record)
        if self._is_unsure(service, now_ms):  # somebody may have been granted a later epoch, and be about to tell
            return _refuse(request.ask, RefusalCode.BUSY, _grace_sentence(request.service), record)
        if request.server not in service.leases:
            service.leases[request.server] = _Lease(record.active, now_ms + self._lease_ms, is_registered=False)
        return record

    def _is_unsure(self, service: _Service, now_ms: int) -> bool:
        """Whether somebody may still come and tell of a newer record than is known."""
        if now_ms >= self._grace_ends_ms:
            return False
        return service.record is None or 0 < service.told_epoch <= service.record.epoch

    # --- leases ------------------------------------------------------------------------------------------------------

    def _admit(
        self, service: _Service, name: str, server: ServerInfo, record: Record | None, now_ms: int, *, registers: bool
    ) -> str:
        """Give `server` a lease, as one that `record` names always gets; return why it gets none, or nothing."""
        was = service.leases.get(server.id)
        if was is None:
            if name not in self._services and len(self._services) >= limits.SERVICES_MAX:
                return f"this zdns knows {limits.SERVICES_MAX} services already"
            is_named = record is not None and any(one.id == server.id for one in _named(record))
            if len(service.leases) >= limits.STANDBYS_MAX and not is_named:
                return f"{limits.STANDBYS_MAX} servers stand by for {name} already"
        self._services[name] = service
        is_registered = registers or (was is not None and was.is_registered)
        is_behind = was is not None and was.is_behind
        service.leases[server.id] = _Lease(
            server, now_ms + self._lease_ms, is_registered=is_registered, is_behind=is_behind
        )
        return ""

    def _presume(self, service: _Service, record: Record, now_ms: int) -> None:
        """Give a full lease to everybody whom `record` names."""
        for server in _named(record):
            lease = service.leases.setdefault(server.id, _Lease(server, 0, is_registered=False))
            lease.ends_ms = now_ms + self._lease_ms

    def _refresh(self, service: _Service, id_: str, now_ms: int) -> None:
        lease = service.leases.get(id_)
        if lease is not None:
            lease.ends_ms = now_ms + self._lease_ms

    def _sweep(self, now_ms: int) -> None:
        """Once a lease, forget everybody whose lease has ended, and names without record and servers."""
        if now_ms < self._swept_ms + self._lease_ms:
            return
        self._swept_ms = now_ms
        for name, service in list(self._services.items()):
            _forget_expired(service, now_ms)
            if service.record is None and not service.leases:
                del self._services[name]

    # --- on a store that several zdns share: leases begin and end there, not here -------------------------------------

    def share(self, name: str, record: Record | None, servers: Iterable[tuple[ServerInfo, bool]], now_ms: int) -> None:
        """Know of service `name` exactly this: its record, who is there now, and who of them has its copy."""
        leases = {server.id: _Lease(server, now_ms + self._lease_ms, has_copy) for server, has_copy in servers}
        self._services[name] = _Service(record, leases)

    def shared(self, name: str, id_: str) -> tuple[ServerInfo, bool] | None:
        """What the shared store is to know of this server after a decision; None: that it is not there."""
        service = self._services.get(name)
        lease = service.leases.get(id_) if service is not None else None
        return None if lease is None else (lease.server, lease.has_copy)


def _named(record: Record) -> list[ServerInfo]:
    """The active server and the in-sync ones, each once."""
    return list({server.id: server for server in (*record.in_sync, record.active)}.values())


def _is_in_sync(record: Record, id_: str) -> bool:
    return any(server.id == id_ for server in record.in_sync)


def _holders(service: _Service) -> list[ServerInfo]:
    """Those on record as holding the history who are there and have not let go of it.

    The active one never has, unless it is behind.
    """
    record, leases = service.record, service.leases
    if record is None or record.ended:
        return []
    present = [server for server in _named(record) if server.id in leases]
    able = [server for server in present if not leases[server.id].is_behind]
    return [server for server in able if server.id == record.active.id or leases[server.id].has_copy]


def _leave(service: _Service, request: Leave) -> Decision:
    """Whoever leaves is forgotten; the last one in the room may take its history along, and then the name is free."""
    service.leases.pop(request.server, None)
    record = service.record
    if not request.ends or record is None or record.ended or record.active.id != request.server or _holders(service):
        return Decision(Done(request.ask))
    return Decision(Done(request.ask), msgspec.structs.replace(record, version=record.version + 1, ended=True))


def _forget_expired(service: _Service, now_ms: int) -> None:
    for id_ in [id_ for id_, lease in service.leases.items() if lease.ends_ms <= now_ms]:
        del service.leases[id_]


def _standbys(service: _Service) -> list[ServerInfo]:
    active = service.record.active.id if service.record else None
    return [lease.server for id_, lease in service.leases.items() if id_ != active]


def _standby_names(service: _Service) -> tuple[str, ...]:
    return tuple(server.name for server in _standbys(service))


def _state(service: _Service) -> NameState:
    if service.record is None or service.record.ended:
        return NameState.FREE
    if _holders(service):
        return NameState.SERVED
    return NameState.ORPHANED


def _fresh(name: str, request: Claim, *, version: int) -> Record:
    return Record(
        service=name,
        epoch=request.epoch + 1,
        version=version,
        log=request.log,
        active=request.server,
        in_sync=(request.server,),
    )


def _is_claimed(service: _Service, record: Record, request: Claim) -> bool:
    """Whether `record` is what this claim led to: it was asked before."""
    if record.epoch != request.epoch + 1 or record.active.id != request.server.id:
        return False
    # Who was started again did not ask before. If the epoch was granted by a zdns that is gone, an earlier run had it.
    return not (request.from_disk and service.told_epoch == record.epoch)


def _fail_over(request: Claim, record: Record, *, active_lives: bool) -> Decision:
    server = request.server
    if record.ended or not _is_in_sync(record, server.id):
        sentence = f"you do not have the whole history of {record.service}"
        return _refuse(request.ask, RefusalCode.NOT_IN_SYNC, sentence, record)
    if request.from_disk and server.id in record.volatile:
        sentence = f"you do not have the whole history of {record.service}: the last of it was not on your disk"
        return _refuse(request.ask, RefusalCode.NOT_IN_SYNC, sentence, record)
    if active_lives and not request.unreachable:
        return _refuse(request.ask, RefusalCode.ALIVE, f"{record.active.name} still has its lease", record)
    return _grant(request.ask, _moved(record, server))


def _moved(record: Record, to: ServerInfo) -> Record:
    """The record of the next epoch, in which `to` is active: one of those in sync, who stay so, in their order."""
    others = (server for server in record.in_sync if server.id != to.id)
    return msgspec.structs.replace(
        record, epoch=record.epoch + 1, version=record.version + 1, active=to, in_sync=(to, *others)
    )


def _told(service: _Service, name: str, request: Register) -> Record | None:
    """The record to take up because `request` tells of it, if it is newer than what is known.

    It keeps its version, by which others that are told are compared with it, and by which what was asked of the zdns
    that has lost it is asked again. Only where another history had the name meanwhile it may have to rise.
    """
    told, known = request.record, service.record
    if told is None or not _is_sound(told, name) or not _is_in_sync(told, request.server.id):
        return None
    if known is None:
        return told
    if not _is_newer(told, known):
        return None
    return msgspec.structs.replace(told, version=max(told.version, known.version + 1))


def _is_sound(told: Record, name: str) -> bool:
    """Whether it can be a record of `name` that a zdns granted and that can be followed by another one."""
    ids = [server.id for server in told.in_sync]
    return (
        told.service == name
        and not told.ended
        and 0 < told.epoch < _EPOCH_MAX
        and told.version < _EPOCH_MAX
        and told.in_sync[0] == told.active
        and len(ids) == len(set(ids))
        and set(told.volatile) <= set(ids)
        and all(server.router and server.feed for server in told.in_sync)
    )


def _is_newer(told: Record, known: Record) -> bool:
    """Whether `told` was granted after `known`. An epoch is of one server and one history, whoever tells of it."""
    if told.epoch != known.epoch:
        return told.epoch > known.epoch
    is_of_one = told.log == known.log and told.active.id == known.active.id and not known.ended
    return is_of_one and told.version > known.version


def _grant(ask: int, record: Record) -> Decision:
    return Decision(Granted(ask, record), record)


def _refuse(ask: int, code: RefusalCode, sentence: str, record: Record | None = None) -> Decision:
    return Decision(Refused(ask, code, sentence[: limits.MESSAGE_CHARS_MAX], record))


def _grace_sentence(name: str) -> str:
    return f"this zdns has only just started, and waits for those who may know who serves {name}"


def _version_sentence(protocol: int) -> str:
    return (
        f"versions differ: you speak protocol {protocol}, this zdns speaks protocol {limits.PROTOCOL}; "
        "update the older of the two"
    )


def _epoch_sentence(epoch: int, record: Record) -> str:
    return f"you are at epoch {epoch}, {record.service} is at epoch {record.epoch}"


def _version_of_record_sentence(request: Transfer | SetInSync, record: Record) -> str:
    return f"you are at version {request.version}, the record of {record.service} is at version {record.version}"
