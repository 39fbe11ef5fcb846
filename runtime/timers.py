"""Named timers over the IOLoop, with the meaning that StartTimer and StopTimer promise."""

from collections.abc import Callable

from tornado.ioloop import IOLoop


class Timers:
    """The running timers of one core.

    A timer that ran out is *due* until the core has been told. Stopping or restarting it in between takes that
    back, so a core never hears of a timer it has stopped, however long the event stood in the queue.
    """

    def __init__(self, ran_out: Callable[[str], None]) -> None:
        """`ran_out(name)` is called from the loop; the driver then asks `take_due` when it gets to the event."""
        self._ran_out = ran_out
        self._loop = IOLoop.current()
        self._running: dict[str, object] = {}
        self._due: set[str] = set()

    def start(self, name: str, delay_ms: int) -> None:
        """Start the timer, anew if it runs."""
        self.stop(name)
        self._running[name] = self._loop.call_later(max(delay_ms, 0) / 1000, self._run_out, name)

    def stop(self, name: str) -> None:
        """Stop the timer if it runs, and forget that it ran out."""
        self._due.discard(name)
        handle = self._running.pop(name, None)
        if handle is not None:
            self._loop.remove_timeout(handle)

    def stop_all(self) -> None:
        """Stop every timer."""
        for name in list(self._running):
            self.stop(name)
        self._due.clear()

    def take_due(self, name: str) -> bool:
        """Whether the timer has run out and was neither stopped nor restarted since; asking settles it."""
        if name in self._due:
            self._due.remove(name)
            return True
        return False

    def _run_out(self, name: str) -> None:
        del self._running[name]
        self._due.add(name)
        self._ran_out(name)
