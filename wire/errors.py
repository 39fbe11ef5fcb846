"""What can be wrong with bytes from outside, and the numbered reasons for a refusal; pure."""

import enum


class RelevoError(Exception):
    """Base of every error this project raises on purpose."""


class WireError(RelevoError):
    """A remote sent something that is no message; raised by `wire.codec` alone."""


class Malformed(WireError):
    """Frames that are missing, too many, too long, or not of the shape their kind has."""


class UnknownKind(WireError):
    """Well formed, but of a kind this socket does not carry (or of a newer protocol)."""


class InvariantViolated(RelevoError):
    """A bug of ours: something that cannot be, is. The process stops."""


class RefusalCode(enum.IntEnum):
    """Why a request was turned down. Numbers travel: they are never reused or renumbered."""

    MALFORMED = 1
    VERSION = 2
    WRONG_SERVICE = 3
    NOT_SERVING = 4
    NAME_TAKEN = 5
    BAD_NAME = 6
    TOO_LONG = 7
    FULL = 8
    NOT_HERE = 9
    NO_STANDBY = 10
    BUSY = 11
    NOT_REGISTERED = 12
    STALE_EPOCH = 13
    STALE_VERSION = 14
    NOT_STANDBY = 15
    NOT_IN_SYNC = 16
    ALIVE = 17
    TAKEN = 18
    STORE_FAILED = 19
    NOT_ACTIVE = 20
    FLOOD = 21
    HANDOVER_FAILED = 22
    HISTORY_FULL = 23
    NOT_MEMBER = 24
    NOT_ADMITTED = 25
    BAD_TICKET = 26
    BANNED = 27
    NOT_YOURS = 28

    @property
    def word(self) -> str:
        """The code as JSON lines show it: `name_taken`."""
        return self.name.lower()
