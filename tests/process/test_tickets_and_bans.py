"""`relevo dns` says how to join; `relevo ticket` and `relevo ban` change what it lets in, as black boxes."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import segno

from peer import access
from tests.support.processes import PATIENCE_S, Process, environment, free_port, relevo
from tests.support.terminal import Terminal
from wire import identity
from wire.ticket import Ticket, parse
from zdns.house import HouseFile, path_of

WHO = "0123456789abcdef0123456789abcdef"


class Zdns(Process):
    """A closed one, and what it said when it listened."""

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        self.port = free_port()
        words = ["dns", "--port", str(self.port), *options]
        super().__init__(relevo(*words), home)
        self.told = [self.line() or "" for _ in range(4 if "--open" in options else 3)]
        assert "listening" in self.told[0], self.errors

    @property
    def house(self) -> HouseFile:
        """What it goes by."""
        return HouseFile(path_of(self.home, self.port))


@pytest.fixture
def zdns(tmp_path: Path) -> Iterator[Zdns]:
    """A closed zdns."""
    with Zdns(tmp_path) as process:
        yield process


def run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        relevo(*words),
        env=environment(home),
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def ok(home: Path, *words: str) -> str:
    """What a command says that does what it should."""
    ended = run(home, *words)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def refused(home: Path, code: int, *words: str) -> str:
    """The one sentence of a command that does not."""
    ended = run(home, *words)
    assert (ended.returncode, ended.stdout) == (code, ""), ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    return ended.stderr


def test_zdns_says_how_to_join_from_here_and_from_elsewhere(zdns: Zdns) -> None:
    assert zdns.told[1].strip() == f"on this machine just: relevo chat --dns_port {zdns.port}"
    begin, quote, ticket = zdns.told[2].strip().removesuffix("'").partition("'")
    assert (begin, quote) == ("elsewhere, once: relevo chat --ticket ", "'")
    assert parse(ticket) == zdns.house.kept.ticket
    assert parse(ticket).addresses[0].endswith(f":{zdns.port}")
    assert zdns.told[0].split()[3] == parse(ticket).addresses[0]


def test_the_data_folder_is_said_when_it_is_another(tmp_path: Path) -> None:
    folder = tmp_path / "my data"
    with Zdns(tmp_path, "--data-dir", str(folder)) as zdns:
        assert zdns.told[1].strip().endswith(f" --data-dir '{folder}'")
        assert path_of(folder, zdns.port).exists()


def test_its_account_finds_it_and_others_do_not(zdns: Zdns, tmp_path: Path) -> None:
    def find(home: Path) -> access.Access:
        return access.find(data_dir=home, name="ana", dns=[f"localhost:{zdns.port}"], ticket=None, ephemeral=True)

    found = find(tmp_path).credentials
    assert found is not None and found.zdns_key == zdns.house().keys.public
    assert find(tmp_path / "elsewhere").credentials is None


def test_an_open_zdns_says_so_and_has_no_ticket(tmp_path: Path) -> None:
    with Zdns(tmp_path, "--open") as zdns:
        assert zdns.told[1].startswith("OPEN: everybody who can reach this machine")
        assert zdns.told[2:] == [
            f"on this machine just: relevo chat --dns_port {zdns.port}\n",
            f"elsewhere: relevo chat --dns {zdns.house.kept.addresses[0]}\n",
        ]
        assert zdns.house.kept.is_open
        assert "started with --open" in refused(tmp_path, 69, "ticket", "--dns_port", str(zdns.port))
        assert "started with --open" in refused(tmp_path, 69, "ban", "--list", "--dns_port", str(zdns.port))


def test_the_next_start_has_the_same_ticket(tmp_path: Path) -> None:
    with Zdns(tmp_path) as first:
        was = first.house()
        port = str(first.port)
    with Process(relevo("dns", "--port", port), tmp_path) as again:
        assert "listening" in (again.line() or "")
        assert again.line()
        assert str(first.house.kept.ticket) in (again.line() or "")
        assert first.house() == was


def test_a_second_one_at_the_same_port_changes_nothing(zdns: Zdns) -> None:
    before = zdns.house.path.read_bytes()
    port = str(zdns.port)
    assert str(zdns.port) in refused(zdns.home, 69, "dns", "--open", "--port", port, "--store", "memory")
    assert zdns.house.path.read_bytes() == before


def test_keys_that_others_can_read_are_refused(tmp_path: Path) -> None:
    with Zdns(tmp_path) as zdns:
        path, port = zdns.house.path, str(zdns.port)
    path.chmod(0o644)
    with Process(relevo("dns", "--port", port), tmp_path) as again:
        assert again.wait() == 78
    assert len(again.errors) == 1
    assert f"chmod 600 {path}" in again.errors[0]
    assert f"chmod 600 {path}" in refused(tmp_path, 78, "ticket", "--dns_port", port)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:40])
    assert "is damaged" in refused(tmp_path, 78, "ticket", "--dns_port", port)


# --- relevo ticket -------------------------------------------------------------------------------------------------


def test_the_ticket_is_printed_again_for_other_addresses_too(zdns: Zdns, tmp_path: Path) -> None:
    port = str(zdns.port)
    assert ok(tmp_path, "ticket", "--dns_port", port) == f"{zdns.house.kept.ticket}\n"
    assert parse(ok(tmp_path, "ticket", "--dns", f"127.0.0.1:{port}")) == zdns.house.kept.ticket
    named = parse(ok(tmp_path, "ticket", "--dns_port", port, "--host", "box.lan"))
    assert named.addresses == (f"box.lan:{port}",)
    assert named.secret == zdns.house().secret
    assert "--host: 'a;b'" in refused(tmp_path, 2, "ticket", "--dns_port", port, "--host", "a;b")


def test_a_new_ticket_makes_the_old_one_worthless(zdns: Zdns, tmp_path: Path) -> None:
    port = str(zdns.port)
    before = zdns.house()
    ended = run(tmp_path, "ticket", "--dns_port", port, "--renew")
    assert ended.returncode == 0
    assert "who was let in can come back" in ended.stderr
    assert parse(ended.stdout).secret == zdns.house().secret != before.secret
    assert zdns.house().permit_key == before.permit_key
    ended = run(tmp_path, "ticket", "--dns_port", port, "--renew", "--everyone")
    assert "everybody, also who is in, needs this one" in ended.stderr
    assert zdns.house().permit_key != before.permit_key
    assert "--everyone goes with --renew" in refused(tmp_path, 2, "ticket", "--dns_port", port, "--everyone")


def test_a_ticket_that_proved_good_is_printed_where_there_is_no_zdns(tmp_path: Path) -> None:
    assert "no zdns of this account has listened at localhost:8000" in refused(tmp_path, 69, "ticket")
    ticket = Ticket(("10.0.0.7:8000",), "a" * identity.KEY_CHARS, bytes(16))
    access.find(data_dir=tmp_path, name="ana", dns=None, ticket=str(ticket), ephemeral=False).proved()
    printed = run(tmp_path, "ticket")
    assert (printed.returncode, printed.stdout) == (0, f"{ticket}\n")
    assert "it may have been renewed since" in printed.stderr
    assert ok(tmp_path, "ticket", "--dns", "10.0.0.7") == f"{ticket}\n"
    refused(tmp_path, 69, "ticket", "--dns", "10.0.0.8")
    refused(tmp_path, 69, "ticket", "--renew")


def test_the_code_on_the_screen_is_that_of_the_ticket(zdns: Zdns, tmp_path: Path) -> None:
    with Terminal(relevo("ticket", "--qr", "--dns_port", str(zdns.port)), tmp_path, columns=120) as terminal:
        assert terminal.wait() == 0
        screen = terminal.screen
    ticket = str(zdns.house.kept.ticket)
    at = next(row for row, line in enumerate(screen) if line.startswith(ticket))
    code = segno.make(ticket, error="l", micro=False, boost_error=False)
    drawn: list[list[bool]] = []
    for line in screen[at + 1 :]:
        chars = line.ljust(120)[2 : 2 + len(code.matrix)]
        drawn += [[char in "▀█" for char in chars], [char in "▄█" for char in chars]]
    assert drawn[2 : 2 + len(code.matrix)] == [[bool(one) for one in row] for row in code.matrix]


@pytest.mark.parametrize(
    ("columns", "variables", "why"),
    [(30, {}, "columns and this terminal has fewer"), (80, {"PYTHONIOENCODING": "ascii"}, "no blocks to draw it")],
)
def test_a_terminal_that_cannot_show_the_code_is_told(
    zdns: Zdns, tmp_path: Path, columns: int, variables: dict[str, str], why: str
) -> None:
    words = relevo("ticket", "--qr", "--dns_port", str(zdns.port))
    with Terminal(words, tmp_path, columns=columns, variables=variables) as terminal:
        assert terminal.wait() == 0
        screen = terminal.screen
    assert why.replace(" ", "") in "".join(screen).replace(" ", "")


def test_there_is_no_code_in_a_pipe(zdns: Zdns, tmp_path: Path) -> None:
    ended = run(tmp_path, "ticket", "--qr", "--dns_port", str(zdns.port))
    assert ended.stdout == f"{zdns.house.kept.ticket}\n"
    assert "standard output is no terminal" in ended.stderr


# --- relevo ban ----------------------------------------------------------------------------------------------------


def test_a_ban_is_set_listed_and_lifted(zdns: Zdns, tmp_path: Path) -> None:
    port = ("--dns_port", str(zdns.port))
    assert ok(tmp_path, "ban", "--list", *port) == "nobody is banned\n"
    said = ok(tmp_path, "ban", WHO, *port)
    for hint in ("relevo ticket --renew", "relevo ban --lift 0123-4567-89ab-cdef"):
        assert f"{hint} {' '.join(port)}" in said, "what is to be typed means the same zdns"
    assert "only with --everyone" in said
    assert [ban.fingerprint for ban in zdns.house().bans] == [WHO]
    assert ok(tmp_path, "ban", "--list", *port).startswith("0123-4567-89ab-cdef  since 20")
    assert ok(tmp_path, "ban", "--lift", "0123-4567-89ab-cdef", *port).startswith("banned no more: 0123-4567-89ab-cdef")
    assert zdns.house().bans == ()
    assert "nobody called 'bo' is banned" in refused(tmp_path, 77, "ban", "--lift", "bo", *port)


@pytest.mark.parametrize("words", [(), ("bo", "--list"), ("--list", "--lift", "bo"), ("bo", "--lift", "bo")])
def test_one_thing_is_done_at_a_time(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert "say whom to ban, or --list, or --lift" in refused(tmp_path, 2, "ban", *words)


def test_bans_are_for_the_account_that_runs_zdns(tmp_path: Path) -> None:
    assert "say this where it runs" in refused(tmp_path, 69, "ban", WHO, "--dns", "10.0.0.7")


# --- --ticket ------------------------------------------------------------------------------------------------------


def test_a_ticket_never_shows_in_the_printed_configuration(tmp_path: Path) -> None:
    ticket = str(Ticket(("10.0.0.7:8000",), "a" * identity.KEY_CHARS, bytes(range(16))))
    told = subprocess.run(
        relevo("chat", "--print-config"),
        env=environment(tmp_path) | {"RELEVO_TICKET": ticket},
        capture_output=True,
        text=True,
        check=True,
    )
    line = next(line for line in told.stdout.splitlines() if line.startswith("# ticket = …"))
    assert line.endswith("environment, RELEVO_TICKET; not shown")
    assert ticket[-20:] not in told.stdout
