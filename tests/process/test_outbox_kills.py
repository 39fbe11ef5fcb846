"""What was typed and not acknowledged survives kill -9 of its author, and is sent once at the next start."""

import random
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.support.processes import Chat, Line, Zdns, run

Start = Callable[..., Chat]


def queue(person: Chat) -> list[Line]:
    """What waits."""
    person.do("queue")
    posts: list[Line] = person.until("queue")["posts"]
    return posts


def until_kept(person: Chat, *texts: str) -> None:
    """Wait until just these posts wait, and all are on disk."""
    while [(post["text"], post["kept"]) for post in queue(person)] != [(text, True) for text in texts]:
        pass


def say(person: Chat, *texts: str) -> None:
    for text in texts:
        person.do("post", text=text, tag=text)


def until_shown(person: Chat, text: str) -> list[str]:
    """Everything that was shown up to this text."""
    while text not in person.texts():
        assert person.next() is not None, person.errors
    return person.texts()


def left(person: Chat) -> str:
    """What it says of posts that an earlier start left."""
    message: str = person.until("error", code="posts_left")["message"]
    return message


def nobody_serves(chat: Start) -> None:
    """Who held the history of the room is gone: it is waited for."""
    host = chat("host", "-s", "--term", "0")
    host.ready()
    host.kill()
    waiting = chat("waiting")
    waiting.until("error", code="nobody_serves")
    waiting.kill()


def test_posts_for_a_server_that_stands_still_are_sent_once_by_the_next_start(chat: Start) -> None:
    bo = chat("bo", "-s", "--term", "0")
    bo.ready()
    ana = chat("ana", "--term", "0")
    ana.ready()
    say(ana, "before")
    ana.until("posted")
    bo.signal(signal.SIGSTOP)
    say(ana, "one", "two", "three")
    until_kept(ana, "one", "two", "three")
    ana.kill()
    bo.signal(signal.SIGCONT)
    again = chat("ana", "--term", "0")  # at once, though the room does not know yet that the first one is gone
    assert "3 posts of yours" in left(again)
    assert again.ready()["name"] == "ana"
    say(again, "after")
    again.until("posted", tag="after")
    assert until_shown(bo, "after") == ["before", "one", "two", "three", "after"]
    shown = until_shown(again, "after")
    assert [event["text"] for event in again.seen if event["event"] == "message" and event.get("own")] == shown
    assert queue(again) == []
    again.kill()
    third = chat("ana", "--term", "0")
    third.ready()
    say(third, "the end")
    assert until_shown(bo, "the end")[-2:] == ["after", "the end"]


def test_what_was_typed_before_anybody_was_found_outlives_two_starts(chat: Start) -> None:
    nobody_serves(chat)
    first = chat("ana")
    say(first, "one", "two")
    until_kept(first, "one", "two")
    first.kill()
    second = chat("ana")
    assert "2 posts of yours" in left(second)
    say(second, "three")
    until_kept(second, "one", "two", "three")
    second.kill()
    third = chat("ana", "--fresh")
    say(third, "four")
    third.until("posted", tag="four")
    assert until_shown(third, "four") == ["one", "two", "three", "four"]
    assert [event["tag"] for event in third.seen if event["event"] == "posted"] == [None, None, None, "four"]


def test_whoever_leaves_before_all_is_through_sends_the_rest_at_the_next_start(chat: Start) -> None:
    bo = chat("bo", "-s", "--term", "0")
    bo.ready()
    ana = chat("ana", "--no-serve")
    ana.ready()
    bo.signal(signal.SIGSTOP)
    say(ana, "last words")
    until_kept(ana, "last words")
    ana.popen.send_signal(signal.SIGTERM)
    assert list(ana.rest())[-1]["event"] == "bye"
    assert ana.wait() == 75
    assert any("What is left is sent at the next start." in line for line in ana.all_errors())
    bo.signal(signal.SIGCONT)
    chat("ana", "--no-serve").ready()
    assert until_shown(bo, "last words") == ["last words"]


def test_what_is_dropped_is_not_sent_by_this_start_nor_the_next(chat: Start) -> None:
    nobody_serves(chat)
    first = chat("ana")
    say(first, "one", "two", "three")
    until_kept(first, "one", "two", "three")
    number = queue(first)[1]["number"]
    first.do("drop", number=number)
    assert first.until("refused")["tag"] == "two"
    assert [post["text"] for post in first.until("dropped")["posts"]] == ["two"]
    until_kept(first, "one", "three")
    first.kill()
    second = chat("ana")
    say(second, "four")
    until_kept(second, "one", "three", "four")
    second.do("drop")
    assert [post["left"] for post in second.until("dropped")["posts"]] == [True, True, False]
    say(second, "five")
    until_kept(second, "five")
    second.kill()
    third = chat("ana", "--fresh")
    assert until_shown(third, "five") == ["five"]


def test_a_room_that_was_started_over_meanwhile_gets_what_was_left_once(chat: Start) -> None:
    bo = chat("bo", "-s", "--term", "0")
    bo.ready()
    ana = chat("ana", "--no-serve")
    ana.ready()
    say(ana, "in the old one")
    ana.until("posted")
    bo.signal(signal.SIGSTOP)
    say(ana, "one", "two")
    until_kept(ana, "one", "two")
    ana.kill()
    bo.kill()
    again = chat("ana")
    assert "2 posts of yours" in left(again)
    again.until("error", code="nobody_serves")
    cy = chat("cy", "--fresh", "--term", "0")
    cy.ready()
    assert "started over" in left(again)
    say(again, "three")
    assert until_shown(cy, "three") == ["one", "two", "three"]
    again.until("posted", tag="three")
    again.kill()
    last = chat("ana", "--no-serve")
    last.ready()
    say(last, "four")
    assert until_shown(cy, "four") == ["one", "two", "three", "four"]


def test_two_of_one_name_keep_their_posts_apart_and_another_name_is_told(chat: Start) -> None:
    nobody_serves(chat)
    one, two = chat("ana"), chat("ana")
    say(one, "of the first")
    until_kept(one, "of the first")
    say(two, "of the second")
    until_kept(two, "of the second")
    one.kill()
    two.kill()
    bo = chat("bo", "--fresh", "--term", "0")
    assert "2 posts were left by ana" in bo.until("error", code="posts_waiting")["message"]
    bo.ready()
    for _ in range(2):
        again = chat("ana", "--no-serve")
        left(again)
        say(again, "done")
        again.until("posted", tag="done")
        again.do("quit")
        assert again.wait() == 0
    bo.shown(4)
    assert sorted(bo.texts()) == ["done", "done", "of the first", "of the second"]


def test_a_damaged_file_is_told_of_and_the_chat_goes_on(chat: Start, tmp_path: Path) -> None:
    nobody_serves(chat)
    ana = chat("ana")
    say(ana, "lost")
    until_kept(ana, "lost")
    ana.kill()
    (path,) = (tmp_path / "outbox" / "backend.com").glob("ana-1.sqlite")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE posts SET text = 'found'")
    again = chat("ana", "--fresh")
    assert "ana-1.sqlite is damaged" in again.until("error", code="outbox_damaged")["message"]
    say(again, "goes on")
    assert until_shown(again, "goes on") == ["goes on"]


def test_guests_and_ephemeral_participants_leave_nothing_on_disk(chat: Start, zdns: Zdns, tmp_path: Path) -> None:
    ana = chat("ana", "-s", "--ephemeral", "--log-file", str(tmp_path / "log"))
    ana.ready()
    say(ana, "one")
    ana.until("posted")
    assert run(tmp_path, "send", "two", "--dns", zdns.address).returncode == 0
    assert not (tmp_path / "outbox").exists()


def test_killed_at_any_moment_of_a_stream_all_that_was_kept_is_there_once_and_in_order(chat: Start) -> None:
    """Twenty times. What counts as kept is what was listed as such, or acknowledged."""
    moments = random.Random(4)
    bo = chat("bo", "-s", "--term", "0")
    bo.ready()
    said = 0
    kept: set[int] = set()
    for _ in range(20):
        ana = chat("ana", "--no-serve")
        for _ in range(moments.randint(1, 4)):
            for _ in range(moments.randint(1, 30)):
                said += 1
                ana.do("post", text=str(said), tag=said)
            ana.do("queue")
        for _ in range(moments.randint(1, 60)):
            event = ana.next()
            assert event is not None, ana.errors
            match event:
                case {"event": "posted", "tag": int(tag)}:
                    kept.add(tag)
                case {"event": "queue"}:
                    kept |= {int(post["text"]) for post in event["posts"] if post["kept"]}
                    ana.do("queue")
        ana.kill()
    last = chat("ana", "--no-serve")
    say(last, "the end")
    *shown, end = until_shown(bo, "the end")
    assert end == "the end"
    numbers = [int(text) for text in shown]
    assert numbers == sorted(set(numbers))
    assert kept
    assert kept <= set(numbers)
