"""Fuzz target of uTP: any packets raise declared errors only, and memory is bounded.

One connection in each state lives through many inputs, with payload on its way in both
directions; an input is some bytes that choose what happens, then a packet. How to run it:
``python -m fuzz --help``.
"""

import random
from contextlib import suppress
from typing import Final

from fuzz.runner import FuzzTarget, in_time
from torrent_engine.base.config import UtpConfig
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.protocol.utp.connection import UtpConnection, UtpState
from torrent_engine.protocol.utp.limits import ReorderBudget, UtpLimits
from torrent_engine.protocol.utp.packet import (
    DATA,
    FIN,
    HEADER,
    HEADER_BYTES,
    MASK_16,
    MIN_PADDING_BYTES,
    PADDING,
    RESET,
    SACK,
    STATE,
    SYN,
    VERSION,
    Packet,
    decode_packet,
    padding,
    reset_packet,
)
from torrent_engine.protocol.utp.receiver import EARLY_COST_BYTES

WINDOW_BYTES: Final = 65_536
CONFIG = UtpConfig(
    receive_window_bytes=WINDOW_BYTES, send_buffer_bytes=WINDOW_BYTES, max_reorder_bytes=100_000
)
MAX_EARLY: Final = 2_040
LIVES: Final = 300
"""Inputs after which a connection is replaced at the latest."""
CHOICES: Final = 6
"""Bytes in front of the packet: which state, what the program does, time, three offsets."""
STEPS_S = (0.0, 0.0001, 0.001, 0.02, 0.3, 1.0, 7.0, 70.0)
BLOCK = bytes(range(256)) * 64


class Life:
    """One connection, and what it promised so far."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 4_294.0
        self.inputs = 0
        self.budget = ReorderBudget(CONFIG.max_reorder_bytes)
        self.limits = UtpLimits(reorder=self.budget)
        self.target = memoryview(bytearray(20_000))
        self.bytes_in = self.bytes_out = 0
        self.connection = self._begin(seed % 4)
        self.drain()

    def _begin(self, kind: int) -> UtpConnection:
        if kind == 0:
            return self._dial()
        syn = Packet(SYN, 7, 1, 0, WINDOW_BYTES, 65_530, 0, b"", memoryview(b""))
        self.bytes_in += HEADER_BYTES
        connection = UtpConnection.accept(
            CONFIG, syn, now=self.now, rng=self.rng, limits=self.limits
        )
        if kind > 1:
            first = connection._sender.flight.first - 1 & MASK_16
            fields = (DATA, 8, 1, 1, 1 << 20, 65_531, first, b"", memoryview(b"hello"))
            connection.receive_packet(Packet(*fields), now=self.now, arrived_s=self.now)
            assert connection.state is UtpState.CONNECTED
        if kind == 3:
            connection.send([BLOCK])
            connection.close(self.now)
        return connection

    def _dial(self) -> UtpConnection:
        return UtpConnection.dial(
            CONFIG, now=self.now, rng=self.rng, is_taken=lambda _id: False, limits=self.limits
        )

    def drain(self) -> None:
        """Do what a service does after a packet."""
        connection = self.connection
        connection.batch_ended(self.now)
        for header, payload in connection.packets_to_send(self.now):
            decode_packet(header + bytes(payload))
            self.bytes_out += len(header) + len(payload)
        due_s = connection.timer()
        if due_s is not None and due_s <= self.now:
            connection.handle_timer(self.now)

    def act(self, choice: int) -> None:
        """Do what a program might do now."""
        connection = self.connection
        with suppress(OSError):
            if choice & 1:
                connection.send([BLOCK, memoryview(BLOCK)[:77]])
        with suppress(OSError):
            if choice & 2:
                connection.receive_into(self.target)
        if choice & 0xFC == 0xFC:
            connection.close(self.now)
        elif choice & 0xFC == 0xF8:
            connection.abort(self.now)

    def aimed(self, packet: Packet, offsets: bytes) -> Packet:
        """Return the packet with numbers near those that make sense."""
        flight, receiver = self.connection._sender.flight, self.connection._receiver
        acknowledged = flight.first - 1 + offsets[0] - 16
        sequence = receiver.acknowledged + 1 + offsets[1] - 16
        if offsets[2] & 1:
            packet = packet._replace(acknowledged=acknowledged & MASK_16)
        if offsets[2] & 2:
            packet = packet._replace(sequence=sequence & MASK_16)
        return packet

    def check(self) -> None:
        """Assert what must be so at any time."""
        connection = self.connection
        sender, receiver = connection._sender, connection._receiver
        assert receiver.waiting_bytes <= WINDOW_BYTES + 65_536 + 65_536
        held_bytes = receiver._early_bytes + EARLY_COST_BYTES * len(receiver._early)
        assert self.budget.held_bytes == held_bytes
        assert 0 <= receiver._early_bytes <= WINDOW_BYTES
        assert len(receiver._early) <= MAX_EARLY + 1
        assert sender.flight.unacknowledged_bytes + sender.queue.queued_bytes <= WINDOW_BYTES
        assert sender.flight.in_transit_bytes >= 0
        assert sender.flight.lost_bytes >= 0
        assert sender.congestion.window_bytes >= 1_000
        if not connection.is_confirmed:
            assert self.bytes_out <= self.bytes_in


_lives: dict[int, Life] = {}


@in_time
def fuzz_one(data: bytes) -> None:
    """Give one packet to a connection that has lived through the inputs before it."""
    choices, datagram = data[:CHOICES].ljust(CHOICES, b"\0"), data[CHOICES:]
    try:
        packet = decode_packet(datagram)
    except RemoteProtocolError:
        return
    assert len(reset_packet(packet)) == HEADER_BYTES
    kind = choices[0] & 3
    life = _lives.get(kind)
    if life is None or life.inputs > LIVES or life.connection.has_ended:
        life = _lives[kind] = Life(kind + (choices[0] & 0xF0))
    life.inputs += 1
    life.now += STEPS_S[choices[2] & 7]
    life.act(choices[1])
    arrived_s = life.now - STEPS_S[choices[2] >> 3 & 3]
    life.bytes_in += len(datagram)
    life.connection.receive_packet(
        life.aimed(packet, choices[3:]), now=life.now, arrived_s=arrived_s
    )
    life.drain()
    life.check()


def sample(rng: random.Random) -> bytes:
    """Return a packet as a program may send it."""
    kind = rng.choice((DATA, DATA, DATA, STATE, STATE, STATE, FIN, RESET, SYN))
    extension, body = 0, b""
    if rng.random() < 0.5:
        sack = rng.randbytes(rng.choice((1, 3, 4, 8, 31, 255)))
        extension, body = SACK, bytes((0, len(sack))) + sack
    elif rng.random() < 0.2:
        extension, body = (
            PADDING,
            padding(MIN_PADDING_BYTES + rng.choice((0, 1, 254, 255, 256, 257, 1_000))),
        )
    window = rng.choice((0, 1, 100, 5_000, WINDOW_BYTES, 1 << 31))
    numbers = (rng.randrange(1 << 32), rng.randrange(1 << 32), window)
    connection_id, sequence, acknowledged = (rng.randrange(1 << 16) for _ in range(3))
    header = HEADER.pack(
        kind << 4 | VERSION, extension, connection_id, *numbers, sequence, acknowledged
    )
    payload = BLOCK[: rng.choice((0, 1, 100, 1_400, 1_432, 16_000))] if kind == DATA else b""
    return header + body + payload


def mutated(rng: random.Random) -> bytes:
    """Return choices, and a packet that may be damaged; most are aimed at what makes sense."""
    offsets = bytes((rng.randrange(14, 26), rng.randrange(12, 40), rng.choice((0, 1, 3, 3, 3, 3))))
    action = rng.randrange(256) if rng.random() < 0.02 else rng.randrange(0xF8)
    choices = bytes((rng.randrange(256), action, rng.choice((0, 1, 2, 3, 11, 28, 29, 6, 7))))
    datagram = bytearray(sample(rng))
    for _ in range(rng.choice((0, 0, 0, 1, 2, 5))):
        at = rng.randrange(min(len(datagram), 40) or 1)
        damage = rng.randrange(3)
        if damage == 0:
            datagram[at : at + 1] = rng.randbytes(1)
        elif damage == 1:
            del datagram[at : at + rng.randrange(1, 30)]
        else:
            datagram[at:at] = rng.randbytes(rng.randrange(1, 8))
    return choices + offsets + bytes(datagram)


TARGETS = {
    "utp": FuzzTarget(fuzz_one, mutated, max_bytes=1_024),
}
