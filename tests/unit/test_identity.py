"""Fingerprints, ids that name their key, permits and proofs."""

from wire import identity
from wire.identity import KeyPair

ANA = "a" * identity.KEY_CHARS
BO = "b" * identity.KEY_CHARS


def test_an_id_belongs_to_the_key_it_was_made_for_and_to_no_other() -> None:
    made = identity.make_id(ANA, "17")
    assert identity.belongs(made, ANA)
    assert not identity.belongs(made, BO)
    assert not identity.belongs(identity.fingerprint(ANA), ANA), "the bare fingerprint tells no run from another"
    assert not identity.belongs(identity.fingerprint(ANA) + "1-17", ANA)
    assert identity.owner(made) == identity.fingerprint(ANA)


def test_without_keys_anybody_may_speak_for_any_id() -> None:
    assert identity.make_id("", "17") == "17"
    assert identity.belongs("17", "")
    assert identity.belongs(identity.make_id(ANA, "17"), "")
    assert identity.owner("17") == identity.owner("a-17") == ""
    assert identity.fingerprint("") == identity.shown("") == ""


def test_fingerprints_are_shown_in_groups() -> None:
    assert identity.shown("0123456789abcdef0123456789abcdef") == "0123-4567-89ab-cdef"
    assert len(identity.fingerprint(ANA)) == identity.FINGERPRINT_CHARS


def test_a_permit_is_good_for_one_key_and_one_permit_key() -> None:
    made = identity.permit(b"door", ANA)
    assert identity.is_permit(b"door", ANA, made)
    assert not identity.is_permit(b"door", BO, made)
    assert not identity.is_permit(b"gate", ANA, made)
    assert not identity.is_permit(b"door", ANA, b"")


def test_a_token_is_no_permit_and_good_for_one_key() -> None:
    made = identity.token(b"zdns", ANA)
    assert identity.is_token(b"zdns", ANA, made)
    assert not identity.is_token(b"zdns", BO, made)
    assert not identity.is_permit(b"zdns", ANA, made)


def test_a_proof_is_good_for_one_key_at_one_zdns_with_one_secret() -> None:
    made = identity.proof(b"secret", "zdns", ANA)
    assert identity.is_proof(b"secret", "zdns", ANA, made)
    assert not identity.is_proof(b"secret", "zdns", BO, made)
    assert not identity.is_proof(b"secret", "another", ANA, made)
    assert not identity.is_proof(b"other", "zdns", ANA, made)
    assert not identity.is_permit(b"secret", ANA, made), "a proof is no permit"


def test_secrets_are_not_shown() -> None:
    keys = KeyPair("public", "hidden")
    assert "hidden" not in repr(keys) + repr(identity.Credentials(keys, "zdns", b"hidden"))
