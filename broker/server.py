"""Runs a server half: one driver around the core, in this process or as the child of a client half."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from broker.core import ServerCore
from broker.disk import CLOSE_MS, Disk
from broker.reports import (
    HostName,
    LetIn,
    Listening,
    NoZdns,
    Relieved,
    RoleGranted,
    ServerOptions,
    Serving,
    StillLeaving,
    TurnedAway,
    ZdnsChanged,
)
from broker.stored import DiskWord, DropStore, MakeStore, ReadStore, Restored, SearchStore, StoreBroken, WriteStore
from runtime import process
from runtime.driver import Driver
from wire import limits
from wire.errors import RefusalCode
from wire.exits import EXIT_CONFIG, EXIT_INTERNAL, EXIT_OK, EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_VERSION
from wire.identity import Credentials
from wire.step import Asked, Stopping

log = logging.getLogger("relevo.server")

_ORDER_BYTES_MAX = 64 * limits.KIB

# Events of notices that people should know of; nothing ends with them.
DISK_FAILED = "disk_failed"
HISTORY_DAMAGED = "history_damaged"
ZDNS_CHANGED = "zdns_changed"
WARNINGS = (DISK_FAILED, HISTORY_DAMAGED, ZDNS_CHANGED)
_WARNINGS_MAX = 20  # chosen: more than a person reads


class Notice(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line from a server half to whoever started it.

    `event`: listening (with `id`), serving or relieved (with `epoch`), granted (zdns has told of this `epoch`, whoever
    serves in it), leaving (there is progress with the handover that comes before the end), disk_failed (what this
    server holds of the history is in memory only; with a sentence), history_damaged (what an earlier run left is not
    used; with a sentence), zdns_changed (another one answers in its place; with a sentence), admitted (zdns has let it
    in, and gave it this `token`), failed (with the exit `code` and a sentence).
    """

    event: str
    id: str = ""
    epoch: int = 0
    code: int = 0
    message: str = ""
    token: bytes = b""


class Settings(msgspec.Struct, frozen=True):
    """First line to a server half that runs as a child: all it needs to know.

    `server_id`: unless it goes on with a history that was another server's. `data_dir`: histories are in a folder of
    it; None: in memory only. `holder`: the nick under which they are found again, which stays when the host is renamed;
    empty: `name`. `credentials`, `token`: as in `ServerOptions`; they go over a pipe that nobody else reads.
    """

    service: str
    server_id: str
    name: str
    dns: tuple[str, ...]
    serve_first: bool = False
    min_n: int = 0
    term_ms: int = limits.TERM_MS
    fresh: bool = False
    bind_host: str = "127.0.0.1"
    advertise_host: str = "127.0.0.1"
    log_file: str | None = None
    log_level: str = "warning"
    data_dir: str | None = None
    holder: str = ""
    replicas: int = limits.REPLICAS
    credentials: Credentials | None = None
    token: bytes = b""
    flood_per_s: float = limits.FLOOD_POSTS_PER_S

    @property
    def key(self) -> str:
        """Its public key; empty on an open network."""
        return "" if self.credentials is None else self.credentials.keys.public


class Order(msgspec.Struct, frozen=True):
    """A later line to a server half that runs as a child. `do`: name (with `name`) or stop."""

    do: str
    name: str = ""


class ServerHalf:
    """A server half in the running loop."""

    def __init__(self, settings: Settings, tell: Callable[[Notice], None], *, needs_zdns: bool = False) -> None:
        """`needs_zdns`: end with exit code 69 when zdns is silent at the start, instead of trying on."""
        self._settings = settings
        self._tell = tell
        self._needs_zdns = needs_zdns
        self._exit_code = EXIT_OK
        self._disk = self._new_disk()
        self._driver: Driver | None = None
        self._warned_of: set[str] = set()
        self._stop_asked = asyncio.Event()
        self._running: asyncio.Task[int] | None = None

    def start(self) -> None:
        """Take up the history an earlier run left, bind, register, wait for the role."""
        self._running = asyncio.create_task(self._run())

    def rename(self, name: str) -> None:
        """The host is called `name` now."""
        self._settings = msgspec.structs.replace(self._settings, name=name)
        if self._driver is not None:
            self._driver.post(Asked(HostName(name)))

    def stop(self) -> None:
        """Hand over if we serve, leave zdns, end."""
        self._stop_asked.set()
        if self._driver is not None:
            self._driver.post(Stopping())

    async def done(self) -> int:
        """Wait for the end, once started; returns the exit code."""
        assert self._running is not None
        return await asyncio.shield(self._running)

    async def _run(self) -> int:
        try:
            restored = await self._restored()
            if not self._stop_asked.is_set():
                self._driver = self._new_driver(restored)
                self._driver.start()
                await self._driver.done()
        except Exception as error:  # noqa: BLE001  # it is logged; nothing may reach the terminal
            self._tell(Notice("failed", code=EXIT_INTERNAL, message=f"the server half stopped: {error}"))
            self._exit_code = EXIT_INTERNAL
        if self._disk is not None and (trouble := await self._disk.close(CLOSE_MS / 1000)) is not None:
            log.error("%s", trouble)
        return self._exit_code

    def _new_driver(self, restored: Restored | None) -> Driver:
        settings = self._settings
        options = ServerOptions(
            service=settings.service,
            server_id=settings.server_id if restored is None else restored.opened.meta.server_id,
            name=settings.name,
            dns=settings.dns,
            serve_first=settings.serve_first,
            min_n=settings.min_n,
            term_ms=settings.term_ms,
            fresh=settings.fresh,
            replicas=settings.replicas,
            ephemeral=self._disk is None,
            credentials=settings.credentials,
            token=settings.token,
            flood_per_s=settings.flood_per_s,
        )
        return Driver(
            ServerCore(options, restored),
            bind_host=settings.bind_host,
            advertise_host=settings.advertise_host,
            keys=settings.credentials.keys if settings.credentials is not None else None,
            on_report=self._reported,
        )

    # --- the disk ---

    def _new_disk(self) -> Disk | None:
        settings = self._settings
        if settings.data_dir is None:
            return None
        return Disk(
            Path(settings.data_dir),
            settings.service,
            settings.holder or settings.name,
            settings.server_id,
            deliver=self._disk_said,
            on_damage=lambda sentence: self._warn(HISTORY_DAMAGED, sentence),
            failed=self._disk_broke,
            key=settings.key,
        )

    async def _restored(self) -> Restored | None:
        """What an earlier run left on disk; None also when we are to end before that is known."""
        if self._disk is None or self._settings.fresh:
            return None
        opening = asyncio.create_task(self._disk.open())
        stopping = asyncio.create_task(self._stop_asked.wait())
        try:
            await asyncio.wait((opening, stopping), return_when=asyncio.FIRST_COMPLETED)
            return opening.result() if opening.done() else None
        except Exception as error:
            log.error("stopped by a bug while looking for a history", exc_info=error)
            raise
        finally:
            opening.cancel()
            stopping.cancel()

    def _disk_said(self, word: DiskWord) -> None:
        if isinstance(word, StoreBroken):
            held = "what this machine holds of the history is in memory only"
            why = f"{held}, so while it serves posts wait until somebody follows: {word.why}"
            self._warn(DISK_FAILED, why)
        if self._driver is not None:
            self._driver.post(Asked(word))

    def _warn(self, event: str, sentence: str) -> None:
        """Once, however often the core tries again."""
        if sentence not in self._warned_of and len(self._warned_of) < _WARNINGS_MAX:
            self._warned_of.add(sentence)
            self._tell(Notice(event, message=sentence))

    def _disk_broke(self, error: Exception) -> None:
        if self._driver is not None:
            self._driver.fail(error)

    # --- what the core reports ---

    def _reported(self, notice: object) -> None:
        match notice:
            case WriteStore() | ReadStore() | SearchStore() | MakeStore() | DropStore():
                if self._disk is not None:
                    self._disk.perform(notice)
            case Listening(server):
                self._tell(Notice("listening", id=server.id))
            case Serving(epoch):
                self._tell(Notice("serving", epoch=epoch))
            case Relieved(epoch):
                self._tell(Notice("relieved", epoch=epoch))
            case RoleGranted(epoch):
                self._tell(Notice("granted", epoch=epoch))
            case LetIn(token):
                self._tell(Notice("admitted", token=token))
            case StillLeaving():
                self._tell(Notice("leaving"))
            case TurnedAway(code, message):
                self._exit_code = EXIT_VERSION if code is RefusalCode.VERSION else EXIT_REFUSED
                self._tell(Notice("failed", code=self._exit_code, message=message))
            case ZdnsChanged(why):
                goes_on = "The chat goes on among those who are in, without newcomers and handovers, until it is back"
                self._warn(ZDNS_CHANGED, f"{why}. {goes_on}")
            case NoZdns(why):
                why = f"zdns does not answer: {why}. Is it running there? `relevo dns` starts one"
                self._tell(Notice("failed", code=EXIT_UNAVAILABLE, message=why))
                if self._needs_zdns:
                    self._exit_code = EXIT_UNAVAILABLE
                    self.stop()


async def run_server(settings: Settings, tell: Callable[[Notice], None]) -> int:
    """Run a server half until SIGTERM or SIGINT (`relevo serve`); returns the exit code."""
    half = ServerHalf(settings, tell, needs_zdns=True)
    process.on_signals(asyncio.get_running_loop(), half.stop)
    half.start()
    return await half.done()


async def run_child() -> int:
    """Run a server half whose settings, orders and life come over standard input; its notices go to standard output.

    When standard input ends, whoever started it is gone: it hands over and ends.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_ORDER_BYTES_MAX)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        settings = msgspec.json.decode(await reader.readline(), type=Settings)
    except (msgspec.DecodeError, ValueError) as error:
        _say(Notice("failed", code=EXIT_CONFIG, message=f"the settings on standard input cannot be read: {error}"))
        return EXIT_CONFIG
    try:
        process.set_up_logging(settings.log_level, Path(settings.log_file) if settings.log_file else None)
    except OSError:
        process.set_up_logging(settings.log_level)  # a folder that cannot be written is no reason not to serve
    # The terminal's Ctrl+C, Ctrl+Z and closing are for the client half: a room must not stand still with a screen, and
    # when a client half ends it closes our standard input.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    half = ServerHalf(settings, _say)
    loop.add_signal_handler(signal.SIGTERM, half.stop)
    half.start()
    orders = asyncio.create_task(_follow_orders(reader, half))
    try:
        return await half.done()
    finally:
        orders.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await orders
        transport.close()


async def _follow_orders(reader: asyncio.StreamReader, half: ServerHalf) -> None:
    while line := await _line(reader):
        try:
            order = msgspec.json.decode(line, type=Order)
        except msgspec.DecodeError as error:
            log.warning("an order that is none: %s", error)
            continue
        if order.do == "name" and order.name:
            half.rename(order.name)
        elif order.do == "stop":
            break
    half.stop()


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ValueError:  # longer than any order: whoever writes so is not the one we know
        return b""


def _say(notice: Notice) -> None:
    # Whoever started us may be gone; then nobody reads, and that is no reason to fail.
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), msgspec.json.encode(notice) + b"\n")
