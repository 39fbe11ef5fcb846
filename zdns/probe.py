"""One question to zdns from outside any core: ask, wait, return the answer."""

import asyncio
from collections.abc import Sequence

from runtime.driver import Driver
from wire import limits
from wire.errors import RelevoError
from wire.identity import Credentials
from wire.messages import DnsReply, NameRequest
from wire.step import Command, Event, Report, Started, Stop, Stopping
from zdns.lookup import Answered, Lookup, Unanswered


class DnsSilent(RelevoError):
    """No zdns answered in time; a sentence for people."""


class DnsTurnsAway(DnsSilent):
    """There is a zdns, and it is closed to us, or open while we have a ticket; a sentence for people."""


class Question:
    """The core of one question: asks when started, reports the outcome, stops."""

    def __init__(
        self, endpoints: Sequence[str], request: NameRequest, deadline_ms: int, credentials: Credentials | None
    ) -> None:
        """Ask `request` at `endpoints` in turn for at most `deadline_ms`."""
        self._lookup = Lookup(endpoints, credentials)
        self._request = request
        self._deadline_ms = deadline_ms

    def handle(self, event: Event, now_ms: int) -> list[Command]:
        """Advance by one event."""
        if isinstance(event, Started):
            return self._lookup.ask(self._request, now_ms, self._deadline_ms)[1]
        if isinstance(event, Stopping):
            return [*self._lookup.close(), Stop("cancelled")]
        commands, outcomes = self._lookup.handle(event, now_ms)
        if not outcomes:
            return commands
        return [*commands, *self._lookup.close(), Report(outcomes[0]), Stop("asked")]

    def describe(self) -> str:
        """The lookup's state."""
        return self._lookup.describe()


async def ask_once(
    endpoints: Sequence[str],
    request: NameRequest,
    deadline_ms: int = limits.DNS_DEADLINE_MS,
    credentials: Credentials | None = None,
) -> DnsReply:
    """Ask zdns one question and return its answer, which may be `Refused`.

    Args:
        endpoints: "tcp://host:port", asked in turn.
        request: its `ask` does not matter.
        deadline_ms: for all attempts together.
        credentials: what to show a closed zdns.

    Raises:
        DnsTurnsAway: there is one, but not for us.
        DnsSilent: no answer came; the request may have been carried out all the same.
    """
    outcomes: list[Answered | Unanswered] = []
    keys = None if credentials is None else credentials.keys
    question = Question(endpoints, request, deadline_ms, credentials)
    driver = Driver(question, keys=keys, on_report=outcomes.append)
    driver.start()
    try:
        await driver.done()
    except asyncio.CancelledError:
        driver.post(Stopping())
        raise
    match outcomes[0]:
        case Answered(reply=reply):
            return reply
        case Unanswered(why=why, hopeless=True):
            raise DnsTurnsAway(why)
        case Unanswered(why=why):
            raise DnsSilent(why)
