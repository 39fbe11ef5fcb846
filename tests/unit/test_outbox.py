"""Unit tests of peer.outbox."""

from hypothesis import given
from hypothesis import strategies as st

from peer.outbox import Committed, FloodGate, Outbox, State, text_fault
from wire import limits
from wire.messages import Posts
from wire.step import Command, LinkUp, StartTimer, StopTimer, TimerFired

RESEND = TimerFired("outbox.resend")


def posts_of(items: list[Command | Posts]) -> list[Posts]:
    """The messages among what is due."""
    return [item for item in items if isinstance(item, Posts)]


def counters_of(items: list[Command | Posts]) -> list[int]:
    """The numbers of the posts that are due, in order."""
    return [posts.first_counter + index for posts in posts_of(items) for index in range(len(posts.texts))]


def filled(count: int) -> Outbox:
    """An outbox with `count` posts; each one's text and tag is its number."""
    outbox = Outbox("s")
    for number in range(1, count + 1):
        assert outbox.add(str(number), number) == number
    return outbox


def test_posts_are_sent_once_and_leave_when_they_are_committed() -> None:
    outbox = filled(2)
    assert outbox.due() == [Posts(1, ("1", "2")), StartTimer("outbox.resend", limits.POST_RESEND_MS)]
    assert outbox.due() == []
    commands, told = outbox.acked(1, (7, 8))
    assert commands == [StopTimer("outbox.resend")]
    assert told == [Committed(1, "s", 1, 7), Committed(2, "s", 2, 8)]
    assert len(outbox) == 0


def test_an_acknowledgement_that_comes_twice_is_told_once() -> None:
    outbox = filled(3)
    outbox.due()
    assert [post.counter for post in outbox.acked(1, (5, 6))[1]] == [1, 2]
    assert outbox.acked(1, (5, 6)) == ([], [])
    assert outbox.acked(3, (9,))[1] == [Committed(3, "s", 3, 9)]


def test_an_acknowledgement_that_comes_early_is_told_in_its_turn() -> None:
    outbox = filled(3)
    outbox.due()
    assert outbox.acked(2, (6,)) == ([], [])
    assert [post.state for post in outbox.posts] == [State.SENT, State.COMMITTED, State.SENT]
    outbox.restart_sending()
    assert posts_of(outbox.due()) == [Posts(1, ("1",)), Posts(3, ("3",))]
    assert [(post.counter, post.seq) for post in outbox.acked(1, (5,))[1]] == [(1, 5), (2, 6)]


def test_an_acknowledgement_of_nothing_that_waits_means_nothing() -> None:
    outbox = filled(1)
    outbox.due()
    assert outbox.acked(9, (1, 2, 3)) == ([], [])
    assert len(outbox) == 1


def test_no_more_than_the_window_is_out_at_a_time() -> None:
    outbox = filled(limits.POSTS_IN_FLIGHT_MAX + 10)
    assert counters_of(outbox.due()) == list(range(1, limits.POSTS_IN_FLIGHT_MAX + 1))
    assert outbox.due() == []
    outbox.acked(1, (1, 2, 3))
    assert counters_of(outbox.due()) == [limits.POSTS_IN_FLIGHT_MAX + number for number in (1, 2, 3)]


def test_messages_keep_their_bounds_in_posts_and_in_bytes() -> None:
    outbox = filled(limits.POSTS_PER_MESSAGE_MAX + 1)
    assert [len(posts.texts) for posts in posts_of(outbox.due())] == [limits.POSTS_PER_MESSAGE_MAX, 1]
    heavy = Outbox("s")
    for _ in range(20):
        heavy.add("x" * limits.TEXT_BYTES_MAX, None)
    messages = posts_of(heavy.due())
    assert [len(posts.texts) for posts in messages] == [16, 4]
    assert all(sum(map(len, posts.texts)) <= limits.POSTS_BYTES_MAX for posts in messages)


def test_the_server_asks_for_what_it_lacks_and_gets_it_once() -> None:
    outbox = filled(5)
    outbox.due()
    outbox.resend(3)
    assert counters_of(outbox.due()) == [3, 4, 5]
    outbox.resend(3)
    assert counters_of(outbox.due()) == []
    outbox.resend(1_000)
    assert counters_of(outbox.due()) == []


def test_a_server_that_asks_for_what_it_acknowledged_is_not_listened_to() -> None:
    outbox = filled(3)
    outbox.due()
    outbox.acked(1, (1,))
    outbox.resend(1)
    assert counters_of(outbox.due()) == []


def test_silence_makes_everything_due_again_less_and_less_often() -> None:
    outbox = filled(1)
    delays_ms = []
    for _ in range(6):
        delays_ms += [item.delay_ms for item in outbox.due() if isinstance(item, StartTimer)]
        outbox.handle(RESEND)
    assert delays_ms == [limits.POST_RESEND_MS * factor for factor in (1, 2, 4, 8, 8, 8)]


def test_other_events_and_a_late_timer_mean_nothing() -> None:
    outbox = filled(1)
    outbox.handle(RESEND)
    outbox.handle(TimerFired("another"))
    outbox.handle(LinkUp("room-1"))  # type: ignore[arg-type]  # a plain id does
    assert counters_of(outbox.due()) == [1]
    assert counters_of(outbox.due()) == []


def test_a_move_says_how_many_are_sent_again() -> None:
    outbox = filled(3)
    outbox.due()
    outbox.add("4", None)
    assert outbox.restart_sending() == 3
    assert counters_of(outbox.due()) == [1, 2, 3, 4]


def test_another_history_gets_what_is_left_under_new_numbers() -> None:
    outbox = filled(4)
    outbox.due()
    outbox.acked(1, (1, 2))
    outbox.start_session("s-1")
    assert outbox.restart_sending() == 0
    assert posts_of(outbox.due()) == [Posts(1, ("3", "4"))]
    assert outbox.acked(1, (1,))[1] == [Committed(3, "s-1", 1, 1)]
    assert outbox.add("5", 5) == 3


def test_what_the_old_history_had_without_its_author_being_told_goes_into_the_new_one_too() -> None:
    outbox = filled(3)
    outbox.due()
    assert outbox.acked(2, (2,))[1] == [], "the first one is still out"
    outbox.start_session("s-1")
    assert posts_of(outbox.due()) == [Posts(1, ("1", "2", "3"))]


def test_an_outbox_can_be_made_of_what_was_saved() -> None:
    outbox = filled(3)
    outbox.due()
    outbox.acked(1, (1,))
    saved = [(post.counter, post.text) for post in outbox.posts]
    again = Outbox("s", saved, outbox.next_counter)
    assert again.add("4", None) == 4
    assert posts_of(again.due()) == [Posts(2, ("2", "3", "4"))]
    empty = Outbox("s", (), 9)
    assert empty.add("9", None) == 9
    assert posts_of(empty.due()) == [Posts(9, ("9",))]


def test_a_full_outbox_says_so() -> None:
    outbox = filled(limits.OUTBOX_POSTS_MAX)
    assert outbox.is_full
    outbox.due()
    outbox.acked(1, (1,))
    assert not outbox.is_full


def test_texts_that_cannot_be_posted_have_a_code_each() -> None:
    assert text_fault("hello") is None
    assert text_fault("x" * limits.TEXT_BYTES_MAX) is None
    codes = [(fault.code if (fault := text_fault(text)) else "") for text in ("", " \n", "é" * 5_000, "\ud800")]
    assert codes == ["empty", "empty", "too_long", "bad_text"]


def test_the_flood_gate_lets_a_burst_through_and_then_so_many_a_second() -> None:
    gate = FloodGate(3)  # a burst of 10
    assert [gate.passes(0) for _ in range(11)] == [True] * 10 + [False]
    assert not gate.passes(300)
    assert gate.passes(334)
    assert [gate.passes(60_000) for _ in range(11)] == [True] * 10 + [False]
    assert all(FloodGate(0).passes(0) for _ in range(1_000))


actions = st.lists(
    st.one_of(
        st.just("add"),
        st.just("send"),
        st.just("move"),
        st.just("silence"),
        st.tuples(st.just("ack"), st.integers(1, 30), st.integers(1, 5)),
        st.tuples(st.just("resend"), st.integers(0, 30)),
    ),
    max_size=60,
)


@given(actions)
def test_whatever_comes_exactly_the_unacknowledged_are_sent_again_in_order(steps: list[object]) -> None:
    outbox = Outbox("s")
    added, out, acked, told = 0, set[int](), set[int](), list[int]()
    for step in steps:
        match step:
            case "add":
                added = outbox.add("t", None)
            case "send":
                out |= set(counters_of(outbox.due()))
            case "move":
                outbox.restart_sending()
            case "silence":
                outbox.handle(RESEND)
            case ("ack", int(first), int(count)):
                run = [number for number in range(first, first + count) if number in out]
                if run and run == list(range(run[0], run[-1] + 1)):
                    acked |= set(run)
                    told += [post.counter for post in outbox.acked(run[0], [10 * number for number in run])[1]]
            case ("resend", int(counter)):
                outbox.resend(counter)
        unacked = [number for number in range(1, added + 1) if number not in acked]
        assert [post.counter for post in outbox.posts if post.state is not State.COMMITTED] == unacked
    assert told == list(range(1, len(told) + 1))
    outbox.restart_sending()
    assert counters_of(outbox.due()) == [number for number in range(1, added + 1) if number not in acked]
