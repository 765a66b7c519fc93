"""Watched folders of the daemon."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.cli import torrents
from torrent_engine.base.errors import SessionError
from torrent_engine.daemon.jobs.watch import FolderWatch, WatchedFolder
from torrent_engine.service.add_options import AddOptions
from torrent_engine.service.watch_folder import WatchOptions

pytestmark = pytest.mark.anyio

LINK = f"magnet:?xt=urn:btih:{'1' * 40}&dn=one"
FILMS = AddOptions(category="films", labels=("new",), save_path="/films", paused=True)


@dataclass
class Adder:
    added: list[tuple[str, AddOptions]] = field(default_factory=list)
    flushes: int = 0
    is_full: bool = False

    async def add(self, torrent: Any, options: AddOptions) -> None:
        if self.is_full:
            raise SessionError("no more")
        self.added.append((torrent.name, options))

    async def flush(self) -> None:
        self.flushes += 1


@dataclass
class Bench:
    folders: list[WatchedFolder]
    adder: Adder = field(default_factory=Adder)
    alerts: list[tuple[str, str]] = field(default_factory=list)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[FolderWatch]:
        ticks = count(0, 100)  # every scan finds each file unchanged for long
        watch = FolderWatch(
            self.adder,
            self.folders,
            lambda path, text: self.alerts.append((path, text)),
            interval_s=0.005,
            options=WatchOptions(clock=lambda: float(next(ticks))),
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch.run)
            yield watch
            tasks.cancel_scope.cancel()

    async def until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(30):
            while not condition():  # noqa: ASYNC110 - a folder tells nobody
                await anyio.sleep(0.002)


def folders(base: Path) -> tuple[Path, Path]:
    made = base / "a", base / "b"
    for each in made:
        each.mkdir()
    return made


async def test_each_folder_has_options_of_its_own(tmp_path: Path) -> None:
    first, second = folders(tmp_path)
    torrents.multi(first)
    (second / "x.magnet").write_text(LINK)
    bench = Bench([WatchedFolder(first, FILMS), WatchedFolder(second, deletes=True)])
    async with bench.open() as watch:
        await bench.until((first / "stuff.torrent.added").exists)
        await bench.until(lambda: not (second / "x.magnet").exists())
    assert sorted(bench.adder.added, key=str) == [("one", AddOptions()), ("stuff", FILMS)]
    assert not (second / "x.magnet.added").exists()
    assert {path: each.added for path, each in watch.counts.items()} == {first: 1, second: 1}
    assert bench.adder.flushes >= 2


async def test_a_file_that_cannot_be_added_is_told_and_stays(tmp_path: Path) -> None:
    (folder, _), path = folders(tmp_path), tmp_path / "a" / "stuff.torrent"
    torrents.multi(folder)
    bench = Bench([WatchedFolder(folder)], Adder(is_full=True))
    async with bench.open() as watch:
        await bench.until(lambda: bool(bench.alerts))
        assert bench.alerts[0] == (str(path), "no more")
        assert path.exists()
        bench.adder.is_full = False
        await bench.until((folder / "stuff.torrent.added").exists)
    assert watch.counts[folder].failed >= 1


async def test_a_folder_that_is_missing_is_told_once_and_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    bench = Bench([WatchedFolder(folder)])
    async with bench.open() as watch:
        await bench.until(lambda: bool(bench.alerts))
        assert watch.counts[folder].error
        folder.mkdir()
        torrents.multi(folder)
        await bench.until((folder / "stuff.torrent.added").exists)
        assert watch.counts[folder].error == ""
    assert len(bench.alerts) == 1


async def test_other_folders_are_watched_after_a_reload(tmp_path: Path) -> None:
    first, second = folders(tmp_path)
    bench = Bench([WatchedFolder(first)])
    async with bench.open() as watch:
        watch.change([WatchedFolder(second, FILMS)])
        torrents.multi(second)
        await bench.until((second / "stuff.torrent.added").exists)
        torrents.multi(first)
        watch.scan_now()
        (second / "x.magnet").write_text(LINK)
        await bench.until((second / "x.magnet.added").exists)
    assert [name for name, _ in bench.adder.added] == ["stuff", "one"]
    assert (first / "stuff.torrent").exists()
