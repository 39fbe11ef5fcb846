"""Who answers the requests that come to the port of zdns: the desk, here for a store that it has to itself.

Requests are judged one after the other, in the order in which they came. One that changes a record is
answered only when the store has it on disk; the store works in a thread of its own, so that the port is
served meanwhile, and a slow disk costs those who wait for it rather than ending everybody's lease.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import Protocol

from runtime import clock
from wire import limits
from wire.errors import RefusalCode
from wire.messages import DnsReply, NameRequest, Record, Refused, Register
from zdns.registry import Registry, Seals
from zdns.stores import Store, StoreDoubtful, StoreError

log = logging.getLogger("relevo.zdns")

_REQUESTS_PER_TURN = 64  # then the loop has its turn, so that the port is read


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that waits: what, by whom (the way back of its answer), and when it came."""

    request: NameRequest
    sender: bytes
    came_ms: int


# Sends an answer to whoever asked.
Answer = Callable[[DnsReply, Asked], object]


class Desk(Protocol):
    """What the server needs of a desk."""

    async def open(self) -> None:
        """Be ready to take requests. Raises StoreError."""

    def take(self, asked: Asked) -> None:
        """Have a request answered in a while, or never: then whoever asked asks again."""

    async def work(self) -> None:
        """Answer for ever. Raises StoreDoubtful, or whatever else must end the process."""

    def extend_leases(self, lost_ms: int) -> None:
        """Give back time in which nobody could renew because the process stood still."""

    def evict(self, banned: Container[str]) -> None:
        """The servers of these fingerprints are not there any more."""

    def describe(self) -> str:
        """How much is known, in one short line."""

    def close(self) -> None:
        """Take nothing more, and wait for what the store is doing."""


class OwnDesk:
    """The desk of the only zdns of its store. Invariant: no answer leaves that tells of a record not on disk."""

    def __init__(
        self,
        store: Store,
        lease_ms: int,
        rng: Random,
        answer: Answer,
        *,
        grace_ms: int,
        seals: Seals | None = None,
    ) -> None:
        """Make it inside a running loop; `store` stays the caller's to close. `grace_ms`, `seals`: see Registry."""
        self._store = store
        self._lease_ms = lease_ms
        self._grace_ms = grace_ms
        self._seals = seals
        self._rng = rng
        self._send = answer
        self._loop = asyncio.get_running_loop()
        self._registry = self._make_registry([])
        # One thread: a store is used by one at a time.
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="zdns-store")
        self._waiting: deque[Asked] = deque()
        self._wake = asyncio.Event()
        self._dropped_count = 0

    async def open(self) -> None:
        """Read the records. Raises StoreError."""
        records = await self._loop.run_in_executor(self._pool, self._store.load)
        self._registry = self._make_registry(records)

    def take(self, asked: Asked) -> None:
        """Put a request at the end of the queue; when that is full it gets no answer."""
        if len(self._waiting) >= limits.LINK_QUEUE_MAX:
            self._dropped_count = note_dropped(self._dropped_count)
            return
        self._waiting.append(asked)
        self._wake.set()

    async def work(self) -> None:
        """Answer what waits, for ever. Raises StoreDoubtful."""
        while True:
            for _ in range(min(len(self._waiting), _REQUESTS_PER_TURN)):
                asked = self._waiting.popleft()
                self._send(await self._reply(asked), asked)
            if self._waiting:
                await asyncio.sleep(0)
            else:
                self._wake.clear()
                await self._wake.wait()

    def extend_leases(self, lost_ms: int) -> None:
        """Give back time in which nobody could renew."""
        self._registry.extend_leases(lost_ms)

    def evict(self, banned: Container[str]) -> None:
        """Forget them."""
        self._registry.evict(banned)

    def describe(self) -> str:
        """The registry's line."""
        return self._registry.describe()

    def close(self) -> None:
        """Wait for the disk."""
        self._pool.shutdown(cancel_futures=True)

    def _make_registry(self, records: Sequence[Record]) -> Registry:
        now_ms = clock.monotonic_ms()
        return Registry(records, self._lease_ms, now_ms, rng=self._rng, grace_ms=self._grace_ms, seals=self._seals)

    async def _reply(self, asked: Asked) -> DnsReply:
        request = asked.request
        # The time at which it came counts: while others wait for the disk nobody's lease runs out unseen.
        decision = self._registry.decide(request, asked.came_ms)
        note_refusal(request, decision.reply)
        if decision.record is None:
            return decision.reply
        try:
            await self._loop.run_in_executor(self._pool, self._store.save, decision.record)
        except StoreDoubtful:
            log.error("%s: it is not known whether the record was saved", named(request))
            raise
        except StoreError as error:
            log.error("%s: %s", named(request), error)
            return not_written(request, error)
        self._registry.adopt(decision.record)
        log.info("%s by %s", described(decision.record), named(request))
        if isinstance(request, Register):
            log.warning("this store did not have it; a server told of it: %s", described(decision.record))
        return decision.reply


def not_written(request: NameRequest, error: StoreError) -> Refused:
    """The answer to a request that the store certainly did not carry out."""
    sentence = f"zdns could not write it down, so it did not happen: {error}"
    return Refused(request.ask, RefusalCode.STORE_FAILED, sentence[: limits.MESSAGE_CHARS_MAX])


def note_refusal(request: NameRequest, reply: DnsReply) -> None:
    """Log an expected no."""
    if isinstance(reply, Refused):
        log.info("%s refused: %s %s", named(request), reply.code.name, reply.message)


def note_dropped(dropped_count: int) -> int:
    """Count one more request without answer, and log the 1st, 2nd, 4th, 8th …"""
    dropped_count += 1
    if dropped_count & (dropped_count - 1) == 0:
        log.warning("dropped=%d requests: more than %d wait", dropped_count, limits.LINK_QUEUE_MAX)
    return dropped_count


def named(request: NameRequest) -> str:
    """A request in the log."""
    return f"service={request.service!r} {type(request).__name__}"


def described(record: Record) -> str:
    """A record in the log."""
    in_sync = ",".join(server.id for server in record.in_sync)
    volatile = f" volatile={','.join(record.volatile)}" if record.volatile else ""
    return (
        f"service={record.service} epoch={record.epoch} version={record.version} "
        f"active={record.active.id} in_sync={in_sync}{volatile}"
    )
