"""Files of a folder by their size: which are found, and when they are not read."""

import os
from pathlib import Path

import pytest

from torrent_engine.base.errors import StorageError
from torrent_engine.disk.local_files import (
    AT_REST_S,
    LOOK_AGAIN_S,
    MAX_ALIKE,
    LocalFile,
    LocalFiles,
    is_same_file,
    read_local,
)

NOW_S = 1_700_000_000.0


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("x/one", "x/deep/two", "y/one", "z"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode().ljust(20))
        os.utime(path, (NOW_S, NOW_S))
    (tmp_path / "short").write_bytes(b"1")
    return tmp_path


def files_of(*folders: Path, clock: Clock | None = None) -> LocalFiles:
    return LocalFiles(
        list(map(str, folders)), clock=clock or Clock(), wall_clock=lambda: NOW_S + 10
    )


def names(found: list[LocalFile], folder: Path) -> list[str]:
    return [Path(each.path).relative_to(folder).as_posix() for each in found]


def test_those_with_the_most_alike_path_come_first(folder: Path) -> None:
    files = files_of(folder)
    assert names(files.like(20, ("p", "y", "one")), folder)[0] == "y/one"
    assert names(files.like(20, ("p", "x", "one")), folder)[0] == "x/one"
    assert sorted(names(files.like(20, ("new",)), folder)) == ["x/deep/two", "x/one", "y/one", "z"]
    assert names(files.like(1, ("one",)), folder) == ["short"]
    assert files.like(2, ("one",)) == []


def test_links_and_what_is_no_file_are_left_out(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "z")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    os.mkfifo(folder / "pipe")
    assert len(files_of(folder).like(20, ("link",))) == 4
    assert files_of(folder).like(0, ("pipe",)) == []


def test_what_cannot_be_read_and_what_is_gone_is_left_out(folder: Path) -> None:
    assert files_of(folder / "nothing").like(20, ("z",)) == []
    files = files_of(folder)
    assert len(files.like(20, ("z",))) == 4
    (folder / "z").unlink()
    (folder / "x/one").write_bytes(b"longer than it was before")
    assert sorted(names(files.like(20, ("z",)), folder)) == ["x/deep/two", "y/one"]


def test_folders_are_looked_at_again_after_a_while(folder: Path) -> None:
    clock = Clock()
    files = files_of(folder, clock=clock)
    assert files.like(3, ("new",)) == []
    (folder / "new").write_bytes(b"abc")
    assert files.like(3, ("new",)) == []
    clock.now_s += LOOK_AGAIN_S + 1
    assert names(files.like(3, ("new",)), folder) == ["new"]


def test_of_very_many_equal_files_a_few_and_the_one_with_the_name_are_tried(
    tmp_path: Path,
) -> None:
    for number in range(100):
        (tmp_path / f"{number:03}").write_bytes(b"same")
    found = names(files_of(tmp_path).like(4, ("p", "077")), tmp_path)
    assert found[0] == "077"
    assert len(found) == MAX_ALIKE


def test_a_file_rests_that_was_not_changed_just_now(folder: Path) -> None:
    files = files_of(folder)
    (found,) = (each for each in files.like(20, ("z",)) if each.path.endswith("/z"))
    assert files.rests(found)
    wall_ns = int((NOW_S + 10) * 1e9)
    assert not files.rests(found._replace(mtime_ns=wall_ns - int(AT_REST_S * 0.5e9)))
    assert files.rests(found._replace(mtime_ns=wall_ns + 3_600 * 10**9))


def test_a_file_is_read_as_long_as_it_is_the_same(folder: Path) -> None:
    path = folder / "z"
    found = files_of(folder).like(20, ("z",))[0]
    into = memoryview(bytearray(4))
    read_local(found, 0, into)
    assert bytes(into) == b"z   "
    with pytest.raises(StorageError):
        read_local(found, 18, into)
    path.write_bytes(b"y" * 20)
    with pytest.raises(StorageError, match="changed"):
        read_local(found, 0, into)
    path.unlink()
    with pytest.raises(StorageError):
        read_local(found, 0, into)
    path.symlink_to(folder / "x/one")
    with pytest.raises(StorageError):
        read_local(found, 0, into)


def test_a_file_is_known_by_any_of_its_names(folder: Path) -> None:
    found = files_of(folder).like(20, ("z",))[0]
    os.link(folder / "z", folder / "hard")
    assert is_same_file(found, folder / "hard")
    assert not is_same_file(found, folder / "x/one")
    assert not is_same_file(found, folder / "nothing")
