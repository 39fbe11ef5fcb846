"""Where histories lie on the disk: a folder each, held by one process at a time; finding, making and erasing them."""

import contextlib
import errno
import fcntl
import os
import shutil
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from broker.stored import HistoryDamaged, HistoryInUse, HistoryUnreadable, StoreFailed, StoreFull
from runtime.file_names import safe_name
from wire.names import nick_key

HISTORY = "history.sqlite"
TALLY = "tally"
WORDS = "words.sqlite"  # an index for searching; it never outlives the process that made it

STORES_MAX = 100  # chosen: histories of one service under one account; each running participant holds one

_LOCK_TRIES = 20
_LOCK_AGAIN_S = 0.05  # together a second: a participant that was killed a moment ago may still hold its store

_TALLY = struct.Struct(">8sQ16s")
_TALLY_KIND = b"relevo\0\1"
SUM_BYTES = 16


def sum_of(data: bytes) -> bytes:
    """A short checksum that no accident passes, SUM_BYTES long."""
    return blake2b(data, digest_size=SUM_BYTES).digest()


# --- names ---------------------------------------------------------------------------------------------------------


def folder_for(data_dir: Path, service: str) -> Path:
    """Where all histories of a service are. Not made here."""
    return data_dir / "histories" / safe_name(service)


def find(data_dir: Path, service: str, nick: str) -> list[Path]:
    """The stores of a service that nobody holds at the moment: those made under `nick` first, STORES_MAX at most.

    Somebody may still be quicker: then opening raises HistoryInUse, and the next is to be tried.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(folder_for(data_dir, service)) if entry.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise HistoryUnreadable(f"{folder_for(data_dir, service)} cannot be read: {error.strerror}") from error
    own = safe_name(nick_key(nick))
    visible = [name for name in names if not name.startswith(".")]
    visible.sort(key=lambda name: (name.rpartition("-")[0] != own, len(name), name))
    folders = (folder_for(data_dir, service) / name for name in visible[:STORES_MAX])
    return [folder for folder in folders if not _is_held(folder)]


def free_folders(data_dir: Path, service: str, nick: str) -> Iterator[Path]:
    """Places where a new store of a service can be made under `nick`, until one of them is taken."""
    parent = folder_for(data_dir, service)
    for remains in parent.glob(".*.old"):  # of somebody killed while erasing
        shutil.rmtree(remains, ignore_errors=True)
    for number in range(1, STORES_MAX + 1):
        folder = parent / f"{safe_name(nick_key(nick))}-{number}"
        if not folder.exists():
            yield folder


# --- holding -------------------------------------------------------------------------------------------------------


def hold(folder: Path) -> int:
    """Lock a store for as long as the descriptor returned is open: it is that of the tally.

    Raises:
        HistoryInUse: another process has it, or this one.
        HistoryDamaged: there is a history, but no tally.
        HistoryUnreadable: there is no such store, or it cannot be opened for writing.
    """
    for attempt in range(_LOCK_TRIES):
        if attempt:
            threading.Event().wait(_LOCK_AGAIN_S)
        try:
            tally = _lock(folder / TALLY, os.O_RDWR)
        except FileNotFoundError as error:
            if (folder / HISTORY).exists():
                raise damaged(folder, "its tally is missing") from error
            raise HistoryUnreadable(f"there is no history at {folder}") from error
        except OSError as error:
            raise HistoryUnreadable(f"{folder} cannot be used: {error.strerror}") from error
        if tally is not None:
            return tally
    raise HistoryInUse(f"{folder} is in use by another participant")


def _is_held(folder: Path) -> bool:
    try:
        tally = _lock(folder / TALLY, os.O_RDONLY)
    except OSError:  # opening it will say what is wrong
        return False
    if tally is None:
        return True
    os.close(tally)
    return False


def _lock(path: Path, flags: int) -> int | None:
    """Open and lock a file; None when somebody else holds it, or has put another in its place meanwhile."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its folder may have been erased, and made anew, between the two calls.
        held = os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        held = False
    except BaseException:  # whatever it is, it goes on to the caller; only the file is let go of
        os.close(descriptor)
        raise
    if held:
        return descriptor
    os.close(descriptor)
    return None


# --- making and erasing --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def draft(folder: Path) -> Iterator[tuple[Path, int]]:
    """Make a store's folder under another name, so that one with its own name is always whole.

    Yields where to put the files, and the descriptor of the tally, which from then on holds the store.

    Raises:
        HistoryInUse: there is one already, or it is just being made.
        StoreFailed: it cannot be made.
    """
    place = folder.with_name(f".{folder.name}.new")
    tally: int | None = None
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        tally = _lock(place / TALLY, os.O_RDWR | os.O_CREAT)
        if tally is None or folder.exists():
            raise HistoryInUse(f"{folder} is just being made by another participant")
        for left in place.iterdir():  # by one that was killed while it made the store
            if left.name != TALLY:
                left.unlink()
        yield place, tally
        os.fsync(tally)
        place.rename(folder)
        _sync_folder(folder.parent)
    except BaseException as error:
        if tally is not None:
            shutil.rmtree(place, ignore_errors=True)
            os.close(tally)
        if isinstance(error, OSError):
            raise failed(folder, "could not be made", error) from error
        raise


def erase(folder: Path) -> None:
    """Delete a store that the caller holds.

    Raises:
        StoreFailed: it is still there, perhaps in part and then under another name.
    """
    remains = folder.with_name(f".{folder.name}.old")
    try:
        if remains.exists():
            shutil.rmtree(remains)
        folder.rename(remains)  # from here on nobody finds it, even if we are killed
        shutil.rmtree(remains)
        _sync_folder(folder.parent)
    except OSError as error:
        raise failed(folder, "could not be erased", error) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- the tally -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tally:
    """How many writes a store has had, and the checksum of its state after the last: kept beside SQLite's files.

    SQLite takes a write-ahead log that was cut short, or has a flipped bit, for one that ends earlier. This tells.
    """

    writes: int
    state_sum: bytes

    def save(self, descriptor: int) -> None:
        """Write it. It lies within one page, so a process that is killed has written all of it or nothing."""
        body = _TALLY.pack(_TALLY_KIND, self.writes, self.state_sum)
        os.pwrite(descriptor, body + sum_of(body), 0)


def load_tally(folder: Path, descriptor: int) -> Tally:
    """Read it. Raises HistoryDamaged: it is none."""
    data = os.pread(descriptor, 4096, 0)
    body = data[: _TALLY.size]
    if len(data) != _TALLY.size + SUM_BYTES or data[_TALLY.size :] != sum_of(body):
        raise damaged(folder, "its tally is not what was written")
    kind, writes, state_sum = _TALLY.unpack(body)
    if kind != _TALLY_KIND:
        raise damaged(folder, "it is of another version")
    return Tally(writes, state_sum)


# --- what is wrong, as sentences -----------------------------------------------------------------------------------


def damaged(folder: Path, what: str) -> HistoryDamaged:
    """That a store is refused."""
    return HistoryDamaged(
        f"the history in {folder} is damaged and is not used ({' '.join(what.split())}). Somebody else who was in the "
        "chat may have a whole copy; move the folder away to be told no more"
    )


def failed(folder: Path, what: str, error: Exception) -> StoreFailed:
    """That the disk refused."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    kind = StoreFull if full else StoreFailed
    why = error.strerror if isinstance(error, OSError) else error
    return kind(f"the history in {folder} {what}: {why}")
