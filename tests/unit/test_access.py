"""peer.access: which zdns is meant and by what one is let in; what is remembered of it, and when."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from peer import access
from peer.access import Access, AccessError
from peer.keyring import Keyring
from runtime import key_pairs
from runtime.secret_files import SecretFileError
from wire.ticket import Ticket
from zdns.house import HouseFile

THERE = Ticket(("10.0.0.7:8000", "box.lan:8000"), key_pairs.make().public, bytes(range(16)))


def find(
    data_dir: Path, dns: Sequence[str] | None = None, ticket: Ticket | str | None = None, *, ephemeral: bool = False
) -> Access:
    given = None if ticket is None else str(ticket)
    return access.find(data_dir=data_dir, name="ana", dns=dns, ticket=given, ephemeral=ephemeral)


def start_zdns(data_dir: Path, port: int = 8000, *, is_open: bool = False) -> HouseFile:
    file = HouseFile.open_or_make(data_dir, port)
    file.announce((f"10.0.0.5:{port}",), is_open=is_open)
    return file


def is_by(found: Access, ticket: Ticket) -> bool:
    """Whether it lets in by this ticket."""
    credentials = found.credentials
    return credentials is not None and (credentials.zdns_key, credentials.secret) == (ticket.zdns_key, ticket.secret)


def written(data_dir: Path) -> list[str]:
    return sorted(path.name for path in data_dir.rglob("*.json"))


def test_with_nothing_at_all_it_is_the_open_zdns_of_this_machine(tmp_path: Path) -> None:
    assert find(tmp_path) == Access(("localhost:8000",))
    assert find(tmp_path, ["10.0.0.9:1"]) == Access(("10.0.0.9:1",))
    assert not (tmp_path / "keys").exists()


def test_a_ticket_says_where_and_by_what(tmp_path: Path) -> None:
    found = find(tmp_path, ticket=f"  {THERE}\n")
    assert found.dns == THERE.addresses
    assert is_by(found, THERE)
    assert found.credentials is not None and found.credentials.keys == Keyring(tmp_path).keys("ana")
    assert find(tmp_path, ["10.0.0.9:1"], THERE).dns == ("10.0.0.9:1",)


def test_a_ticket_counts_more_than_the_zdns_of_this_machine(tmp_path: Path) -> None:
    start_zdns(tmp_path)
    assert is_by(find(tmp_path, ["localhost:8000"], THERE), THERE)


def test_what_is_no_ticket_is_refused_without_being_shown(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="a character of it is wrong: copy it once more") as error:
        find(tmp_path, ticket=str(THERE).replace("box.lan", "bix.lan"))
    assert error.value.exit_code == 77
    assert "bix" not in str(error.value)
    assert not (tmp_path / "keys").exists()


def test_a_ticket_is_remembered_when_it_has_proved_good_and_not_before(tmp_path: Path) -> None:
    found = find(tmp_path, ticket=THERE)
    assert find(tmp_path).credentials is None
    found.proved()
    again = find(tmp_path)
    assert is_by(again, THERE)
    assert again.dns == THERE.addresses
    assert is_by(find(tmp_path, ["10.0.0.9:1", "box.lan:8000"]), THERE)
    assert find(tmp_path, ["10.0.0.9:1", "box.lan:8000"]).dns == ("10.0.0.9:1", "box.lan:8000")
    assert find(tmp_path, ["10.0.0.9:1"]).credentials is None


def test_it_is_found_again_by_the_address_at_which_it_was_used(tmp_path: Path) -> None:
    find(tmp_path, ["10.9.9.9:8000"], THERE).proved()
    assert is_by(find(tmp_path, ["10.9.9.9:8000"]), THERE)
    assert is_by(find(tmp_path, ["box.lan:8000"]), THERE)
    assert find(tmp_path).dns[0] == "10.9.9.9:8000"
    find(tmp_path, ["[fe80::1%eth0]:8000"], THERE).proved()
    assert find(tmp_path).dns == THERE.addresses, "no ticket can say that address"


def test_the_ticket_used_last_is_taken(tmp_path: Path) -> None:
    other = Ticket(("10.0.0.8:8000",), key_pairs.make().public, bytes(16))
    find(tmp_path, ticket=THERE).proved()
    find(tmp_path, ticket=other).proved()
    assert is_by(find(tmp_path), other)
    find(tmp_path, ["box.lan:8000"]).proved()
    assert is_by(find(tmp_path), THERE)


@pytest.mark.parametrize("dns", [["localhost:8000"], ["127.0.0.1:8000"], ["[::1]:8000"], ["10.0.0.5:8000"], None])
def test_the_zdns_of_this_machine_needs_no_ticket(tmp_path: Path, dns: list[str] | None) -> None:
    file = start_zdns(tmp_path)
    found = find(tmp_path, dns)
    assert is_by(found, file.kept.ticket)
    assert found.dns == tuple(dns or ["localhost:8000"])
    found.proved()
    assert Keyring(tmp_path).tickets() == (), "it is in the file of zdns, where a new secret will be"


def test_another_port_is_another_zdns(tmp_path: Path) -> None:
    start_zdns(tmp_path)
    file = start_zdns(tmp_path, 9000)
    assert is_by(find(tmp_path, ["localhost:9000"]), file.kept.ticket)
    assert find(tmp_path, ["localhost:9001"]).credentials is None


def test_the_zdns_of_this_machine_may_be_open(tmp_path: Path) -> None:
    find(tmp_path, ticket=THERE).proved()
    tickets = tmp_path / "keys" / "tickets.json"
    tickets.write_text(json.dumps([{**json.loads(tickets.read_text())[0], "used_ms": 5}]))
    start_zdns(tmp_path, is_open=True)
    assert find(tmp_path) == Access(("localhost:8000",))
    assert find(tmp_path, ["10.0.0.5:8000"]) == Access(("10.0.0.5:8000",))


@pytest.mark.parametrize("is_local_later", [True, False])
def test_of_zdns_here_and_ticket_the_one_used_last_is_meant(tmp_path: Path, is_local_later: bool) -> None:
    file = start_zdns(tmp_path)
    find(tmp_path, ticket=THERE).proved()
    content = json.loads(file.path.read_text())
    file.path.write_text(json.dumps(content | {"started_ms": 2**50 if is_local_later else 5}))
    assert is_by(find(tmp_path), file.kept.ticket if is_local_later else THERE)
    assert is_by(find(tmp_path, ["localhost:8000"]), file.kept.ticket), "whoever names it means it"


def test_a_permit_is_kept_for_the_next_time(tmp_path: Path) -> None:
    token = bytes(range(32))
    found = find(tmp_path, ticket=THERE)
    assert found.token == b""
    found.keep_token(token)
    assert find(tmp_path, ticket=THERE).token == token
    assert access.find(data_dir=tmp_path, name="bo", dns=None, ticket=str(THERE), ephemeral=False).token == b""
    assert repr(token) not in repr(find(tmp_path, ticket=THERE))


def test_without_a_trace_means_new_keys_each_time_and_nothing_written(tmp_path: Path) -> None:
    found = find(tmp_path, ticket=THERE, ephemeral=True)
    assert is_by(found, THERE)
    found.proved()
    found.keep_token(bytes(32))
    assert found.credentials != find(tmp_path, ticket=THERE, ephemeral=True).credentials
    assert not (tmp_path / "keys").exists()
    start_zdns(tmp_path)
    before = written(tmp_path)
    assert find(tmp_path, ephemeral=True).credentials is not None
    assert written(tmp_path) == before


def test_on_an_open_network_there_is_nothing_to_keep(tmp_path: Path) -> None:
    found = find(tmp_path)
    found.proved()
    found.keep_token(b"")
    assert not (tmp_path / "keys").exists()


def test_files_that_will_not_do_are_said(tmp_path: Path) -> None:
    find(tmp_path, ticket=THERE).proved()
    (tmp_path / "keys" / "tickets.json").chmod(0o644)
    with pytest.raises(SecretFileError, match=r"tickets\.json is open to other accounts"):
        find(tmp_path)
    assert is_by(find(tmp_path, ticket=THERE), THERE), "whoever gives a ticket needs none that is remembered"


def test_that_nothing_can_be_kept_does_not_end_the_chat(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = find(tmp_path, ticket=THERE)
    (tmp_path / "keys").chmod(0o777)
    found.proved()
    found.keep_token(bytes(32))
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "the ticket is not remembered",
        "the token is not kept",
    ]
