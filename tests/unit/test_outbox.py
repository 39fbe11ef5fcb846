"""Unit tests of peer.outbox."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.outbox import Committed, Dropped, Kept, Outbox, Row, State, Write, text_fault
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
    assert not outbox.enter("first")
    outbox.due()
    outbox.acked(1, (1, 2))
    assert not outbox.enter("first")
    assert outbox.enter("second")
    assert outbox.session == "s-1"
    assert outbox.restart_sending() == 0
    assert posts_of(outbox.due()) == [Posts(1, ("3", "4"))]
    assert outbox.acked(1, (1,))[1] == [Committed(3, "s-1", 1, 1)]
    assert outbox.add("5", 5) == 5
    assert posts_of(outbox.due()) == [Posts(3, ("5",))]


def test_what_the_old_history_had_without_its_author_being_told_goes_into_the_new_one_too() -> None:
    outbox = filled(3)
    outbox.enter("first")
    outbox.due()
    assert outbox.acked(2, (2,))[1] == [], "the first one is still out"
    outbox.enter("second")
    assert posts_of(outbox.due()) == [Posts(1, ("1", "2", "3"))]


# --- on disk ---


class Disk:
    """What a file would have: the rows, whose they are, and the writes that it has not done yet."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.log = ""
        self.waiting: list[Write] = []

    def take(self, outbox: Outbox) -> Write | None:
        write = outbox.take_write()
        if write is not None:
            self.waiting.append(write)
        return write

    def do(self, outbox: Outbox, count: int = 1_000) -> None:
        """Do so many of the waiting writes, together."""
        done, self.waiting = self.waiting[:count], self.waiting[count:]
        for write in done:
            self.log = self.log if write.log is None else write.log
            for place in write.removed:
                self.rows.pop(place, None)
            self.rows.update({row.place: row for row in write.put})
        if done:
            outbox.written(done[-1].number)

    @property
    def kept(self) -> Kept:
        return Kept("me", self.log, tuple(self.rows[place] for place in sorted(self.rows)))


def rows(session: str, first: int, *texts: str, place: int = 1) -> tuple[Row, ...]:
    return tuple(Row(place + index, session, first + index, text) for index, text in enumerate(texts))


def test_what_changes_is_said_once_for_the_disk() -> None:
    outbox = Outbox("s", Kept("me"))
    assert outbox.take_write() is None
    outbox.add("one", 1)
    outbox.add("two", 2)
    assert outbox.take_write() == Write(1, None, rows("s", 1, "one", "two"), ())
    assert outbox.take_write() is None
    outbox.enter("log")
    assert outbox.take_write() == Write(2, "log", (), ())
    outbox.due()
    outbox.acked(1, (1,))
    assert outbox.take_write() == Write(3, None, (), (1,))


def test_without_a_disk_nothing_is_to_be_written() -> None:
    outbox = filled(1)
    assert outbox.take_write() is None
    assert not outbox.waiting[0].is_kept


def test_what_comes_and_goes_in_one_turn_is_not_written() -> None:
    outbox = Outbox("s", Kept("me"))
    outbox.add("one", 1)
    outbox.due()
    outbox.acked(1, (1,))
    assert outbox.take_write() is None


def test_a_post_is_sent_though_it_is_not_yet_on_disk_and_known_to_be_kept_when_it_is() -> None:
    outbox = Outbox("s", Kept("me"))
    outbox.add("one", None)
    outbox.take_write()
    assert posts_of(outbox.due()) == [Posts(1, ("one",))]
    assert [post.is_kept for post in outbox.waiting] == [False]
    outbox.written(1)
    assert [post.is_kept for post in outbox.waiting] == [True]
    outbox.lose_disk()
    assert [post.is_kept for post in outbox.waiting] == [False]


PROBE = Posts(2**62, ("?",))


def test_what_an_earlier_start_left_goes_first_in_its_own_session_and_new_posts_behind_it_in_another() -> None:
    outbox = Outbox("new", Kept("me", "log", rows("old", 4, "d", "e")))
    assert outbox.add("f", "tag") == 3
    assert not outbox.enter("log")
    assert (outbox.session, len(outbox)) == ("old", 3)
    assert posts_of(outbox.due()) == [Posts(4, ("d", "e")), PROBE]
    assert outbox.acked(4, (9,))[1] == [Committed(None, "old", 4, 9)]
    assert outbox.session == "old"
    assert outbox.due() == []
    commands, told = outbox.acked(5, (10,))
    assert commands == [StopTimer("outbox.resend")]
    assert told == [Committed(None, "old", 5, 10)]
    assert outbox.session == "new"
    assert posts_of(outbox.due()) == [Posts(1, ("f",))]
    assert outbox.acked(1, (11,))[1] == [Committed("tag", "new", 1, 11)]


def test_several_starts_leave_several_sessions_that_are_sent_one_after_the_other() -> None:
    left = (*rows("a", 1, "1"), *rows("b", 1, "2", "3", place=2))
    outbox = Outbox("c", Kept("me", "log", left))
    sent = []
    for _ in range(2):
        session = outbox.session
        sent += [(session, post.first_counter, post.texts) for post in posts_of(outbox.due()) if post != PROBE]
        outbox.acked(1, range(1, 1 + len(outbox.posts)))
    assert sent == [("a", 1, ("1",)), ("b", 1, ("2", "3"))]
    assert outbox.session == "c"


def test_a_left_post_that_the_server_has_for_longer_than_it_acknowledges_is_known_to_be_committed() -> None:
    outbox = Outbox("new", Kept("me", "log", rows("old", 1, "a", "b", "c")))
    outbox.add("d", None)
    outbox.due()
    assert outbox.resend(3 + limits.POSTS_IN_FLIGHT_MAX) == (
        [StartTimer("outbox.resend", limits.POST_RESEND_MS)],
        [Committed(None, "old", 1, 0), Committed(None, "old", 2, 0)],
    )
    assert outbox.session == "old", "the third one may be uncommitted still: it will be acknowledged"
    assert outbox.acked(3, (7,))[1] == [Committed(None, "old", 3, 7)]
    assert outbox.session == "new"


def test_the_own_session_of_this_start_takes_no_such_word() -> None:
    outbox = filled(3)
    outbox.due()
    assert outbox.resend(10_000) == ([], [])
    assert len(outbox) == 3


def test_left_posts_of_another_history_are_posted_anew_once_that_is_on_disk() -> None:
    outbox = Outbox("new", Kept("me", "first", rows("old", 4, "d", "e")))
    outbox.add("f", None)
    outbox.take_write()
    outbox.written(1)
    assert outbox.enter("second")
    assert outbox.due() == []
    assert outbox.take_write() == Write(2, "second", rows("new-1", 1, "d", "e", "f"), (), is_awaited=True)
    outbox.restart_sending()
    assert outbox.due() == []
    outbox.written(2)
    assert (outbox.session, posts_of(outbox.due())) == ("new-1", [Posts(1, ("d", "e", "f"))])


def test_who_has_lost_the_disk_does_not_wait_for_it() -> None:
    outbox = Outbox("new", Kept("me", "first", rows("old", 4, "d")))
    outbox.enter("second")
    outbox.take_write()
    outbox.lose_disk()
    assert posts_of(outbox.due()) == [Posts(1, ("d",))]
    outbox.add("e", None)
    assert outbox.enter("third")
    assert outbox.take_write() is None
    assert posts_of(outbox.due()) == [Posts(1, ("d", "e"))]


# --- dropping ---


def test_a_post_that_was_never_sent_is_dropped_and_what_follows_goes_on_in_another_session() -> None:
    outbox = Outbox("s", Kept("me"))
    for number in range(1, 5):
        outbox.add(str(number), number)
    outbox.take_write()
    assert outbox.drop(2) == Dropped(2, "2", 2, was_sent=False, is_left=False)
    assert outbox.due() == [], "on disk the third one still has the number that the first may be followed by"
    write = outbox.take_write()
    assert write == Write(2, None, rows("s-1", 1, "3", "4", place=3), (2,), is_awaited=True)
    outbox.written(2)
    assert posts_of(outbox.due()) == [Posts(1, ("1",))]
    outbox.acked(1, (1,))
    assert (outbox.session, posts_of(outbox.due())) == ("s-1", [Posts(1, ("3", "4"))])
    assert outbox.add("5", 5) == 5
    assert posts_of(outbox.due()) == [Posts(3, ("5",))]


def test_of_posts_that_were_sent_only_the_last_can_be_dropped() -> None:
    outbox = filled(3)
    outbox.due()
    outbox.add("4", 4)
    assert outbox.drop(2) is None
    assert outbox.drop(3) == Dropped(3, "3", 3, was_sent=True, is_left=False)
    assert outbox.drop(2) == Dropped(2, "2", 2, was_sent=True, is_left=False)
    assert outbox.acked(1, (1, 2, 3))[1] == [Committed(1, "s", 1, 1)], "it was posted all the same"
    assert outbox.session == "s-1"
    assert posts_of(outbox.due()) == [Posts(1, ("4",))]


def test_what_an_earlier_start_left_counts_as_sent() -> None:
    outbox = Outbox("new", Kept("me", "log", rows("old", 1, "a", "b")))
    assert [(post.number, post.state, post.is_left, post.is_kept) for post in outbox.waiting] == [
        (1, State.SENT, True, True),
        (2, State.SENT, True, True),
    ]
    assert outbox.drop(1) is None
    assert outbox.drop(2) == Dropped(2, "b", None, was_sent=True, is_left=True)
    assert outbox.drop(1) == Dropped(1, "a", None, was_sent=True, is_left=True)
    assert outbox.session == "new"
    assert outbox.take_write() == Write(1, None, (), (2, 1), is_awaited=True)


def test_all_can_be_dropped_and_what_is_posted_then_is_of_another_session() -> None:
    outbox = Outbox("s", Kept("me", "log", rows("old", 1, "a")))
    outbox.add("b", 2)
    outbox.take_write()
    outbox.due()
    dropped, told = outbox.drop_all()
    assert [(post.number, post.was_sent) for post in dropped] == [(1, True), (2, False)]
    assert told == []
    assert (len(outbox), outbox.session, outbox.due()) == (0, "s-1", [])
    assert outbox.take_write() == Write(2, None, (), (1, 2), is_awaited=True)
    outbox.add("c", 3)
    assert outbox.due() == []
    outbox.written(2)
    assert posts_of(outbox.due()) == [Posts(1, ("c",))]
    assert outbox.drop_all()[0][0].text == "c"


def test_what_is_committed_is_not_dropped_but_told() -> None:
    outbox = filled(2)
    outbox.due()
    outbox.acked(2, (9,))
    with pytest.raises(KeyError):
        outbox.drop(2)
    assert outbox.drop(1) is None
    dropped, told = outbox.drop_all()
    assert ([post.number for post in dropped], told) == ([1], [Committed(2, "s", 2, 9)])


def test_what_does_not_wait_cannot_be_dropped() -> None:
    with pytest.raises(KeyError):
        filled(1).drop(2)
    assert filled(0).drop_all() == ([], [])


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


# --- killed at any moment ---


class Server:
    """What a server does with posts: each number of a session once, in turn. It remembers a few of the last."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.seqs: dict[str, list[int]] = {}

    def take(self, outbox: Outbox, posts: Posts, session: str) -> None:
        """Take one message, and tell the outbox what there is to say to it."""
        seqs = self.seqs.setdefault(session, [])
        acked: list[tuple[int, int]] = []
        for counter, text in enumerate(posts.texts, start=posts.first_counter):
            if counter > len(seqs) + 1:
                outbox.resend(len(seqs) + 1)
                return
            if counter == len(seqs) + 1:
                self.entries.append(text)
                seqs.append(len(self.entries))
            if counter > len(seqs) - limits.SEQS_REMEMBERED:
                acked.append((counter, seqs[counter - 1]))
        if acked:
            outbox.acked(acked[0][0], [seq for _, seq in acked])


DEEDS = {
    "say": 30,
    "send": 12,
    "send unheard": 5,
    "write": 8,
    "write one": 6,
    "kill": 5,
    "start over": 1,
    "drop": 3,
    "drop all": 1,
}


class Author:
    """Somebody who types, drops, and is killed between any two turns of the loop; the disk may lag behind.

    Each text is its number.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.servers = [Server()]
        self.disk = Disk()
        self.said = self.starts = 0
        self.may_be_missing = set[str]()  # never on disk when its author died, or dropped
        self.start()

    def start(self) -> None:
        self.starts += 1
        self.outbox = Outbox(f"start-{self.starts}", self.disk.kept)
        self.join()

    def join(self) -> None:
        self.outbox.enter(f"log-{len(self.servers)}")
        self.outbox.restart_sending()

    def act(self) -> None:
        match self.random.choices(list(DEEDS), list(DEEDS.values()))[0]:
            case "say":
                self.said += 1
                self.outbox.add(str(self.said), None)
            case "send":
                self.send(heard=True)
            case "send unheard":  # and the next time it joins once more
                self.send(heard=False)
                self.outbox.restart_sending()
            case "write":
                self.disk.do(self.outbox)
            case "write one":
                self.disk.do(self.outbox, 1)
            case "kill":
                lost = {post.text for post in self.outbox.waiting if not post.is_kept}
                self.may_be_missing |= lost - {row.text for row in self.disk.rows.values()}
                self.disk.waiting.clear()
                self.start()
            case "start over":
                self.servers.append(Server())
                self.join()
            case "drop":
                self.drop()
            case "drop all":
                self.dropped({post.text for post in self.outbox.drop_all()[0]})
        self.disk.take(self.outbox)

    def send(self, *, heard: bool) -> None:
        session = self.outbox.session
        for posts in posts_of(self.outbox.due()):
            if self.outbox.session != session:
                return  # the link is closed: what was sent for a session that is over, nobody answers
            self.servers[-1].take(self.outbox if heard else Outbox(session), posts, session)

    def drop(self) -> None:
        waiting = self.outbox.waiting
        if waiting and (dropped := self.outbox.drop(self.random.choice(waiting).number)) is not None:
            self.dropped({dropped.text})

    def dropped(self, texts: set[str]) -> None:
        self.may_be_missing |= texts
        if self.random.random() < 0.5:  # or it dies before that is on disk, and they come again
            self.disk.take(self.outbox)
            self.disk.do(self.outbox)

    def finish(self) -> None:
        """Let everything get through."""
        for _ in range(200):
            self.disk.take(self.outbox)
            self.disk.do(self.outbox)
            if not len(self.outbox):
                return
            self.outbox.restart_sending()
            self.send(heard=True)
        raise AssertionError(f"stuck: {self.outbox.waiting}")


def test_whenever_its_author_is_killed_what_was_on_disk_is_posted_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "POSTS_IN_FLIGHT_MAX", 4)
    monkeypatch.setattr(limits, "SEQS_REMEMBERED", 5)
    monkeypatch.setattr(limits, "POSTS_PER_MESSAGE_MAX", 3)
    for seed in range(1_500):
        author = Author(seed)
        for _ in range(author.random.randint(10, 80)):
            author.act()
        author.finish()
        assert author.disk.rows == {}, seed
        for server in author.servers:
            assert server.entries == sorted(set(server.entries), key=int), f"{seed}: doubled, or out of order"
        posted = {text for server in author.servers for text in server.entries}
        missing = {str(number) for number in range(1, author.said + 1)} - posted
        assert missing <= author.may_be_missing, seed
