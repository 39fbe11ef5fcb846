"""Giving the room away: pick, have the target follow, prepare, seal, transfer; or give up and serve on; pure.

Handing over is promoting a follower: what has to be copied is copied by the same links, while the room is served.
Until the transfer is asked for, any failure ends in IDLE and the room is served on. Once it is asked for,
only zdns knows: it is asked until it answers. The decision leaves through `Verdict` values; whoever composes
this machine seals, reopens and retires the room.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass

from wire import limits
from wire.errors import RefusalCode
from wire.messages import (
    DnsReply,
    Granted,
    NameRequest,
    Pick,
    Picked,
    Record,
    Refused,
    ServerInfo,
    Transfer,
)
from wire.step import Command, StartTimer, StopTimer

STEP = "handover.step"
PREPARED = "handover.prepared"
TRANSFER = "handover.transfer"


class Phase(enum.Enum):
    """Where a handover stands. PROBING: zdns is writing the record once more, before anybody has to wait for it."""

    IDLE = "idle"
    PICKING = "picking"
    COPYING = "copying"
    PREPARED = "prepared"
    PROBING = "probing"
    SEALED = "sealed"
    TRANSFERRING = "transferring"


_MOVES: dict[Phase, tuple[Phase, ...]] = {
    Phase.IDLE: (Phase.PICKING,),
    Phase.PICKING: (Phase.COPYING, Phase.IDLE),
    Phase.COPYING: (Phase.PREPARED, Phase.IDLE),
    Phase.PREPARED: (Phase.PROBING, Phase.IDLE),
    Phase.PROBING: (Phase.SEALED, Phase.IDLE),
    Phase.SEALED: (Phase.TRANSFERRING, Phase.IDLE),
    Phase.TRANSFERRING: (Phase.IDLE,),
}


@dataclass(frozen=True, slots=True)
class Aim:
    """Have `target` follow, if it does not."""

    target: ServerInfo


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell clients to connect to `target` ahead, and tell it that they come."""

    target: ServerInfo


@dataclass(frozen=True, slots=True)
class Probe:
    """Have zdns write the record once more, with the target on its list; then call `probed`."""


@dataclass(frozen=True, slots=True)
class SealNow:
    """Seal the room and, when all is committed, send the seal and call `sealed`."""


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


Verdict = Aim | Announce | Probe | SealNow | GaveUp | HandedOver | Overtaken
Result = tuple[list[Command], list[Verdict]]


class HandoverSource:
    """One handover at a time, from the side that has the room.

    Invariants: no `Transfer` is asked for before `Ready` came with our own digest; from then on IDLE is reached
    only with a record in hand that makes that transfer impossible for good, or grants it.
    """

    def __init__(self, *, service: str, ask: Callable[[NameRequest, int | None], list[Command]]) -> None:
        """`ask` puts a request to zdns, with a deadline in ms or None for as long as it takes."""
        self.phase = Phase.IDLE
        self._service = service
        self._ask = ask
        self._reset()

    def _reset(self) -> None:
        self.target: ServerInfo | None = None
        self.record: Record | None = None  # for which the transfer is asked; from the probe on
        self._to = ""
        self._digest = b""
        self._began_ms = 0
        self.copy_ms = 0

    def _enter(self, phase: Phase) -> None:
        assert phase in _MOVES[self.phase], f"{self.phase} -> {phase}"
        self.phase = phase

    @property
    def busy(self) -> bool:
        """A handover is under way."""
        return self.phase is not Phase.IDLE

    # --- doing ---

    def begin(self, *, me: ServerInfo, exclude: tuple[str, ...], to: str) -> Result:
        """Start a handover to a random standby, or to the one of host `to`."""
        self._enter(Phase.PICKING)
        self._me, self._to = me, to
        pick = Pick(0, self._service, me.id, exclude[: limits.EXCLUDED_MAX], to)
        return self._ask(pick, limits.HANDOVER_STEP_MS), []

    def copied(self, lag: int, now_ms: int) -> Result:
        """The target lacks so many entries now: with few, let clients connect ahead, for a moment."""
        if self.phase is not Phase.COPYING or lag > limits.SEAL_WITHIN_ENTRIES:
            return [], []
        assert self.target is not None
        self._enter(Phase.PREPARED)
        self.copy_ms = now_ms - self._began_ms
        return [StartTimer(PREPARED, limits.PREPARE_MS)], [Announce(self.target)]

    def probed(self, record: Record) -> Result:
        """zdns has written our record a moment ago, with the target on its list: now the room may be sealed."""
        if self.phase is not Phase.PROBING:
            return [], []
        self._enter(Phase.SEALED)
        self.record = record
        return [StartTimer(STEP, limits.HANDOVER_STEP_MS)], [SealNow()]

    def sealed(self, record: Record, digest: bytes) -> None:
        """The seal was sent, with this digest of ours; the transfer will be asked for `record`."""
        self.record, self._digest = record, digest

    @property
    def is_seal_sent(self) -> bool:
        """Whether `sealed` was called."""
        return bool(self._digest)

    def ready(self, digest: bytes) -> Result:
        """The target has everything: the transfer is asked for, if what it has is what we have."""
        if self.phase is not Phase.SEALED or not self._digest:
            return [], []
        if digest != self._digest:
            return self._give_up(RefusalCode.HANDOVER_FAILED, f"the copy at {self._target_name()} is another one")
        self._enter(Phase.TRANSFERRING)
        return [StopTimer(STEP), *self._ask_transfer()], []

    def target_lost(self, server_id: str, code: RefusalCode, why: str) -> Result:
        """A follower is gone. Once the transfer is asked for it is too late to say no: zdns decides, or has."""
        if self.target is None or server_id != self.target.id or self.phase in (Phase.IDLE, Phase.TRANSFERRING):
            return [], []
        return self._give_up(code, why)

    def settled(self, record: Record) -> Result:
        """A record came by another way: does it say what became of the transfer?"""
        return self._judge(record) if self.phase is Phase.TRANSFERRING else ([], [])

    def forget(self) -> list[Command]:
        """The room is gone to somebody else by another way; nothing of this handover matters any more."""
        return self._end() if self.phase is not Phase.IDLE else []

    # --- events ---

    def timer(self, name: str) -> Result:
        """A timer of ours has run out."""
        match self.phase, name:
            case Phase.TRANSFERRING, "handover.transfer":
                return self._ask_transfer(), []
            case Phase.PREPARED, "handover.prepared":
                self._enter(Phase.PROBING)
                return [StartTimer(STEP, limits.HANDOVER_STEP_MS)], [Probe()]
            case Phase.PROBING, "handover.step":
                return self._give_up(RefusalCode.HANDOVER_FAILED, "zdns does not answer", blame=False)
            case Phase.SEALED, "handover.step":
                why = f"{self._target_name()} did not answer while the room was sealed"
                return self._give_up(RefusalCode.HANDOVER_FAILED, why)
            case _:
                return [], []

    def answered(self, request: NameRequest, reply: DnsReply, now_ms: int) -> Result:
        """zdns answered a Pick or a Transfer of ours."""
        match self.phase, request, reply:
            case Phase.PICKING, Pick(), Picked(_, server):
                return self._picked(server, now_ms)
            case Phase.TRANSFERRING, Transfer(to=to), _ if self.target is not None and to == self.target.id:
                record = reply.record if isinstance(reply, Granted | Refused) else None
                return self._judge(record)
            case Phase.PICKING, Pick(), _:
                return self._give_up(RefusalCode.HANDOVER_FAILED, "zdns refused to help with the handover")
            case _:
                return [], []

    def unanswered(self, request: NameRequest) -> Result:
        """zdns was silent, or was not asked after all. A transfer is never given up: it is asked again."""
        match self.phase, request:
            case Phase.PICKING, Pick():
                return self._give_up(RefusalCode.HANDOVER_FAILED, "zdns does not answer", blame=False)
            case Phase.TRANSFERRING, Transfer():
                return [StartTimer(TRANSFER, limits.TRANSFER_RETRY_MS)], []
            case _:
                return [], []

    # --- steps ---

    def _picked(self, server: ServerInfo | None, now_ms: int) -> Result:
        if server is None or not server.router:
            who = f"{self._to!r} is no standby" if self._to else "nobody else is here that can take the server role"
            return self._give_up(RefusalCode.NO_STANDBY, who)
        self.target, self._began_ms = server, now_ms
        self._enter(Phase.COPYING)
        return [], [Aim(server)]

    def _ask_transfer(self) -> list[Command]:
        assert self.target is not None and self.record is not None
        record = self.record
        return self._ask(Transfer(0, self._service, self._me.id, record.epoch, record.version, self.target.id), None)

    def _judge(self, record: Record | None) -> Result:
        """Only a record that settles the transfer, either way, ends the asking."""
        assert self.target is not None and self.record is not None
        if record is None or (record.epoch, record.version) <= (self.record.epoch, self.record.version):
            return [StartTimer(TRANSFER, limits.TRANSFER_RETRY_MS)], []
        if record.epoch == self.record.epoch:
            # The version has risen: the transfer we asked for can never be granted any more.
            return self._give_up(RefusalCode.HANDOVER_FAILED, f"zdns has lost sight of {self._target_name()}")
        if record.epoch != self.record.epoch + 1 or record.active.id != self.target.id:
            return self._end(), [Overtaken(record)]
        return self._end(), [HandedOver(record)]

    # --- ends ---

    def _give_up(self, code: RefusalCode, why: str, *, blame: bool = True) -> Result:
        """End it; `blame`: the target, if there is one, is to be left out for a while."""
        target = self.target if blame else None
        return self._end(), [GaveUp(code, why[: limits.MESSAGE_CHARS_MAX], target)]

    def _end(self) -> list[Command]:
        self._enter(Phase.IDLE)
        self._reset()
        return [StopTimer(name) for name in (STEP, PREPARED, TRANSFER)]

    def _target_name(self) -> str:
        return self.target.name if self.target else "the target"
