"""Everybody is gone, or what they had on disk is: whoever comes back goes on with the history, or is told why not."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.processes import PATIENCE_S, Chat, Line, Process, hand_over, relevo, run
from tests.support.rooms import Room
from wire import limits

Start = Callable[..., Room]
LONG = "x" * 4_000


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Start]:
    """Makes a room, in which the role moves only when it has to."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(Room(tmp_path, "--term", "0", *options))


def stores(room: Room, name: str) -> list[Path]:
    """The histories in somebody's data folder, by name."""
    return sorted((room.folder / name).glob("histories/backend.com/*"))


def told(person: Chat, code: str) -> str:
    """The next error of this code."""
    message: str = person.until("error", code=code)["message"]
    return message


# --- everybody gone ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zdns_first", [True, False])
def test_everybody_and_zdns_are_killed_at_once_and_the_history_goes_on(room: Start, zdns_first: bool) -> None:
    tea = room()
    tea.enter_all("ana", "bo", "cy")
    follower = tea.follower()
    with tea.talk("ana", "bo", "cy"):
        tea.say("ana", "bo", "cy")
        tea.zdns.kill()
        tea.kill("ana", "bo", "cy")
    names = {"ana", "bo", "cy"}
    if zdns_first:
        tea.start_zdns()
    for name in names:
        tea.start(name)
    if not zdns_first:
        tea.start_zdns()
    for name in names:
        assert tea.people[name].ready()["epoch"] >= 2
    assert tea.status()["active"]["name"] in ("ana", follower)
    history = tea.check()
    assert len(history) >= 9
    assert [line["seq"] for line in history] == list(range(1, len(history) + 1))


def test_a_newcomer_is_told_for_whom_the_room_waits_until_one_of_them_is_back(room: Start) -> None:
    tea = room()
    tea.enter_all("ana", "bo")
    assert tea.follower() == "bo"
    tea.say("ana")
    tea.say("bo")
    tea.kill("ana", "bo")
    cy = tea.start("cy")
    why = told(cy, "nobody_serves")
    assert "ana, bo" in why
    assert "--fresh" in why
    tea.post("cy")
    tea.start("bo").ready()
    assert cy.ready()["server"] == "bo"
    cy.shown(2)
    tea.acknowledged("cy")
    tea.in_sync("bo", "cy")
    history = tea.check()
    assert [line["author"] for line in history][:3] == ["ana", "bo", "cy"]


def test_everybody_leaves_and_the_last_one_brings_the_history_back(room: Start) -> None:
    tea = room()
    tea.enter_all("ana", "bo")
    tea.follower()
    tea.say("ana")
    tea.leave("ana")
    assert tea.people["bo"].until("relocated")["reason"] == "handover"
    tea.say("bo")
    tea.leave("bo")
    ana = tea.start("ana")
    why = told(ana, "nobody_serves")
    assert "last held by bo." in why
    tea.start("bo").ready()
    assert ana.ready()["head"] == 2
    assert [line["text"].strip() for line in tea.check()[:2]] == ["ana 1", "bo 1"]


def test_fresh_starts_over_on_purpose_and_everybody_is_told(room: Start) -> None:
    tea = room("--replicas", "0")
    tea.enter_all("ana", "bo")
    tea.say("ana")
    bo = tea.people["bo"]
    bo.shown(1)
    tea.kill("ana")
    told(bo, "nobody_serves")
    cy = tea.start("cy", "--fresh")
    ready = cy.ready()
    assert (ready["head"], ready["server"]) == (0, "cy")
    assert "started over by cy" in told(bo, "fresh_start")
    tea.ask("bo", "post", text="anew", tag="anew")
    assert bo.until("posted", tag="anew")["seq"] == 1
    ana = tea.start("ana")
    ready = ana.ready()
    assert (ready["epoch"], ready["head"], ready["server"]) == (2, 1, "cy")
    assert ana.until("message")["text"] == "anew"
    # What ana had is nobody's any more. If the kill was faster than its outbox, it posts its own part of it once more.
    assert [line["text"].strip() for line in tea.history()] in (["anew"], ["anew", "ana 1"])


def test_of_an_ephemeral_room_the_last_one_takes_the_history_along(room: Start) -> None:
    tea = room("--ephemeral")
    tea.enter_all("ana", "bo")
    tea.follower()
    tea.say("ana")
    tea.leave("ana")
    assert tea.people["bo"].until("relocated")["epoch"] == 2
    tea.say("bo")
    tea.leave("bo")
    assert not stores(tea, "ana") + stores(tea, "bo")
    cy = tea.start("cy")
    ready = cy.ready()
    assert (ready["head"], ready["server"]) == (0, "cy")
    assert ready["epoch"] > 2


def test_an_ephemeral_room_outlives_one_kill_but_not_all_and_that_is_said(room: Start) -> None:
    tea = room("--ephemeral")
    tea.enter_all("ana", "bo")
    tea.follower()
    tea.say("ana", "bo")
    tea.kill("ana")
    assert tea.people["bo"].until("relocated")["reason"] == "failover"
    tea.enter("cy")
    tea.in_sync("bo", "cy")
    tea.check()
    tea.in_sync("bo", "cy")
    tea.kill("bo", "cy")
    bo = tea.start("bo")
    assert "bo, cy" in told(bo, "nobody_serves")
    assert tea.enter("ana", "--fresh")
    assert [event["head"] for event in (bo.ready(),)] == [0]


# --- a store that is not what was written --------------------------------------------------------------------------


MARK = b"ana 3 "


def file_with_mark(folder: Path) -> Path:
    """The file of a store that has a certain message: SQLite's write-ahead log, or already the database."""
    return next(path for path in sorted(folder.iterdir()) if MARK in path.read_bytes())


def flip(folder: Path) -> None:
    """One bit of a message is another one."""
    path = file_with_mark(folder)
    data = bytearray(path.read_bytes())
    data[data.index(MARK)] ^= 1
    path.write_bytes(data)


def cut_short(folder: Path) -> None:
    """All from a certain message on is gone."""
    path = file_with_mark(folder)
    os.truncate(path, path.read_bytes().index(MARK))


@pytest.mark.parametrize("damage", [flip, cut_short])
def test_a_damaged_history_is_refused_by_name_and_had_anew_from_somebody_else(
    room: Start, damage: Callable[[Path], None]
) -> None:
    tea = room()
    tea.enter_all("ana", "bo")
    tea.follower()
    for _ in range(5):
        tea.post("ana", more="y" * 500)
    tea.acknowledged("ana")
    tea.in_sync("ana", "bo")
    tea.kill("bo")
    (folder,) = stores(tea, "bo")
    damage(folder)
    bo = tea.start("bo")
    why = told(bo, "history_damaged")
    assert str(folder) in why
    bo.ready()
    tea.in_sync("ana", "bo")
    assert stores(tea, "bo") == [folder, folder.with_name("bo-2")]
    tea.kill("ana")
    assert bo.until("relocated")["server"] == "bo"
    tea.check()


def test_the_only_history_is_damaged_and_nobody_serves_it(room: Start) -> None:
    tea = room()
    tea.enter("ana", "-s")
    for _ in range(5):
        tea.say("ana")
    tea.kill("ana")
    (folder,) = stores(tea, "ana")
    flip(folder)
    ana = tea.start("ana")
    assert str(folder) in told(ana, "history_damaged")
    assert "held by ana" in told(ana, "nobody_serves")
    assert [event["event"] for event in ana.so_far() if event["event"] in ("ready", "message")] == []
    bo = tea.start("bo", "--fresh")
    assert bo.ready()["head"] == 0
    assert ana.ready()["head"] == 0
    assert folder in stores(tea, "ana")


# --- a disk that takes no more -------------------------------------------------------------------------------------


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    """A file system of its own at `place`."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def make_read_only(place: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)


def test_with_a_full_disk_it_serves_on_from_memory_as_long_as_somebody_follows(room: Start, tmp_path: Path) -> None:
    with small_disk(tmp_path / "ana", "2m"):
        tea = room("--replicas", "1")
        tea.enter_all("ana", "bo")
        tea.follower()
        ana = tea.people["ana"]
        while not any(event["event"] == "error" and event["code"] == "disk_failed" for event in ana.so_far()):
            tea.post("ana", more=LONG)
            tea.acknowledged("ana")
        assert "in memory only" in told(ana, "disk_failed")
        tea.say("ana", "bo")
        status = tea.status()
        assert str(tmp_path / "ana") in status["disk"]
        assert status["in_sync"] == ["ana", "bo"]
        assert status["epoch"] == 1
        tea.check()
        tea.kill("bo")
        tea.post("ana")
        alone = tea.status_where(lambda status: status["in_sync"] == ["ana"] and bool(status["remark"]))
        assert "posts wait until somebody follows" in alone["remark"]
        assert alone["committed"] < alone["head"]
        tea.start("cy").ready()
        tea.acknowledged("ana")
        tea.in_sync("ana", "cy")
        tea.kill("ana")
        assert tea.people["cy"].until("relocated")["reason"] == "failover"
        tea.check()


def test_a_follower_whose_disk_is_full_comes_back_with_a_copy_in_memory(room: Start, tmp_path: Path) -> None:
    with small_disk(tmp_path / "bo", "2m"):
        tea = room()
        tea.enter_all("ana", "bo")
        tea.follower()
        bo = tea.people["bo"]
        while not any(event["event"] == "error" and event["code"] == "disk_failed" for event in bo.so_far()):
            tea.post("ana", more=LONG)
            tea.acknowledged("ana")
        assert tea.in_sync("ana", "bo")["disk"] == ""
        tea.say("ana", "bo")
        tea.kill("ana")
        assert bo.until("relocated")["server"] == "bo"
        assert str(tmp_path / "bo") in tea.status()["disk"]
        tea.start("ana").ready()
        tea.check()


def test_what_was_in_memory_only_is_not_served_from_a_disk_that_lacks_it(room: Start, tmp_path: Path) -> None:
    with small_disk(tmp_path / "shelf", "2m"):
        tea = room()
        where = ("--dns", tea.zdns.address, "--bind", "127.0.0.1", "--data-dir", str(tmp_path / "shelf"))
        serve = relevo("serve", *where, "--name", "shelf", "--term", "0")
        with Process([*serve, "-s"], tmp_path) as shelf:
            tea.enter("bo")
            tea.in_sync("shelf", "bo")
            while not tea.status()["disk"]:
                tea.post("bo", more=LONG)
                tea.acknowledged("bo")
            tea.say("bo")
            tea.people["bo"].signal(signal.SIGSTOP)  # so that neither sees the other one die
            shelf.kill()
            tea.kill("bo")
        with Process(serve, tmp_path) as shelf:
            assert "standing by" in (shelf.line() or "")
            cy = tea.start("cy")
            assert "shelf, bo" in told(cy, "nobody_serves")
            tea.start("bo").ready()
            assert cy.ready()["server"] == "bo"
            tea.check()


def test_with_a_read_only_disk_a_follower_keeps_its_copy_in_memory(room: Start, tmp_path: Path) -> None:
    with small_disk(tmp_path / "bo", "8m"):
        tea = room()
        tea.enter_all("ana", "bo")
        tea.follower()
        tea.say("ana", "bo")
        tea.leave("bo")
        make_read_only(tmp_path / "bo")
        bo = tea.start("bo")
        assert "in memory only" in told(bo, "disk_failed")
        bo.ready()
        tea.in_sync("ana", "bo")
        tea.say("ana", "bo")
        tea.kill("ana")
        assert bo.until("relocated")["server"] == "bo"
        tea.post("bo")
        status = tea.status_where(lambda status: bool(status["remark"]))
        assert "Read-only" in status["disk"]
        assert "posts wait until somebody follows" in status["remark"]
        tea.start("ana").ready()
        tea.acknowledged("bo")
        tea.check()


# --- zdns has forgotten --------------------------------------------------------------------------------------------


def test_zdns_loses_its_store_and_takes_the_name_up_again_from_the_servers(room: Start) -> None:
    tea = room()
    tea.enter_all("ana", "bo")
    tea.follower()
    with tea.talk("ana", "bo"):
        tea.zdns.kill()
        (records,) = (tea.folder / "dns").glob("zdns-*.sqlite")
        for path in (tea.folder / "dns").glob(f"{records.name}*"):
            path.unlink()
        tea.start_zdns()
        cy = tea.start("cy", "-s")  # who would be the first in a name that nobody knows
        ready = cy.ready()
        assert (ready["epoch"], ready["server"]) == (1, "ana")
        tea.say("ana", "bo", "cy")
        tea.in_sync("ana", "bo")
        hand_over(tea.people["cy"], "bo")
        for name in tea.people:
            tea.status_where(lambda status: status["epoch"] == 2, name)
        tea.in_sync("bo", "ana")
        tea.kill("bo")
        assert tea.people["cy"].until("relocated", epoch=3)["reason"] == "failover"
    assert {line["text"].strip() for line in tea.check()[:2]} == {"ana 1", "bo 1"}


# --- what is told --------------------------------------------------------------------------------------------------


def test_the_status_shows_who_follows_what_they_lack_and_the_last_moves(room: Start) -> None:
    tea = room("--replicas", "2")
    tea.enter_all("ana", "bo", "cy", "di")
    first = tea.status_where(lambda status: len(status["in_sync"]) == 3)
    assert first["replicas"] == 2
    assert {(one["state"], one["lag"]) for one in first["followers"]} == {("in sync", 0)}
    assert [one["name"] for one in first["followers"]] == first["in_sync"][1:]
    assert first["disk"] == ""
    tea.say("ana")
    tea.kill("ana")
    tea.say("di")
    tea.status_where(lambda status: len(status["in_sync"]) == 3, name="di")
    deadline = time.monotonic() + PATIENCE_S
    while True:  # both are of one moment only when nobody has been struck off or come back between them
        asked = run(tea.folder, "status", "--json", "--dns", tea.zdns.address)
        status: Line = json.loads(asked.stdout)
        shown = run(tea.folder, "status", "--dns", tea.zdns.address).stdout
        listed = f"in sync    {', '.join(status['in_sync'])}\n"
        if (listed in shown and len(status["in_sync"]) == 3) or time.monotonic() > deadline:
            break
    assert [(move["epoch"], move["from"], move["reason"]) for move in status["handovers"]] == [(2, "ana", "failover")]
    assert set(status["in_sync"]) == {"bo", "cy", "di"}
    assert {one["name"] for one in status["followers"]} == set(status["in_sync"][1:])
    assert listed in shown
    assert "followers  " in shown
    assert "ana -> " in shown
    assert "(failover), 1 message, 0 bytes" in shown


# --- a long history ------------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)  # 20 MB pass through four processes, and through two of them twice
def test_what_memory_let_go_of_is_read_and_searched_on_disk_also_after_a_restart(room: Start) -> None:
    tea = room()
    tea.enter("ana", "-s")
    count = limits.TAIL_BYTES_MAX // 4_000 + 600
    assert count > limits.TAIL_ENTRIES_MIN
    for number in range(1, count + 1):
        tea.post("ana", more=f"needle{number} {LONG}" if number in (7, 8) else LONG)
    tea.acknowledged("ana")

    def check(asker: str) -> None:
        person = tea.people[asker]
        tea.ask(asker, "history", before=60, count=50)
        page = person.until("history")
        assert [message["seq"] for message in page["messages"]] == list(range(10, 60))
        assert page["more"] is True
        assert [message["text"].split()[1] for message in page["messages"]] == [str(n) for n in range(10, 60)]
        tea.ask(asker, "search", query="needle7", count=5)
        assert [message["seq"] for message in person.until("found")["messages"]] == [7]

    check("ana")
    bo = tea.enter("bo", "--no-serve")
    bo.shown(count)
    check("bo")
    tea.kill("ana")
    ana = tea.start("ana")
    assert ana.ready()["epoch"] == 2
    check("ana")
    tea.enter("cy")
    tea.in_sync("ana", "cy")  # what it had to copy is not in memory at ana
    tea.kill("ana")
    assert bo.until("relocated", epoch=3)["server"] == "cy"
    check("bo")
    tea.post("bo")
    tea.acknowledged("bo")
    assert tea.status("bo")["head"] == count + 1
