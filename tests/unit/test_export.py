"""ui.export: the room's messages are fetched once each, in order, and written as text or as JSON lines."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer import intents
from peer.intents import AskHistory
from peer.notices import ChatMessage, HistoryPage
from ui.export import BYTES_MAX, MESSAGES_MAX, Export, export_lines
from wire import limits


def stamp(utc_ms: int) -> str:
    return f"2026-01-01 00:{utc_ms:02}"


def message(seq: int, text: str = "x", epoch: int = 1) -> ChatMessage:
    return ChatMessage(seq=seq, epoch=epoch, id=f"p/1/{seq}", author="ana", text=text, time=seq)


def test_text_has_the_full_date_and_looks_as_it_was_shown() -> None:
    messages = [message(1, "hello"), message(2, "/me waves"), message(3, "one\ntwo\x1b")]
    assert export_lines("tea.txt", messages, stamp) == [
        "2026-01-01 00:01 ana: hello",
        "2026-01-01 00:02 * ana waves",
        "2026-01-01 00:03 ana: one",
        "      | two^[",
    ]


@pytest.mark.parametrize("path", ["tea.jsonl", "tea.JSONL"])
def test_json_lines_have_everything_as_it_was_said(path: str) -> None:
    lines = export_lines(path, [message(3, "one\ntwo\x1bö")], stamp)
    assert len(lines) == 1
    assert json.loads(lines[0]) == {
        "seq": 3,
        "epoch": 1,
        "id": "p/1/3",
        "author": "ana",
        "text": "one\ntwo\x1bö",
        "time": 3,
    }


def part(question: intents.AskHistory, text: str = "hello") -> HistoryPage:
    """What a room answers that has messages as far as one asks."""
    first = max(1, question.before - question.count)
    return HistoryPage(tuple(message(seq, text) for seq in range(first, question.before)), more=first > 1)


@given(st.integers(1, 9_000))
def test_each_message_is_there_once_in_the_order_of_the_room(head: int) -> None:
    export = Export("tea.txt", head)
    while not export.take(part(export.question)):
        assert export.question.count == limits.HISTORY_ENTRIES_MAX
    assert [one.seq for one in export.messages] == list(range(1, head + 1))


def test_an_answer_to_another_question_is_told_apart_by_where_it_ends() -> None:
    export = Export("tea.txt", 100)
    assert export.expects(part(AskHistory(101, 50)))
    assert not export.expects(part(AskHistory(100, 50)))
    assert export.expects(HistoryPage((), more=False)), "the room has nothing: that is the end"
    assert export.take(HistoryPage((), more=False))
    assert export.messages == ()


def test_of_a_history_without_end_the_newest_part_is_taken() -> None:
    export = Export("tea.txt", 10 * MESSAGES_MAX)
    while not export.take(part(export.question)):
        pass
    assert len(export.messages) == MESSAGES_MAX
    assert export.messages[-1].seq == 10 * MESSAGES_MAX
    export = Export("tea.txt", 10 * MESSAGES_MAX)
    long = part(AskHistory(10 * MESSAGES_MAX + 1, 1), "x" * BYTES_MAX)
    assert not Export("tea.txt", 2).take(part(AskHistory(3, 1), "x" * (BYTES_MAX - 1)))
    assert export.take(long), "one message that is as long as all may be together"
