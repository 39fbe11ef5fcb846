"""What is on disk: nothing counts as kept before the disk has said so, and what it says late is not misread."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.digest import SPAN_ENTRIES
from broker.history import History
from broker.keeper import Keeper, Notes, Phase, read_notes
from broker.stored import (
    Append,
    Change,
    Cut,
    DiskOrder,
    DiskWord,
    DropStore,
    MakeStore,
    Mark,
    ReadStore,
    SearchStore,
    StoreBroken,
    StoreRead,
    StoreSearched,
    StoreUnread,
    StoreWritten,
    WriteStore,
)
from tests.support.histories import LOG
from tests.support.replicas import ANA, BO, STATE, grow, history_of, orders, record, restored_of
from wire import codec, limits
from wire.errors import InvariantViolated
from wire.messages import Ping
from wire.names import LinkId
from wire.step import Command, Send

NOTES = Notes(record(4, 7, ANA, BO), STATE, True)
ANSWER = LinkId("answer")


def block(history: History, first: int, last: int) -> Append:
    count, data = history.block(first, last)
    return Append(first, count, data)


class Bench:
    """A keeper, its history, and what the disk was told."""

    def __init__(self, *, has_disk: bool = True, entries: int = 0) -> None:
        self.keeper = Keeper(has_disk=has_disk)
        self.history = history_of((1, entries))
        self.answers: list[object] = []

    def begun(self) -> "Bench":
        assert orders(self.keeper.begin(LOG)) == [MakeStore(1, LOG)]
        return self

    def keep(self, committed: int = 0, *, notes: bool = False) -> list[DiskOrder]:
        return orders(self.keeper.keep(self.history, committed, NOTES if notes else None))

    def kept(self, committed: int = 0) -> tuple[Change, ...]:
        """What is written with the one write that is ordered now."""
        (order,) = self.keep(committed)
        assert isinstance(order, WriteStore)
        return order.changes

    def hear(self, word: DiskWord) -> str:
        commands, trouble = self.keeper.heard(word)
        self.answers += [command.message for command in commands if isinstance(command, Send)]
        return trouble

    @property
    def safe(self) -> int:
        return self.keeper.safe(self.history)

    def read(self, first: int = 1, last: int = 3) -> list[DiskOrder]:
        return orders(self.keeper.read(first, last, 9, self.got, self.failed))

    def search(self) -> list[DiskOrder]:
        return orders(self.keeper.search("tea", 0, 5, 3, self.found, self.failed))

    def got(self, count: int, data: bytes) -> list[Command]:
        self.answers.append(("got", count, data))
        return [Send(ANSWER, Ping(count))]

    def found(self, data: bytes, before: int) -> list[Command]:
        self.answers.append(("found", data, before))
        return []

    def failed(self, why: str) -> list[Command]:
        self.answers.append(("failed", why))
        return []


# --- writing ---


def test_without_a_disk_what_is_in_memory_is_as_safe_as_it_gets_and_nothing_is_ordered() -> None:
    bench = Bench(has_disk=False, entries=3)
    assert bench.keeper.begin(LOG) == []
    assert bench.keep(3, notes=True) == []
    assert bench.safe == 3
    assert (bench.keeper.volatile, bench.keeper.reads, bench.keeper.written) == (True, False, 0)
    assert bench.keeper.kept is None
    assert bench.keeper.drop(erase=True) == []


def test_an_entry_is_safe_only_when_the_disk_has_said_that_it_is_written() -> None:
    bench = Bench(entries=3).begun()
    assert bench.safe == 0
    assert bench.keep() == [WriteStore(1, 1, (block(bench.history, 1, 3), Mark(0, b"")))]
    assert (bench.safe, bench.keeper.written) == (0, 0)
    grow(bench.history, 2, epoch=1)
    assert bench.keep(2) == [WriteStore(1, 2, (block(bench.history, 4, 5), Mark(2, b"")))]
    assert bench.hear(StoreWritten(1, 1)) == ""
    assert (bench.safe, bench.keeper.written) == (3, 3)
    bench.hear(StoreWritten(1, 1))
    assert bench.safe == 3
    bench.hear(StoreWritten(1, 2))
    assert bench.safe == 5
    assert (bench.keeper.volatile, bench.keeper.kept) == (False, None)


def test_one_word_may_be_of_several_writes() -> None:
    bench = Bench(entries=1).begun()
    for _ in range(3):
        bench.keep()
        grow(bench.history, 1, epoch=1)
    bench.hear(StoreWritten(1, 2))
    assert bench.safe == 2
    bench.hear(StoreWritten(1, 3))
    assert bench.safe == 3


def test_a_turn_without_news_writes_nothing() -> None:
    bench = Bench(entries=1).begun()
    assert bench.keep(1, notes=True) != []
    assert bench.keep(1, notes=True) == []
    assert bench.keep(1) == [], "the notes stay as they were"
    assert bench.keep(1) == []


def test_a_mark_is_never_above_what_the_store_has_and_keeps_the_notes_it_was_given() -> None:
    bench = Bench(entries=2).begun()
    (order,) = bench.keep(9, notes=True)
    assert isinstance(order, WriteStore)
    mark = order.changes[-1]
    assert isinstance(mark, Mark)
    assert mark.committed == 2
    assert read_notes(mark.notes) == NOTES
    grow(bench.history, 1, epoch=1)
    assert bench.kept(3)[-1] == Mark(3, mark.notes)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x90", b"\x92\xa3abc\xc0", b"\xff" * 40])
def test_notes_that_cannot_be_read_are_none(data: bytes) -> None:
    assert read_notes(data) is None


def test_more_than_one_block_is_written_in_several_changes_of_one_write() -> None:
    bench = Bench().begun()
    for _ in range(100):
        grow(bench.history, 1, epoch=1, text="x" * 8_000)
    *appends, mark = bench.kept()
    assert mark == Mark(0, b"")
    assert len(appends) > 2
    copy = History(LOG)
    for append in appends:
        assert isinstance(append, Append)
        copy.append_block(append.first, append.count, append.block)
    assert copy.digest() == bench.history.digest()


# --- cutting ---


def cut(bench: Bench, after: int) -> None:
    bench.history.cut(after)
    bench.keeper.cut(after)


def test_what_has_gone_from_memory_too_early_is_said_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(entries=3 * SPAN_ENTRIES).begun()
    monkeypatch.setattr(limits, "TAIL_BYTES_MAX", 0)
    monkeypatch.setattr(limits, "TAIL_ENTRIES_MIN", 0)
    bench.history.forget_below(2 * SPAN_ENTRIES)
    assert bench.history.first > 1
    with pytest.raises(InvariantViolated, match="entry 1 has gone"):
        bench.keep()


def test_what_is_cut_off_while_its_write_is_out_does_not_come_back_as_safe() -> None:
    bench = Bench(entries=10).begun()
    bench.keep()
    cut(bench, 4)
    grow(bench.history, 2, epoch=2)
    assert bench.keep() == [WriteStore(1, 2, (Cut(4), block(bench.history, 5, 6)))]
    bench.hear(StoreWritten(1, 1))
    assert bench.safe == 4, "of the first write only that is still the history"
    bench.hear(StoreWritten(1, 2))
    assert bench.safe == 6


def test_what_is_cut_off_is_safe_no_more_at_once() -> None:
    bench = Bench(entries=10).begun()
    bench.keep()
    bench.hear(StoreWritten(1, 1))
    cut(bench, 4)
    assert (bench.safe, bench.keeper.written) == (4, 4)
    grow(bench.history, 8, epoch=2)
    assert bench.safe == 4
    bench.hear(StoreWritten(1, 1))
    assert bench.safe == 4


def test_a_cut_of_what_the_disk_was_never_given_is_no_news_to_it() -> None:
    bench = Bench(entries=4).begun()
    bench.keep()
    grow(bench.history, 4, epoch=1)
    cut(bench, 6)
    cut(bench, 4)
    grow(bench.history, 1, epoch=2)
    assert bench.kept() == (block(bench.history, 5, 5),)


def test_of_several_cuts_in_one_turn_the_deepest_counts() -> None:
    bench = Bench(entries=9).begun()
    bench.keep()
    cut(bench, 7)
    cut(bench, 3)
    grow(bench.history, 3, epoch=2)
    cut(bench, 5)
    assert bench.kept() == (Cut(3), block(bench.history, 4, 5))


def applied(log: str, orders_given: Sequence[DiskOrder]) -> History:
    """What a disk has that has done these."""
    history = History(log)
    for order in orders_given:
        assert isinstance(order, WriteStore)
        for change in order.changes:
            match change:
                case Append(first, count, data):
                    history.append_block(first, count, data)
                case Cut(after):
                    assert 0 <= after < history.head
                    history.cut(after)
                case Mark(committed, _):
                    assert committed <= history.head
    return history


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), st.integers(1, 4)),
        st.tuples(st.just("cut"), st.integers(0, 6)),
        st.tuples(st.just("turn"), st.just(0)),
        st.tuples(st.just("written"), st.integers(0, 3)),
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_what_is_said_to_be_safe_is_on_disk_as_it_is_in_memory(steps: list[tuple[str, int]]) -> None:
    bench = Bench().begun()
    ordered: list[DiskOrder] = []
    done = 0
    for epoch, (what, count) in enumerate(steps, start=1):
        if what == "grow":
            grow(bench.history, count, epoch)
        elif what == "cut":
            cut(bench, max(0, bench.history.head - count))
        elif what == "turn":
            ordered += bench.keep(bench.history.head)
            assert applied(LOG, ordered).digest() == bench.history.digest()
        else:
            done = max(done, len(ordered) - count)
            if done:
                bench.hear(StoreWritten(1, done))
        on_disk, safe = applied(LOG, ordered[:done]), bench.safe
        assert bench.keeper.written == safe <= bench.history.head
        assert on_disk.head >= safe
        assert on_disk.entries(1, safe) == bench.history.entries(1, safe)


# --- going on, beginning anew, ending ---


def test_what_was_restored_is_safe_and_its_store_is_number_0() -> None:
    bench = Bench(entries=5)
    bench.keeper.resume(restored_of(bench.history, committed=3))
    assert (bench.safe, bench.keeper.written, bench.keeper.volatile) == (5, 5, False)
    grow(bench.history, 1, epoch=2)
    assert bench.keep() == [WriteStore(0, 1, (block(bench.history, 6, 6), Mark(0, b"")))]
    bench.hear(StoreWritten(0, 1))
    assert bench.safe == 6


def test_a_new_copy_erases_the_one_before_and_has_nothing_yet() -> None:
    bench = Bench(entries=5)
    bench.keeper.resume(restored_of(bench.history, committed=3))
    assert orders(bench.keeper.begin("other")) == [DropStore(0, erase=True), MakeStore(1, "other")]
    assert (bench.safe, bench.keeper.written) == (0, 0)
    bench.history = history_of((1, 2), log="other")
    assert bench.keep() == [WriteStore(1, 1, (block(bench.history, 1, 2), Mark(0, b"")))]
    assert orders(bench.keeper.begin("third")) == [DropStore(1, erase=True), MakeStore(2, "third")]
    bench.history = history_of((1, 2), log="third")
    assert bench.keep() == [WriteStore(2, 2, (block(bench.history, 1, 2), Mark(0, b"")))], "with a mark of its own"
    bench.keeper.cut(1)
    bench.keeper.begin("fourth")
    bench.history = history_of((1, 1), log="fourth")
    assert bench.kept() == (block(bench.history, 1, 1), Mark(0, b"")), "from which nothing is to be cut off"


def test_the_notes_of_a_copy_before_do_not_go_into_a_new_one() -> None:
    bench = Bench(entries=1).begun()
    bench.keep(1, notes=True)
    bench.keeper.begin(LOG)
    assert bench.kept(1)[-1] == Mark(1, b"")
    assert bench.keep(1, notes=True) != [], "and are written there when they are given"


@pytest.mark.parametrize(
    "word",
    [StoreWritten(1, 1), StoreWritten(1, 99), StoreBroken(1, "full"), StoreRead(1, 1, 0, b""), StoreUnread(1, 1, "x")],
)
def test_words_about_a_store_that_was_let_go_of_mean_nothing(word: DiskWord) -> None:
    bench = Bench(entries=3).begun()
    bench.keep()
    bench.read()
    bench.keeper.drop(erase=True)
    answers = bench.answers[:]
    assert bench.hear(word) == ""
    assert (bench.keeper.phase, bench.keeper.trouble) == (Phase.NONE, "")
    bench.keeper.begin(LOG)
    bench.keep()
    bench.read()
    assert bench.hear(word) == ""
    assert (bench.keeper.phase, bench.keeper.trouble, bench.safe) == (Phase.KEEPING, "", 0)
    assert bench.answers == answers, "nor do they answer those who ask the new one"


@pytest.mark.parametrize("erase", [False, True])
def test_whoever_waits_for_a_store_that_is_let_go_of_is_told_that_it_is_in_vain(erase: bool) -> None:
    bench = Bench(entries=3).begun()
    bench.read()
    bench.search()
    assert orders(bench.keeper.drop(erase=erase)) == [DropStore(1, erase)]
    assert bench.answers == [("failed", "there is no history here any more")] * 2
    assert bench.safe == 3, "as safe as what is in memory can be"
    assert bench.keeper.drop(erase=erase) == [], "once"
    assert len(bench.answers) == 2


# --- a disk that fails ---


def test_a_disk_that_has_failed_is_told_once_and_nothing_more_is_written_or_said_to_be_safe() -> None:
    bench = Bench(entries=3).begun()
    bench.keep()
    bench.hear(StoreWritten(1, 1))
    grow(bench.history, 2, epoch=1)
    bench.keep()
    assert bench.hear(StoreBroken(1, "there is no room left")) == "there is no room left"
    assert (bench.keeper.phase, bench.keeper.trouble) == (Phase.BROKEN, "there is no room left")
    assert bench.hear(StoreBroken(1, "another reason")) == ""
    assert bench.keeper.trouble == "there is no room left"
    bench.hear(StoreWritten(1, 2))
    assert bench.safe == 3, "what was being written when it failed may be there or not"
    assert bench.keep(5, notes=True) == []
    assert bench.keeper.volatile
    assert bench.keeper.written == 0, "so nothing goes from memory any more"
    assert bench.keeper.kept == 3
    cut(bench, 2)
    assert bench.keeper.kept == 2


def test_what_was_written_before_a_disk_failed_can_still_be_read_and_cut() -> None:
    bench = Bench(entries=3).begun()
    bench.keep()
    bench.hear(StoreWritten(1, 1))
    bench.hear(StoreBroken(1, "full"))
    assert bench.keeper.reads
    assert bench.read() == [ReadStore(1, 1, 1, 3, 9)]
    bench.hear(StoreRead(1, 1, 3, b"block"))
    assert bench.answers[0] == ("got", 3, b"block")
    cut(bench, 1)
    assert bench.safe == 1


def test_after_a_disk_has_failed_the_next_copies_stay_in_memory_for_good() -> None:
    bench = Bench(entries=3).begun()
    bench.hear(StoreBroken(1, "full"))
    for begun in ([DropStore(1, erase=True)], []):
        assert orders(bench.keeper.begin("other")) == begun
        assert (bench.safe, bench.keep(3, notes=True)) == (3, [])
        assert (bench.keeper.volatile, bench.keeper.reads, bench.keeper.trouble) == (True, False, "full")
        assert bench.keeper.kept == 0


# --- reading ---


def test_each_answer_of_the_disk_goes_to_whoever_asked_whatever_their_order() -> None:
    bench = Bench(entries=3).begun()
    assert bench.read(1, 2) == [ReadStore(1, 1, 1, 2, 9)]
    assert bench.search() == [SearchStore(1, 2, "tea", 0, 5, 3)]
    assert bench.read(2, 3) == [ReadStore(1, 3, 2, 3, 9)]
    assert bench.hear(StoreUnread(1, 3, "too many")) == ""
    bench.hear(StoreSearched(1, 2, b"found", 17))
    bench.hear(StoreRead(1, 1, 2, b"block"))
    assert bench.answers == [("failed", "too many"), ("found", b"found", 17), ("got", 2, b"block"), Ping(2)]


@pytest.mark.parametrize("word", [StoreRead(1, 1, 2, b""), StoreSearched(1, 1, b"", 0), StoreUnread(1, 1, "no")])
def test_an_answer_that_nobody_waits_for_means_nothing(word: DiskWord) -> None:
    bench = Bench(entries=3).begun()
    assert bench.hear(word) == ""
    bench.read()
    bench.hear(StoreRead(1, 1, 0, codec.join_block([])))
    answers = bench.answers[:]
    assert bench.hear(word) == ""
    assert bench.answers == answers
