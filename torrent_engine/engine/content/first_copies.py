"""The copies of what is in other files, begun before anything is requested of peers."""

from collections.abc import Callable
from typing import Protocol

import anyio
import anyio.abc


class Copies(Protocol):
    """What copies until it is cancelled."""

    async def run(
        self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Copy; started once it is known what need not be fetched."""


class FirstCopies:
    """Begins the copies of one torrent, once each time its transfer runs."""

    def __init__(self, is_complete: Callable[[], bool], local: Copies, of_folders: Copies) -> None:
        """Create it; of a complete torrent only ``local`` runs, which others copy from."""
        self._is_complete = is_complete
        self._local = local
        self._of_folders = of_folders
        self._has_begun = False
        self._beginning = anyio.Lock()

    def again(self) -> None:
        """Let the next :meth:`begin` begin them: the transfer runs anew."""
        self._has_begun = False

    async def begin(self, tasks: anyio.abc.TaskGroup) -> None:
        """Return once it is known what is copied, whoever called this first."""
        async with self._beginning:
            if self._has_begun:
                return
            self._has_begun = True
            if self._is_complete():
                tasks.start_soon(self._local.run)
                return
            await tasks.start(self._local.run)
            await tasks.start(self._of_folders.run)
