"""ui.page: lines keep their keys whatever comes before and after them; pending texts, rules and bounds."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ui.page import LINES_MAX, READING_MAX, Kind, Line, Log, Page, State


def line(text: str = "hello", day: str = "2026-01-01", **more: object) -> Line:
    return Line(Kind.SAID, day, "10:24", (text,), nick="bo", **more)  # type: ignore[arg-type]


def log_of(*texts: str) -> Log:
    log = Log()
    for text in texts:
        log.append(line(text))
    return log


def texts(log: Log) -> list[str]:
    return [one.text[0] for one in log]


def test_a_line_keeps_its_key_while_others_come_on_both_sides() -> None:
    log = log_of("c")
    key = log.last
    log.append(line("d"))
    log.prepend([line("a"), line("b")])
    assert texts(log) == ["a", "b", "c", "d"]
    found = log.get(key)
    assert found is not None
    assert found.text == ("c",)
    assert (log.first, log.last) == (key - 2, key + 1)


@given(st.lists(st.tuples(st.sampled_from(["append", "prepend", "trim", "clear"]), st.integers(0, 5)), max_size=30))
def test_keys_stay_contiguous_and_true(steps: list[tuple[str, int]]) -> None:
    log, expected = Log(), dict[int, str]()
    for made, (step, number) in enumerate(steps):
        if step == "append":
            expected[log.append(line(f"{made}"))] = f"{made}"
        elif step == "prepend":
            older = [f"{made}.{index}" for index in range(number)]
            first = log.first
            log.prepend(line(text) for text in older)
            expected |= {first - number + index: text for index, text in enumerate(older)}
        elif step == "trim":
            log.trim(number)
            expected = dict(sorted(expected.items())[max(0, len(expected) - number) :])
        else:
            log.clear()
            expected = {}
        assert log.last - log.first + 1 == len(log) == len(expected)
        assert {key: one.text[0] for key in expected if (one := log.get(key))} == expected
    assert log.get(log.last + 1) is None
    assert log.get(log.first - 1) is None


def test_a_line_is_found_by_the_number_of_its_message() -> None:
    log = Log()
    log.append(line(seq=5))
    log.append(line())
    key = log.append(line(seq=6))
    assert log.key_of(6) == key
    assert log.key_of(7) is None


def test_what_was_trimmed_or_cleared_is_no_longer_covered() -> None:
    log = Log()
    for seq in (3, 4, 5):
        log.append(line(seq=seq))
    log.from_seq, log.to_seq = 3, 5
    log.trim(2)
    assert (log.from_seq, log.to_seq) == (4, 5)
    log.append(line("a remark"))
    log.trim(1)
    assert (log.from_seq, log.to_seq) == (6, 5)
    log.trim(0)
    assert (log.from_seq, log.to_seq) == (6, 5), "a remark is no message"
    log.clear()
    assert (log.from_seq, log.to_seq) == (6, 5)
    log.forget()
    assert (log.from_seq, log.to_seq) == (0, 0)


def test_remarks_that_go_before_there_was_a_message_say_nothing_of_messages() -> None:
    log = log_of("a remark", "another")
    log.trim(1)
    log.clear()
    assert (log.from_seq, log.to_seq) == (0, 0)


def test_at_its_newer_end_a_log_covers_no_more_than_it_has() -> None:
    log = Log()
    for seq in (3, 4, 5):
        log.append(line(seq=seq))
    log.from_seq, log.to_seq = 3, 5
    log.cut(2)
    assert (log.from_seq, log.to_seq, log.last) == (3, 4, log.first + 1)


def test_the_two_parts_of_a_log_have_the_keys_and_messages_they_had() -> None:
    log = Log()
    for seq in (3, 0, 4, 6, 7):
        log.append(line(seq=seq))
    log.from_seq, log.to_seq = 3, 7
    older = log.split(log.first + 3)
    assert [one.seq for one in older] == [3, 0, 4]
    assert [one.seq for one in log] == [6, 7]
    assert (older.first, older.last, log.first) == (0, 2, 3)
    assert (older.from_seq, older.to_seq, log.from_seq, log.to_seq) == (3, 4, 5, 7)


def test_the_nearest_message_is_none_of_the_remarks() -> None:
    log = Log()
    assert log.nearest(5) is None
    log.append(line("a remark"))
    assert log.nearest(5) is None
    near, far = log.append(line(seq=4)), log.append(line(seq=90))
    assert [log.nearest(seq) for seq in (1, 4, 40, 60, 90)] == [near, near, near, far, far]


def test_of_another_history_nothing_is_covered_and_no_line_has_a_number() -> None:
    log = Log()
    log.append(line(seq=3))
    log.from_seq = log.to_seq = 3
    log.disown()
    assert (log.from_seq, log.to_seq) == (0, 0)
    assert texts(log) == ["hello"]
    assert log.key_of(3) is None


def test_pending_texts_are_below_all_others() -> None:
    page = Page("room")
    page.add(line("a"))
    page.hold(line("mine", tag=1, state=State.QUEUED))
    below = page.line(page.log.last + 1)
    assert below is not None
    assert below.text == ("mine",)
    assert page.last_key == page.log.last + 1
    page.restate(State.QUEUED, State.SENT)
    assert page.pending[0].state is State.SENT
    assert page.settle(2) is None
    settled = page.settle(1)
    assert settled is not None
    assert settled.tag == 1
    assert page.line(page.log.last + 1) is None


def test_of_two_pending_texts_that_read_the_same_the_first_is_settled() -> None:
    page = Page("room")
    page.hold(line("mine", tag=1))
    page.hold(line("mine", tag=2))
    settled = page.settle_own(1, ("mine",))
    assert settled is not None
    assert settled.tag == 1
    assert [one.tag for one in page.pending] == [2]
    assert page.settle_own(2, ("other",)) is None
    assert [one.tag for one in page.pending] == [2]


def test_a_confirmed_text_is_settled_by_its_number_and_by_any_later_one() -> None:
    page = Page("room")
    for tag in (1, 2, 3):
        page.hold(line("mine", tag=tag))
    page.confirm(2, 5)
    assert [(one.tag, one.seq, one.state) for one in page.pending] == [
        (1, 0, None),
        (2, 5, State.COMMITTED),
        (3, 0, None),
    ]
    settled = page.settle_own(5, ("mine",))
    assert settled is not None
    assert settled.tag == 2
    page.confirm(1, 6)
    assert page.settle_own(7, ("other",)) is None
    assert [one.tag for one in page.pending] == [3], "6 was lost on its way"
    page.log.to_seq = 9
    page.confirm(3, 9)
    assert page.pending == [], "the message was here before"


def test_an_own_text_is_marked_where_it_stands() -> None:
    page = Page("bo", "bo")
    key = page.add(line("mine", tag=7, state=State.QUEUED))
    page.add(line("theirs"))
    page.mark(7, State.DELIVERED)
    marked = page.log.get(key)
    assert marked is not None
    assert marked.state is State.DELIVERED
    page.mark(8, State.FAILED)
    assert [one.state for one in page.log] == [State.DELIVERED, None]


def test_a_day_has_its_rule_where_it_begins_only() -> None:
    page = Page("room")
    keys = [page.add(line(day=day)) for day in ("2026-01-01", "2026-01-01", "2026-01-02")]
    assert [page.rules_before(key) for key in keys] == [("2026-01-01",), (), ("2026-01-02",)]
    assert page.rules_before(keys[-1] + 1) == ()


def test_the_rule_is_above_the_first_of_what_nobody_saw() -> None:
    page = Page("room")
    page.add(line("read"))
    page.leave()
    assert page.rule_after is None, "nothing came"
    page.add(line("a remark"))
    first = page.add(line("unread", mentions_me=True), is_unread=True)
    second = page.add(line("unread"), is_unread=True)
    assert (page.unread, page.mentions) == (2, 1)
    assert (page.rules_before(first), page.rules_before(second)) == (("unread",), ())


def test_the_rule_stays_until_the_reader_looks_away_from_what_was_read() -> None:
    page = Page("room")
    page.add(line("read"))
    first = page.add(line("unread"), is_unread=True)
    page.leave()
    page.add(line("unread"), is_unread=True)
    assert page.rules_before(first) == ("unread",), "it was not read in between"
    page.read()
    assert (page.unread, page.mentions) == (0, 0)
    assert page.rules_before(first) == ("unread",)
    page.leave()
    assert page.rules_before(first) == ()


def test_in_a_private_talk_everything_unread_is_for_us() -> None:
    page = Page("bo", "bo")
    page.add(line("psst"), is_unread=True)
    assert (page.unread, page.mentions) == (1, 1)


def test_a_page_keeps_so_many_lines_and_no_more() -> None:
    page = Page("room")
    for _ in range(LINES_MAX + 10):
        page.add(line())
    assert len(page.log) == LINES_MAX


def page_of(nick: str, first: int, last: int) -> Page:
    """Scrolled up, with messages of these numbers."""
    page = Page(nick or "room", nick)
    page.follows = False
    page.log.from_seq = first
    for seq in range(first, last + 1):
        page.add(line(seq=seq))
    page.log.to_seq = last
    return page


def test_what_somebody_reads_far_up_in_a_talk_is_kept_for_long_but_not_for_ever() -> None:
    page = page_of("bo", 1, READING_MAX)
    assert len(page.log) == READING_MAX
    versions = page.versions
    last = page.add(line())
    assert (page.log.first, page.log.last) == (READING_MAX // 2 + 1, last)
    assert page.versions == versions + 1
    assert page.excerpt is None


def test_what_somebody_reads_far_up_in_the_room_is_set_apart_and_stays() -> None:
    page = page_of("", 1, READING_MAX)
    at = page.log.key_of(200)
    assert at is not None
    page.seen = (at, at + 20)
    page.add(line(seq=READING_MAX + 1))
    assert page.excerpt is not None
    assert page.target == at
    shown = page.line(at)
    assert shown is not None
    assert shown.seq == 200
    assert (page.excerpt.from_seq, page.excerpt.to_seq) == (1, READING_MAX // 2 + 1)
    assert page.log.from_seq == READING_MAX + 2 - LINES_MAX
    assert len(page.log) == LINES_MAX
    page.add(line())
    assert len(page.log) == LINES_MAX


def test_whoever_reads_in_the_newer_half_stays_there_while_the_older_half_goes() -> None:
    page = page_of("", 1, READING_MAX)
    first = READING_MAX // 2 + 1
    page.seen = (first, first + 20)
    page.add(line())
    assert page.excerpt is None
    assert page.log.first == first


def test_lines_below_the_screen_are_counted_only_when_scrolled_up() -> None:
    page = Page("room")
    for _ in range(10):
        page.add(line())
    page.seen = (0, 3)
    assert page.more_below == 0
    page.follows = False
    assert page.more_below == 6


def test_an_excerpt_is_shown_instead_of_the_end_and_has_no_pending_texts() -> None:
    page = Page("room")
    page.add(line("new"))
    page.hold(line("mine", tag=1))
    page.excerpt = log_of("old")
    assert page.shown is page.excerpt
    assert page.last_key == page.excerpt.last
    assert page.line(page.excerpt.last + 1) is None


def test_a_page_without_lines_has_none_below_the_screen() -> None:
    page = page_of("", 1, 10)
    page.log.clear()
    page.seen = (0, -1)
    assert page.more_below == 0


def test_two_pages_become_one_in_the_order_of_time() -> None:
    page, other = Page("bo", "bo"), Page("bob", "bob")
    for minute in ("10:24", "10:26"):
        page.add(replace(line(f"bo {minute}"), time=minute))
        other.add(replace(line(f"bob {minute}"), time=minute), is_unread=True)
    other.add(replace(line("bob 09:00", day="2026-01-02"), time="09:00"), is_unread=True)
    versions = page.versions
    page.absorb(other)
    assert texts(page.log) == ["bo 10:24", "bob 10:24", "bo 10:26", "bob 10:26", "bob 09:00"]
    assert (page.unread, page.mentions) == (3, 3)
    assert page.versions > versions


def test_another_history_leaves_what_was_said_and_what_waits() -> None:
    page = page_of("", 1, 2)
    page.follows = True
    for tag in (1, 2):
        page.hold(line(f"mine {tag}", tag=tag, state=State.SENT))
    page.confirm(1, 3)
    page.start_over()
    assert [(one.text[0], one.seq, one.state) for one in page.log] == [
        ("hello", 0, None),
        ("hello", 0, None),
        ("mine 1", 0, State.COMMITTED),
    ]
    assert [one.tag for one in page.pending] == [2]
    assert (page.log.from_seq, page.log.to_seq) == (0, 0)


def test_who_went_to_a_line_is_at_the_end_only_when_that_is_on_the_screen() -> None:
    page = page_of("", 1, 10)
    assert page.go(page.log.first + 4)
    assert not page.is_at_end
    page.seen = (page.log.first, page.last_key)
    assert page.is_at_end
    page.target = None
    assert not page.is_at_end, "who scrolls wants to read"
    assert not page.go(page.last_key + 1)
    assert not page.go(None)


def test_no_rule_stands_above_everything() -> None:
    page = Page("bo", "bo")
    first = page.add(line("unread"), is_unread=True)
    assert page.rules_before(first) == (page.shown.get(first).day,)  # type: ignore[union-attr]  # it is there
    second = page.add(line("read"))
    page.read()
    page.leave()
    third = page.add(line("unread"), is_unread=True)
    assert page.rules_before(second) == ()
    assert page.rules_before(third) == ("unread",)
