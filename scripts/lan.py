"""What scripts/start_lan.sh does once everything is installed: zdns, demo participants, the chat; and ends them all."""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from runtime.process import local_address_towards  # noqa: E402  # the line above makes it found
from wire.exits import EXIT_UNAVAILABLE  # noqa: E402

COMMAND = [sys.executable, "-P", "-m", "ui"]
CONNECT_S = 2.0
STOP_S = 20.0  # an active server that hands over may take 10 s
EXIT_SIGNALLED = 128


def parse(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our own options, and those for the chat."""
    parser = argparse.ArgumentParser(
        prog="scripts/start_lan.sh",
        description="Start zdns if none answers, and join the chat. Stopping this stops whatever it started.",
        epilog="Any other option goes to `relevo chat`: --plain, --name NICK, -n N and so on",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--demo", action="store_true", help="add a few participants who talk, so that you are not alone")
    add("--dns", metavar="HOST:PORT", help="join by this zdns; start none")
    add("--ticket", metavar="T", help="join the zdns of this ticket; start none")
    add("--port", type=int, default=8000, help="where zdns is, or is started, on this machine (%(default)s)")
    add("-u", "--server_uri", metavar="NAME", help="the room's service name")
    add("--term", metavar="SECONDS", help="time between handovers; default 30, with --headless 1")
    add("--headless", action="store_true", help="no screen: scripted participants, and a report")
    add("--peers", metavar="N", default="4", help="with --headless: how many (%(default)s)")
    add("--for", metavar="SECONDS", dest="seconds", default="20", help="with --headless: how long (%(default)s)")
    return parser.parse_known_args(words)


def main() -> int:
    """Returns the exit code of the chat, or of the headless run."""
    ours, rest = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)
    common = [
        *(["--server_uri", ours.server_uri] if ours.server_uri else []),
        *(["--term", ours.term] if ours.term else []),
    ]
    if ours.headless:
        more = ["--dns", ours.dns] if ours.dns else []
        words = ["--peers", ours.peers, "--for", ours.seconds, *more, *common, *rest]
        return run([sys.executable, "-P", str(ROOT / "scripts" / "headless.py"), *words])
    if ours.ticket:
        more = ["--dns", ours.dns] if ours.dns else []
        return run([*COMMAND, "chat", "--ticket", ours.ticket, *more, *common, *rest])
    dns = ours.dns or f"127.0.0.1:{ours.port}"
    with contextlib.ExitStack() as started:
        if not answers(dns):
            if ours.dns:
                print(f"no zdns answers at {dns}. Is it running, and is its port reachable from here?", file=sys.stderr)
                return EXIT_UNAVAILABLE
            # A demo leaves nothing behind: else the room would wait for its talking participants the next time.
            store = ["--store", "memory"] if ours.demo else []
            zdns = started.enter_context(Background("zdns", [*COMMAND, "dns", "--port", str(ours.port), *store]))
            if not zdns.answers_at(dns):
                return EXIT_UNAVAILABLE
            print(f"zdns started at port {ours.port}; it ends with this chat")
            rest = ["--serve-first", *(["--ephemeral"] if ours.demo else []), *rest]
        host, _, port = dns.rpartition(":")
        shown = ours.dns or f"{local_address_towards(host)}:{port}"
        room = f" --server_uri {ours.server_uri}" if ours.server_uri else ""
        ticket = ticket_of(dns)
        way = f"--ticket '{ticket}'" if ticket else f"--dns {shown}"
        print(f"others join with:   scripts/start_lan.sh {way}{room}")
        print(f"or, once installed: .venv/bin/relevo chat {way}{room}", flush=True)
        if ours.demo:
            demo = [sys.executable, "-P", str(ROOT / "scripts" / "demo.py"), "--dns", dns, *common]
            started.enter_context(Background("demo", demo))
        return run([*COMMAND, "chat", "--dns", dns, *common, *rest])


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """A signal before the chat has begun: unwind, so that what was started is stopped."""
    sys.exit(EXIT_SIGNALLED + number)


def environment() -> dict[str, str]:
    """Ours, with this project first on the import path: it runs from wherever it is."""
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{inherited}" if inherited else str(ROOT)}


def answers(dns: str) -> bool:
    """Does a zdns answer there?"""
    host, _, port = dns.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except ConnectionRefusedError:
        return False  # sooner than the check, which allows for a zdns that is just being restarted
    except (OSError, ValueError):
        pass  # the check below says it better
    check = [*COMMAND, "dns", "--check", "--dns", dns]
    return subprocess.run(check, env=environment(), stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def ticket_of(dns: str) -> str:
    """The ticket others need for the zdns there; empty: none, as it is open."""
    asked = [*COMMAND, "ticket", "--dns", dns]
    told = subprocess.run(asked, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return told.stdout.strip()


class Background:
    """A command that runs beside us, out of reach of the terminal's Ctrl+C, which is for the chat; ended at the end."""

    def __init__(self, what: str, command: list[str]) -> None:
        self.what = what
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by __exit__
        self.process = subprocess.Popen(
            command,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
            start_new_session=True,
        )

    def __enter__(self) -> "Background":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            print(f"{self.what} did not end, so it was killed", file=sys.stderr)
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.errors.close()

    def answers_at(self, dns: str) -> bool:
        """Wait until the zdns we started answers; if it ends instead, say why."""
        while self.process.poll() is None:
            if answers(dns):
                return True
        self.errors.seek(0)
        print(self.errors.read().decode(errors="replace").strip() or "zdns ended at once", file=sys.stderr)
        print("perhaps something else uses that port: choose another one with --port", file=sys.stderr)
        return False


def run(command: list[str]) -> int:
    """Run a command in the foreground; a signal to us goes to it, and we wait."""
    process = subprocess.Popen(command, env=environment())

    def pass_on(number: int, _frame: FrameType | None) -> None:
        process.send_signal(number)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal has told it as well
    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGHUP, pass_on)
    code = process.wait()
    return code if code >= 0 else EXIT_SIGNALLED - code


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(EXIT_SIGNALLED + signal.SIGINT)
