"""zdns.house: its file is made once, changed by commands while zdns runs, and found by its account."""

import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime import key_pairs
from runtime.secret_files import SecretFileError
from wire import identity, limits
from wire.ticket import parse
from zdns.house import HouseError, HouseFile, as_fingerprint, find, is_this_machine, path_of

ANA = identity.fingerprint("a" * 40)
BO = identity.fingerprint("b" * 40)


@pytest.fixture
def file(tmp_path: Path) -> HouseFile:
    """That of a zdns that listens at port 8000."""
    made = HouseFile.open_or_make(tmp_path, 8000)
    made.announce(("10.0.0.5:8000",), is_open=False)
    return made


def change(path: Path, **fields: Any) -> None:
    """Write other values into the file, as a person might."""
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_keys_are_made_once_and_found_again(tmp_path: Path, file: HouseFile) -> None:
    again = HouseFile.open_or_make(tmp_path, 8000)
    assert again() == file()
    assert key_pairs.is_whole(again().keys)
    assert (len(again().secret), len(again().permit_key), again().number) == (16, 32, 1)
    assert HouseFile.open_or_make(tmp_path, 9000)() != file()
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_the_ticket_says_where_it_is_and_how_to_get_in(file: HouseFile) -> None:
    ticket = parse(str(file.kept.ticket))
    assert ticket.addresses == ("10.0.0.5:8000",)
    assert (ticket.zdns_key, ticket.secret) == (file().keys.public, file().secret)


def test_secrets_are_not_shown(file: HouseFile) -> None:
    assert file().keys.secret not in repr(file.kept)
    assert repr(file().secret) not in repr(file.kept)
    assert repr(file().permit_key) not in repr(file.kept)


def test_a_new_secret_leaves_the_permits_unless_everyone_is_meant(file: HouseFile) -> None:
    before = file()
    file.renew(everyone=False)
    renewed = file()
    assert renewed.secret != before.secret
    assert (renewed.permit_key, renewed.keys, renewed.number) == (before.permit_key, before.keys, 2)
    file.renew(everyone=True)
    assert file().secret != renewed.secret
    assert file().permit_key != renewed.permit_key
    assert (file().keys, file().number) == (before.keys, 3)


def test_a_running_zdns_sees_what_a_command_changes(file: HouseFile) -> None:
    other = HouseFile(file.path)
    other.ban(ANA, "ana")
    assert [(ban.fingerprint, ban.name) for ban in file().bans] == [(ANA, "ana")]
    assert file().number == 2
    other.ban(ANA, "ana again")
    assert file().number == 2, "nothing has changed"
    other.ban(BO, "bo")
    assert other.lift(ANA[:16]).name == "ana"
    assert [ban.name for ban in file().bans] == ["bo"]
    assert file().number == 4


def test_the_file_is_read_only_when_it_has_changed(file: HouseFile) -> None:
    first = file()
    assert file() is first
    os.utime(file.path)
    assert file() is not first
    assert file() == first


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("{"), Path.unlink, lambda path: path.chmod(0o644)])
def test_a_running_zdns_goes_on_with_what_it_had(
    file: HouseFile, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], object]
) -> None:
    before = file()
    content = file.path.read_bytes()
    spoil(file.path)
    os.utime(file.path.parent)
    if file.path.exists():
        os.utime(file.path, ns=(1, 1))
    with caplog.at_level(logging.WARNING):
        assert file() == file() == before
    assert len(caplog.records) == 1
    assert "the door stays as it was" in caplog.text
    file.path.unlink(missing_ok=True)
    file.path.touch(0o600)
    file.path.write_bytes(content)
    HouseFile(file.path).ban(ANA, "ana")
    assert len(file().bans) == 1


def test_who_is_banned_is_let_back_by_name_or_by_fingerprint(file: HouseFile) -> None:
    file.ban(ANA, "Ana")
    file.ban(BO, "ana")
    with pytest.raises(HouseError, match=f"say which: {identity.shown(ANA)}, {identity.shown(BO)}"):
        file.lift("ANA")
    assert file.lift(identity.shown(BO)).fingerprint == BO
    assert file.lift("ANA").fingerprint == ANA
    with pytest.raises(HouseError, match="nobody called 'ana' is banned"):
        file.lift("ana")
    assert file().bans == ()


def test_bans_have_a_bound(file: HouseFile) -> None:
    bans = [{"fingerprint": f"{one:032x}", "name": "😀" * 32, "since_ms": 2**53} for one in range(limits.BANNED_MAX)]
    change(file.path, bans=bans)
    assert len(file().bans) == limits.BANNED_MAX
    with pytest.raises(HouseError, match="1,000 are banned"):
        file.ban(ANA, "ana")
    file.lift(f"{7:032x}")
    file.ban(ANA, "ana")
    assert len(file().bans) == limits.BANNED_MAX


def test_of_changes_made_at_once_none_is_lost(file: HouseFile) -> None:
    def ban(first: int) -> None:
        mine = HouseFile(file.path)
        for number in range(first, first + 20):
            mine.ban(f"{number:032x}", "")

    threads = [threading.Thread(target=ban, args=(first,)) for first in (0, 20, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(ban.fingerprint, 16) for ban in file().bans) == list(range(60))
    assert file().number == 61


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"public": key_pairs.make().public}, "two keys do not belong together"),
        ({"private": "x"}, "two keys do not belong together"),
        ({"secret": "AAAA"}, "length >= 16 - at `$.secret`"),
        ({"permit_key": "A" * 48}, r"length <= 32 - at `$.permit_key`"),
        ({"secret": "?"}, "base64"),
        ({"number": -1}, "`$.number`"),
        ({"number": "1"}, "`$.number`"),
        ({"format": 2}, "`$.format`"),
        ({"extra": 2}, "unknown field `extra`"),
        ({"open": 1}, "`$.open`"),
        ({"addresses": ["nowhere"]}, "an address in it is none"),
        ({"addresses": ["a:1"] * 9}, "an address in it is none"),
        ({"bans": [{"fingerprint": "short", "name": "", "since_ms": 0}]}, "regex"),
        ({"bans": [{"fingerprint": ANA, "name": "x" * 33, "since_ms": 0}]}, "length <= 32"),
        ({"bans": [{"fingerprint": ANA, "name": "x"}]}, "missing required field `since_ms`"),
    ],
)
def test_a_damaged_file_is_one_sentence(file: HouseFile, fields: dict[str, Any], why: str) -> None:
    content = file.path.read_text()
    change(file.path, **fields)
    with pytest.raises(SecretFileError) as error:
        HouseFile(file.path)
    assert str(error.value).startswith(f"{file.path} is damaged (")
    assert why.replace("\\", "") in str(error.value)
    assert "everybody needs a new ticket" in str(error.value)
    assert "\n" not in str(error.value)
    assert json.loads(content)["private"] not in str(error.value)
    assert error.value.exit_code == 78


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_what_is_no_json_of_ours_is_damaged(file: HouseFile, content: bytes) -> None:
    file.path.write_bytes(content)
    with pytest.raises(SecretFileError, match="is damaged"):
        HouseFile(file.path)
    with pytest.raises(SecretFileError, match="is damaged"):
        HouseFile.open_or_make(file.path.parents[1], 8000)
    assert file.path.read_bytes() == content, "it may yet be repaired"


@pytest.mark.parametrize(
    "address", ["localhost:8000", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000", "10.0.0.5:8000"]
)
def test_it_is_found_by_every_address_of_its_machine(tmp_path: Path, file: HouseFile, address: str) -> None:
    found = find(tmp_path, address)
    assert found is not None and found.path == file.path


@pytest.mark.parametrize("address", ["localhost:8001", "10.0.0.6:8000", "127.evil.example:8000", "10.0.0.5:80"])
def test_what_is_elsewhere_is_not_taken_for_it(tmp_path: Path, file: HouseFile, address: str) -> None:
    assert file.kept.addresses
    assert find(tmp_path, address) is None


def test_a_zdns_at_any_free_port_is_found_by_the_one_it_got(tmp_path: Path) -> None:
    any_port = HouseFile.open_or_make(tmp_path, 0)
    assert find(tmp_path, "localhost:4711") is None
    any_port.announce(("10.0.0.5:4711",), is_open=True)
    found = find(tmp_path, "localhost:4711")
    assert found is not None and found.path == any_port.path and found.kept.is_open


def test_of_two_that_say_the_same_address_the_last_one_counts(tmp_path: Path, file: HouseFile) -> None:
    change(file.path, started_ms=5)
    other = HouseFile.open_or_make(tmp_path, 0)
    other.announce(file.kept.addresses, is_open=False)
    found = find(tmp_path, "localhost:8000")
    assert found is not None and found.path == other.path


def test_only_the_file_that_is_meant_must_be_sound(tmp_path: Path, file: HouseFile) -> None:
    path = path_of(tmp_path, 9000)
    path.touch(0o600)
    assert find(tmp_path, "localhost:8000") is not None
    assert find(tmp_path, "10.0.0.7:9000") is None
    with pytest.raises(SecretFileError, match=r"zdns-9000\.json is damaged"):
        find(tmp_path, "localhost:9000")
    assert file.path.exists()


def test_a_file_that_is_gone_cannot_be_changed(file: HouseFile) -> None:
    file.path.unlink()
    with pytest.raises(SecretFileError, match="is gone"):
        file.renew(everyone=False)
    assert not file.path.exists()


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        (ANA, ANA),
        (ANA.upper(), ANA),
        (identity.shown(ANA), ANA[:16]),
        (f" {ANA[:16]}", ANA[:16]),
        (ANA[:15], ""),
        (ANA[:-1], ""),
        ("g" * 16, ""),
        ("ana", ""),
        ("", ""),
    ],
)
def test_a_fingerprint_may_be_given_as_it_is_shown(text: str, digits: str) -> None:
    assert as_fingerprint(text) == digits


@pytest.mark.parametrize(("host", "is_here"), [("localhost", 1), ("127.9.9.9", 1), ("[::1]", 1), ("a.b", 0), ("", 0)])
def test_which_hosts_are_this_machine_by_name(host: str, is_here: int) -> None:
    assert is_this_machine(host) is bool(is_here)
