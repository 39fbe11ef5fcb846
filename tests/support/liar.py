"""A member with real keys and the ticket, who speaks to zdns and to server halves by hand, and lies."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import zmq

from runtime import key_pairs
from tests.support.processes import PATIENCE_S
from wire import codec, identity, limits
from wire.identity import Credentials, KeyPair
from wire.messages import (
    Admit,
    Admitted,
    AskMembers,
    DnsReply,
    DnsRequest,
    Feed,
    Hello,
    MembersAre,
    Message,
    Pair,
    Record,
    Resolve,
    Resolved,
    ServerInfo,
    ToClient,
    Welcome,
)
from wire.names import DEFAULT_SERVICE

NOWHERE = "tcp://127.0.0.1:9"  # where nobody listens


class Line:
    """One socket of a liar, and what may come over it."""

    def __init__(self, made: "zmq.Socket[bytes]", union: Any) -> None:
        self.socket = made
        self._union = union

    def say(self, message: Message) -> None:
        """Send a message."""
        self.socket.send_multipart(codec.encode(message))

    def say_if_heard(self, message: Message) -> None:
        """Send it, unless nobody is at the other end: a socket that was refused for good has no other end any more."""
        with suppress(zmq.Again):
            self.socket.send_multipart(codec.encode(message), zmq.NOBLOCK)

    def say_bytes(self, *frames: bytes) -> None:
        """Send what need not be a message."""
        self.socket.send_multipart(frames)

    def hear(self, patience_s: float = PATIENCE_S) -> Message | None:
        """The next message; None: nothing came, or the connection was refused."""
        if not self.socket.poll(int(1_000 * patience_s)):
            return None
        return codec.decode(self.socket.recv_multipart(), self._union)

    def hear_until(self, *kinds: type[Message]) -> list[Message]:
        """All up to the first one of these kinds."""
        told: list[Message] = []
        while True:
            message = self.hear()
            assert message is not None, f"none of {kinds} came, but {told}"
            told.append(message)
            if isinstance(message, kinds):
                return told

    def ask(self, message: Message) -> Message:
        """Send it; the next answer."""
        self.say(message)
        answer = self.hear()
        assert answer is not None, f"no answer to {message}"
        return answer


class Liar:
    """Invariant: it lies in messages only; the keys by which it is known are its own."""

    def __init__(self, credentials: Credentials, dns: str, nick: str) -> None:
        self.keys: KeyPair = credentials.keys
        self.nick = nick
        self.permit = b""
        self.peer = identity.make_id(self.keys.public, "peer")
        self.server = ServerInfo(
            identity.make_id(self.keys.public, "server"), nick, (NOWHERE,), (NOWHERE,), self.keys.public
        )
        self._credentials = credentials
        self._dns = f"tcp://{dns}"
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._asks = 0

    def __enter__(self) -> Self:
        self.permit = self.admitted()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.destroy(0)

    # --- connections ---

    @contextmanager
    def socket(
        self, kind: int, endpoint: str, key: str, union: Any, keys: KeyPair | None = None, routing_id: bytes = b""
    ) -> Iterator[Line]:
        """A socket that expects `key` at the other end, and has `keys`, or the liar's own."""
        own = keys or self.keys
        made = self._context.socket(kind)
        made.linger = 0
        made.sndtimeo = int(1_000 * PATIENCE_S)
        made.curve_publickey, made.curve_secretkey = own.public.encode(), own.secret.encode()
        made.curve_serverkey = key.encode()
        if routing_id:
            made.setsockopt(zmq.ROUTING_ID, routing_id)
        if kind == zmq.SUB:
            made.subscribe(b"")
        made.connect(endpoint)
        try:
            yield Line(made, union)
        finally:
            made.close(0)

    @contextmanager
    def room(self, server: ServerInfo, **more: Any) -> Iterator[Line]:
        """A connection to a server half's ROUTER."""
        with self.socket(zmq.DEALER, server.router[0], server.key, ToClient, **more) as line:
            yield line

    @contextmanager
    def copy(self, endpoint: str, key: str, **more: Any) -> Iterator[Line]:
        """A connection to a copy link."""
        with self.socket(zmq.DEALER, endpoint, key, Pair, **more) as line:
            yield line

    @contextmanager
    def feed(self, server: ServerInfo, **more: Any) -> Iterator[Line]:
        """A subscription to a server half's feed, of everything."""
        with self.socket(zmq.SUB, server.feed[0], server.key, Feed, **more) as line:
            yield line

    # --- zdns ---

    def ask_zdns(self, request: DnsRequest) -> Message:
        """What zdns answers."""
        with self.socket(zmq.REQ, self._dns, self._credentials.zdns_key, DnsReply) as line:
            return line.ask(request)

    def admitted(self) -> bytes:
        """Show the ticket; the permit."""
        keys, zdns_key = self.keys.public, self._credentials.zdns_key
        proof = identity.proof(self._credentials.secret, zdns_key, keys)
        reply = self.ask_zdns(Admit(self.number(), limits.PROTOCOL, DEFAULT_SERVICE, proof))
        assert isinstance(reply, Admitted), reply
        return reply.permit

    def record(self) -> Record:
        """What zdns has."""
        reply = self.ask_zdns(Resolve(self.number(), limits.PROTOCOL, DEFAULT_SERVICE))
        assert isinstance(reply, Resolved) and reply.record is not None, reply
        return reply.record

    # --- the room ---

    def number(self) -> int:
        """Of the next request."""
        self._asks += 1
        return self._asks

    def hello(self, **lies: Any) -> Hello:
        """An honest hello, but for the fields that are lied in."""
        fields: dict[str, Any] = {
            "protocol": limits.PROTOCOL,
            "service": DEFAULT_SERVICE,
            "peer": self.peer,
            "session": "session",
            "nick": self.nick,
            "nick_fixed": True,
            "guest": False,
            "server": "",
            "min_n": 0,
            "permit": self.permit,
        }
        return Hello(**{**fields, **lies})

    def join(self, line: Line, **lies: Any) -> Welcome:
        """Say hello, and be welcome."""
        answer = line.ask(self.hello(**lies))
        assert isinstance(answer, Welcome), answer
        return answer

    def members(self, line: Line) -> MembersAre:
        """Ask who is here; what was said on this line before has been dealt with then."""
        ask = self.number()
        line.say(AskMembers(ask))
        told = line.hear_until(MembersAre)[-1]
        assert isinstance(told, MembersAre)
        return told


def another(of: Credentials) -> Credentials:
    """The same ticket in the hands of somebody else."""
    return Credentials(key_pairs.make(), of.zdns_key, of.secret)
