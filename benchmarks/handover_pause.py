"""The slowest single post around a handover: a long history against an empty one, alternating in one run."""

import statistics
import time
from contextlib import ExitStack

from benchmarks.load import Author, Stage, arguments, dump, show, spread

FILLED, EMPTY = "filled", "empty"


def fill(author: Author, messages: int, text_bytes: int) -> None:
    """Post a history; returns when all of it is acknowledged."""
    for number in range(messages):
        author.post(number, "x" * (text_bytes - len(f"{author.name} {number} ")))
        if number % 2_000 == 1_999 and number > 4_000:
            author.wait_for_acks(range(number - 4_000))
    author.wait_for_acks(range(messages))


def one_handover(authors: list[Author], posts_per_s: float, first: int) -> tuple[float, int]:
    """Post steadily, hand over in the middle, and return the slowest post in ms, and the next number."""
    number, began, moved = first, time.monotonic(), len(authors[0].relocated)
    asked = False
    after = 0
    while after < 20:
        for author in authors:
            author.post(number, "y" * 110)
        number += 1
        if number - first == 20 and not asked:
            authors[0].chat.do("handover")
            asked = True
        after += len(authors[0].relocated) > moved
        time.sleep(max(0.0, began + (number - first) / posts_per_s - time.monotonic()))
    for author in authors:
        author.wait_for_acks(range(first, number))
    slowest = max(a.acked_at[n] - a.posted_at[n] for a in authors for n in range(first, number))
    return 1e3 * slowest, number


def main() -> None:
    """Run it and print both figures and their ratio."""
    options = arguments(__doc__ or "", messages=100_000, bytes=128, moves=20, posts=20.0)
    with ExitStack() as stack:
        rooms: dict[str, list[Author]] = {}
        stages: dict[str, Stage] = {}
        for kind in (FILLED, EMPTY):
            stages[kind] = stage = stack.enter_context(Stage())
            term = ("--term", "0")
            rooms[kind] = [stage.author("ana", "-s", *term), stage.author("bo", *term), stage.author("cy", *term)]
        fill(rooms[FILLED][0], options.messages, options.bytes)
        slowest: dict[str, list[float]] = {FILLED: [], EMPTY: []}
        numbers = {FILLED: options.messages, EMPTY: 0}
        for _ in range(options.moves):
            for kind, authors in rooms.items():
                value, numbers[kind] = one_handover(authors, options.posts, numbers[kind])
                slowest[kind].append(value)
        result = {
            "benchmark": "handover_pause",
            "messages": options.messages,
            "slowest_post_ms": {kind: spread(values) for kind, values in slowest.items()},
            "ratio_of_medians": round(statistics.median(slowest[FILLED]) / statistics.median(slowest[EMPTY]), 2),
            "broken": {kind: stage.verdict() for kind, stage in stages.items()},
        }
    if options.json:
        dump(result)
        return
    rows = [[kind, *spread(values).values()] for kind, values in slowest.items()]
    show("Slowest single post around a handover, ms", rows, ["history", "handovers", "median", "p99", "worst"])
    print(f"ratio of the medians: {result['ratio_of_medians']}; broken promises: {result['broken']}")


if __name__ == "__main__":
    main()
