"""A server half as a whole: the door, the commit rule, following, taking over, coming back, leaving."""

import random
from dataclasses import replace

import msgspec
import pytest

from broker.core import ServerCore
from broker.keeper import read_notes
from broker.reports import (
    HostName,
    Listening,
    NoZdns,
    Relieved,
    RoleGranted,
    ServerOptions,
    Serving,
    StillLeaving,
    TurnedAway,
)
from broker.room import FEED, ROOM
from broker.stored import DropStore, MakeStore
from tests.sim.disks import Store
from tests.support.halves import (
    OPTIONS,
    Half,
    Other,
    hello,
    is_stopped,
    later,
    new_registry,
    orders,
    reports,
    without_writes,
)
from tests.support.histories import SERVICE, block_of, entry
from tests.support.replicas import ANA, BO, CY, STATE, closed, opened, record, sent
from wire import limits
from wire.errors import RefusalCode
from wire.messages import (
    Acked,
    Align,
    Append,
    AskStatus,
    Claim,
    ClaimKind,
    Decline,
    Dismiss,
    Expect,
    Fetch,
    Follow,
    Following,
    Granted,
    HandOver,
    Have,
    Heartbeat,
    Keep,
    Leave,
    LinkAsk,
    LinkAt,
    Message,
    Moved,
    NameRequest,
    NameState,
    NotServing,
    Outdated,
    Pick,
    Ping,
    Posts,
    Prepare,
    Published,
    Ready,
    Record,
    Refused,
    Register,
    Relocate,
    Renew,
    Resolve,
    Resolved,
    Sealed,
    SetInSync,
    StatusIs,
    StatusReport,
    TakeOver,
    Transfer,
    Welcome,
    Withdraw,
)
from wire.names import LinkId
from wire.step import (
    Asked,
    CloseLink,
    Command,
    Garbled,
    LinkBound,
    LinkDown,
    LinkKind,
    OpenLink,
    Received,
    Send,
    Started,
    StartTimer,
    Stopping,
    Subscribed,
    TimerFired,
)
from zdns.registry import Registry

EPHEMERAL = replace(OPTIONS, ephemeral=True)
STANDBY = replace(OPTIONS, serve_first=False)


def status(half: Half) -> StatusReport:
    """What it says of itself."""
    return sent(half.hear(AskStatus(5)), StatusIs)[0].report


def acked(commands: list[Command]) -> list[tuple[int, ...]]:
    """The seqs that are acknowledged."""
    return [one.seqs for one in sent(commands, Acked)]


# --- the door ---


def test_it_binds_registers_claims_and_serves() -> None:
    half = Half()
    assert reports(half.log) == [Listening(ANA), Serving(1), RoleGranted(1)]
    (made,) = orders(half.log, MakeStore)
    assert (made.store, made.log) == (1, "n-l1")
    assert half.core.server == ANA
    assert [welcome.epoch for welcome in sent(half.join("ana"), Welcome)] == [1]


def test_killed_as_soon_as_it_serves_it_goes_on_when_it_comes_back() -> None:
    half = Half()
    half.is_slow = True
    store = half.stores[1]
    notes = read_notes(orders(half.log, MakeStore)[0].notes)
    assert notes is not None
    assert (notes.record.active, notes.is_whole) == (ANA, True)
    again = Half(STANDBY, registry=half.registry, store=Store(store.log, store.server_id, notes=store.notes))
    assert again.core.room is not None
    assert again.core.room.epoch == 2


def test_an_epoch_of_its_own_or_another_is_told_once() -> None:
    half = Half()
    assert [report for report in reports(half.log) if isinstance(report, RoleGranted)] == [RoleGranted(1)]
    assert reports(half.timer("tenure.renew")) == []
    half = Half(STANDBY)
    half.ask_dns(Claim(0, SERVICE, BO, ClaimKind.FIRST, 0, "bo-log"))
    assert reports(half.timer("tenure.claim")) == [RoleGranted(1)], "bo was faster"
    assert RoleGranted(4) in reports(Half(STANDBY, registry=new_registry(record(4, 9, BO))).log)


def test_garbage_costs_its_sender_one_refusal() -> None:
    commands = Half().do(Garbled(ROOM, "no message", b"x"))
    assert sent(commands, Refused) == [Refused(0, RefusalCode.MALFORMED, "no message")]


def test_a_latent_server_serves_nobody_and_says_so() -> None:
    half = Half(STANDBY, registry=new_registry(record(4, 9, BO)))
    for message in (Ping(1), Posts(1, ("x",)), Fetch(1, 1, 1), AskStatus(1), HandOver(1, ""), hello("ana")):
        assert half.hear(message) == [Send(ROOM, NotServing(4), b"ana")]
    (refused,) = sent(half.hear(hello("ana", protocol=9)), Refused)
    assert refused.code is RefusalCode.VERSION
    assert str(limits.PROTOCOL) in refused.message
    assert "9" in refused.message


def test_an_active_server_follows_nobody_a_foreign_one_is_refused_and_who_asks_is_looked_into() -> None:
    half = Half()
    asks = [
        LinkAsk(limits.PROTOCOL, SERVICE, "p", BO),
        LinkAsk(limits.PROTOCOL + 1, SERVICE, "p", BO),
        LinkAsk(limits.PROTOCOL, "other.com", "p", BO),
    ]
    answers = [half.hear(ask, "bo") for ask in asks]
    codes = [sent(commands, Refused)[0].code for commands in answers]
    assert codes == [RefusalCode.BUSY, RefusalCode.VERSION, RefusalCode.WRONG_SERVICE]
    assert len(sent(answers[0], Renew)) == 1, "somebody else may have been granted the role"


def test_a_new_reader_is_told_the_head_at_once() -> None:
    assert [beat.head for beat in sent(Half().do(Subscribed(FEED)), Heartbeat)] == [0]


def test_a_new_name_of_the_host_reaches_zdns() -> None:
    half = Half()
    commands = half.do(Asked(HostName("ana-2")))
    assert [(register.server.name, register.record) for register in sent(commands, Register)] == [
        ("ana-2", half.record)
    ]
    assert half.do(Asked(HostName("ana-2"))) == []


def test_a_zdns_of_another_version_ends_it_with_the_reason() -> None:
    class Stubborn(Registry):
        def decide(self, request: NameRequest, now_ms: int):  # type: ignore[no-untyped-def]  # as its base
            decision = super().decide(request, now_ms)
            refusal = Refused(request.ask, RefusalCode.VERSION, "versions differ")
            return type(decision)(refusal, None)

    half = Half(registry=Stubborn([], limits.LEASE_MS, 0, rng=random.Random(1)))
    assert TurnedAway(RefusalCode.VERSION, "versions differ") in reports(half.log)
    assert is_stopped(half.log)


def test_a_zdns_that_never_answers_is_reported() -> None:
    fresh = ServerCore(ServerOptions(SERVICE, "x", "x", ("tcp://dns:1",)))
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


# --- what is committed, and when ---


def test_alone_and_without_a_disk_it_commits_a_post_as_soon_as_it_comes() -> None:
    half = Half(EPHEMERAL)
    half.join("ana")
    commands = half.hear(Posts(1, ("one", "two")))
    assert [type(message) for message in sent(commands, Message)] == [Published, Acked]
    assert acked(commands) == [(1, 2)]
    assert not half.stores


def test_alone_with_a_disk_it_commits_a_post_when_it_is_written() -> None:
    half = Half()
    half.join("ana")
    half.is_slow = True
    assert without_writes(half.hear(Posts(1, ("one",)))) == []
    assert sent(half.hear(Fetch(1, 1, 1)), Published) == []
    commands = half.write()
    assert acked(commands) == [(1,)]
    assert len(sent(commands, Published)) == 1
    assert [len(store.entries) for store in half.stores.values()] == [1]


def test_what_came_before_a_write_that_is_done_is_committed_and_what_came_after_is_not() -> None:
    half = Half()
    half.join("ana")
    half.is_slow = True
    half.hear(Posts(1, ("one",)))
    half.hear(Posts(2, ("two",)))
    assert acked(half.write(1)) == [(1,)]


def test_it_tells_of_itself() -> None:
    half = Half()
    half.join("ana")
    half.hear(Posts(1, ("one",)))
    bo = Other(half)
    bo.recruited()
    report = status(half)
    assert (report.epoch, report.head, report.committed, report.members) == (1, 1, 1, ("ana",))
    assert (report.next_handover_ms, report.active, report.in_sync) == (30_000 - limits.RECRUIT_MS, ANA, (ANA,))
    assert [(one.name, one.phase, one.lag) for one in report.followers] == [("bo", "asked", 1)]
    bo.follows()
    report = status(half)
    assert [(one.name, one.phase, one.lag) for one in report.followers] == [("bo", "in sync", 0)]
    assert (report.in_sync, report.replicas, report.disk, report.remark) == ((ANA, BO), 1, "", "")
    half.hear(Posts(2, ("two",)))
    report = status(half)
    assert (report.head, report.committed, report.remark) == (2, 1, "waiting for bo")
    assert [one.lag for one in report.followers] == [1]


# --- its followers ---


def test_a_standby_is_asked_for_a_link_has_everything_copied_and_is_put_on_the_list() -> None:
    half = Half()
    half.join("ana")
    half.hear(Posts(1, ("one", "two")))
    bo = Other(half)
    half.stand_by(BO)
    asked = half.timer("replicas.tick", limits.RECRUIT_MS)
    assert opened(asked) == [OpenLink(LinkId("copy-1"), LinkKind.ROOM_CONNECT, "tcp://bo:1")]
    assert sent(asked, LinkAsk) == [LinkAsk(limits.PROTOCOL, SERVICE, "n-p1", ANA)]
    known, room = half.record, half.core.room
    assert known is not None
    assert room is not None
    follow = Follow("n-p1", SERVICE, ANA, known, 1, 2, room.history.bytes_count, room.state(half.now_ms))
    assert bo.linked(asked) == [
        CloseLink(LinkId("copy-1")),
        OpenLink(LinkId("copy-2"), LinkKind.COPY_CONNECT, "tcp://bo:9"),
        Send(LinkId("copy-2"), follow),
    ]
    commands = bo.says(Following("n-p1", 0, 0, (), 0))
    assert sent(commands, Align) == [Align("n-p1", 0, 2)]
    assert [(one.first, one.count, one.committed, one.prev_epoch) for one in sent(commands, Append)] == [(1, 2, 2, 0)]
    commands = bo.has_all()
    assert [(one.in_sync, one.volatile) for one in sent(commands, SetInSync)] == [((ANA.id, BO.id), ())]
    assert half.record == record(1, 2, ANA, BO, log="n-l1")
    assert [state.phase for state in status(half).followers] == ["in sync"]


def test_nothing_is_committed_that_a_follower_on_the_list_does_not_have() -> None:
    half = Half()
    half.join("ana")
    bo = Other(half)
    bo.recruited()
    bo.follows()
    commands = half.hear(Posts(1, ("one",)))
    assert [append.first for append in sent(commands, Append)] == [1]
    assert acked(commands) == []
    assert sent(commands, Published) == []
    assert acked(bo.has(1)) == [(1,)]


def test_nothing_is_committed_that_is_written_at_the_follower_and_not_here() -> None:
    half = Half()
    half.join("ana")
    bo = Other(half)
    bo.recruited()
    bo.follows()
    half.is_slow = True
    half.hear(Posts(1, ("one",)))
    assert acked(bo.has(1)) == []
    assert acked(half.write()) == [(1,)]


def test_who_is_just_being_put_on_the_list_is_waited_for_before_zdns_answers() -> None:
    half = Half()
    half.join("ana")
    bo = Other(half)
    bo.recruited()
    half.silent = True
    asked = bo.follows()
    assert len(sent(asked, SetInSync)) == 1
    assert acked(half.hear(Posts(1, ("one",)))) == []
    assert acked(bo.has(1)) == [(1,)]


def test_a_follower_whose_link_breaks_is_struck_off_before_anything_is_committed_without_it() -> None:
    half = Half()
    half.join("ana")
    bo = Other(half)
    bo.recruited()
    bo.follows()
    half.hear(Posts(1, ("one",)))
    half.silent = True
    commands = half.do(LinkDown(bo.link, "the connection broke"))
    (request,) = sent(commands, SetInSync)
    assert request.in_sync == (ANA.id,)
    assert acked(commands) == []
    commands = half.dns_answers(request)
    assert acked(commands) == [(1,)]
    assert half.record == record(1, 3, ANA, log="n-l1")


def test_a_follower_that_says_nothing_is_struck_off_after_a_moment() -> None:
    half = Half()
    bo = Other(half)
    bo.recruited()
    bo.follows()
    for _ in range(limits.FOLLOWER_SILENT_MS // limits.KEEP_MS):
        assert sent(half.timer("replicas.tick", limits.KEEP_MS), SetInSync) == []
    assert [one.in_sync for one in sent(half.timer("replicas.tick", limits.KEEP_MS), SetInSync)] == [(ANA.id,)]


def test_a_follower_is_told_who_is_in_the_room_at_once_and_again_when_that_is_news() -> None:
    half = Half()
    half.join("ana")
    bo = Other(half)
    (follow,) = sent(bo.recruited(), Follow)
    assert [member.nick for member in follow.state.members] == ["ana"]
    bo.follows()
    half.timer("replicas.tick", limits.KEEP_MS)
    bo.has_all()
    (keep,) = sent(half.timer("replicas.tick", limits.KEEP_MS), Keep)
    assert (keep.record, keep.state) == (half.record, None)
    bo.has_all()
    half.join("cy")
    (keep,) = sent(half.timer("replicas.tick", limits.KEEP_MS), Keep)
    assert keep.state is not None
    assert [member.nick for member in keep.state.members] == ["ana", "cy"]


def test_a_follower_that_is_always_a_little_behind_is_waited_for_so_that_it_can_be_put_on_the_list() -> None:
    half = Half()
    half.join("ana")
    bo = Other(half)
    half.hear(Posts(1, ("one",)))
    bo.recruited()
    bo.says(Following(bo.pair, 0, 0, (), 0))
    asked: list[SetInSync] = []
    for number in range(2, 20):
        commands = half.timer("replicas.tick", limits.KEEP_MS)
        commands += half.hear(Posts(number, ("again",)))
        asked += sent([*commands, *bo.has(number - 1)], SetInSync)
    assert [request.in_sync for request in asked] == [(ANA.id, BO.id)]


def test_a_follower_that_leaves_is_let_go_of_when_it_is_off_the_list() -> None:
    half = Half()
    bo = Other(half)
    bo.recruited()
    bo.follows()
    half.silent = True
    commands = bo.says(Decline(bo.pair, "this server is leaving"))
    (request,) = sent(commands, SetInSync)
    assert sent(commands, Dismiss) == []
    commands = half.dns_answers(request)
    assert sent(commands, Dismiss) == [Dismiss(bo.pair, record(1, 3, ANA, log="n-l1"), "as it asked")]
    assert bo.link in closed(commands)


def test_a_follower_that_knows_a_higher_epoch_has_it_ask_zdns() -> None:
    half = Half()
    bo = Other(half)
    bo.recruited()
    half.grant(record(2, 9, BO, log="n-l1"))
    commands = bo.says(Outdated(bo.pair, record(2, 9, BO, log="n-l1")))
    assert len(sent(commands, Renew)) == 1
    assert Relieved(2) in reports(commands)


# --- following ---


def follower(half: Half | None = None, *, entries: int = 2) -> tuple[Half, Other, Record]:
    """A half that follows bo with so many entries, all committed, and is on the list of epoch 1."""
    half = half or Half(STANDBY, registry=new_registry(record(1, 1, BO)))
    bo = Other(half)
    both = record(1, 2, BO, ANA)
    bo.links()
    bo.leads(record(1, 1, BO), head=entries)
    bo.sends(both, [entry(seq) for seq in range(1, entries + 1)])
    half.stand_by(BO)
    half.grant(both)
    bo.says(Keep(bo.pair, 1, entries, both, STATE))
    return half, bo, both


def test_it_binds_a_link_follows_and_says_what_it_has() -> None:
    half = Half(STANDBY, registry=new_registry(record(1, 1, BO)))
    bo = Other(half)
    assert bo.links() == [
        OpenLink(LinkId("copy-1"), LinkKind.COPY_BIND),
        StartTimer("copy.candidate.copy-1", limits.HANDOVER_STEP_MS),
        Send(ROOM, LinkAt("b-p1", ("tcp://ana:9",)), b"bo"),
    ]
    commands = bo.leads(record(1, 1, BO), head=2)
    assert sent(commands, Following) == [Following("b-p1", 0, 0, (), 0)]
    assert orders(commands, MakeStore) == [MakeStore(1, "log-1")]
    half.is_slow = True
    commands = bo.sends(record(1, 1, BO), [entry(1), entry(2)])
    assert [have.have for have in sent(commands, Have)] == [0]
    assert [have.have for have in sent(half.write(), Have)] == [2], "now it is written"
    commands = bo.says(Keep("b-p1", 1, 2, record(1, 2, BO, ANA), STATE))
    assert sent(commands, Have) == [Have("b-p1", 1, 2)], "a sign of life is answered"
    assert half.core.room is None


def test_without_a_disk_it_has_what_it_was_sent_at_once_and_says_that_it_is_in_memory_only() -> None:
    half = Half(replace(STANDBY, ephemeral=True), registry=new_registry(record(1, 1, BO)))
    bo = Other(half)
    bo.links()
    assert sent(bo.leads(record(1, 1, BO)), Following) == [Following("b-p1", 0, 0, (), 0, volatile=True)]
    assert [have.have for have in sent(bo.sends(record(1, 1, BO), [entry(1)]), Have)][-1] == 1
    assert not half.stores


def test_it_keeps_on_disk_what_the_leader_tells_of_the_room() -> None:
    half, _, both = follower()
    (store,) = half.stores.values()
    notes = read_notes(store.notes)
    assert notes is not None
    assert (notes.record, notes.state, notes.is_whole) == (both, STATE, True)
    assert (len(store.entries), store.committed) == (2, 2)


def test_one_that_would_lead_in_an_older_epoch_is_shown_the_newer_one() -> None:
    half = Half(STANDBY, registry=new_registry(record(4, 9, CY)))
    bo = Other(half)
    bo.links()
    commands = bo.leads(record(3, 5, BO))
    assert sent(commands, Outdated) == [Outdated(bo.pair, record(4, 9, CY))]
    assert bo.link in closed(commands)
    assert half.core.history is None


def test_a_renewal_says_which_history_it_holds_and_one_that_is_not_registered_tells_the_record() -> None:
    half, _, both = follower()
    (renew,) = sent(half.timer("tenure.renew"), Renew)
    assert renew.holds == "log-1"
    half.registry = new_registry()
    (register,) = sent(half.timer("tenure.renew"), Register)
    assert register.record == both


def test_who_is_dismissed_erases_its_copy_and_stands_by() -> None:
    half, bo, _ = follower()
    commands = bo.says(Dismiss(bo.pair, record(1, 3, BO), "there are others who follow"))
    assert orders(commands, DropStore) == [DropStore(1, True)]
    assert bo.link in closed(commands)
    assert half.core.history is None
    assert not half.stores


# --- taking over from one that died ---


def test_when_the_link_breaks_and_the_port_refuses_it_claims_serves_and_strikes_the_dead_one_off() -> None:
    half, bo, _ = follower()
    commands = half.do(LinkDown(bo.link, "the connection broke"))
    (probe,) = opened(commands)
    assert (probe.kind, probe.endpoint) == (LinkKind.ROOM_CONNECT, "tcp://bo:1")
    assert Send(probe.link, Ping(1)) in commands
    assert sent(commands, Claim) == []
    commands = half.do(LinkDown(probe.link, "connection refused"))
    (claim,) = sent(commands, Claim)
    assert (claim.kind, claim.epoch, claim.unreachable, claim.from_disk) == (ClaimKind.FAILOVER, 1, True, False)
    assert [one for one in reports(commands) if not isinstance(one, RoleGranted)] == [Serving(2)]
    assert [one.source.id for one in sent(commands, LinkAsk)] == [], "it is known to be dead"
    assert [one.in_sync for one in sent(commands, SetInSync)] == [(ANA.id,)]
    assert half.record == later(record(1, 3, BO, ANA), ANA)
    half.join("ana")
    assert acked(half.hear(Posts(1, ("three",)))) == [(3,)]


def test_the_others_on_the_list_are_led_and_waited_for() -> None:
    half, bo, both = follower()
    half.stand_by(CY)
    three = half.grant(msgspec.structs.replace(both, version=3, in_sync=(BO, ANA, CY)))
    bo.says(Keep(bo.pair, 1, 2, three))
    half.do(LinkDown(bo.link, "the connection broke"))
    commands = half.do(LinkDown(opened(half.log)[-1].link, "connection refused"))
    assert [one.endpoint for one in opened(commands) if one.kind is LinkKind.ROOM_CONNECT] == ["tcp://cy:1"]
    assert [one.in_sync for one in sent(commands, SetInSync)] == [(ANA.id, CY.id)]
    half.join("ana")
    assert acked(half.hear(Posts(1, ("three",)))) == [], "cy may take over next, and does not have it"


def test_of_a_leader_that_says_nothing_only_its_lease_tells() -> None:
    half, _, _ = follower()
    commands = half.timer("copy.silence", limits.LEADER_SILENT_MS)
    assert [one.endpoint for one in opened(commands)] == ["tcp://bo:1"]
    commands = half.timer("heir.probe", limits.PROBE_MS)
    (claim,) = sent(commands, Claim)
    assert not claim.unreachable
    assert StartTimer("heir.claim", limits.CLAIM_AGAIN_MS) in commands
    assert half.core.room is None, "bo still has its lease"
    half.now_ms = limits.LEASE_MS
    assert Serving(2) in reports(half.timer("heir.claim"))


def test_a_leader_that_answers_is_given_time_to_lead_anew() -> None:
    half, bo, both = follower()
    commands = half.do(LinkDown(bo.link, "the connection broke"))
    probe = opened(commands)[0].link
    commands = half.do(Received(probe, NotServing(1)))
    assert sent(commands, Claim) == []
    assert StartTimer("heir.claim", limits.LEADER_SILENT_MS) in commands
    bo.links("b-p2")
    commands = bo.leads(both, number=2, head=2)
    assert sent(commands, Following) == [Following("b-p2", 2, 2, ((1, 1),), 2)]
    assert sent(half.timer("heir.claim", limits.LEADER_SILENT_MS), Claim) == []


def test_what_the_dead_one_had_sent_is_committed_by_its_successor_and_told_with_a_new_revision() -> None:
    half, bo, both = follower()
    bo.says(Keep(bo.pair, 1, 2, both, msgspec.structs.replace(STATE, members_rev=7)))
    bo.says(Append(bo.pair, 1, 2, 3, 1, 1, block_of([entry(3)])))
    half.do(LinkDown(bo.link, "the connection broke"))
    commands = half.do(LinkDown(opened(half.log)[-1].link, "connection refused"))
    assert [(one.epoch, one.first, one.count) for one in sent(commands, Published)] == [(2, 3, 1)]
    (welcome,) = sent(half.join("cy"), Welcome)
    assert welcome.rev == limits.REV_GAP + 8
    (move,) = status(half).moves
    assert (move.epoch, move.source, move.target, move.reason, move.entries) == (2, "bo", "ana", "failover", 3)


def test_who_is_off_the_list_and_does_not_know_it_is_told_so_and_erases_its_copy() -> None:
    half, bo, _ = follower()
    half.grant(record(1, 3, BO))
    half.do(LinkDown(bo.link, "the connection broke"))
    commands = half.do(LinkDown(opened(half.log)[-1].link, "connection refused"))
    assert orders(commands, DropStore) == [DropStore(1, True)]
    assert half.core.room is None
    assert half.core.history is None


def test_a_claim_that_zdns_does_not_answer_is_repeated() -> None:
    half, bo, _ = follower()
    half.silent = True
    half.do(LinkDown(bo.link, "the connection broke"))
    half.do(LinkDown(opened(half.log)[-1].link, "connection refused"))
    half.silent = False
    half.now_ms += limits.DNS_DEADLINE_MS
    for name in [command.name for command in half.log if isinstance(command, StartTimer)]:
        if name.startswith("zdns") or name == "heir.claim":
            half.timer(name)
    assert half.core.room is not None
    assert half.core.room.epoch == 2


def test_a_copy_that_is_not_whole_claims_nothing() -> None:
    half = Half(STANDBY, registry=new_registry(record(1, 1, BO)))
    bo = Other(half)
    bo.links()
    bo.leads(record(1, 1, BO), head=9)
    bo.says(Align(bo.pair, 0, 9))
    commands = half.do(LinkDown(bo.link, "the connection broke"))
    assert opened(commands) == []


# --- giving the room away ---


def with_bo(options: ServerOptions = OPTIONS) -> tuple[Half, Other]:
    """Ana's server serves one post of ana's in epoch 1, and bo's follows."""
    half = Half(options)
    half.join("ana", server=ANA.id)
    half.hear(Posts(1, ("one",)))
    bo = Other(half)
    bo.recruited()
    bo.follows()
    return half, bo


def seal(half: Half, bo: Other) -> Sealed:
    """Somebody asks for a handover, and it comes as far as the seal."""
    half.hear(HandOver(3, ""))
    commands = half.timer("handover.prepared", limits.PREPARE_MS)
    commands += bo.has_all()
    (sealed,) = sent(commands, Sealed)
    return sealed


def test_a_handover_to_nobody_fails_for_whoever_asked_and_the_room_goes_on() -> None:
    half = Half()
    half.join("ana")
    assert sent(half.hear(HandOver(3, "")), Refused)[0].code is RefusalCode.NO_STANDBY
    assert sent(half.hear(HandOver(4, "zoe")), Refused)[0].code is RefusalCode.NO_STANDBY
    assert sent(half.hear(HandOver(5, "ANA")), Refused)[0].code is RefusalCode.NOT_STANDBY
    assert status(half).remark
    assert acked(half.hear(Posts(1, ("still",)))) == [(1,)]


def test_a_handover_that_is_asked_for_waits_a_moment_for_a_standby_that_is_coming_up() -> None:
    half = Half()
    half.join("ana")
    half.join("bo", server=BO.id)
    assert not sent(half.hear(HandOver(3, "bo")), Refused)
    half.stand_by(BO)
    assert [ask.source for ask in sent(half.timer("core.term"), LinkAsk)] == [ANA]
    late = Half()
    late.join("ana")
    late.join("bo", server=BO.id)
    late.hear(HandOver(3, "bo"))
    late.timer("tenure.renew", limits.LEASE_MS // 2)
    late.now_ms = limits.HANDOVER_STEP_MS
    assert sent(late.timer("core.term"), Refused)[0].code is RefusalCode.NO_STANDBY


def test_a_follower_is_promoted_and_the_old_one_follows_it_on_the_same_link() -> None:
    half, bo = with_bo()
    commands = half.hear(HandOver(3, ""))
    assert sent(commands, LinkAsk) == [], "it follows already"
    assert sent(commands, Expect) == [Expect(bo.pair)]
    assert sent(commands, Prepare) == [Prepare(2, BO)]
    commands = half.timer("handover.prepared", limits.PREPARE_MS)
    assert [one.in_sync for one in sent(commands, SetInSync)] == [(ANA.id, BO.id)], "zdns can write"
    (sealed,) = sent(commands, Sealed)
    history = half.core.history
    assert history is not None
    assert (sealed.head, sealed.digest, sealed.version) == (1, history.digest(), 3)
    assert [member.nick for member in sealed.state.members] == ["ana"]
    assert half.hear(Posts(2, ("late",))) == [], "it is parked"
    commands = bo.says(Ready(bo.pair, sealed.digest))
    granted = later(record(1, 3, ANA, BO, log="n-l1"), BO, ANA)
    assert [(one.version, one.to) for one in sent(commands, Transfer)] == [(3, BO.id)]
    assert Send(bo.link, TakeOver(bo.pair, granted)) in commands
    assert Relieved(2) in reports(commands)
    assert Send(FEED, Relocate(2, BO, "handover")) in commands
    assert Send(ROOM, Moved(2, BO), b"ana") in commands, "for what it had parked"
    assert bo.link not in closed(commands)
    assert half.core.room is None
    commands = bo.leads(granted, head=1)
    assert sent(commands, Following) == [Following(bo.pair, 1, 1, ((1, 1),), 1)]
    commands = bo.says(Align(bo.pair, 1, 1), Keep(bo.pair, 2, 1, granted))
    assert sent(commands, Have)[-1] == Have(bo.pair, 2, 1)
    assert [len(store.entries) for store in half.stores.values()] == [1]


def test_a_standby_is_made_a_follower_before_it_is_handed_anything() -> None:
    half = Half(replace(OPTIONS, replicas=0))
    half.join("ana")
    half.hear(Posts(1, ("one",)))
    bo = Other(half)
    half.stand_by(BO)
    asked = half.hear(HandOver(3, "bo"))
    assert sent(asked, Expect) == []
    assert len(sent(bo.linked(asked), Follow)) == 1
    commands = bo.follows()
    assert sent(commands, Expect) == [Expect(bo.pair)]
    commands = half.timer("handover.prepared", limits.PREPARE_MS)
    (sealed,) = sent(commands, Sealed)
    assert Relieved(2) in reports(bo.says(Ready(bo.pair, sealed.digest)))


def test_nothing_is_sealed_before_all_is_committed() -> None:
    half, bo = with_bo()
    half.hear(Posts(2, ("two",)))
    half.hear(HandOver(3, ""))
    commands = half.timer("handover.prepared", limits.PREPARE_MS)
    assert sent(commands, Sealed) == []
    commands = bo.has_all()
    assert acked(commands) == [(2,)]
    assert [sealed.head for sealed in sent(commands, Sealed)] == [2]


def test_a_target_with_another_history_gets_no_transfer_and_the_room_goes_on() -> None:
    half, bo = with_bo()
    seal(half, bo)
    half.hear(Posts(2, ("parked",)))
    commands = bo.says(Ready(bo.pair, b"another"))
    assert sent(commands, Transfer) == []
    assert [one.pair for one in sent(commands, Withdraw)] == [bo.pair]
    assert [one.code for one in sent(commands, Refused)] == [RefusalCode.HANDOVER_FAILED]
    assert [append.first for append in sent(commands, Append)] == [2]
    assert acked(bo.has_all()) == [(2,)]


def test_a_target_that_dies_before_it_is_ready_costs_nothing_but_the_handover() -> None:
    half, bo = with_bo()
    seal(half, bo)
    half.hear(Posts(2, ("parked",)))
    commands = half.do(LinkDown(bo.link, "the connection broke"))
    assert [one.code for one in sent(commands, Refused)] == [RefusalCode.HANDOVER_FAILED]
    assert [one.in_sync for one in sent(commands, SetInSync)] == [(ANA.id,)]
    assert acked(commands) == [(2,)]


def test_a_target_that_leaves_before_it_is_picked_ends_the_handover() -> None:
    half, bo = with_bo()
    half.silent = True
    (pick,) = sent(half.hear(HandOver(3, "bo")), Pick)
    bo.says(Decline(bo.pair, "this server is leaving"))
    assert [refused.ask for refused in sent(half.dns_answers(pick), Refused)] == [3]


def test_a_target_that_dies_after_the_transfer_is_replaced_from_the_copy_there_is() -> None:
    half, bo = with_bo()
    bo.says(Ready(bo.pair, seal(half, bo).digest))
    assert half.core.room is None
    commands = half.do(LinkDown(bo.link, "the connection broke"))
    commands = half.do(LinkDown(opened(commands)[0].link, "connection refused"))
    assert Serving(3) in reports(commands)
    (welcome,) = sent(half.join("ana"), Welcome)
    assert welcome.head == 1
    assert welcome.rev >= limits.REV_GAP, "more than the one that died can have told of"


def test_the_transfer_is_settled_by_the_successor_that_leads_already() -> None:
    half, bo = with_bo()
    sealed = seal(half, bo)
    half.silent = True
    (transfer,) = sent(bo.says(Ready(bo.pair, sealed.digest)), Transfer)
    granted = half.ask_dns(transfer)
    assert isinstance(granted, Granted)
    commands = bo.leads(granted.record, head=1)
    assert Relieved(2) in reports(commands)
    assert sent(commands, Following) == [Following(bo.pair, 1, 1, ((1, 1),), 1)]


# --- being handed the room ---


def promised(*, entries: int = 2) -> tuple[Half, Other, Record]:
    """A half to which bo is just handing the room over: it is ready."""
    half, bo, both = follower(entries=entries)
    history = half.core.history
    assert history is not None
    bo.says(Expect(bo.pair))
    commands = bo.says(Sealed(bo.pair, entries, history.digest(), STATE, 5, 100, both.version))
    assert sent(commands, Ready) == [Ready(bo.pair, history.digest())]
    return half, bo, both


def test_who_comes_ahead_is_kept_waiting_and_served_first() -> None:
    half, bo, both = follower()
    bo.says(Expect(bo.pair))
    assert half.join("cy") == []
    assert half.hear(Posts(1, ("ahead",)), "cy") == []
    assert half.hear(Ping(1), "cy") == []
    history = half.core.history
    assert history is not None
    bo.says(Sealed(bo.pair, 2, history.digest(), STATE, 5, 100, both.version))
    granted = half.grant(later(both, ANA, BO))
    commands = bo.says(TakeOver(bo.pair, granted))
    assert Serving(2) in reports(commands)
    assert [welcome.epoch for welcome in sent(commands, Welcome)] == [2]
    assert [(one.leader, one.number) for one in sent(commands, Follow)] == [(ANA, 1)]
    assert Send(bo.link, sent(commands, Follow)[0]) in commands, "on the same link"
    assert acked(commands) == [], "bo is on the list, and does not have it"
    bo.says(Following(bo.pair, 2, 2, ((1, 1),), 2))
    assert acked(bo.has_all()) == [(3,)]
    (move,) = status(half).moves
    assert (move.source, move.target, move.reason, move.copy_ms) == ("bo", "ana", "handover", 5)


def test_who_comes_ahead_in_vain_is_sent_back() -> None:
    half, bo, _ = follower()
    bo.says(Expect(bo.pair))
    half.join("cy")
    commands = bo.says(Withdraw(bo.pair, "no"))
    assert sent(commands, NotServing) == [NotServing(1)]
    assert sent(half.join("cy"), NotServing) == [NotServing(1)]


def test_a_copy_that_differs_is_declined_and_no_promise_is_given() -> None:
    _, bo, both = follower()
    commands = bo.says(Expect(bo.pair), Sealed(bo.pair, 2, b"another", STATE, 5, 100, both.version))
    assert sent(commands, Ready) == []
    assert len(sent(commands, Decline)) == 1


def test_what_was_promised_is_kept_though_the_source_dies_until_zdns_says_who_serves() -> None:
    half, bo, both = promised()
    half.do(LinkDown(bo.link, "the connection broke"))
    granted = half.grant(later(both, ANA, BO))
    commands = half.timer("copy.poll", limits.TAKE_OVER_POLL_MS)
    assert len(sent(commands, Resolve)) == 1
    assert Serving(2) in reports(commands)
    assert half.record is not None
    assert half.record.epoch == granted.epoch


@pytest.mark.parametrize("timer", ["copy.poll", "tenure.renew"])
def test_whoever_hears_first_of_the_grant_names_the_source_and_not_itself(timer: str) -> None:
    half, _, both = promised()
    half.grant(later(both, ANA, BO))
    commands = half.timer(timer, limits.TAKE_OVER_POLL_MS)
    assert Serving(2) in reports(commands)
    (move,) = status(half).moves
    assert (move.source, move.target, move.reason) == ("bo", "ana", "handover")


def test_whoever_serves_gives_up_the_links_that_others_have_asked_for_to_lead_it() -> None:
    half, bo, both = promised()
    cy = Other(half, CY)
    cy.links("c-p1")
    commands = bo.says(TakeOver(bo.pair, half.grant(later(both, ANA, BO))))
    assert Serving(2) in reports(commands)
    assert [command.link for command in commands if isinstance(command, CloseLink)] == [cy.link]
    assert cy.leads(record(9, 99, CY)) == []
    assert half.core.room is not None


def test_a_record_that_makes_the_transfer_impossible_ends_the_promise() -> None:
    half, _, both = promised()
    half.grant(msgspec.structs.replace(both, version=both.version + 1))
    half.timer("copy.poll", limits.TAKE_OVER_POLL_MS)
    assert sent(half.join("cy"), NotServing) == [NotServing(1)]
    assert half.core.room is None


# --- somebody else serves ---


def test_a_higher_epoch_ends_the_room_at_once_and_sends_everybody_there() -> None:
    half = Half()
    half.join("ana")
    half.grant(record(2, 9, BO, log="other-log"))
    commands = half.timer("tenure.renew")
    assert Relieved(2) in reports(commands)
    assert Send(FEED, Relocate(2, BO, "failover")) in commands
    assert orders(commands, DropStore) == [DropStore(1, True)]
    assert half.core.room is None
    assert half.hear(Posts(1, ("late",))) == [Send(ROOM, Moved(2, BO), b"ana")]


def test_one_that_was_succeeded_and_is_on_the_list_keeps_its_copy_and_follows() -> None:
    half, bo = with_bo()
    half.hear(Posts(2, ("unseen",)))
    taken = half.grant(later(record(1, 2, ANA, BO, log="n-l1"), BO, ANA))
    commands = half.timer("tenure.renew")
    assert Relieved(2) in reports(commands)
    assert acked(commands) == []
    assert bo.link in closed(commands)
    assert half.core.history is not None
    bo.links()
    commands = bo.leads(taken, head=1)
    assert sent(commands, Following) == [Following(bo.pair, 2, 1, ((1, 1),), 2)]
    bo.says(Align(bo.pair, 1, 1))
    assert half.core.history.head == 1, "what nobody else has was never committed"
    assert [len(store.entries) for store in half.stores.values()] == [1]
    bo.sends(taken, [msgspec.structs.replace(entry(2, 2), author="cy-id", counter=1)], 1, 1)
    assert [len(store.entries) for store in half.stores.values()] == [2]


def test_one_that_was_succeeded_and_is_off_the_list_erases_its_copy() -> None:
    half, _ = with_bo()
    half.grant(later(record(1, 2, ANA, BO, log="n-l1"), BO))
    commands = half.timer("tenure.renew")
    assert Relieved(2) in reports(commands)
    assert orders(commands, DropStore) == [DropStore(1, True)]
    assert half.core.history is None


def test_a_higher_epoch_in_the_answer_to_a_change_of_the_list_ends_the_room_at_once() -> None:
    half, bo = with_bo()
    half.hear(Posts(2, ("two",)))
    half.grant(later(record(1, 2, ANA, BO, log="n-l1"), BO, ANA))
    commands = half.do(LinkDown(bo.link, "the connection broke"))
    assert len(sent(commands, SetInSync)) == 1
    assert Relieved(2) in reports(commands)
    assert acked(commands) == []
    assert half.core.room is None


# --- coming back from disk ---


def test_started_again_it_claims_the_next_epoch_and_has_everything() -> None:
    half = Half()
    half.join("ana")
    half.hear(Posts(1, ("one", "two")))
    back = half.again()
    assert [(claim.kind, claim.epoch, claim.from_disk) for claim in sent(back.log, Claim)] == [
        (ClaimKind.FAILOVER, 1, True)
    ]
    assert Serving(1) not in reports(back.log)
    assert Serving(2) in reports(back.log)
    assert orders(back.log, MakeStore) == [], "it goes on in the same store"
    (welcome,) = sent(back.join("ana"), Welcome)
    assert (welcome.epoch, welcome.head, welcome.log) == (2, 2, "n-l1")
    assert acked(back.hear(Posts(1, ("one", "two", "three")))) == [(1, 2), (3,)]


def test_started_again_it_serves_nobody_in_the_epoch_it_served_in_before() -> None:
    half = Half()
    half.join("ana")
    half.hear(Posts(1, ("one",)))
    fresh = Half(STANDBY, registry=new_registry(), store=half.stores[1])
    assert [register.record for register in sent(fresh.log, Register)] == [record(1, 1, ANA, log="n-l1")]
    assert [report.epoch for report in reports(fresh.log) if isinstance(report, Serving)] == [2]


def test_started_again_it_tells_everybody_to_wait_as_long_as_zdns_is_silent() -> None:
    half = Half()
    half.join("ana")
    half.hear(Posts(1, ("one",)))
    back = half.again(silent=True)
    assert sent(back.join("ana"), NotServing) == [NotServing(1)]
    assert back.core.history is not None
    assert back.core.room is None


def test_started_again_and_off_the_list_it_erases_what_it_has() -> None:
    half, _ = with_bo()
    half.grant(later(record(1, 2, ANA, BO, log="n-l1"), BO))
    back = half.again()
    assert orders(back.log, DropStore) == [DropStore(0, True)]
    assert sent(back.log, Claim) == []
    assert back.core.room is None
    bo = Other(back)
    bo.links()
    assert sent(bo.leads(later(record(1, 2, ANA, BO, log="n-l1"), BO)), Following) == [Following("b-p1", 0, 0, (), 0)]


def test_started_again_with_another_history_than_the_rooms_it_puts_it_aside() -> None:
    half = Half()
    half.join("ana")
    half.grant(record(2, 9, BO, log="other-log"))
    back = half.again()
    assert orders(back.log, DropStore) == [DropStore(0, False)]
    assert back.core.history is None


def test_started_again_while_somebody_else_on_the_list_serves_it_follows_with_what_it_has() -> None:
    half, _ = with_bo()
    taken = half.grant(later(record(1, 2, ANA, BO, log="n-l1"), BO, ANA))
    half.ask_dns(Register(0, limits.PROTOCOL, SERVICE, BO))
    back = half.again()
    assert sent(back.log, Claim) == [], "bo has its lease; its port is tried first"
    assert [one.endpoint for one in opened(back.log) if one.kind is LinkKind.ROOM_CONNECT] == ["tcp://bo:1"]
    bo = Other(back)
    bo.links()
    assert sent(bo.leads(taken, head=1), Following) == [Following("b-p1", 1, 1, ((1, 1),), 1)]


def test_started_again_it_does_not_claim_what_its_disk_lacks() -> None:
    half, _ = with_bo()
    half.grant(msgspec.structs.replace(record(1, 3, ANA, BO, log="n-l1"), volatile=(ANA.id,)))
    back = half.again()
    assert {claim.from_disk for claim in sent(back.log, Claim)} == {True}
    assert back.core.room is None
    assert orders(back.log, DropStore) == [DropStore(0, False)]


# --- a disk that fails ---


def test_when_its_disk_fails_zdns_is_told_before_anything_more_is_committed() -> None:
    half, bo = with_bo()
    half.silent = True
    commands = half.break_disk()
    (request,) = sent(commands, SetInSync)
    assert (request.in_sync, request.volatile) == ((ANA.id, BO.id), (ANA.id,))
    half.hear(Posts(2, ("two",)))
    assert acked(bo.has_all()) == []
    assert acked(half.dns_answers(request)) == [(2,)]
    assert status(half).disk == "no room left"


def test_with_a_failed_disk_and_nobody_who_follows_posts_wait() -> None:
    half = Half()
    half.join("ana")
    half.break_disk()
    assert acked(half.hear(Posts(1, ("one",)))) == []
    assert "no room left" in status(half).remark
    bo = Other(half)
    bo.recruited()
    assert acked(bo.follows()) == [(1,)]
    assert half.record is not None
    assert (half.record.in_sync, half.record.volatile) == ((ANA, BO), (ANA.id,))


def test_a_follower_whose_disk_fails_declines_and_follows_anew_in_memory() -> None:
    half, bo, both = follower()
    assert [one.pair for one in sent(half.break_disk(), Decline)] == [bo.pair]
    bo.links("b-p2")
    (following,) = sent(bo.leads(both, number=2, head=2), Following)
    assert following.volatile


# --- leaving ---


def test_leaving_alone_with_a_disk_ends_no_history() -> None:
    half = Half()
    half.join("ana", server=ANA.id)
    commands = half.do(Stopping())
    assert [leave.ends for leave in sent(commands, Leave)] == [False]
    assert is_stopped(commands)
    assert half.do(Stopping()) == []
    resolved = half.ask_dns(Resolve(1, limits.PROTOCOL, SERVICE))
    assert isinstance(resolved, Resolved)
    assert resolved.state is NameState.ORPHANED
    assert Serving(2) in reports(half.again().log)


def test_the_last_one_without_a_disk_ends_the_history_and_the_next_one_begins_another() -> None:
    half = Half(EPHEMERAL)
    half.join("ana", server=ANA.id)
    assert [leave.ends for leave in sent(half.do(Stopping()), Leave)] == [True]
    resolved = half.ask_dns(Resolve(1, limits.PROTOCOL, SERVICE))
    assert isinstance(resolved, Resolved)
    assert (resolved.state, resolved.record and resolved.record.ended) == (NameState.FREE, True)
    assert Serving(2) in reports(Half(registry=half.registry).log)


def test_with_others_in_the_room_it_waits_for_one_that_can_take_over_and_ends_no_history() -> None:
    half = Half(EPHEMERAL)
    half.join("bo", server=BO.id)
    commands = half.do(Stopping())
    assert not sent(commands, Leave)
    assert StartTimer("core.term", limits.TRANSFER_RETRY_MS) in commands
    assert [leave.ends for leave in sent(half.timer("core.quit"), Leave)] == [False]


def test_who_leaves_hands_over_first_and_goes_when_its_successor_has_let_go_of_it() -> None:
    half, bo = with_bo()
    commands = half.do(Stopping())
    assert StartTimer("core.quit", limits.QUIT_HANDOVER_MS) in commands
    assert sent(commands, Expect) == [Expect(bo.pair)]
    (sealed,) = sent(half.timer("handover.prepared", limits.PREPARE_MS), Sealed)
    commands = bo.says(Ready(bo.pair, sealed.digest))
    granted = later(record(1, 3, ANA, BO, log="n-l1"), BO, ANA)
    assert sent(commands, Decline) == [Decline(bo.pair, "this server is leaving")]
    assert StartTimer("core.quit", limits.PART_MS) in commands
    assert not sent(commands, Leave)
    alone = half.grant(msgspec.structs.replace(granted, version=granted.version + 1, in_sync=(BO,)))
    commands = bo.says(Dismiss(bo.pair, alone, "as it asked"))
    assert orders(commands, DropStore) == [DropStore(1, True)]
    assert [leave.ends for leave in sent(commands, Leave)] == [False]
    assert is_stopped(commands)


def test_who_follows_leaves_when_it_was_let_go_of() -> None:
    half, bo, _ = follower()
    commands = half.do(Stopping())
    assert sent(commands, Decline) == [Decline(bo.pair, "this server is leaving")]
    assert not sent(commands, Leave)
    commands = bo.says(Dismiss(bo.pair, record(1, 3, BO), "as it asked"))
    assert orders(commands, DropStore) == [DropStore(1, True)]
    assert len(sent(commands, Leave)) == 1
    assert is_stopped(commands)


def test_who_follows_and_is_not_let_go_of_leaves_with_its_copy_after_a_moment() -> None:
    half, _, _ = follower()
    assert StartTimer("core.quit", limits.PART_MS) in half.do(Stopping())
    commands = half.timer("core.quit", limits.PART_MS)
    assert len(sent(commands, Leave)) == 1
    assert orders(commands, DropStore) == []
    assert Serving(2) not in reports(commands)


def test_who_has_promised_to_take_over_leaves_only_when_that_is_settled() -> None:
    half, bo, both = promised()
    commands = half.do(Stopping())
    assert StartTimer("core.quit", limits.QUIT_HANDOVER_MS) in commands
    assert sent(commands, Decline) == []
    granted = half.grant(later(both, ANA, BO))
    commands = bo.says(TakeOver(bo.pair, granted))
    assert Serving(2) in reports(commands)
    assert not is_stopped(commands)


def test_leaving_takes_longer_as_long_as_a_successor_receives_what_none_had_before() -> None:
    half = Half()
    half.join("ana")
    half.hear(Posts(1, ("one", "two", "three")))
    half.stand_by(BO)
    bo = Other(half)
    quit_later = StartTimer("core.quit", limits.QUIT_HANDOVER_MS)
    commands = half.do(Stopping())
    assert quit_later in commands
    bo.linked(commands)
    bo.says(Following(bo.pair, 0, 0, (), 0))
    commands = [*bo.has(1), *bo.has(2)]
    assert commands.count(quit_later) == 2
    assert reports(commands) == [StillLeaving(), StillLeaving()]
    bo.says(Decline(bo.pair, "no"))
    half.hear(Posts(4, ("four",)))
    half.timer("core.term")  # bo has failed and is left out: there is nobody
    bo.linked(half.timer("core.term"))
    bo.says(Following(bo.pair, 0, 0, (), 0))
    commands = [*bo.has(1), *bo.has(2)]
    assert quit_later not in commands, "it is handed over anew"
    assert reports(commands) == []


def test_leaving_does_not_wait_for_a_zdns_that_is_gone() -> None:
    half = Half(STANDBY, registry=new_registry(record(4, 9, BO)))
    half.silent = True
    assert StartTimer("core.leave", limits.STOP_MS) in half.do(Stopping())
    assert is_stopped(half.timer("core.leave"))


def test_who_is_leaving_follows_nobody() -> None:
    half, _ = with_bo()
    half.do(Stopping())
    ask = LinkAsk(limits.PROTOCOL, SERVICE, "p", CY)
    assert [refused.code for refused in sent(half.hear(ask, "cy"), Refused)] == [RefusalCode.BUSY]
