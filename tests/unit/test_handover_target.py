"""Taking the room over: a promise is kept, and nothing is served that was not granted."""

from typing import Any

import pytest

from broker.handover_target import (
    CANDIDATE,
    PARTING,
    POLL,
    STEP,
    Forgot,
    HandoverTarget,
    Phase,
    Result,
    SourceLetGo,
    TakeRoom,
)
from broker.history import History
from wire import limits
from wire.messages import (
    Accept,
    Credit,
    Decline,
    DnsRequest,
    Dump,
    Entry,
    LinkAsk,
    LinkAt,
    Message,
    NameState,
    Offer,
    Ready,
    Record,
    Released,
    Resolve,
    Resolved,
    RoomState,
    Sealed,
    ServerInfo,
    TakeOver,
    Took,
    Withdraw,
)
from wire.names import LinkId
from wire.step import CloseLink, Command, OpenLink, Send, StartTimer

SOURCE = ServerInfo("source", "ana", ("tcp://a:1",), ("tcp://a:2",))
ME = ServerInfo("me", "bo", ("tcp://b:1",), ("tcp://b:2",))
ROOM = LinkId("room")
STATE = RoomState((), 0, 0, True, 0, ())


def record(epoch: int, version: int, active: ServerInfo) -> Record:
    return Record("backend.com", epoch, version, "log", active, (active,))


class Bench:
    """A target, a source's history, and everything that was said."""

    def __init__(self, entries: int = 3) -> None:
        self.asked: list[DnsRequest] = []
        self.sent: list[Message] = []
        self.history = History("log")
        for seq in range(1, entries + 1):
            self.history.append(Entry(seq, 1, "p", "s", seq, 0, "ana", "x"))
        self.target = HandoverTarget(service="backend.com", server_id="me", ask=self.ask)
        self.link = LinkId("")

    def ask(self, request: DnsRequest, _deadline_ms: int | None) -> list[Command]:
        self.asked.append(request)
        return []

    def note(self, result: Result) -> list[object]:
        self.commands, verdicts = result
        self.sent += [command.message for command in self.commands if isinstance(command, Send)]
        return list(verdicts)

    def offer(self, number: int = 1, epoch: int = 4, move: str = "m1", **changes: Any) -> list[object]:
        self.note(self.target.asked(LinkAsk(limits.PROTOCOL, "backend.com", move, SOURCE), b"route"))
        (opened,) = [command for command in self.commands if isinstance(command, OpenLink)]
        link = opened.link
        bound = self.target.bound(link, ("tcp://b:9",), ROOM)
        assert bound == [Send(ROOM, LinkAt(move, ("tcp://b:9",)), b"route")]
        fields: dict[str, Any] = {
            "move": move,
            "service": "backend.com",
            "source": SOURCE,
            "epoch": epoch,
            "number": number,
            "log": "log",
            "head": 3,
            "bytes": 100,
        }
        offer = Offer(**{**fields, **changes})
        verdicts = self.note(self.target.received(link, offer, 0))
        if self.sent and isinstance(self.sent[-1], Accept):
            self.link = link
        return verdicts

    def hear(self, message: Message, now_ms: int = 0) -> list[object]:
        return self.note(self.target.received(self.link, message, now_ms))

    def dump(self, first: int = 1, last: int = 3) -> list[object]:
        count, block = self.history.block(first, last)
        return self.hear(Dump("m1", first, count, block))

    def seal(self, digest: bytes | None = None, head: int = 3) -> list[object]:
        return self.hear(Sealed("m1", head, digest or self.history.digest(), STATE, 5, 100, 7), 10)

    def verified(self) -> "Bench":
        self.offer()
        self.dump()
        self.seal()
        assert self.target.phase is Phase.VERIFIED
        return self


def test_the_whole_way_in_its_order() -> None:
    bench = Bench().verified()
    assert [type(message) for message in bench.sent] == [Accept, Credit, Ready]
    granted = record(5, 8, ME)
    (verdict,) = bench.hear(TakeOver("m1", granted), 30)
    assert isinstance(verdict, TakeRoom)
    assert (verdict.record, verdict.history.digest(), verdict.pause_ms) == (granted, bench.history.digest(), 20)
    assert bench.target.phase is Phase.ACTIVE
    assert bench.sent[-1] == Took("m1", 5)
    assert bench.hear(Released("m1")) == [SourceLetGo()]
    assert bench.target.phase is Phase.IDLE


def test_the_sources_word_counts_only_once_we_serve() -> None:
    bench = Bench().verified()
    assert bench.hear(Released("m1")) == []
    bench.hear(TakeOver("m1", record(5, 8, ME)))
    assert bench.note(bench.target.link_down(bench.link, "gone")) == []
    assert any(isinstance(command, CloseLink) for command in bench.target.parted())
    assert bench.target.phase is Phase.IDLE
    assert bench.target.parted() == []


def test_a_whole_copy_counts_as_held_and_a_part_does_not() -> None:
    bench = Bench()
    bench.offer()
    assert bench.target.held_log() == ""
    bench.dump()
    bench.seal()
    assert bench.target.held_log() == "log"


def test_it_serves_only_what_zdns_has_granted_to_it_in_the_next_epoch() -> None:
    for wrong in (record(5, 8, SOURCE), record(6, 9, ME), record(4, 7, ME)):
        bench = Bench().verified()
        assert not any(isinstance(verdict, TakeRoom) for verdict in bench.hear(TakeOver("m1", wrong)))
        assert bench.target.phase is not Phase.ACTIVE


def test_told_nothing_it_asks_zdns_until_it_knows() -> None:
    bench = Bench().verified()
    for _ in range(3):
        bench.note(bench.target.timer(POLL))
        assert isinstance(bench.asked[-1], Resolve)
        bench.note(bench.target.unanswered())
        assert StartTimer(POLL, limits.TAKE_OVER_POLL_MS) in bench.commands
    still = Resolved(0, NameState.SERVED, record(4, 7, SOURCE), ())
    assert bench.note(bench.target.answered(still, 0)) == []
    assert StartTimer(POLL, limits.TAKE_OVER_POLL_MS) in bench.commands
    (verdict,) = bench.note(bench.target.answered(Resolved(0, NameState.SERVED, record(5, 8, ME), ()), 0))
    assert isinstance(verdict, TakeRoom)


def test_a_copy_that_is_whole_survives_the_loss_of_the_link_and_any_silence() -> None:
    bench = Bench().verified()
    assert bench.note(bench.target.link_down(bench.link, "gone")) == []
    assert bench.note(bench.target.timer(STEP)) == []
    assert bench.target.phase is Phase.VERIFIED


@pytest.mark.parametrize("gone", [record(4, 8, SOURCE), record(5, 8, SOURCE), record(6, 9, SOURCE)])
def test_a_record_that_rules_the_transfer_out_lets_the_copy_go(gone: Record) -> None:
    bench = Bench().verified()
    (verdict,) = bench.note(bench.target.seen(gone, 0))
    assert isinstance(verdict, Forgot)
    assert bench.target.phase is Phase.IDLE


def test_a_withdrawal_lets_the_copy_go() -> None:
    bench = Bench().verified()
    (verdict,) = bench.hear(Withdraw("m1", "changed my mind"))
    assert isinstance(verdict, Forgot)


def test_while_receiving_silence_and_a_broken_link_end_it() -> None:
    for fail in (
        lambda bench: bench.target.timer(STEP),
        lambda bench: bench.target.link_down(bench.link, "gone"),
    ):
        bench = Bench()
        bench.offer()
        (verdict,) = bench.note(fail(bench))
        assert isinstance(verdict, Forgot)
        assert any(isinstance(command, CloseLink) for command in bench.commands)


def test_a_dump_that_does_not_follow_or_is_none_is_declined() -> None:
    bench = Bench()
    bench.offer()
    (verdict,) = bench.dump(first=2)
    assert isinstance(verdict, Forgot)
    assert isinstance(bench.sent[-1], Decline)
    broken = Bench()
    broken.offer()
    broken.hear(Dump("m1", 1, 3, b"garbage"))
    assert isinstance(broken.sent[-1], Decline)


def test_a_seal_over_something_else_is_declined() -> None:
    for digest, head in ((b"other", 3), (None, 4)):
        bench = Bench()
        bench.offer()
        bench.dump()
        bench.seal(digest, head)
        assert isinstance(bench.sent[-1], Decline)
        assert bench.target.phase is Phase.IDLE


def test_once_the_source_is_struck_off_it_gets_a_moment_to_read_that_we_took_over() -> None:
    bench = Bench().verified()
    bench.hear(TakeOver("m1", record(5, 8, ME)))
    assert bench.target.settled() == [StartTimer(PARTING, limits.PARTING_MS)]
    assert bench.hear(Released("m1")) == [SourceLetGo()]
    assert bench.target.settled() == []
    assert bench.note(bench.target.timer(PARTING)) == []
    silent = Bench().verified()
    silent.hear(TakeOver("m1", record(5, 8, ME)))
    silent.target.settled()
    assert silent.note(silent.target.timer(PARTING)) == []
    assert CloseLink(silent.link, linger_ms=limits.STOP_MS // 2) in silent.commands
    assert silent.target.phase is Phase.IDLE


def test_a_newer_offer_replaces_an_older_one_and_no_other_does() -> None:
    bench = Bench().verified()
    bench.offer(number=1, move="m2")
    assert bench.sent[-1] == Decline("m2", "this server is taking over already")
    assert bench.target.phase is Phase.VERIFIED
    bench.offer(number=2, move="m3")
    assert bench.sent[-1] == Accept("m3", 0)
    assert bench.target.phase is Phase.RECEIVING


def test_an_offer_for_something_else_or_too_large_is_declined() -> None:
    for changes in ({"service": "other.com"}, {"bytes": limits.HISTORY_BYTES_MAX + 1}):
        bench = Bench()
        bench.offer(**changes)
        assert isinstance(bench.sent[-1], Decline)
        assert bench.target.phase is Phase.IDLE


def test_a_link_nobody_offers_over_is_closed_again() -> None:
    bench = Bench()
    bench.note(bench.target.asked(LinkAsk(limits.PROTOCOL, "backend.com", "m1", SOURCE), b"route"))
    bench.note(bench.target.timer(CANDIDATE))
    assert next(type(command) for command in bench.commands) is CloseLink
    bench.note(bench.target.asked(LinkAsk(limits.PROTOCOL, "backend.com", "m1", SOURCE), b"route"))
    bench.note(bench.target.asked(LinkAsk(limits.PROTOCOL, "backend.com", "m2", SOURCE), b"route"))
    assert next(type(command) for command in bench.commands) is CloseLink


def test_old_links_and_other_moves_mean_nothing() -> None:
    bench = Bench().verified()
    for message in (TakeOver("m0", record(5, 8, ME)), Withdraw("m0", ""), Dump("m0", 4, 0, b"")):
        assert bench.hear(message) == []
        assert bench.note(bench.target.received(LinkId("take-99"), message, 0)) == []
    assert bench.target.phase is Phase.VERIFIED
