"""CURVE key pairs, made and checked by libzmq."""

import zmq

from wire.identity import KeyPair
from wire.ticket import is_key


def make() -> KeyPair:
    """A new key pair.

    Raises:
        zmq.ZMQError: this libzmq was built without encryption; those that come with pyzmq are not.
    """
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


def public_of(secret: str) -> str:
    """The public key of a secret one; empty when that is no key."""
    return zmq.curve_public(secret.encode()).decode() if is_key(secret) else ""


def is_whole(keys: KeyPair) -> bool:
    """Whether the two belong together."""
    return is_key(keys.public) and public_of(keys.secret) == keys.public
