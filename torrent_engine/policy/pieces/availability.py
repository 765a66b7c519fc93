"""The number of peers that have each piece.

The counts are stored in bit planes: bit ``i`` of plane ``k`` is bit ``k`` of the count of piece
``i``. Adding or removing all pieces of a peer, and finding the rarest of a set, takes a few
operations on whole ints, whatever the number of pieces. Seeds do not influence rarity and are only
counted. Changes of single pieces are collected first: one pass over all pieces for each "have"
message would let a single peer block the event loop.
"""

from collections import defaultdict
from typing import Final

from torrent_engine.base.errors import LocalProtocolError
from torrent_engine.codec.bitfield import bits_of

BYTE_BITS: Final = 8
MAX_BYTE: Final = 255
_FROM_DIGITS: Final = bytes.maketrans(b"01", b"\0\1")
MAX_PENDING: Final = 4_096  # ours: single pieces whose changes are collected

# "a & ~b" is written "a ^ (a & b)" here: negative ints cost six times as much.


class Availability:
    """Counts of the pieces that connected peers have."""

    def __init__(self) -> None:
        self.seeds = 0
        """Number of peers that have every piece."""
        self._planes: list[int] = []
        self._pending: dict[int, int] = {}
        """Piece -> change of its count that is not in the planes yet."""

    def add_piece(self, piece: int) -> None:
        """Increment the count of one piece."""
        self._change(piece, 1)

    def remove_piece(self, piece: int) -> None:
        """Decrement the count of one piece, which must be above 0."""
        self._change(piece, -1)

    def _change(self, piece: int, by: int) -> None:
        pending = self._pending
        pending[piece] = pending.get(piece, 0) + by
        if len(pending) >= MAX_PENDING:
            self._settle()

    def _settle(self) -> None:
        """Apply the pending changes to the planes."""
        more, fewer = _by_bits(self._pending), _by_bits(self._pending, sign=-1)
        self._pending = {}
        for level, pieces in more.items():
            self._add_at(level, bits_of(pieces))
        for level, pieces in fewer.items():
            self._remove_at(level, bits_of(pieces))

    def add(self, bits: int) -> None:
        """Increment the count of each piece in ``bits``."""
        self._add_at(0, bits)

    def _add_at(self, level: int, carry: int) -> None:
        """Add 2 to the power of ``level`` to the counts of some pieces."""
        planes = self._planes
        while carry and level < len(planes):
            plane = planes[level]
            planes[level] = plane ^ carry
            carry &= plane
            level += 1
        if carry:
            planes += [0] * (level - len(planes))
            planes.append(carry)

    def remove(self, bits: int) -> None:
        """Decrement the count of each piece in ``bits``.

        Raises LocalProtocolError if the count of one of them is 0.
        """
        if self._pending:
            self._settle()
        self._remove_at(0, bits)

    def _remove_at(self, level: int, borrow: int) -> None:
        planes = self._planes
        while borrow and level < len(planes):
            plane = planes[level]
            planes[level] = plane ^ borrow
            borrow ^= borrow & plane
            level += 1
        if borrow:
            raise LocalProtocolError("count of a piece falls below 0")
        while planes and not planes[-1]:
            planes.pop()

    def count(self, piece: int) -> int:
        """Return how many peers have one piece, seeds included."""
        planes = enumerate(self._planes)
        known = self.seeds + self._pending.get(piece, 0)
        return known + sum((plane >> piece & 1) << level for level, plane in planes)

    def counts(self, piece_count: int) -> bytes:
        """Return a byte for each piece: how many peers have it, seeds included; 255 for more."""
        if self._pending:
            self._settle()
        if not piece_count:
            return b""
        low, high = 0, 0
        for level, plane in enumerate(self._planes):
            if level < BYTE_BITS:
                low += _byte_each(plane, piece_count) << level
            else:
                high |= plane
        low |= _byte_each(high, piece_count) * MAX_BYTE
        with_seeds = bytes(min(count + self.seeds, MAX_BYTE) for count in range(MAX_BYTE + 1))
        return low.to_bytes(piece_count, "big")[::-1].translate(with_seeds)

    def distributed_copies(self, piece_count: int, have: int) -> float:
        """Return how many copies there are of the rarest piece, ``have`` being the pieces of ours.

        The fraction is the share of pieces of which there are more, as libtorrent has it.
        """
        if not piece_count:
            return 0.0
        if self._pending:
            self._settle()
        everybody = Availability()
        everybody.seeds, everybody._planes = self.seeds, list(self._planes)
        everybody.add(have)
        rarest = everybody.rarest((1 << piece_count) - 1)
        copies = everybody.count(rarest.bit_length() - 1)
        return copies + (piece_count - rarest.bit_count()) / piece_count

    def rarest(self, candidates: int) -> int:
        """Return those of ``candidates`` that the fewest peers have; bits in, bits out."""
        if self._pending:
            self._settle()
        for plane in reversed(self._planes):
            if rarer := candidates ^ (candidates & plane):
                candidates = rarer
        return candidates

    def missing_everywhere(self, candidates: int) -> int:
        """Return those of ``candidates`` that no connected peer has."""
        if self.seeds:
            return 0
        return self.missing_of_leeches(candidates)

    def missing_of_leeches(self, candidates: int) -> int:
        """Return those of ``candidates`` that no connected leech has."""
        if self._pending:
            self._settle()
        for plane in self._planes:
            candidates ^= candidates & plane
        return candidates


def _byte_each(plane: int, piece_count: int) -> int:
    """Return an int with a byte for each piece, 0 or 1; piece 0 is the lowest byte."""
    digits = f"{plane:0{piece_count}b}".encode().translate(_FROM_DIGITS)
    return int.from_bytes(digits, "big")


def _by_bits(changes: dict[int, int], *, sign: int = 1) -> dict[int, list[int]]:
    """Return level -> pieces whose change, times ``sign``, has that bit set."""
    found: dict[int, list[int]] = defaultdict(list)
    for piece, change in changes.items():
        left, level = change * sign, 0
        while left > 0:
            if left & 1:
                found[level].append(piece)
            left, level = left >> 1, level + 1
    return found
