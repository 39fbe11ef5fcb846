"""What is fuzzed, by name: each target takes bytes, and raises when something is not as it must be."""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from peer.intents import UserIntent
from peer.notices import AnyNotice, Fault
from tests.support.client_liars import DirectBench, EngineBench, SessionBench
from tests.support.liars import ServerBench
from tests.support.lies import Source
from tests.support.zdns_liars import LookupBench, ZdnsBench
from ui.faces import JsonFace
from wire import codec, limits, messages
from wire.errors import Malformed, WireError
from wire.ticket import TicketError, parse

_UNIONS: tuple[Any, ...] = (
    messages.DnsRequest,
    messages.DnsReply,
    messages.ToServer,
    messages.ToClient,
    messages.Feed,
    messages.Pair,
    messages.Talk,
)


def decode(data: bytes) -> None:
    """Raw frames, after three bytes: which union, and where the second frame begins; 0: there is none."""
    source = Source(data)
    union, cut = _UNIONS[source.byte() % len(_UNIONS)], source.byte() * 256 + source.byte()
    rest = data[3:]
    frames = [rest] if cut == 0 else [rest[:cut], rest[cut:]]
    with contextlib.suppress(WireError):
        message = codec.decode(frames, union)
        again = codec.encode(message)
        assert max(map(len, again)) <= 9 * limits.FRAME_BYTES_MAX
        assert codec.decode(again, union) == message
    for read in (codec.decode_entry, codec.decode_entries, codec.split_block):
        with contextlib.suppress(Malformed):
            read(rest)
    with contextlib.suppress(Malformed):
        entries = codec.decode_block(rest, cut, source.byte() % 4)
        together, parts = codec.split_block(rest)
        assert together == b"".join(parts) and len(parts) == len(entries)
        assert [codec.decode_entry(part) for part in parts] == list(entries)


def ticket(data: bytes) -> None:
    """A ticket as somebody pasted it."""
    text = data.decode("utf-8", "surrogateescape")
    for tried in (text, f"relevo://{text}", f"relevo://a:1/#{text}"):
        try:
            found = parse(tried)
        except TicketError as error:
            assert "\n" not in str(error)
        else:
            assert parse(str(found)) == found and str(found).isascii()


class _Face(JsonFace):
    """Remembers what it shows."""

    def __init__(self) -> None:
        self.shown: list[AnyNotice] = []

    def show(self, notice: AnyNotice) -> None:
        msgspec.json.encode(notice)
        self.shown.append(notice)


def lines(data: bytes) -> None:
    """Lines of `relevo chat --json`, and what the client half makes of them."""
    bench = EngineBench(Source(b"\1\1\1"), closed=False)
    for line in data.split(b"\n")[:50]:
        face = _Face()
        intent = face.read(line)
        assert (intent is None) == any(isinstance(notice, Fault) for notice in face.shown)
        if intent is not None:
            assert isinstance(intent, UserIntent)
            bench.wants(intent)


def play(data: bytes, bench: Callable[..., Any]) -> None:
    """One of the benches, mostly on a closed network."""
    source = Source(data)
    bench(source, closed=source.byte() % 4 != 0).play()


def server(data: bytes, role: str) -> None:
    """A server half in this role."""
    source = Source(data)
    ServerBench(source, role, closed=source.byte() % 4 != 0).play()


TARGETS: dict[str, Callable[[bytes], None]] = {
    "codec": decode,
    "ticket": ticket,
    "lines": lines,
    "zdns": partial(play, bench=ZdnsBench),
    "lookup": partial(play, bench=LookupBench),
    **{f"server_{role}": partial(server, role=role) for role in ServerBench.ROLES},
    "engine": partial(play, bench=EngineBench),
    "session": partial(play, bench=SessionBench),
    "direct": partial(play, bench=DirectBench),
}
