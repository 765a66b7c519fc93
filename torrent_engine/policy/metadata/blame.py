"""The record of which peer sent which metadata piece, checked once the hash matches.

Source: row B2. Only digests are kept, and their number is bounded.
"""

from collections import OrderedDict
from collections.abc import Hashable
from hashlib import sha1
from typing import Final

from torrent_engine.policy.metadata.attempt import PIECE_BYTES

MAX_RECORDS: Final = 20_000  # ours: pieces; those of the earliest peer are dropped first
_BOTH: Final = b""  # for a piece that the peer sent in two versions: one of them is wrong

Digests = dict[tuple[int, int], bytes]
"""SHA-1 by the length of the whole metadata, in bytes, and the number of the piece."""


class MetadataBlame:
    """Digests of the pieces that each peer sent, compared with the correct ones at the end."""

    def __init__(self) -> None:
        self._digests: OrderedDict[Hashable, Digests] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        """Return how many pieces are on record."""
        return self._count

    def __contains__(self, key: Hashable) -> bool:
        """Return whether pieces of this peer are on record."""
        return key in self._digests

    def note(self, key: Hashable, total_bytes: int, piece: int, data: bytes) -> None:
        """Record one piece that a peer sent of metadata of ``total_bytes``."""
        given = self._digests.setdefault(key, {})
        self._count += (total_bytes, piece) not in given
        digest = _digest(data)
        is_same = given.setdefault((total_bytes, piece), digest) == digest
        given[total_bytes, piece] = digest if is_same else _BOTH
        while self._count > MAX_RECORDS:
            self.forget(next(iter(self._digests)))

    def forget(self, key: Hashable) -> None:
        """Drop the record of one peer."""
        self._count -= len(self._digests.pop(key, ()))

    def liars(self, right: Digests) -> list[Hashable]:
        """Return the peers that sent a piece whose digest is not among those of all pieces."""
        return [key for key, given in self._digests.items() if not given.items() <= right.items()]


def digests_of(info_bytes: bytes) -> Digests:
    """Return the digests of the pieces of the correct metadata."""
    total_bytes = len(info_bytes)
    return {
        (total_bytes, start // PIECE_BYTES): _digest(info_bytes[start : start + PIECE_BYTES])
        for start in range(0, total_bytes, PIECE_BYTES)
    }


def _digest(data: bytes) -> bytes:
    return sha1(data, usedforsecurity=False).digest()
