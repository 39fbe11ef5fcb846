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
from broker.reports import (
    HostName,
    Listening,
    NoZdns,
    Relieved,
    RoleGranted,
    ServerOptions,
    Serving,
    StillLeaving,
    TurnedAway,
)
from runtime import process
from runtime.driver import Driver
from wire import limits
from wire.errors import RefusalCode
from wire.exits import EXIT_CONFIG, EXIT_INTERNAL, EXIT_OK, EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_VERSION
from wire.step import Asked, Stopping

log = logging.getLogger("relevo.server")

_ORDER_BYTES_MAX = 64 * limits.KIB


class Notice(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line from a server half to whoever started it.

    `event`: listening (with `id`), serving or relieved (with `epoch`), granted (zdns has told of this `epoch`, whoever
    serves in it), leaving (there is progress with the handover that comes before the end), failed (with the exit `code`
    and a sentence).
    """

    event: str
    id: str = ""
    epoch: int = 0
    code: int = 0
    message: str = ""


class Settings(msgspec.Struct, frozen=True):
    """First line to a server half that runs as a child: all it needs to know."""

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


class Order(msgspec.Struct, frozen=True):
    """A later line to a server half that runs as a child. `do`: name (with `name`) or stop."""

    do: str
    name: str = ""


class ServerHalf:
    """A server half in the running loop."""

    def __init__(self, settings: Settings, tell: Callable[[Notice], None], *, needs_zdns: bool = False) -> None:
        """`needs_zdns`: end with exit code 69 when zdns is silent at the start, instead of trying on."""
        self._tell = tell
        self._needs_zdns = needs_zdns
        self._exit_code = EXIT_OK
        options = ServerOptions(
            service=settings.service,
            server_id=settings.server_id,
            name=settings.name,
            dns=settings.dns,
            serve_first=settings.serve_first,
            min_n=settings.min_n,
            term_ms=settings.term_ms,
            fresh=settings.fresh,
        )
        self._driver = Driver(
            ServerCore(options),
            bind_host=settings.bind_host,
            advertise_host=settings.advertise_host,
            on_report=self._reported,
        )

    def start(self) -> None:
        """Bind, register, wait for the role."""
        self._driver.start()

    def rename(self, name: str) -> None:
        """The host is called `name` now."""
        self._driver.post(Asked(HostName(name)))

    def stop(self) -> None:
        """Hand over if we serve, leave zdns, end."""
        self._driver.post(Stopping())

    async def done(self) -> int:
        """Wait for the end; returns the exit code."""
        try:
            await self._driver.done()
        except Exception as error:  # noqa: BLE001  # the driver has logged it; nothing may reach the terminal
            self._tell(Notice("failed", code=EXIT_INTERNAL, message=f"the server half stopped: {error}"))
            return EXIT_INTERNAL
        return self._exit_code

    def _reported(self, notice: object) -> None:
        match notice:
            case Listening(server):
                self._tell(Notice("listening", id=server.id))
            case Serving(epoch):
                self._tell(Notice("serving", epoch=epoch))
            case Relieved(epoch):
                self._tell(Notice("relieved", epoch=epoch))
            case RoleGranted(epoch):
                self._tell(Notice("granted", epoch=epoch))
            case StillLeaving():
                self._tell(Notice("leaving"))
            case TurnedAway(code, message):
                self._exit_code = EXIT_VERSION if code is RefusalCode.VERSION else EXIT_REFUSED
                self._tell(Notice("failed", code=self._exit_code, message=message))
            case NoZdns(why):
                self._tell(Notice("failed", code=EXIT_UNAVAILABLE, message=f"zdns does not answer: {why}"))
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
    process.set_up_logging(settings.log_level, Path(settings.log_file) if settings.log_file else None)
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
