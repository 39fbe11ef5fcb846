"""The codec: every kind survives the trip, and nothing else comes out of it than a message or a WireError."""

import enum
import types
import typing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import codec, limits, messages
from wire.errors import Malformed, UnknownKind, WireError

UNIONS = {
    "DnsRequest": messages.DnsRequest,
    "DnsReply": messages.DnsReply,
    "ToServer": messages.ToServer,
    "ToClient": messages.ToClient,
    "Feed": messages.Feed,
    "Pair": messages.Pair,
    "Talk": messages.Talk,
}
KINDS = [(union, kind) for union in UNIONS.values() for kind in typing.get_args(union)]
KIND_IDS = [kind.__name__ for _, kind in KINDS]


def values(kind: typing.Any) -> st.SearchStrategy[typing.Any]:
    """Values of a message's field type, within its bounds."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        inner, *metas = typing.get_args(kind)
        meta: dict[str, typing.Any] = {}
        for item in metas:
            meta |= {name: getattr(item, name) for name in ("ge", "le", "min_length", "max_length")}
        if typing.get_origin(inner) is tuple:
            return tuples(inner, meta["min_length"] or 0, min(meta["max_length"] or 3, 3))
        if inner is int:
            return st.integers(meta["ge"] or 0, meta["le"] if meta["le"] is not None else 2**63 - 1)
        if inner is bytes:
            return st.binary(min_size=meta["min_length"] or 0, max_size=min(meta["max_length"] or 50, 50))
        return st.text(min_size=meta["min_length"] or 0, max_size=min(meta["max_length"] or 20, 20))
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(values, typing.get_args(kind)))
    if origin is tuple:
        return tuples(kind, 0, 3)
    if kind is type(None):
        return st.none()
    if kind is bool:
        return st.booleans()
    if kind is bytes:
        return st.binary(max_size=50)
    if kind is str:
        return st.text(max_size=20)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from(list(kind))
    return structs(kind)


def tuples(kind: typing.Any, min_size: int, max_size: int) -> st.SearchStrategy[typing.Any]:
    """Values of a tuple type: so many of one kind, or each of its own."""
    first, *others = typing.get_args(kind)
    if others == [...]:
        return st.lists(values(first), min_size=min_size, max_size=max_size).map(tuple)
    return st.tuples(*map(values, (first, *others)))


def structs(kind: typing.Any) -> st.SearchStrategy[typing.Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return st.builds(kind, **{name: values(hints[name]) for name in kind.__struct_fields__})


@pytest.mark.parametrize(("union", "kind"), KINDS, ids=KIND_IDS)
@given(data=st.data())
def test_every_kind_comes_back_as_it_was(union: typing.Any, kind: typing.Any, data: st.DataObject) -> None:
    message = data.draw(structs(kind))
    assert codec.decode(codec.encode(message), union) == message


def test_no_two_kinds_share_a_number() -> None:
    kinds = {kind for _, kind in KINDS}
    numbers = [kind.__struct_config__.tag for kind in kinds]
    assert len(set(numbers)) == len(numbers)


@given(st.lists(st.binary(max_size=80), max_size=3), st.sampled_from(sorted(UNIONS)))
def test_any_frames_give_a_message_or_a_wire_error(frames: list[bytes], name: str) -> None:
    try:
        message = codec.decode(frames, UNIONS[name])
    except WireError as error:
        assert str(error)
    else:
        assert isinstance(message, typing.get_args(UNIONS[name]))


@given(st.data(), st.integers(0, 255), st.integers(0, 400))
def test_a_flipped_byte_gives_a_message_or_a_wire_error(data: st.DataObject, value: int, where: int) -> None:
    union, kind = data.draw(st.sampled_from(KINDS))
    frames = [bytearray(frame) for frame in codec.encode(data.draw(structs(kind)))]
    if frames[0]:
        frames[0][where % len(frames[0])] = value
    try:
        assert isinstance(codec.decode([bytes(frame) for frame in frames], union), messages.Message)
    except WireError as error:
        assert str(error)


def test_a_kind_of_another_socket_is_unknown_here() -> None:
    with pytest.raises(UnknownKind, match="42"):
        codec.decode(codec.encode(messages.Ping(1)), messages.Feed)


def test_a_field_a_newer_program_added_at_the_end_is_passed_over() -> None:
    frame = msgspec.msgpack.encode([42, 7, "new"])
    assert codec.decode([frame], messages.ToServer) == messages.Ping(7)


@pytest.mark.parametrize("frames", [[], [b"", b"", b""], [b"x" * (limits.FRAME_BYTES_MAX + 1)]])
def test_too_few_too_many_or_too_long_frames_are_malformed(frames: list[bytes]) -> None:
    with pytest.raises(Malformed):
        codec.decode(frames, messages.ToServer)


def test_a_block_belongs_to_the_kinds_that_have_one_and_to_no_other() -> None:
    with pytest.raises(Malformed, match="block"):
        codec.decode(codec.encode(messages.Published(1, 1, 0))[:1], messages.Feed)
    with pytest.raises(Malformed, match="block"):
        codec.decode([*codec.encode(messages.Ping(1)), b"\xdd\0\0\0\0"], messages.ToServer)


@pytest.mark.parametrize(
    "message",
    [
        messages.Posts(1, ("x" * (limits.TEXT_BYTES_MAX + 1),)),
        messages.Posts(1, ()),
        messages.Posts(0, ("x",)),
        messages.Posts(1, ("x",) * (limits.POSTS_PER_MESSAGE_MAX + 1)),
        messages.Fetch(1, 1, limits.FETCH_ENTRIES_MAX + 1),
        messages.Rename(-1, "x"),
    ],
)
def test_values_out_of_bounds_are_malformed(message: messages.Message) -> None:
    with pytest.raises(Malformed):
        codec.decode(codec.encode(message), messages.ToServer)


def entry(seq: int) -> messages.Entry:
    return messages.Entry(seq, 1, "a", "s", seq, 0, "ana", f"text {seq}")


def test_a_block_is_made_of_entries_that_are_already_encoded() -> None:
    block = codec.join_block([codec.encode_entry(entry(seq)) for seq in (4, 5)])
    assert codec.decode_block(block, 4, 2) == (entry(4), entry(5))
    assert codec.decode_entries(block) == (entry(4), entry(5))


@pytest.mark.parametrize(("first", "count"), [(3, 2), (4, 1), (4, 3), (5, 2)])
def test_a_block_that_does_not_hold_what_it_says_is_malformed(first: int, count: int) -> None:
    block = codec.join_block([codec.encode_entry(entry(seq)) for seq in (4, 5)])
    with pytest.raises(Malformed):
        codec.decode_block(block, first, count)


@given(st.binary(max_size=60))
def test_any_bytes_are_entries_or_malformed(data: bytes) -> None:
    for read in (codec.decode_entry, codec.decode_entries, lambda block: codec.decode_block(block, 1, 1)):
        try:
            assert read(data) is not None
        except Malformed as error:
            assert str(error)
