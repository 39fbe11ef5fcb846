"""A server half on a closed network: whom it lets in, what it believes of whom, and what a ban does."""

from dataclasses import replace

import msgspec

from broker.core import EXPEL
from broker.reports import ServerOptions, TurnedAway
from broker.room import FEED, ROOM
from tests.support.halves import OPTIONS, Half, Other, is_stopped, later, new_registry, reports
from tests.support.histories import SERVICE, entry
from tests.support.replicas import record, sent
from wire import identity, limits
from wire.errors import RefusalCode
from wire.identity import Credentials, KeyPair
from wire.messages import (
    Admit,
    Align,
    AskStatus,
    Claim,
    ClaimKind,
    Dismiss,
    DnsReply,
    Following,
    Hello,
    Keep,
    LinkAsk,
    LinkAt,
    Message,
    Posts,
    Refused,
    Register,
    Renew,
    ServerInfo,
    StatusIs,
    Welcome,
    WhoAreYou,
)
from wire.step import Allow, Command, Expel, LinkKind, OpenLink, Received, StartTimer
from zdns.door import Ban, Doorkeeper, House
from zdns.registry import Registry

HOUSE = House(KeyPair("z" * 40, "hush"), b"secret", b"permits", 1)


def key_of(who: str) -> str:
    return who.ljust(40, ".")


def server(who: str) -> ServerInfo:
    id_ = identity.make_id(key_of(who), "s")
    return ServerInfo(id_, who, (f"tcp://{who}:1",), (f"tcp://{who}:2",), key_of(who))


ANA, BO, CY = map(server, ("ana", "bo", "cy"))
CREDENTIALS = Credentials(KeyPair(ANA.key, "hush"), HOUSE.keys.public, HOUSE.secret)
CLOSED = ServerOptions(SERVICE, ANA.id, ANA.name, ("tcp://dns:1",), serve_first=True, credentials=CREDENTIALS)
STANDBY = replace(CLOSED, serve_first=False)


class ClosedHalf(Half):
    """Ana's server half, whose zdns has a door."""

    def __init__(self, options: ServerOptions = CLOSED, *, registry: Registry | None = None) -> None:
        self.door = Doorkeeper(HOUSE)
        super().__init__(options, registry=registry)

    def ban(self, *keys: str) -> list[Command]:
        """Whoever runs zdns bans these; the half learns it."""
        bans = tuple(Ban(identity.fingerprint(key), "", 0) for key in keys)
        self.door.change(replace(HOUSE, number=2, bans=bans))
        self.registry.evict({ban.fingerprint for ban in bans})
        return self.timer("tenure.renew")

    def ask_dns(self, request: Message, key: str = ANA.key) -> DnsReply:
        reply = self.door.judge(request, key)  # type: ignore[arg-type]  # a request it is
        return reply or self.door.complete(request, super().ask_dns(request))  # type: ignore[arg-type]

    def stand_by(self, server: ServerInfo = BO) -> None:
        self.admit(server.key)
        self.ask_dns(Register(0, limits.PROTOCOL, SERVICE, server), server.key)

    def admit(self, key: str) -> None:
        proof = identity.proof(HOUSE.secret, HOUSE.keys.public, key)
        self.ask_dns(Admit(0, limits.PROTOCOL, SERVICE, proof), key)

    def hear(self, message: Message, who: str = "ana") -> list[Command]:
        if isinstance(message, LinkAsk):
            message = msgspec.structs.replace(message, permit=identity.permit(HOUSE.permit_key, key_of(who)))
        return self.do(Received(ROOM, message, who.encode(), key_of(who)))

    def join(self, who: str, server: str = "") -> list[Command]:
        return self.hear(hello(who, server=server), who)


def hello(who: str, *, server: str = "", peer: str = "") -> Hello:
    peer = peer or identity.make_id(key_of(who), "p")
    permit = identity.permit(HOUSE.permit_key, key_of(who))
    return Hello(limits.PROTOCOL, SERVICE, peer, "s", who, False, False, server, 0, permit=permit)


def codes(commands: list[Command]) -> list[RefusalCode]:
    return [refused.code for refused in sent(commands, Refused)]


# --- who is let in ---


def test_it_shows_its_ticket_registers_with_its_key_and_serves() -> None:
    half = ClosedHalf()
    assert isinstance(sent(half.log, Admit)[0], Admit)
    assert half.core.server == ANA
    assert half.record is not None
    assert half.record.active == ANA
    commands = half.join("bo")
    assert sent(commands, Welcome)
    assert [command for command in commands if isinstance(command, Allow)] == [Allow(FEED, BO.key)]


def test_without_a_permit_or_for_others_nobody_gets_in_and_nothing_is_told() -> None:
    half = ClosedHalf()
    commands = half.hear(msgspec.structs.replace(hello("eve"), permit=b"x"), "eve")
    assert codes(commands) == [RefusalCode.NOT_ADMITTED]
    commands += half.hear(hello("eve", peer=identity.make_id(BO.key, "p")), "eve")
    assert codes(commands)[1:] == [RefusalCode.NOT_YOURS]
    for message in (Posts(1, ("x",)), AskStatus(1)):
        told = half.hear(message, "eve")
        assert sent(told, WhoAreYou)
        assert not sent(told, StatusIs)
        commands += told
    assert not any(isinstance(command, Allow) for command in commands)
    assert half.core.room is not None
    assert half.core.room.history.head == 0


def test_a_post_on_somebody_elses_route_is_nobodys() -> None:
    half = ClosedHalf()
    half.join("bo")
    half.join("eve")
    commands = half.do(Received(ROOM, Posts(1, ("I am bo",)), b"bo", key_of("eve")))
    assert sent(commands, WhoAreYou)
    assert half.core.room is not None
    assert half.core.room.history.head == 0


def test_when_zdns_will_not_have_it_at_all_it_ends() -> None:
    wrong = replace(CREDENTIALS, secret=b"old")
    half = ClosedHalf(replace(CLOSED, credentials=wrong))
    assert [report.code for report in reports(half.log) if isinstance(report, TurnedAway)] == [RefusalCode.BAD_TICKET]
    assert is_stopped(half.log)


# --- links to others are made by key ---


def test_the_link_to_a_follower_is_made_with_its_key() -> None:
    half = ClosedHalf()
    half.stand_by(BO)
    asked = half.timer("replicas.tick", limits.RECRUIT_MS)
    (ask,) = sent(asked, LinkAsk)
    assert identity.is_permit(HOUSE.permit_key, ANA.key, ask.permit)
    (room,) = [command for command in asked if isinstance(command, OpenLink)]
    assert (room.kind, room.key) == (LinkKind.ROOM_CONNECT, BO.key)
    commands = half.do(Received(room.link, LinkAt(ask.pair, ("tcp://bo:9",))))
    (pair,) = [command for command in commands if isinstance(command, OpenLink)]
    assert (pair.kind, pair.key) == (LinkKind.COPY_CONNECT, BO.key)


def test_only_who_asked_for_a_link_may_connect_to_it() -> None:
    half = ClosedHalf(STANDBY, registry=new_registry(record(4, 9, BO)))
    bo = Other(half, BO)
    opened = bo.links()
    assert [c.key for c in opened if isinstance(c, OpenLink)] == [BO.key]
    lie = LinkAsk(limits.PROTOCOL, SERVICE, "pair", BO)
    assert codes(half.hear(lie, "eve")) == [RefusalCode.NOT_YOURS]


# --- nobody but zdns is believed that somebody leads ---


def test_the_one_that_zdns_names_is_followed() -> None:
    half = ClosedHalf(STANDBY, registry=new_registry(record(4, 9, BO)))
    bo = Other(half, BO)
    bo.links()
    assert sent(bo.leads(record(4, 9, BO)), Following)


def test_somebody_who_only_says_that_it_leads_is_not_followed() -> None:
    real = record(4, 9, BO)
    half = ClosedHalf(STANDBY, registry=new_registry(real))
    cy = Other(half, CY)
    cy.links()
    for lie in (record(4, 10, CY), record(5, 10, CY)):
        commands = cy.leads(lie)
        assert not sent(commands, Following)
        assert sent(commands, Renew), "zdns is asked"
    assert half.record == real


def test_who_leads_in_an_epoch_that_is_new_to_us_is_followed_as_soon_as_zdns_says_so() -> None:
    was = record(4, 9, BO)
    half = ClosedHalf(STANDBY, registry=new_registry(was))
    now = half.grant(later(was, CY, BO))
    cy = Other(half, CY)
    cy.links()
    commands = cy.leads(now)
    assert sent(commands, Renew)
    assert sent(commands, Following)
    assert half.record == now


def test_whoever_lies_that_it_leads_keeps_nobody_from_leading() -> None:
    was = record(4, 9, BO)
    half = ClosedHalf(STANDBY, registry=new_registry(was))
    cy, eve = Other(half, CY), Other(half, server("eve"))
    cy.links("c-p1")
    eve.links("e-p1")
    now = half.grant(later(was, CY, BO))
    half.silent = True
    (asked,) = sent(cy.leads(now), Renew)
    eve.leads(record(6, 99, server("eve")))
    eve.links("e-p2")
    eve.leads(record(6, 99, server("eve")))
    commands = half.dns_answers(asked)
    assert sent(commands, Following) == [Following("c-p1", 0, 0, (), 0)]
    assert half.record == now


def test_what_a_leader_tells_of_later_epochs_is_not_believed() -> None:
    real = record(4, 9, BO)
    half = ClosedHalf(STANDBY, registry=new_registry(real))
    bo = Other(half, BO)
    bo.links()
    bo.leads(real)
    bo.says(Align(bo.pair, 0, 0))
    commands = bo.says(Keep(bo.pair, 4, 0, record(9, 99, CY)))
    assert sent(commands, Renew)
    assert half.record == real


def test_a_copy_is_kept_whatever_is_said_of_later_epochs() -> None:
    real = record(4, 9, BO)
    half = ClosedHalf(STANDBY, registry=new_registry(real))
    bo = Other(half, BO)
    bo.links()
    bo.leads(real, head=1)
    bo.sends(real, [entry(1, 4)], committed=1)
    eve = Other(half, server("eve"))
    eve.links("e-p1")
    eve.leads(record(7, 99, server("eve"), log="another"))
    assert half.core.history is not None
    assert half.core.history.head == 1


def test_a_copy_that_is_whole_is_erased_on_the_word_of_zdns_only() -> None:
    half = ClosedHalf(STANDBY, registry=new_registry(record(4, 9, BO, ANA)))
    bo = Other(half, BO)
    bo.links()
    bo.leads(record(4, 9, BO, ANA), head=1)
    bo.sends(record(4, 9, BO, ANA), [entry(1, 4)], committed=1)
    half.stand_by(BO)
    commands = bo.says(Dismiss(bo.pair, record(4, 10, BO), "go"))
    assert [claim.kind for claim in sent(commands, Claim)] == [ClaimKind.FAILOVER]
    assert half.core.history is not None
    half.grant(record(4, 10, BO))
    half.timer("heir.claim", limits.CLAIM_AGAIN_MS)
    assert half.core.history is None


# --- bans ---


def test_whoever_is_banned_is_told_unseated_and_disconnected() -> None:
    half = ClosedHalf()
    half.join("eve")
    half.join("bo")
    commands = half.ban(key_of("eve"))
    assert codes(commands) == [RefusalCode.BANNED]
    assert Expel(FEED, key_of("eve")) in commands
    assert StartTimer(EXPEL, limits.EXPEL_MS) in commands
    assert [command for command in half.timer(EXPEL) if isinstance(command, Expel)] == [Expel(ROOM, key_of("eve"))]
    assert codes(half.join("eve")) == [RefusalCode.BANNED]
    assert half.core.room is not None
    assert [member.nick for member in half.core.room.members] == ["bo"]


def test_a_ban_of_its_leader_makes_a_follower_claim_at_once() -> None:
    real = record(4, 9, BO, ANA)
    half = ClosedHalf(STANDBY, registry=new_registry(real))
    bo = Other(half, BO)
    bo.links()
    bo.leads(real, head=1)
    bo.sends(real, [entry(1, 4)], committed=1)
    half.ban(BO.key)
    assert half.record is not None
    assert (half.record.epoch, half.record.active) == (5, ANA)


def test_a_banned_follower_is_struck_off() -> None:
    half = ClosedHalf()
    bo = Other(half, BO)
    bo.recruited()
    bo.follows()
    assert half.record is not None
    assert half.record.in_sync == (ANA, BO)
    half.ban(BO.key)
    assert half.record.in_sync == (ANA,)
    assert not sent(half.timer("replicas.tick", limits.RECRUIT_MS), LinkAsk)


def test_whoever_is_banned_itself_stops_at_once() -> None:
    half = ClosedHalf()
    commands = half.ban(ANA.key)
    assert [report.code for report in reports(commands) if isinstance(report, TurnedAway)] == [RefusalCode.BANNED]
    assert is_stopped(commands)


def test_on_an_open_network_there_is_nothing_to_show() -> None:
    half = Half(OPTIONS)
    assert not sent(half.log, Admit)
    assert not any(isinstance(command, Allow) for command in half.join("bo"))
