"""Who holds a lock, by the number of its process in the file."""

import os
from pathlib import Path

import pytest

from torrent_engine.disk.file_lock import FileLock


def test_the_holder_of_a_lock_is_named_until_another_signs(tmp_path: Path) -> None:
    first, other = FileLock(tmp_path / "a.lock"), FileLock(tmp_path / "a.lock")
    assert other.holder() is None
    assert first.take()
    assert other.holder() is None
    first.sign()
    first.sign()
    assert other.holder() == os.getpid()
    assert (tmp_path / "a.lock").read_text() == f"{os.getpid()}\n"
    first.free()


@pytest.mark.parametrize("content", [b"", b"x", b"-1", b"\xff\xfe", b"1 2", b"9" * 5_000 + b"x"])
def test_what_is_no_number_names_nobody_or_some_number(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.lock").write_bytes(content)
    holder = FileLock(tmp_path / "a.lock").holder()
    assert holder is None or holder > 0
