"""Owns one sleep that can be cut short."""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio

LONGEST_S: Final = 3_600.0  # ours: with nothing to do, look again now and then


class Alarm:
    """A task waits with it until a time has passed or somebody rings, even before it waits."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]] = anyio.sleep) -> None:
        self._sleep = sleep
        self._rung = anyio.Event()

    def ring(self) -> None:
        """End the wait that is under way, or the next one if none is."""
        self._rung.set()

    async def wait(self, delay_s: float) -> None:
        """Wait for ``delay_s`` or an hour, whichever is less, or until somebody rings."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cancel_when_rung, tasks.cancel_scope)
            await self._sleep(min(max(delay_s, 0.0), LONGEST_S))
            tasks.cancel_scope.cancel()
        self._rung = anyio.Event()

    async def _cancel_when_rung(self, scope: anyio.CancelScope) -> None:
        await self._rung.wait()
        scope.cancel()
