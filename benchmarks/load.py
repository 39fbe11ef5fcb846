"""Participants who post at a steady pace and are killed and started again, and what became of every post."""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support.processes import Chat, Line, Zdns, environment, relevo, run, ticket_for
from tests.support.verdict import Book, Reader

PATIENCE_S = 120.0
HURRY_S = 1.0  # a load that fell further behind than this lets go of the posts it is late with


class Author:
    """A participant whose events are read by a thread of its own, and who posts from others.

    It keeps its name and its data folder when it is killed and started again.
    """

    def __init__(self, name: str, book: Book, launch: Callable[[], Chat]) -> None:
        self.name = name
        self.number = 0  # of the next post of `say`
        self.posted_at: dict[int, float] = {}
        self.acked_at: dict[int, float] = {}
        self.relocated: list[Line] = []
        self.faults: list[Line] = []
        self.status: Line = {}
        self.serving = (0, "")  # the newest epoch it has heard of, and who serves in it
        self.head = 0
        self.joined = False
        self.posting = True  # False: a load leaves it out
        self.changed = threading.Condition()
        self.book = book
        self._launch = launch
        self._started_with = 0  # the number of the first post of this start
        self.chat: Chat
        self._reader: threading.Thread
        self.start()

    # --- its life ---

    def start(self) -> None:
        """Start it (again), and read what it says; returns before it is in."""
        self.joined = False
        self._started_with = self.number
        self.chat = self._launch()
        reader = self.book.reader(self.name)
        self._reader = threading.Thread(target=self._read, args=(self.chat, reader), daemon=True)
        self._reader.start()

    def signal(self, number: int) -> None:
        """To both halves at once, as a machine would lose them together."""
        with contextlib.suppress(ProcessLookupError):
            self.chat.signal(number)

    def end(self) -> None:
        """kill -9 of both halves, unless that was done before; and let go of everything it had."""
        self.posting = False
        self.chat.kill()
        self._reader.join(PATIENCE_S)
        self.chat.__exit__(None, None, None)

    def restart(self) -> None:
        """Kill it if it runs, and start it again; returns before it is in."""
        self.end()
        self.start()
        self.posting = True

    def wait_until_in(self) -> None:
        """Wait until it has joined."""
        self.wait(lambda: self.joined, "joining")

    # --- what it says ---

    def _read(self, chat: Chat, reader: Reader) -> None:
        while True:
            try:
                event = chat.next(patience_s=3600)
            except (AssertionError, json.JSONDecodeError):  # a killed one may end within a line
                return
            if event is None:
                return
            chat.seen.clear()
            chat.forget()
            reader.hear(event)
            with self.changed:
                self._note(event, chat)
                self.changed.notify_all()

    def _note(self, event: Line, chat: Chat) -> None:
        if "server" in event and "epoch" in event:
            self.serving = max(self.serving, (event["epoch"], event["server"]))
        match event["event"]:
            case "ready":
                self.joined = True
            case "posted" if event["tag"] is not None:
                self.acked_at[event["tag"]] = chat.arrived_at
            case "message":
                self.head = event["seq"]
            case "relocated":
                self.relocated.append(event)
            case "status":
                self.status = event
            case "error" | "refused":
                self.faults.append(event)

    # --- what it does ---

    def post(self, number: int, text: str = "") -> None:
        """Post and note when. The number goes into the text, so that readers can tell what was lost."""
        self.posted_at[number] = time.monotonic()
        self.do("post", text=f"{self.name} {number} {text}", tag=number)

    def say(self, text: str = "") -> None:
        """Post with the next number."""
        self.number += 1
        self.post(self.number - 1, text)

    def do(self, what: str, **keys: Any) -> None:
        """One request; one that ended is asked in vain."""
        with contextlib.suppress(BrokenPipeError, ValueError):
            self.chat.do(what, **keys)

    def ask_status(self, patience_s: float = 5.0) -> Line:
        """The room's status; an empty one if nobody tells it in time."""
        self.status = {}
        self.do("status")
        with self.changed:
            self.changed.wait_for(lambda: bool(self.status), patience_s)
        return self.status

    # --- waiting ---

    @property
    def open_count(self) -> int:
        """Posts of this start that are not acknowledged."""
        return sum(number not in self.acked_at for number in range(self._started_with, self.number))

    def wait_for_acks(self, numbers: range) -> None:
        """Wait until these posts are acknowledged."""
        if numbers:
            self.wait(lambda: numbers[-1] in self.acked_at, "the acknowledgement of every post")  # they come in order

    def wait_for_head(self, head: int) -> None:
        """Wait until message `head` is shown."""
        self.wait(lambda: self.head >= head, f"message {head}")

    def wait(self, done: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
        """Wait until `done()`, looked at whenever an event came."""
        with self.changed:
            if not self.changed.wait_for(done, patience_s):
                raise SystemExit(
                    f"{self.name}: {what} did not happen within {patience_s} s; exit code: {self.chat.popen.poll()};"
                    f" faults: {self.faults[-3:]}; {self.chat.errors[-3:]}"
                )


class Load:
    """Posts at a steady rate, from one author after the other, in a thread; of those who are to post."""

    def __init__(self, authors: Sequence[Author], posts_per_s: float, text_bytes: int = 128) -> None:
        self.posts_per_s = posts_per_s
        self._authors = authors
        self._text_bytes = text_bytes
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        due, turn = time.monotonic(), 0
        while not self._ending.wait(max(0.0, due - time.monotonic())):
            author = self._authors[turn % len(self._authors)]
            turn += 1
            if author.posting:
                author.say("y" * max(0, self._text_bytes - len(f"{author.name} {author.number} ")))
            due = max(due + 1 / self.posts_per_s, time.monotonic() - HURRY_S)


def active_of(authors: Sequence[Author]) -> Author | None:
    """The one who serves, as far as anybody has heard; None when it is nobody of these."""
    _, name = max(author.serving for author in authors)
    return next((author for author in authors if author.name == name), None)


def wait_for_followers(authors: Sequence[Author], count: int = 1, patience_s: float = PATIENCE_S) -> list[str]:
    """Wait until so many followers are in sync; their names."""
    deadline = time.monotonic() + patience_s
    status: Line = {}
    while time.monotonic() < deadline:
        for author in authors:
            if author.joined and author.posting:
                status = author.ask_status()
                if status and len(status["in_sync"]) > count:
                    return [name for name in status["in_sync"] if name != status["active"]["name"]]
        time.sleep(0.05)
    raise SystemExit(f"no {count} followers in sync within {patience_s} s; the last status: {status}")


def slowest_ms(authors: Sequence[Author], first: dict[str, int]) -> float:
    """The slowest single post, from handing it in to its acknowledgement, of those from `first` on; waits for all."""
    worst = 0.0
    for author in authors:
        numbers = range(first[author.name], author.number)
        author.wait_for_acks(numbers)
        worst = max([worst, *(author.acked_at[number] - author.posted_at[number] for number in numbers)])
    return 1e3 * worst


def numbers_of(authors: Sequence[Author]) -> dict[str, int]:
    """The number of the next post of each."""
    return {author.name: author.number for author in authors}


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
    widths = [max([0, *(len(row[column]) for row in cells if column < len(row))]) for column in range(len(header))]
    print(f"\n{title}")
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip())


def arguments(description: str, **numbers: float | str) -> argparse.Namespace:
    """The options of a benchmark: `--json` and some numbers, or words."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    for name, default in numbers.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(default), default=default, help=f"default {default or 'none'}"
        )
    return parser.parse_args()


class Machine:
    """What the machine did meanwhile; without it nobody can tell a slow program from a busy machine."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._load_before = os.getloadavg()[0]
        self._busy, self._all = _processor_ticks()

    def report(self) -> dict[str, float]:
        """Since this was made: seconds, load averages before and now, share of all processors that was busy."""
        busy, all_of_it = _processor_ticks()
        return {
            "cpus": os.cpu_count() or 0,
            "seconds": round(time.monotonic() - self._began, 1),
            "load_average_before": round(self._load_before, 2),
            "load_average_after": round(os.getloadavg()[0], 2),
            "busy_percent": round(100 * (busy - self._busy) / max(1, all_of_it - self._all), 1),
        }

    def __str__(self) -> str:
        told = self.report()
        return (
            f"machine: {told['cpus']} processors, {told['busy_percent']} % busy for {told['seconds']} s; "
            f"load average {told['load_average_before']} before, {told['load_average_after']} after"
        )


def _processor_ticks() -> tuple[int, int]:
    """Of all processors together: busy, and in all; nothing where the system does not tell."""
    try:
        words = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0].split()[1:9]
    except OSError:
        return 0, 0
    ticks = [int(word) for word in words]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


class Stage:
    """A zdns and participants, in a folder that is gone afterwards, unless it is to be kept.

    Each participant has a data folder of its own; with `logs` its log and that of its server half are there too.
    """

    def __init__(self, lease_s: float = 1.5, keep: str = "", logs: bool = False) -> None:
        self._stack = ExitStack()
        if keep:
            self.home = Path(keep).absolute()
            self.home.mkdir(parents=True)
        else:
            self.home = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="relevo-benchmark-")))
        self.lease_s = lease_s
        self.book = Book()
        self._logs = logs
        self.zdns = Zdns(self.home, lease_s=lease_s)
        self._stack.callback(lambda: self.zdns.__exit__(None, None, None))

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def restart_zdns(self) -> None:
        """At the port it had, with the records it had."""
        self.zdns.__exit__(None, None, None)
        self.zdns = Zdns(self.home, port=self.zdns.port, lease_s=self.lease_s)

    def author(self, name: str, *options: str) -> Author:
        """A participant who has joined. `-s` is for the first start only."""
        author = self.begin_author(name, *options)
        author.wait_until_in()
        return author

    def begin_author(self, name: str, *options: str) -> Author:
        """A participant who has been started."""
        folder = self.home / name
        folder.mkdir()
        log = ("--log-level", "info", "--log-file", str(folder / "log")) if self._logs else ()
        left = [[option for option in options if option not in ("-s", "--serve-first")], list(options)]

        def launch() -> Chat:
            own = left.pop() if len(left) > 1 else left[0]
            return Chat(folder, self.zdns.address, name, "--data-dir", str(folder), *own, *log)

        author = Author(name, self.book, launch)
        self._stack.callback(author.end)
        return author

    def fill(self, messages: int, text_bytes: int, name: str = "host") -> subprocess.Popen[bytes]:
        """Have a participant without a person serve a room that has so many messages already; it is returned.

        Ended by SIGTERM it hands over to whoever is there.
        """
        folder = self.home / name
        folder.mkdir()
        common = ["--dns", self.zdns.address, "--bind", "127.0.0.1", "--data-dir", str(folder)]
        command = relevo("serve", *common, "--serve-first", "--term", "0", "--name", name)
        quiet = subprocess.DEVNULL
        env = environment(folder) | ticket_for(command, folder)
        host = subprocess.Popen(command, stdin=quiet, stdout=quiet, env=env, start_new_session=True)
        self._stack.callback(_kill, host)
        deadline = time.monotonic() + PATIENCE_S
        while run(folder, "status", "--dns", self.zdns.address, "--bind", "127.0.0.1").returncode:
            if time.monotonic() > deadline:
                raise SystemExit("nobody serves, so no history can be posted")
        posted, batch = 0, 10_000
        send = relevo("send", *common, "--timeout", "120")
        with subprocess.Popen(send, stdin=subprocess.PIPE, env=env) as sender:
            assert sender.stdin is not None
            while posted < messages:
                numbers = range(posted, min(messages, posted + batch))
                sender.stdin.write(b"".join(f"filler {n} ".ljust(text_bytes, "x").encode() + b"\n" for n in numbers))
                posted += len(numbers)
        if sender.returncode:
            raise SystemExit(f"the history could not be posted: exit code {sender.returncode}")
        return host

    def verdict(self) -> dict[str, int]:
        """Read the whole history and hold everything that anybody was shown or promised against it."""
        command = relevo("tail", "--since", "1", "--no-follow", "--json", "--dns", self.zdns.address)
        command += ["--bind", "127.0.0.1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(self.home), text=True) as tail:
            assert tail.stdout is not None
            lines = (json.loads(line) for line in tail.stdout)
            counts = self.book.verdict(line for line in lines if line["event"] == "message")
        if tail.returncode:
            raise SystemExit(f"the history could not be read: exit code {tail.returncode}")
        return counts


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def dump(result: dict[str, Any]) -> None:
    """The result as one line of JSON."""
    print(json.dumps(result))
