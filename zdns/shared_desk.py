"""The desk of one zdns among several: all of them answer from, and write to, one shared store.

Nothing is held here that another zdns would miss. What was read of a service is kept only to be told what
has changed since, and to answer renewals for a sixth of a lease; anything else is answered from what the
store had after the question came. All that waits for one service is worked on together, by one thread; a
few services wait for the store at the same time, each for a bounded time. When the store does not answer,
neither does zdns: another one may reach it, and whoever asked asks there.

Whoever is there is written down under one lease of this zdns, kept up for all of them together. If this
zdns dies, they ask another one, which takes them over; those it does not hear of end with the lease. Who
falls silent while this zdns lives is struck off by it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Container, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random

from runtime import clock
from wire import identity, limits, names
from wire.messages import Refused, Renew
from zdns.desk import Answer, Asked, note_dropped, note_refusal
from zdns.settler import Overdue, Settler
from zdns.shared import Verdict, View, asker_of, damage, owned
from zdns.stores import SharedStore, StoreError

log = logging.getLogger("relevo.zdns")

_BATCH_MAX = 256  # requests of one service that are worked on together
_KEEPS_PER_LEASE = 6  # how often the lease of this zdns is kept up; and for how long a renewal may be answered unread
_LOOKS_PER_LEASE = 12  # how often it is looked who has fallen silent


@dataclass(slots=True)
class _Service:
    """What waits for one service, what was read of it, and whom of it this zdns hears."""

    name: str
    waiting: deque[Asked | Overdue] = field(default_factory=deque)
    busy: bool = False
    view: View | None = None
    read_ms: int = 0
    heard_ms: dict[str, int] = field(default_factory=dict)  # by server
    overdue: set[str] = field(default_factory=set)  # those among them that wait to be struck off
    used_ms: int = 0
    damage: str = ""


class SharedDesk:
    """Answers for one of several zdns. Invariant: a change is answered when the store has carried out just that one."""

    def __init__(self, store: SharedStore, lease_ms: int, rng: Random, answer: Answer) -> None:
        """Make it inside a running loop; `store` is closed with the desk."""
        self._store = store
        self._lease_ms = lease_ms
        self._settler = Settler(store, lease_ms, rng)
        self._send = answer
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(limits.ETCD_WORKERS, thread_name_prefix="zdns-store")
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix="zdns-lease")  # never waits behind requests
        self._services: dict[str, _Service] = {}
        self._waiting_count = 0
        self._dropped_count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._trouble = ""

    async def open(self) -> None:
        """Get a lease. Raises StoreError."""
        await self._loop.run_in_executor(self._keeper, self._store.hold, self._lease_ms)

    async def work(self) -> None:
        """Answer for ever; raises what no part of the desk should raise."""
        self._start(self._keep_lease())
        self._start(self._look_around())
        try:
            await self._ended
        finally:
            for task in self._tasks:
                task.cancel()

    def extend_leases(self, lost_ms: int) -> None:
        """Give back time in which nobody could be heard."""
        for service in self._services.values():
            service.heard_ms = {id_: heard_ms + lost_ms for id_, heard_ms in service.heard_ms.items()}

    def evict(self, banned: Container[str]) -> None:
        """Count them as silent for a whole lease: they are struck off when it is looked next."""
        for service in self._services.values():
            for id_ in service.heard_ms:
                if identity.owner(id_) in banned:
                    service.heard_ms[id_] -= self._lease_ms

    def describe(self) -> str:
        """How much of the store is known here."""
        servers_count = sum(len(service.heard_ms) for service in self._services.values())
        return f"zdns services={len(self._services)} servers={servers_count} shared"

    def close(self) -> None:
        """Let the calls that are under way be the last ones, and wait for them."""
        self._store.close()
        for pool in (self._pool, self._keeper):
            pool.shutdown(cancel_futures=True)

    # --- on the loop: what waits -------------------------------------------------------------------------------------

    def take(self, asked: Asked) -> None:
        """Have it answered, at once if that can be, or never."""
        try:
            name = names.check_service(asked.request.service)
        except ValueError:
            self._conclude(asked, self._settler.judge(View("", 0, 0, {}), asked))  # a refusal
            return
        service = self._services.setdefault(name, _Service(name))
        service.used_ms = asked.came_ms
        asker = asker_of(asked.request)
        if asker:
            service.heard_ms[asker] = asked.came_ms  # even if it has to wait for its answer
        if self._renewed(service, asked):
            return
        if self._waiting_count >= limits.LINK_QUEUE_MAX:
            self._dropped_count = note_dropped(self._dropped_count)
            return
        self._queue(service, asked)

    def _renewed(self, service: _Service, asked: Asked) -> bool:
        """Answer a renewal from what was read a moment ago, if it changes nothing; True: that was all."""
        if not isinstance(asked.request, Renew) or service.view is None or not self._store.lease:
            return False
        if asked.came_ms - service.read_ms >= self._lease_ms // _KEEPS_PER_LEASE:
            return False
        verdict = self._settler.judge(service.view, asked)
        if verdict.changes or isinstance(verdict.reply, Refused):
            return False
        self._conclude(asked, verdict)
        return True

    def _queue(self, service: _Service, item: Asked | Overdue) -> None:
        service.waiting.append(item)
        self._waiting_count += 1
        if not service.busy:
            service.busy = True
            self._start(self._serve(service))

    async def _serve(self, service: _Service) -> None:
        """Work on what waits for one service until nothing does."""
        while service.waiting:
            batch = self._batch(service)
            if not batch:
                continue
            settle = self._settler.settle
            outcome = await self._loop.run_in_executor(self._pool, settle, service.name, service.view, batch)
            self._note_trouble(outcome.trouble)
            if outcome.view is not None:
                self._note_view(service, outcome.view, outcome.read_ms)
            for item, verdict in zip(batch, outcome.verdicts, strict=False):
                if isinstance(item, Asked):
                    self._conclude(item, verdict)
                    self._note_presence(service, item, verdict)
                elif service.heard_ms.get(item.id) == item.heard_ms:
                    del service.heard_ms[item.id]
            service.overdue.difference_update(item.id for item in batch if isinstance(item, Overdue))
        service.busy = False

    def _batch(self, service: _Service) -> list[Asked | Overdue]:
        """The next items, without those that nobody waits for any more, or that what was just read has answered."""
        now_ms = clock.monotonic_ms()
        batch = list[Asked | Overdue]()
        while service.waiting and len(batch) < _BATCH_MAX:
            item = service.waiting.popleft()
            self._waiting_count -= 1
            if isinstance(item, Asked):
                wanted = now_ms - item.came_ms < limits.ETCD_WAIT_MS and not self._renewed(service, item)
            else:
                wanted = service.heard_ms.get(item.id) == item.heard_ms
            if wanted:
                batch.append(item)
            elif isinstance(item, Overdue):
                service.overdue.discard(item.id)
        return batch

    def _conclude(self, asked: Asked, verdict: Verdict) -> None:
        note_refusal(asked.request, verdict.reply)
        self._send(verdict.reply, asked)

    def _note_presence(self, service: _Service, asked: Asked, verdict: Verdict) -> None:
        asker = asker_of(asked.request)
        if verdict.is_there:
            service.heard_ms.setdefault(asker, asked.came_ms)
        elif service.heard_ms.get(asker) == asked.came_ms:
            del service.heard_ms[asker]

    def _note_view(self, service: _Service, view: View, read_ms: int) -> None:
        service.read_ms = read_ms
        if service.view is not None and service.view.rows == view.rows:
            service.view = view
            return
        service.view = view
        # Whoever was written under our lease is ours to miss, even if the answer to that writing never came.
        for id_ in owned(view, self._store.lease):
            service.heard_ms.setdefault(id_, read_ms)
        bad = damage(view)
        if bad != service.damage:
            service.damage = bad
            if bad:
                log.error("%s", bad)

    def _note_trouble(self, trouble: str) -> None:
        """Log when the store begins to fail, and when it is well again."""
        if bool(trouble) != bool(self._trouble):
            if trouble:
                log.error("no answers until the store answers again: %s", trouble)
            else:
                log.warning("the store answers again")
        self._trouble = trouble

    # --- on the loop: time -------------------------------------------------------------------------------------------

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(self._lease_ms / 1000 / _KEEPS_PER_LEASE)
            try:
                await self._loop.run_in_executor(self._keeper, self._store.hold, self._lease_ms)
            except StoreError as error:
                self._note_trouble(str(error))

    async def _look_around(self) -> None:
        """Strike off whoever has fallen silent, and forget services that nobody asks about."""
        while True:
            await asyncio.sleep(self._lease_ms / 1000 / _LOOKS_PER_LEASE)
            now_ms = clock.monotonic_ms()
            for service in list(self._services.values()):
                self._look_at(service, now_ms)

    def _look_at(self, service: _Service, now_ms: int) -> None:
        for id_, heard_ms in list(service.heard_ms.items()):
            if now_ms - heard_ms >= self._lease_ms and id_ not in service.overdue:
                service.overdue.add(id_)
                self._queue(service, Overdue(id_, heard_ms))
        if not service.heard_ms and not service.busy and now_ms - service.used_ms >= self._lease_ms:
            del self._services[service.name]

    def _start(self, work: Coroutine[object, object, None]) -> None:
        """Run a part of the desk; if it fails, so does the desk."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)

    def _note_end(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._ended.done():
            self._ended.set_exception(error)
