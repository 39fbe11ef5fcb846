"""One run from its seed: faults first, then everything is healed and must converge; the verdict."""

from dataclasses import dataclass

from broker.core import ServerCore
from peer import intents
from tests.sim.checkers import Broken, Forgotten
from tests.sim.fate import Fate
from tests.sim.nodes import CoreFailed
from tests.sim.town import Host, Make, Town, small_limits
from tests.sim.world import Spinning

HEALED_WITHIN_MS = 25_000  # a lease, zdns' back-off, a silence, a handover that gives up, and some of them twice
TOLD_WITHIN_MS = 12_000  # that nobody is left who holds the history
ENCORE_WITHIN_MS = 8_000
HANDOVER_WITHIN_MS = 16_000  # who failed as a target is left out for a while (limits.LEFT_OUT_MS)
HANDOVER_AGAIN_MS = 1_500
MEMBERS_WITHIN_MS = 9_000  # a member's deadline, a sweep and an answer


@dataclass(frozen=True)
class Verdict:
    """What came of a run. `problem` is empty when all promises were kept."""

    seed: int
    problem: str
    trace_hash: str
    trace: tuple[str, ...]
    steps: int
    now_ms: int
    epochs: int
    messages: int
    lost_histories: int
    faults: tuple[tuple[str, int], ...] = ()
    states: frozenset[str] = frozenset()
    forgot: bool = False  # zdns' store was lost, and all who knew what was in it were gone: that ended the run

    def __str__(self) -> str:
        what = self.problem or "ok"
        return (
            f"seed {self.seed:>7}  {self.now_ms / 1000:6.1f} s  {self.steps:>6} steps  {self.epochs:>3} epochs  "
            f"{self.messages:>4} messages  {self.lost_histories} histories lost  {self.trace_hash[:12]}  {what}"
        )


def play(seed: int, make: Make | None = None, *, closed: bool = False, intruder: bool = False) -> Verdict:
    """Play the run of `seed`, with the real cores or with those of `make`, on an open network or a closed one.

    `intruder`: on a closed one, with somebody in it who lies.
    """
    with small_limits():
        fate = Fate(seed)
        town = Town(seed, make, min_n=fate.plan.min_n, term_ms=fate.plan.term_ms, closed=closed, intruder=intruder)
        try:
            fate.begin(town)
            town.world.run(fate.plan.stage_ms)
            recover(town, fate)
            problem = ""
        except Forgotten as end:
            problem = ""
            town.world.note("verdict", str(end))
            return verdict(town, "", forgot=True)
        except (Broken, CoreFailed, Spinning) as error:
            problem = f"{type(error).__name__}: {error}"
            town.world.note("verdict", problem)
    return verdict(town, problem)


def verdict(town: Town, problem: str, *, forgot: bool = False) -> Verdict:
    """Sum up a run that has ended."""
    record = town.checkers.record
    return Verdict(
        seed=town.world.seed,
        problem=problem,
        trace_hash=town.world.trace_hash,
        trace=tuple(town.world.trace),
        steps=town.world.steps,
        now_ms=town.world.now_ms,
        epochs=record.epoch if record else 0,
        messages=town.checkers.head,
        lost_histories=len(town.checkers.lost_logs),
        faults=tuple(sorted(town.faults.items())),
        states=frozenset(town.world.states),
        forgot=forgot,
    )


def recover(town: Town, fate: Fate) -> None:
    """Heal everything and require that the room is whole again.

    Raises:
        Broken: a promise was broken, or the time was not enough.
    """
    town.heal()
    for name, host in town.hosts.items():
        if not host.is_up and not host.leaving and fate.random.random() < 0.5:
            town.bring_back(name)
    settle(town, HEALED_WITHIN_MS)
    encore(town)
    if town.intruder is not None:
        town.intruder.kill()  # or it would be among the members, under whatever name it likes
    if fate.random.random() < 0.3:
        check_members(town)


def settle(town: Town, within_ms: int) -> None:
    """Wait until all clients agree; when everybody who held the history is gone, have somebody start over."""
    world, checkers = town.world, town.checkers
    until_ms = world.now_ms + within_ms

    def settled() -> bool:
        _see_that_enough_are_there(town)
        return not checkers.unsettled() or checkers.history_is_lost()

    if not world.run(until_ms, settled):
        raise Broken(f"not recovered within {within_ms} ms: {'; '.join(checkers.unsettled())}")
    if checkers.history_is_lost():
        start_over(town)
        settle(town, within_ms)
    checkers.check_whole()


def start_over(town: Town) -> None:
    """All who held the history are gone: everybody must be told so, and --fresh must work."""
    world, checkers = town.world, town.checkers

    def untold() -> list[str]:
        return [node for node, view in checkers.views.items() if "nobody_serves" not in view.faults]

    # A zdns that has lost its store does not know that there is anything to be told.
    told = world.run(world.now_ms + TOLD_WITHIN_MS, lambda: not untold() or not checkers.history_is_lost())
    if not told and not checkers.store_is_lost:
        raise Broken(f"nobody serves, and {', '.join(untold())} was not told within {TOLD_WITHIN_MS} ms")
    if not checkers.history_is_lost():
        return  # a zdns that has lost its store gave the name to somebody who knew of no history
    world.note("fate", "START OVER")
    epoch = checkers.record.epoch if checkers.record else 0
    _newcomer(town, fresh=True)
    if not world.run(
        world.now_ms + TOLD_WITHIN_MS, lambda: checkers.record is not None and checkers.record.epoch > epoch
    ):
        raise Broken(f"nobody could start over within {TOLD_WITHIN_MS} ms")


def _see_that_enough_are_there(town: Town) -> None:
    """Somebody can serve, and the gate can open: who came while zdns was silent may have left again by itself."""
    if not town.checkers.is_held():
        for host in town.holders_down():
            town.bring_back(host.name)
    if not town.standing() or _waits_for_a_follower(town):
        _newcomer(town)
    while len([host for host in town.clients() if not host.guest]) < town.min_n:
        _newcomer(town)


def _waits_for_a_follower(town: Town) -> bool:
    """The disk of the active server has failed, and it has nobody who would keep what it has."""
    active = town.active_host()
    core = active.server.core if active is not None and active.server is not None else None
    if not isinstance(core, ServerCore) or core.room is None or not core._keeper.trouble:
        return False
    return len(town.standing()) < 2


def _newcomer(town: Town, *, fresh: bool = False) -> None:
    town.add(Host(f"new{len(town.hosts)}", fresh=fresh))


def encore(town: Town) -> None:
    """The room works: everybody posts once more, and the role moves once more if there is anybody to take it.

    A topic set before is there after.
    """
    world, checkers = town.world, town.checkers
    for host in town.clients():
        town.say(host)
    for host in [host for host in town.clients() if not host.guest][:1]:
        town.set_topic(host, f"what {host.name} likes")
    if len(town.standing()) > 1 and town.clients() and checkers.record is not None:
        epoch, asker = checkers.record.epoch, town.clients()[0]

        def rose() -> bool:
            return checkers.record is not None and checkers.record.epoch > epoch

        def ask() -> None:
            if not rose():
                town.ask(asker, intents.AskHandover())
                town.later(HANDOVER_AGAIN_MS, ask)

        ask()
        if not world.run(world.now_ms + HANDOVER_WITHIN_MS, lambda: rose() or len(town.standing()) < 2):
            raise Broken(f"no handover within {HANDOVER_WITHIN_MS} ms, though there are several servers")
    settle(town, ENCORE_WITHIN_MS)


def check_members(town: Town) -> None:
    """Everybody sees the same members: those who are there, and none of them as silent."""
    world, checkers = town.world, town.checkers
    world.run(world.now_ms + MEMBERS_WITHIN_MS)
    for host in town.clients():
        town.ask(host, intents.AskWho())
    there = sorted(checkers.views[host.name].name for host in town.clients() if not host.guest)

    def wrong() -> list[str]:
        return [
            f"{node} sees {view.members}, of them silent {view.silent}"
            for node, view in checkers.views.items()
            if view.members is None or sorted(view.members) != there or view.silent
        ]

    if not world.run(world.now_ms + MEMBERS_WITHIN_MS, lambda: not wrong()):
        raise Broken(f"here are {there}, but {'; '.join(wrong())}")
