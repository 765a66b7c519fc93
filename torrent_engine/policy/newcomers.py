"""How much is asked of peers that have not given us a good piece yet (row B6).

While nobody has, everybody is asked for a little. Once somebody has, a newcomer gets one piece at a
time, and while much of what came was bad, newcomers together get few: who lies costs us a small
part of what the others send, however many come, and under however many names.
"""

from collections.abc import Callable, Hashable
from typing import Final

from torrent_engine.policy.suspicion import Suspicion

FIRST_BLOCKS: Final = 64  # ours: 1 MiB, or one piece, while no peer is proven
CROWD_BLOCKS: Final = 512  # ours: 8 MiB; once newcomers have so much together, each gets less
TRIAL_BLOCKS: Final = 16  # ours: 256 KiB, or one piece, in a crowd or once a peer is proven
FREE_BLOCKS: Final = 512  # ours: 8 MiB, or four pieces, may be bad before anybody is held back
FREE_PIECES: Final = 4
BAD_SHARE: Final = 0.05  # ours: of the good blocks; as many may be bad
PROBE_S: Final = 2.0  # ours: one newcomer gets a piece as often, whatever the others did
MAX_PROBE_S: Final = 30.0
PROBE_AGAIN_S: Final = 60.0  # ours: others come first, before the same one gets another
PROBE_PART: Final = 20.0  # ours: a probe costs at most this part of what comes meanwhile


class Newcomers:
    """Who is on trial with which pieces, and how many more may be."""

    def __init__(
        self,
        suspicion: Suspicion,
        blocks_per_piece: int,
        is_on_trial: Callable[[Hashable, int], bool],
    ) -> None:
        """Take the parts; ``is_on_trial`` says whether a piece is still that newcomer's."""
        self._suspicion = suspicion
        self._is_on_trial = is_on_trial
        self._piece_blocks = blocks_per_piece
        self._trials: dict[Hashable, set[int]] = {}
        self._next_probe_s = float("-inf")
        self._again_s: dict[Hashable, float] = {}
        self.has_proven = False
        """Whether a proven peer can be asked now."""
        self.blocks_per_s = 0.0
        """What comes from everybody."""

    @property
    def is_calm(self) -> bool:
        """Whether little of what came was bad."""
        return self._suspicion.failed_blocks <= self._bad_blocks_allowed()

    def _bad_blocks_allowed(self) -> float:
        free = max(FREE_BLOCKS, FREE_PIECES * self._piece_blocks)
        return free + BAD_SHARE * self._suspicion.good_blocks

    def most_new(self, key: Hashable, now: float) -> int:
        """Return how many pieces a newcomer may begin now."""
        begun = self._count(key)
        if not self.has_proven:
            given = sum(map(len, self._trials.values())) * self._piece_blocks
            blocks = FIRST_BLOCKS if given < CROWD_BLOCKS else TRIAL_BLOCKS
            return max(max(1, blocks // self._piece_blocks) - begun, 0)
        room = max(1, TRIAL_BLOCKS // self._piece_blocks) - begun
        if room <= 0:
            return 0
        on_trial = sum(map(self._count, tuple(self._trials))) * self._piece_blocks
        more = self._bad_blocks_allowed() - self._suspicion.failed_blocks - on_trial
        if more >= self._piece_blocks:
            return min(room, int(more) // self._piece_blocks)
        if now < self._next_probe_s or now < self._again_s.get(key, now):
            return 0
        return 1

    def begun(self, key: Hashable, piece: int, now: float) -> None:
        """Record that a newcomer was given a piece."""
        self._trials.setdefault(key, set()).add(piece)
        if self.has_proven:
            self._again_s[key] = now + PROBE_AGAIN_S
            piece_s = self._piece_blocks / self.blocks_per_s if self.blocks_per_s else 0.0
            self._next_probe_s = now + min(max(PROBE_PART * piece_s, PROBE_S), MAX_PROBE_S)

    def _count(self, key: Hashable) -> int:
        """Return how many pieces a newcomer is on trial with; those that ended are forgotten."""
        pieces = self._trials.get(key)
        if pieces is None:
            return 0
        if ended := [piece for piece in pieces if not self._is_on_trial(key, piece)]:
            pieces.difference_update(ended)
        if not pieces:
            del self._trials[key]
        return len(pieces)

    def forget(self, key: Hashable) -> None:
        """Record that a peer is no newcomer any more, or is gone."""
        self._trials.pop(key, None)
        self._again_s.pop(key, None)
