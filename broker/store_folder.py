"""Where histories lie on the disk: a folder each, held by one process at a time; finding, making and erasing them."""

import contextlib
import errno
import fcntl
import os
import shutil
import struct
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
    """The stores of a service made under `nick`, also those in use: the one written to last first, STORES_MAX at most.

    Raises:
        HistoryUnreadable: the system does not let us look.
    """
    own = safe_name(nick_key(nick))
    parent = folder_for(data_dir, service)
    try:
        with os.scandir(parent) as entries:
            names = [entry.name for entry in entries if entry.name.rpartition("-")[0] == own and entry.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise HistoryUnreadable(f"{parent} cannot be read: {error.strerror}") from error
    folders = sorted((parent / name for name in names), key=lambda folder: (len(folder.name), folder.name))
    return sorted(folders, key=_written_ns, reverse=True)[:STORES_MAX]


def _written_ns(folder: Path) -> int:
    """When a store was last written to."""
    for name in (TALLY, HISTORY):
        with contextlib.suppress(OSError):  # opening it will say what is wrong
            return (folder / name).stat().st_mtime_ns
    return 0


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
    for _ in range(2):  # the first time it may just have been erased, or made anew
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


# --- making, erasing, putting aside --------------------------------------------------------------------------------


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


class Hold:
    """A store that nobody has open, and that nobody can open, until it is let go of."""

    def __init__(self, folder: Path, tally: int) -> None:
        """`tally`: the descriptor that holds it; ours from now on."""
        self._folder = folder
        self._tally = tally

    def let_go(self) -> None:
        """Others may have it."""
        with contextlib.suppress(OSError):  # the descriptor is gone all the same
            os.close(self._tally)

    def _is_there(self) -> bool:
        """It still is where it was: nobody has deleted it, and perhaps put another there."""
        try:
            return os.path.samestat(os.fstat(self._tally), (self._folder / TALLY).stat())
        except FileNotFoundError:
            return False

    def erase(self) -> None:
        """Delete it; it is still to be let go of.

        Raises:
            StoreFailed: it is still there, perhaps in part and then under another name.
        """
        remains = self._folder.with_name(f".{self._folder.name}.old")
        try:
            if self._is_there():
                _remove(remains)
                self._folder.rename(remains)  # from here on nobody finds it, even if we are killed
                _remove(remains)
                _sync_folder(self._folder.parent)
        except OSError as error:
            raise failed(self._folder, "could not be erased", error) from error

    def put_aside(self) -> None:
        """Give it a name under which people find it, but `find` does not; it is still to be let go of.

        Raises:
            StoreFailed: it is where it was.
        """
        try:
            if self._is_there():
                self._folder.rename(self._place_aside())
                _sync_folder(self._folder.parent)
        except OSError as error:
            raise failed(self._folder, "could not be put aside", error) from error

    def _place_aside(self) -> Path:
        for number in range(1, STORES_MAX + 1):  # no name of a store has a plus in it
            place = self._folder.with_name(f"aside+{self._folder.name}+{number}")
            if not place.exists():
                return place
        raise StoreFailed(f"{self._folder.parent} holds {STORES_MAX} histories that were put aside: delete some")


def _remove(folder: Path) -> None:
    """Delete a folder, if it is there; somebody else may be doing the same."""
    while folder.exists():
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)


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
