"""The order in which peers download from our seed (row B12).

Fair queueing. Each turn moves a peer back by at least one place in line, and by as many more as it
took shares of bytes: who takes fast only waits longer. A newcomer starts at the end, so that coming
back under another name gains nothing. A turn is shorter the more peers wait. Who takes next to
nothing of a turn loses it within seconds, and comes after everybody else for a while, which doubles
each time.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

from torrent_engine.base.config import ChokerConfig
from torrent_engine.policy.peer_view import PeerView

IDLE_TURN_S: Final = 3.0  # ours: as long a turn may stay unused while others wait
ALL_IDLE_TURN_S: Final = 10.0  # ours: the same while nobody takes anything; it may be our fault
IDLE_SHARE: Final = 0.05  # ours: of what a slot gives in the mean; a turn that takes less is unused
FIRST_BACK_SEAT_S: Final = 15.0  # ours: after an unused turn; doubled after each further one
MAX_BACK_SEATS: Final = 6


@dataclass(frozen=True, slots=True)
class _Turn:
    """When a peer's present turn began, and what it had taken since its unchoke by then."""

    began_s: float
    taken_before_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _BackSeat:
    """Until when a peer comes after all others, and how many turns in a row it left unused."""

    until_s: float
    times: int


class SeedTurns:
    """The line: a number for each peer, smallest first, and the turns that go on."""

    def __init__(self, config: ChokerConfig) -> None:
        self._config = config
        self._place: dict[Hashable, float] = {}
        self._turns: dict[Hashable, _Turn] = {}
        self._back_seats: dict[Hashable, _BackSeat] = {}
        self._front = 0.0
        self.is_contended = False
        """Whether somebody has to wait."""

    def all_served(self, peers: Sequence[PeerView]) -> None:
        """Note that nobody has to wait: what is taken now is held against nobody."""
        self.is_contended = False
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
        if not self.is_contended:
            self.all_served(peers)  # counts what was taken until now
            self.is_contended = True
        going_on = self._update(peers, slots, now)
        wanting = [peer for peer in peers if peer.wants_slot]
        serving = [peer for peer in wanting if peer.key in going_on]
        serving.sort(key=lambda peer: going_on[peer.key].began_s, reverse=True)
        chosen = {peer.key for peer in serving[:slots]}
        waiting = [peer for peer in wanting if peer.key not in chosen]
        waiting.sort(key=lambda peer: self._rank(peer, now))
        next_ones = waiting[: slots - len(chosen)]
        self._front = max([self._front, *(self._place[peer.key] for peer in next_ones)])
        return frozenset(chosen.union(peer.key for peer in next_ones))

    def _rank(self, peer: PeerView, now: float) -> tuple[bool, float, float]:
        seat = self._back_seats.get(peer.key)
        is_behind = seat is not None and now < seat.until_s
        return (is_behind, self._place[peer.key], peer.connected_since_s)

    def _update(self, peers: Sequence[PeerView], slots: int, now: float) -> dict[Hashable, _Turn]:
        """Place newcomers, move back whose turn is over; return the turns that go on."""
        places, seats = self._place, self._back_seats
        self._place = {peer.key: places.get(peer.key, self._front + 1) for peer in peers}
        self._back_seats = {peer.key: seats[peer.key] for peer in peers if peer.key in seats}
        self._turns = {peer.key: self._turn(peer) for peer in peers if peer.unchoked}
        going_on = dict(self._turns)
        turn_s = self._turn_length_s(peers, slots)
        mean = sum(peer.upload_bytes_per_s for peer in peers) / max(len(going_on), 1)
        for peer in peers:
            if peer.key not in going_on:
                self._save_nothing(peer)
                continue
            is_unused = peer.wants_slot and self._is_unused(peer, mean, now)
            if is_unused or not peer.wants_slot or self._is_over(peer, turn_s, now):
                del going_on[peer.key]
                self._end_turn(peer, now, is_unused=is_unused)
        return going_on

    def _save_nothing(self, peer: PeerView) -> None:
        """Let a peer save up nothing while it wants nothing."""
        if not peer.wants_slot:
            self._place[peer.key] = max(self._place[peer.key], self._front)

    def _end_turn(self, peer: PeerView, now: float, *, is_unused: bool) -> None:
        key = peer.key
        self._place[key] += max(1.0, self._shares(peer))
        self._turns[key] = _Turn(now, peer.uploaded_bytes_since_unchoke)
        if is_unused:
            times = self._back_seats[key].times + 1 if key in self._back_seats else 0
            times = min(times, MAX_BACK_SEATS)
            self._back_seats[key] = _BackSeat(now + FIRST_BACK_SEAT_S * 2**times, times)
        elif peer.wants_slot:
            self._back_seats.pop(key, None)

    def _turn_length_s(self, peers: Sequence[PeerView], slots: int) -> float:
        """Return how long a slow leech keeps its slot: less, the more peers wait."""
        wanting = sum(peer.wants_slot for peer in peers)
        longest_s = self._config.seed_turn_s * slots / max(wanting - slots, 1)
        return max(min(self._config.seed_turn_s, longest_s), self._config.rechoke_interval_s)

    def _turn(self, peer: PeerView) -> _Turn:
        """Return the turn that a peer is in: a new one if it was unchoked since the last look."""
        known = self._turns.get(peer.key)
        if known is None or known.began_s < peer.unchoked_since_s:
            return _Turn(peer.unchoked_since_s)
        return known

    def _shares(self, peer: PeerView) -> float:
        taken = peer.uploaded_bytes_since_unchoke - self._turns[peer.key].taken_before_bytes
        return taken / self._config.seed_round_robin_bytes

    def _is_unused(self, peer: PeerView, mean_bytes_per_s: float, now: float) -> bool:
        """Return whether a peer takes next to nothing of its turn, measured by the others."""
        turn_s = now - self._turns[peer.key].began_s
        if not mean_bytes_per_s:
            return turn_s >= ALL_IDLE_TURN_S
        return turn_s >= IDLE_TURN_S and peer.upload_bytes_per_s < IDLE_SHARE * mean_bytes_per_s

    def _is_over(self, peer: PeerView, longest_s: float, now: float) -> bool:
        turn_s = now - self._turns[peer.key].began_s
        if turn_s < self._config.rechoke_interval_s:
            return False
        return self._shares(peer) >= 1 or turn_s >= longest_s
