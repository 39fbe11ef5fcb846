"""ui.export: what was shown is written once, in the order of the room, as text or as JSON lines."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.notices import ChatMessage, Message
from ui.export import Transcript, export_lines


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


def test_what_came_by_the_room_and_by_a_search_is_there_once() -> None:
    transcript = Transcript()
    transcript.add(Message(seq=7, epoch=1, id="p/1/7", author="ana", text="x", time=7, own=True))
    for seq in (3, 7, 5):
        transcript.add(message(seq))
    assert list(transcript.messages) == [message(3), message(5), message(7)]


def test_after_a_fresh_start_the_numbers_begin_anew() -> None:
    transcript = Transcript()
    for one in (message(1, "old"), message(9, "old"), message(1, "new", epoch=2)):
        transcript.add(one)
    assert [one.text for one in transcript.messages] == ["old", "old", "new"]


def test_the_oldest_make_room() -> None:
    transcript = Transcript(messages_max=3)
    for seq in range(1, 6):
        transcript.add(message(seq))
    transcript.add(message(1))
    assert [one.seq for one in transcript.messages] == [3, 4, 5]
    transcript = Transcript(bytes_max=10)
    for seq in range(1, 6):
        transcript.add(message(seq, "abcd"))
    assert [one.seq for one in transcript.messages] == [4, 5]


@given(st.lists(st.integers(1, 20)), st.integers(1, 5))
def test_it_has_the_last_ones_in_order_and_without_doubles(seqs: list[int], messages_max: int) -> None:
    transcript = Transcript(messages_max=messages_max)
    for seq in seqs:
        transcript.add(message(seq))
    assert [one.seq for one in transcript.messages] == sorted(set(seqs))[-messages_max:]
