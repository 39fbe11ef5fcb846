"""Giving the room away: offer, dump while serving, seal, transfer, take over; or give up and serve on; pure.

Until the transfer is asked for, any failure ends in IDLE and the room is served on. Once it is asked for,
only zdns knows: it is asked until it answers. The decision leaves through `Verdict` values; whoever composes
this machine seals, reopens and retires the room.
"""

import enum
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from broker.history import History
from wire import limits
from wire.errors import RefusalCode
from wire.messages import (
    Accept,
    Credit,
    Decline,
    DnsReply,
    DnsRequest,
    Dump,
    Granted,
    LinkAsk,
    LinkAt,
    Message,
    Offer,
    Pick,
    Picked,
    Ready,
    Record,
    Refused,
    Released,
    RoomState,
    Sealed,
    ServerInfo,
    SetInSync,
    TakeOver,
    Took,
    Transfer,
    Withdraw,
)
from wire.names import LinkId
from wire.step import CloseLink, Command, LinkKind, OpenLink, Send, StartTimer, StopTimer

STEP = "handover.step"
PREPARED = "handover.prepared"
TRANSFER = "handover.transfer"
RECLAIM = "handover.reclaim"


class Phase(enum.Enum):
    """Where a handover stands; RETIRED: the target has the role, and our copy is kept until it lets go of it."""

    IDLE = "idle"
    PICKING = "picking"
    LINKING = "linking"
    OFFERED = "offered"
    DUMPING = "dumping"
    PREPARED = "prepared"
    SEALED = "sealed"
    TRANSFERRING = "transferring"
    RETIRED = "retired"


_MOVES: dict[Phase, tuple[Phase, ...]] = {
    Phase.IDLE: (Phase.PICKING,),
    Phase.PICKING: (Phase.LINKING, Phase.IDLE),
    Phase.LINKING: (Phase.OFFERED, Phase.IDLE),
    Phase.OFFERED: (Phase.DUMPING, Phase.IDLE),
    Phase.DUMPING: (Phase.PREPARED, Phase.IDLE),
    Phase.PREPARED: (Phase.SEALED, Phase.IDLE),
    Phase.SEALED: (Phase.TRANSFERRING, Phase.IDLE),
    Phase.TRANSFERRING: (Phase.RETIRED, Phase.IDLE),
    Phase.RETIRED: (Phase.IDLE,),
}


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell clients to connect to `target` ahead."""

    target: ServerInfo


@dataclass(frozen=True, slots=True)
class SealNow:
    """Seal the room and, when all is committed, call `sealed`. `record` is how zdns has it now."""

    record: Record


@dataclass(frozen=True, slots=True)
class GaveUp:
    """No handover this time: reopen the room if it was sealed. `target`, if there was one, is left out a while."""

    code: RefusalCode
    why: str
    target: ServerInfo | None


@dataclass(frozen=True, slots=True)
class HandedOver:
    """`record` is granted: retire the room and send everyone to its active server."""

    record: Record


@dataclass(frozen=True, slots=True)
class Overtaken:
    """zdns holds a higher epoch that is not ours to have caused: the room is not ours any more."""

    record: Record


@dataclass(frozen=True, slots=True)
class Reclaim:
    """The target has not said that it took over: ask zdns for the role back (it refuses while the target lives)."""


@dataclass(frozen=True, slots=True)
class LetGo:
    """The target serves, and has our word that we let go of our copy and shall not ask for the role back."""


Verdict = Announce | SealNow | GaveUp | HandedOver | Overtaken | Reclaim | LetGo
Result = tuple[list[Command], list[Verdict]]


class HandoverSource:
    """One handover at a time, from the side that has the room.

    Invariants: no `Transfer` is asked for before `Ready` came with our own digest; from then on IDLE is reached
    only with a record in hand that makes that transfer impossible for good.
    """

    def __init__(self, *, service: str, nonce: str, ask: Callable[[DnsRequest, int | None], list[Command]]) -> None:
        """`ask` puts a request to zdns, with a deadline in ms or None for as long as it takes."""
        self.phase = Phase.IDLE
        self._service = service
        self._nonce = nonce
        self._ask = ask
        self._links = 0
        self._number = 0
        self._reset()

    def _reset(self) -> None:
        self.target: ServerInfo | None = None
        self._move = ""
        self._link: LinkId | None = None
        self._cursor = 0
        self._in_flight: deque[int] = deque()
        self._sent_bytes = 0
        self._dump_began_ms = 0
        self._credited = 0
        self._seal: tuple[int, bytes, RoomState] | None = None
        self._sealed_sent = False
        self._asked_back = False

    def _enter(self, phase: Phase) -> None:
        assert phase in _MOVES[self.phase], f"{self.phase} -> {phase}"
        self.phase = phase

    @property
    def busy(self) -> bool:
        """A handover is under way, or its aftermath."""
        return self.phase is not Phase.IDLE

    @property
    def credited(self) -> int:
        """Up to which seq the target of the handover under way has the history; 0: nothing, or none is under way."""
        return self._credited

    def owns(self, link: LinkId) -> bool:
        """Is this link one of ours (perhaps an old one)?"""
        return link.startswith("give-")

    # --- doing ---

    def begin(self, *, me: ServerInfo, record: Record, history: History, exclude: tuple[str, ...], to: str) -> Result:
        """Start a handover to a random standby, or to the one of host `to`."""
        self._enter(Phase.PICKING)
        self._me, self._record, self._history = me, record, history
        self._number += 1
        self._move = f"{self._nonce}-m{self._number}"
        self._to = to
        pick = Pick(0, self._service, me.id, exclude[: limits.EXCLUDED_MAX], to)
        return self._ask(pick, limits.HANDOVER_STEP_MS), []

    def pump(self, now_ms: int) -> Result:
        """Send what the target has credit for; called whenever the history may have grown."""
        if self.phase not in (Phase.DUMPING, Phase.PREPARED, Phase.SEALED) or self._link is None:
            return [], []
        commands: list[Command] = []
        head = self._history.head
        while self._cursor < head and len(self._in_flight) < limits.CHUNKS_IN_FLIGHT:
            count, block = self._history.block(self._cursor + 1, head)
            commands.append(Send(self._link, Dump(self._move, self._cursor + 1, count, block)))
            self._cursor += count
            self._sent_bytes += len(block)
            self._in_flight.append(self._cursor)
        if self.phase is Phase.DUMPING and head - self._credited <= limits.SEAL_WITHIN_ENTRIES:
            more, verdicts = self._prepare()
            return commands + more, verdicts
        if self.phase is Phase.SEALED and self._seal and not self._sealed_sent and self._cursor == self._seal[0]:
            self._sealed_sent = True
            sealed_head, digest, state = self._seal
            copy_ms = now_ms - self._dump_began_ms
            message = Sealed(
                self._move, sealed_head, digest, state, copy_ms, self._sent_bytes, version=self._record.version
            )
            commands += [Send(self._link, message), StartTimer(STEP, limits.HANDOVER_STEP_MS)]
        return commands, []

    def sealed(self, head: int, digest: bytes, state: RoomState, now_ms: int) -> Result:
        """The room is sealed and all of it committed: send the rest, then the seal."""
        if self.phase is not Phase.SEALED:
            return [], []
        self._seal = (head, digest, state)
        return self.pump(now_ms)

    def forget(self) -> list[Command]:
        """The room is gone to somebody else by another way; nothing of this handover matters any more."""
        if self.phase is Phase.IDLE:
            return []
        return self._end()

    # --- events ---

    def received(self, link: LinkId, message: Message, now_ms: int) -> Result:
        """A message on one of our links."""
        if link != self._link or self._link is None:
            return [], []
        match self.phase, message:
            case Phase.LINKING, LinkAt(move, endpoints) if move == self._move and endpoints:
                return self._offer(endpoints[0]), []
            case Phase.LINKING, Refused(_, code, why):
                return self._give_up(code, f"{self._target_name()} refused: {why}")
            case Phase.OFFERED, Accept(move, have) if move == self._move:
                return self._accepted(have, now_ms)
            case ((Phase.TRANSFERRING | Phase.RETIRED), Decline()):
                return [], []  # too late: zdns alone decides now, or has
            case _, Decline(move, why) if move == self._move:
                return self._give_up(RefusalCode.HANDOVER_FAILED, f"{self._target_name()} declined: {why}")
            case ((Phase.DUMPING | Phase.PREPARED | Phase.SEALED), Credit(move, have)) if move == self._move:
                self._credited = max(self._credited, have)
                while self._in_flight and self._in_flight[0] <= have:
                    self._in_flight.popleft()
                commands, verdicts = self.pump(now_ms)
                return [StartTimer(STEP, limits.HANDOVER_STEP_MS), *commands], verdicts
            case Phase.SEALED, Ready(move, digest) if move == self._move and self._sealed_sent:
                return self._ready(digest)
            case Phase.RETIRED, Took(move, _) if move == self._move and not self._asked_back:
                # Once we have asked for the role back the answer may be yes, however late: then only zdns can part us.
                return [Send(self._link, Released(self._move)), *self._end()], [LetGo()]
            case _:
                return [], []

    def link_down(self, link: LinkId, why: str) -> Result:
        """A connection of ours broke."""
        if link != self._link or self.phase in (Phase.TRANSFERRING, Phase.RETIRED, Phase.IDLE):
            return [], []
        return self._give_up(RefusalCode.HANDOVER_FAILED, f"the link to {self._target_name()} broke: {why}")

    def timer(self, name: str) -> Result:
        """A timer of ours has run out."""
        match self.phase:
            case Phase.TRANSFERRING if name == TRANSFER:
                return self._ask_transfer(), []
            case Phase.RETIRED if name == RECLAIM:
                self._asked_back = True
                return [StartTimer(RECLAIM, limits.HANDOVER_STEP_MS // 4)], [Reclaim()]
            case Phase.IDLE | Phase.TRANSFERRING | Phase.RETIRED:
                return [], []
            case Phase.PREPARED if name == PREPARED:
                return self._probe(), []
            case _ if name == STEP:
                return self._give_up(
                    RefusalCode.HANDOVER_FAILED, f"{self._target_name()} did not answer while {self.phase.value}"
                )
            case _:
                return [], []

    def answered(self, request: DnsRequest, reply: DnsReply) -> Result:
        """zdns answered a Pick, a SetInSync or a Transfer of ours."""
        match self.phase, request, reply:
            case Phase.PICKING, Pick(), Picked(_, server):
                return self._picked(server)
            case Phase.PREPARED, SetInSync(), _:
                return self._probed(reply)
            case Phase.TRANSFERRING, Transfer(to=to), _ if self.target is not None and to == self.target.id:
                return self._transferred(reply)
            case Phase.PICKING, Pick(), _:
                return self._give_up(RefusalCode.HANDOVER_FAILED, "zdns refused to help with the handover")
            case _:
                return [], []

    def unanswered(self, request: DnsRequest) -> Result:
        """zdns was silent, or was not asked after all. A transfer is never given up: it is asked again."""
        match self.phase, request:
            case (Phase.PICKING, Pick()) | (Phase.PREPARED, SetInSync()):
                return self._give_up(RefusalCode.HANDOVER_FAILED, "zdns does not answer", blame=False)
            case Phase.TRANSFERRING, Transfer():
                return [StartTimer(TRANSFER, limits.TRANSFER_RETRY_MS)], []
            case _:
                return [], []

    # --- steps ---

    def _picked(self, server: ServerInfo | None) -> Result:
        if server is None or not server.router:
            who = f"{self._to!r} is no standby" if self._to else "nobody else is here that can take the server role"
            return self._give_up(RefusalCode.NO_STANDBY, who)
        self.target = server
        self._enter(Phase.LINKING)
        ask = LinkAsk(limits.PROTOCOL, self._service, self._move, self._me)
        opened = self._open(LinkKind.ROOM_CONNECT, server.router[0])
        assert self._link is not None
        return [*opened, Send(self._link, ask), StartTimer(STEP, limits.HANDOVER_STEP_MS)], []

    def _offer(self, endpoint: str) -> list[Command]:
        self._enter(Phase.OFFERED)
        closed = self._close()
        opened = self._open(LinkKind.MOVE_CONNECT, endpoint)
        assert self._link is not None
        offer = Offer(
            move=self._move,
            service=self._service,
            source=self._me,
            epoch=self._record.epoch,
            number=self._number,
            log=self._history.log,
            head=self._history.head,
            bytes=self._history.bytes_count,
        )
        return [*closed, *opened, Send(self._link, offer), StartTimer(STEP, limits.HANDOVER_STEP_MS)]

    def _accepted(self, have: int, now_ms: int) -> Result:
        if have > self._history.head:
            return self._give_up(
                RefusalCode.HANDOVER_FAILED, f"{self._target_name()} claims to have more than there is"
            )
        self._enter(Phase.DUMPING)
        self._cursor = self._credited = have
        self._dump_began_ms = now_ms
        commands, verdicts = self.pump(now_ms)
        return [StartTimer(STEP, limits.HANDOVER_STEP_MS), *commands], verdicts

    def _prepare(self) -> Result:
        """Almost everything is over there: let clients connect ahead, for a moment."""
        assert self.target is not None
        self._enter(Phase.PREPARED)
        return [StartTimer(PREPARED, limits.PREPARE_MS)], [Announce(self.target)]

    def _probe(self) -> list[Command]:
        """Before anyone has to wait for zdns, see that it knows our record and can write: have it written once more."""
        record = self._record
        request = SetInSync(0, self._service, self._me.id, record.epoch, record.version, (self._me.id,))
        return [StopTimer(STEP), *self._ask(request, limits.HANDOVER_STEP_MS)]

    def _probed(self, reply: DnsReply) -> Result:
        """zdns has written our record a moment ago: now the room may be sealed."""
        if not isinstance(reply, Granted) or reply.record.epoch != self._record.epoch:
            why = reply.message if isinstance(reply, Refused) else "it knows another record"
            return self._give_up(RefusalCode.HANDOVER_FAILED, f"zdns would not take it down: {why}", blame=False)
        self._record = reply.record
        self._enter(Phase.SEALED)
        return [StartTimer(STEP, limits.HANDOVER_STEP_MS)], [SealNow(reply.record)]

    def _ready(self, digest: bytes) -> Result:
        assert self._seal is not None
        if digest != self._seal[1]:
            return self._give_up(RefusalCode.HANDOVER_FAILED, f"the copy at {self._target_name()} is another one")
        self._enter(Phase.TRANSFERRING)
        return [StopTimer(STEP), *self._ask_transfer()], []

    def _ask_transfer(self) -> list[Command]:
        assert self.target is not None
        record = self._record
        return self._ask(Transfer(0, self._service, self._me.id, record.epoch, record.version, self.target.id), None)

    def _transferred(self, reply: DnsReply) -> Result:
        """zdns answered the transfer; only a record that settles it, either way, ends the asking."""
        assert self.target is not None
        record = reply.record if isinstance(reply, Granted | Refused) else None
        if record is None or (record.epoch, record.version) <= (self._record.epoch, self._record.version):
            return [StartTimer(TRANSFER, limits.TRANSFER_RETRY_MS)], []
        if record.epoch == self._record.epoch:
            # The version has risen: the transfer we asked for can never be granted any more.
            return self._give_up(RefusalCode.HANDOVER_FAILED, f"zdns has lost sight of {self._target_name()}")
        if record.epoch != self._record.epoch + 1 or record.active.id != self.target.id:
            return self._end(), [Overtaken(record)]
        self._enter(Phase.RETIRED)
        assert self._link is not None
        return [
            Send(self._link, TakeOver(self._move, record)),
            StartTimer(RECLAIM, limits.HANDOVER_STEP_MS),
        ], [HandedOver(record)]

    # --- ends ---

    def _give_up(self, code: RefusalCode, why: str, *, blame: bool = True) -> Result:
        """End it; `blame`: the target, if there is one, is to be left out for a while."""
        target = self.target if blame else None
        why = why[: limits.MESSAGE_CHARS_MAX]
        commands: list[Command] = []
        if self._link is not None and self.phase not in (Phase.PICKING, Phase.LINKING):
            commands.append(Send(self._link, Withdraw(self._move, why)))
        return [*commands, *self._end()], [GaveUp(code, why, target)]

    def _end(self) -> list[Command]:
        self._enter(Phase.IDLE)
        closed = self._close()
        self._reset()
        return [*closed, *(StopTimer(name) for name in (STEP, PREPARED, TRANSFER, RECLAIM))]

    def _open(self, kind: LinkKind, endpoint: str) -> list[Command]:
        self._links += 1
        self._link = LinkId(f"give-{self._links}")
        return [OpenLink(self._link, kind, endpoint)]

    def _close(self) -> list[Command]:
        link, self._link = self._link, None
        return [] if link is None else [CloseLink(link, linger_ms=limits.STOP_MS // 2)]

    def _target_name(self) -> str:
        return self.target.name if self.target else "the target"
