"""Fuzz targets of the tracker protocols, both sides: any bytes raise declared errors only.

How to run them: ``python -m fuzz --help``.
"""

import random
from collections.abc import Callable
from contextlib import suppress

from fuzz.damage import damaged
from fuzz.runner import FuzzTarget, in_time
from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.errors import RemoteProtocolError, TrackerError, TrackerRefusedError
from torrent_engine.base.ids import InfoHash, PeerAddress, PeerId
from torrent_engine.codec.bencode import encode
from torrent_engine.protocol.tracker import http_announce, server, udp_announce, udp_server
from torrent_engine.protocol.tracker.announce import (
    AnnounceEvent,
    AnnounceRequest,
    AnnounceTotals,
)
from torrent_engine.protocol.tracker.swarms import SwarmLimits, SwarmStore
from torrent_engine.protocol.tracker.udp_exchange import ExchangeState, UdpAnnounce, UdpExchange
from torrent_engine.protocol.tracker.urls import (
    parse_tracker_url,
    redact_text,
    redact_url,
    scrape_url,
)

INFO_HASH = InfoHash(b"\xaa" * 20)
SOURCE = PeerAddress("192.0.2.1", 5000)
REQUEST = AnnounceRequest(
    info_hash=INFO_HASH,
    peer_id=PeerId(b"-XX0100-" + b"f" * 12),
    port=6881,
    totals=AnnounceTotals(uploaded_bytes=1, downloaded_bytes=2, left_bytes=3),
    event=AnnounceEvent.STARTED,
)
MAX_PEERS = 5
DECLARED = (RemoteProtocolError, TrackerRefusedError)


def http_response(data: bytes) -> None:
    """What an HTTP tracker answers."""
    with suppress(*DECLARED):
        response = http_announce.parse_announce_response(data, max_peers=MAX_PEERS)
        assert len(response.peers) <= MAX_PEERS
        assert all(0 < peer.port <= 0xFFFF for peer in response.peers)
    with suppress(*DECLARED):
        assert len(http_announce.parse_scrape_response(data, [INFO_HASH])) <= 1


def udp_response(data: bytes) -> None:
    """What a UDP tracker answers: lengths in one byte, then that many bytes."""
    config = TrackerConfig(max_peers=MAX_PEERS)
    exchange = UdpExchange(UdpAnnounce(REQUEST), v6=False, rng=random.Random(1), config=config)
    now = 0.0
    exchange.start(now=now)
    transaction = bytes(4)
    while data:
        for packet in exchange.datagrams_to_send():
            transaction = packet[12:16]
        size, data = data[0] % 64, data[1:]
        packet, data = data[:size], data[size:]
        exchange.receive_datagram(packet[:4] + transaction + packet[4:], now=now)
        exchange.receive_datagram(packet, now=now)
        if size == 0:
            now = min(exchange.next_timer(), now + 1e4)
            exchange.handle_timer(now=now)
    is_done = exchange.state is ExchangeState.DONE
    assert is_done == (exchange.answer is not None or exchange.error is not None)


def http_request(data: bytes) -> None:
    """What an HTTP client asks the embedded tracker."""
    swarms = SwarmStore(interval_s=60.0, rng=random.Random(1), limits=SwarmLimits(3))
    tracker = server.HttpTracker(swarms, interval_s=60)
    for path in (b"/announce?", b"/scrape?", b""):
        answer = tracker.handle(path + data, SOURCE, now=0.0)
        assert answer.status in {200, 404}


def udp_request(data: bytes) -> None:
    """What a UDP client sends the embedded tracker, with a good connection id and without."""
    swarms = SwarmStore(interval_s=60.0, rng=random.Random(1), limits=SwarmLimits(3))
    tracker = udp_server.UdpTracker(swarms, interval_s=60, secret=b"k" * 32)
    assert len(tracker.handle(data, SOURCE, now=0.0) or b"") <= len(data)
    connected = tracker.handle(udp_announce.encode_connect(1), SOURCE, now=0.0)
    assert connected is not None
    tracker.handle(connected[8:16] + data, SOURCE, now=0.0)
    with suppress(RemoteProtocolError):
        udp_server.parse_url_options(bytes(98) + data)


def url(data: bytes) -> None:
    """What a .torrent calls a tracker."""
    text = data.decode("utf-8", "surrogateescape")
    for candidate in (text, f"http://{text}", f"udp://{text}"):
        with suppress(TrackerError):
            parts = parse_tracker_url(candidate)
            assert parts.target.isascii()
            assert parts.host.isascii()
        redact_url(candidate)
        redact_text("some message", candidate)
        scrape_url(candidate)


PEERS = b"\x01\x02\x03\x04\x00\x50"
CHECKS = {
    "tracker-http-answer": http_response,
    "tracker-udp-answer": udp_response,
    "tracker-http-request": http_request,
    "tracker-udp-request": udp_request,
    "tracker-url": url,
}
SEEDS: dict[str, tuple[bytes, ...]] = {
    "tracker-http-answer": (
        encode({"interval": 1800, "peers": PEERS * 9, "peers6": bytes(36), "external ip": b"1234"}),
        encode({"peers": [{"ip": "1.2.3.4", "port": 80}], "tracker id": "x", "complete": 5}),
        encode({"failure reason": "no", "retry in": "never"}),
        b"d5:filesd20:" + INFO_HASH + b"d8:completei1eeee",
    ),
    "tracker-udp-answer": (
        b"\x0c" + bytes(4) + b"\x11" * 8 + b"\x16\0\0\0\x01" + bytes(12) + PEERS,
        b"\x00\x00\x00\x00\x0c" + bytes(12) + b"\x00\x00\x00\x08\0\0\0\x03nope",
    ),
    "tracker-http-request": (
        http_announce.announce_target("", REQUEST).encode()[1:],
        http_announce.scrape_target("", [INFO_HASH] * 3).encode()[1:],
        b"/stats?x",
    ),
    "tracker-udp-request": (
        udp_announce.encode_connect(1),
        udp_announce.encode_announce(
            REQUEST, connection_id=0, transaction_id=1, target="/announce?a=b"
        )[8:],
        udp_announce.encode_scrape([INFO_HASH] * 3, connection_id=0, transaction_id=1)[8:],
    ),
    "tracker-url": (
        b"user:pass@tracker.example:6969/passkey/announce?k=v#f",
        b"[2001:db8::1]:80/a",
    ),
}
SCRAPS = (b"99999999999", b"%", b"-1", b"e", b"i18446744073709551615e", b"0:")


def _mutation_of(name: str) -> Callable[[random.Random], bytes]:
    """Return what makes something like the input of a parser, mostly damaged."""

    def mutated(rng: random.Random) -> bytes:
        return damaged(rng.choice(SEEDS[name]), rng, SCRAPS)

    return mutated


MAX_BYTES = 384
TARGETS = {
    name: FuzzTarget(in_time(check), _mutation_of(name), MAX_BYTES)
    for name, check in CHECKS.items()
}
