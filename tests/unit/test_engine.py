"""Unit tests of peer.engine."""

from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.engine import Engine, EngineOptions
from peer.intents import (
    AskHandover,
    AskHistory,
    AskQueue,
    AskSearch,
    AskStatus,
    AskWho,
    ChangeNick,
    DiskLost,
    DropPosts,
    EpochGranted,
    GoAway,
    HostServer,
    PostsKept,
    Quit,
    Say,
    SetTopic,
    Tell,
)
from peer.notices import (
    Bye,
    Dropped,
    Fault,
    FoundMessages,
    HandedOver,
    HistoryPage,
    MemberChanged,
    MemberLine,
    MembersList,
    Notice,
    Posted,
    Private,
    Queue,
    QueueLine,
    Ready,
    Refusal,
    Relocated,
    Schedule,
    StateChanged,
    Status,
    Topic,
    Waiting,
)
from peer.notices import Message as MessageNotice
from peer.outbox import Kept, Row, Write
from wire import codec, limits
from wire import messages as m
from wire.errors import RefusalCode
from wire.messages import Change, ChangeKind, Entry, Member, ServerInfo
from wire.names import LinkId
from wire.step import (
    Asked,
    CloseLink,
    Command,
    Event,
    Garbled,
    LinkBound,
    LinkDown,
    LinkKind,
    LinkUp,
    OpenLink,
    Received,
    Report,
    Send,
    SendRefused,
    Started,
    StartTimer,
    Stop,
    Stopping,
    StopTimer,
    Subscribed,
    TimerFired,
)

NONCE = "5" * 32
ME = NONCE
SESSION = NONCE[:16]
_N = TypeVar("_N", bound=Notice)
_M = TypeVar("_M", bound=m.Message)


def server(name: str) -> ServerInfo:
    """A server half named `name`."""
    return ServerInfo(name, f"host-{name}", (f"tcp://{name}:1",), (f"tcp://{name}:2",))


def member(peer: str, nick: str = "", away: str | None = None) -> Member:
    """A member with a server half."""
    return Member(peer, nick or peer, False, f"{peer}-server", 7, away)


def entry(seq: int, author: str = "ana", text: str = "") -> Entry:
    """An entry of epoch 1."""
    return Entry(seq, 1, author, "s", seq, 1_000 + seq, author, text or f"text {seq}")


def block(first: int, count: int) -> bytes:
    """Entries as they travel."""
    return codec.join_block([codec.encode_entry(entry(seq)) for seq in range(first, first + count)])


class Play:
    """An engine, its links and timers as they stand, and what it said last."""

    def __init__(self, **options: Any) -> None:
        self.engine = Engine(
            EngineOptions(**{"service": "backend.com", "dns": ("tcp://z:8000",), "nick": "me", **options})
        )
        self.now_ms = 0
        self.commands: list[Command] = []
        self.all_notices: list[Notice] = []
        self.open: dict[str, OpenLink] = {}
        self.timers: dict[str, int] = {}
        self.resolves = 0  # the number of the last question to zdns

    def handle(self, event: Event, after_ms: int = 0) -> list[Command]:
        self.now_ms += after_ms
        if isinstance(event, TimerFired):
            self.timers.pop(event.name, None)
        self.commands = self.engine.handle(event, self.now_ms)
        for command in self.commands:
            match command:
                case OpenLink(link):
                    assert link not in self.open
                    self.open[link] = command
                case CloseLink(link):
                    del self.open[link]
                case Send(link, message):
                    assert link in self.open
                    codec.encode(message)  # whatever is sent must be able to travel
                    self.resolves = message.ask if isinstance(message, m.Resolve) else self.resolves
                case StartTimer(name, delay_ms):
                    self.timers[name] = delay_ms
                case StopTimer(name):
                    self.timers.pop(name, None)
                case Report(notice):
                    self.all_notices.append(notice)
                case Stop():
                    pass
        return self.commands

    def ask(self, intent: Any, after_ms: int = 0) -> list[Notice]:
        self.handle(Asked(intent), after_ms)
        return self.notices

    def say(self, link: str, message: m.Message, after_ms: int = 0) -> list[Notice]:
        self.handle(Received(LinkId(link), message), after_ms)
        return self.notices

    def fire(self, name: str, after_ms: int = 0) -> list[Notice]:
        self.handle(TimerFired(name), after_ms)
        return self.notices

    @property
    def notices(self) -> list[Notice]:
        return [command.notice for command in self.commands if isinstance(command, Report)]

    def told(self, kind: type[_N]) -> list[_N]:
        return [notice for notice in self.notices if isinstance(notice, kind)]

    def sent(self, kind: type[_M]) -> list[_M]:
        return [c.message for c in self.commands if isinstance(c, Send) and isinstance(c.message, kind)]

    def room(self) -> str:
        """The id of the newest room link."""
        return [link for link in self.open if link.startswith("room-")][-1]

    def start(self) -> None:
        self.handle(Started(NONCE, 1_000_000))

    def resolve(self, state: m.NameState, name: str = "A", epoch: int = 1) -> list[Notice]:
        record = m.Record("backend.com", epoch, 1, "log", server(name), (server(name),))
        link = next(link for link in self.open if link.startswith("zdns-"))
        return self.say(link, m.Resolved(self.resolves, state, None if state is m.NameState.FREE else record, ()))

    def welcome(self, **fields: Any) -> list[Notice]:
        """The server at the newest room link says welcome."""
        defaults: dict[str, Any] = {
            "protocol": limits.PROTOCOL,
            "epoch": 1,
            "log": "log",
            "server": server("A"),
            "nick": "me",
            "head": 0,
            "min_n": 0,
            "open": True,
            "rev": 1,
            "members": (member(ME, "me"), member("bo")),
        }
        return self.say(self.room(), m.Welcome(**{**defaults, **fields}), 10)

    def move(self, name: str = "B", epoch: int = 2, **fields: Any) -> list[Notice]:
        """The role goes to `name`, which says welcome; returns what that brought."""
        self.say(self.room(), m.Moved(epoch, server(name)))
        return self.welcome(server=server(name), epoch=epoch, **{"members": None, **fields})


def joined(**options: Any) -> Play:
    """An engine that is live at server A in epoch 1, with bo as the other member."""
    play = Play(**options)
    play.start()
    play.resolve(m.NameState.SERVED)
    play.welcome()
    assert play.told(Ready)
    return play


# --- joining ---


def test_joining_says_ready_and_then_live() -> None:
    play = Play(nick="Me")
    play.start()
    assert play.notices == [StateChanged(state="searching", queued=0)]
    play.resolve(m.NameState.SERVED, epoch=3)
    (hello,) = play.sent(m.Hello)
    assert (hello.peer, hello.session, hello.nick, hello.nick_fixed, hello.rev) == (ME, SESSION, "Me", False, 0)
    assert play.welcome(epoch=3, nick="Me-2", members=(member(ME, "Me-2"), member("bo"))) == [
        Ready(name="Me-2", service="backend.com", epoch=3, server="host-A", head=0, members=("Me-2", "bo"), min_n=0),
        StateChanged(state="live", queued=0),
    ]
    assert play.engine.describe() == "backend.com epoch=3 LIVE queued=0"


def test_an_engine_of_impossible_names_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="nick"):
        Engine(EngineOptions("backend.com", ("tcp://z:1",), "a b"))
    with pytest.raises(ValueError, match="service name"):
        Engine(EngineOptions("", ("tcp://z:1",), "ana"))


def test_the_past_is_told_as_past_and_then_what_is_new() -> None:
    play = Play()
    play.start()
    play.resolve(m.NameState.SERVED)
    play.welcome(head=2)
    assert play.sent(m.Fetch) == [m.Fetch(0, 1, 2)]
    play.say("room-1", m.Fetched(0, 1, 2, 2, block(1, 2)))
    assert [(notice.seq, notice.past) for notice in play.told(MessageNotice)] == [(1, True), (2, True)]
    own = codec.join_block([codec.encode_entry(entry(3, ME, "mine"))])
    assert play.say("feed-1", m.Published(1, 3, 1, own)) == [
        MessageNotice(seq=3, epoch=1, id=f"{ME}/s/3", author=ME, text="mine", time=1_003, own=True)
    ]


def test_a_room_that_has_not_begun_says_whom_it_waits_for() -> None:
    play = Play(min_n=3)
    play.start()
    play.resolve(m.NameState.SERVED)
    notices = play.welcome(min_n=2, open=False, members=(member(ME, "me"),))
    assert [type(notice) for notice in notices] == [Ready, Fault, Waiting, StateChanged]
    fault, waiting = play.told(Fault)[0], play.told(Waiting)[0]
    assert fault.code == "min_n_differs"
    assert "--min_n 2" in fault.message
    assert "--min_n 3" in fault.message
    assert waiting == Waiting(here=1, need=2, members=("me",))
    play.say("feed-1", m.Presence(1, 2, (Change(ChangeKind.JOINED, member("bo")),)))
    assert play.notices == [MemberChanged(name="bo", state="joined"), Waiting(here=2, need=2, members=("me", "bo"))]
    assert play.say("feed-1", m.Opened(1)) == []
    play.say("feed-1", m.Heartbeat(1, 0, 2, True, -1))
    assert play.told(Waiting) == []


def test_a_heartbeat_reveals_an_opening_that_was_missed() -> None:
    play = Play(min_n=2)
    play.start()
    play.resolve(m.NameState.SERVED)
    play.welcome(min_n=2, open=False, members=(member(ME, "me"),))
    play.say("feed-1", m.Heartbeat(1, 0, 1, True, -1))
    assert play.told(Waiting) == [Waiting(here=2, need=2, members=("me",))]


def test_guests_are_told_neither_who_comes_nor_who_is_waited_for() -> None:
    play = Play(guest=True)
    play.start()
    play.resolve(m.NameState.SERVED)
    notices = play.welcome(min_n=2, open=False, members=(member("bo"),))
    assert [type(notice) for notice in notices] == [Ready, StateChanged]
    assert play.say("feed-1", m.Presence(1, 2, (Change(ChangeKind.JOINED, member("cy")),))) == []
    assert play.say("feed-1", m.Opened(1)) == []


@pytest.mark.parametrize(
    ("code", "kind", "exit_code"),
    [
        (RefusalCode.NAME_TAKEN, Refusal, 77),
        (RefusalCode.BAD_NAME, Refusal, 77),
        (RefusalCode.FULL, Fault, 77),
        (RefusalCode.WRONG_SERVICE, Fault, 77),
        (RefusalCode.VERSION, Fault, 76),
    ],
)
def test_who_is_refused_at_the_door_leaves_with_the_reason(
    code: RefusalCode, kind: type[Refusal | Fault], exit_code: int
) -> None:
    play = Play(nick_fixed=True)
    play.start()
    play.resolve(m.NameState.SERVED)
    notices = play.say("room-1", m.Refused(0, code, "because"))
    assert isinstance(notices[0], kind)
    assert (notices[0].code, notices[0].message) == (code.word, "because")
    assert notices[-1] == Bye(reason="because", exit=exit_code)
    assert isinstance(play.commands[-1], Stop)
    assert play.open == {}
    assert play.timers == {}


def test_after_ready_a_refusal_is_told_once_and_it_tries_on() -> None:
    play = joined(nick_fixed=True)
    play.handle(LinkDown(LinkId("room-1"), "broken"))
    for _ in range(3):
        play.resolve(m.NameState.SERVED)
        (hello,) = play.sent(m.Hello)
        assert not hello.nick_fixed
        play.say(play.room(), m.Refused(0, RefusalCode.FULL, "full"))
        play.fire("session.look", 1_000)
    assert [notice for notice in play.all_notices if isinstance(notice, Fault)] == [Fault(code="full", message="full")]
    assert not any(isinstance(notice, Bye) for notice in play.all_notices)


# --- zdns ---


def test_without_zdns_it_leaves_and_says_what_to_do() -> None:
    play = Play()
    play.start()
    (deadline,) = [name for name in play.timers if name.startswith("zdns.deadline")]
    notices = play.fire(deadline, limits.DNS_DEADLINE_MS)
    fault = play.told(Fault)[0]
    assert fault.code == "no_zdns"
    assert "cannot reach zdns at z:8000 (no answer after 5 s)" in fault.message
    assert isinstance(notices[-1], Bye)
    assert notices[-1].exit == 69


def test_after_ready_a_silent_zdns_is_no_news() -> None:
    play = joined()
    play.handle(LinkDown(LinkId("room-1"), "broken"))
    assert play.notices == [StateChanged(state="searching", queued=0)]
    (deadline,) = [name for name in play.timers if name.startswith("zdns.deadline")]
    assert play.timers[deadline] == limits.SILENCE_MS
    assert play.fire(deadline, limits.SILENCE_MS) == []
    assert play.open["room-2"].endpoint == "tcp://A:1"
    assert play.welcome() == [StateChanged(state="live", queued=0)]


@pytest.mark.parametrize("state", [m.NameState.FREE, m.NameState.ORPHANED])
def test_who_may_not_serve_does_not_wait_for_a_name_that_nobody_serves(state: m.NameState) -> None:
    play = Play(serves=False)
    play.start()
    notices = play.resolve(state)
    assert play.told(Fault)[0].code == "nobody_serves"
    assert isinstance(notices[-1], Bye)
    assert notices[-1].exit == 69


def test_who_may_serve_waits_for_a_free_name_and_is_told_once_of_an_orphaned_one() -> None:
    play = Play()
    play.start()
    assert play.resolve(m.NameState.FREE) == []
    play.fire("session.look", 1_000)
    play.resolve(m.NameState.ORPHANED)
    (fault,) = play.told(Fault)
    assert fault.code == "nobody_serves"
    assert "host-A" in fault.message
    assert "--fresh" in fault.message
    play.fire("session.look", 1_000)
    assert play.resolve(m.NameState.ORPHANED) == []


def test_a_zdns_that_lost_its_records_is_told_of() -> None:
    play = joined()
    play.move(epoch=5)
    play.handle(LinkDown(LinkId(play.room()), "broken"))
    for _ in range(3):
        play.resolve(m.NameState.SERVED, "Z", epoch=1)
        play.fire("session.look", 2_000)
    assert [notice.code for notice in play.all_notices if isinstance(notice, Fault)] == ["zdns_forgot"]


def test_a_late_answer_of_zdns_to_an_earlier_question_means_nothing() -> None:
    play = joined()
    assert play.say("zdns-1", m.Resolved(1, m.NameState.FREE, None, ())) == []


def test_what_the_own_server_half_heard_of_an_epoch_has_zdns_asked_at_once() -> None:
    play = Play()
    play.start()
    play.resolve(m.NameState.FREE)
    assert "session.look" in play.timers
    play.ask(EpochGranted(1))
    assert len(play.sent(m.Resolve)) == 1
    assert "session.look" not in play.timers
    play.resolve(m.NameState.SERVED)
    play.welcome()
    assert play.told(Ready)
    play.ask(EpochGranted(2))
    assert play.commands == [], "who is in hears it from the server"


# --- patience ---


def test_a_patient_one_says_once_that_there_is_no_zdns_and_finds_it_when_it_comes() -> None:
    play = Play(patient=True)
    play.start()
    for _ in range(4):
        (deadline,) = [name for name in play.timers if name.startswith("zdns.deadline")]
        assert play.timers[deadline] == limits.SILENCE_MS
        play.fire(deadline, limits.SILENCE_MS)
        assert play.timers["session.look"] == limits.SEARCH_AGAIN_MS
        play.fire("session.look", limits.SEARCH_AGAIN_MS)
    (fault,) = [notice for notice in play.all_notices if isinstance(notice, Fault)]
    assert fault.code == "no_zdns"
    assert "cannot reach zdns at z:8000 (no answer after 2.5 s)" in fault.message
    play.resolve(m.NameState.SERVED)
    play.welcome()
    assert play.told(Ready)
    assert not any(isinstance(notice, Bye) for notice in play.all_notices)


@pytest.mark.parametrize("state", [m.NameState.FREE, m.NameState.ORPHANED])
def test_a_patient_one_that_may_not_serve_says_once_that_nobody_does_and_waits(state: m.NameState) -> None:
    play = Play(patient=True, serves=False)
    play.start()
    for _ in range(3):
        play.resolve(state)
        play.fire("session.look", 2_000)
    (fault,) = [notice for notice in play.all_notices if isinstance(notice, Fault)]
    assert fault.code == "nobody_serves"
    assert "backend.com" in fault.message
    assert "aiting for" in fault.message
    play.resolve(m.NameState.SERVED)
    play.welcome()
    assert play.told(Ready)


@pytest.mark.parametrize("code", [RefusalCode.NAME_TAKEN, RefusalCode.VERSION])
def test_a_patient_one_that_is_refused_leaves_all_the_same(code: RefusalCode) -> None:
    play = Play(patient=True, nick_fixed=True)
    play.start()
    play.resolve(m.NameState.SERVED)
    assert isinstance(play.say("room-1", m.Refused(0, code, "because"))[-1], Bye)


# --- posts ---


def test_posts_wait_while_there_is_no_server_and_are_committed_in_order() -> None:
    play = Play()
    play.start()
    play.ask(Say("one", "a"))
    play.ask(Say("two", "b"))
    play.resolve(m.NameState.SERVED)
    play.welcome()
    assert play.sent(m.Posts) == [m.Posts(1, ("one", "two"))]
    assert play.say("room-1", m.Acked(1, (4, 5))) == [
        Posted(tag="a", id=f"{ME}/{SESSION}/1", seq=4),
        Posted(tag="b", id=f"{ME}/{SESSION}/2", seq=5),
    ]


def test_posts_are_sent_again_after_a_move_and_it_is_told_how_many() -> None:
    play = joined()
    play.ask(Say("one"))
    play.ask(Say("two"))
    play.say("room-1", m.Acked(1, (1,)))
    play.say("feed-1", m.Relocate(2, server("B"), "handover"), 100)
    assert play.notices == [StateChanged(state="moving", queued=1)]
    assert "outbox.resend" not in play.timers
    assert play.ask(Say("three")) == []
    assert play.sent(m.Posts) == []
    assert play.welcome(server=server("B"), epoch=2, members=None) == [
        Relocated(epoch=2, server="host-B", reason="handover", pause_ms=110, resent=1),
        StateChanged(state="live", queued=2),
    ]
    assert play.sent(m.Posts) == [m.Posts(2, ("two", "three"))]


def test_an_acknowledgement_that_does_not_come_is_asked_for_again() -> None:
    play = joined()
    play.ask(Say("one"))
    play.fire("outbox.resend", limits.POST_RESEND_MS)
    assert play.sent(m.Posts) == [m.Posts(1, ("one",))]
    play.ask(Say("two"))
    play.say("room-1", m.Resend(1))
    assert play.sent(m.Posts) == [m.Posts(1, ("one", "two"))]


def test_texts_that_cannot_be_posted_are_refused_with_their_tag() -> None:
    play = joined(flood_per_s=0.0)
    for text, code in [("", "empty"), ("x" * 9_000, "too_long"), ("\udcff", "bad_text")]:
        (refusal,) = play.ask(Say(text, 7))
        assert isinstance(refusal, Refusal)
        assert (refusal.code, refusal.tag) == (code, 7)
    assert play.ask(Say("fine")) == []


def test_an_outbox_that_is_full_and_a_flood_are_refused() -> None:
    play = Play(flood_per_s=0.0)
    play.start()
    for _ in range(limits.OUTBOX_POSTS_MAX):
        assert play.ask(Say("x")) == []
    assert play.ask(Say("x", 1))[0]["code"] == "queue_full"
    slow = joined(flood_per_s=3)
    codes = [[notice["code"] for notice in slow.ask(Say("x"))] for _ in range(11)]
    assert codes == [[]] * 10 + [["flood"]]
    assert slow.ask(Say("x"), after_ms=400) == []


def test_a_refused_post_is_told_once_and_not_at_each_repeat() -> None:
    play = joined()
    full = m.Refused(0, RefusalCode.HISTORY_FULL, "full")
    assert play.say("room-1", full) == [Fault(code="history_full", message="full")]
    assert play.say("room-1", full) == []


def test_a_history_that_was_started_over_gets_what_waits_under_a_new_session() -> None:
    play = joined()
    play.ask(Say("one", 1))
    play.ask(AskHistory(before=0, count=5))
    play.say("feed-1", m.Relocate(2, server("B"), ""))
    notices = play.welcome(server=server("B"), epoch=2, log="other", members=None)
    assert [notice["code"] for notice in notices if isinstance(notice, Fault | Refusal)] == ["fresh_start"]
    assert play.sent(m.AskMembers) == [m.AskMembers(0)]
    (hello,) = play.sent(m.Hello)
    assert hello.session == f"{SESSION}-1"
    assert play.sent(m.Posts) == []
    assert play.say("room-2", m.Acked(1, (1,))) == [], "that link is closed: nobody knows which session this is about"
    play.welcome(server=server("B"), epoch=2, log="other", members=None)
    assert play.sent(m.Posts) == [m.Posts(1, ("one",))]
    assert play.say("room-3", m.Acked(1, (1,))) == [Posted(tag=1, id=f"{ME}/{SESSION}-1/1", seq=1)]


# --- posts on disk ---

LEFT = Kept("p" * 32, "log", (Row(1, "old", 3, "three"), Row(2, "old", 4, "four")))
PROBE = m.Posts(2**62, ("?",))


def writes(play: Play) -> list[Write]:
    """What is to be written after the last event."""
    return [notice for notice in play.notices if isinstance(notice, Write)]


def codes(play: Play) -> list[str]:
    return [notice.code for notice in play.notices if isinstance(notice, Fault | Refusal)]


def test_what_an_earlier_start_left_is_told_of_and_sent_first_as_the_same_author() -> None:
    play = Play(kept=LEFT)
    play.start()
    (fault,) = play.told(Fault)
    assert (fault.code, "2 posts of yours" in fault.message) == ("posts_left", True)
    assert play.told(StateChanged) == [StateChanged(state="searching", queued=2)]
    play.ask(Say("new", "n"))
    play.resolve(m.NameState.SERVED)
    (hello,) = play.sent(m.Hello)
    assert (hello.peer, hello.session) == (LEFT.peer, "old")
    play.welcome()
    assert play.sent(m.Posts) == [m.Posts(3, ("three", "four")), PROBE]
    play.say("room-1", m.Resend(5))
    assert play.sent(m.Posts) == []
    play.say("room-1", m.Acked(3, (7, 8)))
    assert play.told(Posted) == [
        Posted(tag=None, id=f"{LEFT.peer}/old/3", seq=7),
        Posted(tag=None, id=f"{LEFT.peer}/old/4", seq=8),
    ]
    assert play.told(StateChanged) == [StateChanged(state="moving", queued=1)]
    (hello,) = play.sent(m.Hello)
    assert (hello.peer, hello.session) == (LEFT.peer, SESSION)
    assert list(play.open)[1:] == ["feed-2", "room-2"]
    play.welcome(members=None)
    assert play.told(Relocated) == []
    assert play.sent(m.Posts) == [m.Posts(1, ("new",))]
    assert play.say("room-2", m.Acked(1, (9,))) == [
        Write(3, None, (), (3,)),
        Posted(tag="n", id=f"{LEFT.peer}/{SESSION}/1", seq=9),
    ]


def test_an_announced_server_is_left_when_another_session_begins() -> None:
    play = Play(kept=LEFT)
    play.start()
    play.resolve(m.NameState.SERVED)
    play.welcome()
    play.say("feed-1", m.Prepare(2, server("B")))
    assert "room-2" in play.open
    play.say("room-1", m.Acked(3, (7, 8)))
    assert list(play.open)[1:] == ["feed-3", "room-3"], "at room-2 the old session was announced"
    play.welcome(members=None)
    assert play.told(StateChanged) == [StateChanged(state="live", queued=0)]


def test_all_that_changes_is_reported_for_the_disk_before_anything_is_sent() -> None:
    play = Play(kept=Kept("p" * 32))
    play.start()
    assert writes(play) == []
    play.ask(Say("one"))
    assert writes(play) == [Write(1, None, (Row(1, SESSION, 1, "one"),), ())]
    play.resolve(m.NameState.SERVED)
    play.welcome()
    assert writes(play) == [Write(2, "log", (), ())]
    assert isinstance(play.commands[0], Report)
    play.ask(Say("two"))
    assert isinstance(play.commands[0], Report)
    assert play.sent(m.Posts) == [m.Posts(2, ("two",))]
    play.say("room-1", m.Acked(1, (1,)))
    play.handle(Asked(Quit()))
    assert [type(command) for command in play.commands][-1] is Stop


def test_without_a_disk_nothing_is_reported_for_it() -> None:
    play = joined()
    assert play.ask(Say("one")) == []


def test_left_posts_of_a_history_that_was_started_over_go_into_the_new_one_once_that_is_on_disk() -> None:
    play = Play(kept=LEFT)
    play.start()
    play.resolve(m.NameState.SERVED)
    play.welcome(log="other")
    assert codes(play) == ["posts_left"]
    new = f"{SESSION}-1"
    assert writes(play) == [Write(1, "other", (Row(1, new, 1, "three"), Row(2, new, 2, "four")), (), True)]
    assert [hello.session for hello in play.sent(m.Hello)] == [new]
    play.welcome(log="other", members=None)
    assert play.sent(m.Posts) == []
    play.ask(PostsKept(1))
    assert play.sent(m.Posts) == [m.Posts(1, ("three", "four"))]


def test_a_lost_disk_is_told_once_and_nothing_is_written_any_more() -> None:
    play = Play(kept=LEFT)
    play.start()
    play.resolve(m.NameState.SERVED)
    play.welcome(log="other")
    play.welcome(log="other", members=None)
    (fault,) = play.ask(DiskLost("the disk is full"))
    assert isinstance(fault, Fault)
    assert fault.code == "outbox_failed"
    assert fault.message.startswith("the disk is full; ")
    assert play.sent(m.Posts) == [m.Posts(1, ("three", "four"))]
    play.ask(Say("five"))
    assert writes(play) == []


def test_the_queue_is_listed_and_says_what_is_on_disk() -> None:
    play = Play(kept=LEFT)
    play.start()
    play.ask(Say("new", 5))
    lines = (QueueLine(1, "three", "sent", True, True), QueueLine(2, "four", "sent", True, True))
    assert play.ask(AskQueue()) == [Queue((*lines, QueueLine(3, "new", "queued", False, False)))]
    play.ask(PostsKept(1))
    assert play.ask(AskQueue()) == [Queue((*lines, QueueLine(3, "new", "queued", True, False)))]
    assert joined().ask(AskQueue()) == [Queue(())]


def test_posts_are_dropped_one_by_one_or_all_and_each_has_its_outcome() -> None:
    play = joined()
    play.ask(Say("sent", "a"))
    play.say("feed-1", m.Relocate(2, server("B"), ""))
    play.ask(Say("one", "b"))
    play.ask(Say("two", "c"))
    refusal, dropped = play.ask(DropPosts(2))
    assert refusal == Refusal(tag="b", code="dropped", message="dropped before it was sent", what="post")
    assert dropped == Dropped((QueueLine(2, "one", "queued", False, False),))
    assert [n["code"] for n in play.ask(DropPosts(2))] == ["not_waiting"]
    *refusals, dropped = play.ask(DropPosts())
    assert [(n["tag"], "may be posted" in n["message"]) for n in refusals] == [("a", True), ("c", False)]
    assert [line.state for line in dropped["posts"]] == ["sent", "queued"]
    assert play.ask(DropPosts()) == [Dropped(())]


def test_one_of_several_that_were_sent_cannot_be_dropped_alone() -> None:
    play = joined()
    play.ask(Say("one"))
    play.ask(Say("two"))
    (refusal,) = play.ask(DropPosts(1))
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.what) == ("sent", "drop")
    play.ask(DropPosts(2))
    assert play.told(Dropped)
    play.say("room-1", m.Acked(1, (1, 2)))
    assert [posted.seq for posted in play.told(Posted)] == [1]


def test_dropping_while_live_begins_another_session_with_another_link() -> None:
    play = joined()
    play.ask(Say("one"))
    play.ask(DropPosts())
    assert [hello.session for hello in play.sent(m.Hello)] == [f"{SESSION}-1"]
    play.ask(Say("two", 2))
    assert play.say("room-1", m.Acked(1, (1,))) == []
    play.welcome(members=None)
    assert play.sent(m.Posts) == [m.Posts(1, ("two",))]
    assert play.say("room-2", m.Acked(1, (2,))) == [Posted(tag=2, id=f"{ME}/{SESSION}-1/1", seq=2)]


# --- members ---


def test_members_coming_and_going_is_told() -> None:
    play = joined()
    changes = (Change(ChangeKind.JOINED, member("cy")), Change(ChangeKind.LOST, member("bo")))
    assert play.say("feed-1", m.Presence(1, 3, changes)) == [
        MemberChanged(name="cy", state="joined"),
        MemberChanged(name="bo", state="lost"),
    ]


def test_changes_that_were_missed_are_asked_for_and_told() -> None:
    play = joined()
    play.say("feed-1", m.Presence(1, 9, (Change(ChangeKind.JOINED, member("cy")),)), 2_000)
    assert play.sent(m.AskMembers) == [m.AskMembers(0)]
    play.say("feed-1", m.Heartbeat(1, 0, 9, True, -1))
    assert play.sent(m.AskMembers) == []
    assert play.say("room-1", m.MembersAre(0, 9, (member(ME, "me"), member("cy")))) == [
        MemberChanged(name="bo", state="left"),
        MemberChanged(name="cy", state="joined"),
    ]
    assert play.say("room-1", m.MembersAre(0, 3, ())) == []
    play.say("feed-1", m.Heartbeat(1, 0, 10, True, -1), 2_000)
    assert play.sent(m.AskMembers) == [m.AskMembers(0)]


def test_a_move_shows_nobody_coming_or_going_and_says_which_list_is_known() -> None:
    play = joined()
    play.say("feed-1", m.Presence(1, 2, (Change(ChangeKind.JOINED, member("cy")),)))
    play.say("feed-1", m.Relocate(2, server("B"), ""))
    (hello,) = play.sent(m.Hello)
    assert hello.rev == 2
    notices = play.welcome(server=server("B"), epoch=2, rev=2, members=None)
    assert [type(notice) for notice in notices] == [Relocated, StateChanged]


def test_the_own_nick_is_followed_into_the_next_hello() -> None:
    play = joined()
    play.say("feed-1", m.Presence(1, 2, (Change(ChangeKind.RENAMED, member(ME, "I"), "me"),)))
    assert play.notices == [MemberChanged(name="I", state="renamed", was="me")]
    play.say("feed-1", m.Relocate(2, server("B"), ""))
    assert play.sent(m.Hello)[0].nick == "I"


def test_a_member_that_falls_silent_is_told_and_so_is_its_return_but_not_to_guests() -> None:
    for options, states in (({}, ["silent", "heard"]), ({"guest": True}, [])):
        play = joined(**options)
        quiet = msgspec.structs.replace(member("bo"), silent=True)
        play.say("feed-1", m.Presence(1, 2, (Change(ChangeKind.SILENT, quiet),)))
        play.say("room-1", m.MembersAre(0, 3, (member(ME, "me"), member("bo"))))
        assert [n.state for n in play.all_notices if isinstance(n, MemberChanged)] == states


# --- the schedule ---


def beat(play: Play, next_handover_ms: int, after_ms: int = 0, epoch: int = 1) -> list[Schedule]:
    """What a heartbeat on the newest feed says of the schedule."""
    feed = [link for link in play.open if link.startswith("feed-")][-1]
    play.say(feed, m.Heartbeat(epoch, 0, 1, True, next_handover_ms), after_ms)
    return play.told(Schedule)


@pytest.mark.parametrize("guest", [False, True])
def test_the_schedule_is_told_at_the_first_heartbeat_and_when_it_changes(guest: bool) -> None:
    play = joined(guest=guest)
    assert play.told(Schedule) == []
    assert beat(play, 12_000) == [Schedule(epoch=1, server="host-A", member="", next_handover_in_s=12.0)]
    assert beat(play, 11_500, 500) == []
    assert beat(play, -1, 500) == [Schedule(epoch=1, server="host-A", member="", next_handover_in_s=None)]
    here = msgspec.structs.replace(member("bo"), server="A")
    play.say("feed-1", m.Presence(1, 2, (Change(ChangeKind.MOVED_HOUSE, here),)))
    assert play.notices == [Schedule(epoch=1, server="host-A", member="bo", next_handover_in_s=None)]
    play.move()
    assert play.told(Schedule) == [], "what the last server planned means nothing here"
    assert beat(play, 30_000, epoch=2) == [Schedule(epoch=2, server="host-B", member="", next_handover_in_s=30.0)]


def test_a_heartbeat_that_was_there_before_the_welcome_gives_the_schedule_with_it() -> None:
    play = Play()
    play.start()
    play.resolve(m.NameState.SERVED)
    assert beat(play, 5_000) == []
    play.welcome(members=(member(ME, "me"), Member("bo", "bo", False, "A", 7)))
    assert [type(notice) for notice in play.notices] == [Ready, Schedule, StateChanged]
    assert play.told(Schedule) == [Schedule(epoch=1, server="host-A", member="bo", next_handover_in_s=5.0)]


def test_a_reconnection_within_an_epoch_repeats_no_schedule() -> None:
    play = joined()
    beat(play, 12_000)
    play.say("room-1", m.WhoAreYou())
    play.welcome(members=None)
    assert play.told(Schedule) == []
    assert beat(play, 11_900, 90) == []


# --- the topic ---


def test_a_topic_is_told_when_in_and_at_each_change_the_own_ones_as_well() -> None:
    play = Play()
    play.start()
    play.resolve(m.NameState.SERVED)
    notices = play.welcome(topic="lunch", topic_by="bo")
    assert [type(notice) for notice in notices] == [Ready, Topic, StateChanged]
    assert play.told(Topic) == [Topic(text="lunch", by="bo")]
    play.ask(SetTopic("tea"))
    (asked,) = play.sent(m.SetTopic)
    assert asked.topic == "tea"
    assert play.say("room-1", m.Done(asked.ask)) == []
    change = Change(ChangeKind.TOPIC, member(ME, "me"), "", "tea")
    assert play.say("feed-1", m.Presence(1, 2, (change,))) == [Topic(text="tea", by="me")]
    assert play.ask(SetTopic("tea ")) == [Topic(text="tea", by="me")]
    assert play.sent(m.SetTopic) == []


def test_after_a_move_a_topic_is_told_only_if_it_is_another_one() -> None:
    play = Play()
    play.start()
    play.resolve(m.NameState.SERVED)
    play.welcome(topic="lunch", topic_by="bo")
    play.move(topic="lunch", topic_by="bo")
    assert play.told(Topic) == []
    everybody = (member(ME, "me"), member("bo"))
    play.move("C", epoch=3, rev=9, members=everybody, topic="tea", topic_by="bo")
    assert play.told(Topic) == [Topic(text="tea", by="bo")]
    play.move("D", epoch=4, log="other")
    assert play.told(Topic) == [Topic(text="", by="")], "a fresh start has none"


def test_a_topic_that_was_missed_comes_with_the_list_and_guests_are_told_too() -> None:
    play = joined(guest=True)
    beat(play, -1)
    play.say("feed-1", m.Heartbeat(1, 0, 4, True, -1), 2_000)
    assert play.sent(m.AskMembers) == [m.AskMembers(0)]
    assert play.say("room-1", m.MembersAre(0, 4, (member("bo"),), "lunch", "bo")) == [Topic(text="lunch", by="bo")]


def test_a_topic_is_asked_for_again_after_a_move_and_a_refusal_is_told() -> None:
    play = joined(guest=True)
    play.ask(SetTopic("mine"))
    (first,) = play.sent(m.SetTopic)
    play.move()
    (again,) = play.sent(m.SetTopic)
    assert again == first
    refused = m.Refused(again.ask, RefusalCode.NOT_MEMBER, "guests read it")
    assert play.say("room-2", refused) == [Refusal(tag=None, code="not_member", message="guests read it", what="topic")]


# --- requests ---


def test_who_is_answered_with_the_list() -> None:
    play = joined()
    play.ask(AskWho())
    (ask,) = [message.ask for message in play.sent(m.AskMembers)]
    away = member("bo", away="lunch")
    serving = Member("cy", "cy", False, "A", 9)
    play.say("room-1", m.MembersAre(ask, 1, (away, serving)))
    assert play.told(MembersList) == [
        MembersList(
            (
                MemberLine(name="bo", state="away", serving=False, since=7),
                MemberLine(name="cy", state="here", serving=True, since=9),
            )
        )
    ]
    assert play.say("room-1", m.MembersAre(ask, 1, ())) == []


def test_status_is_answered() -> None:
    play = joined()
    play.ask(AskStatus())
    (ask,) = [message.ask for message in play.sent(m.AskStatus)]
    move = m.Move(2, "x", "y", "handover", 5, 6, 7, 8, 9)
    report = m.StatusReport("s", 2, server("A"), (server("A"),), ("bo",), ("me",), 0, True, 4, 4, 500, -1, (move,), "r")
    (status,) = play.say("room-1", m.StatusIs(ask, report))
    assert isinstance(status, Status)
    assert (status.term_s, status.next_handover_in_s, status.in_sync) == (0.5, None, ("host-A",))
    assert (status.handovers[0].source, status.handovers[0].to, status.handovers[0].pause_ms) == ("x", "y", 9)


def test_history_is_collected_and_asked_again_after_a_move() -> None:
    play = joined()
    play.say("feed-1", m.Published(1, 1, 9, block(1, 9)))
    play.ask(AskHistory(before=0, count=4))
    (fetch,) = play.sent(m.Fetch)
    assert (fetch.first, fetch.count) == (6, 4)
    play.say("room-1", m.Fetched(fetch.ask, 6, 2, 9, block(6, 2)))
    (rest,) = play.sent(m.Fetch)
    assert (rest.first, rest.count) == (8, 2)
    play.move(head=9)
    (again,) = play.sent(m.Fetch)
    assert again == rest
    (page,) = play.say("room-2", m.Fetched(again.ask, 8, 2, 9, block(8, 2)))
    assert isinstance(page, HistoryPage)
    assert [message.seq for message in page.messages] == [6, 7, 8, 9]
    assert page.more


def test_history_asked_for_too_early_is_answered_once_we_are_in() -> None:
    play = Play(page=0)
    play.start()
    assert play.ask(AskHistory(before=0, count=4)) == []
    play.resolve(m.NameState.SERVED)
    play.welcome(head=3)
    (fetch,) = play.sent(m.Fetch)
    assert (fetch.first, fetch.count) == (1, 3)
    empty = joined()
    assert empty.ask(AskHistory()) == [HistoryPage((), more=False)]


def test_search_goes_on_until_it_has_found_enough() -> None:
    play = joined()
    play.ask(AskSearch("text", 2))
    (search,) = play.sent(m.Search)
    play.say("room-1", m.Found(search.ask, 40, codec.join_block([codec.encode_entry(entry(50))])))
    (deeper,) = play.sent(m.Search)
    assert (deeper.before, deeper.count) == (40, 1)
    (found,) = play.say("room-1", m.Found(deeper.ask, 0, codec.join_block([codec.encode_entry(entry(30))])))
    assert isinstance(found, FoundMessages)
    assert [message.seq for message in found.messages] == [30, 50]
    assert not found.more


def test_a_new_nick_is_asked_for_and_a_taken_one_refused() -> None:
    play = joined()
    play.ask(ChangeNick("ana"))
    (rename,) = play.sent(m.Rename)
    play.say("room-1", m.Done(rename.ask))
    play.say("feed-1", m.Presence(1, 2, (Change(ChangeKind.RENAMED, member(ME, "ana"), "me"),)))
    assert play.notices == [MemberChanged(name="ana", state="renamed", was="me")]
    play.ask(ChangeNick("bo"))
    (rename,) = play.sent(m.Rename)
    refused = m.Refused(rename.ask, RefusalCode.NAME_TAKEN, "taken")
    assert play.say("room-1", refused) == [Refusal(tag=None, code="name_taken", message="taken", what="nick")]


def test_requests_that_no_server_would_take_are_refused_here() -> None:
    play = joined()
    wrong = [
        ChangeNick("a b"),
        AskSearch(" "),
        AskSearch("x" * 300),
        GoAway("x" * 300),
        GoAway("\ud800"),
        SetTopic("x" * 201),
        AskHandover("\ud800"),
    ]
    assert [play.ask(intent)[0]["code"] for intent in wrong] == [
        "bad_name",
        "empty",
        "too_long",
        "too_long",
        "bad_text",
        "too_long",
        "bad_name",
    ]


def test_being_away_is_said_at_the_next_hello_too() -> None:
    play = joined()
    play.ask(GoAway("lunch"))
    (away,) = play.sent(m.SetAway)
    assert away.away == "lunch"
    play.say("room-1", m.Done(away.ask))
    play.say("feed-1", m.Relocate(2, server("B"), ""))
    assert play.sent(m.Hello)[0].away == "lunch"


def test_requests_wait_for_a_server_and_are_asked_again_when_they_are_not_answered() -> None:
    play = Play()
    play.start()
    play.ask(AskWho())
    assert play.sent(m.AskMembers) == []
    play.resolve(m.NameState.SERVED)
    play.welcome()
    (first,) = play.sent(m.AskMembers)
    play.fire("requests.retry", 1_000)
    assert play.sent(m.AskMembers) == []
    play.fire("requests.retry", 1_000)
    assert play.sent(m.AskMembers) == [first]


def test_no_more_requests_are_taken_than_can_be_remembered() -> None:
    play = Play()
    play.start()
    for _ in range(limits.REQUESTS_MAX):
        assert play.ask(AskWho()) == []
    assert play.ask(AskWho())[0]["code"] == "busy"


def test_an_answer_of_the_wrong_kind_is_a_refusal() -> None:
    play = joined()
    play.ask(AskWho())
    (ask,) = [message.ask for message in play.sent(m.AskMembers)]
    assert play.say("room-1", m.Done(ask))[0]["code"] == "malformed"


def test_a_handover_is_done_when_the_server_says_so_or_the_epoch_rises() -> None:
    play = joined()
    play.ask(AskHandover("bo"))
    (ask,) = [message.ask for message in play.sent(m.HandOver)]
    assert play.say("room-1", m.Done(ask)) == [HandedOver()]
    play.ask(AskHandover())
    play.fire("requests.retry", 9_000)
    assert play.sent(m.HandOver) == []
    play.move()
    assert play.told(HandedOver) == [HandedOver()]
    assert play.sent(m.HandOver) == []


def test_a_handover_nobody_answers_for_is_not_asked_for_twice() -> None:
    play = joined()
    play.ask(AskHandover())
    play.say("room-1", m.WhoAreYou())
    play.welcome(members=None)
    assert [notice.code for notice in play.told(Refusal)] == ["handover_failed"]
    assert play.sent(m.HandOver) == []


def test_another_server_half_is_announced() -> None:
    play = joined()
    play.ask(HostServer(server="new"))  # type: ignore[arg-type]  # a plain id does
    assert play.sent(m.SetServer) == [m.SetServer(0, "new")]
    play.say("feed-1", m.Relocate(2, server("B"), ""))
    assert play.sent(m.Hello)[0].server == "new"


def test_it_is_announced_anew_to_a_server_that_knows_of_another_one() -> None:
    play = joined()
    play.ask(HostServer(server="new"))  # type: ignore[arg-type]  # a plain id does
    play.move("B", 2)  # with the list of before
    assert play.sent(m.SetServer) == [m.SetServer(0, "new")]
    known = msgspec.structs.replace(member(ME, "me"), server="new")
    play.move("C", 3, rev=2, members=(known, member("bo")))
    assert play.sent(m.SetServer) == []


# --- private talks ---


def test_a_private_text_to_a_member_calls_it_up_through_the_server() -> None:
    play = joined()
    (queued,) = play.ask(Tell("BO", "psst", 1))
    assert isinstance(queued, Private)
    assert (queued.state, queued.to, queued.sender) == ("queued", "bo", "me")
    if not play.sent(m.Relay):
        (link,) = [link for link in play.open if link.startswith("talk-")]
        play.handle(LinkBound(LinkId(link), ("tcp://127.0.0.1:9",)))
    (relay,) = play.sent(m.Relay)
    assert relay.to == "bo"
    (failed,) = play.say("room-1", m.Refused(relay.ask, RefusalCode.NOT_HERE, "bo is not here"))
    assert isinstance(failed, Private)
    assert (failed.state, failed.tag) == ("failed", 1)


def test_a_private_text_to_somebody_unknown_is_looked_for_first() -> None:
    play = joined()
    assert play.ask(Tell("cy", "psst", 1)) == []
    (find,) = play.sent(m.Find)
    play.say("feed-1", m.Presence(1, 2, (Change(ChangeKind.JOINED, member("cy")),)))
    assert play.ask(Tell("cy", "and more", 2)) == []
    (second,) = play.sent(m.Find)
    assert play.say("room-1", m.Located(find.ask, member("cy")))[0]["tag"] == 1
    assert play.say("room-1", m.Located(second.ask, member("cy")))[0]["tag"] == 2


def test_a_private_text_to_nobody_fails_at_once() -> None:
    play = joined()
    play.ask(Tell("cy", "psst", 1))
    (find,) = play.sent(m.Find)
    (failed,) = play.say("room-1", m.Refused(find.ask, RefusalCode.NOT_HERE, "cy is not here"))
    assert isinstance(failed, Private)
    assert (failed.state, failed.reason, failed.tag, failed.to) == ("failed", "not here", 1, "cy")


def test_a_private_text_whose_receiver_cannot_be_looked_for_fails_some_time() -> None:
    play = Play()
    play.start()
    play.ask(Tell("cy", "psst", 1))
    (failed,) = play.fire("requests.retry", limits.TALK_DEADLINE_MS)
    assert isinstance(failed, Private)
    assert failed.reason == "no answer"
    assert play.fire("requests.retry") == []


def test_private_texts_that_cannot_be_told_are_refused() -> None:
    play = joined()
    told = [Tell("ME", "x"), Tell("bo", ""), Tell("bo", "\ud800"), Tell("b o", "x"), Tell("bo", "x" * 9_000)]
    assert [play.ask(intent)[0]["code"] for intent in told] == ["self", "empty", "bad_text", "bad_name", "too_long"]


def test_a_call_up_of_another_member_is_taken() -> None:
    play = joined()
    caller = member("0" * 32, "cy")  # the smaller id binds, and offers
    offer = m.CallUp(m.CallUpKind.OFFER, 1, ("tcp://127.0.0.1:9",), "token")
    play.say("room-1", m.Relayed(caller, offer))
    (link,) = [link for link in play.open if link.startswith("talk-")]
    assert play.open[link].kind is LinkKind.TALK_CONNECT


# --- the end ---


def test_quitting_says_goodbye_and_closes_everything() -> None:
    play = joined()
    play.ask(Tell("bo", "psst"))
    notices = play.ask(Quit())
    assert play.sent(m.Bye) == [m.Bye()]
    assert notices[-2:] == [StateChanged(state="closed", queued=0), Bye(reason="quit", exit=0)]
    assert isinstance(play.commands[-1], Stop)
    assert play.open == {}
    assert play.timers == {}
    assert play.handle(Asked(Say("late"))) == []


def test_being_stopped_is_an_end_too() -> None:
    assert Bye(reason="stopped", exit=0) in [
        command.notice for command in joined().handle(Stopping()) if isinstance(command, Report)
    ]
    early = Play()
    assert early.ask(Say("nobody listens yet")) == []
    early.handle(Stopping())
    assert early.notices == [StateChanged(state="closed", queued=0), Bye(reason="stopped", exit=130)]


# --- anything ---


class FakeRoom:
    """A history that grows, and servers in a row that hold it; what they send may be lost, doubled and late."""

    def __init__(self) -> None:
        self.play = Play(flood_per_s=0.0)
        self.epoch = 1
        self.entries: list[Entry] = []
        self.taken: dict[tuple[str, int], int] = {}  # (session, counter) -> seq
        self.session = SESSION
        self.in_flight: list[tuple[str, m.Message]] = []
        self.play.start()
        self.play.resolve(m.NameState.SERVED)
        self.answer(self.play.commands)
        self.deliver_all()

    def answer(self, commands: list[Command]) -> None:
        """What the active server says to what was sent to it; older servers are gone."""
        for command in commands:
            if not isinstance(command, Send) or self.play.open.get(command.link) is None:
                continue
            serves = self.play.open[command.link].endpoint == f"tcp://S{self.epoch}:1" or self.epoch == 1
            match command.message:
                case m.Hello(session=session) if serves:
                    self.session = session
                    self.in_flight.append((command.link, self.greeting()))
                case m.Posts(first, texts) if serves:
                    self.posted(command.link, first, texts)
                case m.Fetch(ask, first, count) if serves:
                    part = self.entries[first - 1 : first - 1 + count]
                    encoded = codec.join_block([codec.encode_entry(item) for item in part])
                    self.in_flight.append((command.link, m.Fetched(ask, first, len(part), len(self.entries), encoded)))
                case _:
                    pass

    def greeting(self) -> m.Welcome:
        return m.Welcome(
            limits.PROTOCOL, self.epoch, "log", server(f"S{self.epoch}"), "me", len(self.entries), 0, True, 1, ()
        )

    def posted(self, link: str, first: int, texts: tuple[str, ...]) -> None:
        for counter, text in enumerate(texts, start=first):
            expected = sum(1 for session, _ in self.taken if session == self.session) + 1
            if counter > expected:
                self.in_flight.append((link, m.Resend(expected)))
                return
            if counter == expected:
                self.append(ME, self.session, counter, text)
                self.taken[self.session, counter] = len(self.entries)
            self.in_flight.append((link, m.Acked(counter, (self.taken[self.session, counter],))))

    def append(self, author: str, session: str, counter: int, text: str) -> None:
        seq = len(self.entries) + 1
        self.entries.append(Entry(seq, self.epoch, author, session, counter, 0, author, text))
        encoded = codec.join_block([codec.encode_entry(self.entries[-1])])
        for link in self.play.open:
            if link.startswith("feed-"):
                self.in_flight.append((link, m.Published(self.epoch, seq, 1, encoded)))

    def give(self, link: str, message: m.Message) -> None:
        self.play.say(link, message, 1)
        self.answer(self.play.commands)

    def deliver_all(self) -> None:
        while self.in_flight:
            self.give(*self.in_flight.pop(0))

    def fire_all(self) -> None:
        for name in [name for name in self.play.timers if not name.startswith("session.")]:
            self.play.fire(name, 2_000)
            self.answer(self.play.commands)

    def move(self) -> None:
        """To a server whose address says which epoch it serves in."""
        self.epoch += 1
        self.give(self.play.room(), m.Moved(self.epoch, server(f"S{self.epoch}")))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["post", "other", "move", "timers", "all"]), st.just(0)),
        st.tuples(st.sampled_from(["deliver", "lose", "double"]), st.integers(0, 20)),
    ),
    max_size=50,
)


@given(STEPS)
def test_whatever_is_lost_or_doubled_each_post_is_there_once_and_shown_once(steps: list[tuple[str, int]]) -> None:
    room = FakeRoom()
    asked = 0
    for step, number in steps:
        index = number % len(room.in_flight) if room.in_flight else -1
        match step:
            case "post":
                asked += 1
                room.play.ask(Say(f"own {asked}", asked))
                room.answer(room.play.commands)
            case "other":
                room.append("bo", "s", len(room.entries) + 1, "other")
            case "move":
                room.move()
            case "timers":
                room.fire_all()
            case "all":
                room.deliver_all()
            case _ if index < 0:
                pass
            case "deliver":
                room.give(*room.in_flight.pop(index))
            case "lose":
                del room.in_flight[index]
            case "double":
                room.in_flight.append(room.in_flight[index])
    # The network heals: hello is repeated, a heartbeat comes, and what was lost is asked for again.
    room.in_flight.clear()
    room.move()
    room.deliver_all()
    for _ in range(6):
        feed = [link for link in room.play.open if link.startswith("feed-")][-1]
        room.give(feed, m.Heartbeat(room.epoch, len(room.entries), 1, True, -1))
        room.fire_all()
        room.deliver_all()
    notices = room.play.all_notices
    assert [entry.text for entry in room.entries if entry.author == ME] == [f"own {n}" for n in range(1, asked + 1)]
    assert [notice.tag for notice in notices if isinstance(notice, Posted)] == list(range(1, asked + 1))
    assert [n.seq for n in notices if isinstance(n, MessageNotice)] == list(range(1, len(room.entries) + 1))
    epochs = [notice.epoch for notice in notices if isinstance(notice, Relocated)]
    assert epochs == sorted(set(epochs))


INTENTS: list[Any] = [
    Say("x"),
    Say(""),
    Tell("bo", "x"),
    Tell("zz", "x"),
    Tell("me", "x"),
    AskWho(),
    AskHistory(),
    AskSearch("x"),
    ChangeNick("new"),
    GoAway("x"),
    GoAway(),
    SetTopic("x"),
    SetTopic("x" * 300),
    AskHandover(),
    AskStatus(),
    HostServer(server="x"),  # type: ignore[arg-type]  # a plain id does
    EpochGranted(2),
    AskQueue(),
    DropPosts(1),
    DropPosts(),
    PostsKept(1),
    DiskLost("why"),
    Quit(),
]
MESSAGES: list[m.Message] = [
    m.Refused(0, RefusalCode.FULL, ""),
    m.Refused(1, RefusalCode.NOT_HERE, ""),
    m.Done(1),
    m.Welcome(limits.PROTOCOL, 1, "log", server("A"), "me", 0, 0, True, 1, None),
    m.Welcome(limits.PROTOCOL, 9, "other", server("B"), "me", 5, 2, False, 9, ()),
    m.Moved(9, server("B")),
    m.NotServing(0),
    m.WhoAreYou(),
    m.Acked(1, (1, 2)),
    m.Resend(1),
    m.Fetched(0, 1, 1, 1, block(1, 1)),
    m.Fetched(1, 1, 1, 1, block(1, 1)),
    m.Found(1, 0, b""),
    m.MembersAre(0, 5, ()),
    m.MembersAre(0, 6, (member("bo"),), "lunch", "bo"),
    m.MembersAre(1, 5, ()),
    m.Located(1, member("bo")),
    m.Relayed(member("bo"), m.CallUp(m.CallUpKind.RING, 1)),
    m.Pong(1, 1),
    m.LinkAt("x", ("tcp://a:1",)),
    m.Published(1, 1, 1, block(1, 1)),
    m.Published(1, 1, 1, b"\xff"),
    m.Heartbeat(1, 5, 5, True, -1),
    m.Heartbeat(1, 5, 5, True, 0),
    m.Presence(1, 2, (Change(ChangeKind.LEFT, member("bo")),)),
    m.Presence(1, 2, (Change(ChangeKind.TOPIC, member("bo"), "", "tea"),)),
    m.Presence(1, 2, (Change(ChangeKind.SILENT, member("bo")),)),
    m.Opened(1),
    m.Prepare(9, server("B")),
    m.Relocate(9, server("B"), ""),
    m.TalkBye(),
    m.Resolved(1, m.NameState.FREE, None, ()),
]
TIMERS = [
    *(f"session.{name}" for name in ("hello", "join", "look", "ping", "silence", "ahead")),
    *("timeline.gap", "timeline.retry", "outbox.resend", "requests.retry", "zdns.deadline-1", "talk.bo", "unknown"),
]
LINKS = ["room-1", "feed-1", "room-2", "feed-2", "zdns-1", "talk-1", "unknown-1"]
ANY_EVENT: st.SearchStrategy[Event] = st.one_of(
    st.builds(Asked, st.sampled_from(INTENTS[:-1])),
    st.builds(lambda link, message: Received(LinkId(link), message), st.sampled_from(LINKS), st.sampled_from(MESSAGES)),
    st.builds(TimerFired, st.sampled_from(TIMERS)),
    st.builds(lambda link: LinkDown(LinkId(link), ""), st.sampled_from(LINKS)),
    st.builds(lambda link: LinkBound(LinkId(link), ("tcp://a:1",)), st.sampled_from(LINKS)),
    st.builds(lambda link: SendRefused(LinkId(link), m.Done(1), b"", ""), st.sampled_from(LINKS)),
)


@given(
    st.sampled_from(["new", "started", "resolved", "live"]),
    st.sampled_from([None, LEFT]),
    st.lists(st.tuples(ANY_EVENT, st.integers(0, 3_000)), max_size=40),
)
def test_no_order_of_events_raises_or_sends_what_cannot_travel(
    stage: str, kept: Kept | None, events: list[tuple[Event, int]]
) -> None:
    play = joined(kept=kept) if stage == "live" else Play(kept=kept)
    if stage in ("started", "resolved"):
        play.start()
    if stage == "resolved":
        play.resolve(m.NameState.SERVED)
    for event, after_ms in events:
        play.handle(event, after_ms)  # checks every command
    play.handle(Stopping())
    byes = [notice for notice in play.all_notices if isinstance(notice, Bye)]
    assert len(byes) == 1
    assert play.all_notices[-1] == byes[0]
    assert play.open == {}
    assert play.timers == {}


@pytest.mark.parametrize("stage", ["new", "started", "resolved", "live", "moving", "closed"])
def test_every_phase_meets_every_event(stage: str) -> None:
    events: list[Event] = [Asked(intent) for intent in INTENTS]
    events += [Received(LinkId(link), message) for link in LINKS for message in MESSAGES]
    events += [TimerFired(name) for name in TIMERS]
    for link in map(LinkId, LINKS):
        events += [LinkUp(link), LinkDown(link, ""), LinkBound(link, ()), Garbled(link, ""), Subscribed(link)]
        events.append(SendRefused(link, m.Done(1), b"", ""))
    events += [Started(NONCE, 0), Stopping()]
    for event in events:
        play = Play() if stage in ("new", "started", "resolved") else joined()
        if stage in ("started", "resolved"):
            play.start()
        if stage == "resolved":
            play.resolve(m.NameState.SERVED)
        if stage == "moving":
            play.say("feed-1", m.Relocate(2, server("B"), ""))
        if stage == "closed":
            play.ask(Quit())
        commands = play.handle(event, 1_000)
        if stage == "closed":
            assert commands == []
        assert play.engine.describe().startswith("backend.com epoch=")
