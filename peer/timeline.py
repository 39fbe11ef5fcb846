"""The history as this participant sees it: entries in order, each once; gaps noticed and fetched; pure.

The feed may lose, repeat and reorder what it carries, and so may a fetch. The timeline shows an entry when all before
it were shown; what comes too early is held. Whatever is missing below the known head is asked for as a range, one
range at a time, until it has come.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from peer.notices import ChatMessage, FoundMessages, HistoryPage
from wire import codec, limits
from wire.errors import WireError
from wire.messages import Entry, Fetch, Fetched, Found, Published, Search
from wire.step import Command, Event, StartTimer, StopTimer, TimerFired

_GAP = "timeline.gap"
_RETRY = "timeline.retry"


@dataclass(frozen=True, slots=True)
class FetchRange:
    """Ask the active server for `count` entries from `first` on. Not sent, or lost: it is repeated."""

    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Shown:
    """An entry to show now. `past`: it was there before this participant came."""

    entry: Entry
    past: bool


class _Held(NamedTuple):
    entries: tuple[Entry, ...]
    size: int  # bytes, encoded


Steps = tuple[list[Command | FetchRange], list[Shown]]


class Timeline:
    """Every entry once, in seq order, from where this participant joined.

    Invariants: all entries from the starting point to `shown` were shown, nothing above it was; what is held begins
    above `shown` + 1; at most limits.AHEAD_BLOCKS_MAX blocks with limits.AHEAD_BYTES_MAX are held, and at most one
    range is asked for.
    """

    def __init__(self, page: int = limits.PAGE_ENTRIES, since: int | None = None) -> None:
        """Begin with the newest `page` entries, or with seq `since` when that is given."""
        self.log = ""  # which history; empty before the first welcome
        self.shown = 0
        self.head = 0  # the last seq known to exist
        self._page = page
        self._since = since
        self._past_head = 0  # the head when this participant came
        self._held: dict[int, _Held] = {}  # by first seq
        self._asked: FetchRange | None = None
        self._waiting_for_gap = False
        self._commands: list[Command | FetchRange] = []
        self._entries: list[Shown] = []

    # --- what the server says ---

    def welcome(self, log: str, head: int) -> Steps:
        """Joined, or joined again, at a server whose history `log` has entries up to `head`.

        Another `log` than before is another history: it is begun like the first one, with its newest page.
        """
        if log != self.log:
            since, self._since = self._since, None
            first = head - self._page + 1 if since is None else since
            self.shown = min(max(first - 1, 0), head)
            self.log, self.head, self._past_head = log, head, head
            self._held.clear()
        self.head = max(self.head, head)
        self._asked = None
        self._fetch()
        return self._take()

    def published(self, message: Published) -> Steps:
        """A block came over the feed."""
        self._receive(message.block, message.first, message.count)
        if self.shown < self.head:
            self._wait_for_gap()
        else:
            self._settle()
        return self._take()

    def heartbeat(self, head: int) -> Steps:
        """The server says what the last seq is; reveals a loss that no later block does."""
        self.head = max(self.head, head)
        if self.shown < self.head:
            self._wait_for_gap()
        return self._take()

    def fetched(self, message: Fetched) -> Steps:
        """A range came, or a part of it."""
        before = self.shown
        if message.count:
            self._receive(message.block, message.first, message.count)
        if self.shown >= self.head:
            self._settle()
        elif self.shown > before:
            self._fetch()
        return self._take()  # without progress the retry timer is still running

    def lost(self) -> Steps:
        """There is no server now; the next welcome says what is missing."""
        self._settle()
        return self._take()

    def handle(self, event: Event) -> Steps:
        """Advance by one of its timers; anything else means nothing."""
        match event:
            case TimerFired(name) if name == _GAP and self._waiting_for_gap:
                self._waiting_for_gap = False
                if self._asked is None:
                    self._fetch()
            case TimerFired(name) if name == _RETRY and self._asked is not None:
                self._fetch()
            case _:
                pass
        return self._take()

    # --- order ---

    def _receive(self, block: bytes, first: int, count: int) -> None:
        try:
            entries = codec.decode_block(block, first, count)
        except WireError:
            return  # as good as lost: the range is fetched
        if not entries:
            return
        self.head = max(self.head, entries[-1].seq)
        if first > self.shown + 1:
            self._hold(first, _Held(entries, len(block)))
            return
        self._show(entries)
        while self._held and (next_first := min(self._held)) <= self.shown + 1:
            self._show(self._held.pop(next_first).entries)

    def _hold(self, first: int, block: _Held) -> None:
        known = self._held.get(first, _Held((), 0))
        size = sum(held.size for held in self._held.values()) - known.size + block.size
        if (
            len(block.entries) > len(known.entries)
            and size <= limits.AHEAD_BYTES_MAX
            and (known.entries or len(self._held) < limits.AHEAD_BLOCKS_MAX)
        ):
            self._held[first] = block

    def _show(self, entries: tuple[Entry, ...]) -> None:
        for entry in entries:
            if entry.seq == self.shown + 1:
                self.shown = entry.seq
                self._entries.append(Shown(entry, past=entry.seq <= self._past_head))

    # --- what is missing ---

    def _fetch(self) -> None:
        """Ask for the first missing range, whether or not one is asked for already."""
        if self.shown >= self.head:
            self._settle()
            return
        last = min(self._held, default=self.head + 1) - 1
        count = min(last - self.shown, limits.FETCH_ENTRIES_MAX)
        self._asked = FetchRange(self.shown + 1, count)
        self._commands += [self._asked, StartTimer(_RETRY, limits.FETCH_RETRY_MS)]

    def _wait_for_gap(self) -> None:
        if self._asked is None and not self._waiting_for_gap:
            self._waiting_for_gap = True
            self._commands.append(StartTimer(_GAP, limits.GAP_WAIT_MS))

    def _settle(self) -> None:
        """Nothing is asked for and nothing awaited."""
        if self._asked is not None:
            self._asked = None
            self._commands.append(StopTimer(_RETRY))
        if self._waiting_for_gap:
            self._waiting_for_gap = False
            self._commands.append(StopTimer(_GAP))

    def _take(self) -> Steps:
        commands, self._commands = self._commands, []
        entries, self._entries = self._entries, []
        return commands, entries


# --- what the user asks for ---


class HistoryQuery:
    """The `count` entries before seq `before`, collected from as many fetches as it takes."""

    def __init__(self, before: int, count: int, head: int) -> None:
        """`before` 0, or beyond the `head`, means the end; at most limits.HISTORY_ENTRIES_MAX entries are given."""
        count = min(max(count, 1), limits.HISTORY_ENTRIES_MAX)
        before = before if 0 < before <= head else head + 1
        self._first = max(1, before - count)
        self._last = before - 1
        self._entries: list[Entry] = []

    def request(self, ask: int) -> Fetch | None:
        """What to ask the server next; None: nothing is missing."""
        missing = self._last - self._next + 1
        return Fetch(ask, self._next, min(missing, limits.FETCH_ENTRIES_MAX)) if missing > 0 else None

    def take(self, answer: Fetched) -> None:
        """Add what came. An answer with nothing in it ends the query: the server has no more."""
        try:
            entries = codec.decode_block(answer.block, answer.first, answer.count) if answer.count else ()
        except WireError:
            entries = ()
        fresh = [entry for entry in entries if self._next <= entry.seq <= self._last]
        self._entries += fresh
        if not fresh:
            self._last = self._next - 1

    def result(self) -> HistoryPage:
        """What was found."""
        return HistoryPage(chat_messages(self._entries), more=bool(self._entries) and self._entries[0].seq > 1)

    @property
    def _next(self) -> int:
        return self._entries[-1].seq + 1 if self._entries else self._first


class SearchQuery:
    """The last `count` entries with `text` in them, collected from as many searches as it takes."""

    def __init__(self, text: str, count: int) -> None:
        self._text = text
        self._count = min(max(count, 1), limits.HISTORY_ENTRIES_MAX)
        self._before = 0
        self._ended = False
        self._entries: list[Entry] = []

    def request(self, ask: int) -> Search | None:
        """What to ask the server next; None: enough was found, or there is no more."""
        missing = self._count - len(self._entries)
        if self._ended or missing <= 0:
            return None
        return Search(ask, self._text, self._before, min(missing, limits.FETCH_ENTRIES_MAX))

    def take(self, answer: Found) -> None:
        """Add what came, before what came earlier. An answer that does not lead on ends the query."""
        try:
            entries = codec.decode_entries(answer.block) if answer.block else ()
        except WireError:
            entries = ()
        self._entries = [*entries, *self._entries]
        self._ended = answer.before == 0 or (self._before != 0 and answer.before >= self._before)
        self._before = answer.before

    def result(self) -> FoundMessages:
        """What was found."""
        return FoundMessages(chat_messages(self._entries[-self._count :]), more=not self._ended)


def chat_messages(entries: Sequence[Entry]) -> tuple[ChatMessage, ...]:
    """Entries as the user sees them."""
    return tuple(
        ChatMessage(
            seq=entry.seq, epoch=entry.epoch, id=post_id(entry), author=entry.nick, text=entry.text, time=entry.time_ms
        )
        for entry in entries
    )


def post_id(entry: Entry) -> str:
    """Which post an entry is, as users and scripts see it."""
    return f"{entry.author}/{entry.session}/{entry.counter}"
