"""Earlier parts of the history, as the console fetches them: for scrolling, for a jump, for an export; pure.

What comes back has no number of ours: a part is recognised by where it ends, which is never beyond the last message.
"""

from collections.abc import Callable
from dataclasses import dataclass

from peer import intents, notices
from ui.export import Export
from ui.page import Line, Log, Page

PART = 100  # messages fetched at once while somebody scrolls


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The part that ends before seq `before`, for `log`; then message `jump` is shown, if it is not 0."""

    log: Log
    before: int
    jump: int = 0


class Scrollback:
    """Asks for parts of the history and puts them where they belong. `as_line` gives None for what is not shown."""

    def __init__(self, room: Page, as_line: Callable[[notices.ChatMessage], Line | None]) -> None:
        self._room = room
        self._as_line = as_line
        self._wanted: _Wanted | None = None
        self._export: Export | None = None
        self._asks: list[intents.AskHistory] = []

    @property
    def is_exporting(self) -> bool:
        """An export is being collected."""
        return self._export is not None

    def take(self) -> list[intents.AskHistory]:
        """What to ask the chat; each question is given once."""
        asks, self._asks = self._asks, []
        return asks

    def seen(self, first: int, last: int, within: int) -> None:
        """These keys are on the screen; what is within so many lines of them is fetched before it is missed."""
        room = self._room
        if room.excerpt is not None and last >= room.excerpt.last - within:
            self._fetch_newer(room.excerpt)
        if not room.follows and first <= room.shown.first + within:
            self._fetch_older(room.shown)

    def jump(self, seq: int) -> bool:
        """Show the part where message `seq` is, now or when it has come; False: it is there, but not shown."""
        room = self._room
        if room.log.from_seq <= seq <= room.log.to_seq:
            if room.excerpt is not None:
                room.end_excerpt()
            return room.go(room.log.key_of(seq))
        newest = room.log.from_seq if seq < room.log.from_seq else room.log.to_seq + 1
        self._want(_Wanted(Log(), min(seq + PART // 2, newest), jump=seq))
        return True

    def export(self, path: str) -> bool:
        """Collect all there is; False: there is nothing."""
        head = self._room.log.to_seq
        if head:
            self._export = Export(path, head)
            self._asks.append(self._export.question)
        return head > 0

    def start_over(self) -> None:
        """The room has another history: what was asked for is of the old one."""
        self._wanted = self._export = None

    def refused(self) -> bool:
        """A question was turned down; returns whether that ends an export."""
        self._wanted = None
        ended, self._export = self._export is not None, None
        return ended

    def answered(self, answer: notices.HistoryPage) -> Export | None:
        """A part has come; returned is an export that is complete with it."""
        export = self._export
        if export is not None and export.expects(answer):
            if export.take(answer):
                self._export = None
                return export
            self._asks.append(export.question)
            return None
        wanted = self._wanted
        last = answer.messages[-1].seq if answer.messages else 0
        if wanted is not None and (not answer.messages or last == wanted.before - 1):
            self._wanted = None
            self._put(wanted.log, answer)
            if wanted.jump:
                self._room.show_excerpt(wanted.log, wanted.jump)
        return None

    # --- one part after the other -------------------------------------------------------------------------------------

    def _want(self, wanted: _Wanted) -> None:
        """A jump counts more than what was asked for before it; that comes to nothing."""
        self._wanted = wanted
        self._asks.append(intents.AskHistory(wanted.before, PART))

    def _fetch_older(self, log: Log) -> None:
        if self._wanted is None and log.from_seq > 1:
            self._want(_Wanted(log, log.from_seq))

    def _fetch_newer(self, excerpt: Log) -> None:
        newest = self._room.log
        if excerpt.to_seq >= newest.from_seq - 1:
            self._room.join_excerpt()
        elif self._wanted is None:
            self._want(_Wanted(excerpt, min(excerpt.to_seq + 1 + PART, newest.from_seq)))

    def _put(self, log: Log, answer: notices.HistoryPage) -> None:
        if not answer.messages:
            log.from_seq = min(log.from_seq, 1)  # the server has nothing earlier
            return
        first, last = answer.messages[0].seq, answer.messages[-1].seq
        fresh = [one for one in answer.messages if not log.from_seq <= one.seq <= log.to_seq]
        lines = [line for one in fresh if (line := self._as_line(one)) is not None]
        older = [line for line in lines if not log.to_seq or line.seq < log.from_seq]
        newer = [line for line in lines if log.to_seq and line.seq > log.to_seq]
        log.prepend(older)
        for line in newer:
            log.append(line)
        log.from_seq = min(log.from_seq or first, first)
        log.to_seq = max(log.to_seq, last)
