"""Blocking work in worker threads, and what it means that the system has none to give."""

from collections.abc import Callable
from typing import Final, TypeVar

import anyio
import anyio.to_thread

from torrent_engine.base.errors import TorrentEngineError

_T = TypeVar("_T")
_NO_THREAD: Final = "can't start new thread"  # what CPython says in a RuntimeError


async def run_in_thread(
    work: Callable[..., _T],
    *arguments: object,
    limiter: anyio.CapacityLimiter,
    failure: Callable[[str], TorrentEngineError],
) -> _T:
    """Return what ``work`` returns in a worker thread.

    Raises what ``work`` raises, and ``failure(reason)`` if there is no memory or no thread for it.
    """
    try:
        return await anyio.to_thread.run_sync(work, *arguments, limiter=limiter)
    except MemoryError as error:
        raise failure("out of memory") from error
    except RuntimeError as error:
        if _NO_THREAD not in str(error):
            raise
        raise failure("the system has no more threads") from error
