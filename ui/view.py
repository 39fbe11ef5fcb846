"""What the console's model looks like on a screen, as urwid widgets; it changes nothing and asks nobody."""

import enum
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Literal

import urwid
from urwid.canvas import CanvasCombine, CanvasJoin, CompositeCanvas, SolidCanvas
from urwid.text_layout import StandardTextLayout

from ui import status_bar
from ui.hearing import Found, Panel
from ui.line_editor import RowsEditor, seen_as
from ui.model import Model
from ui.page import Kind, Line, Log, Page, State
from ui.palette import Signs, in_charset, loose_joiners, nick_attribute
from ui.people import Person
from ui.safe_text import excerpt, safe_line
from ui.wording import Stamp
from wire import identity

Canvas = urwid.Canvas
LineWidget = urwid.Text | urwid.Pile
Markup = list[str | tuple[Hashable, str]]
Scroll = Literal["page up", "page down", "up", "down", "top"]

NICK_COLUMNS = 12
MEMBERS_COLUMNS = 18
_MARK_COLUMNS = 4  # of a member's fingerprint, where there is room; /who shows more of it
_TIME_COLUMNS = 6  # "HH:MM "
_INDENT = _TIME_COLUMNS + NICK_COLUMNS + 3
_BODY_COLUMNS_MIN = 8  # a text is not squeezed into less: then it has no indent
_NARROW = 50  # columns of the log: in less than this, nicks have no column of their own
_MEMBERS_FROM = 80  # columns of the screen
_TOPIC_FROM = 10  # rows of the screen
_PROMPT_FROM = 12  # columns of the screen
_HINT_ROWS_MAX = 3
_FOUND_EXCERPT_CHARS = 300  # more than a row has
_WIDGETS_MAX = 1_000  # lines of which a drawn form is kept, a few screens of them
_RULE_COLUMNS = 500  # a rule is cut where the screen ends

_NICKS_OF = {Kind.CAME: "-->", Kind.WENT: "<--", Kind.REMARK: "--", Kind.ERROR: "!", Kind.ACTION: "*"}
_STYLES = {Kind.CAME: "came", Kind.WENT: "went", Kind.REMARK: "remark", Kind.ERROR: "error"}


class Form(enum.Enum):
    """How lines of a log are laid out: with a column for nicks, or without one."""

    COLUMNS = "columns"
    NARROW = "narrow"


class View:
    """Shows a model. What is typed is not in it: `editor` is, for the page that is shown.

    `visible`: the keys of the first and last line that were seen whole at the last drawing. `clock` ("HH:MM") and
    `now_ms` (UTC) are the time to show.
    """

    def __init__(self, model: Model, editor: RowsEditor, stamp: Stamp, signs: Signs, charset: str = "utf-8") -> None:
        self.model = model
        self.editor = editor
        self.charset = charset
        self.visible: tuple[int, int] = (0, -1)
        self.clock = ""
        self.now_ms = 0
        self.status: list[status_bar.Piece] = []  # as it was drawn last
        self.widget = _Sheet(self)
        self._stamp = stamp
        self._signs = signs
        self._boxes: dict[int, _LogBox] = {}  # by the page's identity
        self._members: tuple[Hashable, Canvas] | None = None
        self._panel: Panel | None = None  # as it was drawn last, with the row it began with, and how many were seen
        self._panel_rows = (0, 1)

    @property
    def signs(self) -> Signs:
        """What stands for things; another set takes effect with the next drawing."""
        return self._signs

    @signs.setter
    def signs(self, signs: Signs) -> None:
        self._signs = signs
        for box in self._boxes.values():
            box.forget()
        self._members = None

    def scroll(self, how: Scroll) -> None:
        """Move what is read of the panel or else of the log, as it was drawn last."""
        if self.model.panel is not None:
            first, seen = self._panel_rows
            steps = {"page up": -seen, "page down": seen, "up": -1, "down": 1, "top": -first}
            self._panel_rows = (max(0, first + steps[how]), seen)
            return
        box = self._boxes.get(id(self.model.current))
        if box is not None and min(box.size) > 0:
            box.scroll(how)

    def status_pieces(self) -> list[status_bar.Piece]:
        """What there is to say on the status line now."""
        typed_bytes = len(self.editor.text.encode(errors="surrogateescape"))
        return status_bar.pieces(self.model, self.clock, self.now_ms, typed_bytes)

    def plain_lines(self, lines_max: int) -> list[str]:
        """The text around what is read, for a terminal to show by itself; a line for each line end there is in it."""
        page = self.model.current
        last = page.last_key
        middle = last + 1 if page.follows else page.seen[0]
        below = (self._plain(page, key) for key in range(middle, last + 1))
        above = (reversed(self._plain(page, key)) for key in range(middle - 1, page.shown.first - 1, -1))
        after = list(islice(chain.from_iterable(below), lines_max // 2))
        before = list(islice(chain.from_iterable(above), lines_max - len(after)))
        return [*reversed(before), *after]

    def _plain(self, page: Page, key: int) -> list[str]:
        line = page.line(key)
        if line is None:
            return []
        first, *more = map(str.rstrip, line.text or ("",))
        if line.kind is Kind.SAID:
            first = f"{line.nick}: {first}"
        else:
            first = f"{_NICKS_OF[line.kind]} {f'{line.nick} ' if line.kind is Kind.ACTION else ''}{first}"
        if line.state not in (None, State.COMMITTED, State.DELIVERED):
            first += f" ({line.state.value})"
        rules = [f"-- {word}" for word in page.rules_before(key)]
        indent = " " * _TIME_COLUMNS
        told = [*rules, f"{line.time or '     '} {first}", *(f"{indent}{one}" for one in more)]
        return [self.fit(safe_line(one)) for one in told]

    # --- the parts of the screen --------------------------------------------------------------------------------------

    def draw(self, columns: int, rows: int) -> Canvas:
        """The whole screen."""
        typed = self._input(columns, max(1, rows // 3))
        below = [self._status(columns)] if rows > typed.rows() else []
        if (hint := self._hint(columns)) is not None and rows > typed.rows() + 1 + hint.rows():
            below.append(hint)
        above = [self._topic(columns)] if self.model.topic and rows >= _TOPIC_FROM else []
        left = rows - typed.rows() - sum(canvas.rows() for canvas in above + below)
        parts = [*above, *([self._middle(columns, left)] if left > 0 else []), *below]
        canvas = CanvasCombine([(part, None, False) for part in parts] + [(typed, None, True)])
        if canvas.rows() > rows:
            canvas.trim(canvas.rows() - rows)
        return canvas

    def _middle(self, columns: int, rows: int) -> Canvas:
        """The log with the members, and over their lower part a longer answer or what was found."""
        found, answer = self.model.found, self.model.panel
        if found is None and answer is None:
            return self._reading(columns, rows)
        over = self._found(found, columns, rows) if found is not None else self._answer(columns, rows)
        if over.rows() >= rows:
            return over
        return CanvasCombine([(self._reading(columns, rows - over.rows()), None, False), (over, None, False)])

    def _reading(self, columns: int, rows: int) -> Canvas:
        """The log, and the members to the right of it."""
        has_members = self.model.is_in and self.model.shows_members and columns >= _MEMBERS_FROM
        left = columns - MEMBERS_COLUMNS - 3 if has_members else columns
        log = self._log(left, rows, Form.COLUMNS if left >= _NARROW else Form.NARROW)
        if not has_members:
            return log
        edge = urwid.Text(("separator", "\n".join([self.signs.bar] * rows))).render((1,))
        parts = [
            (log, None, False, left + 1),
            (edge, None, False, 2),
            (self._members_canvas(rows), None, False, MEMBERS_COLUMNS),
        ]
        return CanvasJoin(parts)

    def _log(self, columns: int, rows: int, form: Form) -> Canvas:
        page = self.model.current
        box = self._boxes.get(id(page))
        if box is None or box.page is not page or box.log is not page.shown or box.versions != page.versions:
            kept = {id(one) for one in self.model.pages}
            self._boxes = {key: one for key, one in self._boxes.items() if key in kept}
            box = self._boxes[id(page)] = _LogBox(self, page, box)
        canvas = box.draw((columns, rows), form)
        self.visible = box.visible()
        return canvas

    def _found(self, found: Found, columns: int, rows: int) -> Canvas:
        """What a search found, around the marked one."""
        count = len(found.messages)
        room = min(count, max(1, rows - 1))
        first = min(max(0, found.index - room // 2), count - room)
        more = "the newest " if found.more else ""
        # What is cut first is what the reader knows: a screen may be narrow, and what was looked for long.
        keys = ", ".join(["Enter goes there", *self._closing()])
        title = f"{keys}; {more}{count:,} in the room with {excerpt(found.query, 40)!r}"
        lines = [self._title(title, columns)]
        for index in range(first, first + room):
            one = found.messages[index]
            is_marked = index == found.index
            mark = self.signs.marked if is_marked else " "
            said = f"{mark} {self._stamp(one.time)} {safe_line(one.author)}: {excerpt(one.text, _FOUND_EXCERPT_CHARS)}"
            lines.append(self._row([("found.marked" if is_marked else "found", said)], columns))
        return CanvasCombine([(line, None, False) for line in lines[-rows:]])

    def _answer(self, columns: int, rows: int) -> Canvas:
        """A longer answer, or as much of it as there is room for."""
        panel = self.model.panel or Panel("", ())
        if panel is not self._panel:
            self._panel, self._panel_rows = panel, (0, 1)
        text = CompositeCanvas(urwid.Text(self.fit("\n".join(map(safe_line, panel.lines)))).render((columns,)))
        lines_count, seen = text.rows(), max(1, min(text.rows(), rows - 1))
        first = min(self._panel_rows[0], lines_count - seen)
        self._panel_rows = (first, seen)
        text.trim(first, seen)
        part = "" if seen == lines_count else f", rows {first + 1} to {first + seen} of {lines_count}: PageUp, PageDown"
        title = self._title("; ".join([panel.title + part, *self._closing()]), columns)
        return text if rows < 2 else CanvasCombine([(title, None, False), (text, None, False)])

    def _closing(self) -> list[str]:
        key = self.model.keymap.shown("close")
        return [f"{key} closes"] if key else []

    def _title(self, title: str, columns: int) -> Canvas:
        edge = self.signs.line * 2
        return self._row([("found.title", f"{edge} {title} {edge}")], columns)

    def _members_canvas(self, rows: int) -> Canvas:
        people = self.model.people
        state = (people.members, people.name, people.ignored, self.model.has_server, rows)
        if self._members is None or self._members[0] != state:
            self._members = (state, self._list_members(people.members, rows))
        return self._members[1]

    def _list_members(self, members: Sequence[Person], rows: int) -> Canvas:
        shown = members if len(members) <= rows else members[: rows - 1]
        lines = [self._row(self._member(person), MEMBERS_COLUMNS) for person in shown]
        if len(shown) < len(members):
            lines.append(self._row([("member", f"   and {len(members) - len(shown):,} more")], MEMBERS_COLUMNS))
        if len(lines) < rows:
            lines.append(SolidCanvas(" ", MEMBERS_COLUMNS, rows - len(lines)))
        return CanvasCombine([(line, None, False) for line in lines])

    def _member(self, person: Person) -> Markup:
        serving = self.signs.serving if person.is_serving and self.model.has_server else " "
        state = self.signs.silent if person.is_silent else self.signs.away if person.is_away else " "
        is_me = self.model.people.is_me(person.nick)
        nick = safe_line(person.nick)
        style = "member.silent" if person.is_silent else "member.away" if person.is_away else nick_attribute(nick)
        if is_me and len(nick) < MEMBERS_COLUMNS - 9:
            nick += " (you)"
        elif self.model.people.is_ignored(person.nick):
            nick, style = f"({nick})", "member.silent"
        shown = self.cut(self.fit(nick), MEMBERS_COLUMNS - 3)
        mark = identity.shown(person.fingerprint)[:_MARK_COLUMNS]
        room = MEMBERS_COLUMNS - 3 - _width(shown) - len(mark)
        return [
            ("member.serving", serving),
            (style, f"{state} "),
            ("member.me" if is_me else style, shown),
            *([("member.key", " " * room + mark)] if mark and room > 0 else []),
        ]

    def _topic(self, columns: int) -> Canvas:
        return self._row([("topic", self.cut(self.fit(f"topic: {self.model.topic}"), columns))], columns)

    def _status(self, columns: int) -> Canvas:
        self.status = self.status_pieces()
        separator = f" {self.signs.bar} "
        kept = status_bar.fit(self.status, columns - 2, separator, _width)
        markup: Markup = [("status", " ")]
        for number, piece in enumerate(kept):
            markup += [("status", separator)] if number else []
            markup.append((piece.style, self.cut(self.fit(piece.text), max(1, columns - 2))))
        return self._row([*markup, ("status", " " * columns)], columns)

    def _hint(self, columns: int) -> Canvas | None:
        """A question; else what Tab goes through; else a word about the last key."""
        words, taken = self.editor.choices
        markup: Markup = []
        if self.model.question:
            markup = [("question", self.fit(safe_line(self.model.question)))]
        elif words:
            for index, word in enumerate(words):
                text = self.fit(safe_line(word))
                markup.append(("choice", f"[{text}]") if index == taken else ("hint", f" {text} "))
        elif self.model.hint:
            markup = [("hint", self.fit(safe_line(self.model.hint)))]  # it may quote what was pasted
        if not markup:
            return None
        canvas = CompositeCanvas(urwid.Text(markup).render((columns,)))
        if canvas.rows() > _HINT_ROWS_MAX:
            canvas.trim(0, _HINT_ROWS_MAX)
        return canvas

    def _input(self, columns: int, rows_max: int) -> CompositeCanvas:
        """The text being typed; of a long one the part around the cursor."""
        page = self.model.current
        prompt = "> " if page.is_room else f"{self.cut(self.fit(page.title), NICK_COLUMNS)}> "
        lead = _width(prompt) if columns >= max(_PROMPT_FROM, _width(prompt) * 2) else 0
        self.editor.columns = columns - lead
        typed = CompositeCanvas(self.editor.widget.render((columns - lead,), focus=True))
        if typed.rows() > rows_max:
            row = typed.cursor[1] if typed.cursor else 0
            first = min(max(0, row - rows_max + 1), typed.rows() - rows_max)
            typed.trim(first, rows_max)
        if self.model.found is not None:
            typed.cursor = None
        if not lead:
            return typed
        return CanvasJoin(
            [(self._row([("prompt", prompt)], lead), None, False, lead), (typed, None, True, columns - lead)]
        )

    # --- texts --------------------------------------------------------------------------------------------------------

    def fit(self, text: str) -> str:
        """A text with only what the terminal's character set has, in as many columns as we count."""
        return in_charset(loose_joiners(text, ""), self.charset)

    def cut(self, text: str, columns: int) -> str:
        """As much of a text as fits, with a sign where it was cut."""
        if _width(text) <= columns:
            return text
        end, _ = urwid.calc_text_pos(text, 0, len(text), max(0, columns - 1))
        return text[:end] + self.signs.more

    def seen_as(self, char: str) -> str:
        """What is shown in the place of a character that was typed, one for one."""
        if self.charset == "utf-8":
            return seen_as(char)
        return char if char == "\n" or (char.isprintable() and self.fit(char) == char) else "?"

    def _row(self, markup: Markup, columns: int) -> Canvas:
        """One row; what does not fit is left out."""
        fitted: Markup = [self.fit(one) if isinstance(one, str) else (one[0], self.fit(one[1])) for one in markup]
        return urwid.Text(fitted, wrap="clip").render((columns,))

    def line_widget(self, line: Line, rules: Sequence[str], form: Form, *, is_target: bool) -> LineWidget:
        """A line of a log, with the rules above it."""
        lead, body = self._line_markup(line, form, is_target=is_target)
        layout = _Hanging(lead, self.signs.bar if form is Form.COLUMNS else "")
        text = urwid.Text([*lead, *body], layout=layout)
        if not rules:
            return text
        return urwid.Pile([*(("pack", self._rule(rule)) for rule in rules), ("pack", text)])

    def _rule(self, word: str) -> urwid.Widget:
        style = "rule.unread" if word == "unread" else "rule.day"
        line = self.signs.line
        return urwid.Text((style, f"{line * 2} {word} {line * _RULE_COLUMNS}"), wrap="clip")

    def _line_markup(self, line: Line, form: Form, *, is_target: bool) -> tuple[Markup, Markup]:
        """What stands in the columns before the text, and the text."""
        time = ("target" if is_target else "time", line.time or "     ")
        nick = self.fit(line.nick or _NICKS_OF.get(line.kind, ""))
        style = _STYLES.get(line.kind) or ("nick.me" if line.is_own else nick_attribute(line.nick))
        words = self._words(line)
        mark = self.signs.mention if line.mentions_me or is_target else ""
        if form is Form.COLUMNS:
            first = _NICKS_OF[Kind.ACTION] if line.kind is Kind.ACTION else self.cut(nick, NICK_COLUMNS)
            pad = " " * (NICK_COLUMNS - _width(first) + 1)
            bar = ("mention", mark) if mark else ("separator", self.signs.bar)
            lead: Markup = [time, pad, (style, first), " ", bar, " "]
            return lead, [(style, nick), " ", *words] if line.kind is Kind.ACTION else words
        told: Markup = [("mention", f"{mark} ")] if mark else []
        if line.kind is Kind.ACTION:
            told += ["* ", (style, nick), " "]
        elif line.kind is Kind.SAID:
            told += [(style, nick), ": "]
        else:
            told += [(style, _NICKS_OF[line.kind]), " "]
        return [time, " "], told + words

    def _words(self, line: Line) -> Markup:
        style = "mention" if line.mentions_me else _STYLES.get(line.kind)
        text = self.fit("\n".join(map(str.rstrip, line.text)))
        if line.state is None:
            return [(style, text)]
        sign, state_style = self._state(line.state)
        return [(style, text), " ", (state_style, sign)]

    def _state(self, state: State) -> tuple[str, str]:
        signs = self.signs
        return {
            State.QUEUED: (signs.queued, "state.waits"),
            State.SENT: (signs.sent, "state.waits"),
            State.COMMITTED: (signs.committed, "state.good"),
            State.DELIVERED: (signs.delivered, "state.good"),
            State.FAILED: (signs.failed, "state.bad"),
        }[state]


class _Sheet(urwid.Widget):
    """The widget of the whole screen: drawn anew each time, from parts that mostly are not."""

    _sizing = frozenset([urwid.BOX])
    _selectable = True
    no_cache = ("render",)

    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view

    def render(self, size: tuple[int, int], focus: bool = False) -> Canvas:  # type: ignore[override]  # noqa: ARG002
        """Draw the model as it is."""
        columns, rows = size
        return self._view.draw(columns, rows)

    def keypress(self, size: Any, key: str) -> str:  # noqa: ARG002
        """Keys are the controller's."""
        return key


@dataclass(slots=True)
class _Drawn:
    """The widget of a line, and what it was made from."""

    line: Line
    rules: tuple[str, ...]
    is_target: bool
    widget: LineWidget


class _LogBox:
    """A log as it scrolls: a list of widgets that are made when they are seen, under the keys of the lines."""

    def __init__(self, view: View, page: Page, before: "_LogBox | None") -> None:
        self.page = page
        self.log: Log = page.shown
        self.versions = page.versions
        self.size = (0, 0)
        self._view = view
        self._form = Form.COLUMNS
        self._drawn: dict[int, _Drawn] = {}
        self._target: int | None = None  # has been brought to the middle
        self._anchor = (-1, 0)  # the line that stays in its place, and how many rules it had above it
        self._walker = _Lines(self)
        self._list = urwid.ListBox(self._walker)
        self._list.set_focus_pending = None
        if before is not None and before.log is self.log:  # only some lines have gone
            self._walker.key = before._walker.key
            self._list.offset_rows = before._list.offset_rows
            self._list.inset_fraction = before._list.inset_fraction
        else:
            self._walker.key = page.last_key

    def forget(self) -> None:
        """Lines look different from now on."""
        self._drawn.clear()

    @property
    def keys(self) -> tuple[int, int]:
        """The first key and the last; there is nothing when the last is smaller."""
        return self.log.first, self.page.last_key

    def widget(self, key: int) -> LineWidget | None:
        """The widget of the line at this key."""
        line = self.page.line(key)
        if line is None:
            return None
        rules, is_target = self.page.rules_before(key), key == self.page.target
        drawn = self._drawn.get(key)
        if drawn is None or drawn.line is not line or drawn.rules != rules or drawn.is_target != is_target:
            if len(self._drawn) >= _WIDGETS_MAX:
                self._drawn.clear()
            widget = self._view.line_widget(line, rules, self._form, is_target=is_target)
            drawn = self._drawn[key] = _Drawn(line, rules, is_target, widget)
        return drawn.widget

    def draw(self, size: tuple[int, int], form: Form) -> Canvas:
        """The part of the log that is read: the end while the page follows, else what was there before."""
        if form is not self._form:
            self._form = form
            self._drawn.clear()
        self.size = size
        first, last = self.keys
        if last < first or size[1] < 1:
            return SolidCanvas(" ", *size)
        page = self.page
        self._walker.key = min(max(self._walker.key, first), last)
        if page.follows:
            self._put(last, size[1])
            self._target = None
        elif page.target is not None and page.target != self._target:
            self._put(page.target, (size[1] + self._rows(page.target)) // 2)
        else:
            self._hold()
        if not page.follows:
            self._target = page.target
        self._walker.changed()
        canvas = self._list.render(size)
        self._anchor = (self._walker.key, len(page.rules_before(self._walker.key)))
        return canvas

    def _hold(self) -> None:
        """A rule above the line that stays in its place has come or gone: the text stays, not the rule."""
        key, rules = self._anchor
        shift = rules - len(self.page.rules_before(key))
        if shift and key == self._walker.key:
            offset, inset = self._list.get_focus_offset_inset(self.size)
            self._shift(offset - inset + shift)

    def visible(self) -> tuple[int, int]:
        """The keys of the first and the last line on the screen; a last one that is cut does not count."""
        if self.keys[1] < self.keys[0] or self.size[1] < 1:
            return (0, -1)
        middle, top, bottom = self._list.calculate_visible(self.size)
        if middle is None or top is None or bottom is None:
            return (0, -1)
        first = top.fill[-1].position if top.fill else middle.focus_pos
        last = bottom.fill[-1].position if bottom.fill else middle.focus_pos
        return first, last - bool(bottom.trim)

    def scroll(self, how: Scroll) -> None:
        """Move what is read."""
        self._target = self.page.target
        if how == "top":
            self._walker.set_focus(self.keys[0])
            self._shift(0)
        elif self.keys[1] >= self.keys[0]:
            self._list.keypress(self.size, how)

    def _put(self, key: int, bottom: int) -> None:
        """Show the line at this key, its last row in the row before `bottom`."""
        self._walker.key = min(max(key, self.keys[0]), self.keys[1])
        self._shift(bottom - self._rows(self._walker.key))

    def _shift(self, offset: int) -> None:
        """So many rows from the top to the line that stays in its place; negative: it begins above the top."""
        self._list.shift_focus(self.size, min(max(offset, 1 - self._rows(self._walker.key)), self.size[1] - 1))

    def _rows(self, key: int) -> int:
        widget = self.widget(key)
        return 1 if widget is None else widget.rows((self.size[0],))


class _Lines(urwid.ListWalker[int, LineWidget]):
    """The lines of a log for urwid's list; positions are their keys."""

    def __init__(self, box: _LogBox) -> None:
        self._box = box
        self.key = 0

    def changed(self) -> None:
        """Lines have come, gone or got another look."""
        self._modified()

    def get_focus(self) -> Any:
        """The line that stays in its place."""
        return self._at(self.key)

    def set_focus(self, position: int) -> None:
        """Another line stays in its place."""
        self.key = position
        self._modified()

    def get_next(self, position: int) -> Any:
        """The line below."""
        return self._at(position + 1)

    def get_prev(self, position: int) -> Any:
        """The line above."""
        return self._at(position - 1)

    def _at(self, key: int) -> tuple[LineWidget, int] | tuple[None, None]:
        widget = self._box.widget(key)
        return (None, None) if widget is None else (widget, key)


class _Hanging(StandardTextLayout):
    """Text whose first columns stand alone: what is wrapped goes on to the right of them."""

    def __init__(self, lead: Markup, bar: str) -> None:
        """`bar`: a sign among the last columns of `lead` that is repeated in front of each row."""
        super().__init__()
        text = "".join(one if isinstance(one, str) else one[1] for one in lead)
        self._chars = len(text)
        self._columns = _width(text)
        self._bar = bar.encode(urwid.util.get_encoding(), "replace") if bar else b""

    def layout(self, text: str | bytes, width: int, align: Any, wrap: Any) -> Any:
        """As urwid wants it: each row a list of pieces."""
        if not self._chars or width - self._columns < _BODY_COLUMNS_MIN:
            return super().layout(text, width, align, wrap)
        rows = super().layout(text[self._chars :], width - self._columns, align, wrap)
        first: list[Any] = [(self._columns, 0, self._chars)]
        other: list[Any] = [(self._columns, None)]
        if self._bar:
            other = [(self._columns - 2, None), (1, self._chars - 2, self._bar), (1, None)]
        return [(other if number else first) + [self._moved(one) for one in row] for number, row in enumerate(rows)]

    def _moved(self, segment: Any) -> Any:
        columns, offset, *end = segment
        if offset is None:
            return segment
        moved = [one + self._chars if isinstance(one, int) else one for one in end]
        return (columns, offset + self._chars, *moved)


def _width(text: str) -> int:
    return int(urwid.calc_width(text, 0, len(text)))
