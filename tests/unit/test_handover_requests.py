"""broker.handover_requests: each request is answered once, and whoever failed is left out for a while."""

from broker.handover_requests import HandoverRequests
from broker.room import ROOM
from wire import limits
from wire.errors import RefusalCode
from wire.messages import Done, HandOver, Refused
from wire.step import Send


def code(refused: Refused | None) -> RefusalCode | None:
    return None if refused is None else refused.code


def test_all_who_ask_are_answered_once() -> None:
    requests = HandoverRequests()
    assert requests.ask(HandOver(1, "bo"), b"a", serving="ana", busy=False, now_ms=0) is None
    assert requests.to == "bo"
    assert requests.ask(HandOver(2, "BO"), b"b", serving="ana", busy=True, now_ms=0) is None
    assert requests.ask(HandOver(3, ""), b"c", serving="ana", busy=True, now_ms=0) is None
    assert requests.answer(Done) == [Send(ROOM, Done(1), b"a"), Send(ROOM, Done(2), b"b"), Send(ROOM, Done(3), b"c")]
    assert (requests.answer(Done), requests.to, len(requests)) == ([], "", 0)


def test_what_cannot_be_done_is_refused_and_changes_nothing() -> None:
    requests = HandoverRequests()
    serves = requests.ask(HandOver(1, "ANA"), b"a", serving="ana", busy=False, now_ms=0)
    assert code(serves) is RefusalCode.NOT_STANDBY
    assert requests.ask(HandOver(2, "bo"), b"a", serving="ana", busy=False, now_ms=0) is None
    other = requests.ask(HandOver(3, "cy"), b"a", serving="ana", busy=True, now_ms=0)
    assert (code(other), requests.to, len(requests)) == (RefusalCode.BUSY, "bo", 1)


def test_how_many_wait_has_a_bound() -> None:
    requests = HandoverRequests()
    for ask in range(limits.MEMBERS_MAX):
        assert requests.ask(HandOver(ask, ""), b"a", serving="ana", busy=False, now_ms=0) is None
    assert code(requests.ask(HandOver(9, ""), b"a", serving="ana", busy=False, now_ms=0)) is RefusalCode.BUSY
    assert len(requests) == limits.MEMBERS_MAX


def test_a_standby_that_is_coming_up_is_waited_for_as_long_as_somebody_asks() -> None:
    requests = HandoverRequests()
    assert not requests.wait_for_standby(0)
    requests.ask(HandOver(1, ""), b"a", serving="ana", busy=False, now_ms=100)
    assert requests.wait_for_standby(100 + limits.HANDOVER_STEP_MS - 1)
    assert not requests.wait_for_standby(100 + limits.HANDOVER_STEP_MS)
    requests.answer(Done)
    assert not requests.wait_for_standby(100)


def test_whoever_failed_is_left_out_for_a_while_unless_it_is_wanted() -> None:
    requests = HandoverRequests()
    requests.leave_out("b", now_ms=0)
    requests.leave_out("c", now_ms=5)
    assert requests.exclude(limits.LEFT_OUT_MS - 1) == ("b", "c")
    assert requests.exclude(limits.LEFT_OUT_MS) == ("c",)
    assert requests.leaves_out
    requests.ask(HandOver(1, "cy"), b"a", serving="ana", busy=False, now_ms=0)
    assert requests.exclude(limits.LEFT_OUT_MS) == ()
    requests.answer(Done)
    requests.leave_nobody_out()
    assert (requests.leaves_out, requests.exclude(limits.LEFT_OUT_MS)) == (False, ())
