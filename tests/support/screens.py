"""The console's model and view without a terminal: tell it something, look at the screen."""

from typing import Any

from urwid.testing import render_text

from peer import notices
from ui import commands, options
from ui.hearing import Ask, Effect
from ui.keymap import Keymap
from ui.line_editor import RowsEditor
from ui.model import Model
from ui.palette import FINE, Signs
from ui.view import Scroll, View

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
# 2026-11-23 10:00 in a place whose clocks show UTC.
TEN_MS = 1_795_428_000_000


def stamp(utc_ms: int) -> str:
    """UTC milliseconds as "YYYY-MM-DD HH:MM", for days around TEN_MS."""
    days, rest = divmod(utc_ms - TEN_MS + 10 * HOUR_MS, DAY_MS)
    return f"2026-11-{23 + days:02d} {rest // HOUR_MS:02d}:{rest % HOUR_MS // MINUTE_MS:02d}"


def ready(name: str, *others: str, head: int) -> notices.Ready:
    """In, with others."""
    return notices.Ready(name=name, service="tea", epoch=1, server="bo", head=head, members=(name, *others), min_n=0)


class Desk:
    """A console but for its keys and its terminal: `effects` are kept, a drawing tells the model what was seen."""

    def __init__(self, charset: str = "utf-8", signs: Signs = FINE, **settings: Any) -> None:
        self.now_ms = TEN_MS
        defaults = {name: options.setting(name).default for name in options.SETTABLE}
        self.model = Model(
            service="tea",
            dns=["localhost:8000"],
            stamp=stamp,
            settings={**defaults, **settings},
            flood_per_s=0,
            keymap=Keymap(),
            now_ms=self.now_ms,
        )
        self.editor = RowsEditor(
            lambda line: commands.complete(line, self.model.people.nicks), 32_768, lambda char: self.view.seen_as(char)
        )
        self.view = View(self.model, self.editor, stamp, signs, charset)
        self.effects: list[Effect] = []
        self._seq = 0

    @property
    def asked(self) -> list[Any]:
        """What the model asked the chat for so far."""
        return [effect.intent for effect in self.effects if isinstance(effect, Ask)]

    def settle(self) -> None:
        """Take the model's effects."""
        self.effects += self.model.take()

    def fold(self, notice: notices.AnyNotice) -> None:
        """Tell the model a notice."""
        self.model.fold(notice, self.now_ms)
        self.settle()

    def say(self, author: str, text: str, *, seq: int = 0, own: bool = False, past: bool = False) -> None:
        """A message comes."""
        self._seq = seq or self._seq + 1
        more = {**({"own": True} if own else {}), **({"past": True} if past else {})}
        self.fold(notices.Message(self._seq, 1, f"i{self._seq}", author, text, self.now_ms, **more))

    def message(self, seq: int, author: str, text: str) -> notices.ChatMessage:
        """One of a part of the history."""
        return notices.ChatMessage(seq=seq, epoch=1, id=f"i{seq}", author=author, text=text, time=self.now_ms)

    def enter(self, line: str) -> bool:
        """A line is entered."""
        done = self.model.entered(line, self.now_ms)
        self.settle()
        return done

    def scroll(self, how: Scroll) -> None:
        """The reader scrolls."""
        if self.model.panel is None:
            self.model.scrolled(up=how in ("page up", "up", "top"))
            self.model.current.target = None
        self.view.scroll(how)
        self._draw(self._size)

    def screen(self, columns: int, rows: int) -> list[str]:
        """The rows of the screen, without blanks at their ends."""
        return self._draw((columns, rows))

    def log(self, columns: int, rows: int) -> list[str]:
        """The rows of the log, down to the last that is not blank."""
        found = self.screen(columns, rows)[:-2]
        while found and not found[-1]:
            found.pop()
        return found

    def texts(self, columns: int, rows: int) -> list[str]:
        """What stands in the log behind times and nicks, rules left out, one for each line."""
        mark = "│" if columns >= 50 else ": "
        rows_shown = [row for row in self.log(columns, rows) if row[:2].isdigit()]
        return [row.partition(mark)[2].partition("│")[0].strip() if mark in row else row for row in rows_shown]

    def status(self, columns: int) -> str:
        """The status line."""
        rows = self.screen(columns, 12)
        return rows[-1 - min(4, self.editor.widget.rows((self.editor.columns,)))]

    def _draw(self, size: tuple[int, int]) -> list[str]:
        self._size = size
        self.view.now_ms = self.now_ms
        self.view.clock = stamp(self.now_ms)[11:]
        rows = render_text(self.view.widget, size, focus=True, strip=True)
        self.model.seen(*self.view.visible)
        if self.model.current.follows:
            self.model.current.target = None
        self.settle()
        return rows
