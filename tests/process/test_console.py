"""The full-screen console as people use it: at a real terminal, with real participants."""

import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.processes import LEAVING, PATIENCE_S, Chat, Zdns, free_port, hand_over, relevo
from tests.support.terminal import (
    END,
    ENTER,
    ESCAPE,
    FOCUS_IN,
    FOCUS_OUT,
    LEFT,
    PAGE_UP,
    PASTE_BEGIN,
    PASTE_END,
    UP,
    Terminal,
    alt,
    ctrl,
)

Start = Callable[..., Chat]
AtTerminal = Callable[..., Terminal]


def console(dns: str, name: str, *options: str) -> list[str]:
    """The command line of a console."""
    return relevo("chat", "--dns", dns, "--bind", "127.0.0.1", "--name", name, *options)


@pytest.fixture
def terminal(tmp_path: Path, zdns: Zdns) -> Iterator[AtTerminal]:
    """Starts consoles. At the end each terminal is as it was, and no traceback was ever seen there."""
    with ExitStack() as stack:
        started: list[Terminal] = []

        def start(name: str = "bo", *options: str, **more: object) -> Terminal:
            size = {"columns": 100, "rows": 24, **more}
            command = size.pop("command", None) or console(zdns.address, name, *options)
            made = Terminal(command, tmp_path, **size)  # type: ignore[arg-type]
            started.append(stack.enter_context(made))
            return made

        yield start
        for one in started:
            if one.popen.poll() is None:
                one.signal(signal.SIGTERM)
                assert one.wait() == 0
            assert one.current_settings() == one.settings
            assert one.modes == set()
            assert one.output.rfind(b"\x1b[?25h") >= one.output.rfind(b"\x1b[?25l"), "the cursor is seen again"
            assert b"Traceback" not in one.output


@pytest.fixture
def ana(chat: Start) -> Chat:
    """Serves, and keeps the role."""
    serving = chat("ana", "-s", "--term", "0")
    serving.ready()
    return serving


def rows_of(screen: list[str], text: str) -> list[int]:
    return [number for number, row in enumerate(screen) if text in row]


def status(screen: list[str]) -> str:
    """The status line: the row above the input, which has a line of its own here."""
    return screen[-2]


def say(person: Chat, *texts: str) -> None:
    """Post, and wait until all is committed."""
    for text in texts:
        person.do("post", text=text, tag=text)
    person.until("posted", tag=texts[-1])


# --- first run -------------------------------------------------------------------------------------------------------


def test_the_first_screen_greets_and_is_joined(ana: Chat, terminal: AtTerminal, zdns: Zdns) -> None:
    say(ana, "good morning")
    bo = terminal()
    screen = bo.sees("you are bo in backend.com", "good morning")
    assert f"(zdns at {zdns.address})" in "".join(row[20:75].strip() for row in screen)
    assert rows_of(screen, "ana serves; 1 message so far; 2 here: ana, bo")
    assert rows_of(screen, "good morning") < rows_of(screen, "you are bo")
    bo.until(lambda rows: "2 here │ ana serves" in status(rows), "who serves on the status line")
    bo.sees("◆  ana", "bo (you)")
    assert bo.modes == {"alternate screen", "bracketed paste", "focus reports"}
    bo.enter("/quit")
    assert bo.wait() == 0
    assert bo.afterwards.removeprefix(LEAVING) == ""


@pytest.mark.usefixtures("ana")
def test_a_taken_name_is_said_on_the_normal_screen(terminal: AtTerminal) -> None:
    other = terminal("ana")
    assert other.wait() == 77
    said = other.afterwards.removeprefix(LEAVING)
    assert said.startswith("relevo chat: ")
    assert said.count("\n") == 1
    assert "ana" in said


def test_without_zdns_it_says_so_goes_on_and_joins_when_there_is_one(tmp_path: Path) -> None:
    port = free_port()
    with Terminal(console(f"127.0.0.1:{port}", "bo"), tmp_path, columns=100, rows=24) as bo:
        bo.sees(f"127.0.0.1:{port}", "still trying")
        bo.until(lambda rows: "not in yet" in status(rows), "that we are not in")
        bo.type("typed meanwhile")
        with Zdns(tmp_path, port=port):
            screen = bo.sees("you are bo in backend.com")
            assert screen[-1] == "> typed meanwhile"
            bo.until(lambda rows: "bo serves" in status(rows), "who serves")
            bo.type(ENTER)
            bo.sees("typed meanwhile ✓")
            bo.enter("/quit")
            assert bo.wait() == 0
        assert bo.current_settings() == bo.settings


# --- typing while the room moves -------------------------------------------------------------------------------------


def test_a_handover_leaves_the_log_and_the_half_typed_line_alone(ana: Chat, chat: Start, terminal: AtTerminal) -> None:
    cy = chat("cy", "--term", "0")
    cy.ready()
    bo = terminal("bo", "--no-serve")
    bo.sees("you are bo")
    say(ana, "before")
    bo.sees("before")
    bo.type("half-typed")
    screen = bo.until(lambda rows: rows[-1] == "> half-typed" and "ana serves e1" in status(rows), "it all")
    log = [row[:79] for row in screen[:-2]]
    hand_over(ana, "cy")
    screen = bo.until(lambda rows: "cy serves e2" in status(rows), "the new server")
    assert [row[:79] for row in screen[:-2]] == log
    assert screen[-1] == "> half-typed"
    bo.type(" and finished" + ENTER)
    bo.sees("half-typed and finished ✓")
    assert ana.until("message", text="half-typed and finished")["author"] == "bo"


def test_when_the_server_is_killed_what_is_typed_and_entered_waits(
    ana: Chat, chat: Start, terminal: AtTerminal
) -> None:
    bo = terminal("bo", "--no-serve")
    bo.sees("you are bo")
    bo.type("a dra")
    bo.until(lambda rows: rows[-1] == "> a dra", "the draft")
    ana.kill()
    bo.until(lambda rows: "no server" in status(rows), "that there is none")
    bo.type("ft" + ENTER)
    bo.sees("a draft …")
    bo.until(lambda rows: "1 queued" in status(rows), "that one waits")
    bo.type("the next")
    # Whoever begins anew gives the room another history; what waited is posted there.
    cy = chat("cy", "--fresh")
    cy.ready()
    assert cy.until("message", author="bo")["text"] == "a draft"
    screen = bo.sees("a draft ✓")
    assert screen[-1] == "> the next"
    assert len(rows_of(screen, "a draft")) == 1


def test_a_killed_server_that_handed_over_before_is_not_missed(ana: Chat, chat: Start, terminal: AtTerminal) -> None:
    cy = chat("cy", "--term", "0")
    cy.ready()
    bo = terminal("bo", "--no-serve")
    bo.sees("you are bo")
    say(ana, "kept")
    hand_over(ana, "cy")
    bo.type("nothing is ")
    ana.kill()
    bo.type("lost" + ENTER)
    bo.sees("nothing is lost ✓", "kept")
    assert cy.until("message", author="bo")["text"] == "nothing is lost"


# --- writing ---------------------------------------------------------------------------------------------------------


def test_a_paste_of_many_lines_asks_and_is_one_message(ana: Chat, terminal: AtTerminal) -> None:
    bo = terminal()
    bo.sees("you are bo")
    lines = [f"line {number}" for number in range(1, 8)]
    bo.type(f"{PASTE_BEGIN}{ENTER.join(lines)}{PASTE_END}")
    screen = bo.sees("Paste 7 lines as one message? Enter or Ctrl+Y yes, Esc or Ctrl+N no")
    assert screen[-7:] == ["> line 1", *(f"  line {number}" for number in range(2, 8))]
    bo.type("n")
    bo.until(lambda rows: rows[-1] == ">", "the empty input")
    bo.type(f"{PASTE_BEGIN}{ENTER.join(lines)}{PASTE_END}")
    bo.sees("Paste 7 lines as one message?")
    bo.type(ctrl("y"))
    bo.until(lambda rows: not rows_of(rows, "Paste 7 lines"), "no question")
    bo.type(ENTER)
    assert ana.until("message", author="bo")["text"] == "\n".join(lines)
    bo.type(f"{PASTE_BEGIN}two\rlines\r{PASTE_END}")
    bo.until(lambda rows: rows[-2:] == ["> two", "  lines"], "a paste that needs no question")
    bo.type(ENTER)
    assert ana.until("message", author="bo")["text"] == "two\nlines"


@pytest.mark.usefixtures("ana")
def test_a_question_about_a_paste_is_answered_by_enter_and_escape_too(terminal: AtTerminal) -> None:
    bo = terminal()
    bo.sees("you are bo")
    for key in (ESCAPE, ENTER):
        bo.type(f"{PASTE_BEGIN}a\rb\rc\rd\r{PASTE_END}")
        bo.sees("Paste 4 lines as one message?")
        bo.type(key)
        bo.until(lambda rows: not rows_of(rows, "Paste 4 lines"), "no question")
        assert bo.screen[-1] == (">" if key == ESCAPE else "  d")


def test_pasted_keys_do_nothing(ana: Chat, terminal: AtTerminal) -> None:
    bo = terminal()
    bo.sees("you are bo")
    bo.type(f"{PASTE_BEGIN}a\x03b\x1b[A\x1b5~{PASTE_END}!")
    bo.until(lambda rows: rows[-1] == "> a␃b␛[A␛5~!", "what was pasted")
    bo.type(ENTER)
    assert ana.until("message", author="bo")["text"] == "a\x03b\x1b[A\x1b5~!"
    bo.sees("a^Cb^[[A^[5~!")


def test_a_paste_without_room_changes_nothing(ana: Chat, terminal: AtTerminal) -> None:
    bo = terminal()
    bo.sees("you are bo")
    bo.type(f"a{PASTE_BEGIN}{'far too much ' * 6_000}{PASTE_END}b")
    screen = bo.until(lambda rows: rows[-1] == "> ab", "what was typed alone")
    assert not rows_of(screen, "far too much")
    bo.type(f"{PASTE_BEGIN}c{PASTE_END}" + ENTER)
    assert ana.until("message", author="bo")["text"] == "abc"


def test_ctrl_c_clears_a_line_and_twice_on_an_empty_one_leaves(ana: Chat, terminal: AtTerminal) -> None:
    bo = terminal()
    bo.sees("you are bo")
    bo.type("never mind")
    bo.until(lambda rows: rows[-1] == "> never mind", "the line")
    bo.type(ctrl("c"))
    bo.until(lambda rows: rows[-1] == ">", "no line")
    bo.type(UP)
    bo.until(lambda rows: rows[-1] == "> never mind", "the line again")
    bo.type(ctrl("c"))
    bo.until(lambda rows: rows[-1] == ">", "no line")
    bo.type(ctrl("c"))
    bo.sees("Ctrl+C once more leaves")
    bo.type(ctrl("c"))
    assert bo.wait() == 0
    ana.until("member", name="bo", state="left")


def test_editing_keys_recall_and_completion(ana: Chat, terminal: AtTerminal) -> None:
    bo = terminal()
    bo.sees("you are bo", "ana")
    bo.enter("hello")
    bo.sees("hello ✓")
    bo.type(UP + " again" + alt(ENTER) + "second row")
    bo.until(lambda rows: rows[-2:] == ["> hello again", "  second row"], "two rows")
    bo.type(ctrl("u") + ctrl("w") + ENTER)
    assert ana.until("message", author="bo", text="hello")["seq"]
    bo.type(ctrl("c") + "an\t")
    bo.until(lambda rows: rows[-1] == "> ana:", "the nick")
    bo.type(ctrl("c") + "/nonsense" + ENTER)
    bo.sees("there is no command /nonsense")
    assert bo.screen[-1] == "> /nonsense"


@pytest.mark.usefixtures("ana")
def test_escape_does_not_swallow_what_is_typed_right_behind_it(terminal: AtTerminal) -> None:
    bo = terminal()
    bo.sees("you are bo")
    bo.type(ESCAPE + "x" + ESCAPE + "é")
    bo.until(lambda rows: rows[-1] == "> xé", "both")
    bo.type(ctrl("c") + ESCAPE + "/quit" + ENTER)
    assert bo.wait() == 0


# --- reading ---------------------------------------------------------------------------------------------------------


def test_what_is_read_stays_in_its_place_while_messages_come_and_when_the_window_changes(
    ana: Chat, terminal: AtTerminal
) -> None:
    say(ana, *(f"message {number}." for number in range(1, 61)))
    bo = terminal()
    bo.sees("you are bo")
    bo.type(PAGE_UP)
    before = bo.until(lambda rows: "MORE(" in status(rows), "that there is more")
    top = before[0][21:].split("│")[0].strip()
    say(ana, *(f"message {number}." for number in range(61, 64)))
    after = bo.until(lambda rows: status(rows) != status(before) and "MORE(" in status(rows), "a greater number")
    assert after[:-2] == before[:-2]
    bo.resize(60, 30)
    bo.until(lambda rows: len(rows) == 30 and rows_of(rows, top), "the same line on another screen")
    bo.resize(100, 24)
    bo.until(lambda rows: len(rows) == 24 and top in rows[0], "the same line at the top")
    bo.type(END)
    bo.until(lambda rows: rows_of(rows, "message 63.") and "MORE" not in status(rows), "the end")


def test_end_goes_to_the_end_of_what_is_typed_and_then_to_the_newest_line(ana: Chat, terminal: AtTerminal) -> None:
    say(ana, *(f"message {number}." for number in range(1, 61)))
    bo = terminal()
    bo.sees("you are bo")
    bo.type("typed" + LEFT + LEFT + PAGE_UP)
    bo.until(lambda rows: "MORE(" in status(rows) and bo.cursor[1] == len("> typ"), "the cursor in the line")
    bo.type(END)
    bo.until(lambda rows: "MORE(" in status(rows) and bo.cursor[1] == len("> typed"), "the cursor at its end")
    bo.type(END)
    bo.until(lambda rows: "MORE" not in status(rows) and rows[-1] == "> typed", "the end")


def test_older_messages_are_fetched_as_one_scrolls(ana: Chat, terminal: AtTerminal) -> None:
    texts = [f"message {number}." for number in range(1, 321)]
    for start in range(0, 320, 40):
        say(ana, *texts[start : start + 40])
    bo = terminal()
    bo.sees("you are bo", "message 320.")

    def climbed(rows: list[str]) -> bool:
        if rows_of(rows, "message 1."):
            return True
        bo.type(PAGE_UP)
        return False

    bo.until(climbed, "the first message")
    bo.type(END)
    bo.sees("message 320.")


def test_a_search_shows_what_it_found_and_goes_there(ana: Chat, terminal: AtTerminal) -> None:
    say(ana, "the needle", *(f"hay {number}." for number in range(1, 60)), "another needle")
    bo = terminal()
    bo.sees("you are bo")
    bo.enter("/search needle")
    screen = bo.sees("Enter goes there, Esc closes; 2 in the room with 'needle'")
    assert any(row.startswith("› ") and "another needle" in row for row in screen)
    bo.type(UP)
    bo.until(lambda rows: any(row.startswith("› ") and "the needle" in row for row in rows), "the other one marked")
    bo.type(ENTER)
    bo.until(lambda rows: rows_of(rows, "» the needle") and not rows_of(rows, "Esc closes"), "the message in its place")
    bo.enter("/search nowhere")
    bo.sees("nothing found for nowhere")


def test_a_private_talk_has_a_page_and_says_what_was_delivered(ana: Chat, terminal: AtTerminal) -> None:
    bo = terminal()
    bo.sees("you are bo")
    bo.enter("/msg ana a secret")
    screen = bo.sees("a secret ✓✓")
    assert screen[-1] == "ana>"
    assert ana.until("private", state="received")["text"] == "a secret"
    bo.type("and a draft" + alt("1"))
    bo.until(lambda rows: rows[-1] == ">", "the room")
    ana.do("tell", to="bo", text="an answer", tag=1)
    bo.until(lambda rows: "+2:ana(1)" in status(rows), "that something is there")
    bo.type(alt("a"))
    screen = bo.sees("an answer")
    assert screen[-1] == "ana> and a draft"
    bo.type(ENTER)
    assert ana.until("private", state="received", text="and a draft")["from"] == "bo"


def test_what_comes_while_nobody_looks_is_below_a_rule_and_rings(ana: Chat, terminal: AtTerminal) -> None:
    bo = terminal()
    bo.sees("you are bo")
    bo.type(FOCUS_OUT)
    bo.resize(100, 26)  # what was typed before is read before it is drawn so
    bo.until(lambda rows: len(rows) == 26, "another size")
    bells = bo.output.count(b"\x07")
    say(ana, "bo: are you there?")
    screen = bo.sees("» bo: are you there?")
    assert "── unread" in screen[rows_of(screen, "are you there")[0] - 1]
    assert "1 new" in status(screen)
    assert bo.output.count(b"\x07") == bells + 1
    bo.type(FOCUS_IN)
    bo.until(lambda rows: "1 new" not in status(rows), "that it was read")


def test_an_export_is_written_and_never_over_another_file(ana: Chat, terminal: AtTerminal, tmp_path: Path) -> None:
    say(ana, "one", "two")
    bo = terminal()
    bo.sees("you are bo")
    bo.enter("/export talk.txt")
    bo.sees("2 messages written to")
    assert [line.rpartition(": ")[2] for line in (tmp_path / "talk.txt").read_text().splitlines()] == ["one", "two"]
    bo.enter("/export talk.txt")
    bo.until(lambda rows: "is there already" in " ".join(row[20:79].strip() for row in rows), "that it is there")


# --- the terminal ----------------------------------------------------------------------------------------------------

CRASH = """
import sys
from ui import cli
from ui.model import Model
from ui.view import View

whole = {place}

def failing(one, *others):
    if {when}:
        raise RuntimeError("planted")
    return whole(one, *others)

{place} = failing
sys.exit(cli.main(sys.argv[1:]))
"""


# In the drawing of a key; in a timer; where notices come in; in the first drawing.
@pytest.mark.parametrize("place", ["View.draw", "Model.tick", "Model.fold", "View.status_pieces"])
@pytest.mark.usefixtures("ana")
def test_a_crash_gives_the_terminal_back_and_says_one_sentence(terminal: AtTerminal, zdns: Zdns, place: str) -> None:
    when = "'crash' in one.editor.text" if place == "View.draw" else "True"
    script = CRASH.replace("{place}", place).replace("{when}", when)
    bo = terminal(command=[sys.executable, "-c", script, *console(zdns.address, "bo")[3:]])
    if place == "View.draw":
        bo.sees("you are bo")
        bo.type("now crash")
    assert bo.wait() == 70
    said = bo.afterwards.removeprefix(LEAVING)
    sentence = re.fullmatch(r"relevo chat: internal error \(RuntimeError\); the details are in (.*)\n", said)
    assert sentence, said
    assert "planted" in Path(sentence[1]).read_text()


def test_the_screen_can_be_drawn_anew(ana: Chat, terminal: AtTerminal) -> None:
    bo = terminal()
    bo.sees("you are bo", "ana")
    seen = len(bo.output)
    bo.type(ctrl("l"))
    bo.until(lambda _: b"you are bo" in bo.output[seen:], "all of it again")
    assert ana.popen.poll() is None


def test_it_can_be_suspended_and_goes_on(ana: Chat, terminal: AtTerminal) -> None:
    # A shell with job control, as the first process of the terminal.
    shell = terminal(command=["/bin/bash", "--norc", "--noprofile", "-i"], variables={"PS1": "shell$ "})
    shell.sees("shell$")
    cooked = shell.current_settings()
    shell.enter(" ".join(console(ana.command[ana.command.index("--dns") + 1], "bo")))
    shell.sees("you are bo")
    shell.type("half-typed" + ctrl("z"))
    shell.until(lambda _: "Stopped" in shell.afterwards, "the shell")
    assert shell.modes <= {"bracketed paste"}  # the shell's own
    shell.until_settings(lambda settings: settings[3] == cooked[3])
    say(ana, "meanwhile")
    shell.enter("fg")
    screen = shell.sees("you are bo", "half-typed", "meanwhile")
    assert screen[-1] == "> half-typed"
    shell.type(" and on" + ENTER)
    shell.sees("half-typed and on ✓")
    shell.enter("/quit")
    shell.until(lambda _: shell.afterwards.endswith("shell$ "), "the shell again")
    shell.enter("exit")
    assert shell.wait() == 0


@pytest.mark.usefixtures("ana")
def test_a_stop_and_a_continue_from_outside_draw_it_again(terminal: AtTerminal) -> None:
    bo = terminal()
    bo.sees("you are bo")
    bo.signal(signal.SIGSTOP)
    bo.until_stopped()
    seen = len(bo.output)
    bo.signal(signal.SIGCONT)
    bo.until(lambda _: b"you are bo" in bo.output[seen:], "all of it again")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_leave_like_quit(ana: Chat, terminal: AtTerminal, number: int) -> None:
    bo = terminal()
    bo.sees("you are bo")
    bo.type("half-typed")
    bo.signal(number)
    assert bo.wait() == 0
    ana.until("member", name="bo", state="left")


def test_a_window_that_is_closed_leaves_the_room(ana: Chat, tmp_path: Path, zdns: Zdns) -> None:
    with Terminal(console(zdns.address, "bo"), tmp_path, columns=100, rows=24) as bo:
        bo.sees("you are bo")
        bo.close()
        ana.until("member", name="bo", state="left")
        assert bo.popen.wait(60) == 0


COLOURS = re.compile(rb"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7]|4[0-7]|10[0-7]|38|48)(?:;\d+)*m")


@pytest.mark.usefixtures("ana")
def test_no_color_means_no_colour_codes(terminal: AtTerminal) -> None:
    plain = terminal("bo", variables={"NO_COLOR": "1"})
    plain.sees("you are bo", "ana")
    coloured = terminal("cy", kind="xterm-256color")
    coloured.sees("you are cy", "ana")
    plain.sees("cy")
    assert not COLOURS.search(plain.output)
    assert COLOURS.search(coloured.output)


def test_a_locale_without_more_than_ascii_gets_ascii(ana: Chat, terminal: AtTerminal) -> None:
    say(ana, "日本 é …")
    bo = terminal("bo", variables={"LC_ALL": "C"})
    screen = bo.sees("you are bo", "?? ? ...", "*  ana")
    assert "|" in status(screen)
    bo.enter("mine")
    bo.sees("mine +")
    assert bo.output.isascii()


@pytest.mark.parametrize(
    ("locale", "typed"), [("C", "é日"), ("de_DE.ISO-8859-1", "é日"), ("de_DE.ISO-8859-1", "\udce9")]
)
def test_characters_are_read_as_the_terminal_sends_them(
    ana: Chat, terminal: AtTerminal, locale: str, typed: str
) -> None:
    bo = terminal("bo", variables={"LC_ALL": locale})
    bo.sees("you are bo")
    bo.type(typed + ENTER)
    meant = "é" if typed == "\udce9" else typed
    assert ana.until("message", author="bo")["text"] == meant
    bo.type(f"{PASTE_BEGIN}pasted {typed}{PASTE_END}" + ENTER)
    assert ana.until("message", author="bo")["text"] == f"pasted {meant}"


def test_what_is_no_character_is_left_out_with_a_word_about_it(ana: Chat, terminal: AtTerminal) -> None:
    bo = terminal("bo", variables={"LC_ALL": "C"})
    bo.sees("you are bo")
    bo.type("caf\udce9")
    bo.sees("does not send UTF-8")
    bo.type("s")
    bo.until(lambda rows: rows[-1] == "> cafs" and not rows_of(rows, "UTF-8"), "no word about it")
    bo.type(f"{PASTE_BEGIN} and th\udce9s{PASTE_END}")
    bo.sees("> cafs and ths", "does not send UTF-8")
    bo.type(ENTER)
    assert ana.until("message", author="bo")["text"] == "cafs and ths"


def test_the_mouse_is_the_terminals_until_it_is_asked_for(ana: Chat, terminal: AtTerminal) -> None:
    say(ana, *(f"message {number}." for number in range(1, 41)))
    bo = terminal()
    bo.sees("you are bo")
    assert "mouse" not in bo.modes
    bo.enter("/set mouse on")
    bo.until(lambda _: "mouse" in bo.modes, "the mouse")
    bo.type("\x1b[<64;10;5M")
    bo.until(lambda rows: "MORE(" in status(rows) or rows_of(rows, "MORE("), "an earlier part")
    bo.type(alt("m"))
    bo.until(lambda _: "mouse" not in bo.modes, "no mouse")


@pytest.mark.usefixtures("ana")
def test_settings_change_while_it_runs(terminal: AtTerminal) -> None:
    bo = terminal()
    bo.sees("you are bo", "│")
    bo.enter("/set ascii yes")
    bo.until(lambda rows: not rows_of(rows, "│") and rows_of(rows, "|"), "plain signs")
    bo.type("\x1b[19~")
    bo.until(lambda rows: not rows_of(rows, "(you)"), "no members")


# --- the log as plain text -------------------------------------------------------------------------------------------

NOTE = "any key returns to the chat"
URL = "https://example.org/" + "a" * 200


def bare(person: Terminal) -> list[str]:
    """Have the log as plain text; returns its lines."""
    person.type(alt("l"))
    person.until(lambda _: person.afterwards.endswith(NOTE), "the note")
    return person.afterwards.replace("\r", "").split("\n")


def test_the_log_as_plain_text_has_whole_links_and_any_key_returns(ana: Chat, terminal: AtTerminal) -> None:
    say(ana, f"see {URL}", "one\ntwo\x1b[2J")
    bo = terminal()
    bo.sees("two^[[2J", "bo (you)")
    for number, key in enumerate(
        ("x", ctrl("c"), ESCAPE, alt("q"), alt("l"), f"{PASTE_BEGIN}pasted{PASTE_END}", ENTER)
    ):
        lines = bare(bo)
        assert any(re.fullmatch(rf"\d\d:\d\d ana: see {URL}", line) for line in lines)
        first = next(number for number, line in enumerate(lines) if line.endswith("ana: one"))
        assert lines[first + 1] == "      two^[[2J"
        assert "alternate screen" not in bo.modes
        say(ana, f"meanwhile {number}")
        bo.resize(90, 24)
        bo.type(FOCUS_OUT + FOCUS_IN + key)
        bo.until(lambda rows: rows[-1] == ">" and "ana serves" in status(rows), "the chat")
        bo.sees(f"meanwhile {number}")
        assert "alternate screen" in bo.modes
        shown = bo.output.rpartition(NOTE.encode())[2]
        assert shown.startswith(b"\r\x1b[K\x1b[?1049h"), "nothing was drawn meanwhile, and the note is gone"
        bo.resize(100, 24)
    bo.type("still here" + ENTER)
    assert ana.until("message", author="bo")["text"] == "still here"


def test_one_can_leave_from_the_plain_text(ana: Chat, terminal: AtTerminal) -> None:
    bo = terminal()
    bo.sees("you are bo")
    bare(bo)
    bo.signal(signal.SIGTERM)
    assert bo.wait() == 0
    assert bo.afterwards.removeprefix(LEAVING) == ""
    assert b"\r\x1b[K\x1b[?1049h" in bo.output.rpartition(NOTE.encode())[2], "behind what was printed"
    ana.until("member", name="bo", state="left")


def test_a_crash_under_the_plain_text_gives_the_terminal_back(ana: Chat, terminal: AtTerminal, zdns: Zdns) -> None:
    script = CRASH.replace("{place}", "Model.fold").replace("{when}", "one.is_bare")
    bo = terminal(command=[sys.executable, "-c", script, *console(zdns.address, "bo")[3:]])
    bo.sees("you are bo")
    bare(bo)
    say(ana, "now crash")
    assert bo.wait() == 70
    assert bo.afterwards.removeprefix(LEAVING).startswith("relevo chat: internal error (RuntimeError)")


def test_the_plain_text_can_be_suspended(ana: Chat, terminal: AtTerminal) -> None:
    shell = terminal(command=["/bin/bash", "--norc", "--noprofile", "-i"], variables={"PS1": "shell$ "})
    shell.sees("shell$")
    shell.enter(" ".join(console(ana.command[ana.command.index("--dns") + 1], "bo")))
    shell.sees("you are bo")
    bare(shell)
    shell.type(ctrl("z"))
    shell.until(lambda _: "Stopped" in shell.afterwards, "the shell")
    say(ana, "meanwhile")
    shell.enter("fg")
    shell.sees("meanwhile", "backend.com │ bo")
    shell.enter("/quit")
    shell.until(lambda _: shell.afterwards.endswith("shell$ "), "the shell again")
    shell.enter("exit")
    assert shell.wait() == 0


# --- a terminal that does not read -----------------------------------------------------------------------------------


# More than a terminal takes that has been stuffed.
SCREENS = [f"{number}. " + "far too much " * 100 for number in range(40)]


def test_a_terminal_that_does_not_read_keeps_nobody_from_the_room(ana: Chat, terminal: AtTerminal) -> None:
    bo = terminal(columns=200, rows=60)
    bo.sees("you are bo")
    bo.stuff()
    say(ana, *SCREENS)
    bo.type_unread("still here" + ENTER)
    assert ana.until("message", text="still here")["author"] == "bo"
    say(ana, *SCREENS, "good to know")
    for _ in range(50):
        bo.type_unread(ctrl("l"))
        say(ana, "and so on")
    say(ana, "that is all")
    bo.type_unread("a draft")
    ana.do("who")
    assert {one["name"]: one["state"] for one in ana.until("members")["members"]} == {"ana": "here", "bo": "here"}
    seen = len(bo.output)
    bo.until(lambda rows: rows[-1] == "> a draft" and rows_of(rows, "good to know"), "the draft")
    screen = bo.sees("and so on", "that is all", "bo (you)")
    assert len(bo.output.replace(b"\0", b"")) - seen < 100_000, "what was old by then is not kept"
    seen = len(bo.output)
    bo.type(ctrl("l"))
    bo.until(lambda _: b"good to know" in bo.output[seen:], "all of it again")
    assert bo.until(lambda rows: rows[-1] == "> a draft", "the draft")[:-2] == screen[:-2]


def test_a_terminal_that_reads_again_as_one_leaves_is_given_back(ana: Chat, terminal: AtTerminal) -> None:
    bo = terminal(columns=200, rows=60)
    bo.sees("you are bo")
    bo.stuff()
    say(ana, *SCREENS)
    bo.type_unread("still here" + ENTER)
    ana.until("message", text="still here")
    bo.signal(signal.SIGTERM)
    assert bo.wait() == 0
    assert "alternate screen" not in bo.modes


def test_one_leaves_though_the_terminal_does_not_read(ana: Chat, tmp_path: Path, zdns: Zdns) -> None:
    with Terminal(console(zdns.address, "bo"), tmp_path, columns=200, rows=60) as bo:
        bo.sees("you are bo")
        bo.stuff()
        say(ana, *SCREENS)
        bo.type_unread("still here" + ENTER)
        ana.until("message", text="still here")
        bo.signal(signal.SIGTERM)
        assert bo.popen.wait(PATIENCE_S) == 0
        assert bo.current_settings() == bo.settings
        ana.until("member", name="bo", state="left")


@pytest.mark.usefixtures("ana")
def test_plain_lines_are_a_flag_away(terminal: AtTerminal) -> None:
    bo = terminal("bo", "--plain")
    bo.sees("-- you are bo")
    bo.type(ESCAPE + "typed")
    bo.sees("> typed")
    assert bo.modes == {"bracketed paste"}
