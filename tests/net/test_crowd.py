"""How many connections a bound socket takes: in all, and from one address."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from runtime.crowd import Crowd


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as things:
        yield things


class Port:
    """A listening socket whose connections are counted as a bound socket's."""

    def __init__(self, stack: ExitStack, crowd: Crowd) -> None:
        self.listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.stack, self.crowd = stack, crowd

    def connect(self, source: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
        """One more connection: both its ends."""
        client = socket.socket()
        client.bind((source, 0))
        client.connect(self.listener.getsockname())
        accepted = self.listener.accept()[0]
        self.stack.enter_context(client)
        self.stack.enter_context(accepted)
        self.crowd.came(accepted.fileno())
        return client, accepted


def is_cut_off(client: socket.socket, patience_s: float = 30) -> bool:
    """Whether the other side has closed it, or does within so long."""
    client.settimeout(patience_s)
    try:
        return client.recv(1) == b""
    except (BlockingIOError, TimeoutError):
        return False


def test_who_is_one_too_many_is_cut_off_and_nobody_else(stack: ExitStack) -> None:
    port = Port(stack, Crowd(most=3, most_of_one=2))
    first, second = port.connect()[0], port.connect()[0]
    third = port.connect()[0]
    assert is_cut_off(third)
    elsewhere = port.connect("127.0.0.2")[0]
    too_many = port.connect("127.0.0.3")[0]
    assert is_cut_off(too_many)
    assert not any(is_cut_off(one, 0) for one in (first, second, elsewhere))
    assert len(port.crowd) == 3


def test_who_leaves_makes_room(stack: ExitStack) -> None:
    port = Port(stack, Crowd(most=1, most_of_one=1))
    _, accepted = port.connect()
    port.crowd.left(accepted.fileno())
    assert not is_cut_off(port.connect()[0], 0)


def test_what_ended_and_was_not_told_of_counts_no_more(stack: ExitStack) -> None:
    port = Port(stack, Crowd(most=2, most_of_one=2))
    gone = [port.connect()[1] for _ in range(2)]
    for accepted in gone:
        accepted.close()
    client, accepted = port.connect()
    assert not is_cut_off(client, 0)
    os.fstat(accepted.fileno())
    assert not is_cut_off(port.connect()[0], 0)
    assert len(port.crowd) == 2


def test_a_connection_that_is_gone_before_it_is_counted_is_nobodys(stack: ExitStack) -> None:
    port = Port(stack, Crowd(most=1, most_of_one=1))
    port.crowd.came(10_000)
    port.crowd.left(10_000)
    assert len(port.crowd) == 0
