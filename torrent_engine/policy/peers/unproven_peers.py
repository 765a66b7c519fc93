"""Limits on the requests to unproven peers, which have not yet sent a good piece (row B6).

While no peer is proven, every peer gets a few requests. After that an unproven peer gets one piece
at a time; while the share of bad pieces is high, unproven peers together get few. Peers that send
bad data therefore cost a small part of the download, however many there are and however often they
return. Who of them comes next is drawn by lot, who was never tried first: liars that joined earlier
do not keep honest peers waiting.
"""

import random
from collections.abc import Callable, Hashable
from typing import Final

from torrent_engine.policy.peers.smart_ban import SmartBan

FIRST_BLOCKS: Final = 64  # ours: 1 MiB, or one piece, while no peer is proven
MANY_BLOCKS: Final = (
    512  # ours: 8 MiB assigned to unproven peers together; from there on each gets less
)
TRIAL_BLOCKS: Final = 16  # ours: 256 KiB, or one piece, above that or once a peer is proven
FREE_BLOCKS: Final = 512  # ours: 8 MiB, or four pieces, may be bad without consequences
FREE_PIECES: Final = 4
BAD_SHARE: Final = 0.05  # ours: of the good blocks; this many more may be bad
PROBE_S: Final = 2.0  # ours: interval in which one unproven peer gets a piece in any case
MAX_PROBE_S: Final = 10.0
PROBE_SAME_PEER_S: Final = 60.0  # ours: interval for the same peer, so that others come first
TURN_S: Final = 2.0  # ours: whose turn it is asks within so long, or another one is chosen
PROBE_PART: Final = 20.0  # ours: a probe takes at most this part of the download rate
RECOUNT_S: Final = (
    0.1  # ours: all pieces of all unproven peers are looked at so often, not for each
)


class UnprovenPeerLimits:
    """The pieces assigned to unproven peers, and how many more may be assigned."""

    def __init__(
        self,
        smart_ban: SmartBan,
        blocks_per_piece: int,
        is_on_trial: Callable[[Hashable, int], bool],
        rng: random.Random,
    ) -> None:
        """Create the limits; ``is_on_trial`` returns whether a peer still has a piece assigned."""
        self._rng = rng
        self._smart_ban = smart_ban
        self._is_on_trial = is_on_trial
        self._piece_blocks = blocks_per_piece
        self._trials: dict[Hashable, set[int]] = {}
        self._recount_s = float("-inf")
        self._next_probe_s = float("-inf")
        self._again_s: dict[Hashable, float] = {}
        self._waiting: dict[Hashable, None] = {}
        """Who asked for a probe since the last one was chosen."""
        self._turn: Hashable = None
        """Who may have the next probe."""
        self._turn_until_s = float("-inf")
        self.has_proven = False
        """Whether a proven peer is available."""
        self.blocks_per_s = 0.0
        """The total download rate."""

    @property
    def is_clean(self) -> bool:
        """Whether the share of bad pieces is low."""
        return self._smart_ban.failed_blocks <= self._bad_blocks_allowed()

    def _bad_blocks_allowed(self) -> float:
        free = max(FREE_BLOCKS, FREE_PIECES * self._piece_blocks)
        return free + BAD_SHARE * self._smart_ban.good_blocks

    def max_new_pieces(self, key: Hashable, now: float) -> int:
        """Return how many pieces an unproven peer may start now."""
        begun = self._count(key)
        if not self.has_proven:
            given = sum(map(len, self._trials.values())) * self._piece_blocks
            blocks = FIRST_BLOCKS if given < MANY_BLOCKS else TRIAL_BLOCKS
            return max(max(1, blocks // self._piece_blocks) - begun, 0)
        room = max(1, TRIAL_BLOCKS // self._piece_blocks) - begun
        if room <= 0:
            return 0
        on_trial = self._count_all(now) * self._piece_blocks
        more = self._bad_blocks_allowed() - self._smart_ban.failed_blocks - on_trial
        if more >= self._piece_blocks:
            return min(room, int(more) // self._piece_blocks)
        if now < self._again_s.get(key, now):
            return 0
        self._waiting[key] = None
        return int(now >= self._next_probe_s and self._has_turn(key, now))

    def _has_turn(self, key: Hashable, now: float) -> bool:
        if now >= self._turn_until_s:
            if self._turn is not None:
                self._again_s[self._turn] = now  # it did not use its turn: others come first
            fresh = [each for each in self._waiting if each not in self._again_s]
            self._turn = self._rng.choice(fresh or list(self._waiting))
            self._turn_until_s = now + TURN_S
            self._waiting.clear()
        return key == self._turn

    def began_none(self, key: Hashable, now: float) -> None:
        """Record that a peer which might begin a piece had none to begin: its turn is over."""
        if key == self._turn:
            self._turn_until_s = now

    def begun(self, key: Hashable, piece: int, now: float) -> None:
        """Record that a piece was assigned to an unproven peer."""
        self._trials.setdefault(key, set()).add(piece)
        if self.has_proven:
            self._again_s[key] = now + PROBE_SAME_PEER_S
            self._waiting.pop(key, None)
            self._turn, self._turn_until_s = None, now
            piece_s = self._piece_blocks / self.blocks_per_s if self.blocks_per_s else 0.0
            self._next_probe_s = now + min(max(PROBE_PART * piece_s, PROBE_S), MAX_PROBE_S)

    def _count(self, key: Hashable) -> int:
        """Return the number of pieces assigned to a peer; drop those that ended."""
        pieces = self._trials.get(key)
        if pieces is None:
            return 0
        if ended := [piece for piece in pieces if not self._is_on_trial(key, piece)]:
            pieces.difference_update(ended)
        if not pieces:
            del self._trials[key]
        return len(pieces)

    def _count_all(self, now: float) -> int:
        """Return the number of pieces assigned to unproven peers, some of which just ended."""
        if now >= self._recount_s:
            self._recount_s = now + RECOUNT_S
            for key in tuple(self._trials):
                self._count(key)
        return sum(map(len, self._trials.values()))

    def forget(self, key: Hashable) -> None:
        """Remove a peer that is proven, or has left."""
        self._trials.pop(key, None)
        self._again_s.pop(key, None)
        self._waiting.pop(key, None)
        if key == self._turn:
            self._turn, self._turn_until_s = None, float("-inf")
