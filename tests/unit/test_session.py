"""Unit tests of peer.session."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.session import (
    FAILOVER,
    Happening,
    Heard,
    Joined,
    Look,
    Orphaned,
    Outdated,
    Phase,
    Rejected,
    Session,
    Unserved,
)
from wire import limits
from wire.errors import RefusalCode
from wire.messages import (
    Acked,
    Bye,
    DnsReply,
    Done,
    Heartbeat,
    Hello,
    Message,
    Moved,
    NameState,
    NotServing,
    Opened,
    Ping,
    Pong,
    Prepare,
    Published,
    Record,
    Refused,
    Relocate,
    Resolved,
    ServerInfo,
    Welcome,
    WhoAreYou,
)
from wire.names import LinkId
from wire.step import (
    CloseLink,
    Command,
    Event,
    LinkDown,
    LinkKind,
    LinkUp,
    OpenLink,
    Received,
    Send,
    SendRefused,
    StartTimer,
    StopTimer,
    TimerFired,
)

HELLO = Hello(limits.PROTOCOL, "backend.com", "me", "s", "ana", False, False, "", 0)


def server(name: str) -> ServerInfo:
    """A server half named `name`."""
    return ServerInfo(name, f"host-{name}", (f"tcp://{name}:1",), (f"tcp://{name}:2",))


def record(name: str, epoch: int) -> Record:
    """zdns's record when `name` serves in `epoch`."""
    return Record("backend.com", epoch, epoch, "log", server(name), (server(name),))


def welcome(name: str, epoch: int, protocol: int = limits.PROTOCOL) -> Welcome:
    """What `name` says to a hello in `epoch`."""
    return Welcome(protocol, epoch, "log", server(name), "ana", 0, 0, True, 1, None)


class Play:
    """A session, and what it has said so far."""

    def __init__(self) -> None:
        self.session = Session(HELLO)
        self.now_ms = 1_000
        self.happened: list[Happening] = []
        self.commands: list[Command] = []
        self.open: dict[LinkId, OpenLink] = {}
        self.ever_opened: list[LinkId] = []

    def take(self, steps: tuple[list[Command], list[Happening]]) -> list[Happening]:
        self.commands, happened = steps
        self.happened += happened
        for command in self.commands:
            if isinstance(command, OpenLink):
                assert command.link not in self.ever_opened
                self.ever_opened.append(command.link)
                self.open[command.link] = command
            elif isinstance(command, CloseLink):
                del self.open[command.link]
            elif isinstance(command, Send):
                assert command.link in self.open
        return happened

    def start(self) -> list[Happening]:
        return self.take(self.session.start())

    def resolved(self, reply: DnsReply) -> list[Happening]:
        return self.take(self.session.resolved(reply, self.now_ms))

    def found(self, name: str, epoch: int) -> list[Happening]:
        return self.resolved(Resolved(1, NameState.SERVED, record(name, epoch), ()))

    def handle(self, event: Event, after_ms: int = 0) -> list[Happening]:
        self.now_ms += after_ms
        return self.take(self.session.handle(event, self.now_ms))

    def said(self, link: str, message: Message, after_ms: int = 0) -> list[Happening]:
        return self.handle(Received(LinkId(link), message), after_ms)

    def fired(self, name: str, after_ms: int = 0) -> list[Happening]:
        return self.handle(TimerFired(f"session.{name}"), after_ms)

    @property
    def phase(self) -> Phase:
        return self.session.phase

    @property
    def sent(self) -> list[tuple[str, Message]]:
        return [(command.link, command.message) for command in self.commands if isinstance(command, Send)]

    @property
    def delays_ms(self) -> dict[str, int]:
        return {
            command.name.removeprefix("session."): command.delay_ms
            for command in self.commands
            if isinstance(command, StartTimer)
        }


def live(name: str = "A", epoch: int = 3) -> Play:
    """A session that is live at server `name`, over links room-1 and feed-1."""
    play = Play()
    play.start()
    play.found(name, epoch)
    play.said("room-1", welcome(name, epoch), after_ms=10)
    assert play.phase is Phase.LIVE
    return play


# --- finding ---


def test_it_asks_zdns_and_says_hello_to_the_server_named() -> None:
    play = Play()
    assert play.start() == [Look()]
    assert play.found("A", 3) == []
    assert play.commands[:2] == [
        OpenLink(LinkId("feed-1"), LinkKind.FEED_CONNECT, "tcp://A:2", "backend.com"),
        OpenLink(LinkId("room-1"), LinkKind.ROOM_CONNECT, "tcp://A:1"),
    ]
    assert play.sent == [("room-1", HELLO)]
    assert play.delays_ms == {"hello": limits.HELLO_RETRY_MS, "join": limits.SILENCE_MS, "doubt": limits.DOUBT_MS}
    assert (play.phase, play.session.epoch, play.session.state) == (Phase.JOINING, 3, "searching")


def test_a_free_name_is_looked_at_again_less_and_less_often() -> None:
    play = Play()
    play.start()
    delays_ms = []
    for _ in range(6):
        assert play.resolved(Resolved(1, NameState.FREE, None, ())) == [Unserved()]
        delays_ms.append(play.delays_ms["look"])
        assert play.fired("look") == [Look()]
    assert delays_ms == [200, 400, 800, 1_600, 2_000, 2_000]


def test_once_the_own_server_half_knows_of_an_epoch_there_is_no_pause_before_the_next_look() -> None:
    play = Play()
    play.start()
    play.resolved(Resolved(1, NameState.FREE, None, ()))
    assert play.take(play.session.granted(1)) == [Look()]
    assert StopTimer("session.look") in play.commands
    play.found("A", 1)
    assert play.take(play.session.granted(2)) == [], "somebody is asked already"


def test_an_epoch_that_is_known_is_no_reason_to_look() -> None:
    play = live()
    assert play.take(play.session.granted(4)) == [], "its server is there"
    play.said("room-1", NotServing(3))
    assert play.phase is Phase.RESOLVING
    assert play.take(play.session.granted(3)) == []
    assert play.take(play.session.granted(4)) == [Look()]


def test_an_orphaned_name_is_said_with_its_record() -> None:
    play = Play()
    play.start()
    assert play.resolved(Resolved(1, NameState.ORPHANED, record("A", 3), ())) == [Orphaned(record("A", 3))]
    assert play.phase is Phase.RESOLVING
    assert "look" in play.delays_ms


def test_zdns_saying_no_is_told_or_waited_for() -> None:
    play = Play()
    play.start()
    no = Refused(1, RefusalCode.VERSION, "no")
    assert play.resolved(no) == [Rejected(no)]
    assert play.resolved(Refused(1, RefusalCode.BUSY, "later")) == []
    assert "look" in play.delays_ms
    assert play.resolved(Done(1)) == []
    assert "look" in play.delays_ms


def test_a_silent_zdns_is_asked_again_before_anything_is_known() -> None:
    play = Play()
    play.start()
    for _ in range(9):
        assert play.take(play.session.unresolved(0)) == []
        assert play.phase is Phase.RESOLVING
        assert play.delays_ms["look"] == limits.SEARCH_AGAIN_MS, "the silence was pause enough"
        assert play.fired("look") == [Look()]


def test_with_zdns_silent_the_last_server_is_tried_again() -> None:
    play = live()
    assert play.handle(LinkDown(LinkId("room-1"), "broken")) == [Look()]
    play.take(play.session.unresolved(play.now_ms))
    assert play.sent == [("room-2", HELLO)]
    (joined,) = play.said("room-2", welcome("A", 3))
    assert isinstance(joined, Joined)
    assert not joined.moved
    assert not joined.first


def test_an_answer_that_nobody_waits_for_means_nothing() -> None:
    play = live()
    assert play.found("B", 9) == []
    assert play.commands == []
    assert play.take(play.session.unresolved(0)) == []
    assert play.session.epoch == 3


def test_an_old_record_is_not_followed_and_a_zdns_that_forgot_is_told_of_once() -> None:
    play = live(epoch=5)
    play.handle(LinkDown(LinkId("room-1"), "broken"))
    told = [play.found("Z", 4) for _ in range(5)]
    assert told == [[], [], [Outdated(record("Z", 4))], [], []]
    assert play.session.epoch == 5
    assert play.open == {}


def test_a_server_without_an_address_is_looked_up_again() -> None:
    play = Play()
    play.start()
    nowhere = Record("backend.com", 1, 1, "log", ServerInfo("A", "a", (), ()), (server("A"),))
    play.resolved(Resolved(1, NameState.SERVED, nowhere, ()))
    assert play.phase is Phase.RESOLVING
    assert "look" in play.delays_ms


def test_of_several_addresses_the_next_one_is_tried_after_a_failure() -> None:
    play = Play()
    play.start()
    two = ServerInfo("A", "a", ("tcp://x:1", "tcp://y:1"), ("tcp://x:2", "tcp://y:2"))
    reply = Resolved(1, NameState.SERVED, Record("backend.com", 1, 1, "log", two, (two,)), ())
    play.resolved(reply)
    assert play.open[LinkId("room-1")].endpoint == "tcp://x:1"
    play.handle(LinkDown(LinkId("room-1"), "refused"))
    play.fired("look")
    play.resolved(reply)
    assert play.open[LinkId("room-2")].endpoint == "tcp://y:1"
    assert play.open[LinkId("feed-2")].endpoint == "tcp://y:2"


# --- joining ---


def test_the_welcome_makes_it_live() -> None:
    play = Play()
    play.start()
    play.found("A", 3)
    assert play.said("room-1", welcome("A", 3)) == [Joined(welcome("A", 3), True, False, FAILOVER, 0)]
    assert play.delays_ms == {"ping": limits.PING_MS, "silence": limits.SILENCE_MS, "doubt": limits.DOUBT_MS}
    assert play.session.to_server(Done(1)) == [Send(LinkId("room-1"), Done(1))]
    assert play.session.server == server("A")


def test_hello_is_repeated_until_it_is_answered() -> None:
    play = Play()
    play.start()
    play.found("A", 3)
    play.session.hello = Hello(limits.PROTOCOL, "backend.com", "me", "s", "anna", False, False, "", 0)
    play.fired("hello", 500)
    assert play.sent == [("room-1", play.session.hello)]
    play.said("room-1", welcome("A", 3))
    play.fired("hello", 500)
    assert play.commands == []


def test_a_second_welcome_in_the_same_epoch_means_nothing() -> None:
    play = live()
    assert play.said("room-1", welcome("A", 3)) == []
    assert play.said("room-1", welcome("A", 2)) == []


def test_a_welcome_of_an_old_epoch_is_not_believed() -> None:
    play = Play()
    play.start()
    play.found("A", 3)
    assert play.said("room-1", welcome("A", 2)) == []
    assert play.phase is Phase.JOINING


def test_a_server_of_another_protocol_is_told_of() -> None:
    play = Play()
    play.start()
    play.found("A", 3)
    (rejected,) = play.said("room-1", welcome("A", 3, protocol=99))
    assert isinstance(rejected, Rejected)
    assert rejected.refused.code is RefusalCode.VERSION
    assert "99" in rejected.refused.message


def test_a_server_that_does_not_answer_is_given_up() -> None:
    play = Play()
    play.start()
    play.found("A", 3)
    play.fired("join", limits.SILENCE_MS - 100)
    assert play.delays_ms == {"join": 100}
    play.fired("join", 100)
    assert play.phase is Phase.RESOLVING
    assert play.open == {}
    assert play.delays_ms == {"look": limits.SEARCH_AGAIN_MS}


def test_a_server_that_does_not_serve_yet_is_asked_a_few_times() -> None:
    play = Play()
    play.start()
    play.found("A", 3)
    play.said("room-1", NotServing(2))
    play.said("room-1", NotServing(2))
    assert play.phase is Phase.JOINING
    play.said("room-1", NotServing(2))
    assert play.phase is Phase.RESOLVING


def test_a_refused_hello_is_told_and_tried_again() -> None:
    play = Play()
    play.start()
    play.found("A", 3)
    no = Refused(0, RefusalCode.NAME_TAKEN, "taken")
    assert play.said("room-1", no) == [Rejected(no)]
    assert play.phase is Phase.RESOLVING
    play.fired("look")
    play.found("A", 3)
    assert play.said("room-2", Refused(0, RefusalCode.BUSY, "later")) == []
    assert play.phase is Phase.RESOLVING


def test_the_answer_to_an_earlier_request_does_not_refuse_the_hello() -> None:
    play = live()
    play.said("room-1", WhoAreYou())
    assert play.said("room-1", Refused(7, RefusalCode.NAME_TAKEN, "taken")) == []
    assert play.phase is Phase.JOINING


def test_what_is_published_before_the_welcome_is_told_after_it() -> None:
    play = Play()
    play.start()
    play.found("A", 3)
    play.said("feed-1", Published(2, 1, 1, b"old"))
    play.said("feed-1", Published(3, 5, 1, b"new"))
    for left_ms in (900, 400):
        play.said("feed-1", Heartbeat(3, 5, 1, True, left_ms))
    play.said("feed-1", Opened(4))
    joined, *heard = play.said("room-1", welcome("A", 3))
    assert isinstance(joined, Joined)
    assert heard == [Heard(Published(3, 5, 1, b"new")), Heard(Heartbeat(3, 5, 1, True, 400))]


# --- live ---


def test_what_the_server_says_is_handed_on_in_its_epoch_only() -> None:
    play = live()
    assert play.said("room-1", Acked(1, (1,))) == [Heard(Acked(1, (1,)))]
    assert play.said("feed-1", Published(3, 1, 1, b"")) == [Heard(Published(3, 1, 1, b""))]
    assert play.said("feed-1", Published(2, 1, 1, b"")) == []
    assert play.said("room-9", Acked(1, (1,))) == []
    assert play.said("room-1", Pong(1, 3)) == []


def test_it_pings() -> None:
    play = live()
    play.fired("ping", limits.PING_MS)
    assert play.sent == [("room-1", Ping(1))]
    assert play.delays_ms == {"ping": limits.PING_MS}


def test_as_long_as_room_and_feed_speak_it_stays() -> None:
    play = live()
    for _ in range(10):
        play.said("room-1", Pong(1, 3), 500)
        play.said("feed-1", Heartbeat(3, 0, 1, True, -1), 500)
        assert play.fired("silence") == []
    assert play.phase is Phase.LIVE
    assert 0 < play.delays_ms["silence"] < limits.SILENCE_MS


@pytest.mark.parametrize("speaks", ["room-1", "feed-1", "neither"])
def test_when_either_falls_silent_zdns_is_asked(speaks: str) -> None:
    play = live()
    for _ in range(3):
        play.now_ms += 1_000
        if speaks == "room-1":
            play.said("room-1", Pong(1, 3))
        elif speaks == "feed-1":
            play.said("feed-1", Heartbeat(3, 0, 1, True, -1))
    assert play.fired("silence") == [Look()]
    assert play.phase is Phase.RESOLVING
    assert play.open == {}


def test_when_heartbeats_are_missing_zdns_is_asked_whether_somebody_else_serves() -> None:
    play = live()
    assert play.fired("doubt", limits.DOUBT_MS) == [Look()]
    assert (play.phase, play.delays_ms) == (Phase.LIVE, {"doubt": limits.DOUBT_AGAIN_MS})
    assert play.fired("doubt", limits.DOUBT_AGAIN_MS) == [], "one question is out"
    play.found("A", 3)
    assert (play.phase, play.commands) == (Phase.LIVE, []), "nobody else does: it may only be slow"
    assert play.fired("doubt", limits.DOUBT_AGAIN_MS) == [Look()]
    play.found("B", 4)
    assert (play.phase, play.session.epoch) == (Phase.JOINING, 4)
    assert play.said("room-2", welcome("B", 4)) == [Joined(welcome("B", 4), False, True, FAILOVER, play.now_ms - 1_010)]


def test_a_heartbeat_ends_the_doubt() -> None:
    play = live()
    play.said("feed-1", Heartbeat(3, 0, 1, True, -1), after_ms=500)
    assert play.fired("doubt", limits.DOUBT_MS - 500) == []
    assert play.delays_ms == {"doubt": 500}


def test_a_server_that_is_joined_anew_and_silent_is_doubted_as_well() -> None:
    play = live()
    play.handle(LinkDown(LinkId("room-1"), "broke"))
    play.found("A", 3)
    assert play.fired("doubt", limits.DOUBT_AGAIN_MS) == [Look()]
    play.found("B", 4)
    assert (play.phase, play.session.epoch) == (Phase.JOINING, 4)


def test_who_was_never_in_has_no_doubts() -> None:
    play = Play()
    play.start()
    play.found("A", 3)
    assert play.fired("doubt", limits.DOUBT_MS) == []


def test_redirects_that_are_not_followed_are_no_sign_of_life() -> None:
    play = live()
    for _ in range(6):
        play.said("room-1", Moved(3, server("B")), 500)
        play.said("feed-1", Relocate(2, server("B"), ""))
    assert play.fired("silence") == [Look()]


@pytest.mark.parametrize("link", ["room-1", "feed-1"])
def test_a_broken_link_makes_it_ask_zdns_at_once(link: str) -> None:
    play = live()
    assert play.handle(LinkDown(LinkId(link), "broken")) == [Look()]
    assert play.phase is Phase.RESOLVING


def test_a_server_that_forgot_us_is_told_who_we_are() -> None:
    play = live()
    play.said("room-1", WhoAreYou())
    assert play.sent == [("room-1", HELLO)]
    assert play.phase is Phase.JOINING
    play.said("room-1", WhoAreYou())
    assert play.sent == []
    (joined,) = play.said("room-1", welcome("A", 3))
    assert joined == Joined(welcome("A", 3), False, False, FAILOVER, 0)


@pytest.mark.parametrize(
    ("link", "message"), [("room-1", Pong(1, 4)), ("feed-1", Heartbeat(4, 0, 1, True, -1)), ("room-1", welcome("A", 4))]
)
def test_a_server_that_was_granted_another_term_is_joined_again(link: str, message: Message) -> None:
    play = live()
    happened = play.said(link, message, 100)
    if not happened:
        assert play.phase is Phase.JOINING
        happened = play.said("room-1", welcome("A", 4))
    early = [Heard(message)] if isinstance(message, Heartbeat) else []
    assert happened == [Joined(welcome("A", 4), False, True, FAILOVER, 100), *early]
    assert play.session.epoch == 4


def test_a_server_that_does_not_serve_any_more_is_left() -> None:
    play = live()
    assert play.said("room-1", NotServing(3)) == [Look()]


# --- moving ---


def test_a_relocate_is_followed_over_the_links_opened_ahead() -> None:
    play = live()
    play.said("feed-1", Prepare(4, server("B")), 1_000)
    assert [command.link for command in play.commands if isinstance(command, OpenLink)] == ["feed-2", "room-2"]
    assert play.sent == [("room-2", HELLO)]
    assert play.phase is Phase.LIVE
    play.said("feed-2", Published(4, 1, 1, b"new"))
    play.said("feed-1", Relocate(4, server("B"), "handover"), 100)
    assert play.phase is Phase.MOVING
    assert play.session.state == "moving"
    assert list(play.open) == ["feed-2", "room-2"]
    assert play.sent == [("room-2", HELLO)]
    assert play.said("room-2", welcome("B", 4), 5) == [
        Joined(welcome("B", 4), False, True, "handover", 105),
        Heard(Published(4, 1, 1, b"new")),
    ]


def test_a_relocate_without_a_prepare_opens_links_of_its_own() -> None:
    play = live()
    play.said("feed-1", Relocate(4, server("B"), "because"))
    assert list(play.open) == ["feed-2", "room-2"]
    (joined,) = play.said("room-2", welcome("B", 4))
    assert isinstance(joined, Joined)
    assert joined.reason == "because"


def test_a_relocate_to_another_than_was_prepared_throws_the_links_ahead_away() -> None:
    play = live()
    play.said("feed-1", Prepare(4, server("B")))
    play.said("feed-1", Relocate(4, server("C"), ""))
    assert list(play.open) == ["feed-3", "room-3"]
    assert play.open[LinkId("room-3")].endpoint == "tcp://C:1"


def test_moved_is_followed_like_a_relocate() -> None:
    play = live()
    play.said("room-1", Moved(4, server("B")))
    (joined,) = play.said("room-2", welcome("B", 4))
    assert isinstance(joined, Joined)
    assert joined.reason == "handover"


@pytest.mark.parametrize("message", [Moved(3, server("B")), Relocate(3, server("B"), ""), Relocate(1, server("B"), "")])
def test_a_redirect_that_is_not_higher_is_not_followed(message: Message) -> None:
    play = live()
    play.said("feed-1", message)
    assert play.phase is Phase.LIVE
    assert play.commands == []


def test_a_relocate_that_was_missed_does_not_matter_when_the_server_ahead_speaks() -> None:
    play = live()
    play.said("feed-1", Prepare(4, server("B")), 1_000)
    assert play.said("room-2", welcome("B", 4), 70) == [Joined(welcome("B", 4), False, True, "handover", 70)]
    assert list(play.open) == ["feed-2", "room-2"]
    assert play.said("feed-1", Relocate(4, server("B"), "")) == []


def test_the_server_ahead_may_speak_while_the_old_one_is_gone_already() -> None:
    play = live()
    play.said("feed-1", Prepare(4, server("B")))
    play.handle(LinkDown(LinkId("room-1"), "died"))
    assert play.phase is Phase.RESOLVING
    (joined,) = play.said("room-2", welcome("B", 4))
    assert isinstance(joined, Joined)
    assert play.phase is Phase.LIVE
    assert play.found("A", 3) == []


def test_what_zdns_names_is_joined_over_the_links_ahead_and_was_a_handover() -> None:
    play = live()
    play.said("feed-1", Prepare(4, server("B")))
    play.handle(LinkDown(LinkId("room-1"), "died"))
    play.found("B", 4)
    assert list(play.open) == ["feed-2", "room-2"]
    (joined,) = play.said("room-2", welcome("B", 4))
    assert isinstance(joined, Joined)
    assert joined.reason == "handover"


def test_a_server_found_by_zdns_alone_is_a_failover() -> None:
    play = live()
    play.said("room-1", Pong(1, 3))
    play.handle(LinkDown(LinkId("room-1"), "died"), 50)
    play.found("C", 6)
    assert play.said("room-2", welcome("C", 6), 200) == [Joined(welcome("C", 6), False, True, "failover", 250)]


def test_a_welcome_ahead_in_the_current_epoch_does_not_pull_away_from_a_live_server() -> None:
    play = live()
    play.said("feed-1", Prepare(4, server("B")))
    assert play.said("room-2", welcome("B", 3)) == []
    assert play.phase is Phase.LIVE
    assert play.said("room-2", Acked(1, (1,))) == []
    assert play.said("room-2", NotServing(3)) == []
    assert play.said("room-2", Refused(0, RefusalCode.BAD_NAME, "no")) == []
    assert "room-2" in play.open


def test_a_newer_prepare_replaces_the_links_ahead_and_a_repeated_one_keeps_them() -> None:
    play = live()
    play.said("feed-1", Prepare(4, server("B")))
    play.said("feed-1", Prepare(4, server("B")))
    assert [command for command in play.commands if isinstance(command, OpenLink | CloseLink)] == []
    play.said("feed-1", Prepare(4, server("C")))
    assert sorted(play.open) == ["feed-1", "feed-3", "room-1", "room-3"]


@pytest.mark.parametrize("message", [Prepare(3, server("B")), Prepare(2, server("B")), Prepare(4, server("A"))])
def test_a_prepare_that_leads_nowhere_opens_nothing(message: Message) -> None:
    play = live()
    play.said("feed-1", message)
    assert sorted(play.open) == ["feed-1", "room-1"]


def test_links_ahead_are_closed_when_they_are_not_used_or_break() -> None:
    play = live()
    play.said("feed-1", Prepare(4, server("B")))
    play.fired("ahead", limits.AHEAD_MS)
    assert sorted(play.open) == ["feed-1", "room-1"]
    play.said("feed-1", Prepare(4, server("B")))
    play.handle(LinkDown(LinkId("feed-3"), "refused"))
    assert sorted(play.open) == ["feed-1", "room-1"]
    assert play.phase is Phase.LIVE


def test_several_moves_in_a_row_are_followed_one_after_the_other() -> None:
    play = live()
    play.said("feed-1", Relocate(4, server("B"), ""))
    play.said("feed-2", Prepare(5, server("C")))
    play.said("room-2", Moved(5, server("C")))
    assert play.phase is Phase.MOVING
    play.said("room-3", Moved(7, server("D")))
    assert play.said("room-4", Moved(5, server("C"))) == []
    play.now_ms += 50
    assert play.said("room-4", welcome("D", 7)) == [Joined(welcome("D", 7), False, True, "handover", 50)]
    assert list(play.open) == ["feed-4", "room-4"]


def test_a_new_server_that_never_speaks_is_looked_up() -> None:
    play = live()
    play.said("feed-1", Relocate(4, server("B"), ""))
    play.fired("join", limits.SILENCE_MS)
    assert play.phase is Phase.RESOLVING
    play.fired("look")
    play.found("B", 4)
    (joined,) = play.said("room-3", welcome("B", 4))
    assert isinstance(joined, Joined)
    assert joined.moved


def test_late_words_over_closed_links_mean_nothing() -> None:
    play = live()
    play.said("feed-1", Relocate(4, server("B"), ""))
    for message in (welcome("A", 9), Moved(9, server("Z")), Acked(1, (1,))):
        assert play.said("room-1", message) == []
        assert play.commands == []
    assert play.handle(LinkDown(LinkId("room-1"), "closed")) == []
    assert play.session.epoch == 4


# --- another session of posts ---


def test_posts_of_another_session_go_over_links_of_their_own() -> None:
    play = live()
    epoch = play.session.epoch
    play.take(play.session.number_anew("t", play.now_ms))
    assert play.phase is Phase.MOVING
    assert list(play.open) == ["feed-2", "room-2"]
    assert play.sent == [("room-2", play.session.hello)]
    assert play.session.hello.session == "t"
    assert play.said("room-1", Acked(1, (1,))) == []
    (joined,) = play.said("room-2", welcome("A", epoch))
    assert isinstance(joined, Joined)
    assert not joined.moved
    assert play.said("room-2", Acked(1, (1,))) == [Heard(Acked(1, (1,)))]


def test_a_server_ahead_that_knows_the_old_session_is_left() -> None:
    play = live()
    play.said("feed-1", Prepare(4, server("B")))
    play.take(play.session.number_anew("t", play.now_ms))
    assert list(play.open) == ["feed-3", "room-3"]
    assert play.open[LinkId("room-3")].endpoint == "tcp://A:1"


def test_without_a_server_another_session_is_said_at_the_next_hello() -> None:
    play = Play()
    play.start()
    assert play.take(play.session.number_anew("t", play.now_ms)) == []
    assert play.commands == []
    play.found("A", 3)
    assert play.sent == [("room-1", play.session.hello)]
    assert play.session.hello.session == "t"
    play.take(play.session.number_anew("u", play.now_ms))
    assert play.phase is Phase.MOVING
    assert [(link, getattr(hello, "session", "")) for link, hello in play.sent] == [("room-2", "u")]
    play.take(play.session.close())
    play.take(play.session.number_anew("v", play.now_ms))
    assert play.commands == []


# --- the end ---


def test_closing_says_goodbye_wherever_we_said_hello() -> None:
    play = live()
    play.said("feed-1", Prepare(4, server("B")))
    play.take(play.session.close())
    assert play.sent == [("room-1", Bye()), ("room-2", Bye())]
    assert play.open == {}
    assert play.session.state == "closed"
    assert play.session.to_server(Done(1)) == []
    assert play.take(play.session.close()) == []
    assert play.start() == []


# --- anything ---

SERVERS = st.sampled_from([server(name) for name in "ABC"] + [ServerInfo("N", "n", (), ())])
EPOCHS = st.integers(0, 8)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(lambda epoch, where: Relocate(epoch, where, "handover"), EPOCHS, SERVERS),
    st.builds(Moved, EPOCHS, SERVERS),
    st.builds(Prepare, EPOCHS, SERVERS),
    st.builds(lambda epoch, name: welcome(name, epoch), EPOCHS, st.sampled_from("ABC")),
    st.builds(lambda epoch: Heartbeat(epoch, 1, 1, True, -1), EPOCHS),
    st.builds(lambda epoch: Published(epoch, 1, 1, b""), EPOCHS),
    st.builds(lambda epoch: Pong(1, epoch), EPOCHS),
    st.builds(NotServing, EPOCHS),
    st.sampled_from([WhoAreYou(), Acked(1, (1,)), Refused(0, RefusalCode.FULL, ""), Refused(0, RefusalCode.BUSY, "")]),
)
TIMERS = st.sampled_from(["hello", "join", "look", "ping", "silence", "ahead", "unknown"])
EVENTS = st.one_of(
    st.tuples(st.sampled_from(["room", "feed"]), st.integers(0, 2), MESSAGES),
    st.tuples(st.just("timer"), st.integers(0, 4_000), TIMERS),
    st.tuples(st.just("down"), st.integers(0, 2), st.sampled_from(["room", "feed"])),
    st.tuples(st.just("found"), EPOCHS, SERVERS),
    st.tuples(st.sampled_from(["unresolved", "free", "up", "refused", "anew"]), st.just(0), st.just(None)),
)


@given(st.lists(EVENTS, max_size=60))
def test_whatever_comes_the_invariants_hold(events: list[tuple[str, int, object]]) -> None:
    play = Play()
    play.start()
    for kind, number, detail in events:
        epoch = play.session.epoch
        newest = len(play.ever_opened) // 2
        link = LinkId(f"{kind}-{newest - number}")
        match kind, detail:
            case "timer", str(name):
                play.fired(name, number)
            case "down", str(half):
                play.handle(LinkDown(LinkId(f"{half}-{newest - number}"), ""))
            case "found", ServerInfo() as where:
                reply = Record("backend.com", number, 1, "log", where, (where,))
                play.resolved(Resolved(1, NameState.SERVED, reply, ()))
            case "unresolved", _:
                play.take(play.session.unresolved(play.now_ms))
            case "anew", _:
                play.take(play.session.number_anew(f"s-{newest}", play.now_ms))
            case "free", _:
                play.resolved(Resolved(1, NameState.FREE, None, ()))
            case "up", _:
                play.handle(LinkUp(LinkId(f"room-{newest}")))
            case "refused", _:
                play.handle(SendRefused(LinkId(f"room-{newest}"), WhoAreYou(), b"", ""))
            case _, Message() as message:
                play.said(link, message, 10)
        assert play.session.epoch >= epoch
        assert len(play.open) <= 4
        assert (play.session.to_server(Done(1)) != []) == (play.phase is Phase.LIVE)
        if play.phase in (Phase.JOINING, Phase.MOVING, Phase.LIVE):
            assert play.open
    joined = [happening.welcome.epoch for happening in play.happened if isinstance(happening, Joined)]
    assert joined == sorted(joined)


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_meets_every_event(phase: Phase) -> None:
    """However it got there, no event raises."""
    messages = [
        welcome("A", 3),
        welcome("B", 9),
        Refused(0, RefusalCode.FULL, ""),
        Refused(4, RefusalCode.FULL, ""),
        Done(1),
        Moved(9, server("B")),
        NotServing(1),
        WhoAreYou(),
        Pong(1, 3),
        Relocate(9, server("B"), ""),
        Prepare(9, server("B")),
        Published(3, 1, 1, b""),
        Opened(3),
    ]
    events: list[Event] = [Received(LinkId(link), message) for link in ("room-1", "feed-1") for message in messages]
    events += [
        LinkDown(LinkId("room-1"), ""),
        LinkUp(LinkId("room-1")),
        SendRefused(LinkId("room-1"), Done(1), b"", ""),
    ]
    events += [TimerFired(f"session.{name}") for name in ("hello", "join", "look", "ping", "silence", "ahead")]
    for event in events:
        play = Play()
        if phase is not Phase.DETACHED:
            play.start()
        if phase not in (Phase.DETACHED, Phase.RESOLVING):
            play.found("A", 3)
        if phase in (Phase.LIVE, Phase.CLOSED):
            play.said("room-1", welcome("A", 3))
        if phase is Phase.CLOSED:
            play.take(play.session.close())
        if phase is Phase.MOVING:
            play = live("Z", 2)
            play.said("feed-1", Relocate(3, server("A"), ""))
        assert play.phase is phase
        play.handle(event, 5_000)
        assert play.phase is not Phase.DETACHED or phase is Phase.DETACHED
