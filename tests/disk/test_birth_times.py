"""Birth times: a new file with the inode number of a removed one is not the removed one."""

import os
import sys
import time
from pathlib import Path

import pytest

from torrent_engine.disk.birth_times import born_after
from torrent_engine.disk.file_stamps import FileStamp, is_like_copy, is_same_file
from torrent_engine.disk.safe_open import Folder

STAMP = FileStamp(0, 100, 5_000, 7, 1, 6_000)


def is_known(path: Path) -> bool:
    """Return whether the file system of a path has birth times."""
    with path.open("wb") as file:
        return born_after(file.fileno(), -1)


def test_a_file_is_born_once_whatever_is_written_to_it(tmp_path: Path) -> None:
    before_ns = time.time_ns() - 1_000_000_000  # the system counts in steps of some ms
    path = tmp_path / "file"
    if sys.platform != "linux" or not is_known(path):
        pytest.skip("files have no birth times here")
    made_ns = path.stat().st_ctime_ns
    os.utime(path, (1, 1))
    path.write_bytes(b"more")
    folder = Folder(tmp_path, create=False)
    assert folder.is_born_after(("file",), before_ns)
    assert not folder.is_born_after(("file",), made_ns)
    folder.close()
    with path.open("rb") as file:
        assert born_after(file.fileno(), before_ns)
        assert not born_after(file.fileno(), made_ns)


def test_nothing_is_known_of_what_is_not_there(tmp_path: Path) -> None:
    folder = Folder(tmp_path, create=False)
    assert not folder.is_born_after(("nothing",), 0)
    assert not folder.is_born_after(("no", "thing"), 0)
    folder.close()
    assert not born_after(folder.path.stat().st_size + 1_000_000, 0)  # no open file


@pytest.mark.parametrize(
    ("now", "born_ns", "is_same"),
    [
        (STAMP._replace(mtime_ns=9_000, ctime_ns=9_000), 6_000, True),  # edited
        (STAMP._replace(mtime_ns=9_000, ctime_ns=9_000), 6_001, False),  # its number came again
        (STAMP, 9_000, True),
        (STAMP._replace(inode=8), 0, False),  # a copy
        (STAMP._replace(ctime_ns=9_000), 9_000, False),  # a copy, by chance with its number
    ],
)
def test_a_file_made_after_the_stamp_is_another(
    now: FileStamp, born_ns: int, is_same: bool
) -> None:
    assert is_same_file(STAMP, now, lambda time_ns: born_ns > time_ns) is is_same


def test_a_copy_has_the_size_and_the_modification_time_of_the_file() -> None:
    assert is_like_copy(STAMP, STAMP._replace(inode=8, device=2, ctime_ns=9_000))
    assert not is_like_copy(STAMP, STAMP._replace(size_bytes=9))
    assert not is_like_copy(STAMP, STAMP._replace(mtime_ns=9_000))


@pytest.mark.parametrize("ctime_ns", [0, -1])
def test_a_stamp_without_a_change_time_says_nothing_of_births(ctime_ns: int) -> None:
    old = STAMP._replace(ctime_ns=ctime_ns)
    assert is_same_file(old, STAMP._replace(mtime_ns=9_000), lambda _: True)
