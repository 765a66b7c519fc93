"""Files opened by their paths: pipes, folders and devices in the place of one."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from torrent_engine.disk.regular_files import open_descriptor, read_regular

FLAGS: Final = [os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_RDWR | os.O_CREAT]


def read(path: Path) -> None:
    read_regular(path)


OPENED: Final[list[Callable[[Path], object]]] = [
    read,
    *(lambda path, flags=flags: open_descriptor(path, flags) for flags in FLAGS),
]


@pytest.mark.parametrize("opened", OPENED)
@pytest.mark.parametrize("what", ["pipe", "folder", "device", "link to a pipe"])
def test_what_is_no_regular_file_is_refused_at_once_with_its_path(
    tmp_path: Path, opened: Callable[[Path], object], what: str
) -> None:
    path = Path("/dev/null") if what == "device" else tmp_path / "it"
    if what == "folder":
        path.mkdir()
    elif what != "device":
        os.mkfifo(tmp_path / ("it" if what == "pipe" else "pipe"))
    if what == "link to a pipe":
        path.symlink_to("pipe")
    with pytest.raises(OSError, match=r"regular file|No such device") as caught:
        opened(path)
    assert caught.value.filename in {path, str(path)}


def test_files_and_links_to_them_are_read_whole_and_made_private(tmp_path: Path) -> None:
    descriptor = open_descriptor(tmp_path / "new", os.O_RDWR | os.O_CREAT)
    os.write(descriptor, b"content")
    os.close(descriptor)
    (tmp_path / "link").symlink_to("new")
    assert read_regular(tmp_path / "link") == b"content"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
