"""Owns the record of who gave which piece of the metadata, for the day when it is known.

Source: row B2. Only digests are kept, and only so many.
"""

from collections import OrderedDict
from collections.abc import Hashable
from hashlib import sha1
from typing import Final

from torrent_engine.policy.metadata_copy import PIECE_BYTES

MAX_RECORDS: Final = 20_000  # ours: pieces; those of the peer that began longest ago go first
_BOTH: Final = b""  # of a piece that the peer gave in two versions: one of them is a lie


class MetadataBlame:
    """Compares what every peer gave with what is right, in the end."""

    def __init__(self) -> None:
        self._given: OrderedDict[Hashable, dict[tuple[int, int], bytes]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        """Return how many pieces are on record."""
        return self._count

    def note(self, key: Hashable, total_bytes: int, piece: int, data: bytes) -> None:
        """Record one piece that a peer gave of a metadata of ``total_bytes``."""
        given = self._given.setdefault(key, {})
        self._count += (total_bytes, piece) not in given
        digest = _digest(data)
        is_same = given.setdefault((total_bytes, piece), digest) == digest
        given[total_bytes, piece] = digest if is_same else _BOTH
        while self._count > MAX_RECORDS:
            self.forget(next(iter(self._given)))

    def forget(self, key: Hashable) -> None:
        """Drop the record of one peer."""
        self._count -= len(self._given.pop(key, ()))

    def liars(self, info_bytes: bytes) -> list[Hashable]:
        """Return who gave anything that is not a piece of ``info_bytes``."""
        total_bytes = len(info_bytes)
        right = {
            (total_bytes, start // PIECE_BYTES): _digest(info_bytes[start : start + PIECE_BYTES])
            for start in range(0, total_bytes, PIECE_BYTES)
        }
        return [key for key, given in self._given.items() if not given.items() <= right.items()]


def _digest(data: bytes) -> bytes:
    return sha1(data, usedforsecurity=False).digest()
