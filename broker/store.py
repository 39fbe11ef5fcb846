"""One server half's copy of one history, in an SQLite file that is verified whole before it is used."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from broker import finding, store_file, store_folder, word_index
from broker.digest import SPAN_ENTRIES, Chain, next_link, span_of
from broker.store_file import State, reading, trouble
from broker.store_folder import HISTORY, SUM_BYTES, WORDS, Hold, Tally, damaged, failed, sum_of
from broker.stored import (
    Append,
    Change,
    Cut,
    HistoryBehind,
    HistoryDamaged,
    HistoryError,
    HistoryInUse,
    HistoryUnreadable,
    Mark,
    Meta,
    Opened,
    Session,
    StoreFailed,
)
from broker.word_index import WordIndex
from wire import codec, limits
from wire.errors import InvariantViolated, Malformed


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """The first fields of an entry; what follows is passed over undecoded."""

    seq: int
    epoch: int


class _Parts(msgspec.Struct, frozen=True):
    """An Append that has been looked at: each entry's place and bytes."""

    places: list[_Place]
    entries: list[bytes]


_places_decoder = msgspec.msgpack.Decoder(list[_Place])


class HistoryStore:
    """The entries 1 … head of a log, with its committed mark and some notes.

    Entries are kept in spans as `broker.digest` cuts them: a row for each full one, and rows for the last, open one,
    which become one row when it is full. One more row holds the digest and is written with every change, so
    whatever is changed, missing, doubled or out of place is noticed when the store is opened, and in a full span
    again whenever it is read. Used by one thread at a time, not always the same.
    """

    def __init__(self, folder: Path, tally: int) -> None:
        """For `create` and `open`: the store at `folder` is held by the descriptor `tally`."""
        self._folder = folder
        self._tally = tally
        self._failed = ""  # why nothing is written any more
        self._log_file: int | None = None
        self._words: WordIndex | None = None
        self._words_failed = False
        word_index.remove(folder / WORDS)
        self._connection = store_file.connect(folder)
        try:
            self._load()
        except BaseException:  # whatever it is, it goes on to the caller; only the file is let go of
            self._connection.close()
            raise

    def _load(self) -> None:
        content = store_file.load(self._folder, self._connection)
        self._state, self._state_sum, self._notes = content.state, content.state_sum, content.notes
        self._chain, self._epochs, self._tail = content.chain, content.epochs, content.tail
        self._spans_count = content.spans_count
        self._tail_on_disk: int = len(self._tail)  # entries of the tail that its rows hold; -1: they hold others
        self._sessions: tuple[Session, ...] | None = content.sessions_found()
        self._last_read: tuple[int, list[bytes]] = (-1, [])

    # --- making, opening, closing ---

    @classmethod
    def create(cls, folder: Path, service: str, log: str, server_id: str, notes: bytes = b"") -> "HistoryStore":
        """Make an empty store at `folder`, which must not exist, and hold it.

        Raises:
            HistoryInUse: there is one already.
            StoreFailed: it cannot be made.
        """
        state = State(0, service, log, server_id, 0, 0, Chain(log).digest(), sum_of(notes))
        try:
            with store_folder.draft(folder) as (place, tally):
                Tally(0, store_file.make(place / HISTORY, state, notes)).save(tally)
        except sqlite3.Error as error:
            raise trouble(folder, "could not be made", error) from error
        return cls._held(folder, tally)

    @classmethod
    def create_for(
        cls, data_dir: Path, service: str, nick: str, log: str, server_id: str, notes: bytes = b""
    ) -> "HistoryStore":
        """Make an empty store where `store_folder.find` will find it. Raises StoreFailed."""
        parent = store_folder.folder_for(data_dir, service)
        try:
            for folder in store_folder.free_folders(data_dir, service, nick):
                with contextlib.suppress(HistoryInUse):  # somebody of the same name took it just now: the next one
                    return cls.create(folder, service, log, server_id, notes)
        except OSError as error:  # one may not even look
            raise failed(parent, "could not be made", error) from error
        raise StoreFailed(f"{parent} holds {store_folder.STORES_MAX} histories of {nick}: delete some")

    @classmethod
    def open(cls, folder: Path, *, behind: bool = False) -> "HistoryStore":
        """Open a store, verify all of it, and hold it. Takes a second or two for a million entries.

        Args:
            behind: take it even when its last writes are gone (see HistoryBehind). What is there is a sound
                beginning, but not all that was once acknowledged: good for catching up, not for serving.

        Raises:
            HistoryDamaged: it is not what was written, or of another kind or version.
            HistoryBehind: what is there is sound, but the last writes are gone.
            HistoryInUse: another process has it open.
            HistoryUnreadable: it is not there, or cannot be read and written.
        """
        store = cls._held(folder, store_folder.hold(folder))
        try:
            store._compare_tally(behind)
        except BaseException as error:
            store.close()
            if isinstance(error, OSError):
                raise trouble(folder, "cannot be used", error, HistoryUnreadable) from error
            raise
        return store

    @classmethod
    def _held(cls, folder: Path, tally: int) -> "HistoryStore":
        try:
            return cls(folder, tally)
        except BaseException as error:
            os.close(tally)
            if isinstance(error, sqlite3.Error | UnicodeDecodeError | OSError):
                raise trouble(folder, "cannot be used", error, HistoryUnreadable) from error
            raise

    def _compare_tally(self, behind: bool) -> None:
        tally = store_folder.load_tally(self._folder, self._tally)
        state = self._state
        if state.writes == tally.writes and self._state_sum != tally.state_sum:
            raise damaged(self._folder, "its tally is of another history")
        if state.writes >= tally.writes:
            return  # more: it was killed, or the power failed, between writing and counting
        if not behind:
            raise HistoryBehind(
                f"the history in {self._folder} is not used: it ends at message {state.head}, but more was written "
                "(the power may have failed, or its write-ahead log was damaged). Somebody else who was in the chat "
                "may have the rest; move the folder away to be told no more",
                state.head,
            )
        Tally(state.writes, self._state_sum).save(self._tally)

    def close(self) -> None:
        """Let go of the store. What was written is on the disk then, synced, unless the disk refuses."""
        self.shut().let_go()

    def shut(self) -> Hold:
        """Close the store, but keep others from it."""
        self._drop_words()
        self._connection.close()
        if self._log_file is not None:
            os.close(self._log_file)
            self._log_file = None
        return Hold(self._folder, self._tally)

    def erase(self) -> None:
        """Let go of the store and delete it. Raises StoreFailed: something of it is still there."""
        hold = self.shut()
        try:
            hold.erase()
        finally:
            hold.let_go()

    # --- what is in it ---

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._folder

    @property
    def meta(self) -> Meta:
        """What it is of, and how far it goes."""
        state, last_epoch = self._state, self._epochs[-1][0] if self._epochs else 0
        return Meta(state.service, state.log, state.server_id, state.head, last_epoch, state.committed, self._notes)

    def epochs(self) -> tuple[tuple[int, int], ...]:
        """Each epoch that has entries, and the seq of its first."""
        return tuple(self._epochs)

    def sessions(self) -> tuple[Session, ...]:
        """What is in it of each author's session: enough to know every post again that may be repeated.

        Free of cost until the first write; later everything is read and verified anew.

        Raises:
            HistoryDamaged, StoreFailed: as for `read`.
        """
        if self._sessions is None:
            with reading(self._folder):
                self._load()
        return self._sessions or ()

    def digest(self) -> bytes:
        """The digest of all entries, as broker.digest says."""
        return self._chain.digest()

    def digest_at(self, seq: int) -> bytes:
        """The digest of the entries 1 … `seq`, which is not over head. Raises HistoryDamaged, StoreFailed."""
        rest_count = seq % SPAN_ENTRIES
        return self._chain.digest_at(seq, self._span(span_of(seq))[:rest_count] if rest_count else ())

    def opened(self) -> Opened:
        """All that a core needs to go on with this history. Raises as `sessions` does."""
        return Opened(self.meta, self.epochs(), self.sessions(), self._chain.copy())

    def read(
        self,
        first: int,
        last: int,
        count_max: int = limits.BLOCK_ENTRIES_MAX,
        bytes_max: int = limits.BLOCK_BYTES_MAX,
    ) -> tuple[int, bytes]:
        """Entries from `first` on, none after `last`, as one block; one entry even if it is over `bytes_max`.

        Returns:
            How many entries (0: there is none at `first`), and the block, of the very bytes that were appended.

        Raises:
            HistoryDamaged: they are not what was written.
            StoreFailed: the disk cannot be read.
        """
        stop = min(last, self._state.head, first + count_max - 1)
        taken: list[bytes] = []
        size = 0
        while 1 <= (seq := first + len(taken)) <= stop:
            at = (seq - 1) % SPAN_ENTRIES
            for data in self._span(span_of(seq))[at : at + stop - seq + 1]:
                if taken and size + len(data) > bytes_max:
                    return len(taken), codec.join_block(taken)
                taken.append(data)
                size += len(data)
        return len(taken), codec.join_block(taken)

    def _span(self, number: int) -> list[bytes]:
        """The entries of a span, verified; those of the open one are in memory."""
        if number == self._spans_count:
            return self._tail
        if self._last_read[0] != number:
            with reading(self._folder):
                row = self._connection.execute("SELECT entries FROM spans WHERE number = ?", (number,)).fetchone()
            if row is None or next_link(self._chain.link(number), row[0]) != self._chain.link(number + 1):
                raise damaged(self._folder, f"message {number * SPAN_ENTRIES + 1} or one soon after it has changed")
            self._last_read = (number, store_file.split(self._folder, row[0], SPAN_ENTRIES))
        return self._last_read[1]

    # --- writing ---

    def write(self, changes: Sequence[Change]) -> None:
        """Do all the changes, in order, in one transaction.

        When this returns they survive the death of the process at any moment; that of the machine once `sync`,
        `checkpoint` or `close` has returned.

        Raises:
            InvariantViolated, Malformed: a change does not fit the ones before it; nothing was done.
            StoreFailed, StoreFull: the disk refused. Nothing was done (or, if the very last step failed, all of it will
                be there when the store is opened again); reading goes on, and writing is refused until then.
        """
        if self._failed:
            raise StoreFailed(self._failed)
        checked = self._checked(changes)
        self._sessions = None
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for change in checked:
                match change:
                    case _Parts(places, entries):
                        self._append(places, entries)
                    case Cut(after):
                        self._cut(after)
                    case Mark(committed, notes):
                        self._mark(committed, notes)
            self._write_tail()
            self._write_state()
            self._connection.execute("COMMIT")
            Tally(self._state.writes, self._state_sum).save(self._tally)
        except (sqlite3.Error, OSError, StoreFailed, HistoryDamaged) as error:
            self._after_failure(error)

    def sync(self) -> None:
        """Have all that was written survive the death of the machine.

        Raises:
            StoreFailed: perhaps it does not, and nothing more is written until the store is opened anew.
        """
        try:
            if self._log_file is None:
                self._log_file = os.open(f"{self._folder / HISTORY}-wal", os.O_RDONLY | os.O_CLOEXEC)
            os.fsync(self._log_file)
            os.fsync(self._tally)
        except FileNotFoundError:  # nothing was written since it was opened
            return
        except OSError as error:
            # The system says only once that it could not write something, and may then have forgotten it.
            self._failed = str(failed(self._folder, "is not written any more", error))
            raise failed(self._folder, "could not be synced", error) from error

    @property
    def log_bytes(self) -> int:
        """The size of the write-ahead log, which `checkpoint` empties; known once `sync` was called."""
        return os.fstat(self._log_file).st_size if self._log_file is not None else 0

    def checkpoint(self) -> None:
        """Sync, and copy what is in the write-ahead log to where it belongs.

        Raises:
            StoreFailed: it stays where it is, which does no harm but takes room.
        """
        with reading(self._folder):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _checked(self, changes: Sequence[Change]) -> list[_Parts | Cut | Mark]:
        """The changes, when each fits the ones before it."""
        checked: list[_Parts | Cut | Mark] = []
        head = self._state.head
        for change in changes:
            match change:
                case Append(first, count, block):
                    if first != head + 1:
                        raise InvariantViolated(f"entry {first} follows {head}")
                    places = _places(block)
                    if [place.seq for place in places] != list(range(first, first + count)):
                        raise Malformed(f"a block does not hold the entries {first} … {first + count - 1}")
                    checked.append(_Parts(places, codec.split_block(block)[1]))
                    head += count
                case Cut(after):
                    if not 0 <= after <= head:
                        raise InvariantViolated(f"a history of {head} entries cannot be cut after {after}")
                    checked.append(change)
                    head = after
                case Mark():
                    checked.append(change)
        return checked

    def _append(self, places: list[_Place], entries: list[bytes]) -> None:
        for place in places:
            if not self._epochs or place.epoch != self._epochs[-1][0]:
                self._epochs.append((place.epoch, place.seq))
        done = 0
        while len(self._tail) + len(entries) - done >= SPAN_ENTRIES:
            piece = entries[done : done + SPAN_ENTRIES - len(self._tail)]
            span = b"".join((*self._tail, *piece))
            self._connection.execute("INSERT INTO spans VALUES (?, ?)", (self._spans_count, span))
            self._spans_count += 1
            self._tail, self._tail_on_disk = [], -1
            done += len(piece)
        self._tail += entries[done:]
        self._chain.add(entries)

    def _cut(self, after: int) -> None:
        number, rest_count = divmod(after, SPAN_ENTRIES)
        rest = self._span(number)[:rest_count] if rest_count else []
        self._connection.execute("DELETE FROM spans WHERE number >= ?", (number,))
        self._chain.cut(after, rest)
        self._spans_count, self._tail, self._tail_on_disk = number, rest, -1
        self._epochs = [(epoch, first) for epoch, first in self._epochs if first <= after]
        self._last_read = (-1, [])
        if self._words is not None and self._words.last > after:
            self._drop_words()

    def _mark(self, committed: int, notes: bytes) -> None:
        if notes != self._notes:
            self._connection.execute("UPDATE facts SET body = ? WHERE id = ?", (notes, store_file.NOTES))
        self._notes = notes
        self._state = msgspec.structs.replace(self._state, committed=committed, notes_sum=sum_of(notes))

    def _write_tail(self) -> None:
        """Bring the rows of the open span up to its entries."""
        if self._tail_on_disk < 0:
            self._connection.execute("DELETE FROM tail")
            self._tail_on_disk = 0
        if fresh := self._tail[self._tail_on_disk :]:
            first = self._spans_count * SPAN_ENTRIES + self._tail_on_disk + 1
            self._connection.execute("INSERT INTO tail VALUES (?, ?)", (first, b"".join(fresh)))
            self._tail_on_disk = len(self._tail)

    def _write_state(self) -> None:
        self._state = msgspec.structs.replace(
            self._state, writes=self._state.writes + 1, head=self._chain.head, digest=self._chain.digest()
        )
        sealed = store_file.sealed_state(self._state)
        self._connection.execute("UPDATE facts SET body = ? WHERE id = ?", (sealed, store_file.STATE))
        self._state_sum = sealed[-SUM_BYTES:]

    def _after_failure(self, error: Exception) -> None:
        """Undo what was begun, on the disk and in memory; always raises."""
        self._failed = str(trouble(self._folder, "is not written any more", error))
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._load()
        except (sqlite3.Error, UnicodeDecodeError, HistoryDamaged) as again:
            raise trouble(self._folder, f"could not be written ({error}) nor read again", again) from error
        raise trouble(self._folder, "could not be written", error) from error

    # --- searching ---

    @property
    def unindexed_count(self) -> int:
        """How many committed entries `index_some` has not yet come to; 0 also when the disk refuses an index."""
        if self._words_failed:
            return 0
        return min(self._state.committed, self._state.head) - (self._words.last if self._words else 0)

    def index_some(self, count_max: int) -> None:
        """Index the next entries for searching, in a quiet moment: a millisecond for a hundred, now and then three.

        Only committed entries are, as they are never cut off. Without an index, and beyond it, a search looks at
        the entries one by one. The index is scratch; when the disk refuses it, or the entries cannot be read, there
        is none.
        """
        if self.unindexed_count <= 0:
            return
        try:
            if self._words is None:
                self._words = WordIndex(self._folder / WORDS)
            first = self._words.last + 1
            last = min(self._state.committed, self._state.head, first + count_max - 1)
            count, block = self.read(first, last, count_max)
            rows = [(e.seq, finding.indexed_text(e.text, e.nick)) for e in codec.decode_entries(block)]
            self._words.add(rows, first + count - 1)
        except (sqlite3.Error, HistoryError):
            self._drop_words()
            self._words_failed = True

    def search(self, query: str, before: int, count: int, head: int) -> tuple[bytes, int]:
        """The last `count` entries before seq `before` with all words of `query`, as broker.finding says.

        Looks at limits.SEARCH_ENTRIES_MAX entries at most.

        Args:
            before: 0 means from `head` on downwards.

        Returns:
            The entries in seq order as a block, and the `before` to go on with (0: all were looked through).

        Raises:
            HistoryDamaged, StoreFailed: as for `read`.
        """
        words = finding.words_of(query)
        start = min(head, self._state.head, before - 1 if before else head)
        found: list[bytes] = []
        size = 0
        for looked, seq in enumerate(self._to_look_at(words, start), start=1):
            data = self._span(span_of(seq))[(seq - 1) % SPAN_ENTRIES]
            entry = codec.decode_entry(data)
            if finding.is_found(words, entry.text, entry.nick):
                size += len(data)
                found.append(data)
            if len(found) == count or looked == limits.SEARCH_ENTRIES_MAX or size > limits.BLOCK_BYTES_MAX:
                return codec.join_block(found[::-1]), seq if seq > 1 else 0
        return codec.join_block(found[::-1]), 0

    def _to_look_at(self, words: list[str], start: int) -> Iterator[int]:
        """Downwards from `start`, each entry that may be found."""
        parts = finding.parts_of(words)
        indexed = self._words.last if self._words is not None and parts else 0
        yield from range(start, indexed, -1)
        newest = min(start, indexed)
        if newest < 1 or self._words is None:
            return
        try:
            seqs: Sequence[int] = self._words.candidates(parts, newest, limits.SEARCH_ENTRIES_MAX)
        except sqlite3.Error:
            self._drop_words()
            self._words_failed = True
            seqs = range(newest, 0, -1)
        yield from seqs

    def _drop_words(self) -> None:
        if self._words is not None:
            with contextlib.suppress(sqlite3.Error):
                self._words.close()
        self._words = None


def _places(block: bytes) -> list[_Place]:
    try:
        return _places_decoder.decode(block)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"no block of entries: {error}") from error
