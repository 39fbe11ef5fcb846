"""ui.parse: what is typed is posted, done, or explained; a command or a private text is never posted by mistake."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer import intents
from ui.parse import (
    Clear,
    Close,
    Export,
    Ignore,
    Local,
    Nothing,
    Parsed,
    Problem,
    Reply,
    Set,
    ShowHelp,
    ShowKeys,
    ShowQueue,
    ShowTopic,
    parse,
)
from wire import limits

LINES = st.text(st.characters() | st.sampled_from("/@ \t\u200b\ufeff\n\x1bmsgqy")) | st.builds(
    "{}{}{}".format,
    st.sampled_from(["", " ", "\t", "\u3000", "\u200b", "\ufeff ", "\x00"]),
    st.sampled_from(["/", "//", "/ ", "@", "@@", "/msg ", "/q", "/nick ", "/history ", "/away ", "/search "])
    | st.sampled_from(["/me ", "/r ", "/topic ", "/ignore ", "/export ", "/set ", "/set theme ", "/queue ", "/clear "]),
    st.text(),
)


@given(LINES)
def test_parse_never_raises_and_always_knows(line: str) -> None:
    assert isinstance(parse(line), intents.UserIntent | Local | Problem | Nothing)


@given(LINES)
def test_nothing_that_begins_with_a_slash_is_posted_but_a_double_one(line: str) -> None:
    parsed = parse(line)
    if isinstance(parsed, intents.Say):
        seen = line.lstrip().lstrip("\u200b\ufeff\x00\x1b ")
        assert not seen.startswith("/") or seen.startswith("//") or parsed.text.startswith("/me ")
        assert not seen.startswith("@") or seen.startswith("@@")


@given(LINES)
def test_what_is_posted_is_proper_text_within_the_bound(line: str) -> None:
    parsed = parse(line)
    if isinstance(parsed, intents.Say | intents.Tell):
        assert 0 < len(parsed.text.encode()) <= limits.TEXT_BYTES_MAX
        assert parsed.text.strip()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hello", intents.Say("hello")),
        ("  indented code\n", intents.Say("  indented code")),
        ("two\nlines\n", intents.Say("two\nlines")),
        ("//etc/hosts is a file", intents.Say("/etc/hosts is a file")),
        (" //x", intents.Say("/x")),
        ("@@ana is not told", intents.Say("@ana is not told")),
        ("1/2", intents.Say("1/2")),
        ("mail ana@example.org", intents.Say("mail ana@example.org")),
        ("@ana see you", intents.Tell("ana", "see you")),
        ("@ana: see you", intents.Tell("ana", "see you")),
        ("/msg ana see you", intents.Tell("ana", "see you")),
        ("/M @ana  see  you", intents.Tell("ana", "see  you")),
        ("/who", intents.AskWho()),
        ("/W", intents.AskWho()),
        ("/nick Bo", intents.ChangeNick("Bo")),
        ("/away", intents.GoAway("")),
        ("/away back at two", intents.GoAway("back at two")),
        ("/back", intents.GoAway(None)),
        ("/history", intents.AskHistory(0, 50)),
        ("/history 7", intents.AskHistory(0, 7)),
        ("/hist 7 1204", intents.AskHistory(1204, 7)),
        ("/search lunch on friday", intents.AskSearch("lunch on friday")),
        ("/status", intents.AskStatus()),
        ("/handover", intents.AskHandover(None)),
        ("/handover bo", intents.AskHandover("bo")),
        ("/quit", intents.Quit()),
        ("/q", intents.Quit()),
        ("/me waves", intents.Say("/me waves")),
        ("/ME  waves", intents.Say("/me waves")),
        ("//me waves", intents.Say("/me waves")),
        ("/reply on my way", Reply("on my way")),
        ("/r on my way", Reply("on my way")),
        ("/topic", ShowTopic()),
        ("/topic tea at  five", intents.SetTopic("tea at five")),
        ("/t tea", intents.SetTopic("tea")),
        ("/topic -", intents.SetTopic("")),
        ("/ignore", Ignore(None)),
        ("/ignore bo", Ignore("bo")),
        ("/ignore @bo", Ignore("bo")),
        ("/export tea time.txt", Export("tea time.txt")),
        ("/export ~/tea.jsonl ", Export("~/tea.jsonl")),
        ("/queue", ShowQueue()),
        ("/queue drop", intents.DropPosts()),
        ("/queue DROP  12", intents.DropPosts(12)),
        ("/close", Close()),
        ("/clear", Clear()),
        ("/set", Set(None, None)),
        ("/set theme", Set("theme", None)),
        ("/set theme dark", Set("theme", "dark")),
        ("/set theme=dark", Set("theme", "dark")),
        ("/set Paste-Lines 5", Set("paste_lines", "5")),
        ("/help keys", ShowKeys()),
        ("", Nothing()),
        ("  \t\n", Nothing()),
        ("\u200b\ufeff", Nothing()),
    ],
)
def test_what_a_line_means(line: str, expected: Parsed) -> None:
    assert parse(line) == expected


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("/qiut", "Did you mean /quit?"),
        ("/usr/bin/env", "begin with //"),
        ("/", "/help lists them"),
        ("/ quit", "/help lists them"),
        (" /quit", "a blank in front of /quit"),
        ("\u200b/quit", "a blank in front"),
        (" @ana secret", "@@ana"),
        ("@ana", "what should ana be told"),
        ("@ ana secret", "whom is this for"),
        ("@5:30 meeting", "To post a text that begins with @"),
        ("/msg", "Usage: /msg NICK TEXT"),
        ("/msg ana", "what should ana be told"),
        ("/nick", "Usage: /nick NAME"),
        ("/nick a b", "may not contain"),
        ("/nick " + "x" * 40, "at most 32 characters"),
        ("/history -1", "Usage: /history"),
        ("/history 1 2 3", "Usage: /history"),
        ("/history 0", "1 to 500"),
        ("/history ²", "Usage: /history"),
        ("/history 5 9999999999999999999", "so high a number"),
        ("/history " + "9" * 5000, "Usage: /history"),
        ("/search", "Usage: /search"),
        ("/search " + "x" * 201, "at most 200 characters"),
        ("/away " + "x" * 201, "at most 100 characters"),
        ("/quit now", "takes nothing after it"),
        ("/clear all", "takes nothing after it"),
        ("/me", "Usage: /me TEXT, for example /me waves"),
        ("/me " + "x" * limits.TEXT_BYTES_MAX, "at most 8,192 bytes, this one has 8,196"),
        ("/reply", "Usage: /reply TEXT"),
        ("/r " + "x" * 9000, "at most 8,192 bytes, this one has 9,000"),
        ("/topic " + "x" * 201, "at most 200 characters, this one has 201"),
        ("/ignore a b", "may not contain"),
        ("/export", "Usage: /export FILE"),
        ("/set thme dark", "There is no setting 'thme'. Did you mean theme?"),
        ("/set theme pink", "theme: it should be auto, dark, light or mono, not 'pink'."),
        ("/set paste_lines 0", "paste_lines: it should be a whole number from 1"),
        ("/set name bo", "name can only be given at the start, as --name."),
        ("/help nothing", "There is no command /nothing"),
        ("\udcff", "not proper text"),
        ("ä" * limits.TEXT_BYTES_MAX, "at most 8,192 bytes, this one has 16,384"),
        ("/msg ana " + "x" * 9000, "at most 8,192 bytes"),
    ],
)
def test_what_cannot_be_done_is_explained(line: str, part: str) -> None:
    parsed = parse(line)
    assert isinstance(parsed, Problem)
    assert part in parsed.sentence


def test_help_lists_the_commands_and_explains_one() -> None:
    everything, one = parse("/help"), parse("/help /msg")
    assert isinstance(everything, ShowHelp)
    assert isinstance(one, ShowHelp)
    assert any("/handover" in line for line in everything.lines)
    assert one.lines[0] == "/msg NICK TEXT"


def test_a_text_of_just_the_bound_is_posted() -> None:
    text = "x" * limits.TEXT_BYTES_MAX
    assert parse(text) == intents.Say(text)
