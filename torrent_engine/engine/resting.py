"""A torrent that rests: its announces go on, and whoever wants something of it wakes it.

It has no task, no open file and no metainfo; those come with its next run.
"""

import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import anyio

from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.peer_sources import PeerSources, SourceFacts
from torrent_engine.engine.progress import Progress
from torrent_engine.engine.resting_links import RestingLinks
from torrent_engine.engine.shared_resources import SharedResources
from torrent_engine.engine.source_edits import SourceEdits
from torrent_engine.engine.torrent import Swarm
from torrent_engine.engine.tracker_coordinator import TrackerCoordinator
from torrent_engine.net.transport import Transport
from torrent_engine.policy.candidates import Source
from torrent_engine.protocol.tracker.announce import AnnounceTotals

if TYPE_CHECKING:
    from torrent_engine.engine.session_run import SessionRun

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RestFacts:
    """The numbers of a torrent that does not run; bytes are payload."""

    name: str
    total_bytes: int
    wanted_bytes: int
    completed_bytes: int
    """Verified, of what is wanted."""
    left_bytes: int
    """Not verified, of everything: what trackers are told."""
    piece_count: int
    pieces_have: int
    have: bytes
    """As a BEP 3 bitfield; empty: none or all, as :attr:`pieces_have` says."""
    is_private: bool
    tiers: tuple[tuple[str, ...], ...] = ()
    nodes: tuple[PeerAddress, ...] = ()
    all_downloaded_bytes: int = 0
    """Over all runs."""
    all_uploaded_bytes: int = 0
    metadata_bytes: int = 0
    """Length of the info dictionary; 0: not known."""

    @property
    def is_complete(self) -> bool:
        """Whether every wanted piece is here."""
        return self.completed_bytes == self.wanted_bytes

    def bitfield(self) -> bytes:
        """Return the verified pieces as a BEP 3 bitfield."""
        if self.have:
            return self.have
        make = Bitfield.full if self.pieces_have else Bitfield
        return make(self.piece_count).to_bytes()


def facts_of_new(metainfo: Metainfo, priorities: tuple[int, ...] | None) -> RestFacts:
    """Return the numbers of a torrent of which nothing is here."""
    wanted_bytes = metainfo.total_bytes
    if priorities is not None:
        progress = Progress(metainfo)
        progress.set_priorities(priorities)
        progress.recount(Bitfield(metainfo.piece_count))
        wanted_bytes = progress.wanted_bytes
    return RestFacts(
        name=metainfo.name,
        total_bytes=metainfo.total_bytes,
        wanted_bytes=wanted_bytes,
        completed_bytes=0,
        left_bytes=metainfo.total_bytes,
        piece_count=metainfo.piece_count,
        pieces_have=0,
        have=b"",
        is_private=metainfo.is_private,
        tiers=metainfo.tiers,
        nodes=metainfo.nodes,
        metadata_bytes=len(metainfo.info_bytes),
    )


def facts_of_run(run: "SessionRun") -> RestFacts:
    """Return the numbers of a run, at its end."""
    metainfo, progress, have = run.torrent.metainfo, run.progress, run.torrent.table.have
    return RestFacts(
        name=metainfo.name,
        total_bytes=metainfo.total_bytes,
        wanted_bytes=progress.wanted_bytes,
        completed_bytes=progress.completed_bytes,
        left_bytes=metainfo.total_bytes - progress.have_bytes,
        piece_count=metainfo.piece_count,
        pieces_have=have.count,
        have=b"" if have.count in {0, metainfo.piece_count} else have.to_bytes(),
        is_private=metainfo.is_private,
        tiers=metainfo.tiers,
        nodes=metainfo.nodes,
        all_downloaded_bytes=run.all_totals.downloaded_bytes,
        all_uploaded_bytes=run.all_totals.uploaded_bytes,
        metadata_bytes=len(metainfo.info_bytes),
    )


@dataclass(slots=True)
class Rest:
    """Feeds nobody: what is found wakes the torrent, and is there when it is awake."""

    facts: RestFacts
    swarm: Swarm
    shared: SharedResources
    on_wake: Callable[[], None]
    sources: PeerSources | None = None
    found: list[tuple[tuple[PeerAddress, ...], Source]] = field(default_factory=list)
    connecting: int = 0
    """As a pool has it; nothing is dialled here."""
    links: RestingLinks | None = None
    """Who came by itself; None: nobody yet."""
    waking: anyio.CancelScope | None = None
    """A neighbour announced the torrent; it waits for its turn to wake."""

    def begin(self, edits: SourceEdits, *, is_announced: bool) -> None:
        """Let others find us, unless the torrent is paused."""
        facts = SourceFacts(
            tiers=self.facts.tiers,
            nodes=self.facts.nodes,
            is_private=self.facts.is_private,
            totals=self._totals,
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
        """Be found from now on, by trackers, DHT, local network and who dials us."""
        if self.sources is not None:
            self.sources.begin_rest(self.shared.announcer)
            self.shared.router.register(self.swarm.info_hash, self.accept)

    def hush(self) -> Callable[[], Coroutine[object, object, None]]:
        """Be found no more; what is returned tells the trackers, which takes 5 s at most."""
        self.shared.router.unregister(self.swarm.info_hash)
        self._forget_neighbour()
        if self.links is not None:
            self.links.close()
            self.links = None
        sources = self.sources
        if sources is None:
            return _say_nothing
        sources.end_rest(self.shared.announcer)
        sources.leave()
        return partial(_say_goodbye, self.swarm.info_hash, sources.trackers)

    def end(self) -> PeerSources | None:
        """Return the talk with trackers to whoever goes on with it; who dials us is held."""
        self._forget_neighbour()
        if self.sources is not None:
            self.sources.end_rest(self.shared.announcer)
        if self.shared.router.is_registered(self.swarm.info_hash):
            self.shared.router.hold(self.swarm.info_hash)
        return self.sources

    def accept(self, transport: Transport, address: PeerAddress, received: bytes) -> None:
        """Take an incoming connection; it wakes the torrent when it wants something."""
        if self.links is None:
            self.links = RestingLinks(self.swarm, self.shared, self.facts, self.on_wake)
        self.links.accept(transport, address, received)

    # -- as a pool ----------------------------------------------------------------------------

    def add(self, addresses: Iterable[PeerAddress], source: Source) -> int:
        """Take candidates and wake; return how many there are.

        A datagram of a neighbour may name many torrents, and nobody asked for it: it wakes them
        as slowly as other strangers do.
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

    def _forget_neighbour(self) -> None:
        if self.waking is not None:
            self.waking.cancel()
            self.waking = None

    @property
    def own(self) -> "Rest":
        """Itself: :meth:`add` looks anew each time where we are."""
        return self

    def exclude(self, host: str) -> None:
        """Hear that we listen there."""

    def update(self) -> None:
        """Hear that all torrents know more."""

    # -- what trackers are told -----------------------------------------------------------------

    def _is_seed(self) -> bool:
        return self.facts.is_complete

    def _totals(self) -> AnnounceTotals:
        totals = self.swarm.totals
        return AnnounceTotals(
            uploaded_bytes=totals.uploaded_bytes,
            downloaded_bytes=totals.downloaded_bytes,
            left_bytes=self.facts.left_bytes,
        )


async def _say_goodbye(info_hash: InfoHash, trackers: TrackerCoordinator) -> None:
    """Tell the trackers; a bug in it reaches no other torrent (row F10)."""
    try:
        await trackers.stop()
    except Exception:
        logger.exception("torrent %s: its trackers were not told", info_hash.hex())


async def _say_nothing() -> None:
    """Tell nobody: nobody knew."""
