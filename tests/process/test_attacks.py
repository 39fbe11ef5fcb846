"""Real processes under attack, port by port: whatever strangers and lying members do, the room goes on as it did."""

import asyncio
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support import attackers
from tests.support.attackers import Loot, Port, Wiretap, ports_of, processes_of, resident_bytes
from tests.support.circle import Circle, Secrets
from tests.support.liar import NOWHERE, Liar, Line, another
from tests.support.processes import PATIENCE_S, Chat, Zdns
from wire import codec, limits
from wire.errors import RefusalCode, WireError
from wire.messages import (
    Acked,
    Align,
    Append,
    AskMembers,
    AskStatus,
    CallUp,
    CallUpKind,
    Claim,
    ClaimKind,
    Decline,
    Dismiss,
    DnsReply,
    DnsRequest,
    Done,
    Expect,
    Feed,
    Fetch,
    Fetched,
    Follow,
    Found,
    Granted,
    HandOver,
    Keep,
    Leave,
    LinkAsk,
    LinkAt,
    Message,
    NotServing,
    Outdated,
    Pick,
    Ping,
    Posts,
    Published,
    Record,
    Refused,
    Register,
    Registered,
    Relay,
    Rename,
    Renew,
    Resend,
    RoomState,
    Sealed,
    Search,
    ServerInfo,
    SetInSync,
    SetServer,
    TakeOver,
    ToClient,
    Transfer,
    WhoAreYou,
    Withdraw,
)
from wire.names import DEFAULT_SERVICE

pytestmark = pytest.mark.timeout(300)

Start = Callable[..., Chat]
NAMES = ("ana", "bo", "cy")
GROWTH_BYTES_MAX = 60 * limits.MIB
HELD = 500
HUGE = 2**63 - 1
ABUSE_S = 12.0


@pytest.fixture
def zdns(tmp_path: Path) -> Iterator[Zdns]:
    """A name server with the lease that people have."""
    with Zdns(tmp_path, lease_s=limits.LEASE_MS / 1_000) as process:
        yield process


class Town:
    """Three members who chat all the time, ana serving; all their processes, and the ports of these as they are now."""

    def __init__(self, zdns: Zdns, home: Path, chat: Start) -> None:
        self.zdns = zdns
        self.home = home
        self.chat = chat
        self.secrets = Secrets(*(f"{kind}-{secrets.token_hex(8)}" for kind in ("said", "whispered")))
        self.loot = Loot()
        self.chats = {"ana": chat("ana", "-s", "--term", "0")}
        self.chats["ana"].ready()
        self.chats |= {name: chat(name, "--term", "0") for name in NAMES[1:]}
        for name in NAMES[1:]:
            self.chats[name].ready()
        self.credentials = {name: zdns.credentials(home, name) for name in NAMES}
        self.circle = Circle(home, zdns.address, self.secrets, self.chats)

    @contextmanager
    def chatting(self) -> Iterator[list[Port]]:
        """From when there is a port of every kind; in the end everybody has everything, and no attacker has."""
        with self.circle:
            yield self._all_bound()
        self.circle.check()
        for secret in self.secrets:
            assert not self.loot.holds(secret.encode())

    def ports(self) -> list[Port]:
        """Those of zdns, of the server halves (rooms, feeds, copies) and of the client halves (talks)."""
        found = ports_of(self.zdns.popen.pid, "zdns", self.credentials["ana"].zdns_key)
        for name, chat in self.chats.items():
            found += ports_of(chat.popen.pid, name, self.credentials[name].keys.public)
        return found

    def memory(self) -> dict[str, int]:
        """What zdns and the server halves have in use."""
        halves = {name: resident_bytes(self._server_half(name)) for name in self.chats}
        return {"zdns": resident_bytes(self.zdns.popen.pid), **halves}

    def newcomer(self, dns: str = "") -> None:
        """Somebody comes, sees what is said, and goes again."""
        options = ("--term", "0", "--ephemeral", "--ticket", self.zdns.ticket)
        with Chat(self.home, dns or self.zdns.address, "dan", *options) as person:
            person.ready()
            person.until("message")
            person.do("quit")
            for _ in person.rest():
                pass

    def _server_half(self, name: str) -> int:
        client = self.chats[name].popen.pid
        (pid,) = (pid for pid in processes_of(client) if pid != client)
        return pid

    def _all_bound(self) -> list[Port]:
        halves = {self._server_half(name) for name in self.chats}
        clients = {chat.popen.pid for chat in self.chats.values()}
        deadline = time.monotonic() + PATIENCE_S
        while True:
            ports = self.ports()
            has_copy = sum(port.pid in halves for port in ports) > 2 * len(halves)
            if has_copy and any(port.pid in clients for port in ports) and ports[0].owner == "zdns":
                return ports
            assert time.monotonic() < deadline, f"no copy, or no talk: {ports}"
            time.sleep(0.05)


@pytest.fixture
def town(zdns: Zdns, tmp_path: Path, chat: Start) -> Town:
    """The room that is attacked."""
    return Town(zdns, tmp_path, chat)


def check_growth(before: dict[str, int], after: dict[str, int]) -> None:
    grown = {name: after[name] - before[name] for name in before}
    assert max(grown.values()) < GROWTH_BYTES_MAX, grown


# --- strangers -----------------------------------------------------------------------------------------------------


def test_bytes_of_all_kinds_and_connections_without_number_change_nothing(town: Town) -> None:
    with town.chatting() as ports:
        posted = town.circle.posted_count
        asyncio.run(attackers.one_after_the_other(ports, town.loot))
        asyncio.run(attackers.all_at_once(ports, town.loot))
        rooms = [port for port in ports if port.owner in ("zdns", "ana")]
        asyncio.run(attackers.flood(ports, 1_000, town.loot))
        asyncio.run(attackers.flood(rooms, 1_000, town.loot))
        half_open = attackers.greeting("CURVE")
        with (
            attackers.held(ports, HELD),
            attackers.held(ports, HELD, half_open),
            attackers.held(rooms, HELD, half_open),
        ):
            assert town.circle.posted_count > posted
            posted = town.circle.posted_count
            town.newcomer()
            assert town.circle.posted_count > posted


STRANGERS_HEAR = (RefusalCode.NOT_ADMITTED, RefusalCode.NOT_YOURS, RefusalCode.BAD_TICKET, RefusalCode.MALFORMED)


def check_refused(answers: list[list[bytes]]) -> None:
    """Strangers hear that they are refused, or are asked who they are; nothing about anything else."""
    assert answers, "not even a refusal: then nothing was tried"
    for frames in answers:
        message = read(frames)
        assert isinstance(message, Refused | WhoAreYou | NotServing), message
        if isinstance(message, Refused):
            assert message.record is None
            assert message.code in STRANGERS_HEAR, message


def read(frames: list[bytes]) -> Message:
    """The message of an answer, whatever it was asked with."""
    for union in (ToClient, DnsReply):
        try:
            return codec.decode(frames[-1:], union)
        except WireError:
            continue
    raise AssertionError(f"a stranger is sent {frames}")


def test_what_was_listened_to_is_worth_nothing_when_it_is_said_again(town: Town) -> None:
    with town.chatting() as ports, Wiretap(ports[0].number, town.loot) as tap:
        town.newcomer(f"127.0.0.1:{tap.port}")
        assert tap.said
        asyncio.run(attackers.say_again(ports[:1], [bytes(said) for said in tap.said[:4]], town.loot))
        with Liar(another(town.credentials["ana"]), town.zdns.address, "eve") as eve:
            active = eve.record().active
            room, feed = (int(endpoints[0].rpartition(":")[2]) for endpoints in (active.router, active.feed))
            with Wiretap(room, town.loot) as room_tap, Wiretap(feed, Loot()) as feed_tap:
                tapped = changed_addresses(active, room_tap.port, feed_tap.port)
                with eve.room(tapped) as line, eve.feed(tapped) as reader:
                    eve.join(line)
                    line.say(Posts(1, ("eve 0 said once",)))
                    line.hear_until(Acked)
                    assert reader.socket.poll(int(1_000 * PATIENCE_S))
                    said = [bytes(each) for tap in (room_tap, feed_tap) for each in tap.said]
                    asyncio.run(attackers.say_again(ports, said, town.loot))
        assert sum("said once" in line["text"] for line in town.circle.history()) == 1


def changed_addresses(server: ServerInfo, room: int, feed: int) -> ServerInfo:
    return msgspec.structs.replace(server, router=(f"tcp://127.0.0.1:{room}",), feed=(f"tcp://127.0.0.1:{feed}",))


def test_sockets_of_every_type_are_refused_for_as_long_as_they_come_and_fill_no_memory(town: Town) -> None:
    with town.chatting() as ports:
        for dress in attackers.DRESSES:
            check_who_gets_in(town, attackers.who_gets_in(ports, dress, 1.0), 1 + len(NAMES))
        check_refused(attackers.besiege(ports, attackers.DRESSES, town.loot, 3.0))
        before = town.memory()
        epochs, ends = 0, time.monotonic() + ABUSE_S
        while time.monotonic() < ends:
            town.chats[NAMES[(epochs + 1) % 3]].do("handover")
            epochs += 1
            ports = town.ports()  # those of copies and talks come and go
            asyncio.run(attackers.all_at_once(ports, town.loot, 0.5))
            check_refused(attackers.besiege(ports, attackers.DRESSES, town.loot, 1.0))
            asyncio.run(attackers.flood(ports, 500, town.loot))
        check_growth(before, town.memory())


def check_who_gets_in(town: Town, numbers: set[int], most: int) -> None:
    """Zdns and the rooms let every key in, and judge what it says; at a copy or a talk nobody gets in but one key."""
    clients = {chat.popen.pid for chat in town.chats.values()}
    assert not [port for port in town.ports() if port.number in numbers and port.pid in clients]
    assert len(numbers) <= most, numbers


# --- a lying member ------------------------------------------------------------------------------------------------


@pytest.fixture
def mallory(town: Town) -> Iterator[Liar]:
    """Somebody with the ticket."""
    with Liar(another(town.credentials["ana"]), town.zdns.address, "mallory") as liar:
        yield liar


def whole_record(liar: Liar) -> Record:
    """What zdns has as soon as somebody follows."""
    deadline = time.monotonic() + PATIENCE_S
    while len((record := liar.record()).in_sync) < 2:
        assert time.monotonic() < deadline, record
    return record


def forged(record: Record, active: ServerInfo, **more: Any) -> Record:
    """A record in which another one serves."""
    return msgspec.structs.replace(record, active=active, in_sync=(active, *record.in_sync[:2]), **more)


def check_goes_on(was: Record, now: Record, liar: Liar) -> None:
    """The same server serves, in the same epoch, and the liar has no part in it."""
    assert (now.epoch, now.log, now.active) == (was.epoch, was.log, was.active)
    assert liar.server.id not in [server.id for server in now.in_sync]


def lies_for(others: list[ServerInfo], record: Record, mine: ServerInfo) -> Iterator[DnsRequest]:
    """Requests in the names of other servers."""
    service, protocol = DEFAULT_SERVICE, limits.PROTOCOL
    for other in others:
        yield Register(1, protocol, service, other)
        yield Register(1, protocol, service, msgspec.structs.replace(other, key=mine.key), record)
        yield Register(1, protocol, service, msgspec.structs.replace(mine, key=other.key))
        yield Renew(1, service, other.id, record.log, HUGE)
        yield Pick(1, service, other.id, (), "bo")
        yield Leave(1, service, other.id, ends=True)
        for kind in ClaimKind:
            for epoch in (0, record.epoch, record.epoch + 1, HUGE):
                yield Claim(1, service, other, kind, epoch, "log", unreachable=True)
                yield Claim(1, service, msgspec.structs.replace(other, key=mine.key), kind, epoch, "log")
        for epoch in (record.epoch - 1, record.epoch, record.epoch + 1, HUGE):
            for version in (record.version, record.version + 1, HUGE):
                yield Transfer(1, service, other.id, epoch, version, mine.id)
                yield SetInSync(1, service, other.id, epoch, version, (other.id, mine.id))
                yield SetInSync(1, service, other.id, epoch, version, (other.id,), (other.id,))


def lies_for_oneself(record: Record, mine: ServerInfo) -> Iterator[DnsRequest]:
    """Requests in the own name that ask for what one cannot have."""
    service, active = DEFAULT_SERVICE, record.active.id
    for kind in ClaimKind:
        for epoch in (0, record.epoch - 1, record.epoch, record.epoch + 1, HUGE - 1, HUGE):
            for unreachable in (False, True):
                yield Claim(1, service, mine, kind, epoch, "log", unreachable, from_disk=unreachable)
    for epoch in (record.epoch - 1, record.epoch, record.epoch + 1, HUGE):
        for version in (record.version, record.version + 1, HUGE):
            yield Transfer(1, service, mine.id, epoch, version, mine.id)
            yield Transfer(1, service, mine.id, epoch, version, active)
            yield SetInSync(1, service, mine.id, epoch, version, (mine.id,))
            yield SetInSync(1, service, mine.id, epoch, version, (active, mine.id))


def test_zdns_and_the_active_server_take_a_liar_for_what_it_is(town: Town, mallory: Liar) -> None:
    with town.chatting() as ports, Liar(another(town.credentials["ana"]), town.zdns.address, "eve") as eve:
        record = whole_record(mallory)
        lies_to_zdns(mallory, eve, record)
        lies_to_the_active_server(town, mallory, eve, record)
        steals_a_routing_id(mallory, eve, record.active)
        got_in = attackers.who_gets_in(ports, attackers.with_keys(mallory.keys), 5.0)
        assert got_in
        check_who_gets_in(town, got_in, 1 + len(NAMES) + 1)  # and the feed of the one who serves
        assert not any("not my own" in line["text"] for line in town.circle.history())
        check_goes_on(record, mallory.record(), mallory)


def lies_to_zdns(mallory: Liar, eve: Liar, record: Record) -> None:
    mine = mallory.server
    servers = [server for _, server in members_by(eve, record.active)["ids"]]
    others = [*record.in_sync, *(msgspec.structs.replace(record.active, id=id_) for id_ in servers)]
    for lie in lies_for(others, record, mine):
        reply = mallory.ask_zdns(lie)
        assert isinstance(reply, Refused) and reply.code is RefusalCode.NOT_YOURS, (lie, reply)
        assert reply.record is None
    for lie in lies_for_oneself(record, mine):
        reply = mallory.ask_zdns(lie)
        assert isinstance(reply, Refused | Granted), (lie, reply)  # granted is what was so before
        check_goes_on(record, reply.record or record, mallory)
    for seal in (record.seal, bytes(32), b""):
        for epoch, version in ((record.epoch, HUGE - 1), (record.epoch + 1, 1), (HUGE - 1, HUGE - 1)):
            told = forged(record, mine, epoch=epoch, version=version, seal=seal)
            reply = mallory.ask_zdns(Register(1, limits.PROTOCOL, DEFAULT_SERVICE, mine, told))
            assert isinstance(reply, Registered) and reply.record is not None
            check_goes_on(record, reply.record, mallory)
    assert mallory.ask_zdns(Leave(1, DEFAULT_SERVICE, mine.id, ends=True)) == Done(1)


BAD_HELLOS: list[tuple[dict[str, Any], RefusalCode]] = [
    ({"permit": b""}, RefusalCode.NOT_ADMITTED),
    ({"permit": bytes(32)}, RefusalCode.NOT_ADMITTED),
    ({"protocol": 0}, RefusalCode.VERSION),
    ({"protocol": HUGE}, RefusalCode.VERSION),
    ({"service": "another"}, RefusalCode.WRONG_SERVICE),
    ({"nick": ""}, RefusalCode.BAD_NAME),
    ({"nick": "a b"}, RefusalCode.BAD_NAME),
    ({"nick": "x" * 33}, RefusalCode.BAD_NAME),
    ({"nick": "x" * 129}, RefusalCode.MALFORMED),
    ({"nick": "ana"}, RefusalCode.NAME_TAKEN),
    ({"nick": "ANA"}, RefusalCode.NAME_TAKEN),
    ({"nick": "ａｎａ"}, RefusalCode.NAME_TAKEN),
    ({"session": "é"}, RefusalCode.MALFORMED),
    ({"session": "s" * 81}, RefusalCode.MALFORMED),
    ({"peer": "x"}, RefusalCode.NOT_YOURS),
    ({"server": "x"}, RefusalCode.NOT_YOURS),
    ({"min_n": -1}, RefusalCode.MALFORMED),
    ({"away": "x" * 101}, RefusalCode.MALFORMED),
]


def lies_to_the_active_server(town: Town, mallory: Liar, eve: Liar, record: Record) -> None:
    before = members_by(eve, record.active)
    with mallory.room(record.active) as line:
        early: list[Message] = [Posts(1, ("early",)), Fetch(1, 1, 500), AskMembers(1), AskStatus(1), HandOver(1, "")]
        for each in [*early, Search(1, "a", 0, 500), Ping(1), SetServer(1, mallory.server.id), Rename(1, "ana")]:
            assert line.ask(each) == WhoAreYou()
        with mallory.feed(record.active) as feed:
            refuses(line, mallory.hello(permit=eve.permit), RefusalCode.NOT_ADMITTED)
            for peer, server in before["ids"]:
                refuses(line, mallory.hello(peer=peer), RefusalCode.NOT_YOURS)
                refuses(line, mallory.hello(server=server), RefusalCode.NOT_YOURS)
            assert not feed.socket.poll(1_000), "whom the door does not let in reads nothing"
        for lies, code in BAD_HELLOS:
            refuses(line, mallory.hello(**lies), code)
        assert mallory.join(line, nick="ana", nick_fixed=False).nick != "ana"
        assert line.ask(Rename(7, "mallory")) == Done(7)
        refuses(line, mallory.hello(peer=f"{mallory.peer}2"), RefusalCode.BUSY)
        lies_in_posts(line, mallory)
        lies_in_requests(line, mallory, record, before["ids"])
        calls_everybody_up(line, mallory, before["ids"])
        own = [each for each in mallory.members(line).members if each.key == mallory.keys.public]
        assert [each.nick for each in own] == ["mallory"]
        assert members_by(eve, record.active) == before
        with mallory.feed(record.active) as feed:
            check_reads(feed, town.secrets)


def refuses(line: Line, lie: Message, code: RefusalCode) -> None:
    answer = line.ask(lie)
    assert isinstance(answer, Refused) and answer.code is code, (lie, answer)


def members_by(witness: Liar, server: ServerInfo) -> dict[str, Any]:
    """Who the three are, as somebody else is told."""
    with witness.room(server) as line:
        witness.join(line, guest=True)
        told = [each for each in witness.members(line).members if each.nick in NAMES]
    assert len(told) == len(NAMES)
    return {
        "who": sorted((each.peer, each.nick, each.server, each.key, each.away) for each in told),
        "ids": [(each.peer, each.server) for each in told],
    }


def lies_in_posts(line: Line, liar: Liar) -> None:
    for counter in (2, 3, limits.POSTS_IN_FLIGHT_MAX, HUGE):
        assert line.ask(Posts(counter, (f"mallory {counter}",))) == Resend(1)
    longest = "mallory 1 ".ljust(limits.TEXT_BYTES_MAX, "x")
    line.say(Posts(1, ("mallory 0 a", longest)))
    taken = line.hear_until(Acked)[-1]
    assert line.ask(Posts(1, ("mallory 0 another",))) == msgspec.structs.replace(taken, seqs=taken.seqs[:1])  # type: ignore[attr-defined]  # an Acked
    assert line.ask(Posts(9, ("a gap",))) == Resend(3)
    refuses(line, Posts(3, ("é" * (limits.TEXT_BYTES_MAX // 2 + 1),)), RefusalCode.TOO_LONG)
    shapes: list[object] = [[31, 2**64 - 1, ["x"]], [31, -1, ["x"]], [31, 3, "x"], [31], [], [300, 1], {"a": 1}]
    shapes += [[31, 3, ["x" * (limits.TEXT_BYTES_MAX + 1)]], [31, 3, ["x"] * 65], [31, 0, ["x"]], [31, 3, []]]
    for raw in (*shapes, [31, 3, [None]]):
        line.say_bytes(msgspec.msgpack.encode(raw))
        assert malformed(line)
    for frames in ([b""], [b"\xc1"], [b"\x91" * 5_000], [b"\xdd\xff\xff\xff\xff"], [b"a"] * 3, [b"a"] * 3_000):
        line.say_bytes(*frames)
        assert malformed(line)
    assert liar.members(line).members


def malformed(line: Line) -> bool:
    answer = line.hear()
    return isinstance(answer, Refused) and answer.code is RefusalCode.MALFORMED


def lies_in_requests(line: Line, liar: Liar, record: Record, ids: list[tuple[str, str]]) -> None:
    for first in (0, 1, HUGE // 2, HUGE):
        answer = line.ask(Fetch(7, first, limits.FETCH_ENTRIES_MAX))
        assert isinstance(answer, Fetched) and answer.count <= limits.FETCH_ENTRIES_MAX, answer
        assert answer.count == 0 or first == 1
        found = line.ask(Search(7, "\0%_'\"*", first, limits.FETCH_ENTRIES_MAX))
        assert isinstance(found, Found) and codec.decode_entries(found.block) == (), found
    for raw in ([32, 7, 0, 501], [32, 7, 0, 0], [32, 7, -1, 1], [33, 7, "", 0, 1], [33, 7, "x" * 201, 0, 1]):
        line.say_bytes(msgspec.msgpack.encode(raw))
        assert malformed(line)
    for nick in ("ana", "BO", "ｃｙ"):
        refuses(line, Rename(7, nick), RefusalCode.NAME_TAKEN)
    refuses(line, Rename(7, "a b"), RefusalCode.BAD_NAME)
    for server in ["x", *(server for _, server in ids)]:
        refuses(line, SetServer(7, server), RefusalCode.NOT_YOURS)
    assert line.ask(SetServer(7, liar.server.id)) == Done(7)
    for other in record.in_sync:
        refuses(line, LinkAsk(limits.PROTOCOL, DEFAULT_SERVICE, "p", other, liar.permit), RefusalCode.NOT_YOURS)
        stolen = msgspec.structs.replace(other, key=liar.keys.public)
        refuses(line, LinkAsk(limits.PROTOCOL, DEFAULT_SERVICE, "p", stolen, liar.permit), RefusalCode.NOT_YOURS)
    refuses(line, LinkAsk(limits.PROTOCOL, DEFAULT_SERVICE, "p", liar.server), RefusalCode.NOT_ADMITTED)
    refuses(line, LinkAsk(limits.PROTOCOL, DEFAULT_SERVICE, "p", liar.server, liar.permit), RefusalCode.BUSY)
    refuses(line, HandOver(7, "nobody"), RefusalCode.NO_STANDBY)


def calls_everybody_up(line: Line, liar: Liar, ids: list[tuple[str, str]]) -> None:
    """Call-ups with addresses of others, without any, and of generations that nobody ever reached."""
    ends = [(NOWHERE,), (), ("tcp://127.0.0.1:1", "x" * 256), ("ipc:///etc/passwd",), ("tcp://[::1]:99999",)]
    for peer, _ in ids:
        for number in range(300):
            kind = CallUpKind.RING if number % 2 else CallUpKind.OFFER
            generation = (number, 2**32, HUGE)[number % 3]
            line.say(Relay(8, peer, CallUp(kind, generation, ends[number % len(ends)], f"token{number}")))
    line.say(Relay(9, "nobody", CallUp(CallUpKind.RING, 1)))
    refused = line.hear_until(Refused)[-1]  # others may have called back before
    assert isinstance(refused, Refused) and (refused.ask, refused.code) == (9, RefusalCode.NOT_HERE)
    assert liar.members(line).members


def check_reads(feed: Line, told: Secrets) -> None:
    """A member reads what is said in the room: so what is searched for can be found. What is whispered it does not."""
    heard = b""
    deadline = time.monotonic() + PATIENCE_S
    while told.room.encode() not in heard:
        assert time.monotonic() < deadline
        frames = feed.socket.recv_multipart()
        message = codec.decode(frames[1:], Feed)
        heard += message.block if isinstance(message, Published) else b""
        assert told.private.encode() not in b"".join(frames)


def steals_a_routing_id(mallory: Liar, eve: Liar, active: ServerInfo) -> None:
    """Whoever comes after the owner of a routing id may have it, and none of its words."""
    for chosen in (b"chosen", b"x" * 255):
        with mallory.room(active, routing_id=chosen) as line:
            mallory.join(line, session=chosen[:6].decode())
            line.say(Posts(1, (f"mallory {len(chosen)} my own",)))
            line.hear_until(Acked)
        until = time.monotonic() + PATIENCE_S
        while True:  # until the server has seen its owner go, whoever has the same is not heard
            assert time.monotonic() < until
            with eve.room(active, routing_id=chosen) as line:
                line.say(Posts(2, ("mallory 1000 not my own",)))
                line.say(Rename(1, "eve"))
                answer = line.hear(0.5)
                assert answer in (None, WhoAreYou())
                if answer is not None:
                    break


def lies_on_a_copy(pair: str, record: Record, told: Record, leader: ServerInfo) -> list[Message]:
    """What a leader says to its follower, from somebody who leads nobody."""
    state = RoomState((), HUGE, 0, True, 0, ())
    rest: list[Message] = [
        Keep(pair, told.epoch, HUGE, told, state),
        Expect(pair),
        Sealed(pair, 0, bytes(32), state, 0, 0, told.version),
        TakeOver(pair, told),
        Withdraw(pair, "no"),
        Align(pair, 0, 0),
        Append(pair, told.epoch, HUGE, 1, 0, 1, codec.join_block([b"\xc0"])),
        Outdated(pair, told),
        Outdated(pair, record),
        Decline(pair, "no"),
        Dismiss(pair, told, "erase it"),
    ]
    return [*rest, Follow(pair, DEFAULT_SERVICE, leader, told, HUGE, 0, 0, state), *rest]


def test_nobody_follows_a_liar_and_no_copy_is_erased(town: Town, mallory: Liar) -> None:
    with town.chatting(), Liar(another(town.credentials["ana"]), town.zdns.address, "eve") as eve:
        record = whole_record(mallory)
        follower, mine = record.in_sync[1], mallory.server
        records = [
            record,
            forged(record, mine),
            forged(record, mine, epoch=record.epoch + 1, version=record.version + 1),
            forged(record, mine, epoch=HUGE, version=HUGE, log="another"),
            msgspec.structs.replace(record, active=mine),
        ]
        with mallory.room(follower) as line:
            for other in record.in_sync:
                stolen = LinkAsk(limits.PROTOCOL, DEFAULT_SERVICE, "p", other, mallory.permit)
                refuses(line, stolen, RefusalCode.NOT_YOURS)
            for told in records:
                for leader in (mine, record.active, msgspec.structs.replace(record.active, key=mine.key)):
                    lie_over_a_copy(line, mallory, eve, follower, lies_on_a_copy("p", record, told, leader))
        check_goes_on(record, mallory.record(), mallory)
    # The one who serves dies: whoever was lied to has everything.
    before = whole_record(mallory)
    town.chats["ana"].signal(signal.SIGKILL)
    head = town.circle.book.head
    town.chats["bo"].do("post", text=f"bo {HUGE} after all")
    for name in NAMES[1:]:
        assert town.chats[name].until("message", text=f"bo {HUGE} after all")["seq"] == head + 1
    history = town.circle.history()
    assert [line["seq"] for line in history] == list(range(1, head + 2))
    after = mallory.record()
    assert (after.epoch, after.log, after.active) == (before.epoch + 1, record.log, before.in_sync[1])


def lie_over_a_copy(line: Line, liar: Liar, eve: Liar, follower: ServerInfo, lies: list[Message]) -> None:
    """Have the follower bind a link, and lie over it; another one may not even come near it."""
    told = line.ask(LinkAsk(limits.PROTOCOL, DEFAULT_SERVICE, "p", liar.server, liar.permit))
    assert isinstance(told, LinkAt), told
    with eve.copy(told.endpoints[0], follower.key) as wrong, liar.copy(told.endpoints[0], follower.key) as copy:
        for lie in lies:
            wrong.say_if_heard(lie)
            copy.say_if_heard(lie)
        answer = copy.hear(0.3)
        assert isinstance(answer, Decline | Outdated | None), answer
        assert not wrong.socket.poll(0)
