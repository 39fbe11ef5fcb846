"""Log, signals, addresses and folders of a process."""

import logging
import logging.handlers
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import clock, process
from wire.exits import EXIT_INTERRUPTED


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger; left afterwards as it was found."""
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    root.handlers.clear()
    yield root
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raising


def test_the_log_goes_to_its_file_alone(
    tmp_path: Path, root_logger: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "state" / "relevo" / "log"
    process.set_up_logging("info", path)
    logging.getLogger("relevo.test").info("epoch=%d", 4)
    logging.getLogger("relevo.test").debug("not this")
    text = path.read_text(encoding="utf-8")
    assert text.endswith(f" {os.getpid()} INFO relevo.test epoch=4\n")
    assert text.count("\n") == 1
    assert capfd.readouterr() == ("", "")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    (handler,) = root_logger.handlers
    assert isinstance(handler, logging.handlers.RotatingFileHandler)
    assert handler.maxBytes > 0


def test_without_a_file_even_errors_stay_off_the_terminal(
    root_logger: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    process.set_up_logging("WARNING")
    root_logger.error("nobody shall see this")
    assert capfd.readouterr() == ("", "")


def test_the_log_goes_to_standard_error_when_asked(
    root_logger: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    process.set_up_logging("warning", to_stderr=True)
    root_logger.warning("seen")
    assert capfd.readouterr().err.endswith("WARNING root seen\n")


def test_setting_up_again_replaces_what_was_there(tmp_path: Path, root_logger: logging.Logger) -> None:
    process.set_up_logging("info", tmp_path / "first")
    process.set_up_logging("info", tmp_path / "second")
    root_logger.info("where")
    assert (tmp_path / "first").read_text(encoding="utf-8") == ""
    assert "where" in (tmp_path / "second").read_text(encoding="utf-8")


def test_an_unknown_level_is_named(root_logger: logging.Logger) -> None:
    before = root_logger.handlers[:]
    with pytest.raises(ValueError, match="'loud' is no log level"):
        process.set_up_logging("loud")
    assert root_logger.handlers == before


WAITS = """
import asyncio
from runtime.process import on_signals

async def main():
    asked = asyncio.Event()
    on_signals(asyncio.get_running_loop(), asked.set)
    print("ready", flush=True)
    await asked.wait()
    print("asked", flush=True)
    {then}

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_a_request_to_end(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", WAITS.format(then="")], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        assert child.communicate(timeout=20)[0] == "asked\n"
        assert child.returncode == 0


def test_a_second_interrupt_ends_at_once_and_a_second_term_does_not() -> None:
    script = WAITS.format(then="await asyncio.Event().wait()")
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGTERM)
        assert child.stdout.readline() == "asked\n"
        child.send_signal(signal.SIGTERM)
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=20) == EXIT_INTERRUPTED


def test_the_address_towards_this_machine_is_one_others_can_use() -> None:
    address = process.local_address_towards("127.0.0.1")
    assert address == process.local_address_towards("localhost")
    assert address.count(".") == 3
    assert address != "0.0.0.0"


def test_the_address_towards_nowhere_is_still_an_address() -> None:
    assert process.local_address_towards("no such host").count(".") == 3
    assert process.local_address_towards("." * 300).count(".") == 3


def test_folders_follow_the_xdg_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELEVO_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "c"))
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/ignored")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert process.config_dir() == tmp_path / "c" / "relevo"
    assert process.data_dir() == tmp_path / ".local/share/relevo"
    assert process.state_dir() == tmp_path / ".local/state/relevo"


def test_relevo_home_holds_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELEVO_HOME", str(tmp_path))
    assert [process.config_dir(), process.data_dir(), process.state_dir()] == [tmp_path] * 3


def test_the_clocks_count_milliseconds_and_one_never_goes_back() -> None:
    readings = [clock.monotonic_ms() for _ in range(100)]
    assert readings == sorted(readings)
    assert clock.utc_ms() > 1_700_000_000_000
