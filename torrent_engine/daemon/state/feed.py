"""What keeps the rows up to date: events of the engine at once, running torrents by ticks."""

import logging
from collections.abc import Callable
from typing import Final

import anyio
import anyio.lowlevel

from torrent_engine.base.errors import ClosedError, UnknownTorrentError
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.facts import (
    AddedNotice,
    ChangedNotice,
    FactSheet,
    Notice,
    QueueNotice,
    RemovedNotice,
)
from torrent_engine.daemon.engine_port.port import EnginePort
from torrent_engine.daemon.state.torrent_table import TorrentTable

TICK_S: Final = 1.0  # ours: as often as interfaces look
SLICE: Final = 100  # ours: torrents that are looked at between two checkpoints
PLACES_SLICE: Final = 200  # ours: the same of places in the queue
logger = logging.getLogger(__name__)


class Feed:
    """Copies facts from the engine to the rows.

    Events mark torrents; :meth:`run` is the task that looks at those. :meth:`tick`, called once a
    second, looks at those that run. While the engine is not open the rows stay as they are.
    """

    def __init__(
        self,
        port: EnginePort,
        table: TorrentTable,
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        is_hidden: Callable[[FactSheet], bool] = lambda _facts: False,
        on_removed: Callable[[InfoHash], None] = lambda _info_hash: None,
    ) -> None:
        self._port = port
        self._table = table
        self._clock = clock
        self._wall_clock = wall_clock
        self._is_hidden = is_hidden
        self._on_removed = on_removed
        self._marked: dict[InfoHash, None] = {}
        self._active: set[InfoHash] = set()
        """Torrents that ran at the last tick."""
        self._is_queue_changed = False
        self._woken = anyio.Event()

    async def run(self) -> None:
        """Look at the torrents that events name, until cancelled."""
        while True:
            await self._woken.wait()
            self._woken = anyio.Event()
            await self.settle()

    def take(self, event: Notice) -> None:
        """Take an event of the engine."""
        match event:
            case AddedNotice(info_hash) | RemovedNotice(info_hash) | ChangedNotice(info_hash):
                self._marked[info_hash] = None
                self._woken.set()
            case QueueNotice():
                self._is_queue_changed = True  # until the next tick: one move may concern all
            case _:
                pass

    async def settle(self) -> None:
        """Look at the torrents that events named."""
        looked = 0
        while self._marked:
            info_hash = next(iter(self._marked))
            del self._marked[info_hash]
            self.look(info_hash)
            looked += 1
            if looked % SLICE == 0:
                await anyio.lowlevel.checkpoint()

    def look(self, info_hash: InfoHash) -> None:
        """Bring one row up to date now, so that a reply shows what a request has changed."""
        self._marked.pop(info_hash, None)
        try:
            facts = self._port.torrents.facts(info_hash)
        except UnknownTorrentError:
            self._remove(info_hash)
        except ClosedError:
            return  # between two managers: the rows stay
        else:
            if self._is_hidden(facts):
                self._table.remove(info_hash)
            else:
                self._table.update(facts, now_s=self._clock(), now_at=self._wall_clock())

    def _remove(self, info_hash: InfoHash) -> None:
        self._table.remove(info_hash)
        self._on_removed(info_hash)

    async def place(self) -> None:
        """Bring the places in the queue up to date."""
        self._is_queue_changed = False
        for place, info_hash in enumerate(self._port.torrents.hashes()):
            self._table.set_position(info_hash, place, now_s=self._clock())
            if place % PLACES_SLICE == 0:
                await anyio.lowlevel.checkpoint()

    async def reload(self) -> None:
        """Compare all rows with the engine; after a start and a restart of the engine."""
        there = dict.fromkeys(self._port.torrents.hashes())
        gone = [row.info_hash for row in self._table if row.info_hash not in there]
        self._marked = dict.fromkeys((*gone, *there))
        await self.settle()

    async def tick(self) -> None:
        """Look at the numbers of torrents that run."""
        try:
            await self._tick()
        except ClosedError:
            return  # between two managers

    async def _tick(self) -> None:
        active = list(self._port.torrents.active())
        self._marked |= dict.fromkeys(self._active.difference(active))  # at rest: the last numbers
        self._active = set(active)
        await self.settle()
        if self._is_queue_changed:
            await self.place()
        for count, info_hash in enumerate(active, 1):
            self._look_live(info_hash)
            if count % SLICE == 0:
                await anyio.lowlevel.checkpoint()

    def _look_live(self, info_hash: InfoHash) -> None:
        if info_hash not in self._table:
            self.look(info_hash)
            return
        try:
            progress, rates = self._port.torrents.live(info_hash)
        except (UnknownTorrentError, ClosedError):
            self.look(info_hash)
            return
        self._table.update_live(
            info_hash, progress, rates, now_s=self._clock(), now_at=self._wall_clock()
        )
