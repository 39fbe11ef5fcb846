"""The nodes of a simulated run: zdns, server halves and client halves, made of the real cores.

A node performs what its core commands as the driver does: timers with the promise of `runtime.timers`, links
by the simulated network, one `flush` a turn. It can be killed (everything volatile is gone, its connections
break), stopped and continued (what came meanwhile waits), and its clock runs at its own pace.
"""

import enum
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from tests.sim.network import Network
from tests.sim.world import World
from wire import limits
from wire.identity import KEY_CHARS, KeyPair
from wire.messages import DnsReply, NameRequest, Record, Register
from wire.names import LinkId
from wire.step import (
    Allow,
    Asked,
    CloseLink,
    Command,
    Core,
    Event,
    Expel,
    LinkKind,
    OpenLink,
    Received,
    Report,
    Send,
    Started,
    StartTimer,
    Stop,
    StopTimer,
    TimerFired,
)
from zdns.door import Doorkeeper, House
from zdns.registry import Registry

_NUMBERS = re.compile(r"\d+")
_NAMES = re.compile(r"\b(?:ana|bo|cy|dee|eva|newn)=")
UTC_MS = 1_800_000_000_000  # the wall clock at the beginning of every run


class State(enum.Enum):
    """STOPPED: the process exists and does not run (SIGSTOP). GONE: it was killed, has ended, or never began."""

    RUNNING = "running"
    STOPPED = "stopped"
    GONE = "gone"


class CoreFailed(Exception):
    """An exception escaped a core: a bug in it, whatever it is."""


@dataclass(frozen=True, slots=True)
class Clock:
    """A node's own monotonic clock: where it began, and how fast it runs (1000: as the world's)."""

    offset_ms: int = 0
    pace: int = 1_000

    def local_ms(self, now_ms: int) -> int:
        """What this clock shows at `now_ms` of the world."""
        return self.offset_ms + now_ms * self.pace // 1_000

    def delay_ms(self, local_ms: int) -> int:
        """How long the world takes for `local_ms` of this clock, rounded up."""
        return -(-max(0, local_ms) * 1_000 // self.pace)


@dataclass(frozen=True, slots=True)
class _Happens:
    """An event for one incarnation; one that has died since never learns of it."""

    incarnation: int
    event: Any  # an Event of a core; at zdns also what its disk says


@dataclass(frozen=True, slots=True)
class _RanOut:
    incarnation: int
    name: str
    number: int


class Node(Protocol):
    """What the network and the faults need of a node."""

    name: str
    state: State

    def start(self) -> None:
        """Begin, or begin anew after a death."""

    def kill(self, *, silent: bool = False) -> None:
        """kill -9; `silent`: the whole machine, so that nobody is told."""

    def stop(self) -> None:
        """SIGSTOP."""

    def go_on(self) -> None:
        """SIGCONT."""

    def deliver(self, event: Event) -> None:
        """Have the node handle an event in its turn."""


class CoreNode:
    """A node that runs one core: a server half or a client half."""

    def __init__(
        self,
        world: World,
        network: Network,
        name: str,
        make_core: Callable[[], Core],
        *,
        clock: Clock,
        on_report: Callable[["CoreNode", Any], None],
        on_stop: Callable[["CoreNode", str], None],
    ) -> None:
        """`make_core` is called at each start: a restarted process remembers nothing."""
        self.name = name
        self.state = State.GONE
        self.incarnation = 0
        self.core: Core
        self._world, self._network = world, network
        self._make_core = make_core
        self._clock = clock
        self._on_report, self._on_stop = on_report, on_stop
        self._timers: dict[str, int] = {}
        self._timers_count = 0
        self._backlog: list[_Happens | _RanOut] = []
        self._described = ""
        self.on_death: Callable[[], None] | None = None
        self.undisturbed_since_ms = 0  # it has run since then
        world.join(name, self._take)

    # --- life and death -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin with a fresh core."""
        assert self.state is State.GONE, f"{self.name} runs already"
        self.incarnation += 1
        self.state = State.RUNNING
        self.undisturbed_since_ms = self._world.now_ms
        self.core = self._make_core()
        self._timers.clear()
        self._backlog.clear()
        self._described = self.core.describe()
        self._world.note(self.name, "START")
        nonce = f"{self._world.random.getrandbits(64):016x}{self.name.encode().hex()[:8]:0<16}"
        self.deliver(Started(nonce, UTC_MS + self._world.now_ms))

    def kill(self, *, silent: bool = False) -> None:
        """kill -9; `silent`: the whole machine."""
        if self.state is not State.GONE:
            self._world.note(self.name, "KILLED with its machine" if silent else "KILLED")
            self.state = State.GONE
            if self.on_death is not None:
                self.on_death()
            self._network.node_gone(self.name, silent=silent)

    def stop(self) -> None:
        """SIGSTOP: what comes from now on waits."""
        if self.state is State.RUNNING:
            self._world.note(self.name, "STOPPED")
            self.state = State.STOPPED
            self._network.node_stuck(self.name)

    def go_on(self) -> None:
        """SIGCONT: timers that ran out and messages that came are met in either order."""
        if self.state is not State.STOPPED:
            return
        self._world.note(self.name, "GOES ON")
        self.state = State.RUNNING
        self.undisturbed_since_ms = self._world.now_ms
        backlog, self._backlog = self._backlog, []
        if self._world.chance(0.5):
            backlog.sort(key=lambda item: isinstance(item, _Happens))  # timers first; the sort is stable
        for item in backlog:
            self._world.after(0, self.name, item)
        self._network.flow_again()

    def deliver(self, event: Event) -> None:
        """Have the core handle an event in its turn."""
        self._world.after(0, self.name, _Happens(self.incarnation, event))

    def timers_count(self) -> int:
        """How many timers run."""
        return len(self._timers)

    # --- one turn -------------------------------------------------------------------------------------------------

    def _take(self, item: _Happens | _RanOut) -> None:
        if item.incarnation != self.incarnation or self.state is State.GONE:
            return
        if self.state is State.STOPPED:
            self._backlog.append(item)
            return
        if isinstance(item, _RanOut):
            if self._timers.get(item.name) != item.number:
                return  # stopped, or started anew
            del self._timers[item.name]
            self._turn(TimerFired(item.name))
        else:
            self._turn(item.event)

    def _turn(self, event: Event) -> None:
        self._world.stir(self.name, type(event).__name__, describe_event(event))
        now_ms = self._clock.local_ms(self._world.now_ms)
        self._perform(self._called(lambda: self.core.handle(event, now_ms), event), event)
        # A driver flushes once a turn, and a turn takes all that stood in its queue: here, sometimes.
        if self.state is State.RUNNING and not (self._world.goes_on(self.name) and self._world.chance(0.7)):
            self._flush(now_ms)

    def _flush(self, now_ms: int) -> None:
        flush = getattr(self.core, "flush", None)
        if flush is not None:
            self._perform(self._called(lambda: flush(now_ms), "flush"), "flush")

    def _called(self, call: Callable[[], list[Command]], event: Event | str) -> list[Command]:
        try:
            return call()
        except Exception as error:
            raise CoreFailed(f"{self.name} on {describe_event(event)}: {type(error).__name__}: {error}") from error

    def _perform(self, commands: list[Command], event: Event | str) -> None:
        described = self.core.describe()
        if described != self._described:
            self._world.note(self.name, f"{described:<64}  on {describe_event(event)}")
            self._world.states.add(_abstract(described))
            self._described = described
        for command in commands:
            match command:
                case Send():
                    self._network.send(self.name, command)
                case OpenLink():
                    self._network.open(self.name, command)
                case CloseLink():
                    self._network.close(self.name, command)
                case Allow():
                    self._network.allow(self.name, command)
                case Expel():
                    self._network.expel(self.name, command)
                case StartTimer(name, delay_ms):
                    self._start_timer(name, delay_ms)
                case StopTimer(name):
                    self._timers.pop(name, None)
                case Report(notice):
                    self._on_report(self, notice)
                case Stop(reason):
                    self._end(reason)
                    return

    def _start_timer(self, name: str, delay_ms: int) -> None:
        self._timers_count += 1
        self._timers[name] = self._timers_count
        late_ms = self._world.random.randint(0, 2)
        item = _RanOut(self.incarnation, name, self._timers_count)
        self._world.after(self._clock.delay_ms(delay_ms) + late_ms, self.name, item)

    def _end(self, reason: str) -> None:
        self._world.note(self.name, f"ENDS: {reason}")
        self.state = State.GONE
        self._network.node_left(self.name)
        self._on_stop(self, reason)


def _abstract(described: str) -> str:
    """A core's description without what differs from run to run: its epoch, and who follows."""
    return _NAMES.sub(r"follower=", _NUMBERS.sub("n", described))


def describe_event(event: Event | str) -> str:
    """What happened, in a few words."""
    match event:
        case str():
            return event
        case Received(link, message):
            return f"{type(message).__name__} ({link})"
        case TimerFired(name):
            return f"timer {name}"
        case _:
            what = type(event.intent).__name__ if isinstance(event, Asked) else str(getattr(event, "link", ""))
            return f"{type(event).__name__} {what}".strip()


# --- zdns ---------------------------------------------------------------------------------------------------------

PORT = LinkId("port")
ZDNS = "zdns"
ZDNS_ENDPOINT = "tcp://zdns:8000"
HOUSE = House(KeyPair("zdns".ljust(KEY_CHARS, "."), "hush"), b"the secret", b"the permit key", 1)


@dataclass(frozen=True, slots=True)
class _Saved:
    """The disk is done with a record."""

    record: Record
    reply: DnsReply
    sender: bytes
    request: NameRequest

    @property
    def told(self) -> bool:
        """zdns did not know it any more; a server has told it."""
        return isinstance(self.request, Register)


class ZdnsNode:
    """zdns around the real registry. Its store is synced before the answer, and is all that survives a death.

    Whoever starts it for the first time may say that it has run before: then it asks nobody to wait.
    """

    def __init__(
        self,
        world: World,
        network: Network,
        *,
        on_saved: Callable[[Record, bool], None],
        on_started: Callable[[dict[str, Record]], None] = lambda _: None,
        make_registry: Callable[..., Registry] = Registry,
        make_door: Callable[[House | None], Doorkeeper] = Doorkeeper,
        lease_ms: int = limits.LEASE_MS,
        house: House | None = None,
    ) -> None:
        """`on_saved` is told each record, and whether zdns only took up what a server told it.

        `house`: what makes the network a closed one.
        """
        self.house = house
        self.name = ZDNS
        self.state = State.GONE
        self.incarnation = 0
        self.disk_ms = 0  # how long a save takes
        self.first_grace_ms = 0  # the grace of the first start; later ones have that of limits
        self.undisturbed_since_ms = 0  # it has run since then
        self.registry: Registry
        self._world, self._network = world, network
        self._on_saved, self._on_started = on_saved, on_started
        self._make_registry, self._make_door = make_registry, make_door
        self._lease_ms = lease_ms
        self._disk: dict[str, Record] = {}
        self._saving: _Saved | None = None
        self._door = make_door(house)
        self._requests: deque[tuple[Any, bytes]] = deque()  # NameRequests
        self._stopped_at_ms = 0
        self._backlog: list[Any] = []
        world.join(ZDNS, self._take)

    @property
    def records(self) -> dict[str, Record]:
        """What is on disk, by service."""
        return self._disk

    def start(self) -> None:
        """Begin with what is on disk."""
        self.incarnation += 1
        self.state = State.RUNNING
        self.undisturbed_since_ms = self._world.now_ms
        self._requests.clear()
        self._backlog.clear()
        self._on_started(self._disk)
        records = [self._disk[service] for service in sorted(self._disk)]
        rng = Random(self._world.random.getrandbits(64))
        grace_ms = self.first_grace_ms if self.incarnation == 1 else limits.GRACE_MS
        self._door = self._make_door(self.house)
        more = {} if self.house is None else {"seals": self._door}
        now_ms = self._world.now_ms
        self.registry = self._make_registry(records, self._lease_ms, now_ms, rng=rng, grace_ms=grace_ms, **more)
        self._world.note(self.name, "START")
        self._network.open(self.name, OpenLink(PORT, LinkKind.DNS_BIND, ZDNS_ENDPOINT))

    def kill(self, *, silent: bool = False) -> None:
        """kill -9: what was about to be saved is saved, or not."""
        if self.state is State.GONE:
            return
        self._world.note(self.name, "KILLED")
        if self._saving is not None and self._world.chance(0.5):
            self._save(self._saving)
        self._saving = None
        self.state = State.GONE
        self._network.node_gone(self.name, silent=silent)

    def stop(self) -> None:
        """SIGSTOP."""
        if self.state is State.RUNNING:
            self._world.note(self.name, "STOPPED")
            self.state = State.STOPPED
            self._stopped_at_ms = self._world.now_ms
            self._network.node_stuck(self.name)

    def go_on(self) -> None:
        """SIGCONT; as its driver does, zdns gives back the time in which nobody could renew."""
        if self.state is not State.STOPPED:
            return
        self._world.note(self.name, "GOES ON")
        self.state = State.RUNNING
        self.undisturbed_since_ms = self._world.now_ms
        self.registry.extend_leases(self._world.now_ms - self._stopped_at_ms)
        backlog, self._backlog = self._backlog, []
        for item in backlog:
            self._world.after(0, self.name, item)
        self._network.flow_again()

    def deliver(self, event: Event) -> None:
        """Have zdns handle an event in its turn."""
        self._world.after(0, self.name, _Happens(self.incarnation, event))

    def _take(self, item: Any) -> None:
        if item.incarnation != self.incarnation or self.state is State.GONE:
            return
        if self.state is State.STOPPED:
            self._backlog.append(item)
            return
        match item.event:
            case Received(_, message, sender, key):
                reply = self._door.judge(message, key)  # type: ignore[arg-type]  # the network lets nothing else through
                if reply is not None:
                    self._network.send(ZDNS, Send(PORT, reply, sender))
                    return
                self._requests.append((message, sender))
                self._judge()
            case _Saved() as saved if saved is self._saving:
                self._saving = None
                self._save(saved)
                self.registry.adopt(saved.record)
                self._network.send(ZDNS, Send(PORT, self._door.complete(saved.request, saved.reply), saved.sender))
                self._judge()
            case _:
                pass

    def _judge(self) -> None:
        """Requests one after the other; one that changes a record waits for the disk, and the others for it."""
        while self._requests and self._saving is None:
            request, sender = self._requests.popleft()
            decision = self.registry.decide(request, self._world.now_ms)
            if decision.record is None:
                self._network.send(ZDNS, Send(PORT, self._door.complete(request, decision.reply), sender))
                continue
            self._saving = _Saved(decision.record, decision.reply, sender, request)
            item = _Happens(self.incarnation, self._saving)
            self._world.after(self.disk_ms, ZDNS, item)

    def lose_store(self) -> None:
        """Its disk is empty when it starts again."""
        assert self.state is State.GONE
        self._world.note(self.name, "LOSES ITS STORE")
        self._disk.clear()

    def _save(self, saved: _Saved) -> None:
        record = saved.record
        self._world.note(
            self.name,
            f"{record.service} epoch={record.epoch} version={record.version} active={record.active.name} "
            f"in_sync={','.join(server.name for server in record.in_sync)}"
            f"{' volatile=' + ','.join(record.volatile) if record.volatile else ''}{' told' if saved.told else ''}",
        )
        self._disk[record.service] = record
        self._on_saved(record, saved.told)
