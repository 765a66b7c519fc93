"""A task of its own in which an ``async with`` block stays open between two calls.

Cancel scopes must be left by the task that entered them. What is started in one task and closed in
another, as from two cells of a notebook, is therefore entered and left by a third one.
"""

import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import anyio
from anyio.lowlevel import current_token

logger = logging.getLogger(__name__)

_TASKS: Final[set[object]] = set()
"""asyncio keeps no reference to a task that nobody waits for."""


class HostTask:
    """Keeps one ``async with`` block open from :meth:`start` to :meth:`close`."""

    def __init__(self, name: str, block: AbstractAsyncContextManager[object]) -> None:
        self._name = name
        self._block = block
        self._entered = anyio.Event()
        self._closing = anyio.Event()
        self._ended = anyio.Event()
        self._error: BaseException | None = None
        self._has_entered = False

    async def start(self) -> None:
        """Enter the block, raise what that raises; if it is cancelled, the block is left."""
        _spawn(self._run)
        try:
            await self._entered.wait()
        except BaseException:
            self._closing.set()
            with anyio.CancelScope(shield=True):
                await self._ended.wait()
            raise
        if not self._has_entered:
            await self._ended.wait()
            raise self._failure()

    async def close(self) -> None:
        """Leave the block, raise what that raises; returns at once if it was left already."""
        self._closing.set()
        await self._ended.wait()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    @property
    def is_entering(self) -> bool:
        """Whether the block is being entered now."""
        return not self._entered.is_set()

    @property
    def has_ended(self) -> bool:
        """Whether the block was left: closed, or ended by a fault."""
        return self._ended.is_set()

    def _failure(self) -> BaseException:
        return self._error or RuntimeError(f"{self._name} was cancelled while it started")

    async def _run(self) -> None:
        try:
            async with self._block:
                self._has_entered = True
                self._entered.set()
                await self._closing.wait()
        except Exception as error:
            self._error = error
            if self._has_entered and not self._closing.is_set():
                logger.exception("%s ended by itself", self._name)
        finally:
            self._ended.set()
            self._entered.set()


def _spawn(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a task that belongs to no task group; it is cancelled when the event loop ends."""
    loop = current_token().native_token
    if hasattr(loop, "create_task"):  # asyncio, whichever the loop
        task = loop.create_task(work())
        _TASKS.add(task)
        task.add_done_callback(_TASKS.discard)
    else:
        from trio.lowlevel import spawn_system_task  # not needed by whoever runs on asyncio

        spawn_system_task(work)
