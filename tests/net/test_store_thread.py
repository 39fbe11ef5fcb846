"""A store beside the event loop: writes in groups and in order, reads between them, and every way to end."""

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from broker import store_thread
from broker.store import HistoryStore
from broker.store_folder import WORDS
from broker.store_thread import StoreThread
from broker.stored import (
    Broke,
    Change,
    HistoryDamaged,
    HistoryError,
    HistoryUnreadable,
    Mark,
    NotOpened,
    NotSynced,
    NotWritten,
    Opened,
    StoreBusy,
    StoreEvent,
    StoreFailed,
    Written,
)
from tests.support.conversations import DEADLINE_S, conversation
from tests.support.histories import append_of, entries_in, entry, filled, new_store
from wire import codec


class Listener:
    """Takes what a thread delivers, and lets a test wait for it."""

    def __init__(self) -> None:
        self.events: list[StoreEvent] = []
        self._arrived = asyncio.Event()

    def __call__(self, event: StoreEvent) -> None:
        self.events.append(event)
        self._arrived.set()

    async def wait_for(self, is_it: Callable[[StoreEvent], bool]) -> StoreEvent:
        while True:
            for event in self.events:
                if is_it(event):
                    return event
            self._arrived.clear()
            await self._arrived.wait()

    async def written(self, number: int) -> Written:
        event = await self.wait_for(lambda event: isinstance(event, Written) and event.number >= number)
        assert isinstance(event, Written)
        return event


async def answer_of(thread: StoreThread, work: Callable[[HistoryStore], Any]) -> Any:
    answer = asyncio.get_running_loop().create_future()
    thread.ask(work, answer.set_result)
    return await answer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ana-1"


@conversation
async def test_a_store_is_opened_written_read_and_closed(folder: Path) -> None:
    listener = Listener()
    thread = StoreThread(lambda: filled(folder), listener)
    number = thread.write([append_of(211, 220, epoch=4), Mark(215, b"notes")])
    assert await listener.written(number) == Written(1, 220, 215)
    opened = listener.events[0]
    assert isinstance(opened, Opened)
    assert (opened.meta.head, opened.chain.head, opened.epochs) == (210, 210, ((1, 1), (2, 71), (3, 141)))
    count, block = await answer_of(thread, lambda store: store.read(219, 300))
    assert codec.decode_block(block, 219, count) == (entry(219, 4), entry(220, 4))
    assert await thread.close(DEADLINE_S) is None
    with closing(HistoryStore.open(folder)) as store:
        assert store.meta.head == 220


@conversation
async def test_what_waits_is_written_together_and_a_read_sees_all_asked_for_before_it(folder: Path) -> None:
    listener, may_open = Listener(), threading.Event()

    def opener() -> HistoryStore:
        assert may_open.wait(DEADLINE_S)
        return new_store(folder)

    thread = StoreThread(opener, listener)
    for seq in range(1, 51):
        thread.write([append_of(seq, seq)])
    assert thread.waiting_bytes > 50 * 40
    seen = asyncio.ensure_future(answer_of(thread, lambda store: (store.meta.head, store._state.writes)))
    await asyncio.sleep(0)
    thread.write([append_of(51, 51)])
    may_open.set()
    assert await seen == (51, 1)
    assert [event for event in listener.events if isinstance(event, Written)] == [Written(51, 51, 0)]
    assert thread.waiting_bytes == 0
    await thread.close(DEADLINE_S)


@conversation
async def test_many_writes_are_all_there_in_order(folder: Path) -> None:
    listener = Listener()
    thread = StoreThread(lambda: new_store(folder), listener, sync_ms=0)
    number = 0
    for seq in range(1, 401):
        number = thread.write([append_of(seq, seq), Mark(seq - 1, b"")])
        if seq % 40 == 0:
            await listener.written(number)
            assert await answer_of(thread, lambda store: (store.log_bytes > 0, thread._dirty_since_ms)) == (True, None)
    assert await thread.close(DEADLINE_S) is None
    numbers = [event.number for event in listener.events if isinstance(event, Written)]
    assert numbers == sorted(numbers)
    assert numbers[-1] == number
    with closing(HistoryStore.open(folder)) as store:
        assert entries_in(store) == [entry(seq) for seq in range(1, 401)]


@conversation
async def test_more_than_may_wait_is_not_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_thread, "WAITING_BYTES_MAX", 1_000)
    monkeypatch.setattr(store_thread, "ASKS_MAX", 2)
    may_open = threading.Event()

    def opener() -> HistoryStore:
        assert may_open.wait(DEADLINE_S)
        return new_store(folder)

    listener = Listener()
    thread = StoreThread(opener, listener)
    thread.write([append_of(1, 50)])  # over the bound by itself: one write is always taken
    with pytest.raises(StoreBusy, match="the disk is too slow"):
        thread.write([append_of(51, 51)])
    for _ in range(2):
        thread.ask(lambda store: store.meta, lambda _: None)
    with pytest.raises(StoreBusy, match="too many wait"):
        thread.ask(lambda store: store.meta, lambda _: None)
    may_open.set()
    await listener.written(1)
    assert thread.write([append_of(51, 51)]) == 2
    assert await thread.close(DEADLINE_S) is None
    with pytest.raises(StoreBusy):
        thread.write([append_of(52, 52)])


@conversation
async def test_a_store_that_cannot_be_opened_is_told_and_everything_else_refused(folder: Path) -> None:
    listener = Listener()
    thread = StoreThread(lambda: HistoryStore.open(folder), listener)
    thread.write([append_of(1, 1)])
    refused = await listener.wait_for(lambda event: isinstance(event, NotWritten))
    first = listener.events[0]
    assert isinstance(first, NotOpened)
    assert isinstance(first.error, HistoryUnreadable)
    assert refused == NotWritten(1, first.error)
    assert await answer_of(thread, lambda store: store.meta) is first.error
    assert await thread.close(DEADLINE_S) is None


@conversation
async def test_a_write_that_fails_is_told_and_so_are_all_later_ones_while_reading_goes_on(folder: Path) -> None:
    def opener() -> HistoryStore:
        store = filled(folder)
        store._connection.execute("PRAGMA max_page_count = 1")  # as a full disk
        return store

    listener = Listener()
    thread = StoreThread(opener, listener)
    failing: list[Change] = [append_of(211, 400, text="x" * 500)]
    for number in (1, 2):
        assert thread.write(failing) == number
        event = await listener.wait_for(lambda event, at=number: isinstance(event, NotWritten) and event.number == at)  # type: ignore[misc]
        assert isinstance(event, NotWritten)
        assert isinstance(event.error, StoreFailed)
    assert await answer_of(thread, lambda store: len(entries_in(store))) == 210
    assert await thread.close(DEADLINE_S) is None


@conversation
async def test_a_read_that_fails_is_answered_with_the_error(folder: Path) -> None:
    def damaged(_: HistoryStore) -> None:
        raise HistoryDamaged("it is damaged")

    listener = Listener()
    thread = StoreThread(lambda: new_store(folder), listener)
    answer = await answer_of(thread, damaged)
    assert isinstance(answer, HistoryError)
    assert str(answer) == "it is damaged"
    assert await thread.close(DEADLINE_S) is None


@conversation
async def test_a_bug_on_the_thread_is_told(folder: Path) -> None:
    listener = Listener()
    thread = StoreThread(lambda: new_store(folder), listener)
    thread.write([append_of(5, 6)])
    broke = await listener.wait_for(lambda event: isinstance(event, Broke))
    assert isinstance(broke, Broke)
    assert "entry 5 follows 0" in str(broke.error)
    assert isinstance(await thread.close(DEADLINE_S), StoreFailed)
    HistoryStore.open(folder).close()


def unsyncable(folder: Path) -> HistoryStore:
    """A store on a disk that takes what is written and cannot sync it."""
    store = filled(folder)
    store.sync()
    reader, writer = os.pipe()
    assert store._log_file is not None
    os.dup2(writer, store._log_file)
    os.close(reader)
    os.close(writer)
    return store


@conversation
async def test_a_sync_that_fails_is_told(folder: Path) -> None:
    listener = Listener()
    thread = StoreThread(lambda: unsyncable(folder), listener, sync_ms=1)
    await listener.written(thread.write([append_of(211, 211)]))
    event = await listener.wait_for(lambda event: isinstance(event, NotSynced))
    assert isinstance(event, NotSynced)
    assert "could not be synced" in str(event.error)
    thread.write([append_of(212, 212)])
    await listener.wait_for(lambda event: isinstance(event, NotWritten) and event.number == 2)
    assert await thread.close(DEADLINE_S) is None


@conversation
async def test_where_each_write_is_synced_one_that_cannot_be_is_not_said_to_be_written(folder: Path) -> None:
    listener = Listener()
    thread = StoreThread(lambda: unsyncable(folder), listener, sync_ms=0)
    thread.write([append_of(211, 211)])
    await listener.wait_for(lambda event: isinstance(event, NotWritten))
    assert not any(isinstance(event, Written) for event in listener.events)
    assert await thread.close(DEADLINE_S) is None


@conversation
async def test_in_quiet_moments_it_syncs_indexes_and_empties_the_log(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_thread, "_LOG_BYTES_QUIET", 10_000)
    listener = Listener()
    thread = StoreThread(lambda: new_store(folder), listener, sync_ms=1)
    thread.write([append_of(1, 1_200), Mark(1_200, b"")])
    async with asyncio.timeout(DEADLINE_S):
        while await answer_of(thread, lambda store: (store.log_bytes, store.unindexed_count >= 500)) != (0, False):
            await asyncio.sleep(0.005)
    assert await answer_of(thread, lambda store: store._log_file is not None)
    assert (folder / WORDS).exists()
    assert await thread.close(DEADLINE_S) is None


@conversation
async def test_closing_with_erase_leaves_nothing(folder: Path) -> None:
    listener = Listener()
    thread = StoreThread(lambda: filled(folder), listener)
    await listener.wait_for(lambda event: isinstance(event, Opened))
    assert await thread.close(DEADLINE_S, erase=True) is None
    assert list(folder.parent.iterdir()) == []


@conversation
async def test_closing_does_not_wait_for_a_disk_that_hangs(folder: Path) -> None:
    may_go_on = threading.Event()
    listener = Listener()
    thread = StoreThread(lambda: new_store(folder), listener)
    thread.ask(lambda _: may_go_on.wait(DEADLINE_S), lambda _: None)
    late = await thread.close(0.01)
    assert isinstance(late, StoreFailed)
    assert "could not be closed within 0.01 s" in str(late)
    may_go_on.set()
    assert await thread.close(DEADLINE_S) is None
