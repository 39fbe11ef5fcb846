"""An export of the room's messages: fetched part by part, then written as text or as JSON lines; pure."""

from collections.abc import Iterable

import msgspec

from peer import intents, notices
from ui.wording import Stamp, said_lines
from wire import limits

JSON_ENDING = ".jsonl"
MESSAGES_MAX = 200_000  # chosen: the newest so many; of short ones some tens of megabytes
BYTES_MAX = 64 * limits.MIB  # chosen: of their texts together, of long ones; the part that reaches it is the last


def export_lines(path: str, messages: Iterable[notices.ChatMessage], stamp: Stamp) -> list[str]:
    """The lines of a file of this name, without their line ends: JSON when it ends in ".jsonl", otherwise text."""
    if path.lower().endswith(JSON_ENDING):
        return [msgspec.json.encode(one).decode() for one in messages]
    return [line for one in messages for line in said_lines(stamp(one.time), one.author, one.text)]


class Export:
    """The room's messages up to seq `head` for the file `path`, fetched in parts from the last one back.

    A part is recognised by where it ends, as answers carry no number of ours.
    """

    def __init__(self, path: str, head: int) -> None:
        self.path = path
        self._before = head + 1
        self._parts: list[tuple[notices.ChatMessage, ...]] = []
        self._count = 0
        self._bytes = 0

    @property
    def messages(self) -> tuple[notices.ChatMessage, ...]:
        """What there is so far, in the order of the room."""
        return tuple(one for part in reversed(self._parts) for one in part)

    @property
    def question(self) -> intents.AskHistory:
        """What to ask next."""
        return intents.AskHistory(self._before, limits.HISTORY_ENTRIES_MAX)

    def expects(self, part: notices.HistoryPage) -> bool:
        """It is the answer to `question`."""
        return not part.messages or part.messages[-1].seq == self._before - 1

    def take(self, part: notices.HistoryPage) -> bool:
        """The next part has come; returns whether all is there, or as much as an export may have."""
        self._parts.append(part.messages)
        self._count += len(part.messages)
        self._bytes += sum(len(one.text) for one in part.messages)
        if not part.messages or not part.more or self._count >= MESSAGES_MAX or self._bytes >= BYTES_MAX:
            return True
        self._before = part.messages[0].seq
        return False
