"""The order in which peers are unchoked by a seed (row B12).

Fair queueing: each turn moves a peer back in the queue by at least one position, and by one for
each share of bytes that it downloaded, so that a fast peer waits longer for its next turn. A new
peer starts at the end of the queue; reconnecting with another peer id gains nothing. Turns become
shorter the more peers wait. A peer that downloads next to nothing loses its turn within seconds and
is ranked last for a penalty time, which doubles with each unused turn in a row.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from torrent_engine.base.config import ChokerConfig
from torrent_engine.policy.transfer.idle_turns import Penalties, is_unused
from torrent_engine.policy.transfer.peer_view import PeerView


@dataclass(frozen=True, slots=True)
class _Turn:
    """When a peer's turn began, and its bytes since the unchoke at that moment."""

    began_s: float
    taken_before_bytes: int = 0


class SeedTurns:
    """The queue: a position for each peer, smallest first, and the turns in progress."""

    def __init__(self, config: ChokerConfig) -> None:
        self._config = config
        self._positions: dict[Hashable, float] = {}
        self._turns: dict[Hashable, _Turn] = {}
        self._penalties = Penalties()
        self._front = 0.0
        self.is_contended = False
        """Whether more peers want a slot than there are."""

    def all_served(self, peers: Sequence[PeerView]) -> None:
        """Record that every peer has a slot; what is downloaded meanwhile is not counted."""
        self.is_contended = False
        self._positions.clear()
        self._turns = {
            peer.key: _Turn(peer.unchoked_since_s, peer.uploaded_bytes_since_unchoke)
            for peer in peers
            if peer.unchoked
        }

    def choose(self, peers: Sequence[PeerView], slots: int, now: float) -> frozenset[Hashable]:
        """Return the peers to unchoke: those whose turn goes on, then the front of the queue.

        ``peers`` are all connected peers; only those that want a slot get one.
        """
        if not self.is_contended:
            self.all_served(peers)  # bytes before the contention do not count
            self.is_contended = True
        going_on = self._update(peers, slots, now)
        wanting = [peer for peer in peers if peer.wants_slot]
        serving = [peer for peer in wanting if peer.key in going_on]
        serving.sort(key=lambda peer: going_on[peer.key].began_s, reverse=True)
        chosen = {peer.key for peer in serving[:slots]}
        waiting = [peer for peer in wanting if peer.key not in chosen]
        waiting.sort(key=lambda peer: self._rank(peer, now))
        next_ones = waiting[: slots - len(chosen)]
        self._front = max([self._front, *(self._positions[peer.key] for peer in next_ones)])
        return frozenset(chosen.union(peer.key for peer in next_ones))

    def _rank(self, peer: PeerView, now: float) -> tuple[bool, float, float]:
        is_last = self._penalties.is_last(peer.key, now)
        return (is_last, self._positions[peer.key], peer.connected_since_s)

    def _update(self, peers: Sequence[PeerView], slots: int, now: float) -> dict[Hashable, _Turn]:
        """Add new peers, move back those whose turn is over; return the turns that go on."""
        positions = self._positions
        self._positions = {peer.key: positions.get(peer.key, self._front + 1) for peer in peers}
        self._penalties.keep(self._positions)
        self._turns = {peer.key: self._turn(peer) for peer in peers if peer.unchoked}
        going_on = dict(self._turns)
        longest_s = self._turn_length_s(peers, slots)
        mean = sum(peer.upload_bytes_per_s for peer in peers) / max(len(going_on), 1)
        for peer in peers:
            if peer.key not in going_on:
                self._reset_credit(peer)
                continue
            turn_s = now - self._turns[peer.key].began_s
            is_idle = peer.wants_slot and is_unused(peer, turn_s, mean)
            if is_idle or not peer.wants_slot or self._is_over(peer, longest_s, now):
                del going_on[peer.key]
                self._end_turn(peer, now, is_unused=is_idle)
        return going_on

    def _reset_credit(self, peer: PeerView) -> None:
        """Keep a peer without interest from collecting credit."""
        if not peer.wants_slot:
            self._positions[peer.key] = max(self._positions[peer.key], self._front)

    def _end_turn(self, peer: PeerView, now: float, *, is_unused: bool) -> None:
        key = peer.key
        self._positions[key] += max(1.0, self._shares(peer))
        self._turns[key] = _Turn(now, peer.uploaded_bytes_since_unchoke)
        if is_unused:
            self._penalties.add(key, now)
        elif peer.wants_slot:
            self._penalties.lift(key)

    def _turn_length_s(self, peers: Sequence[PeerView], slots: int) -> float:
        """Return how long a slow peer keeps its slot: shorter, the more peers wait."""
        wanting = sum(peer.wants_slot for peer in peers)
        longest_s = self._config.seed_turn_s * slots / max(wanting - slots, 1)
        return max(min(self._config.seed_turn_s, longest_s), self._config.rechoke_interval_s)

    def _turn(self, peer: PeerView) -> _Turn:
        """Return the turn of a peer: a new one if it was unchoked since the last call."""
        known = self._turns.get(peer.key)
        if known is None or known.began_s < peer.unchoked_since_s:
            return _Turn(peer.unchoked_since_s)
        return known

    def _shares(self, peer: PeerView) -> float:
        taken = peer.uploaded_bytes_since_unchoke - self._turns[peer.key].taken_before_bytes
        return taken / self._config.seed_round_robin_bytes

    def _is_over(self, peer: PeerView, longest_s: float, now: float) -> bool:
        turn_s = now - self._turns[peer.key].began_s
        if turn_s < self._config.rechoke_interval_s:
            return False
        return self._shares(peer) >= 1 or turn_s >= longest_s
