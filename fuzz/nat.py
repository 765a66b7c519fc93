"""Fuzz targets of port mapping: any datagram is a valid answer of the router, or rejected.

How to run it: ``python -m fuzz --help``.
"""

import random
import struct
import zlib
from contextlib import suppress

from fuzz.runner import FuzzTarget, in_time
from torrent_engine.base.config import PortMappingConfig
from torrent_engine.base.errors import GatewayError
from torrent_engine.protocol.nat.client import NatClient
from torrent_engine.protocol.nat.facts import MappedTransport, MappingProtocol, PortKey
from torrent_engine.protocol.nat.natpmp import NatPmp
from torrent_engine.protocol.nat.pcp import Pcp
from torrent_engine.protocol.nat.ssdp import GATEWAY_TYPES, decode_answer

HERE, ROUTER = "192.0.2.2", "192.0.2.1"
KEYS = (PortKey(MappedTransport.TCP, 6881), PortKey(MappedTransport.UDP, 6881))
CONFIG = PortMappingConfig()
PCP = Pcp(HERE, b"secret")
ADDRESS = bytes(10) + b"\xff\xff" + bytes([203, 0, 113, 7])
MAX_DATAGRAMS_PER_S = 4_000 / 3_600
"""In the long run: with a lifetime of a second both ports are asked for every four."""
AT_FIRST = 40
"""Datagrams beyond those."""
LONG_S, SHORT_S = 3_600.0, 60.0
ONE_LONG_IN = 32
"""Inputs: an hour costs as much as sixty minutes, and shows little that one does not."""


@in_time
def fuzz_one(data: bytes) -> None:
    """Give the same answer to everything that a client says, for a minute or for an hour."""
    lasts_s = SHORT_S if zlib.crc32(data) % ONE_LONG_IN else LONG_S
    orders: tuple[list[MappingProtocol], ...] = ([PCP, NatPmp()], [NatPmp()])
    for protocols in orders:
        client = NatClient(protocols, KEYS, CONFIG, now=0.0)
        sent, now = 0, 0.0
        while (timer := client.get_timer()) is not None and timer < lasts_s:
            now = max(now, timer)
            client.handle_timer(now)
            asked = len(client.datagrams_to_send())
            sent += asked
            for _ in range(asked):
                client.receive_datagram(data, now)
            sent += len(client.datagrams_to_send())
            _check(client)
        assert sent <= AT_FIRST + MAX_DATAGRAMS_PER_S * lasts_s
        client.stop(now)
        _check(client)
    with suppress(GatewayError):
        assert decode_answer(data, ROUTER).location.lower().startswith("http://")


def _check(client: NatClient) -> None:
    for mapping in client.mappings:
        assert 0 < mapping.external_port < 1 << 16
    assert len(client.mappings) <= len(KEYS)


def mutated(rng: random.Random) -> bytes:
    """Return an answer, mostly damaged."""
    key = rng.choice(KEYS)
    epoch_s, lifetime_s = rng.randrange(1 << 32), rng.choice((0, 1, 90, 7_200, (1 << 32) - 1))
    result, port = rng.choice((0, 0, 0, 1, 2, 8, 12)), rng.choice((0, 6881, 65_535))
    head = struct.pack("!BBxBII12x", 2, 0x81, result, lifetime_s, epoch_s)
    body = struct.pack("!12sBxxxHH16s", PCP.nonce(key), key.transport, 6881, port, ADDRESS)
    natpmp = struct.pack(
        "!BBHIHHI", 0, rng.choice((129, 130)), result, epoch_s, 6881, port, lifetime_s
    )
    lines = ("HTTP/1.1 200 OK", f"ST: {GATEWAY_TYPES[0]}", f"LOCATION: http://{ROUTER}:5/d", "", "")
    choices = (
        head + body,
        head,
        natpmp,
        struct.pack("!BBHI4s", 0, 128, result, epoch_s, ADDRESS[-4:]),
        "\r\n".join(lines).encode(),
    )
    data = bytearray(rng.choice(choices))
    for _ in range(rng.choice((0, 0, 1, 1, 3))):
        at = rng.randrange(len(data) or 1)
        data[at : at + rng.choice((0, 1, 1, 4))] = rng.randbytes(rng.choice((0, 1, 1, 4)))
    return bytes(data)


TARGETS = {
    "nat": FuzzTarget(fuzz_one, mutated, max_bytes=256),
}
