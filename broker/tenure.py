"""This server's standing at zdns: registering, renewing, claiming a name, learning that another has it; pure."""

import enum
from collections.abc import Callable
from dataclasses import dataclass

from wire import limits
from wire.errors import RefusalCode
from wire.messages import (
    Claim,
    ClaimKind,
    DnsReply,
    Granted,
    NameRequest,
    NameState,
    Record,
    Refused,
    Register,
    Registered,
    Renew,
    ServerInfo,
)
from wire.step import Command, StartTimer, StopTimer

RENEW = "tenure.renew"
CLAIM = "tenure.claim"
# A name whose holder has just died is served until the lease ends; a fresh start waits so long for that, in leases.
FRESH_WAIT_LEASES = 4

# Asks zdns one thing; the answer comes back through `Tenure.answered`.
Ask = Callable[[NameRequest], list[Command]]


class Phase(enum.Enum):
    """OUTSIDE: zdns has not answered yet. STANDING_BY: registered. HELD: this server has the role."""

    OUTSIDE = "outside"
    STANDING_BY = "standing by"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Appointed:
    """zdns names this server active in `record`; `by` which claim of its own (None: not by one)."""

    record: Record
    by: ClaimKind | None


@dataclass(frozen=True, slots=True)
class Deposed:
    """zdns has granted a higher epoch to another server, or holds one this server does not know."""

    record: Record


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """zdns refuses to have this server at all."""

    code: RefusalCode
    message: str


Verdict = Appointed | Deposed | TurnedAway


class Tenure:
    """Keeps the registration alive and the newest record known.

    Invariant: `record` never goes back: neither its epoch nor, within an epoch, its version falls.
    """

    def __init__(
        self,
        *,
        service: str,
        serve_first: bool,
        fresh: bool,
        new_log: Callable[[], str],
        held: Callable[[], str],
        ask: Ask,
        door: Callable[[], int] = lambda: 0,
        behind: Callable[[], bool] = lambda: False,
    ) -> None:
        """Settle what it is about, and whom it asks.

        Args:
            service: the name.
            serve_first: claim it without letting anybody else go first.
            fresh: give up a history that nobody here holds.
            new_log: makes the name of a new history.
            held: the log of the history this server has all of, or nothing.
            ask: asks zdns.
            door: the number of what zdns told last of whom to let in.
            behind: whether what this server has on disk lacks something of what zdns thinks it has.
        """
        self.phase = Phase.OUTSIDE
        self.record: Record | None = None
        self.state = NameState.FREE
        self.standbys: tuple[str, ...] = ()
        self.lease_ms = limits.LEASE_MS
        self._service = service
        self._serve_first = serve_first
        self._fresh_until_ms: int | None = None
        self._fresh = fresh
        self._new_log = new_log
        self._held = held
        self._ask = ask
        self._door = door
        self._behind = behind
        self._server: ServerInfo | None = None
        self._waiting_to_claim = False
        self._pending: Claim | None = None
        self._is_renewing = False  # zdns is being asked: in a queue of such questions the one that counts would wait

    @property
    def epoch(self) -> int:
        """The highest epoch known; 0 when none is."""
        return self.record.epoch if self.record else 0

    @property
    def _renew_ms(self) -> int:
        return min(self.lease_ms // 3, limits.RENEW_MS_MAX)

    # --- doing ---

    def register(self, server: ServerInfo, now_ms: int) -> list[Command]:
        """Stand by (again) as `server`; also when its host changed its name."""
        self._server = server
        if self._fresh and self._fresh_until_ms is None:
            self._fresh_until_ms = now_ms + FRESH_WAIT_LEASES * self.lease_ms
        # Whoever holds a copy tells under which record: zdns may have lost it.
        record = self.record if self._held() else None
        return self._ask(Register(0, limits.PROTOCOL, self._service, server, record, self._door(), self._behind()))

    def hold(self, record: Record) -> None:
        """The role is ours now; called when the server begins to serve."""
        self.learn(record)
        self.phase = Phase.HELD

    def release(self, record: Record) -> None:
        """The role is another's now."""
        self.learn(record)
        self.phase = Phase.STANDING_BY

    def learn(self, record: Record) -> bool:
        """Keep `record` if it is newer than what is known, and say whether it was."""
        known = self.record
        if known is not None and (record.epoch, record.version) <= (known.epoch, known.version):
            return False
        self.record = record
        self.state = NameState.SERVED
        return True

    def timer(self, name: str, now_ms: int) -> list[Command]:
        """One of `RENEW`, `CLAIM` has run out."""
        if self._server is None:
            return []
        if name == RENEW:
            if self.phase is Phase.OUTSIDE:
                return self.register(self._server, now_ms)
            return [StartTimer(RENEW, self._renew_ms), *self.check()]
        self._waiting_to_claim = False
        if self.state is NameState.FREE and self.phase is Phase.STANDING_BY:
            return self._claim(ClaimKind.FIRST)
        return []

    def check(self) -> list[Command]:
        """Ask zdns at once how things are, and not only with the next renewal."""
        if self._server is None or self._is_renewing:
            return []
        self._is_renewing = True
        return self._ask(Renew(0, self._service, self._server.id, self._held(), self._door(), self._behind()))

    def claim_failover(self, *, unreachable: bool, from_disk: bool) -> list[Command]:
        """Ask for the role of the active server: it is gone, and we are in sync."""
        return self._claim(ClaimKind.FAILOVER, unreachable=unreachable, from_disk=from_disk)

    def forget_claim(self) -> None:
        """Our copy is gone: a claim whose answer is still out must not bring the role back."""
        self._pending = None

    # --- learning ---

    def answered(self, request: NameRequest, reply: DnsReply, now_ms: int) -> tuple[list[Command], list[Verdict]]:
        """zdns answered a Register, Renew or Claim."""
        self._is_renewing = self._is_renewing and not isinstance(request, Renew)
        match reply:
            case Registered():
                told = self._tell_again(reply) if isinstance(request, Renew) else []
                commands, verdicts = self._registered(reply, now_ms)
                return [*commands, *told], verdicts
            case Granted(_, record):
                self.learn(record)
                return [], self._judge(record)
            case Refused(_, RefusalCode.NOT_REGISTERED):
                assert self._server is not None
                return self.register(self._server, now_ms), []
            case Refused(_, (RefusalCode.BANNED | RefusalCode.BAD_TICKET | RefusalCode.NOT_YOURS) as code, message):
                return [], [TurnedAway(code, message)]
            case Refused(_, (RefusalCode.VERSION | RefusalCode.BAD_NAME) as code, message) if not self._held():
                return [], [TurnedAway(code, message)]
            case Refused(_, RefusalCode.BUSY) if isinstance(request, Claim) and request.kind is ClaimKind.FIRST:
                self._waiting_to_claim = True
                return [StartTimer(CLAIM, limits.TRANSFER_RETRY_MS)], []
            case Refused(record=Record() as record):
                self.learn(record)
                if isinstance(request, Claim):
                    self._pending = None
                return self.unanswered(request), self._judge(record)
            case _:
                return self.unanswered(request), []

    def unanswered(self, request: NameRequest) -> list[Command]:
        """zdns was silent, or would not register us now; what is repeated anyway is left to its timer."""
        self._is_renewing = self._is_renewing and not isinstance(request, Renew)
        if isinstance(request, Register):
            return [StartTimer(RENEW, limits.DNS_BACKOFF_MAX_MS)]
        return []

    def _tell_again(self, reply: Registered) -> list[Command]:
        """zdns knows an older record than we hold: it has lost the newer one, and taken up what others told it."""
        known, there = self.record, reply.record
        if known is None or there is None or self._server is None or not self._held():
            return []
        if (there.epoch, there.version) >= (known.epoch, known.version):
            return []
        return self._ask(Register(0, limits.PROTOCOL, self._service, self._server, known, self._door(), self._behind()))

    def _registered(self, reply: Registered, now_ms: int) -> tuple[list[Command], list[Verdict]]:
        state, record = reply.state, reply.record
        if self.phase is Phase.OUTSIDE:
            self.phase = Phase.STANDING_BY
        self.lease_ms = max(30, reply.lease_ms)
        self.state, self.standbys = state, reply.standbys
        commands: list[Command] = [StartTimer(RENEW, self._renew_ms)]
        verdicts: list[Verdict] = []
        if record is not None:
            newer = self.learn(record)
            self.state = state
            if newer or record == self.record:
                verdicts = self._judge(record)
        if state is not NameState.FREE and self._waiting_to_claim:
            self._waiting_to_claim = False
            commands.append(StopTimer(CLAIM))
        if self.phase is Phase.STANDING_BY and not verdicts:
            commands += self._seek(reply.wait_ms, now_ms)
        return commands, verdicts

    def _seek(self, wait_ms: int, now_ms: int) -> list[Command]:
        """Claim a name that nobody serves, if that is for us to do."""
        if self._held():
            return []  # zdns has lost the record of what we hold, and has just been told of it
        if self.state is NameState.FREE:
            if self.record is not None and not self.record.ended:
                wait_ms += self.lease_ms  # zdns has lost a record that we knew, and perhaps somebody comes who holds it
            elif not self._serve_first:
                wait_ms += limits.CLAIM_WAIT_MS
            if wait_ms == 0:
                return self._claim(ClaimKind.FIRST)
            if not self._waiting_to_claim:
                self._waiting_to_claim = True
                return [StartTimer(CLAIM, wait_ms)]
        if self.state is NameState.ORPHANED and self._fresh_until_ms is not None:
            if now_ms <= self._fresh_until_ms:
                return self._claim(ClaimKind.FRESH)
            self._fresh_until_ms = None
        return []

    def _claim(self, kind: ClaimKind, *, unreachable: bool = False, from_disk: bool = False) -> list[Command]:
        assert self._server is not None
        was = self._pending
        if kind is ClaimKind.FAILOVER:
            log = ""
        elif was is not None and (was.kind, was.epoch) == (kind, self.epoch):
            log = was.log  # that one is perhaps granted already: so it is the same one once more
        else:
            log = self._new_log()
        self._pending = Claim(
            0, self._service, self._server, kind, self.epoch, log, unreachable=unreachable, from_disk=from_disk
        )
        return self._ask(self._pending)

    def _judge(self, record: Record) -> list[Verdict]:
        if self._server is None or record.ended:
            return []
        known = self.record
        if known is not None and (record.epoch, record.version) < (known.epoch, known.version):
            return []  # an answer that was long under way tells how things were
        if record.active.id == self._server.id:
            if self.phase is not Phase.HELD:
                return [Appointed(record, self._claimed(record))]
        elif self.phase is Phase.HELD:
            return [Deposed(record)]
        return []

    def _claimed(self, record: Record) -> ClaimKind | None:
        """Which claim of ours `record` grants; the answer itself may have been lost."""
        claim, self._pending = self._pending, None
        if claim is None or record.epoch != claim.epoch + 1:
            return None
        if claim.kind is not ClaimKind.FAILOVER and record.log != claim.log:
            return None
        return claim.kind
