"""A server half by its pipe, as its client half has it: settings and orders in, notices out, and a history on disk."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from broker.store import HistoryStore
from broker.store_folder import find, folder_for
from broker.stored import HistoryInUse
from tests.support.histories import SERVICE, append_of
from tests.support.processes import PATIENCE_S, Line, Process, Zdns, run

OWN, EARLIER = "a" * 32, "f" * 32  # ids of servers
BROKER = (sys.executable, "-m", "broker")


class Half(Process):
    """A server half that runs as a child."""

    def __init__(self, home: Path, zdns: Zdns, command: tuple[str, ...] = BROKER, **settings: Any) -> None:
        super().__init__([*command], home)
        usual = {"service": SERVICE, "server_id": OWN, "name": "ana", "dns": [f"tcp://{zdns.address}"], "term_ms": 0}
        self.order(**{**usual, "data_dir": str(home), "serve_first": True, **settings})

    def order(self, **keys: Any) -> None:
        """One line to it."""
        self.say(json.dumps(keys) + "\n")

    def next(self) -> Line:
        """Its next notice."""
        line = self.line()
        assert line is not None, f"it ended with {self.wait()}: {self.errors}"
        notice: Line = json.loads(line)
        return notice

    def until(self, event: str) -> Line:
        """Its next notice of this kind."""
        while (notice := self.next())["event"] != event:
            pass
        return notice

    def leave(self) -> None:
        """End it as its client half does."""
        self.end_input()
        while self.line() is not None:
            pass
        assert self.wait() == 0, self.errors


Start = Callable[..., Half]


@pytest.fixture
def zdns(tmp_path: Path) -> Iterator[Zdns]:
    """An open name server: what is tested here is the same with keys."""
    with Zdns(tmp_path, is_open=True) as process:
        yield process


@pytest.fixture
def half(tmp_path: Path, zdns: Zdns) -> Iterator[Start]:
    """Starts server halves; all are gone at the end of the test."""
    with ExitStack() as stack:
        yield lambda *command, **settings: stack.enter_context(
            Half(tmp_path, zdns, *([command] if command else []), **settings)
        )


def put_history(home: Path) -> Path:
    """What an earlier run left there; returns its folder."""
    store = HistoryStore.create_for(home, SERVICE, "ana", "log-z", EARLIER)
    store.write([append_of(1, 100)])
    store.close()
    return store.folder


def histories(home: Path) -> list[str]:
    """The names of the histories in a data folder."""
    folder = folder_for(home, SERVICE)
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def head(folder: Path) -> int:
    """How many entries a history has that nobody has open."""
    store = HistoryStore.open(folder)
    try:
        return store.meta.head
    finally:
        store.close()


def status(home: Path, zdns: Zdns) -> Line:
    told: Line = json.loads(run(home, "status", "--json", "--dns", zdns.address).stdout)
    return told


# --- what an earlier run left --------------------------------------------------------------------------------------


def test_it_goes_on_as_the_server_whose_history_it_finds(half: Start, tmp_path: Path) -> None:
    folder = put_history(tmp_path)
    ana = half()
    assert ana.until("listening")["id"] == EARLIER
    with pytest.raises(HistoryInUse):
        HistoryStore.open(folder)
    ana.leave()
    assert head(folder) == 100


def test_killed_and_started_again_it_is_the_same_server_in_the_next_epoch(
    half: Start, tmp_path: Path, zdns: Zdns
) -> None:
    ana = half()
    assert ana.until("listening")["id"] == OWN
    assert ana.until("serving")["epoch"] == 1
    assert run(tmp_path, "send", "kept", "--dns", zdns.address).returncode == 0
    ana.kill()
    again = half(server_id="b" * 32, serve_first=False)
    assert again.until("listening")["id"] == OWN
    assert again.until("serving")["epoch"] == 2
    assert run(tmp_path, "tail", "--no-follow", "--dns", zdns.address).stdout.endswith(": kept\n")
    assert histories(tmp_path) == ["ana-1"]


def test_a_fresh_one_leaves_an_earlier_history_where_it_is(half: Start, tmp_path: Path) -> None:
    folder = put_history(tmp_path)
    ana = half(fresh=True)
    assert ana.until("listening")["id"] == OWN
    ana.until("serving")
    ana.leave()
    assert histories(tmp_path) == ["ana-1", "ana-2"]
    assert head(folder) == 100


def test_without_a_data_folder_nothing_is_on_disk(half: Start, tmp_path: Path) -> None:
    put_history(tmp_path)
    ana = half(data_dir=None)
    assert ana.until("listening")["id"] == OWN
    ana.until("serving")
    ana.leave()
    assert histories(tmp_path) == ["ana-1"]


def test_the_history_is_found_under_the_name_it_was_begun_with(half: Start, tmp_path: Path) -> None:
    put_history(tmp_path)
    assert half(name="zoe", holder="ana").until("listening")["id"] == EARLIER


def test_a_damaged_history_is_told_of_and_not_used(half: Start, tmp_path: Path) -> None:
    folder = put_history(tmp_path)
    path = folder / "history.sqlite"
    data = bytearray(path.read_bytes())
    data[data.index(b"text 7")] ^= 1
    path.write_bytes(data)
    ana = half()
    told = ana.next()
    assert told["event"] == "history_damaged"
    assert str(folder) in told["message"]
    assert ana.next() == {"event": "listening", "id": OWN}
    ana.until("serving")
    ana.leave()
    assert histories(tmp_path) == ["ana-1", "ana-2"]


def test_a_history_that_somebody_holds_is_left_to_them_and_nobody_is_told(half: Start, tmp_path: Path) -> None:
    held = HistoryStore.open(put_history(tmp_path))
    ana = half()
    assert ana.next() == {"event": "listening", "id": OWN}
    ana.until("serving")
    ana.leave()
    assert histories(tmp_path) == ["ana-1", "ana-2"]
    held.close()


# One that would wait for a history that is held as long as it is held.
WAITING = (
    "import asyncio, sys; import broker.disk as disk; disk._IN_USE_TRIES = 10**9; "
    "from broker.server import run_child; sys.exit(asyncio.run(run_child()))"
)


@pytest.mark.parametrize("stop", [Process.end_input, lambda child: child.order(do="stop")])
def test_it_may_be_stopped_before_it_has_found_its_history(
    half: Start, tmp_path: Path, stop: Callable[[Half], None]
) -> None:
    held = HistoryStore.open(put_history(tmp_path))
    ana = half(sys.executable, "-c", WAITING)
    stop(ana)
    assert ana.line() is None
    assert ana.wait() == 0
    assert ana.all_errors() == []
    held.close()


# --- orders and notices --------------------------------------------------------------------------------------------


def test_when_its_input_ends_it_hands_over_to_whoever_follows(half: Start, tmp_path: Path, zdns: Zdns) -> None:
    ana = half()
    ana.until("serving")
    bo = half(server_id="b" * 32, name="bo", serve_first=False)
    while status(tmp_path, zdns)["in_sync"] != ["ana", "bo"]:
        pass
    ana.end_input()
    assert bo.until("serving")["epoch"] == 2
    assert ana.until("relieved")["epoch"] == 2
    while ana.line() is not None:
        pass
    assert ana.wait() == 0
    bo.leave()
    assert "bo-1" in histories(tmp_path)


def test_signals_of_a_terminal_are_not_meant_for_it(half: Start) -> None:
    ana = half()
    ana.until("serving")
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTSTP):
        os.kill(ana.popen.pid, number)
    ana.popen.send_signal(signal.SIGTERM)
    while ana.line() is not None:
        pass
    assert ana.wait() == 0
    assert ana.all_errors() == []


def test_its_host_may_be_renamed_and_lines_that_are_no_orders_mean_nothing(
    half: Start, tmp_path: Path, zdns: Zdns
) -> None:
    ana = half()
    ana.until("serving")
    ana.say("what?\n[]\n")
    ana.order(do="dance")
    ana.order(do="name", name="zoe")
    while status(tmp_path, zdns)["active"]["name"] != "zoe":
        pass
    ana.leave()
    assert histories(tmp_path) == ["ana-1"]
    assert find(tmp_path, SERVICE, "ana")


def test_settings_that_cannot_be_read_end_it_with_a_sentence(tmp_path: Path) -> None:
    for line in ("{}\n", "what?\n", "\n", '{"service": 7}\n'):
        with Process([*BROKER], tmp_path) as ana:
            ana.say(line)
            told = json.loads(ana.line() or "")
            assert (told["event"], told["code"]) == ("failed", 78)
            assert "settings" in told["message"]
            assert ana.wait() == 78


# One with a bug, which shows as soon as there is something to be written.
BROKEN = (
    "import asyncio, sys; import broker.disk as disk; disk.Disk.perform = lambda self, order: 1 / 0; "
    "from broker.server import run_child; sys.exit(asyncio.run(run_child()))"
)


def test_a_bug_ends_it_and_is_told_in_a_sentence(half: Start, tmp_path: Path) -> None:
    ana = half(sys.executable, "-c", BROKEN, log_file=str(tmp_path / "log"))
    told = ana.until("failed")
    assert told["code"] == 70
    assert "division by zero" in told["message"]
    assert ana.wait(PATIENCE_S) == 70
    assert "ZeroDivisionError" in (tmp_path / "log").read_text(encoding="utf-8")


def test_without_a_log_it_serves_all_the_same(half: Start, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    ana = half(log_file=str(tmp_path / "folder"))
    ana.until("serving")
    ana.leave()
