"""The console's screens as text: a model that was told notices, drawn at a size."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import urwid
from urwid.testing import ScriptedScreen, render_runs, render_text, resolve_runs

from peer import notices
from tests.support.screens import DAY_MS, Desk, ready
from ui.page import Line
from ui.palette import ASCII, MONO, palette


@pytest.fixture(autouse=True)
def _utf8() -> Iterator[None]:
    with urwid.util.set_temporary_encoding("utf-8"):
        yield


def talking(*others: str, **settings: Any) -> Desk:
    """In a room with some others; bo serves."""
    desk = Desk(**settings)
    desk.fold(ready("ana", *others, head=0))
    desk.fold(notices.Schedule(epoch=4, server="bo", member="bo", next_handover_in_s=17.0))
    desk.fold(notices.StateChanged(state="live", queued=0))
    desk.model.room.log.clear()
    return desk


# --- first run -------------------------------------------------------------------------------------------------------


def test_the_first_screen_says_who_i_am_where_who_serves_how_much_and_how_to_leave() -> None:
    desk = Desk()
    desk.fold(ready("ana", "bo", head=0))
    desk.fold(notices.Schedule(epoch=1, server="bo", member="bo", next_handover_in_s=30.0))
    assert desk.screen(70, 9) == [
        "── 2026-11-23 ────────────────────────────────────────────────────────",
        "10:00           -- │ you are ana in tea (zdns at localhost:8000)",
        "                   │ bo serves; no messages so far; 2 here: ana, bo",
        "                   │ type a line and Enter to post it; /help lists the",
        "                   │ commands, /quit leaves",
        "",
        "",
        " 10:00 │ tea │ ana │ 2 here │ bo serves 30s e1",
        ">",
    ]


def test_the_greeting_stands_below_the_newest_messages() -> None:
    desk = Desk()
    desk.fold(ready("ana", "bo", head=2))
    desk.say("bo", "first", past=True)
    desk.say("bo", "second", past=True)
    rows = desk.screen(100, 12)
    assert [index for index, row in enumerate(rows) if "first" in row] < [
        index for index, row in enumerate(rows) if "you are ana" in row
    ]


def test_without_zdns_one_screen_says_where_it_looked_and_that_it_goes_on() -> None:
    desk = Desk()
    desk.fold(notices.Fault("no_zdns", "no zdns answers at localhost:8000. Start one with `relevo dns`"))
    assert desk.status(90) == " 10:00 │ tea │ asking zdns at localhost:8000"
    desk.model.joining()
    assert desk.screen(70, 8) == [
        "── 2026-11-23 ────────────────────────────────────────────────────────",
        "10:00            ! │ no zdns answers at localhost:8000. Start one with",
        "                   │ `relevo dns`",
        "                   │ still trying; what you type meanwhile is kept,",
        "                   │ and /quit leaves",
        "",
        " 10:00 │ tea │ not in yet, asking zdns at localhost:8000",
        ">",
    ]


def test_below_min_n_it_says_whom_we_have_and_how_many_we_need() -> None:
    desk = Desk()
    desk.fold(ready("ana", "bo", "cy", head=0))
    desk.fold(notices.Waiting(here=3, need=5, members=("ana", "bo", "cy")))
    assert desk.status(70) == " 10:00 │ tea │ ana │ waiting: 3 of 5 (ana, bo, cy)"
    desk.fold(notices.Waiting(here=5, need=5))
    assert "waiting" not in desk.status(70)
    assert "5 are here: the chat begins" in "\n".join(desk.screen(70, 14))


# --- a talk ----------------------------------------------------------------------------------------------------------


def test_a_talk_has_a_column_for_nicks_and_indents_what_is_wrapped() -> None:
    desk = talking("bo", "someone-with-a-long-nick")
    desk.say("bo", "a line that is rather long, so that it does not fit into one row of this screen")
    desk.say("someone-with-a-long-nick", "short")
    desk.say("bo", "two\nlines")
    desk.say("bo", "/me waves")
    assert desk.log(60, 11) == [
        "── 2026-11-23 ──────────────────────────────────────────────",
        "10:00           bo │ a line that is rather long, so that it",
        "                   │ does not fit into one row of this",
        "                   │ screen",
        "10:00 someone-wit… │ short",
        "10:00           bo │ two",
        "                   │ lines",
        "10:00            * │ bo waves",
    ]


def test_a_narrow_screen_has_no_column_for_nicks() -> None:
    desk = talking("bo")
    desk.say("bo", "a line that is rather long for so few columns")
    desk.say("bo", "/me waves")
    desk.fold(notices.Fault("x", "trouble"))
    assert desk.log(34, 9) == [
        "── 2026-11-23 ────────────────────",
        "10:00 bo: a line that is rather",
        "      long for so few columns",
        "10:00 * bo waves",
        "10:00 ! trouble",
    ]


def test_coming_and_going_remarks_and_errors_have_a_sign_each() -> None:
    desk = talking("bo", joins="all")
    desk.fold(notices.MemberChanged(name="cy", state="joined"))
    desk.fold(notices.MemberChanged(name="cy", state="renamed", was="cy", text=""))
    desk.fold(notices.MemberChanged(name="cy", state="lost"))
    desk.fold(notices.Refusal(tag=None, code="busy", message="busy", what="handover"))
    rows = desk.log(60, 10)
    assert rows[1] == "10:00          --> │ cy joined"
    assert rows[2].startswith("10:00           -- │ ")
    assert rows[3] == "10:00          <-- │ lost contact with cy"
    assert rows[4] == "10:00            ! │ busy"


def test_days_and_what_is_unread_have_rules_above_them() -> None:
    desk = talking("bo")
    desk.say("bo", "yesterday")
    desk.now_ms += DAY_MS
    desk.say("bo", "seen")
    desk.model.focus(has_focus=False)
    desk.say("bo", "while nobody sat there")
    assert desk.log(50, 10) == [
        "── 2026-11-23 ────────────────────────────────────",
        "10:00           bo │ yesterday",
        "── 2026-11-24 ────────────────────────────────────",
        "10:00           bo │ seen",
        "── unread ────────────────────────────────────────",
        "10:00           bo │ while nobody sat there",
    ]
    assert "1 new" in desk.status(70)


def test_a_mention_has_a_mark_and_another_attribute() -> None:
    desk = talking("bo")
    desk.say("bo", "do you hear me, Ana?")
    desk.say("bo", "nothing for banana")
    first, second = desk.log(60, 6)[1:3]
    assert first == "10:00           bo » do you hear me, Ana?"
    assert second == "10:00           bo │ nothing for banana"
    runs = [run for row in render_runs(desk.view.widget, (60, 6)) for run in row]
    assert ("mention", "do you hear me, Ana?") in [(attribute, text.strip()) for attribute, text in runs]


STATES = [("queued", "…", ".."), ("sent", "→", ">"), ("committed", "✓", "+"), ("failed", "✗", "x!")]


@pytest.mark.parametrize(("state", "sign", "plain"), STATES)
def test_own_posts_show_how_far_they_have_come(state: str, sign: str, plain: str) -> None:
    desk = talking("bo")
    if state == "queued":
        desk.fold(notices.StateChanged(state="moving", queued=0))
    desk.enter("mine")
    if state == "committed":
        desk.say("ana", "mine", own=True)
    elif state == "failed":
        desk.fold(notices.Refusal(tag=1, code="flood", message="too fast", what="post"))
    assert f"10:00          ana │ mine {sign}" in desk.log(60, 8)
    desk.view.signs = ASCII
    assert f"10:00          ana | mine {plain}" in desk.log(60, 8)
    assert "\n".join(desk.screen(60, 8)).isascii()


# --- reading ---------------------------------------------------------------------------------------------------------


def numbered(count: int = 60) -> Desk:
    desk = talking("bo")
    for number in range(1, count + 1):
        desk.say("bo", f"message {number}")
    return desk


def test_the_end_is_shown_while_messages_come() -> None:
    desk = numbered()
    assert desk.texts(60, 12)[-1] == "message 60"
    desk.say("bo", "one more")
    assert desk.texts(60, 12)[-1] == "one more"
    assert "MORE" not in desk.status(80)


def test_what_is_read_stays_in_its_place_while_messages_come() -> None:
    desk = numbered()
    desk.screen(60, 12)
    desk.scroll("page up")
    before = desk.screen(60, 12)[:-2]
    assert desk.texts(60, 12)[-1] == "message 50"
    for number in range(61, 64):
        desk.say("bo", f"message {number}")
    assert desk.screen(60, 12)[:-2] == before
    assert "MORE(13)" in desk.status(60)
    desk.model.act("end", desk.now_ms)
    assert desk.texts(60, 12)[-1] == "message 63"
    assert "MORE" not in desk.status(60)


def test_scrolling_down_to_the_last_line_follows_again() -> None:
    desk = numbered()
    desk.screen(60, 12)
    desk.scroll("up")
    assert desk.texts(60, 12)[-1] == "message 59"
    desk.scroll("down")
    desk.screen(60, 12)
    desk.say("bo", "one more")
    assert desk.texts(60, 12)[-1] == "one more"


def test_the_top_is_the_oldest_line_there_is() -> None:
    desk = numbered()
    desk.screen(60, 12)
    desk.scroll("top")
    assert desk.texts(60, 12)[0] == "message 1"


def test_older_messages_come_above_without_moving_what_is_read() -> None:
    desk = Desk()
    desk.fold(ready("ana", "bo", head=200))
    for seq in range(101, 201):
        desk.say("bo", f"message {seq}", seq=seq, past=True)
    desk.screen(60, 12)
    desk.scroll("top")
    before = desk.texts(60, 12)
    assert before[0] == "message 101"
    asked = [ask for ask in desk.asked if ask.do == "history"]
    assert [(ask.before, ask.count) for ask in asked] == [(101, 100)]
    older = tuple(desk.message(seq, "bo", f"message {seq}") for seq in range(1, 101))
    desk.fold(notices.HistoryPage(older, more=False))
    # Where the rule of the day was, above the first one, there is another message now.
    assert desk.texts(60, 12) == ["message 100", *before]
    desk.scroll("page up")
    assert desk.texts(60, 12)[-1] == "message 99"


@pytest.mark.parametrize("columns", [34, 60, 120])
def test_another_size_keeps_the_line_that_is_read(columns: int) -> None:
    desk = talking("bo")
    for number in range(1, 101):
        desk.say("bo", f"message {number} " + "and more " * (number % 7))
    desk.screen(80, 14)
    for _ in range(3):
        desk.scroll("page up")
    top = desk.texts(80, 14)[0].split(" and")[0]
    assert any(text.startswith(top) for text in desk.texts(columns, 20))
    assert desk.texts(80, 14)[0].startswith(top)


def test_a_text_higher_than_the_screen_can_be_read_row_by_row() -> None:
    desk = talking("bo")
    desk.say("bo", "\n".join(f"row {number}" for number in range(30)))
    assert desk.screen(60, 8)[5].endswith("row 29")
    desk.scroll("up")
    assert desk.screen(60, 8)[5].endswith("row 28")
    desk.scroll("page up")
    assert desk.screen(60, 8)[5].endswith("row 22")


def test_a_jump_brings_a_line_to_the_middle_and_marks_it() -> None:
    desk = numbered()
    desk.screen(60, 13)
    desk.model.jump(20)
    rows = desk.screen(60, 13)
    assert rows[5] == "10:00           bo » message 20"
    desk.scroll("down")
    assert "10:00           bo │ message 20" in desk.screen(60, 13)


def test_a_jump_to_what_is_not_here_shows_another_part_and_end_returns() -> None:
    desk = Desk()
    desk.fold(ready("ana", "bo", head=900))
    for seq in range(801, 901):
        desk.say("bo", f"message {seq}", seq=seq, past=True)
    desk.screen(80, 13)
    desk.model.jump(300)
    desk.settle()
    before = desk.asked[-1].before
    part = tuple(desk.message(seq, "bo", f"message {seq}") for seq in range(before - 100, before))
    desk.fold(notices.HistoryPage(part, more=True))
    assert "10:00           bo » message 300" in desk.screen(60, 13)
    assert desk.status(80).endswith("EARLIER, End returns")
    desk.model.act("end", desk.now_ms)
    assert any("message 900" in text for text in desk.texts(60, 20))


def test_what_was_found_stands_over_the_log_with_one_marked() -> None:
    desk = numbered(4)
    desk.enter("/search message")
    found = tuple(desk.message(seq, "bo", f"message {seq}") for seq in (1, 2, 4))
    desk.fold(notices.FoundMessages(found, more=False))
    assert desk.screen(70, 10)[3:8] == [
        "10:00           bo │ message 4",
        "── Enter goes there, Esc closes; 3 in the room with 'message' ──",
        "  2026-11-23 10:00 bo: message 1",
        "  2026-11-23 10:00 bo: message 2",
        "› 2026-11-23 10:00 bo: message 4",
    ]
    desk.model.pick(-1)
    assert desk.screen(70, 10)[6].startswith("› ")
    desk.model.pick_up()
    assert "10:00           bo » message 2" in desk.screen(70, 10)


def test_a_longer_answer_stands_over_the_log_and_can_be_scrolled() -> None:
    desk = numbered(4)
    desk.screen(70, 10)
    desk.enter("/set")
    rows = desk.screen(70, 12)
    assert rows[2].startswith("── settings; Esc closes ──")
    assert rows[3].startswith("theme        auto")
    assert rows[1] == "10:00           bo │ message 4"
    desk.enter("/help")
    rows = desk.screen(90, 12)
    assert rows[0].startswith("── help, rows 1 to 9 of ")
    assert not any("(you)" in row for row in rows), "it has the whole width"
    first = rows[1]
    desk.scroll("page down")
    assert first not in desk.screen(90, 12)
    for _ in range(9):
        desk.scroll("page down")
    assert desk.screen(90, 12)[9].startswith("The first letters")
    desk.scroll("top")
    assert desk.screen(90, 12)[1] == first
    desk.model.act("close", desk.now_ms)
    assert "10:00           bo │ message 4" in desk.screen(60, 12)


def test_many_findings_scroll_around_the_marked_one() -> None:
    desk = numbered(4)
    desk.enter("/search x")
    desk.fold(notices.FoundMessages(tuple(desk.message(seq, "bo", f"x {seq}") for seq in range(1, 41)), more=True))
    rows = desk.screen(70, 10)
    assert rows[0].startswith("── Enter goes there, Esc closes; the newest 40 in the room with 'x'")
    assert rows[7] == "› 2026-11-23 10:00 bo: x 40"
    desk.model.pick(-39)
    assert desk.screen(70, 10)[1] == "› 2026-11-23 10:00 bo: x 1"


# --- the frame -------------------------------------------------------------------------------------------------------


def test_members_stand_on_the_right_with_a_sign_for_who_serves_is_away_or_silent() -> None:
    desk = talking("bo", "cy", "di")
    desk.fold(notices.MemberChanged(name="cy", state="away", text="tea"))
    desk.fold(notices.MemberChanged(name="di", state="silent"))
    column = [row[82:].rstrip() for row in desk.screen(100, 8)[:5]]
    assert column == ["   ana (you)", "◆  bo", " ○ cy", " ? di", ""]
    desk.view.signs = ASCII
    assert [row[82:].rstrip() for row in desk.screen(100, 8)[1:4]] == ["*  bo", " - cy", " ? di"]


@pytest.mark.parametrize("how", ["narrow", "hidden"])
def test_members_give_way(how: str) -> None:
    desk = talking("bo", "cy")
    if how == "hidden":
        desk.model.act("members", desk.now_ms)
    assert "(you)" not in "\n".join(desk.screen(79 if how == "narrow" else 120, 10))


def test_more_members_than_rows_are_counted() -> None:
    desk = talking(*(f"m{number}" for number in range(30)))
    assert desk.screen(90, 8)[5].endswith("   and 26 more")


def test_the_status_line_loses_what_matters_least_first() -> None:
    desk = talking("bo")
    desk.fold(notices.StateChanged(state="moving", queued=0))
    desk.enter("waits")
    assert desk.status(80) == " 10:00 │ tea │ ana │ 2 here │ bo serves 17s e4 │ 1 queued"
    assert desk.status(50) == " tea │ ana │ 2 here │ bo serves 17s e4 │ 1 queued"
    assert desk.status(46) == " tea │ 2 here │ bo serves 17s e4 │ 1 queued"
    assert desk.status(30) == " tea │ 1 queued"
    assert desk.status(12) == " 1 queued"


def test_a_handover_shows_on_the_status_line_and_nowhere_else() -> None:
    desk = talking("bo")
    desk.say("bo", "hello")
    desk.editor.text = "half-typed"
    before = desk.screen(80, 10)
    desk.fold(notices.StateChanged(state="moving", queued=0))
    desk.fold(notices.Relocated(epoch=5, server="ana", reason="handover", pause_ms=3, resent=0))
    desk.fold(notices.Schedule(epoch=5, server="ana", member="ana", next_handover_in_s=30.0))
    desk.fold(notices.StateChanged(state="live", queued=0))
    after = desk.screen(80, 10)
    changed = [number for number, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
    assert changed == [0, 1, 8]
    assert [row[60:].strip() for row in after[:2]] == ["│ ◆  ana (you)", "│    bo"]
    assert [row[:60] for row in after[:2]] == [row[:60] for row in before[:2]]
    assert after[8] == " 10:00 │ tea │ ana │ 2 here │ ana serves 30s e5"
    assert after[9] == "> half-typed"


def test_while_nobody_serves_no_member_is_shown_as_serving() -> None:
    desk = talking("bo")
    assert [row[60:].strip() for row in desk.screen(80, 10)[:2]] == ["│    ana (you)", "│ ◆  bo"]
    desk.fold(notices.StateChanged(state="searching", queued=0))
    assert [row[60:].strip() for row in desk.screen(80, 10)[:2]] == ["│    ana (you)", "│    bo"]


def test_whom_one_ignores_stands_in_brackets() -> None:
    desk = talking("bo", "cy")
    desk.enter("/ignore cy")
    assert desk.screen(80, 10)[2][60:].strip() == "│    (cy)"
    desk.enter("/ignore cy")
    assert desk.screen(80, 10)[2][60:].strip() == "│    cy"


def test_the_members_come_with_the_room() -> None:
    desk = Desk()
    assert not any("│" in row for row in desk.screen(80, 10)[:8])
    desk.fold(ready("ana", "bo", head=0))
    assert "(you)" in desk.screen(80, 10)[0]


def test_help_fits_an_ordinary_terminal() -> None:
    desk = talking("bo")
    desk.enter("/help")
    rows = desk.screen(80, 24)
    assert rows[1].startswith("── help; Esc closes ──")
    assert rows[2].startswith("TEXT ")
    assert rows[21].startswith("The first letters")


def test_the_topic_stands_above_the_log_of_a_high_screen() -> None:
    desk = talking("bo")
    desk.fold(notices.Topic(text="about \x1btea", by="bo"))
    assert desk.screen(60, 12)[0] == "topic: about ^[tea"
    assert "^[tea" not in desk.screen(60, 9)[0]


def test_a_private_talk_is_a_page_with_states_and_its_name_at_the_prompt() -> None:
    desk = talking("bo")
    desk.enter("/msg bo hello")
    desk.fold(notices.Private(sender="ana", to="bo", id="p1", text="hello", state="delivered", tag=1))
    desk.model.touched(desk.now_ms)
    desk.enter("again")
    desk.fold(notices.Private(sender="bo", to="ana", id="p2", text="and you?", state="received"))
    rows = desk.screen(60, 9)
    assert rows[1:4] == [
        "10:00          ana │ hello ✓✓",
        "10:00          ana │ again …",
        "10:00           bo │ and you?",
    ]
    assert rows[7] == " 10:00 │ 2/2 tea / bo │ ana │ 2 here │ bo serves 17s e4"
    assert rows[8] == "bo>"
    desk.fold(notices.Private(sender="ana", to="bo", id="p3", text="again", state="failed", tag=2, reason="no answer"))
    rows = desk.screen(60, 9)
    assert "10:00          ana │ again ✗" in rows
    assert "10:00            ! │ Not delivered: no answer (again)" in rows


def test_what_comes_on_another_page_is_told_on_the_status_line() -> None:
    desk = talking("bo")
    desk.fold(notices.Private(sender="bo", to="ana", id="p", text="psst", state="received"))
    assert desk.status(90) == " 10:00 │ 1/2 tea │ ana │ 2 here │ bo serves 17s e4 │ +2:bo(1)"
    desk.model.act("page-2", desk.now_ms)
    assert "10:00           bo │ psst" in desk.screen(60, 9)


def test_a_question_and_a_hint_have_a_row_above_the_input() -> None:
    desk = talking("bo")
    desk.model.question = "Paste 7 lines as one message? Ctrl+Y yes, Ctrl+N no"
    desk.editor.paste("a\nb")
    assert desk.screen(70, 12)[-4:] == [
        " 10:00 │ tea │ ana │ 2 here │ bo serves 17s e4",
        "Paste 7 lines as one message? Ctrl+Y yes, Ctrl+N no",
        "> a",
        "  b",
    ]
    desk.model.question, desk.editor.text = "", "/nonsense"
    assert not desk.enter("/nonsense")
    rows = desk.screen(70, 12)
    assert rows[-3].startswith("Not sent: there is no command /nonsense.")
    assert rows[-1] == "> /nonsense"


def test_what_tab_goes_through_is_shown_with_the_taken_one_in_brackets() -> None:
    desk = talking("anton", "antje")
    for key in ("a", "tab"):
        desk.editor.press(key)
    assert desk.screen(60, 8)[-1] == "> ant"
    desk.editor.press("tab")
    assert desk.screen(60, 8)[-2:] == ["[anton] antje", "> anton:"]
    desk.editor.press("shift tab")
    assert desk.screen(60, 8)[-1] == "> ant"


def test_the_input_grows_to_a_third_of_the_screen_around_the_cursor() -> None:
    desk = talking("bo")
    desk.editor.text = "\n".join(f"row {number}" for number in range(9))
    assert [row.strip("> ") for row in desk.screen(60, 12)[-4:]] == ["row 5", "row 6", "row 7", "row 8"]
    for _ in range(8):
        desk.editor.press("up")
    assert [row.strip("> ") for row in desk.screen(60, 12)[-4:]] == ["row 0", "row 1", "row 2", "row 3"]


def test_a_text_near_its_greatest_size_is_measured() -> None:
    desk = talking("bo")
    desk.editor.text = "x" * 7000
    assert "7,000 of 8,192 bytes" in desk.status(110)
    desk.editor.text = "x" * 9000
    assert "too long by 808 bytes" in desk.status(110)


def test_the_text_to_copy_has_a_line_for_each_line_however_long() -> None:
    desk = talking("bo")
    url = "https://example.org/" + "a" * 300
    desk.say("bo", url)
    desk.say("bo", "/me leaves ana\x1b[2J\u202e alone")
    desk.say("ana", "one  \n two", own=True)
    desk.model.focus(has_focus=False)
    desk.now_ms += DAY_MS
    desk.say("bo", "ana?")
    desk.model.hint = "nothing of this"
    desk.enter("waits")
    desk.fold(notices.StateChanged(state="searching", queued=0))
    desk.fold(notices.Fault("bad", "no good"))
    assert desk.view.plain_lines(100) == [
        "-- 2026-11-23",
        f"10:00 bo: {url}",
        "10:00 * bo leaves ana^[[2J<U+202E> alone",
        "10:00 ana: one",
        "       two",
        "-- 2026-11-24",
        "-- unread",
        "10:00 bo: ana?",
        "10:00 ! no good",
        "10:00 ana: waits (queued)",
    ]
    desk.view.charset = "ascii"
    desk.say("bo", "é")
    assert desk.view.plain_lines(1) == ["10:00 ana: waits (queued)"]
    assert desk.view.plain_lines(2)[0] == "10:00 bo: ?"


def test_the_text_to_copy_is_what_is_around_what_is_read() -> None:
    desk = numbered(300)
    desk.screen(60, 12)
    assert desk.view.plain_lines(100) == [f"10:00 bo: message {number}" for number in range(201, 301)]
    desk.scroll("page up")
    assert desk.view.plain_lines(100)[-1].endswith("message 300")
    desk.model.jump(150)
    desk.screen(60, 12)
    lines = desk.view.plain_lines(100)
    first = desk.texts(60, 12)[0]
    assert len(lines) == 100
    assert lines[50].endswith(first)
    desk.scroll("top")
    assert desk.view.plain_lines(100)[1] == "10:00 bo: message 1"
    assert len(desk.view.plain_lines(100)) == 50


# --- terminals -------------------------------------------------------------------------------------------------------


def test_characters_of_two_columns_joined_and_combined_ones_keep_the_columns() -> None:
    desk = talking("日本")
    desk.say("日本", "家族 👩‍👩‍👧 é e\u0301 end")
    desk.say("日本", "かな" * 30)
    rows = desk.log(79, 9)
    assert rows[1] == "10:00         日本 │ 家族 👩‍👩‍👧 é e\u0301 end"
    assert rows[2].count("かな") > 10
    # The members' edge stands in one and the same column of each row.
    for row in render_text(desk.view.widget, (80, 9))[:6]:
        head = row[: row.rindex("│")]
        assert urwid.calc_width(head, 0, len(head)) == 60
        assert urwid.calc_width(row, 0, len(row)) == 80


def test_control_characters_and_those_that_turn_the_text_are_seen_not_done() -> None:
    desk = talking("bo")
    desk.say("bo", "\x1b[31mred\x07 \u202eevil\u200b")
    desk.editor.paste("a\x1b[0m\u202eb")
    rows = desk.screen(60, 6)
    assert rows[1] == "10:00           bo │ ^[[31mred^G <U+202E>evil<U+200B>"
    assert rows[-1] == "> a␛[0m\ufffdb"
    assert desk.editor.text == "a\x1b[0m\u202eb"


def test_a_charset_without_them_shows_question_marks_in_whole_columns() -> None:
    with urwid.util.set_temporary_encoding("ascii"):
        desk = talking("日本", charset="ascii", signs=ASCII)
        desk.say("日本", "家族 é… “so” 👩‍👩‍👧")
        desk.editor.paste("日é")
        rows = render_text(desk.view.widget, (80, 6), strip=True)
        assert rows[1].startswith('10:00           ?? | ?? ?... "so" ???')
        assert rows[-1] == "> ??"
        assert all(row.isascii() for row in rows)
        assert desk.editor.text == "日é"


def test_a_charset_with_some_of_them_keeps_those() -> None:
    with urwid.util.set_temporary_encoding("iso-8859-1"):
        desk = talking("bo", charset="iso8859-1", signs=ASCII)
        desk.say("bo", "é 日")
        assert desk.log(60, 5)[1] == "10:00           bo | é ?"


def test_without_colours_nothing_is_told_by_colour_alone() -> None:
    desk = talking("bo")
    desk.say("bo", "for ana")
    entries = palette(MONO)
    runs = resolve_runs(render_runs(desk.view.widget, (80, 8)), entries, colors=1)
    assert all(not spec.foreground_basic and not spec.background_basic for row in runs for spec, _ in row)
    texts = {text.strip(): spec for row in runs for spec, text in row}
    assert texts["for ana"].bold
    assert any(spec.standout for row in runs for spec, text in row if "serves" in text)


def test_every_size_can_be_drawn() -> None:
    desk = talking("bo", "日本")
    desk.say("日本", "家族 " * 20)
    desk.fold(notices.Topic(text="tea", by="bo"))
    desk.model.hint = "a hint that is longer than most of these screens are wide"
    desk.editor.text = "typed\n家族"
    for columns in (1, 2, 3, 5, 8, 13, 21, 34, 55, 79, 80, 89, 200):
        for rows in (1, 2, 3, 4, 5, 9, 10, 30):
            canvas = desk.view.widget.render((columns, rows), focus=True)
            assert (canvas.cols(), canvas.rows()) == (columns, rows)
            assert canvas.cursor is not None and canvas.cursor[0] < columns and canvas.cursor[1] < rows
    desk.enter("/search x")
    desk.fold(notices.FoundMessages(tuple(desk.message(seq, "bo", "x") for seq in range(1, 9)), more=False))
    for columns in (1, 5, 90):
        for rows in (1, 2, 3, 6, 20):
            assert desk.view.widget.render((columns, rows), focus=True).rows() == rows


def test_every_attribute_on_the_screen_is_in_the_palette() -> None:
    desk = talking("bo", "cy")
    desk.say("bo", "hello ana")
    desk.say("cy", "hello")
    desk.enter("mine")
    desk.fold(notices.Topic(text="tea", by="bo"))
    desk.fold(notices.MemberChanged(name="cy", state="silent"))
    desk.fold(notices.Private(sender="bo", to="ana", id="p", text="psst", state="received"))
    desk.model.focus(has_focus=False)
    desk.say("bo", "again")
    desk.model.hint = "a hint"
    names = {entry[0] for entry in palette(MONO)}
    used = {attribute for row in render_runs(desk.view.widget, (100, 20)) for attribute, _ in row}
    assert used - {None} <= names
    assert {"mention", "rule.unread", "topic", "hint", "member.silent", "status.loud"} <= used


def test_only_the_lines_near_the_screen_become_widgets() -> None:
    desk = numbered(2000)
    made: list[Line] = []
    original = desk.view.line_widget

    def counting(line: Line, rules: Sequence[str], form: object, *, is_target: bool) -> object:
        made.append(line)
        return original(line, rules, form, is_target=is_target)  # type: ignore[arg-type]

    desk.view.line_widget = counting  # type: ignore[method-assign,assignment]
    desk.screen(60, 20)
    assert 0 < len(made) < 60
    made.clear()
    desk.screen(60, 20)
    assert made == []
    desk.say("bo", "one more")
    desk.screen(60, 20)
    assert [line.text for line in made] == [("one more",)]


def test_urwids_loop_draws_it_and_a_state_that_is_the_same_is_not_another_frame() -> None:
    desk = talking("bo")
    desk.screen(60, 6)
    screen = ScriptedScreen(size=(60, 6))
    loop = urwid.MainLoop(desk.view.widget, palette(MONO), screen=screen)
    loop.draw_screen()
    loop.draw_screen()
    assert len(screen.canvases) == 1
    desk.say("bo", "hello")
    loop.draw_screen()
    assert "hello" in "\n".join(screen.last_text)
    assert re.search(r"^ 10:00 │ tea", screen.last_text[4])
