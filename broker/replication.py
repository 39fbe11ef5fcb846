"""The active server's followers: who has what, which of them are in sync, and up to where all is committed; pure.

What is committed rests on zdns' record: everybody on its in-sync list has it. The list is changed by compare-and-set
before anything is committed without one of it, and whoever is about to be put on it is waited for from the moment that
is asked. So whatever zdns answers, and whenever, every server that it may let take over has all that was acknowledged.
"""

import enum
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from broker.history import History
from broker.keeper import BlockRead, Failed
from wire import limits
from wire.errors import RefusalCode
from wire.messages import (
    Align,
    Append,
    Decline,
    Dismiss,
    DnsReply,
    Follow,
    FollowerState,
    Following,
    Granted,
    Have,
    Keep,
    LinkAsk,
    LinkAt,
    Message,
    NameRequest,
    Outdated,
    Pick,
    Picked,
    Record,
    Refused,
    RoomState,
    ServerInfo,
    SetInSync,
)
from wire.names import LinkId
from wire.step import CloseLink, Command, LinkKind, OpenLink, Send, StartTimer, StopTimer

TICK = "replicas.tick"
SETTLE = "replicas.settle"


class Phase(enum.Enum):
    """Where a follower stands. LINKING, ASKED: it has not said what it has. COPYING: it lacks something, or is not on
    zdns' list yet. IN_SYNC: it is."""

    LINKING = "linking"
    ASKED = "asked"
    COPYING = "copying"
    IN_SYNC = "in sync"


@dataclass
class _Follower:
    server: ServerInfo
    pair: str
    link: LinkId
    phase: Phase
    heard_ms: int
    progress_ms: int
    has_pair: bool = False  # its link is the one that was made for the two of us
    have: int = -1  # up to which seq it has the history for good; -1: that is not known
    kept: int = -1  # of a volatile one: what it had when it began to follow
    cursor: int = 0  # the last seq sent
    in_flight: deque[tuple[int, int]] = field(default_factory=deque)  # last seq, bytes
    in_flight_bytes: int = 0
    sent_bytes: int = 0  # in all
    reading: bool = False
    unread_since_ms: int | None = None  # since when what it lacks is being read, or could not be
    read_failed: bool = False
    volatile: bool = False
    is_awaited: bool = False  # it lacks little: nothing more is committed without it, so that it can be put on the list
    state_key: object = None


@dataclass(frozen=True, slots=True)
class Learned:
    """zdns has this record now, of our own epoch."""

    record: Record


@dataclass(frozen=True, slots=True)
class Overtaken:
    """zdns has a record of a higher epoch."""

    record: Record


@dataclass(frozen=True, slots=True)
class Doubted:
    """A follower says that there is a higher epoch: ask zdns."""


@dataclass(frozen=True, slots=True)
class Probed:
    """zdns has just written our record, with the target of the handover on its list."""

    record: Record


@dataclass(frozen=True, slots=True)
class Lost:
    """A follower is gone, or will not follow; `left_out`: it is not to be asked again for a while."""

    server: ServerInfo
    code: RefusalCode
    why: str


@dataclass(frozen=True, slots=True)
class Said:
    """The follower that is handed over to says something that is not about following."""

    server: ServerInfo
    message: Message


Verdict = Learned | Overtaken | Doubted | Probed | Lost | Said
Result = tuple[list[Command], list[Verdict]]
Read = Callable[[int, int, int, BlockRead, Failed], list[Command]]


@dataclass(frozen=True, slots=True)
class Line:
    """A link that leader and follower share: after a handover they change parts on it."""

    link: LinkId
    pair: str
    server: ServerInfo  # the other end


class Replication:
    """The leader's side.

    Invariants: `committed` never falls; nothing above the last safe seq of any server that zdns has on its list, or may
    just be putting there, is committed; one change of the list is asked for at a time.
    """

    def __init__(
        self,
        *,
        service: str,
        replicas: int,
        new_link: Callable[[], LinkId],
        new_pair: Callable[[], str],
        ask: Callable[[NameRequest, int | None], list[Command]],
        read: Read,
        permit: Callable[[], bytes] = lambda: b"",
        is_banned: Callable[[str], bool] = lambda _key: False,
    ) -> None:
        """`ask` puts a request to zdns; `read` has entries read that are not in memory; `permit` is what we show.

        `is_banned(key)`: whoever has it is not to follow.
        """
        self._service = service
        self._replicas = replicas
        self._new_link = new_link
        self._new_pair = new_pair
        self._ask = ask
        self._read = read
        self._permit = permit
        self._is_banned = is_banned
        self._number = 0
        self._active = False
        self._reset()

    @property
    def _followers_wanted(self) -> int:
        """How many followers: with a failed disk at least one, or nothing could be committed any more."""
        return max(self._replicas, 0 if self._kept is None else 1)

    def _reset(self) -> None:
        self._followers: dict[str, _Follower] = {}
        self._parting: dict[str, _Follower] = {}  # they said that they leave, and wait until nobody counts on them
        self._asked: SetInSync | None = None  # the change of the list that zdns has not answered yet
        self._picking = False
        self._pick_at_ms = 0
        self._left_out: dict[str, int] = {}
        self._target = ""  # the server that is handed over to
        self._sent_before = 0  # bytes it had been sent before it was to take over
        self._probing = False
        self._frozen = False
        self._kept: int | None = None
        self._ticked_ms = self._ticked_head = 0
        self.committed = 0

    # --- beginning and ending ---

    def begin(
        self,
        *,
        me: ServerInfo,
        record: Record,
        history: History,
        committed: int,
        line: Line | None,
        gone: str,
        state: Callable[[], RoomState],
        kept: int | None,
        now_ms: int,
    ) -> list[Command]:
        """Lead from now on, in `record`'s epoch. `line`: to the one we had the role from; `gone`: who is dead.

        `state` is that of the room, whenever it is called.
        `kept`: up to which seq our own disk has the history, if it has failed; None: it has not.
        """
        self._reset()
        self._active, self._kept = True, kept
        self._me, self._record, self._history, self._state = me, record, history, state
        self.committed = committed
        self._ticked_ms, self._ticked_head = now_ms, history.head
        commands: list[Command] = [StartTimer(TICK, limits.KEEP_MS)]
        for server in record.in_sync:
            if server.id in (me.id, gone):
                continue
            if line is not None and server.id == line.server.id:
                commands += self._follow(line, now_ms)
            else:
                commands += self._link(server, now_ms)
        if line is not None and line.server.id not in self._followers:
            commands.append(CloseLink(line.link))
        return [*commands, *self._settle()]

    def end(self, keep: str = "") -> tuple[list[Command], Line | None]:
        """Lead no more. The link to the server `keep` stays open, and is returned if there is one."""
        if not self._active:
            return [], None
        self._active = False
        kept: Line | None = None
        commands: list[Command] = [StopTimer(TICK), StopTimer(SETTLE)]
        for follower in (*self._followers.values(), *self._parting.values()):
            if follower.server.id == keep and follower.has_pair:
                kept = Line(follower.link, follower.pair, follower.server)
            else:
                commands.append(CloseLink(follower.link, linger_ms=limits.STOP_MS // 4))
        self._followers, self._parting = {}, {}
        self._asked, self._target, self._probing, self._frozen = None, "", False, False
        return commands, kept

    # --- what the core asks ---

    def owns(self, link: LinkId) -> bool:
        """Is this the link of a follower?"""
        return any(one.link == link for one in (*self._followers.values(), *self._parting.values()))

    @property
    def record(self) -> Record:
        """zdns' record, as far as we know."""
        return self._record

    def mark(self, safe: int) -> int:
        """Up to which seq everything is committed, when we ourselves have all up to `safe` for good."""
        mark = safe
        for id_ in self._counted():
            mark = min(mark, self._counts(id_))
        self.committed = max(self.committed, mark)
        return self.committed

    def _counts(self, id_: str) -> int:
        """Up to which seq a server that may take over after us has everything; -1: that is not known."""
        follower = self._followers.get(id_)
        if follower is None:
            return -1
        # What it has in memory only counts once zdns knows that it is not to be looked for on its disk.
        is_believed = id_ in [server.id for server in self._record.in_sync] and id_ not in self._record.volatile
        return min(follower.have, follower.kept) if follower.volatile and is_believed else follower.have

    def _counted(self) -> list[str]:
        """Whoever may take over after us, and so must have what we commit: all on zdns' list, now or in a moment."""
        ids = self._believed()
        ids += [follower.server.id for follower in self._followers.values() if follower.is_awaited]
        return [id_ for id_ in dict.fromkeys(ids) if id_ != self._me.id]

    def _believed(self) -> list[str]:
        """Whoever is on zdns' list, or will be if it grants what it was asked."""
        return [*(server.id for server in self._record.in_sync), *(self._asked.in_sync if self._asked else ())]

    @property
    def is_replicated(self) -> bool:
        """Somebody else has everything."""
        return any(server.id in self._followers for server in self._record.in_sync)

    @property
    def memory_counts(self) -> bool:
        """Whether what we have in memory only is safe.

        It is if somebody else has everything, and zdns knows that our disk lacks it, whatever becomes of the change of
        the list that is asked for.
        """
        lists = [self._record.volatile, *([self._asked.volatile] if self._asked is not None else [])]
        return all(self._me.id in volatile for volatile in lists) and self.is_replicated

    def states(self) -> tuple[FollowerState, ...]:
        """Who follows, for `status`."""
        head = self._history.head
        return tuple(
            FollowerState(f.server.name, f.phase.value, head - max(0, min(f.have, head)))
            for f in self._followers.values()
        )

    def waits_for(self) -> str:
        """For whom committing waits, as half a sentence; empty: for nobody."""
        head = self._history.head
        late = [self._name_of(id_) for id_ in self._counted() if self._have_of(id_) < head]
        return f"waiting for {', '.join(late)}" if late and self.committed < head else ""

    def _have_of(self, id_: str) -> int:
        follower = self._followers.get(id_)
        return follower.have if follower is not None else -1

    def _name_of(self, id_: str) -> str:
        known = (*self._record.in_sync, *(follower.server for follower in self._followers.values()))
        return next((server.name for server in known if server.id == id_), id_)

    def disk_failed(self, kept: int) -> list[Command]:
        """Our own disk has failed: zdns is to know, before anything is committed that is not on it."""
        self._kept = kept
        return self._settle()

    # --- handing over ---

    def aim(self, server: ServerInfo, now_ms: int) -> Result:
        """`server` is to take over: have it follow, if it does not."""
        if server.id in self._parting:
            return [], [Lost(server, RefusalCode.HANDOVER_FAILED, f"{server.name} leaves")]
        self._target = server.id
        known = self._followers.get(server.id)
        self._sent_before = known.sent_bytes if known is not None else 0
        return [] if known is not None else self._link(server, now_ms), []

    def lag(self, server_id: str) -> int | None:
        """How many entries a follower lacks; None: it has not said what it has."""
        follower = self._followers.get(server_id)
        if follower is None or follower.phase in (Phase.LINKING, Phase.ASKED):
            return None
        return self._history.head - max(0, follower.have)

    @property
    def sent_for_handover(self) -> int:
        """Bytes of entries that the target was sent since it is the target."""
        follower = self._followers.get(self._target)
        return follower.sent_bytes - self._sent_before if follower is not None else 0

    def probe(self) -> list[Command]:
        """Have zdns write the record once more, with the target on its list; answered by Probed."""
        self._probing = True
        return self._settle()

    def freeze(self) -> Record | None:
        """Leave zdns' record as it is, since a transfer is to be asked for it; None: it is just being changed."""
        if self._asked is not None:
            return None
        self._frozen = True
        return self._record

    def give_up_target(self) -> list[Command]:
        """No handover, after all."""
        self._target, self._probing, self._frozen = "", False, False
        return self._settle()

    def learn(self, record: Record) -> None:
        """zdns has this record by now, as something else has brought to light."""
        if self._active and record.epoch == self._record.epoch and record.version > self._record.version:
            self._record = record

    def to_target(self, make: Callable[[str], Message]) -> list[Command]:
        """Send the target a message, made of the name of our pair."""
        follower = self._followers.get(self._target)
        return [Send(follower.link, make(follower.pair))] if follower is not None and follower.has_pair else []

    # --- sending ---

    def pump(self, now_ms: int) -> list[Command]:
        """Send every follower what it lacks and has room for; called whenever something may have changed."""
        commands: list[Command] = []
        for follower in self._followers.values():
            if follower.phase in (Phase.COPYING, Phase.IN_SYNC):
                commands += self._pump(follower, now_ms)
        return commands

    def _pump(self, follower: _Follower, now_ms: int) -> list[Command]:
        commands: list[Command] = []
        history = self._history
        while (
            follower.cursor < history.head
            and follower.in_flight_bytes < limits.WINDOW_BYTES
            and len(follower.in_flight) < limits.WINDOW_BLOCKS
            and not follower.reading
        ):
            first = follower.cursor + 1
            if first < history.first:
                follower.reading = True
                if follower.unread_since_ms is None:
                    follower.unread_since_ms = now_ms
                commands += self._read_for(follower, first)
                break
            count, block = history.block(first, history.head)
            commands.append(self._append(follower, first, count, block, now_ms))
        return commands

    def _append(self, follower: _Follower, first: int, count: int, block: bytes, now_ms: int) -> Command:
        if not follower.in_flight:
            follower.progress_ms = now_ms
        follower.cursor = first + count - 1
        follower.in_flight.append((follower.cursor, len(block)))
        follower.in_flight_bytes += len(block)
        follower.sent_bytes += len(block)
        prev_epoch = self._history.epoch_at(first - 1)
        message = Append(follower.pair, self._record.epoch, self.committed, first, prev_epoch, count, block)
        return Send(follower.link, message)

    def _read_for(self, follower: _Follower, first: int) -> list[Command]:
        pair = follower.pair

        def read(count: int, block: bytes) -> list[Command]:
            if not self._is_current(follower, pair):
                return []
            if count == 0:
                return failed("")
            follower.reading, follower.unread_since_ms = False, None
            return [self._append(follower, first, count, block, self._ticked_ms)]

        def failed(_why: str) -> list[Command]:
            follower.read_failed = True  # the next tick tries again; a follower that gets nowhere is given up
            return []

        return self._read(first, self._history.first - 1, limits.BLOCK_ENTRIES_MAX, read, failed)

    def _is_current(self, follower: _Follower, pair: str) -> bool:
        return self._followers.get(follower.server.id) is follower and follower.pair == pair

    # --- events ---

    def received(self, link: LinkId, message: Message, now_ms: int) -> Result:
        """A message on the link of a follower."""
        follower = next((one for one in self._followers.values() if one.link == link), None)
        if follower is None:
            return [], []
        match follower.phase, message:
            case Phase.LINKING, LinkAt(pair, endpoints) if pair == follower.pair and endpoints:
                opened = self._open_pair(follower, endpoints[0], now_ms)
                return opened, []
            case Phase.LINKING, Refused(_, code, why):
                return self._lose(follower, f"refused: {why}", now_ms, code)
            case _ if getattr(message, "pair", None) != follower.pair:
                return [], []
            case ((Phase.ASKED | Phase.COPYING), Following()):
                return self._aligned(follower, message, now_ms)
            case ((Phase.COPYING | Phase.IN_SYNC), Have(epoch=epoch, have=have)) if epoch == self._record.epoch:
                return self._has(follower, have, now_ms)
            case _, Decline(_, why):
                self._part(follower)
                return self._lose(follower, f"declined: {why}", now_ms)
            case _, Outdated():
                commands, verdicts = self._lose(follower, "knows a later server", now_ms)
                return commands, [*verdicts, Doubted()]
            case _:
                follower.heard_ms = now_ms
                return [], [Said(follower.server, message)] if follower.server.id == self._target else []

    def link_down(self, link: LinkId, why: str, now_ms: int) -> Result:
        """The connection to a follower broke, or could not be made."""
        follower = next((one for one in self._followers.values() if one.link == link), None)
        for id_ in [id_ for id_, one in self._parting.items() if one.link == link]:
            return [CloseLink(self._parting.pop(id_).link)], []
        return ([], []) if follower is None else self._lose(follower, f"cannot be reached: {why}", now_ms)

    def give_up_banned(self, now_ms: int) -> Result:
        """Let go of followers whose keys are banned by now."""
        commands: list[Command] = []
        verdicts: list[Verdict] = []
        for follower in [one for one in self._followers.values() if self._is_banned(one.server.key)]:
            lost = self._lose(follower, "is banned", now_ms)
            commands += lost[0]
            verdicts += lost[1]
        return commands, verdicts

    def timer(self, name: str, now_ms: int) -> Result:
        """One of `TICK`, `SETTLE` has run out."""
        if not self._active:
            return [], []
        if name == SETTLE:
            return self._ask_again(), []
        late_ms = max(0, now_ms - self._ticked_ms - 2 * limits.KEEP_MS)
        self._ticked_ms, self._ticked_head = now_ms, self._history.head
        commands: list[Command] = [StartTimer(TICK, limits.KEEP_MS)]
        verdicts: list[Verdict] = []
        for follower in list(self._followers.values()):
            # When this process itself was held up, what has come meanwhile has not been read yet.
            follower.heard_ms += late_ms
            follower.progress_ms += late_ms
            if follower.unread_since_ms is not None:
                follower.unread_since_ms += late_ms
            if follower.read_failed:
                follower.reading = follower.read_failed = False
            if why := self._silence(follower, now_ms):
                more, said = self._lose(follower, why, now_ms)
                commands += more
                verdicts += said
        return [*commands, *self._trim(), *self._recruit(now_ms)], verdicts

    def _trim(self) -> list[Command]:
        """Let go of those who are too many: whoever was to take over, and did not."""
        if self._target or self._asked is not None:
            return []
        listed = [server.id for server in self._record.in_sync]
        spare = [one for one in self._followers.values() if one.server.id not in listed]
        too_many = max(0, len(self._followers) - self._followers_wanted)
        return [command for one in spare[:too_many] for command in self._dismiss(one, "there are others who follow")]

    def keep(self, state_key: object) -> list[Command]:
        """The signs of life that are due, with the room's state for those who do not have it as it is now."""
        commands: list[Command] = []
        now: RoomState | None = None
        for follower in self._followers.values():
            if follower.phase not in (Phase.COPYING, Phase.IN_SYNC):
                continue
            if follower.state_key != state_key and now is None:
                now = self._state()
            news = now if follower.state_key != state_key else None
            follower.state_key = state_key
            keep = Keep(follower.pair, self._record.epoch, self.committed, self._record, news)
            commands.append(Send(follower.link, keep))
        return commands

    def _silence(self, follower: _Follower, now_ms: int) -> str:
        """Why a follower is given up now; empty: it is not."""
        # Whoever is on the list holds up everybody; a standby that is only to become a follower may take its time.
        listed = follower.server.id in self._counted()
        silent_ms = limits.FOLLOWER_SILENT_MS if listed else limits.LINK_STEP_MS
        if now_ms - follower.heard_ms > silent_ms:
            return f"did not answer for {silent_ms} ms while {follower.phase.value}"
        stall_ms = limits.FOLLOWER_STALL_MS if listed else limits.LINK_STEP_MS
        if follower.in_flight and now_ms - follower.progress_ms > stall_ms:
            return f"could not keep what it was sent for {stall_ms} ms"
        if follower.unread_since_ms is not None and now_ms - follower.unread_since_ms > stall_ms:
            return f"lacks what could not be read for {stall_ms} ms"
        return ""

    # --- zdns ---

    def answered(self, request: NameRequest, reply: DnsReply, now_ms: int) -> Result:
        """zdns answered a Pick or a SetInSync of ours."""
        if not self._active:
            return [], []
        if isinstance(request, Pick):
            self._picking = False
            if isinstance(reply, Picked) and reply.server is not None and len(self._followers) < self._followers_wanted:
                return ([], []) if reply.server.id in self._followers else (self._link(reply.server, now_ms), [])
            return [], []
        if self._asked is None or not isinstance(request, SetInSync) or request.version != self._asked.version:
            return [], []
        record = reply.record if isinstance(reply, Granted | Refused) else None
        if record is None or (record.epoch, record.version) < (self._record.epoch, self._record.version):
            return [StartTimer(SETTLE, limits.TRANSFER_RETRY_MS)], []  # it has lost its records; it will be told
        if record.epoch > self._record.epoch:
            return [], [Overtaken(record)]
        if isinstance(reply, Granted):
            return self._granted(record)
        assert isinstance(reply, Refused)
        is_newer = record.version > self._record.version
        learned: list[Verdict] = [Learned(record)] if is_newer else []
        self._record = record if is_newer else self._record
        if reply.code is RefusalCode.NOT_STANDBY:  # somebody who was to join has no lease any more
            commands, lost = self._unknown(request, now_ms)
            return commands, [*learned, *lost]
        if reply.code is RefusalCode.STALE_VERSION or is_newer:
            self._asked = None
            return self._settle(), learned
        return [StartTimer(SETTLE, limits.TRANSFER_RETRY_MS)], []

    def _unknown(self, request: SetInSync, now_ms: int) -> Result:
        """zdns does not know somebody of those who were to join: whoever it is asks for a link of its own again."""
        self._asked = None
        listed = [server.id for server in self._record.in_sync]
        commands: list[Command] = []
        verdicts: list[Verdict] = []
        for id_ in request.in_sync:
            if id_ not in listed and id_ in self._followers:
                more, said = self._lose(self._followers[id_], "is unknown to zdns", now_ms)
                commands += more
                verdicts += said
        return [*commands, *self._settle()], verdicts

    def unanswered(self, request: NameRequest) -> Result:
        """zdns was not asked after all, or is silent."""
        if isinstance(request, Pick):
            self._picking = False
            return [], []
        return ([StartTimer(SETTLE, limits.TRANSFER_RETRY_MS)] if self._active and self._asked else []), []

    def _granted(self, record: Record) -> Result:
        probed = self._probing and self._target in [server.id for server in record.in_sync]
        asked, self._asked, self._record = self._asked, None, record
        assert asked is not None
        commands: list[Command] = []
        listed = [server.id for server in record.in_sync]
        for id_ in [id_ for id_ in self._parting if id_ not in listed]:
            commands += self._dismiss(self._parting.pop(id_), "as it asked")
        for follower in list(self._followers.values()):
            if follower.server.id in listed:
                if follower.phase is Phase.COPYING:
                    follower.phase = Phase.IN_SYNC
            elif follower.phase is Phase.IN_SYNC and self._is_wanted_again(follower, listed):
                follower.phase = Phase.COPYING  # it is put there again
            elif follower.phase is Phase.IN_SYNC:
                commands += self._dismiss(follower, "there are others who follow")
        # Whoever is on the list is to know it at once: should zdns lose its records, it is one of those who can tell.
        commands += [
            Send(one.link, Keep(one.pair, record.epoch, self.committed, record))
            for one in self._followers.values()
            if one.phase is Phase.IN_SYNC
        ]
        verdicts: list[Verdict] = [Learned(record)]
        if probed:
            self._probing = False
            verdicts.append(Probed(record))
        return [*commands, *self._settle()], verdicts

    def _is_wanted_again(self, follower: _Follower, listed: list[str]) -> bool:
        """Whether one that was struck off had come back before that, or was chosen to take over since it was asked."""
        return follower.server.id == self._target or len(listed) <= self._followers_wanted

    # --- the list ---

    def _settle(self) -> list[Command]:
        """Ask zdns for the list as it should be, if it is not and nothing is asked already."""
        if self._asked is not None or not self._active or self._frozen:
            return []
        wanted = self._wanted()
        volatile = self._volatile_of(wanted)
        now = [server.id for server in self._record.in_sync]
        if wanted == now and volatile == list(self._record.volatile) and not self._probe_is_due():
            return []
        record = self._record
        self._asked = SetInSync(
            0, self._service, self._me.id, record.epoch, record.version, tuple(wanted), tuple(volatile)
        )
        return self._ask(self._asked, None)

    def _ask_again(self) -> list[Command]:
        return self._settle() if self._asked is None else self._ask(self._asked, None)

    def _wanted(self) -> list[str]:
        """Who should be on the list: we, whoever is there and has all, and no more than are wanted."""
        listed = [server.id for server in self._record.in_sync if self._may_stay(server.id)]
        able = [f.server.id for f in self._followers.values() if f.phase is Phase.COPYING and self._has_all(f)]
        ids = list(dict.fromkeys((*listed, *able)))
        count = max(self._followers_wanted, 1 if self._target in ids else 0)
        if self._probe_is_due() or self._target not in ids:
            # The target comes first, so that the others make room for it.
            ids.sort(key=lambda id_: id_ != self._target)
            ids = ids[:count]
        return [self._me.id, *ids[: limits.IN_SYNC_MAX - 1]]

    def _may_stay(self, id_: str) -> bool:
        follower = self._followers.get(id_)
        return follower is not None and (follower.phase is not Phase.COPYING or self._has_all(follower))

    def _probe_is_due(self) -> bool:
        target = self._followers.get(self._target)
        return self._probing and target is not None and (target.phase is Phase.IN_SYNC or self._has_all(target))

    def _has_all(self, follower: _Follower) -> bool:
        return follower.phase in (Phase.COPYING, Phase.IN_SYNC) and follower.have >= self.committed

    def _volatile_of(self, ids: list[str]) -> list[str]:
        return [id_ for id_ in ids if self._is_volatile(id_, is_alone=len(ids) == 1)]

    def _is_volatile(self, id_: str, *, is_alone: bool) -> bool:
        """Whether its disk lacks something. It does while zdns says so, until it has told otherwise and has all.

        Alone we commit nothing that is not on our own disk.
        """
        if id_ == self._me.id:
            return self._kept is not None and (not is_alone or self.committed > self._kept)
        follower = self._followers[id_]
        return follower.volatile or (id_ in self._record.volatile and not self._has_all(follower))

    # --- followers ---

    def _recruit(self, now_ms: int) -> list[Command]:
        """Have somebody follow, as long as there are too few."""
        self._left_out = {id_: until_ms for id_, until_ms in self._left_out.items() if until_ms > now_ms}
        commands = self._link_again(now_ms)
        return [*commands, *self._pick(now_ms)]

    def _link_again(self, now_ms: int) -> list[Command]:
        """Whoever was given up, and is on the list still, is waited for as long as zdns is silent: ask it anew."""
        away = [
            server
            for server in self._record.in_sync
            if server.id not in (self._me.id, *self._followers, *self._left_out) and not self._is_banned(server.key)
        ]
        return [command for server in away for command in self._link(server, now_ms)]

    def _pick(self, now_ms: int) -> list[Command]:
        """Have zdns name somebody."""
        if self._picking or len(self._followers) >= self._followers_wanted or now_ms < self._pick_at_ms:
            return []
        self._picking, self._pick_at_ms = True, now_ms + limits.RECRUIT_MS
        exclude = (*self._followers, *self._left_out)[: limits.EXCLUDED_MAX]
        return self._ask(Pick(0, self._service, self._me.id, exclude), limits.HANDOVER_STEP_MS)

    def _link(self, server: ServerInfo, now_ms: int) -> list[Command]:
        """Ask a server for a link of our own."""
        if not server.router or server.id in self._parting:
            return []
        pair, link = self._new_pair(), self._new_link()
        self._followers[server.id] = _Follower(server, pair, link, Phase.LINKING, now_ms, now_ms)
        ask = LinkAsk(limits.PROTOCOL, self._service, pair, self._me, self._permit())
        return [OpenLink(link, LinkKind.ROOM_CONNECT, server.router[0], key=server.key), Send(link, ask)]

    def _open_pair(self, follower: _Follower, endpoint: str, now_ms: int) -> list[Command]:
        closed = CloseLink(follower.link)
        line = Line(self._new_link(), follower.pair, follower.server)
        opened = OpenLink(line.link, LinkKind.COPY_CONNECT, endpoint, key=follower.server.key)
        return [closed, opened, *self._follow(line, now_ms)]

    def _follow(self, line: Line, now_ms: int) -> list[Command]:
        """Ask the other end of a line to follow."""
        follower = _Follower(line.server, line.pair, line.link, Phase.ASKED, now_ms, now_ms, has_pair=True)
        self._followers[line.server.id] = follower
        self._number += 1
        history = self._history
        message = Follow(
            pair=line.pair,
            service=self._service,
            leader=self._me,
            record=self._record,
            number=self._number,
            head=history.head,
            bytes=history.bytes_count,
            state=self._state(),
        )
        return [Send(line.link, message)]

    def _aligned(self, follower: _Follower, message: Following, now_ms: int) -> Result:
        history = self._history
        if message.committed > history.head:
            return self._lose(follower, "says that more was committed than there is", now_ms)
        at = history.agreement(message.have, message.committed, message.runs)
        follower.have = follower.kept = min(message.safe, at)
        # Whoever is on the list has all; if one has not it was put there after it had let go of its copy, and goes.
        listed = follower.server.id in [server.id for server in self._record.in_sync]
        follower.phase = Phase.IN_SYNC if listed and follower.have >= self.committed else Phase.COPYING
        follower.cursor = at
        follower.volatile = message.volatile
        follower.heard_ms = follower.progress_ms = now_ms
        follower.in_flight.clear()
        follower.in_flight_bytes = 0
        commands: list[Command] = [
            Send(follower.link, Align(follower.pair, at, self.committed)),
            *self._pump(follower, now_ms),
        ]
        return [*commands, *self._settle()], []

    def _has(self, follower: _Follower, have: int, now_ms: int) -> Result:
        follower.heard_ms = now_ms
        if have > follower.cursor:
            return self._lose(follower, "says that it has more than it was sent", now_ms)
        if have > follower.have:
            follower.have, follower.progress_ms = have, now_ms
        while follower.in_flight and follower.in_flight[0][0] <= have:
            follower.in_flight_bytes -= follower.in_flight.popleft()[1]
        commands = self._pump(follower, now_ms)
        self._await(follower)
        if follower.phase is Phase.COPYING or self._probing or follower.server.id in self._record.volatile:
            commands += self._settle()
        return commands, []

    def _await(self, follower: _Follower) -> None:
        """Under steady load a follower is always a little behind, until what is committed waits for it."""
        listed = [server.id for server in self._record.in_sync if server.id != self._me.id]
        is_wanted = len(listed) < self._followers_wanted or follower.server.id == self._target
        # One that has what there was a sign of life ago is quick enough to be waited for.
        if follower.phase is Phase.COPYING and is_wanted and follower.have >= self._ticked_head:
            follower.is_awaited = True

    def _part(self, follower: _Follower) -> None:
        """It leaves: its link stays until it can be told that it is off the list."""
        if follower.server.id in self._believed():
            self._parting[follower.server.id] = follower

    def _dismiss(self, follower: _Follower, why: str) -> list[Command]:
        self._followers.pop(follower.server.id, None)
        told = [Send(follower.link, Dismiss(follower.pair, self._record, why))] if follower.has_pair else []
        return [*told, CloseLink(follower.link, linger_ms=limits.STOP_MS // 4)]

    def _lose(
        self, follower: _Follower, why: str, now_ms: int, code: RefusalCode = RefusalCode.HANDOVER_FAILED
    ) -> Result:
        """Give a follower up. While it is on the list nothing more is committed, so it is struck off at once."""
        del self._followers[follower.server.id]
        self._left_out[follower.server.id] = now_ms + limits.RECRUIT_MS
        parts = self._parting.get(follower.server.id) is follower
        commands: list[Command] = [] if parts else [CloseLink(follower.link, linger_ms=100)]
        if follower.server.id == self._target:
            self._target, self._probing = "", False
        return [*commands, *self._settle()], [Lost(follower.server, code, f"{follower.server.name} {why}")]
