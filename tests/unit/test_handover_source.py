"""Giving the room away: each step, each failure before the commit point, and doubt after it."""

from typing import Any

import pytest

from broker.handover_source import (
    PREPARED,
    RECLAIM,
    STEP,
    TRANSFER,
    Announce,
    GaveUp,
    HandedOver,
    HandoverSource,
    LetGo,
    Overtaken,
    Phase,
    Reclaim,
    Result,
    SealNow,
)
from broker.history import History
from wire import limits
from wire.errors import RefusalCode
from wire.messages import (
    Accept,
    Credit,
    Decline,
    DnsRequest,
    Dump,
    Entry,
    Granted,
    LinkAsk,
    LinkAt,
    Message,
    Offer,
    Pick,
    Picked,
    Ready,
    Record,
    Refused,
    Released,
    RoomState,
    Sealed,
    ServerInfo,
    SetInSync,
    TakeOver,
    Took,
    Transfer,
    Withdraw,
)
from wire.names import LinkId
from wire.step import Command, OpenLink, Send, StartTimer

ME = ServerInfo("me", "ana", ("tcp://a:1",), ("tcp://a:2",))
TARGET = ServerInfo("target", "bo", ("tcp://b:1",), ("tcp://b:2",))
OTHER = ServerInfo("other", "cy", ("tcp://c:1",), ("tcp://c:2",))
STATE = RoomState((), 0, 0, True, 0, ())
MOVE = "n-m1"


def record(epoch: int, version: int, active: ServerInfo = ME) -> Record:
    return Record("backend.com", epoch, version, "log", active, (active,))


class Bench:
    """A source and everything it said."""

    def __init__(self, entries: int = 3, text: str = "x") -> None:
        self.asked: list[tuple[DnsRequest, int | None]] = []
        self.sent: list[Message] = []
        self.opened: list[OpenLink] = []
        self.verdicts: list[object] = []
        self.history = History("log")
        self.grow(entries, text)
        self.source = HandoverSource(service="backend.com", nonce="n", ask=self.ask)

    def grow(self, count: int, text: str = "x") -> None:
        for _ in range(count):
            seq = self.history.head + 1
            self.history.append(Entry(seq, 1, "p", "s", seq, 0, "ana", text))

    def ask(self, request: DnsRequest, deadline_ms: int | None) -> list[Command]:
        self.asked.append((request, deadline_ms))
        return []

    def note(self, result: Result) -> list[object]:
        commands, verdicts = result
        self.commands = commands
        self.sent += [command.message for command in commands if isinstance(command, Send)]
        self.opened += [command for command in commands if isinstance(command, OpenLink)]
        self.verdicts += verdicts
        return list(verdicts)

    def hear(self, message: Message, now_ms: int = 0) -> list[object]:
        return self.note(self.source.received(self.opened[-1].link, message, now_ms))

    def answer(self, reply: Any) -> list[object]:
        return self.note(self.source.answered(self.asked[-1][0], reply))

    def to(self, phase: Phase) -> "Bench":
        """Walk the happy path as far as `phase`."""
        steps = {
            Phase.PICKING: lambda: self.note(
                self.source.begin(me=ME, record=record(4, 7), history=self.history, exclude=(), to="")
            ),
            Phase.LINKING: lambda: self.answer(Picked(0, TARGET)),
            Phase.OFFERED: lambda: self.hear(LinkAt(MOVE, ("tcp://b:9",))),
            Phase.DUMPING: lambda: self.hear(Accept(MOVE, 0)),
            Phase.PREPARED: lambda: self.hear(Credit(MOVE, self.history.head)),
            Phase.SEALED: self.seal,
            Phase.TRANSFERRING: lambda: self.hear(Ready(MOVE, self.history.digest())),
            Phase.RETIRED: lambda: self.answer(Granted(0, record(5, 9, TARGET))),
        }
        for reached, step in steps.items():
            if self.source.phase is Phase.DUMPING and reached is Phase.PREPARED and phase is Phase.DUMPING:
                break
            step()
            if reached is phase:
                break
        assert self.source.phase is phase
        return self

    def seal(self) -> None:
        self.note(self.source.timer(PREPARED))
        assert SealNow(record(4, 8)) in self.answer(Granted(0, record(4, 8)))
        self.note(self.source.sealed(self.history.head, self.history.digest(), STATE, 50))


def test_the_whole_way_in_its_order() -> None:
    bench = Bench().to(Phase.RETIRED)
    assert [type(message) for message in bench.sent] == [LinkAsk, Offer, Dump, Sealed, TakeOver]
    released = bench.opened[-1].link
    assert [type(request) for request, _ in bench.asked] == [Pick, SetInSync, Transfer]
    assert bench.verdicts == [Announce(TARGET), SealNow(record(4, 8)), HandedOver(record(5, 9, TARGET))]
    assert bench.hear(Took(MOVE, 5)) == [LetGo()]
    assert bench.commands[0] == Send(released, Released(MOVE))
    assert bench.source.phase is Phase.IDLE


def test_a_transfer_is_asked_for_without_a_deadline_and_compares_epoch_and_version() -> None:
    bench = Bench().to(Phase.TRANSFERRING)
    assert bench.asked[-1] == (Transfer(0, "backend.com", "me", 4, 8, "target"), None)


def test_it_seals_only_when_clients_had_their_moment_and_zdns_has_just_written() -> None:
    bench = Bench().to(Phase.PREPARED)
    assert not any(isinstance(request, SetInSync) for request, _ in bench.asked)
    assert bench.note(bench.source.timer(PREPARED)) == []
    assert bench.answer(Granted(0, record(4, 8))) == [SealNow(record(4, 8))]


def test_the_dump_is_sent_in_chunks_within_its_credit_and_follows_what_is_new() -> None:
    bench = Bench(entries=400, text="x" * 8_000).to(Phase.OFFERED)
    bench.hear(Accept(MOVE, 0))
    dumps = [message for message in bench.sent if isinstance(message, Dump)]
    assert len(dumps) == limits.CHUNKS_IN_FLIGHT
    assert all(len(dump.block) <= limits.BLOCK_BYTES_MAX + 16 for dump in dumps)
    have = 0
    while bench.source.phase is Phase.DUMPING:
        dump = next(message for message in bench.sent if isinstance(message, Dump) and message.first == have + 1)
        have = dump.first + dump.count - 1
        bench.hear(Credit(MOVE, have))
    bench.grow(5)
    bench.note(bench.source.pump(0))
    dumps = [message for message in bench.sent if isinstance(message, Dump)]
    covered = [seq for dump in dumps for seq in range(dump.first, dump.first + dump.count)]
    assert covered == list(range(1, len(covered) + 1))


def test_the_seal_follows_the_last_entry() -> None:
    bench = Bench().to(Phase.PREPARED)
    bench.grow(2)
    bench.seal()
    kinds = [(type(message).__name__, getattr(message, "first", 0)) for message in bench.sent]
    assert kinds[-2:] == [("Dump", 4), ("Sealed", 0)]
    sealed = bench.sent[-1]
    assert isinstance(sealed, Sealed)
    assert (sealed.head, sealed.digest) == (5, bench.history.digest())


def test_the_seal_waits_for_the_last_chunk_and_nobody_is_ready_before_it() -> None:
    bench = Bench().to(Phase.PREPARED)
    bench.grow(400, "x" * 8_000)
    bench.seal()
    for _ in range(bench.history.head):
        if any(isinstance(message, Sealed) for message in bench.sent):
            break
        assert bench.hear(Ready(MOVE, bench.history.digest())) == []
        dump = next(message for message in reversed(bench.sent) if isinstance(message, Dump))
        bench.hear(Credit(MOVE, dump.first + dump.count - 1))
    *before, last = bench.sent
    assert isinstance(last, Sealed)
    assert sum(message.count for message in before if isinstance(message, Dump)) == last.head == 403
    assert bench.source.phase is Phase.SEALED


@pytest.mark.parametrize("phase", [Phase.OFFERED, Phase.DUMPING, Phase.PREPARED, Phase.SEALED])
def test_before_the_transfer_any_failure_withdraws_and_leaves_the_target_out(phase: Phase) -> None:
    for fail in (
        lambda bench: bench.hear(Decline(MOVE, "no")),
        lambda bench: bench.note(bench.source.timer(STEP)),
        lambda bench: bench.note(bench.source.link_down(bench.opened[-1].link, "gone")),
    ):
        bench = Bench(entries=1 if phase is not Phase.DUMPING else 5_000, text="x" * 500)
        bench.to(phase)
        (verdict,) = fail(bench)
        assert isinstance(verdict, GaveUp)
        assert verdict.target == TARGET
        assert isinstance(bench.sent[-1], Withdraw)
        assert bench.source.phase is Phase.IDLE
        assert not [request for request, _ in bench.asked if isinstance(request, Transfer)]


def test_no_standby_is_no_fault_of_anyone() -> None:
    bench = Bench().to(Phase.PICKING)
    (verdict,) = bench.answer(Picked(0, None))
    assert isinstance(verdict, GaveUp)
    assert (verdict.code, verdict.target) == (RefusalCode.NO_STANDBY, None)
    assert bench.sent == []


def test_a_target_that_refuses_the_link_is_left_out() -> None:
    bench = Bench().to(Phase.LINKING)
    (verdict,) = bench.hear(Refused(0, RefusalCode.BUSY, "serving"))
    assert isinstance(verdict, GaveUp)
    assert (verdict.code, verdict.target) == (RefusalCode.BUSY, TARGET)


@pytest.mark.parametrize(
    "reply",
    [
        None,
        Refused(0, RefusalCode.STORE_FAILED, "disk full"),
        Refused(0, RefusalCode.NOT_ACTIVE, "nobody ever served that"),
        Refused(0, RefusalCode.STALE_VERSION, "", record(4, 9)),
        Granted(0, record(5, 9, OTHER)),
    ],
)
def test_a_zdns_that_cannot_write_stops_it_before_the_seal_and_nobody_is_to_blame(reply: Refused | None) -> None:
    bench = Bench().to(Phase.PREPARED)
    bench.note(bench.source.timer(PREPARED))
    request = bench.asked[-1][0]
    assert request == SetInSync(0, "backend.com", "me", 4, 7, ("me",))
    (verdict,) = bench.note(bench.source.unanswered(request)) if reply is None else bench.answer(reply)
    assert isinstance(verdict, GaveUp)
    assert verdict.target is None
    assert isinstance(bench.sent[-1], Withdraw)


def test_a_dump_under_load_over_a_slow_link_comes_to_its_end() -> None:
    bench = Bench(entries=5_000, text="x" * 100).to(Phase.DUMPING)
    for _ in range(200):
        # Something is in flight at every moment: each credit finds new posts behind the last chunk.
        dumps = [message for message in bench.sent if isinstance(message, Dump)]
        oldest = dumps[-limits.CHUNKS_IN_FLIGHT :][0]
        bench.grow(3)
        bench.note(bench.source.pump(0))
        bench.hear(Credit(MOVE, oldest.first + oldest.count - 1))
        if bench.source.phase is Phase.PREPARED:
            break
    assert bench.source.phase is Phase.PREPARED


def test_a_copy_with_another_digest_is_not_handed_to() -> None:
    bench = Bench().to(Phase.SEALED)
    (verdict,) = bench.hear(Ready(MOVE, b"other"))
    assert isinstance(verdict, GaveUp)
    assert bench.source.phase is Phase.IDLE


def test_while_the_transfer_is_out_nothing_but_zdns_can_end_it() -> None:
    bench = Bench().to(Phase.TRANSFERRING)
    assert bench.hear(Decline(MOVE, "no")) == []
    assert bench.note(bench.source.timer(STEP)) == []
    assert bench.note(bench.source.link_down(bench.opened[-1].link, "gone")) == []
    assert bench.note(bench.source.unanswered(bench.asked[-1][0])) == []
    assert bench.commands == [StartTimer(TRANSFER, limits.TRANSFER_RETRY_MS)], "not even a question that was not asked"
    assert bench.source.phase is Phase.TRANSFERRING


@pytest.mark.parametrize(
    "reply",
    [
        Refused(0, RefusalCode.STORE_FAILED, ""),
        Refused(0, RefusalCode.MALFORMED, ""),
        Refused(0, RefusalCode.STALE_VERSION, "", record(4, 8)),
        Refused(0, RefusalCode.STALE_EPOCH, "", record(3, 9)),
        Refused(0, RefusalCode.NOT_ACTIVE, ""),
    ],
)
def test_an_answer_that_settles_nothing_is_asked_again(reply: Refused) -> None:
    bench = Bench().to(Phase.TRANSFERRING)
    assert bench.answer(reply) == []
    assert StartTimer(TRANSFER, limits.TRANSFER_RETRY_MS) in bench.commands
    bench.note(bench.source.timer(TRANSFER))
    assert [type(request) for request, _ in bench.asked][-2:] == [Transfer, Transfer]


def test_a_refusal_that_rules_the_transfer_out_for_good_ends_in_serving_on() -> None:
    bench = Bench().to(Phase.TRANSFERRING)
    (verdict,) = bench.answer(Refused(0, RefusalCode.NOT_STANDBY, "", record(4, 9)))
    assert isinstance(verdict, GaveUp)
    assert verdict.target == TARGET


def test_a_transfer_that_was_granted_before_its_answer_was_lost_is_recognised() -> None:
    bench = Bench().to(Phase.TRANSFERRING)
    granted = record(5, 9, TARGET)
    assert bench.answer(Refused(0, RefusalCode.STALE_EPOCH, "", granted)) == [HandedOver(granted)]


def test_an_epoch_that_went_to_somebody_else_ends_our_term() -> None:
    bench = Bench().to(Phase.TRANSFERRING)
    assert bench.answer(Refused(0, RefusalCode.STALE_EPOCH, "", record(5, 8, OTHER))) == [
        Overtaken(record(5, 8, OTHER))
    ]


def test_a_target_that_never_says_it_took_over_is_replaced_by_asking_for_the_role_back() -> None:
    bench = Bench().to(Phase.RETIRED)
    assert bench.note(bench.source.timer(RECLAIM)) == [Reclaim()]
    assert any(isinstance(command, StartTimer) and command.name == RECLAIM for command in bench.commands)
    assert bench.source.phase is Phase.RETIRED


def test_once_it_has_asked_for_the_role_back_it_gives_its_word_no_more() -> None:
    bench = Bench().to(Phase.RETIRED)
    bench.note(bench.source.timer(RECLAIM))
    assert bench.hear(Took(MOVE, 5)) == []
    assert not any(isinstance(message, Released) for message in bench.sent)
    assert bench.source.phase is Phase.RETIRED


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_meets_every_message_from_an_old_link_or_move_without_harm(phase: Phase) -> None:
    if phase is Phase.IDLE:
        bench = Bench()
    else:
        bench = Bench(entries=5_000, text="x" * 500) if phase is Phase.DUMPING else Bench()
        bench.to(phase)
    stale: list[Message] = [
        LinkAt("n-m0", ("tcp://x:1",)),
        Accept("n-m0", 0),
        Decline("n-m0", "no"),
        Credit("n-m0", 1),
        Ready("n-m0", b""),
        Took("n-m0", 1),
    ]
    for message in stale:
        assert bench.note(bench.source.received(LinkId("give-99"), message, 0)) == []
        if bench.opened:
            assert bench.hear(message) == []
    assert bench.note(bench.source.link_down(LinkId("give-99"), "")) == []
    assert bench.note(bench.source.timer("handover.unknown")) == []
    assert bench.source.phase is phase
