"""Owns the places for connections of one torrent: how many there are, and who leaves for whom.

Source: BEP 40.
"""

from collections.abc import Callable, Sized

from torrent_engine.base.ids import PeerAddress
from torrent_engine.engine.connection_slots import ConnectionSlots, Lent
from torrent_engine.engine.link_upkeep import least_useful
from torrent_engine.engine.torrent import Swarm
from torrent_engine.policy.candidates import CandidateList, Source
from torrent_engine.policy.replacement import Replacement


class PoolPlaces:
    """Counts what is dialled, shakes hands or is linked, against the limits."""

    def __init__(
        self,
        swarm: Swarm,
        candidates: CandidateList,
        slots: ConnectionSlots,
        wake: Callable[[], None],
    ) -> None:
        self.half_open = 0
        """Dials and handshakes under way."""
        self.slots = slots.share(self._least_useful)
        self.adopted: Sized = ()
        """Links that wait to be served."""
        self._swarm = swarm
        self._config = swarm.shared_config.pool
        self._replacement = Replacement(self._config, candidates)
        self.wake = wake
        """Looks at once whether somebody can be dialled."""

    @property
    def may_dial_more(self) -> bool:
        """Whether the limits of this torrent allow one more dial."""
        return self._has_some and self.half_open < self._config.max_half_open

    @property
    def has_slot(self) -> bool:
        """Whether the limit of all torrents allows one more connection."""
        return self.slots.has_room(self.half_open)

    @property
    def _has_some(self) -> bool:
        connections = len(self._swarm.peers) + self.half_open + len(self.adopted)
        return connections < self._config.max_connections_per_torrent

    def take(self) -> "Place":
        """Take a place for a connection that begins."""
        self.slots.take(self.half_open)
        self.half_open += 1
        return Place(self)

    def half_open_ended(self) -> None:
        """Count one handshake less: there is a peer, or there will be none."""
        self.half_open -= 1
        self.wake()

    def give_back(self) -> None:
        """Count one connection less."""
        self.slots.give_back()
        self.wake()

    def make_room(self, newcomer: PeerAddress) -> bool:
        """Tell whether a peer may come; one of lower priority leaves for it (BEP 40)."""
        if self._has_some and self.has_slot:
            return True
        by_chance = (peer for peer in self._swarm.peers if not peer.source & Source.MANUAL)
        links = {peer.address: peer.link for peer in by_chance}
        leaving = self._replacement.who_leaves(newcomer, links, self._swarm.clock())
        if leaving is not None:
            links[leaving].end("a peer of higher priority came")
        return leaving is not None

    def _least_useful(self) -> Lent | None:
        peer = least_useful(self._swarm.peers, self._swarm.clock())
        return None if peer is None else peer.link


class Place:
    """The place of one connection until its handshake has come, or will not."""

    __slots__ = ("_is_half_open", "_places")

    def __init__(self, places: PoolPlaces) -> None:
        self._places = places
        self._is_half_open = True

    def joined(self) -> None:
        """Leave it to a peer, who gives it back."""
        self._is_half_open = False
        self._places.half_open_ended()

    def end(self) -> None:
        """Give it back, unless a peer has it; twice is harmless."""
        if self._is_half_open:
            self._is_half_open = False
            self._places.half_open_ended()
            self._places.give_back()
