"""The choker: which interested peers are unchoked.

Source: BEP 3 (tit-for-tat, optimistic unchoking), BEP 21 (upload-only peers are never unchoked).
"""

import random
from collections.abc import Hashable, Sequence
from typing import Final

from torrent_engine.base.config import ChokerConfig
from torrent_engine.policy.transfer.peer_view import PeerView
from torrent_engine.policy.transfer.seed_turns import SeedTurns

NEW_PEER_WEIGHT: Final = 3  # BEP 3: new peers are three times as likely to be chosen
NEW_PEER_INTERVALS: Final = 2  # ours: optimistic intervals for which a peer is new


class Choker:
    """The choice of the unchoked peers; its only state is the history of unchokes."""

    def __init__(self, config: ChokerConfig, rng: random.Random) -> None:
        self._config = config
        self._rng = rng
        self._optimistic: dict[Hashable, float] = {}  # key -> when it was unchoked
        self._had_optimistic: set[Hashable] = set()
        self._seed_turns = SeedTurns(config)

    @property
    def is_seed_contended(self) -> bool:
        """Whether peers wait for a slot while we seed: then call :meth:`rechoke` every second."""
        return self._seed_turns.is_contended

    @property
    def optimistic(self) -> frozenset[Hashable]:
        """The optimistically unchoked peers."""
        return frozenset(self._optimistic)

    def rechoke(
        self, peers: Sequence[PeerView], *, now: float, seeding: bool, slots: int | None = None
    ) -> frozenset[Hashable]:
        """Return the keys of all peers to unchoke; the others are to be choked.

        ``peers`` are all connected peers. At most ``slots`` (None: as configured) plus the
        configured optimistic slots are unchoked; with fewer interested peers all of them are.
        Call it every rechoke interval, and in between when a slot becomes free.
        """
        self._forget_absent({peer.key for peer in peers})
        wanting = [peer for peer in peers if peer.wants_slot]
        regular_slots = max(self._config.upload_slots if slots is None else slots, 0)
        all_slots = regular_slots + self._config.optimistic_slots
        if seeding and len(wanting) > all_slots:
            self._optimistic.clear()
            return self._seed_turns.choose(peers, all_slots, now)
        self._seed_turns.all_served(peers)
        if len(wanting) > all_slots:
            return self._tit_for_tat(wanting, regular_slots, all_slots, now)
        self._optimistic.clear()
        return frozenset(peer.key for peer in wanting)

    def _tit_for_tat(
        self, wanting: list[PeerView], regular_slots: int, all_slots: int, now: float
    ) -> frozenset[Hashable]:
        """Unchoke the peers that upload to us, fastest first, and fill up optimistically."""
        reciprocating = [p for p in wanting if p.download_bytes_per_s > 0 and not p.is_snubbed]
        reciprocating.sort(
            key=lambda p: (-p.download_bytes_per_s, not p.unchoked, p.connected_since_s)
        )
        regular = {peer.key for peer in reciprocating[:regular_slots]}
        others = [peer for peer in wanting if peer.key not in regular]
        self._rotate_optimistic(others, all_slots - len(regular), now)
        return frozenset(regular | self._optimistic.keys())

    def _rotate_optimistic(self, pool: list[PeerView], slots: int, now: float) -> None:
        """Replace the optimistic unchokes that lasted their interval."""
        expires = now - self._config.optimistic_interval_s
        pool_keys = {peer.key for peer in pool}
        ended = {key for key, began in self._optimistic.items() if began <= expires}
        going_on = [key for key in self._optimistic if key in pool_keys and key not in ended]
        self._optimistic = {key: self._optimistic[key] for key in going_on[:slots]}
        waiting = [peer for peer in pool if peer.key not in self._optimistic]
        while len(self._optimistic) < slots and waiting:
            chosen = self._draw(waiting, ended, now)
            waiting.remove(chosen)
            self._had_optimistic.add(chosen.key)
            self._optimistic[chosen.key] = now

    def _draw(self, waiting: list[PeerView], ended: set[Hashable], now: float) -> PeerView:
        """Draw one of the peers not yet chosen in this round, so that each is chosen once."""
        fresh = [peer for peer in waiting if peer.key not in self._had_optimistic]
        if not fresh:  # the round is over
            self._had_optimistic -= {peer.key for peer in waiting} - ended
            fresh = [peer for peer in waiting if peer.key not in self._had_optimistic] or waiting
        new_since = now - NEW_PEER_INTERVALS * self._config.optimistic_interval_s
        weights = [NEW_PEER_WEIGHT if p.connected_since_s > new_since else 1 for p in fresh]
        return self._rng.choices(fresh, weights)[0]

    def _forget_absent(self, present: set[Hashable]) -> None:
        self._had_optimistic &= present
        for key in self._optimistic.keys() - present:
            del self._optimistic[key]
