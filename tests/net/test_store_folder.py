"""Where histories lie: found again by their nick, passed over while in use, whole or not there."""

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
from tests.support.histories import LOG, SERVER, SERVICE, filled, new_store


def made(data_dir: Path, nick: str, service: str = SERVICE) -> HistoryStore:
    return HistoryStore.create_for(data_dir, service, nick, LOG, SERVER)


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    assert find(tmp_path / "none", SERVICE, "ana") == []


def test_own_ones_are_found_first_and_those_in_use_are_passed_over(tmp_path: Path) -> None:
    stores = [made(tmp_path, nick) for nick in ("bo", "ana", "ana", "cy", "ana-2")]
    assert find(tmp_path, SERVICE, "ana") == []
    for store in stores:
        store.close()
    names = [folder.name for folder in find(tmp_path, SERVICE, "ANA")]
    assert names == ["ana-1", "ana-2", "bo-1", "cy-1", "ana-2-1"]
    with closing(HistoryStore.open(stores[1].folder)):
        assert [folder.name for folder in find(tmp_path, SERVICE, "ana")] == ["ana-2", "bo-1", "cy-1", "ana-2-1"]
    assert find(tmp_path, "other.com", "ana") == []


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
