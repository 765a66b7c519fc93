"""Runner of the torrents of one command, with one exit code for all."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

import anyio

from torrent_engine.base.config import SharedConfig
from torrent_engine.cli.output.exit_codes import ExitCode
from torrent_engine.cli.output.filter_notes import print_lists
from torrent_engine.cli.output.render import Reporter
from torrent_engine.cli.output.terminal import handle_job_control
from torrent_engine.cli.tasks.torrent_task import TaskOptions, TorrentTask
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.service.deduplication import TorrentAdmission
from torrent_engine.service.loop import STOP_GRACE_S, handle_signals

DRAW_S: Final = 1e-3  # ours: what a torrent costs to draw is then some percent of a core


class Runner:
    """Runs a task for each torrent, the display, and the signal handlers.

    The first SIGINT or SIGTERM stops all torrents cleanly, the second ends the process at once.
    """

    def __init__(
        self,
        sources: Sequence[str],
        shared: SharedConfig,
        options: TaskOptions,
        reporter: Reporter,
    ) -> None:
        self._tasks = [TorrentTask(source, options, reporter) for source in sources]
        wanted = options.is_overview
        is_overview = len(self._tasks) > 1 if wanted is None else wanted
        self._is_overview = reporter.draws and is_overview
        self._owner = options.owner
        self._hook = options.hook
        self._shared = shared
        self._reporter = reporter
        self._admission = TorrentAdmission(self._tasks, options.max_active)
        self._scope: anyio.CancelScope | None = None

    async def run(self) -> ExitCode:
        """Run all torrents to their end and return the code for the whole run."""
        with self._reporter:
            async with anyio.create_task_group() as tasks:
                await tasks.start(handle_signals, self._stop, self._give_up)
                await tasks.start(handle_job_control, self._reporter)
                tasks.start_soon(self._display)
                async with AsyncExitStack() as stack:
                    if self._hook is not None:
                        await stack.enter_async_context(self._hook.open())
                    await self._run_tasks()
                tasks.cancel_scope.cancel()
        return self.code

    @property
    def code(self) -> ExitCode:
        """The code of the first failure; UNFINISHED only if nothing else failed."""
        codes = [ExitCode.UNFINISHED if task.code is None else task.code for task in self._tasks]
        failures = [code for code in codes if code is not ExitCode.OK]
        serious = [code for code in failures if code is not ExitCode.UNFINISHED]
        return next(iter(serious or failures), ExitCode.OK)

    async def _run_tasks(self) -> None:
        async with SharedResources(self._shared) as shared, anyio.create_task_group() as watch:
            print_lists(shared.ip_filter, self._reporter)
            if self._owner is not None:
                watch.start_soon(self._owner.watch, shared.owners)
            async with anyio.create_task_group() as tasks:
                self._scope = tasks.cancel_scope
                for task in self._tasks:
                    tasks.start_soon(task.run, shared, self._admission)
            watch.cancel_scope.cancel()

    async def _display(self) -> None:
        while True:
            if self._reporter.is_ready:
                self._show()
            await anyio.sleep(max(self._reporter.interval_s, len(self._tasks) * DRAW_S))

    def _show(self) -> None:
        if self._is_overview:
            self._reporter.show_overview([task.entry for task in self._tasks if task.is_first])
        else:
            self._reporter.update([task.row for task in self._tasks if task.code is None])

    async def _stop(self) -> None:
        """Stop all sessions; cancel those that have not ended in STOP_GRACE_S."""
        self._reporter.note("stopping; Ctrl-C again ends at once")
        if self._hook is not None:
            self._hook.end()
        with anyio.move_on_after(STOP_GRACE_S) as grace:
            async with anyio.create_task_group() as tasks:
                for task in self._tasks:
                    tasks.start_soon(task.stop)
        if grace.cancelled_caught and self._scope is not None:
            self._scope.cancel()

    def _give_up(self) -> ExitCode:
        if self._hook is not None:
            self._hook.kill()
        self._reporter.__exit__(None, None, None)
        return self.code
