"""Whatever is said to a core, by members, leaders, followers or servers: it holds; and inputs that were of interest."""

import random
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.fuzz_targets import TARGETS

CORPUS = Path(__file__).parent.parent / "corpus"
INPUTS = sorted(path for path in CORPUS.glob("*/*") if path.is_file())
READERS = ("codec", "ticket", "lines")
PLAYS = tuple(name for name in TARGETS if name not in READERS)


@pytest.mark.parametrize("name", PLAYS)
@settings(max_examples=100)
@given(seed=st.integers(0, 2**32), length=st.integers(0, 2_000))
def test_a_core_holds_among_liars(name: str, seed: int, length: int) -> None:
    # Bytes of a seed, not bytes that hypothesis draws: those are too few, and too often zero, for a long play.
    TARGETS[name](random.Random(seed).randbytes(length))


@pytest.mark.parametrize("name", READERS)
@given(data=st.binary(max_size=300))
@example(data=b'{"do":"post","text":"x","tag":"\\ud800"}')
def test_whatever_is_read_is_taken_or_refused(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_of_interest_once_is_no_error_now(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


def test_each_folder_of_inputs_has_its_target_and_they_are_few() -> None:
    assert {path.parent.name for path in INPUTS} <= TARGETS.keys()
    assert len(INPUTS) <= 200
    assert sum(path.stat().st_size for path in INPUTS) <= 300_000
