"""A history on disk: writing in groups, with and without syncing and indexing; reading, searching, opening."""

import random
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.load import arguments, dump, show
from broker.digest import SPAN_ENTRIES, Chain
from broker.store import HistoryStore
from broker.stored import Append, Mark
from wire import codec
from wire.messages import Entry

AUTHORS = 20
VOCABULARY = (
    "the of and in chat handover server history message room relay epoch seq lease acknowledged committed follower "
    "target source tea coffee lunch meeting tomorrow because which should would could never always maybe green house "
    "table window computer network cable switch lamp paper pencil"
)
WORDS = VOCABULARY.split()


def text_of(seq: int, text_bytes: int, chance: random.Random) -> str:
    """Words and numbers, as people write them."""
    words = [f"n{seq}"]
    size = len(words[0])
    while size < text_bytes:
        words.append(chance.choice(WORDS) + (str(chance.randrange(1000)) if chance.random() < 0.1 else ""))
        size += 1 + len(words[-1])
    return " ".join(words)[:text_bytes]


def groups(first: int, last: int, size: int, text_bytes: int) -> Iterator[Append]:
    """Entries `first` … `last` in blocks of `size`; the same ones whenever it is called."""
    chance = random.Random(first)
    for start in range(first, last + 1, size):
        entries = []
        for seq in range(start, min(start + size, last + 1)):
            turn, who = divmod(seq - 1, AUTHORS)
            author, epoch = f"{who:032x}", 1 + seq // 100_000
            text = text_of(seq, text_bytes, chance)
            entries.append(codec.encode_entry(Entry(seq, epoch, author, "s" * 16, turn + 1, seq, f"nick{who}", text)))
        yield Append(start, len(entries), codec.join_block(entries))


def spread_us(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and worst, in microseconds."""
    ordered = sorted(1e6 * each for each in seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return {
        "count": len(ordered),
        "median": round(statistics.median(ordered), 1),
        "p99": round(p99, 1),
        "worst": round(ordered[-1], 1),
    }


def timed(work: Callable[[], Any]) -> float:
    """How long something takes, in seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def after_nothing(_: HistoryStore) -> None:
    """Leave it at that."""


WAYS: dict[str, Callable[[HistoryStore], None]] = {
    "write": after_nothing,
    "write, sync": HistoryStore.sync,
    "write, index": lambda store: store.index_some(1_000),
}


def writing(place: Path, sizes: Sequence[int], groups_count: int, text_bytes: int) -> list[dict[str, Any]]:
    """Latency of one group and rows a second, for each size and each way, in stores of their own."""
    rows: list[dict[str, Any]] = []
    for size in sizes:
        appends = list(groups(1, size * groups_count, size, text_bytes))
        for way, after in WAYS.items():
            store = HistoryStore.create(place / f"writing-{size}-{len(rows)}", "tea", "log", "server")
            spent = []
            for append in appends:
                began = time.perf_counter()
                store.write([append, Mark(append.first + append.count - 1, b"")])
                after(store)
                spent.append(time.perf_counter() - began)
            rows.append(
                {"group": size, "way": way, "rows_per_s": round(size * len(spent) / sum(spent)), "us": spread_us(spent)}
            )
            store.erase()
    return rows


def opening(folder: Path, repeats: int) -> dict[str, Any]:
    """Seconds to open and verify, and what of it is the digest alone and SQLite's own check alone."""
    spent = []
    for _ in range(repeats):
        began = time.perf_counter()
        store = HistoryStore.open(folder)
        spent.append(time.perf_counter() - began)
        store.close()
    store = HistoryStore.open(folder)
    head = store.meta.head
    firsts = range(1, head - SPAN_ENTRIES + 2, SPAN_ENTRIES)
    spans = [codec.split_block(store.read(first, head, SPAN_ENTRIES)[1])[0] for first in firsts]
    chain = Chain("log")
    result = {
        "open_and_verify": round(statistics.median(spent), 3),
        "digest": round(timed(lambda: deque(map(chain.add_span, spans), maxlen=0)), 3),
        "quick_check": round(timed(lambda: store._connection.execute("PRAGMA quick_check").fetchall()), 3),
    }
    store.close()
    return result


def reading(store: HistoryStore, repeats: int) -> dict[str, dict[str, float]]:
    """Microseconds to read ranges anywhere, and to tell the digest at any seq."""
    chance, head = random.Random(1), store.meta.head
    result = {}
    for count in (1, 200, 2_000):
        firsts = [chance.randrange(1, head - count + 1) for _ in range(repeats)]
        result[f"read {count} at random"] = spread_us(
            [timed(lambda first=first, count=count: store.read(first, first + count - 1)) for first in firsts]  # type: ignore[misc]
        )
    seqs = [chance.randrange(1, head + 1) for _ in range(repeats)]
    result["digest at a seq"] = spread_us([timed(lambda seq=seq: store.digest_at(seq)) for seq in seqs])  # type: ignore[misc]
    return result


def read_all(store: HistoryStore) -> float:
    """Entries a second, read from the first to the last in the largest blocks."""
    began, first, head = time.perf_counter(), 1, store.meta.head
    while first <= head:
        first += store.read(first, head)[0]
    return head / (time.perf_counter() - began)


def searching(store: HistoryStore) -> dict[str, dict[str, float]]:
    """Milliseconds and requests until 100 are found or all is looked through; at most 1,000 requests."""
    head = store.meta.head
    result = {}
    for kind, query in {
        "a frequent word": "handover",
        "one message": f"n{head // 3}",
        "two words": f"tea n{head // 3}",
        "no message": "zzzyx",
        "two letters": "zx",
    }.items():
        began, before, requests, found, slowest = time.perf_counter(), 0, 0, 0, 0.0
        while found < 100 and requests < 1_000:
            asked = time.perf_counter()
            block, before = store.search(query, before, 100, head)
            slowest = max(slowest, time.perf_counter() - asked)
            found += len(codec.decode_entries(block))
            requests += 1
            if before == 0:
                break
        result[kind] = {
            "ms": round(1e3 * (time.perf_counter() - began), 2),
            "requests": requests,
            "slowest_request_ms": round(1e3 * slowest, 2),
            "found": found,
        }
    return result


def indexing(store: HistoryStore) -> dict[str, float]:
    """Entries a second, and how long a write may have to wait for a slice of 100."""
    spent = []
    while store.unindexed_count:
        spent.append(timed(lambda: store.index_some(100)))
    size = (store.folder / "words.sqlite").stat().st_size
    return {
        "entries_per_s": round(store.meta.head / sum(spent)),
        "megabytes": round(size / 1e6, 1),
        **{f"slice_{key}_us": value for key, value in spread_us(spent).items() if key != "count"},
    }


def main() -> None:
    """Run it and print the figures."""
    options = arguments(__doc__ or "", messages=1_000_000, bytes=128, groups=2_000, reads=500)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        written = writing(place, (1, 10, 100, 1_000), options.groups, options.bytes)
        store = HistoryStore.create(place / "store", "tea", "log", "server")
        for append in groups(1, options.messages, 1_000, options.bytes):
            store.write([append, Mark(append.first + append.count - 1, b"")])
        store.close()
        opened = opening(place / "store", 3)
        store = HistoryStore.open(place / "store")
        result = {
            "benchmark": "history_store",
            "messages": options.messages,
            "file_megabytes": round((place / "store" / "history.sqlite").stat().st_size / 1e6, 1),
            "writing": written,
            "opening_s": opened,
            "reading_us": reading(store, options.reads),
            "read_all_per_s": round(read_all(store)),
            "searching_without_index": searching(store),
            "indexing": indexing(store),
            "searching_with_index": searching(store),
        }
        store.close()
    if options.json:
        dump(result)
    else:
        print_tables(result)


def print_tables(result: dict[str, Any]) -> None:
    """The figures as tables."""
    rows = [[row["group"], row["way"], row["rows_per_s"], *list(row["us"].values())[1:]] for row in result["writing"]]
    show("Writing one group, us", rows, ["entries", "way", "rows/s", "median", "p99", "worst"])
    show(f"Opening {result['messages']} entries, s", [list(result["opening_s"].values())], list(result["opening_s"]))
    rows = [[what, *list(us.values())[1:]] for what, us in result["reading_us"].items()]
    show("Reading, us", rows, ["what", "median", "p99", "worst"])
    print(f"all, in blocks: {result['read_all_per_s']} entries/s; the file has {result['file_megabytes']} MB")
    for how in ("searching_without_index", "searching_with_index"):
        rows = [[what, *values.values()] for what, values in result[how].items()]
        show(how.replace("_", " "), rows, ["what", "ms", "requests", "slowest request, ms", "found"])
    show("Indexing", [list(result["indexing"].values())], list(result["indexing"]))


if __name__ == "__main__":
    main()
