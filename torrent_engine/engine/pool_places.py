"""The places for connections of one torrent: how many there are, and who leaves for whom.

A connection that we dial has a place from its start on. One that somebody else begins gets its
place with its handshake: until then it counts among the newcomers of all torrents, of whom there
are so many, so that half-open ones neither keep us from dialling nor end the link of a peer.
Source: BEP 40; row B5.
"""

from collections.abc import Callable, Sized
from typing import Protocol

from torrent_engine.base.ids import PeerAddress
from torrent_engine.engine.connection_slots import ConnectionSlots, Lent
from torrent_engine.engine.link_upkeep import least_useful
from torrent_engine.engine.torrent import Swarm
from torrent_engine.policy.candidates import CandidateList, Source
from torrent_engine.policy.replacement import Replacement


class Place(Protocol):
    """Where a connection is counted until its handshake has come, or will not."""

    def join(self, address: PeerAddress, *, replaces: bool) -> bool:
        """Give the connection a place as a peer, who gives it back; False if there is none.

        ``replaces``: the link of another ends for it in any case.
        """

    def end(self) -> None:
        """Give it back, unless a peer has it; twice is harmless."""


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
        """Dials of ours under way, their handshakes included."""
        self.newcomers = 0
        """Connections that others began and whose handshake is not here yet."""
        self.slots = slots.share(self._least_useful)
        self.adopted: Sized = ()
        """Links that wait to be served."""
        self._swarm = swarm
        self._config = swarm.shared_config.pool
        self._replacement = Replacement(self._config, candidates)
        self._all_newcomers = slots.newcomers
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

    def take(self) -> "DialPlace":
        """Take a place for a dial."""
        self.slots.take(self.half_open)
        self.half_open += 1
        return DialPlace(self)

    def let_in(self, address: PeerAddress, leave: Callable[[], None]) -> "NewcomerPlace | None":
        """Return a place among the newcomers; None if there is none.

        ``leave()`` may be called once while it is held: another newcomer needs the place.
        """
        ticket = self._all_newcomers.enter(address, leave)
        if ticket is None:
            return None
        self.newcomers += 1
        return NewcomerPlace(self, address, ticket)

    def newcomer_left(self, address: PeerAddress, ticket: object) -> None:
        """Count one newcomer less."""
        self.newcomers -= 1
        self._all_newcomers.left(address, ticket)

    def take_for_newcomer(self, address: PeerAddress, *, replaces: bool) -> bool:
        """Take a place for a connection whose handshake came; False if there is none."""
        if not replaces and not self._make_room(address):
            return False
        self.slots.take()
        return True

    def half_open_ended(self) -> None:
        """Count one dial less: there is a peer, or there will be none."""
        self.half_open -= 1
        self.wake()

    def give_back(self) -> None:
        """Count one connection less."""
        self.slots.give_back()
        self.wake()

    def _make_room(self, newcomer: PeerAddress) -> bool:
        """Return whether a peer may come; one of lower priority leaves for it (BEP 40)."""
        if self._has_some and self.slots.has_room():
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


class DialPlace:
    """The place of a connection that we dial."""

    __slots__ = ("_is_half_open", "_places")

    def __init__(self, places: PoolPlaces) -> None:
        self._places = places
        self._is_half_open = True

    def join(self, _address: PeerAddress, *, replaces: bool) -> bool:
        """Leave the place to a peer; return True."""
        self._is_half_open = False
        self._places.half_open_ended()
        return True

    def end(self) -> None:
        """Give it back, unless a peer has it; twice is harmless."""
        if self._is_half_open:
            self._is_half_open = False
            self._places.half_open_ended()
            self._places.give_back()


class NewcomerPlace:
    """The place of a connection that somebody else began."""

    __slots__ = ("_address", "_is_new", "_places", "_ticket")

    def __init__(self, places: PoolPlaces, address: PeerAddress, ticket: object) -> None:
        self._places = places
        self._address = address
        self._ticket = ticket
        self._is_new = True

    def join(self, address: PeerAddress, *, replaces: bool) -> bool:
        """Take a place for a peer; False if there is none."""
        self.end()
        return self._places.take_for_newcomer(address, replaces=replaces)

    def end(self) -> None:
        """Be no newcomer any more; twice is harmless."""
        if self._is_new:
            self._is_new = False
            self._places.newcomer_left(self._address, self._ticket)
