"""What a process needs around its driver: log, signals, its address on the network, its folders."""

import asyncio
import logging
import logging.handlers
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from wire.exits import EXIT_INTERRUPTED

_LOG_BYTES_MAX = 5_000_000  # chosen: some days of transitions; with the older file twice that
_LOG_FILES_OLDER = 1
_LOG_FORMAT = "%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s %(message)s"
_ELSEWHERE = "192.0.2.1"  # RFC 5737: belongs to nobody, so the route to it is the default route
_DISCARD_PORT = 9


# --- log -----------------------------------------------------------------------------------------------------------


def set_up_logging(level: str, file: Path | None = None, *, to_stderr: bool = False) -> None:
    """Send the log of the whole process to `file`, bounded; to standard error only if asked.

    With neither, nothing is kept. Never does logging print by itself: the terminal may be a screen of ours,
    and a full disk must not end a chat.

    Args:
        level: debug, info, warning or error, in any case.
        file: its folders are made if need be, readable by their owner alone.

    Raises:
        ValueError: no such level.
        OSError: the file cannot be written.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"{level!r} is no log level: use debug, info, warning or error")
    logging.raiseExceptions = False  # or a failing handler prints its traceback on standard error
    handlers: list[logging.Handler] = []
    if file is not None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handlers.append(
            logging.handlers.RotatingFileHandler(
                file, maxBytes=_LOG_BYTES_MAX, backupCount=_LOG_FILES_OLDER, encoding="utf-8"
            )
        )
    if to_stderr:
        handlers.append(logging.StreamHandler(sys.stderr))
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    # A root without handlers prints warnings on standard error.
    for handler in handlers or [logging.NullHandler()]:
        handler.setFormatter(logging.Formatter(_LOG_FORMAT, datefmt="%Y-%m-%dT%H:%M:%S"))
        root.addHandler(handler)
    root.setLevel(number)


# --- signals -------------------------------------------------------------------------------------------------------


def on_signals(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> Callable[[], None]:
    """Call `callback` from the loop at the first SIGINT, SIGTERM or SIGHUP; a second SIGINT ends the process at once.

    Returns what undoes it.
    """
    asked = False

    def interrupted() -> None:
        if asked:
            os._exit(EXIT_INTERRUPTED)  # whoever presses Ctrl+C twice does not want to wait for a handover
        end()

    def end() -> None:
        nonlocal asked
        if not asked:
            asked = True
            callback()

    loop.add_signal_handler(signal.SIGINT, interrupted)
    loop.add_signal_handler(signal.SIGTERM, end)
    loop.add_signal_handler(signal.SIGHUP, end)

    def undo() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)

    return undo


# --- address -------------------------------------------------------------------------------------------------------


def local_address_towards(host: str) -> str:
    """The address of this machine from which `host` is reached: what others behind the same network can connect to.

    When `host` is this machine itself, the address of its default route, so that others can reach us as well;
    127.0.0.1 when there is none. Nothing is sent: the system is only asked for its route. A name that cannot
    be resolved is taken for another machine.
    """
    address = _source_address(host)
    if address is None or address.startswith("127."):
        address = _source_address(_ELSEWHERE)
    return address or "127.0.0.1"


def _source_address(host: str) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, _DISCARD_PORT))
            address: str = probe.getsockname()[0]
        except (OSError, UnicodeError):  # no route, no such name, or no name at all
            return None
    return None if address == "0.0.0.0" else address


# --- folders -------------------------------------------------------------------------------------------------------


def config_dir() -> Path:
    """Where `relevo.toml` is."""
    return _folder("XDG_CONFIG_HOME", ".config")


def data_dir() -> Path:
    """Where what must last is: keys, ticket, outbox, history."""
    return _folder("XDG_DATA_HOME", ".local/share")


def state_dir() -> Path:
    """Where the log is."""
    return _folder("XDG_STATE_HOME", ".local/state")


def _folder(variable: str, default: str) -> Path:
    """RELEVO_HOME itself if set; else `relevo` in the folder that the XDG specification says. Not made here."""
    if home := os.environ.get("RELEVO_HOME"):
        return Path(home).expanduser().absolute()
    base = Path(os.environ.get(variable, ""))
    if not base.is_absolute():  # unset, empty, or relative: the specification says to ignore it
        base = Path.home() / default
    return base / "relevo"
