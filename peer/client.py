"""The public `Client`: one participant, or one guest, for programs and for the command line alike."""

import asyncio
import contextlib
import dataclasses
import getpass
import logging
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from broker.server import Settings
from peer import access, intents, notices
from peer.engine import Engine, EngineOptions, Met, TokenGiven
from peer.outbox import Write
from peer.outbox_store import OutboxStore, claim
from peer.participant import HostedServer
from runtime import process
from runtime.driver import Driver
from wire import identity, limits
from wire.errors import RelevoError
from wire.exits import EXIT_INTERNAL, EXIT_OK, EXIT_UNAVAILABLE
from wire.names import DEFAULT_SERVICE, ServerId, check_nick, check_service
from wire.step import Asked, Stopping

log = logging.getLogger("relevo.client")

NOTICES_MAX = 100_000  # kept for a program that does not iterate; some tens of megabytes of short messages


class ClientError(RelevoError):
    """The chat cannot begin, or has ended. `exit_code` is what a command should end with; `str()` is a sentence."""

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class RequestRefused(RelevoError):
    """A request was turned down. `code` is a word such as `busy`; `str()` is a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class PostRefused(RequestRefused):
    """A post was turned down: `too_long`, `flood`, …"""


class TellFailed(RelevoError):
    """A private text was not delivered, as far as we know. `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the private text was not delivered: {reason}")
        self.reason = reason


class _Ticket:
    """The tag of a request of our own; nobody outside sees it."""

    def __init__(self, refused: Callable[[notices.Refusal], RelevoError]) -> None:
        self.refused = refused  # which error a refusal is


def _post_refused(refusal: notices.Refusal) -> RelevoError:
    return PostRefused(refusal.code, refusal.message)


def _tell_failed(refusal: notices.Refusal) -> RelevoError:
    return TellFailed(refusal.message)


class Client:
    """A participant, or a guest, of one room.

        async with Client(service="backend.com", dns="localhost:8000", name="bot") as chat:
            await chat.post("hello")
            async for notice in chat:
                ...

    Notices wait from `start` on until the program iterates, at most NOTICES_MAX of them: then the oldest are
    dropped, and the iteration says so with one `Fault` of code `notices_dropped`. It ends after `Bye`.
    """

    def __init__(
        self,
        *,
        service: str = DEFAULT_SERVICE,
        dns: str | Sequence[str] | None = None,
        ticket: str | None = None,
        name: str | None = None,
        guest: bool = False,
        serve: bool = True,
        serve_first: bool = False,
        min_n: int = 0,
        term_s: float = limits.TERM_MS / 1000,
        replicas: int = limits.REPLICAS,
        fresh: bool = False,
        since: int | None = None,
        flood: float = limits.FLOOD_POSTS_PER_S,
        room_flood: float | None = None,
        patient: bool = False,
        bind: str | None = None,
        data_dir: str | Path | None = None,
        ephemeral: bool = False,
        log_file: str | Path | None = None,
        log_level: str = "warning",
    ) -> None:
        """Settle the options; nothing happens before `start`.

        Args:
            service: the room's name.
            dns: HOST:PORT of zdns; several, in one string with commas or as a sequence, are tried in turn. None: the
                one of this machine, or the one whose ticket was used last.
            ticket: what `relevo ticket` prints where zdns runs; needed once, and only on another machine than that.
            name: the nick. None: the account's name, with a suffix if it is taken; a given one is refused if taken.
            guest: read and post without being listed or counted; a guest never serves.
            serve: have a server half, a child process, that takes its turn at serving.
            serve_first, min_n, term_s, replicas, fresh: as the options of `relevo chat`.
            since: show the messages from this seq on; None: the newest page of the history.
            flood: posts a second this client lets through; 0: any number.
            room_flood: posts a second that its server half takes of each member, while it serves; None: as `flood`.
            patient: without zdns, or without anybody who may serve, say so in a `Fault` and go on looking until there
                is one, however long that takes; otherwise the chat ends then.
            bind: own IP that others connect to; None: the one from which zdns is reached, bound on all.
            data_dir: where the server half keeps its copy of the history, so that the next one of the same `name` in
                the same room goes on with it; and where posts that are not yet committed are kept, so that they
                survive this process and are sent by that next one; a program that posts again by itself what was not
                acknowledged would then post it twice. None: both are in memory only; a guest's posts always are.
            ephemeral: keep nothing on disk, whatever `data_dir` says.
            log_file: of the server half (with `-server` added to its name), and of this process if it has no log yet.
            log_level: debug, info, warning or error.

        Raises:
            ValueError: a name, an address or a number that cannot be.
            AccessError: the ticket is none.
            SecretFileError: a file of keys or tickets is damaged, or others can read it.
        """
        if min_n < 0 or min_n > limits.MEMBERS_MAX:
            raise ValueError(f"min_n is between 0 and {limits.MEMBERS_MAX}, not {min_n}")
        if replicas < 0 or replicas > limits.REPLICAS_MAX:
            raise ValueError(f"replicas is between 0 and {limits.REPLICAS_MAX}, not {replicas}")
        if term_s < 0 or flood < 0 or (room_flood or 0) < 0:
            raise ValueError("term_s, flood and room_flood are not negative")
        self._data_dir = None if data_dir is None or ephemeral else Path(data_dir).absolute()
        nick = check_nick(name) if name is not None else _account_nick("guest" if guest else "anon")
        self._access = access.find(
            data_dir=process.data_dir() if data_dir is None else Path(data_dir).absolute(),
            name=nick,
            dns=None if dns is None else _addresses(dns),
            ticket=ticket,
            ephemeral=self._data_dir is None,
            waits=not guest,
        )
        self._addresses = _addresses(self._access.dns)
        self._endpoints = tuple(f"tcp://{address}" for address in self._addresses)
        self._bind = bind
        self._log_file = None if log_file is None else Path(log_file)
        self._log_level = log_level
        serves = serve and not guest
        credentials = self._access.credentials
        key = "" if credentials is None else credentials.keys.public
        self._options = EngineOptions(
            service=check_service(service),
            dns=self._endpoints,
            nick=nick,
            nick_fixed=name is not None,
            guest=guest,
            serves=serves,
            server_id=identity.make_id(key, secrets.token_hex(16)) if serves else "",
            min_n=min_n,
            since=since,
            flood_per_s=flood,
            fresh=fresh,
            patient=patient,
            credentials=credentials,
            token=self._access.token,
            keeps_key=self._data_dir is not None,
            known=self._access.met(check_service(service)),
        )
        self._outbox_dir = None if self._data_dir is None or guest else self._data_dir / "outbox"
        self._store: OutboxStore | None = None
        self._keeps_posts = False
        self._room_flood = flood if room_flood is None else room_flood
        self._serve_first = serve_first
        self._term_ms = round(term_s * 1000)
        self._replicas = replicas
        self._fresh = fresh
        self._name = str(nick)
        self._pending: deque[notices.AnyNotice] = deque()
        self._dropped_count = 0
        self._engine: Engine | None = None
        self._arrived = asyncio.Event()
        self._bye: notices.Bye | None = None
        self._joined = asyncio.Event()
        self._tickets: dict[_Ticket, asyncio.Future[Any]] = {}
        self._requests: list[tuple[str, asyncio.Future[Any] | None]] = []
        self._driver: Driver | None = None
        self._server: HostedServer | None = None
        self._running: asyncio.Task[None] | None = None

    # --- life ------------------------------------------------------------------------------------------------------

    @property
    def dns(self) -> tuple[str, ...]:
        """Where zdns is asked, "host:port" each."""
        return self._addresses

    @property
    def zdns_is_silent(self) -> bool:
        """Whether the last question to zdns has got no answer so far; False before there was time for one."""
        return self._engine is not None and self._engine.zdns_is_silent

    @property
    def is_open(self) -> bool:
        """Whether nothing is encrypted, as zdns was started with --open."""
        return self._options.credentials is None

    @property
    def name(self) -> str:
        """The own nick; final once `Ready` has come, until it is changed."""
        return self._name

    @property
    def server_pid(self) -> int | None:
        """The process id of the server half; None while there is none."""
        return None if self._server is None else self._server.pid

    @property
    def keeps_posts(self) -> bool:
        """Whether what is not yet committed is on disk, to be sent by the next start if not by this one."""
        return self._keeps_posts

    def start(self) -> None:
        """Begin, in the running loop; what happens is told by the notices.

        Raises:
            RuntimeError: it was started before.
        """
        if self._running is not None:
            raise RuntimeError("a Client is started once; make a new one")
        if self._log_file is not None and not logging.getLogger().hasHandlers():
            process.set_up_logging(self._log_level, self._log_file)
        advertise_host = self._bind or process.local_address_towards(_host(self._addresses[0]))
        bind_host = self._bind or "0.0.0.0"
        self._open_outbox()
        self._engine = Engine(self._options)
        self._driver = Driver(
            self._engine,
            bind_host=bind_host,
            advertise_host=advertise_host,
            keys=self._options.credentials.keys if self._options.credentials is not None else None,
            on_report=self._reported,
        )
        self._driver.start()
        if self._options.serves:
            self._server = HostedServer(
                self._server_settings(bind_host, advertise_host),
                listens=self._server_listens,
                granted=self._epoch_granted,
                warns=self._server_warns,
                fails=self._server_fails,
            )
            self._server.start()
        self._running = asyncio.create_task(self._run(self._driver))

    async def close(self) -> None:
        """Leave: say goodbye, have the server half hand over, wait for both. Does nothing the second time."""
        if self._running is None:
            return
        if self._driver is not None:
            self._driver.post(Stopping())
        await asyncio.shield(self._running)

    async def __aenter__(self) -> "Client":
        """Join.

        Raises:
            ClientError: it ended before it began.
        """
        self.start()
        try:
            await self._joined.wait()
        except BaseException:  # a cancellation as well: whoever does not come in leaves nothing running
            await self.close()
            raise
        if self._bye is not None:
            await self.close()
            raise ClientError(self._bye.exit or EXIT_UNAVAILABLE, self._bye.reason)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, driver: Driver) -> None:
        """From start to end; whatever ends the client half ends the server half too."""
        reason, exit_code = "", EXIT_OK
        try:
            reason = await driver.done()
        except Exception as error:  # noqa: BLE001  # the driver has logged it
            reason, exit_code = f"internal error: {error}", EXIT_INTERNAL
        if self._bye is None:
            self._reported(notices.Bye(reason=reason, exit=exit_code))
        if self._store is not None:
            await self._store.close()
        if self._server is not None:
            await self._server.stop()

    # --- asking ----------------------------------------------------------------------------------------------------

    def ask(self, intent: intents.UserIntent) -> None:
        """Ask for something; what becomes of it is told by the notices. After the end it means nothing."""
        if intent.do in notices.ANSWERS:
            self._requests.append((intent.do, None))
        self._ask(intent)

    async def post(self, text: str) -> int:
        """Post; returns the seq once it is committed, however long that takes.

        Raises:
            PostRefused: too long, too fast.
            ClientError: the chat ended first; then it may have been posted or not.
        """
        seq: int = await self._with_ticket(lambda ticket: intents.Say(text, tag=ticket), _post_refused)
        return seq

    async def tell(self, nick: str, text: str) -> None:
        """Tell one member, directly; returns when it was shown there.

        Raises:
            TellFailed: nobody of that name, no answer, …
            ClientError: the chat ended first.
        """
        await self._with_ticket(lambda ticket: intents.Tell(nick, text, tag=ticket), _tell_failed)

    async def status(self) -> notices.Status:
        """How the room is served.

        Raises:
            RequestRefused, ClientError
        """
        status: notices.Status = await self._request(intents.AskStatus())
        return status

    async def who(self) -> tuple[notices.MemberLine, ...]:
        """The members.

        Raises:
            RequestRefused, ClientError
        """
        members: notices.MembersList = await self._request(intents.AskWho())
        return members.members

    async def handover(self, to: str | None = None) -> None:
        """Have the server role handed over, to the server of `to` (None: to anyone); returns when it is done.

        Raises:
            RequestRefused: no standby, another one is under way, …
            ClientError: the chat ended first.
        """
        await self._request(intents.AskHandover(to))

    async def _with_ticket(
        self, intent: Callable[[_Ticket], intents.UserIntent], refused: Callable[[notices.Refusal], RelevoError]
    ) -> Any:
        ticket = _Ticket(refused)
        future = self._tickets[ticket] = asyncio.get_running_loop().create_future()
        try:
            self._ask_or_raise(intent(ticket))
            return await future
        finally:
            del self._tickets[ticket]

    async def _request(self, intent: intents.UserIntent) -> Any:
        future = asyncio.get_running_loop().create_future()
        self._requests.append((intent.do, future))
        self._ask_or_raise(intent)
        return await future

    def _ask_or_raise(self, intent: intents.UserIntent) -> None:
        if self._bye is not None or self._driver is None:
            raise self._ended()
        self._ask(intent)

    def _ask(self, intent: intents.Intent) -> None:
        if self._driver is not None:
            self._driver.post(Asked(intent))

    # --- listening -------------------------------------------------------------------------------------------------

    def __aiter__(self) -> "Client":
        return self

    async def __anext__(self) -> notices.AnyNotice:
        if self._running is None:
            raise RuntimeError("start the Client, or use `async with`, before listening to it")
        while True:
            if self._dropped_count:
                count, self._dropped_count = self._dropped_count, 0
                return notices.Fault(
                    "notices_dropped", f"{count} notices were dropped, as the program did not take them in time"
                )
            if self._pending:
                return self._pending.popleft()
            if self._bye is not None:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()

    def _reported(self, notice: notices.AnyNotice | Write | TokenGiven | Met) -> None:
        match notice:
            case Write():
                if self._store is not None:
                    self._store.write(notice)
                return
            case TokenGiven(token):
                self._access.keep_token(token)
                self._access.proved()
                return
            case Met(known):
                self._access.keep_met(self._options.service, known)
                return
        if self._bye is not None:
            return
        notice = self._settle(notice)
        match notice:
            case notices.Ready(name):
                self._renamed(name)
                self._joined.set()
            case notices.MemberChanged(name, "renamed", was) if was == self._name:
                self._renamed(name)
            case notices.Bye():
                self._bye = notice
                self._joined.set()
                self._fail_all()
        if len(self._pending) >= NOTICES_MAX:
            self._pending.popleft()
            self._dropped_count += 1
        self._pending.append(notice)
        self._arrived.set()

    def _settle(self, notice: notices.AnyNotice) -> notices.AnyNotice:
        """Give the waiting request its outcome; what the program sees has no ticket of ours."""
        match notice:
            case notices.Posted(tag=_Ticket() as ticket):
                self._resolve(ticket, notice.seq)
            case notices.Private(tag=_Ticket() as ticket):
                if notice.state == "delivered":
                    self._resolve(ticket, None)
                elif notice.state == "failed":
                    self._resolve(ticket, TellFailed(str(notice.reason)))
                return msgspec.structs.replace(notice, tag=msgspec.UNSET)
            case notices.Refusal(tag=_Ticket() as ticket):
                self._resolve(ticket, ticket.refused(notice))
            case notices.Refusal(tag=None, what=what):
                self._answer(what, RequestRefused(notice.code, notice.message))
                return notice
            case _:
                for what, answer in notices.ANSWERS.items():
                    if isinstance(notice, answer):
                        self._answer(what, notice)
                return notice
        return msgspec.structs.replace(notice, tag=None)

    def _answer(self, what: str, outcome: Any) -> None:
        """The oldest open request of this kind has its outcome."""
        for index, (asked, future) in enumerate(self._requests):
            if asked == what:
                del self._requests[index]
                _settle(future, outcome)
                return

    def _resolve(self, ticket: _Ticket, outcome: Any) -> None:
        _settle(self._tickets.get(ticket), outcome)

    def _fail_all(self) -> None:
        for future in [*self._tickets.values(), *(future for _, future in self._requests)]:
            _settle(future, self._ended())
        self._requests.clear()

    def _ended(self) -> ClientError:
        if self._bye is None:
            return ClientError(EXIT_UNAVAILABLE, "the chat has not been started")
        return ClientError(self._bye.exit or EXIT_UNAVAILABLE, f"the chat ended: {self._bye.reason}")

    # --- the outbox on disk ---------------------------------------------------------------------------------------

    def _open_outbox(self) -> None:
        """Find out what an earlier start has left."""
        if self._outbox_dir is None:
            return
        claimed = claim(self._outbox_dir, self._options.service, self._options.nick)
        for fault in claimed.faults:
            self._reported(fault)
        if claimed.file is not None:
            self._options = dataclasses.replace(self._options, kept=claimed.kept)
            self._store = OutboxStore(claimed.file, written=self._posts_kept, failed=self._disk_lost)
            self._keeps_posts = True

    def _posts_kept(self, number: int) -> None:
        self._ask(intents.PostsKept(number))

    def _disk_lost(self, why: str) -> None:
        self._keeps_posts = False
        self._ask(intents.DiskLost(why))

    # --- the server half -------------------------------------------------------------------------------------------

    def _server_settings(self, bind_host: str, advertise_host: str) -> Settings:
        log_file = self._log_file
        return Settings(
            service=self._options.service,
            server_id=self._options.server_id,
            name=self._name,
            dns=self._endpoints,
            serve_first=self._serve_first,
            min_n=self._options.min_n,
            term_ms=self._term_ms,
            fresh=self._fresh,
            bind_host=bind_host,
            advertise_host=advertise_host,
            log_file=None if log_file is None else str(log_file.with_name(f"{log_file.name}-server").absolute()),
            log_level=self._log_level,
            data_dir=None if self._data_dir is None else str(self._data_dir),
            holder=self._options.nick,
            replicas=self._replicas,
            credentials=self._options.credentials,
            token=self._options.token,
            flood_per_s=self._room_flood,
        )

    def _server_listens(self, server_id: str) -> None:
        self._ask(intents.HostServer(ServerId(server_id)))

    def _epoch_granted(self, epoch: int) -> None:
        self._ask(intents.EpochGranted(epoch))

    def _server_warns(self, event: str, sentence: str) -> None:
        self._reported(notices.Fault(event, sentence))

    def _server_fails(self, sentence: str) -> None:
        self._reported(notices.Fault("server_failed", f"this participant will not serve: {sentence}"))

    def _renamed(self, name: str) -> None:
        if name != self._name or not self._joined.is_set():
            self._name = name
            if self._server is not None:
                self._server.rename(name)


def _settle(future: asyncio.Future[Any] | None, outcome: Any) -> None:
    """Give a waiting request its outcome, unless whoever waited has gone."""
    if future is None or future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _addresses(dns: str | Sequence[str]) -> tuple[str, ...]:
    """Each `HOST:PORT`.

    Raises:
        ValueError: none, or one that is no address.
    """
    given = dns.split(",") if isinstance(dns, str) else list(dns)
    addresses = tuple(address.strip().removeprefix("tcp://") for address in given)
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
            raise ValueError(f"{address!r} is no address of a zdns: use HOST:PORT")
    if not addresses:
        raise ValueError("a client needs the address of at least one zdns")
    return addresses


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def _account_nick(fallback: str) -> str:
    """The account's name as far as it makes a nick."""
    try:
        account = getpass.getuser()
    except (OSError, KeyError, ImportError):  # an account without a name
        account = fallback
    for candidate in (account, "".join(char for char in account if char.isalnum())):
        with contextlib.suppress(ValueError):
            return check_nick(candidate[: limits.NICK_CHARS_MAX])
    return fallback
