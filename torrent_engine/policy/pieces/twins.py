"""Pieces of the same content: while one is fetched the others wait, to be copied from it.

Source: BEP 52; a file that is twice in a torrent has one ``pieces root``.
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from torrent_engine.policy.pieces.piece_table import PartialPiece, PieceState

PATIENCE_TICKS: Final = 20  # ours: seconds without a block of a piece, then its twins are fetched
_AT_REST: Final = frozenset({PieceState.MISSING, PieceState.HAVE})


class TwinFinder(Protocol):
    """What knows which pieces have the same content."""

    def twins(self, piece: int) -> int:
        """Return the other pieces with the content of a piece, as bits."""


class WaitingTwins:
    """The pieces that are not begun, because another of the same content is being fetched."""

    __slots__ = ("_finder", "_leaders", "bits")

    def __init__(self) -> None:
        self.bits = 0
        """The pieces that wait."""
        self._finder: TwinFinder | None = None
        self._leaders: dict[int, _Leader] = {}

    def watch(self, finder: TwinFinder) -> None:
        """Let twins wait from now on."""
        self._finder = finder

    def begun(self, piece: int) -> None:
        """Let the twins of a piece wait that is about to be fetched."""
        if self._finder is not None and (twins := self._finder.twins(piece)):
            self._leaders[piece] = _Leader(twins)
            self.bits |= twins

    def tick(
        self, state: Callable[[int], PieceState], partials: Mapping[int, PartialPiece]
    ) -> bool:
        """Take note of what was fetched within a second; return whether pieces wait no longer."""
        before, self.bits = self.bits, 0
        for piece, leader in tuple(self._leaders.items()):
            if state(piece) in _AT_REST:
                del self._leaders[piece]
                continue
            partial = partials.get(piece)
            if leader.goes_on(0 if partial is None else partial.left):
                self.bits |= leader.twins
        return bool(before & ~self.bits)


class _Leader:
    """A piece that is being fetched, and the twins that wait for it."""

    __slots__ = ("_left", "_ticks", "twins")

    def __init__(self, twins: int) -> None:
        self.twins = twins
        self._left = -1
        self._ticks = 0

    def goes_on(self, left: int) -> bool:
        """Return whether blocks of the piece still come, if so many are not here now."""
        self._ticks = 0 if left != self._left else self._ticks + 1
        self._left = left
        return self._ticks < PATIENCE_TICKS
