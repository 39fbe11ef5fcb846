"""The scripts people start with: a whole chat from one command, and the headless run that watches the promises."""

import os
import signal
import sys
import time
from pathlib import Path

from tests.support.processes import PATIENCE_S, ROOT, Chat, Process, free_port, relevo


def script(name: str, *words: str) -> list[str]:
    return [sys.executable, "-P", str(ROOT / "scripts" / name), *words]


def wait_for(process: Process, text: str) -> str:
    """Read its lines until one has `text` in it; that line."""
    while (line := process.line()) is not None:
        if text in line:
            return line
    raise AssertionError(f"it ended without {text}: {process.errors}")


def test_a_headless_run_hands_over_and_keeps_every_promise(tmp_path: Path) -> None:
    with Process(script("lan.py", "--headless", "--peers", "3", "--for", "3", "--term", "0.5"), tmp_path) as run:
        assert run.wait() == 0, run.errors
        lines = []
        while (line := run.line()) is not None:
            lines.append(line)
    table = {label.strip(): value.strip() for label, _, value in (line.partition("  ") for line in lines)}
    assert table["posts"].startswith("90 in")
    assert table["acknowledged"] == "90"
    assert table["shown to each"] == "90 90 90"
    assert table["lost, doubled, out of order"] == "none"
    assert int(table["handovers"]) >= 1


def test_one_command_starts_zdns_and_the_chat_and_its_end_ends_both(tmp_path: Path) -> None:
    dns = f"127.0.0.1:{(port := free_port())}"
    words = ("--port", str(port), "--json", "--name", "ana", "--bind", "127.0.0.1")
    with Process(script("lan.py", *words), tmp_path) as lan:
        told = [lan.line() or "" for _ in range(3)]
        assert told[0].startswith("zdns started")
        assert "scripts/start_lan.sh --ticket 'relevo://" in told[1]
        assert f":{port}/#" in told[2]
        wait_for(lan, '"event":"ready"')
        with Chat(tmp_path, dns, "bo") as bo:
            assert bo.ready()["members"] == ["ana", "bo"]
            standbys: list[str] = []
            while standbys != ["bo"]:  # until its server half, a process of its own, stands by
                bo.do("status")
                standbys = bo.until("status")["standbys"]
            lan.popen.send_signal(signal.SIGTERM)
            assert lan.wait() == 0
            bo.until("relocated", server="bo")
    assert not _answers(tmp_path, dns)
    # A second time: bo was the last to have the history, so the room waits for bo, by name, and goes on with it.
    with Process(script("lan.py", *words), tmp_path) as again:
        assert "last held by bo" in wait_for(again, '"code":"nobody_serves"')
        with Chat(tmp_path, dns, "bo") as bo:
            assert bo.ready()["epoch"] == 3
            wait_for(again, '"event":"ready"')
        again.popen.send_signal(signal.SIGTERM)
        assert again.wait() == 0


def test_with_a_closed_zdns_others_are_told_its_ticket(tmp_path: Path) -> None:
    port = str(free_port())
    with Process(relevo("dns", "--port", port), tmp_path) as zdns:
        ticket = wait_for(zdns, "--ticket '").partition("'")[2].strip()
        with Process(script("lan.py", "--port", port, "--json", "--name", "ana"), tmp_path) as lan:
            assert (lan.line() or "").strip().endswith(f"scripts/start_lan.sh --ticket '{ticket}")
            assert (lan.line() or "").strip().endswith(f"relevo chat --ticket '{ticket}")


def test_the_demo_talks_and_leaves_nothing_behind(tmp_path: Path) -> None:
    port = free_port()
    words = ("--port", str(port), "--demo", "--json", "--name", "ana", "--bind", "127.0.0.1")
    with Process(script("lan.py", *words), tmp_path) as lan:
        wait_for(lan, '"author":"ada"')
        lan.popen.send_signal(signal.SIGTERM)
        assert lan.wait() == 0
    deadline = time.monotonic() + PATIENCE_S
    while left := _processes_with(str(tmp_path)):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with Process(
        [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port := free_port())], tmp_path
    ) as web:
        wait_for(web, "Serving")
        with Process(script("lan.py", "--port", str(port), "--json"), tmp_path) as lan:
            assert lan.wait() == 69
        assert any("--port" in line for line in lan.errors)


def _answers(home: Path, dns: str) -> bool:
    with Process([sys.executable, "-m", "ui", "dns", "--check", "--dns", dns], home) as check:
        return check.wait() == 0


def _processes_with(home: str) -> list[str]:
    """Command lines of the processes whose environment names this home."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and folder.name != str(os.getpid()):
            try:
                if f"RELEVO_HOME={home}\0".encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue  # it has ended meanwhile, or is another account's
    return found
