"""Files for nobody but their owner, keys and tickets: checked when they are read, replaced as a whole under a lock.

All of a data folder lie in one folder within it, which has mode 0700 whatever the data folder itself has. Only the
files are what must not be read; the folder is what must not be written to, as its owner could be given another file.
"""

import contextlib
import errno
import fcntl
import os
import shlex
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from wire import limits
from wire.errors import RelevoError
from wire.exits import EXIT_CONFIG

_LOCK = ".lock"  # one for the folder: whoever holds it may write there
_DRAFT = ".new"  # what becomes a file when it is complete
_OTHERS = 0o077  # everything that the mode of a file may allow to other accounts
_OTHERS_WRITE = 0o022


class SecretFileError(RelevoError):
    """Such a file, or its folder, will not do; `str()` is a sentence without its full stop."""

    exit_code = EXIT_CONFIG


def folder_of(data_dir: Path) -> Path:
    """Where such files of a data folder are. Not made here."""
    return data_dir / "keys"


def damaged(path: Path, why: str, remedy: str) -> SecretFileError:
    """The error to raise when a file could be read but makes no sense."""
    return SecretFileError(f"{path} is damaged ({why}): {remedy}")


def read(path: Path) -> bytes | None:
    """What is in a file; None: there is none.

    Raises:
        SecretFileError: others may read or write it, it is not ours, no file at all, or longer than
            limits.SECRET_FILE_BYTES_MAX.
    """
    try:
        with _opened(path.parent) as folder:
            return _read(folder, path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SecretFileError(f"{path} cannot be read ({error.strerror}); --data-dir names another folder") from error


def update(path: Path, change: Callable[[bytes | None], bytes]) -> bytes:
    """Put `change` of what is in a file (None: there is none) in its place; returns that.

    Of several processes that do so at once each sees what the one before it wrote, and no reader sees half of it. The
    folder is made if need be. `change` may raise: then nothing happens.

    Raises:
        SecretFileError: as `read`; or it cannot be written.
    """
    try:
        _make(path.parent)
        with _opened(path.parent) as folder, _locked(folder):
            old = _read(folder, path)
            new = change(old)
            if len(new) > limits.SECRET_FILE_BYTES_MAX:
                raise SecretFileError(f"{path} would be longer than {limits.SECRET_FILE_BYTES_MAX:,} bytes")
            if new != old:
                _write(folder, path.name, new)
            return new
    except OSError as error:
        raise SecretFileError(
            f"{path} cannot be written ({error.strerror}); --data-dir names another folder"
        ) from error


# --- the folder ----------------------------------------------------------------------------------------------------


def _make(folder: Path) -> None:
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)  # the umask may have taken our own rights
    except FileExistsError:
        pass  # made before, or by another process just now; `_opened` looks what it is


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """The folder's descriptor, by which its files are opened: what was checked is then what is used."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise SecretFileError(
                f"{folder} is no folder, or a link to one: move it away, and a folder is made"
            ) from error
        raise
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            raise SecretFileError(f"{folder} belongs to another account: name another folder with --data-dir")
        if found.st_mode & _OTHERS_WRITE:
            raise SecretFileError(
                f"other accounts may write to {folder} (mode {_mode(found)}): look whether all in it is yours, then"
                f" type chmod 700 {shlex.quote(str(folder))}"
            )
        if stat.S_IMODE(found.st_mode) != 0o700:
            os.fchmod(descriptor, 0o700)  # others could see the names of files, and no more
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(folder: int) -> Iterator[None]:
    """Wait until nobody else writes in the folder. A process that dies gives up its lock."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(_LOCK, flags, 0o600, dir_fd=folder)
    try:
        os.fchmod(descriptor, 0o600)  # whatever the umask: the next one has to open it as well
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# --- one file ------------------------------------------------------------------------------------------------------


def _read(folder: int, path: Path) -> bytes | None:
    # Without waiting: a pipe in place of the file would have us wait for a writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path.name, flags, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _no_file(path) from error
        raise
    try:
        _check(path, os.fstat(descriptor))
        data = bytearray()
        while part := os.read(descriptor, limits.SECRET_FILE_BYTES_MAX + 1 - len(data)):
            data += part
    finally:
        os.close(descriptor)
    if len(data) > limits.SECRET_FILE_BYTES_MAX:
        raise SecretFileError(f"{path} is longer than {limits.SECRET_FILE_BYTES_MAX:,} bytes: nothing of ours is")
    return bytes(data)


def _check(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _no_file(path)
    if found.st_uid != os.geteuid():
        raise SecretFileError(f"{path} belongs to another account: name another folder with --data-dir")
    if found.st_mode & _OTHERS:
        raise SecretFileError(
            f"{path} is open to other accounts (mode {_mode(found)}): if none of them can have used that, type"
            f" chmod 600 {shlex.quote(str(path))}; else delete it: a new one is made, which others do not know"
        )


def _write(folder: int, name: str, data: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_DRAFT, dir_fd=folder)  # of somebody killed while writing: we have the lock
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(_DRAFT, flags, 0o600, dir_fd=folder)
    try:
        os.fchmod(descriptor, 0o600)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(_DRAFT, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def _no_file(path: Path) -> SecretFileError:
    return SecretFileError(f"{path} is no ordinary file: move it away, and a new one is made")


def _mode(found: os.stat_result) -> str:
    return f"{stat.S_IMODE(found.st_mode):03o}"
