"""Asking zdns: one request at a time, attempts, back-off, several addresses in turn, deadlines; pure.

A core that needs zdns holds one `Lookup` and hands it every event: `ask` returns the number of the request,
and some later `handle` returns its `Answered` or `Unanswered`. Every request ends in exactly one of the two,
unless it was cancelled.

On a closed network zdns answers nothing before it has been shown the ticket. The lookup does that by itself, once
and whenever zdns has forgotten it, and holds the permit that servers want to see.
"""

import enum
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from wire import identity, limits
from wire.errors import InvariantViolated, RefusalCode
from wire.identity import Credentials
from wire.messages import Admit, Admitted, DnsReply, DnsRequest, NameRequest, Refused
from wire.names import LinkId
from wire.step import (
    CloseLink,
    Command,
    Event,
    Garbled,
    LinkDown,
    LinkKind,
    LinkUp,
    OpenLink,
    Received,
    Send,
    SendRefused,
    StartTimer,
    StopTimer,
    TimerFired,
)

_LINK = "zdns-"
_TIMER = "zdns."
_DEADLINE = "zdns.deadline-"


class Phase(enum.Enum):
    """What the lookup is about. A request that ended has no phase: it was returned as a value."""

    IDLE = "idle"
    WAITING = "waiting"
    BACKING_OFF = "backing off"


# WAITING to WAITING: an answer came and the next request leaves at once.
_MOVES: dict[Phase, tuple[Phase, ...]] = {
    Phase.IDLE: (Phase.WAITING,),
    Phase.WAITING: (Phase.IDLE, Phase.WAITING, Phase.BACKING_OFF),
    Phase.BACKING_OFF: (Phase.IDLE, Phase.WAITING),
}


@dataclass(frozen=True, slots=True)
class Answered:
    """zdns has spoken; `reply` may be `Refused`. `request` is as it was sent, numbered `ask`."""

    ask: int
    request: NameRequest
    reply: DnsReply


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer before the deadline, or too many requests at once; `why` is a sentence for people.

    zdns may have carried the request out all the same: only another question tells. `hopeless`: there is a zdns, but
    not one for us: it is closed and we have no ticket, or the other way round, or it has another key.
    """

    ask: int
    request: NameRequest
    why: str
    hopeless: bool = False


Outcome = Answered | Unanswered


@dataclass(frozen=True, slots=True)
class _Pending:
    ask: int
    request: NameRequest
    asked_ms: int
    has_deadline: bool


class Lookup:
    """The asking end of zdns. Invariant: a link on which a question stayed unanswered is never used again."""

    def __init__(self, endpoints: Sequence[str], credentials: Credentials | None = None, token: bytes = b"") -> None:
        """Settle whom to ask.

        Args:
            endpoints: "tcp://host:port" each: the first one first, the next one on silence.
            credentials: what to show a closed zdns; None: it is open.
            token: what it gave us before, if it did.
        """
        if not endpoints:
            raise ValueError("a lookup needs the address of a zdns")
        self.phase = Phase.IDLE
        self.silent = False  # the last attempt got no answer
        self.permit = b""  # for servers
        self.token = token  # for zdns
        self.is_admitted = credentials is None
        self._credentials = credentials
        self._hopeless_count = 0  # attempts in a row, at one address after the other
        self._endpoints = tuple(endpoints)
        self._endpoint_index = 0
        self._link: LinkId | None = None
        self._links_count = 0
        self._asks_count = 0
        self._pending: deque[_Pending] = deque()
        self._turned_away: dict[int, NameRequest] = {}
        self._failures_count = 0
        self._timer = ""
        self._timers_count = 0

    def ask(
        self, request: NameRequest, now_ms: int, deadline_ms: int | None = limits.DNS_DEADLINE_MS
    ) -> tuple[int, list[Command]]:
        """Put a question in the queue; its `ask` is replaced by a fresh number, which is returned.

        Args:
            request: what to ask; repeats of it must be harmless, as it is sent again on silence.
            now_ms: monotonic time.
            deadline_ms: how long the answer may take from now on; None: for ever.
        """
        self._asks_count += 1
        ask = self._asks_count
        request = msgspec.structs.replace(request, ask=ask)
        if len(self._pending) >= limits.DNS_PENDING_MAX:
            # Told by `handle`, as every outcome is: a timer that is due at once.
            self._turned_away[ask] = request
            return ask, [StartTimer(f"{_DEADLINE}{ask}", 0)]
        self._pending.append(_Pending(ask, request, now_ms, deadline_ms is not None))
        commands: list[Command] = []
        if deadline_ms is not None:
            commands.append(StartTimer(f"{_DEADLINE}{ask}", deadline_ms))
        if self.phase is Phase.IDLE:
            self._failures_count = 0
            commands += self._attempt()
        return ask, commands

    def cancel(self, ask: int) -> list[Command]:
        """Forget a question: neither outcome will come. zdns may have carried it out all the same."""
        self._turned_away.pop(ask, None)
        for index, pending in enumerate(self._pending):
            if pending.ask == ask:
                return [StopTimer(f"{_DEADLINE}{ask}"), *self._drop(index)]
        return []

    def show_ticket_again(self) -> None:
        """A server does not take our permit: before the next question zdns is asked for another one."""
        self.is_admitted = self._credentials is None

    def close(self) -> list[Command]:
        """Forget all questions and close the link."""
        commands: list[Command] = [StopTimer(f"{_DEADLINE}{p.ask}") for p in self._pending if p.has_deadline]
        self._pending.clear()
        self._turned_away.clear()
        commands += [*self._stop_timer(), *self._close_link()]
        if self.phase is not Phase.IDLE:
            self._enter(Phase.IDLE)
        return commands

    def owns(self, event: Event) -> bool:
        """Whether the event is about a link or timer of this lookup's, be it long closed."""
        match event:
            case Received() | Garbled() | LinkUp() | LinkDown() | SendRefused():
                return event.link.startswith(_LINK)
            case TimerFired(name):
                return name.startswith(_TIMER)
            case _:
                return False

    def handle(self, event: Event, now_ms: int) -> tuple[list[Command], list[Outcome]]:
        """Advance by one event; one that is not its own, or means nothing now, yields nothing."""
        match self.phase, event:
            case Phase.WAITING, Received(link, message) if link == self._link:
                return self._receive(message)
            case Phase.WAITING, TimerFired(name) if name == self._timer:
                return self._fail(), []
            case Phase.WAITING, LinkDown(link, why, hopeless=True) if link == self._link:
                return self._despair(why)
            case Phase.WAITING, (Garbled() | LinkDown() | SendRefused()) if event.link == self._link:
                return self._fail(), []
            case Phase.IDLE, LinkDown(link) if link == self._link:
                return self._close_link(), []
            case Phase.BACKING_OFF, TimerFired(name) if name == self._timer:
                return self._attempt(), []
            case _, TimerFired(name) if name.startswith(_DEADLINE):
                return self._expire(int(name.removeprefix(_DEADLINE)), now_ms)
            case _:
                return [], []

    def describe(self) -> str:
        """Phase and queue in a few words."""
        return f"zdns {self.phase.name} {len(self._pending)} pending"

    def _receive(self, message: object) -> tuple[list[Command], list[Outcome]]:
        head = self._pending[0]
        if not isinstance(message, DnsReply):
            return [], []
        # A Refused without a number says that zdns could not read us; one question is out, so it is that one.
        unread = isinstance(message, Refused) and message.ask == 0
        if message.ask != head.ask and not unread:
            return [], []
        self.silent = False
        self._failures_count = 0
        self._hopeless_count = 0
        if isinstance(message, Admitted):
            self.permit, self.token, self.is_admitted = message.permit, message.token, True
            return [*self._stop_timer(), *self._attempt()], []
        if self._is_forgotten(message):
            self.is_admitted = False
            return [*self._stop_timer(), *self._attempt()], []
        self._pending.popleft()
        commands = self._stop_timer()
        if head.has_deadline:
            commands.append(StopTimer(f"{_DEADLINE}{head.ask}"))
        if self._pending:
            commands += self._attempt()
        else:
            self._enter(Phase.IDLE)
        return commands, [Answered(head.ask, head.request, message)]

    def _is_forgotten(self, message: DnsReply) -> bool:
        """Whether zdns, or the one that has taken its place, does not know any more that it let us in."""
        is_refused = isinstance(message, Refused) and message.code is RefusalCode.NOT_ADMITTED
        return is_refused and self.is_admitted and self._credentials is not None

    def _expire(self, ask: int, now_ms: int) -> tuple[list[Command], list[Outcome]]:
        if ask in self._turned_away:
            why = f"more than {limits.DNS_PENDING_MAX} questions to zdns were waiting already"
            return [], [Unanswered(ask, self._turned_away.pop(ask), why)]
        for index, pending in enumerate(self._pending):
            if pending.ask == ask:
                where = ", ".join(self._endpoints)
                why = f"no answer from zdns at {where} within {(now_ms - pending.asked_ms) / 1000:.1f} s"
                if index == 0 and self.phase is Phase.WAITING:
                    self.silent = True
                    self._next_endpoint()
                return self._drop(index), [Unanswered(ask, pending.request, why)]
        return [], []

    def _drop(self, index: int) -> list[Command]:
        """Take one question out of the queue. The one under way takes its link with it: an answer may be half here."""
        del self._pending[index]
        if index > 0:
            return []
        match self.phase:
            case Phase.WAITING if self._pending:
                return [*self._stop_timer(), *self._close_link(), *self._attempt()]
            case Phase.WAITING | Phase.BACKING_OFF if not self._pending:
                self._enter(Phase.IDLE)
                return [*self._stop_timer(), *self._close_link()]
            case _:
                return []

    def _attempt(self) -> list[Command]:
        self._enter(Phase.WAITING)
        commands: list[Command] = []
        if self._link is None:
            self._links_count += 1
            self._link = LinkId(f"{_LINK}{self._links_count}")
            key = "" if self._credentials is None else self._credentials.zdns_key
            commands.append(OpenLink(self._link, LinkKind.DNS_ASK, self._endpoints[self._endpoint_index], key=key))
        commands.append(Send(self._link, self._next_request()))
        commands.append(self._start_timer("attempt", limits.DNS_ATTEMPT_MS))
        return commands

    def _next_request(self) -> DnsRequest:
        """What the one who waits longest wants to know; or what must be shown before."""
        head, shown = self._pending[0], self._credentials
        if self.is_admitted or shown is None:
            return head.request
        proof = identity.proof(shown.secret, shown.zdns_key, shown.keys.public)
        return Admit(head.ask, limits.PROTOCOL, head.request.service, proof, self.token)

    def _despair(self, why: str) -> tuple[list[Command], list[Outcome]]:
        """Nobody answers us there, ever. When that is so at each address, whoever waits is told."""
        self._hopeless_count += 1
        if self._hopeless_count < len(self._endpoints):
            return self._fail(), []
        self._hopeless_count = 0
        self.silent = True
        where = self._endpoints[self._endpoint_index].removeprefix("tcp://")
        self._next_endpoint()
        head = self._pending[0]
        commands: list[Command] = [StopTimer(f"{_DEADLINE}{head.ask}")] if head.has_deadline else []
        outcome = Unanswered(head.ask, head.request, f"zdns at {where}: {why}", hopeless=True)
        return [*commands, *self._drop(0)], [outcome]

    def _fail(self) -> list[Command]:
        """No answer to this attempt: throw the link away, wait, go on at the next address."""
        self.silent = True
        commands = [*self._stop_timer(), *self._close_link()]
        self._next_endpoint()
        delay_ms = min(limits.DNS_BACKOFF_MS << min(self._failures_count, 16), limits.DNS_BACKOFF_MAX_MS)
        self._failures_count += 1
        self._enter(Phase.BACKING_OFF)
        commands.append(self._start_timer("back-off", delay_ms))
        return commands

    def _next_endpoint(self) -> None:
        self._endpoint_index = (self._endpoint_index + 1) % len(self._endpoints)

    def _close_link(self) -> list[Command]:
        if self._link is None:
            return []
        link, self._link = self._link, None
        return [CloseLink(link)]

    def _start_timer(self, what: str, delay_ms: int) -> Command:
        # A fresh name each time: a firing that was already under way when we stopped it is not taken for the next.
        self._timers_count += 1
        self._timer = f"{_TIMER}{what}-{self._timers_count}"
        return StartTimer(self._timer, delay_ms)

    def _stop_timer(self) -> list[Command]:
        if not self._timer:
            return []
        name, self._timer = self._timer, ""
        return [StopTimer(name)]

    def _enter(self, phase: Phase) -> None:
        if phase not in _MOVES[self.phase]:
            raise InvariantViolated(f"lookup: {self.phase.name} -> {phase.name}")
        self.phase = phase
