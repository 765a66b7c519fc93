"""Let each call of a torrent's life fail once: ``python tools/fault_test.py --kinds EIO,ENOSPC``.

A life (download, pause, move, rename, recheck, restart, removal) is lived again and again, each
time with a fault at the next call to the system, the database or a thread. Exits with 1 if one was
not stood: a call that hangs, wrong bytes, descriptors that are left, or a torrent that does not go
on once the fault is gone.
"""

import argparse
import collections
import logging
import sys
import tempfile
import time
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.fault_scene import Outcome, live_with_fault
from tests.support.faults import FAULTS


async def live(options: argparse.Namespace, kind: str, at: int) -> Outcome:
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        return await live_with_fault(Path(folder), kind, at)


def sweep(options: argparse.Namespace, kind: str) -> list[Outcome]:
    """Let each call fail, from the first to beyond the last."""
    found: list[Outcome] = []
    at = options.first
    while len(found) < options.most:
        outcome = anyio.run(live, options, kind, at)
        if not outcome.struck_at:
            break
        found.append(outcome)
        if outcome.problem:
            print(outcome, flush=True)
        at += options.step
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kinds", default=",".join(FAULTS))
    parser.add_argument("--first", type=int, default=0, help="call that fails first")
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--most", type=int, default=5_000, help="faults of each kind")
    parser.add_argument("--verbose", action="store_true", help="print what was raised and logged")
    parser.add_argument("--dir", help="where the files lie (default: the temporary folder)")
    options = parser.parse_args()
    logging.getLogger().addHandler(logging.NullHandler())
    started_s, bad = time.monotonic(), 0
    for kind in options.kinds.split(","):
        found = sweep(options, kind)
        problems = sum(bool(each.problem) for each in found)
        logged = collections.Counter(line for each in found for line in each.logged)
        print(
            f"{kind}: {len(found)} faults, {problems} not stood, {sum(logged.values())} logged as"
            f" bugs, {sum(not each.errors for each in found)} that nobody saw",
            flush=True,
        )
        if options.verbose:
            for line, count in logged.most_common():
                print(f"  {count} x {line}")
        bad += problems
    print(f"took {time.monotonic() - started_s:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
