"""What one page of the console holds: its lines, which of them were read, and where the reader is; pure."""

import enum
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from heapq import merge

LINES_MAX = 5_000  # chosen: lines one page keeps; older ones are fetched again when somebody scrolls so far
READING_MAX = 4 * LINES_MAX  # chosen: while somebody reads far up, so that nothing is taken away under their eyes
PENDING_MAX = 1_000  # own texts without an outcome that are shown; more only wait


class Kind(enum.Enum):
    """What a line is."""

    SAID = "said"
    ACTION = "action"
    CAME = "came"
    WENT = "went"
    REMARK = "remark"
    ERROR = "error"


class State(enum.Enum):
    """How far an own text has come. COMMITTED in the room, DELIVERED in a private talk."""

    QUEUED = "queued"
    SENT = "sent"
    COMMITTED = "committed"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a page. All texts are safe to show.

    `text` has a line for each of its line ends. `day` "YYYY-MM-DD" and `time` "HH:MM" are local. `seq` is the
    message's number, 0 for anything else.
    """

    kind: Kind
    day: str
    time: str
    text: tuple[str, ...]
    nick: str = ""
    seq: int = 0
    is_own: bool = False
    mentions_me: bool = False
    state: State | None = None
    tag: int = 0  # of an own text


class Log:
    """Lines under contiguous numbers, their keys: a line keeps its key while others come before and after it.

    Invariant: the keys are `first` to `last`; there is no line when `last` is `first` - 1. `from_seq` to `to_seq` is
    the part of the room's history that it covers (0: none yet), though not each message of it has a line.
    """

    def __init__(self) -> None:
        self._lines: deque[Line] = deque()
        self.first = 0
        self.from_seq = 0
        self.to_seq = 0

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[Line]:
        return iter(self._lines)

    @property
    def last(self) -> int:
        """The key of the last line."""
        return self.first + len(self._lines) - 1

    def get(self, key: int) -> Line | None:
        """The line with this key, if there is one."""
        index = key - self.first
        return self._lines[index] if 0 <= index < len(self._lines) else None

    def key_of(self, seq: int) -> int | None:
        """Where message `seq` is."""
        return next((self.first + index for index, line in enumerate(self._lines) if line.seq == seq), None)

    def nearest(self, seq: int) -> int | None:
        """Where message `seq` is, or the one nearest to it; None: there is no message."""
        found = min((line.seq for line in self._lines if line.seq), key=lambda one: abs(one - seq), default=None)
        return None if found is None else self.key_of(found)

    def append(self, line: Line) -> int:
        """Add at the end; returns the key."""
        self._lines.append(line)
        return self.last

    def prepend(self, lines: Iterable[Line]) -> None:
        """Add before the first one, in the order given."""
        older = list(lines)
        self._lines.extendleft(reversed(older))
        self.first -= len(older)

    def put(self, key: int, line: Line) -> None:
        """Another line in the place of this one."""
        index = key - self.first
        if 0 <= index < len(self._lines):
            self._lines[index] = line

    def trim(self, lines_max: int) -> None:
        """Drop the oldest lines."""
        while len(self._lines) > lines_max:
            if seq := self._lines.popleft().seq:
                self.from_seq = seq + 1
            self.first += 1

    def cut(self, lines_max: int) -> None:
        """Drop the newest lines."""
        while len(self._lines) > lines_max:
            if seq := self._lines.pop().seq:
                self.to_seq = seq - 1

    def split(self, key: int) -> "Log":
        """Drop the lines before this key; they are returned as a log, under the keys they had."""
        older = Log()
        older.first, older.from_seq, older.to_seq = self.first, self.from_seq, self.from_seq - 1
        while self._lines and self.first < key:
            line = self._lines.popleft()
            older.append(line)
            older.to_seq = line.seq or older.to_seq
            self.first += 1
        self.from_seq = older.to_seq + 1
        return older

    def clear(self) -> None:
        """Drop all; keys go on."""
        self.first = self.last + 1
        self.from_seq = self.to_seq + 1 if self.to_seq else 0
        self._lines.clear()

    def forget(self) -> None:
        """Drop all, and what part of the history it was: the next message begins another one."""
        self.clear()
        self.from_seq = self.to_seq = 0

    def disown(self) -> None:
        """The room has another history now: what is shown stays, but is nothing of it."""
        self._lines = deque(replace(line, seq=0) for line in self._lines)
        self.from_seq = self.to_seq = 0


@dataclass
class Page:
    """The room, or the private talk with `nick`.

    `log` is what came; `excerpt` another part of the history that the reader jumped to, shown instead of it until
    End. `pending`: own texts that the room has not shown yet, below all others. `follows`: the reader is at the end,
    and stays there; otherwise the view keeps what is read in its place. `unread`: lines that nobody has seen,
    `mentions` those of them that are for us; `rule_after`: the unread rule stands below this key (None: no rule).
    """

    title: str
    nick: str = ""  # empty: the room
    log: Log = field(default_factory=Log)
    excerpt: Log | None = None
    pending: list[Line] = field(default_factory=list)
    follows: bool = True
    rule_after: int | None = None
    unread: int = 0
    mentions: int = 0
    target: int | None = None  # a key that the view is to bring to the middle of the screen, once
    seen: tuple[int, int] = (0, -1)  # the keys on the screen, first and last
    versions: int = 0  # rises when lines are taken away, so that the view builds its list anew

    @property
    def is_room(self) -> bool:
        """It is the room."""
        return not self.nick

    @property
    def shown(self) -> Log:
        """The part of the history that is on the screen."""
        return self.log if self.excerpt is None else self.excerpt

    @property
    def last_key(self) -> int:
        """The key of the last line to show, pending ones included."""
        return self.shown.last + (len(self.pending) if self.excerpt is None else 0)

    def line(self, key: int) -> Line | None:
        """What to show at this key: a line, or below the last one a pending text."""
        line = self.shown.get(key)
        if line is None and self.excerpt is None and 0 < key - self.log.last <= len(self.pending):
            return self.pending[key - self.log.last - 1]
        return line

    def rules_before(self, key: int) -> tuple[str, ...]:
        """Which rules stand above this line: "unread", and a day when it is another than that of the line before."""
        line, before = self.line(key), self.line(key - 1)
        if line is None:
            return ()
        day = (line.day,) if line.day and (before is None or before.day != line.day) else ()
        is_first_unread = self.excerpt is None and self.rule_after is not None and key == self.rule_after + 1
        is_first_unread = is_first_unread and before is not None  # else there is nothing that was read above it
        return (*day, "unread") if is_first_unread else day

    @property
    def more_below(self) -> int:
        """Lines below the screen."""
        return 0 if self.follows else max(0, self.last_key - max(self.seen[1], self.shown.first - 1))

    @property
    def is_at_end(self) -> bool:
        """What comes will be on the screen: the reader stays at the end, or has gone to a line near it."""
        is_near = self.target is not None and self.excerpt is None and self.seen[1] >= self.last_key
        return self.follows or is_near

    # --- what comes ---

    def add(self, line: Line, *, is_unread: bool = False) -> int:
        """A line at the end; `is_unread`: nobody sees it come, and it is worth to be told so. Returns its key."""
        if self.is_at_end:
            self.follows, self.target = True, None
        key = self.log.append(line)
        if is_unread:
            if not self.unread:
                self.rule_after = key - 1
            self.unread += 1
            self.mentions += line.mentions_me or not self.is_room
        self.keep_bounds()
        return key

    def keep_bounds(self) -> None:
        """Drop the oldest lines, where there are too many; what is read far up in the room is set apart instead."""
        if self.follows or self.excerpt is not None:
            self.log.trim(LINES_MAX)
        elif len(self.log) > READING_MAX:
            middle = self.log.last + 1 - READING_MAX // 2
            if self.is_room and self.seen[0] < middle:
                at = min(max(self.seen[0], self.log.first), middle - 1)
                self.excerpt = self.log.split(middle)
                self.log.trim(LINES_MAX)
                self.go(at)
            else:
                self.log.trim(READING_MAX // 2)
            self.versions += 1

    def absorb(self, other: "Page") -> None:
        """Another page is of the same nick from now on: what it holds is part of this one, in the order of time."""
        log = Log()
        for line in merge(self.log, other.log, key=lambda line: (line.day, line.time)):
            log.append(line)
        self.log = log
        self.rule_after = self.target = None
        self.unread += other.unread
        self.mentions += other.mentions
        self.follows = True
        self.keep_bounds()
        self.versions += 1

    def hold(self, line: Line) -> None:
        """An own text that waits for its outcome."""
        self.pending.append(line)

    def restate(self, before: State, after: State) -> None:
        """All pending texts in one state are in another now."""
        self.pending = [replace(line, state=after) if line.state is before else line for line in self.pending]

    def settle(self, tag: int) -> Line | None:
        """The outcome of an own text is known: it is pending no longer."""
        for index, line in enumerate(self.pending):
            if line.tag == tag:
                return self.pending.pop(index)
        return None

    def confirm(self, tag: int, seq: int) -> None:
        """The own text with this tag is message `seq`; it is pending until that message comes, if it has not."""
        if seq <= self.log.to_seq:
            self.settle(tag)
        else:
            self.pending = [
                replace(line, state=State.COMMITTED, seq=seq) if line.tag == tag else line for line in self.pending
            ]

    def settle_own(self, seq: int, text: tuple[str, ...]) -> Line | None:
        """Message `seq`, an own text, has come: that text is pending no longer, nor any that was confirmed before it.

        If it was not confirmed, it is the first pending one that reads so: they come back in the order they were said.
        """
        found = next((line for line in self.pending if line.seq == seq), None)
        if found is None:
            found = next((line for line in self.pending if not line.seq and line.text == text), None)
        self.pending = [line for line in self.pending if line is not found and not 0 < line.seq <= seq]
        return found

    def sign(self, nick: str) -> None:
        """The author of all pending texts is called so."""
        self.pending = [replace(line, nick=nick) for line in self.pending]

    def mark(self, tag: int, state: State) -> bool:
        """The own text with this tag has come so far; False: it is not here."""
        for key in range(self.log.last, self.log.first - 1, -1):
            line = self.log.get(key)
            if line is not None and line.tag == tag:
                self.log.put(key, replace(line, state=state))
                return True
        return False

    def start_over(self) -> None:
        """The room has another history; what the old one had was said, though it was not shown in its place."""
        for line in [one for one in self.pending if one.seq]:
            self.settle(line.tag)
            self.add(line)
        self.log.disown()

    # --- where the reader is ---

    def go(self, key: int | None) -> bool:
        """Bring a line to the screen; False: there is none."""
        if key is None or self.line(key) is None:
            return False
        self.follows = False
        self.target = key
        self.seen = (key, key)  # as far as one knows before it is drawn
        return True

    def to_the_end(self) -> None:
        """Show the newest lines, and stay with them."""
        if self.excerpt is not None:
            self.end_excerpt()
        self.follows, self.target = True, None

    def show_excerpt(self, log: Log, seq: int) -> None:
        """Show another part of the history, with message `seq` on the screen, or what is left of it around."""
        self.excerpt = log
        self.follows, self.target = False, None
        self.versions += 1
        self.go(log.nearest(seq))

    def end_excerpt(self) -> None:
        """Show the newest part again."""
        self.excerpt = self.target = None
        self.versions += 1

    def join_excerpt(self) -> None:
        """The excerpt has grown to where the newest part begins: they are one from now on, and what is read stays."""
        older = self.excerpt
        if older is None:
            return
        kept = [line for line in older if line.seq < self.log.from_seq]
        index = self.seen[1] - older.first
        self.log.prepend(kept)
        self.log.from_seq = min(older.from_seq, self.log.from_seq)
        self.end_excerpt()
        self.go(min(self.log.first + index, self.log.last))
        self.keep_bounds()

    # --- what was read ---

    def read(self) -> None:
        """All that is there has been seen."""
        self.unread = self.mentions = 0

    def leave(self) -> None:
        """The reader looks away: the rule is above what is still unread, or it has said what it had to."""
        if not self.unread:
            self.rule_after = None
