"""The real commands as black boxes: start them, talk to them in JSON lines, wait for what they say."""

import json
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from peer import access
from wire.exits import EXIT_REFUSED
from wire.identity import Credentials
from zdns import house

ROOT = Path(__file__).parents[2]
# Only a hang may end a wait: a loaded machine may take its time.
# Said by whoever takes longer than a second to leave, as anybody may on a busy machine.
LEAVING = "handing over what this machine holds before it leaves …\n"
PATIENCE_S = 60.0

Line = dict[str, Any]

_WORKERS = 16  # that run side by side, at most, and have ports of their own
_given_ports: set[int] = set()

# By the address of each zdns that was started: its data folder, and what others need to be let in. Who has another data
# folder than it gets the ticket, as on another machine; who has the same finds it there.
_HOUSES: dict[str, tuple[Path, str]] = {}


def relevo(*arguments: str) -> list[str]:
    """The command line of a relevo command."""
    return [sys.executable, "-m", "ui", *arguments]


def environment(home: Path) -> dict[str, str]:
    """An environment with its own home and none of the caller's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RELEVO_", "XDG_"))}
    return {**kept, "RELEVO_HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def ticket_for(command: Sequence[str], home: Path) -> dict[str, str]:
    """The environment in which a command has the ticket of the zdns it names, if it needs one."""
    address = command[command.index("--dns") + 1] if "--dns" in command else ""
    folder = Path(command[command.index("--data-dir") + 1]) if "--data-dir" in command else home
    house, ticket = _HOUSES.get(address, (folder, ""))
    return {"RELEVO_TICKET": ticket} if house != folder and command[3] != "dns" else {}


def free_port() -> int:
    """A port of the loopback that nobody uses now, below those that systems give out by themselves, and never again.

    Of tests that run side by side each has ports of its own; two runs at once rarely meet.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    for port in random.Random().sample(range(12_000 + worker, 32_000, _WORKERS), 200):
        if port in _given_ports:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given_ports.add(port)
        return port
    raise AssertionError("no free port")


class Process:
    """A command whose standard output is read line by line. `within` goes before it: what starts it somewhere else."""

    def __init__(self, command: list[str], home: Path, within: Sequence[str] = ()) -> None:
        self.command = command
        self.popen = subprocess.Popen(
            [*within, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(home) | ticket_for(command, home),
            cwd=home,
            text=True,
            encoding="utf-8",
            bufsize=1,
            start_new_session=True,
        )
        self.errors: list[str] = []
        self.arrived_at = 0.0  # when the line that was returned last was read, monotonic seconds
        self._lines: queue.Queue[tuple[float, str | None]] = queue.Queue()
        assert self.popen.stdout is not None
        assert self.popen.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(self.popen.stdout, self._line), daemon=True),
            threading.Thread(target=self._read, args=(self.popen.stderr, self._error), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        for reader in self._readers:
            reader.join(PATIENCE_S)
        for stream in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                pass  # what was still to be written has no reader any more

    def _read(self, stream: Any, put: Callable[[str | None], None]) -> None:
        for line in stream:
            put(line)
        put(None)

    def _line(self, line: str | None) -> None:
        self._lines.put((time.monotonic(), line))

    def _error(self, line: str | None) -> None:
        if line is not None:
            self.errors.append(line)

    def line(self, patience_s: float = PATIENCE_S) -> str | None:
        """The next line of standard output; None at its end."""
        try:
            self.arrived_at, line = self._lines.get(timeout=patience_s)
        except queue.Empty:
            raise AssertionError(f"{self.command[2:]} said nothing for {patience_s} s; stderr: {self.errors}") from None
        return line

    def lines_waiting(self) -> bool:
        """Has it said something that was not read yet?"""
        return not self._lines.empty()

    def say(self, text: str) -> None:
        """Write to its standard input."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(text)
        self.popen.stdin.flush()

    def end_input(self) -> None:
        """Close its standard input."""
        assert self.popen.stdin is not None
        self.popen.stdin.close()

    def signal(self, number: int) -> None:
        """Send a signal to the whole group: the command and its children, as a machine would lose them together."""
        os.killpg(self.popen.pid, number)

    def kill(self) -> None:
        """kill -9 of everything it runs."""
        try:
            self.signal(signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait(PATIENCE_S)

    def all_errors(self, patience_s: float = PATIENCE_S) -> list[str]:
        """What it wrote to its standard error, once that has been read to its end."""
        reader = self._readers[1]
        reader.join(patience_s)
        assert not reader.is_alive(), f"{self.command[2:]} keeps its standard error open; so far: {self.errors}"
        return self.errors

    def wait(self, patience_s: float = PATIENCE_S) -> int:
        """Its exit code."""
        try:
            return self.popen.wait(patience_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.command[2:]} does not end; stderr: {self.errors}") from None


class Zdns(Process):
    """A name server on a port of its own."""

    def __init__(
        self,
        home: Path,
        port: int | None = None,
        lease_s: float = 1.5,
        host: str = "127.0.0.1",
        within: Sequence[str] = (),
        *,
        is_open: bool = False,
    ) -> None:
        self.port = port or free_port()
        self.address = f"{host}:{self.port}"
        more = ["--open"] if is_open else []
        where = ["--host", host, "--port", str(self.port), "--data-dir", str(home)]
        super().__init__(relevo("dns", *where, "--lease", str(lease_s), *more), home, within)
        assert "listening" in (self.line() or ""), self.errors
        file = house.find(home, self.address)
        assert file is not None
        self.ticket = str(file.kept.ticket)
        if not is_open:  # nobody shows a ticket to an open one
            _HOUSES[self.address] = (home, self.ticket)

    def credentials(self, home: Path, name: str = "somebody") -> Credentials:
        """What `name` with this data folder has to be let in by."""
        way = access.find(data_dir=home, name=name, dns=(self.address,), ticket=self.ticket, ephemeral=False)
        assert way.credentials is not None
        return way.credentials


class Chat(Process):
    """`relevo chat --json`: a participant."""

    def __init__(
        self,
        home: Path,
        dns: str,
        name: str | None = None,
        *options: str,
        bind: str = "127.0.0.1",
        within: Sequence[str] = (),
    ) -> None:
        self.seen: list[Line] = []
        self._unclaimed: list[Line] = []
        named = ("--name", name) if name else ()
        base = relevo("chat", "--json", "--dns", dns, "--bind", bind, "--flood", "0", *named, *options)
        super().__init__(base, home, within)

    def do(self, what: str, **keys: Any) -> None:
        """One request."""
        self.say(json.dumps({"do": what, **keys}) + "\n")

    def next(self, patience_s: float = PATIENCE_S) -> Line | None:
        """The next event; None at the end of its output."""
        text = self.line(patience_s)
        if text is None:
            return None
        event: Line = json.loads(text)
        self.seen.append(event)
        self._unclaimed.append(event)
        return event

    def until(self, *kinds: str, patience_s: float = PATIENCE_S, **keys: Any) -> Line:
        """The first event of one of these kinds with these values that no earlier call returned."""
        deadline = time.monotonic() + patience_s
        looked_at = 0
        while True:
            for event in self._unclaimed[looked_at:]:
                if event["event"] in kinds and all(event.get(key) == value for key, value in keys.items()):
                    self._unclaimed.remove(event)
                    return event
            looked_at = len(self._unclaimed)
            if self.next(max(0.1, deadline - time.monotonic())) is None or time.monotonic() > deadline:
                break
        raise AssertionError(
            f"{self.command[2:]} never said {kinds} {keys}; last: {self.seen[-8:]}; stderr: {self.errors}"
        )

    def so_far(self) -> list[Line]:
        """All events up to now, without waiting for more."""
        while self.lines_waiting() and self.next() is not None:
            pass
        return self.seen

    def forget(self) -> None:
        """Let go of events nobody waited for."""
        self._unclaimed.clear()

    def ready(self) -> Line:
        """Wait until it has joined."""
        return self.until("ready")

    def shown(self, seq: int) -> Line:
        """Wait until message `seq` is shown, if it was not already."""
        for event in self.seen:
            if event["event"] == "message" and event["seq"] == seq:
                return event
        return self.until("message", seq=seq)

    def texts(self) -> list[str]:
        """The messages it was shown so far."""
        return [event["text"] for event in self.seen if event["event"] == "message"]

    def rest(self) -> Iterator[Line]:
        """Everything until the end of its output."""
        while (event := self.next()) is not None:
            yield event


def run(
    home: Path, *arguments: str, text: str | None = None, patience_s: float = PATIENCE_S
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        relevo(*arguments),
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment(home) | ticket_for(relevo(*arguments), home),
        cwd=home,
        timeout=patience_s,
        check=False,
    )


def run_handover(home: Path, to: str, dns: str) -> subprocess.CompletedProcess[str]:
    """Run `relevo handover`, and again while it is refused: `to` may stand by only just now, or be slow to answer."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        ended = run(home, "handover", "--to", to, "--dns", dns)
        if ended.returncode != EXIT_REFUSED or time.monotonic() > deadline:
            return ended


def hand_over(chat: Chat, to: str | None = None) -> None:
    """Have the role handed over as soon as the server half of `to`, or of anybody, stands by and answers in time."""
    chat.do("handover", to=to)
    handed_over(chat, to)


def handed_over(chat: Chat, to: str | None = None) -> None:
    """Wait until the handover that was asked for is done; ask again while it is refused."""
    deadline = time.monotonic() + PATIENCE_S
    while (answer := chat.until("handed_over", "refused"))["event"] != "handed_over":
        assert answer["code"] in ("no_standby", "busy", "handover_failed"), answer
        assert time.monotonic() < deadline, answer
        time.sleep(0.05)
        chat.do("handover", to=to)
