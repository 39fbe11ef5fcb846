"""ui.probe: any answer of a zdns is a yes, silence is a no; it asks once and stops."""

from ui.probe import Found, Probe
from wire import limits
from wire.errors import RefusalCode
from wire.messages import NameState, Refused, Resolve, Resolved
from wire.step import Command, OpenLink, Received, Report, Send, Started, StartTimer, Stop, TimerFired

DEADLINE_MS = 2_000


def asked() -> tuple[Probe, list[Command]]:
    probe = Probe(["tcp://localhost:8000"], DEADLINE_MS)
    return probe, probe.handle(Started(nonce="0" * 32, utc_ms=0), 0)


def sent(commands: list[Command]) -> tuple[Send, Resolve]:
    sends = [command for command in commands if isinstance(command, Send)]
    assert len(sends) == 1
    assert isinstance(sends[0].message, Resolve)
    return sends[0], sends[0].message


def test_it_asks_at_the_address_given() -> None:
    _, commands = asked()
    assert [command.endpoint for command in commands if isinstance(command, OpenLink)] == ["tcp://localhost:8000"]
    assert sent(commands)[1].protocol == limits.PROTOCOL


def test_an_answer_is_a_yes() -> None:
    probe, commands = asked()
    send, question = sent(commands)
    answer = Resolved(ask=question.ask, state=NameState.FREE, record=None, standbys=())
    done = probe.handle(Received(send.link, answer), 5)
    assert Report(Found("")) in done
    assert isinstance(done[-1], Stop)


def test_a_refusal_shows_that_somebody_is_there() -> None:
    probe, commands = asked()
    send, question = sent(commands)
    done = probe.handle(Received(send.link, Refused(question.ask, RefusalCode.VERSION, "another protocol")), 5)
    assert Report(Found("")) in done


def test_silence_is_a_no_with_a_reason() -> None:
    probe, commands = asked()
    deadlines = [command for command in commands if isinstance(command, StartTimer) and command.delay_ms == DEADLINE_MS]
    done = probe.handle(TimerFired(deadlines[0].name), DEADLINE_MS)
    found = [command.notice for command in done if isinstance(command, Report)]
    assert len(found) == 1
    assert found[0].why
    assert isinstance(done[-1], Stop)


def test_its_state_can_be_read() -> None:
    assert asked()[0].describe().startswith("probe ")
