"""What one run of a torrent hands over to the next."""

from dataclasses import dataclass

import anyio

from torrent_engine.engine.extensions.pex import PeerExchange
from torrent_engine.engine.swarm.parked_links import ParkedLinks
from torrent_engine.engine.swarm.peer_sources import PeerSources
from torrent_engine.policy.peers.candidates import CandidateList


@dataclass(slots=True)
class Handover:
    """Links, candidates, announces and peer exchange of a run; used once, then closed."""

    links: ParkedLinks
    candidates: CandidateList
    sources: PeerSources | None
    """None: the torrent turned out to be private, its trackers are asked in another order."""
    pex: PeerExchange | None

    async def close(self) -> None:
        """Close what no run continued with; announce `stopped` to the trackers."""
        self.links.close()
        if self.sources is not None:
            with anyio.CancelScope(shield=True):
                await self.sources.stop()
