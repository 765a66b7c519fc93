"""A resume database that is opened where there is hardly any room: not a damaged one (row F1)."""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.disk.helpers import fill_disk, mounted_tmpfs
from torrent_engine.base.errors import DiskFullError
from torrent_engine.disk.state.database import StateDatabase
from torrent_engine.disk.state.files import Reserve

ROOM_BYTES = [0, 4096, 8192, 16_384, 32_768, 40_960, 65_536, 90_000, 120_000]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted_tmpfs(tmp_path / "mount", "4m")


def database(folder: Path) -> StateDatabase:
    return StateDatabase(folder, reserve_bytes=64 * 1024, copies=list, sessions=list)


def insert(db: sqlite3.Connection, row: tuple[bytes, bytes]) -> None:
    db.execute("INSERT INTO session_metainfos VALUES (?, ?)", row)


def leave_room(disk: Path, room_bytes: int) -> None:
    (disk / "room").write_bytes(bytes(room_bytes))
    fill_disk(disk / "filler")
    (disk / "room").unlink()


@pytest.mark.parametrize("is_new", [False, True], ids=["there", "new"])
@pytest.mark.parametrize("room_bytes", ROOM_BYTES)
def test_f1_a_database_on_a_full_disk_is_not_taken_for_a_damaged_one(
    disk: Path, room_bytes: int, is_new: bool
) -> None:
    row = (b"hash" * 5, b"metainfo")
    if not is_new:
        first = database(disk / "state")
        first.open()
        first.run(lambda db: insert(db, row), is_precious=True)
        first.close()
        (disk / "state/reserve").unlink()
    leave_room(disk, room_bytes)
    with suppress(DiskFullError):
        second = database(disk / "state")
        second.open()
        second.close()
    assert not list(disk.glob("state/state.db.broken-*"))
    (disk / "filler").unlink()
    third = database(disk / "state")
    third.open()
    rows = third.run(
        lambda db: db.execute("SELECT * FROM session_metainfos").fetchall(), is_precious=False
    )
    third.close()
    assert rows == ([] if is_new else [row])


def test_f1_the_reserve_lets_a_process_start_on_a_full_disk(disk: Path) -> None:
    first = database(disk / "state")
    first.open()
    first.close()
    leave_room(disk, 0)
    second = database(disk / "state")
    second.open()
    assert second.run(lambda db: db.execute("SELECT 1").fetchone(), is_precious=False) == (1,)
    second.close()


def test_f1_payload_that_takes_what_the_reserve_frees_leaves_room_for_the_next_times(
    disk: Path,
) -> None:
    held = StateDatabase(disk / "state", reserve_bytes=256 * 1024, copies=list, sessions=list)
    held.open()
    fill_disk(disk / "filler")
    for number in range(20):
        row = (bytes([number]) * 20, b"x" * 500)
        held.run(partial(insert, row=row), is_precious=True)
        fill_disk(disk / "filler")  # as other torrents do
    rows = held.run(
        lambda db: db.execute("SELECT count(*) FROM session_metainfos").fetchone(),
        is_precious=False,
    )
    assert rows == (20,)
    held.close()


def test_f1_payload_that_is_just_being_written_takes_a_part_of_the_reserve_only(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = StateDatabase(disk / "state", reserve_bytes=256 * 1024, copies=list, sessions=list)
    held.open()
    fill_disk(disk / "filler")
    give_up, freed = Reserve.give_up, []

    def freed_and_taken(reserve: Reserve) -> bool:
        freed.append(give_up(reserve))
        if len(freed) == 1:
            fill_disk(disk / "filler")
        return freed[-1]

    monkeypatch.setattr(Reserve, "give_up", freed_and_taken)
    held.run(lambda db: insert(db, (bytes(20), b"x")), is_precious=True)
    held.close()
    assert freed == [True, True]


def test_f1_the_reserve_is_taken_again_before_payload_once_there_is_room(disk: Path) -> None:
    held = StateDatabase(disk / "state", reserve_bytes=256 * 1024, copies=list, sessions=list)
    held.open()
    fill_disk(disk / "filler")
    held.run(lambda db: insert(db, (bytes(20), bytes(100_000))), is_precious=True)
    left = (disk / "state/reserve").stat().st_size
    assert 0 < left < 256 * 1024
    (disk / "filler").write_bytes(bytes((disk / "filler").stat().st_size - 256 * 1024))
    held.hold_reserve()
    assert (disk / "state/reserve").stat().st_size == 256 * 1024
    held.close()
