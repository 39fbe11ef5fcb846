"""runtime.key_pairs: what libzmq makes belongs together; what it did not make is noticed."""

import pytest

from runtime import key_pairs
from wire.identity import KeyPair
from wire.ticket import is_key

# The test keys of the ZMTP CURVE documentation.
SECRET = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"
PUBLIC = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"


def test_a_new_pair_is_whole_and_unlike_any_other() -> None:
    one, other = key_pairs.make(), key_pairs.make()
    assert one != other
    assert is_key(one.public) and is_key(one.secret)
    assert key_pairs.is_whole(one)
    assert not key_pairs.is_whole(KeyPair(one.public, other.secret))


def test_the_public_key_follows_from_the_secret_one() -> None:
    assert key_pairs.public_of(one := key_pairs.make().secret) == key_pairs.public_of(one)
    assert key_pairs.is_whole(KeyPair(key_pairs.public_of(SECRET), SECRET))


@pytest.mark.parametrize("text", ["", "short", SECRET[:-1], SECRET + "aaaaa", "#####" * 8, "ä" * 40])
def test_what_is_no_key_has_none(text: str) -> None:
    assert key_pairs.public_of(text) == ""
    assert not key_pairs.is_whole(KeyPair("", text))
    assert not key_pairs.is_whole(KeyPair(PUBLIC, text))
