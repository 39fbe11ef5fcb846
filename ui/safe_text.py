"""Texts of others as a terminal may show them: nothing in them is ever executed or hidden; pure."""

import unicodedata

# Joiners belong to emoji sequences and to several scripts (Persian, Hindi); they move no cursor and turn no text round.
_JOINERS = "\u200c\u200d"
# Format characters that are seen: signs in front of Arabic, Syriac and Kaithi numbers.
_SEEN_FORMATS = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
_TAB = "    "


def _is_shown(char: str) -> bool:
    category = unicodedata.category(char)
    if category in ("Cc", "Cs", "Zl", "Zp"):
        return False
    return category != "Cf" or char in _JOINERS or char in _SEEN_FORMATS


def _visible(char: str) -> str:
    """`^[` for an escape, as `cat -v` shows it; `<U+202E>` for what has no such form."""
    code = ord(char)
    if code < 0x20 or code == 0x7F:
        return f"^{chr(code ^ 0x40)}"
    return f"<U+{code:04X}>"


def safe_line(text: str) -> str:
    """`text` as one line without control, direction or hidden characters; each is shown by its name instead.

    A tab becomes blanks; a line feed is shown like any other control character.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _is_shown(char) else _TAB if char == "\t" else _visible(char) for char in text)


def safe_lines(text: str) -> list[str]:
    """`text` cut at its line ends, each line as `safe_line` shows it; at least one line."""
    return [safe_line(line) for line in text.replace("\r\n", "\n").split("\n")]


def excerpt(text: str, chars_max: int) -> str:
    """The beginning of `text` as one safe line of at most `chars_max` characters, for a remark about it."""
    line = safe_line(" ".join(text.split()))
    return line if len(line) <= chars_max else line[: chars_max - 1] + "…"
