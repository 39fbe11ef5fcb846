"""ui.scrollback: parts of the history come where they belong, in whatever order they are asked for."""

from peer import intents, notices
from ui.page import Kind, Line, Page
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
        page.add(line, is_seen=True)
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
    back.jump(100)
    [around] = back.take()
    back.answered(answer(older, 1_000))
    back.answered(answer(around, 1_000))
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
    assert back.refused()
    assert not back.is_exporting
    assert not back.refused()
