"""Owns one connection of uTP: its states, what is sent when, and when it has ended.

Source: BEP 29.
"""

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from random import Random
from typing import Self

from torrent_engine.base.network_config import UtpConfig
from torrent_engine.protocol.utp.limits import UtpLimits
from torrent_engine.protocol.utp.packet import (
    DATA,
    FIN,
    HEADER,
    MASK_16,
    MASK_32,
    RESET,
    STATE,
    SYN,
    VERSION,
    Packet,
)

OutgoingPacket = tuple[bytes, bytes | memoryview]
"""Header and payload."""


class UtpState(Enum):
    """Where a connection is in its life."""

    SYN_SENT = auto()
    SYN_RECEIVED = auto()
    CONNECTED = auto()
    CLOSING = auto()
    ENDED = auto()


class UtpConnection:
    """One connection, without socket and clock (a first version: a small fixed window)."""

    def __init__(self, config: UtpConfig, limits: UtpLimits | None) -> None:
        self._config = config
        self._limits = limits or UtpLimits()
        self.receive_id = 0
        self.send_id = 0
        self.state = UtpState.SYN_SENT
        self.failure: str | None = None
        self.is_confirmed = True
        self._sequence = 1
        self._acknowledged = 0
        self._out: deque[OutgoingPacket] = deque()
        self._queue: deque[bytes] = deque()
        self._flight: dict[int, tuple[int, bytes]] = {}
        self._received: deque[bytes] = deque()
        self._has_eof = False
        self._delay_us = 0
        self._must_ack = False
        self._timer: float | None = None
        self._tries = 0
        self._fin_sent = False

    @classmethod
    def dial(
        cls,
        config: UtpConfig,
        *,
        now: float,
        rng: Random,
        is_taken: Callable[[int], bool],
        limits: UtpLimits | None = None,
    ) -> Self:
        """Begin a connection; its SYN is queued. ``is_taken`` says which ids are in use."""
        self = cls(config, limits)
        self.receive_id = rng.randrange(1 << 16)
        while is_taken(self.receive_id):
            self.receive_id = rng.randrange(1 << 16)
        self.send_id = self.receive_id + 1 & MASK_16
        self._flight[1] = (SYN, b"")
        self._sequence = 2
        self._resend(now)
        return self

    @classmethod
    def accept(
        cls,
        config: UtpConfig,
        syn: Packet,
        *,
        now: float,
        rng: Random,
        limits: UtpLimits | None = None,
    ) -> Self:
        """Answer a SYN, with one packet and no payload until its sender has heard of us."""
        self = cls(config, limits)
        self.receive_id = syn.connection_id + 1 & MASK_16
        self.send_id = syn.connection_id
        self.state = UtpState.SYN_RECEIVED
        self.is_confirmed = False
        self._sequence = rng.randrange(1 << 16)
        self._acknowledged = syn.sequence
        self._must_ack = True
        self._timer = now + 10
        return self

    @property
    def has_ended(self) -> bool:
        """Whether it may be forgotten, once packets_to_send was asked for the last time."""
        return self.state is UtpState.ENDED

    @property
    def is_readable(self) -> bool:
        """Whether receive_into would not block."""
        return bool(self._received) or self._has_eof or self.has_ended

    @property
    def is_writable(self) -> bool:
        """Whether send would not block."""
        return self.has_ended or (self.state is UtpState.CONNECTED and len(self._queue) < 4)

    def receive_packet(self, packet: Packet, *, now: float, arrived_s: float) -> None:
        """Take one packet of this connection, that arrived at ``arrived_s``."""
        if self.has_ended:
            return
        self._delay_us = int(arrived_s * 1e6) - packet.timestamp_us & MASK_32
        if packet.type == RESET:
            self._end("reset")
            return
        if packet.type == SYN:
            self._must_ack = True
            return
        if self.state is UtpState.SYN_SENT:
            self._acknowledged = packet.sequence - 1 & MASK_16
            self.state = UtpState.CONNECTED
        elif self.state is UtpState.SYN_RECEIVED:
            self.state, self.is_confirmed, self._timer = UtpState.CONNECTED, True, None
        for sequence in list(self._flight):
            if packet.acknowledged - sequence & MASK_16 < 1 << 15:
                del self._flight[sequence]
                self._tries, self._timer = 0, now + 1
        if packet.type in (DATA, FIN):
            self._must_ack = True
            if packet.sequence == self._acknowledged + 1 & MASK_16:
                self._acknowledged = packet.sequence
                self._has_eof |= packet.type == FIN
                if packet.payload:
                    self._received.append(bytes(packet.payload))
        if self._fin_sent and not self._flight:
            self._end(None)

    def batch_ended(self, now: float) -> None:
        """Queue the acknowledgement of what came."""
        if self._must_ack and not self.has_ended:
            self._out.append((self._header(STATE, self._sequence, now), b""))
            self._must_ack = False

    def packets_to_send(self, now: float) -> list[OutgoingPacket]:
        """Return what may leave now, oldest first, as (header, payload)."""
        if self.state in (UtpState.CONNECTED, UtpState.CLOSING):
            while self._queue and len(self._flight) < 8:
                self._send_one(DATA, self._queue.popleft(), now)
            if self.state is UtpState.CLOSING and not self._queue and not self._fin_sent:
                self._fin_sent = True
                self._send_one(FIN, b"", now)
        self.batch_ended(now)
        packets = list(self._out)
        self._out.clear()
        return packets

    def timer(self) -> float | None:
        """Return when handle_timer wants to be called."""
        return self._timer if self._flight or not self.is_confirmed else None

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        if self._timer is None or now < self._timer or self.has_ended:
            return
        self._tries += 1
        if self._tries > 8 or not self.is_confirmed:
            self._end("timed out")
        else:
            self._resend(now)

    def send(self, buffers: Sequence[bytes | memoryview]) -> int:
        """Take bytes to send; BlockingIOError if none can be taken."""
        if self.has_ended:
            raise ConnectionResetError(self.failure or "closed")
        if not self.is_writable:
            raise BlockingIOError
        data = b"".join(buffers)
        self._queue.extend(data[at : at + 1_200] for at in range(0, len(data), 1_200))
        return len(data)

    def receive_into(self, target: memoryview) -> int:
        """Read what came in order; 0 at the end of the stream."""
        if not self._received:
            if self._has_eof:
                return 0
            if self.has_ended:
                raise ConnectionResetError(self.failure or "closed")
            raise BlockingIOError
        data = self._received.popleft()
        count = min(len(data), len(target))
        target[:count] = data[:count]
        if count < len(data):
            self._received.appendleft(data[count:])
        return count

    def close(self, now: float) -> None:
        """Send a FIN after what is queued."""
        del now
        if self.state is UtpState.CONNECTED:
            self.state = UtpState.CLOSING
        elif self.state is not UtpState.CLOSING:
            self._end(None)

    def abort(self, now: float) -> None:
        """End at once, with a RESET."""
        if not self.has_ended:
            self._out.append((self._header(RESET, self._sequence, now), b""))
            self._end(None)

    def _end(self, failure: str | None) -> None:
        self.state, self.failure = UtpState.ENDED, failure
        self._flight.clear()

    def _send_one(self, kind: int, payload: bytes, now: float) -> None:
        self._flight[self._sequence] = (kind, payload)
        self._out.append((self._header(kind, self._sequence, now), payload))
        self._sequence = self._sequence + 1 & MASK_16
        self._timer = now + 1
        self._must_ack = False

    def _resend(self, now: float) -> None:
        for sequence, (kind, payload) in self._flight.items():
            self._out.append((self._header(kind, sequence, now), payload))
        self._timer = now + 1

    def _header(self, kind: int, sequence: int, now: float) -> bytes:
        time_us, window = int(now * 1e6) & MASK_32, self._config.receive_window_bytes
        target = self.receive_id if kind == SYN else self.send_id
        return HEADER.pack(
            kind << 4 | VERSION,
            0,
            target,
            time_us,
            self._delay_us,
            window,
            sequence,
            self._acknowledged,
        )
