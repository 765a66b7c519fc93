"""Owns how many peers have each piece.

The counts lie in bit planes: bit ``i`` of plane ``k`` is bit ``k`` of the count of piece ``i``. To
add or remove all the pieces of a peer, and to narrow a set to its rarest pieces, takes a few
operations on whole ints, whatever the number of pieces. Seeds have every piece, so they change no
order and are a plain count.
"""

from torrent_engine.base.errors import LocalProtocolError

# "a & ~b" is written "a ^ (a & b)" here: it makes no negative int, which costs six times as much.


class Availability:
    """Counts of the pieces that connected peers have."""

    def __init__(self) -> None:
        self.seeds = 0
        """Peers that have every piece."""
        self._planes: list[int] = []

    def add(self, bits: int) -> None:
        """Count the pieces in ``bits`` once more."""
        planes = self._planes
        carry = bits
        for level, plane in enumerate(planes):
            if not carry:
                return
            planes[level] = plane ^ carry
            carry &= plane
        if carry:
            planes.append(carry)

    def remove(self, bits: int) -> None:
        """Count the pieces in ``bits`` once less.

        Raises LocalProtocolError if one of them was not counted.
        """
        planes = self._planes
        borrow = bits
        for level, plane in enumerate(planes):
            if not borrow:
                break
            planes[level] = plane ^ borrow
            borrow ^= borrow & plane
        if borrow:
            raise LocalProtocolError("a piece that no peer has is taken back")
        while planes and not planes[-1]:
            planes.pop()

    def count(self, piece: int) -> int:
        """Return how many peers have one piece, seeds included."""
        planes = enumerate(self._planes)
        return self.seeds + sum((plane >> piece & 1) << level for level, plane in planes)

    def rarest(self, candidates: int) -> int:
        """Return those of ``candidates`` that the fewest peers have; bits in, bits out."""
        for plane in reversed(self._planes):
            if rarer := candidates ^ (candidates & plane):
                candidates = rarer
        return candidates

    def missing_everywhere(self, candidates: int) -> int:
        """Return those of ``candidates`` that no connected peer has."""
        if self.seeds:
            return 0
        for plane in self._planes:
            candidates ^= candidates & plane
        return candidates
