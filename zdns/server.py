"""The zdns process: requests from its port to the desk, answers back, and the time in between."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from random import Random, SystemRandom

from runtime import clock, process
from runtime.links import LinkError, Links
from wire import limits
from wire.errors import RefusalCode
from wire.messages import Admit, DnsReply, DnsRequest, Refused
from wire.names import LinkId
from wire.step import Event, Garbled, LinkBound, LinkKind, OpenLink, Received, Send
from zdns.desk import Asked, Desk, OwnDesk
from zdns.door import Doorkeeper, House
from zdns.shared_desk import SharedDesk
from zdns.stores import SharedStore, Store

log = logging.getLogger("relevo.zdns")

_PORT = LinkId("port")
_TICKS_PER_LEASE = 6  # how often the process looks whether it has stood still
_STALL_TICKS = 3  # nothing happened for so many of them: half a lease in which nobody could renew


class DnsServer:
    """One zdns. Invariant: no answer leaves that tells of a record which is not safely stored."""

    def __init__(
        self,
        host: str,
        port: int,
        store: Store | SharedStore,
        lease_ms: int = limits.LEASE_MS,
        *,
        house: Callable[[], House] | None = None,
        grace_ms: int = limits.GRACE_MS,
        rng: Random | None = None,
    ) -> None:
        """Make it inside a running loop.

        Args:
            host: an address or name of this machine; 0.0.0.0 for all its addresses.
            port: 0 for any free one.
            store: stays the caller's to close.
            lease_ms: how long a server that does not renew is thought to be there.
            house: what makes the network a closed one, as it is at the moment; None: it is open.
            grace_ms: for so long no name is given away of which `store` knows nothing; not with a shared one.
            rng: draws the standbys that are picked.
        """
        if lease_ms <= 0:
            raise ValueError("a lease has to last")
        self._host = host
        self._port = port
        self._lease_ms = lease_ms
        advertised = process.local_address_towards("127.0.0.1") if host in ("0.0.0.0", "*", "::") else host
        self._house = house
        self._house_now = house() if house is not None else None
        self._door = Doorkeeper(self._house_now)
        keys = self._house_now.keys if self._house_now is not None else None
        self._links = Links(bind_host=host, advertise_host=advertised, keys=keys, deliver=self._note, failed=self._fail)
        self._loop = asyncio.get_running_loop()
        rng = rng or SystemRandom()
        self._desk: Desk
        if isinstance(store, SharedStore):
            self._desk = SharedDesk(store, lease_ms, rng, self._answer)
        else:
            seals = None if house is None else self._door
            self._desk = OwnDesk(store, lease_ms, rng, self._answer, grace_ms=grace_ms, seals=seals)
        self._failed: asyncio.Future[None] = self._loop.create_future()
        self._endpoint = ""
        self._awake_ms = clock.monotonic_ms()
        self._tick: asyncio.TimerHandle | None = None

    async def run(self, on_listening: Callable[[str], object]) -> None:
        """Serve until cancelled; `on_listening` is called once with "tcp://host:port", when requests are taken.

        Raises:
            LinkError: nobody can listen there; the sentence names host and port.
            StoreError: the store cannot be read, or it is unknown whether a record was saved.
        """
        try:
            await self._desk.open()
            await self._listen()
            log.info("%s at %s", self._desk.describe(), self._endpoint)
            self._stay_awake()
            on_listening(self._endpoint)
            await self._work()
        finally:
            if self._tick is not None:
                self._tick.cancel()
            await self._links.close()
            self._desk.close()

    async def _work(self) -> None:
        """Until the desk or the port fails."""
        working = asyncio.ensure_future(self._desk.work())
        try:
            await asyncio.wait([working, self._failed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working  # what ended it goes on to the caller
        self._failed.result()

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
            case Received(_, message, sender, key):
                # links.py lets nothing else through.
                self._take(message, sender, key)  # type: ignore[arg-type]
            case Garbled(_, why, sender):
                self._links.perform(Send(_PORT, Refused(0, RefusalCode.MALFORMED, why), sender))
            case LinkBound(_, endpoints):
                self._endpoint = endpoints[0]
            case _:
                pass  # an asker that left before its answer: whoever still wants to know asks again

    def _take(self, request: DnsRequest, sender: bytes, key: str) -> None:
        now_ms = self._note_time()
        reply = self._door.judge(request, key)
        if reply is not None:
            self._links.perform(Send(_PORT, reply, sender))
        elif not isinstance(request, Admit):
            self._desk.take(Asked(request, sender, now_ms))

    def _answer(self, reply: DnsReply, asked: Asked) -> None:
        self._links.perform(Send(_PORT, self._door.complete(asked.request, reply), asked.sender))

    def _fail(self, error: Exception) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)

    # --- time --------------------------------------------------------------------------------------------------------

    def _stay_awake(self) -> None:
        self._note_time()
        self._look_at_house()
        self._tick = self._loop.call_later(self._lease_ms / 1000 / _TICKS_PER_LEASE, self._stay_awake)

    def _look_at_house(self) -> None:
        """Whoever runs zdns may have banned somebody, or changed the secret."""
        if self._house is None:
            return
        house = self._house()
        if house != self._house_now:
            self._house_now = house
            self._door.change(house)
            self._desk.evict({ban.fingerprint for ban in house.bans})
            log.warning("the door has changed: number=%d bans=%d", house.number, len(house.bans))

    def _note_time(self) -> int:
        """The time; when this process was stopped for a while, all leases are that much longer."""
        now_ms = clock.monotonic_ms()
        lost_ms = now_ms - self._awake_ms
        self._awake_ms = now_ms
        if lost_ms * _TICKS_PER_LEASE > self._lease_ms * _STALL_TICKS:
            log.warning("stood still for %d ms", lost_ms)
            self._desk.extend_leases(lost_ms)
        return now_ms


async def run_dns(
    host: str,
    port: int,
    store: Store | SharedStore,
    lease_ms: int,
    on_listening: Callable[[str], object],
    *,
    house: Callable[[], House] | None = None,
    grace_ms: int = limits.GRACE_MS,
) -> None:
    """Run one zdns until cancelled; see `DnsServer`.

    Raises:
        LinkError: nobody can listen at `host`:`port`; the sentence names it.
        StoreError: the store cannot be read, or it is unknown whether a record was saved.
    """
    await DnsServer(host, port, store, lease_ms, house=house, grace_ms=grace_ms).run(on_listening)


def _why(error: LinkError | OSError) -> str:
    """The system's own words, without the address that ZeroMQ adds to them."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    number = getattr(error.__cause__, "errno", None)
    return os.strerror(number) if isinstance(number, int) and number > 0 else str(error)
