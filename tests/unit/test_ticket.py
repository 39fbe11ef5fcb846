"""Tickets: there and back, and what is wrong with those that are none."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import limits
from wire.ticket import Ticket, TicketError, is_key, parse, z85_bytes, z85_text

# RFC 32, and the test keys of the ZMTP CURVE documentation.
HELLO = bytes([0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B])
KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
GOOD = Ticket(("10.0.0.5:8000",), KEY, bytes(range(16)))

addresses = st.lists(
    st.sampled_from(["10.0.0.5:8000", "box.lan:1", "[fe80::1]:65535", "localhost:8000"]), min_size=1, max_size=8
)


@given(addresses, st.binary(min_size=32, max_size=32), st.binary(min_size=16, max_size=16))
def test_what_is_printed_is_read_back(where: list[str], key: bytes, secret: bytes) -> None:
    ticket = Ticket(tuple(where), z85_text(key), secret)
    text = str(ticket)
    assert parse(text) == ticket
    assert parse(f"  {text[:30]}\n  {text[30:]}\n") == ticket, "as a terminal breaks it"
    assert len(text) <= limits.TICKET_CHARS_MAX
    assert repr(secret) not in repr(ticket)


@given(st.integers(0), st.characters(max_codepoint=126, min_codepoint=33))
def test_one_wrong_character_is_noticed(where: int, char: str) -> None:
    text = str(GOOD)
    at = where % len(text)
    changed = text[:at] + char + text[at + 1 :]
    if changed == text:
        return
    with pytest.raises(TicketError):
        parse(changed)


@given(st.text())
def test_any_text_is_a_ticket_or_an_error(text: str) -> None:
    for tried in (text, f"relevo://{text}", f"relevo://a:1/#{text}"):
        with pytest.raises(TicketError) as caught:
            parse(tried)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "begins with relevo://"),
        ("http://10.0.0.5:8000/#x", "begins with relevo://"),
        ("relevo://10.0.0.5:8000", "in quotes"),
        ("relevo://10.0.0.5/#" + str(GOOD).partition("#")[2], "where zdns is"),
        ("relevo://10.0.0.5:0/#" + str(GOOD).partition("#")[2], "where zdns is"),
        ("relevo://" + ",".join(["a:1"] * 9) + "/#" + str(GOOD).partition("#")[2], "where zdns is"),
        (str(Ticket(("10.0.0.5:٨٠٠٠",), KEY, bytes(16))), "where zdns is"),
        (str(GOOD)[:-1], "once more"),
        (str(GOOD)[:-9], "cut short"),
        (str(GOOD) + "AAAA", "something added"),
        (str(GOOD)[:-2] + "ä" + str(GOOD)[-1:], "no ticket has"),
        (str(GOOD).replace("10.0.0.5", "10.0.0.6"), "a character of it is wrong"),
        ("relevo://" + "a" * 2_000, "at most"),
    ],
)
def test_what_is_wrong_with_it_is_said(text: str, why: str) -> None:
    with pytest.raises(TicketError, match=why):
        parse(text)


def test_z85_is_that_of_the_standard() -> None:
    assert z85_text(HELLO) == "HelloWorld"
    assert z85_bytes("HelloWorld") == HELLO
    assert is_key(KEY)


@pytest.mark.parametrize("text", ["", KEY[:-1], KEY + "aaaaa", KEY[:-1] + " ", KEY[:-1] + "ä", "#####" * 8, "_" * 40])
def test_what_is_no_key(text: str) -> None:
    assert not is_key(text)


def test_a_ticket_holds_nothing_but_what_it_says() -> None:
    encoded = str(GOOD).partition("#")[2]
    data = base64.urlsafe_b64decode(encoded + "==")
    assert data[:48] == z85_bytes(KEY) + GOOD.secret
    assert len(data) == 52
