"""Handovers that go wrong in one particular way, named; on the same kit as the random runs."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.sim.network import Weather
from tests.sim.nodes import ZDNS, Clock
from tests.sim.runs import encore, settle
from tests.sim.town import Host, Town, small_limits
from tests.support.scenarios import (
    WITHIN_MS,
    Act,
    epoch_of,
    finish,
    followers_of,
    hand_over,
    is_stopped,
    keep_posting,
    killing,
    make_town,
    pausing,
    strike_at,
    wait_for_epoch,
)
from wire.messages import (
    Align,
    Append,
    Expect,
    Follow,
    Following,
    Granted,
    Have,
    Keep,
    LinkAsk,
    LinkAt,
    Message,
    Pick,
    Picked,
    Prepare,
    Ready,
    Relocate,
    Sealed,
    SetInSync,
    TakeOver,
    Transfer,
)


@dataclass(frozen=True)
class Step:
    """A message of a handover to host `to`. bo follows already; dee only stands by, and has to be made to follow."""

    to: str
    kind: type[Message]
    is_late: bool = False  # it comes after the transfer is asked for

    def __str__(self) -> str:
        return f"{'after-' if self.is_late else ''}{self.to}-{self.kind.__name__}"

    def town(self) -> Town:
        """Where such a handover can happen."""
        return make_town(*([Host("dee")] if self.to == "dee" else []))

    def strike(self, town: Town, act: Act, *, handled: bool = False) -> None:
        """Plan `act` for this step, and have somebody ask for the handover."""
        strike_at(town, self.kind, act, handled=handled, of=self.to, transferred=self.is_late)
        hand_over(town, to=self.to)


COPYING = (LinkAsk, LinkAt, Follow, Following, Align, Append, Have, Keep)
SEALING = (Prepare, Expect, SetInSync, Sealed, Ready)
BEFORE = [
    *(Step("bo", kind) for kind in (Pick, Picked, *SEALING)),
    *(Step("dee", kind) for kind in (*COPYING, *SEALING)),
]
TRANSFER = Step("bo", Transfer)
AFTER = [
    *(Step("bo", kind, is_late=True) for kind in (Granted, TakeOver, Follow, Following, Align, Have, Keep, Relocate)),
    Step("dee", TakeOver, is_late=True),
]
STEPS = [*BEFORE, TRANSFER, *AFTER]
PROMOTION = [step for step in STEPS if step.to == "bo"]

WHEN_SENT_OR_HANDLED = pytest.mark.parametrize("handled", [False, True], ids=["sent", "handled"])


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_limits():
        yield


def test_a_handover_under_load_loses_nothing_and_nobody_leaves_or_joins() -> None:
    town = make_town()
    hand_over(town)
    town.world.run(town.world.now_ms + 1_000)
    assert town.active_host() is town.hosts["bo"]
    wait_for_epoch(town, 2)
    assert followers_of(town) == ["ana"], "the old one follows the new one"
    finish(town)
    assert not town.checkers.lost_logs


def test_a_handover_to_one_that_only_stands_by_makes_a_follower_of_it_first() -> None:
    town = make_town(Host("dee"))
    asked: list[str] = []
    town.when(LinkAsk, lambda sender, receiver: asked.append(f"{sender} -> {receiver}"))
    hand_over(town, to="dee")
    wait_for_epoch(town, 2)
    assert asked == ["ana.s1 -> dee"]
    assert town.active_host() is town.hosts["dee"]
    assert followers_of(town) == ["ana"], "bo has made room"
    finish(town)
    assert not town.checkers.lost_logs


def test_a_handover_to_a_follower_copies_nothing_anew() -> None:
    town = make_town()
    town.when(LinkAsk, lambda sender, receiver: pytest.fail(f"{sender} asks {receiver} for a link"))
    hand_over(town, to="bo")
    wait_for_epoch(town, 2)
    hand_over(town, to="ana")
    wait_for_epoch(town, 3)
    town.triggers.clear()
    finish(town)


def test_twenty_handovers_there_and_back() -> None:
    town = make_town()
    for turn in range(20):
        epoch = epoch_of(town)
        hand_over(town, by=("ana", "bo", "cy")[turn % 3])
        wait_for_epoch(town, epoch + 1)
    finish(town)
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("step", [*BEFORE, TRANSFER], ids=str)
@WHEN_SENT_OR_HANDLED
def test_the_target_dies_before_the_transfer(step: Step, handled: bool) -> None:
    town = step.town()
    step.strike(town, killing(town, step.to), handled=handled)
    finish(town)
    assert town.hosts[step.to].lives == 2, "it was not killed"
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("step", AFTER, ids=str)
@WHEN_SENT_OR_HANDLED
def test_the_target_dies_with_the_role_and_the_source_takes_it_back(step: Step, handled: bool) -> None:
    town = step.town()
    step.strike(town, killing(town, step.to), handled=handled)
    finish(town)
    assert town.hosts[step.to].lives == 2, "it was not killed"
    assert not town.checkers.lost_logs, "the source is its first follower, and has everything"
    assert epoch_of(town) >= 3


@pytest.mark.parametrize("step", BEFORE, ids=str)
@WHEN_SENT_OR_HANDLED
def test_the_source_dies_before_the_transfer_and_a_follower_takes_over(step: Step, handled: bool) -> None:
    town = step.town()
    step.strike(town, killing(town, "ana"), handled=handled)
    wait_for_epoch(town, 2)
    assert town.active_host() is not town.hosts["ana"]
    finish(town)
    assert town.hosts["ana"].lives == 2, "it was not killed"
    assert not town.checkers.lost_logs


@WHEN_SENT_OR_HANDLED
def test_the_source_dies_while_nobody_knows_whether_the_transfer_was_granted(handled: bool) -> None:
    town = make_town()
    town.zdns.disk_ms = 100
    town.when(Transfer, killing(town, "ana"), handled=handled)
    hand_over(town)
    town.world.run(town.world.now_ms + 1_000)
    assert town.active_host() is town.hosts["bo"], "by the transfer, or by a failover"
    assert epoch_of(town) == 2
    finish(town)
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("step", AFTER, ids=str)
@WHEN_SENT_OR_HANDLED
def test_the_source_dies_after_the_transfer_and_nothing_is_lost(step: Step, handled: bool) -> None:
    town = step.town()
    step.strike(town, killing(town, "ana"), handled=handled)
    finish(town)
    assert town.hosts["ana"].lives == 2, "it was not killed"
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_source_and_target_die_at_once_and_come_back(step: Step) -> None:
    town = step.town()
    step.strike(town, killing(town, "ana", step.to))
    finish(town)
    assert town.hosts["ana"].lives == town.hosts[step.to].lives == 2, "they were not killed"
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("step", [Step("bo", SetInSync), Step("bo", Sealed), Step("bo", Ready), *AFTER[:3]], ids=str)
@pytest.mark.parametrize("deed", ["killed", "stopped", "parted", "leaves"])
def test_another_follower_is_gone_in_the_middle(step: Step, deed: str) -> None:
    town = make_town(Host("dee"), replicas=2)

    def act(_sender: str, _receiver: str) -> None:
        match deed:
            case "killed":
                town.kill_server(town.hosts["dee"])
            case "stopped":
                pausing(town, "dee", 5_000)("", "")
            case "parted":
                for other in ("ana", "bo"):
                    town.part("dee", other, 3_000)
            case _:
                town.quit(town.hosts["dee"])

    step.strike(town, act)
    finish(town)
    assert epoch_of(town) >= 2
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("step", PROMOTION, ids=str)
@pytest.mark.parametrize("deed", ["stopped", "killed", "mute", "slow disk"])
def test_zdns_is_silent_from_one_step_on(step: Step, deed: str) -> None:
    town = step.town()

    def act(_sender: str, _receiver: str) -> None:
        match deed:
            case "stopped":
                town.pause(ZDNS, 4_000)
            case "killed":
                town.kill(ZDNS)
                town.later(1_500, lambda: town.bring_back(ZDNS))
            case "mute":
                town.network.weather = Weather(mute_chance=1.0)
            case _:
                town.zdns.disk_ms = 1_000

    step.strike(town, act)
    finish(town)
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("step", PROMOTION, ids=str)
def test_zdns_and_the_source_die_at_once(step: Step) -> None:
    town = step.town()

    def act(_sender: str, _receiver: str) -> None:
        town.kill(ZDNS)
        town.kill_server(town.hosts["ana"])
        town.later(1_500, lambda: town.bring_back(ZDNS))

    step.strike(town, act)
    finish(town)
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("who", ["source", "target"])
@pytest.mark.parametrize("step", STEPS, ids=str)
def test_source_or_target_sleeps_past_its_lease(step: Step, who: str) -> None:
    town = step.town()
    step.strike(town, pausing(town, "ana" if who == "source" else step.to, 5_000))
    town.world.run(town.world.now_ms + 3_500)
    finish(town)
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("one_way", [False, True], ids=["both ways", "one way"])
@pytest.mark.parametrize("step", STEPS, ids=str)
def test_source_and_target_are_parted(step: Step, one_way: bool) -> None:
    town = step.town()
    step.strike(town, lambda _sender, _receiver: town.part("ana", step.to, 3_000, one_way=one_way))
    finish(town)
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_the_link_between_source_and_target_breaks(step: Step) -> None:
    town = step.town()
    step.strike(town, lambda _sender, _receiver: town.network.break_between("ana", step.to))
    finish(town)
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("kinds", [(Relocate,), (Relocate, Prepare)], ids=["relocate", "relocate and prepare"])
def test_a_reader_misses_the_relocate(kinds: tuple[type[Message], ...]) -> None:
    town = make_town()
    town.network.loses = lambda _sender, receiver, message: receiver == "cy" and type(message) in kinds
    hand_over(town, by="ana")
    wait_for_epoch(town, 2, within_ms=5_000)
    finish(town)
    assert not town.checkers.lost_logs


def test_several_ask_for_a_handover_at_once_and_one_happens() -> None:
    town = make_town()
    for by in ("ana", "bo", "cy", "cy"):
        hand_over(town, by=by)
    hand_over(town, by="cy", to="bo")
    town.world.run(town.world.now_ms + 800)
    assert epoch_of(town) == 2
    finish(town)


def test_handovers_are_asked_for_at_both_servers_while_one_is_under_way() -> None:
    town = make_town()

    def ask_again(_sender: str, _receiver: str) -> None:
        hand_over(town, by="ana")
        hand_over(town, by="bo")

    for kind in (Expect, Sealed, TakeOver):
        strike_at(town, kind, ask_again)
    hand_over(town)
    town.world.run(town.world.now_ms + 2_000)
    assert epoch_of(town) >= 2
    finish(town)
    assert not town.checkers.lost_logs


def test_a_handover_to_oneself_or_to_nobody_changes_nothing() -> None:
    town = make_town()
    hand_over(town, to="ana")
    hand_over(town, to="somebody else")
    town.world.run(town.world.now_ms + 1_000)
    assert epoch_of(town) == 1
    finish(town)


def test_clients_reach_the_new_server_long_before_it_takes_over() -> None:
    town = make_town()
    town.when(Sealed, lambda _sender, _receiver: town.pause(ZDNS, 1_500), handled=True)
    hand_over(town)
    town.world.run(town.world.now_ms + 1_000)
    assert epoch_of(town) == 1, "zdns sleeps"
    finish(town)
    assert epoch_of(town) >= 2
    assert not town.checkers.lost_logs


def test_posts_during_a_long_seal_are_all_committed_once_each() -> None:
    town = make_town()
    town.zdns.disk_ms = 600
    hand_over(town)
    town.world.run(town.world.now_ms + 400)
    before = town.checkers.head
    for host in town.clients():
        for _ in range(30):
            town.say(host)
    finish(town)
    assert town.checkers.head >= before + 90
    assert not town.checkers.lost_logs


def test_a_source_that_slept_through_everything_commits_nothing_when_it_wakes() -> None:
    town = make_town()
    strike_at(town, Granted, pausing(town, "ana", 20_000), transferred=True)
    hand_over(town)
    town.world.run(town.world.now_ms + 6_000)
    assert town.active_host() is town.hosts["bo"]
    assert is_stopped(town, "ana")
    finish(town)
    assert not town.checkers.lost_logs


def test_the_active_participant_quits_and_hands_over_first() -> None:
    town = make_town()
    town.quit(town.hosts["ana"])
    town.world.run(town.world.now_ms + 3_000)
    assert not town.hosts["ana"].is_up
    assert town.active_host() is town.hosts["bo"]
    finish(town)
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_the_target_quits_in_the_middle(step: Step) -> None:
    town = make_town(Host("dee"))
    step.strike(town, lambda _sender, _receiver: town.quit(town.hosts[step.to]))
    finish(town)
    assert not town.hosts[step.to].is_up
    assert not town.checkers.lost_logs, "it left in good order"


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_the_source_quits_in_the_middle(step: Step) -> None:
    town = step.town()
    step.strike(town, lambda _sender, _receiver: town.quit(town.hosts["ana"]))
    finish(town)
    assert not town.hosts["ana"].is_up
    assert not town.checkers.lost_logs, "it left in good order"


def test_posts_commit_while_zdns_is_down() -> None:
    town = make_town()
    town.kill(ZDNS)
    town.world.run(town.world.now_ms + 1_000)
    before = town.checkers.head
    town.world.run(town.world.now_ms + 1_000)
    assert town.checkers.head > before + 20
    finish(town)


@pytest.mark.parametrize("kind", [Granted, TakeOver])
def test_posts_commit_at_the_new_server_though_zdns_died_right_after_the_transfer(kind: type[Message]) -> None:
    town = make_town()
    town.network.weather = Weather(latency_ms=(1, 1))
    strike_at(town, kind, lambda _sender, _receiver: town.kill(ZDNS), handled=True, transferred=True)
    hand_over(town)
    town.world.run(town.world.now_ms + 700)
    assert town.active_host() is town.hosts["bo"]
    before = town.checkers.head
    town.world.run(town.world.now_ms + 500)
    assert town.checkers.head > before + 10
    finish(town)


def test_a_private_talk_goes_on_while_the_role_moves() -> None:
    town = make_town()
    ana, bo, cy = (town.hosts[name] for name in ("ana", "bo", "cy"))
    for turn in range(6):
        for sender, receiver in ((ana, bo), (bo, ana), (cy, ana), (ana, cy)):
            town.tell(sender, receiver)
        hand_over(town, by="cy")
        wait_for_epoch(town, turn + 2)
    finish(town)
    views = town.checkers.views
    assert [len(views[name].received) for name in ("ana", "bo", "cy")] == [12, 6, 6]


def test_clocks_that_disagree_change_nothing() -> None:
    town = Town(seed=3, term_ms=500)
    town.zdns.start()
    for name, clock in (("ana", Clock(10**12, 970)), ("bo", Clock(0, 1_030)), ("cy", Clock(5, 900))):
        town.add(Host(name, clock=clock))
    town.world.run(300)
    keep_posting(town, 5_000)
    town.world.run(6_000)
    assert epoch_of(town) > 4
    settle(town, WITHIN_MS)
    encore(town)


def test_the_gate_travels_with_the_handover() -> None:
    town = Town(seed=4, min_n=3)
    town.zdns.start()
    town.add(Host("ana", serve_first=True))
    town.world.run(50)
    town.add(Host("bo"))
    town.world.run(600)
    for host in town.clients():
        town.say(host)
    hand_over(town, by="ana")
    town.world.run(2_000)
    assert epoch_of(town) == 2
    assert town.checkers.head == 0, "nothing is shown before three are there"
    town.add(Host("cy"))
    settle(town, WITHIN_MS)
    assert town.checkers.head == 2


# --- who is silent, and the topic ---


def changes_of(town: Town) -> set[tuple[str, str]]:
    """What anybody was told of anybody."""
    return {change for view in town.checkers.views.values() for change in view.changes}


def forget_changes(town: Town) -> None:
    """From now on."""
    for view in town.checkers.views.values():
        view.changes.clear()


@pytest.mark.parametrize("term_ms", [200, 900, 3_000])
def test_while_the_role_wanders_nobody_seems_to_come_or_go_or_fall_silent(term_ms: int) -> None:
    town = Town(seed=5, term_ms=term_ms)
    town.zdns.start()
    for name in ("ana", "bo", "cy"):
        town.add(Host(name, serve_first=name == "ana"))
    town.add(Host("dee", serves=False))
    town.add(Host("reader", serves=False, guest=True))
    settle(town, WITHIN_MS)
    town.world.run(town.world.now_ms + 200)
    forget_changes(town)
    town.world.run(town.world.now_ms + 15_000)
    assert epoch_of(town) > 5
    assert changes_of(town) == set()


@pytest.mark.parametrize(("kind", "handled"), [(Granted, True), (TakeOver, False)])
def test_a_failover_makes_nobody_fall_silent(kind: type[Message], handled: bool) -> None:
    town = make_town()
    forget_changes(town)
    strike_at(town, kind, killing(town, "bo"), handled=handled, transferred=True)
    hand_over(town)
    town.world.run(town.world.now_ms + 10_000)
    assert epoch_of(town) >= 3
    assert changes_of(town) == set()
    finish(town)


@pytest.mark.parametrize(("for_ms", "epoch"), [(1_500, 1), (5_000, 2)], ids=["a moment", "past its lease"])
def test_while_a_server_stands_still_nobody_is_called_silent(for_ms: int, epoch: int) -> None:
    town = make_town()
    forget_changes(town)
    pausing(town, "ana", for_ms)("", "")
    town.world.run(town.world.now_ms + 12_000)
    assert epoch_of(town) == epoch
    assert changes_of(town) == set()
    finish(town)


def test_a_member_that_stands_still_falls_silent_and_is_heard_again() -> None:
    town = make_town()
    forget_changes(town)
    town.pause("cy", 4_500)
    town.world.run(town.world.now_ms + 3_600)
    assert changes_of(town) == {("cy", "silent")}
    hand_over(town, by="ana")
    town.world.run(town.world.now_ms + 3_000)
    assert [town.checkers.views[name].changes for name in ("ana", "bo")] == [[("cy", "silent"), ("cy", "heard")]] * 2
    assert epoch_of(town) == 2
    finish(town)


def test_the_topic_travels_with_the_role_and_newcomers_see_it() -> None:
    town = make_town()
    town.set_topic(town.hosts["cy"], "tea")
    for turn in range(3):
        hand_over(town)
        wait_for_epoch(town, turn + 2)
    town.add(Host("dee", serves=False))
    town.add(Host("reader", serves=False, guest=True))
    settle(town, WITHIN_MS)
    assert [view.topic for view in town.checkers.views.values()] == ["tea"] * 5
    finish(town)


@pytest.mark.parametrize("step", PROMOTION, ids=str)
def test_a_topic_set_in_the_middle_of_a_handover_is_everybodys(step: Step) -> None:
    town = make_town()
    step.strike(town, lambda _sender, _receiver: town.set_topic(town.hosts["cy"], "cake"))
    town.world.run(town.world.now_ms + 1_000)
    assert epoch_of(town) == 2
    settle(town, WITHIN_MS)
    assert [view.topic for view in town.checkers.views.values()] == ["cake"] * 3
    finish(town)
