"""ui.ledger: each request is open until its own outcome has come; users get their own tags back."""

from msgspec import UNSET

from peer import intents, notices
from ui.ledger import Ledger, Slip


def say(ledger: Ledger, text: str, tag: object = None) -> Slip:
    """Enter a post; returns what the engine gets as its tag."""
    entered = ledger.enter(intents.Say(text, tag=tag))
    assert isinstance(entered, intents.Say)
    assert isinstance(entered.tag, Slip)
    return entered.tag


def private(state: str, tag: object) -> notices.Private:
    return notices.Private(sender="ana", to="bo", id="1", text="x", state=state, tag=tag)


def test_a_post_is_open_until_it_is_posted_and_gets_its_tag_back() -> None:
    ledger = Ledger()
    slip = say(ledger, "hi", tag={"any": ["thing"]})
    assert (ledger.texts_count, ledger.open_count) == (1, 1)
    settled = ledger.settle(notices.Posted(tag=slip, id="1", seq=7))
    assert settled == notices.Posted(tag={"any": ["thing"]}, id="1", seq=7)
    assert ledger.open_count == 0


def test_posts_with_the_same_tag_are_told_apart() -> None:
    ledger = Ledger()
    first, second = say(ledger, "a", tag="t"), say(ledger, "b", tag="t")
    assert ledger.settle(notices.Posted(tag=second, id="2", seq=1))["tag"] == "t"
    assert ledger.texts_count == 1
    refused = ledger.settle(notices.Refusal(tag=first, code="flood", message="slow down"))
    assert refused == notices.Refusal(tag="t", code="flood", message="slow down")
    assert ledger.texts_count == 0


def test_an_outcome_told_twice_counts_once() -> None:
    ledger = Ledger()
    slip = say(ledger, "a", tag="t")
    say(ledger, "b")
    ledger.settle(notices.Posted(tag=slip, id="1", seq=1))
    assert ledger.settle(notices.Posted(tag=slip, id="1", seq=1))["tag"] is None
    assert ledger.texts_count == 1


def test_a_private_text_is_open_until_delivered_or_failed() -> None:
    ledger = Ledger()
    entered = ledger.enter(intents.Tell("bo", "x", tag=5))
    assert isinstance(entered, intents.Tell)
    assert ledger.settle(private("queued", entered.tag))["tag"] == 5
    assert ledger.texts_count == 1
    assert ledger.settle(private("delivered", entered.tag))["tag"] == 5
    assert ledger.texts_count == 0


def test_a_private_text_without_a_tag_is_told_without_one() -> None:
    ledger = Ledger()
    entered = ledger.enter(intents.Tell("bo", "x"))
    assert isinstance(entered, intents.Tell)
    settled = ledger.settle(private("failed", entered.tag))
    assert isinstance(settled, notices.Private)
    assert settled.tag is UNSET


def test_a_private_text_of_another_is_left_alone() -> None:
    ledger = Ledger()
    say(ledger, "a")
    received = notices.Private(sender="bo", to="ana", id="1", text="x", state="received")
    assert ledger.settle(received) is received
    assert ledger.open_count == 1


def test_questions_are_open_until_answered_or_refused() -> None:
    ledger = Ledger()
    for question in (intents.AskWho(), intents.AskHistory(), intents.AskWho(), intents.AskHandover()):
        assert ledger.enter(question) is question
    ledger.settle(notices.HistoryPage(messages=(), more=False))
    ledger.settle(notices.MembersList(members=()))
    assert ledger.open_count == 2
    ledger.settle(notices.Refusal(tag=None, code="name_taken", message="of another request", what="nick"))
    assert ledger.open_count == 2
    ledger.settle(notices.Refusal(tag=None, code="busy", message="not now", what="who"))
    ledger.settle(notices.HandedOver())
    assert ledger.open_count == 0


def test_what_nobody_asked_for_changes_nothing() -> None:
    ledger = Ledger()
    say(ledger, "a")
    ledger.enter(intents.GoAway("lunch"))
    ledger.settle(notices.MembersList(members=()))
    ledger.settle(notices.Refusal(tag=None, code="busy", message="not now"))
    ledger.settle(notices.Fault(code="x", message="y"))
    assert (ledger.texts_count, ledger.open_count) == (1, 1)
