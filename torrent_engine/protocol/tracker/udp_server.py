"""The UDP tracker protocol, server side.

Connection ids are a keyed hash of the client's address and the minute, so that nothing is stored
for clients whose address is not verified. Source: BEP 15, 41.
"""

from collections import Counter
from dataclasses import replace
from hashlib import blake2b
from ipaddress import ip_address
from typing import Final

from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import SHA1_BYTES, InfoHash, PeerAddress, PeerId
from torrent_engine.base.operators import network_of, operator_of
from torrent_engine.codec.compact import encode_peers
from torrent_engine.protocol.tracker.announce import (
    AnnounceEvent,
    AnnounceRequest,
    AnnounceTotals,
)
from torrent_engine.protocol.tracker.swarms import SwarmStore
from torrent_engine.protocol.tracker.udp_announce import (
    ACTION_ANNOUNCE,
    ACTION_CONNECT,
    ACTION_ERROR,
    ACTION_SCRAPE,
    ANNOUNCE_REQUEST,
    ANNOUNCE_RESPONSE,
    CONNECT_RESPONSE,
    MAX_SCRAPED_TORRENTS,
    OPTION_END,
    OPTION_NOP,
    OPTION_URL_DATA,
    PROTOCOL_ID,
    REQUEST_HEADER,
    RESPONSE_HEADER,
    SCRAPE_ENTRY,
)

EPOCH_S: Final = 60.0
ACCEPTED_EPOCHS: Final = 3  # BEP 15: an id is valid for two minutes after it was sent
DEFAULT_NUMWANT: Final = 50
MAX_REQUESTS_PER_S: Final = 500  # ours: of one operator; a response takes 0.2 ms
MAX_NETWORK_REQUESTS_PER_S: Final = 5_000  # ours: of one network; it may be that of a carrier
MAX_PEERS_V4: Final = 200
MAX_PEERS_V6: Final = 76  # 20 + 76 x 18 bytes still fit one packet of 1400 bytes
_OPTION_HEADER_BYTES: Final = 2
_EVENTS: Final = {event.value: event for event in AnnounceEvent}
"""Others are no event, as for opentracker: libtorrent sends 4 for "paused" (BEP 21)."""


class UdpTracker:
    """A UDP tracker on a :class:`SwarmStore`; ``secret`` is the key of the connection ids."""

    def __init__(self, swarms: SwarmStore, *, interval_s: int, secret: bytes) -> None:
        self._swarms = swarms
        self._interval_s = interval_s
        self._secret = secret
        self.announces = 0
        self.scrapes = 0
        self.dropped = 0
        self._second = 0
        self._requests: Counter[str] = Counter()
        """Of each operator in this second."""
        self._network_requests: Counter[str] = Counter()
        """Of each network in this second, without those that an operator had too many."""

    def handle(self, packet: bytes, source: PeerAddress, *, now: float) -> bytes | None:
        """Return the response to a datagram; None for invalid or throttled requests.

        Without a valid connection id the response is no longer than the request (row C1).
        """
        if len(packet) < REQUEST_HEADER.size:
            self.dropped += 1
            return None
        connection_id, action, transaction_id = REQUEST_HEADER.unpack_from(packet)
        if action == ACTION_CONNECT and connection_id == PROTOCOL_ID:
            own_id = self._connection_id(source, _epoch(now))
            return CONNECT_RESPONSE.pack(ACTION_CONNECT, transaction_id, own_id)
        if not self._is_ours(connection_id, source, now):
            self.dropped += 1
            return None
        if not self._admits(source, now):
            self.dropped += 1
            return None
        try:
            return self._answer(action, packet, source, now)
        except RemoteProtocolError as error:
            return RESPONSE_HEADER.pack(ACTION_ERROR, transaction_id) + str(error).encode()

    def _answer(self, action: int, packet: bytes, source: PeerAddress, now: float) -> bytes:
        transaction_id = REQUEST_HEADER.unpack_from(packet)[2]
        if action == ACTION_ANNOUNCE:
            return self._announce(transaction_id, parse_announce(packet), source, now)
        if action == ACTION_SCRAPE:
            return self._scrape(transaction_id, parse_scrape(packet), now)
        raise RemoteProtocolError("unknown action", bep=15)

    def _announce(
        self, transaction_id: int, request: AnnounceRequest, source: PeerAddress, now: float
    ) -> bytes:
        self.announces += 1
        v6 = ":" in source.host
        limited = replace(
            request, numwant=min(request.numwant, MAX_PEERS_V6 if v6 else MAX_PEERS_V4)
        )
        address = PeerAddress(source.host, request.port)
        found = self._swarms.announce(limited, address, now=now, v6=v6)
        counts = self._swarms.scrape(request.info_hash, now=now)
        header = ANNOUNCE_RESPONSE.pack(
            ACTION_ANNOUNCE, transaction_id, self._interval_s, counts.leeches, counts.seeds
        )
        return header + encode_peers([peer.address for peer in found], v6=v6)

    def _scrape(self, transaction_id: int, info_hashes: list[InfoHash], now: float) -> bytes:
        self.scrapes += 1
        parts = [RESPONSE_HEADER.pack(ACTION_SCRAPE, transaction_id)]
        for info_hash in info_hashes:
            counts = self._swarms.scrape(info_hash, now=now)
            parts.append(SCRAPE_ENTRY.pack(counts.seeds, counts.downloads, counts.leeches))
        return b"".join(parts)

    def _admits(self, source: PeerAddress, now: float) -> bool:
        """Return whether an operator, whose address is verified, and its network may request."""
        if int(now) != self._second:
            self._second = int(now)
            self._requests.clear()
            self._network_requests.clear()
        operator = operator_of(source.host)
        self._requests[operator] += 1
        if self._requests[operator] > MAX_REQUESTS_PER_S:
            return False
        network = network_of(source.host)
        self._network_requests[network] += 1
        return self._network_requests[network] <= MAX_NETWORK_REQUESTS_PER_S

    def _is_ours(self, connection_id: int, source: PeerAddress, now: float) -> bool:
        epoch = _epoch(now)
        return any(
            connection_id == self._connection_id(source, epoch - age)
            for age in range(ACCEPTED_EPOCHS)
        )

    def _connection_id(self, source: PeerAddress, epoch: int) -> int:
        text = f"{ip_address(source.host)} {epoch}".encode()
        return int.from_bytes(blake2b(text, key=self._secret, digest_size=8).digest(), "big")


def parse_announce(packet: bytes) -> AnnounceRequest:
    """Parse an announce packet; RemoteProtocolError if it is short or has no port (BEP 15)."""
    if len(packet) < ANNOUNCE_REQUEST.size:
        raise RemoteProtocolError(f"announce request of {len(packet)} bytes", bep=15)
    (_, _, _, info_hash, peer_id, downloaded, left, uploaded, event, _, key, numwant, port) = (
        ANNOUNCE_REQUEST.unpack_from(packet)
    )
    if port == 0:
        raise RemoteProtocolError("port must be 1 to 65535", bep=15)
    return AnnounceRequest(
        info_hash=InfoHash(info_hash),
        peer_id=PeerId(peer_id),
        port=port,
        totals=AnnounceTotals(
            uploaded_bytes=uploaded, downloaded_bytes=downloaded, left_bytes=left
        ),
        event=_EVENTS.get(event, AnnounceEvent.NONE),
        numwant=numwant if numwant >= 0 else DEFAULT_NUMWANT,
        key=key,
    )


def parse_scrape(packet: bytes) -> list[InfoHash]:
    """Parse a scrape packet: 1 to 74 info-hashes; RemoteProtocolError otherwise (BEP 15)."""
    raw = packet[REQUEST_HEADER.size :]
    count = len(raw) // SHA1_BYTES
    if not 0 < count <= MAX_SCRAPED_TORRENTS:
        raise RemoteProtocolError(f"scrape of {count} torrents", bep=15)
    return [InfoHash(raw[i * SHA1_BYTES : (i + 1) * SHA1_BYTES]) for i in range(count)]


def parse_url_options(packet: bytes) -> bytes:
    """Return the path and query that an announce carries in its options (BEP 41); b"" if none.

    Unknown options are passed over. Raises RemoteProtocolError if one runs past the packet's end.
    """
    parts: list[bytes] = []
    position = ANNOUNCE_REQUEST.size
    while position < len(packet) and packet[position] != OPTION_END:
        if packet[position] == OPTION_NOP:
            position += 1
            continue
        start = position + _OPTION_HEADER_BYTES
        end = start + packet[start - 1] if start <= len(packet) else start
        if end > len(packet) or start > len(packet):
            raise RemoteProtocolError("option runs past the end of the packet", bep=41)
        if packet[position] == OPTION_URL_DATA:
            parts.append(packet[start:end])
        position = end
    return b"".join(parts)


def _epoch(now: float) -> int:
    return int(now // EPOCH_S)
