"""One server half: stands by, follows, serves, gives the room away; composes the single machines; pure."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import msgspec

from broker import following, replication
from broker import handover_source as giving
from broker import tenure as standing
from broker.admission import Admission
from broker.following import Copy
from broker.handover_requests import HandoverRequests
from broker.handover_source import HandoverSource
from broker.history import History
from broker.keeper import Keeper, Notes, read_notes
from broker.parking import Parking
from broker.replication import Line, Replication
from broker.reports import (
    HostName,
    LetIn,
    Listening,
    NoZdns,
    Relieved,
    RoleGranted,
    ServerOptions,
    Serving,
    StillLeaving,
    TurnedAway,
    ZdnsChanged,
)
from broker.room import FEED, ROOM, Phase, Room, refuse_hello
from broker.send_off import RELOCATE, SendOff
from broker.stored import DiskWord, Restored
from broker.succession import Succession
from broker.tenure import Tenure
from wire import limits, names
from wire.errors import RefusalCode
from wire.messages import (
    AskStatus,
    Claim,
    ClaimKind,
    DnsReply,
    Done,
    Door,
    Expect,
    Fetch,
    Follow,
    HandOver,
    Hello,
    Leave,
    LinkAsk,
    Message,
    Move,
    NameRequest,
    NotServing,
    Ping,
    Posts,
    Prepare,
    Ready,
    Record,
    Refused,
    Registered,
    RoomState,
    Sealed,
    ServerInfo,
    StatusIs,
    StatusReport,
    TakeOver,
    Withdraw,
)
from wire.names import LinkId
from wire.step import (
    Allow,
    Asked,
    Command,
    Event,
    Expel,
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
QUIT = "core.quit"
LEAVE = "core.leave"
EXPEL = "core.expel"
HEARTBEAT = "room.heartbeat"
SWEEP = "room.sweep"


Asker = Callable[[NameRequest, DnsReply | None], list[Command]]


class ServerCore:
    """A server half.

    Invariants: there is a `room` only while zdns' record names this server in an epoch it has taken over;
    nothing is committed that some server on zdns' list lacks; a higher epoch, wherever it is seen, ends the room at
    once; a copy of the history is there as long as anybody may count on it.
    """

    def __init__(self, options: ServerOptions, restored: Restored | None = None) -> None:
        """`restored`: what an earlier run left on disk, whose server id `options` has then."""
        self.options = options
        self.room: Room | None = None
        self._lookup = Lookup(options.dns, options.credentials, options.token)
        self._token_told = b""
        self._admission = Admission(options.credentials)
        self._doubted: dict[LinkId, Follow] = {}  # who says that it leads, in an epoch new to us
        self._askers: dict[int, Asker] = {}
        self._now_ms = 0
        self._utc_offset_ms = 0
        self._nonce = ""
        self._names = {"l": 0, "p": 0}  # how many logs and pairs we have named
        self._links = 0
        self._bound: dict[LinkId, tuple[str, ...]] = {}
        self._me: ServerInfo | None = None
        self._tenure = Tenure(
            service=options.service,
            serve_first=options.serve_first,
            fresh=options.fresh,
            new_log=lambda: self._new_name("l"),
            held=self._held_log,
            ask=lambda request: self._ask(request, self._tenure_answered),
            door=lambda: self._admission.number,
            behind=lambda: self._is_behind,
        )
        self._keeper = Keeper(has_disk=not options.ephemeral)
        self._copy = Copy(
            service=options.service,
            server_id=options.server_id,
            new_link=self._new_link,
            ask=lambda request, deadline: self._ask(request, self._copy_answered, deadline),
            asks_first=not self._admission.is_open,
        )
        self._copy.volatile = options.ephemeral
        self._replication = Replication(
            service=options.service,
            replicas=options.replicas,
            new_link=self._new_link,
            new_pair=lambda: self._new_name("p"),
            ask=lambda request, deadline: self._ask(request, self._replication_answered, deadline),
            read=self._keeper.read,
            permit=lambda: self._admission.own_permit,
            is_banned=lambda key: self._admission.is_banned(key),
        )
        self._source = HandoverSource(
            service=options.service,
            ask=lambda request, deadline: self._ask(request, self._source_answered, deadline),
        )
        self._heir = Succession(new_link=self._new_link, claim=self._claim_role)
        self._claiming: tuple[ServerInfo, int] | None = None  # from whom, and which link had been our last by then
        self._from_disk = False  # our copy is what an earlier run left
        self._lacks = False  # zdns has said that it is not enough
        self._failed_at_link = 0  # which link to a leader was our last when our disk failed
        self._early = Parking()
        self._expelled: list[str] = []  # keys whose connections end as soon as they may have read why
        self._send_off = SendOff()
        self._requests = HandoverRequests()
        self._remark = ""
        self._noted: object = None  # the state of the room that the disk was last given
        self._quitting = False
        self._quit_head = 0  # of the history there was when we began to leave, or to serve while leaving
        self._quit_received = 0  # how much of that a successor has ever had
        self._leaving = False
        if restored is not None:
            self._restore(restored)

    def _restore(self, restored: Restored) -> None:
        meta, notes = restored.opened.meta, read_notes(restored.opened.meta.notes)
        history = History.restored(restored)
        self._keeper.resume(restored)
        self._from_disk = True
        committed = min(meta.committed, history.head)
        if notes is None:  # it was killed before it was told anything
            self._copy.hold(history, committed, None, meta.last_epoch, is_whole=False)
            return
        self._copy.hold(history, committed, notes.state, notes.record.epoch, is_whole=notes.is_whole)
        self._tenure.learn(notes.record)

    # --- the door ---

    def handle(self, event: Event, now_ms: int) -> list[Command]:
        """Advance by one event."""
        self._now_ms = now_ms
        if self._lookup.owns(event):
            commands, outcomes = self._lookup.handle(event, now_ms)
            return [*commands, *self._note_token(), *self._concluded(outcomes)]
        if self._leaving:
            # Whatever came now would be acknowledged, or promised, by a server that is as good as gone.
            return [Stop("left")] if event == TimerFired(LEAVE) else []
        match event:
            case Started(nonce, utc_ms):
                return self._started(nonce, utc_ms)
            case LinkBound(link, endpoints):
                return self._link_bound(link, endpoints)
            case Received(link, message, sender, key):
                return self._received(link, message, sender, key)
            case Garbled(link, why, sender) if link == ROOM:
                return [Send(ROOM, Refused(0, RefusalCode.MALFORMED, why[: limits.MESSAGE_CHARS_MAX]), sender)]
            case Subscribed(link) if link == FEED:
                if self.room is not None:
                    self.room.owe_beat()
                return []
            case LinkDown(link, why):
                return self._link_down(link, why)
            case TimerFired(name):
                return self._timer(name)
            case Asked(HostName(name)) if self._me is not None:
                return self._renamed(name)
            case Asked(intent) if isinstance(intent, DiskWord):
                return self._disk_said(intent)
            case Stopping():
                return self._stopping()
            case _:
                return []

    def flush(self, now_ms: int) -> list[Command]:
        """End of a turn of the loop: keep, send on and commit what it brought, and tell everybody."""
        self._now_ms = now_ms
        if self._leaving:
            return []
        room = self.room
        if room is None:
            return self._flush_copy()
        commands = [*self._keep(room.history, room.committed), *self._replication.pump(now_ms)]
        mark = self._replication.mark(self._safe(room.history))
        if mark > room.committed:
            commands += room.commit_to(mark)
        if room.phase is Phase.SERVING:
            commands += room.flush(now_ms)
        room.history.forget_below(min(self._keeper.written, room.committed) + 1)
        return commands + self._further_handover(room)

    def _flush_copy(self) -> list[Command]:
        copy = self._copy
        if copy.history is None:
            return []
        commands = self._keep(copy.history, copy.committed)
        copy.history.forget_below(min(self._keeper.written, copy.committed) + 1)
        return [*commands, *copy.pump(self._safe_copy(copy.history))]

    def describe(self) -> str:
        """One line for the log: where everything stands."""
        role = "active" if self.room else "copy" if self._copy.history else self._tenure.phase.value
        parts = [f"{self.options.service} epoch={self._tenure.epoch} {role}"]
        if self.room is not None:
            parts.append(f"{self.room.phase.value} open={self.room.gate.open}")
            parts += [f"{state.name}={state.phase}" for state in self._replication.states()]
        elif self._copy.history is not None:
            parts.append(self._copy.phase.value)
        if self._source.busy:
            parts.append(f"giving={self._source.phase.value}")
        if self._heir.phase.value != "calm":
            parts.append(f"heir={self._heir.phase.value}")
        if self._keeper.trouble:
            parts.append("disk failed")
        if self._lookup.silent:
            parts.append("zdns silent")
        return " ".join(parts)

    @property
    def server(self) -> ServerInfo | None:
        """Where this server half can be reached; None until its sockets are bound."""
        return self._me

    @property
    def history(self) -> History | None:
        """What this server has of the history, served or not."""
        return self.room.history if self.room is not None else self._copy.history

    def _held_log(self) -> str:
        """The log of which this server has all that it was told is committed; empty: none."""
        has_all = self.history is not None and (self.room is not None or self._copy.is_whole)
        return self.history.log if has_all and self.history is not None else ""

    # --- the disk ---

    def _keep(self, history: History, committed: int) -> list[Command]:
        record, room = self._tenure.record, self.room
        notes = None
        if record is not None and record.log == history.log:
            copy = self._copy
            key: object = (
                record.epoch,
                record.version,
                room.state_key if room is not None else (id(copy.state), copy.is_whole),
            )
            if key != self._noted:
                self._noted = key
                state = room.state(self._now_ms) if room is not None else copy.state
                notes = Notes(record, state, room is not None or copy.is_whole)
        return self._keeper.keep(history, committed, notes)

    def _safe(self, history: History) -> int:
        """What we ourselves have for good. When the disk has failed that is what is in memory, once zdns knows it and
        somebody else has it all."""
        kept = self._keeper.kept
        if kept is None:
            return self._keeper.safe(history)
        return history.head if self._replication.memory_counts else kept

    def _safe_copy(self, history: History) -> int:
        """The same of a copy. When its disk has failed it is in memory only; whoever leads us since then knows that."""
        is_told = self._keeper.trouble and self._copy.links_count > self._failed_at_link
        return history.head if is_told else self._keeper.safe(history)

    def _disk_said(self, word: DiskWord) -> list[Command]:
        commands, trouble = self._keeper.heard(word)
        if not trouble:
            return commands
        self._copy.volatile = True
        self._failed_at_link = self._copy.links_count
        if self.room is not None:
            return [*commands, *self._replication.disk_failed(self._keeper.kept or 0)]
        # What we have from now on is in memory: others are not to count on it before zdns knows that.
        return [*commands, *self._copy.decline("its disk has failed")]

    # --- starting ---

    def _started(self, nonce: str, utc_ms: int) -> list[Command]:
        self._nonce = nonce
        self._utc_offset_ms = utc_ms - self._now_ms
        return [
            OpenLink(ROOM, LinkKind.ROOM_BIND),
            OpenLink(FEED, LinkKind.FEED_BIND, topic=self.options.service),
        ]

    def _link_bound(self, link: LinkId, endpoints: tuple[str, ...]) -> list[Command]:
        if self._copy.owns(link):
            return self._copy.bound(link, endpoints, ROOM)
        self._bound[link] = endpoints
        if self._me is not None or ROOM not in self._bound or FEED not in self._bound:
            return []
        options = self.options
        self._me = ServerInfo(options.server_id, options.name, self._bound[ROOM], self._bound[FEED], options.key)
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

    def _new_name(self, kind: str) -> str:
        self._names[kind] += 1
        return f"{self._nonce}-{kind}{self._names[kind]}"

    def _new_link(self) -> LinkId:
        self._links += 1
        return LinkId(f"copy-{self._links}")

    # --- zdns ---

    def _ask(
        self, request: NameRequest, asker: Asker, deadline_ms: int | None = limits.DNS_DEADLINE_MS
    ) -> list[Command]:
        number, commands = self._lookup.ask(request, self._now_ms, deadline_ms)
        self._askers[number] = asker
        return commands

    def _concluded(self, outcomes: Iterable[Answered | Unanswered]) -> list[Command]:
        commands: list[Command] = []
        for outcome in outcomes:
            asker = self._askers.pop(outcome.ask, None)
            if isinstance(outcome, Unanswered) and outcome.hopeless:
                if self._tenure.phase is standing.Phase.OUTSIDE:
                    commands += self._turned_away(RefusalCode.NOT_ADMITTED, outcome.why)
                    continue
                commands.append(Report(ZdnsChanged(outcome.why)))
            if asker is not None and (not self._leaving or isinstance(outcome.request, Leave)):
                commands += asker(outcome.request, outcome.reply if isinstance(outcome, Answered) else None)
        return commands

    def _tenure_answered(self, request: NameRequest, reply: DnsReply | None) -> list[Command]:
        is_claim = isinstance(request, Claim) and request.kind is ClaimKind.FAILOVER
        claiming, self._claiming = (self._claiming, None) if is_claim else (None, self._claiming)
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
                    commands += self._appointed(record, by, claiming)
                case standing.Deposed(record):
                    commands += self._deposed(record)
                case standing.TurnedAway(code, message):
                    commands += self._turned_away(code, message)
        if isinstance(reply, Registered) and reply.door is not None:
            commands += self._door_told(reply.door)
        if self._tenure.epoch > known:
            commands.append(Report(RoleGranted(self._tenure.epoch)))
        if claiming is not None and isinstance(reply, Refused) and reply.code is RefusalCode.NOT_IN_SYNC:
            commands += self._not_in_sync(claiming[1])
        return [*commands, *self._look_again_at_doubted(), *self._look_after_copy(), *self._look_for_leader()]

    def _note_token(self) -> list[Command]:
        token = self._lookup.token
        if self._admission.is_open or not self._lookup.is_admitted or token == self._token_told:
            return []
        self._token_told = token
        return [Report(LetIn(token))]

    def _turned_away(self, code: RefusalCode, message: str) -> list[Command]:
        return [Report(TurnedAway(code, message)), Stop(message)]

    def _source_answered(self, request: NameRequest, reply: DnsReply | None) -> list[Command]:
        if reply is None:
            return self._given(self._source.unanswered(request))
        record = getattr(reply, "record", None)
        if isinstance(record, Record):
            self._replication.learn(record)
        return self._given(self._source.answered(request, reply, self._now_ms))

    def _replication_answered(self, request: NameRequest, reply: DnsReply | None) -> list[Command]:
        if reply is None:
            return self._replicated(self._replication.unanswered(request))
        return self._replicated(self._replication.answered(request, reply, self._now_ms))

    def _copy_answered(self, _request: NameRequest, reply: DnsReply | None) -> list[Command]:
        if reply is None:
            return self._copied(self._copy.unanswered())
        return self._copied(self._copy.answered(reply, self._now_ms))

    def _learned(self, record: Record) -> list[Command]:
        """A record came by another way than from zdns itself."""
        known = self._tenure.epoch
        if record.epoch > known and not self._admission.is_open:
            return self._tenure.check()  # nobody but zdns is believed that there is a new epoch
        if not self._tenure.learn(record):
            return []
        told: list[Command] = [Report(RoleGranted(record.epoch))] if record.epoch > known else []
        return [*told, *self._look_after_copy()]

    # --- the role comes and goes ---

    def _appointed(
        self, record: Record, by: ClaimKind | None, claiming: tuple[ServerInfo, int] | None
    ) -> list[Command]:
        """zdns names us: by a claim of ours, by a transfer, or because an earlier run of us was active."""
        copy = self._copy
        if by is None and copy.phase is following.Phase.PROMISED:
            return self._copied(copy.judge(record, self._now_ms))
        if by is None:
            # Whoever starts again may lack the last that it sent: it never goes on in an epoch it has served in.
            claimable = copy.history is not None and copy.history.log == record.log and copy.is_whole
            return self._heir.claim(unreachable=False) if claimable else []
        if by is ClaimKind.FAILOVER:
            return self._succeed(record, claiming[0] if claiming is not None else None)
        options = self.options
        state = RoomState(
            members=(), members_rev=0, min_n=options.min_n, open=options.min_n == 0, term_ms=options.term_ms, moves=()
        )
        commands = [*self._drop_copy(erase=True), *self._keeper.begin(record.log, Notes(record, state, is_whole=True))]
        return [*commands, *self._serve(record, History(record.log), 0, state)]

    def _succeed(self, record: Record, dead: ServerInfo | None) -> list[Command]:
        """The one who served is gone, and we have everything: serve on from our copy."""
        copy, options = self._copy, self.options
        if copy.history is None or copy.history.log != record.log or not copy.is_whole:
            return []
        silent_ms = copy.silent_ms(self._now_ms)
        commands = [*self._heir.calm(), *copy.leave_leader()]
        history, committed, state = copy.release()
        if state is None:
            state = RoomState(
                members=(), members_rev=0, min_n=options.min_n, open=True, term_ms=options.term_ms, moves=()
            )
        # No list that the dead server told may be taken for one of ours.
        state = msgspec.structs.replace(state, members_rev=state.members_rev + limits.REV_GAP)
        source = dead.name if dead is not None else record.active.name
        move = self._move(record, source=source, reason="failover", entries=history.head, pause_ms=silent_ms)
        gone = dead.id if dead is not None and dead.id != record.active.id else ""
        return [*commands, *self._serve(record, history, committed, _with_move(state, move), gone=gone)]

    def _deposed(self, record: Record) -> list[Command]:
        """A higher epoch exists that we did not cause: what we hold is perhaps of use to its server, perhaps not."""
        room = self.room
        assert room is not None
        self._tenure.release(record)
        why = f"{record.active.name} serves now"
        commands = self._requests.answer(lambda ask: Refused(ask, RefusalCode.HANDOVER_FAILED, why))
        commands += [*self._source.forget(), *self._replication.end()[0], *self._stop_serving(room)]
        commands += [Report(Relieved(record.epoch)), *self._send_off.begin(record, "failover", room.retire())]
        commands += self._look_after_copy()
        return [*commands, *(self._part() if self._quitting else [])]

    def _stop_serving(self, room: Room) -> list[Command]:
        """The room is no more; its history is a copy from now on."""
        self.room = None
        self._copy.hold(room.history, room.committed, room.state(self._now_ms), room.epoch)
        return [StopTimer(name) for name in (HEARTBEAT, SWEEP, TERM)]

    def _claim_role(self, unreachable: bool) -> list[Command]:
        """Ask for the role of a leader that is not heard any more; one claim at a time."""
        record = self._tenure.record
        if self._claiming is not None or record is None or self._me is None:
            return []
        if self._copy.history is None or not self._copy.is_whole:
            return []
        self._claiming = (record.active, self._copy.links_count)
        return self._tenure.claim_failover(unreachable=unreachable, from_disk=self._from_disk)

    def _look_for_leader(self) -> list[Command]:
        """zdns has us on its list, and nobody leads us: see what has become of whoever should."""
        record, copy = self._tenure.record, self._copy
        if self.room is not None or copy.history is None or record is None or self._me is None or self._leaving:
            return []
        if copy.phase is not following.Phase.IDLE or record.log != copy.history.log or not copy.is_whole:
            return []
        if record.active.id == self._me.id:
            return [] if self._heir.phase.value != "calm" else self._heir.claim(unreachable=False)
        return self._heir.suspect(record.active)

    # --- a copy that nobody counts on ---

    def _look_after_copy(self) -> list[Command]:
        """A copy goes as soon as it is certain that nobody counts on it."""
        record, copy = self._tenure.record, self._copy
        if self.room is not None or copy.history is None or record is None or record.epoch <= copy.epoch:
            return []
        if record.log != copy.history.log:
            # Another history, on purpose or because zdns had forgotten this one: what is on disk stays there.
            return self._drop_copy(erase=not self._from_disk)
        if self.options.server_id in (server.id for server in record.in_sync):
            return []
        # Of a later epoch than the last in which we followed: without a link in it we cannot come onto its list.
        return self._drop_copy(erase=True)

    def _not_in_sync(self, links_count: int) -> list[Command]:
        """zdns says that we are not on its list (or only with what we had in memory before)."""
        copy = self._copy
        if self.room is not None or copy.history is None or copy.links_count != links_count:
            return []  # somebody has linked to us since we asked
        record = self._tenure.record
        listed = record is not None and self.options.server_id in (server.id for server in record.in_sync)
        self._lacks = listed
        return self._drop_copy(erase=not listed)

    @property
    def _is_behind(self) -> bool:
        """Others may think that we have what was in our memory only, and wait for us in vain."""
        return self._lacks and self.room is None and not self._copy.is_whole

    def _drop_copy(self, *, erase: bool) -> list[Command]:
        if self._copy.history is None:
            return []
        self._copy.erase()
        self._from_disk = False
        self._noted = None
        self._tenure.forget_claim()
        commands = [*self._heir.calm(), *self._copy.leave_leader(), *self._keeper.drop(erase=erase)]
        return [*commands, *(self._leave() if self._quitting else [])]

    # --- serving ---

    def _serve(
        self,
        record: Record,
        history: History,
        committed: int,
        state: RoomState,
        *,
        line: Line | None = None,
        gone: str = "",
    ) -> list[Command]:
        """Begin to serve. What came early is served first: hellos and posts of clients that connected ahead."""
        assert self._me is not None
        self._tenure.hold(record)
        self._remark = ""
        self._from_disk = False
        self._noted = None
        self.room = room = Room(
            service=self.options.service,
            server=self._me,
            epoch=record.epoch,
            history=history,
            committed=committed,
            keeper=self._keeper,
            state=state,
            now_ms=self._now_ms,
            utc_offset_ms=self._utc_offset_ms,
            key_of=self._admission.key_of,
            flood_per_s=self.options.flood_per_s,
        )
        commands: list[Command] = [
            *self.room.ban(self._admission.banned),
            *self._copy.give_up_candidates(),  # nobody leads whoever serves
            Report(Serving(record.epoch)),
            StartTimer(HEARTBEAT, limits.HEARTBEAT_MS),
            StartTimer(SWEEP, limits.PING_MS),
            *self._send_off.end(),
            *self._new_term(),
            *self._replication.begin(
                me=self._me,
                record=record,
                history=history,
                committed=committed,
                line=line,
                gone=gone,
                state=lambda: room.state(self._now_ms),
                kept=self._keeper.kept,
                now_ms=self._now_ms,
            ),
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

    def _received(self, link: LinkId, message: Message, sender: bytes, key: str) -> list[Command]:
        if self._heir.owns(link):
            return self._heir.answered()
        if self._replication.owns(link):
            commands = self._replicated(self._replication.received(link, message, self._now_ms))
            if self.room is None and isinstance(message, Follow) and self._copy.owns(link):
                # The one we hand over to leads already, and that is how we learn it.
                return [*commands, *self._received_by_copy(link, message)]
            return [*commands, *self._more_time()]
        if self._copy.owns(link):
            return self._received_by_copy(link, message)
        if link != ROOM:
            return []
        refused = self._admission.judge(message, sender, key)
        if refused is not None:
            return [Send(ROOM, refused, sender)]
        allowed: list[Command] = [Allow(FEED, key)] if key and isinstance(message, Hello) else []
        return [*allowed, *self._requested(message, sender)]

    def _requested(self, message: Message, sender: bytes) -> list[Command]:
        """Somebody whom the door lets in asks, posts, or says hello."""
        if isinstance(message, LinkAsk):
            return self._link_asked(message, sender)
        if self.room is None:
            return self._not_serving(message, sender)
        if isinstance(message, HandOver):
            return self._handover_asked(message, sender)
        if isinstance(message, AskStatus):
            return [Send(ROOM, StatusIs(message.ask, self._report(self.room)), sender)]
        return self.room.receive(sender, message, self._now_ms)

    def _link_down(self, link: LinkId, why: str) -> list[Command]:
        if self._heir.owns(link):
            return self._heir.link_down()
        if self._replication.owns(link):
            return self._replicated(self._replication.link_down(link, why, self._now_ms))
        if self._copy.owns(link):
            return self._copied(self._copy.link_down(link, why))
        return []

    def _not_serving(self, message: Message, sender: bytes) -> list[Command]:
        if isinstance(message, Hello):
            refusal = refuse_hello(message, self.options.service)
            if refusal is not None:
                return [Send(ROOM, refusal, sender)]
        if self._copy.expecting:
            if isinstance(message, Hello | Posts):
                self._early.add(sender, message)
                return []
            if isinstance(message, Ping | Fetch):
                return []  # Both are repeated, and we may serve by then.
        return [Send(ROOM, self._send_off.moved or NotServing(self._tenure.epoch), sender)]

    def _link_asked(self, ask: LinkAsk, sender: bytes) -> list[Command]:
        refusal = None
        doubt: list[Command] = []
        if ask.protocol != limits.PROTOCOL:
            why = f"this server speaks protocol {limits.PROTOCOL}, yours is {ask.protocol}"
            refusal = Refused(0, RefusalCode.VERSION, why)
        elif ask.service != self.options.service:
            refusal = Refused(0, RefusalCode.WRONG_SERVICE, f"this server stands by for {self.options.service}")
        elif self.room is not None or self._quitting:
            refusal = Refused(0, RefusalCode.BUSY, f"this server is {'serving' if self.room else 'leaving'}")
            doubt = self._tenure.check() if self.room is not None else []
        if refusal is not None:
            return [Send(ROOM, refusal, sender), *doubt]
        return self._copy.asked(ask, sender)

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
            remark=self._what_is_wrong()[: limits.MESSAGE_CHARS_MAX],
            replicas=self.options.replicas,
            followers=self._replication.states(),
            disk=self._keeper.trouble[: limits.MESSAGE_CHARS_MAX],
        )

    def _what_is_wrong(self) -> str:
        """Why something waits, or no handover happens."""
        if self._keeper.trouble and not self._replication.is_replicated:
            return f"posts wait until somebody follows, as nobody else would have them: {self._keeper.trouble}"
        if self._lookup.silent:
            return "zdns does not answer"
        return self._replication.waits_for() or self._remark

    # --- followers ---

    def _replicated(self, result: replication.Result) -> list[Command]:
        """Perform what the leader's machine decided."""
        commands, verdicts = list(result[0]), result[1]
        for verdict in verdicts:
            match verdict:
                case replication.Learned(record):
                    self._tenure.learn(record)
                case replication.Overtaken(record):
                    self._tenure.learn(record)
                    if self.room is not None:
                        commands += self._deposed(record)
                case replication.Doubted():
                    commands += self._tenure.check()
                case replication.Probed(record):
                    commands += self._given(self._source.probed(record))
                case replication.Lost(server, code, why):
                    commands += self._given(self._source.target_lost(server.id, code, why))
                case replication.Said(_, Ready(_, digest)):
                    commands += self._given(self._source.ready(digest))
                case replication.Said(_, Follow(record=record)) if self._admission.is_open:
                    commands += self._given(self._source.settled(record))
                case _:
                    pass
        return commands

    def _received_by_copy(self, link: LinkId, message: Message) -> list[Command]:
        copy = self._copy
        if isinstance(message, Follow) and not self._admission.is_open and not self._is_known_to_lead(message):
            self._doubted = {known: doubted for known, doubted in self._doubted.items() if self._copy.owns(known)}
            self._doubted[link] = message
            return self._tenure.check()
        safe = self._safe_copy(copy.history) if copy.history is not None else 0
        return self._copied(copy.received(link, message, self._tenure.record, safe, self._now_ms))

    def _is_known_to_lead(self, follow: Follow) -> bool:
        """Whether zdns itself has told us that this server leads in this epoch, or of a later one."""
        record, leader = self._tenure.record, follow.leader
        if record is None or record.epoch < follow.record.epoch:
            return False
        same = (record.active.id, record.active.key) == (leader.id, leader.key) and record.log == follow.record.log
        return same or record.epoch > follow.record.epoch

    def _look_again_at_doubted(self) -> list[Command]:
        """zdns has spoken. What it does not say either is not believed; whoever means it asks again."""
        doubted, self._doubted = self._doubted, {}
        return [
            command
            for link, follow in doubted.items()
            if self._copy.owns(link) and self._is_known_to_lead(follow)
            for command in self._received_by_copy(link, follow)
        ]

    # --- the door ---

    def _door_told(self, told: Door) -> list[Command]:
        """zdns tells who is let in, and perhaps that somebody is not any more."""
        gone = self._admission.learn(told)
        commands: list[Command] = [Expel(FEED, key) for key in gone]
        if self.room is not None:
            commands += self.room.ban(self._admission.banned)
            commands += self._replicated(self._replication.give_up_banned(self._now_ms))
        banned = [key for key in gone if self._admission.is_banned(key)]
        if banned:
            self._expelled += banned
            commands.append(StartTimer(EXPEL, limits.EXPEL_MS))
        leader = self._copy.leader
        if leader is not None and self._admission.is_banned(leader.key):
            commands += [*self._copy.leave_leader(), *self._heir.claim(unreachable=True)]
        return commands

    def _copied(self, result: following.Result) -> list[Command]:
        """Perform what the follower's machine decided."""
        commands, verdicts = list(result[0]), result[1]
        for verdict in verdicts:
            match verdict:
                case following.Began(log):
                    # What an earlier run left is of another history: it is put aside, not erased.
                    commands += self._keeper.drop(erase=not self._from_disk)
                    self._from_disk = False
                    self._noted = None
                    self._tenure.forget_claim()
                    commands += self._keeper.begin(log)
                case following.Told(record):
                    commands += self._learned(record)
                case following.CutOff(after):
                    self._keeper.cut(after)
                case following.LeaderGone(leader, _) if self._copy.is_whole:
                    commands += self._heir.suspect(leader)
                case following.LetGo(record) if self._admission.is_open or not self._copy.is_whole:
                    commands += [*self._learned(record), *self._drop_copy(erase=True)]
                case following.LetGo(record):
                    # Whoever leads may be mistaken, or lie: by claiming zdns is asked whether anybody counts on us.
                    commands += [*self._learned(record), *self._heir.claim(unreachable=False)]
                case following.TakeRoom():
                    commands += self._take_room(verdict)
                case following.CalledOff():
                    commands += self._call_off()
                case _:
                    pass
        if self._copy.phase in (following.Phase.ASKED, following.Phase.FOLLOWING):
            commands += self._heir.calm()
        return commands

    def _take_room(self, told: following.TakeRoom) -> list[Command]:
        """The handover is decided: lead."""
        record, sealed = told.record, told.sealed
        history, committed, _ = self._copy.release()
        move = self._move(
            record,
            source=told.source.name,
            reason="handover",
            entries=sealed.head,
            sent_bytes=sealed.bytes,
            copy_ms=sealed.copy_ms,
            pause_ms=told.pause_ms,
        )
        calmed = self._heir.calm()
        return [*calmed, *self._serve(record, history, committed, _with_move(sealed.state, move), line=told.line)]

    def _call_off(self) -> list[Command]:
        """Clients came ahead in vain: send them back."""
        routes = dict.fromkeys(route for route, _ in self._early.empty())
        return [Send(ROOM, NotServing(self._tenure.epoch), route) for route in routes]

    # --- time ---

    def _timer(self, name: str) -> list[Command]:
        match name.partition(".")[0]:
            case "tenure":
                return self._tenure.timer(name, self._now_ms)
            case "handover":
                return self._given(self._source.timer(name))
            case "copy":
                return self._copied(self._copy.timer(name, self._now_ms))
            case "heir":
                return self._heir.timer(name)
            case "replicas":
                return self._tick(name)
        if name == QUIT:
            return self._leave()
        if name == RELOCATE:
            return self._send_off.again()
        if name == EXPEL:
            expelled, self._expelled = self._expelled, []
            return [Expel(ROOM, key) for key in expelled]
        room = self.room
        if room is None:
            return []
        if name == HEARTBEAT:
            return [StartTimer(HEARTBEAT, limits.HEARTBEAT_MS), *room.beat(self._now_ms)]
        if name == SWEEP:
            room.sweep(self._now_ms)
            return [StartTimer(SWEEP, limits.PING_MS)]
        return self._hand_over() if name == TERM else []

    def _tick(self, name: str) -> list[Command]:
        commands = self._replicated(self._replication.timer(name, self._now_ms))
        room = self.room
        if room is None or name != replication.TICK:
            return commands
        return [*commands, *self._replication.keep(room.state_key)]

    # --- giving the room away ---

    def _handover_asked(self, message: HandOver, sender: bytes) -> list[Command]:
        assert self._me is not None
        refused = self._requests.ask(
            message, sender, serving=self._me.name, busy=self._source.busy, now_ms=self._now_ms
        )
        return self._hand_over() if refused is None else [Send(ROOM, refused, sender)]

    def _hand_over(self) -> list[Command]:
        """Begin a handover, to the one that was asked for if one was; now, or as soon as the last one is at rest."""
        if self.room is None or self._me is None or self._source.busy:
            return []
        exclude = self._requests.exclude(self._now_ms)
        return self._given(self._source.begin(me=self._me, exclude=exclude, to=self._requests.to))

    def _given(self, result: giving.Result) -> list[Command]:
        """Perform what the giving machine decided."""
        commands, verdicts = list(result[0]), result[1]
        for verdict in verdicts:
            match verdict:
                case giving.Aim(target):
                    commands += self._replicated(self._replication.aim(target, self._now_ms))
                case giving.Announce(target):
                    commands += self._replication.to_target(Expect)
                    if self.room is not None:
                        commands.append(Send(FEED, Prepare(self.room.epoch + 1, target)))
                case giving.Probe():
                    commands += self._replication.probe()
                case giving.SealNow():
                    commands += self._seal()
                case giving.GaveUp(code, why, target):
                    commands += self._gave_up(code, why, target)
                case giving.HandedOver(record):
                    commands += self._handed_over(record)
                case giving.Overtaken(record):
                    self._tenure.learn(record)
                    commands += self._deposed(record)
        return commands

    def _further_handover(self, room: Room) -> list[Command]:
        """The next step of the handover under way, if what it waited for is there."""
        source, target = self._source, self._source.target
        if target is None:
            return []
        if source.phase is giving.Phase.COPYING:
            lag = self._replication.lag(target.id)
            return [] if lag is None else self._given(source.copied(lag, self._now_ms))
        if source.phase is giving.Phase.SEALED and not source.is_seal_sent and room.committed == room.history.head:
            return self._send_seal(room)
        return []

    def _seal(self) -> list[Command]:
        assert self.room is not None
        flushed = self.room.flush(self._now_ms)
        self.room.seal()
        return flushed

    def _send_seal(self, room: Room) -> list[Command]:
        """All is committed: tell the target that nothing more comes. From now on the record stays as it is."""
        record = self._replication.freeze()
        if record is None:
            return []  # a change of the list is under way
        source, history, sent_bytes = self._source, room.history, self._replication.sent_for_handover
        digest, state = history.digest(), room.state(self._now_ms)
        source.sealed(record, digest)
        return self._replication.to_target(
            lambda pair: Sealed(pair, history.head, digest, state, source.copy_ms, sent_bytes, version=record.version)
        )

    def _gave_up(self, code: RefusalCode, why: str, target: ServerInfo | None) -> list[Command]:
        """The handover failed and nothing is lost: serve on, and say why to whoever asked."""
        # What zdns fails to do is no news of ours: `status` tells of a silent zdns by itself, as long as it is silent.
        self._remark = why if target is not None or code is RefusalCode.NO_STANDBY else ""
        commands = self._replication.to_target(lambda pair: Withdraw(pair, why))
        commands += self._replication.give_up_target()
        soon = code is RefusalCode.NO_STANDBY and self._requests.wait_for_standby(self._now_ms)
        if soon and self._others_may_serve():
            return [*commands, StartTimer(TERM, limits.TRANSFER_RETRY_MS)]
        if target is not None:
            self._requests.leave_out(target.id, self._now_ms)
        commands += self._requests.answer(lambda ask: Refused(ask, code, why))
        if self.room is None:
            return commands
        if self.room.phase is Phase.SEALED:
            commands += self.room.reopen(self._now_ms)
        commands += self._new_term()
        if self._quitting:
            commands += self._try_again_to_leave(code)
        return commands

    def _others_may_serve(self) -> bool:
        """Is there a member, the one that is wanted if one is, whose server half may only just be coming up?"""
        assert self._me is not None
        members = self.room.members if self.room is not None else ()
        wanted = names.nick_key(self._requests.to)
        return any(
            member.server not in ("", self._me.id) and wanted in ("", names.nick_key(member.nick)) for member in members
        )

    def _try_again_to_leave(self, code: RefusalCode) -> list[Command]:
        """With nobody else there, go; otherwise try again, in the end also those that failed before."""
        if code is RefusalCode.NO_STANDBY and not self._requests.leaves_out and not self._others_may_serve():
            return self._leave()
        if code is RefusalCode.NO_STANDBY:
            self._requests.leave_nobody_out()
        return [StartTimer(TERM, limits.TRANSFER_RETRY_MS)]

    def _handed_over(self, record: Record) -> list[Command]:
        """zdns has granted it: the target leads, and we are its first follower, on the same link."""
        room = self.room
        assert room is not None
        self._tenure.release(record)
        commands = self._replication.to_target(lambda pair: TakeOver(pair, record))
        ended, line = self._replication.end(keep=record.active.id)
        commands += [*ended, Report(Relieved(record.epoch)), *self._stop_serving(room)]
        if line is not None:
            commands += self._copy.follow(line, self._now_ms)
        commands += self._requests.answer(Done)
        commands += self._send_off.begin(record, "handover", room.retire())
        return [*commands, *(self._part() if self._quitting else [])]

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
        if self.room is not None:
            self._quit_head = self.room.history.head
            return [StartTimer(QUIT, limits.QUIT_HANDOVER_MS), *self._hand_over()]
        return self._part()

    def _part(self) -> list[Command]:
        """Who has a copy leaves when nobody counts on it any more: its leader is asked to see to that."""
        copy = self._copy
        copy.leaving = True
        if copy.phase is following.Phase.PROMISED:
            # What was promised is kept until it is known what becomes of it.
            return [StartTimer(QUIT, limits.QUIT_HANDOVER_MS)]
        declined = copy.decline("this server is leaving")
        if copy.leader is None:
            return [*declined, *self._leave()]
        return [*declined, StartTimer(QUIT, limits.PART_MS)]

    def _more_time(self) -> list[Command]:
        """Leaving takes as long as a successor goes on receiving what none had before.

        Neither a handover that begins anew nor what is posted meanwhile buys time, so there is an end to it.
        """
        target = self._source.target
        lag = self._replication.lag(target.id) if target is not None else None
        if self.room is None or lag is None:
            return []
        received = min(self.room.history.head - lag, self._quit_head)
        if not self._quitting or received <= self._quit_received:
            return []
        self._quit_received = received
        return [StartTimer(QUIT, limits.QUIT_HANDOVER_MS), Report(StillLeaving())]

    def _leave(self) -> list[Command]:
        if self._leaving:
            return []
        if self._me is None or self._tenure.phase is standing.Phase.OUTSIDE:  # zdns does not know us
            return [Stop("left before it was registered")]
        self._leaving = True
        others = [member for member in self.room.members if member.server != self._me.id] if self.room else []
        # With nobody else in the room a history in memory is nobody's any more, and the name need not wait for it.
        ends = self.room is not None and self._keeper.volatile and not others
        request = Leave(0, self.options.service, self._me.id, ends=ends)
        gone = self._ask(request, lambda _request, _reply: [Stop("left")], limits.DNS_ATTEMPT_MS)
        return [*gone, StartTimer(LEAVE, limits.STOP_MS)]


def _with_move(state: RoomState, move: Move) -> RoomState:
    moves = (*state.moves, move)[-limits.MOVES_KEPT :]
    return msgspec.structs.replace(state, moves=moves)
