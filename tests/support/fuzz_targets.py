"""What is fuzzed, by name: each target takes bytes, and raises when something is not as it must be."""

from collections.abc import Callable
from functools import partial

from tests.support.lies import Source
from tests.support.liars import ServerBench


def server(data: bytes, role: str) -> None:
    """A server half in this role."""
    source = Source(data)
    ServerBench(source, role, closed=source.byte() % 4 != 0).play()


TARGETS: dict[str, Callable[[bytes], None]] = {
    **{f"server_{role}": partial(server, role=role) for role in ServerBench.ROLES},
}
