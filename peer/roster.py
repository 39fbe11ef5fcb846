"""Who is here, as this participant knows it, how many are still waited for, and what the room is about; pure."""

from collections.abc import Sequence

from peer.notices import MemberChanged, MemberLine, Topic, Waiting
from wire import identity, limits
from wire.messages import Change, ChangeKind, Member, Presence
from wire.names import nick_key

_STATES = {
    ChangeKind.JOINED: "joined",
    ChangeKind.LEFT: "left",
    ChangeKind.LOST: "lost",
    ChangeKind.AWAY: "away",
    ChangeKind.BACK: "back",
    ChangeKind.RENAMED: "renamed",
    ChangeKind.SILENT: "silent",
    ChangeKind.HEARD: "heard",
}
# What is no news to whom it is about: by the time one can read it, it is over.
_OF_OTHERS = (ChangeKind.JOINED, ChangeKind.LEFT, ChangeKind.LOST, ChangeKind.SILENT, ChangeKind.HEARD)


class Roster:
    """The members list with its number, `rev`, kept current by changes, and compared when it had to be fetched anew.

    The topic is part of what `rev` counts; whoever replaces the list sets `topic` as well.
    Invariant: `members` is exactly the server's list `rev`; a change that does not fit is not applied.
    """

    def __init__(self, me: str) -> None:
        """`me`: the own peer id, whose coming and going is no news."""
        self.rev = 0
        self.is_known = False
        self.open = False
        self.min_n = 0
        self.topic = Topic(text="", by="")
        self._topic_told = self.topic
        self._me = me
        self._members: dict[str, Member] = {}
        self._waiting_told: tuple[int, int] | None = None

    @property
    def members(self) -> tuple[Member, ...]:
        """Everybody but guests, in order of arrival."""
        return tuple(member for member in self._members.values() if not member.guest)

    @property
    def nicks(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(member.nick for member in self.members)

    def member(self, peer: str) -> Member | None:
        """The member with this peer id."""
        return self._members.get(peer)

    def find(self, nick: str) -> Member | None:
        """The member of this name, however it is written."""
        wanted = nick_key(nick)
        return next((member for member in self._members.values() if nick_key(member.nick) == wanted), None)

    # --- changes ---

    def replace(self, rev: int, members: Sequence[Member]) -> list[Change]:
        """The whole list, fetched; returns what changed since the one before, if there was one."""
        changes: list[Change] = []
        if self.is_known:
            changes = _difference(self._members, members)
        self.rev = rev
        self.is_known = True
        self._members = {member.peer: member for member in members}
        return changes

    def apply(self, presence: Presence) -> list[Change] | None:
        """Changes as they were told: those that were new, or None when earlier ones are missing."""
        if not self.is_known or presence.rev - len(presence.changes) > self.rev:
            return None
        if presence.rev <= self.rev:
            return []
        # A list that was fetched meanwhile may hold the first of them already.
        changes = list(presence.changes[self.rev - presence.rev :])
        # No room is so full; a list that is asked for has a bound.
        if len(self._members) + len(changes) > limits.MEMBERS_MAX + limits.CHANGES_PER_MESSAGE_MAX:
            return None
        for change in changes:
            if change.kind in (ChangeKind.LEFT, ChangeKind.LOST):
                self._members.pop(change.member.peer, None)
            else:
                self._members[change.member.peer] = change.member
            if change.kind is ChangeKind.TOPIC:
                self.topic = _topic(change)
        self.rev = presence.rev
        return changes

    # --- what the user is told ---

    def news(self, changes: Sequence[Change]) -> list[MemberChanged]:
        """The changes that a person wants to hear of."""
        return [
            _notice(change)
            for change in changes
            if change.kind in _STATES
            and not change.member.guest
            and change.was != change.member.nick
            and (change.member.peer != self._me or change.kind not in _OF_OTHERS)
        ]

    def topics(self, changes: Sequence[Change]) -> list[Topic]:
        """What the room was said to be about, one after the other; and what it is about now, if that was missed."""
        topics = [_topic(change) for change in changes if change.kind is ChangeKind.TOPIC]
        last = topics[-1] if topics else self._topic_told
        if self.topic != last and (self.topic.text or last.text):
            topics.append(self.topic)
        self._topic_told = self.topic
        return topics

    def waiting(self) -> list[Waiting]:
        """How many of how many are here, if that changed and the chat has not begun; and once more when it begins."""
        if self.open:
            if self._waiting_told is None or self._waiting_told[0] >= self._waiting_told[1]:
                return []
            counts = (max(len(self.members), self.min_n), self.min_n)
        else:
            counts = (len(self.members), self.min_n)
        if counts == self._waiting_told:
            return []
        self._waiting_told = counts
        return [Waiting(here=counts[0], need=counts[1], members=self.nicks)]


def member_lines(members: Sequence[Member], serving: str) -> tuple[MemberLine, ...]:
    """A list as `who` shows it; `serving` is the id of the active server."""
    return tuple(
        MemberLine(
            name=member.nick,
            state="silent" if member.silent else "here" if member.away is None else "away",
            serving=bool(serving) and member.server == serving,
            since=member.since_ms,
            fingerprint=identity.fingerprint(member.key),
        )
        for member in members
        if not member.guest
    )


def _topic(change: Change) -> Topic:
    return Topic(text=change.text, by=change.member.nick)


def _notice(change: Change) -> MemberChanged:
    name, state = change.member.nick, _STATES[change.kind]
    if change.kind is ChangeKind.RENAMED:
        return MemberChanged(name=name, state=state, was=change.was)
    if change.kind is ChangeKind.AWAY:
        return MemberChanged(name=name, state=state, text=change.member.away or "")
    if change.kind is ChangeKind.JOINED and change.member.key:
        return MemberChanged(name=name, state=state, fingerprint=identity.fingerprint(change.member.key))
    return MemberChanged(name=name, state=state)


def _difference(old: dict[str, Member], members: Sequence[Member]) -> list[Change]:
    """What must have happened between two lists. Who is missing has left, as far as one can see."""
    new = {member.peer: member for member in members}
    changes = [Change(ChangeKind.LEFT, member) for peer, member in old.items() if peer not in new]
    for peer, member in new.items():
        was = old.get(peer)
        if was is None:
            changes.append(Change(ChangeKind.JOINED, member))
            continue
        if was.nick != member.nick:
            changes.append(Change(ChangeKind.RENAMED, member, was.nick))
        if was.away != member.away:
            changes.append(Change(ChangeKind.BACK if member.away is None else ChangeKind.AWAY, member))
        if was.silent != member.silent:
            changes.append(Change(ChangeKind.SILENT if member.silent else ChangeKind.HEARD, member))
    return changes
