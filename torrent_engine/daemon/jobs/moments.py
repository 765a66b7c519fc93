"""From reports of the engine to hooks and to what follows after seeding."""

import time
from collections.abc import Callable
from typing import Final

from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.facts import (
    AddedNotice,
    Moment,
    MomentNotice,
    Notice,
    RemovedNotice,
)
from torrent_engine.daemon.jobs.hook_facts import HookCall, HookEvent, HookTorrent
from torrent_engine.daemon.jobs.hooks import HookRunner

ENDED_BY_RULE: Final = frozenset({"ratio", "time", "idle"})
_EVENTS: Final = {
    Moment.METADATA: (HookEvent.METADATA_RECEIVED, ""),
    Moment.FAILED: (HookEvent.TORRENT_ERROR, "error"),
    Moment.FILE_COMPLETED: (HookEvent.FILE_COMPLETED, "file"),
}


class Moments:
    """Listens to the engine; :meth:`take` is quick and raises nothing.

    Completions come by :meth:`completed`: the engine is not the only one who knows of them.
    """

    def __init__(
        self,
        hooks: HookRunner,
        describe: Callable[[InfoHash], HookTorrent | None],
        look: Callable[[InfoHash], None],
        on_seeded: Callable[[InfoHash], None],
        *,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """``look`` brings what ``describe`` returns up to date."""
        self._hooks = hooks
        self._describe = describe
        self._look = look
        self._on_seeded = on_seeded
        self._wall_clock = wall_clock

    def take(self, notice: Notice) -> None:
        """Take a report of the engine."""
        match notice:
            case AddedNotice(info_hash, is_restored=False):
                self._fire(HookEvent.TORRENT_ADDED, info_hash)
            case RemovedNotice(info_hash):
                self._fire(HookEvent.TORRENT_REMOVED, info_hash)
            case MomentNotice(info_hash, Moment.STOPPED, reason):
                if reason in ENDED_BY_RULE:
                    self._fire(HookEvent.SEEDING_FINISHED, info_hash, reason=reason)
                    self._on_seeded(info_hash)
            case MomentNotice(info_hash, moment, text) if moment in _EVENTS:
                event, name = _EVENTS[moment]
                self._fire(event, info_hash, **({name: text} if name else {}))
            case _:
                return

    def completed(self, info_hash: InfoHash) -> None:
        """Run the hooks of a torrent that is complete and lies where it stays."""
        self._fire(HookEvent.TORRENT_COMPLETED, info_hash)

    def tell(self, event: HookEvent, **details: str) -> None:
        """Run the hooks of an event that has no torrent."""
        self._hooks.fire(HookCall(event, self._wall_clock(), None, details))

    def _fire(self, event: HookEvent, info_hash: InfoHash, **details: str) -> None:
        if not self._hooks.wants(event):
            return
        if event is not HookEvent.TORRENT_REMOVED:  # of that one the last is told
            self._look(info_hash)
        if (torrent := self._describe(info_hash)) is not None:
            self._hooks.fire(HookCall(event, self._wall_clock(), torrent, details))
