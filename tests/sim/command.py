"""`scripts/sim FROM TO`: play a range of seeds and show the trace of each that fails."""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from multiprocessing import get_context
from typing import Any

from tests.sim.runs import Verdict, play

TRACE_LINES = 120
KINDS_SHOWN = 40


class Summary:
    """What a number of runs amount to."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._counts: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._states: set[str] = set()
        self.failed: list[int] = []

    def add(self, verdict: Verdict) -> None:
        """Count one more run."""
        self._counts.update(
            seeds=1,
            virtual_ms=verdict.now_ms,
            steps=verdict.steps,
            messages=verdict.messages,
            epochs=verdict.epochs,
            histories_lost=verdict.lost_histories,
            forgotten=int(verdict.forgot),
        )
        self._faults.update(dict(verdict.faults))
        self._states |= verdict.states
        if verdict.problem:
            self.failed.append(verdict.seed)

    @property
    def seeds_count(self) -> int:
        """How many runs there were."""
        return self._counts["seeds"]

    @property
    def seconds(self) -> float:
        """How long they have taken."""
        return time.monotonic() - self._began_s

    def as_dict(self) -> dict[str, Any]:
        """All of it, for programs. `forgotten`: runs in which zdns' store was lost with all who knew what was in it."""
        counts = self._counts
        return {
            "seeds": counts["seeds"],
            "failed": self.failed,
            "virtual_hours": round(counts["virtual_ms"] / 3_600_000, 3),
            "steps": counts["steps"],
            "messages": counts["messages"],
            "epochs": counts["epochs"],
            "histories_lost": counts["histories_lost"],
            "forgotten": counts["forgotten"],
            "faults": dict(self._faults.most_common()),
            "states": len(self._states),
            "seconds": round(self.seconds, 1),
        }

    def __str__(self) -> str:
        told = self.as_dict()
        faults = ", ".join(f"{kind} {count}" for kind, count in list(told["faults"].items())[:KINDS_SHOWN])
        failed = f": {' '.join(map(str, self.failed))}" if self.failed else ""
        return (
            f"{told['virtual_hours']} virtual hours, {told['messages']} messages, {told['epochs']} epochs, "
            f"{told['states']} states of cores, {told['histories_lost']} histories lost with all who held them, "
            f"{told['forgotten']} forgotten with all who knew\n"
            f"{sum(self._faults.values())} faults: {faults or 'none'}\n"
            f"{told['seeds']} seeds, {len(self.failed)} failed{failed}"
        )


def main(arguments: list[str] | None = None) -> int:
    """Play the seeds and say what came of them; 1 when any failed."""
    parser = argparse.ArgumentParser(prog="scripts/sim", description="Play simulated runs, one for each seed.")
    parser.add_argument("first", metavar="FROM", type=int, help="the first seed")
    parser.add_argument("last", metavar="TO", type=int, nargs="?", help="the last seed; default: FROM alone")
    parser.add_argument("--closed", action="store_true", help="on a network where everybody has keys")
    parser.add_argument("--intruder", action="store_true", help="on such a one, with somebody in it who lies")
    parser.add_argument("--jobs", type=int, default=1, help="processes to play in")
    parser.add_argument("--trace", action="store_true", help="show the whole trace of each run")
    parser.add_argument("--quiet", action="store_true", help="a line for each hundred seeds, not for each")
    parser.add_argument("--json", action="store_true", help="one object at the end, and nothing else")
    options = parser.parse_args(arguments)
    last = options.first if options.last is None else options.last
    summary = Summary()
    for verdict in _verdicts(options, range(options.first, last + 1)):
        summary.add(verdict)
        if not options.json:
            _show(verdict, summary, options)
    print(json.dumps(summary.as_dict()) if options.json else summary)
    if not options.json:
        print(f"{summary.seconds:.1f} s", file=sys.stderr)  # apart: the rest is the same each time
    return 1 if summary.failed else 0


def _show(verdict: Verdict, summary: Summary, options: argparse.Namespace) -> None:
    if not options.quiet or verdict.problem:
        print(verdict, flush=True)
    elif summary.seeds_count % 100 == 0:
        print(f"{summary.seeds_count} seeds, {len(summary.failed)} failed", flush=True)
    if options.trace:
        print("\n".join(verdict.trace))
    elif verdict.problem:
        print("\n".join(verdict.trace[-TRACE_LINES:]))
    if verdict.problem:
        kind = " --intruder" if options.intruder else " --closed" if options.closed else ""
        print(f"reproduce with: scripts/sim {verdict.seed}{kind} --trace", flush=True)


def _verdicts(options: argparse.Namespace, seeds: range) -> Iterator[Verdict]:
    playing, jobs = partial(play, closed=options.closed, intruder=options.intruder), options.jobs
    if jobs <= 1:
        yield from map(playing, seeds)
        return
    with get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(playing, seeds, chunksize=4)


if __name__ == "__main__":
    sys.exit(main())
