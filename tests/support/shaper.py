"""A bad line between two sockets: delay, jitter, loss, duplicates, reordering, rate and queue.

``Pipe`` is one direction without I/O or clock; the same seed and times give the same line.
``UdpRelay`` puts two of them between those who send to it and one address.
"""

import random
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from types import TracebackType
from typing import Self

import anyio
import anyio.abc

from torrent_engine.base.ids import PeerAddress

READ_BYTES = 64 * 1024


@dataclass(frozen=True)
class LinkShape:
    """What one direction of a line does; shares are of 1."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    """At most so much more delay; the order is kept."""
    loss: float = 0.0
    duplicates: float = 0.0
    reorders: float = 0.0
    """So many are overtaken by those that come within ``reorder_s`` behind them."""
    reorder_s: float = 0.01
    rate_bytes_per_s: float = 0.0
    """0: without limit."""
    queue_bytes: int = 256 * 1024
    """What may wait for its turn at that rate; what comes then is lost."""


class Pipe:
    """One direction of a line."""

    def __init__(self, shape: LinkShape, seed: int) -> None:
        self.lost = 0
        self.passed = 0
        self.waits_s: list[float] = []
        """How long each packet waited for its turn at the rate."""
        self._shape = shape
        self._random = random.Random(seed)
        self._busy_until_s = 0.0
        self._last_s = 0.0
        self._numbers = count()
        self._waiting: list[tuple[float, int, bytes]] = []

    def push(self, data: bytes, now: float) -> None:
        """Take a packet at one end."""
        shape, chance = self._shape, self._random.random
        at_s = now
        if shape.rate_bytes_per_s:
            begin_s = max(now, self._busy_until_s)
            if (begin_s - now) * shape.rate_bytes_per_s > shape.queue_bytes:
                self.lost += 1
                return
            self.waits_s.append(begin_s - now)
            at_s = self._busy_until_s = begin_s + len(data) / shape.rate_bytes_per_s
        if chance() < shape.loss:
            self.lost += 1
            return
        for _ in range(2 if chance() < shape.duplicates else 1):
            self._put(data, at_s + shape.delay_s + chance() * shape.jitter_s)

    def _put(self, data: bytes, at_s: float) -> None:
        if self._random.random() < self._shape.reorders:
            at_s += self._shape.reorder_s
        else:
            at_s = self._last_s = max(at_s, self._last_s)
        heappush(self._waiting, (at_s, next(self._numbers), data))

    def next_s(self) -> float | None:
        """Return when the next packet is at the other end."""
        return self._waiting[0][0] if self._waiting else None

    def pop(self, now: float) -> list[bytes]:
        """Return what is at the other end by now."""
        ready: list[bytes] = []
        while self._waiting and self._waiting[0][0] <= now:
            ready.append(heappop(self._waiting)[2])
        self.passed += len(ready)
        return ready


class _Leg:
    """One direction of one client: what comes out of its pipe is sent on."""

    def __init__(self, pipe: Pipe, deliver: Callable[[bytes], None]) -> None:
        self.pipe = pipe
        self._deliver = deliver
        self._wake = anyio.Event()

    def push(self, data: bytes) -> None:
        """Take a datagram."""
        self.pipe.push(data, anyio.current_time())
        self._wake.set()

    async def run(self) -> None:
        """Hand on what is due, until cancelled."""
        while True:
            for data in self.pipe.pop(anyio.current_time()):
                self._deliver(data)
            self._wake = anyio.Event()
            next_s = self.pipe.next_s()
            with anyio.move_on_at(float("inf") if next_s is None else next_s):
                await self._wake.wait()


class UdpRelay:
    """Stands for ``target`` at :attr:`address`; each who sends there has a socket of its own."""

    def __init__(self, target: PeerAddress, there: LinkShape, back: LinkShape, seed: int) -> None:
        self.pipes: list[Pipe] = []
        """Two of each client: the way there and the way back."""
        self._target = target
        self._shapes = (there, back)
        self._seed = seed
        self._socket = _bound()
        self._sockets = [self._socket]
        self._legs: dict[tuple[str, int], _Leg] = {}
        self._tasks = anyio.create_task_group()

    @property
    def address(self) -> PeerAddress:
        """Where to send what is for the target."""
        return PeerAddress(*self._socket.getsockname())

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._read, self._socket, self._from_client)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._tasks.cancel_scope.cancel()
        try:
            return await self._tasks.__aexit__(kind, error, traceback)
        finally:
            for sock in self._sockets:
                sock.close()

    def _from_client(self, data: bytes, client: tuple[str, int]) -> None:
        leg = self._legs.get(client)
        if leg is None:
            leg = self._legs[client] = self._connect(client)
        leg.push(data)

    def _connect(self, client: tuple[str, int]) -> _Leg:
        outside = _bound()
        self._sockets.append(outside)
        pipes = [
            Pipe(shape, self._seed + len(self.pipes) + number)
            for number, shape in enumerate(self._shapes)
        ]
        self.pipes += pipes
        there = _Leg(pipes[0], lambda data: _send(outside, data, self._target))
        back = _Leg(pipes[1], lambda data: _send(self._socket, data, client))
        self._tasks.start_soon(self._read, outside, lambda data, _: back.push(data))
        for leg in (there, back):
            self._tasks.start_soon(leg.run)
        return there

    @staticmethod
    async def _read(sock: socket.socket, take: Callable[[bytes, tuple[str, int]], None]) -> None:
        while True:
            try:
                data, sender = sock.recvfrom(READ_BYTES)
            except BlockingIOError:
                await anyio.wait_readable(sock)
                continue
            except OSError:
                continue  # an ICMP answer
            take(data, sender)


@asynccontextmanager
async def shaped(
    target: PeerAddress, there: LinkShape, back: LinkShape | None = None, *, seed: int = 1
) -> AsyncIterator[UdpRelay]:
    """Run a relay; the way back is as the way there if it is not told."""
    async with UdpRelay(target, there, back or there, seed) as relay:
        yield relay


def _bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, 4 * 1024 * 1024)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


def _send(sock: socket.socket, data: bytes, address: Sequence[object]) -> None:
    try:
        sock.sendto(data, tuple(address))
    except OSError:
        return  # lost
