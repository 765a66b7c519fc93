"""CPU time of code, as a machine of known speed would take: a slow or busy one fails no test."""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

TURNS: Final = 50_000
TURNS_S: Final = 0.0015
"""What so many turns of the loop below take on the machine that bounds are written for."""


class Spent:
    """What a block took."""

    seconds = 0.0
    scale = 1.0
    """By what seconds of this machine are multiplied."""


@contextmanager
def cpu_time() -> Iterator[Spent]:
    """Measure the CPU time of this thread within a block; no garbage is collected meanwhile.

    It is scaled by what a loop takes before and after it: caches, clock rates and the other half of
    a core make the same code take twice as long at some times.
    """
    spent, collects = Spent(), gc.isenabled()
    gc.disable()
    try:
        before_s = _loop_s()
        start_s = time.thread_time()
        yield spent
        took_s = time.thread_time() - start_s
        spent.scale = TURNS_S / max(before_s, _loop_s())
        spent.seconds = took_s * spent.scale
    finally:
        if collects:
            gc.enable()


def _loop_s() -> float:
    start_s, number = time.thread_time(), 0
    for turn in range(TURNS):
        number ^= turn
    return time.thread_time() - start_s
