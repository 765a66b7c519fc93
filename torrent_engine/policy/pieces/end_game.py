"""Duplicate requests: end game, and blocks that slow peers hold up."""

from collections.abc import Mapping
from typing import Final

from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.policy.pieces.deadlines import is_duplicate_worthwhile, wait_s
from torrent_engine.policy.pieces.picker import Picker
from torrent_engine.policy.pieces.piece_table import Block

END_GAME_S: Final = 1.5  # ours: the end game begins when this much of the rate is left
LEAST_END_GAME_BLOCKS: Final = 32
LATE_S: Final = 5.0  # ours: a block expected later than this is late, at any time

MAX_LATE_REQUESTS: Final = 4  # ours: peers that one late block is requested from at a time


def left_blocks(picker: Picker) -> int:
    """Return how many blocks of wanted partial pieces were not received yet."""
    return sum(part.left for piece, part in picker.partials.items() if picker.is_wanted(piece))


def is_end(left_blocks: int, bytes_per_s: float) -> bool:
    """Return whether so little is left that the end game begins."""
    return left_blocks <= max(LEAST_END_GAME_BLOCKS, int(bytes_per_s * END_GAME_S) // BLOCK_BYTES)


def choose_duplicates(
    expected: Mapping[Block, float], bytes_per_s: float, count: int, *, at_end: bool
) -> list[Block]:
    """Return up to ``count`` blocks that an idle peer of this rate would deliver much sooner.

    ``expected`` maps blocks to the seconds until they are expected. The latest come first; unless
    ``at_end``, only late ones are chosen.
    """
    chosen: list[Block] = []
    for block, left_s in sorted(expected.items(), key=lambda item: -item[1]):
        if len(chosen) >= count or not (at_end or left_s > LATE_S):
            break
        if is_duplicate_worthwhile(left_s, wait_s(len(chosen) + 1, bytes_per_s)):
            chosen.append(block)
    return chosen
