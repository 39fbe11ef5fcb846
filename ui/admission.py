"""Who is let in, for whoever runs zdns: its ticket, in print and as a QR code, and the bans."""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from peer.keyring import Keyring
from ui import qr
from ui.checks import join_address
from ui.options import CommandError, Settings
from ui.safe_text import safe_line
from ui.wording import Stamp
from wire import identity, limits
from wire.exits import EXIT_UNAVAILABLE, EXIT_USAGE
from wire.names import nick_key
from wire.ticket import Ticket, TicketError, parse
from zdns.door import Ban
from zdns.house import HouseFile, KeptHouse, find, is_this_machine

_SOON = "zdns follows within a second, if it runs"


def invitation(settings: Settings, kept: KeptHouse) -> list[str]:
    """What a zdns that has begun to listen says about how to join."""
    if kept.is_open:
        return [
            "OPEN: everybody who can reach this machine can take part, and can read all that is said in any room",
            f"on this machine just: relevo chat{_meaning(settings, kept)}",
            f"elsewhere: relevo chat --dns {kept.addresses[0]}",
        ]
    return [
        f"on this machine just: relevo chat{_meaning(settings, kept)}",
        f"elsewhere, once: relevo chat --ticket '{kept.ticket}'",
    ]


def _meaning(settings: Settings, kept: KeptHouse) -> str:
    """The options with which a command on this machine means that zdns, each after a space."""
    port = kept.addresses[0].rpartition(":")[2]
    more = "" if port == str(limits.DNS_PORT) else f" --dns_port {port}"
    if settings.origins.get("data_dir", "").startswith("flag"):
        more += f" --data-dir {shlex.quote(settings['data_dir'])}"
    return more


# --- the ticket ----------------------------------------------------------------------------------------------------


def show_ticket(settings: Settings, data_dir: Path) -> None:
    """Print the ticket of the zdns that is meant; first make it another one, if that is asked for.

    Raises:
        CommandError: there is none, or what was asked for makes no sense.
        SecretFileError: a file of keys or tickets will not do.
    """
    if settings["everyone"] and not settings["renew"]:
        raise CommandError("--everyone goes with --renew. Try: relevo ticket --help", EXIT_USAGE)
    file = _local_house(settings, data_dir)
    if settings["renew"] or (file is not None and file.kept.is_open):
        file = closed_house(settings, data_dir)
    if file is None:
        ticket = _remembered(settings, data_dir)
        _remark("this is the one with which this account was let in last; it may have been renewed since")
    else:
        ticket = file.kept.ticket
    if settings["ticket_host"] is not None:
        ticket = _at_host(ticket, settings["ticket_host"])
    if file is not None and settings["renew"]:
        file.renew(everyone=settings["everyone"])
        ticket = replace(ticket, secret=file().secret)
        who = "everybody, also who is in, needs this one" if settings["everyone"] else "who was let in can come back"
        _remark(f"the old ticket is worthless now; {who}; {_SOON}")
    print(ticket, flush=True)
    if all(is_this_machine(address.rpartition(":")[0]) for address in ticket.addresses):
        _remark("its address is of use on this machine alone; name another with --host")
    if settings["qr"]:
        _show_code(str(ticket))


def _remembered(settings: Settings, data_dir: Path) -> Ticket:
    """The ticket of a zdns elsewhere, by which this account was let in last."""
    wanted = settings.given_dns
    for known in Keyring(data_dir).tickets():
        if wanted is None or not set(wanted).isdisjoint(known.ticket.addresses):
            return known.ticket
    raise CommandError(
        f"no zdns of this account has listened at {', '.join(settings['dns'])}, and no ticket is remembered for it."
        " Start one with `relevo dns`, or name another with --dns HOST:PORT",
        EXIT_UNAVAILABLE,
    )


def _at_host(ticket: Ticket, host: str) -> Ticket:
    port = int(ticket.addresses[0].rpartition(":")[2])
    try:
        return parse(str(replace(ticket, addresses=(join_address(host, port),))))
    except TicketError as error:
        raise CommandError(f"--host: {host!r} cannot stand in a ticket", EXIT_USAGE) from error


def _show_code(text: str) -> None:
    if not sys.stdout.isatty():
        _remark("no QR code, as standard output is no terminal")
        return
    lines = qr.code_lines(text)
    if qr.columns_of(lines) > os.get_terminal_size(sys.stdout.fileno()).columns:
        _remark(f"no QR code, as it takes {qr.columns_of(lines)} columns and this terminal has fewer")
        return
    try:
        "".join(lines).encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        _remark(f"no QR code, as {sys.stdout.encoding}, which this terminal is said to use, has no blocks to draw it")
        return
    print(*lines, sep="\n", flush=True)


def _remark(sentence: str) -> None:
    """Beside the ticket, which standard output is for."""
    print(f"relevo ticket: {sentence}", file=sys.stderr, flush=True)


# --- bans ----------------------------------------------------------------------------------------------------------


def closed_house(settings: Settings, data_dir: Path) -> HouseFile:
    """The file of the zdns of this account that is meant.

    Raises:
        CommandError: there is none, or it is an open one.
        SecretFileError: it will not do.
    """
    file = _local_house(settings, data_dir)
    if file is None:
        raise CommandError(
            f"no zdns of this account has listened at {', '.join(settings['dns'])}: say this where it runs, as who runs"
            " it; --dns_port says its port, --data-dir its folder",
            EXIT_UNAVAILABLE,
        )
    if file.kept.is_open:
        raise CommandError(
            f"the zdns at {', '.join(file.kept.addresses)} was started with --open, where there are no tickets and"
            " nobody can be kept out. Start it without",
            EXIT_UNAVAILABLE,
        )
    return file


def ban(settings: Settings, file: HouseFile, fingerprint: str, name: str) -> str:
    """Ban the holder of a key; returns what to say of it."""
    file.ban(fingerprint, name)
    back = safe_line(name) or identity.shown(fingerprint)
    more = _meaning(settings, file.kept)
    return (
        f"banned: {_called(name, fingerprint)}; {_SOON}. Who has the ticket can come back with another key, unless it"
        f" is changed: relevo ticket --renew{more}; who was let in under another key before, only with --everyone,"
        f" which asks everybody for the new one. To let them back in: relevo ban --lift {shlex.quote(back)}{more}"
    )


def is_banned(file: HouseFile, nick: str) -> bool:
    """Whether somebody is banned who was called so then."""
    return any(nick_key(ban.name) == nick_key(nick) for ban in file().bans)


def lift(file: HouseFile, who: str) -> str:
    """End a ban; returns what to say of it."""
    was = file.lift(who)
    return f"banned no more: {_called(was.name, was.fingerprint)}; {_SOON}"


def ban_lines(bans: Sequence[Ban], stamp: Stamp) -> list[str]:
    """Who is banned, the last one last."""
    if not bans:
        return ["nobody is banned"]
    return [
        f"{identity.shown(one.fingerprint)}  since {stamp(one.since_ms)}  {safe_line(one.name)}".rstrip()
        for one in bans
    ]


def _called(name: str, fingerprint: str) -> str:
    return f"{safe_line(name)} ({identity.shown(fingerprint)})" if name else identity.shown(fingerprint)


def _local_house(settings: Settings, data_dir: Path) -> HouseFile | None:
    """The one of the first address of zdns that is one of this account."""
    return next((file for address in settings["dns"] if (file := find(data_dir, address)) is not None), None)
