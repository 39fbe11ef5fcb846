"""The simulated world: one virtual clock, one heap of what is due, one seeded generator.

Everything that happens in a run is an entry `(due_ms, order, node, event)` of the heap, so a run depends on
its seed alone. Nodes join under a name; the network and the fate that plans faults are nodes as well.
"""

import hashlib
import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import Any

TRACE_LINES_MAX = 50_000  # lines a run keeps; a longer one keeps its end

STEPS_AT_ONCE_MAX = 20_000  # in one millisecond; more means that somebody answers himself for ever


class Spinning(Exception):
    """Time does not go on."""


class World:
    """Virtual time. Invariant: `now_ms` never falls, and equal times are served in the order of their planning."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now_ms = 0
        self.steps = 0
        self.random = random.Random(seed)
        self.trace: deque[str] = deque(maxlen=TRACE_LINES_MAX)
        self.states: set[str] = set()  # of cores, as they describe themselves, that came up in this run
        self.after_step: list[Callable[[], None]] = []
        self._handlers: dict[str, Callable[[Any], None]] = {}
        self._heap: list[tuple[int, int, str, Any]] = []
        self._order = 0
        self._steps_at_once = 0
        self._hash = hashlib.blake2b(digest_size=16)

    def join(self, node: str, handler: Callable[[Any], None]) -> None:
        """Deliver the events of `node` to `handler` from now on."""
        self._handlers[node] = handler

    def after(self, delay_ms: int, node: str, event: Any) -> None:
        """Plan `event` for `node`, `delay_ms` from now."""
        self._order += 1
        heapq.heappush(self._heap, (self.now_ms + max(0, delay_ms), self._order, node, event))

    def goes_on(self, node: str) -> bool:
        """Whether the next entry is for `node` and due now: its driver would take both in one turn."""
        return bool(self._heap) and self._heap[0][2] == node and self._heap[0][0] == self.now_ms

    def step(self) -> bool:
        """Serve the entry that is due first; False when there is none."""
        if not self._heap:
            return False
        due_ms, _, node, event = heapq.heappop(self._heap)
        self._steps_at_once = self._steps_at_once + 1 if due_ms == self.now_ms else 0
        if self._steps_at_once > STEPS_AT_ONCE_MAX:
            raise Spinning(f"{STEPS_AT_ONCE_MAX} steps at {due_ms} ms, the last for {node}: {event!r:.200}")
        self.now_ms = due_ms
        self.steps += 1
        self._handlers[node](event)
        for look in self.after_step:
            look()
        return True

    def run(self, until_ms: int, done: Callable[[], bool] | None = None, look_each_ms: int = 50) -> bool:
        """Serve entries up to `until_ms`; stop early, and say True, as soon as `done` holds."""
        look_ms = self.now_ms
        while self._heap and self._heap[0][0] <= until_ms:
            if done is not None and self._heap[0][0] >= look_ms:
                if done():
                    return True
                look_ms = self._heap[0][0] + look_each_ms
            self.step()
        self.now_ms = max(self.now_ms, until_ms)
        return done is not None and done()

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return probability > 0 and self.random.random() < probability

    # --- the trace ------------------------------------------------------------------------------------------------

    def stir(self, *parts: Any) -> None:
        """Mix what just happened into the trace hash, without writing a line."""
        self._hash.update(f"{self.now_ms} {parts}".encode())

    def note(self, node: str, text: str) -> None:
        """Write one line of the trace."""
        self._hash.update(f"{self.now_ms} {node} {text}".encode())
        self.trace.append(f"{self.now_ms / 1000:9.3f}  {node:<8}  {text}")

    @property
    def trace_hash(self) -> str:
        """The hash of everything that happened so far: equal for equal runs."""
        return self._hash.hexdigest()
