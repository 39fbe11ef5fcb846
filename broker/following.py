"""A copy of the history that is not served: following a leader, being ready to take over, keeping the copy; pure.

A copy is kept until it is certain that nobody counts on it: zdns' list says who has everything, and whoever is on it
may be the only one who has.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass

from broker.candidates import CANDIDATE, Candidates
from broker.history import History
from broker.replication import Line
from broker.room import is_sound
from wire import limits
from wire.errors import InvariantViolated, WireError
from wire.messages import (
    Align,
    Append,
    Decline,
    Dismiss,
    DnsReply,
    Expect,
    Follow,
    Following,
    Have,
    Keep,
    LinkAsk,
    Message,
    NameRequest,
    Outdated,
    Ready,
    Record,
    Resolve,
    Resolved,
    RoomState,
    Sealed,
    ServerInfo,
    TakeOver,
    Withdraw,
)
from wire.names import LinkId
from wire.step import CloseLink, Command, Send, StartTimer, StopTimer

SILENCE = "copy.silence"
POLL = "copy.poll"
_UNSOUND = "no room was ever in such a state"


class Phase(enum.Enum):
    """IDLE: nobody leads us. ASKED: somebody does, and has not said yet up to where we agree. FOLLOWING: what it has
    comes to us. PROMISED: the room is sealed, our copy is whole, and zdns decides."""

    IDLE = "idle"
    ASKED = "asked"
    FOLLOWING = "following"
    PROMISED = "promised"


@dataclass(frozen=True, slots=True)
class Began:
    """A new copy, of another history or the first one: what there was is to be erased."""

    log: str


@dataclass(frozen=True, slots=True)
class Told:
    """The leader tells of a record of zdns'."""

    record: Record


@dataclass(frozen=True, slots=True)
class CutOff:
    """What followed entry `after` was taken back; it was never committed."""

    after: int


@dataclass(frozen=True, slots=True)
class LeaderGone:
    """The link to the leader broke, or it has fallen silent."""

    leader: ServerInfo
    why: str


@dataclass(frozen=True, slots=True)
class LetGo:
    """The leader has us off its list: nobody counts on our copy."""

    record: Record


@dataclass(frozen=True, slots=True)
class TakeRoom:
    """zdns has granted `record` to us: lead."""

    record: Record
    sealed: Sealed
    source: ServerInfo  # who led
    line: Line | None  # to it; None: it is broken
    pause_ms: int


@dataclass(frozen=True, slots=True)
class CalledOff:
    """Clients who came ahead came in vain."""


Verdict = Began | Told | CutOff | LeaderGone | LetGo | TakeRoom | CalledOff
Result = tuple[list[Command], list[Verdict]]


class Copy:
    """The follower's side. Invariant: of `history` nothing that is committed is ever cut off or left out."""

    def __init__(
        self,
        *,
        service: str,
        server_id: str,
        new_link: Callable[[], LinkId],
        ask: Callable[[NameRequest, int | None], list[Command]],
        asks_first: bool = False,
    ) -> None:
        """`asks_first`: that the room is ours is believed only of zdns itself."""
        self.phase = Phase.IDLE
        self.history: History | None = None
        self.committed = 0  # as far as we were told
        self.is_whole = False  # it has, or had when we last heard of it, all that was committed
        self.state: RoomState | None = None
        self.epoch = 0  # in which we last followed: in that one we may be on the list without knowing it
        self.volatile = False
        self.leaving = False
        self.expecting = False  # clients come to us ahead
        self._service = service
        self._server_id = server_id
        self._ask = ask
        self._asks_first = asks_first
        self._candidates = Candidates(new_link)
        self._line: Line | None = None
        self._broken = False  # the line is, but what was promised over it still holds
        self._number = 0
        self._told = -1  # the last `have` that was told
        self._sealed: Sealed | None = None
        self._sealed_at_ms = 0
        self._heard_ms = 0
        self._look_at_ms = 0  # when we are to see whether the leader is silent
        self._waited_from_ms = -1  # for what we had heard then, more time was given once
        self.links_count = 0  # how often somebody began to lead us

    # --- what the core asks ---

    @property
    def leader(self) -> ServerInfo | None:
        """Whom we follow."""
        return None if self._line is None else self._line.server

    def owns(self, link: LinkId) -> bool:
        """Is this one of our links?"""
        return (self._line is not None and link == self._line.link) or self._candidates.line(link) is not None

    def hold(
        self, history: History, committed: int, state: RoomState | None, epoch: int, *, is_whole: bool = True
    ) -> None:
        """Keep this copy; nobody leads us yet."""
        self.history, self.committed, self.state, self.epoch = history, committed, state, epoch
        self.is_whole = is_whole

    def follow(self, line: Line, now_ms: int) -> list[Command]:
        """The one at the other end of `line` leads from now on; it will say so."""
        self._line, self._number, self.phase = line, 0, Phase.ASKED
        self._heard_ms, self._broken = now_ms, False
        return [self._look_in(limits.LEADER_SILENT_MS, now_ms)]

    def release(self) -> tuple[History, int, RoomState | None]:
        """Give the copy away: we lead now."""
        history = self.history
        assert history is not None
        self.history = None
        return history, self.committed, self.state

    def silent_ms(self, now_ms: int) -> int:
        """For how long our leader, or the last one, has not been heard; 0: there was none."""
        return max(0, now_ms - self._heard_ms) if self.links_count else 0

    def leave_leader(self) -> list[Command]:
        """Follow nobody."""
        line, self._line = self._line, None
        self.phase, self._sealed, self._told, self._broken = Phase.IDLE, None, -1, False
        self.expecting = False
        commands: list[Command] = [StopTimer(SILENCE), StopTimer(POLL)]
        return commands if line is None else [*commands, CloseLink(line.link, linger_ms=limits.STOP_MS // 4)]

    def hand_line_on(self) -> tuple[list[Command], Line | None]:
        """Follow nobody, but keep the link: its other end is to follow us."""
        if self._broken:
            return self.leave_leader(), None
        line, self._line = self._line, None
        return self.leave_leader(), line

    def erase(self) -> None:
        """There is no copy any more."""
        self.history, self.committed, self.state, self.is_whole = None, 0, None, False

    def pump(self, safe: int) -> list[Command]:
        """Tell the leader what we have for good, if that is news."""
        if self._line is None or self.phase not in (Phase.FOLLOWING, Phase.PROMISED) or safe <= self._told:
            return []
        self._told = safe
        return [Send(self._line.link, Have(self._line.pair, self.epoch, safe))]

    def give_up_candidates(self) -> list[Command]:
        """Nobody is to lead us, of all who have asked."""
        return self._candidates.drop_all()

    def decline(self, why: str) -> list[Command]:
        """Tell the leader that we shall not follow it any longer; it will let go of us."""
        dropped = self.give_up_candidates()
        if self._line is None:
            return dropped
        return [*dropped, Send(self._line.link, Decline(self._line.pair, why[: limits.MESSAGE_CHARS_MAX]))]

    # --- events ---

    def asked(self, ask: LinkAsk, route: bytes) -> list[Command]:
        """Somebody asks for a link of its own; nothing that is going on is given up for it yet."""
        return self._candidates.ask(ask, route)

    def bound(self, link: LinkId, endpoints: tuple[str, ...], room: LinkId) -> list[Command]:
        """Our end of a link stands."""
        return self._candidates.bound(link, endpoints, room)

    def received(self, link: LinkId, message: Message, known: Record | None, safe: int, now_ms: int) -> Result:
        """A message on one of our links. `known` is the newest record known, `safe` what we have for good."""
        candidate, line = self._candidates.line(link), self._line
        if candidate is not None:
            if isinstance(message, Follow) and message.pair == candidate.pair:
                return self._led(candidate, message, known, safe, now_ms)
            return [], []
        if line is None or link != line.link or getattr(message, "pair", None) != line.pair:
            return [], []
        self._heard_ms = now_ms
        if isinstance(message, Follow):
            # What was promised over a line that broke may still hold; nothing new begins on it.
            return ([], []) if self._broken else self._led(line, message, known, safe, now_ms)
        match self.phase, message:
            case _, Dismiss(_, record, _):
                called_off = self._called_off()[1]
                return self.leave_leader(), [*called_off, LetGo(record)]
            case Phase.ASKED, Align(_, at, committed):
                return self._align(at, committed, safe)
            case ((Phase.FOLLOWING | Phase.PROMISED), Append(epoch=epoch)) if epoch == self.epoch:
                return self._append(message)
            case ((Phase.FOLLOWING | Phase.PROMISED), Keep(epoch=epoch)) if epoch == self.epoch:
                return self._keep(message, safe)
            case Phase.FOLLOWING, Expect():
                self.expecting = True
                return [], []
            case Phase.FOLLOWING, Sealed():
                return self._seal(message, now_ms)
            case ((Phase.FOLLOWING | Phase.PROMISED), Withdraw()):
                return self._called_off()
            case Phase.PROMISED, TakeOver() if self._asks_first:
                return self._ask(Resolve(0, limits.PROTOCOL, self._service), limits.DNS_DEADLINE_MS), []
            case Phase.PROMISED, TakeOver(_, record):
                return self.judge(record, now_ms)
            case _:
                return [], []

    def link_down(self, link: LinkId, why: str) -> Result:
        """A connection of ours broke."""
        if self._candidates.line(link) is not None:
            return self._candidates.drop(link), []
        if self._line is None or link != self._line.link:
            return [], []
        return self._lose_leader(why)

    def timer(self, name: str, now_ms: int) -> Result:
        """A timer of ours has run out."""
        if name.startswith(CANDIDATE):
            return self._candidates.timer(name), []
        if name == POLL and self.phase is Phase.PROMISED:
            return self._ask(Resolve(0, limits.PROTOCOL, self._service), limits.DNS_DEADLINE_MS), []
        if name == SILENCE and self._line is not None:
            left_ms = self._heard_ms + limits.LEADER_SILENT_MS - now_ms
            if left_ms > 0:
                return [self._look_in(left_ms, now_ms)], []
            if now_ms - self._look_at_ms > limits.KEEP_MS and self._waited_from_ms != self._heard_ms:
                # This process itself was held up: what has come meanwhile has not been read yet.
                self._waited_from_ms = self._heard_ms
                return [self._look_in(2 * limits.KEEP_MS, now_ms)], []
            if self.phase is Phase.PROMISED:  # it may still say what became of the transfer
                again = self._look_in(limits.LEADER_SILENT_MS, now_ms)
                return [again], [LeaderGone(self._line.server, "it has fallen silent")]
            return self._lose_leader("it has fallen silent")
        return [], []

    def answered(self, reply: DnsReply, now_ms: int) -> Result:
        """zdns answered our poll."""
        if self.phase is not Phase.PROMISED:
            return [], []
        if isinstance(reply, Resolved) and reply.record is not None:
            commands, verdicts = self.judge(reply.record, now_ms)
            if verdicts:
                return commands, verdicts
        return [StartTimer(POLL, limits.TAKE_OVER_POLL_MS)], []

    def unanswered(self) -> Result:
        """zdns is silent: go on asking."""
        return ([StartTimer(POLL, limits.TAKE_OVER_POLL_MS)], []) if self.phase is Phase.PROMISED else ([], [])

    def judge(self, record: Record, now_ms: int) -> Result:
        """What a record of zdns says about the room that is sealed for us."""
        sealed, source = self._sealed, self.leader
        if self.phase is not Phase.PROMISED or sealed is None or source is None:
            return [], []
        if record.epoch == self.epoch + 1 and record.active.id == self._server_id:
            commands, line = self.hand_line_on()
            return commands, [TakeRoom(record, sealed, source, line, now_ms - self._sealed_at_ms)]
        if (record.epoch, record.version) > (self.epoch, sealed.version):
            # That transfer can never be granted any more.
            return self._called_off()
        return [], []

    def _look_in(self, delay_ms: int, now_ms: int) -> Command:
        """See then whether the leader is silent."""
        self._look_at_ms = now_ms + delay_ms
        return StartTimer(SILENCE, delay_ms)

    # --- steps ---

    def _led(self, line: Line, follow: Follow, known: Record | None, safe: int, now_ms: int) -> Result:
        """Somebody means to lead us."""
        record = follow.record
        is_candidate = self._candidates.line(line.link) is not None
        if known is not None and record.epoch < known.epoch:
            refused: list[Command] = [Send(line.link, Outdated(line.pair, known))]
            return [*refused, *self._candidates.drop(line.link)], []
        why = self._objection(line, follow)
        if why:
            refused = [Send(line.link, Decline(line.pair, why))]
            return [*refused, *self._candidates.drop(line.link)], []
        commands, verdicts = self._called_off()
        if is_candidate:
            commands += [*self.leave_leader(), *self._candidates.take(line.link)]
        verdicts.append(Told(record))
        if self.history is None or self.history.log != record.log:
            self.history, self.committed, self.state, self.is_whole = History(record.log), 0, None, False
            verdicts.append(Began(record.log))
            safe = 0
        self.state = follow.state
        self.links_count += 1
        self._line, self._number, self.phase = line, follow.number, Phase.ASKED
        self._heard_ms, self._told, self._sealed = now_ms, -1, None
        self.epoch = record.epoch
        history = self.history
        following = Following(
            line.pair, history.head, self.committed, history.runs(self.committed), safe, volatile=self.volatile
        )
        return [*commands, Send(line.link, following), self._look_in(limits.LEADER_SILENT_MS, now_ms)], verdicts

    def _objection(self, line: Line, follow: Follow) -> str:
        record = follow.record
        if self.leaving:
            return "this server is leaving"
        if follow.service != self._service or record.active.id != line.server.id or follow.leader.id != line.server.id:
            return "this link was made for something else"
        if self.volatile and follow.bytes > limits.HISTORY_BYTES_MAX:
            return f"the history is larger than {limits.HISTORY_BYTES_MAX} bytes, and this server keeps none on disk"
        if not is_sound(follow.state):
            return _UNSOUND
        is_followed = self.phase is not Phase.IDLE and self.epoch == record.epoch and self._number > 0
        # A later link of the same leader proves that the older one is dead.
        if is_followed and follow.number <= self._number:
            return "this server follows already"
        return ""

    def _align(self, at: int, committed: int, safe: int) -> Result:
        history, line = self.history, self._line
        assert history is not None and line is not None
        if not self.committed <= at <= history.head:
            return self._break_off(f"up to {self.committed} it is committed; you agree up to {at}")
        self.phase = Phase.FOLLOWING
        verdicts: list[Verdict] = []
        if at < history.head:
            history.cut(at)
            verdicts.append(CutOff(at))
        self._know_committed(committed)
        return self.pump(min(safe, at)), verdicts

    def _append(self, append: Append) -> Result:
        history = self.history
        assert history is not None
        try:
            if append.first != history.head + 1 or append.prev_epoch != history.epoch_at(history.head):
                raise InvariantViolated(f"entry {append.first} of another history follows {history.head}")
            # An entry of an epoch yet to come could never be followed by an honest one.
            history.append_block(append.first, append.count, append.block, self.epoch)
        except (WireError, InvariantViolated) as error:
            return self._break_off(str(error))
        self._know_committed(append.committed)
        return [], []

    def _keep(self, keep: Keep, safe: int) -> Result:
        if keep.state is not None and not is_sound(keep.state):
            return self._break_off(_UNSOUND)
        self._know_committed(keep.committed)
        if keep.state is not None:
            self.state = keep.state
        self._told = -1  # a sign of life is always answered
        verdicts: list[Verdict] = [Told(keep.record)]
        return self.pump(safe), verdicts

    def _know_committed(self, committed: int) -> None:
        assert self.history is not None
        # Whoever is put on zdns' list has all, and is waited for from then on. One that has begun anew since does not
        # have it again before it has been told so, whatever the list says.
        self.is_whole = self.history.head >= committed
        self.committed = max(self.committed, min(committed, self.history.head))

    def _seal(self, sealed: Sealed, now_ms: int) -> Result:
        history, line = self.history, self._line
        assert history is not None and line is not None
        if sealed.head != history.head or sealed.digest != history.digest():
            return self._break_off(f"the copy has {history.head} of {sealed.head} entries, or others")
        if not is_sound(sealed.state):
            return self._break_off(_UNSOUND)
        self.phase, self._sealed, self._sealed_at_ms = Phase.PROMISED, sealed, now_ms
        self.expecting, self.state = True, sealed.state
        self.committed = history.head  # the leader seals only when all is committed
        return [Send(line.link, Ready(line.pair, sealed.digest)), StartTimer(POLL, limits.TAKE_OVER_POLL_MS)], []

    def _called_off(self) -> Result:
        was_expecting, self.expecting = self.expecting, False
        verdicts: list[Verdict] = [CalledOff()] if was_expecting else []
        if self.phase is not Phase.PROMISED:
            return [], verdicts
        self._sealed = None
        self.phase = Phase.FOLLOWING
        if self._broken and self._line is not None:
            leader = self._line.server
            return [StopTimer(POLL), *self.leave_leader()], [*verdicts, LeaderGone(leader, "the link broke")]
        return [StopTimer(POLL)], verdicts

    def _lose_leader(self, why: str) -> Result:
        """A copy is kept, and so is what was promised, until zdns says what became of it."""
        assert self._line is not None
        leader = self._line.server
        if self.phase is Phase.PROMISED:
            self._broken = True
            return [], [LeaderGone(leader, why)]
        called_off = self._called_off()[1]
        return self.leave_leader(), [LeaderGone(leader, why), *called_off]

    def _break_off(self, why: str) -> Result:
        """The leader says what cannot be; the copy is as it was, and somebody may count on it."""
        declined = self.decline(why)
        commands, verdicts = self._lose_leader(why)
        return [*declined, *commands], verdicts
