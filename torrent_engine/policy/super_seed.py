"""Decides which pieces a seed shows to whom, so that it sends each of them about once.

A peer is shown few pieces that nobody has, and the next ones when somebody else has those: then it
passes on what it gets. Source: BEP 16.
"""

import random
from dataclasses import dataclass, field
from typing import Final

from torrent_engine.base.config import SuperSeedConfig
from torrent_engine.policy.availability import Availability

FORGET_AFTER: Final = (
    3  # ours: of the patience; who has not fetched a piece by then may not want it
)
SHARE: Final = 32  # ours: a peer is shown one piece in so many at a time, of a small torrent
LONELY: Final = 4  # ours: and so many times that while it is the only one


@dataclass(slots=True)
class _Peer:
    """What one peer has, and was shown."""

    has: int = 0
    shown: int = 0
    waiting: dict[int, float] = field(default_factory=dict)
    """Pieces that it was shown and nobody else has yet, and when."""
    fed_s: float = 0.0
    """When it last got a piece, from anybody, or was shown one."""


class SuperSeed:
    """Owns what each peer was shown; peers are known by keys, pieces are bits."""

    def __init__(
        self,
        piece_count: int,
        piece_bytes: int,
        availability: Availability,
        config: SuperSeedConfig,
        rng: random.Random,
    ) -> None:
        self._all = (1 << piece_count) - 1
        self._availability = availability
        self._config = config
        self._rng = rng
        many = min(config.at_a_time_bytes // piece_bytes, piece_count // SHARE)
        self._at_a_time = max(config.pieces_at_a_time, many)
        lonely = min(config.lonely_bytes // piece_bytes, LONELY * piece_count // SHARE)
        self._lonely = max(self._at_a_time, lonely)
        self._peers: dict[object, _Peer] = {}
        self._owners: dict[int, dict[object, None]] = {}
        """Who waits for each piece to be seen elsewhere."""
        self._out = 0
        self.is_over = False
        """There is another seed: everything is shown to everybody."""

    def joined(self, key: object, now: float) -> None:
        """Take a peer that was shown nothing."""
        self._peers[key] = _Peer(fed_s=now)

    def left(self, key: object) -> None:
        """Forget a peer; what only it was shown is shown to others."""
        peer = self._peers.pop(key, None)
        if peer is not None:
            for piece in tuple(peer.waiting):
                self._settle(key, peer, piece)

    def has(self, key: object, bits: int, now: float) -> list[object]:
        """Take pieces that a peer has; the availability counts them already.

        Returns whom there may be something to show now.
        """
        peer = self._peers.get(key)
        if peer is None:
            return []
        new = bits & ~peer.has
        peer.has |= bits
        peer.fed_s = now
        if self._availability.seeds > 0:
            self.is_over = True
            return list(self._peers)
        fed = {key: None} if len(self._peers) == 1 else {}
        for piece in [piece for piece in self._owners if new >> piece & 1]:
            for owner in [owner for owner in self._owners[piece] if owner != key]:
                self._settle(owner, self._peers[owner], piece)
                fed[owner] = None
        return list(fed)

    def to_show(self, key: object, now: float) -> list[int]:
        """Return the pieces to show to a peer now; they count as shown."""
        peer = self._peers.get(key)
        if peer is None:
            return []
        if self.is_over:
            return self._rest(peer)
        is_lonely = len(self._peers) == 1
        self._settle_old(key, peer, now, is_lonely=is_lonely)
        room = (self._lonely if is_lonely else self._at_a_time) - len(peer.waiting)
        pieces: list[int] = []
        while len(pieces) < room and (piece := self._choose(peer, now)) is not None:
            pieces.append(piece)
            peer.shown |= 1 << piece
            peer.waiting[piece] = peer.fed_s = now
            self._owners.setdefault(piece, {})[key] = None
            self._out |= 1 << piece
        return pieces

    def _rest(self, peer: _Peer) -> list[int]:
        """Return all that a peer neither has nor was shown."""
        hidden = self._all & ~(peer.has | peer.shown)
        peer.shown = self._all
        return [piece for piece in range(hidden.bit_length()) if hidden >> piece & 1]

    def _settle_old(self, key: object, peer: _Peer, now: float, *, is_lonely: bool) -> None:
        """Wait no more for pieces that nobody else fetches, or that this peer does not."""
        patience_s = self._config.patience_s
        for piece, shown_s in tuple(peer.waiting.items()):
            is_here = bool(peer.has >> piece & 1)
            age_s = now - shown_s
            is_old = age_s >= (patience_s if is_here else patience_s * FORGET_AFTER)
            if is_old or (is_lonely and is_here):
                self._settle(key, peer, piece)

    def _settle(self, key: object, peer: _Peer, piece: int) -> None:
        del peer.waiting[piece]
        owners = self._owners[piece]
        del owners[key]
        if not owners:
            del self._owners[piece]
            self._out ^= 1 << piece

    def _choose(self, peer: _Peer, now: float) -> int | None:
        """Choose a piece that nobody has and nobody else was shown; any rare one for the hungry."""
        hidden = self._all & ~(peer.has | peer.shown)
        fresh = self._availability.missing_everywhere(hidden) & ~self._out
        if not fresh and now - peer.fed_s >= self._config.patience_s:
            fresh = self._availability.rarest(hidden) if hidden else 0
        if not fresh:
            return None
        start = self._rng.randrange(fresh.bit_length())
        rest = fresh >> start
        return start + (rest & -rest).bit_length() - 1
