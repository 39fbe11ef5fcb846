"""Who may serve a name: every rule, and what holds after any sequence of requests."""

import itertools
from random import Random

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wire import codec, identity, limits
from wire.errors import InvariantViolated, RefusalCode
from wire.messages import (
    Claim,
    ClaimKind,
    DnsReply,
    Done,
    Granted,
    Leave,
    NameRequest,
    NameState,
    Pick,
    Picked,
    Record,
    Refused,
    Register,
    Registered,
    Renew,
    Resolve,
    Resolved,
    ServerInfo,
    SetInSync,
    Transfer,
)
from zdns.registry import Registry

LEASE = 3_000
GRACE = 1_200
TEA = "tea"


def server(id_: str, name: str | None = None) -> ServerInfo:
    return ServerInfo(id_, name if name is not None else f"host-{id_}", (f"tcp://{id_}:1",), (f"tcp://{id_}:2",))


A, B, C, D = server("a"), server("b"), server("c"), server("d")


class Desk:
    """A registry whose decisions are adopted as the server would, with a clock."""

    def __init__(self, *records: Record, grace_ms: int = 0, takes_up: bool = True) -> None:
        self.now_ms = 0
        self.registry = Registry(records, LEASE, 0, rng=Random(1), grace_ms=grace_ms, takes_up=takes_up)
        self.saved: list[Record] = []

    def ask(self, request: NameRequest) -> DnsReply:
        decision = self.registry.decide(request, self.now_ms)
        if decision.record is not None:
            self.registry.adopt(decision.record)
            self.saved.append(decision.record)
        return decision.reply

    def granted(self, request: NameRequest) -> Record:
        reply = self.ask(request)
        assert isinstance(reply, Granted), reply
        assert reply.ask == request.ask
        return reply.record

    def refused(self, request: NameRequest) -> Refused:
        reply = self.ask(request)
        assert isinstance(reply, Refused), reply
        assert reply.ask == request.ask
        return reply

    def resolved(self, service: str = TEA) -> Resolved:
        reply = self.ask(Resolve(9, limits.PROTOCOL, service))
        assert isinstance(reply, Resolved)
        return reply

    def register(self, *servers: ServerInfo) -> None:
        for one in servers:
            assert isinstance(self.ask(Register(9, limits.PROTOCOL, TEA, one)), Registered)

    def renew(self, *servers: ServerInfo, holds: str = "log-1") -> None:
        for one in servers:
            assert isinstance(self.ask(Renew(9, TEA, one.id, holds)), Registered)


def first(by: ServerInfo, *, epoch: int = 0, log: str = "log-1", service: str = TEA) -> Claim:
    return Claim(7, service, by, ClaimKind.FIRST, epoch, log)


def failover(by: ServerInfo, epoch: int, *, unreachable: bool = False, from_disk: bool = False) -> Claim:
    return Claim(7, TEA, by, ClaimKind.FAILOVER, epoch, unreachable=unreachable, from_disk=from_disk)


def fresh(by: ServerInfo, epoch: int, log: str = "log-2") -> Claim:
    return Claim(7, TEA, by, ClaimKind.FRESH, epoch, log)


def transfer(by: ServerInfo, epoch: int, version: int, to: ServerInfo) -> Transfer:
    return Transfer(7, TEA, by.id, epoch, version, to.id)


def in_sync(
    by: ServerInfo, epoch: int, version: int, *members: ServerInfo, volatile: tuple[str, ...] = ()
) -> SetInSync:
    return SetInSync(7, TEA, by.id, epoch, version, tuple(one.id for one in members), volatile)


def served() -> Desk:
    """A serves tea in epoch 1; B and C stand by."""
    desk = Desk()
    desk.register(A, B, C)
    desk.granted(first(A))
    return desk


# --- standing by ---------------------------------------------------------------------------------------------------


def test_a_name_nobody_served_is_free_and_its_standbys_are_listed() -> None:
    desk = Desk()
    desk.register(A, B)
    assert desk.resolved() == Resolved(9, NameState.FREE, None, ("host-a", "host-b"))


def test_looking_a_name_up_leaves_no_trace() -> None:
    desk = Desk()
    before = desk.registry.describe()
    desk.resolved("coffee")
    assert desk.registry.describe() == before


def test_registering_is_answered_with_the_lease_and_how_things_are() -> None:
    desk = served()
    reply = desk.ask(Register(4, limits.PROTOCOL, TEA, D))
    assert isinstance(reply, Registered)
    assert (reply.ask, reply.lease_ms, reply.state) == (4, LEASE, NameState.SERVED)
    assert reply.record is not None
    assert reply.record.active == A
    assert reply.standbys == ("host-b", "host-c", "host-d")


def test_a_standby_that_stops_renewing_is_forgotten() -> None:
    desk = served()
    desk.now_ms = LEASE - 1
    desk.renew(A, B)
    desk.now_ms = LEASE
    assert desk.resolved().standbys == ("host-b",)
    refused = desk.refused(Renew(5, TEA, C.id))
    assert refused.code is RefusalCode.NOT_REGISTERED
    assert refused.record == desk.saved[-1]


def test_registering_again_is_harmless_and_brings_new_addresses() -> None:
    desk = Desk()
    desk.register(A)
    moved = ServerInfo("a", "host-a", ("tcp://new:1",), ("tcp://new:2",))
    desk.register(moved, moved)
    assert desk.granted(first(B)).epoch == 1
    reply = desk.ask(Pick(1, TEA, B.id))
    assert reply == Picked(1, moved)


def test_a_standby_that_leaves_is_forgotten_at_once() -> None:
    desk = served()
    assert desk.ask(Leave(3, TEA, B.id)) == Done(3)
    assert desk.ask(Leave(3, TEA, B.id)) == Done(3)
    assert desk.resolved().standbys == ("host-c",)


def test_an_active_server_that_leaves_ends_its_lease_and_not_its_record() -> None:
    desk = served()
    desk.ask(Leave(3, TEA, A.id))
    resolved = desk.resolved()
    assert resolved.state is NameState.ORPHANED
    assert resolved.record == desk.saved[-1]


@pytest.mark.parametrize("request_", [Resolve(6, 99, TEA), Register(6, 99, TEA, A)])
def test_another_protocol_is_refused_with_both_versions_named(request_: NameRequest) -> None:
    refused = Desk().refused(request_)
    assert refused.code is RefusalCode.VERSION
    assert "protocol 99" in refused.message
    assert f"protocol {limits.PROTOCOL}" in refused.message


@pytest.mark.parametrize(
    "request_",
    [
        Resolve(6, limits.PROTOCOL, "no spaces please"),
        Register(6, limits.PROTOCOL, "a/b", A),
        Renew(6, "é", A.id),
        Pick(6, "-", A.id),
        Claim(6, " ", A, ClaimKind.FIRST, 0, "log"),
        Transfer(6, "..", A.id, 1, 1, B.id),
        SetInSync(6, "\n", A.id, 1, 1, (A.id,)),
        Leave(6, "tea!", A.id),
    ],
)
def test_a_bad_service_name_is_refused_in_every_request(request_: NameRequest) -> None:
    assert Desk().refused(request_).code is RefusalCode.BAD_NAME


def test_names_differ_only_by_their_letters() -> None:
    desk = served()
    assert desk.resolved(" TEA ").record == desk.saved[-1]


@pytest.mark.parametrize("lame", [ServerInfo("a", "n", (), ("tcp://a:2",)), ServerInfo("a", "n", ("tcp://a:1",), ())])
def test_a_server_without_addresses_is_refused(lame: ServerInfo) -> None:
    desk = Desk()
    assert desk.refused(Register(1, limits.PROTOCOL, TEA, lame)).code is RefusalCode.MALFORMED
    assert desk.refused(first(lame)).code is RefusalCode.MALFORMED


def test_the_standbys_of_a_name_are_bounded() -> None:
    desk = Desk()
    desk.register(*(server(f"s{number}") for number in range(limits.STANDBYS_MAX)))
    assert desk.refused(Register(1, limits.PROTOCOL, TEA, A)).code is RefusalCode.FULL
    assert desk.refused(first(A)).code is RefusalCode.FULL
    desk.register(server("s0"))  # whoever is there already may go on


def test_names_are_bounded_and_forgotten_when_nobody_holds_them() -> None:
    desk = Desk()
    for number in range(limits.SERVICES_MAX):
        desk.ask(Register(1, limits.PROTOCOL, f"s{number}", A))
    assert desk.refused(Register(1, limits.PROTOCOL, "one-more", A)).code is RefusalCode.FULL
    desk.now_ms = LEASE
    assert isinstance(desk.ask(Register(1, limits.PROTOCOL, "one-more", A)), Registered)
    assert desk.registry.describe() == "zdns services=1 servers=1"


def test_time_in_which_zdns_stood_still_does_not_count() -> None:
    desk = served()
    desk.now_ms = 10 * LEASE
    desk.registry.extend_leases(10 * LEASE)
    assert desk.resolved().standbys == ("host-b", "host-c")
    desk.now_ms += LEASE
    assert desk.resolved().standbys == ()


# --- pick ----------------------------------------------------------------------------------------------------------


def picks(desk: Desk, request: Pick, times: int = 60) -> list[str]:
    """Every id picked, sorted."""
    replies = [desk.ask(request) for _ in range(times)]
    assert all(isinstance(reply, Picked) for reply in replies)
    return sorted({reply.server.id for reply in replies if isinstance(reply, Picked) and reply.server is not None})


def test_every_standby_but_the_asker_and_the_excluded_can_be_picked() -> None:
    desk = served()
    desk.register(D)
    assert picks(desk, Pick(1, TEA, A.id)) == ["b", "c", "d"]
    assert picks(desk, Pick(1, TEA, B.id)) == ["c", "d"]
    assert picks(desk, Pick(1, TEA, A.id, (B.id,))) == ["c", "d"]
    assert picks(desk, Pick(1, TEA, A.id, (B.id, C.id, D.id))) == []


def test_picks_are_uniform() -> None:
    desk = served()
    desk.register(D)
    counts = {"b": 0, "c": 0, "d": 0}
    for _ in range(3_000):
        reply = desk.ask(Pick(1, TEA, A.id))
        assert isinstance(reply, Picked)
        assert reply.server is not None
        counts[reply.server.id] += 1
    assert all(850 < count < 1_150 for count in counts.values()), counts


def test_a_dead_standby_is_not_picked() -> None:
    desk = served()
    desk.now_ms = LEASE - 1
    desk.renew(A, C)
    desk.now_ms = LEASE
    assert picks(desk, Pick(1, TEA, A.id)) == ["c"]


def test_a_pick_by_name_compares_as_nicks_do() -> None:
    desk = served()
    desk.register(server("e", "Érik"))
    assert picks(desk, Pick(1, TEA, A.id, (), "e\N{COMBINING ACUTE ACCENT}RIK")) == ["e"]
    assert picks(desk, Pick(1, TEA, A.id, (), "nobody")) == []


def test_a_stranger_may_not_pick() -> None:
    assert served().refused(Pick(1, TEA, "stranger")).code is RefusalCode.NOT_REGISTERED


# --- claims --------------------------------------------------------------------------------------------------------


def test_the_first_claim_makes_epoch_1() -> None:
    desk = Desk()
    assert desk.granted(first(A)) == Record(TEA, 1, 1, "log-1", A, (A,))
    assert desk.resolved().state is NameState.SERVED


def test_a_first_claim_asked_twice_is_granted_once() -> None:
    desk = Desk()
    assert desk.granted(first(A)) == desk.granted(first(A))
    assert len(desk.saved) == 1


def test_a_second_first_claim_finds_the_name_taken() -> None:
    desk = served()
    refused = desk.refused(first(B))
    assert (refused.code, refused.record) == (RefusalCode.TAKEN, desk.saved[-1])
    assert len(desk.saved) == 1


def test_a_first_claim_is_refused_even_when_everybody_is_gone() -> None:
    desk = served()
    desk.now_ms = 10 * LEASE
    assert desk.refused(first(B)).code is RefusalCode.TAKEN


def test_a_claimer_that_remembers_an_epoch_gets_a_higher_one_from_a_zdns_that_lost_its_store() -> None:
    assert Desk().granted(first(A, epoch=41)).epoch == 42


def test_a_new_history_needs_a_name() -> None:
    desk = served()
    assert desk.refused(first(B, log="", service="coffee")).code is RefusalCode.MALFORMED
    desk.now_ms = LEASE
    assert desk.refused(fresh(B, 1, log="")).code is RefusalCode.MALFORMED


def test_an_epoch_that_could_not_be_followed_is_refused() -> None:
    assert Desk().refused(first(A, epoch=2**63 - 1)).code is RefusalCode.MALFORMED


def followed() -> Desk:
    """A serves tea in epoch 1, B is in sync, C stands by; the record is at version 2."""
    desk = served()
    desk.granted(in_sync(A, 1, 1, A, B))
    return desk


def test_failover_waits_for_the_lease_of_the_active_server() -> None:
    desk = followed()
    refused = desk.refused(failover(B, 1))
    assert (refused.code, refused.record) == (RefusalCode.ALIVE, desk.saved[-1])
    desk.now_ms = LEASE
    record = desk.granted(failover(B, 1))
    assert (record.epoch, record.version, record.active, record.in_sync) == (2, 3, B, (B, A))
    assert record.log == "log-1"
    assert desk.granted(failover(B, 1)) == record
    assert len(desk.saved) == 3


def test_failover_at_once_after_the_active_server_left() -> None:
    desk = followed()
    desk.ask(Leave(1, TEA, A.id))
    assert desk.granted(failover(B, 1)).epoch == 2


def test_failover_needs_the_whole_history() -> None:
    desk = followed()
    desk.now_ms = LEASE
    assert desk.refused(failover(C, 1)).code is RefusalCode.NOT_IN_SYNC


@pytest.mark.parametrize("epoch", [0, 2, 7])
def test_failover_from_another_epoch_is_refused_with_the_record(epoch: int) -> None:
    desk = followed()
    desk.now_ms = LEASE
    refused = desk.refused(failover(B, epoch))
    assert (refused.code, refused.record) == (RefusalCode.STALE_EPOCH, desk.saved[-1])


def test_failover_of_a_name_nobody_served_is_refused() -> None:
    assert Desk().refused(failover(A, 0)).code is RefusalCode.STALE_EPOCH


def test_failover_need_not_wait_for_the_lease_of_a_server_whose_port_refuses_connections() -> None:
    desk = followed()
    assert desk.refused(failover(C, 1, unreachable=True)).code is RefusalCode.NOT_IN_SYNC
    record = desk.granted(failover(B, 1, unreachable=True))
    assert (record.epoch, record.version, record.active, record.in_sync) == (2, 3, B, (B, A))
    assert desk.refused(failover(A, 1, unreachable=True)).code is RefusalCode.STALE_EPOCH


def test_a_failover_puts_the_claimer_first_and_keeps_the_others_in_order() -> None:
    desk = served()
    desk.granted(in_sync(A, 1, 1, A, B, C, volatile=("c", "a")))
    record = desk.granted(failover(C, 1, unreachable=True))
    assert (record.in_sync, set(record.volatile)) == ((C, A, B), {"a", "c"})


def test_a_server_whose_disk_lacks_something_is_in_sync_only_as_long_as_it_runs() -> None:
    desk = served()
    desk.granted(in_sync(A, 1, 1, A, B, C, volatile=("b",)))
    desk.ask(Leave(1, TEA, A.id))
    refused = desk.refused(failover(B, 1, from_disk=True))
    assert (refused.code, refused.record) == (RefusalCode.NOT_IN_SYNC, desk.saved[-1])
    assert refused.message == "you do not have the whole history of tea: the last of it was not on your disk"
    assert desk.granted(failover(B, 1)).active == B
    assert desk.granted(failover(C, 2, unreachable=True, from_disk=True)).active == C


def test_an_active_server_that_came_back_with_its_history_takes_the_next_epoch() -> None:
    desk = followed()
    desk.register(A)
    record = desk.granted(failover(A, 1, from_disk=True))
    assert (record.epoch, record.active, record.in_sync) == (2, A, (A, B))


def test_an_active_server_that_came_back_without_the_last_of_it_is_not_in_sync() -> None:
    desk = served()
    desk.granted(in_sync(A, 1, 1, A, B, volatile=("a",)))
    assert desk.refused(failover(A, 1, from_disk=True)).code is RefusalCode.NOT_IN_SYNC


def test_a_fresh_start_waits_until_nobody_has_the_history() -> None:
    desk = followed()
    desk.now_ms = LEASE - 1
    desk.renew(B)
    desk.now_ms = LEASE
    refused = desk.refused(fresh(C, 1))
    assert refused.code is RefusalCode.ALIVE
    assert "host-b" in refused.message
    desk.now_ms = 2 * LEASE
    assert desk.resolved().state is NameState.ORPHANED
    record = desk.granted(fresh(C, 1))
    assert record == Record(TEA, 2, 3, "log-2", C, (C,))
    assert desk.granted(fresh(C, 1)) == record
    assert desk.refused(fresh(D, 1)).code is RefusalCode.STALE_EPOCH


def test_the_last_holder_itself_may_start_afresh() -> None:
    desk = served()
    assert desk.granted(fresh(A, 1)).log == "log-2"


def test_a_fresh_claim_of_a_free_name_is_a_first_one() -> None:
    assert Desk().granted(fresh(A, 0)) == Record(TEA, 1, 1, "log-2", A, (A,))


# --- transfer ------------------------------------------------------------------------------------------------------


def test_a_transfer_raises_the_epoch_and_keeps_the_source_in_sync() -> None:
    desk = followed()
    record = desk.granted(transfer(A, 1, 2, B))
    assert record == Record(TEA, 2, 3, "log-1", B, (B, A))


def test_a_transfer_puts_target_and_source_first_and_keeps_the_others_in_order() -> None:
    desk = served()
    desk.register(D)
    desk.granted(in_sync(A, 1, 1, A, B, C, D, volatile=("d", "b")))
    record = desk.granted(transfer(A, 1, 2, C))
    assert (record.in_sync, set(record.volatile)) == ((C, A, B, D), {"b", "d"})


def test_a_transfer_asked_again_gives_the_same_answer() -> None:
    desk = followed()
    record = desk.granted(transfer(A, 1, 2, B))
    assert desk.granted(transfer(A, 1, 2, B)) == record
    later = desk.granted(in_sync(B, 2, 3, B))
    assert desk.granted(transfer(A, 1, 2, B)) == later
    assert len(desk.saved) == 4


def test_the_target_of_a_transfer_serves_where_it_is_now() -> None:
    desk = followed()
    moved = ServerInfo("b", "host-b", ("tcp://new:1",), ("tcp://new:2",))
    desk.register(moved)
    record = desk.granted(transfer(A, 1, 2, B))
    assert (record.active, record.in_sync) == (moved, (moved, A))


def test_a_transfer_by_anybody_else_is_refused() -> None:
    desk = served()
    refused = desk.refused(transfer(B, 1, 1, C))
    assert (refused.code, refused.record) == (RefusalCode.NOT_ACTIVE, desk.saved[-1])
    assert desk.refused(transfer(D, 0, 0, C)).code is RefusalCode.STALE_EPOCH
    assert Desk().refused(transfer(A, 0, 0, B)).code is RefusalCode.NOT_ACTIVE


def test_a_transfer_from_an_older_epoch_is_refused_with_the_record() -> None:
    desk = followed()
    desk.granted(transfer(A, 1, 2, B))
    refused = desk.refused(transfer(A, 1, 2, C))
    assert (refused.code, refused.record) == (RefusalCode.STALE_EPOCH, desk.saved[-1])


def test_a_transfer_at_another_version_is_refused_and_changes_nothing() -> None:
    desk = followed()
    for version in (0, 1, 3):
        refused = desk.refused(transfer(A, 1, version, B))
        assert (refused.code, refused.record) == (RefusalCode.STALE_VERSION, desk.saved[-1])
    assert len(desk.saved) == 2


@pytest.mark.parametrize("to", [A, D])
def test_a_transfer_to_nobody_raises_the_version_so_that_no_late_repeat_is_granted(to: ServerInfo) -> None:
    desk = served()
    refused = desk.refused(transfer(A, 1, 1, to))
    assert refused.code is RefusalCode.NOT_STANDBY
    assert refused.record == desk.saved[-1] == Record(TEA, 1, 2, "log-1", A, (A,))
    desk.register(D)
    assert desk.refused(transfer(A, 1, 1, D)).code is RefusalCode.STALE_VERSION
    desk.granted(in_sync(A, 1, 2, A, D))
    assert desk.granted(transfer(A, 1, 3, D)).active == D


def test_a_transfer_to_a_server_that_is_not_in_sync_raises_the_version_too() -> None:
    desk = followed()
    refused = desk.refused(transfer(A, 1, 2, C))
    assert (refused.code, refused.message) == (
        RefusalCode.NOT_IN_SYNC,
        "host-c does not have the whole history of tea",
    )
    assert refused.record == desk.saved[-1] == Record(TEA, 1, 3, "log-1", A, (A, B))
    assert desk.refused(transfer(A, 1, 2, C)).code is RefusalCode.STALE_VERSION
    desk.granted(in_sync(A, 1, 3, A, B, C))
    assert desk.refused(transfer(A, 1, 2, C)).code is RefusalCode.STALE_VERSION, "the late repeat of a refused one"
    assert desk.granted(transfer(A, 1, 4, C)).in_sync == (C, A, B)


def test_a_transfer_to_an_in_sync_server_that_is_gone_is_refused_by_its_name() -> None:
    desk = followed()
    desk.ask(Leave(1, TEA, B.id))
    refused = desk.refused(transfer(A, 1, 2, B))
    assert (refused.code, refused.message) == (RefusalCode.NOT_STANDBY, "host-b does not stand by")
    assert refused.record == desk.saved[-1] == Record(TEA, 1, 3, "log-1", A, (A, B))


def test_a_server_that_transfers_is_alive() -> None:
    desk = followed()
    desk.now_ms = LEASE - 1
    desk.renew(B)
    desk.now_ms = LEASE
    assert "host-a" not in desk.resolved().standbys
    desk.granted(transfer(A, 1, 2, B))
    assert desk.resolved().standbys == ("host-a",)


# --- in-sync list --------------------------------------------------------------------------------------------------


def test_the_in_sync_list_has_the_active_server_first_and_each_once() -> None:
    desk = served()
    record = desk.granted(in_sync(A, 1, 1, C, A, B, C))
    assert (record.epoch, record.version, record.in_sync) == (1, 2, (A, C, B))


def test_the_same_list_asked_for_again_gives_the_same_answer() -> None:
    desk = served()
    record = desk.granted(in_sync(A, 1, 1, A, B))
    assert desk.granted(in_sync(A, 1, 1, A, B)) == record
    assert len(desk.saved) == 2
    assert desk.refused(in_sync(A, 1, 1, A, C)).code is RefusalCode.STALE_VERSION


def test_the_same_list_with_other_disks_is_another_one() -> None:
    desk = served()
    record = desk.granted(in_sync(A, 1, 1, A, B, volatile=("b",)))
    assert desk.granted(in_sync(A, 1, 1, A, B, volatile=("b",))) == record
    assert desk.refused(in_sync(A, 1, 1, A, B)).code is RefusalCode.STALE_VERSION
    assert desk.refused(in_sync(A, 1, 1, A, B, volatile=("a", "b"))).code is RefusalCode.STALE_VERSION
    record = desk.granted(in_sync(A, 1, 2, A, B, volatile=("b", "a")))
    assert desk.granted(in_sync(A, 1, 2, A, B, volatile=("a", "b", "b"))) == record
    assert desk.granted(in_sync(A, 1, 3, A, B)).volatile == ()


def test_only_those_on_the_list_are_noted_as_lacking_something_on_disk() -> None:
    desk = served()
    record = desk.granted(in_sync(A, 1, 1, A, C, B, volatile=("b", "d", "a", "nobody")))
    assert (record.in_sync, record.volatile) == ((A, C, B), ("a", "b"))
    assert desk.granted(in_sync(A, 1, 2, A, C, volatile=("b",))).volatile == ()


def test_a_list_without_the_active_server_or_with_strangers_is_refused() -> None:
    desk = served()
    assert desk.refused(in_sync(A, 1, 1, B)).code is RefusalCode.MALFORMED
    assert desk.refused(in_sync(A, 1, 1, A, D)).code is RefusalCode.NOT_STANDBY
    assert desk.refused(in_sync(A, 1, 1, A, B)).code is RefusalCode.STALE_VERSION, "a late copy can never be granted"
    assert [saved.version for saved in desk.saved] == [1, 2]


def test_a_dead_member_may_stay_on_the_list_and_be_struck_off() -> None:
    desk = followed()
    desk.now_ms = LEASE - 1
    desk.renew(A, C)
    desk.now_ms = LEASE
    assert desk.granted(in_sync(A, 1, 2, A, B, C)).in_sync == (A, B, C)
    assert desk.granted(in_sync(A, 1, 3, A, C)).in_sync == (A, C)


def test_a_deposed_server_cannot_change_the_list() -> None:
    desk = followed()
    desk.granted(transfer(A, 1, 2, B))
    assert desk.refused(in_sync(A, 1, 2, A)).code is RefusalCode.STALE_EPOCH
    assert desk.refused(in_sync(A, 2, 3, A)).code is RefusalCode.NOT_ACTIVE
    assert desk.resolved().record == desk.saved[-1]


# --- records -------------------------------------------------------------------------------------------------------


def test_services_do_not_touch_each_other() -> None:
    desk = served()
    desk.granted(first(B, service="coffee"))
    desk.granted(in_sync(A, 1, 1, A, C))
    desk.granted(transfer(A, 1, 2, C))
    resolved = desk.resolved("coffee")
    assert resolved.record == Record("coffee", 1, 1, "log-1", B, (B,))
    assert resolved.standbys == ()


def test_a_restarted_registry_gives_everybody_named_one_lease_of_grace() -> None:
    desk = Desk(Record(TEA, 5, 9, "log-1", A, (A, B)))
    assert desk.resolved().state is NameState.SERVED
    assert desk.refused(failover(B, 5)).code is RefusalCode.ALIVE
    assert desk.refused(Renew(1, TEA, C.id)).code is RefusalCode.NOT_REGISTERED
    desk.now_ms = LEASE
    assert desk.resolved().state is NameState.ORPHANED
    assert desk.granted(failover(B, 5)).epoch == 6


def test_a_restarted_registry_has_everybody_register_anew_and_misses_nobody_who_does() -> None:
    desk = Desk(Record(TEA, 5, 9, "log-1", A, (A, B)))
    desk.now_ms = LEASE - 1
    for one in (A, B):
        refused = desk.refused(Renew(1, TEA, one.id, "log-1"))
        assert refused.code is RefusalCode.NOT_REGISTERED, "it may know more than the store"
    desk.register(A)
    desk.renew(A)
    desk.now_ms = LEASE + 1
    assert desk.resolved().standbys == ("host-b",), "who renews is there, even if it has yet to register"


def test_a_claim_or_a_change_of_the_list_does_not_register() -> None:
    desk = Desk()
    desk.granted(first(A))
    assert desk.refused(Renew(1, TEA, A.id, "log-1")).code is RefusalCode.NOT_REGISTERED
    desk.register(A)
    desk.renew(A)
    desk.granted(failover(A, 1))
    desk.renew(A)
    desk.now_ms = LEASE
    desk.granted(in_sync(A, 2, 2, A))
    assert desk.resolved().state is NameState.SERVED
    assert desk.refused(Renew(1, TEA, A.id, "log-1")).code is RefusalCode.NOT_REGISTERED


def test_a_decision_changes_no_record_before_it_is_adopted() -> None:
    desk = followed()
    decision = desk.registry.decide(transfer(A, 1, 2, B), 0)
    assert decision.record is not None
    assert desk.resolved().record == desk.saved[-1]
    desk.registry.adopt(decision.record)
    assert desk.resolved().record == decision.record


def test_an_older_record_is_never_adopted() -> None:
    desk = served()
    for record in (Record(TEA, 0, 9, "l", A, (A,)), Record(TEA, 1, 1, "l", A, (A,))):
        with pytest.raises(InvariantViolated, match="service=tea"):
            desk.registry.adopt(record)


def test_a_lease_has_to_last() -> None:
    with pytest.raises(ValueError, match="lease"):
        Registry([], 0, 0, rng=Random(1))


# --- records that are told -------------------------------------------------------------------------------------------

# Epoch 7, in which A leads and B follows.
KNOWN = Record(TEA, 7, 12, "log-1", A, (A, B))


def tell(by: ServerInfo, record: Record) -> Register:
    return Register(5, limits.PROTOCOL, TEA, by, record)


def changed(record: Record, **fields: object) -> Record:
    return msgspec.structs.replace(record, **fields)


def told(desk: Desk, by: ServerInfo, record: Record) -> Registered:
    reply = desk.ask(tell(by, record))
    assert isinstance(reply, Registered), reply
    return reply


@pytest.mark.parametrize("by", [A, B])
def test_a_zdns_that_has_lost_its_records_takes_up_what_those_who_hold_a_copy_tell(by: ServerInfo) -> None:
    desk = Desk()
    reply = told(desk, by, KNOWN)
    assert desk.saved == [KNOWN]
    assert (reply.record, reply.state, reply.standbys) == (KNOWN, NameState.SERVED, ("host-b",))
    assert desk.resolved().record == KNOWN


def test_what_is_told_twice_is_taken_up_once() -> None:
    desk = Desk()
    for by in (A, B, A):
        assert told(desk, by, KNOWN).record == KNOWN
    assert len(desk.saved) == 1


def test_a_told_record_is_not_known_before_it_is_adopted() -> None:
    desk = Desk()
    decision = desk.registry.decide(tell(A, KNOWN), 0)
    assert decision.record == KNOWN
    assert desk.resolved().record is None


def test_servers_named_by_a_told_record_have_a_lease_from_then_on() -> None:
    desk = Desk()
    desk.register(B)
    desk.now_ms = LEASE - 1
    told(desk, A, changed(KNOWN, in_sync=(A, B, C)))
    desk.now_ms = 2 * LEASE - 2
    assert desk.resolved().standbys == ("host-b", "host-c")
    assert desk.refused(failover(B, 7)).code is RefusalCode.ALIVE
    desk.now_ms = 2 * LEASE - 1
    assert desk.granted(failover(C, 7)).in_sync == (C, A, B)


def test_servers_named_by_a_told_record_are_asked_what_they_know_themselves() -> None:
    desk = Desk()
    told(desk, B, KNOWN)
    assert desk.refused(Renew(1, TEA, A.id, "log-1")).code is RefusalCode.NOT_REGISTERED
    desk.renew(B)
    assert told(desk, A, changed(KNOWN, epoch=8, version=13)).record == changed(KNOWN, epoch=8, version=13)
    desk.renew(A)


@pytest.mark.parametrize(
    "record",
    [
        changed(KNOWN, epoch=8, version=2),
        changed(KNOWN, epoch=8, version=12, active=B, in_sync=(B, A), volatile=("a",)),
        changed(KNOWN, epoch=8, version=13, log="log-9"),
        changed(KNOWN, epoch=8, version=40),
        changed(KNOWN, version=13, in_sync=(A,)),
        changed(KNOWN, version=40),
    ],
    ids=["a low version", "another leads", "another history", "a higher version", "a shorter list", "the same list"],
)
def test_a_newer_record_takes_the_place_of_an_older_one_and_versions_only_rise(record: Record) -> None:
    desk = Desk(KNOWN)
    told(desk, A, record)
    assert desk.saved == [changed(record, version=max(13, record.version))]
    assert desk.granted(in_sync(record.active, record.epoch, desk.saved[0].version, record.active))


def test_a_record_that_ended_gives_way_to_a_higher_epoch_only() -> None:
    desk = Desk(changed(KNOWN, ended=True))
    told(desk, A, changed(KNOWN, version=20))
    assert not desk.saved
    told(desk, A, changed(KNOWN, epoch=8))
    assert desk.saved == [changed(KNOWN, epoch=8, version=13)]


@pytest.mark.parametrize(
    ("by", "record"),
    [
        pytest.param(A, changed(KNOWN, epoch=6, version=99), id="an older epoch"),
        pytest.param(A, KNOWN, id="the same"),
        pytest.param(A, changed(KNOWN, version=11, in_sync=(A,)), id="an older version"),
        pytest.param(B, changed(KNOWN, version=13, active=B, in_sync=(B, A)), id="another leads in the same epoch"),
        pytest.param(A, changed(KNOWN, version=13, log="log-9"), id="another history in the same epoch"),
        pytest.param(C, changed(KNOWN, epoch=8), id="by somebody it does not name"),
        pytest.param(A, changed(KNOWN, epoch=8, service="coffee"), id="about another service"),
        pytest.param(A, changed(KNOWN, epoch=8, service="TEA"), id="about a name as nobody writes it down"),
        pytest.param(A, changed(KNOWN, epoch=8, ended=True), id="ended"),
        pytest.param(A, changed(KNOWN, epoch=2**62), id="an epoch that cannot be followed"),
        pytest.param(A, changed(KNOWN, epoch=8, version=2**62), id="a version that cannot be followed"),
        pytest.param(A, changed(KNOWN, epoch=8, in_sync=(B, A)), id="the active one is not first"),
        pytest.param(B, changed(KNOWN, epoch=8, in_sync=(B,)), id="the active one is not in sync"),
        pytest.param(A, changed(KNOWN, epoch=8, in_sync=(A, B, B)), id="one twice"),
        pytest.param(A, changed(KNOWN, epoch=8, volatile=("c",)), id="a stranger's disk"),
        pytest.param(A, changed(KNOWN, epoch=8, in_sync=(A, ServerInfo("b", "b", (), ()))), id="without addresses"),
    ],
)
def test_nothing_else_that_is_told_is_taken_up(by: ServerInfo, record: Record) -> None:
    desk = Desk(KNOWN)
    assert told(desk, by, record).record == KNOWN
    assert not desk.saved


@pytest.mark.parametrize("record", [changed(KNOWN, epoch=0), changed(KNOWN, epoch=2**62), changed(KNOWN, ended=True)])
def test_what_no_zdns_can_have_granted_is_not_taken_up_for_lack_of_a_record_either(record: Record) -> None:
    desk = Desk()
    assert told(desk, A, record).record is None
    assert desk.resolved().state is NameState.FREE


def test_of_several_that_are_told_the_newest_counts_in_whatever_order_they_come() -> None:
    older = changed(KNOWN, version=11, in_sync=(A, B, C))
    oldest = Record(TEA, 6, 10, "log-1", C, (C, A, B))
    for order in itertools.permutations([(A, KNOWN), (B, older), (C, oldest)]):
        desk = Desk()
        for by, record in order:
            told(desk, by, record)
        assert desk.saved[-1] == KNOWN, order


def test_a_server_struck_off_last_does_not_come_back_because_it_told_of_an_older_list_first() -> None:
    desk = Desk()
    told(desk, C, changed(KNOWN, version=11, in_sync=(A, B, C)))
    told(desk, C, changed(KNOWN, version=11, in_sync=(A, B, C)))
    told(desk, B, KNOWN)
    assert desk.refused(failover(C, 7, unreachable=True)).code is RefusalCode.NOT_IN_SYNC


def test_what_was_asked_of_a_zdns_that_then_lost_its_records_can_be_asked_of_the_next() -> None:
    desk = Desk()
    told(desk, A, KNOWN)
    record = desk.granted(transfer(A, 7, 12, B))
    assert (record.epoch, record.version, record.active) == (8, 13, B)


def test_a_store_put_back_to_an_older_state_is_told_what_has_changed_since() -> None:
    desk = Desk(changed(KNOWN, version=9, in_sync=(A, B, C)))
    assert desk.refused(Renew(1, TEA, A.id, "log-1")).code is RefusalCode.NOT_REGISTERED
    assert told(desk, A, KNOWN).record == KNOWN
    assert desk.saved == [KNOWN]


def test_a_newer_record_deposes_whoever_was_given_the_name_meanwhile() -> None:
    desk = Desk()
    desk.register(C)
    desk.granted(first(C, log="log-9"))
    told(desk, B, KNOWN)
    refused = desk.refused(in_sync(C, 1, 1, C))
    assert (refused.code, refused.record) == (RefusalCode.STALE_EPOCH, KNOWN)


def test_on_a_shared_store_nothing_that_is_told_is_taken_up() -> None:
    desk = Desk(takes_up=False)
    assert told(desk, A, KNOWN).record is None
    assert desk.granted(first(B)).epoch == 1
    assert told(desk, A, KNOWN).record == desk.saved[0]


def test_whoever_tells_of_a_record_that_names_it_finds_room() -> None:
    desk = Desk()
    desk.register(*(server(f"s{number}") for number in range(limits.STANDBYS_MAX)))
    assert desk.refused(tell(A, changed(KNOWN, ended=True))).code is RefusalCode.FULL
    told(desk, A, KNOWN)
    for number in range(limits.SERVICES_MAX - 1):
        desk.ask(Register(1, limits.PROTOCOL, f"s{number}", A))
    one_more = Register(5, limits.PROTOCOL, "coffee", A, changed(KNOWN, service="coffee"))
    assert desk.refused(one_more).code is RefusalCode.FULL
    assert desk.resolved("coffee").record is None


# --- grace -----------------------------------------------------------------------------------------------------------


def claims(by: ServerInfo, epoch: int) -> list[Claim]:
    """One of each kind, and each kind of failover."""
    return [
        first(by, epoch=epoch),
        fresh(by, epoch),
        failover(by, epoch),
        failover(by, epoch, unreachable=True),
        failover(by, epoch, from_disk=True),
    ]


@pytest.mark.parametrize("epoch", [0, 7])
def test_a_name_without_record_is_given_to_nobody_before_the_grace_is_over(epoch: int) -> None:
    desk = Desk(grace_ms=GRACE)
    desk.register(A, B)
    desk.now_ms = GRACE - 1
    for claim in claims(A, epoch):
        refused = desk.refused(claim)
        assert (refused.code, refused.record) == (RefusalCode.BUSY, None)
        assert refused.message == "this zdns has only just started, and waits for those who may know who serves tea"
    desk.now_ms = GRACE
    assert desk.granted(first(A, epoch=epoch)).epoch == epoch + 1


def test_whoever_registers_or_renews_is_told_for_how_long_the_name_is_given_to_nobody() -> None:
    desk = Desk(Record("coffee", 2, 9, "log-3", C, (C,)), grace_ms=GRACE)

    def wait_ms(request: NameRequest) -> int:
        reply = desk.ask(request)
        assert isinstance(reply, Registered)
        return reply.wait_ms

    assert wait_ms(Register(1, limits.PROTOCOL, TEA, C)) == GRACE
    assert wait_ms(Register(1, limits.PROTOCOL, "coffee", C)) == 0
    desk.now_ms = 200
    assert wait_ms(Renew(1, TEA, C.id)) == GRACE - 200
    assert wait_ms(tell(A, KNOWN)) == GRACE - 200, "somebody may know of a newer one"
    assert wait_ms(Renew(1, TEA, C.id)) == GRACE - 200
    desk.now_ms = GRACE
    assert wait_ms(Register(1, limits.PROTOCOL, TEA, C)) == wait_ms(Renew(1, TEA, C.id)) == 0


def test_names_that_are_on_record_need_no_grace() -> None:
    desk = Desk(KNOWN, Record("coffee", 2, 9, "log-3", C, (C,), ended=True), grace_ms=GRACE)
    assert desk.granted(failover(B, 7, unreachable=True)).epoch == 8
    assert desk.granted(first(A, epoch=2, service="coffee")).epoch == 3
    assert desk.refused(first(A, service="milk")).code is RefusalCode.BUSY


def test_a_told_record_moves_to_nobody_before_the_grace_is_over() -> None:
    desk = Desk(grace_ms=GRACE)
    told(desk, B, KNOWN)
    desk.now_ms = GRACE - 1
    for by in (A, B, C):
        for claim in claims(by, 7):
            refused = desk.refused(claim)
            assert (refused.code, refused.record) == (RefusalCode.BUSY, desk.saved[0]), claim
    desk.now_ms = GRACE
    assert desk.refused(failover(B, 7)).code is RefusalCode.ALIVE
    assert desk.granted(failover(B, 7, unreachable=True)).epoch == 8


def test_a_record_told_in_place_of_an_older_one_waits_for_the_end_of_the_grace_too() -> None:
    desk = Desk(changed(KNOWN, epoch=5), grace_ms=GRACE)
    told(desk, B, KNOWN)
    assert desk.refused(failover(B, 7, unreachable=True)).code is RefusalCode.BUSY
    told(desk, A, changed(KNOWN, epoch=8))
    desk.now_ms = GRACE
    assert desk.refused(failover(B, 7, unreachable=True)).code is RefusalCode.STALE_EPOCH


def test_after_the_grace_a_record_is_taken_up_all_the_same_and_moves_at_once() -> None:
    desk = Desk(grace_ms=GRACE)
    desk.now_ms = GRACE
    told(desk, B, KNOWN)
    assert desk.granted(failover(B, 7, unreachable=True)).epoch == 8


def test_nothing_of_a_told_record_changes_during_the_grace() -> None:
    desk = Desk(grace_ms=GRACE)
    told(desk, A, KNOWN)
    for request in (in_sync(A, 7, 12, A, B), transfer(A, 7, 12, B), failover(B, 7, unreachable=True)):
        assert desk.refused(request).code is RefusalCode.BUSY, "a later epoch may have been granted, and be told of yet"
    desk.now_ms = GRACE
    assert desk.granted(in_sync(A, 7, 12, A, B)).version == 13
    assert desk.granted(transfer(A, 7, 13, B)).epoch == 8


@pytest.mark.parametrize("request_", [in_sync(A, 7, 12, A), transfer(A, 7, 12, B)])
def test_an_active_server_that_zdns_does_not_know_yet_is_asked_to_wait(request_: NameRequest) -> None:
    desk = Desk(grace_ms=GRACE)
    assert desk.refused(request_).code is RefusalCode.BUSY
    told(desk, C, Record(TEA, 6, 8, "log-1", C, (C, A, B)))
    assert desk.refused(request_).code is RefusalCode.BUSY, "it is of an epoch that nobody has told of yet"
    told(desk, B, changed(KNOWN, version=9))
    assert desk.refused(request_).code is RefusalCode.BUSY, "it is of a version that nobody has told of yet"
    assert len(desk.saved) == 2
    desk.now_ms = GRACE
    refused = desk.refused(request_)
    assert (refused.code, refused.record) == (RefusalCode.STALE_VERSION, changed(KNOWN, version=9))


def test_whoever_is_behind_a_told_record_learns_it_during_the_grace() -> None:
    desk = Desk(grace_ms=GRACE)
    told(desk, A, KNOWN)
    refused = desk.refused(transfer(C, 6, 30, B))
    assert (refused.code, refused.record) == (RefusalCode.STALE_EPOCH, desk.saved[0])
    assert desk.refused(in_sync(B, 7, 12, B)).code is RefusalCode.NOT_ACTIVE


def test_what_an_earlier_zdns_has_granted_is_granted_again_when_it_is_told() -> None:
    desk = Desk(grace_ms=GRACE)
    told(desk, B, changed(KNOWN, active=B, in_sync=(B, A)))
    assert desk.granted(failover(B, 6)) == desk.saved[0]
    assert desk.granted(transfer(A, 6, 11, B)) == desk.saved[0]
    assert len(desk.saved) == 1


def test_an_epoch_that_an_earlier_run_had_is_not_granted_to_a_server_started_again() -> None:
    desk = Desk(grace_ms=GRACE)
    told(desk, B, KNOWN)
    desk.now_ms = GRACE
    refused = desk.refused(failover(A, 6, from_disk=True))
    assert (refused.code, refused.record) == (RefusalCode.STALE_EPOCH, desk.saved[0])
    record = desk.granted(failover(A, 7, from_disk=True))
    assert (record.epoch, desk.granted(failover(A, 7, from_disk=True))) == (8, record), "asked again: the same answer"


def test_time_in_which_zdns_stood_still_is_no_grace() -> None:
    desk = Desk(grace_ms=GRACE)
    desk.register(A)
    desk.now_ms = 10 * GRACE
    desk.registry.extend_leases(9 * GRACE + 1)
    assert desk.refused(first(A)).code is RefusalCode.BUSY
    desk.now_ms += 1
    assert desk.granted(first(A)).epoch == 1
    desk.now_ms += 5 * GRACE
    desk.registry.extend_leases(5 * GRACE)
    assert desk.granted(first(A, service="coffee")).epoch == 1, "what is over does not begin again"


# --- whatever is asked, in whatever order --------------------------------------------------------------------------

SERVERS = [A, B, C]
which = st.integers(0, len(SERVERS) - 1)
off_by = st.sampled_from([0, 0, 0, 0, -1, 1])  # mostly the right number


class AnySequence(RuleBasedStateMachine):
    """Random requests, most of them nearly right, some saved in vain, restarts, lost stores, and old requests again."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 0
        self.registry = Registry([], LEASE, 0, rng=Random(7))
        self.record: Record | None = None
        self.holders: dict[int, str] = {}  # epoch -> the one server that was ever told it has it
        self.transfers: dict[tuple[int, int], str] = {}  # (epoch, version) -> to whom it was granted
        self.asked: list[NameRequest] = []
        self.known: dict[str, Record] = {}  # server -> the newest record it was told

    @property
    def epoch(self) -> int:
        return self.record.epoch if self.record else 0

    @property
    def version(self) -> int:
        return self.record.version if self.record else 0

    def ask(self, request: NameRequest, saves: bool = True) -> DnsReply | None:
        was = self.record
        decision = self.registry.decide(request, self.now_ms)
        assert codec.decode(codec.encode(decision.reply), DnsReply) == decision.reply
        if decision.record is not None and saves:
            codec.decode(codec.encode(Granted(0, decision.record)), DnsReply)  # it fits its own limits
            self.registry.adopt(decision.record)
            self.record = decision.record
        elif decision.record is not None:
            return None  # the answer was never sent
        self.judge(request, decision.reply, was)
        return decision.reply

    def judge(self, request: NameRequest, reply: DnsReply, was: Record | None) -> None:
        now = self.record
        self.learn(request, reply)
        match reply:
            case Refused(code=RefusalCode.NOT_STANDBY | RefusalCode.NOT_IN_SYNC, record=told) if now != was:
                # Something may be under way that must never be granted any more.
                assert isinstance(request, Transfer | SetInSync)
                assert was is not None
                assert told == now == msgspec.structs.replace(was, version=was.version + 1)
            case Refused(code=RefusalCode.NOT_STANDBY | RefusalCode.NOT_IN_SYNC):
                assert isinstance(request, Claim)
            case Refused():
                assert now == was
            case Granted(record=told):
                assert told == now
                assert self.holders.setdefault(told.epoch, told.active.id) == told.active.id
                assert isinstance(request, Claim | Transfer | SetInSync)
                assert told.active.id == self.wanted(request)
                if isinstance(request, Transfer | SetInSync) and now != was:
                    assert was is not None
                    assert (request.epoch, request.version) == (was.epoch, was.version)
                if was is None or told.epoch > was.epoch:
                    assert isinstance(request, Transfer | Claim)
                    assert told.epoch == request.epoch + 1
                    self.check_holds(request, was, told)
                if isinstance(request, Transfer) and now != was:
                    key = (request.epoch, request.version)
                    assert key not in self.transfers, "granted twice"
                    self.transfers[key] = request.to
                self.asked.append(request)
            case Registered(record=told):
                assert told == now
                if now != was:
                    assert isinstance(request, Register)
                    assert now is not None
                    assert was is None or (now.epoch, now.version) > (was.epoch, was.version)
                    assert request.server.id in [one.id for one in now.in_sync]
                    assert self.holders.setdefault(now.epoch, now.active.id) == now.active.id
            case _:
                assert now == was
        if isinstance(reply, Refused):
            self.asked.append(request)

    @staticmethod
    def check_holds(request: Transfer | Claim, was: Record | None, told: Record) -> None:
        """Whoever goes on with a history has it, and so had everybody who is said to have it."""
        if isinstance(request, Claim) and request.kind is not ClaimKind.FAILOVER:
            assert was is None or told.log != was.log
            return
        assert was is not None
        assert told.log == was.log
        assert sorted(one.id for one in told.in_sync) == sorted(one.id for one in was.in_sync)
        assert told.volatile == was.volatile
        assert not (isinstance(request, Claim) and request.from_disk and request.server.id in was.volatile)

    def learn(self, request: NameRequest, reply: DnsReply) -> None:
        record = reply.record if isinstance(reply, Refused | Granted | Registered) else None
        if record is None or isinstance(request, Resolve):
            return
        asker = request.server.id if isinstance(request, Register | Claim) else request.server
        known = self.known.get(asker)
        if known is None or (record.epoch, record.version) > (known.epoch, known.version):
            self.known[asker] = record

    @staticmethod
    def wanted(request: Claim | Transfer | SetInSync) -> str:
        """Who is active in the record with which the request is granted."""
        match request:
            case Claim():
                return request.server.id
            case Transfer():
                return request.to
            case SetInSync():
                return request.server

    @rule(index=which, saves=st.booleans())
    def register(self, index: int, saves: bool) -> None:
        server = SERVERS[index]
        self.ask(Register(1, limits.PROTOCOL, TEA, server, self.known.get(server.id)), saves)

    @rule(
        index=which,
        off_epoch=off_by,
        off_version=st.integers(-2, 2),
        others=st.lists(which, max_size=2),
        volatile=st.lists(which, max_size=1),
        same_log=st.booleans(),
    )
    def tell_anything(
        self, index: int, off_epoch: int, off_version: int, others: list[int], volatile: list[int], same_log: bool
    ) -> None:
        """A record of somebody who says that it leads; nobody need have granted it."""
        active = SERVERS[index]
        record = Record(
            TEA,
            max(0, self.epoch + off_epoch),
            max(0, self.version + off_version),
            self.record.log if self.record is not None and same_log else "told",
            active,
            (active, *(SERVERS[other] for other in others)),
            volatile=tuple(SERVERS[other].id for other in volatile),
        )
        self.ask(Register(1, limits.PROTOCOL, TEA, active, record))

    @rule(index=which)
    def renew(self, index: int) -> None:
        self.ask(Renew(1, TEA, SERVERS[index].id))

    @rule(index=which)
    def leave(self, index: int) -> None:
        self.ask(Leave(1, TEA, SERVERS[index].id))

    @rule(index=which)
    def pick(self, index: int) -> None:
        decision = self.registry.decide(Pick(1, TEA, SERVERS[index].id), self.now_ms)
        if isinstance(decision.reply, Picked) and decision.reply.server is not None:
            assert decision.reply.server.id != SERVERS[index].id
            assert self.record is None or decision.reply.server.id != self.record.active.id

    @rule(
        index=which,
        kind=st.sampled_from(list(ClaimKind)),
        off=off_by,
        unreachable=st.booleans(),
        from_disk=st.booleans(),
        saves=st.booleans(),
    )
    def claim(self, index: int, kind: ClaimKind, off: int, unreachable: bool, from_disk: bool, saves: bool) -> None:
        epoch = max(0, self.epoch + off)
        log = f"log-{epoch}-{self.version}"
        self.ask(Claim(1, TEA, SERVERS[index], kind, epoch, log, unreachable, from_disk), saves)

    @precondition(lambda self: self.record is not None)
    @rule(to=which, off_epoch=off_by, off_version=off_by, by=st.none() | which, saves=st.booleans())
    def transfer(self, to: int, off_epoch: int, off_version: int, by: int | None, saves: bool) -> None:
        assert self.record is not None
        asker = self.record.active.id if by is None else SERVERS[by].id
        epoch, version = max(0, self.epoch + off_epoch), max(0, self.version + off_version)
        self.ask(Transfer(1, TEA, asker, epoch, version, SERVERS[to].id), saves)

    @precondition(lambda self: self.record is not None)
    @rule(
        members=st.lists(which, min_size=1, max_size=4),
        volatile=st.lists(which, max_size=2),
        off=off_by,
        by=st.none() | which,
    )
    def set_in_sync(self, members: list[int], volatile: list[int], off: int, by: int | None) -> None:
        assert self.record is not None
        asker = self.record.active.id if by is None else SERVERS[by].id
        ids = (asker, *(SERVERS[index].id for index in members))
        marked = tuple(SERVERS[index].id for index in volatile)
        self.ask(SetInSync(1, TEA, asker, self.epoch, max(0, self.version + off), ids, marked))

    @precondition(lambda self: bool(self.asked))
    @rule(back=st.integers(0, 30))
    def an_old_request_arrives_again(self, back: int) -> None:
        self.ask(self.asked[-1 - back % len(self.asked)])

    @rule(lost_ms=st.sampled_from([1, LEASE // 2, LEASE, 5 * LEASE]))
    def time_passes(self, lost_ms: int) -> None:
        self.now_ms += lost_ms

    @rule()
    def zdns_restarts(self) -> None:
        records = [self.record] if self.record else []
        self.registry = Registry(records, LEASE, self.now_ms, rng=Random(7), grace_ms=GRACE)

    @rule(
        order=st.permutations(range(len(SERVERS))),
        claims=st.lists(st.tuples(which, st.sampled_from(list(ClaimKind)), st.booleans()), max_size=4),
    )
    def the_store_is_lost(self, order: list[int], claims: list[tuple[int, ClaimKind, bool]]) -> None:
        """Everybody who is there says what it knows in time; whoever wants something meanwhile has to wait."""
        was, self.record = self.record, None
        self.registry = Registry([], LEASE, self.now_ms, rng=Random(7), grace_ms=GRACE)
        for index in order:
            if claims:
                claimer, kind, from_disk = claims.pop()
                epoch = max(0, self.epoch - 1)
                reply = self.ask(Claim(1, TEA, SERVERS[claimer], kind, epoch, "log", True, from_disk))
                if isinstance(reply, Granted):
                    assert reply.record == self.record, "only what was granted already"
                else:
                    assert isinstance(reply, Refused)
                    assert reply.code is RefusalCode.BUSY
            self.register(index, True)
        assert self.record == was
        self.now_ms += GRACE

    @invariant()
    def the_record_is_what_is_told(self) -> None:
        reply = self.registry.decide(Resolve(1, limits.PROTOCOL, TEA), self.now_ms).reply
        assert isinstance(reply, Resolved)
        assert reply.record == self.record
        assert (reply.state is NameState.FREE) == (self.record is None)
        if self.record is not None:
            assert self.record.in_sync[0] == self.record.active
            ids = [one.id for one in self.record.in_sync]
            assert len(ids) == len(set(ids))
            assert set(self.record.volatile) <= set(ids)


AnySequence.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestAnySequence = AnySequence.TestCase


def test_the_same_list_is_written_once_more_at_the_present_version_only() -> None:
    desk = served()
    record = desk.granted(in_sync(A, 1, 1, A))
    assert (record.version, desk.saved[-1]) == (2, record)
    assert desk.granted(in_sync(A, 1, 2, A)).version == 3
    assert desk.refused(in_sync(A, 1, 1, A)).code is RefusalCode.STALE_VERSION


def test_a_copy_of_another_history_keeps_no_name_alive() -> None:
    desk = served()
    desk.granted(in_sync(A, 1, 1, A, B))
    desk.now_ms = LEASE - 1
    desk.renew(B, holds="log-0")
    desk.now_ms = LEASE + 1
    assert desk.resolved().state is NameState.ORPHANED
    desk.renew(B, holds="log-1")
    assert desk.resolved().state is NameState.SERVED


def test_an_in_sync_server_that_has_let_go_of_its_copy_keeps_no_name_alive() -> None:
    registry = Registry([], LEASE, 0, rng=Random(1))
    source, target = server("source"), server("target")
    granted = registry.decide(Claim(1, "backend.com", source, ClaimKind.FIRST, 0, "log"), 0)
    assert granted.record is not None
    registry.adopt(granted.record)
    for one in (source, target):
        registry.decide(Register(2, limits.PROTOCOL, "backend.com", one), 0)
    listed = registry.decide(SetInSync(3, "backend.com", source.id, 1, 1, (source.id, target.id)), 0)
    assert listed.record is not None
    registry.adopt(listed.record)
    moved = registry.decide(Transfer(3, "backend.com", source.id, 1, 2, target.id), 0)
    assert moved.record is not None
    registry.adopt(moved.record)
    later = LEASE - 1
    registry.decide(Renew(4, "backend.com", source.id, "log"), later)
    dead = later + 2
    alive = registry.decide(Resolve(5, limits.PROTOCOL, "backend.com"), dead).reply
    assert isinstance(alive, Resolved)
    assert alive.state is NameState.SERVED, "the source still has its copy"
    registry.decide(Renew(6, "backend.com", source.id, ""), dead)
    gone = registry.decide(Resolve(7, limits.PROTOCOL, "backend.com"), dead).reply
    assert isinstance(gone, Resolved)
    assert gone.state is NameState.ORPHANED
    fresh = registry.decide(Claim(8, "backend.com", server("new"), ClaimKind.FRESH, 2, "new-log"), dead).reply
    assert isinstance(fresh, Granted)


def test_the_last_one_may_take_the_history_along_and_then_the_name_is_free_in_a_higher_epoch() -> None:
    desk = served()
    assert desk.ask(Leave(1, TEA, A.id, True)) == Done(1)
    resolved = desk.resolved()
    assert resolved.state is NameState.FREE
    assert resolved.record is not None
    assert resolved.record.ended
    assert desk.refused(first(B)).code is RefusalCode.STALE_EPOCH
    assert desk.refused(Claim(7, TEA, A, ClaimKind.FAILOVER, 1)).code is RefusalCode.NOT_IN_SYNC
    record = desk.granted(first(B, epoch=1, log="log-2"))
    assert (record.epoch, record.version, record.log, record.ended) == (2, 3, "log-2", False)
    assert desk.granted(first(B, epoch=1, log="log-2")) == record


def test_only_the_active_server_can_end_a_history_and_not_while_another_holds_it() -> None:
    desk = served()
    desk.ask(Leave(1, TEA, B.id, True))
    assert desk.resolved().state is NameState.SERVED
    followed_desk = followed()
    followed_desk.ask(Leave(1, TEA, A.id, True))
    assert followed_desk.resolved().state is NameState.SERVED


def test_an_active_server_that_was_started_again_with_less_does_not_keep_its_role_alive() -> None:
    desk = Desk()
    desk.granted(first(A))
    desk.ask(Register(1, limits.PROTOCOL, TEA, A))
    desk.ask(Register(1, limits.PROTOCOL, TEA, B))
    desk.granted(in_sync(A, 1, 1, A, B, volatile=("a",)))
    assert desk.refused(failover(B, 1)).code is RefusalCode.ALIVE
    desk.ask(Renew(1, TEA, "a", behind=True))
    desk.ask(Register(1, limits.PROTOCOL, TEA, A))
    assert desk.granted(failover(B, 1)).active == B


# --- bans and seals ---


def test_servers_of_a_banned_key_are_not_there_any_more() -> None:
    one, other = server(identity.make_id("k" * 40, "1")), server(identity.make_id("o" * 40, "1"))
    desk = Desk()
    for registers in (one, other):
        desk.ask(Register(1, limits.PROTOCOL, TEA, registers))
    desk.registry.evict({identity.fingerprint("k" * 40)})
    for _ in range(20):
        picked = desk.ask(Pick(1, TEA, "somebody"))
        assert not (isinstance(picked, Picked) and picked.server == one)
    refused = desk.ask(Renew(1, TEA, one.id))
    assert isinstance(refused, Refused)
    assert refused.code is RefusalCode.NOT_REGISTERED
    assert isinstance(desk.ask(Renew(1, TEA, other.id)), Registered)


class Wax:
    """Seals that can be seen."""

    def seal(self, record: Record) -> Record:
        return msgspec.structs.replace(record, seal=f"{record.epoch}/{record.version}".encode())

    def is_sealed(self, record: Record) -> bool:
        return record == self.seal(record)


def test_with_seals_every_record_has_one_and_none_is_taken_up_without() -> None:
    wax = Wax()
    registry = Registry([], LEASE, 0, rng=Random(1), seals=wax)
    decision = registry.decide(Claim(1, TEA, A, ClaimKind.FIRST, 0, "log"), 0)
    assert decision.record is not None
    assert wax.is_sealed(decision.record)
    assert decision.reply == Granted(1, decision.record)
    later = msgspec.structs.replace(decision.record, epoch=7, version=9)
    for told, is_taken_up in ((later, False), (wax.seal(later), True)):
        fresh = Registry([], LEASE, 0, rng=Random(1), seals=wax)
        assert (fresh.decide(Register(1, limits.PROTOCOL, TEA, A, told), 0).record is not None) is is_taken_up
