"""The SQLite file of a history: how it is made, opened and verified whole, and what its errors mean."""

import contextlib
import sqlite3
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from broker.digest import SPAN_ENTRIES, Chain
from broker.store_folder import HISTORY, SUM_BYTES, damaged, failed, sum_of
from broker.stored import HistoryDamaged, HistoryInUse, HistoryUnreadable, Session, StoreFailed, StoreFull
from runtime import sqlite_file
from wire import codec, limits
from wire.errors import Malformed

STATE, NOTES = 1, 2  # rows of the table `facts`

_APPLICATION_ID = 0x726C766F  # "rlvo", in the header of the file
_FORMAT = 1
_HEADER = struct.Struct(">16s8s36xI4xI28x")
# Pages of 4 KiB; with a rollback journal (as it is made) or a write-ahead log. SQLite would take other values for a
# format it may only read.
_LAYOUTS = (b"\x10\0\1\1\0\x40\x20\x20", b"\x10\0\2\2\0\x40\x20\x20")
# Pages the write-ahead log may have before a write has to wait until they are copied to where they belong: 16 MiB,
# which takes about 50 ms. Whoever makes a checkpoint in a quiet moment never gets there.
_LOG_PAGES_MAX = 4_096
# SQLITE_ERROR: a table that is not there, or not as it was made.
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR}

_array_32 = struct.Struct(">BI")


class State(msgspec.Struct, frozen=True, array_like=True):
    """What one row says of all the others. `digest`: of all entries; `notes_sum`: of the notes."""

    writes: int
    service: str
    log: str
    server_id: str
    head: int
    committed: int
    digest: bytes
    notes_sum: bytes


class _Key(msgspec.Struct, frozen=True, array_like=True):
    """The first fields of an entry; what follows is passed over undecoded."""

    seq: int
    epoch: int
    author: str
    session: str
    counter: int


_encoder = msgspec.msgpack.Encoder()
_state_decoder = msgspec.msgpack.Decoder(State)
_keys_decoder = msgspec.msgpack.Decoder(list[_Key])


@dataclass(slots=True)
class Content:
    """What was read of a file, and found to be what was written.

    `spans_count` full spans are on the disk alone; `tail` holds the entries after them. `sessions`: last counter
    and newest seqs by author and session.
    """

    state: State
    state_sum: bytes
    notes: bytes
    chain: Chain
    epochs: list[tuple[int, int]] = field(default_factory=list)
    tail: list[bytes] = field(default_factory=list)
    sessions: dict[tuple[str, str], tuple[int, deque[int]]] = field(default_factory=dict)

    @property
    def spans_count(self) -> int:
        """How many spans are full."""
        return self.state.head // SPAN_ENTRIES

    def sessions_found(self) -> tuple[Session, ...]:
        """The sessions as values."""
        return tuple(
            Session(author, session, last_counter, tuple(seqs))
            for (author, session), (last_counter, seqs) in self.sessions.items()
        )

    def note(self, keys: list[_Key]) -> None:
        """Keep what the next entries say of epochs and sessions."""
        for key in keys:
            if not self.epochs or key.epoch != self.epochs[-1][0]:
                self.epochs.append((key.epoch, key.seq))
            name = (key.author, key.session)
            seqs = self.sessions[name][1] if name in self.sessions else deque[int](maxlen=limits.SEQS_REMEMBERED)
            seqs.append(key.seq)
            self.sessions[name] = (key.counter, seqs)


def make(path: Path, state: State, notes: bytes) -> bytes:
    """Make the file of an empty store, synced; return the checksum of its state."""
    sealed = sealed_state(state)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(
            f"""
            PRAGMA page_size = 4096;
            PRAGMA journal_mode = MEMORY;
            PRAGMA synchronous = FULL;
            BEGIN;
            PRAGMA application_id = {_APPLICATION_ID};
            PRAGMA user_version = {_FORMAT};
            CREATE TABLE spans (number INTEGER PRIMARY KEY, entries BLOB NOT NULL) STRICT;
            CREATE TABLE tail (first INTEGER PRIMARY KEY, entries BLOB NOT NULL) STRICT;
            CREATE TABLE facts (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
            INSERT INTO facts VALUES ({STATE}, x'{sealed.hex()}'), ({NOTES}, x'{notes.hex()}');
            COMMIT;
            """
        )
    return sealed[-SUM_BYTES:]


def connect(folder: Path) -> sqlite3.Connection:
    """Open the file of a store that is held."""
    with (folder / HISTORY).open("rb") as file:
        header = file.read(_HEADER.size)
    # SQLite would take an empty file for a new store; and a file that is not ours it would change.
    ours = [(b"SQLite format 3\0", layout, _FORMAT, _APPLICATION_ID) for layout in _LAYOUTS]
    if len(header) != _HEADER.size or _HEADER.unpack(header) not in ours:
        raise damaged(folder, "its header is not that of a history of this version")
    pragmas = (
        "journal_mode = WAL",
        "synchronous = NORMAL",
        f"wal_autocheckpoint = {_LOG_PAGES_MAX}",
        "secure_delete = OFF",  # what leaves the open span goes into a full one
    )
    return sqlite_file.connect(folder / HISTORY, pragmas, takes_lock=False)


def load(folder: Path, connection: sqlite3.Connection) -> Content:
    """Read everything, and compare it with what the file says of itself.

    Raises:
        HistoryDamaged: it is not what was written.
        sqlite3.Error, UnicodeDecodeError: see `trouble`.
    """
    content = _load_facts(folder, connection)
    chain, head = content.chain, content.state.head
    for number, span in connection.execute("SELECT number, entries FROM spans ORDER BY number"):
        if number * SPAN_ENTRIES != chain.head:
            raise damaged(folder, f"message {chain.head + 1} is missing")
        chain.add_span(span)
        content.note(_keys(folder, span, SPAN_ENTRIES))
    if not 0 <= head - chain.head < SPAN_ENTRIES:
        raise damaged(folder, f"it has {chain.head} messages in full spans, and should have {head} in all")
    rows = b"".join(data for (data,) in connection.execute("SELECT entries FROM tail ORDER BY first"))
    content.tail = split(folder, rows, head - chain.head)
    content.note(_keys(folder, rows, len(content.tail)))
    chain.add(content.tail)
    if chain.digest() != content.state.digest:
        raise damaged(folder, "its messages are not those that were written")
    return content


def _load_facts(folder: Path, connection: sqlite3.Connection) -> Content:
    # The check is not for the rows, which are verified below: a page that two owners claim would be overwritten later.
    if wrong := sqlite_file.what_is_wrong(connection, _APPLICATION_ID, _FORMAT, "one", "quick_check"):
        raise damaged(folder, wrong)
    facts = dict(connection.execute("SELECT id, body FROM facts"))
    sealed, notes = facts.get(STATE, b""), facts.get(NOTES, b"")
    body, state_sum = sealed[:-SUM_BYTES], sealed[-SUM_BYTES:]
    if sum_of(body) != state_sum:
        raise damaged(folder, "its state is not what was written")
    try:
        state = _state_decoder.decode(body)
    except msgspec.DecodeError as error:
        raise damaged(folder, f"its state is of another version: {error}") from error
    if sum_of(notes) != state.notes_sum:
        raise damaged(folder, "its notes are not what was written")
    return Content(state, state_sum, notes, Chain(state.log))


def sealed_state(state: State) -> bytes:
    """The state's bytes, followed by their checksum."""
    body = _encoder.encode(state)
    return body + sum_of(body)


def split(folder: Path, entries: bytes, count: int) -> list[bytes]:
    """Joined entries, each by itself."""
    try:
        return codec.split_block(_array_32.pack(0xDD, count) + entries)[1]
    except Malformed as error:
        raise damaged(folder, f"its messages cannot be read: {error}") from error


def _keys(folder: Path, entries: bytes, count: int) -> list[_Key]:
    try:
        return _keys_decoder.decode(_array_32.pack(0xDD, count) + entries)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise damaged(folder, f"its messages cannot be read: {error}") from error


def trouble(
    folder: Path, what: str, error: Exception, otherwise: type[HistoryUnreadable | StoreFailed] = StoreFailed
) -> Exception:
    """What an error of SQLite or the system means for people: damage, a full disk, or `otherwise`."""
    if isinstance(error, HistoryDamaged | StoreFailed):
        return error
    if isinstance(error, UnicodeDecodeError):
        return damaged(folder, str(error))
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code & 0xFF in _DAMAGE or code == sqlite3.SQLITE_IOERR_SHORT_READ:
            return damaged(folder, str(error))
        if code & 0xFF == sqlite3.SQLITE_BUSY:
            return HistoryInUse(f"{folder} is in use by another program")
        if code & 0xFF == sqlite3.SQLITE_FULL:
            return StoreFull(f"the history in {folder} {what}: the disk is full")
    sentence = failed(folder, what, error)
    return sentence if isinstance(sentence, StoreFull) else otherwise(str(sentence))


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Give what goes wrong while reading its name."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise trouble(folder, "cannot be read", error) from error
