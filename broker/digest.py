"""The digest of a history, which can be told for any seq and be taken up again anywhere; pure.

Entries are hashed in spans of SPAN_ENTRIES, counted from seq 1, whatever blocks they came in:

    link 0 = H(name of the log), link k + 1 = H(link k, the bytes of the k-th span of entries)
    digest at seq n = H(last link before n, the bytes of the entries since then); at the end of a span, its link

So two copies are compared at any seq by hashing less than a span, a copy on disk is verified span by span while it
is read, and who knows the links can go on from any of them. A link depends on all entries before it, and on the log.
"""

import hashlib
from collections.abc import Sequence

# Chosen: with messages of 128 bytes a span is 12 KiB. Larger ones make reading one entry dear (a whole span is read and
# verified), smaller ones make verifying a long history dear (a call for each).
SPAN_ENTRIES = 64
DIGEST_BYTES = 32


def first_link(log: str) -> bytes:
    """The digest of a history without entries."""
    return _hasher(log.encode()).digest()


def next_link(link: bytes, span: bytes) -> bytes:
    """The link after a span, from the one before it and the bytes of its entries, joined."""
    hasher = _hasher(link)
    hasher.update(span)
    return hasher.digest()


def span_of(seq: int) -> int:
    """The number of the span entry `seq` is in, from 0."""
    return (seq - 1) // SPAN_ENTRIES


class Chain:
    """The links of a history's digest, and where the last, open span stands."""

    def __init__(self, log: str) -> None:
        self._links = [first_link(log)]
        self._open = _hasher(self._links[0])
        self._open_count = 0

    @property
    def head(self) -> int:
        """The seq of the last entry hashed."""
        return (len(self._links) - 1) * SPAN_ENTRIES + self._open_count

    def digest(self) -> bytes:
        """The digest of all entries, DIGEST_BYTES long; two histories with the same one are the same."""
        return self._open.digest() if self._open_count else self._links[-1]

    def digest_at(self, seq: int, rest: Sequence[bytes] = ()) -> bytes:
        """The digest of the entries 1 … `seq`.

        Args:
            seq: not over `head`.
            rest: the entries of the span that `seq` is in, up to `seq`; none when `seq` ends a span.
        """
        link = self._link_before(seq, rest)
        return next_link(link, b"".join(rest)) if rest else link

    def link(self, number: int) -> bytes:
        """The link before span `number`; 0 gives the first."""
        return self._links[number]

    def add(self, entries: Sequence[bytes]) -> None:
        """Hash the entries that follow."""
        done = 0
        while done < len(entries):
            piece = entries[done : done + SPAN_ENTRIES - self._open_count]
            self._open.update(b"".join(piece))
            self._open_count += len(piece)
            done += len(piece)
            if self._open_count == SPAN_ENTRIES:
                self._close_span(self._open.digest())

    def add_span(self, span: bytes) -> None:
        """Hash a whole span, joined. The last one must be complete."""
        if self._open_count:
            raise ValueError(f"a span cannot follow entry {self.head}")
        self._close_span(next_link(self._links[-1], span))

    def cut(self, after: int, rest: Sequence[bytes] = ()) -> None:
        """Forget what follows entry `after`; `rest` as for `digest_at`."""
        link = self._link_before(after, rest)
        del self._links[after // SPAN_ENTRIES + 1 :]
        self._open, self._open_count = _hasher(link), 0
        self.add(rest)

    def copy(self) -> "Chain":
        """Another one that stands at the same entry."""
        other = Chain("")
        other._links, other._open, other._open_count = self._links[:], self._open.copy(), self._open_count
        return other

    def _link_before(self, seq: int, rest: Sequence[bytes]) -> bytes:
        if not 0 <= seq <= self.head or len(rest) != seq % SPAN_ENTRIES:
            raise ValueError(f"{len(rest)} entries do not lead to entry {seq} of {self.head}")
        return self._links[seq // SPAN_ENTRIES]

    def _close_span(self, link: bytes) -> None:
        self._links.append(link)
        self._open, self._open_count = _hasher(link), 0


def _hasher(start: bytes) -> hashlib.blake2b:
    return hashlib.blake2b(start, digest_size=DIGEST_BYTES, person=b"relevo history")
