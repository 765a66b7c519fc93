"""Row F1 in short; the long form is tools/full_disk.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disk.helpers import mounted_tmpfs
from tests.support.full_disk import FullDiskRun


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted_tmpfs(tmp_path / "mount", "12m")


@pytest.mark.anyio
async def test_f1_a_disk_that_fills_and_is_freed_again_and_again_costs_nothing(
    tmp_path: Path, disk: Path
) -> None:
    report = await FullDiskRun(tmp_path, disk, restarts=True).run(4)
    assert report.is_good, list(report.lines())
    assert report.pieces_served >= report.pieces_before > 0
