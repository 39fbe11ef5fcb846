"""What one page of the console holds: its lines, which of them were read, and where the reader is; pure."""

import enum
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

LINES_MAX = 5_000  # chosen: lines one page keeps; older ones are fetched again when somebody scrolls so far
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
            self.from_seq = max(self.from_seq, self._lines.popleft().seq + 1)
            self.first += 1

    def clear(self) -> None:
        """Drop all; keys go on."""
        self.first = self.last + 1
        self.from_seq = self.to_seq + 1 if self.to_seq else 0
        self._lines.clear()

    def disown(self) -> None:
        """The room has another history now: what is shown stays, but is nothing of it."""
        self._lines = deque(replace(line, seq=0) for line in self._lines)
        self.from_seq = self.to_seq = 0


@dataclass
class Page:
    """The room, or the private talk with `nick`.

    `log` is what came; `excerpt` another part of the history that the reader jumped to, shown instead of it until
    End. `pending`: own texts without an outcome, below all others. `follows`: the reader is at the end, and stays
    there; otherwise the view keeps what is read in its place. `read_to`: the last key that was on the screen while
    somebody sat at it; `rule_after`: the unread rule stands below this key (None: no rule).
    """

    title: str
    nick: str = ""  # empty: the room
    log: Log = field(default_factory=Log)
    excerpt: Log | None = None
    pending: list[Line] = field(default_factory=list)
    follows: bool = True
    rule_after: int | None = None
    read_to: int = -1
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
        return (*day, "unread") if is_first_unread else day

    @property
    def more_below(self) -> int:
        """Lines below the screen."""
        return 0 if self.follows else max(0, self.last_key - self.seen[1])

    # --- what comes ---

    def add(self, line: Line, *, is_seen: bool) -> int:
        """A line at the end; `is_seen`: it will be on the screen, with somebody in front of it."""
        key = self.log.append(line)
        if is_seen:
            self.read_to = key
        if self.follows:
            self.log.trim(LINES_MAX)
        elif len(self.log) > 4 * LINES_MAX:  # somebody reads far up: not for ever
            self.log.trim(2 * LINES_MAX)
            self.versions += 1
        return key

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

    def settle_text(self, text: tuple[str, ...]) -> Line | None:
        """An own text came back from the room: the first pending one that reads so is pending no longer."""
        return next((self.settle(line.tag) for line in self.pending if line.text == text), None)

    def mark(self, tag: int, state: State) -> None:
        """The own text with this tag has come so far; it is near the end if it is anywhere."""
        for key in range(self.log.last, max(self.log.first, self.log.last - LINES_MAX) - 1, -1):
            line = self.log.get(key)
            if line is not None and line.tag == tag:
                self.log.put(key, replace(line, state=state))
                return

    # --- where the reader is ---

    def go(self, key: int | None) -> bool:
        """Bring a line to the screen; False: there is none."""
        if key is None or self.line(key) is None:
            return False
        self.follows = False
        self.target = key
        return True

    def to_the_end(self) -> None:
        """Show the newest lines, and stay with them."""
        if self.excerpt is not None:
            self.end_excerpt()
        self.follows = True
        self.read()

    def show_excerpt(self, log: Log, seq: int) -> None:
        """Show another part of the history, with message `seq` on the screen, or what is left of it around."""
        self.excerpt = log
        self.follows = False
        self.versions += 1
        nearest = min(log, key=lambda line: abs(line.seq - seq), default=None)
        self.go(None if nearest is None else log.key_of(nearest.seq))

    def end_excerpt(self) -> None:
        """Show the newest part again."""
        self.excerpt = None
        self.versions += 1

    def join_excerpt(self) -> None:
        """The excerpt has grown to where the newest part begins: they are one from now on, and what is read stays."""
        older = self.excerpt
        if older is None:
            return
        at = older.get(self.seen[1])
        self.log.prepend(line for line in older if line.seq < self.log.from_seq)
        self.log.from_seq = min(older.from_seq, self.log.from_seq)
        self.end_excerpt()
        self.go(None if at is None else self.log.key_of(at.seq))

    # --- what was read ---

    def read(self) -> None:
        """All that is there has been seen."""
        self.read_to = self.log.last
        self.unread = self.mentions = 0

    def leave(self) -> None:
        """The reader looks away: whatever comes now is unread, and a rule above it says so."""
        self.rule_after = self.log.last
        self.read_to = self.log.last

    def settle_rule(self) -> None:
        """Nothing came below the rule: there is nothing for it to say."""
        if self.rule_after is not None and self.rule_after >= self.log.last:
            self.rule_after = None
