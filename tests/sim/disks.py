"""The disks of the simulated machines: slow, in order, cut off by a death at any write, and now and then broken.

What was written survives the death of its process at once, and that of the machine `SYNC_MS` later. A store that lost
something is told from a whole one when it is opened (`good`), as `broker.store` does it, and then not taken up.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from broker.digest import SPAN_ENTRIES, Chain
from broker.stored import (
    Append,
    Change,
    Cut,
    DiskOrder,
    DiskWord,
    DropStore,
    MakeStore,
    Mark,
    Meta,
    Opened,
    ReadStore,
    Restored,
    SearchStore,
    Session,
    StoreBroken,
    StoreRead,
    StoreSearched,
    StoreUnread,
    StoreWritten,
    WriteStore,
)
from tests.sim.world import World
from wire import codec, limits

SYNC_MS = 1_000  # as `broker.store_thread` has it


@dataclass
class Store:
    """One history on a disk, as it would be found after a death of its process."""

    log: str
    server_id: str
    entries: list[bytes] = field(default_factory=list)
    committed: int = 0
    notes: bytes = b""
    synced: int = 0  # writes that survive a loss of power
    writes: int = 0
    used_at: int = 0  # when it was last written to
    good: bool = True  # it is whole, and will be found so
    aside: bool = False  # it was given another name, under which no server that starts finds it
    syncing: bool = False

    def apply(self, change: Change) -> None:
        """Do what a change says."""
        match change:
            case Append(first, count, block):
                assert first == len(self.entries) + 1, f"entry {first} follows {len(self.entries)} on disk"
                parts = codec.split_block(block)[1]
                assert len(parts) == count
                self.entries += parts
            case Cut(after):
                assert after <= len(self.entries)
                del self.entries[after:]
            case Mark(committed, notes):
                self.committed, self.notes = committed, notes

    def restored(self, service: str) -> Restored:
        """What a server that starts is given of it."""
        chain = Chain(self.log)
        chain.add(self.entries)
        epochs: list[tuple[int, int]] = []
        sessions: dict[tuple[str, str], list[int]] = {}
        for entry in map(codec.decode_entry, self.entries):
            if not epochs or epochs[-1][0] != entry.epoch:
                epochs.append((entry.epoch, entry.seq))
            sessions.setdefault((entry.author, entry.session), []).append(entry.seq)
        head = len(self.entries)
        meta = Meta(service, self.log, self.server_id, head, epochs[-1][0] if epochs else 0, self.committed, self.notes)
        known = tuple(
            Session(author, session, len(seqs), tuple(seqs[-limits.SEQS_REMEMBERED :]))
            for (author, session), seqs in sessions.items()
        )
        start = max(0, min(self.committed, head - limits.TAIL_ENTRIES_MIN))
        start -= start % SPAN_ENTRIES
        tail = self.entries[start:]
        blocks = ((start + 1, len(tail), codec.join_block(tail)),) if tail else ()
        return Restored(Opened(meta, tuple(epochs), known, chain), blocks)


@dataclass
class Disk:
    """The disk of one machine. `slow_ms` is added to each write; `broken`: no write succeeds."""

    world: World
    stores: list[Store] = field(default_factory=list)
    slow_ms: int = 0
    broken: bool = False

    def newest(self) -> Store | None:
        """The store that a server that starts would take."""
        found = [store for store in self.stores if store.good and not store.aside]
        return max(found, key=lambda store: store.used_at, default=None)

    def lose_power(self) -> None:
        """What was not synced may be gone; then the rest is no whole history any more."""
        for store in self.stores:
            if store.writes > store.synced and self.world.chance(0.5):
                store.good = False

    def damage(self) -> bool:
        """The store that would be taken next is cut short, or a bit of it flips; False: there is none."""
        store = self.newest()
        if store is not None:
            store.good = False
        return store is not None


@dataclass(frozen=True, slots=True)
class _Write:
    due_ms: int
    store: Store
    order: WriteStore


class Shelf:
    """One server's way to its disk, from its start to its death: what it orders is done in order, after a while."""

    def __init__(
        self,
        disk: Disk,
        service: str,
        server_id: str,
        opened: Store | None,
        deliver: Callable[[DiskWord], None],
        node: str,
    ) -> None:
        self._disk, self._service, self._server_id = disk, service, server_id
        self._deliver = deliver
        self._number = 0
        self._store = opened
        self._let_go: list[Store] = []  # dropped and not erased: put aside when the next one is made
        self._broken = False
        self._dead = False
        self._waiting: list[_Write] = []
        self._node = f"{node} disk"
        disk.world.join(self._node, lambda act: act())

    def die(self) -> None:
        """The process ends: of what it had ordered a beginning is done."""
        self._dead = True
        for write in self._waiting:
            if self._disk.broken or self._broken or not self._disk.world.chance(0.5):
                break
            self._do(write.store, write.order)
        self._waiting.clear()

    def finish(self) -> None:
        """The process ends in good order: all that was ordered is done, and synced."""
        self._dead = True
        if self._store is not None:
            self._finish(self._store)
        self._waiting.clear()

    def perform(self, order: DiskOrder) -> None:
        """Take an order."""
        match order:
            case MakeStore(number, log, notes):
                self._make(number, log, notes)
            case WriteStore(number, _, _):
                if number == self._number and self._store is not None:
                    self._write(self._store, order)
            case DropStore(number, erase):
                if number == self._number and self._store is not None:
                    self._drop(self._store, erase)
            case ReadStore() | SearchStore():
                self._read(order)

    def _make(self, number: int, log: str, notes: bytes) -> None:
        if self._store is not None:
            self._drop(self._store, erase=False)
        self._number, self._broken = number, False
        self._store = Store(log, self._server_id, notes=notes, used_at=self._disk.world.now_ms)
        for store in self._let_go:
            store.aside = True
        self._let_go.clear()
        if self._disk.broken:
            self._break(number)
        else:
            self._disk.stores.append(self._store)

    def _break(self, number: int) -> None:
        """Nothing more is written to this store."""
        self._broken = True
        self._later(0, lambda: None if self._dead else self._deliver(StoreBroken(number, "the disk is full")))

    def _write(self, store: Store, order: WriteStore) -> None:
        wait_ms = self._disk.world.random.choice((0, 0, 1, 1, 2)) + self._disk.slow_ms
        due_ms = max([self._disk.world.now_ms + wait_ms, *(write.due_ms for write in self._waiting)])
        write = _Write(due_ms, store, order)
        self._waiting.append(write)

        def done() -> None:
            if self._dead or not self._waiting or self._waiting[0] is not write:
                return
            self._waiting.pop(0)
            if self._broken:
                return
            if self._disk.broken:
                self._break(order.store)
                return
            self._do(store, order)
            self._deliver(StoreWritten(order.store, order.number))

        self._later(due_ms - self._disk.world.now_ms, done)

    def _do(self, store: Store, order: WriteStore) -> None:
        for change in order.changes:
            store.apply(change)
        store.writes += 1
        store.used_at = self._disk.world.now_ms
        if not store.syncing:
            store.syncing = True
            self._later(SYNC_MS + self._disk.slow_ms, lambda: self._sync(store))

    def _sync(self, store: Store) -> None:
        store.syncing = False
        if not self._disk.broken:
            store.synced = store.writes

    def _drop(self, store: Store, erase: bool) -> None:
        self._store = None
        if not erase:
            self._finish(store)
            self._let_go.append(store)
        elif self._disk.broken and self._disk.world.chance(0.5):
            self._let_go.append(store)  # it could not be erased
        else:
            self._later(self._disk.world.random.choice((0, 0, 1, 5)), lambda: self._erase(store))
        self._waiting.clear()

    def _erase(self, store: Store) -> None:
        """Unless the process has died before it came to that."""
        if not self._dead and store in self._disk.stores:
            self._disk.stores.remove(store)

    def _finish(self, store: Store) -> None:
        if self._broken or self._disk.broken:
            return
        for write in self._waiting:
            if write.store is store:
                self._do(store, write.order)
        store.synced = store.writes

    def _read(self, order: ReadStore | SearchStore) -> None:
        def done() -> None:
            store = self._store
            if self._dead or order.store != self._number or store is None:
                return
            if self._disk.world.chance(0.02):
                self._deliver(StoreUnread(order.store, order.ask, "too many are asking"))
                return
            if isinstance(order, ReadStore):
                data = store.entries[order.first - 1 : min(order.last, order.first + order.count_max - 1)]
                size = 0
                taken: list[bytes] = []
                for one in data:
                    if taken and size + len(one) > limits.BLOCK_BYTES_MAX:
                        break
                    taken.append(one)
                    size += len(one)
                self._deliver(StoreRead(order.store, order.ask, len(taken), codec.join_block(taken)))
            else:
                self._deliver(StoreSearched(order.store, order.ask, codec.join_block(()), 0))

        # A read sees all that was ordered before it.
        due_ms = max([self._disk.world.now_ms, *(write.due_ms for write in self._waiting)])
        self._later(due_ms - self._disk.world.now_ms + self._disk.world.random.choice((0, 1, 5)), done)

    def _later(self, delay_ms: int, act: Callable[[], None]) -> None:
        self._disk.world.after(delay_ms, self._node, act)
