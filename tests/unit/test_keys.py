"""ui.keys: whatever a terminal sends, in whatever pieces, is keys and text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui.keys import Key, KeyReader, Text


def keys(*pieces: bytes) -> list[Key | Text]:
    reader = KeyReader()
    return [key for piece in pieces for key in reader.feed(piece)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"abc", [Text("abc")]),
        ("né日".encode(), [Text("né日")]),
        (b"a\rb\n", [Text("a"), Key.ENTER, Text("b"), Key.ENTER]),
        (b"\t\x7f\x08", [Key.TAB, Key.BACKSPACE, Key.BACKSPACE]),
        (b"\x03\x04", [Key.INTERRUPT, Key.END_OR_DELETE]),
        (b"\x1b[A\x1b[B\x1b[C\x1b[D", [Key.UP, Key.DOWN, Key.RIGHT, Key.LEFT]),
        (b"\x1bOA\x1bOH\x1bOF", [Key.UP, Key.HOME, Key.END]),
        (b"\x1b[H\x1b[F\x1b[1~\x1b[4~\x1b[7~\x1b[8~", [Key.HOME, Key.END] * 3),
        (b"\x1b[3~\x1b[3;5~", [Key.DELETE, Key.DELETE]),
        (b"\x1b[1;5C\x1b[1;3D\x1bOc\x1bOd", [Key.WORD_RIGHT, Key.WORD_LEFT] * 2),
        (b"\x1bb\x1bF\x1bd\x1b\x7f", [Key.WORD_LEFT, Key.WORD_RIGHT, Key.CUT_WORD_AFTER, Key.CUT_WORD_BEFORE]),
        (b"a\x1b\rb", [Text("a\nb")]),  # Alt+Enter
        (b"\x1b[[A\x1b[15~\x1b[Z\x1b[I\x1bqx", [Text("x")]),  # keys without a meaning here
        (b"\x1b\x1b[A", [Key.UP]),
        (b"\x00\x1c", []),
        (b"\xff", [Text("\udcff")]),
    ],
)
def test_what_a_key_means(data: bytes, expected: list[Key | Text]) -> None:
    assert keys(data) == expected


def test_a_paste_is_text_whatever_is_in_it() -> None:
    assert keys(b"\x1b[200~one\ntwo\t\x03\x1b[31m\x1b[201~\r") == [Text("one\ntwo\t\x03\x1b[31m"), Key.ENTER]
    assert keys(b"\x1b[200~x\x1b[20\x1b[201~y") == [Text("x\x1b[20y")]
    assert keys(b"\x1b[200~begun") == [Text("begun")]


def test_a_lone_escape_makes_alt_of_the_next_key() -> None:
    assert keys(b"\x1b", b"b") == [Key.WORD_LEFT]


def test_an_endless_sequence_ends() -> None:
    assert keys(b"\x1b[" + b"1" * 100 + b"x")[-1] == Text("1" * 69 + "x")


@given(
    st.binary()
    | st.lists(st.sampled_from([b"\x1b", b"[", b"200~", b"201~", b"a", b"\xc3", b"\xa9", b"1;5C"])).map(b"".join)
)
def test_how_it_is_cut_makes_no_difference(data: bytes) -> None:
    def merged(found: list[Key | Text]) -> list[Key | str]:
        joined: list[Key | str] = []
        for key in found:
            if isinstance(key, Text) and joined and isinstance(joined[-1], str):
                joined[-1] += key.chars
            else:
                joined.append(key.chars if isinstance(key, Text) else key)
        return joined

    assert merged(keys(data)) == merged(keys(*(bytes([byte]) for byte in data)))
