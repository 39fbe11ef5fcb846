"""A server half as a whole: the door, the commit rule, being deposed, leaving; zdns is the real registry, at once."""

import random
from collections.abc import Iterable
from typing import TypeVar

from broker.core import ServerCore
from broker.reports import (
    HostName,
    NoZdns,
    Relieved,
    RoleGranted,
    ServerOptions,
    Serving,
    StillLeaving,
    TurnedAway,
)
from broker.room import FEED, ROOM
from wire import limits
from wire.errors import RefusalCode
from wire.messages import (
    Accept,
    Acked,
    AskStatus,
    Claim,
    ClaimKind,
    Credit,
    Decline,
    DnsReply,
    DnsRequest,
    Dump,
    Fetch,
    Granted,
    HandOver,
    Hello,
    Leave,
    LinkAsk,
    LinkAt,
    Message,
    NameState,
    NotServing,
    Offer,
    Ping,
    Posts,
    Published,
    Ready,
    Record,
    Refused,
    Register,
    Released,
    Relocate,
    Resolve,
    Resolved,
    Sealed,
    ServerInfo,
    SetInSync,
    StatusIs,
    TakeOver,
    Took,
    Transfer,
    Welcome,
)
from wire.names import LinkId
from wire.step import (
    Asked,
    Command,
    Garbled,
    LinkBound,
    LinkKind,
    OpenLink,
    Received,
    Report,
    Send,
    Started,
    StartTimer,
    Stop,
    Stopping,
    Subscribed,
    TimerFired,
)
from zdns.registry import Registry

M = TypeVar("M")
BO = ServerInfo("bo-server", "bo", ("tcp://b:1",), ("tcp://b:2",))


class Desk:
    """One server half; its requests to zdns are answered at once, unless zdns is `silent`."""

    def __init__(
        self, *, serve_first: bool = True, min_n: int = 0, fresh: bool = False, registry: Registry | None = None
    ):
        self.now_ms = 0
        self.silent = False
        self.registry = registry or Registry([], limits.LEASE_MS, 0, rng=random.Random(1))
        self.dns_links: list[LinkId] = []
        self.log: list[Command] = []
        self.core = ServerCore(
            ServerOptions("backend.com", "ana-server", "ana", ("tcp://dns:1",), serve_first, min_n, 30_000, fresh)
        )
        self.do(Started("n", 10**12))
        self.do(LinkBound(ROOM, ("tcp://a:1",)))
        self.do(LinkBound(FEED, ("tcp://a:2",)))

    def do(self, event: object) -> list[Command]:
        """One event and its flush; returns what it led to, answers of zdns included."""
        start = len(self.log)
        self._perform(self.core.handle(event, self.now_ms))  # type: ignore[arg-type]  # any event
        self._perform(self.core.flush(self.now_ms))
        return self.log[start:]

    def _perform(self, commands: Iterable[Command]) -> None:
        for command in commands:
            self.log.append(command)
            if isinstance(command, OpenLink) and command.kind is LinkKind.DNS_ASK:
                self.dns_links.append(command.link)
            if isinstance(command, Send) and command.link in self.dns_links and not self.silent:
                self._perform(self.core.handle(Received(command.link, self.dns(command.message)), self.now_ms))

    def dns(self, request: Message) -> DnsReply:
        decision = self.registry.decide(request, self.now_ms)  # type: ignore[arg-type]  # a request it is
        if decision.record is not None:
            self.registry.adopt(decision.record)
        return decision.reply

    def hear(self, message: Message, who: str = "ana") -> list[Command]:
        return self.do(Received(ROOM, message, who.encode()))

    def join(self, who: str) -> list[Command]:
        return self.hear(hello(who), who)


def hello(who: str, protocol: int = limits.PROTOCOL, server: str = "") -> Hello:
    return Hello(protocol, "backend.com", f"{who}-peer", f"{who}-s", who, False, False, server, 0)


def sent(commands: Iterable[Command], kind: type[M]) -> list[M]:
    return [command.message for command in commands if isinstance(command, Send) and isinstance(command.message, kind)]


def reports(commands: Iterable[Command]) -> list[object]:
    return [command.notice for command in commands if isinstance(command, Report)]


def orphaned() -> Registry:
    """A registry in which the server of another participant served, and died."""
    gone = Record("backend.com", 4, 9, "old-log", BO, (BO,))
    registry = Registry([gone], 1, 0, rng=random.Random(1))
    assert registry.decide(Register(0, limits.PROTOCOL, "x.com", BO), 10).record is None
    return registry


def test_it_claims_serves_and_answers() -> None:
    desk = Desk()
    assert Serving(1) in reports(desk.log)
    assert [welcome.epoch for welcome in sent(desk.join("ana"), Welcome)] == [1]
    commands = desk.hear(Posts(1, ("hello",)))
    assert [acked.seqs for acked in sent(commands, Acked)] == [(1,)]
    assert len(sent(commands, Published)) == 1
    report = sent(desk.hear(AskStatus(5)), StatusIs)[0].report
    assert (report.epoch, report.head, report.committed, report.members) == (1, 1, 1, ("ana",))
    assert (report.next_handover_ms, report.active.name) == (30_000, "ana")


def test_an_epoch_of_its_own_or_another_is_told_once() -> None:
    desk = Desk()
    assert [report for report in reports(desk.log) if isinstance(report, RoleGranted)] == [RoleGranted(1)]
    assert reports(desk.do(TimerFired("tenure.renew"))) == []
    desk = Desk(serve_first=False)
    desk.dns(Claim(0, "backend.com", BO, ClaimKind.FIRST, 0, "bo-log"))
    assert reports(desk.do(TimerFired("tenure.claim"))) == [RoleGranted(1)], "bo was faster"
    assert RoleGranted(4) in reports(Desk(serve_first=False, registry=orphaned()).log)


def test_garbage_costs_its_sender_one_refusal() -> None:
    desk = Desk()
    commands = desk.do(Garbled(ROOM, "no message", b"x"))
    assert sent(commands, Refused) == [Refused(0, RefusalCode.MALFORMED, "no message")]


def test_a_latent_server_serves_nobody_and_says_so() -> None:
    desk = Desk(serve_first=False, registry=orphaned())
    for message in (Ping(1), Posts(1, ("x",)), Fetch(1, 1, 1), AskStatus(1), HandOver(1, ""), hello("ana")):
        assert len(sent(desk.hear(message), NotServing)) == 1
    refused = sent(desk.hear(hello("ana", protocol=9)), Refused)
    assert [one.code for one in refused] == [RefusalCode.VERSION]
    assert str(limits.PROTOCOL) in refused[0].message
    assert "9" in refused[0].message


def test_an_active_server_takes_no_room_and_a_foreign_one_none_at_all() -> None:
    desk = Desk()
    asks = [
        LinkAsk(limits.PROTOCOL, "backend.com", "m1", BO),
        LinkAsk(limits.PROTOCOL + 1, "backend.com", "m1", BO),
        LinkAsk(limits.PROTOCOL, "other.com", "m1", BO),
    ]
    codes = [sent(desk.hear(ask, "bo"), Refused)[0].code for ask in asks]
    assert codes == [RefusalCode.BUSY, RefusalCode.VERSION, RefusalCode.WRONG_SERVICE]


def test_a_handover_to_nobody_fails_for_whoever_asked_and_the_room_goes_on() -> None:
    desk = Desk()
    desk.join("ana")
    assert sent(desk.hear(HandOver(3, "")), Refused)[0].code is RefusalCode.NO_STANDBY
    assert sent(desk.hear(HandOver(4, "zoe")), Refused)[0].code is RefusalCode.NO_STANDBY
    assert sent(desk.hear(HandOver(5, "ANA")), Refused)[0].code is RefusalCode.NOT_STANDBY
    assert sent(desk.hear(AskStatus(6)), StatusIs)[0].report.remark
    assert len(sent(desk.hear(Posts(1, ("still",))), Acked)) == 1


def test_a_handover_that_is_asked_for_waits_a_moment_for_a_standby_that_is_coming_up() -> None:
    desk = Desk()
    desk.join("ana")
    desk.hear(hello("bo", server="bo-server"), "bo")
    commands = desk.hear(HandOver(3, "bo"))
    assert not sent(commands, Refused)
    desk.registry.decide(Register(0, limits.PROTOCOL, "backend.com", BO), 0)
    commands = desk.do(TimerFired("core.term"))
    assert [ask.source.id for ask in sent(commands, LinkAsk)] == ["ana-server"]
    late = Desk()
    late.join("ana")
    late.hear(hello("bo", server="bo-server"), "bo")
    late.hear(HandOver(3, "bo"))
    late.now_ms = limits.LEASE_MS // 2
    late.do(TimerFired("tenure.renew"))
    late.now_ms = limits.HANDOVER_STEP_MS
    assert sent(late.do(TimerFired("core.term")), Refused)[0].code is RefusalCode.NO_STANDBY


def test_nothing_is_committed_while_another_server_is_on_the_in_sync_list() -> None:
    registry = orphaned()
    desk = Desk(fresh=True, registry=registry)
    assert Serving(5) in reports(desk.log)
    desk.join("ana")
    record = desk.core._tenure.record
    assert record is not None
    both = Record(record.service, 5, record.version + 1, record.log, record.active, (record.active, BO))
    registry.adopt(both)
    desk.core._tenure.learn(both)
    assert sent(desk.hear(Posts(1, ("early",))), Acked) == []
    desk.silent = True
    asked = desk.do(TimerFired("core.strike"))
    assert len(sent(asked, SetInSync)) == 1
    assert sent(desk.hear(Posts(1, ("early",))), Published) == []
    request = sent(asked, SetInSync)[0]
    commands = desk.do(Received(desk.dns_links[-1], desk.dns(request)))
    assert [acked.seqs for acked in sent(commands, Acked)] == [(1,)]


def test_a_higher_epoch_ends_the_room_at_once_and_sends_everybody_there() -> None:
    desk = Desk()
    desk.join("ana")
    other = Record("backend.com", 2, 9, "other-log", BO, (BO,))
    desk.registry.adopt(other)
    commands = desk.do(TimerFired("tenure.renew"))
    assert Relieved(2) in reports(commands)
    assert [relocate.server.id for relocate in sent(commands, Relocate)] == ["bo-server"]
    assert desk.core.room is None
    assert sent(desk.hear(Posts(1, ("late",))), Acked) == []


def with_bo() -> Desk:
    """Ana's server serves one post in epoch 1, and bo's stands by."""
    desk = Desk()
    desk.dns(Register(0, limits.PROTOCOL, "backend.com", BO))
    desk.join("ana")
    desk.hear(Posts(1, ("one",)))
    return desk


def over(desk: Desk, area: str, message: Message) -> list[Command]:
    """Bo's server says `message` over the newest link of that handover."""
    links = [command.link for command in desk.log if isinstance(command, OpenLink) and command.link.startswith(area)]
    return desk.do(Received(links[-1], message))


def give(desk: Desk, number: int) -> None:
    """The desk's `number`-th handover to bo, until bo has the role; the copy is kept."""
    move = f"n-m{number}"
    desk.hear(HandOver(number, ""))
    over(desk, "give-", LinkAt(move, ("tcp://b:9",)))
    over(desk, "give-", Accept(move, 0))
    desk.do(TimerFired("handover.prepared"))
    over(desk, "give-", Ready(move, sent(desk.log, Sealed)[-1].digest))
    assert desk.core.room is None


def take(desk: Desk, number: int) -> SetInSync:
    """Bo hands the same room back, and zdns falls silent: returns the question by which bo is to be struck off."""
    over(desk, "give-", Took(f"n-m{number}", 2 * number))
    move, dump, sealed = f"bo-{number}", sent(desk.log, Dump)[-1], sent(desk.log, Sealed)[-1]
    desk.hear(LinkAsk(limits.PROTOCOL, "backend.com", move, BO), "bo")
    record = desk.core._tenure.record
    assert record is not None
    offer = Offer(move, "backend.com", BO, record.epoch, number, record.log, sealed.head, 0)
    over(desk, "take-", offer)
    over(desk, "take-", Dump(move, 1, dump.count, dump.block))
    over(desk, "take-", Sealed(move, sealed.head, sealed.digest, sealed.state, 0, 0, record.version))
    granted = desk.dns(Transfer(0, "backend.com", BO.id, record.epoch, record.version, "ana-server"))
    assert isinstance(granted, Granted)
    desk.silent = True
    asked = over(desk, "take-", TakeOver(move, granted.record))
    assert Serving(2 * number + 1) in reports(asked)
    return sent(asked, SetInSync)[0]


def test_after_a_handover_it_takes_no_room_before_it_may_let_go_of_its_copy() -> None:
    desk = with_bo()
    give(desk, 1)
    ask = LinkAsk(limits.PROTOCOL, "backend.com", "m", BO)
    assert [refused.code for refused in sent(desk.hear(ask, "bo"), Refused)] == [RefusalCode.BUSY]
    over(desk, "give-", Took("n-m1", 2))
    assert sent(desk.hear(ask, "bo"), Refused) == []


def test_what_is_taken_back_is_told_with_a_revision_that_no_dead_successor_reached() -> None:
    desk = with_bo()
    give(desk, 1)
    desk.now_ms = limits.LEASE_MS + 1
    assert Serving(3) in reports(desk.do(TimerFired("handover.reclaim")))
    (welcome,) = sent(desk.join("ana"), Welcome)
    assert welcome.head == 1
    assert welcome.rev >= limits.REV_GAP


def test_the_word_of_one_source_lets_nothing_be_committed_after_the_next_handover() -> None:
    desk = with_bo()
    give(desk, 1)
    strike = take(desk, 1)
    desk.join("ana")
    assert sent(desk.hear(Posts(2, ("two",))), Acked) == []
    assert sent(over(desk, "take-", Released("bo-1")), Acked) != []
    desk.silent = False
    desk.do(Received(desk.dns_links[-1], desk.dns(strike)))
    give(desk, 2)
    take(desk, 2)
    desk.join("ana")
    assert sent(desk.hear(Posts(3, ("three",))), Acked) == []


def test_a_higher_epoch_in_the_answer_to_the_striking_off_ends_the_room_at_once() -> None:
    desk = with_bo()
    give(desk, 1)
    strike = take(desk, 1)
    desk.join("ana")
    desk.hear(Posts(2, ("two",)))
    desk.registry.adopt(Record("backend.com", 4, 99, "other-log", BO, (BO,)))
    commands = desk.do(Received(desk.dns_links[-1], desk.dns(strike)))
    assert Relieved(4) in reports(commands)
    assert sent(commands, Acked) == []
    assert desk.core.room is None


def test_a_new_reader_is_told_the_head_at_once() -> None:
    desk = Desk()
    before = len(desk.log)
    desk.do(Subscribed(FEED))
    assert any(isinstance(command, Send) and command.link == FEED for command in desk.log[before:])


def test_leaving_with_nobody_to_hand_over_to_ends_at_once() -> None:
    desk = Desk()
    commands = desk.do(Stopping())
    assert any(isinstance(command, Stop) for command in commands)
    assert desk.do(Stopping()) == []


def test_the_last_one_in_the_room_ends_its_history_and_the_next_one_begins_another() -> None:
    desk = Desk()
    desk.hear(hello("ana", server="ana-server"))
    desk.do(Stopping())
    record = desk.registry.decide(Resolve(1, limits.PROTOCOL, "backend.com"), 0).reply
    assert isinstance(record, Resolved)
    assert (record.state, record.record and record.record.ended) == (NameState.FREE, True)
    later = Desk(registry=desk.registry)
    assert Serving(2) in reports(later.log)


def test_with_others_in_the_room_it_waits_for_one_that_can_take_over_and_ends_no_history() -> None:
    desk = Desk()
    desk.hear(hello("bo", server="bo-server"), "bo")
    commands = desk.do(Stopping())
    assert not sent(commands, Leave)
    assert StartTimer("core.term", limits.TRANSFER_RETRY_MS) in commands
    commands = desk.do(TimerFired("core.quit"))
    assert [leave.ends for leave in sent(commands, Leave)] == [False]


def receive(desk: Desk, number: int, *credits: int) -> list[Command]:
    """Bo takes that much of the desk's `number`-th handover; returns what it led to."""
    move, start = f"n-m{number}", len(desk.log)
    over(desk, "give-", LinkAt(move, ("tcp://b:9",)))
    over(desk, "give-", Accept(move, 0))
    for have in credits:
        over(desk, "give-", Credit(move, have))
    return desk.log[start:]


def test_leaving_takes_longer_as_long_as_a_successor_receives_what_none_had_before() -> None:
    desk = with_bo()
    desk.hear(Posts(2, ("two",)))
    quit_later = StartTimer("core.quit", limits.QUIT_HANDOVER_MS)
    assert quit_later in desk.do(Stopping())
    commands = receive(desk, 1, 1, 2)
    assert commands.count(quit_later) == 2
    assert reports(commands) == [StillLeaving(), StillLeaving()]
    over(desk, "give-", Decline("n-m1", "no"))
    desk.hear(Posts(3, ("three",)))
    desk.do(TimerFired("core.term"))  # bo has failed and is left out: there is nobody
    desk.do(TimerFired("core.term"))
    commands = receive(desk, 3, 1, 2, 3)
    assert len(sent(commands, Dump)) == 1, "it is handed over anew"
    assert quit_later not in commands
    assert reports(commands) == []


def test_leaving_does_not_wait_for_a_zdns_that_is_gone() -> None:
    desk = Desk(serve_first=False, registry=orphaned())
    desk.silent = True
    commands = desk.do(Stopping())
    assert StartTimer("core.leave", limits.STOP_MS) in commands
    assert any(isinstance(command, Stop) for command in desk.do(TimerFired("core.leave")))


def test_a_new_name_of_the_host_reaches_zdns() -> None:
    desk = Desk()
    commands = desk.do(Asked(HostName("ana-2")))
    assert [register.server.name for register in sent(commands, Register)] == ["ana-2"]
    assert desk.do(Asked(HostName("ana-2"))) == []


def test_a_zdns_of_another_version_ends_it_with_the_reason() -> None:
    class Stubborn(Registry):
        def decide(self, request: DnsRequest, now_ms: int):  # type: ignore[no-untyped-def]  # as its base
            decision = super().decide(request, now_ms)
            refusal = Refused(request.ask, RefusalCode.VERSION, "versions differ")
            return type(decision)(refusal, None)

    desk = Desk(registry=Stubborn([], limits.LEASE_MS, 0, rng=random.Random(1)))
    assert TurnedAway(RefusalCode.VERSION, "versions differ") in reports(desk.log)
    assert any(isinstance(command, Stop) for command in desk.log)


def test_a_zdns_that_never_answers_is_reported() -> None:
    desk = Desk(serve_first=False, registry=orphaned())
    desk.silent = True
    fresh = ServerCore(ServerOptions("backend.com", "x", "x", ("tcp://dns:1",)))
    commands = fresh.handle(Started("n", 0), 0)
    commands += fresh.handle(LinkBound(ROOM, ("tcp://a:1",)), 0)
    commands += fresh.handle(LinkBound(FEED, ("tcp://a:2",)), 0)
    timers = {command.name: command.delay_ms for command in commands if isinstance(command, StartTimer)}
    now_ms = 0
    for _ in range(200):
        if any(isinstance(report, NoZdns) for report in reports(commands)) or not timers:
            break
        name = min(timers, key=lambda each: timers[each])
        now_ms = max(now_ms, timers.pop(name))
        new = fresh.handle(TimerFired(name), now_ms)
        timers |= {command.name: now_ms + command.delay_ms for command in new if isinstance(command, StartTimer)}
        commands += new
    assert any(isinstance(report, NoZdns) for report in reports(commands))
