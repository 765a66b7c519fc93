"""Flip bits of the state folder and start again: ``python tools/state_flips.py --flips 10000``.

With --managed a manager starts, with v1, v2 and hybrid torrents, links and renamed files.
Exits with 1 if a start failed, believed a piece that is wrong, or lost a torrent.
"""

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.managed_flips import ManagedFlipRun
from tests.support.state_flips import FlipReport, FlipRun


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--flips", type=int, default=10_000, help="starts (default: 10000)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (default: 1)")
    parser.add_argument("--managed", action="store_true", help="start a manager of all kinds")
    parser.add_argument("--dir", help="where the files lie (default: the temporary folder)")
    options = parser.parse_args()
    logging.disable()
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:

        async def run() -> FlipReport:
            kind = ManagedFlipRun if options.managed else FlipRun
            return await kind(Path(folder), seed=options.seed).run(options.flips)

        report = anyio.run(run)
    print(*report.lines(), f"took {time.monotonic() - started_s:.0f} s", sep="\n")
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
