"""ui.config_print: what it prints is a file that gives the same settings, and says where they came from."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui.config_print import config_lines, toml
from ui.options import COMMAND_NAMES, OPTIONS, CommandError, Settings, settle

FILE = "/home/ana/.config/relevo/relevo.toml"


def settled(command: str, flags: dict[str, Any], environment: dict[str, str], file: dict[str, Any]) -> Settings:
    return settle(command, flags, environment, file, FILE)


def read_back(settings: Settings) -> Settings:
    text = "\n".join(config_lines(settings, FILE))
    return settle(settings.command, {}, {}, tomllib.loads(text), FILE)


@pytest.mark.parametrize("command", COMMAND_NAMES)
def test_defaults_come_back(command: str) -> None:
    settings = settled(command, {}, {}, {})
    again = read_back(settings)
    assert again.values == settings.values
    assert "flood" not in again.given, "its default depends on where lines come from"


def test_each_line_says_what_it_is_for_and_where_the_value_came_from() -> None:
    settings = settled(
        "chat", {"min_n": "3", "bell": False}, {"RELEVO_THEME": "dark"}, {"name": "ana", "chat": {"joins": "all"}}
    )
    lines = config_lines(settings, FILE)
    assert lines[0] == f"# relevo chat: its options as they stand. To keep them: {FILE}"
    assert lines[1] == "[chat]"
    said = {line.partition("  ")[0]: line.partition("# ")[2] for line in lines[2:] if not line.startswith("#")}
    assert said["min_n = 3"] == "members needed before the chat begins; flag --min_n"
    assert said["bell = false"].endswith("; flag --no-bell")
    assert said['theme = "dark"'].endswith("; environment, RELEVO_THEME")
    assert said['name = "ana"'].endswith(f"; file {FILE}")
    assert said['joins = "all"'].endswith(f"; file {FILE}, table [chat]")
    assert said["paste_lines = 3"].endswith("; default")
    unsaid = [line for line in lines[2:] if line.startswith("# ")]
    assert any(line.startswith("# bind = …") and line.endswith("; no value") for line in unsaid)
    assert any(line.startswith("# metrics_port = …") and "without effect" in line for line in unsaid)
    assert said["replicas = 1"].endswith("; default")


@pytest.mark.parametrize(
    ("flags", "said", "unsaid"),
    [
        ({"dns": "a:1,b"}, 'dns = ["a:1", "b:8000"]', ("# dns_ip", "# dns_port")),
        ({"dns_ip": "::1"}, 'dns_ip = "::1"', ("# dns =",)),
        ({}, "dns_port = 8000", ("# dns =",)),
    ],
)
def test_the_name_server_is_said_once(flags: dict[str, str], said: str, unsaid: tuple[str, ...]) -> None:
    settings = settled("chat", flags, {}, {})
    lines = config_lines(settings, FILE)
    assert any(line.startswith(said) for line in lines)
    assert all(any(line.startswith(one) for line in lines) for one in unsaid)
    assert read_back(settings)["dns"] == settings["dns"]


def test_the_name_of_a_file_cannot_end_the_comment() -> None:
    settings = settle("chat", {}, {}, {"theme": "dark"}, "/tmp/a\nb.toml")
    lines = config_lines(settings, "/tmp/a\nb.toml")
    assert tomllib.loads("\n".join(lines))["chat"]["theme"] == "dark"
    assert not any("\n" in line for line in lines)


VALUES = {
    "keys": st.sampled_from(["redraw=f5", "redraw=f5,redraw=f6,close=meta \\", 'close=meta "', "mouse=meta ö"]),
    "log_file": st.text(min_size=1).filter(str.isprintable),
    "data_dir": st.sampled_from(["C:\\x", 'a "b"', "/ä", "#"]),
    "name": st.sampled_from(["ana", "Zoë", "李"]),
    "ascii": st.sampled_from(["yes", "no", "auto"]),
    "dns": st.sampled_from(["a", "a:1,b:2", "::1"]),
    "term": st.floats(0.05, 1_000_000).map(str),
    "flood": st.integers(0, 10**9).map(str),
}


@given(st.sampled_from(COMMAND_NAMES), st.fixed_dictionaries({}, optional=VALUES))
def test_whatever_is_set_comes_back(command: str, flags: dict[str, str]) -> None:
    settings = settled(command, flags, {}, {})
    assert read_back(settings).values == settings.values


@given(st.text().filter(lambda text: text.isprintable()))
def test_any_text_comes_back(text: str) -> None:
    assert tomllib.loads(f"x = {toml(text)}")["x"] == text


def test_every_kind_of_default_is_one_that_toml_has() -> None:
    for option in OPTIONS:
        if option.default is not None:
            assert tomllib.loads(f"x = {toml(option.default)}")["x"] == option.default


def test_a_file_that_says_too_much_of_the_name_server_is_still_an_error() -> None:
    with pytest.raises(CommandError, match="give one or the other"):
        settled("chat", {}, {}, {"dns": "a", "dns_ip": "b"})
