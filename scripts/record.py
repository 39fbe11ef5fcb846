"""Record a real session at a real terminal: pictures for the README, a film, and an asciicast.

Run it as `.venv/bin/python scripts/record.py`. It starts zdns and three participants on the loopback, types as one of
them, and writes into docs/pictures.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pyte

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts import drawing  # noqa: E402  # the line above makes it found
from tests.support.processes import Chat, Zdns, relevo  # noqa: E402  # likewise
from tests.support.terminal import ENTER, Terminal, ctrl  # noqa: E402  # likewise

COLUMNS, ROWS = 100, 21
FRAME_S = 0.08  # what changes within this time is one frame
PAUSE_MAX_S = 2.5  # nobody looks at a film that stands still for longer
TYPING_S = 0.07
TERM_S = "9"  # between two handovers, so that one is to be seen


class Recorded(Terminal):
    """A terminal that remembers when what came out."""

    def __init__(self, command: list[str], home: Path) -> None:
        self.began = time.monotonic()
        self.chunks: list[tuple[float, bytes]] = []
        super().__init__(command, home, COLUMNS, ROWS, "xterm-256color")

    def _read(self, patience_s: float) -> bool:
        before = len(self.output)
        found = super()._read(patience_s)
        if found:
            self.chunks.append((time.monotonic() - self.began, self.output[before:]))
        return found

    def look_on(self, seconds: float) -> None:
        """Let time pass."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._read(left)

    def write(self, text: str) -> None:
        """Type as a person would."""
        for char in text:
            self.type(char)
            self.look_on(TYPING_S)

    def rows(self) -> tuple[drawing.Row, ...]:
        """What is on the screen now."""
        return drawing.rows_of(self._screen)


def play() -> tuple[list[tuple[float, bytes]], dict[str, tuple[drawing.Row, ...]]]:
    """Act the scene; returns what the terminal got, with the seconds, and the stills by name."""
    stills = {}
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        zdns = stack.enter_context(Zdns(home))
        bo = stack.enter_context(Chat(home, zdns.address, "bo", "-s", "--term", TERM_S))
        bo.ready()
        cy, dee = (stack.enter_context(Chat(home, zdns.address, name, "--term", TERM_S)) for name in ("cy", "dee"))
        cy.ready()
        dee.ready()
        _talk(bo, "morning! who has the router today?")
        _talk(cy, "it is in the blue box, next to the coffee")
        _talk(dee, "uplink is down again, so it is just us")
        bo.do("topic", text="field camp, day 3")
        dee.do("away", text="lunch")
        options = ("--bind", "127.0.0.1", "--name", "ana", "--term", TERM_S, "--theme", "dark")
        command = relevo("chat", "--dns", zdns.address, *options)
        terminal = stack.enter_context(Recorded(command, home))
        terminal.sees("you are ana", "serves")
        terminal.look_on(1.5)
        terminal.write("good morning, all of you")
        terminal.type(ENTER)
        terminal.look_on(1.0)
        _talk(bo, "ana! did the samples from site 4 dry?")
        terminal.look_on(1.2)
        epoch = _epoch(terminal.screen)
        terminal.write("they did: 38 of 40 are fine, the table is at https://camp.example/samples")
        # A handover comes while the line stands there, half-typed for all one can tell.
        terminal.until(lambda rows: _epoch(rows) > epoch, "a handover")
        terminal.look_on(1.0)
        terminal.write(" 🎉")
        terminal.type(ENTER)
        terminal.look_on(0.6)
        _talk(cy, "wonderful 👏")
        terminal.look_on(0.8)
        terminal.write("who brings")
        terminal.look_on(0.5)
        stills["console"] = terminal.rows()
        terminal.type(ctrl("c"))
        bo.do("tell", to="ana", text="between us: who forgot the other two?")
        terminal.look_on(1.5)
        terminal.write("/reply me. They got wet in the tent")
        terminal.type(ENTER)
        terminal.sees("in the tent")
        terminal.look_on(1.2)
        bo.do("tell", to="ana", text="oh no. All of them?")
        terminal.look_on(1.0)
        terminal.write("two. I will write it up tonight")
        terminal.type(ENTER)
        terminal.sees("tonight")
        bo.do("tell", to="ana", text="/me hands over a dry towel")
        terminal.look_on(1.0)
        _talk(dee, "back, what did I miss?")
        terminal.look_on(1.0)
        terminal.write("thanks, that is")
        terminal.look_on(0.5)
        stills["private"] = terminal.rows()
        terminal.write(" kind")
        terminal.type(ENTER)
        terminal.look_on(0.8)
        terminal.type("\x1b1")
        terminal.look_on(1.0)
        terminal.write("/search samples")
        terminal.type(ENTER)
        terminal.look_on(2.0)
        terminal.type("\x1b")
        terminal.look_on(1.5)
        return terminal.chunks, stills


def _talk(chat: Chat, text: str) -> None:
    chat.do("post", text=text, tag=text)
    chat.until("posted", tag=text)


def _epoch(rows: Sequence[str]) -> int:
    """The number behind the e in the status line."""
    words = [word for row in rows for word in row.split() if word[:1] == "e" and word[1:].isdecimal()]
    return int(words[-1][1:]) if words else 0


def quickened(chunks: Sequence[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """The same without long pauses, from second 0 on."""
    found, at_s, before_s = list[tuple[float, bytes]](), 0.0, chunks[0][0]
    for chunk_s, data in chunks:
        at_s += min(chunk_s - before_s, PAUSE_MAX_S)
        before_s = chunk_s
        found.append((at_s, data))
    return found


def frames_of(chunks: Sequence[tuple[float, bytes]]) -> list[tuple[float, tuple[drawing.Row, ...]]]:
    """The screens there were, each with its second."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    found: list[tuple[float, tuple[drawing.Row, ...]]] = []
    for number, (at_s, data) in enumerate(chunks):
        stream.feed(data)
        is_last = number == len(chunks) - 1
        if is_last or chunks[number + 1][0] - at_s >= FRAME_S or not found or at_s - found[-1][0] >= FRAME_S:
            rows = drawing.rows_of(screen)
            if not found or found[-1][1] != rows:
                found.append((at_s, rows))
    return found


def asciicast(chunks: Sequence[tuple[float, bytes]]) -> str:
    """The session in asciicast format, version 2 (docs.asciinema.org)."""
    header = {"version": 2, "width": COLUMNS, "height": ROWS, "title": "Relevo", "env": {"TERM": "xterm-256color"}}
    lines, rest = [json.dumps(header)], b""
    for at_s, data in chunks:
        text = (rest + data).decode(errors="ignore")
        rest = (rest + data)[len(text.encode()) :]
        lines.append(json.dumps([round(at_s, 3), "o", text], ensure_ascii=False))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Record, and write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "pictures", metavar="DIR", help="where to write")
    folder = parser.parse_args().to
    folder.mkdir(parents=True, exist_ok=True)
    chunks, stills = play()
    chunks = quickened(chunks)
    frames = frames_of(chunks)
    title = "Relevo: group chat whose server role is handed on while people type"
    files = {f"{name}.svg": drawing.picture(rows, COLUMNS, title) for name, rows in stills.items()}
    files["session.svg"] = drawing.film(frames, frames[-1][0] + PAUSE_MAX_S, COLUMNS, title)
    files["session.cast"] = asciicast(chunks)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
        print(f"{folder / name}: {len(text.encode()):,} bytes")


if __name__ == "__main__":
    main()
