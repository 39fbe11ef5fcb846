"""Links that were asked for: whoever asks, asks for itself, and takes nothing from anybody else."""

from broker.candidates import CANDIDATE, Candidates
from broker.replication import Line
from tests.support.histories import SERVICE
from wire import limits
from wire.messages import LinkAsk, LinkAt, ServerInfo
from wire.names import LinkId
from wire.step import CloseLink, Command, LinkKind, OpenLink, Send, StartTimer, StopTimer

ROOM = LinkId("room")
FIRST, SECOND, THIRD = (LinkId(f"copy-{number}") for number in (1, 2, 3))


def server(name: str, key: str = "") -> ServerInfo:
    return ServerInfo(f"{name}-id", name, (f"tcp://{name}:1",), (f"tcp://{name}:2",), key)


def ask(candidates: Candidates, of: ServerInfo, pair: str = "pair-1") -> list[Command]:
    return candidates.ask(LinkAsk(limits.PROTOCOL, SERVICE, pair, of), f"route of {of.name}".encode())


def made() -> Candidates:
    names = iter(range(1, 100))
    return Candidates(lambda: LinkId(f"copy-{next(names)}"))


def timer_of(link: LinkId) -> str:
    return f"{CANDIDATE}.{link}"


def closed(link: LinkId) -> list[Command]:
    return [CloseLink(link, linger_ms=100), StopTimer(timer_of(link))]


def opened(link: LinkId, key: str = "") -> list[Command]:
    return [
        OpenLink(link, LinkKind.COPY_BIND, key=key),
        StartTimer(timer_of(link), limits.HANDOVER_STEP_MS),
    ]


def test_each_has_a_link_of_its_own_and_is_told_where() -> None:
    candidates = made()
    ana, bo = server("ana", "key of ana"), server("bo", "key of bo")
    assert ask(candidates, ana, "p") == opened(FIRST, "key of ana")
    assert ask(candidates, bo, "q") == opened(SECOND, "key of bo")
    assert candidates.bound(SECOND, ("tcp://here:2",), ROOM) == [
        Send(ROOM, LinkAt("q", ("tcp://here:2",)), b"route of bo")
    ]
    assert candidates.bound(FIRST, ("tcp://here:1",), ROOM) == [
        Send(ROOM, LinkAt("p", ("tcp://here:1",)), b"route of ana")
    ]
    assert (candidates.line(FIRST), candidates.line(SECOND)) == (Line(FIRST, "p", ana), Line(SECOND, "q", bo))
    assert candidates.line(THIRD) is None
    assert candidates.bound(THIRD, ("tcp://here:3",), ROOM) == []


def test_who_asks_again_gives_up_its_own_link_only() -> None:
    candidates = made()
    ask(candidates, server("ana", "a"))
    ask(candidates, server("bo", "b"))
    # By the key: ids are made up as one likes.
    assert ask(candidates, server("another", "b")) == [*closed(SECOND), *opened(THIRD, "b")]
    assert candidates.line(FIRST) is not None


def test_without_keys_it_is_the_server_that_has_one() -> None:
    candidates = made()
    ask(candidates, server("ana"))
    ask(candidates, server("bo"))
    assert ask(candidates, server("ana")) == [*closed(FIRST), *opened(THIRD)]
    assert candidates.line(SECOND) is not None


def test_when_there_are_many_the_oldest_makes_room() -> None:
    candidates = made()
    for number in range(limits.CANDIDATES_MAX):
        ask(candidates, server(f"n{number}", f"k{number}"))
    assert ask(candidates, server("late", "late"))[:2] == closed(FIRST)
    assert candidates.line(SECOND) is not None


def test_one_that_counts_stays_open_and_is_a_candidate_no_more() -> None:
    candidates = made()
    ask(candidates, server("ana"))
    ask(candidates, server("bo"))
    assert candidates.take(FIRST) == [StopTimer(timer_of(FIRST))]
    assert candidates.line(FIRST) is None
    assert candidates.take(FIRST) == []
    assert candidates.drop(SECOND) == closed(SECOND)
    assert candidates.drop(SECOND) == []


def test_each_has_its_time() -> None:
    candidates = made()
    ask(candidates, server("ana"))
    ask(candidates, server("bo"))
    assert candidates.timer(timer_of(THIRD)) == []
    assert candidates.timer(timer_of(FIRST)) == closed(FIRST)
    assert candidates.timer(timer_of(FIRST)) == []
    assert candidates.drop_all() == closed(SECOND)
    assert candidates.drop_all() == []
