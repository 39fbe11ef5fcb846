"""ui.outlet: a terminal that does not read is not waited for, and gets all of it in the end."""

import asyncio
import contextlib
import os
import select
import threading
from collections.abc import Iterator

import pytest

from ui.outlet import Outlet

SCREEN = "é" * 200_000  # more than any terminal keeps


class Reader:
    """A terminal, and what hears of its outlet."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        self.freed = 0
        self.errors: list[OSError] = []

    def outlet(self, charset: str = "utf-8") -> Outlet:
        return Outlet(self.slave, charset, self._freed, self.errors.append)

    def _freed(self) -> None:
        self.freed += 1

    def read(self) -> bytes:
        """All there is."""
        found = b""
        while select.select([self.master], [], [], 0)[0]:
            found += os.read(self.master, 65_536)
        return found


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    for descriptor in (made.master, made.slave):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def test_what_is_taken_at_once_is_gone_at_once(reader: Reader) -> None:
    async def work() -> None:
        outlet = reader.outlet("ascii")
        outlet.write("one é ")
        assert reader.read() == b""
        outlet.write("two")
        outlet.flush()
        assert outlet.is_free
        assert reader.read() == b"one ? two"
        assert os.get_blocking(reader.slave), "the shell's own is left alone"
        outlet.close()

    asyncio.run(work())
    assert reader.freed == 0


def test_what_is_not_taken_goes_out_when_somebody_reads(reader: Reader) -> None:
    async def work() -> bytes:
        outlet = reader.outlet()
        outlet.write(SCREEN)
        outlet.flush()
        assert not outlet.is_free
        found = b""
        while not reader.freed:
            found += reader.read()
            await asyncio.sleep(0)
        assert outlet.is_free
        outlet.close()
        return found + reader.read()

    assert asyncio.run(work()) == SCREEN.encode()
    assert reader.freed == 1
    assert reader.errors == []


@pytest.mark.parametrize("limit", ["wait_ms", "stall_ms"])
def test_before_it_ends_it_is_waited_for_so_long_and_no_longer(reader: Reader, limit: str) -> None:
    async def work() -> None:
        outlet = reader.outlet()
        outlet.write(SCREEN)
        outlet.flush()
        outlet.drain(**{limit: 1})
        assert outlet.is_free, "given up"
        taken = reader.read()
        assert SCREEN.encode().startswith(taken)
        outlet.write("the end")
        outlet.flush()
        outlet.drain()
        assert reader.read() == b"the end"
        outlet.close()

    asyncio.run(work())
    assert reader.freed == 0


def test_as_long_as_the_terminal_takes_some_it_is_waited_for(reader: Reader) -> None:
    taken = bytearray()

    def read_slowly() -> None:
        while len(taken) < len(SCREEN.encode()):
            taken.extend(os.read(reader.master, 512))

    async def work() -> None:
        outlet = reader.outlet()
        outlet.write(SCREEN)
        outlet.flush()
        slow = threading.Thread(target=read_slowly)
        slow.start()
        outlet.drain(stall_ms=30_000, wait_ms=60_000)
        slow.join(30)
        outlet.close()

    asyncio.run(work())
    assert bytes(taken) == SCREEN.encode()


def test_a_terminal_that_goes_away_meanwhile_is_told(reader: Reader) -> None:
    async def work() -> None:
        outlet = reader.outlet()
        outlet.write(SCREEN)
        outlet.flush()
        os.close(reader.master)
        while not reader.errors:
            await asyncio.sleep(0)
        outlet.drain()
        outlet.write("more")
        with pytest.raises(OSError):
            outlet.flush()
        outlet.drain()
        outlet.close()

    asyncio.run(work())
    assert len(reader.errors) == 1
