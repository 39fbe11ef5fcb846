"""Texts as lines of a page: when, who, what, and whether it is about us; pure."""

import re
from collections.abc import Sequence

from ui.page import Kind, Line
from ui.safe_text import safe_line, safe_lines
from ui.wording import Stamp, action_of


class Scribe:
    """Makes lines. Whatever it is given, what it makes is safe to show."""

    def __init__(self, stamp: Stamp) -> None:
        self._stamp = stamp
        self._mention: re.Pattern[str] | None = None

    def be_called(self, name: str) -> None:
        """A text with this name in it, as a word and in any case, mentions us."""
        self._mention = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])", re.IGNORECASE)

    def said(self, nick: str, text: str, time_ms: int, *, seq: int = 0, is_own: bool = False) -> Line:
        """A text somebody said at this time (UTC); `seq`: of a message in the room."""
        action = action_of(text)
        day, minute = self._day_and_minute(time_ms)
        return Line(
            kind=Kind.SAID if action is None else Kind.ACTION,
            day=day,
            time=minute,
            text=tuple(safe_lines(text if action is None else action)),
            nick=safe_line(nick),
            seq=seq,
            is_own=is_own,
            mentions_me=not is_own and self._mention is not None and self._mention.search(text) is not None,
        )

    def told(self, kind: Kind, now_ms: int, texts: Sequence[str]) -> Line:
        """What the console has to say itself, as one line with several rows."""
        day, minute = self._day_and_minute(now_ms)
        return Line(kind=kind, day=day, time=minute, text=tuple(map(safe_line, texts)))

    def _day_and_minute(self, time_ms: int) -> tuple[str, str]:
        day, _, minute = self._stamp(time_ms).partition(" ")
        return day, minute
