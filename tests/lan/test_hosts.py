"""A room on several hosts, and what becomes of it when the network between them fails."""

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.lan.conftest import DNS, LEASE_S, Lan
from tests.support.hosts import Hosts, NoHosts
from tests.support.processes import PATIENCE_S

Start = Callable[..., Lan]
NO_HANDOVER = ("--term", "0")


@pytest.fixture
def pairs() -> None:
    """Skips the test where single packets cannot be dropped."""
    try:
        with Hosts("a", "b") as hosts:
            hosts.part("a", "b")
    except NoHosts as reason:
        pytest.skip(str(reason))


# --- the means ---

RECEIVE = """
import socket
s = socket.socket(type=socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 9))
print(flush=True)
while data := s.recv(9):
    print(data.decode(), flush=True)
"""
SEND = """
import socket, sys
s = socket.socket(type=socket.SOCK_DGRAM)
for number in range(int(sys.argv[2])):
    s.sendto(b"%d" % number, (sys.argv[1], 9))
if sys.argv[1] == "127.0.0.1":
    s.sendto(b"", ("127.0.0.1", 9))
"""


def got(hosts: Hosts, source: str, target: str, count: int = 1) -> int:
    """How many of so many datagrams from `source` reach `target`."""
    receive = [*hosts.within(target), sys.executable, "-c", RECEIVE]
    with subprocess.Popen(receive, stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        receiver.stdout.readline()
        for host, address, number in ((source, hosts.address(target), count), (target, "127.0.0.1", 0)):
            subprocess.run([*hosts.within(host), sys.executable, "-c", SEND, address, str(number)], check=True)
        return len(receiver.stdout.read().splitlines())


@pytest.mark.usefixtures("pairs")
def test_what_is_dropped_between_hosts_is_what_shall_be() -> None:
    with Hosts("a", "b", "c") as hosts:
        assert got(hosts, "a", "b") == 1
        hosts.block("a", "b")
        assert [got(hosts, *way) for way in ("ab", "ba", "ac", "cb")] == [0, 1, 1, 1]
        hosts.part("b", "c")
        assert [got(hosts, *way) for way in ("ab", "ba", "bc", "cb", "ac")] == [0, 1, 0, 0, 1]
        hosts.heal()
        assert [got(hosts, *way) for way in ("ab", "bc", "cb")] == [1, 1, 1]
        hosts.lose(30)
        assert 100 < got(hosts, "a", "b", 200) < 180
        hosts.heal()
        assert got(hosts, "a", "b", 200) == 200
        for fault in (hosts.cut, hosts.unplug):
            fault("a")
            assert [got(hosts, *way) for way in ("ab", "ba", "bc")] == [0, 0, 1]
            hosts.heal()
            # Each host has found the other one gone, and asks for it again only once a second.
            began = time.monotonic()
            while [got(hosts, *way) for way in ("ab", "ba")] != [1, 1]:
                assert time.monotonic() - began < PATIENCE_S


# --- the room ---


def test_three_hosts_chat_while_the_role_goes_round(lan: Start) -> None:
    room = lan("ana", "bo", "cy", options=("--term", "0.5"))
    began = time.monotonic()
    while room.epoch("ana") < 6:
        room.talk("ana", "bo", "cy", rounds=1)
        assert time.monotonic() - began < PATIENCE_S
    room.check()
    moves = [event for event in room.people["bo"].seen if event["event"] == "relocated"]
    assert {event["reason"] for event in moves} == {"handover"}


@pytest.mark.parametrize("fault", ["cut", "unplug"])
def test_the_active_servers_host_is_cut_off_and_comes_back(lan: Start, fault: str) -> None:
    room = lan("ana", "bo", "cy", options=NO_HANDOVER)
    room.talk("ana", "bo", "cy")
    assert room.follower() in ("bo", "cy")
    told = room.posted_count("ana")
    getattr(room.hosts, fault)("ana")
    began = time.monotonic()
    for _ in range(5):
        room.post("ana", "bo", "cy")
    for name in ("bo", "cy"):
        moved = room.people[name].until("relocated")
        assert (moved["epoch"], moved["reason"]) == (2, "failover")
        assert moved["server"] in ("bo", "cy")
    # Nobody can tell a silent server from a dead one; so as long as it may hold the name, nobody else may.
    assert time.monotonic() - began > LEASE_S / 2
    room.talk("bo", "cy")
    assert room.posted_count("ana") == told
    room.hosts.heal()
    assert room.people["ana"].until("relocated")["epoch"] == 2
    room.talk("ana", "bo", "cy")
    room.check()


@pytest.mark.usefixtures("pairs")
def test_without_zdns_the_active_server_serves_on_and_hands_over_later(lan: Start) -> None:
    room = lan("ana", "bo", "cy", options=NO_HANDOVER)
    room.talk("ana", "bo", "cy")
    room.follower()
    room.hosts.part("ana", DNS)
    room.talk_for(1.5 * LEASE_S, "ana", "bo", "cy")
    room.people["bo"].do("handover")
    assert room.people["bo"].until("refused", "error", "handed_over")["event"] != "handed_over"
    room.talk("ana", "bo", "cy")
    assert room.epoch("cy") == 1
    room.hosts.heal()
    asked, moved = room.people["bo"], False
    began = time.monotonic()
    while not moved:
        asked.do("handover")
        moved = asked.until("refused", "handed_over")["event"] == "handed_over"
        assert time.monotonic() - began < PATIENCE_S
    room.talk("ana", "bo", "cy")
    room.check()
    assert room.epoch("cy") == 2


@pytest.mark.usefixtures("pairs")
@pytest.mark.parametrize("way", ["from the server", "to the server"])
def test_a_one_way_cut_to_the_follower(lan: Start, way: str) -> None:
    room = lan("ana", "bo", "cy", "di", options=NO_HANDOVER)
    names = ("ana", "bo", "cy", "di")
    room.talk(*names)
    follower = room.follower()
    room.hosts.block(*(("ana", follower) if way == "from the server" else (follower, "ana")))
    others = [name for name in names if name != follower]
    room.talk(*others)
    for _ in range(5):
        room.post(follower)
    room.talk_for(1.5 * LEASE_S, *others)
    assert room.epoch("ana") == 1, "whom zdns hears nobody else replaces"
    room.hosts.heal()
    room.talk(*names)
    room.check()


@pytest.mark.usefixtures("pairs")
def test_a_cut_between_server_and_follower_gets_another_follower(lan: Start) -> None:
    room = lan("ana", "bo", "cy", "di", options=NO_HANDOVER)
    names = ("ana", "bo", "cy", "di")
    room.talk(*names)
    follower = room.follower()
    room.hosts.part("ana", follower)
    others = [name for name in names if name != follower]
    for _ in range(5):
        room.post(follower)
    room.talk(*others)
    replaced = room.status_where(
        "ana", lambda status: len(status["in_sync"]) == 2 and follower not in status["in_sync"]
    )
    room.talk(*others)
    assert replaced["epoch"] == 1
    # The new follower has everything: the role may go to it at once, though the old one still hears nothing.
    room.people["ana"].signal(9)
    room.killed.add("ana")
    survivors = [name for name in others if name != "ana"]
    for name in survivors:
        assert room.people[name].until("relocated")["reason"] == "failover"
    room.talk(*survivors, follower)
    room.hosts.heal()
    room.check()


@pytest.mark.usefixtures("pairs")
def test_a_third_of_all_packets_lost_for_some_seconds(lan: Start) -> None:
    room = lan("ana", "bo", "cy", options=("--term", "1"))
    names = ("ana", "bo", "cy")
    room.talk(*names)
    room.hosts.lose(30)
    began = time.monotonic()
    count = 0
    while time.monotonic() - began < 8:
        room.post(*names)
        count += 1
        time.sleep(0.02)  # a pace, not a wait: posts keep coming, acknowledged or not
    room.hosts.heal()
    room.acknowledged(*names)
    room.talk(*names)
    room.check()
    assert count > 100
