"""Pieces that count as had and are hashed again before they are served.

Somebody else may have changed their files: while the torrent did not run, where times alone cannot
tell, or while it runs.
"""

from collections.abc import Callable, Iterable

import anyio
import anyio.to_thread

from torrent_engine.base.errors import StorageError
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.disk.pieces.piece_checker import PieceChecker
from torrent_engine.disk.resume.keeper import ResumeKeeper
from torrent_engine.engine.swarm.context import Torrent

_MAX_TRIES = 3  # ours: a file that changes again while it is read is not waited for


class PieceProof:
    """The pieces of one run whose content is in doubt; each is proven at most once at a time."""

    def __init__(
        self,
        torrent: Torrent,
        keeper: ResumeKeeper,
        hash_limiter: anyio.CapacityLimiter,
        on_wrong: Callable[[StorageError], None],
    ) -> None:
        """``on_wrong`` is called with the error of a piece that is not right any more."""
        self._torrent = torrent
        self._on_wrong = on_wrong
        self._keeper = keeper
        self._limiter = hash_limiter
        self._unproven = Bitfield(torrent.metainfo.piece_count)
        self._left: dict[int, int] = {}
        """How many pieces of a file in doubt are not proven, also for the sake of another file."""
        self._proving: int | None = None
        """The piece that is being hashed; None: or it has changed since that began."""
        self._checker: PieceChecker | None = None
        self._lock = anyio.Lock()

    def hashes_changed(self) -> None:
        """Check by hashes that the torrent has learned, too."""
        self._checker = None

    def is_needed(self, offset_bytes: int, length_bytes: int) -> bool:
        """Return whether a range must be read by :meth:`read`; looks whether its files changed.

        Of a range of very many files :meth:`read` looks, in a thread.
        """
        if self._torrent.storage.has_doubts(offset_bytes, length_bytes):
            self.take_doubts()
        return self._unproven.count > 0 and any(
            map(self._unproven.has, self._pieces(offset_bytes, length_bytes))
        )

    def take_doubts(self) -> None:
        """Put what is here of the files that came into doubt among what is to be proven."""
        torrent = self._torrent
        geometry, layout = torrent.metainfo.geometry, torrent.metainfo.layout
        for index in torrent.storage.stamps.take_doubts():
            pieces = layout.pieces_of(index, geometry)
            here = list(filter(torrent.table.have.has, pieces))
            for piece in here[:1] + here[-1:]:  # those that it may share with other files
                self._put_in_doubt(piece)
            for piece in here:
                self._unproven.set(piece)
            self._left[index] = sum(map(self._unproven.has, pieces))
            if self._proving is not None and self._proving in pieces:
                self._proving = None
            self._trust_if_proven(index)

    def doubt(self, offset_bytes: int, length_bytes: int) -> None:
        """Put a range among what is to be proven: what was read of it has other hashes."""
        for piece in self._pieces(offset_bytes, length_bytes):
            self._put_in_doubt(piece)

    def _put_in_doubt(self, piece: int) -> None:
        if piece == self._proving:
            self._proving = None
        if not self._unproven.has(piece):
            self._unproven.set(piece)
            for index in self._files_in_doubt(piece):
                self._left[index] += 1

    async def read(self, offset_bytes: int, into: memoryview) -> None:
        """Fill ``into`` with what is known to be right.

        Raises StorageError if it cannot be read, or is not right any more.
        """
        for _ in range(_MAX_TRIES):
            await self._prove(self._pieces(offset_bytes, len(into)))
            await self._torrent.storage.read(offset_bytes, into)
            if not self.is_needed(offset_bytes, len(into)):
                return
        path = self._path_of(self._torrent.metainfo.geometry.piece_at(offset_bytes))
        raise StorageError(path, "is being changed by another program")

    async def _prove(self, pieces: Iterable[int]) -> None:
        if not self._unproven.count:
            return
        async with self._lock:
            for piece in pieces:
                if self._unproven.has(piece):
                    await self._prove_one(piece)

    async def _prove_one(self, piece: int) -> None:
        checker = self._checker
        if checker is None:
            checker = self._checker = PieceChecker(self._torrent.storage, self._torrent.metainfo)
        self._proving = piece
        found = await anyio.to_thread.run_sync(checker.check, [piece], limiter=self._limiter)
        if not found[0][1]:
            self._keeper.distrust(list(self._unproven.present()))
            error = StorageError(
                self._path_of(piece), f"was changed by another program: piece {piece} is not right"
            )
            self._on_wrong(error)  # whoever asked: it is the torrent that is not whole
            raise error
        if self._proving is None:
            return
        self._proving = None
        self._unproven.clear(piece)
        for index in self._files_in_doubt(piece):
            self._left[index] -= 1
            self._trust_if_proven(index)

    def _files_in_doubt(self, piece: int) -> list[int]:
        metainfo = self._torrent.metainfo
        files = metainfo.layout.files_of_piece(piece, metainfo.geometry)
        return [index for index in files if index in self._left]

    def _trust_if_proven(self, index: int) -> None:
        if not self._left[index]:
            del self._left[index]
            self._torrent.storage.stamps.trust(index)

    def _pieces(self, offset_bytes: int, length_bytes: int) -> range:
        geometry = self._torrent.metainfo.geometry
        return range(
            geometry.piece_at(offset_bytes), geometry.piece_at(offset_bytes + length_bytes - 1) + 1
        )

    def _path_of(self, piece: int) -> str:
        metainfo, storage = self._torrent.metainfo, self._torrent.storage
        return str(storage.path_of(metainfo.layout.files_of_piece(piece, metainfo.geometry)[0]))
