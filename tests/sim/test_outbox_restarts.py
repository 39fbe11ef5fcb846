"""Authors that are killed and start again with what their disk had, in a room whose servers come and go."""

from dataclasses import dataclass, field, replace

import pytest

from peer import intents
from peer.engine import Engine, EngineOptions
from peer.notices import Message, Posted
from peer.outbox import Kept, Row, Write
from tests.sim import town as town_module
from tests.sim.checkers import Checkers
from tests.sim.network import Weather
from tests.sim.nodes import State
from tests.sim.runs import HEALED_WITHIN_MS
from tests.sim.town import Host, Make, Town, small_limits
from wire.messages import Hello, Posts
from wire.messages import Message as WireMessage
from wire.step import Asked, Command, Event, Report, StartTimer, TimerFired

STAGE_MS = 12_000
_DISK = "disk"


@dataclass
class Disk:
    """What survives an author. `slow_ms`: how long a write takes; of what is under way at a death nothing is left."""

    peer: str
    slow_ms: int = 0
    log: str = ""
    rows: dict[int, Row] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)  # by the present incarnation

    @property
    def kept(self) -> Kept:
        return Kept(self.peer, self.log, tuple(self.rows[place] for place in sorted(self.rows)))

    def do(self, write: Write) -> None:
        self.log = self.log if write.log is None else write.log
        for place in write.removed:
            self.rows.pop(place, None)
        self.rows.update({row.place: row for row in write.put})


class KeepingEngine:
    """An engine with its disk: writes take their time, one after the other."""

    def __init__(self, options: EngineOptions, disk: Disk) -> None:
        self._engine = Engine(replace(options, kept=disk.kept))
        self._disk = disk
        self._writes: list[Write] = []
        disk.shown.clear()

    def describe(self) -> str:
        return self._engine.describe()

    def handle(self, event: Event, now_ms: int) -> list[Command]:
        if event == TimerFired(_DISK):
            write = self._writes.pop(0)
            self._disk.do(write)
            done = self._engine.handle(Asked(intents.PostsKept(write.number)), now_ms)
            return [*self._performed(done), *([StartTimer(_DISK, self._disk.slow_ms)] if self._writes else [])]
        return self._performed(self._engine.handle(event, now_ms))

    def _performed(self, commands: list[Command]) -> list[Command]:
        others: list[Command] = []
        for command in commands:
            match command:
                case Report(Write() as write):
                    self._writes.append(write)
                    if len(self._writes) == 1:
                        others.append(StartTimer(_DISK, self._disk.slow_ms))
                case Report(Posted(tag=None)):
                    pass  # what an earlier incarnation said; the checkers know only what this one did
                case Report(Message(text=text)):
                    self._disk.shown.append(text)
                    others.append(command)
                case _:
                    others.append(command)
        return others


class OfSessions(Checkers):
    """The checkers, but for authors who go on in the middle of one session and begin another one while they are in."""

    def sent(self, sender: str, receiver: str, message: WireMessage) -> None:
        """Which session an acknowledgement is about is decided where the hello arrives, not where it leaves."""
        if not isinstance(message, Hello | Posts):
            super().sent(sender, receiver, message)

    def arrived(self, sender: str, receiver: str, message: WireMessage) -> None:
        if isinstance(message, Hello):
            super().sent(sender, receiver, message)
        super().arrived(sender, receiver, message)


@pytest.mark.parametrize("seed", range(40))
def test_what_was_on_disk_is_posted_once_and_in_order_whoever_dies(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(town_module, "Checkers", OfSessions)
    disks: dict[str, Disk] = {}

    def client(options: EngineOptions) -> KeepingEngine:
        return KeepingEngine(options, disks[options.nick])

    with small_limits():
        town = Town(seed, Make(client=client), term_ms=(0, 400, 900)[seed % 3])
        chance = town.world.random
        town.network.weather = Weather(latency_ms=(1, 20), feed_drop_chance=0.02, refuse_chance=0.01)
        for name in ("bo", "cy", "ana", "dee"):
            disks[name] = Disk(f"{name}-peer", slow_ms=chance.choice((0, 1, 30)))
        town.zdns.start()
        bo, _ = town.add(Host("bo", serve_first=True)), town.add(Host("cy"))
        authors = [town.add(Host(name, serves=False)) for name in ("ana", "dee")]
        kept: set[str] = set()

        def note_kept(host: Host) -> None:
            kept.update(row.text for row in disks[host.name].rows.values())

        def talk(host: Host) -> None:
            if town.world.now_ms >= STAGE_MS:
                return
            for _ in range(chance.choice((1, 1, 3, 20))):
                town.say(host)
            note_kept(host)
            town.later(chance.randint(5, 300), lambda: talk(host))

        def strike(host: Host) -> None:
            if town.world.now_ms >= STAGE_MS:
                return
            note_kept(host)
            town.kill_host(host, silent=chance.random() < 0.3)
            town.later(chance.choice((5, 50, 1_000, 8_000)), lambda: town.bring_back(host.name))
            town.later(chance.randint(50, 2_500), lambda: strike(host))

        for host in authors:
            town.later(chance.randint(0, 500), lambda host=host: talk(host))  # type: ignore[misc]  # bound for the loop
            town.later(chance.randint(300, 2_000), lambda host=host: strike(host))  # type: ignore[misc]  # likewise
        if seed % 2:
            for at_ms in (3_000, 7_000):
                town.later(at_ms, lambda: town.pause(bo.server.name if bo.server else "", chance.choice((300, 3_000))))
        town.world.run(STAGE_MS)
        town.heal()
        for host in authors:
            town.bring_back(host.name)
        done = town.world.run(
            town.world.now_ms + HEALED_WITHIN_MS,
            lambda: not town.checkers.unsettled() and not any(disk.rows for disk in disks.values()),
        )
        assert done, (town.checkers.unsettled(), {name: list(disk.rows.values())[:3] for name, disk in disks.items()})
        town.checkers.check_whole()
    assert bo.client is not None
    assert bo.client.state is not State.GONE
    assert not town.checkers.lost_logs
    shown = [text.strip() for text in disks["bo"].shown]
    assert len(kept) > 20
    assert {text.strip() for text in kept} <= set(shown)
    for name in ("ana", "dee"):
        numbers = [int(text.partition("-")[2]) for text in shown if text.startswith(f"{name}-")]
        assert numbers == sorted(set(numbers)), "doubled, or out of order"
