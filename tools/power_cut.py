"""Cut the power of recorded downloads in many ways: ``python tools/power_cut.py --states 10000``.

Exits with 1 if a piece was believed that is not there, a durable one was lost, a torrent did not
start, or more was hashed than was written since the last sync.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.power_cut_scene import Judged, cut_power


async def run(states: int, lives: int, seed: int, folder: Path) -> Judged:
    total = Judged()
    for number in range(lives):
        root = folder / str(number)
        root.mkdir()
        share = states * (number + 1) // lives - states * number // lives
        total.add(await cut_power(root, states=share, seed=seed + number))
    return total


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--states", type=int, default=10_000, help="over all lives")
    parser.add_argument("--lives", type=int, default=10, help="recorded downloads (default: 10)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dir", help="where the files lie (default: the temporary folder)")
    options = parser.parse_args()
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        judged = anyio.run(run, options.states, options.lives, options.seed, Path(folder))
    print(*judged.lines(), f"took {time.monotonic() - started_s:.0f} s", sep="\n")
    return 0 if judged.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
