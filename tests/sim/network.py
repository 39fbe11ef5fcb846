"""The simulated network: links between nodes that fail as each ZeroMQ socket type really fails.

What is kept: the order inside one connection; whole messages; no duplicates from the transport. What is not:
anything in flight when a connection breaks (a random tail of it), whatever waits for a peer that goes away,
PUB's messages to a slow or late reader, an answer to a REQ; and what the connecting end has not read yet when the
connection ends, even if the other end closed it with time to linger. Every message passes through `wire.codec`
both ways. `tests/net/test_contract.py` holds this file to what real sockets do.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.sim.world import World
from wire import codec, limits
from wire.errors import WireError
from wire.messages import Message
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
    Received,
    Send,
    SendRefused,
    Subscribed,
)

BOUND_BY = {
    LinkKind.DNS_ASK: LinkKind.DNS_BIND,
    LinkKind.ROOM_CONNECT: LinkKind.ROOM_BIND,
    LinkKind.FEED_CONNECT: LinkKind.FEED_BIND,
    LinkKind.COPY_CONNECT: LinkKind.COPY_BIND,
    LinkKind.TALK_CONNECT: LinkKind.TALK_BIND,
}
# Both ends of these are told of a connection; of the others the connecting end, and REQ and its server never.
TOLD = (
    LinkKind.ROOM_CONNECT,
    LinkKind.FEED_CONNECT,
    LinkKind.COPY_BIND,
    LinkKind.COPY_CONNECT,
    LinkKind.TALK_BIND,
    LinkKind.TALK_CONNECT,
)
SINGLE_USE = (LinkKind.COPY_BIND, LinkKind.COPY_CONNECT, LinkKind.TALK_BIND, LinkKind.TALK_CONNECT)
ADDRESSED = (LinkKind.ROOM_BIND, LinkKind.DNS_BIND)  # ROUTERs: a message needs a routing id
# As the options in runtime.links have it.
RECONNECT_MS = 100
RECONNECT_MAX_MS = 1_000
CONNECT_TIMEOUT_MS = 1_500
PROMPT_TIMEOUT_MS = (2_000, 2_600)  # when ZMTP pings of a connection that needs to be quick are missed
PATIENT_TIMEOUT_MS = (6_000, 8_000)
PROMPT = (LinkKind.ROOM_CONNECT, LinkKind.COPY_CONNECT)
LAST_WORDS_MS = 200  # how long a process that ends waits for a connection to say them on
POLL_MS = 200  # how often an attempt that hangs looks again whether somebody is there now


@dataclass
class Weather:
    """How bad the network is; `calm()` is a good one."""

    latency_ms: tuple[int, int] = (0, 2)
    late_chance: float = 0.0  # a message that takes `late_ms` longer, and delays what follows it on its connection
    late_ms: int = 0
    feed_drop_chance: float = 0.0  # PUB at its high-water mark
    refuse_chance: float = 0.0  # ROUTER at its high-water mark
    mute_chance: float = 0.0  # a REQ that is never answered
    high_water: int = 1_000  # messages in flight on one connection


@dataclass(eq=False)
class Socket:
    """One open link of one incarnation of a node."""

    node: str
    link: LinkId
    kind: LinkKind
    endpoint: str
    topic: str
    key: str = ""  # of the other end, as the core says
    allowed: set[str] = field(default_factory=set)  # FEED_BIND on a closed network: the keys that may connect
    open: bool = True
    connections: list["Connection"] = field(default_factory=list)
    waiting: deque[list[bytes]] = field(default_factory=deque)  # sent while not connected
    stands: bool | None = None  # None before the first connection, then as the core was told
    tries: int = 0
    trying_since_ms: int = 0
    asked: int = 0  # REQ: number of the last request; an answer to an earlier one is dropped
    answered: int = 0  # and of the last answer: a second one to the same request is dropped as well
    leaving: bool = False  # the core has closed it; what waits may still leave, and nothing is told any more
    turned_away: list["Connection"] = field(default_factory=list)  # PAIR: those who came while another was there
    turn: int = 0  # DEALER with several peers: whose turn it is


@dataclass(eq=False)
class Pipe:
    """One direction of a connection: `(due_ms, frames)` in order; frames None: the end of the connection."""

    sender: Socket
    receiver: Socket
    flight: deque[tuple[int, list[bytes] | None, str]] = field(default_factory=deque)
    last_due_ms: int = 0
    closed: bool = False  # nothing goes in any more


@dataclass(eq=False)
class Connection:
    """A connection; `pipes[0]` leads from the connecting end to the bound one."""

    routing_id: bytes
    pipes: tuple[Pipe, Pipe]
    subscribed: bool = False
    occupied: bool = False  # PAIR: the bound end has another peer; everything sent here vanishes
    broken: bool = False

    def pipe_from(self, socket: Socket) -> Pipe:
        """The direction in which `socket` sends."""
        return self.pipes[0] if self.pipes[0].sender is socket else self.pipes[1]


def _machines(pipe: Pipe) -> tuple[str, str]:
    return machine_of(pipe.sender.node), machine_of(pipe.receiver.node)


@dataclass(frozen=True, slots=True)
class _Attempt:
    socket: Socket


@dataclass(frozen=True, slots=True)
class _Flow:
    connection: Connection
    pipe: Pipe


@dataclass(frozen=True, slots=True)
class _Left:
    socket: Socket


@dataclass(frozen=True, slots=True)
class _Expire:
    connection: Connection


Watch = Callable[[str, str, Message], None]
ROUTING_ID_BYTES = 5
SUBSCRIPTION = b"\x01"


def _loses_nothing(_sender: str, _receiver: str, _message: Message) -> bool:
    return False


def machine_of(node: str) -> str:
    """The machine that a node runs on: "ana" for the client half "ana" and for the server half "ana.s1"."""
    return node.partition(".")[0]


def host_of(endpoint: str) -> str:
    """The machine that an endpoint belongs to."""
    return endpoint.removeprefix("tcp://").split(":")[0]


class Network:
    """All links of all nodes.

    `deliver(node, event)` hands an event to a node, later; `stopped(node)` is True while its process exists but
    does not run. `on_sent` and `on_arrived` watch
    (sender, receiver, message), the receiver being "" for what is published or goes to a process that died
    unnoticed; `loses` decides about single messages where the socket type may lose one.
    """

    def __init__(
        self,
        world: World,
        deliver: Callable[[str, Event], None],
        stopped: Callable[[str], bool],
        key_of: Callable[[str], str] = lambda _: "",
    ) -> None:
        """`key_of(node)`: its public key, which every connection of it proves; empty on an open network."""
        self.world = world
        self._key_of = key_of
        self.weather = Weather()
        self.on_sent: list[Watch] = []
        self.on_arrived: list[Watch] = []
        self.loses: Callable[[str, str, Message], bool] = _loses_nothing
        self.garbled_ends_the_run = True  # our own cores send nothing that a link does not carry, unless by a bug
        self._deliver = deliver
        self._stopped = stopped
        self._sockets: dict[tuple[str, str], Socket] = {}
        self._leaving: list[Socket] = []
        self._bound: dict[str, Socket] = {}
        self._free_ports: dict[str, list[str]] = {}
        self._port = 20_000  # the last one given out
        self._routes = 0
        self._blocked: dict[tuple[str, str], bool] = {}
        self._lost_machines: dict[str, bool] = {}  # they do not even refuse a connection
        world.join("net", self._handle)

    # --- what a node does -----------------------------------------------------------------------------------------

    def open(self, node: str, command: OpenLink) -> None:
        """Open a socket of `node`.

        Raises:
            ValueError: the link's name is in use, or this port is bound already.
        """
        key = (node, command.link)
        self._lost_machines.pop(machine_of(node), None)
        if key in self._sockets:
            raise ValueError(f"{node} opens link {command.link!r} twice")
        socket = Socket(node, command.link, command.kind, command.endpoint, command.topic, command.key)
        self._sockets[key] = socket
        if command.kind in BOUND_BY:
            socket.trying_since_ms = self.world.now_ms
            self.world.after(self._latency_ms(), "net", _Attempt(socket))
            return
        socket.endpoint = command.endpoint if command.kind is LinkKind.DNS_BIND else self._fresh_endpoint(node)
        if socket.endpoint in self._bound:
            raise ValueError(f"{socket.endpoint} is bound already")
        self._bound[socket.endpoint] = socket
        self._deliver(node, LinkBound(command.link, (socket.endpoint,)))

    def close(self, node: str, command: CloseLink) -> None:
        """Close a socket: what waits is lost, and of what is in flight a random tail, unless it may linger."""
        socket = self._sockets.pop((node, command.link), None)
        if socket is not None:
            self._let_out(socket, command.linger_ms)

    def allow(self, node: str, command: Allow) -> None:
        """Let somebody connect who is kept waiting."""
        if socket := self._sockets.get((node, command.link)):
            socket.allowed.add(command.key)

    def expel(self, node: str, command: Expel) -> None:
        """End somebody's connections."""
        socket = self._sockets.get((node, command.link))
        if socket is None:
            return
        socket.allowed.discard(command.key)
        for connection in list(socket.connections):
            if self._key_of(connection.pipes[0].sender.node) == command.key:
                self._break(connection)

    def send(self, node: str, command: Send) -> None:
        """Send a message as the link's socket type does it."""
        socket = self._sockets.get((node, command.link))
        if socket is None:
            self._refuse(node, command, "the link is closed")
            return
        frames = codec.encode(command.message)
        if socket.kind is LinkKind.FEED_BIND:
            self._publish(socket, frames, command.message)
        elif socket.kind in ADDRESSED:
            self._route(node, socket, frames, command)
        elif socket.kind in SINGLE_USE and socket.stands is False:
            self._refuse(node, command, "the connection broke")
        else:
            self._send_on(node, socket, frames, command)

    def node_left(self, node: str) -> None:
        """The process of `node` ended in good order: what it has sent is let out first."""
        for socket in [socket for (owner, _), socket in self._sockets.items() if owner == node]:
            del self._sockets[node, socket.link]
            self._let_out(socket, LAST_WORDS_MS)

    def node_gone(self, node: str, *, silent: bool) -> None:
        """The process of `node` died. `silent`: its machine too, so nobody is told before a timeout."""
        if silent:
            self._lost_machines[machine_of(node)] = True
        for socket in [socket for (owner, _), socket in self._sockets.items() if owner == node]:
            del self._sockets[node, socket.link]
            self._shut(socket, keep_all=False, silent=silent)
        for socket in [socket for socket in self._leaving if socket.node == node]:
            self._shut(socket, keep_all=False, silent=silent)

    def node_stuck(self, node: str) -> None:
        """The process of `node` was stopped: who talks to it gives up after a while."""
        self._expire_later(lambda pipe: node in (pipe.sender.node, pipe.receiver.node))

    # --- faults ---------------------------------------------------------------------------------------------------

    def block(self, source: str, target: str) -> None:
        """Let nothing through from machine `source` to machine `target`."""
        self._blocked[source, target] = True
        self._expire_later(lambda pipe: _machines(pipe) == (source, target))

    def unblock(self, first: str, second: str) -> None:
        """End what parts two machines; what was held flows again."""
        self._blocked.pop((first, second), None)
        self._blocked.pop((second, first), None)
        self.flow_again()

    def heal(self) -> None:
        """End everything that is wrong with the network."""
        self.weather = Weather()
        self.loses = _loses_nothing
        self._blocked.clear()
        self._lost_machines.clear()
        self.flow_again()

    def flow_again(self) -> None:
        """Look at all pipes again, after something that held them has ended."""
        for connection in self._connections():
            for pipe in connection.pipes:
                if pipe.flight:
                    self.world.after(self._latency_ms(), "net", _Flow(connection, pipe))

    def break_between(self, first: str, second: str) -> None:
        """Break all connections between two machines (a cable, a firewall, a middle box)."""
        for connection in self._connections():
            if _machines(connection.pipes[0]) in ((first, second), (second, first)):
                self._break(connection)

    # --- what the checkers ask --------------------------------------------------------------------------------------

    def links_of(self, node: str) -> int:
        """How many sockets `node` has open."""
        return sum(1 for owner, _ in self._sockets if owner == node)

    def waiting_max(self) -> int:
        """The longest queue in front of a socket that is not connected."""
        return max((len(socket.waiting) for socket in self._sockets.values()), default=0)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _handle(self, event: Any) -> None:
        match event:
            case _Attempt(socket):
                self._attempt(socket)
            case _Flow(connection, pipe):
                self._flow(connection, pipe)
            case _Left(socket):
                if socket.open:
                    self._shut(socket, keep_all=True, silent=False)
            case _Expire(connection):
                if any(self._held(pipe) for pipe in connection.pipes):
                    self._break(connection, timed_out=True)

    def _connections(self) -> list[Connection]:
        seen: dict[int, Connection] = {}
        for socket in self._sockets.values():
            for connection in socket.connections:
                seen[id(connection)] = connection
        return list(seen.values())

    def _latency_ms(self) -> int:
        weather = self.weather
        late_ms = weather.late_ms if self.world.chance(weather.late_chance) else 0
        return self.world.random.randint(*weather.latency_ms) + late_ms

    def _fresh_endpoint(self, node: str) -> str:
        machine = machine_of(node)
        freed = self._free_ports.setdefault(machine, [])
        if freed and self.world.chance(0.3):  # a port is given out again: who connects late meets another server
            return freed.pop()
        self._port += 1
        return f"tcp://{machine}:{self._port}"

    def _attempt(self, socket: Socket) -> None:
        """Try to connect once; one that hangs, or is refused where the kind reconnects, is tried again."""
        if not socket.open or socket.connections or (socket.kind in SINGLE_USE and socket.stands is False):
            return
        here, there = machine_of(socket.node), host_of(socket.endpoint)
        bound = self._bound.get(socket.endpoint)
        cut = (here, there) in self._blocked or (there, here) in self._blocked
        black_hole = cut or there in self._lost_machines
        if black_hole or self._stopped(socket.node) or (bound is not None and self._stopped(bound.node)):
            # A stopped process' machine takes the connection; nobody shakes hands.
            patience_ms = CONNECT_TIMEOUT_MS if black_hole else limits.HANDSHAKE_MS
            if self.world.now_ms - socket.trying_since_ms >= patience_ms:
                self._failed(socket, "the connection could not be made")
            else:
                self.world.after(POLL_MS, "net", _Attempt(socket))
            return
        if bound is None or bound.kind is not BOUND_BY[socket.kind]:
            self._failed(socket, "connection refused")
        elif not self._is_known_to(socket, bound):
            self._failed(socket, "it does not let this key in")
        elif self._waits_at(socket, bound):
            if self.world.now_ms - socket.trying_since_ms >= limits.ADMISSION_WAIT_MS:
                self._failed(socket, "it does not let this key in")
            else:
                self.world.after(1, "net", _Attempt(socket))
        else:
            self._connect(socket, bound)

    def _is_known_to(self, socket: Socket, bound: Socket) -> bool:
        """Whether each end has the key that the other one wants to see."""
        mine, theirs = self._key_of(socket.node), self._key_of(bound.node)
        if not theirs:
            return True
        single = bound.kind in SINGLE_USE
        return socket.key == theirs and (not single or bound.key == mine)

    def _waits_at(self, socket: Socket, bound: Socket) -> bool:
        mine = self._key_of(socket.node)
        return bool(mine) and bound.kind is LinkKind.FEED_BIND and mine not in bound.allowed

    def _failed(self, socket: Socket, why: str) -> None:
        self._tell_down(socket, why)
        self._retry(socket)

    def _retry(self, socket: Socket) -> None:
        if socket.kind not in BOUND_BY or socket.kind in SINGLE_USE or not socket.open:
            return
        delay_ms = min(RECONNECT_MS << min(socket.tries, 8), RECONNECT_MAX_MS) + self._latency_ms()
        socket.tries += 1
        socket.trying_since_ms = self.world.now_ms + delay_ms
        self.world.after(delay_ms, "net", _Attempt(socket))

    def _connect(self, socket: Socket, bound: Socket) -> None:
        self._routes += 1
        connection = Connection(b"\0" + self._routes.to_bytes(4, "big"), (Pipe(socket, bound), Pipe(bound, socket)))
        connection.occupied = bound.kind is LinkKind.TALK_BIND and bool(bound.connections)
        socket.connections.append(connection)
        socket.tries = 0
        if bound.kind is LinkKind.COPY_BIND and bound.connections:
            self._tell_down(bound, "somebody else connected as well")
        if connection.occupied:
            bound.turned_away.append(connection)
        else:
            bound.connections.append(connection)
            self._tell_up(bound)
        self._tell_up(socket)
        if socket.kind is LinkKind.FEED_CONNECT:
            self._put(connection, connection.pipes[0], [SUBSCRIPTION + socket.topic.encode()])
        while socket.waiting:
            frames = socket.waiting.popleft()
            if not connection.occupied:
                self._put(connection, connection.pipes[0], frames)
        while bound.waiting and not connection.occupied:
            self._put(connection, connection.pipes[1], bound.waiting.popleft())
        if socket.leaving:
            self._shut(socket, keep_all=True, silent=False)

    # --- sending --------------------------------------------------------------------------------------------------

    def _publish(self, socket: Socket, frames: list[bytes], message: Message) -> None:
        self._watch(self.on_sent, socket.node, "", message)
        for connection in socket.connections:
            reader, pipe = connection.pipes[0].sender, connection.pipes[1]
            dropped = len(pipe.flight) >= self.weather.high_water or self.world.chance(self.weather.feed_drop_chance)
            if connection.subscribed and not dropped and not self.loses(socket.node, reader.node, message):
                self._put(connection, pipe, frames)

    def _route(self, node: str, socket: Socket, frames: list[bytes], command: Send) -> None:
        asks = socket.kind is LinkKind.DNS_BIND
        for connection in socket.connections:
            if connection.routing_id == command.to[:ROUTING_ID_BYTES]:
                break
        else:
            self._refuse(node, command, "no such peer is connected")
            return
        pipe, receiver = connection.pipes[1], connection.pipes[0].sender
        full = len(pipe.flight) >= self.weather.high_water or self.world.chance(self.weather.refuse_chance)
        if full and not asks:
            self._refuse(node, command, "its queue is full")
            return
        self._watch(self.on_sent, socket.node, receiver.node if receiver.open else "", command.message)
        if self.loses(socket.node, receiver.node, command.message):
            return
        if asks:
            if self.world.chance(self.weather.mute_chance):
                return
            frames = [command.to[ROUTING_ID_BYTES:], *frames]
        self._put(connection, pipe, frames)

    def _send_on(self, node: str, socket: Socket, frames: list[bytes], command: Send) -> None:
        """DEALER, PAIR, REQ: to the one peer (DEALER: to each in turn), or wait for it."""
        if socket.kind is LinkKind.DNS_ASK:
            socket.asked += 1
            frames = [socket.asked.to_bytes(4, "big"), *frames]
        if not socket.connections:
            if len(socket.waiting) >= limits.LINK_QUEUE_MAX:
                self._refuse(node, command, f"{limits.LINK_QUEUE_MAX} messages wait already")
                return
            self._watch(self.on_sent, socket.node, host_of(socket.endpoint), command.message)
            socket.waiting.append(frames)
            return
        socket.turn += 1
        connection = socket.connections[socket.turn % len(socket.connections)]
        pipe = connection.pipe_from(socket)
        self._watch(self.on_sent, socket.node, pipe.receiver.node, command.message)
        if not connection.occupied and not self.loses(socket.node, pipe.receiver.node, command.message):
            self._put(connection, pipe, frames)

    def _refuse(self, node: str, command: Send, why: str) -> None:
        self._deliver(node, SendRefused(command.link, command.message, command.to, why))

    def _watch(self, watches: list[Watch], sender: str, receiver: str, message: Message) -> None:
        for watch in watches:
            watch(sender, receiver, message)

    def _put(self, connection: Connection, pipe: Pipe, frames: list[bytes] | None, why: str = "") -> None:
        if pipe.closed and frames is not None:
            return
        pipe.last_due_ms = max(pipe.last_due_ms, self.world.now_ms + self._latency_ms())
        pipe.flight.append((pipe.last_due_ms, frames, why))
        self.world.after(pipe.last_due_ms - self.world.now_ms, "net", _Flow(connection, pipe))

    # --- arriving -------------------------------------------------------------------------------------------------

    def _held(self, pipe: Pipe) -> bool:
        nodes = (pipe.sender.node, pipe.receiver.node)
        return _machines(pipe) in self._blocked or any(self._stopped(node) for node in nodes)

    def _flow(self, connection: Connection, pipe: Pipe) -> None:
        """Deliver what is due on a pipe; one that is blocked, or whose reader does not run, keeps everything."""
        while pipe.flight and pipe.flight[0][0] <= self.world.now_ms:
            if _machines(pipe) in self._blocked or self._stopped(pipe.receiver.node):
                return
            _, frames, why = pipe.flight.popleft()
            if not pipe.receiver.open:
                continue
            if frames is None:
                self._notice_end(connection, pipe.receiver, why)
            else:
                self._arrive(connection, pipe, frames)

    def _arrive(self, connection: Connection, pipe: Pipe, frames: list[bytes]) -> None:
        receiver = pipe.receiver
        self.world.stir(receiver.node, receiver.link, frames)
        if receiver.kind is LinkKind.FEED_BIND:
            # An XPUB matches topics by prefix; topics end in a zero byte, so a prefix match is an exact one.
            connection.subscribed = frames[0][1:].decode() == receiver.topic
            if connection.subscribed:
                self._deliver(receiver.node, Subscribed(receiver.link))
            return
        sender = connection.routing_id if receiver.kind in ADDRESSED else b""
        if receiver.kind is LinkKind.DNS_BIND:
            sender, frames = sender + frames[0], frames[1:]
        elif receiver.kind is LinkKind.DNS_ASK:
            number, frames = int.from_bytes(frames[0], "big"), frames[1:]
            if number != receiver.asked or number == receiver.answered:
                return
        try:
            message = codec.decode(frames, READS[receiver.kind])
        except WireError as error:
            if self.garbled_ends_the_run:
                raise
            if receiver.kind in ADDRESSED:
                self._deliver(receiver.node, Garbled(receiver.link, str(error), sender))
            return
        receiver.answered = receiver.asked
        self._watch(self.on_arrived, pipe.sender.node, receiver.node, message)
        key = self._key_of(pipe.sender.node) if receiver.kind in ADDRESSED else ""
        self._deliver(receiver.node, Received(receiver.link, message, sender, key))

    def _notice_end(self, connection: Connection, socket: Socket, why: str) -> None:
        if connection not in socket.connections or not socket.open:
            return
        socket.connections.remove(connection)
        self._tell_down(socket, why)
        self._retry(socket)

    def _tell_up(self, socket: Socket) -> None:
        if not socket.stands and not (socket.kind in SINGLE_USE and socket.stands is False):
            socket.stands = True
            if socket.kind in TOLD and not socket.leaving:
                self._deliver(socket.node, LinkUp(socket.link))

    def _tell_down(self, socket: Socket, why: str) -> None:
        """Once an outage, however often connecting is tried again."""
        if socket.stands is False:
            return
        socket.stands = False
        if socket.kind in SINGLE_USE:
            socket.waiting.clear()
        if socket.kind in TOLD and not socket.leaving:
            self._deliver(socket.node, LinkDown(socket.link, why))

    # --- breaking -------------------------------------------------------------------------------------------------

    def _lose_tail(self, pipe: Pipe) -> None:
        """Keep a random beginning of what is in flight; the rest dies with the connection."""
        kept = self.world.random.randint(0, len(pipe.flight))
        while len(pipe.flight) > kept:
            pipe.flight.pop()

    def _break(self, connection: Connection, *, timed_out: bool = False) -> None:
        """End a connection that nobody closed: both ends notice, behind what still arrives.

        `timed_out`: by a heartbeat's silence; then what was held by a partition is gone, and its reader notices now.
        """
        if connection.broken and not timed_out:
            return
        connection.broken = True
        for pipe in connection.pipes:
            pipe.closed = True
            if _machines(pipe) in self._blocked:
                pipe.flight.clear()
                self._notice_end(connection, pipe.receiver, "timed out")
                continue
            if not timed_out:
                self._lose_tail(pipe)
            self._put(connection, pipe, None, "connection reset")

    def _let_out(self, socket: Socket, linger_ms: int) -> None:
        """Close a socket; one that has no connection yet may still get it while it lingers."""
        if socket.waiting and linger_ms > 0:
            socket.leaving = True
            self._leaving.append(socket)
            self.world.after(linger_ms, "net", _Left(socket))
        else:
            self._shut(socket, keep_all=linger_ms > 0, silent=False)

    def _shut(self, socket: Socket, *, keep_all: bool, silent: bool) -> None:
        socket.open = False
        if socket.leaving:
            self._leaving.remove(socket)
        if self._bound.get(socket.endpoint) is socket:
            del self._bound[socket.endpoint]
            if socket.kind is not LinkKind.DNS_BIND:
                self._free_ports.setdefault(machine_of(socket.node), []).append(socket.endpoint)
        socket.waiting.clear()
        for connection in list(socket.connections):
            socket.connections.remove(connection)
            if connection.broken:
                continue
            connection.broken = True
            outwards = connection.pipe_from(socket)
            inwards = connection.pipes[0] if outwards is connection.pipes[1] else connection.pipes[1]
            inwards.flight.clear()
            inwards.closed = True
            # The connecting end drops what it has not read when its connection ends, whoever ends it.
            if not keep_all or outwards.receiver.kind in BOUND_BY:
                self._lose_tail(outwards)
            outwards.closed = True
            if not connection.occupied:
                self._end_reading(connection, outwards, silent=silent)
        for connection in socket.turned_away:
            if not connection.broken:
                connection.broken = True
                for pipe in connection.pipes:
                    pipe.closed = True
                self._end_reading(connection, connection.pipes[1], silent=silent)

    def _end_reading(self, connection: Connection, pipe: Pipe, *, silent: bool) -> None:
        """Have the reader of a pipe notice that its sender is gone, behind what still arrives."""
        if silent:
            pipe.last_due_ms = self.world.now_ms + self._timeout_ms(connection)
        self._put(connection, pipe, None, "the other side is gone")

    def _expire_later(self, concerns: Callable[[Pipe], bool]) -> None:
        for connection in self._connections():
            if any(concerns(pipe) for pipe in connection.pipes):
                self.world.after(self._timeout_ms(connection), "net", _Expire(connection))

    def _timeout_ms(self, connection: Connection) -> int:
        prompt = connection.pipes[0].sender.kind in PROMPT
        return self.world.random.randint(*(PROMPT_TIMEOUT_MS if prompt else PATIENT_TIMEOUT_MS))
