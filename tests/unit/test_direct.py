"""Private talks: two and more cores back to back over a wire that loses what PAIR sockets and call-ups lose."""

import heapq
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peer import direct
from peer.direct import CallOut, Direct, Phase
from peer.notices import Private
from wire import limits
from wire.codec import decode, encode
from wire.messages import (
    CallUp,
    CallUpKind,
    Member,
    Message,
    Relay,
    Talk,
    TalkBye,
    TalkGot,
    TalkHello,
    TalkPing,
    TalkText,
    ToServer,
)
from wire.names import LinkId
from wire.step import (
    CloseLink,
    Event,
    LinkBound,
    LinkDown,
    LinkKind,
    LinkUp,
    OpenLink,
    Received,
    Send,
    SendRefused,
    Started,
    StartTimer,
    StopTimer,
    TimerFired,
)


def member(peer: str) -> Member:
    return Member(peer=peer, nick=f"{peer}-nick", guest=False, server="", since_ms=0)


@dataclass
class End:
    """One end of a PAIR connection. `other` None: nobody there (yet); what is sent goes nowhere."""

    owner: str
    link: LinkId
    bound: bool
    other: "End | None" = None
    taken: bool = False  # a bound socket serves one connection in its life
    open: bool = True


@dataclass
class Wire:
    """Virtual time, call-ups and PAIR sockets between the cores. Losses are drawn from `random`."""

    random: random.Random
    loss: float = 0.0  # of a call-up, or that a connection is a dead one
    now_ms: int = 0
    cores: dict[str, Direct] = field(default_factory=dict)
    notices: dict[str, list[Private]] = field(default_factory=dict)
    away: list[str] = field(default_factory=list)  # who is not in the room, as the server sees it
    seen: list[tuple[str, object]] = field(default_factory=list)  # every command, with its core
    heap: list[tuple[int, int, str, object]] = field(default_factory=list)
    timers: dict[tuple[str, str], int] = field(default_factory=dict)
    ends: dict[tuple[str, LinkId], End] = field(default_factory=dict)
    order: int = 0

    def add(self, peer: str, session: str = "s") -> Direct:
        core = self.cores[peer] = Direct(peer, session, f"{peer}-nick")
        self.notices.setdefault(peer, [])
        return core

    def later(self, delay_ms: int, peer: str, what: object) -> None:
        self.order += 1
        heapq.heappush(self.heap, (self.now_ms + delay_ms, self.order, peer, what))

    def tell(self, sender: str, receiver: str, text: str) -> None:
        self.perform(sender, self.cores[sender].tell(text, text, member(receiver), self.now_ms))

    def perform(self, peer: str, steps: direct.Steps) -> None:
        commands, notices = steps
        self.notices[peer] += notices
        for command in commands:
            self.seen.append((peer, command))
            match command:
                case CallOut(to, call_up):
                    frames = encode(Relay(0, to, call_up))
                    relay = decode(frames, ToServer)
                    assert isinstance(relay, Relay)
                    if to in self.away:
                        self.later(1, peer, ("absent", to))
                    elif self.random.random() >= self.loss:
                        self.later(self.random.randint(1, 30), to, (peer, relay.call_up))
                case OpenLink(link, kind, endpoint):
                    self.open(peer, link, kind, endpoint)
                case CloseLink(link):
                    self.close(self.ends[peer, link])
                case Send(link, message):
                    end = self.ends[peer, link]
                    assert end.open, "a core sends on a link that it closed"
                    if end.other is not None:
                        self.later(1, end.other.owner, Received(end.other.link, decode(encode(message), Talk)))
                case StartTimer(name, delay_ms):
                    self.order += 1
                    self.timers[peer, name] = self.order
                    heapq.heappush(self.heap, (self.now_ms + delay_ms, self.order, peer, TimerFired(name)))
                case StopTimer(name):
                    self.timers.pop((peer, name), None)
                case _:
                    pytest.fail(f"a talk has no use for {command}")

    def open(self, peer: str, link: LinkId, kind: LinkKind, endpoint: str) -> None:
        end = self.ends[peer, link] = End(peer, link, kind is LinkKind.TALK_BIND)
        if end.bound:
            self.later(0, peer, LinkBound(link, (f"tcp://{peer}/{link}:1",)))
            return
        owner, _, rest = endpoint.removeprefix("tcp://").partition("/")
        there = self.ends.get((owner, LinkId(rest.partition(":")[0])))
        if there is None or not there.open:
            self.later(1, peer, LinkDown(link, "refused"))
            return
        dead = there.taken or self.random.random() < self.loss
        there.taken = True
        if not dead:
            end.other, there.other = there, end
            self.later(1, owner, LinkUp(there.link))
        self.later(1, peer, LinkUp(link))  # also when it is a dead one: that is what PAIR does

    def close(self, end: End, *, told: bool = True) -> None:
        end.open = False
        other, end.other = end.other, None
        if other is not None:
            other.other = None
            if told:
                self.later(2, other.owner, LinkDown(other.link, "closed"))

    def cut(self, *, told: bool) -> None:
        """Break every connection; with `told` both ends hear of it, else they must find out."""
        for end in list(self.ends.values()):
            if end.other is not None:
                other = end.other
                end.other = other.other = None
                if told:
                    for one in (end, other):
                        self.later(1, one.owner, LinkDown(one.link, "cut"))

    def run(self, for_ms: int) -> None:
        until_ms = self.now_ms + for_ms
        while self.heap and self.heap[0][0] <= until_ms:
            self.now_ms, order, peer, what = heapq.heappop(self.heap)
            core = self.cores[peer]
            match what:
                case TimerFired(name):
                    if self.timers.get((peer, name)) == order:
                        del self.timers[peer, name]
                        assert core.owns(what)
                        self.perform(peer, core.handle(what, self.now_ms))
                case ("absent", str(other)):
                    self.perform(peer, core.absent(other, self.now_ms))
                case (str(sender), CallUp() as call_up):
                    self.perform(peer, core.called(member(sender), call_up, self.now_ms))
                case Received() | LinkBound() | LinkUp() | LinkDown():
                    if self.ends[peer, what.link].open:
                        assert core.owns(what)
                        self.perform(peer, core.handle(what, self.now_ms))
                case _:
                    pytest.fail(f"unknown {what}")
        self.now_ms = until_ms

    # --- what was seen -------------------------------------------------------------------------------------------

    def states(self, peer: str, state: str) -> list[str]:
        return [notice.text for notice in self.notices[peer] if notice.state == state]

    def reasons(self, peer: str) -> list[object]:
        return [notice.reason for notice in self.notices[peer] if notice.state == "failed"]

    def opened(self) -> list[str]:
        return [peer for peer, command in self.seen if isinstance(command, OpenLink)]


@pytest.fixture
def wire() -> Wire:
    wire = Wire(random.Random(7))
    wire.add("a")
    wire.add("b")
    return wire


@pytest.mark.parametrize(("sender", "receiver"), [("a", "b"), ("b", "a")])
def test_a_text_is_queued_then_received_then_delivered(wire: Wire, sender: str, receiver: str) -> None:
    wire.tell(sender, receiver, "hello")
    assert wire.states(sender, "queued") == ["hello"]
    assert wire.states(sender, "delivered") == []
    wire.run(500)
    assert wire.states(sender, "delivered") == ["hello"]
    (received,) = wire.notices[receiver]
    assert received == Private(f"{sender}-nick", f"{receiver}-nick", f"{sender}/s/p1", "hello", "received")
    assert {notice.id for notice in wire.notices[sender]} == {f"{sender}/s/p1"}
    assert {notice.tag for notice in wire.notices[sender]} == {"hello"}


def test_the_smaller_peer_binds_and_the_larger_connects_whoever_calls() -> None:
    for sender, receiver in (("a", "b"), ("b", "a")):
        wire = Wire(random.Random(1))
        wire.add("a")
        wire.add("b")
        wire.tell(sender, receiver, "x")
        wire.run(500)
        kinds = {peer: command.kind for peer, command in wire.seen if isinstance(command, OpenLink)}
        assert kinds == {"a": LinkKind.TALK_BIND, "b": LinkKind.TALK_CONNECT}


def test_two_who_call_each_other_at_the_same_moment_get_one_talk(wire: Wire) -> None:
    wire.tell("a", "b", "from a")
    wire.tell("b", "a", "from b")
    wire.run(500)
    assert sorted(wire.opened()) == ["a", "b"]
    assert wire.states("a", "received") == ["from b"]
    assert wire.states("b", "received") == ["from a"]
    assert wire.states("a", "delivered") == ["from a"]
    assert wire.states("b", "delivered") == ["from b"]


def test_texts_arrive_in_order_and_answers_use_the_same_talk(wire: Wire) -> None:
    for index in range(50):
        wire.tell("b", "a", f"b{index}")
    wire.run(300)
    for index in range(50):
        wire.tell("a", "b", f"a{index}")
        wire.run(1)
    wire.run(300)
    assert wire.states("a", "received") == [f"b{index}" for index in range(50)]
    assert wire.states("b", "received") == [f"a{index}" for index in range(50)]
    assert len(wire.opened()) == 2


def test_a_lost_call_up_is_repeated(wire: Wire) -> None:
    wire.loss = 1.0
    wire.tell("b", "a", "x")
    wire.run(2 * limits.TALK_STEP_MS)
    wire.loss = 0.0
    wire.run(2 * limits.TALK_STEP_MS)
    assert wire.states("b", "delivered") == ["x"]


@pytest.mark.parametrize("sender", ["a", "b"])
def test_a_text_nobody_takes_fails_at_its_deadline(wire: Wire, sender: str) -> None:
    wire.loss = 1.0
    wire.tell(sender, "b" if sender == "a" else "a", "x")
    wire.run(limits.TALK_DEADLINE_MS - 1)
    assert wire.states(sender, "failed") == []
    wire.run(1)
    assert wire.states(sender, "failed") == ["x"]
    assert wire.reasons(sender) == [direct.NO_ANSWER]
    assert wire.cores[sender].describe() == ""
    assert not any(end.open for end in wire.ends.values())


def test_an_absent_receiver_is_told_at_once(wire: Wire) -> None:
    wire.away.append("b")
    wire.tell("a", "b", "x")
    wire.run(50)
    assert wire.reasons("a") == [direct.NOT_HERE]
    wire.away.clear()
    wire.tell("a", "b", "y")
    wire.run(500)
    assert wire.states("a", "delivered") == ["y"]


def test_a_receiver_who_leaves_while_called_up_fails_the_text(wire: Wire) -> None:
    wire.loss = 1.0
    wire.tell("b", "a", "x")
    wire.perform("b", wire.cores["b"].member_gone("a", wire.now_ms))
    assert wire.reasons("b") == [direct.NOT_HERE]


def test_an_open_talk_outlives_the_room_losing_the_member(wire: Wire) -> None:
    wire.tell("a", "b", "one")
    wire.run(300)
    wire.perform("a", wire.cores["a"].member_gone("b", wire.now_ms))
    wire.away += ["a", "b"]
    wire.tell("a", "b", "two")
    wire.run(300)
    assert wire.states("a", "delivered") == ["one", "two"]


@pytest.mark.parametrize("told", [True, False])
def test_texts_sent_into_a_broken_link_arrive_once_after_the_redial(wire: Wire, told: bool) -> None:
    wire.tell("a", "b", "one")
    wire.run(300)
    wire.cut(told=told)
    wire.tell("a", "b", "two")
    wire.tell("b", "a", "three")
    wire.run(limits.TALK_SILENCE_MS + 3 * limits.TALK_STEP_MS)
    assert wire.states("b", "received") == ["one", "two"]
    assert wire.states("a", "received") == ["three"]
    assert wire.states("a", "delivered") == ["one", "two"]
    sent = [command.message for _, command in wire.seen if isinstance(command, Send)]
    generations = [message.generation for message in sent if isinstance(message, TalkHello)]
    assert generations[0] == 1
    assert generations[-1] >= 2


def test_a_silent_link_without_waiting_texts_is_closed_and_not_redialled(wire: Wire) -> None:
    wire.tell("a", "b", "one")
    wire.run(300)
    wire.cut(told=False)
    wire.run(limits.TALK_SILENCE_MS + 2 * limits.TALK_PING_MS)
    assert len(wire.opened()) == 2
    assert wire.cores["a"].describe() == wire.cores["b"].describe() == ""


def test_an_idle_talk_is_closed_and_dialled_again_when_needed(wire: Wire) -> None:
    wire.tell("a", "b", "one")
    wire.run(limits.TALK_IDLE_MS + 3 * limits.TALK_PING_MS)
    assert wire.cores["a"].describe() == wire.cores["b"].describe() == ""
    wire.tell("b", "a", "two")
    wire.run(500)
    assert wire.states("b", "delivered") == ["two"]


def test_a_restarted_participant_with_the_same_id_is_reached(wire: Wire) -> None:
    for _ in range(3):
        wire.tell("a", "b", "one")
        wire.run(200)
        wire.cut(told=True)
        wire.run(200)
    wire.add("a", session="again")
    wire.tell("a", "b", "two")
    wire.run(3 * limits.TALK_STEP_MS)
    assert wire.states("b", "received") == ["one", "one", "one", "two"]


def test_leaving_ends_every_talk_politely_and_fails_what_waits(wire: Wire) -> None:
    wire.add("c")
    wire.tell("a", "b", "one")
    wire.run(300)
    wire.tell("a", "c", "two")
    commands, notices = wire.cores["a"].leave(wire.now_ms)
    assert [notice.reason for notice in notices] == [direct.LEFT]
    byes = [command for command in commands if isinstance(command, Send)]
    assert [type(bye.message) for bye in byes] == [TalkBye]
    assert len([command for command in commands if isinstance(command, CloseLink)]) == 2
    wire.perform("a", (commands, notices))
    wire.run(100)
    assert wire.cores["b"].describe() == ""


# --- refusals and bounds --------------------------------------------------------------------------------------------


def test_a_full_queue_refuses_the_next_text(wire: Wire) -> None:
    wire.loss = 1.0
    for index in range(limits.TALK_QUEUE_MAX + 1):
        wire.tell("a", "b", f"{index}")
    assert wire.states("a", "failed") == [f"{limits.TALK_QUEUE_MAX}"]
    assert wire.reasons("a") == [direct.QUEUE_FULL]


def test_a_text_to_oneself_or_too_long_is_refused(wire: Wire) -> None:
    wire.tell("a", "a", "x")
    wire.tell("a", "b", "ä" * limits.TEXT_BYTES_MAX)
    assert wire.reasons("a") == [direct.TO_ONESELF, direct.TOO_LONG]
    assert wire.seen == []


def test_one_talk_too_many_closes_the_one_idle_longest() -> None:
    wire = Wire(random.Random(3))
    wire.add("m")
    others = [f"n{index:03}" for index in range(limits.TALKS_MAX + 1)]
    for other in others:
        wire.add(other)
        wire.tell("m", other, "x")
        wire.run(100)
    wire.run(300)
    assert len(wire.states("m", "delivered")) == limits.TALKS_MAX + 1
    assert wire.cores["m"].describe() == f"open={limits.TALKS_MAX}"
    assert wire.cores[others[0]].describe() == ""


def test_more_talks_at_once_than_there_is_room_for_are_refused() -> None:
    wire = Wire(random.Random(3), loss=1.0)
    core = wire.add("m")
    for index in range(limits.TALKS_MAX + 1):
        wire.perform("m", core.tell("x", None, member(f"n{index:03}"), 0))
    assert wire.reasons("m") == [direct.TOO_MANY_TALKS]
    assert core.called(member("z"), CallUp(CallUpKind.RING, 1), 0) == ([], [])


@pytest.mark.parametrize(
    "call_up",
    [
        CallUp(CallUpKind.OFFER, 1, ("tcp://127.0.0.1:1",), "t"),  # to the binding end
        CallUp(CallUpKind.RING, 2**40),
    ],
)
def test_a_call_up_that_makes_no_sense_is_ignored(call_up: CallUp) -> None:
    assert Direct("a", "s").called(member("b"), call_up, 0) == ([], [])


@pytest.mark.parametrize(
    "call_up",
    [
        CallUp(CallUpKind.RING, 1),  # to the connecting end
        CallUp(CallUpKind.OFFER, 1, (), "t"),
        CallUp(CallUpKind.OFFER, 1, ("ipc:///etc/x",), "t"),
        CallUp(CallUpKind.OFFER, 1, ("tcp://127.0.0.1:1",), ""),
    ],
)
def test_an_offer_that_makes_no_sense_is_ignored(call_up: CallUp) -> None:
    assert Direct("b", "s").called(member("a"), call_up, 0) == ([], [])


def _bound(now_ms: int = 0) -> tuple[Direct, CallUp]:
    """A binding core that waits for the other's hello, and what it offered."""
    core = Direct("a", "s", "ana")
    core.tell("x", None, member("b"), now_ms)
    commands, _ = core.handle(LinkBound(LinkId("talk-1"), ("tcp://127.0.0.1:9",)), now_ms)
    (call,) = commands
    assert isinstance(call, CallOut)
    assert call.call_up.kind is CallUpKind.OFFER
    return core, call.call_up


@pytest.mark.parametrize("wrong", ["token", "peer", "generation", "no hello"])
def test_a_stranger_on_the_endpoint_makes_a_new_one(wrong: str) -> None:
    core, offer = _bound()
    hello: Message = TalkHello(
        "no" if wrong == "token" else offer.token,
        "c" if wrong == "peer" else "b",
        "bo",
        7 if wrong == "generation" else offer.generation,
        "t",
    )
    if wrong == "no hello":
        hello = TalkPing(1)
    commands, notices = core.handle(Received(LinkId("talk-1"), hello), 10)
    assert commands[0] == CloseLink(LinkId("talk-1"))
    assert notices == []
    assert core.describe() == "lost=1"
    commands, _ = core.handle(TimerFired("talk.b"), 200)
    assert commands[0] == OpenLink(LinkId("talk-2"), LinkKind.TALK_BIND)
    commands, _ = core.handle(LinkBound(LinkId("talk-2"), ("tcp://127.0.0.1:10",)), 200)
    assert isinstance(commands[0], CallOut)
    assert commands[0].call_up.generation == offer.generation + 1
    assert commands[0].call_up.token != offer.token


def test_a_connection_without_the_others_hello_is_given_up_and_a_new_endpoint_asked_for() -> None:
    core = Direct("z", "s")
    core.tell("x", None, member("m"), 0)
    core.called(member("m"), CallUp(CallUpKind.OFFER, 1, ("tcp://127.0.0.1:1",), "t"), 10)
    commands, _ = core.handle(LinkUp(LinkId("talk-1")), 20)
    assert commands == [Send(LinkId("talk-1"), TalkHello("t", "z", "", 1, "s"))]
    core.handle(TimerFired("talk.m"), 1_010)
    commands, _ = core.handle(TimerFired("talk.m"), 2_010)
    assert commands[0] == CloseLink(LinkId("talk-1"))
    commands, _ = core.handle(TimerFired("talk.m"), 2_110)
    assert commands[0] == CallOut("m", CallUp(CallUpKind.RING, 2))


def test_the_binding_end_says_nothing_before_it_knows_who_came() -> None:
    core, _ = _bound()
    assert core.handle(LinkUp(LinkId("talk-1")), 1) == ([], [])


def _opened() -> Direct:
    core, offer = _bound()
    core.handle(Received(LinkId("talk-1"), TalkHello(offer.token, "b", "bo", offer.generation, "t")), 5)
    assert core.describe() == "open=1"
    return core


def test_a_text_that_comes_twice_is_shown_once_and_acknowledged_twice() -> None:
    core = _opened()
    for shown in (1, 0):
        commands, notices = core.handle(Received(LinkId("talk-1"), TalkText("t", 1, "hi")), 10)
        assert len(notices) == shown
        assert commands == [Send(LinkId("talk-1"), TalkGot("t", 1))]


def test_a_text_after_a_lost_one_is_not_shown() -> None:
    core = _opened()
    commands, notices = core.handle(Received(LinkId("talk-1"), TalkText("t", 5, "hi", after=4)), 10)
    assert notices == []
    assert commands[0] == CloseLink(LinkId("talk-1"))


def test_a_refused_send_is_a_broken_link() -> None:
    core = _opened()
    commands, _ = core.handle(SendRefused(LinkId("talk-1"), TalkText("s", 1, "x"), b"", "full"), 10)
    assert commands[0] == CloseLink(LinkId("talk-1"))
    assert core.describe() == "lost=1"


def test_events_of_a_closed_link_mean_nothing() -> None:
    core = _opened()
    core.handle(LinkDown(LinkId("talk-1"), "cut"), 10)
    for event in (LinkUp(LinkId("talk-1")), Received(LinkId("talk-1"), TalkPing(1)), LinkDown(LinkId("talk-1"), "")):
        assert core.handle(event, 11) == ([], [])


def test_it_owns_its_links_and_timers_only() -> None:
    core = Direct("a", "s")
    assert core.owns(LinkUp(LinkId("talk-1")))
    assert core.owns(TimerFired("talk.b"))
    assert not core.owns(LinkUp(LinkId("room-1")))
    assert not core.owns(TimerFired("zdns.1"))
    assert not core.owns(Started("n", 0))


def test_names_follow_renamings() -> None:
    core = _opened()
    core.set_nick("anna")
    core.renamed("b", "bob")
    _, notices = core.handle(Received(LinkId("talk-1"), TalkText("t", 1, "hi")), 10)
    assert (notices[0].sender, notices[0].to) == ("bob", "anna")


def _in_phase(phase: Phase, binds: bool) -> Direct:
    """A core whose talk with `m` is in `phase`."""
    core = Direct("a" if binds else "z", "s")
    other = member("m")
    if phase is Phase.CLOSED:
        return core
    if phase is Phase.INVITED:
        kind = CallUpKind.RING if binds else CallUpKind.OFFER
        core.called(other, CallUp(kind, 1, ("tcp://127.0.0.1:1",), "t"), 0)
        return core
    core.tell("x", None, other, 0)
    token = "t"
    if binds:
        commands, _ = core.handle(LinkBound(LinkId("talk-1"), ("tcp://127.0.0.1:1",)), 0)
        assert isinstance(commands[0], CallOut)
        token = commands[0].call_up.token
    elif phase is not Phase.INVITING:
        core.called(other, CallUp(CallUpKind.OFFER, 1, ("tcp://127.0.0.1:1",), token), 0)
    if phase is Phase.OPEN:
        core.handle(Received(LinkId("talk-1"), TalkHello(token, "m", "mo", 1, "t")), 0)
    if phase is Phase.LOST:
        core.handle(LinkDown(LinkId("talk-1"), ""), 0)
    return core


_EVENTS: list[Event] = [
    LinkBound(LinkId("talk-1"), ("tcp://127.0.0.1:1",)),
    LinkUp(LinkId("talk-1")),
    LinkDown(LinkId("talk-1"), ""),
    SendRefused(LinkId("talk-1"), TalkPing(1), b"", ""),
    TimerFired("talk.m"),
    *[
        Received(LinkId("talk-1"), message)
        for message in (
            TalkHello("t", "m", "mo", 1, "t"),
            TalkText("t", 1, "hi"),
            TalkText("other", 1, "hi"),
            TalkGot("s", 9),
            TalkPing(1),
            TalkBye(),
        )
    ],
]


@pytest.mark.parametrize("binds", [True, False])
@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_meets_every_event(phase: Phase, binds: bool) -> None:
    for event in _EVENTS:
        core = _in_phase(phase, binds)
        expected = "" if phase is Phase.CLOSED else f"{phase.value}=1"
        assert core.describe() == expected
        core.handle(event, 100)
        for kind in CallUpKind:
            for generation in (0, 1, 2, 9):
                core.called(member("m"), CallUp(kind, generation, ("tcp://127.0.0.1:1",), "t"), 200)
        core.absent("m", 300)
        _, notices = core.leave(400)
        assert core.describe() == ""
        assert all(notice.state in ("received", "delivered", "failed") for notice in notices)


# --- many random runs ------------------------------------------------------------------------------------------------

_ACTS = st.one_of(
    st.tuples(st.just("tell"), st.sampled_from("abc"), st.sampled_from("abc")),
    st.tuples(st.just("wait"), st.sampled_from([0, 1, 5, 40, 700, 3_000])),
    st.tuples(st.just("cut"), st.booleans()),
    st.tuples(st.just("loss"), st.sampled_from([0.0, 0.3, 0.8])),
)


@settings(max_examples=150, deadline=None)
@given(acts=st.lists(_ACTS, max_size=30), seed=st.integers(0, 2**16))
def test_every_text_is_shown_at_most_once_in_order_and_delivered_means_shown(
    acts: list[tuple[object, ...]], seed: int
) -> None:
    wire = Wire(random.Random(seed))
    for peer in "abc":
        wire.add(peer)
    for index, act in enumerate(acts):
        match act:
            case ("tell", str(sender), str(receiver)):
                if sender != receiver:
                    wire.tell(sender, receiver, f"{index:03} {sender}{receiver}")
            case ("wait", int(wait_ms)):
                wire.run(wait_ms)
            case ("cut", bool(told)):
                wire.cut(told=told)
            case ("loss", float(loss)):
                wire.loss = loss
        for core in wire.cores.values():
            assert core.describe().count("=") <= 3
    wire.loss = 0.0
    wire.run(limits.TALK_DEADLINE_MS + limits.TALK_SILENCE_MS)
    _check_promises(wire)
    before = {peer: len(notices) for peer, notices in wire.notices.items()}
    for sender, receiver in ("ab", "bc", "ca"):
        wire.tell(sender, receiver, f"999 {sender}{receiver}")
    wire.run(limits.TALK_SILENCE_MS + 3 * limits.TALK_STEP_MS)
    for peer in "abc":
        assert [notice.state for notice in wire.notices[peer][before[peer] :]].count("delivered") == 1


def _check_promises(wire: Wire) -> None:
    for peer in "abc":
        queued = wire.states(peer, "queued")
        delivered = wire.states(peer, "delivered")
        failed = wire.states(peer, "failed")
        assert sorted(delivered + failed) == sorted(queued)
        for other in "abc":
            mine = [text for text in wire.states(other, "received") if text.endswith(f"{peer}{other}")]
            assert mine == sorted(set(mine)), "shown once each, in the order they were told"
            assert [text for text in delivered if text.endswith(f"{peer}{other}") and text not in mine] == []
