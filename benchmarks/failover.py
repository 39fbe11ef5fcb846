"""The active participant is killed with -9, or stands still: how long is nothing acknowledged?"""

import itertools
import signal
import time
from typing import Any

from benchmarks.load import (
    Author,
    Load,
    Machine,
    Stage,
    active_of,
    arguments,
    dump,
    numbers_of,
    show,
    slowest_ms,
    spread,
    wait_for_followers,
)

NAMES = ("ana", "bo", "cy", "di")
KILLED, SILENT = "killed with -9", "silent (SIGSTOP)"
BEFORE_S, AFTER_S = 0.2, 0.3  # posts handed in so long before and after count as around the event
SILENT_MARGIN_MS = 500  # over the lease: what a takeover from a silent machine may cost


class Scene:
    """Four participants who post all the time; whoever serves is taken away again and again."""

    def __init__(self, stage: Stage, authors: list[Author]) -> None:
        self.authors = authors
        self._stage = stage
        self.slowest: dict[str, list[float]] = {KILLED: [], SILENT: []}
        self.gaps: dict[str, list[float]] = {KILLED: [], SILENT: []}
        self.back: dict[str, list[float]] = {KILLED: [], SILENT: []}
        self.reasons: dict[str, int] = {}

    def take_away(self, how: str) -> None:
        """One event, from a room with a follower to a room that is whole again."""
        wait_for_followers(self.authors)
        victim = active_of(self.authors)
        if victim is None:
            raise SystemExit(f"nobody of {NAMES} serves")
        rest = [author for author in self.authors if author is not victim]
        first = numbers_of(self.authors)
        time.sleep(BEFORE_S)
        epoch = max(author.serving[0] for author in rest)
        before = numbers_of(self.authors)
        victim.posting = False
        began = time.monotonic()
        victim.signal(signal.SIGKILL if how == KILLED else signal.SIGSTOP)
        for author in rest:
            self._wait_until_served(author, epoch, before[author.name])
        time.sleep(AFTER_S)
        self.slowest[how].append(slowest_ms(rest, first))
        self.gaps[how].append(_longest_gap_ms(rest, first, began))
        reason = rest[0].relocated[-1]["reason"]
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        self._bring_back(victim, how)

    def _wait_until_served(self, author: Author, epoch: int, number: int) -> None:
        """Wait until it is served in a later epoch, and a post it made after the event is acknowledged."""
        author.wait(
            lambda: author.serving[0] > epoch and any(n in author.acked_at for n in range(number, author.number)),
            "being served again",
        )

    def _bring_back(self, victim: Author, how: str) -> None:
        began = time.monotonic()
        if how == KILLED:
            victim.restart()
            victim.wait_until_in()
        else:
            victim.signal(signal.SIGCONT)
            victim.posting = True
        number = victim.number
        victim.wait(
            lambda: any(n in victim.acked_at for n in range(number, victim.number)), "posting again after its return"
        )
        self.back[how].append(1e3 * (time.monotonic() - began))

    def result(self, how: str, lease_s: float) -> dict[str, Any]:
        """What was measured of one kind of event."""
        bound = 1e3 * lease_s + SILENT_MARGIN_MS
        return {
            "slowest_post_ms": spread(self.slowest[how]),
            "longest_gap_ms": spread(self.gaps[how]),
            "posting_again_ms": spread(self.back[how]),
            "over_lease_and_500_ms": sum(value > bound for value in self.slowest[how]),
        }


def _longest_gap_ms(authors: list[Author], first: dict[str, int], began: float) -> float:
    """The longest time between two acknowledgements, to anybody, that had not ended when the event began."""
    at = sorted(
        author.acked_at[number]
        for author in authors
        for number in range(first[author.name], author.number)
        if number in author.acked_at
    )
    return 1e3 * max((later - earlier for earlier, later in itertools.pairwise(at) if later > began), default=0.0)


def main() -> None:
    """Run it; exits with 1 when a promise was broken, or a silent machine was not replaced in time."""
    options = arguments(__doc__ or "", events=100, silent=30, posts=200.0, bytes=128, lease=3.0, keep="")
    with Stage(options.lease, options.keep, logs=bool(options.keep)) as stage:
        authors = [stage.author(name, *(("-s",) if name == "ana" else ()), "--term", "0") for name in NAMES]
        scene = Scene(stage, authors)
        machine = Machine()
        with Load(authors, options.posts, options.bytes):
            for how, count in ((KILLED, options.events), (SILENT, options.silent)):
                for _ in range(count):
                    scene.take_away(how)
        for author in authors:
            author.wait(lambda author=author: not author.open_count, "the last acknowledgement")  # type: ignore[misc]  # bound
        meanwhile, described = machine.report(), str(machine)
        result = {
            "benchmark": "failover",
            "lease_s": options.lease,
            "posts_per_s": options.posts,
            **{how: scene.result(how, options.lease) for how in (KILLED, SILENT)},
            "reasons": scene.reasons,
            "acknowledged": stage.book.acknowledged_count,
            "broken": stage.verdict(),
            "sentences": stage.book.sentences,
            "machine": meanwhile,
        }
    late = result[SILENT]["over_lease_and_500_ms"]
    if options.json:
        dump(result)
    else:
        for key, title in (
            ("slowest_post_ms", "Slowest single post of the others, ms"),
            ("longest_gap_ms", "Longest time without an acknowledgement to any of the others, ms"),
            ("posting_again_ms", "From its start (or SIGCONT) until a post of its own is acknowledged, ms"),
        ):
            rows = [[how, *result[how][key].values()] for how in (KILLED, SILENT)]
            show(title, rows, ["the active participant is", "events", "median", "p99", "worst"])
        print(f"\nsilent: {late} of {options.silent} took longer than the lease of {options.lease:g} s and 500 ms")
        print(f"moves: {result['reasons']}; {result['acknowledged']} posts acknowledged; broken: {result['broken']}")
        print("\n".join(result["sentences"]))
        print(described)
    raise SystemExit(bool(late or any(result["broken"].values())))


if __name__ == "__main__":
    main()
