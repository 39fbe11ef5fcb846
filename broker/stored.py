"""What is written to a store of a history, what it tells, and how it fails: values; pure."""

from dataclasses import dataclass

from broker.digest import Chain
from wire import limits
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

# --- what a core and its disk say to each other; `store` is the core's own number of a store, and names it for good ---


@dataclass(frozen=True, slots=True)
class MakeStore:
    """Order to the disk: make an empty store for the history `log`. What was opened or made before is dropped.

    `notes`: what it says from its first moment on.
    """

    store: int
    log: str
    notes: bytes = b""


@dataclass(frozen=True, slots=True)
class WriteStore:
    """Order to the disk: write these. Told by StoreWritten with this number or a higher one, or by StoreBroken."""

    store: int
    number: int
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class ReadStore:
    """Order to the disk: the entries from `first` on, none after `last`, as one block within the block limits.

    Told by StoreRead or StoreUnread with this `ask`. Sees every write that was ordered before it.
    """

    store: int
    ask: int
    first: int
    last: int
    count_max: int = limits.BLOCK_ENTRIES_MAX


@dataclass(frozen=True, slots=True)
class SearchStore:
    """Order to the disk: as HistoryStore.search. Told by StoreSearched or StoreUnread with this `ask`."""

    store: int
    ask: int
    query: str
    before: int
    count: int
    head: int


@dataclass(frozen=True, slots=True)
class DropStore:
    """Order to the disk: let go of the store; `erase`: and delete it. Else what was ordered is written first."""

    store: int
    erase: bool


DiskOrder = MakeStore | WriteStore | ReadStore | SearchStore | DropStore


@dataclass(frozen=True, slots=True)
class StoreWritten:
    """Everything up to the write with this number survives the death of the process."""

    store: int
    number: int


@dataclass(frozen=True, slots=True)
class StoreBroken:
    """It could not be made, written or synced: nothing more will be written to it, and `why` is for people."""

    store: int
    why: str


@dataclass(frozen=True, slots=True)
class StoreRead:
    """Answer to ReadStore: `count` entries (0: there is none at `first`) as a block."""

    store: int
    ask: int
    count: int
    block: bytes


@dataclass(frozen=True, slots=True)
class StoreSearched:
    """Answer to SearchStore: the entries found, and the `before` to go on with (0: all were looked through)."""

    store: int
    ask: int
    block: bytes
    before: int


@dataclass(frozen=True, slots=True)
class StoreUnread:
    """Answer to ReadStore or SearchStore: the disk could not, or too many were asking."""

    store: int
    ask: int
    why: str


DiskWord = StoreWritten | StoreBroken | StoreRead | StoreSearched | StoreUnread


@dataclass(frozen=True, slots=True)
class Restored:
    """What an earlier run left on disk, to begin with: the store number 0 of the core that is given it.

    `tail` is the end of the history, as blocks (first seq, count, block) that follow each other up to the head. It
    begins where a span does (broker.digest), at the committed mark or before it, and holds at least
    limits.TAIL_ENTRIES_MIN entries if there are so many.
    """

    opened: Opened
    tail: tuple[tuple[int, int, bytes], ...]


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
