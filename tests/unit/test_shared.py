"""One service as several zdns see it: keys, values, views, and that only one of many can change what all have read."""

from random import Random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from wire import limits
from wire.errors import RefusalCode
from wire.identity import KEY_CHARS, PROOF_BYTES
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
from zdns import shared
from zdns.shared import Change, Damaged, Presence, Range, Row, Verdict, View

LEASE_MS = 3_000
TEA = "tea"
A = ServerInfo("a", "ana", ("tcp://a:1",), ("tcp://a:2",))
B = ServerInfo("b", "bo", ("tcp://b:1",), ("tcp://b:2",))
C = ServerInfo("c", "cy", ("tcp://c:1",), ("tcp://c:2",))
RECORD = Record(TEA, 3, 7, "log", A, (A, B))
KEY = shared.record_key(TEA)
OURS, THEIRS = 11, 22


def view(record: Record | None = None, *present: ServerInfo, lease: int = OURS) -> View:
    """A service at revision 50, each key last changed at 40."""
    rows = {shared.presence_key(TEA, one.id): Row(Presence(one, True), 40, lease) for one in present}
    if record is not None:
        rows[KEY] = Row(record, 40)
    return View(TEA, 1, 50, rows)


def judge(seen: View, request: NameRequest, lease: int = OURS) -> Verdict:
    return shared.judge(seen, request, 1_000, lease_ms=LEASE_MS, lease=lease, rng=Random(1))


# --- keys and values -----------------------------------------------------------------------------------------------


def test_values_come_back_as_they_were_packed() -> None:
    key = shared.presence_key(TEA, "a")
    assert shared.unpack(TEA, KEY, shared.pack(KEY, RECORD)) == RECORD
    assert shared.unpack(TEA, key, shared.pack(key, Presence(A, False))) == Presence(A, False)


def test_every_key_of_a_service_and_of_no_other_begins_with_its_prefix() -> None:
    assert shared.prefix("tea") == "/relevo/tea/"
    assert KEY == "/relevo/tea/record"
    assert shared.presence_key("tea", "a/../../coffee/record") == "/relevo/tea/servers/a%2F..%2F..%2Fcoffee%2Frecord"
    assert not shared.record_key("tea.b").startswith(shared.prefix("tea"))


def good(key: str) -> bytes:
    return shared.pack(key, RECORD)


@pytest.mark.parametrize(
    ("key", "data", "why"),
    [
        (KEY, b"", "not marked"),
        (KEY, b"hello", "not marked"),
        (KEY, b"r1", "checksum"),
        (KEY, good(KEY)[:-1], "checksum"),
        (KEY, good(KEY)[:-1] + bytes([good(KEY)[-1] ^ 1]), "checksum"),
        (KEY, good(shared.record_key("coffee")), "checksum"),
        (KEY, shared.pack(KEY, Presence(A, True)), "xpected"),
        (shared.record_key("coffee"), good(shared.record_key("coffee")), "it is about tea"),
        (shared.presence_key(TEA, "b"), shared.pack(shared.presence_key(TEA, "b"), Presence(A, True)), "it is about a"),
        ("/relevo/tea/else", shared.pack("/relevo/tea/else", Presence(A, True)), "it is about a"),
        (KEY, b"r1" + bytes(limits.ETCD_VALUE_BYTES_MAX), "bytes"),
    ],
)
def test_a_value_that_no_zdns_wrote_there_is_damaged(key: str, data: bytes, why: str) -> None:
    service = "coffee" if "coffee" in key else TEA
    found = shared.unpack(service, key, data)
    assert isinstance(found, Damaged)
    assert why in found.why


def test_no_flipped_bit_of_a_record_goes_unseen() -> None:
    data = good(KEY)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert isinstance(shared.unpack(TEA, KEY, bytes(flipped)), Damaged)


def test_the_largest_record_there_can_be_is_not_too_large() -> None:
    long = tuple("\U0001f375" * limits.ENDPOINT_CHARS_MAX for _ in range(limits.ENDPOINTS_MAX))
    id_ = "\U0001f375" * limits.ID_CHARS_MAX
    fat = ServerInfo(id_, "\U0001f375" * 4 * limits.NICK_CHARS_MAX, long, long, "\U0001f375" * KEY_CHARS)
    record = Record(
        TEA,
        2**63 - 1,
        2**63 - 1,
        id_,
        fat,
        (fat,) * limits.IN_SYNC_MAX,
        True,
        (id_,) * limits.IN_SYNC_MAX,
        b"\xff" * PROOF_BYTES,
    )
    assert shared.unpack(TEA, KEY, shared.pack(KEY, record)) == record


# --- views -----------------------------------------------------------------------------------------------------------


def test_a_view_takes_up_what_has_changed() -> None:
    seen = view(RECORD, A)
    new = Row(Presence(B, True), 55, OURS)
    merged = seen.merged(Range(1, 60, {shared.presence_key(TEA, "b"): new}, 3))
    assert merged is not None
    assert (merged.revision, merged.record, [one.server for one in merged.present]) == (60, RECORD, [A, B])


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(Range(1, 60, {}, 1), id="one is gone"),
        pytest.param(Range(1, 60, {"/relevo/tea/servers/b": Row(Presence(B, True), 55)}, 2), id="one went, one came"),
        pytest.param(Range(2, 60, {}, 2), id="another cluster"),
        pytest.param(Range(1, 49, {}, 2), id="an older state"),
    ],
)
def test_a_view_that_cannot_be_sure_is_read_anew(changed: Range) -> None:
    assert view(RECORD, A).merged(changed) is None


def test_a_deletion_of_our_own_needs_no_new_reading() -> None:
    seen = view(RECORD, A, B)
    gone = Change(shared.presence_key(TEA, "a"), None, 40)
    merged = seen.without([gone]).merged(Range(1, 60, {}, 2))
    assert merged is not None
    assert [one.server for one in merged.present] == [B]
    assert seen.without([Change(KEY, RECORD, 40)]) == seen


def test_changes_that_are_planned_can_be_judged_by() -> None:
    come = Change(shared.presence_key(TEA, "b"), Presence(B, True), 0, OURS)
    gone = Change(shared.presence_key(TEA, "a"), None, 40)
    planned = view(RECORD, A).after([come, gone])
    assert [one.server for one in planned.present] == [B]
    assert shared.applied(planned, [come, gone])
    assert judge(planned, Register(1, limits.PROTOCOL, TEA, B)).changes == ()


# --- judging ---------------------------------------------------------------------------------------------------------


def test_a_first_claim_writes_record_and_presence_if_there_are_none() -> None:
    verdict = judge(view(), Claim(1, TEA, A, ClaimKind.FIRST, 0, "log"))
    assert isinstance(verdict.reply, Granted)
    key = shared.presence_key(TEA, "a")
    assert verdict.changes == (Change(KEY, verdict.reply.record, 0), Change(key, Presence(A, True), 0, OURS))
    assert verdict.is_there


def test_a_change_compares_with_what_was_read() -> None:
    verdict = judge(view(RECORD, A, B), Transfer(1, TEA, "a", 3, 7, "b"))
    assert isinstance(verdict.reply, Granted)
    assert verdict.changes == (Change(KEY, verdict.reply.record, 40),)


def test_what_was_granted_already_changes_nothing() -> None:
    granted = Record(TEA, 4, 8, "log", B, (B, A))
    assert judge(view(granted, A, B), Transfer(1, TEA, "a", 3, 7, "b")) == Verdict(Granted(1, granted), (), True)


def test_asking_and_renewing_change_nothing() -> None:
    seen = view(RECORD, A, B)
    assert judge(seen, Resolve(1, limits.PROTOCOL, TEA)) == Verdict(Resolved(1, NameState.SERVED, RECORD, ("bo",)))
    registered = Registered(2, LEASE_MS, NameState.SERVED, RECORD, ("bo",))
    assert judge(seen, Renew(2, TEA, "b", "log")) == Verdict(registered, (), True)
    assert judge(seen, Pick(3, TEA, "a")) == Verdict(Picked(3, B), (), True)


def test_whoever_has_let_go_of_its_copy_is_written_down_so() -> None:
    verdict = judge(view(RECORD, A, B), Renew(1, TEA, "b"))
    assert verdict.changes == (Change(shared.presence_key(TEA, "b"), Presence(B, False), 40, OURS),)


def test_whoever_talked_to_another_zdns_is_taken_over() -> None:
    verdict = judge(view(RECORD, A, B, lease=THEIRS), Renew(1, TEA, "b", "log"))
    assert verdict.changes == (Change(shared.presence_key(TEA, "b"), Presence(B, True), 40, OURS),)


def test_whoever_is_not_there_registers_anew() -> None:
    verdict = judge(view(RECORD, A), Renew(1, TEA, "b", "log"))
    assert isinstance(verdict.reply, Refused)
    assert (verdict.reply.code, verdict.changes, verdict.is_there) == (RefusalCode.NOT_REGISTERED, (), False)


def test_whoever_leaves_is_deleted() -> None:
    verdict = judge(view(RECORD, A, B), Leave(1, TEA, "b"))
    assert verdict == Verdict(Done(1), (Change(shared.presence_key(TEA, "b"), None, 40),), False)
    assert judge(view(RECORD, A), Leave(1, TEA, "b")) == Verdict(Done(1))


def test_the_last_one_takes_its_history_along() -> None:
    verdict = judge(view(Record(TEA, 3, 7, "log", A, (A,)), A), Leave(1, TEA, "a", ends=True))
    ended = Record(TEA, 3, 8, "log", A, (A,), ended=True)
    assert verdict.changes == (Change(KEY, ended, 40), Change(shared.presence_key(TEA, "a"), None, 40))


def test_what_servers_tell_of_a_record_changes_nothing_and_nobody_has_to_wait_for_it() -> None:
    told = Record(TEA, 9, 40, "log", B, (B, A))
    verdict = judge(view(), Register(1, limits.PROTOCOL, TEA, B, told))
    assert verdict.changes == (Change(shared.presence_key(TEA, "b"), Presence(B, True), 0, OURS),)
    assert isinstance(verdict.reply, Registered)
    assert verdict.reply.record is None
    kept = judge(view(RECORD, A, B), Register(1, limits.PROTOCOL, TEA, B, told))
    assert kept == Verdict(Registered(1, LEASE_MS, NameState.SERVED, RECORD, ("bo",)), (), True)
    assert isinstance(judge(view(), Claim(1, TEA, A, ClaimKind.FIRST, 0, "log")).reply, Granted)


def test_whoever_is_written_down_as_there_need_not_register_with_each_zdns() -> None:
    claimed = judge(view(), Claim(1, TEA, A, ClaimKind.FIRST, 0, "log"))
    renewed = judge(view().after(claimed.changes), Renew(2, TEA, "a", "log"))
    assert isinstance(renewed.reply, Registered)


def test_whose_disk_lacks_something_is_written_down() -> None:
    verdict = judge(view(RECORD, A, B), SetInSync(1, TEA, "a", 3, 7, ("a", "b"), ("b",)))
    noted = Record(TEA, 3, 8, "log", A, (A, B), volatile=("b",))
    assert verdict.changes == (Change(KEY, noted, 40),)
    assert shared.unpack(TEA, KEY, shared.pack(KEY, noted)) == noted
    assert judge(view(noted, A, B), SetInSync(1, TEA, "a", 3, 7, ("a", "b"), ("b",))).changes == ()


def test_who_is_there_decides_over_a_failover() -> None:
    claim = Claim(1, TEA, B, ClaimKind.FAILOVER, 3)
    refused = judge(view(RECORD, A, B, lease=THEIRS), claim).reply
    assert isinstance(refused, Refused)
    assert refused.code is RefusalCode.ALIVE
    granted = judge(view(RECORD, B), claim).reply
    assert isinstance(granted, Granted)
    assert (granted.record.epoch, granted.record.active) == (4, B)


def test_a_damaged_record_is_refused_by_name_and_never_replaced() -> None:
    seen = View(TEA, 1, 50, {KEY: Row(Damaged("its checksum is wrong"), 40)})
    for request in (Claim(1, TEA, A, ClaimKind.FIRST, 0, "log"), Resolve(1, limits.PROTOCOL, TEA)):
        verdict = judge(seen, request)
        assert verdict.changes == ()
        assert isinstance(verdict.reply, Refused)
        assert verdict.reply.code is RefusalCode.STORE_FAILED
        assert "/relevo/tea/record in etcd is damaged" in verdict.reply.message


def test_damaged_presence_is_nobody_and_replaced_by_whoever_comes() -> None:
    key = shared.presence_key(TEA, "b")
    seen = View(TEA, 1, 50, {KEY: Row(RECORD, 40), key: Row(Damaged("x"), 41)})
    assert shared.damage(seen) == "/relevo/tea/servers/b in etcd is damaged and is not used: x"
    assert isinstance(judge(seen, Leave(1, TEA, "b")).reply, Done)
    verdict = judge(seen, Register(1, limits.PROTOCOL, TEA, B))
    assert verdict.changes == (Change(key, Presence(B, True), 41, OURS),)
    assert shared.damage(view(RECORD, A)) == ""


def test_the_silent_are_struck_off_by_the_zdns_they_talked_to() -> None:
    key = shared.presence_key(TEA, "b")
    assert shared.overdue(view(RECORD, B), "b", OURS) == (Change(key, None, 40),)
    assert shared.overdue(view(RECORD, B, lease=THEIRS), "b", OURS) == ()
    assert shared.overdue(view(RECORD, A), "b", OURS) == ()
    assert shared.owned(view(RECORD, A, B), OURS) == ["a", "b"]
    assert shared.owned(view(RECORD, A, B), THEIRS) == []


def test_a_doubtful_change_is_settled_by_what_is_there() -> None:
    put = Change(shared.presence_key(TEA, "b"), Presence(B, True), 0, OURS)
    assert shared.applied(view(RECORD, B), [Change(KEY, RECORD, 30), put])
    assert not shared.applied(view(RECORD, B, lease=THEIRS), [put])
    assert not shared.applied(view(RECORD, A), [put])
    assert not shared.applied(view(Record(TEA, 3, 8, "log", A, (A,))), [Change(KEY, RECORD, 30)])
    gone = Change(shared.presence_key(TEA, "b"), None, 40)
    assert shared.applied(view(RECORD, A), [gone])
    assert not shared.applied(view(RECORD, B), [gone])


def test_a_name_that_is_none_is_refused() -> None:
    verdict = judge(View("", 0, 0, {}), Register(1, limits.PROTOCOL, "../etc", A))
    assert isinstance(verdict.reply, Refused)
    assert (verdict.reply.code, verdict.changes) == (RefusalCode.BAD_NAME, ())


# --- several zdns at once ---------------------------------------------------------------------------------------------


class SeveralZdns(RuleBasedStateMachine):
    """Some zdns read, judge and write in any order, and writes are carried out late or their answers lost."""

    def __init__(self) -> None:
        super().__init__()
        self.revision = 1
        self.rows: dict[str, Row] = {}
        self.views = [View(TEA, 1, 1, {}) for _ in range(3)]
        self.late: list[tuple[Change, ...]] = []  # sent, and not yet carried out
        self.granted: dict[int, str] = {}
        self.history: list[Record] = []

    def read(self, zdns: int) -> None:
        was = self.views[zdns]
        changed = {key: row for key, row in self.rows.items() if row.revision > was.revision}
        merged = was.merged(Range(1, self.revision, changed, len(self.rows)))
        self.views[zdns] = merged or View(TEA, 1, self.revision, dict(self.rows))
        assert self.views[zdns].rows == self.rows, "a view is exactly what there is"

    def write(self, changes: tuple[Change, ...]) -> bool:
        if any(
            (self.rows[key].revision if key in self.rows else 0) != revision for key, revision in revisions(changes)
        ):
            return False
        self.revision += 1
        for change in changes:
            if change.value is None:
                del self.rows[change.key]
            else:
                self.rows[change.key] = Row(change.value, self.revision, change.lease)
            if isinstance(change.value, Record):
                self.history.append(change.value)
        return True

    @rule(zdns=st.integers(0, 2))
    def look(self, zdns: int) -> None:
        """A zdns reads; between this and its next question others may write."""
        self.read(zdns)

    @rule(
        zdns=st.integers(0, 2),
        server=st.sampled_from([A, B, C]),
        what=st.integers(0, 8),
        fate=st.sampled_from(["done", "done", "late", "lost"]),
    )
    def ask(self, zdns: int, server: ServerInfo, what: int, fate: str) -> None:
        """One request, judged by what this zdns has read last, however old."""
        seen = self.views[zdns]
        record = seen.record or RECORD
        others = [one for one in (A, B, C) if one != server]
        requests: list[NameRequest] = [
            Register(1, limits.PROTOCOL, TEA, server),
            Claim(1, TEA, server, ClaimKind.FIRST, 0, "log"),
            Claim(1, TEA, server, ClaimKind.FAILOVER, record.epoch),
            Claim(1, TEA, server, ClaimKind.FRESH, record.epoch, "log2"),
            Transfer(1, TEA, server.id, record.epoch, record.version, others[1].id),
            SetInSync(1, TEA, server.id, record.epoch, record.version, (server.id, others[1].id), (others[1].id,)),
            Leave(1, TEA, server.id, ends=True),
            Claim(1, TEA, server, ClaimKind.FAILOVER, record.epoch, unreachable=True),
            Register(1, limits.PROTOCOL, TEA, server, Record(TEA, record.epoch + 5, 99, "log3", server, (server,))),
        ]
        verdict = judge(seen, requests[what], lease=100 + zdns)
        if fate == "late" and verdict.changes:
            self.late.append(verdict.changes)
            return
        done = not verdict.changes or self.write(verdict.changes)
        if verdict.changes:
            self.read(zdns)
        if fate == "lost":
            done = shared.applied(self.views[zdns], verdict.changes)
        if done and verdict.changes:
            self.told(verdict.reply)

    @rule()
    def carry_out_late(self) -> None:
        """A write whose sender has given up reaches the store."""
        if self.late:
            self.write(self.late.pop(0))

    def told(self, reply: DnsReply) -> None:
        if isinstance(reply, Granted):
            active = self.granted.setdefault(reply.record.epoch, reply.record.active.id)
            assert active == reply.record.active.id, "an epoch has one server"

    @invariant()
    def records_only_rise(self) -> None:
        for was, now in zip(self.history, self.history[1:], strict=False):
            assert now.version == was.version + 1
            assert now.epoch in (was.epoch, was.epoch + 1)
            assert now.epoch > was.epoch or now.active == was.active


def revisions(changes: tuple[Change, ...]) -> list[tuple[str, int]]:
    return [(change.key, change.revision) for change in changes]


TestSeveralZdns = SeveralZdns.TestCase
