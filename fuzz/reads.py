"""Streams in pieces, as a socket gives them, for several targets."""

from collections.abc import Iterator
from typing import Final

MOST_READS: Final = 48
"""Of one stream: byte by byte, 48 bytes show all that 4,000 show, and cost a hundredth."""


def reads(data: bytes, read_bytes: int) -> Iterator[bytes]:
    """Yield a stream in reads of so many bytes, or larger ones where they would be too many."""
    step = max(read_bytes, -(-len(data) // MOST_READS), 1)
    for start in range(0, len(data), step):
        yield data[start : start + step]
