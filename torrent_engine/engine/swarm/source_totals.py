"""Totals of what came from the peers of each source, those that left included."""

from collections import Counter

from torrent_engine.engine.stats import NAMES_OF_FLAGS, WEB_SEED, SourceCounts
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.policy.peers.candidates import CandidateList, Source


class SourceTotals:
    """Counts by the source of each peer; costs nothing while payload moves."""

    def __init__(self, candidates: CandidateList) -> None:
        self.web_seeds = SourceCounts()
        """Counts of the web seeds, set by the transfer."""
        self._candidates = candidates
        self._origins: dict[Peer, str] = {}
        self._earlier_bytes: Counter[str] = Counter()

    def joined(self, peer: Peer) -> None:
        """Count a peer that has completed the handshake."""
        source = Source.INCOMING
        if not peer.is_incoming:
            source = self._candidates.origin(peer.address) or peer.source
        self._origins[peer] = next(
            (NAMES_OF_FLAGS[flag] for flag in source), NAMES_OF_FLAGS[Source.INCOMING]
        )

    def left(self, peer: Peer) -> None:
        """Add the bytes of a peer that has left to the totals."""
        if (name := self._origins.pop(peer, None)) is not None:
            self._earlier_bytes[name] += peer.downloaded_bytes

    def counts(self) -> dict[str, SourceCounts]:
        """Return the present counts of every source, by the names in ``SOURCE_NAMES``."""
        connected, downloaded = Counter[str](), self._earlier_bytes.copy()
        for peer, name in self._origins.items():
            connected[name] += 1
            downloaded[name] += peer.downloaded_bytes
        known = {name: self._candidates.count_from(flag) for flag, name in NAMES_OF_FLAGS.items()}
        counts = {
            name: SourceCounts(count, connected[name], downloaded[name])
            for name, count in known.items()
        }
        return counts | {WEB_SEED: self.web_seeds}
