"""Kill downloads with SIGKILL again and again: ``python tools/crash_test.py --cycles 200``.

Shapes: "one" file; "many", 500 small files in pieces of 16 KiB; "moves", three torrents that are
moved all the time, between two disks where there are two; "adding", 200 torrents that are added.
The processes are forks of one that has its imports behind it (--cold: each an interpreter).
Exits with 1 if a verified piece was fetched again, a byte is wrong at the end, or a process failed.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.crash import MIB, CrashRun, Report, Shape
from tests.support.crash_fleet import ADDING, MOVING, FleetRun
from tests.support.disks import has_other_disk
from tests.support.warm_processes import start_cold, start_warm

FILE_COUNT = 500
PIECE_KIB = {"one": 1024, "many": 16}


def shape_of(options: argparse.Namespace) -> Shape:
    return Shape(
        total_bytes=options.mib * MIB + Random(options.seed).randrange(MIB),
        file_count=1 if options.shape == "one" else FILE_COUNT,
        piece_bytes=(options.piece_kib or PIECE_KIB[options.shape]) * 1024,
        bytes_per_s=options.rate_mib * MIB,
    )


def run(options: argparse.Namespace, folder: Path) -> Report:
    start = start_cold if options.cold else start_warm
    if options.shape in PIECE_KIB:
        downloads = CrashRun(folder, shape_of(options), seed=options.seed, start=start)
        return downloads.run(options.cycles, options.seconds)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if has_other_disk(folder) else None) as other:
        managers = FleetRun(
            folder,
            MOVING if options.shape == "moves" else ADDING,
            seed=options.seed,
            other_folder=Path(other) / "other",
            start=start,
        )
        report = managers.run(options.cycles, options.seconds)
        print(f"moves that were finished      {managers.moves}")
        return report


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cycles", type=int, default=200, help="kills (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (default: 1)")
    parser.add_argument("--seconds", type=float, default=1e9, help="no download begins later")
    parser.add_argument("--shape", choices=["one", "many", "moves", "adding"], default="one")
    parser.add_argument("--cold", action="store_true", help="start an interpreter each time")
    parser.add_argument("--mib", type=int, default=128, help="size of a download (default: 128)")
    parser.add_argument("--piece-kib", type=int, help="piece size (default: 1024; many: 16)")
    parser.add_argument(
        "--rate-mib", type=float, default=16, help="MiB/s of the seed (default: 16)"
    )
    parser.add_argument(
        "--dir", help="where the files lie (default: the system's temporary folder)"
    )
    options = parser.parse_args()
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        report = run(options, Path(folder))
    print(*report.lines(), f"took {time.monotonic() - started_s:.0f} s", sep="\n")
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
