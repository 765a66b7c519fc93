"""When a run has no work and no peers, so that its torrent may become dormant."""

from typing import Final

import anyio

from torrent_engine.base.config import DormancyConfig
from torrent_engine.engine.resources.run_slots import RunSlots
from torrent_engine.engine.runs.parts import RunParts, RunSettings
from torrent_engine.engine.states import State

UNREAD_S: Final = 10.0  # ours: a seed that uploaded nothing for so long gives up its slot
LOOK_AGAIN_S: Final = 1.0


class IdleTimer:
    """Asked once a second; a run is to end when it had no work for ``after_s``.

    While other torrents wait for file descriptors (row F9) this holds for each torrent, and the run
    of a seed ends as soon as it has uploaded nothing for ``UNREAD_S``, whoever is connected.
    """

    def __init__(
        self, parts: RunParts, settings: RunSettings, slots: RunSlots, holder: object
    ) -> None:
        self._parts = parts
        self._settings = settings
        self._slots = slots
        self._holder = holder
        self._config = settings.rests or DormancyConfig()
        self._since_s: float | None = None
        self._unread_since_s: float | None = None
        self._uploaded_bytes = 0

    def is_over(self, now: float) -> bool:
        """Return whether the run is to end now."""
        is_idle, is_unread = self._is_idle(now), self._is_unread(now)
        if is_idle and self._settings.rests is not None:
            return True
        return (is_idle or is_unread) and self._slots.may_leave(self._holder)

    async def until_rest_paused(self) -> None:
        """Return when a paused torrent may become dormant: at once, or when its slot is wanted."""
        if self._settings.rests is not None and self._may_rest_paused():
            return
        while True:
            await self._slots.until_wanted()
            if self._may_rest_paused() and self._slots.may_leave(self._holder):
                return
            await anyio.sleep(LOOK_AGAIN_S)

    def _may_rest_paused(self) -> bool:
        """Return whether the pieces of a paused torrent are known and its run is not needed."""
        paused = self._settings.machine.paused_state
        return paused in {State.DOWNLOADING, State.SEEDING} and self._can_do_without_run()

    def _is_idle(self, now: float) -> bool:
        if not self._has_no_work(now):
            self._since_s = None
            return False
        if self._since_s is None:
            self._since_s = now
        return now - self._since_s >= self._config.after_s

    def _is_unread(self, now: float) -> bool:
        uploaded_bytes = self._settings.totals.uploaded_bytes
        is_read = uploaded_bytes != self._uploaded_bytes
        if self._unread_since_s is None or is_read or not self._only_seeds():
            self._unread_since_s, self._uploaded_bytes = now, uploaded_bytes
        return now - self._unread_since_s >= UNREAD_S

    def _only_seeds(self) -> bool:
        return self._settings.machine.state is State.SEEDING and self._can_do_without_run()

    def _can_do_without_run(self) -> bool:
        parts, settings = self._parts, self._settings
        return not (
            parts.check.is_needed
            or parts.transfer.writer.queued_bytes
            or parts.transfer.is_copying
            or settings.disk_full.error is not None
            or settings.is_needed()
        )

    def _has_no_work(self, now: float) -> bool:
        parts, pool = self._parts, self._parts.transfer.pool
        if parts.torrent.peers or pool.is_dialling or not self._can_do_without_run():
            return False
        if not parts.progress.is_complete and parts.transfer.web_seeds.is_running:
            return False
        due = pool.next_dial_due_s(now)
        return due is None or due > now + self._config.after_s
