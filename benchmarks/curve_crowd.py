"""A process full of participants, or of readers, that does as it is told; what benchmarks.curve_cost gives orders to.

An order is a line of JSON on standard input, and each is answered by one on standard output. The first one says where
zdns is. It is started as `python -m benchmarks.curve_crowd`.
"""

import asyncio
import json
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import zmq

from peer import Client, RequestRefused, access, intents, notices
from runtime.zap import raw_key
from wire import codec, limits
from wire.identity import Credentials
from wire.messages import Published, Resolve, Resolved, ServerInfo
from wire.names import DEFAULT_SERVICE
from wire.step import READS, LinkKind
from zdns.probe import ask_once

Order = dict[str, Any]

LINE_BYTES_MAX = 1 << 20
PATIENCE_S = 60.0
POLL_MS = 20
REFUSED_AGAIN_S = 0.1
REFUSALS_MAX = 50
SENTENCES_MAX = 10


# --- participants -----------------------------------------------------------------------------------------------------


class Person:
    """A client that posts, and holds what it is told against what it was promised."""

    def __init__(self, client: Client, broken: list[str]) -> None:
        self.client = client
        self.posted = 0
        self.acked = 0
        self.head = 0
        self.waits_s: list[float] = []  # from handing in to the acknowledgement
        self.moved: list[tuple[int, float]] = []  # epoch, and when
        self.changed = asyncio.Event()
        self._open: deque[float] = deque()  # when what is not acknowledged was handed in
        self._own_shown = 0
        self._seq_acked = 0
        self._broken = broken
        self._hearing: asyncio.Task[None] | None = None

    async def join(self) -> None:
        """Be in the room, and hear what is said there."""
        await self.client.__aenter__()
        self._hearing = asyncio.create_task(self._hear())

    def say(self, text_bytes: int) -> None:
        """The next numbered post."""
        self.posted += 1
        self._open.append(time.monotonic())
        text = f"{self.client.name} {self.posted} ".ljust(text_bytes, "y")
        self.client.ask(intents.Say(text, tag=self.posted))

    async def until(self, done: Any, what: str) -> None:
        """Wait until what it heard makes `done()` true."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not done():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise SystemExit(f"{self.client.name}: {what} did not happen within {PATIENCE_S:g} s") from None

    async def flood(self, seconds: float, window: int, text_bytes: int) -> int:
        """Keep so many posts open; returns how many were acknowledged in time."""
        before, until = self.acked, time.monotonic() + seconds
        while time.monotonic() < until:
            for _ in range(window - (self.posted - self.acked)):
                self.say(text_bytes)
            await self.until(lambda: self.posted - self.acked < window, "an acknowledgement")
        in_time = self.acked - before
        await self.settle()
        return in_time

    async def settle(self) -> None:
        """Wait until everything is acknowledged."""
        await self.until(lambda: self.acked == self.posted, "the last acknowledgement")

    async def _hear(self) -> None:
        async for notice in self.client:
            match notice:
                case notices.Posted(tag=tag, seq=seq):
                    if tag != self.acked + 1 or seq <= self._seq_acked:
                        self._wrong(f"post {tag} acknowledged as {seq}, after {self.acked} as {self._seq_acked}")
                    self.acked, self._seq_acked = tag, seq
                    self.waits_s.append(time.monotonic() - self._open.popleft())
                case notices.Message(seq=seq):
                    if self.head and seq != self.head + 1:
                        self._wrong(f"shown {seq} after {self.head}")
                    self.head = seq
                    if notice.own is True:
                        self._own_shown += 1
                        if notice.text.split(" ", 2)[1] != str(self._own_shown):
                            self._wrong(f"own post {self._own_shown} is shown as {notice.text[:40]!r}")
                case notices.Relocated(epoch=epoch):
                    self.moved.append((epoch, time.monotonic()))
                case notices.Refusal(what="post") | notices.Bye():
                    self._wrong(f"told {notice}")
            self.changed.set()

    def _wrong(self, sentence: str) -> None:
        if len(self._broken) < SENTENCES_MAX:
            self._broken.append(f"{self.client.name}: {sentence}")


class Crowd:
    """Participants in one process, and what they can be told to do. None of them has a server half."""

    def __init__(self, dns: str, ticket: str | None, folder: str) -> None:
        self._dns = dns
        self._ticket = ticket
        self._folder = Path(folder)
        self._people: list[Person] = []
        self._broken: list[str] = []
        self._readers: Readers | None = None
        self._nobody: Client | None = None

    async def do(self, order: Order) -> Order:
        """Carry one order out; returns the answer."""
        keys = {key: value for key, value in order.items() if key != "do"}
        answer: Order = await getattr(self, f"do_{order['do']}")(**keys)
        return answer

    async def do_people(self, names: list[str]) -> Order:
        """Participants of these names join. Their keys and their posts are in memory only."""
        for name in names:
            client = Client(
                dns=self._dns,
                ticket=self._ticket,
                name=name,
                serve=False,
                flood=0,
                patient=True,
                bind="127.0.0.1",
                ephemeral=True,
            )
            self._people.append(Person(client, self._broken))
            await self._people[-1].join()
        return {}

    async def do_join(self, name: str, folder: str) -> Order:
        """One more joins, with its keys and its permit in `folder`, and leaves."""
        began = time.monotonic()
        client = Client(dns=self._dns, ticket=self._ticket, name=name, serve=False, data_dir=self._folder / folder)
        async with client:
            return {"seconds": time.monotonic() - began}

    async def do_flood(self, seconds: float, window: int, text_bytes: int) -> Order:
        """Everybody keeps `window` posts open."""
        before = sum(person.acked for person in self._people)
        in_time = await asyncio.gather(*(person.flood(seconds, window, text_bytes) for person in self._people))
        return {"in_time": sum(in_time), "posts": sum(person.acked for person in self._people) - before}

    async def do_steady(self, seconds: float, rate: float, text_bytes: int, posters: int) -> Order:
        """The first so many post in turn, at a steady rate."""
        posting = asyncio.create_task(self._post_steadily(rate, text_bytes, posters))
        await asyncio.sleep(seconds)
        return await self._end_of(posting)

    async def do_move(self, rate: float, text_bytes: int, posters: int, around_s: float, ask: bool) -> Order:
        """While some post, all get another server; the first one asks for that, or somebody else brings it about."""
        epochs = [len(person.moved) for person in self._people]
        posting = asyncio.create_task(self._post_steadily(rate, text_bytes, posters))
        await asyncio.sleep(around_s)
        asked = await self._hand_over() if ask else 0.0
        for person, before in zip(self._people, epochs, strict=True):
            await person.until(lambda person=person, before=before: len(person.moved) > before, "the move")
        moved = [person.moved[-1][1] for person in self._people]
        await asyncio.sleep(around_s)
        return {"asked": asked, "moved": moved, **await self._end_of(posting)}

    async def do_followers(self, count: int) -> Order:
        """Wait until so many followers are in sync; returns who serves."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                status = await self._people[0].client.status()
                if len(status.in_sync) > count:
                    return {"active": status.active.name}
                await asyncio.sleep(0.05)

    async def do_readers(self, count: int) -> Order:
        """From now on `count` connections read the room's feed."""
        if self._readers is None:
            self._readers = await self._first_reader()
        self._readers.grow(count)
        return {}

    async def do_delivered(self, head: int) -> Order:
        """Wait until all readers have had message `head`, or hear nothing any more; what came since the last order."""
        assert self._readers is not None
        return await asyncio.to_thread(self._readers.delivered, head)

    async def do_end(self) -> Order:
        """All leave; returns what they are witnesses of."""
        if self._people:  # whoever only reads is told the last message late
            head = max(person.head for person in self._people)
            for person in self._people:
                await person.until(lambda person=person: person.head >= head, f"message {head}")
        answer = {
            "acked": sum(person.acked for person in self._people),
            "head": max((person.head for person in self._people), default=0),
            "broken": list(self._broken),  # that they end is not wrong
        }
        if self._readers is not None:
            self._readers.close()
        everybody = [*(person.client for person in self._people), *([self._nobody] if self._nobody else [])]
        await asyncio.gather(*(client.close() for client in everybody))
        return answer

    async def _first_reader(self) -> "Readers":
        """Somebody says hello, so that its key may read; then as many connections as one likes may have that key."""
        name = "reader"
        way = access.find(
            data_dir=self._folder / name, name=name, dns=(self._dns,), ticket=self._ticket, ephemeral=False
        )
        self._nobody = Client(dns=self._dns, ticket=self._ticket, name=name, guest=True, data_dir=self._folder / name)
        await self._nobody.__aenter__()
        question = Resolve(0, limits.PROTOCOL, DEFAULT_SERVICE)
        reply = await ask_once([f"tcp://{self._dns}"], question, credentials=way.credentials)
        assert isinstance(reply, Resolved) and reply.record is not None
        return Readers(reply.record.active, way.credentials)

    async def _post_steadily(self, rate: float, text_bytes: int, posters: int) -> None:
        authors, turn, due = self._people[:posters], 0, time.monotonic()
        for person in authors:
            person.waits_s.clear()
        while authors:
            authors[turn % len(authors)].say(text_bytes)
            turn += 1
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _end_of(self, posting: asyncio.Task[None]) -> Order:
        posting.cancel()
        await asyncio.gather(posting, return_exceptions=True)
        for person in self._people:
            await person.settle()
        waits = [wait for person in self._people for wait in person.waits_s]
        for person in self._people:
            person.waits_s.clear()
        return {"posts": len(waits), "slowest_s": max(waits, default=0.0)}

    async def _hand_over(self) -> float:
        """Ask until it is not refused; returns when that was asked. That it is done is not waited for."""
        for _ in range(REFUSALS_MAX):
            asked = time.monotonic()
            try:
                await self._people[0].client.handover()
                return asked
            except RequestRefused:
                await asyncio.sleep(REFUSED_AGAIN_S)
        raise SystemExit(f"the handover was refused {REFUSALS_MAX} times")


# --- readers ----------------------------------------------------------------------------------------------------------


class Readers:
    """Many connections to one feed, read by a thread: what a client does, without ordering, keeping and showing."""

    def __init__(self, server: ServerInfo, credentials: Credentials | None) -> None:
        self._server = server
        self._credentials = credentials
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.max_sockets = 4_096
        self._wanted = 0
        self._lock = threading.Condition()
        self._ending = False
        self._heads: list[int] = []  # by connection: the last message it had
        self._entries = self._frames = self._missed = 0
        self._last = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def grow(self, count: int) -> None:
        """Have so many connections; returns once each has heard something."""
        with self._lock:
            self._wanted = count
            if not self._lock.wait_for(lambda: len(self._heads) == count and min(self._heads) >= 0, PATIENCE_S):
                heard = sum(head >= 0 for head in self._heads)
                raise SystemExit(f"{heard} of {count} readers heard something within {PATIENCE_S:g} s")

    def delivered(self, head: int) -> Order:
        """Wait until all have had message `head`, or nothing comes; what came since this was last asked."""
        with self._lock:
            came = -1
            while min(self._heads) < head and came != self._entries:
                came = self._entries
                self._lock.wait_for(lambda: min(self._heads) >= head, 2.0)
            answer = {
                "entries": self._entries,
                "frames": self._frames,
                "missed": self._missed + sum(max(0, head - own) for own in self._heads),
                "last": self._last,
            }
            self._entries = self._frames = self._missed = 0
            self._heads = [max(own, head) for own in self._heads]
            return answer

    def close(self) -> None:
        """End the thread."""
        self._ending = True
        self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        poller = zmq.Poller()
        numbers: dict[zmq.Socket[bytes], int] = {}
        while not self._ending:
            while len(numbers) < self._wanted:
                made = self._connected()
                numbers[made] = len(numbers)
                poller.register(made, zmq.POLLIN)
                with self._lock:
                    self._heads.append(-1)
            ready = poller.poll(POLL_MS)
            if ready:
                with self._lock:
                    for socket, _ in ready:
                        self._drain(socket, numbers[socket])
                    self._lock.notify_all()
        for socket in numbers:
            socket.close(0)
        self._context.term()

    def _connected(self) -> "zmq.Socket[bytes]":
        made = self._context.socket(zmq.SUB)
        made.rcvhwm = 4_000
        if self._credentials is not None:
            made.curve_serverkey = raw_key(self._server.key)
            made.curve_publickey = raw_key(self._credentials.keys.public)
            made.curve_secretkey = raw_key(self._credentials.keys.secret)
        made.setsockopt(zmq.SUBSCRIBE, DEFAULT_SERVICE.encode() + b"\0")
        made.connect(self._server.feed[0])
        return made

    def _drain(self, socket: "zmq.Socket[bytes]", number: int) -> None:
        while True:
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            message = codec.decode(frames[1:], READS[LinkKind.FEED_CONNECT])
            head = self._heads[number]
            if isinstance(message, Published):
                self._frames += 1
                self._entries += message.count
                self._missed += max(0, message.first - head - 1) if head > 0 else 0
                self._heads[number] = message.first + message.count - 1
                self._last = time.monotonic()
            elif head < 0:
                self._heads[number] = 0  # a heartbeat: the connection stands


async def main() -> None:
    """Carry out orders until there are no more."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    crowd = Crowd(**json.loads(await reader.readline()))
    while line := await reader.readline():
        print(json.dumps(await crowd.do(json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
