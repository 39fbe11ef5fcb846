"""The disk of a server half: finds the history an earlier run left, and does to its stores what the core orders."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from broker import store_folder
from broker.digest import SPAN_ENTRIES
from broker.store import HistoryStore
from broker.store_folder import Hold
from broker.store_thread import StoreThread
from broker.stored import (
    Broke,
    DiskOrder,
    DiskWord,
    DropStore,
    HistoryDamaged,
    HistoryError,
    HistoryInUse,
    HistoryUnreadable,
    MakeStore,
    NotOpened,
    NotSynced,
    NotWritten,
    Opened,
    ReadStore,
    Restored,
    SearchStore,
    StoreBroken,
    StoreBusy,
    StoreEvent,
    StoreRead,
    StoreSearched,
    StoreUnread,
    StoreWritten,
    WriteStore,
    Written,
)
from wire import identity, limits

log = logging.getLogger("relevo.disk")

CLOSE_MS = 5_000  # chosen: for all that may wait to be written, on a slow disk; then the process ends all the same
# Together 0.3 s, for a history somebody holds: it may be a participant that was killed a moment ago. Who it mostly is,
# another participant of the same name, would otherwise be waited for in vain at every start.
_IN_USE_TRIES = 6
_IN_USE_AGAIN_S = 0.05


def tail_start(head: int, committed: int) -> int:
    """The first entry of the tail of a history, as `Restored` has it."""
    border = max(0, min(committed, head - limits.TAIL_ENTRIES_MIN))
    return border - border % SPAN_ENTRIES + 1


class Disk:
    """The stores of one server half, by the numbers that its core gave them. To be made and used on the event loop.

    At most one is open for the core, the current one. One that was let go of and not erased stays held by us until the
    next one is made, and is then put aside: all of ours have the same server id, and two processes that each took
    up one of them would take each other's place at zdns.
    """

    def __init__(
        self,
        data_dir: Path,
        service: str,
        nick: str,
        server_id: str,
        *,
        deliver: Callable[[DiskWord], None],
        on_damage: Callable[[str], None],
        failed: Callable[[Exception], None],
        key: str = "",
    ) -> None:
        """Nothing happens before `open` or an order.

        Args:
            data_dir: histories are in a folder of it.
            service: whose history.
            nick: under which they are found again.
            server_id: goes into new ones, unless one with another was restored.
            deliver: is called from the loop with each word for the core.
            on_damage: likewise with a sentence for people: a history is not what was written, or cannot be read.
            failed: likewise with a bug; nothing more comes of the store. The process is to stop.
            key: only a history whose server id belongs to it is gone on with; empty on an open network: any.
        """
        self._data_dir = data_dir
        self._service = service
        self._nick = nick
        self._server_id = server_id
        self._key = key
        self._deliver = deliver
        self._on_damage = on_damage
        self._failed = failed
        self._current: _Store | None = None
        self._earlier: list[_Store] = []  # let go of; each may have a hold until the next one is made
        self._kept: list[Hold] = []  # taken from them; belongs to the thread that makes a store, one after the other
        self._is_closed = False
        self.damage: tuple[str, ...] = ()  # what `on_damage` was told

    # --- what an earlier run left ---

    async def open(self) -> Restored | None:
        """Open the history that was written to last and is sound, beside the loop: a second for a million entries.

        One that is damaged or behind is told, and stays where it is.

        Raises:
            Exception: a bug.
        """
        search = _Search(self._data_dir, self._service, self._nick, self._key)
        store = _Store(0, search.run, self._heard, self._found_damaged)
        try:
            first = await asyncio.shield(store.first)
        except asyncio.CancelledError:
            search.off.set()
            store.thread.stop()
            raise
        for sentence in search.wrong:
            self._found_damaged(sentence)
        match first:
            case Opened(meta):
                log.info("restored log=%s head=%d committed=%d", meta.log, meta.head, meta.committed)
                self._current = store
                self._server_id = meta.server_id
                return Restored(first, search.tail)
            case Broke(error):
                raise error
            case _:
                store.thread.stop()
                return None

    # --- orders ---

    def perform(self, order: DiskOrder) -> None:
        """Carry out an order; what comes of it is delivered, perhaps at once.

        An order for a store that was dropped means nothing, and what one had still to say is not delivered.
        """
        if self._is_closed:
            return
        if isinstance(order, MakeStore):
            self._make(order)
            return
        store = self._current
        if store is None or store.number != order.store:
            return
        match order:
            case WriteStore():
                store.write(order)
            case ReadStore():
                store.read(order)
            case SearchStore():
                store.search(order)
            case DropStore(_, erase):
                self._drop(erase=erase)

    def _make(self, order: MakeStore) -> None:
        self._drop(erase=False)
        earlier = self._earlier[:]

        def opener() -> HistoryStore:
            # So no two of ours are at work in the same place, nor do two with our server id lie there to be found.
            while earlier:
                store = earlier.pop()
                hold = store.thread.take_hold()
                store.is_gone = True
                if hold is not None:
                    self._kept.append(hold)
            while self._kept:
                self._kept[-1].put_aside()
                self._kept.pop().let_go()
            where = (self._data_dir, self._service, self._nick)
            return HistoryStore.create_for(*where, order.log, self._server_id, order.notes)

        self._current = _Store(order.store, opener, self._heard, self._found_damaged)

    def _drop(self, *, erase: bool) -> None:
        if self._current is not None:
            thread = self._current.thread
            thread.ended.add_done_callback(_log_trouble)
            thread.stop(erase=erase, keep_hold=not erase)
            self._earlier.append(self._current)
            self._current = None

    def _heard(self, store: "_Store", word: DiskWord | Opened | NotOpened | Broke) -> None:
        """What a store has to say, if anybody still wants to know."""
        if isinstance(word, Opened | NotOpened):
            self._earlier = [one for one in self._earlier if not one.is_gone]
        elif isinstance(word, Broke):
            self._failed(word.error)
        elif store is self._current:
            if isinstance(word, StoreBroken):
                log.warning("store %d: %s", store.number, word.why)
            self._deliver(word)

    def _found_damaged(self, sentence: str) -> None:
        log.warning("%s", sentence)
        self.damage = (*self.damage, sentence)
        self._on_damage(sentence)

    # --- the end ---

    async def close(self, timeout_s: float) -> HistoryError | None:
        """Write and sync all that was ordered, and let go of everything; `open` is over, or was cancelled.

        Returns:
            None, or what went wrong: also that the disk took longer than `timeout_s`.
        """
        self._is_closed = True
        stores = [*self._earlier, *([self._current] if self._current is not None else [])]
        self._current = None
        troubles = await asyncio.gather(*(store.thread.close(timeout_s) for store in stores))
        if all(store.thread.ended.done() for store in stores):
            holds = [store.thread.take_hold() for store in stores]
            for hold in (*holds, *self._kept):
                if hold is not None:
                    hold.let_go()
            self._earlier, self._kept = [], []
        return next((error for error in troubles if error is not None), None)


def _log_trouble(ended: "asyncio.Future[HistoryError | None]") -> None:
    if (error := ended.result()) is not None:
        log.warning("%s", error)


class _Search:
    """Looks for a history. `run` is for the thread of a store; the rest may be looked at when that is over."""

    def __init__(self, data_dir: Path, service: str, nick: str, key: str) -> None:
        self._key = key
        self.off = threading.Event()  # set: nobody waits for it any more
        self.wrong: list[str] = []
        self.tail: tuple[tuple[int, int, bytes], ...] = ()
        self._where = (data_dir, service, nick)

    def run(self) -> HistoryStore:
        """The store to go on with, verified; raises HistoryUnreadable if there is none."""
        tries = _IN_USE_TRIES
        for folder in self._folders():
            while not self.off.is_set():
                try:
                    return self._opened(folder)
                except HistoryInUse:
                    if tries == 0:
                        break
                    tries -= 1
                    self.off.wait(_IN_USE_AGAIN_S)
                except HistoryError as error:
                    self.wrong.append(str(error))
                    break
        raise HistoryUnreadable("there is no history")

    def _folders(self) -> list[Path]:
        try:
            return store_folder.find(*self._where)
        except HistoryError as error:
            self.wrong.append(str(error))
            return []

    def _opened(self, folder: Path) -> HistoryStore:
        store = HistoryStore.open(folder)
        if not identity.belongs(store.meta.server_id, self._key):
            store.close()
            raise HistoryUnreadable(
                f"{folder}: this history was kept under another key, or on an open network; it stays there, unused"
            )
        try:
            self.tail = tuple(_blocks(store, tail_start(store.meta.head, store.meta.committed)))
        except BaseException:  # whatever it is, it goes on to the caller; only the store is let go of
            store.close()
            raise
        return store


def _blocks(store: HistoryStore, first: int) -> Iterator[tuple[int, int, bytes]]:
    """The entries from `first` to the head."""
    while first <= store.meta.head:
        count, block = store.read(first, store.meta.head)
        yield first, count, block
        first += count


class _Store:
    """One store, under the number that the core gave it: orders become work for its thread, and that becomes words."""

    def __init__(
        self,
        number: int,
        opener: Callable[[], HistoryStore],
        tell: Callable[["_Store", DiskWord | Opened | NotOpened | Broke], None],
        on_damage: Callable[[str], None],
    ) -> None:
        self.number = number
        self.first: asyncio.Future[StoreEvent] = asyncio.get_running_loop().create_future()
        self.is_gone = False  # its thread has ended, and its hold was taken
        self._tell = tell
        self._on_damage = on_damage
        self._written: deque[tuple[int, int]] = deque()  # the thread's number of a write, and the core's
        self._is_broken = False
        self._is_damaged = False
        self.thread = StoreThread(opener, self._heard)

    def write(self, order: WriteStore) -> None:
        """Nothing is written after a write that failed."""
        if self._is_broken:
            return
        try:
            self._written.append((self.thread.write(order.changes), order.number))
        except StoreBusy as error:
            self._break(error)

    def read(self, order: ReadStore) -> None:
        def work(store: HistoryStore) -> StoreRead:
            count, block = store.read(order.first, order.last, order.count_max)
            return StoreRead(self.number, order.ask, count, block)

        self._ask(order.ask, work)

    def search(self, order: SearchStore) -> None:
        def work(store: HistoryStore) -> StoreSearched:
            block, before = store.search(order.query, order.before, order.count, order.head)
            return StoreSearched(self.number, order.ask, block, before)

        self._ask(order.ask, work)

    def _ask(self, ask: int, work: Callable[[HistoryStore], StoreRead | StoreSearched]) -> None:
        def answer(result: StoreRead | StoreSearched | HistoryError) -> None:
            if isinstance(result, HistoryDamaged) and not self._is_damaged:
                self._is_damaged = True
                self._on_damage(str(result))
            if isinstance(result, HistoryError):
                self._tell(self, StoreUnread(self.number, ask, str(result)))
            else:
                self._tell(self, result)

        try:
            self.thread.ask(work, answer)
        except StoreBusy as error:
            answer(error)

    def _heard(self, event: StoreEvent) -> None:
        is_first = not self.first.done()
        if is_first:
            self.first.set_result(event)
        match event:
            case Opened():
                self._tell(self, event)
            case Written(number) if not self._is_broken:
                self._tell(self, StoreWritten(self.number, self._number_of(number)))
            case NotOpened(error):
                self._tell(self, event)
                self._break(error)
            case NotWritten(_, error) | NotSynced(error):
                self._break(error)
            case Broke() if not is_first or self.number:
                self._tell(self, event)

    def _number_of(self, written: int) -> int:
        number = 0
        while self._written and self._written[0][0] <= written:
            number = self._written.popleft()[1]
        return number

    def _break(self, error: HistoryError) -> None:
        if not self._is_broken:
            self._is_broken = True
            self._tell(self, StoreBroken(self.number, str(error)))
