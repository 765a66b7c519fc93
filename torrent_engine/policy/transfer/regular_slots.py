"""The peers that are unchoked for what they give us (BEP 3 and row B12).

They are ranked by their rate every rechoke interval; in between only slots that become free change
hands. A slot costs a rate that is worth it, and more if the peer does not use the slot.
"""

from collections.abc import Hashable, Set
from typing import Final

from torrent_engine.base.config import ChokerConfig
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.policy.transfer.peer_view import PeerView

LEAST_BYTES_PER_S: Final = BLOCK_BYTES / 30  # ours: what a slot costs
WORTH_SHARE: Final = 0.05  # ours: of the mean rate of those who give that
MUCH_BYTES_PER_S: Final = float(BLOCK_BYTES)  # ours: who gives that keeps a slot in any case


class RegularSlots:
    """Who has a slot for its rate, until the next ranking."""

    def __init__(self, config: ChokerConfig) -> None:
        self._config = config
        self._holders: frozenset[Hashable] = frozenset()
        self._next_ranking_s = float("-inf")

    def clear(self) -> None:
        """Forget the ranking."""
        self._holders, self._next_ranking_s = frozenset(), float("-inf")

    def choose(
        self, wanting: list[PeerView], unworthy: Set[Hashable], slots: int, now: float
    ) -> frozenset[Hashable]:
        """Return who has a slot; ``unworthy`` are those that do not use theirs."""
        if now >= self._next_ranking_s:
            self._holders = frozenset()
            self._next_ranking_s = now + self._config.rechoke_interval_s
        givers = [each for each in wanting if not each.is_snubbed and each.key not in unworthy]
        least = worth_bytes_per_s(givers)
        worthy = [
            peer
            for peer in givers
            if peer.key in self._holders or peer.download_bytes_per_s >= least
        ]
        worthy.sort(key=self._rank)
        self._holders = frozenset(peer.key for peer in worthy[:slots])
        return self._holders

    def _rank(self, peer: PeerView) -> tuple[bool, float, bool, float]:
        is_new = peer.key not in self._holders
        return (is_new, -peer.download_bytes_per_s, not peer.unchoked, peer.connected_since_s)


def worth_bytes_per_s(givers: list[PeerView]) -> float:
    """Return the lowest rate that earns a slot."""
    rates = [peer.download_bytes_per_s for peer in givers]
    rates = [rate for rate in rates if rate >= LEAST_BYTES_PER_S]
    mean = sum(rates) / max(len(rates), 1)
    return max(LEAST_BYTES_PER_S, min(WORTH_SHARE * mean, MUCH_BYTES_PER_S))


def gives_much(peer: PeerView, mean_bytes_per_s: float) -> bool:
    """Return whether a peer gives as much as a slot takes on average, or a block a second."""
    least = min(MUCH_BYTES_PER_S, mean_bytes_per_s or MUCH_BYTES_PER_S)
    return not peer.is_snubbed and peer.download_bytes_per_s >= least
