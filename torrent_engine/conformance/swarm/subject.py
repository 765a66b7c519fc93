"""The program under test, as rules of downloads see it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Protocol


class FileKind(StrEnum):
    """What has a name in a folder."""

    NOTHING = "nothing"
    FILE = "a file"
    EXECUTABLE = "an executable file"
    LINK = "a link"
    LINK_OUTSIDE = "a link that leads outside"


class DownloaderPort(Protocol):
    """A program that has not been started yet, or that downloads."""

    name: str
    port: int
    """Where it listens."""
    has_lsd: bool
    """Finds neighbours on the local network, too, if this is set before it starts."""
    has_encryption: bool
    """Tries encryption first where it connects, if this is set before it starts."""
    has_ipv6: bool
    """Uses IPv6, too, if this is set before it starts."""
    has_utp: bool
    """Connects over uTP, too, if this is set before it starts."""

    async def start(self, torrent: bytes | str) -> None:
        """Let it download into its folder, which is empty the first time.

        ``torrent`` is a .torrent file, or a magnet link. Raises SubjectUnreachableError.
        """

    async def end(self) -> None:
        """End its process as a user does, and wait for that; its folder stays."""

    def is_running(self) -> bool:
        """Return whether its process has not ended."""

    async def kill(self) -> None:
        """End its process at once, as a system without memory does; its folder stays."""

    def has_refused(self) -> bool:
        """Return whether its process has ended by itself, with an error and no signal."""

    def strays(self) -> Sequence[str]:
        """Return the files that it wrote outside of its folders."""

    def stored(self, name: str) -> bytes | None:
        """Return a file of its folder; None if it is not there."""

    def store(self, name: str, data: bytes) -> None:
        """Write a file of its folder, before it starts or while it runs."""

    def kind_of(self, name: str) -> FileKind:
        """Return what has a name in its folder."""


DownloaderFactory = Callable[[], AbstractAsyncContextManager[DownloaderPort]]
"""A fresh one for each run of a rule; it is ended when the block ends."""
