"""What keys cost: a closed network against an open one, in one run, alternating."""

import argparse
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

from benchmarks.console_echo import TICKS_PER_S, cpu_s
from benchmarks.load import Machine, dump, show
from tests.support.processes import Chat, Process, Zdns, relevo

CLOSED, OPEN = "closed", "open"
KINDS = (CLOSED, OPEN)
WINDOW = 512  # limits.POSTS_IN_FLIGHT_MAX
AUTHORS = (1, 4)
READERS = (10, 100)
BLOCK_S = 3.0
READ_POSTS_PER_S = 200.0  # each of them is a block of its own at such a rate
MOVE_POSTS_PER_S, MOVE_AUTHORS = 200.0, 4
AROUND_S = 0.3
IDLE_SETTLE_S = 3.0
WHAT = ("posts", "readers", "moves", "joins", "idle")


class Used(NamedTuple):
    """Processor time: all of it, and what of it libzmq's own thread used, where everything is encrypted."""

    all_s: float
    libzmq_s: float

    def since(self, before: "Used", per: float) -> "Used":
        """The difference, per so many of something, in millions."""
        return Used(1e6 * (self.all_s - before.all_s) / per, 1e6 * (self.libzmq_s - before.libzmq_s) / per)


class Network:
    """A zdns, some hosts, and crowds of participants that are told what to do."""

    def __init__(self, stack: ExitStack, kind: str, replicas: int) -> None:
        self.kind = kind
        self.replicas = replicas
        self.home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relevo-benchmark-")))
        self.zdns = stack.enter_context(Zdns(self.home, is_open=kind == OPEN))
        self.hosts: dict[str, Process] = {}
        self._stack = stack
        self._crowds: list[Crowd] = []
        for number in range(1 + replicas):
            self.host(f"host-{number}", *(["--serve-first"] if not number else []))

    def host(self, name: str, *options: str) -> None:
        """A participant without a person, with its history on disk. One that had this name is gone."""
        folder = self.home / name
        folder.mkdir(exist_ok=True)
        where = ["--dns", self.zdns.address, "--bind", "127.0.0.1", "--data-dir", str(folder)]
        more = ["--term", "0", "--replicas", str(self.replicas), "--name", name, *options]
        self.hosts[name] = self._stack.enter_context(Process(relevo("serve", *where, *more), self.home))

    def crowd(self, *names: str) -> "Crowd":
        """A process in which these participants are."""
        crowd = self._stack.enter_context(Crowd(self))
        self._crowds.append(crowd)
        crowd.do("people", names=list(names))
        return crowd

    def active(self, crowd: "Crowd") -> str:
        """Who serves, once there are as many followers as there are to be."""
        name: str = crowd.do("followers", count=self.replicas)["active"]
        return name

    def cpu_s(self) -> "Used":
        """The processor time of all hosts that run."""
        pids = [host.popen.pid for host in self.hosts.values()]
        return Used(sum(map(cpu_s, pids)), sum(map(_libzmq_s, pids)))

    def verdict(self) -> list[str]:
        """Have all leave; a sentence for each promise that was broken. All posts of this network must be theirs."""
        for crowd in self._crowds:
            crowd.tell("end")
        told = [crowd.told() for crowd in self._crowds]
        broken = [sentence for answer in told for sentence in answer["broken"]]
        acked, head = sum(answer["acked"] for answer in told), max(answer["head"] for answer in told)
        if acked != head:
            broken.append(f"{acked} posts were acknowledged, and the history has {head}")
        return [f"{self.kind}: {sentence}" for sentence in broken]


class Crowd(Process):
    """A process of benchmarks.curve_crowd."""

    def __init__(self, network: Network) -> None:
        super().__init__([sys.executable, "-m", "benchmarks.curve_crowd"], network.home)
        ticket = network.zdns.ticket if network.kind == CLOSED else None
        first = {"dns": network.zdns.address, "ticket": ticket, "folder": str(network.home)}
        self.say(json.dumps(first) + "\n")

    def __enter__(self) -> Self:
        return self

    def tell(self, what: str, **keys: Any) -> None:
        """One order."""
        self.say(json.dumps({"do": what, **keys}) + "\n")

    def told(self) -> dict[str, Any]:
        """The answer to the oldest order that has none."""
        line = self.line()
        if line is None:
            raise SystemExit("\n".join(self.all_errors()[-12:]))
        answer: dict[str, Any] = json.loads(line)
        return answer

    def do(self, what: str, **keys: Any) -> dict[str, Any]:
        """One order, and its answer."""
        self.tell(what, **keys)
        return self.told()


def together(crowds: Sequence[Crowd], what: str, **keys: Any) -> list[dict[str, Any]]:
    """The same order to several."""
    for crowd in crowds:
        crowd.tell(what, **keys)
    return [crowd.told() for crowd in crowds]


class Figures:
    """What was measured: by name, then by kind of network, in the order of the rounds."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, list[float]]] = {}
        self.broken: list[str] = []

    def add(self, name: str, kind: str, value: float) -> None:
        """One more value."""
        self.values.setdefault(name, {each: [] for each in KINDS})[kind].append(value)

    def add_used(self, name: str, kind: str, used: Used) -> None:
        """One more value of processor time."""
        self.add(name, kind, used.all_s)
        self.add(f"… of it in libzmq's thread{name[name.index(':') :]}", kind, used.libzmq_s)

    def rows(self) -> list[list[object]]:
        """The lines of a table."""
        return [
            [name, *(_spread(by_kind[kind]) for kind in KINDS), ratio(by_kind) or ""]
            for name, by_kind in self.values.items()
        ]


def ratio(by_kind: dict[str, list[float]]) -> float | None:
    """Closed to open, of the medians; None: there is none."""
    closed, opened = (statistics.median(by_kind[kind]) for kind in KINDS)
    return round(closed / opened, 2) if opened else None


def _spread(values: Sequence[float]) -> str:
    """Median, lowest and highest."""
    digits = 0 if max(values) >= 100 else 1 if max(values) >= 10 else 2
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def alternately(rounds: int, one: Callable[[str], None]) -> None:
    """`one(kind)` for each kind, again and again."""
    for _ in range(rounds):
        for kind in KINDS:
            one(kind)


# --- what is measured -------------------------------------------------------------------------------------------------


def measure_posts(figures: Figures, options: argparse.Namespace) -> None:
    """Acknowledged posts a second: one author and four, each a process, with a follower and without."""
    for replicas in (0, 1):
        with ExitStack() as stack:
            _measure_posts(stack, figures, options, replicas)


def _measure_posts(stack: ExitStack, figures: Figures, options: argparse.Namespace, replicas: int) -> None:
    networks = {kind: Network(stack, kind, replicas) for kind in KINDS}
    crowds = {kind: [networks[kind].crowd(f"author-{n}") for n in range(max(AUTHORS))] for kind in KINDS}
    for kind in KINDS:
        networks[kind].active(crowds[kind][0])
        together(crowds[kind], "flood", seconds=0.5, window=WINDOW, text_bytes=128)  # warms all up
    for authors in AUTHORS:
        where = f"{authors} author{'s' * (authors > 1)}, {replicas} follower{'s' * (replicas != 1)}"

        def one(kind: str, authors: int = authors, where: str = where) -> None:
            network, posting = networks[kind], crowds[kind][:authors]
            before = network.cpu_s()
            told = together(posting, "flood", seconds=options.seconds, window=WINDOW, text_bytes=128)
            after = network.cpu_s()
            in_time = sum(answer["in_time"] for answer in told)
            posts = sum(answer["posts"] for answer in told)
            figures.add(f"posts/s: {where}", kind, in_time / options.seconds)
            figures.add_used(f"server halves' CPU s per million posts: {where}", kind, after.since(before, posts))

        alternately(options.rounds, one)
    for network in networks.values():
        figures.broken += network.verdict()


def measure_readers(figures: Figures, options: argparse.Namespace) -> None:
    """Deliveries a second, and what the server half needs for them: 10 readers and 100."""
    with ExitStack() as stack:
        networks = {kind: Network(stack, kind, 0) for kind in KINDS}
        authors = {kind: networks[kind].crowd("author") for kind in KINDS}
        readers = {kind: networks[kind].crowd() for kind in KINDS}
        heads = dict.fromkeys(KINDS, 0)
        for count in READERS:
            for kind in KINDS:
                readers[kind].do("readers", count=count)

            def steady(kind: str, count: int = count) -> None:
                before = networks[kind].cpu_s()
                told = authors[kind].do(
                    "steady", seconds=options.seconds, rate=READ_POSTS_PER_S, text_bytes=128, posters=1
                )
                heads[kind] += told["posts"]
                came = readers[kind].do("delivered", head=heads[kind])
                used = networks[kind].cpu_s().since(before, came["entries"])
                name = f"server half's CPU s per million deliveries: {count} readers, {READ_POSTS_PER_S:g} posts/s"
                figures.add_used(name, kind, used)

            def flat_out(kind: str, count: int = count) -> None:
                before, began = networks[kind].cpu_s(), time.monotonic()
                told = authors[kind].do("flood", seconds=options.seconds, window=WINDOW, text_bytes=128)
                heads[kind] += told["posts"]
                came = readers[kind].do("delivered", head=heads[kind])
                used = networks[kind].cpu_s().since(before, came["entries"])
                figures.add(f"deliveries/s: {count} readers", kind, came["entries"] / (came["last"] - began))
                name = f"server half's CPU s per million deliveries: {count} readers, as fast as it goes"
                figures.add_used(name, kind, used)
                figures.add(f"of 1,000 not delivered, to be fetched: {count} readers", kind, _missed_per_mille(came))

            for one in (steady, flat_out):
                alternately(options.rounds, one)
        for network in networks.values():
            figures.broken += network.verdict()


def _missed_per_mille(came: dict[str, Any]) -> float:
    return float(1e3 * came["missed"] / max(1, came["missed"] + came["entries"]))


def measure_moves(figures: Figures, options: argparse.Namespace) -> None:
    """Handovers, and deaths, of a server with many clients, of whom some post."""
    with ExitStack() as stack:
        networks = {kind: Network(stack, kind, 1) for kind in KINDS}
        # Two processes, as one would have all the handshakes of all clients one after the other in one thread.
        half = options.clients // 2
        names = [f"client-{number}" for number in range(options.clients)]
        crowds = {kind: [networks[kind].crowd(*own) for own in (names[:half], names[half:])] for kind in KINDS}
        keys = {
            "rate": MOVE_POSTS_PER_S / 2,
            "text_bytes": 128,
            "posters": MOVE_AUTHORS // 2,
            "around_s": AROUND_S,
        }

        def hand_over(kind: str) -> None:
            networks[kind].active(crowds[kind][0])
            for crowd in crowds[kind]:
                crowd.tell("move", ask=crowd is crowds[kind][0], **keys)
            told = [crowd.told() for crowd in crowds[kind]]
            note("handover", kind, told, told[0]["asked"])

        def kill(kind: str) -> None:
            network = networks[kind]
            name = network.active(crowds[kind][0])
            for crowd in crowds[kind]:
                crowd.tell("move", ask=False, **keys)
            time.sleep(AROUND_S)
            killed = time.monotonic()
            network.hosts[name].signal(signal.SIGKILL)
            told = [crowd.told() for crowd in crowds[kind]]
            network.hosts.pop(name).kill()
            network.host(name)
            note("kill -9", kind, told, killed)

        def note(what: str, kind: str, told: list[dict[str, Any]], began: float) -> None:
            moved = [1e3 * (at - began) for answer in told for at in answer["moved"]]
            figures.add(
                f"{what}, {len(moved)} clients: until the median one has moved, ms", kind, statistics.median(moved)
            )
            figures.add(f"{what}, {len(moved)} clients: until the slowest has moved, ms", kind, max(moved))
            slowest = 1e3 * max(answer["slowest_s"] for answer in told)
            figures.add(f"{what}, {len(moved)} clients: slowest post meanwhile, ms", kind, slowest)

        alternately(options.moves, hand_over)
        alternately(options.kills, kill)
        for network in networks.values():
            figures.broken += network.verdict()


def measure_joins(figures: Figures, options: argparse.Namespace) -> None:
    """From the start of a client until it is ready: the first time, when its keys are made, and again."""
    with ExitStack() as stack:
        networks = {kind: Network(stack, kind, 0) for kind in KINDS}
        crowds = {kind: networks[kind].crowd("somebody") for kind in KINDS}
        number = dict.fromkeys(KINDS, 0)

        def join(kind: str) -> None:
            number[kind] += 1
            name = f"joiner-{number[kind]}"
            for how in ("the first time", "again"):
                took_s = crowds[kind].do("join", name=name, folder=name)["seconds"]
                if number[kind] > 1:
                    figures.add(f"from start to ready, ms: {how}", kind, 1e3 * took_s)

        alternately(options.joins + 1, join)
        for network in networks.values():
            figures.broken += network.verdict()


def measure_idle(figures: Figures, options: argparse.Namespace) -> None:
    """What three participants need who do nothing, of both kinds at the same time."""
    with ExitStack() as stack:
        halves: list[tuple[str, str, int]] = []
        for kind in KINDS:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relevo-benchmark-")))
            zdns = stack.enter_context(Zdns(home, is_open=kind == OPEN, lease_s=3.0))
            halves.append(("zdns", kind, zdns.popen.pid))
            for role, first in (("active", ["-s"]), ("follower", []), ("standby", [])):
                chat = stack.enter_context(Chat(home, zdns.address, role, "--term", "0", *first))
                chat.ready()
                if role == "follower":
                    _wait_for_follower(chat)
                halves.append(("client half", kind, chat.popen.pid))
                halves.append((f"server half, {role}", kind, _child_of(chat.popen.pid)))
        time.sleep(IDLE_SETTLE_S)
        before = [cpu_s(pid) for _, _, pid in halves]
        time.sleep(options.idle)
        for (what, kind, pid), used in zip(halves, before, strict=True):
            figures.add(f"idle, CPU ms a second: {what}", kind, 1e3 * (cpu_s(pid) - used) / options.idle)


def _libzmq_s(pid: int) -> float:
    """The processor time of the threads in which libzmq reads, writes, encrypts and decrypts."""
    ticks = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        if task.joinpath("comm").read_text(encoding="ascii").startswith("ZMQbg/IO"):
            fields = task.joinpath("stat").read_text(encoding="ascii").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_S


def _wait_for_follower(chat: Chat) -> None:
    while True:
        chat.do("status")
        if len(chat.until("status")["in_sync"]) > 1:
            return
        time.sleep(0.1)


def _child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()[0])


# --- all of it --------------------------------------------------------------------------------------------------------

MEASURES = dict(zip(WHAT, (measure_posts, measure_readers, measure_moves, measure_joins, measure_idle), strict=True))


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--json", action="store_true", help="print one JSON object instead of a table")
    add("--only", default=",".join(WHAT), help="some of %(default)s")
    add("--rounds", type=int, default=5, help="blocks of each kind, for posts and readers (%(default)s)")
    add("--seconds", type=float, default=BLOCK_S, help="of one block (%(default)s)")
    add("--clients", type=int, default=50, help="of a server that hands over (%(default)s)")
    add("--moves", type=int, default=20, help="handovers of each kind (%(default)s)")
    add("--kills", type=int, default=10, help="deaths of the server of each kind (%(default)s)")
    add("--joins", type=int, default=20, help="of each kind (%(default)s)")
    add("--idle", type=float, default=30.0, help="seconds (%(default)s)")
    options = parser.parse_args()
    options.only = options.only.split(",")
    if not set(options.only) <= set(WHAT):
        parser.error(f"--only: some of {', '.join(WHAT)}, with commas")
    return options


def main() -> None:
    """Run it; exits with 1 when a promise was broken."""
    options = parse()
    figures, machine = Figures(), Machine()
    for what, measure in MEASURES.items():
        if what in options.only:
            measure(figures, options)
    if options.json:
        ratios = {name: ratio(by_kind) for name, by_kind in figures.values.items()}
        dump(
            {
                "benchmark": "curve_cost",
                "values": figures.values,
                "ratios": ratios,
                "broken": figures.broken,
                "machine": machine.report(),
            }
        )
    else:
        title = "What keys cost: median (lowest–highest)"
        show(title, figures.rows(), ["", *KINDS, "ratio"])
        print("\n".join(["", *figures.broken, str(machine)]))
    raise SystemExit(bool(figures.broken))


if __name__ == "__main__":
    main()
