"""Messages of the peer protocol as bytes, written and read by the kit itself.

Nothing is checked when a message is made: rules send what is wrong on purpose.

Source: BEP 3, 6, 10.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

BLOCK_BYTES: Final = 16_384
HANDSHAKE_BYTES: Final = 68
HEADER: Final = b"\x13BitTorrent protocol"
HASH_END: Final = 48
MAX_FRAME_BYTES: Final = 4 * 1024 * 1024  # ours: no answer to the kit is longer
MAX_INDEX: Final = 0xFFFF_FFFF

PLAIN: Final = bytes(8)
FAST: Final = bytes([0, 0, 0, 0, 0, 0, 0, 0x04])
EXTENDED: Final = bytes([0, 0, 0, 0, 0, 0x10, 0, 0])
FAST_EXTENDED: Final = bytes([0, 0, 0, 0, 0, 0x10, 0, 0x04])
KEEPALIVE: Final = bytes(4)


class FrameType(IntEnum):
    """Types of messages."""

    CHOKE = 0
    UNCHOKE = 1
    INTERESTED = 2
    NOT_INTERESTED = 3
    HAVE = 4
    BITFIELD = 5
    REQUEST = 6
    PIECE = 7
    CANCEL = 8
    PORT = 9
    SUGGEST = 13
    HAVE_ALL = 14
    HAVE_NONE = 15
    REJECT = 16
    ALLOWED_FAST = 17
    EXTENDED = 20


@dataclass(frozen=True, slots=True)
class Frame:
    """One message as it came; a keepalive has the number -1."""

    number: int
    payload: bytes

    @property
    def words(self) -> tuple[int, ...]:
        """The payload as 32-bit numbers, as far as there are whole ones, three at most."""
        count = min(3, len(self.payload) // 4)
        return struct.unpack_from(f">{count}I", self.payload)

    def describe(self) -> str:
        """Return the name and the beginning of the payload."""
        if self.number < 0:
            return "keepalive"
        known = {each.value: each.name.lower() for each in FrameType}
        name = known.get(self.number, f"message {self.number}")
        if self.number in _WITH_WORDS:
            numbers = self.words[:2] if self.number == FrameType.PIECE else self.words
            return f"{name} {' '.join(map(str, numbers))} ({len(self.payload)} bytes)"
        return f"{name} ({len(self.payload)} bytes) {self.payload[:48].hex()}".rstrip()


_WITH_WORDS: Final = frozenset(
    {
        FrameType.HAVE,
        FrameType.REQUEST,
        FrameType.PIECE,
        FrameType.CANCEL,
        FrameType.SUGGEST,
        FrameType.REJECT,
        FrameType.ALLOWED_FAST,
    }
)


@dataclass(frozen=True, slots=True)
class HandshakeBytes:
    """The 68 bytes that a connection begins with."""

    header: bytes
    reserved: bytes
    info_hash: bytes
    peer_id: bytes

    @classmethod
    def parse(cls, data: bytes) -> "HandshakeBytes":
        """Cut 68 bytes into their four parts."""
        return cls(data[:20], data[20:28], data[28:48], data[48:68])

    def encode(self) -> bytes:
        """Return the bytes."""
        return self.header + self.reserved + self.info_hash + self.peer_id


def message(number: int, payload: bytes = b"") -> bytes:
    """Return a message with a right length."""
    return struct.pack(">IB", 1 + len(payload), number) + payload


def with_words(number: int, *words: int) -> bytes:
    """Return a message of 32-bit numbers."""
    return message(number, struct.pack(f">{len(words)}I", *words))


def have(index: int) -> bytes:
    """Return "have"."""
    return with_words(FrameType.HAVE, index)


def request(index: int, begin: int, length: int = BLOCK_BYTES) -> bytes:
    """Return "request"."""
    return with_words(FrameType.REQUEST, index, begin, length)


def cancel(index: int, begin: int, length: int = BLOCK_BYTES) -> bytes:
    """Return "cancel"."""
    return with_words(FrameType.CANCEL, index, begin, length)


def reject(index: int, begin: int, length: int = BLOCK_BYTES) -> bytes:
    """Return "reject request" (BEP 6)."""
    return with_words(FrameType.REJECT, index, begin, length)


def piece(index: int, begin: int, data: bytes) -> bytes:
    """Return "piece"."""
    return message(FrameType.PIECE, struct.pack(">II", index, begin) + data)


def extended(number: int, payload: bytes) -> bytes:
    """Return a message of the extension protocol (BEP 10)."""
    return message(FrameType.EXTENDED, bytes([number]) + payload)


def bencoded_payload(frame: Frame) -> bytes:
    """Return what follows the number of a message of the extension protocol."""
    return frame.payload[1:]


INTERESTED: Final = message(FrameType.INTERESTED)
NOT_INTERESTED: Final = message(FrameType.NOT_INTERESTED)
HAVE_ALL: Final = message(FrameType.HAVE_ALL)
HAVE_NONE: Final = message(FrameType.HAVE_NONE)


class FrameReader:
    """Cuts a stream into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes; return the messages they complete.

        Raises ValueError for a length that no message to the kit can have.
        """
        self._buffer += data
        found = []
        while len(self._buffer) >= len(KEEPALIVE):
            length = int.from_bytes(self._buffer[:4], "big")
            if length > MAX_FRAME_BYTES:
                raise ValueError(f"a message of {length} bytes")
            if len(self._buffer) < 4 + length:
                break
            body = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            found.append(Frame(body[0], body[1:]) if body else Frame(-1, b""))
        return found
