"""Construction of a torrent's connection pool with PEX, metadata exchange and holepunching.

The metadata run and the transfer run of a torrent both use it. Source: BEP 9, BEP 11, BEP 55;
BEP 27: a private torrent has neither PEX nor holepunching.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torrent_engine.base.ids import PeerAddress
from torrent_engine.engine.extensions.holepunch import Holepunch
from torrent_engine.engine.extensions.pex import PeerExchange, PexPorts
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.swarm.context import Swarm
from torrent_engine.engine.swarm.extension_ids import punches_holes
from torrent_engine.engine.swarm.handshake import Greeting
from torrent_engine.engine.swarm.parked_links import ParkedLinks
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.engine.swarm.peer_dispatch import (
    ExtensionHandler,
    PeerHandlers,
    take_upload_only,
)
from torrent_engine.engine.swarm.peer_pool import PeerPool, PoolRole
from torrent_engine.engine.swarm.source_totals import SourceTotals
from torrent_engine.net.peers.peer_link import Gate
from torrent_engine.policy.peers.candidates import CandidateList
from torrent_engine.protocol.wire.exchange import UT_PEX
from torrent_engine.protocol.wire.extension import UPLOAD_ONLY
from torrent_engine.protocol.wire.holepunch import UT_HOLEPUNCH
from torrent_engine.protocol.wire.messages import PeerEvent
from torrent_engine.protocol.wire.metadata import UT_METADATA


class MetadataHandler(Protocol):
    """The ut_metadata extension of one torrent (BEP 9)."""

    def on_extension_handshake(self, peer: Peer) -> None:
        """Process that a peer named its extensions; may be called again."""

    def on_message(self, peer: Peer, payload: bytes) -> None:
        """Process a message. Raises RemoteProtocolError if it is malformed."""

    def on_left(self, peer: Peer) -> None:
        """Drop the state of a peer whose connection has ended."""


EventHandler = Callable[[Peer, list[PeerEvent]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmSpec:
    """What differs between the runs of a torrent."""

    greeting: Greeting
    gate: Gate
    metadata: MetadataHandler
    dispatch: Callable[[PeerHandlers], EventHandler]
    """Return what handles the events of each read of a peer."""
    on_joined: Callable[[Peer], None] = lambda _peer: None
    """Called when a peer has completed the handshake."""
    on_left: Callable[[Peer], None] = lambda _peer: None
    """Called when the connection of a peer has ended."""
    is_private: bool = False
    links: ParkedLinks | None = None
    """Connections of an earlier run to go on with."""
    pex: PeerExchange | None = None
    """Peer exchange of an earlier run to go on with."""


class SwarmParts:
    """The pool, peer exchange, metadata exchange and holepunching of one torrent."""

    def __init__(
        self, swarm: Swarm, shared: SharedResources, candidates: CandidateList, spec: SwarmSpec
    ) -> None:
        self.source_totals = SourceTotals(candidates)
        self._spec = spec
        self._shared = shared
        extensions: dict[str, ExtensionHandler] = {
            UT_METADATA: spec.metadata.on_message,
            UPLOAD_ONLY: take_upload_only,
        }
        self.pool = self._make_pool(swarm, candidates, extensions)
        self.holepunch = self._make_holepunch(swarm)
        if self.holepunch is not None:
            extensions[UT_HOLEPUNCH] = self.holepunch.on_message
        self.pex = self._make_pex(swarm, candidates)
        if self.pex is not None:
            extensions[UT_PEX] = self.pex.on_message

    def tick(self, now: float) -> None:
        """Close useless connections and send PEX messages that are due; call once a second."""
        self.pool.tick(now)
        if self.pex is not None:
            self.pex.tick(now)

    def _make_pool(
        self,
        swarm: Swarm,
        candidates: CandidateList,
        extensions: Mapping[str, ExtensionHandler],
    ) -> PeerPool:
        spec, shared = self._spec, self._shared
        handlers = PeerHandlers(extensions, self._on_extension_handshake, self._on_dht_port)
        role = PoolRole(
            greeting=spec.greeting,
            handle=spec.dispatch(handlers),
            on_joined=self._on_joined,
            on_left=self._on_left,
            on_unreached=self._on_unreached,
            gate=spec.gate,
        )
        return PeerPool(swarm, candidates, shared, role, links=spec.links)

    def _make_holepunch(self, swarm: Swarm) -> Holepunch | None:
        network = swarm.shared_config.network
        if self._spec.is_private or not punches_holes(network):
            return None
        return Holepunch(network.holepunch, swarm.peers, self.pool, swarm.clock, self._named_by)

    def _make_pex(self, swarm: Swarm, candidates: CandidateList) -> PeerExchange | None:
        config, earlier = swarm.shared_config, self._spec.pex
        if not config.pex.enabled or self._spec.is_private:
            return None
        encrypt = self._shared.network.dial_strategy.note_encryption_preference
        ports = PexPorts(self.pool.wake, encrypt, self.holepunch)
        if earlier is not None:
            earlier.rebind(ports)
            return earlier
        return PeerExchange(
            config.pex,
            config.pool,
            candidates,
            clock=swarm.clock,
            rng=swarm.rng,
            ports=ports,
        )

    # -- events of the pool -------------------------------------------------------------------

    def _on_joined(self, peer: Peer) -> None:
        self.source_totals.joined(peer)
        self._spec.on_joined(peer)
        # An extension handshake came in an earlier run, or may never come (BEP 10 is an option).
        # Where an incoming peer listens is known by it only.
        if self.pex is not None and (peer.is_adopted or not peer.is_incoming):
            self.pex.on_joined(peer)

    def _on_left(self, peer: Peer) -> None:
        self.source_totals.left(peer)
        self._spec.metadata.on_left(peer)
        if self.pex is not None:
            self.pex.on_left(peer)
        if self.holepunch is not None:
            self.holepunch.on_left(peer)
        self._spec.on_left(peer)

    def _on_extension_handshake(self, peer: Peer) -> None:
        self.pool.announce(peer)
        self._spec.metadata.on_extension_handshake(peer)
        if self.pex is not None:
            self.pex.on_joined(peer)

    def _on_dht_port(self, peer: Peer, port: int) -> None:
        if not self._spec.is_private:
            self._shared.discovery.add_dht_node(peer.address.host, port)

    def _on_unreached(self, address: PeerAddress) -> None:
        if self.holepunch is not None:
            self.holepunch.not_reached(address)

    def _named_by(self, address: PeerAddress) -> list[Peer]:
        return [] if self.pex is None else self.pex.sources_of(address)
