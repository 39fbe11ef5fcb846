"""A leader that is not heard any more: its port is tried, then zdns is asked, until somebody leads."""

from collections.abc import Callable

import pytest

from broker.succession import CLAIM, PROBE, Phase, Succession
from tests.support.replicas import ANA, BO
from wire import limits
from wire.messages import Ping, ServerInfo
from wire.names import LinkId
from wire.step import CloseLink, Command, LinkKind, OpenLink, Send, StartTimer, StopTimer

CLAIMED = Send(LinkId("zdns"), Ping(1))
UNREACHABLE = Send(LinkId("zdns"), Ping(2))
AGAIN = StartTimer(CLAIM, limits.CLAIM_AGAIN_MS)


class Bench:
    def __init__(self) -> None:
        self.links = 0
        self.heir = Succession(
            new_link=self.new_link, claim=lambda unreachable: [UNREACHABLE if unreachable else CLAIMED]
        )

    def new_link(self) -> LinkId:
        self.links += 1
        return LinkId(f"probe-{self.links}")

    def to(self, phase: Phase) -> "Bench":
        if phase is Phase.PROBING:
            self.heir.suspect(ANA)
        elif phase is Phase.CLAIMING:
            self.heir.claim(unreachable=False)
        assert self.heir.phase is phase
        return self


def closed(number: int = 1) -> list[Command]:
    return [CloseLink(LinkId(f"probe-{number}")), StopTimer(PROBE)]


def test_the_port_of_a_suspected_leader_is_tried_first() -> None:
    bench = Bench()
    assert bench.heir.suspect(ANA) == [
        OpenLink(LinkId("probe-1"), LinkKind.ROOM_CONNECT, "tcp://ana:1"),
        Send(LinkId("probe-1"), Ping(1)),
        StartTimer(PROBE, limits.PROBE_MS),
    ]
    assert bench.heir.phase is Phase.PROBING
    assert bench.heir.owns(LinkId("probe-1"))
    assert not bench.heir.owns(LinkId("probe-2"))


def test_a_port_that_refuses_connections_is_that_of_no_process_and_the_claim_says_so_each_time() -> None:
    bench = Bench().to(Phase.PROBING)
    assert bench.heir.link_down() == [*closed(), UNREACHABLE, AGAIN]
    assert not bench.heir.owns(LinkId("probe-1"))
    for _ in range(3):
        assert bench.heir.timer(CLAIM) == [UNREACHABLE, AGAIN]


def test_of_a_port_that_says_nothing_only_zdns_knows_and_each_claim_leaves_it_to_it() -> None:
    bench = Bench().to(Phase.PROBING)
    assert bench.heir.timer(PROBE) == [*closed(), CLAIMED, AGAIN]
    for _ in range(3):
        assert bench.heir.timer(CLAIM) == [CLAIMED, AGAIN]


def test_a_leader_that_answers_gets_time_to_link_to_us_before_zdns_is_asked() -> None:
    bench = Bench().to(Phase.PROBING)
    assert bench.heir.answered() == [*closed(), StartTimer(CLAIM, limits.LEADER_SILENT_MS)]
    assert bench.heir.timer(CLAIM) == [CLAIMED, AGAIN]


def test_a_leader_that_answers_was_not_unreachable_whatever_was_thought_before() -> None:
    bench = Bench().to(Phase.PROBING)
    bench.heir.link_down()
    bench.heir.calm()
    bench.heir.suspect(ANA)
    bench.heir.answered()
    assert bench.heir.timer(CLAIM) == [CLAIMED, AGAIN]


def test_a_leader_without_an_address_is_claimed_from_at_once() -> None:
    bench = Bench()
    assert bench.heir.suspect(ServerInfo("x", "x", (), ())) == [CLAIMED, AGAIN]


def test_what_was_found_out_about_one_leader_says_nothing_about_the_next() -> None:
    bench = Bench().to(Phase.PROBING)
    bench.heir.link_down()
    assert bench.heir.suspect(ANA) == []
    commands = bench.heir.suspect(BO)
    assert commands[0] == StopTimer(CLAIM)
    assert OpenLink(LinkId("probe-2"), LinkKind.ROOM_CONNECT, "tcp://bo:1") in commands
    assert bench.heir.timer(CLAIM) == []
    assert bench.heir.timer(PROBE) == [*closed(2), CLAIMED, AGAIN]
    assert bench.heir.timer(CLAIM) == [CLAIMED, AGAIN]


def test_the_probe_of_one_leader_ends_with_the_suspicion_of_the_next() -> None:
    bench = Bench().to(Phase.PROBING)
    assert bench.heir.suspect(BO)[:2] == closed(1)
    assert not bench.heir.owns(LinkId("probe-1"))
    bench.heir.calm()
    assert bench.heir.suspect(BO)[0] == OpenLink(LinkId("probe-3"), LinkKind.ROOM_CONNECT, "tcp://bo:1")


def test_whoever_claims_what_was_its_own_suspects_nobody_meanwhile() -> None:
    bench = Bench().to(Phase.CLAIMING)
    assert bench.heir.suspect(BO) == []
    bench.heir.calm()
    assert bench.heir.suspect(BO) != []


def test_a_claim_on_purpose_ends_a_probe() -> None:
    bench = Bench().to(Phase.PROBING)
    assert bench.heir.claim(unreachable=True) == [*closed(), UNREACHABLE, AGAIN]
    assert bench.heir.claim(unreachable=False) == [CLAIMED, AGAIN]


@pytest.mark.parametrize(
    ("phase", "commands"),
    [
        (Phase.CALM, []),
        (Phase.PROBING, [*closed(), StopTimer(CLAIM)]),
        (Phase.CLAIMING, [StopTimer(CLAIM)]),
    ],
)
def test_who_is_calm_does_nothing_more_and_can_suspect_anew(phase: Phase, commands: list[Command]) -> None:
    bench = Bench().to(phase)
    assert bench.heir.calm() == commands
    assert bench.heir.phase is Phase.CALM
    assert not bench.heir.owns(LinkId("probe-1"))
    assert bench.heir.timer(PROBE) == bench.heir.timer(CLAIM) == bench.heir.link_down() == []
    assert len(bench.heir.suspect(ANA)) == 3


EVENTS: dict[str, Callable[[Succession], list[Command]]] = {
    "suspected": lambda heir: heir.suspect(ANA),
    "answered": lambda heir: heir.answered(),
    "link down": lambda heir: heir.link_down(),
    "probe timer": lambda heir: heir.timer(PROBE),
    "claim timer": lambda heir: heir.timer(CLAIM),
    "unknown timer": lambda heir: heir.timer("heir.unknown"),
}
MEANS: dict[Phase, set[str]] = {
    Phase.CALM: {"suspected"},
    Phase.PROBING: {"answered", "link down", "probe timer"},
    Phase.CLAIMING: {"claim timer"},
}


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("event", EVENTS)
def test_every_phase_meets_every_event_and_what_means_nothing_does_nothing(phase: Phase, event: str) -> None:
    bench = Bench().to(phase)
    commands = EVENTS[event](bench.heir)
    if event in MEANS[phase]:
        assert commands
    else:
        assert (commands, bench.heir.phase, bench.links) == ([], phase, 0 if phase is not Phase.PROBING else 1)
