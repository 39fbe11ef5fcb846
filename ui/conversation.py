"""One person's (or program's) talk with the chat: what is entered goes to it, what it tells goes to a face."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Generic, Protocol, TypeVar

from peer import intents, notices
from peer.client import Client
from ui.ledger import Ledger
from ui.wording import counted
from wire.exits import EXIT_LATE

OUTAGE_TOLD_S = 5.0  # a handover takes milliseconds; by then it is also known whether anybody will serve
JOINING_TOLD_S = 2.0
END_OF_INPUT_WAIT_S = 30.0  # without any outcome: what was read before the end of input has failed
QUIT_WAIT_S = 5.0  # the same for a person who wants to leave
SIGNAL_WAIT_S = 2.0
LEAVING_TOLD_S = 1.0  # what takes longer to leave is explained
IN_FLIGHT_MAX = 1_000  # requests without an outcome; then input waits. Far under the outbox's own bound

Entered = TypeVar("Entered")
_Entered_in = TypeVar("_Entered_in", contravariant=True)
_Entered_out = TypeVar("_Entered_out", covariant=True)


class Source(Protocol[_Entered_out]):
    """Where what a user enters comes from."""

    def lines(self) -> AsyncIterator[_Entered_out]:
        """What is entered, as it comes, until the end of input."""


class Face(Protocol[_Entered_in]):
    """One way to talk to the user."""

    def show(self, notice: notices.AnyNotice) -> None:
        """Tell the user a notice."""

    def read(self, line: _Entered_in) -> intents.UserIntent | None:
        """What a line asks of the chat; None when it asks nothing (and the user was told why)."""

    def asks(self) -> Sequence[intents.UserIntent]:
        """What the face itself wants to know after what it was shown; each question is given once."""

    def joining(self) -> None:
        """We have been trying to get in for a while."""

    def outage(self, queued: int) -> None:
        """There has been no server for a while."""

    def recovered(self, queued: int) -> None:
        """There is a server again after an outage that was told of."""

    def leaving(self, open_count: int) -> None:
        """We would have left by now, but wait for the outcome of requests."""


class Conversation(Generic[Entered]):
    """Moves lines to the chat and notices to the user until one of them ends.

    Leaving, for whatever reason, waits a bounded time for the outcome of what was asked for.
    """

    def __init__(self, chat: Client, face: Face[Entered], source: Source[Entered]) -> None:
        self._chat = chat
        self._face = face
        self._source = source
        self._ledger = Ledger()
        self._changed = asyncio.Event()  # set at each notice: something may have got its outcome
        self._ready = False
        self._over = False  # nothing comes any more, or nobody wants to wait for it
        self._must_join = False  # the input ended: what was to be said is still to be said, and heard
        self._leaving: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._interrupted = False
        self._outage: asyncio.TimerHandle | None = None
        self._outage_told = False
        self._queued = 0
        self._bye = notices.Bye(reason="")

    @property
    def reason(self) -> str:
        """Why it ended, for the terminal; empty when all is well, or when a signal ended it."""
        if self._bye.exit and not self._interrupted:
            return self._bye.reason
        if late := self._ledger.texts_count:
            kept = " What is left is sent at the next start." if self._chat.keeps_posts else ""
            return (
                f"{counted(late, 'text')} of yours not acknowledged in time, so perhaps not posted.{kept}"
                " Was anybody serving? Try: relevo status"
            )
        if self._must_join and not self._ready and not self._interrupted:
            return f"could not join within {END_OF_INPUT_WAIT_S:g} s: nobody serves at the moment"
        return ""

    async def run(self) -> int:
        """Talk until the end; returns the exit code."""
        reading = asyncio.create_task(self._read())
        reading.add_done_callback(self._reading_ended)
        self._watch_outage("searching", 0)
        try:
            async for notice in self._chat:
                self._hear(notice)
        finally:
            self._over = True
            self._changed.set()
            self._end_outage()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            if self._leaving is not None:
                await self._leaving
        if self._failure is not None:
            raise self._failure
        return self._exit_code()

    def interrupt(self) -> None:
        """A signal asks to end; when we are leaving already, not to wait any longer."""
        self._interrupted = True
        if self._leaving is not None:
            self._over = True
            self._changed.set()
        self._leave(SIGNAL_WAIT_S)

    def fail(self, error: BaseException) -> None:
        """What a user needs to talk has failed: leave without waiting; `run` then raises this error."""
        self._failure = self._failure or error
        if self._leaving is not None:
            self._over = True
            self._changed.set()
        self._leave(0)

    def _exit_code(self) -> int:
        if self._bye.exit:
            return self._bye.exit
        return EXIT_LATE if self.reason else 0

    def _hear(self, notice: notices.AnyNotice) -> None:
        shown = self._ledger.settle(notice)
        self._changed.set()
        match notice:
            case notices.Ready():
                self._ready = True
                self._end_outage()
                self._outage_told = False  # the greeting tells that we are in
            case notices.StateChanged(state, queued):
                self._watch_outage(state, queued)
            case notices.Fault(code="nobody_serves"):
                self._end_outage()
                self._outage_told = True
            case notices.Bye():
                self._bye = notice
        self._face.show(shown)
        for intent in self._face.asks():
            self._chat.ask(self._ledger.enter(intent))

    async def _read(self) -> None:
        async for line in self._source.lines():
            intent = self._face.read(line)
            if isinstance(intent, intents.Quit):
                self._leave(QUIT_WAIT_S)
                return
            if intent is not None:
                while self._ledger.open_count >= IN_FLIGHT_MAX:
                    await self._change()
                self._chat.ask(self._ledger.enter(intent))
        self._must_join = True
        self._leave(END_OF_INPUT_WAIT_S)

    def _reading_ended(self, reading: "asyncio.Task[None]") -> None:
        """A reader that failed (the output is gone, say) ends the conversation, which then fails the same way."""
        if not reading.cancelled() and (error := reading.exception()) is not None:
            self.fail(error)

    def _leave(self, wait_s: float) -> None:
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._wait_and_leave(wait_s))

    async def _wait_and_leave(self, wait_s: float) -> None:
        """Wait while outcomes still come, then leave; a signal before we were in is an exit code of its own."""
        telling = asyncio.get_running_loop().call_later(LEAVING_TOLD_S, self._tell_leaving)
        with contextlib.suppress(TimeoutError):
            while self._is_pending and not self._over:
                async with asyncio.timeout(wait_s):
                    await self._change()
        telling.cancel()
        if self._interrupted:
            await self._chat.close()
        else:
            self._chat.ask(intents.Quit())

    @property
    def _is_pending(self) -> bool:
        return self._ledger.open_count > 0 or (self._must_join and not self._ready)

    async def _change(self) -> None:
        """Wait for any request's outcome, for being in, or for the end."""
        before = (self._ledger.open_count, self._ready)
        while (self._ledger.open_count, self._ready) == before and not self._over:
            self._changed.clear()
            await self._changed.wait()

    def _tell_leaving(self) -> None:
        if self._ready and not self._interrupted and self._ledger.open_count:
            self._face.leaving(self._ledger.open_count)

    def _watch_outage(self, state: str, queued: int) -> None:
        """An outage is told when it lasts; so is its end, then. Handovers are not."""
        self._queued = queued
        if state == "searching":
            if self._outage is None and not self._outage_told:
                wait_s, tell = (
                    (OUTAGE_TOLD_S, self._tell_outage) if self._ready else (JOINING_TOLD_S, self._tell_joining)
                )
                self._outage = asyncio.get_running_loop().call_later(wait_s, tell)
            return
        self._end_outage()
        if state == "live" and self._outage_told and self._ready:
            self._outage_told = False
            self._face.recovered(queued)

    def _tell_joining(self) -> None:
        self._outage = None
        self._outage_told = True
        self._face.joining()

    def _tell_outage(self) -> None:
        self._outage = None
        self._outage_told = True
        self._face.outage(self._queued)

    def _end_outage(self) -> None:
        if self._outage is not None:
            self._outage.cancel()
            self._outage = None
