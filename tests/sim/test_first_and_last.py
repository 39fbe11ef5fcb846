"""Coming in where nobody is yet, and leaving where nobody can follow: how long it takes, in virtual time."""

import itertools
from collections.abc import Iterator

import pytest

from tests.sim.network import Weather
from tests.sim.nodes import ZDNS
from tests.sim.runs import encore, settle
from tests.sim.town import Host, Town, small_limits
from tests.support.scenarios import followers_of, wait_for_followers
from wire import limits
from wire.messages import Claim, Message

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


def leave(town: Town, *names: str) -> None:
    """These quit at once; wait until nothing of them runs."""
    for name in names:
        town.quit(town.hosts[name])
    until_ms = town.world.now_ms + WITHIN_MS
    assert town.world.run(until_ms, lambda: not any(town.hosts[name].is_up for name in names), look_each_ms=5)


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
    town = make_town(Host("ana", ephemeral=True))
    live_after_ms(town)
    leave(town, "ana")
    town.add(Host("bo"))
    assert live_after_ms(town) <= limits.CLAIM_WAIT_MS + WIRE_MS
    assert [view.epoch for view in town.checkers.views.values()] == [2]


def test_where_the_last_one_took_the_history_along_on_disk_it_is_waited_for_and_goes_on() -> None:
    town = make_town(Host("ana"))
    live_after_ms(town)
    for _ in range(30):
        town.say(town.hosts["ana"])
    settle(town, WITHIN_MS)
    head = town.checkers.head
    leave(town, "ana")
    town.add(Host("bo"))
    bo = town.checkers.views["bo"]
    assert town.world.run(town.world.now_ms + WITHIN_MS, lambda: "nobody_serves" in bo.faults)
    town.bring_back("ana")
    live_after_ms(town, len(town.clients()))
    settle(town, WITHIN_MS)
    assert {view.epoch for view in town.checkers.views.values()} == {2}
    assert town.checkers.head == head
    assert not town.checkers.lost_logs


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


def left_after_ms(town: Town, name: str = "ana") -> int:
    """One quits while the others go on writing; returns how long anything of it runs."""
    host, began_ms = town.hosts[name], town.world.now_ms
    town.quit(host)

    def post() -> None:
        for client in town.clients():
            town.say(client)
        town.later(POST_EACH_MS, post)

    post()
    assert town.world.run(began_ms + 60_000, lambda: not host.is_up, look_each_ms=5), "it never ends"
    return town.world.now_ms - began_ms


def follower_of(town: Town) -> str:
    """The one that follows."""
    (name,) = followers_of(town)
    return name


def test_who_serves_leaves_at_once_where_somebody_can_follow() -> None:
    town = three()
    assert left_after_ms(town) <= 1_000
    assert not town.checkers.lost_logs


def test_who_follows_leaves_when_nobody_counts_on_its_copy_any_more() -> None:
    town = three()
    name = follower_of(town)
    disk = town.hosts[name].disk
    assert disk is not None
    assert left_after_ms(town, name) <= limits.PART_MS
    assert name not in followers_of(town)
    assert not disk.stores
    wait_for_followers(town, "cy" if name == "bo" else "bo")


def test_who_follows_and_is_not_let_go_of_leaves_with_its_copy() -> None:
    town = three()
    name = follower_of(town)
    disk = town.hosts[name].disk
    assert disk is not None
    town.kill(ZDNS)
    assert left_after_ms(town, name) <= limits.PART_MS + limits.STOP_MS + 300
    assert followers_of(town) == [name]
    assert disk.newest() is not None
    town.bring_back(ZDNS)
    town.bring_back(name)
    settle(town, WITHIN_MS)
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("order", list(itertools.permutations(("ana", "bo", "cy"))), ids="-".join)
@pytest.mark.parametrize("apart_ms", [0, 3, 60, 700])
def test_everybody_leaves_and_comes_back_and_the_history_goes_on(order: tuple[str, ...], apart_ms: int) -> None:
    town = three()
    head = town.checkers.head
    for name in order[:-1]:
        town.quit(town.hosts[name])
        town.world.run(town.world.now_ms + apart_ms)
    leave(town, *(name for name in order if not town.hosts[name].leaving))
    assert town.world.run(town.world.now_ms + WITHIN_MS, lambda: not any(host.is_up for host in town.hosts.values()))
    for name in order:
        town.bring_back(name)
    settle(town, WITHIN_MS)
    assert town.checkers.head >= head
    assert not town.checkers.lost_logs
    encore(town)


def test_everybody_leaves_an_ephemeral_room_at_once_and_the_next_one_begins_another() -> None:
    names = ("ana", "bo", "cy")
    town = make_town(*(Host(name, ephemeral=True) for name in names))
    live_after_ms(town, 3)
    leave(town, *names)
    assert town.world.run(town.world.now_ms + WITHIN_MS, lambda: not any(host.is_up for host in town.hosts.values()))
    assert town.checkers.record is not None
    assert town.checkers.record.ended
    town.add(Host("dee"))
    assert live_after_ms(town) <= limits.CLAIM_WAIT_MS + WIRE_MS


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


@pytest.mark.parametrize("back_ms", [0, 500, limits.LEASE_MS])
def test_who_serves_leaves_though_zdns_lost_its_records_as_it_tells_them(back_ms: int) -> None:
    town = three()
    town.kill(ZDNS)
    town.zdns.records.clear()
    town.zdns.start()
    town.world.run(town.world.now_ms + back_ms)
    assert left_after_ms(town) <= limits.GRACE_MS + 2 * limits.RENEW_MS_MAX
    settle(town, WITHIN_MS)
    assert not town.checkers.lost_logs
