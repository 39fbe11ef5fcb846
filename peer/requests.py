"""What the user asked of the active server: open until it is answered, asked again after a silence or a move; pure."""

from dataclasses import dataclass

import msgspec

from peer.intents import AskHandover, AskHistory, AskSearch, AskStatus, AskWho, ChangeNick, GoAway, SetTopic, UserIntent
from peer.notices import FollowerLine, MoveLine, ServerLine, Status
from peer.timeline import HistoryQuery, SearchQuery
from wire import limits, names
from wire import messages as wire_messages
from wire.errors import RelevoError
from wire.messages import AskMembers, HandOver, Message, Rename, SetAway, StatusReport

Query = HistoryQuery | SearchQuery
_NEVER = -1


@dataclass(slots=True)
class Request:
    """One open request. `ask` is the number that `message` carries; a `query` takes one message after the other."""

    ask: int
    intent: UserIntent
    message: Message
    asked_ms: int
    query: Query | None = None
    sent_ms: int = _NEVER

    @property
    def is_repeatable(self) -> bool:
        """Whether asking twice does no harm; a handover would be a second one."""
        return not isinstance(self.intent, AskHandover)


class BadRequest(RelevoError):
    """A request that no server would take; `code` is for scripts."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Requests:
    """The open requests, in the order they were made; at most limits.REQUESTS_MAX."""

    def __init__(self) -> None:
        self._open: dict[int, Request] = {}
        self._asks_count = 0

    def __len__(self) -> int:
        return len(self._open)

    @property
    def is_full(self) -> bool:
        """No further request is taken."""
        return len(self._open) >= limits.REQUESTS_MAX

    @property
    def requests(self) -> tuple[Request, ...]:
        """All that are open."""
        return tuple(self._open.values())

    def number(self) -> int:
        """A fresh number for a message; 0 is never given."""
        self._asks_count += 1
        return self._asks_count

    def add(self, intent: UserIntent, message: Message, now_ms: int, query: Query | None = None) -> None:
        """Note a request; `message` gets a number in place of its `ask`, and is given out by `unsent`."""
        ask = self.number()
        message = msgspec.structs.replace(message, ask=ask)
        self._open[ask] = Request(ask, intent, message, now_ms, query)

    def close(self, ask: int) -> Request | None:
        """Take out what this number belongs to; None: nothing that is open."""
        return self._open.pop(ask, None)

    def unsent(self, now_ms: int) -> list[Message]:
        """What has to be sent to the server we are live at. Calling it marks it as sent."""
        messages: list[Message] = []
        for request in self._open.values():
            if request.sent_ms == _NEVER:
                request.sent_ms = now_ms
                messages.append(request.message)
        return messages

    def grow_impatient(self, now_ms: int) -> None:
        """What was sent long ago and not answered is to be sent again."""
        for request in self._open.values():
            if request.is_repeatable and now_ms - request.sent_ms >= limits.POST_RESEND_MS:
                request.sent_ms = _NEVER

    def rejoined(self) -> list[Request]:
        """At a server anew: all is to be sent again, but what may not be asked twice is closed and returned."""
        closed = [ask for ask, request in self._open.items() if not request.is_repeatable and request.sent_ms != _NEVER]
        for request in self._open.values():
            request.sent_ms = _NEVER
        return [self._open.pop(ask) for ask in closed]


def wish_of(intent: UserIntent, head: int) -> Message | Query:
    """What to ask the server for `intent`; `head` is the last seq there is. The message has no number yet.

    Raises:
        BadRequest: no server would take it.
    """
    match intent:
        case AskWho():
            return AskMembers(0)
        case AskStatus():
            return wire_messages.AskStatus(0)
        case AskHistory(before, count):
            return HistoryQuery(before, count, head)
        case AskSearch(query, count):
            _check_text(query, limits.QUERY_CHARS_MAX)
            if not query.strip():
                raise BadRequest("empty", "a search needs something to look for")
            return SearchQuery(query, count)
        case ChangeNick(name):
            return Rename(0, _check_nick(name))
        case GoAway(text):
            _check_text(text or "", limits.AWAY_CHARS_MAX)
            return SetAway(0, text)
        case SetTopic(text):
            topic = " ".join(text.split())  # it is shown on one line
            _check_text(topic, limits.ROOM_TOPIC_CHARS_MAX)
            return wire_messages.SetTopic(0, topic)
        case AskHandover(to):
            return HandOver(0, _check_nick(to) if to else "")
        case _:
            raise BadRequest("malformed", f"{type(intent).__name__} is nothing that a server answers")


def _check_nick(text: str) -> str:
    try:
        return names.check_nick(text)
    except ValueError as error:
        raise BadRequest("bad_name", str(error)) from error


def _check_text(text: str, chars_max: int) -> None:
    if len(text) > chars_max:
        raise BadRequest("too_long", f"at most {chars_max} characters are possible here, this has {len(text)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRequest("bad_text", "the text has characters that are no Unicode") from error


def status_notice(report: StatusReport) -> Status:
    """What the server reports, as the user sees it."""
    return Status(
        service=report.service,
        epoch=report.epoch,
        active=ServerLine(
            id=report.active.id, name=report.active.name, endpoints=(*report.active.router, *report.active.feed)
        ),
        in_sync=tuple(server.name for server in report.in_sync),
        standbys=report.standbys,
        members=report.members,
        min_n=report.min_n,
        open=report.open,
        head=report.head,
        committed=report.committed,
        term_s=report.term_ms / 1000,
        next_handover_in_s=report.next_handover_ms / 1000 if report.next_handover_ms >= 0 else None,
        handovers=tuple(
            MoveLine(
                epoch=move.epoch,
                source=move.source,
                to=move.target,
                reason=move.reason,
                started=move.started_ms,
                entries=move.entries,
                bytes=move.bytes,
                copy_ms=move.copy_ms,
                pause_ms=move.pause_ms,
            )
            for move in report.moves
        ),
        remark=report.remark,
        replicas=report.replicas,
        followers=tuple(
            FollowerLine(name=follower.name, state=follower.phase, lag=follower.lag) for follower in report.followers
        ),
        disk=report.disk,
    )
