"""Piece deadlines for streaming (libtorrent's time-critical pieces).

Times are seconds of a monotonic clock. No BEP covers this.
"""

from bisect import insort
from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Final

from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.bitfield import bits_of

ASSUMED_BYTES_PER_S: Final = 64 * 1024  # ours: the assumed rate of a peer that has sent nothing yet
MUCH_FASTER: Final = 4.0  # ours: a peer leaves urgent pieces to peers faster by this factor
QUEUE_S: Final = 1.0  # ours: seconds of a peer's rate kept requested while pieces are urgent
MIN_QUEUE_BLOCKS: Final = 8  # ours: fewer would leave the peer idle for a round trip
GAIN: Final = 2.0  # ours: a duplicate request must shorten the wait by this factor


class Deadlines:
    """The earliest deadline of each missing piece, over all readers that want it."""

    __slots__ = ("_due", "_order", "_owners", "_sorted", "bits")

    def __init__(self) -> None:
        self.bits = 0
        """The pieces that have a deadline."""
        self._owners: dict[object, dict[int, float]] = {}
        self._due: dict[int, float] = {}
        self._sorted: list[int] | None = []
        """What :attr:`order` returns; None: to be sorted."""
        self._order: tuple[int, ...] | None = ()
        """What it returned last; None after a change."""

    @property
    def order(self) -> tuple[int, ...]:
        """The pieces, the earliest deadline first."""
        if self._order is None:
            if self._sorted is None:
                self._sorted = sorted(self._due, key=self._rank)
            self._order = tuple(self._sorted)
        return self._order

    def _rank(self, piece: int) -> tuple[float, int]:
        return self._due[piece], piece

    def __contains__(self, piece: int) -> bool:
        """Return whether a piece has a deadline; cheaper than a shift of :attr:`bits`."""
        return piece in self._due

    def due_s(self, piece: int) -> float:
        """Return the deadline of a piece, which must have one."""
        return self._due[piece]

    def due_before(self, by_s: float) -> int:
        """Return the pieces with a deadline before ``by_s``, as bits."""
        due = self._due
        return bits_of(list(takewhile(lambda piece: due[piece] < by_s, self.order)))

    def want(self, owner: object, by_s: Mapping[int, float]) -> None:
        """Replace all deadlines of one reader; of several readers the earliest counts."""
        if by_s:
            self._owners[owner] = dict(by_s)
        elif self._owners.pop(owner, None) is None:
            return
        self._due = {}
        for wanted in self._owners.values():
            for piece, due_s in wanted.items():
                self._due[piece] = min(due_s, self._due.get(piece, due_s))
        self._order = self._sorted = None
        self.bits = bits_of(self._due)

    def add(self, owner: object, piece: int, by_s: float) -> None:
        """Add or change the deadline of one piece for one reader."""
        self._owners.setdefault(owner, {})[piece] = by_s
        self._settle(piece)

    def forget(self, owner: object, piece: int) -> None:
        """Remove the deadline of one piece for one reader."""
        wanted = self._owners.get(owner, {})
        if wanted.pop(piece, None) is not None:
            if not wanted:
                del self._owners[owner]
            self._settle(piece)

    def _settle(self, piece: int) -> None:
        """Give one piece the earliest of its deadlines, and look at no other piece."""
        due_s = min((each[piece] for each in self._owners.values() if piece in each), default=None)
        if self._due.get(piece) == due_s:
            return
        if piece in self._due:
            self._remove(piece)
        if due_s is not None:
            self._due[piece] = due_s
            self.bits |= 1 << piece
            self._order = None
            if self._sorted is not None:
                insort(self._sorted, piece, key=self._rank)

    def _remove(self, piece: int) -> None:
        del self._due[piece]
        self.bits ^= 1 << piece
        self._order = None
        if self._sorted is not None:
            self._sorted.remove(piece)

    def drop(self, owner: object) -> None:
        """Remove all deadlines of one reader."""
        self.want(owner, {})

    def done(self, piece: int) -> None:
        """Remove all deadlines of a piece that is complete."""
        if piece not in self._due:
            return
        self._remove(piece)
        for owner, wanted in tuple(self._owners.items()):
            wanted.pop(piece, None)
            if not wanted:
                del self._owners[owner]


class SenderRates:
    """Peers by download rate: slow peers leave urgent pieces to much faster ones."""

    __slots__ = ("_bits", "_rates")

    def __init__(self, senders: Iterable[tuple[float, int]] = ()) -> None:
        """Rank the senders, each given as bytes per second and its pieces as bits."""
        self._rates: list[float] = []
        self._bits: list[int] = []
        bits = 0
        for rate, pieces in sorted(senders, key=lambda sender: -sender[0]):
            bits |= pieces
            self._rates.append(rate)
            self._bits.append(bits)

    def of_faster_senders(self, bytes_per_s: float) -> int:
        """Return the pieces that a much faster sender has, as bits."""
        least = MUCH_FASTER * (bytes_per_s or ASSUMED_BYTES_PER_S)
        found = 0
        for rate, bits in zip(self._rates, self._bits, strict=True):
            if rate < least:
                break
            found = bits
        return found


def wait_s(blocks: int, bytes_per_s: float) -> float:
    """Return the seconds a sender needs for so many blocks."""
    return blocks * BLOCK_BYTES / (bytes_per_s or ASSUMED_BYTES_PER_S)


def queue_blocks(bytes_per_s: float) -> int:
    """Return the blocks to keep requested from a peer while pieces are urgent."""
    return max(MIN_QUEUE_BLOCKS, int(bytes_per_s * QUEUE_S) // BLOCK_BYTES)


def is_duplicate_worthwhile(expected_s: float, duplicate_s: float) -> bool:
    """Return whether to request a block due in ``expected_s`` from a peer needing less time."""
    return duplicate_s * GAIN < expected_s
