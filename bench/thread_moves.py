"""Lag of a thread while another one is moved from core to core, beside busy processes."""

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bench.harness import machine, save
from torrent_engine.disk.pieces.cores import move_thread

INTERVAL_S = 0.02
BEAT_S = 0.005
Move = Callable[[Sequence[int]], None]
WAYS: dict[str, Move] = {
    "no moves": lambda cores: None,
    "os.sched_setaffinity": lambda cores: os.sched_setaffinity(0, cores),
    "ours": move_thread,
}


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Run processes that take all the processor time that they can get."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()


def longest_lag_ms(move: Move, seconds: float) -> float:
    """Return how late this thread was at most, while another one moved."""
    cores, ends_s = sorted(os.sched_getaffinity(0)), time.monotonic() + seconds

    def go_round() -> None:
        number = 0
        while time.monotonic() < ends_s:
            move([cores[number % len(cores)]])
            number += 1
            time.sleep(INTERVAL_S)

    other = threading.Thread(target=go_round)
    other.start()
    longest_s = 0.0
    while (began_s := time.monotonic()) < ends_s:
        time.sleep(BEAT_S)
        longest_s = max(longest_s, time.monotonic() - began_s - BEAT_S)
    other.join()
    return longest_s * 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--busy", type=int, default=4 * (os.cpu_count() or 1), help="processes")
    options = parser.parse_args()
    about = machine()
    rows_ms: dict[str, list[float]] = {name: [] for name in WAYS}
    with busy(options.busy):
        for _ in range(options.rounds):
            for name, move in WAYS.items():
                rows_ms[name].append(round(longest_lag_ms(move, options.seconds), 1))
    for name, values in rows_ms.items():
        middle = statistics.median(values)
        print(f"{name:22} longest lag {middle:6.0f} ms, up to {max(values):.0f}")
    document = {"what": "thread_moves", "machine": about, "busy": options.busy, "rows_ms": rows_ms}
    print("written:", save("thread_moves", document))


if __name__ == "__main__":
    main()
