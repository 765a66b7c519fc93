"""A fast parser of consecutive whole blocks that arrived in one read.

Source: BEP 3 ("piece"). The frames of blocks of 16 KiB lie at equal distances, so one call unpacks
the headers of all of them, and neighbours are told by comparing tuples.
"""

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from torrent_engine.base.ids import BLOCK_BYTES

HEADER_BYTES: Final = 13
FRAME_BYTES: Final = HEADER_BYTES + BLOCK_BYTES
_LENGTH_PREFIX: Final = 9 + BLOCK_BYTES
_PIECE: Final = 7


def count_neighbours(view: memoryview, start: int, count: int) -> int:
    """Return how many of ``count`` frames from ``start`` on are blocks that follow each other.

    The first of them is a block of 16 KiB; all of them lie in ``view``.
    """
    numbers = _unpacker(count)(view, start)
    columns = numbers[0::4], numbers[1::4], numbers[2::4], numbers[3::4]
    piece, begin = numbers[2], numbers[3]
    begins = tuple(range(begin, begin + count * BLOCK_BYTES, BLOCK_BYTES))
    if columns == ((_LENGTH_PREFIX,) * count, (_PIECE,) * count, (piece,) * count, begins):
        return count
    frames = zip(*columns, strict=True)
    return next(
        number
        for number, (frame, expected) in enumerate(zip(frames, begins, strict=True))
        if frame != (_LENGTH_PREFIX, _PIECE, piece, expected)
    )


@lru_cache(maxsize=256)
def _unpacker(count: int) -> Callable[[memoryview, int], tuple[int, ...]]:
    return struct.Struct(">" + f"IBII{BLOCK_BYTES}x" * count).unpack_from
