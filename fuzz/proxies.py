"""Fuzz targets of proxies: answers of an HTTP proxy, and datagrams of a SOCKS5 proxy.

How to run them: ``python -m fuzz --help``.
"""

import random

from fuzz.damage import damaged
from fuzz.reads import reads
from fuzz.runner import FuzzTarget, in_time
from torrent_engine.base.errors import ProxyError
from torrent_engine.protocol.http_connect import ConnectResponse, connect_request
from torrent_engine.protocol.socks_udp import decode_datagram, encode_header

ANSWERS = (
    b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n\x13BitTorrent protocol",
    b"HTTP/1.0 200\n\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + b"HTTP/1.1 200 OK\r\n\r\nabc",
    b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
    b"HTTP/1.1 403 \x1b[31mForbidden\r\n\r\n",
)


def _outcome(data: bytes, chunk_bytes: int) -> tuple[str, bytes]:
    """Return how the answer ends, and what of the stream is left behind it."""
    answer, taken = ConnectResponse(), 0
    try:
        for chunk in reads(data, chunk_bytes):
            used = answer.receive_data(chunk)
            assert 0 <= used <= len(chunk)
            taken += used
            if answer.is_done:
                return "open", data[taken:]
            assert used == len(chunk)
    except ProxyError as error:
        return str(error), b""
    return "waiting", b""


@in_time
def fuzz_connect(data: bytes) -> None:
    """Check one answer: no byte behind it is taken, however it is cut."""
    outcome = _outcome(data, len(data) or 1)
    assert outcome[0].isprintable()
    assert _outcome(data, 1) == outcome


@in_time
def fuzz_socks(data: bytes) -> None:
    """Check one datagram: what is understood can be written again; names are refused or sent."""
    try:
        address, begin = decode_datagram(data)
    except ProxyError:
        address, begin = None, 0
    if address is not None:
        assert 0 < begin <= len(data)
        assert address.host.isprintable()
        if address.port > 0:
            again, _ = decode_datagram(encode_header(address.host, address.port))
            assert again.port == address.port
    host = data.decode("utf-8", "surrogateescape")
    for make in (lambda: encode_header(host, 1), lambda: connect_request(host, 1)):
        try:
            made = make()
        except ProxyError:
            continue
        assert made.count(b"\r\n\r\n") <= 1


def mutated_connect(rng: random.Random) -> bytes:
    """Return an answer, mostly damaged, sometimes long."""
    answer = rng.choice(ANSWERS)
    if rng.randrange(10) == 0:
        answer = answer[:15] + b"x" * rng.choice((100, 17_000)) + answer[15:]
    return damaged(answer, rng, (b"\r\n", b"\n\n", b"HTTP/1.1 ", b" 1"))


def mutated_socks(rng: random.Random) -> bytes:
    """Return a datagram behind its header, mostly damaged."""
    host = rng.choice(("192.0.2.1", "2001:db8::1", "tracker.example", "::ffff:1.2.3.4"))
    return damaged(encode_header(host, rng.randrange(1, 65_536)) + b"payload", rng)


TARGETS = {
    "connect": FuzzTarget(fuzz_connect, mutated_connect, max_bytes=256),
    "socks": FuzzTarget(fuzz_socks, mutated_socks, max_bytes=300),
}
