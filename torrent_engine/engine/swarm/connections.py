"""Life of a torrent's connections, from the handshake to the end.

Source: BEP 3 (handshake).
"""

import logging
from dataclasses import dataclass
from functools import partial

from torrent_engine.base.config import ConnectionEncryption
from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.engine.bounded_log import BoundedLog
from torrent_engine.engine.events import PeerConnected, PeerDisconnected
from torrent_engine.engine.resources.network import Network
from torrent_engine.engine.swarm.context import Swarm
from torrent_engine.engine.swarm.duplicates import (
    CONNECTED_ALREADY,
    DuplicateLinks,
    linked,
    takes_its_place,
)
from torrent_engine.engine.swarm.eviction import note_seed, said_before
from torrent_engine.engine.swarm.handshake import new_connection
from torrent_engine.engine.swarm.own_addresses import OwnAddresses
from torrent_engine.engine.swarm.parked_links import ParkedLinks
from torrent_engine.engine.swarm.peer import Identity, Peer
from torrent_engine.engine.swarm.peer_serving import NEVER, ConnectionService
from torrent_engine.engine.swarm.pool_limits import ConnectionPlace, PoolLimits
from torrent_engine.engine.swarm.pool_role import PoolRole
from torrent_engine.net.peers.peer_link import PeerLink
from torrent_engine.net.peers.transport import Transport
from torrent_engine.policy.peers.candidates import CandidateList, Source
from torrent_engine.policy.peers.external_address import ExternalAddresses
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.messages import HandshakeReceived

logger = logging.getLogger(__name__)
_connects = BoundedLog(logger)


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection that is open, before the handshake of BEP 3."""

    transport: Transport
    address: PeerAddress
    source: Source
    connection: PeerConnection
    timeout_s: float
    """How long the handshake may take."""
    received: bytes = b""
    """What came of it already."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ended."""

    reason: str | None
    """None: the whole pool was stopped."""
    has_joined: bool
    """It was that of a peer."""
    was_answered: bool
    """Whether the other side has sent anything."""
    timed_out: bool
    """Its handshake did not come in time."""

    @property
    def was_hung_up_on(self) -> bool:
        """Whether the other side accepted and closed without sending anything."""
        return not self.was_answered and not self.timed_out

    @property
    def is_nobodys_fault(self) -> bool:
        """Whether the candidate is as good as before, or was dealt with."""
        return self.has_joined or self.reason in {None, CONNECTED_ALREADY}


class Connections:
    """Serves connections, each in a task of its caller."""

    def __init__(
        self,
        swarm: Swarm,
        candidates: CandidateList,
        places: PoolLimits,
        role: PoolRole,
        network: Network,
        external_addresses: ExternalAddresses,
    ) -> None:
        self.own = OwnAddresses(candidates, swarm.shared_config.listen_hosts, external_addresses)
        self.kept = ParkedLinks(places.slots)
        """Whose links were detached, once they have ended here."""
        self._swarm = swarm
        self._candidates = candidates
        self._places = places
        self._role = role
        self._network = network
        self._duplicates = DuplicateLinks(candidates)

    def new_connection(self, *, is_v2: bool | None = None) -> PeerConnection:
        """Return the protocol of a link that begins; our handshake is the first that it sends.

        ``is_v2`` says of a hybrid whether we begin with its v2 info-hash; None: the peer begins.
        """
        return new_connection(self._swarm, self._role.greeting, is_v2=is_v2)

    async def serve(self, opened: Opened, place: ConnectionPlace) -> Ending:
        """Run one connection from its handshake to its end, or until it is detached."""
        link = PeerLink(
            opened.transport,
            opened.address,
            opened.connection,
            gate=self._role.gate,
            budget=self._swarm.link_budget,
            clock=self._swarm.clock,
        )
        self.own.exclude_local(opened.transport.local_host)
        join = partial(self._join, place=place, source=opened.source)
        serving = ConnectionService(link, join, self._role.handle)
        return await self._run(link, serving, opened.received, opened.timeout_s)

    async def serve_adopted(self, peer: Peer) -> None:
        """Serve a peer of an earlier run; its messages from then are processed again."""
        link, now = peer.link, self._swarm.clock()
        link.set_gate(self._role.gate)
        serving = ConnectionService(link, lambda _link, _handshake: None, self._role.handle, peer)
        peer.is_adopted = True
        self._swarm.peers.add(peer)
        self._role.greeting.greet(peer, self.own.port_seen_by(peer.address.host))
        self._role.on_joined(peer)
        said = said_before(peer, self._role.greeting.geometry, now)
        if peer.while_dormant is not None:
            self.announce(peer)
            said += peer.while_dormant.events
            peer.while_dormant = None
        self._role.handle(peer, said)
        await self._run(link, serving, b"", NEVER)

    async def _run(
        self, link: PeerLink, serving: ConnectionService, received: bytes, timeout_s: float
    ) -> Ending:
        """Run a link; its errors end here."""
        reason: str | None = None
        try:
            now = self._swarm.clock()
            reason = await serving.run(received, now=now, timeout_s=timeout_s)
        except TorrentEngineError as error:
            reason = str(error)
        except Exception:
            logger.exception("peer %s: internal error in its connection", link.address)
            reason = "internal error"
        finally:
            if serving.peer is not None and link.is_detached:
                self.kept.keep(serving.peer)
            else:
                link.close()
                self._ended(serving.peer, link.address, reason)
        return Ending(reason, serving.peer is not None, serving.is_answered, serving.timed_out)

    def _ended(self, peer: Peer | None, address: PeerAddress, reason: str | None) -> None:
        if peer is None:
            _connects.debug("%s: no handshake: %s", address, reason)
        else:
            note_seed(peer, self._candidates)
            self._leave(peer)
            self._release(peer, reason)
            self.announce(peer)
            info_hash = self._swarm.info_hash
            _connects.debug("%s: %s left: %s", info_hash.hex(), peer.address, reason or "stopped")
            self._swarm.bus.publish(PeerDisconnected(info_hash, peer.address, reason or "stopped"))

    def _leave(self, peer: Peer) -> None:
        self._swarm.peers.discard(peer)
        self._places.slots.left(peer.address.host)
        self._role.on_left(peer)
        self._places.wake()

    def _release(self, peer: Peer, reason: str | None) -> None:
        """Note the end of a peer's link; without a reason the whole pool was stopped."""
        ended = self._duplicates.released(peer)
        if reason != CONNECTED_ALREADY:
            ended.append(peer.address)
        if reason is not None:
            now, is_good = self._swarm.clock(), not peer.connection.is_violated
            for each in ended:
                self._candidates.mark_disconnected(
                    each, now, good=is_good, reconnects_soon=peer.reconnects_soon
                )

    # -- who becomes a peer -------------------------------------------------------------------

    def _join(
        self,
        link: PeerLink,
        handshake: HandshakeReceived,
        *,
        place: ConnectionPlace,
        source: Source,
    ) -> Peer | None:
        """Create a peer after its handshake; return None if it is refused."""
        swarm, now = self._swarm, self._swarm.clock()
        is_incoming = source is Source.INCOMING
        if handshake.peer_id == swarm.peer_id:
            if not is_incoming:  # from where somebody came says nothing of where we listen
                self._candidates.exclude(link.address)
            link.end("it is ourselves")
            return None
        if self._candidates.is_banned(link.address, handshake.peer_id, now):
            link.end("banned")
            return None
        identity = Identity(link.address, handshake.peer_id)
        old = linked(swarm.peers, identity)
        if old and not takes_its_place(old, swarm.peer_id, now, is_incoming=is_incoming):
            self._duplicates.end(link, old, now)
            return None
        if not place.join(link.address, replaces=old is not None):
            link.end("no place for one more")
            return None
        peer = Peer(link, identity, source, swarm.shared_config.transfer, now)
        swarm.peers.add(peer)
        self._places.slots.joined(link.address.host)
        self._places.slots.dial_succeeded()
        self._candidates.mark_connected(link.address, now)
        if old is not None:
            self._duplicates.end(old.link, peer, now)
        self._welcome(peer)
        return peer

    def _welcome(self, peer: Peer) -> None:
        if not peer.is_incoming:
            transport = peer.link.transport
            is_encrypted = transport.encryption is not ConnectionEncryption.NONE
            self._network.dial_strategy.worked(
                peer.address, transport.protocol, is_encrypted=is_encrypted
            )
        self._role.greeting.greet(peer, self.own.port_seen_by(peer.address.host))
        self._role.on_joined(peer)
        if not peer.connection.state.extensions_enabled:
            self.announce(peer)

    def announce(self, peer: Peer) -> None:
        """Publish PeerConnected for a peer, once."""
        if peer.is_announced:
            return
        peer.is_announced = True
        transport = peer.link.transport
        _connects.debug(
            "%s: connected to %s (%r, %s, encryption %s)",
            self._swarm.info_hash.hex(),
            peer.address,
            peer.client,
            transport.protocol,
            transport.encryption,
        )
        self._swarm.bus.publish(
            PeerConnected(
                self._swarm.info_hash,
                peer.address,
                peer.client,
                peer.is_incoming,
                transport.protocol,
                transport.encryption,
            )
        )
