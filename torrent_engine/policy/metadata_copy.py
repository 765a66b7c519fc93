"""Owns one attempt at the metadata: which pieces are here and from whom, which are asked for.

Source: BEP 9; row B2. Memory is taken for pieces that came, never for what a peer claims.
"""

from collections.abc import Collection, Hashable
from typing import Final

PIECE_BYTES: Final = 16 * 1024  # BEP 9: every piece but the last


class MetadataCopy:
    """Pieces of a metadata of ``total_bytes``, each from one peer.

    ``is_open`` while it is one of those that are fetched now.
    """

    __slots__ = (
        "_askers",
        "_next",
        "_pieces",
        "held_bytes",
        "is_open",
        "piece_count",
        "total_bytes",
    )

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self.piece_count = -(-total_bytes // PIECE_BYTES)
        self.held_bytes = 0
        self.is_open = False
        self._pieces: dict[int, tuple[Hashable, bytes]] = {}
        self._askers: dict[int, int] = {}
        """For each piece that was asked for and is not here: how many peers are asked now."""
        self._next = 0
        """The first piece that was never asked for."""

    @property
    def count(self) -> int:
        """How many pieces are here."""
        return len(self._pieces)

    @property
    def missing_bytes(self) -> int:
        """How much is not here."""
        return self.total_bytes - self.held_bytes

    @property
    def is_whole(self) -> bool:
        """Whether every piece is here."""
        return len(self._pieces) == self.piece_count

    def length_of(self, piece: int) -> int:
        """Return the length of a piece in bytes; 0 past the end."""
        return max(min(PIECE_BYTES, self.total_bytes - piece * PIECE_BYTES), 0)

    def sources(self) -> set[Hashable]:
        """Return who gave the pieces that are here."""
        return {source for source, _ in self._pieces.values()}

    def joined(self) -> bytes:
        """Return all of it; only if it is whole."""
        return b"".join(self._pieces[piece][1] for piece in range(self.piece_count))

    def add(self, source: Hashable, piece: int, data: bytes) -> bool:
        """Take a piece; return whether it was not here before."""
        self._askers.pop(piece, None)
        if piece in self._pieces:
            return False
        self._pieces[piece] = source, data
        self.held_bytes += len(data)
        return True

    def part_of(self, source: Hashable) -> "MetadataCopy":
        """Return a copy of what one peer gave."""
        part = MetadataCopy(self.total_bytes)
        for piece, (giver, data) in self._pieces.items():
            if giver == source:
                part.add(source, piece, data)
        return part

    def drop(self, source: Hashable) -> None:
        """Forget what one peer gave."""
        for piece, (giver, data) in tuple(self._pieces.items()):
            if giver == source:
                del self._pieces[piece]
                self.held_bytes -= len(data)
                self._askers.setdefault(piece, 0)

    def clear(self) -> None:
        """Forget all of it, and whom it was asked of."""
        self._pieces.clear()
        self._askers.clear()
        self._next = self.held_bytes = 0

    def ask(self, piece: int) -> None:
        """Note that one more peer is asked for a piece."""
        self._askers[piece] = self._askers.get(piece, 0) + 1

    def give_up(self, piece: int) -> None:
        """Note that one peer fewer is asked for a piece."""
        if self._askers.get(piece):
            self._askers[piece] -= 1

    def next_piece(
        self, asked: Collection[int], owed: Collection[int], duplicates: int
    ) -> int | None:
        """Return what to ask a peer for that is asked for some already and ``owed`` us those.

        First what nobody is asked for; then what fewer than ``duplicates`` peers are asked for;
        what the peer did not give in time comes last.
        """
        begun = [
            (piece in owed, askers, piece)
            for piece, askers in self._askers.items()
            if askers < duplicates and piece not in asked
        ]
        best = min(begun, default=None)
        if best is None or best[:2] != (False, 0):
            fresh = self._fresh()
            if fresh is not None:
                return fresh
        return None if best is None else best[2]

    def _fresh(self) -> int | None:
        while self._next in self._pieces or self._next in self._askers:
            self._next += 1
        return self._next if self._next < self.piece_count else None
