"""Python's garbage collector: paused while much is made that stays, spared what stays."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def paused_collector(*, freezes: bool = False) -> Iterator[None]:
    """Collect no cycles meanwhile: all that is made there stays.

    Measured: 104 instead of 190 ms of processor time to restore 1,000 torrents, and a quarter of
    that of importing the daemon. With ``freezes`` later collections do not look at it either.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if freezes and hasattr(gc, "freeze"):
            gc.freeze()
        if was_enabled:
            gc.enable()


@cache
def exempt_living_objects() -> None:
    """Exempt what is alive from all later collections, once in a process, and free garbage before.

    Nearly all of it is imported code: 60,000 objects. Measured with 200 peers: a full collection
    takes 19 instead of 50 to 64 ms of processor time.
    """
    if hasattr(gc, "freeze"):
        gc.collect()
        gc.freeze()
