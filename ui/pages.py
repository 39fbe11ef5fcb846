"""The pages of the console: which there are, which of them is shown, and whether somebody sits in front of it; pure."""

from ui.page import Line, Page, State
from ui.safe_text import safe_line
from wire.names import nick_key

PAGES_MAX = 30  # chosen: the room and private talks; the one that was quiet for longest gives way
IDLE_MS = 60_000  # without a key, on a terminal that does not tell: nobody sits there


class Pages:
    """The room's page and one for each private talk.

    Invariants: `all[0]` is the room, and all of them is PAGES_MAX at most; `current` is one of them; no two talks are
    with the same nick. Times are UTC milliseconds.
    """

    def __init__(self, title: str, now_ms: int) -> None:
        """`title`: of the room."""
        self.all = [Page(title)]
        self.current = self.all[0]
        self._is_present = True
        self._tells_focus = False
        self._key_ms = now_ms

    @property
    def room(self) -> Page:
        """The page of the room."""
        return self.all[0]

    @property
    def talks(self) -> list[Page]:
        """Those of private talks."""
        return self.all[1:]

    # --- private talks ------------------------------------------------------------------------------------------------

    def talk_with(self, nick: str) -> Page | None:
        """The page of the talk with this one, if there is one."""
        wanted = nick_key(nick)
        return next((page for page in self.talks if nick_key(page.nick) == wanted), None)

    def open_talk(self, nick: str) -> Page:
        """The same, made if need be."""
        page = self.talk_with(nick)
        if page is None:
            if len(self.all) >= PAGES_MAX:
                others = [page for page in self.talks if page is not self.current]
                self.all.remove(min(others, key=_importance))
            page = Page(safe_line(nick), nick)
            self.all.append(page)
        return page

    def rename_talk(self, was: str, nick: str) -> Page | None:
        """Somebody has another name, so the page of the talk has; returns it.

        If there was a talk with somebody who had this name before, it becomes part of it: texts go to whom a page says.
        """
        page, other = self.talk_with(was), self.talk_with(nick)
        if page is None:
            return None
        if other is not None and other is not page:
            page.absorb(other)
            self.all.remove(other)
            if self.current in (page, other):
                self._turn_to(page)
        page.nick, page.title = nick, safe_line(nick)
        return page

    def close(self, page: Page) -> None:
        """A talk has no page any more; the one before it is shown instead."""
        if page is self.current:
            self.show(self.all[self.all.index(page) - 1])
        self.all.remove(page)

    def mark(self, tag: int, state: State, nick: str = "") -> Page | None:
        """The private text with this tag has come so far; returns its page. `nick`: whom it was for, perhaps."""
        named = self.talk_with(nick)
        if named is not None and named.mark(tag, state):
            return named
        return next((page for page in self.talks if page is not named and page.mark(tag, state)), None)

    # --- what comes ---------------------------------------------------------------------------------------------------

    def add(self, page: Page, line: Line, *, is_news: bool = False) -> None:
        """A line at the end of a page; `is_news`: if nobody sees it come, it is unread."""
        is_seen = page is self.current and page.is_at_end and self._is_present
        page.add(line, is_unread=is_news and not is_seen)

    # --- which is shown -----------------------------------------------------------------------------------------------

    def show(self, page: Page) -> bool:
        """Show this one; False: it is shown already."""
        if page is self.current:
            return False
        self.current.leave()
        self._turn_to(page)
        return True

    def to_the_end(self) -> None:
        """Show the newest lines of the current page, and stay with them."""
        self.current.to_the_end()
        self.read()

    def read(self) -> None:
        """The end of the current page, if that is on the screen, has been seen, if somebody sits in front of it."""
        if self._is_present and self.current.is_at_end:
            self.current.read()

    def at(self, number: int) -> Page | None:
        """The page with this number, counted from 1."""
        return self.all[number - 1] if 1 <= number <= len(self.all) else None

    def beside(self, step: int) -> Page:
        """The page so many further; after the last comes the first."""
        return self.all[(self.all.index(self.current) + step) % len(self.all)]

    def next_active(self) -> Page | None:
        """The next one with a mention or a private text, else with anything unread; None: there is none."""
        here = self.all.index(self.current)
        others = [page for page in self.all[here + 1 :] + self.all[:here] if page.unread]
        return next((page for page in others if page.mentions), others[0] if others else None)

    # --- whether somebody is there ------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Time goes by: after a while without a key nobody is there, unless the terminal says otherwise."""
        if not self._tells_focus and now_ms - self._key_ms >= IDLE_MS:
            self.look_away()

    def touched(self, now_ms: int) -> None:
        """A key was pressed: somebody is there."""
        self._key_ms = now_ms
        if not self._is_present:
            self._look_up()

    def focus(self, *, has_focus: bool) -> None:
        """The terminal says whether its window has the keyboard."""
        self._tells_focus = True
        if has_focus and not self._is_present:
            self._look_up()
        elif not has_focus and self._is_present:
            self.look_away()

    def look_away(self) -> None:
        """Nobody sees what comes now, until a key is pressed or the terminal says otherwise."""
        self._is_present = False
        self.current.leave()

    def _turn_to(self, page: Page) -> None:
        self.current = page
        self.read()

    def _look_up(self) -> None:
        self._is_present = True
        self.read()


def _importance(page: Page) -> tuple[bool, tuple[str, str]]:
    """What may go first: where nothing is unread, and then where it was quiet for longest."""
    last = page.log.get(page.log.last)
    return page.unread > 0, (last.day, last.time) if last is not None else ("", "")
