"""What goes wrong in a run, and when: drawn from the seed, with a preference for the moments of a handover."""

from dataclasses import dataclass
from random import Random

from peer import intents
from tests.sim.network import Weather, machine_of
from tests.sim.nodes import ZDNS, Clock
from tests.sim.town import Host, Town
from wire.messages import (
    Accept,
    Acked,
    Claim,
    Credit,
    Dump,
    Granted,
    Hello,
    LinkAsk,
    LinkAt,
    Message,
    Moved,
    Offer,
    Pick,
    Picked,
    Posts,
    Prepare,
    Published,
    Ready,
    Relocate,
    Sealed,
    SetInSync,
    TakeOver,
    Took,
    Transfer,
    Welcome,
)

NAMES = ("ana", "bo", "cy", "dee", "eva")
# Around these messages a handover, or what follows it, can go wrong.
MOMENTS: tuple[type[Message], ...] = (
    Pick,
    Picked,
    LinkAsk,
    LinkAt,
    Offer,
    Accept,
    Dump,
    Credit,
    Prepare,
    Sealed,
    Ready,
    Transfer,
    Granted,
    TakeOver,
    SetInSync,
    Took,
    Relocate,
    Moved,
    Hello,
    Welcome,
    Posts,
    Published,
    Acked,
    Claim,
)
DEEDS = ("kill", "kill", "kill machine", "pause", "part", "part one way", "break", "kill zdns", "lose")
LOSSY: tuple[type[Message], ...] = (Relocate, Prepare, Published)


@dataclass(frozen=True)
class Plan:
    """The frame of a run; what goes wrong within it is drawn as it goes."""

    hosts_count: int
    min_n: int
    term_ms: int
    stage_ms: int  # how long faults may happen
    faults_count: int
    pause_ms: tuple[int, int]  # between two posts of one user


class Fate:
    """Draws a plan and makes it happen in a town."""

    def __init__(self, seed: int) -> None:
        self.random = Random(f"fate of {seed}")
        draw = self.random
        hosts_count = draw.choice((2, 3, 3, 4, 4, 5))
        self.plan = Plan(
            hosts_count=hosts_count,
            min_n=draw.choice((0, 0, 0, 1, 2, hosts_count)),
            term_ms=draw.choice((0, 300, 700, 1_500, 3_000)),
            stage_ms=draw.randint(4_000, 12_000),
            faults_count=draw.choice((0, 1, 1, 2, 2, 3, 4, 6)),
            pause_ms=draw.choice(((20, 120), (50, 400), (200, 1_000))),
        )
        self._town: Town

    def begin(self, town: Town) -> None:
        """Bring everybody in, have them talk, and plan what will go wrong."""
        self._town = town
        town.network.weather = self._weather()
        town.zdns.disk_ms = self.random.choice((0, 0, 1, 5, 40))
        town.zdns.start()
        for index in range(self.plan.hosts_count):
            host = self._host(index)
            come_ms = 0 if index == 0 else self.random.choice((0, 0, self.random.randint(0, self.plan.stage_ms // 2)))
            town.later(come_ms, lambda host=host: self._come(host))  # type: ignore[misc]  # bound for the loop
        for _ in range(self.plan.faults_count):
            town.later(self.random.randint(0, self.plan.stage_ms), self._strike)

    def _come(self, host: Host) -> None:
        self._town.add(host)
        self._talk(host)

    def _host(self, index: int) -> Host:
        draw = self.random
        clock = Clock(draw.choice((0, 1, 10**9)), draw.choice((1_000, 1_000, 970, 1_030)))
        kind = "both" if index < 2 else draw.choice(("both", "both", "both", "guest", "reader", "server"))
        return Host(
            NAMES[index],
            has_client=kind != "server",
            serves=kind in ("both", "server"),
            guest=kind == "guest",
            serve_first=draw.random() < 0.3,
            clock=clock,
        )

    def _weather(self) -> Weather:
        draw = self.random
        if draw.random() < 0.3:
            return Weather()
        return Weather(
            latency_ms=draw.choice(((0, 1), (1, 5), (1, 40))),
            late_chance=draw.choice((0.0, 0.01, 0.05)),
            late_ms=draw.choice((50, 300, 1_500)),
            feed_drop_chance=draw.choice((0.0, 0.02, 0.2)),
            refuse_chance=draw.choice((0.0, 0.0, 0.02)),
            mute_chance=draw.choice((0.0, 0.0, 0.05, 0.3)),
            high_water=draw.choice((20, 200, 1_000)),
        )

    def _talk(self, host: Host) -> None:
        """Post now and then as long as the stage lasts, sometimes many at once."""
        town = self._town
        if town.world.now_ms >= self.plan.stage_ms:
            return
        if host.has_live_client:
            for _ in range(30 if self.random.random() < 0.02 else 1):
                town.say(host, padding=4_000 if self.random.random() < 0.01 else 0)
            if self.random.random() < 0.05:
                town.tell(host, town.hosts[self._anybody()])
        town.later(self.random.randint(*self.plan.pause_ms), lambda: self._talk(host))

    # --- faults ---------------------------------------------------------------------------------------------------

    def _strike(self) -> None:
        draw = self.random
        strike = draw.choice(
            (
                self._at_a_moment,
                self._at_a_moment,
                self._at_a_moment,
                self._at_a_moment,
                self._kill_somebody,
                self._pause_somebody,
                self._part_somebody,
                self._break_somebody,
                self._hand_over_at_once,
                self._no_zdns,
                self._somebody_leaves,
                self._lose_relocates,
            )
        )
        strike()

    def _at_a_moment(self) -> None:
        """Wait for a message of a handover, and do something to one of its ends."""
        draw, town = self.random, self._town
        kind = draw.choice(MOMENTS)
        self_or_other = draw.random() < 0.5
        deed = draw.choice(
            ("kill", "kill", "kill machine", "pause", "part", "part one way", "break", "kill zdns", "lose")
        )
        for_ms = draw.choice((20, 200, 1_000, 3_500, 6_000))

        def act(sender: str, receiver: str) -> None:
            node = sender if self_or_other or not receiver else receiver
            other = receiver or self._anybody()
            town.world.note("fate", f"{deed} {node}")
            match deed:
                case "kill":
                    self._kill(node)
                case "kill machine":
                    self._kill_machine(machine_of(node))
                case "pause":
                    town.pause(node, for_ms)
                case "part" | "part one way":
                    town.part(machine_of(node), machine_of(other), for_ms, one_way=deed != "part")
                case "break":
                    town.network.break_between(machine_of(sender), machine_of(other))
                case "kill zdns":
                    self._kill(ZDNS)
                case "lose":
                    self._lose_relocates()

        town.when(kind, act, handled=draw.random() < 0.5, skip=draw.choice((0, 0, 1, 3)))
        if draw.random() < 0.5:
            self._hand_over_at_once()

    def _anybody(self) -> str:
        return self.random.choice(list(self._town.hosts))

    def _kill(self, node: str) -> None:
        self._town.kill(node)
        self._bring_back_later(machine_of(node))

    def _kill_machine(self, machine: str) -> None:
        if machine == ZDNS:
            self._kill(ZDNS)
            return
        host = self._town.hosts[machine]
        self._town.kill_host(host, silent=self.random.random() < 0.5)
        if self.random.random() < 0.6:
            self._bring_back_later(machine)

    def _bring_back_later(self, node: str) -> None:
        self._town.later(self.random.choice((10, 300, 1_000, 4_000)), lambda: self._town.bring_back(node))

    def _kill_somebody(self) -> None:
        host = self._town.active_host()
        if host is None or self.random.random() < 0.5:
            host = self._town.hosts[self._anybody()]
        if self.random.random() < 0.4:
            self._kill_machine(host.name)
        else:
            self._kill(self._one_of(host))

    def _one_of(self, host: Host) -> str:
        nodes = [node.name for node in (host.client, host.server) if node is not None]
        return self.random.choice(nodes)

    def _pause_somebody(self) -> None:
        for _ in range(self.random.choice((1, 1, 2))):
            node = self._one_of(self._town.hosts[self._anybody()])
            self._town.pause(node, self.random.choice((100, 800, 2_500, 5_000, 9_000)))

    def _part_somebody(self) -> None:
        places = [*self._town.hosts, ZDNS]
        first, second = self.random.choice(places), self.random.choice(places)
        for_ms = self.random.choice((100, 1_000, 3_000, 8_000))
        self._town.part(first, second, for_ms, one_way=self.random.random() < 0.4)

    def _break_somebody(self) -> None:
        places = [*self._town.hosts, ZDNS]
        self._town.network.break_between(self.random.choice(places), self.random.choice(places))

    def _hand_over_at_once(self) -> None:
        """One handover or several, to anyone or to somebody by name, all at the same moment."""
        for _ in range(self.random.choice((1, 1, 2, 4))):
            host = self._town.hosts[self._anybody()]
            to = self.random.choice((None, None, self._anybody()))
            self._town.ask(host, intents.AskHandover(to=to))

    def _no_zdns(self) -> None:
        for_ms = self.random.choice((300, 1_500, 4_000, 7_000))
        if self.random.random() < 0.5:
            self._town.pause(ZDNS, for_ms)
        else:
            self._town.kill(ZDNS)
            self._town.later(for_ms, lambda: self._town.bring_back(ZDNS))

    def _somebody_leaves(self) -> None:
        host = self._town.hosts[self._anybody()]
        self._town.quit(host)
        if self.random.random() < 0.5:
            self._town.later(self.random.randint(500, 3_000), lambda: self._town.bring_back(host.name))

    def _lose_relocates(self) -> None:
        """For a while one reader, or all, get none of a kind of message that PUB may drop."""
        kind, reader = self.random.choice(LOSSY), self.random.choice(("", self._anybody()))
        network = self._town.network
        before = network.loses

        def loses(_sender: str, receiver: str, message: Message) -> bool:
            return type(message) is kind and reader in ("", receiver)

        def again() -> None:
            network.loses = before

        network.loses = loses
        self._town.later(self.random.choice((500, 3_000)), again)
