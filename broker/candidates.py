"""Links that others have asked for to lead us, and over which nothing has come that counts yet; pure."""

from collections.abc import Callable
from dataclasses import dataclass

from broker.replication import Line
from wire import limits
from wire.messages import LinkAsk, LinkAt
from wire.names import LinkId
from wire.step import CloseLink, Command, LinkKind, OpenLink, Send, StartTimer, StopTimer

CANDIDATE = "copy.candidate"
_LINGER_MS = 100  # for a word of why


@dataclass(frozen=True, slots=True)
class _Candidate:
    line: Line
    route: bytes  # of whoever asked

    @property
    def timer(self) -> str:
        return f"{CANDIDATE}.{self.line.link}"


class Candidates:
    """Invariants: one link for each key (on an open network: for each server), limits.CANDIDATES_MAX in all, each for
    limits.HANDOVER_STEP_MS.

    Who asks again gives up its own link, and nobody else's: or somebody who did nothing but ask would keep everybody
    from leading.
    """

    def __init__(self, new_link: Callable[[], LinkId]) -> None:
        self._new_link = new_link
        self._by_owner: dict[str, _Candidate] = {}  # the oldest first

    def ask(self, ask: LinkAsk, route: bytes) -> list[Command]:
        """Open a link for somebody."""
        owner = ask.source.key or ask.source.id
        commands = self._drop(owner)
        if len(self._by_owner) >= limits.CANDIDATES_MAX:
            commands += self._drop(next(iter(self._by_owner)))
        made = _Candidate(Line(self._new_link(), ask.pair, ask.source), route)
        self._by_owner[owner] = made
        opened = OpenLink(made.line.link, LinkKind.COPY_BIND, key=ask.source.key)
        return [*commands, opened, StartTimer(made.timer, limits.HANDOVER_STEP_MS)]

    def bound(self, link: LinkId, endpoints: tuple[str, ...], room: LinkId) -> list[Command]:
        """Our end of a link stands: tell the other one where."""
        return [
            Send(room, LinkAt(made.line.pair, endpoints), made.route)
            for made in self._by_owner.values()
            if made.line.link == link
        ]

    def line(self, link: LinkId) -> Line | None:
        """The candidate that this link is."""
        return next((made.line for made in self._by_owner.values() if made.line.link == link), None)

    def take(self, link: LinkId) -> list[Command]:
        """It counts from now on, and is none of ours any more."""
        return self._forget(link, closes=False)

    def drop(self, link: LinkId) -> list[Command]:
        """Close one."""
        return self._forget(link, closes=True)

    def drop_all(self) -> list[Command]:
        """Close all of them."""
        return [command for owner in tuple(self._by_owner) for command in self._drop(owner)]

    def timer(self, name: str) -> list[Command]:
        """The time of one of them is over, if it is one of ours that this timer is of."""
        return [
            command
            for owner, made in tuple(self._by_owner.items())
            if made.timer == name
            for command in self._drop(owner)
        ]

    def _forget(self, link: LinkId, *, closes: bool) -> list[Command]:
        for owner, made in self._by_owner.items():
            if made.line.link == link:
                return self._drop(owner, closes=closes)
        return []

    def _drop(self, owner: str, *, closes: bool = True) -> list[Command]:
        made = self._by_owner.pop(owner, None)
        if made is None:
            return []
        ended: list[Command] = [CloseLink(made.line.link, linger_ms=_LINGER_MS)] if closes else []
        return [*ended, StopTimer(made.timer)]
