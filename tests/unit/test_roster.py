"""Unit tests of peer.roster."""

from hypothesis import given
from hypothesis import strategies as st

from peer.notices import MemberChanged, MemberLine, Topic, Waiting
from peer.roster import Roster, member_lines
from wire import limits
from wire.messages import Change, ChangeKind, Member, Presence


def member(name: str, *, guest: bool = False, away: str | None = None, nick: str = "", silent: bool = False) -> Member:
    """The member whose id is `name`."""
    return Member(name, nick or name, guest, f"{name}-server", 5, away, silent)


def roster(*names: str, rev: int = 10) -> Roster:
    """What "me" knows when these are in."""
    known = Roster("me")
    assert known.replace(rev, [member(name) for name in names]) == []
    return known


def test_changes_are_applied_in_order() -> None:
    known = roster("me", "ana")
    changes = (
        Change(ChangeKind.JOINED, member("bo")),
        Change(ChangeKind.RENAMED, member("ana", nick="anna"), "ana"),
        Change(ChangeKind.AWAY, member("bo", away="lunch")),
        Change(ChangeKind.BACK, member("bo")),
        Change(ChangeKind.LOST, member("bo")),
        Change(ChangeKind.LEFT, member("nobody")),
    )
    told = known.apply(Presence(1, 16, changes))
    assert told == list(changes)
    assert known.rev == 16
    assert known.nicks == ("me", "anna")
    assert known.news(told) == [
        MemberChanged(name="bo", state="joined"),
        MemberChanged(name="anna", state="renamed", was="ana"),
        MemberChanged(name="bo", state="away", text="lunch"),
        MemberChanged(name="bo", state="back"),
        MemberChanged(name="bo", state="lost"),
        MemberChanged(name="nobody", state="left"),
    ]


def test_changes_that_are_old_mean_nothing() -> None:
    known = roster("me", "bo", rev=12)
    assert known.apply(Presence(1, 12, (Change(ChangeKind.LEFT, member("bo")),))) == []
    assert known.nicks == ("me", "bo")


def test_a_gap_is_noticed_and_nothing_is_applied() -> None:
    known = roster("me")
    assert known.apply(Presence(1, 12, (Change(ChangeKind.JOINED, member("bo")),))) is None
    assert known.nicks == ("me",)
    assert Roster("me").apply(Presence(1, 1, (Change(ChangeKind.JOINED, member("bo")),))) is None


def test_a_list_that_no_room_can_have_is_asked_for_anew_instead() -> None:
    known = roster(rev=0)
    for rev in range(100, 3_000, 100):
        changes = tuple(Change(ChangeKind.JOINED, member(f"m{rev + index}")) for index in range(100))
        if known.apply(Presence(1, rev, changes)) is None:
            break
    assert limits.MEMBERS_MAX <= len(known.members) <= limits.MEMBERS_MAX + limits.CHANGES_PER_MESSAGE_MAX
    assert known.rev == len(known.members)


def test_of_changes_that_are_known_in_part_the_rest_is_applied() -> None:
    known = roster("me", "ana", rev=11)
    both = (Change(ChangeKind.JOINED, member("ana")), Change(ChangeKind.JOINED, member("bo")))
    assert known.apply(Presence(1, 12, both)) == [both[1]]
    assert known.nicks == ("me", "ana", "bo")


def test_a_list_that_was_fetched_says_what_had_been_missed() -> None:
    known = roster("me", "ana", "bo", "cy")
    after = [member("me"), member("ana", nick="anna"), member("cy", away="out"), member("dee")]
    assert known.news(known.replace(20, after)) == [
        MemberChanged(name="bo", state="left"),
        MemberChanged(name="anna", state="renamed", was="ana"),
        MemberChanged(name="cy", state="away", text="out"),
        MemberChanged(name="dee", state="joined"),
    ]
    assert known.news(known.replace(21, [member("cy")]))[-1] == MemberChanged(name="cy", state="back")


def test_silence_is_told_and_found_by_comparing_and_the_own_one_is_no_news() -> None:
    known = roster("me", "ana", "bo", rev=10)
    changes = (
        Change(ChangeKind.SILENT, member("ana", silent=True)),
        Change(ChangeKind.SILENT, member("me", silent=True)),
        Change(ChangeKind.HEARD, member("me")),
    )
    told = known.apply(Presence(1, 13, changes))
    assert told is not None
    assert known.news(told) == [MemberChanged(name="ana", state="silent")]
    after = [member("me", silent=True), member("ana"), member("bo", silent=True)]
    assert known.news(known.replace(20, after)) == [
        MemberChanged(name="ana", state="heard"),
        MemberChanged(name="bo", state="silent"),
    ]


def test_each_topic_is_told_and_one_that_was_missed_once() -> None:
    known = roster("me", "ana", rev=10)
    assert known.topics([]) == []
    changes = (
        Change(ChangeKind.TOPIC, member("ana"), "", "lunch"),
        Change(ChangeKind.TOPIC, member("me"), "", ""),
        Change(ChangeKind.TOPIC, member("ana"), "", "tea"),
    )
    told = known.apply(Presence(1, 13, changes))
    assert told is not None
    assert known.topic == Topic(text="tea", by="ana")
    assert known.news(told) == []
    assert known.topics(told) == [Topic(text="lunch", by="ana"), Topic(text="", by="me"), Topic(text="tea", by="ana")]
    assert known.topics([]) == []
    known.topic = Topic(text="coffee", by="bo")
    assert known.topics([]) == [Topic(text="coffee", by="bo")]
    known.topic = Topic(text="", by="bo")
    assert known.topics([]) == [Topic(text="", by="bo")]


def test_an_empty_topic_is_no_news_to_a_newcomer() -> None:
    known = roster("me")
    known.topic = Topic(text="", by="somebody who cleared it")
    assert known.topics([]) == []


def test_own_coming_and_going_guests_and_housekeeping_are_no_news() -> None:
    known = roster("me")
    changes = [
        Change(ChangeKind.JOINED, member("me")),
        Change(ChangeKind.LOST, member("me")),
        Change(ChangeKind.JOINED, member("reader", guest=True)),
        Change(ChangeKind.MOVED_HOUSE, member("me")),
        Change(ChangeKind.RENAMED, member("me"), "me"),
    ]
    assert known.news(changes) == []
    assert known.news([Change(ChangeKind.RENAMED, member("me", nick="I"), "me")]) == [
        MemberChanged(name="I", state="renamed", was="me")
    ]


def test_members_are_found_however_their_name_is_written() -> None:
    known = Roster("me")
    known.replace(1, [member("1", nick="Zoë")])
    assert known.find("ZOE\u0308") == member("1", nick="Zoë")
    assert known.find("zo") is None
    assert known.member("1") == member("1", nick="Zoë")
    assert known.member("2") is None


def test_waiting_is_said_at_each_change_and_once_more_at_the_opening() -> None:
    known = roster("me")
    known.min_n = 2
    assert known.waiting() == [Waiting(here=1, need=2, members=("me",))]
    assert known.waiting() == []
    known.open = True
    assert known.waiting() == [Waiting(here=2, need=2, members=("me",))]
    assert known.waiting() == []


def test_a_room_that_is_open_is_not_waited_for() -> None:
    known = roster("me")
    known.min_n, known.open = 5, True
    assert known.waiting() == []


def test_guests_do_not_count() -> None:
    known = Roster("me")
    known.replace(1, [member("me"), member("reader", guest=True)])
    known.min_n = 2
    assert known.waiting() == [Waiting(here=1, need=2, members=("me",))]


def test_lines_say_who_serves_and_who_is_away() -> None:
    members = [member("ana"), member("bo", away=""), member("cy", away="x", silent=True), member("reader", guest=True)]
    assert member_lines(members, "ana-server") == (
        MemberLine(name="ana", state="here", serving=True, since=5),
        MemberLine(name="bo", state="away", serving=False, since=5),
        MemberLine(name="cy", state="silent", serving=False, since=5),
    )


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.booleans(), st.booleans()), min_size=1, max_size=30),
    st.lists(st.integers(0, 29), max_size=10),
)
def test_whatever_is_lost_the_list_is_right_once_it_was_fetched(
    happened: list[tuple[str, bool, bool]], lost: list[int]
) -> None:
    server = dict[str, Member]()
    known = roster()
    rev = known.rev
    heard = dict[str, Member]()  # what a reader of the news alone would believe
    for index, (name, comes, is_packed) in enumerate(happened):
        change = Change(ChangeKind.JOINED if comes else ChangeKind.LEFT, member(name))
        changes = (change,) * (2 if is_packed else 1)
        rev += len(changes)
        if comes:
            server[name] = change.member
        else:
            server.pop(name, None)
        if index in lost:
            continue
        told = known.apply(Presence(1, rev, changes))
        if told is None:
            told = known.replace(rev, list(server.values()))
        for notice in known.news(told):
            if notice.state == "joined":
                heard[notice.name] = member(notice.name)
            else:
                heard.pop(notice.name, None)
    for notice in known.news(known.replace(rev + 1, list(server.values()))):
        if notice.state == "joined":
            heard[notice.name] = member(notice.name)
        else:
            heard.pop(notice.name, None)
    assert sorted(heard) == sorted(server) == sorted(known.nicks)
