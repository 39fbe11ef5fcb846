"""Many runs, each from its seed alone: the promises hold under faults, and a broken core does not get through."""

import os
import subprocess
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from broker.core import ServerCore
from tests.sim.runs import Verdict, play
from tests.sim.town import Make
from wire.messages import Acked, Posts, Record
from wire.step import Command, Event, Received, Send
from zdns.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
SEEDS_COUNT = 400
BATCH = 50
MUTANT_SEEDS = range(1, 101)
TRACE_LINES = 60


def read_seeds() -> list[int]:
    """The seeds of seeds.txt: runs that failed once."""
    lines = (Path(__file__).parent / "seeds.txt").read_text().splitlines()
    return [int(line.split()[0]) for line in lines if line.strip() and not line.startswith("#")]


def explain(verdict: Verdict) -> str:
    """A failed run, with the end of its trace and how to see the rest."""
    trace = "\n".join(verdict.trace[-TRACE_LINES:])
    return f"{verdict}\n{trace}\nreproduce with: scripts/sim {verdict.seed} --trace"


@pytest.mark.parametrize("first", range(1, SEEDS_COUNT + 1, BATCH))
def test_all_promises_hold_in_each_run(first: int) -> None:
    verdicts = [play(seed) for seed in range(first, first + BATCH)]
    failed = [verdict for verdict in verdicts if verdict.problem]
    assert not failed, explain(failed[0])
    assert sum(verdict.messages for verdict in verdicts) > BATCH
    assert sum(verdict.epochs for verdict in verdicts) > BATCH, "hardly any handover was played"


@pytest.mark.parametrize("seed", read_seeds())
def test_what_failed_once_holds_now(seed: int) -> None:
    verdict = play(seed)
    assert not verdict.problem, explain(verdict)


def test_a_run_depends_on_its_seed_alone() -> None:
    assert play(7).trace_hash == play(7).trace_hash
    assert play(7).trace_hash != play(8).trace_hash


def test_the_order_of_hashes_changes_nothing() -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-m", "tests.sim.command", "1", "12"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        ).stdout
        for hash_seed in ("1", "20250")
    ]
    assert "seed      12" in outputs[0]
    assert outputs[0] == outputs[1]


# --- planted bugs -------------------------------------------------------------------------------------------------


class EagerServer(ServerCore):
    """Acknowledges a post when it comes, committed or not."""

    def handle(self, event: Event, now_ms: int) -> list[Command]:
        commands = super().handle(event, now_ms)
        match event:
            case Received(link, Posts(first_counter, texts), sender) if self.room is not None:
                head = self.room.history.head
                seqs = range(head - len(texts) + 1, head + 1)
                if self.room.phase.value == "sealed":
                    seqs = range(head + 1, head + len(texts) + 1)
                if seqs[0] > 0:
                    commands.append(Send(link, Acked(first_counter, tuple(seqs)), sender))
        return commands


class ForgetfulServer(ServerCore):
    """Takes a repeated post for a new one."""

    def handle(self, event: Event, now_ms: int) -> list[Command]:
        if isinstance(event, Received) and isinstance(event.message, Posts) and self.room is not None:
            for session in self.room.history._sessions.values():
                session.last_counter = min(session.last_counter, event.message.first_counter - 1)
        return super().handle(event, now_ms)


class UnsealedServer(ServerCore):
    """Goes on taking posts while the seal is at the target."""

    def flush(self, now_ms: int) -> list[Command]:
        commands = super().flush(now_ms)
        if self.room is not None and self.room.phase.value == "sealed":
            commands += self.room.reopen(now_ms)
        return commands


class UndecidedServer(ServerCore):
    """Takes an unanswered transfer for a refused one, and serves on."""

    def flush(self, now_ms: int) -> list[Command]:
        commands = super().flush(now_ms)
        if self.room is not None and self._source.phase.value == "transferring" and self._lookup.silent:
            commands += [*self._source.forget(), *self.room.reopen(now_ms)]
        return commands


def registry_that_forgets(_records: Iterable[Record], lease_ms: int, now_ms: int, *, rng: Random) -> Registry:
    """A zdns whose store was never synced."""
    return Registry([], lease_ms, now_ms, rng=rng)


@pytest.mark.parametrize(
    "make",
    [
        Make(server=EagerServer),
        Make(server=ForgetfulServer),
        Make(server=UnsealedServer),
        Make(server=UndecidedServer),
        Make(registry=registry_that_forgets),
    ],
    ids=["eager server", "forgetful server", "unsealed server", "undecided server", "forgetful zdns"],
)
def test_a_planted_bug_is_caught(make: Make) -> None:
    caught = (seed for seed in MUTANT_SEEDS if play(seed, make).problem.startswith("Broken"))
    assert any(not play(seed).problem for seed in islice(caught, 3)), "no seed tells the bug from the real thing"
