"""ui.pages: one page for each talk, one of all is shown, and what comes there while somebody looks is read."""

from ui.page import Kind, Line, State
from ui.pages import IDLE_MS, PAGES_MAX, Pages


def line(text: str = "hello", time: str = "10:24", *, mentions_me: bool = False, tag: int = 0) -> Line:
    return Line(Kind.SAID, "2026-01-01", time, (text,), nick="bo", mentions_me=mentions_me, tag=tag)


def test_a_talk_has_one_page_however_its_nick_is_written() -> None:
    pages = Pages("room", 0)
    bo = pages.open_talk("bo\u202e")
    assert pages.open_talk("BO\u202e") is bo
    assert pages.talk_with("Bo\u202e") is bo
    assert (bo.nick, bo.title) == ("bo\u202e", "bo<U+202E>")
    assert pages.talk_with("cy") is None
    assert pages.talk_with("") is None, "the room is no talk"
    assert pages.all == [pages.room, bo]


def test_where_there_is_no_room_the_page_that_was_quiet_for_longest_gives_way() -> None:
    pages = Pages("room", 0)
    for number in range(1, PAGES_MAX):
        pages.add(pages.open_talk(f"n{number}"), line(time=f"10:{number:02}"), is_news=number == 2)
    pages.add(pages.open_talk("n1"), line(time="11:00"))
    pages.show(pages.open_talk("n3"))
    for nick in ("one more", "and one more"):
        pages.add(pages.open_talk(nick), line(time="11:01"))
    assert len(pages.all) == PAGES_MAX
    gone = [number for number in range(1, PAGES_MAX) if pages.talk_with(f"n{number}") is None]
    assert gone == [4, 5], "neither what is unread or shown, nor where something was said lately"
    assert [page.title for page in pages.all[-2:]] == ["one more", "and one more"]


def test_a_page_follows_the_name_of_the_other() -> None:
    pages = Pages("room", 0)
    bo = pages.open_talk("bo")
    assert pages.rename_talk("bo", "bob\x07") is bo
    assert (bo.nick, bo.title) == ("bob\x07", "bob^G")
    assert pages.rename_talk("bo", "dee") is None
    assert pages.rename_talk("bob\x07", "BOB\x07") is bo
    assert pages.all == [pages.room, bo]


def test_two_pages_of_one_nick_become_one_which_is_shown_if_one_of_them_was() -> None:
    for shown in ("bo", "cy", ""):
        pages = Pages("room", 0)
        bo, cy = pages.open_talk("bo"), pages.open_talk("cy")
        pages.add(bo, line("of bo"), is_news=True)
        pages.add(cy, line("of cy"), is_news=True)
        pages.show(pages.talk_with(shown) or pages.room)
        assert pages.rename_talk("cy", "bo") is cy
        assert pages.all == [pages.room, cy]
        assert pages.current is (cy if shown else pages.room)
        assert cy.unread == (0 if shown else 2)
        assert len(cy.log) == 2


def test_a_private_text_is_marked_wherever_it_stands() -> None:
    pages = Pages("room", 0)
    bo, cy = pages.open_talk("bo"), pages.open_talk("cy")
    for tag, page in ((1, bo), (2, cy)):
        pages.add(page, line(tag=tag))
    assert pages.mark(2, State.FAILED, "bo") is cy
    assert pages.mark(1, State.DELIVERED) is bo
    assert pages.mark(1, State.DELIVERED, "bo") is bo
    assert pages.mark(3, State.FAILED, "bo") is None
    assert [one.state for page in (bo, cy) for one in page.log] == [State.DELIVERED, State.FAILED]


def test_what_comes_is_unread_unless_it_is_shown_at_the_end_to_somebody() -> None:
    pages = Pages("room", 0)
    bo = pages.open_talk("bo")
    pages.add(pages.room, line(), is_news=True)
    pages.add(bo, line(), is_news=True)
    pages.add(bo, line())
    assert (pages.room.unread, bo.unread) == (0, 1)
    pages.room.follows = False
    pages.add(pages.room, line(), is_news=True)
    assert pages.room.unread == 1
    assert pages.show(bo)
    assert not pages.show(bo)
    assert (pages.room.unread, bo.unread) == (1, 0)
    pages.show(pages.room)
    assert pages.room.unread == 1, "the end was not on the screen"
    pages.room.follows = True
    pages.show(bo)
    pages.show(pages.room)
    assert pages.room.unread == 0


def test_pages_have_numbers_and_a_circular_order() -> None:
    pages = Pages("room", 0)
    bo, cy = pages.open_talk("bo"), pages.open_talk("cy")
    assert [pages.at(number) for number in range(5)] == [None, pages.room, bo, cy, None]
    assert [pages.beside(step) for step in (-1, 1, 2, 3)] == [cy, bo, cy, pages.room]


def test_the_next_active_page_is_one_with_something_for_us_before_any_other() -> None:
    pages = Pages("room", 0)
    assert pages.next_active() is None
    bo, cy = pages.open_talk("bo"), pages.open_talk("cy")
    pages.show(cy)
    cy.follows = False
    pages.add(cy, line(), is_news=True)
    assert pages.next_active() is None, "this one is shown"
    pages.add(pages.room, line(), is_news=True)
    assert pages.next_active() is pages.room
    pages.add(bo, line(), is_news=True)
    assert pages.next_active() is bo
    pages.add(pages.room, line(mentions_me=True), is_news=True)
    assert pages.next_active() is pages.room, "the next one in the order"
    pages.show(bo)
    assert pages.next_active() is cy


def test_a_rule_goes_with_the_page_it_was_read_on() -> None:
    pages = Pages("room", 0)
    bo = pages.open_talk("bo")
    pages.add(bo, line("read"))
    pages.add(bo, line(), is_news=True)
    pages.show(bo)
    assert bo.rule_after == bo.log.first
    pages.show(pages.room)
    assert bo.rule_after is None


def test_nobody_is_there_after_a_while_without_a_key() -> None:
    pages = Pages("room", 1_000)
    for now_ms, unread in ((IDLE_MS + 999, 0), (IDLE_MS + 1_000, 1)):
        pages.tick(now_ms)
        pages.add(pages.room, line(), is_news=True)
        assert pages.room.unread == unread
    pages.touched(IDLE_MS + 1_000)
    assert pages.room.unread == 0
    pages.tick(2 * IDLE_MS + 999)
    pages.add(pages.room, line(), is_news=True)
    assert pages.room.unread == 0


def test_a_terminal_that_tells_who_has_the_keyboard_is_believed() -> None:
    pages = Pages("room", 0)
    pages.focus(has_focus=True)
    pages.tick(10 * IDLE_MS)
    pages.add(pages.room, line(), is_news=True)
    assert pages.room.unread == 0
    pages.focus(has_focus=False)
    key = pages.room.log.last
    pages.add(pages.room, line(), is_news=True)
    pages.focus(has_focus=False)
    assert pages.room.unread == 1
    pages.focus(has_focus=True)
    assert pages.room.unread == 0
    assert pages.room.rule_after == key
    pages.focus(has_focus=True)
    assert pages.room.rule_after == key
    pages.focus(has_focus=False)
    assert pages.room.rule_after is None


def test_who_is_away_has_read_nothing_when_two_pages_become_one() -> None:
    pages = Pages("room", 0)
    pages.open_talk("bo")
    pages.show(pages.open_talk("cy"))
    pages.focus(has_focus=False)
    cy = pages.current
    pages.add(cy, line(), is_news=True)
    pages.rename_talk("cy", "bo")
    assert cy.unread == 1


def test_the_end_is_read_only_when_somebody_is_there() -> None:
    pages = Pages("room", 0)
    pages.focus(has_focus=False)
    pages.add(pages.room, line(), is_news=True)
    pages.to_the_end()
    assert pages.room.unread == 1
    pages.focus(has_focus=True)
    pages.room.follows = False
    pages.add(pages.room, line(), is_news=True)
    pages.read()
    assert pages.room.unread == 1, "the end is not on the screen"
    pages.to_the_end()
    assert (pages.room.unread, pages.room.follows) == (0, True)
