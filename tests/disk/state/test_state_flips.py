"""Row F6 in short; the long form is tools/state_flips.py."""

from pathlib import Path

import pytest

from tests.support.state_flips import FlipRun


@pytest.mark.anyio
async def test_f6_flipped_bits_in_the_state_folder_make_no_piece_right_and_lose_no_torrent(
    tmp_path: Path,
) -> None:
    report = await FlipRun(tmp_path, seed=6).run(40)
    assert report.is_good, list(report.lines())
    assert report.flips == 40
    assert report.pieces_believed > 0
