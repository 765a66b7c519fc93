"""Owns one piece of work that is done while no run holds a torrent's files."""

from collections.abc import Awaitable, Callable

import anyio


class BetweenWork:
    """Done once, by the Session's own task; what it raises is raised to who asked for it."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._done = anyio.Event()
        self._error: Exception | None = None

    async def do(self) -> None:
        """Do it."""
        try:
            await self._work()
        except Exception as error:
            self._error = error
        finally:
            self._done.set()

    async def wait(self) -> None:
        """Wait for its end; raises what it raised."""
        await self._done.wait()
        if self._error is not None:
            raise self._error
