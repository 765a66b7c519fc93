"""Incoming connections of a dormant torrent: the handshake is answered without a run.

A handshake costs a remote host 48 bytes and a run costs us much more, so only what we have (BEP 3,
BEP 6; BEP 16: nothing) and our extensions (BEP 10) are sent. A run begins for a peer that is
interested in pieces, asks for metadata, or hashes (BEP 52), or has pieces that we miss, and for any
peer of a super-seed, to which it shows pieces; it continues with the links.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.operators import operator_of
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.engine.dormancy.snapshot import TorrentSnapshot
from torrent_engine.engine.resources.connection_slots import SlotShare
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.runs.metadata_run import NoGate
from torrent_engine.engine.swarm.context import Swarm
from torrent_engine.engine.swarm.extension_ids import local_extensions
from torrent_engine.engine.swarm.handshake import extension_handshake, new_connection, send_dht_port
from torrent_engine.engine.swarm.parked_links import ParkedLinks
from torrent_engine.engine.swarm.peer import DormantExchange, Identity, Peer
from torrent_engine.engine.swarm.peer_dispatch import ExtensionHandler, PeerEvents, PeerHandlers
from torrent_engine.engine.swarm.peer_serving import ConnectionService
from torrent_engine.net.peers.peer_link import PeerLink
from torrent_engine.net.peers.transport import Transport
from torrent_engine.policy.addresses import may_be_shared
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.protocol.wire.messages import (
    ExtensionMessageReceived,
    HandshakeReceived,
    HashesRequested,
    PeerEvent,
    PeerInterested,
)
from torrent_engine.protocol.wire.metadata import UT_METADATA

if TYPE_CHECKING:
    from torrent_engine.codec.geometry import Geometry

logger = logging.getLogger(__name__)

MAX_UNANSWERED: Final = 16  # ours: metadata and hash requests of one peer before the run has begun
HAND_OVER_S: Final = 5.0  # ours: links end their task in the next turn of the loop


class DormantGreeting:
    """The first messages of a dormant torrent, made from its snapshot."""

    def __init__(self, swarm: Swarm, shared: SharedResources, snapshot: TorrentSnapshot) -> None:
        self.extensions: Mapping[str, int] = local_extensions(
            swarm.shared_config, is_private=snapshot.is_private
        )
        self.geometry: Geometry | None = None
        self._swarm = swarm
        self._shared = shared
        self._snapshot = snapshot

    def dht_port(self) -> int | None:
        """Return the port of our DHT node; None for a private torrent (BEP 27)."""
        return None if self._snapshot.is_private else self._shared.dht_port()

    def is_complete(self) -> bool:
        """Return whether every wanted piece is here."""
        return self._snapshot.is_complete

    @property
    def hides_pieces(self) -> bool:
        """Whether an empty bitfield is sent: the next run super-seeds (BEP 16)."""
        snapshot = self._snapshot
        return self._swarm.config.super_seeding and snapshot.pieces_have == snapshot.piece_count

    def greet(self, peer: Peer, listen_port: int | None) -> None:
        """Send our bitfield, extension handshake and DHT port."""
        snapshot, connection, is_hiding = self._snapshot, peer.connection, self.hides_pieces
        bitfield = snapshot.bitfield()
        if is_hiding:
            bitfield = bytes(len(bitfield))
        peer.while_dormant = DormantExchange(bitfield, [])
        connection.sender.send_bitfield(Bitfield.from_bytes(bitfield, snapshot.piece_count))
        if connection.state.extensions_enabled:
            gives_metadata = UT_METADATA in self.extensions and snapshot.metadata_bytes
            connection.sender.send_extension_handshake(
                extension_handshake(
                    peer,
                    self._swarm.shared_config,
                    self.extensions,
                    listen_port,
                    is_upload_only=self.is_complete() and not is_hiding,
                    metadata_bytes=snapshot.metadata_bytes if gives_metadata else None,
                )
            )
        send_dht_port(peer, self.dht_port())


@dataclass(eq=False, slots=True)
class _ServedLink:
    """One connection, from its first byte on."""

    address: PeerAddress
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Ends it."""
    leave: Callable[[], None] = lambda: None
    """Releases the place that it takes under a limit."""
    peer: Peer | None = None
    waking: anyio.CancelScope | None = None
    """Set while it waits for its turn to wake the torrent."""


class DormantLinks:
    """Serves incoming connections, each in a task; end it by :meth:`hand_over` or :meth:`close`."""

    def __init__(
        self,
        swarm: Swarm,
        shared: SharedResources,
        snapshot: TorrentSnapshot,
        on_wake: Callable[[], None],
    ) -> None:
        self._swarm = swarm
        self._shared = shared
        self._snapshot = snapshot
        self._on_wake = on_wake
        self._greeting = DormantGreeting(swarm, shared, snapshot)
        extensions: dict[str, ExtensionHandler] = {}
        self._events = PeerEvents(PeerHandlers(extensions))
        self._served: dict[_ServedLink, None] = {}
        self._kept: list[Peer] = []
        self._is_over = self._keeps_links = False
        self._all_left = anyio.Event()

    def __len__(self) -> int:
        """Return how many connections there are, before their handshake too."""
        return len(self._served)

    def accept(self, transport: Transport, address: PeerAddress, received: bytes) -> None:
        """Serve an incoming connection; it is closed if a limit is reached."""
        served = _ServedLink(address)
        if self._is_over or self._is_crowded(address.host) or not self._enter_handshake(served):
            transport.close()
            return
        self._served[served] = None
        self._shared.start_task(partial(self._guard, served, transport, received))

    async def hand_over(self, slots: SlotShare) -> ParkedLinks:
        """End the service; return the links that continue, each with a connection slot."""
        self._end(keeps_links=True)
        if self._served:
            with anyio.move_on_after(HAND_OVER_S):
                await self._all_left.wait()
        kept = ParkedLinks(slots)
        for peer in self._kept:
            host = peer.address.host
            if slots.has_room_for_incoming(host):
                slots.take_for_incoming()
                slots.joined(host)
                kept.keep(peer)
            else:
                peer.link.close()
        self._kept.clear()
        return kept

    def close(self) -> None:
        """End all links."""
        self._end(keeps_links=False)

    def _end(self, *, keeps_links: bool) -> None:
        self._is_over, self._keeps_links = True, keeps_links
        for served in self._served:
            if served.waking is not None:
                served.waking.cancel()
            if keeps_links and served.peer is not None:
                served.peer.link.detach()
            else:
                served.scope.cancel()

    # -- limits -------------------------------------------------------------------------------

    def _is_crowded(self, host: str) -> bool:
        """Return whether this network has as many connections as it may."""
        pool, operator = self._shared.config.pool, operator_of(host)
        if may_be_shared(host, pool):
            return False
        here = sum(operator_of(served.address.host) == operator for served in self._served)
        return here >= pool.max_connections_per_ip

    def _enter_handshake(self, served: _ServedLink) -> bool:
        """Return whether one more connection may begin a handshake, and count it."""
        room = self._shared.connection_slots.half_open_incoming
        ticket = room.enter(served.address, served.scope.cancel)
        served.leave = partial(room.left, served.address, ticket)
        return ticket is not None

    def _enter_service(self, served: _ServedLink) -> bool:
        """Return whether one more link of a dormant torrent may stay, for a limited time."""
        served.leave()
        room, config = self._shared.dormant_links_limiter, self._shared.config.dormancy
        ticket = room.enter(served.address, served.scope.cancel)
        served.leave = partial(room.left, served.address, ticket)
        served.scope.deadline = anyio.current_time() + config.max_connection_s
        return ticket is not None

    # -- one link -----------------------------------------------------------------------------

    async def _guard(self, served: _ServedLink, transport: Transport, received: bytes) -> None:
        """Serve one connection; a bug in it affects no other (row F10)."""
        try:
            await self._serve(served, transport, received)
        except TorrentEngineError as error:
            logger.debug("%s: %s", served.address, error)
        except Exception:
            logger.exception("internal error in the connection of %s", served.address)

    async def _serve(self, served: _ServedLink, transport: Transport, received: bytes) -> None:
        swarm, timeout_s = self._swarm, self._swarm.shared_config.wire.handshake_timeout_s
        connection = new_connection(swarm, self._greeting)
        link = PeerLink(
            transport,
            served.address,
            connection,
            gate=NoGate(),
            budget=swarm.link_budget,
            clock=swarm.clock,
        )
        join, handle = partial(self._join, served), partial(self._handle, served)
        serving = ConnectionService(link, join, handle, handles_empty_reads=True)
        try:
            with served.scope:
                await serving.run(received, now=swarm.clock(), timeout_s=timeout_s)
        finally:
            served.leave()
            self._left(served, link)

    def _left(self, served: _ServedLink, link: PeerLink) -> None:
        peer = served.peer
        del self._served[served]
        if served.waking is not None:
            served.waking.cancel()
        if self._keeps_links and peer is not None and link.is_detached:
            self._kept.append(peer)
        else:
            link.close()
        if self._is_over and not self._served:
            self._all_left.set()

    def _join(
        self, served: _ServedLink, link: PeerLink, handshake: HandshakeReceived
    ) -> Peer | None:
        """Return the peer of a completed handshake; None if it is refused."""
        swarm, now = self._swarm, self._swarm.clock()
        identity = Identity(served.address, handshake.peer_id)
        if handshake.peer_id == swarm.peer_id:
            link.end("it is ourselves")
        elif self._shared.bans.refuses(*identity, now):
            link.end("banned")
        elif self._is_over or not self._enter_service(served):
            link.end("too many connections")
        else:
            peer = Peer(link, identity, Source.INCOMING, swarm.shared_config.transfer, now)
            served.peer = peer
            own, port = self._shared.external_addresses, self._shared.listen_port
            self._greeting.greet(peer, own.port_seen_by(served.address.host, port))
            if self._greeting.hides_pieces:  # the run shows pieces, which the peer waits for
                self._request_wake(served)
            return peer
        return None

    def _handle(self, served: _ServedLink, peer: Peer, events: list[PeerEvent]) -> None:
        self._events.handle(peer, events)
        unanswered = [] if peer.while_dormant is None else peer.while_dormant.events
        unanswered += [each for each in events if _asks(each)]
        if len(unanswered) > MAX_UNANSWERED:
            peer.link.end("too many requests for metadata or hashes")
        elif unanswered or self._needs_run(peer, events):
            self._request_wake(served)

    def _needs_run(self, peer: Peer, events: list[PeerEvent]) -> bool:
        """Return whether a peer needs a run."""
        snapshot = self._snapshot
        if snapshot.pieces_have and any(isinstance(each, PeerInterested) for each in events):
            return True
        if not snapshot.metadata_bytes and peer.connection.state.peer_extensions.get(UT_METADATA):
            return True  # we could not say how long the metadata is
        return not snapshot.is_complete and peer.connection.state.pre_metadata.has_pieces

    # -- waking -------------------------------------------------------------------------------

    def _request_wake(self, served: _ServedLink) -> None:
        """Wake the torrent at its turn, unless the link has ended by then."""
        if served.waking is None:
            served.waking = anyio.CancelScope()
            self._shared.start_task(partial(self._wake_for, served, served.waking))

    async def _wake_for(self, served: _ServedLink, scope: anyio.CancelScope) -> None:
        with scope:
            await self._shared.wake_gate.turn(served.address.host)
            self._on_wake()


def _asks(event: PeerEvent) -> bool:
    """Return whether an event is a request that only a run can answer."""
    if isinstance(event, ExtensionMessageReceived):
        return event.name == UT_METADATA
    return isinstance(event, HashesRequested)
