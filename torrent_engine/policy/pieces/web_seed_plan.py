"""The ranges to request from a web seed, and the blocks in its responses.

One long request is cheaper for a server than many short ones, so web seeds get ranges of contiguous
pieces that no peer works on, preferably ones that no peer has. Source: BEP 19, "Gaps".
"""

import random
from collections import deque
from collections.abc import Iterable
from typing import Final

from torrent_engine.base.config import WebSeedConfig
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.policy.pieces.piece_table import Block

MAX_VIEWS: Final = 8  # ours: a block in more parts than this is joined into one
FEW_BLOCKS: Final = 16  # ours: smaller requests cost more than they gain
SHARE_OF_MISSING: Final = 2  # ours: the requests of a web seed together take at most half

Views = tuple[memoryview, ...]


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
