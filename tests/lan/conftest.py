"""A zdns and participants, each on a host of its own."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.hosts import Hosts, NoHosts
from tests.support.processes import PATIENCE_S, Chat, Line, Zdns
from tests.support.verdict import Book

DNS = "dns"
LEASE_S = 3.0


class Lan:
    """A room whose members are called like their hosts; zdns has the host `dns`."""

    def __init__(self, hosts: Hosts, folder: Path, stack: ExitStack, names: tuple[str, ...], options: tuple[str, ...]):
        self.hosts = hosts
        self.people: dict[str, Chat] = {}
        self.killed: set[str] = set()  # of these nothing more is expected
        self._last_tag = dict.fromkeys(names, 0)
        self._waits_for = dict.fromkeys(names, 0)
        (folder / DNS).mkdir()
        zdns = stack.enter_context(Zdns(folder / DNS, 8000, LEASE_S, host=hosts.address(DNS), within=hosts.within(DNS)))
        for name in names:
            home = folder / name
            home.mkdir()
            first = () if self.people else ("--serve-first",)
            own = ("--data-dir", str(home), *first, *options)
            person = Chat(home, zdns.address, name, *own, bind=hosts.address(name), within=hosts.within(name))
            self.people[name] = stack.enter_context(person)
            person.ready()

    def post(self, *names: str) -> None:
        """One post each."""
        for name in names:
            self._last_tag[name] += 1
            tag = self._last_tag[name]
            self.people[name].do("post", text=f"{name} {tag}", tag=tag)

    def acknowledged(self, *names: str) -> None:
        """Wait until whatever these posted is acknowledged."""
        for name in names:
            while self._waits_for[name] < self._last_tag[name]:
                self._waits_for[name] += 1
                self.people[name].until("posted", tag=self._waits_for[name])

    def talk(self, *names: str, rounds: int = 10) -> None:
        """Post in turns, each round when the one before is acknowledged: the room sets the pace."""
        for _ in range(rounds):
            self.post(*names)
            self.acknowledged(*names)

    def talk_for(self, seconds: float, *names: str) -> None:
        """Talk as long as this."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            self.talk(*names, rounds=1)

    def posted_count(self, name: str) -> int:
        """How many posts it has been told are committed, up to now."""
        return sum(event["event"] == "posted" for event in self.people[name].so_far())

    def status(self, name: str) -> Line:
        """The status, as one of them is told it."""
        person = self.people[name]
        person.do("status")
        return person.until("status")

    def status_where(self, name: str, wanted: Callable[[Line], bool]) -> Line:
        """Ask until the status is as wanted."""
        deadline = time.monotonic() + PATIENCE_S
        while not wanted(status := self.status(name)):
            assert time.monotonic() < deadline, f"the status stays {status}"
            self.people[name].forget()
            time.sleep(0.05)  # so as not to ask all the time
        return status

    def follower(self) -> str:
        """Wait until a follower is in sync; who that is."""
        asked = next(iter(self.people))
        status = self.status_where(asked, lambda status: len(status["in_sync"]) > 1)
        return str(next(name for name in status["in_sync"] if name != status["active"]["name"]))

    def epoch(self, name: str) -> int:
        """The newest epoch it has heard of."""
        return max(int(event["epoch"]) for event in self.people[name].so_far() if "epoch" in event)

    def check(self) -> None:
        """Everything ever posted is acknowledged, and shown to everybody, once and in one order."""
        alive = {name: person for name, person in self.people.items() if name not in self.killed}
        self.acknowledged(*alive)
        head = sum(self._last_tag.values())
        book = Book()
        for name, person in self.people.items():
            if name in alive:
                person.shown(head)
            reader = book.reader(name)
            for event in person.so_far():
                reader.hear(event)
        for name, person in alive.items():
            assert person.texts().count(f"{name} {self._last_tag[name]}") == 1
        history = [event for event in next(iter(alive.values())).seen if event["event"] == "message"]
        book.verdict(history)
        assert book.sentences == []
        assert book.acknowledged_count == len(history) == head
        for name, person in alive.items():
            assert len(person.texts()) == head, f"{name} was there from the beginning"


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Callable[..., Lan]]:
    """Starts a room of these members; skips the test where the machine cannot make hosts."""
    with ExitStack() as stack:

        def start(*names: str, options: tuple[str, ...] = ()) -> Lan:
            try:
                hosts = stack.enter_context(Hosts(DNS, *names))
            except NoHosts as reason:
                pytest.skip(str(reason))
            return Lan(hosts, tmp_path, stack, names, options)

        yield start
