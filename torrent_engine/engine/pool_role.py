"""Owns what the links of one torrent are for: metadata, or payload."""

from collections.abc import Callable
from dataclasses import dataclass

from torrent_engine.engine.greeting import Greeting
from torrent_engine.engine.peer import Peer
from torrent_engine.net.peer_link import Gate
from torrent_engine.protocol.wire.messages import PeerEvent


@dataclass(frozen=True, slots=True)
class PoolRole:
    """What is said to the peers of a pool, and who hears of them."""

    greeting: Greeting
    handle: Callable[[Peer, list[PeerEvent]], None]
    """Takes what each read of a peer completed."""
    on_joined: Callable[[Peer], None]
    """A peer passed the handshake."""
    on_left: Callable[[Peer], None]
    gate: Gate
    """May hold back reading."""
