"""Handovers that go wrong in one particular way, named; on the same kit as the random runs."""

from collections.abc import Callable, Iterator

import pytest

from peer import intents
from tests.sim.network import Weather
from tests.sim.nodes import ZDNS, Clock, State
from tests.sim.runs import encore, settle, start_over
from tests.sim.town import Host, Town, small_limits
from wire.messages import (
    Accept,
    Credit,
    Dump,
    Granted,
    LinkAsk,
    LinkAt,
    Message,
    Offer,
    Pick,
    Picked,
    Prepare,
    Ready,
    Relocate,
    Sealed,
    SetInSync,
    TakeOver,
    Took,
    Transfer,
)

BEFORE_THE_TRANSFER = (Pick, Picked, LinkAsk, LinkAt, Offer, Accept, Dump, Credit, Prepare, Sealed, Ready)
AFTER_THE_TRANSFER = (Granted, TakeOver, SetInSync, Took, Relocate)
POST_EACH_MS = 30
WITHIN_MS = 12_000


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_limits():
        yield


def make_town(min_n: int = 0) -> Town:
    """ana serves, bo stands by, cy takes part without a server; some history, and everybody goes on posting."""
    town = Town(seed=1, min_n=min_n)
    town.network.weather = Weather(latency_ms=(1, 3))
    town.zdns.start()
    town.add(Host("ana", serve_first=True))
    town.world.run(50)
    town.add(Host("bo"))
    town.add(Host("cy", serves=False))
    town.world.run(1_000, lambda: not town.checkers.unsettled() and len(town.clients()) == 3)
    for _ in range(40):
        town.say(town.hosts["ana"], padding=100)
    settle(town, WITHIN_MS)
    assert epoch_of(town) == 1
    keep_posting(town, town.world.now_ms + 2_500)
    return town


def keep_posting(town: Town, until_ms: int) -> None:
    """Everybody posts, again and again."""
    for host in town.clients():
        town.say(host)
    if town.world.now_ms < until_ms:
        town.later(POST_EACH_MS, lambda: keep_posting(town, until_ms))


def hand_over(town: Town, to: str | None = None, by: str = "cy") -> None:
    """Somebody asks for a handover."""
    town.ask(town.hosts[by], intents.AskHandover(to=to))


def epoch_of(town: Town) -> int:
    """The epoch that zdns has on record."""
    assert town.checkers.record is not None
    return town.checkers.record.epoch


def wait_for_epoch(town: Town, epoch: int, within_ms: int = 4_000) -> None:
    """Wait until everybody is served in `epoch`."""
    views = town.checkers.views
    until_ms = town.world.now_ms + within_ms
    arrived = town.world.run(
        until_ms, lambda: all(view.epoch == epoch and view.state == "live" for view in views.values()), look_each_ms=5
    )
    assert arrived, f"{[(node, view.epoch, view.state) for node, view in views.items()]}, not {epoch}"


def finish(town: Town) -> None:
    """Let the posting end, heal everything, and require that the room is whole."""
    town.world.run(town.world.now_ms + 3_000)
    town.heal()
    settle(town, WITHIN_MS)
    encore(town)
    town.checkers.check_whole()


def strike_at(town: Town, kind: type[Message], act: Callable[[str, str], None], *, handled: bool = False) -> None:
    """Strike at that message of the handover; zdns grants other things before a transfer, too."""
    if kind in AFTER_THE_TRANSFER:
        town.when(Transfer, lambda _sender, _receiver: town.when(kind, act, handled=handled))
    else:
        town.when(kind, act, handled=handled)


def killing(town: Town, name: str) -> Callable[[str, str], None]:
    """What kills the server half of host `name`."""
    return lambda _sender, _receiver: town.kill_server(town.hosts[name])


def pausing(town: Town, name: str, for_ms: int) -> Callable[[str, str], None]:
    """What stops the server half of host `name` for a while."""

    def pause(_sender: str, _receiver: str) -> None:
        server = town.hosts[name].server
        assert server is not None
        town.pause(server.name, for_ms)

    return pause


def test_a_handover_under_load_loses_nothing_and_nobody_leaves_or_joins() -> None:
    town = make_town()
    hand_over(town)
    town.world.run(town.world.now_ms + 1_000)
    assert town.active_host() is town.hosts["bo"]
    wait_for_epoch(town, 2)
    finish(town)
    assert not town.checkers.lost_logs


def test_twenty_handovers_there_and_back() -> None:
    town = make_town()
    for turn in range(20):
        epoch = epoch_of(town)
        hand_over(town, by=("ana", "bo", "cy")[turn % 3])
        wait_for_epoch(town, epoch + 1)
    finish(town)
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("kind", [*BEFORE_THE_TRANSFER, Transfer])
@pytest.mark.parametrize("handled", [False, True], ids=["sent", "handled"])
def test_the_target_dies_before_the_transfer(kind: type[Message], handled: bool) -> None:
    town = make_town()
    strike_at(town, kind, killing(town, "bo"), handled=handled)
    hand_over(town)
    finish(town)
    assert town.hosts["bo"].lives == 2, "it was not killed"
    assert not town.checkers.lost_logs


@pytest.mark.parametrize(("kind", "handled"), [(Granted, False), (Granted, True), (TakeOver, False)])
def test_the_target_dies_with_the_role_before_it_lets_go_of_the_source(kind: type[Message], handled: bool) -> None:
    town = make_town()
    strike_at(town, kind, killing(town, "bo"), handled=handled)
    hand_over(town)
    finish(town)
    assert town.hosts["bo"].lives == 2, "it was not killed"
    assert not town.checkers.lost_logs, "the source holds everything, and is on record for it"
    assert epoch_of(town) >= 3


@pytest.mark.parametrize("kind", [SetInSync, Took])
def test_the_target_dies_as_the_only_holder(kind: type[Message]) -> None:
    town = make_town()
    strike_at(town, kind, killing(town, "bo"), handled=True)
    hand_over(town)
    finish(town)
    assert town.hosts["bo"].lives == 2, "it was not killed"
    assert len(town.checkers.lost_logs) == 1


@pytest.mark.parametrize("kind", BEFORE_THE_TRANSFER)
def test_the_source_dies_before_the_transfer_and_everybody_is_told(kind: type[Message]) -> None:
    town = make_town()
    strike_at(town, kind, killing(town, "ana"))
    hand_over(town)
    town.world.run(town.world.now_ms + 1_000)
    assert town.checkers.history_is_lost()
    start_over(town)
    finish(town)
    assert len(town.checkers.lost_logs) == 1


@pytest.mark.parametrize("handled", [False, True], ids=["sent", "handled"])
def test_the_source_dies_while_nobody_knows_whether_the_transfer_was_granted(handled: bool) -> None:
    town = make_town()
    town.zdns.disk_ms = 100
    town.when(Transfer, killing(town, "ana"), handled=handled)
    hand_over(town)
    town.world.run(town.world.now_ms + 1_000)
    granted = epoch_of(town) == 2
    assert granted or not handled
    assert town.checkers.history_is_lost() is not granted
    finish(town)
    assert bool(town.checkers.lost_logs) is not granted


@pytest.mark.parametrize("kind", AFTER_THE_TRANSFER)
@pytest.mark.parametrize("handled", [False, True], ids=["sent", "handled"])
def test_the_source_dies_after_the_transfer_and_nothing_is_lost(kind: type[Message], handled: bool) -> None:
    town = make_town()
    strike_at(town, kind, killing(town, "ana"), handled=handled)
    hand_over(town)
    finish(town)
    assert town.hosts["ana"].lives == 2, "it was not killed"
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("deed", ["stopped", "killed", "mute", "slow disk"])
@pytest.mark.parametrize("kind", [*BEFORE_THE_TRANSFER, Transfer, *AFTER_THE_TRANSFER])
def test_zdns_is_silent_from_one_step_on(kind: type[Message], deed: str) -> None:
    town = make_town()

    def strike(_sender: str, _receiver: str) -> None:
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

    strike_at(town, kind, strike)
    hand_over(town)
    finish(town)
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("who", ["ana", "bo"])
@pytest.mark.parametrize("kind", [*BEFORE_THE_TRANSFER, Transfer, *AFTER_THE_TRANSFER])
def test_source_or_target_sleeps_past_its_lease(kind: type[Message], who: str) -> None:
    town = make_town()
    strike_at(town, kind, pausing(town, who, 5_000))
    hand_over(town)
    town.world.run(town.world.now_ms + 3_500)
    finish(town)
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("one_way", [False, True], ids=["both ways", "one way"])
@pytest.mark.parametrize("kind", [*BEFORE_THE_TRANSFER, Transfer, *AFTER_THE_TRANSFER])
def test_source_and_target_are_parted(kind: type[Message], one_way: bool) -> None:
    town = make_town()
    strike_at(town, kind, lambda _sender, _receiver: town.part("ana", "bo", 3_000, one_way=one_way))
    hand_over(town)
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

    for kind in (Offer, Sealed, TakeOver):
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
    strike_at(town, Granted, pausing(town, "ana", 20_000))
    hand_over(town)
    town.world.run(town.world.now_ms + 6_000)
    assert town.active_host() is town.hosts["bo"]
    ana = town.hosts["ana"].server
    assert ana is not None
    assert ana.state is State.STOPPED
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


@pytest.mark.parametrize("handled", [False, True], ids=["sent", "handled"])
@pytest.mark.parametrize("kind", [*BEFORE_THE_TRANSFER, Transfer, *AFTER_THE_TRANSFER])
def test_the_target_quits_in_the_middle(kind: type[Message], handled: bool) -> None:
    town = make_town()
    town.add(Host("dee"))
    strike_at(town, kind, lambda _sender, _receiver: town.quit(town.hosts["bo"]), handled=handled)
    hand_over(town, to="bo")
    finish(town)
    assert not town.hosts["bo"].is_up
    assert not town.checkers.lost_logs, "it left in good order"


@pytest.mark.parametrize("handled", [False, True], ids=["sent", "handled"])
@pytest.mark.parametrize("kind", [*BEFORE_THE_TRANSFER, Transfer, *AFTER_THE_TRANSFER])
def test_the_source_quits_in_the_middle(kind: type[Message], handled: bool) -> None:
    town = make_town()
    strike_at(town, kind, lambda _sender, _receiver: town.quit(town.hosts["ana"]), handled=handled)
    hand_over(town)
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
    strike_at(town, kind, lambda _sender, _receiver: town.kill(ZDNS), handled=True)
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
    strike_at(town, kind, killing(town, "bo"), handled=handled)
    hand_over(town)
    town.world.run(town.world.now_ms + 10_000)
    assert epoch_of(town) >= 3
    assert changes_of(town) == set()
    finish(town)


def test_a_server_that_stood_still_calls_nobody_silent() -> None:
    town = make_town()
    forget_changes(town)
    pausing(town, "ana", 5_000)("", "")
    town.world.run(town.world.now_ms + 12_000)
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


@pytest.mark.parametrize("kind", [Prepare, Sealed, Ready, Transfer, TakeOver, Took])
def test_a_topic_set_in_the_middle_of_a_handover_is_everybodys(kind: type[Message]) -> None:
    town = make_town()
    strike_at(town, kind, lambda _sender, _receiver: town.set_topic(town.hosts["cy"], "cake"))
    hand_over(town)
    wait_for_epoch(town, 2)
    settle(town, WITHIN_MS)
    assert [view.topic for view in town.checkers.views.values()] == ["cake"] * 3
    finish(town)
