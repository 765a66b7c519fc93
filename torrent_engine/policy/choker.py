"""Owns one decision: which interested peers may download from us now.

Source: BEP 3 (tit-for-tat, optimistic unchoking), BEP 21 (upload-only peers need nothing).
"""

import random
from collections.abc import Hashable, Sequence
from typing import Final

from torrent_engine.base.config import ChokerConfig
from torrent_engine.policy.peer_view import PeerView
from torrent_engine.policy.seed_turns import SeedTurns

UNLIMITED_SLOTS: Final = 1 << 30
NEW_PEER_WEIGHT: Final = 3  # BEP 3: new peers are three times as likely to start an optimistic turn
NEW_PEER_TURNS: Final = 2  # ours: a peer is new for this many optimistic intervals


class Choker:
    """Chooses who is unchoked; remembers only whose turn was when."""

    def __init__(self, config: ChokerConfig, rng: random.Random) -> None:
        self._config = config
        self._rng = rng
        self._optimistic: dict[Hashable, float] = {}  # key -> when its turn began
        self._had_turn: set[Hashable] = set()
        self._seed_turns = SeedTurns(config)

    @property
    def is_seed_contended(self) -> bool:
        """Whether peers wait for a slot of our seed: then call :meth:`rechoke` every second."""
        return self._seed_turns.is_contended

    @property
    def optimistic(self) -> frozenset[Hashable]:
        """Who is unchoked as a trial at the moment."""
        return frozenset(self._optimistic)

    def rechoke(
        self, peers: Sequence[PeerView], *, now: float, seeding: bool, slots: int | None = None
    ) -> frozenset[Hashable]:
        """Return the keys of all who are to be unchoked; the others are to be choked.

        ``peers`` are all that are connected. At most ``slots`` (None: as configured) plus the
        configured optimistic slots are unchoked; with fewer interested peers all of them are.
        Call it once a rechoke interval, and in between when a slot becomes free.
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
        """Repay who sends to us, fastest first; the rest of the slots go round as trials."""
        givers = [p for p in wanting if p.download_bytes_per_s > 0 and not p.is_snubbed]
        givers.sort(key=lambda p: (-p.download_bytes_per_s, not p.unchoked, p.connected_since_s))
        repaid = {peer.key for peer in givers[:regular_slots]}
        others = [peer for peer in wanting if peer.key not in repaid]
        self._rotate_optimistic(others, all_slots - len(repaid), now)
        return frozenset(repaid | self._optimistic.keys())

    def _rotate_optimistic(self, pool: list[PeerView], slots: int, now: float) -> None:
        """End the trials that lasted their interval and begin others in their place."""
        expires = now - self._config.optimistic_interval_s
        pool_keys = {peer.key for peer in pool}
        ended = {key for key, began in self._optimistic.items() if began <= expires}
        going_on = [key for key in self._optimistic if key in pool_keys and key not in ended]
        self._optimistic = {key: self._optimistic[key] for key in going_on[:slots]}
        waiting = [peer for peer in pool if peer.key not in self._optimistic]
        while len(self._optimistic) < slots and waiting:
            chosen = self._draw(waiting, ended, now)
            waiting.remove(chosen)
            self._had_turn.add(chosen.key)
            self._optimistic[chosen.key] = now

    def _draw(self, waiting: list[PeerView], ended: set[Hashable], now: float) -> PeerView:
        """Draw lots among those who had no turn in this round, so that everybody gets one."""
        fresh = [peer for peer in waiting if peer.key not in self._had_turn]
        if not fresh:  # the round is over
            self._had_turn -= {peer.key for peer in waiting} - ended
            fresh = [peer for peer in waiting if peer.key not in self._had_turn] or waiting
        new_since = now - NEW_PEER_TURNS * self._config.optimistic_interval_s
        weights = [NEW_PEER_WEIGHT if p.connected_since_s > new_since else 1 for p in fresh]
        return self._rng.choices(fresh, weights)[0]

    def _forget_absent(self, present: set[Hashable]) -> None:
        self._had_turn &= present
        for key in self._optimistic.keys() - present:
            del self._optimistic[key]
