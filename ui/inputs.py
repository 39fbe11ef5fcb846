"""Where typed lines come from: any file descriptor, or a terminal with readline."""

import asyncio
import contextlib
import ctypes
import os
import shutil
import sys
import termios
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from types import ModuleType
from typing import Any, Protocol

from ui import commands
from ui.splitter import Splitter, TooLong
from ui.wording import cells
from wire import limits

PROMPT_WAIT_S = 0.05


class Source(Protocol):
    """Where lines come from."""

    def lines(self) -> AsyncIterator[bytes | TooLong]:
        """Lines as they come, until the end of input."""


class StreamInput:
    """Lines of a file descriptor of any kind (pipe, file, terminal), read by a thread, one chunk ahead at most."""

    def __init__(self, descriptor: int, line_bytes_max: int) -> None:
        self._descriptor = descriptor
        self._splitter = Splitter(line_bytes_max)
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self._wanted = threading.Semaphore(0)

    async def lines(self) -> AsyncIterator[bytes | TooLong]:
        """Lines as they come, until the end of input."""
        loop = asyncio.get_running_loop()
        # A daemon: it may sit in a read that never returns, and os.read holds no lock the exit would wait for.
        threading.Thread(target=self._read, args=(loop,), name="input", daemon=True).start()
        while True:
            self._wanted.release()
            data = await self._chunks.get()
            for line in self._splitter.feed(data) if data else self._splitter.end():
                yield line
            if not data:
                return

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        data = b"more"
        while data:
            self._wanted.acquire()
            try:
                data = os.read(self._descriptor, 64 * limits.KIB)
            except OSError:
                data = b""  # a closed or broken input is an ended one
            if not _hand_over(loop, self._chunks, data):
                return


class PromptInput:
    """Lines typed at a terminal, with the editing and recall of readline; output goes round the half-typed line."""

    PROMPT = "> "

    def __init__(self, readline: ModuleType, nicks: Callable[[], Sequence[str]]) -> None:
        self._readline = readline
        self._nicks = nicks
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._running = False
        self._prompting = threading.Event()
        self._found: list[str] = []
        self._point = _rl_point(readline)
        self._saved = _terminal_state()

    async def lines(self) -> AsyncIterator[bytes | TooLong]:
        """Lines as they are entered, until Ctrl+D on an empty one."""
        self._readline.set_completer_delims("")
        self._readline.set_completer(self._complete)
        self._readline.parse_and_bind(
            "bind ^I rl_complete" if "libedit" in (self._readline.__doc__ or "") else "tab: complete"
        )
        self._readline.set_pre_input_hook(self._begin)
        loop = asyncio.get_running_loop()
        self._running = True
        threading.Thread(target=self._read, args=(loop,), name="prompt", daemon=True).start()
        while line := await self._lines.get():
            yield line.removesuffix(b"\n")

    def print(self, lines: Sequence[str]) -> None:
        """Print whole lines above the half-typed one."""
        # Between two lines the thread writes the prompt: a moment later we know where the cursor is.
        if not self._running or not self._prompting.wait(PROMPT_WAIT_S):
            sys.stdout.write("".join(f"{line}\n" for line in lines))
        else:
            typed = self._readline.get_line_buffer()
            ahead = (
                typed.encode(errors="surrogateescape")[self._point() :].decode(errors="replace") if self._point else ""
            )
            sys.stdout.write(self._erase(typed, ahead) + "".join(f"{line}\n" for line in lines) + self.PROMPT + typed)
            sys.stdout.write("\b" * cells(ahead))
        sys.stdout.flush()

    def close(self) -> None:
        """Give the terminal back as it was: the thread still sits in readline, which has changed it."""
        self._running = False
        if self._prompting.is_set():
            self._prompting.clear()
            sys.stdout.write("\n")
            sys.stdout.flush()
        if self._saved is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._saved)

    def _erase(self, typed: str, ahead: str) -> str:
        columns = max(1, shutil.get_terminal_size().columns)
        rows = (cells(self.PROMPT) + cells(typed) - cells(ahead)) // columns
        return "\r" + "\x1b[A" * rows + "\x1b[J"

    def _begin(self) -> None:
        self._prompting.set()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        line = "more"
        while line:
            try:
                line = input(self.PROMPT) + "\n"
            except EOFError:
                line = ""
            except UnicodeDecodeError:
                line = "\udcff\n"  # the parser says that this is no proper text
            self._prompting.clear()
            if not _hand_over(loop, self._lines, line.encode(errors="surrogateescape")):
                return

    def _complete(self, _text: str, state: int) -> str | None:
        if state == 0:
            line = self._readline.get_line_buffer()
            head = line[: line.rfind(" ") + 1]
            self._found = [head + word for word in commands.complete(line, self._nicks())]
        return self._found[state] if state < len(self._found) else None


def _hand_over(loop: asyncio.AbstractEventLoop, queue: "asyncio.Queue[bytes]", data: bytes) -> bool:
    """Put into a queue of the loop from another thread; False when the loop is closed: the program ends."""
    try:
        loop.call_soon_threadsafe(queue.put_nowait, data)
    except RuntimeError:
        return False
    return True


def _rl_point(readline: ModuleType) -> Callable[[], int] | None:
    """How to ask readline where in the line the cursor is, in bytes; the module itself does not tell. None: no way."""
    try:
        point = ctypes.c_int.in_dll(ctypes.CDLL(readline.__file__), "rl_point")
    except (OSError, ValueError, TypeError):
        return None
    return lambda: point.value


def _terminal_state() -> list[Any] | None:
    """How the terminal is set, to be put back later; None: there is nothing to put back."""
    try:
        return termios.tcgetattr(sys.stdin.fileno())
    except (termios.error, OSError, ValueError):
        return None
