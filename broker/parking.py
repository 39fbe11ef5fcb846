"""What waits at a server until it is decided who serves; pure."""

from wire import limits
from wire.messages import Message, Posts


class Parking:
    """Messages that wait until it is decided who serves, within bounds; what is beyond them is dropped.

    Dropping loses nothing: hellos and posts are repeated by whoever sent them. So are they while they wait here, and a
    repeat of what waits already is not kept a second time.
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[bytes, Message], int] = {}
        self._bytes_count = 0

    def add(self, route: bytes, message: Message) -> None:
        """Keep a message, if there is room for it."""
        size = limits.KIB + (sum(map(len, message.texts)) if isinstance(message, Posts) else 0)
        if (route, message) not in self._waiting and self._bytes_count + size <= limits.PARKED_BYTES_MAX:
            self._waiting[route, message] = size
            self._bytes_count += size

    def empty(self) -> list[tuple[bytes, Message]]:
        """Everything that waits, in the order it came; nothing waits afterwards."""
        waiting, self._waiting, self._bytes_count = list(self._waiting), {}, 0
        return waiting
