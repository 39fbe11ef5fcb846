"""The only importer of zmq: sockets by kind, drained in bounded batches, sent to without waiting, failures as events.

Everything here obeys three facts of libzmq. A socket's file descriptor is edge-triggered: any call on the
socket, a send too, may eat the edge, so after each of them EVENTS is looked at again (`_kick`). A full
socket blocks, drops or refuses, depending on its type: so every call is NOBLOCK and what does not fit waits
in a bounded queue of ours. A queue inside a socket vanishes with its connection: so cores never rely on one.

Two ends on one machine have one more trap: whoever connects again and again to a dead port of the range
from which the system takes source ports can, by chance, connect to itself, and a DEALER or PAIR then talks
to itself for ever. Three things stand against it: the zdns port lies below that range, a reopened link
always goes to an address freshly learnt, and a connection whose two ends are one address is dropped here.
"""

import asyncio
import ipaddress
import itertools
import logging
import os
import re
import resource
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import zmq
from zmq.utils.monitor import parse_monitor_message

from runtime import clock
from wire import codec, limits
from wire.errors import RelevoError, WireError
from wire.messages import Message
from wire.names import LinkId
from wire.step import (
    READS,
    CloseLink,
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
    Subscribed,
)

log = logging.getLogger("relevo.links")


class LinkError(RelevoError):
    """A socket could not be opened as it must be; the text is a sentence for people."""


# --- options ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """How the socket of one kind is made.

    `stop_linger_ms`: how long its unsent messages may hold up the end of the process. `single_use`: its
    connection, once broken, is never made again. `monitored`: whether the core hears LinkUp and LinkDown.
    """

    socket_type: int
    binds: bool
    options: tuple[tuple[zmq.SocketOption, int], ...]
    stop_linger_ms: int = 0
    single_use: bool = False
    monitored: bool = False


_Options = dict[zmq.SocketOption, int]
_ALL: Final[_Options] = {
    zmq.MAXMSGSIZE: limits.FRAME_BYTES_MAX,  # a longer frame breaks the sender's connection, before we hold it
    zmq.LINGER: 0,  # whoever wants to wait says so when closing; the default waits for ever
    zmq.HANDSHAKE_IVL: limits.HANDSHAKE_MS,  # an idle or foreign connection is cut then; the default is 30 s
}
# ZMTP pings. The I/O thread answers them, so they tell of a dead machine or a stopped process, not of a
# busy one: for that the cores have pings of their own. TTL makes the other end time us out as well.
_PATIENT: Final[_Options] = {zmq.HEARTBEAT_IVL: 2_000, zmq.HEARTBEAT_TIMEOUT: 6_000, zmq.HEARTBEAT_TTL: 6_000}
_PROMPT: Final[_Options] = {zmq.HEARTBEAT_IVL: 500, zmq.HEARTBEAT_TIMEOUT: 2_000, zmq.HEARTBEAT_TTL: 2_000}
_SERVER_END: Final[_Options] = {
    zmq.BACKLOG: 1_024,  # five hundred clients come at once after a relocate; the default is 100
}
_CONNECTS: Final[_Options] = {
    zmq.CONNECT_TIMEOUT: 1_500,  # a black hole is given up before limits.SILENCE_MS; the system takes minutes
    zmq.RECONNECT_IVL: 100,
    zmq.RECONNECT_IVL_MAX: 1_000,  # doubles up to here, so a dead port is not hammered
    # IMMEDIATE stays off. With it, libzmq throws away what we have not read yet when a connection ends, even between
    # two frames of one message, and then fails an assertion that takes the process along (4.3.5, fq.cpp).
}
_ONCE: Final[_Options] = {
    zmq.CONNECT_TIMEOUT: 1_500,
    zmq.RECONNECT_IVL: -1,  # a second connection could meet another peer, or share with a half-open first one
    zmq.IMMEDIATE: 1,
}


def _hwm(messages: int) -> _Options:
    """High-water marks, in messages and for each connected peer; the default is 1000."""
    return {zmq.SNDHWM: messages, zmq.RCVHWM: messages}


def _options(*parts: _Options) -> tuple[tuple[zmq.SocketOption, int], ...]:
    merged: _Options = {}
    for part in parts:
        merged.update(part)
    return tuple(merged.items())


_DUMP_HWM: Final = _hwm(64)  # chunks of 256 KiB, and credit lets 4 be on their way: blocks that follow live fit too
_TALK_HWM: Final = _hwm(limits.TALK_QUEUE_MAX)

SPECS: Final[dict[LinkKind, LinkSpec]] = {
    LinkKind.DNS_ASK: LinkSpec(
        zmq.REQ,
        binds=False,
        options=_options(
            _ALL,
            _hwm(8),  # one request at a time
            _PATIENT,
            _CONNECTS,
            {
                zmq.REQ_RELAXED: 1,  # a lost answer does not lock the socket for ever
                zmq.REQ_CORRELATE: 1,  # and its late coming is not taken for the answer to the next request
            },
        ),
        stop_linger_ms=200,  # the Leave
    ),
    LinkKind.DNS_BIND: LinkSpec(
        zmq.ROUTER,  # speaks the REQ envelope, so that one slow store does not hold up all askers in lockstep
        binds=True,
        options=_options(_ALL, _hwm(1_000), _PATIENT, _SERVER_END, {zmq.ROUTER_MANDATORY: 1}),
        stop_linger_ms=200,
    ),
    LinkKind.ROOM_BIND: LinkSpec(
        zmq.ROUTER,
        binds=True,
        options=_options(
            _ALL,
            _hwm(2_000),  # four windows of posts from each client
            _PATIENT,
            _SERVER_END,
            {zmq.ROUTER_MANDATORY: 1},  # an unknown or full peer is an error to report, not a silent drop
        ),
        stop_linger_ms=500,  # the last acks and the Moved
    ),
    LinkKind.ROOM_CONNECT: LinkSpec(
        zmq.DEALER,
        binds=False,
        options=_options(_ALL, _hwm(2_000), _PROMPT, _CONNECTS),
        stop_linger_ms=300,  # the Bye
        monitored=True,
    ),
    LinkKind.FEED_BIND: LinkSpec(
        zmq.XPUB,
        binds=True,
        options=_options(
            _ALL,
            # Blocks for each reader; what a slower one misses it fetches. Queues share the bytes between readers.
            {zmq.SNDHWM: 4_000, zmq.RCVHWM: 1_000},
            _PATIENT,
            _SERVER_END,
            {
                zmq.MAXMSGSIZE: limits.TOPIC_BYTES_MAX,  # all a reader may send is a topic
                zmq.XPUB_VERBOSER: 1,  # each reader's subscription counts, not only the first to a topic
            },
        ),
        stop_linger_ms=500,  # the last Relocate
    ),
    LinkKind.FEED_CONNECT: LinkSpec(
        zmq.SUB,
        binds=False,
        options=_options(_ALL, _hwm(4_000), _PATIENT, _CONNECTS),
        monitored=True,
    ),
    LinkKind.COPY_BIND: LinkSpec(
        zmq.DEALER,
        binds=True,
        options=_options(_ALL, _DUMP_HWM, _PROMPT, _ONCE),
        stop_linger_ms=500,
        single_use=True,
        monitored=True,
    ),
    LinkKind.COPY_CONNECT: LinkSpec(
        zmq.DEALER,
        binds=False,
        options=_options(_ALL, _DUMP_HWM, _PROMPT, _ONCE),
        stop_linger_ms=500,  # the TakeOver
        single_use=True,
        monitored=True,
    ),
    LinkKind.TALK_BIND: LinkSpec(
        zmq.PAIR,
        binds=True,
        options=_options(_ALL, _TALK_HWM, _PATIENT, _ONCE),
        stop_linger_ms=300,  # the TalkBye
        single_use=True,
        monitored=True,
    ),
    LinkKind.TALK_CONNECT: LinkSpec(
        zmq.PAIR,
        binds=False,
        options=_options(_ALL, _TALK_HWM, _PATIENT, _ONCE),
        stop_linger_ms=300,
        single_use=True,
        monitored=True,
    ),
}

# --- the process's context ----------------------------------------------------------------------------------------


_FILES_WANTED: Final = 16_384  # a thousand members with both their connections, and as many again in a storm


def _raise_file_limit() -> None:
    """Allow this process as many open files as it may have: each socket takes one, each connection another."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, _FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:
            log.warning("only %d files can be open at once: %s", soft, error)


class _SharedContext:
    """The one Context of the process: made when first needed, ended when the last `Links` has closed."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._users = 0

    def take(self) -> zmq.Context[zmq.Socket[bytes]]:
        if self._context is None:
            _raise_file_limit()
            self._context = zmq.Context(io_threads=1)  # a second one gained nothing when measured
            self._context.linger = 0  # sockets inherit it
            self._context.max_sockets = 4_096
        self._users += 1
        return self._context

    async def give_back(self, deadline_ms: int) -> None:
        self._users -= 1
        if self._users or self._context is None:
            return
        context, self._context = self._context, None
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def end() -> None:
            context.term()  # waits for the lingering sockets
            try:
                loop.call_soon_threadsafe(ended.set)
            except RuntimeError:
                pass  # the loop did not wait so long; nobody is left to tell

        # A daemon: if libzmq does not come back, the process ends all the same.
        threading.Thread(target=end, name="zmq-context-end", daemon=True).start()
        try:
            await asyncio.wait_for(ended.wait(), deadline_ms / 1000)
        except TimeoutError:
            log.warning("the ZeroMQ context did not end within %d ms", deadline_ms)


_shared_context = _SharedContext()

# --- one link -----------------------------------------------------------------------------------------------------

_monitor_numbers = itertools.count(1)
_ENDPOINT = re.compile(r"tcp://(\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[A-Za-z0-9_.*-]+):(\d{1,5})")
_ENVELOPE_BYTES_MAX: Final = 512  # a routing id (255 at most), a request id of 4, and room for a proxy's
_length = struct.Struct(">H")

_MONITORED: Final = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_ACCEPTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_WHY_DOWN: Final = {
    int(zmq.EVENT_CLOSED): "the connection could not be made",
    int(zmq.EVENT_DISCONNECTED): "the connection broke",
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): "the other side hung up, or fell silent, before the connection stood",
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): "the other side does not speak our protocol",
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): "the other side turned our key down",
}


@dataclass(slots=True)
class Counters:
    """What passed over one link since it was opened; a message's bytes without routing parts and topic."""

    messages_in: int = 0
    bytes_in: int = 0
    messages_out: int = 0
    bytes_out: int = 0
    dropped: int = 0
    garbled: int = 0


@dataclass(slots=True, eq=False)
class _Link:
    """One socket and what we know of it. `connection`: None before the first, then whether it stands."""

    id: LinkId
    kind: LinkKind
    spec: LinkSpec
    socket: "zmq.Socket[bytes]"
    read_option: Callable[[int], int]  # the socket's getsockopt, for options that are numbers
    endpoint: str
    topic: bytes
    union: Any  # what may be received
    monitor: "zmq.Socket[bytes] | None" = None
    descriptors: list[int] = field(default_factory=list)  # what the loop watches
    waiting: "deque[tuple[list[bytes], Send]]" = field(default_factory=deque)
    counters: Counters = field(default_factory=Counters)
    kicked: bool = False
    closed: bool = False
    leaving_until_ms: int = 0  # not 0: the core has closed it; what waits may still leave until then
    discarding: bool = False  # inside a message with too many frames
    connection: bool | None = None
    accepted: list[int] = field(default_factory=list)  # single-use and bound: who is connected, oldest first
    peer: int = -1  # and which of them completed the handshake first; both as numbers of the monitor's events
    down_why: str = ""  # a LinkDown that is told once what was received before it has been read


class _TooManyFrames(WireError):
    """More than limits.FRAMES_MAX frames; the first ones are kept to name the sender."""

    def __init__(self, first: list[bytes]) -> None:
        super().__init__(f"a message has at most {limits.FRAMES_MAX} frames, routing included")
        self.first = first


def pack_envelope(frames: Sequence[bytes]) -> bytes:
    """The frames of a REQ envelope as one opaque `sender`."""
    return b"".join(part for frame in frames for part in (_length.pack(len(frame)), frame))


def unpack_envelope(sender: bytes) -> list[bytes]:
    """The frames that `pack_envelope` joined.

    Raises:
        ValueError: `sender` does not come from there.
    """
    frames = []
    at = 0
    while at < len(sender):
        if at + 2 > len(sender):
            raise ValueError("an envelope ends in the middle of a length")
        (length,) = _length.unpack_from(sender, at)
        at += 2 + length
        if at > len(sender):
            raise ValueError("an envelope ends in the middle of a frame")
        frames.append(sender[at - length : at])
    return frames


def connects_to_itself(descriptor: int) -> bool:
    """Whether the two ends of a TCP connection are one and the same address."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            return bool(connection.getsockname() == connection.getpeername())
    except OSError:
        return False  # it has gone already; then another event tells


# --- all links of one core ----------------------------------------------------------------------------------------


class Links:
    """The sockets of one core: performs its link commands, delivers its link events.

    `deliver` is called from the loop and must only note the event down: never is it a place to call back.
    `failed` is told of an exception that escaped a callback here, a bug of ours, so that nothing dies in silence.
    """

    def __init__(
        self,
        *,
        bind_host: str,
        advertise_host: str,
        deliver: Callable[[Event], None],
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        self._bind_host = _bracketed(bind_host)
        self._advertise_host = _bracketed(advertise_host)
        self._deliver = deliver
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._links: dict[LinkId, _Link] = {}
        self._leaving: list[_Link] = []
        self._all_left = asyncio.Event()

    @property
    def counters(self) -> dict[LinkId, Counters]:
        """The counters of every open link; live objects, only to be read."""
        return {link.id: link.counters for link in self._links.values()}

    def perform(self, command: OpenLink | CloseLink | Send) -> None:
        """Do one command, without waiting for anything.

        Raises:
            LinkError: a server's socket cannot be bound, or a core opens a link twice.
        """
        match command:
            case Send():
                self._send(command)
            case OpenLink():
                self._open(command)
            case CloseLink(link_id, linger_ms):
                link = self._links.pop(link_id, None)
                if link is not None:
                    self._shut(link, linger_ms)

    async def close(self) -> None:
        """Close every link, giving what was sent its `stop_linger_ms`, within limits.STOP_MS all together."""
        began_ms = clock.monotonic_ms()
        for link in list(self._links.values()):
            self._shut(link, link.spec.stop_linger_ms)
        self._links.clear()
        if self._leaving:
            self._all_left.clear()
            await self._all_left.wait()  # each has its own deadline
        if self._context is not None:
            self._context = None
            await _shared_context.give_back(limits.STOP_MS - (clock.monotonic_ms() - began_ms))

    # --- opening and closing ---

    def _open(self, command: OpenLink) -> None:
        if command.link in self._links:
            raise LinkError(f"link {command.link!r} is open already")
        spec = SPECS[command.kind]
        try:
            link = self._make(command, spec)
        except zmq.ZMQError as error:
            self._not_opened(command, f"no socket could be made: {error.strerror}", error)
            return
        self._links[link.id] = link
        try:
            self._attach(link)
        except (zmq.ZMQError, LinkError) as error:
            del self._links[link.id]
            self._shut(link, 0)
            what = "bind" if spec.binds else "connect"
            why = error.strerror if isinstance(error, zmq.ZMQError) else str(error)
            self._not_opened(command, f"cannot {what} {link.endpoint or command.endpoint!r}: {why}", error)
            return
        self._kick(link)

    def _not_opened(self, command: OpenLink, why: str, cause: Exception) -> None:
        """A server that cannot bind has no purpose; any other link failed as a connection fails."""
        log.warning("link=%s kind=%s %s", command.link, command.kind.name, why)
        if command.kind in (LinkKind.ROOM_BIND, LinkKind.FEED_BIND, LinkKind.DNS_BIND):
            raise LinkError(why) from cause
        self._deliver(LinkDown(command.link, why))

    def _make(self, command: OpenLink, spec: LinkSpec) -> _Link:
        if self._context is None:
            self._context = _shared_context.take()
        made = self._context.socket(spec.socket_type)
        try:
            for option, value in spec.options:
                made.setsockopt(option, value)
            topic = command.topic.encode() + b"\0"  # ended, as a subscription is a prefix: tea is not teapot
            return _Link(
                id=command.link,
                kind=command.kind,
                spec=spec,
                socket=made,
                read_option=cast("Callable[[int], int]", made.getsockopt),
                endpoint=command.endpoint,
                topic=topic,
                union=READS.get(command.kind),
            )
        except zmq.ZMQError:
            made.close(0)
            raise

    def _attach(self, link: _Link) -> None:
        """Watch the socket, then bind or connect it."""
        if link.spec.monitored:
            link.monitor = link.socket.get_monitor_socket(_MONITORED, f"inproc://monitor-{next(_monitor_numbers)}")
            link.descriptors.append(link.monitor.fileno())
        link.descriptors.append(link.socket.fileno())
        for descriptor in link.descriptors:
            self._loop.add_reader(descriptor, self._drain, link)
        if link.spec.binds:
            self._bind(link)
            return
        _check_endpoint(link.endpoint, by_name=link.kind is LinkKind.DNS_ASK)
        if "[" in link.endpoint:
            link.socket.setsockopt(zmq.IPV6, 1)
        if link.kind is LinkKind.FEED_CONNECT:
            link.socket.setsockopt(zmq.SUBSCRIBE, link.topic)
        link.socket.connect(link.endpoint)

    def _bind(self, link: _Link) -> None:
        if link.kind is LinkKind.DNS_BIND:
            link.endpoint = link.endpoint if "://" in link.endpoint else f"tcp://{link.endpoint}"
        else:
            link.endpoint = f"tcp://{self._bind_host}:0"
        _check_endpoint(link.endpoint, by_name=True)
        if "[" in link.endpoint:
            link.socket.setsockopt(zmq.IPV6, 1)
        link.socket.bind(link.endpoint)
        port = link.socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2].rstrip("\0")
        self._deliver(LinkBound(link.id, (f"tcp://{self._advertise_host}:{port}",)))

    def _shut(self, link: _Link, linger_ms: int) -> None:
        """Close the socket; not before what waits for it has left, if `linger_ms` allows for that."""
        if link.waiting:
            self._send_waiting(link)
        if link.waiting and linger_ms:
            link.leaving_until_ms = clock.monotonic_ms() + linger_ms
            self._leaving.append(link)
            self._loop.call_later(linger_ms / 1000, self._left, link)
            self._kick(link)
        else:
            self._close_socket(link, linger_ms)

    def _left(self, link: _Link) -> None:
        """The time of a leaving link is over, or it has nothing left to send."""
        if not link.closed:
            self._leaving.remove(link)
            self._close_socket(link, max(link.leaving_until_ms - clock.monotonic_ms(), 0))
            if not self._leaving:
                self._all_left.set()

    def _close_socket(self, link: _Link, linger_ms: int) -> None:
        link.counters.dropped += len(link.waiting)
        link.waiting.clear()
        link.closed = True
        for descriptor in link.descriptors:
            self._loop.remove_reader(descriptor)
        if link.monitor is not None:
            link.socket.disable_monitor()  # before its socket is closed: the other order hangs or leaks
            link.monitor.close(0)
        link.socket.close(linger_ms)

    # --- sending ---

    def _send(self, command: Send) -> None:
        link = self._links.get(command.link)
        if link is None:
            self._refuse(command, "the link is closed")
            return
        frames = codec.encode(command.message)
        if link.kind is LinkKind.ROOM_BIND:
            self._send_routed(link, [command.to, *frames], command)
        elif link.kind is LinkKind.DNS_BIND:
            self._send_routed(link, [*unpack_envelope(command.to), *frames], command)
        elif link.kind is LinkKind.FEED_BIND:
            self._send_published(link, [link.topic, *frames])
        elif link.spec.single_use and link.connection is False:
            self._refuse(command, "the connection broke")
            return
        else:
            self._send_or_wait(link, frames, command)
        if not link.kicked:
            self._kick(link)

    def _send_routed(self, link: _Link, frames: list[bytes], command: Send) -> None:
        """To one peer of a ROUTER. It is never waited for: the other peers' messages would wait behind it."""
        try:
            _send_frames(link, frames)
        except zmq.Again:
            self._refuse(command, "its receiver takes no more")
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._refuse(command, "its receiver is not connected")

    def _send_published(self, link: _Link, frames: list[bytes]) -> None:
        """To every reader. ZeroMQ drops it for those who are too slow, and tells nobody."""
        try:
            _send_frames(link, frames)
        except zmq.Again:
            link.counters.dropped += 1  # does not happen without XPUB_NODROP; if it did, readers fetch what they miss

    def _send_or_wait(self, link: _Link, frames: list[bytes], command: Send) -> None:
        if not link.waiting:
            try:
                _send_frames(link, frames)
                return
            except zmq.Again:
                pass  # no connection yet, or a full one
        if len(link.waiting) >= limits.LINK_QUEUE_MAX:
            self._refuse(command, f"{limits.LINK_QUEUE_MAX} messages wait already")
            return
        link.waiting.append((frames, command))

    def _send_waiting(self, link: _Link) -> None:
        """Send from the queue until it is empty or the socket takes no more."""
        while link.waiting:
            try:
                _send_frames(link, link.waiting[0][0])
            except zmq.Again:
                return
            link.waiting.popleft()

    def _refuse(self, command: Send, why: str) -> None:
        link = self._links.get(command.link)
        if link is not None:
            link.counters.dropped += 1
        log.debug("link=%s %s refused: %s", command.link, type(command.message).__name__, why)
        self._deliver(SendRefused(command.link, command.message, command.to, why))

    # --- receiving ---

    def _kick(self, link: _Link) -> None:
        """Look at the socket soon, as its descriptor may not say that there is something to do."""
        if not link.kicked and not link.closed:
            link.kicked = True
            self._loop.call_soon(self._kicked, link)

    def _kicked(self, link: _Link) -> None:
        link.kicked = False
        self._drain(link)

    def _drain(self, link: _Link) -> None:
        """Take what has come, limits.DRAIN_MESSAGES and DRAIN_MS at most; come back for the rest."""
        if link.closed:
            return
        try:
            if link.leaving_until_ms:
                self._drain_leaving(link)
                return
            # The connection's fate first: what it tells was so before what can now be read.
            if link.monitor is not None:
                self._drain_monitor(link, link.monitor)
            events = link.read_option(zmq.EVENTS)
            if events & zmq.POLLOUT and link.waiting:
                self._send_waiting(link)
            if events & zmq.POLLIN:
                self._drain_messages(link)
            events = link.read_option(zmq.EVENTS)
            if events & zmq.POLLIN or (link.waiting and events & zmq.POLLOUT):
                self._kick(link)
            elif link.down_why:
                self._down_now(link)
        except Exception as error:  # asyncio would log it and go on without this link
            if self._failed is None:
                raise
            self._failed(error)

    def _drain_leaving(self, link: _Link) -> None:
        """Send what waits; what comes in concerns nobody any more."""
        if link.read_option(zmq.EVENTS) & zmq.POLLOUT:
            self._send_waiting(link)
        if not link.waiting:
            self._left(link)
        elif link.read_option(zmq.EVENTS) & zmq.POLLOUT:
            self._kick(link)

    def _drain_messages(self, link: _Link) -> None:
        until_ms = clock.monotonic_ms() + limits.DRAIN_MS
        read = _READERS[link.kind]
        for index in range(limits.DRAIN_MESSAGES):
            if index & 7 == 7 and clock.monotonic_ms() > until_ms:
                return
            try:
                if link.discarding:
                    _discard(link)
                    continue
                event = read(link)
            except zmq.Again:
                return
            except WireError as error:
                self._garbled(link, str(error), b"")
                continue
            except zmq.ZMQError as error:
                if error.errno != zmq.EFSM:  # a REQ that waits for nothing; readiness is only ever a hint
                    raise
                return
            if type(event) is Garbled:
                self._garbled(link, event.why, event.sender)
            elif event is not None:
                self._deliver(event)

    def _garbled(self, link: _Link, why: str, sender: bytes) -> None:
        count = link.counters.garbled = link.counters.garbled + 1
        if count & (count - 1) == 0:  # the 1st, 2nd, 4th, 8th …: a flood must not become a flood of lines
            log.warning("link=%s kind=%s garbled=%d: %s", link.id, link.kind.name, count, why)
        if sender:
            self._deliver(Garbled(link.id, why[: limits.MESSAGE_CHARS_MAX], sender))

    # --- the connection ---

    def _drain_monitor(self, link: _Link, monitor: "zmq.Socket[bytes]") -> None:
        while cast(int, monitor.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            told = parse_monitor_message(monitor.recv_multipart(zmq.NOBLOCK))
            self._connection_event(link, int(told["event"]), int(told["value"]))

    def _connection_event(self, link: _Link, event: int, value: int) -> None:
        if link.spec.binds:
            self._accepting_event(link, event, value)
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._up(link)
        elif event == zmq.EVENT_CONNECTED:
            if connects_to_itself(value):
                link.socket.disconnect(link.endpoint)
                self._down(link, "nobody listens there: the connection came back to its own port")
        elif event in _WHY_DOWN:
            self._down(link, _WHY_DOWN[event])

    def _accepting_event(self, link: _Link, event: int, value: int) -> None:
        """A bound socket for one peer, at whose port a stranger may knock as well.

        A stranger need not complete any handshake to do harm: what libzmq takes for a peer of its first
        version is in at once. It gets its share of a DEALER's messages, and a PAIR's only place, the latter
        for good: whoever comes after it is told that all is well and never heard. Then the link is given up
        at once and another one made at another port, which is cheaper than finding out by silence.
        """
        if event == zmq.EVENT_ACCEPTED:
            if link.accepted and (link.kind is LinkKind.COPY_BIND or not link.connection):
                self._down(link, "somebody else connected as well")
            link.accepted.append(value)
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            if link.connection is None and link.accepted:
                link.peer = link.accepted[0]
                self._up(link)
        elif event == zmq.EVENT_DISCONNECTED:
            if value in link.accepted:
                link.accepted.remove(value)
            if link.connection and value == link.peer:
                self._down(link, _WHY_DOWN[event])
            elif link.connection is None and link.kind is LinkKind.TALK_BIND:
                self._down(link, "a stranger came first")

    def _up(self, link: _Link) -> None:
        if link.down_why:
            self._down_now(link)
        if not link.connection and not (link.spec.single_use and link.connection is False):
            link.connection = True
            self._deliver(LinkUp(link.id))

    def _down(self, link: _Link, why: str) -> None:
        """Note that the connection broke: once an outage, however often connecting is tried again."""
        if link.connection is not False:
            link.connection = False
            link.down_why = why
            if link.spec.single_use:
                link.counters.dropped += len(link.waiting)
                link.waiting.clear()

    def _down_now(self, link: _Link) -> None:
        why, link.down_why = link.down_why, ""
        log.info("link=%s kind=%s down: %s", link.id, link.kind.name, why)
        self._deliver(LinkDown(link.id, why))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _check_endpoint(endpoint: str, *, by_name: bool) -> None:
    """Raise LinkError unless it is TCP, and, unless `by_name`, with a numeric address.

    Others tell us where to connect. They may not choose inproc or a file; nor a name, since libzmq looks names up
    in its one I/O thread, where a silent name server would hold up every socket of the process.
    """
    match = _ENDPOINT.fullmatch(endpoint)
    if match is None or int(match[2]) > 65_535:
        raise LinkError("an address looks like tcp://host:port")
    if by_name:
        return
    try:
        ipaddress.ip_address(match[1].strip("[]"))
    except ValueError:
        raise LinkError("an address of a participant is numeric: tcp://10.0.0.5:4711") from None


# --- frames in and out --------------------------------------------------------------------------------------------
# Measured: frame by frame costs a third of recv_multipart and send_multipart; asking a Frame whether more follow
# costs less than asking the socket; a frame that always has a successor need not be asked.


def _send_frames(link: _Link, frames: list[bytes]) -> None:
    send = link.socket.send
    for frame in frames[:-1]:
        send(frame, zmq.NOBLOCK | zmq.SNDMORE)
    send(frames[-1], zmq.NOBLOCK)
    link.counters.messages_out += 1
    link.counters.bytes_out += len(frames[-1])


def _receive(link: _Link, frames: list[bytes]) -> list[bytes]:
    """All frames of the next message, or those that follow `frames` of a message already begun; returns `frames`.

    Raises:
        zmq.Again: there is none.
        _TooManyFrames: it has more than limits.FRAMES_MAX; the rest is discarded, a bounded part a turn.
    """
    receive = link.socket.recv
    more = True
    while more:
        if len(frames) == limits.FRAMES_MAX:
            link.discarding = True
            raise _TooManyFrames(frames)
        frame = receive(zmq.NOBLOCK, copy=False)
        frames.append(frame.bytes)
        more = frame.more
    link.counters.messages_in += 1
    return frames


def _discard(link: _Link) -> None:
    """Throw away up to limits.FRAMES_MAX frames of a message that has too many."""
    for _ in range(limits.FRAMES_MAX):
        link.socket.recv(zmq.NOBLOCK)
        if not link.read_option(zmq.RCVMORE):
            link.discarding = False
            return


def _message(link: _Link, frames: Sequence[bytes]) -> Message:
    link.counters.bytes_in += len(frames[-1]) if frames else 0
    message: Message = codec.decode(frames, link.union)
    return message


def _read_plain(link: _Link) -> Event | None:
    """DEALER, PAIR, REQ: the message alone."""
    return Received(link.id, _message(link, _receive(link, [])))


def _read_routed(link: _Link) -> Event | None:
    """ROUTER: the sender's routing id, the message."""
    try:
        frames = _receive(link, [link.socket.recv(zmq.NOBLOCK)])
    except _TooManyFrames as error:
        return Garbled(link.id, str(error), error.first[0])
    try:
        return Received(link.id, _message(link, frames[1:]), frames[0])
    except WireError as error:
        return Garbled(link.id, str(error), frames[0])


def _read_enveloped(link: _Link) -> Event | None:
    """ROUTER that serves REQs: routing ids and a request id up to an empty frame, the message."""
    try:
        frames = _receive(link, [link.socket.recv(zmq.NOBLOCK)])
        too_many = ""
    except _TooManyFrames as error:
        frames, too_many = error.first, str(error)
    try:
        end = frames.index(b"", 1) + 1
    except ValueError:
        return Garbled(link.id, "a request comes in the envelope of a REQ socket")
    envelope, body = frames[:end], frames[end:]
    if sum(map(len, envelope)) > _ENVELOPE_BYTES_MAX:
        return Garbled(link.id, f"an envelope has at most {_ENVELOPE_BYTES_MAX} bytes")
    sender = pack_envelope(envelope)
    if too_many:
        return Garbled(link.id, too_many, sender)
    try:
        return Received(link.id, _message(link, body), sender)
    except WireError as error:
        return Garbled(link.id, str(error), sender)


def _read_feed(link: _Link) -> Event | None:
    """SUB: the topic, the message."""
    return Received(link.id, _message(link, _receive(link, [])[1:]))


def _read_subscription(link: _Link) -> Event | None:
    """XPUB: 1 and a topic for a subscription, 0 and a topic for its end."""
    frames = _receive(link, [])
    if len(frames) != 1 or frames[0][:1] not in (b"\0", b"\1"):
        return Garbled(link.id, "a reader may only subscribe")
    if frames[0][:1] == b"\1" and link.topic.startswith(frames[0][1:]):
        return Subscribed(link.id)
    return None


_READERS: Final[dict[LinkKind, Callable[[_Link], Event | None]]] = {
    LinkKind.DNS_ASK: _read_plain,
    LinkKind.DNS_BIND: _read_enveloped,
    LinkKind.ROOM_BIND: _read_routed,
    LinkKind.ROOM_CONNECT: _read_plain,
    LinkKind.FEED_BIND: _read_subscription,
    LinkKind.FEED_CONNECT: _read_feed,
    LinkKind.COPY_BIND: _read_plain,
    LinkKind.COPY_CONNECT: _read_plain,
    LinkKind.TALK_BIND: _read_plain,
    LinkKind.TALK_CONNECT: _read_plain,
}
