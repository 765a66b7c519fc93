"""Owns when a link is ended for its silence or its uselessness, and what an older one amounts to.

Source: BEP 3 (keep-alive), BEP 21 (upload only); rows B3 and B5.
"""

from typing import Final

from torrent_engine.base.config import WireLimits
from torrent_engine.codec.geometry import Geometry
from torrent_engine.engine.peer import Peer
from torrent_engine.protocol.wire.messages import PeerEvent

NO_USE_GRACE_S: Final = 1.0  # ours: within this a new peer has said what it has and what it is


def why_to_end(peer: Peer, now: float, limits: WireLimits, *, is_complete: bool) -> str | None:
    """Return why a link is to be ended now, None if it is not; queues its keep-alive."""
    if (reason := peer.connection.timed_out(now)) is not None:
        return reason
    if peer.link.stuck_s(now) > limits.unread_timeout_s:
        return "it reads nothing"
    if is_complete and peer.wants_nothing and now - peer.connected_s >= NO_USE_GRACE_S:
        return "both sides are complete"
    return None


def said_before(peer: Peer, geometry: Geometry | None, now: float) -> list[PeerEvent]:
    """Return what a peer said before the metadata came, checked against it (row B3)."""
    return [] if geometry is None else peer.connection.metadata_arrived(geometry, now=now)
