"""The packets of the UDP tracker protocol, client side.

Source: BEP 15, 41.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final

from torrent_engine.base.errors import RemoteProtocolError, TrackerRefusedError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.compact import (
    IPV4_PEER_BYTES,
    IPV6_PEER_BYTES,
    decode_ipv4_peers,
    decode_ipv6_peers,
)
from torrent_engine.protocol.tracker.announce import (
    MAX_NUMBER,
    AnnounceRequest,
    AnnounceResponse,
    ScrapeCounts,
    tracker_text,
)

PROTOCOL_ID: Final = 0x41727101980  # BEP 15
ACTION_CONNECT: Final = 0
ACTION_ANNOUNCE: Final = 1
ACTION_SCRAPE: Final = 2
ACTION_ERROR: Final = 3
OPTION_END: Final = 0  # BEP 41
OPTION_NOP: Final = 1
OPTION_URL_DATA: Final = 2
MAX_OPTION_BYTES: Final = 255
MAX_SCRAPED_TORRENTS: Final = 74  # BEP 15: "up to about 74"

REQUEST_HEADER: Final = Struct(">QII")  # connection id (or protocol id), action, transaction id
ANNOUNCE_REQUEST: Final = Struct(">QII20s20sQQQIIIiH")
RESPONSE_HEADER: Final = Struct(">II")  # action, transaction id
CONNECT_RESPONSE: Final = Struct(">IIQ")
ANNOUNCE_RESPONSE: Final = Struct(">IIIII")
SCRAPE_ENTRY: Final = Struct(">III")
_MAX_COUNT: Final = 2**63 - 1


def encode_connect(transaction_id: int) -> bytes:
    """Return a connect request, 16 bytes."""
    return REQUEST_HEADER.pack(PROTOCOL_ID, ACTION_CONNECT, transaction_id)


def encode_announce(
    request: AnnounceRequest, *, connection_id: int, transaction_id: int, target: str = ""
) -> bytes:
    """Return an announce packet: 98 bytes, then the URL's path and query as options (BEP 41)."""
    totals = request.totals
    packet = ANNOUNCE_REQUEST.pack(
        connection_id,
        ACTION_ANNOUNCE,
        transaction_id,
        request.info_hash,
        request.peer_id,
        _count(totals.downloaded_bytes),
        _count(totals.left_bytes),
        _count(totals.uploaded_bytes),
        request.event.value,
        0,  # IP address: the source of the packet
        request.key & 0xFFFFFFFF,
        request.numwant,
        request.port,
    )
    return packet + encode_url_options(target)


def encode_scrape(
    info_hashes: Sequence[InfoHash], *, connection_id: int, transaction_id: int
) -> bytes:
    """Return a scrape packet for up to 74 torrents."""
    header = REQUEST_HEADER.pack(connection_id, ACTION_SCRAPE, transaction_id)
    return header + b"".join(info_hashes)


def encode_url_options(target: str) -> bytes:
    """Return ``target`` (path and query) as URLData options of up to 255 bytes each (BEP 41)."""
    raw = target.encode("ascii")
    parts = [raw[i : i + MAX_OPTION_BYTES] for i in range(0, len(raw), MAX_OPTION_BYTES)]
    options = b"".join(bytes((OPTION_URL_DATA, len(part))) + part for part in parts)
    return options + bytes((OPTION_END,)) if options else b""


def parse_connect_response(packet: bytes) -> int:
    """Return the connection id of a connect response whose header was checked."""
    if len(packet) < CONNECT_RESPONSE.size:
        raise RemoteProtocolError(f"connect response of {len(packet)} bytes", bep=15)
    connection_id: int = CONNECT_RESPONSE.unpack_from(packet)[2]
    return connection_id


def parse_announce_response(packet: bytes, *, v6: bool, max_peers: int) -> AnnounceResponse:
    """Parse an announce response; its peers have the address family of the packet (``v6``).

    Peers with port 0, peers beyond ``max_peers`` and an incomplete last peer are dropped (BEP 15:
    packets may be longer). Raises RemoteProtocolError if it is too short.
    """
    if len(packet) < ANNOUNCE_RESPONSE.size:
        raise RemoteProtocolError(f"announce response of {len(packet)} bytes", bep=15)
    _, _, interval_s, leeches, seeds = ANNOUNCE_RESPONSE.unpack_from(packet)
    peer_bytes = IPV6_PEER_BYTES if v6 else IPV4_PEER_BYTES
    blob = packet[ANNOUNCE_RESPONSE.size :]
    blob = blob[: min(len(blob) // peer_bytes, max_peers) * peer_bytes]
    peers = decode_ipv6_peers(blob) if v6 else decode_ipv4_peers(blob)
    return AnnounceResponse(
        interval_s=float(_plausible(interval_s) or 0) or None,
        peers=tuple(dict.fromkeys(peer for peer in peers if peer.port)),
        seeds=_plausible(seeds),
        leeches=_plausible(leeches),
    )


def parse_scrape_response(
    packet: bytes, info_hashes: Sequence[InfoHash]
) -> dict[InfoHash, ScrapeCounts]:
    """Parse a scrape response: one entry for each of ``info_hashes``, in order.

    Torrents without an entry are left out. Raises RemoteProtocolError if there is no entry at all.
    """
    count = min((len(packet) - RESPONSE_HEADER.size) // SCRAPE_ENTRY.size, len(info_hashes))
    if info_hashes and count < 1:
        raise RemoteProtocolError(f"scrape response of {len(packet)} bytes", bep=15)
    found: dict[InfoHash, ScrapeCounts] = {}
    for index, info_hash in enumerate(info_hashes[:count]):
        offset = RESPONSE_HEADER.size + SCRAPE_ENTRY.size * index
        seeds, downloads, leeches = SCRAPE_ENTRY.unpack_from(packet, offset)
        found[info_hash] = ScrapeCounts(
            _plausible(seeds), _plausible(leeches), _plausible(downloads)
        )
    return found


def parse_error_response(packet: bytes) -> TrackerRefusedError:
    """Return the error of an error response (action 3)."""
    return TrackerRefusedError(tracker_text(packet[RESPONSE_HEADER.size :]) or "no reason given")


def _plausible(number: int) -> int | None:
    """Return a plausible number; None for an unsigned -1 and the like."""
    return number if number <= MAX_NUMBER else None


def _count(value: int) -> int:
    return min(max(value, 0), _MAX_COUNT)
