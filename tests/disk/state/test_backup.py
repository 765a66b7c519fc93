"""The daily copy of the resume database: when it is made, what of it is believed (rows F6, F8)."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.disk.helpers import CONFIG
from tests.disk.state.test_store import PROGRESS, RECORD, other_record, store_in
from torrent_engine.disk.state.backup import DailyCopy
from torrent_engine.disk.state.records import Progress
from torrent_engine.disk.state.store import StateStore

pytestmark = pytest.mark.anyio

DAY_S = 86_400.0


class Wall:
    """A wall clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def left_over(folder: Path) -> list[Path]:
    return list(folder.glob("*.tmp"))


async def fill_and_damage(folder: Path, wall: Wall, *, progress: Progress = PROGRESS) -> None:
    """Leave a copy with RECORD and torrent 1, then a damaged database with 2 instead of 1."""
    async with await StateStore.open(folder, config=CONFIG, wall_clock=wall) as store:
        await store.save_torrent(RECORD)
        await store.save_torrent(other_record(1))
        wall.now += DAY_S
        await store.save_progress(RECORD.info_hash, progress, partial={3: 1})
        await store.remove(other_record(1).info_hash)
        await store.save_torrent(other_record(2))
        await store.save_progress(RECORD.info_hash, replace(progress, have=b"\x00"))
    (folder / "state.db").write_bytes(b"garbage" * 1000)


async def test_f6_a_damaged_database_is_restored_from_its_daily_copy(tmp_path: Path) -> None:
    await fill_and_damage(tmp_path, Wall())
    assert (tmp_path / "state.db.copy").stat().st_mode & 0o777 == 0o600
    async with store_in(tmp_path) as store:
        names = {record.name for record in await store.load_all()}
        assert names == {"payload", "2"}  # what was removed since then stays so
        found = await store.load(RECORD.info_hash)
        assert found is not None
        assert found.partial == {3: 1}
        assert found.progress == Progress(7, b"\xf0", b"\xf0", b"\x0e", "boot", is_clean=True)
    assert (tmp_path / "state.db.broken-1").exists()
    assert not left_over(tmp_path)


async def test_f6_a_restored_copy_keeps_settings_and_times_and_takes_newer_places(
    tmp_path: Path,
) -> None:
    wall = Wall()
    async with await StateStore.open(tmp_path, config=CONFIG, wall_clock=wall) as store:
        await store.save_torrent(RECORD)
        wall.now += DAY_S
        await store.save_torrent(replace(other_record(1), added_time_s=9.0))
        moved = replace(RECORD, name="new", save_path="/elsewhere", renames={0: ("b",)})
        await store.save_torrent(moved)
        await store.save_torrent(other_record(2))
    (tmp_path / "state.db").write_bytes(b"garbage" * 1000)
    async with store_in(tmp_path) as store:
        assert await store.load(RECORD.info_hash) == moved
        assert {record.name for record in await store.load_all()} == {"new", "1", "2"}


async def test_f6_a_damaged_row_of_a_restored_copy_is_made_anew(tmp_path: Path) -> None:
    await fill_and_damage(tmp_path, Wall())
    with closing(sqlite3.connect(tmp_path / "state.db.copy")) as database:
        database.execute("UPDATE torrents SET save_path = '/etc'")
        database.commit()
    async with store_in(tmp_path) as store:
        found = await store.load(RECORD.info_hash)
        assert found is not None
        assert (found.save_path, found.settings) == (RECORD.save_path, {})


def test_f6_damage_that_has_no_words_is_met_by_the_daily_copy_and_only_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE torrents (x)")
        database.commit()
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE", b"CREATE T\xf8BLE"))
    with closing(sqlite3.connect(path)) as database:
        DailyCopy(tmp_path / "copy", Wall()).make_if_due(database)
    assert "no copy of the resume database" in caplog.text
    assert [file.name for file in tmp_path.iterdir()] == ["state.db"]


@pytest.mark.parametrize("damage", ["garbage", "cut", "gone"])
async def test_f6_without_a_whole_copy_the_list_comes_from_the_torrents(
    tmp_path: Path, damage: str
) -> None:
    await fill_and_damage(tmp_path, Wall())
    copy = tmp_path / "state.db.copy"
    if damage == "gone":
        copy.unlink()
    else:
        copy.write_bytes(b"?" * 9000 if damage == "garbage" else copy.read_bytes()[:5000])
    async with store_in(tmp_path) as store:
        found = await store.load_all()
        assert {record.name for record in found} == {"payload", "2"}
        assert not any(record.progress for record in found)


@pytest.mark.parametrize("step_s", [1, -2 * DAY_S, 365 * DAY_S])
async def test_f8_the_database_is_copied_once_a_day_whatever_the_clock_does(
    tmp_path: Path, step_s: float
) -> None:
    wall, copy = Wall(), tmp_path / "state.db.copy"
    async with await StateStore.open(tmp_path, config=CONFIG, wall_clock=wall) as store:
        await store.save_torrent(RECORD)
        first = copy.stat()
        wall.now += DAY_S - 1
        await store.save_torrent(other_record(1))
        assert copy.stat() == first
        wall.now += step_s
        await store.save_torrent(other_record(2))
        assert copy.stat().st_ino != first.st_ino
        second = copy.stat()
    async with await StateStore.open(tmp_path, config=CONFIG, wall_clock=wall) as store:
        await store.save_torrent(other_record(3))
    assert copy.stat() == second  # a later process knows of it


async def test_f1_a_copy_that_finds_no_room_is_only_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async with store_in(tmp_path) as store:
        monkeypatch.setattr("torrent_engine.disk.state.backup.os.utime", fails)
        await store.save_progress(RECORD.info_hash, PROGRESS)
        monkeypatch.undo()
        assert not (tmp_path / "state.db.copy").exists()
        assert not left_over(tmp_path)
        assert (tmp_path / "reserve").exists()


async def test_f4_what_killed_processes_left_of_files_is_removed_once_nobody_else_is_there(
    tmp_path: Path,
) -> None:
    async with store_in(tmp_path) as store:
        await store.save_torrent(RECORD)
        stem = RECORD.info_hash.hex()
        left = [
            tmp_path / "state.db.copy.17.tmp",
            tmp_path / "state.db.copy.17.tmp-journal",
            tmp_path / f"torrents/{stem}.json.17.tmp",
        ]
        others = [tmp_path / "notes.tmp", tmp_path / "torrents/x.17.tmp.torrent"]
        for path in left + others:
            path.write_bytes(b"half")
        async with store_in(tmp_path):  # somebody is there, whose they may be
            assert all(path.exists() for path in left)
    async with store_in(tmp_path) as store:
        assert not any(path.exists() for path in left)
        assert all(path.exists() for path in others)
        assert await store.load(RECORD.info_hash)
