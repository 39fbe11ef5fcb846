"""What waits is bounded, in order, and there once."""

import pytest

from broker.parking import Parking
from wire import limits
from wire.messages import Ping, Posts


def test_what_waits_comes_out_once_in_the_order_it_came() -> None:
    parking = Parking()
    for ask, route in enumerate((b"bo", b"ana", b"bo")):
        parking.add(route, Ping(ask))
    assert parking.empty() == [(b"bo", Ping(0)), (b"ana", Ping(1)), (b"bo", Ping(2))]
    assert parking.empty() == []


def test_what_is_parked_is_bounded_and_a_repeat_is_not_kept_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PARKED_BYTES_MAX", 3 * limits.KIB)
    parking = Parking()
    for _ in range(5):
        parking.add(b"ana", Posts(1, ("x",)))
    parking.add(b"bo", Ping(1))
    parking.add(b"cy", Ping(1))
    assert [route for route, _ in parking.empty()] == [b"ana", b"bo"]
    parking.add(b"cy", Ping(1))
    assert [route for route, _ in parking.empty()] == [b"cy"]
