"""The messages of a room in order, each encoded once, and what can be asked of them; pure."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence

from broker.digest import SPAN_ENTRIES, Chain
from broker.finding import is_found, words_of
from broker.stored import Restored
from wire import codec, limits
from wire.errors import InvariantViolated
from wire.messages import Entry


class _Session:
    """What was taken of one author's session: the last counter, and the seqs of the most recent ones."""

    __slots__ = ("last_counter", "recent")

    def __init__(self) -> None:
        self.last_counter = 0
        self.recent: deque[int] = deque(maxlen=limits.SEQS_REMEMBERED)


class History:
    """Entries 1 … `head` of the log `log`; those from `first` on are in memory, the others in a store on disk.

    Invariants: seqs have no gap; a post id (author, session, counter) is there at most once, and the counters
    of a session rise by one; epochs never fall. The table of counters is derived from the entries alone, so whoever
    has the entries has it too: that is what makes repeated posts harmless across any change of server.

    An entry is known by its seq and epoch: only one server appends in an epoch, and it takes back nothing. So two
    copies of a log that have the same epoch at some seq are the same up to there.
    """

    def __init__(self, log: str) -> None:
        self.log = log
        self.first = 1
        self.bytes_count = 0  # of the entries in memory
        self._entries: list[bytes] = []
        self._runs: list[tuple[int, int]] = []  # each epoch that has entries, and its first seq
        self._sessions: dict[tuple[str, str], _Session] = {}
        self._chain = Chain(log)

    @classmethod
    def restored(cls, restored: Restored) -> "History":
        """Go on with what an earlier run left on disk.

        Raises:
            Malformed, InvariantViolated: the tail does not fit the rest.
        """
        opened = restored.opened
        history = cls(opened.meta.log)
        history._chain = opened.chain
        history._runs = list(opened.epochs)
        for known in opened.sessions:
            session = history._sessions[known.author, known.session] = _Session()
            session.last_counter = known.last_counter
            session.recent.extend(known.seqs)
        history.first = restored.tail[0][0] if restored.tail else opened.meta.head + 1
        for first, count, block in restored.tail:
            if first != history.first + len(history._entries):
                raise InvariantViolated(f"entry {first} follows {history.first + len(history._entries) - 1}")
            codec.decode_block(block, first, count)
            together, parts = codec.split_block(block)
            history._entries += parts
            history.bytes_count += len(together)
        if history.head != opened.meta.head or (history.first - 1) % SPAN_ENTRIES:
            raise InvariantViolated(f"entries {history.first} … {history.head} are no tail of {opened.meta.head}")
        return history

    @property
    def head(self) -> int:
        """The seq of the last entry; 0 when there is none."""
        return self.first + len(self._entries) - 1

    @property
    def last_epoch(self) -> int:
        """The epoch of the last entry; 0 when there is none."""
        return self._runs[-1][0] if self._runs else 0

    def digest(self) -> bytes:
        """A digest of all entries, 32 bytes; two histories with the same one are the same, byte for byte."""
        return self._chain.digest()

    def append(self, entry: Entry) -> None:
        """Add the entry that follows the last one."""
        if entry.seq != self.head + 1:
            raise InvariantViolated(f"entry {entry.seq} follows {self.head}")
        self._check((entry,))
        self._count(entry)
        data = codec.encode_entry(entry)
        self._entries.append(data)
        self._chain.add((data,))
        self.bytes_count += len(data)

    def append_block(self, first: int, count: int, block: bytes, epoch_max: int | None = None) -> None:
        """Add a block of entries that follow the last one, with the very bytes it is made of; none of a later epoch.

        Raises:
            Malformed: it does not hold what it is said to hold.
            InvariantViolated: it does not follow. In both cases the history is as it was.
        """
        if first != self.head + 1:
            raise InvariantViolated(f"entry {first} follows {self.head}")
        entries = codec.decode_block(block, first, count)
        together, parts = codec.split_block(block)
        self._check(entries)
        if epoch_max is not None and entries and entries[-1].epoch > epoch_max:
            raise InvariantViolated(f"entry {entries[-1].seq} is of epoch {entries[-1].epoch}, beyond {epoch_max}")
        for entry in entries:
            self._count(entry)
        self._entries += parts
        self._chain.add(parts)
        self.bytes_count += len(together)

    def _check(self, entries: Sequence[Entry]) -> None:
        """A counter or an epoch out of turn is a bug of whoever ordered the entries."""
        epoch = self.last_epoch
        counters: dict[tuple[str, str], int] = {}
        for entry in entries:
            if entry.epoch < epoch:
                raise InvariantViolated(f"epoch {entry.epoch} follows {epoch} in entry {entry.seq}")
            epoch = entry.epoch
            key = (entry.author, entry.session)
            last_counter = counters[key] if key in counters else self.last_counter(*key)
            if entry.counter != last_counter + 1:
                raise InvariantViolated(f"counter {entry.counter} follows {last_counter} in entry {entry.seq}")
            counters[key] = entry.counter

    def _count(self, entry: Entry) -> None:
        """Keep the tables of counters and epochs."""
        session = self._sessions.get((entry.author, entry.session))
        if session is None:
            session = self._sessions[entry.author, entry.session] = _Session()
        session.last_counter = entry.counter
        session.recent.append(entry.seq)
        if entry.epoch != self.last_epoch:
            self._runs.append((entry.epoch, entry.seq))

    # --- copies of it ---

    def epoch_at(self, seq: int) -> int:
        """The epoch of entry `seq`, which is not over `head`; 0 for seq 0."""
        index = bisect_right(self._runs, seq, key=_first_of) - 1
        return self._runs[index][0] if index >= 0 else 0

    def runs(self, above: int) -> tuple[tuple[int, int], ...]:
        """Which epochs the entries above `above` are of, and that of `above` itself; the last ones when too many."""
        index = max(0, bisect_right(self._runs, above, key=_first_of) - 1)
        return tuple(self._runs[index:][-limits.RUNS_MAX :])

    def agreement(self, have: int, committed: int, runs: Sequence[tuple[int, int]]) -> int:
        """Up to which seq another copy is the same as this one.

        Args:
            have: its head.
            committed: what is known there to be committed, and so is in every copy that counts.
            runs: its epochs, as `runs` tells them.
        """
        at = min(have, self.head)
        while at > committed:
            mine, theirs = self._run_at(self._runs, at), self._run_at(runs, at)
            if mine[0] == theirs[0]:
                return at
            # The younger of the two epochs begins where the two copies part, or after that.
            at = max(mine, theirs)[1] - 1
        return max(0, min(committed, self.head))

    @staticmethod
    def _run_at(runs: Sequence[tuple[int, int]], seq: int) -> tuple[int, int]:
        index = bisect_right(runs, seq, key=_first_of) - 1
        return runs[index] if index >= 0 else (0, 1)

    def cut(self, after: int) -> None:
        """Take back everything after entry `after`, which must be in memory with its span, or be the last of one.

        Raises:
            InvariantViolated: it is not in memory any more.
        """
        if after >= self.head:
            return
        rest_first = after - after % SPAN_ENTRIES + 1
        if after < 0 or rest_first < self.first:
            raise InvariantViolated(f"entries after {after} cannot be cut off: memory begins at {self.first}")
        for index in range(len(self._entries) - 1, after - self.first, -1):
            data = self._entries[index]
            self.bytes_count -= len(data)
            entry = codec.decode_entry(data)
            session = self._sessions[entry.author, entry.session]
            session.last_counter -= 1
            if session.recent:
                session.recent.pop()
            if session.last_counter == 0:
                del self._sessions[entry.author, entry.session]
        rest = self._entries[rest_first - self.first : after + 1 - self.first]
        del self._entries[after + 1 - self.first :]
        self._runs = [run for run in self._runs if run[1] <= after]
        self._chain.cut(after, rest)

    def forget_below(self, seq: int) -> None:
        """Let entries below `seq` go from memory: they are on disk. As many stay as limits says, in whole spans."""
        keep = min(seq, self.head + 1 - limits.TAIL_ENTRIES_MIN)
        last = keep - 1 - (keep - 1) % SPAN_ENTRIES  # the last that goes
        if self.bytes_count <= limits.TAIL_BYTES_MAX or last < self.first:
            return
        gone = 0
        while self.first + gone <= last and self.bytes_count > limits.TAIL_BYTES_MAX // 2:
            # Whole spans at a time: `first` stays where a span begins.
            for data in self._entries[gone : gone + SPAN_ENTRIES]:
                self.bytes_count -= len(data)
            gone += SPAN_ENTRIES
        del self._entries[:gone]
        self.first += gone

    # --- questions ---

    def last_counter(self, author: str, session: str) -> int:
        """The last post number taken from a session; 0 when none was."""
        known = self._sessions.get((author, session))
        return known.last_counter if known else 0

    def seq_of(self, author: str, session: str, counter: int) -> int | None:
        """The seq under which a post was taken; None when it was not, or too long ago for anyone to ask."""
        known = self._sessions.get((author, session))
        if known is None or not 1 <= counter <= known.last_counter:
            return None
        index = counter - known.last_counter - 1
        return known.recent[index] if -index <= len(known.recent) else None

    def entries(self, first: int, last: int) -> list[Entry]:
        """The entries `first` … `last`, as far as they are in memory."""
        stop = max(0, last + 1 - self.first)
        return [codec.decode_entry(data) for data in self._entries[max(0, first - self.first) : stop]]

    def block(self, first: int, last: int, count_max: int = limits.BLOCK_ENTRIES_MAX) -> tuple[int, bytes]:
        """Entries from `first` on, none after `last`, as one block within the block limits; `first` is in memory.

        Returns:
            How many entries (0: there is none at `first`), and the block.
        """
        stop = min(last, self.head, first + count_max - 1)
        taken: list[bytes] = []
        size = 0
        for data in self._entries[first - self.first : max(0, stop + 1 - self.first)] if first >= self.first else ():
            if taken and size + len(data) > limits.BLOCK_BYTES_MAX:
                break
            taken.append(data)
            size += len(data)
        return len(taken), codec.join_block(taken)

    def search(self, query: str, before: int, count: int, head: int) -> tuple[bytes, int]:
        """The last `count` entries in memory before seq `before` with all words of `query`, without regard to case.

        A word is in the entry's text, wherever, or is its author.
        Looks through at most limits.SEARCH_ENTRIES_MAX entries.

        Args:
            before: 0 means from `head` on downwards.

        Returns:
            The entries in seq order as a block, and the `before` to go on with (0: all were looked through).
        """
        words = words_of(query)
        start = min(head, before - 1 if before else head)
        found: list[bytes] = []
        size = 0
        for looked, entry in enumerate(self._backwards(start), start=1):
            if is_found(words, entry.text, entry.nick):
                data = self._entries[entry.seq - self.first]
                size += len(data)
                found.append(data)
            if len(found) == count or looked == limits.SEARCH_ENTRIES_MAX or size > limits.BLOCK_BYTES_MAX:
                return codec.join_block(found[::-1]), entry.seq if entry.seq > 1 else 0
        return codec.join_block(found[::-1]), 0

    def _backwards(self, start: int) -> Iterator[Entry]:
        for index in range(start - self.first, -1, -1):
            yield codec.decode_entry(self._entries[index])


def _first_of(run: tuple[int, int]) -> int:
    return run[1]
