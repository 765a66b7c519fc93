"""Fixtures of the disk tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disk.helpers import mounted_tmpfs


@pytest.fixture
def small_tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    yield from mounted_tmpfs(tmp_path / "mount", "4m")
