"""Whether a leader that is not heard any more is gone, and claiming its role if so; pure.

A follower whose leader falls silent looks whether the leader's port still takes connections. One that refuses them
is no process any more, and zdns grants the role at once; of a machine that says nothing only zdns knows, by its lease.
If the leader is there after all, it will link to us anew, or it has struck us off: then a claim tells us that, too.
Nothing rests on being right here: zdns alone decides, and a leader that was wrongly taken for dead can do no harm.
"""

import enum
from collections.abc import Callable

from wire import limits
from wire.messages import Ping, ServerInfo
from wire.names import LinkId
from wire.step import CloseLink, Command, LinkKind, OpenLink, Send, StartTimer, StopTimer

PROBE = "heir.probe"
CLAIM = "heir.claim"


class Phase(enum.Enum):
    """CALM: nothing is suspected. PROBING: its port is tried. CLAIMING: zdns is asked for its role, again and again."""

    CALM = "calm"
    PROBING = "probing"
    CLAIMING = "claiming"


class Succession:
    """From the first suspicion to an answer of zdns that ends it; whoever composes this says `calm` then."""

    def __init__(self, *, new_link: Callable[[], LinkId], claim: Callable[[bool], list[Command]]) -> None:
        """`claim(unreachable)` puts the claim to zdns."""
        self.phase = Phase.CALM
        self._new_link = new_link
        self._claim = claim
        self._link: LinkId | None = None
        self._leader: ServerInfo | None = None  # whom we suspect; None: nobody, we claim what was ours
        self._unreachable = False

    def owns(self, link: LinkId) -> bool:
        """Is this the link of our probe?"""
        return link == self._link

    def suspect(self, leader: ServerInfo) -> list[Command]:
        """The leader is not heard any more. What was found out about an earlier one says nothing about this one."""
        if self.phase is not Phase.CALM and self._leader in (None, leader):
            return []
        calmed = self.calm()
        self._leader = leader
        if not leader.router:
            return [*calmed, *self.claim(unreachable=False)]
        self.phase, self._link = Phase.PROBING, self._new_link()
        return [
            *calmed,
            OpenLink(self._link, LinkKind.ROOM_CONNECT, leader.router[0], key=leader.key),
            Send(self._link, Ping(1)),
            StartTimer(PROBE, limits.PROBE_MS),
        ]

    def claim(self, *, unreachable: bool) -> list[Command]:
        """Ask for the role now, and again until `calm` is said."""
        closed = self._close()
        self.phase, self._unreachable = Phase.CLAIMING, unreachable
        return [*closed, *self._claim(unreachable), StartTimer(CLAIM, limits.CLAIM_AGAIN_MS)]

    def calm(self) -> list[Command]:
        """There is a leader, or we are none that could follow it."""
        if self.phase is Phase.CALM:
            return []
        self.phase, self._leader = Phase.CALM, None
        return [*self._close(), StopTimer(CLAIM)]

    def answered(self) -> list[Command]:
        """Something came over the probe: the leader lives. It gets time to link to us before zdns is asked."""
        if self.phase is not Phase.PROBING:
            return []
        closed = self._close()
        self.phase, self._unreachable = Phase.CLAIMING, False
        return [*closed, StartTimer(CLAIM, limits.LEADER_SILENT_MS)]

    def link_down(self) -> list[Command]:
        """The leader's port takes no connection."""
        return self.claim(unreachable=True) if self.phase is Phase.PROBING else []

    def timer(self, name: str) -> list[Command]:
        """One of `PROBE`, `CLAIM` has run out."""
        match self.phase, name:
            case Phase.PROBING, "heir.probe":
                return self.claim(unreachable=False)
            case Phase.CLAIMING, "heir.claim":
                return self.claim(unreachable=self._unreachable)
            case _:
                return []

    def _close(self) -> list[Command]:
        link, self._link = self._link, None
        return [] if link is None else [CloseLink(link), StopTimer(PROBE)]
