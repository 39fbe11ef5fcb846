"""ui.model: what is on the screen follows from what the reader does."""

import pytest

from peer import intents, notices
from tests.support.models import (
    NOW_MS,
    asked,
    changed,
    earlier,
    joined,
    message,
    new_model,
    outcome,
    rings,
    shown,
    tell,
    told,
)
from ui import options
from ui.export import Export
from ui.hearing import Applied
from ui.model import INTERRUPT_MS
from ui.page import Kind
from ui.pages import IDLE_MS, PAGES_MAX
from ui.splitter import TooLong
from ui.wording import NO_TOPIC, NOBODY_SERVES, NOT_IN
from wire import limits

# --- posting ----------------------------------------------------------------------------------------------------------


def test_what_cannot_be_sent_stays_where_it_was_typed() -> None:
    model = joined()
    for line in ("x" * (limits.TEXT_BYTES_MAX + 1), "/quti", " /quit", "@bo", TooLong(9_000)):
        model.touched(NOW_MS)
        assert not model.entered(line, NOW_MS)
        assert model.hint
    assert asked(model) == []
    assert model.entered("   ", NOW_MS)


def test_who_types_too_fast_is_told_before_anything_is_sent() -> None:
    model = joined(flood_per_s=limits.FLOOD_POSTS_PER_S)
    sent = 0
    while model.entered("again", NOW_MS):
        sent += 1
        assert sent <= limits.FLOOD_BURST_POSTS
    assert "too fast" in model.hint
    assert len(asked(model)) == sent
    assert model.entered("again", NOW_MS + 1_000)


def test_a_text_that_begins_with_me_is_an_action_for_everybody() -> None:
    model = joined()
    model.entered("/me waves", NOW_MS)
    assert asked(model) == [intents.Say("/me waves", tag=1)]
    assert model.room.pending[0].kind is Kind.ACTION
    tell(model, message(1, "/me waves", "ana", own=True), message(2, "/me nods"), message(3, "/meant"))
    assert [(line.kind, line.text) for line in list(model.room.log)[-3:]] == [
        (Kind.ACTION, ("waves",)),
        (Kind.ACTION, ("nods",)),
        (Kind.SAID, ("/meant",)),
    ]
    assert model.room.pending == []


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_terminal_that_tells_no_focus_is_left_alone_when_no_key_was_pressed_for_long() -> None:
    model = joined()
    model.tick(NOW_MS + IDLE_MS - 1)
    tell(model, message(1))
    assert model.room.unread == 0
    model.tick(NOW_MS + IDLE_MS)
    tell(model, message(2))
    assert model.room.unread == 1
    model.touched(NOW_MS + IDLE_MS)
    assert model.room.unread == 0


def test_scrolled_up_the_place_stays_and_news_are_counted_until_the_end_is_reached() -> None:
    model = joined()
    tell(model, *(message(seq) for seq in range(1, 41)))
    model.scrolled(up=True)
    model.seen(5, 10)
    tell(model, message(41))
    assert model.room.more_below == model.room.last_key - 10
    assert model.room.unread == 1
    model.act("end", NOW_MS)
    assert model.room.follows
    assert model.room.unread == 0
    model.scrolled(up=True)
    model.seen(30, model.room.last_key)
    assert model.room.follows, "scrolled down to the end"


def test_one_can_go_to_the_first_unread_line_and_from_mention_to_mention() -> None:
    model = joined()
    tell(model, message(1, "ana 1"), message(2), message(3, "ana 3"), message(4))
    model.focus(has_focus=False)
    tell(model, message(5), message(6))
    model.act("first-unread", NOW_MS)
    assert model.room.target == model.room.log.key_of(5)
    model.room.target = None
    model.act("end", NOW_MS)
    model.act("previous-mention", NOW_MS)
    assert model.room.target == model.room.log.key_of(3)
    model.act("previous-mention", NOW_MS)
    assert model.room.target == model.room.log.key_of(1)
    model.act("previous-mention", NOW_MS)
    assert model.hint == "no further mention of you here"
    model.act("next-mention", NOW_MS)
    assert model.room.target == model.room.log.key_of(3)


# --- earlier parts of the history -------------------------------------------------------------------------------------


def test_older_messages_are_fetched_before_the_top_is_reached() -> None:
    model = joined(head=500)
    tell(model, *(message(seq, past=True) for seq in range(301, 501)))
    model.scrolled(up=True)
    model.seen(20, 30)
    assert asked(model) == [intents.AskHistory(before=301, count=100)]
    model.seen(20, 30)
    assert asked(model) == [], "one part at a time"
    first_before = model.room.log.first
    tell(model, earlier(201, 300))
    assert model.room.log.from_seq == 201
    assert model.room.log.first == first_before - 100
    assert shown(model.room)[0] == "bo: number 201"


def test_a_search_shows_what_was_found_and_one_jumps_to_it_and_back() -> None:
    model = joined(head=5_000)
    tell(model, *(message(seq, past=True) for seq in range(4_801, 5_001)))
    assert model.entered("/search lunch", NOW_MS)
    [question] = asked(model)
    assert isinstance(question, intents.AskSearch)
    assert question.query == "lunch"
    found = tuple(notices.ChatMessage(seq, 1, "x", "bo", "lunch", seq) for seq in (100, 4_900))
    tell(model, notices.FoundMessages(found, more=False))
    assert model.found is not None
    assert model.found.index == 1
    model.pick(-1)
    model.pick(-1)
    model.pick_up()
    assert model.found is None
    assert asked(model) == [intents.AskHistory(before=150, count=100)]
    tell(model, earlier(50, 149))
    assert model.room.excerpt is not None
    assert model.room.target == model.room.excerpt.key_of(100)
    model.act("close", NOW_MS)
    assert model.room.excerpt is None
    assert model.room.follows


def test_nothing_found_is_said_and_closes_nothing() -> None:
    model = joined()
    model.entered("/search lunch", NOW_MS)
    tell(model, notices.FoundMessages((), more=False))
    assert model.found is None
    assert "nothing found for lunch" in model.hint


def test_a_jump_to_what_is_there_already_asks_for_nothing() -> None:
    model = joined(head=200)
    tell(model, *(message(seq, past=True) for seq in range(1, 201)))
    model.jump(100)
    assert asked(model) == []
    assert model.room.target == model.room.log.key_of(100)


def test_a_line_one_went_to_near_the_end_stays_marked_until_something_comes() -> None:
    model = joined()
    tell(model, message(1), message(2), message(3))
    model.jump(2)
    model.seen(model.room.log.first, model.room.last_key)
    assert model.room.target == model.room.log.key_of(2)
    assert not model.room.follows
    tell(model, message(4))
    assert model.room.follows
    assert (model.room.unread, model.room.target) == (0, None)


@pytest.mark.parametrize(("line", "seq"), [("/history 20", 81), ("/history 20 51", 31), ("/history 500", 1)])
def test_history_goes_to_the_first_of_so_many_messages_before_one(line: str, seq: int) -> None:
    model = joined(head=100)
    tell(model, *(message(one, past=True) for one in range(1, 101)))
    assert model.entered(line, NOW_MS)
    assert model.room.target == model.room.log.key_of(seq)
    assert asked(model) == []


def test_history_in_an_empty_room_shows_nothing_and_says_so() -> None:
    model = joined()
    for line in ("/history", "/history 5 10"):
        model.touched(NOW_MS)
        assert model.entered(line, NOW_MS)
        assert model.hint == "there is no message to show"
    assert asked(model) == []
    assert model.room.excerpt is None
    assert model.room.follows


def test_history_from_an_earlier_part_and_after_clear_is_that_before_the_end() -> None:
    model = joined(head=500)
    tell(model, *(message(seq, past=True) for seq in range(301, 501)))
    model.jump(100)
    model.take()
    tell(model, earlier(50, 149))
    assert model.room.excerpt is not None
    model.entered("/history 10", NOW_MS)
    assert model.room.excerpt is None
    assert model.room.target == model.room.log.key_of(491)
    model.entered("/clear", NOW_MS)
    model.entered("/history 10", NOW_MS)
    assert asked(model) == [intents.AskHistory(501, 100)]


def test_whoever_goes_to_the_end_meanwhile_is_not_taken_back_by_a_jump() -> None:
    model = joined(head=500)
    tell(model, *(message(seq, past=True) for seq in range(301, 501)))
    model.jump(100)
    assert len(asked(model)) == 1
    model.entered("back again", NOW_MS)
    tell(model, earlier(50, 149))
    assert model.room.excerpt is None
    assert model.room.follows


def test_the_first_unread_line_is_found_from_an_earlier_part_and_when_some_are_gone() -> None:
    model = joined(head=500)
    tell(model, *(message(seq, past=True) for seq in range(301, 501)))
    model.focus(has_focus=False)
    tell(model, message(501), message(502))
    model.focus(has_focus=True)
    model.jump(100)
    model.take()
    tell(model, earlier(50, 149))
    model.act("first-unread", NOW_MS)
    assert model.room.excerpt is None
    assert model.room.target == model.room.log.key_of(501)
    model.room.log.trim(1)
    model.act("first-unread", NOW_MS)
    assert model.room.target == model.room.log.key_of(502)


def test_mentions_are_looked_for_in_the_part_that_is_shown() -> None:
    model = joined(head=500)
    tell(model, *(message(seq, "ana?", past=True) for seq in range(301, 501)))
    model.jump(100)
    model.take()
    page = earlier(50, 149)
    named = tuple(
        notices.ChatMessage(one.seq, 1, one.id, one.author, "ana!" if one.seq == 120 else one.text, one.time)
        for one in page.messages
    )
    tell(model, notices.HistoryPage(named, more=True))
    model.act("next-mention", NOW_MS)
    assert model.room.excerpt is not None
    assert model.room.target == model.room.excerpt.key_of(120)
    model.act("next-mention", NOW_MS)
    assert model.hint == "no further mention of you here"
    model.act("end", NOW_MS)
    model.act("previous-mention", NOW_MS)
    assert model.room.target == model.room.log.key_of(500), "from the end, wherever one was before"


# --- private talks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["/msg bo psst", "@bo psst", "/reply psst"])
def test_however_it_is_typed_a_private_text_goes_to_the_page_of_the_talk(line: str) -> None:
    model = joined()
    tell(model, told("hey"))
    model.take()
    model.entered(line, NOW_MS)
    assert asked(model) == [intents.Tell("bo", "psst", tag=1)]
    assert model.current.title == "bo"
    assert shown(model.current)[-1] == "ana: psst [queued]"
    tell(model, outcome("queued", 1), outcome("delivered", 1))
    assert shown(model.current)[-1] == "ana: psst [delivered]"


def test_what_is_typed_on_the_page_of_a_talk_is_private() -> None:
    model = joined()
    model.entered("/msg bo psst", NOW_MS)
    model.take()
    model.entered("and more", NOW_MS)
    assert asked(model) == [intents.Tell("bo", "and more", tag=2)]
    model.act("page-1", NOW_MS)
    model.entered("to all", NOW_MS)
    assert asked(model) == [intents.Say("to all", tag=3)]


def test_a_reply_to_nobody_and_a_text_to_oneself_stay_where_they_were_typed() -> None:
    model = joined()
    assert not model.entered("/reply hey", NOW_MS)
    assert not model.entered("/msg ana hey", NOW_MS)
    assert asked(model) == []
    assert len(model.pages) == 1


def test_next_active_goes_to_private_texts_first() -> None:
    model = joined()
    tell(model, told(sender="bo"), told(sender="cy"))
    model.act("page-2", NOW_MS)
    tell(model, message(1))
    model.act("next-active", NOW_MS)
    assert model.current.title == "cy"
    model.act("next-active", NOW_MS)
    assert model.current.is_room
    model.act("next-active", NOW_MS)
    assert model.hint == "nothing new on other pages"


def test_pages_go_round_and_a_page_that_is_not_there_changes_nothing() -> None:
    model = joined()
    tell(model, told(sender="bo"), told(sender="cy"))
    seen = []
    for _ in range(3):
        model.act("next-page", NOW_MS)
        seen.append(model.current.title)
    assert seen == ["bo", "cy", "backend.com"]
    model.act("previous-page", NOW_MS)
    assert model.current.title == "cy"
    model.act("page-9", NOW_MS)
    assert model.current.title == "cy"
    assert not model.act("page-up", NOW_MS), "that is the view's"


def test_there_are_so_many_pages_and_the_one_being_read_is_never_taken() -> None:
    model = joined()
    tell(model, told(sender="first"))
    model.act("page-2", NOW_MS)
    for number in range(PAGES_MAX + 5):
        tell(model, told(sender=f"n{number}"))
    assert len(model.pages) == PAGES_MAX
    assert model.current in model.pages
    assert model.current.title == "first"
    assert model.pages[-1].title == f"n{PAGES_MAX + 4}"


# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "intent"),
    [
        ("/who", intents.AskWho()),
        ("/nick anna", intents.ChangeNick("anna")),
        ("/away lunch", intents.GoAway("lunch")),
        ("/back", intents.GoAway(None)),
        ("/topic tea", intents.SetTopic("tea")),
        ("/status", intents.AskStatus()),
        ("/handover bo", intents.AskHandover("bo")),
        ("/quit", intents.Quit()),
    ],
)
def test_what_the_chat_is_asked_for(line: str, intent: intents.UserIntent) -> None:
    model = joined()
    assert model.entered(line, NOW_MS)
    assert asked(model) == [intent]


def test_who_is_ignored_is_not_shown_in_the_room_nor_in_private() -> None:
    model = joined()
    model.entered("/ignore bo", NOW_MS)
    before = len(shown(model.room))
    tell(model, message(1, "ana, hey"), told(), message(2, author="cy"))
    assert shown(model.room)[before:] == ["cy: hello"]
    assert len(model.pages) == 1
    assert rings(model.take()) == 0
    model.entered("/ignore", NOW_MS)
    assert shown(model.room)[-1] == "remark you ignore bo"
    model.entered("/ignore bo", NOW_MS)
    tell(model, message(3))
    assert shown(model.room)[-1] == "bo: hello"


def test_the_queue_lists_what_has_no_outcome() -> None:
    model = joined()
    tell(model, notices.StateChanged("searching", 0))
    model.entered("first", NOW_MS)
    model.entered("/msg bo psst", NOW_MS)
    model.take()
    assert model.entered("/queue", NOW_MS), "it needs no server"
    assert asked(model) == [intents.AskQueue()]
    tell(model, notices.Queue((notices.QueueLine(7, "first", "queued", kept=True, left=False),)))
    assert shown(model.current)[-1] == (
        "remark 2 texts of yours not through yet: /  7  queued: first /     queued, to bo: psst"
    )
    tell(model, outcome("delivered", 2), notices.Queue(()))
    assert shown(model.current)[-1] == "remark nothing of yours waits"


def test_what_is_dropped_is_told_together_and_marked_as_failed() -> None:
    model = joined()
    tell(model, notices.StateChanged("searching", 0))
    model.entered("first", NOW_MS)
    model.take()
    assert model.entered("/queue drop", NOW_MS)
    assert asked(model) == [intents.DropPosts()]
    left = notices.QueueLine(1, "old", "sent", kept=False, left=True)
    dropped = notices.Dropped((left, notices.QueueLine(2, "first", "queued", kept=False, left=False)))
    tell(model, notices.Refusal(1, "dropped", "dropped before it was sent", "post"), dropped)
    assert shown(model.room)[-2:] == [
        "ana: first [failed]",
        "remark dropped 2 posts of yours; 1 post had been sent before and may be posted all the same",
    ]
    assert model.unsent() == []
    tell(model, notices.Refusal(None, "sent", "post 1 may have been sent", "drop"))
    assert shown(model.room)[-1] == "error post 1 may have been sent"


def test_what_an_earlier_start_left_is_told_and_no_error() -> None:
    model = joined()
    tell(model, notices.Fault("posts_left", "2 posts of yours are left"))
    assert shown(model.room)[-1] == "remark 2 posts of yours are left"


def test_an_export_collects_the_history_from_its_end_to_its_beginning() -> None:
    model = joined(head=3_000)
    tell(model, message(3_000, past=True))
    assert model.entered("/export talk.txt", NOW_MS)
    assert asked(model) == [intents.AskHistory(3_001, limits.HISTORY_ENTRIES_MAX)]
    assert not model.entered("/export other.txt", NOW_MS)
    tell(model, earlier(1_001, 3_000))
    assert asked(model) == [intents.AskHistory(1_001, limits.HISTORY_ENTRIES_MAX)]
    tell(model, earlier(1, 1_000))
    [collected] = model.take()
    assert isinstance(collected, Export)
    assert collected.path == "talk.txt"
    assert [one.seq for one in collected.messages] == list(range(1, 3_001))
    model.exported("3,000 messages are in talk.txt", NOW_MS, failed=False)
    assert shown(model.room)[-1] == "remark 3,000 messages are in talk.txt"


def test_clear_empties_the_page_and_what_was_there_can_be_scrolled_back() -> None:
    model = joined(head=200)
    tell(model, *(message(seq, past=True) for seq in range(101, 201)))
    model.entered("/clear", NOW_MS)
    assert shown(model.room) == []
    model.scrolled(up=True)
    model.seen(model.room.log.first, model.room.log.last)
    model.take()
    tell(model, message(201))
    assert shown(model.room) == ["bo: hello"]


def test_settings_are_shown_and_changed_by_the_same_checks_as_options() -> None:
    model = joined()
    model.entered("/set", NOW_MS)
    assert model.panel is not None
    assert [line.split()[0] for line in model.panel.lines] == list(options.SETTABLE)
    model.entered("/set theme", NOW_MS)
    assert shown(model.room)[-1] == "remark theme        auto     (auto, dark, light, mono)"
    assert model.entered("/set theme light", NOW_MS)
    assert model.take() == [Applied("theme")]
    assert model.settings["theme"] == "light"
    assert not model.entered("/set theme pink", NOW_MS)
    assert model.settings["theme"] == "light"


def test_a_long_answer_is_shown_over_the_page_until_it_is_closed_or_something_is_entered() -> None:
    model = joined()
    before = shown(model.room)
    model.act("help", NOW_MS)
    assert model.panel is not None
    assert model.panel.title == "help"
    assert any("/msg NICK TEXT" in line for line in model.panel.lines)
    assert shown(model.room) == before
    model.act("close", NOW_MS)
    assert model.panel is None
    model.act("help", NOW_MS)
    assert model.entered("hello", NOW_MS)
    assert model.panel is None


def test_a_short_answer_stands_in_the_page() -> None:
    model = joined()
    model.entered("/ignore", NOW_MS)
    assert shown(model.room)[-1] == "remark you ignore nobody"
    assert model.panel is None


@pytest.mark.parametrize("line", ["/who", "/status", "/search tea", "/nick anna", "/topic tea", "/away"])
def test_what_only_a_server_can_do_is_not_asked_for_while_nobody_serves(line: str) -> None:
    model = new_model()
    assert not model.entered(line, NOW_MS)
    assert model.hint == NOT_IN
    model = joined()
    tell(model, notices.StateChanged("searching", 0))
    assert model.entered(line, NOW_MS), "somebody may be about to take over"
    assert model.hint.startswith("asking")
    assert len(asked(model)) == 1
    model.lost()
    assert not model.entered(line, NOW_MS)
    assert model.hint == NOBODY_SERVES
    assert not asked(model)
    assert model.entered("/quit", NOW_MS)
    assert asked(model) == [intents.Quit()]


def test_a_topic_that_is_not_there_cannot_be_taken_away() -> None:
    model = joined()
    assert model.entered("/topic -", NOW_MS)
    assert not asked(model)
    assert shown(model.room)[-1] == f"remark {NO_TOPIC}"
    tell(model, notices.Topic(text="tea", by="bo"))
    assert model.entered("/topic -", NOW_MS)
    assert asked(model) == [intents.SetTopic("")]


def test_a_text_for_nobody_who_is_here_stays_where_it_was_typed() -> None:
    model = joined()
    assert not model.entered("/msg boo hello", NOW_MS)
    assert model.hint == "Not sent: nobody here is called boo. Did you mean bo?"
    assert not model.entered("@zoe hello", NOW_MS)
    assert model.hint.startswith("Not sent: nobody here is called zoe. /who")
    assert (len(model.pages), asked(model)) == (1, [])
    tell(model, told(), changed("bo", "left"))
    assert model.entered("/msg bo hello", NOW_MS), "there is a talk: its page says what becomes of it"
    assert model.entered("/msg cy hello", NOW_MS)
    assert model.hint == "Alt+1 returns to the room, /close closes this talk"


def test_before_one_is_in_a_private_text_waits_for_whoever_will_be_there() -> None:
    model = new_model()
    assert model.entered("/msg bo hello", NOW_MS)
    assert asked(model) == [intents.Tell("bo", "hello", tag=1)]


def test_a_talk_can_be_closed_the_room_cannot() -> None:
    model = joined()
    model.entered("/msg bo hello", NOW_MS)
    model.entered("/msg cy hello", NOW_MS)
    assert model.entered("/close", NOW_MS)
    assert [page.title for page in model.pages] == ["backend.com", "bo"]
    assert model.current is model.pages[1]
    model.entered("/close", NOW_MS)
    assert model.current is model.room
    assert model.entered("/close", NOW_MS)
    assert model.hint.startswith("This is the room")
    assert model.pages == [model.room]


def test_who_leaves_is_told_what_did_not_get_through() -> None:
    model = joined()
    assert model.unsent() == []
    model.entered("first", NOW_MS)
    model.entered("/msg bo second", NOW_MS)
    tell(model, notices.Posted(tag=1, id="1", seq=1), message(1, "first", "ana", own=True))
    assert model.unsent() == ["1 text of yours not through yet:", " 1  queued, to bo: second"]
    model.interrupt(NOW_MS)
    assert model.hint == "Ctrl+C once more leaves; not through yet: 1 text of yours"
    tell(model, outcome("delivered", 2))
    assert model.unsent() == []


def test_ctrl_c_leaves_only_when_it_is_pressed_twice_in_a_row() -> None:
    model = joined()
    model.interrupt(NOW_MS)
    assert "once more" in model.hint
    model.interrupt(NOW_MS + INTERRUPT_MS)
    assert asked(model) == []
    model.interrupt(NOW_MS + INTERRUPT_MS + 1)
    assert asked(model) == [intents.Quit()]


def test_drawing_reads_nothing_while_nobody_is_there() -> None:
    model = joined()
    tell(model, message(1))
    model.scrolled(up=True)
    model.focus(has_focus=False)
    tell(model, message(2))
    model.seen(model.room.log.first, model.room.last_key)
    assert (model.room.follows, model.room.unread) == (True, 1)
    model.focus(has_focus=True)
    assert model.room.unread == 0


def test_what_comes_while_the_log_stands_alone_is_unread_afterwards() -> None:
    model = joined()
    model.act("bare", NOW_MS)
    tell(model, message(1))
    assert model.room.unread == 1
    model.leave_bare(NOW_MS)
    assert (model.is_bare, model.room.unread) == (False, 0)
    assert model.room.rule_after is not None
