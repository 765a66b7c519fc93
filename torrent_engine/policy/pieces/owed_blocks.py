"""When the blocks that senders owe us come, for peers that have nothing else to be asked for.

All requests are looked at once for all that have nothing to do within a fifth of a second, and not
for each of them: 2 us a block.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from operator import itemgetter
from typing import Final, NamedTuple

from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.policy.pieces.end_game import LATE_S, MAX_LATE_REQUESTS, left_blocks
from torrent_engine.policy.pieces.picker import MAX_END_GAME_REQUESTS, Picker, among
from torrent_engine.policy.pieces.piece_table import Block

LOOK_S: Final = 0.2  # ours: what is expected holds so long
MOST_PIECES: Final = 1_000  # ours: the latest ones, which one idle peer is looked at for
MOST_BLOCKS: Final = 500  # ours: of those that it has


class Owed(NamedTuple):
    """What senders owe us at one time."""

    expected_s: Mapping[Block, float]
    """In how many seconds the blocks come."""
    silent: Mapping[Block, int]
    """How many of the requests for a block are to senders that are silent."""


class OwedBlocks:
    """The blocks of begun pieces that several peers may be asked for, the latest pieces first."""

    def __init__(self, picker: Picker, owed: Callable[[float], Owed]) -> None:
        """Create it; ``owed`` returns what we are owed, at a time."""
        self._picker = picker
        self._owed = owed
        self._silent: Mapping[Block, int] = {}
        self._blocks: dict[int, list[tuple[Block, float]]] = {}
        self._pieces: list[int] = []
        self._until_s = 0.0
        self.left_blocks = 0
        """How many blocks of wanted begun pieces had not come, once no piece is left to begin."""

    def look(self, now: float) -> None:
        """Look at all requests, unless this was done just before."""
        if now < self._until_s:
            return
        self._until_s = now + LOOK_S
        self.left_blocks = left_blocks(self._picker) if self._picker.is_end_game else 0
        self._blocks = {}
        expected_s, self._silent = self._owed(now)
        for block, left_s in sorted(expected_s.items(), key=itemgetter(1), reverse=True):
            self._blocks.setdefault(block[0], []).append((block, left_s))
        self._pieces = list(islice(self._blocks, MOST_PIECES))

    def latest(self, bits: int, asked: Collection[Block | None], count: int) -> dict[Block, float]:
        """Return in how many seconds blocks come that somebody with ``bits`` may be asked for too.

        Up to ``count`` of the latest pieces, but for those that it is ``asked`` for.
        """
        may_ask, some = self._may_ask, islice(self._with(bits), MOST_BLOCKS)
        found = (each for each in some if each[0] not in asked and may_ask(*each))
        return dict(islice(found, count))

    def _with(self, bits: int) -> Iterator[tuple[Block, float]]:
        for piece in among(self._pieces, bits):
            yield from self._blocks[piece]

    def _may_ask(self, block: Block, left_s: float) -> bool:
        partial = self._picker.partials.get(block[0])
        if partial is None or partial.is_single_source:
            return False
        number = block[1] // BLOCK_BYTES
        # Who is silent takes nobody's place: a few that never send would hold a block for ever.
        count = partial.request_count(number) - self._silent.get(block, 0)
        return not partial.has(number) and count < _max_requests(left_s)


def _max_requests(left_s: float) -> int:
    return MAX_END_GAME_REQUESTS if left_s < LATE_S else MAX_LATE_REQUESTS
