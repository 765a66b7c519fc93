"""Kill downloads with SIGKILL again and again: ``python tools/crash_test.py --cycles 200``.

Exits with 1 if a verified piece was fetched again, a byte is wrong at the end, or a process failed.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.crash import MIB, CrashRun, Shape

FILE_COUNT = 500


def shape_of(options: argparse.Namespace) -> Shape:
    return Shape(
        total_bytes=options.mib * MIB + Random(options.seed).randrange(MIB),
        file_count=1 if options.files == "one" else FILE_COUNT,
        piece_bytes=options.piece_kib * 1024,
        bytes_per_s=options.rate_mib * MIB,
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cycles", type=int, default=200, help="kills (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (default: 1)")
    parser.add_argument("--files", choices=["one", "many"], default="one")
    parser.add_argument("--mib", type=int, default=128, help="size of a download (default: 128)")
    parser.add_argument("--piece-kib", type=int, default=1024, help="piece size (default: 1024)")
    parser.add_argument(
        "--rate-mib", type=float, default=16, help="MiB/s of the seed (default: 16)"
    )
    parser.add_argument(
        "--dir", help="where the files lie (default: the system's temporary folder)"
    )
    options = parser.parse_args()
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        run = CrashRun(Path(folder), shape_of(options), seed=options.seed)
        report = run.run(options.cycles)
    print(*report.lines(), f"took {time.monotonic() - started_s:.0f} s", sep="\n")
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
