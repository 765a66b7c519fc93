"""The metadata of a magnet link as the resume data keeps it, so that it is fetched only once.

It is written when the first run with it begins.
"""

import logging
from collections.abc import Iterable
from contextlib import suppress

import anyio.to_thread

from torrent_engine.base.config import STORED_BENCODE_LIMITS
from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.state.files import info_bytes_in
from torrent_engine.disk.state.store import StateStore

logger = logging.getLogger(__name__)


async def recall(store: StateStore, magnet: Magnet) -> Metainfo | None:
    """Return the torrent of a link if its metadata is kept, with what the link adds; else None."""
    if not store.has_torrent(magnet.info_hash):
        return None
    try:
        record = await store.load(magnet.info_hash)
        if record is None or not record.metainfo_bytes:
            return None
        return await anyio.to_thread.run_sync(
            read_kept, record.metainfo_bytes, magnet.info_hash, magnet
        )
    except TorrentEngineError as error:
        logger.warning("metadata of %s not recalled: %s", magnet.info_hash.hex(), error)
        return None


def read_kept(data: bytes, info_hash: InfoHash, magnet: Magnet | None) -> Metainfo:
    """Return a torrent that was kept, with what its link adds; blocking. Raises as from_bytes."""
    metainfo = Metainfo.from_bytes(data, limits=STORED_BENCODE_LIMITS).known_by(info_hash)
    return metainfo if magnet is None else with_link(metainfo, magnet)


def read_first_whole(
    found: Iterable[bytes], info_hash: InfoHash, magnet: Magnet | None
) -> Metainfo | None:
    """Return a torrent by the first of its .torrents that is whole; blocking. None without any.

    If what stands around the info dictionary is damaged in all of them, it is left out: trackers,
    and hashes of pieces, which peers have, too (BEP 52).
    """
    damaged: list[bytes] = []
    for data in found:
        try:
            return read_kept(data, info_hash, magnet)
        except TorrentEngineError as error:
            logger.warning("torrent %s: a .torrent is damaged: %s", info_hash.hex(), error)
            damaged.append(data)
    for data in damaged:
        with suppress(TorrentEngineError):
            bare = Metainfo.from_info_bytes(info_bytes_in(data)).known_by(info_hash)
            return bare if magnet is None else with_link(bare, magnet)
    return None


def with_link(metainfo: Metainfo, magnet: Magnet) -> Metainfo:
    """Return the torrent with the trackers and web seeds that only the link names added."""
    known = {url for tier in metainfo.tiers for url in tier}
    tiers = (*metainfo.tiers, *((url,) for url in magnet.trackers if url not in known))
    web_seeds = dict.fromkeys((*metainfo.web_seeds, *magnet.web_seeds))
    return metainfo.with_sources(tiers, web_seeds)
