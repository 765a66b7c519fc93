"""Hash messages: a peer asks for hashes of a tree, and gets them or a reject.

Source: BEP 52 (ids 21 to 23).
"""

import struct
from typing import Final

from torrent_engine.codec.hash_trees import MAX_UNCLES, HashRange
from torrent_engine.codec.merkle import HASH_BYTES

HASH_RANGE_BYTES: Final = 48
_RANGE = struct.Struct(">32s4I")
HASH_REQUEST: Final = 21
HASHES: Final = 22
HASH_REJECT: Final = 23


def decode_hash_range(payload: bytes | memoryview) -> HashRange:
    """Return what is asked for; the payload has 48 bytes."""
    return HashRange._make(_RANGE.unpack(payload))


def decode_hashes(payload: bytes | memoryview) -> tuple[HashRange, bytes]:
    """Return what was asked for, and the hashes; the payload has 48 bytes or more."""
    return decode_hash_range(payload[:HASH_RANGE_BYTES]), bytes(payload[HASH_RANGE_BYTES:])


def hashes_frame_bytes(length: int) -> int:
    """Return the largest length prefix of an answer to a request for so many hashes."""
    return 1 + HASH_RANGE_BYTES + (length + MAX_UNCLES) * HASH_BYTES


def encode_hash_request(wanted: HashRange) -> bytes:
    """Return a "hash request"."""
    return _frame(HASH_REQUEST, _RANGE.pack(*wanted))


def encode_hashes(wanted: HashRange, hashes: bytes) -> bytes:
    """Return a "hashes", which repeats what was asked for."""
    return _frame(HASHES, _RANGE.pack(*wanted) + hashes)


def encode_hash_reject(wanted: HashRange) -> bytes:
    """Return a "hash reject"."""
    return _frame(HASH_REJECT, _RANGE.pack(*wanted))


def _frame(kind: int, payload: bytes) -> bytes:
    return (1 + len(payload)).to_bytes(4, "big") + bytes((kind,)) + payload
