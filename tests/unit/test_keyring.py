"""peer.keyring: an identity is made once and kept, with its tokens; tickets, the last used first."""

import json
from pathlib import Path
from typing import Any

import pytest

from peer.keyring import Keyring
from runtime import key_pairs
from runtime.secret_files import SecretFileError
from wire import limits
from wire.ticket import Ticket

KEY = key_pairs.make().public
PERMIT = bytes(range(32))


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    """An empty one."""
    return Keyring(tmp_path)


def ticket(number: int = 0, key: str = KEY) -> Ticket:
    return Ticket((f"10.0.0.{number}:8000",), key, bytes(16))


def only_file(tmp_path: Path, begin: str) -> Path:
    return next((tmp_path / "keys").glob(f"{begin}*"))


def test_an_identity_is_made_once_for_each_name(keyring: Keyring, tmp_path: Path) -> None:
    ana = keyring.keys("Ana")
    assert key_pairs.is_whole(ana)
    assert keyring.keys("ANA") == Keyring(tmp_path).keys("ana") == ana
    assert keyring.keys("bo") != ana
    path = only_file(tmp_path, "identity-ana")
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("nick", ["tickets", "zdns-8000", "李", "x" * 32, "a.b", "|", "ａｎａ"])
def test_no_name_is_that_of_another_file(keyring: Keyring, nick: str) -> None:
    keyring.remember(ticket())
    assert keyring.keys(nick) == keyring.keys(nick)
    assert len(keyring.tickets()) == 1


def test_permits_are_kept_by_zdns(keyring: Keyring) -> None:
    assert keyring.token("ana", KEY) == b""
    keys = keyring.keys("ana")
    other = key_pairs.make().public
    keyring.keep_token("ana", KEY, PERMIT)
    keyring.keep_token("ana", other, bytes(32))
    assert (keyring.token("ana", KEY), keyring.token("Ana", other)) == (PERMIT, bytes(32))
    assert keyring.token("bo", KEY) == b""
    assert keyring.keys("ana") == keys


def test_a_permit_that_is_known_is_not_written_again(keyring: Keyring, tmp_path: Path) -> None:
    keyring.keep_token("ana", KEY, PERMIT)
    before = only_file(tmp_path, "identity-").stat()
    keyring.keep_token("ana", KEY, PERMIT)
    assert only_file(tmp_path, "identity-").stat().st_ino == before.st_ino


def test_the_oldest_permit_is_forgotten_first(keyring: Keyring) -> None:
    zdns_keys = [key_pairs.make().public for _ in range(limits.TOKENS_MAX + 1)]
    for key in zdns_keys[:-1]:
        keyring.keep_token("ana", key, PERMIT)
    keyring.keep_token("ana", zdns_keys[0], bytes(32))
    keyring.keep_token("ana", zdns_keys[-1], PERMIT)
    assert keyring.token("ana", zdns_keys[1]) == b""
    assert keyring.token("ana", zdns_keys[0]) == bytes(32)
    assert keyring.token("ana", zdns_keys[-1]) == PERMIT


def test_the_ticket_used_last_comes_first_and_the_oldest_goes(keyring: Keyring) -> None:
    assert keyring.tickets() == ()
    zdns_keys = [key_pairs.make().public for _ in range(limits.TICKETS_MAX + 1)]
    for number, key in enumerate(zdns_keys):
        keyring.remember(ticket(number, key))
    keyring.remember(ticket(99, zdns_keys[2]))
    found = keyring.tickets()
    assert [one.ticket.zdns_key for one in found] == [zdns_keys[2], *zdns_keys[:2:-1], zdns_keys[1]]
    assert found[0].ticket.addresses == ("10.0.0.99:8000",)
    assert found[0].used_ms >= found[1].used_ms > 0


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"public": KEY}, "two keys do not belong together"),
        ({"private": ""}, "`$.private`"),
        ({"tokens": {KEY: "AAAA"}}, "length >= 32"),
        ({"tokens": {"x": "A" * 43 + "="}}, "no key"),
        ({"tokens": []}, "`$.tokens`"),
        ({"format": 2}, "`$.format`"),
        ({"more": 2}, "unknown field"),
    ],
)
def test_a_damaged_identity_is_refused_and_left_as_it_is(
    keyring: Keyring, tmp_path: Path, fields: dict[str, Any], why: str
) -> None:
    keyring.keys("ana")
    path = only_file(tmp_path, "identity-")
    path.write_text(content := json.dumps(json.loads(path.read_text()) | fields))
    for use in (
        lambda: keyring.keys("ana"),
        lambda: keyring.token("ana", KEY),
        lambda: keyring.keep_token("ana", KEY, PERMIT),
    ):
        with pytest.raises(SecretFileError) as error:
            use()
        assert str(error.value).startswith(f"{path} is damaged (")
        assert why in str(error.value)
        assert "\n" not in str(error.value)
        assert error.value.exit_code == 78
    assert path.read_text() == content


@pytest.mark.parametrize("begin", ["identity-", "tickets"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"null"])
def test_what_is_no_json_of_ours_is_damaged(keyring: Keyring, tmp_path: Path, begin: str, content: bytes) -> None:
    keyring.keys("ana")
    keyring.remember(ticket())
    path = only_file(tmp_path, begin)
    path.write_bytes(content)
    read, write = (
        (keyring.tickets, lambda: keyring.remember(ticket()))
        if begin == "tickets"
        else (lambda: keyring.token("ana", KEY), lambda: keyring.keep_token("ana", KEY, PERMIT))
    )
    with pytest.raises(SecretFileError, match="is damaged"):
        read()
    with pytest.raises(SecretFileError, match="is damaged"):
        write()
    assert path.read_bytes() == content


def test_a_damaged_ticket_is_told_without_showing_it(keyring: Keyring, tmp_path: Path) -> None:
    keyring.remember(ticket())
    path = only_file(tmp_path, "tickets")
    secret = str(ticket())[-20:]
    path.write_text(path.read_text().replace("10.0.0.0", "10.0.0.1"))
    with pytest.raises(SecretFileError, match="a character of it is wrong") as error:
        keyring.tickets()
    assert secret not in str(error.value)


def test_what_others_can_read_is_refused(keyring: Keyring, tmp_path: Path) -> None:
    keyring.keys("ana")
    keyring.remember(ticket())
    for path in (tmp_path / "keys").glob("*.json"):
        path.chmod(0o640)
    with pytest.raises(SecretFileError, match="chmod 600"):
        keyring.keys("ana")
    with pytest.raises(SecretFileError, match="chmod 600"):
        keyring.tickets()
