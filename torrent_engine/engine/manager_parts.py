"""What a TorrentManager does with one torrent at its start, and with one that is added twice."""

import logging
from dataclasses import replace
from typing import Any, Final

from torrent_engine.base.config import ManagerConfig, SharedConfig
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.move_table import moving
from torrent_engine.disk.session_table import SessionRecord, load_sessions
from torrent_engine.disk.state import StateStore
from torrent_engine.engine.manager_records import SavedSession, read_settings
from torrent_engine.engine.session import Session
from torrent_engine.engine.states import State

logger = logging.getLogger(__name__)

RESTS_IN: Final = frozenset({State.DOWNLOADING, State.SEEDING})


async def saved_torrents(store: StateStore) -> list[tuple[SessionRecord, SavedSession]]:
    """Return the torrents of the last run, in the order of the queue."""
    unfinished = await moving(store)
    found: list[tuple[SessionRecord, SavedSession]] = []
    for record in await load_sessions(store):
        lost = {"facts": None} if record.is_recovered else {}
        runs = {"was_resting": False} if record.info_hash in unfinished else {}
        saved = read_settings({**record.settings, **lost, **runs})
        if saved is None:
            logger.warning("torrent %s: its record makes no sense", record.info_hash.hex())
        else:
            found.append((record, saved))
    return found


async def start_again(session: Session, saved: SavedSession) -> None:
    """Let a torrent go on as it was when its process ended."""
    facts, moved = saved.facts, saved.paused_state or saved.state
    if saved.state is State.STOPPED:
        return
    if facts is None or not saved.was_resting or moved not in RESTS_IN:
        await session.start()
        return
    is_paused = saved.is_paused or session.is_held
    state = State.PAUSED if is_paused else moved
    await session.begin_at_rest(facts, state, moved, is_paused_by_user=saved.is_paused)


def merge_trackers(session: Session, torrent: Metainfo | Magnet) -> None:
    """Add the trackers that a second source of a torrent names; a private one keeps its own."""
    if isinstance(torrent, Magnet):
        urls = [(url, None) for url in torrent.trackers]
    else:
        if torrent.is_private:
            return
        urls = [(url, None) for tier in torrent.tiers for url in tier]
    for url, tier in urls:
        session.add_tracker(url, tier)


def shared_config(config: ManagerConfig) -> SharedConfig:
    """Return the configuration of the shared resources, with the manager's limits in it."""
    shared = config.shared
    changes: dict[str, Any] = {}
    if config.global_download_limit is not None:
        changes["max_download_bytes_per_s"] = config.global_download_limit
    if config.global_upload_limit is not None:
        changes["max_upload_bytes_per_s"] = config.global_upload_limit
    if config.max_connections is not None:
        changes["pool"] = replace(shared.pool, max_connections=config.max_connections)
    return replace(shared, **changes) if changes else shared
