"""The connections at a bound socket by the keys they have proved, so that those of one key can be ended.

libzmq closes no single connection of a bound socket. But each message tells by which file descriptor it came, and a
connection that is shut down under libzmq's hands is one that broke: it cleans up by itself. A descriptor may belong
to another connection by then; that is known by the inode, which every socket has for itself.
"""

import os
import socket
from dataclasses import dataclass

from wire import limits


@dataclass(frozen=True, slots=True)
class _Seen:
    route: bytes  # a connection that takes a descriptor over has another one, unless it wants to deceive
    key: str
    inode: tuple[int, int]


class Peers:
    """By file descriptor: who has been heard over it last."""

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}

    def note(self, descriptor: int, route: bytes, key: str) -> None:
        """A message came; `route` is empty if there is none to know the connection by."""
        seen = self._seen.get(descriptor)
        if seen is not None and route and seen.route == route and seen.key == key:
            return
        self._seen.pop(descriptor, None)
        try:
            status = os.fstat(descriptor)
        except OSError:
            return  # it has gone already
        if len(self._seen) >= limits.PEERS_SEEN_MAX:
            del self._seen[next(iter(self._seen))]
        self._seen[descriptor] = _Seen(route, key, (status.st_dev, status.st_ino))

    def end(self, key: str) -> None:
        """End every connection of whoever has `key`, as far as it has been heard."""
        for descriptor, seen in list(self._seen.items()):
            if seen.key == key:
                del self._seen[descriptor]
                _shut_down(descriptor, seen.inode)

    def end_one(self, descriptor: int, key: str) -> None:
        """End the connection by which a message of `key` has just come."""
        self.note(descriptor, b"", key)
        seen = self._seen.pop(descriptor, None)
        if seen is not None:
            _shut_down(descriptor, seen.inode)


def _shut_down(descriptor: int, inode: tuple[int, int]) -> None:
    """Shut a connection down if it is still that one. A copy is looked at: its descriptor nobody else can close."""
    try:
        copy = os.dup(descriptor)
    except OSError:
        return
    try:
        status = os.fstat(copy)
        if (status.st_dev, status.st_ino) == inode:
            with socket.socket(fileno=copy) as connection:
                copy = -1
                connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has gone already
    finally:
        if copy >= 0:
            os.close(copy)
