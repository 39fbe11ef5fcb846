"""A member who lies: it has keys of its own and the ticket, hears every word of the run, and says what nobody should.

It speaks to zdns, to every server half, over every link it is offered, and to whoever calls it up; what it says is
well formed and made of what others have said. It does not offer itself as a server: whoever serves is trusted in its
own epoch (docs/security.md), and one that merely keeps silent is a case of its own among the faults.
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec

from tests.sim.network import BOUND_BY, Network
from tests.sim.nodes import HOUSE, ZDNS_ENDPOINT, State
from tests.sim.world import World
from tests.support import lies
from wire import identity, limits
from wire.messages import (
    Admit,
    Admitted,
    Follow,
    HandOver,
    Hello,
    LinkAsk,
    LinkAt,
    Message,
    Posts,
    Relayed,
    RoomState,
    ServerInfo,
    SetTopic,
)
from wire.names import LinkId
from wire.step import READS, CloseLink, Event, LinkDown, LinkKind, OpenLink, Received, Send

INTRUDER = "mal"
PAUSES_MS = ((1, 4), (1, 60), (1, 60))  # between two lies; one in three lies without end
LINKS_MAX = 16
DRAWN_BYTES = 300  # of chance for one lie
OVERHEARS = 0.2  # of what is said, so often
KNOWN_MAX = 10  # values of one name
DEPTH_MAX = 3
HANDOVERS_MAX = 3  # anybody may ask for one, and a chat that does nothing else is not a lie
_ZDNS = LinkId("dns")


@dataclass(frozen=True, slots=True)
class _Lies:
    """It is time for another one."""


class Intruder:
    """A node. Invariant: it never registers, claims or signs anything as a server of its own."""

    def __init__(self, world: World, network: Network, key: str, service: str) -> None:
        self.name = INTRUDER
        self.state = State.GONE
        self.lies_count = 0
        self._world, self._network = world, network
        self._key, self._service = key, service
        self._random = Random(f"lies of {world.seed}")
        self._peer = identity.make_id(key, f"{INTRUDER}-peer")
        self._server = ServerInfo(
            identity.make_id(key, f"{INTRUDER}-1"), INTRUDER, ("tcp://mal:1",), ("tcp://mal:2",), key
        )
        self._permit = b""
        self._pause_ms = self._random.choice(PAUSES_MS)
        self._asks_for_links = self._random.choice((0.05, 0.05, 0.5))  # so often, of what it says to a server half
        self._links: dict[LinkId, LinkKind] = {}
        self._pairs: dict[LinkId, str] = {}
        self._at: dict[LinkId, tuple[str, str]] = {}  # endpoint and key
        self._names = 0
        self._handovers = 0
        self._servers: dict[str, ServerInfo] = {}
        self._speakers: dict[str, tuple[Hello, int]] = {}  # how they said hello, and the counter of their last post
        self._known: defaultdict[str, deque[Any]] = defaultdict(lambda: deque(maxlen=KNOWN_MAX))
        world.join(INTRUDER, self._take)

    def start(self) -> None:
        """Come in, and begin."""
        self.state = State.RUNNING
        self._network.on_sent.append(self._overhear)
        self._links[_ZDNS] = LinkKind.DNS_ASK
        self._network.open(INTRUDER, OpenLink(_ZDNS, LinkKind.DNS_ASK, ZDNS_ENDPOINT, key=HOUSE.keys.public))
        self._world.after(0, INTRUDER, _Lies())

    def kill(self, *, silent: bool = False) -> None:
        """Be gone."""
        if self.state is not State.GONE:
            self.state = State.GONE
            self._network.on_sent.remove(self._overhear)
            self._links.clear()
            self._network.node_gone(INTRUDER, silent=silent)

    def stop(self) -> None:
        """It is never stopped: that would be a mercy."""

    def go_on(self) -> None:
        """It never was."""

    def deliver(self, event: Event) -> None:
        """Have it take notice."""
        self._world.after(0, INTRUDER, event)

    # --- hearing ----------------------------------------------------------------------------------------------------

    def _overhear(self, sender: str, _receiver: str, message: Message) -> None:
        if sender == INTRUDER:
            return
        if isinstance(message, Hello):
            self._speakers[sender] = (message, 0)
        elif isinstance(message, Posts) and sender in self._speakers:
            hello, counter = self._speakers[sender]
            self._speakers[sender] = (hello, max(counter, message.first_counter + len(message.texts) - 1))
        if self._random.random() < OVERHEARS:
            self._remember(message, 0)

    def _remember(self, value: Any, depth: int) -> None:
        """Keep a struct, and what its fields hold, under their names."""
        if type(value).__struct_fields__:
            self._known[type(value).__name__].append(value)
        if isinstance(value, ServerInfo) and value.key != self._key:
            self._servers[value.id] = value
        for field in type(value).__struct_fields__:
            held = getattr(value, field)
            self._known[field].append(held)
            if depth < DEPTH_MAX:
                for inner in _structs_in(held):
                    self._remember(inner, depth + 1)

    def _take(self, event: Any) -> None:
        if self.state is State.GONE:
            return
        match event:
            case _Lies():
                self._lie()
                self._world.after(self._random.randint(*self._pause_ms), INTRUDER, event)
            case Received(_, Admitted(permit=permit)):
                self._permit = permit
            case Received(link, LinkAt(pair, endpoints)) if link in self._at:
                opened = self._open(LinkKind.COPY_CONNECT, endpoints[0], self._at[link][1])
                self._pairs[opened] = pair
            case Received(_, Relayed(sender, call_up)) if call_up.endpoints:
                self._open(LinkKind.TALK_CONNECT, call_up.endpoints[0], sender.key)
            case LinkDown(link) if self._links.get(link) in (LinkKind.COPY_CONNECT, LinkKind.TALK_CONNECT):
                self._close(link)
            case _:
                pass

    # --- speaking ---------------------------------------------------------------------------------------------------

    def _lie(self) -> None:
        draw = self._random
        if not self._permit and draw.random() < 0.5:
            proof = identity.proof(HOUSE.secret, HOUSE.keys.public, self._key)
            self._say(_ZDNS, Admit(self.lies_count, limits.PROTOCOL, self._service, proof))
        elif self._servers and draw.random() < 0.15:
            server = draw.choice(list(self._servers.values()))
            if draw.random() < 0.3:
                self._open(LinkKind.FEED_CONNECT, server.feed[0], server.key)
            else:
                link = self._open(LinkKind.ROOM_CONNECT, server.router[0], server.key)
                self._greet(link)
        else:
            self._lie_over(draw.choice(list(self._links)))

    def _lie_over(self, link: LinkId) -> None:
        kind = self._links[link]
        if kind is LinkKind.FEED_CONNECT:
            return
        if kind is LinkKind.ROOM_CONNECT and self._random.random() < max(0.1, self._asks_for_links):
            self._greet(link)
            return
        if link in self._pairs and self._known["Record"] and self._random.random() < 0.2:
            self._say(link, self._claim_to_lead(link))
            return
        source = lies.Source(self._random.randbytes(DRAWN_BYTES))
        known: dict[str, Sequence[Any]] = {**self._known, "permit": (self._permit,)}
        if link in self._pairs:
            known["pair"] = (self._pairs[link],)
            known["leader"] = (self._server, *self._known["leader"])
        message = lies.message(source, READS[BOUND_BY[kind]], known)
        if message is not None and not self._is_its_right(message):
            self._say(link, message)

    def _is_its_right(self, message: Message) -> bool:
        """What any member may do, and what would only show that it can."""
        match message:
            case SetTopic():
                return True
            case HandOver():
                self._handovers += 1
                return self._handovers > HANDOVERS_MAX
            case LinkAsk() | Hello():
                return False
        server = getattr(message, "server", "")
        id_ = server.id if isinstance(server, ServerInfo) else server
        return bool(id_) and identity.belongs(id_, self._key)

    def _greet(self, link: LinkId) -> None:
        draw = self._random
        if draw.random() < self._asks_for_links:
            self._say(link, self._honest_link_ask())
        elif self._speakers and draw.random() < 0.4:
            hello, counter = draw.choice(list(self._speakers.values()))
            self._say(link, msgspec.structs.replace(hello, permit=self._permit))  # as somebody else
            self._say(link, Posts(counter + draw.choice((1, 1, 2)), ("what nobody has typed",)))
        else:
            self._say(link, self._honest_hello())

    def _claim_to_lead(self, link: LinkId) -> Message:
        """What a leader says first; only zdns could tell that this is none."""
        draw = self._random
        record = draw.choice(self._known["Record"])
        epoch = record.epoch + draw.choice((0, 1, 1, 1, 2, 1_000))
        in_sync = (self._server, *(server for server in record.in_sync if draw.random() < 0.5))
        claimed = msgspec.structs.replace(
            record, epoch=epoch, version=record.version + 1, active=self._server, in_sync=in_sync[: limits.IN_SYNC_MAX]
        )
        self._known["Record"].append(claimed)
        self._known["epoch"].append(epoch)
        state = draw.choice(self._known["RoomState"] or (RoomState((), 0, 0, True, 0, ()),))
        head = draw.choice(self._known["head"] or (0,))
        number = draw.randint(1, 9)
        return Follow(self._pairs[link], self._service, self._server, claimed, number, head, 100 * head, state)

    def _honest_hello(self) -> Hello:
        return Hello(
            protocol=limits.PROTOCOL,
            service=self._service,
            peer=self._peer,
            session=f"mal-{self._random.randint(1, 4)}",
            nick=INTRUDER,
            nick_fixed=False,
            guest=self._random.random() < 0.3,
            server="",
            min_n=0,
            permit=self._permit,
        )

    def _honest_link_ask(self) -> LinkAsk:
        return LinkAsk(limits.PROTOCOL, self._service, f"mal-p{self.lies_count}", self._server, self._permit)

    def _say(self, link: LinkId, message: Message) -> None:
        self.lies_count += 1
        self._world.note(INTRUDER, f"{message!r:.300} ({link})")
        self._network.send(INTRUDER, Send(link, message))

    # --- links ------------------------------------------------------------------------------------------------------

    def _open(self, kind: LinkKind, endpoint: str, key: str) -> LinkId:
        for link, at in self._at.items():
            if at == (endpoint, key) and self._links[link] is kind:
                return link
        if len(self._links) >= LINKS_MAX:
            self._close(self._random.choice([link for link in self._links if link != _ZDNS]))
        self._names += 1
        link = LinkId(f"mal-{self._names}")
        self._links[link], self._at[link] = kind, (endpoint, key)
        self._network.open(INTRUDER, OpenLink(link, kind, endpoint, topic=self._service, key=key))
        return link

    def _close(self, link: LinkId) -> None:
        del self._links[link], self._at[link]
        self._pairs.pop(link, None)
        self._network.close(INTRUDER, CloseLink(link))


def _structs_in(held: Any) -> Iterator[msgspec.Struct]:
    if isinstance(held, msgspec.Struct):
        yield held
    elif isinstance(held, tuple):
        yield from (one for one in held[:KNOWN_MAX] if isinstance(one, msgspec.Struct))
