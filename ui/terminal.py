"""urwid's screen and loop as the console needs them: never waited for, given back whole, put aside for plain text."""

import functools
import sys
import termios
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import urwid
from tornado.ioloop import IOLoop
from urwid.display import escape
from urwid.display.raw import Screen

from ui.outlet import Outlet

_LINE_AWAY = "\r\x1b[K"


class TerminalScreen(Screen):
    """urwid's screen; all of Ctrl's letters are keys, also those that make a terminal signal, stop or go on.

    `is_aside`: the terminal shows what is on its normal screen.
    """

    def __init__(self, stdin: TextIO, outlet: Outlet) -> None:
        # Both are asked for without waiting for the terminal to say that it can: one that cannot ignores it.
        super().__init__(stdin, outlet, bracketed_paste_mode=True, focus_reporting=True)
        self.had_colors = int(self.colors)
        self.is_aside = False
        self._outlet = outlet

    def step_aside(self, lines: Sequence[str], note: str) -> None:
        """Print lines on the normal screen, where the terminal wraps, scrolls and marks them, and then a note.

        Keys come as before; nothing may be drawn until `come_back`.
        """
        self.set_mouse_tracking(False)
        plain = f"{escape.SI}\x1b[0m{escape.PrivateMode.ALTERNATE_SCREEN_BUFFER.disable_seq}{escape.SHOW_CURSOR}"
        self.write(plain + "\r\n".join([*lines, note]))
        self.flush()
        self.is_aside = True
        self._setup_G1_done = False  # the normal screen has sets of characters of its own

    def come_back(self) -> None:
        """Take the note away, and draw all of the screen at the next drawing."""
        self.write(_LINE_AWAY + escape.PrivateMode.ALTERNATE_SCREEN_BUFFER.enable_seq)
        self.is_aside = False
        self.clear()

    def retake(self) -> None:
        """Somebody else had the terminal: make it ours again, and draw all of it."""
        if self.started and termios.tcgetattr(sys.stdin.fileno())[3] & termios.ICANON:
            self.stop()
            self.start()
        self.clear()

    def _start(self, *args: Any, **kwargs: Any) -> None:
        super()._start(*args, **kwargs)
        descriptor = sys.stdin.fileno()
        mode = termios.tcgetattr(descriptor)
        mode[0] = (mode[0] | termios.ICRNL) & ~(termios.IXON | termios.INLCR | termios.IGNCR | termios.ISTRIP)
        mode[3] &= ~termios.ISIG
        termios.tcsetattr(descriptor, termios.TCSANOW, mode)

    def _stop(self) -> None:
        if self.is_aside:  # so that the cursor is behind what was printed when the screen is left in the usual way
            self.come_back()
        try:
            super()._stop()
        finally:
            self._outlet.drain()


class MainLoop(urwid.MainLoop):
    """urwid's, but when to draw is decided elsewhere: `idle` is called whenever it might be time."""

    def __init__(
        self,
        widget: urwid.Widget,
        screen: Screen,
        event_loop: urwid.TornadoEventLoop,
        pressed: Callable[[Sequence[Any], Sequence[int]], list[Any]],
        idle: Callable[[], None],
    ) -> None:
        super().__init__(widget, screen=screen, event_loop=event_loop, input_filter=pressed, handle_mouse=False)
        self._idle = idle

    def entering_idle(self) -> None:
        """Input has been read, or an alarm has rung."""
        if self.screen.started:
            self._idle()


class SharedLoop(urwid.TornadoEventLoop):
    """urwid's on tornado's, but an error in a callback goes to `failed` instead of stopping the loop of us all."""

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        super().__init__(IOLoop.current())
        self._failed = failed

    def handle_exit(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a callback."""

        @functools.wraps(f)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                return f(*args, **kwargs)
            except Exception as error:  # noqa: BLE001  # it is passed on
                self._failed(error)
                return False

        return wrapper
