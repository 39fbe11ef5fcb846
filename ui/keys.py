"""Bytes from a terminal to the keys pressed and the text pasted, by urwid's decoder; pure."""

from dataclasses import dataclass

import urwid
from urwid.display.escape import MoreInputRequired, process_keyqueue

_PASTE_END = b"\x1b[201~"
PASTE_BYTES_MAX = 65_536  # chosen: of a paste without end so much is waited for; no line is so long


@dataclass(frozen=True, slots=True)
class Pasted:
    """Text to insert as it is, whatever is in it. Bytes that are no UTF-8 are lone surrogates.

    `is_cut`: it was too much for once; the next one is the rest of it.
    """

    text: str
    is_cut: bool = False


class KeyReader:
    """Reads keys as urwid names them ("a", "ctrl a", "meta backspace"), and whole pastes.

    What is cut in the middle waits for its rest, so a lone Escape makes Alt of the next key.
    """

    def __init__(self, charset: str = "utf-8") -> None:
        """`charset`: of what is typed; whatever the locale says, lines of the line client are UTF-8."""
        urwid.set_encoding(charset)
        self._charset = charset
        self._waiting: list[int] = []
        self._pasting = False

    def feed(self, data: bytes, *, is_whole: bool = False) -> list[str | Pasted]:
        """The keys that `data` completes; reports of the terminal and of its mouse are left out.

        `is_whole`: no key is cut in the middle, as somebody has waited for the rest already. A paste may be.
        """
        codes, keys = [*self._waiting, *data], list[str | Pasted]()
        try:
            while codes:
                if self._pasting:
                    pasted, codes = self._paste(bytes(codes))
                    keys.append(pasted)
                    continue
                found, codes = process_keyqueue(codes, more_available=not is_whole)
                names = [key for key in found if isinstance(key, str)]
                self._pasting = any(name.endswith("begin paste") for name in names)  # even as "meta begin paste"
                if not self._pasting:
                    keys += names
        except MoreInputRequired:
            pass
        self._waiting = codes
        return keys

    def _paste(self, data: bytes) -> tuple[Pasted, list[int]]:
        """Pasted text up to its end mark is taken as it comes: to the decoder, part of it could look like keys."""
        text, mark, rest = data.partition(_PASTE_END)
        if not mark:
            if len(data) < PASTE_BYTES_MAX:
                raise MoreInputRequired
            kept = len(data) - len(_PASTE_END) + 1
            text, rest = data[:kept], data[kept:]
        self._pasting = not mark
        return Pasted(text.decode(self._charset, errors="surrogateescape"), is_cut=not mark), list(rest)
