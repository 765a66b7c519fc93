"""Fuzz target of magnet links: any text is rejected, or parsed to a link that round-trips.

How to run it: ``python -m fuzz --help``.
"""

import random
from contextlib import suppress
from dataclasses import replace

from fuzz.runner import FuzzTarget, in_time
from torrent_engine.base.errors import MagnetError
from torrent_engine.codec.magnet import LIMITS as USUAL_LIMITS
from torrent_engine.codec.magnet import Magnet

LIMITS = replace(USUAL_LIMITS, max_selected_files=500)  # 100,000 of them take the time of 50 inputs
HASH = b"xt=urn:btih:0123456789abcdef0123456789abcdef01234567"
PARTS = (
    HASH, b"xt=urn:btih:AEBAGBAFAYDQQCIKBMGA2DQPCAIREEYU", b"xt=urn:btmh:1220" + b"ab" * 32,
    b"dn=a+name", b"dn=%2e%2e", b"dn=%ff%00%E2%80%AE", b"tr=udp://t.example:1", b"tr.2=http://h/a",
    b"ws=https://w.example/a%20b", b"x.pe=10.0.0.1:6881", b"x.pe=[2001:db8::1]:1", b"x.pe=h:65536",
    b"so=0,2,4-6", b"so=0-999999999", b"xl=123", b"xl=-1", b"amp;tr=udp://a", b"=", b"&&", b"%",
)  # fmt: skip


@in_time
def fuzz_one(data: bytes) -> None:
    """Check one input: the declared error only; what loads is within the limits, and prints."""
    with suppress(MagnetError):
        text = data.decode("utf-8", "surrogateescape")
        magnet = Magnet.parse(text, limits=LIMITS)
        assert len(magnet.info_hash) == 20
        assert len(magnet.trackers) <= LIMITS.max_trackers
        assert len(magnet.web_seeds) <= LIMITS.max_web_seeds
        assert len(magnet.peers) <= LIMITS.max_peers
        assert len(magnet.selected_files or ()) <= LIMITS.max_selected_files
        assert not set(magnet.name or "") & set("/\x00\x1b")
        assert str(magnet).isprintable()
        assert (
            len(str(magnet)) > LIMITS.max_uri_bytes
            or Magnet.parse(str(magnet), limits=LIMITS) == magnet
        )


def mutated(rng: random.Random) -> bytes:
    """Return a link of a few parts, mostly damaged."""
    parts = [rng.choice(PARTS) for _ in range(rng.randrange(8))]
    link = bytearray(b"magnet:?" + b"&".join([HASH, *parts] if rng.random() < 0.8 else parts))
    for _ in range(rng.choice((0, 1, 1, 2, 8))):
        at = rng.randrange(len(link) or 1)
        if rng.random() < 0.5:
            link[at : at + 1] = rng.choice((rng.randbytes(1), b"%", b"&", b"=", b":", b"0"))
        else:
            del link[at : at + rng.randrange(1, 6)]
    return bytes(link)


TARGETS = {
    "magnet": FuzzTarget(fuzz_one, mutated, max_bytes=512),
}
