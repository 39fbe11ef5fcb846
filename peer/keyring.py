"""The identities of an account, their tokens, and the tickets that proved good: files in its data folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from runtime import clock, key_pairs, secret_files
from runtime.file_names import safe_name
from wire import limits
from wire.identity import FINGERPRINT_CHARS, PROOF_BYTES, KeyPair
from wire.names import nick_key
from wire.ticket import Ticket, TicketError, is_key, parse

# The names of people go behind a word of ours, or somebody called like another file would have it.
_BEGIN: Final = "identity-"
_MET: Final = "met-"
_TICKETS: Final = "tickets.json"
_IDENTITY_REMEDY: Final = (
    "put a copy of it back; or delete it, and you are somebody else to all who know you by your key"
)
_MET_REMEDY: Final = "put a copy of it back; or delete it, and whoever is met next is taken to be who they say"
_TICKETS_REMEDY: Final = "put a copy of it back; or delete it, and give the ticket once more"


@dataclass(frozen=True, slots=True)
class Remembered:
    """A ticket that proved good. `used_ms`: when it did so last, UTC."""

    ticket: Ticket
    used_ms: int


class Keyring:
    """What one data folder holds of it. Every method may raise SecretFileError, with a sentence about the file."""

    def __init__(self, data_dir: Path) -> None:
        """`data_dir`: made when something is kept for the first time."""
        self._folder = secret_files.folder_of(data_dir)

    def keys(self, nick: str) -> KeyPair:
        """The key pair of whoever is called so; a new one the first time."""
        path = self._path(nick)
        data = secret_files.read(path)  # what is there can be read on a disk that is full, or read-only
        if data is None:
            data = secret_files.update(path, lambda old: _encode(_new_identity()) if old is None else old)
        return _keys_of(_identity(path, data))

    def token(self, nick: str, zdns_key: str) -> bytes:
        """What the zdns of this key gave them; nothing if it is not known."""
        path = self._path(nick)
        data = secret_files.read(path)
        return b"" if data is None else _identity(path, data).tokens.get(zdns_key, b"")

    def keep_token(self, nick: str, zdns_key: str, token: bytes) -> None:
        """Keep what they were given."""
        path = self._path(nick)

        def change(old: bytes | None) -> bytes:
            found = _new_identity() if old is None else _identity(path, old)
            if found.tokens.get(zdns_key) == token and old is not None:
                return old
            others = [(key, one) for key, one in found.tokens.items() if key != zdns_key]
            tokens = dict([*others, (zdns_key, token)][-limits.TOKENS_MAX :])
            return _encode(msgspec.structs.replace(found, tokens=tokens))

        secret_files.update(path, change)

    def tickets(self) -> tuple[Remembered, ...]:
        """The tickets that proved good, the last used first."""
        path = self._folder / _TICKETS
        data = secret_files.read(path)
        return () if data is None else _tickets(path, data)

    def remember(self, ticket: Ticket) -> None:
        """Note that a ticket has proved good just now; it takes the place of an older one of the same zdns."""
        path = self._folder / _TICKETS

        def change(old: bytes | None) -> bytes:
            others = [
                one for one in _tickets(path, b"[]" if old is None else old) if one.ticket.zdns_key != ticket.zdns_key
            ]
            kept = [Remembered(ticket, clock.utc_ms()), *others][: limits.TICKETS_MAX]
            return _encode([_TicketInFile(str(one.ticket), one.used_ms) for one in kept])

        secret_files.update(path, change)

    def met(self, nick: str, service: str) -> dict[str, str]:
        """Whom they have met in a room: fingerprints by nick, as nicks are compared."""
        path = self._met_path(nick, service)
        data = secret_files.read(path)
        return {} if data is None else _met(path, data)

    def keep_met(self, nick: str, service: str, met: Mapping[str, str]) -> None:
        """Keep whom they have met."""
        secret_files.update(self._met_path(nick, service), lambda _old: _encode(dict(met)))

    def _met_path(self, nick: str, service: str) -> Path:
        return self._folder / f"{_MET}{safe_name(nick_key(nick))}@{safe_name(service)}.json"

    def _path(self, nick: str) -> Path:
        return self._folder / f"{_BEGIN}{safe_name(nick_key(nick))}.json"


# --- the files -----------------------------------------------------------------------------------------------------

_Key = Annotated[str, msgspec.Meta(min_length=1)]
_Token = Annotated[bytes, msgspec.Meta(min_length=PROOF_BYTES, max_length=PROOF_BYTES)]


class _IdentityInFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal[1]
    public: _Key
    private: _Key
    tokens: Annotated[dict[_Key, _Token], msgspec.Meta(max_length=limits.TOKENS_MAX)]


class _TicketInFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ticket: str
    used_ms: Annotated[int, msgspec.Meta(ge=0, le=2**53)]


_Fingerprint = Annotated[
    str, msgspec.Meta(min_length=FINGERPRINT_CHARS, max_length=FINGERPRINT_CHARS, pattern="^[0-9a-f]*$")
]
_met_decoder = msgspec.json.Decoder(
    Annotated[dict[_Key, _Fingerprint], msgspec.Meta(max_length=limits.NICKS_OWNED_MAX)]
)
_identity_decoder = msgspec.json.Decoder(_IdentityInFile)
_tickets_decoder = msgspec.json.Decoder(Annotated[list[_TicketInFile], msgspec.Meta(max_length=limits.TICKETS_MAX)])


def _new_identity() -> _IdentityInFile:
    keys = key_pairs.make()
    return _IdentityInFile(1, keys.public, keys.secret, {})


def _keys_of(found: _IdentityInFile) -> KeyPair:
    return KeyPair(found.public, found.private)


def _identity(path: Path, data: bytes) -> _IdentityInFile:
    try:
        found = _identity_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise secret_files.damaged(path, str(error), _IDENTITY_REMEDY) from error
    if not key_pairs.is_whole(_keys_of(found)):
        raise secret_files.damaged(path, "its two keys do not belong together", _IDENTITY_REMEDY)
    if not all(map(is_key, found.tokens)):
        raise secret_files.damaged(path, "a token in it is for what is no key", _IDENTITY_REMEDY)
    return found


def _tickets(path: Path, data: bytes) -> tuple[Remembered, ...]:
    try:
        return tuple(Remembered(parse(one.ticket), one.used_ms) for one in _tickets_decoder.decode(data))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise secret_files.damaged(path, str(error), _TICKETS_REMEDY) from error
    except TicketError as error:
        raise secret_files.damaged(path, f"of a ticket in it: {error}", _TICKETS_REMEDY) from error


def _met(path: Path, data: bytes) -> dict[str, str]:
    try:
        met: dict[str, str] = _met_decoder.decode(data)
        return met
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise secret_files.damaged(path, str(error), _MET_REMEDY) from error


def _encode(content: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content)) + b"\n"
