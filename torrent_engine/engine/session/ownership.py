"""What happens to a torrent that is tied to an owner when the owner moves on."""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio

from torrent_engine.base.errors import TorrentEngineError, UnknownTorrentError
from torrent_engine.base.ids import InfoHash, OwnerTie
from torrent_engine.engine.events import SessionStopped
from torrent_engine.engine.resources.owners import OWNER_CHANGED, OwnerWatch
from torrent_engine.engine.runs.torrent_run import TorrentRun
from torrent_engine.engine.session.core import SessionCore
from torrent_engine.engine.session.removal import Removal

logger = logging.getLogger(__name__)


class Ownership:
    """Ends and removes the torrent when its owner moves on; made for a torrent that has an owner.

    ``ask_to_stop`` ends the Session; ``on_removed`` is called after the removal.
    """

    __slots__ = ("_ask_to_stop", "_core", "_on_removed", "_removal", "removed", "watch")

    def __init__(
        self,
        core: SessionCore,
        removal: Removal,
        ask_to_stop: Callable[[str, Callable[[TorrentRun], None]], None],
        on_removed: Callable[[InfoHash], Awaitable[None]] | None,
    ) -> None:
        self._core = core
        self._removal = removal
        self._ask_to_stop = ask_to_stop
        self._on_removed = on_removed
        self.watch: OwnerWatch | None = None
        self.removed: anyio.Event | None = None
        """Set when all is removed, after the owner moved on; None while it has not."""

    def begin(self, tie: OwnerTie) -> None:
        """Watch the owner. Raises OwnerChangedError if the owner has moved on already."""
        if self.watch is None:
            self.watch = self._core.shared.owners.watch(tie, self._owner_changed)

    def cancel(self) -> None:
        """Watch the owner no longer."""
        if self.watch is not None:
            self.watch.cancel()

    async def wait_removed(self) -> None:
        """Wait for the end of a removal that has begun."""
        if self.removed is not None:
            await self.removed.wait()

    def _owner_changed(self) -> None:
        """End at once: the owner has moved on."""
        core, watch = self._core, self.watch
        self.watch = None
        if watch is not None:
            logger.info(
                "torrent %s: cancelled, its owner %r has moved on from generation %d to %s",
                core.info_hash.hex(),
                watch.tie.owner_id,
                watch.tie.generation,
                core.shared.owners.generation(watch.tie.owner_id),
            )
        was_stopped = core.ended.is_set()
        self._ask_to_stop(OWNER_CHANGED, TorrentRun.abandon)
        self.removed = removed = anyio.Event()

        async def remove() -> None:
            await self._remove(removed, was_stopped=was_stopped)

        core.shared.start_task(remove)

    async def _remove(self, removed: anyio.Event, *, was_stopped: bool) -> None:
        """Remove what is left once the Session has ended."""
        core = self._core
        try:
            await core.ended.wait()
            await self._removal.remove(TorrentRun.abandon)
        except TorrentEngineError as error:
            logger.warning("torrent %s: not all was removed: %s", core.info_hash.hex(), error)
        finally:
            removed.set()
        if was_stopped:
            core.stop_reason = OWNER_CHANGED
            core.events.publish(SessionStopped(core.info_hash, OWNER_CHANGED))
        if self._on_removed is not None:
            with suppress(UnknownTorrentError):
                await self._on_removed(core.info_hash)
