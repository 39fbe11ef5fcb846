"""ui.model: what is on the screen follows from what was told and typed, whatever order it comes in."""

from typing import Any

import pytest

from peer import intents, notices
from ui import options
from ui.export import Export
from ui.model import IDLE_MS, INTERRUPT_MS, PAGES_MAX, Applied, Ask, Effect, Model, Ring
from ui.page import Kind, Line, Page
from ui.splitter import TooLong
from wire import limits

MINUTE_MS = 60_000
NOW_MS = 10 * MINUTE_MS
SETTINGS: dict[str, Any] = {
    "theme": "auto",
    "colors": "auto",
    "ascii": "auto",
    "mouse": False,
    "bell": True,
    "joins": "smart",
    "paste_lines": 3,
}


def stamp(utc_ms: int) -> str:
    """A calendar in which 1440 minutes are a day and the first day is the first of January."""
    days, minutes = divmod(utc_ms // MINUTE_MS, 1440)
    return f"2026-01-{days + 1:02} {minutes // 60:02}:{minutes % 60:02}"


def ready(head: int = 0, members: tuple[str, ...] = ("ana", "bo", "cy")) -> notices.Ready:
    return notices.Ready(name="ana", service="backend.com", epoch=3, server="bo", head=head, members=members, min_n=0)


def new_model(flood_per_s: float = 0, **settings: Any) -> Model:
    """Of somebody who is not in yet."""
    return Model(
        service="backend.com",
        dns=["localhost:8000"],
        stamp=stamp,
        settings={**SETTINGS, **settings},
        flood_per_s=flood_per_s,
        now_ms=NOW_MS,
        key_lines=["Alt+1  go to page 1"],
    )


def joined(head: int = 0, flood_per_s: float = 0, **settings: Any) -> Model:
    """Of ana, in, live, with bo (who serves) and cy; what was to be done at first is done."""
    model = new_model(flood_per_s, **settings)
    tell(model, ready(head), notices.StateChanged("live", 0), who())
    model.take()
    return model


def who(*states: str) -> notices.MembersList:
    ana_bo_cy = zip(("ana", "bo", "cy"), (*states, *("here",) * 3), strict=False)
    return notices.MembersList(tuple(notices.MemberLine(nick, state, nick == "bo", 0) for nick, state in ana_bo_cy))


def tell(model: Model, *told: notices.AnyNotice, now_ms: int = NOW_MS) -> None:
    for notice in told:
        model.fold(notice, now_ms)


def message(
    seq: int, text: str = "hello", author: str = "bo", *, past: bool = False, own: bool = False
) -> notices.Message:
    more = {name: True for name, holds in (("past", past), ("own", own)) if holds}
    return notices.Message(seq=seq, epoch=3, id=f"x/{seq}", author=author, text=text, time=NOW_MS, **more)


def earlier(first: int, last: int, author: str = "bo") -> notices.HistoryPage:
    messages = tuple(
        notices.ChatMessage(seq, 1, f"x/{seq}", author, f"number {seq}", seq) for seq in range(first, last + 1)
    )
    return notices.HistoryPage(messages, more=first > 1)


def changed(name: str, state: str, **more: str) -> notices.MemberChanged:
    return notices.MemberChanged(name=name, state=state, **more)


def asked(model: Model) -> list[intents.UserIntent]:
    """What the model wants of the chat."""
    return [effect.intent for effect in model.take() if isinstance(effect, Ask)]


def rings(effects: list[Effect]) -> int:
    return sum(isinstance(effect, Ring) for effect in effects)


def shown(page: Page) -> list[str]:
    """Each line as its first characters would be read."""
    lines = [page.line(key) for key in range(page.shown.first, page.last_key + 1)]
    return [words(line) for line in lines if line is not None]


def words(line: Line) -> str:
    state = f" [{line.state.value}]" if line.state else ""
    return f"{line.nick}: {' / '.join(line.text)}{state}" if line.nick else f"{line.kind.value} {' / '.join(line.text)}"


# --- coming in --------------------------------------------------------------------------------------------------------


def test_the_greeting_says_who_where_who_serves_how_much_and_how_to_get_help_and_leave() -> None:
    model = joined()
    assert shown(model.room) == [
        "remark you are ana in backend.com (zdns at localhost:8000)"
        " / bo serves; no messages so far; 3 here: ana, bo, cy"
        " / type a line and Enter to post it; /help lists the commands, /quit leaves"
    ]


def test_the_greeting_stands_below_the_newest_page_of_the_history() -> None:
    model = joined(head=40)
    tell(model, *(message(seq, past=True) for seq in range(39, 41)))
    assert [line.split(":")[0] for line in shown(model.room)] == [
        "bo",
        "bo",
        "remark you are ana in backend.com (zdns at localhost",
    ]
    assert "40 messages so far" in shown(model.room)[-1]
    assert model.room.unread == 0


def test_the_greeting_does_not_wait_for_ever_for_the_history() -> None:
    model = joined(head=40)
    model.tick(NOW_MS)
    assert shown(model.room) == []
    model.tick(NOW_MS + 1_000)
    assert "you are ana" in shown(model.room)[0]


def test_who_is_here_is_asked_once_and_nobody_is_told() -> None:
    model = new_model()
    tell(model, ready())
    assert asked(model) == [intents.AskWho()]
    tell(model, who("here", "away"))
    assert len(shown(model.room)) == 1
    assert [one.is_away for one in model.people.members] == [False, True, False]
    tell(model, who())
    assert shown(model.room)[1] == "remark 3 here: ana, bo (serves), cy"


def test_without_zdns_it_says_where_it_looked_and_that_it_keeps_trying() -> None:
    model = new_model()
    tell(model, notices.Fault("no_zdns", "cannot reach zdns at localhost:8000. Try: relevo dns"))
    assert shown(model.room) == [
        "error cannot reach zdns at localhost:8000. Try: relevo dns"
        " / still trying; what you type meanwhile is kept, and /quit leaves"
    ]


def test_waiting_for_members_is_a_state_and_its_end_a_remark() -> None:
    model = joined()
    tell(model, notices.Waiting(2, 3, ("ana", "bo")))
    assert model.gate is not None
    assert (model.gate.here, model.gate.need, model.gate.members) == (2, 3, ("ana", "bo"))
    tell(model, notices.Waiting(3, 3, ("ana", "bo", "cy")))
    assert model.gate is None
    assert shown(model.room)[-1] == "remark 3 are here: the chat begins"


def test_a_handover_writes_nothing_into_the_log() -> None:
    model = joined()
    before = shown(model.room)
    tell(
        model,
        notices.StateChanged("moving", 0),
        notices.Relocated(epoch=4, server="cy", reason="handover", pause_ms=30, resent=0),
        notices.StateChanged("live", 0),
        notices.Schedule(epoch=4, server="cy", member="cy", next_handover_in_s=30.0),
    )
    assert shown(model.room) == before
    assert model.schedule is not None
    assert (model.schedule.epoch, model.schedule.server, model.schedule.until_ms) == (4, "cy", NOW_MS + 30_000)
    assert [one.is_serving for one in model.people.members] == [False, False, True]


# --- posting ----------------------------------------------------------------------------------------------------------


def test_an_own_post_is_there_at_once_and_goes_through_its_states() -> None:
    model = joined()
    tell(model, notices.StateChanged("searching", 0))
    assert model.entered("kettle is on", NOW_MS)
    assert asked(model) == [intents.Say("kettle is on", tag=1)]
    assert shown(model.room)[-1] == "ana: kettle is on [queued]"
    tell(model, notices.StateChanged("live", 1))
    assert shown(model.room)[-1] == "ana: kettle is on [sent]"
    tell(model, message(1, "kettle is on", "ana", own=True), notices.Posted(1, "x/1", 1))
    assert shown(model.room)[-1] == "ana: kettle is on [committed]"
    assert model.queued == 0


def test_an_own_post_takes_its_place_among_those_of_others() -> None:
    model = joined()
    model.entered("mine", NOW_MS)
    tell(model, message(1, "theirs"))
    assert shown(model.room)[-2:] == ["bo: theirs", "ana: mine [sent]"]
    tell(model, message(2, "mine", "ana", own=True), message(3, "later"))
    assert shown(model.room)[-3:] == ["bo: theirs", "ana: mine [committed]", "bo: later"]


def test_a_refused_post_stays_to_be_seen_with_the_reason() -> None:
    model = joined()
    model.entered("mine", NOW_MS)
    tell(model, notices.Refusal(tag=1, code="flood", message="too fast", what="post"))
    assert shown(model.room)[-2:] == ["ana: mine [failed]", "error not posted: too fast"]
    assert model.queued == 0


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


def test_whoever_names_us_marks_the_line_and_rings_once_a_second() -> None:
    model = joined()
    tell(model, message(1, "ANA: look"), message(2, "banana and ana-2"), message(3, "thanks @ana"))
    assert [line.mentions_me for line in list(model.room.log)[-3:]] == [True, False, True]
    assert rings(model.take()) == 1
    tell(model, message(4, "ana!"), now_ms=NOW_MS + 1_000)
    assert rings(model.take()) == 1


def test_the_bell_can_be_turned_off_and_the_past_never_rings() -> None:
    model = joined(head=1, bell=False)
    tell(model, message(1, "ana?", past=True), message(2, "ana?"))
    assert rings(model.take()) == 0
    model = joined(head=1)
    tell(model, message(1, "ana?", past=True))
    assert rings(model.take()) == 0


def test_what_comes_while_nobody_looks_is_unread_and_below_a_rule() -> None:
    model = joined()
    tell(model, message(1))
    model.focus(has_focus=False)
    tell(model, message(2), message(3))
    assert model.room.unread == 2
    first_unread = model.room.log.key_of(2)
    assert first_unread is not None
    assert "unread" in model.room.rules_before(first_unread)
    model.focus(has_focus=True)
    assert model.room.unread == 0
    assert "unread" in model.room.rules_before(first_unread), "until one looks away again"
    model.focus(has_focus=False)
    tell(model, message(4))
    fourth = model.room.log.key_of(4)
    assert fourth is not None
    assert model.room.rules_before(fourth) == ("unread",)
    assert model.room.rules_before(first_unread) == ()


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


@pytest.mark.parametrize(
    ("joins", "quiet_one", "recent_one"),
    [("smart", [], ["went bo left"]), ("all", ["went cy left"], ["went bo left"]), ("none", [], [])],
)
def test_comings_and_goings_are_those_of_recent_speakers(
    joins: str, quiet_one: list[str], recent_one: list[str]
) -> None:
    model = joined(joins=joins)
    tell(model, message(1, author="bo"))
    before = len(shown(model.room))
    tell(model, changed("cy", "left"), changed("bo", "left"))
    assert shown(model.room)[before:] == quiet_one + recent_one


def test_left_and_lost_are_two_things_and_silence_is_only_in_the_list() -> None:
    model = joined(joins="all")
    before = len(shown(model.room))
    tell(model, changed("bo", "silent"), changed("bo", "lost"), changed("cy", "left"), changed("eli", "joined"))
    assert shown(model.room)[before:] == ["went lost contact with bo", "went cy left", "came eli joined"]


def test_being_called_otherwise_changes_what_names_us() -> None:
    model = joined()
    tell(model, changed("anna", "renamed", was="ana"), message(1, "anna?"), message(2, "ana?"))
    assert shown(model.room)[-3] == "remark you are called anna now"
    assert [line.mentions_me for line in list(model.room.log)[-2:]] == [True, False]


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


def test_a_history_that_was_started_over_takes_the_numbers_with_it() -> None:
    model = joined(head=5)
    tell(model, *(message(seq, past=True) for seq in range(1, 6)))
    tell(model, notices.Fault("fresh_start", "started over"), message(1, "new"))
    assert (model.room.log.from_seq, model.room.log.to_seq) == (1, 1)
    key = model.room.log.key_of(1)
    assert key is not None
    assert model.room.line(key) is not None
    assert shown(model.room)[-1] == "bo: new"


# --- private talks ----------------------------------------------------------------------------------------------------


def told(text: str = "psst", sender: str = "bo") -> notices.Private:
    return notices.Private(sender=sender, to="ana", id="1", text=text, state="received")


def outcome(state: str, tag: int, reason: str = "") -> notices.Private:
    private = notices.Private(sender="ana", to="bo", id="1", text="psst", state=state, tag=tag)
    return private if not reason else notices.Private("ana", "bo", "1", "psst", state, tag, reason)


def test_what_is_told_in_private_has_a_page_of_its_own_and_rings() -> None:
    model = joined()
    tell(model, told())
    assert [page.title for page in model.pages] == ["backend.com", "bo"]
    assert (model.pages[1].unread, model.pages[1].mentions) == (1, 1)
    assert rings(model.take()) == 1
    assert model.current.is_room
    model.act("page-2", NOW_MS)
    assert shown(model.current) == ["bo: psst"]
    assert model.current.unread == 0


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


@pytest.mark.parametrize(
    "failure",
    [
        outcome("failed", 1, "nobody of that name is here"),
        notices.Refusal(tag=1, code="self", message="nobody of that name is here", what="tell"),
    ],
)
def test_a_private_text_that_failed_says_why_where_it_stands(failure: notices.AnyNotice) -> None:
    model = joined()
    model.entered("/msg bo psst", NOW_MS)
    tell(model, failure)
    assert shown(model.current)[0] == "ana: psst [failed]"
    assert "nobody of that name is here" in shown(model.current)[1]


def test_a_reply_to_nobody_and_a_text_to_oneself_stay_where_they_were_typed() -> None:
    model = joined()
    assert not model.entered("/reply hey", NOW_MS)
    assert not model.entered("/msg ana hey", NOW_MS)
    assert asked(model) == []
    assert len(model.pages) == 1


def test_a_talk_follows_the_name_of_the_other_and_says_when_they_go() -> None:
    model = joined()
    tell(model, told(), changed("bob", "renamed", was="bo"), changed("bob", "lost"))
    assert [page.title for page in model.pages] == ["backend.com", "bob"]
    assert shown(model.pages[1])[1:] == ["remark bo is called bob now", "went lost contact with bob"]
    tell(model, told("again", sender="bob"))
    assert len(model.pages) == 2


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


def test_the_topic_is_kept_and_told_when_it_changes() -> None:
    model = new_model()
    tell(model, ready(head=1), notices.Topic("tea", "bo"), message(1, past=True))
    assert model.topic == "tea"
    assert "topic: tea" in shown(model.room)[-1]
    tell(model, notices.Topic("", "ana"))
    assert shown(model.room)[-1] == "remark you took the topic away"
    model.entered("/topic", NOW_MS)
    assert "there is no topic" in shown(model.room)[-1]


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
    model.entered("/queue", NOW_MS)
    assert "nothing waits" in shown(model.room)[-1]
    tell(model, notices.StateChanged("searching", 0))
    model.entered("first", NOW_MS)
    model.entered("/msg bo psst", NOW_MS)
    model.entered("/queue", NOW_MS)
    assert "2 texts of yours" in shown(model.current)[-1]
    assert "queued, to everybody: first" in shown(model.current)[-1]
    assert "queued, in private: psst" in shown(model.current)[-1]


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
    model.entered("/help keys", NOW_MS)
    assert shown(model.room)[-1] == "remark Alt+1  go to page 1"
    assert model.panel is None


def test_ctrl_c_leaves_only_when_it_is_pressed_twice_in_a_row() -> None:
    model = joined()
    model.interrupt(NOW_MS)
    assert "once more" in model.hint
    model.interrupt(NOW_MS + INTERRUPT_MS)
    assert asked(model) == []
    model.interrupt(NOW_MS + INTERRUPT_MS + 1)
    assert asked(model) == [intents.Quit()]


def test_a_refused_request_is_told_where_the_reader_is() -> None:
    model = joined()
    model.entered("/msg bo psst", NOW_MS)
    tell(model, notices.Refusal(tag=None, code="name_taken", message="the name 'bo' is taken", what="nick"))
    assert shown(model.current)[-1] == "error the name 'bo' is taken; /who lists those in use"


def test_a_refusal_of_the_quiet_question_is_not_told() -> None:
    model = new_model()
    tell(model, ready())
    before = shown(model.room)
    tell(model, notices.Refusal(tag=None, code="busy", message="busy", what="who"))
    assert shown(model.room) == before
    tell(model, who())
    assert "3 here" in shown(model.room)[-1], "the next list was asked for by somebody"


def test_what_others_say_is_never_anything_but_text() -> None:
    model = joined()
    tell(model, message(1, "\x1b[2Jboo\u202e\nsecond", author="bo"))
    assert model.room.log.get(model.room.log.last) is not None
    assert shown(model.room)[-1] == "bo: ^[[2Jboo<U+202E> / second"
