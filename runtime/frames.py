"""One link, and its frames in and out: which frames a message of each kind of link has."""

import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import zmq

from runtime.crowd import Crowd
from runtime.link_specs import LinkSpec
from runtime.peers import Peers
from runtime.zap import Verdict
from runtime.zap_handler import Domain
from wire import codec, limits
from wire.errors import WireError
from wire.messages import Message
from wire.names import LinkId
from wire.step import Event, Garbled, LinkDown, LinkKind, Received, Send, Subscribed

_ENVELOPE_BYTES_MAX: Final = 512  # a routing id (255 at most), a request id of 4, and room for a proxy's
_length = struct.Struct(">H")


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
class Link:
    """One socket and what we know of it. `connection`: None before the first, then whether it stands.

    On a closed network `key` is the other end's, and a bound socket has a `domain` and, once it has been heard, peers.
    """

    id: LinkId
    kind: LinkKind
    spec: LinkSpec
    socket: "zmq.Socket[bytes]"
    read_option: Callable[[int], int]  # the socket's getsockopt, for options that are numbers
    endpoint: str
    topic: bytes
    union: Any  # what may be received
    read: "Callable[[Link], Event | None]"  # takes the next message from the socket
    secured: bool = False
    key: str = ""
    domain: Domain | None = None
    peers: Peers = field(default_factory=Peers)
    crowd: Crowd | None = None  # of a bound socket for many
    monitor: "zmq.Socket[bytes] | None" = None
    descriptors: list[int] = field(default_factory=list)  # what the loop watches
    waiting: "deque[tuple[list[bytes], Send]]" = field(default_factory=deque)
    counters: Counters = field(default_factory=Counters)
    kicked: bool = False
    closed: bool = False
    leaving_until_ms: int = 0  # not 0: the core has closed it; what waits may still leave until then
    discarding: bool = False  # inside a message with too many frames
    connection: bool | None = None
    handshaking: bool = False  # CONNECT kinds: the connection is made, what comes of it is not known
    was_up: bool = False
    refusals: int = 0  # handshakes that the other end broke off, in a row
    accepted: list[int] = field(default_factory=list)  # single-use and bound: who is connected, oldest first
    peer: int = -1  # and which of them completed the handshake first; both as numbers of the monitor's events
    peer_among: set[int] = field(default_factory=set)  # the same on a closed network, as far as it is known
    down: LinkDown | None = None  # to be told once what was received before it has been read


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


# --- in and out ---------------------------------------------------------------------------------------------------
# Measured: frame by frame costs a third of recv_multipart and send_multipart; asking a Frame whether more follow
# costs less than asking the socket; a frame that always has a successor need not be asked. Joining two flags costs as
# much as sending a frame.

_NOT_THE_LAST: Final = int(zmq.NOBLOCK | zmq.SNDMORE)


def send_frames(link: Link, frames: list[bytes]) -> None:
    send = link.socket.send
    for frame in frames[:-1]:
        send(frame, _NOT_THE_LAST)
    send(frames[-1], zmq.NOBLOCK)
    link.counters.messages_out += 1
    link.counters.bytes_out += len(frames[-1])


def _receive(link: Link, frames: list[bytes], more: bool = True) -> list[bytes]:
    """All frames of the next message, or those that follow `frames` of a message already begun; returns `frames`.

    Raises:
        zmq.Again: there is none.
        _TooManyFrames: it has more than limits.FRAMES_MAX; the rest is discarded, a bounded part a turn.
    """
    receive = link.socket.recv
    while more:
        if len(frames) == limits.FRAMES_MAX:
            link.discarding = True
            raise _TooManyFrames(frames)
        frame = receive(zmq.NOBLOCK, copy=False)
        frames.append(frame.bytes)
        more = frame.more
    link.counters.messages_in += 1
    return frames


def discard(link: Link) -> None:
    """Throw away up to limits.FRAMES_MAX frames of a message that has too many."""
    for _ in range(limits.FRAMES_MAX):
        link.socket.recv(zmq.NOBLOCK)
        if not link.read_option(zmq.RCVMORE):
            link.discarding = False
            return


def _message(link: Link, frames: Sequence[bytes]) -> Message:
    link.counters.bytes_in += len(frames[-1]) if frames else 0
    message: Message = codec.decode(frames, link.union)
    return message


def _read_plain(link: Link) -> Event | None:
    """DEALER, PAIR, REQ: the message alone."""
    return Received(link.id, _message(link, _receive(link, [])))


def _read_routed(link: Link) -> Event | None:
    """ROUTER: the sender's routing id, the message."""
    return _routed(link, link.socket.recv(zmq.NOBLOCK), "")


def _routed(link: Link, route: bytes, key: str) -> Event:
    try:
        frames = _receive(link, [route])
    except _TooManyFrames as error:
        return Garbled(link.id, str(error), route)
    try:
        return Received(link.id, _message(link, frames[1:]), route, key)
    except WireError as error:
        return Garbled(link.id, str(error), route)


def _read_enveloped(link: Link) -> Event | None:
    """ROUTER that serves REQs: routing ids and a request id up to an empty frame, the message."""
    return _enveloped(link, link.socket.recv(zmq.NOBLOCK), "")


def _enveloped(link: Link, route: bytes, key: str) -> Event:
    try:
        frames = _receive(link, [route])
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
        return Received(link.id, _message(link, body), sender, key)
    except WireError as error:
        return Garbled(link.id, str(error), sender)


def _read_feed(link: Link) -> Event | None:
    """SUB: the topic, the message."""
    return Received(link.id, _message(link, _receive(link, [])[1:]))


def _read_subscription(link: Link) -> Event | None:
    """XPUB: 1 and a topic for a subscription, 0 and a topic for its end."""
    return _subscription(link, _receive(link, []))


def _subscription(link: Link, frames: list[bytes]) -> Event | None:
    if len(frames) != 1 or frames[0][:1] not in (b"\0", b"\1"):
        return Garbled(link.id, "a reader may only subscribe")
    if frames[0][:1] == b"\1" and link.topic.startswith(frames[0][1:]):
        return Subscribed(link.id)
    return None


READERS: Final[dict[LinkKind, Callable[[Link], Event | None]]] = {
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

# --- in, on a closed network --------------------------------------------------------------------------------------
# Measured: key and descriptor of a message's first frame cost a microsecond. They are looked at with every message,
# as a routing id proves nothing: whoever comes next may choose the one that has just become free.


def _proved_by(link: Link, frame: zmq.Frame, route: bytes) -> str:
    """The key proved by the connection that `frame` came by; nothing if it may say nothing (any more)."""
    try:
        key = str(frame.get("User-Id"))
        descriptor = frame.get(zmq.SRCFD)
    except zmq.ZMQError:  # there is none: then nobody has judged this connection
        return ""
    if link.domain is None or not link.domain.policy.is_in(key):
        link.peers.end_one(descriptor, key)
        return ""
    link.peers.note(descriptor, route, key)
    return key


def _unproved(link: Link) -> Garbled:
    return Garbled(link.id, "it came from a key that may not be here (any more), or from none")


def _read_routed_proved(link: Link) -> Event | None:
    frame = link.socket.recv(zmq.NOBLOCK, copy=False)
    route = frame.bytes
    key = _proved_by(link, frame, route)
    event = _routed(link, route, key)
    return event if key else _unproved(link)


def _read_enveloped_proved(link: Link) -> Event | None:
    frame = link.socket.recv(zmq.NOBLOCK, copy=False)
    route = frame.bytes
    key = _proved_by(link, frame, route)
    event = _enveloped(link, route, key)
    return event if key else _unproved(link)


def _read_subscription_proved(link: Link) -> Event | None:
    frame = link.socket.recv(zmq.NOBLOCK, copy=False)
    said = frame.bytes
    event = _subscription(link, _receive(link, [said], frame.more))
    if said[:1] == b"\0":
        return event  # libzmq itself says so as well, for those who have gone, and then without a key
    key = _proved_by(link, frame, b"")
    if not key:
        return _unproved(link)
    if link.domain is None or link.domain.policy.judge(key) is not Verdict.ACCEPT:
        return None  # it was allowed once, and has been forgotten since
    return event


def _read_plain_proved(link: Link) -> Event | None:
    """DEALER, PAIR that are bound: the message alone. The first one tells which connection is the peer's."""
    if len(link.peer_among) < 2:
        return _read_plain(link)
    frame = link.socket.recv(zmq.NOBLOCK, copy=False)
    descriptor = frame.get(zmq.SRCFD)
    if descriptor in link.peer_among:
        link.peer_among = {descriptor}
    return Received(link.id, _message(link, _receive(link, [frame.bytes], frame.more)))


PROVED_READERS: Final[dict[LinkKind, Callable[[Link], Event | None]]] = {
    **READERS,
    LinkKind.DNS_BIND: _read_enveloped_proved,
    LinkKind.ROOM_BIND: _read_routed_proved,
    LinkKind.FEED_BIND: _read_subscription_proved,
    LinkKind.COPY_BIND: _read_plain_proved,
    LinkKind.TALK_BIND: _read_plain_proved,
}
