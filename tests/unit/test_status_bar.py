"""ui.status_bar: what the status line says, and what it leaves out first where there is no room."""

from peer import notices
from tests.support.models import new_model
from ui.model import Model
from ui.page import Kind, Line, Log, State
from ui.status_bar import Piece, fit, pieces
from wire import limits


def model(*told: notices.AnyNotice) -> Model:
    """Of ana, with what she was told at time 0."""
    one = new_model(now_ms=0)
    for notice in told:
        one.fold(notice, 0)
    return one


READY = notices.Ready(
    name="ana", service="backend.com", epoch=42, server="bo", head=0, members=("ana", "bo", "cy"), min_n=0
)
LIVE = notices.StateChanged("live", 0)
SERVED = notices.Schedule(epoch=42, server="bo", member="bo", next_handover_in_s=17.2)


def said(text: str, seq: int = 1) -> notices.Message:
    return notices.Message(seq=seq, epoch=42, id="x", author="bo", text=text, time=0)


def row(one: Model, now_ms: int = 0, typed_bytes: int = 0, columns: int = 200) -> str:
    kept = fit(pieces(one, "10:24", now_ms, typed_bytes), columns, " | ", len)
    return " | ".join(piece.text for piece in kept)


def test_in_quiet_times_it_says_time_room_nick_members_and_who_serves_for_how_long() -> None:
    one = model(READY, LIVE, SERVED)
    assert row(one) == "10:24 | backend.com | ana | 3 here | bo serves 18s e42"
    assert row(one, now_ms=16_200) == "10:24 | backend.com | ana | 3 here | bo serves 1s e42"
    assert row(one, now_ms=99_000) == "10:24 | backend.com | ana | 3 here | bo serves 0s e42"


def test_that_everybody_can_read_along_is_always_said() -> None:
    one = model(READY, LIVE, SERVED)
    one.is_open = True
    assert row(one) == "10:24 | backend.com | ana | OPEN, not encrypted | 3 here | bo serves 18s e42"
    assert "OPEN" in row(one, columns=50), "it stays when there is little room"


def test_where_no_handover_is_planned_no_seconds_are_counted() -> None:
    one = model(READY, LIVE, notices.Schedule(epoch=42, server="bo", member="bo", next_handover_in_s=None))
    assert row(one).endswith("| bo serves e42")


def test_before_one_is_in_and_when_nobody_serves_it_says_so() -> None:
    one = model()
    assert row(one) == "10:24 | backend.com | asking zdns at localhost:8000"
    one.joining()
    assert row(one) == "10:24 | backend.com | not in yet, asking zdns at localhost:8000"
    one = model(READY, LIVE, SERVED, notices.StateChanged("searching", 0))
    assert row(one) == "10:24 | backend.com | ana | no answer from the server", "who is here, nobody knows"
    one = model(READY, LIVE, SERVED)
    one.lost()
    assert row(one).endswith("| no server, looking for one")
    one.recovered()
    assert row(one).endswith("| bo serves 18s e42")


def test_a_handover_takes_nothing_away() -> None:
    one = model(READY, LIVE, SERVED, notices.StateChanged("moving", 0))
    assert row(one) == "10:24 | backend.com | ana | 3 here | bo serves 18s e42"


def test_who_is_away_is_reminded() -> None:
    one = model(READY, LIVE, notices.MemberChanged(name="bo", state="away"))
    assert "| ana |" in row(one)
    one.fold(notices.MemberChanged(name="ana", state="away"), 0)
    assert "| ana (away) |" in row(one)


def test_waiting_for_members_names_them() -> None:
    one = model(READY, LIVE, notices.Waiting(3, 5, ("ana", "bo", "cy")))
    assert "waiting: 3 of 5 (ana, bo, cy)" in row(one)


def test_posts_that_wait_for_a_server_are_counted_those_under_way_are_not() -> None:
    one = model(READY, LIVE, SERVED)
    one.entered("first", 0)
    assert "queued" not in row(one)
    one.fold(notices.StateChanged("searching", 1), 0)
    one.entered("second", 0)
    assert "| 2 queued" in row(one)


def test_what_is_unread_elsewhere_is_named_with_its_page() -> None:
    one = model(READY, LIVE, SERVED)
    for _ in range(2):
        one.fold(notices.Private(sender="bo", to="ana", id="1", text="psst", state="received"), 0)
    assert row(one).endswith("| +2:bo(2)")
    one.act("page-2", 0)
    one.fold(said("hello"), 0)
    assert row(one).startswith("10:24 | 2/2 backend.com / bo | ana |")
    assert row(one).endswith("| +1:backend.com(1)")


def test_of_many_active_pages_the_first_are_named() -> None:
    one = model(READY, LIVE, SERVED)
    for name in ("n1", "n2", "n3", "n4", "n5"):
        one.fold(notices.Private(sender=name, to="ana", id="1", text="psst", state="received"), 0)
    assert row(one).endswith("| +2:n1(1) 3:n2(1) 4:n3(1) 2 pages more")
    one.act("page-2", 0)
    one.act("page-3", 0)
    assert row(one).endswith("| +4:n3(1) 5:n4(1) 6:n5(1)")


def test_scrolled_up_it_says_how_much_is_below() -> None:
    one = model(READY, LIVE, SERVED, *(said("hello", seq) for seq in range(1, 51)))
    one.scrolled(up=True)
    one.seen(0, 9)
    assert row(one).endswith("| MORE(41)")


def test_the_size_of_what_is_typed_is_said_when_it_nears_the_bound() -> None:
    one = model(READY, LIVE, SERVED)
    assert "bytes" not in row(one, typed_bytes=100)
    assert "bytes" not in row(one, typed_bytes=limits.TEXT_BYTES_MAX * 3 // 4)
    assert "| 6,145 of 8,192 bytes" in row(one, typed_bytes=limits.TEXT_BYTES_MAX * 3 // 4 + 1)
    assert "| 8,192 of 8,192 bytes" in row(one, typed_bytes=limits.TEXT_BYTES_MAX)
    assert "| too long by 8 bytes" in row(one, typed_bytes=limits.TEXT_BYTES_MAX + 8)


def test_where_there_is_no_room_the_time_goes_first_and_what_is_wrong_last() -> None:
    one = model(READY, LIVE, SERVED)
    one.room.hold(Line(Kind.SAID, "", "", ("mine",), state=State.QUEUED))
    assert "10:24" not in row(one, columns=50)
    assert "ana" not in row(one, columns=45)
    assert row(one, columns=30) == "backend.com | 1 queued"
    assert row(one, columns=10) == "1 queued"
    assert len(row(one, columns=1)) > 1, "the last one is cut by whoever shows it"


def test_as_the_screen_gets_narrower_one_piece_after_the_other_goes() -> None:
    one = model(READY, LIVE, SERVED, notices.Private(sender="bo", to="ana", id="1", text="psst", state="received"))
    one.room.hold(Line(Kind.SAID, "", "", ("mine",), state=State.QUEUED))
    gone, before = [], row(one, typed_bytes=8_000).split(" | ")
    for columns in range(200, 0, -1):
        left = row(one, typed_bytes=8_000, columns=columns).split(" | ")
        gone += [piece for piece in before if piece not in left]
        before = left
        assert len(" | ".join(left)) <= columns or len(left) == 1
    assert gone == [
        "10:24",
        "ana",
        "3 here",
        "8,000 of 8,192 bytes",
        "bo serves 18s e42",
        "1/2 backend.com",
        "+2:bo(1)",
    ]
    assert before == ["1 queued"]


def test_a_row_is_filled_to_its_last_column() -> None:
    found = [Piece("ab", "", 2), Piece("cd", "", 1), Piece("ef", "", 3)]
    assert fit(found, 12, " | ", len) == found
    assert fit(found, 11, " | ", len) == [found[0], found[2]]
    assert fit(found, 7, " | ", len) == [found[0], found[2]]
    assert fit(found, 6, " | ", len) == [found[2]]


def test_of_an_earlier_part_of_the_history_it_says_how_to_get_back() -> None:
    one = model(READY, LIVE, SERVED, *(said("hello", seq) for seq in range(1, 51)))
    one.room.show_excerpt(Log(), 1)
    assert row(one).endswith("| EARLIER, End returns")


def test_what_is_unread_is_loud_when_it_is_for_us() -> None:
    one = model(READY, LIVE, SERVED)
    for nick in ("bo", "cy"):
        one.fold(notices.Private(sender=nick, to="ana", id="1", text="psst", state="received"), 0)
    one.act("page-2", 0)
    one.act("page-3", 0)
    one.fold(said("hello"), 0)
    [quiet] = [piece for piece in pieces(one, "10:24", 0, 0) if piece.text.startswith("+")]
    assert (quiet.text, quiet.style) == ("+1:backend.com(1)", "status.act")
    one.fold(said("hello ana", 2), 0)
    [loud] = [piece for piece in pieces(one, "10:24", 0, 0) if piece.text.startswith("+")]
    assert (loud.text, loud.style) == ("+1:backend.com(2)", "status.loud")
    one.focus(has_focus=False)
    one.fold(notices.Private(sender="cy", to="ana", id="1", text="psst", state="received"), 0)
    assert "| 1 new |" in row(one)


def test_names_of_others_cannot_write_to_the_terminal() -> None:
    one = model(READY, LIVE, notices.Schedule(epoch=1, server="\x1b[2J", member="", next_handover_in_s=None))
    assert "\x1b" not in row(one)
