"""ui.splitter: lines come out whole, however the bytes come in; a line too long costs one error."""

from hypothesis import given
from hypothesis import strategies as st

from ui.splitter import Splitter, TooLong

LINES = st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"\n", b"").replace(b"\r", b"")), max_size=20)


def fed(splitter: Splitter, data: bytes, cuts: list[int]) -> list[bytes | TooLong]:
    """Everything that comes out of `data` fed in pieces."""
    found: list[bytes | TooLong] = []
    begin = 0
    for end in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        found += splitter.feed(data[begin:end])
        begin = end
    return found + splitter.end()


@given(LINES, st.sampled_from([b"\n", b"\r\n"]), st.lists(st.integers(0, 500)))
def test_lines_do_not_depend_on_how_the_bytes_were_cut(lines: list[bytes], end: bytes, cuts: list[int]) -> None:
    data = b"".join(line + end for line in lines)
    expected = [TooLong(10) if len(line) > 10 else line for line in lines]
    assert fed(Splitter(10), data, cuts) == expected


def test_a_line_too_long_is_told_once_and_the_next_one_is_read() -> None:
    splitter = Splitter(4)
    assert splitter.feed(b"abcdefgh") == [TooLong(4)]
    assert splitter.feed(b"ijk") == []
    assert splitter.feed(b"lm\nok\n") == [b"ok"]


def test_a_line_of_just_the_bound_passes_with_either_line_end() -> None:
    assert Splitter(4).feed(b"abcd\r\nefgh\n") == [b"abcd", b"efgh"]


def test_the_last_line_needs_no_line_end() -> None:
    splitter = Splitter(4)
    assert splitter.feed(b"one\ntwo") == [b"one"]
    assert splitter.end() == [b"two"]
    assert splitter.end() == []
