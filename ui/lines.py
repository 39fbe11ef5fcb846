"""The line client (`--plain`) and the JSON lines (`--json`), both over one `peer.client.Client`."""

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from peer import intents, notices
from peer.client import Client
from runtime import clock
from ui.inputs import Source
from ui.ledger import Ledger
from ui.parse import Nothing, Problem, ShowHelp, parse
from ui.splitter import TooLong
from ui.wording import (
    Wording,
    counted,
    error_line,
    joining_line,
    leaving_line,
    outage_line,
    recovered_line,
    too_long_line,
)
from wire import limits
from wire.exits import EXIT_LATE

PLAIN_LINE_BYTES_MAX = limits.TEXT_BYTES_MAX + limits.KIB  # a full text, and a command in front of it
JSON_LINE_BYTES_MAX = limits.FRAME_BYTES_MAX  # far over one escaped text, so that `too_long` is said with its tag
OUTAGE_TOLD_S = 5.0  # a handover takes milliseconds; by then it is also known whether anybody will serve
JOINING_TOLD_S = 2.0
END_OF_INPUT_WAIT_S = 30.0  # without any outcome: what was read before the end of input has failed
QUIT_WAIT_S = 5.0  # the same for a person who wants to leave
SIGNAL_WAIT_S = 2.0
LEAVING_TOLD_S = 1.0  # what takes longer to leave is explained
IN_FLIGHT_MAX = 1_000  # requests without an outcome; then input waits. Far under the outbox's own bound
_SEQ_MAX = 2**63 - 1


def local_stamp(utc_ms: int) -> str:
    """UTC milliseconds as local "YYYY-MM-DD HH:MM"; a time no calendar has is shown as the beginning of it."""
    try:
        return datetime.fromtimestamp(utc_ms / 1000).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return "0001-01-01 00:00"


# --- faces: how notices look, and what lines mean ---------------------------------------------------------------------


class Face(Protocol):
    """One way to talk to the user."""

    def show(self, notice: notices.AnyNotice) -> None:
        """Tell the user a notice."""

    def read(self, line: bytes | TooLong) -> intents.UserIntent | None:
        """What a line asks of the chat; None when it asks nothing (and the user was told why)."""

    def joining(self) -> None:
        """We have been trying to get in for a while."""

    def outage(self, queued: int) -> None:
        """There has been no server for a while."""

    def recovered(self, queued: int) -> None:
        """There is a server again after an outage that was told of."""

    def leaving(self, open_count: int) -> None:
        """We would have left by now, but wait for the outcome of requests."""


class Sheet(Protocol):
    """What lines of text are written on."""

    def print(self, lines: Sequence[str]) -> None:
        """Print whole lines."""

    def entered(self, line: str, number: int | None) -> None:
        """A line was entered; one with a number is replaced by what comes of it, when `settled` says so."""

    def settled(self, number: int, *, keep: bool) -> None:
        """The entered line of this number is replaced, or stays (`keep`)."""


class StandardOutput:
    """A pipe, a file, or a terminal that shows by itself what is typed."""

    def print(self, lines: Sequence[str]) -> None:
        """Print whole lines."""
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()

    def entered(self, line: str, number: int | None) -> None:
        """Nothing: whoever entered it knows."""

    def settled(self, number: int, *, keep: bool) -> None:
        """Nothing: there is no taking back what was written."""


class PlainFace:
    """Lines of text.

    An own text is seen as it was entered until it comes back from the room, with its time and in its place.
    """

    def __init__(self, service: str, dns: Sequence[str], sheet: Sheet | None = None) -> None:
        self._service = service
        self._dns = dns
        self.wording = Wording(dns, local_stamp, clock.utc_ms())
        self.sheet: Sheet = sheet or StandardOutput()
        self._texts: dict[int, str] = {}  # own posts and private texts without an outcome, by their tag
        self._number = 0
        self._unsaid: notices.Fault | notices.Refusal | None = None

    def show(self, notice: notices.AnyNotice) -> None:
        """Tell the user a notice."""
        match notice:
            case notices.Fault() | notices.Refusal(tag=None):
                # When it ends the chat, the goodbye comes with it and says the same once more.
                self._say_unsaid()
                self._unsaid = notice
                asyncio.get_running_loop().call_soon(self._say_unsaid)
                return
            case notices.Bye(reason=reason) if self._unsaid is not None and self._unsaid.message == reason:
                self._unsaid = None
        self._say(notice)

    def _say_unsaid(self) -> None:
        notice, self._unsaid = self._unsaid, None
        if notice is not None:
            self._say(notice)

    def _say(self, notice: notices.AnyNotice) -> None:
        match notice:
            case notices.Message(own=True, past=msgspec.UNSET):
                self._settle(next((number for number, text in self._texts.items() if text == notice.text), None))
            case notices.Private(state="queued", tag=int() as number):
                self._settle(number)
            case notices.Private(state="failed", tag=int() as number) | notices.Refusal(tag=int() as number):
                self._settle(number, keep=True)
        self._print(self.wording.lines(notice, clock.utc_ms()))

    def read(self, line: bytes | TooLong) -> intents.UserIntent | None:
        """What a line asks of the chat; None when it asks nothing (and the user was told why)."""
        if isinstance(line, TooLong):
            self._print([too_long_line()])
            return None
        typed = line.decode(errors="surrogateescape")
        meant = parse(typed)
        if isinstance(meant, intents.Say | intents.Tell):
            self._number += 1
            self._texts[self._number] = meant.text
            self.sheet.entered(typed, self._number)
            return msgspec.structs.replace(meant, tag=self._number)
        if not isinstance(meant, Nothing):
            self.sheet.entered(typed, None)
        match meant:
            case Nothing():
                return None
            case Problem(sentence):
                self._print([error_line(sentence)])
                return None
            case ShowHelp(lines):
                self._print([f"-- {text}" for text in lines])
                return None
            case intent:
                return intent

    def joining(self) -> None:
        """We have been trying to get in for a while."""
        self._print([joining_line(self._service, self._dns)])

    def outage(self, queued: int) -> None:
        """There has been no server for a while."""
        self._print([outage_line(queued)])

    def recovered(self, queued: int) -> None:
        """There is a server again after an outage that was told of."""
        self._print([recovered_line(queued)])

    def leaving(self, open_count: int) -> None:
        """We would have left by now, but wait for the outcome of requests."""
        self._print([leaving_line(open_count)])

    def _settle(self, number: int | None, *, keep: bool = False) -> None:
        if number is not None and self._texts.pop(number, None) is not None:
            self.sheet.settled(number, keep=keep)

    def _print(self, lines: Sequence[str]) -> None:
        if lines:
            self.sheet.print(lines)


def print_json(notice: notices.AnyNotice) -> None:
    """One notice as one line on standard output, at once."""
    sys.stdout.buffer.write(msgspec.json.encode(notice) + b"\n")
    sys.stdout.buffer.flush()


class JsonFace:
    """One JSON object a line; names of keys and events are those of the notices and intents."""

    _decoder = msgspec.json.Decoder(intents.UserIntent)

    def show(self, notice: notices.AnyNotice) -> None:
        """Tell the user a notice."""
        print_json(notice)

    def read(self, line: bytes | TooLong) -> intents.UserIntent | None:
        """What a line asks of the chat; None when it asks nothing (and the user was told why)."""
        if isinstance(line, TooLong):
            self._bad("too_long", f"a line has at most {line.bytes_max} bytes; this one was not read")
            return None
        try:
            intent: intents.UserIntent = self._decoder.decode(line)
            msgspec.json.encode(getattr(intent, "tag", None))  # what cannot be said back is not taken
        except (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError) as error:
            self._bad("malformed", f"this line asks for nothing: {error}")
            return None
        match intent:
            case intents.AskHistory(before=before) if not 0 <= before <= _SEQ_MAX:
                self._bad("malformed", "this line asks for nothing: `before` is no seq")
                return None
            case intents.AskHistory(count=count) | intents.AskSearch(count=count) if count < 1:
                self._bad("malformed", "this line asks for nothing: `count` should be 1 or more")
                return None
        return intent

    def joining(self) -> None:
        """Nothing: there is no `ready` event yet."""

    def outage(self, queued: int) -> None:
        """Nothing: the `state` events tell."""

    def recovered(self, queued: int) -> None:
        """Nothing: the `state` events tell."""

    def leaving(self, open_count: int) -> None:
        """Nothing: whoever asked knows."""

    def _bad(self, code: str, message: str) -> None:
        self.show(notices.Fault(code=code, message=message))


# --- the conversation -------------------------------------------------------------------------------------------------


class Conversation:
    """Moves lines to the chat and notices to the user until one of them ends.

    Leaving, for whatever reason, waits a bounded time for the outcome of what was asked for.
    """

    def __init__(self, chat: Client, face: Face, source: Source) -> None:
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
            return (
                f"{counted(late, 'text')} of yours not acknowledged in time, so perhaps not posted."
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
        if not reading.cancelled() and reading.exception() is not None:
            self._failure = reading.exception()
            self._leave(0)

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
