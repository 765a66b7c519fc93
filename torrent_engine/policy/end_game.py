"""Which blocks are asked for twice: the last ones, and those of peers that are very late."""

from collections.abc import Mapping
from typing import Final

from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.policy.deadlines import is_worth_asking_again, wait_s
from torrent_engine.policy.pieces import Block

END_GAME_S: Final = 1.5  # ours: of the present rate; what is left then is the end
LEAST_END_GAME_BLOCKS: Final = 32
LATE_S: Final = 5.0  # ours: a block is late, whenever that is, if it takes so long to come

MAX_LATE_ASKERS: Final = 4  # ours: who owe us one block at a time, if it is late


def is_end(left_blocks: int, bytes_per_s: float) -> bool:
    """Return whether so little is left that a slow peer may not keep everybody waiting."""
    return left_blocks <= max(LEAST_END_GAME_BLOCKS, int(bytes_per_s * END_GAME_S) // BLOCK_BYTES)


def choose_duplicates(
    expected: Mapping[Block, float], bytes_per_s: float, count: int, *, at_end: bool
) -> list[Block]:
    """Return up to ``count`` blocks that an idle peer so fast would send much sooner.

    ``expected`` has the seconds until each block comes. Those that take longest come first; before
    the end only those that are late.
    """
    chosen: list[Block] = []
    for block, left_s in sorted(expected.items(), key=lambda item: -item[1]):
        if len(chosen) >= count or not (at_end or left_s > LATE_S):
            break
        if is_worth_asking_again(left_s, wait_s(len(chosen) + 1, bytes_per_s)):
            chosen.append(block)
    return chosen
