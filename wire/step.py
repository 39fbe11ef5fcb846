"""What a core is: events in, commands out; pure.

A core has no socket, clock, thread or randomness. It is told events with the time (monotonic milliseconds)
and returns commands, which a driver performs: behind ZeroMQ (`runtime.driver`) or in the simulator
(`tests/sim`). Nothing re-enters a core, and a command is performed only after `handle` has returned.
"""

import enum
from dataclasses import dataclass
from typing import Any, Protocol

from wire.messages import DnsReply, DnsRequest, Feed, Message, Pair, Talk, ToClient, ToServer
from wire.names import LinkId


class LinkKind(enum.Enum):
    """Which socket, at which end; `runtime.links` says with which options. BIND kinds take any free port."""

    DNS_ASK = "REQ to zdns"
    ROOM_BIND = "ROUTER of a server half"
    ROOM_CONNECT = "DEALER to a server half's ROUTER"
    FEED_BIND = "XPUB of a server half"
    FEED_CONNECT = "SUB to a server half's XPUB"
    COPY_BIND = "DEALER between leader and follower, the end that binds"
    COPY_CONNECT = "DEALER between leader and follower, the end that connects"
    TALK_BIND = "PAIR for one talk, binding end"
    TALK_CONNECT = "PAIR for one talk, connecting end"
    DNS_BIND = "the zdns port"


# --- events ---


@dataclass(frozen=True, slots=True)
class Started:
    """First event of every core. `nonce`: 32 fresh hex digits to make ids from; `utc_ms`: the wall clock now."""

    nonce: str
    utc_ms: int


@dataclass(frozen=True, slots=True)
class Received:
    """A message came. `sender`: the routing id, on ROOM_BIND and DNS_BIND links only; answers go to it.

    `key`: on the same links, the public key that its connection has proved; never empty on a closed network.
    """

    link: LinkId
    message: Message
    sender: bytes = b""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Garbled:
    """Something came that is no message of this link. `why` is a sentence for its sender."""

    link: LinkId
    why: str
    sender: bytes = b""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A reader's subscription is now in force on a FEED_BIND link."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class LinkBound:
    """A BIND link is bound; `endpoints` are what others should connect to."""

    link: LinkId
    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The connection of a link stands (handshake done): CONNECT kinds, COPY_BIND and TALK_BIND."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The connection of a link broke, or could not be made. The link stays open until the core closes it.

    `hopeless`: trying again is of no use, as the other end is closed to us, or open, or has another key, or its key is
    not known. It is told even if the link was down before. A DNS_ASK link tells only that, and that it was not opened.
    """

    link: LinkId
    why: str
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class SendRefused:
    """A message will not be sent: its receiver is not connected, or the link's queue is full."""

    link: LinkId
    message: Message
    to: bytes
    why: str


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer the core started has run out."""

    name: str


@dataclass(frozen=True, slots=True)
class Stopping:
    """The process was asked to end; the core says `Stop` when it has put its house in order."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The local user, or the process around the core, wants something; `intent` is a value of the core's own."""

    intent: Any


Event = (
    Started
    | Received
    | Garbled
    | Subscribed
    | LinkBound
    | LinkUp
    | LinkDown
    | SendRefused
    | TimerFired
    | Stopping
    | Asked
)

# --- commands ---


@dataclass(frozen=True, slots=True)
class OpenLink:
    """Open a socket. CONNECT and ASK kinds: `endpoint` is where to. FEED kinds: `topic` is the service name.

    `key`, on a closed network: the public key of the other end. CONNECT and ASK kinds refuse any other; COPY_BIND and
    TALK_BIND let nobody else connect.
    """

    link: LinkId
    kind: LinkKind
    endpoint: str = ""
    topic: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class CloseLink:
    """Close a socket. `linger_ms`: how long what was sent may still take to leave."""

    link: LinkId
    linger_ms: int = 0


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message; on ROOM_BIND and DNS_BIND links to the peer with routing id `to`."""

    link: LinkId
    message: Message
    to: bytes = b""


@dataclass(frozen=True, slots=True)
class Allow:
    """On a FEED_BIND link of a closed network: whoever has `key` may connect.

    Until then it is kept waiting, for limits.ADMISSION_WAIT_MS at most; then it is turned down.
    """

    link: LinkId
    key: str


@dataclass(frozen=True, slots=True)
class Expel:
    """On a ROOM_BIND or FEED_BIND link of a closed network: end the connections of whoever has `key`.

    It may connect again: to a feed when it is allowed anew, to a room to hear why. One that has said nothing yet goes
    on until it does; at a feed it ends then.
    """

    link: LinkId
    key: str


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Start, or start anew, the timer `name`."""

    name: str
    delay_ms: int


@dataclass(frozen=True, slots=True)
class StopTimer:
    """Stop the timer `name`, if it runs."""

    name: str


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the local user, or the process around the core, something; `notice` is a value of the core's own."""

    notice: Any


@dataclass(frozen=True, slots=True)
class Stop:
    """The core is done: close everything and end."""

    reason: str = ""


Command = OpenLink | CloseLink | Send | Allow | Expel | StartTimer | StopTimer | Report | Stop


class Core(Protocol):
    """A composed state machine with one door."""

    def handle(self, event: Event, now_ms: int) -> list[Command]:
        """Advance by one event; input that means nothing now yields no command."""

    def describe(self) -> str:
        """Room, epoch and phases in one short line; drivers log it whenever it changes."""


# What may arrive on a link of each kind: the closed unions of `wire.messages`. FEED_BIND reads subscriptions only.
READS: dict[LinkKind, Any] = {
    LinkKind.DNS_ASK: DnsReply,
    LinkKind.DNS_BIND: DnsRequest,
    LinkKind.ROOM_BIND: ToServer,
    LinkKind.ROOM_CONNECT: ToClient,
    LinkKind.FEED_CONNECT: Feed,
    LinkKind.COPY_BIND: Pair,
    LinkKind.COPY_CONNECT: Pair,
    LinkKind.TALK_BIND: Talk,
    LinkKind.TALK_CONNECT: Talk,
}
