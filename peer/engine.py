"""One participant's client half, composed: what the user asks goes in, what the user is told comes out; pure.

The session decides which server counts, and hands on only what that server says in the current epoch; so nothing
behind it looks at epochs or links again. Order within one event: the session, then timeline, roster, outbox and
requests, then the private talks.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from peer.acquaintances import Acquaintances
from peer.direct import NO_ANSWER, NOT_HERE, CallOut, Direct
from peer.direct import Steps as DirectSteps
from peer.intents import (
    AskHandover,
    AskHistory,
    AskQueue,
    AskSearch,
    AskWho,
    ChangeNick,
    DiskLost,
    DropPosts,
    EpochGranted,
    GoAway,
    HostServer,
    Intent,
    PostsKept,
    Quit,
    Say,
    SetTopic,
    Tell,
    UserIntent,
)
from peer.notices import (
    Bye,
    Dropped,
    Fault,
    HandedOver,
    MembersList,
    Notice,
    Posted,
    Private,
    Queue,
    QueueLine,
    Ready,
    Refusal,
    Relocated,
    StateChanged,
    Topic,
)
from peer.notices import Message as MessageNotice
from peer.outbox import Committed, Kept, Outbox, text_fault
from peer.outbox import Dropped as DroppedPost
from peer.requests import BadRequest, Query, Request, Requests, status_notice, wish_of
from peer.roster import Roster, member_lines
from peer.schedule import Schedule
from peer.session import Happening, Heard, Joined, Look, Orphaned, Outdated, Phase, Rejected, Session, Unserved
from peer.timeline import FetchRange, HistoryQuery, SearchQuery, Shown, Timeline, post_id
from wire import identity, limits, names
from wire import messages as wire_messages
from wire.errors import RefusalCode
from wire.exits import EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_VERSION
from wire.flood import FloodGate
from wire.identity import Credentials
from wire.messages import (
    Acked,
    AskMembers,
    Change,
    ChangeKind,
    Done,
    Fetch,
    Fetched,
    Find,
    Found,
    Heartbeat,
    Hello,
    Located,
    Member,
    MembersAre,
    Message,
    Opened,
    Posts,
    Presence,
    Published,
    Refused,
    Relay,
    Relayed,
    Resend,
    Resolve,
    SetServer,
    StatusIs,
)
from wire.step import Asked, Command, Event, Report, Started, StartTimer, Stop, Stopping, StopTimer, TimerFired
from zdns.lookup import Answered, Lookup, Outcome

_REQUESTS_TIMER = "requests.retry"
_FROM_MEMORY = "the chat goes on, but what has not got through is lost if this program is killed"
_SENT_BEFORE = "dropped, so not sent again; it was sent before, and may be posted all the same"
_BEGIN = "To begin, start: relevo chat"
_BACK = "Wait for one of them, or start over without it: relevo chat --fresh"
_PERMITS_REFUSED_MAX = 3  # in a row; zdns may have changed its mind while we were on the way
_RELAYS_REMEMBERED = limits.TALKS_MAX  # call-ups whose refusal we still know how to take


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Who takes part in what.

    `dns`: addresses of zdns, "tcp://host:port". `nick_fixed`: rather be refused than get a suffix. `serves`: there
    is a server half that may claim the name, so a name nobody serves is waited for. `since`: begin the messages with
    this seq instead of the newest `page`. `flood_per_s`: posts a second, 0 unbounded. `fresh`: the server half is
    about to start over a name whose history nobody holds, so that needs no saying. `patient`: when there is no zdns, or
    nobody who may serve, say so and go on looking, instead of leaving. `kept`: what is on disk of the own posts; then
    a Report of a `peer.outbox.Write` is to be written there, and answered by `PostsKept` or `DiskLost`.
    `credentials`: what makes it a participant of a closed network; None: of an open one. `token`: what zdns gave it
    before; a new one is told by a Report of `TokenGiven`. `keeps_key`: its key will be the same next time.
    `known`: fingerprints by nick, as told by a Report of `Met` before.
    """

    service: str
    dns: tuple[str, ...]
    nick: str
    nick_fixed: bool = False
    guest: bool = False
    serves: bool = True
    server_id: str = ""
    min_n: int = 0
    since: int | None = None
    flood_per_s: float = limits.FLOOD_POSTS_PER_S
    page: int = limits.PAGE_ENTRIES
    fresh: bool = False
    patient: bool = False
    kept: Kept | None = None
    credentials: Credentials | None = None
    token: bytes = b""
    keeps_key: bool = True
    known: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its public key; empty on an open network."""
        return "" if self.credentials is None else self.credentials.keys.public


@dataclass(frozen=True, slots=True)
class TokenGiven:
    """Reported when zdns has admitted us; with `token` it does so again, whatever becomes of the room's secret."""

    token: bytes


@dataclass(frozen=True, slots=True)
class Met:
    """Reported when there is news of who has which key: `known` is to be remembered, fingerprints by nick."""

    known: Mapping[str, str]


class Engine:
    """The client half. Every post asked for ends in one `Posted` or `Refusal`, or waits; every request likewise.

    Invariants: messages are told in seq order, each once; after `Stop` nothing is said any more.
    """

    def __init__(self, options: EngineOptions) -> None:
        """Raises ValueError for a service name or nick that no server would take."""
        self.options = options
        self._service = names.check_service(options.service)
        self._nick = names.check_nick(options.nick)
        self._lookup = Lookup(options.dns, options.credentials, options.token)
        self._acquaintances = Acquaintances(options.known)
        self._token_told = b""
        self._permits_refused = 0  # in a row
        self._timeline = Timeline(options.page, options.since)
        self._requests = Requests()
        self._schedule = Schedule()
        self._flood = FloodGate(options.flood_per_s)
        self._peer = ""
        self._born_as = ""  # the session of what is said first
        self._begin("")
        self._started = False
        self._is_ready = False
        self._ended = False
        self._was_live = False
        self._state_told = ""
        self._faults_told: list[str] = []  # codes that were told since we were last live
        self._resolving = 0
        self._members_asked_ms = -limits.FETCH_RETRY_MS
        self._relays: dict[int, str] = {}  # ask -> peer id
        self._asked_early: list[AskHistory] = []  # before we were in
        self._commands: list[Command] = []

    def _begin(self, nonce: str) -> None:
        """Make what needs to know who we are."""
        kept = self.options.kept
        # Sessions of one peer must never meet, however often it is started.
        self._peer = identity.make_id(self.options.key, kept.peer if kept else nonce)
        self._born_as = nonce[:16]
        self._outbox = Outbox(self._born_as, kept)
        self._roster = Roster(self._peer)
        is_open = self.options.credentials is None
        self._direct = Direct(self._peer, self._born_as, self._nick, is_open=is_open)
        self._session = Session(
            Hello(
                protocol=limits.PROTOCOL,
                service=self._service,
                peer=self._peer,
                session=self._outbox.session,
                nick=self._nick,
                nick_fixed=self.options.nick_fixed,
                guest=self.options.guest,
                server=self.options.server_id,
                min_n=self.options.min_n,
                permit=self._lookup.permit,
                keeps_key=self.options.keeps_key,
            )
        )

    # --- the door ---

    def handle(self, event: Event, now_ms: int) -> list[Command]:
        """Advance by one event; input that means nothing now yields no command."""
        if self._ended:
            return []
        match event:
            case Started(nonce) if not self._started:
                self._started = True
                self._begin(nonce)
                self._tell_of_left()
                self._follow(*self._session.start(), now_ms)
            case Stopping():
                self._end("stopped", 0 if self._is_ready else EXIT_INTERRUPTED, now_ms)
            case Asked(intent) if self._started:
                self._intend(intent, now_ms)
            case _ if self._started:
                self._outside(event, now_ms)
            case _:
                pass
        self._tell_state()
        commands, self._commands = self._commands, []
        # First of all, as nothing is performed after a Stop.
        write = self._outbox.take_write()
        return [Report(write), *commands] if write else commands

    def describe(self) -> str:
        """Service, epoch, phase and queue in one short line."""
        return (
            f"{self._service} epoch={self._session.epoch} {self._session.phase.name} queued={len(self._outbox)}"
            f" {self._direct.describe()}"
        ).rstrip()

    def _outside(self, event: Event, now_ms: int) -> None:
        if self._lookup.owns(event):
            commands, outcomes = self._lookup.handle(event, now_ms)
            self._commands += commands
            self._note_permit()
            for outcome in outcomes:
                self._resolved(outcome, now_ms)
        elif self._direct.owns(event):
            self._talk(self._direct.handle(event, now_ms))
        else:
            self._follow(*self._session.handle(event, now_ms), now_ms)
            self._show(self._timeline.handle(event))
            self._outbox.handle(event)
            match event:
                case TimerFired(name) if name == _REQUESTS_TIMER:
                    self._check_requests(now_ms)
                case _:
                    pass
            self._flush(now_ms)

    def _note_permit(self) -> None:
        """Show servers what zdns gave us last, and have it kept."""
        permit, token = self._lookup.permit, self._lookup.token
        if not self._lookup.is_admitted:
            return
        if permit != self._session.hello.permit:
            self._session.hello = msgspec.structs.replace(self._session.hello, permit=permit)
        if token != self._token_told:
            self._token_told = token
            self._commands.append(Report(TokenGiven(token)))

    def _report(self, *notices: Notice) -> None:
        self._commands += [Report(notice) for notice in notices]

    def _tell_state(self) -> None:
        state = self._session.state
        if self._started and state != self._state_told:
            self._state_told = state
            self._report(StateChanged(state=state, queued=len(self._outbox)))

    def _fault_once(self, code: str, message: str) -> None:
        """Say what is wrong, but not at each attempt: once until we are live again."""
        if code not in self._faults_told:
            self._faults_told.append(code)
            self._report(Fault(code=code, message=message))

    # --- the way to the server ---

    def _follow(self, commands: Sequence[Command], happenings: Sequence[Happening], now_ms: int) -> None:
        """Perform what the session decided."""
        self._commands += commands
        for happening in happenings:
            if self._ended:
                return
            match happening:
                case Look():
                    self._look(now_ms)
                case Joined():
                    self._joined(happening, now_ms)
                case Heard(message):
                    self._heard(message, now_ms)
                case Rejected(refused):
                    self._rejected(refused, now_ms)
                case Unserved():
                    if not self._is_ready and not self.options.serves:
                        self._nobody(f"nobody ever served {self._service}", _BEGIN, now_ms)
                case Orphaned(record):
                    self._orphaned(record, now_ms)
                case Outdated(record):
                    why = (
                        f"zdns names a server of epoch {record.epoch} for {self._service}, which was in epoch "
                        f"{self._session.epoch} already: it has lost its records. Leave and join again to go on there"
                    )
                    self._fault_once("zdns_forgot", why)
        is_live = self._session.phase is Phase.LIVE
        if self._was_live and not is_live:
            self._show(self._timeline.lost())
            self._commands += self._outbox.lost()
        self._was_live = is_live

    def _look(self, now_ms: int) -> None:
        self._commands += self._lookup.cancel(self._resolving)
        request = Resolve(0, limits.PROTOCOL, self._service)
        self._resolving, commands = self._lookup.ask(request, now_ms, self._dns_deadline_ms)
        self._commands += commands

    @property
    def zdns_is_silent(self) -> bool:
        """Whether the last question to zdns has got no answer so far."""
        return self._lookup.silent

    @property
    def _dns_deadline_ms(self) -> int:
        """Who was in already does not wait long: the old server may be reachable without it. Nor does who looks on."""
        return limits.SILENCE_MS if self._is_ready or self.options.patient else limits.DNS_DEADLINE_MS

    def _resolved(self, outcome: Outcome, now_ms: int) -> None:
        if outcome.ask != self._resolving:
            return
        if isinstance(outcome, Answered):
            self._follow(*self._session.resolved(outcome.reply, now_ms), now_ms)
        elif self._is_ready:
            self._follow(*self._session.unresolved(now_ms), now_ms)
        elif outcome.hopeless:
            self._report(Fault(code=RefusalCode.NOT_ADMITTED.word, message=self._how_to_get_in(outcome.why)))
            self._end(self._how_to_get_in(outcome.why), EXIT_REFUSED, now_ms)
        else:
            where = ", ".join(endpoint.removeprefix("tcp://") for endpoint in self.options.dns)
            why = (
                f"cannot reach zdns at {where} (no answer after {self._dns_deadline_ms / 1000:g} s). Is it running? "
                "Try: relevo dns, or name another one with --dns HOST:PORT"
            )
            self._fault_once("no_zdns", why)
            if self.options.patient:
                self._follow(*self._session.unresolved(now_ms), now_ms)
            else:
                self._end(why, EXIT_UNAVAILABLE, now_ms)

    def _how_to_get_in(self, why: str) -> str:
        if self.options.credentials is None:
            return f"{why}. Join once with --ticket TICKET, which `relevo ticket` prints where zdns runs"
        return (
            f"{why}. If it is open now: --ticket none. Else ask whoever runs zdns for the present ticket, and join once"
            " with --ticket TICKET"
        )

    def _rejected(self, refused: Refused, now_ms: int) -> None:
        code, message = refused.code.word, refused.message
        if refused.code is RefusalCode.NOT_ADMITTED and self._permits_refused < _PERMITS_REFUSED_MAX:
            self._permits_refused += 1
            self._lookup.show_ticket_again()
            self._look(now_ms)  # at once, as the next hello needs the new permit
            return
        if refused.code in (RefusalCode.BANNED, RefusalCode.BAD_TICKET):
            self._report(Fault(code=code, message=message))
            self._end(message, EXIT_REFUSED, now_ms)
            return
        if self._is_ready:
            self._fault_once(code, message)
            return
        if refused.code in (RefusalCode.NAME_TAKEN, RefusalCode.BAD_NAME):
            self._report(Refusal(tag=None, code=code, message=message))
        else:
            self._report(Fault(code=code, message=message))
        self._end(message, EXIT_VERSION if refused.code is RefusalCode.VERSION else EXIT_REFUSED, now_ms)

    def _orphaned(self, record: wire_messages.Record | None, now_ms: int) -> None:
        holders = ", ".join(server.name or server.id for server in record.in_sync) if record else "nobody"
        why = (
            f"nobody serves {self._service} now: its history was last held by {holders}. Waiting for them to come "
            "back; to give the history up and start over, use --fresh"
        )
        if self.options.fresh and not self._is_ready:
            return  # our own server half is about to start over
        if self._is_ready or self.options.serves or self.options.patient:
            self._fault_once("nobody_serves", why)
        else:
            self._nobody(f"nobody serves {self._service}: its history was last held by {holders}", _BACK, now_ms)

    def _nobody(self, why: str, advice: str, now_ms: int) -> None:
        if self.options.patient:
            why += f". Waiting for somebody who may serve; this one may not. {advice}"
            self._fault_once("nobody_serves", why)
            return
        why += f". This one may not serve. {advice}"
        self._report(Fault(code="nobody_serves", message=why))
        self._end(why, EXIT_UNAVAILABLE, now_ms)

    def _joined(self, joined: Joined, now_ms: int) -> None:
        welcome = joined.welcome
        self._permits_refused = 0
        is_fresh = self._timeline.log not in ("", welcome.log)
        self._roster.open, self._roster.min_n = welcome.open, welcome.min_n
        changes = [] if welcome.members is None else self._roster.replace(welcome.rev, welcome.members)
        self._roster.topic = Topic(text=welcome.topic, by=welcome.topic_by)
        self._meet(self._roster.members)
        if joined.first or joined.moved:
            self._schedule.begin()
        if self._outbox.enter(welcome.log) and len(self._outbox) and joined.first:
            why = f"{self._service} was started over since you left; what you had not got through goes into the new one"
            self._report(Fault(code="posts_left", message=why))
        if is_fresh:
            self._start_over()
        self._be_called(welcome.nick)
        resent = self._outbox.restart_sending()
        if joined.first:
            self._enter(joined)
        elif joined.moved:
            self._report(
                Relocated(
                    epoch=welcome.epoch,
                    server=welcome.server.name,
                    reason=joined.reason,
                    pause_ms=joined.pause_ms,
                    resent=resent,
                )
            )
        self._faults_told.clear()
        if is_fresh:
            why = f"{self._service} was started over by {welcome.server.name}: its history before is gone"
            self._report(Fault(code="fresh_start", message=why))
        self._tell_changes(changes, now_ms)
        if welcome.members is None and (is_fresh or welcome.rev != self._roster.rev):
            self._commands += self._session.to_server(AskMembers(0))
        self._commands += self._tell_server()
        self._show(self._timeline.welcome(welcome.log, welcome.head))
        for request in self._requests.rejoined():  # only handovers are not simply asked again
            if joined.moved:
                self._report(HandedOver())
            else:
                why = "the link to the server broke before it answered; ask for the status"
                self._refuse(request.intent, RefusalCode.HANDOVER_FAILED.word, why)
        asked_early, self._asked_early = self._asked_early, []
        for intent in asked_early:
            self._request(intent, now_ms)
        self._flush(now_ms)

    def _tell_server(self) -> list[Command]:
        """Say which server half is ours, if the room has another one: what said so before may have been lost."""
        hello = self._session.hello
        own = self._roster.member(hello.peer)
        if own is None or own.server == hello.server:
            return []
        return self._session.to_server(SetServer(0, hello.server))

    def _enter(self, joined: Joined) -> None:
        """In for the first time."""
        self._is_ready = True
        welcome = joined.welcome
        self._report(
            Ready(
                name=welcome.nick,
                service=self._service,
                epoch=welcome.epoch,
                server=welcome.server.name,
                head=welcome.head,
                members=self._roster.nicks,
                min_n=welcome.min_n,
            )
        )
        if self.options.min_n > 0 and self.options.min_n != welcome.min_n:
            why = (
                f"{self._service} was opened with --min_n {welcome.min_n}, and that counts; "
                f"your --min_n {self.options.min_n} does not"
            )
            self._report(Fault(code="min_n_differs", message=why))

    def _start_over(self) -> None:
        """The history is another one: what was asked about the old one cannot be answered any more."""
        for request in self._requests.requests:
            if request.query is not None:
                self._requests.close(request.ask)
                self._refuse(request.intent, "fresh_start", "the history was started over meanwhile; ask again")

    def _be_called(self, nick: str) -> None:
        """This is our name now; and what we say at the next hello."""
        self._nick = names.Nick(nick)
        self._direct.set_nick(nick)
        self._session.hello = msgspec.structs.replace(
            self._session.hello, nick=nick, nick_fixed=False, rev=self._roster.rev
        )

    # --- what the server says ---

    def _heard(self, message: Message, now_ms: int) -> None:
        match message:
            case Published():
                self._show(self._timeline.published(message))
            case Heartbeat():
                self._beat(message, now_ms)
            case Presence():
                self._presence(message, now_ms)
            case Opened():
                self._open_gate()
            case Acked(first_counter, seqs):
                self._settle(*self._outbox.acked(first_counter, seqs))
                self._number_anew(now_ms)
            case Resend(counter):
                self._settle(*self._outbox.resend(counter))
                self._number_anew(now_ms)
            case Fetched(ask=0):
                self._show(self._timeline.fetched(message))
            case MembersAre(ask=0):
                self._members_are(message, now_ms)
            case Relayed(sender, call_up):
                self._meet([sender])
                self._talk(self._direct.called(sender, call_up, now_ms))
            case Refused(ask=0, code=code, message=why):
                self._fault_once(code.word, why)
            case Refused(ask=ask) if ask in self._relays:
                self._talk(self._direct.absent(self._relays.pop(ask), now_ms))
            case Fetched() | Found() | MembersAre() | Located() | StatusIs() | Done() | Refused():
                if request := self._requests.close(message.ask):
                    self._answered(request, message, now_ms)
            case _:
                pass

    def _beat(self, beat: Heartbeat, now_ms: int) -> None:
        self._show(self._timeline.heartbeat(beat.head))
        if beat.open:
            self._open_gate()
        if beat.rev > self._roster.rev:
            self._ask_members(now_ms)
        self._schedule.beat(beat.next_handover_ms, now_ms)
        self._tell_schedule(now_ms)

    def _presence(self, presence: Presence, now_ms: int) -> None:
        changes = self._roster.apply(presence)
        if changes is None:
            self._ask_members(now_ms)
        else:
            self._meet(change.member for change in changes)
            self._tell_changes(changes, now_ms)

    def _members_are(self, answer: MembersAre, now_ms: int) -> None:
        if answer.rev >= self._roster.rev:
            changes = self._roster.replace(answer.rev, answer.members)
            self._roster.topic = Topic(text=answer.topic, by=answer.topic_by)
            self._meet(self._roster.members)
            self._tell_changes(changes, now_ms)

    def _ask_members(self, now_ms: int) -> None:
        """The members list has a gap. Each heartbeat says so again until it is closed."""
        if now_ms - self._members_asked_ms >= limits.FETCH_RETRY_MS:
            self._members_asked_ms = now_ms
            self._commands += self._session.to_server(AskMembers(0))

    def _open_gate(self) -> None:
        if not self._roster.open:
            self._roster.open = True
            if not self.options.guest:
                self._report(*self._roster.waiting())

    def _tell_changes(self, changes: Sequence[Change], now_ms: int) -> None:
        for change in changes:
            member = change.member
            if change.kind in (ChangeKind.LEFT, ChangeKind.LOST):
                self._talk(self._direct.member_gone(member.peer, now_ms))
            elif change.kind is ChangeKind.RENAMED:
                self._direct.renamed(member.peer, member.nick)
        me = self._roster.member(self._peer)
        self._be_called(me.nick if me else self._nick)
        if not self.options.guest:
            self._report(*self._roster.news(changes), *self._roster.waiting())
        self._report(*self._roster.topics(changes))
        self._tell_schedule(now_ms)

    def _tell_schedule(self, now_ms: int) -> None:
        server = self._session.server
        if server is not None:
            member = next((member.nick for member in self._roster.members if member.server == server.id), "")
            self._report(*self._schedule.news(self._session.epoch, server.name, member, now_ms))

    def _settle(self, commands: Sequence[Command], committed: Sequence[Committed]) -> None:
        """Perform what the outbox decided, and tell what is committed."""
        self._commands += commands
        for post in committed:
            if post.seq:
                self._report(Posted(tag=post.tag, id=f"{self._peer}/{post.session}/{post.counter}", seq=post.seq))

    def _number_anew(self, now_ms: int) -> None:
        """The posts that are due belong to another session: at once, as a server's word about the old one may come."""
        if self._outbox.session != self._session.hello.session:
            self._follow(*self._session.number_anew(self._outbox.session, now_ms), now_ms)

    def _show(self, steps: tuple[list[Command | FetchRange], list[Shown]]) -> None:
        """Perform what the timeline decided."""
        commands, shown = steps
        for item in shown:
            entry = item.entry
            self._report(
                MessageNotice(
                    seq=entry.seq,
                    epoch=entry.epoch,
                    id=post_id(entry),
                    author=entry.nick,
                    text=entry.text,
                    time=entry.time_ms,
                    past=True if item.past else msgspec.UNSET,
                    own=True if entry.author == self._peer else msgspec.UNSET,
                )
            )
        for command in commands:
            if isinstance(command, FetchRange):
                self._commands += self._session.to_server(Fetch(0, command.first, command.count))
            else:
                self._commands.append(command)

    def _flush(self, now_ms: int) -> None:
        """Send what is due, if there is somebody to send it to."""
        if self._ended:
            return
        self._number_anew(now_ms)
        if self._session.phase is not Phase.LIVE:
            return
        for item in self._outbox.due():
            self._commands += self._session.to_server(item) if isinstance(item, Posts) else [item]
        for message in self._requests.unsent(now_ms):
            self._commands += self._session.to_server(message)

    # --- what the user asks ---

    def _intend(self, intent: Intent, now_ms: int) -> None:
        match intent:
            case Say(text, tag):
                self._say(text, tag, now_ms)
            case Tell():
                self._tell(intent, now_ms)
            case Quit():
                self._end("quit", 0, now_ms)
            case HostServer(server):
                self._session.hello = msgspec.structs.replace(self._session.hello, server=server)
                self._commands += self._session.to_server(SetServer(0, server))
            case EpochGranted(epoch):
                self._follow(*self._session.granted(epoch), now_ms)
            case AskQueue():
                self._report(self._queue())
            case DropPosts():
                self._drop(intent)
            case PostsKept(number):
                self._outbox.written(number)
            case DiskLost(why):
                self._outbox.lose_disk()
                self._report(Fault(code="outbox_failed", message=f"{why}; {_FROM_MEMORY}"))
            case AskHistory() if not self._is_ready and len(self._asked_early) < limits.REQUESTS_MAX:
                self._asked_early.append(intent)  # "the end" is not known yet
            case _:
                self._request(intent, now_ms)
        self._flush(now_ms)

    def _say(self, text: str, tag: Any, now_ms: int) -> None:
        if fault := text_fault(text):
            self._report(Refusal(tag=tag, code=fault.code, message=fault.message, what="post"))
        elif self._outbox.is_full:
            why = f"{limits.OUTBOX_POSTS_MAX} posts are waiting already, and {self._service} takes none at the moment"
            self._report(Refusal(tag=tag, code="queue_full", message=why, what="post"))
        elif not self._flood.passes(now_ms):
            why = f"more than {self.options.flood_per_s:g} posts a second; wait a moment (or see --flood)"
            self._report(Refusal(tag=tag, code=RefusalCode.FLOOD.word, message=why, what="post"))
        else:
            self._outbox.add(text, tag)

    def _queue(self) -> Queue:
        return Queue(
            tuple(
                QueueLine(post.number, post.text, post.state.value, kept=post.is_kept, left=post.is_left)
                for post in self._outbox.waiting
            )
        )

    def _drop(self, intent: DropPosts) -> None:
        number = intent.number
        if number is None:
            dropped, committed = self._outbox.drop_all()
            self._settle((), committed)
            self._tell_dropped(dropped)
            return
        try:
            one = self._outbox.drop(number)
        except KeyError:
            self._refuse(intent, "not_waiting", f"no post of yours with the number {number} waits")
            return
        if one is None:
            why = f"post {number} may have been sent, and so may later ones, which need it: drop those first, or all"
            self._refuse(intent, "sent", why)
        else:
            self._tell_dropped([one])

    def _tell_dropped(self, dropped: Sequence[DroppedPost]) -> None:
        """Each of them has its outcome now, for whoever posted it; and the request has its answer."""
        lines: list[QueueLine] = []
        for post in dropped:
            state, why = ("sent", _SENT_BEFORE) if post.was_sent else ("queued", "dropped before it was sent")
            lines.append(QueueLine(post.number, post.text, state, kept=False, left=post.is_left))
            if post.tag is not None:
                self._report(Refusal(tag=post.tag, code="dropped", message=why, what="post"))
        self._report(Dropped(tuple(lines)))

    def _tell_of_left(self) -> None:
        """What an earlier start left is not forgotten."""
        if count := len(self._outbox):
            what, verb = ("1 post", "is") if count == 1 else (f"{count:,} posts", "are")
            why = (
                f"{what} of yours may not have got through last time and {verb} sent now, once; "
                "/queue shows what waits, /queue drop forgets it"
            )
            self._report(Fault(code="posts_left", message=why))

    def _tell(self, intent: Tell, now_ms: int) -> None:
        if fault := text_fault(intent.text):
            self._refuse(intent, fault.code, fault.message)
            return
        try:
            nick = names.check_nick(intent.to)
        except ValueError as error:
            self._refuse(intent, RefusalCode.BAD_NAME.word, str(error))
            return
        key = names.nick_key(nick)
        if key == names.nick_key(self._nick):
            why = "that is you: a private message goes to somebody else"
            self._refuse(intent, "self", why)
            return
        member = self._roster.find(nick)
        # What is told to somebody who is still being looked for goes first.
        is_sought = any(
            isinstance(request.intent, Tell) and names.nick_key(request.intent.to) == key
            for request in self._requests.requests
        )
        if member is not None and not is_sought:
            self._tell_member(intent, member, now_ms)
        else:
            self._ask(intent, Find(0, nick), now_ms)

    def _tell_member(self, intent: Tell, member: Member, now_ms: int) -> None:
        self._meet([member])
        if objection := self._acquaintances.objection(member):
            self._refuse(intent, "key_changed", objection)
        else:
            self._talk(self._direct.tell(intent.text, intent.tag, member, now_ms))

    def _meet(self, members: Iterable[Member]) -> None:
        """Look at the keys of those who are told to be here; a changed one is said once, and loudly."""
        for change in self._acquaintances.meet(members):
            self._report(Fault(code="key_changed", message=change.sentence))
        if self._acquaintances.has_news:
            self._commands.append(Report(Met(self._acquaintances.known)))

    def _request(self, intent: UserIntent, now_ms: int) -> None:
        """What the active server answers."""
        try:
            wish = wish_of(intent, self._timeline.head)
        except BadRequest as error:
            self._refuse(intent, error.code, str(error))
            return
        if isinstance(wish, HistoryQuery | SearchQuery):
            self._go_on(intent, wish, now_ms)
        elif isinstance(wish, wire_messages.SetTopic) and self._roster.topic == Topic(text=wish.topic, by=self._nick):
            self._report(self._roster.topic)  # to the server it would be no change, so nothing would be told
        else:
            self._ask(intent, wish, now_ms)

    def _ask(self, intent: UserIntent, message: Message, now_ms: int, query: Query | None = None) -> None:
        if self._requests.is_full:
            why = f"{limits.REQUESTS_MAX} requests are waiting for an answer already"
            self._refuse(intent, RefusalCode.BUSY.word, why)
            return
        if not len(self._requests):
            self._commands.append(StartTimer(_REQUESTS_TIMER, limits.FETCH_RETRY_MS))
        self._requests.add(intent, message, now_ms, query)

    def _go_on(self, intent: UserIntent, query: Query, now_ms: int) -> None:
        """Ask for the next part of what the user wants to see, or show it when there is no more."""
        message = query.request(0)
        if message is None:
            self._report(query.result())
        else:
            self._ask(intent, message, now_ms, query)

    def _answered(self, request: Request, answer: Message, now_ms: int) -> None:
        match request.intent, answer:
            case Tell() as tell, Located(_, member):
                self._tell_member(tell, member, now_ms)
            case Tell() as tell, Refused(code=code, message=why):
                self._tell_failed(tell, NOT_HERE if code is RefusalCode.NOT_HERE else why)
            case _, Refused(code=code, message=why):
                self._refuse(request.intent, code.word, why)
            case AskWho(), MembersAre(_, _, members):
                self._members_are(answer, now_ms)
                serving = self._session.server.id if self._session.server else ""
                self._report(MembersList(member_lines(members, serving)))
            case _, StatusIs(_, report):
                self._report(status_notice(report))
            case AskHistory(), Fetched() if isinstance(request.query, HistoryQuery):
                request.query.take(answer)
                self._go_on(request.intent, request.query, now_ms)
            case AskSearch(), Found() if isinstance(request.query, SearchQuery):
                request.query.take(answer)
                self._go_on(request.intent, request.query, now_ms)
            case ChangeNick(name), Done():
                self._be_called(names.check_nick(name))
            case SetTopic(), Done():
                pass  # it is told when the change comes, to everybody alike
            case GoAway(text), Done():
                self._session.hello = msgspec.structs.replace(self._session.hello, away=text)
            case AskHandover(), Done():
                self._report(HandedOver())
            case _:
                self._refuse(request.intent, RefusalCode.MALFORMED.word, "the server answered something else")

    def _refuse(self, intent: UserIntent, code: str, message: str) -> None:
        self._report(Refusal(tag=getattr(intent, "tag", None), code=code, message=message, what=intent.do))

    def _check_requests(self, now_ms: int) -> None:
        """Ask again what was not answered; but a private text whose receiver cannot be found has failed some time."""
        self._requests.grow_impatient(now_ms)
        for request in self._requests.requests:
            if isinstance(request.intent, Tell) and now_ms - request.asked_ms >= limits.TALK_DEADLINE_MS:
                self._requests.close(request.ask)
                self._tell_failed(request.intent, NO_ANSWER)
        if len(self._requests):
            self._commands.append(StartTimer(_REQUESTS_TIMER, limits.FETCH_RETRY_MS))

    # --- private talks ---

    def _talk(self, steps: DirectSteps) -> None:
        """Perform what the private talks decided."""
        commands, notices = steps
        self._report(*notices)
        for command in commands:
            if not isinstance(command, CallOut):
                self._commands.append(command)
            elif self._session.phase is Phase.LIVE:
                ask = self._requests.number()
                self._relays[ask] = command.to
                if len(self._relays) > _RELAYS_REMEMBERED:
                    del self._relays[next(iter(self._relays))]
                self._commands += self._session.to_server(Relay(ask, command.to, command.call_up))

    def _tell_failed(self, tell: Tell, reason: str) -> None:
        self._report(
            Private(
                sender=self._nick,
                to=tell.to,
                id=f"{self._peer}/{self._born_as}/f{self._requests.number()}",
                text=tell.text,
                state="failed",
                tag=tell.tag,
                reason=reason,
            )
        )

    # --- the end ---

    def _end(self, reason: str, exit_code: int, now_ms: int) -> None:
        """Say goodbye everywhere, and that it is over."""
        self._talk(self._direct.leave(now_ms))
        self._show(self._timeline.lost())
        self._commands += self._outbox.lost()
        self._commands += self._lookup.close()
        commands, _ = self._session.close()
        self._commands += [*commands, StopTimer(_REQUESTS_TIMER)]
        self._started = True
        self._tell_state()
        self._report(Bye(reason=reason, exit=exit_code))
        self._commands.append(Stop(reason))
        self._ended = True
