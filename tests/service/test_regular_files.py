"""Reads of files that others may exchange: pipes, devices, folders, and links on the way."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from torrent_engine.service.regular_files import read_regular, read_resolved

Read = Callable[[Path, int], bytes]
BOTH = pytest.mark.parametrize("read", [read_regular, read_resolved])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path.resolve() / "a" / "b"
    found.mkdir(parents=True)
    (found / "file").write_bytes(b"0123456789")
    return found


@BOTH
def test_a_file_is_read_up_to_one_byte_more_than_allowed(read: Read, folder: Path) -> None:
    assert read(folder / "file", 10) == b"0123456789"
    assert read(folder / "file", 3) == b"0123"


@BOTH
def test_a_pipe_that_nobody_writes_to_is_refused_at_once(read: Read, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(OSError, match="is no regular file"):
        read(folder / "pipe", 10)


@BOTH
@pytest.mark.parametrize("path", ["/dev/zero", "/", "/nothing/there"])
def test_what_is_no_file_is_an_error(read: Read, path: str) -> None:
    with pytest.raises(OSError, match=r"is no regular file|No such file"):
        read(Path(path), 10)


def test_links_are_followed_only_where_they_may_be(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "file")
    (folder.parent / "way").symlink_to(folder)
    for path in (folder / "link", folder.parent / "way" / "file"):
        assert read_regular(path, 10) == b"0123456789"
        with pytest.raises(OSError, match=r"way|link"):
            read_resolved(path, 10)
