"""The client half: finding the room, following it, showing each message once; and `Client`, the interface for programs.

`from peer import Client` is all a bot needs; `peer.intents` and `peer.notices` are what it may ask and what it is told.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peer.client import Client, ClientError, PostRefused, RequestRefused, TellFailed

__all__ = ["Client", "ClientError", "PostRefused", "RequestRefused", "TellFailed"]


def __getattr__(name: str) -> Any:
    """Load the client, and ZeroMQ with it, only for whoever wants it: the pure files do without."""
    if name in __all__:
        from peer import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
