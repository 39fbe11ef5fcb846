"""All nodes of one run, wired to the network and to the checkers; what users do, and what may befall them."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from broker.core import ServerCore
from broker.digest import SPAN_ENTRIES
from broker.history import History
from broker.reports import Listening, RoleGranted, ServerOptions
from broker.stored import DiskOrder, Restored
from peer import intents, notices
from peer.engine import Engine, EngineOptions
from tests.sim.checkers import Broken, Checkers
from tests.sim.disks import Disk, Shelf, Store
from tests.sim.intruder import INTRUDER, Intruder
from tests.sim.network import Network, machine_of
from tests.sim.nodes import HOUSE, ZDNS, ZDNS_ENDPOINT, Clock, CoreNode, Node, State, ZdnsNode
from tests.sim.world import World
from wire import codec, identity, limits
from wire.exits import EXIT_UNAVAILABLE
from wire.identity import KEY_CHARS, Credentials, KeyPair
from wire.messages import Entry, Message, Published, Record, Refused, Sealed
from wire.names import ServerId
from wire.step import Asked, Core, Stopping
from zdns.door import Doorkeeper, House
from zdns.registry import Registry

SERVICE = "tea"
RESTART_MS = 500  # as a participant restarts its server half
BOUNDS_EACH_STEPS = 100
COPIES_EACH_STEPS = 400
# Small bounds, so that a short run meets them: several chunks a dump, windows that close, pages that end.
SMALL_LIMITS = {
    "BLOCK_BYTES_MAX": 4 * limits.KIB,
    "SEAL_WITHIN_ENTRIES": 20,
    "WINDOW_BYTES": 8 * limits.KIB,
    "TAIL_BYTES_MAX": 8 * limits.KIB,
    "TAIL_ENTRIES_MIN": 64,
    "POSTS_IN_FLIGHT_MAX": 12,
    "POSTS_PER_MESSAGE_MAX": 5,
    "SEQS_REMEMBERED": 24,
    "FETCH_ENTRIES_MAX": 30,
}


@contextmanager
def small_limits() -> Iterator[None]:
    """Play with `SMALL_LIMITS` in place of the real ones."""
    real = {name: getattr(limits, name) for name in SMALL_LIMITS}
    try:
        for name, value in SMALL_LIMITS.items():
            setattr(limits, name, value)
        yield
    finally:
        for name, value in real.items():
            setattr(limits, name, value)


@dataclass(frozen=True)
class Make:
    """Where the cores come from; a test that plants a bug puts its own in."""

    server: Callable[[ServerOptions, Restored | None], Core] = ServerCore
    client: Callable[[EngineOptions], Core] = Engine
    registry: Callable[..., Registry] = Registry
    door: Callable[[House | None], Doorkeeper] = Doorkeeper


@dataclass
class Host:
    """One participant: a machine with a client half, a server half, or both."""

    name: str
    has_client: bool = True
    serves: bool = True
    guest: bool = False
    serve_first: bool = False
    fresh: bool = False
    clock: Clock = field(default_factory=Clock)
    client: CoreNode | None = None
    server: CoreNode | None = None
    server_id: str = ""
    lives: int = 0
    said: int = 0
    leaving: bool = False
    ephemeral: bool = False
    replicas: int = 1
    disk: Disk | None = None
    shelf: Shelf | None = None
    disk_is_dead: bool = False  # and nobody repairs it
    restarted_as: str = ""  # the server id that this life took up from an earlier one

    @property
    def is_up(self) -> bool:
        """Whether any of its processes exists."""
        return any(node is not None and node.state is not State.GONE for node in (self.client, self.server))

    @property
    def has_live_client(self) -> bool:
        """Whether there is somebody to type."""
        return self.client is not None and self.client.state is not State.GONE and not self.leaving


@dataclass
class Trigger:
    """Does `act(sender, receiver)` when a message of `kind` is sent (or has been handled), the `skip`-th time after."""

    kind: type[Message]
    handled: bool
    skip: int
    act: Callable[[str, str], None]


class Town:
    """The nodes of one run. Hosts are named; nodes are called after them: "ana", and "ana.s1" for its first server."""

    def __init__(
        self,
        seed: int,
        make: Make | None = None,
        *,
        min_n: int = 0,
        term_ms: int = 0,
        closed: bool = False,
        intruder: bool = False,
    ) -> None:
        """`closed`: everybody has keys, and must be let in. `intruder`: and one of them lies."""
        closed = closed or intruder
        self.closed = closed
        self.world = World(seed)
        self.faults: Counter[str] = Counter()  # what has befallen them, by kind
        self.checkers = Checkers(
            holds=self._holds, has_copy=self._has_copy, lacks=self._lacks, knows=self._knows, kept=self._kept_by_active
        )
        self.nodes: dict[str, Node] = {}
        self.hosts: dict[str, Host] = {}
        self.triggers: list[Trigger] = []
        self.min_n, self.term_ms = min_n, term_ms
        self._make = make or Make()
        self._soon: list[Callable[[], None]] = []
        self._cut_until_ms: dict[str, int] = {}  # machine -> until when it was parted from zdns
        self._listed: list[tuple[str, CoreNode]] = []
        self._listed_key = (0, 0, 0)
        self._sealed: dict[str, int] = {}  # node -> the head it has sent a seal for
        self._calm_since_ms = 0
        self._memories: dict[str, list[History]] = {}  # server id -> what it had in memory at each death
        self.network = Network(self.world, self._deliver, self._is_stopped, self._key_of)
        self.network.on_sent.append(self._sent)
        self.network.on_arrived.append(self._arrived)
        self.world.join("fate", self._befall)
        self.world.after_step.append(self._after_step)
        self.zdns = ZdnsNode(
            self.world,
            self.network,
            on_saved=self.checkers.saved,
            on_started=self.checkers.zdns_started,
            make_registry=self._make.registry,
            make_door=self._make.door,
            house=HOUSE if closed else None,
        )
        self.nodes[ZDNS] = self.zdns
        self.intruder: Intruder | None = None
        if intruder:
            self.intruder = Intruder(self.world, self.network, self._key_of(INTRUDER), SERVICE)
            self.nodes[INTRUDER] = self.intruder
            self.network.garbled_ends_the_run = False
            self.intruder.start()

    def _key_of(self, node: str) -> str:
        """The public key of whoever runs a node."""
        return machine_of(node).ljust(KEY_CHARS, ".") if self.closed else ""

    def _credentials(self, host: Host) -> Credentials | None:
        if not self.closed:
            return None
        return Credentials(KeyPair(self._key_of(host.name), "hush"), HOUSE.keys.public, HOUSE.secret)

    # --- hosts ----------------------------------------------------------------------------------------------------

    def add(self, host: Host) -> Host:
        """Have a participant come in."""
        self.hosts[host.name] = host
        self.start(host)
        return host

    def start(self, host: Host) -> None:
        """Start what the host should run and does not."""
        host.leaving = False
        if host.serves and (host.server is None or host.server.state is State.GONE):
            self._start_server(host)
        if host.has_client and (host.client is None or host.client.state is State.GONE):
            self._start_client(host)

    def _start_server(self, host: Host) -> None:
        host.lives += 1
        name = f"{host.name}.s{host.lives}"
        if host.disk is None:
            host.disk = Disk(self.world)
        store = host.disk.newest() if not host.ephemeral and not (host.fresh and host.lives == 1) else None
        made = identity.make_id(self._key_of(host.name), f"{host.name}-{host.lives}")
        host.server_id = store.server_id if store is not None else made
        host.restarted_as = host.server_id if store is not None else ""
        options = ServerOptions(
            service=SERVICE,
            server_id=host.server_id,
            name=host.name,
            dns=(ZDNS_ENDPOINT,),
            serve_first=host.serve_first and host.lives == 1,
            min_n=self.min_n,
            term_ms=self.term_ms,
            fresh=host.fresh and host.lives == 1,
            replicas=host.replicas,
            ephemeral=host.ephemeral,
            credentials=self._credentials(host),
        )
        restored = store.restored(SERVICE) if store is not None else None
        node = self._core_node(name, lambda: self._make.server(options, restored), host)
        host.shelf = self._shelf(host, host.disk, store, node)
        host.server = node
        self.checkers.server_started(name, host.server_id)
        node.start()

    def _shelf(self, host: Host, disk: Disk, store: Store | None, node: CoreNode) -> Shelf:
        shelf = Shelf(disk, SERVICE, host.server_id, store, lambda word: node.deliver(Asked(word)), node.name)
        node.on_death = shelf.die
        return shelf

    def _start_client(self, host: Host) -> None:
        options = EngineOptions(
            service=SERVICE,
            dns=(ZDNS_ENDPOINT,),
            nick=host.name,
            nick_fixed=False,
            guest=host.guest,
            serves=host.serves,
            server_id=ServerId(host.server_id if host.serves else ""),
            min_n=self.min_n,
            since=None,
            flood_per_s=0,
            page=20,
            credentials=self._credentials(host),
        )
        if host.client is None:
            host.client = self._core_node(host.name, lambda: self._make.client(options), host)
        self.checkers.client_started(host.name, host.client.incarnation + 1)
        host.client.start()

    def _core_node(self, name: str, make_core: Callable[[], Core], host: Host) -> CoreNode:
        node = CoreNode(
            self.world,
            self.network,
            name,
            make_core,
            clock=host.clock,
            on_report=lambda node, notice: self._reported(host, node, notice),
            on_stop=lambda node, reason: self._ended(host, node, reason),
        )
        self.nodes[name] = node
        return node

    # --- what users do ----------------------------------------------------------------------------------------------

    def ask(self, host: Host, intent: intents.Intent) -> None:
        """The user of `host` asks for something."""
        if host.has_live_client:
            assert host.client is not None
            host.client.deliver(Asked(intent))

    def say(self, host: Host, padding: int = 0) -> None:
        """The user of `host` posts a text that nobody else posts."""
        if not host.has_live_client:
            return
        host.said += 1
        tag = f"{host.name}-{host.said}"
        text = f"{tag} {'x' * padding}"
        self.checkers.said(host.name, tag, text)
        self.ask(host, intents.Say(text=text, tag=tag))

    def tell(self, host: Host, to: Host) -> None:
        """The user of `host` writes to another in private."""
        if not host.has_live_client or host.guest:
            return
        host.said += 1
        tag = f"{host.name}-private-{host.said}"
        self.checkers.tells(host.name, tag, to.name)
        self.ask(host, intents.Tell(to=to.name, text=f"for {to.name}: {tag}", tag=tag))

    def set_topic(self, host: Host, topic: str) -> None:
        """The user of `host` says what the room is about."""
        if host.has_live_client and not host.guest:
            self.checkers.sets_topic(topic)
            self.ask(host, intents.SetTopic(text=topic))

    def quit(self, host: Host) -> None:
        """The user of `host` leaves; its server half hands over first, and outlives the screen for that."""
        self.ask(host, intents.Quit())
        host.leaving = True
        if host.server is not None:
            host.server.deliver(Stopping())

    # --- what befalls them ------------------------------------------------------------------------------------------

    def kill_server(self, host: Host) -> None:
        """kill -9 of the server half; its participant starts another one."""
        if host.server is None or host.server.state is State.GONE:
            return
        self._kill_server(host, host.server, silent=False)
        self._restart_later(host)

    def _kill_server(self, host: Host, server: CoreNode, *, silent: bool) -> None:
        self.faults["machine lost" if silent else "server killed"] += 1
        self._remember(host)
        server.kill(silent=silent)
        if silent and host.disk is not None:
            host.disk.lose_power()
        self.checkers.server_ended(server.name, "killed")

    def _remember(self, host: Host) -> None:
        assert host.server is not None and isinstance(host.server.core, ServerCore)
        if host.server.core.history is not None:
            self._memories.setdefault(host.server_id, []).append(host.server.core.history)

    def kill_client(self, host: Host) -> None:
        """kill -9 of the client half; its server half notices and leaves in good order."""
        if host.client is None or host.client.state is State.GONE:
            return
        self.faults["client killed"] += 1
        host.client.kill()
        self.checkers.client_ended(host.name)
        if host.server is not None:
            host.server.deliver(Stopping())

    def kill_host(self, host: Host, *, silent: bool = False) -> None:
        """Both processes at once; `silent`: the machine, so that nobody is told."""
        if host.server is not None and host.server.state is not State.GONE:
            self._kill_server(host, host.server, silent=silent)
        if host.client is not None and host.client.state is not State.GONE:
            host.client.kill(silent=silent)
            self.checkers.client_ended(host.name)

    def kill(self, node: str) -> None:
        """kill -9 of the process `node`."""
        if node == ZDNS:
            self.faults["zdns killed"] += self.zdns.state is not State.GONE
            self.zdns.kill()
            return
        host = self.host_of(node)
        if host is None:
            return
        if node == host.name:
            self.kill_client(host)
        elif host.server is not None and node == host.server.name:
            self.kill_server(host)

    def lose_zdns_store(self) -> None:
        """zdns dies, and its disk with it; somebody else is to start it again."""
        self.kill(ZDNS)
        self.faults["zdns store lost"] += 1
        self.zdns.lose_store()

    def damage_store(self, host: Host) -> None:
        """The server half dies, and then it is found that its store is not whole."""
        if host.disk is None or host.disk.newest() is None:
            return
        self.kill_server(host)
        if host.disk.damage():
            self.faults["store damaged"] += 1
            self.world.note("fate", f"STORE of {host.name} DAMAGED")

    def slow_disk(self, host: Host, slow_ms: int, for_ms: int) -> None:
        """Each write takes that much longer for a while."""
        disk = host.disk
        if disk is None:
            return
        self.faults["disk slow"] += 1
        self.world.note("fate", f"DISK of {host.name} slow, {slow_ms} ms for {for_ms} ms")
        disk.slow_ms = slow_ms
        self.later(for_ms, lambda: setattr(disk, "slow_ms", 0))

    def break_disk(self, host: Host, for_ms: int | None) -> None:
        """No write succeeds for a while, or ever again."""
        disk = host.disk
        if disk is None:
            return
        self.faults["disk broken"] += 1
        self.world.note("fate", f"DISK of {host.name} BROKEN for {'good' if for_ms is None else f'{for_ms} ms'}")
        disk.broken = True
        if for_ms is None:
            host.disk_is_dead = True
        else:
            self.later(for_ms, lambda: setattr(disk, "broken", host.disk_is_dead))

    def pause(self, node: str, for_ms: int) -> None:
        """SIGSTOP, and SIGCONT later."""
        paused = self.nodes.get(node)
        if paused is not None and paused.state is State.RUNNING:
            self.faults["paused"] += 1
            paused.stop()
            self.later(for_ms, paused.go_on)

    def part(self, first: str, second: str, for_ms: int, *, one_way: bool = False) -> None:
        """Let nothing through between two machines, or nothing from the first to the second."""
        if first == second:
            return
        self.faults["parted one way" if one_way else "parted"] += 1
        self.world.note("fate", f"PARTED {first} {'->' if one_way else '<->'} {second} for {for_ms} ms")
        self.network.block(first, second)
        if not one_way:
            self.network.block(second, first)
        if ZDNS in (first, second):
            other = first if second == ZDNS else second
            self._cut_until_ms[other] = max(self._cut_until_ms.get(other, 0), self.world.now_ms + for_ms)
        self.later(for_ms, lambda: self.network.unblock(first, second))

    def break_between(self, first: str, second: str) -> None:
        """Break all connections between two machines."""
        self.faults["connections broken"] += 1
        self.network.break_between(first, second)

    def bring_back(self, node: str) -> None:
        """Start zdns, or a whole host, again."""
        if node == ZDNS:
            if self.zdns.state is State.GONE:
                self.zdns.start()
        elif not self.hosts[node].is_up:
            self.start(self.hosts[node])

    def heal(self) -> None:
        """End every fault: whatever is stopped goes on, zdns is there, nothing is cut, late or lost any more."""
        self.world.note("fate", "HEALED")
        self.triggers.clear()
        self.network.heal()
        self._calm_since_ms = self.world.now_ms
        for node in list(self.nodes.values()):
            node.go_on()
        self.zdns.disk_ms = 0
        for host in self.hosts.values():
            if host.disk is not None:
                host.disk.slow_ms, host.disk.broken = 0, host.disk_is_dead
        self.bring_back(ZDNS)

    # --- looking ----------------------------------------------------------------------------------------------------

    def host_of(self, node: str) -> Host | None:
        """The host whose node this is."""
        return self.hosts.get(node.partition(".")[0])

    def active_host(self) -> Host | None:
        """The host whose server zdns has on record, if that server lives."""
        record = self.checkers.record
        for host in self.hosts.values():
            lives = host.server is not None and host.server.state is not State.GONE
            if record is not None and lives and host.server_id == record.active.id:
                return host
        return None

    def holders_down(self) -> list[Host]:
        """Hosts that do not run and whose disks have what zdns has on record as whole."""
        record = self.checkers.record
        listed = [server.id for server in record.in_sync] if record is not None else []
        return [
            host
            for host in self.hosts.values()
            if (host.server is None or host.server.state is State.GONE)
            and (store := host.disk.newest() if host.disk is not None else None) is not None
            and record is not None
            and (store.server_id, store.log) in [(id_, record.log) for id_ in listed if id_ not in record.volatile]
        ]

    def clients(self) -> list[Host]:
        """The hosts with a user at the keyboard."""
        return [host for host in self.hosts.values() if host.has_live_client]

    def standing(self) -> list[Host]:
        """The hosts whose server half runs, and means to stay."""
        return [
            host
            for host in self.hosts.values()
            if host.server is not None
            and host.server.state is State.RUNNING
            and (host.has_live_client if host.has_client else not host.leaving)
        ]

    # --- planning ---------------------------------------------------------------------------------------------------

    def later(self, delay_ms: int, act: Callable[[], None]) -> None:
        """Do something later."""
        self.world.after(delay_ms, "fate", act)

    def when(
        self, kind: type[Message], act: Callable[[str, str], None], *, handled: bool = False, skip: int = 0
    ) -> None:
        """Do `act(sender, receiver)` once: right after a message of `kind` was sent, or after it was handled."""
        self.triggers.append(Trigger(kind, handled, skip, act))

    # --- inside -----------------------------------------------------------------------------------------------------

    def _host_of_server(self, server_id: str) -> Host | None:
        return self.hosts.get(server_id.rpartition("-")[0].rpartition("-")[2])  # a key may come first

    def _live_core(self, server_id: str) -> ServerCore | None:
        host = self._host_of_server(server_id)
        if host is None or host.server_id != server_id or host.server is None or host.server.state is State.GONE:
            return None
        assert isinstance(host.server.core, ServerCore)
        return host.server.core

    def _holds(self, server_id: str, volatile: bool, log: str, entry: Entry) -> bool:
        """Whether a server has an entry for good: on its disk, or in memory if that is all it has."""
        host, core = self._host_of_server(server_id), self._live_core(server_id)
        if host is None:
            return False
        data = codec.encode_entry(entry)
        stores = host.disk.stores if host.disk is not None else []
        if any(
            store.server_id == server_id and store.log == log and store.entries[entry.seq - 1 : entry.seq] == [data]
            for store in stores
        ):
            return True
        if not volatile and not host.ephemeral:
            return False
        memories = [*self._memories.get(server_id, ()), *([core.history] if core is not None and core.history else [])]
        return any(memory.log == log and memory.entries(entry.seq, entry.seq) == [entry] for memory in memories)

    def _kept_by_active(self, log: str, seq: int) -> Entry | None:
        """An entry of the history that is served, wherever its server has it."""
        host = self.active_host()
        core = host.server.core if host is not None and host.server is not None else None
        if host is None or not isinstance(core, ServerCore) or core.room is None or core.room.history.log != log:
            return None
        if seq >= core.room.history.first:
            found = core.room.history.entries(seq, seq)
            return found[0] if found else None
        for store in host.disk.stores if host.disk is not None else []:
            if (store.server_id, store.log) == (host.server_id, log):
                return codec.decode_entry(store.entries[seq - 1]) if seq <= len(store.entries) else None
        return None

    def _lacks(self, server_id: str, volatile: bool, log: str, committed: Sequence[bytes]) -> str:
        """What a server that is counted on lacks of what is committed, as half a sentence; empty: nothing.

        A copy that is gone, with its process or with its disk, lacks nothing: nobody can count on it.
        """
        host, core = self._host_of_server(server_id), self._live_core(server_id)
        if host is None:
            return "nobody knows it"
        is_restarted = host.restarted_as == server_id
        if volatile and (core is None or is_restarted):
            return ""
        if core is not None:
            history = core.history
            if history is None or history.log != log:
                return "" if core.room is None and self._is_to_begin(core, log) else "runs without a copy"
            kept = history._entries
            start = history.first - 1
            if kept[: max(0, len(committed) - start)] != committed[start:]:
                return f"does not have all {len(committed)} entries in memory, but {history.first} to {history.head}"
        if volatile or host.ephemeral or host.disk is None:
            return ""
        found = [store for store in host.disk.stores if (store.server_id, store.log) == (server_id, log) and store.good]
        if core is None and host.disk.newest() not in found:
            return ""
        if found and not any(store.entries[: len(committed)] == committed for store in found):
            have = max(len(store.entries) for store in found)
            return f"does not have all {len(committed)} entries on disk, but {have}, or others"
        return ""

    @staticmethod
    def _is_to_begin(core: ServerCore, log: str) -> bool:
        """It was given a new history to begin, and has not heard that yet."""
        record = core._tenure.record
        return record is None or record.log != log

    def _knows(self, record: Record) -> str:
        """Who was there undisturbed ever since zdns started, holds the history, and knows `record`; empty: nobody.

        Where the network may lose or delay what is said, nobody counts.
        """
        weather = self.network.weather
        since_ms = self.zdns.undisturbed_since_ms
        if weather.mute_chance or weather.late_chance or self._calm_since_ms > since_ms or self.zdns.disk_ms > 100:
            return ""
        for host in self.hosts.values():
            core, server = self._live_core(host.server_id), host.server
            if core is None or server is None or server.state is not State.RUNNING or core.history is None:
                continue
            known = core._tenure.record
            if (
                known is not None
                and (known.epoch, known.version) >= (record.epoch, record.version)
                and core.history.log == record.log
                and host.server_id in [one.id for one in known.in_sync]
                and server.undisturbed_since_ms <= since_ms
                and self._cut_until_ms.get(machine_of(server.name), 0) <= since_ms
            ):
                return server.name
        return ""

    def _has_copy(self, server_id: str, log: str, *, alive: bool) -> bool:
        """Whether a server has a copy in memory; with `alive` False also if it may have one.

        That is on a disk from which it can be started again, or when it has not heard yet that it is to begin one.
        """
        core = self._live_core(server_id)
        if core is not None:
            has_copy = core.history is not None and core.history.log == log
            return has_copy or (not alive and core.room is None and self._is_to_begin(core, log))
        host = self._host_of_server(server_id)
        if alive or host is None or host.disk is None:
            return False
        store = host.disk.newest()
        return store is not None and (store.server_id, store.log) == (server_id, log)

    def _befall(self, act: Callable[[], None]) -> None:
        act()

    def _deliver(self, node: str, event: Any) -> None:
        self.nodes[node].deliver(event)

    def _is_stopped(self, node: str) -> bool:
        return node in self.nodes and self.nodes[node].state is State.STOPPED

    def _sent(self, sender: str, receiver: str, message: Message) -> None:
        if sender == INTRUDER or (receiver == INTRUDER and isinstance(message, Refused)):
            return  # nothing is promised about what it says, or about what it is told of that
        self.checkers.sent(sender, receiver, message)
        if isinstance(message, Sealed):
            self._sealed[sender] = message.head
        elif isinstance(message, Published) and sender in self._sealed:
            self._check_seal(sender, message)
        self._pull(sender, receiver, message, handled=False)

    def _check_seal(self, sender: str, message: Published) -> None:
        """What was sealed stays as it is, until the handover has failed."""
        if message.first + message.count - 1 > self._sealed[sender] and self._is_sealed(sender):
            raise Broken(f"{sender} commits seq {message.first} after it has sealed {self._sealed[sender]}")

    def _is_sealed(self, name: str) -> bool:
        node = self.nodes[name]
        assert isinstance(node, CoreNode) and isinstance(node.core, ServerCore)
        return node.core._source.is_seal_sent

    def _arrived(self, sender: str, receiver: str, message: Message) -> None:
        if INTRUDER in (sender, receiver):
            return
        self.checkers.arrived(sender, receiver, message)
        self._pull(sender, receiver, message, handled=True)

    def _pull(self, sender: str, receiver: str, message: Message, *, handled: bool) -> None:
        if receiver == INTRUDER:
            return  # there are moments enough between the others
        for trigger in self.triggers:
            if trigger.handled is handled and type(message) is trigger.kind:
                if trigger.skip > 0:
                    trigger.skip -= 1
                    continue
                self.triggers.remove(trigger)
                self.world.note("fate", f"on {type(message).__name__} {sender} -> {receiver or 'all'}")
                self._soon.append(partial(self._act, trigger, sender, receiver))
                return

    def _act(self, trigger: Trigger, sender: str, receiver: str) -> None:
        act = partial(trigger.act, sender, receiver)
        if trigger.handled:
            self.later(0, act)  # by then the receiver has taken it
        else:
            act()

    def _after_step(self) -> None:
        while self._soon:
            self._soon.pop(0)()
        for name in [name for name in self._sealed if not self._is_sealed(name)]:
            del self._sealed[name]
        record = self.checkers.record
        if record is not None and not record.ended:
            for id_, listed in self._listed_nodes(record):
                if not self._has_begun(listed, record.log) or self.checkers.came_too_late:
                    self._check_copy(id_, record)
        if self.world.steps % COPIES_EACH_STEPS == 0:
            self.checkers.check_copies()
        if self.world.steps % BOUNDS_EACH_STEPS == 0:
            for host in self.hosts.values():
                for node in (host.client, host.server):
                    if node is not None and node.state is not State.GONE:
                        self.checkers.bounded(node.name, self.network.links_of(node.name), node.timers_count())
                        self._check_memory(node)

    def _listed_nodes(self, record: Record) -> list[tuple[str, CoreNode]]:
        """The servers on the list that have been started, found anew only when something has changed."""
        key = (record.epoch, record.version, len(self.nodes))
        if key != self._listed_key:
            hosts = [(server.id, self._host_of_server(server.id)) for server in record.in_sync]
            self._listed_key = key
            self._listed = [
                (id_, host.server)
                for id_, host in hosts
                if host is not None and host.server_id == id_ and host.server is not None
            ]
        return self._listed

    @staticmethod
    def _has_begun(node: CoreNode, log: str) -> bool:
        """It has a copy, or is dead."""
        assert isinstance(node.core, ServerCore)
        history = node.core.history
        return node.state is State.GONE or (history is not None and history.log == log)

    def _check_copy(self, server_id: str, record: Record) -> None:
        """Whoever runs and is on zdns' list has a copy."""
        core = self._live_core(server_id)
        if core is None:
            return
        history = core.history
        if history is not None and history.log == record.log:
            # One that came too late may begin anew while it is on the list: it claims nothing before it has all.
            if core.room is not None or core._copy.is_whole:
                self.checkers.came_too_late.discard(server_id)
            return
        if server_id in self.checkers.came_too_late:
            return
        host = self._host_of_server(server_id)
        assert host is not None
        if (core.room is None and self._is_to_begin(core, record.log)) or (
            server_id in record.volatile and host.restarted_as == server_id
        ):
            return
        raise Broken(f"{server_id} runs without a copy, and is on the list of epoch {record.epoch}")

    def _check_memory(self, node: CoreNode) -> None:
        """Of a history on disk only the end is in memory."""
        core = node.core
        if not isinstance(core, ServerCore) or (history := core.history) is None or core._keeper.volatile:
            return
        if history.bytes_count <= limits.TAIL_BYTES_MAX + limits.BLOCK_BYTES_MAX:
            return
        committed = core.room.committed if core.room is not None else core._copy.committed
        may_go = min(core._keeper.written, committed, history.head - limits.TAIL_ENTRIES_MIN) - 2 * SPAN_ENTRIES
        if may_go > history.first:
            raise Broken(f"{node.name} has {history.bytes_count} bytes in memory, from entry {history.first} on")

    def _reported(self, host: Host, node: CoreNode, notice: Any) -> None:
        if isinstance(notice, notices.Bye) and notice.exit != 0:
            # Nobody to be found while coming in: that is said, and then the whole participant ends.
            if notice.exit != EXIT_UNAVAILABLE or self.checkers.views[node.name].ready:
                raise Broken(f"{node.name} leaves by itself with exit {notice.exit}: {notice.reason}")
            host.leaving = True
            if host.server is not None:
                host.server.deliver(Stopping())
        if isinstance(notice, DiskOrder):
            assert host.shelf is not None
            if node is host.server:
                host.shelf.perform(notice)
        elif isinstance(notice, notices.Notice):
            self.world.stir(node.name, repr(notice))
            self.checkers.noticed(node.name, notice)  # type: ignore[arg-type]  # a Notice is one of AnyNotice
        elif host.client is not None and host.client.state is not State.GONE:
            match notice:
                case Listening(server):
                    host.client.deliver(Asked(intents.HostServer(ServerId(server.id))))
                case RoleGranted(epoch):
                    host.client.deliver(Asked(intents.EpochGranted(epoch)))

    def _ended(self, host: Host, node: CoreNode, reason: str) -> None:
        if node is host.client:
            self.checkers.client_ended(node.name)
        elif node is host.server:
            if host.shelf is not None:
                host.shelf.finish()
            self._remember(host)
            self.checkers.server_ended(node.name, reason)
            if not host.leaving:
                self._restart_later(host)

    def _restart_later(self, host: Host) -> None:
        """A participant restarts its server half; one without a client half is its server half."""

        def restart() -> None:
            client_lives = host.client is not None and host.client.state is not State.GONE
            if client_lives and not host.leaving and host.server is not None and host.server.state is State.GONE:
                self._start_server(host)

        self.later(RESTART_MS, restart)
