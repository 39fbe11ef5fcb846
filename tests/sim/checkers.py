"""What must hold at every instant of a run, and what must hold again once all faults have ended.

The checkers see what an observer of the network, of the store of zdns and of every screen sees, and nothing of
the inside of a core. Each check names in its message what was broken; a run ends at the first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from broker.digest import Chain
from peer import notices
from wire import codec, limits
from wire.errors import RefusalCode
from wire.messages import (
    Acked,
    Append,
    Entry,
    Fetched,
    Following,
    Have,
    Heartbeat,
    Hello,
    Message,
    Posts,
    Published,
    Record,
    Refused,
    Sealed,
    Welcome,
)

LINKS_MAX = 24  # sockets one node may have open: its own two, zdns, two routes, a handover, a few talks
TIMERS_MAX = 80  # timers one node may have running, those of a full zdns queue included

PostId = tuple[str, str, int]  # author, session, counter


class Broken(AssertionError):
    """A promise was broken. The message says which, and by whom."""


class Forgotten(Exception):
    """zdns has lost its store, and nobody who knew what was in it was there to tell: nothing is promised any more."""


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

    def __init__(
        self,
        *,
        holds: Callable[[str, bool, str, Entry], bool] = lambda *_: True,
        has_copy: Callable[..., bool] = lambda *_, **__: True,
        lacks: Callable[[str, bool, str, Sequence[bytes]], str] = lambda *_: "",
        knows: Callable[[Record], str] = lambda _: "",
        kept: Callable[[str, int], Entry | None] = lambda *_: None,
    ) -> None:
        """All five look into the servers and onto their disks; see `Town`."""
        self._holds, self._has_copy, self._lacks, self._knows, self._kept = holds, has_copy, lacks, knows, kept
        self.record: Record | None = None  # the newest one of zdns', also when zdns itself has lost it
        self.views: dict[str, View] = {}  # the present incarnation of each client half that lives
        self.lost_logs: list[str] = []
        self.topic: str | None = None  # what everybody must see in the end; None: that is not known
        self._past: list[View] = []
        self._records: list[Record] = []  # all of zdns' since its store was lost
        self._told_epoch = 0  # up to which epoch zdns was told what it had lost
        self._undone: dict[tuple[int, int], Record] = {}  # those that nobody was told when the store was lost
        self._delivered: set[tuple[int, int]] = set()  # epoch and version of those that somebody was told
        self.came_too_late: set[str] = set()  # servers that were put on the list after they had given their copy up
        self.store_is_lost = False  # and what was in it has not been told anew
        self._terms: dict[int, _Term] = {}
        self._granted: dict[str, int] = {}  # log -> its highest epoch granted
        self._servers: dict[str, str] = {}  # node -> its server id
        self._homes: dict[str, str] = {}  # server id -> node
        self._serving: dict[int, str] = {}  # epoch -> the node that has served in it
        self._entries: dict[tuple[str, int], Entry] = {}  # published
        self._bytes: dict[str, list[bytes]] = {}  # log -> what was published of it, from the first entry on
        self._seqs: dict[tuple[str, PostId], int] = {}  # log, post -> as which seq it was published
        self._acked: dict[tuple[str, int], PostId] = {}
        self._acked_as: dict[tuple[str, PostId], int] = {}
        self._texts: dict[PostId, str] = {}  # what their authors had typed, of posts that they were told are posted
        self._speakers: dict[str, tuple[str, str]] = {}  # client node -> peer, session
        self._in_flight: dict[str, list[int]] = {}  # client node -> highest counter sent, highest acknowledged
        self._whispers: dict[str, str] = {}  # id -> text of the private texts that were shown to their receivers
        self._blocks: dict[str, list[int]] = {}  # pair -> last seqs of the blocks on their way

    # --- who is there ---------------------------------------------------------------------------------------------

    def server_started(self, node: str, server_id: str) -> None:
        """A server half begins its life."""
        self._servers[node] = server_id
        self._homes[server_id] = node

    def server_ended(self, node: str, _how: str) -> None:
        """A server half is gone for good, and its memory with it."""
        self._servers.pop(node, None)
        self.check_copies()

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
        return self.record is not None and not self.record.ended and not self._holders(self.record, alive=False)

    def is_held(self) -> bool:
        """Whether somebody who runs has what zdns has on record."""
        return self.record is None or self.record.ended or bool(self._holders(self.record, alive=True))

    def _holders(self, record: Record, *, alive: bool) -> list[str]:
        return [
            server.name
            for server in record.in_sync
            if self._has_copy(server.id, record.log, alive=alive or server.id in record.volatile)
        ]

    # --- zdns -----------------------------------------------------------------------------------------------------

    def zdns_started(self, records: dict[str, Record]) -> None:
        """zdns begins with these records. When ours is not among them, its store was lost.

        What it had saved and told nobody is as if it had never been.
        """
        if self.record is None or self.record.service in records:
            return
        self.store_is_lost, self._told_epoch = True, 0
        while self._records and self._key(self._records[-1]) not in self._delivered:
            undone = self._records.pop()
            self._undone[self._key(undone)] = undone
            if not any(record.epoch == undone.epoch for record in self._records):
                self._terms.pop(undone.epoch, None)
        self.record = self._records[-1] if self._records else None
        self._granted.clear()
        for record in self._records:
            self._granted[record.log] = record.epoch
        if self.record is None:
            self.store_is_lost = False

    def _redo(self, undone: Record) -> None:
        """An answer of the zdns that died with its store has come all the same."""
        del self._undone[self._key(undone)]
        term = self._terms.setdefault(undone.epoch, _Term(undone.active.id, undone.log))
        if (term.server, term.log) != (undone.active.id, undone.log):
            raise Forgotten(f"the grant of epoch {undone.epoch} came when it was forgotten and granted anew")
        if self.record is None or self._key(undone) > self._key(self.record):
            self.record, self.store_is_lost = undone, True
            self._records.append(undone)
            self._granted[undone.log] = undone.epoch

    @staticmethod
    def _key(record: Record) -> tuple[int, int]:
        return record.epoch, record.version

    def saved(self, record: Record, told: bool = False) -> None:
        """zdns has a new record on disk; `told`: it was told it by a server, and has granted nothing."""
        was = self.record
        if self.store_is_lost and was is not None:
            if not self._goes_on(was, record, told):
                return
        elif was is not None:
            if told:
                raise Broken(f"zdns takes up epoch {record.epoch} as it is told, and had lost nothing")
            if record.version <= was.version:
                raise Broken(f"version {record.version} follows version {was.version}")
            if record.epoch not in (was.epoch, was.epoch + 1):
                raise Broken(f"epoch {record.epoch} follows epoch {was.epoch}")
        self.record = record
        self._records.append(record)
        self._note_latecomers(was, record)
        if was is not None:
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
        others = [name for name in self._holders(record, alive=False) if name != record.active.name]
        if record.ended and others:
            raise Broken(f"the history of epoch {record.epoch} was ended while {', '.join(others)} holds it")
        self.check_copies()

    def _note_latecomers(self, was: Record | None, record: Record) -> None:
        """Whoever is put on the list after it was asked, and refused, may have no copy any more.

        Nobody counts on it: whoever asked waits for it before anything is committed, and strikes it off again.
        """
        listed = [server.id for server in record.in_sync]
        before = [server.id for server in was.in_sync] if was is not None and was.log == record.log else []
        self.came_too_late.intersection_update(listed)
        for id_ in listed:
            if id_ not in before and id_ != record.active.id and not self._has_copy(id_, record.log, alive=True):
                self.came_too_late.add(id_)

    def _goes_on(self, was: Record, record: Record, told: bool) -> bool:
        """zdns has lost `was`, and has `record` by now: does it go on where it was?

        Raises:
            Broken: it does not, though somebody who knew better was there, or it was told what never was.
            Forgotten: it does not, and there was nobody.
        """
        is_of_one = (record.epoch, record.log, record.active.id) == (was.epoch, was.log, was.active.id)
        if told:
            term = self._terms.get(record.epoch)
            if term is None or (term.server, term.log) != (record.active.id, record.log):
                raise Broken(f"zdns is told of epoch {record.epoch} of {record.active.name}, which it never granted")
            self._told_epoch = record.epoch
            if self._key(record) < self._key(was):
                return False  # whoever knows better may still come
        elif (not is_of_one or self._told_epoch < was.epoch) and not self._follows(was, record):
            if knows := self._knows(was):
                raise Broken(
                    f"zdns has lost its store, and gives {record.active.name} epoch {record.epoch} of {record.log}; "
                    f"{knows} could tell it of epoch {was.epoch} of {was.log}"
                )
            raise Forgotten(f"nobody was there who knows of epoch {was.epoch} version {was.version}")
        elif is_of_one and not self._has_copy(was.active.id, was.log, alive=True):
            # Nobody's change of the list, only a higher version, of a record that is perhaps not the last one.
            if self._knows(was):
                return False
            raise Forgotten(f"nobody was there who knows of epoch {was.epoch} version {was.version}")
        # Of an active server's own changes some may be undone: as it was not told of them, it asks again.
        self.store_is_lost = self._key(record) < self._key(was)
        return True

    def _follows(self, was: Record, record: Record) -> bool:
        """Whether `record` can be granted after `was`: to somebody on its list, or because all of them are gone."""
        if record.epoch != was.epoch + 1:
            return False
        if record.log != was.log:
            return was.ended or not self._holders(was, alive=False)
        return record.active.id in [server.id for server in was.in_sync]

    def _given_up(self, was: Record) -> None:
        holders = self._holders(was, alive=True)
        if holders and not was.ended:
            raise Broken(f"the history of epoch {was.epoch} was given up while {', '.join(holders)} holds it")
        self.lost_logs.append(was.log)
        self.topic = None

    # --- the network ----------------------------------------------------------------------------------------------

    def sent(self, sender: str, receiver: str, message: Message) -> None:
        """A message left its sender's core."""
        match message:
            case Published(epoch=epoch):
                self._serves(sender, epoch)
                self._published(sender, message)
            case Heartbeat(epoch=epoch) | Welcome(epoch=epoch):
                self._serves(sender, epoch)
            case Sealed(head=head, digest=digest):
                self._seals(sender, head, digest)
            case Fetched():
                self._fetched(sender, message)
            case Acked():
                self._acknowledged(sender, receiver, message)
            case Hello(peer=peer, session=session):
                self._speakers[sender] = (peer, session)
            case Posts(first_counter, texts):
                flight = self._in_flight.setdefault(sender, [0, 0])
                flight[0] = max(flight[0], first_counter + len(texts) - 1)
                if flight[0] - flight[1] > limits.POSTS_IN_FLIGHT_MAX:
                    raise Broken(f"{sender} has {flight[0] - flight[1]} posts in flight")
            case Append(pair=pair, first=first, count=count):
                blocks = self._blocks.setdefault(pair, [])
                blocks.append(first + count - 1)
                if len(blocks) > limits.WINDOW_BLOCKS:
                    raise Broken(f"{sender} has {len(blocks)} blocks in flight")
            case Refused(code=RefusalCode.MALFORMED, message=why):
                raise Broken(f"{sender} got something malformed: {why}")
            case _:
                pass

    def arrived(self, _sender: str, receiver: str, message: Message) -> None:
        """A message reached the core of its receiver, or is about to."""
        record = getattr(message, "record", None)
        if isinstance(record, Record) and receiver in self._servers:
            self._delivered.add(self._key(record))
            if self._undone.get(self._key(record)) == record:
                self._redo(record)
        match message:
            case Acked(first_counter, seqs) if receiver in self._in_flight:
                flight = self._in_flight[receiver]
                flight[1] = max(flight[1], first_counter + len(seqs) - 1)
            case Have(pair=pair, have=have):
                self._blocks[pair] = [last for last in self._blocks.get(pair, []) if last > have]
            case Following(pair=pair):
                self._blocks[pair] = []
            case _:
                pass

    def _serves(self, sender: str, epoch: int) -> None:
        term = self._terms.get(epoch)
        if term is None or term.server != self._servers.get(sender):
            raise Broken(f"{sender} serves in epoch {epoch}, which was not granted to it")
        if self._serving.setdefault(epoch, sender) != sender:
            raise Broken(f"{sender} goes on in epoch {epoch}, in which {self._serving[epoch]} has died")

    def _seals(self, sender: str, head: int, digest: bytes) -> None:
        log = self._terms[self._epoch_of(sender)].log
        data = self._bytes.get(log, [])
        if len(data) == head:
            chain = Chain(log)
            chain.add(data)
            if chain.digest() != digest:
                raise Broken(f"{sender} hands over another history than the one it published")

    def _published(self, sender: str, message: Published) -> None:
        term = self._terms.get(message.epoch)
        if term is None or term.server != self._servers.get(sender):
            raise Broken(f"{sender} publishes in epoch {message.epoch}, which was not granted to it")
        for entry in codec.decode_block(message.block, message.first, message.count):
            key = (term.log, entry.seq)
            known = self._entries.setdefault(key, entry)
            if known != entry:
                raise Broken(f"{sender} publishes seq {entry.seq} as {_post(entry)}; it was {_post(known)}")
            if known is entry:
                self._check_text(entry)
                post = (entry.author, entry.session, entry.counter)
                self._check_acked(key, post)
                if self._seqs.setdefault((term.log, post), entry.seq) != entry.seq:
                    raise Broken(f"{sender} publishes {post} as {entry.seq} and as {self._seqs[term.log, post]}")
                data = self._bytes.setdefault(term.log, [])
                if entry.seq == len(data) + 1:
                    data.append(codec.encode_entry(entry))
                self._commits(sender, term.log, message.epoch, key)

    def _fetched(self, sender: str, message: Fetched) -> None:
        """What was kept back by the gate may be fetched before, or instead of, being published."""
        epoch = self._epoch_of(sender)
        log = self._terms[epoch].log if epoch else ""
        for entry in codec.decode_block(message.block, message.first, message.count):
            known = self._entries.setdefault((log, entry.seq), entry)
            if known != entry:
                raise Broken(f"{sender} lets seq {entry.seq} be fetched as {_post(entry)}; it was {_post(known)}")
            self._check_text(entry)
            self._check_acked((log, entry.seq), (entry.author, entry.session, entry.counter))

    def _epoch_of(self, sender: str) -> int:
        return max((e for e, term in self._terms.items() if term.server == self._servers.get(sender)), default=0)

    def _acknowledged(self, sender: str, receiver: str, message: Acked) -> None:
        epoch = self._epoch_of(sender)
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

    def _check_text(self, entry: Entry) -> None:
        text = self._texts.get((entry.author, entry.session, entry.counter), entry.text)
        if text != entry.text:
            raise Broken(f"{_post(entry)} is {entry.text!r}, and its author had typed {text!r}")

    def _check_acked(self, key: tuple[str, int], post: PostId) -> None:
        if self._acked.get(key, post) != post:
            raise Broken(f"seq {key[1]} is {post}, and was acknowledged as {self._acked[key]}")

    def _commits(self, sender: str, log: str, epoch: int, key: tuple[str, int]) -> None:
        """Something is committed for the first time: everybody who is to serve it, or may be, has it.

        An earlier server may only just be about to commit it, when a later one is granted the role that has it, too.
        """
        if key in self._acked and key in self._entries:
            return
        entry, record = self._entries.get(key), self.record
        if entry is None or record is None:
            return
        granted = self._granted.get(log, 0)
        late = f"; epoch {granted} has been granted" if epoch < granted else ""
        if record.log != log:
            raise Broken(f"{sender} commits seq {key[1]} in epoch {epoch}, when {record.log} has the name")
        for server in record.in_sync:
            if not self._holds(server.id, server.id in record.volatile, log, entry):
                raise Broken(f"{sender} commits seq {key[1]} in epoch {epoch}, which {server.name} does not have{late}")

    def check_copies(self) -> None:
        """Whoever is on zdns' list has all that is committed, in memory and on disk, if it has not lost its copy."""
        record = self.record
        if record is None or record.ended or not (data := self._bytes.get(record.log)):
            return
        for server in record.in_sync:
            if server.id in self.came_too_late:
                continue
            if lacks := self._lacks(server.id, server.id in record.volatile, record.log, data):
                raise Broken(f"{server.name} is on the list of epoch {record.epoch} and {lacks}")

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
        logs = [log for log in self._granted if self._acked.get((log, seq)) == (peer, session, counter)]
        if not logs:
            raise Broken(f"{view.node} is told that {post_id} is seq {seq}, which no server has said")
        if tag not in view.unanswered:
            raise Broken(f"{view.node} is told of {tag!r} again, or never said it")
        self._texts[peer, session, counter] = view.unanswered.pop(str(tag))
        for log in logs:
            if (entry := self._entries.get((log, seq))) is not None:
                self._check_text(entry)
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

    def _is_kept(self, log: str, seq: int, post: PostId) -> bool:
        """Whether whoever serves has it. All who are there may have come later, and been shown the newest page only."""
        entry = self._kept(log, seq)
        return entry is not None and (entry.author, entry.session, entry.counter) == post

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
            if of == log and (of, seq) not in self._entries and not self._is_kept(of, seq, post):
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
