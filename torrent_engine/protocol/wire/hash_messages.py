"""Hash messages: a peer asks for hashes of a tree, and gets them or a reject.

Source: BEP 52 (ids 21 to 23).
"""

import struct
from typing import Final

from torrent_engine.codec.hash_trees import HashRange

HASH_RANGE_BYTES: Final = 48
_RANGE = struct.Struct(">32s4I")
HASHES: Final = 22
HASH_REJECT: Final = 23


def decode_hash_range(payload: bytes | memoryview) -> HashRange:
    """Return what is asked for; the payload has 48 bytes."""
    return HashRange._make(_RANGE.unpack(payload))


def encode_hashes(wanted: HashRange, hashes: bytes) -> bytes:
    """Return a "hashes", which repeats what was asked for."""
    return _frame(HASHES, _RANGE.pack(*wanted) + hashes)


def encode_hash_reject(wanted: HashRange) -> bytes:
    """Return a "hash reject"."""
    return _frame(HASH_REJECT, _RANGE.pack(*wanted))


def _frame(kind: int, payload: bytes) -> bytes:
    return (1 + len(payload)).to_bytes(4, "big") + bytes((kind,)) + payload
