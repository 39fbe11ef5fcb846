"""Participants in a room, as real processes: joining, talking, names, presence, the gate."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

from tests.support.processes import (
    PATIENCE_S,
    Chat,
    Line,
    Process,
    Zdns,
    environment,
    free_port,
    hand_over,
    relevo,
    run,
    run_handover,
)
from wire import limits

Start = Callable[..., Chat]


def test_two_people_talk_and_each_sees_every_message_once_in_order(chat: Start) -> None:
    ana = chat("ana", "-s")
    ready = ana.ready()
    assert (ready["name"], ready["service"], ready["epoch"], ready["head"]) == ("ana", "backend.com", 1, 0)
    bo = chat("bo")
    assert bo.ready()["members"] == ["ana", "bo"]
    ana.until("member", name="bo", state="joined")
    for number in range(20):
        (ana, bo)[number % 2].do("post", text=f"hello {number}", tag=number)
    for person, tags in ((ana, range(0, 20, 2)), (bo, range(1, 20, 2))):
        while len(person.texts()) < 20 or len([e for e in person.seen if e["event"] == "posted"]) < 10:
            assert person.next() is not None
        posted = [event for event in person.seen if event["event"] == "posted"]
        assert [event["tag"] for event in posted] == list(tags)
    assert ana.texts() == bo.texts()
    assert sorted(ana.texts()) == sorted(f"hello {number}" for number in range(20))
    seqs = [event["seq"] for event in ana.seen if event["event"] == "message"]
    assert seqs == list(range(1, 21))
    by_id = {event["id"]: event["seq"] for event in bo.seen if event["event"] == "message"}
    assert all(by_id[event["id"]] == event["seq"] for event in ana.seen if event["event"] == "posted")


def test_a_late_joiner_gets_the_newest_page_first_and_the_rest_on_request(chat: Start) -> None:
    ana = chat("ana", "-s")
    ana.ready()
    for number in range(1, 451):
        ana.do("post", text=f"m{number}")
    ana.until("message", seq=450)
    bo = chat("bo")
    assert bo.ready()["head"] == 450
    bo.until("message", seq=450)
    past = [event for event in bo.seen if event["event"] == "message"]
    assert [event["seq"] for event in past] == list(range(past[0]["seq"], 451))
    assert past[0]["seq"] > 1
    assert all(event["past"] for event in past)
    bo.do("history", before=past[0]["seq"], count=10)
    page = bo.until("history")
    assert [message["seq"] for message in page["messages"]] == list(range(past[0]["seq"] - 10, past[0]["seq"]))
    assert page["more"] is True
    bo.do("history", before=4, count=10)
    page = bo.until("history")
    assert ([message["text"] for message in page["messages"]], page["more"]) == (["m1", "m2", "m3"], False)
    bo.do("search", query="M44", count=5)
    assert [message["text"] for message in bo.until("found")["messages"]] == ["m445", "m446", "m447", "m448", "m449"]


def test_a_taken_name_is_refused_and_a_default_one_gets_a_suffix(chat: Start) -> None:
    first = chat(None, "-s")
    name = first.ready()["name"]
    second = chat(None)
    assert second.ready()["name"] == f"{name}-2"
    third = chat(name.upper())
    refused = third.until("refused", "error")
    assert refused["code"] == "name_taken"
    assert name.upper() in refused["message"]
    assert third.wait() == 77
    second.do("nick", name=name)
    assert second.until("refused")["code"] == "name_taken"
    second.do("nick", name="zoe")
    assert second.until("member", state="renamed")["was"] == f"{name}-2"
    assert first.until("member", state="renamed")["name"] == "zoe"
    second.do("post", text="under a new name")
    assert first.until("message")["author"] == "zoe"
    second.do("nick", name="two words")
    assert second.until("refused")["code"] == "bad_name"


def test_leaving_and_being_lost_are_told_apart(chat: Start) -> None:
    ana = chat("ana", "-s")
    ana.ready()
    bo, cy = chat("bo"), chat("cy")
    bo.ready()
    cy.ready()
    bo.do("quit")
    assert ana.until("member", name="bo", state="left")
    assert bo.wait() == 0
    cy.kill()
    assert ana.until("member", name="cy", state="lost")
    ana.do("who")
    assert [member["name"] for member in ana.until("members")["members"]] == ["ana"]


def test_a_member_that_stands_still_is_silent_and_then_heard_again(chat: Start) -> None:
    ana = chat("ana", "-s", "--term", "0")
    ana.ready()
    bo = chat("bo")
    bo.ready()
    bo.signal(signal.SIGSTOP)
    ana.until("member", name="bo", state="silent")
    ana.do("who")
    states = {member["name"]: member["state"] for member in ana.until("members")["members"]}
    assert states == {"ana": "here", "bo": "silent"}
    bo.signal(signal.SIGCONT)
    ana.until("member", name="bo", state="heard")
    ana.do("who")
    assert {member["state"] for member in ana.until("members")["members"]} == {"here"}
    told = [event["state"] for event in ana.seen if event["event"] == "member"]
    assert told == ["joined", "silent", "heard"]


def test_a_topic_is_everybodys_and_a_newcomers_after_a_handover_too(chat: Start) -> None:
    ana = chat("ana", "-s", "--term", "0")
    ana.ready()
    bo = chat("bo")
    bo.ready()
    ana.do("topic", text="tea & cake")
    for person in (ana, bo):
        topic = person.until("topic")
        assert (topic["text"], topic["by"]) == ("tea & cake", "ana")
    hand_over(ana, "bo")
    cy = chat("cy", "--no-serve")
    assert cy.ready()["server"] == "bo"
    assert cy.until("topic")["text"] == "tea & cake"
    cy.do("topic", text="")
    for person in (ana, bo, cy):
        assert person.until("topic", text="")["by"] == "cy"
        assert len([event for event in person.seen if event["event"] == "topic"]) == 2
    cy.do("topic", text="x" * (limits.ROOM_TOPIC_CHARS_MAX + 1))
    refused = cy.until("refused")
    assert (refused["code"], refused["what"]) == ("too_long", "topic")


def test_the_schedule_says_who_serves_and_for_how_long(chat: Start) -> None:
    ana = chat("ana", "-s", "--term", "40")
    ana.ready()
    schedule = ana.until("schedule", member="ana")
    assert (schedule["epoch"], schedule["server"]) == (1, "ana")
    assert 0 < schedule["next_handover_in_s"] <= 40
    bo = chat("bo")
    bo.ready()
    assert bo.until("schedule", epoch=1)["member"] == "ana"
    status: Line = {"standbys": []}
    while "bo" not in status["standbys"]:
        ana.do("status")
        status = ana.until("status")
    hand_over(ana, "bo")
    for person in (ana, bo):
        schedule = person.until("schedule", epoch=2)
        assert (schedule["server"], schedule["member"]) == ("bo", "bo")
        assert 30 < schedule["next_handover_in_s"] <= 40
    bo.do("nick", name="zoe")
    assert ana.until("schedule", member="zoe")["epoch"] == 2
    told = [(e["epoch"], e["server"], e["member"]) for e in ana.seen if e["event"] == "schedule"]
    assert [terms for terms, _ in groupby(told)] == [(1, "ana", "ana"), (2, "bo", "bo"), (2, "bo", "zoe")]
    # A handover that fails begins a new term, which is told.
    assert len(told) <= 6, "a schedule is not told as the seconds go by"


def test_presence_status_and_who_serves(chat: Start) -> None:
    ana = chat("ana", "-s", "--term", "0")
    ana.ready()
    bo = chat("bo")
    bo.ready()
    bo.do("away", text="lunch")
    assert ana.until("member", name="bo", state="away")
    ana.do("who")
    members = {member["name"]: member for member in ana.until("members")["members"]}
    assert (members["bo"]["state"], members["ana"]["state"]) == ("away", "here")
    assert (members["bo"]["serving"], members["ana"]["serving"]) == (False, True)
    bo.do("away", text=None)
    assert ana.until("member", name="bo", state="back")
    ana.do("status")
    status = ana.until("status")
    assert (status["service"], status["epoch"], status["active"]["name"]) == ("backend.com", 1, "ana")
    assert (status["next_handover_in_s"], status["term_s"]) == (None, 0)


def test_with_min_n_nothing_is_shown_before_all_are_there_and_then_everything_in_order(chat: Start) -> None:
    ana = chat("ana", "-s", "-n", "3")
    assert ana.ready()["min_n"] == 3
    assert ana.until("waiting")["need"] == 3
    ana.do("post", text="one", tag=1)
    assert ana.until("posted")["seq"] == 1
    bo = chat("bo", "-n", "2")
    bo.ready()
    told = bo.until("error")
    assert told["code"] == "min_n_differs"
    assert "3" in told["message"]
    assert "2" in told["message"]
    bo.do("post", text="two", tag=2)
    assert bo.until("posted")["seq"] == 2
    assert ana.until("waiting", here=2)
    assert not ana.texts()
    assert not bo.texts()
    cy = chat("cy")
    cy.ready()
    for person in (ana, bo, cy):
        person.until("message", seq=2)
        assert person.texts() == ["one", "two"]
    cy.do("quit")
    assert cy.wait() == 0
    ana.do("post", text="three")
    assert bo.until("message", seq=3)["text"] == "three"


def test_bad_lines_cost_one_error_each_and_nothing_else(chat: Start) -> None:
    ana = chat("ana", "-s")
    ana.ready()
    for line in ("no json", "[1]", '{"do":"dance"}', '{"do":"post"}', '{"do":"post","text":7}', '{"text":"x"}', '"x"'):
        ana.say(line + "\n")
        assert ana.until("error")["message"]
    ana.do("post", text="", tag="e")
    assert (ana.until("refused")["tag"], ana.seen[-1]["code"]) == ("e", "empty")
    ana.do("post", text="ä" * 5000, tag="l")
    assert ana.until("refused")["code"] == "too_long"
    ana.say('{"do":"post","text":"\\ud800","tag":"s"}\n')
    assert ana.until("refused", "error")["message"]
    ana.do("post", text="fine", unknown=1, tag=[1, {"a": 2}])
    assert ana.until("posted")["tag"] == [1, {"a": 2}]
    assert ana.until("message")["text"] == "fine"
    assert ana.texts() == ["fine"]


def test_the_end_of_input_leaves_after_what_was_typed_is_committed(chat: Start) -> None:
    ana = chat("ana", "-s")
    ana.ready()
    bo = chat("bo")
    bo.ready()
    for number in range(50):
        bo.do("post", text=f"last words {number}", tag=number)
    bo.end_input()
    events = list(bo.rest())
    assert [event["tag"] for event in events if event["event"] == "posted"] == list(range(50))
    assert events[-1]["event"] == "bye"
    assert bo.wait() == 0
    assert ana.until("message", seq=50)["text"] == "last words 49"


def test_several_services_at_once_do_not_touch(chat: Start) -> None:
    ana, bo = chat("ana", "-s", "-u", "room.one"), chat("ana", "-s", "-u", "room.one1")
    ana.ready()
    bo.ready()
    ana.do("post", text="in one")
    bo.do("post", text="in the other")
    assert ana.until("message")["text"] == "in one"
    assert bo.until("message")["text"] == "in the other"
    assert (ana.seen[-1]["seq"], bo.seen[-1]["seq"]) == (1, 1)


def test_send_tail_status_and_handover_from_the_shell(chat: Start, zdns: Zdns, tmp_path: Path) -> None:
    dns = ("--dns", zdns.address)
    nobody = run(tmp_path, "status", *dns)
    assert nobody.returncode == 69
    assert "backend.com" in nobody.stderr
    ana = chat("ana", "-s", "--term", "0")
    ana.ready()
    assert run(tmp_path, "send", "-u", "backend.com", "hello from the shell", *dns).returncode == 0
    assert ana.until("message")["text"] == "hello from the shell"
    sent = run(tmp_path, "send", *dns, text="one\ntwo\nthree\n")
    assert sent.returncode == 0, sent.stderr
    assert ana.until("message", seq=4)["text"] == "three"
    tail = run(tmp_path, "tail", "--since", "2", "--no-follow", "--json", *dns)
    lines = [json.loads(line) for line in tail.stdout.splitlines()]
    assert [(line["seq"], line["text"]) for line in lines] == [(2, "one"), (3, "two"), (4, "three")]
    assert run(tmp_path, "tail", "--count", "2", *dns).stdout.count("\n") == 2
    status = json.loads(run(tmp_path, "status", "--json", *dns).stdout)
    assert (status["head"], status["committed"], status["members"]) == (4, 4, ["ana"])
    alone = run(tmp_path, "handover", *dns)
    assert alone.returncode != 0
    assert alone.stderr
    bo = chat("bo")
    bo.ready()
    bo.until("state", state="live") if not any(
        e["event"] == "state" and e["state"] == "live" for e in bo.seen
    ) else None
    moved = run_handover(tmp_path, "bo", zdns.address)
    assert moved.returncode == 0, moved.stderr
    assert ana.until("relocated")["server"] == "bo"
    assert json.loads(run(tmp_path, "status", "--json", *dns).stdout)["active"]["name"] == "bo"


def test_a_signal_ends_it_cleanly(chat: Start) -> None:
    ana = chat("ana", "-s")
    ana.ready()
    ana.popen.send_signal(signal.SIGTERM)
    assert [event["event"] for event in ana.rest()][-1] == "bye"
    assert ana.wait() == 0
    assert not [line for line in ana.errors if "Traceback" in line]


# A relevo of another version, for what it says at the door: the number is all that differs.
OTHER_VERSION = "import sys; from wire import limits; limits.PROTOCOL += 1; from ui.cli import main; sys.exit(main())"


def test_another_protocol_version_is_refused_with_a_sentence_naming_both(zdns: Zdns, tmp_path: Path) -> None:
    for command in (["chat", "--json"], ["chat", "--plain"], ["status"], ["send", "x"], ["serve"]):
        ended = subprocess.run(
            [sys.executable, "-c", OTHER_VERSION, *command, "--dns", zdns.address],
            input="",
            capture_output=True,
            text=True,
            env=environment(tmp_path),
            cwd=tmp_path,
            timeout=PATIENCE_S,
            check=False,
        )
        assert ended.returncode == 76, (command, ended)
        said = ended.stdout + ended.stderr
        assert str(limits.PROTOCOL) in said
        assert str(limits.PROTOCOL + 1) in said
        assert "Traceback" not in said


def test_an_always_on_machine_keeps_the_room_when_everybody_has_left(chat: Start, zdns: Zdns, tmp_path: Path) -> None:
    ana = chat("ana", "-s", "--term", "0")
    ana.ready()
    ana.do("post", text="kept by the machine", tag=1)
    ana.until("posted")
    always_on = relevo("serve", "--dns", zdns.address, "--bind", "127.0.0.1", "--name", "shelf")
    with Process(always_on, tmp_path) as machine:
        status: Line = {"standbys": []}
        while "shelf" not in status["standbys"]:
            ana.do("status")
            status = ana.until("status")
        ana.do("quit")
        assert ana.wait() == 0
        now = json.loads(run(tmp_path, "status", "--json", "--dns", zdns.address).stdout)
        assert (now["active"]["name"], now["head"], now["members"]) == ("shelf", 1, [])
        bo = chat("bo", "--no-serve")
        bo.ready()
        assert bo.until("message")["text"] == "kept by the machine"
        machine.popen.send_signal(signal.SIGTERM)
        assert machine.wait() == 0


def test_several_name_servers_are_tried_in_turn(chat: Start, zdns: Zdns, tmp_path: Path) -> None:
    ana = chat("ana", "-s", "--dns", f"127.0.0.1:{free_port()},{zdns.address}")
    ana.ready()
    ana.do("post", text="found it", tag=1)
    assert ana.until("posted")["seq"] == 1
    assert run(tmp_path, "status", "--dns", zdns.address).returncode == 0


def test_the_last_one_out_without_a_disk_ends_the_history_and_the_next_one_begins_anew(chat: Start) -> None:
    ana = chat("ana", "-s", "--ephemeral")
    ana.ready()
    ana.do("post", text="for nobody", tag=1)
    ana.until("posted")
    ana.do("quit")
    assert ana.wait() == 0
    bo = chat("bo")
    ready = bo.ready()
    assert (ready["epoch"], ready["head"]) == (2, 0)
