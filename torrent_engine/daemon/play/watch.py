"""How far the torrent of a stream is, and what ends it before its player does."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import anyio

from torrent_engine.base.errors import TrackerError

LOOK_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class PlayProgress:
    """How far the torrent of a stream is; sizes in bytes."""

    has_metadata: bool = False
    is_looking: bool = True
    """It asks peers for metadata or data: no user, queue or check holds it back."""
    completed: int = 0
    """Verified, of what is wanted."""
    received: int = 0
    """From peers, verified or not, in all runs."""
    wanted: int = 0
    bytes_per_s: int = 0
    peers: int = 0
    refusal: str = ""
    """What a tracker says that refuses the torrent."""

    @property
    def has_data(self) -> bool:
        """Whether there is anything to play."""
        return self.has_metadata and (self.completed > 0 or self.received > 0)


class PlayReporter(Protocol):
    """Who is told how far a stream is."""

    def progress(self, now: PlayProgress) -> None:
        """Show how far it is; called twice a second."""

    def warn(self, text: str) -> None:
        """Show what may become a problem; ``text`` is from others, not escaped."""


class PlayWatch:
    """Looks at the torrent of a stream until its error, or too long a wait, ends it."""

    def __init__(
        self,
        look: Callable[[], Awaitable[PlayProgress | None]],
        reporter: PlayReporter,
        limit_s: float,
    ) -> None:
        """``look`` raises the error of a failed torrent, and returns None if nothing is known now.

        ``limit_s`` is for the metadata, and again for the first bytes; 0: none.
        """
        self._look = look
        self._reporter = reporter
        self._limit_s = limit_s
        self._has_metadata: bool | None = None
        self._since = 0.0
        self._refusal = ""

    async def run(self) -> None:
        """Look until cancelled.

        Raises what ``look`` raises; if nothing arrives for too long TrackerError where a tracker
        refuses the torrent, and TimeoutError elsewhere.
        """
        while True:
            if (now := await self._look()) is not None:
                self._reporter.progress(now)
                self._warn(now.refusal)
                self._check(now)
            await anyio.sleep(LOOK_S)

    def _warn(self, refusal: str) -> None:
        if refusal and refusal != self._refusal:
            self._reporter.warn(f"a tracker refuses the torrent: {refusal}")
        self._refusal = refusal

    def _check(self, now: PlayProgress) -> None:
        time = anyio.current_time()
        if now.has_data or not now.is_looking or now.has_metadata != self._has_metadata:
            self._has_metadata, self._since = now.has_metadata, time
        elif self._limit_s and time - self._since >= self._limit_s:
            raise _late(now, self._limit_s)


def _late(now: PlayProgress, limit_s: float) -> Exception:
    what = "data" if now.has_metadata else "metadata"
    peers = "1 peer is" if now.peers == 1 else f"{now.peers or 'no'} peers are"
    text = f"no {what} after {limit_s:g} s; {peers} connected"
    if now.refusal:
        return TrackerError(f"{text}; a tracker refuses the torrent: {now.refusal}")
    return TimeoutError(text)


@asynccontextmanager
async def watched(watch: PlayWatch) -> AsyncIterator[None]:
    """Run a watch during the block; what it raises ends the block."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.run)
        yield
        tasks.cancel_scope.cancel()
