"""Handovers under a steady load, with the real limits."""

from tests.sim.network import Weather
from tests.sim.test_handover_scenarios import epoch_of, finish, hand_over, make_town
from tests.sim.town import Host


def test_a_handover_goes_on_while_posts_never_pause() -> None:
    town = make_town()
    town.network.weather = Weather(latency_ms=(20, 20))

    def post(host: Host) -> None:
        town.say(host)
        if epoch_of(town) == 1:
            town.later(4, lambda: post(host))

    for host in town.clients():
        post(host)
    hand_over(town)
    assert town.world.run(town.world.now_ms + 4_000, lambda: epoch_of(town) == 2), "the dump never caught up"
    finish(town)
    assert not town.checkers.lost_logs
