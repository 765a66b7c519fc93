import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from tests.disk.helpers import opened, read_all
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import DiskConfig
from torrent_engine.base.errors import StorageError
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.pieces import writer as writer_module
from torrent_engine.disk.pieces.writer import PieceWriter, WriteJob

pytestmark = pytest.mark.anyio

PIECE = 16_384
COUNT = 40
SMALL = DiskConfig(write_queue_high_bytes=8 * PIECE, write_queue_low_bytes=3 * PIECE)


class Log:
    def __init__(self) -> None:
        self.written: list[object] = []
        self.failed: list[WriteJob] = []
        self.errors: list[StorageError] = []
        self.hops = 0
        self.threads: set[int] = set()

    def on_written(self, jobs: list[WriteJob]) -> None:
        self.hops += 1
        self.threads.add(threading.get_ident())
        assert not any(job.views for job in jobs if job.is_right is not False)
        self.written += [job.tag for job in jobs]

    def on_failed(self, error: StorageError, jobs: list[WriteJob]) -> None:
        self.errors.append(error)
        self.failed += jobs


def make_writer(
    storage: StorageManager,
    log: Log,
    *,
    threads: int = 1,
    limiter: anyio.CapacityLimiter | None = None,
) -> PieceWriter:
    return PieceWriter(
        storage,
        config=replace(SMALL, write_threads=threads),
        limiter=limiter or anyio.CapacityLimiter(4),
        on_written=log.on_written,
        on_failed=log.on_failed,
    )


def job_of(payload: bytes, piece: int) -> WriteJob:
    view = memoryview(payload)[piece * PIECE : (piece + 1) * PIECE]
    return WriteJob(piece * PIECE, [view[:100], view[100:]], piece)


async def test_all_jobs_are_written_in_few_hops_and_let_go_of_their_views(tmp_path: Path) -> None:
    metainfo, payload = make_torrent({"a": payload_of(100_000), "b": payload_of(555_360)})
    log = Log()
    async with opened(metainfo, tmp_path) as storage, anyio.create_task_group() as tasks:
        writer = make_writer(storage, log)
        jobs = [job_of(payload, piece) for piece in range(COUNT)]
        for job in jobs:
            writer.submit(job)
        assert writer.queued_bytes == len(payload)
        tasks.start_soon(writer.run)
        await writer.drain()
        assert await read_all(storage, metainfo) == payload
        tasks.cancel_scope.cancel()
    assert log.written == list(range(COUNT))
    assert log.hops == 1
    assert log.threads == {threading.get_ident()}


async def test_full_rises_at_the_high_mark_and_falls_at_the_low_one(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(COUNT * PIECE))
    log = Log()
    async with opened(metainfo, tmp_path) as storage, anyio.create_task_group() as tasks:
        writer = make_writer(storage, log)
        await writer.wait_for_room()
        for piece in range(7):
            writer.submit(job_of(payload, piece))
        assert not writer.full
        writer.submit(job_of(payload, 7))
        assert writer.full
        tasks.start_soon(writer.run)
        await writer.wait_for_room()
        assert not writer.full
        assert writer.queued_bytes <= 3 * PIECE
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("error", "reason", "written"),
    [(StorageError("f", "broken"), "broken", 2), (MemoryError(), "out of memory", 0)],
)
async def test_f1_a_failure_hands_back_what_is_not_written_and_the_writer_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str, written: int
) -> None:
    metainfo, payload = make_torrent(payload_of(COUNT * PIECE))
    log = Log()
    async with opened(metainfo, tmp_path) as storage, anyio.create_task_group() as tasks:
        real = storage.write_views

        def fails_at_the_third(offset: int, views: list[memoryview]) -> None:
            if offset + sum(map(len, views)) > 2 * PIECE and not log.errors:
                raise error
            real(offset, views)

        monkeypatch.setattr(storage, "write_views", fails_at_the_third)
        writer = make_writer(storage, log)
        for piece in range(COUNT):
            writer.submit(job_of(payload, piece))
        tasks.start_soon(writer.run)
        with anyio.fail_after(30):
            await writer.drain()
        assert log.written == list(range(written))  # on a full disk as many as fit
        assert [each.reason for each in log.errors] == [reason]
        assert [job.tag for job in log.failed] == list(range(written, COUNT))
        assert all(job.views for job in log.failed)
        assert not writer.full
        for job in log.failed:
            writer.submit(job)
        await writer.drain()
        assert await read_all(storage, metainfo) == payload
        tasks.cancel_scope.cancel()


async def test_cancelling_reports_what_was_being_written(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(COUNT * PIECE))
    log, began, go_on = Log(), threading.Event(), threading.Event()

    def before(_: list[tuple[int, int]]) -> None:
        began.set()
        go_on.wait(10)

    async with opened(metainfo, tmp_path) as storage:
        storage.write_hooks.set(before)
        writer = make_writer(storage, log)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.run)
            writer.submit(job_of(payload, 3))
            await anyio.to_thread.run_sync(began.wait)
            tasks.cancel_scope.cancel()
            go_on.set()
        assert log.written == [3]
        assert not writer.queued_bytes


async def test_the_jobs_of_a_hop_are_announced_before_they_are_written(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(COUNT * PIECE))
    log, announced = Log(), []
    async with opened(metainfo, tmp_path) as storage, anyio.create_task_group() as tasks:
        storage.write_hooks.set(
            lambda ranges: announced.append((list(ranges), storage.has_data(0, 1)))
        )
        writer = make_writer(storage, log)
        writer.submit(job_of(payload, 0))
        writer.submit(job_of(payload, 1))
        tasks.start_soon(writer.run)
        await writer.drain()
        tasks.cancel_scope.cancel()
    assert announced == [([(0, PIECE), (PIECE, PIECE)], False)]


async def test_two_threads_write_at_once_and_all_is_reported(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(COUNT * PIECE))
    log, began, together = Log(), threading.Semaphore(0), threading.Barrier(2, timeout=60)
    hops = iter(range(COUNT))

    def before(_: list[tuple[int, int]]) -> None:
        began.release()
        if next(hops) < 2:
            together.wait()  # neither thread goes on before the other has begun

    async with opened(metainfo, tmp_path) as storage, anyio.create_task_group() as tasks:
        storage.write_hooks.set(before)
        writer = make_writer(storage, log, threads=2)
        tasks.start_soon(writer.run)
        writer.submit(job_of(payload, 0))
        await anyio.to_thread.run_sync(began.acquire)
        writer.submit(job_of(payload, 1))
        await writer.drain()
        assert set(log.written) == {0, 1}
        for piece in range(2, COUNT):
            writer.submit(job_of(payload, piece))
        await writer.drain()
        assert set(log.written) == set(range(COUNT))
        assert len(log.written) == COUNT
        assert await read_all(storage, metainfo) == payload
        tasks.cancel_scope.cancel()


async def test_f1_both_threads_fail_and_each_job_comes_back_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metainfo, payload = make_torrent(payload_of(COUNT * PIECE))
    log, error = Log(), StorageError("f", "broken")
    async with opened(metainfo, tmp_path) as storage, anyio.create_task_group() as tasks:

        def fails(_offset: int, _views: list[memoryview]) -> None:
            raise error

        monkeypatch.setattr(storage, "write_views", fails)
        writer = make_writer(storage, log, threads=2)
        tasks.start_soon(writer.run)
        for piece in range(COUNT):
            writer.submit(job_of(payload, piece))
            await anyio.lowlevel.checkpoint()
        await writer.drain()
        assert not log.written
        assert sorted(job.offset_bytes for job in log.failed) == [n * PIECE for n in range(COUNT)]
        tasks.cancel_scope.cancel()


async def test_neighbours_are_written_in_one_call_whatever_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metainfo, payload = make_torrent(payload_of(COUNT * PIECE))
    log, calls = Log(), list[tuple[int, int]]()
    async with opened(metainfo, tmp_path) as storage, anyio.create_task_group() as tasks:
        real = storage.write_views

        def write_views(offset: int, views: list[memoryview]) -> None:
            calls.append((offset // PIECE, sum(map(len, views)) // PIECE))
            real(offset, views)

        monkeypatch.setattr(storage, "write_views", write_views)
        writer = make_writer(storage, log)
        for piece in (7, 3, 5, 4, 9, 8):
            writer.submit(job_of(payload, piece))
        tasks.start_soon(writer.run)
        await writer.drain()
        assert calls == [(3, 3), (7, 3)]
        for first, count in calls:
            view = memoryview(bytearray(count * PIECE))
            await storage.read(first * PIECE, view)
            assert view == payload[first * PIECE : (first + count) * PIECE]
        tasks.cancel_scope.cancel()


async def test_a_wrong_piece_among_neighbours_is_not_written(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(COUNT * PIECE))
    log = Log()
    async with opened(metainfo, tmp_path) as storage, anyio.create_task_group() as tasks:
        writer = make_writer(storage, log)
        tasks.start_soon(writer.run)
        await writer.drain()
        jobs = []
        for piece in range(4):
            place = piece if piece != 2 else 3
            view = memoryview(payload)[place * PIECE : (place + 1) * PIECE]
            hashes = metainfo.hashes
            jobs.append(WriteJob(piece * PIECE, [view], piece, piece=piece, hashes=hashes))
            writer.submit(jobs[-1])
        await writer.drain()
        assert [job.is_right for job in jobs] == [True, True, False, True]
        assert jobs[2].views
        written = storage.path_of(0).read_bytes()
        assert written[: 2 * PIECE] == payload[: 2 * PIECE]
        assert written[2 * PIECE : 3 * PIECE] == bytes(PIECE)
        assert written[3 * PIECE : 4 * PIECE] == payload[3 * PIECE : 4 * PIECE]
        tasks.cancel_scope.cancel()


async def test_f10_writers_that_never_run_out_of_work_leave_disk_threads_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metainfo, payload = make_torrent(payload_of(COUNT * PIECE))
    monkeypatch.setattr("torrent_engine.disk.pieces.writer._TURN_S", 0.0)
    monkeypatch.setattr("torrent_engine.disk.pieces.writer._BATCH_BYTES", PIECE)
    log, limiter = Log(), anyio.CapacityLimiter(2)
    async with opened(metainfo, tmp_path) as storage, anyio.create_task_group() as tasks:
        writer = make_writer(storage, log, threads=2, limiter=limiter)

        is_over = threading.Event()

        def submit_again(ranges: list[tuple[int, int]]) -> None:  # the queue never runs empty
            if not is_over.is_set():
                writer._jobs.extend(job_of(payload, offset // PIECE) for offset, _ in ranges)

        storage.write_hooks.set(submit_again)
        for piece in range(COUNT):
            writer.submit(job_of(payload, piece))
        tasks.start_soon(writer.run)
        try:
            with anyio.fail_after(30):
                others = [await anyio.to_thread.run_sync(bool, limiter=limiter) for _ in range(5)]
        finally:
            is_over.set()
        assert others == [False] * 5  # each had its turn
        tasks.cancel_scope.cancel()


async def test_it_looks_less_and_less_often_while_no_thread_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metainfo, payload = make_torrent({"a": payload_of(COUNT * PIECE)})
    log, limiter, pauses = Log(), anyio.CapacityLimiter(1), list[float]()
    six_looks = anyio.Event()

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 6:
            six_looks.set()
        await anyio.lowlevel.checkpoint()

    async with opened(metainfo, tmp_path) as storage, anyio.create_task_group() as tasks:
        monkeypatch.setattr("torrent_engine.disk.pieces.writer.anyio.sleep", pause)
        writer = make_writer(storage, log, limiter=limiter)
        async with limiter:
            tasks.start_soon(writer.run)
            writer.submit(job_of(payload, 0))
            await six_looks.wait()
        await writer.drain()
        tasks.cancel_scope.cancel()
    assert pauses[:6] == [0.005, 0.01, 0.02, 0.04, 0.08, 0.1]
    assert log.written == [0]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("fails", [False, True])
async def test_threads_that_write_have_cores_of_their_own_only_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, *, fails: bool
) -> None:
    metainfo, payload = make_torrent(payload_of(COUNT * PIECE))
    log, limiter = Log(), anyio.CapacityLimiter(4)
    allowed = await anyio.to_thread.run_sync(os.sched_getaffinity, 0)
    used: list[set[int]] = []
    async with opened(metainfo, tmp_path) as storage, anyio.create_task_group() as tasks:
        real, both = storage.write_views, threading.Barrier(threads)

        def write(offset: int, views: Sequence[memoryview]) -> None:
            if len(used) < threads:
                used.append(os.sched_getaffinity(0))
                both.wait(10)
            if fails:
                raise StorageError("f", "broken")
            real(offset, views)

        monkeypatch.setattr(storage, "write_views", write)
        monkeypatch.setattr(writer_module, "_BATCH_BYTES", PIECE)  # jobs for both
        writer = make_writer(storage, log, threads=threads, limiter=limiter)
        for piece in range(COUNT):
            writer.submit(job_of(payload, piece))
        tasks.start_soon(writer.run)
        await writer.drain()
        tasks.cancel_scope.cancel()
    assert len(log.failed if fails else log.written) == COUNT
    if threads == 1 or threads > len(allowed):
        assert used == [allowed] * threads
    else:
        assert set.union(*used) == allowed
        assert sum(map(len, used)) == len(allowed)
    assert await anyio.to_thread.run_sync(os.sched_getaffinity, 0) == allowed
