"""What makes a zdns closed, in a file of its own that commands change while it runs, and that its account finds."""

import ipaddress
import logging
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from runtime import clock, key_pairs, secret_files
from runtime.secret_files import SecretFileError
from wire import identity, limits
from wire.errors import RelevoError
from wire.exits import EXIT_REFUSED
from wire.identity import KeyPair
from wire.names import nick_key
from wire.ticket import Ticket, TicketError, parse
from zdns.door import Ban, House
from zdns.stores import StoreError

log = logging.getLogger("relevo.zdns")

PERMIT_KEY_BYTES: Final = 32
_BEGIN, _END = "zdns-", ".json"
_SHOWN_DIGITS: Final = len(identity.shown("0" * identity.FINGERPRINT_CHARS).replace("-", ""))
_FINGERPRINT_LENGTHS: Final = (_SHOWN_DIGITS, identity.FINGERPRINT_CHARS)
_REMEDY: Final = "put a copy of it back; or delete it, and everybody needs a new ticket"


class HouseError(RelevoError):
    """A ban cannot be set or lifted; `str()` is a sentence without its full stop."""

    exit_code = EXIT_REFUSED


@dataclass(frozen=True, slots=True)
class KeptHouse:
    """What is in the file.

    `is_open`: the last start was with --open. `addresses`: "host:port", how it then announced itself; none before the
    first one. `started_ms`: when that was, UTC.
    """

    house: House
    is_open: bool
    addresses: tuple[str, ...]
    started_ms: int

    @property
    def ticket(self) -> Ticket:
        """For those who are elsewhere."""
        return Ticket(self.addresses, self.house.keys.public, self.house.secret)

    def is_at(self, address: str) -> bool:
        """Whether "host:port", as this machine would say it, is this zdns."""
        host, _, port = address.rpartition(":")
        return any(
            own.rpartition(":")[2] == port and (is_this_machine(host) or own.rpartition(":")[0] == host)
            for own in self.addresses
        )


def is_this_machine(host: str) -> bool:
    """Whether a host, an IPv6 address in brackets, is the machine of whoever says it, by its name alone."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def path_of(data_dir: Path, port: int) -> Path:
    """The file of the zdns that is started with this port."""
    return secret_files.folder_of(data_dir) / f"{_BEGIN}{port}{_END}"


def find(data_dir: Path, address: str) -> "HouseFile | None":
    """The file of the zdns of this account that is, or was, at "host:port"; of several the one started last.

    Raises:
        SecretFileError: the file of that port will not do.
    """
    host, _, port = address.rpartition(":")
    wanted = path_of(data_dir, int(port)) if is_this_machine(host) else None
    found: list[HouseFile] = []
    for path in sorted(secret_files.folder_of(data_dir).glob(f"{_BEGIN}*{_END}")):
        try:
            file = HouseFile(path)
        except SecretFileError as error:
            if path == wanted:
                raise
            log.warning("%s", error)
            continue
        if file.kept.is_at(address):
            found.append(file)
    return max(found, key=lambda file: file.kept.started_ms, default=None)


class HouseFile:
    """The file of one zdns. Called, it gives the house as it is now: that of the last file that could be read."""

    def __init__(self, path: Path) -> None:
        """Read it.

        Raises:
            SecretFileError: there is none, or it will not do.
        """
        self.path = path
        self._seen = _look(path)
        self._kept = _load(path)

    @classmethod
    def open_or_make(cls, data_dir: Path, port: int) -> "HouseFile":
        """The file of a zdns that starts; with new keys if there is none.

        Args:
            data_dir: made if need be.
            port: as zdns was told it; 0 for any.

        Raises:
            SecretFileError: it will not do, or cannot be written.
        """
        path = path_of(data_dir, port)
        secret_files.update(path, lambda old: _encode(_new()) if old is None else old)
        return cls(path)

    def __call__(self) -> House:
        """The house as it is now; what is wrong with a file that cannot be read goes to the log, once."""
        seen = _look(self.path)
        if seen != self._seen:
            self._seen = seen
            try:
                self._kept = _load(self.path)
            except SecretFileError as error:
                log.warning("the door stays as it was: %s", error)
        return self._kept.house

    @property
    def kept(self) -> KeptHouse:
        """All that is in the file, as last read."""
        return self._kept

    def announce(self, addresses: tuple[str, ...], *, is_open: bool) -> None:
        """Say that zdns listens, and where. Not before it does: else another one, which has the port, is misnamed."""
        self._change(lambda kept: replace(kept, is_open=is_open, addresses=addresses, started_ms=clock.utc_ms()))

    def renew(self, *, everyone: bool) -> None:
        """Make a new secret: the ticket is another one. `everyone`: those who were admitted need it as well."""

        def change(house: House) -> House:
            renewed = replace(house, secret=secrets.token_bytes(identity.SECRET_BYTES))
            if not everyone:
                return renewed
            permit_key = secrets.token_bytes(PERMIT_KEY_BYTES)
            return replace(renewed, permit_key=permit_key, generation=house.generation + 1)

        self._change_house(change)

    def ban(self, fingerprint: str, name: str) -> None:
        """Let the key of this fingerprint, all of it, in no more; `name`: what to call its holder.

        Raises:
            HouseError: there are limits.BANNED_MAX already.
        """

        def change(house: House) -> House:
            if any(ban.fingerprint == fingerprint for ban in house.bans):
                return house
            if len(house.bans) >= limits.BANNED_MAX:
                raise HouseError(f"{limits.BANNED_MAX:,} are banned, and no more can be: lift a ban first")
            # Whoever is banned may have served, and could make permits for other keys with what it knows.
            permit_key = secrets.token_bytes(PERMIT_KEY_BYTES)
            return replace(house, permit_key=permit_key, bans=(*house.bans, Ban(fingerprint, name, clock.utc_ms())))

        self._change_house(change)

    def lift(self, who: str) -> Ban:
        """End the ban of `who`, a name or a fingerprint, also one without its end; returns what it was.

        Raises:
            HouseError: nobody is banned who is called so, or several are.
        """
        lifted: list[Ban] = []

        def change(house: House) -> House:
            digits = as_fingerprint(who)
            lifted[:] = [ban for ban in house.bans if digits and ban.fingerprint.startswith(digits)]
            lifted[:] = lifted or [ban for ban in house.bans if nick_key(ban.name) == nick_key(who)]
            if not lifted:
                raise HouseError(f"nobody called {who!r} is banned; `relevo ban --list` shows who is")
            if len(lifted) > 1:
                all_of_them = ", ".join(identity.shown(ban.fingerprint) for ban in lifted)
                raise HouseError(f"several who are called {who!r} are banned, say which: {all_of_them}")
            return replace(house, bans=tuple(ban for ban in house.bans if ban is not lifted[0]))

        self._change_house(change)
        return lifted[0]

    def take_up(self, house: House) -> None:
        """Have exactly this house: another zdns of the same network has it."""
        self._change(lambda kept: replace(kept, house=house))

    def _change_house(self, change: Callable[[House], House]) -> None:
        def changed(kept: KeptHouse) -> KeptHouse:
            house = change(kept.house)
            return kept if house == kept.house else replace(kept, house=replace(house, number=house.number + 1))

        self._change(changed)

    def _change(self, change: Callable[[KeptHouse], KeptHouse]) -> None:
        def changed(old: bytes | None) -> bytes:
            if old is None:
                raise _missing(self.path)
            return _encode(change(_decode(self.path, old)))

        secret_files.update(self.path, changed)
        self()


def as_fingerprint(text: str) -> str:
    """The digits of a fingerprint that somebody gave whole, or as it is shown; nothing if it is no fingerprint."""
    digits = text.strip().lower().replace("-", "")
    return digits if len(digits) in _FINGERPRINT_LENGTHS and set(digits) <= set("0123456789abcdef") else ""


def _new() -> KeptHouse:
    secret, permit_key = secrets.token_bytes(identity.SECRET_BYTES), secrets.token_bytes(PERMIT_KEY_BYTES)
    return KeptHouse(House(key_pairs.make(), secret, permit_key, number=1), False, (), 0)


# --- the file ------------------------------------------------------------------------------------------------------

_Whole = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _BanInFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    fingerprint: Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{{identity.FINGERPRINT_CHARS}}}$")]
    name: Annotated[str, msgspec.Meta(max_length=limits.NICK_CHARS_MAX)]
    since_ms: _Whole


class _InFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal[1]
    public: str
    private: str
    secret: Annotated[bytes, msgspec.Meta(min_length=identity.SECRET_BYTES, max_length=identity.SECRET_BYTES)]
    permit_key: Annotated[bytes, msgspec.Meta(min_length=PERMIT_KEY_BYTES, max_length=PERMIT_KEY_BYTES)]
    number: _Whole
    generation: _Whole
    bans: Annotated[tuple[_BanInFile, ...], msgspec.Meta(max_length=limits.BANNED_MAX)]
    open: bool
    addresses: tuple[str, ...]
    started_ms: _Whole


_decoder = msgspec.json.Decoder(_InFile)


def _encode(kept: KeptHouse) -> bytes:
    house = kept.house
    in_file = _InFile(
        format=1,
        public=house.keys.public,
        private=house.keys.secret,
        secret=house.secret,
        permit_key=house.permit_key,
        number=house.number,
        generation=house.generation,
        bans=tuple(_BanInFile(ban.fingerprint, ban.name, ban.since_ms) for ban in house.bans),
        open=kept.is_open,
        addresses=kept.addresses,
        started_ms=kept.started_ms,
    )
    return msgspec.json.format(msgspec.json.encode(in_file)) + b"\n"


def _decode(path: Path, data: bytes) -> KeptHouse:
    try:
        found = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise secret_files.damaged(path, str(error), _REMEDY) from error
    keys = KeyPair(found.public, found.private)
    if not key_pairs.is_whole(keys):
        raise secret_files.damaged(path, "its two keys do not belong together", _REMEDY)
    bans = tuple(Ban(ban.fingerprint, ban.name, ban.since_ms) for ban in found.bans)
    house = House(keys, found.secret, found.permit_key, found.number, bans, found.generation)
    kept = KeptHouse(house, found.open, found.addresses, found.started_ms)
    try:
        if kept.addresses:
            parse(str(kept.ticket))
    except TicketError as error:
        raise secret_files.damaged(path, "an address in it is none", _REMEDY) from error
    return kept


def house_bytes(house: House) -> bytes:
    """A house for a store that several zdns share."""
    return _encode(KeptHouse(house, is_open=False, addresses=(), started_ms=0))


def house_from(data: bytes) -> House:
    """What `house_bytes` made.

    Raises:
        StoreError: it is something else.
    """
    try:
        return _decode(Path("the house in the store"), data).house
    except SecretFileError as error:
        raise StoreError(str(error)) from error


def _load(path: Path) -> KeptHouse:
    data = secret_files.read(path)
    if data is None:
        raise _missing(path)
    return _decode(path, data)


def _missing(path: Path) -> SecretFileError:
    return SecretFileError(
        f"{path} is gone: start zdns anew, which makes another one, and everybody needs a new ticket"
    )


def _look(path: Path) -> tuple[int, int, int] | None:
    """What tells one version of the file from another; None: there is none."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
