"""Machines die or stand still, alone and together, while people type: the room goes on by itself and loses nothing."""

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.kill_steps import STEPS, WHOLE, one_kill
from tests.support.processes import Chat
from tests.support.rooms import Room

Start = Callable[..., Room]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Start]:
    """Makes a room, in which the role moves only when it has to."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(Room(tmp_path, "--term", "0", *options))


def server_half(person: Chat) -> int:
    """The process id of its server half; 0: it has none now."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
        if parent == person.popen.pid:
            return int(stat.parent.name)
    return 0


def kill_half(person: Chat) -> None:
    """kill -9 of somebody's server half."""
    half = server_half(person)
    assert half, "it has none"
    os.kill(half, signal.SIGKILL)


def lost_or_left(person: Chat) -> list[str]:
    """Of whom it was told that they are gone."""
    return [e["name"] for e in person.so_far() if e["event"] == "member" and e["state"] in ("lost", "left")]


# --- kill -9 -------------------------------------------------------------------------------------------------------


def test_the_active_participant_is_killed_under_load_and_the_others_carry_on(room: Start) -> None:
    tea = room()
    tea.enter_all("ana", "bo", "cy")
    heir = tea.follower()
    with tea.talk("bo", "cy"):
        tea.kill("ana")
        for name in ("bo", "cy"):
            moved = tea.people[name].until("relocated")
            assert (moved["epoch"], moved["server"], moved["reason"]) == (2, heir, "failover")
            tea.say(name)
    tea.check()
    for name in ("bo", "cy"):
        assert set(lost_or_left(tea.people[name])) <= {"ana"}
    move = tea.status()["handovers"][-1]
    assert (move["epoch"], move["from"], move["to"], move["reason"]) == (2, "ana", heir, "failover")
    tea.start("ana").ready()
    history = tea.check()
    assert {line["epoch"] for line in history} == {1, 2}
    tea.status_where(lambda status: "ana" in status["standbys"])


def test_when_only_the_server_half_of_the_active_one_dies_its_user_goes_on_and_it_follows(room: Start) -> None:
    tea = room()
    tea.enter_all("ana", "bo")
    assert tea.follower() == "bo"
    ana = tea.people["ana"]
    with tea.talk("ana", "bo"):
        kill_half(ana)
        for person in tea.people.values():
            assert person.until("relocated", reason="failover")["server"] == "bo"
        tea.say("ana", "bo")
        tea.in_sync("bo", "ana")
        assert server_half(ana)
    tea.check()
    assert not lost_or_left(ana) + lost_or_left(tea.people["bo"])
    tea.in_sync("bo", "ana")
    tea.kill("bo")
    assert ana.until("relocated", reason="failover")["epoch"] == 3
    tea.check()


def test_a_follower_that_dies_is_replaced_and_posts_go_on(room: Start) -> None:
    tea = room()
    tea.enter_all("ana", "bo", "cy")
    follower = tea.follower()
    (other,) = {"bo", "cy"} - {follower}
    with tea.talk("ana", other):
        tea.kill(follower)
        tea.say("ana", other)
        tea.in_sync("ana", other)
    tea.check()
    tea.in_sync("ana", other)
    tea.kill("ana")
    assert tea.people[other].until("relocated")["reason"] == "failover"
    tea.check()


def test_of_two_the_active_one_goes_on_alone_and_is_followed_again_by_who_comes_back(room: Start) -> None:
    tea = room()
    tea.enter_all("ana", "bo")
    tea.follower()
    with tea.talk("ana"):
        tea.kill("bo")
        tea.say("ana")
        # Whoever has died is asked for a link as long as zdns takes it for alive.
        status = tea.status_where(lambda status: (status["in_sync"], status["followers"]) == (["ana"], []))
        assert status["epoch"] == 1
        tea.enter("bo")
        tea.in_sync("ana", "bo")
    tea.check()
    assert not [event for event in tea.people["ana"].seen if event["event"] == "relocated"]


def test_the_server_half_of_a_follower_dies_and_the_new_one_follows(room: Start) -> None:
    tea = room()
    tea.enter_all("ana", "bo")
    tea.follower()
    bo = tea.people["bo"]
    with tea.talk("ana", "bo"):
        before = server_half(bo)
        os.kill(bo.popen.pid, signal.SIGSTOP)  # so that it does not start another one before that is looked at
        kill_half(bo)
        tea.in_sync("ana")
        os.kill(bo.popen.pid, signal.SIGCONT)
        tea.in_sync("ana", "bo")
        assert server_half(bo) != before
        tea.kill("ana")
        assert bo.until("relocated")["reason"] == "failover"
    tea.check()


def test_zdns_and_the_active_participant_die_at_once_and_zdns_comes_back(room: Start) -> None:
    tea = room()
    tea.enter_all("ana", "bo", "cy")
    heir = tea.follower()
    with tea.talk("bo", "cy"):
        tea.zdns.kill()
        tea.kill("ana")
        tea.start_zdns()
        for name in ("bo", "cy"):
            moved = tea.people[name].until("relocated", reason="failover")
            assert (moved["epoch"], moved["server"]) == (2, heir)
            tea.say(name)
    tea.check()


@pytest.mark.timeout(300)  # fifteen times, on a machine that may have other work
def test_fifteen_kills_at_random_moments_while_everybody_types(room: Start) -> None:
    chance = random.Random(15)
    tea = room()
    names = ["ana", "bo", "cy"]
    tea.enter_all(*names)
    tea.follower()
    with tea.talk(*names):
        for _ in range(15):
            victims = chance.sample(names, chance.choice((1, 1, 1, 2)))
            for name in chance.sample(names, 3):
                if chance.random() < 0.5:
                    tea.say(name)
            goes_on = len(victims) == 1 and chance.random() < 0.5
            if goes_on:
                tea.follower()
            tea.kill(*victims)
            if goes_on:
                tea.say(*tea.people)  # before anybody comes back
            for name in victims:
                tea.start(name)
            for name in victims:
                tea.people[name].ready()
            tea.say(*names)
    history = tea.check()
    assert {line["author"] for line in history} == set(names)


@pytest.mark.parametrize(("who", "step"), [(who, step) for who, steps in STEPS.items() for step in steps])
def test_a_kill_in_each_step_of_a_handover_loses_nothing(who: str, step: str) -> None:
    assert one_kill(who, step, 0.0, messages=1_000)[0] == WHOLE


# --- standing still ------------------------------------------------------------------------------------------------


def test_an_active_server_that_sleeps_past_its_lease_commits_nothing_when_it_wakes_up(room: Start) -> None:
    tea = room()
    tea.enter_all("ana", "bo", "cy")
    heir = tea.follower()
    ana = tea.people["ana"]
    with tea.talk("bo", "cy"):
        ana.signal(signal.SIGSTOP)
        for name in ("bo", "cy"):
            moved = tea.people[name].until("relocated")
            assert (moved["epoch"], moved["server"], moved["reason"]) == (2, heir, "failover")
        for _ in range(20):
            tea.post("ana")
        tea.say("bo", "cy")
        ana.signal(signal.SIGCONT)
        assert ana.until("relocated")["server"] == heir
        tea.acknowledged("ana")
    history = tea.check()
    epochs = [line["epoch"] for line in history if line["author"] == "ana"]
    assert epochs == [2] * 21, "what it was told meanwhile is posted once, and by the one who served"
    status = tea.status_where(lambda status: "ana" in (*status["standbys"], *status["in_sync"]))
    assert (status["epoch"], status["active"]["name"]) == (2, heir)


def test_a_follower_that_stands_still_is_struck_off_and_back_in_time(room: Start) -> None:
    tea = room()
    tea.enter_all("ana", "bo")
    tea.follower()
    with tea.talk("ana"):
        tea.people["bo"].signal(signal.SIGSTOP)
        status = tea.in_sync("ana")
        assert status["epoch"] == 1
        tea.say("ana")
        tea.people["bo"].signal(signal.SIGCONT)
        tea.in_sync("ana", "bo")
    tea.check()


def test_for_a_follower_nobody_can_strike_off_posts_wait_and_status_says_so(room: Start) -> None:
    tea = room()
    tea.enter_all("ana", "bo")
    tea.follower()
    tea.say("ana")
    tea.zdns.signal(signal.SIGSTOP)
    tea.people["bo"].signal(signal.SIGSTOP)
    tea.post("ana")
    status = tea.status_where(lambda status: bool(status["head"] > status["committed"]), name="ana")
    assert (status["committed"], status["head"]) == (1, 2)
    assert status["remark"] in ("waiting for bo", "zdns does not answer")
    tea.zdns.signal(signal.SIGCONT)
    tea.acknowledged("ana")
    tea.status_where(lambda status: (status["in_sync"], status["remark"]) == (["ana"], ""), name="ana")
    tea.people["bo"].signal(signal.SIGCONT)
    tea.check()


def test_when_such_a_follower_goes_on_posts_wait_no_longer_and_zdns_need_not_answer(room: Start) -> None:
    tea = room()
    tea.enter_all("ana", "bo")
    tea.follower()
    tea.say("ana", "bo")
    tea.zdns.signal(signal.SIGSTOP)
    for _ in range(2):
        tea.people["bo"].signal(signal.SIGSTOP)
        tea.post("ana")
        tea.status_where(lambda status: all(one["state"] != "in sync" for one in status["followers"]), name="ana")
        tea.people["bo"].signal(signal.SIGCONT)
        tea.acknowledged("ana")
    tea.zdns.signal(signal.SIGCONT)
    assert tea.in_sync("ana", "bo")["epoch"] == 1
    tea.say("ana", "bo")
    tea.check()
