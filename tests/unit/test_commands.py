"""ui.commands: one table, found by name, short form or unique beginning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui.commands import COMMANDS, NoCommand, SlashCommand, complete, explanation, find, overview
from ui.parse import Nothing, Problem, ShowHelp, parse


def test_no_two_commands_share_a_name() -> None:
    names = [name for command in COMMANDS for name in (command.name, *command.short)]
    assert sorted(names) == sorted(dict.fromkeys(names))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_example_is_a_line_one_can_type(command: SlashCommand) -> None:
    assert not isinstance(parse(command.example), Problem | Nothing)
    assert command.usage.startswith(f"/{command.name}")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_name_and_short_form_finds_its_command_in_any_case(command: SlashCommand) -> None:
    for name in (command.name, *command.short):
        assert find(name) is command
        assert find(name.upper()) is command


@pytest.mark.parametrize(
    ("word", "name"), [("hand", "handover"), ("hi", "history"), ("sea", "search"), ("b", "back"), ("e", "export")]
)
def test_a_unique_beginning_is_enough(word: str, name: str) -> None:
    found = find(word)
    assert isinstance(found, SlashCommand)
    assert found.name == name


def test_an_ambiguous_beginning_names_the_candidates() -> None:
    assert find("s") == NoCommand("/s could be /search, /status or /set: type a letter more.")
    assert find("qu") == NoCommand("/qu could be /queue or /quit: type a letter more.")


@pytest.mark.parametrize(
    ("word", "meant"), [("quti", "quit"), ("histroy", "history"), ("mgs", "msg"), ("exti", "quit")]
)
def test_a_mistyped_command_gets_a_suggestion(word: str, meant: str) -> None:
    found = find(word)
    assert isinstance(found, NoCommand)
    assert f"Did you mean /{meant}?" in found.sentence


def test_what_resembles_nothing_is_sent_to_help() -> None:
    assert find("xyzzy") == NoCommand("There is no command /xyzzy. /help lists them.")


@given(st.text())
def test_any_word_finds_a_command_or_a_sentence(word: str) -> None:
    found = find(word)
    assert isinstance(found, SlashCommand) or found.sentence


def test_help_fits_a_screen_and_explains_with_an_example() -> None:
    assert len(overview()) <= 22
    everything = parse("/help")
    assert isinstance(everything, ShowHelp)
    lines = [*overview(), *everything.lines, *(line for command in COMMANDS for line in explanation(command))]
    assert max(map(len, lines)) <= 75  # with the mark in front of it, on the narrowest usual terminal
    msg = find("msg")
    assert isinstance(msg, SlashCommand)
    assert "Example: /msg ana see you at ten" in explanation(msg)


def test_the_help_of_set_tells_what_can_be_set() -> None:
    command = find("set")
    assert isinstance(command, SlashCommand)
    assert "theme: auto, dark, light, mono" in explanation(command)
    assert "paste_lines: a number" in explanation(command)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/hand", ["/handover "]),
        ("/H", ["/help ", "/history ", "/handover "]),
        ("an", ["ana: "]),
        ("/msg a", ["ana ", "Al "]),
        ("@b", ["@bo "]),
        ("good day b", ["bo "]),
        ("zz", []),
        ("/help hi", ["history "]),
        ("/h ke", ["keys "]),
        ("/help msg h", []),
        ("hello b", ["bo "]),
        ("@", ["@ana ", "@Al ", "@bo "]),
        ("//etc a", ["ana ", "Al "]),
        ("/me waves at b", ["bo "]),
        ("/r a", ["ana ", "Al "]),
        ("/topic a", ["ana ", "Al "]),
        ("/ignore a", ["ana ", "Al "]),
        ("/ignore ana b", []),
        ("/handover @b", ["@bo "]),
        ("/who a", []),
        ("/xyzzy a", []),
        ("/set ", ["theme ", "colors ", "ascii ", "mouse ", "bell ", "joins ", "paste_lines "]),
        ("/set PASTE-", ["paste_lines "]),
        ("/set theme ", ["auto ", "dark ", "light ", "mono "]),
        ("/set bell o", ["on ", "off "]),
        ("/set joins S", ["smart "]),
        ("/set paste_lines ", []),
        ("/set nothing d", []),
        ("/set theme dark l", []),
    ],
)
def test_tab_offers_what_the_command_takes(line: str, expected: list[str]) -> None:
    assert complete(line, ["ana", "Al", "bo"]) == expected


def test_tab_offers_files_only_where_one_belongs() -> None:
    asked: list[str] = []

    def files(text: str) -> list[str]:
        asked.append(text)
        return [f"{text}a", f"{text}b/"]

    assert complete("/export ", [], files) == ["a", "b/"]
    assert complete("/e two words", [], files) == ["wordsa", "wordsb/"]
    assert asked == ["", "two words"]
    assert complete("/export x", ["xenia"]) == []
    assert complete("x", ["xenia"], files) == ["xenia: "]
    assert len(asked) == 2


@given(st.text() | st.from_regex(r"/?[a-z]{0,3} ?[@a-z]* ?[a-z]*"), st.lists(st.text(min_size=1)))
def test_completion_never_raises(line: str, nicks: list[str]) -> None:
    assert all(isinstance(word, str) for word in complete(line, nicks, lambda text: [text]))
