"""What the disk tests share: storages and keepers that are closed again, and a mounted tmpfs."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from torrent_engine.base.config import DiskConfig
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.resume.keeper import ResumeKeeper
from torrent_engine.disk.state.store import StateStore

CONFIG = DiskConfig(state_reserve_bytes=64 * 1024)


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def opened(
    metainfo: Metainfo, save_path: Path, *, create: bool = True, **options: Any
) -> AsyncIterator[StorageManager]:
    config, makes_empty = options.pop("config", CONFIG), options.pop("makes_empty", True)
    limiter = anyio.CapacityLimiter(4)
    storage = StorageManager(metainfo, save_path, disk_limiter=limiter, config=config, **options)
    try:
        await storage.open(create=create, makes_empty=makes_empty)
        yield storage
    finally:
        await storage.close()


@asynccontextmanager
async def kept(
    metainfo: Metainfo, save_path: Path, store: StateStore, *, clock: Any = None, **options: Any
) -> AsyncIterator[tuple[StorageManager, ResumeKeeper]]:
    """Open a storage and a keeper that is abandoned at the end as a kill would do."""
    async with opened(metainfo, save_path, **options) as storage:
        keeper = ResumeKeeper(store, storage, metainfo, CONFIG, clock or FakeClock())
        try:
            yield storage, keeper
        finally:
            keeper.abandon()


def put_piece(storage: StorageManager, metainfo: Metainfo, payload: bytes, piece: int) -> None:
    """Write one piece as the writer does: noted first."""
    start, length = metainfo.geometry.piece_offset(piece), metainfo.geometry.piece_length(piece)
    if storage.write_hooks.before_writes is not None:
        storage.write_hooks.before_writes([(start, length)])
    storage.write_views(start, [memoryview(payload)[start : start + length]])


def put_all(storage: StorageManager, metainfo: Metainfo, payload: bytes) -> None:
    for piece in range(metainfo.piece_count):
        put_piece(storage, metainfo, payload, piece)


async def read_all(storage: StorageManager, metainfo: Metainfo) -> bytes:
    data = bytearray(metainfo.total_bytes)
    await storage.read(0, memoryview(data))
    return bytes(data)


def mounted_tmpfs(folder: Path, size: str) -> Iterator[Path]:
    """Mount a small file system in memory; skip where that is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_disk(path: Path) -> None:
    """Make a file of all the room that a small file system has, to the last byte."""
    with path.open("ab", buffering=0) as file:
        for size in (64 * 1024, 1):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
