"""Names: what is accepted, what two nicks have in common."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import limits, names


@pytest.mark.parametrize("text", ["backend.com", " Backend.COM ", "a", "room_1.lab-2"])
def test_a_host_like_name_is_a_service(text: str) -> None:
    assert names.check_service(text) == text.strip().lower()


@pytest.mark.parametrize("text", ["", " ", "a b", "-a", "a.", "ä", "x" * 65, "a/b", "a\0"])
def test_other_service_names_are_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="service name"):
        names.check_service(text)


@pytest.mark.parametrize("text", ["ana", "José", "李雷", "bo-2", "x_y", "[bot]", "O'Neil", "नेहा"])
def test_nicks_of_all_languages_are_taken(text: str) -> None:
    assert names.nick_key(names.check_nick(text)) == names.nick_key(text)


@pytest.mark.parametrize(
    "text", ["", " ", "a b", "/quit", "@ana", "-a", "a\u202eb", "a\x1b[31m", "x" * 33, "a\u200bb", ".a"]
)
def test_nicks_that_would_confuse_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="nick"):
        names.check_nick(text)


def test_nicks_that_look_alike_are_one() -> None:
    assert names.nick_key("ANA") == names.nick_key("ana") == names.nick_key("ａｎａ")
    assert names.nick_key("Straße") == names.nick_key("STRASSE")


@given(st.text(max_size=60))
def test_a_checked_nick_is_stable_and_its_suffixed_form_is_a_nick_too(text: str) -> None:
    try:
        nick = names.check_nick(text)
    except ValueError:
        return
    assert names.check_nick(nick) == nick
    suffixed = names.nick_with_suffix(nick, 17)
    assert len(suffixed) <= limits.NICK_CHARS_MAX
    assert suffixed.endswith("-17")
    assert names.check_nick(suffixed)
