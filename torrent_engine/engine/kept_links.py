"""Owns the links that outlive the pool which made them: those from before the metadata came."""

from collections.abc import Iterable, Iterator

from torrent_engine.engine.connection_slots import SlotShare
from torrent_engine.engine.peer import Peer


class KeptLinks:
    """Peers whose link is detached; each holds its connection slot until taken or closed."""

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
        """Leave a peer, and its slot, to the caller, who counts it among these."""
        del self._peers[peer]
        self._slots.hand_over(slots)

    def close(self) -> None:
        """Close those that nobody took."""
        self.close_some(self)

    def close_some(self, peers: Iterable[Peer]) -> None:
        """Close the links of these peers."""
        for peer in peers:
            del self._peers[peer]
            peer.link.close()
            self._slots.give_back()


def no_link() -> None:
    """Name no link: there is none to lend."""
