"""Sockets by kind, drained in bounded batches, sent to without waiting, failures as events.

Everything here obeys three facts of libzmq. A socket's file descriptor is edge-triggered: any call on the
socket, a send too, may eat the edge, so after each of them EVENTS is looked at again (`_kick`). A full
socket blocks, drops or refuses, depending on its type: so every call is NOBLOCK and what does not fit waits
in a bounded queue of ours. A queue inside a socket vanishes with its connection: so cores never rely on one.

Two ends on one machine have one more trap: whoever connects again and again to a dead port of the range
from which the system takes source ports can, by chance, connect to itself, and a DEALER or PAIR then talks
to itself for ever. Three things stand against it: the zdns port lies below that range, a reopened link
always goes to an address freshly learnt, and a connection whose two ends are one address is dropped here.

On a closed network every socket speaks CURVE. A bound one asks about each connection (`runtime.zap_handler`), and
what is read from it says whose key the connection has proved (`runtime.frames`). An end that connects names the key
it expects; if another one answers, it sees no more than that its handshakes are broken off.
"""

import asyncio
import errno
import ipaddress
import itertools
import logging
import os
import re
import socket
from collections.abc import Callable
from typing import Final, cast

import zmq
from zmq.utils.monitor import parse_monitor_message

from runtime import clock
from runtime.crowd import Crowd
from runtime.frames import PROVED_READERS, READERS, Counters, Link, discard, pack_envelope, send_frames, unpack_envelope
from runtime.link_specs import SPECS, LinkSpec
from runtime.shared_context import shared_context
from runtime.zap import AllowedOnly, OneKey, Policy, raw_key
from wire import codec, limits
from wire.errors import RelevoError, WireError
from wire.identity import KeyPair
from wire.names import LinkId
from wire.step import (
    READS,
    Allow,
    CloseLink,
    Event,
    Expel,
    Garbled,
    LinkBound,
    LinkDown,
    LinkKind,
    LinkUp,
    OpenLink,
    Send,
    SendRefused,
)

__all__ = ["SPECS", "Counters", "LinkError", "Links", "connects_to_itself", "pack_envelope", "unpack_envelope"]

log = logging.getLogger("relevo.links")


class LinkError(RelevoError):
    """A socket could not be opened as it must be; the text is a sentence for people."""


class _NoKey(LinkError):
    """A link cannot be opened as it is not said, or makes no sense, who is at its other end."""


_monitor_numbers = itertools.count(1)
_ENDPOINT = re.compile(r"tcp://(\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[A-Za-z0-9_.*-]+):(\d{1,5})")

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
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): "the other side could not decide about our key",
}
_CLOSED_TO_US: Final = "it is closed: a ticket is needed"
_OPEN_TO_ALL: Final = "it is open, or is no relevo: no ticket is used there"
_NOT_LET_IN: Final = "it does not let this key in"
_ANOTHER_KEY: Final = "whoever answers there has another key, or none"
_NO_KEY: Final = "the key of the other end is not known"
_REFUSED: Final = 400  # of ZAP


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
    With `keys` the network is closed: every connection is encrypted, and both its ends have proved their keys.

    Raises:
        LinkError: `keys` are none.
    """

    def __init__(
        self,
        *,
        bind_host: str,
        advertise_host: str,
        deliver: Callable[[Event], None],
        keys: KeyPair | None = None,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        self._bind_host = _bracketed(bind_host)
        self._advertise_host = _bracketed(advertise_host)
        self._deliver = deliver
        self._failed = failed
        try:
            self._keys = None if keys is None else (raw_key(keys.public), raw_key(keys.secret))
        except ValueError as error:
            raise LinkError("the own keys are malformed") from error
        self._loop = asyncio.get_running_loop()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._links: dict[LinkId, Link] = {}
        self._leaving: list[Link] = []
        self._all_left = asyncio.Event()

    @property
    def counters(self) -> dict[LinkId, Counters]:
        """The counters of every open link; live objects, only to be read."""
        return {link.id: link.counters for link in self._links.values()}

    def perform(self, command: OpenLink | CloseLink | Send | Allow | Expel) -> None:
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
            case Allow(link_id, key):
                link = self._links.get(link_id)
                if link is not None and link.domain is not None:
                    shared_context.zap().allow(link.domain, key)
            case Expel(link_id, key):
                link = self._links.get(link_id)
                if link is not None and link.domain is not None:
                    shared_context.zap().expel(link.domain, key)
                    link.peers.end(key)

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
            await shared_context.give_back(limits.STOP_MS - (clock.monotonic_ms() - began_ms))

    # --- opening and closing ---

    def _open(self, command: OpenLink) -> None:
        if command.link in self._links:
            raise LinkError(f"link {command.link!r} is open already")
        spec = SPECS[command.kind]
        try:
            link = self._make(command, spec)
        except _NoKey:
            log.warning("link=%s kind=%s %s", command.link, command.kind.name, _NO_KEY)
            self._deliver(LinkDown(command.link, _NO_KEY, hopeless=True))
            return
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

    def _make(self, command: OpenLink, spec: LinkSpec) -> Link:
        other_key = b"" if self._keys is None or spec.binds else _other_key(command.key)
        if self._context is None:
            self._context = shared_context.take()
        made = self._context.socket(spec.socket_type)
        try:
            for option, value in spec.options:
                made.setsockopt(option, value)
            if self._keys is not None and not spec.binds:
                made.setsockopt(zmq.CURVE_SERVERKEY, other_key)
                made.setsockopt(zmq.CURVE_PUBLICKEY, self._keys[0])
                made.setsockopt(zmq.CURVE_SECRETKEY, self._keys[1])
            topic = command.topic.encode() + b"\0"  # ended, as a subscription is a prefix: tea is not teapot
            link = Link(
                id=command.link,
                kind=command.kind,
                spec=spec,
                socket=made,
                read_option=cast("Callable[[int], int]", made.getsockopt),
                endpoint=command.endpoint,
                topic=topic,
                union=READS.get(command.kind),
                read=(READERS if self._keys is None else PROVED_READERS)[command.kind],
                secured=self._keys is not None,
                key=command.key,
            )
            if self._keys is not None and spec.binds:
                self._guard(link, self._keys[1])
            return link
        except zmq.ZMQError:
            made.close(0)
            raise

    def _guard(self, link: Link, secret: bytes) -> None:
        """Have a socket that is to be bound let in those alone who prove a key, and whose key may."""
        link.socket.setsockopt(zmq.CURVE_SERVER, 1)
        link.socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
        link.socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # without it, a missing handler would let everybody in
        link.domain = shared_context.zap().open(_policy(link), self._failed)
        link.socket.setsockopt(zmq.ZAP_DOMAIN, link.domain.name)

    def _attach(self, link: Link) -> None:
        """Watch the socket, then bind or connect it."""
        if link.spec.counted:
            link.crowd = Crowd()
        if link.spec.monitored or link.spec.counted:
            link.monitor = _monitor_of(link.socket)
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

    def _bind(self, link: Link) -> None:
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

    def _shut(self, link: Link, linger_ms: int) -> None:
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

    def _left(self, link: Link) -> None:
        """The time of a leaving link is over, or it has nothing left to send."""
        if not link.closed:
            self._leaving.remove(link)
            self._close_socket(link, max(link.leaving_until_ms - clock.monotonic_ms(), 0))
            if not self._leaving:
                self._all_left.set()

    def _close_socket(self, link: Link, linger_ms: int) -> None:
        link.counters.dropped += len(link.waiting)
        link.waiting.clear()
        link.closed = True
        for descriptor in link.descriptors:
            self._loop.remove_reader(descriptor)
        if link.monitor is not None:
            link.socket.disable_monitor()  # before its socket is closed: the other order hangs or leaks
            link.monitor.close(0)
        link.socket.close(linger_ms)
        if link.domain is not None:
            shared_context.zap().forget(link.domain)
            link.domain = None

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

    def _send_routed(self, link: Link, frames: list[bytes], command: Send) -> None:
        """To one peer of a ROUTER. It is never waited for: the other peers' messages would wait behind it."""
        try:
            send_frames(link, frames)
        except zmq.Again:
            self._refuse(command, "its receiver takes no more")
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._refuse(command, "its receiver is not connected")

    def _send_published(self, link: Link, frames: list[bytes]) -> None:
        """To every reader. ZeroMQ drops it for those who are too slow, and tells nobody."""
        try:
            send_frames(link, frames)
        except zmq.Again:
            link.counters.dropped += 1  # does not happen without XPUB_NODROP; if it did, readers fetch what they miss

    def _send_or_wait(self, link: Link, frames: list[bytes], command: Send) -> None:
        if not link.waiting:
            try:
                send_frames(link, frames)
                return
            except zmq.Again:
                pass  # no connection yet, or a full one
        if len(link.waiting) >= limits.LINK_QUEUE_MAX:
            self._refuse(command, f"{limits.LINK_QUEUE_MAX} messages wait already")
            return
        link.waiting.append((frames, command))

    def _send_waiting(self, link: Link) -> None:
        """Send from the queue until it is empty or the socket takes no more."""
        while link.waiting:
            try:
                send_frames(link, link.waiting[0][0])
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

    def _kick(self, link: Link) -> None:
        """Look at the socket soon, as its descriptor may not say that there is something to do."""
        if not link.kicked and not link.closed:
            link.kicked = True
            self._loop.call_soon(self._kicked, link)

    def _kicked(self, link: Link) -> None:
        link.kicked = False
        self._drain(link)

    def _drain(self, link: Link) -> None:
        """Take what has come, limits.DRAIN_MESSAGES and DRAIN_MS at most; come back for the rest."""
        if link.closed:
            return
        try:
            if link.leaving_until_ms:
                self._drain_leaving(link)
                return
            # The connection's fate first: what it tells was so before what can now be read.
            if link.monitor is not None and not self._drain_monitor(link, link.monitor):
                self._kick(link)
                return
            events = link.read_option(zmq.EVENTS)
            if events & zmq.POLLOUT and link.waiting:
                self._send_waiting(link)
            if events & zmq.POLLIN:
                self._drain_messages(link)
            events = link.read_option(zmq.EVENTS)
            if events & zmq.POLLIN or (link.waiting and events & zmq.POLLOUT):
                self._kick(link)
            elif link.down is not None:
                self._down_now(link, link.down)
        except Exception as error:  # asyncio would log it and go on without this link
            if self._failed is None:
                raise
            self._failed(error)

    def _drain_leaving(self, link: Link) -> None:
        """Send what waits; what comes in concerns nobody any more."""
        if link.read_option(zmq.EVENTS) & zmq.POLLOUT:
            self._send_waiting(link)
        if not link.waiting:
            self._left(link)
        elif link.read_option(zmq.EVENTS) & zmq.POLLOUT:
            self._kick(link)

    def _drain_messages(self, link: Link) -> None:
        until_ms = clock.monotonic_ms() + limits.DRAIN_MS
        read = link.read
        for index in range(limits.DRAIN_MESSAGES):
            if index & 7 == 7 and clock.monotonic_ms() > until_ms:
                return
            try:
                if link.discarding:
                    discard(link)
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

    def _garbled(self, link: Link, why: str, sender: bytes) -> None:
        count = link.counters.garbled = link.counters.garbled + 1
        if count & (count - 1) == 0:  # the 1st, 2nd, 4th, 8th …: a flood must not become a flood of lines
            log.warning("link=%s kind=%s garbled=%d: %s", link.id, link.kind.name, count, why)
        if sender:
            self._deliver(Garbled(link.id, why[: limits.MESSAGE_CHARS_MAX], sender))

    # --- the connection ---

    def _drain_monitor(self, link: Link, monitor: "zmq.Socket[bytes]") -> bool:
        """Whether all events of the connection have been read; many at once are a flood of strangers."""
        until_ms = clock.monotonic_ms() + limits.DRAIN_MS
        while cast(int, monitor.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            told = parse_monitor_message(monitor.recv_multipart(zmq.NOBLOCK))
            self._connection_event(link, int(told["event"]), int(told["value"]))
            if clock.monotonic_ms() > until_ms:
                return False
        return True

    def _connection_event(self, link: Link, event: int, value: int) -> None:
        if link.crowd is not None:
            if event == zmq.EVENT_ACCEPTED:
                link.crowd.came(value)
            elif event == zmq.EVENT_DISCONNECTED:
                link.crowd.left(value)
        elif link.spec.binds:
            if link.secured:
                self._guarded_event(link, event, value)
            else:
                self._accepting_event(link, event, value)
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            link.handshaking = False
            link.refusals = 0
            self._up(link)
        elif event == zmq.EVENT_CONNECTED:
            link.handshaking = True
            if connects_to_itself(value):
                link.handshaking = False
                link.socket.disconnect(link.endpoint)
                self._down(link, "nobody listens there: the connection came back to its own port")
        elif event == zmq.EVENT_DISCONNECTED and not link.handshaking and not link.connection and link.refusals:
            pass  # told of, or counted, when the handshake failed
        elif event == zmq.EVENT_DISCONNECTED and link.handshaking and link.secured:
            # Without a word about the handshake: what answered there is no ZeroMQ, or one too old to have keys.
            link.handshaking = False
            self._down(link, _OPEN_TO_ALL, hopeless=True)
        elif event in _WHY_DOWN:
            link.handshaking = False
            self._failed_event(link, event, value)

    def _failed_event(self, link: Link, event: int, value: int) -> None:
        """A connection broke, or was not made. After some ways for a handshake to fail libzmq never tries again."""
        if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
            self._down(link, _OPEN_TO_ALL if link.secured else _CLOSED_TO_US, hopeless=True)
        elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and value == zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC:
            self._down(link, _ANOTHER_KEY, hopeless=True)
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH and value == _REFUSED:
            self._down(link, _NOT_LET_IN, hopeless=True)
        elif (
            event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
            and value != errno.EAGAIN
            and (link.secured or link.spec.only_hopeless)
        ):
            self._hung_up_on(link)
        else:
            link.refusals = 0
            self._down(link, _WHY_DOWN[event])

    def _hung_up_on(self, link: Link) -> None:
        """The other end broke a handshake off. It does so if it has another key than we think; or it ends just now."""
        link.refusals += 1
        if link.spec.single_use or link.was_up:
            self._down(link, _WHY_DOWN[int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)])
        elif link.refusals == limits.REFUSALS_MAX:
            link.socket.disconnect(link.endpoint)
            self._down(link, _ANOTHER_KEY if link.secured else _CLOSED_TO_US, hopeless=True)

    def _accepting_event(self, link: Link, event: int, value: int) -> None:
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

    def _guarded_event(self, link: Link, event: int, value: int) -> None:
        """The same on a closed network, where nobody but the peer completes a handshake: strangers change nothing.

        The event of a success does not tell which connection it is. It is one of those that stood then; the others
        are gone when their handshakes have timed out, at the latest, and the first message tells as well.
        """
        if event == zmq.EVENT_ACCEPTED:
            link.accepted.append(value)
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            if link.connection is None:
                link.peer_among = set(link.accepted)
                self._up(link)
            else:
                self._down(link, "its peer connected twice")
        elif event == zmq.EVENT_DISCONNECTED:
            if value in link.accepted:
                link.accepted.remove(value)
            link.peer_among.discard(value)
            if link.connection and not link.peer_among:
                self._down(link, _WHY_DOWN[event])

    def _up(self, link: Link) -> None:
        if link.down is not None:
            self._down_now(link, link.down)
        if not link.connection and not (link.spec.single_use and link.connection is False):
            link.connection = link.was_up = True
            if not link.spec.only_hopeless:
                self._deliver(LinkUp(link.id))

    def _down(self, link: Link, why: str, *, hopeless: bool = False) -> None:
        """Note that the connection broke: once an outage, however often connecting is tried again.

        That it is hopeless is told in any case: what is tried again has then come to its end.
        """
        if link.connection is not False or hopeless:
            link.connection = False
            link.down = LinkDown(link.id, why, hopeless)
            if link.spec.single_use:
                link.counters.dropped += len(link.waiting)
                link.waiting.clear()

    def _down_now(self, link: Link, down: LinkDown) -> None:
        link.down = None
        log.info("link=%s kind=%s down: %s", link.id, link.kind.name, down.why)
        if down.hopeless or not link.spec.only_hopeless:
            self._deliver(down)


def _monitor_of(monitored: "zmq.Socket[bytes]") -> "zmq.Socket[bytes]":
    """A socket that reads the events of `monitored`, however many wait.

    Were their number bounded, libzmq's I/O thread would stop at the bound, holding a lock that closing needs.
    """
    address = f"inproc://monitor-{next(_monitor_numbers)}"
    monitored.monitor(address, _MONITORED)
    reader: zmq.Socket[bytes] = monitored.context.socket(zmq.PAIR)
    reader.rcvhwm = 0
    reader.connect(address)
    return reader


def _policy(link: Link) -> Policy:
    """Who may connect to a bound socket of a closed network."""
    if link.spec.single_use:
        return OneKey(link.key)
    return AllowedOnly() if link.kind is LinkKind.FEED_BIND else Policy()


def _other_key(text: str) -> bytes:
    try:
        return raw_key(text)
    except ValueError:
        raise _NoKey from None


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
