"""Who may ask a closed zdns, and for whom."""

import msgspec
import pytest

from wire import identity, limits
from wire.errors import RefusalCode
from wire.identity import KeyPair
from wire.messages import (
    Admit,
    Admitted,
    Claim,
    ClaimKind,
    DnsReply,
    Done,
    Leave,
    NameRequest,
    NameState,
    Pick,
    Record,
    Refused,
    Register,
    Registered,
    Renew,
    Resolve,
    ServerInfo,
    SetInSync,
    Transfer,
)
from zdns.door import Ban, Doorkeeper, House

ANA = "a" * 40
BO = "b" * 40
HOUSE = House(KeyPair("zdns", "hush"), b"secret", b"permits", 1)


def server(key: str) -> ServerInfo:
    return ServerInfo(identity.make_id(key, "1"), "ana", ("tcp://127.0.0.1:1",), ("tcp://127.0.0.1:2",), key)


def admit(key: str, *, secret: bytes = b"secret", protocol: int = limits.PROTOCOL, token: bytes = b"") -> Admit:
    return Admit(7, protocol, "tea", identity.proof(secret, "zdns", key), token)


def requests(id_: str, info: ServerInfo) -> list[NameRequest]:
    return [
        Register(1, limits.PROTOCOL, "tea", info),
        Renew(1, "tea", id_),
        Pick(1, "tea", id_),
        Claim(1, "tea", info, ClaimKind.FIRST, 0, "log"),
        Transfer(1, "tea", id_, 1, 1, "other"),
        SetInSync(1, "tea", id_, 1, 1, (id_,)),
        Leave(1, "tea", id_),
    ]


def code(reply: DnsReply | None) -> RefusalCode:
    assert isinstance(reply, Refused)
    return reply.code


@pytest.fixture
def door() -> Doorkeeper:
    return Doorkeeper(HOUSE)


RESOLVE = Resolve(1, limits.PROTOCOL, "tea")


def test_nothing_is_answered_before_the_ticket_is_shown(door: Doorkeeper) -> None:
    for request in [RESOLVE, *requests(server(ANA).id, server(ANA))]:
        assert code(door.judge(request, ANA)) is RefusalCode.NOT_ADMITTED
    assert isinstance(door.judge(admit(ANA), ANA), Admitted)
    for request in [RESOLVE, *requests(server(ANA).id, server(ANA))]:
        assert door.judge(request, ANA) is None
    assert code(door.judge(RESOLVE, BO)) is RefusalCode.NOT_ADMITTED


def test_a_proof_of_another_key_or_another_secret_is_no_ticket(door: Doorkeeper) -> None:
    assert code(door.judge(admit(ANA), BO)) is RefusalCode.BAD_TICKET
    assert code(door.judge(admit(ANA, secret=b"old"), ANA)) is RefusalCode.BAD_TICKET
    assert code(door.judge(Admit(7, limits.PROTOCOL, "tea"), ANA)) is RefusalCode.BAD_TICKET
    assert code(door.judge(admit(ANA, protocol=1), ANA)) is RefusalCode.VERSION


def test_a_token_is_as_good_as_the_ticket_also_after_the_secret_has_changed(door: Doorkeeper) -> None:
    told = door.judge(admit(ANA), ANA)
    assert isinstance(told, Admitted)
    door = Doorkeeper(house(secret=b"new", number=2))
    assert code(door.judge(admit(BO), BO)) is RefusalCode.BAD_TICKET
    again = door.judge(admit(ANA, token=told.token), ANA)
    assert again == told
    assert code(door.judge(admit(BO, token=told.token), BO)) is RefusalCode.BAD_TICKET


def house(**changes: object) -> House:
    fields = {name: getattr(HOUSE, name) for name in ("keys", "secret", "permit_key", "number", "bans", "generation")}
    return House(**{**fields, **changes})


def test_with_a_new_generation_everybody_shows_the_ticket_again(door: Doorkeeper) -> None:
    told = door.judge(admit(ANA), ANA)
    assert isinstance(told, Admitted)
    door.change(house(permit_key=b"others", secret=b"new", generation=1, number=2))
    assert code(door.judge(RESOLVE, ANA)) is RefusalCode.NOT_ADMITTED
    assert code(door.judge(admit(ANA, token=told.token), ANA)) is RefusalCode.BAD_TICKET
    assert isinstance(door.judge(admit(ANA, secret=b"new"), ANA), Admitted)


def test_whoever_is_banned_is_turned_away_whatever_it_shows(door: Doorkeeper) -> None:
    door.judge(admit(ANA), ANA)
    door.judge(admit(BO), BO)
    door.change(house(bans=(Ban(identity.fingerprint(ANA), "ana", 0),), number=2))
    assert code(door.judge(RESOLVE, ANA)) is RefusalCode.BANNED
    assert code(door.judge(admit(ANA), ANA)) is RefusalCode.BANNED
    assert door.judge(RESOLVE, BO) is None
    door.change(house(number=3))
    assert door.judge(RESOLVE, ANA) is None


def test_nobody_speaks_for_another_server(door: Doorkeeper) -> None:
    door.judge(admit(BO), BO)
    for request in requests(server(ANA).id, server(ANA)):
        assert code(door.judge(request, BO)) is RefusalCode.NOT_YOURS, request
    lie = msgspec.structs.replace(server(BO), key=ANA)
    assert code(door.judge(Register(1, limits.PROTOCOL, "tea", lie), BO)) is RefusalCode.NOT_YOURS
    assert code(door.judge(Claim(1, "tea", lie, ClaimKind.FIRST, 0, "log"), BO)) is RefusalCode.NOT_YOURS


def test_servers_are_told_of_the_door_when_they_do_not_know_it(door: Doorkeeper) -> None:
    reply = Registered(1, 3_000, NameState.FREE, None)
    id_ = server(ANA).id
    told = door.complete(Renew(1, "tea", id_), reply)
    assert isinstance(told, Registered)
    assert told.door == HOUSE.door
    assert door.complete(Renew(1, "tea", id_, door=1), reply) is reply
    assert door.complete(Leave(1, "tea", id_), Done(1)) == Done(1)
    assert Doorkeeper(None).complete(Renew(1, "tea", id_), reply) is reply


def test_a_seal_is_that_of_one_record_at_one_zdns(door: Doorkeeper) -> None:
    record = Record("tea", 1, 1, "log", server(ANA), (server(ANA),))
    sealed = door.seal(record)
    assert door.is_sealed(sealed)
    assert not door.is_sealed(record)
    assert not door.is_sealed(msgspec.structs.replace(sealed, epoch=2))
    assert not door.is_sealed(msgspec.structs.replace(sealed, active=server(BO)))
    other = Doorkeeper(house(keys=KeyPair("zdns", "other")))
    assert not other.is_sealed(sealed)
    assert Doorkeeper(house(permit_key=b"x", secret=b"y", number=9)).is_sealed(sealed)


def test_on_an_open_network_everybody_may_ask_for_everybody() -> None:
    door = Doorkeeper(None)
    for request in [RESOLVE, *requests("x", server(ANA))]:
        assert door.judge(request, "") is None
    assert door.judge(admit(""), "") == Admitted(7, b"", b"")
    record = Record("tea", 1, 1, "log", server(ANA), (server(ANA),))
    assert door.seal(record) is record
    assert door.is_sealed(record)


def test_only_so_many_keys_are_remembered_and_the_others_show_their_token_again(
    door: Doorkeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ADMITTED_MAX", 2)
    keys = ["k" * 39 + digit for digit in "123"]
    told = {key: door.judge(admit(key), key) for key in keys}
    assert code(door.judge(RESOLVE, keys[0])) is RefusalCode.NOT_ADMITTED
    assert door.judge(RESOLVE, keys[2]) is None
    first = told[keys[0]]
    assert isinstance(first, Admitted)
    assert isinstance(door.judge(admit(keys[0], secret=b"none", token=first.token), keys[0]), Admitted)


def test_a_permit_that_a_server_could_make_lets_nobody_in_at_zdns(door: Doorkeeper) -> None:
    made = identity.permit(HOUSE.permit_key, BO)
    assert code(door.judge(admit(BO, secret=b"unknown", token=made), BO)) is RefusalCode.BAD_TICKET
    told = door.judge(admit(ANA), ANA)
    assert isinstance(told, Admitted)
    assert told.permit != told.token


def test_a_ban_leaves_the_others_in_though_permits_are_made_anew(door: Doorkeeper) -> None:
    door.judge(admit(BO), BO)
    door.change(house(bans=(Ban(identity.fingerprint(ANA), "ana", 0),), permit_key=b"others", number=2))
    assert door.judge(RESOLVE, BO) is None
