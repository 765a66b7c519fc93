"""Owns one order: whose turn it is to download from our seed (row B12).

Fair queueing. Each turn moves a peer back by at least one place in line, and by as many more as it
took shares of bytes: who takes fast only waits longer. A newcomer starts at the end, so that coming
back under another name gains nothing. Rates do not count.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from torrent_engine.base.config import ChokerConfig
from torrent_engine.policy.peer_view import PeerView


@dataclass(frozen=True, slots=True)
class _Turn:
    """When a peer's present turn began, and what it had taken since its unchoke by then."""

    began_s: float
    taken_before_bytes: int = 0


class SeedTurns:
    """The line: a number for each peer, smallest first, and the turns that go on."""

    def __init__(self, config: ChokerConfig) -> None:
        self._config = config
        self._place: dict[Hashable, float] = {}
        self._turns: dict[Hashable, _Turn] = {}
        self._front = 0.0
        self._was_contended = False

    def all_served(self, peers: Sequence[PeerView]) -> None:
        """Note that nobody has to wait: what is taken now is held against nobody."""
        self._was_contended = False
        self._place.clear()
        self._turns = {
            peer.key: _Turn(peer.unchoked_since_s, peer.uploaded_bytes_since_unchoke)
            for peer in peers
            if peer.unchoked
        }

    def choose(self, peers: Sequence[PeerView], slots: int, now: float) -> frozenset[Hashable]:
        """Return who is served now: the turns that go on, then the front of the line.

        ``peers`` are all that are connected; a slot goes only to those who want one.
        """
        if not self._was_contended:
            self.all_served(peers)  # counts what was taken until now
            self._was_contended = True
        going_on = self._update(peers, now)
        wanting = [peer for peer in peers if peer.wants_slot]
        serving = [peer for peer in wanting if peer.key in going_on]
        serving.sort(key=lambda peer: going_on[peer.key].began_s, reverse=True)
        chosen = {peer.key for peer in serving[:slots]}
        waiting = [peer for peer in wanting if peer.key not in chosen]
        waiting.sort(key=lambda peer: (self._place[peer.key], peer.connected_since_s))
        next_ones = waiting[: slots - len(chosen)]
        self._front = max([self._front, *(self._place[peer.key] for peer in next_ones)])
        return frozenset(chosen.union(peer.key for peer in next_ones))

    def _update(self, peers: Sequence[PeerView], now: float) -> dict[Hashable, _Turn]:
        """Place newcomers, move back whose turn is over; return the turns that go on."""
        places = self._place
        self._place = {peer.key: places.get(peer.key, self._front + 1) for peer in peers}
        self._turns = {peer.key: self._turn(peer) for peer in peers if peer.unchoked}
        going_on = dict(self._turns)
        for peer in peers:
            if peer.key in going_on and (not peer.wants_slot or self._is_over(peer, now)):
                del going_on[peer.key]
                self._place[peer.key] += max(1.0, self._shares(peer))
                self._turns[peer.key] = _Turn(now, peer.uploaded_bytes_since_unchoke)
            elif not peer.wants_slot:  # saves up nothing while it wants nothing
                self._place[peer.key] = max(self._place[peer.key], self._front)
        return going_on

    def _turn(self, peer: PeerView) -> _Turn:
        """Return the turn that a peer is in: a new one if it was unchoked since the last look."""
        known = self._turns.get(peer.key)
        if known is None or known.began_s < peer.unchoked_since_s:
            return _Turn(peer.unchoked_since_s)
        return known

    def _shares(self, peer: PeerView) -> float:
        taken = peer.uploaded_bytes_since_unchoke - self._turns[peer.key].taken_before_bytes
        return taken / self._config.seed_round_robin_bytes

    def _is_over(self, peer: PeerView, now: float) -> bool:
        turn_s = now - self._turns[peer.key].began_s
        if turn_s < self._config.rechoke_interval_s:
            return False
        return self._shares(peer) >= 1 or turn_s >= self._config.seed_turn_s
