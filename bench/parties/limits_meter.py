"""Arguments of the programs in the limits benchmark, and samples of the bytes they moved."""

import argparse
import json
import time
from collections.abc import Callable

EVERY_S = 0.02


class Meter:
    """Samples of the payload that each node of a process moved."""

    def __init__(self, each: Callable[[], list[int]]) -> None:
        self.every_s = EVERY_S
        self._each = each
        self._samples: list[tuple[float, int]] = []
        self._marks: list[tuple[float, list[int]]] = []

    def take(self) -> None:
        """Look once; the clock is the one of the whole machine."""
        now, each = time.monotonic(), self._each()
        self._samples.append((now, sum(each)))
        if not self._marks or now - self._marks[-1][0] > 1:
            self._marks.append((now, each))

    def report(self) -> None:
        """Print all as one line."""
        print(json.dumps({"samples": self._samples, "marks": self._marks}), flush=True)


def arguments() -> argparse.Namespace:
    """Return what the bench said."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["seed", "leech"])
    for name in ("count", "down", "up"):
        parser.add_argument(name, type=int)
    for name in ("torrent", "folder"):
        parser.add_argument(name)
    parser.add_argument("ports", type=int, nargs="*")
    return parser.parse_args()
