"""A line as it is typed at a terminal: keys in, the line and its one row of the screen out; pure.

The row scrolls sideways instead of wrapping, so that it can be taken off the screen and put back at any moment.
"""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ui.keys import Key, Text
from ui.safe_text import cells, safe_line
from ui.splitter import TooLong

PROMPT = "> "
RECALLED_MAX = 200  # chosen: entered lines that the arrow keys bring back
CHOICES_MAX = 20  # chosen: completions shown at once
_COLUMNS_MIN = 12  # a narrower terminal shows a broken row, but no error
_MORE = "…"
_ZERO_WIDTH_JOINER = "\u200d"

# The line up to the cursor, to what its last word may become.
Completer = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Entered:
    """Enter was pressed."""

    line: str | TooLong


@dataclass(frozen=True, slots=True)
class Choices:
    """Tab was pressed, and several words are possible."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Ctrl+C on an empty line."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Ctrl+D on an empty line."""


@dataclass(frozen=True, slots=True)
class ScreenCleared:
    """Ctrl+L: the screen is to be blank but for the line."""


Outcome = Entered | Choices | Interrupted | Ended | ScreenCleared


@dataclass(frozen=True, slots=True)
class Row:
    """What is seen of the line, prompt included: the part before the cursor, and the part behind it."""

    before: str
    after: str


def shown(text: str) -> str:
    """A typed text as one row shows it: line ends of a paste as an arrow, other control characters by name."""
    return "↵".join(safe_line(part) for part in text.split("\n"))


def echo(text: str, columns: int | None = None) -> str:
    """An entered line as it stays on the screen; cut to fit one row if there are `columns`."""
    whole = PROMPT + shown(text)
    if columns is None or cells(whole) < columns:
        return whole
    kept, room = "", max(columns, _COLUMNS_MIN) - 2
    for char in whole:
        room -= cells(char)
        if room < 0:
            break
        kept += char
    return kept + _MORE


class LineEditor:
    """The line, the cursor in it, and the lines entered before.

    Invariant: 0 <= cursor <= len(text), never inside a character that is written with several code points.
    """

    def __init__(self, complete: Completer, line_bytes_max: int) -> None:
        self._complete = complete
        self._line_bytes_max = line_bytes_max
        self._text = ""
        self._cursor = 0
        self._too_long = False
        self._cut = ""
        self._recalled: list[str] = []
        self._place = 0  # in `_recalled`; its length: the line is a new one
        self._draft = ""  # the new one, while an older one is shown
        self._first = 0  # the first character that the row shows

    @property
    def is_empty(self) -> bool:
        """Nothing has been typed."""
        return not self._text and not self._too_long

    def press(self, key: Key | Text) -> Outcome | None:
        """Do what a key does; returned is what concerns others than the line."""
        match key:
            case Text(chars):
                self._insert(chars)
            case Key.ENTER:
                return Entered(self._enter())
            case Key.TAB:
                return self._tab()
            case Key.INTERRUPT if self.is_empty:
                return Interrupted()
            case Key.INTERRUPT:
                self._replace("")
            case Key.END_OR_DELETE if self.is_empty:
                return Ended()
            case Key.CLEAR_SCREEN:
                return ScreenCleared()
            case Key.UP | Key.DOWN:
                self._recall(-1 if key is Key.UP else 1)
            case Key.PUT_BACK:
                self._insert(self._cut)
            case Key.SWAP:
                self._swap()
            case Key.LEFT | Key.RIGHT | Key.WORD_LEFT | Key.WORD_RIGHT | Key.HOME | Key.END:
                self._cursor = self._target(key)
            case _:
                self._delete(key)
        return None

    def row(self, columns: int) -> Row:
        """What to show on a terminal so wide. One column stays free: at the very edge terminals differ."""
        room = max(columns, _COLUMNS_MIN) - 1 - cells(PROMPT) - 2 * cells(_MORE)
        if self._cursor < self._first or cells(shown(self._text[self._first : self._cursor])) > room:
            self._first = self._fitting_before(room // 2)
        if cells(shown(self._text)) <= room:
            self._first = 0
        last = self._cursor
        room -= cells(shown(self._text[self._first : last]))
        while last < len(self._text) and cells(shown(self._text[last])) <= room:
            room -= cells(shown(self._text[last]))
            last += 1
        return Row(
            before=PROMPT + (_MORE if self._first else "") + shown(self._text[self._first : self._cursor]),
            after=shown(self._text[self._cursor : last]) + (_MORE if last < len(self._text) else ""),
        )

    # --- changing the line --------------------------------------------------------------------------------------------

    def _insert(self, chars: str) -> None:
        text = self._text[: self._cursor] + chars + self._text[self._cursor :]
        if len(text.encode(errors="surrogateescape")) > self._line_bytes_max:
            self._too_long = True  # what has no room is not shown; Enter will tell
            return
        self._text = text
        self._cursor += len(chars)

    def _replace(self, text: str) -> None:
        self._text, self._cursor, self._first, self._too_long = text, len(text), 0, False
        self._place = len(self._recalled)

    def _enter(self) -> str | TooLong:
        line: str | TooLong = TooLong(self._line_bytes_max) if self._too_long else self._text
        if self._text.strip() and self._recalled[-1:] != [self._text]:
            self._recalled = [*self._recalled, self._text][-RECALLED_MAX:]
        self._replace("")
        self._draft = ""
        return line

    def _recall(self, step: int) -> None:
        place = self._place + step
        if not 0 <= place <= len(self._recalled):
            return
        if self._place == len(self._recalled):
            self._draft = self._text
        self._replace(self._draft if place == len(self._recalled) else self._recalled[place])
        self._place = place

    def _swap(self) -> None:
        """Exchange the two characters around the cursor (at the end: before it) and step over them."""
        middle = self._step(self._cursor, -1) if self._cursor == len(self._text) else self._cursor
        first, last = self._step(middle, -1), self._step(middle, 1)
        if first < middle < last:
            text = self._text
            self._text = text[:first] + text[middle:last] + text[first:middle] + text[last:]
            self._cursor = last

    def _delete(self, key: Key) -> None:
        """Take away what is between the cursor and where `key` leads; all but single characters can be put back."""
        first, last = sorted((self._cursor, self._target(key)))
        if first < last and key not in (Key.BACKSPACE, Key.DELETE, Key.END_OR_DELETE):
            self._cut = self._text[first:last]
        self._text = self._text[:first] + self._text[last:]
        self._cursor = first

    def _tab(self) -> Choices | None:
        """Complete the word before the cursor as far as all possible words agree."""
        line = self._text[: self._cursor]
        words = self._complete(line)
        if not words:
            return None
        begun = line[line.rfind(" ") + 1 :]
        common = words[0] if len(words) == 1 else _common_beginning(words)
        if len(words) > 1 and len(common) <= len(begun):
            return Choices(tuple(word.rstrip(" :") for word in words[:CHOICES_MAX]))
        self._text = self._text[: self._cursor - len(begun)] + self._text[self._cursor :]
        self._cursor -= len(begun)
        self._insert(common)
        return None

    # --- places in the line -------------------------------------------------------------------------------------------

    def _target(self, key: Key) -> int:
        """Where a key leads, or up to where it deletes."""
        match key:
            case Key.HOME | Key.CUT_BEFORE:
                return 0
            case Key.END | Key.CUT_AFTER:
                return len(self._text)
            case Key.LEFT | Key.BACKSPACE:
                return self._step(self._cursor, -1)
            case Key.RIGHT | Key.DELETE | Key.END_OR_DELETE:
                return self._step(self._cursor, 1)
            case Key.WORD_LEFT:
                return self._word(-1, str.isalnum)
            case Key.CUT_WORD_BEFORE:  # Ctrl+W goes back to a blank, as in every shell
                return self._word(-1, lambda char: not char.isspace())
            case Key.WORD_RIGHT | Key.CUT_WORD_AFTER:
                return self._word(1, str.isalnum)
            case _:
                return self._cursor

    def _step(self, place: int, direction: int) -> int:
        """The next place in a direction where the cursor may be."""
        place = min(max(place + direction, 0), len(self._text))
        while 0 < place < len(self._text) and self._is_inside(place):
            place += direction
        return place

    def _is_inside(self, place: int) -> bool:
        """The character at `place` belongs to the one before it: an accent, or a joined part of an emoji."""
        char = self._text[place]
        return (unicodedata.category(char) in ("Mn", "Me", "Cf") and cells(char) == 0) or (
            self._text[place - 1] == _ZERO_WIDTH_JOINER
        )

    def _word(self, direction: int, belongs: Callable[[str], bool]) -> int:
        """The far end of the next word in a direction."""
        place = self._cursor

        def ahead() -> str:
            return self._text[place - 1 : place] if direction < 0 else self._text[place : place + 1]

        while (char := ahead()) and not belongs(char):
            place += direction
        while (char := ahead()) and belongs(char):
            place += direction
        return place

    def _fitting_before(self, room: int) -> int:
        """How far before the cursor the row may begin so that this part takes at most `room` columns."""
        first = self._cursor
        while first > 0 and (wide := cells(shown(self._text[first - 1]))) <= room:
            room -= wide
            first -= 1
        return first


def _common_beginning(words: Sequence[str]) -> str:
    """What all words begin with, in the letters of the first; case does not count."""
    first = words[0]
    length = min(map(len, words))
    while any(word[:length].casefold() != first[:length].casefold() for word in words):
        length -= 1
    return first[:length]
