"""A zdns, and participants who take part in a room of it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.processes import Chat, Zdns


@pytest.fixture
def zdns(tmp_path: Path) -> Iterator[Zdns]:
    """A name server."""
    with Zdns(tmp_path) as process:
        yield process


@pytest.fixture
def chat(tmp_path: Path, zdns: Zdns) -> Iterator[Callable[..., Chat]]:
    """Starts participants; all are gone at the end of the test."""
    with ExitStack() as stack:

        def start(name: str | None = None, *options: str) -> Chat:
            return stack.enter_context(Chat(tmp_path, zdns.address, name, *options))

        yield start
