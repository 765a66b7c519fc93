"""Runs the torrents of one command side by side and gives the exit code for all of them."""

from collections.abc import Sequence
from typing import Final

import anyio

from torrent_engine.base.config import SharedConfig
from torrent_engine.cli.entrance import Entrance
from torrent_engine.cli.exit_codes import ExitCode
from torrent_engine.cli.filter_notes import tell_lists
from torrent_engine.cli.job import Job, JobOptions
from torrent_engine.cli.loop import STOP_GRACE_S, obey_signals
from torrent_engine.cli.render import Reporter
from torrent_engine.engine.shared_resources import SharedResources

DRAW_S: Final = 1e-3  # ours: what a torrent costs to draw is then some percent of a core


class Runner:
    """Owns the tasks of a run: one for each torrent, the display, the signals.

    The first SIGINT or SIGTERM stops all torrents in order, the second ends the process at once.
    """

    def __init__(
        self, sources: Sequence[str], shared: SharedConfig, options: JobOptions, reporter: Reporter
    ) -> None:
        self._jobs = [Job(source, options, reporter) for source in sources]
        wanted = options.is_overview
        is_overview = len(self._jobs) > 1 if wanted is None else wanted
        self._is_overview = reporter.draws and is_overview
        self._owner = options.owner
        self._shared = shared
        self._reporter = reporter
        self._entrance = Entrance(self._jobs, options.max_active)
        self._scope: anyio.CancelScope | None = None

    async def run(self) -> ExitCode:
        """Run all torrents to their end and return the code for the whole run."""
        with self._reporter:
            async with anyio.create_task_group() as tasks:
                await tasks.start(obey_signals, self._stop, self._give_up)
                tasks.start_soon(self._display)
                await self._run_jobs()
                tasks.cancel_scope.cancel()
        return self.code

    @property
    def code(self) -> ExitCode:
        """The code of the first failure; "unfinished" only if nothing else failed."""
        codes = [ExitCode.UNFINISHED if job.code is None else job.code for job in self._jobs]
        failures = [code for code in codes if code is not ExitCode.OK]
        serious = [code for code in failures if code is not ExitCode.UNFINISHED]
        return next(iter(serious or failures), ExitCode.OK)

    async def _run_jobs(self) -> None:
        async with SharedResources(self._shared) as shared, anyio.create_task_group() as watch:
            tell_lists(shared.ip_filter, self._reporter)
            if self._owner is not None:
                watch.start_soon(self._owner.watch, shared.owners)
            async with anyio.create_task_group() as tasks:
                self._scope = tasks.cancel_scope
                for job in self._jobs:
                    tasks.start_soon(job.run, shared, self._entrance)
            watch.cancel_scope.cancel()

    async def _display(self) -> None:
        while True:
            if self._reporter.is_ready:
                self._show()
            await anyio.sleep(max(self._reporter.interval_s, len(self._jobs) * DRAW_S))

    def _show(self) -> None:
        if self._is_overview:
            self._reporter.show_overview([job.entry for job in self._jobs if job.is_first])
        else:
            self._reporter.update([job.row for job in self._jobs if job.code is None])

    async def _stop(self) -> None:
        """Stop all sessions; what has not ended after the grace is cancelled."""
        self._reporter.note("stopping; Ctrl-C again ends at once")
        with anyio.move_on_after(STOP_GRACE_S) as grace:
            async with anyio.create_task_group() as tasks:
                for job in self._jobs:
                    tasks.start_soon(job.stop)
        if grace.cancelled_caught and self._scope is not None:
            self._scope.cancel()

    def _give_up(self) -> ExitCode:
        self._reporter.__exit__(None, None, None)
        return self.code
