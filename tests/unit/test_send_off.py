"""broker.send_off: everybody hears where the room has gone, and for how long it is said."""

from broker.room import FEED, ROOM
from broker.send_off import RELOCATE, SendOff
from tests.support.replicas import ANA, BO, record
from wire import limits
from wire.messages import Moved, Relocate
from wire.step import Send, StartTimer, StopTimer

SAID = [Send(FEED, Relocate(7, BO, "handover")), StartTimer(RELOCATE, limits.RELOCATE_REPEAT_MS)]


def test_it_is_said_at_once_to_all_and_to_each_whose_request_was_put_off() -> None:
    send_off = SendOff()
    assert send_off.moved is None
    told = send_off.begin(record(7, 1, BO), "handover", [b"1", b"2"])
    assert told == [*SAID, Send(ROOM, Moved(7, BO), b"1"), Send(ROOM, Moved(7, BO), b"2")]
    assert send_off.moved == Moved(7, BO)


def test_it_is_said_again_for_a_while_and_answered_for_good() -> None:
    send_off = SendOff()
    send_off.begin(record(7, 1, BO), "handover", [])
    assert [send_off.again() for _ in range(limits.RELOCATE_REPEATS)] == [*[SAID] * (limits.RELOCATE_REPEATS - 1), []]
    assert send_off.moved == Moved(7, BO)


def test_nothing_is_said_any_more_when_the_room_is_back() -> None:
    send_off = SendOff()
    send_off.begin(record(7, 1, BO), "handover", [])
    assert send_off.end() == [StopTimer(RELOCATE)]
    assert send_off.moved is None
    assert send_off.again() == []


def test_of_two_successors_the_later_one_counts() -> None:
    send_off = SendOff()
    send_off.begin(record(7, 1, BO), "handover", [])
    send_off.begin(record(8, 1, ANA), "failover", [])
    assert send_off.moved == Moved(8, ANA)
    assert send_off.again()[0] == Send(FEED, Relocate(8, ANA, "failover"))
