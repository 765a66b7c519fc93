"""Owns the HTTP tracker protocol: the query that is sent, the bencoding that comes back.

Source: BEP 3, 7, 23, 24, 31, 48.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import quote_from_bytes

from torrent_engine.base.config import TRACKER_BENCODE_LIMITS
from torrent_engine.base.errors import BencodeError, RemoteProtocolError, TrackerRefusedError
from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.codec.bencode import BencodeValue, decode
from torrent_engine.codec.compact import (
    IPV4_PEER_BYTES,
    IPV6_PEER_BYTES,
    decode_ipv4_peers,
    decode_ipv6_peers,
)
from torrent_engine.protocol.tracker.announce import (
    AnnounceEvent,
    AnnounceRequest,
    AnnounceResponse,
    ScrapeCounts,
    tracker_text,
)

MAX_TRACKER_ID_BYTES: Final = 256  # ours: it goes back in every later URL
_SECONDS_PER_MINUTE: Final = 60.0
Fields = dict[bytes, BencodeValue]


def announce_target(target: str, request: AnnounceRequest) -> str:
    """Return path and query of an announce: ``target`` of the tracker's URL plus BEP 3's fields."""
    totals = request.totals
    fields = [
        f"info_hash={quote_from_bytes(request.info_hash, safe='')}",
        f"peer_id={quote_from_bytes(request.peer_id, safe='')}",
        f"port={request.port}",
        f"uploaded={totals.uploaded_bytes}",
        f"downloaded={totals.downloaded_bytes}",
        f"left={totals.left_bytes}",
        f"numwant={request.numwant}",
        f"key={request.key & 0xFFFFFFFF:08x}",
        "compact=1",
        "no_peer_id=1",
    ]
    if request.event is not AnnounceEvent.NONE:
        fields.append(f"event={request.event.name.lower()}")
    if request.tracker_id is not None:
        fields.append(f"trackerid={quote_from_bytes(request.tracker_id, safe='')}")
    return _with_query(target, fields)


def scrape_target(target: str, info_hashes: Iterable[InfoHash]) -> str:
    """Return path and query of a scrape (BEP 48): one ``info_hash`` field for each torrent."""
    return _with_query(target, [f"info_hash={quote_from_bytes(x, safe='')}" for x in info_hashes])


def parse_announce_response(body: bytes, *, max_peers: int) -> AnnounceResponse:
    """Parse what an HTTP tracker answered to an announce; peers past ``max_peers`` are dropped.

    Peers without a literal address or with port 0 are left out. Raises TrackerRefusedError for a
    "failure reason" and RemoteProtocolError for anything that breaks BEP 3, 7 or 23.
    """
    fields = _decoded(body)
    return AnnounceResponse(
        interval_s=_seconds(fields, b"interval"),
        peers=_peers(fields, max_peers),
        min_interval_s=_seconds(fields, b"min interval"),
        seeds=_count(fields, b"complete"),
        leeches=_count(fields, b"incomplete"),
        downloads=_count(fields, b"downloaded"),
        tracker_id=_tracker_id(fields),
        external_ip=_external_ip(fields),
        warning=_text(fields, b"warning message"),
    )


def parse_scrape_response(
    body: bytes, info_hashes: Sequence[InfoHash]
) -> dict[InfoHash, ScrapeCounts]:
    """Parse what an HTTP tracker answered to a scrape; torrents not asked for are dropped.

    Raises TrackerRefusedError for a failure reason, RemoteProtocolError for what breaks BEP 48.
    """
    files = _decoded(body).get(b"files")
    if not isinstance(files, dict):
        raise RemoteProtocolError("scrape response without files", bep=48)
    found: dict[InfoHash, ScrapeCounts] = {}
    for info_hash in info_hashes:
        counts = files.get(info_hash)
        if isinstance(counts, dict):
            found[info_hash] = ScrapeCounts(
                seeds=_count(counts, b"complete"),
                leeches=_count(counts, b"incomplete"),
                downloads=_count(counts, b"downloaded"),
            )
    return found


def _with_query(target: str, fields: list[str]) -> str:
    separator = "&" if "?" in target else "?"
    return f"{target}{separator}{'&'.join(fields)}"


def _decoded(body: bytes) -> Fields:
    try:
        value = decode(body, limits=TRACKER_BENCODE_LIMITS)
    except BencodeError as error:
        raise RemoteProtocolError(f"tracker response: {error}", bep=3) from error
    if not isinstance(value, dict):
        raise RemoteProtocolError("tracker response is no dictionary", bep=3)
    reason = _text(value, b"failure reason") or _text(value, b"failure_reason")
    if reason is not None:
        raise TrackerRefusedError(reason, retry_in_s=_retry_in_s(value))
    return value


def _retry_in_s(fields: Fields) -> float | None:
    """BEP 31: minutes, or the word "never"."""
    retry_in = fields.get(b"retry in")
    if retry_in == b"never":
        return float("inf")
    # Some send the digits as a string.
    if isinstance(retry_in, bytes) and retry_in.isdigit() and len(retry_in) < 10:
        retry_in = int(retry_in)
    if isinstance(retry_in, int) and retry_in >= 0:
        return retry_in * _SECONDS_PER_MINUTE
    return None


def _text(fields: Fields, key: bytes) -> str | None:
    value = fields.get(key)
    return tracker_text(value) if isinstance(value, bytes) else None


def _count(fields: Fields, key: bytes) -> int | None:
    value = fields.get(key)
    return value if isinstance(value, int) and value >= 0 else None


def _seconds(fields: Fields, key: bytes) -> float | None:
    value = fields.get(key)
    return float(value) if isinstance(value, int) and value > 0 else None


def _tracker_id(fields: Fields) -> bytes | None:
    value = fields.get(b"tracker id")
    return value if isinstance(value, bytes) and 0 < len(value) <= MAX_TRACKER_ID_BYTES else None


def _external_ip(fields: Fields) -> str | None:
    """BEP 24: 4 or 16 bytes in network order; anything else is as if it were not there."""
    raw = fields.get(b"external ip")
    if not isinstance(raw, bytes) or len(raw) not in {4, 16}:
        return None
    return str(IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw))


def _peers(fields: Fields, max_peers: int) -> tuple[PeerAddress, ...]:
    peers = fields.get(b"peers", b"")
    peers6 = fields.get(b"peers6", b"")
    if isinstance(peers, bytes):
        found = decode_ipv4_peers(_cut(peers, max_peers, IPV4_PEER_BYTES))
    elif isinstance(peers, list):
        found = [peer for entry in peers[:max_peers] if (peer := _peer_entry(entry)) is not None]
    else:
        raise RemoteProtocolError("peers are neither string nor list", bep=23)
    if not isinstance(peers6, bytes):
        raise RemoteProtocolError("peers6 is no string", bep=7)
    found += decode_ipv6_peers(_cut(peers6, max_peers, IPV6_PEER_BYTES))
    return tuple(dict.fromkeys(peer for peer in found[:max_peers] if peer.port))


def _cut(blob: bytes, max_peers: int, peer_bytes: int) -> bytes:
    """Drop peers past the cap; a list of bad length stays bad."""
    kept = max_peers * peer_bytes
    return blob if len(blob) % peer_bytes else blob[:kept]


def _peer_entry(entry: BencodeValue) -> PeerAddress | None:
    """One peer of the old form (BEP 3); None for a name that would need a look-up, or nonsense."""
    if not isinstance(entry, dict):
        raise RemoteProtocolError("peer is no dictionary", bep=3)
    ip, port = entry.get(b"ip"), entry.get(b"port")
    if not isinstance(ip, bytes) or not isinstance(port, int):
        raise RemoteProtocolError("peer without ip or port", bep=3)
    try:
        address = ip_address(ip.decode("ascii"))
    except ValueError:
        return None
    if not 0 < port <= 0xFFFF or "%" in str(address):
        return None
    return PeerAddress(str(address), port)
