"""Service of one connection, from the BitTorrent handshake to its end.

Source: BEP 3 (handshake).
"""

from collections.abc import Callable
from typing import Final

import anyio

from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.net.peers.peer_link import PeerLink
from torrent_engine.protocol.wire.messages import HandshakeReceived, PeerEvent, ProtocolViolated

NEVER: Final = float("inf")


class ConnectionService:
    """Runs one connection; ``join`` creates a peer after its handshake, or closes it."""

    def __init__(
        self,
        link: PeerLink,
        join: Callable[[PeerLink, HandshakeReceived], Peer | None],
        handle: Callable[[Peer, list[PeerEvent]], None],
        peer: Peer | None = None,
        *,
        handles_empty_reads: bool = False,
    ) -> None:
        """With ``handles_empty_reads`` the handler is also called for reads without an event."""
        self.peer = peer
        """None until the handshake came."""
        self._hears_all = handles_empty_reads
        self.is_answered = False
        """Whether the other side has sent anything."""
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
        """Process the events of one read."""
        if self.peer is None:
            events = self._take_handshake(events)
        if self.peer is not None and (events or self._hears_all):
            self._handle(self.peer, events)

    def _take_handshake(self, events: list[PeerEvent]) -> list[PeerEvent]:
        """Process the handshake, which is the first event; return the others."""
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
