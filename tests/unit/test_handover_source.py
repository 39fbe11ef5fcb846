"""Giving the room away: each step, each failure before the commit point, and doubt after it."""

from collections.abc import Callable

import pytest

from broker.handover_source import (
    PREPARED,
    STEP,
    TRANSFER,
    Aim,
    Announce,
    GaveUp,
    HandedOver,
    HandoverSource,
    Overtaken,
    Phase,
    Probe,
    Result,
    SealNow,
)
from tests.support.histories import SERVICE
from tests.support.replicas import ANA, BO, CY, DEE, record, timers
from wire import limits
from wire.errors import RefusalCode
from wire.messages import (
    DnsReply,
    Done,
    Granted,
    NameRequest,
    NameState,
    Pick,
    Picked,
    Record,
    Refused,
    Registered,
    ServerInfo,
    SetInSync,
    Transfer,
)
from wire.step import Command

DIGEST = b"digest of all"
WRITTEN = record(4, 8, ANA, BO)
GRANTED = record(5, 9, BO, ANA)


class Bench:
    """ana's room, which goes to bo."""

    def __init__(self) -> None:
        self.asked: list[tuple[NameRequest, int | None]] = []
        self.said: list[object] = []
        self.commands: list[Command] = []
        self.source = HandoverSource(service=SERVICE, ask=self.ask)

    def ask(self, request: NameRequest, deadline_ms: int | None) -> list[Command]:
        self.asked.append((request, deadline_ms))
        return []

    def note(self, result: Result) -> list[object]:
        self.commands, verdicts = result
        self.said += verdicts
        return list(verdicts)

    def begin(self, to: str = "", exclude: tuple[str, ...] = ()) -> list[object]:
        return self.note(self.source.begin(me=ANA, exclude=exclude, to=to))

    def answer(self, reply: DnsReply, now_ms: int = 0) -> list[object]:
        return self.note(self.source.answered(self.asked[-1][0], reply, now_ms))

    def seal(self) -> list[object]:
        verdicts = self.note(self.source.probed(WRITTEN))
        self.source.sealed(WRITTEN, DIGEST)
        return verdicts

    def to(self, phase: Phase) -> "Bench":
        """Walk the happy path as far as `phase`."""
        steps: dict[Phase, Callable[[], list[object]]] = {
            Phase.PICKING: self.begin,
            Phase.COPYING: lambda: self.answer(Picked(0, BO), 100),
            Phase.PREPARED: lambda: self.note(self.source.copied(0, 350)),
            Phase.PROBING: lambda: self.note(self.source.timer(PREPARED)),
            Phase.SEALED: self.seal,
            Phase.TRANSFERRING: lambda: self.note(self.source.ready(DIGEST)),
        }
        for reached in list(steps)[: list(Phase).index(phase)]:
            steps[reached]()
        assert self.source.phase is phase
        return self

    def transfers(self) -> list[NameRequest]:
        return [request for request, _ in self.asked if isinstance(request, Transfer)]


def gave_up(verdicts: list[object]) -> GaveUp:
    (verdict,) = verdicts
    assert isinstance(verdict, GaveUp)
    return verdict


# --- the way there ---


def test_the_whole_way_in_its_order() -> None:
    bench = Bench().to(Phase.TRANSFERRING)
    assert bench.answer(Granted(0, GRANTED)) == [HandedOver(GRANTED)]
    assert bench.said == [Aim(BO), Announce(BO), Probe(), SealNow(), HandedOver(GRANTED)]
    assert [type(request) for request, _ in bench.asked] == [Pick, Transfer]
    assert (bench.source.phase, bench.source.busy) == (Phase.IDLE, False)
    assert timers(bench.commands) == {STEP: None, PREPARED: None, TRANSFER: None}


def test_a_standby_is_picked_by_zdns_among_those_that_are_not_left_out() -> None:
    bench = Bench()
    bench.begin(exclude=("cy-id",))
    assert bench.asked == [(Pick(0, SERVICE, "ana-id", ("cy-id",)), limits.HANDOVER_STEP_MS)]
    wanted = Bench()
    wanted.begin(to="bo", exclude=tuple(map(str, range(200))))
    assert wanted.asked[0][0] == Pick(0, SERVICE, "ana-id", tuple(map(str, range(limits.EXCLUDED_MAX))), "bo")


def test_clients_are_told_only_when_the_target_has_almost_all_and_get_a_moment() -> None:
    bench = Bench().to(Phase.COPYING)
    assert bench.note(bench.source.copied(limits.SEAL_WITHIN_ENTRIES + 1, 200)) == []
    assert bench.source.phase is Phase.COPYING
    assert bench.note(bench.source.copied(limits.SEAL_WITHIN_ENTRIES, 350)) == [Announce(BO)]
    assert timers(bench.commands) == {PREPARED: limits.PREPARE_MS}
    assert bench.source.copy_ms == 250
    assert bench.note(bench.source.copied(0, 400)) == [], "once"
    assert bench.source.copy_ms == 250


def test_it_seals_only_when_clients_had_their_moment_and_zdns_has_just_written() -> None:
    bench = Bench().to(Phase.PREPARED)
    assert bench.note(bench.source.probed(record(4, 7, ANA, BO))) == [], "that was before anybody asked"
    assert bench.note(bench.source.timer(PREPARED)) == [Probe()]
    assert timers(bench.commands) == {STEP: limits.HANDOVER_STEP_MS}
    assert bench.note(bench.source.probed(WRITTEN)) == [SealNow()]
    assert bench.source.record == WRITTEN
    assert timers(bench.commands) == {STEP: limits.HANDOVER_STEP_MS}


def test_a_transfer_is_asked_for_without_a_deadline_and_compares_epoch_and_version() -> None:
    bench = Bench().to(Phase.SEALED)
    later = record(4, 9, ANA, BO)
    bench.source.sealed(later, DIGEST)
    assert bench.note(bench.source.ready(DIGEST)) == []
    assert bench.asked[-1] == (Transfer(0, SERVICE, "ana-id", 4, 9, "bo-id"), None)
    assert timers(bench.commands) == {STEP: None}


def test_nobody_is_ready_before_the_seal_was_sent() -> None:
    bench = Bench().to(Phase.PROBING)
    bench.note(bench.source.probed(WRITTEN))
    assert not bench.source.is_seal_sent
    assert bench.note(bench.source.ready(b"")) == []
    assert bench.note(bench.source.ready(DIGEST)) == []
    assert (bench.source.phase, bench.transfers()) == (Phase.SEALED, [])
    bench.source.sealed(WRITTEN, DIGEST)
    assert bench.source.is_seal_sent
    bench.note(bench.source.ready(DIGEST))
    assert len(bench.transfers()) == 1
    bench.note(bench.source.ready(DIGEST))
    assert len(bench.transfers()) == 1


def test_a_copy_with_another_digest_is_not_handed_to() -> None:
    bench = Bench().to(Phase.SEALED)
    verdict = gave_up(bench.note(bench.source.ready(b"other")))
    assert (verdict.code, verdict.target) == (RefusalCode.HANDOVER_FAILED, BO)
    assert "bo" in verdict.why
    assert (bench.source.phase, bench.transfers()) == (Phase.IDLE, [])


# --- failures before the transfer ---


@pytest.mark.parametrize("server", [None, ServerInfo("bo-id", "bo", (), ())], ids=["nobody", "without an address"])
def test_no_standby_is_no_fault_of_anyone(server: ServerInfo | None) -> None:
    bench = Bench().to(Phase.PICKING)
    verdict = gave_up(bench.answer(Picked(0, server)))
    assert (verdict.code, verdict.target) == (RefusalCode.NO_STANDBY, None)
    wanted = Bench()
    wanted.begin(to="dee")
    assert "'dee'" in gave_up(wanted.answer(Picked(0, None))).why


@pytest.mark.parametrize("reply", [None, Refused(0, RefusalCode.NOT_ACTIVE, ""), Done(0)])
def test_a_zdns_that_picks_nobody_ends_it(reply: DnsReply | None) -> None:
    bench = Bench().to(Phase.PICKING)
    request = bench.asked[-1][0]
    verdicts = bench.note(bench.source.unanswered(request)) if reply is None else bench.answer(reply)
    assert gave_up(verdicts).target is None


@pytest.mark.parametrize("phase", [Phase.COPYING, Phase.PREPARED, Phase.PROBING, Phase.SEALED])
def test_before_the_transfer_the_loss_of_the_target_ends_it_and_leaves_the_target_out(phase: Phase) -> None:
    bench = Bench().to(phase)
    assert bench.note(bench.source.target_lost("cy-id", RefusalCode.BUSY, "another one")) == []
    assert bench.source.phase is phase
    verdicts = bench.note(bench.source.target_lost("bo-id", RefusalCode.BUSY, "bo serves"))
    assert verdicts == [GaveUp(RefusalCode.BUSY, "bo serves", BO)]
    assert bench.source.phase is Phase.IDLE
    assert timers(bench.commands) == {STEP: None, PREPARED: None, TRANSFER: None}
    assert bench.transfers() == []
    assert bench.note(bench.source.ready(DIGEST)) == [], "whatever it says after that"
    assert bench.transfers() == []


def test_a_zdns_that_does_not_write_stops_it_before_the_seal_and_nobody_is_to_blame() -> None:
    bench = Bench().to(Phase.PROBING)
    verdict = gave_up(bench.note(bench.source.timer(STEP)))
    assert (verdict.code, verdict.target) == (RefusalCode.HANDOVER_FAILED, None)
    assert bench.note(bench.source.probed(WRITTEN)) == [], "too late"


def test_a_target_that_is_silent_while_the_room_is_sealed_is_to_blame() -> None:
    bench = Bench().to(Phase.SEALED)
    verdict = gave_up(bench.note(bench.source.timer(STEP)))
    assert (verdict.code, verdict.target) == (RefusalCode.HANDOVER_FAILED, BO)


def test_a_reason_that_is_too_long_for_a_message_is_cut() -> None:
    bench = Bench().to(Phase.COPYING)
    verdict = gave_up(bench.note(bench.source.target_lost("bo-id", RefusalCode.BUSY, "x" * 10_000)))
    assert len(verdict.why) == limits.MESSAGE_CHARS_MAX


def test_the_next_handover_begins_without_anything_of_the_last_one() -> None:
    bench = Bench().to(Phase.SEALED)
    bench.note(bench.source.timer(STEP))
    assert (bench.source.target, bench.source.record, bench.source.is_seal_sent) == (None, None, False)
    bench.begin()
    bench.answer(Picked(0, CY), 1_000)
    bench.note(bench.source.copied(0, 1_100))
    assert bench.source.copy_ms == 100
    bench.note(bench.source.timer(PREPARED))
    bench.note(bench.source.probed(record(4, 10, ANA, CY)))
    assert bench.note(bench.source.ready(DIGEST)) == [], "that was the digest of the last one"
    assert bench.note(bench.source.target_lost("bo-id", RefusalCode.BUSY, "")) == []
    assert bench.source.phase is Phase.SEALED


# --- the transfer is out ---


def test_while_the_transfer_is_out_nothing_but_zdns_can_end_it() -> None:
    bench = Bench().to(Phase.TRANSFERRING)
    assert bench.note(bench.source.target_lost("bo-id", RefusalCode.HANDOVER_FAILED, "gone")) == []
    assert bench.note(bench.source.timer(STEP)) == []
    assert bench.note(bench.source.ready(b"other")) == []
    assert bench.source.phase is Phase.TRANSFERRING
    assert bench.note(bench.source.unanswered(bench.asked[-1][0])) == []
    assert timers(bench.commands) == {TRANSFER: limits.TRANSFER_RETRY_MS}, "not even a question that was not asked"
    assert bench.source.phase is Phase.TRANSFERRING
    bench.note(bench.source.timer(TRANSFER))
    assert bench.transfers() == [Transfer(0, SERVICE, "ana-id", 4, 8, "bo-id")] * 2, "the very same again"


@pytest.mark.parametrize(
    "reply",
    [
        Refused(0, RefusalCode.STORE_FAILED, ""),
        Refused(0, RefusalCode.MALFORMED, ""),
        Refused(0, RefusalCode.STALE_VERSION, "", WRITTEN),
        Refused(0, RefusalCode.STALE_VERSION, "", record(4, 7, ANA)),
        Refused(0, RefusalCode.STALE_EPOCH, "", record(3, 90, BO)),
        Refused(0, RefusalCode.NOT_ACTIVE, ""),
        Refused(0, RefusalCode.BUSY, "", record(3, 2, CY)),
        Granted(0, WRITTEN),
        Done(0),
    ],
)
def test_an_answer_that_settles_nothing_is_asked_again(reply: DnsReply) -> None:
    bench = Bench().to(Phase.TRANSFERRING)
    assert bench.answer(reply) == []
    assert timers(bench.commands) == {TRANSFER: limits.TRANSFER_RETRY_MS}
    bench.note(bench.source.timer(TRANSFER))
    assert bench.transfers() == [Transfer(0, SERVICE, "ana-id", 4, 8, "bo-id")] * 2


@pytest.mark.parametrize("code", [RefusalCode.NOT_STANDBY, RefusalCode.NOT_IN_SYNC, RefusalCode.STALE_VERSION])
def test_a_refusal_that_rules_the_transfer_out_for_good_ends_in_serving_on(code: RefusalCode) -> None:
    bench = Bench().to(Phase.TRANSFERRING)
    assert gave_up(bench.answer(Refused(0, code, "", record(4, 9, ANA, BO)))).target == BO
    assert bench.source.phase is Phase.IDLE


def test_a_transfer_that_was_granted_before_its_answer_was_lost_is_recognised() -> None:
    bench = Bench().to(Phase.TRANSFERRING)
    assert bench.answer(Refused(0, RefusalCode.STALE_EPOCH, "", GRANTED)) == [HandedOver(GRANTED)]
    told = Bench().to(Phase.TRANSFERRING)
    assert told.note(told.source.settled(GRANTED)) == [HandedOver(GRANTED)], "also by somebody else"


@pytest.mark.parametrize("higher", [record(5, 9, CY, ANA), record(6, 9, CY, BO), record(6, 12, BO), record(9, 9, ANA)])
def test_an_epoch_that_our_transfer_did_not_make_ends_our_term(higher: Record) -> None:
    for tell in (
        lambda bench: bench.answer(Refused(0, RefusalCode.STALE_EPOCH, "", higher)),
        lambda bench: bench.note(bench.source.settled(higher)),
    ):
        bench = Bench().to(Phase.TRANSFERRING)
        assert tell(bench) == [Overtaken(higher)]
        assert bench.source.phase is Phase.IDLE


def test_a_record_that_comes_by_another_way_settles_nothing_while_no_transfer_is_out() -> None:
    for phase in [phase for phase in Phase if phase is not Phase.TRANSFERRING]:
        bench = Bench().to(phase)
        assert bench.note(bench.source.settled(GRANTED)) == []
        assert bench.source.phase is phase
    bench = Bench().to(Phase.TRANSFERRING)
    assert bench.note(bench.source.settled(WRITTEN)) == [], "nor does one that is known"
    assert bench.source.phase is Phase.TRANSFERRING


def test_the_answer_to_a_transfer_of_an_earlier_handover_is_not_taken_for_this_ones() -> None:
    bench = Bench().to(Phase.TRANSFERRING)
    earlier = Transfer(0, SERVICE, "ana-id", 4, 6, "cy-id")
    assert bench.note(bench.source.answered(earlier, Refused(0, RefusalCode.NOT_STANDBY, "", None), 0)) == []
    assert bench.commands == []
    assert bench.source.phase is Phase.TRANSFERRING


# --- nothing else means anything ---

EVENTS: dict[str, Callable[[HandoverSource], Result]] = {
    "copied": lambda source: source.copied(0, 0),
    "probed": lambda source: source.probed(WRITTEN),
    "ready": lambda source: source.ready(DIGEST),
    "lost": lambda source: source.target_lost("bo-id", RefusalCode.HANDOVER_FAILED, "gone"),
    "another lost": lambda source: source.target_lost("dee-id", RefusalCode.HANDOVER_FAILED, "gone"),
    "none lost": lambda source: source.target_lost("", RefusalCode.HANDOVER_FAILED, "gone"),
    "settled": lambda source: source.settled(GRANTED),
    "step": lambda source: source.timer(STEP),
    "prepared": lambda source: source.timer(PREPARED),
    "transfer": lambda source: source.timer(TRANSFER),
    "unknown timer": lambda source: source.timer("handover.unknown"),
    "picked": lambda source: source.answered(Pick(0, SERVICE, "ana-id"), Picked(0, DEE), 0),
    "pick refused": lambda source: source.answered(Pick(0, SERVICE, "ana-id"), Done(0), 0),
    "pick unanswered": lambda source: source.unanswered(Pick(0, SERVICE, "ana-id")),
    "transferred": lambda source: source.answered(
        Transfer(0, SERVICE, "ana-id", 4, 8, "bo-id"), Granted(0, GRANTED), 0
    ),
    "transfer unanswered": lambda source: source.unanswered(Transfer(0, SERVICE, "ana-id", 4, 8, "bo-id")),
    "another's answer": lambda source: source.answered(
        SetInSync(0, SERVICE, "ana-id", 4, 8, ("ana-id",)),
        Registered(0, 900, NameState.SERVED, GRANTED),
        0,
    ),
}
MEANS: dict[Phase, set[str]] = {
    Phase.IDLE: set(),
    Phase.PICKING: {"picked", "pick refused", "pick unanswered"},
    Phase.COPYING: {"copied", "lost"},
    Phase.PREPARED: {"prepared", "lost"},
    Phase.PROBING: {"probed", "step", "lost"},
    Phase.SEALED: {"ready", "step", "lost"},
    Phase.TRANSFERRING: {"transfer", "transferred", "transfer unanswered", "settled"},
}


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("event", EVENTS)
def test_every_phase_meets_every_event_and_what_means_nothing_does_nothing(phase: Phase, event: str) -> None:
    bench = Bench().to(phase)
    asked, target, of = len(bench.asked), bench.source.target, bench.source.record
    verdicts = bench.note(EVENTS[event](bench.source))
    if event in MEANS[phase]:
        assert verdicts or bench.commands or len(bench.asked) > asked
    else:
        assert (verdicts, bench.commands, len(bench.asked)) == ([], [], asked)
        assert (bench.source.phase, bench.source.target, bench.source.record) == (phase, target, of)


@pytest.mark.parametrize("phase", Phase)
def test_a_room_that_is_gone_by_another_way_ends_it_in_any_phase(phase: Phase) -> None:
    bench = Bench().to(phase)
    ended = timers(bench.source.forget())
    assert ended == ({} if phase is Phase.IDLE else {STEP: None, PREPARED: None, TRANSFER: None})
    assert (bench.source.phase, bench.source.target) == (Phase.IDLE, None)
    assert bench.source.forget() == []
