"""Owns the table that says which manager hears of which event of a peer."""

from collections.abc import Callable
from typing import Any

from torrent_engine.engine.download_manager import DownloadManager
from torrent_engine.engine.peer import Peer
from torrent_engine.engine.upload_manager import UploadManager
from torrent_engine.protocol.wire.messages import (
    AllowedFast,
    BlockReceived,
    BlocksReceived,
    ExtensionHandshakeReceived,
    PeerBitfield,
    PeerChoked,
    PeerEvent,
    PeerHas,
    PeerInterested,
    PeerLost,
    PeerNotInterested,
    PeerUnchoked,
    ProtocolViolated,
    RequestRejected,
    UnrequestedBlock,
)

Handler = Callable[[Peer, Any], None]


class PeerEvents:
    """Hands the events of every peer to the managers; what is not listed is dropped."""

    def __init__(self, downloads: DownloadManager, uploads: UploadManager) -> None:
        self._downloads = downloads
        self._handlers: dict[type[PeerEvent], Handler] = {
            BlockReceived: downloads.on_block,
            BlocksReceived: downloads.on_blocks,
            PeerBitfield: downloads.on_bitfield,
            PeerHas: downloads.on_have,
            PeerLost: downloads.on_lost,
            PeerChoked: downloads.on_choked,
            PeerUnchoked: downloads.on_unchoked,
            AllowedFast: downloads.on_allowed_fast,
            RequestRejected: downloads.on_rejected,
            UnrequestedBlock: downloads.on_unrequested,
            PeerInterested: uploads.on_interested,
            PeerNotInterested: uploads.on_not_interested,
            ExtensionHandshakeReceived: self._on_extension_handshake,
            ProtocolViolated: self._on_violated,
        }

    def handle(self, peer: Peer, events: list[PeerEvent]) -> None:
        """Hand on the events of one read, then account for it."""
        handlers = self._handlers
        for event in events:
            handler = handlers.get(type(event))
            if handler is not None:
                handler(peer, event)
        self._downloads.after_read(peer)

    @staticmethod
    def _on_extension_handshake(peer: Peer, event: ExtensionHandshakeReceived) -> None:
        handshake = event.handshake
        if handshake.client:
            peer.client = handshake.client
        if peer.tell_connected is not None:
            peer.tell_connected()
        if handshake.reqq is not None:
            peer.pipeline.peer_reqq(handshake.reqq)
        peer.is_upload_only = handshake.is_upload_only
        peer.listen_port = handshake.listen_port or peer.listen_port
        peer.your_ip = handshake.your_ip

    @staticmethod
    def _on_violated(peer: Peer, event: ProtocolViolated) -> None:
        peer.link.end(str(event.error))
