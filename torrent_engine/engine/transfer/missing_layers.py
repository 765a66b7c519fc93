"""The hashes of pieces that a torrent lacks while it runs: from what is kept, or from peers.

Source: BEP 52 ("hash request"). A hybrid runs without them, by SHA-1 alone: its peers of the v2
swarm are asked for them. From then on its pieces are checked by both, blocks have hashes, and
others get what we got.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import anyio
import anyio.to_thread

from torrent_engine.base.config import STORED_BENCODE_LIMITS
from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.state.files import TorrentCopies
from torrent_engine.engine.extensions.layer_download import LayerDownload
from torrent_engine.engine.swarm.context import Torrent
from torrent_engine.engine.swarm.peer import Identity, Peer
from torrent_engine.engine.swarm.peer_dispatch import PeerEventHandler
from torrent_engine.engine.transfer.unproven_files import with_layers_added
from torrent_engine.protocol.wire.messages import PeerEvent

logger = logging.getLogger(__name__)

MOVE_INTERVAL_S: Final = 10.0  # ours: between two links that are made anew in the v2 swarm


@dataclass(frozen=True, slots=True)
class LayerPorts:
    """What a MissingLayers calls."""

    on_liar: Callable[[Identity, str], None]
    """A peer is proved to have sent wrong hashes."""
    move_to_v2: Callable[[Peer], None]
    """End a link of the v1 swarm, and dial the peer again in the v2 swarm."""
    on_learned: Callable[[Metainfo], None]
    """The torrent with the layers, which it lacked."""


class MissingLayers:
    """Completes the hashes of one torrent while :meth:`run` runs."""

    def __init__(self, torrent: Torrent, copies: TorrentCopies, ports: LayerPorts) -> None:
        self._torrent = torrent
        self._copies = copies
        self._ports = ports
        self._download = LayerDownload(torrent, on_liar=ports.on_liar)
        self._moved: set[Identity] = set()
        self._next_move_s = 0.0

    def handlers(self) -> Mapping[type[PeerEvent], PeerEventHandler]:
        """Return the handlers of the answers of peers."""
        return self._download.handlers()

    async def run(self) -> None:
        """Get what is missing, once; returns when nothing is."""
        metainfo = self._torrent.metainfo
        if metainfo.v2 is None:
            return
        kept = await anyio.to_thread.run_sync(_with_kept, metainfo, self._copies)
        if kept is not None:
            self._ports.on_learned(kept)
        layers = await self._download.fetch(self._torrent.metainfo.v2 or metainfo.v2)
        found = await with_layers_added(self._torrent, layers)
        if found is not None and found is not self._torrent.metainfo:
            self._ports.on_learned(found)

    def tick(self, now: float) -> None:
        """Ask peers; to be called a few times a second."""
        if not self._download.is_asking:
            return
        self._download.tick(now)
        if self._torrent.other_hash is not None and now >= self._next_move_s:
            self._move_one(now)

    def _move_one(self, now: float) -> None:
        """Meet a peer in the v2 swarm if all links are of the other, as after a link of v1."""
        peers = self._torrent.peers
        if any(peer.connection.state.is_v2 for peer in peers):
            return
        for peer in peers:
            if _may_move(peer) and peer.identity not in self._moved:
                self._moved.add(peer.identity)
                self._next_move_s = now + MOVE_INTERVAL_S
                self._ports.move_to_v2(peer)
                return


def _may_move(peer: Peer) -> bool:
    """Return whether a peer can be dialled, and is in the v2 swarm, too."""
    handshake = peer.connection.state.handshake
    is_in_both = handshake is not None and handshake.supports_v2
    return is_in_both and not peer.is_incoming and peer.link.close_reason is None


def _with_kept(metainfo: Metainfo, copies: TorrentCopies) -> Metainfo | None:
    """Return the torrent with the layers that an earlier run got; None if there are none."""
    part = metainfo.v2
    missing = {} if part is None else {part.root(index) for index in part.missing_layers()}
    if not missing:
        return None
    try:
        data = copies.metainfo_bytes(metainfo.info_hash)
        kept = Metainfo.from_bytes(data, limits=STORED_BENCODE_LIMITS).v2 if data else None
        layers = {} if kept is None else kept.layers
        found = {root: layers[root] for root in layers if root in missing}
        return metainfo.with_layers(found) if found else None
    except TorrentEngineError as error:
        logger.warning("%s: kept hashes not read: %s", metainfo.info_hash.hex(), error)
        return None
