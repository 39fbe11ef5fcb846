"""Servers that die, stand still or come back while nobody hands over, named; on the same kit as the random runs."""

import itertools
from collections.abc import Iterator

import pytest

from tests.sim.network import Weather
from tests.sim.nodes import ZDNS
from tests.sim.runs import settle, start_over
from tests.sim.town import Host, Town, small_limits
from tests.support.scenarios import (
    WITHIN_MS,
    epoch_of,
    finish,
    followers_of,
    hand_over,
    killing,
    make_town,
    pausing,
    strike_at,
    wait_for_epoch,
    wait_for_followers,
)
from wire import limits
from wire.messages import (
    Align,
    Append,
    Claim,
    Follow,
    Following,
    Granted,
    Have,
    Keep,
    LinkAsk,
    LinkAt,
    Message,
    Ping,
    Registered,
    SetInSync,
)

FAILOVER_MS = 1_000  # with a process that is seen to be gone: a probe, a claim, and clients that look up who serves
# Until a machine that says nothing is given up by everybody: its silence, a lease, a claim and a look-up.
SILENT_FAILOVER_MS = limits.LEADER_SILENT_MS + limits.PROBE_MS + limits.LEASE_MS + limits.CLAIM_AGAIN_MS + FAILOVER_MS
WHEN_SENT_OR_HANDLED = pytest.mark.parametrize("handled", [False, True], ids=["sent", "handled"])


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_limits():
        yield


def run(town: Town, for_ms: int) -> None:
    """Let time pass."""
    town.world.run(town.world.now_ms + for_ms)


def kill_hosts(town: Town, *names: str) -> None:
    """kill -9 of all processes of these hosts, at once."""
    for name in names:
        town.kill_host(town.hosts[name])


def wait_for_posts(town: Town, count: int, within_ms: int) -> None:
    """Wait until so many posts more are committed."""
    head = town.checkers.head
    until_ms = town.world.now_ms + within_ms
    assert town.world.run(until_ms, lambda: town.checkers.head >= head + count, look_each_ms=5), "nothing is committed"


# --- the one who serves ---


def test_when_the_active_server_is_killed_its_follower_serves_at_once() -> None:
    town = make_town()
    town.kill_server(town.hosts["ana"])
    assert wait_for_epoch(town, 2) <= FAILOVER_MS
    assert town.active_host() is town.hosts["bo"]
    wait_for_posts(town, 10, 1_000)
    finish(town)
    assert not town.checkers.lost_logs


def test_a_machine_that_says_nothing_is_succeeded_when_its_lease_has_ended() -> None:
    town = make_town()
    town.kill_host(town.hosts["ana"], silent=True)
    run(town, limits.LEASE_MS - limits.RENEW_MS_MAX - 100)
    assert epoch_of(town) == 1, "it may live, and only we do not hear it"
    wait_for_epoch(town, 2, SILENT_FAILOVER_MS)
    town.bring_back("ana")
    finish(town)
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("for_ms", [200, 400, 700, 1_500, 2_400, 2_900, 3_100, 3_300, 3_600, 5_000, 9_000])
def test_a_server_that_stood_still_commits_nothing_more_when_somebody_has_taken_over(for_ms: int) -> None:
    town = make_town()
    pausing(town, "ana", for_ms)("", "")
    run(town, for_ms)
    if for_ms >= SILENT_FAILOVER_MS:
        assert town.active_host() is town.hosts["bo"]
    finish(town)
    assert not town.checkers.lost_logs


def test_a_server_that_only_its_clients_reach_commits_nothing() -> None:
    town = make_town()
    for other in ("bo", ZDNS):
        town.part("ana", other, 2 * SILENT_FAILOVER_MS)
    run(town, limits.KEEP_MS)
    head = town.checkers.head
    run(town, limits.LEASE_MS - limits.RENEW_MS_MAX - 2 * limits.KEEP_MS)
    assert town.checkers.head == head, "bo may not have it"
    run(town, SILENT_FAILOVER_MS)
    assert town.active_host() is town.hosts["bo"]
    run(town, SILENT_FAILOVER_MS)
    finish(town)
    assert not town.checkers.lost_logs


def test_a_server_whose_clients_are_cut_off_is_not_succeeded() -> None:
    town = make_town()
    town.part("ana", "cy", 4_000)
    run(town, 4_000)
    assert epoch_of(town) == 1
    finish(town)


@pytest.mark.parametrize(
    "kind", [Ping, Claim, Granted, SetInSync, LinkAsk, LinkAt, Follow, Following, Align, Have, Keep]
)
@WHEN_SENT_OR_HANDLED
def test_the_successor_dies_as_well(kind: type[Message], handled: bool) -> None:
    town = make_town(Host("dee"))
    town.kill_server(town.hosts["ana"])
    strike_at(town, kind, killing(town, "bo"), handled=handled, of="bo")
    finish(town)
    assert town.hosts["bo"].lives == 2, "it was not killed"
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("late_ms", [0, 450, 520, 600, 1_000, 2_500, 4_000])
def test_the_one_who_died_is_back_before_its_follower_has_noticed(late_ms: int) -> None:
    town = make_town()
    if late_ms:
        pausing(town, "bo", late_ms)("", "")
    town.kill_server(town.hosts["ana"])
    run(town, 500)
    finish(town)
    assert town.hosts["ana"].lives == 2
    assert epoch_of(town) >= 2, "nobody goes on in an epoch in which it may have forgotten something"
    assert not town.checkers.lost_logs


@pytest.mark.parametrize(
    "weather", [Weather(mute_chance=0.5), Weather(latency_ms=(20, 60)), Weather(late_ms=400, late_chance=0.1)]
)
def test_failover_in_bad_weather(weather: Weather) -> None:
    town = make_town(Host("dee"))
    town.network.weather = weather
    town.kill_server(town.hosts["ana"])
    run(town, 4_000)
    assert epoch_of(town) >= 2
    finish(town)
    assert not town.checkers.lost_logs


def test_one_server_after_the_other_dies_and_none_takes_anything_along() -> None:
    town = make_town(Host("dee"))
    for epoch in range(2, 8):
        active = town.active_host()
        assert active is not None
        town.kill_server(active)
        wait_for_epoch(town, epoch)
        assert town.world.run(town.world.now_ms + 3_000, lambda: bool(followers_of(town)))
    finish(town)
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("back_ms", [100, 3_000])
def test_the_active_server_and_zdns_die_at_once(back_ms: int) -> None:
    town = make_town()
    town.kill(ZDNS)
    kill_hosts(town, "ana")
    town.later(back_ms, lambda: town.bring_back(ZDNS))
    run(town, back_ms)
    wait_for_epoch(town, 2, FAILOVER_MS + limits.DNS_BACKOFF_MAX_MS + limits.SEARCH_AGAIN_MAX_MS)
    finish(town)
    assert not town.checkers.lost_logs


def test_with_two_followers_two_of_three_servers_may_die_at_once() -> None:
    town = make_town(Host("dee"), replicas=2)
    kill_hosts(town, "ana", "bo")
    wait_for_epoch(town, 2)
    assert town.active_host() is town.hosts["dee"]
    finish(town)
    assert not town.checkers.lost_logs


def test_members_topic_and_gate_outlive_the_server() -> None:
    town = make_town(min_n=3)
    town.set_topic(town.hosts["cy"], "tea")
    run(town, 3 * limits.KEEP_MS)
    for view in town.checkers.views.values():
        view.changes.clear()
    town.kill_server(town.hosts["ana"])
    wait_for_epoch(town, 2)
    town.add(Host("reader", serves=False, guest=True))
    settle(town, WITHIN_MS)
    assert [view.topic for view in town.checkers.views.values()] == ["tea"] * 4
    assert [change for view in town.checkers.views.values() for change in view.changes] == []
    finish(town)


def test_a_gate_that_is_closed_stays_so_when_the_server_dies() -> None:
    town = Town(seed=4, min_n=3)
    town.zdns.start()
    town.add(Host("ana", serve_first=True))
    run(town, 50)
    town.add(Host("bo"))
    wait_for_followers(town, "bo")
    for host in town.clients():
        town.say(host)
    run(town, 3 * limits.KEEP_MS)
    town.kill_server(town.hosts["ana"])
    run(town, 2_000)
    assert epoch_of(town) == 2
    assert town.checkers.head == 0, "nothing is shown before three are there"
    town.add(Host("cy"))
    settle(town, WITHIN_MS)
    assert town.checkers.head == 2


# --- those who follow ---


@pytest.mark.parametrize("deed", ["killed", "machine", "stopped", "parted", "one way", "link", "leaves"])
@pytest.mark.parametrize("others", [(), ("dee",)], ids=["nobody else", "dee"])
def test_a_follower_that_is_gone_holds_nobody_up_and_is_replaced(deed: str, others: tuple[str, ...]) -> None:
    town = make_town(*map(Host, others))
    match deed:
        case "killed":
            kill_hosts(town, "bo")
        case "machine":
            town.kill_host(town.hosts["bo"], silent=True)
        case "stopped":
            pausing(town, "bo", 10_000)("", "")
        case "parted":
            town.part("ana", "bo", 10_000)
        case "one way":
            town.part("bo", "ana", 10_000, one_way=True)
        case "link":
            town.network.break_between("ana", "bo")
        case "leaves":
            town.quit(town.hosts["bo"])
    wait_for_posts(town, 20, limits.FOLLOWER_SILENT_MS + 2 * limits.KEEP_MS + 300)
    if others and deed != "link":
        wait_for_followers(town, "dee", within_ms=3 * limits.RECRUIT_MS)
    assert epoch_of(town) == 1
    if deed in ("killed", "machine"):
        town.bring_back("bo")
    finish(town)
    assert not town.checkers.lost_logs


def test_a_follower_dies_while_zdns_is_down_and_posts_wait_until_it_is_back() -> None:
    town = make_town()
    town.kill(ZDNS)
    kill_hosts(town, "bo")
    run(town, 500)
    head = town.checkers.head
    run(town, 1_500)
    assert town.checkers.head == head, "zdns might let bo take over, which does not have them"
    town.bring_back(ZDNS)
    wait_for_posts(town, 20, 1_500)
    finish(town)


@pytest.mark.parametrize("kind", [LinkAsk, LinkAt, Follow, Following, Align, Append, Have, Keep, SetInSync, Granted])
@pytest.mark.parametrize("who", ["ana", "dee", "both"])
@WHEN_SENT_OR_HANDLED
def test_the_leader_or_a_new_follower_dies_while_it_is_made_one(kind: type[Message], who: str, handled: bool) -> None:
    town = make_town(Host("dee"))
    kill_hosts(town, "bo")
    names = ("ana", "dee") if who == "both" else (who,)
    strike_at(town, kind, killing(town, *names), handled=handled, of="dee")
    run(town, 3_000)
    town.bring_back("bo")
    finish(town)
    assert [town.hosts[name].lives for name in names] == [2] * len(names), "they were not killed"
    assert not town.checkers.lost_logs


def test_a_follower_with_a_slow_disk_slows_the_room_down_and_one_that_gets_nowhere_is_let_go() -> None:
    town = make_town()
    disk = town.hosts["bo"].disk
    assert disk is not None
    disk.slow_ms = 100
    wait_for_posts(town, 20, 2_000)
    assert followers_of(town) == ["bo"]
    disk.slow_ms = 10 * limits.FOLLOWER_STALL_MS
    wait_for_posts(town, 20, limits.FOLLOWER_STALL_MS + 1_000)
    assert followers_of(town) == []
    finish(town)
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("post_each_ms", [20, 300])
def test_a_standby_whose_disk_gets_nowhere_holds_nobody_up(post_each_ms: int) -> None:
    town = make_town()
    kill_hosts(town, "bo")
    run(town, 3_000)
    town.add(Host("dee"))
    disk = town.hosts["dee"].disk
    assert disk is not None
    disk.slow_ms = limits.FOLLOWER_STALL_MS + 500
    for _ in range(8_000 // post_each_ms):
        town.say(town.hosts["cy"])
        run(town, post_each_ms)
        assert len(town.checkers.views["cy"].unanswered) <= 1 + 600 // post_each_ms, "posts wait"
    assert followers_of(town) == []
    finish(town)
    assert not town.checkers.lost_logs


def test_a_participant_that_leaves_and_comes_back_follows_again() -> None:
    town = make_town()
    town.quit(town.hosts["bo"])
    run(town, 1_500)
    assert not town.hosts["bo"].is_up
    assert followers_of(town) == []
    disk = town.hosts["bo"].disk
    assert disk is not None
    assert not disk.stores, "it was let go of before it left"
    town.bring_back("bo")
    wait_for_followers(town, "bo")
    finish(town)


# --- coming back from disk ---


@pytest.mark.parametrize("zdns", ["zdns stays", "zdns too"])
@pytest.mark.parametrize("order", list(itertools.permutations(("ana", "bo"))), ids="-".join)
@pytest.mark.parametrize("apart_ms", [0, 1_000, 6_000])
def test_everybody_is_killed_at_once_and_comes_back_with_everything(
    order: tuple[str, ...], apart_ms: int, zdns: str
) -> None:
    town = make_town()
    run(town, 700)
    head = town.checkers.head
    if zdns == "zdns too":
        town.kill(ZDNS)
    kill_hosts(town, "ana", "bo", "cy")
    run(town, 1_000)
    town.bring_back(ZDNS)
    for name in order:
        town.bring_back(name)
        run(town, apart_ms)
    town.bring_back("cy")
    finish(town)
    assert epoch_of(town) >= 2
    assert town.checkers.head >= head
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("who", ["ana", "bo"])
def test_of_all_who_were_killed_one_comes_back_and_that_is_enough(who: str) -> None:
    town = make_town()
    run(town, 700)
    head = town.checkers.head
    kill_hosts(town, "ana", "bo")
    run(town, 1_000)
    town.bring_back(who)
    wait_for_epoch(town, 2, limits.LEASE_MS + FAILOVER_MS + limits.SEARCH_AGAIN_MAX_MS)
    assert town.active_host() is town.hosts[who]
    assert town.checkers.head >= head
    finish(town)
    assert not town.checkers.lost_logs


def test_who_served_alone_and_died_goes_on_in_the_next_epoch() -> None:
    town = Town(seed=1)
    town.zdns.start()
    town.add(Host("ana", serve_first=True))
    town.add(Host("cy", serves=False))
    settle(town, WITHIN_MS)
    for _ in range(30):
        town.say(town.hosts["cy"])
    settle(town, WITHIN_MS)
    head = town.checkers.head
    town.kill_server(town.hosts["ana"])
    wait_for_epoch(town, 2)
    settle(town, WITHIN_MS)
    assert town.checkers.head == head
    assert not town.checkers.lost_logs


@pytest.mark.parametrize(("first", "last"), [("ana", "bo"), ("bo", "ana")])
def test_who_has_not_seen_the_end_does_not_serve_however_long_it_is_alone(first: str, last: str) -> None:
    town = make_town()
    kill_hosts(town, first)
    run(town, 1_500)  # the other goes on alone
    epoch = epoch_of(town)
    kill_hosts(town, last)
    town.bring_back(first)
    run(town, 2 * limits.LEASE_MS)
    assert epoch_of(town) == epoch
    assert not town.checkers.history_is_lost(), f"{last} has it on disk"
    assert all("nobody_serves" in view.faults for view in town.checkers.views.values())
    town.bring_back(last)
    wait_for_epoch(town, epoch + 1)
    assert town.active_host() is town.hosts[last]
    finish(town)
    assert not town.checkers.lost_logs


def test_a_server_is_killed_again_and_again_while_it_comes_back() -> None:
    town = make_town()
    kill_hosts(town, "bo")
    for kind in (Registered, Claim, Granted):
        strike_at(town, kind, killing(town, "ana"), handled=True)
        town.kill_server(town.hosts["ana"])
        run(town, 1_500)
    town.bring_back("bo")
    finish(town)
    assert town.hosts["ana"].lives >= 5
    assert not town.checkers.lost_logs


# --- without a disk ---


@pytest.mark.parametrize("name", ["ana", "bo"])
def test_in_an_ephemeral_room_one_may_die(name: str) -> None:
    town = make_town(ephemeral=True)
    town.kill_server(town.hosts[name])
    wait_for_posts(town, 20, FAILOVER_MS + 1_000)
    finish(town)
    assert not town.checkers.lost_logs


def test_an_ephemeral_room_whose_servers_die_at_once_is_lost_and_everybody_is_told() -> None:
    town = make_town(ephemeral=True)
    killing(town, "ana", "bo")("", "")
    run(town, 1_000)
    assert town.checkers.history_is_lost()
    start_over(town)
    finish(town)
    assert len(town.checkers.lost_logs) == 1


def test_of_two_without_a_disk_each_may_die_in_turn() -> None:
    town = make_town(ephemeral=True)
    for epoch in range(2, 6):
        active = town.active_host()
        assert active is not None
        town.kill_server(active)
        wait_for_epoch(town, epoch)
        assert town.world.run(town.world.now_ms + 3_000, lambda: bool(followers_of(town)))
    finish(town)
    assert not town.checkers.lost_logs


@pytest.mark.parametrize("with_disk", ["ana", "bo"])
def test_of_one_with_a_disk_and_one_without_the_disk_is_enough(with_disk: str) -> None:
    town = Town(seed=1)
    town.zdns.start()
    for name in ("ana", "bo"):
        town.add(Host(name, serve_first=name == "ana", ephemeral=name != with_disk))
        run(town, 50)
    town.add(Host("cy", serves=False))
    wait_for_followers(town, "bo")
    for _ in range(30):
        town.say(town.hosts["cy"])
    settle(town, WITHIN_MS)
    head = town.checkers.head
    killing(town, "ana", "bo")("", "")
    wait_for_epoch(town, 2, limits.LEASE_MS + FAILOVER_MS + limits.SEARCH_AGAIN_MAX_MS)
    assert town.active_host() is town.hosts[with_disk]
    assert town.checkers.head == head
    finish(town)
    assert not town.checkers.lost_logs


# --- a disk that fails ---


def break_disk(town: Town, name: str) -> None:
    """From now on no write succeeds there."""
    disk = town.hosts[name].disk
    assert disk is not None
    disk.broken = True


@pytest.mark.parametrize("name", ["ana", "bo"])
def test_with_a_broken_disk_the_room_goes_on_as_long_as_somebody_else_has_everything(name: str) -> None:
    town = make_town()
    break_disk(town, name)
    wait_for_posts(town, 20, 2_000)
    run(town, 1_000)
    town.kill_server(town.hosts["ana" if name == "ana" else "bo"])
    wait_for_posts(town, 10, 2_000)
    finish(town)
    assert not town.checkers.lost_logs


def test_where_the_only_disk_is_broken_posts_wait_for_somebody_who_follows() -> None:
    town = Town(seed=1)
    town.network.weather = Weather(latency_ms=(1, 3))
    town.zdns.start()
    town.add(Host("ana", serve_first=True))
    settle(town, WITHIN_MS)
    break_disk(town, "ana")
    for _ in range(5):
        town.say(town.hosts["ana"])
    run(town, 2_000)
    assert town.checkers.head == 0
    town.add(Host("bo"))
    wait_for_posts(town, 5, 2_000)
    town.kill_server(town.hosts["ana"])
    wait_for_epoch(town, 2)
    finish(town)
    assert not town.checkers.lost_logs


# --- a zdns that forgets ---


def forget_records(town: Town) -> None:
    """zdns dies, and its disk with it; it comes back knowing nothing."""
    town.kill(ZDNS)
    town.zdns.records.clear()
    town.bring_back(ZDNS)


def test_a_zdns_that_lost_its_records_is_told_them_and_the_room_goes_on() -> None:
    town = make_town()
    forget_records(town)
    wait_for_posts(town, 20, 1_000)
    run(town, 2 * limits.RENEW_MS_MAX)
    hand_over(town)
    wait_for_epoch(town, 2)
    town.kill_server(town.hosts["bo"])
    wait_for_epoch(town, 3)
    finish(town)
    assert not town.checkers.lost_logs


def test_who_comes_first_to_a_zdns_that_lost_its_records_gets_no_room_of_its_own() -> None:
    town = make_town()
    forget_records(town)
    town.add(Host("dee", serve_first=True))
    settle(town, WITHIN_MS)
    assert epoch_of(town) == 1
    finish(town)
    assert not town.checkers.lost_logs
