"""The ranges to request from a web seed, and the blocks in its responses.

One long request is cheaper for a server than many short ones, so web seeds get ranges of contiguous
pieces that no peer works on, preferably ones that no peer has. Source: BEP 19, "Gaps".
"""

import math
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from torrent_engine.base.config import WebSeedConfig
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.geometry import FileLayout, Geometry
from torrent_engine.policy.pieces.piece_table import Block

MAX_VIEWS: Final = 8  # ours: a block in more parts than this is joined into one
FEW_BLOCKS: Final = 16  # ours: smaller requests cost more than they gain
SHARE_OF_MISSING: Final = 2  # ours: the requests of a web seed together take at most half

MAX_BAD_FILES: Final = 3  # ours: out of date at a server of which the others are used

Views = tuple[memoryview, ...]


class ServedPieces:
    """Which pieces a web seed may be asked for: it may lack files, or have other versions of some.

    Files that it lacks are asked for again after ``forget_after_s``, those that are wrong never.
    """

    def __init__(
        self,
        layout: FileLayout,
        geometry: Geometry,
        is_stored: Callable[[int], bool],
        *,
        forget_after_s: float,
    ) -> None:
        self.bits = (1 << geometry.piece_count) - 1
        """The pieces that it may be asked for now."""
        self._right = self.bits
        self._layout = layout
        self._geometry = geometry
        self._is_stored = is_stored
        self._forget_after_s = forget_after_s
        self._forgotten_s = math.inf
        self._bad_files = 0

    def lacks(self, file_index: int, now: float) -> None:
        """Leave out, for now, the pieces that overlap a file."""
        self.bits &= ~self._bits_of(file_index)
        self._forgotten_s = now + self._forget_after_s

    def forget(self, now: float) -> None:
        """Ask again for what was lacking, when it is time."""
        if now >= self._forgotten_s:
            self.bits, self._forgotten_s = self._right, math.inf

    def was_wrong(self, piece: int) -> bool:
        """Leave out for good the one file that a wrong piece lies in, or the piece if it has more.

        Returns whether too much was wrong for an older version of some files.
        """
        if self._right >> piece & 1:  # else it was under way
            files = self._layout.files_of_piece(piece, self._geometry)
            stored = [each for each in files if self._is_stored(each)]
            self._right &= ~(self._bits_of(stored[0]) if len(stored) == 1 else 1 << piece)
            self.bits &= self._right
            self._bad_files += 1
        return self._bad_files > MAX_BAD_FILES or not self._right

    def _bits_of(self, file_index: int) -> int:
        pieces = self._layout.pieces_of(file_index, self._geometry)
        return (1 << len(pieces)) - 1 << pieces.start


def range_blocks(config: WebSeedConfig, bytes_per_s: float, missing_bytes: int) -> int:
    """Return how many blocks one request should ask for.

    A few seconds at the current rate, so that a slow web seed does not hold what peers could send;
    towards the end less, so that the last ranges complete at about the same time.
    """
    wanted = bytes_per_s * config.range_s / config.max_requests
    wanted = min(max(wanted, config.min_range_bytes), config.max_range_bytes)
    fair = missing_bytes / (SHARE_OF_MISSING * config.max_requests)
    return max(int(min(wanted, fair)) // BLOCK_BYTES, FEW_BLOCKS)


def choose_range(
    candidates: int, most: int, start: int | None, rng: random.Random
) -> tuple[int, int]:
    """Return first piece and length of a range of 1 to ``most`` contiguous ``candidates``.

    It begins at piece ``start`` if that is a candidate, else at a random position with ``most``
    contiguous candidates, else with as many as there are. ``candidates`` are bits and not 0.
    """
    if start is not None and candidates >> start & 1:
        first = start
    else:
        starts = _starts_of_runs(candidates, most)
        place = rng.randrange(starts.bit_length())
        first = place + _lowest_bit(starts >> place)
    run = candidates >> first & (1 << most) - 1
    return first, (~run & run + 1).bit_length() - 1


def _starts_of_runs(bits: int, length: int) -> int:
    """Return where runs of ``length`` ones begin; if there are none, of shorter ones."""
    best, have = bits, 1
    while have < length:
        longer = best & best >> min(have, length - have)
        if not longer:
            return best
        best, have = longer, have + min(have, length - have)
    return best


def _lowest_bit(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


def contiguous_runs(blocks: Iterable[Block], piece_bytes: int) -> list[list[Block]]:
    """Return blocks grouped into contiguous ranges."""
    runs: list[list[Block]] = []
    end = -1
    for block in sorted(blocks):
        piece, begin, length = block
        start = piece * piece_bytes + begin
        if start == end:
            runs[-1].append(block)
        else:
            runs.append([block])
        end = start + length
    return runs


class BlockCutter:
    """Splits a stream of bytes into contiguous blocks, without copying."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        self.left = deque(blocks)
        """Blocks not received completely."""
        self._views: list[memoryview] = []
        self._held_bytes = 0

    def feed(self, data: memoryview) -> list[tuple[Block, Views]]:
        """Return the blocks that ``data`` completes; it must not extend beyond the last one."""
        done: list[tuple[Block, Views]] = []
        start, end = 0, len(data)
        while start < end:
            block = self.left[0]
            stop = start + block[2] - self._held_bytes
            if stop > end:
                self._hold(data[start:])
                break
            if self._views:
                views = (*self._views, data[start:stop])
                self._views, self._held_bytes = [], 0
            else:
                views = (data[start:stop],)
            done.append((self.left.popleft(), views))
            start = stop
        return done

    def _hold(self, view: memoryview) -> None:
        self._views.append(view)
        self._held_bytes += len(view)
        if len(self._views) > MAX_VIEWS:
            self._views = [memoryview(b"".join(self._views))]
