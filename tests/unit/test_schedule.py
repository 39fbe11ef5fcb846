"""Unit tests of peer.schedule."""

from peer import notices
from peer.schedule import Schedule


def news(
    schedule: Schedule, now_ms: int, epoch: int = 1, server: str = "ana", member: str = "ana"
) -> list[float | None]:
    """The seconds that are told; empty: nothing is."""
    return [notice.next_handover_in_s for notice in schedule.news(epoch, server, member, now_ms)]


def beat(schedule: Schedule, next_handover_ms: int, now_ms: int, epoch: int = 1) -> list[float | None]:
    schedule.beat(next_handover_ms, now_ms)
    return news(schedule, now_ms, epoch)


def test_nothing_is_told_before_the_first_heartbeat_of_an_epoch_and_then_all_of_it() -> None:
    schedule = Schedule()
    assert news(schedule, 0) == []
    schedule.beat(12_500, 0)
    assert schedule.news(1, "ana", "Ana", 0) == [
        notices.Schedule(epoch=1, server="ana", member="Ana", next_handover_in_s=12.5)
    ]
    schedule.begin()
    assert news(schedule, 100, epoch=2) == []
    assert beat(schedule, -1, 200, epoch=2) == [None]


def test_seconds_that_go_by_are_no_news() -> None:
    schedule = Schedule()
    assert beat(schedule, 30_000, 0) == [30.0]
    for now_ms in range(500, 30_000, 500):
        wander_ms = 1_400 if now_ms % 1_000 else -1_400
        assert beat(schedule, 30_000 - now_ms + wander_ms, now_ms) == [] or now_ms > 28_000


def test_a_handover_that_is_under_way_is_no_news_however_long_it_takes() -> None:
    schedule = Schedule()
    assert beat(schedule, 1_000, 0) == [1.0]
    for now_ms in range(1_000, 20_000, 500):
        assert beat(schedule, 0, now_ms) == []
    assert beat(schedule, 30_000, 20_000) == [30.0], "it has failed, and another is planned"


def test_another_moment_is_told_and_so_is_none() -> None:
    schedule = Schedule()
    assert beat(schedule, 30_000, 0) == [30.0]
    assert beat(schedule, 31_400, 0) == []
    assert beat(schedule, 31_600, 0) == [31.6]
    assert beat(schedule, -1, 500) == [None]
    assert beat(schedule, -1, 1_000) == []
    assert beat(schedule, 5_000, 1_500) == [5.0]
    assert beat(schedule, 0, 2_000) == [0.0], "it was due in 4.5 s, and is now"


def test_a_handover_that_is_due_at_once_is_told_as_such() -> None:
    schedule = Schedule()
    assert beat(schedule, 0, 500) == [0.0]
    assert beat(schedule, 0, 5_000) == []


def test_a_moment_that_moves_by_no_more_than_a_clock_may_is_no_news() -> None:
    schedule = Schedule()
    beat(schedule, 30_000, 0)
    assert beat(schedule, 31_500, 0) == []
    assert beat(schedule, 31_501, 0) == [31.501]


def test_another_name_of_who_serves_is_told_with_the_seconds_that_are_left() -> None:
    schedule = Schedule()
    beat(schedule, 30_000, 0)
    assert news(schedule, 10_000, member="zoe") == [20.0]
    assert news(schedule, 10_000, member="zoe") == []
    assert news(schedule, 11_000, member="") == [19.0]
    assert news(schedule, 40_000, server="shelf", member="") == [0.0]
