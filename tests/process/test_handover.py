"""The server role moves on: by the clock, on request, on leaving; and machines die while it does."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import PATIENCE_S, Chat, Line, Zdns, handed_over, run_handover

Start = Callable[..., Chat]


def check_promises(people: list[Chat], posted_texts: dict[str, list[str]]) -> None:
    """Everyone saw the same messages in the same order, each acknowledged one once, each author's in order."""
    sequences = []
    for person in people:
        messages = [event for event in person.seen if event["event"] == "message"]
        seqs = [event["seq"] for event in messages]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), f"{person.command[-6:]}: a gap or a double"
        assert len({event["id"] for event in messages}) == len(messages)
        sequences.append({event["seq"]: (event["author"], event["text"]) for event in messages})
    for sequence in sequences[1:]:
        common = sequence.keys() & sequences[0].keys()
        assert common
        assert {seq: sequence[seq] for seq in common} == {seq: sequences[0][seq] for seq in common}
    for author, texts in posted_texts.items():
        assert [text for _, (name, text) in sorted(sequences[0].items()) if name == author] == texts


def trio(chat: Start, *options: str) -> list[Chat]:
    """Three people, of whom ana serves: on a busy machine another one might be faster than its `-s`."""
    ana = chat("ana", "-s", *options)
    ana.ready()
    others = [chat("bo", *options), chat("cy", *options)]
    for person in others:
        person.ready()
    return [ana, *others]


def test_the_role_moves_by_the_clock_while_people_type_and_nothing_is_lost(chat: Start) -> None:
    people = trio(chat, "--term", "0.3")
    texts: dict[str, list[str]] = {"ana": [], "bo": [], "cy": []}
    moves, round_number, began = 0, 0, time.monotonic()
    while moves < 8 and time.monotonic() - began < PATIENCE_S:
        round_number += 1
        for name, person in zip(texts, people, strict=True):
            text = f"{name} {round_number}"
            texts[name].append(text)
            person.do("post", text=text, tag=round_number)
        # A round is over when everyone has its own acknowledgement: the pace is set by the room, not by a clock.
        for person in people:
            person.until("posted", tag=round_number)
        moves = max(event["epoch"] for event in people[0].seen if "epoch" in event) - 1
    head = sum(map(len, texts.values()))
    for person in people:
        person.shown(head)
    assert moves >= 8
    check_promises(people, texts)
    for person in people:
        changes = [e for e in person.seen if e["event"] == "member" and e["state"] in ("left", "lost")]
        assert not changes, "a handover shows as nobody's leaving"
        epochs = [event["epoch"] for event in person.seen if event["event"] == "relocated"]
        assert epochs == sorted(set(epochs))
    # Not by what they were told: who stands still for a while learns of a handover as of a failover.
    people[0].do("status")
    assert {move["reason"] for move in people[0].until("status")["handovers"]} == {"handover"}


def test_with_nobody_else_it_serves_on_and_status_says_why(chat: Start) -> None:
    ana = chat("ana", "-s", "--term", "0.2")
    ana.ready()
    status: Line = {"remark": ""}
    began = time.monotonic()
    while not status["remark"] and time.monotonic() - began < PATIENCE_S:
        ana.do("status")
        status = ana.until("status")
    assert "nobody else" in status["remark"]
    assert status["epoch"] == 1
    ana.do("post", text="alone", tag=1)
    assert ana.until("posted")["seq"] == 1


def test_leaving_hands_over_first(chat: Start) -> None:
    ana, bo, cy = trio(chat, "--term", "0")
    ana.do("post", text="before", tag=1)
    ana.until("posted")
    ana.popen.send_signal(signal.SIGTERM)
    assert bo.until("relocated")["epoch"] == 2
    assert cy.until("relocated")["epoch"] == 2
    assert ana.wait() == 0
    bo.do("post", text="after", tag=2)
    assert bo.until("posted")["seq"] == 2
    assert cy.until("message", seq=2)["text"] == "after"
    assert cy.until("member", name="ana", state="left")


def test_a_closed_screen_hands_over_too(chat: Start) -> None:
    ana, bo, _ = trio(chat, "--term", "0")
    ana.do("post", text="before", tag=1)
    ana.until("posted")
    ana.popen.kill()  # the client half alone; its server half sees that it is gone
    assert bo.until("relocated")["epoch"] == 2
    bo.do("post", text="after", tag=2)
    assert bo.until("posted")["seq"] == 2


def test_the_last_ten_moves_are_told(chat: Start, zdns: Zdns, tmp_path: Path) -> None:
    ana, bo, _ = trio(chat, "--term", "0")
    for epoch, target in ((2, "bo"), (3, "cy"), (4, "ana")):
        moved = run_handover(tmp_path, target, zdns.address)
        assert moved.returncode == 0, moved.stderr
        assert bo.until("relocated", epoch=epoch)["server"] == target
    ana.do("status")
    moves = ana.until("status")["handovers"]
    assert [(move["epoch"], move["from"], move["to"], move["reason"]) for move in moves] == [
        (2, "ana", "bo", "handover"),
        (3, "bo", "cy", "handover"),
        (4, "cy", "ana", "handover"),
    ]


def test_two_handovers_asked_for_at_once_are_one(chat: Start) -> None:
    ana, bo, cy = trio(chat, "--term", "0")
    bo.do("handover")
    cy.do("handover")
    handed_over(bo)
    handed_over(cy)
    ana.until("relocated")
    ana.do("status")
    assert ana.until("status")["epoch"] in (2, 3)


def test_the_gate_travels_with_the_room(chat: Start, zdns: Zdns, tmp_path: Path) -> None:
    ana = chat("ana", "-s", "-n", "3", "--term", "0")
    ana.ready()
    bo = chat("bo", "-n", "3", "--term", "0")
    bo.ready()
    ana.do("post", text="kept", tag=1)
    ana.until("posted")
    assert run_handover(tmp_path, "bo", zdns.address).returncode == 0
    assert bo.until("relocated")["server"] == "bo"
    assert not bo.texts()
    cy = chat("cy", "-n", "3")
    cy.ready()
    for person in (ana, bo, cy):
        assert person.until("message", seq=1)["text"] == "kept"


def test_chat_outlives_zdns_and_hands_over_again_when_it_is_back(chat: Start, zdns: Zdns, tmp_path: Path) -> None:
    people = trio(chat, "--term", "0.5")
    people[0].until("relocated")
    zdns.kill()
    texts = [f"without a name server {number}" for number in range(30)]
    for number, text in enumerate(texts):
        people[1].do("post", text=text, tag=number)
        people[1].until("posted", tag=number)
    epoch = max(event["epoch"] for event in people[1].seen if "epoch" in event)
    with Zdns(tmp_path, port=zdns.port):
        later = people[1].until("relocated")
        while later["epoch"] <= epoch:
            later = people[1].until("relocated")
        people[1].do("post", text="and with one", tag="last")
        people[1].until("posted", tag="last")
        head = people[1].until("message", text="and with one")["seq"]
        for person in people:
            person.shown(head)
        check_promises(people, {"bo": [*texts, "and with one"]})


def test_when_the_only_holder_of_the_history_dies_it_is_said_by_name_and_fresh_starts_over(chat: Start) -> None:
    ana = chat("ana", "-s", "--term", "0", "--replicas", "0")
    ana.ready()
    bo = chat("bo")
    bo.ready()
    ana.do("post", text="gone with ana", tag=1)
    ana.until("posted")
    bo.until("message", seq=1)
    ana.kill()
    told = bo.until("error", code="nobody_serves")
    assert "ana" in told["message"]
    assert "--fresh" in told["message"]
    bo.do("post", text="waits for a server", tag=2)
    cy = chat("cy", "--fresh")
    assert cy.ready()["head"] in (0, 1)
    assert bo.until("posted", tag=2)["seq"] == 1
    assert bo.until("error", code="fresh_start")
    assert cy.until("message", seq=1)["text"] == "waits for a server"


@pytest.mark.parametrize("seed", range(4))
def test_targets_and_sources_killed_at_random_moments(chat: Start, seed: int) -> None:
    """Whoever dies, the room is whole afterwards."""
    moment = random.Random(seed)
    people = {"ana": chat("ana", "-s", "--term", "0.4")}
    people["ana"].ready()
    people |= {name: chat(name, "--term", "0.4") for name in ("bo", "cy", "di")}
    for name in ("bo", "cy", "di"):
        people[name].ready()
    watcher = people["ana"]
    watcher.do("handover")
    watcher.until("handed_over", "refused")
    acknowledged: list[str] = []
    for number in range(moment.randrange(5, 40)):
        watcher.do("post", text=f"a {number}", tag=number)
        watcher.until("posted", tag=number)
        acknowledged.append(f"a {number}")
    people.pop(moment.choice(["bo", "cy", "di"])).kill()
    watcher.do("post", text="afterwards", tag="after")
    watcher.until("posted", tag="after")
    acknowledged.append("afterwards")
    head = watcher.until("message", text="afterwards")["seq"]
    for person in people.values():
        person.shown(head)
    check_promises(list(people.values()), {"ana": acknowledged})
