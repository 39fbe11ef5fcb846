"""Own posts that are not yet committed: bounded, in order, sent again after a move; pure.

A post leaves only when the server says that it is committed. Within a session the posts are numbered 1, 2, 3 …, so
sending one twice does no harm, and the server asks for what did not arrive. What is kept is small and plain (`posts`,
`next_counter`), so that it can be saved and given to the constructor again.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from wire import limits
from wire.errors import RefusalCode
from wire.messages import Posts
from wire.step import Command, Event, StartTimer, StopTimer, TimerFired

_RESEND = "outbox.resend"
_RESEND_MAX_MS = 8 * limits.POST_RESEND_MS  # chosen: a server that is parked takes repeats for nothing


class State(enum.Enum):
    """QUEUED: never sent. SENT: not acknowledged. COMMITTED: acknowledged, while an earlier one is not."""

    QUEUED = "queued"
    SENT = "sent"
    COMMITTED = "committed"


@dataclass(frozen=True, slots=True)
class TextFault:
    """Why a text is not taken: a code for scripts, a sentence for people."""

    code: str
    message: str


def text_fault(text: str) -> TextFault | None:
    """What is wrong with a text to post or tell; None: nothing."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return TextFault("bad_text", "the text has characters that are no Unicode (half of a surrogate pair)")
    if size > limits.TEXT_BYTES_MAX:
        why = f"a text has at most {limits.TEXT_BYTES_MAX} bytes, this one has {size}"
        return TextFault(RefusalCode.TOO_LONG.word, why)
    if not text.strip():
        return TextFault("empty", "there is nothing in it")
    return None


@dataclass(slots=True)
class Post:
    """One own post; `size` in bytes, `seq` is 0 until it is committed."""

    counter: int
    text: str
    tag: Any
    size: int
    state: State = State.QUEUED
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Committed:
    """The post is in the history as `seq`."""

    tag: Any
    session: str
    counter: int
    seq: int


class Outbox:
    """Posts from the moment they are taken to the moment they are known to be committed.

    Invariants: `posts` are numbered without a gap up to `next_counter` - 1; at most limits.OUTBOX_POSTS_MAX wait; at
    most limits.POSTS_IN_FLIGHT_MAX are out; `Committed` is told in the order of the counters, each once.
    """

    def __init__(self, session: str, texts: Iterable[tuple[int, str]] = (), next_counter: int = 1) -> None:
        """`texts`: (counter, text) of an earlier run of this session that were not committed, in order."""
        self.session = session
        self.next_counter = next_counter
        self._posts: dict[int, Post] = {}  # by counter
        for counter, text in texts:
            self._posts[counter] = Post(counter, text, None, len(text.encode()))
            self.next_counter = counter + 1
        self._first = next(iter(self._posts), self.next_counter)  # the number of the first that waits, or of the next
        self._next_send = self._first
        self._asked_for = 0  # the number from which the server asked us to go on, until something comes of it
        self._resend_ms = limits.POST_RESEND_MS

    @property
    def posts(self) -> tuple[Post, ...]:
        """What is not yet committed, in order."""
        return tuple(self._posts.values())

    def __len__(self) -> int:
        return len(self._posts)

    @property
    def is_full(self) -> bool:
        """No further post is taken."""
        return len(self._posts) >= limits.OUTBOX_POSTS_MAX

    # --- in ---

    def add(self, text: str, tag: Any) -> int:
        """Take a post, which must fit (`is_full`, limits.TEXT_BYTES_MAX); returns its number."""
        counter = self.next_counter
        self.next_counter += 1
        self._posts[counter] = Post(counter, text, tag, len(text.encode()))
        return counter

    # --- out ---

    def due(self) -> list[Command | Posts]:
        """What may be sent now to the server that we are live at. Calling it marks it as sent."""
        batches: list[Command | Posts] = []
        texts: list[str] = []
        size = 0
        was_idle = self._next_send == self._first
        stop = min(self.next_counter, self._first + limits.POSTS_IN_FLIGHT_MAX)
        while self._next_send < stop:
            post = self._posts[self._next_send]
            full = len(texts) >= limits.POSTS_PER_MESSAGE_MAX or size + post.size > limits.POSTS_BYTES_MAX
            if texts and (full or post.state is State.COMMITTED):
                batches.append(Posts(post.counter - len(texts), tuple(texts)))
                texts, size = [], 0
            if post.state is not State.COMMITTED:
                post.state = State.SENT
                texts.append(post.text)
                size += post.size
            self._next_send += 1
        if texts:
            batches.append(Posts(self._next_send - len(texts), tuple(texts)))
        if batches and was_idle:
            batches.append(StartTimer(_RESEND, self._resend_ms))
        return batches

    def acked(self, first_counter: int, seqs: Iterable[int]) -> tuple[list[Command], list[Committed]]:
        """The server has committed the posts from `first_counter` on. Numbers we do not wait for mean nothing."""
        for counter, seq in enumerate(seqs, start=first_counter):
            post = self._posts.get(counter)
            if post is not None and post.state is not State.COMMITTED:
                post.state, post.seq = State.COMMITTED, seq
        told: list[Committed] = []
        while self._first in self._posts and self._posts[self._first].state is State.COMMITTED:
            post = self._posts.pop(self._first)
            self._first += 1
            told.append(Committed(post.tag, self.session, post.counter, post.seq))
        if not told:
            return [], []
        self._next_send = max(self._next_send, self._first)
        self._calm_down()
        out = self._next_send > self._first
        return [StartTimer(_RESEND, self._resend_ms) if out else StopTimer(_RESEND)], told

    def resend(self, counter: int) -> None:
        """The server lacks everything from `counter` on.

        It says so once for each message that comes too early, so a repeat means nothing; and one that it has
        acknowledged already it cannot lack.
        """
        if self._first <= counter < self._next_send and counter != self._asked_for:
            self._asked_for = counter
            self._next_send = counter

    def restart_sending(self) -> int:
        """At a server, new or old: all that is unacknowledged is due. Returns how many of them were sent before."""
        sent = sum(1 for post in self._posts.values() if post.state is State.SENT)
        self._next_send = self._first
        self._calm_down()
        return sent

    def lost(self) -> list[Command]:
        """There is no server now."""
        return [StopTimer(_RESEND)]

    def start_session(self, session: str) -> None:
        """Another history: what is left is posted there as the first of another session.

        That is also what the old history had and its author was not told of, an earlier one being still out.
        """
        left = list(self._posts.values())
        self.session = session
        self._posts = {
            counter: Post(counter, post.text, post.tag, post.size) for counter, post in enumerate(left, start=1)
        }
        self.next_counter = len(left) + 1
        self._first = self._next_send = 1
        self._calm_down()

    def handle(self, event: Event) -> None:
        """Advance by its timer: no acknowledgement for too long makes everything unacknowledged due again."""
        match event:
            case TimerFired(name) if name == _RESEND and self._next_send > self._first:
                self._next_send = self._first
                self._asked_for = 0
                self._resend_ms = min(2 * self._resend_ms, _RESEND_MAX_MS)
            case _:
                pass

    def _calm_down(self) -> None:
        self._asked_for = 0
        self._resend_ms = limits.POST_RESEND_MS


class FloodGate:
    """How fast one participant may post: so many a second, more in a burst after a silence."""

    def __init__(self, posts_per_s: float) -> None:
        """`posts_per_s` 0: no bound."""
        self._posts_per_s = posts_per_s
        self._burst = max(1.0, posts_per_s * limits.FLOOD_BURST_POSTS / limits.FLOOD_POSTS_PER_S)
        self._left = self._burst
        self._counted_ms = 0

    def passes(self, now_ms: int) -> bool:
        """Whether one more post may be taken now; if so, it is counted."""
        if self._posts_per_s <= 0:
            return True
        earned = max(0, now_ms - self._counted_ms) * self._posts_per_s / 1000
        self._counted_ms = now_ms
        self._left = min(self._burst, self._left + earned)
        if self._left < 1:
            return False
        self._left -= 1
        return True
