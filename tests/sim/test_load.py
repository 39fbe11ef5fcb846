"""Handovers and new followers under a steady load, with the real limits."""

import pytest

from tests.sim.network import Weather
from tests.sim.town import Host, Town
from tests.support.scenarios import epoch_of, finish, hand_over, make_town, wait_for_followers


def keep_loading(town: Town, host: Host, epoch: int) -> None:
    """The user of `host` posts without a pause, as long as this epoch lasts."""
    town.say(host)
    if epoch_of(town) == epoch:
        town.later(4, lambda: keep_loading(town, host, epoch))


@pytest.mark.parametrize("to", ["bo", "dee"], ids=["to a follower", "to one that has nothing yet"])
def test_a_handover_goes_on_while_posts_never_pause(to: str) -> None:
    town = make_town(Host("dee"))
    town.network.weather = Weather(latency_ms=(20, 20))
    for host in town.clients():
        keep_loading(town, host, 1)
    hand_over(town, to=to)
    assert town.world.run(town.world.now_ms + 4_000, lambda: epoch_of(town) == 2), "the copy never caught up"
    assert town.active_host() is town.hosts[to]
    finish(town)
    assert not town.checkers.lost_logs


def test_a_new_follower_catches_up_while_posts_never_pause() -> None:
    town = make_town(Host("dee"))
    town.network.weather = Weather(latency_ms=(20, 20))
    for host in town.clients():
        keep_loading(town, host, 1)
    town.kill_host(town.hosts["bo"])
    wait_for_followers(town, "dee")
    town.kill_host(town.hosts["ana"])
    assert town.world.run(town.world.now_ms + 4_000, lambda: epoch_of(town) == 2)
    finish(town)
    assert not town.checkers.lost_logs
