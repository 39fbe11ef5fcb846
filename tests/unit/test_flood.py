"""How fast one participant may post."""

from wire.flood import FloodGate


def test_the_flood_gate_lets_a_burst_through_and_then_so_many_a_second() -> None:
    gate = FloodGate(3)  # a burst of 10
    assert [gate.passes(0) for _ in range(11)] == [True] * 10 + [False]
    assert not gate.passes(300)
    assert gate.passes(334)
    assert [gate.passes(60_000) for _ in range(11)] == [True] * 10 + [False]
    assert all(FloodGate(0).passes(0) for _ in range(1_000))


def test_the_burst_may_be_said_apart() -> None:
    gate = FloodGate(2, 5)
    assert [gate.passes(0) for _ in range(6)] == [True] * 5 + [False]
    assert [gate.passes(1_000) for _ in range(3)] == [True, True, False]
