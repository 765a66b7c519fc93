"""Work that a request begins and nobody waits for, such as the move of a torrent's files."""

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio

from torrent_engine.base.errors import ClosedError, TorrentEngineError

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

logger = logging.getLogger(__name__)
Work = Callable[[], Awaitable[object]]


class Errands:
    """Runs such work while :meth:`run` runs; what fails is logged, and ends nothing else."""

    def __init__(self) -> None:
        self._tasks: TaskGroup | None = None

    async def run(self) -> None:
        """Accept work until cancelled, which cancels all of it."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            try:
                await anyio.sleep_forever()
            finally:
                self._tasks = None

    @property
    def is_running(self) -> bool:
        """Whether work is accepted."""
        return self._tasks is not None

    def check(self) -> None:
        """Raise ClosedError unless work is accepted."""
        if self._tasks is None:
            raise ClosedError("Errands", "are not run now")

    def start(self, name: str, work: Work) -> None:
        """Begin; ``name`` says in the log what failed. Raises ClosedError outside of run()."""
        if self._tasks is None:
            raise ClosedError("Errands", "are not run now")
        self._tasks.start_soon(self._do, name, work)

    async def _do(self, name: str, work: Work) -> None:
        try:
            await work()
        except TorrentEngineError as error:
            logger.warning("%s: %s", name, error)
        except Exception:
            logger.exception("%s: failed by a bug", name)
