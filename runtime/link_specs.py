"""How the socket of each kind of link is made: its type, its options, how it ends."""

from dataclasses import dataclass
from typing import Final

import zmq

from wire import limits
from wire.step import LinkKind


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """How the socket of one kind is made.

    `stop_linger_ms`: how long its unsent messages may hold up the end of the process. `single_use`: its
    connection, once broken, is never made again. `monitored`: whether the core hears LinkUp and LinkDown;
    `only_hopeless`: of them only a LinkDown that is hopeless. `counted`: of its connections there are only so many.
    """

    socket_type: int
    binds: bool
    options: tuple[tuple[zmq.SocketOption, int], ...]
    stop_linger_ms: int = 0
    single_use: bool = False
    monitored: bool = False
    only_hopeless: bool = False
    counted: bool = False


_Options = dict[zmq.SocketOption, int]
_ALL: Final[_Options] = {
    zmq.MAXMSGSIZE: limits.FRAME_BYTES_MAX,  # a longer frame breaks the sender's connection, before we hold it
    zmq.LINGER: 0,  # whoever wants to wait says so when closing; the default waits for ever
    zmq.HANDSHAKE_IVL: limits.HANDSHAKE_MS,  # an idle or foreign connection is cut then; the default is 30 s
}
# ZMTP pings, of the connecting end only. The I/O thread answers them, so they tell of a dead machine or a stopped
# process, not of a busy one: for that the cores have pings of their own. TTL makes the other end time us out as well.
# The end that binds sends none: when its queue of what has come is full, and whoever filled it is gone, libzmq fails
# an assertion at the next ping, which takes the process along (4.3.5, stream_engine_base.cpp). Anybody could do that.
_PATIENT: Final[_Options] = {zmq.HEARTBEAT_IVL: 2_000, zmq.HEARTBEAT_TIMEOUT: 6_000, zmq.HEARTBEAT_TTL: 6_000}
_PROMPT: Final[_Options] = {zmq.HEARTBEAT_IVL: 500, zmq.HEARTBEAT_TIMEOUT: 2_000, zmq.HEARTBEAT_TTL: 2_000}
# Strangers send no pings: those whose machines are gone are found out by the system.
_NO_PINGS: Final[_Options] = {
    zmq.HEARTBEAT_IVL: 0,
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 30,
    zmq.TCP_KEEPALIVE_INTVL: 10,
    zmq.TCP_KEEPALIVE_CNT: 3,
}
_SERVER_END: Final[_Options] = {
    **_NO_PINGS,
    zmq.BACKLOG: 1_024,  # five hundred clients come at once after a relocate; the default is 100
}
_CONNECTS: Final[_Options] = {
    zmq.CONNECT_TIMEOUT: 1_500,  # a black hole is given up before limits.SILENCE_MS; the system takes minutes
    zmq.RECONNECT_IVL: 100,
    zmq.RECONNECT_IVL_MAX: 1_000,  # doubles up to here, so a dead port is not hammered
    # IMMEDIATE stays off. With it, libzmq throws away what we have not read yet when a connection ends, even between
    # two frames of one message, and then fails an assertion that takes the process along (4.3.5, fq.cpp).
}
_ONCE: Final[_Options] = {
    zmq.CONNECT_TIMEOUT: 1_500,
    zmq.RECONNECT_IVL: -1,  # a second connection could meet another peer, or share with a half-open first one
    zmq.IMMEDIATE: 1,
}


def _hwm(messages: int) -> _Options:
    """High-water marks, in messages and for each connected peer; the default is 1000."""
    return {zmq.SNDHWM: messages, zmq.RCVHWM: messages}


def _options(*parts: _Options) -> tuple[tuple[zmq.SocketOption, int], ...]:
    merged: _Options = {}
    for part in parts:
        merged.update(part)
    return tuple(merged.items())


# Chunks of 256 KiB, and credit lets 4 be on their way: blocks that follow live fit too.
_DUMP_HWM: Final[_Options] = {zmq.SNDHWM: 64, zmq.RCVHWM: limits.COPY_UNREAD_MAX}
_TALK_HWM: Final = _hwm(limits.TALK_QUEUE_MAX)

SPECS: Final[dict[LinkKind, LinkSpec]] = {
    LinkKind.DNS_ASK: LinkSpec(
        zmq.REQ,
        binds=False,
        options=_options(
            _ALL,
            _hwm(8),  # one request at a time
            _PATIENT,
            _CONNECTS,
            {
                zmq.REQ_RELAXED: 1,  # a lost answer does not lock the socket for ever
                zmq.REQ_CORRELATE: 1,  # and its late coming is not taken for the answer to the next request
            },
        ),
        stop_linger_ms=200,  # the Leave
        monitored=True,
        only_hopeless=True,  # whoever asks waits a while and tries again, whatever the silence comes from
    ),
    LinkKind.DNS_BIND: LinkSpec(
        zmq.ROUTER,  # speaks the REQ envelope, so that one slow store does not hold up all askers in lockstep
        binds=True,
        options=_options(_ALL, _hwm(limits.DNS_UNREAD_MAX), _SERVER_END, {zmq.ROUTER_MANDATORY: 1}),
        stop_linger_ms=200,
        counted=True,
    ),
    LinkKind.ROOM_BIND: LinkSpec(
        zmq.ROUTER,
        binds=True,
        options=_options(
            _ALL,
            _hwm(limits.ROOM_UNREAD_MAX),
            _SERVER_END,
            {zmq.ROUTER_MANDATORY: 1},  # an unknown or full peer is an error to report, not a silent drop
        ),
        stop_linger_ms=500,  # the last acks and the Moved
        counted=True,
    ),
    LinkKind.ROOM_CONNECT: LinkSpec(
        zmq.DEALER,
        binds=False,
        options=_options(_ALL, _hwm(2_000), _PROMPT, _CONNECTS),
        stop_linger_ms=300,  # the Bye
        monitored=True,
    ),
    LinkKind.FEED_BIND: LinkSpec(
        zmq.XPUB,
        binds=True,
        options=_options(
            _ALL,
            # Blocks for each reader; what a slower one misses it fetches. Queues share the bytes between readers.
            {zmq.SNDHWM: 4_000, zmq.RCVHWM: 1_000},
            _SERVER_END,
            {
                zmq.MAXMSGSIZE: limits.TOPIC_BYTES_MAX,  # all a reader may send is a topic
                zmq.XPUB_VERBOSER: 1,  # each reader's subscription counts, not only the first to a topic
            },
        ),
        stop_linger_ms=500,  # the last Relocate
        counted=True,
    ),
    LinkKind.FEED_CONNECT: LinkSpec(
        zmq.SUB,
        binds=False,
        options=_options(_ALL, _hwm(4_000), _PATIENT, _CONNECTS),
        monitored=True,
    ),
    LinkKind.COPY_BIND: LinkSpec(
        zmq.DEALER,
        binds=True,
        options=_options(_ALL, _DUMP_HWM, _NO_PINGS, _ONCE),
        stop_linger_ms=500,
        single_use=True,
        monitored=True,
    ),
    LinkKind.COPY_CONNECT: LinkSpec(
        zmq.DEALER,
        binds=False,
        options=_options(_ALL, _DUMP_HWM, _PROMPT, _ONCE),
        stop_linger_ms=500,  # the TakeOver
        single_use=True,
        monitored=True,
    ),
    LinkKind.TALK_BIND: LinkSpec(
        zmq.PAIR,
        binds=True,
        options=_options(_ALL, _TALK_HWM, _NO_PINGS, _ONCE),
        stop_linger_ms=300,  # the TalkBye
        single_use=True,
        monitored=True,
    ),
    LinkKind.TALK_CONNECT: LinkSpec(
        zmq.PAIR,
        binds=False,
        options=_options(_ALL, _TALK_HWM, _PATIENT, _ONCE),
        stop_linger_ms=300,
        single_use=True,
        monitored=True,
    ),
}
