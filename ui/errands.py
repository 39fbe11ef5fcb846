"""The commands that come, do one thing and go: send, tail, status, handover; each as a guest; and who somebody is."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from peer import intents, notices
from peer.client import Client, ClientError, RequestRefused
from runtime import clock
from ui.conversation import IN_FLIGHT_MAX
from ui.faces import local_stamp, print_json
from ui.inputs import StreamInput
from ui.ledger import Ledger
from ui.options import CommandError
from ui.safe_text import safe_line
from ui.splitter import TooLong
from ui.wording import Wording, counted, status_lines
from wire import limits
from wire.exits import EXIT_LATE, EXIT_REFUSED, EXIT_UNAVAILABLE
from wire.names import nick_key
from zdns.house import as_fingerprint

_T = TypeVar("_T")


async def one_text(text: str) -> AsyncIterator[str]:
    """The one text of the command line."""
    yield text


async def input_texts(complain: Callable[[str], None]) -> AsyncIterator[str]:
    """Each line of standard input that is not blank; `complain` is told of those that cannot be sent."""
    number = 0
    async for line in StreamInput(sys.stdin.fileno(), limits.TEXT_BYTES_MAX).lines():
        number += 1
        if isinstance(line, TooLong):
            complain(f"line {number} was not sent: it has more than {line.bytes_max:,} bytes; send it in parts")
            continue
        try:
            text = line.decode()
        except UnicodeDecodeError:
            complain(f"line {number} was not sent: it is not proper text (UTF-8)")
            continue
        if text.strip():
            yield text


class NotHere(CommandError):
    """Nobody in the room is meant."""


class Posting:
    """Posts texts one after the other and watches what becomes of each."""

    def __init__(self, chat: Client, timeout_s: float, *, json: bool, complain: Callable[[str], None]) -> None:
        self._chat = chat
        self._timeout_s = timeout_s
        self._json = json
        self._complain = complain
        self._ledger = Ledger()
        self._changed = asyncio.Event()
        self._sent_count = 0

    async def run(self, texts: AsyncIterator[str]) -> None:
        """Post all; return when each has its outcome. Of those that were refused `complain` is told.

        Raises:
            CommandError: no outcome for the whole time allowed, or the chat ended.
        """
        listening = asyncio.create_task(self._listen())
        posting = asyncio.create_task(self._post(texts))
        try:
            await asyncio.wait((listening, posting), return_when=asyncio.FIRST_COMPLETED)
            if not posting.done():
                listening.result()  # the chat ended before everything was posted: it says why
            await posting
        finally:
            for task in (listening, posting):
                task.cancel()
            await asyncio.gather(listening, posting, return_exceptions=True)

    async def _post(self, texts: AsyncIterator[str]) -> None:
        async for text in texts:
            while self._ledger.open_count >= IN_FLIGHT_MAX:
                await self._outcome()
            self._sent_count += 1
            self._chat.ask(self._ledger.enter(intents.Say(text, tag=self._sent_count)))
        while self._ledger.open_count:
            await self._outcome()

    async def _outcome(self) -> None:
        before = self._ledger.open_count
        try:
            async with asyncio.timeout(self._timeout_s):
                while self._ledger.open_count == before:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise CommandError(
                f"{counted(before, 'text')} not acknowledged within {self._timeout_s:g} s (of {self._sent_count}):"
                " perhaps nobody serves at the moment, or the chat waits for more members."
                " It may still have been posted; see `relevo tail --no-follow`, or allow more time with --timeout",
                EXIT_LATE,
            ) from None

    async def _listen(self) -> None:
        async for notice in self._chat:
            shown = self._ledger.settle(notice)
            self._changed.set()
            match shown:
                case notices.Posted():
                    if self._json:
                        print_json(shown)
                case notices.Refusal():
                    self._complain(f"text {shown.tag} was refused: {safe_line(shown.message)}")
                case notices.Bye():
                    raise CommandError(f"the chat ended: {safe_line(shown.reason)}", shown.exit or EXIT_UNAVAILABLE)
        raise CommandError("the chat ended", EXIT_UNAVAILABLE)


async def join(chat: Client, timeout_s: float) -> notices.Ready:
    """Wait until a client that was started is in.

    Raises:
        CommandError: it cannot get in, nobody serves, or it takes longer than `timeout_s`.
    """
    try:
        async with asyncio.timeout(timeout_s):
            async for notice in chat:
                match notice:
                    case notices.Ready():
                        return notice
                    case notices.Fault(code="nobody_serves"):
                        # A participant waits for those who hold the history; an errand is better told.
                        raise CommandError(safe_line(notice.message), EXIT_UNAVAILABLE)
                    case notices.Bye():
                        raise CommandError(safe_line(notice.reason), notice.exit or EXIT_UNAVAILABLE)
    except TimeoutError:
        if chat.zdns_is_silent:
            where = ", ".join(chat.dns)
            raise CommandError(
                f"no zdns answers at {where} within {timeout_s:g} s. Start one with `relevo dns`,"
                " or name another with --dns HOST:PORT",
                EXIT_UNAVAILABLE,
            ) from None
        raise CommandError(
            f"could not join within {timeout_s:g} s: zdns names a server that does not answer. Is its machine on, and"
            " does its firewall let us through? Try again in a moment",
            EXIT_LATE,
        ) from None
    raise CommandError("the chat ended", EXIT_UNAVAILABLE)


async def tail(chat: Client, *, json: bool, since: int, count: int | None, last: int | None) -> int:
    """Print messages as they come.

    Args:
        chat: joined already.
        json: message events instead of lines.
        since: earlier seqs are not printed.
        count: end after so many; None: no bound.
        last: end with this seq; None: go on.
    """
    wording = Wording((), local_stamp, clock.utc_ms())
    printed = 0
    if last is not None and last < max(1, since):
        return 0
    async for notice in chat:
        match notice:
            case notices.Message(seq=seq) if seq >= since and (last is None or seq <= last):
                if json:
                    print_json(notice)
                else:
                    print(*wording.message_lines(notice), sep="\n", flush=True)
                printed += 1
                if printed == count or seq == last:
                    return 0
            case notices.Bye():
                if notice.exit:
                    raise CommandError(f"the chat ended: {safe_line(notice.reason)}", notice.exit)
    return 0


async def show_status(chat: Client, timeout_s: float, *, json: bool) -> int:
    """Print how the room is served, as a table or one object."""
    status = await _within(chat.status(), timeout_s, "no answer about the room's status")
    if json:
        print_json(status)
    else:
        print("\n".join(status_lines(status, local_stamp)))
    return 0


async def hand_over(chat: Client, timeout_s: float, to: str | None) -> int:
    """Have the server role handed over, to the server of `to`."""
    await _within(chat.handover(to), timeout_s, "the handover was not confirmed")
    print(f"handed over to {to}" if to else "handed over")
    return 0


async def fingerprint_of(chat: Client, who: str, timeout_s: float) -> tuple[str, str]:
    """The whole fingerprint, and the nick, of the member of the room whom `who` means; see `pick`."""
    return pick(await _within(chat.who(), timeout_s, "no answer about who is in the room"), who)


def pick(members: Sequence[notices.MemberLine], who: str) -> tuple[str, str]:
    """The whole fingerprint, and the nick, of whoever is called `who`; what looks like a fingerprint only ever is one.

    Raises:
        NotHere: nobody here is meant.
        CommandError: several are; or the network is an open one, where nobody has a key.
    """
    keys: dict[str, str] = {member.name: member.fingerprint for member in members}
    digits = as_fingerprint(who)
    if digits:
        found = [name for name, key in keys.items() if key.startswith(digits)]
    else:
        found = [name for name in keys if nick_key(name) == nick_key(who)]
    if not found:
        here = ", ".join(map(safe_line, keys)) or "nobody"
        hint = ". Whoever is not can be banned by all 32 digits" if digits else ""
        raise NotHere(f"{safe_line(who)!r} is not in the room; there: {here}{hint}", EXIT_REFUSED)
    if len({keys[name] for name in found}) > 1:
        raise CommandError(f"{safe_line(who)!r} may be {' or '.join(map(safe_line, found))}: name one", EXIT_REFUSED)
    if not keys[found[0]]:
        raise CommandError(f"{safe_line(found[0])} has no key: on an open network nobody can be kept out", EXIT_REFUSED)
    return keys[found[0]], found[0]


async def _within(waiting: Awaitable[_T], timeout_s: float, what: str) -> _T:
    try:
        async with asyncio.timeout(timeout_s):
            return await waiting
    except TimeoutError:
        raise CommandError(
            f"{what} within {timeout_s:g} s: perhaps nobody serves at the moment;"
            " try again, or allow more time with --timeout",
            EXIT_LATE,
        ) from None
    except RequestRefused as error:
        raise CommandError(str(error), EXIT_REFUSED) from error
    except ClientError as error:
        raise CommandError(str(error), error.exit_code) from error
