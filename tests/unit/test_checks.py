"""ui.checks: what passes, in which form, and what is said of what does not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui import checks


@pytest.mark.parametrize(("value", "found"), [("smart", "smart"), ("ALL", "all")])
def test_a_word_is_one_of_a_few(value: Any, found: str) -> None:
    assert checks.one_of("smart", "all", "none")(value) == found


@pytest.mark.parametrize("value", ["loud", "", True, None, 3, "yes"])
def test_another_word_is_refused_with_those_there_are(value: Any) -> None:
    with pytest.raises(ValueError, match="it should be smart, all or none, not "):
        checks.one_of("smart", "all", "none")(value)


@pytest.mark.parametrize(
    ("value", "found"), [("auto", "auto"), (True, "yes"), (False, "no"), ("on", "yes"), ("0", "no"), ("YES", "yes")]
)
def test_a_switch_may_have_a_third_position(value: Any, found: str) -> None:
    assert checks.one_of("auto", "yes", "no")(value) == found


def test_a_number_among_the_words_may_be_one_in_the_file() -> None:
    assert checks.one_of("auto", "16", "256")(256) == "256"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("SQLite", "sqlite"),
        ("memory", "memory"),
        ("etcd://db", "etcd://db:2379"),
        ("ETCD://10.0.0.1:4000,db,[::1]:23790/", "etcd://10.0.0.1:4000,db:2379,[::1]:23790"),
    ],
)
def test_a_store_is_a_word_or_the_members_of_etcd(value: str, found: str) -> None:
    assert checks.store(value) == checks.store(found) == found


@pytest.mark.parametrize(
    "value", ["floppy", "", "etcd", "etcd://", "etcd:///", "etcd://db:0", "etcd://db:x", "etcd://a b", "etcd://a,", 5]
)
def test_what_is_no_store_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        checks.store(value)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("redraw=f5", {"redraw": ("f5",)}),
        ("redraw=f5,redraw=F6,close=alt+q", {"redraw": ("f5", "f6"), "close": ("meta q",)}),
        ("mouse = meta =", {"mouse": ("meta =",)}),
        ({"redraw": "f5", "next_page": ["f6", "ctrl n"]}, {"redraw": ("f5",), "next-page": ("f6", "ctrl n")}),
        ({"mouse": []}, {"mouse": ()}),
        ({}, {}),
    ],
)
def test_keys_are_a_table_or_a_list_of_pairs(value: Any, found: dict[str, tuple[str, ...]]) -> None:
    assert checks.keys(value) == found
    assert checks.keys(found) == found


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("redraw", "'redraw' has no '='"),
        ("", "it is empty"),
        ("redraw=f5,", "'' has no '='"),
        ("redraw=", "is no key"),
        ("x=f5", "there is no action 'x'"),
        ({"redraw": 5}, "a key in quotes"),
        ({"redraw": ["f5", 6]}, "a key in quotes"),
        (["f5"], "a table of actions"),
        (5, "a table of actions"),
    ],
)
def test_what_is_no_such_table_is_refused(value: Any, part: str) -> None:
    with pytest.raises(ValueError) as error:
        checks.keys(value)
    assert part in str(error.value)


@pytest.mark.parametrize("value", ["relevo://a:1/#abc", " relevo://a:1/\n  #abc\n"])
def test_a_ticket_may_come_as_a_terminal_breaks_it(value: str) -> None:
    assert checks.ticket(value) == "relevo://a:1/#abc"


@pytest.mark.parametrize("value", ["", " \n", "\x1b", 5, None])
def test_what_cannot_be_a_ticket_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        checks.ticket(value)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.text("redraw=f5,cl "),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("redraw", max_size=6), inner, max_size=3),
    max_leaves=5,
)
CHECKS = (
    checks.text,
    checks.yes_or_no,
    checks.one_of("auto", "yes", "no"),
    checks.number,
    checks.whole(0, 9),
    checks.seconds(0.1, 9),
    checks.above_zero(checks.number),
    checks.posts_per_s,
    checks.ticket,
    checks.service,
    checks.nick,
    checks.host,
    checks.port,
    checks.addresses,
    checks.store,
    checks.keys,
)


@given(st.sampled_from(CHECKS), ANYTHING)
def test_whatever_the_value_it_passes_for_good_or_is_refused(check: checks.Check, value: Any) -> None:
    try:
        found = check(value)
    except ValueError as error:
        assert str(error)
    else:
        assert check(found) == found
