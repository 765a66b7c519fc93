"""The order in which peers are unchoked whatever their rate (BEP 3 and row B12).

A round gives one turn to each peer that was there when it began, in random order. A new peer waits
for the next round; reconnecting gains nothing. A turn that is not used is passed on within seconds.
What an operator of addresses had is remembered for a while after its connection has ended.
"""

import random
from collections.abc import Hashable, Sequence, Set
from dataclasses import dataclass
from typing import Final

from torrent_engine.base.config import ChokerConfig
from torrent_engine.policy.transfer.idle_turns import Penalties
from torrent_engine.policy.transfer.peer_view import PeerView

NEW_PEER_WEIGHT: Final = 3  # BEP 3: new peers are three times as likely to be chosen
NEW_PEER_INTERVALS: Final = 2  # ours: optimistic intervals for which a peer is new
REMEMBERED_S: Final = 3600.0  # ours: how long an operator is known after its connection has ended
MAX_ABSENT: Final = 1_000  # ours: known operators without a connection


@dataclass(slots=True)
class _Standing:
    """What is known of an operator."""

    due_round: int
    """The round in which it may have its next turn."""
    is_remembered: bool
    """It is known by its address, not only by its connection."""
    seen_s: float = 0.0
    had_turn: bool = False


class OptimisticTurns:
    """The turns in progress, and who had one in this round."""

    def __init__(self, config: ChokerConfig, rng: random.Random) -> None:
        self._config = config
        self._rng = rng
        self._began: dict[Hashable, float] = {}  # key of a peer -> when its turn began
        self._standings: dict[Hashable, _Standing] = {}  # least recently seen first
        self.penalties = Penalties()
        """Of operators, or peers where these are not known."""
        self._round = 0
        self._round_began_s: float | None = None
        self._new_since_s = 0.0

    @property
    def keys(self) -> frozenset[Hashable]:
        """The peers whose turn it is."""
        return frozenset(self._began)

    def clear(self) -> None:
        """End all turns."""
        self._began.clear()

    def update(self, peers: Sequence[PeerView], now: float) -> None:
        """Add new peers, end the turns of those that left; ``peers`` are all connected ones."""
        present = {peer.key for peer in peers}
        self._began = {key: began for key, began in self._began.items() if key in present}
        absent, here = self._standings, dict[Hashable, _Standing]()
        for peer in peers:
            if peer.owner not in here:
                known = absent.pop(peer.owner, None)
                here[peer.owner] = known or _Standing(self._round + 1, peer.operator is not None)
                here[peer.owner].seen_s = now
        self._standings = self._remembered(absent, now) | here
        self.penalties.keep(self._standings)

    def turn_s(self, peer: PeerView, now: float) -> float:
        """Return for how long an unchoked peer has had its present turn or slot."""
        return now - max(self._began.get(peer.key, peer.unchoked_since_s), peer.unchoked_since_s)

    def rotate(self, pool: list[PeerView], idle: Set[Hashable], slots: int, now: float) -> None:
        """End the turns that lasted their interval or are ``idle``, and begin others.

        ``pool`` are the peers that want a slot and have no other one.
        """
        expires = now - self._config.optimistic_interval_s
        owners = {peer.key: peer.owner for peer in pool}
        present = [key for key in self._began if key in owners]
        going_on = [key for key in present if self._began[key] > expires and key not in idle]
        ended = {owners[key] for key in set(present) - set(going_on)}
        self._began = {key: self._began[key] for key in going_on[:slots]}
        waiting = [peer for peer in pool if peer.key not in self._began]
        while len(self._began) < slots and waiting:
            chosen = self._draw(waiting, ended, now)
            waiting.remove(chosen)
            standing = self._standings[chosen.owner]
            standing.due_round, standing.had_turn = self._round + 1, True
            self._began[chosen.key] = now

    def _draw(self, waiting: list[PeerView], ended: set[Hashable], now: float) -> PeerView:
        """Draw one of the peers without a turn in this round, or begin the next round."""
        waiting = [p for p in waiting if not self.penalties.is_last(p.owner, now)] or waiting
        if not (due := self._due(waiting)):
            self._begin_round(now)
            due = self._due(waiting)
        due = [peer for peer in due if peer.owner not in ended] or due
        return self._rng.choices(due, [self._weight(peer) for peer in due])[0]

    def _due(self, waiting: list[PeerView]) -> list[PeerView]:
        return [p for p in waiting if self._standings[p.owner].due_round <= self._round]

    def _begin_round(self, now: float) -> None:
        before = now if self._round_began_s is None else self._round_began_s
        new_s = NEW_PEER_INTERVALS * self._config.optimistic_interval_s
        self._new_since_s = before - new_s  # who came after that was in no round yet, or nearly
        self._round_began_s = now
        self._round += 1

    def _weight(self, peer: PeerView) -> int:
        is_new = peer.connected_since_s > self._new_since_s
        return NEW_PEER_WEIGHT if is_new and not self._standings[peer.owner].had_turn else 1

    @staticmethod
    def _remembered(absent: dict[Hashable, _Standing], now: float) -> dict[Hashable, _Standing]:
        """Return those without a connection that are not forgotten: the last ones seen."""
        kept = [
            (owner, standing)
            for owner, standing in absent.items()
            if standing.is_remembered and standing.seen_s > now - REMEMBERED_S
        ]
        return dict(kept[-MAX_ABSENT:])
