"""Replacement of a peer by one of higher priority when a torrent has all its connections.

Source: BEP 40. New peers can thus enter a full swarm, and an attacker with many addresses gets only
its share of the connections.
"""

from collections.abc import Iterable

from torrent_engine.base.config import PoolConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.policy.peers.candidates import CandidateList


class Replacement:
    """Occasional replacement of one peer by another; ``now`` must not run backwards."""

    def __init__(self, config: PoolConfig, candidates: CandidateList) -> None:
        self._interval_s = config.replacement_interval_s
        self._candidates = candidates
        self._next_at = float("-inf")

    def peer_to_replace(
        self, new_peer: PeerAddress, linked: Iterable[PeerAddress], now: float
    ) -> PeerAddress | None:
        """Return the connected peer of lowest priority if the new peer's priority is higher.

        None if the new peer is to be rejected, which includes the times when our external address
        is unknown and shortly after another replacement.
        """
        priority = self._candidates.canonical_priority
        theirs = priority(new_peer)
        if theirs is None or now < self._next_at:
            return None
        lowest = min(((priority(each) or 0, each) for each in linked), default=None)
        if lowest is None or lowest[0] >= theirs:
            return None
        self._next_at = now + self._interval_s
        return lowest[1]
