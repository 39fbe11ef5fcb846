"""ui.people: who is here, in which order Tab offers them, and whom the reader does not want to hear."""

import pytest

from peer import notices
from ui.people import IGNORED_MAX, SPOKEN_MAX, People, Person

READY = notices.Ready(
    name="ana", service="backend.com", epoch=3, server="bo", head=0, members=("ana", "bo", "cy", "dee"), min_n=0
)


def people() -> People:
    """As ana sees them: bo, cy and dee are there."""
    known = People()
    known.fold(READY)
    return known


def said(author: str, time_ms: int = 0) -> notices.Message:
    return notices.Message(seq=1, epoch=1, id="1", author=author, text="hello", time=time_ms)


def told(sender: str) -> notices.Private:
    return notices.Private(sender=sender, to="ana", id="1", text="psst", state="received")


def changed(name: str, state: str, was: str | None = None, text: str | None = None) -> notices.MemberChanged:
    notice = notices.MemberChanged(name=name, state=state)
    if was is not None:
        notice = notices.MemberChanged(name=name, state=state, was=was)
    return notice if text is None else notices.MemberChanged(name=name, state=state, text=text)


def test_fingerprints_are_those_of_the_list_and_of_who_joined_since() -> None:
    known = people()
    lines = [notices.MemberLine(nick, "here", False, 0, mark) for nick, mark in (("ana", "a1"), ("bo", "b2"))]
    known.fold(notices.MembersList(members=tuple(lines)))
    known.fold(notices.MemberChanged(name="cy", state="joined", fingerprint="c3"))
    known.fold(notices.MemberChanged(name="dee", state="joined"))
    known.fold(notices.MemberChanged(name="bea", state="renamed", was="bo"))
    assert [(one.nick, one.fingerprint) for one in known.members] == [
        ("ana", "a1"),
        ("bea", "b2"),
        ("cy", "c3"),
        ("dee", ""),
    ]


def test_oneself_is_a_member_but_is_not_offered() -> None:
    known = people()
    assert [one.nick for one in known.members] == ["ana", "bo", "cy", "dee"]
    assert known.nicks == ["bo", "cy", "dee"]
    assert known.is_me("ANA")
    assert not known.is_me("bo")


def test_who_spoke_or_was_addressed_last_comes_first() -> None:
    known = people()
    known.fold(said("cy"))
    known.fold(said("dee"))
    assert known.nicks == ["dee", "cy", "bo"]
    known.addressed("bo")
    assert known.nicks == ["bo", "dee", "cy"]
    known.fold(told("cy"))
    assert known.nicks == ["cy", "bo", "dee"]


def test_an_author_of_the_history_who_has_gone_is_not_offered() -> None:
    known = people()
    known.fold(said("eli"))
    assert "eli" not in known.nicks
    known.fold(changed("cy", "left"))
    assert known.nicks == ["bo", "dee"]
    known.fold(changed("cy", "joined"))
    assert known.nicks == ["bo", "dee", "cy"]


def test_how_somebody_is_follows_from_what_is_told() -> None:
    known = people()
    known.fold(changed("bo", "away", text="lunch"))
    known.fold(changed("cy", "silent"))
    known.fold(notices.Schedule(epoch=3, server="dee", member="dee", next_handover_in_s=20.0))
    assert known.members[1:] == (
        Person("bo", is_away=True, remark="lunch"),
        Person("cy", is_silent=True),
        Person("dee", is_serving=True),
    )
    known.fold(changed("bo", "back"))
    known.fold(changed("cy", "heard"))
    known.fold(notices.Schedule(epoch=4, server="bo", member="bo", next_handover_in_s=20.0))
    assert known.members[1:] == (Person("bo", is_serving=True), Person("cy"), Person("dee"))
    known.fold(notices.Schedule(epoch=5, server="an always-on machine", member="", next_handover_in_s=None))
    assert not any(one.is_serving for one in known.members)


def test_a_list_replaces_what_was_known_but_not_why_somebody_is_away() -> None:
    known = people()
    known.fold(changed("bo", "away", text="lunch"))
    lines = [notices.MemberLine("ana", "here", False, 0), notices.MemberLine("bo", "away", True, 0)]
    known.fold(notices.MembersList((*lines, notices.MemberLine("eli", "silent", False, 0))))
    assert known.members == (
        Person("ana"),
        Person("bo", is_away=True, is_serving=True, remark="lunch"),
        Person("eli", is_silent=True),
    )


def test_a_new_name_keeps_everything_else() -> None:
    known = people()
    known.fold(said("bo", time_ms=500))
    known.fold(told("bo"))
    known.toggle_ignored("bo")
    known.fold(changed("bob", "renamed", was="bo"))
    assert [one.nick for one in known.members] == ["ana", "bob", "cy", "dee"]
    assert known.nicks[0] == "bob"
    assert known.reply_to == "bob"
    assert known.is_ignored("Bob")
    assert not known.is_ignored("bo")
    assert known.spoke_since("bob", 500)
    known.fold(changed("anna", "renamed", was="ana"))
    assert known.name == "anna"
    assert "anna" not in known.nicks


def test_who_spoke_lately_is_known_by_the_time_of_the_message() -> None:
    known = people()
    known.fold(said("bo", time_ms=1_000))
    assert known.spoke_since("bo", 1_000)
    assert not known.spoke_since("bo", 1_001)
    assert not known.spoke_since("cy", 0)


def test_who_spoke_and_left_is_remembered_within_a_bound() -> None:
    known = people()
    known.fold(said("bo", time_ms=0))
    known.fold(told("bo"))
    known.fold(changed("bo", "left"))
    assert known.nicks == ["cy", "dee"]
    assert known.spoke_since("bo", 0)
    known.fold(changed("bo", "joined"))
    assert known.nicks == ["bo", "cy", "dee"]
    for number in range(SPOKEN_MAX):
        known.fold(said(f"n{number}"))
    assert not known.spoke_since("bo", 0)
    assert known.spoke_since("n0", 0)


def test_the_name_of_somebody_who_left_says_nothing_about_whoever_takes_it() -> None:
    known = people()
    known.fold(said("bo", time_ms=500))
    known.fold(changed("bo", "left"))
    known.fold(said("dee", time_ms=100))
    known.fold(changed("bo", "renamed", was="dee"))
    assert known.spoke_since("bo", 100)
    assert not known.spoke_since("bo", 101)
    assert [one.nick for one in known.members] == ["ana", "cy", "bo"]
    known.fold(changed("bo", "left"))
    known.fold(changed("bo", "renamed", was="cy"))
    assert not known.spoke_since("bo", 0), "this one never spoke"
    known.fold(changed("ana", "renamed", was="nobody"))
    assert [one.nick for one in known.members] == ["ana", "bo"]


def test_another_way_to_write_a_name_is_the_same_one() -> None:
    known = people()
    known.fold(said("bo", time_ms=500))
    known.toggle_ignored("bo")
    known.fold(changed("Bo", "renamed", was="bo"))
    assert [one.nick for one in known.members] == ["ana", "Bo", "cy", "dee"]
    assert known.ignored == ("Bo",)
    assert known.spoke_since("Bo", 500)


def test_ignoring_is_a_switch_whatever_the_case() -> None:
    known = people()
    assert known.toggle_ignored("bo")
    assert known.is_ignored("BO")
    assert known.ignored == ("bo",)
    assert not known.toggle_ignored("Bo")
    assert not known.is_ignored("bo")


def test_of_too_many_ignored_ones_the_first_is_heard_again() -> None:
    known = people()
    for number in range(IGNORED_MAX + 1):
        known.toggle_ignored(f"n{number}")
    assert len(known.ignored) == IGNORED_MAX
    assert not known.is_ignored("n0")
    assert known.is_ignored("n1")


@pytest.mark.parametrize("state", ["left", "lost"])
def test_whoever_wrote_in_private_can_be_answered_though_gone(state: str) -> None:
    known = people()
    known.fold(told("bo"))
    known.fold(changed("bo", state))
    assert known.reply_to == "bo"
    assert not known.is_here("bo")
