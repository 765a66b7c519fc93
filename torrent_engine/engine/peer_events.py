"""Owns the table that says which manager hears of which event of a peer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.engine.download_manager import DownloadManager
from torrent_engine.engine.peer import Peer
from torrent_engine.engine.upload_manager import UploadManager
from torrent_engine.protocol.wire.messages import (
    AllowedFast,
    BlockReceived,
    BlocksReceived,
    ExtensionHandshakeReceived,
    ExtensionMessageReceived,
    PeerBitfield,
    PeerChoked,
    PeerEvent,
    PeerHas,
    PeerInterested,
    PeerLost,
    PeerNotInterested,
    PeerUnchoked,
    PortReceived,
    ProtocolViolated,
    RequestRejected,
    UnrequestedBlock,
)

Handler = Callable[[Peer, Any], None]
ExtensionHandler = Callable[[Peer, bytes], None]
"""Takes the payload of an extension message; a RemoteProtocolError of it ends the link."""


def _ignore_peer(_peer: Peer) -> None:
    """Nobody wants to hear of extension handshakes."""


def _ignore_port(_peer: Peer, _port: int) -> None:
    """Nobody wants to hear of DHT nodes."""


@dataclass(frozen=True, slots=True)
class PeerHearers:
    """Who hears of what a peer says beyond payload."""

    extensions: Mapping[str, ExtensionHandler] = field(default_factory=dict)
    """Takes the messages of each extension, by its name."""
    on_extension_handshake: Callable[[Peer], None] = _ignore_peer
    """Hears of a peer whenever it has named its extensions."""
    on_port: Callable[[Peer, int], None] = _ignore_port
    """Hears of the UDP port of a peer's DHT node (BEP 5)."""


class PeerEvents:
    """Hands on what any peer may say; what is not listed is dropped."""

    def __init__(self, hearers: PeerHearers) -> None:
        self._hearers = hearers
        self._handlers: dict[type[PeerEvent], Handler] = {
            ExtensionHandshakeReceived: self._on_extension_handshake,
            ExtensionMessageReceived: self._on_extension_message,
            PortReceived: self._on_port,
            ProtocolViolated: self._on_violated,
        }

    def handle(self, peer: Peer, events: list[PeerEvent]) -> None:
        """Hand on the events of one read."""
        handlers = self._handlers
        for event in events:
            handler = handlers.get(type(event))
            if handler is not None:
                handler(peer, event)

    def _on_extension_handshake(self, peer: Peer, event: ExtensionHandshakeReceived) -> None:
        handshake = event.handshake
        if handshake.client:
            peer.client = handshake.client
        if peer.tell_connected is not None:
            peer.tell_connected()
        if handshake.reqq is not None:
            peer.pipeline.peer_reqq(handshake.reqq)
        peer.is_upload_only = handshake.is_upload_only
        peer.prefers_encryption = handshake.prefers_encryption
        peer.listen_port = handshake.listen_port or peer.listen_port
        peer.your_ip = handshake.your_ip
        peer.metadata_bytes = handshake.metadata_bytes or peer.metadata_bytes
        self._hearers.on_extension_handshake(peer)

    def _on_extension_message(self, peer: Peer, event: ExtensionMessageReceived) -> None:
        if (handler := self._hearers.extensions.get(event.name)) is None:
            return
        try:
            handler(peer, event.payload)
        except RemoteProtocolError as error:
            peer.link.end(str(error))

    def _on_port(self, peer: Peer, event: PortReceived) -> None:
        self._hearers.on_port(peer, event.port)

    @staticmethod
    def _on_violated(peer: Peer, event: ProtocolViolated) -> None:
        peer.link.end(str(event.error))


class PayloadEvents(PeerEvents):
    """Hands the events of every peer to the managers, those that move payload too."""

    def __init__(
        self, hearers: PeerHearers, downloads: DownloadManager, uploads: UploadManager
    ) -> None:
        super().__init__(hearers)
        self._downloads = downloads
        self._handlers |= {
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
        }

    def handle(self, peer: Peer, events: list[PeerEvent]) -> None:
        """Hand on the events of one read, then account for it."""
        super().handle(peer, events)
        self._downloads.after_read(peer)
