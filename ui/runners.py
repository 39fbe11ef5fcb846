"""What each command of `relevo` does once its options are settled."""

import argparse
import asyncio
import contextlib
import logging
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker import server as broker_server
from peer import access, notices
from peer.client import Client
from runtime import clock, process
from runtime.links import LinkError
from ui import admission, checks, errands
from ui.conversation import LEAVING_TOLD_S, Conversation
from ui.faces import (
    JSON_LINE_BYTES_MAX,
    PLAIN_LINE_BYTES_MAX,
    JsonFace,
    PlainFace,
    local_stamp,
)
from ui.inputs import StreamInput
from ui.keymap import Keymap
from ui.model import Model
from ui.options import SETTABLE, CommandError, Settings
from ui.safe_text import safe_line
from wire import identity, limits, names
from wire.exits import EXIT_CONFIG, EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_USAGE
from wire.identity import FINGERPRINT_CHARS
from wire.messages import Resolve
from zdns import server as zdns_server
from zdns import stores
from zdns.house import HouseFile, as_fingerprint, is_this_machine
from zdns.probe import DnsSilent, DnsTurnsAway, ask_once
from zdns.shared_house import SharedHouse

if TYPE_CHECKING:
    from ui.console import Console
    from ui.prompt import PromptInput

PROBE_MS = 2_000  # two attempts and the pause between them
INVITATION_S = 0.2  # chosen: to see whether zdns can be reached by a network address of this machine
JOIN_S = 30.0  # for an errand without a --timeout of its own

log = logging.getLogger("relevo.ui")

# The settings, the command line, and where this process logs.
Runner = Callable[[Settings, argparse.Namespace, Path | None], Coroutine[Any, Any, int]]


# --- dns -----------------------------------------------------------------------------------------------------------


async def run_dns(settings: Settings, _arguments: argparse.Namespace, _log_file: Path | None) -> int:
    """Serve the registry until a signal comes, or see whether somebody does."""
    if settings["check"]:
        if settings.origins.get("port", "").startswith("flag"):
            raise CommandError("--check looks where --dns HOST:PORT says, not at --port", EXIT_USAGE)
        return await _check_dns(settings)
    host, port = settings["host"], settings["port"]
    is_open = settings["open"]
    store, where = _open_store(settings)

    def listening(endpoint: str) -> None:
        address = endpoint.removeprefix("tcp://")
        house.announce((address,), is_open=is_open)  # before anybody is told that it may be asked
        print(f"zdns listening at {address} ({where}); stop it with Ctrl+C", flush=True)
        print("\n".join(admission.invitation(settings, house.kept)), flush=True)

    try:
        house = HouseFile.open_or_make(_data_dir(settings), port)
        lease_ms = round(settings["lease"] * 1000)
        async with _in_step(house, store) if not is_open else contextlib.nullcontext():
            serving = zdns_server.run_dns(host, port, store, lease_ms, listening, house=None if is_open else house)
            await _until_signal(serving)
    except LinkError as error:
        raise CommandError(str(error), EXIT_UNAVAILABLE) from error
    except stores.StoreError as error:
        raise CommandError(str(error), EXIT_INTERNAL) from error
    finally:
        store.close()
    return 0


@contextlib.asynccontextmanager
async def _in_step(house: HouseFile, store: stores.Store | stores.SharedStore) -> AsyncIterator[None]:
    """Meanwhile the house is that of all zdns of a shared store. Raises StoreError, SecretFileError."""
    if not isinstance(store, stores.SharedStore):
        yield
        return
    shared = SharedHouse(house, store)
    await asyncio.get_running_loop().run_in_executor(None, shared.step)
    keeping = asyncio.ensure_future(shared.keep_in_step())
    try:
        yield
    finally:
        keeping.cancel()


def _open_store(settings: Settings) -> tuple[stores.Store | stores.SharedStore, str]:
    """The store, and the words for it. Its name has the port in it: each zdns of an account has its own."""
    if settings["store"] == "memory":
        return stores.MemoryStore(), "records in memory only"
    if settings["store"].startswith(checks.ETCD):
        return _open_etcd(settings["store"])
    folder = _data_dir(settings)
    path = folder / f"zdns-{settings['port']}.sqlite"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return stores.SqliteStore(path), f"records in {path}"
    except OSError as error:
        raise CommandError(
            f"{folder}: cannot keep records there ({error.strerror}). Name another folder with --data-dir", EXIT_CONFIG
        ) from error
    except stores.StoreError as error:
        raise CommandError(f"{error} (--data-dir names another folder)", EXIT_CONFIG) from error


def _data_dir(settings: Settings) -> Path:
    return Path(settings["data_dir"] or process.data_dir()).absolute()


def _open_etcd(name: str) -> tuple[stores.SharedStore, str]:
    try:
        # Only here: who does not use etcd need not have its library.
        from zdns.etcd_store import EtcdStore
    except ImportError as error:
        raise CommandError(
            f"--store {name} needs the library etcd3gw ({error}): pip install relevo[etcd]", EXIT_CONFIG
        ) from error
    try:
        return EtcdStore(name.removeprefix(checks.ETCD).split(",")), f"records in {name}"
    except stores.StoreError as error:
        raise CommandError(str(error), EXIT_CONFIG) from error


async def _check_dns(settings: Settings) -> int:
    way = _way_in(settings, "check", ephemeral=True)
    where = ", ".join(way.dns)
    question = Resolve(ask=0, protocol=limits.PROTOCOL, service=names.DEFAULT_SERVICE)
    try:
        endpoints = [f"tcp://{address}" for address in way.dns]
        await ask_once(endpoints, question, PROBE_MS, way.credentials)  # any answer is a yes
    except DnsTurnsAway as error:
        raise CommandError(f"{error}. `relevo ticket` prints the ticket where zdns runs", EXIT_REFUSED) from error
    except DnsSilent as error:
        raise CommandError(
            f"no zdns answers at {where} within {PROBE_MS / 1000:g} s. Start one with `relevo dns`,"
            " or name another with --dns HOST:PORT",
            EXIT_UNAVAILABLE,
        ) from error
    print(f"zdns answers at {where}")
    return 0


def _way_in(settings: Settings, name: str, *, ephemeral: bool) -> access.Access:
    """Which zdns is meant, and what it is to be shown. Raises AccessError, SecretFileError."""
    ticket = settings.values.get("ticket")
    where = _data_dir(settings)
    return access.find(
        data_dir=where,
        name=name,
        dns=settings.given_dns,
        ticket=ticket,
        ephemeral=ephemeral,
        waits=settings.command == "serve",
    )


async def _until_signal(work: Coroutine[Any, Any, object]) -> bool:
    """Run `work` until it ends or a signal cancels it; True: a signal did."""
    task = asyncio.ensure_future(work)
    _cancel_at_signal(task)
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


def _cancel_at_signal(task: "asyncio.Future[Any]") -> None:
    def cancel() -> None:
        task.cancel()

    process.on_signals(asyncio.get_running_loop(), cancel)


# --- ticket, ban ---------------------------------------------------------------------------------------------------


async def run_ticket(settings: Settings, _arguments: argparse.Namespace, _log_file: Path | None) -> int:
    """Print the ticket."""
    admission.show_ticket(settings, _data_dir(settings))
    return 0


async def run_ban(settings: Settings, arguments: argparse.Namespace, _log_file: Path | None) -> int:
    """Ban somebody, end a ban, or list those there are."""
    who: str | None = arguments.who
    if (who is not None) + settings["list"] + (settings["lift"] is not None) != 1:
        raise CommandError("say whom to ban, or --list, or --lift and whom. Try: relevo ban --help", EXIT_USAGE)
    file = admission.closed_house(settings, _data_dir(settings))
    if who is None:
        lines = (
            admission.ban_lines(file().bans, local_stamp)
            if settings["list"]
            else [admission.lift(file, settings["lift"])]
        )
        print(*lines, sep="\n", flush=True)
        return 0

    async def look_up(chat: Client, _ready: notices.Ready) -> int:
        try:
            fingerprint, name = await errands.fingerprint_of(chat, who, settings["timeout"])
        except errands.NotHere as error:
            if not admission.is_banned(file, who):
                raise
            why = f"{safe_line(who)!r} is banned already, and nobody of that name is in the room; see relevo ban --list"
            raise CommandError(why, EXIT_REFUSED) from error
        print(admission.ban(settings, file, fingerprint, name), flush=True)
        return 0

    if len(digits := as_fingerprint(who)) == FINGERPRINT_CHARS:  # whoever has it need not be in any room
        print(admission.ban(settings, file, digits, ""), flush=True)
        return 0
    return await _as_guest(settings, look_up)


# --- serve ---------------------------------------------------------------------------------------------------------


async def run_serve(settings: Settings, _arguments: argparse.Namespace, _log_file: Path | None) -> int:
    """A server half alone, until a signal; it hands over before it ends."""
    failures: list[str] = []
    name = settings["name"] or _machine_name()
    way = _way_in(settings, name, ephemeral=settings["ephemeral"])

    def told(notice: broker_server.Notice) -> None:
        log.info("%s id=%s epoch=%s", notice.event, notice.id, notice.epoch)
        if notice.event == "listening":
            print(
                f"standing by for {settings['server_uri']} as {half.name} at {half.advertise_host}"
                f" (zdns at {', '.join(way.dns)}); stop it with Ctrl+C",
                flush=True,
            )
        if notice.event == "admitted":
            way.keep_token(notice.token)
            way.proved()
        if notice.event in broker_server.WARNINGS:
            with contextlib.suppress(OSError):
                print(f"relevo serve: {safe_line(notice.message)}", file=sys.stderr, flush=True)
        if notice.event == "failed":
            failures.append(notice.message)

    half = _server_half(settings, name, way)
    code = await broker_server.run_server(half, told)
    if code:
        raise CommandError(failures[-1] if failures else "the server half stopped", code)
    return 0


def _server_half(settings: Settings, name: str, way: access.Access) -> broker_server.Settings:
    host = way.dns[0].rpartition(":")[0].strip("[]")
    key = "" if way.credentials is None else way.credentials.keys.public
    return broker_server.Settings(
        service=settings["server_uri"],
        server_id=identity.make_id(key, secrets.token_hex(16)),
        name=name,
        dns=tuple(f"tcp://{address}" for address in way.dns),
        serve_first=settings["serve_first"],
        min_n=settings["min_n"],
        term_ms=round(settings["term"] * 1000),
        fresh=settings["fresh"],
        bind_host=settings["bind"] or "0.0.0.0",
        advertise_host=settings["bind"] or process.local_address_towards(host),
        data_dir=None if settings["ephemeral"] else str(_data_dir(settings)),
        replicas=settings["replicas"],
        credentials=way.credentials,
        token=way.token,
        flood_per_s=settings["flood"],
    )


def _machine_name() -> str:
    """This machine's name as a nick, as nobody sits at it."""
    try:
        return names.check_nick(socket.gethostname().partition(".")[0][: limits.NICK_CHARS_MAX])
    except ValueError:
        return "server"


# --- chat ----------------------------------------------------------------------------------------------------------


async def run_chat(settings: Settings, _arguments: argparse.Namespace, log_file: Path | None) -> int:
    """Take part: in the full-screen console at a terminal, else by lines or by JSON objects."""
    if _has_screen() and not settings["plain"] and not settings["json"]:
        return await _run_console(settings, log_file)
    chat = _participant(settings, log_file)
    if settings["json"]:
        source = StreamInput(sys.stdin.fileno(), JSON_LINE_BYTES_MAX)
        return await _converse(settings, chat, Conversation(chat, JsonFace(), source), None)
    face = PlainFace(settings["server_uri"], chat.dns)
    prompt = _prompt(face)
    source_or_prompt = prompt or StreamInput(sys.stdin.fileno(), PLAIN_LINE_BYTES_MAX)
    return await _converse(settings, chat, Conversation(chat, face, source_or_prompt), prompt)


def _has_screen() -> bool:
    """A person sits at a terminal that can do more than print."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "")


async def _run_console(settings: Settings, log_file: Path | None) -> int:
    # Only here: urwid takes a tenth of a second to load, which no other command has to wait for.
    from ui.console import Console

    keymap = Keymap.from_overrides(settings["keys"])
    chat = _participant(settings, log_file, patient=True)
    model = Model(
        service=settings["server_uri"],
        dns=chat.dns,
        stamp=local_stamp,
        settings={name: settings[name] for name in SETTABLE},
        flood_per_s=settings["flood"],
        now_ms=clock.utc_ms(),
        keymap=keymap,
        invitation=_invitation(chat, settings["server_uri"]),
        is_open=chat.is_open,
    )
    console = Console(model, keymap, os.environ)
    conversation = Conversation(chat, console, console)
    console.fails = conversation.fail
    try:
        return await _converse(settings, chat, conversation, console)
    finally:
        for line in model.unsent():
            print(line, file=sys.stderr)


def _invitation(chat: Client, room: str) -> str:
    """The command by which others on the network join; empty when zdns is not seen from there, or not yet."""
    where = "" if room == names.DEFAULT_SERVICE else f" --server_uri {room}"
    if not chat.is_open:
        return f"relevo chat{where} --ticket TICKET, which `relevo ticket` prints"
    address = chat.dns[0]
    host, _, port = address.rpartition(":")
    if is_this_machine(host):
        host = process.local_address_towards(host)
        address = f"{host}:{port}"
        try:
            socket.create_connection((host, int(port)), INVITATION_S).close()
        except OSError:
            return ""
        if is_this_machine(host):
            return ""
    return f"relevo chat --dns {address}{where}"


def _participant(settings: Settings, log_file: Path | None, **more: Any) -> Client:
    # What comes through a pipe is paced by its acknowledgements; a person's limit would lose lines of it.
    piped = not settings["json"] and not sys.stdin.isatty()
    return _client(
        settings,
        log_file,
        serve=not settings["no_serve"],
        serve_first=settings["serve_first"],
        min_n=settings["min_n"],
        term_s=settings["term"],
        replicas=settings["replicas"],
        fresh=settings["fresh"],
        flood=0 if piped and "flood" not in settings.given else settings["flood"],
        room_flood=settings["flood"],
        ephemeral=settings["ephemeral"],
        **more,
    )


def _prompt(face: PlainFace) -> "PromptInput | None":
    """Line editing, when a person sits at a terminal that can do it."""
    if not _has_screen():
        return None
    from ui.prompt import PromptInput

    prompt = PromptInput(sys.stdin.fileno(), PLAIN_LINE_BYTES_MAX, lambda: face.wording.nicks)
    face.sheet = prompt
    return prompt


async def _converse(
    settings: Settings, chat: Client, conversation: Conversation[Any], screen: "PromptInput | Console | None"
) -> int:
    def signalled() -> None:
        if screen is not None:
            screen.close()  # at once: whoever insists with a second signal ends the process where it stands
        conversation.interrupt()

    process.on_signals(asyncio.get_running_loop(), signalled)
    try:
        chat.start()
        code = await conversation.run()
    finally:
        if screen is not None:
            screen.close()
        telling = asyncio.get_running_loop().call_later(LEAVING_TOLD_S, _tell_leaving, settings["json"])
        await chat.close()
        telling.cancel()
    if conversation.reason:
        if settings["json"]:
            log.error("%s", conversation.reason)
        else:
            raise CommandError(conversation.reason, code)
    return code


def _tell_leaving(is_json: bool) -> None:
    why = "handing over what this machine holds before it leaves …"
    if is_json:
        log.info("%s", why)  # programs are promised that standard error has the log only
        return
    with contextlib.suppress(OSError):
        print(why, file=sys.stderr, flush=True)


# --- errands -------------------------------------------------------------------------------------------------------


def _client(settings: Settings, log_file: Path | None, **more: Any) -> Client:
    """A client by the options all commands of a room have."""
    return Client(
        service=settings["server_uri"],
        dns=settings.given_dns,
        ticket=settings.values.get("ticket"),
        name=settings["name"],
        bind=settings["bind"],
        data_dir=_data_dir(settings),
        log_file=log_file,
        log_level=settings["log_level"],
        **more,
    )


async def _as_guest(
    settings: Settings,
    work: Callable[[Client, notices.Ready], Coroutine[Any, Any, int]],
    *,
    since: int | None = None,
    ends_well: bool = False,
) -> int:
    """Join as a guest, do `work`, leave. `ends_well`: a signal is the usual end of it once it has begun."""
    joined = False

    async def visit() -> int:
        nonlocal joined
        chat = _client(settings, None, guest=True, serve=False, flood=0, since=since)
        chat.start()
        try:
            ready = await errands.join(chat, settings.values.get("timeout", JOIN_S))
            joined = True
            return await work(chat, ready)
        finally:
            await chat.close()

    task = asyncio.ensure_future(visit())
    _cancel_at_signal(task)
    try:
        return await task
    except asyncio.CancelledError:
        return 0 if joined and ends_well else EXIT_INTERRUPTED


async def run_send(settings: Settings, arguments: argparse.Namespace, _log_file: Path | None) -> int:
    """Post the text, or each line of standard input."""

    complaints = 0

    def complain(sentence: str) -> None:
        nonlocal complaints
        complaints += 1
        with contextlib.suppress(OSError):
            print(f"relevo send: {sentence}", file=sys.stderr, flush=True)

    words: list[str] = arguments.words

    async def post(chat: Client, _ready: notices.Ready) -> int:
        posting = errands.Posting(chat, settings["timeout"], json=settings["json"], complain=complain)
        await posting.run(errands.one_text(words[0]) if words else errands.input_texts(complain))
        return EXIT_REFUSED if complaints else 0

    return await _as_guest(settings, post)


async def run_tail(settings: Settings, _arguments: argparse.Namespace, _log_file: Path | None) -> int:
    """Print messages."""
    since, follow = settings["since"], not settings["no_follow"]
    if since is None and not follow:
        since = 1

    async def watch(chat: Client, ready: notices.Ready) -> int:
        last = None if follow else ready.head
        return await errands.tail(chat, json=settings["json"], since=since or 0, count=settings["count"], last=last)

    return await _as_guest(settings, watch, since=since, ends_well=True)


async def run_status(settings: Settings, _arguments: argparse.Namespace, _log_file: Path | None) -> int:
    """Print how the room is served."""
    timeout_s, json = settings["timeout"], settings["json"]
    return await _as_guest(settings, lambda chat, _ready: errands.show_status(chat, timeout_s, json=json))


async def run_handover(settings: Settings, _arguments: argparse.Namespace, _log_file: Path | None) -> int:
    """Have the server role handed over."""
    timeout_s, to = settings["timeout"], settings["to"]
    return await _as_guest(settings, lambda chat, _ready: errands.hand_over(chat, timeout_s, to))


RUNNERS: dict[str, Runner] = {
    "dns": run_dns,
    "chat": run_chat,
    "serve": run_serve,
    "send": run_send,
    "tail": run_tail,
    "status": run_status,
    "handover": run_handover,
    "ticket": run_ticket,
    "ban": run_ban,
}
