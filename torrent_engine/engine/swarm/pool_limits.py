"""Connection limits of one torrent, and replacement of peers (BEP 40).

An outgoing connection counts from its start. An incoming one counts from its handshake: until then
it is one of the half-open connections of all torrents, which have a limit of their own, so that
they neither prevent dials nor replace peers.
Source: BEP 40; row B5.
"""

from collections.abc import Callable
from typing import Final, Protocol

from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.operators import operator_of
from torrent_engine.engine.resources.connection_slots import TOO_MANY, ConnectionSlots, Evictable
from torrent_engine.engine.swarm.context import Swarm
from torrent_engine.engine.swarm.eviction import by_chance, idle_s, is_active, least_useful
from torrent_engine.engine.swarm.parked_links import ParkedLinks
from torrent_engine.policy.peers.candidates import CandidateList
from torrent_engine.policy.peers.replacement import Replacement

IDLE_END_INTERVAL_S: Final = 60.0  # ours: a torrent loses few of those that wait to be unchoked

REPLACED: Final = "another peer came in its place"


class ConnectionPlace(Protocol):
    """Where a connection is counted until its handshake has come, or will not."""

    def join(self, address: PeerAddress, *, replaces: bool) -> bool:
        """Turn the place into that of a peer; return False if there is none.

        ``replaces``: the link of another ends for it in any case.
        """

    def end(self) -> None:
        """Release it, unless a peer has it; twice is harmless."""


class PoolLimits:
    """Counts dials, handshakes and connections against the limits."""

    def __init__(
        self,
        swarm: Swarm,
        candidates: CandidateList,
        slots: ConnectionSlots,
        wake: Callable[[], None],
        links: ParkedLinks | None,
    ) -> None:
        self.half_open = 0
        """Dials of ours under way, their handshakes included."""
        self.half_open_incoming = 0
        """Connections that others began and whose handshake is not here yet."""
        self.slots = slots.share(self._least_useful, self._least_active)
        self.adopted = ParkedLinks(self.slots) if links is None else links
        """Connections of an earlier run that wait to be served."""
        self._swarm = swarm
        self._config = swarm.shared_config.pool
        self._next_idle_end_s = float("-inf")
        self._replacement = Replacement(self._config, candidates)
        self._half_open_incoming = slots.half_open_incoming
        self._all = slots
        self.wake = wake
        """Starts dials at once if some are possible."""

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
        return connections < self.limit

    @property
    def limit(self) -> int:
        """How many connections the torrent may have."""
        return self._swarm.config.max_connections or self._all.per_torrent

    def end_excess(self, now: float) -> None:
        """End the least useful connections where the limit was lowered."""
        staying = [peer for peer in self._swarm.peers if peer.link.close_reason is None]
        while len(staying) > self.limit and (peer := least_useful(staying, now)) is not None:
            staying.remove(peer)
            peer.link.end(TOO_MANY)

    def end_idle(self, now: float) -> None:
        """End one link that carried nothing for long, while all torrents are short of them.

        One a minute at most, so that who waits long for its turn mostly stays.
        """
        if not self._all.is_short or now < self._next_idle_end_s:
            return
        longest_s = self._swarm.shared_config.wire.inactivity_timeout_s
        idle = (peer for peer in by_chance(self._swarm.peers) if idle_s(peer, now) > longest_s)
        if (peer := least_useful(idle, now)) is not None:
            self._next_idle_end_s = now + IDLE_END_INTERVAL_S
            peer.link.end("idle for long, and others need the connection")

    def take(self) -> "DialPlace":
        """Reserve a place for a dial."""
        self.slots.take(self.half_open)
        self.half_open += 1
        return DialPlace(self)

    def let_in(self, address: PeerAddress, leave: Callable[[], None]) -> "IncomingPlace | None":
        """Return a place among the half-open incoming connections; None if there is none.

        ``leave()`` may be called once while it is held: another connection needs the place.
        """
        ticket = self._half_open_incoming.enter(address, leave)
        if ticket is None:
            return None
        self.half_open_incoming += 1
        return IncomingPlace(self, address, ticket)

    def incoming_left(self, address: PeerAddress, ticket: object) -> None:
        """Stop counting a half-open incoming connection."""
        self.half_open_incoming -= 1
        self._half_open_incoming.left(address, ticket)

    def take_for_incoming(self, address: PeerAddress, *, replaces: bool) -> bool:
        """Reserve a place after a handshake; return False if there is none."""
        if not replaces and not self._make_room(address):
            return False
        self.slots.take_for_incoming()
        return True

    def half_open_ended(self) -> None:
        """Count one dial less: there is a peer, or there will be none."""
        self.half_open -= 1
        self.wake()

    def give_back(self) -> None:
        """Count one connection less."""
        self.slots.give_back()
        self.wake()

    def _make_room(self, new_peer: PeerAddress) -> bool:
        """Return whether a peer may come; an idle one may leave for it (BEP 40)."""
        if operator_of(new_peer.host) in self._all.crowded:
            return False
        if self._has_some and self.slots.has_room_for_incoming(new_peer.host):
            return True
        now, replaceable = self._swarm.clock(), tuple(by_chance(self._swarm.peers))
        links = {peer.address: peer.link for peer in replaceable}
        idle = {peer.address: idle_s(peer, now) for peer in replaceable}
        leaving = self._replacement.peer_to_replace(new_peer, idle, now)
        if leaving is not None:
            links[leaving].end(REPLACED)
        return leaving is not None

    def _least_useful(self) -> Evictable | None:
        peer = least_useful(self._swarm.peers, self._swarm.clock())
        return None if peer is None else peer.link

    def _least_active(self) -> Evictable | None:
        now = self._swarm.clock()
        peer = least_useful((p for p in self._swarm.peers if not is_active(p, now)), now)
        return None if peer is None else peer.link


class DialPlace:
    """The place of a connection that we dial."""

    __slots__ = ("_is_half_open", "_places")

    def __init__(self, places: PoolLimits) -> None:
        self._places = places
        self._is_half_open = True

    def join(self, _address: PeerAddress, *, replaces: bool) -> bool:
        """Transfer the place to a peer; return True."""
        self._is_half_open = False
        self._places.half_open_ended()
        return True

    def end(self) -> None:
        """Release it, unless a peer has it; twice is harmless."""
        if self._is_half_open:
            self._is_half_open = False
            self._places.half_open_ended()
            self._places.give_back()


class IncomingPlace:
    """The place of an incoming connection."""

    __slots__ = ("_address", "_is_new", "_places", "_ticket")

    def __init__(self, places: PoolLimits, address: PeerAddress, ticket: object) -> None:
        self._places = places
        self._address = address
        self._ticket = ticket
        self._is_new = True

    def join(self, address: PeerAddress, *, replaces: bool) -> bool:
        """Reserve a place for a peer; return False if there is none."""
        self.end()
        return self._places.take_for_incoming(address, replaces=replaces)

    def end(self) -> None:
        """Release the place of a half-open connection; twice is harmless."""
        if self._is_new:
            self._is_new = False
            self._places.incoming_left(self._address, self._ticket)
