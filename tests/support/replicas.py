"""Servers, records and histories for tests of copies, and what there is in the commands of a core."""

from collections.abc import Iterable
from typing import TypeVar

from broker.digest import SPAN_ENTRIES, Chain
from broker.history import History
from broker.stored import DiskOrder, Meta, Opened, Restored, Session
from tests.support.histories import LOG, SERVER, SERVICE, entry
from wire import codec, limits
from wire.messages import Entry, Message, Record, RoomState, ServerInfo
from wire.names import LinkId
from wire.step import CloseLink, Command, OpenLink, Report, Send, StartTimer, StopTimer

STATE = RoomState((), 0, 0, True, 0, ())
M = TypeVar("M", bound=Message)


def server(nick: str) -> ServerInfo:
    return ServerInfo(f"{nick}-id", nick, (f"tcp://{nick}:1",), (f"tcp://{nick}:2",))


ANA, BO, CY, DEE = map(server, ("ana", "bo", "cy", "dee"))


def record(
    epoch: int, version: int, *in_sync: ServerInfo, log: str = LOG, volatile: tuple[ServerInfo, ...] = ()
) -> Record:
    """A record of zdns'; the first of `in_sync` is the active server."""
    ids = tuple(one.id for one in volatile)
    return Record(SERVICE, epoch, version, log, in_sync[0], in_sync, volatile=ids)


# --- histories ---


def history_of(*runs: tuple[int, int], log: str = LOG) -> History:
    """A history of so many entries of each epoch: `history_of((1, 3), (4, 2))` has five."""
    history = History(log)
    for epoch, count in runs:
        grow(history, count, epoch)
    return history


def grow(history: History, count: int, epoch: int, text: str = "") -> None:
    for _ in range(count):
        history.append(entry(history.head + 1, epoch, text))


def entries_of(history: History) -> list[Entry]:
    return history.entries(history.first, history.head)


def is_same(history: History, other: History) -> bool:
    """Whether everything that can be asked of two histories has the same answer, as far as both are in memory."""
    keys = {(each.author, each.session) for each in (*entries_of(history), *entries_of(other))}
    return (
        (history.log, history.head, history.digest()) == (other.log, other.head, other.digest())
        and history.runs(0) == other.runs(0)
        and all(history.last_counter(*key) == other.last_counter(*key) for key in keys)
        and all(
            history.seq_of(each.author, each.session, each.counter) == each.seq
            for each in entries_of(other)[-limits.SEQS_REMEMBERED :]
        )
        and all(history.seq_of(*key, history.last_counter(*key) + 1) is None for key in keys)
    )


def restored_of(history: History, committed: int, tail_first: int = 1, notes: bytes = b"") -> Restored:
    """What is found on disk of a history that is all in memory; from `tail_first` on it will be in memory again."""
    entries = entries_of(history)
    chain = Chain(history.log)
    chain.add([codec.encode_entry(each) for each in entries])
    seqs: dict[tuple[str, str], list[int]] = {}
    for each in entries:
        seqs.setdefault((each.author, each.session), []).append(each.seq)
    sessions = tuple(Session(*key, len(has), tuple(has[-limits.SEQS_REMEMBERED :])) for key, has in seqs.items())
    tail: list[tuple[int, int, bytes]] = []
    first = tail_first
    while first <= history.head:
        count, block = history.block(first, history.head, SPAN_ENTRIES // 2)
        tail.append((first, count, block))
        first += count
    meta = Meta(SERVICE, history.log, SERVER, history.head, history.last_epoch, committed, notes)
    return Restored(Opened(meta, history.runs(0), sessions, chain), tuple(tail))


# --- commands ---


def sent(commands: Iterable[Command], kind: type[M], link: LinkId | None = None) -> list[M]:
    """The messages of one kind that are sent, over `link` if one is given."""
    return [
        command.message
        for command in commands
        if isinstance(command, Send) and isinstance(command.message, kind) and link in (None, command.link)
    ]


def opened(commands: Iterable[Command]) -> list[OpenLink]:
    return [command for command in commands if isinstance(command, OpenLink)]


def closed(commands: Iterable[Command]) -> list[LinkId]:
    return [command.link for command in commands if isinstance(command, CloseLink)]


def timers(commands: Iterable[Command]) -> dict[str, int | None]:
    """Which timers are started, and for how long; None: it is stopped."""
    found: dict[str, int | None] = {}
    for command in commands:
        if isinstance(command, StartTimer):
            found[command.name] = command.delay_ms
        elif isinstance(command, StopTimer):
            found[command.name] = None
    return found


def orders(commands: Iterable[Command]) -> list[DiskOrder]:
    """What the disk is told."""
    return [
        command.notice for command in commands if isinstance(command, Report) and isinstance(command.notice, DiskOrder)
    ]
