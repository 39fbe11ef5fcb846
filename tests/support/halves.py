"""One server half on a bench: zdns is the real registry, the disk writes at once, and others are what the test says."""

import random
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

import msgspec

from broker.core import ServerCore
from broker.reports import ServerOptions
from broker.room import FEED, ROOM
from broker.stored import (
    DiskOrder,
    DropStore,
    MakeStore,
    StoreBroken,
    StoreWritten,
    WriteStore,
)
from tests.sim.disks import Store
from tests.support.histories import SERVICE
from tests.support.replicas import ANA, BO, STATE, sent
from wire import codec, limits
from wire.messages import (
    Align,
    Append,
    DnsReply,
    Entry,
    Follow,
    Following,
    Have,
    Hello,
    LinkAsk,
    LinkAt,
    Message,
    Record,
    Register,
    ServerInfo,
)
from wire.names import LinkId
from wire.step import (
    Asked,
    Command,
    Event,
    LinkBound,
    LinkKind,
    OpenLink,
    Received,
    Report,
    Send,
    Started,
    StartTimer,
    Stop,
    TimerFired,
)
from zdns.registry import Registry

M = TypeVar("M")
OPTIONS = ServerOptions(SERVICE, ANA.id, ANA.name, ("tcp://dns:1",), serve_first=True)


def new_registry(*records: Record, lease_ms: int = limits.LEASE_MS) -> Registry:
    """A zdns that knows these records, of whose servers nobody has been heard yet."""
    return Registry(records, lease_ms, 0, rng=random.Random(1))


class Half:
    """Ana's server half, started. `silent`: zdns does not answer; `is_slow`: the disk does not, before `write` is said.

    `log` has every command it gave, those that answer zdns and the disk included.
    """

    def __init__(
        self,
        options: ServerOptions = OPTIONS,
        *,
        registry: Registry | None = None,
        store: Store | None = None,
        silent: bool = False,
    ) -> None:
        """`store`: what an earlier run left on disk."""
        self.now_ms = 0
        self.silent = silent
        self.is_slow = False
        self.registry = registry or new_registry()
        self.log: list[Command] = []
        self.stores = {} if store is None else {0: store}
        self.core = ServerCore(options, None if store is None else store.restored(SERVICE))
        self._options = options
        self._dns_links: list[LinkId] = []
        self._due: list[Event] = []
        self._unwritten: list[WriteStore] = []
        self.do(Started("n", 10**12))
        self.do(LinkBound(ROOM, ANA.router))
        self.do(LinkBound(FEED, ANA.feed))

    # --- what happens to it ---

    def do(self, *events: Event) -> list[Command]:
        """These events, each with its flush; returns what they led to, answers of zdns and of the disk included."""
        start = len(self.log)
        self._due += events
        while self._due:
            self._perform(self.core.handle(self._due.pop(0), self.now_ms))
            self._perform(self.core.flush(self.now_ms))
        return self.log[start:]

    def timer(self, name: str, after_ms: int = 0) -> list[Command]:
        """So much later a timer runs out."""
        self.now_ms += after_ms
        return self.do(TimerFired(name))

    def hear(self, message: Message, who: str = "ana") -> list[Command]:
        """`who` says something to the room."""
        return self.do(Received(ROOM, message, who.encode()))

    def join(self, who: str, server: str = "") -> list[Command]:
        """`who` says hello."""
        return self.hear(hello(who, server=server), who)

    def write(self, count: int | None = None) -> list[Command]:
        """The slow disk does what waits, or the first so many of it."""
        done = self._unwritten[:count]
        del self._unwritten[:count]
        return self.do(*(self._written(order) for order in done))

    def break_disk(self) -> list[Command]:
        """The disk fails; what waits to be written never is."""
        self._unwritten.clear()
        self.is_slow = True
        return self.do(Asked(StoreBroken(max(self.stores), "no room left")))

    def again(self, *, silent: bool = False) -> "Half":
        """Kill it, and start it from its disk."""
        options = replace(self._options, serve_first=False)
        return Half(options, registry=self.registry, store=self.stores[max(self.stores)], silent=silent)

    def ask_dns(self, request: Message) -> DnsReply:
        """Somebody asks zdns."""
        decision = self.registry.decide(request, self.now_ms)  # type: ignore[arg-type]  # a request it is
        if decision.record is not None:
            self.registry.adopt(decision.record)
        return decision.reply

    def dns_answers(self, request: Message) -> list[Command]:
        """The silent zdns answers this after all."""
        return self.do(Received(self._dns_links[-1], self.ask_dns(request)))

    def stand_by(self, server: ServerInfo = BO) -> None:
        """Another server half registers."""
        self.ask_dns(Register(0, limits.PROTOCOL, SERVICE, server))

    def grant(self, record: Record) -> Record:
        """zdns has this record from now on, whoever asked for it."""
        self.registry.adopt(record)
        return record

    @property
    def record(self) -> Record | None:
        """The newest record it knows."""
        return self.core._tenure.record

    # --- inside ---

    def _perform(self, commands: Iterable[Command]) -> None:
        for command in commands:
            self.log.append(command)
            match command:
                case OpenLink(link, LinkKind.DNS_ASK):
                    self._dns_links.append(link)
                case Send(link, message) if link in self._dns_links and not self.silent:
                    self._due.append(Received(link, self.ask_dns(message)))
                case Report(notice) if isinstance(notice, DiskOrder):
                    self._order(notice)
                case _:
                    pass

    def _order(self, order: DiskOrder) -> None:
        match order:
            case MakeStore(number, log, notes):
                self.stores[number] = Store(log, self._options.server_id, notes=notes)
            case DropStore(number, erase) if erase:
                self.stores.pop(number, None)
            case WriteStore() if self.is_slow:
                self._unwritten.append(order)
            case WriteStore():
                self._due.append(self._written(order))
            case _:
                pass

    def _written(self, order: WriteStore) -> Event:
        for change in order.changes:
            self.stores[order.store].apply(change)
        return Asked(StoreWritten(order.store, order.number))


class Other:
    """Another server half, as the test plays it: what it says over the link that was made for the two."""

    def __init__(self, half: Half, server: ServerInfo = BO) -> None:
        self.half = half
        self.server = server
        self.pair = ""
        self.link = LinkId("")

    def says(self, *messages: Message) -> list[Command]:
        """It says these over the link."""
        return self.half.do(*(Received(self.link, message) for message in messages))

    # --- as one that follows the half ---

    def recruited(self) -> list[Command]:
        """It stands by, the half asks it for a link, and has it follow."""
        self.half.stand_by(self.server)
        return self.linked(self.half.timer("replicas.tick", limits.RECRUIT_MS))

    def linked(self, asked: Iterable[Command]) -> list[Command]:
        """The half has asked it for a link, as `asked` tells: it binds one."""
        (ask,) = sent(asked, LinkAsk)
        (opened,) = [command for command in asked if isinstance(command, OpenLink)]
        commands = self.half.do(Received(opened.link, LinkAt(ask.pair, ("tcp://bo:9",))))
        self.pair = ask.pair
        self.link = next(c.link for c in commands if isinstance(c, OpenLink) and c.kind is LinkKind.COPY_CONNECT)
        return commands

    def follows(self, have: int = 0, *, committed: int = 0, volatile: bool = False) -> list[Command]:
        """It begins to follow with so many entries, all of epoch 1, and then has everything."""
        runs = ((1, 1),) if have else ()
        commands = self.says(Following(self.pair, have, committed, runs, have, volatile=volatile))
        return [*commands, *self.has_all()]

    def has(self, seq: int) -> list[Command]:
        """It has everything up to `seq` for good."""
        assert self.half.core.room is not None
        return self.says(Have(self.pair, self.half.core.room.epoch, seq))

    def has_all(self) -> list[Command]:
        """It has everything for good."""
        assert self.half.core.room is not None
        return self.has(self.half.core.room.history.head)

    # --- as one that leads the half ---

    def links(self, pair: str = "b-p1") -> list[Command]:
        """It asks the half for a link, and gets it."""
        self.pair = pair
        opened = self.half.hear(LinkAsk(limits.PROTOCOL, SERVICE, pair, self.server), self.server.name)
        self.link = next(c.link for c in opened if isinstance(c, OpenLink) and c.kind is LinkKind.COPY_BIND)
        return [*opened, *self.half.do(LinkBound(self.link, ("tcp://ana:9",)))]

    def leads(self, record: Record, *, number: int = 1, head: int = 0) -> list[Command]:
        """It has the half follow."""
        return self.says(Follow(self.pair, SERVICE, self.server, record, number, head, 100 * head, STATE))

    def sends(self, record: Record, entries: list[Entry], committed: int = 0, prev_epoch: int = 0) -> list[Command]:
        """Both agree up to the entry before these, and it sends these."""
        first = entries[0].seq
        block = codec.join_block([codec.encode_entry(entry) for entry in entries])
        append = Append(self.pair, record.epoch, committed, first, prev_epoch, len(entries), block)
        return self.says(Align(self.pair, first - 1, committed), append)


def hello(who: str, protocol: int = limits.PROTOCOL, server: str = "") -> Hello:
    """How `who` says hello."""
    return Hello(protocol, SERVICE, f"{who}-peer", f"{who}-s", who, False, False, server, 0)


def later(record: Record, *servers: ServerInfo, epochs: int = 1) -> Record:
    """The record some epochs later, with these in sync."""
    return msgspec.structs.replace(
        record, epoch=record.epoch + epochs, version=record.version + 1, active=servers[0], in_sync=servers, volatile=()
    )


# --- looking ---


def reports(commands: Iterable[Command]) -> list[object]:
    """What was told to the process around it, but for the orders to the disk."""
    notices = [command.notice for command in commands if isinstance(command, Report)]
    return [notice for notice in notices if not isinstance(notice, DiskOrder)]


def orders(commands: Iterable[Command], kind: type[M]) -> list[M]:
    """The orders of a kind to the disk."""
    return [command.notice for command in commands if isinstance(command, Report) and isinstance(command.notice, kind)]


def without_writes(commands: Iterable[Command]) -> list[Command]:
    """All but what goes to the disk, and to timers."""
    return [
        command
        for command in commands
        if not isinstance(command, StartTimer)
        and not (isinstance(command, Report) and isinstance(command.notice, DiskOrder))
    ]


def is_stopped(commands: Iterable[Command]) -> bool:
    """Whether it has ended."""
    return any(isinstance(command, Stop) for command in commands)
