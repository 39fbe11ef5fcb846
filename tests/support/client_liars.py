"""The client half, its session and its private talks among liars: servers, zdns and members say what they like."""

from collections.abc import Iterable
from typing import Any, get_args

import msgspec

from peer.direct import CallOut, Direct
from peer.engine import Engine, EngineOptions
from peer.intents import DiskLost, EpochGranted, HostServer, PostsKept, UserIntent
from peer.notices import AnyNotice, Fault, Posted, Private
from peer.notices import Message as Told
from peer.outbox import Write
from peer.session import Session
from tests.support import lies
from tests.support.histories import LOG, SERVICE
from tests.support.liars import HOUSE, Bench, key_of, peer_of, permit_of, server_of, travelled
from tests.support.lies import Source
from wire import codec, limits
from wire.identity import Credentials, KeyPair
from wire.messages import (
    Acked,
    Admit,
    Admitted,
    CallUp,
    DnsReply,
    Entry,
    Fetch,
    Fetched,
    Heartbeat,
    Hello,
    Member,
    Message,
    NameState,
    Posts,
    Published,
    Record,
    Relay,
    Relayed,
    Resolve,
    Resolved,
    TalkHello,
    ToServer,
    Welcome,
)
from wire.names import LinkId, ServerId
from wire.step import Asked, Command, Event, LinkKind, LinkUp, OpenLink, Received, Report, Started, Stopping

ME = "me"
_ROOM = LinkKind.ROOM_CONNECT
_FEED = LinkKind.FEED_CONNECT
_TALKS = (LinkKind.TALK_BIND, LinkKind.TALK_CONNECT)
_notices = msgspec.json.Decoder(AnyNotice)


class ClientBench(Bench):
    """What the benches of this file know in common."""

    def __init__(self, source: Source, *, closed: bool) -> None:
        super().__init__(source)
        self.closed = closed
        self.servers = [server_of(who, closed) for who in ("ana", "bo", "eve")]
        self.members = [self.member(who) for who in ("ana", "bo", "zoe")]
        self.epoch = 0
        self.head = 0

    def member(self, who: str) -> Member:
        """A member as it is told."""
        return Member(peer_of(who, self.closed), who, False, "", 7, key=key_of(who) if self.closed else "")

    def record(self, epoch: int) -> Record:
        """zdns' record of an epoch."""
        server = self.servers[epoch % 2]
        return Record(SERVICE, epoch, epoch, LOG, server, (server,))

    def entries(self, first: int, count: int) -> bytes:
        """Honest ones, as a block."""
        made = [Entry(seq, 1, "ana", "s", seq, 1_000, "ana", "said") for seq in range(first, first + count)]
        return codec.join_block([codec.encode_entry(one) for one in made])

    def pool(self) -> dict[str, list[Any]]:
        """What a liar knows."""
        asks = [getattr(send.message, "ask", 0) for sends in self.sent.values() for send in sends[-3:]]
        peers = [member.peer for member in self.members]
        return {
            "ask": [0, *asks[-8:]],
            "protocol": [limits.PROTOCOL],
            "service": [SERVICE],
            "epoch": [self.epoch, self.epoch, self.epoch + 1],
            "log": [LOG, LOG, LOG, "another"],
            "nick": [ME, "bo", "ana"],
            "head": [self.head, self.head + 1],
            "first": [self.head + 1, 1],
            "seq": [self.head + 1],
            "rev": [0, 1, 2, 3],
            "peer": peers,
            "first_counter": [1, 1, 2, 3],
            "counter": [1, 1, 2, 3],
            "generation": [1, 1, 2, 3, 2**32],
            "after": [0, 0, 0, 1],
            "endpoints": [("tcp://bo:9",), ("ipc:///x", "tcp://bo:9")],
            "text": ["a lie"],
            "name": ["bo", "zoe", ME],
            "to": ["bo", "zoe", "ana"],
            "count": [1, 2, 50],
            "ServerInfo": self.servers,
            "Record": [self.record(max(1, self.epoch)), self.record(self.epoch + 1)],
            "Member": self.members,
            "permit": [permit_of(ME)],
        }


class EngineBench(ClientBench):
    """The whole client half."""

    core: Engine

    def __init__(self, source: Source, *, closed: bool) -> None:
        super().__init__(source, closed=closed)
        self.key = key_of(ME) if closed else ""
        credentials = Credentials(KeyPair(self.key, "hush"), HOUSE.keys.public, HOUSE.secret) if closed else None
        self.core = Engine(
            EngineOptions(
                SERVICE, ("tcp://dns:1", "tcp://dns:2"), ME, patient=source.byte() % 2 == 0, credentials=credentials
            )
        )
        self.shown = 0
        self.posted: set[str] = set()
        self.writes = 0
        self.do(Started("5" * 32, 10**12))
        if source.byte() % 4:
            for _ in range(4):
                self.answer()

    def performed(self, command: Command) -> None:
        """What it tells must be fit to be told, in order, and once."""
        if not isinstance(command, Report):
            return
        match command.notice:
            case Write(number=number):
                self.writes = number
            case Told(seq=seq) as told:
                assert seq > self.shown
                self.shown = seq
                self.told(told)
            case Posted(id=id_) as told:
                assert id_ not in self.posted
                self.posted.add(id_)
                self.told(told)
            case Fault(code="fresh_start") as told:
                self.shown = 0
                self.told(told)
            case notice if isinstance(notice, AnyNotice):
                self.told(notice)
            case _:
                pass

    def told(self, notice: Any) -> None:
        """As a line."""
        _notices.decode(msgspec.json.encode(notice))

    def check(self) -> None:
        """Epochs never fall, and tables are bounded."""
        core = self.core
        assert core._session.epoch >= self.epoch
        self.epoch = core._session.epoch
        self.head = min(core._timeline.head, 2**62)
        assert len(core._requests) <= limits.REQUESTS_MAX
        assert len(core._relays) <= limits.TALKS_MAX
        assert len(core._asked_early) <= limits.REQUESTS_MAX
        assert len(core._direct._talks) <= limits.MEMBERS_MAX
        assert len(core._timeline._held) <= limits.AHEAD_BLOCKS_MAX
        assert sum(held.size for held in core._timeline._held.values()) <= limits.AHEAD_BYTES_MAX
        assert len(core._outbox) <= limits.OUTBOX_POSTS_MAX
        core.describe()

    def step(self) -> None:
        """One of all that can happen."""
        words: list[Event] = [
            Asked(EpochGranted(self.epoch + self.source.byte() % 3)),
            Asked(HostServer(ServerId(self.servers[2].id))),
            Asked(PostsKept(self.writes)),
            Asked(DiskLost("full")),
        ]
        match self.source.byte() % 16:
            case 0 | 1 | 2 | 3:
                self.hear(_ROOM)
            case 4 | 5:
                self.hear(_FEED)
            case 6:
                self.hear(LinkKind.DNS_ASK)
            case 7:
                self.hear(*_TALKS)
            case 8:
                self.link_event()
            case 9 | 10:
                self.pass_time()
            case 11 | 12:
                self.answer()
            case 13 | 14:
                self.wish()
            case _:
                self.do(Stopping() if self.source.chance(2) else self.source.of(words))

    def wants(self, intent: UserIntent) -> None:
        """The user wants just this."""
        self.do(Asked(intent))

    def wish(self) -> None:
        """The user wants something."""
        intent = lies.value(self.source, self.source.of(get_args(UserIntent)), self.pool())
        if type(intent).__name__ != "Quit" or self.source.chance(5):
            self.do(Asked(intent))

    def answer(self) -> None:
        """Whoever was asked last, answers as it should."""
        for link, opened in list(self.links.items()):
            last = [send.message for send in self.sent.get(link, [])][-1:]
            if last and opened.kind in (LinkKind.DNS_ASK, _ROOM, *_TALKS):
                self.answer_to(link, last[0])

    def answer_to(self, link: LinkId, asked: Message) -> None:
        """One of them."""
        epoch = max(1, self.epoch)
        match asked:
            case Admit(ask=ask):
                self.do(Received(link, Admitted(ask, permit_of(ME), b"token")))
            case Resolve(ask=ask):
                self.do(Received(link, Resolved(ask, NameState.SERVED, self.record(epoch), ())))
            case Hello(nick=nick, peer=peer):
                me = Member(peer, nick, False, "", 7, key=self.key)
                members = (me, *self.members)
                server = self.servers[epoch % 2]
                self.do(
                    Received(link, Welcome(limits.PROTOCOL, epoch, LOG, server, nick, self.head, 0, True, 1, members))
                )
            case Posts(first_counter=first, texts=texts):
                self.do(Received(link, Acked(first, tuple(range(self.head + 1, self.head + 1 + len(texts))))))
            case Fetch(ask=ask, first=first):
                self.do(Received(link, Fetched(ask, first, 2, self.head, self.entries(first, 2))))
            case TalkHello():
                self.do(Received(link, asked))
            case Relay(to=to, call_up=call_up):
                sender = next((member for member in self.members if member.peer == to), self.members[0])
                self.do(Received(link, Relayed(sender, call_up)))
            case _:
                feed = self.some_link(_FEED)
                if feed is not None:
                    block = self.entries(self.head + 1, 1)
                    self.do(Received(feed, Published(epoch, self.head + 1, 1, block)))
                    self.do(Received(feed, Heartbeat(epoch, self.head, 1, True, -1)))


class SessionBench(ClientBench):
    """The way to the server alone."""

    core: Session

    def __init__(self, source: Source, *, closed: bool) -> None:
        super().__init__(source, closed=closed)
        peer = peer_of(ME, closed)
        self.core = Session(Hello(limits.PROTOCOL, SERVICE, peer, "s", ME, False, False, "", 0))
        self.took(self.core.start())

    def turn(self, event: Any) -> Iterable[list[Command]]:
        """Its happenings are of no interest here."""
        yield self.core.handle(event, self.now_ms)[0]

    def took(self, steps: tuple[list[Command], Any]) -> None:
        """Perform what another door of it led to."""
        self.perform(steps[0])
        self.check()

    def check(self) -> None:
        """Epochs never fall; at most two routes are open."""
        assert self.core.epoch >= self.epoch
        self.epoch = self.core.epoch
        assert len(self.links) <= 4

    def step(self) -> None:
        """One of all that can happen."""
        core = self.core
        match self.source.byte() % 12:
            case 0 | 1 | 2:
                self.hear(_ROOM)
            case 3 | 4:
                self.hear(_FEED)
            case 5:
                self.link_event()
            case 6 | 7:
                self.pass_time()
            case 8:
                reply = lies.message(self.source, DnsReply, self.pool())
                if isinstance(reply, DnsReply):
                    self.took(core.resolved(reply, self.now_ms))
            case 9:
                record = self.record(max(1, self.epoch + self.source.byte() % 2))
                self.took(core.resolved(Resolved(0, NameState.SERVED, record, ()), self.now_ms))
            case 10:
                self.took(core.unresolved(self.now_ms))
            case _:
                match self.source.byte() % 16:
                    case 0:
                        self.took(core.close())
                    case 1 | 2 | 3:
                        self.took(core.number_anew(f"s{self.now_ms}", self.now_ms))
                    case _:
                        self.took(core.granted(self.epoch + self.source.byte() % 3))


class DirectBench(ClientBench):
    """The private talks alone: their texts have one outcome each."""

    core: Direct

    def __init__(self, source: Source, *, closed: bool) -> None:
        super().__init__(source, closed=closed)
        self.core = Direct(peer_of(ME, closed), "s", ME, is_open=not closed)
        self.outcomes: dict[str, str] = {}
        self.shown: set[str] = set()

    def turn(self, event: Any) -> Iterable[list[Command]]:
        """With what the user is told."""
        yield self.noted(self.core.handle(event, self.now_ms))

    def took(self, steps: Any) -> None:
        """Perform what another door of it led to."""
        self.perform(self.noted(steps))
        self.check()

    def noted(self, steps: Any) -> list[Command]:
        """Check what the user is told, and what is to be relayed; the commands that are left."""
        commands: list[Command] = []
        for command in steps[0]:
            match command:
                case CallOut(to, call_up):
                    travelled(Relay(0, to, call_up), ToServer)
                case OpenLink(key=key):
                    assert key or not self.closed, "anybody may be at the other end"
                    commands.append(command)
                case _:
                    commands.append(command)
        for notice in steps[1]:
            self.tell(notice)
        return commands

    def tell(self, notice: Private) -> None:
        """`queued`, and then one outcome; what is received is shown once."""
        if notice.state == "received":
            assert notice.id not in self.shown
            self.shown.add(notice.id)
            return
        was = self.outcomes.get(notice.id, "")
        assert was in ("", "queued") and (
            notice.state == "failed" or was == ("queued" if notice.state != "queued" else "")
        )
        self.outcomes[notice.id] = notice.state

    def check(self) -> None:
        """Tables are bounded."""
        core = self.core
        assert len(core._talks) <= limits.MEMBERS_MAX
        assert len(core._peers) == len(self.links) <= limits.TALKS_MAX
        core.describe()

    def pool(self) -> dict[str, list[Any]]:
        """With what the talks are about now."""
        talks = list(self.core._talks.values())
        return {
            **super().pool(),
            "token": [talk.token for talk in talks if talk.token][-3:],
            "generation": [*(talk.generation for talk in talks), 1, 2, 2**32],
            "session": ["s", *(talk.session for talk in talks if talk.session)],
        }

    def step(self) -> None:
        """One of all that can happen."""
        core, now_ms = self.core, self.now_ms
        match self.source.byte() % 16:
            case 0 | 1 | 2 | 3:
                self.hear(*_TALKS)
            case 4 | 5:
                self.link_event()
            case 6 | 7:
                self.pass_time()
            case 8 | 9:
                self.took(core.tell("hush", 1, self.source.of(self.members), now_ms))
            case 10 | 11:
                sender = lies.value(self.source, Member, self.pool())
                self.took(core.called(sender, lies.value(self.source, CallUp, self.pool()), now_ms))
            case 12 | 13 | 14:
                self.greet()
            case _:
                peer = self.source.of(self.members).peer
                match self.source.byte() % 8:
                    case 0:
                        self.took(core.leave(now_ms))
                    case 1 | 2:
                        self.took(core.absent(peer, now_ms))
                    case 3:
                        self.took(core.member_gone(peer, now_ms))
                    case _:
                        core.renamed(peer, "other")

    def greet(self) -> None:
        """The other end of a link says hello as it should."""
        for link in list(self.links):
            talk = self.core._talks[self.core._peers[link]]
            self.do(LinkUp(link), Received(link, TalkHello(talk.token or "x", talk.peer, "n", talk.generation, "t")))
