"""Blocks that files share, on file systems that can do it and on others."""

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.disks import folder_on_other_disk
from tests.support.reflink_disks import KINDS, reflink_disk, shared_bytes
from tests.support.torrents import payload_of
from torrent_engine.disk.reflinks import Reflinks

BLOCK = 4096
DATA = payload_of(10 * BLOCK + 5)
SIZE = len(DATA)


@pytest.fixture(scope="module", params=sorted(KINDS))
def disk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    with reflink_disk(tmp_path_factory.mktemp("disk"), request.param) as mounted:
        yield mounted


@pytest.fixture
def folder(disk: Path, request: pytest.FixtureRequest) -> Path:
    made = disk / str(request.node.name).replace("/", "-")
    made.mkdir()
    return made


def files(source: Path, target: Path, stack: ExitStack, *, size: int = SIZE) -> tuple[int, int]:
    """Write a source and an empty target of a size; return both open."""
    source.write_bytes(DATA)
    target.touch()
    os.truncate(target, size)
    one = stack.enter_context(source.open("rb")).fileno()
    return one, stack.enter_context(target.open("r+b")).fileno()


def share(folder: Path, start: int, end: int, reflinks: Reflinks, *, size: int = SIZE) -> bool:
    with ExitStack() as stack:
        one, two = files(folder / "a", folder / "b", stack, size=size)
        return reflinks.share(one, two, start, end)


@pytest.mark.parametrize(
    ("start", "end", "shared"),
    [
        (0, SIZE, SIZE),
        (3 * BLOCK, SIZE, 7 * BLOCK + 5),
        (0, 5 * BLOCK, 5 * BLOCK),
        (BLOCK - 1, 3 * BLOCK + 1, 2 * BLOCK),
        (BLOCK + 1, SIZE, 8 * BLOCK + 5),
        (BLOCK + 1, 2 * BLOCK - 1, 0),
        (10 * BLOCK + 1, SIZE, 0),
    ],
)
def test_whole_blocks_of_a_range_are_shared_and_the_rest_is_copied(
    start: int, end: int, shared: int, folder: Path
) -> None:
    assert share(folder, start, end, Reflinks())
    expected = bytes(start) + DATA[start:end] + bytes(SIZE - end)
    assert (folder / "b").read_bytes() == expected
    assert shared_bytes(folder / "b") == shared


def test_a_write_to_one_of_two_files_does_not_change_the_other(folder: Path) -> None:
    assert share(folder, 0, SIZE, Reflinks())
    with (folder / "a").open("r+b") as file:
        file.write(bytes(BLOCK))
    assert (folder / "b").read_bytes() == DATA
    with (folder / "b").open("r+b") as file:
        file.write(bytes([1]) * BLOCK)
    assert (folder / "a").read_bytes() == bytes(BLOCK) + DATA[BLOCK:]


def test_the_last_block_of_a_shorter_file_is_not_shared(folder: Path) -> None:
    assert share(folder, 0, SIZE, Reflinks(), size=SIZE + 3 * BLOCK)
    assert (folder / "b").read_bytes() == DATA + bytes(3 * BLOCK)
    assert shared_bytes(folder / "b") == 10 * BLOCK


def test_two_file_systems_share_nothing(folder: Path, tmp_path: Path) -> None:
    with folder_on_other_disk(folder) as other, ExitStack() as stack:
        one, two = files(other / "a", folder / "b", stack)
        assert not Reflinks().share(one, two, 0, SIZE)
        assert not any((folder / "b").read_bytes())


def test_a_file_system_without_shared_blocks_is_no_error(tmp_path: Path) -> None:
    with folder_on_other_disk(tmp_path) as memory:
        assert not share(memory, 0, SIZE, Reflinks())


class Refusing:
    """A file system that answers with an error, or shares by copying."""

    def __init__(self, error: int = 0) -> None:
        self.asked: list[tuple[int, int]] = []
        self._error = error

    def __call__(self, source: int, target: int, offset: int, length: int) -> None:
        self.asked.append((offset, length))
        if self._error:
            raise OSError(self._error, os.strerror(self._error))
        os.pwrite(target, os.pread(source, length, offset), offset)


@pytest.mark.parametrize(
    "error",
    [errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM],
    ids=lambda number: errno.errorcode[number],
)
def test_what_the_file_system_cannot_share_is_left_to_be_copied(error: int, tmp_path: Path) -> None:
    refusing = Refusing(error)
    assert not share(tmp_path, 0, SIZE, Reflinks(refusing))
    assert refusing.asked == [(0, SIZE)]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_f1_other_errors_are_those_of_a_write(error: int, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=os.strerror(error)):
        share(tmp_path, 0, SIZE, Reflinks(Refusing(error)))


def test_ranges_without_a_whole_block_are_copied_without_asking(tmp_path: Path) -> None:
    asked = Refusing()
    assert share(tmp_path, 1, BLOCK + 1, Reflinks(asked))
    assert asked.asked == []
    assert (tmp_path / "b").read_bytes()[1 : BLOCK + 1] == DATA[1 : BLOCK + 1]


def test_a_source_that_is_too_short_gives_nothing(tmp_path: Path) -> None:
    with ExitStack() as stack:
        one, two = files(tmp_path / "a", tmp_path / "b", stack, size=2 * SIZE)
        assert not Reflinks(Refusing()).share(one, two, SIZE - 1, SIZE + 1)
