"""Where the room has gone: told to everybody at once, again for a while, and to each that still asks here; pure."""

from collections.abc import Iterable

from broker.room import FEED, ROOM
from wire import limits
from wire.messages import Moved, Record, Relocate, ServerInfo
from wire.step import Command, Send, StartTimer, StopTimer

RELOCATE = "core.relocate"


class SendOff:
    """What a server that has lost the room to another one tells its clients.

    A `relocate` may be lost on the way, and whoever is late has not heard it: so it is said limits.RELOCATE_REPEATS
    times, and `moved` is the answer to whatever is asked here, until this server serves again.
    """

    def __init__(self) -> None:
        self._successor: tuple[int, ServerInfo] | None = None
        self._reason = ""
        self._left = 0  # times it is still to be said

    @property
    def moved(self) -> Moved | None:
        """The answer to whoever asks here; None: nothing is known of a successor."""
        return None if self._successor is None else Moved(*self._successor)

    def begin(self, record: Record, reason: str, asking: Iterable[bytes]) -> list[Command]:
        """The active server of `record` has the room now; `asking`: routes of those whose requests were put off."""
        self._successor = (record.epoch, record.active)
        self._reason = reason
        self._left = limits.RELOCATE_REPEATS
        told = [Send(ROOM, Moved(*self._successor), route) for route in asking]
        return [*self.again(), *told]

    def again(self) -> list[Command]:
        """Say it once more, and see to the next time."""
        if self._left == 0 or self._successor is None:
            return []
        self._left -= 1
        epoch, server = self._successor
        return [Send(FEED, Relocate(epoch, server, self._reason)), StartTimer(RELOCATE, limits.RELOCATE_REPEAT_MS)]

    def end(self) -> list[Command]:
        """The room is here again."""
        self._successor = None
        return [StopTimer(RELOCATE)]
