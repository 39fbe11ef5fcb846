"""The leader: nothing is committed that somebody lacks who may take over, whatever zdns answers and whenever."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import msgspec
import pytest

from broker.history import History
from broker.keeper import BlockRead, Failed
from broker.replication import (
    SETTLE,
    TICK,
    Doubted,
    Learned,
    Line,
    Lost,
    Overtaken,
    Probed,
    Replication,
    Result,
    Said,
    Verdict,
)
from tests.support.histories import SERVICE
from tests.support.replicas import ANA, BO, CY, DEE, STATE, closed, grow, history_of, opened, record, sent, timers
from wire import limits
from wire.errors import RefusalCode
from wire.messages import (
    Align,
    Append,
    Decline,
    Dismiss,
    DnsReply,
    Done,
    Expect,
    Follow,
    FollowerState,
    Following,
    Granted,
    Have,
    Keep,
    LinkAsk,
    LinkAt,
    Message,
    NameRequest,
    Outdated,
    Pick,
    Picked,
    Ready,
    Record,
    Refused,
    RoomState,
    Sealed,
    ServerInfo,
    SetInSync,
    TakeOver,
    Withdraw,
)
from wire.names import LinkId
from wire.step import CloseLink, Command, LinkKind, OpenLink, Send, StartTimer

EPOCH = 4
RETRY = StartTimer(SETTLE, limits.TRANSFER_RETRY_MS)


class Bench:
    """ana leads; its followers and zdns are played by the test."""

    def __init__(self, *in_sync: ServerInfo, entries: int = 5, committed: int = 0, replicas: int = 1) -> None:
        self.asked: list[NameRequest] = []
        self.deadlines: list[int | None] = []
        self.reads: list[tuple[int, int, int, BlockRead, Failed]] = []
        self.banned: list[str] = []
        self.history = history_of((2, entries))
        self.record = record(EPOCH, 7, ANA, *in_sync)
        self.start_committed = committed
        self.now_ms = 1_000
        self.names = 0
        self.states_made = 0
        self.commands: list[Command] = []
        self.verdicts: list[Verdict] = []
        self.links: dict[str, LinkId] = {}
        self.pairs: dict[str, str] = {}
        self.followers = Replication(
            service=SERVICE,
            replicas=replicas,
            new_link=lambda: LinkId(self.new_name("link")),
            new_pair=lambda: self.new_name("pair"),
            ask=self.ask,
            read=self.read,
            is_banned=lambda key: key in self.banned,
        )

    def new_name(self, kind: str) -> str:
        self.names += 1
        return f"{kind}-{self.names}"

    def ask(self, request: NameRequest, deadline_ms: int | None) -> list[Command]:
        self.asked.append(request)
        self.deadlines.append(deadline_ms)
        return []

    def read(self, first: int, last: int, count_max: int, then: BlockRead, failed: Failed) -> list[Command]:
        self.reads.append((first, last, count_max, then, failed))
        return []

    def note(self, result: Result | list[Command]) -> list[Verdict]:
        self.commands, self.verdicts = result if isinstance(result, tuple) else (result, [])
        for command in self.commands:
            match command:
                case OpenLink(link, _, endpoint):
                    self.links[nick_in(endpoint)] = link
                case Send(link, (LinkAsk() | Follow()) as message):
                    nick = next(nick for nick, known in self.links.items() if known == link)
                    self.pairs[nick] = message.pair
        return self.verdicts

    def begin(self, *, line: Line | None = None, gone: str = "", kept: int | None = None) -> "Bench":
        if line is not None:
            self.links[line.server.name] = line.link
        begun = self.followers.begin(
            me=ANA,
            record=self.record,
            history=self.history,
            committed=self.start_committed,
            line=line,
            gone=gone,
            state=self.state,
            kept=kept,
            now_ms=self.now_ms,
        )
        self.note(begun)
        return self

    def state(self) -> RoomState:
        self.states_made += 1
        return STATE

    # --- what followers say ---

    def hear(self, server: ServerInfo, message: Message) -> list[Verdict]:
        return self.note(self.followers.received(self.links[server.name], message, self.now_ms))

    def link_at(self, server: ServerInfo) -> list[Verdict]:
        return self.hear(server, LinkAt(self.pairs[server.name], (f"tcp://{server.name}:9",)))

    def following(self, server: ServerInfo, have: int = 0, *, safe: int = -1, **more: object) -> list[Verdict]:
        """It has `have` entries of ours (`copy`: or a history of its own)."""
        copy = more.get("copy", self.history)
        assert isinstance(copy, History)
        committed = more.get("committed", 0)
        assert isinstance(committed, int)
        have = have if copy is self.history else copy.head
        runs = copy.runs(committed)
        safe = have if safe < 0 else safe
        message = Following(self.pairs[server.name], have, committed, runs, safe, volatile=bool(more.get("volatile")))
        return self.hear(server, message)

    def have(self, server: ServerInfo, seq: int, epoch: int = EPOCH) -> list[Verdict]:
        return self.hear(server, Have(self.pairs[server.name], epoch, seq))

    def down(self, server: ServerInfo) -> list[Verdict]:
        return self.note(self.followers.link_down(self.links[server.name], "it broke", self.now_ms))

    def linked(self, *servers: ServerInfo, have: int = 0) -> "Bench":
        """They follow, with so many entries."""
        for server in servers:
            self.link_at(server)
            self.following(server, have)
        return self

    def recruited(self, server: ServerInfo, have: int = 0) -> "Bench":
        """zdns names it, and it follows."""
        self.tick(limits.RECRUIT_MS)
        assert isinstance(self.asked[-1], Pick)
        self.answer(Picked(0, server))
        return self.linked(server, have=have)

    def aimed(self, server: ServerInfo, have: int = 0) -> "Bench":
        self.note(self.followers.aim(server, self.now_ms))
        return self.linked(server, have=have)

    # --- what time and zdns bring ---

    def tick(self, after_ms: int = limits.KEEP_MS) -> list[Verdict]:
        """So much later; everybody who follows was heard all the while, and time was told all the while."""
        for _ in range(0, after_ms, limits.KEEP_MS):
            self.now_ms += limits.KEEP_MS
            for nick in [state.name for state in self.followers.states() if state.phase in ("copying", "in sync")]:
                self.followers.received(self.links[nick], Keep(self.pairs[nick], EPOCH, 0, self.record), self.now_ms)
            verdicts = self.note(self.followers.timer(TICK, self.now_ms))
        return verdicts

    def silent_tick(self, after_ms: int) -> list[Verdict]:
        """So much later; nobody was heard."""
        said: list[Verdict] = []
        for _ in range(0, after_ms, limits.KEEP_MS):
            self.now_ms += limits.KEEP_MS
            said += self.note(self.followers.timer(TICK, self.now_ms))
        return said

    def answer(self, reply: DnsReply, request: NameRequest | None = None) -> list[Verdict]:
        return self.note(self.followers.answered(request or self.asked[-1], reply, self.now_ms))

    def grant(self) -> list[Verdict]:
        """zdns does what it was asked for last."""
        request = self.changes()[-1]
        return self.answer(Granted(0, changed(self.followers.record, request)), request)

    def changes(self) -> list[SetInSync]:
        return [request for request in self.asked if isinstance(request, SetInSync)]

    def settle(self) -> list[Command]:
        """The timer after which zdns is asked again."""
        self.note(self.followers.timer(SETTLE, self.now_ms))
        return self.commands

    def mark(self, safe: int | None = None) -> int:
        return self.followers.mark(self.history.head if safe is None else safe)

    def phases(self) -> dict[str, str]:
        return {state.name: state.phase for state in self.followers.states()}


def nick_in(endpoint: str) -> str:
    return endpoint.removeprefix("tcp://").partition(":")[0]


def changed(before: Record, request: SetInSync) -> Record:
    """The record after a change of the list, as zdns makes it."""
    assert (request.epoch, request.version) == (before.epoch, before.version)
    servers = tuple(next(one for one in (ANA, BO, CY, DEE) if one.id == id_) for id_ in request.in_sync)
    return msgspec.structs.replace(before, version=before.version + 1, in_sync=servers, volatile=request.volatile)


def change(version: int, *in_sync: ServerInfo, volatile: tuple[str, ...] = ()) -> SetInSync:
    return SetInSync(0, SERVICE, "ana-id", EPOCH, version, tuple(one.id for one in in_sync), volatile)


def lost(verdicts: Sequence[Verdict]) -> list[tuple[str, str]]:
    return [(verdict.server.name, verdict.why) for verdict in verdicts if isinstance(verdict, Lost)]


# --- beginning ---


def test_whoever_is_alone_on_the_list_commits_what_it_has_for_good_itself() -> None:
    bench = Bench(replicas=0).begin()
    assert bench.commands == [StartTimer(TICK, limits.KEEP_MS)]
    assert (bench.mark(3), bench.mark(5), bench.asked) == (3, 5, [])
    assert not bench.followers.is_replicated


def test_what_is_committed_never_falls() -> None:
    bench = Bench(committed=4, replicas=0).begin()
    assert (bench.mark(2), bench.mark(5), bench.mark(0)) == (4, 5, 5)


def test_everybody_on_the_list_is_linked_to_and_waited_for() -> None:
    bench = Bench(BO, CY, committed=2, replicas=2).begin()
    assert [(one.kind, one.endpoint) for one in opened(bench.commands)] == [
        (LinkKind.ROOM_CONNECT, "tcp://bo:1"),
        (LinkKind.ROOM_CONNECT, "tcp://cy:1"),
    ]
    assert sent(bench.commands, LinkAsk) == [
        LinkAsk(limits.PROTOCOL, SERVICE, bench.pairs[nick], ANA) for nick in ("bo", "cy")
    ]
    assert (bench.mark(), bench.asked) == (2, [])
    bench.linked(BO, have=5)
    assert bench.mark() == 2, "cy has not said what it has"
    bench.linked(CY, have=3)
    assert bench.mark() == 3
    assert bench.phases() == {"bo": "in sync", "cy": "in sync"}


def test_who_is_dead_or_has_no_address_is_struck_off_before_anything_is_committed() -> None:
    nowhere = replace_router(CY)
    bench = Bench(BO, nowhere, committed=2).begin(gone="bo-id")
    assert opened(bench.commands) == []
    assert bench.asked == [change(7, ANA)]
    assert bench.mark() == 2
    bench.grant()
    assert bench.mark() == 5


def replace_router(server: ServerInfo) -> ServerInfo:
    return msgspec.structs.replace(server, router=())


def test_whoever_led_before_is_led_over_the_same_link() -> None:
    bench = Bench(BO, CY, replicas=2).begin(line=Line(LinkId("same"), "pair-of-us", BO))
    assert [one.endpoint for one in opened(bench.commands)] == ["tcp://cy:1"]
    (follow,) = sent(bench.commands, Follow, LinkId("same"))
    assert (follow.pair, follow.leader, follow.record, follow.number) == ("pair-of-us", ANA, bench.record, 1)
    bench.following(BO, 5)
    assert sent(bench.commands, Align) == [Align("pair-of-us", 5, 0)]


def test_a_link_to_somebody_whom_zdns_has_struck_off_is_closed() -> None:
    bench = Bench(CY).begin(line=Line(LinkId("same"), "pair-of-us", BO))
    assert closed(bench.commands) == ["same"]
    dead = Bench(BO).begin(line=Line(LinkId("same"), "pair-of-us", BO), gone="bo-id")
    assert closed(dead.commands) == ["same"]
    assert dead.asked == [change(7, ANA)]


# --- a follower comes ---


def test_the_whole_way_onto_the_list_in_its_order() -> None:
    bench = Bench(entries=3).begin()
    bench.tick(100)
    assert bench.asked == [Pick(0, SERVICE, "ana-id")]
    assert bench.deadlines == [limits.HANDOVER_STEP_MS]
    bench.answer(Picked(0, BO))
    pair, link = bench.pairs["bo"], bench.links["bo"]
    assert bench.commands == [
        OpenLink(link, LinkKind.ROOM_CONNECT, "tcp://bo:1"),
        Send(link, LinkAsk(limits.PROTOCOL, SERVICE, pair, ANA)),
    ]
    assert bench.followers.owns(link)
    bench.link_at(BO)
    new = bench.links["bo"]
    assert bench.commands == [
        CloseLink(link),
        OpenLink(new, LinkKind.COPY_CONNECT, "tcp://bo:9"),
        Send(new, Follow(pair, SERVICE, ANA, bench.record, 1, 3, bench.history.bytes_count, STATE)),
    ]
    bench.following(BO, 0)
    assert bench.commands == [
        Send(new, Align(pair, 0, 0)),
        Send(new, Append(pair, EPOCH, 0, 1, 0, *bench.history.block(1, 3))),
    ]
    assert bench.changes() == [change(7, ANA, BO)], "it has all that is committed, which is nothing"
    assert bench.phases() == {"bo": "copying"}
    assert bench.grant() == [Learned(record(EPOCH, 8, ANA, BO))]
    assert bench.phases() == {"bo": "in sync"}
    assert bench.commands == [Send(new, Keep(pair, EPOCH, 0, record(EPOCH, 8, ANA, BO)))], "it is to know that at once"
    bench.have(BO, 3)
    assert bench.mark() == 3
    assert bench.commands == []


def test_nobody_comes_onto_the_list_who_lacks_something_committed() -> None:
    bench = Bench(committed=4).begin().recruited(BO, have=3)
    assert bench.changes() == []
    assert bench.mark() == 5, "and nobody waits for it"
    bench.have(BO, 4)
    assert bench.changes() == []
    bench.have(BO, 5)
    assert bench.changes() == [change(7, ANA, BO)]
    assert bench.deadlines[-1] is None


def test_whoever_is_on_the_list_and_lacks_something_committed_goes_from_it_and_catches_up() -> None:
    """It was put there when it had all, and has let go of its copy since."""
    bench = Bench(BO, committed=4).begin()
    bench.link_at(BO)
    bench.following(BO, 2)
    assert bench.phases() == {"bo": "copying"}
    assert bench.changes() == [change(7, ANA)]
    assert bench.mark() == 4
    bench.grant()
    assert (bench.phases(), sent(bench.commands, Dismiss)) == ({"bo": "copying"}, [])
    assert bench.mark() == 5
    bench.have(BO, 5)
    assert bench.changes()[1:] == [change(8, ANA, BO)]


def steady_load(bench: Bench) -> int:
    """More is posted and sent on to everybody; returns what is committed by then."""
    grow(bench.history, 10, 4)
    bench.note(bench.followers.pump(bench.now_ms))
    return bench.mark()


def test_a_follower_that_is_quick_enough_is_waited_for_so_that_it_can_be_put_on_the_list() -> None:
    bench = Bench(entries=600, committed=600).begin().recruited(BO, have=10)
    bench.have(BO, 599)
    assert steady_load(bench) == 610, "it has not even what there was at the last sign of life"
    bench.have(BO, 600)
    assert steady_load(bench) == 610
    assert bench.changes() == []
    bench.have(BO, 609)
    assert bench.changes() == []
    bench.have(BO, 610)
    assert bench.changes() == [change(7, ANA, BO)], "it has all that is committed now, though not all there is"
    bench.grant()
    bench.have(BO, 615)
    assert bench.mark() == 615


def awaited(bench: Bench) -> Bench:
    """A bench at which bo has what there was at the last sign of life, and lacks what was committed since."""
    assert steady_load(bench) == 610
    bench.have(BO, 600)
    return bench


def test_whoever_was_waited_for_and_is_lost_holds_nothing_up_any_more() -> None:
    bench = awaited(Bench(entries=600, committed=600).begin().recruited(BO, have=10))
    assert steady_load(bench) == 610
    bench.down(BO)
    assert (bench.mark(), bench.changes()) == (620, [])
    silent = awaited(Bench(entries=600, committed=600).begin().recruited(BO, have=10))
    assert [nick for nick, _ in lost(silent.silent_tick(limits.FOLLOWER_SILENT_MS + limits.KEEP_MS))] == ["bo"]


def test_nobody_is_waited_for_where_there_are_enough_but_for_the_target_of_a_handover() -> None:
    for is_target in (False, True):
        bench = Bench(CY, entries=600, committed=600).begin().linked(CY, have=600).aimed(BO, have=10)
        if not is_target:
            bench.note(bench.followers.give_up_target())
        steady_load(bench)
        bench.have(CY, 610)
        assert bench.mark() == 610
        bench.have(BO, 600)
        steady_load(bench)
        bench.have(CY, 620)
        assert bench.mark() == (610 if is_target else 620)


def test_each_link_of_an_epoch_has_a_higher_number() -> None:
    bench = Bench(BO, CY, replicas=2).begin()
    numbers = []
    for server in (BO, CY):
        bench.link_at(server)
        numbers += [follow.number for follow in sent(bench.commands, Follow)]
        bench.following(server, 5)
    bench.down(CY)
    bench.grant()
    bench.tick(limits.RECRUIT_MS + limits.KEEP_MS)
    bench.answer(Picked(0, CY))
    bench.link_at(CY)
    numbers += [follow.number for follow in sent(bench.commands, Follow)]
    assert numbers == [1, 2, 3]


def test_a_copy_is_aligned_where_it_really_parts_from_ours_and_counts_up_to_there_only() -> None:
    bench = Bench(BO, entries=0, committed=2)
    bench.history = history_of((1, 3), (4, 4))
    bench.begin()
    bench.link_at(BO)
    bench.following(BO, copy=history_of((1, 3), (3, 6)), committed=2)
    assert sent(bench.commands, Align) == [Align(bench.pairs["bo"], 3, 2)]
    (append,) = sent(bench.commands, Append)
    assert (append.first, append.prev_epoch, append.count, append.committed) == (4, 1, 4, 2)
    assert bench.mark() == 3


def test_only_what_a_follower_has_for_good_counts() -> None:
    bench = Bench(BO, committed=1).begin()
    bench.link_at(BO)
    bench.following(BO, 5, safe=3)
    assert sent(bench.commands, Append) == []
    assert bench.mark() == 3
    bench.have(BO, 5)
    assert bench.mark() == 5


def test_a_copy_of_which_more_is_committed_than_there_is_is_not_led() -> None:
    bench = Bench(BO).begin()
    bench.link_at(BO)
    verdicts = bench.following(BO, copy=history_of((2, 9)), committed=6)
    assert lost(verdicts) == [("bo", "bo says that more was committed than there is")]
    assert sent(bench.commands, Align) == []


@pytest.mark.parametrize("code", [RefusalCode.BUSY, RefusalCode.VERSION])
def test_a_server_that_will_not_be_linked_to_is_lost_with_its_reason(code: RefusalCode) -> None:
    bench = Bench().begin()
    bench.tick()
    bench.answer(Picked(0, BO))
    assert bench.hear(BO, Refused(0, code, "it serves")) == [Lost(BO, code, "bo refused: it serves")]
    assert closed(bench.commands) == [bench.links["bo"]]


def test_a_follower_that_keeps_all_in_memory_is_told_to_zdns() -> None:
    bench = Bench().begin()
    bench.tick()
    bench.answer(Picked(0, BO))
    bench.link_at(BO)
    bench.following(BO, 5, volatile=True)
    assert bench.changes() == [change(7, ANA, BO, volatile=("bo-id",))]
    bench.grant()
    assert len(bench.changes()) == 1


def test_a_listed_follower_that_keeps_all_in_memory_now_is_told_to_zdns() -> None:
    bench = Bench(BO).begin()
    bench.link_at(BO)
    bench.following(BO, 5, volatile=True)
    assert bench.changes() == [change(7, ANA, BO, volatile=("bo-id",))]


def test_whom_zdns_knows_to_be_volatile_stays_so_until_it_says_otherwise_and_has_all() -> None:
    bench = Bench(BO, CY, replicas=2, committed=4)
    bench.record = record(EPOCH, 7, ANA, BO, CY, volatile=(BO, CY))
    bench.begin()
    assert bench.asked == []
    bench.link_at(CY)
    bench.following(CY, 5, volatile=True)
    bench.link_at(BO)
    assert bench.asked == []
    bench.following(BO, 5, safe=4)
    assert bench.asked == [change(7, ANA, BO, CY, volatile=("cy-id",))]
    bench.grant()
    assert len(bench.asked) == 1


def test_a_leader_whose_disk_has_failed_tells_zdns() -> None:
    bench = Bench(BO).begin().linked(BO, have=5)
    bench.note(bench.followers.disk_failed(5))
    assert bench.asked == [change(7, ANA, BO, volatile=("ana-id",))]
    assert bench.grant() == [Learned(record(EPOCH, 8, ANA, BO, volatile=(ANA,)))]
    bench.note(bench.followers.disk_failed(5))
    assert len(bench.asked) == 1


def test_a_leader_that_begins_with_a_disk_that_has_failed_is_volatile_from_the_beginning() -> None:
    bench = Bench(BO).begin(kept=0)
    assert bench.asked == [change(7, ANA, BO, volatile=("ana-id",))]
    known = Bench(BO)
    known.record = record(EPOCH, 7, ANA, BO, volatile=(ANA,))
    assert known.begin(kept=0).asked == []


def test_a_leader_that_is_alone_is_volatile_only_if_its_disk_lacks_something_committed() -> None:
    bench = Bench(BO, committed=3).begin(kept=3)
    assert bench.asked == [change(7, ANA, BO, volatile=("ana-id",))]
    bench.grant()
    bench.linked(BO, have=3)
    bench.down(BO)
    assert bench.changes()[1:] == [change(8, ANA)], "what it commits now is on its disk"
    lacking = Bench(BO, committed=3).begin(kept=3)
    lacking.grant()
    lacking.linked(BO, have=4)
    assert lacking.mark() == 4
    lacking.down(BO)
    assert lacking.changes()[1:] == [change(8, ANA, volatile=("ana-id",))]


def test_memory_counts_only_while_zdns_knows_of_it_whatever_it_is_asked() -> None:
    bench = Bench(BO).begin(kept=0)
    assert not bench.followers.memory_counts
    bench.grant()
    bench.linked(BO, have=5)
    assert bench.followers.memory_counts
    bench.down(BO)
    assert bench.changes()[-1] == change(8, ANA), "nothing is committed yet, so what is on disk would do"
    bench.aimed(BO, have=5)
    assert bench.followers.is_replicated
    assert not bench.followers.memory_counts, "zdns may be about to forget that the disk lacks it"


def test_whoever_is_to_take_over_is_kept_though_it_was_struck_off_just_before() -> None:
    bench = Bench(BO).begin().linked(BO, have=5)
    bench.down(BO)
    bench.aimed(BO, have=5)
    bench.grant()
    assert not sent(bench.commands, Dismiss)
    assert bench.followers.lag(BO.id) == 0
    assert bench.changes()[-1] == change(8, ANA, BO), "and put on the list again"


def test_with_a_failed_disk_one_follower_is_wanted_even_if_none_was() -> None:
    bench = Bench(replicas=0).begin()
    bench.note(bench.followers.timer(TICK, bench.now_ms + limits.RECRUIT_MS))
    assert not [request for request in bench.asked if isinstance(request, Pick)]
    bench.note(bench.followers.disk_failed(5))
    bench.note(bench.followers.timer(TICK, bench.now_ms + 2 * limits.RECRUIT_MS))
    assert [request for request in bench.asked if isinstance(request, Pick)]


# --- sending ---


def test_no_more_is_under_way_to_a_follower_than_the_window_holds() -> None:
    bench = Bench(BO, entries=0).begin()
    grow(bench.history, 400, 4, "x" * 8_000)
    bench.linked(BO)
    blocks = sent(bench.commands, Append)
    assert sum(len(append.block) for append in blocks[:-1]) < limits.WINDOW_BYTES
    assert sum(len(append.block) for append in blocks) >= limits.WINDOW_BYTES
    assert [append.first for append in blocks[1:]] == [append.first + append.count for append in blocks[:-1]]
    bench.note(bench.followers.pump(bench.now_ms))
    assert bench.commands == []
    bench.have(BO, blocks[0].count - 1)
    assert bench.commands == [], "a block counts until all of it is there"
    bench.have(BO, blocks[0].count)
    (more,) = sent(bench.commands, Append)
    assert more.first == blocks[-1].first + blocks[-1].count
    while bench.mark() < 400:
        last = sent(bench.commands, Append)[-1]
        bench.have(BO, last.first + last.count - 1)
    assert bench.history.head == 400


def test_many_small_blocks_are_bounded_too() -> None:
    bench = Bench(BO, entries=0).begin().linked(BO)
    blocks = 0
    for _ in range(limits.WINDOW_BLOCKS + 5):
        grow(bench.history, 1, 4)
        bench.note(bench.followers.pump(bench.now_ms))
        blocks += len(sent(bench.commands, Append))
    assert blocks == limits.WINDOW_BLOCKS


def test_nothing_is_sent_before_it_is_known_what_a_follower_has() -> None:
    bench = Bench(BO).begin()
    bench.note(bench.followers.pump(bench.now_ms))
    assert bench.commands == []
    bench.link_at(BO)
    bench.note(bench.followers.pump(bench.now_ms))
    assert bench.commands == []


def test_every_follower_gets_what_is_new_with_what_is_committed() -> None:
    bench = Bench(BO, CY, replicas=2, committed=5).begin().linked(BO, CY, have=5)
    grow(bench.history, 2, 4)
    bench.note(bench.followers.pump(bench.now_ms))
    block = bench.history.block(6, 7)
    assert sent(bench.commands, Append) == [Append(bench.pairs[nick], EPOCH, 5, 6, 2, *block) for nick in ("bo", "cy")]


@pytest.fixture
def trimmed(monkeypatch: pytest.MonkeyPatch) -> History:
    """Entries 1 … 128 of 200 are on disk only."""
    monkeypatch.setattr(limits, "TAIL_BYTES_MAX", 100)
    monkeypatch.setattr(limits, "TAIL_ENTRIES_MIN", 64)
    history = history_of((2, 200))
    history.forget_below(129)
    assert history.first == 129
    return history


def test_what_is_in_memory_no_more_is_read_once_and_then_sent(trimmed: History) -> None:
    bench = Bench(BO)
    bench.history = trimmed
    bench.begin().linked(BO, have=7)
    assert sent(bench.commands, Append) == []
    ((first, last, count_max, then, _),) = bench.reads
    assert (first, last, count_max) == (8, 128, limits.BLOCK_ENTRIES_MAX)
    bench.note(bench.followers.pump(bench.now_ms))
    assert len(bench.reads) == 1
    whole = history_of((2, 200))
    bench.note(then(*whole.block(8, 100)))
    assert sent(bench.commands, Append) == [Append(bench.pairs["bo"], EPOCH, 0, 8, 2, *whole.block(8, 100))]
    bench.note(bench.followers.pump(bench.now_ms))
    assert bench.reads[1][:2] == (101, 128)
    bench.note(bench.reads[1][3](*whole.block(101, 128)))
    bench.note(bench.followers.pump(bench.now_ms))
    assert [append.first for append in sent(bench.commands, Append)] == [129]
    assert bench.have(BO, 200) == []
    assert bench.mark() == 200


def test_what_could_not_be_read_is_tried_again(trimmed: History) -> None:
    bench = Bench(BO)
    bench.history = trimmed
    bench.begin().linked(BO, have=7)
    for is_empty in (True, False):
        *_, then, failed = bench.reads[-1]
        bench.note(then(0, b"") if is_empty else failed("too many ask"))
        assert bench.commands == []
        bench.tick()
        bench.note(bench.followers.pump(bench.now_ms))
    assert [read[:2] for read in bench.reads] == [(8, 128)] * 3


@pytest.mark.parametrize("is_read", [True, False])
def test_what_is_read_for_a_follower_that_is_gone_or_linked_anew_is_not_sent(trimmed: History, is_read: bool) -> None:
    bench = Bench(BO)
    bench.history = trimmed
    bench.begin().linked(BO, have=7)
    *_, then, failed = bench.reads[0]

    def come() -> list[Command]:
        return then(*history_of((2, 200)).block(8, 9)) if is_read else failed("no")

    bench.down(BO)
    assert come() == []
    bench.grant()
    bench.tick(limits.RECRUIT_MS + limits.KEEP_MS)
    bench.answer(Picked(0, BO))
    bench.linked(BO, have=7)
    assert len(bench.reads) == 2
    assert come() == []
    bench.note(bench.followers.pump(bench.now_ms))
    assert len(bench.reads) == 2, "the new one is still being read for"


def test_a_follower_for_which_nothing_can_be_read_is_given_up(trimmed: History) -> None:
    bench = Bench(BO)
    bench.history = trimmed
    bench.begin().linked(BO, have=7)
    said: list[Verdict] = []
    for _ in range(0, 2 * limits.LINK_STEP_MS, limits.KEEP_MS):
        bench.reads[-1][4]("the disk is gone")
        said += bench.tick()
        if bench.changes():
            break
        bench.note(bench.followers.pump(bench.now_ms))
    assert [nick for nick, _ in lost(said)] == ["bo"]
    assert bench.changes() == [change(7, ANA)]


def test_what_could_not_be_read_is_not_tried_again_before_the_next_tick(trimmed: History) -> None:
    bench = Bench(BO)
    bench.history = trimmed
    bench.begin().linked(BO, have=7)
    bench.reads[0][4]("too many ask")
    bench.note(bench.followers.pump(bench.now_ms))
    assert len(bench.reads) == 1
    bench.tick()
    bench.note(bench.followers.pump(bench.now_ms))
    assert len(bench.reads) == 2


# --- committing ---


def test_nobody_is_waited_for_when_all_is_committed_though_it_is_not_known_what_they_have() -> None:
    bench = Bench(BO, committed=5).begin()
    assert bench.followers.waits_for() == ""
    grow(bench.history, 1, 4)
    assert bench.followers.waits_for() == "waiting for bo"


def test_whoever_is_waited_for_is_called_by_name_also_when_not_on_the_list_yet() -> None:
    bench = Bench(committed=5).begin().recruited(BO, have=5)
    grow(bench.history, 1, 4)
    assert bench.followers.waits_for() == "waiting for bo"


def test_whoever_is_on_a_new_list_is_told_of_it_at_once_and_nobody_else_is() -> None:
    bench = Bench(BO, CY, DEE, replicas=3, committed=5).begin().linked(BO, have=5)
    bench.down(DEE)
    bench.grant()
    new = record(EPOCH, 8, ANA, BO, CY)
    assert bench.commands == [Send(bench.links["bo"], Keep(bench.pairs["bo"], EPOCH, 5, new))]


def test_only_who_is_on_the_list_has_everything() -> None:
    bench = Bench(committed=5).begin().recruited(BO, have=5)
    assert not bench.followers.is_replicated
    bench.grant()
    assert bench.followers.is_replicated
    bench.down(BO)
    assert not bench.followers.is_replicated


def test_what_a_listed_follower_has_in_memory_only_counts_once_zdns_knows_that() -> None:
    bench = Bench(BO, committed=1).begin()
    bench.link_at(BO)
    bench.following(BO, 3, volatile=True)
    assert bench.changes() == [change(7, ANA, BO, volatile=("bo-id",))]
    bench.have(BO, 5)
    assert bench.mark() == 3, "so much is on its disk, for all that zdns knows"
    bench.note(bench.followers.unanswered(bench.changes()[0]))
    assert bench.mark() == 3
    bench.settle()
    bench.grant()
    assert bench.mark() == 5


def test_what_a_follower_has_in_memory_only_counts_when_it_is_put_on_the_list_as_such() -> None:
    bench = Bench(committed=3).begin()
    bench.tick()
    bench.answer(Picked(0, BO))
    bench.link_at(BO)
    bench.following(BO, 3, volatile=True)
    assert bench.changes() == [change(7, ANA, BO, volatile=("bo-id",))]
    bench.have(BO, 5)
    assert bench.mark() == 5
    bench.grant()
    grow(bench.history, 1, 4)
    bench.note(bench.followers.pump(bench.now_ms))
    bench.have(BO, 6)
    assert bench.mark() == 6


def test_an_entry_is_committed_when_everybody_on_the_list_and_we_ourselves_have_it() -> None:
    bench = Bench(BO, CY, replicas=2).begin().linked(BO, CY)
    assert bench.mark() == 0
    bench.have(BO, 4)
    assert bench.mark() == 0
    bench.have(CY, 2)
    assert (bench.mark(1), bench.mark(5)) == (1, 2)
    assert bench.followers.waits_for() == "waiting for bo, cy"
    bench.have(CY, 5)
    assert bench.mark() == 4
    assert bench.followers.waits_for() == "waiting for bo"
    bench.have(BO, 5)
    assert (bench.mark(), bench.followers.waits_for()) == (5, "")


def test_a_follower_that_says_it_has_more_than_it_was_sent_is_believed_nothing() -> None:
    bench = Bench(BO).begin().linked(BO)
    assert lost(bench.have(BO, 6)) == [("bo", "bo says that it has more than it was sent")]
    assert bench.mark() == 0
    assert bench.asked == [change(7, ANA)]
    window = Bench(BO, entries=0).begin()
    grow(window.history, 400, 4, "x" * 8_000)
    window.linked(BO)
    last = sent(window.commands, Append)[-1]
    assert lost(window.have(BO, last.first + last.count)) != [], "though there is more"


def test_what_a_follower_had_in_another_epoch_is_not_what_it_has_now() -> None:
    bench = Bench(BO).begin().linked(BO)
    for epoch in (EPOCH - 1, EPOCH + 1):
        assert bench.have(BO, 5, epoch) == []
        assert bench.mark() == 0


def test_a_follower_that_was_heard_late_does_not_lose_what_it_had() -> None:
    bench = Bench(BO).begin().linked(BO)
    bench.have(BO, 5)
    bench.have(BO, 3)
    assert bench.mark() == 5


def test_somebody_who_is_just_being_added_is_waited_for_until_zdns_says_otherwise() -> None:
    bench = Bench(committed=5).begin().recruited(BO, have=5)
    assert bench.changes() == [change(7, ANA, BO)]
    grow(bench.history, 3, 4)
    bench.note(bench.followers.pump(bench.now_ms))
    assert bench.mark() == 5, "zdns may have added it already"
    bench.note(bench.followers.unanswered(bench.changes()[-1]))
    assert bench.commands == [RETRY]
    assert bench.mark() == 5
    bench.settle()
    assert bench.changes() == [change(7, ANA, BO)] * 2, "the very same again"
    bench.have(BO, 7)
    assert bench.mark() == 7
    bench.grant()
    assert bench.mark() == 7
    bench.have(BO, 8)
    assert bench.mark() == 8


def test_somebody_who_is_lost_while_being_added_is_waited_for_until_it_is_struck_off_again() -> None:
    bench = Bench(committed=5).begin().recruited(BO, have=5)
    grow(bench.history, 3, 4)
    bench.down(BO)
    assert bench.changes() == [change(7, ANA, BO)], "one change at a time"
    assert bench.mark() == 5
    bench.grant()
    assert bench.changes()[1:] == [change(8, ANA)]
    assert bench.mark() == 5
    bench.grant()
    assert bench.mark() == 8


@pytest.mark.parametrize(
    "reply",
    [
        Refused(0, RefusalCode.STORE_FAILED, "", record(EPOCH, 7, ANA)),
        Refused(0, RefusalCode.STORE_FAILED, ""),
        Refused(0, RefusalCode.BUSY, ""),
        Refused(0, RefusalCode.BUSY, "", record(EPOCH - 1, 90, CY)),
        Refused(0, RefusalCode.STALE_EPOCH, "", record(EPOCH - 1, 90, CY)),
        Refused(0, RefusalCode.NOT_ACTIVE, ""),
        Refused(0, RefusalCode.MALFORMED, ""),
        Done(0),
    ],
)
def test_an_answer_that_settles_nothing_is_asked_again_and_nothing_is_committed_meanwhile(reply: DnsReply) -> None:
    bench = Bench(committed=5).begin().recruited(BO, have=5)
    grow(bench.history, 3, 4)
    bench.down(BO)
    for times in (2, 3):
        assert bench.answer(reply) == []
        assert bench.commands == [RETRY]
        assert bench.mark() == 5
        bench.settle()
        assert bench.changes() == [change(7, ANA, BO)] * times


def test_a_zdns_that_has_only_an_older_version_is_asked_again_until_it_is_told_ours() -> None:
    bench = Bench(committed=5).begin().recruited(BO, have=5)
    grow(bench.history, 3, 4)
    bench.down(BO)
    assert bench.answer(Refused(0, RefusalCode.STALE_VERSION, "", record(EPOCH, 6, ANA))) == []
    assert bench.commands == [RETRY]
    assert bench.mark() == 5, "a copy of what was asked may come when it has our version"
    bench.settle()
    assert bench.changes() == [change(7, ANA, BO)] * 2


@pytest.mark.parametrize("how", ["broken", "silent", "declined", "lied"])
def test_whoever_is_given_up_is_struck_off_before_anything_is_committed_without_it(how: str) -> None:
    bench = Bench(BO, CY, replicas=2, committed=5).begin().linked(BO, CY, have=5)
    grow(bench.history, 2, 4)
    bench.note(bench.followers.pump(bench.now_ms))
    bench.have(CY, 7)
    if how == "broken":
        verdicts = bench.down(BO)
    elif how == "declined":
        verdicts = bench.hear(BO, Decline(bench.pairs["bo"], "I leave"))
    elif how == "lied":
        verdicts = bench.have(BO, 99)
    else:
        verdicts = []
        while not lost(verdicts):
            bench.have(CY, 7)
            verdicts = bench.silent_tick(limits.KEEP_MS)
    assert [nick for nick, _ in lost(verdicts)] == ["bo"]
    assert bench.changes() == [change(7, ANA, CY)]
    assert bench.deadlines[bench.asked.index(bench.changes()[0])] is None
    assert bench.mark() == 5
    bench.note(bench.followers.unanswered(bench.changes()[0]))
    assert bench.mark() == 5
    bench.settle()
    assert bench.mark() == 5
    bench.grant()
    assert bench.mark() == 7


def given_up() -> Bench:
    """bo is on the list, has been silent, and zdns has not yet answered that it is to be struck off."""
    bench = Bench(BO, committed=5).begin().linked(BO, have=5)
    grow(bench.history, 2, 4)
    assert lost(bench.silent_tick(limits.FOLLOWER_SILENT_MS + limits.KEEP_MS))
    assert bench.changes() == [change(7, ANA)]
    return bench


def test_whoever_was_given_up_and_is_on_the_list_still_is_asked_anew_and_zdns_need_not_answer() -> None:
    bench = given_up()
    bench.silent_tick(limits.RECRUIT_MS - 2 * limits.KEEP_MS)
    assert bench.followers.states() == (), "it is left out for a while"
    bench.silent_tick(2 * limits.KEEP_MS)
    assert [(state.name, state.phase) for state in bench.followers.states()] == [("bo", "linking")]
    bench.linked(BO, have=5)
    assert bench.mark() == 5
    bench.have(BO, 7)
    assert bench.mark() == 7


def test_whoever_came_back_before_it_was_struck_off_is_put_on_the_list_again() -> None:
    bench = given_up()
    bench.silent_tick(limits.RECRUIT_MS + limits.KEEP_MS)
    bench.linked(BO, have=5)
    bench.grant()
    assert sent(bench.commands, Dismiss) == []
    assert bench.changes()[1:] == [change(8, ANA, BO)]
    assert bench.mark() == 5, "zdns may have put it there by now"
    bench.have(BO, 7)
    assert bench.mark() == 7
    bench.grant()
    assert [state.phase for state in bench.followers.states()] == ["in sync"]


def test_whoever_is_banned_is_not_asked_anew() -> None:
    bench = given_up()
    bench.banned.append(BO.key)
    bench.silent_tick(2 * limits.RECRUIT_MS)
    assert bench.followers.states() == ()


def test_another_version_than_we_know_brings_the_list_as_it_really_is() -> None:
    bench = Bench(committed=5).begin().recruited(BO, have=5)
    grow(bench.history, 2, 4)
    stale = Refused(0, RefusalCode.STALE_VERSION, "", record(EPOCH, 9, ANA, BO, CY))
    assert bench.answer(stale, bench.changes()[-1]) == [Learned(record(EPOCH, 9, ANA, BO, CY))]
    assert bench.followers.record == record(EPOCH, 9, ANA, BO, CY)
    assert bench.changes()[1:] == [change(9, ANA, BO)], "nobody knows anything of cy"
    bench.have(BO, 5)
    assert bench.mark() == 5
    bench.grant()
    bench.note(bench.followers.pump(bench.now_ms))
    bench.have(BO, 7)
    assert bench.mark() == 7


def test_a_change_that_was_made_before_its_answer_was_lost_is_recognised() -> None:
    bench = Bench(committed=5).begin().recruited(BO, have=5)
    request = bench.changes()[-1]
    bench.note(bench.followers.unanswered(request))
    bench.settle()
    made = record(EPOCH, 8, ANA, BO)
    assert bench.answer(Refused(0, RefusalCode.STALE_VERSION, "", made), request) == [Learned(made)]
    assert bench.changes() == [request] * 2
    assert bench.settle() == []


def test_the_answer_to_an_earlier_change_is_not_taken_for_that_of_a_later_one() -> None:
    bench = Bench(BO, committed=5).begin().linked(BO, have=5)
    bench.down(BO)
    earlier = msgspec.structs.replace(bench.changes()[-1], version=6)
    grow(bench.history, 2, 4)
    assert bench.answer(Granted(0, record(EPOCH, 7, ANA, BO)), earlier) == []
    assert (bench.commands, bench.mark()) == ([], 5)


def test_somebody_unknown_to_zdns_is_given_up_and_nobody_else() -> None:
    bench = Bench(BO, committed=5, replicas=2).begin().linked(BO, have=5).recruited(CY, have=5)
    request = bench.changes()[-1]
    assert request == change(7, ANA, BO, CY)
    verdicts = bench.answer(Refused(0, RefusalCode.NOT_STANDBY, "", record(EPOCH, 7, ANA, BO)), request)
    assert lost(verdicts) == [("cy", "cy is unknown to zdns")]
    assert bench.phases() == {"bo": "in sync"}
    assert bench.changes() == [request]
    grow(bench.history, 1, 4)
    bench.note(bench.followers.pump(bench.now_ms))
    bench.have(BO, 6)
    assert bench.mark() == 6


def test_somebody_unknown_is_given_up_also_when_the_refusal_has_raised_the_version() -> None:
    """Only then no late copy of the same request can ever be granted."""
    bench = Bench(BO, committed=5, replicas=2).begin().linked(BO, have=5).recruited(CY, have=5)
    request = bench.changes()[-1]
    raised = record(EPOCH, 8, ANA, BO)
    verdicts = bench.answer(Refused(0, RefusalCode.NOT_STANDBY, "", raised), request)
    assert lost(verdicts) == [("cy", "cy is unknown to zdns")]
    assert Learned(raised) in verdicts
    assert (bench.followers.record, bench.changes()) == (raised, [request])


def test_a_higher_epoch_ends_our_own() -> None:
    later = record(EPOCH + 1, 8, BO, ANA)
    for reply in (Refused(0, RefusalCode.STALE_EPOCH, "", later), Granted(0, later)):
        bench = Bench(BO, committed=5).begin().linked(BO, have=5)
        grow(bench.history, 1, 4)
        bench.down(BO)
        assert bench.answer(reply, bench.changes()[-1]) == [Overtaken(later)]
        assert bench.mark() == 5


# --- whatever happens: zdns and its followers as they may be ---


class Zdns:
    """The record; requests may come late and more than once, and answers may be lost."""

    def __init__(self, first: Record) -> None:
        self.record = first

    def decide(self, request: SetInSync) -> DnsReply:
        now = self.record
        wanted = [one.id for one in now.in_sync] == list(request.in_sync)
        if wanted and request.version == now.version - 1:
            return Granted(0, now)
        if request.version != now.version:
            return Refused(0, RefusalCode.STALE_VERSION, "", now)
        self.record = changed(now, request)
        return Granted(0, self.record)

    def turn_away(self, request: SetInSync) -> DnsReply:
        """Somebody new on the list has no lease. With another version no late copy of the request can be granted."""
        listed = {one.id for one in self.record.in_sync}
        if request.version != self.record.version or listed.issuperset(request.in_sync):
            return self.decide(request)
        self.record = msgspec.structs.replace(self.record, version=request.version + 1)
        return Refused(0, RefusalCode.NOT_STANDBY, "", self.record)


DO = (
    "post",
    "post",
    "join",
    "join",
    "have",
    "have",
    "down",
    "decline",
    "grant",
    "grant",
    "late",
    "lose",
    "fail",
    "settle",
    "unknown",
)
Steps = Sequence[tuple[str, ServerInfo, int]]


@pytest.mark.parametrize("first_seed", range(0, 1_200, 200))
def test_whoever_zdns_may_let_take_over_has_all_that_is_committed(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 200):
        random = Random(seed)
        steps = [
            (random.choice(DO), random.choice((BO, BO, CY)), random.randint(0, 3)) for _ in range(random.randint(4, 40))
        ]
        listed = random.choice(((), (BO,), (BO, CY)))
        play(steps, random.choice((0, 1, 1, 2)), listed, f"{seed=}")


@pytest.mark.parametrize(
    "steps",
    [
        "join, lose, down, post",
        "join, down, lose, settle, grant, post",
        "join, fail, down, late, post",
        "post, join 3, grant, post",
        "join, grant, down, lose, join 3, post, settle, grant, post",
        "join, unknown, post, late, post",
    ],
)
def test_what_must_not_be_committed_too_soon(steps: str) -> None:
    """Short ways to lose something, for whoever takes an answer for granted, or a lost one for a no."""
    words = [step.partition(" ") for step in steps.split(", ")]
    play([(what, BO, int(number or 0)) for what, _, number in words], 1, (), steps)


def play(steps: Steps, replicas: int, listed: tuple[ServerInfo, ...], name_of_run: str) -> None:
    bench = Bench(*listed, replicas=replicas).begin()
    zdns = Zdns(bench.record)
    has = {server.id: 0 for server in (BO, CY)}  # what is really there, for good
    late: list[SetInSync] = []
    for what, who, number in steps:
        name, phase = who.name, bench.phases().get(who.name, "")
        request = bench.changes()[-1] if bench.changes() else None
        is_out = bool(bench.followers._asked)
        if what == "post":
            grow(bench.history, 1 + number, 4)
            bench.note(bench.followers.pump(bench.now_ms))
        elif what == "join" and phase in ("", "linking"):
            if not phase:
                bench.answer(Picked(0, who), Pick(0, SERVICE, "ana-id"))
            if name in bench.phases():
                bench.link_at(who)
                has[who.id] = max(has[who.id], bench.history.head - number)
                bench.following(who, has[who.id])
        elif what == "have" and phase in ("copying", "in sync"):
            cursor = bench.followers._followers[who.id].cursor
            has[who.id] = max(has[who.id], cursor - number)
            bench.have(who, has[who.id])
        elif what == "down" and phase:
            bench.down(who)
        elif what == "decline" and phase in ("copying", "in sync"):
            bench.hear(who, Decline(bench.pairs[name], "no"))
        elif what == "grant" and request is not None and is_out:
            late.append(request)
            bench.answer(zdns.decide(request), request)
        elif what == "lose" and request is not None and is_out:
            zdns.decide(request)
            bench.note(bench.followers.unanswered(request))
        elif what == "fail" and request is not None and is_out:
            late.append(request)
            bench.answer(Refused(0, RefusalCode.STORE_FAILED, "", zdns.record), request)
        elif what == "unknown" and request is not None and is_out:
            late.append(request)
            bench.answer(zdns.turn_away(request), request)
        elif what == "late" and late:
            zdns.decide(late[number % len(late)])
        elif what == "settle":
            bench.settle()
        committed = bench.mark()
        for server in zdns.record.in_sync[1:]:
            assert has[server.id] >= committed, f"{name_of_run}: {server.name} lacks something, after {what} {name}"
        assert committed <= bench.history.head


# --- who is not heard ---


def test_a_listed_follower_is_given_up_sooner_than_one_that_is_to_become_one() -> None:
    listed = Bench(BO).begin().linked(BO)
    assert listed.silent_tick(limits.FOLLOWER_SILENT_MS) == []
    ((nick, why),) = lost(listed.silent_tick(limits.KEEP_MS))
    assert (nick, "did not answer" in why) == ("bo", True)
    other = Bench(committed=5).begin().recruited(BO)
    assert other.silent_tick(limits.LINK_STEP_MS) == []
    assert [nick for nick, _ in lost(other.silent_tick(limits.KEEP_MS))] == ["bo"]


@pytest.mark.parametrize("step", [0, 1])
def test_silence_counts_also_before_a_follower_has_said_what_it_has(step: int) -> None:
    bench = Bench(BO).begin()
    for _ in range(step):
        bench.link_at(BO)
    assert bench.silent_tick(limits.FOLLOWER_SILENT_MS) == []
    assert [nick for nick, _ in lost(bench.silent_tick(limits.KEEP_MS))] == ["bo"]
    assert bench.changes() == [change(7, ANA)]


def test_a_follower_that_answers_but_keeps_nothing_is_given_up_too() -> None:
    bench = Bench(BO).begin().linked(BO)
    assert bench.tick(limits.FOLLOWER_STALL_MS) == []
    bench.have(BO, 2)
    assert bench.tick(limits.FOLLOWER_STALL_MS) == [], "it gets on"
    ((nick, why),) = lost(bench.tick())
    assert (nick, "could not keep" in why) == ("bo", True)


def test_a_follower_that_has_all_may_rest() -> None:
    bench = Bench(BO).begin().linked(BO)
    bench.have(BO, 5)
    assert bench.tick(3 * limits.FOLLOWER_STALL_MS) == []
    grow(bench.history, 1, 4)
    bench.note(bench.followers.pump(bench.now_ms))
    assert bench.tick(limits.FOLLOWER_STALL_MS) == []
    assert bench.tick() != []


def test_nobody_is_blamed_for_a_time_in_which_this_process_stood_still() -> None:
    bench = Bench(BO).begin().linked(BO)
    bench.now_ms += 60_000
    assert bench.note(bench.followers.timer(TICK, bench.now_ms)) == []
    assert bench.silent_tick(limits.KEEP_MS) == []
    assert lost(bench.silent_tick(limits.FOLLOWER_SILENT_MS)) != []


def test_nobody_is_blamed_for_what_was_not_read_while_this_process_stood_still(trimmed: History) -> None:
    bench = Bench(BO)
    bench.history = trimmed
    bench.begin().linked(BO, have=7)
    bench.now_ms += 60_000
    assert bench.note(bench.followers.timer(TICK, bench.now_ms)) == []


def test_signs_of_life_carry_the_record_and_news_of_the_room_once_to_each() -> None:
    bench = Bench(BO, CY, DEE, replicas=3, committed=5).begin().linked(CY, have=5)
    bench.states_made = 0

    def keep(key: object) -> dict[str, Keep]:
        bench.note(bench.followers.keep(key))
        nicks = {link: nick for nick, link in bench.links.items()}
        return {nicks[one.link]: one.message for one in bench.commands if isinstance(one, Send)}  # type: ignore[misc]

    def expected(nick: str, *, news: bool) -> Keep:
        return Keep(bench.pairs[nick], EPOCH, 5, bench.record, STATE if news else None)

    assert keep("a") == {"cy": expected("cy", news=True)}
    bench.linked(BO, have=5)
    assert keep("a") == {"bo": expected("bo", news=True), "cy": expected("cy", news=False)}
    assert keep("a") == {"bo": expected("bo", news=False), "cy": expected("cy", news=False)}
    assert keep("b") == {"bo": expected("bo", news=True), "cy": expected("cy", news=True)}
    assert bench.states_made == 4, "one of them for the new link; else made once for all, and only when there is news"


# --- who leaves ---


def test_who_leaves_keeps_its_link_until_nobody_counts_on_it() -> None:
    bench = Bench(BO, CY, replicas=2, committed=5).begin().linked(BO, CY, have=5)
    link, pair = bench.links["bo"], bench.pairs["bo"]
    verdicts = bench.hear(BO, Decline(pair, "I leave"))
    assert lost(verdicts) == [("bo", "bo declined: I leave")]
    assert (closed(bench.commands), bench.followers.owns(link)) == ([], True)
    assert bench.answer(Picked(0, BO), Pick(0, SERVICE, "ana-id")) == []
    assert bench.commands == [], "nor is it linked to anew before that"
    assert bench.hear(BO, Have(pair, EPOCH, 5)) == []
    bench.grant()
    assert bench.commands[:2] == [
        Send(link, Dismiss(pair, record(EPOCH, 8, ANA, CY), "as it asked")),
        CloseLink(link, linger_ms=limits.STOP_MS // 4),
    ]
    assert not bench.followers.owns(link)


def test_who_leaves_while_it_is_being_added_keeps_its_link_until_it_is_off_again() -> None:
    bench = Bench(committed=5).begin().recruited(BO, have=5)
    bench.hear(BO, Decline(bench.pairs["bo"], "I leave"))
    assert closed(bench.commands) == []
    bench.grant()
    assert sent(bench.commands, Dismiss) == []
    assert bench.changes()[-1] == change(8, ANA)
    bench.grant()
    assert [dismiss.record for dismiss in sent(bench.commands, Dismiss)] == [record(EPOCH, 9, ANA)]


def test_who_leaves_and_was_on_no_list_is_let_go_of_at_once() -> None:
    bench = Bench(committed=5).begin().recruited(BO)
    bench.hear(BO, Decline(bench.pairs["bo"], "I leave"))
    assert closed(bench.commands) == [bench.links["bo"]]
    assert bench.changes() == []


def test_the_link_of_one_who_leaves_may_break_meanwhile() -> None:
    bench = Bench(BO).begin().linked(BO, have=5)
    bench.hear(BO, Decline(bench.pairs["bo"], "I leave"))
    link = bench.links["bo"]
    assert bench.down(BO) == []
    assert bench.commands == [CloseLink(link)]
    assert not bench.followers.owns(link)
    bench.grant()
    assert sent(bench.commands, Dismiss) == []
    assert bench.mark() == 5


def test_a_follower_that_knows_a_later_server_makes_us_ask_zdns() -> None:
    bench = Bench(BO).begin()
    bench.link_at(BO)
    verdicts = bench.hear(BO, Outdated(bench.pairs["bo"], record(EPOCH + 1, 9, CY)))
    assert [type(verdict) for verdict in verdicts] == [Lost, Doubted]


# --- who is to follow ---


def test_as_long_as_there_are_too_few_zdns_is_asked_for_somebody_else_now_and_then() -> None:
    bench = Bench(BO, replicas=2).begin().linked(BO, have=5)
    bench.tick(300)
    assert bench.asked == [Pick(0, SERVICE, "ana-id", ("bo-id",))]
    bench.tick(3 * limits.RECRUIT_MS)
    assert len(bench.asked) == 1, "one question at a time"
    bench.answer(Picked(0, None))
    assert bench.commands == []
    bench.tick()
    assert len(bench.asked) == 2
    bench.note(bench.followers.unanswered(bench.asked[-1]))
    bench.tick(limits.RECRUIT_MS - limits.KEEP_MS)
    assert len(bench.asked) == 2
    bench.tick()
    assert len(bench.asked) == 3
    bench.answer(Picked(0, CY))
    bench.tick(2 * limits.RECRUIT_MS)
    assert len(bench.asked) == 3, "there are enough now"


def test_who_has_failed_is_left_out_for_a_while() -> None:
    bench = Bench(replicas=2, committed=5).begin().recruited(BO)
    bench.down(BO)
    bench.tick()
    assert bench.asked[-1] == Pick(0, SERVICE, "ana-id", ("bo-id",))
    bench.answer(Picked(0, None))
    bench.tick(limits.RECRUIT_MS)
    assert bench.asked[-1] == Pick(0, SERVICE, "ana-id", ())


@pytest.mark.parametrize("reply", [Refused(0, RefusalCode.NOT_ACTIVE, ""), Done(0), Picked(0, None)])
def test_a_zdns_that_names_nobody_is_asked_again_later(reply: DnsReply) -> None:
    bench = Bench().begin()
    bench.tick()
    assert (bench.answer(reply), bench.commands) == ([], [])
    bench.tick(limits.RECRUIT_MS)
    assert len(bench.asked) == 2


def test_somebody_who_is_named_when_there_are_enough_or_follows_already_is_not_linked_to() -> None:
    bench = Bench(BO).begin().linked(BO)
    assert (bench.answer(Picked(0, CY), Pick(0, SERVICE, "ana-id")), bench.commands) == ([], [])
    more = Bench(BO, replicas=2).begin().linked(BO)
    assert (more.answer(Picked(0, BO), Pick(0, SERVICE, "ana-id")), more.commands) == ([], [])


def test_whoever_was_aimed_at_and_did_not_take_over_is_let_go_of_and_those_on_the_list_stay() -> None:
    bench = Bench(BO, committed=5).begin().linked(BO, have=5).aimed(CY)
    bench.tick()
    assert bench.phases() == {"bo": "in sync", "cy": "copying"}
    bench.note(bench.followers.give_up_target())
    link = bench.links["cy"]
    bench.tick()
    assert [one.record for one in sent(bench.commands, Dismiss, link)] == [bench.record]
    assert closed(bench.commands) == [link]
    assert bench.phases() == {"bo": "in sync"}


# --- handing over ---


def test_the_target_of_a_handover_is_linked_to_and_its_lag_is_known_once_it_has_said_what_it_has() -> None:
    bench = Bench(committed=5).begin()
    assert bench.followers.lag("bo-id") is None
    bench.note(bench.followers.aim(BO, bench.now_ms))
    assert [one.endpoint for one in opened(bench.commands)] == ["tcp://bo:1"]
    assert bench.followers.to_target(Expect) == [], "there is no link of the two yet"
    bench.link_at(BO)
    assert bench.followers.lag("bo-id") is None
    bench.following(BO, 2)
    assert bench.followers.lag("bo-id") == 3
    assert bench.followers.to_target(Expect) == [Send(bench.links["bo"], Expect(bench.pairs["bo"]))]
    bench.note(bench.followers.aim(BO, bench.now_ms))
    assert bench.commands == [], "it follows already"
    assert (
        bench.states() if hasattr(bench, "states") else bench.followers.states() == (FollowerState("bo", "copying", 3),)
    )


def test_a_target_that_is_leaving_is_lost_at_once() -> None:
    bench = Bench(BO, committed=5).begin().linked(BO, have=5)
    bench.hear(BO, Decline(bench.pairs["bo"], "I leave"))
    verdicts = bench.note(bench.followers.aim(BO, bench.now_ms))
    assert verdicts == [Lost(BO, RefusalCode.HANDOVER_FAILED, "bo leaves")]
    assert bench.commands == []
    assert bench.followers.to_target(Expect) == []


def test_what_was_sent_for_a_handover_is_told_and_nothing_that_was_sent_before() -> None:
    bench = Bench(BO).begin().linked(BO)
    assert bench.followers.sent_for_handover == 0
    bench.note(bench.followers.aim(BO, bench.now_ms))
    assert bench.followers.sent_for_handover == 0, "so much was there already"
    grow(bench.history, 2, 4)
    bench.note(bench.followers.pump(bench.now_ms))
    assert bench.followers.sent_for_handover == len(bench.history.block(6, 7)[1])
    new = Bench().begin().aimed(BO)
    assert new.followers.sent_for_handover == len(new.history.block(1, 5)[1])


def test_the_probe_has_the_record_written_once_more_though_the_list_is_right() -> None:
    bench = Bench(BO, committed=5).begin().linked(BO, have=5)
    bench.note(bench.followers.aim(BO, bench.now_ms))
    assert bench.asked == []
    bench.note(bench.followers.probe())
    assert bench.asked == [change(7, ANA, BO)]
    written = record(EPOCH, 8, ANA, BO)
    assert bench.grant() == [Learned(written), Probed(written)]
    assert len(bench.asked) == 1
    bench.tick(limits.RECRUIT_MS)
    assert len(bench.asked) == 1


def test_the_probe_waits_until_the_target_has_all_that_is_committed() -> None:
    bench = Bench(committed=5).begin().aimed(BO, have=3)
    bench.note(bench.followers.probe())
    assert bench.asked == []
    bench.have(BO, 5)
    assert bench.asked == [change(7, ANA, BO)]
    written = record(EPOCH, 8, ANA, BO)
    assert bench.grant() == [Learned(written), Probed(written)]
    assert len(bench.asked) == 1


def test_a_list_that_was_written_without_the_target_proves_nothing() -> None:
    bench = Bench(CY, replicas=2, committed=5).begin().linked(CY, have=5).aimed(BO, have=3)
    bench.down(CY)
    assert bench.asked == [change(7, ANA)]
    bench.note(bench.followers.probe())
    assert bench.grant() == [Learned(record(EPOCH, 8, ANA))]
    bench.have(BO, 5)
    assert bench.asked == [change(7, ANA), change(8, ANA, BO)]
    assert Probed(record(EPOCH, 9, ANA, BO)) in bench.grant()


def test_others_make_room_for_the_target_only_when_it_is_certain_to_come() -> None:
    bench = Bench(CY, committed=5).begin().linked(CY, have=5).aimed(BO, have=3)
    assert bench.asked == []
    bench.have(BO, 5)
    assert bench.asked == [change(7, ANA, CY, BO)]
    assert bench.grant() == [Learned(record(EPOCH, 8, ANA, CY, BO))], "and nobody has asked for a proof yet"
    bench.note(bench.followers.probe())
    assert bench.asked[1:] == [change(8, ANA, BO)]
    cy = bench.links["cy"]
    written = record(EPOCH, 9, ANA, BO)
    assert bench.grant() == [Learned(written), Probed(written)]
    assert [one.record for one in sent(bench.commands, Dismiss, cy)] == [written]
    assert bench.phases() == {"bo": "in sync"}


def test_a_target_comes_onto_the_list_also_where_no_followers_are_wanted() -> None:
    bench = Bench(replicas=0, committed=5).begin().aimed(BO, have=5)
    assert bench.asked == [change(7, ANA, BO)]
    bench.grant()
    bench.note(bench.followers.probe())
    assert bench.asked[1:] == [change(8, ANA, BO)]
    bench.grant()
    bench.note(bench.followers.give_up_target())
    assert bench.phases() == {"bo": "in sync"}


def test_from_the_seal_on_the_record_stays_as_it_is_until_the_handover_is_given_up() -> None:
    bench = Bench(BO, CY, replicas=2, committed=5).begin().linked(BO, CY, have=5)
    bench.note(bench.followers.aim(BO, bench.now_ms))
    assert bench.followers.freeze() == bench.record
    bench.down(CY)
    bench.note(bench.followers.disk_failed(5))
    assert (bench.changes(), bench.settle()) == ([], [])
    grow(bench.history, 1, 4)
    bench.have(BO, 5)
    assert bench.mark() == 5
    bench.note(bench.followers.give_up_target())
    assert bench.changes() == [change(7, ANA, BO, volatile=("ana-id",))]


def test_a_record_that_is_just_being_changed_cannot_be_frozen() -> None:
    bench = Bench(BO, CY, replicas=2, committed=5).begin().linked(BO, CY, have=5)
    bench.down(CY)
    assert bench.followers.freeze() is None
    bench.grant()
    assert bench.followers.freeze() == record(EPOCH, 8, ANA, BO)


def test_a_version_that_a_refused_transfer_has_made_is_the_one_that_is_changed_next() -> None:
    bench = Bench(BO, committed=5).begin().linked(BO, have=5)
    bench.followers.freeze()
    for other in (record(EPOCH, 6, ANA), record(EPOCH + 1, 9, BO), record(EPOCH - 1, 20, CY)):
        bench.followers.learn(other)
        assert bench.followers.record == bench.record
    bench.followers.learn(record(EPOCH, 8, ANA, BO))
    bench.down(BO)
    bench.note(bench.followers.give_up_target())
    assert bench.changes() == [change(8, ANA)]


def test_what_the_target_says_is_passed_on_and_what_others_say_is_not() -> None:
    bench = Bench(BO, CY, replicas=2).begin().linked(BO, CY, have=5)
    bench.note(bench.followers.aim(BO, bench.now_ms))
    ready = Ready(bench.pairs["bo"], b"digest")
    assert bench.hear(BO, ready) == [Said(BO, ready)]
    assert bench.hear(CY, Ready(bench.pairs["cy"], b"digest")) == []
    bench.note(bench.followers.give_up_target())
    assert bench.hear(BO, ready) == []


def test_a_target_that_is_lost_is_target_no_more() -> None:
    bench = Bench(BO, committed=5).begin().linked(BO, have=5)
    bench.note(bench.followers.aim(BO, bench.now_ms))
    bench.note(bench.followers.probe())
    assert [nick for nick, _ in lost(bench.down(BO))] == ["bo"]
    assert bench.followers.to_target(Expect) == []
    assert bench.grant() == [Learned(record(EPOCH, 8, ANA, BO))], "nothing was proved for a handover"


# --- ending ---


def test_whoever_leads_no_more_keeps_the_link_to_its_successor_and_closes_the_others() -> None:
    bench = Bench(BO, CY, replicas=2).begin().linked(BO, CY, have=5)
    bench.hear(CY, Decline(bench.pairs["cy"], "I leave"))
    commands, line = bench.followers.end(keep="bo-id")
    assert line == Line(bench.links["bo"], bench.pairs["bo"], BO)
    assert closed(commands) == [bench.links["cy"]]
    assert timers(commands) == {TICK: None, SETTLE: None}
    assert bench.followers.end(keep="bo-id") == ([], None)


def test_a_successor_without_a_link_of_the_two_is_not_kept() -> None:
    bench = Bench(BO).begin()
    commands, line = bench.followers.end(keep="bo-id")
    assert (closed(commands), line) == ([bench.links["bo"]], None)
    assert Bench(BO).begin().linked(BO).followers.end()[1] is None


def test_whoever_leads_no_more_answers_nothing_and_begins_anew_without_anything_of_before() -> None:
    bench = Bench(BO, CY, replicas=3, committed=5).begin().linked(BO, CY, have=5)
    link, pair = bench.links["bo"], bench.pairs["bo"]
    bench.down(CY)
    request = bench.changes()[-1]
    bench.tick()
    assert isinstance(bench.asked[-1], Pick)
    bench.followers.end()
    for result in (
        bench.followers.timer(TICK, 10**6),
        bench.followers.timer(SETTLE, 10**6),
        bench.followers.answered(request, Granted(0, record(EPOCH, 8, ANA)), 0),
        bench.followers.answered(Pick(0, SERVICE, "ana-id"), Picked(0, CY), 0),
        bench.followers.unanswered(request),
        bench.followers.received(link, Have(pair, EPOCH, 5), 0),
        bench.followers.link_down(link, "gone", 0),
    ):
        assert result == ([], [])
    assert bench.followers.pump(0) == bench.followers.keep(1) == bench.followers.disk_failed(0) == []
    assert not bench.followers.owns(link)
    bench.record, bench.start_committed = record(EPOCH + 2, 20, ANA), 0
    bench.begin()
    assert (bench.followers.states(), len(bench.changes())) == ((), 1)
    assert (bench.mark(2), bench.mark()) == (2, 5)
    bench.tick()
    assert bench.asked[-1] == Pick(0, SERVICE, "ana-id"), "neither is anybody left out, nor is an answer waited for"


# --- nothing else means anything ---

LATER = record(EPOCH + 1, 9, CY)
MESSAGES: dict[str, Callable[[str], Message]] = {
    "link at": lambda pair: LinkAt(pair, ("tcp://bo:9",)),
    "link nowhere": lambda pair: LinkAt(pair, ()),
    "refused": lambda _pair: Refused(0, RefusalCode.BUSY, "busy"),
    "following": lambda pair: Following(pair, 2, 0, ((2, 1),), 2),
    "have": lambda pair: Have(pair, EPOCH, 3),
    "have in another epoch": lambda pair: Have(pair, EPOCH + 1, 3),
    "decline": lambda pair: Decline(pair, "no"),
    "outdated": lambda pair: Outdated(pair, LATER),
    "follow": lambda pair: Follow(pair, SERVICE, BO, LATER, 9, 1, 1, STATE),
    "align": lambda pair: Align(pair, 0, 0),
    "append": lambda pair: Append(pair, EPOCH, 5, 6, 2, *history_of((2, 6)).block(6, 6)),
    "keep": lambda pair: Keep(pair, EPOCH, 5, LATER),
    "expect": lambda pair: Expect(pair),
    "sealed": lambda pair: Sealed(pair, 5, b"", STATE, 0, 0, 7),
    "ready": lambda pair: Ready(pair, b""),
    "take over": lambda pair: TakeOver(pair, LATER),
    "withdraw": lambda pair: Withdraw(pair, ""),
    "dismiss": lambda pair: Dismiss(pair, LATER, ""),
}
MEANS: dict[str, set[str]] = {
    "linking": {"link at", "refused", "decline", "outdated"},
    "asked": {"following", "decline", "outdated"},
    "copying": {"following", "have", "decline", "outdated"},
    "in sync": {"have", "decline", "outdated"},
}


def in_phase(phase: str) -> Bench:
    bench = Bench(*((BO,) if phase == "in sync" else ()), committed=0 if phase == "in sync" else 1).begin()
    if phase != "in sync":
        bench.tick()
        bench.answer(Picked(0, BO))
    if phase != "linking":
        bench.link_at(BO)
    if phase in ("copying", "in sync"):
        bench.following(BO, 0)
    assert bench.phases() == {"bo": phase}
    return bench


def all_of(bench: Bench) -> object:
    f = bench.followers._followers["bo-id"]
    return (
        replace(f, heard_ms=0),
        bench.followers.record,
        bench.followers.committed,
        list(bench.asked),
        len(bench.reads),
    )


@pytest.mark.parametrize("phase", MEANS)
@pytest.mark.parametrize("name", MESSAGES)
def test_every_phase_meets_every_message_and_what_means_nothing_does_nothing(phase: str, name: str) -> None:
    bench = in_phase(phase)
    before = all_of(bench)
    if name not in MEANS[phase]:
        assert (bench.hear(BO, MESSAGES[name](bench.pairs["bo"])), bench.commands) == ([], [])
        assert all_of(bench) == before
    if (phase, name) != ("linking", "refused"):
        # Of another link, or of an earlier pair on this one.
        assert (bench.hear(BO, MESSAGES[name]("pair-0")), bench.commands) == ([], [])
    other = bench.followers.received(LinkId("link-0"), MESSAGES[name](bench.pairs["bo"]), bench.now_ms)
    assert other == ([], [])
    assert all_of(bench) == before
    if name in MEANS[phase]:
        verdicts = bench.hear(BO, MESSAGES[name](bench.pairs["bo"]))
        changed = bench.phases() != {"bo": phase} or all_of(bench) != before
        assert verdicts or bench.commands or changed


@pytest.mark.parametrize("phase", MEANS)
def test_every_phase_survives_answers_that_nobody_waits_for(phase: str) -> None:
    bench = in_phase(phase)
    before = all_of(bench)
    assert bench.note(bench.followers.link_down(LinkId("link-0"), "gone", bench.now_ms)) == []
    for request in (change(3, ANA), change(7, ANA), Pick(0, SERVICE, "ana-id")):
        for reply in (Granted(0, record(EPOCH, 8, ANA)), Refused(0, RefusalCode.NOT_STANDBY, ""), Done(0)):
            assert (bench.answer(reply, request), bench.commands) == ([], [])
        assert bench.note(bench.followers.unanswered(request)) == []
        assert bench.commands == []
    assert all_of(bench) == before
