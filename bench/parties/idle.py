"""Memory and time figures that both programs of the idle torrents benchmark print.

Each stage of a party prints one JSON object with its name and figures, the last one is "end".
"""

import gc
import json
import os
import sys
import time
from pathlib import Path

KIB = 1024
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // KIB


def rss_kib() -> int:
    """Return what is resident now of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_KIB


def collected_rss_kib() -> int:
    """Return the same after a collection of garbage."""
    gc.collect()
    return rss_kib()


def cpu_s() -> float:
    """Return the processor time used so far, user and system, all threads."""
    used = os.times()
    return used.user + used.system


def tell(stage: str, **figures: float) -> None:
    """Print the figures of a stage."""
    print(json.dumps({"stage": stage} | figures), flush=True)


class Clock:
    """Times a stage: seconds on the wall and of the processor."""

    def __init__(self) -> None:
        self.began_s, self.began_cpu_s = time.perf_counter(), cpu_s()

    def figures(self) -> dict[str, float]:
        """Return what passed since it was made."""
        return {
            "seconds": round(time.perf_counter() - self.began_s, 4),
            "cpu_s": round(cpu_s() - self.began_cpu_s, 3),
        }


class Arguments:
    """The command line: MODE FOLDER PORT REST_S SETTLE_S, MODE being add or restore."""

    def __init__(self) -> None:
        mode, folder, port, rest_s, settle_s = sys.argv[1:6]
        self.restores = mode == "restore"
        self.folder = Path(folder)
        self.torrents = sorted(str(path) for path in (self.folder / "torrents").iterdir())
        self.save_path = str(self.folder / "saved")
        self.port = int(port)
        self.rest_s, self.settle_s = float(rest_s), float(settle_s)
