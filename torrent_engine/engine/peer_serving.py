"""Owns one connection from its first byte to its end: before its handshake there is no peer.

Source: BEP 3 (handshake).
"""

from collections.abc import Callable
from typing import Final

import anyio

from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.engine.peer import Peer
from torrent_engine.net.peer_link import PeerLink
from torrent_engine.protocol.wire.messages import HandshakeReceived, PeerEvent, ProtocolViolated

NEVER: Final = float("inf")


class PeerServing:
    """Runs one link; ``join`` makes a peer of its handshake, or ends the link."""

    def __init__(
        self,
        link: PeerLink,
        join: Callable[[PeerLink, HandshakeReceived], Peer | None],
        handle: Callable[[Peer, list[PeerEvent]], None],
        peer: Peer | None = None,
        *,
        hears_all: bool = False,
    ) -> None:
        """With ``hears_all`` reads that completed no event are handed on too."""
        self.peer = peer
        """None until the handshake came."""
        self._hears_all = hears_all
        self.is_answered = False
        """The other side said something."""
        self.timed_out = False
        """No handshake came in time."""
        self._link = link
        self._join = join
        self._handle = handle
        self._deadline: anyio.CancelScope | None = None

    async def run(self, received: bytes, *, now: float, timeout_s: float) -> str:
        """Serve until the end of the link; return its reason. ``received`` came already.

        Raises RemoteProtocolError if no handshake comes within ``timeout_s``.
        """
        link = self._link
        if received:
            self._on_events(link.connection.receive_data(received, now=now), len(received))
        with anyio.CancelScope(deadline=anyio.current_time() + timeout_s) as self._deadline:
            if self.peer is not None:
                self._deadline.deadline = NEVER
            return await link.run(self._on_events)
        self.timed_out = True
        raise RemoteProtocolError("no handshake in time", bep=3)

    def _on_events(self, events: list[PeerEvent], _count_bytes: int) -> None:
        """Take what one read completed."""
        if self.peer is None:
            events = self._take_handshake(events)
        if self.peer is not None and (events or self._hears_all):
            self._handle(self.peer, events)

    def _take_handshake(self, events: list[PeerEvent]) -> list[PeerEvent]:
        """Make a peer of the first event, and return the others."""
        if not events:
            return events
        self.is_answered, first = True, events[0]
        if isinstance(first, ProtocolViolated):
            self._link.end(str(first.error))
        elif isinstance(first, HandshakeReceived):
            self.peer = self._join(self._link, first)
            if self.peer is not None and self._deadline is not None:
                self._deadline.deadline = NEVER
        return events[1:]
