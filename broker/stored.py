"""What is written to a store of a history, what it tells, and how it fails: values; pure."""

from dataclasses import dataclass

from broker.digest import Chain
from wire.errors import RelevoError

# --- what is written ---


@dataclass(frozen=True, slots=True)
class Append:
    """Entries `first` … `first + count - 1`, as the very block they travel in. They follow the last one."""

    first: int
    count: int
    block: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """Everything after entry `after` is dropped."""

    after: int


@dataclass(frozen=True, slots=True)
class Mark:
    """All up to `committed` is known to be committed; `notes` takes the place of the notes before."""

    committed: int
    notes: bytes


Change = Append | Cut | Mark

# --- what a store tells ---


@dataclass(frozen=True, slots=True)
class Meta:
    """What a store is of, and how far it goes. `last_epoch`: of the last entry; 0 when there is none."""

    service: str
    log: str
    server_id: str
    head: int
    last_epoch: int
    committed: int
    notes: bytes


@dataclass(frozen=True, slots=True)
class Session:
    """What is in a history of one author's session; `seqs`: its newest entries, limits.SEQS_REMEMBERED at most."""

    author: str
    session: str
    last_counter: int
    seqs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """A store is open and verified. `epochs`: each that has entries, and its first; `chain` is the receiver's own."""

    meta: Meta
    epochs: tuple[tuple[int, int], ...]
    sessions: tuple[Session, ...]
    chain: Chain


@dataclass(frozen=True, slots=True)
class NotOpened:
    """There is no store to write to or to read from, now or later."""

    error: "HistoryError"


@dataclass(frozen=True, slots=True)
class Written:
    """Everything up to the write with this number is in the store, and survives the death of the process."""

    number: int
    head: int
    committed: int


@dataclass(frozen=True, slots=True)
class NotWritten:
    """The write with this number, and those after it, are not to be relied on: it failed, and no later one is done."""

    number: int
    error: "HistoryError"


@dataclass(frozen=True, slots=True)
class NotSynced:
    """What was written survives the death of the process, but perhaps not that of the machine; no more is written."""

    error: "HistoryError"


@dataclass(frozen=True, slots=True)
class Broke:
    """A bug of ours; nothing more comes. The process is to stop."""

    error: Exception


StoreEvent = Opened | NotOpened | Written | NotWritten | NotSynced | Broke

# --- how it fails: each error is a sentence for people ---


class HistoryError(RelevoError):
    """Base of what can be wrong with a store."""


class HistoryDamaged(HistoryError):
    """It is not what was written, or of another kind: it is never served."""


class HistoryBehind(HistoryDamaged):
    """What is there is sound, but its last writes are gone; it ends at entry `head`."""

    def __init__(self, sentence: str, head: int) -> None:
        super().__init__(sentence)
        self.head = head


class HistoryInUse(HistoryError):
    """Another process has it open."""


class HistoryUnreadable(HistoryError):
    """It is not there, or the system does not let us read it."""


class StoreFailed(HistoryError):
    """The disk refused; nothing more is written until the store has been opened anew."""


class StoreFull(StoreFailed):
    """There is no room left on the disk."""


class StoreBusy(HistoryError):
    """More waits to be written or read than may wait; nothing of this was taken."""
