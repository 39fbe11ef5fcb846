"""Coming in where nobody is yet, and leaving where nobody can follow: how long it takes, in virtual time."""

from collections.abc import Iterator

import pytest

from tests.sim.network import Weather
from tests.sim.nodes import ZDNS
from tests.sim.runs import encore, settle
from tests.sim.town import Host, Town, small_limits
from wire import limits
from wire.messages import Claim, Message, Pick

WIRE_MS = 60  # a few round trips of the weather below
WITHIN_MS = 12_000
POST_EACH_MS = 50
LEFT_WITHIN_MS = limits.QUIT_HANDOVER_MS + limits.DNS_ATTEMPT_MS + 300


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_limits():
        yield


def make_town(*hosts: Host) -> Town:
    """A name nobody ever served, and these hosts, who come in the same moment."""
    town = Town(seed=1)
    town.network.weather = Weather(latency_ms=(1, 3))
    town.zdns.start()
    for host in hosts:
        town.add(host)
    return town


def heard(town: Town, kind: type[Message]) -> list[str]:
    """Who sends a message of `kind`, from now on."""
    senders: list[str] = []

    def sent(sender: str, _receiver: str) -> None:
        senders.append(sender)
        town.when(kind, sent)

    town.when(kind, sent)
    return senders


def live_after_ms(town: Town, count: int = 1) -> int:
    """Wait until `count` clients are in; returns how long that took."""
    views = town.checkers.views
    came_ms = town.world.now_ms
    assert town.world.run(
        came_ms + WITHIN_MS,
        lambda: [view.state for view in views.values()].count("live") == count,
        look_each_ms=5,
    )
    return town.world.now_ms - came_ms


def test_the_first_one_waits_only_for_somebody_who_would_serve_first() -> None:
    town = make_town(Host("ana"))
    assert live_after_ms(town) <= limits.CLAIM_WAIT_MS + WIRE_MS
    settle(town, WITHIN_MS)
    encore(town)


def test_who_serves_first_waits_for_nobody() -> None:
    assert live_after_ms(make_town(Host("ana", serve_first=True))) <= WIRE_MS


def test_of_several_first_ones_one_serves_and_all_are_in_at_once() -> None:
    town = make_town(*(Host(name) for name in ("ana", "bo", "cy")))
    claims = heard(town, Claim)
    assert live_after_ms(town, 3) <= limits.CLAIM_WAIT_MS + WIRE_MS
    assert len(claims) > 1, "they wanted it together"
    assert {view.epoch for view in town.checkers.views.values()} == {1}
    settle(town, WITHIN_MS)
    encore(town)


def test_who_comes_a_little_later_and_would_serve_first_does() -> None:
    town = make_town(Host("ana"), Host("bo"))
    town.world.run(limits.CLAIM_WAIT_MS * 3 // 4)
    town.add(Host("cy", serve_first=True))
    live_after_ms(town, 3)
    assert town.active_host() is town.hosts["cy"]


def test_where_a_history_was_ended_the_next_one_waits_no_longer_than_the_first() -> None:
    town = make_town(Host("ana"))
    live_after_ms(town)
    town.quit(town.hosts["ana"])
    assert town.world.run(town.world.now_ms + WITHIN_MS, lambda: not town.hosts["ana"].is_up)
    town.add(Host("bo"))
    assert live_after_ms(town) <= limits.CLAIM_WAIT_MS + WIRE_MS


# --- leaving ---


def three() -> Town:
    """ana serves a history, bo and cy stand by."""
    town = make_town(Host("ana", serve_first=True), Host("bo"), Host("cy"))
    live_after_ms(town, 3)
    for _ in range(40):
        town.say(town.hosts["ana"], padding=100)
    settle(town, WITHIN_MS)
    town.world.run(town.world.now_ms + limits.LEASE_MS)  # by now every standby knows who serves
    return town


def left_after_ms(town: Town) -> int:
    """ana quits while the others go on writing; returns how long anything of it runs."""
    ana, began_ms = town.hosts["ana"], town.world.now_ms
    town.quit(ana)

    def post() -> None:
        for host in town.clients():
            town.say(host)
        town.later(POST_EACH_MS, post)

    post()
    assert town.world.run(began_ms + 60_000, lambda: not ana.is_up, look_each_ms=5), "it never ends"
    return town.world.now_ms - began_ms


def test_who_serves_leaves_at_once_where_somebody_can_follow() -> None:
    town = three()
    assert left_after_ms(town) <= 1_000
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("others", ["there", "stopped", "killed"])
@pytest.mark.parametrize("zdns", ["there", "stopped", "killed", "empty"])
def test_leaving_has_an_end_whoever_is_gone(zdns: str, others: str) -> None:
    town = three()
    match zdns:
        case "stopped":
            town.pause(ZDNS, 100_000)
        case "killed" | "empty":
            town.kill(ZDNS)
    if zdns == "empty":
        town.zdns.records.clear()
        town.zdns.start()
        town.world.run(town.world.now_ms + limits.LEASE_MS)  # the standbys are known there again
    for name in ("bo", "cy"):
        if others == "killed":
            town.kill_host(town.hosts[name])
        elif others == "stopped":
            for node in (name, f"{name}.s1"):
                town.pause(node, 100_000)
    assert left_after_ms(town) <= LEFT_WITHIN_MS


def test_a_zdns_that_lost_its_records_makes_nobody_hand_over_for_ever() -> None:
    town = three()
    town.kill(ZDNS)
    town.zdns.records.clear()
    town.zdns.start()
    town.world.run(town.world.now_ms + limits.LEASE_MS)
    picks = heard(town, Pick)
    assert left_after_ms(town) <= LEFT_WITHIN_MS
    assert picks.count("ana.s1") > 2, "it had gone on trying"
