"""ui.qr: the lines show each module of the code, on a ground of their own."""

import segno
from hypothesis import given
from hypothesis import strategies as st

from ui import qr

_PARTS = {" ": (False, False), "▀": (True, False), "▄": (False, True), "█": (True, True)}


def modules_in(lines: list[str]) -> list[list[bool]]:
    """The dark modules as drawn, without what is around them."""
    rows: list[list[bool]] = []
    for line in lines:
        assert line.startswith("\x1b[30;47m") and line.endswith("\x1b[0m")
        pairs = [_PARTS[char] for char in line.removeprefix("\x1b[30;47m").removesuffix("\x1b[0m")]
        rows += [[upper for upper, _ in pairs], [lower for _, lower in pairs]]
    size = len(rows[0])
    assert not any(any(row) for row in (*rows[:2], *rows[size - 2 :]))
    assert not any(row[at] for row in rows for at in (0, 1, -1, -2))
    return [row[2:-2] for row in rows[2 : size - 2]]


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=300))
def test_every_module_is_drawn(text: str) -> None:
    lines = qr.code_lines(text)
    code = segno.make(text, error="l", micro=False, boost_error=False)
    assert modules_in(lines) == [[bool(module) for module in row] for row in code.matrix]
    assert qr.columns_of(lines) == len(code.matrix) + 4


def test_that_of_a_ticket_fits_a_usual_terminal() -> None:
    lines = qr.code_lines(f"relevo://192.168.100.100:8000/#{'A' * 70}")
    assert len(lines) < 24
    assert qr.columns_of(lines) < 80
