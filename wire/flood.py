"""How fast one participant may do something; pure."""

from wire import limits


class FloodGate:
    """How fast one participant may post, or ask for something: so often a second, more in a burst after a silence."""

    def __init__(self, per_s: float, burst: float | None = None) -> None:
        """`per_s` 0: no bound. `burst`: how much at once; without, as much as is usual for posts at this rate."""
        usual = per_s * limits.FLOOD_BURST_POSTS / limits.FLOOD_POSTS_PER_S
        self._per_s = per_s
        self._burst = max(1.0, usual if burst is None else burst)
        self._left = self._burst
        self._counted_ms = 0

    def passes(self, now_ms: int) -> bool:
        """Whether once more is allowed now; if so, it is counted."""
        if self._per_s <= 0:
            return True
        earned = max(0, now_ms - self._counted_ms) * self._per_s / 1000
        self._counted_ms = now_ms
        self._left = min(self._burst, self._left + earned)
        if self._left < 1:
            return False
        self._left -= 1
        return True
