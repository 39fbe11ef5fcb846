"""One participant's links on loopback, as tests of real sockets drive them, and what strangers send to a port."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import zmq
import zmq.asyncio

from runtime.links import Links
from tests.support.conversations import DEADLINE_S
from wire.identity import KeyPair
from wire.names import LinkId
from wire.step import Event, Send

_E = TypeVar("_E", bound=Event)

HTTP_GET = b"GET / HTTP/1.1\r\nHost: chat.example\r\n\r\n" + b"X-Filler: yes\r\n" * 40
TLS_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2


class LinkEnd:
    """One participant's links, and what they told, in order; with keys of its own, or in the open."""

    def __init__(self, keys: KeyPair | None = None) -> None:
        self.told: list[Event] = []
        self.failures: list[Exception] = []
        self._news = asyncio.Event()
        self.links = Links(
            bind_host="127.0.0.1",
            advertise_host="127.0.0.1",
            deliver=self._deliver,
            keys=keys,
            failed=self.failures.append,
        )

    def _deliver(self, event: Event) -> None:
        self.told.append(event)
        self._news.set()

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait until something told makes `done` true."""
        async with asyncio.timeout(DEADLINE_S):
            while not done():
                assert not self.failures, self.failures
                self._news.clear()
                await self._news.wait()

    async def next(self, kind: type[_E], link: str = "") -> _E:
        """Wait for the next event of a kind, and take it out of what was told."""

        def wanted() -> list[Event]:
            return [each for each in self.told if isinstance(each, kind) and getattr(each, "link", "") == link]

        await self.until(lambda: bool(wanted()))
        event = wanted()[0]
        self.told.remove(event)
        assert isinstance(event, kind)
        return event

    def send(self, link: str, message: Any, to: bytes = b"") -> None:
        """Send over one of the links."""
        self.links.perform(Send(LinkId(link), message, to))


_End = TypeVar("_End", bound=LinkEnd)


@asynccontextmanager
async def closing(made: list[_End]) -> AsyncIterator[list[_End]]:
    """These ends, until the block is left; nothing may have failed in them by then."""
    try:
        yield made
    finally:
        for end in made:
            await end.links.close()
            assert not end.failures


def hold_port(port: int = 0) -> socket.socket:
    """A socket that keeps a port of the loopback, any if none is named, from everybody who would be given just that.

    Whoever connects to it is refused. libzmq, which says that it shares, can bind it and let it go again and again.

    Raises:
        OSError: somebody has it.
    """
    holder = socket.socket()
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", port))
    except OSError:
        holder.close()
        raise
    return holder


def held_endpoint(holder: socket.socket) -> str:
    """Where the port is that is held."""
    return f"tcp://127.0.0.1:{holder.getsockname()[1]}"


@asynccontextmanager
async def raw_socket(socket_type: int) -> AsyncIterator[zmq.asyncio.Socket]:
    """A plain ZeroMQ socket in a context of its own, for those who do not keep to our protocol."""
    with zmq.asyncio.Context() as context:
        made = context.socket(socket_type)
        made.linger = 0
        made.reconnect_ivl = 20
        try:
            yield made
        finally:
            made.close(0)
