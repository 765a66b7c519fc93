"""Services of all torrents that go on after a fault."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

RESTART_S: Final = 1.0  # ours: after a fault
logger = logging.getLogger(__name__)


async def keep_running(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Await ``run``, and again a second after each fault, which is logged; until it returns.

    A fault that left here would end all services beside it without a word: their task group is
    that of a task that waits for the end of the shared resources.
    """
    while True:
        try:
            await run()
        except Exception:
            logger.exception("%s: internal error; it begins anew", name)
            await anyio.sleep(RESTART_S)
        else:
            return
