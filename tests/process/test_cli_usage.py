"""The command `relevo` as a black box: what is wrong is said in a sentence, with the right exit code, in time."""

import json
import os
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from wire import limits

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("dns", "chat", "serve", "send", "tail", "status", "handover", "ticket", "ban")
NO_ZDNS_WITHIN_S = limits.DNS_DEADLINE_MS / 1000 + 40  # a slow machine starts eight commands at once


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder that is the whole account to the commands of one test."""
    return tmp_path / "home"


def clean_environment(home: Path) -> dict[str, str]:
    """Our environment, without anything in it that would configure a command but its home."""
    return {key: value for key, value in os.environ.items() if not key.startswith("RELEVO_")} | {
        "RELEVO_HOME": str(home)
    }


def relevo(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "ui", *arguments],
        cwd=ROOT,
        env=clean_environment(home) | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def deserted() -> Iterator[str]:
    """A port at which nothing listens: it is taken, so that nobody else does meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield str(taken.getsockname()[1])


def assert_one_sentence(ended: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("relevo")
    for part in parts:
        assert part in lines[0]


# --- help ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_an_example(home: Path, command: str) -> None:
    ended = relevo(home, command, "--help")
    assert ended.returncode == 0
    assert f"examples:\n  relevo {command}" in ended.stdout
    assert ended.stderr == ""


def test_the_help_lists_the_commands_there_are_and_where_to_begin(home: Path) -> None:
    ended = relevo(home, "--help")
    assert ended.returncode == 0
    for command in COMMANDS:
        assert f"\n    {command} " in ended.stdout
    assert "relevo chat --ticket TICKET" in ended.stdout


def test_the_version_names_the_protocol_too(home: Path) -> None:
    ended = relevo(home, "--version")
    assert ended.returncode == 0
    assert f"protocol {limits.PROTOCOL}" in ended.stdout


# --- usage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), "which command?"),
        (("chta",), "there is no command 'chta'; perhaps you mean `relevo chat`. Try: relevo --help"),
        (("frobnicate",), "there is no command 'frobnicate'; there are dns, chat"),
        (("chat", "--no-such-flag"), "there is no option --no-such-flag. Try: relevo chat --help"),
        (("chat", "--nmae", "ana"), "there is no option --nmae; perhaps you mean --name. Try: relevo chat --help"),
        (("status", "tea.example", "coffee.example"), "'coffee.example' is one word too many"),
        (("chat", "-n", "many"), "--min_n: it should be a whole number from 0 to 1000, not 'many'"),
        (("chat", "--term", "-1"), "--term: it should be a number from 0 up"),
        (("chat", "--dns_port", "99999"), "--dns_port: "),
        (("chat", "--dns", "a:1", "--dns_ip", "b"), "give one or the other"),
        (("chat", "--name", "not a nick"), "--name: "),
        (("chat", "no blanks please"), "--server_uri: "),
        (("chat", "tea.example", "-u", "coffee.example"), "the service is named twice"),
        (("chat", "--plain", "--json"), "exclude each other"),
        (("chat", "--plan"), "--plan"),
        (("send", "one", "two", "three"), "put the text in quotes"),
        (("send", " "), "nothing in the text"),
        (("send", "x" * (limits.TEXT_BYTES_MAX + 1)), "at most 8,192 bytes"),
        (("tail", "--since", "0"), "--since: "),
        (
            ("dns", "--store", "floppy"),
            "--store: it should be sqlite, memory or etcd://HOST:PORT[,HOST:PORT], not 'floppy'",
        ),
        (("handover", "--to", ""), "--to: it is empty"),
        (("chat", "--theme", "pink"), "--theme: it should be auto, dark, light or mono, not 'pink'"),
        (("chat", "--keys", "redraw=ctrl a"), "--keys: 'ctrl a' is for editing what is typed"),
        (("chat", "--no-bel"), "perhaps you mean --no-bell"),
        (("tail", "--bell"), "there is no option --bell"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else None,
)
def test_a_usage_error_is_one_sentence_and_exit_2(home: Path, arguments: tuple[str, ...], part: str) -> None:
    assert_one_sentence(relevo(home, *arguments), 2, part)


# --- configuration -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("this is not toml", "is not proper TOML"),
        ("min_n = 'two'", "min_n: it should be a whole number from 0 to 1000, not 'two'"),
        ("mim_n = 2", "there is no option 'mim_n'. Did you mean 'min_n'?"),
        ("[chat]\nname = 5", "table [chat]: name: it should be text in quotes, not 5"),
        ("[chat.keys]\nredrwa = 'f5'", "table [chat]: keys: there is no action 'redrwa'; did you mean redraw?"),
    ],
)
def test_a_bad_file_is_exit_78_and_named_with_key_and_cause(home: Path, text: str, part: str) -> None:
    home.mkdir()
    (home / "relevo.toml").write_text(text)
    assert_one_sentence(relevo(home, "chat", "--plain"), 78, str(home / "relevo.toml"), part)


def test_a_file_that_is_not_text_is_exit_78(home: Path) -> None:
    home.mkdir()
    (home / "relevo.toml").write_bytes(b"\xff\xfe\x00")
    assert_one_sentence(relevo(home, "status"), 78, "is not UTF-8 text")


def test_a_file_asked_for_and_not_there_is_exit_78(home: Path) -> None:
    assert_one_sentence(relevo(home, "status", "--config", "/nowhere/x.toml"), 78, "/nowhere/x.toml: there is no such")


def test_a_bad_variable_is_exit_78_and_named(home: Path) -> None:
    assert_one_sentence(relevo(home, "chat", "--plain", RELEVO_TERM="soon"), 78, "RELEVO_TERM in the environment")


def test_a_log_file_that_cannot_be_written_is_exit_78(home: Path) -> None:
    assert_one_sentence(relevo(home, "status", "--log-file", "/proc/no/log"), 78, "--log-file: /proc/no/log")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_printed_configuration_is_a_file_that_prints_itself(home: Path, command: str) -> None:
    printed = relevo(home, command, "--print-config")
    assert (printed.returncode, printed.stderr) == (0, "")
    assert printed.stdout.splitlines()[1] == f"[{command}]"
    assert not home.exists(), "nothing was begun"
    home.mkdir()
    (home / "relevo.toml").write_text(printed.stdout)
    again = relevo(home, command, "--print-config")
    assert (again.returncode, again.stderr) == (0, "")
    assert tomllib.loads(again.stdout) == tomllib.loads(printed.stdout)


def test_the_printed_configuration_says_where_each_value_came_from(home: Path) -> None:
    home.mkdir()
    (home / "relevo.toml").write_text("theme = 'dark'\n[chat.keys]\nredraw = 'f5'\n", encoding="utf-8")
    printed = relevo(home, "chat", "Tea.example", "--no-bell", "--print-config", RELEVO_NAME="Zoë", LC_ALL="C")
    assert printed.returncode == 0
    lines = printed.stdout.splitlines()
    for begin, end in (
        ('server_uri = "tea.example" ', "; flag --server_uri"),
        ("bell = false ", "; flag --no-bell"),
        ('name = "Zoë" ', "; environment, RELEVO_NAME"),
        ('theme = "dark" ', f"; file {home / 'relevo.toml'}"),
        ('keys = { "redraw" = ["f5"] } ', f"; file {home / 'relevo.toml'}, table [chat]"),
        ("mouse = false ", "; default"),
        ("# bind = … ", "; no value"),
    ):
        assert any(line.startswith(begin) and line.endswith(end) for line in lines), (begin, printed.stdout)


def test_a_bad_configuration_is_not_printed(home: Path) -> None:
    assert_one_sentence(relevo(home, "chat", "--print-config", RELEVO_THEME="pink"), 78, "RELEVO_THEME")


def test_where_to_check_is_not_said_by_the_port_to_serve_at(home: Path) -> None:
    assert_one_sentence(relevo(home, "dns", "--check", "--port", "18000"), 2, "--dns HOST:PORT")


# --- no zdns -------------------------------------------------------------------------------------------------------


def test_without_a_zdns_each_command_says_so_in_time(home: Path, deserted: str) -> None:
    started = {command: starting(home, command, deserted) for command in _WITHOUT}
    for command, process in started.items():
        out, err = process.communicate(timeout=NO_ZDNS_WITHIN_S)
        assert process.returncode == 69, (command, out, err)
        assert "Traceback" not in err
        if command == "chat --json":
            events = [json.loads(line) for line in out.splitlines()]
            assert events[-1]["event"] == "bye"
            said = events[-1]["reason"]
        else:
            said = err.splitlines()[-1]
            assert said.startswith(f"relevo {command.split()[0]}: ")
        assert "zdns" in said
        assert f"127.0.0.1:{deserted}" in said


_WITHOUT = (
    "chat --plain",
    "chat --json",
    "serve",
    "send hello",
    "tail",
    "status",
    "status --timeout 2",
    "handover",
    "dns --check",
)


def starting(home: Path, command: str, port: str) -> "subprocess.Popen[str]":
    """A command that looks for its zdns at a port of this machine; all of them wait at the same time."""
    bind = () if command.startswith("dns") else ("--bind", "127.0.0.1")
    return subprocess.Popen(
        [sys.executable, "-m", "ui", *command.split(), "--dns_ip", "127.0.0.1", "--dns_port", port, *bind],
        cwd=ROOT,
        env=clean_environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
