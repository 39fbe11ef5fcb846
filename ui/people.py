"""Who is here, as a face remembers it: who spoke last, who wrote in private, whom the reader ignores; pure."""

from dataclasses import dataclass, replace
from typing import TypeVar

from peer import notices
from wire.names import nick_key

IGNORED_MAX = 1_000  # chosen: beyond this, whom one ignored first is heard again
SPOKEN_MAX = 1_000  # chosen: beyond this, who spoke first of all is as one who never did
_NEVER_MS = -1

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Person:
    """A member. `is_serving`: the server half of this one's machine holds the role."""

    nick: str
    is_away: bool = False
    is_silent: bool = False
    is_serving: bool = False
    remark: str = ""
    fingerprint: str = ""  # of its key; empty on an open network


class People:
    """Folds notices. Invariant: nicks are told apart as the room does, whatever their case."""

    def __init__(self) -> None:
        self.name = ""
        self.reply_to = ""  # who told us something in private last
        self._members: dict[str, Person] = {}  # by the nick's key, in order of arrival
        # By the nick's key, when they spoke (UTC); who was addressed or spoke last is at the end. Whoever left may come
        # back, and is kept.
        self._spoken: dict[str, int] = {}
        self._ignored: dict[str, str] = {}

    # --- what others ask ---

    @property
    def members(self) -> tuple[Person, ...]:
        """All of them, oneself included, in order of arrival."""
        return tuple(self._members.values())

    @property
    def nicks(self) -> list[str]:
        """Everybody else, who was addressed or spoke last first: the order in which Tab offers them."""
        recent = [key for key in reversed(self._spoken) if key in self._members]
        rest = [key for key in self._members if key not in self._spoken]
        own = nick_key(self.name)
        return [self._members[key].nick for key in (*recent, *rest) if key != own]

    @property
    def ignored(self) -> tuple[str, ...]:
        """Whom the reader does not want to hear."""
        return tuple(self._ignored.values())

    @property
    def is_away(self) -> bool:
        """The room shows oneself as away."""
        own = self._members.get(nick_key(self.name)) if self.name else None
        return own is not None and own.is_away

    def is_here(self, nick: str) -> bool:
        """Somebody of this name is a member."""
        return nick_key(nick) in self._members

    def is_me(self, nick: str) -> bool:
        """This is the own name."""
        return bool(self.name) and nick_key(nick) == nick_key(self.name)

    def is_ignored(self, nick: str) -> bool:
        """The reader does not want to hear this one."""
        return nick_key(nick) in self._ignored

    def spoke_since(self, nick: str, since_ms: int) -> bool:
        """This one has said something to everybody since then (UTC)."""
        spoke_ms = self._spoken.get(nick_key(nick), _NEVER_MS)
        return spoke_ms != _NEVER_MS and spoke_ms >= since_ms

    # --- what changes ---

    def toggle_ignored(self, nick: str) -> bool:
        """Ignore this one, or no longer; returns whether from now on."""
        key = nick_key(nick)
        if self._ignored.pop(key, None) is not None:
            return False
        self._ignored[key] = nick
        if len(self._ignored) > IGNORED_MAX:
            del self._ignored[next(iter(self._ignored))]
        return True

    def addressed(self, nick: str) -> None:
        """The reader has just said something to this one."""
        self._heard(nick)

    def fold(self, notice: notices.AnyNotice) -> None:
        """Take in what was told."""
        match notice:
            case notices.Ready():
                self.name = notice.name
                self._set_members([Person(nick) for nick in notice.members])
            case notices.MembersList():
                self._set_members(
                    [
                        Person(
                            one.name,
                            one.state == "away",
                            one.state == "silent",
                            one.serving,
                            fingerprint=one.fingerprint,
                        )
                        for one in notice.members
                    ]
                )
            case notices.Schedule():
                self._serves(notice.member)
            case notices.Message():
                self._heard(notice.author, notice.time)
            case notices.Private(state="received"):
                self.reply_to = notice.sender
                self._heard(notice.sender)
            case notices.MemberChanged():
                self._change(notice)
            case _:
                pass

    def _set_members(self, members: list[Person]) -> None:
        remarks = {key: person.remark for key, person in self._members.items()}
        self._members = {
            nick_key(one.nick): replace(one, remark=remarks.get(nick_key(one.nick), "") if one.is_away else "")
            for one in members
        }

    def _serves(self, nick: str) -> None:
        wanted = nick_key(nick) if nick else ""
        self._members = {key: replace(one, is_serving=key == wanted) for key, one in self._members.items()}

    def _change(self, changed: notices.MemberChanged) -> None:
        key = nick_key(changed.name)
        person = self._members.get(key, Person(changed.name))
        match changed.state:
            case "left" | "lost":
                self._members.pop(key, None)
            case "joined":
                mark = changed.fingerprint if isinstance(changed.fingerprint, str) else ""
                self._members[key] = Person(changed.name, fingerprint=mark)
            case "away":
                remark = changed.text if isinstance(changed.text, str) else ""
                self._members[key] = replace(person, is_away=True, remark=remark)
            case "back":
                self._members[key] = replace(person, is_away=False, remark="")
            case "silent" | "heard":
                self._members[key] = replace(person, is_silent=changed.state == "silent")
            case "renamed" if isinstance(changed.was, str):
                self._rename(changed.was, changed.name)
            case _:
                pass

    def _rename(self, was: str, nick: str) -> None:
        old, new = nick_key(was), nick_key(nick)
        if self.is_me(was):
            self.name = nick
        if self.reply_to and nick_key(self.reply_to) == old:
            self.reply_to = nick
        if old in self._members:
            self._members = _moved(self._members, old, new)
            self._members[new] = replace(self._members[new], nick=nick)
        self._spoken = _moved(self._spoken, old, new)
        if old in self._ignored:
            self._ignored = _moved(self._ignored, old, new)
            self._ignored[new] = nick

    def _heard(self, nick: str, spoke_ms: int = _NEVER_MS) -> None:
        """To the end with this one; `spoke_ms`: when this one spoke to everybody, if that is what was heard."""
        key = nick_key(nick)
        before_ms = self._spoken.pop(key, _NEVER_MS)
        self._spoken[key] = before_ms if spoke_ms == _NEVER_MS else spoke_ms
        if len(self._spoken) > SPOKEN_MAX:
            del self._spoken[next(iter(self._spoken))]


def _moved(known: dict[str, _Value], old: str, new: str) -> dict[str, _Value]:
    """What was known under one key is under another, in its place; what was there before is of somebody who is gone."""
    return {new if key == old else key: value for key, value in known.items() if key == old or key != new}
