"""ui.scrollback: parts of the history come where they belong, in whatever order they are asked for."""

import pytest

from peer import intents, notices
from ui.page import LINES_MAX, READING_MAX, Kind, Line, Page
from ui.scrollback import PART, Scrollback

WITHIN = 10


def one(seq: int, author: str = "bo") -> notices.ChatMessage:
    return notices.ChatMessage(seq, 1, f"x/{seq}", author, "hello", seq)


def as_line(message: notices.ChatMessage) -> Line | None:
    if message.author == "ignored":
        return None
    return Line(Kind.SAID, "2026-01-01", "10:24", (message.text,), message.author, seq=message.seq)


def room(first: int, last: int) -> Page:
    """A page with these messages of a longer history."""
    page = Page("room")
    for seq in range(first, last + 1):
        line = as_line(one(seq))
        assert line is not None
        page.add(line)
    page.log.from_seq, page.log.to_seq = first, last
    return page


def answer(question: intents.AskHistory, head: int, author: str = "bo") -> notices.HistoryPage:
    """What the room answers whose last message is `head`."""
    before = question.before if 0 < question.before <= head else head + 1
    first = max(1, before - question.count)
    return notices.HistoryPage(tuple(one(seq, author) for seq in range(first, before)), more=first > 1)


def seqs(page: Page) -> list[int]:
    return [line.seq for line in page.shown]


def test_what_is_next_to_the_screen_is_fetched_only_while_somebody_reads_there() -> None:
    page = room(301, 400)
    back = Scrollback(page, as_line)
    back.seen(page.log.first, page.log.first + 5, WITHIN)
    assert back.take() == []
    page.follows = False
    back.seen(page.log.first + WITHIN + 1, page.log.last - WITHIN - 1, WITHIN)
    assert back.take() == []
    back.seen(page.log.first + WITHIN, page.log.first + 20, WITHIN)
    assert back.take() == [intents.AskHistory(301, PART)]


def test_at_the_beginning_of_the_history_nothing_more_is_asked_for() -> None:
    page = room(1, 50)
    page.follows = False
    back = Scrollback(page, as_line)
    back.seen(page.log.first, page.log.first + 5, WITHIN)
    assert back.take() == []


def test_a_part_of_which_nothing_is_shown_is_covered_all_the_same() -> None:
    page = room(301, 400)
    page.follows = False
    back = Scrollback(page, as_line)
    back.seen(page.log.first, page.log.first, WITHIN)
    [question] = back.take()
    back.answered(answer(question, 400, author="ignored"))
    assert seqs(page)[0] == 301
    back.seen(page.log.first, page.log.first, WITHIN)
    assert back.take() == [intents.AskHistory(201, PART)]


def test_an_excerpt_grows_both_ways_until_it_meets_the_newest_part() -> None:
    page = room(901, 1_000)
    back = Scrollback(page, as_line)
    assert back.jump(500)
    [around] = back.take()
    back.answered(answer(around, 1_000))
    assert seqs(page) == list(range(450, 550))
    while page.excerpt is not None:
        assert seqs(page) == list(range(450, page.excerpt.to_seq + 1))
        page.seen = (page.excerpt.last - 5, page.excerpt.last)
        back.seen(*page.seen, WITHIN)
        for question in back.take():
            back.answered(answer(question, 1_000))
    assert seqs(page) == list(range(450, 1_001))
    assert page.log.from_seq == 450
    assert not page.follows
    assert page.target is not None
    at = page.log.get(page.target)
    assert at is not None
    assert at.seq == 900, "what was read last stays on the screen"


def test_a_jump_overtakes_what_was_asked_for_before_it() -> None:
    page = room(901, 1_000)
    page.follows = False
    back = Scrollback(page, as_line)
    back.seen(page.log.first, page.log.first, WITHIN)
    [older] = back.take()
    back.jump(700)
    back.jump(100)
    assert back.take() == [], "one question at a time"
    back.answered(answer(older, 1_000))
    [around] = back.take()
    back.answered(answer(around, 1_000))
    assert back.take() == []
    assert seqs(page) == list(range(50, 150))
    assert page.log.from_seq == 901


def test_a_jump_near_an_ignored_author_shows_what_is_around() -> None:
    page = room(901, 1_000)
    back = Scrollback(page, as_line)
    back.jump(100)
    back.take()
    messages = tuple(one(seq, "ignored" if seq == 100 else "bo") for seq in range(50, 150))
    back.answered(notices.HistoryPage(messages, more=True))
    assert page.excerpt is not None
    assert page.target in (page.excerpt.key_of(99), page.excerpt.key_of(101))


def test_an_export_is_given_out_when_its_last_part_has_come() -> None:
    page = room(4_951, 5_000)
    back = Scrollback(page, as_line)
    assert back.export("talk.txt")
    done = []
    while back.is_exporting:
        [question] = back.take()
        done.append(back.answered(answer(question, 5_007)))
    assert back.take() == []
    assert done[:-1] == [None] * (len(done) - 1)
    assert done[-1] is not None
    assert [message.seq for message in done[-1].messages] == list(range(1, 5_001))


def test_an_export_of_nothing_is_none_and_a_refused_one_is_over() -> None:
    assert not Scrollback(Page("room"), as_line).export("talk.txt")
    back = Scrollback(room(1, 10), as_line)
    back.export("talk.txt")
    assert back.is_exporting
    assert len(back.take()) == 1
    assert back.refused()
    assert not back.is_exporting
    assert not back.refused()


def test_a_refusal_of_what_the_reader_waits_for_leaves_an_export_alone() -> None:
    page = room(301, 400)
    page.follows = False
    back = Scrollback(page, as_line)
    back.export("talk.txt")
    back.seen(page.log.first, page.log.first, WITHIN)
    assert back.take() == [intents.AskHistory(301, PART)], "the reader goes first"
    assert not back.refused()
    assert back.is_exporting
    assert back.take() == [intents.AskHistory(401, 2_000)]


def test_what_was_refused_is_asked_for_again_when_the_reader_scrolls_or_jumps() -> None:
    page = room(301, 400)
    page.follows = False
    back = Scrollback(page, as_line)
    for again in (back.scrolled, lambda: back.jump(100)):
        back.seen(page.log.first, page.log.first, WITHIN)
        assert len(back.take()) == 1
        back.refused()
        back.seen(page.log.first, page.log.first, WITHIN)
        assert back.take() == []
        again()
    assert back.take() == [intents.AskHistory(150, PART)]


def test_of_another_history_nothing_is_waited_for_but_the_answer_that_is_still_to_come() -> None:
    page = room(301, 400)
    page.follows = False
    back = Scrollback(page, as_line)
    assert not back.start_over()
    back.export("talk.txt")
    [question] = back.take()
    back.seen(page.log.first, page.log.first, WITHIN)
    assert back.start_over()
    assert back.answered(answer(question, 400)) is None
    assert back.take() == []


def test_what_may_have_been_lost_is_asked_for_again_and_a_late_answer_does_no_harm() -> None:
    page = room(301, 400)
    page.follows = False
    back = Scrollback(page, as_line)
    back.seen(page.log.first, page.log.first, WITHIN)
    [first] = back.take()
    back.lost()
    assert back.take() == [first]
    back.answered(answer(first, 400))
    assert page.log.from_seq == 201
    back.seen(page.log.first, page.log.first, WITHIN)
    [second] = back.take()
    back.answered(answer(first, 400))
    assert page.log.from_seq == 201
    back.answered(answer(second, 400))
    assert seqs(page) == list(range(101, 401))
    back.lost()
    assert back.take() == []


def test_an_answer_that_is_shorter_than_it_should_be_is_an_answer() -> None:
    page = room(301, 400)
    page.follows = False
    back = Scrollback(page, as_line)
    for lost in (True, False):
        back.seen(page.log.first, page.log.first, WITHIN)
        [question] = back.take()
        if lost:
            back.lost()
            back.take()
            back.answered(answer(intents.AskHistory(50, PART), 400))
            assert page.log.from_seq == 301, "it was to another question"
        back.answered(notices.HistoryPage((one(question.before - 3),), more=True))
        assert page.log.from_seq == question.before - 3
        back.scrolled()


def test_an_answer_that_leads_nowhere_is_the_last_until_the_reader_scrolls() -> None:
    page = room(301, 400)
    page.follows = False
    back = Scrollback(page, as_line)
    back.seen(page.log.first, page.log.first, WITHIN)
    back.take()
    back.answered(notices.HistoryPage((), more=False))
    back.seen(page.log.first, page.log.first, WITHIN)
    assert back.take() == []
    assert seqs(page) == list(range(301, 401))
    back.jump(100)
    back.take()
    back.answered(notices.HistoryPage((), more=False))
    assert page.excerpt is None, "there is nothing to show"


def test_an_answer_to_nothing_means_nothing() -> None:
    page = room(301, 400)
    back = Scrollback(page, as_line)
    assert back.answered(answer(intents.AskHistory(301, PART), 400)) is None
    assert seqs(page) == list(range(301, 401))


def test_a_jump_goes_to_what_there_is() -> None:
    back = Scrollback(Page("room"), as_line)
    assert not back.jump(5)
    page = room(1, 10)
    back = Scrollback(page, as_line)
    for seq, key in ((99, page.log.last), (-5, page.log.first), (4, page.log.key_of(4))):
        assert back.jump(seq)
        assert page.target == key
    assert back.take() == []


def test_a_jump_inside_an_earlier_part_asks_for_nothing() -> None:
    page = room(901, 1_000)
    back = Scrollback(page, as_line)
    back.jump(500)
    [around] = back.take()
    back.answered(answer(around, 1_000))
    assert page.excerpt is not None
    for seq in (450, 549):
        assert back.jump(seq)
        assert page.target == page.excerpt.key_of(seq)
    assert back.take() == []
    back.jump(550)
    assert back.take() == [intents.AskHistory(600, PART)]
    back.answered(answer(intents.AskHistory(600, PART), 1_000))
    assert page.excerpt is not None
    back.jump(300)
    [too_late] = back.take()
    back.jump(901)
    assert page.excerpt is None
    assert page.target == page.log.key_of(901)
    back.answered(answer(too_late, 1_000))
    assert page.excerpt is None
    assert back.take() == []


def test_whoever_stays_at_the_end_is_not_taken_to_where_they_wanted_to_jump() -> None:
    page = room(901, 1_000)
    back = Scrollback(page, as_line)
    back.jump(500)
    [around] = back.take()
    back.stay()
    back.answered(answer(around, 1_000))
    assert page.excerpt is None
    back.jump(500)
    back.stay()
    assert back.take() == []


@pytest.mark.parametrize("jumps", [False, True])
def test_however_far_somebody_reads_what_is_kept_is_bounded_and_has_no_gap(jumps: bool) -> None:
    """Up to the beginning and down to the end again, as fast as the parts come; `jumps`: from the middle."""
    head = 3 * READING_MAX
    page = room(head - 99, head)
    page.follows = False
    back = Scrollback(page, as_line)
    if jumps:
        back.jump(head // 2)
        back.answered(answer(back.take()[0], head))
    most, at = 0, page.shown.first
    for direction, end in ((-1, 1), (1, head)):
        while True:
            at = page.shown.first if direction < 0 else page.shown.last
            line = page.shown.get(at)
            assert line is not None
            if line.seq == end:
                break
            page.seen = (at, at)
            back.seen(at, at, WITHIN)
            for question in back.take():
                back.answered(answer(question, head))
            most = max(most, len(page.shown))
            assert page.shown.to_seq - page.shown.from_seq + 1 == len(page.shown)
            assert page.log.to_seq == head
    assert LINES_MAX < most <= READING_MAX
    assert page.excerpt is None
