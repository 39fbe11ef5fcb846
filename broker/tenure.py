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
    DnsRequest,
    Granted,
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
Ask = Callable[[DnsRequest], list[Command]]


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
    ) -> None:
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
        self._server: ServerInfo | None = None
        self._waiting_to_claim = False
        self._pending: Claim | None = None

    @property
    def epoch(self) -> int:
        """The highest epoch known; 0 when none is."""
        return self.record.epoch if self.record else 0

    @property
    def alone(self) -> bool:
        """Nobody else need hold an entry for it to be committed."""
        return self.record is not None and len(self.record.in_sync) == 1

    # --- doing ---

    def register(self, server: ServerInfo, now_ms: int) -> list[Command]:
        """Stand by (again) as `server`; also when its host changed its name."""
        self._server = server
        if self._fresh and self._fresh_until_ms is None:
            self._fresh_until_ms = now_ms + FRESH_WAIT_LEASES * self.lease_ms
        return self._ask(Register(0, limits.PROTOCOL, self._service, server))

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
            return [
                StartTimer(RENEW, self.lease_ms // 3),
                *self._ask(Renew(0, self._service, self._server.id, self._held())),
            ]
        self._waiting_to_claim = False
        if self.state is NameState.FREE and self.phase is Phase.STANDING_BY:
            return self._claim(ClaimKind.FIRST)
        return []

    def reclaim(self) -> list[Command]:
        """Ask for the role back: our successor died before it let go of our copy."""
        return self._claim(ClaimKind.FAILOVER)

    def forget_claim(self) -> None:
        """Our copy is gone: a claim whose answer is still out must not bring the role back."""
        self._pending = None

    # --- learning ---

    def answered(self, request: DnsRequest, reply: DnsReply, now_ms: int) -> tuple[list[Command], list[Verdict]]:
        """zdns answered a Register, Renew or Claim."""
        match reply:
            case Registered(_, lease_ms, state, record, standbys):
                return self._registered(lease_ms, state, record, standbys, now_ms)
            case Granted(_, record):
                self.learn(record)
                return [], self._judge(record)
            case Refused(_, RefusalCode.NOT_REGISTERED):
                assert self._server is not None
                return self.register(self._server, now_ms), []
            case Refused(_, (RefusalCode.VERSION | RefusalCode.BAD_NAME) as code, message) if not self._held():
                return [], [TurnedAway(code, message)]
            case Refused(record=Record() as record):
                self.learn(record)
                if isinstance(request, Claim):
                    self._pending = None
                return self.unanswered(request), self._judge(record)
            case _:
                return self.unanswered(request), []

    def unanswered(self, request: DnsRequest) -> list[Command]:
        """zdns was silent, or would not register us now; what is repeated anyway is left to its timer."""
        if isinstance(request, Register):
            return [StartTimer(RENEW, limits.DNS_BACKOFF_MAX_MS)]
        return []

    def _registered(
        self, lease_ms: int, state: NameState, record: Record | None, standbys: tuple[str, ...], now_ms: int
    ) -> tuple[list[Command], list[Verdict]]:
        if self.phase is Phase.OUTSIDE:
            self.phase = Phase.STANDING_BY
        self.lease_ms = max(30, lease_ms)
        self.state, self.standbys = state, standbys
        commands: list[Command] = [StartTimer(RENEW, self.lease_ms // 3)]
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
            commands += self._seek(now_ms)
        return commands, verdicts

    def _seek(self, now_ms: int) -> list[Command]:
        """Claim a name that nobody serves, if that is for us to do."""
        if self.state is NameState.FREE and (self.record is None or self.record.ended):
            if self._serve_first:
                return self._claim(ClaimKind.FIRST)
            if not self._waiting_to_claim:
                self._waiting_to_claim = True
                return [StartTimer(CLAIM, limits.CLAIM_WAIT_MS)]
        if self.state is NameState.ORPHANED and self._fresh_until_ms is not None:
            if now_ms <= self._fresh_until_ms:
                return self._claim(ClaimKind.FRESH)
            self._fresh_until_ms = None
        return []

    def _claim(self, kind: ClaimKind) -> list[Command]:
        assert self._server is not None
        log = "" if kind is ClaimKind.FAILOVER else self._new_log()
        self._pending = Claim(0, self._service, self._server, kind, self.epoch, log)
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
