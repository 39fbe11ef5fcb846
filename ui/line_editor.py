"""A line as it is typed at a terminal, edited by urwid: keys in, the line and its row or rows of the screen out; pure.

`LineEditor` has one row that scrolls sideways instead of wrapping, so that it can be taken off the screen and put back
at any moment. `RowsEditor`, for the full screen, has as many rows as the text needs.
"""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from urwid import CommandMap, Edit, calc_text_pos, calc_width
from urwid.command_map import Command

from ui.keys import Pasted
from ui.palette import loose_joiners
from ui.safe_text import safe_line
from ui.splitter import TooLong

PROMPT = "> "
RECALLED_MAX = 200  # chosen: entered lines that the arrow keys bring back
CHOICES_MAX = 20  # chosen: completions shown at once
_UNDO_MAX = 100  # chosen: changes of one line that can be taken back
_COLUMNS_MIN = 12  # a narrower terminal shows a broken row, but no error
_MORE = "…"
# A line end as the widget holds it: to it a "\n" would begin another row, and Home would stop there.
_LINE_END = "\u2028"
_ANY_SIZE = (80,)  # the widget asks for its width, which no key it gets depends on

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
    return "↵".join(loose_joiners(safe_line(part), "") for part in text.split("\n"))


def echo(text: str, columns: int | None = None) -> str:
    """An entered line as it stays on the screen; cut to fit one row if there are `columns`."""
    whole = PROMPT + shown(text)
    if columns is None or _cells(whole) < columns:
        return whole
    return _beginning(whole, max(columns, _COLUMNS_MIN) - 2) + _MORE


class LineEditor:
    """The line, the cursor in it, and the lines entered before."""

    def __init__(self, complete: Completer, line_bytes_max: int) -> None:
        self._complete = complete
        self._line_bytes_max = line_bytes_max
        self._edit = self._make_edit()
        self._too_long = False  # something had no room and is not shown; Enter will tell
        self._choices: tuple[str, ...] = ()
        self._recalled: list[str] = []
        self._place = 0  # in `_recalled`; its length: the line is a new one
        self._draft = ""  # the new one, while an older one is shown

    def _make_edit(self) -> "_LineEdit":
        return _LineEdit(
            max_length=self._line_bytes_max,
            undo_limit=_UNDO_MAX,
            kill_buffer=deque(maxlen=1),
            text_completer=self._completions,
        )

    @property
    def is_empty(self) -> bool:
        """Nothing has been typed."""
        return not self._edit.edit_text and not self._too_long

    @staticmethod
    def knows(key: str) -> bool:
        """This key, with Alt, changes the line or moves the cursor."""
        return key == "meta enter" or _LineEdit._command_map[key] is not None

    def press(self, key: str | Pasted) -> Outcome | None:
        """Do what a key does; returned is what concerns others than the line."""
        match key:
            case Pasted(text):  # the marks keep undo from taking it for a part of what is typed around it
                self._edit.keypress(_ANY_SIZE, "begin paste")
                self._insert(text)
                self._edit.keypress(_ANY_SIZE, "end paste")
            case "enter":
                return Entered(self._enter())
            case "meta enter":
                self._insert("\n")
            case "ctrl c" if self.is_empty:
                return Interrupted()
            case "ctrl c":
                self._enter()  # so that it can be brought back
            case "ctrl d" if self.is_empty:
                return Ended()
            case "ctrl l":
                return ScreenCleared()
            case "up" | "ctrl p":
                self._recall(-1)
            case "down" | "ctrl n":
                self._recall(1)
            case "tab":
                self._choices = ()
                self._edit.keypress(_ANY_SIZE, key)
                return Choices(self._choices) if self._choices else None
            case _ if self._edit.keypress(_ANY_SIZE, key) is not None and self._edit.valid_char(key):
                self._too_long = True
        return None

    def row(self, columns: int) -> Row:
        """What to show on a terminal so wide. One column stays free: at the very edge terminals differ."""
        text, cursor = _typed(self._edit.edit_text), self._edit.edit_pos
        before, after = shown(text[:cursor]), shown(text[cursor:])
        room = max(columns, _COLUMNS_MIN) - 1 - len(PROMPT) - 2 * len(_MORE)
        # The row moves on by half of it at a time, and one column more for a wide character at its beginning.
        half, beyond = room // 2, max(0, _cells(before) - room + 1)
        if beyond and _cells(before + after) > room:
            before = _MORE + before[len(_beginning(before, -(-beyond // half) * half)) :]
            room += len(_MORE)
        seen = _beginning(after, room - _cells(before))
        return Row(PROMPT + before, seen if seen == after else seen + _MORE)

    # --- changing the line --------------------------------------------------------------------------------------------

    def _insert(self, text: str) -> None:
        if self._edit.keypress(_ANY_SIZE, _Whole(text.replace("\n", _LINE_END))) is not None:
            self._too_long = True

    def _replace(self, text: str) -> None:
        self._edit.set_edit_text(text, edit_pos=len(text))
        self._too_long = False
        self._place = len(self._recalled)

    def _enter(self) -> str | TooLong:
        text = self._edit.edit_text
        line = _typed(text)
        if line.strip() and self._recalled[-1:] != [text]:
            self._recalled = [*self._recalled, text][-RECALLED_MAX:]
        is_too_long = self._too_long or len(line.encode(errors="surrogateescape")) > self._line_bytes_max
        self._replace("")
        self._draft = ""
        return TooLong(self._line_bytes_max) if is_too_long else line

    def _recall(self, step: int) -> None:
        place = self._place + step
        if not 0 <= place <= len(self._recalled):
            return
        if self._place == len(self._recalled):
            self._draft = self._edit.edit_text
        self._replace(self._draft if place == len(self._recalled) else self._recalled[place])
        self._place = place

    def _completions(self, text: str, cursor: int) -> Sequence[tuple[str, int]]:
        """What Tab makes of the line: its last word as far as all possible words agree; without that, `_choices`."""
        line = text[:cursor]
        words = self._complete(line)
        begun = line[line.rfind(" ") + 1 :]
        common = words[0] if len(words) == 1 else _common_beginning(words)
        if len(words) > 1 and len(common) <= len(begun):
            self._choices = tuple(word.rstrip(" :") for word in words[:CHOICES_MAX])
        completed = line[: len(line) - len(begun)] + common
        if not words or self._choices or len(completed + text[cursor:]) > self._line_bytes_max:
            return ()
        return ((completed + text[cursor:], len(completed)),)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A text being typed, and where the cursor was in it."""

    text: str
    position: int


class RowsEditor(LineEditor):
    """The text of a full screen: it has rows, among which the cursor moves, and stays until `take`.

    What cannot be shown (control characters, those that turn the direction of text, bytes that are no UTF-8) is seen
    as something one column wide, and entered as it is.
    """

    def __init__(self, complete: Completer, chars_max: int, stand_in: Callable[[str], str] | None = None) -> None:
        """`stand_in`: a character to show instead of one that was typed, or that one; `seen_as` unless given."""
        self._stand_in = stand_in or seen_as
        self.columns = _ANY_SIZE[0]  # how wide a row is at the moment, which Up and Down depend on
        super().__init__(complete, chars_max)

    def _make_edit(self) -> "_LineEdit":
        return _RowsEdit(
            self._stand_in,
            multiline=True,
            max_length=self._line_bytes_max,
            undo_limit=_UNDO_MAX,
            kill_buffer=deque(maxlen=1),
            text_completer=self._replacements,
        )

    @property
    def widget(self) -> Edit:
        """What shows the text, in as many rows as it needs."""
        return self._edit

    @property
    def text(self) -> str:
        """What has been typed."""
        return str(self._edit.edit_text)

    @text.setter
    def text(self, text: str) -> None:
        self._replace(text[: self._line_bytes_max])

    @property
    def choices(self) -> tuple[tuple[str, ...], int]:
        """The words Tab goes through at the moment, and which one is taken; -1: none of them."""
        if self._edit.completion_cycle is None:
            return (), -1
        return self._choices, self._edit.completion_cycle[1] - 1

    def press(self, key: str | Pasted) -> Outcome | None:
        """Do what a key does; what is left undone concerns others than the text. Enter is one of those."""
        match key:
            case "up" | "down":
                if self._edit.keypress((self.columns,), key) is not None:
                    self._recall(-1 if key == "up" else 1)
            case "tab" | "shift tab":
                self._edit.keypress((self.columns,), key)
            case "enter":
                return None
            case _:
                outcome = super().press(key)
                self._too_long = False  # whoever types sees the size
                return outcome
        return None

    def paste(self, text: str) -> bool:
        """Insert a text at once, but for the line end behind its last line; False: there is no room for it."""
        before = self.text
        block = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
        self.press(Pasted(block))
        return self.text != before or not block

    def take(self) -> str:
        """The text, which was entered or cleared: it is remembered, and gone from here."""
        line = self._enter()
        return line if isinstance(line, str) else ""

    def snapshot(self) -> Snapshot:
        """What there is now, for `restore`."""
        return Snapshot(self.text, self._edit.edit_pos)

    def restore(self, snapshot: Snapshot) -> None:
        """Make it as it was."""
        self._edit.set_edit_text(snapshot.text, edit_pos=snapshot.position)

    def _insert(self, text: str) -> None:
        self._edit.keypress(_ANY_SIZE, _Whole(text))

    def _enter(self) -> str | TooLong:
        text = self.text
        if text.strip() and self._recalled[-1:] != [text]:
            self._recalled = [*self._recalled, text][-RECALLED_MAX:]
        self._replace("")
        self._draft = ""
        return text

    def _replacements(self, text: str, cursor: int) -> Sequence[tuple[str, int]]:
        """What Tab makes of the line: as far as all possible words agree, or else one after the other."""
        head, line_end, line = text[:cursor].rpartition("\n")
        words = list(dict.fromkeys(self._complete(line)))[:CHOICES_MAX]
        begun = line[line.rfind(" ") + 1 :]
        before, after = head + line_end + line[: len(line) - len(begun)], text[cursor:]
        common = _common_beginning(words)
        if len(words) > 1 and len(common) > len(begun):
            words = [common]
        self._choices = tuple(word.rstrip(" :") for word in words)
        found = [(before + word + after, len(before + word)) for word in words]
        return [] if any(len(whole) > self._line_bytes_max for whole, _ in found) else found


def seen_as(char: str) -> str:
    """One column for each character that has no shape of its own."""
    if char == "\n" or (char.isascii() and char.isprintable()):
        return char
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    return char if safe_line(char) == char else "\ufffd"


class _Whole(str):
    """Several characters that the widget is to take as if they were one key, so that one undo takes them back."""

    __slots__ = ()


def _readline_keys() -> CommandMap:
    keys = CommandMap()
    keys.bind_readline()
    keys.bind(Command.WORD_LEFT, "ctrl left", "meta left")
    keys.bind(Command.WORD_RIGHT, "ctrl right", "meta right")
    keys.bind(Command.LEFT, "ctrl b")
    keys.bind(Command.RIGHT, "ctrl f")
    keys["home"], keys["end"] = Command.LINE_START, Command.LINE_END
    return keys


class _LineEdit(Edit):
    """urwid's editor with the keys of readline, and any character: what is in it is made safe where it is shown."""

    _command_map = _readline_keys()

    def valid_char(self, ch: str) -> bool:
        """One character is one that was typed, as all names of keys are longer."""
        return len(ch) == 1 or isinstance(ch, _Whole)


class _RowsEdit(_LineEdit):
    """The same with rows, and with one character in the place of each that has no shape."""

    def __init__(self, stand_in: Callable[[str], str], **more: Any) -> None:
        self._stand_in = stand_in
        super().__init__(**more)

    def get_text(self) -> tuple[str | bytes, list[tuple[Hashable, int]]]:
        """What is shown, as long as what is in it, so that the cursor stands where it should."""
        return loose_joiners("".join(map(self._stand_in, self.edit_text)), "\ufffd"), []


def _typed(text: str) -> str:
    return text.replace(_LINE_END, "\n")


def _cells(text: str) -> int:
    return calc_width(text, 0, len(text))


def _beginning(text: str, columns: int) -> str:
    """As much of a text as fits."""
    return text[: calc_text_pos(text, 0, len(text), columns)[0]]


def _common_beginning(words: Sequence[str]) -> str:
    """What all words begin with, in the letters of the first; case does not count."""
    first = words[0] if words else ""
    length = min(map(len, words), default=0)
    while any(word[:length].casefold() != first[:length].casefold() for word in words):
        length -= 1
    return first[:length]
