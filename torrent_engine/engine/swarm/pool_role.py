"""The purpose of a torrent's connections: metadata or payload."""

from collections.abc import Callable
from dataclasses import dataclass

from torrent_engine.base.ids import PeerAddress
from torrent_engine.engine.swarm.handshake import Greeting
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.net.peers.peer_link import Gate
from torrent_engine.protocol.wire.messages import PeerEvent


@dataclass(frozen=True, slots=True)
class PoolRole:
    """Handshake content and event handlers of a pool."""

    greeting: Greeting
    handle: Callable[[Peer, list[PeerEvent]], None]
    """Handle the events that one read of a peer completed."""
    on_joined: Callable[[Peer], None]
    """Called when a peer has completed the handshake."""
    on_left: Callable[[Peer], None]
    """Called when the connection of a peer has ended."""
    on_unreached: Callable[[PeerAddress], None]
    """Called with each candidate to which no connection could be made."""
    gate: Gate
    """May hold back reading."""
