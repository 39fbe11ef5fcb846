"""What is saved is there after any end; what is damaged is refused by name."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from wire.messages import Record, ServerInfo
from zdns.stores import MemoryStore, SqliteStore, Store, StoreDoubtful, StoreError

A = ServerInfo("a", "ana", ("tcp://a:1",), ("tcp://a:2",))
B = ServerInfo("b", "bo", ("tcp://b:1",), ("tcp://b:2",), "key")


def record(service: str, epoch: int, version: int = 1) -> Record:
    return Record(service, epoch, version, "log", A, (A, B))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store may be made; its folder does not exist yet."""
    return tmp_path / "deep" / "zdns.sqlite"


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, path: Path) -> Iterator[Store]:
    """Each kind of store, empty."""
    with closing(MemoryStore() if request.param == "memory" else SqliteStore(path)) as made:
        yield made


def filled(path: Path) -> list[Record]:
    """Make a store with a history, closed; return what is in it."""
    with closing(SqliteStore(path)) as store:
        for version in range(1, 30):
            store.save(record("tea", version, version))
        store.save(record("coffee", 3, 5))
        return store.load()


def test_a_new_store_is_empty(store: Store) -> None:
    assert store.load() == []


def test_the_last_record_of_each_service_counts(store: Store) -> None:
    for saved in (record("tea", 1), record("coffee", 7), record("tea", 2, 2)):
        store.save(saved)
    assert store.load() == [record("coffee", 7), record("tea", 2, 2)]


def test_records_survive_closing(path: Path) -> None:
    records = filled(path)
    assert records == [record("coffee", 3, 5), record("tea", 29, 29)]
    with closing(SqliteStore(path)) as store:
        assert store.load() == records
        store.save(record("tea", 30, 30))
    with closing(SqliteStore(path)) as store:
        assert store.load() == [record("coffee", 3, 5), record("tea", 30, 30)]


def test_a_record_of_an_older_version_of_this_program_is_read(path: Path) -> None:
    """It had no field for those whose disk lacks something."""
    older = msgspec.defstruct("Older", list(Record.__struct_fields__[:7]), array_like=True)
    with closing(SqliteStore(path)) as store:
        store.save(older(*msgspec.structs.astuple(record("tea", 1))[:7]))  # type: ignore[arg-type]  # as it was then
    noted = msgspec.structs.replace(record("tea", 1, 2), volatile=("b",))
    with closing(SqliteStore(path)) as store:
        assert store.load() == [record("tea", 1)]
        store.save(noted)
    with closing(SqliteStore(path)) as store:
        assert store.load() == [noted]


def test_nothing_is_left_beside_the_file(path: Path) -> None:
    filled(path)
    assert [entry.name for entry in path.parent.iterdir() if entry.stat().st_size] == [path.name]


def test_saving_is_synced(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        read = [store._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode")]
    assert read == [2, "truncate"]  # 2 is FULL


def test_a_store_in_use_is_refused_by_name(path: Path) -> None:
    with closing(SqliteStore(path)), pytest.raises(StoreError, match=r"zdns\.sqlite is in use by another zdns"):
        SqliteStore(path)


@pytest.mark.parametrize("length", [0, 1, 15, 16, 99, 100, 4_095, 4_096, 8_192, -4_096, -1])
def test_a_store_cut_short_is_refused_by_name(path: Path, length: int) -> None:
    filled(path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(StoreError, match=r"zdns\.sqlite is damaged and is not used"):
        SqliteStore(path)


def test_a_flipped_bit_is_refused_or_changes_nothing(path: Path) -> None:
    records = filled(path)
    sound = path.read_bytes()
    refused_count = 0
    for at in [*range(120), *range(120, len(sound), 13)]:
        damaged = bytearray(sound)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        try:
            with closing(SqliteStore(path)) as store:
                assert store.load() == records, f"byte {at}"
        except StoreError as error:
            assert str(path) in str(error)
            assert "\n" not in str(error)
            refused_count += 1
    assert refused_count > 20


def test_a_row_changed_added_or_taken_away_behind_our_back_is_noticed(path: Path) -> None:
    filled(path)
    sound = path.read_bytes()
    for statement in (
        "DELETE FROM records WHERE service = 'coffee'",
        "DELETE FROM sums",
        "UPDATE records SET body = x'90' WHERE service = 'coffee'",
        "UPDATE records SET service = 'soup' WHERE service = 'coffee'",
        "UPDATE records SET body = (SELECT body FROM records WHERE service = 'tea')",
        "INSERT INTO records SELECT 'soup', body, digest FROM records WHERE service = 'tea'",
        "DROP TABLE records",
    ):
        path.write_bytes(sound)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(statement)
        with pytest.raises(StoreError, match="zdns"):
            SqliteStore(path)


def test_a_record_replaced_by_another_sound_one_is_named(path: Path) -> None:
    filled(path)
    older = msgspec.msgpack.encode(record("coffee", 2, 4))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE records SET body = ? WHERE service = 'coffee'", (older,))
    with pytest.raises(StoreError, match="the record of 'coffee' is not what was written"):
        SqliteStore(path)


def test_a_file_of_another_kind_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (text TEXT)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="it is marked"):
        SqliteStore(path)
    assert path.read_bytes() == before
    path.write_text("dear diary")
    with pytest.raises(StoreError, match="its header is not that of a store"):
        SqliteStore(path)
    assert path.read_text() == "dear diary"


def test_a_place_that_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"zdns\.sqlite cannot be used as a store"):
        SqliteStore(tmp_path / "file" / "zdns.sqlite")
    with pytest.raises(StoreError, match="cannot be used as a store"):
        SqliteStore(tmp_path)


def test_a_save_that_fails_changes_nothing_and_the_next_may_succeed(path: Path) -> None:
    filled(path)
    with closing(SqliteStore(path)) as store:
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")  # as a full disk
        big = ServerInfo("c", "c" * 100, tuple(f"tcp://{'c' * 200}:{n}" for n in range(8)), ("tcp://c:2",))
        before = store.load()
        with pytest.raises(StoreError, match="could not be saved") as failure:
            store.save(Record("soup", 1, 1, "log", big, (big,) * 16))
        assert not isinstance(failure.value, StoreDoubtful)
        assert store.load() == before
        store.save(record("tea", 31, 31))
    with closing(SqliteStore(path)) as store:
        assert record("tea", 31, 31) in store.load()
        assert len(store.load()) == len(before)


def test_a_save_whose_outcome_cannot_be_read_is_doubtful(path: Path) -> None:
    store = SqliteStore(path)
    store.close()
    with pytest.raises(StoreDoubtful, match="saving failed"):
        store.save(record("tea", 1))
