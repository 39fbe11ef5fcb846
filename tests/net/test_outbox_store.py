"""The outbox on a real disk: what it keeps, who gets which file, and what becomes of damage and of a full disk."""

import asyncio
import contextlib
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from peer.outbox import Kept, Row, Write
from peer.outbox_file import OutboxBusy, OutboxDamaged, OutboxError, OutboxFile
from peer.outbox_store import Claimed, OutboxStore, claim
from tests.support.processes import PATIENCE_S, ROOT
from wire import limits

ODD_TEXTS = ("plain", "zero \0 inside", "several\nlines", "e\u0301 👩\u200d🚀", "x" * limits.TEXT_BYTES_MAX)


def rows(*texts: str, session: str = "s", first: int = 1) -> tuple[Row, ...]:
    return tuple(Row(index, session, first + index - 1, text) for index, text in enumerate(texts, start=1))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ana-1.sqlite"


def saved(path: Path, *texts: str) -> None:
    """A file with these posts in it."""
    with contextlib.closing(OutboxFile(path, "ana")) as file:
        file.save([Write(1, "log", rows(*texts), ())])


def kept(path: Path) -> Kept:
    with contextlib.closing(OutboxFile(path, "ana")) as file:
        return file.kept


# --- one file ---


def test_what_was_saved_is_there_again_with_the_same_author(path: Path) -> None:
    with contextlib.closing(OutboxFile(path, "ana")) as file:
        peer = file.kept.peer
        assert file.kept == Kept(peer)
        file.save([Write(1, None, rows(*ODD_TEXTS), ()), Write(2, "log", (), ())])
    assert kept(path) == Kept(peer, "log", rows(*ODD_TEXTS))
    with contextlib.closing(OutboxFile(path, "ana")) as file:
        file.save([Write(1, None, (Row(2, "t", 1, "moved"), Row(9, "t", 2, "new")), (1, 3, 4, 5))])
    assert kept(path) == Kept(peer, "log", (Row(2, "t", 1, "moved"), Row(9, "t", 2, "new")))


def test_a_group_of_writes_is_done_in_order(path: Path) -> None:
    with contextlib.closing(OutboxFile(path, "ana")) as file:
        file.save([Write(1, "a", rows("one", "two"), ()), Write(2, "b", (), (1,)), Write(3, None, (), (2,))])
        file.save([Write(4, None, rows("once more", first=7), ())])
    assert (kept(path).log, kept(path).rows) == ("b", rows("once more", first=7))


def test_only_one_has_a_file_in_this_process_and_in_others(path: Path) -> None:
    with contextlib.closing(OutboxFile(path, "ana")):
        with pytest.raises(OutboxBusy):
            OutboxFile(path, "ana")
        program = "import sys, pathlib, peer.outbox_file as f; f.OutboxFile(pathlib.Path(sys.argv[1]), 'a')"
        command = [sys.executable, "-c", program, str(path)]
        other = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert "OutboxBusy" in other.stderr
        with pytest.raises(OutboxBusy):  # to have been turned away has given up nothing
            OutboxFile(path, "ana")
    OutboxFile(path, "ana").close()


WRITER = """
import sys
from pathlib import Path
from peer.outbox import Row, Write
from peer.outbox_file import OutboxFile
file = OutboxFile(Path(sys.argv[1]), "ana")
for number in range(1, 1_000_000):
    file.save([Write(number, "log", (Row(number, "s", number, f"text {number}"),), (number - 50,))])
    print(number, flush=True)
"""


def test_what_was_saved_survives_the_death_of_the_process(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) == 500:
                writer.send_signal(signal.SIGKILL)
                break
        told = [500, *map(int, writer.stdout)]
    found = [row.counter for row in kept(path).rows]
    assert found == list(range(found[0], found[-1] + 1))
    assert found[-1] in (told[-1], told[-1] + 1)
    assert len(found) == 50


def test_the_file_does_not_grow_with_what_went_through_it(path: Path) -> None:
    with contextlib.closing(OutboxFile(path, "ana")) as file:
        for number in range(1, 3_000):
            file.save([Write(number, None, (Row(number, "s", number, "x" * 4_000),), (number - 1,))])
    assert sum(part.stat().st_size for part in path.parent.iterdir()) < 100_000


def test_nobody_else_may_read_it(path: Path) -> None:
    with contextlib.closing(OutboxFile(path, "ana")) as file:
        file.save([Write(1, None, rows("secret"), ())])
        assert {part.stat().st_mode & 0o777 for part in path.parent.iterdir()} == {0o600}


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 4]))


def test_a_file_that_is_cut_short_is_refused_by_name(path: Path) -> None:
    saved(path, *(f"text {number} {'x' * 500}" for number in range(50)))
    whole = path.read_bytes()
    for size in (0, 10, 100, 512, 4_096, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(OutboxDamaged, match=r"ana-1\.sqlite is damaged"):
            OutboxFile(path, "ana")


def test_a_flipped_bit_is_noticed_or_changes_nothing(path: Path) -> None:
    saved(path, *(f"text {number} {'x' * 300}" for number in range(30)))
    sound, whole = kept(path), path.read_bytes()
    refused = 0
    for at in range(0, len(whole), 97):
        path.write_bytes(whole)
        flip(path, at)
        try:
            found = kept(path)
        except OutboxError:
            refused += 1
        else:
            assert found == sound
    assert refused > 50


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM posts WHERE place = 2",
        "UPDATE posts SET text = 'other' WHERE place = 2",
        "UPDATE posts SET counter = 9 WHERE place = 3",
        "DELETE FROM author",
        "UPDATE author SET peer = 'a'",
        "INSERT INTO author VALUES ('a', 'b', 'c', x'00')",
        "DROP TABLE posts",
        "PRAGMA user_version = 9",
        "PRAGMA application_id = 9",
    ],
)
def test_what_was_changed_by_others_is_refused(path: Path, change: str) -> None:
    saved(path, "one", "two", "three")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(change)
    with pytest.raises(OutboxDamaged):
        OutboxFile(path, "ana")


# --- whose file ---


def claimed(folder: Path, nick: str = "ana") -> Claimed:
    found = claim(folder, "tea", nick)
    assert found.file is not None, found.faults
    return found


def leave(folder: Path, nick: str, *texts: str) -> Path:
    """Somebody of this name was here, and left these posts."""
    found = claimed(folder, nick)
    assert found.file is not None
    found.file.save([Write(1, None, rows(*texts), ())])
    found.file.close()
    return found.file.path


@contextlib.contextmanager
def held(folder: Path, nick: str = "ana") -> Iterator[Claimed]:
    found = claimed(folder, nick)
    assert found.file is not None
    try:
        yield found
    finally:
        found.file.close()


def texts_of(found: Claimed) -> list[str]:
    assert found.kept is not None
    return [row.text for row in found.kept.rows]


def test_the_next_of_the_same_name_gets_what_was_left_whatever_the_case(tmp_path: Path) -> None:
    leave(tmp_path, "Ana", "one", "two")
    with held(tmp_path, "ANA") as found:
        assert texts_of(found) == ["one", "two"]
        assert found.faults == ()


def test_two_at_once_have_a_file_each_and_what_is_left_goes_to_the_first(tmp_path: Path) -> None:
    with held(tmp_path) as first:
        assert texts_of(first) == []
        path = leave(tmp_path, "ana", "one")
        assert path.name == "ana-2.sqlite"
    with held(tmp_path) as first, held(tmp_path) as second:
        assert first.file is not None
        assert first.file.path == path
        assert (texts_of(first), texts_of(second)) == (["one"], [])


def test_what_others_left_stays_theirs_and_is_told(tmp_path: Path) -> None:
    leave(tmp_path, "bo", "one", "two")
    with held(tmp_path) as found:
        assert texts_of(found) == []
        (fault,) = found.faults
        assert fault.code == "posts_waiting"
        assert fault.message.startswith("2 posts were left by bo ")
    with held(tmp_path, "bo") as found:
        assert (texts_of(found), found.faults) == (["one", "two"], ())


def test_rooms_do_not_touch(tmp_path: Path) -> None:
    leave(tmp_path, "ana", "one")
    other = claim(tmp_path, "coffee", "ana")
    assert other.file is not None
    assert (other.file.kept.rows, other.faults) == ((), ())
    other.file.close()


@pytest.mark.parametrize("nick", ["ana", "Ω.-'^|[]{}", "名" * 32, "_" * 32])
def test_any_nick_makes_a_file_name(tmp_path: Path, nick: str) -> None:
    leave(tmp_path, nick, "one")
    with held(tmp_path, nick) as found:
        assert texts_of(found) == ["one"]
    with held(tmp_path, nick[:-1] + "b") as other:
        assert texts_of(other) == []


def test_a_damaged_file_is_moved_aside_with_one_sentence_and_the_chat_has_another(tmp_path: Path) -> None:
    path = leave(tmp_path, "ana", "one")
    damage = b"nonsense" * 1_000
    path.write_bytes(damage)
    with held(tmp_path, "bo") as found:  # it is not for somebody else to be told of it
        assert found.faults == ()
    with held(tmp_path) as found:
        (fault,) = found.faults
        assert fault.code == "outbox_damaged"
        assert str(path) in fault.message
        assert texts_of(found) == []
    assert Path(f"{path}.damaged-1").read_bytes() == damage
    with held(tmp_path) as found:
        assert found.faults == ()


def test_a_folder_that_cannot_be_used_is_told_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "tea").write_text("no folder")
    found = claim(tmp_path, "tea", "ana")
    assert found.file is None
    assert [fault.code for fault in found.faults] == ["outbox_failed"]


def test_many_that_start_at_once_have_a_file_each_and_all_that_was_left(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(6):
            file = stack.enter_context(held(tmp_path)).file
            assert file is not None
            file.save([Write(1, None, rows(f"left {number}"), ())])
    found: list[Claimed] = []
    threads = [threading.Thread(target=lambda: found.append(claimed(tmp_path))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(text for one in found for text in texts_of(one)) == [f"left {number}" for number in range(6)]
    for one in found:
        assert one.file is not None
        one.file.close()


# --- beside the loop ---


class Told:
    """What a store has told."""

    def __init__(self) -> None:
        self.written = 0
        self.failures: list[str] = []
        self._changed = asyncio.Event()

    def write(self, number: int) -> None:
        self.written = number
        self._changed.set()

    def fail(self, why: str) -> None:
        self.failures.append(why)
        self._changed.set()

    async def until(self, number: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.written < number and not self.failures:
                self._changed.clear()
                await self._changed.wait()


def play(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def test_writes_are_done_beside_the_loop_and_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        told = Told()
        file = claimed(tmp_path).file
        assert file is not None
        store = OutboxStore(file, written=told.write, failed=told.fail)
        for number in range(1, 501):
            store.write(Write(number, None, (Row(number, "s", number, f"{number}"),), ()))
        await told.until(500)
        store.write(Write(501, None, (), tuple(range(1, 500))))
        await store.close()

    play(scenario())
    with held(tmp_path) as found:
        assert texts_of(found) == ["500"]


def test_a_disk_that_takes_no_more_is_told_once_and_the_file_says_nothing_wrong_later(tmp_path: Path) -> None:
    """The limit of a file's size stands for a full disk."""

    async def scenario() -> None:
        told = Told()
        file = claimed(tmp_path).file
        assert file is not None
        store = OutboxStore(file, written=told.write, failed=told.fail)
        store.write(Write(1, None, rows("fits"), ()))
        await told.until(1)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 * limits.KIB, before[1]))
        try:
            store.write(Write(2, None, rows(*("x" * 8_000 for _ in range(50))), ()))
            store.write(Write(3, None, rows(*("y" * 8_000 for _ in range(50))), ()))
            await told.until(3)
            store.write(Write(4, None, rows("later"), ()))
            await store.close()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
        (why,) = told.failures
        assert why.startswith(str(file.path))
        assert told.written == 1

    play(scenario())
    assert sorted(path.name for path in (tmp_path / "tea").iterdir()) == ["lock"]
    with held(tmp_path) as found:
        assert texts_of(found) == []


def test_closing_writes_what_waits(tmp_path: Path) -> None:
    async def scenario() -> None:
        told = Told()
        file = claimed(tmp_path).file
        assert file is not None
        store = OutboxStore(file, written=told.write, failed=told.fail)
        store.write(Write(1, "log", rows("one"), ()))
        await store.close()

    play(scenario())
    assert os.listdir(tmp_path / "tea")
    with held(tmp_path) as found:
        assert texts_of(found) == ["one"]
