"""A set of pieces: one bit for each, and their count.

The bytes are in wire order (the first piece is the highest bit of the first byte); ints have piece
``i`` at ``1 << i``. Source: BEP 3.
"""

from collections.abc import Collection, Iterator
from itertools import chain, compress
from typing import Final

from torrent_engine.base.errors import RemoteProtocolError

_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_BITS: Final = tuple(bytes(byte >> (7 - bit) & 1 for bit in range(8)) for byte in range(256))
_FLIPPED: Final = bytes(255 - byte for byte in range(256))
_DIGITS: Final = b"01".ljust(256)
MANY_SHIFT: Final = 4
FEW_PIECES: Final = 8  # ours: up to this many are combined by shifts, more by bytes
_MASKS: Final = (128, 64, 32, 16, 8, 4, 2, 1)


def bits_of(pieces: Collection[int]) -> int:
    """Return an int with piece ``i`` at ``1 << i``."""
    if len(pieces) <= FEW_PIECES:
        bits = 0
        for piece in pieces:
            bits |= 1 << piece
        return bits
    last = max(pieces)
    if len(pieces) > last >> MANY_SHIFT:  # a byte for each piece is filled faster than its bit
        flags = bytearray(last + 1)
        for piece in pieces:
            flags[piece] = 1
        return bits_of_flags(flags)
    marks = bytearray((last >> 3) + 1)
    for piece in pieces:
        marks[piece >> 3] |= 1 << (piece & 7)
    return int.from_bytes(marks, "little")


def bits_of_flags(flags: bytes | bytearray) -> int:
    """Return such an int from a byte for each piece, 0 or 1."""
    return int(flags[::-1].translate(_DIGITS), 2) if flags else 0


class Bitfield:
    """A set of piece indices below ``piece_count``; spare bits are zero."""

    __slots__ = ("_data", "count", "piece_count")

    def __init__(self, piece_count: int) -> None:
        self.piece_count = piece_count
        self.count = 0
        """Number of pieces set."""
        self._data = bytearray((piece_count + 7) // 8)

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview, piece_count: int) -> "Bitfield":
        """Read a bitfield in wire format.

        Raises RemoteProtocolError (BEP 3) if the length is wrong or a spare bit is set.
        """
        if len(data) != (piece_count + 7) // 8:
            message = f"bitfield of {len(data)} bytes for {piece_count} pieces"
            raise RemoteProtocolError(message, bep=3)
        spare = -piece_count % 8
        if spare and data[-1] & ((1 << spare) - 1):
            raise RemoteProtocolError("bitfield with spare bits set", bep=3)
        return cls._adopt(bytearray(data), piece_count)

    @classmethod
    def from_int(cls, value: int, piece_count: int) -> "Bitfield":
        """Return a bitfield from an int whose bit ``1 << i`` is piece ``i``; drop higher bits."""
        value &= (1 << piece_count) - 1
        data = value.to_bytes((piece_count + 7) // 8, "little").translate(_REVERSED)
        return cls._adopt(bytearray(data), piece_count)

    @classmethod
    def full(cls, piece_count: int) -> "Bitfield":
        """Return a bitfield with every piece set."""
        made = cls(0)
        made.piece_count = piece_count
        made._data = bytearray(b"\xff") * ((piece_count + 7) // 8)
        if spare := -piece_count % 8:
            made._data[-1] = 0xFF << spare & 0xFF
        made.count = piece_count
        return made

    @classmethod
    def _adopt(cls, data: bytearray, piece_count: int) -> "Bitfield":
        made = cls(0)
        made.piece_count = piece_count
        made.count = int.from_bytes(data, "big").bit_count()
        made._data = data
        return made

    def become(self, other: "Bitfield") -> None:
        """Copy the bits of another bitfield of the same length."""
        self._data[:] = other.to_bytes()
        self.count = other.count

    def copy(self) -> "Bitfield":
        """Return an independent copy."""
        made = Bitfield(0)
        made.piece_count, made.count, made._data = self.piece_count, self.count, self._data[:]
        return made

    def has(self, piece: int) -> bool:
        """Return whether one piece is set; IndexError for a piece far past the end."""
        return self._data[piece >> 3] & _MASKS[piece & 7] != 0

    def has_any(self, first: int, stop: int) -> bool:
        """Return whether any of the pieces from ``first`` up to ``stop`` is set."""
        whole, end = -(-first // 8), stop // 8
        if whole >= end:
            return any(map(self.has, range(first, stop)))
        if self._data.count(0, whole, end) < end - whole:
            return True
        edges = chain(range(first, whole * 8), range(end * 8, stop))
        return any(map(self.has, edges))

    def set(self, piece: int) -> None:
        """Set one piece; nothing happens if it is set. IndexError past the end."""
        self._check(piece)
        mask = _MASKS[piece & 7]
        if not self._data[piece >> 3] & mask:
            self._data[piece >> 3] |= mask
            self.count += 1

    def clear(self, piece: int) -> None:
        """Clear one piece; nothing happens if it is clear. IndexError past the end."""
        self._check(piece)
        mask = _MASKS[piece & 7]
        if self._data[piece >> 3] & mask:
            self._data[piece >> 3] ^= mask
            self.count -= 1

    def all(self) -> bool:
        """Return whether every piece is set."""
        return self.count == self.piece_count

    def none(self) -> bool:
        """Return whether no piece is set."""
        return not self.count

    def to_bytes(self) -> bytes:
        """Return the bytes of a BEP 3 bitfield message's payload."""
        return bytes(self._data)

    def as_int(self) -> int:
        """Return an int whose bit ``1 << i`` is piece ``i``."""
        return int.from_bytes(self._data.translate(_REVERSED), "little")

    def present(self) -> Iterator[int]:
        """Iterate over the pieces that are set now, in rising order."""
        return self._indices(self._data)

    def missing(self) -> Iterator[int]:
        """Iterate over the pieces that are clear now, in rising order."""
        return self._indices(self._data.translate(_FLIPPED))

    def flags(self) -> bytes:
        """Return a byte for each piece, 1 if it is set."""
        return b"".join(map(_BITS.__getitem__, self._data))[: self.piece_count]

    def _indices(self, data: bytearray) -> Iterator[int]:
        return compress(range(self.piece_count), b"".join(map(_BITS.__getitem__, data)))

    def _check(self, piece: int) -> None:
        if not 0 <= piece < self.piece_count:
            raise IndexError(f"piece {piece} of {self.piece_count}")

    def __len__(self) -> int:
        """Return the number of pieces, set or not."""
        return self.piece_count

    def __eq__(self, other: object) -> bool:
        """Compare the number of pieces and every bit."""
        if not isinstance(other, Bitfield):
            return NotImplemented
        return self.piece_count == other.piece_count and self._data == other._data

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        """Return the counts; the bits may be many."""
        return f"Bitfield({self.count} of {self.piece_count})"
