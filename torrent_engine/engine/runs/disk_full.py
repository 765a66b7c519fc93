"""Waiting for space on a full disk (row F1)."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio

from torrent_engine.base.errors import DiskFullError, StorageError
from torrent_engine.disk.filesystem import has_room
from torrent_engine.disk.threads import run_in_thread
from torrent_engine.engine.resources.shared_resources import SharedResources


class DiskFull:
    """Waits for disk space, which is measured every ``retry_after_disk_full_s``."""

    def __init__(self, shared: SharedResources) -> None:
        self.needed_bytes = 1
        """So much space must be free."""
        self.error: DiskFullError | None = None
        """What the disk refused; None: nothing is waited for."""
        self._retry_s = shared.config.disk.retry_after_disk_full_s
        self._shared = shared
        self._go_on: Callable[[], None] | None = None
        self._over: anyio.Event | None = None

    def begin(self, error: DiskFullError, go_on: Callable[[], None]) -> None:
        """Begin to wait; ``go_on`` is called once when it is time to try again."""
        self.error, self._go_on, self._over = error, go_on, anyio.Event()

    def retry(self) -> None:
        """Try again now, with space or not; does nothing if nothing is waited for."""
        go_on = self._go_on
        self.drop()
        if go_on is not None:
            go_on()

    def drop(self) -> None:
        """Wait no more, and do not try again."""
        self.error = self._go_on = None
        if self._over is not None:
            self._over.set()

    async def over(self) -> None:
        """Return when nothing is waited for."""
        if self._over is not None:
            await self._over.wait()

    async def wait(self) -> None:
        """Measure the space at intervals, until it was tried again or dropped."""
        while (error := self.error) is not None and self._over is not None:
            with anyio.move_on_after(self._retry_s):
                await self._over.wait()
            if self.error is not error:
                return
            await self._shared.store.hold_reserve()  # before payload takes the room
            is_room = await self._is_room(error)
            if self.error is not error:
                return  # tried or dropped meanwhile; what is waited for now has its own waiter
            if is_room:
                self.retry()

    async def _is_room(self, error: DiskFullError) -> bool:
        """Return whether there is space; False if that cannot be measured."""
        look = partial(has_room, Path(error.path), self.needed_bytes)
        failure = partial(StorageError, error.path)
        try:
            return await run_in_thread(look, limiter=self._shared.disk_limiter, failure=failure)
        except StorageError:
            return False
