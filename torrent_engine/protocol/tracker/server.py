"""The server side of HTTP announces and scrapes: a request target in, a response out.

Source: BEP 3, 7, 23, 24, 48.
"""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import unquote_to_bytes

from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import SHA1_BYTES, InfoHash, PeerAddress, PeerId
from torrent_engine.codec.bencode import BencodeValue, encode
from torrent_engine.codec.compact import encode_peers
from torrent_engine.protocol.tracker.announce import (
    AnnounceEvent,
    AnnounceRequest,
    AnnounceTotals,
)
from torrent_engine.protocol.tracker.swarms import SwarmPeer, SwarmStore

DEFAULT_NUMWANT: Final = 50
MAX_NUMWANT: Final = 200
MAX_TARGET_BYTES: Final = 8_192
MAX_FIELDS: Final = 200
MAX_SCRAPED_TORRENTS: Final = 74
_MAX_DIGITS: Final = 19  # fits 63 bits with room; int() of more is slow
_PEER_ID_BYTES: Final = 20
_BENCODED: Final = "text/plain"
_EVENTS: Final = {
    b"": AnnounceEvent.NONE,
    b"empty": AnnounceEvent.NONE,
    b"paused": AnnounceEvent.NONE,  # BEP 21
    b"started": AnnounceEvent.STARTED,
    b"completed": AnnounceEvent.COMPLETED,
    b"stopped": AnnounceEvent.STOPPED,
}


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An HTTP response."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpAnnounce:
    """An announce as it came over HTTP, with what only HTTP can ask for."""

    request: AnnounceRequest
    is_compact: bool
    wants_peer_ids: bool
    claimed_ip: str | None
    """The ``ip`` field; believed of loopback clients only."""


class HttpTracker:
    """Answers GET requests for /announce, /scrape and /stats out of a :class:`SwarmStore`."""

    def __init__(self, swarms: SwarmStore, *, interval_s: int) -> None:
        self._swarms = swarms
        self._interval_s = interval_s
        self.announces = 0
        self.scrapes = 0
        self.refused = 0

    def handle(self, target: bytes, source: PeerAddress, *, now: float) -> HttpAnswer:
        """Answer the request for ``target`` (path and query) that came from ``source``.

        Never raises: what is wrong with the request is a bencoded failure reason.
        """
        path, _, query = target.partition(b"?")
        try:
            if path == b"/announce":
                return self._announce(parse_announce(query), source, now)
            if path == b"/scrape":
                return self._scrape(parse_scrape(query), now)
        except RemoteProtocolError as error:
            self.refused += 1
            return HttpAnswer(200, _BENCODED, encode({b"failure reason": str(error).encode()}))
        if path == b"/stats":
            return HttpAnswer(200, "text/plain; charset=utf-8", self._stats())
        return HttpAnswer(404, "text/plain; charset=utf-8", b"not found\n")

    def _announce(self, announce: HttpAnnounce, source: PeerAddress, now: float) -> HttpAnswer:
        self.announces += 1
        request = announce.request
        address = PeerAddress(_believed_host(announce.claimed_ip, source.host), request.port)
        peers = self._swarms.announce(request, address, now=now)
        counts = self._swarms.scrape(request.info_hash, now=now)
        fields: dict[bytes, BencodeValue] = {
            b"interval": self._interval_s,
            b"complete": counts.seeds or 0,
            b"incomplete": counts.leeches or 0,
            b"downloaded": counts.downloads or 0,
            b"external ip": ip_address(source.host).packed,
        }
        fields.update(_peer_fields(peers, announce))
        return HttpAnswer(200, _BENCODED, encode(fields))

    def _scrape(self, info_hashes: list[InfoHash], now: float) -> HttpAnswer:
        self.scrapes += 1
        files: dict[bytes, BencodeValue] = {}
        for info_hash in info_hashes:
            counts = self._swarms.scrape(info_hash, now=now)
            files[info_hash] = {
                b"complete": counts.seeds or 0,
                b"downloaded": counts.downloads or 0,
                b"incomplete": counts.leeches or 0,
            }
        return HttpAnswer(200, _BENCODED, encode({b"files": files}))

    def _stats(self) -> bytes:
        torrents, peers = self._swarms.totals()
        lines = (
            f"torrents {torrents}",
            f"peers {peers}",
            f"http_announces {self.announces}",
            f"http_scrapes {self.scrapes}",
            f"http_refused {self.refused}",
        )
        return ("\n".join(lines) + "\n").encode()


def parse_announce(query: bytes) -> HttpAnnounce:
    """Parse the query of an announce; RemoteProtocolError names the field that is wrong."""
    fields = dict(reversed(_fields(query)))  # of a repeated field the first counts
    event = _EVENTS.get(fields.get(b"event", b""))
    if event is None:
        raise RemoteProtocolError("unknown event", bep=3)
    port = _number(fields, b"port")
    if not 0 < port <= 0xFFFF:
        raise RemoteProtocolError("port must be 1 to 65535", bep=3)
    numwant = _number(fields, b"numwant", DEFAULT_NUMWANT)
    request = AnnounceRequest(
        info_hash=_info_hash(fields.get(b"info_hash", b"")),
        peer_id=PeerId(_exactly(fields.get(b"peer_id", b""), _PEER_ID_BYTES, "peer_id")),
        port=port,
        totals=AnnounceTotals(
            uploaded_bytes=_number(fields, b"uploaded", 0),
            downloaded_bytes=_number(fields, b"downloaded", 0),
            left_bytes=_number(fields, b"left", 1),
        ),
        event=event,
        numwant=min(numwant, MAX_NUMWANT),
    )
    return HttpAnnounce(
        request=request,
        is_compact=fields.get(b"compact") == b"1",
        wants_peer_ids=fields.get(b"no_peer_id") != b"1",
        claimed_ip=_claimed_ip(fields.get(b"ip")),
    )


def parse_scrape(query: bytes) -> list[InfoHash]:
    """Parse the query of a scrape: 1 to 74 info-hashes; RemoteProtocolError otherwise (BEP 48)."""
    found = [_info_hash(value) for name, value in _fields(query) if name == b"info_hash"]
    if not 0 < len(found) <= MAX_SCRAPED_TORRENTS:
        raise RemoteProtocolError(f"scrape of {len(found)} torrents", bep=48)
    return found


def _fields(query: bytes) -> list[tuple[bytes, bytes]]:
    if len(query) > MAX_TARGET_BYTES or query.count(b"&") >= MAX_FIELDS:
        raise RemoteProtocolError("query is too long", bep=3)
    pairs = [field.partition(b"=") for field in query.split(b"&") if field]
    return [
        (unquote_to_bytes(name), unquote_to_bytes(value.replace(b"+", b" ")))
        for name, _, value in pairs
    ]


def _number(fields: dict[bytes, bytes], name: bytes, default: int | None = None) -> int:
    raw = fields.get(name)
    if raw is None and default is not None:
        return default
    if raw is not None and name in {b"numwant", b"left"} and raw.startswith(b"-"):
        return DEFAULT_NUMWANT if name == b"numwant" else 1  # -1 is how some say "unknown"
    if raw is None or not raw.isdigit() or len(raw) > _MAX_DIGITS:
        raise RemoteProtocolError(f"{name.decode()} is missing or no number", bep=3)
    return int(raw)


def _info_hash(raw: bytes) -> InfoHash:
    return InfoHash(_exactly(raw, SHA1_BYTES, "info_hash"))


def _exactly(raw: bytes, length: int, name: str) -> bytes:
    if len(raw) != length:
        raise RemoteProtocolError(f"{name} must have {length} bytes", bep=3)
    return raw


def _claimed_ip(raw: bytes | None) -> str | None:
    try:
        return str(ip_address((raw or b"").decode("ascii").strip("[]")))
    except ValueError:
        return None


def _believed_host(claimed: str | None, source: str) -> str:
    """Only who sits on the tracker's own machine may announce for another address."""
    if claimed is not None and "%" not in claimed and ip_address(source).is_loopback:
        return claimed
    return source


def _peer_fields(peers: list[SwarmPeer], announce: HttpAnnounce) -> dict[bytes, BencodeValue]:
    addresses = [peer.address for peer in peers]
    if announce.is_compact:
        fields: dict[bytes, BencodeValue] = {b"peers": encode_peers(addresses, v6=False)}
        if peers6 := encode_peers(addresses, v6=True):
            fields[b"peers6"] = peers6
        return fields
    return {b"peers": [_peer_entry(peer, announce.wants_peer_ids) for peer in peers]}


def _peer_entry(peer: SwarmPeer, with_id: bool) -> BencodeValue:  # noqa: FBT001 - private
    entry: dict[bytes, BencodeValue] = {
        b"ip": peer.address.host.encode(),
        b"port": peer.address.port,
    }
    if with_id:
        entry[b"peer id"] = peer.peer_id
    return entry
