"""The console's model without a screen: what it is told, what it wants done, and its lines as text."""

from typing import Any

from peer import intents, notices
from ui.hearing import Ask, Effect, Ring
from ui.keymap import Keymap
from ui.model import Model
from ui.page import Line, Page

MINUTE_MS = 60_000
NOW_MS = 10 * MINUTE_MS
SETTINGS: dict[str, Any] = {
    "theme": "auto",
    "colors": "auto",
    "ascii": "auto",
    "mouse": False,
    "bell": True,
    "joins": "smart",
    "paste_lines": 3,
}


def stamp(utc_ms: int) -> str:
    """A calendar in which 1440 minutes are a day and the first day is the first of January."""
    days, minutes = divmod(utc_ms // MINUTE_MS, 1440)
    return f"2026-01-{days + 1:02} {minutes // 60:02}:{minutes % 60:02}"


def ready(head: int = 0, members: tuple[str, ...] = ("ana", "bo", "cy")) -> notices.Ready:
    return notices.Ready(name="ana", service="backend.com", epoch=3, server="bo", head=head, members=members, min_n=0)


def new_model(flood_per_s: float = 0, invitation: str = "", now_ms: int = NOW_MS, **settings: Any) -> Model:
    """Of somebody who is not in yet."""
    return Model(
        service="backend.com",
        dns=["localhost:8000"],
        stamp=stamp,
        settings={**SETTINGS, **settings},
        flood_per_s=flood_per_s,
        now_ms=now_ms,
        keymap=Keymap(),
        invitation=invitation,
    )


def joined(head: int = 0, flood_per_s: float = 0, **settings: Any) -> Model:
    """Of ana, in, live, with bo (who serves) and cy; what was to be done at first is done."""
    model = new_model(flood_per_s, **settings)
    tell(model, ready(head), notices.StateChanged("live", 0), who())
    model.take()
    return model


def who(*states: str) -> notices.MembersList:
    ana_bo_cy = zip(("ana", "bo", "cy"), (*states, *("here",) * 3), strict=False)
    return notices.MembersList(tuple(notices.MemberLine(nick, state, nick == "bo", 0) for nick, state in ana_bo_cy))


def tell(model: Model, *told: notices.AnyNotice, now_ms: int = NOW_MS) -> None:
    for notice in told:
        model.fold(notice, now_ms)


def message(
    seq: int, text: str = "hello", author: str = "bo", *, past: bool = False, own: bool = False
) -> notices.Message:
    more = {name: True for name, holds in (("past", past), ("own", own)) if holds}
    return notices.Message(seq=seq, epoch=3, id=f"x/{seq}", author=author, text=text, time=NOW_MS, **more)


def earlier(first: int, last: int, author: str = "bo") -> notices.HistoryPage:
    messages = tuple(
        notices.ChatMessage(seq, 1, f"x/{seq}", author, f"number {seq}", seq) for seq in range(first, last + 1)
    )
    return notices.HistoryPage(messages, more=first > 1)


def changed(name: str, state: str, **more: str) -> notices.MemberChanged:
    return notices.MemberChanged(name=name, state=state, **more)


def asked(model: Model) -> list[intents.UserIntent]:
    """What the model wants of the chat."""
    return [effect.intent for effect in model.take() if isinstance(effect, Ask)]


def rings(effects: list[Effect]) -> int:
    return sum(isinstance(effect, Ring) for effect in effects)


def shown(page: Page) -> list[str]:
    """Each line as its first characters would be read."""
    lines = [page.line(key) for key in range(page.shown.first, page.last_key + 1)]
    return [words(line) for line in lines if line is not None]


def words(line: Line) -> str:
    state = f" [{line.state.value}]" if line.state else ""
    return f"{line.nick}: {' / '.join(line.text)}{state}" if line.nick else f"{line.kind.value} {' / '.join(line.text)}"


def told(text: str = "psst", sender: str = "bo") -> notices.Private:
    return notices.Private(sender=sender, to="ana", id="1", text=text, state="received")


def outcome(state: str, tag: int, reason: str = "") -> notices.Private:
    private = notices.Private(sender="ana", to="bo", id="1", text="psst", state=state, tag=tag)
    return private if not reason else notices.Private("ana", "bo", "1", "psst", state, tag, reason)
