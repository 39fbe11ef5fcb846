"""A few participants who hold a small scripted conversation, so that a single person sees the chat live at once."""

import argparse
import asyncio
import contextlib
import random
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from peer import Client, ClientError, PostRefused, TellFailed, notices  # noqa: E402  # the line above makes it found
from runtime.process import on_signals  # noqa: E402
from wire.exits import EXIT_REFUSED  # noqa: E402
from wire.names import DEFAULT_SERVICE  # noqa: E402

NAMES = ("ada", "grace", "linus")
# Who says what (an index into NAMES), and the pause before it in seconds.
SCRIPT: tuple[tuple[int, float, str], ...] = (
    (0, 2.0, "hello! are we alone in here?"),
    (1, 3.0, "three of us, and whoever started this demo"),
    (2, 3.0, "so who is the server?"),
    (0, 3.5, "whoever holds the role right now: /status tells"),
    (1, 3.0, "and it moves on, history and all, while we type"),
    (2, 4.0, "I noticed nothing"),
    (0, 2.5, "that is the idea"),
    (1, 5.0, "try /handover, it moves at once"),
    (2, 4.0, "or /msg me something, that goes directly, past the server"),
    (0, 6.0, "quiet morning …"),
    (1, 8.0, "I am still here"),
)
ANSWERS = ("nice to meet you, {name}", "you are not talking to a machine, {name}. Well, you are", "I heard you, {name}")
ATTEMPTS = 9  # names tried before giving up: ada, ada-2 …


class Bot:
    """One talking participant."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self._name = name
        self._options = options
        self._chat: Client | None = None

    async def run(self) -> None:
        """Join, and answer whoever speaks to it, until cancelled or the chat ends."""
        for attempt in range(1, ATTEMPTS + 1):
            name = self._name if attempt == 1 else f"{self._name}-{attempt}"
            try:
                async with Client(
                    service=self._options.server_uri, dns=self._options.dns, name=name, term_s=self._options.term
                ) as chat:
                    self._chat = chat
                    await self._listen(chat)
                    return
            except ClientError as error:
                if error.exit_code != EXIT_REFUSED or attempt == ATTEMPTS:
                    print(f"{name} cannot take part: {error}", file=sys.stderr)
                    return
            finally:
                self._chat = None

    async def say(self, text: str) -> None:
        """Post, if it is in."""
        if self._chat is not None:
            with contextlib.suppress(PostRefused):
                await self._chat.post(text)

    async def _listen(self, chat: Client) -> None:
        async for notice in chat:
            match notice:
                case notices.Message(author=author, text=text, own=own) if own is not True and not notice.past:
                    if chat.name in text.lower().split() or f"@{chat.name}" in text.lower():
                        await self.say(random.choice(ANSWERS).format(name=author))
                case notices.Private(sender=sender, state="received"):
                    with contextlib.suppress(TellFailed):
                        await chat.tell(sender, random.choice(ANSWERS).format(name=sender))


async def recite(bots: list[Bot]) -> None:
    """Say the script over and over."""
    while True:
        for who, pause_s, text in SCRIPT:
            await asyncio.sleep(pause_s)
            await bots[who].say(text)


async def perform(bots: list[Bot]) -> None:
    """Until cancelled; then each bot has left when this ends."""
    async with asyncio.TaskGroup() as group:
        for bot in bots:
            group.create_task(bot.run())
        group.create_task(recite(bots))


async def main() -> int:
    """Run until a signal; the bots then leave properly, handing over what they serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dns", default="localhost:8000", help="where zdns is (%(default)s)")
    parser.add_argument("-u", "--server_uri", default=str(DEFAULT_SERVICE), help="the room (%(default)s)")
    parser.add_argument("--term", type=float, default=30.0, help="seconds between handovers (%(default)s)")
    options = parser.parse_args()
    bots = [Bot(name, options) for name in NAMES]
    work = asyncio.create_task(perform(bots))

    def stop() -> None:
        work.cancel()

    on_signals(asyncio.get_running_loop(), stop)
    with contextlib.suppress(asyncio.CancelledError):
        await work
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
