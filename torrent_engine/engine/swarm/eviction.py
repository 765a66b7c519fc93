"""Rules for closing silent and useless connections.

Source: BEP 3 (keep-alive), BEP 21 (upload only); rows B3 and B5.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from torrent_engine.base.ids import PeerAddress
from torrent_engine.codec.geometry import Geometry
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.policy.peers.candidates import CandidateList, Source
from torrent_engine.protocol.wire.messages import PeerEvent

NO_USE_GRACE_S: Final = 1.0  # ours: within this a new peer has said what it has and what it is
TRIAL_S: Final = 10.0  # ours: as long a new peer may be of no use yet
ACTIVE_S: Final = 60.0  # ours: after a block as long a link is in use, as until a peer is snubbed


def why_to_end(peer: Peer, now: float, *, is_complete: bool) -> str | None:
    """Return why a link is to be ended now, None if it is not; queues its keep-alive."""
    if (reason := peer.link.timed_out(now)) is not None:
        return reason
    if is_complete and peer.wants_nothing and now - peer.connected_s >= NO_USE_GRACE_S:
        return "both sides are complete"
    return None


def said_before(peer: Peer, geometry: Geometry | None, now: float) -> list[PeerEvent]:
    """Return the events of a peer from before the metadata, checked against it (row B3)."""
    return [] if geometry is None else peer.connection.metadata_received(geometry, now=now)


def note_seed(peer: Peer, candidates: CandidateList) -> None:
    """Note whether a peer was a seed, before the managers forget what it had."""
    address = peer.address
    if peer.is_incoming and peer.listen_port is not None:
        address = PeerAddress(address.host, peer.listen_port)
    candidates.note_seed(address, is_seed=peer.wants_nothing)


def by_chance(peers: Iterable[Peer]) -> Iterator[Peer]:
    """Return the peers that go on and were not named by the user."""
    return (p for p in peers if p.link.close_reason is None and not p.source & Source.MANUAL)


def idle_s(peer: Peer, now: float) -> float:
    """Return for how long a link has carried no payload either way."""
    return now - max(peer.connected_s, peer.connection.last_payload_s, peer.last_upload_s)


def is_active(peer: Peer, now: float) -> bool:
    """Return whether a link has carried payload of late; a new one has none yet."""
    has_moved = bool(peer.downloaded_bytes or peer.uploaded_bytes)
    return has_moved and idle_s(peer, now) < ACTIVE_S


def least_useful(peers: Iterable[Peer], now: float) -> Peer | None:
    """Return the least useful connected peer; None if there is none.

    First who wants nothing of us and has nothing for us, then who is slow, then who came last. Who
    was named by the user, or came just now, is kept for longer.
    """

    def use(peer: Peer) -> tuple[bool, bool, bool, float, float]:
        connection = peer.connection
        return (
            bool(peer.source & Source.MANUAL),
            now - peer.connected_s < TRIAL_S,
            connection.state.am_interested or connection.state.peer_interested,
            peer.download_rate.rate(now) + peer.upload_rate.rate(now),
            -peer.connected_s,
        )

    return min((peer for peer in peers if peer.link.close_reason is None), key=use, default=None)
