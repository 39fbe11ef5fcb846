"""ui.usage: every command is explained, by lines that the command line takes."""

import shlex

import pytest

from ui.cli import build_parser
from ui.options import COMMAND_NAMES
from ui.usage import BEGIN, USAGES


def test_every_command_is_explained() -> None:
    assert tuple(USAGES) == COMMAND_NAMES


def test_the_way_to_begin_is_that_of_a_closed_network() -> None:
    assert "relevo chat --ticket TICKET" in BEGIN


@pytest.mark.parametrize("line", [line for usage in USAGES.values() for line in usage.examples])
def test_every_example_is_a_line_one_can_type(line: str) -> None:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&")
    lexer.whitespace_split = True
    words = list(lexer)
    begin = len(words) - words[::-1].index("relevo") - 1
    end = next((index for index in range(begin, len(words)) if words[index] in ("|", "&&")), len(words))
    arguments, unknown = build_parser().parse_known_args(words[begin + 1 : end])
    assert unknown == []
    assert arguments.command in USAGES
