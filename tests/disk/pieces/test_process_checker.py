"""Checks that leave whole pieces of v2 to a process: what it finds, and what if it cannot."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from hashlib import sha1
from pathlib import Path
from random import Random

import anyio
import anyio.to_thread
import pytest

from tests.disk.helpers import opened
from tests.support.v2_payload import make_v2_payload
from torrent_engine.base.errors import StorageError
from torrent_engine.codec.merkle import leaves_of, root_of
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.create.create import TorrentFormat
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.pieces import hash_process, hasher, process_checker
from torrent_engine.disk.pieces.hash_process import HASH_PROCESSES, HashProcess, HashProcesses
from torrent_engine.disk.pieces.hash_program import HashOrder, send_order, serve
from torrent_engine.disk.pieces.hasher import check_pieces
from torrent_engine.disk.pieces.piece_checker import PieceChecker, PieceResult
from torrent_engine.disk.pieces.process_checker import ProcessChecker

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(socket, "send_fds"), reason="files are sent through sockets"),
]

PIECE = 64 * 1024
FILES = {
    "a": 20 * PIECE + 1,
    "b": PIECE,
    "c/empty": 0,
    "c/long": 9 * PIECE,
    "d": 5,
    "e": 3 * PIECE - 20_000,
}
FORMATS: list[TorrentFormat] = ["v2", "hybrid"]


class Started:
    """The processes that were started, and the whole pieces that they were asked for."""

    def __init__(self) -> None:
        self.processes: list[HashProcess] = []
        self.orders: list[HashOrder] = []

    @property
    def pids(self) -> list[int]:
        return [process._process.pid for process in self.processes]


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    """Let a process begin with the second batch, and see afterwards that none is left."""
    found = Started()

    class Noted(HashProcess):
        def __init__(self) -> None:
            super().__init__()
            found.processes.append(self)

        def ask(self, order: HashOrder, descriptor: int) -> None:
            super().ask(order, descriptor)
            found.orders.append(order)

    monkeypatch.setattr(hash_process, "HashProcess", Noted)
    monkeypatch.setattr(process_checker, "_FIRST_BATCHES", 1)
    monkeypatch.setattr(hasher, "_PROCESS_BYTES", 0)
    yield found
    assert HASH_PROCESSES._count == 0
    assert all(process._process.returncode is not None for process in found.processes)


def make(folder: Path, kind: TorrentFormat = "v2") -> tuple[Metainfo, Path]:
    made = make_v2_payload(folder, "p", FILES, kind=kind, piece_bytes=PIECE)
    return Metainfo.read(made.torrent), made.source_dir


def damage(path: Path, *offsets: int) -> None:
    data = bytearray(path.read_bytes())
    for offset in offsets:
        data[offset] ^= 1
    path.write_bytes(data)


async def check_by_process(
    storage: StorageManager,
    metainfo: Metainfo,
    pieces: list[int],
    meanwhile: Callable[[int], object] = lambda _: None,
) -> dict[int, bool]:
    """Check pieces, seven at a time; ``meanwhile(batches so far)`` is called after each batch."""
    checker, results = ProcessChecker(storage, metainfo, 1), list[PieceResult]()
    batches = [pieces[start : start + 7] for start in range(0, len(pieces), 7)]
    try:
        for number, batch in enumerate([*batches, []], 1):
            results += await anyio.to_thread.run_sync(checker.check, batch)
            meanwhile(number)
    finally:
        await anyio.to_thread.run_sync(checker.close)
    assert len(results) == len(pieces)
    return dict(results)


async def check_here(storage: StorageManager, metainfo: Metainfo) -> dict[int, bool]:
    checker = PieceChecker(storage, metainfo)
    pieces = list(range(metainfo.piece_count))
    return dict(await anyio.to_thread.run_sync(checker.check, pieces))


@pytest.mark.parametrize("kind", FORMATS)
async def test_bep52_a_process_tells_right_and_wrong_pieces_apart(
    tmp_path: Path, kind: TorrentFormat, started: Started
) -> None:
    metainfo, folder = make(tmp_path, kind)
    damage(folder / "p" / "a", 0, 8 * PIECE + 5, 20 * PIECE)
    damage(folder / "p" / "c" / "long", 9 * PIECE - 1)
    (folder / "p" / "b").unlink()
    async with opened(metainfo, folder, create=False) as storage:
        found = await check_by_process(storage, metainfo, list(range(metainfo.piece_count)))
        assert found == await check_here(storage, metainfo)
    wrong = [piece for piece, is_right in found.items() if not is_right]
    assert wrong == [0, 8, 20, 21, 30]
    assert list(found) == list(range(metainfo.piece_count))
    assert len(started.processes) == 1
    # Not the first seven, the ends of "a" and "e", "b", and all of "d".
    assert sum(order.piece_count for order in started.orders) == 13 + 9 + 2
    assert {order.is_hybrid for order in started.orders} == {kind == "hybrid"}


async def test_pieces_in_any_order_are_found(tmp_path: Path) -> None:
    metainfo, folder = make(tmp_path)
    damage(folder / "p" / "a", 12 * PIECE)
    pieces = list(range(metainfo.piece_count))
    Random(5).shuffle(pieces)
    async with opened(metainfo, folder, create=False) as storage:
        found = await check_by_process(storage, metainfo, pieces)
    assert found == {piece: piece != 12 for piece in pieces}


async def test_all_is_hashed_here_when_the_process_was_killed(
    tmp_path: Path, started: Started
) -> None:
    metainfo, folder = make(tmp_path)
    damage(folder / "p" / "a", 12 * PIECE)

    def kill(batches: int) -> None:
        if batches == 2:
            os.kill(started.pids[0], signal.SIGKILL)

    async with opened(metainfo, folder, create=False) as storage:
        found = await check_by_process(storage, metainfo, list(range(metainfo.piece_count)), kill)
    assert [piece for piece, is_right in found.items() if not is_right] == [12]
    assert started.orders


async def test_all_is_hashed_here_when_the_process_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: Started
) -> None:
    monkeypatch.setattr(hash_process, "STUCK_S", 0.05)
    monkeypatch.setattr(hash_process, "_TURN_S", 0.02)
    metainfo, folder = make(tmp_path)
    damage(folder / "p" / "a", 12 * PIECE)
    pieces = list(range(metainfo.piece_count))
    ask = HashProcess.ask

    def ask_stopped(process: HashProcess, order: HashOrder, descriptor: int) -> None:
        os.kill(process._process.pid, signal.SIGSTOP)
        ask(process, order, descriptor)

    monkeypatch.setattr(HashProcess, "ask", ask_stopped)
    async with opened(metainfo, folder, create=False) as storage:
        with anyio.fail_after(30):
            found = await check_by_process(storage, metainfo, pieces)
    assert [piece for piece, is_right in found.items() if not is_right] == [12]
    assert started.orders


async def test_a_file_that_is_cut_meanwhile_is_an_error(tmp_path: Path, started: Started) -> None:
    metainfo, folder = make(tmp_path)

    def cut(batches: int) -> None:
        if batches == 1:
            os.truncate(folder / "p" / "a", 10 * PIECE)

    async with opened(metainfo, folder, create=False) as storage:
        with pytest.raises(StorageError, match="truncated"):
            await check_by_process(storage, metainfo, list(range(metainfo.piece_count)), cut)
    assert started.orders


@pytest.mark.skipif(not hasattr(os, "SEEK_DATA"), reason="no system call finds holes")
async def test_f5_holes_are_not_asked_for(tmp_path: Path, started: Started) -> None:
    metainfo, folder = make(tmp_path)
    whole = (folder / "p" / "a").read_bytes()
    with (folder / "p" / "a").open("wb") as file:
        file.truncate(len(whole))
        file.seek(10 * PIECE)
        file.write(whole[10 * PIECE : 12 * PIECE])
    async with opened(metainfo, folder, create=False) as storage:
        found = await check_by_process(storage, metainfo, list(range(21)))
    assert [piece for piece, is_right in found.items() if is_right] == [10, 11]
    assert sum(order.piece_count for order in started.orders) == 2


@pytest.mark.parametrize("program", ["", "/nothing/python3", "/bin/uwsgi"])
async def test_without_an_interpreter_to_start_all_is_hashed_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, started: Started
) -> None:
    metainfo, folder = make(tmp_path)
    monkeypatch.setattr(sys, "executable", program)
    async with opened(metainfo, folder, create=False) as storage:
        found = await check_by_process(storage, metainfo, list(range(metainfo.piece_count)))
    assert all(found.values())
    assert not started.processes


async def test_checks_together_have_few_processes() -> None:
    processes = HashProcesses()
    first = processes.take(1)
    assert first is not None
    assert processes.take(1) is None
    processes.give_back(first)
    second = processes.take(1)
    assert second is not None
    processes.give_back(second)


@pytest.mark.parametrize("kind", FORMATS)
async def test_a_check_in_threads_and_processes_finds_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: TorrentFormat, started: Started
) -> None:
    metainfo, folder = make(tmp_path, kind)
    damage(folder / "p" / "a", 12 * PIECE)
    monkeypatch.setattr(hasher, "_SHORT_BATCH_BYTES", 2 * PIECE)
    results: dict[int, bool] = {}
    async with opened(metainfo, folder, create=False) as storage:
        await check_pieces(
            storage,
            metainfo,
            range(metainfo.piece_count),
            limiter=anyio.CapacityLimiter(3),
            threads=3,
            on_result=results.__setitem__,
        )
    assert sorted(results) == list(range(metainfo.piece_count))
    assert [piece for piece, is_right in results.items() if not is_right] == [12]
    assert len(started.processes) <= 2


async def test_a_check_that_is_cancelled_ends_a_process_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: Started
) -> None:
    metainfo, folder = make(tmp_path)
    monkeypatch.setattr(hasher, "_SHORT_BATCH_BYTES", 7 * PIECE)
    monkeypatch.setattr(hash_process, "_TURN_S", 0.02)
    asks = anyio.Event()

    def stop(process: HashProcess, check_cancelled: Callable[[], object]) -> list[bytes]:
        os.kill(process._process.pid, signal.SIGSTOP)
        anyio.from_thread.run_sync(asks.set)
        return real(process, check_cancelled)

    real = HashProcess.answer
    monkeypatch.setattr(HashProcess, "answer", stop)

    async def check() -> None:
        checker = ProcessChecker(storage, metainfo, 1)
        try:
            for batch in (range(7), range(7, 14), range(14, 20)):
                await anyio.to_thread.run_sync(checker.check, list(batch))
        finally:
            checker.close()

    async with opened(metainfo, folder, create=False) as storage:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(check)
                await asks.wait()
                tasks.cancel_scope.cancel()
    assert len(started.processes) == 1


# -- the program --------------------------------------------------------------------------------


@pytest.mark.parametrize("piece_bytes", [32 * 1024, 2 * 1024 * 1024])
@pytest.mark.parametrize("is_hybrid", [False, True])
async def test_the_program_answers_with_digests(
    tmp_path: Path, piece_bytes: int, *, is_hybrid: bool
) -> None:
    data = Random(piece_bytes).randbytes(3 * piece_bytes + 7)
    (tmp_path / "file").write_bytes(data)
    ours, theirs = socket.socketpair()
    with ours, theirs, (tmp_path / "file").open("rb") as file:
        send_order(ours, HashOrder(piece_bytes, piece_bytes, 2, is_hybrid), file.fileno())
        ours.shutdown(socket.SHUT_WR)
        await anyio.to_thread.run_sync(serve, theirs)
        answer = ours.recv(1000)
    expected = b""
    for start in (piece_bytes, 2 * piece_bytes):
        piece = data[start : start + piece_bytes]
        expected += sha1(piece).digest() if is_hybrid else b""
        expected += root_of(leaves_of(piece))
    assert answer == expected


async def test_the_program_ends_without_an_answer_where_the_file_ends(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(PIECE + 1))
    ours, theirs = socket.socketpair()
    with ours, (tmp_path / "file").open("rb") as file:
        with theirs:
            send_order(ours, HashOrder(0, PIECE, 2, is_hybrid=False), file.fileno())
            with pytest.raises(EOFError):
                await anyio.to_thread.run_sync(serve, theirs)
        assert ours.recv(100) == b""
