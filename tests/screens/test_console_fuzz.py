"""Whatever is pressed, pasted, told and resized, in whatever order: a screen can be drawn, and has its size."""

from collections.abc import Callable, Iterator

import pytest
import urwid
from hypothesis import given, settings
from hypothesis import strategies as st

from peer import notices
from tests.support.screens import Desk, ready
from ui.keys import Pasted
from ui.palette import ASCII, FINE


class Bench(Desk):
    """A desk with a window."""

    size = (80, 24)


Deed = Callable[[Bench], object]

NASTY = "ab /@: \t\n\x1b\x07\x9b日\u0301\u200d\u202e\ufe0f\u00ad👩💻🇩🇪é…\udcff"
TEXTS = st.text(st.sampled_from(NASTY) | st.characters(), max_size=60) | st.sampled_from(
    [
        "/me waves",
        "hello ana",
        "👩\u200d💻" * 20,
        "かな" * 40,
        "https://example.org/" + "a" * 200,
        "one\n\n two\r\nthree",
    ]
)
# What nodes pass on is proper text.
CLEAN = TEXTS.map(lambda text: text.replace("\udcff", ""))
NICKS = st.sampled_from(["ana", "bo", "cy", "日本", "n" * 32, "👩\u200d💻"])
SIZES = st.tuples(st.integers(1, 130), st.integers(1, 40))
KEYS = st.sampled_from(
    ["left", "right", "up", "down", "home", "end", "backspace", "delete", "tab", "shift tab", "meta enter", "ctrl w"]
) | st.sampled_from(["ctrl u", "ctrl y", "ctrl _", "ctrl c", "meta b", *"ab /日\u0301"])
ACTIONS = st.sampled_from(
    ["end", "first-unread", "next-mention", "previous-mention", "next-active", "next-page", "members", "help", "close"]
)
COMMANDS = st.sampled_from(
    ["/help", "/set", "/search a", "/history 3", "/msg bo hi", "/queue", "/clear", "/ignore bo", "/topic", "/close"]
)
STATES = st.sampled_from(["live", "moving", "searching", "closed"])
MEMBER_STATES = st.sampled_from(["joined", "left", "lost", "away", "back", "silent", "heard"])


def resized(desk: Bench, size: tuple[int, int]) -> None:
    desk.size = size


def found(desk: Bench, texts: list[str], more: bool) -> None:
    desk.fold(notices.FoundMessages(tuple(desk.message(seq, "bo", text) for seq, text in enumerate(texts, 1)), more))


def part(desk: Bench, texts: list[str]) -> None:
    """An answer to the last question about the history, if there was one."""
    asked = [intent.before for intent in desk.asked if hasattr(intent, "before")]
    if asked:
        first = max(1, asked[-1] - len(texts))
        desk.fold(notices.HistoryPage(tuple(desk.message(first + n, "bo", text) for n, text in enumerate(texts)), True))


TELLS: list[st.SearchStrategy[Deed]] = [
    st.builds(lambda nick, text: lambda desk: desk.say(nick, text), NICKS, CLEAN),
    st.builds(lambda text: lambda desk: desk.say("ana", text, own=True), CLEAN),
    st.builds(lambda state: lambda desk: desk.fold(notices.StateChanged(state=state, queued=0)), STATES),
    st.builds(lambda text: lambda desk: desk.fold(notices.Topic(text=text, by="bo")), CLEAN),
    st.builds(
        lambda nick, state, text: lambda desk: desk.fold(notices.MemberChanged(name=nick, state=state, text=text)),
        NICKS,
        MEMBER_STATES,
        CLEAN,
    ),
    st.builds(
        lambda nick, text, tag: (
            lambda desk: desk.fold(notices.Private(sender=nick, to="ana", id=f"p{tag}", text=text, state="received"))
        ),
        NICKS,
        CLEAN,
        st.integers(0, 99),
    ),
    st.builds(lambda texts, more: lambda desk: found(desk, texts, more), st.lists(CLEAN, max_size=9), st.booleans()),
    st.builds(lambda texts: lambda desk: part(desk, texts), st.lists(CLEAN, max_size=9)),
]
DOES: list[st.SearchStrategy[Deed]] = [
    st.builds(lambda key: lambda desk: desk.editor.press(key), KEYS),
    st.builds(lambda text: lambda desk: desk.editor.press(Pasted(text)), TEXTS),
    st.builds(lambda text: lambda desk: desk.editor.paste(text), TEXTS),
    st.builds(lambda text: lambda desk: desk.enter(text), TEXTS | COMMANDS),
    st.builds(lambda: lambda desk: desk.enter(desk.editor.take())),
    st.builds(lambda action: lambda desk: desk.model.act(action, desk.now_ms), ACTIONS),
    st.builds(lambda step: lambda desk: desk.model.pick(step), st.integers(-3, 3)),
    st.builds(lambda: lambda desk: desk.model.pick_up()),
    st.builds(lambda seq: lambda desk: desk.model.jump(seq), st.integers(1, 300)),
    st.builds(
        lambda how: lambda desk: desk.scroll(how), st.sampled_from(["page up", "page down", "up", "down", "top"])
    ),
    st.builds(lambda has_focus: lambda desk: desk.model.focus(has_focus=has_focus), st.booleans()),
    st.builds(lambda size: lambda desk: resized(desk, size), SIZES),
]
DEEDS = st.lists(st.one_of(*TELLS, *DOES), min_size=5, max_size=40)


@pytest.fixture(autouse=True)
def _encoding() -> Iterator[None]:
    with urwid.util.set_temporary_encoding("utf-8"):
        yield


def check(desk: Bench) -> None:
    """Draw it: each row fills the screen, and the cursor is in it."""
    columns, rows = desk.size
    desk.screen(columns, rows)
    canvas = desk.view.widget.render(desk.size, focus=True)
    assert (canvas.cols(), canvas.rows()) == (columns, rows)
    content = [[(attribute, charset, bytes(text)) for attribute, charset, text in row] for row in canvas.content()]
    assert len(content) == rows
    for row in content:
        text = b"".join(text for _, _, text in row)
        assert urwid.calc_width(text, 0, len(text)) == columns
        shown = text.decode(urwid.util.get_encoding())
        assert shown.isprintable() or not any(char < " " or "\x7f" <= char < "\xa0" for char in shown)
        assert not set(shown) & set("\u202e\u2028\ufeff")
    if canvas.cursor is not None:
        assert 0 <= canvas.cursor[0] < columns and 0 <= canvas.cursor[1] < rows
    lines = desk.view.plain_lines(20)
    assert len(lines) <= 20
    assert not any(char < " " or "\x7f" <= char < "\xa0" for line in lines for char in line)


@pytest.mark.parametrize("charset", ["utf-8", "ascii"])
@settings(max_examples=120)
@given(size=SIZES, deeds=DEEDS)
def test_any_deeds_in_any_order_leave_a_screen_of_its_size(
    charset: str, size: tuple[int, int], deeds: list[Deed]
) -> None:
    with urwid.util.set_temporary_encoding(charset):
        desk = Bench(charset, FINE if charset == "utf-8" else ASCII)
        desk.size = size
        desk.fold(ready("ana", "bo", "cy", head=200))
        check(desk)
        for deed in deeds:
            deed(desk)
            desk.settle()
            check(desk)
