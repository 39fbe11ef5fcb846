"""Who asks for a handover, to whom it is to go, and who is left out of the choice; pure."""

from collections.abc import Callable

from broker.room import ROOM
from wire import limits, names
from wire.errors import RefusalCode
from wire.messages import HandOver, Message, Refused
from wire.step import Command, Send


class HandoverRequests:
    """The requests that the handover under way, or the next one, will answer.

    Invariants: each request is answered once; all of them want the same host, or any; at most limits.MEMBERS_MAX wait.
    """

    def __init__(self) -> None:
        self.to = ""  # the host it was asked for; empty: any
        self._waiting: list[tuple[bytes, int]] = []
        self._until_ms = 0  # until when a standby that is only coming up is waited for
        self._left_out: dict[str, int] = {}  # server id -> until when

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, request: HandOver, route: bytes, *, serving: str, busy: bool, now_ms: int) -> Refused | None:
        """Take a request, or say why not.

        Args:
            request: with the name of the host it is to go to, or none.
            route: who asks.
            serving: the name of the host that serves.
            busy: a handover is under way.
        """
        to = request.to
        if to and names.nick_key(to) == names.nick_key(serving):
            return Refused(request.ask, RefusalCode.NOT_STANDBY, f"{to} serves already")
        if busy and to and names.nick_key(to) != names.nick_key(self.to):
            return Refused(request.ask, RefusalCode.BUSY, "another handover is under way")
        if len(self._waiting) >= limits.MEMBERS_MAX:
            return Refused(request.ask, RefusalCode.BUSY, "too many are asking")
        self._waiting.append((route, request.ask))
        if not busy:
            self.to, self._until_ms = to, now_ms + limits.HANDOVER_STEP_MS
        return None

    def answer(self, answer: Callable[[int], Message]) -> list[Command]:
        """Tell whoever asked what became of it: `answer` makes it from the number of the request."""
        waiting, self._waiting, self.to = self._waiting, [], ""
        return [Send(ROOM, answer(ask), route) for route, ask in waiting]

    def wait_for_standby(self, now_ms: int) -> bool:
        """Whether somebody has asked so recently that a standby may only just be coming up."""
        return bool(self._waiting) and now_ms < self._until_ms

    # --- who is left out ---

    @property
    def leaves_out(self) -> bool:
        """Whether anybody failed lately, as of the last look."""
        return bool(self._left_out)

    def exclude(self, now_ms: int) -> tuple[str, ...]:
        """Ids of those who failed lately; nobody when one host is wanted."""
        self._left_out = {server: until_ms for server, until_ms in self._left_out.items() if until_ms > now_ms}
        return () if self.to else tuple(self._left_out)

    def leave_out(self, server_id: str, now_ms: int) -> None:
        """It failed to take the room: others are picked for a while."""
        self._left_out[server_id] = now_ms + limits.LEFT_OUT_MS

    def leave_nobody_out(self) -> None:
        """There is nobody else: those who failed are tried again."""
        self._left_out.clear()
