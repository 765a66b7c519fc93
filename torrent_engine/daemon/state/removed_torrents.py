"""Torrents that were removed, so that their jobs can be carried out again."""

from dataclasses import dataclass
from typing import Final

from torrent_engine.base.config import STORED_MAGNET_LIMITS
from torrent_engine.base.errors import MagnetError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.daemon.engine_port.facts import AddedNotice, Notice, RemovedNotice
from torrent_engine.daemon.state.magnets import magnet_of
from torrent_engine.daemon.state.store import StoredTable
from torrent_engine.daemon.state.torrent_table import TorrentTable
from torrent_engine.service.add_options import AddOptions

MAX_KEPT: Final = 1_000  # ours: the oldest are forgotten first


@dataclass(frozen=True, slots=True)
class RemovedTorrent:
    """What is needed to add a torrent again."""

    magnet: Magnet
    options: AddOptions


class RemovedTorrents:
    """Magnet links of removed torrents, with where their files were; written down."""

    def __init__(self, torrents: TorrentTable, table: StoredTable) -> None:
        self._torrents = torrents
        self._table = table

    def take(self, notice: Notice) -> None:
        """Take a report of the engine, before the row of a torrent that is gone is deleted."""
        match notice:
            case RemovedNotice(info_hash):
                self._keep(info_hash)
            case AddedNotice(info_hash):
                self._table.drop(info_hash.hex())
            case _:
                return

    def _keep(self, info_hash: InfoHash) -> None:
        row = self._torrents.get(info_hash)
        if row is None:
            return
        if len(self._table) >= MAX_KEPT:
            self._table.drop(next(self._table.items())[0])
        self._table.put(
            row.hash,
            {
                "magnet": str(magnet_of(row)),
                "save_path": row.settings.save_path,
                "category": row.user.category,
                "labels": list(row.user.labels),
            },
        )

    def get(self, info_hash: InfoHash) -> RemovedTorrent:
        """Return how to add a torrent again; of one that is not known, its info-hash only."""
        kept = self._table.get(info_hash.hex())
        try:
            magnet = Magnet.parse(kept["magnet"], limits=STORED_MAGNET_LIMITS)
            labels = tuple(map(str, kept["labels"]))
            save_path, category = str(kept["save_path"]), str(kept["category"])
        except (TypeError, KeyError, MagnetError, AttributeError):
            return RemovedTorrent(Magnet(info_hash), AddOptions())
        options = AddOptions(
            save_path=save_path or None, category=category or None, labels=labels or None
        )
        return RemovedTorrent(magnet, options)
