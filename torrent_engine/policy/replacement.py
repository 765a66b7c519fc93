"""Owns one decision: who leaves a full torrent for a peer that comes.

Source: BEP 40, so that newcomers find a place in a swarm that is full, and whoever fills our places
with addresses of its own gets only its share of them.
"""

from collections.abc import Iterable

from torrent_engine.base.config import PoolConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.policy.candidates import CandidateList


class Replacement:
    """Lets one peer go for another now and then; ``now`` must not run backwards."""

    def __init__(self, config: PoolConfig, candidates: CandidateList) -> None:
        self._interval_s = config.replacement_interval_s
        self._candidates = candidates
        self._next_at = float("-inf")

    def who_leaves(
        self, newcomer: PeerAddress, linked: Iterable[PeerAddress], now: float
    ) -> PeerAddress | None:
        """Return the linked peer of the lowest priority if that of the newcomer is higher.

        None if the newcomer has to go, for one: while nobody knows how peers see us, or shortly
        after another such change.
        """
        priority = self._candidates.canonical_priority
        theirs = priority(newcomer)
        if theirs is None or now < self._next_at:
            return None
        lowest = min(((priority(each) or 0, each) for each in linked), default=None)
        if lowest is None or lowest[0] >= theirs:
            return None
        self._next_at = now + self._interval_s
        return lowest[1]
