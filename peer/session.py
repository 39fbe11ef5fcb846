"""Finding the active server, joining it, and following it when the role moves on; pure.

Two links lead to a server: the room (DEALER) and the feed (SUB); together they are a *route*. The current route is
to the server we believe in. A second one, *ahead*, is opened when a handover is near, and becomes the current one or
is thrown away. Every redirect names its epoch, and only a higher one is followed, so late, repeated and reordered ones
do no harm; whoever misses one hears nothing any more and asks zdns.
"""

import enum
from dataclasses import dataclass, field

import msgspec

from wire import limits
from wire.errors import InvariantViolated, RefusalCode
from wire.messages import (
    Bye,
    DnsReply,
    Heartbeat,
    Hello,
    Message,
    Moved,
    NameState,
    NotServing,
    Opened,
    Ping,
    Pong,
    Prepare,
    Presence,
    Published,
    Record,
    Refused,
    Relocate,
    Resolved,
    ServerInfo,
    Welcome,
    WhoAreYou,
)
from wire.names import LinkId
from wire.step import (
    CloseLink,
    Command,
    Event,
    LinkDown,
    LinkKind,
    OpenLink,
    Received,
    Send,
    StartTimer,
    StopTimer,
    TimerFired,
)


class _Timer:
    """The names of the session's timers."""

    HELLO = "session.hello"
    JOIN = "session.join"
    LOOK = "session.look"
    PING = "session.ping"
    SILENCE = "session.silence"
    DOUBT = "session.doubt"
    AHEAD = "session.ahead"


HANDOVER = "handover"
FAILOVER = "failover"

_EARLY_MAX = 64  # feed messages kept until the welcome they came before
_NOT_SERVING_MAX = 3  # answers of a server that may be about to take over; then zdns is asked again
_STALE_ANSWERS_MAX = 3  # one old answer may have been under way; so many in a row mean that zdns has forgotten
_BYE_LINGER_MS = 500  # for the goodbye to leave

# What a later hello may well succeed in. Any other refusal stays one.
_PASSING = (
    RefusalCode.NOT_SERVING,
    RefusalCode.BUSY,
    RefusalCode.STORE_FAILED,
    RefusalCode.NOT_ACTIVE,
    RefusalCode.STALE_EPOCH,
    RefusalCode.STALE_VERSION,
    RefusalCode.FLOOD,
)


class Phase(enum.Enum):
    """RESOLVING: zdns is asked, or will be in a moment. JOINING: at the server zdns named. MOVING: at the one that was
    announced, or at the same one under another session. Both wait for its welcome."""

    DETACHED = "detached"
    RESOLVING = "resolving"
    JOINING = "joining"
    LIVE = "live"
    MOVING = "moving"
    CLOSED = "closed"


_MOVES: dict[Phase, tuple[Phase, ...]] = {
    Phase.DETACHED: (Phase.RESOLVING, Phase.CLOSED),
    Phase.RESOLVING: (Phase.JOINING, Phase.MOVING, Phase.LIVE, Phase.CLOSED),  # MOVING, LIVE: word from the route ahead
    Phase.JOINING: (Phase.LIVE, Phase.JOINING, Phase.MOVING, Phase.RESOLVING, Phase.CLOSED),  # JOINING: a later epoch
    Phase.LIVE: (Phase.LIVE, Phase.JOINING, Phase.MOVING, Phase.RESOLVING, Phase.CLOSED),  # JOINING: hello once more
    Phase.MOVING: (Phase.LIVE, Phase.MOVING, Phase.JOINING, Phase.RESOLVING, Phase.CLOSED),
    Phase.CLOSED: (),
}

_DOUBTING = (Phase.LIVE, Phase.JOINING, Phase.MOVING)  # a server is believed in, and may have been replaced

_STATES = {
    Phase.DETACHED: "searching",
    Phase.RESOLVING: "searching",
    Phase.JOINING: "searching",
    Phase.LIVE: "live",
    Phase.MOVING: "moving",
    Phase.CLOSED: "closed",
}


# --- what happened ---


@dataclass(frozen=True, slots=True)
class Look:
    """Ask zdns who serves, and tell the session by `resolved` or `unresolved`."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A server said welcome. `moved`: in a higher epoch than the last one; then `reason` and `pause_ms` count."""

    welcome: Welcome
    first: bool
    moved: bool
    reason: str
    pause_ms: int


@dataclass(frozen=True, slots=True)
class Heard:
    """The current server said something that is not about joining and moving; its epoch is the current one."""

    message: Message


@dataclass(frozen=True, slots=True)
class Rejected:
    """The server, or zdns, does not want us, and would not want us in a moment either."""

    refused: Refused


@dataclass(frozen=True, slots=True)
class Unserved:
    """Nobody ever served this name. It is looked at again."""


@dataclass(frozen=True, slots=True)
class Orphaned:
    """All who hold the history are gone. It is looked at again."""

    record: Record | None


@dataclass(frozen=True, slots=True)
class Outdated:
    """zdns keeps naming a server of an epoch long past. It is looked at again."""

    record: Record


Happening = Look | Joined | Heard | Rejected | Unserved | Orphaned | Outdated
Steps = tuple[list[Command], list[Happening]]


@dataclass(slots=True)
class _Route:
    """The two links to one server, opened together and closed together."""

    room: LinkId
    feed: LinkId
    server: ServerInfo
    epoch: int  # in which it serves, or would
    since_ms: int  # when it was opened, or the last hello began
    room_heard_ms: int
    feed_heard_ms: int
    welcomed: bool = False
    turned_down: int = 0
    early: list[Message] = field(default_factory=list)


class Session:
    """One participant's way to the active server.

    Invariants: `epoch`, the highest one known to be granted, never falls; the current route is welcomed in LIVE and in
    no other phase; link ids are never used twice.
    """

    def __init__(self, hello: Hello) -> None:
        """`hello` is what is said to a server; its owner replaces it when the nick, the rev … change."""
        self.hello = hello
        self.phase = Phase.DETACHED
        self.epoch = 0
        self._current: _Route | None = None
        self._ahead: _Route | None = None
        self._lived_epoch = 0  # of the last welcome
        self._known: ServerInfo | None = None  # who serves, or served, in `epoch`
        self._reason = ""
        self._left_ms = -1  # when the server that was left gave its last answer
        self._misses = 0  # since the last welcome
        self._stale_answers = 0
        self._looks_out = False  # zdns is being asked
        self._routes_count = 0
        self._pings = 0
        self._commands: list[Command] = []
        self._happenings: list[Happening] = []

    # --- what others ask ---

    @property
    def state(self) -> str:
        """The phase as the user is told it: live, moving, searching, closed."""
        return _STATES[self.phase]

    @property
    def server(self) -> ServerInfo | None:
        """Who serves, as far as is known."""
        return self._known

    def to_server(self, message: Message) -> list[Command]:
        """Send `message` to the active server; nothing while there is none."""
        if self.phase is not Phase.LIVE or self._current is None:
            return []
        return [Send(self._current.room, message)]

    def start(self) -> Steps:
        """Begin to look for the active server."""
        if self.phase is Phase.DETACHED:
            self._enter(Phase.RESOLVING)
            self._look()
        return self._take()

    def number_anew(self, session: str, now_ms: int) -> Steps:
        """From now on what is posted belongs to `session`.

        An acknowledgement does not say which session it is about, so a link carries the posts of one session only:
        what was opened before is closed, and the server is joined anew.
        """
        self.hello = msgspec.structs.replace(self.hello, session=session)
        if self.phase is not Phase.CLOSED:
            self._drop_ahead()
            if self._current is not None and self._known is not None:
                self._attach(self._known, self.epoch, Phase.MOVING, now_ms)
        return self._take()

    def close(self) -> Steps:
        """Say goodbye wherever we said hello, and close everything."""
        if self.phase is not Phase.CLOSED:
            for route in self._routes():
                self._commands.append(Send(route.room, Bye()))
                self._close_route(route, _BYE_LINGER_MS)
            self._current = self._ahead = None
            self._stop_timers(
                _Timer.HELLO, _Timer.JOIN, _Timer.LOOK, _Timer.PING, _Timer.SILENCE, _Timer.DOUBT, _Timer.AHEAD
            )
            self._enter(Phase.CLOSED)
        return self._take()

    # --- zdns ---

    def resolved(self, reply: DnsReply, now_ms: int) -> Steps:
        """zdns has answered."""
        was_asked, self._looks_out = self._looks_out, False
        if self.phase in _DOUBTING and was_asked and isinstance(reply, Resolved):
            # We were only in doubt: a server we hear nothing of may be there all the same, unless there is a later one.
            if reply.state is NameState.SERVED and reply.record is not None and reply.record.epoch > self.epoch:
                self._found(reply.record, now_ms)
            return self._take()
        if self.phase is not Phase.RESOLVING:
            return self._take()
        match reply:
            case Resolved(state=NameState.SERVED, record=Record() as record):
                self._found(record, now_ms)
            case Resolved(state=NameState.ORPHANED, record=record):
                self._happenings.append(Orphaned(record))
                self._look_later()
            case Resolved():
                self._happenings.append(Unserved())
                self._look_later()
            case Refused(code=code) if code not in _PASSING:
                self._happenings.append(Rejected(reply))
                self._look_later()
            case _:
                self._look_later()
        return self._take()

    def unresolved(self, now_ms: int) -> Steps:
        """zdns is silent. Perhaps the server is not: who was in before may come in again without zdns."""
        self._looks_out = False
        if self.phase is Phase.RESOLVING:
            if self._known is not None and self._lived_epoch:
                self._attach(self._known, self.epoch, Phase.JOINING, now_ms)
            else:
                # Waiting for its answer was pause enough.
                self._commands.append(StartTimer(_Timer.LOOK, limits.SEARCH_AGAIN_MS))
        return self._take()

    def granted(self, epoch: int) -> Steps:
        """zdns has told our server half of `epoch`: whoever pauses before it looks again need not."""
        pauses = self.phase is Phase.RESOLVING or (self.phase is Phase.JOINING and self._lived_epoch > 0)
        if pauses and epoch > self.epoch:
            self._stop_timers(_Timer.LOOK)
            self._look()
        return self._take()

    def _found(self, record: Record, now_ms: int) -> None:
        if record.epoch < self.epoch:
            self._stale_answers += 1
            if self._stale_answers == _STALE_ANSWERS_MAX:
                self._happenings.append(Outdated(record))
            self._look_later()
            return
        self._stale_answers = 0
        if record.epoch > self.epoch:
            # A server that was announced to us took over as announced, only the word of it was lost.
            announced = self._ahead is not None and self._ahead.server.id == record.active.id
            self._reason = HANDOVER if announced else FAILOVER
        self._attach(record.active, record.epoch, Phase.JOINING, now_ms)

    def _look_later(self) -> None:
        delay_ms = min(limits.SEARCH_AGAIN_MS << min(self._misses, 16), limits.SEARCH_AGAIN_MAX_MS)
        self._misses += 1
        self._commands.append(StartTimer(_Timer.LOOK, delay_ms))

    # --- events ---

    def handle(self, event: Event, now_ms: int) -> Steps:
        """Advance by one event; one of a link that is closed, or that means nothing now, yields nothing."""
        match event:
            case Received(link, message):
                if route := self._route_of(link):
                    self._received(route, link, message, now_ms)
            case LinkDown(link):
                self._link_down(link)
            case TimerFired(name):
                self._tick(name, now_ms)
            case _:
                pass  # a send that was refused, too: the timers repeat whatever matters
        return self._take()

    def _received(self, route: _Route, link: LinkId, message: Message, now_ms: int) -> None:
        if isinstance(message, Relocate | Moved):
            if message.epoch > self.epoch:
                reason = message.reason if isinstance(message, Relocate) else ""
                self._reason = reason or HANDOVER
                self._attach(message.server, message.epoch, Phase.MOVING, now_ms)
        elif route is self._ahead:
            self._received_ahead(route, message, now_ms)
        elif link == route.feed:
            self._received_feed(route, message, now_ms)
        else:
            self._received_room(route, message, now_ms)

    def _received_room(self, route: _Route, message: Message, now_ms: int) -> None:
        match message:
            case Welcome(epoch=epoch) if epoch > self.epoch or (epoch == self.epoch and not route.welcomed):
                self._joined(route, message, now_ms)
            case Welcome():
                pass  # of an old epoch, or the second answer to a hello that was repeated
            case Refused(ask=0) if not route.welcomed:
                if message.code not in _PASSING:
                    self._happenings.append(Rejected(message))
                self._miss()
            case Refused(ask=0, code=RefusalCode.BANNED):
                self._happenings.append(Rejected(message))
                self._lose()
            case NotServing() if route.welcomed:
                self._lose()
            case NotServing():
                route.turned_down += 1
                if route.turned_down >= _NOT_SERVING_MAX:
                    self._miss()
            case WhoAreYou() | Pong() if route.welcomed and getattr(message, "epoch", self.epoch + 1) > self.epoch:
                self._say_hello_again(route, now_ms)
            case Pong(epoch=epoch) if epoch < self.epoch:
                pass
            case _ if route.welcomed:
                route.room_heard_ms = now_ms
                if not isinstance(message, Pong):
                    self._happenings.append(Heard(message))
            case _:
                pass

    def _received_feed(self, route: _Route, message: Message, now_ms: int) -> None:
        epoch: int = getattr(message, "epoch", 0)
        if epoch < self.epoch:
            return
        if isinstance(message, Prepare):
            self._prepare(route, message, now_ms)
        elif epoch > self.epoch and route.welcomed:
            self._say_hello_again(route, now_ms)  # it was granted another term, whose beginning we have not heard
            _keep_early(route, message)
        elif route.welcomed:
            self._happenings.append(Heard(message))
        else:
            _keep_early(route, message)
        route.feed_heard_ms = now_ms

    def _received_ahead(self, route: _Route, message: Message, now_ms: int) -> None:
        match message:
            case Welcome(epoch=epoch) if epoch > self.epoch or (epoch == self.epoch and self.phase is not Phase.LIVE):
                self._joined(route, message, now_ms)
            case _:
                _keep_early(route, message)

    def _prepare(self, route: _Route, message: Prepare, now_ms: int) -> None:
        """Connect ahead, once for each server that is announced; the latest announcement counts."""
        if message.epoch <= self.epoch or message.server.id == route.server.id:
            return
        if self._ahead is not None and self._ahead.server == message.server:
            self._ahead.epoch = message.epoch
        else:
            self._drop_ahead()
            self._ahead = self._open_route(message.server, message.epoch, now_ms)
            if self._ahead is None:
                return
            self._say_hello(self._ahead)
        self._commands.append(StartTimer(_Timer.AHEAD, limits.AHEAD_MS))

    def _link_down(self, link: LinkId) -> None:
        route = self._route_of(link)
        if route is None:
            return
        if route is self._ahead:
            self._drop_ahead()
        elif self.phase is Phase.LIVE:
            self._lose()
        else:
            self._miss()

    def _tick(self, name: str, now_ms: int) -> None:
        current = self._current
        match self.phase, name:
            case ((Phase.DETACHED | Phase.CLOSED), _):
                pass
            case _, _Timer.HELLO:
                for route in self._routes():
                    if not route.welcomed:
                        self._say_hello(route)
            case _, _Timer.AHEAD:
                self._drop_ahead()
            case Phase.RESOLVING, _Timer.LOOK:
                self._look()
            case ((Phase.JOINING | Phase.MOVING), _Timer.JOIN) if current is not None:
                left_ms = current.since_ms + limits.SILENCE_MS - now_ms
                if left_ms > 0:
                    self._commands.append(StartTimer(_Timer.JOIN, left_ms))
                else:
                    self._miss()
            case Phase.LIVE, _Timer.PING if current is not None:
                self._pings += 1
                self._commands += [Send(current.room, Ping(self._pings)), StartTimer(_Timer.PING, limits.PING_MS)]
            case ((Phase.LIVE | Phase.JOINING | Phase.MOVING), _Timer.DOUBT) if current is not None:
                self._doubt(current, now_ms)
            case Phase.LIVE, _Timer.SILENCE if current is not None:
                # A room that answers beside a dead feed, or the other way round, is as good as no server.
                left_ms = min(current.room_heard_ms, current.feed_heard_ms) + limits.SILENCE_MS - now_ms
                if left_ms > 0:
                    self._commands.append(StartTimer(_Timer.SILENCE, left_ms))
                else:
                    self._lose()
            case _:
                pass

    # --- joining a server, and leaving it ---

    def _attach(self, server: ServerInfo, epoch: int, phase: Phase, now_ms: int) -> None:
        """Make `server`, which serves in `epoch`, the current one, and say hello there."""
        self._leave_current()
        self.epoch, self._known = epoch, server
        if self._ahead is not None and self._ahead.server.id == server.id:
            self._current, self._ahead = self._ahead, None
            self._current.epoch, self._current.since_ms = epoch, now_ms
        else:
            self._drop_ahead()
            self._current = self._open_route(server, epoch, now_ms)
        self._stop_timers(_Timer.LOOK, _Timer.PING, _Timer.SILENCE, _Timer.AHEAD)
        self._enter(phase)
        if self._current is None:
            self._miss()  # it has published no address
            return
        self._say_hello(self._current)
        self._commands += [
            StartTimer(_Timer.JOIN, limits.SILENCE_MS),
            StartTimer(_Timer.DOUBT, self._patience_ms),
        ]

    @property
    def _patience_ms(self) -> int:
        """How long a server may be silent without being doubted; one that we come back to was doubted before."""
        returns = self.phase is Phase.JOINING and self.epoch == self._lived_epoch
        return limits.DOUBT_AGAIN_MS if returns else limits.DOUBT_MS

    def _doubt(self, route: _Route, now_ms: int) -> None:
        """A server that says nothing may have been replaced without a word: see whether zdns knows of a later one."""
        heard_ms = route.feed_heard_ms if self.phase is Phase.LIVE else route.since_ms
        left_ms = heard_ms + self._patience_ms - now_ms
        if left_ms > 0:
            self._commands.append(StartTimer(_Timer.DOUBT, left_ms))
            return
        if self._lived_epoch and not self._looks_out:
            self._look()
        self._commands.append(StartTimer(_Timer.DOUBT, limits.DOUBT_AGAIN_MS))

    def _look(self) -> None:
        self._looks_out = True
        self._happenings.append(Look())

    def _joined(self, route: _Route, welcome: Welcome, now_ms: int) -> None:
        if welcome.protocol != limits.PROTOCOL:
            why = f"the server speaks protocol {welcome.protocol}, this program {limits.PROTOCOL}"
            self._happenings.append(Rejected(Refused(0, RefusalCode.VERSION, why)))
            return
        if route is self._ahead:
            self._leave_current()
            self._current, self._ahead = route, None
            self._reason = HANDOVER
        elif route.welcomed:
            self._note_leaving(route)
        first = not self._lived_epoch
        moved = not first and welcome.epoch > self._lived_epoch
        pause_ms = now_ms - self._left_ms if moved and self._left_ms >= 0 else 0
        self._happenings.append(Joined(welcome, first, moved, self._reason or FAILOVER, pause_ms))
        self.epoch, self._known, self._lived_epoch = welcome.epoch, welcome.server, welcome.epoch
        self._left_ms, self._reason, self._misses, self._stale_answers = -1, "", 0, 0
        route.welcomed, route.epoch = True, welcome.epoch
        route.room_heard_ms = route.feed_heard_ms = now_ms
        self._enter(Phase.LIVE)
        if self._ahead is not None and self._ahead.epoch <= self.epoch:
            self._drop_ahead()
        if self._ahead is None:
            self._stop_timers(_Timer.HELLO, _Timer.AHEAD)
        self._stop_timers(_Timer.JOIN, _Timer.LOOK)
        self._commands += [
            StartTimer(_Timer.PING, limits.PING_MS),
            StartTimer(_Timer.SILENCE, limits.SILENCE_MS),
            StartTimer(_Timer.DOUBT, limits.DOUBT_MS),
        ]
        early, route.early = route.early, []
        self._happenings += [Heard(message) for message in early if getattr(message, "epoch", 0) == self.epoch]

    def _say_hello_again(self, route: _Route, now_ms: int) -> None:
        """The server does not know us any more, or serves in another epoch: on the same links, from the beginning."""
        self._note_leaving(route)
        route.welcomed = False
        route.since_ms = now_ms
        route.turned_down = 0
        self._stop_timers(_Timer.PING, _Timer.SILENCE, _Timer.DOUBT)
        self._enter(Phase.JOINING)
        self._say_hello(route)
        self._commands += [
            StartTimer(_Timer.JOIN, limits.SILENCE_MS),
            StartTimer(_Timer.DOUBT, limits.DOUBT_MS),
        ]

    def _lose(self) -> None:
        """The server we were live at is gone: ask zdns at once. The route ahead stays: it may be the next one's."""
        self._leave_current()
        self._stop_timers(_Timer.PING, _Timer.SILENCE, _Timer.DOUBT)
        self._enter(Phase.RESOLVING)
        self._look()

    def _miss(self) -> None:
        """The server we wanted to join does not take us: ask zdns, a little later each time."""
        self._leave_current()
        self._stop_timers(_Timer.JOIN, _Timer.DOUBT)
        self._enter(Phase.RESOLVING)
        self._look_later()

    def _leave_current(self) -> None:
        if self._current is not None:
            self._note_leaving(self._current)
            self._close_route(self._current)
            self._current = None

    def _note_leaving(self, route: _Route) -> None:
        if route.welcomed:
            self._left_ms = max(route.room_heard_ms, route.feed_heard_ms)

    def _drop_ahead(self) -> None:
        if self._ahead is not None:
            self._close_route(self._ahead)
            self._ahead = None
            self._stop_timers(_Timer.AHEAD)

    # --- links and timers ---

    def _open_route(self, server: ServerInfo, epoch: int, now_ms: int) -> _Route | None:
        if not server.router or not server.feed:
            return None
        self._routes_count += 1
        number = self._routes_count
        route = _Route(
            room=LinkId(f"room-{number}"),
            feed=LinkId(f"feed-{number}"),
            server=server,
            epoch=epoch,
            since_ms=now_ms,
            room_heard_ms=now_ms,
            feed_heard_ms=now_ms,
        )
        # Of several addresses the next one is tried after each failure.
        room_at = server.router[self._misses % len(server.router)]
        feed_at = server.feed[self._misses % len(server.feed)]
        # The feed first: what is published between its subscription and the welcome is kept, not missed.
        self._commands += [
            OpenLink(route.feed, LinkKind.FEED_CONNECT, feed_at, self.hello.service, key=server.key),
            OpenLink(route.room, LinkKind.ROOM_CONNECT, room_at, key=server.key),
        ]
        return route

    def _close_route(self, route: _Route, linger_ms: int = 0) -> None:
        self._commands += [CloseLink(route.feed), CloseLink(route.room, linger_ms)]

    def _say_hello(self, route: _Route) -> None:
        self._commands += [Send(route.room, self.hello), StartTimer(_Timer.HELLO, limits.HELLO_RETRY_MS)]

    def _routes(self) -> list[_Route]:
        return [route for route in (self._current, self._ahead) if route is not None]

    def _route_of(self, link: LinkId) -> _Route | None:
        for route in self._routes():
            if link in (route.room, route.feed):
                return route
        return None

    def _stop_timers(self, *names: str) -> None:
        self._commands += [StopTimer(name) for name in names]

    def _enter(self, phase: Phase) -> None:
        if phase not in _MOVES[self.phase]:
            raise InvariantViolated(f"a session cannot go from {self.phase.name} to {phase.name}")
        self.phase = phase

    def _take(self) -> Steps:
        commands, self._commands = self._commands, []
        happenings, self._happenings = self._happenings, []
        return commands, happenings


def _keep_early(route: _Route, message: Message) -> None:
    """Keep what a server publishes before its welcome has come over the other link; of heartbeats the last."""
    if isinstance(message, Heartbeat):
        route.early = [other for other in route.early if not isinstance(other, Heartbeat)]
    if isinstance(message, Published | Heartbeat | Presence | Opened) and len(route.early) < _EARLY_MAX:
        route.early.append(message)
