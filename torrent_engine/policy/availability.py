"""How many peers have each piece.

The counts lie in bit planes: bit ``i`` of plane ``k`` is bit ``k`` of the count of piece ``i``. To
add or remove all the pieces of a peer, and to narrow a set to its rarest pieces, takes a few
operations on whole ints, whatever the number of pieces. Seeds have every piece, so they change no
order and are a plain count. Single pieces are gathered first: a pass over all pieces for each would
let one peer with many "have" messages stop everybody.
"""

from collections import defaultdict
from typing import Final

from torrent_engine.base.errors import LocalProtocolError
from torrent_engine.codec.bitfield import bits_of

MAX_PENDING: Final = 4_096  # ours: pieces whose changes are gathered

# "a & ~b" is written "a ^ (a & b)" here: it makes no negative int, which costs six times as much.


class Availability:
    """Counts of the pieces that connected peers have."""

    def __init__(self) -> None:
        self.seeds = 0
        """Peers that have every piece."""
        self._planes: list[int] = []
        self._pending: dict[int, int] = {}
        """By how much the count of a piece differs from what the planes say."""

    def add_piece(self, piece: int) -> None:
        """Count one piece once more."""
        self._change(piece, 1)

    def remove_piece(self, piece: int) -> None:
        """Count one piece once less; it must have been counted."""
        self._change(piece, -1)

    def _change(self, piece: int, by: int) -> None:
        pending = self._pending
        pending[piece] = pending.get(piece, 0) + by
        if len(pending) >= MAX_PENDING:
            self._settle()

    def _settle(self) -> None:
        """Bring the planes up to date."""
        more, fewer = _by_bits(self._pending), _by_bits(self._pending, sign=-1)
        self._pending = {}
        for level, pieces in more.items():
            self._add_at(level, bits_of(pieces))
        for level, pieces in fewer.items():
            self._remove_at(level, bits_of(pieces))

    def add(self, bits: int) -> None:
        """Count the pieces in ``bits`` once more."""
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
        """Count the pieces in ``bits`` once less.

        Raises LocalProtocolError if one of them was not counted.
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
            raise LocalProtocolError("a piece that no peer has is taken back")
        while planes and not planes[-1]:
            planes.pop()

    def count(self, piece: int) -> int:
        """Return how many peers have one piece, seeds included."""
        planes = enumerate(self._planes)
        known = self.seeds + self._pending.get(piece, 0)
        return known + sum((plane >> piece & 1) << level for level, plane in planes)

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
        """Return those of ``candidates`` that no connected peer has which lacks others."""
        if self._pending:
            self._settle()
        for plane in self._planes:
            candidates ^= candidates & plane
        return candidates


def _by_bits(changes: dict[int, int], *, sign: int = 1) -> dict[int, list[int]]:
    """Return the pieces whose change, of this sign, has a one at each binary place."""
    found: dict[int, list[int]] = defaultdict(list)
    for piece, change in changes.items():
        left, level = change * sign, 0
        while left > 0:
            if left & 1:
                found[level].append(piece)
            left, level = left >> 1, level + 1
    return found
