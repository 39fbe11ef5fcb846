"""The full-screen console: urwid's loop on the program's own, keys to the model, notices to the model, the model drawn.

Nothing is drawn for a notice: it only makes the screen out of date, and there are at most DRAWS_PER_S draws a second.
What a key changes is drawn at once. A terminal that has not taken the last drawing yet gets no other.
"""

import asyncio
import contextlib
import errno
import logging
import os
import signal
import sys
import termios
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from urwid.display.common import InputClosedError

from peer import intents, notices
from runtime import clock
from ui import commands, files, palette
from ui.export import Export
from ui.faces import local_stamp
from ui.hearing import Applied, Ask, Ring
from ui.keymap import Keymap
from ui.keys import UNREADABLE, KeyReader, Pasted, apart, is_lone
from ui.line_editor import RowsEditor, Snapshot
from ui.model import Model
from ui.outlet import Outlet
from ui.page import Page
from ui.terminal import MainLoop, SharedLoop, TerminalScreen
from ui.view import Scroll, View
from ui.wording import counted
from wire import limits

DRAWS_PER_S = 30
TYPED_CHARS_MAX = 4 * limits.TEXT_BYTES_MAX  # chosen: beyond a text's size, so that one sees by how much
_REST = 3  # after a slow drawing, this many times as long for everything else
_WHEEL_ROWS = 3
_PAGE_OF_FOUND = 10
_CHARACTER_S = 0.1  # chosen: for the rest of a character of several bytes; it comes at once, if at all
_BARE_LINES_MAX = 1_000  # chosen: of text to copy; who wants more has /export

_NOT_UTF8 = (
    "Left out what is no character: this terminal does not send UTF-8. Set it to that, or LC_ALL to its charset."
)
_BARE_NOTE = "any key returns to the chat"

_SCROLLS: Mapping[str, Scroll] = {
    "page-up": "page up",
    "page-down": "page down",
    "line-up": "up",
    "line-down": "down",
    "top": "top",
}
# Actions of the editor, by the key it knows them as.
_EDITS = {
    "newline": "meta enter",
    "history-back": "up",
    "history-forward": "down",
    "complete": "tab",
    "complete-back": "shift tab",
}
_YES, _NO = ("y", "Y", "ctrl y", "enter"), ("n", "N", "ctrl n", "esc", "ctrl c")
_PICKS = {"up": -1, "down": 1, "page up": -_PAGE_OF_FOUND, "page down": _PAGE_OF_FOUND}

log = logging.getLogger("relevo.console")


@dataclass(slots=True)
class _Typing:
    """A page, and what is being typed there. `before`: as it was before a paste that is asked about."""

    page: Page
    editor: RowsEditor
    before: Snapshot | None = None


class Console:
    """A face, and a source of what is asked for, for `ui.conversation.Conversation`.

    Nothing changes at the terminal before `lines`. Whatever fails inside gives the terminal back and is passed to
    `fails`; a terminal that is gone is a reason to leave, passed to `hangs_up`.
    """

    def __init__(self, model: Model, keymap: Keymap, environment: Mapping[str, str]) -> None:
        self.fails: Callable[[BaseException], None] = _raise
        self.hangs_up: Callable[[], None] = _leave_by_signal
        self._model = model
        self._keymap = keymap
        self._environment = environment
        self._charset = palette.charset_of(environment)
        self._typings = {id(model.current): self._typing_on(model.current)}
        self._view = View(model, self._typing.editor, local_stamp, self._signs(), self._charset)
        self._asked: asyncio.Queue[intents.UserIntent] = asyncio.Queue()
        self._keys = KeyReader(self._charset)
        self._main: MainLoop | None = None
        self._screen: TerminalScreen | None = None
        self._outlet: Outlet | None = None
        self._drawing: asyncio.TimerHandle | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._completing: asyncio.TimerHandle | None = None
        self._rests_until = 0.0
        self._is_stale = True
        self._is_ringing = False
        self._is_leaving = False
        self._is_refusing = False  # the rest of a paste, of which there was too much
        self._exports: set[asyncio.Task[None]] = set()

    # --- a source -----------------------------------------------------------------------------------------------------

    async def lines(self) -> AsyncIterator[intents.UserIntent]:
        """Take the terminal; then what the reader asks of the chat, until one asks to leave."""
        self._open()
        while True:
            yield await self._asked.get()

    def _open(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._failed_somewhere)
        self._outlet = Outlet(sys.stdout.fileno(), self._charset, self._freed, self._failed)
        self._screen = TerminalScreen(sys.stdin, self._outlet)
        self._main = MainLoop(self._view.widget, self._screen, SharedLoop(self._failed), self._pressed, self._idle)
        self._paint()
        self._main.start()
        loop.add_signal_handler(signal.SIGCONT, self._continued)
        self._tick()

    def close(self) -> None:
        """Give the terminal back as it was."""
        main, self._main = self._main, None
        if main is None:
            return
        for timer in (self._drawing, self._ticking, self._completing):
            if timer is not None:
                timer.cancel()
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGCONT)
        loop.set_exception_handler(None)
        with contextlib.suppress(OSError, termios.error):  # a terminal that is gone
            main.stop()
        if self._outlet is not None:
            self._outlet.close()

    # --- a face -------------------------------------------------------------------------------------------------------

    def show(self, notice: notices.AnyNotice) -> None:
        """Tell the reader a notice."""
        self._model.fold(notice, clock.utc_ms())
        self._settle()

    def read(self, line: intents.UserIntent) -> intents.UserIntent:
        """What was asked for is an intent already."""
        return line

    def asks(self) -> Sequence[intents.UserIntent]:
        """Nothing in this way: its questions come with what is entered."""
        return ()

    def joining(self) -> None:
        """We have been trying to get in for a while."""
        self._model.joining()
        self._settle()

    def outage(self, queued: int) -> None:  # noqa: ARG002  # the model knows
        """There has been no server for a while."""
        self._model.lost()
        self._settle()

    def recovered(self, queued: int) -> None:  # noqa: ARG002  # likewise
        """There is a server again after an outage that was told of."""
        self._model.recovered()
        self._settle()

    def leaving(self, open_count: int) -> None:
        """We would have left by now, but wait for the outcome of requests."""
        self._model.leaving(open_count)
        self._settle()

    # --- drawing ------------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """The model has changed: do what it wants done, and draw it before long."""
        self._perform()
        self._is_stale = True
        if self._drawing is None and self._main is not None:
            loop = asyncio.get_running_loop()
            self._drawing = loop.call_at(max(self._rests_until, loop.time()), self._draw_in_time)

    def _perform(self) -> None:
        for effect in self._model.take():
            match effect:
                case Ask(intent):
                    self._is_leaving = self._is_leaving or isinstance(intent, intents.Quit)
                    self._asked.put_nowait(intent)
                case Ring():
                    self._is_ringing = True
                case Export():
                    self._export(effect)
                case Applied():
                    self._apply()

    def _draw_in_time(self) -> None:
        self._drawing = None
        self._idle()

    def _freed(self) -> None:
        """The terminal has taken the last drawing."""
        if self._is_stale:
            self._settle()

    def _idle(self) -> None:
        """Draw, if there is anything to, and the terminal has taken what was drawn before."""
        if self._outlet is None or self._main is None or not self._is_stale or not self._outlet.is_free:
            return
        try:
            if not self._prepare():
                return
        except OSError as error:
            self._failed(error)
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._is_stale = False
        self._view.editor = self._typing.editor
        self._view.now_ms = clock.utc_ms()
        self._view.clock = local_stamp(self._view.now_ms)[11:]
        try:
            self._main.draw_screen()
        except OSError as error:
            self._failed(error)
            return
        page = self._model.current
        if page.follows:
            page.target = None
        before = self._shape()
        self._model.seen(*self._view.visible)
        self._perform()
        self._rests_until = loop.time() + max(1 / DRAWS_PER_S, (loop.time() - began) * _REST)
        if self._shape() != before:
            self._settle()

    def _prepare(self) -> bool:
        """What comes before a drawing; False: the terminal shows the log as plain text, and none is to be made."""
        screen, model = self._screen, self._model
        if screen is None:
            return False
        if self._is_ringing:
            self._is_ringing = False
            screen.write("\a")
            screen.flush()
        if model.is_bare:
            if not screen.is_aside:
                screen.step_aside(self._view.plain_lines(_BARE_LINES_MAX), self._view.fit(_BARE_NOTE))
            return False
        if screen.is_aside:
            screen.come_back()
        screen.set_mouse_tracking(model.settings["mouse"])
        return True

    def _tick(self) -> None:
        """Once a second: the clock, the countdown, and what only waits for time to go by."""
        self._ticking = asyncio.get_running_loop().call_later(1, self._tick)
        before = self._shape()
        self._model.tick(clock.utc_ms())
        self._perform()
        self._view.now_ms = clock.utc_ms()
        self._view.clock = local_stamp(self._view.now_ms)[11:]
        if self._shape() != before or self._view.status_pieces() != self._view.status:
            self._settle()

    def _shape(self) -> tuple[Any, ...]:
        """What time and drawing may change."""
        page = self._model.current
        return (page.follows, page.more_below, page.last_key, page.rule_after, page.versions, self._model.hint)

    def _signs(self) -> palette.Signs:
        is_plain = self._model.settings["ascii"] == "yes" or self._charset != "utf-8"
        return palette.ASCII if is_plain else palette.FINE

    def _paint(self) -> None:
        """Colours as the settings and the terminal have them."""
        if self._screen is None:
            return
        settings = self._model.settings
        theme = palette.theme_of(settings["theme"], settings["colors"], self._environment)
        colors = palette.colors_of(settings["colors"], theme, self._screen.had_colors)
        self._screen.register_palette(palette.palette(theme))
        self._screen.set_terminal_properties(colors=colors)  # type: ignore[arg-type]  # one of those it knows

    def _apply(self) -> None:
        self._paint()
        self._view.signs = self._signs()
        if self._screen is not None:
            self._screen.clear()

    # --- keys ---------------------------------------------------------------------------------------------------------

    @property
    def _typing(self) -> _Typing:
        page = self._model.current
        typing = self._typings.get(id(page))
        if typing is None or typing.page is not page:
            kept = {id(one) for one in self._model.pages}
            self._typings = {key: one for key, one in self._typings.items() if key in kept}
            typing = self._typings[id(page)] = self._typing_on(page)
        return typing

    def _typing_on(self, page: Page) -> _Typing:
        def complete(line: str) -> Sequence[str]:
            return commands.complete(line, self._model.people.nicks, files.names_like)

        return _Typing(page, RowsEditor(complete, TYPED_CHARS_MAX, lambda char: self._view.seen_as(char)))

    def _pressed(self, keys: Sequence[Any], raw: Sequence[int]) -> list[Any]:
        """What came from the terminal. Keys are read from the bytes, so that a paste is what was pasted."""
        if self._main is None:
            return []
        if self._completing is not None:
            self._completing.cancel()
        self._take(self._keys.feed(bytes(raw), is_whole=True))
        if self._keys.is_waiting and self._main is not None:
            self._completing = asyncio.get_running_loop().call_later(_CHARACTER_S, self._complete)
        for mouse in keys:
            if isinstance(mouse, tuple):
                self._click(*mouse)
        resized = [key for key in keys if key == "window resize"]
        self._is_stale = self._is_stale or bool(resized)
        return resized

    def _complete(self) -> None:
        """The rest of a character has not come."""
        self._take(self._keys.rest())
        self._idle()

    def _take(self, keys: Sequence[str | Pasted]) -> None:
        for key in keys:
            if key == "focus in" or key == "focus out":
                self._model.focus(has_focus=key == "focus in")
            else:
                self._model.touched(clock.utc_ms())
                for one in [key] if self._model.is_bare else apart(key, self._knows):
                    self._press(one)
            self._settle()

    def _knows(self, key: str) -> bool:
        return self._keymap.action_of(key) is not None or RowsEditor.knows(key)

    def _press(self, key: str | Pasted) -> None:
        typing = self._typing
        if key == "ctrl z" or self._model.is_bare:
            self._model.leave_bare(clock.utc_ms())
            if key == "ctrl z":
                os.kill(os.getpid(), signal.SIGTSTP)  # the screen's handler gives the terminal back before it stops
        elif self._model.question:
            self._answer(typing, key)
        elif isinstance(key, Pasted):
            self._paste(typing, key)
        elif self._model.found is not None and (key in _PICKS or key == "enter"):
            if key == "enter":
                self._model.pick_up()
            else:
                self._model.pick(_PICKS[key])
        else:
            action = self._keymap.action_of(key, is_empty=typing.editor.is_empty)
            if action is None or not self._act(action, typing):
                self._edit(typing, key)

    def _act(self, action: str, typing: _Typing) -> bool:
        """Do what a key is bound to; False: the text being typed is what it is about."""
        model, now_ms = self._model, clock.utc_ms()
        if action in _SCROLLS:
            self._scroll(_SCROLLS[action])
        elif action in _EDITS:
            self._edit(typing, _EDITS[action])
        elif action == "send":
            self._send(typing)
        elif action == "redraw":
            if self._screen is not None:
                self._screen.clear()
        elif action == "clear-or-quit":
            if not typing.editor.is_empty:
                typing.editor.take()  # so that it can be brought back
            elif self._is_leaving:
                signal.raise_signal(signal.SIGINT)  # from here on as if the terminal had done it
            else:
                model.interrupt(now_ms)
        elif not model.act(action, now_ms):
            return False
        return True

    def _edit(self, typing: _Typing, key: str) -> None:
        """Change what is typed. End, where the line ends already, does what it does while nothing is typed."""
        if key.endswith(UNREADABLE):
            self._model.hint = _NOT_UTF8
            return
        before = typing.editor.snapshot()
        typing.editor.press(key)
        if len(key) > 1 and typing.editor.snapshot() == before:
            otherwise = self._keymap.action_of(key, is_empty=True)
            if otherwise is not None:
                self._act(otherwise, typing)

    def _send(self, typing: _Typing) -> None:
        """Enter: what is typed goes out, or stays where it is with a word about why."""
        if self._is_leaving:
            return
        editor = typing.editor
        if self._model.entered(editor.text, clock.utc_ms()):
            editor.take()

    def _paste(self, typing: _Typing, pasted: Pasted) -> None:
        before = typing.editor.snapshot()
        text = "".join(char for char in pasted.text if not is_lone(char))
        if text != pasted.text:
            self._model.hint = _NOT_UTF8
        is_part, self._is_refusing = pasted.is_cut or self._is_refusing, pasted.is_cut
        if is_part or not typing.editor.paste(text):
            self._model.hint = f"Not pasted: a text has at most {limits.TEXT_BYTES_MAX:,} bytes."
            return
        lines_count = len(text.splitlines())
        if lines_count > self._model.settings["paste_lines"]:
            typing.before = before
            lines = counted(lines_count, "line")
            self._model.question = f"Paste {lines} as one message? Enter or Ctrl+Y yes, Esc or Ctrl+N no"

    def _answer(self, typing: _Typing, key: str | Pasted) -> None:
        if key not in (*_YES, *_NO):
            return
        if key in _NO and typing.before is not None:
            typing.editor.restore(typing.before)
        typing.before = None
        self._model.question = ""

    def _scroll(self, how: Scroll) -> None:
        if self._model.panel is None:
            self._model.scrolled(up=how in ("page up", "up", "top"))
            self._model.current.target = None
        self._view.scroll(how)

    def _click(self, event: str, button: int, _column: int, _row: int) -> None:
        """Only the wheel means something."""
        if "mouse press" in event and button in (4, 5):
            for _ in range(_WHEEL_ROWS):
                self._scroll("up" if button == 4 else "down")
            self._settle()

    def _continued(self) -> None:
        """Somebody else may have had the terminal meanwhile."""
        if self._screen is not None and self._main is not None:
            self._screen.retake()
            self._main.screen_size = None
            self._settle()

    # --- what else there is to do -------------------------------------------------------------------------------------

    def _export(self, export: Export) -> None:
        task = asyncio.create_task(self._write(export))
        self._exports.add(task)
        task.add_done_callback(self._exports.discard)

    async def _write(self, export: Export) -> None:
        """In another thread: disks may be slow, and there may be very many messages."""
        try:
            sentence = await asyncio.to_thread(files.write_export, export, local_stamp)
        except files.NotWritten as error:
            self._model.exported(f"Not exported: {error}", clock.utc_ms(), failed=True)
        else:
            self._model.exported(sentence, clock.utc_ms(), failed=False)
        self._settle()

    # --- failures -----------------------------------------------------------------------------------------------------

    def _failed(self, error: BaseException) -> None:
        """Something in here, or in urwid, did not work."""
        self.close()
        if isinstance(error, InputClosedError) or (
            isinstance(error, OSError) and error.errno in (errno.EIO, errno.ENXIO, errno.EPIPE)
        ):
            log.info("the terminal is gone: %s", error)
            self.hangs_up()
            return
        log.error("the console failed", exc_info=error)
        self.fails(error)

    def _failed_somewhere(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback or a task that nobody waits for has failed."""
        error = context.get("exception")
        if isinstance(error, Exception):
            self._failed(error)
        else:
            loop.default_exception_handler(context)


def _raise(error: BaseException) -> None:
    raise error


def _leave_by_signal() -> None:
    signal.raise_signal(signal.SIGHUP)
