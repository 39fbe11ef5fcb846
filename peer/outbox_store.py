"""The posts of a participant that are not yet committed, on disk: finding its file, and writing beside the loop.

`<folder>/<service>/<nick>-<number>.sqlite`: one file for each participant that runs, held locked by it. What a
participant left when it was killed stays in its file until one of the same name comes to the same room.
"""

import asyncio
import contextlib
import fcntl
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from peer.notices import Fault
from peer.outbox import Kept, Write
from peer.outbox_file import SUFFIX, OutboxBusy, OutboxDamaged, OutboxError, OutboxFile, move_aside
from runtime.file_names import safe_name
from wire import limits
from wire.names import nick_key

log = logging.getLogger("relevo.outbox")

_CLAIM_WAITS = 50  # of _CLAIM_WAIT_S: another participant that is just starting takes some milliseconds
_CLAIM_WAIT_S = 0.02


@dataclass(frozen=True, slots=True)
class Claimed:
    """`file`: None when nothing can be kept. `faults`: what the user should know."""

    file: OutboxFile | None
    faults: tuple[Fault, ...]

    @property
    def kept(self) -> Kept | None:
        """What the file has."""
        return self.file.kept if self.file else None


def claim(folder: Path, service: str, nick: str) -> Claimed:
    """Take, and lock, a file for a participant that wants to be called `nick`: one with posts in it, if there is any.

    Never raises: a chat goes on without.
    """
    room = folder / service
    faults: list[Fault] = []
    try:
        for made in (folder, room):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _one_at_a_time(room):
            return Claimed(_take(room, nick, faults), tuple(faults))
    except OutboxError as error:
        why = str(error)
    except OSError as error:
        why = f"{room} cannot be used ({error.strerror})"
    log.warning("no outbox: %s", why)
    return Claimed(None, (*faults, Fault("outbox_failed", f"what you type is not kept on disk: {why}")))


def _take(room: Path, nick: str, faults: list[Fault]) -> OutboxFile:
    """The file to use. Of all others with posts in them the user is told."""
    stem = safe_name(nick_key(nick))
    own: OutboxFile | None = None
    waiting: dict[str, int] = {}
    for path in sorted(room.glob(f"*{SUFFIX}"), key=_number)[: limits.OUTBOX_FILES_MAX]:
        is_mine = path.name.rpartition("-")[0] == stem
        other = _open(path, nick, faults if is_mine else [])
        if other is not None and is_mine and (own is None or (other.kept.rows and not own.kept.rows)):
            own, other = other, own
        if other is not None:
            if other.kept.rows:
                waiting[other.nick] = waiting.get(other.nick, 0) + len(other.kept.rows)
            other.close()
    for name, count in waiting.items():
        what = "1 post was" if count == 1 else f"{count:,} posts were"
        why = f"{what} left by {name} and will be sent when {name} joins once more from here (--name {name})"
        faults.append(Fault("posts_waiting", why))
    return own or _make(room, stem, nick)


def _open(path: Path, nick: str, faults: list[Fault]) -> OutboxFile | None:
    """A file, unless another participant has it or it cannot be used."""
    try:
        return OutboxFile(path, nick)
    except OutboxBusy:
        return None
    except OutboxDamaged as error:
        log.error("%s", error)
        # Whoever it belongs to shall be told; that is not the one with another name.
        if path.name.rpartition("-")[0] == safe_name(nick_key(nick)):
            faults.append(Fault("outbox_damaged", f"{error}: what it had is not sent; it is {move_aside(path)} now"))
    except OutboxError as error:
        log.error("%s", error)
        faults.append(Fault("outbox_failed", f"{error}: what it may have is not sent"))
    return None


def _make(room: Path, stem: str, nick: str) -> OutboxFile:
    for number in range(1, limits.OUTBOX_FILES_MAX + 1):
        path = room / f"{stem}-{number}{SUFFIX}"
        if not path.exists():
            return OutboxFile(path, nick)
    raise OutboxError(f"{room} has {limits.OUTBOX_FILES_MAX} files of {nick} already")


def _number(path: Path) -> tuple[int, str]:
    number = path.name.removesuffix(SUFFIX).rpartition("-")[2]
    return (int(number) if number.isdecimal() else 0, path.name)


@contextlib.contextmanager
def _one_at_a_time(room: Path) -> Iterator[bool]:
    """Two that start at the same moment look one after the other, or each would take the other's file for one in use.

    One that stands still while it looks is not waited for: then False.
    """
    is_alone = False
    with (room / "lock").open("w") as lock:
        for _ in range(_CLAIM_WAITS):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_alone = True
                break
            except BlockingIOError:
                threading.Event().wait(_CLAIM_WAIT_S)
        yield is_alone


def _discard(file: OutboxFile) -> None:
    """Delete a file that does not say any more what waits, if that can be done."""
    with contextlib.suppress(OSError), _one_at_a_time(file.path.parent) as is_alone:
        file.close()
        if is_alone:
            file.delete()
    file.close()


class OutboxStore:
    """Writes to a file beside the loop: what waits is written together. To be made and called from the loop."""

    def __init__(self, file: OutboxFile, *, written: Callable[[int], None], failed: Callable[[str], None]) -> None:
        """Begin.

        Args:
            written: `written(number)`: all writes up to that one are done. Called from the loop.
            failed: `failed(why)`: nothing is written any more; half a sentence. Called from the loop, once.
        """
        self._file = file
        self._tell_written = written
        self._tell_failed = failed
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        # Bounded by the outbox: a post is put there once, perhaps once more under another number, and removed.
        self._waiting: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        # A daemon: a disk that hangs must not keep the process from ending.
        threading.Thread(target=self._run, name="outbox", daemon=True).start()

    def write(self, write: Write) -> None:
        """Have this written, after all before it."""
        self._waiting.put(write)

    async def close(self) -> None:
        """Write what waits, and let go of the file; a disk that takes longer than limits.STOP_MS is not waited for."""
        self._waiting.put(None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.STOP_MS / 1000):
                await asyncio.shield(self._ended)

    # --- on the thread ---

    def _run(self) -> None:
        goes_on = True
        failure = ""
        while goes_on:
            writes = self._next()
            goes_on = None not in writes
            group = [write for write in writes if write is not None]
            if not group or failure:
                continue
            try:
                self._file.save(group)
            except OutboxError as error:
                failure = str(error)
                log.error("%s", failure)
                _discard(self._file)
                self._call(self._tell_failed, failure)
            else:
                self._call(self._tell_written, group[-1].number)
        if not failure:
            self._file.close()
        self._call(self._end)

    def _next(self) -> list[Write | None]:
        """What waits, at least one; None: nothing comes any more."""
        writes = [self._waiting.get()]
        with contextlib.suppress(queue.Empty):
            while writes[-1] is not None:
                writes.append(self._waiting.get_nowait())
        return writes

    def _call(self, tell: Callable[..., None], *what: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(tell, *what)

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
