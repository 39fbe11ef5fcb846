"""Drives a store beside the event loop: one thread that writes in groups, and reads between them."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from broker.store import HistoryStore
from broker.store_folder import Hold, failed
from broker.stored import (
    Append,
    Broke,
    Change,
    HistoryError,
    Mark,
    NotOpened,
    NotSynced,
    NotWritten,
    StoreBusy,
    StoreEvent,
    StoreFailed,
    Written,
)
from runtime import clock
from wire import limits

WAITING_BYTES_MAX = 64 * limits.MIB  # chosen: seconds of a slow disk, a sixteenth of a history in memory
ASKS_MAX = 1_000  # reads that may wait: one for each member
SYNC_MS = 1_000  # the most that may be lost when the machine dies, as zdns' lease of three seconds has ended by then
_GROUP_BYTES_MAX = 4 * limits.MIB  # written in one transaction; about 20 ms of a good disk
_LOG_BYTES_QUIET = 4 * limits.MIB  # a write-ahead log of this size is emptied in a quiet moment
_INDEX_LAG_ENTRIES = 500  # less than this is looked through faster than indexed entry by entry
_INDEX_SLICE_ENTRIES = 100  # about a millisecond, for which a write may have to wait
_INDEX_REST_MS = 3  # after each slice: so filling the index leaves most of a core to others
_CHANGE_BYTES = 100  # what a change takes beside its block, about

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Write:
    number: int
    changes: Sequence[Change]
    size: int


@dataclass(frozen=True, slots=True)
class _Ask:
    work: Callable[[HistoryStore], Any]
    answer: Callable[[Any], None]


class StoreThread:
    """Owns a store from its opening to its end. To be made, called and awaited on the event loop's thread.

    What waits is written together: the more there is, the less each costs. Writes go before reads that wait; a read
    sees all writes that were asked for before it. Nothing here raises what the disk does: it is delivered.
    """

    def __init__(
        self, opener: Callable[[], HistoryStore], deliver: Callable[[StoreEvent], None], *, sync_ms: int = SYNC_MS
    ) -> None:
        """Start the thread, which begins with `opener()`.

        Args:
            deliver: called from the loop: first with Opened or NotOpened, then with Written or NotWritten for each
                write or for several at once (the highest number counts).
            sync_ms: what was written survives the death of the machine after so long; 0: before Written is said.
        """
        self._opener = opener
        self._deliver = deliver
        self._sync_ms = sync_ms
        self._loop = asyncio.get_running_loop()
        self._changed = threading.Condition()
        self._writes: deque[_Write] = deque()
        self._asks: deque[_Ask] = deque()
        self._waiting_bytes = 0
        self._last_number = 0
        self._stopping = False
        self._erasing = False
        self._keeps_hold = False
        self._hold: Hold | None = None
        self._dirty_since_ms: int | None = None
        self._checkpoint_bytes = _LOG_BYTES_QUIET
        self._ended: asyncio.Future[HistoryError | None] = self._loop.create_future()
        # A daemon: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    @property
    def waiting_bytes(self) -> int:
        """What is not yet written, about."""
        return self._waiting_bytes

    @property
    def ended(self) -> "asyncio.Future[HistoryError | None]":
        """Done when the store is closed, or erased: with None, or with what went wrong."""
        return self._ended

    def write(self, changes: Sequence[Change]) -> int:
        """Have changes written, in order; return the number by which Written or NotWritten will name them.

        Raises:
            StoreBusy: WAITING_BYTES_MAX are waiting already; nothing was taken.
        """
        size = sum(map(_size, changes))
        with self._changed:
            if self._stopping or (self._writes and self._waiting_bytes + size > WAITING_BYTES_MAX):
                raise StoreBusy("the disk is too slow: too much waits to be written")
            self._last_number += 1
            self._waiting_bytes += size
            self._writes.append(_Write(self._last_number, tuple(changes), size))
            self._changed.notify()
            return self._last_number

    def ask(self, work: Callable[[HistoryStore], T], answer: Callable[[T | HistoryError], None]) -> None:
        """Have `work(store)` done on the thread; `answer` is called from the loop with what it returned or raised.

        Raises:
            StoreBusy: ASKS_MAX are waiting already.
        """
        with self._changed:
            if self._stopping or len(self._asks) >= ASKS_MAX:
                raise StoreBusy("the disk is too slow: too many wait for an answer")
            self._asks.append(_Ask(work, answer))
            self._changed.notify()

    def stop(self, *, erase: bool = False, keep_hold: bool = False) -> None:
        """Begin to end: as `close`, which may still be awaited. What was said first about the end counts.

        Args:
            keep_hold: see `take_hold`.
        """
        with self._changed:
            if self._stopping:
                return
            self._stopping, self._erasing, self._keeps_hold = True, erase, keep_hold
            self._changed.notify()

    async def close(self, timeout_s: float, *, erase: bool = False) -> HistoryError | None:
        """Write what waits, answer what was asked, and close the store; with `erase`, delete it and write nothing.

        Returns:
            None, or what went wrong: also that the disk took longer than `timeout_s`.
        """
        self.stop(erase=erase)
        try:
            return await asyncio.wait_for(asyncio.shield(self._ended), timeout_s)
        except TimeoutError:
            return StoreFailed(f"the history could not be closed within {timeout_s:g} s: the disk is too slow")

    def take_hold(self) -> Hold | None:
        """From any other thread: wait for the end, and take over the hold that keeps others from the closed store.

        There is one if `keep_hold` was said, or if the store could not be erased, and nobody else has taken it.
        """
        self._thread.join()
        hold, self._hold = self._hold, None
        return hold

    # --- on the thread ---

    def _run(self) -> None:
        ended: HistoryError | None = None
        try:
            try:
                store = self._opener()
                opened = store.opened()
            except HistoryError as error:
                self._tell(self._deliver, NotOpened(error))
                self._refuse(error)
                return
            self._tell(self._deliver, opened)
            try:
                self._serve(store)
            except BaseException:  # a bug; it goes on to be told, and the store is let go of
                store.close()
                raise
            ended = self._end(store)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is a bug, and the process must not limp on
            self._tell(self._deliver, Broke(error))
            ended = StoreFailed(f"a bug: {error}")
        finally:
            self._tell(self._close_future, ended)

    def _serve(self, store: HistoryStore) -> None:
        while True:
            group, ask = self._next(self._patience_ms(store))
            if group:
                self._write_group(store, group)
            elif ask is not None:
                self._answer(store, ask)
            elif self._stopping:
                return
            else:
                self._use_the_quiet(store)
            self._sync_if_due(store)

    def _next(self, patience_ms: int | None) -> tuple[list[_Write], _Ask | None]:
        """Wait for something to do: a group of writes, or else something asked; neither: it is quiet, or the end."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._writes or self._asks or self._stopping,
                None if patience_ms is None else patience_ms / 1000,
            )
            if self._erasing:
                self._writes.clear()
                self._waiting_bytes = 0
            group: list[_Write] = []
            size = 0
            while self._writes and (not group or size + self._writes[0].size <= _GROUP_BYTES_MAX):
                group.append(self._writes.popleft())
                size += group[-1].size
            self._waiting_bytes -= size
            if group or not self._asks:
                return group, None
            return [], self._asks.popleft()

    def _patience_ms(self, store: HistoryStore) -> int | None:
        """How long it may be quiet before there is something to do all the same; None: for ever."""
        patiences_ms = []
        if self._dirty_since_ms is not None:
            patiences_ms.append(max(0, self._dirty_since_ms + self._sync_ms - clock.monotonic_ms()))
        if store.unindexed_count >= _INDEX_LAG_ENTRIES:
            patiences_ms.append(_INDEX_REST_MS)
        return min(patiences_ms, default=None)

    def _write_group(self, store: HistoryStore, group: list[_Write]) -> None:
        try:
            store.write([change for write in group for change in write.changes])
            if self._dirty_since_ms is None:
                self._dirty_since_ms = clock.monotonic_ms()
            if self._sync_ms == 0:
                store.sync()
                self._dirty_since_ms = None
        except HistoryError as error:
            self._tell(self._deliver, NotWritten(group[-1].number, error))
            return
        meta = store.meta
        self._tell(self._deliver, Written(group[-1].number, meta.head, meta.committed))

    def _answer(self, store: HistoryStore, ask: _Ask) -> None:
        try:
            result = ask.work(store)
        except HistoryError as error:
            result = error
        self._tell(ask.answer, result)

    def _use_the_quiet(self, store: HistoryStore) -> None:
        if store.log_bytes > self._checkpoint_bytes:
            try:
                store.checkpoint()
                self._checkpoint_bytes = _LOG_BYTES_QUIET
            except HistoryError:  # it costs room, nothing else; a write that fails will tell
                self._checkpoint_bytes = 2 * store.log_bytes
        if store.unindexed_count >= _INDEX_LAG_ENTRIES:
            store.index_some(_INDEX_SLICE_ENTRIES)

    def _sync_if_due(self, store: HistoryStore) -> None:
        if self._dirty_since_ms is None or clock.monotonic_ms() < self._dirty_since_ms + self._sync_ms:
            return
        self._dirty_since_ms = None
        try:
            store.sync()
        except HistoryError as error:
            self._tell(self._deliver, NotSynced(error))

    def _end(self, store: HistoryStore) -> HistoryError | None:
        folder = store.folder
        try:
            hold = store.shut()
            if self._erasing:
                try:
                    hold.erase()
                except HistoryError as error:  # nobody else may have it as long as we are here
                    self._hold = hold
                    return error
            if self._keeps_hold:
                self._hold = hold
            else:
                hold.let_go()
        except OSError as error:
            return failed(folder, "could not be closed", error)
        return None

    def _refuse(self, error: HistoryError) -> None:
        """Answer everything with the reason why there is no store, until the end."""
        while True:
            group, ask = self._next(None)
            if group:
                self._tell(self._deliver, NotWritten(group[-1].number, error))
            elif ask is not None:
                self._tell(ask.answer, error)
            else:
                return

    # --- to the loop ---

    def _tell(self, receiver: Callable[[Any], None], value: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(receiver, value)

    def _close_future(self, ended: HistoryError | None) -> None:
        if not self._ended.done():
            self._ended.set_result(ended)


def _size(change: Change) -> int:
    match change:
        case Append(_, _, block):
            return len(block) + _CHANGE_BYTES
        case Mark(_, notes):
            return len(notes) + _CHANGE_BYTES
        case _:
            return _CHANGE_BYTES
