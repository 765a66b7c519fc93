"""Downloads killed again and again (row F4), in short; the long form is tools/crash_test.py."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.crash import MIB, NEVER, CrashRun, Kill, Shape
from tests.support.crash_fleet import ADDING, MOVING, Fleet, FleetRun

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")

CASES = {
    "one file": (
        Shape(4 * MIB + 12_345, piece_bytes=256 * 1024, bytes_per_s=6 * MIB),
        [
            Kill("payload", 0.25),
            Kill("checking", 0.01, damage="files replaced"),
            Kill("payload", 0.15),
            Kill("last pieces", 0.002, pieces_left=1),
        ],
    ),
    "many files": (
        Shape(3 * MIB + 54_321, 100, piece_bytes=32 * 1024, bytes_per_s=6 * MIB),
        [
            Kill("payload", 0.2),
            Kill("checking", 0.01, damage="state lost"),
            Kill("spawned", 0.4),
            Kill("completed", 0.005),
        ],
    ),
}


@pytest.mark.parametrize(("shape", "kills"), CASES.values(), ids=CASES)
def test_f4_download_killed_again_and_again_fetches_no_verified_piece_twice(
    shape: Shape, kills: list[Kill], tmp_path: Path
) -> None:
    left = iter(kills)
    run = CrashRun(tmp_path, shape, seed=4, choose=lambda *_: next(left, NEVER))
    report = run.run_once(len(kills))
    assert report.is_good, list(report.lines())
    assert report.cycles >= len(kills) - 1  # the last one may come too late on a busy machine


FLEETS = {
    "moves": replace(MOVING, torrents=2, bytes_each=2_000_000, bytes_per_s=4 * MIB),
    "adding": replace(ADDING, torrents=30),
}


@pytest.mark.parametrize("fleet", FLEETS.values(), ids=FLEETS)
def test_f4_managers_killed_while_they_move_or_add_fetch_no_verified_piece_twice(
    fleet: Fleet, tmp_path: Path
) -> None:
    run = FleetRun(tmp_path, fleet, seed=4)
    report = run.run(3)
    assert report.is_good, list(report.lines())
    assert report.pieces_announced
    assert run.moves or not fleet.is_moved
