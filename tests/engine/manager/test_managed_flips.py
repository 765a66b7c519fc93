"""Row F6 for torrents of every kind, in short; the long form is tools/state_flips.py --managed."""

from pathlib import Path

import pytest

from tests.support.managed_flips import ManagedFlipRun


@pytest.mark.anyio
async def test_f6_flipped_bits_lose_no_torrent_of_any_kind(tmp_path: Path) -> None:
    report = await ManagedFlipRun(tmp_path, seed=6).run(8)
    assert report.is_good, list(report.lines())
    assert report.pieces_believed > 0
