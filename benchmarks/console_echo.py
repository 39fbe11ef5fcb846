"""From a key to its echo on the console's screen: while a thousand messages a second come in, against a quiet room."""

import argparse
import asyncio
import os
import random
import select
import sys
import time
from pathlib import Path

from benchmarks.load import Stage, arguments, dump, show, spread
from peer import Client
from tests.support.processes import PATIENCE_S, Process, relevo
from tests.support.terminal import Terminal, ctrl

IDLE, LOADED = "idle", "loaded"
# Letters that no message and no part of the screen contains; each is typed once before the line is cleared.
KEYS = "абвгдежзийклмнопрстуфхцчшщъыьэюя"
GAP_S = (0.02, 0.08)  # between two keys, at random, so that they do not fall in step with the drawing
BATCH_S = 0.01
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


# --- who floods the room ----------------------------------------------------------------------------------------------


async def pour(dns: str) -> None:
    """Post as many short messages a second as the last line of standard input says, until its end."""
    loop, rate, owed, posted = asyncio.get_running_loop(), 0.0, 0.0, 0
    under_way: set[asyncio.Task[int]] = set()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with Client(dns=dns, name="source", serve=False, flood=0, patient=True) as chat:
        hearing = asyncio.create_task(_hear(chat))
        line = asyncio.create_task(reader.readline())
        while True:
            if line.done():
                if not line.result():
                    break
                rate = float(line.result())
                line = asyncio.create_task(reader.readline())
            owed += rate * BATCH_S
            for _ in range(int(owed)):
                posted += 1
                post = asyncio.create_task(chat.post(f"message {posted} of a very talkative room"))
                under_way.add(post)
                post.add_done_callback(under_way.discard)
            owed -= int(owed)
            await asyncio.sleep(BATCH_S)
        await asyncio.gather(*under_way)
        hearing.cancel()
    print(posted, flush=True)


async def _hear(chat: Client) -> None:
    async for _ in chat:
        pass


# --- who types --------------------------------------------------------------------------------------------------------


class Typist(Terminal):
    """A terminal at which keys are pressed, and the time is taken until each is in what comes out."""

    def echo_ms(self, key: str) -> float:
        """Press a key; returns the time until it is echoed."""
        wanted, shown = key.encode(), b""
        pressed = time.monotonic()
        os.write(self._master, wanted)
        while wanted not in shown:
            assert time.monotonic() - pressed < PATIENCE_S, f"{key!r} is not echoed"
            shown = shown[-8:] + self._take(1.0)
        return (time.monotonic() - pressed) * 1000

    def look_on(self, seconds: float) -> int:
        """Take whatever comes out for so long; returns how many bytes that were."""
        end, count = time.monotonic() + seconds, 0
        while (left := end - time.monotonic()) > 0:
            count += len(self._take(left))
        return count

    def _take(self, patience_s: float) -> bytes:
        # Not through the emulated screen, whose own slowness would be measured.
        readable, _, _ = select.select([self._master], [], [], patience_s)
        return os.read(self._master, 65_536) if readable else b""


def cpu_s(pid: int) -> float:
    """The processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def block(typist: Typist, keys: int, chance: random.Random) -> tuple[list[float], float]:
    """Type so many keys; returns the echo times in ms and the share of one core that the console used."""
    began, used = time.monotonic(), cpu_s(typist.popen.pid)
    times: list[float] = []
    for number in range(keys):
        typist.look_on(chance.uniform(*GAP_S))
        times.append(typist.echo_ms(KEYS[number % len(KEYS)]))
        if number % len(KEYS) == len(KEYS) - 1:
            typist.type(ctrl("u"))
    typist.type(ctrl("u"))
    return times, (cpu_s(typist.popen.pid) - used) / (time.monotonic() - began)


def run(options: argparse.Namespace) -> dict[str, object]:
    """Alternate quiet and loud blocks in one room; returns the figures."""
    times: dict[str, list[float]] = {IDLE: [], LOADED: []}
    shares: dict[str, list[float]] = {IDLE: [], LOADED: []}
    chance = random.Random(1)
    with Stage() as stage:
        at = ("--dns", stage.zdns.address)
        source = [sys.executable, "-m", "benchmarks.console_echo", "--pour", stage.zdns.address]
        with (
            Process(relevo("serve", "-s", "--term", "0", *at), stage.home),
            Typist(relevo("chat", "--no-serve", "--name", "typist", *at), stage.home, 120, 40) as typist,
            Process(source, stage.home) as pouring,
        ):
            typist.sees("you are typist")
            typist.look_on(2.0)
            for _ in range(options.rounds):
                for kind, rate in ((IDLE, 0), (LOADED, options.rate)):
                    pouring.say(f"{rate}\n")
                    typist.look_on(1.0)
                    found, share = block(typist, options.keys, chance)
                    times[kind] += found
                    shares[kind].append(share)
            pouring.end_input()
            posted = int(pouring.line() or 0)
    return {
        "benchmark": "console_echo",
        "messages_per_s": options.rate,
        "messages": posted,
        "echo_ms": {kind: spread(values) for kind, values in times.items()},
        "cpu_share": {kind: round(sum(values) / len(values), 3) for kind, values in shares.items()},
    }


def main() -> None:
    """Run it and print the echo times and the console's share of a core."""
    if sys.argv[1:2] == ["--pour"]:
        asyncio.run(pour(sys.argv[2]))
        return
    options = arguments(__doc__ or "", rate=1_000, keys=100, rounds=3)
    result = run(options)
    if options.json:
        dump(result)
        return
    echo, share = result["echo_ms"], result["cpu_share"]
    assert isinstance(echo, dict)
    assert isinstance(share, dict)
    rows = [[kind, *echo[kind].values(), f"{share[kind]:.1%}"] for kind in (IDLE, LOADED)]
    show("Key to echo, ms", rows, ["room", "keys", "median", "p99", "worst", "share of a core"])
    print(f"{result['messages']:,} messages at {options.rate:g} a second while loaded")


if __name__ == "__main__":
    main()
