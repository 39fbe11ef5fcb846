"""Who may connect to a closed network's sockets: ZAP requests, as libzmq makes them, and what is answered; pure.

Each bound socket is a domain with a policy of its own (https://rfc.zeromq.org/spec/27/). A refusal is final for
whoever hears it, as its libzmq never tries again; "later" is silence, and it tries again when its handshake has
timed out. So nobody is refused for coming too often, or before it could be allowed.
"""

import base64
import enum
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wire import limits
from wire.identity import KEY_CHARS

_Z85: Final = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_B85: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_TO_Z85: Final = bytes.maketrans(_B85, _Z85)
_FROM_Z85: Final = bytes(_B85[_Z85.index(byte)] if byte in _Z85 else 0 for byte in range(256))
_KEY_BYTES: Final = 32
_VERSION: Final = b"1.0"
_HEAD_FRAMES: Final = 8  # the asker, an empty one, version, number, domain, address, routing id, mechanism


def raw_key(text: str) -> bytes:
    """The 32 bytes of a key in Z85.

    Raises:
        ValueError: `text` is no key.
    """
    if len(text) != KEY_CHARS:  # the decoder would fill up a piece at the end
        raise ValueError(f"a key has {KEY_CHARS} characters")
    return base64.b85decode(text.encode("ascii").translate(_FROM_Z85))


def key_text(raw: bytes) -> str:
    """The 32 bytes of a key, in Z85."""
    return base64.b85encode(raw).translate(_TO_Z85).decode()


# --- requests and answers -----------------------------------------------------------------------------------------


class Verdict(enum.Enum):
    """What is said to a request; the value is ZAP's status code."""

    ACCEPT = b"200"
    LATER = b"300"
    REFUSE = b"400"
    FAILED = b"500"  # a bug of ours
    HOLD = b""  # nothing yet


@dataclass(frozen=True, slots=True)
class Request:
    """One connection that wants in. `asker` and `number` are for the answer; `key` is empty if it proved none."""

    asker: bytes
    number: bytes
    domain: bytes
    address: str
    key: str


def parse_request(frames: Sequence[bytes]) -> Request:
    """The request that a ROUTER read from libzmq.

    Raises:
        ValueError: it is none that could be answered.
    """
    if len(frames) < _HEAD_FRAMES or frames[1] != b"" or frames[2] != _VERSION:
        raise ValueError("not a request of ZAP 1.0")
    asker, _, _, number, domain, address, _, mechanism = frames[:_HEAD_FRAMES]
    proofs = frames[_HEAD_FRAMES:]
    proved = mechanism == b"CURVE" and len(proofs) == 1 and len(proofs[0]) == _KEY_BYTES
    return Request(asker, number, domain, address.decode("latin-1"), key_text(proofs[0]) if proved else "")


def answer_frames(request: Request, verdict: Verdict) -> list[bytes]:
    """The answer, as a ROUTER sends it; the user id of an accepted connection is its key."""
    user = request.key.encode() if verdict is Verdict.ACCEPT else b""
    return [request.asker, b"", _VERSION, request.number, verdict.value, b"", user, b""]


# --- policies -----------------------------------------------------------------------------------------------------


class Policy:
    """Which keys may connect to one bound socket: here all. What they may say is for the core to judge."""

    def judge(self, key: str) -> Verdict:  # noqa: ARG002  # others look at it
        """What is said to whoever has proved `key`."""
        return Verdict.ACCEPT

    def allow(self, key: str) -> None:
        """Let in whoever has `key`. Where nobody needs that, it changes nothing."""

    def expel(self, key: str) -> None:
        """Take that back."""

    def is_in(self, key: str) -> bool:
        """Whether a connection of `key` may be there."""
        return self.judge(key) is Verdict.ACCEPT


class AllowedOnly(Policy):
    """Keys that were allowed; the others are kept waiting."""

    def __init__(self) -> None:
        self._allowed: dict[str, None] = {}

    def judge(self, key: str) -> Verdict:
        return Verdict.ACCEPT if key in self._allowed else Verdict.HOLD

    def allow(self, key: str) -> None:
        self._allowed.pop(key, None)
        self._allowed[key] = None
        if len(self._allowed) > limits.ADMITTED_MAX:
            del self._allowed[next(iter(self._allowed))]

    def expel(self, key: str) -> None:
        self._allowed.pop(key, None)


class OneKey(Policy):
    """One key; with an empty one nobody."""

    def __init__(self, key: str) -> None:
        self._key = key

    def judge(self, key: str) -> Verdict:
        return Verdict.ACCEPT if key and key == self._key else Verdict.REFUSE


# --- the gate -----------------------------------------------------------------------------------------------------


class _Bucket:
    """How many handshakes may still come: full at first, refilled at a rate."""

    __slots__ = ("_at_ms", "_burst", "_left", "_per_s")

    def __init__(self, burst: int, per_s: int, now_ms: int) -> None:
        self._burst = burst
        self._per_s = per_s
        self._left = float(burst)
        self._at_ms = now_ms

    def has_one(self, now_ms: int) -> bool:
        self._left = min(self._left + (now_ms - self._at_ms) * self._per_s / 1000, float(self._burst))
        self._at_ms = now_ms
        return self._left >= 1

    def take(self) -> None:
        self._left -= 1


@dataclass(frozen=True, slots=True)
class _Held:
    request: Request
    until_ms: int


Answer = tuple[Request, Verdict]


class Gate:
    """Decides about each connection to any bound socket of the process. What it does not know it refuses.

    Invariant: each request gets exactly one verdict other than HOLD, from `decide` or from a later call.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._policies: dict[bytes, Policy] = {}
        self._all: _Bucket | None = None
        self._by_address: dict[str, _Bucket] = {}
        self._held: dict[tuple[bytes, bytes], _Held] = {}  # by asker and number, the one that waits longest first
        self._held_by_address: Counter[str] = Counter()

    @property
    def next_due_ms(self) -> int | None:
        """When `expire` has something to do; None: nothing waits."""
        return next(iter(self._held.values())).until_ms if self._held else None

    def open(self, policy: Policy) -> bytes:
        """Take a bound socket's policy; returns the domain that the socket must name."""
        domain = b"relevo-%d" % next(self._numbers)
        self._policies[domain] = policy
        return domain

    def close(self, domain: bytes) -> list[Answer]:
        """Forget a domain, and refuse who waits for it."""
        self._policies.pop(domain, None)
        return self._release(domain, None, Verdict.REFUSE)

    def allow(self, domain: bytes, key: str) -> list[Answer]:
        """Let whoever has `key` in, and those who wait with it."""
        policy = self._policies.get(domain)
        if policy is None:
            return []
        policy.allow(key)
        verdict = policy.judge(key)
        return [] if verdict is Verdict.HOLD else self._release(domain, key, verdict)

    def expel(self, domain: bytes, key: str) -> list[Answer]:
        """Take back what was allowed to `key`, and refuse those who wait with it."""
        policy = self._policies.get(domain)
        if policy is None:
            return []
        policy.expel(key)
        return self._release(domain, key, Verdict.REFUSE)

    def decide(self, request: Request, now_ms: int) -> Verdict:
        """What to answer to a request; if that is HOLD, one of the other calls answers it later."""
        policy = self._policies.get(request.domain)
        if policy is None or not request.key:
            return Verdict.REFUSE
        if not self._is_in_time(request.address, now_ms):
            return Verdict.LATER
        verdict = policy.judge(request.key)
        if verdict is Verdict.HOLD:
            if (
                len(self._held) >= limits.ADMISSIONS_HELD_MAX
                or self._held_by_address[request.address] >= limits.ADMISSIONS_HELD_PER_ADDRESS_MAX
                or (request.asker, request.number) in self._held
            ):
                return Verdict.LATER
            self._held[request.asker, request.number] = _Held(request, now_ms + limits.ADMISSION_WAIT_MS)
            self._held_by_address[request.address] += 1
        return verdict

    def expire(self, now_ms: int) -> list[Answer]:
        """Refuse who has waited too long."""
        late = list(itertools.takewhile(lambda each: each[1].until_ms <= now_ms, self._held.items()))
        return [self._let_go(at, Verdict.REFUSE) for at, _ in late]

    def _release(self, domain: bytes, key: str | None, verdict: Verdict) -> list[Answer]:
        return [
            self._let_go(at, verdict)
            for at, held in list(self._held.items())
            if held.request.domain == domain and key in (None, held.request.key)
        ]

    def _let_go(self, at: tuple[bytes, bytes], verdict: Verdict) -> Answer:
        request = self._held.pop(at).request
        self._held_by_address[request.address] -= 1
        if not self._held_by_address[request.address]:
            del self._held_by_address[request.address]
        return request, verdict

    def _is_in_time(self, address: str, now_ms: int) -> bool:
        """Whether neither this address nor all together come too often; counts this one then."""
        if self._all is None:
            self._all = _Bucket(limits.HANDSHAKES_BURST, limits.HANDSHAKES_PER_S, now_ms)
        mine = self._by_address.pop(address, None)
        if mine is None:
            if len(self._by_address) >= limits.HANDSHAKE_ADDRESSES_MAX:
                del self._by_address[next(iter(self._by_address))]
            mine = _Bucket(limits.HANDSHAKES_BURST_PER_ADDRESS, limits.HANDSHAKES_PER_S_PER_ADDRESS, now_ms)
        self._by_address[address] = mine  # at the end: the one that was silent longest is forgotten first
        if not mine.has_one(now_ms) or not self._all.has_one(now_ms):
            return False
        mine.take()
        self._all.take()
        return True
