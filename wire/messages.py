"""Every message as a frozen struct, one closed union for each direction of each socket; pure.

The tables of docs/protocol.md are the authority; this file and they change in one commit. A message is one
MessagePack array whose first element is its kind (a number that is never reused). Fields are only ever
added at the end, with a default, so that an older program still understands what it knows; anything else
raises `limits.PROTOCOL`. Messages whose class has a `block` field carry it as a frame of its own.
"""

import enum
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from wire import limits
from wire.errors import RefusalCode
from wire.identity import KEY_CHARS, PROOF_BYTES

Id = Annotated[str, Meta(min_length=1, max_length=limits.ID_CHARS_MAX)]
MaybeId = Annotated[str, Meta(max_length=limits.ID_CHARS_MAX)]
NickText = Annotated[str, Meta(max_length=4 * limits.NICK_CHARS_MAX)]  # checked by names.check_nick where it counts
Text = Annotated[str, Meta(max_length=limits.TEXT_BYTES_MAX)]
TopicText = Annotated[str, Meta(max_length=limits.ROOM_TOPIC_CHARS_MAX)]
Sentence = Annotated[str, Meta(max_length=limits.MESSAGE_CHARS_MAX)]
Endpoint = Annotated[str, Meta(min_length=1, max_length=limits.ENDPOINT_CHARS_MAX)]
Endpoints = Annotated[tuple[Endpoint, ...], Meta(max_length=limits.ENDPOINTS_MAX)]
Natural = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Service = Annotated[str, Meta(min_length=1, max_length=limits.SERVICE_CHARS_MAX)]
Key = Annotated[str, Meta(max_length=KEY_CHARS)]  # a public key in Z85; empty on an open network
Proof = Annotated[bytes, Meta(max_length=PROOF_BYTES)]
Ask = Natural  # which request an answer belongs to; chosen by the asker, echoed by the answerer


class _Record(Struct, frozen=True, array_like=True):
    """A value inside messages."""


# --- values ---


class ServerInfo(_Record, frozen=True):
    """Where a server half can be reached. `name` is the nick of its host, `key` its public key (empty: none)."""

    id: Id
    name: NickText
    router: Endpoints
    feed: Endpoints
    key: Key = ""


class Record(_Record, frozen=True):
    """What zdns holds of a service that somebody served at least once.

    `epoch` rises with each change of the active server, `version` with each change at all (the compare of
    compare-and-set). `log` names the history: a fresh start has another one. `in_sync` holds the servers
    that have every acknowledged message, the active one first. `ended`: the last one in the room left for good
    and kept no copy; whoever comes next begins a new history, in a higher epoch. `volatile`: those of the in-sync
    servers whose disk lacks something of what they have in memory: started again from it they are not in sync.
    `seal`: by which a zdns that has lost its store knows a record of its own again, whoever tells it.
    """

    service: Service
    epoch: Natural
    version: Natural
    log: Id
    active: ServerInfo
    in_sync: Annotated[tuple[ServerInfo, ...], Meta(min_length=1, max_length=limits.IN_SYNC_MAX)]
    ended: bool = False
    volatile: Annotated[tuple[Id, ...], Meta(max_length=limits.IN_SYNC_MAX)] = ()
    seal: Proof = b""


class Door(_Record, frozen=True):
    """Who is let in, as zdns tells the servers of a closed network.

    `number`: another one with every change. `permit_key`: with which permits are made; another one after each ban, as
    every server has it. `banned`: fingerprints of keys that are to be turned away whatever they show. `generation`:
    another one when everybody is out who is not let in anew.
    """

    number: Natural
    permit_key: Proof
    banned: Annotated[tuple[Id, ...], Meta(max_length=limits.BANNED_MAX)] = ()
    generation: Natural = 0


class NameState(enum.IntEnum):
    """FREE: nobody ever served it, or its history has ended. SERVED: a holder of its history has a lease.
    ORPHANED: all who hold it are gone."""

    FREE = 0
    SERVED = 1
    ORPHANED = 2


class Entry(_Record, frozen=True):
    """One message of the history, exactly as it is stored, sent and digested.

    `author` is who wrote it, (`author`, `session`, `counter`) its post id, `time_ms` the server's UTC clock
    when it was taken (a label; the order is `seq`).
    """

    seq: Natural
    epoch: Natural
    author: Id
    session: Id
    counter: Natural
    time_ms: Natural
    nick: NickText
    text: Text


class Member(_Record, frozen=True):
    """Somebody the room knows. A guest posts or reads but takes no part: it is neither listed nor counted.

    `silent`: it has not been heard for limits.SILENT_MS; never said of a guest. `key`: its public key, whose
    fingerprint `peer` begins with.
    """

    peer: Id
    nick: NickText
    guest: bool
    server: MaybeId  # the server half on the same machine; empty: none
    since_ms: Natural  # UTC
    away: Annotated[str, Meta(max_length=limits.AWAY_CHARS_MAX)] | None = None
    silent: bool = False
    key: Key = ""


class ChangeKind(enum.IntEnum):
    """What happened to a member, or what a member did to the room."""

    JOINED = 1
    LEFT = 2
    LOST = 3
    AWAY = 4
    BACK = 5
    RENAMED = 6
    MOVED_HOUSE = 7  # has another server half now
    SILENT = 8  # not heard for limits.SILENT_MS
    HEARD = 9  # is silent no more
    TOPIC = 10  # has said what the room is about


class Change(_Record, frozen=True):
    """One change of presence, or of the topic; `was` is the old nick when renamed, `text` the new topic."""

    kind: ChangeKind
    member: Member
    was: NickText = ""
    text: TopicText = ""


class Move(_Record, frozen=True):
    """One change of the active server, as `status` tells it. Times in ms; `started_ms` is UTC."""

    epoch: Natural
    source: NickText
    target: NickText
    reason: Sentence
    started_ms: Natural
    entries: Natural
    bytes: Natural
    copy_ms: Natural
    pause_ms: Natural


class RoomState(_Record, frozen=True):
    """Everything clients would miss after a handover that is not in the history itself.

    `silent_ms`: for how long each member has not been heard, in their order; a change of server forgives nobody.
    `owners`: nicks, as they are compared, and the fingerprints of the keys they belong to, the oldest first.
    """

    members: Annotated[tuple[Member, ...], Meta(max_length=limits.MEMBERS_MAX)]
    members_rev: Natural
    min_n: Natural
    open: bool
    term_ms: Natural
    moves: Annotated[tuple[Move, ...], Meta(max_length=limits.MOVES_KEPT)]
    silent_ms: Annotated[tuple[Natural, ...], Meta(max_length=limits.MEMBERS_MAX)] = ()
    topic: TopicText = ""
    topic_by: NickText = ""
    owners: Annotated[tuple[tuple[NickText, Id], ...], Meta(max_length=limits.NICKS_OWNED_MAX)] = ()


class CallUpKind(enum.IntEnum):
    """RING: "I want to talk, you bind." OFFER: "I have bound, connect here." """

    RING = 1
    OFFER = 2


class CallUp(_Record, frozen=True):
    """How two members agree on the endpoint of a private talk; relayed by the active server unread.

    `generation` rises with each redial between the two; only the highest counts.
    """

    kind: CallUpKind
    generation: Natural
    endpoints: Endpoints = ()
    token: MaybeId = ""


class FollowerState(_Record, frozen=True):
    """One follower, as `status` tells it: in sync or catching up, and how many entries it lacks."""

    name: NickText
    phase: Sentence
    lag: Natural


class StatusReport(_Record, frozen=True):
    """What `relevo status` shows. Times in ms; `next_handover_ms`: until the next planned handover, -1: never."""

    service: Service
    epoch: Natural
    active: ServerInfo
    in_sync: tuple[ServerInfo, ...]
    standbys: tuple[NickText, ...]
    members: tuple[NickText, ...]
    min_n: Natural
    open: bool
    head: Natural
    committed: Natural
    term_ms: Natural
    next_handover_ms: Annotated[int, Meta(ge=-1, le=2**63 - 1)]
    moves: tuple[Move, ...]
    remark: Sentence = ""  # why no handover happens, when none can
    replicas: Natural = 0  # followers that are wanted
    followers: tuple[FollowerState, ...] = ()
    disk: Sentence = ""  # what is wrong with the active server's disk; empty: nothing


class Message(Struct, frozen=True, array_like=True):
    """Base of everything that travels by itself."""

    has_block: ClassVar[bool] = False


class Refused(Message, frozen=True, tag=1):
    """Any answerer to any asker: an expected no. `ask` is 0 when the request has no number, or could not be read."""

    ask: Ask
    code: RefusalCode
    message: Sentence
    record: Record | None = None


class Done(Message, frozen=True, tag=2):
    """Any answerer to any asker: it is done, and there is nothing more to say."""

    ask: Ask


# --- zdns: requests ---


class Resolve(Message, frozen=True, tag=10):
    """Anyone to zdns: who serves this name? Answer: `Resolved`."""

    ask: Ask
    protocol: Natural
    service: Service


class Register(Message, frozen=True, tag=11):
    """A server half to zdns: I stand by (again). Idempotent. Answer: `Registered`.

    `record`: the newest one it knows, told by a server that holds a copy under it: a zdns that has lost its own
    takes up the newest it is told. `door`: the number of the newest it knows. `behind`: it was started again, and its
    disk lacks something of what zdns thinks it has.
    """

    ask: Ask
    protocol: Natural
    service: Service
    server: ServerInfo
    record: Record | None = None
    door: Natural = 0
    behind: bool = False


class Renew(Message, frozen=True, tag=12):
    """A registered server half to zdns, every third of the lease. Answer: `Registered`, or NOT_REGISTERED.

    `holds`: the log of which it has everything acknowledged (empty: none). An in-sync server counts for a name
    only while it says so: one that has let go of its copy, or lost it, keeps no name alive. `door` and `behind` as in
    `Register`.
    """

    ask: Ask
    service: Service
    server: Id
    holds: MaybeId = ""
    door: Natural = 0
    behind: bool = False


class Pick(Message, frozen=True, tag=13):
    """The active server to zdns: name a live standby, at random; never `server` itself nor one of `exclude`.

    With `name`, only the standby of that host name will do. Answer: `Picked`.
    """

    ask: Ask
    service: Service
    server: Id
    exclude: Annotated[tuple[Id, ...], Meta(max_length=limits.EXCLUDED_MAX)] = ()
    name: NickText = ""


class ClaimKind(enum.IntEnum):
    """FIRST: nobody ever served, or the history has ended. FAILOVER: I am in sync and the active one is gone.
    FRESH: give the history up."""

    FIRST = 1
    FAILOVER = 2
    FRESH = 3


class Claim(Message, frozen=True, tag=14):
    """A server half to zdns: make me active. `epoch` is the one the claimer saw (0: none). Answer: `Granted`.

    Asked again by the same server with the same `epoch` it gives the same answer. With FAILOVER, `unreachable` says
    that the active server's process is gone, as its port refuses connections: its lease need not be waited for.
    `from_disk`: the claimer's copy is what an earlier run of it left on disk.
    """

    ask: Ask
    service: Service
    server: ServerInfo
    kind: ClaimKind
    epoch: Natural
    log: MaybeId = ""  # FIRST and FRESH: the name of the new history
    unreachable: bool = False
    from_disk: bool = False


class Transfer(Message, frozen=True, tag=15):
    """The active server to zdns: `to` takes over. The one commit point of a handover. Answer: `Granted`.

    `to` must be in sync. The new record has epoch + 1 and the same in-sync servers, `to` first and the old active
    one second. Asked again after it was granted it gives the same answer. A refusal with the right epoch and
    version (`to` has no lease, or is not in sync) raises the version, so that no late repeat of the same request
    can ever be granted afterwards.
    """

    ask: Ask
    service: Service
    server: Id
    epoch: Natural
    version: Natural
    to: Id


class SetInSync(Message, frozen=True, tag=16):
    """The active server to zdns: these, me included, hold everything, those of `volatile` in memory only.

    Answer: `Granted`.
    """

    ask: Ask
    service: Service
    server: Id
    epoch: Natural
    version: Natural
    in_sync: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=limits.IN_SYNC_MAX)]
    volatile: Annotated[tuple[Id, ...], Meta(max_length=limits.IN_SYNC_MAX)] = ()


class Leave(Message, frozen=True, tag=17):
    """A server half to zdns: I am going. Answer: `Done`.

    `ends`: I am the active server, nobody else is in the room, and its history goes with me.
    """

    ask: Ask
    service: Service
    server: Id
    ends: bool = False


class Admit(Message, frozen=True, tag=18):
    """Anyone to a closed zdns, before anything else: let me in. Answer: `Admitted`, or BAD_TICKET, BANNED.

    `proof`: that I know the room's secret. `token`: what I was given when I was let in before; either will do.
    """

    ask: Ask
    protocol: Natural
    service: Service
    proof: Proof = b""
    token: Proof = b""


# --- zdns: answers ---


class Resolved(Message, frozen=True, tag=20):
    """zdns to an asker. `record` is None only in state FREE; `standbys`: the names of the live ones."""

    ask: Ask
    state: NameState
    record: Record | None
    standbys: tuple[NickText, ...]


class Registered(Message, frozen=True, tag=21):
    """zdns to a server half: you stand by for so long; and how things are, so that a deposed server learns it.

    `wait_ms`: for so long the name is given to nobody, as this zdns has only just started and may have forgotten it.
    `door`: None when the asker's is current, and on an open network.
    """

    ask: Ask
    lease_ms: Natural
    state: NameState
    record: Record | None
    standbys: tuple[NickText, ...] = ()
    wait_ms: Natural = 0
    door: Door | None = None


class Picked(Message, frozen=True, tag=22):
    """zdns to the active server; None: no standby that will do."""

    ask: Ask
    server: ServerInfo | None


class Granted(Message, frozen=True, tag=23):
    """zdns to a server half: the record as it is now, with what was asked for done."""

    ask: Ask
    record: Record


class Admitted(Message, frozen=True, tag=24):
    """zdns to whoever has shown that it may be here: `permit` shows the same to servers, `token` to zdns next time."""

    ask: Ask
    permit: Proof
    token: Proof


NameRequest = Resolve | Register | Renew | Pick | Claim | Transfer | SetInSync | Leave
DnsRequest = NameRequest | Admit
DnsReply = Resolved | Registered | Picked | Granted | Admitted | Done | Refused

# --- the room: a client half, or another server half, to a ROUTER ----------------------------------------------------


class Hello(Message, frozen=True, tag=30):
    """A client half to a server half: I take part.

    Repeated until answered by `Welcome`, `Refused`, `Moved` or `NotServing`.

    `nick_fixed`: refuse me when the nick is taken; otherwise give me a suffix. `rev`: the members list I have
    (0: none), not sent again when it is current. Sent again after a reconnection; `session` tells my posts apart
    from those of an earlier run. `permit`: zdns has admitted the key of this connection. `keeps_key`: I shall have
    the same one next time, so that the nick can be kept for it.
    """

    protocol: Natural
    service: Service
    peer: Id
    session: Id
    nick: NickText
    nick_fixed: bool
    guest: bool
    server: MaybeId
    min_n: Natural
    rev: Natural = 0
    away: Annotated[str, Meta(max_length=limits.AWAY_CHARS_MAX)] | None = None
    permit: Proof = b""
    keeps_key: bool = True


class Posts(Message, frozen=True, tag=31):
    """A client half to the active server: `texts[i]` is my post number `first_counter + i` of my session (from 1)."""

    first_counter: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    texts: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=limits.POSTS_PER_MESSAGE_MAX)]


class Fetch(Message, frozen=True, tag=32):
    """A client half to the active server: `count` entries from `first` on. Answer: `Fetched`, perhaps with fewer."""

    ask: Ask
    first: Natural
    count: Annotated[int, Meta(ge=1, le=limits.FETCH_ENTRIES_MAX)]


class Search(Message, frozen=True, tag=33):
    """A client half to the active server: the last entries with `query` in them before seq `before` (0: the end).

    Answer: `Found`.
    """

    ask: Ask
    query: Annotated[str, Meta(min_length=1, max_length=limits.QUERY_CHARS_MAX)]
    before: Natural
    count: Annotated[int, Meta(ge=1, le=limits.FETCH_ENTRIES_MAX)]


class AskMembers(Message, frozen=True, tag=34):
    """A client half to the active server: who is here? Answer: `MembersAre`."""

    ask: Ask


class Rename(Message, frozen=True, tag=35):
    """A member to the active server: call me so. Answer: `Done`, or NAME_TAKEN, BAD_NAME."""

    ask: Ask
    nick: NickText


class SetAway(Message, frozen=True, tag=36):
    """A member to the active server: I am away (with a reason, perhaps empty), or back (None). Answer: `Done`."""

    ask: Ask
    away: Annotated[str, Meta(max_length=limits.AWAY_CHARS_MAX)] | None


class SetServer(Message, frozen=True, tag=37):
    """A member to the active server: this is my server half now. Answer: `Done`."""

    ask: Ask
    server: MaybeId


class Find(Message, frozen=True, tag=38):
    """A member to the active server: who has this nick? Answer: `Located`, or NOT_HERE."""

    ask: Ask
    nick: NickText


class Relay(Message, frozen=True, tag=39):
    """A member to the active server: hand this call-up to `to`. No answer, or NOT_HERE."""

    ask: Ask
    to: Id
    call_up: CallUp


class HandOver(Message, frozen=True, tag=40):
    """A client half to the active server: hand over now, to the server of host `to` (empty: to anyone).

    Answer: `Done` when it is decided (the transfer is granted), or NO_STANDBY, NOT_STANDBY (it serves
    already), BUSY, HANDOVER_FAILED, or the code with which the target refused.
    """

    ask: Ask
    to: NickText


class AskStatus(Message, frozen=True, tag=41):
    """A client half to the active server. Answer: `StatusIs`."""

    ask: Ask


class Ping(Message, frozen=True, tag=42):
    """A client half to the active server, every limits.PING_MS. Answer: `Pong`."""

    ask: Ask


class Bye(Message, frozen=True, tag=43):
    """A member to the active server: I leave. No answer."""


class LinkAsk(Message, frozen=True, tag=44):
    """The active server to another one's ROUTER: bind a DEALER for the two of us. Answer: `LinkAt` or `Refused`.

    `pair` names the link, and stands in every message on it. `permit` as in `Hello`.
    """

    protocol: Natural
    service: Service
    pair: Id
    source: ServerInfo
    permit: Proof = b""


class SetTopic(Message, frozen=True, tag=45):
    """A member to the active server: the room is about `topic` (empty: nothing). Answer: `Done`, or NOT_MEMBER.

    It is told as a change of presence, so that a lost word of it is noticed as one of those is.
    """

    ask: Ask
    topic: TopicText


class LinkAt(Message, frozen=True, tag=54):
    """A standby to the active server: connect here for `pair`."""

    pair: Id
    endpoints: Endpoints


# --- the room: a server half to a client half ---


class Welcome(Message, frozen=True, tag=50):
    """The active server to a client half: you are in, as `nick`. `head` is the last seq there is to see.

    `members` is None when the list the client already has (`Hello.rev`) is current. `topic_by`: who said so.
    """

    protocol: Natural
    epoch: Natural
    log: Id
    server: ServerInfo
    nick: NickText
    head: Natural
    min_n: Natural
    open: bool
    rev: Natural
    members: tuple[Member, ...] | None
    topic: TopicText = ""
    topic_by: NickText = ""


class Moved(Message, frozen=True, tag=51):
    """A server that handed over, to a client half: `server` serves in `epoch`; follow only a higher one than yours."""

    epoch: Natural
    server: ServerInfo


class NotServing(Message, frozen=True, tag=52):
    """A server half to a client half: not me, and I do not know who; ask zdns."""

    epoch: Natural


class WhoAreYou(Message, frozen=True, tag=53):
    """The active server to a client half whose hello it has not: say hello (again)."""


class Acked(Message, frozen=True, tag=55):
    """The active server to an author: your posts `first_counter + i` are committed as `seqs[i]`."""

    first_counter: Natural
    seqs: tuple[Natural, ...]


class Resend(Message, frozen=True, tag=56):
    """The active server to an author: a post is missing; go on from number `counter`."""

    counter: Natural


class Fetched(Message, frozen=True, tag=57):
    """Answer to `Fetch`: `count` entries (0: none is there) from `first` on; `head`: the last seq there is to see."""

    has_block: ClassVar[bool] = True
    ask: Ask
    first: Natural
    count: Natural
    head: Natural
    block: bytes = b""


class Found(Message, frozen=True, tag=58):
    """Answer to `Search`: entries in seq order; go on before `before` for more (0: that was all)."""

    has_block: ClassVar[bool] = True
    ask: Ask
    before: Natural
    block: bytes = b""


class MembersAre(Message, frozen=True, tag=59):
    """Answer to `AskMembers`; `topic` and who said so are part of what `rev` counts."""

    ask: Ask
    rev: Natural
    members: tuple[Member, ...]
    topic: TopicText = ""
    topic_by: NickText = ""


class Located(Message, frozen=True, tag=60):
    """Answer to `Find`."""

    ask: Ask
    member: Member


class Relayed(Message, frozen=True, tag=61):
    """The active server to a member: `sender` calls you up."""

    sender: Member
    call_up: CallUp


class StatusIs(Message, frozen=True, tag=62):
    """Answer to `AskStatus`."""

    ask: Ask
    report: StatusReport


class Pong(Message, frozen=True, tag=63):
    """Answer to `Ping`."""

    ask: Ask
    epoch: Natural


ToServer = (
    Hello
    | Posts
    | Fetch
    | Search
    | AskMembers
    | Rename
    | SetAway
    | SetServer
    | Find
    | Relay
    | HandOver
    | AskStatus
    | Ping
    | Bye
    | LinkAsk
    | SetTopic
)
ToClient = (
    Welcome
    | Refused
    | Done
    | Moved
    | NotServing
    | WhoAreYou
    | Acked
    | Resend
    | Fetched
    | Found
    | MembersAre
    | Located
    | Relayed
    | StatusIs
    | Pong
    | LinkAt
)

# --- the feed: the active server to every client half, by PUB/SUB ---


class Published(Message, frozen=True, tag=70):
    """Committed entries from `first` on, `count` of them."""

    has_block: ClassVar[bool] = True
    epoch: Natural
    first: Natural
    count: Natural
    block: bytes = b""


class Heartbeat(Message, frozen=True, tag=71):
    """Every limits.HEARTBEAT_MS, and to whoever subscribes: reveals a lost last message or presence change.

    `next_handover_ms`: until the next planned handover; -1: never.
    """

    epoch: Natural
    head: Natural
    rev: Natural
    open: bool
    next_handover_ms: Annotated[int, Meta(ge=-1, le=2**63 - 1)]


class Presence(Message, frozen=True, tag=72):
    """Changes of presence and topic; they lead from members list `rev - len(changes)` to members list `rev`."""

    epoch: Natural
    rev: Natural
    changes: tuple[Change, ...]


class Opened(Message, frozen=True, tag=73):
    """min_n was reached: what was kept back follows as `Published`."""

    epoch: Natural


class Prepare(Message, frozen=True, tag=74):
    """A handover is near: connect to `server` ahead and say hello. It does not serve yet, and perhaps never will."""

    epoch: Natural  # the one the server would have
    server: ServerInfo


class Relocate(Message, frozen=True, tag=75):
    """`server` serves in `epoch` now; follow when that is higher than what you know. Repeated."""

    epoch: Natural
    server: ServerInfo
    reason: Sentence


Feed = Published | Heartbeat | Presence | Opened | Prepare | Relocate

# --- server to server, over a DEALER pair made for one leader and one follower; after a handover they change parts ---


class Follow(Message, frozen=True, tag=98):
    """The active server (the leader) to a follower, first: keep a copy of my history. Answer: `Following` or `Decline`.

    `record` is zdns', in whose epoch I lead; `number` counts my links of this epoch: of two the higher one is meant.
    `state` is that of the room: whoever may take over has it from the beginning.
    """

    pair: Id
    service: Service
    leader: ServerInfo
    record: Record
    number: Natural
    head: Natural
    bytes: Natural
    state: RoomState


class Following(Message, frozen=True, tag=99):
    """Follower to leader: I have a copy up to `have`, of which I know `committed` to be so. Answer: `Align`.

    `safe`: as in `Have`.
    `runs`: which epochs the last part of it is of, as (epoch, first seq), in order; what is above `committed` is
    covered (unless there are more than limits.RUNS_MAX). `volatile`: what I have is in memory only.
    """

    pair: Id
    have: Natural
    committed: Natural
    runs: Annotated[tuple[tuple[Natural, Natural], ...], Meta(max_length=limits.RUNS_MAX)]
    safe: Natural
    volatile: bool = False


class Align(Message, frozen=True, tag=100):
    """Leader to follower: our histories are the same up to `at`; cut off what you have above. The rest follows.

    `committed`: up to where all is so.
    """

    pair: Id
    at: Natural
    committed: Natural


class Append(Message, frozen=True, tag=101):
    """Leader to follower: `count` entries from `first` on, after one of `prev_epoch`; all up to `committed` is so.

    Multipart: the entries are a frame of their own.
    """

    has_block: ClassVar[bool] = True
    pair: Id
    epoch: Natural
    committed: Natural
    first: Natural
    prev_epoch: Natural
    count: Natural
    block: bytes = b""


class Keep(Message, frozen=True, tag=102):
    """Leader to follower, every limits.KEEP_MS: I am there, and all up to `committed` is so. Answer: `Have`.

    `record` is the newest of zdns' I know; `state` is that of the room, None when it is as it was.
    """

    pair: Id
    epoch: Natural
    committed: Natural
    record: Record
    state: RoomState | None = None


class Have(Message, frozen=True, tag=103):
    """Follower to leader: everything up to `have` would survive my process (or is in memory, without a disk)."""

    pair: Id
    epoch: Natural
    have: Natural


class Decline(Message, frozen=True, tag=82):
    """Follower to leader: I shall not follow you, or no longer. What I have I keep until zdns has me off its list."""

    pair: Id
    reason: Sentence


class Outdated(Message, frozen=True, tag=104):
    """A server to one that would lead it in an older epoch: zdns has granted `record`; see for yourself."""

    pair: Id
    record: Record


class Expect(Message, frozen=True, tag=106):
    """Leader to follower: I am about to hand over to you, and clients come to you ahead. Keep what they say."""

    pair: Id


class Sealed(Message, frozen=True, tag=85):
    """Leader to the follower it hands over to: nothing comes after `head`; `digest` is of the whole history.

    `version`: the record's, for which the transfer will be asked.
    """

    pair: Id
    head: Natural
    digest: bytes
    state: RoomState
    copy_ms: Natural
    bytes: Natural
    version: Natural


class Ready(Message, frozen=True, tag=86):
    """Follower to leader: my copy is whole (`digest` is mine).

    A promise: I keep it until I know what became of the transfer.
    """

    pair: Id
    digest: bytes


class TakeOver(Message, frozen=True, tag=87):
    """Leader to the follower that was `Ready`: zdns has granted `record`: you lead."""

    pair: Id
    record: Record


class Withdraw(Message, frozen=True, tag=89):
    """Leader to the follower that was sent `Expect` or `Sealed`: no transfer, after all. Follow on."""

    pair: Id
    reason: Sentence


class Dismiss(Message, frozen=True, tag=105):
    """Leader to follower: you are off the in-sync list (`record` says so), or never were on it. Erase your copy."""

    pair: Id
    record: Record
    reason: Sentence


# Both ends read all of it: a handover makes a leader of a follower, on the same link.
Pair = (
    Follow
    | Following
    | Align
    | Append
    | Keep
    | Have
    | Decline
    | Outdated
    | Expect
    | Sealed
    | Ready
    | TakeOver
    | Withdraw
    | Dismiss
)

# --- client half to client half, over a PAIR made for one talk ---


class TalkHello(Message, frozen=True, tag=90):
    """Both ways, first: the token of the call-up proves that this is the talk it was about.

    `session`: my texts are numbered within it.
    """

    token: Id
    peer: Id
    nick: NickText
    generation: Natural
    session: Id


class TalkText(Message, frozen=True, tag=91):
    """One text of mine; `counter` rises within (me, `session`), over all my talks and across redials.

    `after` is the text to the same receiver before this one that is not yet answered (0: none): whoever has not
    got that one has lost something, and takes this one only from a redialled link.
    """

    session: Id
    counter: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    text: Text
    after: Natural = 0


class TalkGot(Message, frozen=True, tag=92):
    """I have your texts of `session` up to `counter`, and have shown them."""

    session: Id
    counter: Natural


class TalkPing(Message, frozen=True, tag=93):
    """Are you there? Answer: `TalkPong`."""

    ask: Ask


class TalkPong(Message, frozen=True, tag=94):
    """Answer to `TalkPing`."""

    ask: Ask


class TalkBye(Message, frozen=True, tag=95):
    """I close this talk; it can be dialled again."""


Talk = TalkHello | TalkText | TalkGot | TalkPing | TalkPong | TalkBye
