"""Who may connect, by policy, time and number: decided without a socket."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.zap import (
    AllowedOnly,
    Gate,
    OneKey,
    Policy,
    Request,
    Verdict,
    answer_frames,
    key_text,
    parse_request,
    raw_key,
)
from wire import limits

KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"  # the examples in libzmq's manual
OTHER = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"


def request(domain: bytes, key: str = KEY, number: int = 1, address: str = "10.0.0.5") -> Request:
    return Request(b"asker", b"%d" % number, domain, address, key)


def frames(*proofs: bytes, version: bytes = b"1.0", mechanism: bytes = b"CURVE") -> list[bytes]:
    return [b"asker", b"", version, b"7", b"relevo-1", b"10.0.0.5", b"", mechanism, *proofs]


# --- keys ----------------------------------------------------------------------------------------------------------


@given(st.binary(min_size=32, max_size=32))
def test_a_key_survives_being_written(raw: bytes) -> None:
    text = key_text(raw)
    assert len(text) == 40
    assert raw_key(text) == raw


def test_keys_are_written_as_z85_has_it() -> None:
    # The example of the specification of Z85, four times over.
    assert key_text(bytes.fromhex("864FD26FB559F75B") * 4) == "HelloWorld" * 4


@pytest.mark.parametrize(
    "text", ["", "x", KEY[:-1], KEY + "0", KEY[:-1] + "~", KEY[:-1] + "é", "#" * 40, "_" * 40, "\0" * 40]
)
def test_what_is_no_key_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        raw_key(text)


# --- requests ------------------------------------------------------------------------------------------------------


def test_a_request_names_who_asks_for_whom() -> None:
    assert parse_request(frames(raw_key(KEY))) == Request(b"asker", b"7", b"relevo-1", "10.0.0.5", KEY)


@pytest.mark.parametrize(
    "malformed",
    [[], frames()[:7], frames(raw_key(KEY), version=b"2.0"), [b"asker", b"x", *frames(raw_key(KEY))[2:]]],
)
def test_what_is_no_request_is_an_error(malformed: list[bytes]) -> None:
    with pytest.raises(ValueError, match="not a request"):
        parse_request(malformed)


@pytest.mark.parametrize(
    "unproved",
    [
        frames(mechanism=b"NULL"),
        frames(b"user", b"password", mechanism=b"PLAIN"),
        frames(),
        frames(b"short"),
        frames(raw_key(KEY), raw_key(KEY)),
    ],
)
def test_who_proves_no_key_is_refused_wherever_it_goes(unproved: list[bytes]) -> None:
    gate = Gate()
    gate.open(Policy())
    asked = parse_request(unproved)
    assert asked.key == ""
    assert gate.decide(asked, 0) is Verdict.REFUSE


def test_the_answer_names_the_key_only_of_who_is_accepted() -> None:
    asked = request(b"relevo-1")
    assert answer_frames(asked, Verdict.ACCEPT) == [b"asker", b"", b"1.0", b"1", b"200", b"", KEY.encode(), b""]
    assert answer_frames(asked, Verdict.REFUSE) == [b"asker", b"", b"1.0", b"1", b"400", b"", b"", b""]


# --- policies ------------------------------------------------------------------------------------------------------


def test_a_domain_that_is_not_known_or_not_any_more_lets_nobody_in() -> None:
    gate = Gate()
    assert gate.decide(request(b""), 0) is Verdict.REFUSE
    domain = gate.open(Policy())
    assert gate.decide(request(domain), 0) is Verdict.ACCEPT
    gate.close(domain)
    assert gate.decide(request(domain), 0) is Verdict.REFUSE


def test_everybody_gets_in_where_the_core_judges() -> None:
    gate = Gate()
    domain = gate.open(Policy())
    assert gate.expel(domain, KEY) == []
    assert gate.decide(request(domain), 0) is Verdict.ACCEPT
    assert Policy().is_in(KEY)


@pytest.mark.parametrize("only", ["", KEY])
def test_one_key_gets_in_or_none(only: str) -> None:
    gate = Gate()
    domain = gate.open(OneKey(only))
    gate.allow(domain, OTHER)
    assert gate.decide(request(domain), 0) is (Verdict.ACCEPT if only else Verdict.REFUSE)
    assert gate.decide(request(domain, OTHER), 0) is Verdict.REFUSE
    assert gate.decide(request(domain, ""), 0) is Verdict.REFUSE


def test_who_is_not_allowed_yet_waits_and_is_let_in_with_all_its_connections() -> None:
    gate = Gate()
    domain = gate.open(AllowedOnly())
    first, second, other = request(domain), request(domain, number=2), request(domain, OTHER, number=3)
    assert {gate.decide(each, 0) for each in (first, second, other)} == {Verdict.HOLD}
    assert gate.allow(domain, KEY) == [(first, Verdict.ACCEPT), (second, Verdict.ACCEPT)]
    assert gate.decide(request(domain, number=4), 1) is Verdict.ACCEPT
    assert gate.allow(domain, KEY) == []
    assert gate.close(domain) == [(other, Verdict.REFUSE)]


def test_who_waits_too_long_is_refused() -> None:
    gate = Gate()
    domain = gate.open(AllowedOnly())
    early, late = request(domain), request(domain, OTHER, number=2)
    assert gate.next_due_ms is None
    gate.decide(early, 100)
    gate.decide(late, 200)
    assert gate.next_due_ms == 100 + limits.ADMISSION_WAIT_MS
    assert gate.expire(gate.next_due_ms - 1) == []
    assert gate.expire(gate.next_due_ms) == [(early, Verdict.REFUSE)]
    assert gate.next_due_ms == 200 + limits.ADMISSION_WAIT_MS
    assert gate.expire(10_000) == [(late, Verdict.REFUSE)]
    assert gate.next_due_ms is None


def test_who_is_expelled_is_refused_while_it_waits_and_not_allowed_any_more() -> None:
    gate = Gate()
    domain = gate.open(AllowedOnly())
    waits = request(domain)
    gate.decide(waits, 0)
    assert gate.expel(domain, KEY) == [(waits, Verdict.REFUSE)]
    gate.allow(domain, KEY)
    gate.expel(domain, KEY)
    again = request(domain, number=2)
    assert gate.decide(again, 0) is Verdict.HOLD
    assert gate.allow(domain, KEY) == [(again, Verdict.ACCEPT)]


def test_commands_for_a_domain_that_has_gone_are_nothing() -> None:
    gate = Gate()
    domain = gate.open(AllowedOnly())
    gate.close(domain)
    assert gate.allow(domain, KEY) == gate.expel(domain, KEY) == gate.close(domain) == []


def test_what_a_policy_remembers_is_bounded() -> None:
    policy = AllowedOnly()
    for number in range(limits.ADMITTED_MAX + 1):
        policy.allow(str(number))
    assert policy.judge("0") is Verdict.HOLD
    assert policy.judge("1") is policy.judge(str(limits.ADMITTED_MAX)) is Verdict.ACCEPT


# --- how many, how often -------------------------------------------------------------------------------------------


def test_five_hundred_clients_of_one_machine_come_at_once_and_again_soon() -> None:
    gate = Gate()
    domain = gate.open(Policy())
    for at_ms in (0, 1_000):
        assert {gate.decide(request(domain), at_ms) for _ in range(1_000)} == {Verdict.ACCEPT}


def test_who_comes_too_often_is_put_off_and_others_are_not() -> None:
    gate = Gate()
    domain = gate.open(Policy())
    said = Counter(gate.decide(request(domain), 0) for _ in range(limits.HANDSHAKES_BURST_PER_ADDRESS + 50))
    assert said == {Verdict.ACCEPT: limits.HANDSHAKES_BURST_PER_ADDRESS, Verdict.LATER: 50}
    assert gate.decide(request(domain, address="10.0.0.6"), 0) is Verdict.ACCEPT
    said = Counter(gate.decide(request(domain), 1_000) for _ in range(2 * limits.HANDSHAKES_PER_S_PER_ADDRESS))
    assert said[Verdict.ACCEPT] == limits.HANDSHAKES_PER_S_PER_ADDRESS


def test_all_together_may_not_come_too_often_either_and_few_addresses_are_remembered() -> None:
    gate = Gate()
    domain = gate.open(Policy())
    more = limits.HANDSHAKES_BURST + limits.HANDSHAKE_ADDRESSES_MAX
    said = Counter(gate.decide(request(domain, address=str(number)), 0) for number in range(more))
    assert said[Verdict.ACCEPT] == limits.HANDSHAKES_BURST
    assert len(gate._by_address) == limits.HANDSHAKE_ADDRESSES_MAX


def test_how_many_wait_is_bounded_for_each_address_and_for_all() -> None:
    gate = Gate()
    domain = gate.open(AllowedOnly())
    number = 0
    for address in range(limits.ADMISSIONS_HELD_MAX // limits.ADMISSIONS_HELD_PER_ADDRESS_MAX):
        for _ in range(limits.ADMISSIONS_HELD_PER_ADDRESS_MAX):
            number += 1
            assert gate.decide(request(domain, number=number, address=str(address)), 0) is Verdict.HOLD
        assert gate.decide(request(domain, number=0, address=str(address)), 0) is Verdict.LATER
    assert gate.decide(request(domain, number=0, address="new"), 0) is Verdict.LATER
    assert len(gate.expire(limits.ADMISSION_WAIT_MS)) == limits.ADMISSIONS_HELD_MAX
    assert gate.decide(request(domain, number=0, address="0"), limits.ADMISSION_WAIT_MS) is Verdict.HOLD


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ask", "allow", "expel", "expire", "close"]),
            st.sampled_from([KEY, OTHER]),
            st.integers(0, limits.ADMISSION_WAIT_MS),
        ),
        max_size=40,
    )
)
def test_every_request_is_answered_exactly_once(steps: list[tuple[str, str, int]]) -> None:
    gate = Gate()
    domain = gate.open(AllowedOnly())
    answered: Counter[bytes] = Counter()
    asked = now_ms = 0
    for what, key, later_ms in steps:
        now_ms += later_ms
        match what:
            case "ask":
                asked += 1
                if gate.decide(request(domain, key, asked), now_ms) is not Verdict.HOLD:
                    answered[b"%d" % asked] += 1
            case "allow":
                answered.update(each.number for each, _ in gate.allow(domain, key))
            case "expel":
                answered.update(each.number for each, _ in gate.expel(domain, key))
            case "expire":
                answered.update(each.number for each, _ in gate.expire(now_ms))
            case "close":
                answered.update(each.number for each, _ in gate.close(domain))
    answered.update(each.number for each, _ in gate.expire(now_ms + limits.ADMISSION_WAIT_MS))
    assert answered == Counter(b"%d" % number for number in range(1, asked + 1))
