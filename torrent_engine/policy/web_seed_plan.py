"""Decides which pieces a web seed is asked for in one go, and cuts what it sends into blocks.

One long request is cheaper than many short ones for a server, so it gets stretches of neighbouring
pieces that nobody else works on, first those that no peer has. Source: BEP 19, "Gaps".
"""

import random
from collections import deque
from collections.abc import Iterable
from typing import Final

from torrent_engine.base.config import WebSeedConfig
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.policy.pieces import Block

MAX_VIEWS: Final = 8  # ours: a block that came in more crumbs is joined
FEW_BLOCKS: Final = 16  # ours: a request for less costs more than it brings
SHARE_OF_MISSING: Final = 2  # ours: all requests of a web seed together take one part in so many

Views = tuple[memoryview, ...]


def range_blocks(config: WebSeedConfig, bytes_per_s: float, missing_bytes: int) -> int:
    """Return how many blocks one request should ask for.

    A few seconds of the present rate, so that a slow web seed does not sit on what peers could
    send; and towards the end less, so that the last ranges end at about the same time.
    """
    wanted = bytes_per_s * config.range_s / config.max_requests
    wanted = min(max(wanted, config.min_range_bytes), config.max_range_bytes)
    fair = missing_bytes / (SHARE_OF_MISSING * config.max_requests)
    return max(int(min(wanted, fair)) // BLOCK_BYTES, FEW_BLOCKS)


def choose_stretch(
    candidates: int, most: int, start: int | None, rng: random.Random
) -> tuple[int, int]:
    """Return first piece and length of a run of 1 to ``most`` neighbours in ``candidates``.

    It begins at piece ``start`` if that is one of them, else at a random place where ``most``
    neighbours are free, else where the most are. ``candidates`` are bits, and not 0.
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
    """Return where runs of ``length`` ones begin, or of half of that, and so on down to 1."""
    best, have = bits, 1
    while have < length:
        longer = best & best >> min(have, length - have)
        if not longer:
            return best
        best, have = longer, have + min(have, length - have)
    return best


def _lowest_bit(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


def stretches(blocks: Iterable[Block], piece_bytes: int) -> list[list[Block]]:
    """Return blocks as runs in which each begins where the one before it ends."""
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
    """Cuts the bytes of neighbouring blocks, as they come, into these blocks; copies nothing."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        self.left = deque(blocks)
        """What has not come whole."""
        self._views: list[memoryview] = []
        self._held_bytes = 0

    def feed(self, data: memoryview) -> list[tuple[Block, Views]]:
        """Return the blocks that ``data`` completes; it must not reach beyond the last one."""
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
