"""A closed network as people meet it: tickets that are none, old or of no use; bans; nicks that belong to keys."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import LEAVING, Chat, Process, Zdns, relevo, run

Start = Callable[..., Chat]


def without_ticket(zdns: Zdns, home: Path, *words: str, ticket: str = "") -> Process:
    """A command on another machine, which has this ticket or none."""
    home.mkdir(exist_ok=True)
    more = ["--ticket", ticket] if ticket else []
    return Process(relevo(*words, "--dns_ip", "127.0.0.1", "--dns_port", str(zdns.port), *more), home)


def elsewhere(zdns: Zdns, home: Path, name: str, *options: str) -> Chat:
    """A participant on another machine, who has the ticket."""
    home.mkdir(exist_ok=True)
    return Chat(home, zdns.address, name, *options)


def refused(zdns: Zdns, home: Path, *words: str, ticket: str = "") -> str:
    """The command ends with the exit code for that, and one sentence."""
    code = 69
    while code == 69:  # no zdns within 5 s, says a machine that is busy
        with without_ticket(zdns, home, *words, ticket=ticket) as process:
            code = process.wait()
            errors = [line for line in process.all_errors() if line != LEAVING]
    assert code == 77, errors
    assert len(errors) == 1
    assert "Traceback" not in errors[0]
    return errors[0]


def test_without_a_ticket_nobody_gets_in_and_the_sentence_says_what_to_do(
    chat: Start, zdns: Zdns, tmp_path: Path
) -> None:
    chat("ana", "-s").ready()
    for words in (["chat", "--plain", "--name", "eve"], ["status"], ["send", "hello"], ["tail"], ["serve"]):
        why = refused(zdns, tmp_path / "eve", *words)
        assert "it is closed: a ticket is needed" in why
        if words != ["serve"]:
            assert "Join once with --ticket TICKET" in why


def test_the_ticket_is_given_once(zdns: Zdns, chat: Start, tmp_path: Path) -> None:
    ana = chat("ana", "-s")
    ana.ready()
    with without_ticket(zdns, tmp_path / "bo", "send", "with it", ticket=zdns.ticket) as sending:
        assert sending.wait() == 0, sending.errors
    with without_ticket(zdns, tmp_path / "bo", "send", "without") as sending:
        assert sending.wait() == 0, sending.errors
    ana.shown(2)
    assert ana.texts() == ["with it", "without"]


def test_a_ticket_is_of_no_use_where_everything_is_open(tmp_path: Path, zdns: Zdns) -> None:
    (tmp_path / "open").mkdir()
    with Zdns(tmp_path / "open", is_open=True) as open_zdns:
        why = refused(open_zdns, tmp_path / "bo", "chat", "--plain", ticket=zdns.ticket)
        # Which of the two it is depends on who reads the other's first bytes sooner.
        assert "it is open, or is no relevo: no ticket is used there" in why or "has another key, or none" in why
        assert "--ticket none" in why
        with without_ticket(open_zdns, tmp_path / "bo", "chat", "--json", "--name", "bo", ticket="none") as bo:
            while '"event":"ready"' not in (bo.line() or ""):
                assert bo.popen.poll() is None, bo.errors


def test_a_ticket_of_another_zdns_is_told_from_a_zdns_that_is_silent(tmp_path: Path, zdns: Zdns) -> None:
    (tmp_path / "other").mkdir()
    with Zdns(tmp_path / "other") as other:
        why = refused(zdns, tmp_path / "bo", "chat", "--plain", ticket=other.ticket)
    assert "whoever answers there has another key, or none" in why


@pytest.mark.parametrize("is_open", [True, False], ids=["open", "closed"])
def test_who_is_in_is_told_that_another_zdns_has_taken_the_place_of_theirs(
    chat: Start, zdns: Zdns, tmp_path: Path, is_open: bool
) -> None:
    ana = chat("ana", "-s")
    ana.ready()
    zdns.popen.kill()
    zdns.popen.wait()
    (tmp_path / "other").mkdir()
    with Zdns(tmp_path / "other", zdns.port, is_open=is_open):
        told = ana.until("error", code="zdns_changed")["message"]
        assert zdns.address in told
        assert "The chat goes on among those who are in" in told
        ana.do("post", text="still here", tag=1)
        ana.until("posted", tag=1)


def test_an_old_ticket_lets_nobody_in_but_who_was_in_before_comes_back(chat: Start, zdns: Zdns, tmp_path: Path) -> None:
    ana = chat("ana", "-s")
    ana.ready()
    with elsewhere(zdns, tmp_path / "bo", "bo") as bo:
        bo.ready()
    renewed = run(tmp_path, "ticket", "--renew", "--dns", zdns.address)
    assert renewed.returncode == 0, renewed.stderr
    ticket = renewed.stdout.strip()
    assert ticket != zdns.ticket
    ana.until("member", name="bo", state="lost")
    why = ""
    while "no longer valid" not in why:  # zdns looks twice a second whether its file has changed
        with without_ticket(zdns, tmp_path / f"eve{len(why)}", "send", "x", ticket=zdns.ticket) as eve:
            if eve.wait() == 0:
                continue
            why = eve.all_errors()[0]
    with elsewhere(zdns, tmp_path / "bo", "bo") as bo:  # its old ticket would not do, its permit does
        bo.ready()
    with without_ticket(zdns, tmp_path / "cy", "send", "new", ticket=ticket) as cy:
        assert cy.wait() == 0, cy.errors


def test_with_new_permits_everybody_is_out_who_has_not_the_new_ticket(chat: Start, zdns: Zdns, tmp_path: Path) -> None:
    ana = chat("ana", "-s")
    ana.ready()
    with elsewhere(zdns, tmp_path / "bo", "bo") as bo:
        bo.ready()
        renewed = run(tmp_path, "ticket", "--renew", "--everyone", "--dns", zdns.address)
        assert renewed.returncode == 0, renewed.stderr
        assert bo.wait() == 77
        assert ana.wait() == 77
    with without_ticket(zdns, tmp_path / "cy", "send", "x", ticket=zdns.ticket) as cy:
        assert cy.wait() == 77


def test_a_ban_ends_what_lives_at_once_and_can_be_lifted(chat: Start, zdns: Zdns, tmp_path: Path) -> None:
    ana = chat("ana", "-s")
    ana.ready()
    with elsewhere(zdns, tmp_path / "eve", "eve") as eve:
        eve.ready()
        told = run(tmp_path, "ban", "eve", "--dns", zdns.address)
        assert told.returncode == 0, told.stderr
        assert eve.wait() == 77
        assert "banned" in list(eve.rest())[-1]["reason"]
    ana.until("member", name="eve", state="left")
    ana.do("post", text="she is gone", tag=1)
    ana.until("posted", tag=1)
    with elsewhere(zdns, tmp_path / "eve", "eve") as eve:
        assert eve.wait() == 77
    assert "eve" in run(tmp_path, "ban", "--list", "--dns", zdns.address).stdout
    again = run(tmp_path, "ban", "EVE", "--dns", zdns.address)
    assert (again.returncode, "'EVE' is banned already" in again.stderr) == (77, True)
    assert "'mallory' is not in the room; there: ana" in run(tmp_path, "ban", "mallory", "--dns", zdns.address).stderr
    assert run(tmp_path, "ban", "--lift", "eve", "--dns", zdns.address).returncode == 0
    while True:  # zdns looks twice a second whether its file has changed, and servers ask it once a second
        with elsewhere(zdns, tmp_path / "eve", "eve") as eve:
            if eve.until("ready", "bye")["event"] == "ready":
                break
    ana.until("member", name="eve", state="joined")


def test_a_nick_belongs_to_its_key_also_while_its_owner_is_away(chat: Start, zdns: Zdns, tmp_path: Path) -> None:
    chat("ana", "-s").ready()
    with elsewhere(zdns, tmp_path / "bo", "bo") as bo:
        bo.ready()
        bo.do("quit")
        assert bo.wait() == 0
    with elsewhere(zdns, tmp_path / "eve", "bo") as eve:
        refusal = eve.until("refused")
        assert refusal["code"] == "name_taken"
        assert "belongs to another key" in refusal["message"]
        assert eve.wait() == 77
    with elsewhere(zdns, tmp_path / "bo", "bo") as bo:
        bo.ready()


def test_another_key_behind_a_known_nick_is_said_and_nothing_private_goes_there_unasked(
    zdns: Zdns, tmp_path: Path
) -> None:
    with elsewhere(zdns, tmp_path / "ana", "ana", "-s", "--ephemeral") as ana:
        ana.ready()
        with elsewhere(zdns, tmp_path / "bo", "bo") as bo:
            bo.ready()
            bo.do("who")
            first = {line["name"]: line["fingerprint"] for line in bo.until("members")["members"]}
            ana.do("quit")
            assert ana.wait() == 0
            bo.until("member", name="ana", state="left")
            with elsewhere(zdns, tmp_path / "eve", "ana") as eve:
                eve.ready()
                why = bo.until("error", code="key_changed")["message"]
                assert "another key" in why
                bo.do("tell", to="ana", text="secret", tag=1)
                assert bo.until("refused", tag=1)["code"] == "key_changed"
                assert not [event for event in eve.so_far() if event["event"] == "private"]
                bo.do("tell", to="ana", text="so be it", tag=2)
                assert eve.until("private")["text"] == "so be it"
                bo.do("who")
                now = {line["name"]: line["fingerprint"] for line in bo.until("members")["members"]}
                assert now["bo"] == first["bo"]
                assert now["ana"] != first["ana"]


@pytest.mark.parametrize("ticket", ["relevo://127.0.0.1:8000/#abc", "hello", "relevo://127.0.0.1:8000"])
def test_what_is_no_ticket_is_one_sentence(ticket: str, tmp_path: Path) -> None:
    told = run(tmp_path, "chat", "--plain", "--ticket", ticket)
    assert told.returncode == 77
    assert told.stderr.count("\n") == 1
    assert "the ticket cannot be used" in told.stderr


def test_keys_that_others_can_read_are_refused(zdns: Zdns, tmp_path: Path) -> None:
    with elsewhere(zdns, tmp_path / "bo", "bo", "-s") as bo:
        bo.ready()
    identity = tmp_path / "bo" / "keys" / "identity-bo.json"
    assert identity.stat().st_mode & 0o777 == 0o600
    assert identity.parent.stat().st_mode & 0o777 == 0o700
    assert json.loads(identity.read_text())["private"]
    identity.chmod(0o644)
    with elsewhere(zdns, tmp_path / "bo", "bo") as bo:
        assert bo.wait() == 78
        assert "chmod" in bo.all_errors()[0]
