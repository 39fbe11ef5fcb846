"""Own posts that are not yet committed: bounded, in order, sent again after a move or a new start; pure.

A post leaves only when the server says that it is committed. Within a session the posts are numbered 1, 2, 3 …, so
sending one twice does no harm, and the server asks for what did not arrive. What must outlive this process is said by
`take_write`, for somebody with a disk; what such a disk still had at the start goes into the constructor.

A number, once it may have been sent, stands for its text for ever. So what an earlier start left is sent in the
session it was typed in, and new posts go into a session of their own, behind it: whatever a disk has missed, a
number of this start cannot be one of an earlier one. Writing goes on beside sending; only when the history is another
one, or a post was dropped, nothing is sent until that is on disk.
"""

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from wire import limits
from wire.errors import RefusalCode
from wire.messages import Posts
from wire.step import Command, Event, StartTimer, StopTimer, TimerFired

_RESEND = "outbox.resend"
_RESEND_MAX_MS = 8 * limits.POST_RESEND_MS  # chosen: a server that is parked takes repeats for nothing
# A number that no session reaches. A server takes no post out of turn and says which one it waits for: that is how to
# ask it how far it has come with what an earlier start left.
_OUT_OF_TURN = 2**62


class State(enum.Enum):
    """QUEUED: never sent. SENT: perhaps; not acknowledged. COMMITTED: acknowledged, while an earlier one is not."""

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


# --- what is on disk ---


@dataclass(frozen=True, slots=True)
class Row:
    """One post on disk. `place` never changes and rises in the order of typing; session and counter may change."""

    place: int
    session: str
    counter: int
    text: str


@dataclass(frozen=True, slots=True)
class Kept:
    """What a disk had at the start: who its posts are by, in which history they may be, and the posts in order.

    `log` is empty while they were never sent. Numbers of one session follow each other without a gap.
    """

    peer: str
    log: str = ""
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Write:
    """What is to be changed on disk, together or not at all, after all writes of a lower number.

    `log` None: unchanged. A row replaces the one in its place. `is_awaited`: nothing is sent before it is done, so it
    must survive the death of the machine as well.
    """

    number: int
    log: str | None
    put: tuple[Row, ...]
    removed: tuple[int, ...]
    is_awaited: bool = False


# --- in memory ---


@dataclass(slots=True)
class Post:
    """One own post; `size` in bytes, `seq` is 0 until it is committed (or stays so, when nobody remembers)."""

    place: int
    counter: int
    text: str
    tag: Any
    size: int
    state: State = State.QUEUED
    seq: int = 0
    is_left: bool = False  # by an earlier start
    is_on_disk: bool = False  # as it is or as it was, or about to be
    write: int = 0  # the one that puts it on disk as it is; 0: it came from there


@dataclass(slots=True)
class _Run:
    """The posts of one session, by counter; without a gap up to `next_counter` - 1."""

    session: str
    posts: dict[int, Post] = field(default_factory=dict)
    next_counter: int = 1
    is_left: bool = False

    @property
    def first(self) -> int:
        """The number of the first that waits, or of the next."""
        return next(iter(self.posts), self.next_counter)


@dataclass(frozen=True, slots=True)
class Committed:
    """The post is in the history as `seq`; 0: it is there, so long already that its seq is not told any more."""

    tag: Any
    session: str
    counter: int
    seq: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A post that waits, as its author sees it. `is_kept`: it is on disk."""

    number: int
    text: str
    state: State
    is_left: bool
    is_kept: bool


@dataclass(frozen=True, slots=True)
class Dropped:
    """A post that is not sent any more. `was_sent`: perhaps before, so that it may be posted all the same."""

    number: int
    text: str
    tag: Any
    was_sent: bool
    is_left: bool


Told = tuple[list[Command], list[Committed]]


class Outbox:
    """Posts from the moment they are taken to the moment they are known to be committed.

    Invariants: at most limits.OUTBOX_POSTS_MAX wait; at most limits.POSTS_IN_FLIGHT_MAX are out; `Committed` is told in
    the order of typing, each once. Only posts of `session` are sent; what belongs to a later one waits until it is
    the turn of that. Of a session that is not `session` no server's word may come in here.
    """

    def __init__(self, session: str, kept: Kept | None = None) -> None:
        """`session`: a fresh name, for the posts of this start. `kept`: there is a disk, and this was on it."""
        self.log = kept.log if kept else ""  # in which history posts may be already
        self._name = session
        self._names_count = 0
        self._runs = [*_left_runs(kept.rows if kept else ()), _Run(session)]  # sent is the first, added to the last
        self._place = max((row.place for row in kept.rows), default=0) if kept else 0
        self._next_send = self._runs[0].first
        self._asked_for = 0  # the number from which the server asked us to go on, until something comes of it
        self._asks = True  # how far the server has come with a session of an earlier start is still to be asked
        self._resend_ms = limits.POST_RESEND_MS
        self._has_disk = kept is not None
        self._put: dict[int, tuple[str, Post]] = {}  # by place, with the session
        self._removed: list[int] = []
        self._is_log_new = False
        self._writes_count = 0
        self._written = 0
        self._barrier = 0  # nothing is sent before this write is on disk

    @property
    def session(self) -> str:
        """The session whose posts are sent now. It is to be said to a server before they are."""
        return self._runs[0].session

    @property
    def posts(self) -> tuple[Post, ...]:
        """What is not yet committed, in order."""
        return tuple(post for run in self._runs for post in run.posts.values())

    def __len__(self) -> int:
        return sum(len(run.posts) for run in self._runs)

    @property
    def is_full(self) -> bool:
        """No further post is taken."""
        return len(self) >= limits.OUTBOX_POSTS_MAX

    @property
    def waiting(self) -> tuple[Waiting, ...]:
        """The posts without an outcome, in order."""
        return tuple(
            Waiting(post.place, post.text, _seen_state(post), post.is_left, self._is_kept(post))
            for post in self.posts
            if post.state is not State.COMMITTED
        )

    # --- in ---

    def add(self, text: str, tag: Any) -> int:
        """Take a post, which must fit (`is_full`, limits.TEXT_BYTES_MAX); returns its number among the waiting."""
        self._place += 1
        self._append(self._runs[-1], Post(self._place, 0, text, tag, len(text.encode())))
        return self._place

    def _append(self, run: _Run, post: Post) -> None:
        """Give a post the next number of a session."""
        post.counter, post.write = run.next_counter, self._writes_count + 1
        run.posts[post.counter] = post
        run.next_counter += 1
        self._put[post.place] = (run.session, post)

    # --- out ---

    def due(self) -> list[Command | Posts]:
        """What may be sent now to the server that we are live at, in `session`. Calling it marks it as sent."""
        if self._barrier > self._written:
            return []
        batches: list[Command | Posts] = []
        texts: list[str] = []
        size = 0
        run = self._runs[0]
        was_idle = self._next_send == run.first
        stop = min(run.next_counter, run.first + limits.POSTS_IN_FLIGHT_MAX)
        while self._next_send < stop:
            post = run.posts[self._next_send]
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
        if run.is_left and self._asks and run.posts:
            self._asks = False
            batches.append(Posts(_OUT_OF_TURN, ("?",)))
        if batches and was_idle:
            batches.append(StartTimer(_RESEND, self._resend_ms))
        return batches

    def acked(self, first_counter: int, seqs: Iterable[int]) -> Told:
        """The server has committed the posts from `first_counter` on. Numbers we do not wait for mean nothing."""
        for counter, seq in enumerate(seqs, start=first_counter):
            post = self._runs[0].posts.get(counter)
            if post is not None and post.state is not State.COMMITTED:
                post.state, post.seq = State.COMMITTED, seq
        return self._let_go()

    def _let_go(self) -> Told:
        """Tell of what is committed and has nothing in front of it; go on to the next session when this one is done."""
        run = self._runs[0]
        told: list[Committed] = []
        while (post := run.posts.get(run.first)) is not None and post.state is State.COMMITTED:
            del run.posts[post.counter]
            self._remove(post)
            told.append(Committed(post.tag, run.session, post.counter, post.seq))
        if not told:
            return [], []
        self._next_send = max(self._next_send, run.first)
        self._calm_down()
        self._next_run()
        out = self._next_send > self._runs[0].first
        return [StartTimer(_RESEND, self._resend_ms) if out else StopTimer(_RESEND)], told

    def resend(self, counter: int) -> Told:
        """The server lacks everything from `counter` on.

        It says so once for each message that comes too early, so a repeat means nothing; and one that it has
        acknowledged already it cannot lack. Of what an earlier start left, it has what is far enough before that for
        longer than it acknowledges repeats: a post was only ever sent when the one so far before it was committed.
        """
        run = self._runs[0]
        if run.is_left:
            for post in run.posts.values():
                if post.counter < counter - limits.POSTS_IN_FLIGHT_MAX:
                    post.state = State.COMMITTED
        if run.first <= counter < self._next_send and counter != self._asked_for:
            self._asked_for = counter
            self._next_send = counter
        return self._let_go()

    def restart_sending(self) -> int:
        """At a server, new or old: all that is unacknowledged is due. Returns how many of them were sent before."""
        sent = sum(1 for post in self.posts if post.state is State.SENT)
        self._next_send = self._runs[0].first
        self._asks = True
        self._calm_down()
        return sent

    def lost(self) -> list[Command]:
        """There is no server now."""
        return [StopTimer(_RESEND)]

    def enter(self, log: str) -> bool:
        """The server's history is `log`. True: another one than before, so that what waits is posted anew.

        The new one knows nothing of our posts: what is left is posted there as the first of another session. That is
        also what the old history had and its author was not told of, an earlier one being still out.
        """
        was, self.log = self.log, log
        self._is_log_new = self._is_log_new or was != log
        if was in ("", log):
            return False
        left = self.posts
        self._runs = [self._fresh_run()]
        self._renumber(left, self._runs[0])
        self._hold()
        self._restart()
        return True

    def handle(self, event: Event) -> None:
        """Advance by its timer: no acknowledgement for too long makes everything unacknowledged due again."""
        match event:
            case TimerFired(name) if name == _RESEND and self._next_send > self._runs[0].first:
                self._next_send = self._runs[0].first
                self._asked_for = 0
                self._asks = True
                self._resend_ms = min(2 * self._resend_ms, _RESEND_MAX_MS)
            case _:
                pass

    def _next_run(self) -> None:
        """Leave sessions behind that are done."""
        while len(self._runs) > 1 and not self._runs[0].posts:
            del self._runs[0]
            self._restart()

    def _restart(self) -> None:
        self._next_send = self._runs[0].first
        self._asks = True
        self._calm_down()

    def _calm_down(self) -> None:
        self._asked_for = 0
        self._resend_ms = limits.POST_RESEND_MS

    # --- what its author does not want to be sent any more ---

    def drop(self, number: int) -> Dropped | None:
        """Forget the waiting post of this number. None: a later one that was sent, too, cannot do without it.

        Raises:
            KeyError: no such post waits.
        """
        for index, run in enumerate(self._runs):
            for post in run.posts.values():
                if post.place == number and post.state is not State.COMMITTED:
                    return self._cut(index, post)
        raise KeyError(number)

    def _cut(self, index: int, post: Post) -> Dropped | None:
        """Forget a post; what comes behind it in its session was never sent, and gets a session of its own."""
        run = self._runs[index]
        behind = [other for other in run.posts.values() if other.counter > post.counter]
        if any(_was_sent(other) for other in behind):
            return None
        for other in (post, *behind):
            del run.posts[other.counter]
        run.next_counter = post.counter
        self._remove(post)
        self._hold()
        is_last = index == len(self._runs) - 1
        if behind or is_last:
            self._runs.insert(index + 1, self._fresh_run())
            self._renumber(behind, self._runs[index + 1])
        if not run.posts:
            del self._runs[index]
        if index == 0:
            if run.posts:
                self._next_send = min(self._next_send, run.next_counter)
            else:
                self._restart()
        return _dropped(post)

    def drop_all(self) -> tuple[list[Dropped], list[Committed]]:
        """Forget all that waits; what is committed already, behind something that is not, is told of."""
        dropped: list[Dropped] = []
        told: list[Committed] = []
        for run in self._runs:
            for post in run.posts.values():
                if post.state is State.COMMITTED:
                    told.append(Committed(post.tag, run.session, post.counter, post.seq))
                else:
                    dropped.append(_dropped(post))
                self._remove(post)
        if dropped:
            self._hold()
            self._runs = [self._fresh_run()]
            self._restart()
        return dropped, told

    def _fresh_run(self) -> _Run:
        self._names_count += 1
        return _Run(f"{self._name}-{self._names_count}")

    def _renumber(self, posts: Iterable[Post], run: _Run) -> None:
        """Give posts other numbers, under which they were never sent."""
        for post in posts:
            post.state, post.seq, post.is_left = State.QUEUED, 0, False
            self._append(run, post)

    def _hold(self) -> None:
        """Send nothing before all that has changed is on disk: killed now, we would come back with what was before.

        Then a post that has another number would be posted under both, and one that was dropped, or is done with in an
        old history, would come again behind later ones.
        """
        if self._has_disk:
            self._barrier = self._writes_count + 1

    # --- the disk ---

    def take_write(self) -> Write | None:
        """What has changed since the last time and must be written; None: nothing."""
        put, removed = self._put, self._removed
        log = self.log if self._is_log_new else None
        self._put, self._removed, self._is_log_new = {}, [], False
        if not self._has_disk or (log is None and not put and not removed):
            self._barrier = min(self._barrier, self._writes_count)
            return None
        self._writes_count += 1
        for _, post in put.values():
            post.is_on_disk = True
        rows = tuple(Row(place, session, post.counter, post.text) for place, (session, post) in put.items())
        return Write(self._writes_count, log, rows, tuple(removed), self._barrier == self._writes_count)

    def written(self, number: int) -> None:
        """All writes up to this one are on disk."""
        self._written = max(self._written, number)

    def lose_disk(self) -> None:
        """Nothing is written any more: go on from memory."""
        self._has_disk = False
        self._barrier = self._written = 0

    def _remove(self, post: Post) -> None:
        self._put.pop(post.place, None)
        if post.is_on_disk:
            self._removed.append(post.place)

    def _is_kept(self, post: Post) -> bool:
        return self._has_disk and post.write <= self._written


def _left_runs(rows: Iterable[Row]) -> Iterator[_Run]:
    """The sessions of earlier starts, in order."""
    run: _Run | None = None
    for row in rows:
        if run is None or run.session != row.session:
            if run is not None:
                yield run
            run = _Run(row.session, next_counter=row.counter, is_left=True)
        size = len(row.text.encode())
        run.posts[row.counter] = Post(row.place, row.counter, row.text, None, size, is_left=True, is_on_disk=True)
        run.next_counter = row.counter + 1
    if run is not None:
        yield run


def _was_sent(post: Post) -> bool:
    """Perhaps: of what an earlier start left nobody knows."""
    return post.is_left or post.state is not State.QUEUED


def _dropped(post: Post) -> Dropped:
    return Dropped(post.place, post.text, post.tag, _was_sent(post), post.is_left)


def _seen_state(post: Post) -> State:
    return State.SENT if _was_sent(post) else State.QUEUED
