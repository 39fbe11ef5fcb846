"""ui.faces: what a person at --plain is told of what comes in an unlucky order."""

import asyncio
from collections.abc import Sequence

from peer import intents, notices
from ui.faces import PlainFace
from wire import limits


class Sheet:
    """Keeps what is printed."""

    def __init__(self) -> None:
        self.printed: list[str] = []

    def print(self, lines: Sequence[str]) -> None:
        self.printed += lines

    def entered(self, line: str, number: int | None) -> None:
        """Nothing is replaced here."""

    def settled(self, number: int, *, keep: bool) -> None:
        """Nothing is replaced here."""

    def clear(self) -> bool:
        return False


def told(*told_at_once: notices.AnyNotice) -> tuple[PlainFace, Sheet]:
    """A face that was asked for an export of one message, and then told these; with what it printed of them."""

    async def tell() -> tuple[PlainFace, Sheet]:
        sheet = Sheet()
        face = PlainFace("tea", ["localhost:8000"], sheet)
        face.show(notices.Message(seq=1, epoch=1, id="x", author="bo", text="hello", time=0))
        assert face.read(b"/export tea.txt\n") == intents.AskHistory(2, limits.HISTORY_ENTRIES_MAX)
        sheet.printed.clear()
        for notice in told_at_once:
            face.show(notice)
        await asyncio.sleep(0)  # refusals wait for a goodbye that might say the same
        return face, sheet

    return asyncio.run(tell())


def test_an_export_whose_question_was_refused_is_said_to_have_failed() -> None:
    face, sheet = told(notices.Refusal(tag=None, code="busy", message="too much at once", what="history"))
    assert sheet.printed == ["! Not exported: too much at once"]
    assert face.read(b"/export tea.txt\n") is not None, "the one before is over"
    assert asyncio.run(refused_without_export()) == ["! too much at once"]


async def refused_without_export() -> list[str]:
    sheet = Sheet()
    face = PlainFace("tea", ["localhost:8000"], sheet)
    face.show(notices.Refusal(tag=None, code="busy", message="too much at once", what="history"))
    await asyncio.sleep(0)
    return sheet.printed


def test_an_export_of_a_history_that_was_started_over_is_over() -> None:
    face, sheet = told(notices.Fault("fresh_start", "started over"))
    assert sheet.printed == ["! started over"]
    face.read(b"/export tea.txt\n")
    assert "under way" not in sheet.printed[-1]


def test_one_export_goes_on_while_another_is_asked_for() -> None:
    face, sheet = told()
    assert face.read(b"/export other.txt\n") is None
    assert sheet.printed == ["! Not exported: another export is under way; wait for it."]
