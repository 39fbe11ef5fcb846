"""What the full-screen console shows, as values: notices and the reader's deeds in, pages and effects out; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from peer import intents
from ui import options, parse
from ui.hearing import Applied, Hearing
from ui.keymap import Keymap
from ui.page import PENDING_MAX, Line, Page, State
from ui.splitter import TooLong
from ui.wording import (
    EXPORT_UNDER_WAY,
    EXPORTING,
    NO_TOPIC,
    NOBODY_SERVES,
    NOBODY_TO_ANSWER,
    NOT_IN,
    NOTHING_TO_EXPORT,
    THAT_IS_YOU,
    TOO_LONG,
    Stamp,
    counted,
    ignored_sentence,
    ignoring_sentence,
    queue_lines,
    stranger_sentence,
    topic_sentence,
)
from wire.flood import FloodGate

FETCH_WITHIN = 30  # so many lines before the end of what is there, more is fetched
INTERRUPT_MS = 2_000  # the second Ctrl+C within this time leaves
FOUND_MAX = 200  # chosen: messages one search shows


class Model(Hearing):
    """All that is on the screen, but for what is being typed: what was heard, and what the reader makes of it."""

    def __init__(
        self,
        *,
        service: str,
        dns: Sequence[str],
        stamp: Stamp,
        settings: Mapping[str, Any],
        flood_per_s: float,
        now_ms: int,
        keymap: Keymap,
        invitation: str = "",
        is_open: bool = False,
    ) -> None:
        """See `Hearing`. `keymap`: what keys do is told now and then."""
        super().__init__(
            service=service,
            dns=dns,
            stamp=stamp,
            settings=settings,
            now_ms=now_ms,
            invitation=invitation,
            is_open=is_open,
        )
        self.keymap = keymap
        self.question = ""  # to be answered before anything else
        self.shows_members = True
        self.is_bare = False
        self._flood = FloodGate(flood_per_s)
        self._tags = 0
        self._interrupt_ms = -INTERRUPT_MS

    # --- what the reader does -----------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Time goes by."""
        if self._greeting is not None and now_ms >= self._greeting[1]:
            self._greet(now_ms)
        self._pages.tick(now_ms)

    def touched(self, now_ms: int) -> None:
        """A key was pressed: somebody is there."""
        self.hint = ""
        self._pages.touched(now_ms)

    def leave_bare(self, now_ms: int) -> None:
        """The console is looked at again, not its log alone."""
        self.is_bare = False
        self._pages.touched(now_ms)

    def focus(self, *, has_focus: bool) -> None:
        """The terminal says whether its window has the keyboard."""
        self._pages.focus(has_focus=has_focus)

    def entered(self, line: str | TooLong, now_ms: int) -> bool:
        """A line was entered; False: it stays where it was typed, and `hint` says why."""
        if isinstance(line, TooLong):
            self.hint = TOO_LONG
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
                return self._say_to(self.current.nick, text, now_ms)
            case intents.Tell(to=to, text=text):
                return self._say_to(to, text, now_ms)
            case parse.Reply(text):
                return self._reply(text, now_ms)
            case _:
                return self._local(meant, now_ms)

    def _local(self, meant: parse.Parsed, now_ms: int) -> bool:
        match meant:
            case parse.ShowHelp(lines):
                self._answer("help", lines, now_ms)
            case parse.ShowKeys():
                self._answer("keys", self.keymap.help_lines(), now_ms)
            case parse.ShowTopic():
                topic = topic_sentence(self._topic, self.people.name) if self.topic else NO_TOPIC
                self._remark([topic], now_ms)
            case intents.SetTopic("") if not self.topic and self.has_server:
                self._remark([NO_TOPIC], now_ms)
            case parse.Ignore(nick):
                self._ignore(nick, now_ms)
            case parse.Export(path):
                return self._begin_export(path)
            case parse.Close():
                self._close_talk()
            case parse.ShowQueue():
                self._ask(intents.AskQueue())
            case intents.DropPosts():
                self._ask(meant)
            case parse.Clear():
                self.current.log.clear()
                self.current.rule_after = None
                self._to_the_end()
            case parse.Set(name, value):
                self._set(name, value, now_ms)
            case intents.AskHistory(before, count):
                self._show_history(before, count)
            case _:
                return self._request(meant)  # type: ignore[arg-type]  # all other outcomes are intents
        return True

    def _request(self, intent: intents.UserIntent) -> bool:
        """What only the room can do. While nobody serves it would be forgotten, or surprise the reader much later."""
        if not isinstance(intent, intents.Quit) and not self.has_server:
            if self.outage or not self.is_in:
                self.hint = NOBODY_SERVES if self.is_in else NOT_IN
                return False
            self.hint = "asking; there is no answer from the server at the moment"
        if isinstance(intent, intents.AskSearch):
            self._query = intent.query
            intent = intents.AskSearch(intent.query, FOUND_MAX)
        self._ask(intent)
        return True

    def _say(self, text: str, now_ms: int) -> bool:
        if len(self.room.pending) >= PENDING_MAX:
            self.hint = f"Not sent: {PENDING_MAX:,} posts of yours wait already."
            return False
        if not self._flood.passes(now_ms):
            self.hint = "Not sent: that is too fast. Wait a moment and press Enter again."
            return False
        state = State.SENT if self.state == "live" else State.QUEUED
        self.room.hold(self._own_line(text, state, now_ms))
        self._to_the_end()
        self._ask(intents.Say(text, tag=self._tags))
        return True

    def _say_to(self, nick: str, text: str, now_ms: int) -> bool:
        if self.people.is_me(nick):
            self.hint = "That is you: a private message goes to somebody else."
            return False
        is_new = self._pages.talk_with(nick) is None
        if is_new and self.is_in and not self.people.is_here(nick):
            self.hint = stranger_sentence(nick, self.people.nicks)
            return False
        if is_new and (back := self.keymap.shown("page-1")):
            self.hint = f"{back} returns to the room, /close closes this talk"
        page = self._pages.open_talk(nick)
        self._pages.add(page, self._own_line(text, State.QUEUED, now_ms))
        self.people.addressed(nick)
        self._show(page)
        self._to_the_end()
        self._ask(intents.Tell(page.nick, text, tag=self._tags))
        return True

    def _own_line(self, text: str, state: State, now_ms: int) -> Line:
        """A text of the reader's own, under a new tag."""
        self._tags += 1
        line = self._scribe.said(self.people.name or "you", text, now_ms, is_own=True)
        return replace(line, state=state, tag=self._tags)

    def _reply(self, text: str, now_ms: int) -> bool:
        if not self.people.reply_to:
            self.hint = NOBODY_TO_ANSWER
            return False
        return self._say_to(self.people.reply_to, text, now_ms)

    def _ignore(self, nick: str | None, now_ms: int) -> None:
        if nick is None:
            self._remark([ignoring_sentence(self.people.ignored)], now_ms)
        elif self.people.is_me(nick):
            self.hint = THAT_IS_YOU
        else:
            is_ignored, is_here = self.people.toggle_ignored(nick), self.people.is_here(nick)
            self._remark([ignored_sentence(nick, is_ignored=is_ignored, is_here=is_here)], now_ms)

    def unsent(self) -> list[str]:
        """Own texts without an outcome, to be told when one leaves; empty: there are none."""
        waiting = self._waiting_texts()
        return queue_lines(waiting) if waiting else []

    def _waiting_texts(self) -> list[tuple[str, str, str]]:
        """How far each has come, whom it is for, and the text."""
        own = [line for line in self.room.pending if line.state is not State.COMMITTED]
        return [
            (line.state.value if line.state else "", "", " ".join(line.text)) for line in own
        ] + self._waiting_talk()

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
            count = len(self._waiting_texts())
            waiting = f"; not through yet: {counted(count, 'text')} of yours" if count else ""
            self.hint = f"{self.keymap.shown('clear-or-quit')} once more leaves{waiting}"

    # --- pages --------------------------------------------------------------------------------------------------------

    def act(self, action: str, now_ms: int) -> bool:
        """Do what a key is bound to; False: it is nothing of the model's."""
        page = self.current
        match action:
            case "end":
                self._to_the_end()
            case "first-unread":
                self._first_unread(page)
            case "next-mention" | "previous-mention":
                self._next_mention(page, 1 if action == "next-mention" else -1)
            case "next-active":
                if (active := self._pages.next_active()) is not None:
                    self._show(active)
                else:
                    self.hint = "nothing new on other pages"
            case "next-page" | "previous-page":
                self._show(self._pages.beside(1 if action == "next-page" else -1))
            case "members":
                self.shows_members = not self.shows_members
            case "bare":
                self.is_bare = True
                self._pages.look_away()
            case "mouse":
                self.settings["mouse"] = not self.settings["mouse"]
                self._effects.append(Applied("mouse"))
            case "help":
                self.entered("/help", now_ms)
            case "close":
                self._close()
            case _ if action.startswith("page-") and action[5:].isdecimal():
                if (numbered := self._pages.at(int(action[5:]))) is not None:
                    self._show(numbered)
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
        self._scrollback.scrolled()

    def seen(self, first: int, last: int) -> None:
        """These keys of the current page are on the screen; what is next to them is fetched before it is missed."""
        page = self.current
        page.seen = (first, last)
        if page.excerpt is None and not page.follows and last >= page.last_key:
            if page.target is None:
                self._to_the_end()
            else:
                self._pages.read()  # but a line that one has gone to stays where it is
        if page.is_room:
            self._scrollback.seen(first, last, FETCH_WITHIN)

    def jump(self, seq: int) -> None:
        """Show the part of the history where message `seq` is, or the nearest one there is to show."""
        self._show(self.room)
        if not self._scrollback.jump(seq):
            self.hint = "there is no message to show"

    def _show(self, page: Page) -> None:
        if self._pages.show(page):
            self.found = None

    def _go(self, key: int | None, otherwise: str) -> None:
        if not self.current.go(key):
            self.hint = otherwise

    def _first_unread(self, page: Page) -> None:
        if page.rule_after is not None and page.excerpt is not None:
            page.end_excerpt()
        self._go(
            None if page.rule_after is None else max(page.rule_after + 1, page.log.first), "nothing is unread here"
        )

    def _next_mention(self, page: Page, step: int) -> None:
        log = page.shown
        start = page.target if page.target is not None else (page.seen[0] + page.seen[1]) // 2
        if page.follows and step < 0:
            start = log.last + 1
        key = start + step
        while (line := log.get(key)) is not None and not line.mentions_me:
            key += step
        self._go(key if line is not None else None, "no further mention of you here")

    def _close(self) -> None:
        if self.panel is not None:
            self.panel = None
        elif self.found is not None:
            self.found = None
        elif not self.current.follows or self.current.excerpt is not None:
            self._to_the_end()

    def _close_talk(self) -> None:
        if self.current.is_room:
            self.hint = "This is the room, which stays; /quit leaves."
        else:
            self._pages.close(self.current)

    # --- the history --------------------------------------------------------------------------------------------------

    def _show_history(self, before: int, count: int) -> None:
        """/history: the first of the last `count` messages before that one (0: the end), and what is around."""
        head = self.room.log.to_seq
        last = min(before - 1, head) if before else head
        self.jump(last - count + 1)

    def _begin_export(self, path: str) -> bool:
        if self._scrollback.is_exporting:
            self.hint = EXPORT_UNDER_WAY
        elif self._scrollback.export(path):
            self.hint = EXPORTING
            return True
        else:
            self.hint = NOTHING_TO_EXPORT
        return False
