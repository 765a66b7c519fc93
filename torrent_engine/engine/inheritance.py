"""What the run of a torrent takes over from the search for its metadata."""

from dataclasses import dataclass

import anyio

from torrent_engine.engine.kept_links import KeptLinks
from torrent_engine.engine.peer_exchange import PeerExchange
from torrent_engine.engine.peer_sources import PeerSources
from torrent_engine.policy.candidates import CandidateList


@dataclass(slots=True)
class Inheritance:
    """Links, candidates and the talk with trackers and peers; used once, then closed."""

    links: KeptLinks
    candidates: CandidateList
    sources: PeerSources | None
    """None: the torrent turned out to be private, its trackers are asked in another order."""
    pex: PeerExchange | None

    async def close(self) -> None:
        """Close what nobody went on with, and tell the trackers that still count us."""
        self.links.close()
        if self.sources is not None:
            with anyio.CancelScope(shield=True):
                await self.sources.stop()
