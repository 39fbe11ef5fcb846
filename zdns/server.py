"""The zdns process: requests from the port to the registry, records to the store, answers back.

Requests are judged one after the other, in the order in which they came. One that changes a record is
answered only when the store has it on disk; the store works in a thread of its own, so that the port is
served meanwhile, and a slow disk costs those who wait for it rather than ending everybody's lease.
"""

import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random, SystemRandom

from runtime import clock, process
from runtime.links import LinkError, Links
from wire import limits
from wire.errors import RefusalCode
from wire.messages import DnsReply, DnsRequest, Record, Refused
from wire.names import LinkId
from wire.step import Event, Garbled, LinkBound, LinkKind, OpenLink, Received, Send
from zdns.registry import Registry
from zdns.stores import Store, StoreDoubtful, StoreError

log = logging.getLogger("relevo.zdns")

_PORT = LinkId("port")
_TICKS_PER_LEASE = 6  # how often the process looks whether it has stood still
_STALL_TICKS = 3  # nothing happened for so many of them: half a lease in which nobody could renew
_REQUESTS_PER_TURN = 64  # then the loop has its turn, so that the port is read


@dataclass(frozen=True, slots=True)
class _Request:
    request: DnsRequest
    sender: bytes
    came_ms: int


class DnsServer:
    """One zdns. Invariant: no answer leaves that tells of a record which is not on disk."""

    def __init__(
        self, host: str, port: int, store: Store, lease_ms: int = limits.LEASE_MS, *, rng: Random | None = None
    ) -> None:
        """Make it inside a running loop.

        Args:
            host: an address or name of this machine; 0.0.0.0 for all its addresses.
            port: 0 for any free one.
            store: stays the caller's to close.
            lease_ms: how long a server that does not renew is thought to be there.
            rng: draws the standbys that are picked.
        """
        if lease_ms <= 0:
            raise ValueError("a lease has to last")
        self._host = host
        self._port = port
        self._store = store
        self._lease_ms = lease_ms
        self._rng = rng or SystemRandom()
        self._registry = Registry([], lease_ms, clock.monotonic_ms(), rng=self._rng)
        advertised = process.local_address_towards("127.0.0.1") if host in ("0.0.0.0", "*", "::") else host
        self._links = Links(bind_host=host, advertise_host=advertised, deliver=self._note, failed=self._fail)
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Request] = deque()
        self._wake = asyncio.Event()
        self._error: Exception | None = None
        self._endpoint = ""
        self._dropped_count = 0
        self._awake_ms = clock.monotonic_ms()
        self._tick: asyncio.TimerHandle | None = None

    async def run(self, on_listening: Callable[[str], object]) -> None:
        """Serve until cancelled; `on_listening` is called once with "tcp://host:port", when requests are taken.

        Raises:
            LinkError: nobody can listen there; the sentence names host and port.
            StoreError: the store cannot be read, or it is unknown whether a record was saved.
        """
        # One thread: a store is used by one at a time.
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="zdns-store") as pool:
            try:
                records = await self._loop.run_in_executor(pool, self._store.load)
                self._registry = Registry(records, self._lease_ms, clock.monotonic_ms(), rng=self._rng)
                await self._listen()
                log.info("%s at %s", self._registry.describe(), self._endpoint)
                self._stay_awake()
                on_listening(self._endpoint)
                await self._serve(pool)
            finally:
                if self._tick is not None:
                    self._tick.cancel()
                await self._links.close()

    # --- the port --------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        where = f"{self._host}:{self._port}"
        try:
            address = await self._resolve()
            self._links.perform(OpenLink(_PORT, LinkKind.DNS_BIND, f"tcp://{address}:{self._port}"))
        except (LinkError, OSError) as error:
            raise LinkError(
                f"zdns cannot listen on {where} ({_why(error)}). If one runs there already, use that one; "
                "else choose another host or port"
            ) from error

    async def _resolve(self) -> str:
        """The host as an address, as ZeroMQ binds to no names."""
        if self._host == "*":
            return "0.0.0.0"
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        found = await self._loop.getaddrinfo(self._host, self._port, family=family, type=socket.SOCK_STREAM)
        address = str(found[0][4][0])
        return f"[{address}]" if family is socket.AF_INET6 else address

    def _note(self, event: Event) -> None:
        """Take what the port delivers."""
        match event:
            case Received(_, message, sender):
                # links.py lets nothing else through.
                self._take(message, sender)  # type: ignore[arg-type]
            case Garbled(_, why, sender):
                self._links.perform(Send(_PORT, Refused(0, RefusalCode.MALFORMED, why), sender))
            case LinkBound(_, endpoints):
                self._endpoint = endpoints[0]
            case _:
                pass  # an asker that left before its answer: whoever still wants to know asks again

    def _take(self, request: DnsRequest, sender: bytes) -> None:
        if len(self._waiting) >= limits.LINK_QUEUE_MAX:
            self._dropped_count += 1
            if self._dropped_count & (self._dropped_count - 1) == 0:  # the 1st, 2nd, 4th, 8th …
                log.warning("dropped=%d requests: more than %d wait", self._dropped_count, limits.LINK_QUEUE_MAX)
            return
        self._waiting.append(_Request(request, sender, self._note_time()))
        self._wake.set()

    def _fail(self, error: Exception) -> None:
        self._error = error
        self._wake.set()

    # --- time --------------------------------------------------------------------------------------------------------

    def _stay_awake(self) -> None:
        self._note_time()
        self._tick = self._loop.call_later(self._lease_ms / 1000 / _TICKS_PER_LEASE, self._stay_awake)

    def _note_time(self) -> int:
        """The time; when this process was stopped for a while, all leases are that much longer."""
        now_ms = clock.monotonic_ms()
        lost_ms = now_ms - self._awake_ms
        self._awake_ms = now_ms
        if lost_ms * _TICKS_PER_LEASE > self._lease_ms * _STALL_TICKS:
            log.warning("stood still for %d ms", lost_ms)
            self._registry.extend_leases(lost_ms)
        return now_ms

    # --- answering ---------------------------------------------------------------------------------------------------

    async def _serve(self, pool: ThreadPoolExecutor) -> None:
        """Answer what waits, for ever."""
        while True:
            for _ in range(min(len(self._waiting), _REQUESTS_PER_TURN)):
                item = self._waiting.popleft()
                reply = await self._answer(item, pool)
                self._links.perform(Send(_PORT, reply, item.sender))
            if self._error is not None:
                raise self._error
            if self._waiting:
                await asyncio.sleep(0)
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _answer(self, item: _Request, pool: ThreadPoolExecutor) -> DnsReply:
        request = item.request
        # The time at which it came counts: while others wait for the disk nobody's lease runs out unseen.
        decision = self._registry.decide(request, item.came_ms)
        if isinstance(decision.reply, Refused):
            log.info("%s refused: %s %s", _name(request), decision.reply.code.name, decision.reply.message)
        if decision.record is None:
            return decision.reply
        try:
            await self._loop.run_in_executor(pool, self._store.save, decision.record)
        except StoreDoubtful:
            log.error("%s: it is not known whether the record was saved", _name(request))
            raise
        except StoreError as error:
            log.error("%s: %s", _name(request), error)
            sentence = f"zdns could not write it down, so it did not happen: {error}"
            return Refused(request.ask, RefusalCode.STORE_FAILED, sentence[: limits.MESSAGE_CHARS_MAX])
        self._registry.adopt(decision.record)
        log.info("%s by %s", _described(decision.record), _name(request))
        return decision.reply


async def run_dns(host: str, port: int, store: Store, lease_ms: int, on_listening: Callable[[str], object]) -> None:
    """Run one zdns until cancelled; see `DnsServer`.

    Raises:
        LinkError: nobody can listen at `host`:`port`; the sentence names it.
        StoreError: the store cannot be read, or it is unknown whether a record was saved.
    """
    await DnsServer(host, port, store, lease_ms).run(on_listening)


def _why(error: LinkError | OSError) -> str:
    """The system's own words, without the address that ZeroMQ adds to them."""
    cause = error if isinstance(error, OSError) else error.__cause__
    number = getattr(cause, "errno", None)
    return os.strerror(number) if isinstance(number, int) and number > 0 else str(error)


def _name(request: DnsRequest) -> str:
    return f"service={request.service!r} {type(request).__name__}"


def _described(record: Record) -> str:
    in_sync = ",".join(server.id for server in record.in_sync)
    return (
        f"service={record.service} epoch={record.epoch} version={record.version} "
        f"active={record.active.id} in_sync={in_sync}"
    )
