"""Decides which pieces are fetched before anything else, and from whom: those wanted by a time.

Times are those of any clock that does not run backwards. What the field's clients do for a player
that reads while the rest still comes; no BEP says how.
"""

from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Final

from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.bitfield import bits_of

UNKNOWN_BYTES_PER_S: Final = 64 * 1024  # ours: what is believed of a peer that sent nothing yet
FAR_FASTER: Final = 4.0  # ours: a peer leaves what is due to those so much faster
QUEUE_S: Final = 1.0  # ours: seconds of a peer's rate that are requested while pieces are due
MIN_QUEUE_BLOCKS: Final = 8  # ours: fewer would wait for the way there and back
GAIN: Final = 2.0  # ours: a block is asked for twice if that makes the wait so much shorter


class Deadlines:
    """Owns by when each piece is wanted, over all who want one; what is here has no deadline."""

    __slots__ = ("_due", "_order", "_owners", "bits")

    def __init__(self) -> None:
        self.bits = 0
        """The pieces that have a deadline."""
        self._owners: dict[object, dict[int, float]] = {}
        self._due: dict[int, float] = {}
        self._order: tuple[int, ...] | None = ()

    @property
    def order(self) -> tuple[int, ...]:
        """The pieces, the earliest deadline first."""
        if self._order is None:
            self._order = tuple(sorted(self._due, key=lambda piece: (self._due[piece], piece)))
        return self._order

    def due_s(self, piece: int) -> float:
        """Return by when a piece that has a deadline is wanted."""
        return self._due[piece]

    def due_before(self, by_s: float) -> int:
        """Return the pieces that are wanted before a time, as bits."""
        due = self._due
        return bits_of(list(takewhile(lambda piece: due[piece] < by_s, self.order)))

    def want(self, owner: object, by_s: Mapping[int, float]) -> None:
        """Replace all that one owner wants; of several owners the earliest time counts."""
        if by_s:
            self._owners[owner] = dict(by_s)
        elif self._owners.pop(owner, None) is None:
            return
        self._due = {}
        for wanted in self._owners.values():
            for piece, due_s in wanted.items():
                self._due[piece] = min(due_s, self._due.get(piece, due_s))
        self._order = None
        self.bits = bits_of(self._due)

    def add(self, owner: object, piece: int, by_s: float) -> None:
        """Let one owner want one more piece, or at another time."""
        self.want(owner, {**self._owners.get(owner, {}), piece: by_s})

    def forget(self, owner: object, piece: int) -> None:
        """Let one owner want a piece no more."""
        wanted = self._owners.get(owner, {})
        self.want(owner, {other: by_s for other, by_s in wanted.items() if other != piece})

    def drop(self, owner: object) -> None:
        """Forget what one owner wants."""
        self.want(owner, {})

    def done(self, piece: int) -> None:
        """Take that a piece is here."""
        if self._due.pop(piece, None) is None:
            return
        self.bits ^= 1 << piece
        self._order = None
        for owner, wanted in tuple(self._owners.items()):
            wanted.pop(piece, None)
            if not wanted:
                del self._owners[owner]


class Speeds:
    """Who is how fast, at one moment: a sender leaves what is due to those who are far faster."""

    __slots__ = ("_bits", "_rates")

    def __init__(self, senders: Iterable[tuple[float, int]] = ()) -> None:
        """Take (bytes per second, pieces as bits) of each sender that may be asked now."""
        self._rates: list[float] = []
        self._bits: list[int] = []
        bits = 0
        for rate, pieces in sorted(senders, key=lambda sender: -sender[0]):
            bits |= pieces
            self._rates.append(rate)
            self._bits.append(bits)

    def faster_have(self, bytes_per_s: float) -> int:
        """Return the pieces that somebody far faster than this has, as bits."""
        least = FAR_FASTER * (bytes_per_s or UNKNOWN_BYTES_PER_S)
        found = 0
        for rate, bits in zip(self._rates, self._bits, strict=True):
            if rate < least:
                break
            found = bits
        return found


def wait_s(blocks: int, bytes_per_s: float) -> float:
    """Return the seconds until a sender has sent so many blocks."""
    return blocks * BLOCK_BYTES / (bytes_per_s or UNKNOWN_BYTES_PER_S)


def queue_blocks(bytes_per_s: float) -> int:
    """Return how many blocks are kept requested at a peer while there is more that is due."""
    return max(MIN_QUEUE_BLOCKS, int(bytes_per_s * QUEUE_S) // BLOCK_BYTES)


def is_worth_asking_again(present_s: float, again_s: float) -> bool:
    """Return whether a block that comes in ``present_s`` is asked of one who needs ``again_s``."""
    return again_s * GAIN < present_s
