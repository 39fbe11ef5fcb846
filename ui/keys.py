"""Bytes from a terminal to the keys pressed and the text pasted, by urwid's decoder; pure."""

import codecs
from collections.abc import Callable
from dataclasses import dataclass

import urwid
from urwid.display.escape import MoreInputRequired, process_keyqueue

_ESCAPE, _ASCII_END = 0x1B, 0x80
_C1_END = 0xA0  # below are control characters, which nobody types
_LONE = 0xDC00  # with a byte added: how Python writes one that is no character
_ALT = "meta "
_PASTE_END = b"\x1b[201~"
PASTE_BYTES_MAX = 65_536  # chosen: of a paste without end so much is waited for; no line is so long
UNREADABLE = "<unreadable>"  # the key for a byte of which no character can be made; behind `meta ` too


@dataclass(frozen=True, slots=True)
class Pasted:
    """Text to insert as it is, whatever is in it. Bytes of which no character can be made are lone surrogates.

    `is_cut`: it was too much for once; the next one is the rest of it.
    """

    text: str
    is_cut: bool = False


class KeyReader:
    """Reads keys as urwid names them ("a", "ctrl a", "meta backspace"), and whole pastes.

    What is cut in the middle waits for its rest, so a lone Escape makes Alt of the next key. Whatever is UTF-8 is read
    as that: nearly all terminals send it, also where a locale says otherwise.
    """

    def __init__(self, charset: str = "utf-8") -> None:
        """`charset`: of what is shown, by which urwid counts columns from now on, and of what is typed but no UTF-8.

        One byte of it is one character, unless it is UTF-8.
        """
        urwid.set_encoding(charset)
        self._charset = charset
        self._waiting: list[int] = []
        self._pasting = False

    @property
    def is_waiting(self) -> bool:
        """A character or a key has begun, and its rest has not come: if nothing does, `rest` has what it was."""
        return bool(self._waiting) and not self._pasting

    def feed(self, data: bytes, *, is_whole: bool = False) -> list[str | Pasted]:
        """The keys that `data` completes; reports of the terminal and of its mouse are left out.

        `is_whole`: no key is cut in the middle, as somebody has waited for the rest already. A paste may be, and so may
        a character of several bytes.
        """
        return self._read(data, is_key_whole=is_whole, is_character_whole=False)

    def rest(self) -> list[str | Pasted]:
        """What came so far is all there is to come for now: the keys that makes."""
        return self._read(b"", is_key_whole=True, is_character_whole=True)

    def _read(self, data: bytes, *, is_key_whole: bool, is_character_whole: bool) -> list[str | Pasted]:
        codes, keys = [*self._waiting, *data], list[str | Pasted]()
        try:
            while codes:
                if self._pasting:
                    pasted, codes = self._paste(bytes(codes))
                    keys.append(pasted)
                    continue
                found, codes = self._character(codes, is_character_whole) or process_keyqueue(codes, not is_key_whole)
                names = [key for key in found if isinstance(key, str)]
                self._pasting = any(name.endswith("begin paste") for name in names)  # even as "meta begin paste"
                if not self._pasting:
                    keys += names
        except MoreInputRequired:
            pass
        self._waiting = codes
        return keys

    def _character(self, codes: list[int], is_whole: bool) -> tuple[list[str], list[int]] | None:
        """The character that comes next, if it is none of ASCII, with the Escapes before it; and what is left.

        To urwid's decoder a character would be what the charset of the screen makes of its bytes.
        """
        escapes = next((index for index, code in enumerate(codes) if code != _ESCAPE), len(codes))
        if escapes == len(codes) or codes[escapes] < _ASCII_END:
            return None
        char, length = self._decode(bytes(codes[escapes : escapes + 4]), is_whole)
        keys = ["esc"] * (escapes - 1) + [f"{_ALT}{char}" if escapes else char]
        return keys, codes[escapes + length :]

    def _decode(self, data: bytes, is_whole: bool) -> tuple[str, int]:
        """The first character, or UNREADABLE, and of how many bytes it is."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            for length in range(1, len(data) + 1):
                if char := decoder.decode(data[length - 1 : length]):
                    return char, length
            if not is_whole:
                raise MoreInputRequired
        except UnicodeDecodeError:
            pass
        char = self._in_charset(data[0])
        return UNREADABLE if is_lone(char) else char, 1

    def _in_charset(self, code: int) -> str:
        """The character that a byte which is no UTF-8 is in the charset; a lone surrogate where that has none."""
        char = bytes([code]).decode(self._charset, errors="surrogateescape")
        return char if ord(char) >= _C1_END else chr(_LONE + code)

    def _paste(self, data: bytes) -> tuple[Pasted, list[int]]:
        """Pasted text up to its end mark is taken as it comes: to the decoder, part of it could look like keys."""
        text, mark, rest = data.partition(_PASTE_END)
        if not mark:
            if len(data) < PASTE_BYTES_MAX:
                raise MoreInputRequired
            kept = len(data) - len(_PASTE_END) + 1
            text, rest = data[:kept], data[kept:]
        self._pasting = not mark
        found = text.decode(errors="surrogateescape")
        if self._charset != "utf-8":
            found = "".join(self._in_charset(ord(char) - _LONE) if is_lone(char) else char for char in found)
        return Pasted(found, is_cut=not mark), list(rest)


def is_lone(char: str) -> bool:
    """It is no character, but stands for a byte of which none could be made."""
    return "\udc80" <= char <= "\udcff"


def apart(key: str | Pasted, is_known: Callable[[str], bool]) -> list[str | Pasted]:
    """The keys that were pressed: Alt and a character is Escape and then that, unless it is known to do something.

    Terminals send the same for both, and a character is not to be lost because Escape was pressed just before it.
    """
    if isinstance(key, Pasted):
        return [key]
    typed = key.removeprefix(_ALT)
    return ["esc", typed] if typed != key and len(typed) == 1 and not is_known(key) else [key]
