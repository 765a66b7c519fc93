"""What happens to a torrent that is tied to an owner when the owner moves on."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from torrent_engine.base.errors import (
    DiskFullError,
    StateDatabaseError,
    TorrentEngineError,
    UnknownTorrentError,
    scarcity_of,
)
from torrent_engine.base.ids import OwnerTie
from torrent_engine.engine.events import SessionStopped
from torrent_engine.engine.resources.owners import OWNER_CHANGED, OwnerWatch
from torrent_engine.engine.runs.torrent_run import TorrentRun
from torrent_engine.engine.session.core import SessionCore
from torrent_engine.engine.session.removal import Removal

logger = logging.getLogger(__name__)

RETRY_S: Final = 10.0  # ours: after the database failed, or the system had nothing to give


class Ownership:
    """Ends and removes the torrent when its owner moves on; made for a torrent that has an owner.

    ``ask_to_stop`` ends the Session; ``on_removed`` is called after the removal. What goes wrong is
    logged; a removal that failed for a passing reason is tried again until the Session is closed.
    """

    __slots__ = (
        "_ask_to_stop",
        "_core",
        "_is_abandoned",
        "_on_removed",
        "_removal",
        "removed",
        "watch",
    )

    def __init__(
        self,
        core: SessionCore,
        removal: Removal,
        ask_to_stop: Callable[[str, Callable[[TorrentRun], None]], None],
        on_removed: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self._core = core
        self._removal = removal
        self._ask_to_stop = ask_to_stop
        self._on_removed = on_removed
        self.watch: OwnerWatch | None = None
        self.removed: anyio.Event | None = None
        """Set at the end of a removal, after the owner moved on; None while it has not."""
        self._is_abandoned = False
        """There is nothing to remove: the torrent was not started."""

    def begin(self, tie: OwnerTie) -> bool:
        """Watch the owner; return whether that is new.

        Raises OwnerChangedError if the owner has moved on already.
        """
        if self.watch is not None:
            return False
        self.watch = self._core.shared.owners.watch(tie, self.owner_changed)
        self._is_abandoned = False
        return True

    def abandon(self) -> None:
        """End a watch that began with a start which failed; nothing is removed for it."""
        self._is_abandoned = True
        self.cancel()
        self.watch = None

    def cancel(self) -> None:
        """Watch the owner no longer."""
        if self.watch is not None:
            self.watch.cancel()

    async def wait_removed(self) -> None:
        """Wait for the end of a removal that has begun."""
        if self.removed is not None:
            await self.removed.wait()

    def owner_changed(self) -> None:
        """End at once: the owner has moved on."""
        core, tie = self._core, self._core.config.owner
        self.watch = None
        if tie is not None:
            logger.info(
                "torrent %s: cancelled, its owner %r has moved on from generation %d to %s",
                core.info_hash.hex(),
                tie.owner_id,
                tie.generation,
                core.shared.owners.generation(tie.owner_id),
            )
        was_stopped = core.ended.is_set()
        self._ask_to_stop(OWNER_CHANGED, TorrentRun.abandon)
        removed = anyio.Event()

        async def remove() -> None:
            await self._remove(removed, was_stopped=was_stopped)

        core.shared.start_task(remove)
        self.removed = removed  # now that somebody will set it

    async def _remove(self, removed: anyio.Event, *, was_stopped: bool) -> None:
        """Remove what is left once the Session has ended."""
        core = self._core
        is_done = await self._try_to_remove(removed)
        if self._is_abandoned:
            return
        if was_stopped:
            core.stop_reason = OWNER_CHANGED
            core.events.publish(SessionStopped(core.info_hash, OWNER_CHANGED))
        while not is_done:
            await anyio.sleep(RETRY_S)
            if core.is_closed:
                return  # it is removed already, or is tried when it was restored
            self.removed = removed = anyio.Event()
            is_done = await self._try_to_remove(removed)
        await self._report_removed()

    async def _try_to_remove(self, removed: anyio.Event) -> bool:
        """Remove what can be removed; return False if it is to be tried again."""
        try:
            await self._core.ended.wait()
            if not self._is_abandoned:
                await self._removal.remove(TorrentRun.abandon)
        except Exception as error:  # a bug, too, affects no other torrent (row F10)
            self._log(error)
            is_passing = isinstance(error, StateDatabaseError | DiskFullError)
            return not is_passing and not scarcity_of(error)
        finally:
            removed.set()
        return True

    async def _report_removed(self) -> None:
        if self._on_removed is None:
            return
        try:
            await self._on_removed()
        except UnknownTorrentError:
            return
        except Exception as error:
            self._log(error)

    def _log(self, error: Exception) -> None:
        is_bug = not isinstance(error, TorrentEngineError) and not scarcity_of(error)
        log = logger.exception if is_bug else logger.warning
        log("torrent %s: not all was removed: %s", self._core.info_hash.hex(), error)
