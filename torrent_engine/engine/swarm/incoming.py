"""Admission of incoming connections, with a limit for each address."""

from collections import Counter
from typing import NamedTuple

import anyio

from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.operators import operator_of
from torrent_engine.engine.swarm.connections import Connections, Opened
from torrent_engine.engine.swarm.context import Swarm
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.engine.swarm.pool_limits import IncomingPlace, PoolLimits
from torrent_engine.net.peers.transport import Transport
from torrent_engine.policy.addresses import may_be_shared
from torrent_engine.policy.peers.candidate import count_down
from torrent_engine.policy.peers.candidates import CandidateList, Source


class Admitted(NamedTuple):
    """An admitted incoming connection."""

    place: IncomingPlace
    scope: anyio.CancelScope
    """Ends the connection while it has no handshake."""


class IncomingConnections:
    """Serves incoming connections."""

    def __init__(
        self, swarm: Swarm, candidates: CandidateList, places: PoolLimits, connections: Connections
    ) -> None:
        self._per_operator: Counter[str] = Counter()
        """Those that are served, before their handshake too."""
        self._swarm = swarm
        self._config = swarm.shared_config.pool
        self._candidates = candidates
        self._places = places
        self._connections = connections

    def admit(self, address: PeerAddress) -> "Admitted | None":
        """Reserve a place for an incoming connection; return None if there is none.

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
            connection = self._connections.new_connection()
            opened = Opened(transport, address, Source.INCOMING, connection, timeout_s, received)
            with admitted.scope:
                await self._connections.serve(opened, admitted.place)
        finally:
            admitted.place.end()
            count_down(self._per_operator, operator_of(address.host))

    async def serve_adopted(self, peer: Peer) -> None:
        """Go on with a peer that came before the metadata."""
        operator = operator_of(peer.address.host)
        self._per_operator[operator] += 1
        try:
            await self._connections.serve_adopted(peer)
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
        return dialled + self._per_operator[operator] >= self._config.max_connections_per_ip
