"""Hash checks of pieces on disk, in several threads and processes.

Source: BEP 3 (``pieces``), BEP 52.
"""

from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from itertools import islice
from typing import Any, Final

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint

from torrent_engine.base.errors import StorageError
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.pieces.cores import HASHING_CORES
from torrent_engine.disk.pieces.piece_checker import MOST_PIECES, PieceChecker, PieceResult
from torrent_engine.disk.pieces.process_checker import ProcessChecker
from torrent_engine.disk.threads import run_in_thread

_BATCH_BYTES: Final = 32 * 1024 * 1024  # one job of a thread
_SHORT_BATCH_BYTES: Final = 16 * 1024 * 1024  # with a process: what it has left at the end is less
_PROCESS_BYTES: Final = 256 * 1024 * 1024  # ours: of a torrent that is worth a process
_TURN_RESULTS: Final = 100  # reported before other tasks run; a piece may complete a hundred files


async def check_pieces(
    storage: StorageManager,
    metainfo: Metainfo,
    pieces: Iterable[int],
    *,
    limiter: anyio.CapacityLimiter,
    threads: int,
    on_result: Callable[[int, bool], None],
) -> None:
    """Hash pieces in worker threads; ``on_result(piece, is_right)`` runs in the caller's thread.

    Pieces with missing or too short files fail without being read, and so do pieces that are holes
    (unless they should be zeros). Results arrive in batches, ordered within a batch. A
    cancellation takes effect between two chunks. Of a large v2 torrent all threads but one have
    the whole pieces hashed by processes, which have interpreter locks of their own. Raises
    StorageError if an existing file cannot be read.
    """
    has_processes = (
        metainfo.v2 is not None
        and metainfo.geometry.piece_bytes > BLOCK_BYTES
        and metainfo.geometry.total_bytes >= _PROCESS_BYTES
        and storage.is_on_disk
    )
    failure = partial(StorageError, storage.save_path)
    await run_in_thread(storage.look_again, limiter=limiter, failure=failure)
    todo = iter(pieces)
    batch_bytes = _SHORT_BATCH_BYTES if has_processes else _BATCH_BYTES
    batch_pieces = min(max(1, batch_bytes // metainfo.geometry.piece_bytes), MOST_PIECES)

    def check(checker: PieceChecker | ProcessChecker, batch: list[int]) -> list[PieceResult]:
        with HASHING_CORES.hold(1 if has_processes else threads):
            return checker.check(batch)

    async def work(checker: PieceChecker | ProcessChecker) -> None:
        is_last = False
        while not is_last:
            batch = list(islice(todo, batch_pieces))
            is_last = not batch
            results = await run_in_thread(check, checker, batch, limiter=limiter, failure=failure)
            for start in range(0, len(results), _TURN_RESULTS):
                for piece, is_right in results[start : start + _TURN_RESULTS]:
                    on_result(piece, is_right)
                await checkpoint()

    async def work_alone() -> None:
        await work(PieceChecker(storage, metainfo))

    async def work_with_process() -> None:
        checker = ProcessChecker(storage, metainfo, threads - 1)
        try:
            await work(checker)
        finally:
            with anyio.CancelScope(shield=True):
                await _close(checker, limiter)

    helper = work_with_process if has_processes else work_alone
    await _run_all([work_alone, *[helper] * (threads - 1)])


async def _run_all(works: Iterable[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    """Run all at the same time. Raises the first StorageError of them."""
    error: StorageError | None = None
    try:
        async with anyio.create_task_group() as tasks:
            for each in works:
                tasks.start_soon(each)
    except* StorageError as group:
        error = _first_error(group)
    if error is not None:  # Python before 3.11.4 makes a group of what is raised above
        raise error


async def _close(checker: ProcessChecker, limiter: anyio.CapacityLimiter) -> None:
    try:
        await anyio.to_thread.run_sync(checker.close, limiter=limiter)
    except RuntimeError:  # no thread is available
        checker.close()


def _first_error(group: BaseExceptionGroup[StorageError]) -> StorageError:
    error = group.exceptions[0]
    return _first_error(error) if isinstance(error, BaseExceptionGroup) else error
