"""What each command of `relevo` does once its options are settled."""

import argparse
import asyncio
import contextlib
import logging
import os
import secrets
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker import server as broker_server
from peer import notices
from peer.client import Client
from runtime import clock, process
from runtime.links import LinkError
from ui import checks, errands
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
from wire import limits, names
from wire.exits import EXIT_CONFIG, EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_UNAVAILABLE
from wire.messages import Resolve
from zdns import server as zdns_server
from zdns import stores
from zdns.probe import DnsSilent, ask_once

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
        return await _check_dns(settings["dns"])
    host, port = settings["host"], settings["port"]
    store, where = _open_store(settings)

    def listening(endpoint: str) -> None:
        print(f"zdns listening at {endpoint.removeprefix('tcp://')} ({where}); stop it with Ctrl+C", flush=True)

    try:
        await _until_signal(zdns_server.run_dns(host, port, store, round(settings["lease"] * 1000), listening))
    except LinkError as error:
        raise CommandError(str(error), EXIT_UNAVAILABLE) from error
    except stores.StoreError as error:
        raise CommandError(str(error), EXIT_INTERNAL) from error
    finally:
        store.close()
    return 0


def _open_store(settings: Settings) -> tuple[stores.Store | stores.SharedStore, str]:
    """The store, and the words for it. Its name has the port in it: each zdns of an account has its own."""
    if settings["store"] == "memory":
        return stores.MemoryStore(), "records in memory only"
    if settings["store"].startswith(checks.ETCD):
        return _open_etcd(settings["store"])
    folder = Path(settings["data_dir"] or process.data_dir())
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


async def _check_dns(addresses: Sequence[str]) -> int:
    question = Resolve(ask=0, protocol=limits.PROTOCOL, service=names.DEFAULT_SERVICE)
    try:
        await ask_once([f"tcp://{address}" for address in addresses], question, PROBE_MS)  # any answer is a yes
    except DnsSilent as error:
        raise CommandError(
            f"no zdns answers at {', '.join(addresses)} within {PROBE_MS / 1000:g} s. Start one with `relevo dns`,"
            " or name another with --dns HOST:PORT",
            EXIT_UNAVAILABLE,
        ) from error
    print(f"zdns answers at {', '.join(addresses)}")
    return 0


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


# --- serve ---------------------------------------------------------------------------------------------------------


async def run_serve(settings: Settings, _arguments: argparse.Namespace, _log_file: Path | None) -> int:
    """A server half alone, until a signal; it hands over before it ends."""
    failures: list[str] = []

    def told(notice: broker_server.Notice) -> None:
        log.info("%s id=%s epoch=%s", notice.event, notice.id, notice.epoch)
        if notice.event == "listening":
            print(
                f"standing by for {settings['server_uri']} as {half.name} at {half.advertise_host}"
                f" (zdns at {', '.join(settings['dns'])}); stop it with Ctrl+C",
                flush=True,
            )
        if notice.event in broker_server.DISK_EVENTS:
            with contextlib.suppress(OSError):
                print(f"relevo serve: {safe_line(notice.message)}", file=sys.stderr, flush=True)
        if notice.event == "failed":
            failures.append(notice.message)

    half = _server_half(settings)
    code = await broker_server.run_server(half, told)
    if code:
        raise CommandError(failures[-1] if failures else "the server half stopped", code)
    return 0


def _server_half(settings: Settings) -> broker_server.Settings:
    host = settings["dns"][0].rpartition(":")[0].strip("[]")
    return broker_server.Settings(
        service=settings["server_uri"],
        server_id=secrets.token_hex(16),
        name=settings["name"] or _machine_name(),
        dns=tuple(f"tcp://{address}" for address in settings["dns"]),
        serve_first=settings["serve_first"],
        min_n=settings["min_n"],
        term_ms=round(settings["term"] * 1000),
        fresh=settings["fresh"],
        bind_host=settings["bind"] or "0.0.0.0",
        advertise_host=settings["bind"] or process.local_address_towards(host),
        data_dir=None if settings["ephemeral"] else str(Path(settings["data_dir"] or process.data_dir()).absolute()),
        replicas=settings["replicas"],
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
    face = PlainFace(settings["server_uri"], settings["dns"])
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
    model = Model(
        service=settings["server_uri"],
        dns=settings["dns"],
        stamp=local_stamp,
        settings={name: settings[name] for name in SETTABLE},
        flood_per_s=settings["flood"],
        now_ms=clock.utc_ms(),
        keymap=keymap,
        invitation=_invitation(settings),
    )
    console = Console(model, keymap, os.environ)
    chat = _participant(settings, log_file, patient=True)
    conversation = Conversation(chat, console, console)
    console.fails = conversation.fail
    try:
        return await _converse(settings, chat, conversation, console)
    finally:
        for line in model.unsent():
            print(line, file=sys.stderr)


def _invitation(settings: Settings) -> str:
    """The command by which others on the network join; empty when zdns is not seen from there, or not yet."""
    address = settings["dns"][0]
    host, _, port = address.rpartition(":")
    if _is_this_machine(host):
        host = process.local_address_towards(host)
        address = f"{host}:{port}"
        try:
            socket.create_connection((host, int(port)), INVITATION_S).close()
        except OSError:
            return ""
        if _is_this_machine(host):
            return ""
    room = settings["server_uri"]
    return f"relevo chat --dns {address}" + ("" if room == names.DEFAULT_SERVICE else f" --server_uri {room}")


def _is_this_machine(host: str) -> bool:
    return host in ("localhost", "[::1]") or host.startswith("127.")


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
        telling = asyncio.get_running_loop().call_later(LEAVING_TOLD_S, _tell_leaving)
        await chat.close()
        telling.cancel()
    if conversation.reason:
        if settings["json"]:
            log.error("%s", conversation.reason)
        else:
            raise CommandError(conversation.reason, code)
    return code


def _tell_leaving() -> None:
    with contextlib.suppress(OSError):
        print("handing over what this machine holds before it leaves …", file=sys.stderr, flush=True)


# --- errands -------------------------------------------------------------------------------------------------------


def _client(settings: Settings, log_file: Path | None, **more: Any) -> Client:
    """A client by the options all commands of a room have."""
    return Client(
        service=settings["server_uri"],
        dns=settings["dns"],
        name=settings["name"],
        bind=settings["bind"],
        data_dir=settings["data_dir"] or process.data_dir(),
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
}
