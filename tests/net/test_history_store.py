"""What was written is there, the very bytes, after any end; what is damaged is refused by name."""

import os
import re
import resource
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import store_file
from broker.digest import SPAN_ENTRIES, Chain
from broker.finding import is_found, words_of
from broker.history import History
from broker.store import HistoryStore
from broker.store_folder import HISTORY, TALLY, WORDS
from broker.stored import (
    Append,
    Change,
    Cut,
    HistoryBehind,
    HistoryDamaged,
    HistoryError,
    HistoryInUse,
    HistoryUnreadable,
    Mark,
    Meta,
    StoreFailed,
    StoreFull,
)
from tests.support.histories import (
    LOG,
    SERVER,
    SERVICE,
    append_of,
    as_killed,
    block_of,
    entries_in,
    entry,
    filled,
    new_store,
)
from wire import codec, limits
from wire.errors import InvariantViolated, Malformed
from wire.messages import Entry

WAL = f"{HISTORY}-wal"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a store may be made; what it lies in does not exist yet."""
    return tmp_path / "deep" / "ana-1"


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """The system refuses to let any file of this process grow over `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# --- what is written is there ---------------------------------------------------------------------------------------


def test_a_new_store_is_empty_and_knows_what_it_is_of(folder: Path) -> None:
    with closing(new_store(folder)) as store:
        assert store.meta == Meta(SERVICE, LOG, SERVER, 0, 0, 0, b"")
        assert store.digest() == Chain(LOG).digest()
        assert store.read(1, 10) == (0, codec.join_block([]))
        assert (store.epochs(), store.sessions()) == ((), ())


def test_everything_is_there_after_closing_and_opening(folder: Path) -> None:
    with closing(filled(folder)) as store:
        before = store.opened()
    with closing(HistoryStore.open(folder)) as store:
        assert store.meta == before.meta == Meta(SERVICE, LOG, SERVER, 210, 3, 206, b"notes 29")
        assert store.digest() == before.chain.digest()
        assert entries_in(store) == [entry(seq, 1 + (seq - 1) // 70) for seq in range(1, 211)]
        store.write([append_of(211, 211, epoch=9)])
        assert store.epochs() == ((1, 1), (2, 71), (3, 141), (9, 211))


def test_nothing_is_left_beside_the_history_after_closing(folder: Path) -> None:
    store = filled(folder)
    store.index_some(100)
    assert (folder / WORDS).exists()
    store.close()
    assert sorted(path.name for path in folder.iterdir()) == [HISTORY, TALLY]


def test_what_was_written_is_there_without_closing(folder: Path, tmp_path: Path) -> None:
    with closing(filled(folder)) as store, closing(HistoryStore.open(as_killed(store, tmp_path / "copy"))) as copy:
        assert (copy.meta, copy.digest()) == (store.meta, store.digest())
        assert entries_in(copy) == entries_in(store)


def test_sessions_are_what_the_entries_say(folder: Path) -> None:
    with closing(new_store(folder)) as store:
        last = 3 * limits.SEQS_REMEMBERED + 30
        store.write([append_of(1, last)])
        after_writing = store.sessions()
    with closing(HistoryStore.open(folder)) as store:
        assert store.sessions() == after_writing
        ana = store.sessions()[0]
        assert (ana.author, ana.session, ana.last_counter) == ("ana-id", "session", limits.SEQS_REMEMBERED + 10)
        assert ana.seqs == tuple(range(31, last + 1, 3))
        store.write([Cut(4)])
        assert [(session.last_counter, session.seqs) for session in store.sessions()] == [
            (2, (1, 4)),
            (1, (2,)),
            (1, (3,)),
        ]


def test_a_block_ends_before_it_grows_over_its_bytes_but_holds_one_entry_at_least(folder: Path) -> None:
    with closing(new_store(folder)) as store:
        store.write([append_of(1, 100, text="x" * 1000)])
        size = len(codec.encode_entry(entry(1, text="x" * 1000)))
        assert store.read(1, 100, bytes_max=10 * size + 5)[0] == 10
        assert store.read(60, 100, bytes_max=10 * size + 5)[0] == 10
        assert store.read(1, 100, bytes_max=1)[0] == 1
        assert store.read(90, 100, count_max=3)[0] == 3
        assert (store.read(101, 200)[0], store.read(0, 100)[0], store.read(5, 4)[0]) == (0, 0, 0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 2 * SPAN_ENTRIES + 5)),
        st.tuples(st.just("cut"), st.integers(0, 70)),
        st.tuples(st.just("mark"), st.integers(0, 5)),
        st.tuples(st.just("write"), st.just(0)),
        st.tuples(st.just("open"), st.just(0)),
    ),
    max_size=14,
)


@settings(max_examples=60)
@given(STEPS, st.integers(1, 300), st.integers(0, 300), st.integers(1, 80))
def test_a_store_behaves_like_a_list(steps: list[tuple[str, int]], first: int, last: int, count_max: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "store"
        store = new_store(folder)
        model: list[Entry] = []
        batch: list[Change] = []
        committed, notes = 0, b""
        for index, (step, amount) in enumerate([*steps, ("write", 0)]):
            match step:
                case "append":
                    fresh = [entry(seq, 1 + index) for seq in range(len(model) + 1, len(model) + 1 + amount)]
                    batch.append(Append(len(model) + 1, amount, block_of(fresh)))
                    model += fresh
                case "cut":
                    del model[max(0, len(model) - amount) :]
                    batch.append(Cut(len(model)))
                case "mark":
                    committed, notes = len(model), bytes(amount)
                    batch.append(Mark(committed, notes))
                case "write":
                    store.write(batch)
                    batch = []
                case "open":
                    store.write(batch)
                    batch = []
                    store.close()
                    store = HistoryStore.open(folder)
        for _ in ("as it was written", "as it is read again"):
            check_against(store, model, first, last, count_max)
            assert (store.meta.committed, store.meta.notes) == (committed, notes)
            store.close()
            store = HistoryStore.open(folder)
        store.close()


def check_against(store: HistoryStore, model: list[Entry], first: int, last: int, count_max: int) -> None:
    """Compare all that can be asked of a store with what a list says."""
    chain = Chain(LOG)
    chain.add([codec.encode_entry(each) for each in model])
    assert store.meta.head == len(model)
    assert entries_in(store) == model
    assert store.digest() == chain.digest()
    wanted = model[first - 1 : max(0, min(last, first - 1 + count_max))]
    assert store.read(first, last, count_max) == (len(wanted), block_of(wanted))
    begins = [(each.epoch, each.seq) for at, each in enumerate(model) if at == 0 or model[at - 1].epoch != each.epoch]
    assert list(store.epochs()) == begins
    at = min(last, len(model))
    chain.cut(at, [codec.encode_entry(each) for each in model[at - at % SPAN_ENTRIES : at]])
    assert store.digest_at(at) == chain.digest()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ([append_of(12, 13)], InvariantViolated),
        ([append_of(10, 11)], InvariantViolated),
        ([append_of(11, 12), append_of(12, 13)], InvariantViolated),
        ([Cut(5), append_of(7, 7)], InvariantViolated),
        ([Cut(11)], InvariantViolated),
        ([Cut(-1)], InvariantViolated),
        ([Append(11, 2, append_of(11, 13).block)], Malformed),
        ([Append(11, 1, append_of(12, 12).block)], Malformed),
        ([Append(11, 1, b"no block")], Malformed),
        ([Append(11, 1, b"\x91" + append_of(11, 11).block[5:])], Malformed),
    ],
)
def test_changes_that_do_not_fit_change_nothing(folder: Path, changes: list[Change], error: type[Exception]) -> None:
    with closing(new_store(folder)) as store:
        store.write([append_of(1, 10)])
        digest = store.digest()
        with pytest.raises(error):
            store.write([Mark(10, b"other"), *changes])
        assert (store.digest(), store.meta.committed, store.meta.notes) == (digest, 0, b"")
        store.write([append_of(11, 11)])
        assert store.meta.head == 11


# --- damage ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A store as a kill leaves it, with entries in the file and others in its write-ahead log; and its digest."""
    place = tmp_path_factory.mktemp("killed")
    with closing(filled(place / "live")) as store:
        return as_killed(store, place / "killed"), store.digest()


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """The same, closed in peace; and its digest."""
    store = filled(tmp_path_factory.mktemp("closed") / "store")
    store.close()
    return store.folder, store.digest()


def is_refused(folder: Path, digest: bytes) -> bool:
    """Open a damaged store: it is refused by name, or all is there and it can be written to."""
    try:
        store = HistoryStore.open(folder)
    except HistoryDamaged as error:
        assert str(folder) in str(error)
        assert "\n" not in str(error)
        return True
    with closing(store):
        assert store.digest() == digest
        assert store.meta == Meta(SERVICE, LOG, SERVER, 210, 3, 206, b"notes 29")
        assert len(entries_in(store)) == 210
        store.write([append_of(211, 300)])
    with closing(HistoryStore.open(folder)) as store:
        assert store.meta.head == 300
    return False


# Of the file a killed process leaves, nearly every page also stands in the write-ahead log: damage does no harm.
FILES = [("closed", HISTORY, 0.25), ("closed", TALLY, 1.0), ("killed", HISTORY, 0.01), ("killed", WAL, 0.2)]


@pytest.mark.timeout(600)  # it waits for the disk some thousand times
@pytest.mark.parametrize(("end", "name", "refused_share"), FILES)
def test_a_flipped_bit_is_refused_or_changes_nothing(
    request: pytest.FixtureRequest, tmp_path: Path, end: str, name: str, refused_share: float
) -> None:
    source, digest = request.getfixturevalue(end)
    sound = (source / name).read_bytes()
    positions = {*range(min(120, len(sound))), *range(120, len(sound), max(1, len(sound) // 400))}
    if (end, name) == ("closed", HISTORY):
        for state in re.finditer(
            SERVICE.encode(), sound
        ):  # the row that vouches for all others, and what is left of it
            positions |= set(range(state.start() - 8, state.start() + 80, 3))
    refused_count = 0
    for at in sorted(positions):
        folder = tmp_path / "damaged"
        shutil.copytree(source, folder)
        damaged = bytearray(sound)
        damaged[at] ^= 1 << at % 8
        (folder / name).write_bytes(damaged)
        refused_count += is_refused(folder, digest)
        shutil.rmtree(folder)
    assert refused_count >= refused_share * len(positions)


@pytest.mark.parametrize(("end", "name"), [each[:2] for each in FILES])
def test_a_file_cut_short_is_refused_or_has_lost_nothing(
    request: pytest.FixtureRequest, tmp_path: Path, end: str, name: str
) -> None:
    source, digest = request.getfixturevalue(end)
    sound = (source / name).read_bytes()
    lengths = {0, 1, 31, 32, 33, 99, 100, len(sound) - 1, *range(0, len(sound), max(1, len(sound) // 97))}
    refused = {}
    for length in sorted(length for length in lengths if length < len(sound)):
        folder = tmp_path / "damaged"
        shutil.copytree(source, folder)
        os.truncate(folder / name, length)
        refused[length] = is_refused(folder, digest)
        shutil.rmtree(folder)
    assert refused[0]
    if (end, name) != ("killed", HISTORY):
        assert all(refused.values()), "each byte of it belongs to something that was reported as written"


@pytest.mark.parametrize("name", [HISTORY, WAL, TALLY])
def test_a_missing_file_is_refused_by_name(killed: tuple[Path, bytes], tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(killed[0], tmp_path / "damaged"))
    (folder / name).unlink()
    with pytest.raises((HistoryDamaged, HistoryUnreadable), match="damaged"):
        HistoryStore.open(folder)


def test_a_lost_tail_may_be_taken_on_purpose_and_is_a_sound_beginning(
    killed: tuple[Path, bytes], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(killed[0], tmp_path / "damaged"))
    (folder / WAL).unlink()
    with pytest.raises(HistoryBehind, match="it ends at message 112, but more was written") as refusal:
        HistoryStore.open(folder)
    assert refusal.value.head == 112
    with closing(HistoryStore.open(folder, behind=True)) as store:
        assert entries_in(store) == [entry(seq, 1 + (seq - 1) // 70) for seq in range(1, 113)]
        store.write([append_of(113, 120, epoch=2)])
    with closing(HistoryStore.open(folder)) as store:
        assert store.meta.head == 120


def test_anything_changed_behind_our_back_is_noticed(folder: Path) -> None:
    filled(folder).close()
    sound = (folder / HISTORY).read_bytes()
    for statement in (
        "DELETE FROM spans WHERE number = 1",
        "DELETE FROM spans WHERE number = 2",
        "DELETE FROM tail",
        "DELETE FROM tail WHERE first = (SELECT max(first) FROM tail)",
        "DELETE FROM facts",
        "DELETE FROM facts WHERE id = 2",
        "UPDATE facts SET body = x'00' WHERE id = 2",
        "UPDATE facts SET body = zeroblob(100) WHERE id = 1",
        "UPDATE spans SET entries = (SELECT entries FROM spans WHERE number = 0) WHERE number = 1",
        "UPDATE spans SET number = 7 WHERE number = 2",
        "UPDATE spans SET entries = zeroblob(length(entries)) WHERE number = 1",
        "UPDATE tail SET entries = zeroblob(length(entries))",
        "INSERT INTO spans SELECT 3, entries FROM spans WHERE number = 2",
        "INSERT INTO tail SELECT max(first) + 1, entries FROM tail",
        "DROP TABLE spans",
        "PRAGMA user_version = 2",
        "PRAGMA application_id = 1",
    ):
        (folder / HISTORY).write_bytes(sound)
        with closing(sqlite3.connect(folder / HISTORY, isolation_level=None)) as connection:
            connection.execute(statement)
        with pytest.raises(HistoryDamaged, match="ana-1 is damaged and is not used"):
            HistoryStore.open(folder)


def test_an_older_state_of_the_same_history_is_behind(folder: Path, tmp_path: Path) -> None:
    with closing(new_store(folder)) as store:
        store.write([append_of(1, 100)])
        store.checkpoint()
        older = as_killed(store, tmp_path / "older")
        store.write([append_of(101, 101)])
    shutil.copy(older / HISTORY, folder / HISTORY)
    with pytest.raises(HistoryBehind, match="ends at message 100"):
        HistoryStore.open(folder)


def test_a_tally_of_another_history_is_refused(folder: Path, tmp_path: Path) -> None:
    filled(folder).close()
    with closing(new_store(tmp_path / "other")) as other:
        for seq in range(1, 31):
            other.write([append_of(seq, seq)])
    shutil.copy(tmp_path / "other" / TALLY, folder / TALLY)
    with pytest.raises(HistoryDamaged, match="its tally is of another history"):
        HistoryStore.open(folder)


def test_a_kill_between_writing_and_counting_is_no_damage(folder: Path) -> None:
    with closing(filled(folder)) as store:
        counted = (folder / TALLY).read_bytes()
        store.write([append_of(211, 215)])
    (folder / TALLY).write_bytes(counted)
    with closing(HistoryStore.open(folder)) as store:
        assert store.meta.head == 215


def test_damage_under_an_open_store_is_noticed_when_it_is_read(folder: Path) -> None:
    with closing(new_store(folder)) as store:
        store.write([append_of(1, 4_000, text="x" * 1_000)])  # more than SQLite keeps in memory
    with closing(HistoryStore.open(folder)) as store:
        data = bytearray((folder / HISTORY).read_bytes())
        for at in range(data.index(b"x" * 1_000), len(data) // 2, 4_096):
            data[at] ^= 1
        (folder / HISTORY).write_bytes(data)
        with pytest.raises(HistoryDamaged, match="message 1 or one soon after it has changed"):
            store.read(1, 64)
        assert store.read(3_990, 4_000)[0] == 11


def test_a_file_of_another_kind_is_refused_and_left_alone(folder: Path) -> None:
    filled(folder).close()
    (folder / HISTORY).unlink()
    with closing(sqlite3.connect(folder / HISTORY)) as connection:
        connection.execute("CREATE TABLE mine (text TEXT)")
    for content in ((folder / HISTORY).read_bytes(), b"dear diary", b""):
        (folder / HISTORY).write_bytes(content)
        with pytest.raises(HistoryDamaged, match="its header is not that of a history of this version"):
            HistoryStore.open(folder)
        assert (folder / HISTORY).read_bytes() == content


# --- who has it, and where it cannot be ------------------------------------------------------------------------------


def test_a_store_in_use_is_refused_by_name(folder: Path) -> None:
    with closing(new_store(folder)):
        with pytest.raises(HistoryInUse, match="ana-1 is in use by another participant"):
            HistoryStore.open(folder)
        with pytest.raises(HistoryInUse):
            new_store(folder)
    HistoryStore.open(folder).close()
    with pytest.raises(HistoryInUse):
        new_store(folder)


def test_what_is_not_there_or_cannot_be_used_is_told_by_name(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(HistoryUnreadable, match="there is no history at"):
        HistoryStore.open(folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFailed, match="could not be made"):
        new_store(tmp_path / "file" / "ana-1")
    with pytest.raises(HistoryUnreadable, match="cannot be used"):
        HistoryStore.open(tmp_path / "file" / "ana-1")


def test_an_erased_store_is_gone(folder: Path) -> None:
    store = filled(folder)
    store.index_some(10)
    store.erase()
    assert list(folder.parent.iterdir()) == []
    with closing(new_store(folder)) as store:
        assert store.meta.head == 0


# --- a disk that refuses ---------------------------------------------------------------------------------------------


def refused_writes(store: HistoryStore) -> list[StoreFailed]:
    """Write until the disk refuses, and once more."""
    errors: list[StoreFailed] = []
    for _ in range(3_000):
        try:
            head = store.meta.head
            store.write([append_of(head + 1, head + 50, text="x" * 100), Mark(head, b"later")])
        except StoreFailed as error:
            errors.append(error)
            if len(errors) == 2:
                break
    return errors


def check_after_a_failure(store: HistoryStore, errors: list[StoreFailed]) -> None:
    """What failed is not there, reading goes on, writing is refused until it has been opened anew."""
    assert "could not be written" in str(errors[0])
    assert "is not written any more" in str(errors[1])
    assert "\n" not in str(errors[0])
    entries, meta, digest = entries_in(store), store.meta, store.digest()
    assert len(entries) == meta.head and meta.head % 50 == 0
    store.close()
    with closing(HistoryStore.open(store.folder)) as store:
        assert (entries_in(store), store.meta, store.digest()) == (entries, meta, digest)
        store.write([append_of(meta.head + 1, meta.head + 1)])
        assert store.meta.head == meta.head + 1


def test_a_full_disk_is_told_and_leaves_what_was_written(folder: Path) -> None:
    store = new_store(folder)
    store._connection.execute("PRAGMA max_page_count = 60")  # as a full disk
    errors = refused_writes(store)
    assert isinstance(errors[0], StoreFull)
    check_after_a_failure(store, errors)


def test_a_disk_that_refuses_is_told_and_leaves_what_was_written(folder: Path) -> None:
    store = new_store(folder)
    with files_no_longer_than(300_000):
        errors = refused_writes(store)
    check_after_a_failure(store, errors)


def test_a_write_that_fails_half_way_is_undone(folder: Path) -> None:
    store = filled(folder)
    before = store.opened()
    store._connection.execute(
        "CREATE TEMP TRIGGER broken BEFORE UPDATE ON facts BEGIN SELECT RAISE(ABORT, 'a broken disk'); END"
    )
    with pytest.raises(StoreFailed, match="could not be written: a broken disk"):
        store.write([Cut(100), append_of(101, 300), Mark(7, b"other")])
    assert (store.meta, store.epochs(), store.digest()) == (before.meta, before.epochs, before.chain.digest())
    assert len(entries_in(store)) == 210
    store.close()
    with closing(HistoryStore.open(folder)) as store:
        assert (store.meta, store.digest()) == (before.meta, before.chain.digest())


def test_a_tally_that_cannot_be_written_fails_the_write_which_is_found_later(folder: Path) -> None:
    store = filled(folder)
    usable, store._tally = store._tally, os.open(folder / TALLY, os.O_RDONLY)
    with pytest.raises(StoreFailed, match="could not be written: Bad file descriptor"):
        store.write([append_of(211, 212)])
    with pytest.raises(StoreFailed, match="is not written any more"):
        store.write([append_of(211, 212)])
    store.close()
    os.close(usable)
    with closing(HistoryStore.open(folder)) as store:
        assert store.meta.head == 212


def test_syncing_and_emptying_the_log_change_nothing(folder: Path, tmp_path: Path) -> None:
    with closing(new_store(folder)) as store:
        store.sync()
        store.write([append_of(1, 500)])
        store.sync()
        assert store.log_bytes > 0
        store.checkpoint()
        assert store.log_bytes == 0
        (tmp_path / "copy").mkdir()
        shutil.copy(folder / HISTORY, tmp_path / "copy")
        shutil.copy(folder / TALLY, tmp_path / "copy")
        with closing(HistoryStore.open(tmp_path / "copy")) as copy:
            assert copy.digest() == store.digest()


def test_a_sync_that_fails_ends_the_writing(folder: Path) -> None:
    with closing(filled(folder)) as store:
        store.sync()
        assert store._log_file is not None
        reader, writer = os.pipe()  # which cannot be synced
        os.dup2(writer, store._log_file)
        with pytest.raises(StoreFailed, match="could not be synced"):
            store.sync()
        os.close(reader)
        os.close(writer)
        with pytest.raises(StoreFailed, match="is not written any more"):
            store.write([append_of(211, 212)])
        assert len(entries_in(store)) == 210


# --- searching -------------------------------------------------------------------------------------------------------

WORDS_OF_TEXTS = ("tea", "Straße", "STRASSE", "coffee", "ana", "bo", "the end", "漢字だ", "a\0b cd", '"quoted"', "İx ")


def text_of(seq: int) -> str:
    return " ".join(WORDS_OF_TEXTS[(seq * step) % len(WORDS_OF_TEXTS)] for step in range(1, 1 + seq % 4)) or "-"


def searchable(folder: Path, count: int) -> tuple[HistoryStore, History]:
    store, history = new_store(folder), History(LOG)
    entries = [entry(seq, text=text_of(seq)) for seq in range(1, count + 1)]
    for each in entries:
        history.append(each)
    store.write([Append(1, count, block_of(entries)), Mark(count, b"")])
    return store, history


def found_by(search: Callable[[str, int, int, int], tuple[bytes, int]], query: str, count: int, head: int) -> list[int]:
    """Page through all that is found, newest first."""
    found: list[int] = []
    before = 0
    while True:
        block, after = search(query, before, count, head)
        found += [each.seq for each in codec.decode_entries(block)][::-1]
        assert after == 0 or before == 0 or after < before
        if after == 0:
            return found
        before = after


@pytest.mark.parametrize("indexed", [0, 150, 300])
def test_a_search_finds_what_the_history_in_memory_finds(folder: Path, indexed: int) -> None:
    store, history = searchable(folder, 300)
    with closing(store):
        store.index_some(indexed)
        assert store.unindexed_count == 300 - indexed
        queries = [
            "",
            "tea",
            "TEA ana",
            "strasse",
            "ß",
            "bo",
            "an",
            "end the",
            "漢字だ",
            "字",
            "b cd",
            "a\0b",
            '"quot',
            "i\u0307x",
        ]
        for query in [*queries, "nothing", "tea nothing", "cof fee", "ffe", '"', "*", "tea OR coffee", "x" * 200]:
            for count, head in ((7, 300), (300, 123)):
                expected = found_by(history.search, query, count, head)
                assert found_by(store.search, query, count, head) == expected, query


def test_a_search_looks_at_a_bounded_number_of_entries_and_says_where_to_go_on(folder: Path) -> None:
    with closing(new_store(folder)) as store:
        last = limits.SEARCH_ENTRIES_MAX + 100
        store.write([append_of(1, last), Mark(last, b"")])
        assert store.search("nothing", 0, 5, last) == (codec.join_block([]), 101)
        while store.unindexed_count:
            store.index_some(1_000)
        assert store.search("nothing", 0, 5, last) == (codec.join_block([]), 0)


def test_a_search_after_a_cut_below_the_index_finds_what_is_there_now(folder: Path) -> None:
    with closing(new_store(folder)) as store:
        store.write([append_of(1, 200, text="before"), Mark(200, b"")])
        store.index_some(200)
        store.write([Cut(100), append_of(101, 150, text="after"), Mark(150, b"")])
        assert found_by(store.search, "after", 50, 150) == list(range(150, 100, -1))
        while store.unindexed_count:
            store.index_some(40)
        assert found_by(store.search, "after", 50, 150) == list(range(150, 100, -1))
        assert found_by(store.search, "before", 50, 150) == list(range(100, 0, -1))


def test_without_room_for_an_index_a_search_finds_the_same(folder: Path) -> None:
    store, history = searchable(folder, 300)
    with closing(store):
        (folder / WORDS).mkdir()
        store.index_some(100)
        assert store.unindexed_count == 0
        assert found_by(store.search, "strasse", 7, 300) == found_by(history.search, "strasse", 7, 300)


def test_an_index_that_breaks_is_gone_without(folder: Path) -> None:
    store, history = searchable(folder, 300)
    with closing(store):
        store.index_some(300)
        assert store._words is not None
        store._words._connection.execute("DROP TABLE words")
        assert found_by(store.search, "strasse", 7, 300) == found_by(history.search, "strasse", 7, 300)
        assert not (folder / WORDS).exists()


def test_an_index_left_by_a_killed_process_is_deleted(folder: Path) -> None:
    filled(folder).close()
    (folder / WORDS).write_bytes(b"whatever it was")
    HistoryStore.open(folder).close()
    assert not (folder / WORDS).exists()


@settings(max_examples=40)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=30), st.text(max_size=6))
def test_any_query_finds_exactly_the_entries_that_match(texts: list[str], query: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        entries = [entry(seq, text=text or "-") for seq, text in enumerate(texts, start=1)]
        with closing(new_store(Path(place) / "store")) as store:
            store.write([Append(1, len(entries), block_of(entries)), Mark(len(entries), b"")])
            store.index_some(len(entries))
            expected = [each.seq for each in entries if is_found(words_of(query), each.text, each.nick)]
            assert found_by(store.search, query, 100, len(entries)) == expected[::-1]


def test_every_error_is_one_of_ours(folder: Path) -> None:
    """Whatever SQLite or the system says becomes an error with a sentence that names the folder."""
    codes = [
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_READONLY,
    ]
    for code in codes:
        error = sqlite3.OperationalError("what SQLite says")
        error.sqlite_errorcode = code
        named = store_file.trouble(folder, "could not be written", error)
        assert isinstance(named, HistoryError)
        assert str(folder) in str(named)
