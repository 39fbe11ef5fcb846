"""Unit tests of peer.requests."""

from typing import Any

import msgspec
import pytest

from peer.intents import (
    AskHandover,
    AskHistory,
    AskSearch,
    AskStatus,
    AskWho,
    ChangeNick,
    GoAway,
    Quit,
    SetTopic,
)
from peer.notices import FollowerLine
from peer.requests import BadRequest, Requests, status_notice, wish_of
from peer.timeline import HistoryQuery, SearchQuery
from wire import limits
from wire import messages as m


def test_a_request_is_given_out_once_with_a_number_of_its_own() -> None:
    requests = Requests()
    requests.add(AskWho(), m.AskMembers(0), 5)
    requests.add(AskStatus(), m.AskStatus(0), 5)
    assert requests.unsent(6) == [m.AskMembers(1), m.AskStatus(2)]
    assert requests.unsent(7) == []
    closed = requests.close(2)
    assert closed is not None
    assert (closed.intent, closed.ask, closed.asked_ms) == (AskStatus(), 2, 5)
    assert requests.close(2) is None
    assert len(requests) == 1
    assert requests.number() == 3


def test_what_is_not_answered_is_asked_again_but_no_handover() -> None:
    requests = Requests()
    requests.add(AskWho(), m.AskMembers(0), 0)
    requests.add(AskHandover(), m.HandOver(0, ""), 0)
    requests.unsent(0)
    requests.grow_impatient(limits.POST_RESEND_MS - 1)
    assert requests.unsent(limits.POST_RESEND_MS - 1) == []
    requests.grow_impatient(limits.POST_RESEND_MS)
    assert requests.unsent(limits.POST_RESEND_MS) == [m.AskMembers(1)]


def test_at_another_server_all_is_asked_again_and_a_handover_is_closed() -> None:
    requests = Requests()
    requests.add(AskHandover("bo"), m.HandOver(0, "bo"), 0)
    requests.add(AskWho(), m.AskMembers(0), 0)
    requests.unsent(0)
    requests.add(AskHandover(), m.HandOver(0, ""), 0)
    assert [request.intent for request in requests.rejoined()] == [AskHandover("bo")]
    assert requests.unsent(9) == [m.AskMembers(2), m.HandOver(3, "")]


def test_no_more_than_the_limit_is_open() -> None:
    requests = Requests()
    for _ in range(limits.REQUESTS_MAX):
        assert not requests.is_full
        requests.add(AskWho(), m.AskMembers(0), 0)
    assert requests.is_full


@pytest.mark.parametrize(
    ("intent", "message"),
    [
        (AskWho(), m.AskMembers(0)),
        (AskStatus(), m.AskStatus(0)),
        (ChangeNick("  Zoe\u0308 "), m.Rename(0, "Zoë")),
        (GoAway("lunch"), m.SetAway(0, "lunch")),
        (GoAway(), m.SetAway(0, None)),
        (SetTopic(" tea\nand  cake\n"), m.SetTopic(0, "tea and cake")),
        (SetTopic(""), m.SetTopic(0, "")),
        (SetTopic("x" * limits.ROOM_TOPIC_CHARS_MAX), m.SetTopic(0, "x" * 200)),
        (AskHandover(), m.HandOver(0, "")),
        (AskHandover("bo"), m.HandOver(0, "bo")),
    ],
)
def test_each_intent_has_its_message(intent: Any, message: m.Message) -> None:
    assert wish_of(intent, 10) == message


def test_history_and_search_are_queries() -> None:
    history, search = wish_of(AskHistory(0, 5), 10), wish_of(AskSearch("x", 5), 10)
    assert isinstance(history, HistoryQuery)
    assert isinstance(search, SearchQuery)
    assert history.request(1) == m.Fetch(1, 6, 5)
    assert search.request(1) == m.Search(1, "x", 0, 5)


@pytest.mark.parametrize(
    ("intent", "code"),
    [
        (ChangeNick(""), "bad_name"),
        (AskHandover("a b"), "bad_name"),
        (AskSearch(" "), "empty"),
        (AskSearch("x" * (limits.QUERY_CHARS_MAX + 1)), "too_long"),
        (AskSearch("\ud800"), "bad_text"),
        (GoAway("x" * (limits.AWAY_CHARS_MAX + 1)), "too_long"),
        (SetTopic("x" * (limits.ROOM_TOPIC_CHARS_MAX + 1)), "too_long"),
        (SetTopic("\ud800"), "bad_text"),
        (Quit(), "malformed"),
    ],
)
def test_what_no_server_would_take_has_a_code(intent: Any, code: str) -> None:
    with pytest.raises(BadRequest) as caught:
        wish_of(intent, 10)
    assert caught.value.code == code
    assert str(caught.value)


def test_a_status_shows_seconds_and_names() -> None:
    ana = m.ServerInfo("id", "ana", ("tcp://a:1",), ("tcp://a:2",))
    report = m.StatusReport("s", 2, ana, (ana,), ("bo",), ("ana",), 3, False, 4, 5, 30_000, 1_500, (), "why")
    followed = msgspec.structs.replace(
        report, replicas=2, followers=(m.FollowerState("bo", "copying", 7),), disk="no room is left"
    )
    status = status_notice(report)
    assert status.active.endpoints == ("tcp://a:1", "tcp://a:2")
    assert (status.in_sync, status.standbys, status.members) == (("ana",), ("bo",), ("ana",))
    assert (status.min_n, status.open, status.head, status.committed) == (3, False, 4, 5)
    assert (status.term_s, status.next_handover_in_s, status.remark) == (30.0, 1.5, "why")
    assert (status.replicas, status.followers, status.disk) == (0, (), "")
    status = status_notice(followed)
    assert (status.replicas, status.disk) == (2, "no room is left")
    assert status.followers == (FollowerLine(name="bo", state="copying", lag=7),)
