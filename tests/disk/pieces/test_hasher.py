import errno
import os
from contextlib import nullcontext
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.disk.helpers import opened, put_all, put_piece
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.errors import StorageError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.pieces import hasher
from torrent_engine.disk.pieces.hasher import check_pieces

pytestmark = pytest.mark.anyio

MANY = {"a": payload_of(40_000), "b": payload_of(7), "empty": b"", "c": payload_of(900_001)}


async def check(
    storage: StorageManager, metainfo: Metainfo, pieces: list[int] | None = None, threads: int = 2
) -> dict[int, bool]:
    results: dict[int, bool] = {}
    await check_pieces(
        storage,
        metainfo,
        range(metainfo.piece_count) if pieces is None else pieces,
        limiter=anyio.CapacityLimiter(4),
        threads=threads,
        on_result=results.__setitem__,
    )
    return results


def count_reads(storage: StorageManager, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the lengths of what is read from now on."""
    read: list[int] = []
    real = storage.read_blocking

    def noted(offset: int, into: memoryview) -> None:
        read.append(len(into))
        real(offset, into)

    monkeypatch.setattr(storage, "read_blocking", noted)
    return read


@pytest.mark.parametrize("piece_bytes", [16_384, 65_536, 262_144, 1_048_576])
@pytest.mark.parametrize("threads", [1, 2, 3])
async def test_bep3_right_and_wrong_pieces_are_told_apart(
    tmp_path: Path, piece_bytes: int, threads: int
) -> None:
    metainfo, payload = make_torrent(MANY, piece_bytes=piece_bytes)
    damaged = bytearray(payload)
    for at in (0, 300_000, len(payload) - 1):
        damaged[at] ^= 1
    write_files(metainfo, bytes(damaged), tmp_path)
    async with opened(metainfo, tmp_path) as storage:
        results = await check(storage, metainfo, threads=threads)
    wrong = {at // piece_bytes for at in (0, 300_000, len(payload) - 1)}
    assert results == {piece: piece not in wrong for piece in range(metainfo.piece_count)}


async def test_only_the_asked_pieces_are_hashed(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(MANY)
    write_files(metainfo, payload, tmp_path)
    async with opened(metainfo, tmp_path) as storage:
        assert await check(storage, metainfo, [7, 3, 4, 5, 57]) == dict.fromkeys(
            [3, 4, 5, 7, 57], True
        )
        assert await check(storage, metainfo, []) == {}


async def test_missing_and_short_files_are_wrong_without_being_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metainfo, payload = make_torrent(MANY)
    write_files(metainfo, payload, tmp_path)
    (tmp_path / "payload" / "b").unlink()
    (tmp_path / "payload" / "c").write_bytes(b"short")
    async with opened(metainfo, tmp_path) as storage:
        read = count_reads(storage, monkeypatch)
        results = await check(storage, metainfo)
    assert [piece for piece, is_right in results.items() if is_right] == [0, 1]
    assert sum(read) == 2 * 16_384


async def test_files_that_came_after_the_opening_are_seen(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(MANY)
    async with opened(metainfo, tmp_path, create=False) as storage:
        write_files(metainfo, payload, tmp_path)
        assert all((await check(storage, metainfo)).values())


async def test_boundary_pieces_of_skipped_files_are_right_by_the_part_file(tmp_path: Path) -> None:
    metainfo, payload = make_torrent({"a": payload_of(20_000), "b": payload_of(30_000)})
    async with opened(metainfo, tmp_path, skipped=frozenset({1})) as storage:
        put_all(storage, metainfo, payload)
        assert all((await check(storage, metainfo)).values())


async def test_cancelling_stops_the_threads_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metainfo, payload = make_torrent(payload_of(3_000_000))
    write_files(metainfo, payload, tmp_path)
    monkeypatch.setattr(hasher, "_BATCH_BYTES", 1 << 30)
    read: list[int] = []
    async with opened(metainfo, tmp_path) as storage, anyio.create_task_group() as tasks:
        real = storage.read_blocking

        def cancels(offset: int, into: memoryview) -> None:
            read.append(len(into))
            real(offset, into)
            anyio.from_thread.run_sync(tasks.cancel_scope.cancel)

        monkeypatch.setattr(storage, "read_blocking", cancels)
        tasks.start_soon(check, storage, metainfo)
    assert len(read) <= 2


async def test_an_unreadable_file_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metainfo, payload = make_torrent(MANY)
    write_files(metainfo, payload, tmp_path)
    async with opened(metainfo, tmp_path) as storage:

        def broken(offset: int, into: memoryview) -> None:
            raise StorageError("c", "Input/output error")

        monkeypatch.setattr(storage, "read_blocking", broken)
        with pytest.raises(StorageError, match="Input/output"):
            await check(storage, metainfo)


@pytest.mark.skipif(not hasattr(os, "SEEK_DATA"), reason="no system call finds holes")
@pytest.mark.parametrize("piece_bytes", [16_384, 2_097_152])
async def test_f5_holes_are_wrong_without_being_read_unless_zeros_are_right(
    tmp_path: Path, piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros, data = bytes(2 * piece_bytes), payload_of(12 * piece_bytes + 5)
    metainfo, payload = make_torrent(
        {"a": data, "z": zeros, "y": data[:9]}, piece_bytes=piece_bytes
    )
    (tmp_path / "payload").mkdir()
    with (tmp_path / "payload" / "a").open("wb") as file:
        file.truncate(len(data))
        for piece in (3, 7):
            file.seek(piece * piece_bytes)
            file.write(payload[piece * piece_bytes :][:piece_bytes])
    with (tmp_path / "payload" / "z").open("wb") as file:
        file.truncate(len(zeros))
    async with opened(metainfo, tmp_path) as storage:
        read = count_reads(storage, monkeypatch)
        results = await check(storage, metainfo)
    assert sorted(piece for piece, is_right in results.items() if is_right) == [3, 7, 13]
    assert sorted(results) == list(range(metainfo.piece_count))
    assert sum(read) == 3 * piece_bytes


@pytest.mark.skipif(not hasattr(os, "SEEK_DATA"), reason="no system call finds holes")
async def test_f5_holes_of_the_part_file_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metainfo, payload = make_torrent({"a": payload_of(700_000), "b": payload_of(9)})
    async with opened(metainfo, tmp_path, skipped={0}) as storage:
        for piece in (40, 41):
            put_piece(storage, metainfo, payload, piece)
        read = count_reads(storage, monkeypatch)
        results = await check(storage, metainfo, list(range(42)))
    assert [piece for piece, is_right in results.items() if is_right] == [40, 41]
    assert sum(read) == 2 * 16_384


@pytest.mark.skipif(not hasattr(os, "SEEK_DATA"), reason="no system call finds holes")
async def test_all_is_read_where_the_file_system_knows_no_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metainfo, payload = make_torrent({"a": payload_of(700_000)})
    async with opened(metainfo, tmp_path) as storage:
        put_piece(storage, metainfo, payload, 5)
        storage.sync()
        real = os.lseek

        def refuse(descriptor: int, offset: int, whence: int) -> int:
            if whence in {os.SEEK_DATA, os.SEEK_HOLE}:
                raise OSError(errno.EINVAL, "not here")
            return real(descriptor, offset, whence)

        monkeypatch.setattr(os, "lseek", refuse)
        read = count_reads(storage, monkeypatch)
        results = await check(storage, metainfo)
    assert [piece for piece, is_right in results.items() if is_right] == [5]
    assert sum(read) == 700_000


async def test_f11_few_results_are_told_in_one_turn_of_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metainfo, payload = make_torrent(MANY)
    write_files(metainfo, payload, tmp_path)
    told: list[int] = []
    turns: list[int] = []

    async def turn() -> None:
        turns.append(len(told))

    monkeypatch.setattr(hasher, "_TURN_RESULTS", 7)
    monkeypatch.setattr(hasher, "checkpoint", turn)
    async with opened(metainfo, tmp_path) as storage:
        await check_pieces(
            storage,
            metainfo,
            range(metainfo.piece_count),
            limiter=anyio.CapacityLimiter(1),
            threads=1,
            on_result=lambda piece, _: told.append(piece),
        )
    assert len(told) == metainfo.piece_count > 7
    lengths = [after - before for before, after in zip([0, *turns], turns, strict=False)]
    assert max(lengths) == 7
    assert sum(lengths) == metainfo.piece_count


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("fails", [False, True])
async def test_threads_of_a_check_have_cores_of_their_own_only_while_they_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, *, fails: bool
) -> None:
    metainfo, payload = make_torrent(MANY)
    write_files(metainfo, payload, tmp_path)
    allowed = await anyio.to_thread.run_sync(os.sched_getaffinity, 0)
    used: list[int] = []
    async with opened(metainfo, tmp_path) as storage:
        real = storage.read_blocking

        def read(offset: int, into: memoryview) -> None:
            used.append(len(os.sched_getaffinity(0)))
            if fails:
                raise StorageError("a", "does not work")
            real(offset, into)

        monkeypatch.setattr(storage, "read_blocking", read)
        with pytest.raises(StorageError) if fails else nullcontext():
            await check(storage, metainfo, threads=threads)
    share = len(allowed) if threads > len(allowed) else -(-len(allowed) // threads)
    assert used
    assert set(used) <= {share, len(allowed) // threads}
    assert await anyio.to_thread.run_sync(os.sched_getaffinity, 0) == allowed
