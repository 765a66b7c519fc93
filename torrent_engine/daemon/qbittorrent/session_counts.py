"""What torrents moved in this process, from what they moved in all runs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torrent_engine.daemon.state.rows import StateRow
from torrent_engine.daemon.state.torrent_table import TorrentTable

if TYPE_CHECKING:
    from torrent_engine.base.ids import InfoHash


@dataclass(frozen=True, slots=True)
class MovedBytes:
    """Sums of one torrent."""

    downloaded_bytes: int = 0
    uploaded_bytes: int = 0
    wasted_bytes: int = 0


NOTHING_MOVED = MovedBytes()


class SessionCounts:
    """The sums of each torrent when the engine was opened; those that came later had none."""

    def __init__(self, torrents: TorrentTable) -> None:
        self._torrents = torrents
        self._before: dict[InfoHash, MovedBytes] = {}
        self._wasted: dict[InfoHash, int] = {}
        self._wasted_sum = 0
        self._summed_at: int | None = None
        """The revision of the rows that the sum is of."""

    def opened(self) -> None:
        """Take the sums of the torrents that are there; those taken before stay."""
        there = {row.info_hash: _moved(row) for row in self._torrents}
        self._before = there | {k: v for k, v in self._before.items() if k in there}
        self._summed_at = None

    def of(self, row: StateRow) -> MovedBytes:
        """Return what a torrent moved in this process."""
        before, now = self._before.get(row.info_hash, NOTHING_MOVED), _moved(row)
        return MovedBytes(
            max(now.downloaded_bytes - before.downloaded_bytes, 0),
            max(now.uploaded_bytes - before.uploaded_bytes, 0),
            max(now.wasted_bytes - before.wasted_bytes, 0),
        )

    def wasted_bytes(self) -> int:
        """Return what all torrents wasted in this process; it costs what changed since then."""
        delta = self._torrents.delta(self._summed_at)
        if delta.is_full:
            self._wasted, self._wasted_sum = {}, 0
        for info_hash in delta.removed:
            self._wasted_sum -= self._wasted.pop(info_hash, 0)
        for row, _ in delta.changed:
            wasted = self.of(row).wasted_bytes
            self._wasted_sum += wasted - self._wasted.get(row.info_hash, 0)
            self._wasted[row.info_hash] = wasted
        self._summed_at = delta.revision
        return self._wasted_sum


def _moved(row: StateRow) -> MovedBytes:
    progress = row.progress
    return MovedBytes(
        progress.all_downloaded_bytes, progress.all_uploaded_bytes, progress.wasted_bytes
    )
