"""ui.keymap: one key does one thing; other keys can be given, but none that typing needs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui.keymap import ACTIONS, EDITING, PLAIN_KEYS, Keymap, key_of, label, labels, plain_help_lines

NAMES = [action.name for action in ACTIONS]
EDITING_KEYS = [key for keys, _ in EDITING for key in keys]


def test_the_usual_keys_are_those_of_the_table() -> None:
    keymap = Keymap()
    for action in ACTIONS:
        assert keymap.keys_of(action.name) == action.keys + action.empty_keys
        for key in action.keys:
            assert keymap.action_of(key) == action.name
    assert keymap.overrides == {}
    assert keymap.action_of("a") is None


def test_some_keys_mean_something_only_while_nothing_is_typed() -> None:
    keymap = Keymap()
    assert keymap.action_of("?") is None
    assert keymap.action_of("?", is_empty=True) == "help"
    assert keymap.action_of("end") is None
    assert keymap.action_of("end", is_empty=True) == "end"
    assert keymap.action_of("meta end") == "end"
    assert keymap.action_of("up", is_empty=True) == "history-back"


def test_no_action_takes_a_key_of_the_editor() -> None:
    taken = [key for action in ACTIONS for key in action.keys if key in EDITING_KEYS]
    assert taken == []


def test_another_key_takes_the_place_of_the_usual_ones() -> None:
    keymap = Keymap.from_overrides({"redraw": "f5", "help": ["F2", "alt+h"], "mouse": []})
    assert keymap.action_of("f5") == "redraw"
    assert keymap.action_of("ctrl l") is None
    assert keymap.keys_of("help") == ("f2", "meta h")
    assert keymap.shown("help") == "F2"
    assert keymap.action_of("?", is_empty=True) is None
    assert keymap.keys_of("mouse") == ()
    assert keymap.shown("mouse") == ""
    assert keymap.overrides == {"redraw": ("f5",), "help": ("f2", "meta h"), "mouse": ()}


def test_two_actions_can_change_keys() -> None:
    keymap = Keymap.from_overrides({"page_up": "page down", "page-down": "page up"})
    assert keymap.action_of("page down") == "page-up"
    assert keymap.action_of("page up") == "page-down"


def test_enter_sends_whatever_else_does() -> None:
    keymap = Keymap.from_overrides({"send": "meta s"})
    assert keymap.keys_of("send") == ("enter", "meta s")
    assert Keymap.from_overrides({"send": []}).action_of("enter") == "send"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("ctrl l", "ctrl l"),
        ("Ctrl+L", "ctrl l"),
        ("control-x", "ctrl x"),
        ("alt-n", "meta n"),
        ("Alt+Shift+a", "meta A"),
        ("meta A", "meta A"),
        ("ctrl alt up", "meta ctrl up"),
        ("Shift+PgUp", "shift page up"),
        ("page_down", "page down"),
        ("Escape", "esc"),
        ("F12", "f12"),
        ("meta +", "meta +"),
        ("meta space", "meta  "),
    ],
)
def test_a_key_may_be_named_as_people_name_it(text: str, key: str) -> None:
    assert key_of(text) == key


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        ({"redrwa": "f5"}, "there is no action 'redrwa'; did you mean redraw?"),
        ({"xyz": "f5"}, "there is no action 'xyz'; the manual lists them"),
        ({"redraw": "f5", "close": "f5"}, "'f5' is given twice: to redraw and to close"),
        ({"redraw": "meta n"}, "'meta n' is given twice: to next-mention and to redraw"),
        ({"redraw": "f99"}, "'f99' is no key: name one like 'ctrl x'"),
        ({"redraw": "\x1b"}, "is no key"),
        ({"redraw": ""}, "is no key"),
        ({"redraw": "x"}, "'x' alone is for typing"),
        ({"redraw": "space"}, "' ' alone is for typing"),
        ({"redraw": "enter"}, "'enter' always sends"),
        ({"redraw": "ctrl a"}, "'ctrl a' is for editing"),
        ({"redraw": "home"}, "'home' is for editing"),
        ({"redraw": "ctrl m"}, "a terminal does not tell 'ctrl m' from enter"),
        ({"redraw": "meta ["}, "from the beginning of another key"),
        ({"redraw": "ctrl z"}, "suspends"),
        ({"redraw": [f"f{number}" for number in range(1, 10)]}, "9 keys; 8 are enough"),
    ],
)
def test_what_will_not_do_is_said_in_a_sentence(overrides: dict[str, str | list[str]], part: str) -> None:
    with pytest.raises(ValueError) as error:
        Keymap.from_overrides(overrides)
    assert part in str(error.value)


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(), st.text() | st.lists(st.text()), max_size=3))
def test_whatever_is_given_it_is_taken_or_refused(overrides: dict[str, str | list[str]]) -> None:
    try:
        keymap = Keymap.from_overrides(overrides)
    except ValueError as error:
        assert str(error)
    else:
        assert keymap.action_of("enter") == "send"


@given(st.sampled_from(["", "ctrl ", "meta ", "shift ", "meta ctrl "]), st.characters() | st.sampled_from(["up", "f5"]))
def test_a_key_that_is_taken_is_taken_by_its_own_name_and_its_label(modifiers: str, base: str) -> None:
    try:
        key = key_of(modifiers + base)
    except ValueError:
        return
    assert key_of(key) == key
    assert len(key) > 1
    assert label(key)


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("meta enter", "Alt+Enter"),
        ("ctrl l", "Ctrl+L"),
        ("page up", "PageUp"),
        ("meta A", "Alt+Shift+A"),
        ("meta 1", "Alt+1"),
        ("f8", "F8"),
        ("?", "?"),
        ("shift meta ctrl up", "Shift+Alt+Ctrl+Up"),
    ],
)
def test_keys_are_shown_as_people_write_them(key: str, shown: str) -> None:
    assert label(key) == shown


def test_the_help_tells_the_keys_as_they_are_now_and_fits_a_terminal() -> None:
    lines = Keymap().help_lines()
    assert max(map(len, lines)) <= 75
    assert any(line.startswith("  Alt+1 … Alt+9 ") and line.endswith(" go to a page by its number") for line in lines)
    assert any(line.startswith("  F1, ?*") for line in lines)
    assert lines[-1] == "* only while nothing is typed; End also behind what is typed"
    changed = Keymap.from_overrides({"help": "f2", "page-3": [], "end": "f3"}).help_lines()
    assert any(line.startswith("  F2 ") and line.endswith("show the help") for line in changed)
    assert any(line.startswith("  (no key) ") and line.endswith("go to page 3") for line in changed)
    assert any(line.startswith("  Alt+9 ") for line in changed)
    assert "*" not in changed[-1]


def test_the_line_client_has_help_about_keys_too() -> None:
    lines = plain_help_lines()
    assert len(lines) == len(PLAIN_KEYS) + len(EDITING)
    assert max(map(len, lines)) <= 75
    assert any(labels(("up", "ctrl p")) in line for line in lines)
