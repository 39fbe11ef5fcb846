"""Entries and blocks for tests of stores, and stores as a killed process leaves them."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from broker.store import HistoryStore
from broker.stored import Append, Change, Cut, Mark
from wire import codec
from wire.messages import Entry

AUTHORS = ("ana", "bo", "cy")
SERVICE, LOG, SERVER = "backend.com", "log-1", "server-1"


def entry(seq: int, epoch: int = 1, text: str = "") -> Entry:
    """Entry `seq` of a history in which three authors take turns."""
    turn, who = divmod(seq - 1, len(AUTHORS))
    return Entry(
        seq, epoch, f"{AUTHORS[who]}-id", "session", turn + 1, 1_000 + seq, AUTHORS[who], text or f"text {seq}"
    )


def block_of(entries: Sequence[Entry]) -> bytes:
    return codec.join_block([codec.encode_entry(each) for each in entries])


def append_of(first: int, last: int, epoch: int = 1, text: str = "") -> Append:
    """The entries `first` … `last`, all in one epoch."""
    entries = [entry(seq, epoch, text) for seq in range(first, last + 1)]
    return Append(first, len(entries), block_of(entries))


def entries_in(store: HistoryStore) -> list[Entry]:
    """All that can be read of a store, in blocks as they come."""
    found: list[Entry] = []
    while len(found) < store.meta.head:
        count, block = store.read(len(found) + 1, store.meta.head)
        found += codec.decode_block(block, len(found) + 1, count)
    return found


def new_store(folder: Path) -> HistoryStore:
    return HistoryStore.create(folder, SERVICE, LOG, SERVER)


def filled(folder: Path, writes: int = 30) -> HistoryStore:
    """A store that was checkpointed half way, so that a part of it is in the write-ahead log alone."""
    store = new_store(folder)
    for number in range(writes):
        head = store.meta.head
        store.write([append_of(head + 1, head + 7, 1 + number // 10), Mark(head + 3, b"notes %d" % number)])
        if number == writes // 2:
            store.checkpoint()
    return store


def as_killed(store: HistoryStore, folder: Path) -> Path:
    """A copy of an open store's files, as they would lie there if the process were killed now."""
    shutil.copytree(store.folder, folder)
    return folder


def planned(step: int, head: int) -> list[Change]:
    """What the writer of `tests/net/test_history_kills.py` does in a step: mostly small, sometimes large, with cuts."""
    after = head - step % 5 if step % 7 == 0 else head
    count = 300 if step % 23 == 0 else 1 + step % 4
    changes: list[Change] = [append_of(after + 1, after + count, epoch=1 + step // 50), Mark(after, b"step %d" % step)]
    return [Cut(after), *changes] if after != head else changes
