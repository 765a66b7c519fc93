"""Fuzz targets of HTTP: compressed bodies, and answers to range requests of a web seed.

How to run them: ``python -m fuzz --help``.
"""

import gzip
import random
import zlib
from contextlib import suppress

from fuzz.damage import damaged
from fuzz.runner import FuzzTarget, in_time
from torrent_engine.base.errors import HttpError, RemoteProtocolError
from torrent_engine.net.http.decompress import BodyReader
from torrent_engine.protocol.web_seed import (
    Span,
    check_range_response,
    parse_content_range,
    parse_number,
)

ENCODINGS = ("", "gzip", "deflate", "identity", "x-gzip", "br")
MAX_BODY_BYTES = 10_000
SPAN = Span(100, 50, 1_000)


def _body(data: bytes, encoding: str, chunk_bytes: int) -> bytes | None:
    with suppress(HttpError):
        reader = BodyReader(encoding, max_bytes=MAX_BODY_BYTES)
        for start in range(0, len(data), chunk_bytes):
            reader.feed(data[start : start + chunk_bytes])
        return reader.finish()
    return None


@in_time
def fuzz_body(data: bytes) -> None:
    """Check one body, its first byte chooses the encoding: bounded, the same however it is cut."""
    encoding, body = ENCODINGS[(data[0] if data else 0) % len(ENCODINGS)], data[1:]
    whole = _body(body, encoding, len(body) or 1)
    assert whole is None or len(whole) <= MAX_BODY_BYTES
    if encoding in ("", "identity", "gzip", "x-gzip"):
        assert _body(body, encoding, 3) == whole


@in_time
def fuzz_range_answer(data: bytes) -> None:
    """Check three headers, a line each: what is taken is the range that was asked for."""
    lines = data.decode("latin-1").split("\n", 2)
    content_range, content_length, status = (*lines, *[""] * 3)[:3]
    number = parse_number(content_length)
    assert number is None or 0 <= number < 10**19
    with suppress(RemoteProtocolError):
        first, last, total = parse_content_range(content_range)
        assert 0 <= first <= last
        assert total is None or last < total
    with suppress(RemoteProtocolError):
        is_whole = len(status) % 2 == 0
        before = check_range_response(200 if is_whole else 206, content_range, content_length, SPAN)
        assert before == (SPAN.offset_bytes if is_whole else 0)


def mutated_body(rng: random.Random) -> bytes:
    """Return the number of an encoding, and a body that may be compressed so, mostly damaged."""
    plain = rng.choice((b"", b"d8:intervali1800ee", bytes(9_999), bytes(200_000), b"ab" * 400))
    packed = rng.choice((gzip.compress(plain), zlib.compress(plain), zlib.compress(plain)[2:-4]))
    body = packed if rng.randrange(5) else plain[:4_000]
    return rng.randbytes(1) + damaged(body, rng)


def mutated_range_answer(rng: random.Random) -> bytes:
    """Return three lines, mostly damaged."""
    ranges = ("bytes 100-149/1000", "bytes 100-149/*", "bytes 0-999/1000", "bytes  1-0/5", "")
    lengths = ("50", "1000", "", "-1", "5" * 30, "50 ", "\u0665\u0660", "0x10")
    text = "\n".join((rng.choice(ranges), rng.choice(lengths), rng.choice(("", "x"))))
    return damaged(text.encode("utf-8"), rng, (b"0", b"-", b"/", b"*", b" ", b"9" * 20))


TARGETS = {
    "body": FuzzTarget(fuzz_body, mutated_body, max_bytes=512),
    "web-seed": FuzzTarget(fuzz_range_answer, mutated_range_answer, max_bytes=120),
}
