"""A text as a QR code for a terminal, whatever its background; pure."""

import segno

_BORDER = 2  # light modules around it. The standard wants 4; that many do not fit a screen of 24 rows
_DARK_ON_LIGHT = "\x1b[30;47m"
_PLAIN = "\x1b[0m"
_HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


def code_lines(text: str) -> list[str]:
    """Lines of characters, two modules above each other in each: dark ones drawn, on a light ground of their own."""
    modules = segno.make(text, error="l", micro=False, boost_error=False)
    rows = [[bool(module) for module in row] for row in modules.matrix_iter(border=_BORDER)]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    return [
        _DARK_ON_LIGHT + "".join(_HALVES[pair] for pair in zip(upper, lower, strict=True)) + _PLAIN
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    ]


def columns_of(lines: list[str]) -> int:
    """How many columns of the terminal such lines take."""
    return len(lines[0].removeprefix(_DARK_ON_LIGHT).removesuffix(_PLAIN))
