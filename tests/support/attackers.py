"""Whoever means harm: finds the ports of real processes, and throws at them what strangers throw at ports.

Everything is bounded, in count and in time, and goes to the loopback only. What anybody got back is kept, so that it
can be searched for what nobody but members should have.
"""

import asyncio
import itertools
import random
import struct
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq
import zmq.asyncio

from tests.support.processes import PATIENCE_S
from wire import codec, limits
from wire.identity import KeyPair, make_id
from wire.messages import (
    Admit,
    AskMembers,
    AskStatus,
    CallUp,
    CallUpKind,
    Fetch,
    Find,
    Hello,
    LinkAsk,
    Message,
    Ping,
    Posts,
    Register,
    Relay,
    Rename,
    Resolve,
    Search,
    ServerInfo,
    SetTopic,
    TalkHello,
    TalkText,
)
from wire.names import DEFAULT_SERVICE

LOOPBACK = "127.0.0.1"
HOLD_S = 6.0  # a connection that says nothing is cut off before that
LOOT_BYTES_MAX = 256 * limits.MIB
_LISTENS = "0A"  # of /proc/net/tcp
_SOCKETS_MAX = 8_000

SOCKET_TYPES = {
    "REQ": zmq.REQ,
    "REP": zmq.REP,
    "DEALER": zmq.DEALER,
    "ROUTER": zmq.ROUTER,
    "PUB": zmq.PUB,
    "SUB": zmq.SUB,
    "XPUB": zmq.XPUB,
    "XSUB": zmq.XSUB,
    "PUSH": zmq.PUSH,
    "PULL": zmq.PULL,
    "PAIR": zmq.PAIR,
    "STREAM": zmq.STREAM,
}


# --- who listens where ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Port:
    """A listening TCP port. `owner`: whose process it is of, `key`: the public key that this one has."""

    number: int
    pid: int
    owner: str
    key: str


def processes_of(session: int) -> list[int]:
    """The processes of a session: whoever was started with one of its own, and its children."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                words = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(words[3]) == session:
                    found.append(int(folder.name))
    return sorted(found)


def listening(pid: int) -> list[int]:
    """The TCP ports at which a process listens."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            kind, _, number = str(descriptor.readlink()).partition(":")
            if kind == "socket":
                inodes.add(number.strip("[]"))
    ports = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == _LISTENS and words[9] in inodes:
            ports.append(int(words[1].partition(":")[2], 16))
    return sorted(ports)


def ports_of(session: int, owner: str, key: str) -> list[Port]:
    """All ports at which a command and its children listen."""
    return [Port(number, pid, owner, key) for pid in processes_of(session) for number in listening(pid)]


def resident_bytes(pid: int) -> int:
    """The memory a process has in use now."""
    line = next(each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS"))
    return int(line.split()[1]) * limits.KIB


# --- what they got -------------------------------------------------------------------------------------------------


class Loot:
    """What attackers were sent, each connection's bytes by themselves; for many threads."""

    def __init__(self) -> None:
        self.bytes_count = 0
        self.connections_count = 0
        self._pieces: list[bytes] = []
        self._lock = threading.Lock()

    def add(self, piece: bytes) -> None:
        """One connection, or one socket, was sent this."""
        with self._lock:
            self.connections_count += 1
            self.bytes_count += len(piece)
            assert self.bytes_count < LOOT_BYTES_MAX, "strangers are sent far too much"
            if piece:
                self._pieces.append(piece)

    def holds(self, secret: bytes) -> bool:
        """Whether any of them was sent these bytes."""
        with self._lock:
            return any(secret in piece for piece in self._pieces)


# --- bytes that are thrown -----------------------------------------------------------------------------------------

_SIGNATURE = b"\xff" + bytes(8) + b"\x7f"


def greeting(mechanism: str, *, as_server: bool = False, minor: int = 1) -> bytes:
    """The 64 bytes with which a ZMTP 3 connection begins."""
    return _SIGNATURE + bytes([3, minor]) + mechanism.encode().ljust(20, b"\0") + bytes([as_server]) + bytes(31)


def command(name: str, body: bytes = b"") -> bytes:
    """A ZMTP 3 command frame."""
    content = bytes([len(name)]) + name.encode() + body
    if len(content) < 256:
        return b"\x04" + bytes([len(content)]) + content
    return b"\x06" + struct.pack(">Q", len(content)) + content


def metadata(name: str, value: bytes) -> bytes:
    """A property of a READY or INITIATE command."""
    return bytes([len(name)]) + name.encode() + struct.pack(">I", len(value)) + value


def _ready(socket_type: str, routing_id: bytes = b"") -> bytes:
    return command("READY", metadata("Socket-Type", socket_type.encode()) + metadata("Identity", routing_id))


def _huge(flags: int, size: int) -> bytes:
    """The head of a frame that is never to end, and a little of it."""
    return bytes([flags]) + struct.pack(">Q", size) + b"x" * 4_096


def raw_attacks() -> dict[str, bytes]:
    """What is written to a port by whoever is no ZeroMQ, an old one, or a malicious one; by name."""
    chance = random.Random(20)
    subscribe_to_all = b"\x00\x01\x01"
    request = codec.encode(Resolve(1, limits.PROTOCOL, DEFAULT_SERVICE))[0]
    frame = b"\x00" + bytes([len(request)]) + request
    curve_hello = command("HELLO", b"\x01\x00" + bytes(72) + chance.randbytes(32) + bytes(8) + chance.randbytes(80))
    attacks = {
        "HTTP GET": b"GET / HTTP/1.1\r\nHost: chat.example\r\n\r\n" + b"X-Filler: yes\r\n" * 40,
        "HTTP POST": b"POST /post HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + b"a" * 8_000,
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
        "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2,
        "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
        "nothing": b"",
        "ZMTP 1": b"\x01\x00" + frame,
        "ZMTP 1 with a name": b"\x06\x00chosen" + frame * 3,
        "ZMTP 1 many frames": b"\x01\x00" * 500,
        "many zeros": bytes(10_000),
        "all ones": b"\xff" * 10_000,
        "greeting cut off": greeting("CURVE")[:40],
        "greeting only": greeting("CURVE"),
        "greeting as a server": greeting("CURVE", as_server=True) + command("WELCOME", bytes(160)),
        "unknown mechanism": greeting("GSSAPI") + command("INITIATE", bytes(100)),
        "a mechanism of no letters": greeting("\x01\x02\x03") + _ready("DEALER"),
        "PLAIN": greeting("PLAIN") + command("HELLO", b"\x05admin\x06secret") + command("INITIATE") + frame,
        "PLAIN of great length": greeting("PLAIN") + command("HELLO", b"\xff" + b"a" * 255 + b"\xff" + b"b" * 255),
        "routing id of 300": greeting("NULL") + _ready("DEALER", bytes(300)) + frame,
        "routing id of 70,000": greeting("NULL") + _ready("DEALER", bytes(70_000)) + frame,
        "READY at CURVE": greeting("CURVE") + _ready("DEALER") + frame,
        "message at CURVE": greeting("CURVE") + frame + subscribe_to_all,
        "broken CURVE hello": greeting("CURVE") + curve_hello,
        "short CURVE hello": greeting("CURVE") + command("HELLO", bytes(20)),
        "long CURVE hello": greeting("CURVE") + command("HELLO", bytes(60_000)),
        "INITIATE without hello": greeting("CURVE") + command("INITIATE", chance.randbytes(400)),
        "error at once": greeting("CURVE") + command("ERROR", b"\x03no!"),
        "error longer than it is": greeting("CURVE") + b"\x04\x07\x05ERROR\xff",
        "frame of 2^63": greeting("CURVE") + _huge(0x02, 2**63),
        "command of 2^63": greeting("CURVE") + _huge(0x06, 2**63),
        "frame of 2^64-1": greeting("NULL") + _ready("DEALER") + _huge(0x02, 2**64 - 1),
        "ZMTP 1 frame of 2^63": b"\xff" + struct.pack(">Q", 2**63) + bytes(4_096),
        "unknown flags": greeting("CURVE") + b"\xf8\x05hello",
        "ZMTP 3.9": greeting("CURVE", minor=9) + curve_hello,
    }
    for number, name in enumerate(("PAIR", "PUB", "SUB", "REQ", "REP", "DEALER", "ROUTER", "PULL", "PUSH")):
        old = _SIGNATURE + b"\x01" + bytes([number]) + b"\x00\x00"
        attacks[f"ZMTP 2 {name}"] = old + subscribe_to_all + frame
    for name in SOCKET_TYPES:
        attacks[f"NULL {name}"] = greeting("NULL") + _ready(name) + subscribe_to_all + frame
    for number in range(4):
        attacks[f"random bytes {number}"] = chance.randbytes(4_000)
        attacks[f"random after a greeting {number}"] = greeting("CURVE") + chance.randbytes(1_000)
    return attacks


# --- single connections --------------------------------------------------------------------------------------------


async def throw(port: int, data: bytes, loot: Loot, hold_s: float = HOLD_S, *, in_bytes: bool = False) -> bool:
    """Connect, write, read until cut off, for `hold_s` at most; `in_bytes`: one at a time. Whether it was cut off."""
    got = bytearray()
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(LOOPBACK, port), PATIENCE_S)
    except OSError:
        return True  # the port has gone, as those of talks and copies do
    was_cut = False
    try:
        async with asyncio.timeout(hold_s):
            if in_bytes:
                await _trickle(reader, writer, data, hold_s / max(1, len(data)), got)
            else:
                writer.write(data)
            while piece := await reader.read(65_536):
                got += piece
            was_cut = True
    except TimeoutError:
        pass
    except ConnectionError:
        was_cut = True
    finally:
        writer.close()
        loot.add(bytes(got))
    return was_cut


async def _trickle(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes, pace_s: float, got: bytearray
) -> None:
    """Write byte by byte; what comes meanwhile is read, at most for as long as the next byte may wait."""
    for byte in data:
        writer.write(bytes([byte]))
        await writer.drain()
        with suppress(TimeoutError):
            piece = await asyncio.wait_for(reader.read(65_536), pace_s)
            if not piece:
                return
            got += piece


async def in_crowds(jobs: Iterable[Coroutine[Any, Any, bool]], size: int = 200) -> int:
    """Run them, so many at a time; how many connections were cut off by the other end."""
    gate = asyncio.Semaphore(size)

    async def one(job: Coroutine[Any, Any, bool]) -> bool:
        async with gate:
            return await job

    return sum(await asyncio.gather(*map(one, jobs)))


@contextmanager
def held(ports: Sequence[Port], count: int, first_bytes: bytes = b"") -> Iterator[None]:
    """So many connections in all, by turns to these ports, that say no more than `first_bytes`; all there at once."""
    import socket

    sockets = []
    try:
        for port in itertools.islice(itertools.cycle(ports), count):
            with suppress(ConnectionRefusedError):
                sockets.append(socket.create_connection((LOOPBACK, port.number), timeout=PATIENCE_S))
                with suppress(ConnectionError):
                    sockets[-1].sendall(first_bytes)
        yield
    finally:
        for each in sockets:
            each.close()


# --- ZeroMQ's own sockets ------------------------------------------------------------------------------------------


def new_keys() -> KeyPair:
    """A key pair that nobody knows."""
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


@contextmanager
def raw_context() -> "Iterator[zmq.Context[zmq.Socket[bytes]]]":
    """A context of one's own, for many sockets."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, _SOCKETS_MAX)
    try:
        yield context
    finally:
        context.destroy(0)


Dress = Callable[["zmq.Socket[bytes]", Port], None]


def in_plain(made: "zmq.Socket[bytes]", _port: Port) -> None:
    """With a name and a password."""
    made.plain_username, made.plain_password = b"admin", b"secret"


def in_null(_made: "zmq.Socket[bytes]", _port: Port) -> None:
    """Without anything."""


def with_wrong_server_key(made: "zmq.Socket[bytes]", _port: Port) -> None:
    """With keys, but for another server."""
    _dress(made, new_keys(), new_keys().public)


def with_unknown_key(made: "zmq.Socket[bytes]", port: Port) -> None:
    """With the right key of the server, and an own one that nobody has let in."""
    _dress(made, new_keys(), port.key)


def _dress(made: "zmq.Socket[bytes]", own: KeyPair, server: str) -> None:
    made.curve_publickey, made.curve_secretkey = own.public.encode(), own.secret.encode()
    made.curve_serverkey = server.encode()


def with_keys(own: KeyPair) -> Dress:
    """With the right key of the server, and these."""
    return lambda made, port: _dress(made, own, port.key)


DRESSES: tuple[Dress, ...] = (in_null, in_plain, with_wrong_server_key, with_unknown_key)


def strangers_words() -> list[Message]:
    """What somebody who is not let in may try to say, to anybody."""
    own = new_keys().public
    me = ServerInfo(make_id(own, "s"), "mallory", (f"tcp://{LOOPBACK}:9",), (f"tcp://{LOOPBACK}:9",), own)
    peer = make_id(own, "p")
    call = CallUp(CallUpKind.OFFER, 1, (f"tcp://{LOOPBACK}:9",), "token")
    return [
        Resolve(1, limits.PROTOCOL, DEFAULT_SERVICE),
        Register(2, limits.PROTOCOL, DEFAULT_SERVICE, me),
        Admit(3, limits.PROTOCOL, DEFAULT_SERVICE, bytes(32), bytes(32)),
        Hello(limits.PROTOCOL, DEFAULT_SERVICE, peer, "s", "mallory", False, False, me.id, 0, permit=bytes(32)),
        Fetch(4, 1, limits.FETCH_ENTRIES_MAX),
        Search(5, "a", 0, limits.FETCH_ENTRIES_MAX),
        AskMembers(6),
        AskStatus(7),
        Find(8, "ana"),
        Posts(1, ("posted by a stranger",)),
        Rename(9, "ana"),
        Ping(12),
        SetTopic(10, "set by a stranger"),
        Relay(11, peer, call),
        LinkAsk(limits.PROTOCOL, DEFAULT_SERVICE, "pair", me, bytes(32)),
        TalkHello("token", peer, "mallory", 1, "s"),
        TalkText("s", 1, "told by a stranger"),
    ]


def besiege(ports: Sequence[Port], dresses: Sequence[Dress], loot: Loot, hold_s: float) -> list[list[bytes]]:
    """A socket of every type, in every dress, at every port: says what it can, takes what it gets for `hold_s`."""
    words = strangers_words()
    with raw_context() as context:
        sockets: dict[zmq.Socket[bytes], bytearray] = {}
        for port, (name, kind), dress in itertools.product(ports, SOCKET_TYPES.items(), dresses):
            if name == "STREAM" and dress is not in_null:
                continue  # it has no mechanism
            made = context.socket(kind)
            made.linger = 0
            made.reconnect_ivl = 100
            dress(made, port)
            if kind == zmq.SUB:
                made.subscribe(b"")
                for number in range(500):
                    made.subscribe(b"topic %d" % number)
            made.connect(f"tcp://{LOOPBACK}:{port.number}")
            sockets[made] = bytearray()
            _say_all(made, kind, words)
        answers = _listen(sockets, words, hold_s)
        for got in sockets.values():
            loot.add(bytes(got))
    return answers


def who_gets_in(ports: Sequence[Port], dress: Dress, hold_s: float) -> set[int]:
    """The ports at which some socket in this dress completes a handshake within `hold_s`."""
    found = set()
    with raw_context() as context:
        poller = zmq.Poller()
        watched: list[zmq.Socket[bytes]] = []
        numbers: dict[zmq.Socket[bytes], int] = {}  # of the ports, by monitor
        for port, kind in itertools.product(ports, (zmq.DEALER, zmq.PAIR, zmq.SUB)):
            made = context.socket(kind)
            dress(made, port)
            monitor = made.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
            made.connect(f"tcp://{LOOPBACK}:{port.number}")
            watched.append(made)
            numbers[monitor] = port.number
            poller.register(monitor, zmq.POLLIN)
        until = time.monotonic() + hold_s
        while (left_s := until - time.monotonic()) > 0:
            for monitor, _ in poller.poll(int(1_000 * left_s) + 1):
                poller.unregister(monitor)
                found.add(numbers[monitor])
        for made, monitor in zip(watched, numbers, strict=True):
            made.disable_monitor()
            monitor.close(0)
            made.close(0)
    return found


def _say_all(made: "zmq.Socket[bytes]", kind: int, words: Sequence[Message]) -> None:
    """Whatever this type lets one say before, or without, an answer."""
    for word in words:
        frames = codec.encode(word)
        if kind in (zmq.XSUB,):
            frames = [b"\x01" + b"".join(frames)]
        with suppress(zmq.ZMQError):
            made.send_multipart(frames, zmq.NOBLOCK)
    if kind == zmq.XSUB:
        made.send(b"\x01")


def _listen(
    sockets: "dict[zmq.Socket[bytes], bytearray]", words: Sequence[Message], hold_s: float
) -> list[list[bytes]]:
    """Read from all of them until the time is over; one that may ask only once asks the next thing then."""
    poller = zmq.Poller()
    for each in sockets:
        poller.register(each, zmq.POLLIN)
    answers: list[list[bytes]] = []
    asked = dict.fromkeys(sockets, 1)
    until = time.monotonic() + hold_s
    while (left_s := until - time.monotonic()) > 0:
        for ready, _ in poller.poll(int(1_000 * left_s) + 1):
            with suppress(zmq.ZMQError):
                frames = ready.recv_multipart(zmq.NOBLOCK)
                sockets[ready] += b"".join(frames)
                if ready.type == zmq.STREAM:
                    _stream(ready, frames)
                    continue
                answers.append(frames)
                if ready.type == zmq.REQ and asked[ready] < len(words):
                    asked[ready] += 1
                    ready.send_multipart(codec.encode(words[asked[ready] - 1]), zmq.NOBLOCK)
    return answers


def _stream(made: "zmq.Socket[bytes]", frames: list[bytes]) -> None:
    """A connection of a STREAM stands, or it was sent something: write what an old peer would."""
    if not frames[1]:
        made.send_multipart([frames[0], b"\x01\x00" * 50], zmq.NOBLOCK)


# --- listening in and saying it again ------------------------------------------------------------------------------


class Wiretap:
    """A TCP proxy in front of a port, in a thread of its own, that keeps what each of its clients wrote."""

    def __init__(self, port: int, loot: Loot) -> None:
        self.said: list[bytearray] = []  # each connection's, from its client
        self._to = port
        self._loot = loot
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._began = threading.Event()
        self.port = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Wiretap":
        self._thread.start()
        assert self._began.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(asyncio.start_server(self._passed, LOOPBACK, 0))
        self.port = self._server.sockets[0].getsockname()[1]
        self._began.set()
        self._loop.run_forever()
        self._server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _passed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = bytearray()
        self.said.append(said)
        heard = bytearray()
        to_reader, to_writer = await asyncio.open_connection(LOOPBACK, self._to)
        try:
            with suppress(ConnectionError):
                await asyncio.gather(_copy(reader, to_writer, said), _copy(to_reader, writer, heard))
        finally:
            for each in (writer, to_writer):
                each.close()
            self._loot.add(bytes(heard))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    while piece := await reader.read(65_536):
        kept += piece
        writer.write(piece)
        await writer.drain()
    writer.close()


# --- all together --------------------------------------------------------------------------------------------------


async def one_after_the_other(ports: Sequence[Port], loot: Loot, hold_s: float = 0.05) -> None:
    """Each of the raw attacks at all ports, one attack after the other."""
    for data in raw_attacks().values():
        await in_crowds(throw(port.number, data, loot, hold_s) for port in ports)


async def all_at_once(ports: Sequence[Port], loot: Loot, hold_s: float = HOLD_S) -> None:
    """All of them at all ports, in great crowds, and slow ones meanwhile."""
    quick = [throw(port.number, data, loot, hold_s) for data in raw_attacks().values() for port in ports]
    slow = [throw(port.number, greeting("CURVE"), loot, hold_s, in_bytes=True) for port in ports]
    await asyncio.gather(in_crowds(quick, 1_000), in_crowds(slow, 1_000))


async def flood(ports: Sequence[Port], count: int, loot: Loot) -> None:
    """So many handshakes in all that are broken off, as fast as it goes."""
    data = raw_attacks()["broken CURVE hello"]
    turns = itertools.islice(itertools.cycle(ports), count)
    await in_crowds((throw(port.number, data, loot, 1.0) for port in turns), 100)


async def say_again(ports: Sequence[Port], said: Sequence[bytes], loot: Loot, hold_s: float = 1.0) -> None:
    """What was listened to, at once, in pieces, and cut off anywhere."""
    whole = [throw(port.number, data, loot, hold_s) for port in ports for data in said]
    pieces = [
        throw(port.number, data[:end], loot, 0.05) for port in ports for data in said for end in range(0, 600, 40)
    ]
    slow = [throw(port.number, data[:200], loot, 2 * hold_s, in_bytes=True) for port in ports for data in said]
    await in_crowds([*whole, *pieces, *slow], 500)
