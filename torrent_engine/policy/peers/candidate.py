"""One known peer address: its sources, its past dials, and its rank.

Source: BEP 27 (private torrents).
"""

import random
from collections import Counter
from dataclasses import dataclass
from enum import Flag, IntEnum, auto
from functools import cache
from typing import Final

from torrent_engine.base.config import PoolConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.policy.peers.dial_limiter import Dial


class Source(Flag):
    """The source of a peer address."""

    MANUAL = auto()
    LSD = auto()
    TRACKER = auto()
    INCOMING = auto()
    RESUME = auto()
    DHT = auto()
    PEX = auto()


PRIVATE_SOURCES: Final = Source.MANUAL | Source.TRACKER | Source.INCOMING
UNVERIFIED_SOURCES: Final = Source.DHT | Source.PEX
"""Sources of unverified addresses (row B9)."""
_TRUSTED: Final = Source.MANUAL | Source.LSD | Source.RESUME
_TRACKED: Final = Source.TRACKER | Source.INCOMING
_CLASSES: Final = 3
JITTER: Final = (
    0.5,
    1.5,
)  # ours: of a quick retry, so that simultaneous dials do not collide again


class Standing(IntEnum):
    """How good the word for an address is, the best first."""

    BY_USER = 0
    BY_US = 1
    """Of an earlier run."""
    NAMED = 2
    """By a tracker or by itself, or there was a connection with it."""
    HEARSAY = 3
    """Only strangers named it, who may name addresses without end (row B9)."""


@dataclass(slots=True)
class Candidate:
    """One known peer address: queued, or busy (being dialled or connected)."""

    address: PeerAddress
    sources: Source
    trust: int
    """0 for manual, LSD and resumed peers, 1 for peers from trackers and incoming connections,
    else 2."""
    priority: int
    origin: Source
    """The first source."""
    failures: int = 0
    busy: bool = False
    dial: Dial | None = None
    """The current dial, until its handshake or its failure."""
    collisions: int = 0
    """Dials in a row closed by the peer while other handshakes with it were pending."""
    reconnected_soon: bool = False
    """It was dialled once soon after it had fetched the metadata."""
    is_seed: bool = False
    """It was upload-only when its last connection ended, or others say that it is."""
    is_seed_by_hearsay: bool = False
    """Only others say so."""
    due: float = 0.0
    """When it may be dialled."""
    connected_at: float = -1.0
    """When its last handshake completed; negative: never."""

    @property
    def rank(self) -> int:
        """The order of dialling, 0 first: by failures, then by source."""
        return self.failures * _CLASSES + self.trust

    @property
    def standing(self) -> Standing:
        """How good the word for it is."""
        standing = standing_of(self.sources)
        has_answered = standing is Standing.HEARSAY and self.connected_at >= 0
        return Standing.NAMED if has_answered else standing

    @property
    def is_proven(self) -> bool:
        """Whether a connection succeeded, in this or an earlier run, without a failure since."""
        known = self.connected_at >= 0 or bool(self.sources & Source.RESUME)
        return known and not self.failures

    def backoff_s(self, config: PoolConfig, rng: random.Random, *, is_quick: bool) -> float:
        """Return the time to wait after the latest failure; it grows with each failure."""
        first_s = config.backoff_first_s
        if is_quick:
            first_s = config.quick_retry_first_s * rng.uniform(*JITTER)
        return min(first_s * 2.0 ** min(self.failures - 1, 30), config.backoff_max_s)


@cache  # combinations of flags are few, and their operators slow
def trust_in(sources: Source) -> int:
    """Return the class of trust, 0 to 2, of a peer of these sources."""
    return 0 if sources & _TRUSTED else 1 if sources & _TRACKED else 2


@cache
def standing_of(sources: Source) -> Standing:
    """Return how good the word of these sources is."""
    if sources & Source.MANUAL:
        return Standing.BY_USER
    if sources & Source.RESUME:
        return Standing.BY_US
    return Standing.NAMED if sources & ~UNVERIFIED_SOURCES else Standing.HEARSAY


def count_down(counts: Counter[str], key: str) -> None:
    """Decrement a count; remove it at zero."""
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
