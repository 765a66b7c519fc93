"""Downloads that wait while a disk is nearly full."""

import threading
from collections.abc import Collection
from pathlib import Path

import anyio
import pytest

from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.jobs.disk_guard import DiskGuard, DiskSpace, disk_of
from torrent_engine.service.folder_looks import FolderLooks

pytestmark = pytest.mark.anyio

MIB = 1 << 20
A, B, C = (InfoHash(bytes([number]) * 20) for number in range(3))


class Downloads:
    def __init__(self) -> None:
        self.by_hash: dict[InfoHash, str] = {A: "/a/x", B: "/a/y", C: "/b"}
        self.barred: set[InfoHash] = set()

    def folders(self) -> dict[InfoHash, str]:
        return self.by_hash

    def bar(self, info_hashes: Collection[InfoHash]) -> None:
        self.barred = set(info_hashes)


class Bench:
    """Two disks, /a and /b, with as much room as the test says."""

    def __init__(self, min_free_bytes: int = 1_000 * MIB) -> None:
        self.free = {"/a": 5_000 * MIB, "/b": 5_000 * MIB}
        self.downloads = Downloads()
        self.alerts: list[DiskSpace] = []
        self.guard = DiskGuard(
            self.downloads, ["/a"], min_free_bytes, self.alerts.append, measure=self.measure
        )

    def measure(self, folder: str) -> tuple[int, int, int]:
        root = folder[:2]
        if root not in self.free:
            raise FileNotFoundError(folder)
        return ord(root[1]), 9_000 * MIB, self.free[root]

    async def look(self, **free_mib: int) -> set[InfoHash]:
        self.free.update({f"/{name}": count * MIB for name, count in free_mib.items()})
        await self.guard.look()
        return self.downloads.barred


async def test_downloads_to_a_disk_that_is_nearly_full_wait() -> None:
    bench = Bench()
    assert await bench.look() == set()
    assert await bench.look(a=999) == {A, B}
    (alert,) = bench.alerts
    assert (alert.folder, alert.free_bytes, alert.is_low) == ("/a", 999 * MIB, True)


async def test_they_go_on_when_a_tenth_more_is_free_and_one_alert_is_enough() -> None:
    bench = Bench()
    looks = [await bench.look(a=count) for count in (999, 1_001, 1_099, 1_100, 1_000, 999)]
    assert looks == [{A, B}, {A, B}, {A, B}, set(), set(), {A, B}]
    assert len(bench.alerts) == 2


async def test_what_the_last_look_found_can_be_told() -> None:
    bench = Bench()
    await bench.look(b=10)
    assert [(each.folder, each.is_low) for each in bench.guard.disks] == [
        ("/a", False),
        ("/b", True),
    ]


async def test_a_folder_without_a_disk_holds_nobody_up() -> None:
    bench = Bench()
    bench.downloads.by_hash[C] = "/c/not/mounted"
    assert await bench.look(a=1) == {A, B}


async def test_no_minimum_is_no_guard() -> None:
    assert await Bench(0).look(a=0, b=0) == set()


async def test_other_settings_hold_soon_and_the_end_releases_all() -> None:
    bench = Bench()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.guard.run)
        with anyio.fail_after(30):
            while not bench.guard.disks:  # noqa: ASYNC110 - it looks in a thread
                await anyio.sleep(0.002)
            bench.guard.change(["/a"], 6_000 * MIB)
            while bench.downloads.barred != {A, B, C}:  # noqa: ASYNC110 - as above
                await anyio.sleep(0.002)
        tasks.cancel_scope.cancel()
    assert bench.downloads.barred == set()


def test_a_folder_that_is_not_there_yet_is_on_the_disk_of_its_parent(tmp_path: Path) -> None:
    there, later = disk_of(str(tmp_path)), disk_of(str(tmp_path / "a" / "b"))
    assert (there[0], there[1]) == (later[0], later[1])
    assert 0 <= later[2] <= later[1]


async def test_a_disk_that_does_not_answer_is_left_out_until_it_does() -> None:
    answer, real, bench = threading.Event(), Bench.measure, Bench()
    asked: list[str] = []

    def measure(folder: str) -> tuple[int, int, int]:
        asked.append(folder)
        if folder.startswith("/b"):
            answer.wait()
        return real(bench, folder)

    bench.guard._measure, bench.guard._looks = measure, FolderLooks(0.3)
    try:
        assert await bench.look(a=999, b=999) == {A, B}  # that of the other disk goes on
        count = len(asked)
        assert await bench.look() == {A, B}
        silent = [each for each in asked if each.startswith("/b")]
        assert len(silent) == 1  # it is asked once, and no thread more hangs there
        assert len(asked) > count
    finally:
        answer.set()
    with anyio.fail_after(60):
        while await bench.look() != {A, B, C}:  # noqa: ASYNC110 - nobody is told
            await anyio.sleep(0.01)
