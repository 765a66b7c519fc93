"""What the run of a torrent takes over from the search for its metadata."""

from dataclasses import dataclass

from torrent_engine.engine.kept_links import KeptLinks
from torrent_engine.engine.peer_sources import PeerSources
from torrent_engine.policy.candidates import CandidateList


@dataclass(slots=True)
class Inheritance:
    """Links, candidates and the talk with the trackers; used once."""

    links: KeptLinks
    candidates: CandidateList
    sources: PeerSources | None
    """None: the torrent turned out to be private, its trackers are asked in another order."""
