"""How many connections a bound socket has, in all and from each address; who is one too many is cut off.

libzmq sets no bound. It tells by which descriptor a connection was accepted and has ended; one that it has not told of
yet may be gone already, and its descriptor another's. So before anybody is cut off, what is counted is compared with
what is there.
"""

import logging
import os
import socket
from collections import Counter
from dataclasses import dataclass

from wire import limits

log = logging.getLogger("relevo.links")


@dataclass(frozen=True, slots=True)
class _One:
    address: str
    inode: int


class Crowd:
    """The connections of one bound socket, by descriptor."""

    def __init__(
        self, most: int = limits.CONNECTIONS_MAX, most_of_one: int = limits.CONNECTIONS_PER_ADDRESS_MAX
    ) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._there: dict[int, _One] = {}
        self._by_address: Counter[str] = Counter()
        self._cut_off_count = 0

    def __len__(self) -> int:
        return len(self._there)

    def came(self, descriptor: int) -> None:
        """A connection was accepted: count it, or cut it off."""
        self.left(descriptor)  # if it took over a descriptor whose end was not told
        try:
            connection = socket.socket(fileno=os.dup(descriptor))
        except OSError:
            return  # it has gone already
        with connection:
            try:
                one = _One(str(connection.getpeername()[0]), os.fstat(connection.fileno()).st_ino)
            except OSError:
                return
            if self._is_one_too_many(one.address):
                self._forget_stale()
            if self._is_one_too_many(one.address):
                self._cut_off(connection, one.address)
                return
        self._there[descriptor] = one
        self._by_address[one.address] += 1

    def left(self, descriptor: int) -> None:
        """A connection has ended."""
        one = self._there.pop(descriptor, None)
        if one is not None:
            self._by_address[one.address] -= 1
            if not self._by_address[one.address]:
                del self._by_address[one.address]

    def _is_one_too_many(self, address: str) -> bool:
        return len(self._there) >= self._most or self._by_address[address] >= self._most_of_one

    def _forget_stale(self) -> None:
        for descriptor, one in list(self._there.items()):
            try:
                is_there = os.fstat(descriptor).st_ino == one.inode
            except OSError:
                is_there = False
            if not is_there:
                self.left(descriptor)

    def _cut_off(self, connection: socket.socket, address: str) -> None:
        count = self._cut_off_count = self._cut_off_count + 1
        if count & (count - 1) == 0:  # the 1st, 2nd, 4th, 8th …
            log.warning("cut_off=%d connections, the last one from %s: too many", count, address)
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has gone by itself
