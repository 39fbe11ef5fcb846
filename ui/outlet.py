"""The way out to a terminal: what one that does not read cannot take yet is kept, and nobody waits for it."""

import asyncio
import contextlib
import os
import select
from collections.abc import Callable

from runtime import clock

# Before the terminal is given back. Chosen: one that reads takes a screen in a few milliseconds, unless its machine is
# very busy; one that takes nothing at all is not waited for.
STALL_MS = 2_000
WAIT_MS = 10_000
_CHUNK_BYTES = 65_536  # more than any terminal takes at once


class Outlet:
    """A stream of text. Invariant: it never waits, but in `drain`.

    `freed` is called whenever what was kept has gone out, `failed` with the error when that does not work. Whoever
    writes a screen looks at `is_free` first: then no more than one of them is ever kept.
    """

    def __init__(
        self, descriptor: int, charset: str, freed: Callable[[], None], failed: Callable[[OSError], None]
    ) -> None:
        """`descriptor`: of the terminal. What `charset` does not have is a question mark."""
        self._descriptor = _opened_again(descriptor)
        self._charset = charset
        self._freed = freed
        self._failed = failed
        self._written: list[str] = []  # not flushed yet
        self._kept = bytearray()  # was flushed, but the terminal did not take it
        self._is_watched = False

    def fileno(self) -> int:
        """Of the terminal."""
        return self._descriptor

    @property
    def is_free(self) -> bool:
        """All that was flushed has gone out."""
        return not self._kept

    def write(self, text: str) -> None:
        """Write before the next flush."""
        self._written.append(text)

    def flush(self) -> None:
        """Pass on what was written, as much as the terminal takes; the rest follows when it takes more.

        Raises:
            OSError: the terminal is gone.
        """
        self._kept += "".join(self._written).encode(self._charset, "replace")
        self._written.clear()
        self._send()
        if self._kept and not self._is_watched:
            asyncio.get_running_loop().add_writer(self._descriptor, self._writable)
            self._is_watched = True

    def drain(self, stall_ms: int = STALL_MS, wait_ms: int = WAIT_MS) -> None:
        """Wait until all has gone out, for `wait_ms`, and for `stall_ms` while nothing does; the rest never does."""
        now_ms = clock.monotonic_ms()
        end_ms, stalled_ms, left = now_ms + wait_ms, now_ms + stall_ms, len(self._kept)
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        with contextlib.suppress(OSError):  # a terminal that is gone
            while self._kept and (left_ms := min(end_ms, stalled_ms) - clock.monotonic_ms()) > 0:
                poll.poll(left_ms)
                self._send()
                if len(self._kept) < left:
                    left, stalled_ms = len(self._kept), clock.monotonic_ms() + stall_ms
        self._kept.clear()
        self._unwatch()

    def close(self) -> None:
        """Write no more."""
        self._unwatch()
        os.close(self._descriptor)

    def _send(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._kept:
                del self._kept[: os.write(self._descriptor, self._kept[:_CHUNK_BYTES])]

    def _writable(self) -> None:
        try:
            self._send()
        except OSError as error:
            self._unwatch()
            self._failed(error)
            return
        if not self._kept:
            self._unwatch()
            self._freed()

    def _unwatch(self) -> None:
        if self._is_watched:
            asyncio.get_running_loop().remove_writer(self._descriptor)
            self._is_watched = False


def _opened_again(descriptor: int) -> int:
    """The same terminal, opened by ourselves: not to wait is said of what was opened, which the shell has too.

    One that may not be opened (as after `su`), neither by its name nor as our own, is waited for.
    """
    paths = list[str]()
    with contextlib.suppress(OSError):
        paths.append(os.ttyname(descriptor))
    with contextlib.suppress(OSError):
        os.tcgetpgrp(descriptor)  # fails unless it is our own
        paths.append("/dev/tty")
    for path in paths:
        with contextlib.suppress(OSError):
            return os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    return os.dup(descriptor)
