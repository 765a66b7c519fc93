"""A fault at one call of a torrent's life, one life each: the next attempt always succeeds.

``tools/fault_test.py`` lets every call fail; here are some of them.
"""

import sys
from pathlib import Path

import pytest

from tests.support.fault_scene import live_with_fault
from tests.support.faults import FAULTS

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="what is watched is found in /proc"),
]

STEPS = {"system": 179, "database": 17, "thread": 29}
STEP_OF_STORY = 601
"""A life has about 660 calls to the system, 60 transactions and 100 trips to a thread."""
TRIO_STEPS = 2
"""What is called is the same on trio: of the lives there every second is lived."""


@pytest.fixture
def times(anyio_backend_name: str) -> int:
    return TRIO_STEPS if anyio_backend_name == "trio" else 1


@pytest.mark.parametrize("story", [2, 6])
@pytest.mark.parametrize("kind", ["EIO", "ENOSPC", "EACCES"])
async def test_f10_after_a_fault_among_several_torrents_all_go_on(
    tmp_path: Path, kind: str, story: int, times: int
) -> None:
    lives = 0
    for at in range(29 * story, 10_000, STEP_OF_STORY * times):
        root = tmp_path / str(at)
        root.mkdir()
        outcome = await live_with_fault(root, kind, at, story)
        if not outcome.struck_at:
            break
        assert not outcome.problem, outcome
        assert not outcome.logged, outcome
        lives += 1
    assert lives > 1


@pytest.mark.parametrize("kind", FAULTS)
async def test_f10_after_a_fault_anywhere_the_torrent_goes_on(
    tmp_path: Path, kind: str, times: int
) -> None:
    at, lives = len(kind), 0
    while True:
        root = tmp_path / str(at)
        root.mkdir()
        outcome = await live_with_fault(root, kind, at)
        if not outcome.struck_at:
            break
        assert not outcome.problem, outcome
        assert not outcome.logged, outcome
        at += STEPS[FAULTS[kind][0]] * times
        lives += 1
    assert lives > 1


async def test_f10_a_life_that_takes_longer_than_our_patience_hangs(tmp_path: Path) -> None:
    outcome = await live_with_fault(tmp_path, "EIO", 0, patience_s=0.0)
    assert "hangs" in outcome.problem
