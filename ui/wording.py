"""Notices as the lines a person reads, role first, one event a line; pure."""

from collections.abc import Callable, Sequence

from peer import notices
from ui.safe_text import excerpt, safe_line, safe_lines
from wire import limits

EXCERPT_CHARS_MAX = 40

Stamp = Callable[[int], str]  # UTC milliseconds to local "YYYY-MM-DD HH:MM"


def counted(count: int, noun: str) -> str:
    """`1 message`, `1,204 messages`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(safe_line, names))


def error_line(sentence: str) -> str:
    """A line that says what went wrong."""
    return f"! {safe_line(sentence)}"


def too_long_line() -> str:
    """Said of a line that was thrown away unread."""
    return error_line(
        f"Not sent: that is too long; a text has at most {limits.TEXT_BYTES_MAX:,} bytes. Send it in parts."
    )


# What the room's answer to a refused request does not say: what it was about, and what to try.
_ABOUT = dict.fromkeys(("no_standby", "not_standby", "handover_failed"), "not handed over: ")
_HINTS = {"name_taken": "; /who lists those in use", "no_standby": "; /status lists who stands by"}


def _refusal_line(refusal: notices.Refusal) -> str:
    return error_line(_ABOUT.get(refusal.code, "") + refusal.message + _HINTS.get(refusal.code, ""))


class Wording:
    """Puts notices into words; remembers what the reader was told (the day, the gate) and who spoke last."""

    def __init__(self, dns: Sequence[str], stamp: Stamp, now_ms: int) -> None:
        self._dns = dns
        self._stamp = stamp
        self._day = stamp(now_ms)[:10]
        self._name = ""
        self._gate: tuple[int, int] | None = None
        self._nicks: dict[str, None] = {}  # members; who spoke last is at the end

    @property
    def nicks(self) -> list[str]:
        """Members other than oneself, who spoke last first: the order in which Tab offers them."""
        return [nick for nick in reversed(list(self._nicks)) if nick != self._name]

    def lines(self, notice: notices.AnyNotice, now_ms: int) -> list[str]:
        """What to print for a notice; `now_ms`: UTC. Handovers and own posts' acknowledgements say nothing."""
        match notice:
            case notices.Ready():
                return self._greeting(notice)
            case notices.Waiting():
                return self._waiting(notice)
            case notices.Message():
                self._spoke(notice.author)
                return self._begun() + self._dated(notice.time, notice.author, notice.text)
            case notices.Private():
                return self._private(notice, now_ms)
            case notices.MemberChanged():
                return self._member(notice)
            case notices.MembersList():
                return [_who_line(notice)]
            case notices.HistoryPage():
                return self._history(notice)
            case notices.FoundMessages():
                return self._found(notice)
            case notices.Status():
                return [f"-- {line}" for line in status_lines(notice, self._stamp)]
            case notices.HandedOver():
                return ["-- the server role was handed over"]
            case notices.Refusal():
                return [_refusal_line(notice)]
            case notices.Fault(code="nobody_serves"):
                return [f"-- {safe_line(notice.message)}. What you type meanwhile is kept"]
            case notices.Fault():
                return [error_line(notice.message)]
            case _:
                return []

    def message_lines(self, message: notices.Message) -> list[str]:
        """A message, after a line with its day when that is another than the one before."""
        return self._dated(message.time, message.author, message.text)

    def _greeting(self, ready: notices.Ready) -> list[str]:
        self._name = ready.name
        for nick in ready.members:
            self._nicks.setdefault(nick)
        kept = counted(ready.head, "message") if ready.head else "no messages"
        newest = f", the last {limits.PAGE_ENTRIES} follow" if ready.head > limits.PAGE_ENTRIES else ""
        alone = ready.members == (ready.name,)
        here = "nobody else is here yet" if alone else f"{len(ready.members)} here: {_listed(ready.members)}"
        return [
            f"-- you are {safe_line(ready.name)} in {safe_line(ready.service)} (zdns at {_listed(self._dns)})",
            f"-- {safe_line(ready.server) or 'somebody'} serves; {kept} so far{newest}; {here}",
            "-- type a line and Enter to post it; /help lists the commands, /quit leaves",
        ]

    def _waiting(self, waiting: notices.Waiting) -> list[str]:
        gate = (waiting.here, waiting.need)
        if gate == self._gate:
            return []
        is_first, self._gate = self._gate is None, gate
        if waiting.here >= waiting.need:
            return self._begun()
        who = f" ({_listed(waiting.members)})" if waiting.members else ""
        kept = f"; until {waiting.need} are, posts are kept and shown to nobody" if is_first else ""
        return [f"-- waiting: {waiting.here} of {waiting.need} here{who}{kept}"]

    def _begun(self) -> list[str]:
        """Said once after some waiting: when all are there, or at the latest when a message is shown."""
        if self._gate is None:
            return []
        need, self._gate = self._gate[1], None
        return [f"-- {need} are here: the chat begins"]

    def _dated(self, time_ms: int, author: str, text: str) -> list[str]:
        day, _, minute = self._stamp(time_ms).partition(" ")
        first = [f"-- {day}"] if day != self._day else []
        self._day = day
        return first + _spoken(f"{minute} {safe_line(author)}: ", text)

    def _private(self, private: notices.Private, now_ms: int) -> list[str]:
        minute = self._stamp(now_ms)[11:]
        about = f": {excerpt(private.text, EXCERPT_CHARS_MAX)}"
        match private.state:
            case "received":
                self._spoke(private.sender)
                return _spoken(f"{minute} [{safe_line(private.sender)} -> you] ", private.text)
            case "queued":
                return _spoken(f"{minute} [you -> {safe_line(private.to)}] ", private.text)
            case "delivered":
                return [f"-- delivered to {safe_line(private.to)}{about}"]
            case _:
                why = f" ({safe_line(private.reason)})" if isinstance(private.reason, str) else ""
                return [f"! not delivered to {safe_line(private.to)}{why}{about}"]

    def _spoke(self, nick: str) -> None:
        if nick in self._nicks:
            del self._nicks[nick]
            self._nicks[nick] = None

    def _member(self, changed: notices.MemberChanged) -> list[str]:
        name, own = changed.name, changed.name == self._name
        who = "you are" if own else f"{safe_line(name)} is"
        match changed.state:
            case "joined":
                self._nicks.setdefault(name)
                return [f"-- {safe_line(name)} joined"]
            case "left":
                self._nicks.pop(name, None)
                return [f"-- {safe_line(name)} left"]
            case "lost":
                self._nicks.pop(name, None)
                return [f"-- lost contact with {safe_line(name)}"]
            case "away":
                reason = f": {safe_line(changed.text)}" if isinstance(changed.text, str) and changed.text else ""
                return [f"-- {who} away{reason}"]
            case "back":
                return [f"-- {who} back"]
            case "renamed":
                return self._renamed(changed)
            case _:
                return []

    def _renamed(self, changed: notices.MemberChanged) -> list[str]:
        was = changed.was if isinstance(changed.was, str) else ""
        self._nicks.pop(was, None)
        self._nicks[changed.name] = None
        if was == self._name:
            self._name = changed.name
            return [f"-- you are called {safe_line(changed.name)} now"]
        return [f"-- {safe_line(was)} is called {safe_line(changed.name)} now"]

    def _history(self, page: notices.HistoryPage) -> list[str]:
        if not page.messages:
            return ["-- no earlier messages"]
        first, last = page.messages[0].seq, page.messages[-1].seq
        numbers = f"message {first}" if first == last else f"messages {first} to {last}"
        lines = [f"-- {numbers}:", *self._page(page.messages)]
        if page.more:
            return [*lines, f"-- earlier ones: /history {len(page.messages)} {first}"]
        return [*lines, "-- that is all from the beginning"]

    def _found(self, found: notices.FoundMessages) -> list[str]:
        if not found.messages:
            return ["-- nothing found"]
        more = ", the newest of several pages" if found.more else ""
        return [
            f"-- {counted(len(found.messages), 'message')} found{more}:",
            *self._page(found.messages),
            "-- end of what was found",
        ]

    def _page(self, messages: Sequence[notices.ChatMessage]) -> list[str]:
        """Messages out of turn, each with its full date: they do not move the day of the talk."""
        return [
            line for one in messages for line in _spoken(f"{self._stamp(one.time)} {safe_line(one.author)}: ", one.text)
        ]


def _spoken(prefix: str, text: str) -> list[str]:
    """A text after who said it; further lines are set in, so that none can pass for a message of its own."""
    first, *rest = safe_lines(text)
    return [prefix + first, *(f"      | {line}" for line in rest)]


def _who_line(who: notices.MembersList) -> str:
    def one(member: notices.MemberLine) -> str:
        remarks = [
            word for word, holds in (("serves", member.serving), (member.state, member.state != "here")) if holds
        ]
        return safe_line(member.name) + (f" ({', '.join(remarks)})" if remarks else "")

    return f"-- {len(who.members)} here: {', '.join(map(one, who.members))}"


def status_lines(status: notices.Status, stamp: Stamp) -> list[str]:
    """A `Status` as a table of two columns, the last handovers below."""
    gate = "" if status.min_n < 2 else f"; begins with {status.min_n}, {'open' if status.open else 'not begun yet'}"
    every = f"every {status.term_s:g} s" if status.term_s else "only when asked for"
    soon = "" if status.next_handover_in_s is None else f", next in {max(0.0, status.next_handover_in_s):.0f} s"
    rows = [
        ("service", safe_line(status.service)),
        ("served by", f"{safe_line(status.active.name)}, epoch {status.epoch} ({_listed(status.active.endpoints)})"),
        ("in sync", _listed(status.in_sync)),
        ("standbys", _listed(status.standbys) or "none"),
        ("members", f"{len(status.members)}: {_listed(status.members)}{gate}"),
        (
            "messages",
            f"{status.head:,}" + ("" if status.committed == status.head else f", {status.committed:,} committed"),
        ),
        ("handovers", every + soon),
    ]
    if status.remark:
        rows.append(("remark", safe_line(status.remark)))
    lines = [f"{name:<10} {value}".rstrip() for name, value in rows]
    return lines + [_move_line(move, stamp) for move in status.handovers]


def _move_line(move: notices.MoveLine, stamp: Stamp) -> str:
    return (
        f"  epoch {move.epoch}, {stamp(move.started)}: {safe_line(move.source) or 'nobody'} -> {safe_line(move.to)}"
        f" ({safe_line(move.reason)}), {counted(move.entries, 'message')}, {move.bytes:,} bytes,"
        f" copied in {move.copy_ms:,} ms, pause {move.pause_ms:,} ms"
    )


def outage_line(queued: int) -> str:
    """Said when nobody serves for a while. `queued`: own posts that wait."""
    kept = f"; {counted(queued, 'post')} of yours kept, to be sent when there is one" if queued else ""
    return f"-- no server at the moment, looking for one{kept}"


def joining_line(service: str, dns: Sequence[str]) -> str:
    """Said when getting in takes a while."""
    return f"-- not in {safe_line(service)} yet, still trying (zdns at {_listed(dns)})"


def recovered_line(queued: int) -> str:
    """Said when an outage that was told of is over."""
    return "-- there is a server again" + (f"; {counted(queued, 'post')} on the way" if queued else "")


def leaving_line(open_count: int) -> str:
    """Said when leaving takes a while, as requests are without an outcome."""
    return f"-- waiting for {counted(open_count, 'line')} of yours to get through; Ctrl+C leaves at once"
