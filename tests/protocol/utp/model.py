"""A model of two connections and the links between them, in virtual time, from one seed."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from random import Random

from torrent_engine.base.config import UtpConfig
from torrent_engine.protocol.utp.connection import UtpConnection
from torrent_engine.protocol.utp.limits import UtpLimits
from torrent_engine.protocol.utp.packet import RESET, SYN, Packet, decode_packet, reset_packet

HEADERS_BYTES = 28
"""Of IPv4 and UDP, which take time on the link too."""
PAUSE_EVERY_S = 0.06


class Model:
    """The clock, and what will happen."""

    def __init__(self, seed: int = 0, start_s: float = 4_000.0) -> None:
        self.now = start_s
        self.rng = Random(seed)
        self._order = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(time, self.now), next(self._order), action))

    def run(self, until: Callable[[], bool], limit_s: float) -> bool:
        """Let time pass until something is so; False if it is not so after that time."""
        end = self.now + limit_s
        while not until():
            if not self._events or self._events[0][0] > end:
                self.now = end
                return until()
            self.now, _, action = heapq.heappop(self._events)
            action()
        return True


@dataclass
class Link:
    """One direction: everything that can happen to a datagram between two hosts."""

    model: Model
    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    """Share of datagrams that are held back for a while."""
    bytes_per_s: float = float("inf")
    queue_bytes: int = 1 << 30
    max_bytes: int = 1 << 16
    """Longer datagrams vanish, unless they may be fragmented."""
    pause_s: float = 0.0
    """What arrives within the first so many seconds of each 60 ms arrives only then."""
    free_s: float = 0.0
    delivered: int = 0
    dropped: int = 0
    queueing_s: list[float] = field(default_factory=list)
    filter: Callable[[bytes], bool] = lambda _datagram: True

    def send(self, size: int, arrive: Callable[[], None], *, may_fragment: bool = False) -> bool:
        """Transport a datagram; False if the queue had no room for it."""
        model, rng = self.model, self.model.rng
        waits_s = max(self.free_s - model.now, 0.0)
        if waits_s * self.bytes_per_s > self.queue_bytes:
            self.dropped += 1
            return False
        self.queueing_s.append(waits_s)
        self.free_s = model.now + waits_s + (size + HEADERS_BYTES) / self.bytes_per_s
        if (size > self.max_bytes and not may_fragment) or rng.random() < self.loss:
            return True
        for _ in range(2 if rng.random() < self.duplication else 1):
            late_s = rng.random() * self.jitter_s
            if rng.random() < self.reordering:
                late_s += rng.random() * max(self.delay_s, 0.01)
            due_s = self.free_s + self.delay_s + late_s
            model.at(max(due_s, due_s - due_s % PAUSE_EVERY_S + self.pause_s), arrive)
            self.delivered += 1
        return True


class Host:
    """One side: a program that writes what it has and reads what there is."""

    def __init__(self, model: Model, link: Link, *, to_send: bytes = b"", reads: bool = True):
        self.model = model
        self.link = link
        """To the other side."""
        self.peer: Host
        self.to_send = memoryview(to_send)
        self.reads = reads
        self.closes = False
        """Whether it closes when all is sent."""
        self.received = bytearray()
        self.has_eof = False
        self.error: OSError | None = None
        self.connection: UtpConnection
        self.has_connection = False
        self.sent_packets = 0
        self.config = UtpConfig()
        self.limits = UtpLimits()
        self.rng = model.rng
        self.clock_offset_s = 0.0
        self.stalled_until_s = 0.0
        self._buffer = memoryview(bytearray(1 << 16))
        self._waiting: list[tuple[float, bytes]] = []
        self._timer_s: float | None = None

    @property
    def now(self) -> float:
        return self.model.now + self.clock_offset_s

    def dial(self) -> None:
        self.connection = UtpConnection.dial(
            self.config,
            now=self.now,
            rng=self.rng,
            is_taken=lambda _id: False,
            limits=self.limits,
        )
        self.has_connection = True
        self.turn()

    def arrive(self, datagram: bytes) -> None:
        self._waiting.append((self.now, datagram))
        self._when_free(self.read_datagrams)

    def stall(self, seconds: float) -> None:
        """Do nothing for a while, as a program whose loop is held up."""
        self.stalled_until_s = self.model.now + seconds

    def _when_free(self, action: Callable[[], None]) -> None:
        if self.model.now >= self.stalled_until_s:
            action()
        else:
            self.model.at(self.stalled_until_s, action)

    def read_datagrams(self) -> None:
        waiting, self._waiting = self._waiting, []
        for arrived_s, datagram in waiting:
            packet = decode_packet(datagram)
            if not self.has_connection:
                if packet.type != SYN:
                    continue
                self.has_connection = True
                self.connection = UtpConnection.accept(
                    self.config, packet, now=self.now, rng=self.rng, limits=self.limits
                )
            elif self.connection.has_ended:
                self._answer_for_nobody(packet)
            elif packet.connection_id in (self.connection.receive_id, self.connection.send_id):
                self.connection.receive_packet(packet, now=self.now, arrived_s=arrived_s)
        if self.has_connection:
            self.connection.batch_ended(self.now)
            self.turn()

    def _answer_for_nobody(self, packet: Packet) -> None:
        if packet.type != RESET:
            data = reset_packet(packet, now=self.now)
            self.link.send(len(data), lambda: self.peer.arrive(data))

    def turn(self) -> None:
        """Do what a program does when something may have changed."""
        if self.reads:
            self.read()
        self.write()
        self.flush()
        self._set_timer()

    def read(self) -> None:
        while self.connection.is_readable and not self.has_eof and self.error is None:
            try:
                size = self.connection.receive_into(self._buffer)
            except BlockingIOError:
                return
            except OSError as error:
                self.error = error
                return
            self.has_eof = size == 0
            self.received += self._buffer[:size]

    def has_received(self, count: int) -> bool:
        return len(self.received) >= count

    def write(self) -> None:
        connection = self.connection
        while len(self.to_send) and connection.is_writable and not connection.has_ended:
            taken = connection.send([self.to_send[:65_536]])
            self.to_send = self.to_send[taken:]
        if self.closes and not len(self.to_send):
            self.closes = False
            connection.close(self.now)

    def flush(self) -> None:
        for header, payload in self.connection.packets_to_send(self.now):
            datagram = header + bytes(payload)
            self.sent_packets += 1
            if self.link.filter(datagram):
                self.link.send(
                    len(datagram),
                    partial(self.peer.arrive, datagram),
                    may_fragment=self.connection.may_fragment,
                )

    def _set_timer(self) -> None:
        due_s = self.connection.timer()
        if due_s is None or due_s == self._timer_s:
            return
        self._timer_s = due_s
        self.model.at(
            due_s - self.clock_offset_s, lambda: self._when_free(lambda: self._timer_fired(due_s))
        )

    def _timer_fired(self, due_s: float) -> None:
        if due_s != self._timer_s:
            return  # it was set anew
        self._timer_s = None
        self.read_datagrams()
        self.connection.handle_timer(max(self.now, due_s))
        self.turn()


def pair(
    model: Model, there: Link, back: Link, data: bytes, answer: bytes = b""
) -> tuple[Host, Host]:
    """Return who dials and sends data, and who accepts."""
    dialler = Host(model, there, to_send=data)
    acceptor = Host(model, back, to_send=answer)
    dialler.peer, acceptor.peer = acceptor, dialler
    return dialler, acceptor


class CubicFlow:
    """A bulk transfer over TCP beside it, as Linux does it: fills the queue until it loses."""

    BYTES = 1_448
    BETA, C = 0.7, 0.4

    def __init__(self, model: Model, link: Link, back_s: float) -> None:
        self.model, self.link, self.back_s = model, link, back_s
        self.window, self.threshold, self.flying = 10.0, float("inf"), 0
        self.delivered_bytes = 0
        self._top, self._cut_s, self._rtt_s = 10.0, model.now, 0.1
        self.model.at(model.now, self.turn)

    def turn(self) -> None:
        while self.flying < int(self.window):
            self.flying += 1
            sent_s = self.model.now
            waits_s = max(self.link.free_s - sent_s, 0.0)
            if not self.link.send(self.BYTES + 12, partial(self._arrived, sent_s)):
                self.model.at(sent_s + waits_s + self.back_s * 2, partial(self._lost, sent_s))

    def _arrived(self, sent_s: float) -> None:
        self.delivered_bytes += self.BYTES
        self.model.at(self.model.now + self.back_s, lambda: self._acknowledged(sent_s))

    def _acknowledged(self, sent_s: float) -> None:
        self.flying -= 1
        self._rtt_s = self.model.now - sent_s
        if self.window < self.threshold:
            self.window += 1
        else:
            since_s = self.model.now - self._cut_s
            k = (self._top * (1 - self.BETA) / self.C) ** (1 / 3)
            wanted = self.C * (since_s + self._rtt_s - k) ** 3 + self._top
            self.window += max(min((wanted - self.window) / self.window, 0.5), 0.01 / self.window)
        self.turn()

    def _lost(self, sent_s: float) -> None:
        self.flying -= 1
        if sent_s > self._cut_s:
            self._top, self._cut_s = self.window, self.model.now
            self.window = self.threshold = max(self.window * self.BETA, 2.0)
        self.turn()
