"""Unit tests of peer.timeline."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from peer.notices import ChatMessage
from peer.timeline import FetchRange, HistoryQuery, SearchQuery, Shown, Timeline
from wire import codec, limits
from wire.messages import Entry, Fetch, Fetched, Found, Published, Search
from wire.step import Command, LinkUp, StartTimer, StopTimer, TimerFired

GAP = TimerFired("timeline.gap")
RETRY = TimerFired("timeline.retry")
Out = tuple[list[Command | FetchRange], list[Shown]]


def entry(seq: int) -> Entry:
    """The entry number `seq` of the one history there is."""
    return Entry(seq, 1, "ana-id", "s", seq, 1_000 + seq, "ana", f"text {seq}")


def block(first: int, count: int, padding: str = "") -> bytes:
    """Entries `first` … as they travel."""
    entries = [entry(seq) for seq in range(first, first + count)]
    return codec.join_block([codec.encode_entry(replace(each, text=each.text + padding)) for each in entries])


def published(first: int, count: int = 1) -> Published:
    """A block over the feed."""
    return Published(1, first, count, block(first, count))


def fetched(first: int, count: int) -> Fetched:
    """A range over the room."""
    return Fetched(0, first, count, 10_000, block(first, count))


def seqs(out: Out) -> list[int]:
    """What was shown."""
    return [item.entry.seq for item in out[1]]


def asked(out: Out) -> list[tuple[int, int]]:
    """What was asked for: (first, count)."""
    return [(command.first, command.count) for command in out[0] if isinstance(command, FetchRange)]


def live(head: int = 0) -> Timeline:
    """A timeline that has shown everything up to `head`."""
    timeline = Timeline()
    timeline.welcome("log", head)
    if head:
        timeline.fetched(fetched(max(1, head - limits.PAGE_ENTRIES + 1), min(head, limits.PAGE_ENTRIES)))
    assert timeline.shown == head
    return timeline


def test_a_newcomer_fetches_the_newest_page_and_it_is_past() -> None:
    timeline = Timeline(page=20)
    out = timeline.welcome("log", 100)
    assert out[0] == [FetchRange(81, 20), StartTimer("timeline.retry", limits.FETCH_RETRY_MS)]
    assert seqs(timeline.published(published(101))) == []
    shown = timeline.fetched(fetched(81, 20))
    assert seqs(shown) == list(range(81, 102))
    assert [item.past for item in shown[1]] == [True] * 20 + [False]
    assert shown[0] == [StopTimer("timeline.retry")]


def test_an_empty_history_and_a_page_of_nothing_need_no_fetch() -> None:
    assert Timeline().welcome("log", 0) == ([], [])
    timeline = Timeline(page=0)
    assert timeline.welcome("log", 50) == ([], [])
    assert seqs(timeline.published(published(51))) == [51]


def test_a_long_page_is_fetched_in_steps() -> None:
    timeline = Timeline(page=1_200)
    assert asked(timeline.welcome("log", 1_200)) == [(1, 500)]
    assert asked(timeline.fetched(fetched(1, 500))) == [(501, 500)]
    assert asked(timeline.fetched(fetched(501, 100))) == [(601, 500)]
    assert asked(timeline.fetched(fetched(601, 500))) == [(1_101, 100)]
    assert asked(timeline.fetched(fetched(1_101, 100))) == []
    assert timeline.shown == 1_200


def test_since_counts_instead_of_the_page() -> None:
    assert asked(Timeline(since=7).welcome("log", 10)) == [(7, 4)]
    assert asked(Timeline(since=0).welcome("log", 3)) == [(1, 3)]
    beyond = Timeline(since=99)
    assert asked(beyond.welcome("log", 10)) == []
    assert seqs(beyond.published(published(11))) == [11]


def test_messages_are_shown_once_in_order() -> None:
    timeline = live()
    assert seqs(timeline.published(published(1, 2))) == [1, 2]
    assert seqs(timeline.published(published(1, 2))) == []
    assert seqs(timeline.published(published(2, 3))) == [3, 4]


def test_a_gap_is_given_a_moment_and_then_fetched() -> None:
    timeline = live(5)
    assert timeline.published(published(8)) == ([StartTimer("timeline.gap", limits.GAP_WAIT_MS)], [])
    assert timeline.published(published(9)) == ([], [])
    assert asked(timeline.handle(GAP)) == [(6, 2)]
    assert seqs(timeline.fetched(fetched(6, 2))) == [6, 7, 8, 9]


def test_a_gap_that_closes_by_itself_is_not_fetched() -> None:
    timeline = live(5)
    timeline.published(published(7))
    out = timeline.published(published(6))
    assert seqs(out) == [6, 7]
    assert out[0] == [StopTimer("timeline.gap")]
    assert timeline.handle(GAP) == ([], [])


def test_a_heartbeat_reveals_that_the_last_message_was_lost() -> None:
    timeline = live(5)
    assert timeline.heartbeat(5) == ([], [])
    assert timeline.heartbeat(6)[0] == [StartTimer("timeline.gap", limits.GAP_WAIT_MS)]
    assert asked(timeline.handle(GAP)) == [(6, 1)]
    assert asked(timeline.heartbeat(7)) == []


def test_a_fetch_that_is_not_answered_is_repeated() -> None:
    timeline = Timeline()
    first = asked(timeline.welcome("log", 3))
    assert asked(timeline.handle(RETRY)) == first
    assert seqs(timeline.fetched(fetched(1, 3))) == [1, 2, 3]
    assert timeline.handle(RETRY) == ([], [])


def test_an_answer_without_entries_does_not_make_it_ask_in_a_loop() -> None:
    timeline = Timeline()
    timeline.welcome("log", 3)
    assert timeline.fetched(Fetched(0, 1, 0, 0, b"")) == ([], [])
    assert asked(timeline.handle(RETRY)) == [(1, 3)]


def test_blocks_that_are_none_are_as_good_as_lost() -> None:
    timeline = live(1)
    assert timeline.published(Published(1, 2, 1, b"\xff\x00")) == ([], [])
    assert timeline.published(Published(1, 2, 2, block(2, 1))) == ([], [])
    assert timeline.published(Published(1, 2, 0, block(2, 0))) == ([], [])
    assert seqs(timeline.published(published(2))) == [2]


def test_what_is_held_is_bounded_and_the_rest_is_fetched() -> None:
    timeline = live()
    last = limits.AHEAD_BLOCKS_MAX + 50
    for seq in range(2, last + 1):
        timeline.published(published(seq))
    timeline.handle(GAP)
    out = timeline.fetched(fetched(1, 1))
    assert seqs(out) == list(range(1, limits.AHEAD_BLOCKS_MAX + 2))
    assert asked(out) == [(limits.AHEAD_BLOCKS_MAX + 2, 49)]


def test_the_bytes_that_are_held_are_bounded_too() -> None:
    timeline = live()
    fits = limits.AHEAD_BYTES_MAX // len(block(2, 500, "x" * 1_000))
    for first in range(2, 2 + (fits + 20) * 500, 500):
        timeline.published(Published(1, first, 500, block(first, 500, "x" * 1_000)))
    # A longer block takes the place of one that is held; it has to fit as well.
    timeline.published(Published(1, 2, 600, block(2, 600, "x" * 1_700)))
    timeline.handle(GAP)
    out = timeline.fetched(fetched(1, 1))
    assert seqs(out) == list(range(1, 2 + fits * 500))
    assert max(len(item.entry.text) for item in out[1]) < 1_100
    assert asked(out) == [(2 + fits * 500, 500)]


def test_after_a_reconnection_only_what_is_missing_is_fetched() -> None:
    timeline = live(5)
    timeline.lost()
    assert asked(timeline.welcome("log", 9)) == [(6, 4)]
    assert [item.past for item in timeline.fetched(fetched(6, 4))[1]] == [False] * 4


def test_a_move_in_the_middle_of_a_fetch_asks_the_new_server() -> None:
    timeline = Timeline()
    timeline.welcome("log", 3)
    assert timeline.lost()[0] == [StopTimer("timeline.retry")]
    assert timeline.handle(RETRY) == ([], [])
    assert asked(timeline.welcome("log", 3)) == [(1, 3)]


def test_a_welcome_that_was_late_takes_nothing_back() -> None:
    timeline = live(5)
    assert timeline.welcome("log", 4) == ([], [])
    assert timeline.shown == 5


def test_another_history_is_begun_from_its_newest_page() -> None:
    timeline = Timeline(page=2)
    timeline.welcome("log", 9)
    timeline.published(published(20))
    assert asked(timeline.welcome("other", 4)) == [(3, 2)]
    shown = timeline.fetched(fetched(3, 2))
    assert seqs(shown) == [3, 4]
    assert all(item.past for item in shown[1])


def test_events_of_others_mean_nothing() -> None:
    timeline = live(1)
    assert timeline.handle(LinkUp("room-1")) == ([], [])  # type: ignore[arg-type]  # a plain id does
    assert timeline.handle(TimerFired("another")) == ([], [])


steps = st.lists(
    st.one_of(
        st.tuples(st.just("published"), st.integers(1, 40), st.integers(1, 6)),
        st.tuples(st.just("fetched"), st.integers(1, 40), st.integers(0, 6)),
        st.tuples(st.just("heartbeat"), st.integers(0, 40), st.just(0)),
        st.tuples(st.just("welcome"), st.integers(0, 40), st.just(0)),
        st.tuples(st.sampled_from(["gap", "retry", "lost", "garbage"]), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@given(st.integers(0, 40), st.integers(0, 20), steps)
def test_whatever_is_lost_doubled_or_late_each_entry_is_shown_once_in_order(
    head: int, page: int, events: list[tuple[str, int, int]]
) -> None:
    timeline = Timeline(page=page)
    outs = [timeline.welcome("log", head)]
    start = timeline.shown
    for kind, first, count in events:
        match kind:
            case "published":
                outs.append(timeline.published(published(first, count)))
            case "fetched":
                outs.append(timeline.fetched(fetched(first, count)))
            case "heartbeat":
                outs.append(timeline.heartbeat(first))
            case "welcome":
                outs.append(timeline.welcome("log", first))
            case "lost":
                outs.append(timeline.lost())
            case "garbage":
                outs.append(timeline.published(Published(1, 1, 1, b"\x00")))
            case _:
                outs.append(timeline.handle(GAP if kind == "gap" else RETRY))
    # The network heals: whatever is asked for comes.
    outs.append(timeline.lost())
    pending = timeline.welcome("log", 0)
    while ranges := asked(pending):
        outs.append(pending)
        pending = timeline.fetched(fetched(*ranges[0]))
    outs.append(pending)
    shown = [seq for out in outs for seq in seqs(out)]
    assert shown == list(range(start + 1, timeline.head + 1))


def test_a_history_query_collects_what_came_in_parts() -> None:
    query = HistoryQuery(before=0, count=5, head=9)
    assert query.request(3) == Fetch(3, 5, 5)
    query.take(fetched(5, 2))
    assert query.request(4) == Fetch(4, 7, 3)
    query.take(fetched(6, 4))
    assert query.request(5) is None
    page = query.result()
    assert [message.seq for message in page.messages] == [5, 6, 7, 8, 9]
    assert page.messages[0] == ChatMessage(5, 1, "ana-id/s/5", "ana", "text 5", 1_005)
    assert page.more


def test_a_history_query_ends_where_the_history_does() -> None:
    query = HistoryQuery(before=3, count=50, head=9)
    assert query.request(1) == Fetch(1, 1, 2)
    query.take(fetched(1, 2))
    assert not query.result().more
    nothing = HistoryQuery(before=1, count=5, head=9)
    assert nothing.request(1) is None
    assert nothing.result().messages == ()
    assert HistoryQuery(before=99, count=-1, head=9).request(1) == Fetch(1, 9, 1)
    assert HistoryQuery(before=-4, count=10**9, head=10**6).request(1) == Fetch(1, 998_001, limits.FETCH_ENTRIES_MAX)


def test_a_history_query_is_not_led_on_by_an_answer_that_is_none() -> None:
    for answer in (Fetched(1, 5, 0, 9, b""), Fetched(1, 5, 3, 9, b"\xff"), fetched(1, 2)):
        query = HistoryQuery(before=0, count=5, head=9)
        query.take(answer)
        assert query.request(1) is None
        assert query.result().messages == ()


def test_a_search_goes_back_until_enough_was_found() -> None:
    query = SearchQuery("text", 3)
    assert query.request(1) == Search(1, "text", 0, 3)
    query.take(Found(1, 50, codec.join_block([codec.encode_entry(entry(60))])))
    assert query.request(2) == Search(2, "text", 50, 2)
    query.take(Found(2, 20, codec.join_block([codec.encode_entry(entry(seq)) for seq in (30, 40)])))
    assert query.request(3) is None
    found = query.result()
    assert [message.seq for message in found.messages] == [30, 40, 60]
    assert found.more


def test_a_search_ends_where_there_is_no_more() -> None:
    query = SearchQuery("text", 3)
    query.take(Found(1, 0, codec.join_block([codec.encode_entry(entry(60))])))
    assert query.request(2) is None
    assert not query.result().more
    circle = SearchQuery("text", 3)
    circle.take(Found(1, 50, b"\xff"))
    circle.take(Found(2, 50, b""))
    assert circle.request(3) is None
    assert circle.result().messages == ()
