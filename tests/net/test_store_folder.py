"""Where histories lie: found again by their nick, held by one at a time, whole or not there."""

import fcntl
import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from broker import store_folder
from broker.store import HistoryStore
from broker.store_folder import TALLY, find, folder_for, free_folders
from broker.stored import HistoryError, HistoryInUse, HistoryUnreadable, StoreFailed
from tests.support.histories import LOG, SERVER, SERVICE, append_of, filled, new_store


def made(data_dir: Path, nick: str, service: str = SERVICE) -> HistoryStore:
    return HistoryStore.create_for(data_dir, service, nick, LOG, SERVER)


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    assert find(tmp_path / "none", SERVICE, "ana") == []


def names(data_dir: Path, nick: str, service: str = SERVICE) -> list[str]:
    return [folder.name for folder in find(data_dir, service, nick)]


def test_only_those_of_the_own_nick_are_found_the_one_written_to_last_first(tmp_path: Path) -> None:
    for nick in ("bo", "ana", "ana", "ana", "cy", "ana-2"):
        made(tmp_path, nick).close()
    room = folder_for(tmp_path, SERVICE)
    (room / "ana-9").write_text("no folder")
    (room / "ana-4").mkdir()  # nothing is in it, so nothing was written to it
    for age, name in enumerate(("ana-2", "ana-3", "ana-1")):
        os.utime(room / name / TALLY, ns=(0, 10**18 - age))
    assert names(tmp_path, "ANA") == ["ana-2", "ana-3", "ana-1", "ana-4"]
    with closing(HistoryStore.open(room / "ana-3")) as store:
        store.write([append_of(1, 1)])
        assert names(tmp_path, "ana") == ["ana-3", "ana-2", "ana-1", "ana-4"], "those in use are among them"
    assert names(tmp_path, "ana-2") == ["ana-2-1"]
    assert names(tmp_path, "ana", "other.com") == []


def test_there_is_a_bound_to_what_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        made(tmp_path, "ana").close()
    monkeypatch.setattr(store_folder, "STORES_MAX", 2)
    assert len(find(tmp_path, SERVICE, "ana")) == 2


def test_one_that_is_in_use_is_not_opened(tmp_path: Path) -> None:
    with closing(made(tmp_path, "ana")) as store, pytest.raises(HistoryInUse, match="in use by another participant"):
        HistoryStore.open(store.folder)


def test_one_that_was_put_aside_is_not_found_but_still_there(tmp_path: Path) -> None:
    room = folder_for(tmp_path, SERVICE)
    for number in (1, 2):
        store = made(tmp_path, "ana")
        hold = store.shut()
        with pytest.raises(HistoryInUse):
            HistoryStore.open(store.folder)
        hold.put_aside()
        hold.let_go()
        assert find(tmp_path, SERVICE, "ana") == []
        HistoryStore.open(room / f"aside+ana-1+{number}").close()


def test_there_is_a_bound_to_what_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_folder, "STORES_MAX", 1)
    for refused in (False, True):
        hold = made(tmp_path, "ana").shut()
        if refused:
            with pytest.raises(StoreFailed, match="holds 1 histories that were put aside: delete some"):
                hold.put_aside()
        else:
            hold.put_aside()
        hold.let_go()
    assert names(tmp_path, "ana") == ["ana-1"]


def test_what_somebody_else_made_in_the_place_of_a_deleted_one_is_left_alone(tmp_path: Path) -> None:
    holds = []
    for _ in range(2):
        store = made(tmp_path, "ana")
        holds.append(store.shut())
        shutil.rmtree(store.folder)
    holds[0].erase()
    holds[1].put_aside()
    made(tmp_path, "ana").close()
    holds[0].erase()
    holds[1].put_aside()
    for hold in holds:
        hold.let_go()
    assert [path.name for path in folder_for(tmp_path, SERVICE).iterdir()] == ["ana-1"]
    HistoryStore.open(folder_for(tmp_path, SERVICE) / "ana-1").close()


def test_a_place_that_cannot_even_be_looked_at_is_told(tmp_path: Path) -> None:
    place = tmp_path / ("x" * 300)
    with pytest.raises(HistoryError, match="cannot be read: File name too long"):
        find(place, SERVICE, "ana")
    with pytest.raises(StoreFailed, match="could not be made: File name too long"):
        made(place, "ana")


def test_a_new_one_takes_the_first_free_place(tmp_path: Path) -> None:
    for expected in ("ana-1", "ana-2", "ana-3"):
        store = made(tmp_path, "ana")
        assert store.folder == folder_for(tmp_path, SERVICE) / expected
        store.close()
    HistoryStore.open(folder_for(tmp_path, SERVICE) / "ana-2").erase()
    with closing(made(tmp_path, "ana")) as store:
        assert store.folder.name == "ana-2"


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "../../etc", "ANA", "Ána", "x" * 300, "漢" * 32, "a\0b", "a~b", "a b"]
)
def test_any_name_becomes_one_short_file_name_of_its_own(tmp_path: Path, name: str) -> None:
    place = folder_for(tmp_path, name)
    assert place.parent == tmp_path / "histories"
    assert len(os.fsencode(place.name)) < 100
    assert not place.name.startswith(".")
    others = ["ana", "ANa", "ána", "x" * 299, "a", "hidden", "b", "etc", "a_b"]
    assert place not in [folder_for(tmp_path, other) for other in others]
    with closing(made(tmp_path, "ana", service=name)) as store:
        assert store.folder.parent == place


def test_plain_names_stay_as_they_are(tmp_path: Path) -> None:
    assert folder_for(tmp_path, "backend.com") == tmp_path / "histories" / "backend.com"


def test_there_is_a_bound_and_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_folder, "STORES_MAX", 2)
    for _ in range(2):
        made(tmp_path, "ana").close()
    with pytest.raises(StoreFailed, match="holds 2 histories of ana: delete some"):
        made(tmp_path, "ana")


def test_what_a_killed_process_left_half_made_or_half_erased_is_in_nobodys_way(tmp_path: Path) -> None:
    place = folder_for(tmp_path, SERVICE)
    for name in (".ana-1.new", ".ana-1.old", ".bo-7.old"):
        (place / name).mkdir(parents=True)
        (place / name / "history.sqlite").write_bytes(b"half")
    assert find(tmp_path, SERVICE, "ana") == []
    store = made(tmp_path, "ana")
    assert [path.name for path in place.iterdir()] == ["ana-1"]
    (place / ".ana-1.old").mkdir()
    store.erase()
    assert list(place.iterdir()) == []


def test_two_that_make_the_same_store_at_once_get_one_each(tmp_path: Path) -> None:
    places = [next(free_folders(tmp_path, SERVICE, "ana")) for _ in range(2)]
    assert places[0] == places[1]
    with closing(new_store(places[0])), pytest.raises(HistoryInUse):
        new_store(places[1])
    draft = places[0].with_name(".ana-2.new")
    draft.mkdir()
    (draft / TALLY).write_bytes(b"")
    held = store_folder._lock(draft / TALLY, os.O_RDWR)
    assert held is not None
    with closing(made(tmp_path, "ana")) as store:
        assert store.folder.name == "ana-3", "ana-2 is just being made by somebody else"
    os.close(held)


def test_a_store_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreFailed, match="could not be made: No space left on device"):
        made(tmp_path, "ana")
    assert list(folder_for(tmp_path, SERVICE).iterdir()) == []


def test_opening_one_that_was_erased_meanwhile_is_told(tmp_path: Path) -> None:
    filled(tmp_path / "ana-1").erase()
    with pytest.raises(HistoryUnreadable, match="there is no history at"):
        HistoryStore.open(tmp_path / "ana-1")


def test_one_that_is_erased_while_it_is_being_opened_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "ana-1"
    filled(folder).close()
    lock = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        if folder.exists():
            folder.rename(tmp_path / "erased")
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(HistoryUnreadable, match="there is no history at"):
        HistoryStore.open(folder)


def test_one_that_is_half_erased_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = made(tmp_path, "ana")

    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", refuse)
        with pytest.raises(StoreFailed, match="could not be erased: Input/output error"):
            store.erase()
    assert find(tmp_path, SERVICE, "ana") == []
    with pytest.raises(HistoryUnreadable, match="there is no history at"):
        HistoryStore.open(store.folder)
    made(tmp_path, "ana").erase()
    assert list(folder_for(tmp_path, SERVICE).iterdir()) == []


def test_a_place_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "histories").write_text("")
    with pytest.raises(HistoryError, match="cannot be read"):
        find(tmp_path, SERVICE, "ana")
    with pytest.raises(StoreFailed, match="could not be made"):
        made(tmp_path, "ana")
