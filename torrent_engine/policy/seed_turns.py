"""Owns one order: whose turn it is to download from our seed (row B12).

Fair queueing. Each turn moves a peer back by at least one place in line, and by as many more as it
took shares of bytes: who takes fast only waits longer. A newcomer starts at the end, so that coming
back under another name gains nothing. Rates do not count.
"""

from collections.abc import Hashable, Sequence
from typing import Final

from torrent_engine.base.config import ChokerConfig
from torrent_engine.policy.peer_view import PeerView

MAX_SHARES_A_TURN: Final = 20.0  # ours: nobody pays for what was taken while nobody else waited


class SeedTurns:
    """The line: a number for each peer, smallest first."""

    def __init__(self, config: ChokerConfig) -> None:
        self._config = config
        self._place: dict[Hashable, float] = {}
        self._front = 0.0

    def choose(self, wanting: Sequence[PeerView], slots: int, now: float) -> frozenset[Hashable]:
        """Return who is served now: the turns that go on, then the front of the line."""
        serving = [peer for peer in wanting if peer.unchoked and not self._is_over(peer, now)]
        serving.sort(key=lambda peer: peer.unchoked_since_s, reverse=True)
        chosen = {peer.key for peer in serving[:slots]}
        waiting = [peer for peer in wanting if peer.key not in chosen]
        waiting.sort(key=lambda peer: (self._place[peer.key], peer.connected_since_s))
        next_ones = waiting[: slots - len(chosen)]
        self._front = max([self._front, *(self._place[peer.key] for peer in next_ones)])
        return frozenset(chosen.union(peer.key for peer in next_ones))

    def update(self, peers: Sequence[PeerView], now: float) -> None:
        """Give newcomers a place, move back whose turn ends, forget who is gone."""
        places = self._place
        self._place = {peer.key: places.get(peer.key, self._front + 1) for peer in peers}
        for peer in peers:
            if peer.unchoked and (self._is_over(peer, now) or not peer.wants_slot):
                shares = peer.uploaded_bytes_since_unchoke / self._config.seed_round_robin_bytes
                self._place[peer.key] += min(max(shares, 1.0), MAX_SHARES_A_TURN)
            elif not peer.wants_slot:  # saves up nothing while it wants nothing
                self._place[peer.key] = max(self._place[peer.key], self._front)

    def _is_over(self, peer: PeerView, now: float) -> bool:
        config = self._config
        turn_s = now - peer.unchoked_since_s
        if turn_s < config.rechoke_interval_s:
            return False
        took_its_share = peer.uploaded_bytes_since_unchoke >= config.seed_round_robin_bytes
        return took_its_share or turn_s >= config.seed_turn_s
