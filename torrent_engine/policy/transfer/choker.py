"""The choker: which interested peers are unchoked.

Source: BEP 3 (tit-for-tat, optimistic unchoking), BEP 21 (upload-only peers are never unchoked).
"""

import random
from collections.abc import Hashable, Sequence

from torrent_engine.base.config import ChokerConfig
from torrent_engine.policy.transfer.idle_turns import IDLE_SHARE, is_unused
from torrent_engine.policy.transfer.optimistic_turns import OptimisticTurns
from torrent_engine.policy.transfer.peer_view import PeerView
from torrent_engine.policy.transfer.regular_slots import (
    MUCH_BYTES_PER_S,
    RegularSlots,
    gives_much,
)
from torrent_engine.policy.transfer.seed_turns import SeedTurns


class Choker:
    """The choice of the unchoked peers; its only state is the history of unchokes."""

    def __init__(self, config: ChokerConfig, rng: random.Random) -> None:
        self._config = config
        self._optimistic_turns = OptimisticTurns(config, rng)
        self._regular_slots = RegularSlots(config)
        self._seed_turns = SeedTurns(config)
        self.is_contended = False
        """Whether peers wait for a slot: then call :meth:`rechoke` every second."""

    @property
    def optimistic(self) -> frozenset[Hashable]:
        """The optimistically unchoked peers."""
        return self._optimistic_turns.keys

    def rechoke(
        self, peers: Sequence[PeerView], *, now: float, seeding: bool, slots: int | None = None
    ) -> frozenset[Hashable]:
        """Return the keys of all peers to unchoke; the others are to be choked.

        ``peers`` are all connected peers. At most ``slots`` (None: as configured) plus the
        configured optimistic slots are unchoked; with fewer interested peers all of them are.
        Call it every rechoke interval, and in between when a slot becomes free.
        """
        self._optimistic_turns.update(peers, now)
        wanting = [peer for peer in peers if peer.wants_slot]
        regular_slots = max(self._config.upload_slots if slots is None else slots, 0)
        all_slots = regular_slots + self._config.optimistic_slots
        self.is_contended = len(wanting) > all_slots
        if self.is_contended and not seeding:
            self._seed_turns.all_served(peers)
            return self._tit_for_tat(wanting, regular_slots, all_slots, now)
        self._regular_slots.clear()
        self._optimistic_turns.clear()
        if self.is_contended:
            return self._seed_turns.choose(peers, all_slots, now)
        self._seed_turns.all_served(peers)
        return frozenset(peer.key for peer in wanting)

    def _tit_for_tat(
        self, wanting: list[PeerView], regular_slots: int, all_slots: int, now: float
    ) -> frozenset[Hashable]:
        """Unchoke the peers that upload to us, fastest first, and fill up optimistically."""
        mean = mean_use(wanting)
        idle = self._find_idle(wanting, mean, now)
        is_last = self._optimistic_turns.penalties.is_last
        unworthy = {p.key for p in wanting if is_last(p.owner, now) and not gives_much(p, mean)}
        regular = self._regular_slots.choose(wanting, unworthy, regular_slots, now)
        others = [peer for peer in wanting if peer.key not in regular]
        self._optimistic_turns.rotate(others, idle, all_slots - len(regular), now)
        return regular | self._optimistic_turns.keys

    def _find_idle(self, wanting: list[PeerView], mean: float, now: float) -> set[Hashable]:
        """Return the unchoked peers that take nothing and give little; penalise them."""
        idle, turns = set(), self._optimistic_turns
        for peer in wanting:
            if not peer.unchoked or gives_much(peer, mean):
                continue
            turn_s = turns.turn_s(peer, now)
            if is_unused(peer, turn_s, mean):
                idle.add(peer.key)
                turns.penalties.add(peer.owner, now)
            elif turn_s >= self._config.rechoke_interval_s:
                turns.penalties.lift(peer.owner)
        return idle


def mean_use(wanting: list[PeerView]) -> float:
    """Return what an unchoked peer takes on average, in bytes per second.

    It is limited so that nobody is idle who takes a block a second.
    """
    rates = [peer.upload_bytes_per_s for peer in wanting if peer.unchoked]
    return min(sum(rates) / max(len(rates), 1), MUCH_BYTES_PER_S / IDLE_SHARE)
