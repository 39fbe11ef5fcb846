"""A process that writes a history is killed at any moment: what it said was written is there, and nothing else."""

import os
import random
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from broker.store import HistoryStore
from broker.stored import Append, Cut
from tests.support.histories import entries_in, new_store, planned
from wire import codec
from wire.messages import Entry

KILLS = 30
ROOT = Path(__file__).parent.parent.parent
WRITER = """
import sys
from pathlib import Path
from broker.store import HistoryStore
from tests.support.histories import planned

print("opening", flush=True)
store = HistoryStore.open(Path(sys.argv[1]))
step = int(sys.argv[2])
while True:
    store.write(planned(step, store.meta.head))
    print(step, flush=True)
    if step % 5 == 0:
        store.sync()
    if step % 11 == 0:
        store.checkpoint()
    store.index_some(100)
    step += 1
"""


def after_step(entries: list[Entry], step: int) -> list[Entry]:
    """The entries of the same history after one step more."""
    entries = entries[:]
    for change in planned(step, len(entries)):
        match change:
            case Cut(after):
                del entries[after:]
            case Append(first, count, block):
                entries += codec.decode_block(block, first, count)
    return entries


def last_step_before_a_kill(folder: Path, first: int, lines_count: int) -> int:
    """Start the writer, kill it after so many lines, and return the last step it told of."""
    command = [sys.executable, "-c", WRITER, str(folder), str(first)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(1 + lines_count)]
        writer.kill()
        lines += writer.stdout.readlines()
    whole = [line for line in lines if line.endswith(b"\n")]
    assert whole[0] == b"opening\n"
    return int(whole[-1]) if len(whole) > 1 else first - 1


def test_what_was_reported_as_written_is_there_after_each_of_many_kills(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    new_store(folder).close()
    chance = random.Random(4)
    entries: list[Entry] = []
    step = 0
    for _ in range(KILLS):
        reported = last_step_before_a_kill(folder, step + 1, chance.choice([0, 1, 2, 5, chance.randrange(60)]))
        for written in range(step + 1, reported + 1):
            entries = after_step(entries, written)
        step = reported
        with closing(HistoryStore.open(folder)) as store:
            found = entries_in(store)
            if found != entries:  # it was killed after writing and before it could say so
                step += 1
                entries = after_step(entries, step)
                assert found == entries
            assert store.meta.notes == (b"step %d" % step if step else b"")
    assert step > KILLS
