"""Decides when a run has nothing to do and nobody to talk to, so that its torrent may rest."""

from typing import TYPE_CHECKING

from torrent_engine.base.config import RestConfig
from torrent_engine.engine.states import State

if TYPE_CHECKING:
    from torrent_engine.engine.session_run import RunSettings, SessionRun


class Idleness:
    """Looks once a second; a run is over when it had nothing to do for ``after_s``."""

    def __init__(self, run: "SessionRun", settings: "RunSettings") -> None:
        self._run = run
        self._settings = settings
        self._config = settings.rests or RestConfig()
        self._since_s: float | None = None

    def is_over(self, now: float) -> bool:
        """Return whether the torrent may rest now."""
        if not self._has_nothing_to_do(now):
            self._since_s = None
            return False
        if self._since_s is None:
            self._since_s = now
        return now - self._since_s >= self._config.after_s

    def may_rest_paused(self) -> bool:
        """Return whether a paused torrent may rest: it is known what it has."""
        paused, settings = self._settings.machine.paused_state, self._settings
        return (
            paused in {State.DOWNLOADING, State.SEEDING}
            and not self._run.check.is_needed
            and settings.disk_full.error is None
            and not settings.is_needed()
        )

    def _has_nothing_to_do(self, now: float) -> bool:
        run, pool = self._run, self._run.transfer.pool
        if self._run.torrent.peers or pool.is_dialling or self._settings.is_needed():
            return False
        if self._settings.disk_full.error is not None or run.transfer.writer.queued_bytes:
            return False
        if not run.progress.is_complete and run.transfer.web_seeds.is_running:
            return False
        due = pool.candidates.next_due(now)
        return due is None or due > now + self._config.after_s
