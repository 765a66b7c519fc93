"""One copy of the metadata being fetched: its pieces, their senders, and the requests.

Source: BEP 9; row B2. Memory is allocated for received pieces, never for a claimed length.
"""

from collections.abc import Collection, Hashable
from typing import Final

PIECE_BYTES: Final = 16 * 1024  # BEP 9: every piece but the last

CopyContents = tuple[tuple[Hashable, bytes], ...]
"""The pieces of a copy in their order, each with its sender."""


class MetadataCopy:
    """Metadata of ``total_bytes`` under construction; each piece is from one peer.

    ``is_open`` while it is one of those that are fetched now.
    """

    __slots__ = (
        "_next",
        "_pieces",
        "_requests",
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
        self._requests: dict[int, int] = {}
        """Missing piece that was requested at least once -> number of outstanding requests."""
        self._next = 0
        """The first piece that was never requested."""

    @property
    def count(self) -> int:
        """Number of received pieces."""
        return len(self._pieces)

    @property
    def missing_bytes(self) -> int:
        """Bytes not received yet."""
        return self.total_bytes - self.held_bytes

    @property
    def is_whole(self) -> bool:
        """Whether every piece was received."""
        return len(self._pieces) == self.piece_count

    @property
    def is_partial(self) -> bool:
        """Whether some, but not all pieces were received."""
        return 0 < len(self._pieces) < self.piece_count

    def length_of(self, piece: int) -> int:
        """Return the length of a piece in bytes; 0 past the end."""
        return max(min(PIECE_BYTES, self.total_bytes - piece * PIECE_BYTES), 0)

    def contents(self) -> CopyContents:
        """Return the received pieces."""
        pieces = self._pieces
        return tuple(pieces[piece] for piece in range(self.piece_count) if piece in pieces)

    def add(self, source: Hashable, piece: int, data: bytes) -> bool:
        """Add a piece; return whether it was missing."""
        self._requests.pop(piece, None)
        if piece in self._pieces:
            return False
        self._pieces[piece] = source, data
        self.held_bytes += len(data)
        return True

    def parts(self) -> "dict[Hashable, MetadataCopy]":
        """Return a copy for each sender, with only the pieces that it sent."""
        parts: dict[Hashable, MetadataCopy] = {}
        for piece, (sender, data) in self._pieces.items():
            part = parts.setdefault(sender, MetadataCopy(self.total_bytes))
            part.add(sender, piece, data)
        return parts

    def drop(self, source: Hashable) -> None:
        """Remove the pieces that one peer sent."""
        for piece, (sender, data) in tuple(self._pieces.items()):
            if sender == source:
                del self._pieces[piece]
                self.held_bytes -= len(data)
                self._requests.setdefault(piece, 0)

    def clear(self) -> None:
        """Remove all pieces and requests."""
        self._pieces.clear()
        self._requests.clear()
        self._next = self.held_bytes = 0

    def add_request(self, piece: int) -> None:
        """Record a request for a piece."""
        self._requests[piece] = self._requests.get(piece, 0) + 1

    def end_request(self, piece: int) -> None:
        """Record that a request for a piece ended."""
        if self._requests.get(piece):
            self._requests[piece] -= 1

    def next_piece(
        self, asked: Collection[int], unanswered: Collection[int], duplicates: int
    ) -> int | None:
        """Return the piece to request from a peer, given its outstanding and unanswered ones.

        First pieces without a request, then those with fewer than ``duplicates`` requests; pieces
        that the peer did not send in time come last.
        """
        begun = [
            (piece in unanswered, requests, piece)
            for piece, requests in self._requests.items()
            if requests < duplicates and piece not in asked
        ]
        best = min(begun, default=None)
        if best is None or best[:2] != (False, 0):
            fresh = self._fresh()
            if fresh is not None:
                return fresh
        return None if best is None else best[2]

    def _fresh(self) -> int | None:
        while self._next in self._pieces or self._next in self._requests:
            self._next += 1
        return self._next if self._next < self.piece_count else None
