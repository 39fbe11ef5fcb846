"""Bytes from a terminal to the keys pressed and the text typed or pasted; pure."""

import codecs
import enum
from dataclasses import dataclass

_SEQUENCE_CHARS_MAX = 32  # an escape sequence longer than any a keyboard sends is thrown away
_PASTE_END = "\x1b[201~"
_CONSOLE_KEY = "\x1b[["  # how function keys of the Linux console begin; one more character will come


class Key(enum.Enum):
    """What a key does; several keys may do the same."""

    ENTER = enum.auto()
    TAB = enum.auto()
    INTERRUPT = enum.auto()
    END_OR_DELETE = enum.auto()  # Ctrl+D: the end of input on an empty line, else like DELETE
    BACKSPACE = enum.auto()
    DELETE = enum.auto()
    LEFT = enum.auto()
    RIGHT = enum.auto()
    WORD_LEFT = enum.auto()
    WORD_RIGHT = enum.auto()
    HOME = enum.auto()
    END = enum.auto()
    UP = enum.auto()
    DOWN = enum.auto()
    CUT_BEFORE = enum.auto()
    CUT_AFTER = enum.auto()
    CUT_WORD_BEFORE = enum.auto()
    CUT_WORD_AFTER = enum.auto()
    PUT_BACK = enum.auto()
    SWAP = enum.auto()
    CLEAR_SCREEN = enum.auto()


@dataclass(frozen=True, slots=True)
class Text:
    """Characters to insert; a paste may have any control character among them, Alt+Enter is a line end."""

    chars: str


# The keys of readline's and every shell's emacs mode; the terminal turns Enter's CR into LF.
_CONTROLS = {
    "\r": Key.ENTER,
    "\n": Key.ENTER,
    "\t": Key.TAB,
    "\x01": Key.HOME,
    "\x02": Key.LEFT,
    "\x03": Key.INTERRUPT,
    "\x04": Key.END_OR_DELETE,
    "\x05": Key.END,
    "\x06": Key.RIGHT,
    "\x08": Key.BACKSPACE,
    "\x0b": Key.CUT_AFTER,
    "\x0c": Key.CLEAR_SCREEN,
    "\x0e": Key.DOWN,
    "\x10": Key.UP,
    "\x14": Key.SWAP,
    "\x15": Key.CUT_BEFORE,
    "\x17": Key.CUT_WORD_BEFORE,
    "\x19": Key.PUT_BACK,
    "\x7f": Key.BACKSPACE,
}
_ALTS = {
    "b": Key.WORD_LEFT,
    "f": Key.WORD_RIGHT,
    "d": Key.CUT_WORD_AFTER,
    "\x7f": Key.CUT_WORD_BEFORE,
    "\x08": Key.CUT_WORD_BEFORE,
}
_ARROWS = {"A": Key.UP, "B": Key.DOWN, "C": Key.RIGHT, "D": Key.LEFT, "H": Key.HOME, "F": Key.END}
_WORD_ARROWS = {"C": Key.WORD_RIGHT, "D": Key.WORD_LEFT}
_NUMBERED = {"1": Key.HOME, "7": Key.HOME, "4": Key.END, "8": Key.END, "3": Key.DELETE}


class KeyReader:
    """Reads keys; what is cut in the middle waits for its rest, so a lone Escape makes Alt of the next key."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._sequence = ""  # of an escape sequence, what has come of it
        self._pasting = False
        self._text = ""
        self._keys: list[Key | Text] = []

    def feed(self, data: bytes) -> list[Key | Text]:
        """The keys that `data` completes. Bytes that are no UTF-8 become lone surrogates."""
        self._keys = []
        for char in self._decoder.decode(data):
            if self._pasting:
                self._paste(char)
            elif self._sequence:
                self._continue(char)
            elif char == "\x1b":
                self._sequence = char
            elif char < " " or char == "\x7f":
                self._press(_CONTROLS.get(char))
            else:
                self._text += char
        self._flush()
        return self._keys

    def _paste(self, char: str) -> None:
        """Pasted text goes on until its end mark, whose beginning may also just be text."""
        self._sequence += char
        if self._sequence == _PASTE_END:
            self._sequence, self._pasting = "", False
        while self._sequence and not _PASTE_END.startswith(self._sequence):
            self._text += self._sequence[0]
            self._sequence = self._sequence[1:]

    def _continue(self, char: str) -> None:
        """One more character of an escape sequence: ESC, then `[` or `O` with what belongs to it, or a key for Alt."""
        if char == "\x1b":
            self._sequence = char
        elif len(self._sequence) == 1 and char in "[O":
            self._sequence += char
        elif len(self._sequence) == 1:
            self._sequence = ""
            if char in "\r\n":
                self._text += "\n"  # Alt+Enter: a line end in the text
            self._press(_ALTS.get(char.lower()))
        elif len(self._sequence) < _SEQUENCE_CHARS_MAX and (
            char in "0123456789;:<=>?" or self._sequence + char == _CONSOLE_KEY
        ):
            self._sequence += char
        else:
            arguments, self._sequence = self._sequence[2:], ""
            self._end_sequence(arguments, char)

    def _end_sequence(self, arguments: str, final: str) -> None:
        number, _, modifier = arguments.partition(";")
        if final == "~" and number == "200":
            self._flush()
            self._pasting = True
        elif number == "[":
            pass  # a function key, of which none has a meaning
        elif final == "~":
            self._press(_NUMBERED.get(number))
        elif modifier or final.islower():  # Ctrl or Alt and an arrow, as xterm or rxvt say it
            self._press(_WORD_ARROWS.get(final.upper()))
        else:
            self._press(_ARROWS.get(final))

    def _press(self, key: Key | None) -> None:
        if key is not None:
            self._flush()
            self._keys.append(key)

    def _flush(self) -> None:
        if self._text:
            self._keys.append(Text(self._text))
            self._text = ""
