"""What can be asked of a Session at any time, whether it runs or not."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio.to_thread

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.session_table import metainfo_now
from torrent_engine.engine.kept_metadata import read_kept
from torrent_engine.engine.peer import PeerStats, peer_stats
from torrent_engine.engine.queue_facts import QueueFacts, queue_facts
from torrent_engine.engine.session_jobs import WorkDone
from torrent_engine.engine.session_stats import (
    SessionStats,
    fetch_stats,
    idle_stats,
    rest_stats,
    run_stats,
)
from torrent_engine.engine.shared_resources import SharedResources
from torrent_engine.engine.source_edits import OwnSources, own_sources
from torrent_engine.engine.states import State, StateMachine
from torrent_engine.engine.torrent import Totals
from torrent_engine.engine.tracker_coordinator import TrackerStatus

if TYPE_CHECKING:
    from torrent_engine.engine.metadata_run import MetadataRun
    from torrent_engine.engine.peer_pool import PeerPool
    from torrent_engine.engine.peer_sources import PeerSources
    from torrent_engine.engine.resting import RestFacts
    from torrent_engine.engine.session_run import SessionRun
    from torrent_engine.engine.torrent import Swarm

logger = logging.getLogger(__name__)


class SessionFacts:
    """The facts of one torrent: who is connected, how trackers answer, the numbers."""

    def __init__(
        self, source: Metainfo | Magnet | InfoHash, shared: SharedResources, machine: StateMachine
    ) -> None:
        self._metainfo = source if isinstance(source, Metainfo) else None
        self._is_stored = False
        """The metainfo is in the database and may be dropped while it is not needed."""
        self._own_sources: OwnSources | None = None
        """What the metainfo names, once that was there."""
        self._magnet = source if isinstance(source, Magnet) else None
        self._info_hash = source.info_hash if isinstance(source, Metainfo | Magnet) else source
        self._shared = shared
        self._machine = machine
        self.totals = Totals()
        self._run: SessionRun | None = None
        self._fetch: MetadataRun | None = None
        self._rest_facts: RestFacts | None = None
        """The numbers of a torrent that rests, or rested last."""
        self._started_s = 0.0

    @property
    def metainfo(self) -> Metainfo | None:
        """What the .torrent says; None until the metadata of a magnet link is there.

        A torrent that rests reads it from the database each time, which takes a second where there
        are very many files; None if it is not there whole.
        """
        if self._metainfo is None and self._is_stored:
            return self._read_stored()
        return self._metainfo

    async def _present_metainfo(self) -> Metainfo | None:
        """Return :attr:`metainfo`, read beside the loop where it must be read."""
        if self._metainfo is None and self._is_stored:
            return await anyio.to_thread.run_sync(self._read_stored)
        return self._metainfo

    @property
    def own_sources(self) -> OwnSources | None:
        """What the .torrent names, known at rest too; None until there is a metainfo."""
        if self._own_sources is None and (metainfo := self.metainfo) is not None:
            self._own_sources = own_sources(metainfo)
        return self._own_sources

    def _drop_metainfo(self) -> None:
        """Hold it no longer; the database has it."""
        if self._metainfo is not None:
            self._own_sources, self._metainfo = own_sources(self._metainfo), None

    def _read_stored(self) -> Metainfo | None:
        """Return what the database has; blocking."""
        data = metainfo_now(self._shared.store, self._info_hash)
        try:
            return read_kept(data, self._magnet) if data else None
        except TorrentEngineError as error:
            logger.warning("torrent %s: its metainfo is unusable: %s", self._info_hash.hex(), error)
            return None

    @property
    def info_hash(self) -> InfoHash:
        """The SHA-1 of the info dictionary."""
        return self._info_hash

    @property
    def magnet(self) -> Magnet | None:
        """The link that it came from, if it did."""
        return self._magnet

    @property
    def present_run(self) -> "SessionRun | None":
        """The present run, or the last one; None before the first and at rest."""
        return self._run

    @property
    def paused_state(self) -> State | None:
        """What was paused; None unless the state is PAUSED."""
        return self._machine.paused_state

    @property
    def name(self) -> str:
        """The torrent's name, cleaned for the file system; before the metadata the link's."""
        if self._metainfo is not None:
            return self._metainfo.name
        if self._rest_facts is not None:
            return self._rest_facts.name
        link_name = self._magnet.name if self._magnet is not None else None
        return link_name or self._info_hash.hex()

    @property
    def _pool(self) -> "PeerPool | None":
        if self._fetch is not None:
            return self._fetch.pool
        return None if self._run is None else self._run.transfer.pool

    @property
    def _sources(self) -> "PeerSources | None":
        if self._fetch is not None:
            return self._fetch.sources
        return None if self._run is None else self._run.transfer.sources

    @property
    def state(self) -> State:
        """What the Session does now."""
        return self._machine.state

    def peers(self) -> list[PeerStats]:
        """Return what can be told of each connected peer."""
        swarm: Swarm | None = None
        if self._fetch is not None:
            swarm = self._fetch.swarm
        elif self._run is not None:
            swarm = self._run.torrent
        now = self._shared.clock()
        return [] if swarm is None else [peer_stats(peer, now) for peer in swarm.peers]

    def trackers(self) -> list[TrackerStatus]:
        """Return how each tracker answers."""
        return [] if self._sources is None else self._sources.trackers.status()

    def queue_facts(self, now: float) -> QueueFacts:
        """Return what its place in a queue depends on; cheap."""
        facts = self._rest_facts
        ratio = 0.0
        if facts is not None:
            base_bytes = facts.all_downloaded_bytes or facts.wanted_bytes or 1
            ratio = facts.all_uploaded_bytes / base_bytes
        return queue_facts(self._machine, self._run, ratio, now)

    def work_done(self) -> WorkDone:
        """Return how far the present or last run is; cheap."""
        run = self._run
        if run is None:
            facts = self._rest_facts
            if facts is None:
                return WorkDone()
            return WorkDone(
                facts.total_bytes,
                facts.wanted_bytes,
                facts.completed_bytes,
                facts.all_uploaded_bytes,
            )
        return WorkDone(
            run.torrent.metainfo.total_bytes,
            run.progress.wanted_bytes,
            run.progress.completed_bytes,
            run.all_totals.uploaded_bytes,
            run.check.pieces_to_check,
            run.check.checked_pieces,
        )

    def stats(self) -> SessionStats:
        """Return the numbers of this moment; after the end those of the last run."""
        return replace(self._stats(), loop_lag=self._shared.loop_watch.lag())

    def _stats(self) -> SessionStats:
        now = self._shared.clock()
        if self._fetch is not None:
            return fetch_stats(self._fetch, self.state, self.name, now - self._started_s)
        if self._run is None and self._rest_facts is not None:
            facts, elapsed_s = self._rest_facts, now - self._started_s
            return rest_stats(facts, self.state, self.totals, elapsed_s)
        if self._run is None:
            return idle_stats(self.state, self.name, self._metainfo)
        return run_stats(self._run, self.state, now, now - self._started_s)
