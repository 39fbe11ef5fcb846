"""zdns as a process: real sockets, kill -9, restarts, and whatever comes to a public port."""

import asyncio
import json
import random
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest
import zmq

from tests.support.processes import PATIENCE_S, Chat, Zdns, environment, free_port, run_handover
from wire import codec, limits
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
    Resolve,
    Resolved,
    ServerInfo,
    SetInSync,
    Transfer,
)
from zdns.probe import DnsSilent, ask_once

A = ServerInfo("a", "ana", ("tcp://127.0.0.1:1",), ("tcp://127.0.0.1:2",))
B = ServerInfo("b", "bo", ("tcp://127.0.0.1:3",), ("tcp://127.0.0.1:4",))
RESOLVE = Resolve(1, limits.PROTOCOL, "tea")


def read(frames: list[bytes]) -> object:
    """The answer in these frames."""
    return codec.decode(frames, DnsReply)


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "zdns", *options]


class NameServer:
    """One zdns process, and how to ask it."""

    def __init__(self, home: Path, *options: str, port: int | None = None) -> None:
        self.popen = subprocess.Popen(
            command("--port", str(port or free_port()), *options),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(home),
            cwd=home,
            text=True,
        )
        assert self.popen.stdout is not None
        # A line or the end of output: the process cannot keep us waiting without either, but a hang can.
        watchdog = threading.Timer(PATIENCE_S, self.popen.kill)
        watchdog.start()
        line = self.popen.stdout.readline()
        watchdog.cancel()
        if not line:
            raise AssertionError(f"zdns did not start: {self.popen.communicate()[1]}")
        told = json.loads(line)
        assert told["event"] == "listening"
        self.endpoint: str = told["endpoint"]
        self.port = int(self.endpoint.rpartition(":")[2])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.popen.kill()
        self.popen.communicate()

    def ask(self, request: NameRequest, deadline_ms: int = 30_000) -> DnsReply:
        """Ask as every program of ours does."""
        return asyncio.run(ask_once([self.endpoint], request, deadline_ms))

    def granted(self, request: NameRequest) -> Granted:
        reply = self.ask(request)
        assert isinstance(reply, Granted), reply
        return reply

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Send a signal; return exit code, output and errors."""
        self.popen.send_signal(number)
        out, errors = self.popen.communicate(timeout=PATIENCE_S)
        return self.popen.returncode, out, errors


Start = Callable[..., NameServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts name servers that keep their records in one file; all are gone at the end."""
    with ExitStack() as stack:

        def one(*options: str, port: int | None = None, grace_s: float | None = 0) -> NameServer:
            """With `grace_s` None it has the usual grace; most tests are about something else."""
            options = options or ("--data", str(tmp_path / "records.sqlite"))
            grace = () if grace_s is None else ("--grace", str(grace_s))
            return stack.enter_context(NameServer(tmp_path, *options, *grace, port=port))

        yield one


def claim(by: ServerInfo, service: str = "tea") -> Claim:
    return Claim(0, service, by, ClaimKind.FIRST, 0, "log-1")


def register(by: ServerInfo, service: str = "tea") -> Register:
    return Register(0, limits.PROTOCOL, service, by)


def in_sync(by: ServerInfo, epoch: int, version: int, *others: ServerInfo) -> SetInSync:
    return SetInSync(0, "tea", by.id, epoch, version, (by.id, *(other.id for other in others)))


# --- as it is meant ------------------------------------------------------------------------------------------------


def test_the_life_of_a_name(start: Start) -> None:
    zdns = start()
    assert zdns.ask(RESOLVE) == Resolved(1, NameState.FREE, None, ())
    for one in (A, B):
        assert isinstance(zdns.ask(register(one)), Registered)
    assert zdns.granted(claim(A)).record.epoch == 1
    refused = zdns.ask(claim(B))
    assert isinstance(refused, Refused)
    assert refused.code is RefusalCode.TAKEN
    assert zdns.ask(Pick(0, "tea", A.id)) == Picked(1, B)
    assert zdns.granted(in_sync(A, 1, 1, B)).record.in_sync == (A, B)
    moved = zdns.granted(Transfer(0, "tea", A.id, 1, 2, B.id)).record
    assert (moved.epoch, moved.active, moved.in_sync) == (2, B, (B, A))
    assert zdns.ask(Leave(0, "tea", A.id)) == Done(1)
    assert zdns.ask(RESOLVE) == Resolved(1, NameState.SERVED, moved, ())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_quietly(start: Start, number: int) -> None:
    zdns = start()
    zdns.ask(RESOLVE)
    assert zdns.stop(number) == (0, "", "")


def test_a_signal_ends_it_while_others_hold_connections(start: Start) -> None:
    zdns = start("--store", "memory")
    with zmq.Context() as context, context.socket(zmq.REQ) as asker:
        asker.linger = 0
        asker.connect(zdns.endpoint)
        asker.send_multipart(codec.encode(RESOLVE))
        assert asker.poll(30_000)
        assert zdns.stop()[0] == 0


def test_many_ask_at_the_same_time_and_each_gets_its_own_answer(start: Start) -> None:
    zdns = start("--store", "memory")

    async def everybody() -> list[DnsReply]:
        names = [f"tea-{number}" for number in range(20)]
        await asyncio.gather(*(ask_once([zdns.endpoint], claim(A, name), 30_000) for name in names))
        asked = [ask_once([zdns.endpoint], Resolve(0, limits.PROTOCOL, name), 30_000) for name in names]
        return list(await asyncio.gather(*asked))

    replies = asyncio.run(everybody())
    told = [reply.record.service for reply in replies if isinstance(reply, Resolved) and reply.record is not None]
    assert told == [f"tea-{number}" for number in range(20)]


def test_a_plain_req_socket_is_served(start: Start) -> None:
    zdns = start("--store", "memory")
    with zmq.Context() as context, context.socket(zmq.REQ) as asker:
        asker.linger = 0
        asker.connect(zdns.endpoint)
        for number in (5, 6):
            asker.send_multipart(codec.encode(Resolve(number, limits.PROTOCOL, "tea")))
            assert asker.poll(30_000)
            reply = read(asker.recv_multipart())
            assert reply == Resolved(number, NameState.FREE, None, ())


# --- its end and its next start ------------------------------------------------------------------------------------


def test_killed_and_restarted_it_goes_on_and_never_grants_an_epoch_twice(start: Start) -> None:
    zdns = start()
    zdns.granted(claim(A))
    zdns.ask(register(B))
    records = [zdns.granted(in_sync(A, 1, 1, B)).record]
    for _ in range(6):
        source, target = records[-1].active, B if records[-1].active == A else A
        zdns.ask(register(target))
        request = Transfer(0, "tea", source.id, records[-1].epoch, records[-1].version, target.id)
        records.append(zdns.granted(request).record)
        zdns.popen.kill()  # at once after the answer
        zdns.popen.wait()
        zdns = start(port=zdns.port, grace_s=3_600)  # whatever is on record need not wait for its end
        assert zdns.ask(RESOLVE) == Resolved(1, NameState.SERVED, records[-1], (source.name,))
        assert zdns.granted(request).record == records[-1]
        refused = zdns.ask(claim(B))
        assert isinstance(refused, Refused) or records[-1].epoch == 1
    assert [record.epoch for record in records] == list(range(1, 8))


def test_a_name_that_is_not_on_record_is_not_given_away_before_the_grace_is_over(start: Start) -> None:
    began = time.monotonic()
    zdns = start(grace_s=None)
    while not isinstance(reply := zdns.ask(claim(A)), Granted):
        assert isinstance(reply, Refused)
        assert reply.code is RefusalCode.BUSY
        assert time.monotonic() - began < PATIENCE_S
    assert time.monotonic() - began >= limits.GRACE_MS / 1000


def test_a_zdns_whose_store_is_lost_takes_up_what_it_is_told_and_keeps_it(start: Start, tmp_path: Path) -> None:
    zdns = start()
    zdns.granted(claim(A))
    zdns.ask(register(B))
    record = zdns.granted(in_sync(A, 1, 1, B)).record
    zdns.popen.kill()
    zdns.popen.wait()
    (tmp_path / "records.sqlite").unlink()
    zdns = start(port=zdns.port, grace_s=3_600)
    assert zdns.ask(RESOLVE) == Resolved(1, NameState.FREE, None, ())
    busy = zdns.ask(claim(B))
    assert isinstance(busy, Refused)
    assert busy.code is RefusalCode.BUSY
    told = zdns.ask(Register(0, limits.PROTOCOL, "tea", B, record))
    assert isinstance(told, Registered)
    assert (told.state, told.record) == (NameState.SERVED, record)
    transfer = Transfer(0, "tea", A.id, 1, record.version, B.id)
    unsure = zdns.ask(transfer)  # a third server may know of a later epoch, and be about to tell
    assert isinstance(unsure, Refused)
    assert (unsure.code, unsure.record) == (RefusalCode.BUSY, record)
    zdns.popen.kill()
    zdns.popen.wait()
    zdns = start(port=zdns.port, grace_s=3_600)
    assert zdns.ask(RESOLVE) == Resolved(1, NameState.SERVED, record, ("bo",))
    zdns.ask(register(B))
    moved = zdns.granted(transfer).record
    assert (moved.epoch, moved.in_sync) == (2, (B, A))
    zdns.popen.kill()
    zdns.popen.wait()
    assert start(port=zdns.port).ask(RESOLVE) == Resolved(1, NameState.SERVED, moved, ("ana",))


def lose_store(zdns: Zdns, home: Path) -> None:
    """Kill zdns and delete its records, as if its disk were gone."""
    zdns.kill()
    files = list(home.glob(f"**/zdns-{zdns.port}.sqlite*"))
    assert files
    for file in files:
        file.unlink()


def record_of(zdns: Zdns, home: Path) -> Record:
    """What zdns knows of the room everybody is in."""
    request = Resolve(0, limits.PROTOCOL, "backend.com")
    credentials = zdns.credentials(home)
    reply = asyncio.run(ask_once([f"tcp://{zdns.address}"], request, 30_000, credentials))
    assert isinstance(reply, Resolved)
    assert reply.record is not None
    return reply.record


def test_a_room_outlives_the_store_of_its_zdns_and_newcomers_find_it_again(
    tmp_path: Path, zdns: Zdns, chat: Callable[..., Chat]
) -> None:
    ana = chat("ana", "-s", "--term", "0")
    ana.ready()
    bo = chat("bo", "--term", "0")
    bo.ready()
    assert run_handover(tmp_path, "bo", zdns.address).returncode == 0
    ana.until("relocated", epoch=2)
    texts = ["before", "meanwhile", "afterwards"]
    ana.do("post", text=texts[0], tag=0)
    ana.until("posted", tag=0)
    record = record_of(zdns, tmp_path)
    lose_store(zdns, tmp_path)
    bo.do("post", text=texts[1], tag=1)
    bo.until("posted", tag=1)
    with Zdns(tmp_path, port=zdns.port) as again:
        cy = chat("cy", "-s", "--term", "0")  # it would serve a room of its own if the name were free
        ready = cy.ready()
        assert (ready["epoch"], ready["head"], ready["members"]) == (2, 2, ["ana", "bo", "cy"])
        found = record_of(again, tmp_path)
        assert (found.epoch, found.log, found.active) == (2, record.log, record.active)
        cy.do("post", text=texts[2], tag=2)
        cy.until("posted", tag=2)
        for person in (ana, bo, cy):
            person.shown(3)
            assert person.texts() == texts
            assert not [event for event in person.seen if event["event"] == "error"]


def test_a_room_that_loses_its_active_server_and_the_store_of_its_zdns_at_once_goes_on(
    tmp_path: Path, zdns: Zdns, chat: Callable[..., Chat]
) -> None:
    ana = chat("ana", "-s", "--term", "0")
    ana.ready()
    bo = chat("bo", "--term", "0")
    bo.ready()
    # It was zdns' answer to ana that made bo active, so ana knows that it is in sync with it.
    assert run_handover(tmp_path, "bo", zdns.address).returncode == 0
    ana.until("relocated", epoch=2)
    ana.do("post", text="acknowledged", tag=0)
    ana.until("posted", tag=0)
    record = record_of(zdns, tmp_path)
    assert [server.name for server in record.in_sync] == ["bo", "ana"]
    bo.kill()
    lose_store(zdns, tmp_path)
    with Zdns(tmp_path, port=zdns.port) as again:
        cy = chat("cy", "-s", "--term", "0")  # it would serve a room of its own if the name were free
        ready = cy.ready()
        assert (ready["epoch"], ready["head"]) == (3, 1)
        found = record_of(again, tmp_path)
        assert (found.epoch, found.log, found.active.name) == (3, record.log, "ana")
        for person in (ana, cy):
            assert person.shown(1)["text"] == "acknowledged"


def test_killed_at_any_moment_it_grants_each_epoch_to_one_server(start: Start) -> None:
    """Two servers hand the name to and fro as fast as they can while zdns is killed again and again."""
    dice = random.Random(3)
    zdns = start()
    zdns.ask(register(A))
    zdns.ask(register(B))
    granted = {1: zdns.granted(claim(A)).record.active.id}
    zdns.granted(in_sync(A, 1, 1, B))
    for _ in range(5):
        is_going = threading.Event()
        killer = threading.Thread(target=_kill, args=(zdns, is_going, dice.uniform(0.02, 0.12)), daemon=True)
        killer.start()
        asyncio.run(_hand_to_and_fro(zdns, granted, is_going))
        killer.join()
        zdns.popen.wait()
        zdns = start(port=zdns.port)
        now = zdns.ask(RESOLVE)
        assert isinstance(now, Resolved)
        assert now.record is not None
        assert now.record.epoch >= max(granted), "an epoch was forgotten"
        assert granted.setdefault(now.record.epoch, now.record.active.id) == now.record.active.id
    assert len(granted) > 5


def _kill(zdns: NameServer, is_going: threading.Event, delay_s: float) -> None:
    """Kill it so long after the first handover: how many more fit in is the machine's."""
    is_going.wait(PATIENCE_S)
    time.sleep(delay_s)
    zdns.popen.kill()


async def _hand_to_and_fro(zdns: NameServer, granted: dict[int, str], is_going: threading.Event) -> None:
    """Until it is dead; `is_going` is set when a handover was granted."""
    was_silent = False
    while zdns.popen.poll() is None:
        try:
            now = await ask_once([zdns.endpoint], RESOLVE, 400)
            assert isinstance(now, Resolved)
            assert now.record is not None
            source, target = now.record.active, B if now.record.active.id == A.id else A
            await ask_once([zdns.endpoint], register(target), 400)
            request = Transfer(0, "tea", source.id, now.record.epoch, now.record.version, target.id)
            reply = await ask_once([zdns.endpoint], request, 400)
        except DnsSilent:
            was_silent = True  # dead, or only slow: then the one before may be carried out now
            continue
        if was_silent and isinstance(reply, Refused):
            was_silent = False
            continue
        assert isinstance(reply, Granted), reply
        assert granted.setdefault(reply.record.epoch, reply.record.active.id) == reply.record.active.id
        is_going.set()


def test_a_zdns_that_was_stopped_for_a_while_forgets_nobody(start: Start) -> None:
    zdns = start("--store", "memory", "--lease", "1.0")
    zdns.ask(register(A))
    zdns.popen.send_signal(signal.SIGSTOP)
    with pytest.raises(DnsSilent, match=r"no answer from zdns at tcp://127\.0\.0\.1:\d+ within [1-9]\d*\.\d s"):
        zdns.ask(RESOLVE, 1_500)
    zdns.popen.send_signal(signal.SIGCONT)
    assert zdns.ask(RESOLVE) == Resolved(1, NameState.FREE, None, ("ana",))


def test_a_standby_that_does_not_renew_is_forgotten(start: Start) -> None:
    zdns = start("--store", "memory", "--lease", "0.2")
    zdns.ask(register(A))

    async def gone() -> bool:
        reply = await ask_once([zdns.endpoint], RESOLVE, 30_000)
        return isinstance(reply, Resolved) and reply.standbys == ()

    async def until_gone() -> None:
        while not await gone():
            await asyncio.sleep(0.02)

    asyncio.run(asyncio.wait_for(until_gone(), PATIENCE_S))


def test_a_damaged_store_is_refused_by_name(start: Start, tmp_path: Path) -> None:
    zdns = start()
    zdns.granted(claim(A))
    zdns.stop()
    path = tmp_path / "records.sqlite"
    path.write_bytes(path.read_bytes()[:5_000])
    ended = subprocess.run(
        command("--port", "0", "--data", str(path)),
        capture_output=True,
        text=True,
        env=environment(tmp_path),
        timeout=PATIENCE_S,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (78, "")
    assert ended.stderr.startswith(f"zdns: {path} is damaged and is not used")
    assert ended.stderr.count("\n") == 1


def test_a_store_that_cannot_be_written_refuses_changes_and_serves_on(start: Start, tmp_path: Path) -> None:
    """The disk is full for this process: a limit on the size of its files that it is about to reach."""
    zdns = start()
    zdns.granted(claim(A))
    size = (tmp_path / "records.sqlite").stat().st_size
    resource.prlimit(zdns.popen.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    long = tuple(f"tcp://{'x' * 240}:{number}" for number in range(8))
    fat = ServerInfo("fat", "fat", long, long)
    refused = zdns.ask(claim(fat, "coffee"))
    assert isinstance(refused, Refused), refused
    assert refused.code is RefusalCode.STORE_FAILED
    assert "records.sqlite" in refused.message
    assert zdns.ask(Resolve(0, limits.PROTOCOL, "coffee")) == Resolved(1, NameState.FREE, None, ("fat",))
    resource.prlimit(zdns.popen.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert zdns.granted(claim(fat, "coffee")).record.epoch == 1


def test_a_port_in_use_is_said_in_one_sentence(start: Start, tmp_path: Path) -> None:
    zdns = start("--store", "memory")
    ended = subprocess.run(
        command("--port", str(zdns.port), "--store", "memory"),
        capture_output=True,
        text=True,
        env=environment(tmp_path),
        timeout=PATIENCE_S,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (69, "")
    said = ended.stderr.splitlines()[-1]
    assert said.startswith(f"zdns: zdns cannot listen on 127.0.0.1:{zdns.port} (Address already in use)")
    assert "Traceback" not in ended.stderr


# --- a public port -------------------------------------------------------------------------------------------------

GREETING = b"\xff\0\0\0\0\0\0\0\1\x7f"
NULL_HANDSHAKE = GREETING + b"\3\0" + b"NULL".ljust(20, b"\0") + b"\0" * 32
READY = b"\4\x19\5READY\x0bSocket-Type\0\0\0\3REQ"
RAW = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303") + bytes(193),
    "noise": random.Random(1).randbytes(5_000),
    "zeros": bytes(100_000),
    "half a greeting": GREETING[:7],
    "half a handshake": NULL_HANDSHAKE[:30],
    "half a message": NULL_HANDSHAKE + READY + b"\1\0\0\x64" + b"x" * 10,
    "a frame of 2 GB": NULL_HANDSHAKE + READY + b"\2" + struct.pack(">Q", 2**31),
    "an old peer": b"\1\0\5hello",
}


def talk(port: int, data: bytes) -> None:
    """Say something to the port and leave without waiting."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        try:
            connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was shown the door, which is as good


@pytest.mark.parametrize("kind", list(RAW))
def test_bytes_that_are_no_zeromq_change_nothing(start: Start, kind: str) -> None:
    zdns = start("--store", "memory")
    zdns.granted(claim(A))
    for _ in range(5):
        talk(zdns.port, RAW[kind])
        assert isinstance(zdns.ask(RESOLVE), Resolved)
    assert zdns.stop()[0] == 0


def test_two_hundred_idle_connections_change_nothing(start: Start) -> None:
    zdns = start("--store", "memory")
    with ExitStack() as stack:
        for number in range(200):
            idle = stack.enter_context(socket.create_connection(("127.0.0.1", zdns.port), PATIENCE_S))
            idle.sendall(NULL_HANDSHAKE[: number % len(NULL_HANDSHAKE)])
        assert isinstance(zdns.ask(register(A)), Registered)
        assert zdns.ask(RESOLVE) == Resolved(1, NameState.FREE, None, ("ana",))
        assert zdns.stop()[0] == 0


NONSENSE: dict[str, list[bytes]] = {
    "nothing": [b""],
    "noise": [random.Random(2).randbytes(200)],
    "text": [b"hello?"],
    "json": [b'{"do":"resolve"}'],
    "a deep array": [b"\x91" * 5_000],
    "an answer": codec.encode(Done(1)),
    "another kind": [b"\x93\xcd\xff\xff\x01\x02"],
    "a field too few": [codec.encode(RESOLVE)[0].replace(b"\x94", b"\x93", 1)[:3]],
    "a field of another type": [b"\x94\x0a\xa1x\xa1y\x03"],
    "a negative number": [b"\x94\x0a\xff\x01\xa3tea"],
    "a name too long": codec.encode(Resolve(1, 1, "x" * 500)),
    "two frames": [*codec.encode(RESOLVE), b"more"],
    "too many frames": [b"x"] * 2_000,
}


@pytest.mark.parametrize("kind", list(NONSENSE))
def test_a_request_that_is_none_is_refused_once_and_nobody_else_notices(start: Start, kind: str) -> None:
    zdns = start("--store", "memory")
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.linger = 0
        stranger.connect(zdns.endpoint)
        stranger.send_multipart([b"", *NONSENSE[kind]])
        assert stranger.poll(30_000)
        reply = read(stranger.recv_multipart()[1:])
        assert isinstance(reply, Refused)
        assert (reply.ask, reply.code) == (0, RefusalCode.MALFORMED)
        assert reply.message
        # The same connection goes on, and the next thing on it is the answer to the next question.
        stranger.send_multipart([b"", *codec.encode(RESOLVE)])
        assert stranger.poll(30_000)
        assert read(stranger.recv_multipart()[1:]) == Resolved(1, NameState.FREE, None, ())
        assert isinstance(zdns.ask(RESOLVE), Resolved)


@pytest.mark.parametrize(
    "frames",
    [[b"no envelope"], [b"a"] * 3, [b"x"] * 2_000, [b"", b""], [b"z" * 600, b"", b"x"], [b"", *[b""] * 50]],
    ids=["no envelope", "no empty frame", "2000 frames", "only empty", "a long envelope", "many empty frames"],
)
def test_an_envelope_that_is_none_is_answered_once_at_most(start: Start, frames: list[bytes]) -> None:
    zdns = start("--store", "memory")
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.linger = 0
        stranger.connect(zdns.endpoint)
        stranger.send_multipart(frames)
        stranger.send_multipart([b"", *codec.encode(RESOLVE)])
        replies: list[object] = []
        while not replies or not isinstance(replies[-1], Resolved):
            assert stranger.poll(30_000)
            replies.append(read(stranger.recv_multipart()[1:]))
        assert len(replies) <= 2
        assert all(isinstance(reply, Refused) and reply.code is RefusalCode.MALFORMED for reply in replies[:-1])


@pytest.mark.parametrize("type_", [zmq.SUB, zmq.PUB, zmq.PUSH, zmq.PULL, zmq.PAIR, zmq.ROUTER, zmq.REP, zmq.XPUB])
def test_peers_of_other_socket_types_change_nothing(start: Start, type_: int) -> None:
    zdns = start("--store", "memory")
    with zmq.Context() as context, context.socket(type_) as stranger:
        stranger.linger = 0
        stranger.connect(zdns.endpoint)
        if type_ == zmq.SUB:
            stranger.subscribe(b"")
        try:
            stranger.send_multipart([b"", b"hello"], zmq.NOBLOCK)
        except zmq.ZMQError:
            pass  # a socket of this type does not send, or not before it has a peer
        zdns.granted(claim(A))
        assert isinstance(zdns.ask(RESOLVE), Resolved)
    assert zdns.stop()[0] == 0


def test_a_flood_that_never_reads_its_answers_does_not_stop_the_others(start: Start) -> None:
    zdns = start("--store", "memory")
    with zmq.Context() as context, context.socket(zmq.DEALER) as flooder:
        flooder.linger = 0
        flooder.rcvhwm = 1
        flooder.connect(zdns.endpoint)
        noise, honest = [b"", b"noise"], [b"", *codec.encode(RESOLVE)]
        for number in range(20_000):
            flooder.send_multipart(noise if number % 2 else honest)
        assert isinstance(zdns.ask(register(A)), Registered)
        assert zdns.granted(claim(A)).record.epoch == 1
    assert zdns.popen.poll() is None


def test_a_service_name_that_is_none_is_refused(start: Start) -> None:
    zdns = start("--store", "memory")
    refused = zdns.ask(Resolve(0, limits.PROTOCOL, "../etc"))
    assert isinstance(refused, Refused)
    assert refused.code is RefusalCode.BAD_NAME


def test_nothing_that_came_to_the_port_stays(start: Start) -> None:
    zdns = start("--store", "memory")
    zdns.ask(RESOLVE)
    folder = Path(f"/proc/{zdns.popen.pid}")
    threads_count = len(list((folder / "task").iterdir()))
    for kind in RAW:
        for _ in range(10):
            talk(zdns.port, RAW[kind])
    for number in range(30):
        zdns.granted(claim(A, f"tea-{number}"))
    # One more thread is the store's. A few of the last connections may not be cleared away yet.
    assert len(list((folder / "task").iterdir())) <= threads_count + 1
    assert len(list((folder / "fd").iterdir())) < 60
