"""Two PeerConnections joined in memory, and one that is fed by hand."""

from collections.abc import Iterable, Mapping, Sequence

from torrent_engine.base.config import KIB, TransferConfig, WireLimits
from torrent_engine.base.ids import InfoHash, PeerId
from torrent_engine.codec.geometry import Geometry
from torrent_engine.protocol.wire.buffers import BufferPool
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.messages import (
    BlockReceived,
    BlocksRequested,
    PeerEvent,
    ProtocolViolated,
    encode_handshake,
)
from torrent_engine.protocol.wire.upload_queue import RequestBudget

INFO_HASH = InfoHash(b"\xaa" * 20)
OUR_ID = PeerId(b"-TE0100-" + b"u" * 12)
THEIR_ID = PeerId(b"-XX0100-" + b"t" * 12)
GEOMETRY = Geometry(total_bytes=10 * 64 * KIB + 20_000, piece_bytes=64 * KIB)
"""Eleven pieces, the last of 20,000 bytes."""

TINY_BUFFERS = TransferConfig(receive_buffer_bytes=64, slow_receive_buffer_bytes=32)
"""Receive buffers that every message has to straddle."""


def make_connection(
    *,
    geometry: Geometry | None = GEOMETRY,
    fast: bool = True,
    extensions: Mapping[str, int] | None = None,
    limits: WireLimits | None = None,
    transfer: TransferConfig | None = None,
    buffers: BufferPool | None = None,
    requests: RequestBudget | None = None,
    joins_blocks: bool = False,
    peer_id: PeerId = OUR_ID,
    now: float = 0.0,
) -> PeerConnection:
    return PeerConnection(
        geometry=geometry,
        info_hash=INFO_HASH,
        peer_id=peer_id,
        fast_extension=fast,
        extensions=extensions,
        limits=limits,
        transfer=transfer,
        buffers=buffers,
        requests=requests,
        joins_blocks=joins_blocks,
        now=now,
    )


def their_handshake(
    *, fast: bool = True, extensions: bool = True, dht: bool = False, v2: bool = False
) -> bytes:
    return encode_handshake(INFO_HASH, THEIR_ID, fast=fast, extensions=extensions, dht=dht, v2=v2)


def open_connection(
    *,
    geometry: Geometry = GEOMETRY,
    fast: bool = True,
    extensions: Mapping[str, int] | None = None,
    limits: WireLimits | None = None,
    transfer: TransferConfig | None = None,
    buffers: BufferPool | None = None,
    requests: RequestBudget | None = None,
    joins_blocks: bool = False,
    now: float = 0.0,
) -> PeerConnection:
    """Return a connection whose handshakes are over and whose output is empty."""
    connection = make_connection(
        geometry=geometry,
        fast=fast,
        extensions=extensions,
        limits=limits,
        transfer=transfer,
        buffers=buffers,
        requests=requests,
        joins_blocks=joins_blocks,
        now=now,
    )
    connection.sender.send_handshake()
    connection.receive_data(their_handshake(), now=now)
    connection.data_to_send()
    return connection


def feed(
    connection: PeerConnection, data: bytes, *, chunk_bytes: int | None = None, now: float = 0.0
) -> list[PeerEvent]:
    """Feed bytes in chunks of one size; all at once without a size."""
    step = chunk_bytes or max(len(data), 1)
    events: list[PeerEvent] = []
    for start in range(0, len(data), step):
        events += connection.receive_data(data[start : start + step], now=now)
    return events


def sent(connection: PeerConnection) -> bytes:
    """Take what the connection wants to send, as one string."""
    return b"".join(connection.data_to_send())


def payload(event: PeerEvent) -> bytes:
    assert isinstance(event, BlockReceived)
    return b"".join(event.views)


def plain(events: Iterable[PeerEvent]) -> list[object]:
    """Return events so that they compare equal however the bytes were cut into reads."""
    result: list[object] = []
    for event in events:
        if isinstance(event, BlockReceived):
            key = event.piece_index, event.begin_bytes, event.length_bytes
            result.append((BlockReceived, *key, payload(event)))
        elif isinstance(event, BlocksRequested):
            result.extend(event.requests)
        elif isinstance(event, ProtocolViolated):
            result.append((ProtocolViolated, event.error.bep, str(event.error)))
        else:
            result.append(event)
    return result


class PeerPair:
    """Two connections for the same torrent; what one sends, :meth:`pump` gives to the other."""

    def __init__(self, ours: PeerConnection, theirs: PeerConnection) -> None:
        self.ours = ours
        self.theirs = theirs

    def pump(
        self, *, now: float = 0.0, chunk_bytes: int | None = None
    ) -> tuple[list[PeerEvent], list[PeerEvent]]:
        """Carry bytes until both sides are quiet; return (our events, their events)."""
        seen: tuple[list[PeerEvent], list[PeerEvent]] = ([], [])
        ends: Sequence[tuple[PeerConnection, PeerConnection, list[PeerEvent]]] = (
            (self.theirs, self.ours, seen[0]),
            (self.ours, self.theirs, seen[1]),
        )
        while self.ours.has_data_to_send or self.theirs.has_data_to_send:
            for sender, receiver, events in ends:
                events.extend(feed(receiver, sent(sender), chunk_bytes=chunk_bytes, now=now))
        return seen


def make_pair(
    *,
    geometry: Geometry = GEOMETRY,
    fast: bool = True,
    extensions: Mapping[str, int] | None = None,
    transfer: TransferConfig | None = None,
) -> PeerPair:
    """Return two connections that have shaken hands."""
    made = [
        make_connection(
            geometry=geometry, fast=fast, extensions=extensions, transfer=transfer, peer_id=peer_id
        )
        for peer_id in (OUR_ID, THEIR_ID)
    ]
    for connection in made:
        connection.sender.send_handshake()
    pair = PeerPair(made[0], made[1])
    pair.pump()
    return pair
