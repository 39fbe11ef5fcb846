"""Members of a room who chat all the time, each in a thread, and what became of all they said."""

import json
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.support.processes import PATIENCE_S, Chat, Line, environment, relevo, ticket_for
from tests.support.verdict import Book, Reader

PACE_S = 0.02  # between two posts of one member
PRIVATE_EVERY = 4  # posts


class Secrets(NamedTuple):
    """What is in every text, so that it is known when somebody else has got it."""

    room: str
    private: str


class Talker:
    """One member: posts, waits for the acknowledgement, and now and then tells the next one something in private."""

    def __init__(self, name: str, chat: Chat, to: str, secrets: Secrets, book: Book) -> None:
        self.name = name
        self.chat = chat
        self.posted_count = 0
        self.told_count = 0
        self.heard: list[tuple[str, str]] = []  # in private: from whom, and what
        self.failed = ""
        self._to = to
        self._secrets = secrets
        self._reader: Reader = book.reader(name)

    def talk(self, ending: threading.Event) -> None:
        """Until it is time to end."""
        try:
            while not ending.wait(PACE_S):
                self._post()
                if self.posted_count % PRIVATE_EVERY == 0:
                    self._tell()
        except AssertionError as error:
            self.failed = f"{self.name}: {error}"

    def hear_until(self, *kinds: str, **keys: Any) -> Line:
        """Read on up to an event like that; each event is held against what was promised."""
        while (event := self._hear()) is not None:
            if event["event"] in kinds and all(event.get(key) == value for key, value in keys.items()):
                return event
        raise AssertionError(f"{self.name} ended; {self.chat.errors}")

    def hear_all(self, head: int, told_count: int) -> None:
        """Read on until message `head` has been shown, and so many were heard in private."""
        while self._reader.head < head or len(self.heard) < told_count:
            assert self._hear() is not None, f"{self.name} ended; {self.chat.errors}"

    def _hear(self) -> Line | None:
        event = self.chat.next()
        self.chat.forget()
        if event is not None:
            self._reader.hear(event)
            if event["event"] == "private" and event["state"] == "received":
                self.heard.append((event["from"], event["text"].split()[0]))
        return event

    def _post(self) -> None:
        number, self.posted_count = self.posted_count, self.posted_count + 1
        self.chat.do("post", text=f"{self.name} {number} {self._secrets.room}", tag=f"p{number}")
        self.hear_until("posted", tag=f"p{number}")

    def _tell(self) -> None:
        number, self.told_count = self.told_count, self.told_count + 1
        self.chat.do("tell", to=self._to, text=f"{number} {self._secrets.private}", tag=f"t{number}")
        done = self.hear_until("private", tag=f"t{number}", state="delivered")
        assert done["to"] == self._to


class Circle:
    """All of them, each with the next one to whisper to."""

    def __init__(self, home: Path, dns: str, secrets: Secrets, chats: dict[str, Chat]) -> None:
        self.book = Book()
        self._home = home
        self._dns = dns
        self._ending = threading.Event()
        names = list(chats)
        self.talkers = [
            Talker(name, chats[name], names[(index + 1) % len(names)], secrets, self.book)
            for index, name in enumerate(names)
        ]
        self._threads = [
            threading.Thread(target=talker.talk, args=(self._ending,), daemon=True) for talker in self.talkers
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE_S)

    @property
    def posted_count(self) -> int:
        """How many posts were handed in so far."""
        return sum(talker.posted_count for talker in self.talkers)

    def check(self) -> int:
        """When they have ended: each was shown everything, once, in order; how many messages there are."""
        assert not [talker.failed for talker in self.talkers if talker.failed]
        assert not any(thread.is_alive() for thread in self._threads)
        head = self.book.head
        for talker in self.talkers:
            sender = self._sender_to(talker)
            talker.hear_all(head, sender.told_count)
            told = [(sender.name, str(number)) for number in range(sender.told_count)]
            assert talker.heard == told, f"{talker.name} heard {talker.heard}, and should have heard {told}"
        history = self.history()
        counts = self.book.verdict(history)
        assert not any(counts.values()), self.book.sentences
        posted = {(talker.name, number) for talker in self.talkers for number in range(talker.posted_count)}
        assert {(line["author"], int(line["text"].split()[1])) for line in history} >= posted
        return len(history)

    def _sender_to(self, talker: Talker) -> Talker:
        return self.talkers[self.talkers.index(talker) - 1]

    def history(self) -> list[Line]:
        """All messages of the room."""
        command = relevo("tail", "--since", "1", "--no-follow", "--json", "--dns", self._dns, "--bind", "127.0.0.1")
        told = subprocess.run(
            command,
            env=environment(self._home) | ticket_for(command, self._home),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        )
        return [line for line in map(json.loads, told.stdout.splitlines()) if line["event"] == "message"]
