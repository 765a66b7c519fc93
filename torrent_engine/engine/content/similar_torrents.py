"""Looks for files of similar torrents, if the user wants that (BEP 38)."""

from collections.abc import Mapping, Sequence

from torrent_engine.base.config import DiskConfig
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.resume.similar_files import similar_files
from torrent_engine.disk.state.store import StateStore


def may_have_local_data(config: DiskConfig, metainfo: Metainfo) -> bool:
    """Return whether files of the user are looked for that are not where the torrent's are."""
    return bool(config.local_data) or wants_similar(config, metainfo)


def wants_similar(config: DiskConfig, metainfo: Metainfo) -> bool:
    """Return whether files of similar torrents are looked for: the user wants it, if there are any.

    Whoever makes a torrent can name any other one in it. If its data were used without being asked
    for, peers could find out by this what else somebody has.
    """
    hints = metainfo.similar
    return config.similar_torrents and bool(hints.info_hashes or hints.collections)


class SimilarTorrentFiles:
    """Files of torrents of the state folder that one names, or shares a collection with."""

    def __init__(self, store: StateStore, config: DiskConfig) -> None:
        self._store = store
        self._config = config

    def may_have(self, metainfo: Metainfo) -> bool:
        """Return whether they are to be looked for."""
        return wants_similar(self._config, metainfo)

    async def find(self, metainfo: Metainfo) -> Mapping[int, Sequence[str]]:
        """Return where each file of a torrent may be, by its number, the best first."""
        return await similar_files(self._store, metainfo)
