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
    owner: str


class Candidates:
    """Invariants: one link for each key (on an open network: for each server), limits.CANDIDATES_MAX in all, each for
    limits.HANDOVER_STEP_MS.

    Who asks again gives up its own link, and nobody else's: or somebody who did nothing but ask would keep everybody
    from leading.
    """

    def __init__(self, new_link: Callable[[], LinkId]) -> None:
        self._new_link = new_link
        self._by_link: dict[LinkId, _Candidate] = {}  # the oldest first

    def ask(self, ask: LinkAsk, route: bytes) -> list[Command]:
        """Open a link for somebody."""
        owner = ask.source.key or ask.source.id
        earlier = [link for link, made in self._by_link.items() if made.owner == owner]
        commands = [command for link in earlier for command in self.drop(link)]
        if len(self._by_link) >= limits.CANDIDATES_MAX:
            commands += self.drop(next(iter(self._by_link)))
        link = self._new_link()
        self._by_link[link] = _Candidate(Line(link, ask.pair, ask.source), route, owner)
        opened = OpenLink(link, LinkKind.COPY_BIND, key=ask.source.key)
        return [*commands, opened, StartTimer(_timer(link), limits.HANDOVER_STEP_MS)]

    def bound(self, link: LinkId, endpoints: tuple[str, ...], room: LinkId) -> list[Command]:
        """Our end of a link stands: tell the other one where."""
        made = self._by_link.get(link)
        return [] if made is None else [Send(room, LinkAt(made.line.pair, endpoints), made.route)]

    def line(self, link: LinkId) -> Line | None:
        """The candidate that this link is."""
        made = self._by_link.get(link)
        return None if made is None else made.line

    def take(self, link: LinkId) -> list[Command]:
        """It counts from now on, and is none of ours any more."""
        return [StopTimer(_timer(link))] if self._by_link.pop(link, None) is not None else []

    def drop(self, link: LinkId) -> list[Command]:
        """Close one."""
        taken = self.take(link)
        return [CloseLink(link, linger_ms=_LINGER_MS), *taken] if taken else []

    def drop_all(self) -> list[Command]:
        """Close all of them."""
        return [command for link in tuple(self._by_link) for command in self.drop(link)]

    def timer(self, name: str) -> list[Command]:
        """The time of one of them is over, if it is one of ours that this timer is of."""
        return self.drop(LinkId(name.removeprefix(f"{CANDIDATE}.")))


def _timer(link: LinkId) -> str:
    return f"{CANDIDATE}.{link}"
