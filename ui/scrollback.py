"""Earlier parts of the history, as the console fetches them: for scrolling, for a jump, for an export; pure.

What comes back has no number of ours. So only one question is out at a time, and what comes next is its answer: the
chat answers each question once, or refuses it, whatever happens to the server meanwhile.
"""

from collections.abc import Callable
from dataclasses import dataclass

from peer import intents, notices
from ui.export import Export
from ui.page import READING_MAX, Line, Log, Page

PART = 100  # messages fetched at once while somebody scrolls


@dataclass(frozen=True, slots=True, eq=False)
class _Wanted:
    """The part that ends before seq `before`, for `log`; then message `jump` is shown, if it is not 0."""

    log: Log
    before: int
    jump: int = 0

    @property
    def question(self) -> intents.AskHistory:
        return intents.AskHistory(self.before, PART)

    def expects(self, answer: notices.HistoryPage) -> bool:
        return not answer.messages or answer.messages[-1].seq == self.before - 1


class Scrollback:
    """Asks for parts of the history and puts them where they belong. `as_line` gives None for what is not shown.

    Invariant: one question at most is without an answer; what the reader waits for goes before an export.
    """

    def __init__(self, room: Page, as_line: Callable[[notices.ChatMessage], Line | None]) -> None:
        self._room = room
        self._as_line = as_line
        self._wanted: _Wanted | None = None
        self._export: Export | None = None
        self._asked: _Wanted | Export | None = None  # whose question is out; perhaps nobody wants to know any more
        self._strays = 0  # answers that may come beyond those that are waited for
        self._rests = False  # asking led nowhere: not again before the reader scrolls

    @property
    def is_exporting(self) -> bool:
        """An export is being collected."""
        return self._export is not None

    def take(self) -> list[intents.AskHistory]:
        """What to ask the chat now; each question is given once."""
        if self._asked is not None:
            return []
        self._asked = self._wanted or self._export
        return [] if self._asked is None else [self._asked.question]

    # --- what the reader does -----------------------------------------------------------------------------------------

    def scrolled(self) -> None:
        """The reader scrolls: what led nowhere may be asked for again."""
        self._rests = False

    def seen(self, first: int, last: int, within: int) -> None:
        """These keys are on the screen; what is within so many lines of them is fetched before it is missed."""
        room = self._room
        if room.excerpt is not None and last >= room.excerpt.last - within:
            self._fetch_newer(room.excerpt)
        if not room.follows and first <= room.shown.first + within:
            self._fetch_older(room.shown)

    def jump(self, seq: int) -> bool:
        """Show the part around message `seq`, or the nearest there is, now or when it has come.

        False: there is nothing to show. What was asked for before it comes to nothing.
        """
        room = self._room
        seq = min(max(seq, 1), room.log.to_seq)
        self._wanted, self._rests = None, False
        if seq >= room.log.from_seq:
            if room.excerpt is not None:
                room.end_excerpt()
            return room.go(room.log.nearest(seq))
        if room.excerpt is not None and room.excerpt.from_seq <= seq <= room.excerpt.to_seq:
            return room.go(room.excerpt.nearest(seq))
        self._wanted = _Wanted(Log(), min(seq + PART // 2, room.log.from_seq), jump=seq)
        return True

    def stay(self) -> None:
        """The reader is at the end, and wants to be: a jump that was asked for comes to nothing."""
        if self._wanted is not None and self._wanted.jump:
            self._wanted = None

    def export(self, path: str) -> bool:
        """Collect all there is; False: there is nothing."""
        head = self._room.log.to_seq
        if head:
            self._export = Export(path, head)
        return head > 0

    # --- what the chat tells ------------------------------------------------------------------------------------------

    def start_over(self) -> bool:
        """The room has another history: what is wanted is of the old one. Returns whether that ends an export."""
        self._wanted = None
        ended, self._export = self._export is not None, None
        return ended

    def lost(self) -> None:
        """Notices were lost on their way, so perhaps an answer: what is still wanted is asked for anew."""
        self._strays += self._asked is not None
        self._asked = None

    def refused(self) -> bool:
        """The question was turned down; returns whether that ends an export."""
        asked, self._asked = self._asked, None
        if asked is None:
            return False
        if asked is self._export:
            self._export = None
            return True
        if asked is self._wanted:
            self._wanted, self._rests = None, True
        return False

    def answered(self, answer: notices.HistoryPage) -> Export | None:
        """A part has come; returned is an export that is complete with it."""
        asked = self._asked
        if asked is None:
            return None
        if self._strays and not asked.expects(answer):
            self._strays -= 1
            return None
        self._asked = None
        if isinstance(asked, Export):
            if asked is self._export and asked.take(answer):
                self._export = None
                return asked
        elif asked is self._wanted:
            self._wanted = None
            self._put(asked.log, answer)
            if asked.jump and answer.messages:
                self._room.show_excerpt(asked.log, asked.jump)
        return None

    # --- one part after the other -------------------------------------------------------------------------------------

    def _fetch_older(self, log: Log) -> None:
        if self._wanted is None and not self._rests and log.from_seq > 1:
            self._wanted = _Wanted(log, log.from_seq)

    def _fetch_newer(self, excerpt: Log) -> None:
        newest = self._room.log
        if excerpt.to_seq >= newest.from_seq - 1:
            self._room.join_excerpt()
        elif self._wanted is None and not self._rests:
            self._wanted = _Wanted(excerpt, min(excerpt.to_seq + 1 + PART, newest.from_seq))

    def _put(self, log: Log, answer: notices.HistoryPage) -> None:
        before = (log.from_seq, log.to_seq)
        if answer.messages:
            first, last = answer.messages[0].seq, answer.messages[-1].seq
            lines = [line for one in answer.messages if (line := self._as_line(one)) is not None]
            log.prepend([line for line in lines if not log.to_seq or line.seq < log.from_seq])
            for line in lines:
                if log.to_seq and line.seq > log.to_seq:
                    log.append(line)
            log.from_seq = min(log.from_seq or first, first)
            log.to_seq = max(log.to_seq, last)
            self._keep_bounds(log, is_older=first < before[0])
        self._rests = (log.from_seq, log.to_seq) == before

    def _keep_bounds(self, log: Log, *, is_older: bool) -> None:
        """Drop what is too much, at the end that is not being read."""
        if log is self._room.log:
            self._room.keep_bounds()
        elif len(log) > READING_MAX:
            (log.cut if is_older else log.trim)(READING_MAX // 2)
