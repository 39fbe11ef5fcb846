"""What goes wrong in a run, and when: drawn from the seed, with a preference for the moments of a handover."""

from dataclasses import dataclass
from random import Random

from peer import intents
from tests.sim.network import Weather, machine_of
from tests.sim.nodes import ZDNS, Clock
from tests.sim.town import Host, Town
from wire import limits
from wire.messages import (
    Acked,
    Align,
    Append,
    Claim,
    Dismiss,
    Follow,
    Following,
    Granted,
    Have,
    Hello,
    Keep,
    LinkAsk,
    LinkAt,
    Message,
    Moved,
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
    Follow,
    Following,
    Align,
    Append,
    Append,
    Have,
    Have,
    Keep,
    Dismiss,
    Prepare,
    Sealed,
    Ready,
    Transfer,
    Granted,
    TakeOver,
    SetInSync,
    SetInSync,
    Relocate,
    Moved,
    Hello,
    Welcome,
    Posts,
    Published,
    Acked,
    Claim,
)
# Around these, what has not been committed yet may be at one follower, and not at another.
POSTING: tuple[type[Message], ...] = (
    *(Append, Append, Append, Append, Have, Have, Posts, Posts, Published, Acked, Keep),
    *(Claim, Follow, Following, Align, SetInSync, Granted),
)
# What runs are about: what is done at a moment, and what at any time, each as often as it is named.
DEEDS: dict[str, tuple[str, ...]] = {
    "mixed": (
        *("kill", "kill", "kill", "kill machine", "kill machine", "pause", "part", "part one way", "break"),
        *("kill zdns", "lose zdns", "lose", "damage", "slow disk", "break disk", "blackout"),
    ),
    "deaths": ("kill", "kill", "kill", "kill", "kill", "kill machine", "blackout", "pause", "kill zdns"),
    "disks": ("slow disk", "slow disk", "break disk", "damage", "kill", "kill machine"),
    "network": ("part", "part", "part one way", "part one way", "break", "pause", "pause", "lose"),
    "zdns": ("lose zdns", "lose zdns", "lose zdns", "kill zdns", "kill", "blackout", "part"),
}
STRIKES: dict[str, tuple[str, ...]] = {
    "mixed": (
        *("moment", "moment", "moment", "moment", "moment", "kill", "kill", "pause", "part", "isolate", "break"),
        *("slow disk", "slow disk", "break disk", "damage", "lose zdns", "blackout", "hand over", "no zdns", "leave"),
        "lose",
    ),
    "deaths": (
        *("while posting", "while posting", "while posting", "while posting", "moment", "moment", "kill", "slow disk"),
        *("blackout", "hand over", "leave", "no zdns"),
    ),
    "disks": ("moment", "moment", "slow disk", "slow disk", "break disk", "damage", "kill", "blackout", "hand over"),
    "network": ("moment", "moment", "part", "part", "isolate", "isolate", "pause", "break", "hand over", "slow disk"),
    "zdns": (
        *("moment", "moment", "lose zdns", "lose zdns", "gone for long", "gone for long", "blackout", "kill"),
        *("hand over", "no zdns"),
    ),
}
SLOW_DISK_MS = (20, 100, 300, 700, 1_500, 2_500)
LOSSY: tuple[type[Message], ...] = (Relocate, Prepare, Published)


@dataclass(frozen=True)
class Plan:
    """The frame of a run; what goes wrong within it is drawn as it goes."""

    theme: str
    hosts_count: int
    min_n: int
    term_ms: int
    replicas: int
    stage_ms: int  # how long faults may happen
    faults_count: int
    pause_ms: tuple[int, int]  # between two posts of one user


class Fate:
    """Draws a plan and makes it happen in a town."""

    def __init__(self, seed: int) -> None:
        self.random = Random(f"fate of {seed}")
        draw = self.random
        theme = draw.choice(tuple(STRIKES))
        hosts_count = draw.choice((3, 3, 4) if theme == "deaths" else (2, 3, 3, 4, 4, 5))
        self.plan = Plan(
            theme=theme,
            hosts_count=hosts_count,
            min_n=draw.choice((0, 0, 0, 1, 2, hosts_count)),
            term_ms=draw.choice((0, 300, 700, 1_500, 3_000)),
            replicas=draw.choice((1, 2, 2) if theme == "deaths" else (0, 1, 1, 1, 1, 2, 2)),
            stage_ms=draw.randint(3_000, 7_000) if theme == "deaths" else draw.randint(4_000, 12_000),
            faults_count=draw.choice((3, 4, 6, 9) if theme == "deaths" else (1, 2, 2, 3, 3, 4, 6, 9)),
            pause_ms=draw.choice(((10, 60), (20, 120)) if theme == "deaths" else ((20, 120), (50, 400), (200, 1_000))),
        )
        self._town: Town

    def begin(self, town: Town) -> None:
        """Bring everybody in, have them talk, and plan what will go wrong."""
        self._town = town
        town.network.weather = self._weather()
        town.zdns.disk_ms = self.random.choice((0, 0, 1, 5, 40))
        town.zdns.first_grace_ms = self.random.choice((0, limits.GRACE_MS))
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
        kind = (
            "both"
            if index < 2 or self.plan.theme == "deaths"
            else draw.choice(("both", "both", "both", "guest", "reader", "server"))
        )
        return Host(
            NAMES[index],
            has_client=kind != "server",
            serves=kind in ("both", "server"),
            guest=kind == "guest",
            serve_first=draw.random() < 0.3,
            clock=clock,
            ephemeral=draw.random() < 0.25,
            replicas=self.plan.replicas,
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
        strikes = {
            "moment": self._at_a_moment,
            "while posting": self._kill_while_posting,
            "kill": self._kill_somebody,
            "gone for long": self._kill_for_long,
            "pause": self._pause_somebody,
            "part": self._part_somebody,
            "isolate": self._isolate_somebody,
            "break": self._break_somebody,
            "slow disk": self._slow_a_disk,
            "break disk": self._break_a_disk,
            "damage": self._damage_a_store,
            "lose zdns": self._lose_zdns_store,
            "blackout": self._blackout,
            "hand over": self._hand_over_at_once,
            "no zdns": self._no_zdns,
            "leave": self._somebody_leaves,
            "lose": self._lose_relocates,
        }
        strikes[self.random.choice(STRIKES[self.plan.theme])]()

    def _at_a_moment(self) -> None:
        """Wait for a message of a handover, and do something to one of its ends."""
        draw, town = self.random, self._town
        kind = draw.choice(POSTING if self.plan.theme == "deaths" else MOMENTS)
        self_or_other = draw.random() < (0.75 if self.plan.theme == "deaths" else 0.5)
        deed = draw.choice(DEEDS[self.plan.theme])
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
                    town.break_between(machine_of(sender), machine_of(other))
                case "kill zdns":
                    self._kill(ZDNS)
                case "lose zdns":
                    self._lose_zdns_store()
                case "lose":
                    self._lose_relocates()
                case "damage":
                    self._damage(machine_of(node))
                case "slow disk":
                    self._slow(machine_of(node))
                case "break disk":
                    self._break_disk(machine_of(node))
                case "blackout":
                    self._blackout()

        town.when(kind, act, handled=draw.random() < 0.5, skip=draw.choice((0, 0, 1, 3)))
        if draw.random() < 0.5:
            self._hand_over_at_once()

    def _kill_for_long(self) -> None:
        """Both halves of a host die, mostly one that has the history, and come back when somebody thinks of it."""
        self._town.kill_host(self._town.hosts[self._holder()])

    def _kill_while_posting(self) -> None:
        """The active one dies when it has just sent something that its followers have not said they have."""
        self._town.when(Append, lambda sender, _receiver: self._kill(sender), skip=self.random.choice((0, 1, 5, 20)))

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

    def _isolate_somebody(self) -> None:
        """Nobody reaches one machine, or it reaches nobody, zdns apart or included."""
        town, draw = self._town, self.random
        lonely = self._anybody()
        places = [*town.hosts, *([ZDNS] if draw.random() < 0.5 else [])]
        for_ms, one_way = draw.choice((300, 1_000, 3_000, 6_000)), draw.random() < 0.3
        for place in places:
            if one_way and draw.random() < 0.5:
                town.part(lonely, place, for_ms, one_way=True)
            else:
                town.part(place, lonely, for_ms, one_way=one_way)

    def _break_somebody(self) -> None:
        places = [*self._town.hosts, ZDNS]
        self._town.break_between(self.random.choice(places), self.random.choice(places))

    # --- disks ----------------------------------------------------------------------------------------------------

    def _holder(self) -> str:
        """Somebody, more often one who has the history."""
        active = self._town.active_host()
        return active.name if active is not None and self.random.random() < 0.4 else self._anybody()

    def _slow_a_disk(self) -> None:
        self._slow(self._holder())

    def _slow(self, machine: str) -> None:
        host = self._town.hosts.get(machine)
        if host is not None:
            self._town.slow_disk(host, self.random.choice(SLOW_DISK_MS), self.random.choice((200, 1_000, 4_000, 9_000)))

    def _break_a_disk(self) -> None:
        self._break_disk(self._holder())

    def _break_disk(self, machine: str) -> None:
        host = self._town.hosts.get(machine)
        if host is not None:
            self._town.break_disk(host, self.random.choice((300, 2_000, 5_000, None)))

    def _damage_a_store(self) -> None:
        self._damage(self._holder())

    def _damage(self, machine: str) -> None:
        host = self._town.hosts.get(machine)
        if host is not None:
            self._town.damage_store(host)

    def _lose_zdns_store(self) -> None:
        """It comes back with an empty one; and then, sometimes, those who knew of it long ago."""
        town = self._town
        town.lose_zdns_store()
        delay_ms = self.random.choice((0, 50, 300, 1_000, 4_000))
        town.later(delay_ms, lambda: town.bring_back(ZDNS))
        if self.random.random() < 0.6:
            for host in list(town.hosts.values()):
                town.later(delay_ms + self.random.choice((0, 20)), lambda host=host: town.bring_back(host.name))  # type: ignore[misc]

    def _blackout(self) -> None:
        """Everybody dies at once, mostly zdns too, and comes back one after the other."""
        town, draw = self._town, self.random
        town.faults["blackout"] += 1
        silent = draw.random() < 0.3
        for host in list(town.hosts.values()):
            if host.is_up:
                town.kill_host(host, silent=silent)
                if draw.random() < 0.9:
                    self._bring_back_later(host.name)
        if draw.random() < 0.7:
            if draw.random() < (0.5 if self.plan.theme == "zdns" else 0.1):
                self._lose_zdns_store()
            else:
                self._kill(ZDNS)

    def _hand_over_at_once(self) -> None:
        """One handover or several, to anyone or to somebody by name, all at the same moment."""
        for _ in range(self.random.choice((1, 1, 2, 4))):
            host = self._town.hosts[self._anybody()]
            to = self.random.choice((None, None, self._anybody()))
            self._town.faults["handover asked"] += 1
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
        self._town.faults["left"] += 1
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
        self._town.faults["messages lost"] += 1
        self._town.later(self.random.choice((500, 3_000)), again)
