"""A command at a terminal of its own: type, wait for what the screen shows, compare how the terminal is set."""

import codecs
import fcntl
import os
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyte

from tests.support.processes import PATIENCE_S, environment

_WHOLE_FRAME_S = 0.03  # when nothing has come for so long, no more of a frame is on its way
# The first process of a new session makes the terminal its own, as a login does; then it becomes the command.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)

ENTER, ESCAPE, TAB, BACKSPACE = "\r", "\x1b", "\t", "\x7f"
UP, LEFT = "\x1b[A", "\x1b[D"
PAGE_UP, PAGE_DOWN, END = "\x1b[5~", "\x1b[6~", "\x1b[F"
FOCUS_IN, FOCUS_OUT = "\x1b[I", "\x1b[O"
PASTE_BEGIN, PASTE_END = "\x1b[200~", "\x1b[201~"


# What a terminal says of itself, wherever the tests run.
_USUAL = {"LC_ALL": "C.UTF-8"} | dict.fromkeys(("NO_COLOR", "FORCE_COLOR", "COLORTERM", "COLORFGBG"), "")
# What a full-screen program turns on, by its number; off again, the terminal is as it was.
MODES = {"alternate screen": 1049, "bracketed paste": 2004, "focus reports": 1004, "mouse": 1000}


def ctrl(letter: str) -> str:
    """The character that Ctrl and a letter give."""
    return chr(ord(letter.upper()) ^ 0x40)


def alt(key: str) -> str:
    """What Alt and a key give."""
    return ESCAPE + key


class Terminal:
    """A pseudo-terminal, what runs at it, and a screen that shows what came out, as a terminal would.

    What comes out is read whenever something is waited for.
    """

    def __init__(
        self,
        command: list[str],
        home: Path,
        columns: int = 80,
        rows: int = 60,
        kind: str = "xterm",
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.command = command
        self.output = b""  # everything that ever came out
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._master, self._slave = os.openpty()
        self._is_open = True
        self.resize(columns, rows)
        self.settings = self.current_settings()  # before anything ran
        self.popen = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *command],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env={**environment(home), **_USUAL, "TERM": kind, **(variables or {})},
            cwd=home,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.signal_all(signal.SIGKILL)
        self.popen.wait(PATIENCE_S)
        self.close()

    # --- in --------------------------------------------------------------------------------------------------------

    def type(self, text: str) -> None:
        """Press keys."""
        waiting = text.encode(errors="surrogateescape")
        deadline = time.monotonic() + PATIENCE_S
        while waiting:
            assert time.monotonic() < deadline, "the terminal takes no more keys"
            _, writable, _ = select.select([], [self._master], [], 0.1)
            if writable:
                waiting = waiting[os.write(self._master, waiting[:256]) :]
            self._read(0)  # whoever echoes must find room for it

    def type_unread(self, text: str) -> None:
        """Press keys, while nobody reads what comes out."""
        waiting = text.encode(errors="surrogateescape")
        while waiting:
            _, writable, _ = select.select([], [self._master], [], PATIENCE_S)
            assert writable, "the terminal takes no more keys"
            waiting = waiting[os.write(self._master, waiting[:256]) :]

    def stuff(self) -> None:
        """Fill the terminal with what is not seen: until something is read, it takes less than a screen."""
        descriptor = os.open(os.ttyname(self._slave), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        unread, before = b"", None
        while unread != before or not any(unread):
            try:
                while os.write(descriptor, bytes(1024)):
                    pass
            except BlockingIOError:
                before, unread = unread, fcntl.ioctl(self._master, termios.FIONREAD, bytes(4))
        os.close(descriptor)

    def enter(self, line: str) -> None:
        """Type a line and press Enter."""
        self.type(line + ENTER)

    def resize(self, columns: int, rows: int) -> None:
        """Another size of the window; what runs in it is told."""
        termios.tcsetwinsize(self._slave, (rows, columns))
        self._screen.resize(rows, columns)

    def close(self) -> None:
        """Close the window: the terminal is gone, and whoever has it as its own gets SIGHUP."""
        if self._is_open:
            self._is_open = False
            os.close(self._slave)
            os.close(self._master)

    def signal(self, number: int) -> None:
        """Send a signal to the command alone."""
        self.popen.send_signal(number)

    def signal_all(self, number: int) -> None:
        """Send a signal to the command and its children."""
        try:
            os.killpg(self.popen.pid, number)
        except ProcessLookupError:
            pass

    # --- out -------------------------------------------------------------------------------------------------------

    @property
    def screen(self) -> list[str]:
        """The rows of the screen down to the last one that is not blank."""
        rows = [row.rstrip() for row in self._screen.display]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    @property
    def modes(self) -> set[str]:
        """Those of MODES that are on. The screen here has no alternate one: what was on it stays to be seen."""
        return {
            name
            for name, number in MODES.items()
            if self.output.rfind(b"\x1b[?%dh" % number) > self.output.rfind(b"\x1b[?%dl" % number)
        }

    @property
    def afterwards(self) -> str:
        """What was printed since the full screen was left last."""
        # Half of a character may have come.
        text = codecs.getincrementaldecoder("utf-8")().decode(self.output.rpartition(b"\x1b[?1049l")[2])
        return text.removeprefix("\x1b[?25h").replace("\r\n", "\n")

    @property
    def cursor(self) -> tuple[int, int]:
        """Row and column of the cursor, from 0."""
        return self._screen.cursor.y, self._screen.cursor.x

    def until(self, holds: Callable[[list[str]], Any], what: str = "that") -> list[str]:
        """Wait until `holds` is true of the screen; returns the screen."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            has_ended = self.popen.poll() is not None
            # Half a frame is nothing to judge by: the rest comes at once.
            while self._read(_WHOLE_FRAME_S) and time.monotonic() < deadline:
                pass
            if holds(self.screen):
                return self.screen
            if has_ended or time.monotonic() > deadline:
                shown = "\n".join(self.screen)
                raise AssertionError(f"the screen never showed {what}; exit code {self.popen.poll()}:\n{shown}")
            self._read(0.2)

    def sees(self, *texts: str) -> list[str]:
        """Wait until each of these is in some row of the screen; returns the screen."""
        return self.until(
            lambda rows: all(any(text in row for row in rows) for text in texts), " and ".join(map(repr, texts))
        )

    def last(self, *rows: str) -> None:
        """Wait until these are the last rows of the screen."""
        self.until(lambda screen: screen[-len(rows) :] == list(rows), f"{rows} at the end")

    def wait(self) -> int:
        """Its exit code; what it says until then is read."""
        deadline = time.monotonic() + PATIENCE_S
        while self.popen.poll() is None:
            assert time.monotonic() < deadline, f"{self.command} does not end:\n" + "\n".join(self.screen)
            self._read(0.05)
        while self._read(0):
            pass
        return self.popen.returncode

    def current_settings(self) -> list[Any]:
        """How the terminal is set at this moment."""
        return termios.tcgetattr(self._slave)

    def until_settings(self, holds: Callable[[list[Any]], bool]) -> None:
        """Wait until `holds` is true of how the terminal is set."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds(self.current_settings()):
            assert time.monotonic() < deadline, "the terminal was not set so"
            self._read(0.05)

    def until_stopped(self) -> None:
        """Wait until the command stands still, as Ctrl+Z makes it."""
        deadline = time.monotonic() + PATIENCE_S
        while os.waitid(os.P_PID, self.popen.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is None:
            assert time.monotonic() < deadline, "it does not stop"
            self._read(0.05)

    def _read(self, patience_s: float) -> bool:
        """Take what has come out; False if nothing did."""
        readable, _, _ = select.select([self._master], [], [], patience_s)
        if not readable:
            return False
        data = os.read(self._master, 65536)
        self.output += data
        self._stream.feed(data)
        return True
