"""The clock of a leech that begins with a link: marks, and one JSON line at the end."""

import json
import os
import time

from bench.harness import peak_rss_mib


class MagnetClock:
    """Runs from its making; a mark counts the first time."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._marks: dict[str, float] = {}

    def mark(self, name: str) -> None:
        """Take the time of something."""
        self._marks.setdefault(name, round(time.perf_counter() - self._began, 4))

    def report(self) -> None:
        """Print the times, and what this process used."""
        used = os.times()
        print(
            json.dumps(
                {
                    **{f"{name}_s": seconds for name, seconds in self._marks.items()},
                    "cpu_s": round(used.user + used.system, 2),
                    "peak_rss_mib": round(peak_rss_mib(), 1),
                }
            ),
            flush=True,
        )
