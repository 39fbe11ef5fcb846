"""What the full-screen console shows, as values: notices and the reader's deeds in, pages and effects out; pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from peer import intents, notices
from peer.outbox import FloodGate
from ui import options, parse
from ui.export import Export
from ui.page import PENDING_MAX, Kind, Line, Page, State
from ui.people import People
from ui.safe_text import excerpt, safe_line, safe_lines
from ui.scrollback import Scrollback
from ui.splitter import TooLong
from ui.wording import Stamp, action_of, counted, listed, refusal_sentence, status_lines, who_text
from wire import limits
from wire.names import nick_key

PAGES_MAX = 30  # chosen: the room and private talks; the one that was quiet for longest gives way
FETCH_WITHIN = 30  # so many lines before the end of what is there, more is fetched
IDLE_MS = 60_000  # without a key, on a terminal that does not tell: nobody sits there
RECENT_MS = 30 * 60_000  # who said something in this time is somebody whose coming and going matters
INTERRUPT_MS = 2_000  # the second Ctrl+C within this time leaves
ANSWER_LINES_MAX = 3  # a longer answer is shown over the page, not in it
RING_MS = 1_000  # at most one bell in this time
GREETING_MS = 1_000  # the greeting does not wait longer for the newest page


# --- what is to be done elsewhere -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the chat for something."""

    intent: intents.UserIntent


@dataclass(frozen=True, slots=True)
class Ring:
    """Sound the terminal's bell."""


@dataclass(frozen=True, slots=True)
class Applied:
    """A setting has another value now."""

    name: str


# `Export`: write it to its file; what becomes of it comes back by `exported`.
Effect = Ask | Ring | Export | Applied


# --- what is shown besides pages --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Schedule:
    """Who serves; `until_ms`: UTC of the next planned handover, None when there is none."""

    epoch: int
    server: str
    until_ms: int | None


@dataclass(frozen=True, slots=True)
class Gate:
    """The chat begins when `need` are `here`."""

    here: int
    need: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, with the one that is marked; shown over the page until one is taken, or none."""

    query: str
    messages: tuple[notices.ChatMessage, ...]
    more: bool
    index: int


@dataclass(frozen=True, slots=True)
class Panel:
    """A longer answer that concerns nobody else, shown over the page until it is closed or something is entered."""

    title: str
    lines: tuple[str, ...]


class Model:
    """All that is on the screen, but for what is being typed.

    Times are UTC milliseconds. Invariants: `pages[0]` is the room; `take` gives each effect once; at most one part of
    the history is asked for at a time.
    """

    def __init__(
        self,
        *,
        service: str,
        dns: Sequence[str],
        stamp: Stamp,
        settings: Mapping[str, Any],
        flood_per_s: float,
        now_ms: int,
        key_lines: Sequence[str] = (),
    ) -> None:
        """`settings`: a value for each name in `options.SETTABLE`. `key_lines`: what `/help keys` shows."""
        self.service = service
        self.dns = tuple(dns)
        self.settings = dict(settings)
        self.people = People()
        self.pages = [Page(safe_line(service))]
        self.current = self.pages[0]
        self.state = "searching"
        self.is_in = False
        self.schedule: Schedule | None = None
        self.gate: Gate | None = None
        self.topic = ""
        self.found: Found | None = None
        self.panel: Panel | None = None
        self.hint = ""  # a word about the last key, gone with the next
        self.question = ""  # to be answered before anything else
        self.outage = ""
        self.shows_members = True
        self.is_bare = False
        self._stamp = stamp
        self._key_lines = tuple(key_lines)
        self._flood = FloodGate(flood_per_s)
        self._effects: list[Effect] = []
        self._tags = 0
        self._greeting: tuple[notices.Ready, int] | None = None  # until the newest page is there, or this time
        self._quiet_whos = 0  # answers to `who` that nobody asked for
        self._query = ""
        self._scrollback = Scrollback(self.room, self._as_line)
        self._mention: re.Pattern[str] | None = None
        self._is_present = True
        self._tells_focus = False
        self._key_ms = now_ms
        self._interrupt_ms = -INTERRUPT_MS
        self._ring_ms = -RING_MS

    def take(self) -> list[Effect]:
        """What is to be done now; each effect is given once."""
        effects, self._effects = self._effects, []
        return effects + [Ask(question) for question in self._scrollback.take()]

    @property
    def room(self) -> Page:
        """The page of the room."""
        return self.pages[0]

    @property
    def queued(self) -> int:
        """Own posts that are not committed."""
        return len(self.room.pending)

    # --- what the chat tells ------------------------------------------------------------------------------------------

    def fold(self, notice: notices.AnyNotice, now_ms: int) -> None:
        """Take in what was told."""
        match notice:
            case notices.Message():
                self._message(notice, now_ms)
            case notices.MemberChanged():
                self._member_changed(notice, now_ms)
            case notices.MembersList():
                self._members(notice, now_ms)
            case notices.Private():
                self._private(notice, now_ms)
            case notices.Ready():
                self._ready(notice, now_ms)
            case notices.StateChanged():
                self._state_changed(notice)
            case notices.Schedule():
                seconds = notice.next_handover_in_s
                until_ms = None if seconds is None else now_ms + round(seconds * 1000)
                self.schedule = Schedule(notice.epoch, notice.server, until_ms)
                self.people.fold(notice)
            case notices.Waiting():
                self._waiting(notice, now_ms)
            case _:
                self._rest(notice, now_ms)

    def _rest(self, notice: notices.AnyNotice, now_ms: int) -> None:
        match notice:
            case notices.Topic():
                self._topic(notice, now_ms)
            case notices.Refusal():
                self._refused(notice, now_ms)
            case notices.Fault():
                self._fault(notice, now_ms)
            case notices.HistoryPage():
                if (export := self._scrollback.answered(notice)) is not None:
                    self._effects.append(export)
            case notices.FoundMessages():
                self._found_messages(notice)
            case notices.Status():
                self._answer("status", status_lines(notice, self._stamp), now_ms)
            case notices.HandedOver():
                self._remark(["the server role was handed over"], now_ms)
            case _:
                pass  # Posted: the message itself says it; Relocated: the status line does

    def _ready(self, ready: notices.Ready, now_ms: int) -> None:
        self.is_in = True
        self.outage = ""
        self.people.fold(ready)
        self._called(ready.name)
        self._greeting = (ready, now_ms + GREETING_MS)
        self._quiet_whos += 1
        self._ask(intents.AskWho())
        if not ready.head:
            self._greet(now_ms)

    def _greet(self, now_ms: int) -> None:
        """Who we are, where, with whom; below the newest page, where it is seen."""
        if self._greeting is None:
            return
        (ready, _), self._greeting = self._greeting, None
        others = [nick for nick in ready.members if not self.people.is_me(nick)]
        here = f"{len(ready.members)} here: {listed(ready.members)}" if others else "nobody else is here yet"
        kept = counted(ready.head, "message") if ready.head else "no messages"
        lines = [
            f"you are {safe_line(ready.name)} in {safe_line(ready.service)} (zdns at {listed(self.dns)})",
            f"{safe_line(ready.server) or 'somebody'} serves; {kept} so far; {here}",
        ]
        if self.topic:
            lines.append(f"topic: {self.topic}")
        lines.append("type a line and Enter to post it; /help lists the commands, /quit leaves")
        self._add(self.room, self._line(Kind.REMARK, now_ms, lines), is_news=False)

    def _message(self, message: notices.Message, now_ms: int) -> None:
        log = self.room.log
        log.from_seq = log.from_seq or message.seq
        log.to_seq = message.seq
        is_past, is_own = message.past is True, message.own is True
        if not is_past:
            self._greet(now_ms)
        self.people.fold(message)
        if not self.people.is_ignored(message.author) or is_own:
            line = self._said(message.author, message.text, message.time, seq=message.seq, is_own=is_own)
            if is_own:
                self.room.settle_text(line.text)
                if not is_past:
                    line = replace(line, state=State.COMMITTED)
            is_news = not is_past and not is_own
            self._add(self.room, line, is_news=is_news)
            if is_news and line.mentions_me:
                self._ring(now_ms)
        if self._greeting is not None and message.seq >= self._greeting[0].head:
            self._greet(now_ms)

    def _said(self, nick: str, text: str, time_ms: int, *, seq: int = 0, is_own: bool = False) -> Line:
        """A text somebody said, as a line."""
        action = action_of(text)
        day, _, minute = self._stamp(time_ms).partition(" ")
        return Line(
            kind=Kind.SAID if action is None else Kind.ACTION,
            day=day,
            time=minute,
            text=tuple(safe_lines(text if action is None else action)),
            nick=safe_line(nick),
            seq=seq,
            is_own=is_own,
            mentions_me=not is_own and self._mention is not None and self._mention.search(text) is not None,
        )

    def _member_changed(self, changed: notices.MemberChanged, now_ms: int) -> None:
        name = safe_line(changed.name)
        is_own = self.people.is_me(changed.name)
        is_recent = self.people.spoke_since(changed.name, now_ms - RECENT_MS)
        shows = {"all": True, "none": False}.get(self.settings["joins"], is_recent)
        was = changed.was if isinstance(changed.was, str) else ""
        self.people.fold(changed)
        talk = self._talk_with(was or changed.name)
        reason = f": {safe_line(changed.text)}" if isinstance(changed.text, str) and changed.text else ""
        told = {
            "joined": (Kind.CAME, f"{name} joined"),
            "left": (Kind.WENT, f"{name} left"),
            "lost": (Kind.WENT, f"lost contact with {name}"),
            "silent": (Kind.WENT, f"{name} is silent: nothing was heard of it for a while"),
            "heard": (Kind.CAME, f"{name} is heard again"),
            "away": (Kind.REMARK, f"{'you are' if is_own else f'{name} is'} away{reason}"),
            "back": (Kind.REMARK, f"{'you are' if is_own else f'{name} is'} back"),
            "renamed": (Kind.REMARK, f"{safe_line(was)} is called {name} now"),
        }
        if changed.state not in told:
            return
        kind, sentence = told[changed.state]
        if changed.state == "renamed" and self.people.is_me(changed.name):
            self._called(changed.name)
            sentence, shows = f"you are called {name} now", True
        if talk is not None:
            if changed.state == "renamed":
                talk.nick, talk.title = changed.name, name
            self._add(talk, self._line(kind, now_ms, [sentence]), is_news=False)
        if is_own or (shows and changed.state in ("joined", "left", "lost", "renamed")):
            self._add(self.room, self._line(kind, now_ms, [sentence]), is_news=False)

    def _called(self, name: str) -> None:
        self._mention = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])", re.IGNORECASE)

    def _members(self, who: notices.MembersList, now_ms: int) -> None:
        self.people.fold(who)
        if self._quiet_whos:
            self._quiet_whos -= 1
        else:
            self._remark([who_text(who)], now_ms)

    def _private(self, private: notices.Private, now_ms: int) -> None:
        if private.state == "received":
            if self.people.is_ignored(private.sender):
                return
            self.people.fold(private)
            page = self._open_talk(private.sender)
            self._add(page, self._said(private.sender, private.text, now_ms), is_news=True)
            self._ring(now_ms)
            return
        page = self._open_talk(private.to)
        tag = private.tag if isinstance(private.tag, int) else 0
        if private.state == "delivered":
            page.mark(tag, State.DELIVERED)
        elif private.state == "failed":
            page.mark(tag, State.FAILED)
            why = f": {safe_line(private.reason)}" if isinstance(private.reason, str) else ""
            about = excerpt(private.text, 40)
            self._add(page, self._line(Kind.ERROR, now_ms, [f"not delivered{why} ({about})"]), is_news=False)

    def _state_changed(self, changed: notices.StateChanged) -> None:
        self.state = changed.state
        if changed.state == "live":
            self.outage = ""
            self.room.restate(State.QUEUED, State.SENT)
        else:
            self.room.restate(State.SENT, State.QUEUED)

    def _waiting(self, waiting: notices.Waiting, now_ms: int) -> None:
        if waiting.here < waiting.need:
            self.gate = Gate(waiting.here, waiting.need, waiting.members)
            return
        if self.gate is not None:
            sentence = f"{waiting.need} are here: the chat begins"
            self._add(self.room, self._line(Kind.REMARK, now_ms, [sentence]), is_news=False)
        self.gate = None

    def _topic(self, topic: notices.Topic, now_ms: int) -> None:
        self.topic = safe_line(topic.text)
        if self._greeting is None:
            by = "you" if self.people.is_me(topic.by) else safe_line(topic.by)
            sentence = f"{by} set the topic: {self.topic}" if self.topic else f"{by} took the topic away"
            self._add(self.room, self._line(Kind.REMARK, now_ms, [sentence]), is_news=False)

    def _refused(self, refusal: notices.Refusal, now_ms: int) -> None:
        sentence = refusal_sentence(refusal)
        if isinstance(refusal.tag, int):
            if (line := self.room.settle(refusal.tag)) is not None:
                self._add(self.room, replace(line, state=State.FAILED), is_news=False)
                self._add(self.room, self._line(Kind.ERROR, now_ms, [f"not posted: {sentence}"]), is_news=False)
                return
            for page in self.pages[1:]:
                page.mark(refusal.tag, State.FAILED)
        if refusal.what == "history" and self._scrollback.refused():
            sentence = f"not exported: {sentence}"
        if refusal.what == "who" and self._quiet_whos:
            self._quiet_whos -= 1
            return
        self._add(self.current, self._line(Kind.ERROR, now_ms, [sentence]), is_news=False)

    def _fault(self, fault: notices.Fault, now_ms: int) -> None:
        sentences = [safe_line(fault.message)]
        if fault.code == "fresh_start":
            self.room.log.disown()
            self._scrollback.start_over()
            self.room.to_the_end()
        elif fault.code in ("no_zdns", "nobody_serves"):
            sentences.append("still trying; what you type meanwhile is kept, and /quit leaves")
            if fault.code == "nobody_serves":
                self.lost()
        self._add(self.current, self._line(Kind.ERROR, now_ms, sentences), is_news=False)

    def joining(self) -> None:
        """We have been trying to get in for a while."""
        self.outage = f"not in yet, still trying (zdns at {listed(self.dns)})"

    def lost(self) -> None:
        """There has been no server for a while."""
        self.outage = "no server, looking for one"

    def recovered(self) -> None:
        """There is a server again."""
        self.outage = ""

    def leaving(self, open_count: int) -> None:
        """We would have left by now, but wait for the outcome of requests."""
        self.hint = f"waiting for {counted(open_count, 'line')} of yours to get through; Ctrl+C leaves at once"

    def exported(self, sentence: str, now_ms: int, *, failed: bool) -> None:
        """What became of an export."""
        self._add(self.current, self._line(Kind.ERROR if failed else Kind.REMARK, now_ms, [sentence]), is_news=False)

    # --- what the reader does -----------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Time goes by."""
        if self._greeting is not None and now_ms >= self._greeting[1]:
            self._greet(now_ms)
        if not self._tells_focus and self._is_present and now_ms - self._key_ms >= IDLE_MS:
            self._look_away()

    def touched(self, now_ms: int) -> None:
        """A key was pressed: somebody is there."""
        self._key_ms = now_ms
        self.hint = ""
        if not self._is_present:
            self._is_present = True
            self._look()

    def focus(self, *, has_focus: bool) -> None:
        """The terminal says whether its window has the keyboard."""
        self._tells_focus = True
        if has_focus and not self._is_present:
            self._is_present = True
            self._look()
        elif not has_focus and self._is_present:
            self._look_away()

    def entered(self, line: str | TooLong, now_ms: int) -> bool:
        """A line was entered; False: it stays where it was typed, and `hint` says why."""
        if isinstance(line, TooLong):
            self.hint = f"Not sent: a text has at most {limits.TEXT_BYTES_MAX:,} bytes. Send it in parts."
            return False
        meant = parse.parse(line)
        self.panel = None
        match meant:
            case parse.Nothing():
                return True
            case parse.Problem(sentence):
                self.hint = sentence
                return False
            case intents.Say(text=text) if self.current.is_room:
                return self._say(text, now_ms)
            case intents.Say(text=text):
                return self._tell(self.current.nick, text, now_ms)
            case intents.Tell(to=to, text=text):
                return self._tell(to, text, now_ms)
            case parse.Reply(text):
                return self._reply(text, now_ms)
            case _:
                return self._local(meant, now_ms)

    def _local(self, meant: parse.Parsed, now_ms: int) -> bool:
        match meant:
            case parse.ShowHelp(lines):
                self._answer("help", lines, now_ms)
            case parse.ShowKeys():
                self._answer("keys", self._key_lines, now_ms)
            case parse.ShowTopic():
                topic = f"topic: {self.topic}" if self.topic else "there is no topic; /topic TEXT sets one"
                self._remark([topic], now_ms)
            case parse.Ignore(nick):
                self._ignore(nick, now_ms)
            case parse.Export(path):
                return self._begin_export(path)
            case parse.ShowQueue():
                self._answer("queue", self._queue_lines(), now_ms)
            case parse.Clear():
                self.current.log.clear()
                self.current.rule_after = None
                self.current.to_the_end()
            case parse.Set(name, value):
                self._set(name, value, now_ms)
            case intents.AskHistory(before, count):
                self._show_history(before, count)
            case intents.AskSearch(query):
                self._query = query
                self._ask(intents.AskSearch(query, limits.SEARCH_ENTRIES_MAX // 10))
            case _:
                self._ask(meant)  # type: ignore[arg-type]  # all other outcomes are intents
        return True

    def _say(self, text: str, now_ms: int) -> bool:
        if len(self.room.pending) >= PENDING_MAX:
            self.hint = f"Not sent: {PENDING_MAX:,} posts of yours wait already."
            return False
        if not self._flood.passes(now_ms):
            self.hint = "Not sent: that is too fast. Wait a moment and press Enter again."
            return False
        self._tags += 1
        line = self._said(self.people.name, text, now_ms, is_own=True)
        state = State.SENT if self.state == "live" else State.QUEUED
        self.room.hold(replace(line, state=state, tag=self._tags))
        self.room.to_the_end()
        self._ask(intents.Say(text, tag=self._tags))
        return True

    def _tell(self, nick: str, text: str, now_ms: int) -> bool:
        if self.people.is_me(nick):
            self.hint = "That is you: a private message goes to somebody else."
            return False
        page = self._open_talk(nick)
        self._tags += 1
        line = self._said(self.people.name, text, now_ms, is_own=True)
        self._add(page, replace(line, state=State.QUEUED, tag=self._tags), is_news=False)
        self.people.addressed(nick)
        self._show(page)
        page.to_the_end()
        self._ask(intents.Tell(page.nick, text, tag=self._tags))
        return True

    def _reply(self, text: str, now_ms: int) -> bool:
        if not self.people.reply_to:
            self.hint = "Nobody has told you anything in private yet. To begin: /msg NICK TEXT"
            return False
        return self._tell(self.people.reply_to, text, now_ms)

    def _ignore(self, nick: str | None, now_ms: int) -> None:
        if nick is None:
            names = self.people.ignored
            self._remark([f"you ignore {listed(names)}" if names else "you ignore nobody"], now_ms)
        elif self.people.is_me(nick):
            self.hint = "That is you."
        elif self.people.toggle_ignored(nick):
            self._remark([f"what {safe_line(nick)} says is not shown from now on; the same again ends it"], now_ms)
        else:
            self._remark([f"what {safe_line(nick)} says is shown again"], now_ms)

    def _queue_lines(self) -> list[str]:
        talks = [line for page in self.pages[1:] for line in page.log if line.state is State.QUEUED]
        waiting = [("to everybody", line) for line in self.room.pending] + [("in private", line) for line in talks]
        if not waiting:
            return ["nothing waits: all you said is where it belongs"]
        return [f"{counted(len(waiting), 'text')} of yours without an outcome:"] + [
            f"{number:>3}  {line.state.value if line.state else ''}, {whither}: {excerpt(' '.join(line.text), 60)}"
            for number, (whither, line) in enumerate(waiting[:50], 1)
        ]

    def _set(self, name: str | None, value: str | None, now_ms: int) -> None:
        """Names and values were checked by the parser."""
        if name is None or value is None:
            names = options.SETTABLE if name is None else (options.setting(name).key,)
            self._answer("settings", [self._setting_line(one) for one in names], now_ms)
            return
        key = options.setting(name).key
        self.settings[key] = options.check_setting(key, value)
        self._effects.append(Applied(key))
        shown = options.shown_setting(self.settings[key])
        self.hint = f"{key} is {shown} until you leave; /help set says how to keep it"

    def _setting_line(self, name: str) -> str:
        may = ", ".join(options.setting(name).words)
        shown = options.shown_setting(self.settings[name])
        return f"{name:<12} {shown:<8} {f'({may})' if may else ''}".rstrip()

    def interrupt(self, now_ms: int) -> None:
        """Ctrl+C with nothing typed: the second one leaves."""
        if now_ms - self._interrupt_ms < INTERRUPT_MS:
            self._ask(intents.Quit())
        else:
            self._interrupt_ms = now_ms
            self.hint = "Ctrl+C once more leaves"

    # --- pages --------------------------------------------------------------------------------------------------------

    def act(self, action: str, now_ms: int) -> bool:
        """Do what a key is bound to; False: it is nothing of the model's."""
        page = self.current
        match action:
            case "end":
                page.to_the_end()
            case "first-unread":
                self._go(None if page.rule_after is None else page.rule_after + 1, "nothing is unread here")
            case "next-mention" | "previous-mention":
                self._next_mention(page, 1 if action == "next-mention" else -1)
            case "next-active":
                self._next_active()
            case "next-page" | "previous-page":
                step = 1 if action == "next-page" else -1
                self._show(self.pages[(self.pages.index(page) + step) % len(self.pages)])
            case "members":
                self.shows_members = not self.shows_members
            case "bare":
                self.is_bare = not self.is_bare
            case "mouse":
                self.settings["mouse"] = not self.settings["mouse"]
                self._effects.append(Applied("mouse"))
            case "help":
                self.entered("/help", now_ms)
            case "close":
                self._close()
            case _ if action.startswith("page-") and action[5:].isdecimal():
                number = int(action[5:])
                if number <= len(self.pages):
                    self._show(self.pages[number - 1])
            case _:
                return False
        return True

    def pick(self, step: int) -> None:
        """Mark another one of what was found."""
        if self.found is not None:
            index = min(max(self.found.index + step, 0), len(self.found.messages) - 1)
            self.found = replace(self.found, index=index)

    def pick_up(self) -> None:
        """Go to the marked one of what was found."""
        if self.found is not None:
            seq = self.found.messages[self.found.index].seq
            self.found = None
            self.jump(seq)

    def scrolled(self, *, up: bool) -> None:
        """The reader scrolls: what is read stays in its place from now on."""
        if up:
            self.current.follows = False

    def seen(self, first: int, last: int) -> None:
        """These keys of the current page are on the screen; what is next to them is fetched before it is missed."""
        page = self.current
        page.seen = (first, last)
        if page.excerpt is None and not page.follows and last >= page.last_key:
            page.to_the_end()
        if page.is_room:
            self._scrollback.seen(first, last, FETCH_WITHIN)

    def jump(self, seq: int) -> None:
        """Show the part of the history where message `seq` is."""
        self._show(self.room)
        if not self._scrollback.jump(seq):
            self.hint = "that message is not shown: you ignore who wrote it"

    def _show(self, page: Page) -> None:
        if page is self.current:
            return
        self.current.settle_rule()
        self.current.leave()
        self.current = page
        self.found = None
        self._look()

    def _look(self) -> None:
        """Somebody looks at the current page now."""
        self.current.settle_rule()
        if self.current.follows:
            self.current.read()

    def _look_away(self) -> None:
        self._is_present = False
        self.current.leave()

    def _go(self, key: int | None, otherwise: str) -> None:
        if not self.current.go(key):
            self.hint = otherwise

    def _next_mention(self, page: Page, step: int) -> None:
        log = page.shown
        start = page.target if page.target is not None else (page.seen[0] + page.seen[1]) // 2
        if page.follows and step < 0:
            start = log.last + 1
        key = start + step
        while (line := log.get(key)) is not None and not line.mentions_me:
            key += step
        self._go(key if line is not None else None, "no further mention of you here")

    def _next_active(self) -> None:
        """The page with a mention or a private text first, then any with something unread."""
        here = self.pages.index(self.current)
        others = self.pages[here + 1 :] + self.pages[:here]
        active = [page for page in others if page.mentions or (page.unread and not page.is_room)]
        active += [page for page in others if page.unread]
        if active:
            self._show(active[0])
        else:
            self.hint = "nothing new on other pages"

    def _close(self) -> None:
        if self.panel is not None:
            self.panel = None
        elif self.found is not None:
            self.found = None
        elif self.is_bare:
            self.is_bare = False
        elif not self.current.follows or self.current.excerpt is not None:
            self.current.to_the_end()

    def _talk_with(self, nick: str) -> Page | None:
        wanted = nick_key(nick)
        return next((page for page in self.pages[1:] if nick_key(page.nick) == wanted), None)

    def _open_talk(self, nick: str) -> Page:
        page = self._talk_with(nick)
        if page is None:
            if len(self.pages) >= PAGES_MAX:
                quiet = [page for page in self.pages[1:] if page is not self.current and not page.unread]
                self.pages.remove(quiet[0] if quiet else next(p for p in self.pages[1:] if p is not self.current))
            page = Page(safe_line(nick), nick)
            self.pages.append(page)
        return page

    # --- the history --------------------------------------------------------------------------------------------------

    def _show_history(self, before: int, count: int) -> None:
        """/history: one sees it by scrolling up, or around a message."""
        if before:
            self.jump(max(1, before - 1))
        else:
            self._show(self.room)
            self._go(max(self.room.shown.first, self.room.shown.last - count), "there are no messages yet")

    def _as_line(self, one: notices.ChatMessage) -> Line | None:
        """A message of an earlier part of the history."""
        if self.people.is_ignored(one.author):
            return None
        return self._said(one.author, one.text, one.time, seq=one.seq, is_own=self.people.is_me(one.author))

    def _found_messages(self, found: notices.FoundMessages) -> None:
        messages = tuple(one for one in found.messages if not self.people.is_ignored(one.author))
        if messages:
            self.found = Found(self._query, messages, found.more, len(messages) - 1)
        else:
            self.hint = f"nothing found for {excerpt(self._query, 40)}"

    def _begin_export(self, path: str) -> bool:
        if self._scrollback.is_exporting:
            self.hint = "An export is under way; wait for it."
        elif self._scrollback.export(path):
            self.hint = "exporting …"
            return True
        else:
            self.hint = "There are no messages to export yet."
        return False

    # --- lines --------------------------------------------------------------------------------------------------------

    def _ask(self, intent: intents.UserIntent) -> None:
        self._effects.append(Ask(intent))

    def _line(self, kind: Kind, now_ms: int, texts: Sequence[str]) -> Line:
        day, _, minute = self._stamp(now_ms).partition(" ")
        return Line(kind=kind, day=day, time=minute, text=tuple(texts))

    def _answer(self, title: str, texts: Sequence[str], now_ms: int) -> None:
        """What was asked for, in the page, or over it when it is long."""
        if len(texts) <= ANSWER_LINES_MAX:
            self._remark(texts, now_ms)
        else:
            self.panel = Panel(title, tuple(texts))

    def _remark(self, texts: Sequence[str], now_ms: int) -> None:
        """What was asked for, where it was asked."""
        self._add(self.current, self._line(Kind.REMARK, now_ms, texts), is_news=False)
        self.current.to_the_end()

    def _add(self, page: Page, line: Line, *, is_news: bool) -> None:
        is_seen = page is self.current and page.follows and self._is_present
        page.add(line, is_seen=is_seen)
        if is_news and not is_seen:
            page.unread += 1
            page.mentions += line.mentions_me or not page.is_room

    def _ring(self, now_ms: int) -> None:
        if self.settings["bell"] and now_ms - self._ring_ms >= RING_MS:
            self._ring_ms = now_ms
            self._effects.append(Ring())
