"""When a watched folder is scanned."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from torrent_engine.engine.timers import Alarm
from torrent_engine.service.folder_watcher import FolderWatcher

pytestmark = pytest.mark.anyio


class Folder:
    """Remembers its scans, and hands each of them to the test."""

    def __init__(self) -> None:
        self.send, self.scans = anyio.create_memory_object_stream[bool](10)

    async def scan(self, *, is_asked: bool = False) -> None:
        await self.send.send(is_asked)


@asynccontextmanager
async def closing_folder() -> AsyncIterator[Folder]:
    folder = Folder()
    with folder.send, folder.scans:
        yield folder


async def test_a_folder_is_scanned_at_once_and_after_each_pause() -> None:
    pauses: list[float] = []

    async def sleep(delay_s: float) -> None:
        pauses.append(delay_s)
        await anyio.lowlevel.checkpoint()

    async with closing_folder() as folder, anyio.create_task_group() as tasks:
        watcher = FolderWatcher(folder, 7.0, alarm=Alarm(sleep))
        tasks.start_soon(watcher.run)
        with anyio.fail_after(30):
            seen = [await folder.scans.receive() for _ in range(3)]
        tasks.cancel_scope.cancel()
    assert seen == [False, False, False]
    assert set(pauses) == {7.0}


async def test_a_request_ends_the_pause_and_is_told_to_the_scan() -> None:
    async with closing_folder() as folder, anyio.create_task_group() as tasks:
        watcher = FolderWatcher(folder, 3_000.0)
        tasks.start_soon(watcher.run)
        with anyio.fail_after(30):
            first = await folder.scans.receive()
            watcher.scan_now()
            second = await folder.scans.receive()
        tasks.cancel_scope.cancel()
    assert (first, second) == (False, True)
