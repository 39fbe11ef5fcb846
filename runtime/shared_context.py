"""The one ZeroMQ context of the process, shared by all its links."""

import asyncio
import logging
import resource
import threading
from typing import Final

import zmq

from runtime.zap_handler import ZapHandler

log = logging.getLogger("relevo.links")

_FILES_WANTED: Final = 16_384  # a thousand members with both their connections, and as many again in a storm


def _raise_file_limit() -> None:
    """Allow this process as many open files as it may have: each socket takes one, each connection another."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, _FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:
            log.warning("only %d files can be open at once: %s", soft, error)


class _SharedContext:
    """The one Context of the process: made when first needed, ended when the last `Links` has closed."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._zap: ZapHandler | None = None
        self._users = 0

    def take(self) -> zmq.Context[zmq.Socket[bytes]]:
        if self._context is None:
            _raise_file_limit()
            self._context = zmq.Context(io_threads=1)  # a second one gained nothing when measured
            self._context.linger = 0  # sockets inherit it
            self._context.max_sockets = 4_096
        self._users += 1
        return self._context

    def zap(self) -> ZapHandler:
        """The context's ZAP handler, made when first needed; the context must have been taken."""
        if self._zap is None:
            assert self._context is not None
            self._zap = ZapHandler(self._context)
        return self._zap

    async def give_back(self, deadline_ms: int) -> None:
        self._users -= 1
        if self._users or self._context is None:
            return
        context, self._context = self._context, None
        if self._zap is not None:
            self._zap.close()  # the context ends only after its last socket
            self._zap = None
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def end() -> None:
            context.term()  # waits for the lingering sockets
            try:
                loop.call_soon_threadsafe(ended.set)
            except RuntimeError:
                pass  # the loop did not wait so long; nobody is left to tell

        # A daemon: if libzmq does not come back, the process ends all the same.
        threading.Thread(target=end, name="zmq-context-end", daemon=True).start()
        try:
            await asyncio.wait_for(ended.wait(), deadline_ms / 1000)
        except TimeoutError:
            log.warning("the ZeroMQ context did not end within %d ms", deadline_ms)


shared_context = _SharedContext()
