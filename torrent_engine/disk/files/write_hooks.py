"""Callbacks around the writes to a torrent's files."""

from collections.abc import Awaitable, Callable


class WriteHooks:
    """What is called before a torrent's files are written; nothing until :meth:`set`."""

    __slots__ = ("before_writes", "until_saved")

    def __init__(self) -> None:
        self.before_writes: Callable[[list[tuple[int, int]]], None] | None = None
        """Called with the (offset, length) pairs about to be written, in the worker thread."""
        self.until_saved: Callable[[], Awaitable[None]] | None = None
        """Awaited before the first write: then the database knows the torrent."""

    def set(
        self,
        before_writes: Callable[[list[tuple[int, int]]], None] | None,
        until_saved: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Call these from now on; None: nothing."""
        self.before_writes = before_writes
        self.until_saved = until_saved
