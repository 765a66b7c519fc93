"""Restoring the torrents of a manager after a restart."""

import logging
from dataclasses import replace

from torrent_engine.base.collector import paused_collector
from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.moves.table import moving
from torrent_engine.disk.state.session_table import (
    SessionRecord,
    load_added_times,
    load_sessions,
)
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.manager.adding import SessionMaker
from torrent_engine.engine.manager.registry import Registry
from torrent_engine.engine.session.saved import SavedSession, read_settings
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.policy.queue.torrent_times import LONG_AGO_S, SavedTimes

logger = logging.getLogger(__name__)


class Restoring:
    """Starts the torrents that the database has, each in the state that it was in."""

    def __init__(self, registry: Registry, maker: SessionMaker) -> None:
        self._registry = registry
        self._maker = maker
        self._old: list[Session] = []
        """Torrents whose records do not say what their .torrents say."""

    async def learn_facts(self) -> None:
        """Read what records of an earlier version do not say, torrent by torrent in a thread."""
        while self._old:
            session = self._old.pop()
            try:
                await session.admin.learn_facts()
            except Exception:
                logger.exception("torrent %s: its facts are not known", session.info_hash.hex())

    async def restore(self, store: StateStore) -> None:
        """Add all torrents of the last run, in the order of the queue."""
        with self._registry.restoring(), paused_collector():
            for record, saved in await saved_torrents(store):
                await self._restore_one(record, saved)

    async def _restore_one(self, record: SessionRecord, saved: SavedSession) -> None:
        """Restore one torrent; a fault of one affects no other."""
        info_hash = record.info_hash
        try:
            session = await self._make(info_hash, saved)
            self._registry.add(session, saved.priority, None, saved_place=record.position)
            self._registry.freeze(info_hash, saved.state)  # what is saved until it is started
            await session.admin.start_as_saved(saved)
            self._registry.thaw(info_hash)
            if saved.facts is None:
                self._old.append(session)
        except Exception:
            logger.exception("torrent %s was not restored", info_hash.hex())

    async def _make(self, info_hash: InfoHash, saved: SavedSession) -> Session:
        is_link = saved.magnet is not None and saved.snapshot is None
        source = (saved.magnet if is_link else None) or info_hash
        session = await self._maker.make(source, saved.save_path, saved.config)
        if not is_link:
            self._registry.store.restored([info_hash])
        session.admin.restore(saved)
        return session


async def saved_torrents(store: StateStore) -> list[tuple[SessionRecord, SavedSession]]:
    """Return the torrents of the last run, in the order of the queue."""
    unfinished = await moving(store)
    found: list[tuple[SessionRecord, SavedSession]] = []
    for record in await load_sessions(store):
        lost = {"facts": None} if record.is_recovered else {}
        runs = {"was_resting": False} if record.info_hash in unfinished else {}
        saved = read_settings({**record.settings, **lost, **runs}, record.clocks)
        if saved is None:
            logger.warning("torrent %s: its record is unusable", record.info_hash.hex())
        else:
            found.append((record, saved))
    return await _with_times(store, found)


async def _with_times(
    store: StateStore, found: list[tuple[SessionRecord, SavedSession]]
) -> list[tuple[SessionRecord, SavedSession]]:
    """Return the torrents, those of an earlier version with what is known of their times."""
    if all(saved.times is not None for _, saved in found):
        return found
    added = await load_added_times(store)
    return [
        (record, saved if saved.times is not None else replace(saved, times=_old_times(saved, at)))
        for record, saved in found
        for at in (added.get(record.info_hash),)
    ]


def _old_times(saved: SavedSession, added_s: float | None) -> SavedTimes:
    is_complete = saved.snapshot is not None and saved.snapshot.is_complete
    is_complete = is_complete or State.SEEDING in {saved.state, saved.paused_state}
    return SavedTimes(added_s=added_s, completed_s=LONG_AGO_S if is_complete else None)
