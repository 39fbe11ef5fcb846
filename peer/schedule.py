"""Who serves and until when, as the user is told it: at each change, not as the seconds go by; pure."""

from peer import notices

_MOVED_MS = 1_500  # chosen: over what a busy machine, or a clock that is off by a few percent, makes of a whole term


class Schedule:
    """What the heartbeats say about the next handover, and what of it the user knows already.

    Invariant: of each epoch something is told at its first heartbeat, and nothing before.
    """

    def __init__(self) -> None:
        self._is_known = False
        self._due_ms: int | None = None
        self._told_due_ms: int | None = None
        self._told: tuple[int, str, str] | None = None

    def begin(self) -> None:
        """Another epoch: nothing is known of it yet."""
        self._is_known, self._due_ms = False, None

    def beat(self, next_handover_ms: int, now_ms: int) -> None:
        """The server has said when it means to hand over; -1: at no time it knows of."""
        self._is_known = True
        if next_handover_ms < 0:
            self._due_ms = None
        elif next_handover_ms > 0 or self._due_ms is None or self._due_ms > now_ms:
            self._due_ms = now_ms + next_handover_ms
        # Otherwise it is due, and under way: the moment was the one that was planned, however long the way is.

    def news(self, epoch: int, server: str, member: str, now_ms: int) -> list[notices.Schedule]:
        """What of it the user does not know; `server` and `member` are the names of who serves."""
        serving = (epoch, server, member)
        if not self._is_known or (serving == self._told and not self._has_moved()):
            return []
        self._told, self._told_due_ms = serving, self._due_ms
        left_s = None if self._due_ms is None else max(0, self._due_ms - now_ms) / 1000
        return [notices.Schedule(epoch=epoch, server=server, member=member, next_handover_in_s=left_s)]

    def _has_moved(self) -> bool:
        if self._due_ms is None or self._told_due_ms is None:
            return self._due_ms is not self._told_due_ms
        return abs(self._due_ms - self._told_due_ms) > _MOVED_MS
