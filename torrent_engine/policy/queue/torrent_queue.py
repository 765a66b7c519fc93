"""The queue: which torrents are active when not all of them may be.

Downloads come in the order of priority and position. Seeds of one priority take turns
(:mod:`torrent_engine.policy.queue.seed_rotation`). Slow torrents stay active and count only against
the total limit.
"""

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from torrent_engine.base.config import QueueConfig
from torrent_engine.policy.queue.seed_rotation import SeedRotation
from torrent_engine.policy.queue.slow_torrents import SlowTorrents


class QueueEntry(NamedTuple):
    """The facts about one torrent that the queue decides by; a tuple, because there may be many."""

    key: Hashable
    position: int
    """Its position in the queue, from 0."""
    priority: int = 0
    """Higher ones go first, whatever their position."""
    is_download: bool = True
    """It is incomplete, or has no metadata yet."""
    is_checking: bool = False
    """Its data has to be checked first; its kind is known after that."""
    wants_to_run: bool = True
    """It is in the queue, not stopped, not paused by its user and not in state ERROR."""
    is_running: bool = False
    """The queue does not hold it back now."""
    rate_bytes_per_s: float = 0.0
    """Download rate of a download, upload rate of a seed; payload only."""
    ratio: float = 0.0
    """Uploaded over downloaded."""


@dataclass(slots=True)
class _Room:
    """Remaining slots."""

    left: float

    @classmethod
    def of(cls, limit: int) -> "_Room":
        return cls(limit if limit > 0 else math.inf)


class TorrentQueue:
    """The choice of the running torrents; ``now`` must not run backwards."""

    def __init__(self, config: QueueConfig) -> None:
        self._config = config
        self._slow = SlowTorrents(config.slow_after_s)
        self._rotation = SeedRotation(config.seed_turn_s)
        self._make_room()

    def _make_room(self) -> None:
        config = self._config
        self._for_downloads = _Room.of(config.max_active_downloads)
        self._for_seeds = _Room.of(config.max_active_seeds)
        self._for_all = _Room.of(config.max_active)

    @property
    def has_limits(self) -> bool:
        """Whether any limit is set."""
        config = self._config
        limits = (
            config.max_active_downloads,
            config.max_active_seeds,
            config.max_active,
            config.max_active_checks,
        )
        return any(limit > 0 for limit in limits)

    def decide(self, entries: Iterable[QueueEntry], now: float) -> frozenset[Hashable]:
        """Return the keys of the torrents that may be active now."""
        config = self._config
        checks, downloads, seeds = _by_kind(entries)
        self._make_room()
        for_all = self._for_all
        chosen: list[Hashable] = []
        self._choose(chosen, checks, _Room.of(config.max_active_checks), _Room.of(0), now)
        self._choose(chosen, downloads, self._for_downloads, for_all, now)
        seeds = self._by_turns(seeds, now)
        self._choose(chosen, seeds, self._for_seeds, for_all, now)
        seed_keys = {seed.key for seed in seeds}
        self._rotation.keep_only(seed_keys)
        self._slow.keep_only(seed_keys.union(entry.key for entry in downloads))
        return frozenset(chosen)

    def take_room(self, *, is_download: bool) -> bool:
        """Reserve a slot that the last decision left free; return whether there was one."""
        rooms = (self._for_downloads if is_download else self._for_seeds, self._for_all)
        if any(room.left <= 0 for room in rooms):
            return False
        for room in rooms:
            room.left -= 1
        return True

    def _choose(
        self,
        chosen: list[Hashable],
        entries: list[QueueEntry],
        of_kind: _Room,
        for_all: _Room,
        now: float,
    ) -> None:
        """Choose entries while slots are left, of their kind (unless slow) and in total."""
        for entry in entries:
            is_slow = self._is_slow(entry, now)
            if for_all.left > 0 and (is_slow or of_kind.left > 0):
                for_all.left -= 1
                of_kind.left -= not is_slow
                chosen.append(entry.key)

    def _is_slow(self, entry: QueueEntry, now: float) -> bool:
        config = self._config
        if not entry.is_running:
            if self._slow:
                self._slow.forget(entry.key)
            return False
        if entry.is_checking or config.count_slow_torrents:
            return False
        bytes_per_s = config.slow_upload_bytes_per_s
        if entry.is_download:
            bytes_per_s = config.slow_download_bytes_per_s
        is_below = entry.rate_bytes_per_s < bytes_per_s
        return self._slow.is_slow(entry.key, now, is_below=is_below)

    def _by_turns(self, seeds: list[QueueEntry], now: float) -> list[QueueEntry]:
        rank = self._rotation.rank
        ranked = [
            (-seed.priority, rank(seed.key, seed.ratio, now, is_running=seed.is_running), place)
            for place, seed in enumerate(seeds)
        ]
        ranked.sort()
        return [seeds[place] for _, _, place in ranked]


def _by_kind(
    entries: Iterable[QueueEntry],
) -> tuple[list[QueueEntry], list[QueueEntry], list[QueueEntry]]:
    """Return checks, downloads and seeds that want to be active, each in queue order."""
    checks: list[QueueEntry] = []
    downloads: list[QueueEntry] = []
    seeds: list[QueueEntry] = []
    for entry in sorted(entries, key=lambda entry: (-entry.priority, entry.position)):
        if entry.wants_to_run:
            kind = checks if entry.is_checking else downloads if entry.is_download else seeds
            kind.append(entry)
    return checks, downloads, seeds
