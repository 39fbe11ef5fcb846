"""History: gapless, each post once, the same bytes everywhere; and where two copies of one part."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.digest import SPAN_ENTRIES
from broker.history import History
from broker.stored import Restored
from tests.support import histories
from tests.support import replicas as copies
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


# --- entries that come in blocks ---


@pytest.mark.parametrize(
    "wrong",
    [
        [entry(4), entry(5, counter=6)],
        [entry(4), entry(5, counter=4)],
        [entry(4), Entry(5, 0, "bo", "s", 1, 0, "bo", "of an earlier epoch")],
        [entry(4), entry(6, counter=5)],
        [entry(4), entry(5), entry(6)],
        [entry(4)],
    ],
    ids=["counter missing", "counter twice", "epoch falls", "seq missing", "one more", "one less"],
)
def test_a_block_is_taken_as_a_whole_or_not_at_all(wrong: list[Entry]) -> None:
    history = history_of(3)
    with pytest.raises((InvariantViolated, Malformed)):
        history.append_block(4, 2, histories.block_of(wrong))
    assert copies.is_same(history, history_of(3))
    assert history.bytes_count == history_of(3).bytes_count
    history.append_block(4, 2, history_of(5).block(4, 5)[1])
    assert copies.is_same(history, history_of(5))


def test_an_epoch_never_falls() -> None:
    history = copies.history_of((2, 1), (3, 1))
    with pytest.raises(InvariantViolated, match="epoch 2 follows 3"):
        history.append(histories.entry(3, epoch=2))
    assert copies.is_same(history, copies.history_of((2, 1), (3, 1)))


# --- epochs, and where two copies part ---

RUNS = st.lists(st.integers(1, 2 * SPAN_ENTRIES), min_size=1, max_size=6).map(
    lambda counts: [(3 * index + 1, count) for index, count in enumerate(counts)]
)


@given(RUNS, st.data())
def test_the_runs_tell_the_epoch_of_every_entry_they_cover(runs: list[tuple[int, int]], data: st.DataObject) -> None:
    history = copies.history_of(*runs)
    epochs = [0, *(each.epoch for each in copies.entries_of(history))]
    assert [history.epoch_at(seq) for seq in range(history.head + 1)] == epochs
    assert history.last_epoch == epochs[-1]
    above = data.draw(st.integers(0, history.head))
    told = history.runs(above)
    for seq in range(max(1, above), history.head + 1):
        assert [epoch for epoch, first in told if first <= seq][-1] == epochs[seq]
    assert sum(first > above for _, first in told) >= len(told) - 1, "no more are told than are needed"


def test_of_many_epochs_the_last_ones_are_told() -> None:
    history = copies.history_of(*((epoch, 1) for epoch in range(1, limits.RUNS_MAX + 4)))
    assert history.runs(0) == tuple((epoch, epoch) for epoch in range(4, limits.RUNS_MAX + 4))
    assert History("log").runs(0) == ()
    assert (History("log").epoch_at(0), History("log").last_epoch) == (0, 0)


def common_prefix(one: History, other: History) -> int:
    pairs = zip(copies.entries_of(one), copies.entries_of(other), strict=False)
    return next((seq for seq, (mine, theirs) in enumerate(pairs) if mine != theirs), min(one.head, other.head))


def aligned(leader: History, follower: History, committed: int) -> int:
    """Let a follower be led, as the protocol has it; returns up to where both agreed."""
    at = leader.agreement(follower.head, committed, follower.runs(committed))
    follower.cut(at)
    return at


TERMS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 2), st.integers(0, 9)), min_size=2, max_size=12
)


@given(TERMS, st.data())
@example([(0, 3, 1, 9), (0, 2, 1, 0), (1, 4, 2, 9), (0, 2, 2, 9), (1, 1, 0, 9)], None)
def test_copies_of_a_log_agree_up_to_where_they_really_part_whoever_led_and_died(
    terms: list[tuple[int, int, int, int]], data: st.DataObject | None
) -> None:
    """In each epoch one of three leads, from what it happens to have, and another follows a part of the way."""
    logs = [History("log") for _ in range(3)]
    for epoch, (leads, posts, follows, keeps) in enumerate(terms, start=1):
        leader, follower = logs[leads], logs[follows]
        copies.grow(leader, posts, epoch)
        if follower is leader:
            continue
        real = common_prefix(leader, follower)
        # What is committed is in all copies.
        bound = min(common_prefix(one, other) for one in logs for other in logs)
        committed = data.draw(st.integers(0, bound)) if data is not None else 0
        assert aligned(leader, follower, committed) == real
        assert follower.head == real
        last = min(leader.head, real + keeps)
        if last > real:
            count, block = leader.block(real + 1, last)
            follower.append_block(real + 1, count, block)
        assert common_prefix(leader, follower) == last


def test_nothing_that_is_committed_is_ever_up_for_agreement() -> None:
    mine = copies.history_of((1, 4), (3, 4))
    assert mine.agreement(6, 6, ((2, 5),)) == 6, "whatever it says of its epochs"
    assert mine.agreement(9, 5, ((1, 1), (2, 5))) == 5
    assert mine.agreement(9, 4, ((1, 1), (2, 5))) == 4
    assert mine.agreement(9, 9, ()) == 8, "and no more than there is"


def test_a_copy_that_tells_of_too_few_epochs_is_cut_down_to_what_is_committed_and_not_below() -> None:
    mine = copies.history_of(*((epoch, 1) for epoch in range(1, 2 * limits.RUNS_MAX, 2)))
    other = copies.history_of((1, 1), *((epoch, 1) for epoch in range(2, 2 * limits.RUNS_MAX + 8, 2)))
    assert other.runs(1)[0][1] > 1
    assert mine.agreement(other.head, 1, other.runs(1)) == 1


# --- cutting off ---


@given(RUNS, st.data())
def test_a_history_that_was_cut_is_as_if_nothing_had_followed(runs: list[tuple[int, int]], data: st.DataObject) -> None:
    history = copies.history_of(*runs)
    entries = copies.entries_of(history)
    after = data.draw(st.integers(0, history.head + 1))
    history.cut(after)
    shorter = History(history.log)
    for each in entries[:after]:
        shorter.append(each)
    assert copies.is_same(history, shorter)
    assert history.bytes_count == shorter.bytes_count
    for one in (history, shorter):
        copies.grow(one, 70, epoch=100)
    assert copies.is_same(history, shorter)
    assert history.block(1, history.head) == shorter.block(1, shorter.head)


@pytest.mark.parametrize("head", [0, 3, SPAN_ENTRIES, SPAN_ENTRIES + 1])
def test_where_nothing_follows_nothing_is_cut_off(head: int) -> None:
    history = copies.history_of((1, head))
    for after in (head, head + 1, 10**6):
        history.cut(after)
        assert copies.is_same(history, copies.history_of((1, head)))


def test_who_was_cut_off_as_a_whole_may_begin_anew() -> None:
    history = History("log")
    history.append(entry(1, author="ana"))
    history.append(entry(2, 1, author="bo"))
    history.cut(1)
    assert history.last_counter("bo", "s") == 0
    assert history.seq_of("bo", "s", 1) is None
    history.append(entry(2, 1, author="bo"))


def test_a_session_that_was_cut_further_than_its_seqs_are_remembered_goes_on_counting() -> None:
    history = history_of(limits.SEQS_REMEMBERED + 20)
    history.cut(10)
    assert history.last_counter("ana", "s") == 10
    assert history.seq_of("ana", "s", 10) is None, "forgotten"
    history.append(entry(11))
    assert (history.seq_of("ana", "s", 11), history.seq_of("ana", "s", 10)) == (11, None)


# --- what stays in memory ---


@pytest.fixture
def small_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few spans are much, and half of one stays whatever its size."""
    monkeypatch.setattr(limits, "TAIL_BYTES_MAX", 4 * SPAN_ENTRIES * len(codec.encode_entry(histories.entry(1))))
    monkeypatch.setattr(limits, "TAIL_ENTRIES_MIN", SPAN_ENTRIES // 2)


@pytest.mark.usefixtures("small_tail")
@pytest.mark.parametrize("spans", [2, 9])
@pytest.mark.parametrize("below", [-1, 0, 1, 2, 64, 65, 66, 128, 129, 300, 10**6])
def test_only_whole_spans_go_from_memory_none_that_is_still_needed_and_only_when_there_is_much(
    spans: int, below: int
) -> None:
    whole, history = (copies.history_of((1, spans * SPAN_ENTRIES + 10)) for _ in range(2))
    history.forget_below(below)
    assert (history.first - 1) % SPAN_ENTRIES == 0
    assert history.first <= max(1, below)
    assert history.first <= history.head + 1 - limits.TAIL_ENTRIES_MIN
    assert copies.is_same(history, whole)
    kept = whole.entries(history.first, whole.head)
    assert copies.entries_of(history) == kept
    assert history.bytes_count == sum(len(codec.encode_entry(each)) for each in kept)
    if whole.bytes_count <= limits.TAIL_BYTES_MAX:
        assert history.first == 1
    elif below > whole.head:
        assert 0 < history.bytes_count <= limits.TAIL_BYTES_MAX // 2
    elif below > SPAN_ENTRIES:
        assert history.first > 1


@pytest.mark.usefixtures("small_tail")
def test_after_some_have_gone_all_else_is_as_before() -> None:
    whole, history = (copies.history_of((1, 300), (2, 300)) for _ in range(2))
    history.forget_below(500)
    first = history.first
    assert first > 300
    assert history.block(first - 1, history.head)[0] == 0, "it is not here any more"
    assert history.block(first + 3, first + 9) == whole.block(first + 3, first + 9)
    assert history.entries(1, first + 1) == whole.entries(first, first + 1)
    assert codec.decode_entries(history.search("text", 0, 10**4, history.head)[0])[0].seq == first
    assert history.runs(0) == whole.runs(0)
    for after in (first + 70, first + SPAN_ENTRIES - 1, first, first - 1):
        history.cut(after)
        whole.cut(after)
        assert copies.is_same(history, whole)
    assert history.head == first - 1
    for one in (history, whole):
        copies.grow(one, 80, epoch=3)
    assert copies.is_same(history, whole)
    assert history.block(first, history.head) == whole.block(first, whole.head)


@pytest.mark.usefixtures("small_tail")
@pytest.mark.parametrize("back", [2, SPAN_ENTRIES, 10**6])
def test_what_is_in_memory_no_more_cannot_be_cut(back: int) -> None:
    history, whole = (copies.history_of((1, 600)) for _ in range(2))
    history.forget_below(500)
    first = history.first
    with pytest.raises(InvariantViolated, match="cannot be cut"):
        history.cut(first - back)
    assert (history.first, history.head) == (first, 600)
    assert copies.is_same(history, whole)


@pytest.mark.usefixtures("small_tail")
def test_there_is_no_block_that_ends_before_memory_begins() -> None:
    history = copies.history_of((1, 600))
    history.forget_below(SPAN_ENTRIES + 1)
    assert history.first == SPAN_ENTRIES + 1
    for last in (0, 1, history.first - 1, history.first + 1):
        assert history.block(history.first + 2, last) == (0, codec.join_block([]))
        assert history.entries(history.first + 2, last) == []


# --- from disk ---


@pytest.mark.parametrize("tail_first", [1, 1 + SPAN_ENTRIES, 1 + 3 * SPAN_ENTRIES, 201])
def test_what_an_earlier_run_left_on_disk_goes_on_as_if_it_had_stayed_in_memory(tail_first: int) -> None:
    whole = copies.history_of((1, 100), (4, 3 * SPAN_ENTRIES - 100 if tail_first > 200 else 100))
    tail_first = min(tail_first, whole.head + 1)
    history = History.restored(copies.restored_of(whole, committed=150, tail_first=tail_first))
    assert (history.first, history.head) == (tail_first, whole.head)
    assert copies.is_same(history, whole)
    assert history.bytes_count == sum(len(codec.encode_entry(each)) for each in copies.entries_of(history))
    for one in (history, whole):
        copies.grow(one, 100, epoch=5)
        one.cut(one.head - 30)
        copies.grow(one, 1, epoch=6)
    assert copies.is_same(history, whole)


def without(index: int) -> Callable[[Restored], Restored]:
    return lambda found: replace(found, tail=found.tail[:index] + found.tail[index + 1 :])


@pytest.mark.parametrize(
    "spoil",
    [
        without(0),
        without(2),
        without(-1),
        lambda found: replace(found, tail=()),
        lambda found: replace(found, tail=(*found.tail, (201, 1, histories.block_of([histories.entry(201)])))),
        lambda found: replace(
            found, tail=((found.tail[0][0], found.tail[0][1] + 1, found.tail[0][2]), *found.tail[1:])
        ),
    ],
    ids=["begins within a span", "has a gap", "ends too early", "empty", "goes too far", "lies about a block"],
)
def test_a_tail_that_does_not_fit_is_not_gone_on_with(spoil: Callable[[Restored], Restored]) -> None:
    found = copies.restored_of(copies.history_of((1, 200)), committed=150)
    with pytest.raises((InvariantViolated, Malformed)):
        History.restored(spoil(found))
