"""Refusal codes travel: their numbers are for good."""

from wire.errors import RefusalCode


def test_refusal_codes_keep_their_numbers() -> None:
    assert {code.word: int(code) for code in RefusalCode} == {
        "malformed": 1,
        "version": 2,
        "wrong_service": 3,
        "not_serving": 4,
        "name_taken": 5,
        "bad_name": 6,
        "too_long": 7,
        "full": 8,
        "not_here": 9,
        "no_standby": 10,
        "busy": 11,
        "not_registered": 12,
        "stale_epoch": 13,
        "stale_version": 14,
        "not_standby": 15,
        "not_in_sync": 16,
        "alive": 17,
        "taken": 18,
        "store_failed": 19,
        "not_active": 20,
        "flood": 21,
        "handover_failed": 22,
        "history_full": 23,
        "not_member": 24,
        "not_admitted": 25,
        "bad_ticket": 26,
        "banned": 27,
        "not_yours": 28,
    }
