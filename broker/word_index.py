"""An index of the parts of words, by FTS5: which entries a search must look at. Scratch, for one process."""

import contextlib
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

# Measured for each hundred entries of 128 bytes: half a millisecond, 2.5 at the 99th percentile; 22 without.
_MERGE_PAGES = 8


class WordIndex:
    """Which entries have given parts of three characters. Every method may raise sqlite3.Error: then go without it.

    It is made anew whenever a store is opened, without journal or syncing: filling it takes seconds for a
    million entries and is done in the gaps between other work, and a file that never outlives its process cannot be
    damaged, stale or half written. Only the parts are indexed, and where they stand is not kept: whoever asks
    looks at the entries themselves.
    """

    def __init__(self, path: Path) -> None:
        self.last = 0  # the seq up to which entries are indexed
        self._path = path
        remove(path)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._connection.executescript(
                """
                PRAGMA journal_mode = OFF;
                PRAGMA synchronous = OFF;
                PRAGMA locking_mode = EXCLUSIVE;
                CREATE VIRTUAL TABLE words USING fts5(
                    text, content = '', detail = none, columnsize = 0, tokenize = 'trigram case_sensitive 1'
                );
                INSERT INTO words (words, rank) VALUES ('automerge', 0), ('crisismerge', 1900), ('usermerge', 4);
                """
            )
        except sqlite3.Error:
            self.close()
            raise

    def add(self, rows: Iterable[tuple[int, str]], last: int) -> None:
        """Index the texts of entries, which follow those before, up to entry `last`."""
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", rows)
        self._connection.execute("COMMIT")
        # Left to itself FTS5 puts its pieces together rarely and then at length.
        merge_pages = _MERGE_PAGES * (1 + (last - self.last) // 100)
        self._connection.execute("INSERT INTO words (words, rank) VALUES ('merge', ?)", (merge_pages,))
        self.last = last

    def candidates(self, parts: Sequence[str], newest: int, count: int) -> list[int]:
        """The seqs of the last `count` entries up to `newest` that have all the parts, newest first."""
        wanted = " AND ".join('"' + part.replace('"', '""') + '"' for part in parts)
        rows = self._connection.execute(
            "SELECT rowid FROM words WHERE words MATCH ? AND rowid <= ? ORDER BY rowid DESC LIMIT ?",
            (wanted, newest, count),
        )
        return [seq for (seq,) in rows]

    def close(self) -> None:
        """Let go of it and delete it."""
        self._connection.close()
        remove(self._path)


def remove(path: Path) -> None:
    """Delete an index that may have been left by a process that was killed."""
    with contextlib.suppress(OSError):  # not there; or else making a new one will fail, and say why
        path.unlink()
