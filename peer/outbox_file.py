"""What of one participant's posts is not yet committed, in a SQLite file that it holds locked while it runs.

The file is written by one thread, in groups, in write-ahead mode. Only what somebody waits for is synced; the rest
survives the death of the process, and of the last moments before the machine itself dies something may be missing. That
loses what was typed then, and doubles nothing. SQLite notices neither a flipped bit in a row nor a row that is
missing from a sound page, so rows carry a checksum and are numbered without a gap.
"""

import contextlib
import os
import re
import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

from peer.outbox import Kept, Row, Write
from runtime import sqlite_file
from wire import limits
from wire.errors import RelevoError

SUFFIX = ".sqlite"
_APPLICATION_ID = 0x6F757462  # "outb", in the header of the file
_FORMAT = 1
_LOG_BYTES_KEPT = limits.MIB  # of the write-ahead log, once it was emptied


class OutboxError(RelevoError):
    """The file cannot be used; `str()` is a sentence without its full stop."""


class OutboxBusy(OutboxError):
    """Another participant has it."""


class OutboxDamaged(OutboxError):
    """It is not what was written."""


class OutboxFile:
    """One file, open and locked. Used by one thread at a time."""

    def __init__(self, path: Path, nick: str) -> None:
        """Open the file; make it, for somebody who is called `nick`, when there is none.

        Raises:
            OutboxBusy, OutboxDamaged: see there.
            OutboxError: it cannot be read or written.
        """
        self.path = path
        try:
            if not path.exists():
                _create(path, nick)
            self._connection = _connect(path)
        except (OSError, sqlite3.Error, UnicodeDecodeError) as error:
            raise self._unusable(error) from error
        try:
            self.nick, self.kept = self._read()
        except BaseException:  # whatever it is, it goes on to the caller; only the file is let go of
            self._connection.close()
            raise

    def save(self, writes: Sequence[Write]) -> None:
        """Do what these say, in order, together.

        Raises:
            OutboxError: nothing of it was done.
        """
        rows: dict[int, Row] = {}
        removed: set[int] = set()
        log: str | None = None
        for write in writes:
            log = write.log if write.log is not None else log
            for row in write.put:
                rows[row.place] = row
            for place in write.removed:  # what came and went since the last time never sees the disk
                rows.pop(place, None)
                removed.add(place)
        try:
            level = "FULL" if any(write.is_awaited for write in writes) else "NORMAL"
            self._connection.execute(f"PRAGMA synchronous = {level}")
            self._connection.execute("BEGIN IMMEDIATE")
            if log is not None:
                digest = _author_digest(self.kept.peer, self.nick, log)
                self._connection.execute("UPDATE author SET log = ?, digest = ?", (log, digest))
            self._connection.executemany("DELETE FROM posts WHERE place = ?", [(place,) for place in removed])
            self._connection.executemany(
                "INSERT OR REPLACE INTO posts (place, session, counter, text, digest) VALUES (?, ?, ?, ?, ?)",
                [(row.place, row.session, row.counter, row.text, _digest(row)) for row in rows.values()],
            )
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._connection.rollback()
            raise OutboxError(f"{self.path} cannot be written ({error})") from error

    def close(self) -> None:
        """Close the file and give up its lock."""
        with contextlib.suppress(sqlite3.Error):  # the disk is full, say; what was saved is in the log beside it
            self._connection.close()

    def delete(self) -> None:
        """Delete it. It is closed already, and nobody may look for a file meanwhile.

        Raises:
            OSError: it cannot be deleted.
        """
        for part in _parts(self.path):
            part.unlink(missing_ok=True)

    def _read(self) -> tuple[str, Kept]:
        """Everything in it, after everything about it was checked."""
        try:
            if wrong := sqlite_file.what_is_wrong(self._connection, _APPLICATION_ID, _FORMAT, "an outbox"):
                raise self._damaged(wrong)
            authors = self._connection.execute("SELECT peer, nick, log, digest FROM author").fetchall()
            found = self._connection.execute(
                "SELECT place, session, counter, text, digest FROM posts ORDER BY place LIMIT ?",
                (limits.OUTBOX_POSTS_MAX + 1,),
            ).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            # An error of the file's content and one of the disk look alike to SQLite; both say what they are.
            raise self._unusable(error) from error
        rows = tuple(Row(*columns) for *columns, _ in found)
        if len(authors) != 1 or authors[0][-1] != _author_digest(*authors[0][:-1]):
            raise self._damaged("its author is not what was written")
        if any(digest != _digest(row) for row, (*_, digest) in zip(rows, found, strict=True)):
            raise self._damaged("a row is not what was written")
        if not _is_whole(rows):
            raise self._damaged("posts are missing")
        peer, nick, log, _ = authors[0]
        return nick, Kept(peer, log, rows)

    def _damaged(self, what: str) -> OutboxDamaged:
        return OutboxDamaged(f"{self.path} is damaged ({' '.join(what.split())})")

    def _unusable(self, error: Exception) -> OutboxError:
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            return OutboxBusy(f"{self.path} is in use by another participant")
        if isinstance(error, OSError | sqlite3.OperationalError) and not re.search("malformed|no such", str(error)):
            return OutboxError(f"{self.path} cannot be used ({error})")
        return self._damaged(str(error))


def move_aside(path: Path) -> Path:
    """Give a damaged file another name, so that nothing takes it for a sound one; returns the new path.

    Raises:
        OSError: it cannot be moved.
    """
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(aside)
    for part in _parts(path)[1:]:
        if part.exists():
            part.rename(aside.with_name(aside.name + part.name.removeprefix(path.name)))
    return aside


def _parts(path: Path) -> list[Path]:
    """The file, and what SQLite keeps beside it."""
    return [path, *(path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm", "-journal"))]


def _create(path: Path, nick: str) -> None:
    """Make an empty one under another name first: an existing file is then always a whole one."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.executescript(
                f"""
                PRAGMA journal_mode = MEMORY;
                PRAGMA auto_vacuum = FULL;
                BEGIN;
                PRAGMA application_id = {_APPLICATION_ID};
                PRAGMA user_version = {_FORMAT};
                CREATE TABLE author (peer TEXT NOT NULL, nick TEXT NOT NULL, log TEXT NOT NULL, digest BLOB NOT NULL)
                STRICT;
                CREATE TABLE posts (
                    place INTEGER PRIMARY KEY,
                    session TEXT NOT NULL,
                    counter INTEGER NOT NULL,
                    text TEXT NOT NULL,
                    digest BLOB NOT NULL
                ) STRICT;
                COMMIT;
                """
            )
            peer = secrets.token_hex(16)
            connection.execute("INSERT INTO author VALUES (?, ?, '', ?)", (peer, nick, _author_digest(peer, nick, "")))
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)


def _connect(path: Path) -> sqlite3.Connection:
    """Open an existing file and hold its lock.

    It is opened by SQLite alone: closing any other descriptor of it would give up the lock that another participant of
    this process may have on it.
    """
    pragmas = ("journal_mode = WAL", f"journal_size_limit = {_LOG_BYTES_KEPT}")
    return sqlite_file.connect(path, pragmas, takes_lock=True)


def _is_whole(rows: Iterable[Row]) -> bool:
    """Whether the posts of each session are together, numbered without a gap, and not more than there can be."""
    sessions: list[str] = []
    counter = count = 0
    for row in rows:
        count += 1
        if sessions and row.session == sessions[-1]:
            if row.counter != counter + 1:
                return False
        elif row.session in sessions:
            return False
        else:
            sessions.append(row.session)
        counter = row.counter
    return count <= limits.OUTBOX_POSTS_MAX


def _digest(row: Row) -> bytes:
    return sha256(f"{row.place}/{row.session}/{row.counter}/{row.text}".encode()).digest()


def _author_digest(peer: str, nick: str, log: str) -> bytes:
    return sha256(f"{peer}/{log}/{nick}".encode()).digest()
