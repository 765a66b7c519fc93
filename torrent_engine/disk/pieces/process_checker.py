"""Hash checks of pieces in a process of their own."""

from typing import Final, NamedTuple

from anyio.from_thread import check_cancelled

from torrent_engine.base.errors import StorageError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.pieces.hash_process import HASH_PROCESSES, HashProcess
from torrent_engine.disk.pieces.hash_program import HashOrder
from torrent_engine.disk.pieces.piece_checker import PieceChecker, PieceResult

_FIRST_BATCHES: Final = 2  # hashed here: of a short check, and while the process starts


class _Batch(NamedTuple):
    """What is known of some pieces, and which of them the process was asked for."""

    results: dict[int, bool]
    orders: list[range]


class ProcessChecker:
    """What keeps a process busy with the whole pieces of v2 files; for one thread at a time.

    It always has a batch to do while the results of another are handled. Everything else is hashed
    here: the ends of files, what the process could not read, and all of it if it ended.
    """

    def __init__(self, storage: StorageManager, metainfo: Metainfo, at_most: int) -> None:
        """Take how many processes all checks may have, this one's included."""
        self._own = PieceChecker(storage, metainfo)
        self._storage = storage
        self._layout = metainfo.layout
        self._piece_bytes = metainfo.geometry.piece_bytes
        self._hashes = metainfo.hashes
        self._is_hybrid = metainfo.is_hybrid
        self._at_most = at_most
        self._batches = 0
        self._process: HashProcess | None = None
        self._batch = _Batch({}, [])
        """What the process hashes at present."""

    def check(self, pieces: list[int]) -> list[PieceResult]:
        """Return what is known since the last call, while these are being hashed.

        A call without pieces returns the rest. Raises StorageError.
        """
        self._batches += 1
        if self._batches == _FIRST_BATCHES and pieces:
            self._process = HASH_PROCESSES.take(self._at_most)
        if self._batches <= _FIRST_BATCHES:
            return self._own.check(pieces)
        before, self._batch = self._batch, self._ask(pieces)
        return self._collect(before)

    def close(self) -> None:
        """End the process; blocking."""
        process, self._process = self._process, None
        if process is not None:
            HASH_PROCESSES.give_back(process)

    def _ask(self, pieces: list[int]) -> _Batch:
        """Ask for what the process can hash, and hash the rest."""
        batch = _Batch(dict.fromkeys(pieces, False), [])
        left = dict.fromkeys(self._own.without_holes(pieces))
        for run in _runs(list(left)):
            for part in self._layout.slices(run.start * self._piece_bytes, self._bytes_of(run)):
                asked = self._ask_part(*part)
                if asked:
                    batch.orders.append(asked)
                for piece in asked:
                    del left[piece]
        batch.results.update(self._own.check(list(left)))
        return batch

    def _bytes_of(self, run: range) -> int:
        return len(run) * self._piece_bytes

    def _ask_part(self, file_index: int, offset_bytes: int, length_bytes: int) -> range:
        """Ask for the whole pieces in a part of a file, and return them.

        None where that cannot be done; a read here tells why.
        """
        first, rest = divmod(self._layout.offsets[file_index] + offset_bytes, self._piece_bytes)
        run = range(first, first + length_bytes // self._piece_bytes)
        nothing = run[:0]
        if self._process is None or not run or rest:
            return nothing
        tree = self._hashes.tree(first)
        if tree is None or tree.length_bytes != self._piece_bytes:
            return nothing
        if not self._storage.has_data(first * self._piece_bytes, self._bytes_of(run)):
            return nothing
        order = HashOrder(offset_bytes, self._piece_bytes, len(run), self._is_hybrid)
        try:
            with self._storage.lend(file_index) as descriptor:
                self._process.ask(order, descriptor)
        except (OSError, StorageError):
            return nothing
        return run

    def _collect(self, batch: _Batch) -> list[PieceResult]:
        for run in batch.orders:
            digests = self._answer()
            if digests is None:
                batch.results.update(self._own.check(list(run)))
            else:
                for piece, digest in zip(run, digests, strict=True):
                    batch.results[piece] = digest == self._hashes.expected(piece)
        return list(batch.results.items())

    def _answer(self) -> list[bytes] | None:
        if self._process is None:
            return None
        try:
            return self._process.answer(check_cancelled)
        except OSError:
            self.close()
            return None


def _runs(pieces: list[int]) -> list[range]:
    """Return the runs of pieces that follow each other."""
    runs: list[range] = []
    for piece in pieces:
        if runs and piece == runs[-1].stop:
            runs[-1] = range(runs[-1].start, piece + 1)
        else:
            runs.append(range(piece, piece + 1))
    return runs
