"""ui.keys: whatever a terminal sends, in whatever pieces, is keys and pasted text."""

import pytest
import urwid
from hypothesis import given
from hypothesis import strategies as st

from ui.keys import PASTE_BYTES_MAX, UNREADABLE, KeyReader, Pasted, apart, is_lone


def keys(*pieces: bytes) -> list[str | Pasted]:
    reader = KeyReader()
    return [key for piece in pieces for key in reader.feed(piece)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("né日".encode(), ["n", "é", "日"]),
        (b"a\rb\n", ["a", "enter", "b", "enter"]),
        (b"\t\x7f\x08", ["tab", "backspace", "backspace"]),
        (b"\x01\x03\x04\x1f", ["ctrl a", "ctrl c", "ctrl d", "ctrl _"]),
        (b"\x1b[A\x1b[B\x1bOC\x1bOD", ["up", "down", "right", "left"]),
        (b"\x1bOH\x1b[F\x1b[1~\x1b[4~\x1b[7~\x1b[8~", ["home", "end"] * 3),
        (b"\x1b[1;5C\x1b[1;3D", ["ctrl right", "meta left"]),
        (b"\x1bb\x1bd\x1b\x7f", ["meta b", "meta d", "meta backspace"]),
        (b"a\x1b\rb", ["a", "meta enter", "b"]),
        (b"\x1b[<0;3;4M\x1b[3;4Rx", ["x"]),  # reports
    ],
)
def test_a_key_has_the_name_that_urwid_gives_it(data: bytes, expected: list[str]) -> None:
    assert keys(data) == expected


def test_a_paste_is_text_whatever_is_in_it() -> None:
    nasty = "one\ntwo\té\x03\x1b[31m\x1b[M\x1b]0;t\x1b"
    assert keys(b"\x1b[200~", nasty.encode(), b"\x1b[201~\r") == [Pasted(nasty), "enter"]
    assert keys(b"\x1b[200~x\x1b[20\x1b[201~y") == [Pasted("x\x1b[20"), "y"]
    assert keys(b"\x1b[200~\xff\x1b[201~") == [Pasted("\udcff")]
    assert keys(b"\x1b\x1b[200~enter\x1b[201~") == [Pasted("enter")]


def test_a_paste_is_whole_unless_it_has_no_end() -> None:
    assert keys(b"\x1b[200~begun") == []
    first, last = keys(b"\x1b[200~" + b"x" * PASTE_BYTES_MAX, b"y\x1b[201~")
    assert first == Pasted("x" * (PASTE_BYTES_MAX - 5), is_cut=True)
    assert last == Pasted("x" * 5 + "y")


def test_a_lone_escape_makes_alt_of_the_next_key() -> None:
    assert keys(b"\x1b", b"b") == ["meta b"]


def test_what_is_whole_is_not_waited_for() -> None:
    reader = KeyReader()
    assert reader.feed(b"\x1b", is_whole=True) == ["esc"]
    assert reader.feed(b"b", is_whole=True) == ["b"]
    assert reader.feed(b"\x1b[200~half", is_whole=True) == []
    assert reader.feed(b" and half\x1b[201~", is_whole=True) == [Pasted("half and half")]


# Typed or pasted: UTF-8, what is none, one that is only a beginning, and "é" of Latin-1 with something behind it.
@pytest.mark.parametrize(
    ("charset", "data", "expected"),
    [
        ("ascii", "é日👩".encode(), ["é", "日", "👩"]),
        ("iso8859-1", "é日👩".encode(), ["é", "日", "👩"]),
        ("iso8859-1", b"\xe9t\xa0", ["é", "t", "\xa0"]),
        ("cp1251", b"\xe9\xff!", ["й", "я", "!"]),
        ("cp1252", b"\x80\x81", ["€", UNREADABLE]),
        ("iso8859-1", b"\x9b", [UNREADABLE]),
        ("ascii", b"\xe9t", [UNREADABLE, "t"]),
        ("utf-8", b"\xe2\x82t\xc0\x80", [UNREADABLE, UNREADABLE, "t", UNREADABLE, UNREADABLE]),
        ("ascii", "\x1bé\x1b\x1bé".encode(), ["meta é", "esc", "meta é"]),
        ("ascii", b"\x1b\xe9t", [f"meta {UNREADABLE}", "t"]),
    ],
)
@pytest.mark.parametrize("screen", ["utf-8", "ascii", "euc-jp"])
def test_a_character_is_utf8_or_else_of_the_charset_or_unreadable(
    charset: str, data: bytes, expected: list[str], screen: str
) -> None:
    with urwid.util.set_temporary_encoding("utf-8"):
        reader = KeyReader(charset)
        urwid.set_encoding(screen)  # by which columns are counted: that is another matter
        assert reader.feed(data, is_whole=True) == expected
        assert not reader.is_waiting


def test_a_paste_has_the_same_characters() -> None:
    with urwid.util.set_temporary_encoding("utf-8"):
        data = b"\x1b[200~" + "é日".encode() + b" \xe9t\x9b\x1b[201~"
        assert KeyReader("iso8859-1").feed(data) == [Pasted("é日 ét\udc9b")]
        assert KeyReader("ascii").feed(data) == [Pasted("é日 \udce9t\udc9b")]
    assert is_lone("\udce9") and not is_lone("é")


def test_a_character_that_is_cut_waits_for_its_rest_until_there_is_none() -> None:
    with urwid.util.set_temporary_encoding("utf-8"):
        reader = KeyReader("iso8859-1")
        assert reader.feed(b"\xc3", is_whole=True) == []
        assert reader.is_waiting
        assert reader.feed(b"\xa9", is_whole=True) == ["é"]
        assert reader.feed(b"a\xe9", is_whole=True) == ["a"]
        assert reader.rest() == ["é"]
        assert reader.rest() == []
        assert not reader.is_waiting
        assert reader.feed(b"\x1b") == []
        assert reader.rest() == ["esc"]
        assert reader.feed(b"\x1b[200~begun \xe9") == reader.rest() == []
        assert not reader.is_waiting, "nobody knows how long a paste takes"


def test_alt_and_a_character_that_does_nothing_is_escape_and_that_character() -> None:
    assert apart("meta /", lambda _: False) == ["esc", "/"]
    assert apart("meta b", lambda key: key == "meta b") == ["meta b"]
    for key in ("meta enter", "meta é/", "/", "esc", "meta page up", Pasted("meta /")):
        assert apart(key, lambda _: False) == [key]


def test_an_endless_sequence_ends() -> None:
    assert keys(b"\x1b[" + b"1" * 1000 + b"x")[-1] == "x"


@given(
    st.binary()
    | st.lists(st.sampled_from([b"\x1b", b"[", b"200~", b"201~", b"a", b"\xc3", b"\xa9", b"1;5C"])).map(b"".join)
)
def test_how_it_is_cut_makes_no_difference(data: bytes) -> None:
    assert keys(data) == keys(*(bytes([byte]) for byte in data))


@given(st.text())
def test_what_is_pasted_is_what_is_read(text: str) -> None:
    clean = text.replace("\x1b[201~", "")
    assert keys(b"\x1b[200~" + clean.encode() + b"\x1b[201~") == [Pasted(clean)]
