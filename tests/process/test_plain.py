"""The line client as people use it: in pipes, and at a real terminal."""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.processes import LEAVING, PATIENCE_S, Chat, Process, Zdns, free_port, relevo, run
from tests.support.terminal import BACKSPACE, LEFT, PASTE_BEGIN, PASTE_END, TAB, UP, Terminal, ctrl

Start = Callable[..., Chat]

# What a terminal would act on: a name server, a member or a text may hold it, a line of ours never does.
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
NASTY = "\x1b[31mred\x1b]0;title\x07\x9b2J\r\x08\u202eevil\x00"
NASTY_SHOWN = "^[[31mred^[]0;title^G<U+009B>2J^M^H<U+202E>evil^@"


def plain(zdns: Zdns, name: str | None, *options: str) -> list[str]:
    """The command line of a line client."""
    named = ("--name", name) if name else ()
    return relevo("chat", "--plain", "--dns", zdns.address, "--bind", "127.0.0.1", *named, *options)


FINGERPRINT = re.compile(r" [0-9a-f]{4}(-[0-9a-f]{4}){3}")


class Plain(Process):
    """A line client in pipes; each line it printed is looked at."""

    def __init__(self, command: list[str], home: Path) -> None:
        self.lines: list[str] = []
        super().__init__(command, home)

    def next(self) -> str:
        """The next line it prints."""
        line = self.line()
        assert line is not None, f"it ended: {self.lines[-5:]}, {self.errors}"
        self.lines.append(line.removesuffix("\n"))
        assert not CONTROL.search(self.lines[-1]), repr(line)
        return self.lines[-1]

    def until(self, text: str) -> str:
        """The next line that has `text` in it."""
        while text not in self.next():
            pass
        return self.lines[-1]

    def greeted(self) -> list[str]:
        """The three lines it begins with, once it is in."""
        while (first := self.next()).startswith("-- not in "):
            pass  # said when getting in takes a while, as it may on a busy machine
        return [first, self.next(), self.next()]

    def enter(self, line: str) -> None:
        """Write a line to it; lone surrogates stand for bytes that are no UTF-8."""
        assert self.popen.stdin is not None
        os.write(self.popen.stdin.fileno(), line.encode(errors="surrogateescape") + b"\n")

    def ends(self, code: int) -> list[str]:
        """Wait for its end; returns what it printed on standard output after the lines looked at."""
        assert self.wait() == code, self.errors
        rest = []
        while (line := self.line()) is not None:
            rest.append(line.removesuffix("\n"))
        assert not any(CONTROL.search(line) for line in rest)
        assert not any("Traceback" in line for line in self.errors)
        return rest


@pytest.fixture
def person(tmp_path: Path, zdns: Zdns) -> Iterator[Callable[..., Plain]]:
    """Starts line clients in pipes."""
    with ExitStack() as stack:

        def start(name: str | None = None, *options: str) -> Plain:
            return stack.enter_context(Plain(plain(zdns, name, *options), tmp_path))

        yield start


@pytest.fixture
def terminal(tmp_path: Path, zdns: Zdns) -> Iterator[Callable[..., Terminal]]:
    """Starts line clients at terminals; no traceback is ever seen there, and each terminal is as it was at the end."""
    with ExitStack() as stack:
        started: list[Terminal] = []

        def start(name: str | None = None, *options: str, columns: int = 100, kind: str = "xterm") -> Terminal:
            made = Terminal(plain(zdns, name, *options), tmp_path, columns=columns, kind=kind)
            started.append(stack.enter_context(made))
            return made

        yield start
        for one in started:
            if one.popen.poll() is None:
                one.signal(signal.SIGTERM)
                assert one.wait() == 0
            assert one.current_settings() == one.settings
            assert b"Traceback" not in one.output


@pytest.fixture
def ana(chat: Start) -> Chat:
    """Serves, and keeps the role."""
    serving = chat("ana", "-s", "--term", "0")
    serving.ready()
    return serving


Person = Callable[..., Plain]
AtTerminal = Callable[..., Terminal]


# --- in pipes --------------------------------------------------------------------------------------------------------


def test_the_greeting_says_who_i_am_where_who_serves_how_much_and_how_to_leave(
    ana: Chat, person: Person, zdns: Zdns
) -> None:
    for number in range(3):
        ana.do("post", text=f"m{number}")
    ana.until("message", seq=3)
    bo = person("bo", "--no-serve")
    assert bo.greeted() == [
        f"-- you are bo in backend.com (zdns at {zdns.address})",
        "-- ana serves; 3 messages so far; 2 here: ana, bo",
        "-- type a line and Enter to post it; /help lists the commands, /quit leaves",
    ]
    assert [bo.next().split(" ", 1)[1] for _ in range(3)] == ["ana: m0", "ana: m1", "ana: m2"]
    bo.enter("/q")
    assert bo.ends(0) == []
    assert bo.errors == []


def test_commands_do_what_the_help_says(ana: Chat, person: Person) -> None:
    bo = person("bo", "--no-serve")
    bo.greeted()
    for typed, *answers in (
        ("/help", "-- /who ", "-- /quit ", "-- The first letters"),
        ("/help msg", "-- /msg NICK TEXT", "-- Example: /msg ana", "-- Short: /m /tell"),
        ("/help keys", "-- Alt+Enter ", "-- Ctrl+_ "),
        ("/who", "-- 2 here: ana (serves) "),
        ("/nick ANA", "! the name 'ANA' is taken"),
        ("/nick zoe", "-- you are called zoe now"),
        ("/nick", "! Usage: /nick NAME"),
        ("kettle's on", " zoe: kettle's on"),
        ("/history", "-- message 1:", " zoe: kettle's on", "-- that is all"),
        ("/search KETTLE", "-- 1 message found", " zoe: kettle's on", "-- end"),
        ("/away tea", "-- you are away: tea"),
        ("/back", "-- you are back"),
        ("/msg ana psst", "[you -> ana] psst", "-- delivered to ana: psst"),
        ("@ana: hey", "[you -> ana] hey", "-- delivered to ana: hey"),
        ("@nobody hey", "! not delivered to nobody (not here): hey"),
        ("/topic", "-- there is no topic; /topic TEXT sets one"),
        ("/topic tea at five", "-- topic: tea at five (set by you)"),
        ("/topic", "-- topic: tea at five (set by you)"),
        ("/topic -", "-- you took the topic away"),
        ("/queue", "-- nothing of yours waits"),
        ("/reply hm", "! Not sent: nobody has told you anything in private yet. To begin: /msg NICK TEXT"),
        ("/clear", "! There is nothing to clear"),
        ("/close", "! There is nothing to close"),
        ("/set theme dark", "! /set belongs to the full-screen console"),
        ("/status", "-- service    backend.com", "-- served by  ana, epoch 1", "-- members    2: ana, zoe"),
        ("/handover", "! not handed over: nobody else is here that can take the server role; /status"),
    ):
        bo.enter(typed)
        for answer in answers:
            bo.until(answer)
    assert all(len(line) <= 80 for line in bo.lines if line.startswith("-- ")), "what is told fits a usual terminal"
    assert ana.until("private", state="received")["text"] == "psst"
    assert ana.until("private", state="received")["text"] == "hey"
    assert ana.until("member", state="away")["text"] == "tea"
    assert ana.texts() == ["kettle's on"]


def test_what_looks_like_a_command_is_never_sent_by_accident(ana: Chat, person: Person) -> None:
    bo = person("bo", "--no-serve")
    bo.greeted()
    for typed, answer in (
        ("/hsitory", "! Not sent: there is no command /hsitory. Did you mean /history?"),
        ("/x", "! Not sent: there is no command /x. /help lists them."),
        (" /who", "! Not sent: there is a blank in front of /who."),
        (" @ana hi", "! Not sent: there is a blank in front of @ana."),
        ("/s", "! Not sent: /s could be /search, /status or /set: type a letter more."),
        ("x" * 8193, "! Not sent: a text has at most 8,192 bytes, this one has 8,193"),
        ("x" * 1_000_000, "! Not sent: that is too long; a text has at most 8,192 bytes"),
        ("\udcff", "! This line is not proper text"),
        ("//x", " bo: /x"),
        ("@@x", " bo: @x"),
    ):
        bo.enter(typed)
        assert answer in bo.next()
    ana.until("message", seq=2)
    assert ana.texts() == ["/x", "@x"]


def test_an_action_is_a_text_that_says_so(ana: Chat, person: Person) -> None:
    bo = person("bo", "--no-serve")
    bo.greeted()
    bo.enter("/me waves")
    assert bo.next().endswith(" * bo waves")
    assert ana.shown(1)["text"] == "/me waves"
    ana.do("post", text="/me nods\ntwice")
    assert bo.next().endswith(" * ana nods")
    assert bo.next() == "      | twice"
    ana.do("tell", to="bo", text="/me winks")
    assert bo.next().endswith(" [ana -> you] * ana winks")


def test_a_reply_goes_to_who_told_something_last(ana: Chat, chat: Start, person: Person) -> None:
    cy = chat("cy", "--no-serve")
    cy.ready()
    bo = person("bo", "--no-serve")
    bo.greeted()
    for teller in (ana, cy, ana):
        teller.do("tell", to="bo", text="psst")
        name = "ana" if teller is ana else "cy"
        bo.until(f" [{name} -> you] psst")
        bo.enter("/r yes")
        bo.until(f"-- delivered to {name}: yes")
        assert teller.until("private", state="received")["text"] == "yes"


def test_who_is_ignored_is_not_heard_until_named_again(ana: Chat, person: Person) -> None:
    bo = person("bo", "--no-serve")
    bo.greeted()
    cy = person("cy", "--no-serve")
    cy.greeted()
    bo.until("-- cy joined")
    bo.enter("/ignore ANA")
    assert bo.next() == "-- what ANA says is not shown from now on; /ignore ANA again ends it"
    ana.do("post", text="do you hear me?")
    ana.do("tell", to="bo", text="and now?")
    assert ana.until("private", state="delivered")["to"] == "bo"
    cy.until(" ana: do you hear me?")
    cy.enter("I do")
    assert bo.next().endswith(" cy: I do")
    bo.enter("/history")
    assert bo.next() == "-- messages 1 to 2:"
    assert bo.next().endswith(" cy: I do")
    assert bo.next() == "-- 1 message of whom you ignore left out"
    bo.enter("/ignore ana")
    bo.until("-- what ana says is shown again")
    ana.do("post", text="hello again")
    assert bo.next().endswith(" ana: hello again")


def test_what_was_seen_is_exported_and_no_file_is_overwritten(ana: Chat, person: Person, tmp_path: Path) -> None:
    ana.do("post", text="one\ntwo")
    ana.until("message", seq=1)
    bo = person("bo", "--no-serve")
    bo.greeted()
    bo.until("two")
    bo.enter("/me waves")
    bo.until("* bo waves")
    bo.enter("/export tea.txt")
    assert bo.next() == f"-- 2 messages written to {tmp_path / 'tea.txt'}"
    lines = (tmp_path / "tea.txt").read_text().splitlines()
    assert [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d ", "DATE ", line) for line in lines] == [
        "DATE ana: one",
        "      | two",
        "DATE * bo waves",
    ]
    bo.enter("/export tea.txt")
    assert bo.next() == f"! Not exported: {tmp_path / 'tea.txt'} is there already; name another file."
    bo.enter("/export nowhere/tea.txt")
    assert bo.next() == f"! Not exported: {tmp_path / 'nowhere/tea.txt'} cannot be written (there is no such folder)."
    bo.enter("/export tea.jsonl")
    bo.until("-- 2 messages written")
    messages = [json.loads(line) for line in (tmp_path / "tea.jsonl").read_text().splitlines()]
    assert [(one["seq"], one["author"], one["text"]) for one in messages] == [
        (1, "ana", "one\ntwo"),
        (2, "bo", "/me waves"),
    ]


def test_a_handover_shows_nowhere_but_where_it_was_asked_for(ana: Chat, person: Person) -> None:
    bo, cy = person("bo"), person("cy", "--no-serve")
    bo.greeted()
    cy.greeted()
    standbys: list[str] = []
    while standbys != ["bo"]:
        ana.do("status")
        standbys = ana.until("status")["standbys"]
    cy.enter("before")
    cy.until(" cy: before")
    cy.enter("/handover bo")
    while "not handed over" in (told := cy.next()):
        cy.enter("/handover bo")
    assert told == "-- the server role was handed over"
    cy.enter("after")
    assert cy.next().endswith(" cy: after")
    cy.enter("/who")
    assert "bo (serves)" in cy.next()
    assert [line[6:] for line in (bo.until("before"), bo.next())] == ["cy: before", "cy: after"]


def test_with_min_n_it_says_whom_it_waits_with_and_when_the_chat_begins(person: Person) -> None:
    ana = person("ana", "-s", "-n", "2")
    assert "nobody else is here yet" in ana.greeted()[1]
    kept = "until then, posts are kept and shown to nobody"
    assert ana.next() == f"-- waiting: 1 of 2 here (ana); the chat begins with 2; {kept}"
    ana.enter("first")
    bo = person("bo", "--no-serve")
    assert ana.next() == "-- bo joined"
    assert ana.next() == "-- 2 are here: the chat begins"
    assert ana.next().endswith(" ana: first")
    bo.until(" ana: first")


def test_the_end_of_a_pipe_waits_until_all_is_committed(ana: Chat, zdns: Zdns, tmp_path: Path) -> None:
    texts = [f"line {number}" for number in range(200)]
    ended = run(tmp_path, *plain(zdns, "bo", "--no-serve")[3:], text="\n".join(texts))
    assert (ended.returncode, ended.stderr) == (0, "")
    ana.shown(200)
    assert ana.texts() == texts


def test_without_zdns_it_says_so_once_and_ends_with_69(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    with Terminal(relevo("chat", "--plain", "--dns", address), tmp_path, columns=200) as bo:
        bo.type("hello")  # while it is still trying
        ended = run(tmp_path, "chat", "--plain", "--dns", address, text="hello\n")
        bo.sees("> hello", f"-- not in backend.com yet, still trying (zdns at {address})")
        rows = bo.sees(f"relevo chat: cannot reach zdns at {address}")
        assert len([row for row in rows if "cannot reach" in row]) == 1
        assert bo.wait() == 69
        assert bo.current_settings() == bo.settings
    assert ended.returncode == 69
    assert ended.stdout in ("", f"-- not in backend.com yet, still trying (zdns at {address})\n")
    said = ended.stderr.removeprefix(LEAVING)
    assert said.startswith(f"relevo chat: cannot reach zdns at {address}")
    assert "Try: relevo dns" in said
    assert said.count("\n") == 1


def test_a_taken_name_is_said_once_and_ends_with_77(ana: Chat, zdns: Zdns, tmp_path: Path) -> None:
    ended = run(tmp_path, *plain(zdns, "Ana", "--no-serve")[3:], text="hello\n")
    assert (ended.returncode, ended.stdout) == (77, "")
    assert ended.stderr == ("relevo chat: the name 'Ana' is taken in backend.com; try another one with --name\n")
    assert ana.texts() == []


def test_what_others_write_never_acts_on_the_terminal(ana: Chat, person: Person) -> None:
    bo = person("bo", "--no-serve")
    bo.greeted()
    ana.do("post", text=f"{NASTY}\n20:00 cy: I never said this")
    assert bo.next().endswith(f" ana: {NASTY_SHOWN}")
    assert bo.next() == "      | 20:00 cy: I never said this"
    ana.do("tell", to="bo", text=NASTY)
    assert bo.next().endswith(f" [ana -> you] {NASTY_SHOWN}")
    ana.do("away", text=NASTY)
    assert bo.next() == f"-- ana is away: {NASTY_SHOWN}"
    bo.enter("/search evil")
    assert bo.next() == "-- 1 message found:"
    assert bo.next().endswith(f" ana: {NASTY_SHOWN}")


def test_signals_end_it_well(ana: Chat, person: Person) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        bo = person("bo", "--no-serve")
        bo.greeted()
        bo.popen.send_signal(number)
        assert bo.ends(0) == []
        assert bo.errors == []
        ana.until("member", name="bo", state="left")


# --- at a terminal ---------------------------------------------------------------------------------------------------


def spoken(rows: list[str]) -> list[str]:
    """The rows below the greeting; of messages without their time."""
    return [re.sub(r"^\d\d:\d\d ", "", row) for row in rows[3:]]


def test_a_half_typed_line_stays_as_it_is_while_others_talk(ana: Chat, terminal: AtTerminal) -> None:
    bo = terminal("bo", "--no-serve")
    bo.sees("-- you are bo", "-- type a line", ">")
    bo.type("see you at tin")
    bo.last("> see you at tin")
    for number in range(30):
        ana.do("post", text=f"talk {number}")
        bo.type((LEFT + BACKSPACE + "e", LEFT)[number > 0])  # each key comes between two messages
    ana.shown(30)
    rows = bo.sees("ana: talk 29")
    assert spoken(rows) == [*(f"ana: talk {number}" for number in range(30)), "> see you at ten"]
    assert "bo" not in {event["author"] for event in ana.seen if event["event"] == "message"}
    bo.until(lambda _rows: bo.cursor == (33, 2), "the cursor at the beginning")
    bo.enter("")
    assert ana.shown(31)["text"] == "see you at ten"
    bo.until(lambda rows: spoken(rows)[30:] == ["bo: see you at ten", ">"], "the own line once")


def test_an_own_line_appears_once_and_a_command_stays_above_its_answer(ana: Chat, terminal: AtTerminal) -> None:
    bo = terminal("bo", "--no-serve")
    bo.sees("-- type a line")
    talk: list[str] = []

    def is_seen(rows: list[str]) -> bool:
        return [FINGERPRINT.sub("", row) for row in spoken(rows)] == [*talk, ">"]

    for typed, *shown in (
        ("hello", "bo: hello"),
        ("/who", "> /who", "-- 2 here: ana (serves), bo"),
        (
            "/hepl",
            "> /hepl",
            "! Not sent: there is no command /hepl. Did you mean /help? To post it as text, begin with //.",
        ),
        ("@ana psst", "[you -> ana] psst", "-- delivered to ana: psst"),
        ("@nobody psst", "> @nobody psst", "! not delivered to nobody (not here): psst"),
        ("",),
    ):
        talk += shown
        bo.enter(typed)
        bo.until(is_seen, f"{shown}")
    bo.enter("x" * 9000)
    bo.until(lambda rows: "! Not sent: a text has at most 8,192 bytes, this one has 9,000." in rows[-2], "one error")
    bo.enter("y" * 20_000)
    bo.until(lambda rows: rows[-2].startswith("! Not sent: that is too long"), "one error")
    ana.shown(1)
    assert ana.texts() == ["hello"]


def test_lines_are_edited_recalled_completed_and_pasted(ana: Chat, terminal: AtTerminal, tmp_path: Path) -> None:
    (tmp_path / "tea-time").mkdir()
    (tmp_path / "tea-time" / "log of monday.txt").touch()
    bo = terminal("bo", "--no-serve", columns=40)
    bo.sees("leaves")
    bo.type("an" + TAB)
    bo.last("> ana:")
    bo.type("tea?" + ctrl("a") + "hey ")
    bo.enter("")
    bo.sees("bo: hey ana: tea?")
    bo.type("/h" + TAB)
    bo.last("-- /help  /history  /handover", "> /h")
    bo.type("is" + TAB)
    bo.last("> /history")
    bo.type(ctrl("u") + "/set th" + TAB + "d" + TAB)
    bo.last("> /set theme dark")
    bo.type(ctrl("u") + "/export tea-t" + TAB)
    bo.last("> /export tea-time/")
    bo.type("log" + TAB)
    bo.last("> /export tea-time/log of monday.txt")
    bo.type(ctrl("c") + UP)
    bo.last("> /export tea-time/log of monday.txt")
    bo.type(UP)
    bo.last("> hey ana: tea?")
    bo.type(ctrl("u") + f"{PASTE_BEGIN}one\ntwo\n{PASTE_END}")
    bo.last("> one↵two↵")
    bo.enter("")
    bo.sees("bo: one", "      | two")
    bo.type("a long line that does not fit the row of a small screen")
    bo.until(lambda rows: re.fullmatch("> ….*small screen", rows[-1]), "the end of the line")
    bo.resize(100, 50)
    bo.last("> a long line that does not fit the row of a small screen")
    bo.type(ctrl("l"))
    bo.until(lambda rows: rows == ["> a long line that does not fit the row of a small screen"], "the line alone")
    bo.enter("")
    bo.sees("bo: a long line")
    bo.enter("/clear")
    bo.until(lambda rows: rows == [">"], "a blank screen")
    assert ana.shown(3)["text"] == "a long line that does not fit the row of a small screen"
    assert ana.texts()[:2] == ["hey ana: tea?", "one\ntwo"]


def test_escape_sequences_of_others_never_reach_the_terminal(ana: Chat, terminal: AtTerminal) -> None:
    bo = terminal("bo", "--no-serve")
    bo.sees("-- type a line")
    ana.do("post", text=NASTY)
    bo.sees(f"ana: {NASTY_SHOWN}")
    ana.do("tell", to="bo", text=NASTY)
    bo.sees(f"[ana -> you] {NASTY_SHOWN}")
    bo.type(f"{PASTE_BEGIN}{NASTY.replace(chr(0x9B), '')}{PASTE_END}")
    bo.until(lambda rows: rows[-1].startswith("> ^[[31mred"), "the pasted text, harmless")
    assert b"\x1b[31m" not in bo.output
    assert b"\x1b]" not in bo.output
    assert b"\x07" not in bo.output


def test_ctrl_c_takes_back_a_half_typed_line_and_leaves_from_an_empty_one(ana: Chat, terminal: AtTerminal) -> None:
    bo = terminal("bo")
    bo.sees("-- type a line")
    assert bo.current_settings() != bo.settings
    bo.type("never mind" + ctrl("c"))
    bo.last(">")
    bo.type(ctrl("c"))
    assert bo.wait() == 0
    assert bo.current_settings() == bo.settings
    assert bo.output.endswith(b"\x1b[?2004l")
    assert spoken(bo.screen) == []
    assert bo.cursor == (3, 0)
    ana.until("member", name="bo", state="left")
    assert ana.texts() == []


def test_however_one_leaves_the_terminal_is_as_it_was(ana: Chat, terminal: AtTerminal) -> None:
    for seq, how in enumerate(("Ctrl+D", "/quit", "SIGTERM", "SIGHUP", "SIGINT"), start=1):
        bo = terminal("bo", "--no-serve")
        bo.sees("-- type a line")
        bo.enter(f"last words {how}")
        if how == "Ctrl+D":
            bo.type(ctrl("d"))
        elif how == "/quit":
            bo.enter(how)
        else:
            bo.type("half")
            bo.sees(f"bo: last words {how}", "> half")
            bo.signal(getattr(signal, how))
        assert bo.wait() == 0
        assert bo.current_settings() == bo.settings
        assert bo.cursor[1] == 0, "the shell's prompt begins a row"
        assert f"bo: last words {how}" in spoken(bo.screen)
        assert ana.shown(seq)["text"] == f"last words {how}"
        ana.until("member", name="bo", state="left")


def test_a_closed_window_leaves_like_any_other_way(ana: Chat, zdns: Zdns, tmp_path: Path) -> None:
    with Terminal(plain(zdns, "bo", "--no-serve"), tmp_path) as bo:
        bo.sees("-- type a line")
        bo.enter("last words")
        bo.type("half")
        bo.sees("bo: last words", "> half")
        bo.close()
        assert bo.popen.wait(PATIENCE_S) == 0
    assert ana.until("member", name="bo", state="left")
    assert ana.texts() == ["last words"]


def test_ctrl_z_gives_the_terminal_back_for_as_long_as_it_stands_still(ana: Chat, terminal: AtTerminal) -> None:
    bo = terminal("bo", "--no-serve")
    bo.sees("-- type a line")
    bo.type("half")
    bo.last("> half")
    bo.type(ctrl("z"))
    bo.until_stopped()
    assert bo.current_settings() == bo.settings
    bo.signal(signal.SIGCONT)
    bo.until_settings(lambda settings: settings != bo.settings)
    bo.type(" a line")
    bo.last("> half a line")
    bo.enter("")
    assert ana.until("message")["text"] == "half a line"


def test_a_terminal_that_can_do_nothing_gets_no_codes(ana: Chat, terminal: AtTerminal) -> None:
    bo = terminal("bo", "--no-serve", kind="dumb")
    bo.sees("-- type a line")
    bo.enter("hello")
    bo.sees("bo: hello")
    assert bo.current_settings() == bo.settings
    bo.type(ctrl("c"))
    assert bo.wait() == 0
    assert b"\x1b" not in bo.output
    assert ana.shown(1)["text"] == "hello"


# --- trouble ---------------------------------------------------------------------------------------------------------


def test_while_nobody_serves_lines_stay_in_sight_and_then_get_through(ana: Chat, terminal: AtTerminal) -> None:
    bo = terminal("bo", "--no-serve")
    bo.sees("-- type a line")
    ana.signal(signal.SIGSTOP)
    bo.sees("-- nobody serves backend.com now: its history was last held by ana")
    bo.enter("are you there?")
    bo.enter("@ana hello?")
    bo.enter("/queue")
    bo.sees("-- 2 texts of yours not through yet:", "--  1  queued: are you there?", "--     to ana: hello?")
    bo.type("half")
    bo.last("> are you there?", "> half")
    ana.signal(signal.SIGCONT)
    bo.last("> half")
    rows = bo.sees("bo: are you there?", "-- there is a server again", "-- delivered to ana: hello?")
    assert len([row for row in rows if "bo: are you there?" in row]) == 1
    assert len([row for row in rows if "nobody serves" in row]) == 1
    assert ana.shown(1)["text"] == "are you there?"
    bo.type(ctrl("u"))
    bo.enter("/queue")
    bo.last("-- nothing of yours waits", ">")


def test_who_leaves_while_nobody_serves_is_told_what_became_of_it(ana: Chat, terminal: AtTerminal) -> None:
    bo = terminal("bo", "--no-serve")
    bo.sees("-- type a line")
    ana.kill()
    bo.sees("-- nobody serves")
    bo.enter("hello?")
    bo.type(ctrl("d"))
    bo.sees("-- waiting for 1 line of yours to get through; Ctrl+C leaves at once")
    bo.type("too late")
    bo.type(ctrl("c"))
    assert bo.wait() == 75
    assert "relevo chat: 1 text of yours not acknowledged in time" in " ".join(bo.screen)
    assert "too late" not in " ".join(bo.screen)
    assert bo.current_settings() == bo.settings


def test_without_zdns_people_who_are_in_stay_in_and_see_nothing_of_it(ana: Chat, person: Person, zdns: Zdns) -> None:
    bo = person("bo", "--no-serve")
    bo.greeted()
    zdns.kill()
    ana.do("post", text="still here")
    assert bo.next().endswith(" ana: still here")
    bo.enter("me too")
    assert bo.next().endswith(" bo: me too")
    bo.enter("/status")
    assert bo.next() == "-- service    backend.com"
    bo.enter("/quit")
    assert not [line for line in bo.ends(0) if line.startswith("!")]


def test_a_signal_before_being_in_ends_it_with_130(tmp_path: Path) -> None:
    with Terminal(relevo("chat", "--plain", "--dns", f"127.0.0.1:{free_port()}"), tmp_path) as bo:
        bo.last(">")
        bo.type(ctrl("c"))
        assert bo.wait() == 130
        assert bo.current_settings() == bo.settings
        assert b"Traceback" not in bo.output
