"""Where typed lines come from, unless they are edited at a terminal (`ui.prompt`)."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator

from ui.splitter import Splitter, TooLong
from wire import limits


class StreamInput:
    """Lines of a file descriptor of any kind (pipe, file, terminal), read by a thread, one chunk ahead at most."""

    def __init__(self, descriptor: int, line_bytes_max: int) -> None:
        self._descriptor = descriptor
        self._splitter = Splitter(line_bytes_max)
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self._wanted = threading.Semaphore(0)

    async def lines(self) -> AsyncIterator[bytes | TooLong]:
        """Lines as they come, until the end of input."""
        loop = asyncio.get_running_loop()
        # A daemon: it may sit in a read that never returns, and os.read holds no lock the exit would wait for.
        threading.Thread(target=self._read, args=(loop,), name="input", daemon=True).start()
        while True:
            self._wanted.release()
            data = await self._chunks.get()
            for line in self._splitter.feed(data) if data else self._splitter.end():
                yield line
            if not data:
                return

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        data = b"more"
        while data:
            self._wanted.acquire()
            try:
                data = os.read(self._descriptor, 64 * limits.KIB)
            except OSError:
                data = b""  # a closed or broken input is an ended one
            if not _hand_over(loop, self._chunks, data):
                return


def _hand_over(loop: asyncio.AbstractEventLoop, queue: "asyncio.Queue[bytes]", data: bytes) -> bool:
    """Put into a queue of the loop from another thread; False when the loop is closed: the program ends."""
    try:
        loop.call_soon_threadsafe(queue.put_nowait, data)
    except RuntimeError:
        return False
    return True
