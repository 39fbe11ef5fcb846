"""ui.errands: who is meant by a nick or a fingerprint."""

import pytest

from peer.notices import MemberLine
from ui.errands import pick
from ui.options import CommandError
from wire import identity

ANA = identity.fingerprint("a" * 40)
BO = identity.fingerprint("b" * 40)


class Keyed(MemberLine, frozen=True):
    """A member of a closed room."""

    fingerprint: str = ""


def member(name: str, fingerprint: str) -> MemberLine:
    return Keyed(name=name, state="here", serving=False, since=0, fingerprint=fingerprint)


MEMBERS = (member("Ana", ANA), member("bo", BO), member(identity.shown(ANA), "c" * 32))


@pytest.mark.parametrize("who", ["ana", "ANA", ANA, identity.shown(ANA), ANA[:16].upper()])
def test_a_member_is_named_by_nick_or_fingerprint(who: str) -> None:
    assert pick(MEMBERS, who) == (ANA, "Ana"), "a nick that looks like somebody's fingerprint changes nothing"


@pytest.mark.parametrize(
    ("members", "who", "why"),
    [
        (MEMBERS, "carl", "'carl' is not in the room; there: Ana, bo"),
        ((), "carl", "there: nobody"),
        (MEMBERS, "d" * 16, "by all 32 digits"),
        ((member("a", "d" * 32), member("b", "d" * 16 + "e" * 16)), "d" * 16, "may be a or b: name one"),
        ((member("ana", ""),), "ana", "nobody can be kept out"),
        (MEMBERS, "\x1b[2J", "is not in the room"),
    ],
)
def test_who_is_not_clear_is_refused(members: tuple[MemberLine, ...], who: str, why: str) -> None:
    with pytest.raises(CommandError) as error:
        pick(members, who)
    assert why in str(error.value)
    assert error.value.exit_code == 77
