"""The files of a torrent, and how much of each is here."""

from array import array
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Final

from torrent_engine.base.ids import FileIndex
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.paths import PathParts
from torrent_engine.disk.files.file_paths import path_in_use
from torrent_engine.disk.system import WINDOWS_NAMES
from torrent_engine.engine.stats import FileStats

DEFAULT_PRIORITY: Final = 4
_FROM_DIGITS: Final = bytes.maketrans(b"01", b"\0\1")


class VerifiedBytes:
    """Counts of the verified bytes of any part of a payload, in constant time each."""

    def __init__(self, piece_bytes: int, have: bytes) -> None:
        """Take a BEP 3 bitfield, empty for no piece at all."""
        self._piece_bytes = piece_bytes
        self._have = _flags(have)
        self._before = array("L", [0, *accumulate(self._have)])
        """How many pieces before each are verified."""

    def between(self, begin_bytes: int, end_bytes: int) -> int:
        """Return how many bytes from ``begin_bytes`` up to ``end_bytes`` are verified."""
        if begin_bytes >= end_bytes or not self._have:
            return 0
        size = self._piece_bytes
        first, last = begin_bytes // size, (end_bytes - 1) // size
        if first == last:
            return (end_bytes - begin_bytes) * self._have[first]
        head = ((first + 1) * size - begin_bytes) * self._have[first]
        tail = (end_bytes - last * size) * self._have[last]
        return head + (self._before[last] - self._before[first + 1]) * size + tail


def _flags(have: bytes) -> bytes:
    """Return a byte for each bit, 0 or 1."""
    digits = f"{int.from_bytes(have, 'big'):0{8 * len(have)}b}" if have else ""
    return digits.encode().translate(_FROM_DIGITS)


def file_stats(
    metainfo: Metainfo,
    have: bytes,
    priorities: tuple[int, ...] | None,
    names: Mapping[int, PathParts],
    *,
    windows: bool = WINDOWS_NAMES,
) -> list[FileStats]:
    """Return the files that are stored, in the order of the metainfo; pad files are left out.

    ``have`` is a BEP 3 bitfield, empty for no piece. ``priorities`` has a number for each file;
    None stands for all files alike. ``names`` and ``windows`` are as :func:`path_in_use` has them.
    """
    size, files, layout = metainfo.geometry.piece_bytes, metainfo.files, metainfo.files.layout
    verified = VerifiedBytes(size, have)
    found: list[FileStats] = []
    for index, (begin, length) in enumerate(zip(layout.offsets, layout.lengths, strict=True)):
        if files.is_pad(index):
            continue
        end = begin + length
        found.append(
            FileStats(
                FileIndex(index),
                Path(*path_in_use(metainfo, index, names, windows=windows)),
                length,
                verified.between(begin, end),
                DEFAULT_PRIORITY if priorities is None else priorities[index],
                range(begin // size, -(-end // size)) if end > begin else range(0),
            )
        )
    return found
