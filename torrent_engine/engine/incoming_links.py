"""Owns who is let in of those that come by themselves, and how many of one address."""

from collections import Counter
from typing import NamedTuple

import anyio

from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.operators import operator_of
from torrent_engine.engine.link_lives import LinkLives, Opened
from torrent_engine.engine.peer import Peer
from torrent_engine.engine.pool_places import NewcomerPlace, PoolPlaces
from torrent_engine.engine.torrent import Swarm
from torrent_engine.net.transport import Transport
from torrent_engine.policy.addresses import may_be_shared
from torrent_engine.policy.candidate import count_down
from torrent_engine.policy.candidates import CandidateList, Source


class Admitted(NamedTuple):
    """Somebody who was let in."""

    place: NewcomerPlace
    scope: anyio.CancelScope
    """Ends the connection while it has no handshake."""


class IncomingLinks:
    """Serves links that others began."""

    def __init__(
        self, swarm: Swarm, candidates: CandidateList, places: PoolPlaces, lives: LinkLives
    ) -> None:
        self._per_operator: Counter[str] = Counter()
        """Those that are served, before their handshake too."""
        self._swarm = swarm
        self._config = swarm.shared_config.pool
        self._candidates = candidates
        self._places = places
        self._lives = lives

    def admit(self, address: PeerAddress) -> "Admitted | None":
        """Let somebody in who comes; None if there is no place.

        With what is returned, :meth:`serve` must be called.
        """
        if self._candidates.is_banned(address, None, self._swarm.clock()):
            return None
        if self._is_crowded(address.host):
            return None
        scope = anyio.CancelScope()
        place = self._places.let_in(address, scope.cancel)
        if place is None:
            return None
        self._per_operator[operator_of(address.host)] += 1
        return Admitted(place, scope)

    async def serve(
        self, transport: Transport, address: PeerAddress, received: bytes, admitted: "Admitted"
    ) -> None:
        """Run a link to its end; ``received`` is what came of its handshake already.

        If it comes to nothing, that tells nothing of a dial to where it came from, which may go on.
        """
        timeout_s = self._swarm.shared_config.wire.handshake_timeout_s
        try:
            connection = self._lives.new_connection()
            opened = Opened(transport, address, Source.INCOMING, connection, timeout_s, received)
            with admitted.scope:
                await self._lives.serve(opened, admitted.place)
        finally:
            admitted.place.end()
            count_down(self._per_operator, operator_of(address.host))

    async def serve_adopted(self, peer: Peer) -> None:
        """Go on with a peer that came before the metadata."""
        operator = operator_of(peer.address.host)
        self._per_operator[operator] += 1
        try:
            await self._lives.serve_adopted(peer)
        finally:
            count_down(self._per_operator, operator)

    def _is_crowded(self, host: str) -> bool:
        """Return whether an operator has its links, those that have not shaken hands included."""
        if may_be_shared(host, self._config):
            return False
        operator = operator_of(host)
        dialled = sum(
            not peer.is_incoming and operator_of(peer.address.host) == operator
            for peer in self._swarm.peers
        )
        return dialled + self._per_operator[operator] >= self._config.max_per_ip
