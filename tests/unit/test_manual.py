"""ui.manual: everything the tables have is in it, and the files in docs/ are what it gives."""

import re
import tomllib
from pathlib import Path

import pytest

from ui import manual
from ui.commands import COMMANDS
from ui.keymap import ACTIONS
from ui.options import OPTIONS, settle, variable_of
from wire import exits

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("name", "text"), [("manual.md", manual.markdown()), ("relevo.1", manual.man_page())])
def test_the_files_are_up_to_date(name: str, text: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == text, "run scripts/manual"


def test_it_has_every_command_option_and_key() -> None:
    text = manual.markdown()
    for command in COMMANDS:
        assert f"| `{command.usage}` |" in text
        assert f"`{command.example}`" in text
    for option in OPTIONS:
        assert (f"`{variable_of(option)}`" in text) is option.has_effect
        assert all(f"{flag} " in text or f"{flag}`" in text or f"{flag}," in text for flag in option.flags) or (
            not option.has_effect
        )
    for action in ACTIONS:
        assert f"`{action.name}`" in text or re.fullmatch("page-[1-9]", action.name)


def test_it_has_every_exit_code() -> None:
    codes = [value for name, value in vars(exits).items() if name.startswith("EXIT_")]
    for code in codes:
        assert re.search(rf"^\| {code} \| .+ \|$", manual.markdown(), re.MULTILINE)


def test_every_table_has_two_columns() -> None:
    rows = [line for line in manual.markdown().splitlines() if line.startswith("|")]
    assert rows
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 3, row


def test_no_text_of_the_man_page_is_taken_for_a_request() -> None:
    requests = (".TH ", ".SH ", ".SS ", ".PP", ".TP", ".nf", ".fi", ".RS", ".RE", '.\\"')
    for line in manual.man_page().splitlines():
        if line.startswith((".", "'")):
            assert line.startswith(requests), line
        # A backslash is only ever the beginning of what roff knows, and a bare hyphen would become a dash.
        assert not re.search(r"\\(?![-e&]|f[BIR]|\(aq|\")", line), line
        assert not re.search(r"(?<!\\)-", line) or line.startswith('.\\"'), line


@pytest.mark.parametrize("name", ["manual.md", "using.md"])
def test_the_files_shown_in_the_docs_can_be_read(name: str) -> None:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    examples = [block for block in re.findall(r"^```(?:toml)?\n(.*?)^```$", text, re.M | re.S) if "[chat]" in block]
    assert len(examples) == 1
    settings = settle("chat", {}, {}, tomllib.loads(examples[0]), "relevo.toml")
    assert {"name", "theme", "bell", "keys"} <= set(settings.given)
