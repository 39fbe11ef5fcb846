"""ui.line_editor: the line is what the keys make of it, and its row always fits the screen."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui.keys import Key, Text
from ui.line_editor import Choices, Ended, Entered, Interrupted, LineEditor, Outcome, Row, ScreenCleared, echo, shown
from ui.safe_text import cells
from ui.splitter import TooLong

NICKS = ("ana: ", "anton: ", "Bo: ")


def complete(line: str) -> Sequence[str]:
    return [nick for nick in NICKS if nick.lower().startswith(line[line.rfind(" ") + 1 :].lower())]


def editor(*keys: Key | str, line_bytes_max: int = 1000) -> LineEditor:
    made = LineEditor(complete, line_bytes_max)
    press(made, *keys)
    return made


def press(made: LineEditor, *keys: Key | str) -> list[Outcome]:
    outcomes = [made.press(Text(key) if isinstance(key, str) else key) for key in keys]
    return [outcome for outcome in outcomes if outcome is not None]


def line(*keys: Key | str) -> str:
    """The line that these keys make, a bar for the cursor."""
    row = editor(*keys).row(200)
    return f"{row.before}|{row.after}".removeprefix("> ")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (("abc",), "abc|"),
        (("abc", Key.LEFT, "x"), "abx|c"),
        (("abc", Key.LEFT, Key.LEFT, Key.LEFT, Key.LEFT, Key.RIGHT), "a|bc"),
        (("abc", Key.HOME, "x", Key.END, "y"), "xabcy|"),
        (("abc", Key.BACKSPACE), "ab|"),
        ((Key.BACKSPACE, Key.DELETE), "|"),
        (("abc", Key.HOME, Key.DELETE, Key.END_OR_DELETE), "|c"),
        (("one two", Key.WORD_LEFT), "one |two"),
        (("one two", Key.WORD_LEFT, Key.WORD_LEFT, Key.WORD_RIGHT), "one| two"),
        (("a one/two", Key.CUT_WORD_BEFORE), "a |"),
        (("one two", Key.HOME, Key.CUT_WORD_AFTER), "| two"),
        (("one two", Key.WORD_LEFT, Key.CUT_AFTER), "one |"),
        (("one two", Key.WORD_LEFT, Key.CUT_BEFORE, Key.END, Key.PUT_BACK), "twoone |"),
        (("one", Key.BACKSPACE, Key.PUT_BACK), "on|"),
        (("ab", Key.SWAP), "ba|"),
        (("abc", Key.LEFT, Key.SWAP), "acb|"),
        (("a", Key.SWAP), "a|"),
        (("abc", Key.INTERRUPT), "|"),
        (("e\u0301x", Key.LEFT, Key.BACKSPACE), "|x"),
        (("👩\u200d💻!", Key.LEFT, Key.LEFT, "x"), "x|👩\u200d💻!"),
        (("one\ntwo\t\x1b",), "one↵two    ^[|"),
    ],
)
def test_what_keys_make_of_a_line(keys: tuple[Key | str, ...], expected: str) -> None:
    assert line(*keys) == expected


def test_enter_gives_the_line_and_begins_a_new_one() -> None:
    made = editor("hello")
    assert press(made, Key.ENTER, Key.ENTER) == [Entered("hello"), Entered("")]
    assert made.is_empty


def test_on_an_empty_line_two_keys_are_for_leaving() -> None:
    made = editor()
    assert press(made, Key.INTERRUPT, Key.END_OR_DELETE, Key.CLEAR_SCREEN) == [Interrupted(), Ended(), ScreenCleared()]
    assert press(made, "x", Key.INTERRUPT, "x", Key.HOME, Key.END_OR_DELETE) == []


def test_the_arrows_bring_entered_lines_back_and_the_draft_too() -> None:
    entered = ("one", Key.ENTER, "two", Key.ENTER, "two", Key.ENTER, " ", Key.ENTER, "draft")
    assert line(*entered, Key.UP) == "two|"
    assert line(*entered, Key.UP, Key.UP) == "one|"
    assert line(*entered, Key.UP, Key.UP, Key.UP, Key.DOWN, Key.DOWN) == "draft|"
    assert line(*entered, Key.DOWN) == "draft|"
    changed = editor(*entered, Key.UP, "!")
    assert press(changed, Key.ENTER) == [Entered("two!")]


def test_tab_completes_as_far_as_all_agree_then_shows_the_choices() -> None:
    assert line("b", Key.TAB) == "Bo: |"
    assert line("see an", Key.TAB) == "see an|"
    assert press(editor("AN"), Key.TAB) == [Choices(("ana", "anton"))]
    assert line("ant", Key.TAB, "hi") == "anton: hi|"
    assert line("x ", "zz", Key.TAB) == "x zz|"
    assert line("b rest", Key.HOME, Key.RIGHT, Key.TAB) == "Bo: | rest"


def test_a_line_without_end_is_one_error() -> None:
    made = editor("x" * 600, "y" * 600, line_bytes_max=1000)
    assert not made.is_empty
    assert press(made, Key.ENTER, "fine", Key.ENTER) == [Entered(TooLong(1000)), Entered("fine")]
    assert press(made, "z" * 2000, Key.INTERRUPT, "fine", Key.ENTER) == [Entered("fine")]


def test_a_long_line_scrolls_and_shows_that_it_goes_on() -> None:
    made = editor("".join(chr(ord("a") + number % 26) for number in range(52)))
    assert made.row(40) == Row("> …jklmnopqrstuvwxyz", "")
    press(made, Key.HOME)
    assert made.row(40) == Row("> ", "abcdefghijklmnopqrstuvwxyzabcdefghi…")
    assert made.row(80).after == "abcdefghijklmnopqrstuvwxyz" * 2


def test_an_entered_line_is_cut_to_one_row_where_it_has_only_one() -> None:
    assert echo("hello\nworld") == "> hello↵world"
    assert echo("x" * 100, 20) == "> " + "x" * 16 + "…"
    assert cells(echo("日本" * 20, 21)) <= 20
    assert echo("hi", 20) == "> hi"


ANY_KEYS = st.lists(st.sampled_from(Key) | st.text(st.characters() | st.sampled_from("ab日\u0301\u200d\n\x1b")))


@given(ANY_KEYS, st.integers(0, 120))
def test_whatever_is_pressed_the_row_fits_and_the_cursor_is_in_it(keys: list[Key | str], columns: int) -> None:
    made = editor(*keys, line_bytes_max=60)
    row = made.row(columns)
    assert cells(row.before + row.after) < max(columns, 12)
    assert not any(char < " " or char == "\x7f" for char in row.before + row.after)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_typed_is_what_is_entered(text: str) -> None:
    assert press(editor(*text), Key.ENTER) == [Entered(text)]
    assert "\n" not in shown(text)
