"""Owns one count: what came from peers of each source, those that left included."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from torrent_engine.engine.peer import Peer
from torrent_engine.policy.candidates import CandidateList, Source

WEB_SEED: Final = "web_seed"
_NAMES: Final = {
    Source.TRACKER: "tracker",
    Source.DHT: "dht",
    Source.PEX: "pex",
    Source.LSD: "lsd",
    Source.INCOMING: "incoming",
    Source.MANUAL: "manual",
    Source.RESUME: "resume",
}
SOURCE_NAMES: Final = (*_NAMES.values(), WEB_SEED)
"""The keys of ``SessionStats.sources``."""


@dataclass(frozen=True, slots=True)
class SourceCounts:
    """What one source of peers gave to a torrent."""

    candidates: int = 0
    """Addresses known now that it named; one that several named counts for each of them."""
    connected: int = 0
    """Peers connected now that it was the first to name; of "web_seed" the servers in use."""
    downloaded_bytes: int = 0
    """Payload of this run from such peers, those that left included."""


class SourceTotals:
    """Told of every peer that joins and leaves; costs nothing while payload moves."""

    def __init__(self, candidates: CandidateList) -> None:
        self.web_seeds = SourceCounts()
        """For whoever serves the web seeds to set."""
        self._candidates = candidates
        self._origins: dict[Peer, str] = {}
        self._earlier_bytes: Counter[str] = Counter()

    def joined(self, peer: Peer) -> None:
        """Take note of a peer that passed the handshake."""
        source = Source.INCOMING
        if not peer.is_incoming:
            source = self._candidates.origin(peer.address) or peer.source
        self._origins[peer] = next((_NAMES[flag] for flag in source), _NAMES[Source.INCOMING])

    def left(self, peer: Peer) -> None:
        """Keep the bytes of a peer that goes."""
        if (name := self._origins.pop(peer, None)) is not None:
            self._earlier_bytes[name] += peer.downloaded_bytes

    def counts(self) -> dict[str, SourceCounts]:
        """Return the present counts of every source, by the names of :data:`SOURCE_NAMES`."""
        connected, downloaded = Counter[str](), self._earlier_bytes.copy()
        for peer, name in self._origins.items():
            connected[name] += 1
            downloaded[name] += peer.downloaded_bytes
        known = {name: self._candidates.count_from(flag) for flag, name in _NAMES.items()}
        counts = {
            name: SourceCounts(count, connected[name], downloaded[name])
            for name, count in known.items()
        }
        return counts | {WEB_SEED: self.web_seeds}
