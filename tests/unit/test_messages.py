"""docs/protocol.md is the authority for what travels: the tables there and the structs here say the same."""

import re
import typing
from pathlib import Path

from wire import messages
from wire.errors import RefusalCode

PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"
UNIONS = (
    messages.DnsRequest,
    messages.DnsReply,
    messages.ToServer,
    messages.ToClient,
    messages.Feed,
    messages.Pair,
    messages.Talk,
)


def documented(pattern: str) -> list[tuple[str, ...]]:
    return re.findall(pattern, PROTOCOL.read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_every_kind_stands_in_the_protocol_with_its_number_and_fields() -> None:
    rows = documented(r"^\| (\d+) \| `(\w+)` \| ([^|]*) \|")
    kinds = [kind for union in UNIONS for kind in typing.get_args(union)]
    in_code = sorted(
        (kind.__struct_config__.tag, kind.__name__, ", ".join(kind.__struct_fields__) or "–") for kind in kinds
    )
    assert sorted((int(number), name, fields) for number, name, fields in rows) == in_code


def test_every_value_stands_in_the_protocol_with_its_fields() -> None:
    rows = documented(r"^\| `(\w+)` \| ([^|]*) \|")
    assert {"ServerInfo", "Record", "Entry", "Member", "RoomState"} <= {name for name, _ in rows}
    for name, fields in rows:
        assert fields == ", ".join(getattr(messages, name).__struct_fields__)


def test_every_refusal_code_stands_in_the_protocol() -> None:
    rows = documented(r"^\| (\d+) \| ([A-Z_]+) \|")
    assert {name: int(number) for number, name in rows} == {code.name: int(code) for code in RefusalCode}
