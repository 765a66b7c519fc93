"""A resume database that is opened where there is hardly any room: not a damaged one (row F1)."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.disk.helpers import fill_disk, mounted_tmpfs
from torrent_engine.base.errors import DiskFullError
from torrent_engine.disk.state.database import StateDatabase

ROOM_BYTES = [0, 4096, 8192, 16_384, 32_768, 40_960, 65_536, 90_000, 120_000]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted_tmpfs(tmp_path / "mount", "4m")


def database(folder: Path) -> StateDatabase:
    return StateDatabase(folder, reserve_bytes=64 * 1024, copies=list, sessions=list)


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
        first.run(
            lambda db: db.execute("INSERT INTO session_metainfos VALUES (?, ?)", row),
            is_precious=True,
        )
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
