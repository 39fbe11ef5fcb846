"""The table of the console's actions and the keys that do them, and how a user gives them others; pure."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Overrides = Mapping[str, str | Sequence[str]]

KEYS_MAX = 8  # chosen: keys one action may have
NO_KEY = "(no key)"
STARRED = "only while nothing is typed; End also behind what is typed"


@dataclass(frozen=True, slots=True)
class Action:
    """Something a key does. `keys` and `empty_keys` are named as urwid names them.

    `context`: the part of the console it is about. `empty_keys` do it only while nothing is typed.
    """

    name: str
    keys: tuple[str, ...]
    context: str
    help: str
    empty_keys: tuple[str, ...] = ()


WRITING, READING, PAGES, CONSOLE = "writing", "reading", "pages", "console"

ACTIONS: tuple[Action, ...] = (
    Action("send", ("enter",), WRITING, "post what is typed, or do the command"),
    Action("newline", ("meta enter",), WRITING, "begin another line of the same text"),
    Action("history-back", ("up",), WRITING, "bring back what was entered before"),
    Action("history-forward", ("down",), WRITING, "go towards what was entered last"),
    Action("complete", ("tab",), WRITING, "complete a command, a nick, a setting or a file"),
    Action("complete-back", ("shift tab",), WRITING, "go back among what Tab offers"),
    Action("page-up", ("page up",), READING, "scroll up by a screen"),
    Action("page-down", ("page down",), READING, "scroll down by a screen"),
    Action("line-up", ("ctrl up",), READING, "scroll up by a line"),
    Action("line-down", ("ctrl down",), READING, "scroll down by a line"),
    Action("top", ("meta home",), READING, "go to the oldest line there is"),
    Action("end", ("meta end",), READING, "go to the newest line, and stay there", ("end",)),
    Action("first-unread", ("meta u",), READING, "go to the first line not read yet"),
    Action("next-mention", ("meta n",), READING, "go to the next line that names you"),
    Action("previous-mention", ("meta p",), READING, "go to the one before"),
    Action("next-active", ("meta a",), PAGES, "go to the next page with something unread"),
    *(Action(f"page-{number}", (f"meta {number}",), PAGES, f"go to page {number}") for number in range(1, 10)),
    Action("next-page", ("ctrl n",), PAGES, "go to the page after this one"),
    Action("previous-page", ("ctrl p",), PAGES, "go to the page before this one"),
    Action("members", ("f8",), CONSOLE, "show or hide the members"),
    Action("bare", ("meta l",), CONSOLE, "show the log alone, for copying with the mouse"),
    Action("mouse", ("meta m",), CONSOLE, "take the mouse, or leave it to the terminal"),
    Action("redraw", ("ctrl l",), CONSOLE, "draw the screen anew"),
    Action("help", ("f1",), CONSOLE, "show the help", ("?",)),
    Action("close", ("esc",), CONSOLE, "close what is open above the log"),
    Action("clear-or-quit", ("ctrl c",), CONSOLE, "clear the line; on an empty one, twice: leave"),
)

# What the line editor does with keys, in the console and in the line client alike. They cannot be given away.
EDITING: tuple[tuple[tuple[str, ...], str], ...] = (
    (("left", "ctrl b"), "a character to the left"),
    (("right", "ctrl f"), "a character to the right"),
    (("meta b", "ctrl left", "meta left"), "a word to the left"),
    (("meta f", "ctrl right", "meta right"), "a word to the right"),
    (("ctrl a", "home"), "to the beginning of the line"),
    (("ctrl e", "end"), "to the end of the line"),
    (("backspace",), "delete the character before the cursor"),
    (("delete", "ctrl d"), "delete the character under the cursor"),
    (("meta backspace",), "delete a word to the left"),
    (("ctrl w",), "delete to the blank on the left"),
    (("meta d",), "delete a word to the right"),
    (("ctrl u",), "delete to the beginning of the line"),
    (("ctrl k",), "delete to the end of the line"),
    (("ctrl y",), "put back what was deleted so"),
    (("ctrl _",), "undo"),
)

# The keys of the line client that are not of the editor.
PLAIN_KEYS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("enter",), "post what is typed, or do the command"),
    (("meta enter",), "begin another line of the same text"),
    (("up", "ctrl p"), "bring back what was entered before"),
    (("down", "ctrl n"), "go towards what was entered last"),
    (("tab",), "complete a command, a nick or a file"),
    (("ctrl l",), "clear the screen"),
    (("ctrl c",), "clear what is typed; on an empty line: leave"),
    (("ctrl d",), "on an empty line: leave"),
)

_BY_NAME = {action.name: action for action in ACTIONS}
_EDITING_KEYS = frozenset(key for keys, _ in EDITING for key in keys)
_MODIFIERS = {"shift": "shift", "meta": "meta", "alt": "meta", "ctrl": "ctrl", "control": "ctrl"}
_ARROWS = ("up", "down", "left", "right", "home", "end", "page up", "page down")
_NAMED = (*_ARROWS, "insert", "delete", "backspace", "tab", "enter", "esc", *(f"f{number}" for number in range(1, 21)))
_ALSO = {"escape": "esc", "return": "enter", "del": "delete", "ins": "insert", "pgup": "page up", "pgdn": "page down"}
_ALSO |= {"pageup": "page up", "pagedown": "page down", "space": " "}
# Control characters under another name: from an ordinary terminal both keys look the same.
_SAME = {"ctrl h": "backspace", "ctrl i": "tab", "ctrl j": "enter", "ctrl m": "enter", "ctrl [": "esc"}
_SAME |= {"meta [": "the beginning of another key", "meta O": "the beginning of another key"}
_MODIFIED = re.compile(r"(shift|meta|alt|ctrl|control)[ +-]+(.+)", re.IGNORECASE)


def key_of(text: str) -> str:
    """The key that a user means, as urwid names it: "Ctrl+L" is `ctrl l`, "alt-n" is `meta n`.

    Raises:
        ValueError: there is no such key, or it may not be given to an action.
    """
    modifiers, base = list[str](), text.strip()
    while found := _MODIFIED.fullmatch(base):
        modifiers.append(_MODIFIERS[found[1].lower()])
        base = found[2]
    if len(base) != 1:
        base = re.sub(r"[ _-]+", " ", base.lower())
        base = _ALSO.get(base, base)
    if base not in _NAMED and not (len(base) == 1 and base.isprintable()):
        raise ValueError(f"{text[:40]!r} is no key: name one like 'ctrl x', 'meta x', 'f5' or 'page up'")
    if len(base) == 1 and "ctrl" in modifiers:
        base = base.lower()
    elif len(base) == 1 and "shift" in modifiers and base.upper() != base:
        base, modifiers = base.upper(), [one for one in modifiers if one != "shift"]
    # In the order in which urwid writes them.
    key = "".join(f"{one} " for one in ("shift", "meta", "ctrl") if one in modifiers) + base
    _check_free(key)
    return key


def _check_free(key: str) -> None:
    if len(key) == 1:
        raise ValueError(f"{key!r} alone is for typing: give it 'ctrl' or 'meta'")
    if key == "enter":
        raise ValueError("'enter' always sends what is typed")
    if key in _SAME:
        raise ValueError(f"a terminal does not tell {key!r} from {_SAME[key]}")
    if key in _EDITING_KEYS:
        raise ValueError(f"{key!r} is for editing what is typed")
    if key == "ctrl z":
        raise ValueError("'ctrl z' suspends the program")


def label(key: str) -> str:
    """A key as people write it: `meta enter` is "Alt+Enter", `page up` is "PageUp", `meta A` is "Alt+Shift+A"."""
    parts, base = list[str](), key
    for modifier, name in (("shift", "Shift"), ("meta", "Alt"), ("ctrl", "Ctrl")):
        if base.startswith(f"{modifier} "):
            parts.append(name)
            base = base[len(modifier) + 1 :]
    if len(base) == 1:
        if base.isupper() and parts:
            parts.append("Shift")
        shown = base.upper() if parts else base
    else:
        shown = "".join(word.capitalize() for word in base.split())
    return "+".join([*parts, "Space" if shown == " " else shown])


def labels(keys: Sequence[str]) -> str:
    """Several keys that do the same."""
    return ", ".join(map(label, keys))


@dataclass(frozen=True, slots=True)
class Row:
    """One line about keys: the part of the console, the name of the action, its keys as shown, what they do.

    A key with a star does it only on an empty line.
    """

    context: str
    name: str
    keys: str
    help: str


class Keymap:
    """Which key does what. Invariant: a key does one thing, and Enter sends."""

    def __init__(self) -> None:
        self.overrides: dict[str, tuple[str, ...]] = {}  # the keys given to actions, as urwid names them
        self._keys = {action.name: action.keys for action in ACTIONS}
        self._empty_keys = {action.name: action.empty_keys for action in ACTIONS}
        self._index()

    @classmethod
    def from_overrides(cls, overrides: Overrides) -> "Keymap":
        """The usual keys, but for the actions named: those have the keys given here, or none.

        Args:
            overrides: by the action's name, one key or several. Enter goes on sending whatever `send` gets.

        Raises:
            ValueError: an action or key does not exist, a key may not be given away, or is given twice.
        """
        keymap = cls()
        for name, keys in overrides.items():
            action = _action(name)
            given = [key_of(key) for key in ([keys] if isinstance(keys, str) else keys)]
            if len(given) > KEYS_MAX:
                raise ValueError(f"{action.name} is given {len(given)} keys; {KEYS_MAX} are enough")
            always = action.keys if action.name == "send" else ()
            keymap.overrides[action.name] = tuple(dict.fromkeys(given))
            keymap._keys[action.name] = (*always, *keymap.overrides[action.name])
            keymap._empty_keys[action.name] = ()
        keymap._index()
        return keymap

    def keys_of(self, name: str) -> tuple[str, ...]:
        """The keys of an action, those for the empty line last."""
        return self._keys[name] + self._empty_keys[name]

    def shown(self, name: str) -> str:
        """The first key of an action as people write it; empty when it has none."""
        return next(map(label, self.keys_of(name)), "")

    def action_of(self, key: str, *, is_empty: bool = False) -> str | None:
        """The name of what a key does; `is_empty`: nothing is typed at the moment."""
        return self._actions.get(key) or (self._empty_actions.get(key) if is_empty else None)

    def rows(self) -> list[Row]:
        """One for each action, in the order of the table; the nine pages in one while they have their usual keys."""
        rows = list[Row]()
        pages = [action for action in ACTIONS if re.fullmatch("page-[1-9]", action.name)]
        usual = all(self._keys[action.name] == action.keys for action in pages)
        for action in ACTIONS:
            if usual and action in pages:
                if action is pages[0]:
                    rows.append(Row(PAGES, "page-1 … page-9", "Alt+1 … Alt+9", "go to a page by its number"))
                continue
            keys = [*map(label, self._keys[action.name]), *(f"{label(key)}*" for key in self._empty_keys[action.name])]
            rows.append(Row(action.context, action.name, ", ".join(keys) or NO_KEY, action.help))
        return rows

    def help_lines(self) -> list[str]:
        """For `/help keys`: what the keys do, those of the editor last."""
        rows = self.rows()
        width = max(len(row.keys) for row in rows)
        lines, context = list[str](), ""
        for row in rows:
            if row.context != context:
                context = row.context
                lines.append(context.capitalize())
            lines.append(f"  {row.keys:<{width}}  {row.help}")
        lines += ["Editing", *(f"  {line}" for line in _two_columns(EDITING))]
        return [*lines, f"* {STARRED}"] if any(self._empty_keys.values()) else lines

    def _index(self) -> None:
        self._actions: dict[str, str] = {}
        for name, keys in self._keys.items():
            for key in keys:
                other = self._actions.setdefault(key, name)
                if other != name:
                    raise ValueError(f"{key!r} is given twice: to {other} and to {name}")
        self._empty_actions = {key: name for name, keys in self._empty_keys.items() for key in keys}


def plain_help_lines() -> list[str]:
    """For `/help keys` in the line client."""
    return _two_columns((*PLAIN_KEYS, *EDITING))


def _two_columns(rows: Sequence[tuple[tuple[str, ...], str]]) -> list[str]:
    width = max(len(labels(keys)) for keys, _ in rows)
    return [f"{labels(keys):<{width}}  {help_text}" for keys, help_text in rows]


def _action(name: str) -> Action:
    found = _BY_NAME.get(name.strip().lower().replace("_", "-"))
    if found is None:
        close = difflib.get_close_matches(name[:40].lower(), list(_BY_NAME), n=1)
        hint = f"; did you mean {close[0]}?" if close else "; the manual lists them"
        raise ValueError(f"there is no action {name[:40]!r}{hint}")
    return found
