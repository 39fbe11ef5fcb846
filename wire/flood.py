"""How fast one participant may post; pure."""

from wire import limits


class FloodGate:
    """How fast one participant may post: so many a second, more in a burst after a silence."""

    def __init__(self, posts_per_s: float) -> None:
        """`posts_per_s` 0: no bound."""
        self._posts_per_s = posts_per_s
        self._burst = max(1.0, posts_per_s * limits.FLOOD_BURST_POSTS / limits.FLOOD_POSTS_PER_S)
        self._left = self._burst
        self._counted_ms = 0

    def passes(self, now_ms: int) -> bool:
        """Whether one more post may be taken now; if so, it is counted."""
        if self._posts_per_s <= 0:
            return True
        earned = max(0, now_ms - self._counted_ms) * self._posts_per_s / 1000
        self._counted_ms = now_ms
        self._left = min(self._burst, self._left + earned)
        if self._left < 1:
            return False
        self._left -= 1
        return True
