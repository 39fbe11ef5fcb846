"""Tests that are coroutines, and how long they may wait for what should happen at once."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

DEADLINE_S = 60.0  # of one wait; a machine that is busy takes its time


def conversation(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test that is a coroutine, with a deadline."""

    @wraps(test)
    def run(**arguments: Any) -> None:
        asyncio.run(asyncio.wait_for(test(**arguments), 4 * DEADLINE_S))

    return run
