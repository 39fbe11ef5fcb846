"""Who has which key: remembered, and a change of it said."""

import pytest

from peer.acquaintances import Acquaintances
from wire import identity, limits
from wire.messages import Member

OLD, NEW = "o" * 40, "n" * 40


def member(nick: str, key: str = OLD, *, guest: bool = False) -> Member:
    return Member(identity.make_id(key, "1"), nick, guest, "", 0, key=key)


def test_whoever_is_met_is_remembered() -> None:
    met = Acquaintances({})
    assert met.meet([member("ana"), member("guest", guest=True)]) == []
    assert met.has_news
    assert met.known == {"ana": identity.fingerprint(OLD)}
    assert not met.has_news
    assert met.meet([member("ana")]) == []
    assert not met.has_news


def test_another_key_behind_a_nick_is_said_once() -> None:
    met = Acquaintances({"ana": identity.fingerprint(OLD)})
    (change,) = met.meet([member("Ana", NEW)])
    assert (change.nick, change.was, change.now) == ("Ana", identity.fingerprint(OLD), identity.fingerprint(NEW))
    assert identity.shown(change.now) in change.sentence
    assert met.meet([member("Ana", NEW)]) == []
    assert met.known == {"ana": identity.fingerprint(NEW)}


def test_nothing_private_is_sent_to_it_before_the_user_insists() -> None:
    met = Acquaintances({"ana": identity.fingerprint(OLD)})
    met.meet([member("ana", NEW)])
    assert "send it again if you are sure" in met.objection(member("ana", NEW))
    assert met.objection(member("ana", NEW)) == ""
    assert met.objection(member("bo")) == ""


def test_on_an_open_network_nobody_has_a_key() -> None:
    met = Acquaintances({})
    assert met.meet([Member("x", "ana", False, "", 0)]) == []
    assert met.objection(Member("x", "ana", False, "", 0)) == ""
    assert met.known == {}


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NICKS_OWNED_MAX", 2)
    met = Acquaintances({})
    met.meet([member("ana"), member("bo"), member("ana"), member("cy")])
    assert list(met.known) == ["ana", "cy"]
