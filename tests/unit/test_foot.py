"""ui.foot: seen on a screen, what is printed stands above the line being typed, which stays as it was."""

import pyte
from hypothesis import given
from hypothesis import strategies as st

from ui.foot import HELD_ROWS_MAX, Foot
from ui.keys import Pasted
from ui.line_editor import LineEditor


class Seen:
    """A foot, and the screen that its writing makes."""

    def __init__(self, columns: int = 30, rows: int = 40) -> None:
        self.columns = columns
        self.editor = LineEditor(lambda _line: (), 1000)
        self.foot = Foot(self.editor)
        self.screen = pyte.Screen(columns, rows)
        self.screen.set_mode(pyte.modes.LNM)  # a line feed goes to the first column, as terminals are set
        self.stream = pyte.Stream(self.screen)
        self.draw()

    def write(self, text: str) -> str:
        self.stream.feed(text)
        return text

    def draw(self) -> str:
        return self.write(self.foot.draw(self.columns))

    def type(self, *keys: str | Pasted) -> None:
        for key in keys:
            self.editor.press(key)
            self.draw()

    def print(self, *lines: str) -> None:
        self.write(self.foot.print(lines, self.columns))

    @property
    def rows(self) -> list[str]:
        return [row.rstrip() for row in self.screen.display if row.strip()]


def test_what_is_printed_goes_above_the_half_typed_line() -> None:
    seen = Seen()
    seen.type(*"hel")
    seen.print("bo: hi", "bo: " + "x" * 40)
    assert seen.rows == ["bo: hi", "bo: " + "x" * 26, "x" * 14, "> hel"]
    seen.type(*"lo")
    assert seen.rows[-1] == "> hello"
    assert seen.screen.cursor.x == 7


def test_the_cursor_stays_in_the_middle_of_the_line() -> None:
    seen = Seen()
    seen.type(*"hello", "left", "left")
    assert seen.screen.cursor.x == 5
    seen.print("bo: hi")
    assert (seen.rows[-1], seen.screen.cursor.x) == ("> hello", 5)
    seen.type("日")
    assert (seen.rows[-1].replace(" ", ""), seen.screen.cursor.x) == (">hel日lo", 7)


def test_what_is_added_at_the_end_is_all_that_is_written() -> None:
    seen = Seen()
    seen.type(*"hell")
    seen.editor.press("o")
    assert seen.draw() == "o"
    assert seen.draw() == ""


def test_held_lines_stand_between_and_go_when_they_are_let_go() -> None:
    seen = Seen()
    seen.foot.hold(1, "one")
    seen.foot.hold(2, "two " * 20)
    seen.type("x")
    assert seen.rows == ["> one", "> two two two two two two tw…", "> x"]
    assert seen.foot.let_go(1) == "one"
    seen.print("20:00 ana: one")
    assert seen.rows == ["20:00 ana: one", "> two two two two two two tw…", "> x"]
    assert seen.foot.let_go(1) is None
    seen.foot.let_go(2)
    seen.draw()
    assert seen.rows == ["20:00 ana: one", "> x"]


def test_of_many_held_lines_the_last_are_shown_and_the_others_counted() -> None:
    seen = Seen()
    for number in range(12):
        seen.foot.hold(number, f"line {number}")
    seen.draw()
    assert seen.rows == ["-- 8 more wait", "> line 8", "> line 9", "> line 10", "> line 11", ">"]
    assert len(seen.rows) == HELD_ROWS_MAX + 1


def test_leaving_keeps_a_half_typed_line_and_takes_away_an_empty_one() -> None:
    seen = Seen()
    seen.print("bo: hi")
    seen.foot.hold(1, "waits")
    seen.draw()
    seen.write(seen.foot.leave() + "$ ")
    assert seen.rows == ["bo: hi", "> waits", "$"]
    half = Seen()
    half.type(*"half")
    half.write(half.foot.leave() + "$ ")
    assert half.rows == ["> half", "$"]
    assert half.foot.leave() == ""


def test_the_screen_can_be_cleared_but_for_the_line() -> None:
    seen = Seen()
    seen.print("bo: hi")
    seen.type(*"half")
    seen.write(seen.foot.draw_alone(30))
    assert seen.rows == ["> half"]


def test_another_width_never_takes_away_what_was_printed() -> None:
    seen = Seen()
    seen.print("bo: hi")
    seen.foot.hold(1, "waits")
    seen.type(*"half")
    seen.screen.resize(columns=20)
    seen.columns = 20
    seen.write(seen.foot.draw_anew(20))
    assert "bo: hi" in seen.rows
    assert seen.rows[-2:] == ["> waits", "> half"]


@given(
    st.lists(st.sampled_from(["a", "日", Pasted("one\ntwo"), "left", "home", "backspace", "print", "hold", "settle"]))
)
def test_whatever_happens_nothing_printed_is_lost_and_the_line_is_last(steps: list[str | Pasted]) -> None:
    seen = Seen(rows=200)
    printed, held = 0, 0
    for step in steps:
        if step == "print":
            printed += 1
            seen.print(f"line {printed}")
        elif step == "hold":
            seen.foot.hold(held := held + 1, "held")
            seen.draw()
        elif step == "settle":
            seen.foot.let_go(held)
            seen.draw()
        else:
            seen.type(step)
    row = seen.editor.row(30)
    assert [line for line in seen.rows if line.startswith("line")] == [f"line {n + 1}" for n in range(printed)]
    assert seen.rows[-1].replace(" ", "") == (row.before + row.after).replace(" ", "")
