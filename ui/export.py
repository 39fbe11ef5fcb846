"""Messages as an export has them, as text or as JSON lines, and the messages a face has shown; pure."""

from bisect import insort
from collections.abc import Iterable, Sequence

import msgspec

from peer import notices
from ui.wording import Stamp, said_lines
from wire import limits

JSON_ENDING = ".jsonl"
MESSAGES_MAX = 100_000  # chosen: messages kept for an export; of short ones some tens of megabytes
BYTES_MAX = 64 * limits.MIB  # chosen: and their texts together, of long ones


def export_lines(path: str, messages: Iterable[notices.ChatMessage], stamp: Stamp) -> list[str]:
    """The lines of a file of this name, without their line ends: JSON when it ends in ".jsonl", otherwise text."""
    if path.lower().endswith(JSON_ENDING):
        return [msgspec.json.encode(one).decode() for one in messages]
    return [line for one in messages for line in said_lines(stamp(one.time), one.author, one.text)]


class Transcript:
    """Messages that were shown, in the order of the room, however often and in whatever order they were.

    Invariant: at most MESSAGES_MAX of them with at most BYTES_MAX of text; the oldest make room.
    """

    def __init__(self, messages_max: int = MESSAGES_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._messages: list[notices.ChatMessage] = []
        self._places: set[tuple[int, int]] = set()
        self._bytes = 0

    @property
    def messages(self) -> Sequence[notices.ChatMessage]:
        """All that is kept. After a fresh start numbers begin anew, in a higher epoch."""
        return self._messages

    def add(self, message: notices.Message | notices.ChatMessage) -> None:
        """It was shown."""
        one = notices.ChatMessage(message.seq, message.epoch, message.id, message.author, message.text, message.time)
        if _place(one) in self._places:
            return
        insort(self._messages, one, key=_place)
        self._places.add(_place(one))
        self._bytes += len(one.text)
        while len(self._messages) > self._messages_max or self._bytes > self._bytes_max:
            oldest = self._messages.pop(0)
            self._places.remove(_place(oldest))
            self._bytes -= len(oldest.text)


def _place(message: notices.ChatMessage) -> tuple[int, int]:
    return message.epoch, message.seq
