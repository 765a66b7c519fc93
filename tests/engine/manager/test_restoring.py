"""Torrents of the last run, restored."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.managers import manager
from tests.support.torrents import make_torrent
from torrent_engine.engine.manager import restoring

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[True, False], ids=["on", "off"])
def collector(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether the collector of cycles runs."""
    if not request.param:
        gc.disable()
    yield request.param
    gc.enable()


async def test_the_collector_of_cycles_is_paused_and_left_as_it_was(
    tmp_path: Path, collector: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    original = restoring.Restoring._restore_one

    async def watched(*arguments: object) -> None:
        seen.append(gc.isenabled())
        await original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(restoring.Restoring, "_restore_one", watched)
    async with manager(tmp_path) as first:
        await first.add_torrent(make_torrent(b"abc")[0])
    async with manager(tmp_path) as second:
        assert second.restored == 1
        assert seen == [False]
        assert gc.isenabled() is collector
