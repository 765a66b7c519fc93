"""The links of a torrent at rest: who comes is greeted, and wakes it by wanting something of it.

A handshake costs a stranger 48 bytes and a run much more than that, so the handshake is answered
without one: with what we have (BEP 3, BEP 6) and what we speak (BEP 10). A run begins for who is
interested in pieces, asks for metadata, or has what we miss; it goes on with the links.
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
from torrent_engine.engine.connection_slots import SlotShare
from torrent_engine.engine.extensions import local_extensions
from torrent_engine.engine.greeting import extension_handshake, new_connection, tell_dht_port
from torrent_engine.engine.kept_links import KeptLinks
from torrent_engine.engine.metadata_run import NoGate
from torrent_engine.engine.peer import Identity, Peer, RestVisit
from torrent_engine.engine.peer_events import ExtensionHandler, PeerEvents, PeerHearers
from torrent_engine.engine.peer_serving import PeerServing
from torrent_engine.engine.shared_resources import SharedResources
from torrent_engine.engine.torrent import Swarm
from torrent_engine.net.peer_link import PeerLink
from torrent_engine.net.transport import Transport
from torrent_engine.policy.addresses import may_be_shared
from torrent_engine.policy.candidates import Source
from torrent_engine.protocol.wire.messages import (
    ExtensionMessageReceived,
    HandshakeReceived,
    PeerEvent,
    PeerInterested,
)
from torrent_engine.protocol.wire.metadata import UT_METADATA

if TYPE_CHECKING:
    from torrent_engine.codec.geometry import Geometry
    from torrent_engine.engine.resting import RestFacts

logger = logging.getLogger(__name__)

MAX_SAID: Final = 16  # ours: requests for metadata that one peer sends before the run is there
HAND_OVER_S: Final = 5.0  # ours: links end their task in the next turn of the loop


class RestGreeting:
    """Says what a torrent at rest has, as far as its numbers tell."""

    def __init__(self, swarm: Swarm, shared: SharedResources, facts: "RestFacts") -> None:
        self.extensions: Mapping[str, int] = local_extensions(
            swarm.shared_config, is_private=facts.is_private
        )
        self.geometry: Geometry | None = None
        self._swarm = swarm
        self._shared = shared
        self._facts = facts

    def dht_port(self) -> int | None:
        """Return where our DHT node is; None for a private torrent (BEP 27)."""
        return None if self._facts.is_private else self._shared.dht_port()

    def is_complete(self) -> bool:
        """Return whether we have all that we want."""
        return self._facts.is_complete

    def greet(self, peer: Peer, listen_port: int | None) -> None:
        """Say what we have and what we are."""
        facts, connection = self._facts, peer.connection
        told = facts.bitfield()
        peer.visit = RestVisit(told, [])
        connection.send_bitfield(Bitfield.from_bytes(told, facts.piece_count))
        if connection.extensions_enabled:
            gives_metadata = UT_METADATA in self.extensions and facts.metadata_bytes
            connection.send_extension_handshake(
                extension_handshake(
                    peer,
                    self._swarm.shared_config,
                    self.extensions,
                    listen_port,
                    is_upload_only=self.is_complete(),
                    metadata_bytes=facts.metadata_bytes if gives_metadata else None,
                )
            )
        tell_dht_port(peer, self.dht_port())


@dataclass(eq=False, slots=True)
class _Visit:
    """One connection, from its first byte on."""

    address: PeerAddress
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Ends it."""
    leave: Callable[[], None] = lambda: None
    """Gives its place back."""
    peer: Peer | None = None
    waking: anyio.CancelScope | None = None
    """It wants something, and waits for its turn to wake the torrent."""


class RestingLinks:
    """Serves who comes to one torrent, each in a task; :meth:`hand_over` or :meth:`close` it."""

    def __init__(
        self,
        swarm: Swarm,
        shared: SharedResources,
        facts: "RestFacts",
        on_wake: Callable[[], None],
    ) -> None:
        self._swarm = swarm
        self._shared = shared
        self._facts = facts
        self._on_wake = on_wake
        self._greeting = RestGreeting(swarm, shared, facts)
        extensions: dict[str, ExtensionHandler] = {}
        self._events = PeerEvents(PeerHearers(extensions))
        self._visits: dict[_Visit, None] = {}
        self._kept: list[Peer] = []
        self._is_over = self._keeps_links = False
        self._all_left = anyio.Event()

    def __len__(self) -> int:
        """Return how many connections there are, before their handshake too."""
        return len(self._visits)

    def accept(self, transport: Transport, address: PeerAddress, received: bytes) -> None:
        """Take an incoming connection; it is closed if there is no place for it."""
        visit = _Visit(address)
        if self._is_over or self._is_crowded(address.host) or not self._let_in(visit):
            transport.close()
            return
        self._visits[visit] = None
        self._shared.start_task(partial(self._guard, visit, transport, received))

    async def hand_over(self, slots: SlotShare) -> KeptLinks:
        """End the service, and return the links that go on, each with a connection slot."""
        self._end(keeps_links=True)
        if self._visits:
            with anyio.move_on_after(HAND_OVER_S):
                await self._all_left.wait()
        kept = KeptLinks(slots)
        for peer in self._kept:
            if slots.has_room():
                slots.take()
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
        for visit in self._visits:
            if visit.waking is not None:
                visit.waking.cancel()
            if keeps_links and visit.peer is not None:
                visit.peer.link.detach()
            else:
                visit.scope.cancel()

    # -- places -------------------------------------------------------------------------------

    def _is_crowded(self, host: str) -> bool:
        """Return whether an operator is here already."""
        pool, operator = self._shared.config.pool, operator_of(host)
        if may_be_shared(host, pool):
            return False
        here = sum(operator_of(visit.address.host) == operator for visit in self._visits)
        return here >= pool.max_per_ip

    def _let_in(self, visit: _Visit) -> bool:
        """Take a place among those of all torrents that have not shaken hands."""
        room = self._shared.connection_slots.newcomers
        ticket = room.enter(visit.address, visit.scope.cancel)
        visit.leave = partial(room.left, visit.address, ticket)
        return ticket is not None

    def _let_stay(self, visit: _Visit) -> bool:
        """Take a place among those of all torrents at rest, for a limited time."""
        visit.leave()
        room, config = self._shared.resting_visitors, self._shared.config.rest
        ticket = room.enter(visit.address, visit.scope.cancel)
        visit.leave = partial(room.left, visit.address, ticket)
        visit.scope.deadline = anyio.current_time() + config.visit_s
        return ticket is not None

    # -- one link -----------------------------------------------------------------------------

    async def _guard(self, visit: _Visit, transport: Transport, received: bytes) -> None:
        """Serve one connection; a bug in it reaches no other (row F10)."""
        try:
            await self._serve(visit, transport, received)
        except TorrentEngineError as error:
            logger.debug("%s: %s", visit.address, error)
        except Exception:
            logger.exception("a bug ended the connection of %s", visit.address)

    async def _serve(self, visit: _Visit, transport: Transport, received: bytes) -> None:
        swarm, timeout_s = self._swarm, self._swarm.shared_config.wire.handshake_timeout_s
        connection = new_connection(swarm, self._greeting)
        connection.send_handshake(dht=self._greeting.dht_port() is not None)
        link = PeerLink(
            transport,
            visit.address,
            connection,
            gate=NoGate(),
            budget=swarm.link_budget,
            clock=swarm.clock,
        )
        join, handle = partial(self._join, visit), partial(self._handle, visit)
        serving = PeerServing(link, join, handle, hears_all=True)
        try:
            with visit.scope:
                await serving.run(received, now=swarm.clock(), timeout_s=timeout_s)
        finally:
            visit.leave()
            self._left(visit, link)

    def _left(self, visit: _Visit, link: PeerLink) -> None:
        peer = visit.peer
        del self._visits[visit]
        if visit.waking is not None:
            visit.waking.cancel()
        if self._keeps_links and peer is not None and link.is_detached:
            self._kept.append(peer)
        else:
            link.close()
        if self._is_over and not self._visits:
            self._all_left.set()

    def _join(self, visit: _Visit, link: PeerLink, handshake: HandshakeReceived) -> Peer | None:
        """Greet who has shaken hands; None if it must not be a peer."""
        swarm, now = self._swarm, self._swarm.clock()
        identity = Identity(visit.address, handshake.peer_id)
        if handshake.peer_id == swarm.peer_id:
            link.end("it is ourselves")
        elif self._shared.bans.is_banned(*identity, now):
            link.end("banned")
        elif self._is_over or not self._let_stay(visit):
            link.end("no place for one more")
        else:
            peer = Peer(link, identity, Source.INCOMING, swarm.shared_config.transfer, now)
            visit.peer = peer
            own, port = self._shared.own_address, self._shared.listen_port
            self._greeting.greet(peer, own.port_seen_by(visit.address.host, port))
            if self._swarm.config.super_seeding:  # it says that it has nothing: see its run
                self._want(visit)
            return peer
        return None

    def _handle(self, visit: _Visit, peer: Peer, events: list[PeerEvent]) -> None:
        self._events.handle(peer, events)
        said = [] if peer.visit is None else peer.visit.said
        messages = [each for each in events if isinstance(each, ExtensionMessageReceived)]
        said += [each for each in messages if each.name == UT_METADATA]
        if len(said) > MAX_SAID:
            peer.link.end("too many requests for metadata")
        elif said or self._wants_something(peer, events):
            self._want(visit)

    def _wants_something(self, peer: Peer, events: list[PeerEvent]) -> bool:
        """Return whether there is work for a run with a peer."""
        facts = self._facts
        if facts.pieces_have and any(isinstance(each, PeerInterested) for each in events):
            return True
        if not facts.metadata_bytes and peer.connection.peer_extensions.get(UT_METADATA):
            return True  # we could not say how long the metadata is
        return not facts.is_complete and peer.connection.early.tells_of_pieces

    # -- waking -------------------------------------------------------------------------------

    def _want(self, visit: _Visit) -> None:
        """Wake the torrent when that may be, unless the link has ended by then."""
        if visit.waking is None:
            visit.waking = anyio.CancelScope()
            self._shared.start_task(partial(self._wake_for, visit, visit.waking))

    async def _wake_for(self, visit: _Visit, scope: anyio.CancelScope) -> None:
        with scope:
            await self._shared.wake_gate.turn(visit.address.host)
            self._on_wake()
