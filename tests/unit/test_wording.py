"""ui.wording: one event one line, role first; texts of others can neither act nor pass for another's."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer import notices
from ui.wording import (
    QUEUE_LINES_MAX,
    Wording,
    action_of,
    dropped_lines,
    joining_line,
    leaving_line,
    outage_line,
    queue_answer,
    queue_lines,
    recovered_line,
    status_lines,
)

MINUTE_MS = 60_000


def stamp(utc_ms: int) -> str:
    """A calendar in which 1440 minutes are a day and the first day is the first of January."""
    days, minutes = divmod(utc_ms // MINUTE_MS, 1440)
    return f"2026-01-{days + 1:02} {minutes // 60:02}:{minutes % 60:02}"


def wording() -> Wording:
    """Of ana, at ten past midnight, with bo and cy there."""
    words = Wording(["localhost:8000"], stamp, 10 * MINUTE_MS)
    words.lines(READY, 10 * MINUTE_MS)
    return words


READY = notices.Ready(
    name="ana", service="backend.com", epoch=3, server="bo", head=1204, members=("ana", "bo", "cy"), min_n=0
)


def message(author: str, text: str, minute: int = 10) -> notices.Message:
    return notices.Message(seq=1, epoch=1, id="1", author=author, text=text, time=minute * MINUTE_MS)


def private(state: str, reason: str | None = None) -> notices.Private:
    told = notices.Private(sender="ana", to="bo", id="1", text="a secret", state=state)
    return told if reason is None else notices.Private("ana", "bo", "1", "a secret", state, reason=reason)


def test_the_greeting_says_who_where_who_serves_how_many_and_how_to_leave() -> None:
    assert Wording(["localhost:8000"], stamp, 0).lines(READY, 0) == [
        "-- you are ana in backend.com (zdns at localhost:8000)",
        "-- bo serves; 1,204 messages so far, the last 200 follow; 3 here: ana, bo, cy",
        "-- type a line and Enter to post it; /help lists the commands, /quit leaves",
    ]


@pytest.mark.parametrize(
    ("notice", "expected"),
    [
        (message("bo", "hello"), ["00:10 bo: hello"]),
        (message("bo", "one\ntwo\r\n09:59 cy: three"), ["00:10 bo: one", "      | two", "      | 09:59 cy: three"]),
        (message("bo", "\x1b[2J"), ["00:10 bo: ^[[2J"]),
        (message("bo", "/me waves\nboth hands"), ["00:10 * bo waves", "      | both hands"]),
        (message("bo", "/me"), ["00:10 bo: /me"]),
        (message("bo", "/me  "), ["00:10 bo: /me  "]),
        (message("bo", "/meow"), ["00:10 bo: /meow"]),
        (message("bo", "late", 1441), ["-- 2026-01-02", "00:01 bo: late"]),
        (
            notices.Waiting(here=3, need=5, members=("ana", "bo", "cy")),
            [
                "-- waiting: 3 of 5 here (ana, bo, cy); the chat begins with 5; until then, posts are kept"
                " and shown to nobody"
            ],
        ),
        (notices.Posted(tag=None, id="1", seq=1), []),
        (notices.Relocated(epoch=4, server="cy", reason="handover", pause_ms=5, resent=0), []),
        (notices.Relocated(epoch=4, server="cy", reason="failover", pause_ms=5, resent=0), []),
        (notices.StateChanged(state="moving", queued=2), []),
        (notices.MemberChanged(name="dee", state="joined"), ["-- dee joined"]),
        (notices.MemberChanged(name="cy", state="left"), ["-- cy left"]),
        (notices.MemberChanged(name="cy", state="lost"), ["-- lost contact with cy"]),
        (notices.MemberChanged(name="cy", state="silent"), ["-- nothing was heard from cy for a while"]),
        (notices.MemberChanged(name="cy", state="heard"), ["-- cy is heard again"]),
        (notices.MemberChanged(name="ana", state="silent"), []),
        (notices.MemberChanged(name="cy", state="something new"), []),
        (notices.Schedule(epoch=3, server="bo", member="bo", next_handover_in_s=4.0), []),
        (notices.Topic(text="tea\x1b at five", by="bo"), ["-- topic: tea^[ at five (set by bo)"]),
        (notices.Topic(text="tea", by="ana"), ["-- topic: tea (set by you)"]),
        (notices.Topic(text="tea", by=""), ["-- topic: tea"]),
        (notices.MemberChanged(name="cy", state="away", text="lunch"), ["-- cy is away: lunch"]),
        (notices.MemberChanged(name="ana", state="away"), ["-- you are away"]),
        (notices.MemberChanged(name="ana", state="back"), ["-- you are back"]),
        (notices.MemberChanged(name="Cy", state="renamed", was="cy"), ["-- cy is called Cy now"]),
        (notices.MemberChanged(name="anna", state="renamed", was="ana"), ["-- you are called anna now"]),
        (notices.MemberChanged(name="Ana", state="renamed", was="ana"), ["-- you are called Ana now"]),
        (notices.Topic(text="", by=""), ["-- somebody took the topic away"]),
        (private("queued"), ["00:12 [you -> bo] a secret"]),
        (private("delivered"), ["-- delivered to bo: a secret"]),
        (private("failed", "bo has left"), ["! not delivered to bo (bo has left): a secret"]),
        (
            notices.Private(sender="bo", to="ana", id="1", text="psst\nyes", state="received"),
            ["00:12 [bo -> you] psst", "      | yes"],
        ),
        (
            notices.Private(sender="bo", to="ana", id="1", text="/me nods", state="received"),
            ["00:12 [bo -> you] * bo nods"],
        ),
        (
            notices.Private(sender="ana", to="bo", id="1", text="/me nods", state="queued"),
            ["00:12 [you -> bo] * ana nods"],
        ),
        (
            notices.MembersList(
                members=(notices.MemberLine("ana", "here", True, 0), notices.MemberLine("bo", "silent", False, 0))
            ),
            ["-- 2 here: ana (serves), bo (silent)"],
        ),
        (
            notices.MembersList(
                members=(notices.MemberLine("ana", "here", True, 0), notices.MemberLine("bo", "away", False, 0))
            ),
            ["-- 2 here: ana (serves), bo (away)"],
        ),
        (notices.HistoryPage(messages=(), more=False), ["-- no earlier messages"]),
        (
            notices.HistoryPage(messages=(notices.ChatMessage(7, 1, "1", "bo", "hi", 0),), more=True),
            ["-- message 7:", "2026-01-01 00:00 bo: hi", "-- earlier ones: /history 1 7"],
        ),
        (notices.FoundMessages(messages=(), more=False), ["-- nothing found"]),
        (
            notices.FoundMessages(messages=(notices.ChatMessage(7, 1, "1", "bo", "hi", 0),), more=False),
            ["-- 1 message found:", "2026-01-01 00:00 bo: hi", "-- end of what was found"],
        ),
        (notices.HandedOver(), ["-- the server role was handed over"]),
        (notices.Refusal(tag=None, code="flood", message="slow down"), ["! slow down"]),
        (
            notices.Refusal(tag=None, code="name_taken", message="'bo' is taken"),
            ["! 'bo' is taken; /who lists those in use"],
        ),
        (
            notices.Refusal(tag=None, code="no_standby", message="alone"),
            ["! not handed over: alone; /status lists who stands by"],
        ),
        (notices.Fault(code="x", message="a\x07b"), ["! a^Gb"]),
        (notices.Fault(code="nobody_serves", message="gone"), ["-- gone. What you type meanwhile is kept"]),
        (notices.Bye(reason="left"), []),
    ],
)
def test_what_a_notice_looks_like(notice: notices.AnyNotice, expected: list[str]) -> None:
    assert wording().lines(notice, 12 * MINUTE_MS) == expected


def test_the_same_waiting_is_told_once() -> None:
    words = wording()
    waiting = notices.Waiting(here=1, need=2, members=("ana",))
    assert words.lines(waiting, 0)
    assert words.lines(waiting, 0) == []
    assert words.lines(notices.Waiting(here=2, need=3), 0) == ["-- waiting: 2 of 3 here"]


def test_that_the_chat_begins_is_told_once_when_all_are_there_or_by_a_message() -> None:
    words = wording()
    assert words.lines(notices.Waiting(here=2, need=3), 0)
    assert words.lines(notices.Waiting(here=3, need=3), 0) == ["-- 3 are here: the chat begins"]
    assert words.lines(message("bo", "x"), 0) == ["00:10 bo: x"]
    words.lines(notices.Waiting(here=3, need=6), 0)
    assert words.lines(message("bo", "x"), 0) == ["-- 6 are here: the chat begins", "00:10 bo: x"]


def test_the_first_one_there_is_told_so() -> None:
    alone = notices.Ready(name="ana", service="tea", epoch=1, server="ana", head=0, members=("ana",), min_n=0)
    assert Wording([], stamp, 0).lines(alone, 0)[1] == "-- ana serves; no messages so far; nobody else is here yet"


def test_a_wait_before_leaving_is_explained() -> None:
    assert leaving_line(1) == "-- waiting for 1 line of yours to get through; Ctrl+C leaves at once"


def test_a_slow_start_says_what_is_tried() -> None:
    assert joining_line("tea", ["a:1", "b:2"]) == "-- not in tea yet, still trying (zdns at a:1, b:2)"


def test_what_is_committed_is_told_when_it_is_not_all() -> None:
    assert "messages   1,204, 1,200 committed" in status_lines(status(committed=1200), stamp)


def test_the_day_is_told_at_each_change_of_it() -> None:
    words = wording()
    days = [words.lines(message("bo", "x", minute), 0) for minute in (1439, 1440, 1441, 2880)]
    assert [len(lines) for lines in days] == [1, 2, 1, 2]


def test_a_topic_is_told_at_each_change_and_when_asked_for() -> None:
    words = wording()
    assert words.topic() == ["-- there is no topic; /topic TEXT sets one"]
    assert words.lines(notices.Topic(text="tea", by="bo"), 0) == ["-- topic: tea (set by bo)"]
    assert words.lines(notices.Topic(text="tea", by="bo"), 0) == ["-- topic: tea (set by bo)"], "it was asked for"
    assert words.topic() == ["-- topic: tea (set by bo)"]
    assert words.lines(notices.Topic(text="", by="cy"), 0) == ["-- cy took the topic away"]
    assert words.topic() == ["-- there is no topic; /topic TEXT sets one"]


def test_who_spoke_last_is_offered_first_and_oneself_never() -> None:
    words = wording()
    words.lines(message("cy", "x"), 0)
    words.lines(message("ana", "x"), 0)
    assert words.nicks == ["cy", "bo"]


def test_who_is_ignored_is_not_heard_until_named_again() -> None:
    words = wording()
    assert words.ignore(None) == ["-- you ignore nobody"]
    assert words.ignore("Bo") == ["-- what Bo says is not shown from now on; /ignore Bo again ends it"]
    assert words.ignore("ana") == ["! That is you."]
    assert words.ignore(None) == ["-- you ignore Bo"]
    told = notices.Private(sender="bo", to="ana", id="1", text="psst", state="received")
    assert words.lines(message("bo", "hello"), 0) == []
    assert words.lines(told, 0) == []
    assert words.people.reply_to == ""
    assert words.lines(message("cy", "hello"), 0) == ["00:10 cy: hello"]
    assert words.lines(notices.MemberChanged(name="bo", state="left"), 0) == ["-- bo left"]
    assert words.ignore("bo") == ["-- what bo says is shown again"]
    assert words.lines(message("bo", "hello"), 0) == ["00:10 bo: hello"]
    assert words.lines(told, 0) == ["00:00 [bo -> you] psst"]


def test_pages_leave_out_who_is_ignored_and_say_so() -> None:
    words = wording()
    words.ignore("bo")
    messages = (notices.ChatMessage(7, 1, "1", "bo", "hi", 0), notices.ChatMessage(8, 1, "2", "cy", "/me waves", 0))
    assert words.lines(notices.HistoryPage(messages=messages, more=True), 0) == [
        "-- messages 7 to 8:",
        "2026-01-01 00:00 * cy waves",
        "-- 1 message of whom you ignore left out",
        "-- earlier ones: /history 2 7",
    ]


def test_a_text_is_an_action_when_it_says_so() -> None:
    assert [action_of(text) for text in ("/me waves", "/me ", "/me", "me waves", " /me waves")] == [
        "waves",
        None,
        None,
        None,
        None,
    ]


def test_what_waits_is_listed_with_a_number_each_and_within_a_bound() -> None:
    assert queue_lines([]) == ["nothing of yours waits"]
    assert queue_lines([("", "", "hello\x1b"), ("", "bo", "x" * 50), ("sent", "", "y"), ("queued", "bo", "z")]) == [
        "4 texts of yours not through yet:",
        " 1  hello^[",
        f" 2  to bo: {'x' * 39}…",
        " 3  sent: y",
        " 4  queued, to bo: z",
    ]
    assert len(queue_lines([("", "", "x")] * QUEUE_LINES_MAX)) == QUEUE_LINES_MAX + 1
    many = queue_lines([("", "", "x")] * (QUEUE_LINES_MAX + 5))
    assert len(many) == QUEUE_LINES_MAX + 2
    assert many[-1] == "and 5 more"


def test_the_queue_is_listed_by_the_numbers_by_which_posts_can_be_dropped() -> None:
    one = notices.QueueLine(3, "old\x1b", "sent", kept=True, left=True)
    two = notices.QueueLine(14, "new", "queued", kept=False, left=False)
    assert queue_answer(notices.Queue((one, two)), [("", "bo", "psst")]) == [
        "3 texts of yours not through yet:",
        " 3  sent, left from last time: old^[",
        "14  queued: new",
        "    to bo: psst",
    ]
    assert queue_answer(notices.Queue(()), []) == ["nothing of yours waits"]


def test_what_was_dropped_is_told_in_one_line_that_promises_nothing() -> None:
    sent = notices.QueueLine(3, "a", "sent", kept=False, left=True)
    queued = notices.QueueLine(4, "b", "queued", kept=False, left=False)
    assert dropped_lines(notices.Dropped(())) == ["there was nothing to drop"]
    assert dropped_lines(notices.Dropped((queued,))) == ["dropped 1 post of yours"]
    assert dropped_lines(notices.Dropped((sent, sent, queued))) == [
        "dropped 3 posts of yours; 2 posts had been sent before and may be posted all the same"
    ]


NASTY = st.text(st.characters() | st.sampled_from("\x00\x07\r\n\x1b\x9b\u202e\u2028"))


@given(NASTY, NASTY)
def test_no_line_acts_on_the_terminal_or_looks_like_anothers(author: str, text: str) -> None:
    action = notices.Private(sender=author, to="ana", id="1", text=f"/me {text}", state="received")
    topic = notices.Topic(text=text, by=author)
    received = notices.Private(sender=author, to="ana", id="1", text=text, state="received")
    changed = notices.MemberChanged(name=author, state="renamed", was=text)
    fault = notices.Fault(code="x", message=text)
    for notice in (message(author, text), message(author, f"/me {text}"), received, action, changed, topic, fault):
        lines = wording().lines(notice, 0)
        rest = lines[1:]
        for line in lines:
            assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in line)
        assert all(line.startswith("      | ") for line in rest)


def status(**changes: object) -> notices.Status:
    values: dict[str, object] = {
        "service": "backend.com",
        "epoch": 42,
        "active": notices.ServerLine(id="1", name="bo", endpoints=("tcp://10.0.0.5:4000",)),
        "in_sync": ("bo", "ana"),
        "standbys": ("ana",),
        "members": ("ana", "bo"),
        "min_n": 0,
        "open": True,
        "head": 1204,
        "committed": 1204,
        "term_s": 30.0,
        "next_handover_in_s": 12.4,
        "handovers": (),
        "replicas": 1,
        "followers": (notices.FollowerLine(name="ana", state="in sync", lag=0),),
    }
    return notices.Status(**(values | changes))  # type: ignore[arg-type]  # a table of arguments has no types


def test_the_status_is_a_table() -> None:
    assert status_lines(status(), stamp) == [
        "service    backend.com",
        "served by  bo, epoch 42 (tcp://10.0.0.5:4000)",
        "in sync    bo, ana",
        "followers  ana (in sync)",
        "standbys   ana",
        "members    2: ana, bo",
        "messages   1,204",
        "handovers  every 30 s, next in 12 s",
    ]


def test_the_status_tells_of_the_gate_of_handovers_and_why_there_is_none() -> None:
    move = notices.MoveLine(
        epoch=42, source="ana", to="bo", reason="handover", entries=1, bytes=2048, copy_ms=13, pause_ms=4
    )
    lines = status_lines(
        status(
            min_n=3, open=False, term_s=0, next_handover_in_s=None, standbys=(), remark="no standby", handovers=(move,)
        ),
        stamp,
    )
    assert "members    2: ana, bo; begins with 3, not begun yet" in lines
    assert "handovers  only when asked for" in lines
    assert "standbys   none" in lines
    assert "remark     no standby" in lines
    assert lines[-1] == (
        "  epoch 42, 2026-01-01 00:00: ana -> bo (handover), 1 message, 2,048 bytes, copied in 13 ms, pause 4 ms"
    )


def test_the_status_tells_what_followers_lack_how_many_are_wanted_and_of_the_disk() -> None:
    behind = notices.FollowerLine(name="cy", state="copying", lag=1204)
    in_sync = notices.FollowerLine(name="ana", state="in sync", lag=1)
    lines = status_lines(status(followers=(in_sync, behind), replicas=3, disk="no room is left"), stamp)
    assert "followers  ana (in sync, lacks 1 message), cy (copying, lacks 1,204 messages); 3 wanted" in lines
    assert "disk       no room is left" in lines
    assert "followers  none; 1 wanted" in status_lines(status(followers=()), stamp)
    assert "followers  none" in status_lines(status(followers=(), replicas=0), stamp)


def test_an_outage_says_what_becomes_of_what_was_typed() -> None:
    assert outage_line(0) == "-- no server at the moment, looking for one"
    assert outage_line(1) == (
        "-- no server at the moment, looking for one; 1 post of yours kept, to be sent when there is one"
    )
    assert recovered_line(2) == "-- there is a server again; 2 posts on the way"
