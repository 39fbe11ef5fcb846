"""Participants who post at a steady pace, and what became of every post."""

import argparse
import itertools
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support.processes import Chat, Line, Zdns


class Author:
    """A participant whose events are read by a thread of its own, and who posts from another."""

    def __init__(self, chat: Chat, name: str) -> None:
        self.chat = chat
        self.name = name
        self.posted_at: dict[int, float] = {}
        self.acked_at: dict[int, float] = {}
        self.messages: list[Line] = []
        self.relocated: list[Line] = []
        self.faults: list[Line] = []
        self.head = 0
        self.changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        """Begin to read what it says."""
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                event = self.chat.next(patience_s=3600)
            except AssertionError:
                return
            if event is None:
                return
            self.chat.seen.clear()
            self.chat.forget()
            with self.changed:
                self._note(event)
                self.changed.notify_all()

    def _note(self, event: Line) -> None:
        match event["event"]:
            case "posted":
                self.acked_at[event["tag"]] = self.chat.arrived_at
            case "message":
                self.messages.append(event)
                self.head = event["seq"]
            case "relocated":
                self.relocated.append(event)
            case "error" | "refused":
                self.faults.append(event)

    def post(self, number: int, text: str = "") -> None:
        """Post and note when. The number goes into the text, so that readers can tell what was lost."""
        self.posted_at[number] = time.monotonic()
        self.chat.do("post", text=f"{self.name} {number} {text}", tag=number)

    def wait_for_acks(self, numbers: range) -> None:
        """Wait until these posts are acknowledged."""
        self.wait(lambda: numbers[-1] in self.acked_at, "the acknowledgement of every post")  # they come in order

    def wait_for_head(self, head: int) -> None:
        """Wait until message `head` is shown."""
        self.wait(lambda: self.head >= head, f"message {head}")

    def wait(self, done: Callable[[], bool], what: str, patience_s: float = 120.0) -> None:
        """Wait until `done()`, looked at whenever an event came."""
        with self.changed:
            if not self.changed.wait_for(done, patience_s):
                raise SystemExit(
                    f"{self.name}: {what} did not happen within {patience_s} s; faults: {self.faults[-3:]}"
                )


def promises_broken(authors: Sequence[Author]) -> dict[str, int]:
    """Count what may never be: lost, doubled, reordered, different, compared over all authors."""
    reference = {event["seq"]: event["id"] for event in authors[0].messages}
    broken = {"lost": 0, "doubled": 0, "reordered": 0, "different": 0}
    for author in authors:
        seqs = [event["seq"] for event in author.messages]
        broken["doubled"] += len(seqs) - len(set(seqs))
        broken["doubled"] += len(seqs) - len({event["id"] for event in author.messages})
        broken["reordered"] += sum(later < earlier for earlier, later in itertools.pairwise(seqs))
        broken["lost"] += (max(seqs) - min(seqs) + 1 - len(set(seqs))) if seqs else 0
        broken["different"] += sum(reference.get(event["seq"], event["id"]) != event["id"] for event in author.messages)
    for author in authors:
        own = [event["text"] for event in authors[0].messages if event["author"] == author.name]
        numbers = [int(text.split(" ", 2)[1]) for text in own]
        broken["reordered"] += sum(later <= earlier for earlier, later in itertools.pairwise(numbers))
        broken["lost"] += len(set(author.acked_at) - set(numbers))
    return broken


def spread(values_ms: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and worst, in ms, and how many."""
    if not values_ms:
        return {"count": 0}
    ordered = sorted(values_ms)
    return {
        "count": len(ordered),
        "median": round(statistics.median(ordered), 1),
        "p99": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 1),
        "worst": round(ordered[-1], 1),
    }


def show(title: str, rows: Sequence[Sequence[Any]], header: Sequence[str]) -> None:
    """Print a table."""
    cells = [list(map(str, row)) for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    print(f"\n{title}")
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def arguments(description: str, **numbers: float) -> argparse.Namespace:
    """The options of a benchmark: `--json` and some numbers."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    for name, default in numbers.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(default), default=default, help=f"default {default}"
        )
    return parser.parse_args()


class Stage:
    """A zdns and participants, in a folder that is gone afterwards."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.home = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self.zdns = self._stack.enter_context(Zdns(self.home))

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def author(self, name: str, *options: str) -> Author:
        """A participant who has joined."""
        chat = Chat(self.home, self.zdns.address, name, *options)
        self._stack.enter_context(chat)
        chat.ready()
        author = Author(chat, name)
        for event in chat.seen:
            author._note(event)
        author.start()
        return author


def dump(result: dict[str, Any]) -> None:
    """The result as one line of JSON."""
    print(json.dumps(result))
