"""The simulated network fails as each socket type does, and in no other way."""

import pytest

from tests.sim.network import Network, Weather
from tests.sim.world import World
from wire.messages import (
    Done,
    Have,
    Heartbeat,
    Leave,
    Message,
    Ping,
    Pong,
    TalkPing,
    Withdraw,
)
from wire.names import LinkId
from wire.step import (
    CloseLink,
    Event,
    LinkBound,
    LinkDown,
    LinkKind,
    LinkUp,
    OpenLink,
    Received,
    Send,
    SendRefused,
    Subscribed,
)


class Wires:
    """A network between nodes that only write down what they are told."""

    def __init__(self, seed: int = 1) -> None:
        self.world = World(seed)
        self.told: dict[str, list[Event]] = {"ana": [], "bo": [], "cy": []}
        self.stopped: dict[str, bool] = {}
        self.network = Network(self.world, self._deliver, lambda node: node in self.stopped)

    def _deliver(self, node: str, event: Event) -> None:
        self.told[node].append(event)

    def bind(self, node: str, kind: LinkKind, link: str = "bound", topic: str = "") -> str:
        """Open a bound link and return its endpoint."""
        self.network.open(node, OpenLink(LinkId(link), kind, "tcp://bo:8000", topic=topic))
        return next(
            event.endpoints[0] for event in self.told[node] if isinstance(event, LinkBound) and event.link == link
        )

    def connect(self, node: str, kind: LinkKind, endpoint: str, link: str = "link", topic: str = "") -> None:
        """Open a connecting link and give it time."""
        self.network.open(node, OpenLink(LinkId(link), kind, endpoint, topic=topic))
        self.run(50)

    def send(self, node: str, message: Message, link: str = "link", to: bytes = b"") -> None:
        """Send."""
        self.network.send(node, Send(LinkId(link), message, to))

    def run(self, for_ms: int = 100) -> None:
        """Let time pass."""
        self.world.run(self.world.now_ms + for_ms)

    def messages(self, node: str) -> list[Message]:
        """What a node received."""
        return [event.message for event in self.told[node] if isinstance(event, Received)]

    def count(self, node: str, kind: type[Event]) -> int:
        """How often a node was told of something."""
        return sum(isinstance(event, kind) for event in self.told[node])


def room(wires: Wires) -> bytes:
    """ana's DEALER at bo's ROUTER; returns ana's routing id."""
    wires.connect("ana", LinkKind.ROOM_CONNECT, wires.bind("bo", LinkKind.ROOM_BIND))
    wires.send("ana", Ping(1))
    wires.run()
    return next(event.sender for event in wires.told["bo"] if isinstance(event, Received))


def test_messages_keep_their_order_whatever_their_delay() -> None:
    wires = Wires()
    room(wires)
    wires.network.weather = Weather(latency_ms=(0, 50), late_chance=0.2, late_ms=500)
    for number in range(2, 60):
        wires.send("ana", Ping(number))
    wires.run(20_000)
    assert [message.ask for message in wires.messages("bo") if isinstance(message, Ping)] == list(range(1, 60))


def test_a_dealer_waits_for_a_server_that_comes_later_and_says_once_that_there_is_none() -> None:
    wires = Wires()
    wires.connect("ana", LinkKind.ROOM_CONNECT, "tcp://bo:20001")
    wires.send("ana", Ping(1))
    wires.run(3_000)
    assert wires.count("ana", LinkDown) == 1
    assert wires.bind("bo", LinkKind.ROOM_BIND) == "tcp://bo:20001"
    wires.run(2_000)
    assert wires.count("ana", LinkUp) == 1
    assert wires.messages("bo") == [Ping(1)]


def test_a_router_refuses_what_it_cannot_route() -> None:
    wires = Wires()
    sender = room(wires)
    wires.send("bo", Pong(1, 1), "bound", b"\0none")
    assert wires.count("bo", SendRefused) == 1
    wires.send("bo", Pong(2, 1), "bound", sender)
    wires.run()
    assert wires.messages("ana") == [Pong(2, 1)]


def test_a_router_refuses_what_is_over_the_high_water_mark_of_a_stopped_reader() -> None:
    wires = Wires()
    sender = room(wires)
    wires.network.weather = Weather(high_water=3)
    wires.stopped["ana"] = True
    for number in range(5):
        wires.send("bo", Pong(number, 1), "bound", sender)
    assert wires.count("bo", SendRefused) == 2
    wires.run()
    assert wires.messages("ana") == []
    wires.stopped.clear()
    wires.network.flow_again()
    wires.run()
    assert wires.messages("ana") == [Pong(0, 1), Pong(1, 1), Pong(2, 1)]


@pytest.mark.parametrize("seed", range(8))
def test_a_death_loses_a_tail_and_nothing_before_it(seed: int) -> None:
    wires = Wires(seed)
    room(wires)
    for number in range(2, 12):
        wires.send("ana", Ping(number))
    wires.network.node_gone("ana", silent=False)
    wires.run()
    asks = [message.ask for message in wires.messages("bo") if isinstance(message, Ping)]
    assert asks == list(range(1, len(asks) + 1))


def test_a_dealer_learns_of_its_servers_death_a_router_of_nothing() -> None:
    wires = Wires()
    sender = room(wires)
    wires.network.node_gone("bo", silent=False)
    wires.run()
    assert wires.count("ana", LinkDown) == 1
    wires = Wires()
    sender = room(wires)
    wires.network.node_gone("ana", silent=False)
    wires.run()
    assert wires.count("bo", LinkDown) == 0
    wires.send("bo", Pong(1, 1), "bound", sender)
    assert wires.count("bo", SendRefused) == 1


def test_a_lost_machine_is_noticed_only_by_its_silence() -> None:
    wires = Wires()
    room(wires)
    wires.network.node_gone("bo", silent=True)
    wires.run(1_900)
    assert wires.count("ana", LinkDown) == 0
    wires.run(1_000)
    assert wires.count("ana", LinkDown) == 1


def test_what_a_partition_held_comes_when_it_ends_soon_and_never_when_it_ends_late() -> None:
    for parted_ms, expected in ((1_000, [Ping(1), Ping(2)]), (5_000, [Ping(1)])):
        wires = Wires()
        room(wires)
        wires.network.block("ana", "bo")
        wires.send("ana", Ping(2))
        wires.run(parted_ms)
        assert wires.messages("bo") == [Ping(1)]
        wires.network.unblock("ana", "bo")
        wires.run(3_000)
        assert wires.messages("bo") == expected
        assert wires.count("ana", LinkDown) == len([1 for _ in expected if len(expected) == 1])


def test_a_reader_gets_what_is_published_after_its_subscription_and_only_its_topic() -> None:
    wires = Wires()
    endpoint = wires.bind("bo", LinkKind.FEED_BIND, topic="tea")
    beat = Heartbeat(1, 0, 0, True, -1)
    wires.send("bo", beat, "bound")
    wires.connect("ana", LinkKind.FEED_CONNECT, endpoint, topic="tea")
    wires.connect("cy", LinkKind.FEED_CONNECT, endpoint, topic="teapot")
    assert wires.count("bo", Subscribed) == 1
    wires.send("bo", beat, "bound")
    wires.run()
    assert wires.messages("ana") == [beat]
    assert wires.messages("cy") == []


def test_a_publisher_drops_whole_messages_for_a_slow_reader_and_is_told_nothing() -> None:
    wires = Wires()
    wires.connect("ana", LinkKind.FEED_CONNECT, wires.bind("bo", LinkKind.FEED_BIND, topic="tea"), topic="tea")
    wires.network.weather = Weather(high_water=2)
    wires.stopped["ana"] = True
    for head in range(5):
        wires.send("bo", Heartbeat(1, head, 0, True, -1), "bound")
    wires.stopped.clear()
    wires.network.flow_again()
    wires.run()
    assert [message.head for message in wires.messages("ana") if isinstance(message, Heartbeat)] == [0, 1]
    assert wires.count("bo", SendRefused) == 0


def test_an_answer_to_an_earlier_question_is_not_taken_for_a_later_one() -> None:
    wires = Wires()
    wires.connect("ana", LinkKind.DNS_ASK, wires.bind("bo", LinkKind.DNS_BIND))
    wires.send("ana", Leave(1, "tea", "ana"))
    wires.run()
    wires.send("ana", Leave(2, "tea", "ana"))
    wires.run()
    first, second = (event.sender for event in wires.told["bo"] if isinstance(event, Received))
    wires.send("bo", Done(1), "bound", first)
    wires.send("bo", Done(2), "bound", second)
    wires.run()
    assert wires.messages("ana") == [Done(2)]


def lead(wires: Wires, connecting: str = "ana") -> str:
    endpoint = wires.bind("bo", LinkKind.COPY_BIND)
    wires.connect(connecting, LinkKind.COPY_CONNECT, endpoint)
    return endpoint


def test_a_followers_link_is_used_once() -> None:
    wires = Wires()
    lead(wires)
    wires.send("ana", Withdraw("p", "why"))
    wires.send("bo", Have("p", 1, 2), "bound")
    wires.run()
    assert wires.messages("bo") == [Withdraw("p", "why")]
    assert wires.messages("ana") == [Have("p", 1, 2)]
    wires.network.break_between("ana", "bo")
    wires.run(5_000)
    assert wires.count("ana", LinkDown) == wires.count("bo", LinkDown) == 1
    assert wires.count("ana", LinkUp) == 1
    wires.send("ana", Withdraw("p", "why"))
    assert wires.count("ana", SendRefused) == 1


def test_a_second_one_at_a_followers_link_ends_it() -> None:
    wires = Wires()
    endpoint = lead(wires)
    wires.connect("cy", LinkKind.COPY_CONNECT, endpoint)
    assert wires.count("bo", LinkDown) == 1


def test_a_second_one_at_a_pair_is_told_that_all_is_well_and_is_never_heard() -> None:
    wires = Wires()
    endpoint = wires.bind("bo", LinkKind.TALK_BIND)
    wires.connect("ana", LinkKind.TALK_CONNECT, endpoint)
    wires.connect("cy", LinkKind.TALK_CONNECT, endpoint)
    assert wires.count("cy", LinkUp) == 1
    wires.send("cy", TalkPing(7))
    wires.send("ana", TalkPing(1))
    wires.run()
    assert wires.messages("bo") == [TalkPing(1)]


def test_closing_with_time_to_linger_loses_nothing() -> None:
    wires = Wires()
    room(wires)
    for number in range(2, 9):
        wires.send("ana", Ping(number))
    wires.network.close("ana", CloseLink(LinkId("link"), linger_ms=100))
    wires.run()
    assert len(wires.messages("bo")) == 8
    wires.send("ana", Ping(9))
    assert wires.count("ana", SendRefused) == 1


def test_a_link_name_is_used_once() -> None:
    wires = Wires()
    wires.bind("bo", LinkKind.ROOM_BIND)
    with pytest.raises(ValueError, match="twice"):
        wires.bind("bo", LinkKind.ROOM_BIND)
