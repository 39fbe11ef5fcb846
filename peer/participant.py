"""The other half of a participant: its server half as a child process, started, watched, restarted and seen out."""

import asyncio
import contextlib
import logging
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

import broker
from broker.disk import CLOSE_MS
from broker.server import WARNINGS, Notice, Order, Settings
from runtime import clock
from wire import identity, limits
from wire.exits import EXIT_CONFIG, EXIT_REFUSED, EXIT_VERSION

log = logging.getLogger("relevo.participant")

RESTART_MS = 500  # chosen: a child that dies at once must not keep the machine busy. Doubles up to the next
RESTART_MAX_MS = 30_000
_HEALTHY_MS = 60_000  # a child that lived so long may be restarted as quickly as the first time
# Over what the child itself allows a handover: to close its sockets, on a busy machine, and its store.
_STOP_MARGIN_MS = 3_000 + CLOSE_MS
_WARNINGS_MAX = 20  # chosen: more than a person reads
_TERMINATE_MS = 1_000
_LINE_BYTES_MAX = 64 * limits.KIB
# A child that ended so would end so again: zdns or its settings must change first.
_FINAL_EXITS = (EXIT_VERSION, EXIT_REFUSED, EXIT_CONFIG)


class HostedServer:
    """Keeps one server half running. It shares our process group but neither our signals nor our terminal.

    Its life hangs on the pipe to its standard input: when that ends, because we stop it or because we die, it
    hands over what it serves and ends. A restarted one is another server, with an id of its own, unless it finds the
    history of an earlier one on disk: then it goes on as that one.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        listens: Callable[[str], None],
        granted: Callable[[int], None],
        warns: Callable[[str, str], None],
        fails: Callable[[str], None],
    ) -> None:
        """Settle who is told what.

        Args:
            settings: the first line to the child.
            listens: `listens(id)`: that server stands by now (empty: none does).
            granted: `granted(epoch)`: zdns has told it of an epoch, in which it or another one serves.
            warns: `warns(event, sentence)`: something is wrong with its disk, or with zdns, and it goes on. Each
                sentence once.
            fails: `fails(sentence)`: it will not come back.
        """
        self._settings = settings
        self._listens = listens
        self._granted = granted
        self._warns = warns
        self._fails = fails
        self._warned: set[str] = set()
        self._told = settings.server_id
        self._failure = ""
        self._progress = False
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id, while it runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the child, and keep it running until `stop`."""
        self._supervisor = asyncio.create_task(self._supervise())

    def rename(self, name: str) -> None:
        """The host is called `name` now."""
        self._settings = msgspec.structs.replace(self._settings, name=name)
        self._write(Order("name", name))

    async def stop(self) -> None:
        """Have it hand over and end; kill it when that takes longer than it ever should."""
        self._stopping.set()
        self._end_input()
        if self._supervisor is None:
            return
        for signal_it, wait_ms in (
            (None, limits.QUIT_HANDOVER_MS + _STOP_MARGIN_MS),
            (asyncio.subprocess.Process.terminate, _TERMINATE_MS),
            (asyncio.subprocess.Process.kill, _TERMINATE_MS),
        ):
            if signal_it is not None and self._process is not None:
                log.warning("the server half does not end; %s", signal_it.__name__)
                with contextlib.suppress(ProcessLookupError):
                    signal_it(self._process)
            if await self._has_ended(self._supervisor, wait_ms):
                break
        self._supervisor.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._supervisor

    async def _has_ended(self, supervisor: asyncio.Task[None], wait_ms: int) -> bool:
        """Wait so long, and again each time the child has said that its handover makes progress."""
        while True:
            self._progress = False
            done, _ = await asyncio.wait((supervisor,), timeout=wait_ms / 1000)
            if done or not self._progress:
                return bool(done)

    # --- the child -----------------------------------------------------------------------------------------------

    async def _supervise(self) -> None:
        pause_ms = RESTART_MS
        while not self._stopping.is_set():
            began_ms = clock.monotonic_ms()
            exit_code = await self._run_once()
            if self._stopping.is_set():
                return
            self._tell("")
            log.warning("the server half ended with exit code %s", exit_code)
            if exit_code in _FINAL_EXITS:
                self._fails(self._failure or f"the server half ended with exit code {exit_code}")
                return
            if clock.monotonic_ms() - began_ms >= _HEALTHY_MS:
                pause_ms = RESTART_MS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_ms / 1000):
                    await self._stopping.wait()
            pause_ms = min(2 * pause_ms, RESTART_MAX_MS)
            # What was asked for at the start was done, or was up to that first one.
            self._settings = msgspec.structs.replace(
                self._settings,
                server_id=identity.make_id(self._settings.key, secrets.token_hex(16)),
                serve_first=False,
                fresh=False,
            )

    async def _run_once(self) -> int | None:
        """One life of the child: its exit code, or None when it could not be started."""
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # nothing in the current folder is taken for our `broker`
                "-m",
                "broker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=_environment(),
                limit=_LINE_BYTES_MAX,
            )
        except OSError as error:
            log.error("the server half cannot be started: %s", error)
            return None
        self._process = process
        try:
            self._write(self._settings)
            if self._stopping.is_set():
                self._end_input()
            assert process.stdout is not None
            assert process.stderr is not None
            await asyncio.gather(self._read_notices(process.stdout), _log_errors(process.stderr))
            return await process.wait()
        finally:
            self._process = None

    async def _read_notices(self, output: asyncio.StreamReader) -> None:
        while line := await _line(output):
            try:
                notice = msgspec.json.decode(line, type=Notice)
            except msgspec.DecodeError as error:
                log.warning("a line of the server half that is none: %s", error)
                continue
            log.info("server half: %s id=%s epoch=%s code=%s", notice.event, notice.id, notice.epoch, notice.code)
            match notice.event:
                case "listening":
                    self._tell(notice.id)
                case "granted":
                    self._granted(notice.epoch)
                case "leaving":
                    self._progress = True
                case "failed":
                    self._failure = notice.message
                case event if event in WARNINGS:
                    self._warn(notice)

    def _tell(self, server_id: str) -> None:
        if server_id != self._told:
            self._told = server_id
            self._listens(server_id)

    def _warn(self, notice: Notice) -> None:
        """A child that was restarted would say the same again."""
        if notice.message not in self._warned and len(self._warned) < _WARNINGS_MAX:
            self._warned.add(notice.message)
            self._warns(notice.event, notice.message)

    def _write(self, line: Settings | Order) -> None:
        if self._process is None or self._process.stdin is None or self._process.stdin.is_closing():
            return  # a child that starts later gets everything in its settings
        with contextlib.suppress(ConnectionError):  # it died; the supervisor notices
            self._process.stdin.write(msgspec.json.encode(line) + b"\n")

    def _end_input(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()


def _environment() -> dict[str, str]:
    """Our own, with the place this project was loaded from first on the import path."""
    assert broker.__file__ is not None
    root = str(Path(broker.__file__).resolve().parents[1])
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{inherited}" if inherited else root}


async def _log_errors(errors: asyncio.StreamReader) -> None:
    """What Python itself says when the child cannot even begin; nothing of it may reach the terminal."""
    while line := await _line(errors):
        log.error("server half: %s", line.decode(errors="replace").rstrip())


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The next line, in full or as much as was to be had; empty at the end."""
    try:
        return await reader.readline()
    except ValueError:  # over the limit; the reader has thrown it away
        return b"\n"
