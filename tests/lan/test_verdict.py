"""What judges the runs: it notices each kind of broken promise, and nothing where there is none."""

from typing import Any

import pytest

from tests.support.verdict import Book


def message(seq: int, author: str = "ana", number: int | None = None, id_: str = "") -> dict[str, Any]:
    number = seq if number is None else number
    text = f"{author} {number} and more"
    return {"event": "message", "seq": seq, "id": id_ or f"{author}-{number}", "author": author, "text": text}


def posted(seq: int, tag: int | None, id_: str = "") -> dict[str, Any]:
    return {"event": "posted", "seq": seq, "tag": tag, "id": id_ or f"ana-{seq}"}


HISTORY = [message(1), message(2), message(3, "bo", 1), message(4)]


@pytest.mark.parametrize(
    ("said", "history", "kind"),
    [
        ([], HISTORY, ""),
        ([message(2), message(3, "bo", 1), posted(4, 4)], HISTORY, ""),
        ([posted(4, 4), posted(4, None)], HISTORY, ""),
        ([message(1), message(3, "bo", 1)], HISTORY, "lost"),
        ([message(1), message(1)], HISTORY, "doubled"),
        ([message(2), message(1)], HISTORY, "reordered"),
        ([message(1, "bo")], HISTORY, "different"),
        ([message(5)], HISTORY, "lost"),
        ([posted(5, 5)], HISTORY, "lost"),
        ([posted(4, 4), posted(4, 4)], HISTORY, "doubled"),
        ([posted(2, 4, "ana-4")], HISTORY, "different"),
        ([posted(4, 4), posted(2, None, "ana-4")], HISTORY, "different"),
        ([], [message(1), message(3)], "lost"),
        ([], [message(2)], "lost"),
        ([], [message(1), message(1)], "reordered"),
        ([], [message(1), message(2, number=1, id_="another")], "doubled"),
        ([], [message(1), message(2, "bo", 7, id_="ana-1")], "doubled"),
        ([], [message(1), message(2, number=5), message(3)], "reordered"),
    ],
)
def test_each_broken_promise_is_noticed(said: list[dict[str, Any]], history: list[dict[str, Any]], kind: str) -> None:
    book = Book()
    reader = book.reader("ana")
    for line in said:
        reader.hear(line)
    counts = book.verdict(history)
    assert bool(kind) == any(counts.values())
    assert not kind or counts[kind] > 0
    assert bool(book.sentences) == bool(kind)


def test_two_readers_who_were_shown_different_things_are_noticed_at_once() -> None:
    book = Book()
    book.reader("ana").hear(message(7))
    book.reader("bo").hear(message(7, "cy"))
    assert book.counts()["different"] == 1
