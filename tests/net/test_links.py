"""Real sockets on loopback: what links deliver, refuse, survive and close."""

import asyncio
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import zmq
import zmq.asyncio
from hypothesis import given
from hypothesis import strategies as st

from runtime.links import SPECS, LinkError, connects_to_itself, pack_envelope, unpack_envelope
from tests.support.conversations import DEADLINE_S, conversation
from tests.support.link_ends import HTTP_GET, TLS_HELLO, LinkEnd, closing, held_endpoint, hold_port, raw_socket
from wire import codec, limits
from wire.messages import (
    Done,
    Fetched,
    Have,
    Heartbeat,
    Ping,
    Pong,
    Posts,
    Published,
    Resolve,
    TalkBye,
    TalkPing,
    TalkPong,
    Withdraw,
)
from wire.names import LinkId
from wire.step import (
    CloseLink,
    Garbled,
    LinkBound,
    LinkDown,
    LinkKind,
    LinkUp,
    OpenLink,
    Received,
    SendRefused,
    Subscribed,
)

Conversation = Callable[[], Coroutine[Any, Any, None]]


class End(LinkEnd):
    """One process's links, without keys."""

    async def bind(self, link: str, kind: LinkKind, topic: str = "", endpoint: str = "") -> str:
        """Open a BIND link; returns its endpoint."""
        self.links.perform(OpenLink(LinkId(link), kind, endpoint=endpoint, topic=topic))
        bound = await self.next(LinkBound, link)
        return bound.endpoints[0]

    def connect(self, link: str, kind: LinkKind, endpoint: str, topic: str = "") -> None:
        self.links.perform(OpenLink(LinkId(link), kind, endpoint=endpoint, topic=topic))

    def close_link(self, link: str, linger_ms: int = 0) -> None:
        self.links.perform(CloseLink(LinkId(link), linger_ms))


def ends(count: int) -> AbstractAsyncContextManager[list[End]]:
    return closing([End() for _ in range(count)])


def port_of(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2])


async def throw_at(endpoint: str, data: bytes) -> None:
    """What a scanner does: connect by TCP, send bytes, read whatever comes, leave."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(endpoint))
    writer.write(data)
    await writer.drain()
    await reader.read(1)  # at least the greeting
    writer.close()
    await writer.wait_closed()


# --- each pair of kinds --------------------------------------------------------------------------------------------


@conversation
async def test_a_client_half_and_a_server_half_exchange_messages() -> None:
    async with ends(2) as (server, client):
        endpoint = await server.bind("room", LinkKind.ROOM_BIND)
        client.connect("room-1", LinkKind.ROOM_CONNECT, endpoint)
        client.send("room-1", Ping(7))
        received = await server.next(Received, "room")
        assert received.message == Ping(7)
        server.send("room", Pong(7, 1), received.sender)
        answer = await client.next(Received, "room-1")
        assert answer == Received(LinkId("room-1"), Pong(7, 1))


@conversation
async def test_what_is_sent_before_the_connection_stands_arrives_in_order() -> None:
    async with ends(2) as (server, client):
        endpoint = await server.bind("room", LinkKind.ROOM_BIND)
        client.connect("room-1", LinkKind.ROOM_CONNECT, endpoint)
        for ask in range(20):
            client.send("room-1", Ping(ask))
        await server.until(lambda: len(server.told) == 20)
        assert [each.message for each in server.told if isinstance(each, Received)] == [Ping(ask) for ask in range(20)]


@conversation
async def test_zdns_answers_each_asker_in_the_envelope_it_came_in() -> None:
    async with ends(3) as (zdns, first, second):
        endpoint = await zdns.bind("port", LinkKind.DNS_BIND, endpoint="127.0.0.1:0")
        for asker, ask in ((first, 1), (second, 2)):
            asker.connect("zdns-1", LinkKind.DNS_ASK, endpoint)
            asker.send("zdns-1", Resolve(ask, limits.PROTOCOL, "tea"))
        asked = [await zdns.next(Received, "port"), await zdns.next(Received, "port")]
        for request in reversed(asked):
            assert isinstance(request.message, Resolve)
            zdns.send("port", Done(request.message.ask), request.sender)
        assert (await first.next(Received, "zdns-1")).message == Done(1)
        assert (await second.next(Received, "zdns-1")).message == Done(2)


@conversation
async def test_the_answer_to_an_abandoned_request_is_not_taken_for_the_next() -> None:
    async with ends(2) as (zdns, asker):
        endpoint = await zdns.bind("port", LinkKind.DNS_BIND, endpoint="tcp://127.0.0.1:0")
        asker.connect("zdns-1", LinkKind.DNS_ASK, endpoint)
        asker.send("zdns-1", Resolve(1, limits.PROTOCOL, "tea"))
        late = await zdns.next(Received, "port")
        asker.send("zdns-1", Resolve(2, limits.PROTOCOL, "tea"))
        timely = await zdns.next(Received, "port")
        zdns.send("port", Done(1), late.sender)
        zdns.send("port", Done(2), timely.sender)
        assert (await asker.next(Received, "zdns-1")).message == Done(2)
        assert asker.told == []


@conversation
async def test_a_reader_gets_the_feed_of_its_topic_alone() -> None:
    async with ends(2) as (server, client):
        feeds = {topic: await server.bind(f"feed-{topic}", LinkKind.FEED_BIND, topic) for topic in ("tea", "teapot")}
        client.connect("feed", LinkKind.FEED_CONNECT, feeds["tea"], "tea")
        client.connect("stray", LinkKind.FEED_CONNECT, feeds["teapot"], "tea")
        await server.next(Subscribed, "feed-tea")
        await client.next(LinkUp, "stray")
        published = Published(epoch=1, first=4, count=1, block=b"entries")
        server.send("feed-teapot", published)
        server.send("feed-tea", published)
        assert await client.next(Received, "feed") == Received(LinkId("feed"), published)
        assert not [each for each in client.told if isinstance(each, Received)]


@conversation
async def test_each_reader_is_announced_though_another_has_the_topic_already() -> None:
    async with ends(3) as (server, first, second):
        endpoint = await server.bind("feed", LinkKind.FEED_BIND, "tea")
        first.connect("f", LinkKind.FEED_CONNECT, endpoint, "tea")
        await server.next(Subscribed, "feed")
        second.connect("f", LinkKind.FEED_CONNECT, endpoint, "tea")
        await server.next(Subscribed, "feed")
        server.send("feed", Heartbeat(1, 0, 0, True, -1))
        for reader in (first, second):
            assert isinstance((await reader.next(Received, "f")).message, Heartbeat)


@pytest.mark.parametrize(
    ("bind", "connect", "down", "up"),
    [
        (LinkKind.COPY_BIND, LinkKind.COPY_CONNECT, Withdraw("p", "no"), Have("p", 1, 2)),
        (LinkKind.TALK_BIND, LinkKind.TALK_CONNECT, TalkPing(1), TalkPong(1)),
    ],
)
@conversation
async def test_both_ends_of_a_single_use_link_hear_that_it_stands(
    bind: LinkKind, connect: LinkKind, down: Any, up: Any
) -> None:
    async with ends(2) as (binder, caller):
        endpoint = await binder.bind("b", bind)
        caller.connect("c", connect, endpoint)
        await binder.next(LinkUp, "b")
        await caller.next(LinkUp, "c")
        caller.send("c", down)
        binder.send("b", up)
        assert (await binder.next(Received, "b")).message == down
        assert (await caller.next(Received, "c")).message == up


# --- sending -------------------------------------------------------------------------------------------------------


@conversation
async def test_a_message_to_an_unknown_peer_is_refused_and_others_are_served() -> None:
    async with ends(2) as (server, client):
        endpoint = await server.bind("room", LinkKind.ROOM_BIND)
        client.connect("room-1", LinkKind.ROOM_CONNECT, endpoint)
        client.send("room-1", Ping(1))
        known = (await server.next(Received, "room")).sender
        server.send("room", Pong(1, 1), b"\0nobody")
        server.send("room", Pong(1, 1), b"")
        server.send("room", Pong(2, 1), known)
        refused = await server.next(SendRefused, "room")
        assert (refused.message, refused.to) == (Pong(1, 1), b"\0nobody")
        assert (await server.next(SendRefused, "room")).to == b""
        assert (await client.next(Received, "room-1")).message == Pong(2, 1)


@conversation
async def test_a_peer_that_reads_nothing_is_refused_more_while_another_is_served() -> None:
    async with ends(2) as (server, client), raw_socket(zmq.DEALER) as stuck:
        endpoint = await server.bind("room", LinkKind.ROOM_BIND)
        stuck.rcvhwm = 1
        stuck.connect(endpoint)
        await stuck.send(codec.encode(Ping(1))[0])
        stuck_id = (await server.next(Received, "room")).sender
        client.connect("room-1", LinkKind.ROOM_CONNECT, endpoint)
        client.send("room-1", Ping(2))
        client_id = (await server.next(Received, "room")).sender
        big = Published(epoch=1, first=1, count=1, block=bytes(64 * limits.KIB))
        for _ in range(4_000):
            server.send("room", big, stuck_id)
            if server.told:
                break
        assert (await server.next(SendRefused, "room")).to == stuck_id
        server.send("room", Pong(2, 1), client_id)
        assert (await client.next(Received, "room-1")).message == Pong(2, 1)


@conversation
async def test_what_a_link_cannot_hold_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as black_hole:  # accepts, says nothing
        async with ends(1) as (client,):
            client.connect("room-1", LinkKind.ROOM_CONNECT, f"tcp://127.0.0.1:{black_hole.getsockname()[1]}")
            hwm = dict(SPECS[LinkKind.ROOM_CONNECT].options)[zmq.SNDHWM]
            for ask in range(limits.LINK_QUEUE_MAX + hwm + 1):
                client.send("room-1", Ping(ask))
            refused = await client.next(SendRefused, "room-1")
            assert isinstance(refused.message, Ping)
            assert limits.LINK_QUEUE_MAX <= refused.message.ask <= limits.LINK_QUEUE_MAX + hwm


@conversation
async def test_what_a_server_said_before_it_went_is_heard_though_nobody_read_it_yet() -> None:
    async with ends(2) as (server, client):
        endpoint = await server.bind("room", LinkKind.ROOM_BIND)
        client.connect("room-1", LinkKind.ROOM_CONNECT, endpoint)
        client.send("room-1", Ping(0))
        route = (await server.next(Received, "room")).sender
        for ask in range(260):
            server.send("room", Fetched(ask, 1, 0, 0, b"\xdd\0\0\0\0"), route)
        server.close_link("room", linger_ms=30_000)
        await client.next(LinkDown, "room-1")
        assert sum(isinstance(event, Received) for event in client.told) == 260


@conversation
async def test_sending_on_a_closed_link_is_refused_and_closing_it_again_is_nothing() -> None:
    async with ends(1) as (end,):
        await end.bind("b", LinkKind.TALK_BIND)
        end.close_link("b")
        end.close_link("b")
        end.send("b", TalkBye())
        assert (await end.next(SendRefused, "b")).message == TalkBye()


@conversation
async def test_a_slow_reader_blocks_nobody() -> None:
    async with ends(2) as (server, client), raw_socket(zmq.SUB) as slow:
        endpoint = await server.bind("feed", LinkKind.FEED_BIND, "tea")
        slow.rcvhwm = 1
        slow.subscribe(b"tea")
        slow.connect(endpoint)
        await server.next(Subscribed, "feed")
        client.connect("f", LinkKind.FEED_CONNECT, endpoint, "tea")
        await client.next(LinkUp, "f")
        await server.next(Subscribed, "feed")
        block = bytes(16 * limits.KIB)
        sent = dict(SPECS[LinkKind.FEED_BIND].options)[zmq.SNDHWM] + 2_000
        for number in range(sent):
            server.send("feed", Published(epoch=1, first=number, count=1, block=block))
            # This one keeps up. Both share a loop, so it must be given its turns: one far behind misses some as well.
            await client.until(lambda number=number: len(client.told) > number - 50)  # type: ignore[misc]  # bound for the loop
        server.send("feed", Heartbeat(9, 9, 9, True, -1))
        await client.until(lambda: len(client.told) > sent)
        *blocks, heartbeat = [each.message for each in client.told if isinstance(each, Received)]
        assert [each.first for each in blocks if isinstance(each, Published)] == list(range(sent))
        assert isinstance(heartbeat, Heartbeat)
        assert not [each for each in server.told if isinstance(each, SendRefused)]


# --- receiving -----------------------------------------------------------------------------------------------------


@conversation
async def test_a_burst_larger_than_one_turn_takes_arrives_whole() -> None:
    burst = 10 * limits.DRAIN_MESSAGES + 3
    async with ends(2) as (server, client):
        endpoint = await server.bind("room", LinkKind.ROOM_BIND)
        client.connect("room-1", LinkKind.ROOM_CONNECT, endpoint)
        await client.next(LinkUp, "room-1")
        for ask in range(burst):
            client.send("room-1", Ping(ask))
        await server.until(lambda: len(server.told) == burst)
        assert [each.message for each in server.told if isinstance(each, Received)] == [Ping(n) for n in range(burst)]


@conversation
async def test_answers_sent_from_both_sides_at_once_are_all_heard() -> None:
    # Each send may eat the edge by which the loop would have learnt of what has come.
    rounds = 2_000
    async with ends(2) as (server, client):
        endpoint = await server.bind("b", LinkKind.COPY_BIND)
        client.connect("c", LinkKind.COPY_CONNECT, endpoint)
        await server.next(LinkUp, "b")
        await client.next(LinkUp, "c")
        for number in range(rounds):
            client.send("c", Withdraw("p", str(number)))
            server.send("b", Have("p", 1, number))
            if number % 64 == 0:
                await asyncio.sleep(0)
        await server.until(lambda: len(server.told) == rounds)
        await client.until(lambda: len(client.told) == rounds)
        assert [each.message for each in client.told if isinstance(each, Received)] == [
            Have("p", 1, number) for number in range(rounds)
        ]


@conversation
async def test_last_words_are_heard_before_the_link_is_down() -> None:
    async with ends(2) as (binder, caller):
        endpoint = await binder.bind("b", LinkKind.COPY_BIND)
        caller.connect("c", LinkKind.COPY_CONNECT, endpoint)
        await binder.next(LinkUp, "b")
        await caller.next(LinkUp, "c")
        words = 3 * limits.DRAIN_MESSAGES
        for number in range(words):
            caller.send("c", Withdraw("p", str(number)))
        caller.close_link("c", linger_ms=1_000)
        await binder.until(lambda: bool(binder.told) and isinstance(binder.told[-1], LinkDown))
        assert len(binder.told) == words + 1


@pytest.mark.parametrize("junk", [HTTP_GET, TLS_HELLO, random.Random(7).randbytes(4_000), b"\x01\x00" * 500])
@pytest.mark.parametrize("kind", [LinkKind.ROOM_BIND, LinkKind.DNS_BIND, LinkKind.FEED_BIND])
@conversation
async def test_junk_at_a_servers_port_harms_nobody(kind: LinkKind, junk: bytes) -> None:
    async with ends(2) as (server, client):
        endpoint = await server.bind("port", kind, "tea", endpoint="127.0.0.1:0")
        await throw_at(endpoint, junk)
        if kind is LinkKind.FEED_BIND:
            client.connect("c", LinkKind.FEED_CONNECT, endpoint, "tea")
            await server.next(Subscribed, "port")
        elif kind is LinkKind.ROOM_BIND:
            client.connect("c", LinkKind.ROOM_CONNECT, endpoint)
            client.send("c", Ping(1))
            assert (await server.next(Received, "port")).message == Ping(1)
        else:
            client.connect("c", LinkKind.DNS_ASK, endpoint)
            client.send("c", Resolve(1, limits.PROTOCOL, "tea"))
            assert (await server.next(Received, "port")).message == Resolve(1, limits.PROTOCOL, "tea")


@pytest.mark.parametrize("junk", [HTTP_GET, TLS_HELLO, b"\x01\x00" * 500])
@conversation
async def test_a_scanner_at_the_port_of_a_talk_brings_the_link_down_so_that_it_is_dialled_anew(junk: bytes) -> None:
    async with ends(1) as (binder,):
        endpoint = await binder.bind("b", LinkKind.TALK_BIND)
        await throw_at(endpoint, junk)
        assert await binder.next(LinkDown, "b") == LinkDown(LinkId("b"), "a stranger came first")
        binder.send("b", TalkBye())
        await binder.next(SendRefused, "b")


@conversation
async def test_a_scanner_does_not_disturb_a_talk_that_stands() -> None:
    async with ends(2) as (binder, caller):
        endpoint = await binder.bind("b", LinkKind.TALK_BIND)
        caller.connect("c", LinkKind.TALK_CONNECT, endpoint)
        await binder.next(LinkUp, "b")
        await caller.next(LinkUp, "c")
        await throw_at(endpoint, HTTP_GET)
        caller.send("c", TalkPing(1))
        assert (await binder.next(Received, "b")).message == TalkPing(1)
        assert binder.told == []


@conversation
async def test_a_second_peer_at_a_followers_port_brings_the_link_down() -> None:
    async with ends(3) as (binder, caller, stranger):
        endpoint = await binder.bind("b", LinkKind.COPY_BIND)
        caller.connect("c", LinkKind.COPY_CONNECT, endpoint)
        await binder.next(LinkUp, "b")
        stranger.connect("s", LinkKind.COPY_CONNECT, endpoint)
        assert (await binder.next(LinkDown, "b")).why == "somebody else connected as well"


@pytest.mark.parametrize(
    ("kind", "answered"),
    [(LinkKind.ROOM_BIND, True), (LinkKind.TALK_BIND, False), (LinkKind.COPY_BIND, False)],
)
@conversation
async def test_a_message_of_fifty_frames_is_dropped_and_the_next_is_read(kind: LinkKind, answered: bool) -> None:
    sound = {
        LinkKind.ROOM_BIND: Ping(1),
        LinkKind.TALK_BIND: TalkPing(1),
        LinkKind.COPY_BIND: Withdraw("p", "no"),
    }[kind]
    async with ends(1) as (binder,), raw_socket(zmq.PAIR if kind is LinkKind.TALK_BIND else zmq.DEALER) as peer:
        peer.connect(await binder.bind("b", kind))
        await peer.send_multipart([b"frame"] * 50)
        await peer.send_multipart([b""] * 3_000)
        await peer.send_multipart(codec.encode(sound))
        assert (await binder.next(Received, "b")).message == sound
        assert binder.links.counters[LinkId("b")].garbled == 2
        assert bool([each for each in binder.told if isinstance(each, Garbled)]) is answered


@conversation
async def test_a_garbled_message_is_told_with_its_sender_who_can_be_answered() -> None:
    async with ends(1) as (server,), raw_socket(zmq.DEALER) as peer:
        peer.connect(await server.bind("room", LinkKind.ROOM_BIND))
        await peer.send(b"\xc1 is no MessagePack")
        garbled = await server.next(Garbled, "room")
        assert 0 < len(garbled.why) <= limits.MESSAGE_CHARS_MAX
        server.send("room", Done(0), garbled.sender)
        assert codec.decode(await asyncio.wait_for(peer.recv_multipart(), DEADLINE_S), Done) == Done(0)


@conversation
async def test_a_garbled_request_to_zdns_is_answered_in_its_envelope_or_not_at_all() -> None:
    async with ends(1) as (zdns,), raw_socket(zmq.DEALER) as peer:
        peer.connect(await zdns.bind("port", LinkKind.DNS_BIND, endpoint="127.0.0.1:0"))
        await peer.send_multipart([b"no envelope"])
        await peer.send_multipart([bytes(600), b"", b"an envelope too large"])
        await peer.send_multipart([b"ask1", b"", b"nonsense"])
        garbled = await zdns.next(Garbled, "port")
        zdns.send("port", Done(0), garbled.sender)
        answer = await asyncio.wait_for(peer.recv_multipart(), DEADLINE_S)
        assert answer[:2] == [b"ask1", b""]
        assert codec.decode(answer[2:], Done) == Done(0)
        assert zdns.told == []
        assert zdns.links.counters[LinkId("port")].garbled == 3


@conversation
async def test_a_frame_over_the_limit_costs_its_sender_the_connection_and_nobody_else_anything() -> None:
    async with ends(2) as (server, client), raw_socket(zmq.DEALER) as peer:
        endpoint = await server.bind("room", LinkKind.ROOM_BIND)
        peer.connect(endpoint)
        monitor = peer.get_monitor_socket(int(zmq.EVENT_DISCONNECTED))
        await peer.send(bytes(limits.FRAME_BYTES_MAX + 1))
        await asyncio.wait_for(monitor.recv_multipart(), DEADLINE_S)
        peer.disable_monitor()
        monitor.close(0)
        client.connect("room-1", LinkKind.ROOM_CONNECT, endpoint)
        client.send("room-1", Posts(1, ("hello",)))
        assert (await server.next(Received, "room")).message == Posts(1, ("hello",))
        assert server.told == []


# --- connections ---------------------------------------------------------------------------------------------------


@conversation
async def test_a_refused_connection_is_told_once_an_outage_and_its_return_too() -> None:
    with hold_port() as holder:
        await goes_and_comes_back(held_endpoint(holder))


async def goes_and_comes_back(endpoint: str) -> None:
    async with ends(1) as (client,):
        client.connect("room-1", LinkKind.ROOM_CONNECT, endpoint)
        await client.until(lambda: len(client.told) == 1)
        for outage in (1, 2):
            async with raw_socket(zmq.ROUTER) as server:
                server.bind(endpoint)
                await client.until(lambda outage=outage: len(client.told) == 2 * outage)  # type: ignore[misc]  # bound for the loop
            await client.until(lambda outage=outage: len(client.told) == 2 * outage + 1)  # type: ignore[misc]  # bound for the loop
        assert [type(each) for each in client.told] == [LinkDown, LinkUp, LinkDown, LinkUp, LinkDown]


@pytest.mark.parametrize("kind", [LinkKind.COPY_CONNECT, LinkKind.TALK_CONNECT])
@conversation
async def test_a_single_use_link_to_nobody_is_down_and_sends_nothing(kind: LinkKind) -> None:
    async with ends(1) as (caller,):
        with hold_port() as holder:
            caller.connect("c", kind, held_endpoint(holder))
            await caller.until(lambda: bool(caller.told))
        assert (await caller.next(LinkDown, "c")).why == "the connection could not be made"
        caller.send("c", TalkBye())
        assert (await caller.next(SendRefused, "c")).why == "the connection broke"


@conversation
async def test_a_talk_belongs_to_the_first_caller_and_is_over_when_that_one_leaves() -> None:
    async with ends(3) as (binder, first, second):
        endpoint = await binder.bind("b", LinkKind.TALK_BIND)
        first.connect("c", LinkKind.TALK_CONNECT, endpoint)
        await binder.next(LinkUp, "b")
        second.connect("c", LinkKind.TALK_CONNECT, endpoint)
        await second.next(LinkUp, "c")  # that is what ZeroMQ believes
        second.send("c", TalkPing(2))
        first.send("c", TalkPing(1))
        assert (await binder.next(Received, "b")).message == TalkPing(1)
        first.close_link("c")
        assert (await binder.next(LinkDown, "b")).why == "the connection broke"
        binder.send("b", TalkBye())
        await binder.next(SendRefused, "b")
        assert binder.told == []


DIALS = """
import asyncio, sys
from runtime.links import Links
from wire.step import LinkKind, OpenLink

async def main():
    links = Links(bind_host="127.0.0.1", advertise_host="127.0.0.1", deliver=lambda event: None)
    links.perform(OpenLink("c", LinkKind.COPY_CONNECT, endpoint=sys.argv[1]))
    await asyncio.Event().wait()

asyncio.run(main())
"""


@conversation
async def test_the_death_of_the_other_process_is_noticed_at_once() -> None:
    async with ends(1) as (binder,):
        endpoint = await binder.bind("b", LinkKind.COPY_BIND)
        with subprocess.Popen([sys.executable, "-c", DIALS, endpoint]) as other:
            try:
                await binder.next(LinkUp, "b")
            finally:
                other.kill()
            assert (await binder.next(LinkDown, "b")).why == "the connection broke"


@pytest.mark.parametrize(
    "endpoint",
    ["", "nonsense", "tcp://127.0.0.1", "tcp://127.0.0.1:99999", "inproc://monitor-1", "ipc:///tmp/x", "tcp://a b:1"],
)
@conversation
async def test_an_address_from_outside_that_is_none_is_a_link_that_is_down(endpoint: str) -> None:
    async with ends(1) as (caller,):
        for kind in (LinkKind.TALK_CONNECT, LinkKind.ROOM_CONNECT, LinkKind.FEED_CONNECT, LinkKind.DNS_ASK):
            caller.connect(kind.name, kind, endpoint)
            assert "cannot connect" in (await caller.next(LinkDown, kind.name)).why


@conversation
async def test_a_server_whose_port_is_taken_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with ends(1) as (zdns,):
            port = taken.getsockname()[1]
            with pytest.raises(LinkError, match=rf"cannot bind 'tcp://127.0.0.1:{port}': Address already in use"):
                zdns.links.perform(OpenLink(LinkId("port"), LinkKind.DNS_BIND, endpoint=f"127.0.0.1:{port}"))


@conversation
async def test_a_link_opened_twice_is_a_bug_of_the_core() -> None:
    async with ends(1) as (end,):
        await end.bind("b", LinkKind.TALK_BIND)
        with pytest.raises(LinkError, match="open already"):
            end.links.perform(OpenLink(LinkId("b"), LinkKind.TALK_BIND))


def test_a_connection_to_its_own_port_is_recognised() -> None:
    with socket.socket() as lonely:
        lonely.bind(("127.0.0.1", 0))
        lonely.connect(lonely.getsockname())
        assert connects_to_itself(lonely.fileno())
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert not connects_to_itself(client.fileno())


# --- closing, counting, options ------------------------------------------------------------------------------------


@conversation
async def test_closing_ends_in_time_though_messages_are_undelivered() -> None:
    async with raw_socket(zmq.ROUTER) as stuck:
        stuck.rcvhwm = 1
        port = stuck.bind_to_random_port("tcp://127.0.0.1")
        end = End()
        endpoint = await end.bind("b", LinkKind.TALK_BIND)
        end.connect("room-1", LinkKind.ROOM_CONNECT, f"tcp://127.0.0.1:{port}")
        end.connect("m", LinkKind.COPY_CONNECT, endpoint.replace("127.0.0.1", "127.0.0.2"))
        await end.next(LinkUp, "room-1")
        for number in range(1, 2_000):
            end.send("room-1", Posts(number, ("x" * 8_000,)))
            end.send("m", Have("p", 1, number))
        began = time.monotonic()
        await end.links.close()
        assert time.monotonic() - began < 5 * limits.STOP_MS / 1000, "without a bound it would never end"


@conversation
async def test_what_was_sent_just_before_the_end_still_leaves() -> None:
    async with ends(2) as (server, client):
        endpoint = await server.bind("room", LinkKind.ROOM_BIND)
        client.connect("room-1", LinkKind.ROOM_CONNECT, endpoint)
        await client.next(LinkUp, "room-1")
        client.send("room-1", Ping(1))
        await client.links.close()
        assert (await server.next(Received, "room")).message == Ping(1)


@conversation
async def test_links_can_be_used_again_after_all_were_closed() -> None:
    for _ in range(3):
        async with ends(1) as (end,):
            assert (await end.bind("b", LinkKind.ROOM_BIND)).startswith("tcp://127.0.0.1:")


@conversation
async def test_messages_and_bytes_are_counted() -> None:
    async with ends(2) as (server, client):
        endpoint = await server.bind("room", LinkKind.ROOM_BIND)
        client.connect("room-1", LinkKind.ROOM_CONNECT, endpoint)
        for ask in range(3):
            client.send("room-1", Ping(ask))
            await server.next(Received, "room")
        size = 3 * len(codec.encode(Ping(0))[0])
        sent, received = client.links.counters[LinkId("room-1")], server.links.counters[LinkId("room")]
        assert (sent.messages_out, sent.bytes_out) == (3, size)
        assert (received.messages_in, received.bytes_in) == (3, size)
        assert (received.dropped, received.garbled) == (0, 0)


@pytest.mark.parametrize("kind", list(LinkKind))
def test_nothing_that_bounds_a_socket_is_left_to_chance(kind: LinkKind) -> None:
    options = dict(SPECS[kind].options)
    bounds = {zmq.MAXMSGSIZE, zmq.SNDHWM, zmq.RCVHWM, zmq.LINGER, zmq.HANDSHAKE_IVL, zmq.HEARTBEAT_IVL}
    assert bounds <= options.keys()
    assert options[zmq.LINGER] == 0
    assert SPECS[kind].stop_linger_ms < limits.STOP_MS
    assert SPECS[kind].single_use == (options.get(zmq.RECONNECT_IVL) == -1)
    assert SPECS[kind].binds == (options[zmq.HEARTBEAT_IVL] == 0)


DROWNED = """
import os, sys, time, zmq
from runtime.links import SPECS
from wire.step import LinkKind

spec = SPECS[LinkKind[sys.argv[1]]]
bound = zmq.Context().socket(spec.socket_type)
for option, value in spec.options:
    bound.setsockopt(option, value)
port = bound.bind_to_random_port("tcp://127.0.0.1")
if os.fork() == 0:
    crowd = zmq.Context()
    flood = crowd.socket(zmq.PAIR if spec.socket_type == zmq.PAIR else zmq.DEALER)
    flood.sndhwm = 0
    flood.connect(f"tcp://127.0.0.1:{port}")
    for _ in range(4 * bound.rcvhwm):
        flood.send(bytes(100))
    time.sleep(1)
    os._exit(0)
time.sleep(5)  # busy for longer than there is between two pings
assert bound.poll(30_000)
print("alive")
"""


@pytest.mark.parametrize("kind", [LinkKind.DNS_BIND, LinkKind.ROOM_BIND, LinkKind.COPY_BIND, LinkKind.TALK_BIND])
def test_whoever_fills_the_queue_of_a_busy_process_and_goes_does_not_take_it_along(kind: LinkKind) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", DROWNED, kind.name], capture_output=True, text=True, timeout=100, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, "alive\n"), ran.stderr


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_an_envelope_survives_being_packed(frames: list[bytes]) -> None:
    assert unpack_envelope(pack_envelope(frames)) == frames


@pytest.mark.parametrize("sender", [b"\0", b"\0\5ab", b"\0\1a\0"])
def test_a_sender_that_was_never_packed_is_an_error(sender: bytes) -> None:
    with pytest.raises(ValueError, match="an envelope ends"):
        unpack_envelope(sender)


@pytest.mark.parametrize("endpoint", ["tcp://localhost:9", "tcp://example.org:9", "tcp://1:9", "tcp://0x7f.1:9"])
@conversation
async def test_where_others_send_us_is_a_numeric_address_or_nowhere(endpoint: str) -> None:
    async with ends(1) as (end,):
        end.connect("room-1", LinkKind.ROOM_CONNECT, endpoint)
        assert "numeric" in (await end.next(LinkDown, "room-1")).why
