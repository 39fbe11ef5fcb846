"""All nodes of one run, wired to the network and to the checkers; what users do, and what may befall them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from broker.core import ServerCore
from broker.reports import Listening, RoleGranted, ServerOptions
from peer import intents, notices
from peer.engine import Engine, EngineOptions
from tests.sim.checkers import Broken, Checkers
from tests.sim.network import Network
from tests.sim.nodes import ZDNS, ZDNS_ENDPOINT, Clock, CoreNode, Node, State, ZdnsNode
from tests.sim.world import World
from wire import limits
from wire.exits import EXIT_UNAVAILABLE
from wire.messages import Message
from wire.names import ServerId
from wire.step import Asked, Core, Stopping
from zdns.registry import Registry

SERVICE = "tea"
RESTART_MS = 500  # as a participant restarts its server half
BOUNDS_EACH_STEPS = 100
# Small bounds, so that a short run meets them: several chunks a dump, windows that close, pages that end.
SMALL_LIMITS = {
    "BLOCK_BYTES_MAX": 4 * limits.KIB,
    "SEAL_WITHIN_ENTRIES": 20,
    "CHUNKS_IN_FLIGHT": 2,
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

    server: Callable[[ServerOptions], Core] = ServerCore
    client: Callable[[EngineOptions], Core] = Engine
    registry: Callable[..., Registry] = Registry


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

    def __init__(self, seed: int, make: Make | None = None, *, min_n: int = 0, term_ms: int = 0) -> None:
        self.world = World(seed)
        self.checkers = Checkers()
        self.nodes: dict[str, Node] = {}
        self.hosts: dict[str, Host] = {}
        self.triggers: list[Trigger] = []
        self.min_n, self.term_ms = min_n, term_ms
        self._make = make or Make()
        self._soon: list[Callable[[], None]] = []
        self.network = Network(self.world, self._deliver, self._is_stopped)
        self.network.on_told.append(self.checkers.told)
        self.network.on_sent += [self.checkers.sent, self._sent]
        self.network.on_arrived += [self.checkers.arrived, self._arrived]
        self.world.join("fate", self._befall)
        self.world.after_step.append(self._after_step)
        self.zdns = ZdnsNode(self.world, self.network, on_saved=self.checkers.saved, make_registry=self._make.registry)
        self.nodes[ZDNS] = self.zdns

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
        host.server_id = f"{host.name}-{host.lives}"
        options = ServerOptions(
            service=SERVICE,
            server_id=host.server_id,
            name=host.name,
            dns=(ZDNS_ENDPOINT,),
            serve_first=host.serve_first and host.lives == 1,
            min_n=self.min_n,
            term_ms=self.term_ms,
            fresh=host.fresh and host.lives == 1,
        )
        node = self._core_node(name, lambda: self._make.server(options), host)
        host.server = node
        self.checkers.server_started(name, host.server_id)
        node.start()

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
        host.server.kill()
        self.checkers.server_ended(host.server.name, "killed")
        self._restart_later(host)

    def kill_client(self, host: Host) -> None:
        """kill -9 of the client half; its server half notices and leaves in good order."""
        if host.client is None or host.client.state is State.GONE:
            return
        host.client.kill()
        self.checkers.client_ended(host.name)
        if host.server is not None:
            host.server.deliver(Stopping())

    def kill_host(self, host: Host, *, silent: bool = False) -> None:
        """Both processes at once; `silent`: the machine, so that nobody is told."""
        if host.server is not None and host.server.state is not State.GONE:
            host.server.kill(silent=silent)
            self.checkers.server_ended(host.server.name, "killed")
        if host.client is not None and host.client.state is not State.GONE:
            host.client.kill(silent=silent)
            self.checkers.client_ended(host.name)

    def kill(self, node: str) -> None:
        """kill -9 of the process `node`."""
        if node == ZDNS:
            self.zdns.kill()
            return
        host = self.host_of(node)
        if host is None:
            return
        if node == host.name:
            self.kill_client(host)
        elif host.server is not None and node == host.server.name:
            self.kill_server(host)

    def pause(self, node: str, for_ms: int) -> None:
        """SIGSTOP, and SIGCONT later."""
        paused = self.nodes.get(node)
        if paused is not None and paused.state is State.RUNNING:
            paused.stop()
            self.later(for_ms, paused.go_on)

    def part(self, first: str, second: str, for_ms: int, *, one_way: bool = False) -> None:
        """Let nothing through between two machines, or nothing from the first to the second."""
        if first == second:
            return
        self.world.note("fate", f"PARTED {first} {'->' if one_way else '<->'} {second} for {for_ms} ms")
        self.network.block(first, second)
        if not one_way:
            self.network.block(second, first)
        self.later(for_ms, lambda: self.network.unblock(first, second))

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
        for node in list(self.nodes.values()):
            node.go_on()
        self.zdns.disk_ms = 0
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

    def _befall(self, act: Callable[[], None]) -> None:
        act()

    def _deliver(self, node: str, event: Any) -> None:
        self.nodes[node].deliver(event)

    def _is_stopped(self, node: str) -> bool:
        return node in self.nodes and self.nodes[node].state is State.STOPPED

    def _sent(self, sender: str, receiver: str, message: Message) -> None:
        self._pull(sender, receiver, message, handled=False)

    def _arrived(self, sender: str, receiver: str, message: Message) -> None:
        self._pull(sender, receiver, message, handled=True)

    def _pull(self, sender: str, receiver: str, message: Message, *, handled: bool) -> None:
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
        if self.world.steps % BOUNDS_EACH_STEPS == 0:
            for host in self.hosts.values():
                for node in (host.client, host.server):
                    if node is not None and node.state is not State.GONE:
                        self.checkers.bounded(node.name, self.network.links_of(node.name), node.timers_count())

    def _reported(self, host: Host, node: CoreNode, notice: Any) -> None:
        if isinstance(notice, notices.Bye) and notice.exit != 0:
            # Nobody to be found while coming in: that is said, and then the whole participant ends.
            if notice.exit != EXIT_UNAVAILABLE or self.checkers.views[node.name].ready:
                raise Broken(f"{node.name} leaves by itself with exit {notice.exit}: {notice.reason}")
            host.leaving = True
            if host.server is not None:
                host.server.deliver(Stopping())
        if isinstance(notice, notices.Notice):
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
