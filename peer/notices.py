"""What a user may be told, as frozen values; also the lines of `relevo chat --json`; pure.

Each is one JSON object, told apart by its key `event`; field by field they are the interface that scripts
rely on. `notice["text"]` is `notice.text`, under the names the JSON lines use.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType, field


class Notice(Struct, frozen=True, tag_field="event", omit_defaults=False):
    """Base of every notice."""

    @property
    def event(self) -> str:
        """Which kind of notice this is, as in the JSON lines."""
        return str(self.__struct_config__.tag)

    def __getitem__(self, key: str) -> Any:
        """The value under its JSON name; KeyError where there is none."""
        if key == "event":
            return self.event
        for info in msgspec.structs.fields(self):
            if info.encode_name == key:
                value = getattr(self, info.name)
                if value is not UNSET:
                    return value
        raise KeyError(key)


class ChatMessage(Struct, frozen=True):
    """A message inside `HistoryPage` and `FoundMessages`. `time` is UTC milliseconds, `id` the post id."""

    seq: int
    epoch: int
    id: str
    author: str
    text: str
    time: int


class Ready(Notice, frozen=True, tag="ready"):
    """Joined, for the first time. `head` is the last seq there is to see, `members` the nicks."""

    name: str
    service: str
    epoch: int
    server: str
    head: int
    members: tuple[str, ...]
    min_n: int


class Waiting(Notice, frozen=True, tag="waiting"):
    """The chat has not begun: `here` of `need` members are in. Said again at each change."""

    here: int
    need: int
    members: tuple[str, ...] = ()


class Message(Notice, frozen=True, tag="message"):
    """One committed message; each once, in seq order. `past`: it was there before this participant came."""

    seq: int
    epoch: int
    id: str
    author: str
    text: str
    time: int
    past: bool | UnsetType = UNSET
    own: bool | UnsetType = UNSET


class Posted(Notice, frozen=True, tag="posted"):
    """An own post is committed."""

    tag: Any
    id: str
    seq: int


class Private(Notice, frozen=True, tag="private"):
    """One step of a private text. `state`: received | queued | delivered | failed (then with `reason`)."""

    sender: str = field(name="from")
    to: str
    id: str
    text: str
    state: str
    tag: Any | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class MemberChanged(Notice, frozen=True, tag="member"):
    """`state`: joined | left | lost | away | back | renamed (then `was` is the old name) | silent | heard.

    `silent`: not heard for a while, so perhaps soon `lost`; `heard`: after all, or again. `fingerprint`: of the key of
    who joined, on a closed network.
    """

    name: str
    state: str
    was: str | UnsetType = UNSET
    text: str | UnsetType = UNSET
    fingerprint: str | UnsetType = UNSET


class MemberLine(Struct, frozen=True):
    """One member in a `MembersList`. `state`: here | away | silent; `since`: UTC milliseconds.

    `fingerprint`: of its key, 32 hex digits; empty on an open network.
    """

    name: str
    state: str
    serving: bool
    since: int
    fingerprint: str = ""


class MembersList(Notice, frozen=True, tag="members"):
    """Answer to `who`."""

    members: tuple[MemberLine, ...]


class HistoryPage(Notice, frozen=True, tag="history"):
    """Answer to `history`; `more`: there are earlier ones."""

    messages: tuple[ChatMessage, ...]
    more: bool


class FoundMessages(Notice, frozen=True, tag="found"):
    """Answer to `search`, in seq order; `more`: there may be earlier ones."""

    messages: tuple[ChatMessage, ...]
    more: bool


class Relocated(Notice, frozen=True, tag="relocated"):
    """Now served by another. `pause_ms`: from the old server's last answer to the new one's first."""

    epoch: int
    server: str
    reason: str
    pause_ms: int
    resent: int


class Schedule(Notice, frozen=True, tag="schedule"):
    """Who serves, and for how long: `next_handover_in_s` from now, None when none is planned.

    `member` is the nick of the member whose machine serves; empty when it takes part without a person. Said at
    joining and whenever one of these changes, not as the seconds go by.
    """

    epoch: int
    server: str
    member: str
    next_handover_in_s: float | None


class Topic(Notice, frozen=True, tag="topic"):
    """What the room is about (empty: nothing in particular), and who said so.

    Told when in, if there is one, and at each change, the own ones as well.
    """

    text: str
    by: str


class StateChanged(Notice, frozen=True, tag="state"):
    """`state`: live | moving | searching | closed; `queued`: posts that wait."""

    state: str
    queued: int


class ServerLine(Struct, frozen=True):
    """A server half in a `Status`."""

    id: str
    name: str
    endpoints: tuple[str, ...] = ()


class MoveLine(Struct, frozen=True):
    """One change of the active server in a `Status`; `started` is UTC milliseconds."""

    epoch: int
    source: str = field(name="from")
    to: str = ""
    reason: str = ""
    started: int = 0
    entries: int = 0
    bytes: int = 0
    copy_ms: int = 0
    pause_ms: int = 0


class FollowerLine(Struct, frozen=True):
    """One follower in a `Status`. `lag`: the messages it lacks; `state`: linking | asked | copying | in sync."""

    name: str
    state: str
    lag: int


class Status(Notice, frozen=True, tag="status"):
    """Answer to `status`. `next_handover_in_s` is None when none is planned.

    `remark` says why something waits, or why no handover can happen; `replicas` is how many followers are wanted;
    `disk` says what is wrong with the disk of the active server (empty: nothing).
    """

    service: str
    epoch: int
    active: ServerLine
    in_sync: tuple[str, ...]
    standbys: tuple[str, ...]
    members: tuple[str, ...]
    min_n: int
    open: bool
    head: int
    committed: int
    term_s: float
    next_handover_in_s: float | None
    handovers: tuple[MoveLine, ...]
    remark: str = ""
    replicas: int = 0
    followers: tuple[FollowerLine, ...] = ()
    disk: str = ""


class QueueLine(Struct, frozen=True):
    """An own post without an outcome. `number` is its own as long as the program runs; `state`: queued | sent.

    `sent`: to a server, perhaps, and not acknowledged. `kept`: it is on disk, so that the next start would send it.
    `left`: an earlier start left it.
    """

    number: int
    text: str
    state: str
    kept: bool
    left: bool


class Queue(Notice, frozen=True, tag="queue"):
    """Answer to `queue`: in the order of typing."""

    posts: tuple[QueueLine, ...]


class Dropped(Notice, frozen=True, tag="dropped"):
    """Answer to `drop`. What was `sent` is not sent again, and may be posted all the same."""

    posts: tuple[QueueLine, ...]


class HandedOver(Notice, frozen=True, tag="handed_over"):
    """Answer to `handover`: it is done."""


class Refusal(Notice, frozen=True, tag="refused"):
    """An own request was turned down. `code`: too_long, flood, name_taken, not_here, …; `what`: its `do`."""

    tag: Any
    code: str
    message: str
    what: str = ""


class Fault(Notice, frozen=True, tag="error"):
    """Anything else that went wrong, or is worth knowing. `message` says what, where and what to try."""

    code: str
    message: str


class Bye(Notice, frozen=True, tag="bye"):
    """The last one. `exit` is the exit code a command should end with."""

    reason: str
    exit: int = 0


# Which notice answers a request that has no tag, by the request's `do`. `nick`, `away` and `topic` have none of their
# own: what comes of them is told to everybody alike.
ANSWERS: dict[str, type[Notice]] = {
    "who": MembersList,
    "history": HistoryPage,
    "search": FoundMessages,
    "status": Status,
    "handover": HandedOver,
    "queue": Queue,
    "drop": Dropped,
}

AnyNotice = (
    Ready
    | Waiting
    | Message
    | Posted
    | Private
    | MemberChanged
    | MembersList
    | HistoryPage
    | FoundMessages
    | Relocated
    | Schedule
    | Topic
    | StateChanged
    | Status
    | Queue
    | Dropped
    | HandedOver
    | Refusal
    | Fault
    | Bye
)
