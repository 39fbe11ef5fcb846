"""The digest depends on every entry and on the log, on nothing else, and can be told for any seq."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.digest import DIGEST_BYTES, SPAN_ENTRIES, Chain, first_link, next_link, span_of

ENTRIES = [b"entry %d;" % seq for seq in range(1, 3 * SPAN_ENTRIES + 6)]


def chain_of(count: int, log: str = "log") -> Chain:
    chain = Chain(log)
    chain.add(ENTRIES[:count])
    return chain


def rest_of(seq: int) -> list[bytes]:
    return ENTRIES[seq - seq % SPAN_ENTRIES : seq]


@given(st.lists(st.integers(0, 3 * SPAN_ENTRIES), max_size=12))
def test_borders_of_blocks_mean_nothing(borders: list[int]) -> None:
    chain = Chain("log")
    for start, stop in zip([0, *sorted(borders)], [*sorted(borders), len(ENTRIES)], strict=True):
        chain.add(ENTRIES[start:stop])
    assert chain.digest() == chain_of(len(ENTRIES)).digest()
    assert chain.head == len(ENTRIES)


def test_the_digest_at_a_seq_is_that_of_a_shorter_history() -> None:
    whole = chain_of(len(ENTRIES))
    digests = [whole.digest_at(seq, rest_of(seq)) for seq in range(len(ENTRIES) + 1)]
    assert digests == [chain_of(seq).digest() for seq in range(len(ENTRIES) + 1)]
    assert len(set(digests)) == len(digests)
    assert {len(digest) for digest in digests} == {DIGEST_BYTES}


@given(st.integers(0, len(ENTRIES)), st.integers(0, len(ENTRIES)))
def test_a_chain_that_was_cut_goes_on_as_if_nothing_had_followed(head: int, after: int) -> None:
    head, after = max(head, after), min(head, after)
    chain = chain_of(head)
    chain.cut(after, rest_of(after))
    assert (chain.head, chain.digest()) == (after, chain_of(after).digest())
    chain.add(ENTRIES[after:])
    assert chain.digest() == chain_of(len(ENTRIES)).digest()


def test_whole_spans_may_be_added_joined() -> None:
    chain = Chain("log")
    chain.add_span(b"".join(ENTRIES[:SPAN_ENTRIES]))
    assert chain.digest() == chain_of(SPAN_ENTRIES).digest() == next_link(first_link("log"), rest_of_span(0))
    assert chain.link(1) == chain.digest()
    chain.add(ENTRIES[SPAN_ENTRIES : SPAN_ENTRIES + 1])
    with pytest.raises(ValueError, match="cannot follow entry 65"):
        chain.add_span(rest_of_span(1))


def rest_of_span(number: int) -> bytes:
    return b"".join(ENTRIES[number * SPAN_ENTRIES : (number + 1) * SPAN_ENTRIES])


def test_a_changed_a_missing_and_a_moved_entry_and_another_log_change_the_digest() -> None:
    count = SPAN_ENTRIES + 3
    changed = [*ENTRIES[: count - 1], b"Entry"]
    digests = {chain_of(count).digest(), chain_of(count - 1).digest(), chain_of(count, log="other").digest()}
    for entries in (changed, ENTRIES[1:count], [ENTRIES[1], ENTRIES[0], *ENTRIES[2:count]]):
        chain = Chain("log")
        chain.add(entries)
        digests.add(chain.digest())
    assert len(digests) == 6


def test_a_copy_goes_its_own_way() -> None:
    chain = chain_of(SPAN_ENTRIES - 1)
    other = chain.copy()
    other.add([b"else", b"more"])
    assert chain.digest() == chain_of(SPAN_ENTRIES - 1).digest()
    chain.add(ENTRIES[SPAN_ENTRIES - 1 :])
    assert chain.digest() == chain_of(len(ENTRIES)).digest()


@pytest.mark.parametrize(("seq", "rest"), [(-1, []), (70, []), (2, ENTRIES[:1]), (2, ENTRIES[:3])])
def test_entries_that_do_not_lead_there_are_refused(seq: int, rest: list[bytes]) -> None:
    with pytest.raises(ValueError, match="do not lead to"):
        chain_of(66).digest_at(seq, rest)


def test_spans_are_counted_from_the_first_entry() -> None:
    assert [span_of(seq) for seq in (1, SPAN_ENTRIES, SPAN_ENTRIES + 1)] == [0, 0, 1]
