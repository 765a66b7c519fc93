"""Newer versions that cannot begin: each waits by itself, and ends nothing else."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest

from tests.support.swarm import until
from torrent_engine.base.errors import SessionError, StorageError
from torrent_engine.base.ids import InfoHash
from torrent_engine.engine.manager.followed_feed import FollowedFeed
from torrent_engine.engine.manager.replacing import Replacing, _skip_as_before
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

OLD = InfoHash(bytes(20))


METAINFO = SimpleNamespace(files=SimpleNamespace(path=lambda _: ("file",)))


class Newer:
    """A newer version whose metadata is there."""

    facts = object()
    metainfo = METAINFO
    name = "newer"
    state = State.STOPPED
    save_path = Path("/mnt/newer")

    def __init__(self, fault: Exception | None = None) -> None:
        self.begun: list[bool] = []
        self.user_data: Mapping[str, str] = FollowedFeed(replaces=OLD).kept({})
        self._fault = fault

    def files(self) -> list[Any]:
        return [SimpleNamespace(index=0, path=Path("file"), priority=4)]

    async def start_download(self, *, overwrite: bool) -> None:
        if self._fault is not None:
            raise self._fault
        self.begun.append(overwrite)

    def set_user_data(self, user_data: Mapping[str, str]) -> None:
        self.user_data = user_data


class Older:
    """The version before it, which runs."""

    info_hash = OLD
    metainfo = METAINFO
    state = State.SEEDING
    is_paused_by_user = False
    save_path = Path("/mnt")
    files = list

    def __init__(self, fault: Exception | None = None) -> None:
        self._fault = fault

    async def own_files(self) -> set[Path]:
        if self._fault is not None:
            raise self._fault
        return set()


class Host:
    """A manager with newer versions, and perhaps the old one."""

    def __init__(self, *newer: Newer, old: object = None) -> None:
        self.torrents = SimpleNamespace(ordered=newer, get=lambda _: old)

    async def remove(self, _info_hash: bytes) -> None:
        await anyio.lowlevel.checkpoint()

    def is_closing(self) -> bool:
        return False


def replacing(*newer: Newer, old: object = None) -> Replacing:
    return Replacing(cast("Any", Host(*newer, old=old)))


@pytest.mark.parametrize("fault", [SessionError("no"), OSError("no"), RuntimeError("no")])
async def test_one_that_cannot_begin_holds_up_no_other(fault: Exception) -> None:
    first, second = Newer(fault), Newer()
    await replacing(first, second).advance()
    assert (first.begun, second.begun) == ([], [False])


@pytest.mark.parametrize("fault", [OSError(107, "gone"), RuntimeError("can't start new thread")])
async def test_what_cannot_be_looked_at_is_not_overwritten(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    exists = os.path.lexists

    def look(path: Path) -> bool:
        if path == Newer.save_path / "file":
            raise fault
        return exists(path)

    monkeypatch.setattr("os.path.lexists", look)
    newer = Newer()
    await replacing(newer, old=Older()).advance()
    assert newer.begun == [False]


async def test_what_may_be_anothers_is_not_overwritten() -> None:
    first, second = Newer(), Newer()
    await replacing(first, old=Older(StorageError("/mnt", "gone"))).advance()
    await replacing(second, old=Older()).advance()
    assert (first.begun, second.begun) == ([False], [True])


@pytest.mark.parametrize(
    ("state", "is_paused"), [(State.STOPPED, False), (State.PAUSED, True), (State.CHECKING, True)]
)
async def test_a_newer_version_waits_while_the_user_has_the_older_one_paused_or_stopped(
    state: State, *, is_paused: bool
) -> None:
    newer, old = Newer(), Older()
    old.state, old.is_paused_by_user = state, is_paused
    versions = replacing(newer, old=old)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(versions.run)
        await anyio.wait_all_tasks_blocked()
        assert newer.begun == []
        old.state, old.is_paused_by_user = State.SEEDING, False
        versions.state_changed(cast("Any", old), state, State.SEEDING)
        await until(lambda: newer.begun)
        tasks.cancel_scope.cancel()
    assert newer.begun == [True]


async def test_a_file_that_has_another_name_on_the_disk_is_skipped_as_before() -> None:
    changed: dict[int, int] = {}

    async def set_file_priorities(priorities: Mapping[int, int]) -> None:
        changed.update(priorities)

    def version(path: str, priority: int, **more: Any) -> Any:
        files = [SimpleNamespace(index=0, path=Path(path), priority=priority)]
        return SimpleNamespace(metainfo=METAINFO, files=lambda: files, **more)

    new = version("file", 4, set_file_priorities=set_file_priorities)
    await _skip_as_before(new, version("file.1", 0))
    assert changed == {0: 0}
