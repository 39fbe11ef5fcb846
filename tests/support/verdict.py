"""What members were shown and promised, held against each other: anything lost, doubled, reordered or different?"""

import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any

Line = dict[str, Any]

SENTENCES_MAX = 20  # a broken run breaks the same promise thousands of times
KINDS = ("lost", "doubled", "reordered", "different")


class Book:
    """All that was said to anybody about messages. Posts are texts that begin with a word and a number of its own.

    Of a message only a hash is kept, so that a million of them fit. What one reader says is told by one thread;
    different readers may be told of by different threads.
    """

    def __init__(self) -> None:
        self._shown: dict[int, int] = {}  # by seq
        self._promised: dict[str, tuple[int, str]] = {}  # by post id: the seq acknowledged, and to whom
        self._counts: Counter[str] = Counter()
        self._sentences: list[str] = []
        self._lock = threading.Lock()

    @property
    def acknowledged_count(self) -> int:
        """How many posts were acknowledged to their authors."""
        return len(self._promised)

    @property
    def head(self) -> int:
        """The highest seq anybody was promised."""
        with self._lock:
            return max((seq for seq, _ in self._promised.values()), default=0)

    def reader(self, name: str) -> "Reader":
        """A participant from its start to its end; one that is started again is another reader."""
        return Reader(self, name)

    def verdict(self, history: Iterable[Line]) -> dict[str, int]:
        """Hold everything against the `message` lines of the whole history; how many of each kind are wrong.

        `sentences` says which.
        """
        seq, ids, posts = 0, set(), set()
        numbers: dict[str, int] = {}
        promised = dict(self._promised)
        for line in history:
            if line["seq"] != seq + 1:
                self.wrong("lost" if line["seq"] > seq else "reordered", f"in the history {line['seq']} follows {seq}")
            seq = line["seq"]
            word, number = _post_of(line)
            if line["id"] in ids or (word, number) in posts:
                self.wrong("doubled", f"the history has post {word} {number} again as message {seq}")
            elif number < numbers.get(word, -1):
                self.wrong("reordered", f"the history has post {word} {number} after {numbers[word]}, as message {seq}")
            ids.add(line["id"])
            posts.add((word, number))
            numbers[word] = number
            if self._shown.get(seq, _hash_of(line)) != _hash_of(line):
                self.wrong("different", f"message {seq} is another one than somebody was shown")
            acknowledged, author = promised.pop(line["id"], (seq, ""))
            if acknowledged != seq:
                self.wrong("different", f"{author} was told of message {acknowledged}, which is {seq}")
        for acknowledged, author in promised.values():
            self.wrong("lost", f"message {acknowledged}, acknowledged to {author}, is not in the history")
        for shown in self._shown:
            if shown > seq:
                self.wrong("lost", f"message {shown} was shown to somebody, and the history ends with {seq}")
        return self.counts()

    def counts(self) -> dict[str, int]:
        """How many of each kind are wrong so far."""
        return {kind: self._counts[kind] for kind in KINDS}

    @property
    def sentences(self) -> list[str]:
        """What is wrong, the first ones of it."""
        return self._sentences

    def wrong(self, kind: str, sentence: str) -> None:
        """Note a broken promise."""
        with self._lock:
            self._counts[kind] += 1
            if len(self._sentences) < SENTENCES_MAX:
                self._sentences.append(f"{kind}: {sentence}")

    def show(self, name: str, line: Line) -> None:
        """Somebody was shown a message."""
        if self._shown.setdefault(line["seq"], _hash_of(line)) != _hash_of(line):
            self.wrong("different", f"message {line['seq']} of {name} is another one than somebody else was shown")

    def promise(self, name: str, line: Line) -> None:
        """Somebody got an acknowledgement; the same one may come again, to the author's next start."""
        with self._lock:
            before, _ = self._promised.setdefault(line["id"], (line["seq"], name))
        if before != line["seq"]:
            self.wrong("different", f"a post of {name} was acknowledged as {before}, and as {line['seq']} later")


class Reader:
    """What one participant said between its start and its end."""

    def __init__(self, book: Book, name: str) -> None:
        self._book = book
        self._name = name
        self._tags: set[Any] = set()
        self.head = 0  # the last seq shown

    def hear(self, line: Line) -> None:
        """Take in one line of its output; those that are not about messages mean nothing."""
        match line["event"]:
            case "message":
                seq = line["seq"]
                if self.head and seq != self.head + 1:
                    kind = "lost" if seq > self.head else "doubled" if seq == self.head else "reordered"
                    self._book.wrong(kind, f"{self._name} was shown {seq} after {self.head}")
                self.head = seq
                self._book.show(self._name, line)
            case "posted":
                tag = line["tag"]
                if tag is not None and tag in self._tags:
                    self._book.wrong("doubled", f"{self._name} was told twice that {tag} is posted")
                self._tags.add(tag)
                self._book.promise(self._name, line)


def _post_of(line: Line) -> tuple[str, int]:
    word, number = line["text"].split(" ", 2)[:2]
    return word, int(number)


def _hash_of(line: Line) -> int:
    return hash((line["id"], line["author"], line["text"]))
