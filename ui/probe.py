"""Does a zdns answer? One question, one yes or no; pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from wire import limits, names
from wire.messages import Resolve
from wire.step import Command, Event, Report, Started, Stop
from zdns.lookup import Answered, Lookup, Unanswered


@dataclass(frozen=True, slots=True)
class Found:
    """How it went. `why` is empty when one answered."""

    why: str


class Probe:
    """Asks who serves the usual name; any answer, even a refusal, shows that a zdns is there."""

    def __init__(self, endpoints: Sequence[str], deadline_ms: int) -> None:
        """Ask at `endpoints` ("tcp://host:port") in turn for at most `deadline_ms`."""
        self._lookup = Lookup(endpoints)
        self._deadline_ms = deadline_ms

    def handle(self, event: Event, now_ms: int) -> list[Command]:
        """Advance by one event."""
        if isinstance(event, Started):
            question = Resolve(ask=0, protocol=limits.PROTOCOL, service=names.DEFAULT_SERVICE)
            return self._lookup.ask(question, now_ms, self._deadline_ms)[1]
        commands, outcomes = self._lookup.handle(event, now_ms)
        for outcome in outcomes:
            match outcome:
                case Answered():
                    return [*commands, Report(Found("")), *self._lookup.close(), Stop("answered")]
                case Unanswered(why=why):
                    return [*commands, Report(Found(why)), *self._lookup.close(), Stop("unanswered")]
        return commands

    def describe(self) -> str:
        """The lookup's state."""
        return f"probe {self._lookup.describe()}"
