"""How a user sees the chat as lines (`--plain`) or as JSON objects (`--json`), and what such lines ask for."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from peer import intents, notices
from runtime import clock
from ui import files, parse
from ui.export import Export
from ui.keymap import plain_help_lines
from ui.splitter import TooLong
from ui.wording import (
    EXPORT_UNDER_WAY,
    NOBODY_TO_ANSWER,
    NOTHING_TO_EXPORT,
    TOO_LONG,
    Wording,
    error_line,
    joining_line,
    leaving_line,
    outage_line,
    queue_answer,
    recovered_line,
    refusal_sentence,
)
from wire import limits

PLAIN_LINE_BYTES_MAX = limits.TEXT_BYTES_MAX + limits.KIB  # a full text, and a command in front of it
JSON_LINE_BYTES_MAX = limits.FRAME_BYTES_MAX  # far over one escaped text, so that `too_long` is said with its tag
_SEQ_MAX = 2**63 - 1


def local_stamp(utc_ms: int) -> str:
    """UTC milliseconds as local "YYYY-MM-DD HH:MM"; a time no calendar has is shown as the beginning of it."""
    try:
        return datetime.fromtimestamp(utc_ms / 1000).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return "0001-01-01 00:00"


class Sheet(Protocol):
    """What lines of text are written on."""

    def print(self, lines: Sequence[str]) -> None:
        """Print whole lines."""

    def entered(self, line: str, number: int | None) -> None:
        """A line was entered; one with a number is replaced by what comes of it, when `settled` says so."""

    def settled(self, number: int, *, keep: bool) -> None:
        """The entered line of this number is replaced, or stays (`keep`)."""

    def clear(self) -> bool:
        """Take away what was printed; False: this is nothing that could be taken away from."""


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

    def clear(self) -> bool:
        """Nothing, either."""
        return False


class PlainFace:
    """Lines of text.

    An own text is seen as it was entered until it comes back from the room, with its time and in its place.
    """

    def __init__(self, service: str, dns: Sequence[str], sheet: Sheet | None = None) -> None:
        self._service = service
        self._dns = dns
        self.wording = Wording(dns, local_stamp, clock.utc_ms())
        self.sheet: Sheet = sheet or StandardOutput()
        # Own posts and private texts by their tag: whose entered line still stands, and which have no outcome.
        self._held: dict[int, intents.Say | intents.Tell] = {}
        self._open: dict[int, intents.Say | intents.Tell] = {}
        self._number = 0
        self._head = 0  # the last message there is
        self._export: Export | None = None
        self._asks: list[intents.UserIntent] = []
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
                self._came_back(notice.text)
            case notices.Private(state="queued", tag=int() as number):
                self._settle(number)
            case notices.Private(state="failed", tag=int() as number) | notices.Refusal(tag=int() as number):
                self._settle(number, keep=True)
        match notice:
            case notices.Posted(tag=int() as number) | notices.Refusal(tag=int() as number):
                self._open.pop(number, None)
            case notices.Private(state="delivered" | "failed", tag=int() as number):
                self._open.pop(number, None)
            case notices.Message():
                self._head = notice.seq
            case notices.HistoryPage() if self._export is not None and self._export.expects(notice):
                self._collect(self._export, notice)
                return
            case notices.Refusal(what="history") if self._export is not None:
                self._export = None
                self._complain(f"Not exported: {refusal_sentence(notice)}")
                return
            case notices.Queue():
                told = [("", one.to, one.text) for one in self._open.values() if isinstance(one, intents.Tell)]
                self._print([f"-- {text}" for text in queue_answer(notice, told)])
                return
            case notices.Fault(code="fresh_start"):
                self._export = None
        self._print(self.wording.lines(notice, clock.utc_ms()))

    def _came_back(self, text: str) -> None:
        """An own post is shown by the room; its acknowledgement may come before or after."""
        for number, one in self._held.items():
            if isinstance(one, intents.Say) and one.text == text:
                self._open.pop(number, None)
                self._settle(number)
                return

    def asks(self) -> Sequence[intents.UserIntent]:
        """What this face wants to know after what it was shown."""
        asks, self._asks = self._asks, []
        return asks

    def read(self, line: bytes | TooLong) -> intents.UserIntent | None:
        """What a line asks of the chat; None when it asks nothing (and the user was told why)."""
        if isinstance(line, TooLong):
            self._complain(TOO_LONG)
            return None
        typed = line.decode(errors="surrogateescape")
        meant = parse.parse(typed)
        match meant:
            case parse.Nothing():
                return None
            case intents.Say() | intents.Tell():
                return self._send(meant, typed)
            case parse.Reply(text) if self.wording.people.reply_to:
                return self._send(intents.Tell(self.wording.people.reply_to, text), typed)
        self.sheet.entered(typed, None)
        if isinstance(meant, parse.ShowQueue):
            return intents.AskQueue()
        if isinstance(meant, parse.Export):
            return self._begin_export(meant.path)
        if isinstance(meant, parse.Problem | parse.Local):
            self._do(meant)
            return None
        return meant

    def _send(self, meant: intents.Say | intents.Tell, typed: str) -> intents.UserIntent:
        self._number += 1
        numbered = msgspec.structs.replace(meant, tag=self._number)
        self._held[self._number] = self._open[self._number] = numbered
        self.sheet.entered(typed, self._number)
        if isinstance(meant, intents.Tell):
            self.wording.people.addressed(meant.to)
        return numbered

    def _do(self, meant: parse.Problem | parse.Local) -> None:
        """What concerns nobody else."""
        match meant:
            case parse.Problem(sentence):
                self._print([error_line(sentence)])
            case parse.ShowHelp(lines):
                self._print([f"-- {text}" for text in lines])
            case parse.ShowKeys():
                self._print([f"-- {text}" for text in plain_help_lines()])
            case parse.Reply():
                self._complain(NOBODY_TO_ANSWER)
            case parse.ShowTopic():
                self._print(self.wording.topic())
            case parse.Ignore(nick):
                self._print(self.wording.ignore(nick))
            case parse.Clear():
                if not self.sheet.clear():
                    self._complain("There is nothing to clear: this is no terminal that could be cleared.")
            case parse.Close():
                self._complain("There is nothing to close: only the full-screen console has pages.")
            case parse.Set():
                self._complain("/set belongs to the full-screen console; here, all is set by options at the start.")

    def _begin_export(self, path: str) -> intents.UserIntent | None:
        if self._export is not None:
            self._complain(EXPORT_UNDER_WAY)
        elif not self._head:
            self._complain(NOTHING_TO_EXPORT)
        else:
            self._export = Export(path, self._head)
            return self._export.question
        return None

    def _collect(self, export: Export, part: notices.HistoryPage) -> None:
        if not export.take(part):
            self._asks.append(export.question)
            return
        self._export = None
        try:
            self._print([f"-- {files.write_export(export, local_stamp)}"])
        except files.NotWritten as error:
            self._complain(f"Not exported: {error}.")

    def _complain(self, sentence: str) -> None:
        self._print([error_line(sentence)])

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

    def _settle(self, number: int, *, keep: bool = False) -> None:
        if self._held.pop(number, None) is not None:
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

    def asks(self) -> Sequence[intents.UserIntent]:
        """Nothing: whoever is at the other end asks."""
        return ()

    def _bad(self, code: str, message: str) -> None:
        self.show(notices.Fault(code=code, message=message))
