"""Waiting for what many things may bring about."""

from collections.abc import Callable
from typing import Final

import anyio

POLL_S: Final = 0.05
LATE: Final = 1 / 20  # ours: of the time that it took already


async def held_within(condition: Callable[[], bool], within_s: float) -> bool:
    """Wait for a condition; return whether it held in time.

    The longer it does not hold, the less often it is looked at, as that may mean to read files.
    """
    since_s = anyio.current_time()
    with anyio.move_on_after(within_s):
        while not condition():
            waited_s = anyio.current_time() - since_s
            await anyio.sleep(max(POLL_S, waited_s * LATE))
    return condition()
