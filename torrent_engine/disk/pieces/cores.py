"""Shares of the cores for threads that hash at the same time.

Threads that pass the interpreter lock to each other wake each other, and Linux then runs them on
one core while another one idles. A share is several cores where there are more cores than threads,
so that other work on one of them, of this process or not, is made way for.
"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Final


class CoreShares:
    """The shares that some threads hold."""

    def __init__(self) -> None:
        self._holders = Counter[int]()
        self._lock = Lock()

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Keep this thread on one of ``count`` shares of its cores, one that fewest others hold.

        It stays on all of them with one share, with fewer cores than shares, and where the system
        cannot do it or refuses to. If anybody else moves the thread meanwhile, it stays there.
        """
        allowed = _allowed_cores()
        if not 1 < count <= len(allowed):
            yield
            return
        number = self._take(count)
        share = allowed[number::count]
        try:
            _keep_on(share)
            yield
        finally:
            if _allowed_cores() == share:
                _keep_on(allowed)
            self._give_back(number)

    def _take(self, count: int) -> int:
        with self._lock:
            number = min(range(count), key=self._holders.__getitem__)
            self._holders[number] += 1
        return number

    def _give_back(self, number: int) -> None:
        with self._lock:
            self._holders[number] -= 1


HASHING_CORES: Final = CoreShares()
"""The shares of all threads of this process that hash pieces, as its cores are."""


def _allowed_cores() -> list[int]:
    if not hasattr(os, "sched_setaffinity"):
        return []
    try:
        return sorted(os.sched_getaffinity(0))
    except OSError:  # refused
        return []


def _keep_on(cores: list[int]) -> None:
    with suppress(OSError):  # refused, or all of them were taken away since
        os.sched_setaffinity(0, cores)
