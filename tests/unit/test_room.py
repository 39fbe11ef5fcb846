"""The room: one order, each post once, members, the gate, the seal."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.history import History
from broker.keeper import Keeper
from broker.room import FEED, ROOM, Phase, Room, is_sound
from broker.stored import (
    ReadStore,
    SearchStore,
    StoreBroken,
    StoreRead,
    StoreSearched,
    StoreUnread,
)
from tests.support.replicas import history_of, orders, restored_of
from wire import codec, identity, limits
from wire.errors import RefusalCode
from wire.messages import (
    Acked,
    AskMembers,
    Bye,
    CallUp,
    CallUpKind,
    ChangeKind,
    Done,
    Fetch,
    Fetched,
    Find,
    Found,
    Heartbeat,
    Hello,
    Located,
    Member,
    MembersAre,
    Message,
    Move,
    Opened,
    Ping,
    Pong,
    Posts,
    Presence,
    Published,
    Refused,
    Relay,
    Relayed,
    Rename,
    Resend,
    RoomState,
    Search,
    ServerInfo,
    SetAway,
    SetServer,
    SetTopic,
    ToClient,
    Welcome,
    WhoAreYou,
)
from wire.step import Command, Send

SERVER = ServerInfo("server-1", "ana", ("tcp://127.0.0.1:1",), ("tcp://127.0.0.1:2",))
M = TypeVar("M", bound=Message)


def room_of(
    min_n: int = 0,
    state: RoomState | None = None,
    history: History | None = None,
    committed: int | None = None,
    keeper: Keeper | None = None,
    now_ms: int = 0,
) -> Room:
    """A room that goes on with a history, all of it committed unless said otherwise, and kept in memory only."""
    history = history or History("log")
    return Room(
        service="backend.com",
        server=SERVER,
        epoch=3,
        history=history,
        committed=history.head if committed is None else committed,
        keeper=keeper or Keeper(has_disk=False),
        state=state or RoomState((), 0, min_n, min_n == 0, 30_000, ()),
        now_ms=now_ms,
        utc_offset_ms=1_000_000,
    )


def hello(peer: str, nick: str | None = None, **changes: Any) -> Hello:
    fields: dict[str, Any] = {
        "protocol": limits.PROTOCOL,
        "service": "backend.com",
        "peer": peer,
        "session": f"{peer}-s1",
        "nick": nick or peer,
        "nick_fixed": False,
        "guest": False,
        "server": "",
        "min_n": 0,
    }
    return Hello(**{**fields, **changes})


def member(peer: str, nick: str) -> Member:
    return Member(peer, nick, False, "", 0)


def sent(commands: Iterable[Command], kind: type[M], to: bytes | None = None) -> list[M]:
    return [
        command.message
        for command in commands
        if isinstance(command, Send) and isinstance(command.message, kind) and to in (None, command.to)
    ]


def join(room: Room, *peers: str, now_ms: int = 0) -> None:
    for peer in peers:
        assert sent(room.receive(peer.encode(), hello(peer), now_ms), Welcome)
    room.flush(now_ms)


def texts(commands: Iterable[Command]) -> list[str]:
    return [
        entry.text
        for message in sent(commands, Published)
        for entry in codec.decode_block(message.block, message.first, message.count)
    ]


def changes_of(room: Room, now_ms: int = 0) -> list[tuple[ChangeKind, str]]:
    """What the next flush tells of members."""
    told = sent(room.flush(now_ms), Presence)
    return [(change.kind, change.member.nick) for presence in told for change in presence.changes]


def turn(room: Room, *posts: tuple[str, Message], now_ms: int = 0) -> list[Command]:
    """One turn of the loop: all that came, then the commit."""
    commands = [command for peer, message in posts for command in room.receive(peer.encode(), message, now_ms)]
    return [*commands, *room.commit_to(room.history.head), *room.flush(now_ms)]


# --- posts ---


def test_what_one_turn_brought_is_one_publication_and_one_ack_an_author() -> None:
    room = room_of()
    join(room, "ana", "bo")
    commands = turn(room, ("ana", Posts(1, ("a1", "a2"))), ("bo", Posts(1, ("b1",))), ("ana", Posts(3, ("a3",))))
    assert texts(commands) == ["a1", "a2", "b1", "a3"]
    assert len(sent(commands, Published)) == 1
    assert sent(commands, Acked, b"ana") == [Acked(1, (1, 2, 4))]
    assert sent(commands, Acked, b"bo") == [Acked(1, (3,))]


def test_nothing_is_acknowledged_or_published_before_it_is_committed() -> None:
    room = room_of()
    join(room, "ana")
    commands = room.receive(b"ana", Posts(1, ("one", "two")), 0)
    commands += room.flush(0)
    assert not sent(commands, Acked)
    assert not sent(commands, Published)
    assert sent(room.receive(b"ana", Fetch(1, 1, 10), 0), Fetched)[0].count == 0
    commands = room.commit_to(1)
    assert sent(commands, Acked) == [Acked(1, (1,))]
    assert texts(commands) == ["one"]


def test_a_repeated_post_is_taken_once_and_acknowledged_again() -> None:
    room = room_of()
    join(room, "ana")
    turn(room, ("ana", Posts(1, ("one", "two"))))
    commands = turn(room, ("ana", Posts(1, ("one", "two", "three"))))
    assert sent(commands, Acked) == [Acked(1, (1, 2)), Acked(3, (3,))]
    assert texts(commands) == ["three"]


def test_a_repeated_post_that_is_not_committed_yet_waits_for_its_commit() -> None:
    room = room_of()
    join(room, "ana")
    room.receive(b"ana", Posts(1, ("one",)), 0)
    assert room.receive(b"ana", Posts(1, ("one",)), 0) == []
    assert sent(room.commit_to(1), Acked) == [Acked(1, (1,))]


def test_a_missing_post_is_asked_for_and_nothing_after_it_is_taken() -> None:
    room = room_of()
    join(room, "ana")
    turn(room, ("ana", Posts(1, ("one",))))
    commands = turn(room, ("ana", Posts(3, ("three",))))
    assert sent(commands, Resend) == [Resend(2)]
    assert room.history.head == 1


def test_a_new_session_of_the_same_author_counts_from_one_again() -> None:
    room = room_of()
    join(room, "ana")
    turn(room, ("ana", Posts(1, ("one",))))
    room.receive(b"ana2", hello("ana", session="ana-s2"), 0)
    assert texts(turn(room, ("ana2", Posts(1, ("other",))))) == ["other"]
    assert sent(turn(room, ("ana", Posts(1, ("late",)))), WhoAreYou)


def test_a_post_of_an_earlier_session_is_not_acknowledged_to_the_new_one() -> None:
    room = room_of()
    join(room, "ana")
    room.receive(b"ana", Posts(1, ("one",)), 0)
    room.receive(b"ana2", hello("ana", session="ana-s2"), 0)
    commands = room.commit_to(1)
    assert texts(commands) == ["one"]
    assert sent(commands, Acked) == []


def test_a_text_over_the_limit_is_refused_and_disturbs_nobody() -> None:
    room = room_of()
    join(room, "ana", "bo")
    long = "ä" * (limits.TEXT_BYTES_MAX // 2 + 1)
    commands = turn(room, ("ana", Posts(1, (long,))), ("bo", Posts(1, ("fine",))))
    assert [refused.code for refused in sent(commands, Refused, b"ana")] == [RefusalCode.TOO_LONG]
    assert texts(commands) == ["fine"]


def test_many_posts_are_published_in_blocks_within_the_limit() -> None:
    room = room_of()
    join(room, "ana")
    posts = [("ana", Posts(1 + 10 * n, ("x" * 8000,) * 10)) for n in range(10)]
    commands = turn(room, *posts)
    assert len(texts(commands)) == 100
    assert all(len(message.block) <= limits.BLOCK_BYTES_MAX + 16 for message in sent(commands, Published))


@given(st.lists(st.tuples(st.sampled_from(["ana", "bo"]), st.integers(1, 6), st.integers(1, 4)), max_size=25))
def test_however_posts_come_each_is_there_once_in_its_authors_order(script: list[tuple[str, int, int]]) -> None:
    room = room_of()
    join(room, "ana", "bo")
    shown: list[str] = []
    for peer, first, count in script:
        posts = Posts(first, tuple(f"{peer} {first + index}" for index in range(count)))
        shown += texts(turn(room, (peer, posts)))
    for peer in ("ana", "bo"):
        own = [text for text in shown if text.startswith(peer)]
        assert own == [f"{peer} {counter}" for counter in range(1, len(own) + 1)]


# --- members ---


def test_two_who_want_one_name_get_it_with_a_suffix_or_are_refused() -> None:
    room = room_of()
    assert sent(room.receive(b"1", hello("p1", "Ana"), 0), Welcome)[0].nick == "Ana"
    assert sent(room.receive(b"2", hello("p2", "ana"), 0), Welcome)[0].nick == "ana-2"
    assert sent(room.receive(b"3", hello("p3", "ANA"), 0), Welcome)[0].nick == "ANA-3"
    refused = sent(room.receive(b"4", hello("p4", "ana", nick_fixed=True), 0), Refused)
    assert [one.code for one in refused] == [RefusalCode.NAME_TAKEN]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"protocol": limits.PROTOCOL + 1}, RefusalCode.VERSION),
        ({"service": "other.com"}, RefusalCode.WRONG_SERVICE),
        ({"nick": "a b"}, RefusalCode.BAD_NAME),
        ({"session": "sessión"}, RefusalCode.MALFORMED),
    ],
)
def test_a_hello_that_cannot_be_is_refused_with_its_reason(changes: dict[str, Any], code: RefusalCode) -> None:
    room = room_of()
    assert [refused.code for refused in sent(room.receive(b"1", hello("p1", **changes), 0), Refused)] == [code]
    assert room.members == ()


def test_a_member_that_says_hello_again_has_joined_once() -> None:
    room = room_of()
    join(room, "ana")
    commands = room.receive(b"other-route", hello("ana"), 0) + room.flush(0)
    assert sent(commands, Welcome, b"other-route")
    assert not sent(commands, Presence)
    assert sent(room.receive(b"ana", Ping(1), 0), WhoAreYou)


def test_leaving_and_falling_silent_are_told_apart() -> None:
    room = room_of()
    join(room, "ana", "bo", "cy")
    room.receive(b"ana", Bye(), 0)
    for now_ms in range(0, limits.MEMBER_DEADLINE_MS + 2_000, limits.PING_MS):
        room.receive(b"cy", Ping(1), now_ms)
        room.sweep(now_ms)
    assert changes_of(room) == [(ChangeKind.LEFT, "ana"), (ChangeKind.SILENT, "bo"), (ChangeKind.LOST, "bo")]
    assert [member.nick for member in room.members] == ["cy"]


def test_a_server_that_was_held_up_itself_loses_nobody() -> None:
    room = room_of()
    join(room, "ana")
    room.sweep(1_000)
    room.sweep(60_000)
    assert [member.nick for member in room.members] == ["ana"]


def test_who_falls_silent_is_told_once_and_heard_again_by_whatever_it_says() -> None:
    for word in (Ping(1), AskMembers(1), hello("bo")):
        room = room_of()
        join(room, "ana", "bo")
        silent: list[int] = []
        for now_ms in range(1_000, 5_000, limits.PING_MS):
            room.receive(b"ana", Ping(1), now_ms)
            room.sweep(now_ms)
            silent += [now_ms] * (changes_of(room) == [(ChangeKind.SILENT, "bo")])
        assert silent == [3_000], "the first sweep after limits.SILENT_MS"
        assert [member.silent for member in room.members] == [False, True]
        told = sent([*room.receive(b"bo", word, 5_000), *room.flush(5_000)], Presence)
        assert [(change.kind, change.member.silent) for change in told[0].changes] == [(ChangeKind.HEARD, False)]
        assert len(told) == 1
        assert [member.silent for member in room.members] == [False, False]


def test_guests_do_not_fall_silent() -> None:
    room = room_of()
    room.receive(b"g", hello("guest", guest=True), 0)
    for now_ms in range(1_000, 5_000, limits.PING_MS):
        room.sweep(now_ms)
    assert sent(room.receive(b"g", AskMembers(1), 5_000), MembersAre)[0].rev == 0
    assert changes_of(room) == []


@pytest.mark.parametrize("late_ms", [900, 30_000])
def test_a_server_that_was_held_up_itself_calls_nobody_silent(late_ms: int) -> None:
    room = room_of()
    join(room, "ana")
    room.sweep(1_000)
    room.sweep(2_000 + late_ms)
    assert changes_of(room) == [], "what came meanwhile has not been read yet"
    room.sweep(3_000 + late_ms)
    if late_ms > limits.PING_MS:
        assert changes_of(room) == [], "who gave this server up is coming back"
        room.sweep(4_000 + late_ms)
        room.sweep(5_000 + late_ms)
    assert changes_of(room) == [(ChangeKind.SILENT, "ana")]


def test_a_new_server_calls_nobody_silent_before_it_has_listened_long_enough_and_keeps_who_is() -> None:
    old = room_of()
    join(old, "ana", "bo", "cy")
    for now_ms in (1_000, 2_000, 3_000):
        old.receive(b"ana", Ping(1), now_ms)
        old.receive(b"cy", Ping(1), min(now_ms, 1_000))
        old.sweep(now_ms)
    assert changes_of(old) == [(ChangeKind.SILENT, "bo")]
    new = room_of(state=old.state(3_400), now_ms=3_400)
    for now_ms in (3_400, 4_400):
        new.sweep(now_ms)
    assert changes_of(new) == []
    assert [member.silent for member in new.members] == [False, True, False]
    told = sent([*new.receive(b"bo", hello("bo"), 4_500), *new.receive(b"cy", hello("cy"), 4_500)], Presence)
    assert [(change.kind, change.member.nick) for change in told[0].changes] == [(ChangeKind.HEARD, "bo")]
    assert len(told) == 1
    for now_ms in (5_400, 6_400):
        new.sweep(now_ms)
    assert changes_of(new) == [(ChangeKind.SILENT, "ana")]


def test_while_sealed_nobody_falls_silent_or_is_heard_again() -> None:
    room = room_of()
    join(room, "ana", "bo")
    for now_ms in (1_000, 2_000, 3_000):
        room.receive(b"ana", Ping(1), now_ms)
        room.sweep(now_ms)
    room.flush(3_000)
    room.seal()
    before = room.state(3_000)
    assert sent(room.receive(b"bo", Ping(1), 3_000), Pong)
    room.sweep(9_000)
    assert room.state(3_000).members == before.members
    room.reopen(9_100)
    room.receive(b"bo", Ping(2), 9_200)
    room.sweep(10_000)
    assert changes_of(room) == [(ChangeKind.HEARD, "bo")]


# --- the topic ---


def test_a_topic_is_a_change_of_the_list_and_stands_in_whatever_carries_it() -> None:
    room = room_of()
    join(room, "ana", "bo")
    assert sent(room.receive(b"ana", SetTopic(4, "lunch"), 0), Done) == [Done(4)]
    (told,) = sent(room.flush(0), Presence)
    assert [(change.kind, change.member.nick, change.text) for change in told.changes] == [
        (ChangeKind.TOPIC, "ana", "lunch")
    ]
    assert told.rev == 3
    assert sent(room.receive(b"bo", AskMembers(5), 0), MembersAre) == [MembersAre(5, 3, room.members, "lunch", "ana")]
    (welcome,) = sent(room.receive(b"cy", hello("cy"), 0), Welcome)
    assert (welcome.topic, welcome.topic_by) == ("lunch", "ana")
    moved = room_of(state=room.state(0))
    (welcome,) = sent(moved.receive(b"bo", hello("bo", rev=4), 0), Welcome)
    assert (welcome.members, welcome.topic, welcome.topic_by) == (None, "lunch", "ana")


def test_a_topic_asked_for_twice_is_told_once_and_anothers_or_an_empty_one_again() -> None:
    room = room_of()
    join(room, "ana", "bo")
    for who, topic in (("ana", "lunch"), ("ana", "lunch"), ("bo", "lunch"), ("bo", ""), ("bo", "")):
        assert sent(room.receive(who.encode(), SetTopic(1, topic), 0), Done) == [Done(1)]
    assert changes_of(room) == [(ChangeKind.TOPIC, "ana"), (ChangeKind.TOPIC, "bo"), (ChangeKind.TOPIC, "bo")]
    assert (room.topic, room.topic_by) == ("", "bo")


def test_a_guest_sets_no_topic_and_reads_it() -> None:
    room = room_of()
    join(room, "ana")
    room.receive(b"ana", SetTopic(1, "lunch"), 0)
    (welcome,) = sent(room.receive(b"g", hello("guest", guest=True), 0), Welcome)
    assert welcome.topic == "lunch"
    (refused,) = sent(room.receive(b"g", SetTopic(2, "mine"), 0), Refused)
    assert (refused.ask, refused.code) == (2, RefusalCode.NOT_MEMBER)
    assert "member" in refused.message
    assert room.topic == "lunch"


def test_a_topic_waits_while_sealed() -> None:
    room = room_of()
    join(room, "ana")
    room.seal()
    assert room.receive(b"ana", SetTopic(1, "lunch"), 0) == []
    assert room.topic == ""
    assert sent(room.reopen(0), Done) == [Done(1)]
    assert room.topic == "lunch"


def test_each_change_raises_the_revision_and_a_list_that_is_current_is_not_sent_again() -> None:
    room = room_of()
    commands = room.receive(b"1", hello("ana"), 0)
    assert [presence.rev for presence in sent(commands, Presence)] == [1]
    welcome = sent(commands, Welcome)[0]
    assert welcome.rev == 1
    assert welcome.members is not None
    assert sent(room.receive(b"1", hello("ana", rev=1), 0), Welcome)[0].members is None
    assert sent(room.receive(b"1", AskMembers(7), 0), MembersAre) == [MembersAre(7, 1, room.members)]


def test_names_states_and_houses_change() -> None:
    room = room_of()
    join(room, "ana", "bo")
    assert sent(room.receive(b"ana", Rename(1, "BO"), 0), Refused)[0].code is RefusalCode.NAME_TAKEN
    assert sent(room.receive(b"ana", Rename(2, "a b"), 0), Refused)[0].code is RefusalCode.BAD_NAME
    assert sent(room.receive(b"ana", Rename(3, "Ana"), 0), Done) == [Done(3)]
    assert sent(room.receive(b"ana", Rename(4, "zoe"), 0), Done) == [Done(4)]
    assert sent(room.receive(b"bo", SetAway(5, "lunch"), 0), Done) == [Done(5)]
    assert sent(room.receive(b"bo", SetAway(6, None), 0), Done) == [Done(6)]
    assert sent(room.receive(b"bo", SetServer(7, "server-2"), 0), Done) == [Done(7)]
    changes = sent(room.flush(0), Presence)[0].changes
    assert [(change.kind, change.member.nick, change.was) for change in changes] == [
        (ChangeKind.RENAMED, "Ana", "ana"),
        (ChangeKind.RENAMED, "zoe", "Ana"),
        (ChangeKind.AWAY, "bo", ""),
        (ChangeKind.BACK, "bo", ""),
        (ChangeKind.MOVED_HOUSE, "bo", ""),
    ]
    assert sent(room.receive(b"bo", Find(8, "ANA"), 0), Refused)[0].code is RefusalCode.NOT_HERE
    assert sent(room.receive(b"bo", Find(9, "Zoe"), 0), Located)[0].member.peer == "ana"
    join(room, "carl")
    assert sent(room.receive(b"new", hello("p9", "ana"), 0), Welcome)[0].nick == "ana"


def test_guests_post_and_are_neither_listed_nor_counted() -> None:
    room = room_of(min_n=1)
    commands = room.receive(b"g", hello("guest", guest=True), 0) + room.flush(0)
    assert not sent(commands, Presence)
    assert not room.gate.open
    assert room.members == ()
    assert sent(turn(room, ("g", Posts(1, ("hi",)))), Acked) == [Acked(1, (1,))]
    assert sent(room.receive(b"1", hello("p1", "guest"), 0), Welcome)[0].nick == "guest-2"


def test_a_call_up_goes_to_the_one_it_is_for_unread() -> None:
    room = room_of()
    join(room, "ana", "bo")
    call_up = CallUp(CallUpKind.OFFER, 3, ("tcp://127.0.0.1:9",), "token")
    relayed = sent(room.receive(b"ana", Relay(1, "bo", call_up), 0), Relayed, b"bo")
    assert [(one.sender.nick, one.call_up) for one in relayed] == [("ana", call_up)]
    assert sent(room.receive(b"ana", Relay(2, "nobody", call_up), 0), Refused, b"ana")[0].ask == 2


def test_whoever_did_not_say_hello_is_asked_to() -> None:
    room = room_of()
    for message in (Posts(1, ("x",)), Ping(1), Fetch(1, 1, 1), Bye(), Search(1, "x", 0, 1)):
        assert sent(room.receive(b"?", message, 0), WhoAreYou, b"?")
    assert room.history.head == 0


def test_the_room_is_full_at_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MEMBERS_MAX", 2)
    room = room_of()
    join(room, "ana", "bo")
    assert sent(room.receive(b"cy", hello("cy"), 0), Refused)[0].code is RefusalCode.FULL


# --- the gate ---


def test_before_min_n_posts_are_kept_and_shown_to_nobody_then_all_appear_in_order() -> None:
    room = room_of(min_n=3)
    join(room, "ana", "bo")
    commands = turn(room, ("ana", Posts(1, ("a1",))), ("bo", Posts(1, ("b1",))))
    assert sent(commands, Acked, b"ana") == [Acked(1, (1,))]
    assert not sent(commands, Published)
    assert sent(room.receive(b"ana", Fetch(1, 1, 10), 0), Fetched) == [Fetched(1, 1, 0, 0, codec.join_block([]))]
    assert sent(room.receive(b"ana", Search(2, "a1", 0, 5), 0), Found)[0].block == codec.join_block([])
    commands = room.receive(b"cy", hello("cy"), 0)
    assert sent(commands, Welcome)[0].head == 0
    commands += room.flush(0)
    assert sent(commands, Opened) == [Opened(3)]
    assert texts(commands) == ["a1", "b1"]


def test_the_gate_stays_open_when_members_leave_and_travels_with_the_state() -> None:
    room = room_of(min_n=2)
    join(room, "ana", "bo")
    room.receive(b"ana", Bye(), 0)
    assert texts(turn(room, ("bo", Posts(1, ("still",))))) == ["still"]
    assert (room.state(0).min_n, room.state(0).open) == (2, True)
    closed = room_of(state=RoomState(room.state(0).members, 5, 2, False, 0, ()))
    assert not sent(closed.flush(0), Opened)
    closed.receive(b"ana", hello("ana"), 0)
    assert sent(closed.flush(0), Opened)


# --- the seal, and moving ---


def test_while_sealed_everything_is_parked_and_taken_up_when_it_reopens() -> None:
    room = room_of()
    join(room, "ana")
    room.seal()
    before = room.state(0)
    assert room.receive(b"ana", Posts(1, ("one",)), 0) == []
    assert room.receive(b"bo", hello("bo"), 0) == []
    assert sent(room.receive(b"ana", Ping(4), 0), Pong) == [Pong(4, 3)]
    room.sweep(10**6)
    assert (room.history.head, room.state(0)) == (0, before)
    commands = room.reopen(0)
    assert room.phase is Phase.SERVING
    assert sent(commands, Welcome, b"bo")
    assert texts(turn(room)) == ["one"]


def test_one_connection_is_one_participants() -> None:
    room = room_of()
    join(room, "ana")
    refused = sent(room.receive(b"ana", hello("somebody"), 0), Refused)
    assert [one.code for one in refused] == [RefusalCode.BUSY]
    assert [member.nick for member in room.members] == ["ana"]


def test_a_post_older_than_anyone_may_ask_for_is_passed_over_without_a_search() -> None:
    room = room_of()
    join(room, "ana")
    count = limits.SEQS_REMEMBERED + 10
    for first in range(1, count, 50):
        turn(room, ("ana", Posts(first, ("x",) * min(50, count + 1 - first))))
    commands = turn(room, ("ana", Posts(1, ("x",) * 20)))
    assert sent(commands, Acked) == [Acked(11, tuple(range(11, 21)))]
    assert room.history.head == count


def test_what_is_parked_when_the_room_is_given_away_is_sent_after_it_once_each() -> None:
    room = room_of()
    join(room, "ana", "bo")
    room.seal()
    for counter in (1, 2):
        room.receive(b"ana", Posts(counter, ("x",)), 0)
    room.receive(b"bo", Rename(1, "new"), 0)
    assert room.retire() == [b"ana", b"bo"]


def test_members_come_along_and_nobody_is_announced() -> None:
    old = room_of()
    join(old, "ana", "bo")
    turn(old, ("ana", Posts(1, ("one",))))
    new = room_of(state=old.state(0), history=old.history)
    commands = new.flush(0)
    for peer in ("ana", "bo"):
        answers = new.receive(peer.encode(), hello(peer, rev=old.state(0).members_rev), 0)
        assert sent(answers, Welcome)[0].members is None
        commands += answers
    commands += new.flush(0)
    assert not sent(commands, Presence)
    assert not sent(commands, Published)
    assert sent(turn(new, ("ana", Posts(1, ("one", "two")))), Acked, b"ana") == [Acked(1, (1,)), Acked(2, (2,))]


def test_members_that_never_came_along_are_lost_in_their_time() -> None:
    old = room_of()
    join(old, "ana", "bo")
    new = room_of(state=old.state(0))
    for now_ms in range(0, limits.MEMBER_DEADLINE_MS + 2_000, limits.PING_MS):
        new.receive(b"ana", hello("ana"), now_ms)
        new.sweep(now_ms)
    assert [member.nick for member in new.members] == ["ana"]


def test_silence_counts_on_across_changes_of_server() -> None:
    room = room_of()
    join(room, "ana", "bo")
    for now_ms in range(1_000, limits.MEMBER_DEADLINE_MS + 2_000, 1_000):
        room = room_of(state=room.state(now_ms), now_ms=now_ms)
        room.receive(b"ana", hello("ana"), now_ms)
        room.sweep(now_ms + 1)
    assert [member.nick for member in room.members] == ["ana"]


def test_a_new_reader_gets_a_heartbeat_with_the_next_flush() -> None:
    room = room_of()
    room.flush(0)
    assert room.flush(0) == []
    room.owe_beat()
    room.next_handover_at_ms = 400
    assert room.flush(100) == [Send(FEED, Heartbeat(3, 0, 0, True, 300))]


def test_the_state_has_news_only_when_something_of_it_has_changed() -> None:
    room = room_of(min_n=2)
    seen = [room.state_key]

    def has_news() -> bool:
        seen.append(room.state_key)
        return seen[-1] != seen[-2]

    room.receive(b"ana", hello("ana"), 0)
    assert has_news()
    turn(room, ("ana", Posts(1, ("one",))))
    room.receive(b"ana", Ping(1), 10)
    room.sweep(1_000)
    assert not has_news()
    join(room, "bo")
    room.flush(0)
    assert room.gate.open
    assert has_news()
    room.receive(b"ana", SetTopic(1, "lunch"), 0)
    assert has_news()
    room.receive(b"bo", SetAway(1, ""), 0)
    assert has_news()
    room.moves.append(Move(4, "ana", "bo", "handover", 0, 0, 0, 0, 0))
    assert has_news()


# --- going on from a copy ---


def test_what_a_dead_server_had_not_committed_is_shown_and_acknowledged_only_when_it_is_committed_here() -> None:
    old = room_of()
    join(old, "ana", "bo")
    turn(old, ("ana", Posts(1, ("one",))))
    old.receive(b"ana", Posts(2, ("two", "three")), 0)
    old.receive(b"bo", Posts(1, ("other",)), 0)
    new = room_of(state=old.state(0), history=old.history, committed=1)
    assert (new.visible, new.history.head) == (1, 4)
    commands = [*new.receive(b"ana2", hello("ana"), 0), *new.flush(0)]
    assert [(welcome.head, sent(commands, Published)) for welcome in sent(commands, Welcome)] == [(1, [])]
    assert sent(new.receive(b"ana2", Fetch(1, 2, 9), 0), Fetched)[0].count == 0
    commands = new.receive(b"ana2", Posts(1, ("one", "two", "three", "four")), 0)
    assert sent(commands, Acked) == [Acked(1, (1,))], "the others are not committed yet"
    commands = new.commit_to(3)
    assert texts(commands) == ["two", "three"]
    assert [one for one in commands if isinstance(one, Send) and one.link == ROOM] == [
        Send(ROOM, Acked(2, (2, 3)), b"ana2")
    ]
    commands = new.commit_to(new.history.head)
    assert texts(commands) == ["other", "four"]
    assert sent(commands, Acked) == [Acked(4, (5,))], "bo has not said hello here"
    new.receive(b"bo2", hello("bo"), 0)
    assert sent(new.receive(b"bo2", Posts(1, ("other",)), 0), Acked, b"bo2") == [Acked(1, (4,))]


def test_what_a_dead_server_had_published_is_not_published_again() -> None:
    old = room_of()
    join(old, "ana")
    turn(old, ("ana", Posts(1, ("one", "two"))))
    new = room_of(state=old.state(0), history=old.history, committed=2)
    assert texts([*new.flush(0), *new.commit_to(2)]) == []
    closed = room_of(state=RoomState((), 0, 1, False, 0, ()), history=old.history, committed=1)
    join(closed, "ana")
    assert texts([*closed.flush(0), *closed.commit_to(2)]) == ["two"], "what was kept back until now"


# --- a history that is longer than memory ---


class Archive:
    """A room whose first entries are on disk only."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, is_open: bool = True, committed: int = 300) -> None:
        monkeypatch.setattr(limits, "TAIL_BYTES_MAX", 100)
        monkeypatch.setattr(limits, "TAIL_ENTRIES_MIN", 100)
        self.whole = history_of((1, 300))
        self.keeper = Keeper(has_disk=True)
        self.keeper.resume(restored_of(self.whole, committed=committed))
        history = history_of((1, 300))
        history.forget_below(129 if is_open else 65)
        self.memory_first = history.first
        state = RoomState((), 0, 2, is_open, 0, ())
        self.room = room_of(state=state, history=history, committed=committed, keeper=self.keeper)
        join(self.room, "ana")

    def ask(self, message: Message) -> list[Command]:
        return self.room.receive(b"ana", message, 0)


def test_what_is_in_memory_no_more_is_read_from_disk_and_then_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(monkeypatch)
    assert archive.memory_first == 129
    commands = archive.ask(Fetch(7, 20, 50))
    assert orders(commands) == [ReadStore(0, 1, 20, 300, 50)]
    assert sent(commands, Message) == []
    count, block = archive.whole.block(20, 69)
    commands, _ = archive.keeper.heard(StoreRead(0, 1, count, block))
    assert commands == [Send(ROOM, Fetched(7, 20, 50, 300, block), b"ana")]


def test_what_is_in_memory_is_answered_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(monkeypatch)
    for first in (129, 300):
        (fetched,) = sent(archive.ask(Fetch(7, first, 50)), Fetched)
        assert (fetched.count, fetched.block) == archive.whole.block(first, 300, 50)
    for first in (0, 301):
        assert archive.ask(Fetch(7, first, 50)) == [Send(ROOM, Fetched(7, first, 0, 300, codec.join_block([])), b"ana")]


def test_of_what_is_on_disk_nothing_is_read_that_is_not_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(monkeypatch, committed=30)
    assert orders(archive.ask(Fetch(7, 20, 50))) == [ReadStore(0, 1, 20, 30, 50)]
    assert archive.ask(Fetch(8, 31, 50)) == [Send(ROOM, Fetched(8, 31, 0, 30, codec.join_block([])), b"ana")]


def test_whoever_fetches_what_cannot_be_read_gets_no_answer_and_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(monkeypatch)
    archive.ask(Fetch(7, 20, 50))
    assert archive.keeper.heard(StoreUnread(0, 1, "the disk is gone")) == ([], "")
    assert orders(archive.ask(Fetch(8, 20, 50))) == [ReadStore(0, 2, 20, 300, 50)]


def test_a_history_on_disk_is_searched_there(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(monkeypatch)
    assert orders(archive.ask(Search(7, "text", 40, 10))) == [SearchStore(0, 1, "text", 40, 10, 300)]
    commands, _ = archive.keeper.heard(StoreSearched(0, 1, b"found", 12))
    assert commands == [Send(ROOM, Found(7, 12, b"found"), b"ana")]
    archive.ask(Search(8, "text", 0, 10))
    commands, _ = archive.keeper.heard(StoreUnread(0, 2, "too many ask" * 100))
    (refused,) = sent(commands, Refused, b"ana")
    assert (refused.ask, refused.code) == (8, RefusalCode.STORE_FAILED)
    assert len(refused.message) <= limits.MESSAGE_CHARS_MAX


def test_with_a_broken_disk_what_is_in_memory_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(monkeypatch)
    archive.keeper.heard(StoreBroken(0, "full"))
    (found,) = sent(archive.ask(Search(7, "text", 0, 3)), Found)
    assert [entry.seq for entry in codec.decode_entries(found.block)] == [298, 299, 300]
    assert orders(archive.ask(Fetch(8, 20, 50))) == [ReadStore(0, 1, 20, 300, 50)], "what is there can be read"


def test_behind_a_closed_gate_nothing_is_read_from_disk_or_searched_there(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(monkeypatch, is_open=False)
    assert archive.ask(Fetch(7, 20, 50)) == [Send(ROOM, Fetched(7, 20, 0, 0, codec.join_block([])), b"ana")]
    assert orders(archive.ask(Search(8, "text", 0, 9))) == [SearchStore(0, 1, "text", 0, 9, 0)]


def test_behind_a_closed_gate_nothing_is_shown_of_what_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(monkeypatch, is_open=False)
    for first in (archive.memory_first, archive.memory_first + 5, 300):
        assert archive.ask(Fetch(7, first, 50)) == [Send(ROOM, Fetched(7, first, 0, 0, codec.join_block([])), b"ana")]


def test_what_was_kept_back_and_is_on_disk_only_is_left_to_be_fetched_when_the_gate_opens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = Archive(monkeypatch, is_open=False)
    assert archive.memory_first == 65
    archive.room.receive(b"bo", hello("bo"), 0)
    published = sent(archive.room.flush(0), Published)
    assert [(one.first, one.count) for one in published] == [(65, 236)]
    assert orders(archive.ask(Fetch(7, 1, 50))) == [ReadStore(0, 1, 1, 300, 50)]


@pytest.mark.parametrize("disk", ["none", "there", "broken"])
def test_only_a_history_in_memory_is_ever_full(monkeypatch: pytest.MonkeyPatch, disk: str) -> None:
    monkeypatch.setattr(limits, "HISTORY_BYTES_MAX", limits.TEXT_BYTES_MAX + limits.KIB)
    keeper = Keeper(has_disk=disk != "none")
    keeper.begin("log")
    if disk == "broken":
        keeper.heard(StoreBroken(1, "full"))
    room = room_of(keeper=keeper)
    join(room, "ana")
    assert sent(turn(room, ("ana", Posts(1, ("one",)))), Acked) == [Acked(1, (1,))]
    refused = sent(turn(room, ("ana", Posts(2, ("two",)))), Refused)
    assert [one.code for one in refused] == ([] if disk == "there" else [RefusalCode.HISTORY_FULL])


@pytest.mark.parametrize("nick", [" ana", "ana\u3000", "\u2028" * 100 + "ANA"])
def test_a_nick_that_is_taken_is_refused_however_it_is_written(nick: str) -> None:
    room = room_of()
    join(room, "ana")
    (refused,) = sent(room.receive(b"bo", hello("bo", nick, nick_fixed=True), 0), Refused)
    assert refused.code is RefusalCode.NAME_TAKEN
    codec.decode(codec.encode(refused), ToClient)


def test_very_many_changes_are_told_in_several_messages_without_a_gap() -> None:
    room = room_of()
    join(room, "ana")
    room.seal()
    count = 2 * limits.CHANGES_PER_MESSAGE_MAX + 1
    for number in range(count):
        room.receive(b"ana", SetAway(number, "x" * limits.AWAY_CHARS_MAX), 0)
    room.reopen(0)
    told = sent(room.flush(0), Presence)
    assert [len(presence.changes) for presence in told] == [400, 400, 1]
    assert [presence.rev - len(presence.changes) for presence in told] == [1, 401, 801]
    assert max(len(frame) for presence in told for frame in codec.encode(presence)) <= limits.FRAME_BYTES_MAX


@pytest.mark.parametrize(
    ("state", "sound"),
    [
        (RoomState((), 0, 0, True, 0, ()), True),
        (RoomState((), 2**62, 0, True, 0, ()), False),
        (RoomState((member("a", "ana"), member("b", "bo")), 0, 0, True, 0, ()), True),
        (RoomState((member("a", "ana"), member("a", "bo")), 0, 0, True, 0, ()), False),
        (RoomState((member("a", "ana"), member("b", "ANA")), 0, 0, True, 0, ()), False),
        (RoomState((member("ä", "ana"),), 0, 0, True, 0, ()), False),
        (RoomState((member("a", "a" * 33),), 0, 0, True, 0, ()), False),
    ],
)
def test_what_state_a_room_can_be_in(state: RoomState, sound: bool) -> None:
    assert is_sound(state) is sound


# --- keys ---

KEYS = {b"ana": "a" * 40, b"ana2": "a" * 40, b"eve": "e" * 40, b"bo": "b" * 40}


def closed_room(state: RoomState | None = None) -> Room:
    """A room whose routes have keys."""
    history = History("log")
    return Room(
        service="backend.com",
        server=SERVER,
        epoch=3,
        history=history,
        committed=0,
        keeper=Keeper(has_disk=False),
        state=state or RoomState((), 0, 0, True, 30_000, ()),
        now_ms=0,
        utc_offset_ms=0,
        key_of=lambda route: KEYS.get(route, ""),
    )


def enter(room: Room, route: bytes, nick: str, **changes: Any) -> list[Command]:
    return room.receive(route, hello(identity.make_id(KEYS[route], route.hex()), nick, **changes), 0)


def nick_of(commands: list[Command]) -> str:
    return sent(commands, Welcome)[0].nick


def test_a_route_that_another_key_has_taken_over_speaks_for_nobody_else() -> None:
    room = closed_room()
    enter(room, b"bo", "bo")
    taken, was = b"bo", KEYS[b"bo"]
    try:
        KEYS[taken] = KEYS[b"eve"]
        assert room.receive(taken, Posts(1, ("I am bo",)), 0) == [Send(ROOM, WhoAreYou(), taken)]
        assert room.receive(taken, hello(identity.make_id(was, taken.hex()), "bo"), 0) == []
        assert nick_of(enter(room, taken, "eve")) == "eve"
        room.receive(taken, Posts(1, ("I am eve",)), 0)
    finally:
        KEYS[taken] = was
    assert [entry.nick for entry in room.history.entries(1, 9)] == ["eve"]
    assert [member.nick for member in room.members] == ["bo", "eve"]
    assert nick_of(enter(room, taken, "bo")) == "bo"


def test_members_are_told_with_their_keys() -> None:
    room = closed_room()
    enter(room, b"ana", "ana")
    assert [member.key for member in room.members] == ["a" * 40]


def test_a_nick_belongs_to_its_key_also_when_its_owner_is_gone() -> None:
    room = closed_room()
    enter(room, b"ana", "ana")
    room.receive(b"ana", Bye(), 0)
    assert nick_of(enter(room, b"eve", "Ana")) == "Ana-2"
    room.receive(b"eve", Bye(), 0)
    (refused,) = sent(enter(room, b"eve", "ana", nick_fixed=True), Refused)
    assert refused.code is RefusalCode.NAME_TAKEN
    assert identity.shown(identity.fingerprint("a" * 40)) in refused.message
    assert nick_of(enter(room, b"ana2", "ana")) == "ana"


def test_a_nick_is_kept_by_the_next_server_too() -> None:
    room = closed_room()
    enter(room, b"ana", "ana")
    room.receive(b"ana", Bye(), 0)
    room = closed_room(room.state(0))
    assert nick_of(enter(room, b"eve", "ana")) == "ana-2"


def test_nobody_is_renamed_to_a_nick_of_another_key_and_the_new_one_is_kept() -> None:
    room = closed_room()
    enter(room, b"ana", "ana")
    room.receive(b"ana", Bye(), 0)
    enter(room, b"eve", "eve")
    assert sent(room.receive(b"eve", Rename(1, "ANA"), 0), Refused)[0].code is RefusalCode.NAME_TAKEN
    assert sent(room.receive(b"eve", Rename(2, "queen"), 0), Done)
    room.receive(b"eve", Bye(), 0)
    assert nick_of(enter(room, b"bo", "queen")) == "queen-2"


@pytest.mark.parametrize("changes", [{"keeps_key": False}, {"guest": True}])
def test_nicks_are_not_kept_for_guests_nor_for_keys_that_do_not_last(changes: dict[str, bool]) -> None:
    room = closed_room()
    enter(room, b"ana", "ana", **changes)
    room.receive(b"ana", Bye(), 0)
    assert nick_of(enter(room, b"eve", "ana")) == "ana"


def test_only_so_many_nicks_are_kept_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NICKS_OWNED_MAX", 1)
    room = closed_room()
    for route, nick in ((b"ana", "ana"), (b"bo", "bo")):
        enter(room, route, nick)
        room.receive(route, Bye(), 0)
    assert room.state(0).owners == (("bo", identity.fingerprint("b" * 40)),)
    assert nick_of(enter(room, b"eve", "ana")) == "ana"


def test_nobody_pushes_the_nicks_of_others_out_by_renaming_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NICKS_OWNED_MAX", 6)
    monkeypatch.setattr(limits, "NICKS_PER_KEY_MAX", 3)
    room = closed_room()
    enter(room, b"bo", "bo")
    room.receive(b"bo", Bye(), 0)
    enter(room, b"eve", "eve")
    for number in range(10):
        assert sent(room.receive(b"eve", Rename(1, f"eve{number}"), 0), Done)
    assert [nick for nick, _ in room.state(0).owners] == ["bo", "eve7", "eve8", "eve9"]
    assert sent(room.receive(b"eve", Rename(1, "bo"), 0), Refused)[0].code is RefusalCode.NAME_TAKEN


def test_who_bears_a_nick_does_not_lose_it_to_many_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NICKS_OWNED_MAX", 2)
    room = closed_room()
    enter(room, b"ana", "ana")
    for route, nick in ((b"bo", "bo"), (b"eve", "eve"), (b"bo", "last")):
        enter(room, route, nick)
        room.receive(route, Bye(), 0)
    assert [nick for nick, _ in room.state(0).owners] == ["ana", "last"]


def test_whoever_is_banned_is_told_and_gone_for_the_others() -> None:
    room = closed_room()
    enter(room, b"ana", "ana")
    enter(room, b"eve", "eve")
    room.flush(0)
    commands = room.ban({identity.fingerprint("e" * 40)})
    assert [refused.code for refused in sent(commands, Refused, b"eve")] == [RefusalCode.BANNED]
    assert [change.member.nick for change in sent(commands, Presence)[0].changes] == ["eve"]
    assert [member.nick for member in room.members] == ["ana"]
    assert room.receive(b"eve", Posts(1, ("x",)), 0) == [Send(ROOM, WhoAreYou(), b"eve")]
    assert room.ban({identity.fingerprint("e" * 40)}) == []


# --- who posts too fast ---


RING = CallUp(CallUpKind.RING, 1)


def guarded(flood_per_s: float = limits.FLOOD_POSTS_PER_S) -> Room:
    """An open room with a bound on what one member may do."""
    return Room(
        service="backend.com",
        server=SERVER,
        epoch=3,
        history=History("log"),
        committed=0,
        keeper=Keeper(has_disk=False),
        state=RoomState((), 0, 0, True, 30_000, ()),
        now_ms=0,
        utc_offset_ms=0,
        flood_per_s=flood_per_s,
    )


def test_what_comes_too_fast_is_not_taken_and_its_author_is_told_once_a_second() -> None:
    room = guarded()
    join(room, "eve", "ana")
    told = []
    for first in range(1, 600, 60):
        told += sent(room.receive(b"eve", Posts(first, ("x",) * 60), 0), Refused)
    assert [refused.code for refused in told] == [RefusalCode.FLOOD]
    assert room.history.head == limits.FLOOD_BURST_POSTS
    assert not sent(room.receive(b"ana", Posts(1, ("y",)), 0), Refused), "nobody else notices"
    assert room.history.head == limits.FLOOD_BURST_POSTS + 1
    again = room.receive(b"eve", Posts(limits.FLOOD_BURST_POSTS + 1, ("x",) * 64), 1_000)
    assert room.history.head == limits.FLOOD_BURST_POSTS + 1 + limits.FLOOD_POSTS_PER_S
    assert [refused.code for refused in sent(again, Refused)] == [RefusalCode.FLOOD]
    assert [entry.counter for entry in room.history.entries(1, room.history.head) if entry.nick == "eve"] == list(
        range(1, limits.FLOOD_BURST_POSTS + limits.FLOOD_POSTS_PER_S + 1)
    )


@pytest.mark.parametrize(
    "request_of",
    [
        lambda ask: Rename(ask, f"eve{ask}"),
        lambda ask: SetAway(ask, f"at {ask}"),
        lambda ask: SetTopic(ask, f"topic {ask}"),
        lambda ask: SetServer(ask, f"server-{ask}"),
    ],
    ids=["rename", "away", "topic", "server"],
)
def test_what_everybody_hears_of_is_bounded(request_of: Callable[[int], Message]) -> None:
    room = guarded()
    join(room, "eve", "ana")
    answers = [room.receive(b"eve", request_of(ask), 0) for ask in range(1, 101)]
    codes = [refused.code for answer in answers for refused in sent(answer, Refused)]
    done = 100 - len(codes)
    assert codes == [RefusalCode.FLOOD] * len(codes)
    assert done == limits.FLOOD_BURST_CHANGES - 1, "its coming was the first"
    assert sum(len(presence.changes) for presence in sent(room.flush(0), Presence)) <= done + 2
    assert sent(room.receive(b"ana", SetAway(1, "lunch"), 0), Done), "nobody else notices"
    later = [room.receive(b"eve", request_of(ask), 1_000) for ask in range(201, 211)]
    assert sum(len(sent(answer, Refused)) for answer in later) == 10 - limits.FLOOD_CHANGES_PER_S


def test_whoever_leaves_and_comes_back_over_and_over_is_asked_to_wait() -> None:
    room = guarded()
    join(room, "ana")
    refused = []
    for _ in range(limits.FLOOD_BURST_CHANGES + 10):
        refused += sent(room.receive(b"eve", hello("eve"), 0), Refused)
        room.receive(b"eve", Posts(room.history.head + 1, ("x",) * 30), 0)
        room.receive(b"eve", Bye(), 0)
    assert [each.code for each in refused] == [RefusalCode.FLOOD] * 10
    assert room.history.head == limits.FLOOD_BURST_POSTS, "posts are not counted anew"
    assert sent(room.receive(b"eve", hello("eve"), 1_000), Welcome)
    assert sent(room.receive(b"eve", hello("eve"), 1_000), Welcome), "to say it again is no news"


def test_call_ups_are_bounded_and_changes_are_not_counted_with_them() -> None:
    room = guarded()
    join(room, "eve", "ana")
    answers = [room.receive(b"eve", Relay(ask, "ana", RING), 0) for ask in range(1, limits.FLOOD_BURST_CALLS + 11)]
    assert sum(len(sent(answer, Relayed)) for answer in answers) == limits.FLOOD_BURST_CALLS
    assert [each.ask for answer in answers for each in sent(answer, Refused)] == list(
        range(limits.FLOOD_BURST_CALLS + 1, limits.FLOOD_BURST_CALLS + 11)
    )
    assert sent(room.receive(b"eve", SetAway(1, "lunch"), 0), Done)


def test_without_a_bound_nothing_is_refused() -> None:
    room = guarded(flood_per_s=0)
    join(room, "eve", "ana")
    for ask in range(1, 1_001):
        assert sent(room.receive(b"eve", SetAway(ask, "lunch"), 0), Done)
        assert sent(room.receive(b"eve", Relay(ask, "ana", RING), 0), Relayed)


def test_whose_pace_was_noted_longest_ago_is_forgotten_first() -> None:
    room = guarded()
    join(room, "eve")
    for ask in range(limits.FLOOD_BURST_CHANGES):
        room.receive(b"eve", SetAway(ask, "lunch"), 0)
    for number in range(limits.PACES_MAX - 1):
        join(room, f"guest{number}")
        room.receive(f"guest{number}".encode(), Bye(), 0)
    assert sent(room.receive(b"eve", SetAway(1, "lunch"), 0), Refused)
    for number in range(limits.PACES_MAX):
        join(room, f"other{number}")
        room.receive(f"other{number}".encode(), Bye(), 0)
    assert sent(room.receive(b"eve", SetAway(1, "lunch"), 0), Done)
