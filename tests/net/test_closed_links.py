"""Real sockets of a closed network on loopback: who gets in, who is turned away, and how each end hears of it."""

import asyncio
import os
import random
import socket
from contextlib import AbstractAsyncContextManager, suppress

import pytest
import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from runtime import frames
from runtime.links import LinkError, Links
from runtime.peers import Peers
from runtime.shared_context import shared_context
from runtime.zap import Policy, Verdict
from runtime.zap_handler import ZapHandler
from tests.support.conversations import DEADLINE_S, conversation
from tests.support.link_ends import HTTP_GET, TLS_HELLO, LinkEnd, closing, held_endpoint, hold_port, raw_socket
from wire import codec, limits
from wire.identity import KeyPair
from wire.messages import (
    Done,
    Have,
    Heartbeat,
    Message,
    Ping,
    Pong,
    Resolve,
    TalkPing,
    TalkPong,
    Withdraw,
)
from wire.names import LinkId
from wire.step import (
    Allow,
    CloseLink,
    Expel,
    LinkBound,
    LinkDown,
    LinkKind,
    LinkUp,
    OpenLink,
    Received,
    SendRefused,
    Subscribed,
)

OLD_PEER = b"\x01\x00" * 500  # what libzmq takes for a peer of its first version
BROKEN_CURVE = b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE" + bytes(15 + 32) + b"\x04\xc8\x05HELLO" + bytes(194)
JUNK = [HTTP_GET, TLS_HELLO, OLD_PEER, BROKEN_CURVE, random.Random(7).randbytes(4_000)]

PAIRED = {
    LinkKind.DNS_BIND: LinkKind.DNS_ASK,
    LinkKind.ROOM_BIND: LinkKind.ROOM_CONNECT,
    LinkKind.FEED_BIND: LinkKind.FEED_CONNECT,
    LinkKind.COPY_BIND: LinkKind.COPY_CONNECT,
    LinkKind.TALK_BIND: LinkKind.TALK_CONNECT,
}
ONE_PEER = (LinkKind.COPY_BIND, LinkKind.TALK_BIND)
RAW_TYPES = {
    LinkKind.DNS_BIND: zmq.REQ,
    LinkKind.ROOM_BIND: zmq.DEALER,
    LinkKind.FEED_BIND: zmq.SUB,
    LinkKind.COPY_BIND: zmq.DEALER,
    LinkKind.TALK_BIND: zmq.PAIR,
}
# What the connecting end says, and what the other one answers.
WORDS: dict[LinkKind, tuple[Message, Message]] = {
    LinkKind.DNS_BIND: (Resolve(1, limits.PROTOCOL, "tea"), Done(1)),
    LinkKind.ROOM_BIND: (Ping(1), Pong(1, 1)),
    LinkKind.COPY_BIND: (Withdraw("p", "no"), Have("p", 1, 2)),
    LinkKind.TALK_BIND: (TalkPing(1), TalkPong(1)),
}
every_kind = pytest.mark.parametrize("kind", list(PAIRED))


def new_keys() -> KeyPair:
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


class End(LinkEnd):
    """One participant's links, with keys of its own, or in the open."""

    def __init__(self, *, closed: bool = True) -> None:
        self.keys = new_keys() if closed else None
        super().__init__(self.keys)

    @property
    def key(self) -> str:
        return self.keys.public if self.keys is not None else ""

    async def bind(self, kind: LinkKind, peer: str = "", link: str = "b") -> str:
        """Open a BIND link; returns its endpoint."""
        endpoint = "127.0.0.1:0" if kind is LinkKind.DNS_BIND else ""
        self.links.perform(OpenLink(LinkId(link), kind, endpoint=endpoint, topic="tea", key=peer))
        return (await self.next(LinkBound, link)).endpoints[0]

    def connect(self, kind: LinkKind, endpoint: str, server: str, link: str = "c") -> None:
        """Open the CONNECT link that goes with a BIND kind."""
        self.links.perform(OpenLink(LinkId(link), PAIRED[kind], endpoint=endpoint, topic="tea", key=server))

    def allow(self, key: str) -> None:
        self.links.perform(Allow(LinkId("b"), key))

    def expel(self, key: str) -> None:
        self.links.perform(Expel(LinkId("b"), key))


def ends(count: int, *, closed: bool = True) -> AbstractAsyncContextManager[list[End]]:
    return closing([End(closed=closed) for _ in range(count)])


async def fails_to_shake_hands(stranger: zmq.asyncio.Socket, endpoint: str) -> None:
    """Connect, and wait until the handshake has failed."""
    monitor = stranger.get_monitor_socket(
        zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
        | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        | zmq.EVENT_HANDSHAKE_SUCCEEDED
        | zmq.EVENT_DISCONNECTED
    )
    stranger.connect(endpoint)
    told = await asyncio.wait_for(recv_monitor_message(monitor), DEADLINE_S)
    assert told["event"] != zmq.EVENT_HANDSHAKE_SUCCEEDED
    stranger.disable_monitor()
    monitor.close(0)


def port_of(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2])


async def throw_at(endpoint: str, data: bytes) -> None:
    """What a scanner does: connect by TCP, send bytes, wait until it is cut off."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(endpoint))
    try:
        writer.write(data)
        await writer.drain()
        while await reader.read(4_096):
            pass
    except ConnectionError:
        pass
    writer.close()


async def talks(kind: LinkKind, server: End, client: End) -> None:
    """See that the links "b" and "c" carry what they are for, and whose key the server hears."""
    if kind is LinkKind.FEED_BIND:
        await server.next(Subscribed, "b")
        server.send("b", Heartbeat(1, 0, 0, True, -1))
        assert (await client.next(Received, "c")).message == Heartbeat(1, 0, 0, True, -1)
        return
    question, answer = WORDS[kind]
    client.send("c", question)
    received = await server.next(Received, "b")
    assert received.message == question
    assert received.key == ("" if kind in ONE_PEER else client.key)
    server.send("b", answer, received.sender)
    assert (await client.next(Received, "c")).message == answer


async def bound_for(kind: LinkKind, server: End, client: End) -> str:
    """Bind a link that lets `client` in; returns its endpoint."""
    endpoint = await server.bind(kind, client.key if kind in ONE_PEER else "")
    server.allow(client.key)
    return endpoint


# --- who is let in -------------------------------------------------------------------------------------------------


@every_kind
@conversation
async def test_each_kind_pairs_up_and_the_server_hears_whose_key_it_was(kind: LinkKind) -> None:
    async with ends(2) as (server, client):
        client.connect(kind, await bound_for(kind, server, client), server.key)
        await talks(kind, server, client)
        if kind is not LinkKind.DNS_BIND:
            await client.next(LinkUp, "c")
        if kind in ONE_PEER:
            await server.next(LinkUp, "b")
        assert server.told == client.told == []


@conversation
async def test_each_sender_is_heard_under_its_own_key_and_by_the_server_it_meant() -> None:
    async with ends(4) as (first_server, second_server, first, second):
        for server in (first_server, second_server):
            endpoint = await server.bind(LinkKind.ROOM_BIND)
            for client in (first, second):
                client.connect(LinkKind.ROOM_BIND, endpoint, server.key, link=f"c-{server.key}")
                client.send(f"c-{server.key}", Ping(1))
            heard = {(await server.next(Received, "b")).key for _ in (first, second)}
            assert heard == {first.key, second.key}


@conversation
async def test_in_the_open_nobody_has_a_key_and_allowing_or_expelling_is_nothing() -> None:
    async with ends(2, closed=False) as (server, client):
        endpoint = await server.bind(LinkKind.ROOM_BIND)
        server.allow("x")
        server.expel("")
        client.connect(LinkKind.ROOM_BIND, endpoint, "")
        await talks(LinkKind.ROOM_BIND, server, client)


@conversation
async def test_an_open_and_a_closed_network_live_in_one_process() -> None:
    async with ends(2, closed=False) as (open_server, open_client), ends(2) as (server, client):
        open_client.connect(LinkKind.ROOM_BIND, await open_server.bind(LinkKind.ROOM_BIND), "")
        client.connect(LinkKind.ROOM_BIND, await server.bind(LinkKind.ROOM_BIND), server.key)
        await talks(LinkKind.ROOM_BIND, open_server, open_client)
        await talks(LinkKind.ROOM_BIND, server, client)


@conversation
async def test_connections_over_ipv6_are_closed_as_well() -> None:
    server, client = End(), End()
    six = Links(bind_host="::1", advertise_host="::1", deliver=server._deliver, keys=server.keys)
    try:
        try:
            with socket.create_server(("::1", 0), family=socket.AF_INET6):
                pass
        except OSError:
            pytest.skip("no IPv6 here")
        six.perform(OpenLink(LinkId("b"), LinkKind.ROOM_BIND))
        client.connect(LinkKind.ROOM_BIND, (await server.next(LinkBound, "b")).endpoints[0], server.key)
        client.send("c", Ping(1))
        assert (await server.next(Received, "b")).key == client.key
    finally:
        await six.close()
        await server.links.close()
        await client.links.close()


# --- who is not, and how it hears of it ----------------------------------------------------------------------------


async def hears_once_that_it_is_hopeless(client: End, *whys: str) -> None:
    down = await client.next(LinkDown, "c")
    assert down in [LinkDown(LinkId("c"), why, hopeless=True) for why in whys]
    assert client.told == []


@every_kind
@conversation
async def test_who_has_no_ticket_hears_that_it_needs_one(kind: LinkKind) -> None:
    async with ends(1) as (server,), ends(1, closed=False) as (client,):
        client.connect(kind, await server.bind(kind), "")
        await hears_once_that_it_is_hopeless(client, "it is closed: a ticket is needed")
        assert server.told == []


@every_kind
@conversation
async def test_who_has_a_ticket_hears_that_none_is_used_there(kind: LinkKind) -> None:
    async with ends(1, closed=False) as (server,), ends(1) as (client,):
        client.connect(kind, await server.bind(kind), new_keys().public)
        # Both ends hang up; who does so first is a matter of chance.
        likely = "it is open, or is no relevo: no ticket is used there"
        await hears_once_that_it_is_hopeless(client, likely, "whoever answers there has another key, or none")


@every_kind
@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", OLD_PEER, random.Random(8).randbytes(4_000)])
@conversation
async def test_what_answers_and_is_no_relevo_is_told_from_a_connection_that_broke(
    kind: LinkKind, answer: bytes
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await reader.read(1)
        writer.close()

    async with ends(1) as (client,):
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            client.connect(kind, f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", new_keys().public)
            await hears_once_that_it_is_hopeless(client, "it is open, or is no relevo: no ticket is used there")


@pytest.mark.parametrize("kind", ONE_PEER)
@conversation
async def test_a_listener_that_hangs_up_at_once_is_a_connection_that_could_not_be_made(kind: LinkKind) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with ends(1) as (client,):
        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        async with server:
            client.connect(kind, f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", new_keys().public)
            assert not (await client.next(LinkDown, "c")).hopeless


@pytest.mark.parametrize("kind", ONE_PEER)
@conversation
async def test_who_is_another_than_the_expected_one_hears_so(kind: LinkKind) -> None:
    async with ends(2) as (server, client):
        endpoint = await server.bind(kind, new_keys().public)
        client.connect(kind, endpoint, server.key)
        await hears_once_that_it_is_hopeless(client, "it does not let this key in")
        assert server.told == []


@pytest.mark.parametrize("kind", ONE_PEER)
@conversation
async def test_a_link_for_one_peer_whose_key_is_not_said_lets_nobody_in(kind: LinkKind) -> None:
    async with ends(2) as (server, client):
        client.connect(kind, await server.bind(kind), server.key)
        await hears_once_that_it_is_hopeless(client, "it does not let this key in")


@pytest.mark.parametrize("kind", [LinkKind.DNS_BIND, LinkKind.ROOM_BIND, LinkKind.FEED_BIND])
@conversation
async def test_a_server_with_another_key_is_found_out(kind: LinkKind) -> None:
    async with ends(2) as (server, client):
        client.connect(kind, await server.bind(kind), new_keys().public)
        await hears_once_that_it_is_hopeless(client, "whoever answers there has another key, or none")
        assert server.told == []


@pytest.mark.parametrize("kind", ONE_PEER)
@conversation
async def test_a_single_use_link_is_down_at_once_when_the_other_key_is_not_the_expected_one(kind: LinkKind) -> None:
    async with ends(2) as (server, client):
        client.connect(kind, await server.bind(kind, client.key), new_keys().public)
        down = await client.next(LinkDown, "c")
        assert (down.hopeless, client.told, server.told) == (False, [], [])


@every_kind
@pytest.mark.parametrize("key", ["", "x", "é" * 40, "#" * 40, "0" * 41])
@conversation
async def test_without_the_key_of_the_other_end_a_link_is_not_opened(kind: LinkKind, key: str) -> None:
    async with ends(1) as (client,), ends(1) as (server,):
        client.connect(kind, "tcp://127.0.0.1:9", key)
        await hears_once_that_it_is_hopeless(client, "the key of the other end is not known")
        await server.bind(kind, key)  # where nobody has such a key
        server.allow(key)
        server.expel(key)


@conversation
async def test_a_key_that_no_honest_end_can_have_harms_nobody() -> None:
    async with ends(2) as (server, client):
        client.connect(LinkKind.ROOM_BIND, await server.bind(LinkKind.ROOM_BIND), "0" * 40)
        await hears_once_that_it_is_hopeless(client, "whoever answers there has another key, or none")


def test_keys_that_are_none_are_an_error_at_once() -> None:
    async def make() -> None:
        Links(bind_host="127.0.0.1", advertise_host="127.0.0.1", deliver=print, keys=KeyPair("x", "y"))

    with pytest.raises(LinkError, match="malformed"):
        asyncio.run(make())


@conversation
async def test_a_dead_port_of_zdns_is_silence_and_its_return_is_an_answer() -> None:
    with hold_port() as holder:
        await dead_port_comes_to_life(held_endpoint(holder))


async def dead_port_comes_to_life(endpoint: str) -> None:
    async with ends(3) as (zdns, asker, other):
        asker.connect(LinkKind.DNS_BIND, endpoint, zdns.key)
        asker.send("c", WORDS[LinkKind.DNS_BIND][0])
        other.connect(LinkKind.ROOM_BIND, endpoint, zdns.key)
        assert not (await other.next(LinkDown, "c")).hopeless  # by then the asker has been refused as well
        zdns.links.perform(OpenLink(LinkId("b"), LinkKind.DNS_BIND, endpoint=endpoint.removeprefix("tcp://")))
        asked = await zdns.next(Received, "b")
        zdns.send("b", Done(1), asked.sender)
        assert (await asker.next(Received, "c")).message == Done(1)
        assert asker.told == []


# --- kept waiting --------------------------------------------------------------------------------------------------


@conversation
async def test_a_reader_waits_until_it_is_allowed_and_others_need_not_wait_for_it() -> None:
    async with ends(3) as (server, early, known):
        endpoint = await server.bind(LinkKind.FEED_BIND)
        server.allow(known.key)
        early.connect(LinkKind.FEED_BIND, endpoint, server.key)
        known.connect(LinkKind.FEED_BIND, endpoint, server.key)
        await talks(LinkKind.FEED_BIND, server, known)
        assert early.told == []
        server.allow(early.key)
        await early.next(LinkUp, "c")
        await talks(LinkKind.FEED_BIND, server, early)
        assert early.told == []


@conversation
async def test_a_reader_that_is_not_allowed_in_time_is_turned_down() -> None:
    async with ends(2) as (server, client):
        client.connect(LinkKind.FEED_BIND, await server.bind(LinkKind.FEED_BIND), server.key)
        began = asyncio.get_running_loop().time()
        await hears_once_that_it_is_hopeless(client, "it does not let this key in")
        waited_ms = 1_000 * (asyncio.get_running_loop().time() - began)
        assert waited_ms > limits.ADMISSION_WAIT_MS - 100


# --- expelled ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [LinkKind.ROOM_BIND, LinkKind.FEED_BIND])
@conversation
async def test_who_is_expelled_is_cut_off_at_once_and_others_notice_nothing(kind: LinkKind) -> None:
    async with ends(3) as (server, expelled, other):
        endpoint = await server.bind(kind)
        for client in (expelled, other):
            server.allow(client.key)
            client.connect(kind, endpoint, server.key)
            await talks(kind, server, client)
        if kind is LinkKind.FEED_BIND:
            await expelled.next(Received, "c")  # what the other one was told
        for client in (expelled, other):
            client.told.clear()
        server.expel(expelled.key)
        assert not (await expelled.next(LinkDown, "c")).hopeless
        if kind is LinkKind.FEED_BIND:
            server.send("b", Heartbeat(2, 0, 0, True, -1))
            assert (await other.next(Received, "c")).message == Heartbeat(2, 0, 0, True, -1)
            await hears_once_that_it_is_hopeless(expelled, "it does not let this key in")
        else:
            await talks(kind, server, other)
            await expelled.next(LinkUp, "c")  # to hear why
        assert other.told == []
        assert server.links.counters[LinkId("b")].garbled == 0


@conversation
async def test_who_was_expelled_from_a_feed_comes_back_when_it_is_allowed_anew() -> None:
    async with ends(2) as (server, client):
        endpoint = await server.bind(LinkKind.FEED_BIND)
        server.allow(client.key)
        client.connect(LinkKind.FEED_BIND, endpoint, server.key)
        await talks(LinkKind.FEED_BIND, server, client)
        client.told.clear()
        server.expel(client.key)
        await client.next(LinkDown, "c")
        server.allow(client.key)
        await client.next(LinkUp, "c")


@conversation
async def test_all_connections_of_an_expelled_key_end() -> None:
    async with ends(2) as (server, client):
        endpoint = await server.bind(LinkKind.ROOM_BIND)
        for link in ("c", "d"):
            client.connect(LinkKind.ROOM_BIND, endpoint, server.key, link=link)
            await client.next(LinkUp, link)
        for link in ("c", "d"):
            client.send(link, Ping(1))
            await server.next(Received, "b")
        server.expel(client.key)
        for link in ("c", "d"):
            await client.next(LinkDown, link)
        assert server.told == []


@conversation
async def test_a_connection_that_came_again_by_the_same_descriptor_is_ended_too() -> None:
    async with ends(3) as (server, client, other):
        endpoint = await server.bind(LinkKind.ROOM_BIND)
        for _ in range(3):
            client.links.perform(CloseLink(LinkId("c")))
            client.connect(LinkKind.ROOM_BIND, endpoint, server.key)
            await talks(LinkKind.ROOM_BIND, server, client)
        other.connect(LinkKind.ROOM_BIND, endpoint, server.key)
        await talks(LinkKind.ROOM_BIND, server, other)
        server.expel(client.key)
        await client.next(LinkDown, "c")
        await talks(LinkKind.ROOM_BIND, server, other)


def test_a_descriptor_that_has_become_another_connection_is_left_alone() -> None:
    peers = Peers()
    mine, other = socket.socketpair(), socket.socketpair()
    try:
        for pair in (mine, other):
            peers.note(pair[0].fileno(), b"", "key")
        os.dup2(other[0].fileno(), mine[0].fileno())
        peers.note(other[0].fileno(), b"", "another key")
        peers.end("key")
        other[0].send(b"still here")
        assert other[1].recv(100) == b"still here"
        assert mine[1].recv(100) == b""  # closed by what took its descriptor, not by us
        peers.end("another key")
        assert other[1].recv(100) == b""
        peers.end_one(mine[0].fileno(), "key")  # which has been shut down already
        peers.end_one(9_999, "key")
    finally:
        for pair in (mine, other):
            for each in pair:
                each.close()


@conversation
async def test_who_chooses_the_routing_id_of_another_is_heard_under_its_own_key() -> None:
    victim, thief = new_keys(), new_keys()
    async with ends(1) as (server,):
        endpoint = await server.bind(LinkKind.ROOM_BIND)
        for keys in (victim, thief):
            async with raw_socket(zmq.DEALER) as peer:
                peer.setsockopt(zmq.ROUTING_ID, b"chosen")
                peer.curve_publickey, peer.curve_secretkey = keys.public.encode(), keys.secret.encode()
                peer.curve_serverkey = server.key.encode()
                peer.connect(endpoint)
                await peer.send(codec.encode(Ping(1))[0])
                received = await server.next(Received, "b")
                assert (received.sender, received.key) == (b"chosen", keys.public)
            # The routing id is free again when the server has seen its owner go.
            while True:
                server.send("b", Pong(1, 1), b"chosen")
                await asyncio.sleep(0.01)
                if any(isinstance(each, SendRefused) for each in server.told):
                    server.told.clear()
                    break


# --- strangers -----------------------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("when", ["first", "meanwhile", "later"])
@conversation
async def test_junk_at_a_port_changes_nothing(kind: LinkKind, junk: bytes, when: str) -> None:
    async with ends(2) as (server, client):
        endpoint = await bound_for(kind, server, client)
        if when == "first":
            await throw_at(endpoint, junk)
        thrown = asyncio.gather(*[throw_at(endpoint, junk) for _ in range(5 if when == "meanwhile" else 0)])
        client.connect(kind, endpoint, server.key)
        await talks(kind, server, client)
        await thrown
        if when == "later":
            await throw_at(endpoint, junk)
        await still_talks(kind, server, client)


async def still_talks(kind: LinkKind, server: End, client: End) -> None:
    if kind is LinkKind.FEED_BIND:
        server.send("b", Heartbeat(2, 0, 0, True, -1))
        assert (await client.next(Received, "c")).message == Heartbeat(2, 0, 0, True, -1)
    else:
        await talks(kind, server, client)
    for end in (server, client):
        assert not [each for each in end.told if not isinstance(each, LinkUp)]


@every_kind
@pytest.mark.parametrize("mechanism", ["NULL", "PLAIN", "CURVE"])
@pytest.mark.parametrize("when", ["first", "later"])
@conversation
async def test_a_peer_without_the_right_key_changes_nothing(kind: LinkKind, mechanism: str, when: str) -> None:
    async with ends(2) as (server, client), raw_socket(RAW_TYPES[kind]) as stranger:
        endpoint = await bound_for(kind, server, client)
        if mechanism == "PLAIN":
            stranger.plain_username, stranger.plain_password = b"admin", b"secret"
        elif mechanism == "CURVE":
            keys = new_keys()
            stranger.curve_publickey, stranger.curve_secretkey = keys.public.encode(), keys.secret.encode()
            stranger.curve_serverkey = server.key.encode() if kind in ONE_PEER else new_keys().public.encode()
        if when == "first":
            await fails_to_shake_hands(stranger, endpoint)
        client.connect(kind, endpoint, server.key)
        await talks(kind, server, client)
        if when == "later":
            await fails_to_shake_hands(stranger, endpoint)
        await still_talks(kind, server, client)


@every_kind
@conversation
async def test_two_hundred_idle_connections_do_no_harm(kind: LinkKind) -> None:
    async with ends(2) as (server, client):
        endpoint = await bound_for(kind, server, client)
        idle = [socket.create_connection(("127.0.0.1", port_of(endpoint))) for _ in range(200)]
        try:
            client.connect(kind, endpoint, server.key)
            await talks(kind, server, client)
        finally:
            for each in idle:
                each.close()
        await still_talks(kind, server, client)


@conversation
async def test_a_flood_of_strangers_while_the_loop_is_busy_stops_no_socket() -> None:
    async with ends(2) as (server, client):
        endpoint = await bound_for(LinkKind.TALK_BIND, server, client)
        for _ in range(1_500):  # each is two events of the socket, which nobody reads meanwhile
            with socket.create_connection(("127.0.0.1", port_of(endpoint)), timeout=DEADLINE_S) as stranger:
                stranger.sendall(OLD_PEER[:40])
                with suppress(ConnectionResetError):
                    while stranger.recv(4_096):
                        pass
        client.connect(LinkKind.TALK_BIND, endpoint, server.key)
        await talks(LinkKind.TALK_BIND, server, client)


@pytest.mark.parametrize("kind", ONE_PEER)
@conversation
async def test_the_end_of_a_peer_is_heard_though_strangers_are_at_the_port(kind: LinkKind) -> None:
    async with ends(2) as (server, client):
        endpoint = await bound_for(kind, server, client)
        with socket.create_connection(("127.0.0.1", port_of(endpoint))):
            client.connect(kind, endpoint, server.key)
            await server.next(LinkUp, "b")
            await throw_at(endpoint, HTTP_GET)
            await talks(kind, server, client)  # after which it is known which connection is the peer's
            began = asyncio.get_running_loop().time()
            await client.links.close()
            await server.next(LinkDown, "b")
            assert asyncio.get_running_loop().time() - began < limits.HANDSHAKE_MS / 2_000


@pytest.mark.parametrize("kind", ONE_PEER)
@conversation
async def test_the_end_of_a_peer_that_never_spoke_is_heard_when_the_strangers_have_gone(kind: LinkKind) -> None:
    async with ends(2) as (server, client):
        endpoint = await bound_for(kind, server, client)
        with socket.create_connection(("127.0.0.1", port_of(endpoint))):
            client.connect(kind, endpoint, server.key)
            await server.next(LinkUp, "b")
            await client.links.close()
        assert (await server.next(LinkDown, "b")).why == "the connection broke"


@pytest.mark.parametrize("kind", ONE_PEER)
@conversation
async def test_a_peer_that_connects_twice_brings_the_link_down(kind: LinkKind) -> None:
    async with ends(2) as (server, client):
        endpoint = await bound_for(kind, server, client)
        client.connect(kind, endpoint, server.key)
        await server.next(LinkUp, "b")
        client.connect(kind, endpoint, server.key, link="d")
        assert (await server.next(LinkDown, "b")).why == "its peer connected twice"


# --- the handler ---------------------------------------------------------------------------------------------------


class BreaksOnce(Policy):
    """A policy with a bug that shows the first time."""

    broke = False

    def judge(self, key: str) -> Verdict:
        if not self.broke:
            self.broke = True
            raise RuntimeError("a bug")
        return super().judge(key)


def curve_pair(context: "zmq.Context[zmq.Socket[bytes]]", domain: bytes) -> "list[zmq.Socket[bytes]]":
    server, client = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    server_keys, client_keys = zmq.curve_keypair(), zmq.curve_keypair()
    server.curve_server, server.curve_secretkey, server.zap_domain = 1, server_keys[1], domain
    server.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    client.curve_publickey, client.curve_secretkey = client_keys
    client.curve_serverkey = server_keys[0]
    client.connect(f"tcp://127.0.0.1:{server.bind_to_random_port('tcp://127.0.0.1')}")
    return [server, client]


async def outcome(context: "zmq.Context[zmq.Socket[bytes]]", domain: bytes) -> tuple[int, int]:
    """How a handshake with a socket of that domain ends at the connecting end: event and value."""
    server, client = curve_pair(context, domain)
    ended = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    monitor = zmq.asyncio.Socket(client.get_monitor_socket(ended))
    told = await asyncio.wait_for(recv_monitor_message(monitor), DEADLINE_S)
    client.disable_monitor()
    for each in (monitor, server, client):
        each.close(0)
    return int(told["event"]), int(told["value"])


@conversation
async def test_a_bug_while_a_connection_is_judged_refuses_it_is_told_and_the_next_is_judged() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    failures: list[Exception] = []
    handler = ZapHandler(context)
    try:
        domain = handler.open(BreaksOnce(), failures.append)
        assert await outcome(context, domain.name) == (zmq.EVENT_HANDSHAKE_FAILED_AUTH, 500)
        assert [str(each) for each in failures] == ["a bug"]
        assert (await outcome(context, domain.name))[0] == zmq.EVENT_HANDSHAKE_SUCCEEDED
        assert await outcome(context, b"unheard of") == (zmq.EVENT_HANDSHAKE_FAILED_AUTH, 400)
        handler.forget(domain)
        assert await outcome(context, domain.name) == (zmq.EVENT_HANDSHAKE_FAILED_AUTH, 400)
        assert len(failures) == 1
    finally:
        handler.close()
        context.destroy(0)


@conversation
async def test_when_nobody_can_judge_a_connection_nobody_gets_in() -> None:
    async with ends(2) as (server, client):
        endpoint = await server.bind(LinkKind.ROOM_BIND)
        shared_context.zap().close()
        client.connect(LinkKind.ROOM_BIND, endpoint, server.key)
        await client.next(LinkDown, "c")
        assert client.told == []


@conversation
async def test_more_requests_than_one_turn_takes_are_all_answered() -> None:
    count = 3 * limits.DRAIN_MESSAGES
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    handler = ZapHandler(context)
    asker = zmq.asyncio.Socket(context, zmq.DEALER)
    try:
        domain = handler.open(Policy(), None)
        asker.connect("inproc://zeromq.zap.01")
        for number in range(count):
            request = [b"", b"1.0", b"%d" % number, domain.name, b"127.0.0.1", b"", b"CURVE", bytes(32)]
            zmq.Socket.send_multipart(zmq.Socket.shadow(asker.underlying), request)
        async with asyncio.timeout(DEADLINE_S):
            answers = [await asker.recv_multipart() for _ in range(count)]
        assert [each[2:4] for each in answers] == [[b"%d" % number, b"200"] for number in range(count)]
    finally:
        handler.close()
        asker.close(0)
        context.destroy(0)


@conversation
async def test_many_come_at_once_and_all_get_in() -> None:
    count = 300  # each has a connection in this process too
    async with ends(2) as (server, client):
        endpoint = await server.bind(LinkKind.ROOM_BIND)
        for number in range(count):
            client.connect(LinkKind.ROOM_BIND, endpoint, server.key, link=f"c{number}")
            client.send(f"c{number}", Ping(number))
        heard: set[Message] = set()
        while len(heard) < count:
            received = await server.next(Received, "b")
            assert received.key == client.key
            heard.add(received.message)


def test_every_kind_of_link_that_is_bound_proves_who_it_hears() -> None:
    same = {kind for kind in LinkKind if frames.READERS[kind] is frames.PROVED_READERS[kind]}
    assert same == {kind for kind in LinkKind if kind not in PAIRED}
