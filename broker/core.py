"""One server half: stands by, serves, gives the room away and takes it over; composes the single machines; pure."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import msgspec

from broker import handover_source as giving
from broker import handover_target as taking
from broker import tenure as standing
from broker.handover_source import HandoverSource
from broker.handover_target import HandoverTarget
from broker.history import History
from broker.parking import Parking
from broker.reports import (
    HostName,
    Listening,
    NoZdns,
    Relieved,
    RoleGranted,
    ServerOptions,
    Serving,
    StillLeaving,
    TurnedAway,
)
from broker.room import FEED, ROOM, Phase, Room, refuse_hello
from broker.tenure import Tenure
from wire import limits, names
from wire.errors import RefusalCode
from wire.messages import (
    AskStatus,
    ClaimKind,
    DnsReply,
    DnsRequest,
    Done,
    Fetch,
    HandOver,
    Hello,
    Leave,
    LinkAsk,
    Message,
    Move,
    Moved,
    NotServing,
    Ping,
    Posts,
    Prepare,
    Record,
    Refused,
    Relocate,
    RoomState,
    ServerInfo,
    SetInSync,
    StatusIs,
    StatusReport,
)
from wire.names import LinkId
from wire.step import (
    Asked,
    Command,
    Event,
    Garbled,
    LinkBound,
    LinkDown,
    LinkKind,
    OpenLink,
    Received,
    Report,
    Send,
    Started,
    StartTimer,
    Stop,
    Stopping,
    StopTimer,
    Subscribed,
    TimerFired,
)
from zdns.lookup import Answered, Lookup, Unanswered

TERM = "core.term"
RELOCATE = "core.relocate"
STRIKE = "core.strike"
QUIT = "core.quit"
LEAVE = "core.leave"
HEARTBEAT = "room.heartbeat"
SWEEP = "room.sweep"


Asker = Callable[[DnsRequest, DnsReply | None], list[Command]]


class ServerCore:
    """A server half.

    Invariants: there is a `room` only while zdns' record names this server in an epoch it has taken over;
    nothing is committed while the record lists another in-sync server that has not let go of its copy; a higher
    epoch, wherever it is seen, ends the room at once.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.room: Room | None = None
        self._lookup = Lookup(options.dns)
        self._askers: dict[int, Asker] = {}
        self._now_ms = 0
        self._utc_offset_ms = 0
        self._nonce = ""
        self._logs = 0
        self._bound: dict[LinkId, tuple[str, ...]] = {}
        self._me: ServerInfo | None = None
        self._tenure = Tenure(
            service=options.service,
            serve_first=options.serve_first,
            fresh=options.fresh,
            new_log=self._new_log,
            held=self._held_log,
            ask=lambda request: self._ask(request, self._tenure_answered),
        )
        self._source = self._new_source()
        self._target = HandoverTarget(
            service=options.service,
            server_id=options.server_id,
            ask=lambda request, deadline: self._ask(request, self._target_answered, deadline),
        )
        self._early = Parking()
        self._retiring: Room | None = None  # handed over, kept until the successor lets go of it
        self._successor: tuple[int, ServerInfo] | None = None
        self._relocates_left = 0
        self._relocate_reason = ""
        self._left_out: dict[str, int] = {}  # server id -> until when
        self._waiters: list[tuple[bytes, int]] = []  # who asked for the handover that is going on
        self._wanted = ""  # the host it was asked for; empty: any
        self._asked_until_ms = 0  # until when a standby that is only coming up is waited for
        self._remark = ""
        self._striking = False
        self._released = False  # our predecessor has let go of its copy: nothing need wait for zdns to strike it off
        self._quitting = False
        self._quit_head = 0  # of the history there was when we began to leave, or to serve while leaving
        self._quit_received = 0  # how much of that a successor has ever had
        self._leaving = False

    # --- the door ---

    def handle(self, event: Event, now_ms: int) -> list[Command]:
        """Advance by one event."""
        self._now_ms = now_ms
        if self._lookup.owns(event):
            commands, outcomes = self._lookup.handle(event, now_ms)
            return [*commands, *self._concluded(outcomes)]
        if self._leaving:
            # Whatever came now would be acknowledged, or promised, by a server that is as good as gone.
            return [Stop("left")] if event == TimerFired(LEAVE) else []
        match event:
            case Started(nonce, utc_ms):
                return self._started(nonce, utc_ms)
            case LinkBound(link, endpoints):
                return self._link_bound(link, endpoints)
            case Received(link, message, sender):
                return self._received(link, message, sender)
            case Garbled(link, why, sender) if link == ROOM:
                return [Send(ROOM, Refused(0, RefusalCode.MALFORMED, why[: limits.MESSAGE_CHARS_MAX]), sender)]
            case Subscribed(link) if link == FEED:
                if self.room is not None:
                    self.room.owe_beat()
                return []
            case LinkDown(link, why) if self._source.owns(link):
                return self._given(self._source.link_down(link, why))
            case LinkDown(link, why) if self._target.owns(link):
                return self._taken(self._target.link_down(link, why))
            case TimerFired(name):
                return self._timer(name)
            case Asked(HostName(name)) if self._me is not None:
                return self._renamed(name)
            case Stopping():
                return self._stopping()
            case _:
                return []

    def flush(self, now_ms: int) -> list[Command]:
        """End of a turn of the loop: commit what it brought, tell everybody, feed a target."""
        self._now_ms = now_ms
        room = self.room
        if room is None or self._leaving:
            return []
        commands: list[Command] = []
        if room.committed < room.history.head and self._may_commit():
            commands += room.commit_to(room.history.head)
        if room.phase is Phase.SERVING:
            commands += room.flush(now_ms)
        if self._source.phase is giving.Phase.SEALED and room.committed == room.history.head:
            commands += self._send_seal(room)
        return commands + self._given(self._source.pump(now_ms))

    def describe(self) -> str:
        """One line for the log: where everything stands."""
        role = "active" if self.room else "retired" if self._retiring else self._tenure.phase.value
        parts = [f"{self.options.service} epoch={self._tenure.epoch} {role}"]
        if self.room is not None:
            parts.append(f"{self.room.phase.value} open={self.room.gate.open}")
        if self._source.busy:
            parts.append(f"giving={self._source.phase.value}")
        if self._target.phase is not taking.Phase.IDLE:
            parts.append(f"taking={self._target.phase.value}")
        if self._lookup.silent:
            parts.append("zdns silent")
        return " ".join(parts)

    @property
    def server(self) -> ServerInfo | None:
        """Where this server half can be reached; None until its sockets are bound."""
        return self._me

    def _held_log(self) -> str:
        """The log of which this server has everything acknowledged; empty: none."""
        room = self.room or self._retiring
        return room.history.log if room is not None else self._target.held_log()

    # --- starting ---

    def _started(self, nonce: str, utc_ms: int) -> list[Command]:
        self._nonce = nonce
        self._utc_offset_ms = utc_ms - self._now_ms
        self._source = self._new_source()
        return [
            OpenLink(ROOM, LinkKind.ROOM_BIND),
            OpenLink(FEED, LinkKind.FEED_BIND, topic=self.options.service),
        ]

    def _new_source(self) -> HandoverSource:
        return HandoverSource(
            service=self.options.service,
            nonce=self._nonce,
            ask=lambda request, deadline: self._ask(request, self._source_answered, deadline),
        )

    def _link_bound(self, link: LinkId, endpoints: tuple[str, ...]) -> list[Command]:
        if self._target.owns(link):
            return self._target.bound(link, endpoints, ROOM)
        self._bound[link] = endpoints
        if self._me is not None or ROOM not in self._bound or FEED not in self._bound:
            return []
        self._me = ServerInfo(self.options.server_id, self.options.name, self._bound[ROOM], self._bound[FEED])
        return [Report(Listening(self._me)), *self._tenure.register(self._me, self._now_ms)]

    def _renamed(self, name: str) -> list[Command]:
        assert self._me is not None
        if name == self._me.name:
            return []
        self._me = ServerInfo(self._me.id, name, self._me.router, self._me.feed, self._me.key)
        self.options = replace(self.options, name=name)
        if self.room is not None:
            self.room.server = self._me
        return self._tenure.register(self._me, self._now_ms)

    def _new_log(self) -> str:
        self._logs += 1
        return f"{self._nonce}-l{self._logs}"

    # --- zdns ---

    def _ask(
        self, request: DnsRequest, asker: Asker, deadline_ms: int | None = limits.DNS_DEADLINE_MS
    ) -> list[Command]:
        number, commands = self._lookup.ask(request, self._now_ms, deadline_ms)
        self._askers[number] = asker
        return commands

    def _concluded(self, outcomes: Iterable[Answered | Unanswered]) -> list[Command]:
        commands: list[Command] = []
        for outcome in outcomes:
            asker = self._askers.pop(outcome.ask, None)
            if asker is not None and (not self._leaving or isinstance(outcome.request, Leave)):
                commands += asker(outcome.request, outcome.reply if isinstance(outcome, Answered) else None)
        return commands

    def _tenure_answered(self, request: DnsRequest, reply: DnsReply | None) -> list[Command]:
        if reply is None:
            commands = self._tenure.unanswered(request)
            if self._tenure.phase is standing.Phase.OUTSIDE:
                commands.append(Report(NoZdns(f"no answer from {', '.join(self.options.dns)}")))
            return commands
        known = self._tenure.epoch
        commands, verdicts = self._tenure.answered(request, reply, self._now_ms)
        for verdict in verdicts:
            match verdict:
                case standing.Appointed(record, by):
                    commands += self._appointed(record, by)
                case standing.Deposed(record):
                    commands += self._deposed(record)
                case standing.TurnedAway(code, message):
                    commands += [Report(TurnedAway(code, message)), Stop(message)]
        if self._tenure.epoch > known:
            commands.append(Report(RoleGranted(self._tenure.epoch)))
        return [*commands, *self._look_after_copy()]

    def _source_answered(self, request: DnsRequest, reply: DnsReply | None) -> list[Command]:
        if reply is None:
            return self._given(self._source.unanswered(request))
        return self._given(self._source.answered(request, reply))

    def _target_answered(self, _request: DnsRequest, reply: DnsReply | None) -> list[Command]:
        if reply is None:
            return self._taken(self._target.unanswered())
        return self._taken(self._target.answered(reply, self._now_ms))

    def _appointed(self, record: Record, by: ClaimKind | None) -> list[Command]:
        """zdns names us, by a claim of ours or by a transfer to the copy we keep."""
        if by is None:
            return self._taken(self._target.seen(record, self._now_ms))
        if by is ClaimKind.FAILOVER:
            return self._take_back(record)
        options = self.options
        state = RoomState(
            members=(), members_rev=0, min_n=options.min_n, open=options.min_n == 0, term_ms=options.term_ms, moves=()
        )
        return self._serve(record, History(record.log), state)

    def _take_back(self, record: Record) -> list[Command]:
        """Our successor died before it let go of our copy: serve on from where we stopped."""
        retired = self._retiring
        if retired is None or self._successor is None or retired.history.log != record.log:
            return []
        dead = self._successor[1].name
        self._retiring = None
        forgotten = self._source.forget()
        state = retired.state(self._now_ms)
        # No list that the dead successor told may be taken for one of ours.
        state = msgspec.structs.replace(state, members_rev=state.members_rev + limits.REV_GAP)
        state = _with_move(state, self._move(record, source=dead, reason="failover", entries=retired.history.head))
        return [*forgotten, *self._serve(record, retired.history, state)]

    def _deposed(self, record: Record) -> list[Command]:
        """A higher epoch exists that we did not cause: what we hold is worth nothing any more."""
        room, self.room, self._retiring = self.room, None, None
        self._tenure.release(record)
        why = f"{record.active.name} serves now"
        commands = self._answer_waiters(lambda ask: Refused(ask, RefusalCode.HANDOVER_FAILED, why))
        commands += [*self._source.forget(), *self._stop_serving()]
        if room is not None:
            commands += [Report(Relieved(record.epoch)), *self._send_off(room, record, "failover")]
        return [*commands, *(self._leave() if self._quitting else [])]

    def _look_after_copy(self) -> list[Command]:
        """Our successor needs the copy we kept until we are off the in-sync list, or a later epoch is granted."""
        record = self._tenure.record
        if self._retiring is None or record is None or self._successor is None or self._me is None:
            return []
        if record.epoch == self._successor[0] and self._me.id in (server.id for server in record.in_sync):
            return []
        return self._let_go()

    def _let_go(self) -> list[Command]:
        self._retiring = None
        self._tenure.forget_claim()
        commands = self._source.forget()
        return [*commands, *(self._leave() if self._quitting else [])]

    # --- serving ---

    def _serve(self, record: Record, history: History, state: RoomState) -> list[Command]:
        """Begin to serve. What came early is served first: hellos and posts of clients that connected ahead."""
        assert self._me is not None
        self._tenure.hold(record)
        self._successor = None
        self._remark = ""
        self.room = Room(
            service=self.options.service,
            server=self._me,
            epoch=record.epoch,
            history=history,
            state=state,
            now_ms=self._now_ms,
            utc_offset_ms=self._utc_offset_ms,
        )
        commands: list[Command] = [
            Report(Serving(record.epoch)),
            StartTimer(HEARTBEAT, limits.HEARTBEAT_MS),
            StartTimer(SWEEP, limits.PING_MS),
            StopTimer(RELOCATE),
            *self._new_term(),
            *self._strike_off(),
        ]
        for route, message in self._early.empty():
            commands += self.room.receive(route, message, self._now_ms)
        # Terms may be shorter than the time between two sweeps.
        self.room.sweep(self._now_ms)
        if self._quitting:
            self._quit_head = self._quit_head or history.head
            commands += self._hand_over()
        return commands

    def _new_term(self) -> list[Command]:
        room = self.room
        assert room is not None
        if room.term_ms == 0:
            room.next_handover_at_ms = None
            return []
        room.next_handover_at_ms = self._now_ms + room.term_ms
        return [StartTimer(TERM, room.term_ms)]

    def _may_commit(self) -> bool:
        return self._released or (self._tenure.alone and not self._striking)

    def _strike_off(self) -> list[Command]:
        """Have every other server struck off the in-sync list; until that is done nothing is committed."""
        record = self._tenure.record
        assert record is not None and self._me is not None
        if len(record.in_sync) == 1 and record.in_sync[0].id == self._me.id:
            return []
        self._striking = True
        request = SetInSync(0, self.options.service, self._me.id, record.epoch, record.version, (self._me.id,))
        return self._ask(request, self._struck_off, None)

    def _struck_off(self, _request: DnsRequest, reply: DnsReply | None) -> list[Command]:
        record = getattr(reply, "record", None)
        if self.room is None:
            self._striking = False
            return []
        if isinstance(record, Record):
            if record.epoch > self.room.epoch:
                return self._deposed(record)
            self._tenure.learn(record)
        if not self._tenure.alone:
            return [StartTimer(STRIKE, limits.TRANSFER_RETRY_MS)]
        self._striking = False
        return self._target.settled()

    def _stop_serving(self) -> list[Command]:
        self._striking = self._released = False
        return [*self._target.parted(), *(StopTimer(name) for name in (HEARTBEAT, SWEEP, TERM, STRIKE))]

    def _received(self, link: LinkId, message: Message, sender: bytes) -> list[Command]:
        if self._source.owns(link):
            return [*self._given(self._source.received(link, message, self._now_ms)), *self._more_time()]
        if self._target.owns(link):
            return self._taken(self._target.received(link, message, self._now_ms))
        if link != ROOM:
            return []
        if isinstance(message, LinkAsk):
            return self._link_asked(message, sender)
        if self.room is None:
            return self._not_serving(message, sender)
        if isinstance(message, HandOver):
            return self._handover_asked(message, sender)
        if isinstance(message, AskStatus):
            return [Send(ROOM, StatusIs(message.ask, self._report(self.room)), sender)]
        return self.room.receive(sender, message, self._now_ms)

    def _not_serving(self, message: Message, sender: bytes) -> list[Command]:
        if isinstance(message, Hello):
            refusal = refuse_hello(message, self.options.service)
            if refusal is not None:
                return [Send(ROOM, refusal, sender)]
        if self._target.engaged:
            if isinstance(message, Hello | Posts):
                self._early.add(sender, message)
                return []
            if isinstance(message, Ping | Fetch):
                return []  # Both are repeated, and we may serve by then.
        if self._successor is not None:
            return [Send(ROOM, Moved(*self._successor), sender)]
        return [Send(ROOM, NotServing(self._tenure.epoch), sender)]

    def _link_asked(self, ask: LinkAsk, sender: bytes) -> list[Command]:
        refusal = None
        if ask.protocol != limits.PROTOCOL:
            why = f"this server speaks protocol {limits.PROTOCOL}, yours is {ask.protocol}"
            refusal = Refused(0, RefusalCode.VERSION, why)
        elif ask.service != self.options.service:
            refusal = Refused(0, RefusalCode.WRONG_SERVICE, f"this server stands by for {self.options.service}")
        elif self.room is not None or self._retiring is not None or self._quitting:
            # Whoever has given the room away keeps its copy until it may let go of it, and takes no other till then.
            doing = "serving" if self.room else "handing over" if self._retiring else "leaving"
            refusal = Refused(0, RefusalCode.BUSY, f"this server is {doing}")
        if refusal is not None:
            return [Send(ROOM, refusal, sender)]
        return self._taken(self._target.asked(ask, sender))

    def _report(self, room: Room) -> StatusReport:
        record = self._tenure.record
        assert record is not None and self._me is not None
        due = room.next_handover_at_ms
        return StatusReport(
            service=self.options.service,
            epoch=room.epoch,
            active=self._me,
            in_sync=record.in_sync,
            standbys=self._tenure.standbys,
            members=tuple(member.nick for member in room.members),
            min_n=room.gate.min_n,
            open=room.gate.open,
            head=room.history.head,
            committed=room.committed,
            term_ms=room.term_ms,
            next_handover_ms=-1 if due is None else max(0, due - self._now_ms),
            moves=tuple(room.moves),
            remark="zdns does not answer" if self._lookup.silent else self._remark,
        )

    # --- time ---

    def _timer(self, name: str) -> list[Command]:
        area = name.partition(".")[0]
        if area == "tenure":
            return self._tenure.timer(name, self._now_ms)
        if area == "handover":
            return self._given(self._source.timer(name))
        if area == "target":
            return self._taken(self._target.timer(name))
        if name == QUIT:
            return self._leave()
        if name == RELOCATE:
            return self._relocate_again()
        room = self.room
        if room is None:
            return []
        if name == HEARTBEAT:
            return [StartTimer(HEARTBEAT, limits.HEARTBEAT_MS), *room.beat(self._now_ms)]
        if name == SWEEP:
            room.sweep(self._now_ms)
            return [StartTimer(SWEEP, limits.PING_MS)]
        if name == STRIKE:
            return self._strike_off()
        return self._hand_over() if name == TERM else []

    # --- giving the room away ---

    def _handover_asked(self, message: HandOver, sender: bytes) -> list[Command]:
        assert self._me is not None
        to = message.to
        if to and names.nick_key(to) == names.nick_key(self._me.name):
            return [Send(ROOM, Refused(message.ask, RefusalCode.NOT_STANDBY, f"{to} serves already"), sender)]
        if self._source.busy and to and names.nick_key(to) != names.nick_key(self._wanted):
            return [Send(ROOM, Refused(message.ask, RefusalCode.BUSY, "another handover is under way"), sender)]
        if len(self._waiters) >= limits.MEMBERS_MAX:
            return [Send(ROOM, Refused(message.ask, RefusalCode.BUSY, "too many are asking"), sender)]
        self._waiters.append((sender, message.ask))
        if self._source.busy:
            return []
        self._wanted, self._asked_until_ms = to, self._now_ms + limits.HANDOVER_STEP_MS
        return self._hand_over()

    def _hand_over(self) -> list[Command]:
        """Begin a handover, to the one that was asked for if one was; now, or as soon as the last one is at rest."""
        room, record = self.room, self._tenure.record
        if room is None or record is None or self._me is None or self._source.busy:
            return []
        if self._striking or not self._tenure.alone:
            return [StartTimer(TERM, limits.TRANSFER_RETRY_MS)]
        to = self._wanted
        self._left_out = {server: until for server, until in self._left_out.items() if until > self._now_ms}
        exclude = () if to else tuple(self._left_out)
        return self._given(self._source.begin(me=self._me, record=record, history=room.history, exclude=exclude, to=to))

    def _given(self, result: giving.Result) -> list[Command]:
        """Perform what the giving machine decided."""
        commands, verdicts = result
        commands = list(commands)
        for verdict in verdicts:
            match verdict:
                case giving.Announce(target):
                    if self.room is not None:
                        commands.append(Send(FEED, Prepare(self.room.epoch + 1, target)))
                case giving.SealNow(record):
                    self._tenure.learn(record)
                    commands += self._seal()
                case giving.GaveUp(code, why, target):
                    commands += self._gave_up(code, why, target)
                case giving.HandedOver(record):
                    commands += self._handed_over(record)
                case giving.Overtaken(record):
                    self._tenure.learn(record)
                    commands += self._deposed(record)
                case giving.Reclaim():
                    commands += self._tenure.reclaim()
                case giving.LetGo():
                    commands += self._let_go()
        return commands

    def _seal(self) -> list[Command]:
        assert self.room is not None
        flushed = self.room.flush(self._now_ms)
        self.room.seal()
        return flushed

    def _send_seal(self, room: Room) -> list[Command]:
        return self._given(
            self._source.sealed(room.history.head, room.history.digest(), room.state(self._now_ms), self._now_ms)
        )

    def _gave_up(self, code: RefusalCode, why: str, target: ServerInfo | None) -> list[Command]:
        """The handover failed and nothing is lost: serve on, and say why to whoever asked."""
        # What zdns fails to do is no news of ours: `status` tells of a silent zdns by itself, as long as it is silent.
        self._remark = why if target is not None or code is RefusalCode.NO_STANDBY else ""
        soon = code is RefusalCode.NO_STANDBY and self._now_ms < self._asked_until_ms and self._others_may_serve()
        if soon and self._waiters:
            return [StartTimer(TERM, limits.TRANSFER_RETRY_MS)]
        if target is not None:
            self._left_out[target.id] = self._now_ms + limits.LEFT_OUT_MS
        commands = self._answer_waiters(lambda ask: Refused(ask, code, why))
        if self.room is None:
            return commands
        if self.room.phase is Phase.SEALED:
            commands += self.room.reopen(self._now_ms)
        commands += self._new_term()
        if self._quitting:
            commands += self._try_again_to_leave(code)
        return commands

    def _answer_waiters(self, answer: Callable[[int], Message]) -> list[Command]:
        """Tell whoever asked for the handover what became of it: `answer` makes it from the number of the request."""
        waiters, self._waiters, self._wanted = self._waiters, [], ""
        return [Send(ROOM, answer(ask), route) for route, ask in waiters]

    def _others_may_serve(self) -> bool:
        """Is there a member, the one that is wanted if one is, whose server half may only just be coming up?"""
        assert self._me is not None
        members = self.room.members if self.room is not None else ()
        wanted = names.nick_key(self._wanted)
        return any(
            member.server not in ("", self._me.id) and wanted in ("", names.nick_key(member.nick)) for member in members
        )

    def _try_again_to_leave(self, code: RefusalCode) -> list[Command]:
        """With nobody else there, go; otherwise try again, in the end also those that failed before."""
        if code is RefusalCode.NO_STANDBY and not self._left_out and not self._others_may_serve():
            return self._leave()
        if code is RefusalCode.NO_STANDBY:
            self._left_out.clear()
        return [StartTimer(TERM, limits.TRANSFER_RETRY_MS)]

    def _handed_over(self, record: Record) -> list[Command]:
        room, self.room = self.room, None
        assert room is not None
        self._retiring = room
        self._tenure.release(record)
        commands = [Report(Relieved(record.epoch)), *self._stop_serving()]
        commands += self._answer_waiters(Done)
        return [*commands, *self._send_off(room, record, "handover")]

    def _send_off(self, room: Room, record: Record, reason: str) -> list[Command]:
        """Tell everybody where the room is now: at once, again for a while, and to each that still asks here."""
        self._successor = (record.epoch, record.active)
        self._relocate_reason = reason
        self._relocates_left = limits.RELOCATE_REPEATS
        moved: list[Command] = [Send(ROOM, Moved(*self._successor), route) for route in room.retire()]
        return [*self._relocate_again(), *moved]

    def _relocate_again(self) -> list[Command]:
        if self._relocates_left == 0 or self._successor is None:
            return []
        self._relocates_left -= 1
        epoch, server = self._successor
        return [
            Send(FEED, Relocate(epoch, server, self._relocate_reason)),
            StartTimer(RELOCATE, limits.RELOCATE_REPEAT_MS),
        ]

    # --- taking the room over ---

    def _taken(self, result: taking.Result) -> list[Command]:
        """Perform what the taking machine decided."""
        commands, verdicts = result
        commands = list(commands)
        for verdict in verdicts:
            match verdict:
                case taking.TakeRoom(record, offer, sealed, history, pause_ms):
                    move = self._move(
                        record,
                        source=offer.source.name,
                        reason="handover",
                        entries=sealed.head,
                        sent_bytes=sealed.bytes,
                        copy_ms=sealed.copy_ms,
                        pause_ms=pause_ms,
                    )
                    commands += self._serve(record, history, _with_move(sealed.state, move))
                case taking.SourceLetGo():
                    self._released = self.room is not None
                case taking.Forgot():
                    for route in dict.fromkeys(route for route, _ in self._early.empty()):
                        commands.append(Send(ROOM, NotServing(self._tenure.epoch), route))
                    if self._quitting:
                        commands += self._leave()
        return commands

    def _move(
        self,
        record: Record,
        *,
        source: str,
        reason: str,
        entries: int,
        sent_bytes: int = 0,
        copy_ms: int = 0,
        pause_ms: int = 0,
    ) -> Move:
        """The change of server that ends now, with us as the target; a failover copies nothing."""
        return Move(
            epoch=record.epoch,
            source=source,
            target=self.options.name,
            reason=reason,
            started_ms=self._now_ms + self._utc_offset_ms - pause_ms,
            entries=entries,
            bytes=sent_bytes,
            copy_ms=copy_ms,
            pause_ms=pause_ms,
        )

    # --- leaving ---

    def _stopping(self) -> list[Command]:
        """Hand over first, if there is something to hand over and somebody to take it."""
        if self._quitting:
            return []
        self._quitting = True
        self._quit_head = self.room.history.head if self.room is not None else 0
        if self.room is not None or self._retiring is not None or self._target.held_log():
            # A copy that we promised to keep is kept until it is known what becomes of it.
            return [StartTimer(QUIT, limits.QUIT_HANDOVER_MS), *self._hand_over()]
        return [*self._target.decline("this server is leaving"), *self._leave()]

    def _more_time(self) -> list[Command]:
        """Leaving takes as long as a successor goes on receiving what none had before.

        Neither a handover that begins anew nor what is posted meanwhile buys time, so there is an end to it.
        """
        received = min(self._source.credited, self._quit_head)
        if not self._quitting or received <= self._quit_received:
            return []
        self._quit_received = received
        return [StartTimer(QUIT, limits.QUIT_HANDOVER_MS), Report(StillLeaving())]

    def _leave(self) -> list[Command]:
        if self._leaving or self._me is None:
            return [] if self._leaving else [Stop("left before it was registered")]
        self._leaving = True
        others = [member for member in self.room.members if member.server != self._me.id] if self.room else []
        # With nobody else in the room its history is nobody's any more, and the name need not wait for it.
        request = Leave(0, self.options.service, self._me.id, ends=self.room is not None and not others)
        gone = self._ask(request, lambda _request, _reply: [Stop("left")], limits.DNS_ATTEMPT_MS)
        return [*gone, StartTimer(LEAVE, limits.STOP_MS)]


def _with_move(state: RoomState, move: Move) -> RoomState:
    moves = (*state.moves, move)[-limits.MOVES_KEPT :]
    return msgspec.structs.replace(state, moves=moves)
