"""The console's status line as pieces of text, the less important ones left out where there is no room; pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ui.model import Model
from ui.page import Page, State
from ui.safe_text import safe_line
from ui.wording import counted, listed
from wire import limits

_BYTES_TOLD = limits.TEXT_BYTES_MAX * 3 // 4  # typed so much: the size is worth a word
_ACTIVE_MAX = 3  # pages named one by one


OPEN = "OPEN, not encrypted"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the status line. `style`: its name in the palette. `weight`: the lightest goes first."""

    text: str
    style: str
    weight: int


def pieces(model: Model, clock: str, now_ms: int, typed_bytes: int) -> list[Piece]:
    """All there is to say. `clock` is the time to show, "HH:MM"; `typed_bytes` the size of the line being typed."""
    page = model.current
    found = [
        Piece(clock, "status", 20),
        Piece(_place(model), "status.room", 70),
        Piece(_self(model), "status.me", 40),
        *([Piece(OPEN, "status.warn", 72)] if model.is_open else []),
        *_members(model),
        *_server(model, now_ms),
        *_queued(model),
        *_activity(model),
    ]
    if typed_bytes > limits.TEXT_BYTES_MAX:
        found.append(Piece(f"too long by {typed_bytes - limits.TEXT_BYTES_MAX:,} bytes", "status.bad", 95))
    elif typed_bytes > _BYTES_TOLD:
        found.append(Piece(f"{typed_bytes:,} of {limits.TEXT_BYTES_MAX:,} bytes", "status.warn", 60))
    if page.excerpt is not None:
        found.append(Piece("EARLIER, End returns", "status.warn", 90))
    elif page.more_below:
        found.append(Piece(f"MORE({page.more_below:,})", "status.warn", 90))
    return [piece for piece in found if piece.text]


def _place(model: Model) -> str:
    """The page that is shown, with its number when there are several."""
    page = model.current
    title = model.room.title if page.is_room else f"{model.room.title} / {page.title}"
    return f"{model.pages.index(page) + 1}/{len(model.pages)} {title}" if len(model.pages) > 1 else title


def _self(model: Model) -> str:
    name = safe_line(model.people.name)
    return f"{name} (away)" if model.people.is_away else name


def _members(model: Model) -> list[Piece]:
    if model.gate is not None:
        gate = model.gate
        names = f" ({listed(gate.members)})" if gate.members else ""
        return [Piece(f"waiting: {gate.here} of {gate.need}{names}", "status.warn", 85)]
    return [Piece(f"{len(model.people.members)} here", "status", 50)] if model.has_server else []


def _server(model: Model, now_ms: int) -> list[Piece]:
    if model.outage:
        return [Piece(model.outage, "status.bad", 92)]
    schedule = model.schedule
    if not model.is_in:
        return [Piece(f"asking zdns at {listed(model.dns)}", "status.warn", 80)]
    if not model.has_server:
        return [Piece("no answer from the server", "status.warn", 80)]
    if schedule is None:
        return []
    seconds = "" if schedule.until_ms is None else f" {max(0, -(-(schedule.until_ms - now_ms) // 1000))}s"
    return [Piece(f"{safe_line(schedule.server)} serves{seconds} e{schedule.epoch}", "status.server", 65)]


def _queued(model: Model) -> list[Piece]:
    count = sum(line.state is State.QUEUED for line in model.room.pending)
    return [Piece(f"{count:,} queued", "status.warn", 88)] if count else []


def _activity(model: Model) -> list[Piece]:
    """What is unread on other pages: private texts and mentions by page, anything else as a number."""
    others = [(number, page) for number, page in enumerate(model.pages, 1) if page is not model.current and page.unread]
    told = [_active(number, page) for number, page in others[:_ACTIVE_MAX]]
    if (rest := len(others) - _ACTIVE_MAX) > 0:
        told.append(f"{counted(rest, 'page')} more")
    loud = any(page.mentions for _, page in others)
    own = [Piece(f"{model.current.unread:,} new", "status.act", 75)] if model.current.unread else []
    return own + ([Piece("+" + " ".join(told), "status.loud" if loud else "status.act", 86)] if told else [])


def _active(number: int, page: Page) -> str:
    return f"{number}:{page.title}({page.unread:,})"


def fit(found: Sequence[Piece], columns: int, separator: str, width: Callable[[str], int]) -> list[Piece]:
    """As many pieces as fit into a row, in their order; the lightest are left out first, the heaviest is cut."""
    kept = list(found)
    while len(kept) > 1 and _columns(kept, separator, width) > columns:
        kept.remove(min(kept, key=lambda piece: piece.weight))
    return kept


def _columns(found: Sequence[Piece], separator: str, width: Callable[[str], int]) -> int:
    return sum(width(piece.text) for piece in found) + width(separator) * max(0, len(found) - 1)
