"""The choker: which interested peers are unchoked.

Source: BEP 3 (tit-for-tat, optimistic unchoking), BEP 21 (upload-only peers are never unchoked).
"""

import random
from collections.abc import Hashable, Sequence

from torrent_engine.base.config import ChokerConfig
from torrent_engine.policy.transfer.optimistic_turns import OptimisticTurns
from torrent_engine.policy.transfer.peer_view import PeerView
from torrent_engine.policy.transfer.seed_turns import SeedTurns


class Choker:
    """The choice of the unchoked peers; its only state is the history of unchokes."""

    def __init__(self, config: ChokerConfig, rng: random.Random) -> None:
        self._config = config
        self._optimistic_turns = OptimisticTurns(config, rng)
        self._seed_turns = SeedTurns(config)

    @property
    def is_seed_contended(self) -> bool:
        """Whether peers wait for a slot while we seed: then call :meth:`rechoke` every second."""
        return self._seed_turns.is_contended

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
        if seeding and len(wanting) > all_slots:
            self._optimistic_turns.clear()
            return self._seed_turns.choose(peers, all_slots, now)
        self._seed_turns.all_served(peers)
        if len(wanting) > all_slots:
            return self._tit_for_tat(wanting, regular_slots, all_slots, now)
        self._optimistic_turns.clear()
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
        self._optimistic_turns.rotate(others, all_slots - len(regular), now)
        return frozenset(regular | self._optimistic_turns.keys)
