"""What a user may ask, as frozen values; also the objects of `relevo chat --json` on standard input; pure."""

from typing import Any

from msgspec import Struct

from wire.names import ServerId


class _Intent(Struct, frozen=True, tag_field="do"):
    """Base: one JSON object, told apart by its key `do`."""

    @property
    def do(self) -> str:
        """Which request this is, as in the JSON lines."""
        return str(self.__struct_config__.tag)


class Say(_Intent, frozen=True, tag="post"):
    """Post `text` to the room; `tag` comes back in `Posted` or `Refusal`."""

    text: str
    tag: Any = None


class Tell(_Intent, frozen=True, tag="tell"):
    """Tell `text` to one member, directly; `tag` comes back in each `Private`."""

    to: str
    text: str
    tag: Any = None


class AskWho(_Intent, frozen=True, tag="who"):
    """Who is here? Answered by `MembersList`."""


class AskHistory(_Intent, frozen=True, tag="history"):
    """The last `count` messages before seq `before` (0: the end). Answered by `HistoryPage`."""

    before: int = 0
    count: int = 50


class AskSearch(_Intent, frozen=True, tag="search"):
    """The last `count` messages with `query` in them. Answered by `FoundMessages`."""

    query: str
    count: int = 20


class ChangeNick(_Intent, frozen=True, tag="nick"):
    """Be called `name` from now on. Answered by `MemberChanged` (renamed), or `Refusal`."""

    name: str


class GoAway(_Intent, frozen=True, tag="away"):
    """Be shown as away, with `text` as the reason; None: back."""

    text: str | None = None


class SetTopic(_Intent, frozen=True, tag="topic"):
    """Say what the room is about; empty: nothing in particular. Answered by `Topic`, or `Refusal`."""

    text: str


class AskHandover(_Intent, frozen=True, tag="handover"):
    """Hand the server role over now, to the server of `to` (None: to anyone)."""

    to: str | None = None


class AskStatus(_Intent, frozen=True, tag="status"):
    """How is the room served? Answered by `Status`."""


class AskQueue(_Intent, frozen=True, tag="queue"):
    """Which own posts have no outcome yet? Answered by `Queue`, with or without a server."""


class DropPosts(_Intent, frozen=True, tag="drop"):
    """Do not send the own post of this number in `Queue` (None: all of them) any more. Answered by `Dropped`.

    One that was sent may be posted all the same. And one that was sent is needed by those that were sent after it, so
    it cannot be dropped without them.
    """

    number: int | None = None


class Quit(_Intent, frozen=True, tag="quit"):
    """Leave."""


UserIntent = (
    Say
    | Tell
    | AskWho
    | AskHistory
    | AskSearch
    | ChangeNick
    | GoAway
    | SetTopic
    | AskHandover
    | AskStatus
    | AskQueue
    | DropPosts
    | Quit
)


class HostServer(Struct, frozen=True):
    """From the participant, not the user: the server half on this machine is now `server` (empty: none)."""

    server: ServerId


class EpochGranted(Struct, frozen=True):
    """From the participant, not the user: its server half was told by zdns that `epoch` is granted, to whomever."""

    epoch: int


class PostsKept(Struct, frozen=True):
    """From the participant, not the user: what changed in the outbox, up to write `number`, is on disk."""

    number: int


class DiskLost(Struct, frozen=True):
    """From the participant, not the user: the outbox is not on disk any more. `why` is part of a sentence."""

    why: str


Intent = UserIntent | HostServer | EpochGranted | PostsKept | DiskLost
