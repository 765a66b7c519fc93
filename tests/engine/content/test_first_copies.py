"""When the copies of what is in other files begin."""

import anyio
import anyio.abc
import pytest

from torrent_engine.engine.content.first_copies import FirstCopies

pytestmark = pytest.mark.anyio


class Slow:
    """Copies that take until they are let go to know what need not be fetched."""

    def __init__(self) -> None:
        self.runs = 0
        self.may_start = anyio.Event()

    async def run(
        self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        self.runs += 1
        await self.may_start.wait()
        task_status.started()


async def test_whoever_comes_second_waits_too_until_it_is_known_what_is_copied() -> None:
    local, of_folders, begun = Slow(), Slow(), list[str]()
    copies = FirstCopies(lambda: False, local, of_folders)

    async def begin(name: str) -> None:
        await copies.begin(tasks)
        begun.append(name)

    async with anyio.create_task_group() as tasks:
        for name in ("one", "other"):
            tasks.start_soon(begin, name)
        await anyio.wait_all_tasks_blocked()
        assert (begun, local.runs, of_folders.runs) == ([], 1, 0)
        local.may_start.set()
        await anyio.wait_all_tasks_blocked()
        assert (begun, of_folders.runs) == ([], 1)
        of_folders.may_start.set()
    assert sorted(begun) == ["one", "other"]
    assert (local.runs, of_folders.runs) == (1, 1)


async def test_they_begin_again_when_the_transfer_runs_anew() -> None:
    local, of_folders = Slow(), Slow()
    copies = FirstCopies(lambda: False, local, of_folders)
    for each in (local, of_folders):
        each.may_start.set()
    async with anyio.create_task_group() as tasks:
        await copies.begin(tasks)
        copies.again()
        await copies.begin(tasks)
    assert (local.runs, of_folders.runs) == (2, 2)


async def test_a_complete_torrent_waits_for_no_copies() -> None:
    local, of_folders = Slow(), Slow()
    async with anyio.create_task_group() as tasks:
        await FirstCopies(lambda: True, local, of_folders).begin(tasks)
        await anyio.wait_all_tasks_blocked()
        assert (local.runs, of_folders.runs) == (1, 0)
        local.may_start.set()
