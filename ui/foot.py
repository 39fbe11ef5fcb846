"""The foot of a terminal's screen, below all that was printed: own texts that wait, and the line being typed; pure.

Each method returns what to write to the terminal. Every row of the foot is shorter than the screen is wide, so it can
be taken away, for something to be printed above it, and put back.
"""

from collections.abc import Sequence

from ui.line_editor import LineEditor, Row, echo

HELD_ROWS_MAX = 5  # chosen: so many own texts that wait are shown, a small part of the smallest screen
_ERASE_BELOW, _ERASE_RIGHT, _ERASE_SCREEN, _UP = "\x1b[J", "\x1b[K", "\x1b[H\x1b[2J", "\x1b[A"


class Foot:
    """Invariant: `_drawn` is what stands on the screen, with the cursor in its last row; None: nothing of it."""

    def __init__(self, editor: LineEditor) -> None:
        self._editor = editor
        self._held: dict[int, str] = {}
        self._drawn: tuple[list[str], Row] | None = None

    def hold(self, number: int, line: str) -> None:
        """An entered line is to be seen until `let_go`; drawn by the next of the methods below."""
        self._held[number] = line

    def let_go(self, number: int) -> str | None:
        """A held line is not held any longer; returned is the line, None if it was not held."""
        return self._held.pop(number, None)

    def draw(self, columns: int) -> str:
        """Bring the foot up to date."""
        held, row = self._held_rows(columns), self._editor.row(columns)
        drawn, self._drawn = self._drawn, (held, row)
        if drawn is None or drawn[0] != held:
            return _erasing(drawn) + "".join(f"{line}\n" for line in held) + _writing(row)
        if drawn[1] == row:
            return ""
        if row.before.startswith(drawn[1].before) and not drawn[1].after and not row.after:
            return row.before[len(drawn[1].before) :]  # the usual case, and the one a screen reader likes
        return _writing(row)

    def print(self, lines: Sequence[str], columns: int) -> str:
        """Lines above the foot, of any length."""
        erased, self._drawn = _erasing(self._drawn), None
        return erased + "".join(f"{line}\n" for line in lines) + self.draw(columns)

    def draw_anew(self, columns: int) -> str:
        """Without a guess at where a terminal of another size has put the old rows, which may stay to be seen."""
        self._drawn = None
        return f"\r{_ERASE_BELOW}" + self.draw(columns)

    def draw_alone(self, columns: int) -> str:
        """On an otherwise blank screen."""
        self._drawn = None
        return _ERASE_SCREEN + self.draw(columns)

    def leave(self) -> str:
        """The cursor to a row of its own below; held lines and a half-typed one stay to be seen."""
        drawn, self._drawn = self._drawn, None
        if drawn is None:
            return ""
        return f"\r{_ERASE_RIGHT}" if self._editor.is_empty else "\n"

    def _held_rows(self, columns: int) -> list[str]:
        lines = list(self._held.values())
        if len(lines) <= HELD_ROWS_MAX:
            return [echo(line, columns) for line in lines]
        hidden = len(lines) - HELD_ROWS_MAX + 1
        return [f"-- {hidden:,} more wait", *(echo(line, columns) for line in lines[hidden:])]


def _erasing(drawn: tuple[list[str], Row] | None) -> str:
    return "" if drawn is None else "\r" + _UP * len(drawn[0]) + _ERASE_BELOW


def _writing(row: Row) -> str:
    """The row from its first column on.

    The cursor gets where it belongs by writing what is before it once more: terminals do not agree on how wide
    every character is.
    """
    return f"\r{row.before}{row.after}{_ERASE_RIGHT}" + (f"\r{row.before}" if row.after else "")
