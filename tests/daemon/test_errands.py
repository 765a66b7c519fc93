"""Work that nobody waits for."""

import logging

import anyio
import pytest

from torrent_engine.base.errors import ClosedError, StorageError
from torrent_engine.daemon.errands import Errands

pytestmark = pytest.mark.anyio


async def test_work_is_done_while_errands_run() -> None:
    errands, done = Errands(), anyio.Event()

    async def work() -> None:
        done.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(errands.run)
        await anyio.wait_all_tasks_blocked()
        errands.start("work", work)
        with anyio.fail_after(30):
            await done.wait()
        tasks.cancel_scope.cancel()
    assert done.is_set()


async def test_no_work_is_begun_outside() -> None:
    async def work() -> None:
        raise AssertionError("it is not begun")

    with pytest.raises(ClosedError):
        Errands().start("work", work)


@pytest.mark.parametrize("error", [StorageError("/x", "is full"), RuntimeError("a bug")])
async def test_what_fails_is_logged_and_ends_nothing_else(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    errands, done = Errands(), anyio.Event()

    async def fail() -> None:
        raise error

    async def work() -> None:
        done.set()

    with caplog.at_level(logging.WARNING):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(errands.run)
            await anyio.wait_all_tasks_blocked()
            errands.start("move of a torrent", fail)
            await anyio.wait_all_tasks_blocked()
            errands.start("work", work)
            with anyio.fail_after(30):
                await done.wait()
            tasks.cancel_scope.cancel()
    assert "move of a torrent" in caplog.text
