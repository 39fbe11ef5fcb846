"""Planned handovers under 200 posts a second: the slowest single post, with histories of very different length."""

import random
import signal
import subprocess
import time
from contextlib import ExitStack
from typing import Any

from benchmarks.load import Author, Load, Machine, Stage, arguments, dump, numbers_of, show, slowest_ms, spread

NAMES = ("ana", "bo", "cy", "di")
AROUND_S = 0.3  # posts go on for so long before the handover is asked for, and after everybody has moved
REFUSALS_MAX = 50
HOST_ENDS_S = 60.0


class Room:
    """Four authors, some of whom take turns serving a history that was long before they came."""

    def __init__(self, stage: Stage, messages: int, text_bytes: int, servers: int) -> None:
        self.stage = stage
        self.messages = messages
        self.slowest: list[float] = []
        self.moving: list[float] = []  # from asking to the last author's having moved
        self.pauses: list[float] = []
        self.refused = 0
        host = stage.fill(messages, text_bytes)
        options = [("--term", "0") if index < servers else ("--term", "0", "--no-serve") for index in range(4)]
        self.authors = [stage.author(name, *own) for name, own in zip(NAMES, options, strict=True)]
        self._retire(host)

    def _retire(self, host: subprocess.Popen[bytes]) -> None:
        """The one who served while the history was posted hands over to an author, and goes."""
        host.send_signal(signal.SIGTERM)
        for author in self.authors:
            author.wait(lambda author=author: bool(author.relocated), "the first move")  # type: ignore[misc]  # bound
        host.wait(HOST_ENDS_S)

    def move(self, posts_per_s: float, text_bytes: int) -> None:
        """One handover in the middle of posts."""
        asker = self.authors[0]
        first = numbers_of(self.authors)
        with Load(self.authors, posts_per_s, text_bytes):
            time.sleep(AROUND_S)
            began = time.monotonic()
            epoch = self._ask(asker)
            for author in self.authors:
                author.wait(lambda author=author: author.serving[0] > epoch, "the move")  # type: ignore[misc]  # bound
            self.moving.append(1e3 * (time.monotonic() - began))
            time.sleep(AROUND_S)
        self.slowest.append(slowest_ms(self.authors, first))
        self.pauses += [author.relocated[-1]["pause_ms"] for author in self.authors]

    def _ask(self, asker: Author) -> int:
        """Ask until it is not refused; returns the epoch before."""
        for _ in range(REFUSALS_MAX):
            epoch, faults = asker.serving[0], len(asker.faults)
            asker.do("handover")
            asker.wait(
                lambda epoch=epoch, faults=faults: asker.serving[0] > epoch or len(asker.faults) > faults,  # type: ignore[misc]  # bound
                "an answer to the handover",
            )
            if asker.serving[0] > epoch:
                return epoch
            self.refused += 1
            time.sleep(0.1)
        raise SystemExit(f"the handover was refused {REFUSALS_MAX} times: {asker.faults[-1]}")

    def result(self) -> dict[str, Any]:
        """Everything measured, and whether all promises were kept."""
        head = max(author.head for author in self.authors)
        return {
            "messages_before": self.messages,
            "messages_after": head,
            "slowest_post_ms": spread(self.slowest),
            "from_asking_to_all_moved_ms": spread(self.moving),
            "pause_ms": spread(self.pauses),
            "refused": self.refused,
            "broken": self.stage.verdict(),
            "sentences": self.stage.book.sentences,
        }


def main() -> None:
    """Run it; exits with 1 when a promise was broken."""
    options = arguments(
        __doc__ or "", events=100, posts=200.0, bytes=128, sizes="0,100000,1000000", servers=2, lease=3.0, seed=1
    )
    sizes = [int(size) for size in options.sizes.split(",")]
    chance = random.Random(options.seed)
    with ExitStack() as stack:
        rooms = [
            Room(stack.enter_context(Stage(options.lease)), size, options.bytes, options.servers) for size in sizes
        ]
        machine = Machine()
        for _ in range(options.events):
            for room in chance.sample(rooms, len(rooms)):
                room.move(options.posts, options.bytes)
        meanwhile = machine.report()
        described = str(machine)
        results = [room.result() for room in rooms]
    if options.json:
        dump({"benchmark": "handover_load", "servers": options.servers, "rooms": results, "machine": meanwhile})
    else:
        for key, title in (
            ("slowest_post_ms", f"Slowest single post around a handover, ms ({options.posts:g} posts/s, four authors)"),
            ("pause_ms", "Pause seen by a client, ms"),
            ("from_asking_to_all_moved_ms", "From asking for it until everybody has moved, ms"),
        ):
            rows = [[result["messages_before"], result["messages_after"], *result[key].values()] for result in results]
            show(title, rows, ["history", "at the end", "events", "median", "p99", "worst"])
        print()
        for result in results:
            print(f"{result['messages_before']}: broken {result['broken']}; refused {result['refused']}")
            print("\n".join(result["sentences"]))
        print(described)
    raise SystemExit(any(any(result["broken"].values()) for result in results))


if __name__ == "__main__":
    main()
