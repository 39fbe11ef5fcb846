"""The messages of a room in order, each encoded once, and what can be asked of them; pure."""

import hashlib
from collections import deque
from collections.abc import Iterator

from broker.finding import is_found, words_of
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
    """Entries 1 … `head` of the log `log`.

    Invariants: seqs have no gap; a post id (author, session, counter) is there at most once, and the counters
    of a session rise by one. The table of counters is derived from the entries alone, so whoever has the
    entries has it too: that is what makes repeated posts harmless across any change of server.
    """

    def __init__(self, log: str) -> None:
        self.log = log
        self.bytes_count = 0
        self._entries: list[bytes] = []
        self._sessions: dict[tuple[str, str], _Session] = {}
        self._digest = hashlib.blake2b(digest_size=32)

    @property
    def head(self) -> int:
        """The seq of the last entry; 0 when there is none."""
        return len(self._entries)

    def digest(self) -> bytes:
        """A digest of all entries, 32 bytes; two histories with the same one are the same, byte for byte."""
        return self._digest.copy().digest()

    def append(self, entry: Entry) -> None:
        """Add the entry that follows the last one."""
        if entry.seq != self.head + 1:
            raise InvariantViolated(f"entry {entry.seq} follows {self.head}")
        self._count(entry)
        data = codec.encode_entry(entry)
        self._entries.append(data)
        self._digest.update(data)
        self.bytes_count += len(data)

    def append_block(self, first: int, count: int, block: bytes) -> None:
        """Add a block of entries that follow the last one, with the very bytes it is made of.

        Raises:
            Malformed: it does not hold what it is said to hold.
            InvariantViolated: it does not follow. In both cases the history is not to be used any more.
        """
        if first != self.head + 1:
            raise InvariantViolated(f"entry {first} follows {self.head}")
        for entry in codec.decode_block(block, first, count):
            self._count(entry)
        together, parts = codec.split_block(block)
        self._entries += parts
        self._digest.update(together)
        self.bytes_count += len(together)

    def _count(self, entry: Entry) -> None:
        """Keep the table of counters; a counter out of turn is a bug of whoever ordered the entries."""
        session = self._sessions.get((entry.author, entry.session))
        if session is None:
            session = self._sessions[entry.author, entry.session] = _Session()
        if entry.counter != session.last_counter + 1:
            raise InvariantViolated(f"counter {entry.counter} follows {session.last_counter} in entry {entry.seq}")
        session.last_counter = entry.counter
        session.recent.append(entry.seq)

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

    def block(self, first: int, last: int, count_max: int = limits.BLOCK_ENTRIES_MAX) -> tuple[int, bytes]:
        """Entries from `first` on, none after `last`, as one block within the block limits.

        Returns:
            How many entries (0: there is none at `first`), and the block.
        """
        stop = min(last, self.head, first + count_max - 1)
        taken: list[bytes] = []
        size = 0
        for data in self._entries[max(0, first - 1) : stop] if first >= 1 else ():
            if taken and size + len(data) > limits.BLOCK_BYTES_MAX:
                break
            taken.append(data)
            size += len(data)
        return len(taken), codec.join_block(taken)

    def search(self, query: str, before: int, count: int, head: int) -> tuple[bytes, int]:
        """The last `count` entries before seq `before` with all words of `query`, without regard to case.

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
                data = self._entries[entry.seq - 1]
                size += len(data)
                found.append(data)
            if len(found) == count or looked == limits.SEARCH_ENTRIES_MAX or size > limits.BLOCK_BYTES_MAX:
                return codec.join_block(found[::-1]), entry.seq if entry.seq > 1 else 0
        return codec.join_block(found[::-1]), 0

    def _backwards(self, start: int) -> Iterator[Entry]:
        for index in range(start - 1, -1, -1):
            yield codec.decode_entry(self._entries[index])
