"""zdns among liars, and the lookup when zdns lies."""

from collections.abc import Iterable
from typing import Any

import msgspec

from tests.support import lies
from tests.support.histories import LOG, SERVICE
from tests.support.liars import HOUSE, Bench, Zdns, key_of, permit_of, replace_server, server_of
from tests.support.lies import Source
from wire import limits
from wire.identity import Credentials, KeyPair
from wire.messages import (
    Admit,
    Admitted,
    DnsRequest,
    Done,
    NameRequest,
    Record,
    Register,
    Registered,
    Renew,
    Resolve,
    Resolved,
    ServerInfo,
)
from wire.step import Command, LinkKind, Received
from zdns.lookup import Answered, Lookup, Unanswered


class ZdnsBench:
    """Door and registry. Ana serves, with Bo in sync; on a closed network Eve and Mal can do nothing about that."""

    def __init__(self, source: Source, *, closed: bool) -> None:
        self.source, self.closed = source, closed
        self.now_ms = 0
        self.ana, self.bo, self.eve, self.mal = (server_of(who, closed) for who in ("ana", "bo", "eve", "mal"))
        self.zdns = Zdns([Record(SERVICE, 4, 9, LOG, self.ana, (self.ana, self.bo))], closed=closed)
        if closed:
            for who in ("ana", "bo", "eve", "mal"):
                self.zdns.admit(who)
        self.told: dict[str, tuple[int, int]] = {}
        self.renew()
        self.honest = self.record()

    def record(self) -> Record | None:
        """Of the service that Ana has."""
        reply = self.zdns.ask(Resolve(1, limits.PROTOCOL, SERVICE), self.ana.key, self.now_ms)
        assert isinstance(reply, Resolved)
        return reply.record

    def renew(self) -> None:
        """Ana and Bo are there, and hold the history."""
        for server in (self.ana, self.bo):
            renewed = self.zdns.ask(Renew(1, SERVICE, server.id, LOG), server.key, self.now_ms)
            if not isinstance(renewed, Registered):
                record = self.zdns.knows[-1]
                self.zdns.ask(Register(1, limits.PROTOCOL, SERVICE, server, record), server.key, self.now_ms)

    def play(self) -> None:
        """All that the bytes have."""
        while not self.source.is_empty:
            if self.source.chance(20):
                self.now_ms += self.source.byte() * 4
                self.renew()
            if self.source.chance(3):
                self.now_ms += limits.LEASE_MS if not self.closed else 0
            self.lie()
            self.check()

    def lie(self) -> None:
        """Eve or Mal asks for something."""
        who, own = self.source.of((("eve", self.eve), ("mal", self.mal)))
        request = lies.message(self.source, DnsRequest, self.pool())
        if request is None:
            return
        if self.closed and not self.source.chance(20):
            server = getattr(request, "server", None)
            if isinstance(server, ServerInfo):
                request = msgspec.structs.replace(request, server=replace_server(server, own))
            elif server is not None:
                request = msgspec.structs.replace(request, server=own.id)
        reply = self.zdns.ask(request, key_of(who) if self.closed else "", self.now_ms)
        assert getattr(reply, "ask", None) == getattr(request, "ask", None)

    def check(self) -> None:
        """Epochs and versions only rise, tables are bounded, and what Ana has stays hers."""
        registry = self.zdns.registry
        for name, service in registry._services.items():
            assert len(service.leases) <= limits.STANDBYS_MAX + limits.IN_SYNC_MAX + 1
            if service.record is not None:
                at = (service.record.epoch, service.record.version)
                was = self.told.get(name, (0, 0))
                assert at[0] >= was[0] and (at == was or at[1] > was[1])
                self.told[name] = at
        assert len(registry._services) <= limits.SERVICES_MAX
        if self.closed:
            assert self.record() == self.honest, "somebody who has nothing to do with a name changed its record"
        registry.describe()

    def pool(self) -> dict[str, list[Any]]:
        """What a liar knows."""
        servers = [self.ana, self.bo, self.eve, self.mal]
        record = self.zdns.knows[-1]
        return {
            "service": [SERVICE, SERVICE, SERVICE, "tea"],
            "protocol": [limits.PROTOCOL],
            "epoch": [record.epoch, record.epoch, 0],
            "version": [record.version],
            "log": [LOG, "another"],
            "holds": [LOG, "another", ""],
            "server": [server.id for server in servers],
            "to": [server.id for server in servers],
            "name": ["bo", "eve", ""],
            "permit": [permit_of("eve"), permit_of("mal")],
            "in_sync": [tuple(server.id for server in servers), (self.eve.id,)],
            "ServerInfo": servers,
            "Record": self.zdns.knows[-6:],
        }


class LookupBench(Bench):
    """The asking end; zdns answers what it likes. Each question has one outcome at most, and one in the end."""

    core: Lookup

    def __init__(self, source: Source, *, closed: bool) -> None:
        super().__init__(source)
        credentials = Credentials(KeyPair(key_of("me"), "hush"), HOUSE.keys.public, HOUSE.secret) if closed else None
        self.core = Lookup(("tcp://dns:1", "tcp://dns:2"), credentials)
        self.open: set[int] = set()

    def turn(self, event: Any) -> Iterable[list[Command]]:
        """With the outcomes."""
        commands, outcomes = self.core.handle(event, self.now_ms)
        for outcome in outcomes:
            assert isinstance(outcome, Answered | Unanswered)
            self.open.remove(outcome.ask)
        yield commands

    def check(self) -> None:
        """Bounded, and nothing is forgotten."""
        assert len(self.core._pending) <= limits.DNS_PENDING_MAX
        assert len(self.links) <= 1
        asked = {pending.ask for pending in self.core._pending} | set(self.core._turned_away)
        assert asked == self.open
        self.core.describe()

    def pool(self) -> dict[str, list[Any]]:
        """What makes sense now."""
        asks = [pending.ask for pending in self.core._pending][:3]
        return {"ask": [*asks, *asks, 0], "service": [SERVICE], "protocol": [limits.PROTOCOL]}

    def step(self) -> None:
        """One of all that can happen."""
        match self.source.byte() % 8:
            case 0 | 1:
                self.hear(LinkKind.DNS_ASK)
            case 2:
                self.answer()
            case 3:
                self.link_event()
            case 4:
                self.pass_time()
            case 5 | 6:
                self.ask()
            case _:
                match self.source.byte() % 8:
                    case 0:
                        self.perform(self.core.close())
                        self.open.clear()
                    case 1:
                        self.core.show_ticket_again()
                    case _ if self.open:
                        number = self.source.of(sorted(self.open)[:200])
                        self.open.discard(number)
                        self.perform(self.core.cancel(number))
                    case _:
                        pass
                self.check()

    def answer(self) -> None:
        """zdns says what fits what it was asked last."""
        for link in list(self.links):
            match self.sent[link][-1].message:
                case Admit(ask=ask):
                    self.do(Received(link, Admitted(ask, permit_of("me"), b"token")))
                case last:
                    self.do(Received(link, Done(getattr(last, "ask", 0))))

    def ask(self) -> None:
        """A question, or now and then very many."""
        for _ in range(70 if self.source.chance(3) else 1):
            request = lies.message(self.source, NameRequest, self.pool())
            if request is not None:
                deadline = self.source.of((None, limits.DNS_DEADLINE_MS, 100))
                number, commands = self.core.ask(request, self.now_ms, deadline)  # type: ignore[arg-type]
                self.open.add(number)
                self.perform(commands)
        self.check()
