"""Two file systems side by side."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_MEMORY = Path("/dev/shm")


def has_other_disk(path: Path) -> bool:
    """Return whether there is a file system besides the one of a path, to be had at once."""
    return _MEMORY.is_dir() and _MEMORY.stat().st_dev != path.stat().st_dev


@contextmanager
def folder_on_other_disk(path: Path) -> Iterator[Path]:
    """Make a folder on another file system than ``path``; skip the test where there is none."""
    if not has_other_disk(path):
        pytest.skip("there is one file system only")
    folder = Path(tempfile.mkdtemp(dir=_MEMORY))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
