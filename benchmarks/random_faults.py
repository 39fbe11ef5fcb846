"""A thousand faults at random, one after the other, while everybody posts: anything lost, doubled, reordered?"""

import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.load import Author, Load, Machine, Stage, active_of, arguments, dump, show, spread

NAMES = ("ana", "bo", "cy", "di")
STUCK_S = 60.0  # a room in which nothing is acknowledged for so long after a fault does not work any more
DOWN_S = 1.0  # at most: between a death and the next start
SILENT_S = (0.2, 5.0)
SETTLE_S = 180.0  # at the end: until everybody is in and everything is acknowledged
PROGRESS_EACH = 25
WEIGHTS = {
    "kill the active one": 20,
    "kill a follower": 15,
    "kill anyone": 15,
    "kill two": 5,
    "kill all at once": 5,
    "kill zdns": 8,
    "kill zdns and the active one": 4,
    "stop the active one": 6,
    "stop anyone": 6,
    "stop zdns": 3,
    "hand over": 13,
}


class Stuck(Exception):
    """Nothing is acknowledged any more."""


class Trial:
    """The participants and zdns, and everything that is done to them."""

    def __init__(self, stage: Stage, chance: random.Random, options: Sequence[str]) -> None:
        self._stage = stage
        self._chance = chance
        self.authors = [stage.author(name, *(("-s",) if name == "ana" else ()), *options) for name in NAMES]
        self.counts: dict[str, int] = {}
        self.until_works_ms: dict[str, list[float]] = {}
        self.ended_early: list[str] = []
        self._faults: dict[str, Callable[[], None]] = {
            "kill the active one": lambda: self._kill(self._active()),
            "kill a follower": lambda: self._kill(self._follower()),
            "kill anyone": lambda: self._kill(self._anyone()),
            "kill two": lambda: self._kill(*chance.sample(self.authors, 2)),
            "kill all at once": lambda: self._kill(*self.authors),
            "kill zdns": self._kill_zdns,
            "kill zdns and the active one": self._kill_zdns_and_active,
            "stop the active one": lambda: self._stop(self._active()),
            "stop anyone": lambda: self._stop(self._anyone()),
            "stop zdns": self._stop_zdns,
            "hand over": self._hand_over,
        }

    def one_fault(self) -> None:
        """One fault, and the way back to a room that works.

        Raises:
            Stuck: there was none.
        """
        kind = self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        began = time.monotonic()
        self._faults[kind]()
        self._revive()
        self._wait_until_it_works(kind)
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.until_works_ms.setdefault(kind, []).append(1e3 * (time.monotonic() - began))

    # --- whom it may hit ---

    def _anyone(self) -> Author:
        return self._chance.choice(self.authors)

    def _active(self) -> Author:
        return active_of(self.authors) or self._anyone()

    def _follower(self) -> Author:
        """One that is in sync, if the room knows of one by now; else anyone."""
        asked = next((author for author in self.authors if author.joined and author.posting), self.authors[0])
        status = asked.ask_status(patience_s=1.0)
        names = [name for name in status.get("in_sync", ()) if name != status["active"]["name"]]
        return next((author for author in self.authors if author.name in names), self._anyone())

    # --- what may happen ---

    def _kill(self, *victims: Author) -> None:
        for victim in victims:
            victim.posting = False
        for victim in victims:
            victim.signal(signal.SIGKILL)
        time.sleep(self._chance.random() * DOWN_S)
        for victim in self._chance.sample(victims, len(victims)):
            victim.restart()

    def _kill_zdns(self) -> None:
        self._stage.zdns.kill()
        time.sleep(self._chance.random() * DOWN_S)
        self._stage.restart_zdns()

    def _kill_zdns_and_active(self) -> None:
        self._stage.zdns.kill()
        self._kill(self._active())
        self._stage.restart_zdns()

    def _stop(self, victim: Author) -> None:
        victim.posting = False  # what is written to it would wait in a pipe that may fill up
        victim.signal(signal.SIGSTOP)
        time.sleep(self._chance.uniform(*SILENT_S))
        victim.signal(signal.SIGCONT)
        victim.posting = True

    def _stop_zdns(self) -> None:
        self._stage.zdns.signal(signal.SIGSTOP)
        time.sleep(self._chance.uniform(*SILENT_S))
        self._stage.zdns.signal(signal.SIGCONT)

    def _hand_over(self) -> None:
        """It may be refused: somebody is only just coming back."""
        epoch = max(author.serving[0] for author in self.authors)
        asker, target = self._anyone(), self._anyone()
        faults = len(asker.faults)
        asker.do("handover", **({"to": target.name} if self._chance.random() < 0.5 else {}))
        deadline = time.monotonic() + 3.0
        while time.monotonic() < deadline and len(asker.faults) == faults:
            if max(author.serving[0] for author in self.authors) > epoch:
                return
            time.sleep(0.005)

    # --- and back ---

    def _revive(self) -> None:
        """Start whoever ended without having been killed."""
        for author in self.authors:
            code = author.chat.popen.poll()
            if code is not None:
                last = [line.strip() for line in author.chat.errors[-2:]]
                self.ended_early.append(f"{author.name} ended with {code}: {' '.join(last)}")
                author.restart()

    def _wait_until_it_works(self, kind: str) -> None:
        """Wait until a post that was handed in after the fault is acknowledged."""
        first = {author.name: author.number for author in self.authors}
        deadline = time.monotonic() + STUCK_S
        while time.monotonic() < deadline:
            for author in self.authors:
                if any(number in author.acked_at for number in range(first[author.name], author.number)):
                    return
            self._revive()
            time.sleep(0.005)
        raise Stuck(f"nothing was acknowledged within {STUCK_S:g} s after: {kind}")

    def settle(self) -> None:
        """Wait until everybody is in, and everything is acknowledged.

        Raises:
            Stuck: that does not happen.
        """
        deadline = time.monotonic() + SETTLE_S
        while not all(author.joined and not author.open_count for author in self.authors):
            if time.monotonic() > deadline:
                told = {author.name: (author.joined, author.open_count) for author in self.authors}
                raise Stuck(f"not everything was acknowledged in the end; (in, open posts) of each: {told}")
            self._revive()
            time.sleep(0.05)

    def complaints(self) -> dict[str, int]:
        """How often each code of an error or a refusal was told."""
        codes = [fault["code"] for author in self.authors for fault in author.faults]
        return {code: codes.count(code) for code in sorted(set(codes))}


def run(trial: Trial, options: Any) -> tuple[int, str]:
    """All the faults there is time for; returns how many, and what is stuck (empty: nothing)."""
    began, done = time.monotonic(), 0
    acknowledged = trial.authors[0].book
    try:
        with Load(trial.authors, options.posts, options.bytes) as load:
            while done < options.faults and time.monotonic() - began < 60 * options.minutes:
                trial.one_fault()
                done += 1
                if done % PROGRESS_EACH == 0:
                    print(
                        f"{done} faults, epoch {max(author.serving[0] for author in trial.authors)}, "
                        f"{acknowledged.acknowledged_count} posts acknowledged, {time.monotonic() - began:.0f} s, "
                        f"wrong so far: {acknowledged.counts()}",
                        file=sys.stderr,
                        flush=True,
                    )
            load.posts_per_s *= 4  # what is still missing of the posts that shall come together
            while (
                acknowledged.acknowledged_count < options.messages and time.monotonic() - began < 60 * options.minutes
            ):
                time.sleep(0.1)
        trial.settle()
    except Stuck as stuck:
        return done, str(stuck)
    return done, ""


def main() -> None:
    """Run it; exits with 1 when a promise was broken, or the room did not work any more."""
    options = arguments(
        __doc__ or "",
        faults=1_000,
        messages=100_000,
        posts=80.0,
        bytes=64,
        lease=1.5,
        minutes=120.0,
        term=0.0,
        seed=1,
        keep="",
    )
    machine = Machine()
    with Stage(options.lease, options.keep, logs=bool(options.keep)) as stage:
        trial = Trial(stage, random.Random(options.seed), ("--term", str(options.term)))
        done, stuck = run(trial, options)
        result = {
            "benchmark": "random_faults",
            "seed": options.seed,
            "faults": done,
            "stuck": stuck,
            "until_works_ms": {kind: spread(values) for kind, values in sorted(trial.until_works_ms.items())},
            "epoch": max(author.serving[0] for author in trial.authors),
            "acknowledged": stage.book.acknowledged_count,
            "broken": stage.book.counts() if stuck else stage.verdict(),
            "sentences": stage.book.sentences,
            "ended_early": trial.ended_early[:20],
            "complaints": trial.complaints(),
            "machine": machine.report(),
        }
        described = str(machine)
    if options.json:
        dump(result)
    else:
        rows = [[kind, *values.values()] for kind, values in result["until_works_ms"].items()]
        title = "From the fault until a post handed in after its end is acknowledged, ms"
        show(title, rows, ["fault", "times", "median", "p99", "worst"])
        print(
            f"\n{done} of {options.faults} faults, epoch {result['epoch']}, {result['acknowledged']} posts acknowledged"
        )
        print(f"broken: {result['broken']}; told: {result['complaints']}")
        print("\n".join([*result["sentences"], *result["ended_early"], *([stuck] if stuck else [])]))
        print(described)
    raise SystemExit(bool(stuck or any(result["broken"].values())))


if __name__ == "__main__":
    main()
