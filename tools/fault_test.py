"""Let each call of a torrent's life fail once: ``python tools/fault_test.py --kinds EIO,ENOSPC``.

A story (downloads, pauses, moves, renames, rechecks, files skipped and wanted again, restarts,
removals) is lived again and again, each time with a fault at the next call to the system, the
database or a thread; then the next story. Several processes can share the work: --first 0 --step 3,
--first 1 --step 3, --first 2 --step 3. Exits with 1 if one was
not stood: a call that hangs, wrong bytes, descriptors that are left, or a torrent that does not go
on once the fault is gone.
"""

import argparse
import collections
import itertools
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.fault_scene import PATIENCE_S, Outcome, live_with_fault
from tests.support.faults import FAULTS


async def live(options: argparse.Namespace, kind: str, at: int, story: int) -> Outcome:
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        return await live_with_fault(Path(folder), kind, at, story, patience_s=options.patience)


def sweep(options: argparse.Namespace, kind: str) -> Iterator[Outcome]:
    """Let each call of each story fail, from the first to beyond the last."""
    until_s = time.monotonic() + options.seconds
    for story in options.stories:
        for at in itertools.count(options.first, options.step):
            if time.monotonic() > until_s:
                return
            outcome = anyio.run(live, options, kind, at, story)
            if not outcome.struck_at:
                break
            if outcome.problem or outcome.logged:
                print(outcome, flush=True)
            yield outcome


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kinds", default=",".join(FAULTS))
    parser.add_argument(
        "--stories", type=int, nargs="+", default=range(7), help="their numbers (default: 0 to 6)"
    )
    parser.add_argument("--first", type=int, default=0, help="call that fails first")
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--most", type=int, default=5_000, help="faults of each kind")
    parser.add_argument(
        "--patience", type=float, default=PATIENCE_S, help="seconds after which a step hangs"
    )
    parser.add_argument("--seconds", type=float, default=1e9, help="no life begins later; a kind")
    parser.add_argument("--verbose", action="store_true", help="print what was raised and logged")
    parser.add_argument("--dir", help="where the files lie (default: the temporary folder)")
    options = parser.parse_args()
    logging.getLogger().addHandler(logging.NullHandler())
    started_s, bad = time.monotonic(), 0
    for kind in options.kinds.split(","):
        found = list(itertools.islice(sweep(options, kind), options.most))
        problems = sum(bool(each.problem) for each in found)
        logged = collections.Counter(line for each in found for line in each.logged)
        print(
            f"{kind}: {len(found)} faults in stories {sorted({each.story for each in found})},"
            f" {problems} not stood, {sum(logged.values())} logged as"
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
