"""Cores among liars: what is said to them is drawn from bytes, and what they do is checked.

Who lies has what a member of the network has: on a closed one its own key, ids that belong to it, and a permit.
"""

import random
from collections.abc import Iterable
from typing import Any, cast

import msgspec

from broker.core import ServerCore
from broker.following import Phase
from broker.reports import HostName, ServerOptions
from broker.room import FEED, ROOM
from broker.stored import (
    DiskOrder,
    DropStore,
    MakeStore,
    ReadStore,
    SearchStore,
    StoreBroken,
    StoreRead,
    StoreUnread,
    StoreWritten,
    WriteStore,
)
from tests.sim.disks import Store
from tests.support import lies
from tests.support.histories import LOG, SERVICE, entry
from tests.support.lies import Source
from wire import codec, identity, limits
from wire.identity import Credentials, KeyPair
from wire.messages import (
    Admit,
    Admitted,
    Align,
    Append,
    Dismiss,
    DnsReply,
    DnsRequest,
    Feed,
    Follow,
    Following,
    Granted,
    Have,
    Hello,
    Keep,
    LinkAsk,
    LinkAt,
    Member,
    Message,
    NameRequest,
    Pair,
    Ping,
    Posts,
    Ready,
    Record,
    Register,
    RoomState,
    Sealed,
    ServerInfo,
    SetInSync,
    TakeOver,
    Talk,
    ToClient,
    ToServer,
    Transfer,
)
from wire.names import LinkId
from wire.step import (
    READS,
    Asked,
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
    Report,
    Send,
    SendRefused,
    Started,
    StartTimer,
    Stop,
    Stopping,
    StopTimer,
    Subscribed,
    TimerFired,
)
from zdns.door import Doorkeeper, House
from zdns.registry import Registry

HOUSE = House(KeyPair("z" * 40, "hush"), b"secret", b"permits", 1)
HONEST_TEXT = "bo says so"
# What the other end of a link of each kind reads.
HEARD: dict[LinkKind, Any] = {
    LinkKind.DNS_ASK: DnsRequest,
    LinkKind.ROOM_BIND: ToClient,
    LinkKind.ROOM_CONNECT: ToServer,
    LinkKind.FEED_BIND: Feed,
    LinkKind.COPY_BIND: Pair,
    LinkKind.COPY_CONNECT: Pair,
    LinkKind.TALK_BIND: Talk,
    LinkKind.TALK_CONNECT: Talk,
}


def key_of(who: str) -> str:
    """The public key of `who` on a closed network."""
    return who.ljust(40, ".")


def permit_of(who: str) -> bytes:
    """The permit that zdns has given to it."""
    return identity.permit(HOUSE.permit_key, key_of(who))


def server_of(who: str, closed: bool) -> ServerInfo:
    """The server half of `who`."""
    key = key_of(who) if closed else ""
    return ServerInfo(identity.make_id(key, f"{who}s"), who, (f"tcp://{who}:1",), (f"tcp://{who}:2",), key)


def peer_of(who: str, closed: bool) -> str:
    """The id of `who` as a member."""
    return identity.make_id(key_of(who) if closed else "", f"{who}p")


class Zdns:
    """The real door and registry; `knows` has every record that was ever granted."""

    def __init__(self, records: Iterable[Record], *, closed: bool) -> None:
        self.door = Doorkeeper(HOUSE if closed else None)
        seals = self.door if closed else None
        sealed = [self.door.seal(record) for record in records]
        self.registry = Registry(sealed, limits.LEASE_MS, 0, rng=random.Random(1), seals=seals)
        self.knows = list(sealed)

    def admit(self, who: str) -> None:
        """Let it in."""
        proof = identity.proof(HOUSE.secret, HOUSE.keys.public, key_of(who))
        assert isinstance(self.door.judge(Admit(0, limits.PROTOCOL, SERVICE, proof), key_of(who)), Admitted)

    def ask(self, request: Message, key: str, now_ms: int) -> DnsReply:
        """What it answers to whoever has `key`; as it travels."""
        assert isinstance(request, DnsRequest)
        reply = self.door.judge(request, key)
        if reply is None:
            assert not isinstance(request, Admit)
            decision = self.registry.decide(request, now_ms)
            if decision.record is not None:
                self.registry.adopt(decision.record)
                self.knows.append(decision.record)
            reply = self.door.complete(request, decision.reply)
        return cast(DnsReply, travelled(reply, DnsReply))


def travelled(message: Message, union: Any) -> Any:
    """The message as its reader gets it, which must be what was sent."""
    frames = codec.encode(message)
    assert max(map(len, frames)) <= limits.FRAME_BYTES_MAX, f"a {type(message).__name__} is too long"
    heard = codec.decode(frames, union)
    assert heard == message
    return heard


class Bench:
    """A core, its links and timers as they stand; every command is checked before it is performed."""

    core: Any

    def __init__(self, source: Source) -> None:
        self.source = source
        self.now_ms = 0
        self.is_stopped = False
        self.links: dict[LinkId, OpenLink] = {}
        self.ever: dict[LinkId, LinkKind] = {}
        self.timers: dict[str, int] = {}
        self.sent: dict[LinkId, list[Send]] = {}
        self.due: list[Event] = []

    def do(self, *events: Event) -> None:
        """These events, and what they lead to."""
        self.due += events
        while self.due and not self.is_stopped:
            event = self.due.pop(0)
            if isinstance(event, TimerFired) and self.timers.pop(event.name, None) is None:
                continue
            for commands in self.turn(event):
                self.perform(commands)
            self.check()

    def turn(self, event: Event) -> Iterable[list[Command]]:
        """What the core says to an event."""
        yield self.core.handle(event, self.now_ms)

    def perform(self, commands: list[Command]) -> None:
        """Check and perform."""
        for command in commands:
            if self.is_stopped:
                return
            match command:
                case OpenLink(link, kind):
                    assert link not in self.ever, f"{link} is opened twice"
                    self.links[link] = command
                    self.ever[link] = kind
                case CloseLink(link):
                    assert link in self.links, f"{link} is closed, and not open"
                    del self.links[link]
                case Send(link, message):
                    assert link in self.links, f"{type(message).__name__} is sent over {link}, which is not open"
                    travelled(message, HEARD[self.links[link].kind])
                    self.sent.setdefault(link, []).append(command)
                case StartTimer(name, delay_ms):
                    assert delay_ms >= 0
                    self.timers[name] = self.now_ms + delay_ms
                case StopTimer(name):
                    self.timers.pop(name, None)
                case Stop():
                    self.is_stopped = True
                case _:
                    pass
            self.performed(command)

    def performed(self, command: Command) -> None:
        """What others do about a command."""

    def check(self) -> None:
        """What must hold after each event."""

    def pool(self) -> dict[str, list[Any]]:
        """What makes sense now."""
        return {}

    def play(self, *, events_max: int = 400) -> None:
        """All that the bytes have."""
        for _ in range(events_max):
            if self.source.is_empty or self.is_stopped:
                return
            self.step()

    def step(self) -> None:
        """One event, or a few."""
        raise NotImplementedError

    # --- what may happen to any core ---

    def pass_time(self) -> None:
        """Until the next timer runs out; now and then it runs out late."""
        if self.timers:
            name = min(self.timers, key=lambda name: (self.timers[name], name))
            self.now_ms = max(self.now_ms, self.timers[name]) + (
                self.source.byte() * 40 if self.source.chance(5) else 0
            )
            self.do(TimerFired(name))
        else:
            self.now_ms += 100

    def some_link(self, *kinds: LinkKind) -> LinkId | None:
        """A link of these kinds, of those that were opened last; now and then one that is closed."""
        among = self.ever if self.source.chance(5) else self.links
        found = [link for link in among if self.ever[link] in kinds][-8:]
        return self.source.of(found[::-1]) if found else None

    def hear(self, *kinds: LinkKind) -> None:
        """Something comes over a link."""
        link = self.some_link(*kinds)
        if link is not None:
            message = lies.message(self.source, READS[self.ever[link]], self.pool())
            if message is not None:
                self.do(Received(link, message))

    def link_event(self) -> None:
        """Something happens to a link."""
        link = self.some_link(*(kind for kind in LinkKind if kind not in (LinkKind.ROOM_BIND, LinkKind.FEED_BIND)))
        if link is None:
            return
        is_bound = self.ever[link] in (LinkKind.COPY_BIND, LinkKind.TALK_BIND)
        last = self.sent.get(link, [])[-1:]
        events: list[Event] = [LinkUp(link), LinkDown(link, "gone"), Garbled(link, "no message")]
        events += [LinkDown(link, "closed to us", hopeless=True)]
        events += [LinkBound(link, (f"tcp://ana:{9 + len(self.ever)}",))] * 4 if is_bound else []
        events += [SendRefused(link, send.message, send.to, "full") for send in last]
        self.do(self.source.of(events))


class ServerBench(Bench):
    """Ana's server half. Bo is honest as a member; Eve and Mal lie, and so does Bo's server half.

    `role`: what it is when the lies begin.
    """

    ROLES = ("active", "leader", "follower", "standby")

    def __init__(self, source: Source, role: str, *, closed: bool) -> None:
        super().__init__(source)
        self.closed, self.role = closed, role
        self.ana, self.bo, self.eve = (server_of(who, closed) for who in ("ana", "bo", "eve"))
        known: dict[str, list[Record]] = {
            "follower": [Record(SERVICE, 4, 9, LOG, self.bo, (self.bo, self.ana))],
            "standby": [Record(SERVICE, 4, 9, LOG, self.bo, (self.bo,))],
        }
        self.zdns = Zdns(known.get(role, []), closed=closed)
        self.is_silent = self.is_slow = self.is_stopping = self.is_dismissed = False
        self.stores: dict[int, Store] = {}
        self.unwritten: list[Event] = []
        self.kept: list[bytes] = []  # entries that were committed as far as it knew, of the log `kept_log`
        self.kept_log = ""
        self.epoch = 0
        self.posted = 0
        self.was_led = False
        self.seat: Member | None = None
        self.pairs: list[str] = []
        if closed:
            for who in ("ana", "bo", "eve", "mal"):
                self.zdns.admit(who)
        credentials = Credentials(KeyPair(self.ana.key, "hush"), HOUSE.keys.public, HOUSE.secret) if closed else None
        self.core = ServerCore(
            ServerOptions(
                SERVICE,
                self.ana.id,
                self.ana.name,
                ("tcp://dns:1",),
                serve_first=role in ("active", "leader"),
                credentials=credentials,
            )
        )
        self.do(Started("n", 10**12), LinkBound(ROOM, self.ana.router), LinkBound(FEED, self.ana.feed))
        self.begin()

    @property
    def copy_links(self) -> list[LinkId]:
        """Those to other server halves, the latest first."""
        kinds = (LinkKind.COPY_BIND, LinkKind.COPY_CONNECT)
        return [link for link, opened in self.links.items() if opened.kind in kinds][::-1]

    def route(self, message: Message, route: str, who: str) -> None:
        """`who` says something on a route."""
        self.do(Received(ROOM, message, route.encode(), key_of(who) if self.closed else ""))

    def hello(self, who: str) -> Hello:
        """As `who` would say it."""
        permit = permit_of(who) if self.closed else b""
        return Hello(
            limits.PROTOCOL, SERVICE, peer_of(who, self.closed), f"{who}-1", who, False, False, "", 0, permit=permit
        )

    def begin(self) -> None:
        """Until it is what it is to be."""
        if self.role in ("active", "leader"):
            self.route(self.hello("bo"), "bo", "bo")
            self.route(Posts(1, (HONEST_TEXT,)), "bo", "bo")
            self.posted = 1
            self.seat = self.found()
            assert self.seat is not None
        if self.role == "leader":
            self.zdns.ask(Register(0, limits.PROTOCOL, SERVICE, self.bo), self.bo.key, self.now_ms)
            self.now_ms += limits.RECRUIT_MS
            for _ in range(12):
                self.pass_time()
                self.answer_as_follower()
        if self.role == "follower":
            self.be_led(self.zdns.knows[0])
            assert len(self.kept) == 2

    def be_led(self, record: Record) -> None:
        """Bo leads us, as zdns' record says; its history has three entries."""
        pair = f"b-p{len(self.pairs)}"
        self.pairs.append(pair)
        permit = permit_of("bo") if self.closed else b""
        self.route(LinkAsk(limits.PROTOCOL, SERVICE, pair, self.bo, permit), "bo", "bo")
        link = next((link for link in self.copy_links if self.links[link].kind is LinkKind.COPY_BIND), None)
        if link is None or self.is_stopped:
            return
        number = len(self.pairs)
        self.do(LinkBound(link, ("tcp://ana:9",)))
        self.do(Received(link, Follow(pair, SERVICE, self.bo, record, number, 3, 300, self.room_state())))
        history = self.core.history
        at = 0 if history is None or history.log != record.log else history.head
        self.do(Received(link, Align(pair, at, 0)))
        if at == 0:
            block = codec.join_block([codec.encode_entry(entry(seq, 4)) for seq in (1, 2, 3)])
            self.do(Received(link, Append(pair, record.epoch, 2, 1, 0, 3, block)))

    def room_state(self) -> RoomState:
        """As Bo's room would have it."""
        members = tuple(
            Member(peer_of(who, self.closed), who, False, "", 7, key=key_of(who) if self.closed else "")
            for who in ("bo", "cy")
        )
        return RoomState(members, 2, 0, True, limits.TERM_MS, (), (0, 0))

    def turn(self, event: Event) -> Iterable[list[Command]]:
        """With its flush."""
        self.is_stopping = self.is_stopping or isinstance(event, Stopping)
        self.is_dismissed = isinstance(event, Received) and isinstance(event.message, Dismiss)
        yield self.core.handle(event, self.now_ms)
        if not self.is_stopped:
            yield self.core.flush(self.now_ms)

    def performed(self, command: Command) -> None:
        """zdns and the disk answer."""
        match command:
            case Stop():
                assert self.is_stopping, "somebody has made it end"
            case Send(link, message) if self.ever[link] is LinkKind.DNS_ASK and not self.is_silent:
                self.due.append(Received(link, self.zdns.ask(message, self.ana.key, self.now_ms)))
            case Send(_, LinkAsk(pair=pair) | Follow(pair=pair)):
                self.pairs.append(pair)
            case Report(notice) if isinstance(notice, DiskOrder):
                self.disk(notice)
            case _:
                pass

    def disk(self, order: DiskOrder) -> None:
        """Do what the disk is told."""
        match order:
            case MakeStore(number, log, notes):
                self.stores[number] = Store(log, self.ana.id, notes=notes)
            case DropStore(number, erase) if erase:
                self.stores.pop(number, None)
            case WriteStore(store, number, changes) if store in self.stores:
                for change in changes:
                    self.stores[store].apply(change)
                (self.unwritten if self.is_slow else self.due).append(Asked(StoreWritten(store, number)))
            case ReadStore(store, ask, first, last):
                entries = self.stores[store].entries[first - 1 : last][:10]
                self.due.append(Asked(StoreRead(store, ask, len(entries), codec.join_block(entries))))
            case SearchStore(store, ask):
                self.due.append(Asked(StoreUnread(store, ask, "it is busy")))
            case _:
                pass

    def found(self) -> Member | None:
        """Bo, as the room has it; but for what time alone changes."""
        members = self.core.room.members if self.core.room is not None else ()
        bo = next((member for member in members if member.peer == peer_of("bo", self.closed)), None)
        return None if bo is None else msgspec.structs.replace(bo, silent=False)

    def check(self) -> None:
        """Epochs never fall, what is committed stays, nobody's seat or words are another's, and tables are bounded."""
        core = self.core
        assert core._tenure.epoch >= self.epoch
        self.epoch = core._tenure.epoch
        self.check_history()
        # Once another server has led, what is in the room is what that one said.
        self.was_led = self.was_led or (self.posted > 0 and core.room is None)
        if self.closed and self.seat is not None and not self.was_led:
            assert self.found() == self.seat, "somebody else changed the seat of a member"
        assert len(core._lookup._pending) <= limits.DNS_PENDING_MAX
        assert len(core._askers) <= 2 * limits.DNS_PENDING_MAX
        assert len(core._requests) <= limits.MEMBERS_MAX
        assert len(core._expelled) <= limits.PEERS_SEEN_MAX
        if core.room is not None:
            assert len(core.room._seats) <= limits.MEMBERS_MAX
            assert core.room.committed <= core.room.history.head
            assert len(core.room._by_route) <= len(core.room._seats) == len(core.room._by_nick)
        core.describe()

    def check_history(self) -> None:
        core, history = self.core, self.core.history
        if history is None:
            if self.closed and self.kept:
                # A leader may let go of us, and so may zdns; nobody else may.
                told = self.zdns.knows[-1]
                is_listed = told.log == self.kept_log and self.ana.id in [server.id for server in told.in_sync]
                assert self.is_dismissed or not is_listed, "a copy that somebody counts on is gone"
            self.kept, self.kept_log = [], ""
            return
        committed = core.room.committed if core.room is not None else core._copy.committed
        if history.log != self.kept_log:
            self.kept, self.kept_log = [], history.log
        assert history.head >= len(self.kept), "committed entries are gone"
        entries = history._entries
        assert entries[: len(self.kept)] == self.kept, "a committed entry is another one"
        self.kept = list(entries[: max(committed, len(self.kept))])
        if self.closed and self.posted and not self.was_led and core.room is not None:
            mine = [one for one in history.entries(1, history.head) if one.author == peer_of("bo", True)]
            assert {one.text for one in mine} <= {HONEST_TEXT}, "somebody else spoke as a member"

    def pool(self) -> dict[str, list[Any]]:
        """What a liar knows."""
        core, history = self.core, self.core.history
        head = history.head if history is not None else 0
        committed = core.room.committed if core.room is not None else core._copy.committed
        seqs = [head, head, committed, 0]
        epochs = [self.epoch, self.epoch, self.epoch + 1]
        record = core._tenure.record
        records = [record] if record is not None else []
        pairs = [self.links_pair(link) for link in self.copy_links] + self.pairs[-3:]
        peers = [peer_of(who, self.closed) for who in ("eve", "eve", "mal", "bo", "cy")]
        return {
            "pair": pairs,
            "service": [SERVICE],
            "protocol": [limits.PROTOCOL],
            "epoch": epochs,
            "prev_epoch": [history.last_epoch if history is not None else 0],
            "version": [record.version if record is not None else 0],
            "log": [history.log if history is not None else LOG, "another"],
            "peer": peers,
            "to": [*peers, self.bo.id, "bo", "ana"],
            "author": peers,
            "session": ["eve-1", "bo-1", "session"],
            "counter": [1, 1, 2, 3],
            "first_counter": [1, 1, 2, 3],
            "nick": ["eve", "bo", " bo", "mal"],
            "name": ["eve", "bo", ""],
            "server": ["", self.eve.id, self.bo.id],
            "permit": [permit_of("eve"), permit_of("eve"), permit_of("mal")],
            "text": ["a lie"],
            "texts": [("a lie",), ("one", "two")],
            "head": seqs,
            "have": seqs,
            "safe": seqs,
            "at": seqs,
            "committed": seqs,
            "first": [head + 1, head + 1, committed + 1, 1],
            "seq": [head + 1],
            "runs": [history.runs(0)] if history is not None else [],
            "digest": [history.digest()] if history is not None else [],
            "holds": [history.log] if history is not None else [],
            "number": [1, 2, 3],
            "endpoints": [("tcp://eve:5",)],
            "in_sync": [(self.bo, self.ana), (self.eve,), (self.bo.id, self.ana.id)],
            "ServerInfo": [self.eve, self.bo, self.ana],
            "Record": [*records, *self.zdns.knows[-3:]],
            "RoomState": [self.room_state()],
        }

    def links_pair(self, link: LinkId) -> str:
        """The pair of a link between servers."""
        core = self.core
        lines = [core._copy._line, core._copy._candidates.line(link)]
        known = [*(line for line in lines if line), *core._replication._followers.values()]
        return next((one.pair for one in known if one.link == link), "none")

    # --- what happens ---

    def step(self) -> None:
        """One of all that can happen."""
        copies = (LinkKind.COPY_BIND, LinkKind.COPY_CONNECT)
        match self.source.byte() % 32:
            case 0 | 1 | 2 | 3 | 4 | 5 | 6:
                self.lie_to_room()
            case 7 | 8 | 9 | 10 | 11:
                self.hear(*copies)
            case 12:
                self.hear(LinkKind.ROOM_CONNECT)
            case 13 | 14 | 15:
                self.link_event()
            case 16 | 17 | 18 | 19:
                self.pass_time()
            case 20 | 21:
                self.lie_to_zdns()
            case 22:
                if self.closed and self.role in ("active", "leader"):
                    self.speak_honestly()
            case 23:
                self.is_silent = not self.is_silent and self.source.chance(40)
            case 24 if self.source.chance(50):
                self.is_slow = not self.is_slow
                self.due, self.unwritten = [*self.due, *self.unwritten], []
                self.do()
            case 25:
                self.do(Subscribed(FEED), Garbled(ROOM, "no message " * 60, b"eve"))
            case 26 | 27 | 28:
                self.answer_as_follower()
            case 29 | 30:
                self.go_on_as_leader()
            case _:
                self.happen_seldom()

    def happen_seldom(self) -> None:
        """What is rare."""
        match self.source.byte() % 8:
            case 0 if self.source.chance(30):
                self.do(Stopping())
            case 1:
                self.do(Asked(HostName(self.source.of(("ana", "anna", "bo")))))
            case 2 if self.stores and self.source.chance(25):
                self.do(Asked(StoreBroken(max(self.stores), "no room left")))
            case 3:
                self.now_ms += limits.MEMBER_DEADLINE_MS
                self.seat = None if self.closed else self.seat
                self.pass_time()
            case _:
                self.zdns.ask(Register(0, limits.PROTOCOL, SERVICE, self.bo), self.bo.key, self.now_ms)

    def speak_honestly(self) -> None:
        """Bo posts, and shows that it is there; if it was lost it comes in again."""
        if self.core.room is None:
            return
        self.route(Ping(1), "bo", "bo")
        if self.seat is None or self.found() is None:
            return
        self.posted += 1
        self.route(Posts(self.posted, (HONEST_TEXT,)), "bo", "bo")

    def pass_time(self) -> None:
        """Bo pings meanwhile."""
        if self.role in ("active", "leader"):
            self.route(Ping(1), "bo", "bo")
        super().pass_time()

    def lie_to_room(self) -> None:
        """Eve, or Mal, says something to the room, by a route that may have been another's before."""
        message = lies.message(self.source, ToServer, self.pool())
        if message is None:
            return
        who = self.source.of(("eve", "eve", "eve", "mal"))
        route = self.source.of((who, who, who, "eve2", "bo"))
        if self.closed and not self.source.chance(20):
            # So that it is listened to: it is itself, and has a permit.
            match message:
                case Hello():
                    message = msgspec.structs.replace(
                        message, peer=peer_of(who, True), server="", permit=permit_of(who), nick=message.nick or who
                    )
                case LinkAsk(source=source):
                    source = replace_server(source, server_of(who, True))
                    message = msgspec.structs.replace(message, source=source, permit=permit_of(who))
                case _:
                    pass
        if not self.closed and route == "bo":
            route = who
        if not self.closed:
            message = _not_as_bo(message)
        self.route(message, route, who)

    def lie_to_zdns(self) -> None:
        """Eve asks zdns for something."""
        request = lies.message(self.source, NameRequest, self.pool())
        if request is None:
            return
        if self.closed:
            server = getattr(request, "server", None)
            if isinstance(server, ServerInfo):
                request = msgspec.structs.replace(request, server=replace_server(server, self.eve))
            elif server is not None and not self.source.chance(20):
                request = msgspec.structs.replace(request, server=self.eve.id)
        self.zdns.ask(request, self.eve.key, self.now_ms)

    def answer_as_follower(self) -> None:
        """The other end of a link does what it should, as far as it is a follower."""
        if self.core.room is None:
            return
        history = self.core.room.history
        for follower in list(self.core._replication._followers.values()):
            last = [send.message for send in self.sent.get(follower.link, [])][-1:]
            if follower.link not in self.links or not last:
                continue
            link, pair = follower.link, follower.pair
            sealed = [send.message for send in self.sent[link] if isinstance(send.message, Sealed)]
            if sealed and self.core._source.busy:
                self.do(Received(link, Ready(pair, sealed[-1].digest)))
                return
            match last[0]:
                case LinkAsk():
                    self.do(Received(link, LinkAt(pair, ("tcp://bo:9",))))
                case Follow(record=record):
                    self.do(Received(link, Following(pair, 0, 0, (), 0)))
                    self.do(Received(link, Have(pair, record.epoch, history.head)))
                case Keep(epoch=epoch) | Append(epoch=epoch):
                    self.do(Received(link, Have(pair, epoch, history.head)))
                case _:
                    pass

    def go_on_as_leader(self) -> None:
        """The one that leads us goes on, as it should."""
        copy, granted = self.core._copy, self.zdns.knows[-1] if self.zdns.knows else None
        if self.core.room is None and copy._line is None and granted is not None and granted.active.id == self.bo.id:
            self.be_led(granted)
            return
        if copy.history is None or copy._line is None or copy._line.link not in self.links or granted is None:
            return
        link, pair, history = copy._line.link, copy._line.pair, copy.history
        record = self.core._tenure.record
        match 0 if copy.phase is Phase.PROMISED and self.source.chance(60) else self.source.byte() % 8:
            case 0:
                reply = self.zdns.ask(_transfer(granted, self.ana.id), granted.active.key, self.now_ms)
                if isinstance(reply, Granted) and reply.record.active == self.ana:
                    self.do(Received(link, TakeOver(pair, reply.record)))
            case 1:
                version = record.version if record is not None else 0
                sealed = Sealed(pair, history.head, history.digest(), self.room_state(), 1, 1, version)
                self.do(Received(link, sealed))
            case 2:
                ids = (granted.active.id, self.ana.id)
                listed = SetInSync(1, SERVICE, granted.active.id, granted.epoch, granted.version, ids)
                reply = self.zdns.ask(listed, granted.active.key, self.now_ms)
                if isinstance(reply, Granted):
                    self.do(Received(link, Keep(pair, copy.epoch, history.head, reply.record)))
            case 3:
                if record is not None:
                    self.do(Received(link, Keep(pair, copy.epoch, history.head, record)))
            case _:
                seq, peer = history.head + 1, peer_of("bo", self.closed)
                counter = history.last_counter(peer, "bo-1") + 1
                new = replace_entry(entry(seq, copy.epoch), peer, counter)
                block = codec.join_block([codec.encode_entry(new)])
                self.do(Received(link, Append(pair, copy.epoch, history.head, seq, history.last_epoch, 1, block)))


def _transfer(record: Record, to: str) -> Message:
    return Transfer(0, SERVICE, record.active.id, record.epoch, record.version, to)


def replace_entry(one: Any, peer: str, counter: int) -> Any:
    """The entry as of another author."""
    return msgspec.structs.replace(one, author=peer, session="bo-1", counter=counter)


def replace_server(said: ServerInfo, own: ServerInfo) -> ServerInfo:
    """What was said of a server, by one that can prove who it is."""
    return msgspec.structs.replace(said, id=own.id, key=own.key)


def _not_as_bo(message: Message) -> Message:
    """On an open network anybody may say that it is Bo, and then it is."""
    if isinstance(message, Hello) and message.peer == peer_of("bo", False):
        return msgspec.structs.replace(message, peer="somebody")
    return message
