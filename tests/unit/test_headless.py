"""The watcher of the promises must notice each way in which one can be broken."""

from collections.abc import Callable

import pytest

from scripts.headless import Witness, broken_promises, report


def witnesses() -> list[Witness]:
    """Two participants with two posts each, and all is well."""
    both = [Witness("ana"), Witness("bo")]
    order = [("ana", 1), ("bo", 1), ("bo", 2), ("ana", 2)]
    for seen in both:
        for seq, (author, tag) in enumerate(order, start=1):
            line = {"event": "message", "seq": seq, "id": f"{author}{tag}", "author": author, "text": f"{author} {tag}"}
            seen.hear(line, 0)
            if author == seen.name:
                seen.posted_ms[tag] = 0
                seen.hear({"event": "posted", "tag": tag, "id": f"{author}{tag}", "seq": seq}, 5)
    return both


def test_nothing_is_broken_when_all_is_well() -> None:
    assert broken_promises(witnesses()) == []


def _lose_last(both: list[Witness]) -> None:
    both[1].messages.pop()


def _lose_middle(both: list[Witness]) -> None:
    del both[1].messages[1]


def _double(both: list[Witness]) -> None:
    both[1].messages.append(both[1].messages[-1])


def _double_with_new_seq(both: list[Witness]) -> None:
    both[1].messages.append({**both[1].messages[-1], "seq": 5})


def _swap(both: list[Witness]) -> None:
    first, second, third, fourth = both[1].messages
    both[1].messages = [{**second, "seq": 1}, {**first, "seq": 2}, third, fourth]


def _swap_everywhere(both: list[Witness]) -> None:
    for seen in both:
        first, second, third, fourth = seen.messages
        seen.messages = [first, {**third, "seq": 2}, {**second, "seq": 3}, fourth]
    both[1].acknowledged[1]["seq"], both[1].acknowledged[2]["seq"] = 3, 2


def _never_acknowledge(both: list[Witness]) -> None:
    both[0].posted_ms[3] = 0


def _acknowledge_twice(both: list[Witness]) -> None:
    both[0].hear({"event": "posted", "tag": 2, "id": "ana2", "seq": 4}, 9)


def _acknowledge_with_another_seq(both: list[Witness]) -> None:
    both[0].acknowledged[2]["seq"] = 3


def _come_and_go(both: list[Witness]) -> None:
    both[0].hear({"event": "member", "name": "bo", "state": "lost"}, 0)


def _complain(both: list[Witness]) -> None:
    both[0].hear({"event": "refused", "tag": 1, "code": "flood", "message": "too fast"}, 0)


@pytest.mark.parametrize(
    "spoil",
    [
        _lose_last,
        _lose_middle,
        _double,
        _double_with_new_seq,
        _swap,
        _swap_everywhere,
        _never_acknowledge,
        _acknowledge_twice,
        _acknowledge_with_another_seq,
        _come_and_go,
        _complain,
    ],
)
def test_each_breach_is_noticed(spoil: Callable[[list[Witness]], None]) -> None:
    both = witnesses()
    spoil(both)
    assert broken_promises(both) != []


def test_what_happens_while_leaving_is_no_breach() -> None:
    both = witnesses()
    both[0].leaving = True
    _come_and_go(both)
    assert broken_promises(both) == []


def test_the_report_counts_handovers_and_pauses() -> None:
    both = witnesses()
    for seen in both:
        seen.hear({"event": "relocated", "epoch": 2, "reason": "handover", "pause_ms": 7}, 0)
        seen.hear({"event": "relocated", "epoch": 3, "reason": "failover", "pause_ms": 900}, 0)
    lines = report(both, {"epoch": 3}, 1_000, ["something broke"])
    assert "handovers                    1, failovers 1" in lines
    assert "pause seen by a client       median 453.5 ms, worst 900 ms" in lines
    assert lines[-1] == "BROKEN: something broke"
