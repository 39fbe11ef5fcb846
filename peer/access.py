"""Which zdns a command means, and by what it is let in there: a ticket, the zdns of this machine, or nothing."""

import logging
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from peer.keyring import Keyring, Remembered
from runtime import key_pairs
from runtime.secret_files import SecretFileError
from wire import limits
from wire.errors import RelevoError
from wire.exits import EXIT_REFUSED
from wire.identity import Credentials
from wire.ticket import Ticket, TicketError, parse
from zdns import house

log = logging.getLogger("relevo.client")

NO_TICKET = "none"
LISTENS_S = 0.2  # for a port of this machine to take a connection
DEFAULT_DNS = f"localhost:{limits.DNS_PORT}"


class AccessError(RelevoError):
    """What was given as a ticket is none; `str()` is a sentence without its full stop."""

    exit_code = EXIT_REFUSED


@dataclass(frozen=True, slots=True)
class Access:
    """The way in.

    `dns`: of zdns, "host:port", to be tried in turn. `credentials`: None on an open network. `token`: what this zdns
    gave the holder of these keys the last time; nothing if it did not, or on an open network.
    """

    dns: tuple[str, ...]
    credentials: Credentials | None = None
    token: bytes = field(default=b"", repr=False)
    _keyring: Keyring | None = field(default=None, repr=False)  # None: nothing is written
    _name: str = ""
    _ticket: Ticket | None = None

    def keep_token(self, token: bytes) -> None:
        """Keep what zdns gave; that it could not be kept goes to the log."""
        if self._keyring is None or self.credentials is None:
            return
        try:
            self._keyring.keep_token(self._name, self.credentials.zdns_key, token)
        except SecretFileError as error:
            log.warning("the token is not kept: %s", error)

    def met(self, service: str) -> dict[str, str]:
        """Whom this identity has met in a room before: fingerprints by nick.

        Raises:
            SecretFileError: the file will not do.
        """
        return {} if self._keyring is None else self._keyring.met(self._name, service)

    def keep_met(self, service: str, met: Mapping[str, str]) -> None:
        """Keep whom it has met; that it could not be kept goes to the log."""
        if self._keyring is None:
            return
        try:
            self._keyring.keep_met(self._name, service, met)
        except SecretFileError as error:
            log.warning("who was met is not kept: %s", error)

    def proved(self) -> None:
        """Zdns has let us in: the ticket, if there was one, is remembered. That it could not be goes to the log."""
        if self._keyring is None or self._ticket is None:
            return
        try:
            self._keyring.remember(self._ticket)
        except SecretFileError as error:
            log.warning("the ticket is not remembered: %s", error)


def find(
    *,
    data_dir: Path,
    name: str,
    dns: Sequence[str] | None,
    ticket: str | None,
    ephemeral: bool,
    waits: bool = False,
) -> Access:
    """Find the way in.

    Args:
        data_dir: where keys and tickets are; also with `ephemeral` what is there is used, if not written.
        name: whose keys to use; they are made the first time.
        dns: "host:port" of zdns, as somebody said it; None: nobody did.
        ticket: as somebody gave it; NO_TICKET: none is to be used; None: nobody did.
        ephemeral: new keys that nobody keeps, and nothing is written.
        waits: a zdns of this machine that is started only now, or in a moment, will do as well.

    Raises:
        AccessError: the ticket is none.
        SecretFileError: a file of keys or tickets will not do.
    """
    keyring = Keyring(data_dir)

    def closed(where: Sequence[str], pass_: Ticket, *, remembers: bool) -> Access:
        keys = key_pairs.make() if ephemeral else keyring.keys(name)
        return Access(
            tuple(where),
            Credentials(keys, pass_.zdns_key, pass_.secret),
            b"" if ephemeral else keyring.token(name, pass_.zdns_key),
            None if ephemeral else keyring,
            name,
            pass_ if remembers else None,
        )

    if ticket is not None and ticket.lower() == NO_TICKET:
        return Access(tuple(dns or (DEFAULT_DNS,)))
    if ticket is not None:
        given = _parse(ticket)
        return closed(dns or given.addresses, _also_at(given, dns or ()), remembers=True)
    local = _local(data_dir, dns or (DEFAULT_DNS,))
    known = None if local is not None and dns is not None else _known(keyring, dns)
    if local is not None and (known is None or known.used_ms <= local.started_ms):
        where = tuple(dns or (DEFAULT_DNS,))
        return Access(where) if local.is_open else closed(where, local.ticket, remembers=False)
    if known is None and waits and not ephemeral:
        where = tuple(dns or (DEFAULT_DNS,))
        expected = _expected(data_dir, where[0])
        if expected is not None:
            return closed(where, expected, remembers=False)
    if known is not None:
        return closed(dns or known.ticket.addresses, known.ticket, remembers=True)
    return Access(tuple(dns or (DEFAULT_DNS,)))


def _parse(text: str) -> Ticket:
    try:
        return parse(text)
    except TicketError as error:
        raise AccessError(f"the ticket cannot be used: {error}") from error


def _also_at(ticket: Ticket, dns: Sequence[str]) -> Ticket:
    """The ticket as it is to be remembered: found again by the addresses at which it was used."""
    longer = replace(ticket, addresses=tuple(dict.fromkeys([*dns, *ticket.addresses]))[: limits.ENDPOINTS_MAX])
    try:
        return parse(str(longer))
    except TicketError:
        return ticket  # an address that no ticket can have


def _local(data_dir: Path, dns: Sequence[str]) -> house.KeptHouse | None:
    """The zdns of this account at the first of these addresses where there is one."""
    for address in dns:
        file = house.find(data_dir, address)
        if file is not None:
            return file.kept
    return None


def _expected(data_dir: Path, address: str) -> Ticket | None:
    """What the zdns of this account will take that has not begun to listen at this address yet.

    Its file is made if need be, as the zdns would: whichever of the two is started first.
    """
    host, _, port = address.rpartition(":")
    if not house.is_this_machine(host):
        return None
    if not house.path_of(data_dir, int(port)).exists() and _listens(host, int(port)):
        return None  # somebody else's, then
    kept = house.HouseFile.open_or_make(data_dir, int(port)).kept.house
    return Ticket((address,), kept.keys.public, kept.secret)


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host.strip("[]"), port), LISTENS_S).close()
    except OSError:
        return False
    return True


def _known(keyring: Keyring, dns: Sequence[str] | None) -> Remembered | None:
    """The ticket last used at one of these addresses; None: at any."""
    found = (one for one in keyring.tickets() if dns is None or not set(dns).isdisjoint(one.ticket.addresses))
    return next(found, None)
