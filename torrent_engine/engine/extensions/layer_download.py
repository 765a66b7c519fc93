"""Download of the hashes of pieces from the peers of a link, which metadata does not have.

Source: BEP 52 ("hash request"). Whom to ask and whom to blame is decided in
``policy/metadata/layers.py``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import anyio
import anyio.to_thread

from torrent_engine.codec._v2_part import V2Part
from torrent_engine.engine.swarm.context import Swarm
from torrent_engine.engine.swarm.peer import Identity, Peer
from torrent_engine.engine.swarm.peer_dispatch import PeerEventHandler
from torrent_engine.policy.metadata.fetch import BanPeer
from torrent_engine.policy.metadata.layers import (
    LayerAction,
    LayerFetch,
    LayersComplete,
    RequestHashes,
)
from torrent_engine.protocol.wire.messages import (
    HashesReceived,
    HashesRejected,
    HashesRequested,
    PeerEvent,
)

PATIENCE_S: Final = 60.0  # ours: while there are peers to ask


class LayerDownload:
    """Asks peers that have pieces for hashes; rejects their requests.

    ``on_liar`` gets who is proved to have lied, who may have left, and why.
    """

    def __init__(self, swarm: Swarm, *, on_liar: Callable[[Identity, str], None]) -> None:
        self._swarm = swarm
        self._on_liar = on_liar
        self._fetch: LayerFetch | None = None
        self._peers: dict[Identity, Peer] = {}
        self._layers: dict[bytes, bytes] = {}
        self._is_complete = anyio.Event()
        self._gives_up = False
        self._came = 0
        self._came_s = 0.0
        """When there was nobody to ask last, or hashes came."""

    @property
    def progress(self) -> tuple[int, int]:
        """How many ranges of hashes are here, and of how many; (0, 0): none is asked for yet."""
        return (0, 0) if self._fetch is None else self._fetch.progress

    @property
    def is_asking(self) -> bool:
        """Whether something is missing that peers are asked for."""
        return self._fetch is not None and not self._is_complete.is_set()

    def handlers(self) -> Mapping[type[PeerEvent], PeerEventHandler]:
        """Return the handlers of the events that are about hashes."""
        return {
            HashesRequested: self._on_requested,
            HashesReceived: self._on_received,
            HashesRejected: self._on_rejected,
        }

    async def fetch(self, part: V2Part, *, gives_up: bool = False) -> dict[bytes, bytes]:
        """Return the layers that a torrent lacks once peers have sent them.

        With ``gives_up`` what is here is returned if peers have given nothing for a while.
        """
        metadata, rng = self._swarm.shared_config.metadata, self._swarm.rng
        new_fetch = partial(LayerFetch, part, metadata, rng)
        fetch = await anyio.to_thread.run_sync(new_fetch)  # very many files may lack them
        if fetch.progress[1]:
            self._fetch, self._peers, self._is_complete = fetch, {}, anyio.Event()
            self._gives_up, self._came, self._came_s = gives_up, 0, self._swarm.clock()
            self.tick(self._swarm.clock())
            await self._is_complete.wait()
        return self._layers

    def tick(self, now: float) -> None:
        """Ask new peers, and others than those that left; to be called a few times a second."""
        if self._fetch is None or self._is_complete.is_set():
            return
        present = {peer.identity: peer for peer in self._swarm.peers if _gives_hashes(peer)}
        for key, peer in tuple(self._peers.items()):
            if present.get(key) is not peer:
                del self._peers[key]
                self._fetch.peer_left(key)
        for key, peer in present.items():
            if key not in self._peers:
                self._peers[key] = peer
                self._do(self._fetch.peer_joined(key, now))
        self._do(self._fetch.tick(now))
        self._look_at_time(self._fetch, now)

    def _look_at_time(self, fetch: LayerFetch, now: float) -> None:
        came = fetch.progress[0]
        if not self._peers or came != self._came:
            self._came, self._came_s = came, now
        elif self._gives_up and now - self._came_s >= PATIENCE_S:
            self._layers = fetch.found()
            self._is_complete.set()

    def _on_requested(self, peer: Peer, event: HashesRequested) -> None:
        if peer.connection.state.is_v2:
            peer.connection.sender.answer_hash_request(event.wanted, None)

    def _on_received(self, peer: Peer, event: HashesReceived) -> None:
        if self._fetch is not None and self._peers.get(peer.identity) is peer:
            now = self._swarm.clock()
            self._do(self._fetch.hashes_received(peer.identity, event.wanted, event.hashes, now))

    def _on_rejected(self, peer: Peer, event: HashesRejected) -> None:
        if self._fetch is not None and self._peers.get(peer.identity) is peer:
            self._do(self._fetch.rejected(peer.identity, event.wanted, self._swarm.clock()))

    def _do(self, actions: list[LayerAction]) -> None:
        asked: dict[Peer, None] = {}
        for action in actions:
            if isinstance(action, RequestHashes):
                peer = self._peers[action.key]
                peer.connection.sender.request_hashes(action.wanted)
                asked[peer] = None
            elif isinstance(action, BanPeer):
                del self._peers[action.key]
                self._on_liar(action.key, action.reason)
            elif isinstance(action, LayersComplete):
                self._layers = action.layers
                self._is_complete.set()
        for peer in asked:
            peer.link.flush()


def _gives_hashes(peer: Peer) -> bool:
    state = peer.connection.state
    has_pieces = peer.pieces.count > 0 or state.pre_metadata.has_pieces
    return state.is_v2 and has_pieces and peer.link.close_reason is None
