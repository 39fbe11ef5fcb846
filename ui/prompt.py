"""Lines typed at a terminal: edited, recalled and completed, while what is printed scrolls above them."""

import asyncio
import contextlib
import os
import signal
import sys
import termios
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from ui import commands
from ui.files import names_like
from ui.foot import Foot
from ui.keys import KeyReader, apart
from ui.line_editor import Choices, Ended, Entered, Interrupted, LineEditor, ScreenCleared, echo
from ui.safe_text import safe_line
from ui.splitter import TooLong
from wire import limits

_COLUMNS = 80  # of a terminal that does not tell
_PASTES_MARKED, _PASTES_UNMARKED = "\x1b[?2004h", "\x1b[?2004l"


class PromptInput:
    """Lines typed at a terminal, with editing, recall and completion; what is printed goes above the half-typed one.

    Keys are read, and the screen is written, in the loop: nothing can come in between. urwid decodes the keys and edits
    the line. Its raw screen would take the whole terminal, while what is printed here is to scroll up and stay in the
    terminal's history; so the terminal's mode is set here.
    """

    def __init__(self, descriptor: int, line_bytes_max: int, nicks: Callable[[], Sequence[str]]) -> None:
        """Nothing changes at the terminal before `lines`.

        Raises:
            termios.error: this is no terminal.
        """
        self._descriptor = descriptor
        self._keys = KeyReader()
        self._editor = LineEditor(lambda line: commands.complete(line, nicks(), names_like), line_bytes_max)
        self._foot = Foot(self._editor)
        self._lines: asyncio.Queue[bytes | TooLong | None] = asyncio.Queue()
        self._saved: list[Any] = termios.tcgetattr(descriptor)
        self._running = False
        self._is_read = True  # while somebody takes the lines; later only Ctrl+C still means something

    async def lines(self) -> AsyncIterator[bytes | TooLong]:
        """Lines as they are entered, until Ctrl+D on an empty one."""
        loop = asyncio.get_running_loop()
        self._running = True
        self._take_terminal()
        self._draw()
        loop.add_reader(self._descriptor, self._read)
        loop.add_signal_handler(signal.SIGWINCH, self._resized)
        loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        loop.add_signal_handler(signal.SIGCONT, self._resume)
        try:
            while (line := await self._lines.get()) is not None:
                yield line
        finally:
            self._is_read = False

    def close(self) -> None:
        """Give the terminal back as it was; a half-typed line and texts that still wait stay to be seen."""
        if not self._running:
            return
        self._running = False
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._descriptor)
        for number in (signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT):
            loop.remove_signal_handler(number)
        _write(self._foot.leave())
        self._give_terminal_back()

    # --- what is shown ------------------------------------------------------------------------------------------------

    def print(self, lines: Sequence[str]) -> None:
        """Print whole lines above the half-typed one."""
        if self._running:
            _write(self._foot.print(lines, self._columns()))
        else:
            _write("".join(f"{line}\n" for line in lines))

    def entered(self, line: str, number: int | None) -> None:
        """Show an entered line above the next one; one with a number only until `settled` is called for it."""
        if number is None:
            self.print([echo(line)])
        else:
            self._foot.hold(number, line)
            self._draw()

    def settled(self, number: int, *, keep: bool) -> None:
        """The outcome of a held line is known: it goes, or stays (`keep`) among what was printed."""
        line = self._foot.let_go(number)
        if line is not None and keep:
            self.print([echo(line)])

    def clear(self) -> bool:
        """A blank screen but for the line being typed, as by Ctrl+L."""
        _write(self._foot.draw_alone(self._columns()))
        return True

    def _draw(self) -> None:
        if self._running:
            _write(self._foot.draw(self._columns()))

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._descriptor).columns or _COLUMNS
        except OSError:
            return _COLUMNS

    # --- keys ---------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 64 * limits.KIB)
        except OSError:
            data = b""  # a terminal that is gone
        if not data:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            self._lines.put_nowait(None)
            return
        keys = self._keys.feed(data)
        if not self._is_read:
            keys = [key for key in keys if key == "ctrl c"]
        for key in [one for pressed in keys for one in apart(pressed, self._editor.knows)]:
            match self._editor.press(key):
                case Entered(TooLong() as line):
                    self._lines.put_nowait(line)
                case Entered(str() as line):
                    self._lines.put_nowait(line.encode(errors="surrogateescape"))
                case Ended():
                    self._lines.put_nowait(None)
                case Interrupted():
                    signal.raise_signal(signal.SIGINT)  # from here on as if the terminal had done it
                case Choices(words):
                    self.print([f"-- {'  '.join(map(safe_line, words))}"])
                case ScreenCleared():
                    self.clear()
        self._draw()

    # --- the terminal -------------------------------------------------------------------------------------------------

    def _take_terminal(self) -> None:
        """Keys one by one and unechoed; Ctrl+C is a key, as it first of all takes back what is half-typed."""
        mode = termios.tcgetattr(self._descriptor)
        mode[0] = (mode[0] | termios.ICRNL) & ~(termios.IXON | termios.INLCR | termios.IGNCR | termios.ISTRIP)
        mode[1] |= termios.OPOST | termios.ONLCR
        mode[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
        unused = os.fpathconf(self._descriptor, "PC_VDISABLE").to_bytes(1, "little")
        mode[6][termios.VINTR], mode[6][termios.VMIN], mode[6][termios.VTIME] = unused, 1, 0
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, mode)
        _write(_PASTES_MARKED)

    def _give_terminal_back(self) -> None:
        _write(_PASTES_UNMARKED)
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._saved)

    def _resized(self) -> None:
        _write(self._foot.draw_anew(self._columns()))

    def _suspend(self) -> None:
        """Ctrl+Z: not every shell gets a terminal back into shape by itself."""
        _write("\n")
        self._give_terminal_back()
        os.kill(os.getpid(), signal.SIGSTOP)

    def _resume(self) -> None:
        self._take_terminal()
        _write(self._foot.draw_anew(self._columns()))


def _write(text: str) -> None:
    """Write to the terminal; when it is gone that is not an error: its end of input is what ends the chat."""
    if text:
        with contextlib.suppress(OSError):
            sys.stdout.write(text)
            sys.stdout.flush()
