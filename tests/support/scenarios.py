"""A small town in which one thing goes wrong, at one message; and how it must be again afterwards."""

import typing
from collections.abc import Callable

from broker.core import ServerCore
from peer import intents
from tests.sim.network import Weather, machine_of
from tests.sim.nodes import State
from tests.sim.runs import encore, settle
from tests.sim.town import Host, Town
from wire import limits
from wire.messages import LinkAsk, LinkAt, Message, Pair, Transfer

POST_EACH_MS = 30
WITHIN_MS = 12_000
FOLLOWED_WITHIN_MS = 4_000  # a lease, a question for a standby, a copy

BETWEEN_SERVERS = (LinkAsk, LinkAt, *typing.get_args(Pair))

Act = Callable[[str, str], None]  # is told the sender and the receiver


def make_town(*others: Host, min_n: int = 0, ephemeral: bool = False, replicas: int = 1) -> Town:
    """ana serves and bo follows, cy takes part without a server; some history, and everybody goes on posting.

    `others` come after them and stand by.
    """
    town = Town(seed=1, min_n=min_n)
    town.network.weather = Weather(latency_ms=(1, 3))
    town.zdns.start()
    town.add(Host("ana", serve_first=True, ephemeral=ephemeral, replicas=replicas))
    town.world.run(50)
    town.add(Host("bo", ephemeral=ephemeral, replicas=replicas))
    town.add(Host("cy", serves=False))
    wait_for_followers(town, "bo")
    for host in others:
        town.add(host)
    wait_for_followers(town, *["bo", *(host.name for host in others if host.serves)][:replicas])
    for _ in range(40):
        town.say(town.hosts["ana"], padding=100)
    settle(town, WITHIN_MS)
    town.world.run(town.world.now_ms + 2 * limits.KEEP_MS)  # by now the followers know who is in the room
    assert epoch_of(town) == 1
    keep_posting(town, town.world.now_ms + 2_500)
    return town


def keep_posting(town: Town, until_ms: int) -> None:
    """Everybody posts, again and again."""
    for host in town.clients():
        town.say(host)
    if town.world.now_ms < until_ms:
        town.later(POST_EACH_MS, lambda: keep_posting(town, until_ms))


def hand_over(town: Town, to: str | None = None, by: str = "cy") -> None:
    """Somebody asks for a handover."""
    town.ask(town.hosts[by], intents.AskHandover(to=to))


# --- looking ---


def epoch_of(town: Town) -> int:
    """The epoch that zdns has on record."""
    assert town.checkers.record is not None
    return town.checkers.record.epoch


def followers_of(town: Town) -> list[str]:
    """The hosts that zdns has on record as having everything, without the one that serves."""
    record = town.checkers.record
    return [] if record is None else [server.name for server in record.in_sync if server.id != record.active.id]


def wait_for_followers(town: Town, *names: str, within_ms: int = FOLLOWED_WITHIN_MS) -> None:
    """Wait until these are on record as having everything, and nobody else but the one that serves."""
    until_ms = town.world.now_ms + within_ms
    arrived = town.world.run(until_ms, lambda: sorted(followers_of(town)) == sorted(names), look_each_ms=5)
    assert arrived, f"{followers_of(town)} follow, not {names}"


def wait_for_epoch(town: Town, epoch: int, within_ms: int = 4_000) -> int:
    """Wait until everybody is served in `epoch`; returns how long that took."""
    views, began_ms = town.checkers.views, town.world.now_ms
    arrived = town.world.run(
        began_ms + within_ms,
        lambda: all(view.epoch == epoch and view.state == "live" for view in views.values()),
        look_each_ms=5,
    )
    assert arrived, f"{[(node, view.epoch, view.state) for node, view in views.items()]}, not {epoch}"
    return town.world.now_ms - began_ms


def finish(town: Town) -> None:
    """Let the posting end, heal everything, and require that the room is whole and has followers again."""
    town.world.run(town.world.now_ms + 3_000)
    town.heal()
    settle(town, WITHIN_MS)
    encore(town)
    check_followed(town)
    town.checkers.check_whole()


def check_followed(town: Town) -> None:
    """As many follow as can, and what they have is what the one that serves has, in memory and on disk."""
    active = town.active_host()
    assert active is not None
    until_ms = town.world.now_ms + FOLLOWED_WITHIN_MS

    def is_followed() -> bool:
        return len(followers_of(town)) == min(active.replicas, len(town.standing()) - 1)

    assert town.world.run(until_ms, is_followed), f"only {followers_of(town)} follow"
    town.world.run(town.world.now_ms + 2 * limits.KEEP_MS)
    head, digest = _copy_of(active, town)
    for host in town.hosts.values():
        if host.name in followers_of(town):
            assert _copy_of(host, town) == (head, digest), f"{host.name} has another copy"


def _copy_of(host: Host, town: Town) -> tuple[int, bytes]:
    """Head and digest of the history of a server half; its disk has the same, unless it is on record as lacking it."""
    assert host.server is not None
    assert isinstance(host.server.core, ServerCore)
    history, record = host.server.core.history, town.checkers.record
    assert history is not None, f"{host.name} has no copy"
    assert record is not None
    store = host.disk.newest() if host.disk is not None else None
    if not host.ephemeral and host.server_id not in record.volatile:
        assert store is not None, f"{host.name} has nothing on disk"
        assert (store.log, len(store.entries)) == (history.log, history.head)
    return history.head, history.digest()


# --- striking ---


def strike_at(
    town: Town, kind: type[Message], act: Act, *, handled: bool = False, of: str = "", transferred: bool = False
) -> None:
    """Do `act` at that message of a handover.

    Args:
        of: of what servers say to each other, only what this host says or is told.
        transferred: not before the transfer was asked for.
    """

    def strike(sender: str, receiver: str) -> None:
        if kind not in BETWEEN_SERVERS or of in ("", machine_of(sender), machine_of(receiver)):
            act(sender, receiver)
        else:
            town.when(kind, strike, handled=handled)

    if transferred:
        town.when(Transfer, lambda _sender, _receiver: town.when(kind, strike, handled=handled))
    else:
        town.when(kind, strike, handled=handled)


def killing(town: Town, *names: str) -> Act:
    """What kills the server halves of these hosts, at once; their participants start others."""

    def kill(_sender: str, _receiver: str) -> None:
        for name in names:
            town.kill_server(town.hosts[name])

    return kill


def pausing(town: Town, name: str, for_ms: int) -> Act:
    """What stops the server half of host `name` for a while."""

    def pause(_sender: str, _receiver: str) -> None:
        server = town.hosts[name].server
        assert server is not None
        town.pause(server.name, for_ms)

    return pause


def is_stopped(town: Town, name: str) -> bool:
    """Whether the server half of host `name` stands still."""
    server = town.hosts[name].server
    return server is not None and server.state is State.STOPPED
