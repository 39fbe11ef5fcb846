"""Private talks over PAIR: call-up, hello, texts, acknowledgements, loss and redial; pure.

A PAIR socket serves exactly one connection: whoever connects to an occupied or a left one is told that all is
well, and loses every message. So each talk, and each redial of it, is a fresh endpoint, called a *generation*. The
member with the smaller peer id binds and announces the endpoint by a call-up (OFFER) through the active server, the
other one asks for it (RING) and connects. A hello with the call-up's token goes both ways before anything else.
Texts wait until they are acknowledged and are sent anew in the next generation; the receiver shows each once.
"""

import enum
import hashlib
import re
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

from peer.notices import Private
from wire import identity, limits
from wire.errors import InvariantViolated
from wire.messages import (
    CallUp,
    CallUpKind,
    Member,
    Message,
    TalkBye,
    TalkGot,
    TalkHello,
    TalkPing,
    TalkPong,
    TalkText,
)
from wire.names import LinkId
from wire.step import (
    CloseLink,
    Command,
    Event,
    Garbled,
    LinkBound,
    LinkDown,
    LinkKind,
    LinkUp,
    OpenLink,
    Received,
    Send,
    SendRefused,
    StartTimer,
    StopTimer,
    Subscribed,
    TimerFired,
)

QUEUE_FULL = "queue full"
NOT_HERE = "not here"
NO_ANSWER = "no answer"
TOO_MANY_TALKS = "too many talks"
TOO_LONG = "too long"
TO_ONESELF = "that is you"
FALSE_KEY = "the server told of a key that is not theirs"
LEFT = "you left before it arrived"

_NO_LINK = LinkId("")
_LINKS = "talk-"
_TIMERS = "talk."
_ENDPOINT = re.compile(r"tcp://\S+:[0-9]{1,5}")  # what a member may make us connect to
_GENERATIONS_MAX = 2**32  # above it a call-up is a lie: nobody redials so often
_HELLO_MS = 2 * limits.TALK_STEP_MS  # a connected link without the other's hello for so long is a dead one


@dataclass(frozen=True, slots=True)
class CallOut:
    """Hand `call_up` to member `to` through the active server, or drop it while there is none: it is repeated."""

    to: str
    call_up: CallUp


DirectCommand = Command | CallOut
Steps = tuple[list[DirectCommand], list[Private]]


class Phase(enum.Enum):
    """Of the talk with one other member. LOST: texts wait, and the link broke; it is dialled anew in a moment."""

    CLOSED = "closed"
    INVITING = "inviting"
    INVITED = "invited"
    OPEN = "open"
    LOST = "lost"


_MOVES: dict[Phase, tuple[Phase, ...]] = {
    Phase.CLOSED: (Phase.INVITING, Phase.INVITED),
    Phase.INVITING: (Phase.INVITED, Phase.OPEN, Phase.LOST, Phase.CLOSED),
    Phase.INVITED: (Phase.INVITED, Phase.OPEN, Phase.LOST, Phase.CLOSED),
    Phase.OPEN: (Phase.INVITED, Phase.LOST, Phase.CLOSED),
    Phase.LOST: (Phase.INVITING, Phase.INVITED, Phase.CLOSED),
}


@dataclass(frozen=True, slots=True)
class _Text:
    """An own text that is not yet acknowledged."""

    counter: int
    text: str
    tag: Any
    queued_ms: int


@dataclass(slots=True)
class _Talk:
    """The talk with one other member. Invariant: `link` is empty in CLOSED and LOST, and set in OPEN."""

    peer: str
    nick: str
    key: str  # no other key may be at the other end; empty on an open network
    binds: bool
    phase: Phase = Phase.CLOSED
    generation: int = 0  # of the link opened last
    token: str = ""
    link: LinkId = _NO_LINK
    endpoints: tuple[str, ...] = ()  # where the binding end is bound
    attempts: int = 0  # to connect; picks among several addresses
    failures: int = 0  # since the talk was last open
    waiting: deque[_Text] = field(default_factory=deque)
    session: str = ""  # the other's
    dialled_ms: int = 0
    opened_ms: int = 0  # the link
    heard_ms: int = 0
    used_ms: int = 0
    pings: int = 0

    @property
    def timer(self) -> str:
        return _TIMERS + self.peer

    def enter(self, phase: Phase) -> None:
        if phase not in _MOVES[self.phase]:
            raise InvariantViolated(f"a talk cannot go from {self.phase.name} to {phase.name}")
        self.phase = phase


class Direct:
    """All private talks of one participant. Each method returns what to do and what to tell the user.

    Invariant: every text gets the notice `queued` and then exactly one of `delivered` and `failed`, or only `failed`.
    A text that failed with NO_ANSWER or LEFT may have arrived all the same; one that is `delivered` was shown, once.
    """

    def __init__(self, peer: str, session: str, nick: str = "", *, is_open: bool = True) -> None:
        """`is_open`: on a network where nobody has a key."""
        self._is_open = is_open
        self._peer = peer
        self._session = session
        self._nick = nick
        self._counter = 0
        self._links_opened = 0
        self._talks: dict[str, _Talk] = {}  # by peer id; closed ones keep their generation
        self._peers: dict[LinkId, str] = {}  # whose talk a link is of
        self._shown: dict[tuple[str, str], int] = {}  # (peer, session) -> counter of the last text shown
        self._commands: list[DirectCommand] = []
        self._notices: list[Private] = []

    # --- what the user and the room say ----------------------------------------------------------------------

    def set_nick(self, nick: str) -> None:
        """From now on I am called so."""
        self._nick = nick

    def renamed(self, peer_id: str, nick: str) -> None:
        """Another member is called so from now on."""
        if talk := self._talks.get(peer_id):
            talk.nick = nick

    def tell(self, text: str, tag: Any, to: Member, now_ms: int) -> Steps:
        """Send `text` to `to`, over the open talk or over one that is dialled now; at most limits.TEXT_BYTES_MAX."""
        self._counter += 1
        new = _Text(self._counter, text, tag, now_ms)
        if to.peer == self._peer:
            self._say(new, to.nick, "failed", TO_ONESELF)
            return self._take()
        if not self._is_genuine(to):
            self._say(new, to.nick, "failed", FALSE_KEY)
            return self._take()
        talk = self._talk(to)
        if len(text.encode()) > limits.TEXT_BYTES_MAX:
            self._say(new, talk.nick, "failed", TOO_LONG)
        elif len(talk.waiting) >= limits.TALK_QUEUE_MAX:
            self._say(new, talk.nick, "failed", QUEUE_FULL)
        elif talk.phase is Phase.CLOSED and not self._make_room():
            self._say(new, talk.nick, "failed", TOO_MANY_TALKS)
        else:
            self._say(new, talk.nick, "queued")
            after = talk.waiting[-1].counter if talk.waiting else 0
            talk.waiting.append(new)
            talk.used_ms = now_ms
            if talk.phase is Phase.OPEN:
                self._send(talk, TalkText(self._session, new.counter, text, after))
            elif talk.phase is Phase.CLOSED:
                self._dial(talk, now_ms)
        return self._take()

    def called(self, sender: Member, call_up: CallUp, now_ms: int) -> Steps:
        """`sender` calls me up, says the active server."""
        if sender.peer == self._peer or call_up.generation > _GENERATIONS_MAX or not self._is_genuine(sender):
            return self._take()
        binds = self._peer < sender.peer
        if binds and call_up.kind is CallUpKind.RING:
            self._rung(self._talk(sender), call_up, now_ms)
        elif not binds and call_up.kind is CallUpKind.OFFER:
            usable = tuple(endpoint for endpoint in call_up.endpoints if _ENDPOINT.fullmatch(endpoint))
            if usable and call_up.token:
                self._offered(self._talk(sender), call_up, usable, now_ms)
        return self._take()

    def absent(self, peer_id: str, now_ms: int) -> Steps:  # noqa: ARG002  # every door takes the time
        """The active server could not hand on a call-up: that member is not here."""
        talk = self._talks.get(peer_id)
        if talk is not None and talk.phase is not Phase.OPEN:  # late word about a talk that stands means nothing
            self._close(talk, NOT_HERE)
        return self._take()

    def member_gone(self, peer_id: str, now_ms: int) -> Steps:
        """That member left, or is lost to the room. An open talk lives on as long as its own link does."""
        return self.absent(peer_id, now_ms)

    def leave(self, now_ms: int) -> Steps:  # noqa: ARG002  # every door takes the time
        """I am leaving: close every talk; what still waits has failed."""
        for talk in self._talks.values():
            self._hang_up(talk, LEFT)
        return self._take()

    # --- events ------------------------------------------------------------------------------------------------

    def owns(self, event: Event) -> bool:
        """Is this event about a link or timer of a private talk?"""
        match event:
            case TimerFired(name):
                return name.startswith(_TIMERS)
            case Received() | Garbled() | Subscribed() | LinkBound() | LinkUp() | LinkDown() | SendRefused():
                return event.link.startswith(_LINKS)
            case _:
                return False

    def handle(self, event: Event, now_ms: int) -> Steps:
        """Advance by one event; one that is not its own, or of a link that is closed, means nothing."""
        match event:
            case TimerFired(name) if name.startswith(_TIMERS):
                if talk := self._talks.get(name.removeprefix(_TIMERS)):
                    self._tick(talk, now_ms)
            case Received() | LinkBound() | LinkUp() | LinkDown() | SendRefused():
                if talk := self._talk_of(event.link):
                    self._link_event(talk, event, now_ms)
            case _:
                pass
        return self._take()

    def describe(self) -> str:
        """How many talks are in which phase, in one short line; empty when none is under way."""
        counts = dict.fromkeys(Phase, 0)
        for talk in self._talks.values():
            counts[talk.phase] += 1
        return " ".join(
            f"{phase.value}={counts[phase]}" for phase in Phase if phase is not Phase.CLOSED and counts[phase]
        )

    # --- dialling ------------------------------------------------------------------------------------------------

    def _dial(self, talk: _Talk, now_ms: int) -> None:
        talk.enter(Phase.INVITING)
        talk.dialled_ms = now_ms
        if talk.binds:
            self._bind(talk, talk.generation + 1, now_ms)
        else:
            self._ring(talk)
        self._start_timer(talk, now_ms)

    def _rung(self, talk: _Talk, call_up: CallUp, now_ms: int) -> None:
        """The other end wants me to bind."""
        match talk.phase:
            case Phase.CLOSED if not self._make_room():
                return
            case Phase.INVITING | Phase.INVITED if call_up.generation <= talk.generation:
                self._offer(talk)  # it has not heard of this generation yet
            case Phase.OPEN if call_up.generation <= talk.generation:
                pass  # a late repeat
            case _:
                talk.enter(Phase.INVITED)
                talk.dialled_ms = now_ms
                self._bind(talk, max(talk.generation + 1, call_up.generation), now_ms)
                self._start_timer(talk, now_ms)

    def _offered(self, talk: _Talk, call_up: CallUp, endpoints: tuple[str, ...], now_ms: int) -> None:
        """The other end has bound, and wants me to connect."""
        if call_up.generation <= talk.generation:
            if not talk.link:  # it counts from below what I gave up: tell it where we are
                self._ring(talk)
            return
        if talk.phase is Phase.CLOSED and not self._make_room():
            return
        talk.enter(Phase.INVITED)
        talk.dialled_ms = now_ms
        talk.generation, talk.token = call_up.generation, call_up.token
        self._open(talk, LinkKind.TALK_CONNECT, endpoints[talk.attempts % len(endpoints)], now_ms)
        talk.attempts += 1
        self._start_timer(talk, now_ms)

    def _bind(self, talk: _Talk, generation: int, now_ms: int) -> None:
        talk.generation = generation
        seed = f"{self._session}/{self._peer}/{talk.peer}/{generation}"
        talk.token = hashlib.blake2b(seed.encode(), digest_size=16).hexdigest()
        self._open(talk, LinkKind.TALK_BIND, "", now_ms)

    def _open(self, talk: _Talk, kind: LinkKind, endpoint: str, now_ms: int) -> None:
        self._close_link(talk)
        self._links_opened += 1
        talk.link = LinkId(f"{_LINKS}{self._links_opened}")
        talk.opened_ms = now_ms
        self._peers[talk.link] = talk.peer
        self._commands.append(OpenLink(talk.link, kind, endpoint, key=talk.key))

    def _ring(self, talk: _Talk) -> None:
        self._commands.append(CallOut(talk.peer, CallUp(CallUpKind.RING, talk.generation + 1)))

    def _offer(self, talk: _Talk) -> None:
        if talk.endpoints:  # else the link is not bound yet; LinkBound says it
            call_up = CallUp(CallUpKind.OFFER, talk.generation, talk.endpoints, talk.token)
            self._commands.append(CallOut(talk.peer, call_up))

    # --- the link --------------------------------------------------------------------------------------------------

    def _link_event(
        self, talk: _Talk, event: Received | LinkBound | LinkUp | LinkDown | SendRefused, now_ms: int
    ) -> None:
        match event:
            case Received(_, message):
                talk.heard_ms = now_ms
                self._received(talk, message, now_ms)
            case LinkBound(_, endpoints):
                talk.endpoints = endpoints[: limits.ENDPOINTS_MAX]
                self._offer(talk)
            case LinkUp() if not talk.binds and talk.phase is Phase.INVITED:
                self._send(talk, self._hello(talk))
            case LinkDown() | SendRefused():
                self._lose(talk, now_ms)
            case _:
                pass  # the binding end says nothing before it knows who came

    def _received(self, talk: _Talk, message: Message, now_ms: int) -> None:
        match talk.phase, message:
            case ((Phase.INVITING | Phase.INVITED), TalkHello()):
                self._greeted(talk, message, now_ms)
            case Phase.OPEN, TalkText():
                self._told(talk, message, now_ms)
            case Phase.OPEN, TalkGot(session, counter) if session == self._session:
                self._got(talk, counter)
            case Phase.OPEN, TalkPing(ask):
                self._send(talk, TalkPong(ask))
            case Phase.OPEN, TalkHello() | TalkGot() | TalkPong():
                pass
            case _:  # a bye; or somebody who does not know how to begin
                self._lose(talk, now_ms)

    def _greeted(self, talk: _Talk, hello: TalkHello, now_ms: int) -> None:
        if (hello.token, hello.peer, hello.generation) != (talk.token, talk.peer, talk.generation):
            self._lose(talk, now_ms)
            return
        if talk.binds:
            self._send(talk, self._hello(talk))
        talk.enter(Phase.OPEN)
        talk.session = hello.session
        talk.failures = 0
        talk.attempts = 0
        talk.used_ms = now_ms
        after = 0
        for text in talk.waiting:
            self._send(talk, TalkText(self._session, text.counter, text.text, after))
            after = text.counter
        self._start_timer(talk, now_ms)

    def _told(self, talk: _Talk, message: TalkText, now_ms: int) -> None:
        if message.session != talk.session:
            self._lose(talk, now_ms)
            return
        talk.used_ms = now_ms
        key = (talk.peer, message.session)
        shown = self._shown.get(key, 0)
        if message.counter > shown:
            if message.after > shown:  # the link has lost one: what comes next would hide it for ever
                self._lose(talk, now_ms)
                return
            shown = message.counter
            id_ = f"{talk.peer}/{message.session}/p{message.counter}"
            self._notices.append(Private(sender=talk.nick, to=self._nick, id=id_, text=message.text, state="received"))
            self._shown.pop(key, None)  # to the end, as the most recent
            self._shown[key] = shown
            if len(self._shown) > limits.MEMBERS_MAX:
                del self._shown[next(iter(self._shown))]
        self._send(talk, TalkGot(message.session, shown))

    def _got(self, talk: _Talk, counter: int) -> None:
        while talk.waiting and talk.waiting[0].counter <= counter:
            self._say(talk.waiting.popleft(), talk.nick, "delivered")

    # --- time ------------------------------------------------------------------------------------------------------

    def _tick(self, talk: _Talk, now_ms: int) -> None:
        while talk.waiting and now_ms - talk.waiting[0].queued_ms >= limits.TALK_DEADLINE_MS:
            self._say(talk.waiting.popleft(), talk.nick, "failed", NO_ANSWER)
        match talk.phase:
            case Phase.LOST if talk.waiting:
                self._dial(talk, now_ms)
            case Phase.LOST:
                self._close(talk)
            case Phase.INVITING | Phase.INVITED:
                self._call_again(talk, now_ms)
            case Phase.OPEN:
                self._keep_alive(talk, now_ms)
            case Phase.CLOSED:
                pass  # the timer had run out before it was stopped

    def _call_again(self, talk: _Talk, now_ms: int) -> None:
        if not talk.waiting and (talk.phase is Phase.INVITING or now_ms - talk.dialled_ms >= limits.TALK_DEADLINE_MS):
            self._close(talk)
        elif talk.link and not talk.binds and now_ms - talk.opened_ms >= _HELLO_MS:
            self._lose(talk, now_ms)
        else:
            if talk.binds:
                self._offer(talk)
            elif not talk.link:
                self._ring(talk)
            self._start_timer(talk, now_ms)

    def _keep_alive(self, talk: _Talk, now_ms: int) -> None:
        if now_ms - talk.heard_ms >= limits.TALK_SILENCE_MS:
            self._lose(talk, now_ms)
        elif not talk.waiting and now_ms - talk.used_ms >= limits.TALK_IDLE_MS:
            self._hang_up(talk)
        else:
            talk.pings += 1
            self._send(talk, TalkPing(talk.pings))
            self._start_timer(talk, now_ms)

    def _start_timer(self, talk: _Talk, now_ms: int) -> None:
        """Until the next call, ping or redial, but not beyond the oldest text's deadline."""
        delay_ms = limits.TALK_PING_MS if talk.phase is Phase.OPEN else limits.TALK_STEP_MS
        if talk.phase is Phase.LOST:
            delay_ms = min(limits.TALK_STEP_MS, limits.TALK_STEP_MS // 10 << min(talk.failures, 8))
        if talk.waiting:
            due_ms = talk.waiting[0].queued_ms + limits.TALK_DEADLINE_MS
            delay_ms = max(1, min(delay_ms, due_ms - now_ms))
        self._commands.append(StartTimer(talk.timer, delay_ms))

    # --- ends --------------------------------------------------------------------------------------------------------

    def _lose(self, talk: _Talk, now_ms: int) -> None:
        """The link is of no use any more: dial anew if texts wait, else let it be."""
        if not talk.waiting:
            self._close(talk)
            return
        self._close_link(talk)
        talk.enter(Phase.LOST)
        self._start_timer(talk, now_ms)
        talk.failures += 1

    def _hang_up(self, talk: _Talk, reason: str = "") -> None:
        """End the talk, and say so at the other end."""
        if talk.phase is Phase.OPEN:
            self._send(talk, TalkBye())
            self._close_link(talk, linger_ms=limits.TALK_STEP_MS)
        self._close(talk, reason)

    def _close(self, talk: _Talk, reason: str = "") -> None:
        """End the talk; what still waits has failed for `reason`."""
        while talk.waiting:
            self._say(talk.waiting.popleft(), talk.nick, "failed", reason)
        if talk.phase is Phase.CLOSED:
            return
        self._close_link(talk)
        talk.enter(Phase.CLOSED)
        talk.failures = talk.attempts = 0
        self._commands.append(StopTimer(talk.timer))

    def _close_link(self, talk: _Talk, linger_ms: int = 0) -> None:
        if talk.link:
            del self._peers[talk.link]
            self._commands.append(CloseLink(talk.link, linger_ms))
        talk.link = _NO_LINK
        talk.endpoints = ()

    def _make_room(self) -> bool:
        """Is there, or can there be, room for one more talk? Closes the open one that was idle longest."""
        busy = [talk for talk in self._talks.values() if talk.phase is not Phase.CLOSED]
        if len(busy) < limits.TALKS_MAX:
            return True
        idle = [talk for talk in busy if talk.phase is Phase.OPEN and not talk.waiting]
        if idle:
            self._hang_up(min(idle, key=lambda talk: talk.used_ms))
        return bool(idle)

    def _is_genuine(self, member: Member) -> bool:
        """Whether a member is told of with the key that its id names. Whoever serves could tell us another one."""
        return self._is_open or (bool(member.key) and identity.belongs(member.peer, member.key))

    # --- small things ----------------------------------------------------------------------------------------------

    def _talk(self, member: Member) -> _Talk:
        talk = self._talks.get(member.peer)
        if talk is None:
            if len(self._talks) >= limits.MEMBERS_MAX:
                # What is forgotten is a generation; the other end tells us its own when it knows a higher one.
                closed = [talk.peer for talk in self._talks.values() if talk.phase is Phase.CLOSED]
                del self._talks[closed[0]]  # at most TALKS_MAX are not closed
            talk = self._talks[member.peer] = _Talk(
                member.peer, member.nick, member.key, binds=self._peer < member.peer
            )
        talk.nick = member.nick
        return talk

    def _talk_of(self, link: LinkId) -> _Talk | None:
        peer = self._peers.get(link)
        return None if peer is None else self._talks[peer]

    def _hello(self, talk: _Talk) -> TalkHello:
        return TalkHello(talk.token, self._peer, self._nick, talk.generation, self._session)

    def _send(self, talk: _Talk, message: Message) -> None:
        self._commands.append(Send(talk.link, message))

    def _say(self, text: _Text, to: str, state: str, reason: str = "") -> None:
        id_ = f"{self._peer}/{self._session}/p{text.counter}"
        notice = Private(self._nick, to, id_, text.text, state, text.tag, reason or UNSET)
        self._notices.append(notice)

    def _take(self) -> Steps:
        commands, self._commands = self._commands, []
        notices, self._notices = self._notices, []
        return commands, notices
