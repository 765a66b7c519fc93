"""Resolution of duplicate connections with one peer, in the same way on both sides.

That is the one which the smaller peer id dialled, if both were made at about the same time; else,
and of two that one side dialled, the first. Were it the first always, two that dial each other at
the same time would each end the other's link. A peer id is only a claim: whoever has another
address is another peer, and a link that has lasted is not given up for who comes with its id.
"""

from collections.abc import Iterable
from typing import Final

from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.base.operators import operator_of
from torrent_engine.engine.swarm.peer import Identity, Peer
from torrent_engine.net.peers.peer_link import PeerLink
from torrent_engine.policy.peers.candidates import CandidateList

SIMULTANEOUS_S: Final = 5.0  # ours: a lost SYN is repeated after 1 s, then after 2 s more
CONNECTED_ALREADY: Final = "connected already"


def linked(peers: Iterable[Peer], identity: Identity) -> Peer | None:
    """Return the peer of this id and operator whose link has not been ended."""
    operator = operator_of(identity.address.host)
    for peer in peers:
        if (
            peer.identity.peer_id == identity.peer_id
            and peer.link.close_reason is None
            and operator_of(peer.address.host) == operator
        ):
            return peer
    return None


def takes_its_place(old: Peer, own_id: PeerId, now: float, *, is_incoming: bool) -> bool:
    """Return whether a second link with a peer stays, and not the first."""
    if now - old.connected_s > SIMULTANEOUS_S:
        return False
    is_theirs = old.identity.peer_id < own_id
    return is_incoming != old.is_incoming and is_incoming == is_theirs


class DuplicateLinks:
    """Ends duplicates, which is no fault of a candidate: it is busy as long as the link kept."""

    def __init__(self, candidates: CandidateList) -> None:
        self._candidates = candidates
        self._kept: dict[PeerAddress, Peer] = {}
        """Candidates with a closed duplicate, and the peer that has the other connection."""

    def end(self, link: PeerLink, kept: Peer, now: float) -> None:
        """End one of two links with a peer, and regard its candidate as linked by the other."""
        for address, peer in self._kept.items():
            if peer.link is link:
                self._kept[address] = kept
        if link.address in self._candidates:
            self._candidates.mark_connected(link.address, now)
            self._kept[link.address] = kept
        link.end(CONNECTED_ALREADY)

    def released(self, peer: Peer) -> list[PeerAddress]:
        """Return, once, whose links were ended in favour of that of a peer that has left."""
        addresses = [address for address, kept in self._kept.items() if kept is peer]
        for address in addresses:
            del self._kept[address]
        return addresses
