"""Which of the user's requests are still without an outcome; pure.

A post or private text goes to the engine under a slip of ours instead of the user's tag, which may be anything and
need not be unique; on the way back the tag takes the slip's place again.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from peer import intents, notices


@dataclass(frozen=True, slots=True)
class Slip:
    """What stands for the user's tag inside."""

    number: int


class Ledger:
    """Open requests. Invariant: a slip is in `_texts` from `enter` until its outcome has come, once."""

    def __init__(self) -> None:
        self._texts: dict[Slip, intents.Say | intents.Tell] = {}
        self._asks: list[str] = []  # their `do`
        self._slips = 0

    @property
    def texts_count(self) -> int:
        """Posts and private texts without an outcome."""
        return len(self._texts)

    @property
    def open_count(self) -> int:
        """Everything without an outcome."""
        return len(self._texts) + len(self._asks)

    def enter(self, intent: intents.UserIntent) -> intents.UserIntent:
        """Note a request; what is returned goes to the engine."""
        if isinstance(intent, intents.Say | intents.Tell):
            self._slips += 1
            slip = Slip(self._slips)
            self._texts[slip] = intent
            return msgspec.structs.replace(intent, tag=slip)
        if intent.do in notices.ANSWERS:
            self._asks.append(intent.do)
        return intent

    def settle(self, notice: notices.AnyNotice) -> notices.AnyNotice:
        """Strike off what `notice` is the outcome of; returned is what the user may see, with the user's own tag."""
        match notice:
            case notices.Posted(tag=Slip() as slip):
                return msgspec.structs.replace(notice, tag=self._tag(self._texts.pop(slip, None)))
            case notices.Private(tag=Slip() as slip):
                final = notice.state in ("delivered", "failed")
                tag = self._tag(self._texts.pop(slip, None) if final else self._texts.get(slip))
                return msgspec.structs.replace(notice, tag=msgspec.UNSET if tag is None else tag)
            case notices.Refusal(tag=Slip() as slip):
                return msgspec.structs.replace(notice, tag=self._tag(self._texts.pop(slip, None)))
            case notices.Refusal(tag=None, what=what):
                self._strike(what)
            case _:
                for what, answer in notices.ANSWERS.items():
                    if isinstance(notice, answer):
                        self._strike(what)
        return notice

    def _strike(self, what: str) -> None:
        if what in self._asks:
            self._asks.remove(what)

    @staticmethod
    def _tag(intent: intents.Say | intents.Tell | None) -> Any:
        return None if intent is None else intent.tag
