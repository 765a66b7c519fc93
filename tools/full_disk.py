"""Fill a small disk and free it again and again: ``python tools/full_disk.py --cycles 100``.

Payload and state folder are on it. Needs root, to mount a tmpfs. Exits with 1 if anything was lost,
fetched twice or wrong, did not go on within a minute of room, or was not served meanwhile.
"""

import argparse
import contextlib
import logging
import sys
import tempfile
import time
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.disk.helpers import mounted_tmpfs
from tests.support.full_disk import FullDiskReport, FullDiskRun


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cycles", type=int, default=100, help="(default: 100)")
    options = parser.parse_args()
    logging.disable()
    started_s = time.monotonic()
    mounted = contextlib.contextmanager(mounted_tmpfs)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with mounted(folder / "mount", "12m") as disk:
            run = FullDiskRun(folder, disk, restarts=True)
            report: FullDiskReport = anyio.run(run.run, options.cycles)
    print(*report.lines(), f"took {time.monotonic() - started_s:.0f} s", sep="\n")
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
