"""A driver runs a core: order, turns, timers, flush, logging, and every way to end."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from runtime.driver import Driver, FlushingCore
from runtime.links import LinkError
from runtime.timers import Timers
from tests.support.conversations import DEADLINE_S, conversation
from wire import limits
from wire.messages import Ping, Pong
from wire.names import LinkId
from wire.step import (
    Asked,
    CloseLink,
    Command,
    Event,
    LinkBound,
    LinkKind,
    OpenLink,
    Received,
    Report,
    Send,
    SendRefused,
    Started,
    StartTimer,
    Stop,
    Stopping,
    StopTimer,
    TimerFired,
)


@dataclass
class Script:
    """A core that answers events with commands by a rule, and remembers what it was told and when."""

    rule: Callable[[Event], list[Command]]
    state: str = "idle"
    told: list[Event] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)
    at_work: bool = False

    def handle(self, event: Event, now_ms: int) -> list[Command]:
        assert not self.at_work, "a core was entered while at work"
        self.at_work = True
        self.told.append(event)
        self.times_ms.append(now_ms)
        commands = self.rule(event)
        self.at_work = False
        return commands

    def describe(self) -> str:
        return self.state


class Gathering(Script):
    """One that gathers what it is asked and reports it at the end of a turn."""

    gathered: tuple[Any, ...] = ()

    def handle(self, event: Event, now_ms: int) -> list[Command]:
        if isinstance(event, Asked):
            self.gathered = (*self.gathered, event.intent)
            return []
        return super().handle(event, now_ms)

    def flush(self, now_ms: int) -> list[Command]:
        self.times_ms.append(now_ms)
        gathered, self.gathered = self.gathered, ()
        return [Report(gathered)] if gathered else []


# --- events and commands -------------------------------------------------------------------------------------------


@conversation
async def test_a_core_is_started_with_a_fresh_nonce_and_the_time() -> None:
    cores = [Script(lambda _: [Stop("enough")]) for _ in range(2)]
    for core in cores:
        driver = Driver(core)
        driver.start()
        assert await driver.done() == "enough"
    (first,), (second,) = (core.told for core in cores)
    assert isinstance(first, Started)
    assert isinstance(second, Started)
    assert len(first.nonce) == 32
    assert int(first.nonce, 16) != int(second.nonce, 16)
    assert 0 <= second.utc_ms - first.utc_ms < 1000 * DEADLINE_S


@conversation
async def test_commands_are_performed_in_order_and_nothing_after_stop() -> None:
    reported: list[Any] = []
    core = Script(lambda _: [Report(1), Report(2), Stop(), Report(3)])
    driver = Driver(core, on_report=reported.append)
    driver.start()
    driver.post(Stopping())
    await driver.done()
    driver.post(Stopping())
    assert reported == [1, 2]
    assert len(core.told) == 1


@conversation
async def test_whoever_is_told_may_ask_at_once_without_entering_the_core() -> None:
    def rule(event: Event) -> list[Command]:
        match event:
            case Started():
                return [Report("one"), Report("two")]
            case Asked("two"):
                return [Stop()]
        return []

    core = Script(rule)
    driver = Driver(core, on_report=lambda notice: driver.post(Asked(notice)))
    driver.start()
    await driver.done()
    assert core.told[1:] == [Asked("one"), Asked("two")]


@conversation
async def test_two_cores_talk_over_real_sockets() -> None:
    def serve(event: Event) -> list[Command]:
        match event:
            case Started():
                return [OpenLink(LinkId("room"), LinkKind.ROOM_BIND)]
            case LinkBound(_, endpoints):
                return [Report(endpoints[0])]
            case Received(link, Ping(ask), sender):
                return [Send(link, Pong(ask, 1), sender)]
            case Stopping():
                return [CloseLink(LinkId("room")), Stop()]
        return []

    def ask(event: Event) -> list[Command]:
        match event:
            case Asked(endpoint):
                return [
                    OpenLink(LinkId("r1"), LinkKind.ROOM_CONNECT, endpoint=endpoint),
                    Send(LinkId("r1"), Ping(41)),
                ]
            case Received(_, Pong(answer)):
                return [Stop(str(answer + 1))]
        return []

    client = Driver(Script(ask))
    server = Driver(Script(serve), on_report=lambda endpoint: client.post(Asked(endpoint)))
    server.start()
    client.start()
    assert await client.done() == "42"
    assert server.counters[LinkId("room")].messages_in == 1
    server.post(Stopping())
    await server.done()
    assert server.counters == {}


@conversation
async def test_what_was_gathered_in_a_turn_is_flushed_at_its_end() -> None:
    reported: list[Any] = []
    core = Gathering(lambda event: [Stop()] if isinstance(event, Stopping) else [])
    assert isinstance(core, FlushingCore)
    assert not isinstance(Script(core.rule), FlushingCore)
    driver = Driver(core, on_report=reported.append)
    driver.start()
    for intent in (1, 2, 3):
        driver.post(Asked(intent))
    await asyncio.sleep(0)
    driver.post(Asked(4))
    await asyncio.sleep(0)
    driver.post(Asked(5))
    driver.post(Stopping())
    await driver.done()
    assert reported == [(1, 2, 3), (4,)]  # a core that says Stop has nothing more to say


@conversation
async def test_a_core_that_always_has_something_to_do_leaves_others_their_turn() -> None:
    turns = 0

    def rule(event: Event) -> list[Command]:
        return [Stop()] if isinstance(event, Stopping) else [Report("again")]

    driver = Driver(Script(rule), on_report=lambda _: driver.post(Asked("again")))
    driver.start()
    while turns < 100:
        turns += 1
        await asyncio.sleep(0)
    driver.post(Stopping())
    await driver.done()
    assert turns == 100


@conversation
async def test_a_command_that_fails_in_the_network_comes_back_as_an_event() -> None:
    def rule(event: Event) -> list[Command]:
        match event:
            case Started():
                return [Send(LinkId("nowhere"), Ping(1))]
            case SendRefused(_, _, _, why):
                return [Stop(why)]
        return []

    driver = Driver(Script(rule))
    driver.start()
    assert await driver.done() == "the link is closed"


# --- timers --------------------------------------------------------------------------------------------------------


@conversation
async def test_timers_run_out_in_order_unless_stopped_and_only_once_when_started_anew() -> None:
    def rule(event: Event) -> list[Command]:
        match event:
            case Started():
                return [
                    StartTimer("last", 400),
                    StartTimer("stopped", 5),
                    StartTimer("anew", 1),
                    StartTimer("anew", 200),
                    StartTimer("first", 100),
                    StopTimer("stopped"),
                    StopTimer("never started"),
                ]
            case TimerFired("last"):
                return [Stop()]
        return []

    core = Script(rule)
    driver = Driver(core)
    driver.start()
    await driver.done()
    assert core.told[1:] == [TimerFired("first"), TimerFired("anew"), TimerFired("last")]
    assert core.times_ms[3] - core.times_ms[0] >= 399


@conversation
async def test_a_timer_stopped_while_its_event_waits_is_not_heard_of() -> None:
    ran_out: asyncio.Queue[str] = asyncio.Queue()
    timers = Timers(ran_out.put_nowait)
    for name in ("stopped", "restarted", "kept"):
        timers.start(name, 0)
    for _ in range(3):
        await ran_out.get()
    timers.stop("stopped")
    timers.start("restarted", 0)
    assert not timers.take_due("stopped")
    assert not timers.take_due("restarted")
    assert timers.take_due("kept")
    assert not timers.take_due("kept")
    await ran_out.get()
    assert timers.take_due("restarted")
    timers.start("at the end", 0)
    timers.stop_all()
    assert not timers.take_due("at the end")


@conversation
async def test_a_core_does_not_hear_a_timer_it_stops_in_the_turn_in_which_it_ran_out() -> None:
    fired: asyncio.Queue[None] = asyncio.Queue()

    def rule(event: Event) -> list[Command]:
        match event:
            case Started():
                return [StartTimer("t", 0)]
            case Asked("stop it"):
                return [StopTimer("t")]
            case Asked("end"):
                return [Stop()]
        return []

    core = Script(rule)
    driver = Driver(core)
    driver.start()
    loop = asyncio.get_running_loop()
    # Whatever the moment at which the timer runs out: after StopTimer it must not be heard.
    for delay_ms in range(8):
        loop.call_later(delay_ms / 1000, driver.post, Asked("stop it"))
    loop.call_later(0.02, fired.put_nowait, None)
    await fired.get()
    driver.post(Asked("end"))
    await driver.done()
    first_stop = core.told.index(Asked("stop it"))
    assert TimerFired("t") not in core.told[first_stop:]


# --- the log -------------------------------------------------------------------------------------------------------


@conversation
async def _walk_through_states() -> None:
    def rule(event: Event) -> list[Command]:
        match event:
            case Asked(intent):
                core.state = f"epoch={intent.count('e')}"
                return [Report(1), Report(2)]
            case Stopping():
                core.state = "gone"
                return [Stop()]
        return []

    core = Script(rule)
    driver = Driver(core)
    driver.start()
    for event in (Asked("a secret text"), Asked("a secret text"), Stopping()):
        driver.post(event)
    await driver.done()


def test_transitions_are_logged_and_contents_are_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "relevo.driver")
    _walk_through_states()
    lines = [each.getMessage() for each in caplog.records if each.levelno == logging.INFO]
    assert lines == [
        "idle -> epoch=3 on Asked(str); 2 commands",
        "epoch=3 -> gone on Stopping; 1 commands",
        "stop: done",
    ]
    assert "secret" not in caplog.text


# --- the end -------------------------------------------------------------------------------------------------------


@conversation
async def test_an_exception_in_a_core_stops_the_driver_and_reaches_whoever_waits() -> None:
    def rule(event: Event) -> list[Command]:
        match event:
            case Started():
                return [OpenLink(LinkId("room"), LinkKind.ROOM_BIND), StartTimer("later", 0)]
            case LinkBound():
                raise RuntimeError("a bug")
        return []

    core = Script(rule)
    driver = Driver(core)
    driver.start()
    with pytest.raises(RuntimeError, match="a bug"):
        await driver.done()
    assert driver.counters == {}
    assert TimerFired("later") not in core.told


@pytest.mark.parametrize("where", ["flush", "report", "bind"])
@conversation
async def test_an_exception_outside_the_core_stops_the_driver_as_well(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = Gathering(lambda _: [OpenLink(LinkId("port"), LinkKind.DNS_BIND, endpoint="127.0.0.1:99999")])

    def fail(_: object) -> Any:
        raise RuntimeError("a bug")

    driver = Driver(core, on_report=fail)
    if where == "flush":
        monkeypatch.setattr(core, "flush", fail)
    driver.post(Stopping() if where == "bind" else Asked("something"))
    with pytest.raises(LinkError if where == "bind" else RuntimeError):
        await driver.done()


def test_a_bug_is_logged_with_where_it_was(caplog: pytest.LogCaptureFixture) -> None:
    test_an_exception_in_a_core_stops_the_driver_and_reaches_whoever_waits()
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert "stopped by a bug in state idle" in record.getMessage()


@conversation
async def test_waiting_for_the_end_can_be_given_up_and_taken_up_again() -> None:
    driver = Driver(Script(lambda event: [Stop("now")] if isinstance(event, Stopping) else []))
    driver.start()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(driver.done(), 0.01)
    driver.post(Stopping())
    assert [await driver.done(), await driver.done()] == ["now", "now"]


@conversation
async def test_stop_leaves_time_for_the_last_words() -> None:
    heard: list[Event] = []

    def serve(event: Event) -> list[Command]:
        match event:
            case Started():
                return [OpenLink(LinkId("room"), LinkKind.ROOM_BIND)]
            case LinkBound(_, endpoints):
                return [Report(endpoints[0])]
            case Received():
                heard.append(event)
                return [Stop()]
        return []

    def call(event: Event) -> list[Command]:
        match event:
            case Asked(endpoint):
                return [
                    OpenLink(LinkId("r1"), LinkKind.ROOM_CONNECT, endpoint=endpoint),
                    Send(LinkId("r1"), Ping(1)),
                    Stop(),
                ]
        return []

    client = Driver(Script(call))
    server = Driver(Script(serve), on_report=lambda endpoint: client.post(Asked(endpoint)))
    began_s = asyncio.get_running_loop().time()
    server.start()
    client.start()
    await client.done()
    await server.done()
    assert len(heard) == 1
    assert asyncio.get_running_loop().time() - began_s < 5 * limits.STOP_MS / 1000
