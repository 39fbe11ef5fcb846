"""History: gapless, each post once, the same bytes everywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.history import History
from wire import codec, limits
from wire.errors import InvariantViolated, Malformed
from wire.messages import Entry


def entry(seq: int, counter: int | None = None, text: str = "hello", author: str = "ana", session: str = "s") -> Entry:
    return Entry(seq, 1, author, session, counter or seq, 0, author, text)


def history_of(count: int, text: str = "hello") -> History:
    history = History("log")
    for seq in range(1, count + 1):
        history.append(entry(seq, text=text))
    return history


@pytest.mark.parametrize("wrong", [entry(3, 2), entry(1, 2), entry(2, 3), entry(2, 1)])
def test_an_entry_that_does_not_follow_is_a_bug(wrong: Entry) -> None:
    history = history_of(1)
    with pytest.raises(InvariantViolated):
        history.append(wrong)


@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(1, 45), st.integers(0, 45), st.integers(1, 45))
def test_a_block_holds_what_was_appended(authors: list[str], first: int, last: int, count_max: int) -> None:
    history, entries, counters = History("log"), [], dict.fromkeys("abc", 0)
    for seq, author in enumerate(authors, start=1):
        counters[author] += 1
        entries.append(entry(seq, counters[author], author=author))
        history.append(entries[-1])
    count, block = history.block(first, last, count_max)
    assert codec.decode_block(block, first, count) == tuple(entries[first - 1 : min(last, first - 1 + count_max)])


def test_a_copy_made_of_blocks_is_the_same_byte_for_byte() -> None:
    history, copy = history_of(25), History("log")
    while copy.head < history.head:
        count, block = history.block(copy.head + 1, history.head, 10)
        copy.append_block(copy.head + 1, count, block)
    assert (copy.digest(), copy.bytes_count) == (history.digest(), history.bytes_count)
    assert copy.last_counter("ana", "s") == 25
    assert copy.block(1, 25) == history.block(1, 25)


@pytest.mark.parametrize(("first", "count"), [(1, 3), (3, 3), (2, 2), (2, 4)])
def test_a_block_that_does_not_follow_or_holds_something_else_is_refused(first: int, count: int) -> None:
    block = history_of(4).block(2, 4)[1]
    with pytest.raises((InvariantViolated, Malformed)):
        history_of(1).append_block(first, count, block)


def test_a_block_with_a_short_header_or_a_repeated_counter_is_refused() -> None:
    block = history_of(3).block(1, 3)[1]
    with pytest.raises(Malformed, match="32 bits"):
        History("log").append_block(1, 3, b"\x93" + block[5:])
    twice = codec.join_block([codec.encode_entry(entry(1, 1)), codec.encode_entry(entry(2, 1))])
    with pytest.raises(InvariantViolated, match="counter"):
        History("log").append_block(1, 2, twice)


def test_a_block_ends_before_it_grows_over_its_bytes_but_holds_one_entry_at_least() -> None:
    history = history_of(100, text="x" * limits.TEXT_BYTES_MAX)
    count, block = history.block(1, 100)
    assert 1 < count < 100
    assert len(block) <= limits.BLOCK_BYTES_MAX + 5
    assert history.block(101, 200) == (0, codec.join_block([]))
    assert history.block(0, 100)[0] == 0


def test_equal_histories_have_equal_digests_and_others_have_not() -> None:
    assert history_of(5).digest() == history_of(5).digest()
    assert history_of(5).digest() != history_of(6).digest()
    assert history_of(5).digest() != history_of(5, text="hallo").digest()


def test_the_table_of_counters_follows_from_the_entries() -> None:
    history = history_of(limits.SEQS_REMEMBERED + 10)
    assert history.last_counter("ana", "s") == limits.SEQS_REMEMBERED + 10
    assert history.last_counter("ana", "other") == 0
    for counter in (11, 12, limits.SEQS_REMEMBERED + 10):
        assert history.seq_of("ana", "s", counter) == counter
    assert history.seq_of("ana", "s", 10) is None, "nobody has so many in flight"
    assert history.seq_of("ana", "s", limits.SEQS_REMEMBERED + 11) is None
    assert history.seq_of("ana", "s", 0) is None


def test_search_finds_the_last_ones_without_regard_to_case_and_says_where_to_go_on() -> None:
    history = History("log")
    for seq in range(1, 11):
        history.append(entry(seq, text=f"Straße {seq}" if seq % 2 else "other"))
    block, before = history.search("STRASSE", before=0, count=3, head=10)
    assert [found.seq for found in codec.decode_entries(block)] == [5, 7, 9]
    assert before == 5
    block, before = history.search("strasse", before=before, count=3, head=10)
    assert [found.seq for found in codec.decode_entries(block)] == [1, 3]
    assert before == 0


def test_search_does_not_look_beyond_the_head_it_is_given_and_stops_after_its_bound() -> None:
    history = history_of(limits.SEARCH_ENTRIES_MAX + 5, text="nothing")
    block, before = history.search("absent", before=0, count=3, head=history.head)
    assert codec.decode_entries(block) == ()
    assert before == 6
    block, _ = history.search("nothing", before=0, count=100, head=4)
    assert [found.seq for found in codec.decode_entries(block)] == [1, 2, 3, 4]


def test_what_is_found_has_all_the_words_in_any_order_one_of_which_may_be_its_author() -> None:
    history = History("log")
    for seq, text in enumerate(("tea on friday", "Friday's tea", "tea", "friday", "teapot, for friday"), start=1):
        history.append(entry(seq, text=text))
    block, _ = history.search("friday  TEA", before=0, count=9, head=5)
    assert [found.seq for found in codec.decode_entries(block)] == [1, 2, 5]
    author = codec.decode_entries(block)[0].nick
    block, _ = history.search(f"pot {author.upper()}", before=0, count=9, head=5)
    assert [found.seq for found in codec.decode_entries(block)] == [5]
    block, _ = history.search(f"pot {author}x", before=0, count=9, head=5)
    assert codec.decode_entries(block) == ()
