"""A store in etcd, by its JSON gateway: for sites that need more than one zdns.

Each call is one HTTP request that blocks its thread for a bounded time. A read is asked of the next member
when one does not answer. A write is sent once: whatever goes wrong with it, short of a plain refusal by
etcd, is doubt, which the caller settles by reading.
"""

import base64
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import requests
from etcd3gw.client import Etcd3Client
from etcd3gw.exceptions import ConnectionTimeoutError, Etcd3Exception

from runtime import clock
from wire import limits
from wire.errors import InvariantViolated
from zdns.shared import ROOT, Change, Range, Row, View, pack, prefix, unpack
from zdns.stores import SharedStore, StoreDoubtful, StoreError

log = logging.getLogger("relevo.zdns")

_API = "/v3/"  # since etcd 3.4
_S_PER_MS = 0.001
_HOUSE = "/relevo-house"  # not below the services
_KEYS_PER_SERVICE_MAX = 2 * limits.STANDBYS_MAX  # twice, as several zdns may each admit the last one
_ERROR_CHARS_MAX = 200
# What etcd says before it does anything at all (numbers of gRPC): a wrong argument, no such lease, no rights, no space,
# switched off, not allowed in this state, unknown caller.
_REFUSALS = (3, 5, 7, 8, 9, 12, 16)
_NO_LEASE = "requested lease not found"


class _Header(msgspec.Struct):
    cluster_id: int
    revision: int


class _Pair(msgspec.Struct):
    key: bytes
    mod_revision: int
    value: bytes = b""
    lease: int = 0


class _Ranged(msgspec.Struct):
    count: int = 0
    kvs: list[_Pair] = []
    more: bool = False


class _RangeAnswer(_Ranged, kw_only=True):
    header: _Header


class _Response(msgspec.Struct):
    response_range: _Ranged | None = None


class _TxnAnswer(msgspec.Struct):
    header: _Header
    responses: list[_Response]
    succeeded: bool = False


class _Granted(msgspec.Struct):
    ID: int
    TTL: int


class _Alive(msgspec.Struct):
    TTL: int = 0  # etcd leaves it out for a lease that has ended


class _AliveAnswer(msgspec.Struct):
    result: _Alive


class _Problem(msgspec.Struct):
    code: int = 0
    message: str = ""


_Answer = TypeVar("_Answer", bound=msgspec.Struct)


class EtcdStore(SharedStore):
    """Records and who is there, in one etcd cluster. Invariant: a key is written only over what was read of it."""

    def __init__(self, addresses: Sequence[str]) -> None:
        """Find the cluster.

        Args:
            addresses: "host:port" of its members, or of some of them; the first one that answers is used.

        Raises:
            StoreError: none of them answers, or not as etcd does; a sentence for people.
        """
        self._addresses = tuple(addresses)
        self._best = 0
        self._closed = False
        self._guard = threading.Lock()
        self._holding = threading.Lock()
        self._own = threading.local()  # a session of HTTP is used by one thread
        self._clients: list[Etcd3Client] = []
        try:
            self.keys_count()
        except StoreError as error:
            self.close()
            raise StoreError(
                f"{error}. Start etcd, or name its members with --store etcd://HOST:PORT[,HOST:PORT]"
            ) from error

    # --- the lease -------------------------------------------------------------------------------------------------

    def hold(self, lease_ms: int) -> None:
        """Keep up the lease of this zdns, or begin another one. Raises StoreError."""
        if not self._holding.acquire(timeout=limits.ETCD_CALL_MS * _S_PER_MS):
            raise StoreError("another thread has been waiting for a lease of etcd")
        try:
            if self.lease:
                alive = self._ask("lease/keepalive", {"ID": str(self.lease)}, _AliveAnswer)
                if alive.result.TTL > 0:
                    return
                self._lose_lease()
            # A second more than servers have: whoever talked to a zdns that died has time to be heard by another.
            ttl_s = -(-lease_ms // 1_000) + 1
            self.lease = self._ask("lease/grant", {"TTL": str(ttl_s), "ID": "0"}, _Granted).ID
        finally:
            self._holding.release()

    def _lose_lease(self) -> None:
        log.warning("the lease of this zdns at etcd has ended: whoever is there has to register anew")
        self.lease = 0

    # --- a service -------------------------------------------------------------------------------------------------

    def read(self, service: str, seen: View | None) -> View:
        """All there is of a service now; only what has changed since `seen` is sent. Raises StoreError."""
        if seen is not None:
            view = seen.merged(self._range(service, seen.revision + 1))
            if view is not None:
                return view
        everything = self._range(service, 0)
        return View(service, everything.cluster, everything.revision, everything.rows)

    def commit(self, view: View, changes: Sequence[Change]) -> tuple[bool, View]:
        """Carry out `changes` in one transaction; see `SharedStore`."""
        look = [{"request_range": _range_of(view.service, view.revision + 1)}]
        transaction = {
            "compare": [_unchanged(change) for change in changes],
            "success": [_operation(change) for change in changes] + look,
            "failure": look,
        }
        member = self._best
        try:
            answer = self._post(member, "kv/txn", transaction, _TxnAnswer)
        except StoreDoubtful:
            self._leave_out(member)
            raise
        except StoreError as error:
            if _NO_LEASE in str(error):
                self._lose_lease()
            raise
        try:
            return answer.succeeded, self._after(view.without(changes) if answer.succeeded else view, answer)
        except StoreError as error:
            raise StoreDoubtful(str(error)) from error  # it is settled, but what is there now cannot be said

    def _after(self, view: View, answer: _TxnAnswer) -> View:
        seen = answer.responses[-1].response_range if answer.responses else None
        after = view.merged(_ranged(view.service, answer.header, seen)) if seen is not None else None
        return after if after is not None else self.read(view.service, None)

    def keys_count(self) -> int:
        """How many keys there are of all services. Raises StoreError."""
        return self._ask(
            "kv/range", {"key": _b64(ROOT), "range_end": _b64(_end(ROOT)), "count_only": True}, _RangeAnswer
        ).count

    def offer_house(self, instead_of: bytes, house: bytes) -> bytes:
        """See `SharedStore`; done twice it is as if it were done once."""
        key = _b64(_HOUSE)
        look = {"request_range": {"key": key}}
        if instead_of:
            condition = {"target": "VALUE", "value": base64.b64encode(instead_of).decode()}
        else:
            condition = {"target": "CREATE", "create_revision": "0"}
        put = {"request_put": {"key": key, "value": base64.b64encode(house).decode()}}
        transaction = {
            "compare": [{"key": key, "result": "EQUAL", **condition}],
            "success": [put, look],
            "failure": [look],
        }
        answer = self._ask("kv/txn", transaction, _TxnAnswer)
        found = answer.responses[-1].response_range if answer.responses else None
        if found is None or not found.kvs:
            raise StoreError(f"etcd lost {_HOUSE} just now")
        return found.kvs[0].value

    def close(self) -> None:
        """Let go of the cluster; the lease is left to end by itself, as those who are there ask another zdns."""
        self._closed = True
        with self._guard:
            for client in self._clients:
                client.session.close()
            self._clients.clear()

    def _range(self, service: str, since: int) -> Range:
        answer = self._ask("kv/range", _range_of(service, since), _RangeAnswer)
        return _ranged(service, answer.header, answer)

    # --- calls -----------------------------------------------------------------------------------------------------

    def _ask(self, path: str, body: Mapping[str, Any], kind: type[_Answer]) -> _Answer:
        """Ask one member after the other, from the one that answered last. For what may well be done twice."""
        began_ms = clock.monotonic_ms()
        for attempts_left in reversed(range(len(self._addresses))):
            member = self._best
            try:
                return self._post(member, path, body, kind)
            except StoreDoubtful as error:
                self._leave_out(member)
                if not attempts_left or clock.monotonic_ms() - began_ms >= limits.ETCD_WAIT_MS:
                    raise StoreError(str(error)) from error
        raise InvariantViolated("there is no member to ask")

    def _post(self, member: int, path: str, body: Mapping[str, Any], kind: type[_Answer]) -> _Answer:
        """One request to one member.

        Raises:
            StoreError: etcd refuses it, and nothing has happened.
            StoreDoubtful: anything else.
        """
        if self._closed:
            raise StoreDoubtful("the store is closed")
        client, where = self._client(member), self._addresses[member]
        try:
            answer = client.post(client.get_url(path), json=body)
            return msgspec.convert(answer, kind, strict=False)
        except Etcd3Exception as error:
            code, why = _problem(error)
            if code in _REFUSALS:
                raise StoreError(f"etcd at {where} refuses: {why}") from error
            raise StoreDoubtful(f"etcd at {where} does not answer ({why})") from error
        except (requests.exceptions.RequestException, ValueError) as error:  # among them what is no such answer
            raise StoreDoubtful(f"what answers at {where} is no etcd of version 3.4 or later") from error

    def _client(self, index: int) -> Etcd3Client:
        clients: dict[int, Etcd3Client] = self._own.__dict__.setdefault("clients", {})
        if index not in clients:
            host, _, port = self._addresses[index].rpartition(":")
            client = Etcd3Client(
                host.removeprefix("[").removesuffix("]"),
                int(port),
                timeout=limits.ETCD_CALL_MS * _S_PER_MS,
                api_path=_API,
            )
            client.session.trust_env = False  # a proxy for the web is none for etcd
            clients[index] = client
            with self._guard:
                self._clients.append(client)
        return clients[index]

    def _leave_out(self, index: int) -> None:
        """Ask the next member from now on, unless another thread has found so already."""
        with self._guard:
            if self._best == index:
                self._best = (index + 1) % len(self._addresses)


def _ranged(service: str, header: _Header, found: _Ranged) -> Range:
    if found.more:
        raise StoreError(f"there are more than {_KEYS_PER_SERVICE_MAX} keys under {prefix(service)} in etcd")
    rows = {}
    for pair in found.kvs:
        key = pair.key.decode(errors="backslashreplace")
        rows[key] = Row(unpack(service, key, pair.value), pair.mod_revision, pair.lease)
    return Range(header.cluster_id, header.revision, rows, found.count)


def _range_of(service: str, since: int) -> dict[str, Any]:
    start = prefix(service)
    return {
        "key": _b64(start),
        "range_end": _b64(_end(start)),
        "min_mod_revision": str(since),
        "limit": str(_KEYS_PER_SERVICE_MAX),
    }


def _unchanged(change: Change) -> dict[str, Any]:
    return {"key": _b64(change.key), "target": "MOD", "result": "EQUAL", "mod_revision": str(change.revision)}


def _operation(change: Change) -> dict[str, Any]:
    if change.value is None:
        return {"request_delete_range": {"key": _b64(change.key)}}
    value = base64.b64encode(pack(change.key, change.value)).decode()
    return {"request_put": {"key": _b64(change.key), "value": value, "lease": str(change.lease)}}


def _problem(error: Etcd3Exception) -> tuple[int, str]:
    """etcd's own number of an error (0: none), and words for it: etcd's, or the system's."""
    if isinstance(error, ConnectionTimeoutError):
        return 0, f"nothing came within {limits.ETCD_CALL_MS / 1000:g} s"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return 0, os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    text = error.detail_text or str(error)
    try:
        found = msgspec.json.decode(text, type=_Problem)
    except (msgspec.DecodeError, UnicodeError):
        found = _Problem()
    return found.code, " ".join((found.message or text).split())[:_ERROR_CHARS_MAX]


def _end(start: str) -> str:
    """The first key behind all that begin with `start`."""
    return start[:-1] + chr(ord(start[-1]) + 1)


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
