"""Blocking work in worker threads, and what it means that the system has none to give."""

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from torrent_engine.base.errors import TorrentEngineError, scarcity_of

_T = TypeVar("_T")


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
    except (MemoryError, RuntimeError) as error:
        if not (reason := scarcity_of(error)):
            raise
        raise failure(reason) from error
