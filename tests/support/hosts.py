"""Hosts of their own on one machine: network namespaces joined by a switch, and what can go wrong between them.

Everything is made by iproute2 alone, as root. Nothing of it can be reached from outside, nor reaches out: the hosts
have addresses of a private network that is nowhere but in these namespaces.
"""

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

NETWORK = "10.83.0"
SWITCH = "switch"
UP_S = 10.0
PREFIX = "relevo"
# Programs of the classic packet filter, as `tc filter … bpf bytecode` takes them: offsets are from the Ethernet header.
_LOAD_KIND, _LOAD_TARGET, _LOAD_CHANCE = "40 0 0 12", "32 0 0 30", f"32 0 0 {2**32 - 0x1000 + 56}"
_IPV4 = 0x0800
_PASS, _DROP = "6 0 0 0", "6 0 0 2"
_numbers = itertools.count()


class NoHosts(Exception):
    """This machine cannot do it; `str()` says why."""


class Hosts:
    """A switch and hosts, gone at the end with whatever still runs in them.

    Faults are silent unless they say otherwise: what is not let through is dropped, and nobody is told.
    """

    def __init__(self, *names: str) -> None:
        self.names = names
        self._stem = f"{PREFIX}-{os.getpid()}-{next(_numbers)}"
        self._blocked: dict[str, set[str]] = {name: set() for name in names}  # by who sends: who does not get it
        self._lost_percent = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Set it up.

        Raises:
            NoHosts: this machine cannot.
        """
        if os.geteuid() != 0:
            raise NoHosts("network namespaces need root")
        if shutil.which("ip") is None:
            raise NoHosts("network namespaces need the command ip (iproute2)")
        _sweep()
        try:
            self._set_up()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _set_up(self) -> None:
        self._add_namespace(SWITCH)
        _run("ip", "-n", self._space(SWITCH), "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", self._space(SWITCH), "link", "set", "bridge", "up")
        for name in self.names:
            self._add_namespace(name)
            _run(
                *("ip", "-n", self._space(SWITCH), "link", "add", "name", name, "type", "veth"),
                *("peer", "name", "lan", "netns", self._space(name)),
            )
            _run("ip", "-n", self._space(SWITCH), "link", "set", "dev", name, "master", "bridge", "up")
            _run("ip", "-n", self._space(name), "address", "add", f"{self.address(name)}/24", "dev", "lan")
            _run("ip", "-n", self._space(name), "link", "set", "lan", "up")
            _run("ip", "-n", self._space(name), "link", "set", "lo", "up")

    def _add_namespace(self, name: str) -> None:
        _run("ip", "netns", "add", self._space(name))
        self._stack.callback(_remove, self._space(name))

    def _space(self, name: str) -> str:
        return f"{self._stem}-{name}"

    # --- the hosts ---

    def address(self, name: str) -> str:
        """The address of a host."""
        return f"{NETWORK}.{self.names.index(name) + 1}"

    def within(self, name: str) -> tuple[str, ...]:
        """What goes before a command to run it on that host."""
        return ("ip", "netns", "exec", self._space(name))

    # --- faults ---

    def cut(self, name: str) -> None:
        """Nothing reaches this host or comes from it any more; its own network card sees nothing of that."""
        self._port(name, "nomaster")

    def unplug(self, name: str) -> None:
        """As `cut`, but as if its cable were pulled: the host sees that there is no network any more."""
        self._port(name, "down")

    def block(self, source: str, target: str) -> None:
        """What `source` sends to `target` is dropped; the other way it gets through.

        Raises:
            NoHosts: this machine cannot drop single packets.
        """
        self._blocked[source].add(self.address(target))
        self._filter(source)

    def part(self, one: str, other: str) -> None:
        """Nothing gets through between these two.

        Raises:
            NoHosts: this machine cannot drop single packets.
        """
        self.block(one, other)
        self.block(other, one)

    def lose(self, percent: int) -> None:
        """So many of all packets, each by chance, are dropped.

        Raises:
            NoHosts: this machine cannot drop single packets.
        """
        self._lost_percent = percent
        for name in self.names:
            self._filter(name)

    def heal(self) -> None:
        """No fault is left."""
        self._lost_percent = 0
        for name in self.names:
            self._blocked[name].clear()
            self._filter(name)
            self._port(name, "master", "bridge", "up")
        for name in self.names:
            self._wait_until_up(name)

    def _wait_until_up(self, name: str) -> None:
        """The kernel may take up to a second to notice that a cable is back."""
        deadline = time.monotonic() + UP_S
        show = ["ip", "-n", self._space(name), "-o", "link", "show", "dev", "lan"]
        while " state UP " not in subprocess.run(show, capture_output=True, text=True, check=True).stdout:
            if time.monotonic() > deadline:
                raise NoHosts(f"the link of {name} does not come up")
            time.sleep(0.01)

    def _port(self, name: str, *settings: str) -> None:
        _run("ip", "-n", self._space(SWITCH), "link", "set", "dev", name, *settings)

    def _filter(self, name: str) -> None:
        """Have the switch drop what it shall of that which comes from this host. ARP always gets through."""
        rules = [*self._rules(name)]
        tc = (*self.within(SWITCH), "tc")
        # The queueing discipline that filters hang on; gone and made anew, it has none.
        subprocess.run([*tc, "qdisc", "del", "dev", name, "clsact"], capture_output=True, check=False)
        if not rules:
            return
        if shutil.which("tc") is None:
            raise NoHosts("dropping single packets needs the command tc (iproute2)")
        program = [_LOAD_KIND, f"21 1 0 {_IPV4}", _PASS, *rules, _PASS]
        code = ",".join([str(len(program)), *program])
        try:
            _run(*tc, "qdisc", "add", "dev", name, "clsact")
            _run(*tc, "filter", "add", "dev", name, "ingress", "bpf", "direct-action", "bytecode", code)
        except NoHosts as error:
            raise NoHosts(f"dropping single packets needs tc's classifier bpf in the kernel: {error}") from None

    def _rules(self, name: str) -> Iterator[str]:
        """Each two lines after a load: if it does not hold, jump over the drop."""
        for address in sorted(self._blocked[name]):
            number = int.from_bytes(bytes(map(int, address.split("."))), "big")
            yield from (_LOAD_TARGET, f"21 0 1 {number}", _DROP)
        if self._lost_percent:
            yield from (_LOAD_CHANCE, f"53 1 0 {2**32 * self._lost_percent // 100}", _DROP)


def _run(*command: str) -> None:
    """Run a command.

    Raises:
        NoHosts: it failed.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoHosts(f"{' '.join(command)}: {' '.join(done.stderr.split()) or done.returncode}")


def _remove(space: str) -> None:
    """End what still runs in a namespace, and take its name away; the rest is the kernel's."""
    pids = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True, check=False).stdout
    for pid in map(int, pids.split()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)


def _sweep() -> None:
    """Take away what a test run that was killed itself has left."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
    for space, pid in re.findall(rf"^({PREFIX}-(\d+)-\S+)", listed, re.MULTILINE):
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            _remove(space)
