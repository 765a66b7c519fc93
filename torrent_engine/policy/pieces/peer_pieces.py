"""The pieces of each peer of a torrent, at a constant cost for each message about one piece.

A "have" changes one byte; the int for the picker is built when it is next read. A message about all
pieces updates the availability with a delay, so that a peer cannot make us recount all the time.
Source: BEP 3 (have, bitfield), BEP 6 (have all), BEP 54 (lt_donthave).
"""

from functools import lru_cache
from typing import Final

from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.policy.pieces.availability import Availability

FEW_CHANGES: Final = 8  # ours: up to this many, single changes are cheaper than a new int


@lru_cache(maxsize=16)
def all_pieces(piece_count: int) -> int:
    """Return an int with every piece set; all seeds of a torrent share it."""
    return (1 << piece_count) - 1


class PeerPieces:
    """The pieces of one peer."""

    __slots__ = ("_bits", "_changed", "_field", "_total", "count")

    def __init__(self) -> None:
        self.count = 0
        """Number of pieces it has."""
        self._total = 0
        self._field: Bitfield | None = None
        """None if the peer has all pieces or none."""
        self._bits = 0
        self._changed: list[int] | None = []
        """Pieces in which ``_bits`` differs from the bitfield; None: too many to list."""

    @property
    def has_all(self) -> bool:
        """Whether it has every piece of the torrent."""
        return self.count == self._total > 0

    @property
    def share(self) -> float:
        """Which part of all pieces it has, 0 to 1; 0 while their number is not known."""
        return self.count / self._total if self._total else 0.0

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
        """Add one piece of ``piece_count``; return False if the peer had it."""
        if self.has(piece):
            return False
        field = self._own_field(piece_count)
        field.set(piece)
        self._change(piece, field)
        return True

    def remove(self, piece: int, piece_count: int) -> bool:
        """Remove one piece; return False if the peer did not have it."""
        if not self.has(piece):
            return False
        field = self._own_field(piece_count)
        field.clear(piece)
        self._change(piece, field)
        return True

    def replace(self, field: Bitfield) -> None:
        """Set all pieces; the bitfield is copied."""
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
    """The availability of a swarm, kept in step with the pieces of its peers.

    A peer whose pieces all change at once is counted with its old pieces until :meth:`settle`, so
    that one message costs no pass over all pieces.
    """

    def __init__(self, piece_count: int, availability: Availability) -> None:
        self._piece_count = piece_count
        self._availability = availability
        self._stale: dict[PeerPieces, int | None] = {}
        """Peers counted with old pieces: these, or as a seed (None)."""
        self._known: set[PeerPieces] = set()

    @property
    def is_settled(self) -> bool:
        """Whether the counts are exact."""
        return not self._stale

    def has(self, pieces: PeerPieces, piece: int) -> bool:
        """Handle a "have" message; return False if the peer had the piece."""
        if not pieces.add(piece, self._piece_count):
            return False
        if pieces not in self._stale:
            self._availability.add_piece(piece)
            if pieces.has_all:  # not counted as a seed yet
                self._stale[pieces] = pieces.bits
        self._known.add(pieces)
        return True

    def lost(self, pieces: PeerPieces, piece: int) -> bool:
        """Handle an "lt_donthave" message; return False if the peer did not have the piece."""
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
        """Handle "bitfield", "have all" or "have none"; return False if nothing changed."""
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
        """Remove a peer."""
        self._known.discard(pieces)
        counted = None if pieces.has_all else pieces.bits
        self._uncount(self._stale.pop(pieces, counted))
        pieces.replace(Bitfield(self._piece_count))

    def settle(self, most: int) -> None:
        """Recount up to ``most`` peers whose pieces changed."""
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
