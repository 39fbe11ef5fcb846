"""The room while this server holds it: who is in, what they post, in which order, and what all are told; pure.

Posts are appended when they come, committed when the core says so, and only then published and acknowledged.
What one turn of the loop brought is committed together: one block, one `Published`, one `Acked` an author.
"""

import enum
from collections import OrderedDict, deque
from collections.abc import Callable, Container
from dataclasses import dataclass

from broker.history import History
from broker.keeper import Keeper
from broker.parking import Parking
from wire import identity, limits, names
from wire.errors import RefusalCode
from wire.flood import FloodGate
from wire.messages import (
    Acked,
    AskMembers,
    Bye,
    Change,
    ChangeKind,
    Entry,
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
    Move,
    Opened,
    Ping,
    Pong,
    Posts,
    Presence,
    Published,
    Refused,
    Relay,
    Relayed,
    Rename,
    Resend,
    RoomState,
    Search,
    ServerInfo,
    SetAway,
    SetServer,
    SetTopic,
    Welcome,
    WhoAreYou,
)
from wire.messages import Done as DoneMessage
from wire.names import LinkId
from wire.step import Command, Send

ROOM = LinkId("room")
FEED = LinkId("feed")
# No room ever had so many changes of presence; above it the next ones might not fit their field.
_REV_MAX = 2**62
# Requests that everybody hears of when they are granted.
_TOLD_TO_ALL = Rename | SetAway | SetTopic | SetServer


class Phase(enum.Enum):
    """SERVING: posts are taken. SEALED: nothing that would change the room is, until the handover is decided."""

    SERVING = "serving"
    SEALED = "sealed"


@dataclass
class _Seat:
    """A member and how to reach it. `route` is empty until it has said hello to this server."""

    member: Member
    session: str
    route: bytes
    deadline_ms: int


class _Pace:
    """How fast one participant does what costs others something, also across its leaving and coming back."""

    def __init__(self, posts_per_s: float) -> None:
        """`posts_per_s` 0: nothing is bounded."""
        self.posts = FloodGate(posts_per_s)
        self.changes = FloodGate(limits.FLOOD_CHANGES_PER_S if posts_per_s else 0, limits.FLOOD_BURST_CHANGES)
        self.calls = FloodGate(limits.FLOOD_CALLS_PER_S if posts_per_s else 0, limits.FLOOD_BURST_CALLS)
        self.told_ms = -limits.FLOOD_TOLD_MS


@dataclass(slots=True)
class _Author:
    """Whose an appended entry is, to be told when it is committed."""

    peer: str
    session: str
    counter: int


@dataclass
class Gate:
    """`min_n` members must have come before anything is shown; once open it stays open."""

    min_n: int
    open: bool


class Room:
    """The active server's room.

    Invariants: committed ≤ head; nothing above `committed` is published, fetched or acknowledged; nothing at
    all is published or fetched before the gate is open. While SEALED neither history nor members change.
    """

    def __init__(
        self,
        *,
        service: str,
        server: ServerInfo,
        epoch: int,
        history: History,
        committed: int,
        keeper: Keeper,
        state: RoomState,
        now_ms: int,
        utc_offset_ms: int,
        key_of: Callable[[bytes], str] = lambda _route: "",
        flood_per_s: float = 0,
    ) -> None:
        """Begin with what a predecessor had, or with nothing.

        Args:
            committed: up to which seq of `history` it is known to be so; what follows will be.
            keeper: reads what is not in memory.
            utc_offset_ms: added to the monotonic time gives the wall clock that entries are labelled with.
            key_of: the public key with which a route has said hello; empty on an open network.
            flood_per_s: posts a second that are taken of one member; 0: any number, and of anything else as well.
        """
        self.service = service
        self.server = server
        self.epoch = epoch
        self.history = history
        self.phase = Phase.SERVING
        self.gate = Gate(min_n=state.min_n, open=state.open)
        self.committed = committed
        self._keeper = keeper
        self.term_ms = state.term_ms
        self.moves: deque[Move] = deque(state.moves, maxlen=limits.MOVES_KEPT)
        self.next_handover_at_ms: int | None = None
        self.topic = state.topic
        self.topic_by = state.topic_by
        self._utc_offset_ms = utc_offset_ms
        self._rev = state.members_rev
        self._seats: dict[str, _Seat] = {}
        self._by_route: dict[bytes, _Seat] = {}
        self._by_nick: dict[str, _Seat] = {}
        self._key_of = key_of
        self._flood_per_s = flood_per_s
        self._paces: OrderedDict[str, _Pace] = OrderedDict()  # by key, or on an open network by peer id
        self._owners: OrderedDict[str, str] = OrderedDict(state.owners)  # fingerprints by nick, as nicks are compared
        # What a dead server had sent and perhaps not committed is committed by us, and acknowledged if its author asks.
        self._uncommitted: deque[_Author] = deque(
            _Author(entry.author, entry.session, entry.counter)
            for entry in history.entries(committed + 1, history.head)
        )
        self._changes: list[Change] = []
        self._published = committed if state.open else 0
        self._parked = Parking()
        self._beat_owed = True
        self._swept_at_ms = now_ms
        self._listening_since_ms = now_ms
        for index, member in enumerate(state.members):
            silent_ms = state.silent_ms[index] if index < len(state.silent_ms) else 0
            deadline_ms = now_ms + max(0, limits.MEMBER_DEADLINE_MS - silent_ms)
            self._seat(_Seat(member, "", b"", deadline_ms))

    # --- what the core asks ---

    @property
    def visible(self) -> int:
        """The last seq anyone may see."""
        return self.committed if self.gate.open else 0

    @property
    def members(self) -> tuple[Member, ...]:
        """Those who take part, in order of arrival; guests are none."""
        return tuple(seat.member for seat in self._seats.values() if not seat.member.guest)

    @property
    def state_key(self) -> object:
        """Another one whenever `state` has news."""
        return (self._rev, self.gate.open, self.topic, self.topic_by, self.moves[-1].epoch if self.moves else 0)

    def state(self, now_ms: int) -> RoomState:
        """What a successor needs beyond the history."""
        heard_at_ms = [seat.deadline_ms - limits.MEMBER_DEADLINE_MS for seat in self._seats.values()]
        return RoomState(
            members=tuple(seat.member for seat in self._seats.values()),
            members_rev=self._rev,
            min_n=self.gate.min_n,
            open=self.gate.open,
            term_ms=self.term_ms,
            moves=tuple(self.moves),
            silent_ms=tuple(max(0, now_ms - at_ms) for at_ms in heard_at_ms),
            topic=self.topic,
            topic_by=self.topic_by,
            owners=tuple(self._owners.items()),
        )

    def ban(self, banned: Container[str]) -> list[Command]:
        """Whoever has one of these fingerprints is out, and is told so."""
        commands: list[Command] = []
        for seat in [seat for seat in self._seats.values() if identity.owner(seat.member.peer) in banned]:
            if seat.route:
                refused = Refused(0, RefusalCode.BANNED, "whoever runs zdns has banned this key")
                commands.append(Send(ROOM, refused, seat.route))
            self._unseat(seat, ChangeKind.LEFT)
        return [*commands, *self._tell_changes()]

    def commit_to(self, seq: int) -> list[Command]:
        """Entries up to `seq` are safe: acknowledge them, and publish them if the gate is open."""
        commands: list[Command] = []
        runs: dict[tuple[str, str], tuple[int, list[int]]] = {}
        while self.committed < seq:
            self.committed += 1
            author = self._uncommitted.popleft()
            run = runs.setdefault((author.peer, author.session), (author.counter, []))
            run[1].append(self.committed)
        for (peer, session), (first_counter, seqs) in runs.items():
            seat = self._seats.get(peer)
            if seat is not None and seat.route and seat.session == session:
                commands.append(Send(ROOM, Acked(first_counter, tuple(seqs)), seat.route))
        return self._publish() + commands

    def seal(self) -> None:
        """Take nothing more; what comes is parked."""
        self.phase = Phase.SEALED

    def reopen(self, now_ms: int) -> list[Command]:
        """The handover failed: serve on, beginning with what was parked."""
        self.phase = Phase.SERVING
        return [command for route, message in self._parked.empty() for command in self.receive(route, message, now_ms)]

    def retire(self) -> list[bytes]:
        """Another server has the room now; returns the routes of those whose requests were parked, each once."""
        return list(dict.fromkeys(route for route, _ in self._parked.empty()))

    # --- what the clock asks ---

    def beat(self, now_ms: int) -> list[Command]:
        """The heartbeat, with what readers need to notice that they missed something."""
        wait_ms = -1 if self.next_handover_at_ms is None else max(0, self.next_handover_at_ms - now_ms)
        self._beat_owed = False
        return [Send(FEED, Heartbeat(self.epoch, self.visible, self._rev, self.gate.open, wait_ms))]

    def owe_beat(self) -> None:
        """A reader has just subscribed: it gets a heartbeat with the next flush, not at the next beat."""
        self._beat_owed = True

    def sweep(self, now_ms: int) -> None:
        """Note members that have fallen silent, and drop those that were for too long; the next flush tells of it."""
        if self.phase is Phase.SEALED:
            return
        late_ms = now_ms - self._swept_at_ms - limits.PING_MS
        self._swept_at_ms = now_ms
        if late_ms > limits.PING_MS:
            # This process itself was held up; the silence was its own.
            for seat in self._seats.values():
                seat.deadline_ms += late_ms
            self._listening_since_ms = now_ms
        # After a shorter delay, too, there may be something that has come and was not read yet.
        asof_ms = now_ms - max(0, late_ms)
        for seat in list(self._seats.values()):
            if seat.deadline_ms <= now_ms:
                self._unseat(seat, ChangeKind.LOST)
            elif not (seat.member.silent or seat.member.guest) and self._is_silent(seat, asof_ms):
                self._change(seat, ChangeKind.SILENT, _with(seat.member, silent=True))

    def _is_silent(self, seat: _Seat, now_ms: int) -> bool:
        """Only a silence that this server has listened to counts: whoever follows slowly has not fallen silent."""
        heard_ms = seat.deadline_ms - limits.MEMBER_DEADLINE_MS
        return now_ms - max(heard_ms, self._listening_since_ms) >= limits.SILENT_MS

    def flush(self, now_ms: int) -> list[Command]:
        """What one turn of the loop owes to everybody: presence, and a heartbeat where one is due."""
        commands = self._tell_changes()
        if not self.gate.open and len(self.members) >= self.gate.min_n:
            self.gate.open = True
            commands.append(Send(FEED, Opened(self.epoch)))
            commands += self._publish()
            self._beat_owed = True
        if self._beat_owed:
            commands += self.beat(now_ms)
        return commands

    # --- what clients ask ---

    def receive(self, route: bytes, message: Message, now_ms: int) -> list[Command]:
        """Handle one message of a client half."""
        seat = self._seat_at(route)
        if isinstance(message, Ping) and seat is not None:
            self._hear(seat, now_ms)
            return [Send(ROOM, Pong(message.ask, self.epoch), route)]
        if isinstance(message, Fetch):
            return self._fetch(route, message) if seat else [Send(ROOM, WhoAreYou(), route)]
        if self.phase is Phase.SEALED:
            self._parked.add(route, message)
            return []
        if isinstance(message, Hello):
            return self._hello(route, message, now_ms)
        if seat is None:
            return [Send(ROOM, WhoAreYou(), route)]
        self._hear(seat, now_ms)
        if isinstance(message, Posts):
            return self._posts(seat, message, now_ms)
        if isinstance(message, _TOLD_TO_ALL | Relay):
            pace = self._pace(seat.member.peer, seat.member.key)
            if not (pace.calls if isinstance(message, Relay) else pace.changes).passes(now_ms):
                return [Send(ROOM, _too_often(message.ask), route)]
        return self._request(seat, message)

    def _seat_at(self, route: bytes) -> _Seat | None:
        """Whose this route is; a routing id that became free may be chosen by somebody else, with another key."""
        seat = self._by_route.get(route)
        return seat if seat is not None and identity.belongs(seat.member.peer, self._key_of(route)) else None

    def _hear(self, seat: _Seat, now_ms: int) -> None:
        seat.deadline_ms = now_ms + limits.MEMBER_DEADLINE_MS
        if seat.member.silent and self.phase is Phase.SERVING:
            self._change(seat, ChangeKind.HEARD, _with(seat.member, silent=False))

    def _request(self, seat: _Seat, message: Message) -> list[Command]:
        match message:
            case Search():
                return self._search(seat.route, message)
            case AskMembers(ask):
                # A list covers the changes that have not been published yet, so they must not be told again.
                return [*self._tell_changes(), Send(ROOM, self._members_are(ask), seat.route)]
            case Find(ask, nick):
                found = self._by_nick.get(names.nick_key(nick))
                answer: Message = Located(ask, found.member) if found else _not_here(ask, nick)
            case Relay(ask, to, call_up):
                other = self._seats.get(to)
                if other is not None and other.route:
                    return [Send(ROOM, Relayed(seat.member, call_up), other.route)]
                if other is not None:
                    return []  # It has not said hello to this server yet; whoever calls repeats.
                answer = _not_here(ask, "that member")
            case Rename(ask, nick):
                answer = self._rename(seat, ask, nick)
            case SetAway(ask, away):
                kind = ChangeKind.BACK if away is None else ChangeKind.AWAY
                self._change(seat, kind, _with(seat.member, away=away))
                answer = DoneMessage(ask)
            case SetTopic(ask, topic):
                answer = self._set_topic(seat, ask, topic)
            case SetServer(ask, server):
                self._change(seat, ChangeKind.MOVED_HOUSE, _with(seat.member, server=server))
                answer = DoneMessage(ask)
            case Bye():
                self._unseat(seat, ChangeKind.LEFT)
                return []
            case _:
                return []
        return [Send(ROOM, answer, seat.route)]

    def _hello(self, route: bytes, hello: Hello, now_ms: int) -> list[Command]:
        key = self._key_of(route)
        if not identity.belongs(hello.peer, key):
            return []  # it waited, and the route is somebody else's by now
        holder = self._seat_at(route)
        if holder is None and (gone := self._by_route.pop(route, None)) is not None:
            gone.route = b""
        refusal = refuse_hello(hello, self.service)
        if refusal is not None:
            return [Send(ROOM, refusal, route)]
        if holder is not None and holder.member.peer != hello.peer:
            why = f"this connection is {holder.member.nick}'s; each participant has one of its own"
            return [Send(ROOM, Refused(0, RefusalCode.BUSY, why), route)]
        seat = self._seats.get(hello.peer)
        is_news = seat is None or seat.member.server != hello.server
        if is_news and not self._pace(hello.peer, key).changes.passes(now_ms):
            return [Send(ROOM, _too_often(0), route)]
        if seat is not None:
            self._by_route.pop(seat.route, None)
            seat.route, seat.session = route, hello.session
            self._by_route[route] = seat
            self._hear(seat, now_ms)
            if hello.server != seat.member.server:
                self._change(seat, ChangeKind.MOVED_HOUSE, _with(seat.member, server=hello.server))
        else:
            if len(self._seats) >= limits.MEMBERS_MAX:
                why = f"the room is full: {limits.MEMBERS_MAX} are in"
                return [Send(ROOM, Refused(0, RefusalCode.FULL, why), route)]
            nick = self._nick_for(hello, key)
            if nick is None:
                wanted = names.check_nick(hello.nick)
                why = f"the name {wanted!r} {self._why_taken(wanted)}; try another one with --name"
                return [Send(ROOM, Refused(0, RefusalCode.NAME_TAKEN, why), route)]
            member = Member(
                peer=hello.peer,
                nick=nick,
                guest=hello.guest,
                server=hello.server,
                since_ms=now_ms + self._utc_offset_ms,
                away=hello.away,
                key=key,
            )
            if hello.keeps_key and not hello.guest:
                self._own(nick, key)
            seat = self._seat(_Seat(member, hello.session, route, now_ms + limits.MEMBER_DEADLINE_MS))
            self._by_route[route] = seat
            self._note(ChangeKind.JOINED, member)
        return self._tell_changes() + self._welcome(seat, hello)

    def _welcome(self, seat: _Seat, hello: Hello) -> list[Command]:
        """The answer to a hello. Acknowledgements that were missed come when the author sends those posts again."""
        welcome = Welcome(
            protocol=limits.PROTOCOL,
            epoch=self.epoch,
            log=self.history.log,
            server=self.server,
            nick=seat.member.nick,
            head=self.visible,
            min_n=self.gate.min_n,
            open=self.gate.open,
            rev=self._rev,
            members=None if hello.rev == self._rev else self.members,
            topic=self.topic,
            topic_by=self.topic_by,
        )
        return [Send(ROOM, welcome, seat.route)]

    def _nick_for(self, hello: Hello, key: str) -> names.Nick | None:
        nick = names.check_nick(hello.nick)
        if self._is_free(nick, key):
            return nick
        if hello.nick_fixed:
            return None
        number = 2
        while not self._is_free(names.nick_with_suffix(nick, number), key):
            number += 1
        return names.nick_with_suffix(nick, number)

    def _is_free(self, nick: str, key: str) -> bool:
        """Nobody here is called so, and the nick is not kept for somebody else."""
        return names.nick_key(nick) not in self._by_nick and not self._is_anothers(nick, key)

    def _is_anothers(self, nick: str, key: str) -> bool:
        mark = identity.fingerprint(key)
        return self._owners.get(names.nick_key(nick), mark) != mark

    def _why_taken(self, nick: str) -> str:
        if names.nick_key(nick) in self._by_nick:
            return f"is taken in {self.service}"
        return f"belongs to another key in {self.service} ({identity.shown(self._owners[names.nick_key(nick)])})"

    def _own(self, nick: str, key: str) -> None:
        """The nick belongs to this key from now on; whoever takes many loses its own before others lose theirs."""
        if not key:
            return
        owner = identity.fingerprint(key)
        self._owners[names.nick_key(nick)] = owner
        self._owners.move_to_end(names.nick_key(nick))
        own = [each for each, whose in self._owners.items() if whose == owner]
        for each in own[: -limits.NICKS_PER_KEY_MAX]:
            del self._owners[each]
        while len(self._owners) > limits.NICKS_OWNED_MAX:
            absent = (each for each in self._owners if each not in self._by_nick)
            del self._owners[next(absent, next(iter(self._owners)))]

    def _posts(self, seat: _Seat, posts: Posts, now_ms: int) -> list[Command]:
        peer, session = seat.member.peer, seat.session
        pace = self._pace(peer, seat.member.key)
        again: list[tuple[int, int]] = []
        for index, text in enumerate(posts.texts):
            counter = posts.first_counter + index
            expected = self.history.last_counter(peer, session) + 1
            if counter > expected:
                return [Send(ROOM, Resend(expected), seat.route)]
            if counter < expected:
                seq = self.history.seq_of(peer, session, counter)
                if seq is not None and seq <= self.committed:
                    again.append((counter, seq))
                continue
            refusal = self._refuse_text(text)
            if refusal is not None:
                return [Send(ROOM, refusal, seat.route)]
            if not pace.posts.passes(now_ms):
                return self._too_fast(seat, pace, now_ms)
            self.history.append(
                Entry(
                    seq=self.history.head + 1,
                    epoch=self.epoch,
                    author=peer,
                    session=session,
                    counter=counter,
                    time_ms=now_ms + self._utc_offset_ms,
                    nick=seat.member.nick,
                    text=text,
                )
            )
            self._uncommitted.append(_Author(peer, session, counter))
        if again:
            return [Send(ROOM, Acked(again[0][0], tuple(seq for _, seq in again)), seat.route)]
        return []

    def _pace(self, peer: str, key: str) -> _Pace:
        who = key or peer
        pace = self._paces.get(who)
        if pace is None:
            pace = self._paces[who] = _Pace(self._flood_per_s)
            if len(self._paces) > limits.PACES_MAX:
                self._paces.popitem(last=False)
        self._paces.move_to_end(who)
        return pace

    def _too_fast(self, seat: _Seat, pace: _Pace, now_ms: int) -> list[Command]:
        """What came too fast is not taken. Its author sends it again, as whatever is not acknowledged."""
        if now_ms - pace.told_ms < limits.FLOOD_TOLD_MS:
            return []
        pace.told_ms = now_ms
        why = f"{self.service} takes {self._flood_per_s:g} posts a second of each member; what is more waits its turn"
        return [Send(ROOM, Refused(0, RefusalCode.FLOOD, why), seat.route)]

    def _refuse_text(self, text: str) -> Refused | None:
        size = len(text.encode())
        if size > limits.TEXT_BYTES_MAX:
            why = f"a message has at most {limits.TEXT_BYTES_MAX} bytes, this one has {size}"
            return Refused(0, RefusalCode.TOO_LONG, why)
        full = limits.HISTORY_BYTES_MAX - limits.TEXT_BYTES_MAX - limits.KIB
        if self._keeper.volatile and self.history.bytes_count > full:
            why = f"the history of {self.service} is full ({limits.HISTORY_BYTES_MAX // limits.MIB} MiB)"
            return Refused(0, RefusalCode.HISTORY_FULL, why)
        return None

    def _fetch(self, route: bytes, fetch: Fetch) -> list[Command]:
        ask, first, count_max, visible = fetch.ask, fetch.first, fetch.count, self.visible

        def answer(count: int, block: bytes) -> list[Command]:
            return [Send(ROOM, Fetched(ask, first, count, visible, block), route)]

        if 1 <= first < self.history.first and first <= visible and self._keeper.reads:
            # Who gets no answer asks again.
            return self._keeper.read(first, visible, count_max, answer, lambda _why: [])
        return answer(*self.history.block(first, visible, count_max))

    def _search(self, route: bytes, search: Search) -> list[Command]:
        ask, visible = search.ask, self.visible

        def answer(block: bytes, more: int) -> list[Command]:
            return [Send(ROOM, Found(ask, more, block), route)]

        def failed(why: str) -> list[Command]:
            sentence = f"the history cannot be searched now: {why}"
            return [Send(ROOM, Refused(ask, RefusalCode.STORE_FAILED, sentence[: limits.MESSAGE_CHARS_MAX]), route)]

        if self._keeper.volatile:
            return answer(*self.history.search(search.query, search.before, search.count, visible))
        return self._keeper.search(search.query, search.before, search.count, visible, answer, failed)

    # --- members ---

    def _seat(self, seat: _Seat) -> _Seat:
        self._seats[seat.member.peer] = seat
        self._by_nick[names.nick_key(seat.member.nick)] = seat
        return seat

    def _unseat(self, seat: _Seat, kind: ChangeKind) -> None:
        del self._seats[seat.member.peer]
        del self._by_nick[names.nick_key(seat.member.nick)]
        self._by_route.pop(seat.route, None)
        self._note(kind, seat.member)

    def _rename(self, seat: _Seat, ask: int, text: str) -> Message:
        try:
            nick = names.check_nick(text)
        except ValueError as error:
            return Refused(ask, RefusalCode.BAD_NAME, str(error))
        holder = self._by_nick.get(names.nick_key(nick))
        if (holder is not None and holder is not seat) or self._is_anothers(nick, seat.member.key):
            return Refused(ask, RefusalCode.NAME_TAKEN, f"the name {nick!r} {self._why_taken(nick)}")
        was = seat.member.nick
        if self._owners.get(names.nick_key(was)) == identity.fingerprint(seat.member.key):
            self._own(nick, seat.member.key)
        del self._by_nick[names.nick_key(was)]
        self._by_nick[names.nick_key(nick)] = seat
        self._change(seat, ChangeKind.RENAMED, _with(seat.member, nick=nick), was)
        return DoneMessage(ask)

    def _members_are(self, ask: int) -> Message:
        return MembersAre(ask, self._rev, self.members, self.topic, self.topic_by)

    def _set_topic(self, seat: _Seat, ask: int, topic: str) -> Message:
        member = seat.member
        if member.guest:
            return Refused(ask, RefusalCode.NOT_MEMBER, "only members say what the room is about; a guest reads it")
        if (topic, member.nick) != (self.topic, self.topic_by):  # else it is asked again, and was told before
            self.topic, self.topic_by = topic, member.nick
            self._note(ChangeKind.TOPIC, member, text=topic)
        return DoneMessage(ask)

    def _change(self, seat: _Seat, kind: ChangeKind, member: Member, was: str = "") -> None:
        seat.member = member
        self._note(kind, member, was)

    def _note(self, kind: ChangeKind, member: Member, was: str = "", text: str = "") -> None:
        if not member.guest:
            self._rev += 1
            self._changes.append(Change(kind, member, was, text))

    def _tell_changes(self) -> list[Command]:
        """Publish what changed; always before anyone is sent a list that already has it."""
        changes, self._changes = tuple(self._changes), []
        commands: list[Command] = []
        for first in range(0, len(changes), limits.CHANGES_PER_MESSAGE_MAX):
            part = changes[first : first + limits.CHANGES_PER_MESSAGE_MAX]
            rev = self._rev - len(changes) + first + len(part)
            commands.append(Send(FEED, Presence(self.epoch, rev, part)))
        return commands

    def _publish(self) -> list[Command]:
        commands: list[Command] = []
        if self.gate.open:
            # What was kept back and is in memory no more is fetched by those who see that they lack it.
            self._published = max(self._published, self.history.first - 1)
        while self.gate.open and self._published < self.committed:
            first = self._published + 1
            count, block = self.history.block(first, self.committed)
            commands.append(Send(FEED, Published(self.epoch, first, count, block)))
            self._published += count
        return commands


def is_sound(state: RoomState) -> bool:
    """Whether a room can be in this state: nobody is in it twice, and what comes of it still fits its fields."""
    members = state.members
    return (
        len({member.peer for member in members}) == len(members)
        and len({names.nick_key(member.nick) for member in members}) == len(members)
        and all((member.peer + member.server).isascii() for member in members)
        and all(len(member.nick) <= limits.NICK_CHARS_MAX for member in members)
        and state.members_rev < _REV_MAX
    )


def refuse_hello(hello: Hello, service: str) -> Refused | None:
    """Why a hello is turned down by any server half, before its name is looked at; None: it is not."""
    if hello.protocol != limits.PROTOCOL:
        why = f"this server speaks protocol {limits.PROTOCOL}, you speak {hello.protocol}: use the same relevo version"
        return Refused(0, RefusalCode.VERSION, why)
    if hello.service != service:
        return Refused(0, RefusalCode.WRONG_SERVICE, f"this server serves {service}, not {hello.service}")
    if not (hello.peer + hello.session + hello.server).isascii():
        return Refused(0, RefusalCode.MALFORMED, "ids are made of ASCII characters")
    try:
        names.check_nick(hello.nick)
    except ValueError as error:
        return Refused(0, RefusalCode.BAD_NAME, str(error))
    return None


def _too_often(ask: int) -> Refused:
    return Refused(ask, RefusalCode.FLOOD, "that is more than the others are to hear of; wait a few seconds")


def _not_here(ask: int, nick: str) -> Refused:
    return Refused(ask, RefusalCode.NOT_HERE, f"{nick} is not here")


def _with(member: Member, **changes: str | bool | None) -> Member:
    fields = {name: getattr(member, name) for name in member.__struct_fields__}
    return Member(**{**fields, **changes})
