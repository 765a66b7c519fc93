"""Owns what is known of one peer that we may dial, and how much that is worth.

Source: BEP 27 (private torrents).
"""

import random
from collections import Counter
from dataclasses import dataclass
from enum import Flag, auto
from typing import Final

from torrent_engine.base.config import PoolConfig
from torrent_engine.base.ids import PeerAddress


class Source(Flag):
    """Who told us of a peer."""

    MANUAL = auto()
    LSD = auto()
    TRACKER = auto()
    INCOMING = auto()
    RESUME = auto()
    DHT = auto()
    PEX = auto()


PRIVATE_SOURCES: Final = Source.MANUAL | Source.TRACKER | Source.INCOMING
_TRUSTED: Final = Source.MANUAL | Source.LSD | Source.RESUME
_TRACKED: Final = Source.TRACKER | Source.INCOMING
_CLASSES: Final = 3
JITTER: Final = (0.5, 1.5)  # ours: of a quick retry, so that two who collided do not do so again


@dataclass(slots=True)
class Candidate:
    """One peer that we know of; it waits in the queue or is busy (dialled or linked)."""

    address: PeerAddress
    sources: Source
    trust: int
    """0 for who is named by hand, is near or was good before, 1 for who a tracker or the peer
    told, else 2."""
    priority: int
    origin: Source
    """Who named it first."""
    failures: int = 0
    busy: bool = False
    dialling: bool = False
    """Dialled, and neither its handshake nor its failure is known yet."""
    is_seed: bool = False
    """It did not want anything when we last had a link with it."""
    due: float = 0.0
    """When it may be dialled, if a link with it is of use then."""
    connected_at: float = -1.0
    """When it last passed a handshake, negative for never."""

    @property
    def rank(self) -> int:
        """0 is dialled first and evicted last: few failures, then who told us."""
        return self.failures * _CLASSES + self.trust

    @property
    def is_proven(self) -> bool:
        """Whether we had a link with it, in this run or before, and nothing failed since."""
        known = self.connected_at >= 0 or bool(self.sources & Source.RESUME)
        return known and not self.failures

    def backoff_s(self, config: PoolConfig, rng: random.Random, *, is_quick: bool) -> float:
        """Return how long to wait after its latest failure; longer each time."""
        first_s = config.backoff_first_s
        if is_quick:
            first_s = config.quick_retry_first_s * rng.uniform(*JITTER)
        return min(first_s * 2.0 ** min(self.failures - 1, 30), config.backoff_max_s)


def trust_in(sources: Source) -> int:
    """Return the class of trust, 0 to 2, of a peer of these sources."""
    return 0 if sources & _TRUSTED else 1 if sources & _TRACKED else 2


def count_down(counts: Counter[str], key: str) -> None:
    """Count one less; none is no entry."""
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
