"""Bytes as they come to the lines in them, with a bound on how long a line may be; pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TooLong:
    """A line of more than the bound; it was thrown away whole. `bytes_max` is the bound."""

    bytes_max: int


class Splitter:
    """Collects bytes until a line is whole. Invariant: it never holds more than `bytes_max` bytes and one chunk."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._rest = b""
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes | TooLong]:
        """The lines that `data` completes, without their line ends (LF, or CR LF)."""
        *whole, rest = (self._rest + data).split(b"\n")
        found: list[bytes | TooLong] = []
        for line in whole:
            found.extend(self._line(line))
            self._skipping = False
        self._rest = rest
        if len(rest) > self._bytes_max + 1:  # one more: it may be the CR of a line that just fits
            found.extend(self._line(rest))
            self._rest, self._skipping = b"", True
        return found

    def end(self) -> list[bytes | TooLong]:
        """The last line, when it has no line end."""
        rest, self._rest = self._rest, b""
        return self._line(rest) if rest else []

    def _line(self, line: bytes) -> list[bytes | TooLong]:
        if self._skipping:
            return []
        line = line.removesuffix(b"\r")
        return [TooLong(self._bytes_max) if len(line) > self._bytes_max else line]
