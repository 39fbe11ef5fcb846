"""What must hold at every instant of a run, and what must hold again once all faults have ended.

The checkers see what an observer of the network, of the store of zdns and of every screen sees, and nothing of
the inside of a core. Each check names in its message what was broken; a run ends at the first.
"""

from dataclasses import dataclass, field

from peer import notices
from wire import codec, limits
from wire.errors import RefusalCode
from wire.messages import (
    Acked,
    Credit,
    Dump,
    Entry,
    Hello,
    Message,
    Posts,
    Published,
    Record,
    Refused,
    Released,
)

LINKS_MAX = 24  # sockets one node may have open: its own two, zdns, two routes, a handover, a few talks
TIMERS_MAX = 80  # timers one node may have running, those of a full zdns queue included

PostId = tuple[str, str, int]  # author, session, counter


class Broken(AssertionError):
    """A promise was broken. The message says which, and by whom."""


@dataclass
class View:
    """What one incarnation of a client half has shown to its user."""

    node: str
    incarnation: int
    state: str = "searching"
    ready: bool = False
    epoch: int = 0
    log: str = ""
    first: int = 0  # first and last seq shown of `log`
    last: int = 0
    shown: dict[tuple[str, int], str] = field(default_factory=dict)  # (log, seq) -> post id
    ids: dict[tuple[str, str], int] = field(default_factory=dict)  # (log, post id) -> seq
    counters: dict[tuple[str, str, str], int] = field(default_factory=dict)  # (log, author, session) -> last counter
    unanswered: dict[str, str] = field(default_factory=dict)  # tag -> text: said, neither posted nor refused
    posted: dict[str, int] = field(default_factory=dict)  # post id -> seq
    posted_last: tuple[str, int] = ("", 0)
    untold: dict[str, str] = field(default_factory=dict)  # tag -> receiver: private texts neither delivered nor failed
    received: dict[str, str] = field(default_factory=dict)  # id -> text of the private texts shown
    faults: list[str] = field(default_factory=list)
    members: tuple[str, ...] | None = None  # the last answer to `who`
    silent: list[str] = field(default_factory=list)  # who is, as far as was told
    changes: list[tuple[str, str]] = field(default_factory=list)  # who, and what happened to them
    topic: str = ""
    scheduled_epoch: int = 0  # of the last word about the next handover
    name: str = ""


@dataclass
class _Term:
    server: str
    log: str


class Checkers:
    """All promises of one run, for one service."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self.views: dict[str, View] = {}  # the present incarnation of each client half that lives
        self.lost_logs: list[str] = []
        self.topic: str | None = None  # what everybody must see in the end; None: that is not known
        self._past: list[View] = []
        self._terms: dict[int, _Term] = {}
        self._granted: dict[str, int] = {}  # log -> its highest epoch granted
        self._committing: dict[str, int] = {}  # log -> the highest epoch in which anything was committed
        self._servers: dict[str, str] = {}  # node -> its server id
        self._homes: dict[str, str] = {}  # server id -> node
        self._dead: dict[str, str] = {}  # server id -> how it ended
        self._released: dict[str, int] = {}  # server id -> the epoch in which it let go of its copy
        self._entries: dict[tuple[str, int], Entry] = {}  # published
        self._acked: dict[tuple[str, int], PostId] = {}
        self._acked_as: dict[tuple[str, PostId], int] = {}
        self._speakers: dict[str, tuple[str, str]] = {}  # client node -> peer, session
        self._in_flight: dict[str, list[int]] = {}  # client node -> highest counter sent, highest acknowledged
        self._whispers: dict[str, str] = {}  # id -> text of the private texts that were shown to their receivers
        self._chunks: dict[str, int] = {}  # move -> chunks on their way

    # --- who is there ---------------------------------------------------------------------------------------------

    def server_started(self, node: str, server_id: str) -> None:
        """A server half begins its life."""
        self._servers[node] = server_id
        self._homes[server_id] = node

    def server_ended(self, node: str, how: str) -> None:
        """A server half is gone for good, and its memory with it."""
        server_id = self._servers.pop(node, None)
        if server_id is not None:
            self._dead[server_id] = how

    def client_started(self, node: str, incarnation: int) -> View:
        """A client half begins its life."""
        self.views[node] = View(node, incarnation)
        return self.views[node]

    def client_ended(self, node: str) -> None:
        """A client half is gone: nothing more is owed to it."""
        view = self.views.pop(node, None)
        if view is not None:
            self._past.append(view)
        self._speakers.pop(node, None)
        self._in_flight.pop(node, None)

    def said(self, node: str, tag: str, text: str) -> None:
        """A user posts."""
        self.views[node].unanswered[tag] = text

    def sets_topic(self, topic: str) -> None:
        """A user says what the room is about; nobody else does, and no server dies before it is told."""
        self.topic = topic

    def tells(self, node: str, tag: str, receiver: str) -> None:
        """A user writes to another one in private."""
        self.views[node].untold[tag] = receiver

    def history_is_lost(self) -> bool:
        """Whether all who, says zdns, hold the history are gone, or have let go of it."""
        return self.record is not None and not self.record.ended and not self._holders(self.record)

    def _holders(self, record: Record) -> list[str]:
        return [
            server.name
            for server in record.in_sync
            if server.id not in self._dead and self._released.get(server.id) != record.epoch
        ]

    # --- zdns -----------------------------------------------------------------------------------------------------

    def saved(self, record: Record) -> None:
        """zdns has a new record on disk."""
        was, self.record = self.record, record
        if was is not None:
            if record.version <= was.version:
                raise Broken(f"version {record.version} follows version {was.version}")
            if record.epoch not in (was.epoch, was.epoch + 1):
                raise Broken(f"epoch {record.epoch} follows epoch {was.epoch}")
            same = (record.active.id, record.log) == (was.active.id, was.log)
            if record.epoch == was.epoch and not same:
                raise Broken(f"epoch {record.epoch} was granted twice")
            if record.log != was.log:
                self._given_up(was)
        term = self._terms.setdefault(record.epoch, _Term(record.active.id, record.log))
        if (term.server, term.log) != (record.active.id, record.log):
            raise Broken(f"epoch {record.epoch} was granted twice")
        if record.active.id not in [server.id for server in record.in_sync]:
            raise Broken(f"the active server of epoch {record.epoch} is not in sync with itself")
        self._granted[record.log] = record.epoch
        others = [name for name in self._holders(record) if name != record.active.name]
        if record.ended and others:
            raise Broken(f"the history of epoch {record.epoch} was ended while {', '.join(others)} holds it")

    def _given_up(self, was: Record) -> None:
        holders = self._holders(was)
        if holders and not was.ended:
            raise Broken(f"the history of epoch {was.epoch} was given up while {', '.join(holders)} holds it")
        self.lost_logs.append(was.log)
        self.topic = None

    # --- the network ----------------------------------------------------------------------------------------------

    def told(self, sender: str, message: Message) -> None:
        """A core wants to send something, whether or not it can be sent."""
        if isinstance(message, Released) and sender in self._servers and self.record is not None:
            self._released[self._servers[sender]] = self.record.epoch

    def sent(self, sender: str, receiver: str, message: Message) -> None:
        """A message left its sender's core."""
        match message:
            case Published():
                self._published(sender, message)
            case Acked():
                self._acknowledged(sender, receiver, message)
            case Hello(peer=peer, session=session):
                self._speakers[sender] = (peer, session)
            case Posts(first_counter, texts):
                flight = self._in_flight.setdefault(sender, [0, 0])
                flight[0] = max(flight[0], first_counter + len(texts) - 1)
                if flight[0] - flight[1] > limits.POSTS_IN_FLIGHT_MAX:
                    raise Broken(f"{sender} has {flight[0] - flight[1]} posts in flight")
            case Dump(move=move):
                self._chunks[move] = self._chunks.get(move, 0) + 1
                if self._chunks[move] > limits.CHUNKS_IN_FLIGHT:
                    raise Broken(f"{sender} has {self._chunks[move]} chunks in flight")
            case Refused(code=RefusalCode.MALFORMED, message=why):
                raise Broken(f"{sender} got something malformed: {why}")
            case _:
                pass

    def arrived(self, _sender: str, receiver: str, message: Message) -> None:
        """A message reached the core of its receiver, or is about to."""
        match message:
            case Acked(first_counter, seqs) if receiver in self._in_flight:
                flight = self._in_flight[receiver]
                flight[1] = max(flight[1], first_counter + len(seqs) - 1)
            case Credit(move=move):
                self._chunks[move] = max(0, self._chunks.get(move, 0) - 1)
            case _:
                pass

    def _published(self, sender: str, message: Published) -> None:
        term = self._terms.get(message.epoch)
        if term is None or term.server != self._servers.get(sender):
            raise Broken(f"{sender} publishes in epoch {message.epoch}, which was not granted to it")
        if message.epoch < self._committing.get(term.log, 0):
            newer = self._committing[term.log]
            raise Broken(f"{sender} publishes in epoch {message.epoch} after epoch {newer} has committed")
        for entry in codec.decode_block(message.block, message.first, message.count):
            key = (term.log, entry.seq)
            known = self._entries.setdefault(key, entry)
            if known != entry:
                raise Broken(f"{sender} publishes seq {entry.seq} as {_post(entry)}; it was {_post(known)}")
            if known is entry:
                self._check_acked(key, (entry.author, entry.session, entry.counter))
                self._commits(sender, term.log, message.epoch, key)
        self._committing[term.log] = max(message.epoch, self._committing.get(term.log, 0))

    def _acknowledged(self, sender: str, receiver: str, message: Acked) -> None:
        epoch = max((e for e, term in self._terms.items() if term.server == self._servers.get(sender)), default=0)
        if epoch == 0:
            raise Broken(f"{sender} acknowledges posts and was never appointed")
        log = self._terms[epoch].log
        if receiver not in self._speakers:
            return  # it has gone; the acknowledgement reaches nobody
        peer, session = self._speakers[receiver]
        for index, seq in enumerate(message.seqs):
            key, post = (log, seq), (peer, session, message.first_counter + index)
            entry = self._entries.get(key)
            if entry is not None and (entry.author, entry.session, entry.counter) != post:
                raise Broken(f"{sender} acknowledges {post} as seq {seq}, which is {_post(entry)}")
            is_new = entry is None and key not in self._acked
            self._check_acked(key, post)
            if self._acked_as.setdefault((log, post), seq) != seq:
                raise Broken(f"{sender} acknowledges {post} as seq {seq} and as {self._acked_as[log, post]}")
            self._acked[key] = post
            if is_new:
                self._commits(sender, log, epoch, key)
                self._committing[log] = max(epoch, self._committing.get(log, 0))

    def _check_acked(self, key: tuple[str, int], post: PostId) -> None:
        if self._acked.get(key, post) != post:
            raise Broken(f"seq {key[1]} is {post}, and was acknowledged as {self._acked[key]}")

    def _commits(self, sender: str, log: str, epoch: int, key: tuple[str, int]) -> None:
        """Something is committed for the first time: by the newest server of its history only."""
        if key in self._acked and key in self._entries:
            return
        granted = self._granted.get(log, 0)
        if epoch < granted:
            raise Broken(f"{sender} commits seq {key[1]} in epoch {epoch}; epoch {granted} has been granted")

    # --- the screens ----------------------------------------------------------------------------------------------

    def noticed(self, node: str, notice: notices.AnyNotice) -> None:
        """A client half tells its user something."""
        view = self.views[node]
        match notice:
            case notices.Ready(name=name, epoch=epoch):
                view.ready, view.state, view.name = True, "live", name
                self._sees_epoch(view, epoch, same_is_new=False)
            case notices.Relocated(epoch=epoch):
                self._sees_epoch(view, epoch, same_is_new=True)
            case notices.StateChanged(state=state, queued=queued):
                view.state = state
                if queued > limits.OUTBOX_POSTS_MAX:
                    raise Broken(f"{node} has {queued} posts queued")
            case notices.Message():
                self._shows(view, notice)
            case notices.Posted(tag=tag, id=post_id, seq=seq):
                self._posted(view, tag, post_id, seq)
            case notices.Private():
                self._private(view, notice)
            case notices.Refusal(tag=tag) if isinstance(tag, str):
                view.unanswered.pop(tag, None)
                view.untold.pop(tag, None)
            case notices.Fault(code=code):
                view.faults.append(code)
            case notices.MembersList(members=members):
                view.members = tuple(line.name for line in members)
                view.silent = [line.name for line in members if line.state == "silent"]
            case notices.MemberChanged():
                self._member_changed(view, notice)
            case notices.Topic(text=text):
                view.topic = text
            case notices.Schedule(epoch=epoch):
                if epoch != view.epoch:
                    raise Broken(f"{node} is told the schedule of epoch {epoch} in epoch {view.epoch}")
                view.scheduled_epoch = epoch
            case _:
                pass

    def _sees_epoch(self, view: View, epoch: int, *, same_is_new: bool) -> None:
        if epoch < view.epoch or (same_is_new and epoch == view.epoch):
            raise Broken(f"{view.node} goes from epoch {view.epoch} to epoch {epoch}")
        view.epoch = epoch

    def _member_changed(self, view: View, changed: notices.MemberChanged) -> None:
        view.changes.append((changed.name, changed.state))
        if changed.state == "silent":
            if changed.name in view.silent:
                raise Broken(f"{view.node} is told twice that {changed.name} is silent")
            view.silent.append(changed.name)
        elif changed.name in view.silent and changed.state in ("joined", "left", "lost", "heard"):
            view.silent.remove(changed.name)

    def _shows(self, view: View, message: notices.Message) -> None:
        term = self._terms.get(message.epoch)
        if term is None:
            raise Broken(f"{view.node} shows seq {message.seq} of epoch {message.epoch}, which nobody was granted")
        log = term.log
        if log != view.log:
            if view.log and "fresh_start" not in view.faults:
                raise Broken(f"{view.node} shows another history and was not told")
            view.log, view.first, view.last = log, message.seq, message.seq - 1
        if message.seq != view.last + 1:
            raise Broken(f"{view.node} shows seq {message.seq} after seq {view.last}")
        view.last = message.seq
        entry = self._entries.get((log, message.seq))
        if entry is None:
            raise Broken(f"{view.node} shows seq {message.seq}, which nobody has committed")
        shown = (message.id, message.text, message.epoch)
        if shown != (_post(entry), entry.text, entry.epoch):
            raise Broken(f"{view.node} shows seq {message.seq} as {shown}; it is {_post(entry)}")
        if (log, message.id) in view.ids:
            raise Broken(f"{view.node} shows {message.id} twice, as {view.ids[log, message.id]} and as {message.seq}")
        view.shown[log, message.seq] = message.id
        view.ids[log, message.id] = message.seq
        author = (log, entry.author, entry.session)
        if view.counters.get(author, entry.counter - 1) != entry.counter - 1:
            raise Broken(f"{view.node} shows post {entry.counter} of {entry.author} after {view.counters[author]}")
        view.counters[author] = entry.counter

    def _posted(self, view: View, tag: object, post_id: str, seq: int) -> None:
        peer, session, number = post_id.rsplit("/", 2)
        counter = int(number)
        in_turn = (session, counter - 1) == view.posted_last
        if not in_turn and (counter != 1 or session == view.posted_last[0]):  # another history, another session
            raise Broken(f"{view.node} is told of post {post_id} after {view.posted_last}")
        view.posted_last = (session, counter)
        if not any(self._acked.get((log, seq)) == (peer, session, counter) for log in self._granted):
            raise Broken(f"{view.node} is told that {post_id} is seq {seq}, which no server has said")
        if tag not in view.unanswered:
            raise Broken(f"{view.node} is told of {tag!r} again, or never said it")
        del view.unanswered[str(tag)]
        view.posted[post_id] = seq

    def _private(self, view: View, private: notices.Private) -> None:
        match private.state:
            case "received":
                if private.id in view.received:
                    raise Broken(f"{view.node} shows the private text {private.id} twice")
                view.received[private.id] = private.text
                self._whispers[private.id] = private.text
            case "delivered" | "failed":
                if private.tag not in view.untold:
                    raise Broken(f"{view.node} is told again that {private.tag!r} is {private.state}")
                del view.untold[str(private.tag)]
                if private.state == "delivered" and self._whispers.get(private.id) != private.text:
                    raise Broken(f"{view.node} is told that {private.id} is delivered; nobody has shown it")
            case _:
                pass

    # --- bounds ---------------------------------------------------------------------------------------------------

    def bounded(self, node: str, links: int, timers: int) -> None:
        """Nothing may pile up in a node."""
        if links > LINKS_MAX:
            raise Broken(f"{node} has {links} links open")
        if timers > TIMERS_MAX:
            raise Broken(f"{node} has {timers} timers running")

    # --- once all is well -------------------------------------------------------------------------------------------

    @property
    def head(self) -> int:
        """The last seq that was published of the present history."""
        log = self.record.log if self.record else ""
        return max((seq for (of, seq) in self._entries if of == log), default=0)

    def unsettled(self) -> list[str]:
        """What is still missing before all can be said to have recovered; nothing: they have."""
        if self.record is None:
            return ["nobody was ever appointed"]
        if self.record.ended:
            return ["the last one has left, and nobody has begun anew"]
        missing = []
        log, head = self.record.log, self.head
        for node, view in self.views.items():
            if not view.ready or view.state != "live":
                missing.append(f"{node} is {view.state if view.ready else 'not in'}")
            elif view.unanswered:
                missing.append(
                    f"{node} has {len(view.unanswered)} posts unanswered, {next(iter(view.unanswered))!r} first"
                )
            elif view.untold:
                missing.append(f"{node} waits for {len(view.untold)} private texts")
            elif self.topic not in (None, view.topic):
                missing.append(f"{node} shows the topic {view.topic!r}, not {self.topic!r}")
            elif view.scheduled_epoch != self.record.epoch:
                missing.append(f"{node} was told when epoch {view.scheduled_epoch} ends, not {self.record.epoch}")
            elif head and (view.log, view.last) != (log, head):
                missing.append(f"{node} shows up to {view.last} of {view.log}; the head is {head} of {log}")
        for (of, seq), post in self._acked.items():
            if of == log and (of, seq) not in self._entries:
                missing.append(f"{post} was acknowledged as seq {seq} and never published")
        return missing

    def check_whole(self) -> None:
        """Every acknowledged post of a history that was not lost is on every screen that reaches so far back."""
        for (log, seq), post in self._acked.items():
            if log in self.lost_logs:
                continue
            for view in self.views.values():
                if view.log == log and view.first <= seq and view.shown.get((log, seq)) != "/".join(map(str, post)):
                    raise Broken(f"{view.node} does not show {post}, acknowledged as seq {seq}")


def _post(entry: Entry) -> str:
    return f"{entry.author}/{entry.session}/{entry.counter}"
