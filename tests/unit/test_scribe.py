"""ui.scribe: a text as a line: what it says, when, and whether it is about us."""

import pytest

from tests.support.models import MINUTE_MS, stamp
from ui.page import Kind, Line
from ui.scribe import Scribe


def test_what_was_said_has_its_day_its_minute_and_all_its_lines() -> None:
    line = Scribe(stamp).said("bo", "one\r\ntwo\x1b", (1440 + 61) * MINUTE_MS, seq=7)
    assert line == Line(Kind.SAID, "2026-01-02", "01:01", ("one", "two^["), nick="bo", seq=7)


def test_what_somebody_does_is_told_without_the_command() -> None:
    line = Scribe(stamp).said("bo\x07", "/me waves", 0, is_own=True)
    assert (line.kind, line.nick, line.text, line.is_own) == (Kind.ACTION, "bo^G", ("waves",), True)


@pytest.mark.parametrize(
    ("text", "is_named"),
    [
        ("Ana?", True),
        ("@ana: hey", True),
        ("/me thanks ana", True),
        ("banana", False),
        ("ana-2", False),
        ("x-ana", False),
        ("ana_", False),
        ("an a", False),
    ],
)
def test_a_text_names_us_as_a_word_however_it_is_written(text: str, is_named: bool) -> None:
    scribe = Scribe(stamp)
    assert not scribe.said("bo", text, 0).mentions_me, "nobody knows our name"
    scribe.be_called("ana")
    assert scribe.said("bo", text, 0).mentions_me is is_named
    assert not scribe.said("ana", text, 0, is_own=True).mentions_me


def test_a_name_with_signs_in_it_is_taken_literally() -> None:
    scribe = Scribe(stamp)
    scribe.be_called("a.b|c")
    assert scribe.said("bo", "hey a.b|c", 0).mentions_me
    assert not scribe.said("bo", "hey axb", 0).mentions_me


def test_what_the_console_says_itself_is_safe_as_well() -> None:
    line = Scribe(stamp).told(Kind.ERROR, MINUTE_MS, ["one\x1b", "two\nthree"])
    assert line == Line(Kind.ERROR, "2026-01-01", "00:01", ("one^[", "two^Jthree"))
