"""Fuzz targets of lists of addresses: IP filters as text and as P2B, and compact peers.

How to run them: ``python -m fuzz --help``.
"""

import random
from contextlib import suppress

from fuzz.damage import damaged
from fuzz.reads import reads
from fuzz.runner import FuzzTarget, in_time
from torrent_engine.base.errors import IpFilterError, RemoteProtocolError
from torrent_engine.codec.compact import decode_ipv4_peers, decode_ipv6_peers, encode_peers
from torrent_engine.policy.ip_filter.lists import ListFacts, ListReader, TextListReader
from torrent_engine.policy.ip_filter.p2b import HEADER, BinaryListReader
from torrent_engine.policy.ip_filter.ranges import RangeBuilder

MAX_RANGES = 50
CHUNKS = (1, 2, 7, 64, 4_096)
LINES = (
    b"Some name:1.2.3.0-1.2.3.255\n",
    b"a:b:10.0.0.1-10.0.0.1\r\n",
    b"001.002.003.000 - 001.002.003.255 , 100 , Some name\n",
    b"1.2.3.4 - 1.2.3.5 , 128 , harmless\n",
    b"1.2.3.0/24 ; comment\n",
    b"2001:db8::/32\n",
    b"name:2001:db8::1-2001:db8::2\n",
    b"# comment\n",
    b"9.9.9.9\n",
    b"\xef\xbb\xbf",
    b"300.1.1.1-300.1.1.2\n",
    b"5.5.5.5-4.4.4.4\n",
)


def _facts(reader: ListReader, data: bytes, chunk_bytes: int) -> ListFacts | None:
    with suppress(IpFilterError):
        for read in reads(data, chunk_bytes):
            reader.feed(read)
        return reader.close()
    return None


@in_time
def fuzz_text_list(data: bytes) -> None:
    """Check one list: the same however it is cut; the set is sorted, bounded and answers."""
    results = []
    for chunk_bytes in (CHUNKS[len(data) % len(CHUNKS)], 1 << 20):
        builder = RangeBuilder()
        facts = _facts(TextListReader(builder, MAX_RANGES), data, chunk_bytes)
        results.append((facts and facts._replace(examples=()), facts and builder.build()))
    (first, ranges), (second, _) = results
    assert first == second
    if first is not None and ranges is not None:
        assert first.ranges <= MAX_RANGES


@in_time
def fuzz_binary_list(data: bytes) -> None:
    """Check one list behind the magic number: the same however it is cut, and bounded."""
    results = []
    for chunk_bytes in (CHUNKS[len(data) % len(CHUNKS)], 1 << 20):
        builder = RangeBuilder()
        facts = _facts(BinaryListReader(builder, MAX_RANGES), HEADER + data, chunk_bytes)
        assert facts is None or facts.ranges <= MAX_RANGES
        results.append(facts)
        builder.build()
    assert results[0] == results[1]


@in_time
def fuzz_compact(data: bytes) -> None:
    """Check one blob: what decodes encodes to the same, where no address is IPv4 in IPv6."""
    with suppress(RemoteProtocolError):
        peers = decode_ipv4_peers(data)
        assert encode_peers(peers, v6=False) == data
    with suppress(RemoteProtocolError):
        peers = decode_ipv6_peers(data)
        again = encode_peers(peers, v6=True) + encode_peers(peers, v6=False)
        mapped = sum("." in peer.host for peer in peers)
        assert len(again) == len(data) - 12 * mapped


def mutated_text_list(rng: random.Random) -> bytes:
    """Return a few lines, mostly damaged."""
    lines = b"".join(rng.choices(LINES, k=rng.randrange(1, 12)))
    return damaged(lines, rng, (b"-", b".", b":", b"/", b",", b"\n", b"999", b"::"))


def mutated_binary_list(rng: random.Random) -> bytes:
    """Return a P2B list of any version behind its magic number, mostly damaged."""
    version = rng.choice((1, 2, 3, 3))
    records = [rng.randbytes(8) for _ in range(rng.randrange(4))]
    if version < 3:
        body = b"".join(b"name\0" + record for record in records)
    else:
        names = b"".join(b"n%d\0" % number for number in range(2))
        ranges = b"".join(bytes(3) + bytes([rng.randrange(3)]) + record for record in records)
        body = (2).to_bytes(4) + names + len(records).to_bytes(4) + ranges
    return damaged(bytes([version]) + body, rng)


def mutated_compact(rng: random.Random) -> bytes:
    """Return some addresses, sometimes cut."""
    size = rng.choice((6, 18))
    mapped = bytes(10) + b"\xff\xff" + rng.randbytes(6)
    count = rng.randrange(6)
    parts = [rng.choice((rng.randbytes(size), mapped[-size:])) for _ in range(count)]
    return damaged(b"".join(parts), rng) if rng.randrange(2) else b"".join(parts)


TARGETS = {
    "compact": FuzzTarget(fuzz_compact, mutated_compact, max_bytes=120),
    "ip-filter": FuzzTarget(fuzz_text_list, mutated_text_list, max_bytes=512),
    "ip-filter-p2b": FuzzTarget(fuzz_binary_list, mutated_binary_list, max_bytes=512),
}
