"""A torrent without a run: it announces and accepts connections, and wakes when there is work.

It has no task, no open file and no metainfo in memory; those come with its next run.
"""

import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from functools import partial

import anyio

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.engine.discovery.tracker_coordinator import TrackerCoordinator
from torrent_engine.engine.dormancy.dormant_links import DormantLinks
from torrent_engine.engine.dormancy.snapshot import TorrentSnapshot
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.runs.source_edits import SourceEdits
from torrent_engine.engine.swarm.context import Swarm
from torrent_engine.engine.swarm.peer_sources import PeerSources, SourceFacts
from torrent_engine.net.peers.transport import Transport
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.protocol.tracker.announce import AnnounceTotals

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class DormantTorrent:
    """Takes the place of a peer pool: peers that are found are kept, and wake the torrent."""

    snapshot: TorrentSnapshot
    swarm: Swarm
    shared: SharedResources
    on_wake: Callable[[], None]
    sources: PeerSources | None = None
    found: list[tuple[tuple[PeerAddress, ...], Source]] = field(default_factory=list)
    connecting: int = 0
    """Number of connections that are being made, as a pool has it; here none is."""
    links: DormantLinks | None = None
    """Incoming connections; None: there was none yet."""
    waking: anyio.CancelScope | None = None
    """Set while a local announce (BEP 14) waits for its turn to wake the torrent."""

    def begin(self, edits: SourceEdits, *, is_announced: bool) -> None:
        """Announce the torrent, unless it is paused."""
        facts = SourceFacts(
            tiers=self.snapshot.tiers,
            nodes=self.snapshot.nodes,
            is_private=self.snapshot.is_private,
            totals=self._announce_totals,
            is_seed=self._is_seed,
        )
        if self.sources is None:
            self.sources = PeerSources(self.swarm, self.shared, self, facts)
        else:
            self.sources.rebind(self.swarm, self, facts)
        edits.apply_to_trackers(self.sources.trackers)
        if is_announced:
            self.announce()

    def announce(self) -> None:
        """Announce to trackers, DHT and local network, and accept connections, from now on."""
        if self.sources is not None:
            self.sources.begin_rest(self.shared.announcer)
            self.shared.router.register(self.swarm.info_hash, self.accept, self.swarm.other_hash)

    def stop_announcing(self) -> Callable[[], Coroutine[object, object, None]]:
        """Stop announcing; the returned coroutine function sends "stopped", in 5 s at most."""
        self.shared.router.unregister(self.swarm.info_hash)
        self._cancel_wake()
        if self.links is not None:
            self.links.close()
            self.links = None
        sources = self.sources
        if sources is None:
            return _announce_nothing
        sources.end_rest(self.shared.announcer)
        sources.leave()
        return partial(_announce_stopped, self.swarm.info_hash, sources.trackers)

    def end(self) -> PeerSources | None:
        """Return the sources for the next run; incoming connections wait for it."""
        self._cancel_wake()
        if self.sources is not None:
            self.sources.end_rest(self.shared.announcer)
        if self.shared.router.is_registered(self.swarm.info_hash):
            self.shared.router.hold(self.swarm.info_hash)
        return self.sources

    def accept(self, transport: Transport, address: PeerAddress, received: bytes) -> None:
        """Accept an incoming connection; it wakes the torrent if it wants something."""
        if self.links is None:
            self.links = DormantLinks(self.swarm, self.shared, self.snapshot, self.on_wake)
        self.links.accept(transport, address, received)

    def take_config(self, config: SessionConfig) -> None:
        """Greet peers as the configuration says, from now on."""
        self.swarm.config = config

    # -- in place of a pool --------------------------------------------------------------------

    def add(
        self,
        addresses: Iterable[PeerAddress],
        source: Source,
        *,
        is_other: bool = False,
    ) -> int:
        """Keep candidates and wake the torrent; return how many were kept.

        A local announce (BEP 14) may name many torrents, unasked: it wakes them at the limited
        rate of incoming connections.
        """
        others = tuple(each for each in addresses if not self.shared.announcer.is_our_own(each))
        if not others:
            return 0
        self.found.append((others, source))
        if source is not Source.LSD:
            self.on_wake()
        elif self.waking is None:
            self.waking = anyio.CancelScope()
            self.shared.start_task(partial(self._wake_for, others[0].host, self.waking))
        return len(others)

    async def _wake_for(self, host: str, scope: anyio.CancelScope) -> None:
        with scope:
            await self.shared.wake_gate.turn(host)
            self.on_wake()

    def _cancel_wake(self) -> None:
        if self.waking is not None:
            self.waking.cancel()
            self.waking = None

    @property
    def own(self) -> "DormantTorrent":
        """Itself, as :meth:`add` leaves out our own addresses of the moment."""
        return self

    def exclude(self, host: str) -> None:
        """Do nothing: our own addresses are looked up each time."""

    def update(self) -> None:
        """Do nothing: our own addresses are looked up each time."""

    # -- for announces -------------------------------------------------------------------------

    def _is_seed(self) -> bool:
        return self.snapshot.is_complete

    def _announce_totals(self) -> AnnounceTotals:
        totals, snapshot = self.swarm.totals, self.snapshot
        left_bytes = snapshot.left_bytes - snapshot.missing_pad_bytes
        return AnnounceTotals(
            uploaded_bytes=totals.uploaded_bytes,
            downloaded_bytes=totals.downloaded_bytes,
            left_bytes=left_bytes,
            is_partial_seed=snapshot.is_complete and left_bytes > 0,
        )


async def _announce_stopped(info_hash: InfoHash, trackers: TrackerCoordinator) -> None:
    """Send "stopped" to the trackers; a bug in it affects no other torrent (row F10)."""
    try:
        await trackers.stop()
    except Exception:
        logger.exception("torrent %s: `stopped` was not announced", info_hash.hex())


async def _announce_nothing() -> None:
    """Do nothing: it was announced nowhere."""
