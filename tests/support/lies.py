"""Messages with arbitrary fields, drawn from bytes: well formed, as anybody may send them, and mostly untrue."""

from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, cast, get_args

import msgspec
from msgspec import inspect

from wire import codec
from wire.errors import WireError
from wire.messages import Entry, Message

T = TypeVar("T")
# Values by the name of the field they make sense in; under the name of a class whole values of it.
Pool = Mapping[str, Sequence[Any]]

_INTS = (
    0,
    1,
    2,
    3,
    4,
    5,
    9,
    10,
    64,
    100,
    1_000,
    2**16,
    2**31,
    2**32 + 1,
    2**53,
    2**62 - 1,
    2**62,
    2**63 - 2,
    2**63 - 1,
)
_TEXTS = (
    "",
    "a",
    "-",
    "ana",
    "ANA",
    "bo",
    "eve",
    "eve-2",
    "ß",
    "ﬁ",
    "ΐ",
    "e\u0301",
    "\0",
    "\u2028",
    "\x1b[31m",
    "../..",
    "a b",
    "\U0001f600",
    "tcp://h:1",
    "tcp://*:*",
    "ipc:///tmp/x",
    "backend.com",
    " \u2028" * 60 + "eve",
    "\U0001f600" * 32,
    "\U00020000" * 32,
    "x" * 32,
    "x" * 80,
    "é" * 8_192,
)
_ITEMS_MAX = 4


class Source:
    """Choices drawn from bytes; when they are used up, each choice is the first one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_empty(self) -> bool:
        """Whether all bytes are used up."""
        return self._at >= len(self._data)

    def byte(self) -> int:
        """The next one."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def of(self, options: Sequence[T]) -> T:
        """One of these, at most 256."""
        return options[self.byte() % len(options)]

    def chance(self, percent: int) -> bool:
        """True so often; never when there are no bytes left."""
        return not self.is_empty and self.byte() * 100 < percent * 256

    def bytes(self, count: int) -> bytes:
        """The next so many, or what there is."""
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken


def message(source: Source, union: Any, pool: Pool) -> Message | None:
    """A message of a closed union as its reader gets it; None: what was drawn is none."""
    drawn = _struct(source, source.of(get_args(union)), pool)
    if drawn.has_block:
        drawn = _with_block(source, drawn, pool)
    try:
        return codec.decode(codec.encode(drawn), union)
    except WireError:
        return None


def value(source: Source, class_: type[T], pool: Pool) -> T:
    """A value of a struct's class."""
    return _struct(source, class_, pool)  # type: ignore[no-any-return]


def _with_block(source: Source, drawn: Any, pool: Pool) -> Any:
    """The same with a block that mostly holds what the message says."""
    first = getattr(drawn, "first", 1)
    entries = []
    for index in range(source.byte() % _ITEMS_MAX):
        entry = _struct(source, Entry, pool)
        if not source.chance(10) and first + index < 2**63:
            entry = msgspec.structs.replace(entry, seq=first + index)
        entries.append(codec.encode_entry(entry))
    block = source.bytes(8) if source.chance(5) else codec.join_block(entries)
    if hasattr(drawn, "count") and not source.chance(10):
        drawn = msgspec.structs.replace(drawn, count=len(entries))
    return msgspec.structs.replace(drawn, block=block)


@cache
def _fields(class_: Hashable) -> tuple[inspect.Field, ...]:
    found = inspect.type_info(class_)
    assert isinstance(found, inspect.StructType)
    return found.fields


def _struct(source: Source, class_: type[Any], pool: Pool) -> Any:
    known = pool.get(class_.__name__, ())
    if known and not source.chance(25):
        drawn = source.of(known)
        if source.chance(50):
            field = source.of(_fields(cast(Any, class_)))
            drawn = msgspec.structs.replace(drawn, **{field.name: _of_type(source, field.type, field.name, pool)})
        return drawn
    return class_(
        **{f.name: _of_type(source, f.type, f.name, pool) for f in _fields(cast(Any, class_)) if f.name != "block"}
    )


def _of_type(source: Source, type_: inspect.Type, name: str, pool: Pool) -> Any:
    match type_:
        case inspect.BoolType():
            return source.byte() % 2 == 1
        case inspect.NoneType():
            return None
        case inspect.UnionType(types=types):
            return _of_type(source, source.of(types), name, pool)
        case inspect.AnyType():
            return source.of((None, 1, "t", [1, {}]))
        case inspect.EnumType(cls=class_):
            return source.of(tuple(class_))
        case inspect.IntType(ge=least):
            near = [one + source.of((0, 0, 1, -1)) for one in _known(source, int, name, pool)]
            return max(least or 0, min(source.of(near or _INTS), 2**63 - 1))
        case inspect.StrType(min_length=least, max_length=most):
            text = source.of(_known(source, str, name, pool) or _TEXTS)[:most]
            return text or "x" * (least or 0)
        case inspect.BytesType(max_length=most):
            return (_known(source, bytes, name, pool) or [source.bytes(4)])[0][:most]
        case inspect.StructType(cls=class_):
            return _struct(source, class_, pool)
        case inspect.VarTupleType(item_type=item, min_length=least):
            known = _known(source, tuple, name, pool)
            if known:
                return source.of(known)
            count = max(least or 0, source.byte() % _ITEMS_MAX)
            return tuple(_of_type(source, item, name, pool) for _ in range(count))
        case inspect.TupleType(item_types=items):
            return tuple(_of_type(source, item, name, pool) for item in items)
        case _:
            raise AssertionError(f"no value of {type_} is known for {name}")


def _known(source: Source, class_: type[T], name: str, pool: Pool) -> list[T]:
    """What makes sense in this field; now and then nothing."""
    known = [one for one in pool.get(name, ()) if isinstance(one, class_)]
    return [] if not known or source.chance(20) else [source.of(known)]
