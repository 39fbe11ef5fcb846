"""Where zdns keeps its records: SQLite, and memory for tests; and what a store is that several zdns share.

A store is small (one row a service) and holds what must never be forgotten: which epochs were granted. So
it is synced before `save` returns, and a file that is damaged in any way is refused by name rather than
served. A store is used by one thread at a time, a shared one by many.
"""

import abc
import contextlib
import os
import sqlite3
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import msgspec

from runtime import sqlite_file
from wire.errors import RelevoError
from wire.messages import Record
from zdns.shared import Change, View

_APPLICATION_ID = 0x7A646E73  # "zdns", in the header of the file
_FORMAT = 1
_SUM_MODULUS = 1 << 256
_HEADER = b"SQLite format 3\0"
_LOCK_WAIT_S = 1.0  # a zdns that was killed a moment ago may still hold the file

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Record)


class StoreError(RelevoError):
    """The store cannot be read, or a record was not saved and the store is as it was; a sentence for people."""


class StoreDoubtful(StoreError):
    """A record was perhaps saved. Nobody may be answered before the store was read anew."""


class Store(Protocol):
    """What the server needs of a store that it has to itself."""

    def load(self) -> list[Record]:
        """All records, ordered by service name. Raises StoreError."""

    def save(self, record: Record) -> None:
        """Replace the record of `record.service`; it is on disk when this returns.

        Raises:
            StoreError: it was not saved, and nothing has changed.
            StoreDoubtful: nobody knows whether it was saved.
        """

    def close(self) -> None:
        """Let go of the store."""


class SharedStore(abc.ABC):
    """What the server needs of a store that other zdns use too: it compares before it writes, and has leases.

    May be used by several threads at once.
    """

    lease = 0  # under which this zdns writes who is there; 0: none

    @abc.abstractmethod
    def hold(self, lease_ms: int) -> None:
        """Keep up the lease of this zdns, or begin another one when it has ended: then all it wrote under it is gone.

        Raises:
            StoreError: it was not kept up this time.
        """

    @abc.abstractmethod
    def read(self, service: str, seen: View | None) -> View:
        """All there is of a service, not older than this call; `seen` is what was read of it before.

        Raises:
            StoreError: the store does not answer, or with something that cannot be.
        """

    @abc.abstractmethod
    def commit(self, view: View, changes: Sequence[Change]) -> tuple[bool, View]:
        """Carry out all changes if each key is still at its revision, else none; and what there is afterwards.

        Raises:
            StoreError: the store refuses them, and nothing has changed.
            StoreDoubtful: nobody knows whether they were carried out, or will yet be.
        """

    @abc.abstractmethod
    def keys_count(self) -> int:
        """How many keys there are of all services. Raises StoreError."""

    @abc.abstractmethod
    def offer_house(self, instead_of: bytes, house: bytes) -> bytes:
        """What makes the network of all its zdns a closed one, as it is afterwards.

        Args:
            instead_of: what must be there for `house` to take its place; nothing: there must be none.
            house: what to put there.

        Raises:
            StoreError: the store does not answer, or not as it should.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of the store; calls that are under way are the last ones."""


class MemoryStore:
    """Records that die with the process: for tests, and for networks where every start is a first one."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}

    def load(self) -> list[Record]:
        """All records, ordered by service name."""
        return [self._records[service] for service in sorted(self._records)]

    def save(self, record: Record) -> None:
        """Replace the record of `record.service`."""
        self._records[record.service] = record

    def close(self) -> None:
        """Nothing is held."""


class SqliteStore:
    """One SQLite file, locked for as long as it is open.

    Each row carries a checksum and the file a sum of them, because SQLite itself notices neither a flipped
    bit in a row nor a row that is missing from an otherwise sound page. The rollback journal is used, not
    the write-ahead log: a log that was cut short silently loses the last records, and with them an epoch.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the file, making it when there is none.

        Raises:
            StoreError: it is damaged, of another kind, in use by another zdns, or cannot be read or written.
        """
        self._path = Path(path)
        try:
            if not self._path.exists():
                _create(self._path)
            self._connection = _connect(self._path)
        except (OSError, sqlite3.Error, UnicodeDecodeError) as error:
            raise self._unusable(error) from error
        self._sum = 0
        try:
            self._rows = self._read()
        except BaseException:  # whatever it is, it goes on to the caller; only the file is let go of
            self._connection.close()
            raise

    def load(self) -> list[Record]:
        """All records, ordered by service name."""
        return [_decoder.decode(self._rows[service]) for service in sorted(self._rows)]

    def save(self, record: Record) -> None:
        """Replace the record of `record.service`; it is on disk when this returns.

        Raises:
            StoreError: it was not saved, and nothing has changed.
            StoreDoubtful: nobody knows whether it was saved.
        """
        service, body = record.service, _encoder.encode(record)
        was = self._rows.get(service)
        total = (self._sum + _number(service, body) - (_number(service, was) if was else 0)) % _SUM_MODULUS
        rows_count = len(self._rows) + (was is None)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(
                "INSERT INTO records (service, body, digest) VALUES (?, ?, ?) "
                "ON CONFLICT (service) DO UPDATE SET body = excluded.body, digest = excluded.digest",
                (service, body, _digest(service, body)),
            )
            self._connection.execute("UPDATE sums SET rows = ?, digest = ?", (rows_count, _packed(total)))
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._after_failure(service, error)
        self._rows[service] = body
        self._sum = total

    def close(self) -> None:
        """Close the file and give up its lock."""
        self._connection.close()

    def _after_failure(self, service: str, error: sqlite3.Error) -> None:
        """Find out what a failed transaction left behind; always raises."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            row = self._connection.execute("SELECT body FROM records WHERE service = ?", (service,)).fetchone()
        except sqlite3.Error as again:
            raise StoreDoubtful(f"{self._path}: saving failed ({error}), and so did reading ({again})") from error
        if (row[0] if row else None) != self._rows.get(service):
            raise StoreDoubtful(f"{self._path}: saving failed ({error}), and the record may be there all the same")
        raise StoreError(f"{self._path}: a record could not be saved ({error})") from error

    def _read(self) -> dict[str, bytes]:
        """Every row, after everything about the file was checked."""
        try:
            if wrong := sqlite_file.what_is_wrong(self._connection, _APPLICATION_ID, _FORMAT, "a store"):
                raise self._damaged(wrong)
            rows: dict[str, bytes] = {}
            for service, body, digest in self._connection.execute("SELECT service, body, digest FROM records"):
                if digest != _digest(service, body) or not _is_record(service, body):
                    raise self._damaged(f"the record of {service!r} is not what was written")
                rows[service] = body
            sums = self._connection.execute("SELECT rows, digest FROM sums").fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            # An error of the file's content and one of the disk look alike to SQLite; both say what they are.
            raise self._unusable(error) from error
        self._sum = sum(_number(service, body) for service, body in rows.items()) % _SUM_MODULUS
        if sums != [(len(rows), _packed(self._sum))]:
            raise self._damaged("records are missing")
        return rows

    def _damaged(self, what: str) -> StoreError:
        return StoreError(
            f"{self._path} is damaged and is not used ({' '.join(what.split())}). Put a good copy in its place; "
            "or, only if no chat that it knew is running any more, move it away to start anew"
        )

    def _unusable(self, error: Exception) -> StoreError:
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            return StoreError(f"{self._path} is in use by another zdns: stop that one, or name another file")
        if isinstance(error, OSError | sqlite3.OperationalError) and "malformed" not in str(error):
            return StoreError(f"{self._path} cannot be used as a store: {error}")
        return self._damaged(str(error))


def _create(path: Path) -> None:
    """Make an empty store under another name first: an existing file is then always a whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as connection:
        connection.executescript(
            f"""
            PRAGMA journal_mode = MEMORY;
            PRAGMA synchronous = FULL;
            BEGIN;
            PRAGMA application_id = {_APPLICATION_ID};
            PRAGMA user_version = {_FORMAT};
            CREATE TABLE records (service TEXT PRIMARY KEY, body BLOB NOT NULL, digest BLOB NOT NULL) STRICT;
            CREATE TABLE sums (rows INTEGER NOT NULL, digest BLOB NOT NULL) STRICT;
            COMMIT;
            """
        )
        connection.execute("INSERT INTO sums VALUES (0, ?)", (_packed(0),))
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _connect(path: Path) -> sqlite3.Connection:
    """Open an existing store and hold its lock."""
    with path.open("rb") as file:
        header = file.read(len(_HEADER))
    if header != _HEADER:
        # SQLite would take an empty file for a new store, and forget every epoch ever granted.
        raise sqlite3.DatabaseError("its header is not that of a store")
    pragmas = ("journal_mode = TRUNCATE", "synchronous = FULL")
    return sqlite_file.connect(path, pragmas, takes_lock=True, timeout_s=_LOCK_WAIT_S)


def _is_record(service: str, body: bytes) -> bool:
    try:
        return _decoder.decode(body).service == service
    except msgspec.DecodeError:
        return False


def _digest(service: str, body: bytes) -> bytes:
    return sha256(b"%d:%s%s" % (len(service.encode()), service.encode(), body)).digest()


def _number(service: str, body: bytes) -> int:
    return int.from_bytes(_digest(service, body))


def _packed(total: int) -> bytes:
    return total.to_bytes(32)
