"""`peer.Client` as programs use it: a zdns and the server halves are real processes, the clients are in this one."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from peer import Client, ClientError, PostRefused, RequestRefused, TellFailed, client, intents, notices
from tests.support.processes import PATIENCE_S, Zdns, free_port

Scenario = Callable[[Callable[..., Awaitable[Client]]], Awaitable[None]]


def play(zdns: Zdns, scenario: Scenario) -> None:
    """Run a scenario; what it joins with is ended with it."""

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S), AsyncExitStack() as stack:

            async def join(name: str | None = None, **options: Any) -> Client:
                return await stack.enter_async_context(make(zdns, name, **options))

            await scenario(join)

    asyncio.run(main())


def make(zdns: Zdns, name: str | None = None, **options: Any) -> Client:
    return Client(dns=zdns.address, ticket=zdns.ticket, bind="127.0.0.1", name=name, flood=0, **options)


async def hand_over(chat: Client, to: str) -> None:
    """Have the role handed over as soon as the server half of `to`, a process of its own, stands by."""
    while True:
        try:
            return await chat.handover(to)
        except RequestRefused as error:
            assert error.code in ("no_standby", "busy", "handover_failed"), error
            await asyncio.sleep(0.05)


async def until(chat: Client, kind: type[notices.Notice]) -> Any:
    async for notice in chat:
        if isinstance(notice, kind):
            return notice
    raise AssertionError(f"it ended without {kind.__name__}")


def test_a_post_returns_its_seq_and_everybody_is_shown_it(zdns: Zdns) -> None:
    async def scenario(join: Callable[..., Awaitable[Client]]) -> None:
        ana, bo = await join("ana", serve_first=True), await join("bo")
        seqs = await asyncio.gather(*(ana.post(f"text {number}") for number in range(20)))
        assert seqs == list(range(1, 21))
        for chat in (ana, bo):
            assert [(await until(chat, notices.Message)).text for _ in seqs] == [f"text {n}" for n in range(20)]
        posted = await until_posted(ana)
        assert posted.tag is None

    async def until_posted(chat: Client) -> notices.Posted:
        await chat.post("one more")
        return await until(chat, notices.Posted)  # type: ignore[no-any-return]  # `until` returns what it is given

    play(zdns, scenario)


def test_private_texts_go_past_the_server_while_it_moves(zdns: Zdns) -> None:
    async def scenario(join: Callable[..., Awaitable[Client]]) -> None:
        ana = await join("ana", serve_first=True, term_s=0.2)
        bo = await join("bo", term_s=0.2)
        await until(ana, notices.MemberChanged)
        await asyncio.gather(ana.tell("bo", "a first"), bo.tell("ana", "b first"))
        count = 0
        while count < 50 or (await ana.status()).epoch < 3:  # a server half may take a while to come up
            await ana.tell("BO", f"a {count}")
            count += 1
        heard: list[tuple[str, str]] = []
        while len(heard) < count + 1:
            notice = await until(bo, notices.Private)
            if notice.state == "received":
                heard.append((notice.sender, notice.text))
        assert heard == [("ana", "a first"), *(("ana", f"a {number}") for number in range(count))]

    play(zdns, scenario)


def test_refusals_are_errors_of_their_own(zdns: Zdns) -> None:
    async def scenario(join: Callable[..., Awaitable[Client]]) -> None:
        ana = await join("ana", serve_first=True)
        with pytest.raises(TellFailed, match="not here"):
            await ana.tell("nobody", "hello")
        with pytest.raises(PostRefused) as refused:
            await ana.post("x" * 9_000)
        assert refused.value.code == "too_long"
        with pytest.raises(RequestRefused) as none:
            await ana.handover()
        assert none.value.code == "no_standby"
        with pytest.raises(ClientError) as taken:
            await join("Ana")
        assert taken.value.exit_code == 77
        assert "taken" in str(taken.value)

    play(zdns, scenario)


def test_who_status_and_handover_answer_directly(zdns: Zdns) -> None:
    async def scenario(join: Callable[..., Awaitable[Client]]) -> None:
        ana, bo = await join("ana", serve_first=True), await join("bo")
        guest = await join(guest=True)
        assert [member.name for member in await guest.who()] == ["ana", "bo"]
        await hand_over(ana, "bo")
        status = await bo.status()
        assert (status.epoch, status.active.name) == (2, "bo")

    play(zdns, scenario)


def test_leaving_hands_over_and_ends_the_server_half(zdns: Zdns) -> None:
    async def scenario(join: Callable[..., Awaitable[Client]]) -> None:
        async with make(zdns, "ana", serve_first=True) as ana:
            bo = await join("bo")
            await hand_over(ana, "bo")
            await until(ana, notices.Relocated)  # or the next one would be asked of the old server
            await hand_over(ana, "ana")
            await ana.post("keep this")
            pid = ana.server_pid
            assert pid is not None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        with pytest.raises(ClientError):
            await ana.post("too late")
        assert [notice.event async for notice in ana][-1] == "bye"
        status = await bo.status()
        assert (status.epoch, status.active.name, status.head) == (4, "bo", 1)

    play(zdns, scenario)


def test_a_server_half_that_dies_is_replaced(zdns: Zdns) -> None:
    async def scenario(join: Callable[..., Awaitable[Client]]) -> None:
        ana, bo = await join("ana", serve_first=True), await join("bo")
        while (pid := bo.server_pid) is None:
            await asyncio.sleep(0.01)  # one may be in before the own server half has been started
        os.kill(pid, signal.SIGKILL)
        await hand_over(ana, "bo")
        assert bo.server_pid not in (None, pid)
        assert (await ana.status()).active.name == "bo"
        assert {member.name: member.serving for member in await ana.who()} == {"ana": False, "bo": True}

    play(zdns, scenario)


def test_without_a_zdns_joining_fails_in_time() -> None:
    async def scenario() -> None:
        with pytest.raises(ClientError) as error:
            async with (
                asyncio.timeout(PATIENCE_S),
                Client(dns=f"127.0.0.1:{free_port()}", bind="127.0.0.1", name="ana"),
            ):
                raise AssertionError("joined a room without zdns")
        assert error.value.exit_code == 69

    asyncio.run(scenario())


def test_a_patient_client_says_once_that_there_is_no_zdns_and_comes_in_when_there_is(tmp_path: Path) -> None:
    port = free_port()

    async def scenario() -> None:
        chat = Client(dns=f"127.0.0.1:{port}", bind="127.0.0.1", name="ana", patient=True)
        chat.start()
        try:
            async with asyncio.timeout(PATIENCE_S):
                fault = await until(chat, notices.Fault)
                assert fault.code == "no_zdns"
                assert str(port) in fault.message
                with Zdns(tmp_path, port, is_open=True):
                    came_at = time.monotonic()
                    told = []
                    async for notice in chat:
                        told.append(notice)
                        if isinstance(notice, notices.Ready):
                            break
                    # Two looks at zdns, and the wait for somebody who would rather serve; a loaded machine besides.
                    assert time.monotonic() - came_at < 10
                    assert not [notice for notice in told if isinstance(notice, notices.Fault)]
                    assert await chat.post("at last") == 1
                    await chat.close()
        finally:
            await chat.close()

    asyncio.run(scenario())


def test_a_patient_client_that_may_not_serve_waits_for_one_that_does(zdns: Zdns) -> None:
    async def scenario(join: Callable[..., Awaitable[Client]]) -> None:
        cy = make(zdns, "cy", serve=False, patient=True)
        cy.start()
        try:
            assert (await until(cy, notices.Fault)).code == "nobody_serves"
            await join("ana", serve_first=True)
            assert (await until(cy, notices.Ready)).server == "ana"
        finally:
            await cy.close()

    play(zdns, scenario)


def test_guests_are_told_topic_and_schedule_and_may_set_neither(zdns: Zdns) -> None:
    async def scenario(join: Callable[..., Awaitable[Client]]) -> None:
        ana = await join("ana", serve_first=True, term_s=90)
        ana.ask(intents.SetTopic("tea"))
        assert await until(ana, notices.Topic) == notices.Topic(text="tea", by="ana")
        guest = await join(guest=True)
        assert await until(guest, notices.Topic) == notices.Topic(text="tea", by="ana")
        schedule = await until(guest, notices.Schedule)
        assert (schedule.member, schedule.server) == ("ana", "ana")
        assert 0 < schedule.next_handover_in_s <= 90
        guest.ask(intents.SetTopic("mine"))
        refusal = await until(guest, notices.Refusal)
        assert (refusal.code, refusal.what) == ("not_member", "topic")

    play(zdns, scenario)


def test_notices_nobody_takes_are_dropped_from_the_oldest_on_and_said(
    zdns: Zdns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "NOTICES_MAX", 50)

    async def scenario(join: Callable[..., Awaitable[Client]]) -> None:
        ana = await join("ana", serve_first=True)
        for number in range(100):
            await ana.post(f"{number}")
        first = await anext(ana)
        assert isinstance(first, notices.Fault)
        assert first.code == "notices_dropped"
        await ana.close()
        kept = [notice async for notice in ana]
        assert len(kept) <= 50 + 1  # what leaving brought pushed some more out, and that is said as well
        assert isinstance(kept[-1], notices.Bye)

    play(zdns, scenario)


@pytest.mark.parametrize(
    "options",
    [{"dns": "localhost"}, {"dns": []}, {"name": "a b"}, {"service": "no/room"}, {"term_s": -1}, {"min_n": -1}],
)
def test_options_that_cannot_be_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Client(**options)
