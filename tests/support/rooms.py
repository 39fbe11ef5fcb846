"""A room whose participants are killed, stopped and started again, and what became of all they were told."""

import contextlib
import itertools
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support.processes import PATIENCE_S, Chat, Line, Zdns, run
from tests.support.verdict import Book, Reader

LEASE_S = 1.5
POSTS_PER_S = 60.0


class _Start:
    """One participant from its start to its end."""

    def __init__(self, chat: Chat, reader: Reader) -> None:
        self.chat = chat
        self.open: list[int] = []  # posts of this start, as they were handed in, that it has not been acknowledged
        self._reader = reader
        self._taken_count = 0

    def take(self) -> None:
        """Take in what it has said and was read."""
        taken, self._taken_count = self._taken_count, len(self.chat.seen)
        for event in self.chat.seen[taken : self._taken_count]:
            self._reader.hear(event)
            if event["event"] == "posted" and event["tag"] in self.open:
                self.open.remove(event["tag"])

    def wait(self, done: Callable[[], bool], what: str) -> None:
        """Read on until `done()`."""
        deadline = time.monotonic() + PATIENCE_S
        self.take()
        while not done():
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"{self.chat.command[2:]}: no {what}; last: {self.chat.seen[-5:]}"
            assert self.chat.next(left_s) is not None, f"{self.chat.command[2:]} ended: {self.chat.errors}"
            self.take()

    def take_rest(self) -> None:
        """Take in everything up to its end; whoever was killed may have ended within a line."""
        with contextlib.suppress(json.JSONDecodeError):
            while self.chat.next() is not None:
                pass
        self.take()


class Room:
    """Participants with a data folder each, and their zdns. A post is the name of its author and a number.

    Events are read by the thread of the test alone; `talk` posts from another one.
    """

    def __init__(self, folder: Path, *options: str, lease_s: float = LEASE_S) -> None:
        """`options` are everybody's."""
        self.folder = folder
        self.people: dict[str, Chat] = {}  # who runs now
        self._options = options
        self._lease_s = lease_s
        self._stack = ExitStack()
        self._book = Book()
        self._starts: dict[str, _Start] = {}
        self._ended: list[_Start] = []
        self._numbers: dict[str, int] = {}
        self._writing = threading.Lock()
        (folder / "dns").mkdir()
        self.zdns = self._stack.enter_context(Zdns(folder / "dns", lease_s=lease_s))

    def __enter__(self) -> "Room":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # --- who is there ---

    def start(self, name: str, *options: str) -> Chat:
        """Start somebody, again under the same name with the same data folder; returns before it is in."""
        assert name not in self.people
        home = self.folder / name
        home.mkdir(exist_ok=True)
        log = ("--log-file", str(self.folder / f"{name}.log"), "--log-level", "info")
        own = ("--data-dir", str(home), *self._options, *log, *options)
        chat = self._stack.enter_context(Chat(home, self.zdns.address, name, *own))
        self._starts[name] = _Start(chat, self._book.reader(name))
        self.people[name] = chat
        return chat

    def enter(self, name: str, *options: str) -> Chat:
        """Start somebody and wait until it is in."""
        chat = self.start(name, *options)
        chat.ready()
        return chat

    def enter_all(self, first: str, *others: str) -> None:
        """The first one is in, and serves, before the others are started."""
        self.enter(first, "-s")
        for name in others:
            self.start(name)
        for name in others:
            self.people[name].ready()

    def kill(self, *names: str) -> None:
        """kill -9 of both halves of these, all at once."""
        with self._writing:
            chats = [self.people.pop(name) for name in names]
        if len(chats) > 1:
            for chat in chats:
                chat.signal(signal.SIGSTOP)  # so that none of them sees another one die
        for name, chat in zip(names, chats, strict=True):
            chat.kill()
            self._end(name)

    def leave(self, name: str) -> None:
        """Somebody leaves in good order."""
        self.ask(name, "quit")
        chat = self.people.pop(name)
        self._end(name)
        assert chat.wait() == 0, chat.errors

    def _end(self, name: str) -> None:
        start = self._starts.pop(name)
        start.take_rest()
        self._ended.append(start)

    def start_zdns(self) -> None:
        """Start zdns again, at the same port, with the records it had."""
        self.zdns.kill()
        home, port = self.folder / "dns", self.zdns.port
        self.zdns = self._stack.enter_context(Zdns(home, port=port, lease_s=self._lease_s))

    # --- what they do ---

    def ask(self, name: str, what: str, **keys: Any) -> None:
        """One request; whoever has ended is asked in vain."""
        with self._writing, contextlib.suppress(BrokenPipeError, ValueError, KeyError):
            self.people[name].do(what, **keys)

    def post(self, *names: str, more: str = "") -> None:
        """One post each; `more` goes after the number."""
        for name in names:
            with self._writing, contextlib.suppress(BrokenPipeError, ValueError):
                if (chat := self.people.get(name)) is None:
                    continue
                number = self._numbers[name] = self._numbers.get(name, 0) + 1
                self._starts[name].open.append(number)
                chat.do("post", text=f"{name} {number} {more}", tag=number)

    def acknowledged(self, *names: str) -> None:
        """Wait until whatever these have posted by now is acknowledged."""
        for name in names:
            start, upto = self._starts[name], self._numbers.get(name, 0)
            start.wait(lambda start=start, upto=upto: all(n > upto for n in start.open), "acknowledgement")  # type: ignore[misc]  # bound for the loop

    def say(self, *names: str) -> None:
        """One post each, and their acknowledgements."""
        self.post(*names)
        self.acknowledged(*names)

    @contextlib.contextmanager
    def talk(self, *names: str) -> Iterator[None]:
        """These post in turns for as long as this lasts, those of them who run. It begins when it works."""
        ending = threading.Event()

        def post_on() -> None:
            for name in itertools.cycle(names):
                if ending.wait(1 / POSTS_PER_S):
                    return
                self.post(name)

        self.say(*names)
        thread = threading.Thread(target=post_on, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()

    # --- how things are ---

    def status(self, name: str = "") -> Line:
        """The status as it is told to somebody, as soon as somebody serves."""
        name = name or next(iter(self.people))
        self.ask(name, "status")
        return self.people[name].until("status")

    def status_where(self, wanted: Callable[[Line], bool], name: str = "") -> Line:
        """Ask until the status is as wanted."""
        deadline = time.monotonic() + PATIENCE_S
        while not wanted(status := self.status(name)):
            assert time.monotonic() < deadline, f"the status stays {status}"
            time.sleep(0.02)  # so as not to ask all the time
        return status

    def in_sync(self, *names: str) -> Line:
        """Wait until just these are in sync, the active one first; returns the status."""
        return self.status_where(lambda status: status["in_sync"] == list(names))

    def follower(self) -> str:
        """Wait until a follower is in sync; who that is."""
        return str(self.status_where(lambda status: len(status["in_sync"]) > 1)["in_sync"][1])

    def history(self) -> list[Line]:
        """All messages there are, as whoever serves tells them."""
        told = run(self.folder, "tail", "--since", "1", "--no-follow", "--json", "--dns", self.zdns.address)
        assert told.returncode == 0, told.stderr
        lines: list[Line] = [json.loads(line) for line in told.stdout.splitlines()]
        return [line for line in lines if line["event"] == "message"]

    def check(self) -> list[Line]:
        """Nothing acknowledged is lost, doubled or reordered, and nobody was shown anything else; returns the history.

        Whatever those who run have posted is acknowledged.
        """
        self.say(*self.people)
        history = self.history()
        for name in self.people:
            self.people[name].shown(history[-1]["seq"])
            self._starts[name].take()
        self._book.verdict(history)
        assert self._book.sentences == []
        return history
