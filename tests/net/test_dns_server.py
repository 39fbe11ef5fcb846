"""zdns in this process, with stores that fail in ways a real disk is hard to make fail."""

import asyncio
import logging
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from runtime.links import LinkError
from wire import limits
from wire.errors import RefusalCode
from wire.messages import (
    Claim,
    ClaimKind,
    DnsReply,
    Granted,
    NameState,
    Record,
    Refused,
    Register,
    Registered,
    Resolve,
    Resolved,
    ServerInfo,
)
from zdns.probe import ask_once
from zdns.server import run_dns
from zdns.stores import MemoryStore, SqliteStore, Store, StoreDoubtful, StoreError

A = ServerInfo("a", "ana", ("tcp://127.0.0.1:1",), ("tcp://127.0.0.1:2",))
B = ServerInfo("b", "bo", ("tcp://127.0.0.1:3",), ("tcp://127.0.0.1:4",))
CLAIM = Claim(1, "tea", A, ClaimKind.FIRST, 0, "log")
CLAIM_COFFEE = Claim(1, "coffee", A, ClaimKind.FIRST, 0, "log")
TOLD = Record("tea", 7, 12, "log", A, (A, B))
TELL = Register(1, limits.PROTOCOL, "tea", A, TOLD)
FAILOVER = Claim(1, "tea", B, ClaimKind.FAILOVER, 7, unreachable=True)
RESOLVE = Resolve(1, limits.PROTOCOL, "tea")


class FailingStore(MemoryStore):
    """Fails as told, as often as told."""

    def __init__(self, *errors: StoreError) -> None:
        super().__init__()
        self.errors = list(errors)

    def save(self, record: Record) -> None:
        if self.errors:
            raise self.errors.pop(0)
        super().save(record)


class SlowStore(MemoryStore):
    """Saves when it is allowed to."""

    def __init__(self) -> None:
        super().__init__()
        self.began = threading.Event()
        self.allowed = threading.Event()

    def save(self, record: Record) -> None:
        self.began.set()
        assert self.allowed.wait(60)
        super().save(record)


async def served(store: Store, grace_ms: int = 0) -> tuple["asyncio.Task[None]", str]:
    """A running zdns and where it listens."""
    where: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    run = run_dns("127.0.0.1", 0, store, limits.LEASE_MS, where.set_result, grace_ms=grace_ms)
    task = asyncio.ensure_future(run)
    either: list[asyncio.Future[Any]] = [where, task]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    return task, where.result()


async def ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


def test_a_save_that_fails_is_refused_and_changes_nothing() -> None:
    async def scene() -> list[DnsReply]:
        task, where = await served(FailingStore(StoreError("the disk is full")))
        replies = [await ask_once([where], request, 30_000) for request in (CLAIM, RESOLVE, CLAIM)]
        await ended(task)
        return replies

    refused, resolved, granted = asyncio.run(scene())
    assert isinstance(refused, Refused)
    assert (refused.code, refused.record) == (RefusalCode.STORE_FAILED, None)
    assert "the disk is full" in refused.message
    assert resolved == Resolved(1, NameState.FREE, None, ("ana",))
    assert isinstance(granted, Granted)
    assert granted.record.epoch == 1


def test_a_save_in_doubt_is_not_answered_and_ends_the_process() -> None:
    async def scene() -> None:
        task, where = await served(FailingStore(StoreDoubtful("perhaps")))
        claim = asyncio.ensure_future(ask_once([where], CLAIM, 30_000))
        with pytest.raises(StoreDoubtful, match="perhaps"):
            await task
        await asyncio.wait([claim], timeout=0.2)
        assert not claim.done()
        claim.cancel()

    asyncio.run(scene())


def test_no_answer_tells_of_a_record_before_it_is_saved() -> None:
    store = SlowStore()

    async def scene() -> list[DnsReply]:
        task, where = await served(store)
        claim = asyncio.ensure_future(ask_once([where], CLAIM, 30_000))
        await asyncio.to_thread(store.began.wait, 60)
        resolve = asyncio.ensure_future(ask_once([where], RESOLVE, 30_000))
        done, _ = await asyncio.wait([claim, resolve], timeout=0.2)
        assert not done
        assert store.load() == []
        store.allowed.set()
        replies = [await claim, await resolve]
        await ended(task)
        return replies

    granted, resolved = asyncio.run(scene())
    assert isinstance(granted, Granted)
    assert isinstance(resolved, Resolved)
    assert resolved.record == granted.record == store.load()[0]


def test_a_name_that_is_not_on_record_is_given_away_when_the_grace_is_over() -> None:
    async def scene() -> list[DnsReply]:
        task, where = await served(MemoryStore(), 500)
        replies = [await ask_once([where], CLAIM, 30_000)]
        while isinstance(replies[-1], Refused):
            replies.append(await ask_once([where], CLAIM, 30_000))
        await ended(task)
        return replies

    *refused, granted = asyncio.run(asyncio.wait_for(scene(), 100))
    assert isinstance(granted, Granted)
    for reply in refused:
        assert isinstance(reply, Refused)
        assert reply.code is RefusalCode.BUSY
        assert "only just started" in reply.message


@pytest.mark.parametrize("kind", [MemoryStore, SqliteStore])
def test_a_record_that_is_told_is_in_the_store_before_the_answer_and_there_at_the_next_start(
    kind: type, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The grace is so long that it is never over: names in the store need none."""
    store = SqliteStore(tmp_path / "records.sqlite") if kind is SqliteStore else MemoryStore()

    async def scene() -> list[DnsReply]:
        task, where = await served(store, 10**9)
        replies = [await ask_once([where], TELL, 30_000), await ask_once([where], FAILOVER, 30_000)]
        assert store.load() == [TOLD]
        await ended(task)
        task, where = await served(store, 10**9)
        replies += [await ask_once([where], FAILOVER, 30_000), await ask_once([where], CLAIM_COFFEE, 30_000)]
        await ended(task)
        return replies

    with closing(store), caplog.at_level(logging.WARNING, "relevo.zdns"):
        registered, early, granted, coffee = asyncio.run(scene())
    assert isinstance(registered, Registered)
    assert (registered.record, registered.state) == (TOLD, NameState.SERVED)
    assert isinstance(early, Refused)
    assert early.code is RefusalCode.BUSY
    assert isinstance(granted, Granted)
    assert (granted.record.epoch, granted.record.active) == (8, B)
    assert isinstance(coffee, Refused)
    assert coffee.code is RefusalCode.BUSY
    said = [text for record in caplog.records if not (text := record.getMessage()).startswith("stood still")]
    assert said == [
        "this store did not have it; a server told of it: service=tea epoch=7 version=12 active=a in_sync=a,b"
    ]


def test_a_record_that_is_told_and_cannot_be_saved_is_not_known() -> None:
    async def scene() -> list[DnsReply]:
        task, where = await served(FailingStore(StoreError("the disk is full")), 10**9)
        replies = [await ask_once([where], request, 30_000) for request in (TELL, RESOLVE, TELL, RESOLVE)]
        await ended(task)
        return replies

    refused, unknown, registered, known = asyncio.run(scene())
    assert isinstance(refused, Refused)
    assert refused.code is RefusalCode.STORE_FAILED
    assert isinstance(unknown, Resolved)
    assert (unknown.state, unknown.record) == (NameState.FREE, None)
    assert isinstance(registered, Registered)
    assert isinstance(known, Resolved)
    assert known.record == registered.record == TOLD


def test_a_question_can_be_cancelled() -> None:
    async def scene() -> None:
        asking = asyncio.ensure_future(ask_once(["tcp://127.0.0.1:1"], RESOLVE, 60_000))
        await asyncio.wait([asking], timeout=0.05)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(scene())


def test_the_second_address_answers_when_the_first_is_silent() -> None:
    async def scene() -> DnsReply:
        task, where = await served(MemoryStore())
        reply = await ask_once(["tcp://127.0.0.1:1", where], RESOLVE, 30_000)
        await ended(task)
        return reply

    assert asyncio.run(scene()) == Resolved(1, NameState.FREE, None, ())


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host"])
def test_a_host_that_is_not_this_machine_is_named(host: str) -> None:
    with pytest.raises(LinkError, match=f"cannot listen on {host}:8123"):
        asyncio.run(run_dns(host, 8_123, MemoryStore(), limits.LEASE_MS, print))
