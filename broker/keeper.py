"""What of a history is on disk, and what is to be written and read there; pure.

The disk is slow and works by itself: orders go out, words come back. An entry is *safe* when it survives the death of
this process; without a disk it is as safe as it gets as soon as it is in memory.
"""

import enum
from collections.abc import Callable

import msgspec

from broker.history import History
from broker.stored import (
    Append,
    Change,
    Cut,
    DiskWord,
    DropStore,
    MakeStore,
    Mark,
    ReadStore,
    Restored,
    SearchStore,
    StoreBroken,
    StoreRead,
    StoreSearched,
    StoreUnread,
    StoreWritten,
    WriteStore,
)
from wire.errors import InvariantViolated
from wire.messages import Record, RoomState
from wire.step import Command, Report

BlockRead = Callable[[int, bytes], list[Command]]  # how many entries, and their block
Found = Callable[[bytes, int], list[Command]]  # the block, and the `before` to go on with
Failed = Callable[[str], list[Command]]


class Phase(enum.Enum):
    """NONE: there is no copy, or it is in memory only. KEEPING: it is written. BROKEN: the disk has failed."""

    NONE = "none"
    KEEPING = "keeping"
    BROKEN = "broken"


class Notes(msgspec.Struct, frozen=True, array_like=True):
    """What is kept beside the entries: zdns' newest record known, the state of the room, and whether nothing lacks."""

    record: Record
    state: RoomState | None
    is_whole: bool


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Notes)


def read_notes(data: bytes) -> Notes | None:
    """The notes of a store; None: there are none, or they are of another version."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class Keeper:
    """Keeps a history on disk. Invariant: what `safe` says is there has been written, or there is no disk."""

    def __init__(self, *, has_disk: bool) -> None:
        self.phase = Phase.NONE
        self.trouble = ""  # why the disk is not written to any more; stays for the life of this process
        self._has_disk = has_disk
        self._store = 0
        self._number = 0
        self._handed = 0  # up to which seq the disk has been given the history
        self._cut: int | None = None  # what was handed over beyond is to be cut off
        self._marked: tuple[int, bytes] | None = None
        self._notes: Notes | None = None
        self._notes_data = b""
        self._writes: dict[int, int] = {}  # number of a write -> the seq up to which the history is written with it
        self._written = 0
        self._asks = 0
        self._readers: dict[int, tuple[BlockRead | Found, Failed]] = {}

    # --- its life ---

    @property
    def volatile(self) -> bool:
        """What this server has it has in memory only."""
        return self.phase is not Phase.KEEPING

    @property
    def reads(self) -> bool:
        """Older entries can be read from the disk."""
        return self.phase is not Phase.NONE

    @property
    def written(self) -> int:
        """Up to which seq the history may go from memory."""
        return self._written if self.phase is Phase.KEEPING else 0

    @property
    def kept(self) -> int | None:
        """Up to which seq the disk has the history, if it has failed; None: it has not."""
        if not self.trouble:
            return None
        return self._written if self.phase is Phase.BROKEN else 0

    def safe(self, history: History) -> int:
        """Up to which seq this server has the history, for good; without a disk, as good as it gets."""
        return history.head if self.phase is Phase.NONE else self._written

    def resume(self, restored: Restored) -> None:
        """Go on with the store number 0."""
        self.phase = Phase.KEEPING
        self._handed = self._written = restored.opened.meta.head

    def begin(self, log: str, notes: Notes | None = None) -> list[Command]:
        """A new copy begins, empty. After the disk has failed once it stays in memory.

        `notes`: of a history that we ourselves begin: started again, we must know that we had all of it.
        """
        dropped = self.drop(erase=True)
        if not self._has_disk or self.trouble:
            return dropped
        self._store += 1
        self.phase = Phase.KEEPING
        data = b"" if notes is None else _encoder.encode(notes)
        return [*dropped, Report(MakeStore(self._store, log, data))]

    def drop(self, *, erase: bool) -> list[Command]:
        """There is no copy any more, or we end."""
        had = self.phase is not Phase.NONE
        self.phase = Phase.NONE
        self._handed = self._written = 0
        self._cut = self._marked = self._notes = None
        self._notes_data = b""
        self._writes.clear()
        failed = [why for _, why in self._readers.values()]
        self._readers.clear()
        commands: list[Command] = [Report(DropStore(self._store, erase))] if had else []
        return [*commands, *(command for why in failed for command in why("there is no history here any more"))]

    # --- writing ---

    def cut(self, after: int) -> None:
        """The history was cut off after this entry."""
        if self._handed > after:
            self._handed = after
            self._cut = after if self._cut is None else min(self._cut, after)
        self._written = min(self._written, after)
        self._writes = {number: min(seq, after) for number, seq in self._writes.items()}

    def keep(self, history: History, committed: int, notes: Notes | None) -> list[Command]:
        """Have written what is new since the last time; to be called at the end of a turn."""
        if self.phase is not Phase.KEEPING:
            return []
        changes: list[Change] = []
        if self._cut is not None:
            changes.append(Cut(self._cut))
            self._cut = None
        while self._handed < history.head:
            count, block = history.block(self._handed + 1, history.head)
            if not count:
                raise InvariantViolated(f"entry {self._handed + 1} has gone from memory before the disk had it")
            changes.append(Append(self._handed + 1, count, block))
            self._handed += count
        if notes is not None and notes != self._notes:
            self._notes, self._notes_data = notes, _encoder.encode(notes)
        mark = (min(committed, self._handed), self._notes_data)
        if mark != self._marked:
            self._marked = mark
            changes.append(Mark(*mark))
        if not changes:
            return []
        self._number += 1
        self._writes[self._number] = self._handed
        return [Report(WriteStore(self._store, self._number, tuple(changes)))]

    # --- reading ---

    def read(self, first: int, last: int, count_max: int, then: BlockRead, failed: Failed) -> list[Command]:
        """Have entries read that are not in memory."""
        ask = self._next_ask(then, failed)
        return [Report(ReadStore(self._store, ask, first, last, count_max))]

    def search(self, query: str, before: int, count: int, head: int, then: Found, failed: Failed) -> list[Command]:
        """Have the whole history searched."""
        ask = self._next_ask(then, failed)
        return [Report(SearchStore(self._store, ask, query, before, count, head))]

    def _next_ask(self, then: BlockRead | Found, failed: Failed) -> int:
        self._asks += 1
        self._readers[self._asks] = (then, failed)
        return self._asks

    # --- words of the disk ---

    def heard(self, word: DiskWord) -> tuple[list[Command], str]:
        """The disk says something; returns what follows, and why nothing is written any more, if that is new."""
        if word.store != self._store or self.phase is Phase.NONE:
            return [], ""
        match word:
            case StoreWritten(_, number):
                done = [seq for seq_number, seq in self._writes.items() if seq_number <= number]
                self._writes = {key: seq for key, seq in self._writes.items() if key > number}
                if done and self.phase is Phase.KEEPING:
                    self._written = done[-1]
            case StoreBroken(_, why) if self.phase is Phase.KEEPING:
                self.phase, self.trouble = Phase.BROKEN, why
                self._writes.clear()
                return [], why
            case StoreRead(_, ask, count, block):
                then, _ = self._readers.pop(ask, (_nobody, _nobody))
                return then(count, block), ""  # type: ignore[arg-type]  # its own kind of reader asked
            case StoreSearched(_, ask, block, before):
                then, _ = self._readers.pop(ask, (_nobody, _nobody))
                return then(block, before), ""  # type: ignore[arg-type]
            case StoreUnread(_, ask, why):
                _, failed = self._readers.pop(ask, (_nobody, _nobody))
                return failed(why), ""
            case _:
                pass
        return [], ""


def _nobody(*_: object) -> list[Command]:
    return []
