"""`scripts/sim FROM TO`: play a range of seeds and show the trace of each that fails."""

import argparse
import sys
from collections.abc import Iterator
from multiprocessing import get_context

from tests.sim.runs import Verdict, play

TRACE_LINES = 120


def main(arguments: list[str] | None = None) -> int:
    """Play the seeds and say what came of them; 1 when any failed."""
    parser = argparse.ArgumentParser(prog="scripts/sim", description="Play simulated runs, one for each seed.")
    parser.add_argument("first", metavar="FROM", type=int, help="the first seed")
    parser.add_argument("last", metavar="TO", type=int, nargs="?", help="the last seed; default: FROM alone")
    parser.add_argument("--jobs", type=int, default=1, help="processes to play in")
    parser.add_argument("--trace", action="store_true", help="show the whole trace of each run")
    parser.add_argument("--quiet", action="store_true", help="a line for each hundred seeds, not for each")
    options = parser.parse_args(arguments)
    last = options.first if options.last is None else options.last
    failed: list[Verdict] = []
    played = 0
    for verdict in _verdicts(range(options.first, last + 1), options.jobs):
        played += 1
        if not options.quiet or verdict.problem:
            print(verdict, flush=True)
        elif played % 100 == 0:
            print(f"{played} seeds, {len(failed)} failed", flush=True)
        if options.trace:
            print("\n".join(verdict.trace))
        elif verdict.problem:
            print("\n".join(verdict.trace[-TRACE_LINES:]))
        if verdict.problem:
            print(f"reproduce with: scripts/sim {verdict.seed} --trace", flush=True)
            failed.append(verdict)
    print(f"{played} seeds, {len(failed)} failed{_list(failed)}")
    return 1 if failed else 0


def _verdicts(seeds: range, jobs: int) -> Iterator[Verdict]:
    if jobs <= 1:
        yield from map(play, seeds)
        return
    with get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(play, seeds, chunksize=4)


def _list(failed: list[Verdict]) -> str:
    return f": {' '.join(str(verdict.seed) for verdict in failed)}" if failed else ""


if __name__ == "__main__":
    sys.exit(main())
