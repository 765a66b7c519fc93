"""Dispatch of the events of a peer to the parts that handle them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.protocol.wire.messages import (
    ExtensionHandshakeReceived,
    ExtensionMessageReceived,
    PeerEvent,
    PortReceived,
    ProtocolViolated,
)

PeerEventHandler = Callable[[Peer, Any], None]
ExtensionHandler = Callable[[Peer, bytes], None]
"""Handles the payload of an extension message; RemoteProtocolError ends the connection."""


def _ignore_peer(_peer: Peer) -> None:
    """Ignore extension handshakes."""


def _ignore_port(_peer: Peer, _port: int) -> None:
    """Ignore DHT nodes."""


@dataclass(frozen=True, slots=True)
class PeerHandlers:
    """Handlers of what a peer sends besides payload messages."""

    extensions: Mapping[str, ExtensionHandler] = field(default_factory=dict)
    """Handlers of extension messages, by the name of the extension (BEP 10)."""
    on_extension_handshake: Callable[[Peer], None] = _ignore_peer
    """Called after each extension handshake of a peer."""
    on_port: Callable[[Peer, int], None] = _ignore_port
    """Called with the UDP port of a peer's DHT node (BEP 5)."""


def joined(
    *each: Mapping[type[PeerEvent], PeerEventHandler],
) -> Mapping[type[PeerEvent], PeerEventHandler]:
    """Return handlers that call those of all these, one after the other."""
    found: dict[type[PeerEvent], list[PeerEventHandler]] = {}
    for handlers in each:
        for kind, handler in handlers.items():
            found.setdefault(kind, []).append(handler)
    return {kind: partial(_call_each, tuple(all_of)) for kind, all_of in found.items()}


def _call_each(handlers: tuple[PeerEventHandler, ...], peer: Peer, event: PeerEvent) -> None:
    for handler in handlers:
        handler(peer, event)


def take_upload_only(peer: Peer, payload: bytes) -> None:
    """Take libtorrent's message that a peer downloads no more, or again."""
    if len(payload) == 1:
        peer.is_upload_only = payload != b"\0"


class PeerEvents:
    """Dispatches the events that need no payload, and ``others``; what is left is dropped."""

    def __init__(
        self,
        handlers: PeerHandlers,
        others: Mapping[type[PeerEvent], PeerEventHandler] = MappingProxyType({}),
    ) -> None:
        self._peer_handlers = handlers
        self._handlers: dict[type[PeerEvent], PeerEventHandler] = {
            ExtensionHandshakeReceived: self._on_extension_handshake,
            ExtensionMessageReceived: self._on_extension_message,
            PortReceived: self._on_port,
            ProtocolViolated: self._on_violated,
            **others,
        }

    def handle(self, peer: Peer, events: list[PeerEvent]) -> None:
        """Dispatch the events of one read."""
        handlers = self._handlers
        for event in events:
            handler = handlers.get(type(event))
            if handler is not None:
                handler(peer, event)

    def _on_extension_handshake(self, peer: Peer, event: ExtensionHandshakeReceived) -> None:
        handshake = event.handshake
        if handshake.client:
            peer.client = handshake.client
        if handshake.reqq is not None:
            peer.pipeline.peer_reqq(handshake.reqq)
        peer.is_upload_only = handshake.is_upload_only
        peer.prefers_encryption = handshake.prefers_encryption
        peer.listen_port = handshake.listen_port or peer.listen_port
        peer.your_ip = handshake.your_ip
        peer.metadata_bytes = handshake.metadata_bytes or peer.metadata_bytes
        self._peer_handlers.on_extension_handshake(peer)

    def _on_extension_message(self, peer: Peer, event: ExtensionMessageReceived) -> None:
        if (handler := self._peer_handlers.extensions.get(event.name)) is None:
            return
        try:
            handler(peer, event.payload)
        except RemoteProtocolError as error:
            peer.link.end(str(error))

    def _on_port(self, peer: Peer, event: PortReceived) -> None:
        self._peer_handlers.on_port(peer, event.port)

    @staticmethod
    def _on_violated(peer: Peer, event: ProtocolViolated) -> None:
        peer.link.end(str(event.error))
