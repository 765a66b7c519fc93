"""Write-behind persistence of the manager's torrent list."""

import logging
from collections.abc import Callable, Iterable
from typing import Final

import anyio

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.state.session_table import (
    SessionClocks,
    SessionRecord,
    remove_sessions,
    save_clocks,
    save_sessions,
)
from torrent_engine.disk.state.store import StateStore

logger = logging.getLogger(__name__)

GATHER_S: Final = 0.2  # ours: what changes within this is written together
RETRY_S: Final = 10.0  # ours: after the database failed
CLOCKS_S: Final = 600.0  # ours: what a kill may lose of the time that a torrent seeded
BATCH: Final = 500  # ours: torrents written in one transaction; making their rows takes some 20 ms


class ManagerStore:
    """Saves torrents that changed; :meth:`run` is a task of the manager."""

    def __init__(
        self,
        store: StateStore,
        record_of: Callable[[InfoHash], SessionRecord | None],
        on_stored: Callable[[InfoHash], None],
        timed: Callable[[], list[tuple[InfoHash, SessionClocks]]],
    ) -> None:
        self._store = store
        self._record_of = record_of
        self._on_stored = on_stored
        """Called when the metainfo of a torrent was saved."""
        self._timed = timed
        """Returns the clocks of the torrents whose clocks run."""
        self._changed: dict[InfoHash, None] = {}
        self._removed: dict[InfoHash, None] = {}
        """Torrents that are not in the list, and perhaps still in the database."""
        self._places: dict[InfoHash, int] = {}
        """Numbers that rise in the order of the queue; there are gaps where torrents were."""
        self._last_place = -1
        self._has_metainfo: set[InfoHash] = set()
        self._wake = anyio.Event()
        self._lock = anyio.Lock()

    def has_metainfo(self, info_hash: InfoHash) -> bool:
        """Return whether the metainfo of a torrent is in the database."""
        return info_hash in self._has_metainfo

    def restored(self, info_hashes: Iterable[InfoHash]) -> None:
        """Record whose metainfo an earlier run has saved."""
        self._has_metainfo.update(info_hashes)

    def place_of(self, info_hash: InfoHash) -> int:
        """Return the number that orders a torrent in the database."""
        return self._places[info_hash]

    def appended(self, info_hash: InfoHash, place: int = 0) -> None:
        """Give a torrent the last place in the queue; ``place`` is the one that it had, or 0."""
        self._last_place = self._places[info_hash] = max(self._last_place + 1, place)
        if 0 < place < self._last_place:
            self.changed(info_hash)

    def reordered(self, order: Iterable[InfoHash]) -> None:
        """Save the new order of the queue soon."""
        self._places = {info_hash: place for place, info_hash in enumerate(order)}
        self._last_place = len(self._places) - 1
        for info_hash in self._places:
            self.changed(info_hash)

    def changed(self, info_hash: InfoHash) -> None:
        """Save a torrent soon."""
        self._changed[info_hash] = None
        self._wake.set()

    async def run(self) -> None:
        """Save what changes until cancelled."""
        while True:
            await self._wake.wait()
            await anyio.sleep(GATHER_S)
            try:
                await self.flush()
            except TorrentEngineError as error:
                logger.warning("the list of torrents was not saved: %s", error)
                await anyio.sleep(RETRY_S)

    async def run_clocks(self) -> None:
        """Save the clocks of torrents now and then, until cancelled: a kill loses no more."""
        while True:
            await anyio.sleep(CLOCKS_S)
            try:
                await self.save_clocks()
            except TorrentEngineError as error:
                logger.warning("times of torrents were not saved: %s", error)

    async def save_clocks(self) -> None:
        """Save the clocks of all torrents whose clocks run; raises what the database raises."""
        found = self._timed()
        for start in range(0, len(found), BATCH):
            async with self._lock:
                batch = found[start : start + BATCH]
                await save_clocks(self._store, {key: each for key, each in batch if self._has(key)})

    def _has(self, info_hash: InfoHash) -> bool:
        return info_hash in self._places

    async def flush(self) -> None:
        """Write all that changed until now; raises what the database raises, and forgets nothing.

        What changes meanwhile is for the next time: thousands that are added in a row would make
        a transaction of every few. What was not removed yet is removed first.
        """
        async with self._lock:
            if self._wake.is_set():  # else its task may wait for the event that is there
                self._wake = anyio.Event()
            waiting = list(self._changed)
            try:
                await self._remove_forgotten()
            finally:
                for start in range(0, len(waiting), BATCH):
                    batch = waiting[start : start + BATCH]
                    await self._write([each for each in batch if each in self._changed])

    async def _write(self, info_hashes: list[InfoHash]) -> None:
        for info_hash in info_hashes:
            del self._changed[info_hash]
        found = (self._record(info_hash) for info_hash in info_hashes)
        records = [record for record in found if record is not None]
        try:
            await save_sessions(self._store, records)
        except BaseException:
            self._changed = {**dict.fromkeys(info_hashes), **self._changed}
            self._wake.set()
            raise
        for record in records:
            if record.metainfo_bytes:
                self._has_metainfo.add(record.info_hash)
                self._on_stored(record.info_hash)

    def _record(self, info_hash: InfoHash) -> SessionRecord | None:
        """Return the record of a torrent; a bug in one affects no other (row F10)."""
        try:
            return self._record_of(info_hash)
        except Exception:
            logger.exception("torrent %s: it cannot be saved", info_hash.hex())
            return None

    def forget(self, info_hash: InfoHash) -> None:
        """Save a torrent no more; :meth:`remove` is to follow."""
        self._changed.pop(info_hash, None)
        self._places.pop(info_hash, None)

    async def remove(self, info_hash: InfoHash) -> None:
        """Remove a forgotten torrent from the database, unless it was added anew meanwhile.

        Raises what the database raises; then it is tried again soon, and when the manager closes.
        """
        self._removed[info_hash] = None
        async with self._lock:
            await self._remove_forgotten()

    async def _remove_forgotten(self) -> None:
        """Remove forgotten torrents; those that were added anew are saved again after that."""
        removed = list(self._removed)
        if not removed:
            return
        self._has_metainfo.difference_update(removed)
        try:
            await remove_sessions(self._store, removed)
        except BaseException:
            self._wake.set()
            raise
        for info_hash in removed:
            self._removed.pop(info_hash, None)
            if info_hash in self._places:
                self.changed(info_hash)
