"""Owns who is let in of those that come by themselves, and how many of one address."""

from collections import Counter

from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.operators import operator_of
from torrent_engine.engine.link_lives import LinkLives, Opened
from torrent_engine.engine.peer import Peer
from torrent_engine.engine.pool_places import Place, PoolPlaces
from torrent_engine.engine.torrent import Swarm
from torrent_engine.net.transport import Transport
from torrent_engine.policy.addresses import may_be_shared
from torrent_engine.policy.candidate import count_down
from torrent_engine.policy.candidates import CandidateList, Source


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

    def admit(self, address: PeerAddress) -> Place | None:
        """Take a place for somebody who comes; None if there is none.

        Another peer may have to leave for it. With the place, :meth:`serve` must be called.
        """
        if self._candidates.is_banned(address, None, self._swarm.clock()):
            return None
        if self._is_crowded(address.host) or not self._places.make_room(address):
            return None
        self._per_operator[operator_of(address.host)] += 1
        return self._places.take()

    async def serve(
        self, transport: Transport, address: PeerAddress, received: bytes, place: Place
    ) -> None:
        """Run a link to its end; ``received`` is what came of its handshake already.

        If it comes to nothing, that tells nothing of a dial to where it came from, which may go on.
        """
        timeout_s = self._swarm.shared_config.wire.handshake_timeout_s
        try:
            connection = self._lives.new_connection()
            opened = Opened(transport, address, Source.INCOMING, connection, timeout_s, received)
            await self._lives.serve(opened, place)
        finally:
            place.end()
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
