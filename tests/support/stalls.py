"""A plugin of pytest for tests that need luck: the process stands still, as on a busy machine.

``python -m pytest -p tests.support.stalls tests/engine``. Now and then, for up to 120 ms, nothing
of the process runs; calls in threads begin and return late; the turn of the event loop is over
early. ``STALLS_SEED`` chooses when.
"""

import ctypes
import os
import threading
import time
from collections.abc import Callable
from random import Random
from typing import Any, Final

import anyio.to_thread

from torrent_engine.net.sockets.fairness import LoopTurn

LATE_SHARE: Final = 0.3
"""How many of the calls in threads begin late, and how many return late."""
OVER_SHARE: Final = 0.2
"""How many of the looks at a turn find it over."""
random = Random(f"{os.environ.get('STALLS_SEED', '1')} {os.getpid()}")
run_sync = anyio.to_thread.run_sync
is_over: Final[Any] = LoopTurn.__dict__["is_over"]


def late(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function as one that begins and returns late."""

    def called(*arguments: Any) -> Any:
        wait()
        try:
            return function(*arguments)
        finally:
            wait()

    return called


def wait() -> None:
    if random.random() < LATE_SHARE:
        time.sleep(random.uniform(0.001, 0.06))


async def run_late(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """As ``anyio.to_thread.run_sync``."""
    return await run_sync(late(function), *arguments, **options)


def stand_still() -> None:
    """Keep the interpreter lock while sleeping, again and again."""
    system = ctypes.PyDLL(None)  # which, unlike CDLL, does not give the lock away
    system.usleep.argtypes = [ctypes.c_uint]
    while True:
        time.sleep(random.uniform(0.05, 1.0))
        system.usleep(random.randint(5_000, 120_000))


def pytest_configure() -> None:
    """Begin; not on Windows, which has no ``usleep``."""
    anyio.to_thread.run_sync = run_late  # type: ignore[assignment]
    over_early = property(lambda turn: is_over.fget(turn) or random.random() < OVER_SHARE)
    LoopTurn.is_over = over_early  # type: ignore[assignment, method-assign]
    threading.Thread(target=stand_still, name="stalls", daemon=True).start()
