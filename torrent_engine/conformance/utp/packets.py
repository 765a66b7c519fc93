"""Packets of uTP as bytes, written and read by the kit itself.

Source: BEP 29.
"""

import struct
from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

VERSION: Final = 1
WINDOW_BYTES: Final = 1024 * 1024
SELECTIVE_ACK: Final = 1
SEQUENCES: Final = 1 << 16
CLOCK: Final = 1 << 32
_HEAD = struct.Struct(">BBHIIIHH")


class UtpKind(IntEnum):
    """Types of packets."""

    DATA = 0
    FIN = 1
    STATE = 2
    RESET = 3
    SYN = 4


@dataclass(frozen=True, slots=True)
class KitUtpPacket:
    """One packet, right or wrong."""

    kind: int
    connection_id: int
    seq: int
    ack: int
    payload: bytes = b""
    extensions: tuple[tuple[int, bytes], ...] = ()
    """Types and contents, in their order."""
    window: int = WINDOW_BYTES
    timestamp: int = 0
    difference: int = 0
    version: int = VERSION

    def encode(self) -> bytes:
        """Return the bytes."""
        kinds = [kind for kind, _ in self.extensions] + [0]
        head = _HEAD.pack(
            self.kind << 4 | self.version,
            kinds[0],
            self.connection_id % SEQUENCES,
            self.timestamp % CLOCK,
            self.difference % CLOCK,
            self.window,
            self.seq % SEQUENCES,
            self.ack % SEQUENCES,
        )
        parts = (
            bytes([following, len(content)]) + content
            for following, (_, content) in zip(kinds[1:], self.extensions, strict=True)
        )
        return head + b"".join(parts) + self.payload

    @property
    def bits(self) -> bytes | None:
        """The bits of the selective ack; None without one."""
        return next((bits for kind, bits in self.extensions if kind == SELECTIVE_ACK), None)

    def describe(self) -> str:
        """Return the type and the numbers."""
        name = UtpKind(self.kind).name if self.kind in set(UtpKind) else f"type {self.kind}"
        bits = f" sack {self.bits.hex()}" if self.bits is not None else ""
        numbers = f"id {self.connection_id} seq {self.seq} ack {self.ack}"
        return f"{name} {numbers} window {self.window}{bits} ({len(self.payload)} bytes)"


def parse_utp(data: bytes) -> KitUtpPacket | None:
    """Cut a datagram into its parts; None if it is too short for them."""
    if len(data) < _HEAD.size:
        return None
    first, kind, *numbers = _HEAD.unpack_from(data)
    connection_id, timestamp, difference, window, seq, ack = numbers
    place, extensions = _HEAD.size, []
    while kind:
        if place + 2 > len(data) or place + 2 + data[place + 1] > len(data):
            return None
        end = place + 2 + data[place + 1]
        extensions.append((kind, data[place + 2 : end]))
        kind, place = data[place], end
    return KitUtpPacket(
        first >> 4,
        connection_id,
        seq,
        ack,
        data[place:],
        tuple(extensions),
        window,
        timestamp,
        difference,
        first & 0x0F,
    )


def distance(start: int, end: int) -> int:
    """Return how far a sequence number is behind another, from -32,768 to 32,767."""
    return (end - start + SEQUENCES // 2) % SEQUENCES - SEQUENCES // 2


def selective_ack(ack: int, received: Collection[int]) -> tuple[int, bytes]:
    """Return the extension for packets that came behind a gap."""
    bits = bytearray(4)
    for each in received:
        place = distance(ack, each) - 2
        if 0 <= place < len(bits) * 8:
            bits[place // 8] |= 1 << place % 8
    return SELECTIVE_ACK, bytes(bits)
