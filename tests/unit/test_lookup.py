"""Asking zdns: attempts, back-off, addresses in turn, deadlines, a bounded queue."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import identity, limits
from wire.errors import RefusalCode
from wire.identity import Credentials, KeyPair
from wire.messages import Admit, Admitted, DnsReply, Done, NameState, Published, Refused, Renew, Resolve, Resolved
from wire.names import LinkId
from wire.step import (
    CloseLink,
    Command,
    Event,
    Garbled,
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
from zdns.lookup import Answered, Lookup, Outcome, Phase, Unanswered

HERE, THERE = "tcp://here:8000", "tcp://there:8000"
QUESTION = Resolve(0, limits.PROTOCOL, "backend.com")


def question(ask: int) -> Resolve:
    return Resolve(ask, limits.PROTOCOL, "backend.com")


def answer(ask: int) -> DnsReply:
    return Resolved(ask, NameState.FREE, None, ())


def timer(commands: list[Command], what: str) -> str:
    """The name of the one timer of this sort that the commands start."""
    names = [c.name for c in commands if isinstance(c, StartTimer) and what in c.name]
    assert len(names) == 1, commands
    return names[0]


def link(commands: list[Command]) -> LinkId:
    links = [c.link for c in commands if isinstance(c, OpenLink)]
    assert len(links) == 1, commands
    return links[0]


def test_a_question_opens_a_link_and_is_numbered() -> None:
    ask, commands = Lookup([HERE]).ask(QUESTION, 0)
    assert ask == 1
    assert commands == [
        StartTimer("zdns.deadline-1", limits.DNS_DEADLINE_MS),
        OpenLink(LinkId("zdns-1"), LinkKind.DNS_ASK, HERE),
        Send(LinkId("zdns-1"), question(1)),
        StartTimer("zdns.attempt-1", limits.DNS_ATTEMPT_MS),
    ]


def test_an_answer_ends_the_question_and_keeps_the_link_for_the_next() -> None:
    lookup = Lookup([HERE])
    ask, commands = lookup.ask(QUESTION, 0)
    opened = link(commands)
    commands, outcomes = lookup.handle(Received(opened, answer(ask)), 5)
    assert outcomes == [Answered(ask, question(ask), answer(ask))]
    assert commands == [StopTimer("zdns.attempt-1"), StopTimer("zdns.deadline-1")]
    again, commands = lookup.ask(QUESTION, 10)
    assert again == ask + 1
    assert [c for c in commands if not isinstance(c, StartTimer)] == [Send(opened, question(again))]
    assert not lookup.silent


def test_questions_leave_one_at_a_time_in_order() -> None:
    lookup = Lookup([HERE])
    first, commands = lookup.ask(QUESTION, 0)
    second, later = lookup.ask(Renew(0, "backend.com", "me"), 0)
    assert later == [StartTimer("zdns.deadline-2", limits.DNS_DEADLINE_MS)]
    opened = link(commands)
    commands, outcomes = lookup.handle(Received(opened, answer(first)), 1)
    assert [o.ask for o in outcomes] == [first]
    assert Send(opened, Renew(second, "backend.com", "me")) in commands
    commands, outcomes = lookup.handle(Received(opened, Done(second)), 2)
    assert outcomes == [Answered(second, Renew(second, "backend.com", "me"), Done(second))]
    assert lookup.phase is Phase.IDLE


def test_silence_throws_the_link_away_and_asks_at_the_next_address() -> None:
    lookup = Lookup([HERE, THERE])
    ask, commands = lookup.ask(QUESTION, 0, None)
    opened = link(commands)
    commands, outcomes = lookup.handle(TimerFired(timer(commands, "attempt")), 700)
    assert outcomes == []
    assert commands == [
        StopTimer("zdns.attempt-1"),
        CloseLink(opened),
        StartTimer("zdns.back-off-2", limits.DNS_BACKOFF_MS),
    ]
    assert lookup.silent
    commands, _ = lookup.handle(TimerFired("zdns.back-off-2"), 800)
    assert OpenLink(LinkId("zdns-2"), LinkKind.DNS_ASK, THERE) in commands
    assert Send(LinkId("zdns-2"), question(ask)) in commands
    _, outcomes = lookup.handle(Received(LinkId("zdns-2"), answer(ask)), 801)
    assert [o.ask for o in outcomes] == [ask]
    assert not lookup.silent


def test_addresses_are_tried_in_turn_and_the_back_off_doubles_to_its_bound() -> None:
    lookup = Lookup([HERE, THERE])
    _, commands = lookup.ask(QUESTION, 0, None)
    endpoints, delays = [], []
    for _ in range(8):
        endpoints += [c.endpoint for c in commands if isinstance(c, OpenLink)]
        commands, _ = lookup.handle(TimerFired(timer(commands, "attempt")), 0)
        delays += [c.delay_ms for c in commands if isinstance(c, StartTimer)]
        commands, _ = lookup.handle(TimerFired(timer(commands, "back-off")), 0)
    assert endpoints == [HERE, THERE] * 4
    assert delays == [100, 200, 400, 500, 500, 500, 500, 500]


def test_whoever_has_been_asking_for_long_is_back_within_the_grace_of_a_zdns_that_starts_again() -> None:
    """Even if it starts again just when an attempt was given up: this one has the longest way to go."""
    lookup = Lookup([HERE])
    _, commands = lookup.ask(QUESTION, 0, None)
    for _ in range(20):
        commands, _ = lookup.handle(TimerFired(timer(commands, "attempt")), 0)
        delay_ms = max(c.delay_ms for c in commands if isinstance(c, StartTimer))
        assert delay_ms < limits.GRACE_MS
        commands, _ = lookup.handle(TimerFired(timer(commands, "back-off")), 0)


def test_an_answer_resets_the_back_off() -> None:
    lookup = Lookup([HERE])
    ask, commands = lookup.ask(QUESTION, 0, None)
    for _ in range(3):
        commands, _ = lookup.handle(TimerFired(timer(commands, "attempt")), 0)
        commands, _ = lookup.handle(TimerFired(timer(commands, "back-off")), 0)
    lookup.handle(Received(link(commands), answer(ask)), 0)
    _, commands = lookup.ask(QUESTION, 0, None)
    commands, _ = lookup.handle(TimerFired(timer(commands, "attempt")), 0)
    assert [c.delay_ms for c in commands if isinstance(c, StartTimer)] == [limits.DNS_BACKOFF_MS]


def test_an_answer_resets_the_back_off_of_the_questions_that_wait_behind_it() -> None:
    lookup = Lookup([HERE])
    ask, commands = lookup.ask(QUESTION, 0, None)
    lookup.ask(QUESTION, 0, None)
    for _ in range(3):
        commands, _ = lookup.handle(TimerFired(timer(commands, "attempt")), 0)
        commands, _ = lookup.handle(TimerFired(timer(commands, "back-off")), 0)
    commands, _ = lookup.handle(Received(link(commands), answer(ask)), 0)
    commands, _ = lookup.handle(TimerFired(timer(commands, "attempt")), 0)
    assert [c.delay_ms for c in commands if isinstance(c, StartTimer)] == [limits.DNS_BACKOFF_MS]


def test_the_deadline_ends_a_question_with_a_sentence_naming_where_it_was_asked() -> None:
    lookup = Lookup([HERE, THERE])
    ask, commands = lookup.ask(QUESTION, 1_000, 300)
    opened = link(commands)
    commands, outcomes = lookup.handle(TimerFired(f"zdns.deadline-{ask}"), 1_300)
    why = f"no answer from zdns at {HERE}, {THERE} within 0.3 s"
    assert outcomes == [Unanswered(ask, question(ask), why)]
    assert CloseLink(opened) in commands
    assert lookup.silent
    assert lookup.phase is Phase.IDLE
    _, commands = lookup.ask(QUESTION, 1_400)
    assert [c.endpoint for c in commands if isinstance(c, OpenLink)] == [THERE]


def test_a_deadline_while_backing_off_ends_the_question_and_the_back_off() -> None:
    lookup = Lookup([HERE])
    ask, commands = lookup.ask(QUESTION, 0)
    commands, _ = lookup.handle(TimerFired(timer(commands, "attempt")), 700)
    waiting = timer(commands, "back-off")
    commands, outcomes = lookup.handle(TimerFired(f"zdns.deadline-{ask}"), 750)
    assert [o.ask for o in outcomes] == [ask]
    assert commands == [StopTimer(waiting)]
    assert lookup.handle(TimerFired(waiting), 800) == ([], [])


def test_a_deadline_behind_the_head_leaves_the_head_alone() -> None:
    lookup = Lookup([HERE])
    first, commands = lookup.ask(QUESTION, 0, None)
    second, _ = lookup.ask(QUESTION, 0, 100)
    got, outcomes = lookup.handle(TimerFired(f"zdns.deadline-{second}"), 100)
    assert (got, [type(o) for o in outcomes]) == ([], [Unanswered])
    _, outcomes = lookup.handle(Received(link(commands), answer(first)), 101)
    assert [o.ask for o in outcomes] == [first]


def test_the_next_question_goes_on_at_once_when_the_head_runs_out_of_time() -> None:
    lookup = Lookup([HERE])
    first, commands = lookup.ask(QUESTION, 0, 100)
    second, _ = lookup.ask(QUESTION, 0, None)
    stale = link(commands)
    commands, outcomes = lookup.handle(TimerFired(f"zdns.deadline-{first}"), 100)
    assert [o.ask for o in outcomes] == [first]
    assert CloseLink(stale) in commands
    assert Send(link(commands), question(second)) in commands
    assert lookup.handle(Received(stale, answer(second)), 101) == ([], [])


def test_answers_that_belong_to_nothing_are_ignored() -> None:
    lookup = Lookup([HERE])
    ask, commands = lookup.ask(QUESTION, 0)
    opened = link(commands)
    for event in (
        Received(opened, answer(ask + 1)),
        Received(LinkId("zdns-9"), answer(ask)),
        Received(opened, Published(1, 1, 1)),
        Started("n", 0),
        TimerFired("zdns.attempt-99"),
        LinkUp(opened),
        LinkDown(LinkId("zdns-9"), "gone"),
    ):
        assert lookup.handle(event, 1) == ([], []), event
    assert lookup.phase is Phase.WAITING


def test_a_refusal_without_a_number_answers_the_question_that_is_out() -> None:
    lookup = Lookup([HERE])
    ask, commands = lookup.ask(QUESTION, 0)
    refusal = Refused(0, RefusalCode.MALFORMED, "what?")
    _, outcomes = lookup.handle(Received(link(commands), refusal), 1)
    assert outcomes == [Answered(ask, question(ask), refusal)]


@pytest.mark.parametrize(
    "event",
    [
        LinkDown(LinkId("zdns-1"), "no such host"),
        Garbled(LinkId("zdns-1"), "noise"),
        SendRefused(LinkId("zdns-1"), QUESTION, b"", "full"),
    ],
)
def test_a_link_that_fails_at_once_is_a_silent_attempt(event: Event) -> None:
    lookup = Lookup([HERE, THERE])
    lookup.ask(QUESTION, 0, None)
    commands, outcomes = lookup.handle(event, 1)
    assert outcomes == []
    assert CloseLink(LinkId("zdns-1")) in commands
    assert lookup.phase is Phase.BACKING_OFF
    assert lookup.handle(event, 2) == ([], [])


def test_a_kept_link_that_breaks_is_closed() -> None:
    lookup = Lookup([HERE])
    ask, commands = lookup.ask(QUESTION, 0)
    opened = link(commands)
    lookup.handle(Received(opened, answer(ask)), 1)
    assert lookup.handle(LinkDown(opened, "broke"), 2) == ([CloseLink(opened)], [])
    _, commands = lookup.ask(QUESTION, 3)
    assert link(commands) != opened


def test_more_questions_than_the_queue_holds_are_turned_away_at_once() -> None:
    lookup = Lookup([HERE])
    for _ in range(limits.DNS_PENDING_MAX):
        lookup.ask(QUESTION, 0)
    ask, commands = lookup.ask(QUESTION, 0)
    assert commands == [StartTimer(f"zdns.deadline-{ask}", 0)]
    _, outcomes = lookup.handle(TimerFired(f"zdns.deadline-{ask}"), 0)
    assert [(o.ask, type(o)) for o in outcomes] == [(ask, Unanswered)]
    assert lookup.handle(TimerFired(f"zdns.deadline-{ask}"), 0) == ([], [])


def test_cancelling_the_question_that_is_out_sends_the_next_on_a_fresh_link() -> None:
    lookup = Lookup([HERE, THERE])
    first, commands = lookup.ask(QUESTION, 0)
    second, _ = lookup.ask(QUESTION, 0)
    stale = link(commands)
    commands = lookup.cancel(first)
    assert StopTimer(f"zdns.deadline-{first}") in commands
    assert CloseLink(stale) in commands
    assert Send(link(commands), question(second)) in commands
    assert not lookup.silent
    assert lookup.cancel(first) == []


def test_closing_leaves_nothing_running() -> None:
    lookup = Lookup([HERE])
    ask, commands = lookup.ask(QUESTION, 0)
    lookup.ask(QUESTION, 0, None)
    opened = link(commands)
    assert lookup.close() == [StopTimer("zdns.deadline-1"), StopTimer("zdns.attempt-1"), CloseLink(opened)]
    assert lookup.handle(Received(opened, answer(ask)), 1) == ([], [])
    assert lookup.close() == []


def test_it_owns_its_links_and_timers_and_nothing_else() -> None:
    lookup = Lookup([HERE])
    assert lookup.owns(Received(LinkId("zdns-7"), answer(1)))
    assert lookup.owns(LinkDown(LinkId("zdns-7"), "gone"))
    assert lookup.owns(TimerFired("zdns.attempt-7"))
    assert not lookup.owns(Received(LinkId("room"), answer(1)))
    assert not lookup.owns(TimerFired("ping"))
    assert not lookup.owns(Started("n", 0))


def test_a_lookup_without_an_address_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="address"):
        Lookup([])


class Stage:
    """Performs what a lookup says, and holds it to one question at a time on a link."""

    def __init__(self) -> None:
        self.lookup = Lookup([HERE, THERE])
        self.timers: dict[str, int] = {}
        self.links: dict[LinkId, list[int]] = {}
        self.ended: list[int] = []
        self.now_ms = 0

    def perform(self, commands: list[Command], outcomes: list[Outcome]) -> None:
        for command in commands:
            match command:
                case StartTimer(name, delay_ms):
                    self.timers[name] = self.now_ms + delay_ms
                case StopTimer(name):
                    self.timers.pop(name, None)
                case OpenLink(opened):
                    assert opened not in self.links
                    self.links[opened] = []
                case CloseLink(closed):
                    del self.links[closed]
                case Send(used, message):
                    assert isinstance(message, Resolve)
                    assert self.links[used] == [], "a second question on a link that owes an answer"
                    self.links[used].append(message.ask)
        self.ended += [outcome.ask for outcome in outcomes]
        assert len(self.links) <= 1

    def next_timer(self) -> None:
        if self.timers:
            name = min(self.timers, key=lambda name: (self.timers[name], name))
            self.now_ms = max(self.now_ms, self.timers.pop(name))
            self.perform(*self.lookup.handle(TimerFired(name), self.now_ms))

    def reply(self) -> None:
        for opened, asks in list(self.links.items()):
            if asks:
                self.perform(*self.lookup.handle(Received(opened, answer(asks.pop())), self.now_ms))


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("ask"), st.none() | st.integers(0, 8_000)),
            st.tuples(st.just("timer"), st.none()),
            st.tuples(st.just("reply"), st.none()),
            st.tuples(st.just("break"), st.none()),
            st.tuples(st.just("cancel"), st.integers(1, 20)),
        ),
        max_size=40,
    )
)
def test_every_question_ends_exactly_once_and_none_is_left(steps: list[tuple[str, int | None]]) -> None:
    stage = Stage()
    asked: list[int] = []
    cancelled: list[int] = []
    for step, number in steps:
        match step, number:
            case "ask", _:
                ask, commands = stage.lookup.ask(QUESTION, stage.now_ms, number)
                asked.append(ask)
                stage.perform(commands, [])
            case "timer", _:
                stage.next_timer()
            case "reply", _:
                stage.reply()
            case "break", _:
                for opened in list(stage.links):
                    stage.perform(*stage.lookup.handle(LinkDown(opened, "broke"), stage.now_ms))
            case "cancel", int():
                if number in asked and number not in stage.ended:
                    cancelled.append(number)
                stage.perform(stage.lookup.cancel(number), [])
    for _ in range(4 * len(asked) + 4):
        stage.reply()
        stage.next_timer()
    assert sorted(stage.ended) == sorted(set(asked) - set(cancelled))
    assert stage.lookup.phase is Phase.IDLE
    assert not stage.timers


# --- a closed network ---

MINE = Credentials(KeyPair("m" * 40, "hush"), "z" * 40, b"secret")


def lookup_closed(*endpoints: str, token: bytes = b"") -> Lookup:
    return Lookup(endpoints or (HERE,), MINE, token)


def last_sent(commands: list[Command]) -> object:
    return [command.message for command in commands if isinstance(command, Send)][-1]


def admit(ask: int, token: bytes = b"") -> Admit:
    proof = identity.proof(b"secret", "z" * 40, "m" * 40)
    return Admit(ask, limits.PROTOCOL, "backend.com", proof, token)


def test_the_ticket_is_shown_before_the_first_question() -> None:
    lookup = lookup_closed(token=b"old")
    ask, commands = lookup.ask(QUESTION, 0)
    assert OpenLink(LinkId("zdns-1"), LinkKind.DNS_ASK, HERE, key="z" * 40) in commands
    assert last_sent(commands) == admit(ask, b"old")
    commands, outcomes = lookup.handle(Received(LinkId("zdns-1"), Admitted(ask, b"permit", b"new")), 1)
    assert outcomes == []
    assert last_sent(commands) == question(ask)
    assert (lookup.permit, lookup.token, lookup.is_admitted) == (b"permit", b"new", True)
    _, outcomes = lookup.handle(Received(LinkId("zdns-1"), answer(ask)), 2)
    assert outcomes == [Answered(ask, question(ask), answer(ask))]
    _, commands = lookup.ask(QUESTION, 3)
    assert last_sent(commands) == question(ask + 1)


def test_it_is_shown_again_to_a_zdns_that_has_forgotten_or_when_a_server_wants_another_permit() -> None:
    lookup = lookup_closed()
    ask, _ = lookup.ask(QUESTION, 0)
    lookup.handle(Received(LinkId("zdns-1"), Admitted(ask, b"permit", b"new")), 1)
    forgotten = Refused(ask, RefusalCode.NOT_ADMITTED, "who are you")
    commands, outcomes = lookup.handle(Received(LinkId("zdns-1"), forgotten), 2)
    assert (last_sent(commands), outcomes) == (admit(ask, b"new"), [])
    lookup.handle(Received(LinkId("zdns-1"), Admitted(ask, b"permit", b"new")), 3)
    lookup.handle(Received(LinkId("zdns-1"), answer(ask)), 4)
    lookup.show_ticket_again()
    ask, commands = lookup.ask(QUESTION, 5)
    assert last_sent(commands) == admit(ask, b"new")


@pytest.mark.parametrize("code", [RefusalCode.BAD_TICKET, RefusalCode.BANNED, RefusalCode.VERSION])
def test_a_ticket_that_is_turned_down_is_the_answer(code: RefusalCode) -> None:
    lookup = lookup_closed()
    ask, _ = lookup.ask(QUESTION, 0)
    refused = Refused(ask, code, "no")
    _, outcomes = lookup.handle(Received(LinkId("zdns-1"), refused), 1)
    assert outcomes == [Answered(ask, question(ask), refused)]


def test_on_an_open_network_a_refusal_is_the_answer() -> None:
    lookup = Lookup([HERE])
    ask, commands = lookup.ask(QUESTION, 0)
    assert last_sent(commands) == question(ask)
    refused = Refused(ask, RefusalCode.NOT_ADMITTED, "no")
    assert lookup.handle(Received(LinkId("zdns-1"), refused), 1)[1] == [Answered(ask, question(ask), refused)]


def test_when_it_is_hopeless_everywhere_whoever_waits_is_told_and_the_next_one_tries_again() -> None:
    lookup = Lookup([HERE, THERE])
    ask, _ = lookup.ask(QUESTION, 0)
    commands, outcomes = lookup.handle(LinkDown(LinkId("zdns-1"), "it is closed", hopeless=True), 1)
    assert outcomes == []
    commands, _ = lookup.handle(TimerFired(timer(commands, "back-off")), 200)
    commands, outcomes = lookup.handle(LinkDown(link(commands), "it is closed", hopeless=True), 201)
    assert outcomes == [Unanswered(ask, question(ask), "zdns at there:8000: it is closed", hopeless=True)]
    assert StopTimer(f"zdns.deadline-{ask}") in commands
    assert lookup.phase is Phase.IDLE
    _, commands = lookup.ask(QUESTION, 300)
    assert OpenLink(link(commands), LinkKind.DNS_ASK, HERE) in commands
