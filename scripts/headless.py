"""Scripted participants as real processes, each promise watched: prints what happened, fails if one was broken."""

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from runtime.clock import monotonic_ms  # noqa: E402  # the line above makes it found
from runtime.process import on_signals  # noqa: E402

COMMAND = [sys.executable, "-P", "-m", "ui"]
JOIN_S = 60.0
SETTLE_S = 60.0  # after the last post: until everything is acknowledged and seen by all
LEAVE_S = 30.0
LINE_BYTES_MAX = 1 << 20
EXIT_OK, EXIT_BROKEN, EXIT_FAILED = 0, 1, 70

Line = dict[str, Any]


class Trouble(Exception):
    """The run could not be carried through; no promise was watched to its end."""


@dataclass
class Witness:
    """Everything a participant said that promises are about."""

    name: str
    messages: list[Line] = field(default_factory=list)
    posted_ms: dict[int, int] = field(default_factory=dict)  # by tag: when it was handed in
    acknowledged: dict[int, Line] = field(default_factory=dict)  # by tag
    doubly_acknowledged: list[int] = field(default_factory=list)
    waits_ms: list[int] = field(default_factory=list)  # from handing in to the acknowledgement
    moves: dict[int, Line] = field(default_factory=dict)  # by epoch
    presence: list[Line] = field(default_factory=list)
    complaints: list[Line] = field(default_factory=list)
    status: Line = field(default_factory=dict)
    joined: bool = False
    head_before: int = 0
    leaving: bool = False

    def hear(self, line: Line, now_ms: int) -> None:
        """Note one event."""
        match line["event"]:
            case "ready":
                self.joined = True
                self.head_before = line["head"]
            case "message":
                self.messages.append(line)
            case "posted":
                tag = line["tag"]
                if tag in self.acknowledged:
                    self.doubly_acknowledged.append(tag)
                self.acknowledged[tag] = line
                self.waits_ms.append(now_ms - self.posted_ms[tag])
            case "relocated" if not self.leaving:
                self.moves[line["epoch"]] = line
            case "member" if not self.leaving:
                self.presence.append(line)
            case "refused" | "error":
                self.complaints.append(line)
            case "status":
                self.status = line

    @property
    def unacknowledged_count(self) -> int:
        """Posts handed in and not yet acknowledged."""
        return len(self.posted_ms) - len(self.acknowledged)

    @property
    def head(self) -> int:
        """The last seq shown; 0: none."""
        return self.messages[-1]["seq"] if self.messages else 0


class Peer:
    """One `relevo chat --json`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, errors: Path) -> None:
        self.seen = Witness(name)
        self.name = name
        self.process = process
        self.errors = errors
        self._changed = asyncio.Event()

    def say(self, **intent: Any) -> None:
        """One object to its standard input."""
        assert self.process.stdin is not None
        with contextlib.suppress(ConnectionError):  # it ended; whoever waits for it is told
            self.process.stdin.write(json.dumps(intent).encode() + b"\n")

    def post(self) -> None:
        """The next numbered post."""
        tag = len(self.seen.posted_ms) + 1
        self.seen.posted_ms[tag] = monotonic_ms()
        self.say(do="post", text=f"{self.name} {tag}", tag=tag)

    async def listen(self) -> None:
        """Take in what it says until it ends."""
        assert self.process.stdout is not None
        while text := await self.process.stdout.readline():
            self.seen.hear(json.loads(text), monotonic_ms())
            self._changed.set()
        await self.process.wait()
        self._changed.set()

    async def until(self, done: Callable[[Witness], bool], within_s: float, what: str) -> None:
        """Wait until what it said makes `done` true.

        Raises:
            Trouble: it ended, or said nothing of the kind in time.
        """
        try:
            async with asyncio.timeout(within_s):
                while not done(self.seen):
                    if self.process.returncode is not None:
                        raise Trouble(f"{self.name} ended early: {_last_lines(self.errors)}")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise Trouble(f"{self.name}: {what} not within {within_s:g} s: {_last_lines(self.errors)}") from None


class Run:
    """One run from start to report."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._peers: list[Peer] = []
        self._listening: list[asyncio.Task[None]] = []
        self._zdns: asyncio.subprocess.Process | None = None
        self._dns: str = options.dns or f"127.0.0.1:{_free_port()}"

    async def carry_out(self) -> int:
        """Start everything, post for the time asked for, report; returns the exit code."""
        if not self._options.dns:
            await self._start_zdns()
        for index in range(self._options.peers):
            await self._start_peer(index)
        print(f"{len(self._peers)} participants in room {self._options.server_uri}, zdns at {self._dns}", flush=True)
        await self._all_met()
        began_ms = monotonic_ms()
        await asyncio.gather(*(self._talk(peer) for peer in self._peers))
        posting_ms = monotonic_ms() - began_ms
        unsettled = await self._settle()
        status = await self._status()
        witnesses = [peer.seen for peer in self._peers]
        broken = [*broken_promises(witnesses), *unsettled]
        broken += [f"{name} ended with exit code {code}" for name, code in await self._leave() if code]
        print("\n".join(report(witnesses, status, posting_ms, broken)))
        return EXIT_BROKEN if broken else EXIT_OK

    async def end(self) -> None:
        """Stop whatever still runs."""
        for peer in self._peers:
            if peer.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(peer.process.pid, signal.SIGKILL)
                await peer.process.wait()
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)
        if self._zdns is not None and self._zdns.returncode is None:
            self._zdns.terminate()
            await self._zdns.wait()

    async def _start_zdns(self) -> None:
        port = self._dns.rpartition(":")[2]
        words = ["dns", "--host", "127.0.0.1", "--port", port, "--store", "memory"]
        self._zdns = await self._start(words, self._folder / "zdns.errors")
        assert self._zdns.stdout is not None
        if not await self._zdns.stdout.readline():
            raise Trouble(f"zdns did not start: {_last_lines(self._folder / 'zdns.errors')}")

    async def _start_peer(self, index: int) -> None:
        name = f"peer{index + 1}"
        options = self._options
        words = ["chat", "--json", "--dns", self._dns, "--server_uri", options.server_uri, "--name", name]
        words += ["--term", f"{options.term:g}", "--flood", "0", *(["--serve-first"] if index == 0 else [])]
        if options.logs:
            words += ["--log-level", "info", "--log-file", str(Path(options.logs).absolute() / f"{name}.log")]
        errors = self._folder / f"{name}.errors"
        peer = Peer(name, await self._start([*words, *self._bound()], errors), errors)
        self._peers.append(peer)
        self._listening.append(asyncio.create_task(peer.listen()))
        await peer.until(lambda seen: seen.joined, JOIN_S, "joining")
        if peer.seen.head_before:
            raise Trouble(f"room {options.server_uri} has messages already; the run needs a new one")

    async def _all_met(self) -> None:
        """Wait until each was told of all who came later; that is no disturbance."""
        for index, peer in enumerate(self._peers):
            later = [other.name for other in self._peers[index + 1 :]]

            def met(seen: Witness, later: list[str] = later) -> bool:
                return [line["name"] for line in seen.presence] == later

            await peer.until(met, JOIN_S, "seeing the others")
            peer.seen.presence.clear()

    def _bound(self) -> list[str]:
        """Nothing of a run on this machine alone has to be reachable from others."""
        return [] if self._options.dns else ["--bind", "127.0.0.1"]

    async def _start(self, words: list[str], errors: Path) -> asyncio.subprocess.Process:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RELEVO_")}
        environment = {**inherited, "PYTHONPATH": str(ROOT), "RELEVO_HOME": str(self._folder)}
        with errors.open("wb") as file:
            return await asyncio.create_subprocess_exec(
                *COMMAND,
                *words,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=file,
                env=environment,
                limit=LINE_BYTES_MAX,
                start_new_session=True,  # the terminal's Ctrl+C is for us; we end them in order
            )

    async def _talk(self, peer: Peer) -> None:
        """Post at the rate asked for, whatever becomes of the posts."""
        began_ms = monotonic_ms()
        step_ms = 1000 / self._options.rate
        for number in range(round(self._options.seconds * self._options.rate)):
            pause_ms = began_ms + number * step_ms - monotonic_ms()
            if pause_ms > 0:
                await asyncio.sleep(pause_ms / 1000)
            peer.post()

    async def _settle(self) -> list[str]:
        """Wait until each post is acknowledged, and each participant was shown the last one; else say so."""
        try:
            for peer in self._peers:
                await peer.until(lambda seen: not seen.unacknowledged_count, SETTLE_S, "the last acknowledgement")
            last = max(line["seq"] for peer in self._peers for line in peer.seen.acknowledged.values())
            for peer in self._peers:
                await peer.until(lambda seen: seen.head >= last, SETTLE_S, f"message {last}")
        except Trouble as trouble:
            return [str(trouble)]
        return []

    async def _status(self) -> Line:
        peer = self._peers[0]
        peer.say(do="status")
        with contextlib.suppress(Trouble):  # the report does without
            await peer.until(lambda seen: bool(seen.status), LEAVE_S, "the status")
        return peer.seen.status

    async def _leave(self) -> list[tuple[str, int | None]]:
        """Have all leave, one after the other: whoever serves hands over first."""
        for peer in self._peers:
            peer.seen.leaving = True
        exits: list[tuple[str, int | None]] = []
        for peer in self._peers:
            peer.say(do="quit")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await peer.process.wait()
            exits.append((peer.name, peer.process.returncode if peer.process.returncode is not None else -1))
        return exits


# --- the promises -------------------------------------------------------------------------------------------------


def broken_promises(witnesses: list[Witness]) -> list[str]:
    """A sentence for each promise that was not kept."""
    broken: list[str] = []
    reference = {line["seq"]: (line["id"], line["author"], line["text"]) for line in witnesses[0].messages}
    for seen in witnesses:
        broken += _broken_timeline(seen, reference)
        broken += _broken_acknowledgements(seen, witnesses)
        if seen.presence:
            broken.append(f"{seen.name} saw members come or go: {_some(seen.presence)}")
        if seen.complaints:
            broken.append(f"{seen.name} was told of trouble: {_some(seen.complaints)}")
    return broken


def _broken_timeline(seen: Witness, reference: dict[int, tuple[str, str, str]]) -> list[str]:
    broken: list[str] = []
    seqs = [line["seq"] for line in seen.messages]
    if seqs != list(range(1, len(seqs) + 1)):
        broken.append(f"{seen.name} was not shown 1, 2, 3 … without gaps or repeats: {_first_break(seqs)}")
    ids = [line["id"] for line in seen.messages]
    if len(set(ids)) != len(ids):
        broken.append(f"{seen.name} was shown {len(ids) - len(set(ids))} messages twice")
    shown = {line["seq"]: (line["id"], line["author"], line["text"]) for line in seen.messages}
    if shown != reference:
        different = [seq for seq in sorted({*shown, *reference}) if shown.get(seq) != reference.get(seq)]
        broken.append(f"{seen.name} saw another history than the first participant, from seq {different[0]} on")
    last: dict[str, int] = {}
    for line in seen.messages:
        author, _, number = line["text"].rpartition(" ")
        if int(number) != last.get(author, 0) + 1:
            broken.append(f"{seen.name} saw {author}'s post {number} after {last.get(author, 0)}")
            break
        last[author] = int(number)
    return broken


def _broken_acknowledgements(author: Witness, witnesses: list[Witness]) -> list[str]:
    broken: list[str] = []
    if author.doubly_acknowledged:
        broken.append(f"{author.name} got {len(author.doubly_acknowledged)} acknowledgements twice")
    if author.unacknowledged_count:
        broken.append(f"{author.name} lacks {author.unacknowledged_count} acknowledgements")
    for seen in witnesses:
        shown = {line["id"]: (line["seq"], line["text"]) for line in seen.messages}
        missing = [
            tag
            for tag, line in author.acknowledged.items()
            if shown.get(line["id"]) != (line["seq"], f"{author.name} {tag}")
        ]
        if missing:
            broken.append(
                f"{len(missing)} acknowledged posts of {author.name} are not, or not as acknowledged, with {seen.name}"
            )
    return broken


def _first_break(seqs: list[int]) -> str:
    for index, seq in enumerate(seqs):
        if seq != index + 1:
            return f"{seq} stands where {index + 1} belongs"
    return "none"


def _some(lines: list[Line]) -> str:
    return f"{len(lines)}, the first: {json.dumps(lines[0])}"


# --- the report ---------------------------------------------------------------------------------------------------


def report(witnesses: list[Witness], status: Line, posting_ms: int, broken: list[str]) -> list[str]:
    """The lines of a table, then of what was broken."""
    posted = sum(len(seen.posted_ms) for seen in witnesses)
    acknowledged = sum(len(seen.acknowledged) for seen in witnesses)
    waits_ms = [wait_ms for seen in witnesses for wait_ms in seen.waits_ms]
    epochs = sorted({epoch for seen in witnesses for epoch in seen.moves})
    pauses_ms = [line["pause_ms"] for seen in witnesses for line in seen.moves.values()]
    failovers = sorted(
        {epoch for seen in witnesses for epoch, line in seen.moves.items() if line["reason"] == "failover"}
    )
    rows = [
        ("participants", f"{len(witnesses)}"),
        ("posts", f"{posted} in {posting_ms / 1000:.1f} s"),
        ("acknowledged", f"{acknowledged}"),
        ("shown to each", " ".join(f"{len(seen.messages)}" for seen in witnesses)),
        ("post to acknowledgement", _spread(waits_ms)),
        ("handovers", f"{len(epochs) - len(failovers)}" + (f", failovers {len(failovers)}" if failovers else "")),
        ("pause seen by a client", _spread(pauses_ms)),
        ("last epoch", f"{status.get('epoch', 'unknown')}"),
        ("lost, doubled, out of order", "none" if not broken else "see below"),
    ]
    if status.get("remark"):
        rows.append(("remark of the server", status["remark"]))
    width = max(len(label) for label, _ in rows)
    return [*(f"{label:<{width}}  {value}" for label, value in rows), *(f"BROKEN: {sentence}" for sentence in broken)]


def _spread(values_ms: Iterable[int]) -> str:
    values = sorted(values_ms)
    return f"median {statistics.median(values):g} ms, worst {values[-1]} ms" if values else "-"


# --- start --------------------------------------------------------------------------------------------------------


def _free_port() -> int:
    """A port of the loopback that nobody uses now, below those that systems give out by themselves."""
    first = 20_000 + os.getpid() % 5_000
    for port in range(first, first + 5_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise Trouble("this machine has no free port between 20000 and 30000")


def _last_lines(file: Path) -> str:
    return " ".join(file.read_text(errors="replace").split("\n")[-4:]).strip() or "it said nothing"


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=int, default=4, metavar="N", help="participants (%(default)s)")
    parser.add_argument("--for", dest="seconds", type=float, default=20.0, metavar="SECONDS", help="(%(default)s)")
    parser.add_argument("--term", type=float, default=1.0, metavar="SECONDS", help="between handovers (%(default)s)")
    parser.add_argument("--rate", type=float, default=10.0, metavar="N", help="posts a second each (%(default)s)")
    parser.add_argument("--logs", metavar="DIR", help="keep the log of each participant, and of its server half, there")
    parser.add_argument("--dns", metavar="HOST:PORT", help="use this zdns; else one of its own is started")
    parser.add_argument(
        "-u",
        "--server_uri",
        default=f"headless-{secrets.token_hex(4)}",
        metavar="NAME",
        help="a room nobody used yet",
    )
    options = parser.parse_args()
    if options.peers < 1 or options.seconds <= 0 or options.rate <= 0 or options.term < 0:
        parser.error("--peers, --for and --rate are above 0, --term not below")
    return options


async def main() -> int:
    """Returns the exit code: 0 when every promise was kept."""
    options = parse()
    with tempfile.TemporaryDirectory(prefix="relevo-headless-") as folder:
        run = Run(options, Path(folder))
        task = asyncio.ensure_future(run.carry_out())

        def stop() -> None:
            task.cancel()

        on_signals(asyncio.get_running_loop(), stop)
        try:
            return await task
        except asyncio.CancelledError:
            print("stopped before the end", file=sys.stderr)
            return 130
        except Trouble as trouble:
            print(f"headless: {trouble}", file=sys.stderr)
            return EXIT_FAILED
        finally:
            await run.end()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
