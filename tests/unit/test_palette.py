"""ui.palette: colours that can be read, themes and characters as the terminal can show them."""

import re
from collections.abc import Mapping

import pytest
import urwid
from hypothesis import given
from hypothesis import strategies as st

from ui import palette
from ui.palette import DARK, EITHER, LIGHT, MONO, NICK_COLOURS, NICKS

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
Colour = tuple[int, int, int]


def rgb(name: str) -> Colour:
    """A colour of 256 as xterm shows it."""
    red, green, blue = urwid.AttrSpec(name, "default", 256).get_rgb_values()[:3]
    assert red is not None and green is not None and blue is not None
    return red, green, blue


def contrast(one: Colour, other: Colour) -> float:
    """As WCAG 2 defines it: from 1 to 21."""

    def light(colour: Colour) -> float:
        parts = [value / 255 for value in colour]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    brighter, darker = sorted([light(one), light(other)], reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize(
    ("theme", "backgrounds", "least"),
    [(DARK, [BLACK, (40, 40, 40)], 4.5), (LIGHT, [WHITE, (240, 235, 220)], 3.7), (EITHER, [BLACK, WHITE], 2.5)],
)
def test_nicks_can_be_read_on_the_backgrounds_of_a_theme(theme: str, backgrounds: list[Colour], least: float) -> None:
    assert len(NICKS[theme]) == NICK_COLOURS
    assert len({high for _, high in NICKS[theme]}) == NICK_COLOURS
    for _, high in NICKS[theme]:
        for background in backgrounds:
            assert contrast(rgb(high), background) >= least, high


@pytest.mark.parametrize("theme", [DARK, LIGHT, EITHER, MONO])
def test_every_theme_has_the_same_attributes_and_colours_urwid_knows(theme: str) -> None:
    entries = palette.palette(theme)
    names = [entry[0] for entry in entries]
    assert len(set(names)) == len(names)
    assert set(names) == {entry[0] for entry in palette.palette(DARK)}
    for name, fore, back, mono, fore_high, back_high in entries:
        urwid.AttrSpec(fore, back, 16)
        urwid.AttrSpec(fore_high, back_high, 256)
        assert mono == "" or urwid.AttrSpec(mono, "default", 1)
        if name.startswith("status"):
            assert "standout" in mono


def test_the_status_line_can_be_read_in_every_theme() -> None:
    for theme in (DARK, LIGHT):
        for name, _, _, _, fore, back in palette.palette(theme):
            if name.startswith("status"):
                assert contrast(rgb(fore.partition(",")[0]), rgb(back)) >= 3, (theme, name)


def test_without_colours_there_are_none() -> None:
    for _, fore, back, mono, fore_high, back_high in palette.palette(MONO):
        assert not re.search("red|green|blue|cyan|magenta|brown|yellow|gray|black|white|h[0-9]", fore + back + mono)
        assert fore_high == fore and back_high == back


def test_a_nick_keeps_its_colour_whatever_its_case() -> None:
    assert palette.nick_attribute("Ana") == palette.nick_attribute("ana") == "nick.7"
    found = {palette.nick_attribute(f"person{number}") for number in range(200)}
    assert found == {f"nick.{number}" for number in range(NICK_COLOURS)}


@pytest.mark.parametrize(
    ("setting", "colors", "environment", "theme"),
    [
        ("auto", "auto", {}, EITHER),
        ("auto", "auto", {"COLORFGBG": "15;0"}, DARK),
        ("auto", "auto", {"COLORFGBG": "15;default;0"}, DARK),
        ("auto", "auto", {"COLORFGBG": "0;15"}, LIGHT),
        ("auto", "auto", {"COLORFGBG": "0;7"}, LIGHT),
        ("auto", "auto", {"COLORFGBG": "12;8"}, DARK),
        ("auto", "auto", {"COLORFGBG": "nonsense"}, EITHER),
        ("auto", "auto", {"COLORFGBG": "0;default"}, EITHER),
        ("auto", "auto", {"COLORFGBG": "0;99"}, EITHER),
        ("light", "auto", {"COLORFGBG": "15;0"}, LIGHT),
        ("dark", "256", {}, DARK),
        ("mono", "256", {}, MONO),
        ("dark", "never", {}, MONO),
        ("dark", "auto", {"NO_COLOR": "1"}, MONO),
        ("dark", "256", {"NO_COLOR": "1"}, DARK),
        ("auto", "auto", {"NO_COLOR": ""}, EITHER),
    ],
)
def test_the_theme_is_as_set_else_as_the_terminal_tells(
    setting: str, colors: str, environment: Mapping[str, str], theme: str
) -> None:
    assert palette.theme_of(setting, colors, environment) == theme


@pytest.mark.parametrize(
    ("setting", "theme", "terminal", "colors"),
    [
        ("auto", DARK, 256, 256),
        ("auto", DARK, 2**24, 256),
        ("auto", DARK, 88, 16),
        ("auto", DARK, 16, 16),
        ("auto", DARK, 1, 1),
        ("16", DARK, 256, 16),
        ("256", DARK, 16, 256),
        ("256", MONO, 256, 1),
    ],
)
def test_as_many_colours_as_the_terminal_has_unless_set(setting: str, theme: str, terminal: int, colors: int) -> None:
    assert palette.colors_of(setting, theme, terminal) == colors


@pytest.mark.parametrize(
    ("environment", "charset"),
    [
        ({}, "utf-8"),
        ({"LANG": "en_US.UTF-8"}, "utf-8"),
        ({"LANG": "en_US"}, "utf-8"),
        ({"LANG": "C"}, "ascii"),
        ({"LANG": "POSIX"}, "ascii"),
        ({"LANG": "C.UTF-8"}, "utf-8"),
        ({"LC_ALL": "", "LC_CTYPE": "", "LANG": "C"}, "ascii"),
        ({"LC_ALL": "C", "LANG": "en_US.UTF-8"}, "ascii"),
        ({"LC_CTYPE": "en_US.utf8", "LANG": "C"}, "utf-8"),
        ({"LANG": "de_DE.ISO-8859-1"}, "iso8859-1"),
        ({"LANG": "de_DE.ISO-8859-15@euro"}, "iso8859-15"),
        ({"LANG": "ja_JP.eucJP"}, "ascii"),
        ({"LANG": "ja_JP.SJIS"}, "ascii"),
        ({"LANG": "x.rot13"}, "ascii"),
        ({"LANG": "x.nonsense"}, "ascii"),
        ({"LANG": "x.\x00"}, "ascii"),
    ],
)
def test_the_charset_is_that_of_the_locale_that_counts(environment: Mapping[str, str], charset: str) -> None:
    assert palette.charset_of(environment) == charset


@pytest.mark.parametrize(
    ("text", "charset", "shown"),
    [
        ("é 日本 👩‍👩‍👧", "utf-8", "é 日本 👩‍👩‍👧"),
        ("é 日本", "ascii", "? ??"),
        ("e\u0301 x\u0323", "iso8859-1", "é x"),
        ("“so” … it’s –", "ascii", '"so" ... it\'s -'),
        ("👩‍👩‍👧", "ascii", "???"),
    ],
)
def test_what_a_charset_lacks_is_spelled_otherwise(text: str, charset: str, shown: str) -> None:
    assert palette.in_charset(text, charset) == shown


@given(st.text(), st.sampled_from(["ascii", "iso8859-1", "koi8-r"]))
def test_a_charset_can_show_what_is_left_of_any_text(text: str, charset: str) -> None:
    palette.in_charset(text, charset).encode(charset)


def test_plain_signs_are_ascii_and_all_are_as_wide_as_they_should() -> None:
    for signs in (palette.FINE, palette.ASCII):
        for name in palette.Signs.__dataclass_fields__:
            sign = getattr(signs, name)
            width = urwid.calc_width(sign, 0, len(sign))
            assert width == 1 or (width == 2 and name in ("queued", "delivered", "failed", "committed", "sent"))
            assert signs is palette.FINE or sign.isascii()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\u200db", "a+b"),
        ("\u200d", "+"),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("👩🏽\u200d🚀", "👩🏽\u200d🚀"),
        ("❤\ufe0f\u200d🔥", "❤\ufe0f\u200d🔥"),
        ("👨\u200d👩\u200d👧\u200d👦", "👨\u200d👩\u200d👧\u200d👦"),
        ("👨\u200d👩\u200d👧\u200d👦\u200d👦", "👨\u200d👩\u200d👧\u200d👦+👦"),
        ("👩\u200dx", "👩+x"),
        ("👩\u200d\u200d🚀", "👩++🚀"),
    ],
)
def test_a_joiner_stays_only_where_it_makes_one_emoji_of_its_neighbours(text: str, shown: str) -> None:
    assert palette.loose_joiners(text, "+") == shown
