"""Which pieces the peers of a torrent have: a message about one piece costs the same however many.

What a peer says of one piece changes a byte; the int that the picker works on is made when it is
next asked for. The counts over all peers follow a little later where one message speaks of all
pieces, so that a peer that says such things all day pays for them itself.
Source: BEP 3 (have, bitfield), BEP 6 (have all), BEP 54 (lt_donthave).
"""

from functools import lru_cache
from typing import Final

from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.policy.availability import Availability

FEW_CHANGES: Final = 8  # ours: up to so many are cheaper one by one than the whole int anew


@lru_cache(maxsize=16)
def all_pieces(piece_count: int) -> int:
    """Return an int with a one for each piece; all seeds of a torrent share it."""
    return (1 << piece_count) - 1


class PeerPieces:
    """The pieces of one peer."""

    __slots__ = ("_bits", "_changed", "_field", "_total", "count")

    def __init__(self) -> None:
        self.count = 0
        """How many pieces it has."""
        self._total = 0
        self._field: Bitfield | None = None
        """None: all of them, or none."""
        self._bits = 0
        self._changed: list[int] | None = []
        """The pieces in which the int differs from the bitfield; None: very many."""

    @property
    def has_all(self) -> bool:
        """Whether it has every piece of the torrent."""
        return self.count == self._total > 0

    @property
    def bits(self) -> int:
        """The pieces, piece ``i`` at ``1 << i``."""
        changed, field = self._changed, self._field
        if changed is None and field is not None:
            self._bits = field.as_int()
        for piece in changed or ():
            self._bits ^= 1 << piece
        self._changed = []
        return self._bits

    def has(self, piece: int) -> bool:
        """Return whether it has one piece."""
        return self.count > 0 if self._field is None else self._field.has(piece)

    def add(self, piece: int, piece_count: int) -> bool:
        """Take that it has one more piece of ``piece_count``; False if that is no news."""
        if self.has(piece):
            return False
        field = self._own_field(piece_count)
        field.set(piece)
        self._change(piece, field)
        return True

    def remove(self, piece: int, piece_count: int) -> bool:
        """Take that it no longer has a piece; False if it had not."""
        if not self.has(piece):
            return False
        field = self._own_field(piece_count)
        field.clear(piece)
        self._change(piece, field)
        return True

    def replace(self, field: Bitfield) -> None:
        """Take all the pieces that it has; the bitfield is not changed by this."""
        self.count, self._total = field.count, field.piece_count
        if field.all() or field.none():
            self._field, self._changed = None, []
            self._bits = all_pieces(self._total) if self.count else 0
        else:
            self._field, self._changed = field.copy(), None

    def _own_field(self, piece_count: int) -> Bitfield:
        if self._field is None:
            make = Bitfield.full if self.count else Bitfield
            self._field, self._total = make(piece_count), piece_count
        return self._field

    def _change(self, piece: int, field: Bitfield) -> None:
        self.count = field.count
        if self._changed is not None:
            self._changed.append(piece)
            if len(self._changed) > FEW_CHANGES:
                self._changed = None
        if self.has_all:
            self._field, self._changed, self._bits = None, [], all_pieces(self._total)


class SwarmPieces:
    """Keeps an Availability in step with what the peers have.

    A peer of which all is changed at once, again and again, is counted as it was before until
    :meth:`settle`: one message then costs no pass over all pieces.
    """

    def __init__(self, piece_count: int, availability: Availability) -> None:
        self._piece_count = piece_count
        self._availability = availability
        self._stale: dict[PeerPieces, int | None] = {}
        """Peers that are counted as they were: as these pieces, None: as a seed."""
        self._known: set[PeerPieces] = set()

    @property
    def is_settled(self) -> bool:
        """Whether the counts are exact."""
        return not self._stale

    def has(self, pieces: PeerPieces, piece: int) -> bool:
        """Take "have" of a peer; False if that is no news."""
        if not pieces.add(piece, self._piece_count):
            return False
        if pieces not in self._stale:
            self._availability.add_piece(piece)
            if pieces.has_all:  # it is counted piece by piece so far
                self._stale[pieces] = pieces.bits
        self._known.add(pieces)
        return True

    def lost(self, pieces: PeerPieces, piece: int) -> bool:
        """Take "lt_donthave" of a peer; False if it did not have the piece."""
        was_seed = pieces.has_all
        if not pieces.remove(piece, self._piece_count):
            return False
        if pieces not in self._stale:
            if was_seed:
                self._stale[pieces] = None
            else:
                self._availability.remove_piece(piece)
        return True

    def replaced(self, pieces: PeerPieces, field: Bitfield) -> bool:
        """Take "bitfield", "have all" or "have none" of a peer; False if that is no news."""
        if field.all() and pieces.has_all:
            return False
        if pieces not in self._stale and pieces in self._known:
            self._stale[pieces] = None if pieces.has_all else pieces.bits
        pieces.replace(field)
        if pieces not in self._known:
            self._known.add(pieces)
            self._count(pieces.bits, is_seed=pieces.has_all)
        return True

    def left(self, pieces: PeerPieces) -> None:
        """Forget a peer."""
        self._known.discard(pieces)
        counted = None if pieces.has_all else pieces.bits
        self._uncount(self._stale.pop(pieces, counted))
        pieces.replace(Bitfield(self._piece_count))

    def settle(self, most: int) -> None:
        """Count up to so many peers as they are now."""
        for pieces in tuple(self._stale)[:most]:
            counted, bits = self._stale.pop(pieces), pieces.bits
            if counted is None:
                if not pieces.has_all:
                    self._uncount(None)
                    self._count(bits, is_seed=False)
            elif pieces.has_all:
                self._uncount(counted)
                self._count(bits, is_seed=True)
            elif counted != bits:
                both = counted & bits
                self._availability.add(bits ^ both)
                self._availability.remove(counted ^ both)

    def _count(self, bits: int, *, is_seed: bool) -> None:
        if is_seed:
            self._availability.seeds += 1
        else:
            self._availability.add(bits)

    def _uncount(self, counted: int | None) -> None:
        if counted is None:
            self._availability.seeds -= 1
        else:
            self._availability.remove(counted)
