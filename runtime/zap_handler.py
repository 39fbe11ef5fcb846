"""Answers libzmq, which asks about each connection to a closed network's bound sockets; one of these a context."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import zmq

from runtime import clock
from runtime.zap import Answer, Gate, Policy, Request, Verdict, answer_frames, parse_request
from wire import limits

log = logging.getLogger("relevo.links")

_ENDPOINT = "inproc://zeromq.zap.01"


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """A bound socket as the handler knows it. `failed` is told of a bug met while its connections were judged."""

    name: bytes
    policy: Policy
    failed: Callable[[Exception], None] | None


class ZapHandler:
    """Lives in the loop, drained in bounded batches. Without it nobody gets in: the sockets insist on an answer."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        """Be there before any socket that needs it is bound; make it inside a running loop."""
        self._loop = asyncio.get_running_loop()
        self._gate = Gate()
        self._domains: dict[bytes, Domain] = {}
        self._kicked = False
        self._turned_away = 0
        self._due: asyncio.TimerHandle | None = None
        self._socket = context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind(_ENDPOINT)
        self._descriptor = self._socket.fileno()
        self._loop.add_reader(self._descriptor, self._drain)

    def open(self, policy: Policy, failed: Callable[[Exception], None] | None) -> Domain:
        """Answer for a socket that is about to be bound, and names the domain returned."""
        name = self._gate.open(policy)
        domain = self._domains[name] = Domain(name, policy, failed)
        return domain

    def forget(self, domain: Domain) -> None:
        """The socket is closed: whoever still comes is refused."""
        if self._domains.pop(domain.name, None) is not None:
            self._answer(self._gate.close(domain.name))

    def allow(self, domain: Domain, key: str) -> None:
        """Let whoever has `key` in."""
        self._answer(self._gate.allow(domain.name, key))

    def expel(self, domain: Domain, key: str) -> None:
        """Let nobody in who has `key`; connections that stand are not touched."""
        self._answer(self._gate.expel(domain.name, key))

    def close(self) -> None:
        """Close the socket, so that the context can end."""
        if self._due is not None:
            self._due.cancel()
        self._loop.remove_reader(self._descriptor)
        self._socket.close(0)

    def _drain(self) -> None:
        self._kicked = False
        if self._socket.closed:
            return
        until_ms = clock.monotonic_ms() + limits.DRAIN_MS
        for _ in range(limits.DRAIN_MESSAGES):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            self._judge(frames)
            if clock.monotonic_ms() > until_ms:
                break
        self._look_again()

    def _judge(self, frames: list[bytes]) -> None:
        """Answer one request. Whatever goes wrong, its connection is not accepted, and the next one is judged."""
        try:
            request = parse_request(frames)
        except ValueError as error:  # then it times out: only libzmq itself can have sent it
            log.error("a request of libzmq could not be read: %s", error)
            return
        try:
            verdict = self._gate.decide(request, clock.monotonic_ms())
        except Exception as error:  # a bug of ours, whatever it is; it must not let anybody in
            verdict = Verdict.FAILED
            domain = self._domains.get(request.domain)
            if domain is not None and domain.failed is not None:
                domain.failed(error)
            else:
                log.error("a connection could not be judged", exc_info=error)
        if verdict is Verdict.HOLD:
            self._wait()
        else:
            self._answer([(request, verdict)])

    def _answer(self, answers: list[Answer]) -> None:
        for request, verdict in answers:
            if verdict is not Verdict.ACCEPT:
                self._note_turned_away(request, verdict)
            try:
                self._socket.send_multipart(answer_frames(request, verdict), zmq.NOBLOCK)
            except zmq.ZMQError as error:  # then it times out
                log.warning("an answer about a connection did not leave: %s", error.strerror)
        if answers:
            self._look_again()

    def _note_turned_away(self, request: Request, verdict: Verdict) -> None:
        self._turned_away += 1
        count = self._turned_away
        if count & (count - 1) == 0:  # the 1st, 2nd, 4th, 8th …: a flood must not become a flood of lines
            log.info("a connection from %s is turned away: %s; %d so far", request.address, verdict.name, count)

    def _look_again(self) -> None:
        """The descriptor tells of what is new only once, and any call on the socket may eat that."""
        if not self._kicked and cast(int, self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._kicked = True
            self._loop.call_soon(self._drain)

    def _wait(self) -> None:
        due_ms = self._gate.next_due_ms
        if due_ms is not None and self._due is None:
            delay_ms = max(due_ms - clock.monotonic_ms(), 0)
            self._due = self._loop.call_later(delay_ms / 1000, self._expire)

    def _expire(self) -> None:
        self._due = None
        self._answer(self._gate.expire(clock.monotonic_ms()))
        self._wait()
