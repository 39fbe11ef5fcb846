"""SQLite files that one process holds: opened as all of ours are, and looked at before anything in them is believed."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path


def connect(path: Path, pragmas: Sequence[str], *, takes_lock: bool, timeout_s: float = 0) -> sqlite3.Connection:
    """Open an existing file for this process alone. One thread at a time may use it, but not always the same one.

    Args:
        path: of the file.
        pragmas: how it is written, such as "synchronous = FULL".
        takes_lock: take the lock now, and not with the first access that needs it.
        timeout_s: how long to wait for somebody who has it.

    Raises:
        sqlite3.Error: it cannot be opened, or is in use; then nothing is left open.
    """
    connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    try:
        # The mode of locking before all else: then there is no shared memory beside a write-ahead log.
        for pragma in ("locking_mode = EXCLUSIVE", *pragmas, "cell_size_check = ON", "trusted_schema = OFF"):
            connection.execute(f"PRAGMA {pragma}")
        if takes_lock:
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")
    except BaseException:  # whatever it is, it goes on to the caller; only the file is let go of
        connection.close()
        raise
    return connection


def what_is_wrong(
    connection: sqlite3.Connection, application_id: int, format_number: int, noun: str, check: str = "integrity_check"
) -> str:
    """Why a file is not to be believed; empty when it is of the right kind and its pages are sound.

    Args:
        connection: to the file.
        application_id: what the header of such a file says.
        format_number: likewise, of this version.
        noun: what it should be, for the sentence.
        check: the pragma that looks at the pages.

    Raises:
        sqlite3.Error: it cannot even be looked at.
    """
    kind = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    if kind != [application_id, format_number]:
        return f"it is marked {kind}, {noun} of this version {[application_id, format_number]}"
    verdict: str = connection.execute(f"PRAGMA {check}(1)").fetchone()[0]
    return "" if verdict == "ok" else verdict.splitlines()[-1]
