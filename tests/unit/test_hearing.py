"""ui.hearing: what is on the screen follows from what was told, whatever order it comes in."""

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
    ready,
    rings,
    shown,
    tell,
    told,
    who,
)
from ui.pages import PAGES_MAX

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
    assert model.room.pending == []


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
    assert shown(model.room)[-2:] == ["ana: mine [failed]", "error Not posted: too fast"]
    assert model.room.pending == []


def test_an_own_post_that_is_acknowledged_first_waits_as_committed_for_its_place() -> None:
    model = joined()
    model.entered("mine", NOW_MS)
    model.entered("mine", NOW_MS)
    tell(model, notices.Posted(1, "x/2", 2))
    assert shown(model.room)[-2:] == ["ana: mine [committed]", "ana: mine [sent]"]
    tell(model, message(1), message(2, "mine", "ana", own=True))
    assert shown(model.room)[-2:] == ["ana: mine [committed]", "ana: mine [sent]"]
    assert [line.tag for line in model.room.pending] == [2]


def test_what_was_committed_but_never_shown_does_not_wait_for_ever_in_another_history() -> None:
    model = joined()
    model.entered("of the old one", NOW_MS)
    model.entered("of the new one", NOW_MS)
    tell(model, notices.Posted(1, "x/1", 1), notices.Fault("fresh_start", "started over"))
    assert shown(model.room)[-3:] == [
        "ana: of the old one [committed]",
        "error started over",
        "ana: of the new one [sent]",
    ]


def test_of_the_same_text_twice_the_one_that_was_not_refused_is_the_one_that_comes() -> None:
    model = joined()
    model.entered("mine", NOW_MS)
    model.entered("mine", NOW_MS)
    tell(model, notices.Refusal(tag=1, code="flood", message="too fast", what="post"))
    tell(model, message(1, "mine", "ana", own=True))
    assert shown(model.room)[-3:] == ["ana: mine [failed]", "error Not posted: too fast", "ana: mine [committed]"]
    assert model.room.pending == []


def test_what_we_said_before_a_restart_is_ours_and_settles_nothing() -> None:
    model = new_model()
    model.entered("hello ana", NOW_MS)
    tell(model, ready(head=1), message(1, "hello ana", "ana", past=True))
    line = model.room.log.get(model.room.log.first)
    assert line is not None
    assert (line.is_own, line.mentions_me, line.state) == (True, False, None)
    assert [one.text for one in model.room.pending] == [("hello ana",)]


def test_what_was_typed_before_one_was_in_gets_the_name_one_gets() -> None:
    model = new_model()
    model.entered("hello", NOW_MS)
    tell(model, ready())
    assert shown(model.room)[-1] == "ana: hello [queued]"
    tell(model, changed("anna", "renamed", was="ana"))
    assert shown(model.room)[-1] == "anna: hello [queued]"


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


def test_a_recent_speaker_is_followed_through_another_name_and_back_in() -> None:
    model = joined()
    tell(model, message(1, author="bo"))
    before = len(shown(model.room))
    tell(model, changed("bob", "renamed", was="bo"), changed("bob", "left"), changed("bob", "joined"))
    assert shown(model.room)[before:] == ["remark bo is called bob now", "went bob left", "came bob joined"]
    tell(model, changed("dee", "renamed", was="cy"))
    assert len(shown(model.room)) == before + 3, "who never spoke"


def test_another_way_to_write_the_own_name_is_told_as_such() -> None:
    model = joined(joins="none")
    tell(model, changed("Ana", "renamed", was="ana"), changed("Ana", "away", text="lunch"))
    assert shown(model.room)[-2:] == ["remark you are called Ana now", "remark you are away: lunch"]


def test_when_two_have_changed_their_names_at_once_the_list_is_asked_for() -> None:
    model = joined()
    tell(model, changed("bo", "renamed", was="cy"), changed("dee", "renamed", was="bo"))
    assert asked(model) == [intents.AskWho()]
    before = shown(model.room)
    tell(model, who())
    assert shown(model.room) == before


def test_what_comes_while_one_reads_far_up_stays_unread_on_the_way_to_another_page_and_back() -> None:
    model = joined()
    tell(model, *(message(seq) for seq in range(1, 41)), told())
    model.scrolled(up=True)
    model.seen(5, 10)
    tell(model, message(41, "ana?"), message(42))
    first_unread = model.room.log.key_of(41)
    assert first_unread is not None
    for action in ("page-2", "page-1"):
        model.act(action, NOW_MS)
    assert (model.room.unread, model.room.mentions) == (2, 1)
    assert "unread" in model.room.rules_before(first_unread)
    model.act("end", NOW_MS)
    assert (model.room.unread, model.room.mentions) == (0, 0)
    assert "unread" in model.room.rules_before(first_unread), "so that one finds where one was"


def test_when_messages_were_lost_on_their_way_what_is_shown_has_no_gap() -> None:
    model = joined()
    tell(model, message(1), message(2), notices.Fault("notices_dropped", "3 notices were dropped"), message(6))
    assert asked(model) == [intents.AskWho()], "some of them may have been about members"
    assert [line.seq for line in model.room.log] == [6]
    assert (model.room.log.from_seq, model.room.log.to_seq) == (6, 6)


# --- earlier parts of the history -------------------------------------------------------------------------------------


def test_a_history_that_was_started_over_takes_the_numbers_with_it() -> None:
    model = joined(head=5)
    tell(model, *(message(seq, past=True) for seq in range(1, 6)))
    tell(model, notices.Fault("fresh_start", "started over"), message(1, "new"))
    assert (model.room.log.from_seq, model.room.log.to_seq) == (1, 1)
    key = model.room.log.key_of(1)
    assert key is not None
    assert model.room.line(key) is not None
    assert shown(model.room)[-1] == "bo: new"


def test_a_fault_is_told_in_the_room_and_to_whoever_reads_a_talk() -> None:
    model = joined()
    tell(model, told())
    model.act("page-2", NOW_MS)
    tell(model, notices.Fault("nobody_serves", "nobody serves tea now"))
    assert shown(model.room)[-1].startswith("error nobody serves tea now / still trying")
    assert shown(model.current)[-1] == "bo: psst"
    assert (model.hint, model.room.unread) == ("nobody serves tea now", 1)


def test_the_greeting_says_how_others_join_and_that_members_are_waited_for() -> None:
    model = new_model(invitation="relevo chat --dns 10.0.0.1:8000")
    tell(model, notices.Waiting(3, 5, ("ana", "bo", "cy")), ready())
    assert " / others join with: relevo chat --dns 10.0.0.1:8000 / " in shown(model.room)[-1]
    assert " / the chat begins with 5; until then, posts are kept and shown to nobody / " in shown(model.room)[-1]


def test_another_history_does_not_make_anything_read() -> None:
    model = joined()
    tell(model, told())
    model.act("page-2", NOW_MS)
    tell(model, message(1), notices.Fault("fresh_start", "started over"))
    assert model.room.unread == 2
    assert model.hint == "started over"
    assert model.room.follows


@pytest.mark.parametrize("exporting", [False, True])
def test_a_refused_part_of_the_history_is_told_only_if_somebody_asked_for_it(exporting: bool) -> None:
    model = joined(head=500)
    tell(model, *(message(seq, past=True) for seq in range(301, 501)))
    if exporting:
        model.entered("/export talk.txt", NOW_MS)
    else:
        model.scrolled(up=True)
        model.seen(model.room.log.first, model.room.log.first + 10)
    assert len(asked(model)) == 1
    before = shown(model.room)
    tell(model, notices.Refusal(tag=None, code="busy", message="too much at once", what="history"))
    if exporting:
        assert shown(model.room)[len(before) :] == ["error Not exported: too much at once"]
        assert model.entered("/export talk.txt", NOW_MS), "the one before is over"
        return
    assert shown(model.room) == before
    assert model.hint == "too much at once"
    model.seen(model.room.log.first, model.room.log.first + 10)
    assert asked(model) == [], "not again before the reader scrolls"
    model.scrolled(up=True)
    model.seen(model.room.log.first, model.room.log.first + 10)
    assert len(asked(model)) == 1


def test_an_export_of_a_history_that_was_started_over_has_failed() -> None:
    model = joined(head=1)
    tell(model, message(1, past=True))
    model.entered("/export talk.txt", NOW_MS)
    assert asked(model) == [intents.AskHistory(2, 2_000)]
    tell(model, notices.Fault("fresh_start", "started over"), message(1, "new"))
    assert shown(model.room)[-2:] == ["error started over / Not exported: what there was of it is gone", "bo: new"]
    assert model.entered("/export talk.txt", NOW_MS)
    assert asked(model) == [], "the question is still without an answer"
    tell(model, earlier(1, 1))
    assert asked(model) == [intents.AskHistory(2, 2_000)]


# --- private talks ----------------------------------------------------------------------------------------------------


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


def test_a_talk_follows_the_name_of_the_other_and_says_when_they_go() -> None:
    model = joined()
    tell(model, told(), changed("bob", "renamed", was="bo"), changed("bob", "lost"))
    assert [page.title for page in model.pages] == ["backend.com", "bob"]
    assert shown(model.pages[1])[1:] == ["remark bo is called bob now", "went lost contact with bob"]
    tell(model, told("again", sender="bob"))
    assert len(model.pages) == 2


def test_a_private_text_that_fails_late_is_told_on_its_page_whatever_that_is_called_by_now() -> None:
    model = joined()
    model.entered("/msg bo psst", NOW_MS)
    model.act("page-1", NOW_MS)
    tell(model, changed("bob", "renamed", was="bo"), outcome("failed", 1, "no answer"))
    assert [page.title for page in model.pages] == ["backend.com", "bob"]
    assert shown(model.pages[1]) == [
        "ana: psst [failed]",
        "remark bo is called bob now",
        "error Not delivered: no answer (psst)",
    ]
    assert model.pages[1].unread == 1
    assert model.room.unread == 0


def test_a_private_text_that_was_refused_is_told_on_its_page() -> None:
    model = joined()
    model.entered("/msg bo psst", NOW_MS)
    model.act("page-1", NOW_MS)
    tell(model, notices.Refusal(tag=1, code="bad_name", message="nobody has such a name", what="tell"))
    assert shown(model.pages[1]) == ["ana: psst [failed]", "error nobody has such a name"]


def test_of_a_page_that_had_to_give_way_only_failures_are_told() -> None:
    model = joined()
    model.entered("/msg bo psst", NOW_MS)
    model.act("page-1", NOW_MS)
    for number in range(PAGES_MAX - 1):
        tell(model, told(sender=f"n{number}"))
    assert all(page.title != "bo" for page in model.pages)
    tell(model, outcome("delivered", 1))
    assert all(page.title != "bo" for page in model.pages)
    tell(model, outcome("failed", 1, "no answer"))
    assert shown(model.pages[-1]) == ["error Not delivered: no answer (psst)"]


def test_whoever_takes_the_name_of_somebody_who_left_has_one_page_with_all_of_it() -> None:
    model = joined()
    tell(model, told("of bo", sender="bo"), changed("bo", "left"))
    tell(model, told("of cy", sender="cy"), changed("bo", "renamed", was="cy"), told("of bo again", sender="bo"))
    assert [page.title for page in model.pages] == ["backend.com", "bo"]
    assert {"bo: of bo", "cy: of cy", "bo: of bo again"} <= set(shown(model.pages[1]))
    assert model.pages[1].unread == 3
    model.act("page-2", NOW_MS)
    model.entered("psst", NOW_MS)
    assert asked(model) == [intents.Tell("bo", "psst", tag=1)]


def test_who_is_ignored_while_the_talk_is_open_is_not_heard_there_either() -> None:
    model = joined()
    tell(model, told())
    model.act("page-2", NOW_MS)
    model.entered("/ignore bo", NOW_MS)
    model.take()
    before = shown(model.current)
    tell(model, told("again"))
    assert shown(model.current) == before
    assert rings(model.take()) == 0


# --- commands ---------------------------------------------------------------------------------------------------------


def test_the_topic_is_kept_and_told_when_it_changes() -> None:
    model = new_model()
    tell(model, ready(head=1), notices.Topic("tea", "bo"), message(1, past=True))
    assert model.topic == "tea"
    assert " / topic: tea (set by bo) / type a line" in shown(model.room)[-1]
    tell(model, notices.Topic("cake", "cy"))
    assert shown(model.room)[-1] == "remark topic: cake (set by cy)"
    tell(model, notices.Topic("", "ana"))
    assert shown(model.room)[-1] == "remark you took the topic away"
    model.entered("/topic", NOW_MS)
    assert "there is no topic" in shown(model.room)[-1]


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


def test_a_refusal_is_told_to_whoever_reads_far_up_without_taking_them_away() -> None:
    model = joined()
    tell(model, *(message(seq) for seq in range(1, 41)))
    model.scrolled(up=True)
    model.seen(5, 10)
    tell(model, notices.Refusal(tag=None, code="name_taken", message="the name 'bo' is taken", what="nick"))
    assert not model.room.follows
    assert model.hint.startswith("the name 'bo' is taken")


def test_that_the_chat_begins_is_told_before_the_first_message_whichever_comes_first() -> None:
    model = joined()
    tell(model, notices.Waiting(2, 3, ("ana", "bo")), message(1), notices.Waiting(3, 3, ("ana", "bo", "cy")))
    assert shown(model.room)[-2:] == ["remark 3 are here: the chat begins", "bo: hello"]
    assert model.gate is None


def test_what_was_found_and_a_longer_answer_give_way_to_each_other() -> None:
    model = joined()
    found = notices.FoundMessages((notices.ChatMessage(1, 1, "x", "bo", "lunch", 1),), more=False)
    model.act("help", NOW_MS)
    tell(model, found)
    assert (model.panel, model.found is not None) == (None, True)
    model.act("help", NOW_MS)
    assert (model.panel is not None, model.found) == (True, None)
