"""The disk of a server half: what is left is taken up again or refused by name, orders become words, and every end."""

import asyncio
import logging
import os
import re
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from broker import disk, store_folder, store_thread
from broker.digest import SPAN_ENTRIES
from broker.disk import Disk, tail_start
from broker.store import HistoryStore
from broker.store_folder import HISTORY, TALLY, find, folder_for
from broker.stored import (
    Change,
    Cut,
    DiskWord,
    DropStore,
    HistoryInUse,
    MakeStore,
    Mark,
    ReadStore,
    Restored,
    SearchStore,
    StoreBroken,
    StoreRead,
    StoreSearched,
    StoreUnread,
    StoreWritten,
    WriteStore,
)
from tests.support.conversations import DEADLINE_S, conversation
from tests.support.histories import SERVICE, append_of, as_killed, entries_in, entry
from wire import codec, limits
from wire.messages import Entry

SERVER = "server-of-this-process"

Word = TypeVar("Word", bound=DiskWord)


class Core:
    """Stands where a core would: gives orders, and waits for words."""

    def __init__(self, data_dir: Path, nick: str = "ana", server_id: str = SERVER) -> None:
        self.words: list[DiskWord] = []
        self.damage: list[str] = []
        self.bugs: list[Exception] = []
        self._arrived = asyncio.Event()
        self.disk = Disk(
            data_dir,
            SERVICE,
            nick,
            server_id,
            deliver=lambda word: self._note(self.words, word),
            on_damage=lambda sentence: self._note(self.damage, sentence),
            failed=lambda error: self._note(self.bugs, error),
        )

    def _note(self, notes: list[Any], note: Any) -> None:
        notes.append(note)
        self._arrived.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._arrived.clear()
            await self._arrived.wait()

    async def word(self, kind: type[Word], is_it: Callable[[Word], bool] = lambda _: True) -> Word:
        """The first such word that was said, or will be."""

        def found() -> list[Word]:
            return [word for word in self.words if isinstance(word, kind) and is_it(word)]

        await self.until(lambda: bool(found()))
        return found()[0]

    def make(self, store: int, log: str = "log-1") -> None:
        self.disk.perform(MakeStore(store, log))

    def order(self, store: int, number: int, *changes: Change) -> None:
        self.disk.perform(WriteStore(store, number, changes))

    async def written(self, store: int, number: int) -> None:
        await self.word(StoreWritten, lambda word: word.store == store and word.number >= number)

    async def write(self, store: int, number: int, *changes: Change) -> None:
        self.order(store, number, *changes)
        await self.written(store, number)

    async def read(self, store: int, ask: int, first: int, last: int) -> list[Entry]:
        self.disk.perform(ReadStore(store, ask, first, last))
        word = await self.word(StoreRead, lambda word: word.ask == ask)
        return list(codec.decode_block(word.block, first, word.count))

    @property
    def broken(self) -> list[StoreBroken]:
        return [word for word in self.words if isinstance(word, StoreBroken)]


@asynccontextmanager
async def core_at(data_dir: Path, nick: str = "ana", server_id: str = SERVER) -> AsyncIterator[Core]:
    """A core with its disk, which is closed at the end."""
    core = Core(data_dir, nick, server_id)
    try:
        yield core
    finally:
        assert await core.disk.close(DEADLINE_S) is None
        assert core.bugs == []


async def left_behind(data_dir: Path, *changes: Change, nick: str = "ana", server_id: str = SERVER) -> Path:
    """What a process that ended in good order has left."""
    async with core_at(data_dir, nick, server_id) as core:
        core.make(1)
        await core.write(1, 1, *changes)
    return find(data_dir, SERVICE, nick)[0]


def entries_of(restored: Restored) -> list[Entry]:
    """The tail, each block of which follows the one before."""
    entries: list[Entry] = []
    for first, count, block in restored.tail:
        assert not entries or first == entries[-1].seq + 1
        assert len(block) <= limits.BLOCK_BYTES_MAX + limits.TEXT_BYTES_MAX
        entries += codec.decode_block(block, first, count)
    return entries


def room(data_dir: Path) -> list[str]:
    """The stores that lie there."""
    return sorted(path.name for path in folder_for(data_dir, SERVICE).iterdir())


# --- taking up what is there ---


@conversation
async def test_where_nothing_is_nothing_is_made(tmp_path: Path) -> None:
    async with core_at(tmp_path / "data") as core:
        assert await core.disk.open() is None
    assert list(tmp_path.iterdir()) == []
    assert core.damage == []


@conversation
async def test_what_was_written_is_there_at_the_next_start_and_goes_on(tmp_path: Path) -> None:
    async with core_at(tmp_path) as core:
        assert await core.disk.open() is None
        core.make(1)
        core.order(1, 7, append_of(1, 100), Mark(50, b"first"))
        core.order(1, 9, Cut(90), append_of(91, 130, epoch=2), Mark(95, b"second"))
        await core.written(1, 9)
    async with core_at(tmp_path, server_id="another") as core:
        restored = await core.disk.open()
        assert restored is not None
        meta = restored.opened.meta
        assert (meta.log, meta.server_id, meta.head, meta.committed, meta.notes) == (
            "log-1",
            SERVER,
            130,
            95,
            b"second",
        )
        assert restored.opened.epochs == ((1, 1), (2, 91))
        assert entries_of(restored) == [entry(seq, 1 if seq <= 90 else 2) for seq in range(1, 131)]
        await core.write(0, 1, append_of(131, 131, epoch=2), Mark(131, b"third"))
        assert await core.read(0, 1, 130, 200) == [entry(130, 2), entry(131, 2)]
    with closing(HistoryStore.open(find(tmp_path, SERVICE, "ana")[0])) as store:
        assert (store.meta.head, store.meta.notes) == (131, b"third")


@conversation
async def test_what_a_killed_process_has_written_is_taken_up(tmp_path: Path) -> None:
    async with core_at(tmp_path) as core:
        core.make(1)
        await core.write(1, 1, append_of(1, 210), Mark(200, b"notes"))
        shutil.copytree(folder_for(tmp_path, SERVICE), folder_for(tmp_path / "killed", SERVICE))
    async with core_at(tmp_path / "killed") as core:
        restored = await core.disk.open()
        assert restored is not None
        assert (restored.opened.meta.head, restored.opened.meta.committed) == (210, 200)


@pytest.mark.parametrize(
    ("head", "committed", "first"),
    [
        (0, 0, 1),
        (1, 1, 1),
        (limits.TAIL_ENTRIES_MIN, limits.TAIL_ENTRIES_MIN, 1),
        (limits.TAIL_ENTRIES_MIN + 63, limits.TAIL_ENTRIES_MIN, 1),
        (limits.TAIL_ENTRIES_MIN + 64, limits.TAIL_ENTRIES_MIN + 64, 65),
        (limits.TAIL_ENTRIES_MIN + 200, limits.TAIL_ENTRIES_MIN + 200, 193),
        (limits.TAIL_ENTRIES_MIN + 200, 100, 65),
        (limits.TAIL_ENTRIES_MIN + 200, 0, 1),
        (10, 20, 1),
    ],
)
def test_a_tail_begins_where_a_span_does_and_has_all_that_may_be_cut(head: int, committed: int, first: int) -> None:
    assert tail_start(head, committed) == first
    assert (first - 1) % SPAN_ENTRIES == 0
    assert first - 1 <= committed
    assert first == 1 or head - first + 1 >= limits.TAIL_ENTRIES_MIN


@conversation
async def test_of_a_long_history_the_tail_alone_is_handed_over_in_blocks(tmp_path: Path) -> None:
    head = limits.TAIL_ENTRIES_MIN + 300
    changes = [append_of(first, min(head, first + 999), text="x" * 400) for first in range(1, head + 1, 1000)]
    await left_behind(tmp_path, *changes, Mark(head, b""))
    async with core_at(tmp_path) as core:
        restored = await core.disk.open()
        assert restored is not None
        assert [restored.tail[0][0], len(restored.tail) > 4] == [257, True]
        assert entries_of(restored) == [entry(seq, text="x" * 400) for seq in range(257, head + 1)]
        assert restored.opened.chain.head == head


@conversation
async def test_of_two_the_one_written_to_last_is_taken_and_of_another_nick_none(tmp_path: Path) -> None:
    async with core_at(tmp_path, server_id="one") as one, core_at(tmp_path, server_id="two") as two:
        for core, head in ((one, 3), (two, 5)):
            core.make(1)
            await core.write(1, 1, append_of(1, head))
        await one.write(1, 2, Mark(1, b""))
        for folder, age in (("ana-1", 0), ("ana-2", 10)):  # they may have been written to within one tick of its clock
            os.utime(folder_for(tmp_path, SERVICE) / folder / TALLY, ns=(0, 10**18 - age))
    await left_behind(tmp_path, append_of(1, 9), nick="bo")
    async with core_at(tmp_path, "ANA") as first, core_at(tmp_path, "ana") as second, core_at(tmp_path, "ana") as third:
        restored = [await core.disk.open() for core in (first, second, third)]
        assert [each and (each.opened.meta.server_id, each.opened.meta.head) for each in restored] == [
            ("one", 3),
            ("two", 5),
            None,
        ]
        third.make(1)
        await third.write(1, 1, append_of(1, 1))
        assert [core.damage for core in (first, second, third)] == [[], [], []]
    assert room(tmp_path) == ["ana-1", "ana-2", "ana-3", "bo-1"]


@conversation
async def test_one_that_is_let_go_of_a_moment_later_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, tried = asyncio.get_running_loop(), asyncio.Event()
    hold_it = store_folder.hold

    def hold(folder: Path) -> int:
        try:
            return hold_it(folder)
        except HistoryInUse:
            loop.call_soon_threadsafe(tried.set)
            raise

    monkeypatch.setattr(store_folder, "hold", hold)
    monkeypatch.setattr(disk, "_IN_USE_TRIES", 10_000)
    holder = HistoryStore.open(await left_behind(tmp_path, append_of(1, 5)))
    async with core_at(tmp_path) as core:
        opening = asyncio.create_task(core.disk.open())
        await tried.wait()
        holder.close()
        restored = await opening
        assert restored is not None
        assert restored.opened.meta.head == 5


def flip(path: Path, at: int) -> None:
    """Change one bit."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def flip_a_message(folder: Path) -> None:
    """In all places where it was ever written."""
    for match in re.finditer(b"text 7", (folder / HISTORY).read_bytes()):
        flip(folder / HISTORY, match.start())


def cut_the_log(folder: Path) -> None:
    log = folder / f"{HISTORY}-wal"
    assert log.stat().st_size > 0
    os.truncate(log, log.stat().st_size // 2)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        (flip_a_message, "is damaged and is not used"),
        (lambda folder: flip(folder / TALLY, 10), "its tally is not what was written"),
        (lambda folder: (folder / TALLY).unlink(), "its tally is missing"),
        (lambda folder: (folder / HISTORY).write_bytes(b""), "its header is not that of a history"),
        (lambda folder: (folder / HISTORY).unlink(), "No such file"),
        (cut_the_log, "is not used: it ends at message"),
    ],
)
@conversation
async def test_one_that_is_not_what_was_written_is_told_and_stays_and_an_older_one_is_taken(
    tmp_path: Path, what: Callable[[Path], None], sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    older = await left_behind(tmp_path, append_of(1, 4), server_id="older")
    os.utime(older / TALLY, ns=(0, 0))
    newer = folder_for(tmp_path, SERVICE) / "ana-2"
    store = HistoryStore.create(newer, SERVICE, "log-1", "newer")
    for number in range(10):
        store.write([append_of(100 * number + 1, 100 * number + 100)])
        if number == 5:
            store.checkpoint()
    as_killed(store, tmp_path / "copy")
    store.erase()
    shutil.move(tmp_path / "copy", newer)
    what(newer)
    for start in range(3):
        async with core_at(tmp_path) as core:
            restored = await core.disk.open()
            assert restored is not None
            assert (restored.opened.meta.server_id, restored.opened.meta.head) == ("older", 4 + start)
            assert [str(newer) in told and sentence in told for told in core.damage] == [True], core.damage
            assert core.disk.damage == tuple(core.damage)
            assert core.damage[0] in caplog.text
            await core.write(0, 1, append_of(5 + start, 5 + start))
            assert core.broken == []
        os.utime(older / TALLY, ns=(0, 0))
    assert room(tmp_path) == ["ana-1", "ana-2"]


@conversation
async def test_where_none_is_sound_a_new_one_is_made_beside_it(tmp_path: Path) -> None:
    damaged = await left_behind(tmp_path, append_of(1, 4))
    flip(damaged / TALLY, 10)
    os.utime(damaged / TALLY, ns=(0, 0))
    async with core_at(tmp_path) as core:
        assert await core.disk.open() is None
        core.make(1, "log-2")
        await core.write(1, 1, append_of(1, 1))
    assert room(tmp_path) == ["ana-1", "ana-2"]
    async with core_at(tmp_path) as core:
        restored = await core.disk.open()
        assert restored is not None
        assert restored.opened.meta.log == "log-2"
        assert core.damage == []


@conversation
async def test_a_place_where_none_can_be_is_told_and_nothing_ends_with_it(tmp_path: Path) -> None:
    (tmp_path / "histories").write_text("")
    async with core_at(tmp_path) as core:
        assert await core.disk.open() is None
        assert ["cannot be read: Not a directory" in told for told in core.damage] == [True]
        core.make(1)
        core.order(1, 1, append_of(1, 1))
        assert "could not be made: Not a directory" in (await core.word(StoreBroken)).why


@conversation
async def test_opening_can_be_given_up(tmp_path: Path) -> None:
    folder = await left_behind(tmp_path, append_of(1, 5))
    with closing(HistoryStore.open(folder)):
        async with core_at(tmp_path) as core:
            opening = asyncio.create_task(core.disk.open())
            await asyncio.sleep(0)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening


@conversation
async def test_a_bug_while_a_history_is_opened_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await left_behind(tmp_path, append_of(1, 5))

    def broken(_: HistoryStore, *__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(HistoryStore, "read", broken)
    async with core_at(tmp_path) as core:
        with pytest.raises(ZeroDivisionError):
            await core.disk.open()
    HistoryStore.open(find(tmp_path, SERVICE, "ana")[0]).close()


# --- orders ---


@conversation
async def test_it_reads_and_searches_while_it_writes(tmp_path: Path) -> None:
    async with core_at(tmp_path) as core:
        core.make(1)
        head = 0
        for number in range(1, 101):
            core.order(1, number, append_of(head + 1, head + 20), Mark(head + 10, b""))
            head += 20
            if number % 10 == 0:  # a read sees every write that was ordered before it
                assert await core.read(1, number, head - 1, head + 5) == [entry(head - 1), entry(head)]
        core.disk.perform(SearchStore(1, 1_001, "text 1999", 0, 10, head))
        found = await core.word(StoreSearched)
        assert [each.text for each in codec.decode_entries(found.block)] == ["text 1999"]
        assert (found.ask, found.before) == (1_001, 0)
        core.disk.perform(ReadStore(1, 1_002, 1, head, count_max=3))
        assert (await core.word(StoreRead, lambda word: word.ask == 1_002)).count == 3
        core.disk.perform(ReadStore(1, 1_003, head + 1, head + 9))
        assert (await core.word(StoreRead, lambda word: word.ask == 1_003)).count == 0
        await core.written(1, 100)
        numbers = [word.number for word in core.words if isinstance(word, StoreWritten)]
        assert numbers == sorted(set(numbers))


@conversation
async def test_numbers_of_writes_are_the_cores_own(tmp_path: Path) -> None:
    async with core_at(tmp_path) as core:
        core.make(4)
        for number in (70, 75, 90):
            await core.write(4, number, Mark(0, b"%d" % number))
        assert [word for word in core.words if isinstance(word, StoreWritten)] == [
            StoreWritten(4, 70),
            StoreWritten(4, 75),
            StoreWritten(4, 90),
        ]


@conversation
async def test_all_that_was_ordered_is_on_the_disk_at_the_end(tmp_path: Path) -> None:
    async with core_at(tmp_path) as core:
        core.make(1)
        for number in range(1, 301):
            core.order(1, number, append_of(number, number))
    core.order(1, 301, append_of(301, 301))  # after the end it means nothing
    with closing(HistoryStore.open(find(tmp_path, SERVICE, "ana")[0])) as store:
        assert entries_in(store) == [entry(seq) for seq in range(1, 301)]


@conversation
async def test_one_that_is_dropped_is_written_to_its_end_and_says_nothing_more(tmp_path: Path) -> None:
    async with core_at(tmp_path) as core:
        core.make(1)
        for number in range(1, 51):
            core.order(1, number, append_of(number, number))
        core.disk.perform(ReadStore(1, 1, 1, 1))
        core.disk.perform(DropStore(1, erase=False))
        core.disk.perform(ReadStore(1, 2, 1, 1))
        core.order(1, 51, append_of(51, 51))
    assert core.words == []
    async with core_at(tmp_path) as core:
        restored = await core.disk.open()
        assert restored is not None
        assert restored.opened.meta.head == 50


@conversation
async def test_one_that_is_erased_leaves_nothing_and_the_next_has_its_place(tmp_path: Path) -> None:
    await left_behind(tmp_path, append_of(1, 5), server_id="first")
    async with core_at(tmp_path) as core:
        assert await core.disk.open() is not None
        core.disk.perform(DropStore(0, erase=True))
        core.make(1, "log-2")
        await core.write(1, 1, append_of(1, 1))
        assert room(tmp_path) == ["ana-1"]
        core.disk.perform(DropStore(1, erase=True))
    assert room(tmp_path) == []


@conversation
async def test_of_all_that_a_process_made_and_did_not_erase_the_last_one_is_found_again(tmp_path: Path) -> None:
    """All have its server id: a second process that took up another would be taken for the first."""
    await left_behind(tmp_path, append_of(1, 5), server_id="first")
    async with core_at(tmp_path) as core:
        assert await core.disk.open() is not None
        core.disk.perform(DropStore(0, erase=False))
        async with core_at(tmp_path) as other:
            assert await other.disk.open() is None, "it is held, though it is dropped"
        core.make(1, "log-2")
        core.make(2, "log-3")
        core.order(2, 1, append_of(1, 2))
        await core.written(2, 1)
        assert {word.store for word in core.words} == {2}
        async with core_at(tmp_path) as other:
            assert await other.disk.open() is None
    assert room(tmp_path) == ["ana-1", "aside+ana-1+1", "aside+ana-1+2"]
    async with core_at(tmp_path) as core:
        restored = await core.disk.open()
        assert restored is not None
        assert (restored.opened.meta.log, restored.opened.meta.server_id) == ("log-3", "first")
    with closing(HistoryStore.open(folder_for(tmp_path, SERVICE) / "aside+ana-1+1")) as aside:
        assert len(entries_in(aside)) == 5


@conversation
async def test_making_the_next_one_does_not_wait_for_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_go_on = threading.Event()
    shut = HistoryStore.shut

    def slow(store: HistoryStore) -> Any:
        assert may_go_on.wait(DEADLINE_S)
        return shut(store)

    monkeypatch.setattr(HistoryStore, "shut", slow)
    async with core_at(tmp_path) as core:
        core.make(1)
        await core.write(1, 1, append_of(1, 1))
        core.disk.perform(DropStore(1, erase=True))
        core.make(2)
        core.order(2, 1, append_of(1, 3))
        assert room(tmp_path) == ["ana-1"]
        may_go_on.set()
        await core.written(2, 1)
        assert await core.read(2, 1, 1, 3) == [entry(1), entry(2), entry(3)]
    assert room(tmp_path) == ["ana-1"]


# --- a disk that does not do what it should ---


@conversation
async def test_a_disk_that_is_too_slow_ends_the_writing_and_reads_are_refused_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_thread, "WAITING_BYTES_MAX", 1_000)
    monkeypatch.setattr(store_thread, "ASKS_MAX", 2)
    may_open = threading.Event()
    create = HistoryStore.create

    def slow(*arguments: Any) -> HistoryStore:
        assert may_open.wait(DEADLINE_S)
        return create(*arguments)

    monkeypatch.setattr(HistoryStore, "create", slow)
    async with core_at(tmp_path) as core:
        core.make(1)
        core.order(1, 1, append_of(1, 50))
        for number in range(2, 5):
            core.order(1, number, append_of(49 + number, 49 + number))
        assert core.words == [StoreBroken(1, "the disk is too slow: too much waits to be written")]
        for ask in range(3):
            core.disk.perform(ReadStore(1, ask, 1, 1))
        assert core.words[1:] == [StoreUnread(1, 2, "the disk is too slow: too many wait for an answer")]
        may_open.set()
        await core.word(StoreRead, lambda word: word.ask == 1)
        assert len(core.broken) == 1


@conversation
async def test_a_message_that_changes_on_the_disk_is_never_read_and_told_once(tmp_path: Path) -> None:
    # More than SQLite remembers of what was read when it was opened.
    folder = await left_behind(tmp_path, append_of(1, 200), append_of(201, 6_000, text="x" * 500))
    async with core_at(tmp_path) as core:
        assert await core.disk.open() is not None
        flip_a_message(folder)
        for ask in range(2):
            core.disk.perform(ReadStore(0, ask, 1, 10))
        unread = await core.word(StoreUnread, lambda word: word.ask == 1)
        assert "is damaged and is not used" in unread.why
        assert [str(folder) in told for told in core.damage] == [True]
        assert await core.read(0, 2, 190, 192) == [entry(190), entry(191), entry(192)]


@conversation
async def test_a_bug_in_what_is_written_stops_the_process(tmp_path: Path) -> None:
    core = Core(tmp_path)
    core.make(1)
    core.order(1, 1, append_of(5, 6))
    await core.until(lambda: bool(core.bugs))
    assert "entry 5 follows 0" in str(core.bugs[0])
    assert await core.disk.close(DEADLINE_S) is not None


@conversation
async def test_the_end_does_not_wait_for_a_disk_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_go_on = threading.Event()
    write = HistoryStore.write

    def hanging(store: HistoryStore, changes: Sequence[Change]) -> None:
        assert may_go_on.wait(DEADLINE_S)
        write(store, changes)

    monkeypatch.setattr(HistoryStore, "write", hanging)
    core = Core(tmp_path)
    core.make(1)
    core.order(1, 1, append_of(1, 1))
    late = await core.disk.close(0.01)
    assert "could not be closed within 0.01 s" in str(late)
    may_go_on.set()


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A disk of its own, which only root can make."""
    place.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip(f"no disk can be mounted here: {made.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@conversation
async def test_a_full_disk_ends_the_writing_and_what_was_written_is_still_read(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "512k") as place:
        async with core_at(place) as core:
            core.make(1)
            await core.write(1, 1, append_of(1, 100), Mark(100, b""))
            for number in range(2, 102):
                first = 101 + 20 * (number - 2)
                core.order(1, number, append_of(first, first + 19, text="x" * 500))
            broken = await core.word(StoreBroken)
            assert "full" in broken.why
            assert str(place) in broken.why
            assert await core.read(1, 1, 99, 100) == [entry(99), entry(100)]
            assert len(core.broken) == 1
            written = max(word.number for word in core.words if isinstance(word, StoreWritten))
        assert await _head_at(place) >= 100 + 20 * (written - 1)


@conversation
async def test_a_disk_that_is_full_from_the_start_takes_no_store(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "64k") as place:
        (place / "ballast").write_bytes(b"x" * 60_000)
        async with core_at(place) as core:
            assert await core.disk.open() is None
            core.make(1)
            core.order(1, 1, append_of(1, 1))
            core.disk.perform(ReadStore(1, 1, 1, 1))
            assert "full" in (await core.word(StoreBroken)).why or "No space left" in core.broken[0].why
            assert (await core.word(StoreUnread)).ask == 1
            (place / "ballast").unlink()
            core.make(2)  # and may do so later
            await core.write(2, 1, append_of(1, 1))
            assert len(core.broken) == 1


@conversation
async def test_a_folder_that_is_read_only_is_told_and_takes_no_store(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "1m") as place:
        folder = await left_behind(place, append_of(1, 3))
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        async with core_at(place) as core:
            assert await core.disk.open() is None
            assert core.damage == [f"{folder} cannot be used: Read-only file system"]
            core.make(1)
            assert "could not be made: Read-only file system" in (await core.word(StoreBroken)).why
        subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
        assert await _head_at(place) == 3


@conversation
async def test_one_that_can_neither_be_erased_nor_put_aside_stays_held_and_none_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    await left_behind(tmp_path, append_of(1, 3))
    async with core_at(tmp_path) as core, core_at(tmp_path) as other:
        assert await core.disk.open() is not None
        with monkeypatch.context() as patched:
            patched.setattr(store_folder, "_remove", refuse)
            patched.setattr(Path, "rename", refuse)
            core.disk.perform(DropStore(0, erase=True))
            core.make(1)
            assert "could not be put aside: Input/output error" in (await core.word(StoreBroken)).why
            assert "could not be erased: Input/output error" in caplog.text
        assert await other.disk.open() is None
        core.make(2)
        await core.write(2, 1, append_of(1, 1))
    assert room(tmp_path) == ["ana-1", "aside+ana-1+1"]


async def _head_at(data_dir: Path) -> int:
    async with core_at(data_dir) as core:
        restored = await core.disk.open()
        assert restored is not None
        assert core.damage == []
        return restored.opened.meta.head
