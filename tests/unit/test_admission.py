"""Who may speak at a server's room, and for whom."""

import msgspec
import pytest

from broker import admission
from broker.admission import Admission
from wire import identity, limits
from wire.errors import RefusalCode
from wire.identity import Credentials, KeyPair
from wire.messages import (
    AskStatus,
    Bye,
    Door,
    Fetch,
    Hello,
    LinkAsk,
    Message,
    Ping,
    Posts,
    Refused,
    ServerInfo,
    SetServer,
    WhoAreYou,
)

ANA, BO, ME = "a" * 40, "b" * 40, "m" * 40
PERMITS = b"permits"
CREDENTIALS = Credentials(KeyPair(ME, "hush"), "z" * 40, b"secret")


def hello(key: str, *, permit: bytes | None = None, server: str | None = None, peer: str = "") -> Hello:
    return Hello(
        protocol=limits.PROTOCOL,
        service="tea",
        peer=peer or identity.make_id(key, "1"),
        session="s",
        nick="ana",
        nick_fixed=True,
        guest=False,
        server=identity.make_id(key, "2") if server is None else server,
        min_n=0,
        permit=identity.permit(PERMITS, key) if permit is None else permit,
    )


def link_ask(key: str, *, claimed: str = "") -> LinkAsk:
    source = ServerInfo(identity.make_id(claimed or key, "2"), "ana", ("r",), ("f",), claimed or key)
    return LinkAsk(limits.PROTOCOL, "tea", "pair", source, identity.permit(PERMITS, key))


def code(answer: Message | None) -> RefusalCode:
    assert isinstance(answer, Refused)
    return answer.code


@pytest.fixture
def door() -> Admission:
    made = Admission(CREDENTIALS)
    made.learn(Door(1, PERMITS))
    return made


def test_before_zdns_has_told_anything_nobody_is_let_in() -> None:
    door = Admission(CREDENTIALS)
    assert door.own_permit == b""
    assert code(door.judge(hello(ANA), b"r", ANA)) is RefusalCode.NOT_ADMITTED
    assert code(door.judge(hello(ANA, permit=identity.permit(b"", ANA)), b"r", ANA)) is RefusalCode.NOT_ADMITTED


def test_a_hello_with_a_permit_lets_in_its_route_and_no_other(door: Admission) -> None:
    for early in (Posts(1, ("x",)), Ping(1)):
        assert door.judge(early, b"r", ANA) == WhoAreYou()
    assert door.judge(hello(ANA), b"r", ANA) is None
    assert door.key_of(b"r") == ANA
    for message in (Posts(1, ("x",)), Fetch(1, 1, 1), AskStatus(1), Ping(1), Bye()):
        assert door.judge(message, b"r", ANA) is None
        assert door.judge(message, b"other", ANA) == WhoAreYou()


def test_a_route_that_somebody_else_has_taken_over_is_not_believed(door: Admission) -> None:
    door.judge(hello(ANA), b"r", ANA)
    door.judge(hello(BO), b"b", BO)
    assert door.judge(Posts(1, ("x",)), b"r", BO) == WhoAreYou()
    assert door.judge(Ping(1), b"r", BO) == WhoAreYou(), "it would be heard as another's"
    assert door.judge(hello(BO), b"r", BO) is None
    assert door.judge(Posts(1, ("x",)), b"r", ANA) == WhoAreYou()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (hello(ANA, permit=b""), RefusalCode.NOT_ADMITTED),
        (hello(ANA, permit=identity.permit(PERMITS, BO)), RefusalCode.NOT_ADMITTED),
        (hello(ANA, permit=identity.permit(b"old", ANA)), RefusalCode.NOT_ADMITTED),
        (hello(ANA, peer=identity.make_id(BO, "1")), RefusalCode.NOT_YOURS),
        (hello(ANA, peer="1"), RefusalCode.NOT_YOURS),
        (hello(ANA, server=identity.make_id(BO, "2")), RefusalCode.NOT_YOURS),
    ],
)
def test_hellos_that_are_turned_down(door: Admission, said: Hello, why: RefusalCode) -> None:
    assert code(door.judge(said, b"r", ANA)) is why
    assert door.key_of(b"r") == ""


def test_a_member_without_a_server_half_is_let_in(door: Admission) -> None:
    assert door.judge(hello(ANA, server=""), b"r", ANA) is None


def test_nobody_names_the_server_of_somebody_else_as_its_own(door: Admission) -> None:
    door.judge(hello(ANA), b"r", ANA)
    assert door.judge(SetServer(1, identity.make_id(ANA, "9")), b"r", ANA) is None
    assert door.judge(SetServer(1, ""), b"r", ANA) is None
    assert code(door.judge(SetServer(1, identity.make_id(BO, "9")), b"r", ANA)) is RefusalCode.NOT_YOURS


def test_a_server_asks_for_a_link_in_its_own_name_only(door: Admission) -> None:
    assert door.judge(link_ask(ANA), b"r", ANA) is None
    assert code(door.judge(link_ask(ANA, claimed=BO), b"r", ANA)) is RefusalCode.NOT_YOURS
    assert code(door.judge(msgspec.structs.replace(link_ask(ANA), permit=b""), b"r", ANA)) is RefusalCode.NOT_ADMITTED


def test_our_own_permit_is_the_one_others_want_to_see(door: Admission) -> None:
    assert identity.is_permit(PERMITS, ME, door.own_permit)


def test_whoever_is_banned_is_out_and_stays_out(door: Admission) -> None:
    door.judge(hello(ANA), b"r", ANA)
    door.judge(hello(BO), b"b", BO)
    assert door.learn(Door(2, PERMITS, (identity.fingerprint(ANA),))) == [ANA]
    for message in (hello(ANA), Posts(1, ("x",)), link_ask(ANA), Ping(1)):
        assert code(door.judge(message, b"r", ANA)) is RefusalCode.BANNED
    assert door.judge(Posts(1, ("x",)), b"b", BO) is None
    door.learn(Door(3, PERMITS))
    assert door.judge(hello(ANA), b"r", ANA) is None


def test_after_a_ban_the_others_stay_in_and_show_new_permits_with_their_next_hello(door: Admission) -> None:
    door.judge(hello(ANA), b"r", ANA)
    assert door.learn(Door(2, b"new", (identity.fingerprint(BO),))) == []
    assert door.judge(Posts(1, ("x",)), b"r", ANA) is None
    assert code(door.judge(hello(ANA), b"r2", ANA)) is RefusalCode.NOT_ADMITTED
    eve = "e" * 40
    assert code(door.judge(hello(eve), b"e", eve)) is RefusalCode.NOT_ADMITTED, "whatever was made with the old key"


def test_in_a_new_generation_everybody_shows_a_new_permit(door: Admission) -> None:
    door.judge(hello(ANA), b"r", ANA)
    assert door.learn(Door(2, b"new", generation=1)) == [ANA]
    assert door.judge(Posts(1, ("x",)), b"r", ANA) == WhoAreYou()
    assert code(door.judge(hello(ANA), b"r", ANA)) is RefusalCode.NOT_ADMITTED
    assert door.judge(hello(ANA, permit=identity.permit(b"new", ANA)), b"r", ANA) is None


def test_only_so_many_routes_are_remembered(door: Admission, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_ROUTES_MAX", 2)
    for route in (b"1", b"2", b"3"):
        door.judge(hello(ANA), route, ANA)
    assert door.judge(Bye(), b"1", ANA) == WhoAreYou()
    assert door.judge(Bye(), b"3", ANA) is None


def test_on_an_open_network_everybody_is_listened_to() -> None:
    door = Admission(None)
    for message in (hello("", permit=b""), Posts(1, ("x",)), link_ask(ANA), SetServer(1, "x")):
        assert door.judge(message, b"r", "") is None
    assert door.own_permit == b""
