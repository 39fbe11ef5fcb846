"""ui.files: names on the disk for a half typed one, and a new file that never takes the place of another."""

import os
from pathlib import Path

import pytest

from ui.commands import complete
from ui.files import NAMES_MAX, NotWritten, names_like, write_new


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with some things in it; the home folder is one of them."""
    for name in ("tea.txt", "team.jsonl", ".hidden", "a b.txt", "control\x07"):
        (tmp_path / name).touch()
    (tmp_path / "teapots").mkdir()
    (tmp_path / "teapots" / "blue").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "teapots"))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("te", ["tea.txt", "team.jsonl", "teapots/"]),
        ("teapots/", ["teapots/blue"]),
        ("~/", ["~/blue"]),
        ("~/b", ["~/blue"]),
        ("", ["a b.txt", "tea.txt", "team.jsonl", "teapots/"]),
        (".", [".hidden"]),
        ("./teap", ["./teapots/"]),
        ("nowhere/x", []),
        ("tea.txt/x", []),
        ("x\x00/", []),
    ],
)
def test_what_a_half_typed_name_could_become(folder: Path, text: str, names: list[str]) -> None:
    assert names_like(text) == names
    assert names_like(f"{folder}/{text}") == [f"{folder}/{name}" for name in names] or text.startswith("~")


def test_tab_completes_them_in_the_line(folder: Path) -> None:
    assert folder
    assert complete("/export te", [], names_like) == ["tea.txt", "team.jsonl", "teapots/"]
    assert complete("/export teapots/b", [], names_like) == ["teapots/blue"]
    assert complete("/export a b", [], names_like) == ["b.txt"]


def test_only_so_many_are_offered(folder: Path) -> None:
    for number in range(2 * NAMES_MAX):
        (folder / f"x{number:04}").touch()
    assert len(names_like("x")) == NAMES_MAX


def test_a_new_file_has_the_lines(folder: Path) -> None:
    assert write_new("new.txt", ["one", "zwölf"]) == folder / "new.txt"
    assert (folder / "new.txt").read_bytes() == "one\nzwölf\n".encode()
    assert write_new("~/home.txt", []) == folder / "teapots" / "home.txt"


def test_a_file_that_is_there_stays_as_it_is(folder: Path) -> None:
    (folder / "tea.txt").write_text("dear diary")
    with pytest.raises(NotWritten, match=r"tea\.txt is there already"):
        write_new("tea.txt", ["x"])
    assert (folder / "tea.txt").read_text() == "dear diary"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nowhere/x", "no such folder"),
        ("teapots", "is there already"),
        ("tea.txt/x", "Not a directory"),
        ("x" * 300, "File name too long"),
        ("x\x00", "no file name"),
    ],
)
def test_what_cannot_be_written_is_said_with_its_cause(folder: Path, name: str, why: str) -> None:
    assert folder
    with pytest.raises(NotWritten, match=why):
        write_new(name, ["x"])


def test_nothing_is_left_of_a_file_that_could_not_be_finished(folder: Path) -> None:
    def lines() -> list[str]:
        return ["one", "\ud800"]

    with pytest.raises(NotWritten):
        write_new("half.txt", lines())
    assert not os.path.exists(folder / "half.txt")
