"""Dispatch of peer events that move payload, beside those that every connection has."""

from collections.abc import Mapping
from types import MappingProxyType

from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.engine.swarm.peer_dispatch import (
    PeerEventHandler,
    PeerEvents,
    PeerHandlers,
)
from torrent_engine.engine.transfer.download_manager import DownloadManager
from torrent_engine.engine.transfer.upload_manager import UploadManager
from torrent_engine.protocol.wire.messages import (
    HashesRequested,
    PeerEvent,
    PeerInterested,
    PeerNotInterested,
)


class PayloadEvents(PeerEvents):
    """Dispatches the events of every peer to the managers, those that move payload too."""

    def __init__(
        self,
        handlers: PeerHandlers,
        downloads: DownloadManager,
        uploads: UploadManager,
        others: Mapping[type[PeerEvent], PeerEventHandler] = MappingProxyType({}),
    ) -> None:
        super().__init__(handlers, others)
        self._downloads = downloads
        self._handlers |= downloads.handlers() | {
            PeerInterested: uploads.on_interested,
            PeerNotInterested: uploads.on_not_interested,
            HashesRequested: uploads.hashes.on_requested,
        }

    def handle(self, peer: Peer, events: list[PeerEvent]) -> None:
        """Dispatch the events of one read, then account for it."""
        super().handle(peer, events)
        self._downloads.after_read(peer)
