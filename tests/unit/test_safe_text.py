"""ui.safe_text: whatever comes in, what goes out neither moves a cursor, nor turns text round, nor hides."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui.safe_text import excerpt, safe_line, safe_lines

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
# Any character at all, with those that matter drawn often.
NASTY = st.text(st.characters() | st.sampled_from("\x00\x07\x08\t\n\r\x1b\x7f\x85\x9b\u2028\u2029\ufeff\ud800" + BIDI))


def assert_harmless(line: str) -> None:
    for char in line:
        category = unicodedata.category(char)
        assert category not in ("Cc", "Cs", "Zl", "Zp"), f"{char!r} got through"
        assert char not in BIDI
        assert char not in "\u200b\u2060\ufeff\u00ad"


@given(NASTY)
def test_a_safe_line_has_no_control_or_direction_characters(text: str) -> None:
    line = safe_line(text)
    assert_harmless(line)
    line.encode()  # no lone surrogates: a terminal can be written to


@given(NASTY)
def test_safe_lines_have_none_either_and_keep_every_line(text: str) -> None:
    lines = safe_lines(text)
    assert len(lines) == text.replace("\r\n", "\n").count("\n") + 1
    for line in lines:
        assert_harmless(line)


@given(NASTY, st.integers(1, 60))
def test_an_excerpt_is_short_and_harmless(text: str, chars_max: int) -> None:
    line = excerpt(text, chars_max)
    assert len(line) <= chars_max
    assert_harmless(line)


@given(NASTY)
def test_what_is_safe_already_stays_as_it_is(text: str) -> None:
    once = safe_line(text)
    assert safe_line(once) == once


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07", "^[]0;owned^G"),
        ("\x1b[2J", "^[[2J"),
        ("a\rb", "a^Mb"),
        ("\x9b31m", "<U+009B>31m"),
        ("user\u202egpj.exe", "user<U+202E>gpj.exe"),
        ("a\tb", "a    b"),
        ("\x7f", "^?"),
        ("pay\u200bpal", "pay<U+200B>pal"),
    ],
)
def test_what_is_dangerous_is_shown_by_name(text: str, shown: str) -> None:
    assert safe_line(text) == shown


@pytest.mark.parametrize(
    "text", ["日本語", "e\u0301", "👩\u200d👩\u200d👧", "می\u200cخواهم", "Zażółć", "§ 5 – “so”", "שלום"]
)
def test_honest_text_of_any_script_is_left_alone(text: str) -> None:
    assert safe_line(text) == text


def test_lines_are_cut_at_line_ends_of_both_kinds() -> None:
    assert safe_lines("one\r\ntwo\nthree\r") == ["one", "two", "three^M"]
