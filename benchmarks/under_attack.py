"""Strangers attack every port of a room in which four members post: what do posts take then, and in quiet?"""

import asyncio
import threading
import time
from typing import Any

from benchmarks.load import Author, Load, Machine, Stage, arguments, dump, numbers_of, show, spread, wait_for_followers
from tests.support import attackers
from tests.support.attackers import Loot, Port, ports_of, resident_bytes

NAMES = ("ana", "bo", "cy", "di")
QUIET, ATTACKED = "quiet", "under attack"
HELD = 250  # connections that say nothing, and as many that say half of something
MIB = 1024 * 1024
TEXT = b"y" * 32  # a part of every post


class Siege:
    """All that strangers do, again and again until it ends, in a thread; of all kinds at the same time."""

    def __init__(self, ports: list[Port], loot: Loot) -> None:
        self._ports = ports
        self._loot = loot
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._again, args=(attack,), daemon=True)
            for attack in (self._bytes, self._sockets, self._crowds)
        ]

    def __enter__(self) -> "Siege":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _again(self, attack: Any) -> None:
        while not self._ending.is_set():
            attack()

    def _bytes(self) -> None:
        asyncio.run(attackers.all_at_once(self._ports, self._loot, 0.5))

    def _sockets(self) -> None:
        attackers.besiege(self._ports, attackers.DRESSES, self._loot, 0.5)

    def _crowds(self) -> None:
        half_open = attackers.greeting("CURVE")
        with attackers.held(self._ports, HELD), attackers.held(self._ports, HELD, half_open):
            asyncio.run(attackers.flood(self._ports, 200, self._loot))


def ports_now(stage: Stage, authors: list[Author]) -> list[Port]:
    """Where zdns and all participants listen."""
    credentials = stage.zdns.credentials(stage.home, "nobody")
    found = ports_of(stage.zdns.popen.pid, "zdns", credentials.zdns_key)
    for author in authors:
        key = stage.zdns.credentials(stage.home / author.name, author.name).keys.public
        found += ports_of(author.chat.popen.pid, author.name, key)
    return found


def latencies_ms(authors: list[Author], first: dict[str, int]) -> list[float]:
    """Of every post from `first` on, from handing it in to its acknowledgement; waits for all."""
    told = []
    for author in authors:
        numbers = range(first[author.name], author.number)
        author.wait_for_acks(numbers)
        told += [1e3 * (author.acked_at[number] - author.posted_at[number]) for number in numbers]
    return told


def main() -> None:
    """Run it; exits with 1 when a promise was broken, or a stranger has read what was said."""
    options = arguments(__doc__ or "", rounds=5, seconds=8.0, posts=200.0, bytes=128)
    posts: dict[str, list[float]] = {QUIET: [], ATTACKED: []}
    slowest: dict[str, list[float]] = {QUIET: [], ATTACKED: []}
    loot = Loot()
    with Stage(lease_s=3.0) as stage:
        authors = [stage.author(name, *(("-s",) if name == "ana" else ()), "--term", "0") for name in NAMES]
        wait_for_followers(authors)
        pids = {port.pid for port in ports_now(stage, authors)}
        before = {pid: resident_bytes(pid) for pid in pids}
        machine = Machine()
        with Load(authors, options.posts, options.bytes):
            for _ in range(int(options.rounds)):
                for how in (QUIET, ATTACKED):
                    ports = ports_now(stage, authors) if how == ATTACKED else []
                    first = numbers_of(authors)
                    if ports:
                        with Siege(ports, loot):
                            time.sleep(options.seconds)
                    else:
                        time.sleep(options.seconds)
                    told = latencies_ms(authors, first)
                    posts[how] += told
                    slowest[how].append(max(told))
        for author in authors:
            author.wait(lambda author=author: not author.open_count, "the last acknowledgement")  # type: ignore[misc]  # bound
        meanwhile, described = machine.report(), str(machine)
        grown = max(resident_bytes(pid) - was for pid, was in before.items())
        result = {
            "benchmark": "under_attack",
            "posts_per_s": options.posts,
            "post_ms": {how: spread(values) for how, values in posts.items()},
            "slowest_of_a_phase_ms": {how: spread(values) for how, values in slowest.items()},
            "connections": loot.connections_count,
            "bytes_to_strangers": loot.bytes_count,
            "read_by_strangers": loot.holds(TEXT),
            "memory_grown_mib": round(grown / MIB, 1),
            "acknowledged": stage.book.acknowledged_count,
            "broken": stage.verdict(),
            "sentences": stage.book.sentences,
            "machine": meanwhile,
        }
    if options.json:
        dump(result)
    else:
        header = ["room", "posts", "median", "p99", "worst"]
        show("From a post to its acknowledgement, ms", _rows(result["post_ms"]), header)
        show(
            "The slowest single post of a phase, ms",
            _rows(result["slowest_of_a_phase_ms"]),
            ["room", "phases", *header[2:]],
        )
        print(f"\n{result['connections']} connections of strangers, who were sent {result['bytes_to_strangers']} bytes")
        print(f"the memory of no process grew by more than {result['memory_grown_mib']} MiB")
        print(f"{result['acknowledged']} posts acknowledged; broken: {result['broken']}")
        print("\n".join(result["sentences"]))
        print(described)
    raise SystemExit(bool(result["read_by_strangers"] or any(result["broken"].values())))


def _rows(told: dict[str, dict[str, float]]) -> list[list[Any]]:
    return [[how, *values.values()] for how, values in told.items()]


if __name__ == "__main__":
    main()
