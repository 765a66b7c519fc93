"""Of the transfers of ``v2_matrix.py`` all among us, and a few with each other program."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from tests.interop.v2_matrix import (
    ABOVE_FALSE_ALARMS,
    KINDS,
    LIBTORRENT,
    LINKS,
    OURS,
    QBITTORRENT,
    STARTS,
    Case,
    OtherProgram,
    other_program,
    transfer,
)

pytestmark = [pytest.mark.interop, pytest.mark.anyio]

CASES = (
    *(Case(OURS, OURS, *each) for each in product(KINDS, STARTS, LINKS)),
    Case(LIBTORRENT, OURS, "hybrid-v2", "magnet", "utp"),
    Case(OURS, LIBTORRENT, "hybrid-v2", "magnet", "mse"),
    Case(LIBTORRENT, OURS, "v2", "magnet", "mse", piece_bytes=16_384),
    Case(OURS, LIBTORRENT, "hybrid-v1", "magnet", "utp", piece_bytes=16_384),
    Case(QBITTORRENT, OURS, "hybrid-v2", "torrent", "tcp"),
    Case(OURS, QBITTORRENT, "hybrid-v2", "magnet", "tcp", piece_bytes=ABOVE_FALSE_ALARMS),
    Case(OURS, QBITTORRENT, "v2", "magnet", "tcp", piece_bytes=1_048_576),
    Case(OURS, QBITTORRENT, "hybrid-v1", "magnet", "tcp"),
)


@pytest.fixture
def theirs(case: Case, tmp_path: Path) -> Iterator[OtherProgram | None]:
    with other_program(case.other, tmp_path / "theirs", case.link) as running:
        yield running


@pytest.mark.parametrize(
    "case",
    CASES,
    ids=lambda case: f"{case.seed}-{case.leech}-{case.kind}-{case.start}-{case.link}",
)
async def test_bep52_v2_among_us_and_with_other_programs(
    case: Case, theirs: OtherProgram | None, tmp_path: Path
) -> None:
    assert await transfer(case, theirs, tmp_path)
