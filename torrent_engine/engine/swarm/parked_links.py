"""Connections that outlive the pool that made them, such as those of a metadata run."""

from collections.abc import Iterable, Iterator

from torrent_engine.engine.resources.connection_slots import SlotShare
from torrent_engine.engine.swarm.peer import Peer


class ParkedLinks:
    """Peers with a detached connection; each holds its slot until taken or closed."""

    def __init__(self, slots: SlotShare) -> None:
        self._slots = slots
        self._peers: dict[Peer, None] = {}

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        """Go over them."""
        return iter(tuple(self._peers))

    def keep(self, peer: Peer) -> None:
        """Keep a peer whose link was detached."""
        self._peers[peer] = None

    def hand_over(self, peer: Peer, slots: SlotShare) -> None:
        """Transfer a peer and its connection slot to ``slots``."""
        del self._peers[peer]
        self._slots.hand_over(slots)

    def close(self) -> None:
        """Close those that were not taken."""
        self.close_some(self)

    def close_some(self, peers: Iterable[Peer]) -> None:
        """Close the links of these peers."""
        for peer in peers:
            del self._peers[peer]
            peer.link.close()
            self._slots.left(peer.address.host)


def no_link() -> None:
    """Return None: there is no connection to close for another torrent."""
