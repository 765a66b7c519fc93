"""Shares of the cores for threads that hash at the same time.

Threads that pass the interpreter lock to each other wake each other, and Linux then runs them on
one core while another one idles. A share is several cores where there are more cores than threads,
so that other work on one of them, of this process or not, is made way for.
"""

import ctypes
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from threading import Lock
from typing import Final

_WORD_BITS: Final = 8 * ctypes.sizeof(ctypes.c_ulong)


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


def _keep_on(cores: Sequence[int]) -> None:
    with suppress(OSError):  # refused, or all of them were taken away since
        move_thread(cores)


def move_thread(cores: Sequence[int]) -> None:
    """Keep the calling thread on some cores; raise OSError if the system refuses.

    Other threads run meanwhile. ``os.sched_setaffinity`` holds the interpreter lock until the
    thread has had its turn on another core: beside eight busy processes on two cores another thread
    was late by up to 179 ms (the median of five runs), and by up to 85 with this
    (``bench/thread_moves.py``).
    """
    words = (ctypes.c_ulong * (max(cores) // _WORD_BITS + 1))()
    for core in cores:
        words[core // _WORD_BITS] |= 1 << core % _WORD_BITS
    if _set_affinity()(0, ctypes.sizeof(words), words):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@cache
def _set_affinity() -> Callable[[int, int, object], int]:
    """Return the function of the C library, which is there wherever that of ``os`` is."""
    function = ctypes.CDLL(None, use_errno=True).sched_setaffinity
    function.argtypes = (ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p)
    return function
