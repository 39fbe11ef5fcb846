"""Standing at zdns: who claims, when, and what a record tells."""

from typing import Any

import pytest

from broker.tenure import CLAIM, RENEW, Appointed, Deposed, Phase, Tenure, TurnedAway
from wire import limits
from wire.errors import RefusalCode
from wire.messages import (
    Claim,
    ClaimKind,
    Granted,
    NameRequest,
    NameState,
    Record,
    Refused,
    Register,
    Registered,
    Renew,
    ServerInfo,
)
from wire.names import LinkId
from wire.step import Command, Send, StartTimer, StopTimer

ME = ServerInfo("me", "ana", ("tcp://a:1",), ("tcp://a:2",))
OTHER = ServerInfo("other", "bo", ("tcp://b:1",), ("tcp://b:2",))


def record(epoch: int, active: ServerInfo, version: int = 1, log: str = "log") -> Record:
    return Record("backend.com", epoch, version, log, active, (active,))


class Desk:
    """A tenure and what it asked zdns."""

    def __init__(self, *, serve_first: bool = False, fresh: bool = False, held: str = "") -> None:
        self.held = held
        self.asked: list[NameRequest] = []
        self.logs = 0
        self.tenure = Tenure(
            service="backend.com",
            serve_first=serve_first,
            fresh=fresh,
            new_log=self.new_log,
            held=lambda: self.held,
            ask=self.ask,
        )

    def new_log(self) -> str:
        self.logs += 1
        return f"log-{self.logs}"

    def ask(self, request: NameRequest) -> list[Command]:
        self.asked.append(request)
        return [Send(LinkId("zdns-1"), request)]

    def registered(self, state: NameState, of: Record | None = None, now_ms: int = 0) -> list[object]:
        reply = Registered(0, 900, state, of)
        commands, verdicts = self.tenure.answered(self.asked[0], reply, now_ms)
        self.commands = commands
        return list(verdicts)

    def claims(self) -> list[tuple[ClaimKind, int]]:
        return [(request.kind, request.epoch) for request in self.asked if isinstance(request, Claim)]


def at_the_door(**options: Any) -> Desk:
    desk = Desk(**options)
    desk.tenure.register(ME, 0)
    assert desk.asked == [Register(0, limits.PROTOCOL, "backend.com", ME)]
    return desk


def test_it_renews_every_third_of_the_lease_and_registers_again_when_forgotten() -> None:
    desk = at_the_door(held="log")
    desk.registered(NameState.SERVED, record(1, OTHER))
    assert StartTimer(RENEW, 300) in desk.commands
    assert desk.tenure.phase is Phase.STANDING_BY
    desk.tenure.timer(RENEW, 300)
    assert desk.asked[-1] == Renew(0, "backend.com", "me", "log")
    desk.tenure.answered(desk.asked[-1], Refused(0, RefusalCode.NOT_REGISTERED, ""), 300)
    assert isinstance(desk.asked[-1], Register)


def test_it_renews_every_second_at_least_however_long_the_lease_is() -> None:
    desk = at_the_door()
    desk.tenure.answered(desk.asked[0], Registered(0, 60_000, NameState.SERVED, record(1, OTHER)), 0)
    assert StartTimer(RENEW, limits.RENEW_MS_MAX) in desk.tenure.timer(RENEW, 1_000)


def test_whoever_holds_a_copy_tells_zdns_under_which_record_and_nobody_else_does() -> None:
    desk = at_the_door()
    desk.tenure.learn(record(7, OTHER))
    desk.tenure.register(ME, 0)
    assert desk.asked[-1] == Register(0, limits.PROTOCOL, "backend.com", ME), "it may be a record nobody can serve from"
    desk.held = "log"
    desk.tenure.register(ME, 0)
    assert desk.asked[-1] == Register(0, limits.PROTOCOL, "backend.com", ME, record(7, OTHER))


def test_a_zdns_that_has_lost_the_newest_record_is_told_it_again() -> None:
    desk = at_the_door(held="log")
    desk.registered(NameState.SERVED, record(7, OTHER))
    renewal = Renew(0, "backend.com", "me", "log")
    asked = len(desk.asked)
    desk.tenure.answered(renewal, Registered(0, 900, NameState.SERVED, record(7, OTHER)), 1)
    assert len(desk.asked) == asked
    desk.tenure.answered(renewal, Registered(0, 900, NameState.SERVED, record(6, OTHER)), 2)
    assert desk.asked[asked:] == [Register(0, limits.PROTOCOL, "backend.com", ME, record(7, OTHER))]
    desk.tenure.answered(desk.asked[-1], Registered(0, 900, NameState.SERVED, record(6, OTHER)), 3)
    assert len(desk.asked) == asked + 1, "it will not have it; the next renewal tries again"


def test_zdns_can_be_asked_at_once_how_things_are() -> None:
    desk = Desk(held="log")
    assert desk.tenure.check() == []
    desk.tenure.register(ME, 0)
    desk.tenure.check()
    assert desk.asked[-1] == Renew(0, "backend.com", "me", "log")


@pytest.mark.parametrize("is_answered", [True, False])
def test_zdns_is_asked_how_things_are_once_at_a_time(is_answered: bool) -> None:
    desk = at_the_door(held="log")
    desk.registered(NameState.SERVED, record(1, OTHER))
    renew = Renew(0, "backend.com", "me", "log")
    desk.tenure.check()
    assert desk.asked[1:] == [renew]
    assert desk.tenure.check() == []
    assert desk.tenure.timer(RENEW, 300) == [StartTimer(RENEW, 300)]
    assert desk.asked[1:] == [renew]
    desk.tenure.unanswered(Register(0, limits.PROTOCOL, "backend.com", ME))
    assert desk.tenure.check() == [], "that was another question"
    if is_answered:
        desk.tenure.answered(renew, Registered(0, 900, NameState.SERVED, record(1, OTHER)), 400)
    else:
        desk.tenure.unanswered(renew)
    desk.tenure.check()
    assert desk.asked[1:] == [renew, renew]


def test_a_record_that_zdns_has_lost_is_waited_for_a_lease_before_its_name_is_claimed() -> None:
    desk = at_the_door(serve_first=True)
    desk.registered(NameState.SERVED, record(7, OTHER))
    desk.registered(NameState.FREE)
    assert StartTimer(CLAIM, 900) in desk.commands, "somebody may come who holds it"
    desk.registered(NameState.SERVED, record(7, OTHER))
    assert StopTimer(CLAIM) in desk.commands
    desk.tenure.timer(CLAIM, 900)
    assert desk.claims() == []


def test_one_who_wants_to_serve_first_claims_a_free_name_at_once() -> None:
    desk = at_the_door(serve_first=True)
    desk.registered(NameState.FREE)
    assert desk.claims() == [(ClaimKind.FIRST, 0)]
    granted = record(1, ME, log="log-1")
    _, verdicts = desk.tenure.answered(desk.asked[-1], Granted(0, granted), 0)
    assert verdicts == [Appointed(granted, ClaimKind.FIRST)]


def test_others_leave_a_free_name_a_moment_and_do_not_claim_one_that_was_taken_meanwhile() -> None:
    desk = at_the_door()
    desk.registered(NameState.FREE)
    assert StartTimer(CLAIM, limits.CLAIM_WAIT_MS) in desk.commands
    desk.registered(NameState.SERVED, record(1, OTHER))
    desk.tenure.timer(CLAIM, limits.CLAIM_WAIT_MS)
    assert desk.claims() == []
    patient = at_the_door()
    patient.registered(NameState.FREE)
    patient.tenure.timer(CLAIM, limits.CLAIM_WAIT_MS)
    assert patient.claims() == [(ClaimKind.FIRST, 0)]


def test_a_claim_whose_answer_was_lost_is_known_from_the_next_record() -> None:
    desk = at_the_door(serve_first=True)
    desk.registered(NameState.FREE)
    granted = record(1, ME, log="log-1")
    assert desk.registered(NameState.SERVED, granted) == [Appointed(granted, ClaimKind.FIRST)]


def test_a_claim_of_another_epoch_explains_no_record() -> None:
    desk = at_the_door()
    desk.registered(NameState.SERVED, record(3, OTHER))
    desk.tenure.claim_failover(unreachable=False, from_disk=False)
    later = record(6, ME)
    assert desk.registered(NameState.SERVED, later) == [Appointed(later, None)]


def test_a_record_that_names_us_by_no_claim_of_ours_says_so() -> None:
    desk = at_the_door()
    mine = record(5, ME)
    assert desk.registered(NameState.SERVED, mine) == [Appointed(mine, None)]
    other_log = at_the_door(serve_first=True)
    other_log.registered(NameState.FREE)
    foreign = record(1, ME, log="not-mine")
    assert other_log.registered(NameState.SERVED, foreign) == [Appointed(foreign, None)]


def test_a_claim_that_was_forgotten_does_not_bring_the_role_back() -> None:
    desk = at_the_door()
    desk.registered(NameState.SERVED, record(4, OTHER))
    desk.tenure.claim_failover(unreachable=True, from_disk=False)
    assert desk.claims() == [(ClaimKind.FAILOVER, 4)]
    desk.tenure.forget_claim()
    assert desk.registered(NameState.SERVED, record(5, ME)) == [Appointed(record(5, ME), None)]


@pytest.mark.parametrize("unreachable", [False, True])
@pytest.mark.parametrize("from_disk", [False, True])
def test_a_failover_is_claimed_with_the_epoch_that_is_known_and_what_is_known_of_both_ends(
    unreachable: bool, from_disk: bool
) -> None:
    desk = Desk(held="log")
    desk.tenure.learn(record(7, OTHER))
    desk.tenure.register(ME, 0)
    desk.tenure.claim_failover(unreachable=unreachable, from_disk=from_disk)
    kind = ClaimKind.FAILOVER
    assert desk.asked[-1] == Claim(0, "backend.com", ME, kind, 7, unreachable=unreachable, from_disk=from_disk)
    assert desk.logs == 0, "the history goes on"
    granted = record(8, ME, version=2)
    _, verdicts = desk.tenure.answered(desk.asked[-1], Granted(0, granted), 0)
    assert verdicts == [Appointed(granted, ClaimKind.FAILOVER)]


def test_a_failover_that_was_granted_before_its_answer_was_lost_is_known_from_the_next_record() -> None:
    desk = at_the_door()
    desk.registered(NameState.SERVED, record(4, OTHER))
    desk.tenure.claim_failover(unreachable=True, from_disk=False)
    assert desk.registered(NameState.SERVED, record(5, ME)) == [Appointed(record(5, ME), ClaimKind.FAILOVER)]


def test_a_failover_that_was_refused_explains_no_later_record() -> None:
    desk = at_the_door()
    desk.registered(NameState.SERVED, record(4, OTHER))
    desk.tenure.claim_failover(unreachable=False, from_disk=False)
    refused = Refused(0, RefusalCode.ALIVE, "it lives", record(4, OTHER, version=3))
    assert desk.tenure.answered(desk.asked[-1], refused, 0) == ([], [])
    assert desk.tenure.record == record(4, OTHER, version=3)
    assert desk.registered(NameState.SERVED, record(5, ME, version=4)) == [Appointed(record(5, ME, version=4), None)]


def test_a_zdns_that_has_only_just_started_gives_nothing_away_and_is_asked_again_soon() -> None:
    desk = at_the_door(serve_first=True)
    desk.registered(NameState.FREE)
    for times in (2, 3):
        busy = Refused(0, RefusalCode.BUSY, "just started")
        commands, verdicts = desk.tenure.answered(desk.asked[-1], busy, 0)
        assert (commands, verdicts) == ([StartTimer(CLAIM, limits.TRANSFER_RETRY_MS)], [])
        desk.tenure.timer(CLAIM, limits.TRANSFER_RETRY_MS)
        assert desk.claims() == [(ClaimKind.FIRST, 0)] * times
    assert {request.log for request in desk.asked if isinstance(request, Claim)} == {"log-1"}
    granted = record(1, ME, log="log-1")
    _, verdicts = desk.tenure.answered(desk.asked[-1], Granted(0, granted), 0)
    assert verdicts == [Appointed(granted, ClaimKind.FIRST)]


@pytest.mark.parametrize("serve_first", [False, True])
def test_a_free_name_is_claimed_no_sooner_than_zdns_gives_it_away(serve_first: bool) -> None:
    desk = at_the_door(serve_first=serve_first)
    commands, _ = desk.tenure.answered(desk.asked[0], Registered(0, 900, NameState.FREE, None, wait_ms=700), 0)
    assert StartTimer(CLAIM, 700 if serve_first else 700 + limits.CLAIM_WAIT_MS) in commands
    assert desk.claims() == []
    commands, _ = desk.tenure.answered(desk.asked[0], Registered(0, 900, NameState.FREE, None, wait_ms=400), 300)
    assert CLAIM not in [command.name for command in commands if isinstance(command, StartTimer)], "it is waited for"
    desk.tenure.timer(CLAIM, 1_200)
    assert desk.claims() == [(ClaimKind.FIRST, 0)]


def test_a_claim_that_is_repeated_is_the_same_one_and_one_in_another_epoch_is_not() -> None:
    desk = at_the_door(serve_first=True)
    desk.registered(NameState.FREE)
    desk.registered(NameState.FREE)
    assert desk.asked[1] == desk.asked[2]
    ended = Record("backend.com", 7, 9, "old", OTHER, (OTHER,), ended=True)
    desk.registered(NameState.FREE, ended)
    assert [request.log for request in desk.asked if isinstance(request, Claim)] == ["log-1", "log-1", "log-2"]


def test_a_name_that_turns_out_to_be_somebodys_while_zdns_is_busy_is_not_claimed_again() -> None:
    desk = at_the_door(serve_first=True)
    desk.registered(NameState.FREE)
    desk.tenure.answered(desk.asked[-1], Refused(0, RefusalCode.BUSY, "just started"), 0)
    desk.registered(NameState.SERVED, record(7, OTHER))
    assert StopTimer(CLAIM) in desk.commands
    desk.tenure.timer(CLAIM, 100)
    assert len(desk.claims()) == 1


@pytest.mark.parametrize(
    ("state", "of"), [(NameState.FREE, None), (NameState.ORPHANED, record(7, OTHER)), (NameState.FREE, "ended")]
)
def test_whoever_holds_a_copy_gives_no_history_up_by_claiming_a_new_one(state: NameState, of: Any) -> None:
    ended = Record("backend.com", 7, 9, "old", OTHER, (OTHER,), ended=True)
    desk = at_the_door(serve_first=True, fresh=True, held="log")
    desk.registered(state, ended if of == "ended" else of)
    assert desk.claims() == []
    assert StartTimer(CLAIM, limits.CLAIM_WAIT_MS) not in desk.commands


def test_an_orphaned_name_is_started_over_only_on_purpose_and_only_soon_after_the_start() -> None:
    lost = record(7, OTHER)
    assert at_the_door().registered(NameState.ORPHANED, lost) == []
    patient = at_the_door()
    patient.registered(NameState.ORPHANED, lost)
    assert patient.claims() == []
    fresh = at_the_door(fresh=True)
    fresh.registered(NameState.SERVED, lost, now_ms=100)
    assert fresh.claims() == []
    fresh.registered(NameState.ORPHANED, lost, now_ms=900)
    assert fresh.claims() == [(ClaimKind.FRESH, 7)]
    late = at_the_door(fresh=True)
    late.registered(NameState.ORPHANED, lost, now_ms=10**6)
    assert late.claims() == []


def test_a_name_whose_history_has_ended_is_free_and_goes_on_in_the_next_epoch() -> None:
    desk = at_the_door(serve_first=True)
    ended = Record("backend.com", 7, 9, "old", OTHER, (OTHER,), ended=True)
    desk.registered(NameState.FREE, ended)
    assert desk.claims() == [(ClaimKind.FIRST, 7)]


def test_a_zdns_that_knows_nothing_of_an_epoch_we_know_has_lost_its_store_and_frees_nothing() -> None:
    desk = at_the_door(serve_first=True)
    desk.registered(NameState.SERVED, record(7, OTHER))
    desk.registered(NameState.FREE)
    assert desk.claims() == []


def test_whoever_holds_the_role_is_deposed_by_a_higher_epoch_and_by_nothing_else() -> None:
    desk = at_the_door()
    desk.tenure.hold(record(3, ME))
    assert desk.registered(NameState.SERVED, record(2, OTHER, version=9)) == []
    assert desk.registered(NameState.SERVED, record(3, ME, version=2)) == []
    assert desk.registered(NameState.SERVED, record(4, OTHER)) == [Deposed(record(4, OTHER))]


def test_an_old_answer_that_comes_late_deposes_nobody() -> None:
    desk = at_the_door(serve_first=True)
    desk.registered(NameState.FREE)
    desk.tenure.hold(record(2, ME, version=4))
    late = Refused(0, RefusalCode.TAKEN, "taken", record(1, OTHER))
    _, verdicts = desk.tenure.answered(desk.asked[-1], late, 0)
    assert verdicts == []
    assert desk.tenure.phase is Phase.HELD


def test_a_record_never_goes_back() -> None:
    desk = at_the_door()
    assert desk.tenure.learn(record(3, OTHER, version=2))
    assert not desk.tenure.learn(record(3, OTHER, version=2))
    assert not desk.tenure.learn(record(3, ME, version=1))
    assert not desk.tenure.learn(record(2, ME, version=9))
    assert desk.tenure.record == record(3, OTHER, version=2)


def test_a_zdns_of_another_version_turns_us_away() -> None:
    desk = at_the_door()
    _, verdicts = desk.tenure.answered(desk.asked[0], Refused(0, RefusalCode.VERSION, "1 is not 2"), 0)
    assert verdicts == [TurnedAway(RefusalCode.VERSION, "1 is not 2")]


def test_whoever_holds_a_history_is_turned_away_by_nobody_and_asks_again() -> None:
    desk = at_the_door(held="log")
    desk.tenure.hold(record(1, ME))
    commands, verdicts = desk.tenure.answered(desk.asked[0], Refused(0, RefusalCode.VERSION, "1 is not 2"), 0)
    assert (commands, verdicts) == ([StartTimer(RENEW, limits.DNS_BACKOFF_MAX_MS)], [])


def test_a_registration_that_is_refused_is_tried_again() -> None:
    desk = at_the_door()
    commands, _ = desk.tenure.answered(desk.asked[0], Refused(0, RefusalCode.FULL, "too many"), 0)
    assert commands == [StartTimer(RENEW, limits.DNS_BACKOFF_MAX_MS)]


def test_a_silent_zdns_is_asked_again() -> None:
    desk = at_the_door()
    assert desk.tenure.unanswered(desk.asked[0]) == [StartTimer(RENEW, limits.DNS_BACKOFF_MAX_MS)]
    desk.tenure.timer(RENEW, 0)
    assert isinstance(desk.asked[-1], Register)
