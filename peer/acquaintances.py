"""Whose key a nick had when it was met first, so that another one behind the same nick is noticed; pure.

On a closed network a nick alone says little: whoever serves could tell of anybody under any nick. The key cannot be
told falsely, as a private talk proves it. So it is remembered, and a change of it is said.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wire import identity, limits
from wire.messages import Member
from wire.names import nick_key


@dataclass(frozen=True, slots=True)
class KeyChanged:
    """Somebody called `nick` has another key than the one who was called so before; both as fingerprints."""

    nick: str
    was: str
    now: str

    @property
    def sentence(self) -> str:
        """What people are told."""
        return (
            f"{self.nick} has another key ({identity.shown(self.now)}) than when you met before "
            f"({identity.shown(self.was)}): this may be somebody else. Ask them for theirs by another way"
        )


class Acquaintances:
    """Nicks and the fingerprints of their keys. Invariant: at most limits.NICKS_OWNED_MAX, the latest met."""

    def __init__(self, known: Mapping[str, str]) -> None:
        """`known`: fingerprints by nick, as nicks are compared, from earlier; the longest not met first."""
        self._known = OrderedDict(known)
        self._changed: dict[str, KeyChanged] = {}  # told, and not yet accepted
        self.has_news = False

    @property
    def known(self) -> dict[str, str]:
        """What is to be remembered; taking it means that there is no news any more."""
        self.has_news = False
        return dict(self._known)

    def meet(self, members: Iterable[Member]) -> list[KeyChanged]:
        """These are here, say the servers; returns those whose key is not the one their nick had before."""
        changed = []
        for member in members:
            mark = identity.fingerprint(member.key)
            if not mark or member.guest:
                continue
            nick = nick_key(member.nick)
            was = self._known.get(nick, mark)
            if was != mark:
                change = self._changed[nick] = KeyChanged(member.nick, was, mark)
                changed.append(change)
            if was != mark or nick not in self._known:
                self.has_news = True
            self._known[nick] = mark
            self._known.move_to_end(nick)
            while len(self._known) > limits.NICKS_OWNED_MAX:
                self._known.popitem(last=False)
        return changed

    def objection(self, member: Member) -> str:
        """Why nothing private is sent to this member yet; nothing the second time, as the user insists."""
        change = self._changed.pop(nick_key(member.nick), None)
        if change is None or change.now != identity.fingerprint(member.key):
            return ""
        return f"{change.sentence}. Nothing was sent; send it again if you are sure"
