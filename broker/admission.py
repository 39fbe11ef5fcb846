"""Who may speak at a server's room, and for whom: permits, ids, bans; pure.

Whoever connects has proved its key; that alone means nothing. A hello shows the permit that zdns gave to that key, and
speaks for ids of that key only. What comes later on the same route is taken only with the same key. On an open network
the door stands open.
"""

from collections import OrderedDict

from wire import identity, limits
from wire.errors import RefusalCode
from wire.identity import Credentials
from wire.messages import Door, Hello, LinkAsk, Message, Refused, SetServer, WhoAreYou

_ROUTES_MAX = 4 * limits.MEMBERS_MAX  # of those that come back at another one the oldest are forgotten


class Admission:
    """What zdns has told of whom to let in, and who has come in. Invariant: nobody on `banned` is in."""

    def __init__(self, credentials: Credentials | None) -> None:
        self.is_open = credentials is None
        self.number = 0  # of what zdns told last
        self.banned: frozenset[str] = frozenset()
        self._own_key = "" if credentials is None else credentials.keys.public
        self._permit_key = b""
        self._generation = 0
        self._keys: OrderedDict[bytes, str] = OrderedDict()  # by route

    @property
    def own_permit(self) -> bytes:
        """What we show at other servers; nothing before zdns has told us."""
        return b"" if self.is_open or not self.number else identity.permit(self._permit_key, self._own_key)

    def learn(self, told: Door) -> list[str]:
        """zdns tells who is let in; returns the keys that were in and are not any more."""
        begins_anew = bool(self.number) and told.generation != self._generation
        self.number, self._permit_key, self.banned = told.number, told.permit_key, frozenset(told.banned)
        self._generation = told.generation
        gone = {key for key in self._keys.values() if begins_anew or self.is_banned(key)}
        self._keys = OrderedDict((route, key) for route, key in self._keys.items() if key not in gone)
        return sorted(gone)

    def key_of(self, route: bytes) -> str:
        """The key with which this route has said hello; nothing if it has not."""
        return self._keys.get(route, "")

    def is_banned(self, key: str) -> bool:
        """Whether this key is to be turned away."""
        return identity.fingerprint(key) in self.banned

    def judge(self, message: Message, route: bytes, key: str) -> Message | None:
        """What to answer instead of listening; None: listen."""
        if self.is_open:
            return None
        if self.is_banned(key):
            return Refused(getattr(message, "ask", 0), RefusalCode.BANNED, "whoever runs zdns has banned this key")
        match message:
            case Hello():
                refusal = self._hello(message, key)
                if refusal is None:
                    self._let_in(route, key)
                return refusal
            case LinkAsk():
                return self._link_ask(message, key)
        # Also to a ping: whoever asks only whether we live has its answer, and learns nothing of who serves where.
        if self._keys.get(route) != key:
            return WhoAreYou()
        if isinstance(message, SetServer) and message.server and not identity.belongs(message.server, key):
            return Refused(message.ask, RefusalCode.NOT_YOURS, "this server id belongs to another key than yours")
        return None

    def _hello(self, hello: Hello, key: str) -> Refused | None:
        if not identity.belongs(hello.peer, key) or (hello.server and not identity.belongs(hello.server, key)):
            return Refused(0, RefusalCode.NOT_YOURS, "this id belongs to another key than yours")
        return self._check_permit(hello.permit, key)

    def _link_ask(self, ask: LinkAsk, key: str) -> Refused | None:
        if ask.source.key != key or not identity.belongs(ask.source.id, key):
            return Refused(0, RefusalCode.NOT_YOURS, "this server id belongs to another key than yours")
        return self._check_permit(ask.permit, key)

    def _check_permit(self, permit: bytes, key: str) -> Refused | None:
        if self.number and identity.is_permit(self._permit_key, key, permit):
            return None
        return Refused(0, RefusalCode.NOT_ADMITTED, "zdns has not admitted this key, or not since it changed its mind")

    def _let_in(self, route: bytes, key: str) -> None:
        self._keys[route] = key
        self._keys.move_to_end(route)
        if len(self._keys) > _ROUTES_MAX:
            self._keys.popitem(last=False)  # it is asked who it is
