"""The program under test, as rules of downloads see it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class DownloaderPort(Protocol):
    """A program that has not been started yet, or that downloads."""

    name: str
    port: int
    """Where it listens."""

    async def start(self, torrent: bytes) -> None:
        """Let it download a .torrent file into its folder, which is empty the first time.

        Raises SubjectUnreachableError.
        """

    async def end(self) -> None:
        """End its process as a user does, and wait for that; its folder stays."""

    def is_running(self) -> bool:
        """Return whether its process has not ended."""

    def stored(self, name: str) -> bytes | None:
        """Return a file of its folder; None if it is not there."""


DownloaderFactory = Callable[[], AbstractAsyncContextManager[DownloaderPort]]
"""A fresh one for each run of a rule; it is ended when the block ends."""
