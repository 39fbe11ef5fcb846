"""Taking the room over: bind, accept, receive, verify, serve; or forget; pure.

Saying `Ready` is a promise: the copy is kept until it is known what became of the transfer. It is told by the
source, and if the source says nothing, by zdns.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass

from broker.history import History
from wire import limits
from wire.errors import InvariantViolated, WireError
from wire.messages import (
    Accept,
    Credit,
    Decline,
    DnsReply,
    DnsRequest,
    Dump,
    LinkAsk,
    LinkAt,
    Message,
    Offer,
    Ready,
    Record,
    Released,
    Resolve,
    Resolved,
    Sealed,
    TakeOver,
    Took,
    Withdraw,
)
from wire.names import LinkId
from wire.step import CloseLink, Command, LinkKind, OpenLink, Send, StartTimer, StopTimer

STEP = "target.step"
POLL = "target.poll"
CANDIDATE = "target.candidate"
PARTING = "target.parting"


class Phase(enum.Enum):
    """RECEIVING: the copy grows. VERIFIED: it is whole, and kept. ACTIVE: we serve; the source is to let go."""

    IDLE = "idle"
    RECEIVING = "receiving"
    VERIFIED = "verified"
    ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A link that was asked for; what is offered over it decides whether it counts."""

    link: LinkId
    move: str
    route: bytes


@dataclass(frozen=True, slots=True)
class TakeRoom:
    """Serve: zdns has granted `record`, and this is the room."""

    record: Record
    offer: Offer
    sealed: Sealed
    history: History
    pause_ms: int


@dataclass(frozen=True, slots=True)
class SourceLetGo:
    """The source has let go of its copy and never shall ask for the role back: commit without it."""


@dataclass(frozen=True, slots=True)
class Forgot:
    """The handover came to nothing for us: the source serves on, or somebody else does."""

    why: str


Verdict = TakeRoom | SourceLetGo | Forgot
Result = tuple[list[Command], list[Verdict]]


class HandoverTarget:
    """One handover at a time, from the side that is to have the room."""

    def __init__(self, *, service: str, server_id: str, ask: Callable[[DnsRequest, int | None], list[Command]]) -> None:
        self.phase = Phase.IDLE
        self._service = service
        self._server_id = server_id
        self._ask = ask
        self._links = 0
        self._candidate: _Candidate | None = None
        self._reset()

    def _reset(self) -> None:
        self._link: LinkId | None = None
        self._offer: Offer | None = None
        self._history: History | None = None
        self._sealed: Sealed | None = None
        self._sealed_at_ms = 0

    @property
    def engaged(self) -> bool:
        """Clients that come now may be early rather than wrong: we are about to serve, perhaps."""
        return self.phase in (Phase.RECEIVING, Phase.VERIFIED)

    def held_log(self) -> str:
        """The log of which our copy is whole; empty: none."""
        return self._offer.log if self._offer is not None and self.phase is Phase.VERIFIED else ""

    def owns(self, link: LinkId) -> bool:
        """Is this link one of ours (perhaps an old one)?"""
        return link.startswith("take-")

    # --- events ---

    def asked(self, ask: LinkAsk, route: bytes) -> Result:
        """A source asks for a link of its own; nothing that is going on is given up for it yet."""
        commands = self._drop_candidate()
        self._links += 1
        link = LinkId(f"take-{self._links}")
        self._candidate = _Candidate(link, ask.move, route)
        return [
            *commands,
            OpenLink(link, LinkKind.MOVE_BIND),
            StartTimer(CANDIDATE, limits.HANDOVER_STEP_MS),
        ], []

    def bound(self, link: LinkId, endpoints: tuple[str, ...], room: LinkId) -> list[Command]:
        """Our end of a candidate stands: tell the source where."""
        if self._candidate is None or link != self._candidate.link:
            return []
        return [Send(room, LinkAt(self._candidate.move, endpoints), self._candidate.route)]

    def received(self, link: LinkId, message: Message, now_ms: int) -> Result:
        """A message on one of our links."""
        if self._candidate is not None and link == self._candidate.link:
            return self._offered(message) if isinstance(message, Offer) else ([], [])
        if link != self._link or self._offer is None or getattr(message, "move", None) != self._offer.move:
            return [], []
        match self.phase, message:
            case Phase.RECEIVING, Dump():
                return self._dumped(message)
            case Phase.RECEIVING, Sealed():
                return self._seal(message, now_ms)
            case Phase.VERIFIED, TakeOver(_, record):
                return self._judge(record, now_ms)
            case Phase.ACTIVE, Released():
                return self._end(), [SourceLetGo()]
            case ((Phase.RECEIVING | Phase.VERIFIED), Withdraw(_, why)):
                return self._forget(f"the source withdrew: {why}")
            case _:
                return [], []

    def link_down(self, link: LinkId, why: str) -> Result:
        """A connection of ours broke. A copy that is whole is kept: zdns knows what became of it."""
        if self._candidate is not None and link == self._candidate.link:
            return self._drop_candidate(), []
        if link == self._link and self.phase is Phase.RECEIVING:
            return self._forget(f"the link to the source broke: {why}")
        return [], []

    def timer(self, name: str) -> Result:
        """A timer of ours has run out."""
        match self.phase:
            case _ if name == CANDIDATE:
                return self._drop_candidate(), []
            case Phase.RECEIVING if name == STEP:
                return self._forget("the source fell silent")
            case Phase.VERIFIED if name == POLL:
                return self._ask(Resolve(0, limits.PROTOCOL, self._service), limits.DNS_DEADLINE_MS), []
            case Phase.ACTIVE if name == PARTING:
                return self._end(), []
            case _:
                return [], []

    def answered(self, reply: DnsReply, now_ms: int) -> Result:
        """zdns answered our poll."""
        if self.phase is not Phase.VERIFIED:
            return [], []
        if isinstance(reply, Resolved) and reply.record is not None:
            commands, verdicts = self._judge(reply.record, now_ms)
            if verdicts:
                return commands, verdicts
        return [StartTimer(POLL, limits.TAKE_OVER_POLL_MS)], []

    def unanswered(self) -> Result:
        """zdns is silent: go on asking."""
        return ([StartTimer(POLL, limits.TAKE_OVER_POLL_MS)], []) if self.phase is Phase.VERIFIED else ([], [])

    def seen(self, record: Record, now_ms: int) -> Result:
        """A record came by another way (a renewal's answer)."""
        return self._judge(record, now_ms) if self.phase is Phase.VERIFIED else ([], [])

    def decline(self, why: str) -> list[Command]:
        """Take no room: a copy that is still growing is dropped, and the source told."""
        dropped = self._drop_candidate()
        return [*dropped, *self._decline(why)[0]] if self.phase is Phase.RECEIVING else dropped

    def settled(self) -> list[Command]:
        """The source is off the in-sync list: we need its word no more, but it gets a moment to read ours.

        What a connecting end has not read when the other one closes is lost. The source would then take no room until
        it next asks zdns.
        """
        return [StartTimer(PARTING, limits.PARTING_MS)] if self.phase is Phase.ACTIVE else []

    def parted(self) -> list[Command]:
        """The room is not ours any more: nothing is left to be said to the one we had it from."""
        return self._end() if self.phase is Phase.ACTIVE else []

    # --- steps ---

    def _offered(self, offer: Offer) -> Result:
        assert self._candidate is not None
        link = self._candidate.link
        why = self._objection(offer)
        if why:
            commands: list[Command] = [Send(link, Decline(offer.move, why))]
            return [*commands, *self._drop_candidate()], []
        self._candidate = None
        ended = [] if self.phase is Phase.IDLE else self._end()
        self.phase = Phase.RECEIVING
        self._link, self._offer, self._history = link, offer, History(offer.log)
        return [
            *ended,
            StopTimer(CANDIDATE),
            Send(link, Accept(offer.move, 0)),
            StartTimer(STEP, limits.HANDOVER_STEP_MS),
        ], []

    def _objection(self, offer: Offer) -> str:
        assert self._candidate is not None
        if offer.service != self._service or offer.move != self._candidate.move:
            return "this link was made for something else"
        if offer.bytes > limits.HISTORY_BYTES_MAX:
            return f"the history is larger than {limits.HISTORY_BYTES_MAX} bytes"
        held = self._offer
        if self.phase is Phase.ACTIVE:
            return "this server has just taken the room over"
        # A newer offer of the same source, or one of a later epoch, proves that the older one is dead.
        if held is not None and (offer.epoch, offer.number) <= (held.epoch, held.number):
            return "this server is taking over already"
        return ""

    def _dumped(self, dump: Dump) -> Result:
        assert self._history is not None and self._link is not None
        try:
            self._history.append_block(dump.first, dump.count, dump.block)
        except (WireError, InvariantViolated) as error:
            return self._decline(str(error))
        return [
            Send(self._link, Credit(dump.move, self._history.head)),
            StartTimer(STEP, limits.HANDOVER_STEP_MS),
        ], []

    def _seal(self, sealed: Sealed, now_ms: int) -> Result:
        assert self._history is not None and self._link is not None
        if sealed.head != self._history.head or sealed.digest != self._history.digest():
            return self._decline(f"the copy has {self._history.head} of {sealed.head} entries, or others")
        self.phase = Phase.VERIFIED
        self._sealed, self._sealed_at_ms = sealed, now_ms
        return [
            StopTimer(STEP),
            Send(self._link, Ready(sealed.move, sealed.digest)),
            StartTimer(POLL, limits.TAKE_OVER_POLL_MS),
        ], []

    def _judge(self, record: Record, now_ms: int) -> Result:
        """What a record of zdns says about the copy we keep."""
        offer, sealed, history = self._offer, self._sealed, self._history
        assert offer is not None and sealed is not None and history is not None
        if record.epoch == offer.epoch + 1 and record.active.id == self._server_id:
            self.phase = Phase.ACTIVE
            assert self._link is not None
            pause_ms = now_ms - self._sealed_at_ms
            took = Send(self._link, Took(offer.move, record.epoch))
            return [StopTimer(POLL), took], [TakeRoom(record, offer, sealed, history, pause_ms)]
        if (record.epoch, record.version) > (offer.epoch, sealed.version):
            return self._forget("the room went another way")
        return [], []

    # --- ends ---

    def _decline(self, why: str) -> Result:
        assert self._offer is not None and self._link is not None
        decline = Send(self._link, Decline(self._offer.move, why[: limits.MESSAGE_CHARS_MAX]))
        commands, verdicts = self._forget(why)
        return [decline, *commands], verdicts

    def _forget(self, why: str) -> Result:
        return self._end(), [Forgot(why)]

    def _end(self) -> list[Command]:
        self.phase = Phase.IDLE
        link = self._link
        self._reset()
        closed: list[Command] = [] if link is None else [CloseLink(link, linger_ms=limits.STOP_MS // 2)]
        return [*closed, StopTimer(STEP), StopTimer(POLL)]

    def _drop_candidate(self) -> list[Command]:
        candidate, self._candidate = self._candidate, None
        return [] if candidate is None else [CloseLink(candidate.link, linger_ms=100), StopTimer(CANDIDATE)]
