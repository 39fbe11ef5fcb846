"""What a search finds, and that an index never hides any of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.finding import indexed_text, is_found, parts_of, words_of

TEXTS = st.text(st.sampled_from("aAbßSs \0\nİé\u0301漢"), max_size=12)


@pytest.mark.parametrize(
    ("query", "text", "nick", "found"),
    [
        ("", "anything", "ana", True),
        ("tea", "some TEA?", "ana", True),
        ("eat tea", "tea, then eat", "ana", True),
        ("eat tea", "tea", "ana", False),
        ("strasse", "Hauptstraße 3", "ana", True),
        ("STRAẞE", "hauptstrasse", "ana", True),
        ("ANA tea", "tea", "Ana", True),
        ("an", "tea", "ana", False),
        ("ana", "banana", "bo", True),
    ],
)
def test_each_word_is_in_the_text_or_is_the_author(query: str, text: str, nick: str, found: bool) -> None:
    assert is_found(words_of(query), text, nick) is found


@given(TEXTS, TEXTS, TEXTS)
def test_what_is_found_has_all_parts_of_the_words(query: str, text: str, nick: str) -> None:
    words = words_of(query)
    if is_found(words, text, nick):
        assert all(part in indexed_text(text, nick) for part in parts_of(words))


@given(st.text(max_size=200))
def test_parts_are_three_characters_bounded_and_none_has_a_nul(query: str) -> None:
    parts = parts_of(words_of(query))
    assert len(parts) <= 16
    assert all(len(part) == 3 and "\0" not in part for part in parts)


def test_short_words_give_no_parts_and_long_ones_are_covered_to_their_end() -> None:
    assert parts_of(["ab", "c"]) == []
    assert parts_of(["handover", "tea", "of"]) == ["han", "dov", "ver", "tea"]
