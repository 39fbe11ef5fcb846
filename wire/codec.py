"""Frames to messages and back, and entries to blocks; pure.

A message is one frame, a MessagePack array; a message with a block is two, the second being the block: a
MessagePack array of entries. Entries are encoded once, when they are taken into the history; a block is
made by joining what is already encoded, so the same bytes are stored, published, fetched and dumped.
"""

import struct
from collections.abc import Hashable, Sequence
from functools import cache
from typing import Any, cast

import msgspec

from wire import limits
from wire.errors import Malformed, UnknownKind
from wire.messages import Entry, Message

_encoder = msgspec.msgpack.Encoder()
_entry_decoder = msgspec.msgpack.Decoder(Entry)
_block_decoder = msgspec.msgpack.Decoder(tuple[Entry, ...])
_raw_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])
_array_32 = struct.Struct(">BI")


def encode(message: Message) -> list[bytes]:
    """The frames of a message: 1, or 2 when it carries a block. Source: docs/protocol.md, section Frames."""
    if message.has_block:
        head = _encoder.encode(msgspec.structs.replace(message, block=b""))
        return [head, message.block]  # type: ignore[attr-defined]  # has_block says that it is there
    return [_encoder.encode(message)]


@cache
def _decoder(union: Hashable) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(cast(Any, union))


def decode(frames: Sequence[bytes], union: Any) -> Message:
    """Read one message of the closed `union` that a socket carries.

    Args:
        frames: 1 or 2 parts, routing parts and topic already removed.
        union: one of the unions of `wire.messages`, such as `ToServer`.

    Raises:
        Malformed: no part, too many, one over limits.FRAME_BYTES_MAX, or not of the shape its kind has.
        UnknownKind: a well-formed message, but of a kind this socket does not carry.
    """
    if not frames or len(frames) > 2:
        raise Malformed(f"a message has 1 or 2 frames, this one has {len(frames)}")
    if max(map(len, frames)) > limits.FRAME_BYTES_MAX:
        raise Malformed(f"a frame has at most {limits.FRAME_BYTES_MAX} bytes")
    try:
        message: Any = _decoder(union).decode(frames[0])
    except msgspec.ValidationError as error:
        if "Invalid value" in str(error) and str(error).endswith("`$[0]`"):
            raise UnknownKind(f"no kind of message this socket carries: {error}") from error
        raise Malformed(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from error
    if message.has_block:
        if len(frames) != 2:
            raise Malformed(f"{type(message).__name__} lacks its block")
        return cast(Message, msgspec.structs.replace(message, block=frames[1]))
    if len(frames) != 1:
        raise Malformed(f"{type(message).__name__} has no block")
    return cast(Message, message)


def encode_entry(entry: Entry) -> bytes:
    """The bytes of one entry, as they are kept and digested from now on."""
    return _encoder.encode(entry)


def decode_entry(data: bytes) -> Entry:
    """Read one entry that `encode_entry` made.

    Raises:
        Malformed: it is none.
    """
    try:
        return _entry_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(str(error)) from error


def join_block(entries: Sequence[bytes]) -> bytes:
    """A block of entries that are already encoded."""
    return b"".join((_array_32.pack(0xDD, len(entries)), *entries))


def decode_block(block: bytes, first: int, count: int) -> tuple[Entry, ...]:
    """Read a block and check that it holds the entries `first` … `first + count - 1`, in this order.

    Raises:
        Malformed: it does not.
    """
    try:
        entries = _block_decoder.decode(block)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"no block of entries: {error}") from error
    if len(entries) != count:
        raise Malformed(f"a block of {count} entries has {len(entries)}")
    for index, entry in enumerate(entries):
        if entry.seq != first + index:
            raise Malformed(f"entry {entry.seq} stands where {first + index} belongs")
    return entries


def split_block(block: bytes) -> tuple[bytes, list[bytes]]:
    """The bytes of a block's entries, all together and each by itself, as `join_block` was given them.

    Raises:
        Malformed: it is no block, or not one that `join_block` made.
    """
    try:
        parts = [bytes(raw) for raw in _raw_decoder.decode(block)]
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed(f"no block of entries: {error}") from error
    if block[: _array_32.size] != _array_32.pack(0xDD, len(parts)):
        raise Malformed("a block begins with an array header of 32 bits")
    return block[_array_32.size :], parts


def decode_entries(block: bytes) -> tuple[Entry, ...]:
    """Read a block of entries that need not follow each other (what a search found).

    Raises:
        Malformed: it is none.
    """
    try:
        return _block_decoder.decode(block)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"no block of entries: {error}") from error
