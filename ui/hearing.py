"""What the console has heard, as values: notices in; pages, members, who serves, and things to be done out; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from peer import intents, notices
from ui.export import Export
from ui.page import Kind, Line, Page, State
from ui.pages import Pages
from ui.people import People
from ui.safe_text import excerpt, safe_line
from ui.scribe import Scribe
from ui.scrollback import Scrollback
from ui.wording import (
    EXCERPT_CHARS_MAX,
    EXPORTING,
    HANDED_OVER,
    Stamp,
    begun_sentence,
    change_sentence,
    dropped_lines,
    gate_sentence,
    greeting,
    leaving_sentence,
    listed,
    queue_answer,
    refusal_sentence,
    status_lines,
    topic_sentence,
    who_text,
)
from wire.names import nick_key

RECENT_MS = 30 * 60_000  # who said something in this time is somebody whose coming and going matters
ANSWER_LINES_MAX = 3  # a longer answer is shown over the page, not in it
RING_MS = 1_000  # at most one bell in this time
GREETING_MS = 1_000  # the greeting does not wait longer for the newest page

_KINDS = {"joined": Kind.CAME, "heard": Kind.CAME, "left": Kind.WENT, "lost": Kind.WENT, "silent": Kind.WENT}
_MOVES = ("joined", "left", "lost", "renamed")  # what the room's page tells of others, if anything


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


class Hearing:
    """All that is shown because the chat told it, and because nobody has put it away since.

    Times are UTC milliseconds. Invariants: `pages[0]` is the room; `take` gives each effect once; at most one part of
    the history is asked for at a time; at most one of `found` and `panel` is shown.
    """

    def __init__(
        self,
        *,
        service: str,
        dns: Sequence[str],
        stamp: Stamp,
        settings: Mapping[str, Any],
        now_ms: int,
        invitation: str,
        is_open: bool,
    ) -> None:
        """Settle what it is about.

        Args:
            service: the room.
            dns: where zdns is asked.
            stamp: says the time.
            settings: a value for each name in `options.SETTABLE`.
            now_ms: UTC.
            invitation: the command by which others join.
            is_open: everything can be read, and said in anybody's name, by whoever is on the network.
        """
        self.is_open = is_open
        self.service = service
        self.dns = tuple(dns)
        self.settings = dict(settings)
        self.people = People()
        self.state = "searching"
        self.is_in = False
        self.schedule: Schedule | None = None
        self.gate: Gate | None = None
        self.found: Found | None = None
        self.panel: Panel | None = None
        self.hint = ""  # a word about the last key, gone with the next
        self.outage = ""
        self._stamp = stamp
        self._invitation = invitation
        self._scribe = Scribe(stamp)
        self._pages = Pages(safe_line(service), now_ms)
        self._topic = notices.Topic(text="", by="")
        self._effects: list[Effect] = []
        self._greeting: tuple[notices.Ready, int] | None = None  # until the newest page is there, or this time
        self._quiet_whos = 0  # answers to `who` that nobody asked for
        self._query = ""
        self._scrollback = Scrollback(self.room, self._as_line)
        self._ring_ms = -RING_MS

    def take(self) -> list[Effect]:
        """What is to be done now; each effect is given once."""
        effects, self._effects = self._effects, []
        return effects + [Ask(question) for question in self._scrollback.take()]

    @property
    def pages(self) -> list[Page]:
        """The room and the private talks, as they are numbered from 1 on."""
        return self._pages.all

    @property
    def current(self) -> Page:
        """The page that is shown."""
        return self._pages.current

    @property
    def room(self) -> Page:
        """The page of the room."""
        return self._pages.room

    @property
    def has_server(self) -> bool:
        """Somebody serves, or is just taking over from who did."""
        return self.is_in and self.state != "searching"

    @property
    def topic(self) -> str:
        """What the room is about; empty: nothing in particular."""
        return safe_line(self._topic.text)

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
                self._topic_told(notice, now_ms)
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
                self._remark([HANDED_OVER], now_ms)
            case notices.Queue():
                self._answer("queue", queue_answer(notice, self._waiting_talk()), now_ms)
            case notices.Dropped():
                self._remark(dropped_lines(notice), now_ms)
            case notices.Posted():
                if isinstance(notice.tag, int):
                    self.room.confirm(notice.tag, notice.seq)
            case _:
                pass  # Relocated: the status line says it; Bye: nobody will read it here

    def _ready(self, ready: notices.Ready, now_ms: int) -> None:
        self.is_in, self.state = True, "live"
        self.outage = ""
        self.people.fold(ready)
        self._be_called(ready.name)
        self._greeting = (ready, now_ms + GREETING_MS)
        self._ask_who_quietly()
        if not ready.head:
            self._greet(now_ms)

    def _be_called(self, name: str) -> None:
        self._scribe.be_called(name)
        self.room.sign(safe_line(name))

    def _ask_who_quietly(self) -> None:
        self._quiet_whos += 1
        self._ask(intents.AskWho())

    def _greet(self, now_ms: int) -> None:
        """Who we are, where, with whom; below the newest page, where it is seen."""
        if self._greeting is None:
            return
        (ready, _), self._greeting = self._greeting, None
        *lines, how_to = greeting(ready, self.dns, invitation=self._invitation)
        if self.topic:
            lines.append(topic_sentence(self._topic, self.people.name))
        if self.gate is not None:
            lines.append(gate_sentence(self.gate.need))
        self._tell(self.room, Kind.REMARK, now_ms, *lines, how_to)

    def _message(self, message: notices.Message, now_ms: int) -> None:
        log = self.room.log
        if log.to_seq and message.seq != log.to_seq + 1:
            log.forget()  # some notices were lost on their way
        log.from_seq = log.from_seq or message.seq
        log.to_seq = message.seq
        is_past = message.past is True
        # What we said before this program was started is ours as well, though the room cannot know.
        is_own = message.own is True or (is_past and self.people.is_me(message.author))
        if not is_past:
            self._greet(now_ms)
        self._begin(now_ms)
        self.people.fold(message)
        if is_own or not self.people.is_ignored(message.author):
            line = self._scribe.said(message.author, message.text, message.time, seq=message.seq, is_own=is_own)
            if message.own is True and not is_past:
                self.room.settle_own(message.seq, line.text)
                line = replace(line, state=State.COMMITTED)
            is_news = not is_past and not is_own
            self._pages.add(self.room, line, is_news=is_news)
            if is_news and line.mentions_me:
                self._ring(now_ms)
        if self._greeting is not None and message.seq >= self._greeting[0].head:
            self._greet(now_ms)

    def _member_changed(self, changed: notices.MemberChanged, now_ms: int) -> None:
        own_name = self.people.name
        was = changed.was if isinstance(changed.was, str) else ""
        before = was or changed.name
        is_own = self.people.is_me(before)
        is_recent = self.people.spoke_since(before, now_ms - RECENT_MS)
        shows = {"all": True, "none": False}.get(self.settings["joins"], is_recent)
        is_taken = bool(was) and nick_key(was) != nick_key(changed.name) and self.people.is_here(changed.name)
        self.people.fold(changed)
        if is_taken:  # two have changed their names at once: who is who, only the list can tell
            self._ask_who_quietly()
        if is_own and was:
            self._be_called(changed.name)
        talk = self._pages.rename_talk(was, changed.name) if was else self._pages.talk_with(changed.name)
        sentence = change_sentence(changed, own_name)
        if not sentence:
            return
        kind = _KINDS.get(changed.state, Kind.REMARK)
        if talk is not None:
            self._tell(talk, kind, now_ms, sentence)
        if is_own or (shows and changed.state in _MOVES):
            self._tell(self.room, kind, now_ms, sentence)

    def _members(self, who: notices.MembersList, now_ms: int) -> None:
        self.people.fold(who)
        if self._quiet_whos:
            self._quiet_whos -= 1
        else:
            self._remark([who_text(who)], now_ms)

    def _private(self, private: notices.Private, now_ms: int) -> None:
        tag = private.tag if isinstance(private.tag, int) else 0
        match private.state:
            case "received" if not self.people.is_ignored(private.sender):
                self.people.fold(private)
                page = self._pages.open_talk(private.sender)
                self._pages.add(page, self._scribe.said(private.sender, private.text, now_ms), is_news=True)
                self._ring(now_ms)
            case "delivered":
                self._pages.mark(tag, State.DELIVERED, private.to)
            case "failed":
                # The other may have another name by now, so that the page has, too.
                marked = self._pages.mark(tag, State.FAILED, private.to)
                why = f": {safe_line(private.reason)}" if isinstance(private.reason, str) else ""
                sentence = f"Not delivered{why} ({excerpt(private.text, EXCERPT_CHARS_MAX)})"
                page = marked or self._pages.open_talk(private.to)
                self._pages.add(page, self._scribe.told(Kind.ERROR, now_ms, [sentence]), is_news=True)
            case _:
                pass  # queued: that is how it stands there

    def _waiting_talk(self) -> list[tuple[str, str, str]]:
        """Private texts without an outcome: how far each has come, whom it is for, and the text."""
        lines = [(page.nick, line) for page in self._pages.talks for line in page.log if line.state is State.QUEUED]
        return [(State.QUEUED.value, to, " ".join(line.text)) for to, line in lines]

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
        else:
            self._begin(now_ms)

    def _begin(self, now_ms: int) -> None:
        """Said once after some waiting: when all are there, or at the latest when a message comes."""
        if self.gate is not None:
            self._tell(self.room, Kind.REMARK, now_ms, begun_sentence(self.gate.need))
        self.gate = None

    def _topic_told(self, topic: notices.Topic, now_ms: int) -> None:
        self._topic = topic
        if self._greeting is None:
            self._tell(self.room, Kind.REMARK, now_ms, topic_sentence(topic, self.people.name))

    def _refused(self, refusal: notices.Refusal, now_ms: int) -> None:
        sentence = refusal_sentence(refusal)
        if refusal.what == "who" and self._quiet_whos:
            self._quiet_whos -= 1
        elif refusal.what == "history":
            if self._scrollback.refused():
                self._complain(f"Not exported: {sentence}", now_ms)
            else:
                self.hint = sentence  # nobody asked for it in words
        elif not isinstance(refusal.tag, int):
            self._complain(sentence, now_ms)
        elif (line := self.room.settle(refusal.tag)) is not None:
            self._pages.add(self.room, replace(line, state=State.FAILED))
            if refusal.code != "dropped":  # of which all is told together
                self._tell(self.room, Kind.ERROR, now_ms, f"Not posted: {sentence}")
        else:
            page = self._pages.mark(refusal.tag, State.FAILED) or self.current
            self._pages.add(page, self._scribe.told(Kind.ERROR, now_ms, [sentence]), is_news=True)

    def _fault(self, fault: notices.Fault, now_ms: int) -> None:
        sentences = [safe_line(fault.message)]
        match fault.code:
            case "fresh_start":
                self.room.start_over()
                if self._scrollback.start_over():
                    sentences.append("Not exported: what there was of it is gone")
                self.room.to_the_end()
            case "no_zdns" | "nobody_serves":
                sentences.append("still trying; what you type meanwhile is kept, and /quit leaves")
                if fault.code == "nobody_serves":
                    self.lost()
            case "notices_dropped":
                self._scrollback.lost()
                self._ask_who_quietly()
        kind = Kind.REMARK if fault.code in ("posts_left", "posts_waiting") else Kind.ERROR
        # It is about the room; whoever reads a private talk meanwhile is told, too.
        self._pages.add(self.room, self._scribe.told(kind, now_ms, sentences), is_news=not self.current.is_room)
        if not self.current.is_room:
            self.hint = sentences[0]

    def joining(self) -> None:
        """We have been trying to get in for a while."""
        self.outage = f"not in yet, asking zdns at {listed(self.dns)}"

    def lost(self) -> None:
        """There has been no server for a while."""
        self.outage = "no server, looking for one"

    def recovered(self) -> None:
        """There is a server again."""
        self.outage = ""

    def leaving(self, open_count: int) -> None:
        """We would have left by now, but wait for the outcome of requests."""
        self.hint = leaving_sentence(open_count)

    def exported(self, sentence: str, now_ms: int, *, failed: bool) -> None:
        """What became of an export."""
        self.hint = "" if self.hint == EXPORTING else self.hint
        if failed:
            self._complain(sentence, now_ms)
        else:
            self._tell(self.current, Kind.REMARK, now_ms, sentence)

    def _as_line(self, one: notices.ChatMessage) -> Line | None:
        """A message of an earlier part of the history."""
        if self.people.is_ignored(one.author):
            return None
        return self._scribe.said(one.author, one.text, one.time, seq=one.seq, is_own=self.people.is_me(one.author))

    def _found_messages(self, found: notices.FoundMessages) -> None:
        messages = tuple(one for one in found.messages if not self.people.is_ignored(one.author))
        if messages:
            self.found = Found(self._query, messages, found.more, len(messages) - 1)
            self.panel = None
        else:
            self.hint = f"nothing found for {excerpt(self._query, EXCERPT_CHARS_MAX)}"

    # --- what is told -------------------------------------------------------------------------------------------------

    def _ask(self, intent: intents.UserIntent) -> None:
        self._effects.append(Ask(intent))

    def _tell(self, page: Page, kind: Kind, now_ms: int, *texts: str) -> None:
        self._pages.add(page, self._scribe.told(kind, now_ms, texts))

    def _to_the_end(self) -> None:
        self._pages.to_the_end()
        if self.current.is_room:
            self._scrollback.stay()

    def _answer(self, title: str, texts: Sequence[str], now_ms: int) -> None:
        """What was asked for, in the page, or over it when it is long."""
        if len(texts) <= ANSWER_LINES_MAX:
            self._remark(texts, now_ms)
        else:
            self.panel = Panel(title, tuple(texts))
            self.found = None

    def _remark(self, texts: Sequence[str], now_ms: int) -> None:
        """What was asked for, where it was asked."""
        self._tell(self.current, Kind.REMARK, now_ms, *texts)
        self._to_the_end()

    def _complain(self, sentence: str, now_ms: int) -> None:
        """What was asked for was not done. Whoever reads far up stays there, and is told all the same."""
        if not self.current.follows:
            self.hint = sentence
        self._tell(self.current, Kind.ERROR, now_ms, sentence)

    def _ring(self, now_ms: int) -> None:
        if self.settings["bell"] and now_ms - self._ring_ms >= RING_MS:
            self._ring_ms = now_ms
            self._effects.append(Ring())
