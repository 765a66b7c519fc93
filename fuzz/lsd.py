"""Fuzz target of local service discovery: any datagram is an announce, our own, or rejected.

How to run it: ``python -m fuzz --help``.
"""

import ipaddress
import random
from contextlib import suppress

from fuzz.runner import FuzzTarget, in_time
from torrent_engine.base.config import LsdConfig
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import InfoHash
from torrent_engine.net.lsd.service import LsdService
from torrent_engine.net.sockets.interfaces import Interface
from torrent_engine.protocol.lsd import (
    LsdAnnounce,
    capacity,
    decode_announce,
    encode_announce,
)

COOKIE = b"0123abcd"
HASHES = tuple(InfoHash(bytes([number]) * 20) for number in range(1, 26))
LAN = Interface(
    "lan",
    7,
    is_loopback=False,
    is_multicast=True,
    addresses=(ipaddress.ip_interface("192.0.2.1/24"),),
)
NEAR, FAR = "192.0.2.9", "198.51.100.9"
LINES = (
    b"Port: 1",
    b"PORT:65536",
    b"Infohash: " + b"ab" * 20,
    b"infohash: " + b"AB" * 32,
    b"cookie: " + COOKIE,
    b"Host: [ff15::efc0:988f]:6771",
    b"X: y",
    b":",
    b"",
)


@in_time
def fuzz_one(data: bytes) -> None:
    """Check one datagram as bytes, then as the service takes it."""
    with suppress(RemoteProtocolError):
        announce = decode_announce(data)
        assert 0 < announce.port < 1 << 16
        assert 0 < len(set(announce.info_hashes)) == len(announce.info_hashes) <= len(data) // 40
        small = LsdAnnounce(announce.port, announce.info_hashes[: capacity(COOKIE)], COOKIE)
        for is_ipv6 in (False, True):
            assert decode_announce(encode_announce(small, is_ipv6=is_ipv6)) == small
    heard: list[str] = []
    service = LsdService(
        ("0.0.0.0",),
        config=LsdConfig(),
        find_interfaces=lambda: [LAN],
        on_announce=lambda _hashes, address: heard.append(address.host),
    )
    service.update_interfaces()
    for host in (FAR, NEAR):
        with suppress(RemoteProtocolError):
            service.receive_datagram(data, host)
    assert heard in ([], [NEAR])


def mutated(rng: random.Random) -> bytes:
    """Return an announce, mostly damaged."""
    count = rng.choice((1, 1, 2, 25))
    good = LsdAnnounce(rng.randrange(1, 1 << 16), HASHES[:count], COOKIE)
    stream = bytearray(encode_announce(good, is_ipv6=rng.random() < 0.5))
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        at = rng.randrange(len(stream) or 1)
        damage = rng.randrange(4)
        if damage == 0:
            stream[at : at + 1] = rng.randbytes(1)
        elif damage == 1:
            stream[at:at] = rng.choice((b"\r\n", b"\n\n", b":", rng.randbytes(3)))
        elif damage == 2:
            del stream[at : at + rng.randrange(1, 60)]
        else:
            at = stream.find(b"\n", at) + 1
            stream[at:at] = rng.choice(LINES) + b"\r\n"
    return bytes(stream)


TARGETS = {
    "lsd": FuzzTarget(fuzz_one, mutated, max_bytes=1_400),
}
