"""What the parties of the limits bench share: their arguments, and samples of what they moved."""

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

    def take(self) -> None:
        """Look once; the clock is the one of the whole machine."""
        self._samples.append((time.monotonic(), sum(self._each())))

    def report(self) -> None:
        """Print all as one line."""
        print(json.dumps({"samples": self._samples, "each": self._each()}), flush=True)


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
