"""What a power cut at any moment leaves: nothing false is believed, nothing durable is lost."""

import sys
from pathlib import Path

import pytest

from tests.support.power_cut_scene import cut_power

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="the recorder reads /proc"),
]


@pytest.mark.parametrize("seed", [1, 2])
async def test_f5_no_state_after_a_power_cut_has_a_false_have(tmp_path: Path, seed: int) -> None:
    root = tmp_path / "root"
    root.mkdir()
    judged = await cut_power(root, states=105, seed=seed)
    assert judged.states == 105
    assert judged.is_good, "\n".join(judged.lines())
