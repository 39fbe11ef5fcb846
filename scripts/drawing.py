"""Screens of a terminal as SVG: one as a picture, many as a film."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import pyte

CELL_WIDTH, CELL_HEIGHT, FONT_SIZE, MARGIN = 8, 18, 13.3, 14
BACKGROUND, FOREGROUND = "#16181d", "#d4d7dd"
FONT = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
# What the sixteen names of a terminal look like here; anything else is six hexadecimal digits.
COLOURS = {
    "black": "#22252b",
    "red": "#e06c75",
    "green": "#98c379",
    "brown": "#d9b36c",
    "blue": "#6aa7f0",
    "magenta": "#c98be0",
    "cyan": "#5fb8c4",
    "white": "#b9bec8",
    "brightblack": "#7a818e",
    "brightred": "#ff8f98",
    "brightgreen": "#b6e39b",
    "brightbrown": "#f2d08c",
    "brightyellow": "#f2d08c",
    "brightblue": "#93c3ff",
    "brightmagenta": "#e2b0f5",
    "brightcyan": "#8fdbe5",
    "brightwhite": "#ffffff",
}


@dataclass(frozen=True, slots=True)
class Run:
    """Cells of one row that look the same, from `column` on, `cells` wide."""

    column: int
    cells: int
    text: str
    colour: str
    ground: str
    is_bold: bool


Row = tuple[Run, ...]


def rows_of(screen: pyte.Screen) -> tuple[Row, ...]:
    """What is on the screen, the cursor included."""
    return tuple(_row(screen, y) for y in range(screen.lines))


def _row(screen: pyte.Screen, y: int) -> Row:
    runs: list[Run] = []
    for x in range(screen.columns):
        cell = screen.buffer[y][x]
        if not cell.data:
            continue  # the second half of a wide character
        is_cursor = not screen.cursor.hidden and (screen.cursor.y, screen.cursor.x) == (y, x)
        colour, ground = _colour(cell.fg, FOREGROUND), _colour(cell.bg, BACKGROUND)
        if cell.reverse != is_cursor:
            colour, ground = ground, colour
        wide = x + 1 < screen.columns and not screen.buffer[y][x + 1].data
        last = runs[-1] if runs else None
        alike = last is not None and (last.colour, last.ground, last.is_bold) == (colour, ground, cell.bold)
        if last is not None and alike and cell.data.isascii() and last.text.isascii():
            runs[-1] = Run(last.column, last.cells + 1, last.text + cell.data, colour, ground, cell.bold)
        else:
            runs.append(Run(x, 1 + wide, cell.data, colour, ground, cell.bold))
    return tuple(run for run in runs if run.text.strip() or run.ground != BACKGROUND)


def _colour(name: str, default: str) -> str:
    if name == "default":
        return default
    return COLOURS.get(name, f"#{name}")


def picture(rows: Sequence[Row], columns: int, title: str) -> str:
    """One screen."""
    body = "".join(_row_svg(row, y) for y, row in enumerate(rows))
    return _frame(columns, len(rows), title, "", f'<g transform="translate({MARGIN},{MARGIN})">{body}</g>')


def film(frames: Sequence[tuple[float, Sequence[Row]]], end_s: float, columns: int, title: str) -> str:
    """Screens one after the other, each from its second on until the next; after `end_s` it begins again."""
    known: dict[Row, str] = {}
    for _, rows in frames:
        for row in rows:
            if row and row not in known:
                known[row] = f"r{len(known)}"
    defs = "".join(f'<g id="{name}">{_row_svg(row, 0)}</g>' for row, name in known.items())
    height = len(frames[0][1]) * CELL_HEIGHT + 2 * MARGIN
    steps = "".join(
        f"{100 * at_s / end_s:.3f}%{{transform:translateY({-number * height}px)}}"
        for number, (at_s, _) in enumerate(frames)
    )
    style = f"@keyframes roll{{{steps}}}.film{{animation:roll {end_s:.2f}s step-end infinite}}"
    reels = "".join(
        f'<g transform="translate({MARGIN},{number * height + MARGIN})">'
        + "".join(f'<use href="#{known[row]}" y="{y * CELL_HEIGHT}"/>' for y, row in enumerate(rows) if row)
        + "</g>"
        for number, (_, rows) in enumerate(frames)
    )
    body = f'<defs>{defs}</defs><g class="film">{reels}</g>'
    return _frame(columns, len(frames[0][1]), title, style, body)


def _row_svg(row: Row, y: int) -> str:
    top = y * CELL_HEIGHT
    grounds = "".join(
        f'<rect x="{column * CELL_WIDTH}" y="{top}" width="{cells * CELL_WIDTH}" height="{CELL_HEIGHT}"'
        f' fill="{ground}" shape-rendering="crispEdges"/>'
        for column, cells, ground in _same_ground(row)
    )
    texts = "".join(
        f'<text x="{run.column * CELL_WIDTH}" y="{top + CELL_HEIGHT - 5}" fill="{run.colour}"'
        f"{' font-weight=' + chr(34) + 'bold' + chr(34) if run.is_bold else ''}"
        f' textLength="{run.cells * CELL_WIDTH}" lengthAdjust="spacingAndGlyphs">{escape(run.text)}</text>'
        for run in row
        if run.text.strip()
    )
    return grounds + texts


def _same_ground(row: Row) -> list[tuple[int, int, str]]:
    """Cells side by side with the same ground: first column, how many, the ground."""
    found: list[tuple[int, int, str]] = []
    for run in row:
        column, cells, ground = found[-1] if found else (0, 0, "")
        if ground == run.ground and column + cells == run.column:
            found[-1] = (column, cells + run.cells, ground)
        else:
            found.append((run.column, run.cells, run.ground))
    return [one for one in found if one[2] != BACKGROUND]


def _frame(columns: int, rows: int, title: str, style: str, body: str) -> str:
    width, height = columns * CELL_WIDTH + 2 * MARGIN, rows * CELL_HEIGHT + 2 * MARGIN
    base = f"text{{font:{FONT_SIZE}px {FONT};white-space:pre}}{style}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" role="img"><title>{escape(title)}</title><style>{base}</style>'
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>{body}</svg>\n'
    )
