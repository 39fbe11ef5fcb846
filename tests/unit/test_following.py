"""The follower: nothing that is committed is ever cut off, and what was promised is kept until zdns has decided."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.candidates import CANDIDATE
from broker.following import (
    POLL,
    SILENCE,
    Began,
    CalledOff,
    Copy,
    CutOff,
    LeaderGone,
    LetGo,
    Phase,
    Result,
    TakeRoom,
    Told,
    Verdict,
)
from broker.history import History
from broker.replication import Line
from tests.support.histories import LOG, SERVICE, block_of, entry
from tests.support.replicas import (
    ANA,
    BO,
    CY,
    DEE,
    STATE,
    closed,
    entries_of,
    grow,
    history_of,
    is_same,
    record,
    sent,
    timers,
)
from wire import limits
from wire.errors import RefusalCode
from wire.messages import (
    Align,
    Append,
    Decline,
    Dismiss,
    DnsReply,
    Expect,
    Follow,
    Following,
    Have,
    Keep,
    LinkAsk,
    LinkAt,
    Member,
    Message,
    NameRequest,
    NameState,
    Outdated,
    Ready,
    Record,
    Refused,
    Resolve,
    Resolved,
    RoomState,
    Sealed,
    ServerInfo,
    TakeOver,
    Withdraw,
)
from wire.names import LinkId
from wire.step import CloseLink, Command, LinkKind, OpenLink, Send, StartTimer, StopTimer

EPOCH, VERSION = 4, 7
RECORD = record(EPOCH, VERSION, ANA, BO)
GRANTED = record(EPOCH + 1, VERSION + 1, BO, ANA)
ROOM = LinkId("room")
LINGER_MS = limits.STOP_MS // 4
OTHER_STATE = RoomState((), 9, 2, False, 30_000, ())


def timer_of(link: LinkId) -> str:
    return f"{CANDIDATE}.{link}"


class Bench:
    """bo follows ana, whose history has three entries; the test plays ana, zdns and the disk."""

    def __init__(self, entries: int = 3) -> None:
        self.asked: list[tuple[NameRequest, int | None]] = []
        self.links = 0
        self.now_ms = 1_000
        self.leader = history_of((2, entries))
        self.link = LinkId("")  # of the candidate that was asked for last
        self.pair = ""
        self.commands: list[Command] = []
        self.copy = Copy(service=SERVICE, server_id="bo-id", new_link=self.new_link, ask=self.ask)

    def new_link(self) -> LinkId:
        self.links += 1
        return LinkId(f"copy-{self.links}")

    def ask(self, request: NameRequest, deadline_ms: int | None) -> list[Command]:
        self.asked.append((request, deadline_ms))
        return []

    def note(self, result: Result | list[Command]) -> list[Verdict]:
        self.commands, verdicts = result if isinstance(result, tuple) else (result, [])
        return verdicts

    @property
    def history(self) -> History:
        assert self.copy.history is not None
        return self.copy.history

    def holding(self, history: History, committed: int = 0, epoch: int = 3) -> "Bench":
        self.copy.hold(history, committed, None, epoch)
        return self

    # --- what the leader says ---

    def linked(self, pair: str = "pair-1", source: ServerInfo = ANA) -> "Bench":
        """A link is asked for, and stands."""
        self.note(self.copy.asked(LinkAsk(limits.PROTOCOL, SERVICE, pair, source), b"route"))
        (opened,) = [command for command in self.commands if isinstance(command, OpenLink)]
        self.link, self.pair = opened.link, pair
        return self

    def hear(
        self, message: Message, *, safe: int | None = None, known: Record | None = None, link: LinkId | None = None
    ) -> list[Verdict]:
        has = self.copy.history.head if self.copy.history is not None else 0
        safe = has if safe is None else safe
        return self.note(self.copy.received(link or self.link, message, known, safe, self.now_ms))

    def led(
        self,
        of: Record = RECORD,
        *,
        number: int = 1,
        leader: ServerInfo = ANA,
        service: str = SERVICE,
        size: int = 100,
        known: Record | None = None,
        safe: int | None = None,
    ) -> list[Verdict]:
        follow = Follow(self.pair, service, leader, of, number, self.leader.head, size, STATE)
        return self.hear(follow, known=known, safe=safe)

    def align(self, at: int, committed: int = 0, *, safe: int | None = None) -> list[Verdict]:
        return self.hear(Align(self.pair, at, committed), safe=safe)

    def append(
        self, first: int, last: int, committed: int = 0, *, prev_epoch: int | None = None, of: History | None = None
    ) -> list[Verdict]:
        history = of or self.leader
        prev_epoch = history.epoch_at(first - 1) if prev_epoch is None else prev_epoch
        return self.hear(Append(self.pair, EPOCH, committed, first, prev_epoch, *history.block(first, last)))

    def keep(self, committed: int = 0, *, of: Record = RECORD, state: RoomState | None = None) -> list[Verdict]:
        return self.hear(Keep(self.pair, EPOCH, committed, of, state))

    def seal(self, *, head: int = 3, digest: bytes | None = None, version: int = VERSION) -> list[Verdict]:
        digest = self.leader.digest() if digest is None else digest
        return self.hear(Sealed(self.pair, head, digest, OTHER_STATE, 5, 100, version))

    def to(self, phase: Phase) -> "Bench":
        """Walk the happy path as far as `phase`."""
        steps: list[Callable[[], object]] = [
            lambda: self.linked().led(),
            lambda: (self.align(0), self.append(1, 3)),
            self.seal,
        ]
        for step in steps[: list(Phase).index(phase)]:
            step()
        assert self.copy.phase is phase
        return self

    def resolve(self, of: Record | None) -> list[Verdict]:
        """zdns answers the poll."""
        return self.note(self.copy.answered(Resolved(0, NameState.SERVED, of, ()), self.now_ms))

    def down(self) -> list[Verdict]:
        return self.note(self.copy.link_down(self.link, "it broke"))


# --- coming to follow ---


def test_the_whole_way_in_its_order() -> None:
    bench = Bench().linked()
    link = bench.link
    assert bench.commands == [OpenLink(link, LinkKind.COPY_BIND), StartTimer(timer_of(link), limits.HANDOVER_STEP_MS)]
    assert bench.copy.owns(link)
    bench.note(bench.copy.bound(link, ("tcp://bo:9",), ROOM))
    assert bench.commands == [Send(ROOM, LinkAt("pair-1", ("tcp://bo:9",)), b"route")]
    assert bench.copy.bound(LinkId("copy-0"), ("tcp://bo:9",), ROOM) == []
    assert bench.led() == [Told(RECORD), Began(LOG)]
    assert bench.commands == [
        StopTimer(SILENCE),
        StopTimer(POLL),
        StopTimer(timer_of(link)),
        Send(link, Following("pair-1", 0, 0, (), 0)),
        StartTimer(SILENCE, limits.LEADER_SILENT_MS),
    ]
    assert (bench.copy.phase, bench.copy.leader, bench.copy.epoch) == (Phase.ASKED, ANA, EPOCH)
    assert bench.copy.state == STATE
    assert bench.align(0, 2) == []
    assert bench.commands == [Send(link, Have("pair-1", EPOCH, 0))]
    assert bench.append(1, 3, 2) == []
    assert bench.commands == [], "it is not on disk yet"
    assert is_same(bench.history, bench.leader)
    assert bench.copy.pump(0) == []
    assert bench.copy.pump(3) == [Send(link, Have("pair-1", EPOCH, 3))]
    assert bench.keep(3, state=OTHER_STATE) == [Told(RECORD)]
    assert bench.commands == [Send(link, Have("pair-1", EPOCH, 3))]
    assert (bench.copy.committed, bench.copy.state) == (3, OTHER_STATE)


def test_a_copy_there_is_is_told_and_kept() -> None:
    mine = history_of((1, 2), (2, 3), (3, 2))
    bench = Bench().holding(mine, committed=4).linked()
    bench.copy.volatile = True
    assert bench.led(safe=5) == [Told(RECORD)]
    assert sent(bench.commands, Following) == [Following("pair-1", 7, 4, ((2, 3), (3, 6)), 5, volatile=True)]
    assert bench.history is mine
    assert is_same(mine, history_of((1, 2), (2, 3), (3, 2)))


def test_a_copy_of_another_history_is_given_up_for_the_one_that_is_led() -> None:
    bench = Bench().holding(history_of((1, 4), log="other"), committed=4).linked()
    bench.copy.state = OTHER_STATE
    assert bench.led() == [Told(RECORD), Began(LOG)]
    assert sent(bench.commands, Following) == [Following("pair-1", 0, 0, (), 0)], "nothing of that is on disk"
    assert (bench.history.log, bench.copy.committed, bench.copy.state, bench.copy.is_whole) == (LOG, 0, STATE, False)


@pytest.mark.parametrize("known", [record(5, 1, CY), record(9, 99, BO)])
def test_nobody_is_followed_in_an_older_epoch_than_is_known(known: Record) -> None:
    bench = Bench().holding(history_of((2, 3)), committed=2).linked()
    assert bench.led(known=known) == []
    assert bench.commands == [
        Send(bench.link, Outdated("pair-1", known)),
        CloseLink(bench.link, linger_ms=100),
        StopTimer(timer_of(bench.link)),
    ]
    assert (bench.copy.phase, bench.copy.links_count, bench.copy.epoch) == (Phase.IDLE, 0, 3)
    assert is_same(bench.history, history_of((2, 3)))


def test_nobody_is_followed_in_an_older_epoch_over_a_link_that_is_there_either() -> None:
    bench = Bench().to(Phase.FOLLOWING)
    assert bench.led(number=2, known=record(5, 1, CY)) == []
    assert bench.commands == [Send(bench.link, Outdated("pair-1", record(5, 1, CY)))]
    assert bench.copy.phase is Phase.FOLLOWING


@pytest.mark.parametrize("known", [None, RECORD, record(EPOCH, 99, ANA), record(3, 99, CY)])
def test_who_leads_in_the_epoch_that_is_known_or_a_later_one_is_followed(known: Record | None) -> None:
    bench = Bench().linked()
    bench.led(known=known)
    assert bench.copy.phase is Phase.ASKED


@pytest.mark.parametrize("phase", [Phase.ASKED, Phase.FOLLOWING, Phase.PROMISED])
@pytest.mark.parametrize("number", [0, 1])
def test_an_older_link_of_the_same_leader_does_not_replace_a_newer_one(phase: Phase, number: int) -> None:
    bench = Bench().to(phase)
    link = bench.link
    bench.linked("pair-2")
    assert bench.led(number=number) == []
    assert bench.commands == [
        Send(bench.link, Decline("pair-2", "this server follows already")),
        CloseLink(bench.link, linger_ms=100),
        StopTimer(timer_of(bench.link)),
    ]
    assert bench.copy.phase is phase
    assert bench.copy.owns(link)


@pytest.mark.parametrize("phase", [Phase.ASKED, Phase.FOLLOWING, Phase.PROMISED])
def test_a_newer_link_of_the_same_leader_replaces_an_older_one_and_the_copy_stays(phase: Phase) -> None:
    bench = Bench().to(phase)
    old, copy = bench.link, bench.history
    bench.linked("pair-2")
    called_off = [CalledOff()] if phase is Phase.PROMISED else []
    assert bench.led(number=2) == [*called_off, Told(RECORD)]
    assert CloseLink(old, linger_ms=LINGER_MS) in bench.commands
    head = 0 if phase is Phase.ASKED else 3
    following = Following("pair-2", head, head if phase is Phase.PROMISED else 0, ((2, 1),) if head else (), head)
    assert sent(bench.commands, Following, bench.link) == [following]
    assert (bench.copy.phase, bench.copy.links_count) == (Phase.ASKED, 2)
    assert bench.history is copy
    assert not bench.copy.owns(old)
    assert bench.hear(Append("pair-1", EPOCH, 0, 4, 2, 1, b""), link=old) == []
    assert bench.commands == []


def test_a_leader_of_a_later_epoch_replaces_any_whatever_its_number() -> None:
    bench = Bench().to(Phase.FOLLOWING)
    bench.linked("pair-2", CY)
    later = record(5, 8, CY, BO)
    assert bench.led(later, leader=CY, number=1, known=RECORD) == [Told(later)]
    assert (bench.copy.leader, bench.copy.epoch) == (CY, 5)


def test_after_the_link_broke_any_number_is_a_new_beginning() -> None:
    bench = Bench().to(Phase.FOLLOWING)
    bench.down()
    bench.linked("pair-2")
    bench.led(number=1)
    assert bench.copy.phase is Phase.ASKED


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"service": "other.com"}, "made for something else"),
        ({"leader": CY}, "made for something else"),
        ({"of": record(EPOCH, VERSION, CY, BO)}, "made for something else"),
        ({"of": record(EPOCH, VERSION, CY, BO), "leader": CY}, "made for something else"),
    ],
)
def test_a_link_is_for_the_one_who_asked_for_it(change: dict[str, object], why: str) -> None:
    bench = Bench().linked()
    assert bench.led(**change) == []  # type: ignore[arg-type]
    (declined,) = sent(bench.commands, Decline)
    assert why in declined.reason
    assert (bench.copy.phase, closed(bench.commands)) == (Phase.IDLE, [bench.link])


def test_over_a_link_that_broke_nothing_new_begins() -> None:
    bench = Bench().to(Phase.PROMISED)
    bench.down()
    assert bench.led(number=2) == []
    assert (bench.commands, bench.copy.phase) == ([], Phase.PROMISED)


IMPOSSIBLE = RoomState((Member("a", "ana", False, "", 0), Member("b", "ANA", False, "", 0)), 2, 0, True, 0, ())


def test_a_room_that_cannot_be_is_not_taken_over_from_the_beginning() -> None:
    bench = Bench().linked()
    assert bench.hear(Follow(bench.pair, SERVICE, ANA, RECORD, 1, 3, 100, IMPOSSIBLE)) == []
    assert "no room was ever" in sent(bench.commands, Decline)[0].reason


@pytest.mark.parametrize("by", ["keep", "seal", "entry"])
def test_whoever_says_what_would_make_its_successor_fail_is_left(by: str) -> None:
    bench = Bench().to(Phase.FOLLOWING)
    bench.keep(2)
    if by == "keep":
        verdicts = bench.keep(3, state=IMPOSSIBLE)
    elif by == "seal":
        verdicts = bench.hear(Sealed(bench.pair, 3, bench.leader.digest(), IMPOSSIBLE, 5, 100, VERSION))
    else:
        grow(bench.leader, 1, EPOCH + 1)
        verdicts = bench.append(4, 4)
    assert [type(verdict) for verdict in verdicts] == [LeaderGone]
    assert sent(bench.commands, Decline)
    assert (bench.copy.phase, bench.copy.committed, bench.copy.state) == (Phase.IDLE, 2, STATE)
    assert is_same(bench.history, history_of((2, 3)))


def test_one_that_is_leaving_follows_nobody() -> None:
    bench = Bench().linked()
    bench.copy.leaving = True
    assert bench.led() == []
    assert sent(bench.commands, Decline) == [Decline("pair-1", "this server is leaving")]


@pytest.mark.parametrize("volatile", [False, True])
def test_only_a_disk_takes_a_history_that_is_too_large_for_memory(volatile: bool) -> None:
    bench = Bench().linked()
    bench.copy.volatile = volatile
    bench.led(size=limits.HISTORY_BYTES_MAX + 1)
    assert (len(sent(bench.commands, Decline)), bench.copy.phase) == ((1, Phase.IDLE) if volatile else (0, Phase.ASKED))
    if volatile:
        bench.linked().led(size=limits.HISTORY_BYTES_MAX)
        assert bench.copy.phase is Phase.ASKED


# --- links that are only asked for ---


@pytest.mark.parametrize("phase", Phase)
def test_for_a_link_over_which_nobody_has_spoken_nothing_is_given_up(phase: Phase) -> None:
    bench = Bench().to(phase)
    old, links = bench.link, bench.copy.links_count
    bench.linked("pair-2", CY)
    assert closed(bench.commands) == []
    assert bench.note(bench.copy.timer(timer_of(bench.link), 5_000)) == []
    assert bench.commands == [CloseLink(bench.link, linger_ms=100), StopTimer(timer_of(bench.link))]
    assert (bench.copy.phase, bench.copy.links_count) == (phase, links)
    assert bench.copy.owns(old) is (phase is not Phase.IDLE)
    assert bench.note(bench.copy.timer(timer_of(bench.link), 5_000)) == []
    assert bench.commands == []


def test_one_who_asks_again_and_a_broken_link_end_a_candidate_too() -> None:
    bench = Bench().linked()
    first = bench.link
    bench.linked("pair-2")
    assert bench.commands[:2] == [CloseLink(first, linger_ms=100), StopTimer(timer_of(first))]
    assert bench.down() == []
    assert closed(bench.commands) == [bench.link]
    assert not bench.copy.owns(bench.link)
    assert bench.copy.bound(bench.link, ("tcp://bo:9",), ROOM) == []


def test_only_the_pairs_own_leader_is_listened_to_over_a_candidate() -> None:
    bench = Bench().to(Phase.FOLLOWING)
    bench.linked("pair-2")
    for pair in ("pair-1", "pair-2"):
        for message in (Align(pair, 0, 0), Keep(pair, EPOCH, 3, RECORD), Dismiss(pair, RECORD, ""), Withdraw(pair, "")):
            assert (bench.hear(message), bench.commands) == ([], [])
    assert bench.hear(Follow("pair-1", SERVICE, ANA, RECORD, 9, 3, 100, STATE)) == []
    assert (bench.commands, bench.copy.phase) == ([], Phase.FOLLOWING)


# --- where both agree ---


def test_what_the_leader_does_not_have_is_cut_off() -> None:
    bench = Bench().holding(history_of((1, 4), (3, 2)), committed=3).linked()
    bench.leader = history_of((1, 4), (4, 1))
    bench.led()
    assert bench.align(4, 4, safe=6) == [CutOff(4)]
    assert bench.commands == [Send(bench.link, Have("pair-1", EPOCH, 4))], "no more than is left"
    assert is_same(bench.history, history_of((1, 4)))
    assert bench.copy.committed == 4
    bench.append(5, 5)
    assert is_same(bench.history, bench.leader)


def test_of_what_is_left_only_that_is_told_which_is_there_for_good() -> None:
    bench = Bench().holding(history_of((1, 4), (3, 2))).linked()
    bench.led(safe=2)
    bench.align(4, safe=2)
    assert bench.commands == [Send(bench.link, Have("pair-1", EPOCH, 2))]


@pytest.mark.parametrize("at", [0, 3, 7])
def test_nothing_that_is_committed_is_cut_off_whatever_a_leader_says(at: int) -> None:
    bench = Bench().holding(history_of((1, 4), (3, 2)), committed=4).linked()
    bench.led()
    (verdict,) = bench.align(at, 5)
    assert isinstance(verdict, LeaderGone)
    assert verdict.leader == ANA
    assert len(sent(bench.commands, Decline, bench.link)) == 1
    assert closed(bench.commands) == [bench.link]
    assert (bench.copy.phase, bench.copy.leader, bench.copy.committed) == (Phase.IDLE, None, 4)
    assert is_same(bench.history, history_of((1, 4), (3, 2)))


def test_what_is_committed_may_be_all_there_is() -> None:
    bench = Bench().holding(history_of((1, 4)), committed=4).linked()
    bench.led()
    assert bench.align(4, 4) == []
    assert bench.copy.phase is Phase.FOLLOWING


# --- what comes ---


def garbage(bench: Bench) -> Append:
    return Append(bench.pair, EPOCH, 0, 4, 2, 1, b"garbage")


@pytest.mark.parametrize(
    "wrong",
    [
        garbage,
        lambda bench: Append(bench.pair, EPOCH, 0, 3, 2, *history_of((2, 4)).block(3, 4)),
        lambda bench: Append(bench.pair, EPOCH, 0, 5, 2, *history_of((2, 5)).block(5, 5)),
        lambda bench: Append(bench.pair, EPOCH, 0, 4, 1, *history_of((2, 4)).block(4, 4)),
        lambda bench: Append(bench.pair, EPOCH, 0, 4, 2, 2, history_of((2, 4)).block(4, 4)[1]),
        lambda bench: Append(bench.pair, EPOCH, 0, 4, 2, 1, block_of([entry(4, epoch=1)])),
    ],
    ids=["garbage", "again", "gap", "another one before it", "too few", "epoch falls"],
)
@pytest.mark.parametrize("phase", [Phase.FOLLOWING, Phase.PROMISED])
def test_what_cannot_follow_is_declined_and_the_copy_stays_as_it_is(
    phase: Phase, wrong: Callable[[Bench], Append]
) -> None:
    bench = Bench().to(phase)
    (verdict,) = bench.hear(wrong(bench))
    assert isinstance(verdict, LeaderGone)
    assert len(sent(bench.commands, Decline, bench.link)) == 1
    assert is_same(bench.history, bench.leader)
    assert bench.copy.phase is (phase if phase is Phase.PROMISED else Phase.IDLE), "a promise is one all the same"


def test_what_is_known_to_be_committed_never_falls_and_is_never_more_than_there_is() -> None:
    bench = Bench().to(Phase.FOLLOWING)
    for say, committed in (
        (lambda: bench.keep(2), 2),
        (lambda: bench.keep(1), 2),
        (lambda: bench.keep(9), 3),
        (lambda: grow(bench.leader, 2, EPOCH), 3),
        (lambda: bench.append(4, 4, 2), 3),
        (lambda: bench.append(5, 5, 7), 5),
    ):
        say()
        assert bench.copy.committed == committed


def test_a_copy_is_whole_when_it_has_all_that_it_was_told_is_committed() -> None:
    bench = Bench().linked()
    bench.led()
    bench.align(0, 2)
    assert not bench.copy.is_whole
    bench.append(1, 1, 2)
    assert not bench.copy.is_whole
    bench.append(2, 2, 2)
    assert bench.copy.is_whole
    bench.keep(3)
    assert not bench.copy.is_whole
    bench.append(3, 3, 3)
    assert bench.copy.is_whole
    bench.down()
    assert bench.copy.is_whole
    bench.copy.erase()
    assert not bench.copy.is_whole


def test_a_copy_that_begins_anew_is_not_whole_before_the_leader_has_said_what_is_committed() -> None:
    bench = Bench().holding(history_of((1, 2)), committed=2).linked()
    assert bench.copy.is_whole
    bench.led()
    assert bench.copy.is_whole, "of one that is kept nothing is lost by that"
    bench.align(2, 3)
    assert not bench.copy.is_whole
    other = Bench().holding(history_of((1, 2), log="other"), committed=2).linked()
    other.led()
    assert not other.copy.is_whole


@pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH + 1])
def test_what_a_leader_says_of_another_epoch_means_nothing(epoch: int) -> None:
    bench = Bench().to(Phase.FOLLOWING)
    grow(bench.leader, 1, EPOCH)
    block = bench.leader.block(4, 4)
    for message in (Append("pair-1", epoch, 3, 4, 2, *block), Keep("pair-1", epoch, 3, RECORD, OTHER_STATE)):
        assert (bench.hear(message), bench.commands) == ([], [])
    assert (bench.history.head, bench.copy.committed, bench.copy.state) == (3, 0, STATE)


def test_what_is_there_for_good_is_told_once_and_again_for_every_sign_of_life() -> None:
    bench = Bench().to(Phase.FOLLOWING)
    have = [Send(bench.link, Have("pair-1", EPOCH, 2))]
    assert (bench.copy.pump(2), bench.copy.pump(2), bench.copy.pump(1)) == (have, [], [])
    bench.hear(Keep("pair-1", EPOCH, 0, RECORD), safe=2)
    assert bench.commands == have
    assert bench.copy.pump(2) == []
    bench.hear(Keep("pair-1", EPOCH, 0, RECORD), safe=2)
    assert bench.commands == have


@pytest.mark.parametrize(
    ("phase", "tells"), [(Phase.IDLE, 0), (Phase.ASKED, 0), (Phase.FOLLOWING, 1), (Phase.PROMISED, 1)]
)
def test_nothing_is_told_before_both_agree(phase: Phase, tells: int) -> None:
    assert len(Bench().to(phase).copy.pump(3)) == tells


def test_a_state_that_has_not_changed_stays() -> None:
    bench = Bench().to(Phase.FOLLOWING)
    bench.keep(state=OTHER_STATE)
    bench.keep(state=None)
    assert bench.copy.state == OTHER_STATE


LIES = st.lists(
    st.tuples(
        st.sampled_from(["align", "append", "append", "keep", "relink", "relink", "seal", "withdraw", "down"]),
        st.integers(0, 2),
        st.integers(0, 12),
        st.integers(0, 12),
    ),
    max_size=40,
)


@given(LIES)
def test_whatever_leaders_say_what_is_known_to_be_committed_stays_as_it_is(
    steps: list[tuple[str, int, int, int]],
) -> None:
    logs = [history_of((1, 9)), history_of((1, 4), (3, 5)), history_of((1, 2), (2, 3), (4, 6))]
    bench = Bench().holding(history_of((1, 4), (2, 2)), committed=2)
    known, epoch = entries_of(bench.history)[:2], EPOCH
    for number, (what, which, seq, other) in enumerate(steps, start=1):
        log = logs[which]
        if what == "relink" or bench.copy.leader is None:
            epoch = max(epoch, EPOCH + which)
            bench.linked(f"pair-{number}")
            bench.led(record(epoch, VERSION, ANA, BO), number=number)
        elif what == "align":
            bench.align(seq, other)
        elif what == "append":
            first = min(seq or bench.history.head + 1, log.head)
            block = log.block(first, max(first, other))
            bench.hear(Append(bench.pair, epoch, other, first, log.epoch_at(first - 1), *block))
        elif what == "keep":
            bench.hear(Keep(bench.pair, epoch, seq, RECORD))
        elif what == "seal":
            bench.hear(Sealed(bench.pair, bench.history.head, bench.history.digest(), STATE, 0, 0, VERSION))
        elif what == "withdraw":
            bench.hear(Withdraw(bench.pair, ""))
        else:
            bench.down()
        assert len(known) <= bench.copy.committed <= bench.history.head
        assert entries_of(bench.history)[: len(known)] == known
        known = entries_of(bench.history)[: bench.copy.committed]


# --- a leader that is gone ---


def test_whoever_falls_silent_is_gone_and_whoever_is_heard_is_not() -> None:
    bench = Bench().to(Phase.FOLLOWING)
    bench.now_ms = 1_300
    bench.keep()
    assert bench.note(bench.copy.timer(SILENCE, 1_500)) == []
    assert bench.commands == [StartTimer(SILENCE, 300)]
    assert bench.copy.silent_ms(1_500) == 200
    (verdict,) = bench.note(bench.copy.timer(SILENCE, 1_300 + limits.LEADER_SILENT_MS))
    assert isinstance(verdict, LeaderGone)
    assert verdict.leader == ANA
    assert closed(bench.commands) == [bench.link]
    assert (bench.copy.phase, bench.history.head) == (Phase.IDLE, 3)
    assert bench.copy.silent_ms(2_000) == 700
    assert bench.note(bench.copy.timer(SILENCE, 10**6)) == []
    assert bench.commands == []


def test_whoever_was_held_up_itself_hears_first_what_has_come_meanwhile() -> None:
    bench = Bench().to(Phase.FOLLOWING)
    late_ms = bench.now_ms + limits.LEADER_SILENT_MS + limits.KEEP_MS + 1
    assert bench.note(bench.copy.timer(SILENCE, late_ms)) == []
    assert bench.commands == [StartTimer(SILENCE, 2 * limits.KEEP_MS)]
    bench.now_ms = late_ms
    bench.keep()
    assert bench.note(bench.copy.timer(SILENCE, late_ms + 2 * limits.KEEP_MS)) == []
    assert bench.copy.leader == ANA


def test_more_time_is_given_once_to_a_leader_that_stays_silent() -> None:
    bench = Bench().to(Phase.FOLLOWING)
    assert bench.note(bench.copy.timer(SILENCE, 10_000)) == []
    (verdict,) = bench.note(bench.copy.timer(SILENCE, 20_000))
    assert isinstance(verdict, LeaderGone)


@pytest.mark.parametrize("phase", [Phase.ASKED, Phase.FOLLOWING])
def test_whoever_breaks_the_link_is_gone_and_the_copy_stays(phase: Phase) -> None:
    bench = Bench().to(phase)
    copy = bench.history
    assert bench.down() == [LeaderGone(ANA, "it broke")]
    assert bench.commands == [StopTimer(SILENCE), StopTimer(POLL), CloseLink(bench.link, linger_ms=LINGER_MS)]
    assert (bench.copy.phase, bench.copy.leader) == (Phase.IDLE, None)
    assert bench.history is copy
    assert bench.down() == []


def test_one_that_was_never_led_has_missed_nobody() -> None:
    assert Bench().copy.silent_ms(10**6) == 0


def test_whoever_is_let_go_of_says_so_and_erases_nothing_by_itself() -> None:
    for phase in (Phase.ASKED, Phase.FOLLOWING, Phase.PROMISED):
        bench = Bench().to(phase)
        off = record(EPOCH, VERSION + 1, ANA)
        called_off = [CalledOff()] if phase is Phase.PROMISED else []
        assert bench.hear(Dismiss("pair-1", off, "there are others")) == [*called_off, LetGo(off)]
        assert closed(bench.commands) == [bench.link]
        assert (bench.copy.phase, bench.copy.leader) == (Phase.IDLE, None)
        assert bench.copy.history is not None


def test_whoever_declines_says_so_and_waits_to_be_let_go_of() -> None:
    bench = Bench().to(Phase.FOLLOWING)
    line = bench.link
    bench.linked("pair-2", CY)
    bench.note(bench.copy.decline("x" * 10_000))
    (declined,) = sent(bench.commands, Decline, line)
    assert (declined.pair, len(declined.reason)) == ("pair-1", limits.MESSAGE_CHARS_MAX)
    assert closed(bench.commands) == [bench.link], "nor will it follow another one"
    assert (bench.copy.phase, bench.copy.owns(line)) == (Phase.FOLLOWING, True)
    assert Bench().copy.decline("nobody leads") == []


# --- the seal ---


def test_a_copy_that_is_whole_is_promised() -> None:
    bench = Bench().to(Phase.FOLLOWING)
    assert bench.seal() == []
    assert bench.commands == [
        Send(bench.link, Ready("pair-1", bench.leader.digest())),
        StartTimer(POLL, limits.TAKE_OVER_POLL_MS),
    ]
    copy = bench.copy
    assert (copy.phase, copy.expecting, copy.committed, copy.state) == (Phase.PROMISED, True, 3, OTHER_STATE)


@pytest.mark.parametrize(("head", "digest"), [(4, None), (2, None), (3, b"another"), (3, b"")])
def test_a_seal_over_something_else_is_declined(head: int, digest: bytes | None) -> None:
    bench = Bench().to(Phase.FOLLOWING)
    (verdict,) = bench.seal(head=head, digest=digest)
    assert isinstance(verdict, LeaderGone)
    assert len(sent(bench.commands, Decline)) == 1
    assert sent(bench.commands, Ready) == []
    assert (bench.copy.phase, bench.copy.committed, bench.history.head) == (Phase.IDLE, 0, 3)


def test_zdns_word_for_it_is_taken_over_the_link_which_stays_for_the_other_direction() -> None:
    bench = Bench().to(Phase.PROMISED)
    bench.now_ms += 40
    (verdict,) = bench.hear(TakeOver("pair-1", GRANTED))
    assert isinstance(verdict, TakeRoom)
    assert (verdict.record, verdict.pause_ms, verdict.sealed.copy_ms) == (GRANTED, 40, 5)
    assert verdict.line == Line(bench.link, "pair-1", ANA)
    assert bench.commands == [StopTimer(SILENCE), StopTimer(POLL)]
    assert (bench.copy.phase, bench.copy.leader, bench.copy.expecting) == (Phase.IDLE, None, False)
    history, committed, state = bench.copy.release()
    assert (is_same(history, bench.leader), committed, state) == (True, 3, OTHER_STATE)
    assert bench.copy.history is None


def test_told_nothing_it_asks_zdns_until_it_knows() -> None:
    bench = Bench().to(Phase.PROMISED)
    again = [StartTimer(POLL, limits.TAKE_OVER_POLL_MS)]
    silence: list[Callable[[], object]] = [
        lambda: bench.note(bench.copy.unanswered()),
        lambda: bench.resolve(RECORD),
        lambda: bench.resolve(None),
        lambda: bench.resolve(record(EPOCH - 1, 99, CY)),
        lambda: bench.note(bench.copy.answered(Refused(0, RefusalCode.STORE_FAILED, "", GRANTED), 0)),
    ]
    for count, answer in enumerate(silence, start=1):
        assert bench.note(bench.copy.timer(POLL, bench.now_ms)) == []
        assert bench.asked == [(Resolve(0, limits.PROTOCOL, SERVICE), limits.DNS_DEADLINE_MS)] * count
        answer()
        assert (bench.commands, bench.copy.phase) == (again, Phase.PROMISED)
    (verdict,) = bench.resolve(GRANTED)
    assert isinstance(verdict, TakeRoom)


def test_a_promise_outlives_its_link_and_any_silence() -> None:
    for breaks in (True, False):
        bench = Bench().to(Phase.PROMISED)
        silence = bench.copy.timer(SILENCE, bench.now_ms + limits.LEADER_SILENT_MS)
        (verdict,) = bench.down() if breaks else bench.note(silence)
        assert isinstance(verdict, LeaderGone)
        assert closed(bench.commands) == []
        assert (bench.copy.phase, bench.copy.expecting) == (Phase.PROMISED, True)
        assert is_same(bench.history, bench.leader)
        bench.note(bench.copy.timer(POLL, bench.now_ms))
        assert len(bench.asked) == 1
        bench.now_ms += 900
        (verdict,) = bench.resolve(GRANTED)
        assert isinstance(verdict, TakeRoom)
        assert (verdict.line is None, verdict.pause_ms) == (breaks, 900), "a broken link leads to nobody any more"
        assert closed(bench.commands) == ([bench.link] if breaks else [])


def test_over_a_new_link_a_promise_is_made_anew_and_that_link_counts() -> None:
    bench = Bench().to(Phase.PROMISED)
    bench.down()
    bench.linked("pair-2")
    bench.led(number=2)
    bench.align(3, 3)
    bench.seal()
    (verdict,) = bench.hear(TakeOver("pair-2", GRANTED))
    assert isinstance(verdict, TakeRoom)
    assert verdict.line == Line(bench.link, "pair-2", ANA)


@pytest.mark.parametrize("way", ["told", "polled", "judged"])
@pytest.mark.parametrize(
    ("of", "says"),
    [
        (GRANTED, "take"),
        (record(EPOCH + 1, VERSION + 9, BO), "take"),
        (RECORD, "nothing"),
        (record(EPOCH, VERSION - 1, ANA), "nothing"),
        (record(EPOCH - 1, VERSION + 9, BO), "nothing"),
        (record(EPOCH, VERSION + 1, ANA, BO), "off"),
        (record(EPOCH, VERSION + 1, BO), "off"),
        (record(EPOCH + 1, VERSION + 1, CY, BO), "off"),
        (record(EPOCH + 1, VERSION + 1, ANA, BO), "off"),
        (record(EPOCH + 2, VERSION + 2, BO), "off"),
        (record(EPOCH + 1, 1, CY), "off"),
    ],
)
def test_it_leads_only_where_zdns_has_granted_the_next_epoch_to_it(of: Record, says: str, way: str) -> None:
    bench = Bench().to(Phase.PROMISED)
    if way == "told":
        verdicts = bench.hear(TakeOver("pair-1", of))
    elif way == "polled":
        verdicts = bench.resolve(of)
    else:
        verdicts = bench.note(bench.copy.judge(of, bench.now_ms))
    kinds = [type(verdict) for verdict in verdicts]
    assert kinds == {"take": [TakeRoom], "nothing": [], "off": [CalledOff]}[says]
    phases = {"take": Phase.IDLE, "nothing": Phase.PROMISED, "off": Phase.FOLLOWING}
    assert bench.copy.phase is phases[says]
    if says == "off":
        assert timers(bench.commands) == {POLL: None}
        assert is_same(bench.history, bench.leader)


def test_a_transfer_is_compared_with_the_version_it_was_asked_for() -> None:
    bench = Bench().to(Phase.FOLLOWING)
    bench.seal(version=VERSION + 2)
    assert bench.resolve(record(EPOCH, VERSION + 2, ANA, BO)) == []
    assert bench.copy.phase is Phase.PROMISED
    assert bench.resolve(record(EPOCH, VERSION + 3, ANA, BO)) == [CalledOff()]


def test_nothing_is_judged_that_was_not_promised() -> None:
    for phase in (Phase.IDLE, Phase.ASKED, Phase.FOLLOWING):
        bench = Bench().to(phase)
        for result in (
            bench.copy.judge(GRANTED, 0),
            bench.copy.answered(Resolved(0, NameState.SERVED, GRANTED, ()), 0),
            bench.copy.unanswered(),
            bench.copy.timer(POLL, 0),
        ):
            assert result == ([], [])
        assert (bench.asked, bench.copy.phase) == ([], phase)


def test_after_a_withdrawal_it_follows_on_and_may_be_sealed_again() -> None:
    bench = Bench().to(Phase.FOLLOWING)
    assert bench.hear(Expect("pair-1")) == []
    assert bench.copy.expecting
    bench.seal()
    assert bench.hear(Withdraw("pair-1", "no")) == [CalledOff()]
    assert (bench.commands, bench.copy.phase, bench.copy.expecting) == ([StopTimer(POLL)], Phase.FOLLOWING, False)
    assert bench.note(bench.copy.judge(GRANTED, 0)) == [], "that was another seal"
    grow(bench.leader, 1, EPOCH)
    bench.append(4, 4, 3)
    assert bench.copy.pump(4) == [Send(bench.link, Have("pair-1", EPOCH, 4))]
    bench.seal(head=4, version=VERSION + 3)
    assert bench.copy.phase is Phase.PROMISED
    assert bench.resolve(record(EPOCH, VERSION + 1, ANA, BO)) == []


def test_clients_who_came_ahead_are_told_that_it_was_in_vain_and_only_they() -> None:
    calm = Bench().to(Phase.FOLLOWING)
    assert calm.hear(Withdraw("pair-1", "no")) == []
    bench = Bench().to(Phase.FOLLOWING)
    bench.hear(Expect("pair-1"))
    assert bench.hear(Withdraw("pair-1", "no")) == [CalledOff()]
    bench.hear(Expect("pair-1"))
    assert bench.down() == [LeaderGone(ANA, "it broke"), CalledOff()]
    assert not bench.copy.expecting


@pytest.mark.parametrize("how", ["linked anew", "let go"])
def test_clients_who_came_ahead_are_told_also_when_the_leader_changes(how: str) -> None:
    bench = Bench().to(Phase.FOLLOWING)
    bench.hear(Expect("pair-1"))
    if how == "let go":
        verdicts = bench.hear(Dismiss("pair-1", record(EPOCH, VERSION + 1, ANA), ""))
    else:
        bench.linked("pair-2")
        verdicts = bench.led(number=2)
    assert CalledOff() in verdicts


def test_a_promise_that_is_called_off_after_its_link_broke_leaves_nobody_to_follow() -> None:
    bench = Bench().to(Phase.PROMISED)
    bench.down()
    verdicts = bench.resolve(record(EPOCH, VERSION + 1, ANA, BO))
    assert CalledOff() in verdicts
    assert any(isinstance(verdict, LeaderGone) for verdict in verdicts), "somebody must look for it"
    assert (bench.copy.phase, bench.copy.leader) == (Phase.IDLE, None)
    assert closed(bench.commands) == [bench.link]


def test_a_leader_that_was_silent_while_something_was_promised_is_watched_again_when_it_speaks() -> None:
    bench = Bench().to(Phase.PROMISED)
    running = {SILENCE}

    def turn(result: Result) -> list[Verdict]:
        verdicts = bench.note(result)
        for name, delay_ms in timers(bench.commands).items():
            (running.discard if delay_ms is None else running.add)(name)
        return verdicts

    bench.now_ms += limits.LEADER_SILENT_MS
    running.discard(SILENCE)
    turn(bench.copy.timer(SILENCE, bench.now_ms))
    assert turn(bench.copy.received(bench.link, Withdraw("pair-1", "no"), None, 3, bench.now_ms)) == [CalledOff()]
    assert bench.copy.phase is Phase.FOLLOWING
    assert SILENCE in running


# --- the other direction ---


def test_after_a_handover_the_one_who_led_follows_over_the_same_link() -> None:
    bench = Bench()
    mine = history_of((2, 3))
    bench.copy.hold(mine, 3, STATE, EPOCH)
    line = Line(LinkId("same"), "pair-1", CY)
    bench.link, bench.pair = line.link, line.pair
    assert bench.copy.follow(line, 1_000) == [StartTimer(SILENCE, limits.LEADER_SILENT_MS)]
    assert (bench.copy.phase, bench.copy.leader, bench.copy.owns(line.link)) == (Phase.ASKED, CY, True)
    later = record(EPOCH + 1, 8, CY, ANA)
    assert bench.led(later, leader=CY, known=later) == [Told(later)]
    assert bench.commands == [
        Send(line.link, Following("pair-1", 3, 3, ((2, 1),), 3)),
        StartTimer(SILENCE, limits.LEADER_SILENT_MS),
    ]
    assert bench.history is mine
    assert bench.copy.epoch == EPOCH + 1


def test_a_successor_that_says_nothing_is_gone() -> None:
    bench = Bench().holding(history_of((2, 3)), committed=3)
    line = Line(LinkId("same"), "pair-1", CY)
    bench.copy.follow(line, 1_000)
    assert bench.copy.timer(SILENCE, 1_400) == ([StartTimer(SILENCE, 100)], [])
    verdicts = bench.note(bench.copy.timer(SILENCE, 1_000 + limits.LEADER_SILENT_MS))
    assert [verdict.leader for verdict in verdicts if isinstance(verdict, LeaderGone)] == [CY]


# --- nothing else means anything ---

MESSAGES: dict[str, Callable[[str], Message]] = {
    "follow": lambda pair: Follow(pair, SERVICE, ANA, RECORD, 2, 3, 100, STATE),
    "follow again": lambda pair: Follow(pair, SERVICE, ANA, RECORD, 1, 3, 100, STATE),
    "following": lambda pair: Following(pair, 3, 3, ((1, 1),), 3),
    "align": lambda pair: Align(pair, 0, 0),
    "append": lambda pair: Append(pair, EPOCH, 1, 4, 2, *history_of((2, 4)).block(4, 4)),
    "keep": lambda pair: Keep(pair, EPOCH, 1, RECORD, OTHER_STATE),
    "have": lambda pair: Have(pair, EPOCH, 9),
    "decline": lambda pair: Decline(pair, "no"),
    "outdated": lambda pair: Outdated(pair, GRANTED),
    "expect": lambda pair: Expect(pair),
    "sealed": lambda pair: Sealed(pair, 3, history_of((2, 3)).digest(), STATE, 0, 0, VERSION),
    "ready": lambda pair: Ready(pair, b""),
    "take over": lambda pair: TakeOver(pair, GRANTED),
    "withdraw": lambda pair: Withdraw(pair, "no"),
    "dismiss": lambda pair: Dismiss(pair, RECORD, ""),
}
MEANS: dict[Phase, set[str]] = {
    Phase.IDLE: set(),
    Phase.ASKED: {"follow", "align", "dismiss"},
    Phase.FOLLOWING: {"follow", "append", "keep", "expect", "sealed", "dismiss"},
    Phase.PROMISED: {"follow", "append", "keep", "take over", "withdraw", "dismiss"},
}


def all_of(bench: Bench) -> object:
    copy = bench.copy
    history = entries_of(copy.history) if copy.history is not None else None
    return (
        copy.phase,
        copy.leader,
        copy.epoch,
        copy.committed,
        copy.is_whole,
        copy.state,
        copy.expecting,
        copy.links_count,
        history,
        copy._sealed,
        list(bench.asked),
    )


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("name", MESSAGES)
def test_every_phase_meets_every_message_and_what_means_nothing_does_nothing(phase: Phase, name: str) -> None:
    bench = Bench().to(phase)
    before = all_of(bench)
    # Of an earlier pair on this link, or of another link.
    for message, link in ((MESSAGES[name]("pair-0"), bench.link), (MESSAGES[name](bench.pair), LinkId("copy-0"))):
        assert (bench.hear(message, link=link or LinkId("copy-0")), bench.commands) == ([], [])
    assert all_of(bench) == before
    verdicts = bench.hear(MESSAGES[name](bench.pair or "pair-1"), link=bench.link or LinkId("copy-0"))
    if name in MEANS[phase]:
        assert verdicts or bench.commands or all_of(bench) != before
    elif name == "follow again" and phase is not Phase.IDLE:
        assert bench.commands == [Send(bench.link, Decline("pair-1", "this server follows already"))]
        assert (verdicts, all_of(bench)) == ([], before)
    else:
        assert (verdicts, bench.commands) == ([], [])
        assert all_of(bench) == before


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_survives_links_timers_and_answers_that_mean_nothing(phase: Phase) -> None:
    bench = Bench().to(phase)
    before = all_of(bench)
    replies: list[DnsReply] = [Refused(0, RefusalCode.MALFORMED, "")]
    for result in (
        bench.copy.link_down(LinkId("copy-0"), "gone"),
        bench.copy.timer(timer_of(LinkId("copy-0")), 0),
        bench.copy.timer("copy.unknown", 10**6),
        bench.copy.judge(record(EPOCH, VERSION, ANA, DEE), 0),
    ):
        assert result == ([], [])
    assert bench.copy.bound(LinkId("copy-0"), ("tcp://x:1",), ROOM) == []
    for reply in replies:
        assert bench.note(bench.copy.answered(reply, 0)) == []
    assert all_of(bench) == before
