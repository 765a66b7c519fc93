"""Pieces that share the blocks of other files on the disk, and are verified there (reflinks).

A shared piece is written without its bytes being read first. It is read back, and counts only if
its hashes are right; what was shared of a wrong one is overwritten when it is fetched.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.reflinks import Reflinks

OpenSource = Callable[[], AbstractContextManager[int]]
"""Opens a file for reading, in a worker thread, and yields its descriptor; StorageError."""


class SharedRange(NamedTuple):
    """Bytes of one of our files that are at the same place of another file."""

    file: int
    start: int
    end: int
    source: OpenSource


class SharedTorrent(Protocol):
    """A torrent and where its files are."""

    @property
    def metainfo(self) -> Metainfo:
        """The torrent."""

    @property
    def storage(self) -> StorageManager:
        """Its files."""


class PieceSharing:
    """Lets pieces of one torrent share the blocks of files that are said to have their bytes."""

    def __init__(self, torrent: SharedTorrent, reflinks: Reflinks) -> None:
        self._torrent = torrent
        self._reflinks = reflinks

    async def share(
        self, pieces: Iterable[int], ranges: Iterable[SharedRange]
    ) -> Mapping[int, bool]:
        """Return which of some pieces are right and on the disk now, of those that were shared.

        ``ranges`` are what the pieces consist of, without pads. The answer is empty if the file
        system cannot share them. Raises StorageError.
        """
        hooks = self._torrent.storage.write_hooks
        found: dict[int, bool] = {}

        def work() -> None:
            shared = tuple(pieces)
            if hooks.before_writes is not None:
                geometry = self._torrent.metainfo.geometry
                hooks.before_writes(
                    [(geometry.piece_offset(each), geometry.piece_length(each)) for each in shared]
                )
            if all(map(self._share_range, ranges)):
                found.update((each, self._is_right(each)) for each in shared)

        if hooks.until_saved is not None:
            await hooks.until_saved()
        await self._torrent.storage.in_thread(work)
        return found

    def _share_range(self, wanted: SharedRange) -> bool:
        with wanted.source() as descriptor:
            return self._torrent.storage.share(
                wanted.file, descriptor, wanted.start, wanted.end, self._reflinks
            )

    def _is_right(self, piece: int) -> bool:
        metainfo = self._torrent.metainfo
        data = memoryview(bytearray(metainfo.geometry.piece_length(piece)))
        self._torrent.storage.read_blocking(metainfo.geometry.piece_offset(piece), data)
        return metainfo.hashes.matches(piece, data)
