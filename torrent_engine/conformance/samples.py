"""The torrents that programs seed, by their names."""

import hashlib
from functools import cache
from typing import Final

from torrent_engine.conformance.torrent_set import SampleTorrent, basic_torrent
from torrent_engine.conformance.v2_torrents import (
    V2_FILES,
    contents_of,
    padded_torrent,
    v2_torrent,
)
from torrent_engine.conformance.verdicts import SampleName

LONG_FILE: Final = "all/long.bin"
LONG_PIECES: Final = 520
LONG_PIECE_BYTES: Final = 32_768
"""Two blocks, so that leaves and hashes of pieces are not the same layer."""


@cache
def sample_torrent(sample: SampleName) -> SampleTorrent:
    """Return the torrent of a name."""
    if sample is SampleName.V2:
        return _long_v2_torrent()
    if sample is SampleName.HYBRID:
        return v2_torrent(is_hybrid=True)
    return padded_torrent() if sample is SampleName.PADDED else basic_torrent()


def _long_v2_torrent() -> SampleTorrent:
    """Return one whose first file has more pieces than one request of hashes may cover."""
    length = LONG_PIECES * LONG_PIECE_BYTES
    long = hashlib.shake_256(LONG_FILE.encode()).digest(length)
    files = {LONG_FILE: long, **contents_of(V2_FILES)}
    return v2_torrent(files, piece_bytes=LONG_PIECE_BYTES)
