"""What a server half is told at its start, and what it tells the process around it; pure."""

from dataclasses import dataclass

from wire import limits
from wire.errors import RefusalCode
from wire.identity import Credentials
from wire.messages import ServerInfo


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What a server half is told at its start. `term_ms` 0: hands over only when asked to.

    `replicas`: followers that are wanted; `ephemeral`: the history is in memory only. `credentials`: what makes it a
    participant of a closed network; None: of an open one. `token`: what zdns gave it before. `flood_per_s`: posts a
    second that are taken of one member, more in a burst; 0: any number.
    """

    service: str
    server_id: str
    name: str
    dns: tuple[str, ...]
    serve_first: bool = False
    min_n: int = 0
    term_ms: int = limits.TERM_MS
    fresh: bool = False
    replicas: int = limits.REPLICAS
    ephemeral: bool = False
    credentials: Credentials | None = None
    token: bytes = b""
    flood_per_s: float = 0

    @property
    def key(self) -> str:
        """Its public key; empty on an open network."""
        return "" if self.credentials is None else self.credentials.keys.public


@dataclass(frozen=True, slots=True)
class Listening:
    """Reported once: both sockets are bound."""

    server: ServerInfo


@dataclass(frozen=True, slots=True)
class Serving:
    """Reported when this server begins to serve."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Relieved:
    """Reported when another server has taken over."""

    epoch: int


@dataclass(frozen=True, slots=True)
class RoleGranted:
    """Reported when zdns tells of an epoch not known before, granted to this server or another: one can join there."""

    epoch: int


@dataclass(frozen=True, slots=True)
class StillLeaving:
    """Reported while this server hands over before it ends: there is progress, and it needs more time."""


@dataclass(frozen=True, slots=True)
class ZdnsChanged:
    """Reported, perhaps repeatedly, when another zdns than the one we registered at answers in its place."""

    why: str


@dataclass(frozen=True, slots=True)
class NoZdns:
    """Reported when zdns has been silent for a whole deadline and this server was never registered."""

    why: str


@dataclass(frozen=True, slots=True)
class LetIn:
    """Reported when zdns has admitted this server's key; `token` shows it the next time."""

    token: bytes


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """Reported when zdns will not have this server; it stops."""

    code: RefusalCode
    message: str


@dataclass(frozen=True, slots=True)
class HostName:
    """Asked of the core by the process around it: the host is called `name` now."""

    name: str
