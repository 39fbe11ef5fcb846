"""ui.line_editor: the line is what the keys make of it, and its row always fits the screen."""

from collections.abc import Sequence

import pytest
import urwid
from hypothesis import given
from hypothesis import strategies as st

from ui.keys import Pasted
from ui.line_editor import (
    Choices,
    Ended,
    Entered,
    Interrupted,
    LineEditor,
    Outcome,
    Row,
    RowsEditor,
    ScreenCleared,
    echo,
    shown,
)
from ui.splitter import TooLong

NICKS = ("ana: ", "anton: ", "Bo: ")


def complete(line: str) -> Sequence[str]:
    return [nick for nick in NICKS if nick.lower().startswith(line[line.rfind(" ") + 1 :].lower())]


def editor(*keys: str | Pasted, line_bytes_max: int = 1000) -> LineEditor:
    made = LineEditor(complete, line_bytes_max)
    press(made, *keys)
    return made


def press(made: LineEditor, *keys: str | Pasted) -> list[Outcome]:
    outcomes = [made.press(key) for key in keys]
    return [outcome for outcome in outcomes if outcome is not None]


def line(*keys: str | Pasted) -> str:
    """The line that these keys make, a bar for the cursor."""
    row = editor(*keys).row(200)
    return f"{row.before}|{row.after}".removeprefix("> ")


def cells(text: str) -> int:
    return urwid.calc_width(text, 0, len(text))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([*"abc"], "abc|"),
        ([*"abc", "left", "x"], "abx|c"),
        ([*"abc", "left", "ctrl b", "left", "left", "ctrl f"], "a|bc"),
        ([*"abc", "home", "x", "end", "y", "ctrl a", "z", "ctrl e"], "zxabcy|"),
        ([*"abc", "backspace"], "ab|"),
        (["backspace", "delete"], "|"),
        ([*"abc", "home", "delete", "ctrl d"], "|c"),
        ([*"one two", "meta b"], "one |two"),
        ([*"one two", "ctrl left", "meta left", "meta f"], "one| two"),
        ([*"a one/two", "ctrl w"], "a |"),
        ([*"a one/two", "meta backspace"], "a one/|"),
        ([*"one two", "home", "meta d"], "| two"),
        ([*"one two", "meta b", "ctrl k"], "one |"),
        ([*"one two", "meta b", "ctrl u", "end", "ctrl y"], "twoone |"),
        ([*"one", "backspace", "ctrl y"], "on|"),
        ([*"one two", "ctrl w", "ctrl _"], "one two|"),
        ([*"see ", Pasted("a\nb"), "ctrl u", "ctrl y", "ctrl _", "ctrl _"], "see a↵b|"),
        ([*"see ", Pasted("a\nb"), "c", "ctrl _", "ctrl _"], "see |"),
        ([*"abc", "ctrl c"], "|"),
        (["e", "\u0301", "x", "left", "backspace"], "|x"),
        ([*"👩\u200d💻!", "left", "left", "x"], "x|👩\u200d💻!"),
        ([*"one", "meta enter", *"two"], "one↵two|"),
        ([Pasted("one\ntwo\t\x1b")], "one↵two    ^[|"),
        ([Pasted("one\ntwo"), "home"], "|one↵two"),
        ([Pasted("enter"), "f1", "esc", "<255>", "page up"], "enter|"),
    ],
)
def test_what_keys_make_of_a_line(keys: list[str | Pasted], expected: str) -> None:
    assert line(*keys) == expected


def test_enter_gives_the_line_and_begins_a_new_one() -> None:
    made = editor(*"hello")
    assert press(made, "enter", "enter") == [Entered("hello"), Entered("")]
    assert made.is_empty
    assert press(made, *"one", "meta enter", Pasted("two\nthree"), "enter") == [Entered("one\ntwo\nthree")]


def test_on_an_empty_line_two_keys_are_for_leaving() -> None:
    made = editor()
    assert press(made, "ctrl c", "ctrl d", "ctrl l") == [Interrupted(), Ended(), ScreenCleared()]
    assert press(made, "x", "ctrl c", "x", "home", "ctrl d") == []


def test_the_arrows_bring_entered_lines_back_and_the_draft_too() -> None:
    entered = (*"one", "enter", *"two", "enter", *"two", "enter", " ", "enter", *"draft")
    assert line(*entered, "up") == "two|"
    assert line(*entered, "up", "ctrl p") == "one|"
    assert line(*entered, "up", "up", "up", "down", "ctrl n") == "draft|"
    assert line(*entered, "down") == "draft|"
    assert line(*entered, "up", "ctrl _") == "two|", "what is undone is a change of this line"
    changed = editor(*entered, "up", "!")
    assert press(changed, "enter") == [Entered("two!")]


def test_a_line_that_was_cleared_can_be_brought_back() -> None:
    assert line(*"one", "enter", *"secret", "ctrl c", "up") == "secret|"
    assert line(*"one", "enter", *"secret", "ctrl c", "up", "up", "down", "down") == "|"


def test_which_keys_with_alt_it_knows() -> None:
    for key in ("meta b", "meta d", "meta f", "meta enter", "meta backspace", "meta left"):
        assert LineEditor.knows(key)
    for key in ("meta /", "meta x", "meta D", "meta é"):
        assert not LineEditor.knows(key)


def test_tab_completes_as_far_as_all_agree_then_shows_the_choices() -> None:
    assert line("b", "tab") == "Bo: |"
    assert line(*"see an", "tab") == "see an|"
    assert press(editor(*"AN"), "tab", "tab") == [Choices(("ana", "anton"))] * 2
    assert line(*"ant", "tab", *"hi") == "anton: hi|"
    assert line(*"x zz", "tab") == "x zz|"
    assert line(*"b rest", "home", "right", "tab") == "Bo: | rest"
    assert press(editor(*"b", line_bytes_max=3), "tab", "enter") == [Entered("b")]


def test_a_line_without_end_is_one_error() -> None:
    made = editor(Pasted("x" * 600), Pasted("y" * 600), line_bytes_max=1000)
    assert not made.is_empty
    assert press(made, "enter", *"fine", "enter") == [Entered(TooLong(1000)), Entered("fine")]
    assert press(made, *"z" * 1001, "ctrl c", *"fine", "enter") == [Entered("fine")]
    assert press(made, *"é" * 501, "enter") == [Entered(TooLong(1000))], "bytes count"


def test_a_long_line_scrolls_and_shows_that_it_goes_on() -> None:
    made = editor(*(chr(ord("a") + number % 26) for number in range(52)))
    assert made.row(40) == Row("> …ijklmnopqrstuvwxyz", "")
    press(made, "home")
    assert made.row(40) == Row("> ", "abcdefghijklmnopqrstuvwxyzabcdefghi…")
    assert made.row(80).after == "abcdefghijklmnopqrstuvwxyz" * 2


def test_an_entered_line_is_cut_to_one_row_where_it_has_only_one() -> None:
    assert echo("hello\nworld") == "> hello↵world"
    assert echo("x" * 100, 20) == "> " + "x" * 16 + "…"
    assert cells(echo("日本" * 20, 21)) <= 20
    assert echo("hi", 20) == "> hi"


NAMED = ("enter", "tab", "left", "right", "home", "end", "up", "down", "backspace", "delete", "meta b", "meta enter")
CONTROLS = tuple(f"ctrl {letter}" for letter in "cdeklpuwy_")
TYPED = st.characters() | st.sampled_from("ab日\u0301\u200d\ufe0f👩🇩🇪")
ANY_KEYS = st.lists(st.sampled_from(NAMED + CONTROLS) | TYPED | st.text(TYPED | st.sampled_from("\n\x1b")).map(Pasted))


@given(ANY_KEYS, st.integers(0, 120))
def test_whatever_is_pressed_the_row_fits_and_the_cursor_is_in_it(keys: list[str | Pasted], columns: int) -> None:
    made = editor(*keys, line_bytes_max=60)
    row = made.row(columns)
    assert cells(row.before + row.after) < max(columns, 12)
    assert not any(char < " " or char == "\x7f" for char in row.before + row.after)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters=["\u2028"])))
def test_what_is_typed_is_what_is_entered(text: str) -> None:
    assert press(editor(*text), "enter") == [Entered(text)]
    assert press(editor(Pasted(text)), "enter") == [Entered(text)]
    assert "\n" not in shown(text)


# --- with rows -------------------------------------------------------------------------------------------------------


def rows_editor(*keys: str | Pasted, chars_max: int = 1000) -> RowsEditor:
    made = RowsEditor(complete, chars_max)
    for key in keys:
        made.press(key)
    return made


def with_cursor(made: RowsEditor) -> str:
    position = made.snapshot().position
    return f"{made.text[:position]}|{made.text[position:]}"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([*"abc", "meta enter", *"de"], "abc\nde|"),
        ([*"abc", "meta enter", *"de", "up"], "ab|c\nde"),
        ([*"abc", "meta enter", *"de", "up", "down"], "abc\nde|"),
        ([*"abc", "meta enter", *"de", "home"], "abc\n|de"),
        ([*"abc", "meta enter", *"de", "up", "end"], "abc|\nde"),
        ([*"abc", "meta enter", *"de", "up", "ctrl k"], "ab|\nde"),
        ([*"abc", "enter"], "abc|"),
        ([*"one two", "meta enter", "ctrl w", "ctrl y"], "one two\n|"),
        ([Pasted("a\nb")], "a\nb|"),
    ],
)
def test_rows_are_edited_by_the_same_keys(keys: list[str | Pasted], expected: str) -> None:
    made = rows_editor(*keys)
    assert with_cursor(made) == expected


def test_up_and_down_go_through_rows_as_they_are_wrapped_and_then_through_what_was_entered() -> None:
    made = rows_editor(*"entered")
    assert made.take() == "entered"
    made.columns = 5
    for key in "abc defg":
        made.press(key)
    made.press("up")
    assert with_cursor(made) == "abc| defg"
    made.press("up")
    assert with_cursor(made) == "entered|"
    for _ in range(3):
        made.press("down")
    assert made.text == "abc defg"


def test_a_taken_text_is_remembered_once_and_gone() -> None:
    made = rows_editor()
    for text in ("one", "two", "two", " "):
        made.text = text
        assert made.take() == text
        assert made.is_empty
    recalled = []
    for _ in range(4):
        made.press("up")
        recalled.append(made.text)
    assert recalled == ["two", "one", "one", "one"]


def test_a_paste_is_one_text_with_line_ends_that_can_be_taken_back() -> None:
    made = rows_editor(*"ab", "left")
    before = made.snapshot()
    assert made.paste("1\r\n2\r3\n\x1b[A")
    assert with_cursor(made) == "a1\n2\n3\n\x1b[A|b"
    made.restore(before)
    assert with_cursor(made) == "a|b"


@pytest.mark.parametrize("line_end", ["\n", "\r", "\r\n"])
def test_the_line_end_behind_a_paste_is_left_out(line_end: str) -> None:
    made = rows_editor(*"ab", "left")
    assert made.paste(line_end.join(["1", "2", ""]))
    assert with_cursor(made) == "a1\n2|b"
    assert made.paste(line_end)
    assert made.paste("")
    assert with_cursor(made) == "a1\n2|b"
    assert made.paste(line_end * 2)
    assert with_cursor(made) == "a1\n2\n|b"


def test_a_paste_without_room_changes_nothing() -> None:
    made = rows_editor(*"ab", chars_max=5)
    assert not made.paste("1234")
    assert made.text == "ab"
    assert made.paste("123")
    made.press("x")
    assert made.text == "ab123"


def test_what_has_no_shape_is_shown_as_one_column_and_entered_as_it_is() -> None:
    text = "a\x1b\u202e\x7f\t\udc80b\u200d\n\u0085c"
    made = rows_editor()
    made.paste(text)
    assert made.text == text
    shown_text = made.widget.get_text()[0]
    assert shown_text == "a␛\ufffd␡␉\ufffdb\ufffd\n\ufffdc"
    assert len(shown_text) == len(text)
    assert made.take() == text


def test_tab_completes_as_far_as_all_agree_then_goes_round_and_shift_tab_back() -> None:
    made = rows_editor(*"say an")
    assert made.choices == ((), -1)
    made.press("tab")
    assert made.choices == (("ana", "anton"), 0)
    assert made.text == "say ana: "
    made.press("tab")
    assert made.choices == (("ana", "anton"), 1)
    assert made.text == "say anton: "
    made.press("shift tab")
    made.press("shift tab")
    assert (made.text, made.choices[1]) == ("say an", -1)
    made.press("x")
    assert made.choices == ((), -1)


def test_tab_in_a_later_row_completes_that_row_alone() -> None:
    seen: list[str] = []

    def completing(line_before: str) -> Sequence[str]:
        seen.append(line_before)
        return ["word "]

    made = RowsEditor(completing, 100)
    made.paste("first row\nw")
    made.press("tab")
    assert seen == ["w"]
    assert made.text == "first row\nword "


def test_a_completion_without_room_is_none() -> None:
    made = RowsEditor(lambda _: ["longer"], 4)
    made.press("l")
    made.press("tab")
    assert made.text == "l"


@given(
    st.lists(st.sampled_from([*"ab 日\u0301👩", "\u200d", "left", "up", "down", "backspace", "meta enter", "ctrl _"]))
)
def test_any_keys_leave_a_cursor_inside_the_rows(keys: list[str]) -> None:
    made = rows_editor(*keys)
    made.columns = 4
    canvas = made.widget.render((4,), focus=True)
    assert canvas.cursor is not None
    assert 0 <= canvas.cursor[0] < 4 and 0 <= canvas.cursor[1] < canvas.rows()
