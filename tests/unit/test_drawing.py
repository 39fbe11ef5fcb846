"""scripts.drawing: a terminal's screen as SVG is well-formed, true to colours and widths, and can be played."""

import xml.etree.ElementTree as ET

import pyte

from scripts import drawing

NS = "{http://www.w3.org/2000/svg}"


def screen(text: str, columns: int = 20, rows: int = 3) -> pyte.Screen:
    shown = pyte.Screen(columns, rows)
    pyte.Stream(shown).feed(text)
    return shown


def texts(svg: str) -> list[tuple[str, str | None]]:
    """Each text with its colour."""
    return [(one.text or "", one.get("fill")) for one in ET.fromstring(svg).iter(f"{NS}text")]


def test_a_picture_has_each_run_of_the_screen_in_its_colour() -> None:
    rows = drawing.rows_of(screen("plain \x1b[31mred\x1b[0m"))
    svg = drawing.picture(rows, 20, "a title")
    assert texts(svg) == [("plain ", drawing.FOREGROUND), ("red", drawing.COLOURS["red"])]


def test_what_means_something_in_xml_is_text() -> None:
    svg = drawing.picture(drawing.rows_of(screen("<b> & </b>")), 20, "<title>")
    assert texts(svg)[0][0].strip() == "<b> & </b>"


def test_a_wide_character_takes_two_cells_and_what_follows_stays_in_its_column() -> None:
    [first, *_] = drawing.rows_of(screen("日x"))
    wide, after = first[0], first[1]
    assert (wide.text, wide.column, wide.cells) == ("日", 0, 2)
    assert (after.text.strip(), after.column) == ("x", 2)


def test_the_cursor_and_reversed_text_have_a_ground() -> None:
    rows = drawing.rows_of(screen("\x1b[7mbar\x1b[0m"))
    grounds = [(run.text, run.ground) for run in rows[0]]
    assert grounds == [("bar ", drawing.FOREGROUND)], "the text, and the cursor behind it"
    assert drawing.picture(rows, 20, "t").count("<rect") == 2, "the whole, and one bar"


def test_a_film_shows_each_screen_from_its_second_on_and_draws_a_row_once() -> None:
    one, two = drawing.rows_of(screen("one")), drawing.rows_of(screen("one\r\ntwo"))
    svg = drawing.film([(0.0, one), (1.5, two)], 3.0, 20, "t")
    root = ET.fromstring(svg)
    style = root.find(f"{NS}style")
    assert style is not None
    assert style.text is not None
    height = 3 * drawing.CELL_HEIGHT + 2 * drawing.MARGIN
    assert "0.000%{transform:translateY(0px)}" in style.text
    assert f"50.000%{{transform:translateY(-{height}px)}}" in style.text
    defined = [group.get("id") for group in root.iter(f"{NS}g") if group.get("id")]
    assert len(defined) == len({row for rows in (one, two) for row in rows if row})
    assert {use.get("href", "")[1:] for use in root.iter(f"{NS}use")} == set(defined)
