"""Notices as sentences, the same ones wherever a person reads them, and as lines, role first; pure."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches

from peer import notices
from ui.people import People
from ui.safe_text import excerpt, safe_line, safe_lines
from wire import identity, limits
from wire.names import nick_key

EXCERPT_CHARS_MAX = 40
QUEUE_LINES_MAX = 20  # chosen: what waits is listed as far as it fits a screen
_ACTION = "/me "

Stamp = Callable[[int], str]  # UTC milliseconds to local "YYYY-MM-DD HH:MM"


def counted(count: int, noun: str) -> str:
    """`1 message`, `1,204 messages`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(names: Sequence[str]) -> str:
    """Names of others in a row."""
    return ", ".join(map(safe_line, names))


def action_of(text: str) -> str | None:
    """What somebody does, when a text says so: it begins with "/me "; None when it does not."""
    action = text.removeprefix(_ACTION)
    return action if action != text and action.strip() else None


def error_line(sentence: str) -> str:
    """A line that says what went wrong."""
    return f"! {safe_line(sentence)}"


# --- sentences --------------------------------------------------------------------------------------------------------

TOO_LONG = f"Not sent: that is too long; a text has at most {limits.TEXT_BYTES_MAX:,} bytes. Send it in parts."
HANDED_OVER = "the server role was handed over"
NOBODY_SERVES = "Not asked: nobody serves at the moment. What you typed stays; try again when somebody does."
NOT_IN = "Not asked: you are not in the room yet. What you typed stays."
NO_TOPIC = "there is no topic; /topic TEXT sets one"
THAT_IS_YOU = "That is you."
NOBODY_TO_ANSWER = "Not sent: nobody has told you anything in private yet. To begin: /msg NICK TEXT"
EXPORTING = "exporting …"
EXPORT_UNDER_WAY = "Not exported: another export is under way; wait for it."
NOTHING_TO_EXPORT = "Not exported: there are no messages yet."


def greeting(ready: notices.Ready, dns: Sequence[str], remark: str = "", invitation: str = "") -> list[str]:
    """Who we are, where, with whom, and what to type.

    Args:
        ready: what there is to tell.
        dns: where zdns is.
        remark: something to add about the messages so far.
        invitation: the command by which others join, if it is known.
    """
    kept = counted(ready.head, "message") if ready.head else "no messages"
    others = [nick for nick in ready.members if nick_key(nick) != nick_key(ready.name)]
    here = f"{len(ready.members)} here: {listed(ready.members)}" if others else "nobody else is here yet"
    return [
        f"you are {safe_line(ready.name)} in {safe_line(ready.service)} (zdns at {listed(dns)})",
        f"{safe_line(ready.server) or 'somebody'} serves; {kept} so far{remark}; {here}",
        *([f"others join with: {invitation}"] if invitation else []),
        "type a line and Enter to post it; /help lists the commands, /quit leaves",
    ]


def gate_sentence(need: int) -> str:
    """Members are waited for."""
    return f"the chat begins with {need}; until then, posts are kept and shown to nobody"


def begun_sentence(need: int) -> str:
    """The wait for members is over."""
    return f"{need} are here: the chat begins"


def change_sentence(changed: notices.MemberChanged, own_name: str) -> str:
    """A change about somebody, or about oneself (until now called `own_name`); empty: it is not worth a word."""
    name = safe_line(changed.name)
    was = changed.was if isinstance(changed.was, str) else ""
    is_own = bool(own_name) and nick_key(was or changed.name) == nick_key(own_name)
    who = "you are" if is_own else f"{safe_line(was or changed.name)} is"
    match changed.state:
        case "joined" | "left":
            return f"{name} {changed.state}"
        case "lost":
            return f"lost contact with {name}"
        case "silent" if not is_own:
            return f"nothing was heard from {name} for a while"
        case "heard" if not is_own:
            return f"{name} is heard again"
        case "away":
            reason = f": {safe_line(changed.text)}" if isinstance(changed.text, str) and changed.text else ""
            return f"{who} away{reason}"
        case "back":
            return f"{who} back"
        case "renamed":
            return f"{who} called {name} now"
        case _:
            return ""


def topic_sentence(topic: notices.Topic, own_name: str) -> str:
    """What the room is about, or that it is about nothing in particular any more, and who said so."""
    by = "you" if topic.by and nick_key(topic.by) == nick_key(own_name) else safe_line(topic.by)
    if not topic.text:
        return f"{by or 'somebody'} took the topic away"
    return f"topic: {safe_line(topic.text)}" + (f" (set by {by})" if by else "")


def ignoring_sentence(ignored: Sequence[str]) -> str:
    """Whom the reader ignores."""
    return f"you ignore {listed(ignored)}" if ignored else "you ignore nobody"


def ignored_sentence(nick: str, *, is_ignored: bool, is_here: bool) -> str:
    """That somebody is ignored from now on, or no longer."""
    name = safe_line(nick)
    if is_ignored:
        absent = "" if is_here else f" (nobody here is called {name} now)"
        return f"what {name} says is not shown from now on{absent}; /ignore {name} again ends it"
    return f"what {name} says is shown again"


def leaving_sentence(open_count: int) -> str:
    """Said when leaving takes a while, as requests are without an outcome."""
    return f"waiting for {counted(open_count, 'line')} of yours to get through; Ctrl+C leaves at once"


def stranger_sentence(nick: str, nicks: Sequence[str]) -> str:
    """Nobody of this name is here. `nicks`: who is."""
    known = {nick_key(one): one for one in nicks}
    close = get_close_matches(nick_key(nick), list(known), n=1)
    hint = f"Did you mean {safe_line(known[close[0]])}?" if close else "/who lists who is."
    return f"Not sent: nobody here is called {safe_line(nick)}. {hint}"


# What the room's answer to a refused request does not say: what it was about, and what to try.
_ABOUT = dict.fromkeys(("no_standby", "not_standby", "handover_failed"), "not handed over: ")
_HINTS = {"name_taken": "; /who lists those in use", "no_standby": "; /status lists who stands by"}


def refusal_sentence(refusal: notices.Refusal) -> str:
    """Why a request was turned down, and what to try."""
    return safe_line(_ABOUT.get(refusal.code, "") + refusal.message + _HINTS.get(refusal.code, ""))


class Wording:
    """Puts notices into words; remembers what the reader was told (the day, the gate, the topic) and who is here."""

    def __init__(self, dns: Sequence[str], stamp: Stamp, now_ms: int) -> None:
        self.people = People()
        self._dns = dns
        self._stamp = stamp
        self._day = stamp(now_ms)[:10]
        self._gate: tuple[int, int] | None = None
        self._topic = notices.Topic(text="", by="")

    @property
    def nicks(self) -> list[str]:
        """Members other than oneself, in the order in which Tab offers them."""
        return self.people.nicks

    def lines(self, notice: notices.AnyNotice, now_ms: int) -> list[str]:
        """What to print for a notice; `now_ms`: UTC. Handovers and own posts' acknowledgements say nothing."""
        if self._is_hidden(notice):
            return []
        name = self.people.name
        self.people.fold(notice)
        match notice:
            case notices.Ready():
                return _remarks(greeting(notice, self._dns, _newest(notice.head)))
            case notices.Waiting():
                return self._waiting(notice)
            case notices.Message():
                return self._begun() + self._dated(notice.time, notice.author, notice.text)
            case notices.Private():
                return self._private(notice, now_ms)
            case notices.MemberChanged():
                return _remarks([change_sentence(notice, name)])
            case notices.MembersList():
                return [f"-- {who_text(notice)}"]
            case notices.Topic():
                self._topic = notice
                return _remarks([topic_sentence(notice, name)])
            case _:
                return self._answer(notice)

    def _answer(self, notice: notices.AnyNotice) -> list[str]:
        match notice:
            case notices.HistoryPage():
                return self._history(notice)
            case notices.FoundMessages():
                return self._found(notice)
            case notices.Status():
                return _remarks(status_lines(notice, self._stamp))
            case notices.HandedOver():
                return _remarks([HANDED_OVER])
            case notices.Dropped():
                return _remarks(dropped_lines(notice))
            case notices.Refusal(code="dropped"):
                return []  # `Dropped` comes after it, and tells of all of them together
            case notices.Refusal():
                return [error_line(refusal_sentence(notice))]
            case notices.Fault(code="nobody_serves"):
                return [f"-- {safe_line(notice.message)}. What you type meanwhile is kept"]
            case notices.Fault(code="posts_left" | "posts_waiting"):
                return [f"-- {safe_line(notice.message)}"]
            case notices.Fault():
                return [error_line(notice.message)]
            case _:
                return []

    def is_shown(self, message: notices.Message | notices.ChatMessage) -> bool:
        """Its author is not ignored."""
        return not self.people.is_ignored(message.author)

    def _is_hidden(self, notice: notices.AnyNotice) -> bool:
        """Somebody who is ignored says it. It is as if it had not been said: there is no answering it, either."""
        match notice:
            case notices.Message(own=True):
                return False
            case notices.Message():
                return not self.is_shown(notice)
            case notices.Private(state="received", sender=sender):
                return self.people.is_ignored(sender)
            case _:
                return False

    # --- what the reader asks for -------------------------------------------------------------------------------------

    def ignore(self, nick: str | None) -> list[str]:
        """Ignore somebody, or no longer; without a nick: say whom."""
        if nick is None:
            return _remarks([ignoring_sentence(self.people.ignored)])
        if self.people.is_me(nick):
            return [error_line(THAT_IS_YOU)]
        is_ignored, is_here = self.people.toggle_ignored(nick), self.people.is_here(nick)
        return _remarks([ignored_sentence(nick, is_ignored=is_ignored, is_here=is_here)])

    def topic(self) -> list[str]:
        """What the room is about."""
        return _remarks([topic_sentence(self._topic, self.people.name) if self._topic.text else NO_TOPIC])

    def message_lines(self, message: notices.Message) -> list[str]:
        """A message, after a line with its day when that is another than the one before."""
        return self._dated(message.time, message.author, message.text)

    def _waiting(self, waiting: notices.Waiting) -> list[str]:
        gate = (waiting.here, waiting.need)
        if gate == self._gate:
            return []
        is_first, self._gate = self._gate is None, gate
        if waiting.here >= waiting.need:
            return self._begun()
        who = f" ({listed(waiting.members)})" if waiting.members else ""
        kept = f"; {gate_sentence(waiting.need)}" if is_first else ""
        return [f"-- waiting: {waiting.here} of {waiting.need} here{who}{kept}"]

    def _begun(self) -> list[str]:
        """Said once after some waiting: when all are there, or at the latest when a message is shown."""
        if self._gate is None:
            return []
        need, self._gate = self._gate[1], None
        return _remarks([begun_sentence(need)])

    def _dated(self, time_ms: int, author: str, text: str) -> list[str]:
        day, _, minute = self._stamp(time_ms).partition(" ")
        first = [f"-- {day}"] if day != self._day else []
        self._day = day
        return first + said_lines(minute, author, text)

    def _private(self, private: notices.Private, now_ms: int) -> list[str]:
        minute = self._stamp(now_ms)[11:]
        about = f": {excerpt(private.text, EXCERPT_CHARS_MAX)}"
        match private.state:
            case "received":
                return _told_lines(minute, f"{safe_line(private.sender)} -> you", private.sender, private.text)
            case "queued":
                return _told_lines(minute, f"you -> {safe_line(private.to)}", self.people.name, private.text)
            case "delivered":
                return [f"-- delivered to {safe_line(private.to)}{about}"]
            case _:
                why = f" ({safe_line(private.reason)})" if isinstance(private.reason, str) else ""
                return [f"! not delivered to {safe_line(private.to)}{why}{about}"]

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
        shown = [one for one in messages if self.is_shown(one)]
        lines = [line for one in shown for line in said_lines(self._stamp(one.time), one.author, one.text)]
        if hidden := len(messages) - len(shown):
            lines.append(f"-- {counted(hidden, 'message')} of whom you ignore left out")
        return lines


def said_lines(when: str, author: str, text: str) -> list[str]:
    """A message: when, who, and what was said or done."""
    action = action_of(text)
    if action is not None:
        return _spoken(f"{when} * {safe_line(author)} ", action)
    return _spoken(f"{when} {safe_line(author)}: ", text)


def _told_lines(when: str, whom: str, sender: str, text: str) -> list[str]:
    """A private text."""
    action = action_of(text)
    if action is not None:
        return _spoken(f"{when} [{whom}] * {safe_line(sender)} ", action)
    return _spoken(f"{when} [{whom}] ", text)


def _remarks(sentences: Sequence[str]) -> list[str]:
    """What is no text of anybody's; an empty sentence says nothing."""
    return [f"-- {sentence}" for sentence in sentences if sentence]


def _newest(head: int) -> str:
    return f", the last {limits.PAGE_ENTRIES} follow" if head > limits.PAGE_ENTRIES else ""


def _spoken(prefix: str, text: str) -> list[str]:
    """A text after who said it; further lines are set in, so that none can pass for a message of its own."""
    first, *rest = safe_lines(text)
    return [prefix + first, *(f"      | {line}" for line in rest)]


def who_text(who: notices.MembersList) -> str:
    """The members in one line."""

    def one(member: notices.MemberLine) -> str:
        remarks = [
            word for word, holds in (("serves", member.serving), (member.state, member.state != "here")) if holds
        ]
        key = f" {identity.shown(member.fingerprint)}" if member.fingerprint else ""
        return safe_line(member.name) + (f" ({', '.join(remarks)})" if remarks else "") + key

    return f"{len(who.members)} here: {', '.join(map(one, who.members))}"


def queue_answer(queue: notices.Queue, private: Sequence[tuple[str, str, str]]) -> list[str]:
    """Own posts without an outcome, by their numbers, and below them private texts (see `queue_lines`)."""
    posts = [(f"{post.number}", _post_words(post), "", post.text) for post in queue.posts]
    return _waiting_lines([*posts, *(("", *text) for text in private)])


def _post_words(post: notices.QueueLine) -> str:
    return f"{post.state}, left from last time" if post.left else post.state


def dropped_lines(dropped: notices.Dropped) -> list[str]:
    """What became of posts that were dropped."""
    if not dropped.posts:
        return ["there was nothing to drop"]
    sent = sum(1 for post in dropped.posts if post.state == "sent")
    doubt = f"; {counted(sent, 'post')} had been sent before and may be posted all the same" if sent else ""
    return [f"dropped {counted(len(dropped.posts), 'post')} of yours{doubt}"]


def queue_lines(waiting: Sequence[tuple[str, str, str]]) -> list[str]:
    """Own texts without an outcome: how far each has come (empty: one cannot tell), whom it is for, and the text.

    A text for nobody (empty) is for everybody.
    """
    return _waiting_lines([(f"{number}", *text) for number, text in enumerate(waiting, 1)])


def _waiting_lines(waiting: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """`queue_lines`, each with a number of its own, or none."""
    if not waiting:
        return ["nothing of yours waits"]
    lines = [
        f"{number:>2}  {_heading(state, to)}{excerpt(text, EXCERPT_CHARS_MAX)}"
        for number, state, to, text in waiting[:QUEUE_LINES_MAX]
    ]
    rest = len(waiting) - len(lines)
    more = [f"and {rest:,} more"] if rest else []
    return [f"{counted(len(waiting), 'text')} of yours not through yet:", *lines, *more]


def _heading(state: str, to: str) -> str:
    words = [word for word in (state, f"to {safe_line(to)}" if to else "") if word]
    return f"{', '.join(words)}: " if words else ""


def status_lines(status: notices.Status, stamp: Stamp) -> list[str]:
    """A `Status` as a table of two columns, the last handovers below."""
    gate = "" if status.min_n < 2 else f"; begins with {status.min_n}, {'open' if status.open else 'not begun yet'}"
    every = f"every {status.term_s:g} s" if status.term_s else "only when asked for"
    soon = "" if status.next_handover_in_s is None else f", next in {max(0.0, status.next_handover_in_s):.0f} s"
    rows = [
        ("service", safe_line(status.service)),
        ("served by", f"{safe_line(status.active.name)}, epoch {status.epoch} ({listed(status.active.endpoints)})"),
        ("in sync", listed(status.in_sync)),
        ("followers", _followers_text(status)),
        ("standbys", listed(status.standbys) or "none"),
        ("members", f"{len(status.members)}: {listed(status.members)}{gate}"),
        (
            "messages",
            f"{status.head:,}" + ("" if status.committed == status.head else f", {status.committed:,} committed"),
        ),
        ("handovers", every + soon),
    ]
    if status.disk:
        rows.append(("disk", safe_line(status.disk)))
    if status.remark:
        rows.append(("remark", safe_line(status.remark)))
    lines = [f"{name:<10} {value}".rstrip() for name, value in rows]
    return lines + [_move_line(move, stamp) for move in status.handovers]


def _followers_text(status: notices.Status) -> str:
    """Who follows and what they lack; how many are wanted, when that is another number."""

    def one(follower: notices.FollowerLine) -> str:
        lag = f", lacks {counted(follower.lag, 'message')}" if follower.lag else ""
        return f"{safe_line(follower.name)} ({safe_line(follower.state)}{lag})"

    wanted = "" if len(status.followers) == status.replicas else f"; {status.replicas} wanted"
    return (", ".join(map(one, status.followers)) or "none") + wanted


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
    return f"-- not in {safe_line(service)} yet, still trying (zdns at {listed(dns)})"


def recovered_line(queued: int) -> str:
    """Said when an outage that was told of is over."""
    return "-- there is a server again" + (f"; {counted(queued, 'post')} on the way" if queued else "")


def leaving_line(open_count: int) -> str:
    """Said when leaving takes a while, as requests are without an outcome."""
    return f"-- {leaving_sentence(open_count)}"
