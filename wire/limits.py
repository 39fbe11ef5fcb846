"""Every bound and interval, with its unit and its reason; relations are checked on import; pure."""

# The protocol's own version. It goes into every hello; two sides that differ refuse each other by name.
PROTOCOL = 4

KIB = 1024
MIB = 1024 * KIB

# --- names ---
SERVICE_CHARS_MAX = 64  # chosen: long enough for a host name people type, short enough for a topic
NICK_CHARS_MAX = 32  # chosen: what fits a members list
ID_CHARS_MAX = 80  # our ids are 32 hex digits and a short suffix
ENDPOINT_CHARS_MAX = 256
ENDPOINTS_MAX = 8  # addresses one server may publish
TICKET_CHARS_MAX = 1_000  # eight addresses, a key and a secret fit

# --- texts and frames ---
TEXT_BYTES_MAX = 8 * KIB  # one post, in UTF-8: a pasted stack trace fits
AWAY_CHARS_MAX = 100
ROOM_TOPIC_CHARS_MAX = 200  # chosen: what the room is about, on one line of a wide terminal
MEMBER_BYTES_MAX = 1 * KIB  # one member in a list: two ids in ASCII, a nick and a reason in up to 4 bytes a character
QUERY_CHARS_MAX = 200
MESSAGE_CHARS_MAX = 500  # a refusal's sentence
FRAME_BYTES_MAX = 1 * MIB  # ZMQ_MAXMSGSIZE, and again in the codec; the largest honest frame is a dump chunk
FRAMES_MAX = 4  # parts one message may have; ZeroMQ itself sets no bound
TOPIC_BYTES_MAX = 512  # of PUB/SUB: what an XPUB takes from a subscriber

# --- posts ---
OUTBOX_POSTS_MAX = 10_000  # posts one author may have waiting; the next is refused, not dropped
OUTBOX_FILES_MAX = 1_000  # outboxes on disk that one start looks at, of all who took part in a room from this account
POSTS_PER_MESSAGE_MAX = 64  # texts in one Posts message
POSTS_BYTES_MAX = 128 * KIB  # and their bytes together
POSTS_IN_FLIGHT_MAX = 512  # sent and not yet acknowledged
SEQS_REMEMBERED = 1_024  # per session, to acknowledge a repeated post with its seq; at least what may be in flight
FLOOD_POSTS_PER_S = 30
FLOOD_BURST_POSTS = 100
FLOOD_TOLD_MS = 1_000  # whoever posts too fast is told so no oftener
# What one member makes everybody hear of: its coming, another nick, an absence, a topic. Nobody does so by hand.
FLOOD_CHANGES_PER_S = 2
FLOOD_BURST_CHANGES = 50
FLOOD_CALLS_PER_S = 64  # call-ups to private talks; each talk that is being set up repeats its own every second
FLOOD_BURST_CALLS = 256
PACES_MAX = 2_000  # participants whose pace a room remembers; that of who was heard longest ago is forgotten first
POST_RESEND_MS = 2_000  # an acknowledgement this late is asked for again

# --- history ---
HISTORY_BYTES_MAX = 1024 * MIB  # encoded entries one room may hold in memory; then posts wait
BLOCK_BYTES_MAX = 256 * KIB  # entries published, fetched or dumped together
BLOCK_ENTRIES_MAX = 2_000
PAGE_ENTRIES = 200  # the newest page a late joiner gets at once
FETCH_ENTRIES_MAX = 500  # entries one fetch may ask for
SEARCH_ENTRIES_MAX = 2_000  # entries one search request may look through before it answers
AHEAD_BLOCKS_MAX = 1_000  # blocks a reader holds while an earlier one is missing
AHEAD_BYTES_MAX = 32 * MIB  # and their bytes together; what is not held is fetched
HISTORY_ENTRIES_MAX = 2_000  # messages one answer to `history` or `search` may hold
GAP_WAIT_MS = 30  # a late frame may still come before a missing range is fetched
FETCH_RETRY_MS = 1_000

# --- the room ---
MEMBERS_MAX = 1_000
REQUESTS_MAX = 64  # requests one participant may have waiting for an answer
PARKED_BYTES_MAX = 32 * MIB  # what waits at a server that is sealed or not yet serving
CHANGES_PER_MESSAGE_MAX = 400  # changes of presence told together: each has a member, an old nick and a topic
REV_GAP = 1_000_000  # more changes of presence than a server that fails at once can tell of
HEARTBEAT_MS = 500
DOUBT_MS = 1_100  # without a heartbeat, two are missing: zdns is asked whether somebody else serves by now, and again …
DOUBT_AGAIN_MS = 200  # … after so long, while the old server is still believed in
SILENCE_MS = 2_500  # without heartbeat or answer: the server is looked up anew. Five heartbeats
PING_MS = 1_000
SILENT_MS = 2_500  # without a ping: the member is told as silent. Two pings, and half of one for a busy machine
MEMBER_DEADLINE_MS = 6_000  # without a ping: the member is lost. Six pings
HELLO_RETRY_MS = 500
AHEAD_MS = 15_000  # links to an announced server that are not used for so long are closed
SEARCH_AGAIN_MS = 200  # between two looks at zdns while nobody serves; doubles up to the next
SEARCH_AGAIN_MAX_MS = 2_000
MOVES_KEPT = 10  # handovers `status` tells of

# --- zdns ---
DNS_PORT = 8_000  # below the range from which systems take ephemeral ports, so that no client can hold it by accident
LEASE_MS = 3_000
DNS_ATTEMPT_MS = 700  # one request's wait before the socket is thrown away and the next address tried
DNS_BACKOFF_MS = 100  # doubles with each attempt up to the next
DNS_BACKOFF_MAX_MS = 500
RENEW_MS_MAX = 1_000  # between two renewals, whatever the lease
# A zdns that knows nothing of a name gives it to nobody for so long after its start: its store may be new, or lost.
# Long enough for whoever knows a record to be back: one more attempt that fails, the rest after it, and a question.
GRACE_MS = 1_400
DNS_DEADLINE_MS = 5_000  # then the asker is told that zdns is silent
DNS_PENDING_MAX = 64  # requests one asker may have waiting
SERVICES_MAX = 10_000
STANDBYS_MAX = 1_000  # per service
EXCLUDED_MAX = 100  # servers a pick may leave out
ADMITTED_MAX = 10_000  # keys one zdns remembers as admitted; whoever is forgotten shows its token again
BANNED_MAX = 1_000  # keys that are not to come back
# Nicks a room remembers the keys of; of those nobody bears at the moment the one taken first is forgotten first.
NICKS_OWNED_MAX = 1_000
NICKS_PER_KEY_MAX = 16  # of them, the last ones of one key: chosen so that nobody pushes others out by renaming itself
ETCD_PORT = 2_379  # as etcd has it
ETCD_CALL_MS = 1_000  # for etcd to take a request, and again to answer it; then its next member is asked
ETCD_WAIT_MS = 3_000  # for all of a service's requests that are worked on together; an asker has long asked elsewhere
ETCD_TRIES = 8  # of one change that other zdns were faster with; each time one of them has succeeded
ETCD_WORKERS = 8  # services that wait for etcd at the same time
ETCD_KEYS_MAX = 100_000  # of all services: each has its record, and one key for everybody who is there
ETCD_VALUE_BYTES_MAX = 512 * KIB  # a record of 17 servers with the longest names and addresses; an honest one has 1 KiB
# A free name is left this long to somebody who wants to serve first and is started in the same moment: six participants
# started at once on two cores registered within 300 ms of each other.
CLAIM_WAIT_MS = 400

# --- replication ---
REPLICAS = 1  # followers that are kept unless somebody asks for another number
IN_SYNC_MAX = 16  # the active server and its followers
REPLICAS_MAX = IN_SYNC_MAX - 1
KEEP_MS = 100  # between two signs of life of a leader; each is answered
FOLLOWER_SILENT_MS = 300  # an unanswered sign of life, or entry: the follower is given up
FOLLOWER_STALL_MS = 2_000  # it answers, but its disk gets nowhere: it is given up as well
LEADER_SILENT_MS = 500  # without a sign of life: the leader is looked for, and its role claimed
PROBE_MS = 300  # for a leader's port to refuse a connection, or to answer; then only its lease tells
CLAIM_AGAIN_MS = 100  # a claim is repeated as long as the leader's lease lasts
WINDOW_BYTES = 1 * MIB  # sent to a follower and not yet answered: four blocks
WINDOW_BLOCKS = 64
LINK_STEP_MS = 3_000  # without progress: a standby that was asked to follow is left out for a while
RECRUIT_MS = 500  # between two questions for a standby that could follow; whoever failed is left out so long
COPY_UNREAD_MAX = 512  # messages of one copy link: it is not full when the other end goes while we are busy
CANDIDATES_MAX = 8  # links to a standby that were asked for and not yet spoken over, one for each who asks
RUNS_MAX = 64  # epochs a follower tells of; what is uncommitted is of very few
TAIL_BYTES_MAX = 16 * MIB  # of a history on disk: what stays in memory, for followers and newcomers
TAIL_ENTRIES_MIN = 4_096  # stays in memory whatever its size: what may be cut off is always among them

# --- handover ---
TERM_MS = 30_000
HANDOVER_STEP_MS = 3_000  # without progress: the source gives up and serves on (before the transfer is asked for)
SEAL_WITHIN_ENTRIES = 500  # the source seals when so little is left to send
PREPARE_MS = 60  # between prepare and seal: time for clients to connect ahead
TAKE_OVER_POLL_MS = 150  # a target that is ready and hears nothing asks zdns this often
TRANSFER_RETRY_MS = 100
RELOCATE_REPEAT_MS = 250
RELOCATE_REPEATS = 8
LEFT_OUT_MS = 10_000  # a target that failed is not picked for so long
# How long a leaving active server tries to find a successor, and again after each part of the history that one takes.
# Chosen: two targets may fail, whoever died has been missed by then (so the last one alone frees the name), and whoever
# closed the window does not yet wonder what still runs.
QUIT_HANDOVER_MS = 8_000
PART_MS = 500  # a leaving follower waits so long to be let go

# --- private talks ---
TALKS_MAX = 64
TALK_QUEUE_MAX = 200  # texts one talk may have waiting
TALK_STEP_MS = 1_000  # a call-up unanswered so long is repeated
TALK_DEADLINE_MS = 12_000  # a text undelivered so long has failed
TALK_PING_MS = 1_000
TALK_SILENCE_MS = 4_000
TALK_IDLE_MS = 600_000  # a talk without texts is closed, and dialled again when needed

# --- the door ---
HOUSE_STEP_MS = 1_000  # several zdns look so often whether another one has banned somebody, or changed the secret
EXPEL_MS = 200  # whoever is banned has so long to read that it is

# --- links ---
DRAIN_MESSAGES = 64  # taken from one socket per turn of the loop, so that none starves the others
DRAIN_MS = 4
LINK_QUEUE_MAX = 4_000  # messages that wait in the process when a socket takes no more
DNS_UNREAD_MAX = 1_000  # requests of one connection to zdns; whoever sends more waits
ROOM_UNREAD_MAX = 2_000  # messages of one connection to a room: four windows of posts from each client
HANDSHAKE_MS = 5_000
STOP_MS = 2_000  # closing sockets and the context may take so long; then the process ends all the same
# On a closed network. A class of sixty may come from one address, and a test of five hundred clients, each with two
# connections, from one machine: they all come at once after a relocate. A handshake costs a millisecond of the server.
HANDSHAKES_BURST_PER_ADDRESS = 2_000
HANDSHAKES_PER_S_PER_ADDRESS = 200
HANDSHAKES_BURST = 8_000  # of all addresses together
HANDSHAKES_PER_S = 1_000
HANDSHAKE_ADDRESSES_MAX = 4_096  # addresses whose handshakes are counted; whoever is forgotten may burst again
ADMISSION_WAIT_MS = 2_000  # a reader's connection waits so long for its key to be allowed: a hello, said again twice
ADMISSIONS_HELD_MAX = 4_000  # that wait so at once
ADMISSIONS_HELD_PER_ADDRESS_MAX = 1_000
# Of one bound socket. A thousand members are a thousand connections to each; a test has them all on one machine. All
# three sockets of a server and zdns' port together stay below the files a process may have open.
CONNECTIONS_MAX = 4_000
CONNECTIONS_PER_ADDRESS_MAX = 2_000
REFUSALS_MAX = 3  # handshakes that the other end breaks off, in a row, before it is taken for somebody else
PEERS_SEEN_MAX = 16_384  # connections one socket can end by their key: as many as a process may have files

# --- keys and tickets ---
SECRET_FILE_BYTES_MAX = 512 * KIB  # of one file of keys or tickets; the longest has BANNED_MAX nicks of 4-byte letters
TICKETS_MAX = 16  # remembered by an account; the one used longest ago is forgotten first
TOKENS_MAX = 64  # kept by an identity, one a zdns; the oldest is forgotten first

assert SEQS_REMEMBERED >= POSTS_IN_FLIGHT_MAX
assert POSTS_BYTES_MAX >= TEXT_BYTES_MAX
assert FRAME_BYTES_MAX >= BLOCK_BYTES_MAX + TEXT_BYTES_MAX + KIB, "a block may end with one entry of full size"
assert MEMBER_BYTES_MAX > 2 * ID_CHARS_MAX + 4 * NICK_CHARS_MAX + 4 * AWAY_CHARS_MAX + 128, "UTF-8 takes up to 4 bytes"
assert FRAME_BYTES_MAX >= MEMBERS_MAX * MEMBER_BYTES_MAX + 4 * ROOM_TOPIC_CHARS_MAX + KIB, "a members list is one frame"
assert (
    FRAME_BYTES_MAX >= CHANGES_PER_MESSAGE_MAX * (MEMBER_BYTES_MAX + 4 * (NICK_CHARS_MAX + ROOM_TOPIC_CHARS_MAX)) + KIB
)
assert SILENCE_MS >= 4 * HEARTBEAT_MS
assert 2 * HEARTBEAT_MS < DOUBT_MS < SILENCE_MS
assert MEMBER_DEADLINE_MS >= 4 * PING_MS
assert SILENT_MS > 2 * PING_MS, "one lost ping is no silence"
assert SILENT_MS + 2 * PING_MS < MEMBER_DEADLINE_MS, "who falls silent is told so, a sweep before it is lost at least"
assert QUIT_HANDOVER_MS > 2 * HANDOVER_STEP_MS + PING_MS, "two targets may fail"
assert QUIT_HANDOVER_MS > MEMBER_DEADLINE_MS + PING_MS + TRANSFER_RETRY_MS, "who leaves last knows that it is the last"
assert DNS_DEADLINE_MS > 2 * DNS_ATTEMPT_MS
assert TALK_SILENCE_MS > 2 * TALK_PING_MS
assert FLOOD_CALLS_PER_S * TALK_STEP_MS >= TALKS_MAX * 1_000, "all talks of one member may be set up at once"
assert PACES_MAX >= MEMBERS_MAX, "nobody who is here is forgotten for somebody else who is"
assert SEAL_WITHIN_ENTRIES <= BLOCK_ENTRIES_MAX
assert DNS_ATTEMPT_MS + DNS_BACKOFF_MAX_MS < GRACE_MS
assert RENEW_MS_MAX < GRACE_MS
assert FOLLOWER_SILENT_MS > 2 * KEEP_MS
assert LEADER_SILENT_MS > 3 * KEEP_MS
assert WINDOW_BYTES >= 2 * BLOCK_BYTES_MAX
assert TAIL_ENTRIES_MIN >= 2 * POSTS_IN_FLIGHT_MAX
assert ADMISSION_WAIT_MS < HANDSHAKE_MS, "who waits hears the answer before its handshake is given up"
assert SECRET_FILE_BYTES_MAX >= BANNED_MAX * (4 * NICK_CHARS_MAX + 128) + 4 * KIB, "all bans are in one file"
