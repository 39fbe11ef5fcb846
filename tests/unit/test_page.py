"""ui.page: lines keep their keys whatever comes before and after them; pending texts, rules and bounds."""

from hypothesis import given
from hypothesis import strategies as st

from ui.page import LINES_MAX, Kind, Line, Log, Page, State


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
    log.clear()
    assert (log.from_seq, log.to_seq) == (6, 5)


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
    page.add(line("a"), is_seen=True)
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
    settled = page.settle_text(("mine",))
    assert settled is not None
    assert settled.tag == 1
    assert [one.tag for one in page.pending] == [2]
    assert page.settle_text(("other",)) is None


def test_an_own_text_is_marked_where_it_stands() -> None:
    page = Page("bo", "bo")
    key = page.add(line("mine", tag=7, state=State.QUEUED), is_seen=True)
    page.add(line("theirs"), is_seen=True)
    page.mark(7, State.DELIVERED)
    marked = page.log.get(key)
    assert marked is not None
    assert marked.state is State.DELIVERED
    page.mark(8, State.FAILED)
    assert [one.state for one in page.log] == [State.DELIVERED, None]


def test_a_day_has_its_rule_where_it_begins_only() -> None:
    page = Page("room")
    keys = [page.add(line(day=day), is_seen=True) for day in ("2026-01-01", "2026-01-01", "2026-01-02")]
    assert [page.rules_before(key) for key in keys] == [("2026-01-01",), (), ("2026-01-02",)]
    assert page.rules_before(keys[-1] + 1) == ()


def test_what_came_since_the_reader_looked_away_is_below_a_rule() -> None:
    page = Page("room")
    page.add(line("read"), is_seen=True)
    page.leave()
    page.settle_rule()
    assert page.rule_after is None, "nothing came"
    page.leave()
    key = page.add(line("unread"), is_seen=False)
    page.settle_rule()
    assert page.rules_before(key) == ("unread",)


def test_a_page_keeps_so_many_lines_and_no_more() -> None:
    page = Page("room")
    for _ in range(LINES_MAX + 10):
        page.add(line(), is_seen=True)
    assert len(page.log) == LINES_MAX


def test_what_somebody_reads_far_up_is_kept_for_long_but_not_for_ever() -> None:
    page = Page("room")
    page.follows = False
    for _ in range(4 * LINES_MAX):
        page.add(line(), is_seen=False)
    assert len(page.log) == 4 * LINES_MAX
    versions = page.versions
    page.add(line(), is_seen=False)
    assert len(page.log) == 2 * LINES_MAX
    assert page.versions == versions + 1


def test_lines_below_the_screen_are_counted_only_when_scrolled_up() -> None:
    page = Page("room")
    for _ in range(10):
        page.add(line(), is_seen=True)
    page.seen = (0, 3)
    assert page.more_below == 0
    page.follows = False
    assert page.more_below == 6


def test_an_excerpt_is_shown_instead_of_the_end_and_has_no_pending_texts() -> None:
    page = Page("room")
    page.add(line("new"), is_seen=True)
    page.hold(line("mine", tag=1))
    page.excerpt = log_of("old")
    assert page.shown is page.excerpt
    assert page.last_key == page.excerpt.last
    assert page.line(page.excerpt.last + 1) is None
