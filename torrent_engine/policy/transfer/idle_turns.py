"""Upload slots that are given to a peer and not used (row B12).

A peer that downloads next to nothing loses its turn within seconds and is ranked last for a penalty
time, which doubles with each unused turn in a row.
"""

from collections.abc import Container, Hashable
from dataclasses import dataclass
from typing import Final

from torrent_engine.policy.transfer.peer_view import PeerView

IDLE_TURN_S: Final = 3.0  # ours: how long a turn may stay unused while others wait
ALL_IDLE_TURN_S: Final = 10.0  # ours: the same while no peer downloads; the cause may be ours
IDLE_SHARE: Final = 0.05  # ours: of the mean rate of a slot; a turn below it is unused
FIRST_PENALTY_S: Final = 15.0  # ours: after an unused turn; doubled after each further one
MAX_DOUBLINGS: Final = 6


def is_unused(peer: PeerView, turn_s: float, mean_bytes_per_s: float) -> bool:
    """Return whether a peer downloads next to nothing, compared with the mean rate of a slot."""
    if peer.is_held_back:
        return False
    if not mean_bytes_per_s:
        return turn_s >= ALL_IDLE_TURN_S
    return turn_s >= IDLE_TURN_S and peer.upload_bytes_per_s < IDLE_SHARE * mean_bytes_per_s


@dataclass(frozen=True, slots=True)
class _Penalty:
    """The time until which a peer is ranked last, and its unused turns in a row."""

    until_s: float
    times: int


class Penalties:
    """Who is ranked last."""

    def __init__(self) -> None:
        self._penalties: dict[Hashable, _Penalty] = {}

    def add(self, key: Hashable, now: float) -> None:
        """Count an unused turn."""
        times = self._penalties[key].times + 1 if key in self._penalties else 0
        times = min(times, MAX_DOUBLINGS)
        self._penalties[key] = _Penalty(now + FIRST_PENALTY_S * 2**times, times)

    def lift(self, key: Hashable) -> None:
        """Count a turn that was used."""
        self._penalties.pop(key, None)

    def is_last(self, key: Hashable, now: float) -> bool:
        """Return whether a peer comes after all others."""
        penalty = self._penalties.get(key)
        return penalty is not None and now < penalty.until_s

    def keep(self, keys: Container[Hashable]) -> None:
        """Forget all others."""
        self._penalties = {key: each for key, each in self._penalties.items() if key in keys}
