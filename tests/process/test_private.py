"""Private talks between real participants: direct, acknowledged, once, and undisturbed by handovers."""

from collections.abc import Callable
from pathlib import Path

from tests.support.processes import Chat, Zdns, run_handover

Start = Callable[..., Chat]


def received(person: Chat) -> list[tuple[str, str]]:
    return [(e["from"], e["text"]) for e in person.seen if e["event"] == "private" and e["state"] == "received"]


def test_a_private_text_reaches_one_and_nobody_else(chat: Start) -> None:
    ana, bo, cy = chat("ana", "-s"), chat("bo"), chat("cy")
    for person in (ana, bo, cy):
        person.ready()
    ana.do("tell", to="BO", text="psst", tag="t")
    assert ana.until("private", state="queued")["tag"] == "t"
    got = bo.until("private", state="received")
    assert (got["from"], got["to"], got["text"]) == ("ana", "bo", "psst")
    done = ana.until("private", state="delivered")
    assert (done["id"], done["tag"]) == (got["id"], "t")
    bo.do("tell", to="ana", text="what?", tag="u")
    assert ana.until("private", state="received")["text"] == "what?"
    assert bo.until("private", state="delivered")["tag"] == "u"
    ana.do("post", text="end")
    cy.until("message", text="end")
    assert not [event for event in cy.seen if event["event"] == "private"]


def test_an_absent_receiver_is_told_of_at_once_and_a_dead_one_in_time(chat: Start) -> None:
    ana, bo = chat("ana", "-s"), chat("bo")
    ana.ready()
    bo.ready()
    ana.do("tell", to="nobody", text="hello?", tag=1)
    failed = ana.until("private", "refused", tag=1, state="failed")
    assert failed["reason"]
    ana.do("tell", to="ana", text="me", tag=2)
    assert ana.until("refused")["tag"] == 2
    ana.do("tell", to="bo", text="one", tag=3)
    ana.until("private", state="delivered", tag=3)
    bo.kill()
    ana.do("tell", to="bo", text="two", tag=4)
    assert ana.until("private", state="failed", tag=4)["reason"]


def test_two_who_call_each_other_at_the_same_moment_get_one_talk(chat: Start) -> None:
    ana, bo = chat("ana", "-s"), chat("bo")
    ana.ready()
    bo.ready()
    for number in range(20):
        ana.do("tell", to="bo", text=f"a{number}", tag=number)
        bo.do("tell", to="ana", text=f"b{number}", tag=number)
    for person in (ana, bo):
        for number in range(20):
            person.until("private", state="delivered", tag=number)
    for person, other, letter in ((ana, "bo", "b"), (bo, "ana", "a")):
        person.do("who")
        person.until("members")
        assert received(person) == [(other, f"{letter}{number}") for number in range(20)]


def test_a_talk_goes_on_while_the_room_is_handed_over(chat: Start, zdns: Zdns, tmp_path: Path) -> None:
    ana = chat("ana", "-s", "--term", "0")
    ana.ready()  # before the others come: on a busy machine one of them might be the first to register
    bo, cy = chat("bo"), chat("cy")
    for person in (bo, cy):
        person.ready()
    number = 0
    for target in ("bo", "cy", "ana", "bo"):
        for _ in range(10):
            ana.do("tell", to="bo", text=f"t{number}", tag=number)
            number += 1
        assert run_handover(tmp_path, target, zdns.address).returncode == 0
    for tag in range(number):
        ana.until("private", state="delivered", tag=tag)
    for tag in range(number):
        bo.until("private", state="received", text=f"t{tag}")
    assert received(bo) == [("ana", f"t{tag}") for tag in range(number)]


def test_many_talks_at_once(chat: Start) -> None:
    hub = chat("hub", "-s")
    hub.ready()
    others = [chat(f"p{number}", "--no-serve") for number in range(8)]
    for other in others:
        other.ready()
    for number in range(5):
        for index, other in enumerate(others):
            hub.do("tell", to=f"p{index}", text=f"{number}", tag=f"{index}/{number}")
            other.do("tell", to="hub", text=f"{number}", tag=number)
    for index, other in enumerate(others):
        for number in range(5):
            hub.until("private", state="delivered", tag=f"{index}/{number}")
            other.until("private", state="delivered", tag=number)
            assert hub.until("private", state="received", text=f"{number}")
    for index in range(8):
        assert [text for name, text in received(hub) if name == f"p{index}"] == [str(n) for n in range(5)]
