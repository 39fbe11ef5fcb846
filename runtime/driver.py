"""One loop over a deque: event, core.handle, perform the commands; logs the transitions."""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from runtime import clock
from runtime.links import Counters, Links
from runtime.timers import Timers
from wire.identity import KeyPair
from wire.names import LinkId
from wire.step import (
    Allow,
    Asked,
    CloseLink,
    Command,
    Core,
    Event,
    Expel,
    OpenLink,
    Received,
    Report,
    Send,
    Started,
    StartTimer,
    Stop,
    StopTimer,
    TimerFired,
)

log = logging.getLogger("relevo.driver")


@runtime_checkable
class FlushingCore(Core, Protocol):
    """A core that gathers work and does it once a turn of the loop: one block, one ack for many posts.

    The driver calls `flush` after it has handled every event that stood in the deque when its turn began;
    the simulator after each event.
    """

    def flush(self, now_ms: int) -> list[Command]:
        """What was gathered, as commands; no command if that is nothing."""


class Driver:
    """Runs one core against real sockets and timers. Make it inside a running loop.

    Nothing re-enters the core: whatever happens while it is at work, or while its commands are performed, is
    put at the end of the deque. One turn handles what stood there when it began (each link adds at most
    limits.DRAIN_MESSAGES a turn) and then gives sockets, timers and screen their turn.
    """

    def __init__(
        self,
        core: Core,
        *,
        bind_host: str = "127.0.0.1",
        advertise_host: str = "127.0.0.1",
        keys: KeyPair | None = None,
        on_report: Callable[[Any], None] | None = None,
    ) -> None:
        """Settle what it runs on.

        Args:
            bind_host: where its sockets are bound.
            advertise_host: where others reach them.
            keys: with them every connection is encrypted, and both ends prove who they are; without, none is.
            on_report: `on_report(notice)` is called from the loop for each Report, in order.
        """
        self._core = core
        self._flushing = core if isinstance(core, FlushingCore) else None
        self._on_report = on_report
        self._loop = asyncio.get_running_loop()
        self._links = Links(
            bind_host=bind_host, advertise_host=advertise_host, keys=keys, deliver=self.post, failed=self.fail
        )
        self._timers = Timers(self._timer_ran_out)
        self._events: deque[Event] = deque()
        self._turn_planned = False
        self._ended = False
        self._described = ""
        self._done: asyncio.Future[str] = self._loop.create_future()
        self._closing: asyncio.Task[None] | None = None

    @property
    def counters(self) -> dict[LinkId, Counters]:
        """What passed over each open link."""
        return self._links.counters

    def start(self) -> None:
        """Tell the core that it has started."""
        self._described = self._core.describe()
        self.post(Started(nonce=secrets.token_hex(16), utc_ms=clock.utc_ms()))

    def post(self, event: Event) -> None:
        """Have the core handle an event in its turn; to be called from the loop's thread, at any moment."""
        if self._ended:
            return
        self._events.append(event)
        if not self._turn_planned:
            self._turn_planned = True
            self._loop.call_soon(self._turn)

    async def done(self) -> str:
        """Wait until the core has said Stop and all is closed; return its reason.

        Raises:
            Exception: whatever escaped the core, or the performing of a command; by then all is closed as well.
        """
        return await asyncio.shield(self._done)

    def fail(self, error: Exception) -> None:
        """End because of a bug, here or in what works for the core beside us; `done` raises it."""
        log.error("stopped by a bug in state %s", self._described, exc_info=error)
        self._end("", error)

    # --- one turn ---

    def _turn(self) -> None:
        self._turn_planned = False
        try:
            for _ in range(len(self._events)):
                if self._ended:
                    return
                self._handle(self._events.popleft())
            if self._flushing is not None and not self._ended:
                commands = self._flushing.flush(clock.monotonic_ms())
                if commands:
                    self._log_transition("flush", commands)
                    self._perform(commands)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is a bug, and the process must not limp on
            self.fail(error)
            return
        if self._events and not self._turn_planned and not self._ended:
            self._turn_planned = True
            self._loop.call_soon(self._turn)

    def _handle(self, event: Event) -> None:
        if isinstance(event, TimerFired) and not self._timers.take_due(event.name):
            return  # stopped or started anew while it stood in the deque
        commands = self._core.handle(event, clock.monotonic_ms())
        self._log_transition(event, commands)
        self._perform(commands)

    def _perform(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Send() | OpenLink() | CloseLink() | Allow() | Expel():
                    self._links.perform(command)
                case StartTimer(name, delay_ms):
                    self._timers.start(name, delay_ms)
                case StopTimer(name):
                    self._timers.stop(name)
                case Report(notice):
                    if self._on_report is not None:
                        self._on_report(notice)
                case Stop(reason):
                    log.info("stop: %s", reason or "done")
                    self._end(reason)
                    return

    def _log_transition(self, event: Event | str, commands: list[Command]) -> None:
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s; %d commands", _name(event), len(commands))
        if log.isEnabledFor(logging.INFO):
            described = self._core.describe()
            if described != self._described:
                log.info("%s -> %s on %s; %d commands", self._described, described, _name(event), len(commands))
                self._described = described

    def _timer_ran_out(self, name: str) -> None:
        self.post(TimerFired(name))

    # --- the end ---

    def _end(self, reason: str, error: Exception | None = None) -> None:
        if self._ended:
            return
        self._ended = True
        self._events.clear()
        self._timers.stop_all()
        self._closing = self._loop.create_task(self._close(reason, error))

    async def _close(self, reason: str, error: Exception | None) -> None:
        try:
            await self._links.close()
        except Exception as closing_error:  # the waiter must be released whatever happens
            log.error("closing the links failed", exc_info=closing_error)
            error = error or closing_error
        if self._done.done():
            return
        if error is None:
            self._done.set_result(reason)
        else:
            self._done.set_exception(error)


def _name(event: Event | str) -> str:
    """What happened, without any content."""
    match event:
        case str():
            return event
        case Received(link, message):
            return f"{type(message).__name__}({link})"
        case TimerFired(name):
            return f"TimerFired({name})"
        case Asked(intent):
            return f"Asked({type(intent).__name__})"
        case _:
            return type(event).__name__
