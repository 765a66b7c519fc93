"""The HTTP tracker protocol: the query string and the bencoded response.

Source: BEP 3, 7, 21, 23, 24, 31, 48.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import quote_from_bytes

from torrent_engine.base.config import TRACKER_BENCODE_LIMITS
from torrent_engine.base.errors import BencodeError, RemoteProtocolError, TrackerRefusedError
from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.codec.bencode import BencodeValue
from torrent_engine.codec.compact import (
    IPV4_PEER_BYTES,
    IPV6_PEER_BYTES,
    decode_ipv4_peers,
    decode_ipv6_peers,
)
from torrent_engine.codec.tolerant import decode_reply
from torrent_engine.protocol.tracker.announce import (
    MAX_NUMBER,
    AnnounceEvent,
    AnnounceRequest,
    AnnounceResponse,
    ScrapeCounts,
    tracker_text,
)

MAX_TRACKER_ID_BYTES: Final = 256  # ours: it is sent with every later request
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
    elif totals.is_partial_seed:
        fields.append("event=paused")  # BEP 21
    if request.tracker_id is not None:
        fields.append(f"trackerid={quote_from_bytes(request.tracker_id, safe='')}")
    return _with_query(target, fields)


def scrape_target(target: str, info_hashes: Iterable[InfoHash]) -> str:
    """Return path and query of a scrape (BEP 48): one ``info_hash`` field for each torrent."""
    return _with_query(target, [f"info_hash={quote_from_bytes(x, safe='')}" for x in info_hashes])


def parse_announce_response(body: bytes, *, max_peers: int) -> AnnounceResponse:
    """Parse an HTTP announce response; peers beyond ``max_peers`` are dropped.

    Peers without a literal address or with port 0 are skipped; fields of a wrong type or out of
    range count as missing. Raises TrackerRefusedError for a "failure reason", and
    RemoteProtocolError if it is no dictionary, or if no entry of the peer list is a peer.
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
    """Parse an HTTP scrape response; torrents that were not requested are dropped.

    Raises TrackerRefusedError for a failure reason, RemoteProtocolError for a violation of BEP 48.
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
        value, _ = decode_reply(body, limits=TRACKER_BENCODE_LIMITS)
    except BencodeError as error:
        raise RemoteProtocolError(f"tracker response: {error}", bep=3) from error
    reasons = [_text(value, key) for key in (b"failure reason", b"failure_reason")]
    if reasons != [None, None]:
        reason = next(filter(None, reasons), "no reason given")
        raise TrackerRefusedError(reason, retry_in_s=_retry_in_s(value))
    return value


def _retry_in_s(fields: Fields) -> float | None:
    """Return "retry in" (BEP 31): minutes, or the word "never"."""
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
    return value if isinstance(value, int) and 0 <= value <= MAX_NUMBER else None


def _seconds(fields: Fields, key: bytes) -> float | None:
    return float(_count(fields, key) or 0) or None


def _tracker_id(fields: Fields) -> bytes | None:
    value = fields.get(b"tracker id")
    return value if isinstance(value, bytes) and 0 < len(value) <= MAX_TRACKER_ID_BYTES else None


def _external_ip(fields: Fields) -> str | None:
    """Return "external ip" (BEP 24): 4 or 16 bytes in network order; else None."""
    raw = fields.get(b"external ip")
    if not isinstance(raw, bytes) or len(raw) not in {4, 16}:
        return None
    return str(IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw))


def _peers(fields: Fields, max_peers: int) -> tuple[PeerAddress, ...]:
    peers, peers6 = fields.get(b"peers"), fields.get(b"peers6")
    entries = [each for value in (peers, peers6) if isinstance(value, list) for each in value]
    entries = entries[:max_peers]
    found = [peer for entry in entries if (peer := _peer_entry(entry)) is not None]
    if isinstance(peers, bytes):
        found += decode_ipv4_peers(_whole(peers, max_peers, IPV4_PEER_BYTES))
    if isinstance(peers6, bytes):
        found += decode_ipv6_peers(_whole(peers6, max_peers, IPV6_PEER_BYTES))
    if not found and entries and not any(map(_is_peer_entry, entries)):
        raise RemoteProtocolError("a peer list without any valid peer", bep=3)
    return tuple(dict.fromkeys(peer for peer in found[:max_peers] if peer.port))


def _whole(blob: bytes, max_peers: int, peer_bytes: int) -> bytes:
    """Return the complete peers of a compact list, up to the cap."""
    return blob[: min(len(blob) // peer_bytes, max_peers) * peer_bytes]


def _is_peer_entry(entry: BencodeValue) -> bool:
    if not isinstance(entry, dict):
        return False
    return isinstance(entry.get(b"ip"), bytes) and isinstance(entry.get(b"port"), int)


def _peer_entry(entry: BencodeValue) -> PeerAddress | None:
    """Return a peer of the non-compact form (BEP 3); None for host names and malformed entries."""
    if not isinstance(entry, dict):
        return None
    ip, port = entry.get(b"ip"), entry.get(b"port")
    if not isinstance(ip, bytes) or not isinstance(port, int):
        return None
    try:
        address = ip_address(ip.decode("ascii"))
    except ValueError:
        return None
    if not 0 < port <= 0xFFFF or "%" in str(address):
        return None
    return PeerAddress(str(address), port)
