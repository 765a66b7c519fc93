"""What clients of "sync" have, by the number that they were given with it (``rid``).

A number stands for a revision of the daemon's state and for what has no revisions there. It is the
same for all clients that have the same, and forgotten after a thousand others; whoever names a
forgotten or unknown number gets everything.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from secrets import randbelow
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from torrent_engine.daemon.engine_port.facts import FactGroup
from torrent_engine.daemon.qbittorrent.torrent_fields import GeneralLimits
from torrent_engine.daemon.state.torrent_table import TorrentTable

if TYPE_CHECKING:
    from torrent_engine.base.ids import InfoHash

MAX_POINTS: Final = 1_000  # ours: some minutes of many clients
FIRST_BELOW: Final = 1_000_000_000
"""Numbers of another process are hardly ever ours; they fit in 31 bits for years."""
PointT = TypeVar("PointT")


@dataclass(frozen=True, slots=True)
class MainPoint:
    """What a client of "sync/maindata" has."""

    revision: int
    """Of the torrents."""
    general: GeneralLimits
    categories: Mapping[str, Any]
    tags: tuple[str, ...]
    trackers: Mapping[str, tuple[str, ...]]
    """Hashes by URL."""
    server_state: Mapping[str, Any]


class SyncPoints(Generic[PointT]):
    """Points by their numbers, the newest of them."""

    def __init__(self, max_points: int = MAX_POINTS) -> None:
        self._max_points = max_points
        self._points: OrderedDict[int, PointT] = OrderedDict()
        self._last = randbelow(FIRST_BELOW)

    def find(self, number: int | None) -> PointT | None:
        """Return the point of a number; None if it is not known."""
        return None if number is None else self._points.get(number)

    def give(self, point: PointT) -> int:
        """Return the number of a point, that of the last one if it is the same."""
        if self._points.get(self._last) == point:
            return self._last
        self._last += 1
        self._points[self._last] = point
        while len(self._points) > self._max_points:
            self._points.popitem(last=False)
        return self._last


class TrackerIndex:
    """The torrents of each tracker, kept up to date by what changed since the last look."""

    def __init__(self, torrents: TorrentTable) -> None:
        self._torrents = torrents
        self._revision: int | None = None
        self._urls: dict[InfoHash, tuple[str, ...]] = {}
        self._hashes: dict[str, tuple[str, ...]] = {}

    def look(self) -> Mapping[str, tuple[str, ...]]:
        """Return the hashes by URL; the same object while nothing changes."""
        delta = self._torrents.delta(self._revision)
        self._revision = delta.revision
        if not (delta.is_full or delta.removed or delta.changed):
            return self._hashes
        before = {} if delta.is_full else dict(self._urls)
        for info_hash in delta.removed:
            before.pop(info_hash, None)
        for row, groups in delta.changed:
            if delta.is_full or FactGroup.SETTINGS in groups:
                tiers = row.settings.trackers
                before[row.info_hash] = tuple(dict.fromkeys(url for tier in tiers for url in tier))
        if before != self._urls:
            self._urls = before
            self._hashes = self._by_url()
        return self._hashes

    def _by_url(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for info_hash, urls in self._urls.items():
            for url in urls:
                found.setdefault(url, []).append(info_hash.hex())
        return {url: tuple(hashes) for url, hashes in found.items()}
