"""The program under test, as rules of trackers see it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from anyio.abc import ByteStream

from torrent_engine.conformance.dht.krpc import NodeAddress


class TrackerPort(Protocol):
    """A program that has not been started yet, or that is a tracker, over HTTP and UDP."""

    name: str
    address: NodeAddress
    """Where it is over IPv4."""

    @property
    def address6(self) -> NodeAddress:
        """Where it is over IPv6, if it is there."""

    async def start(self, info_hashes: Sequence[bytes]) -> None:
        """Start it, for these torrents at least. Raises ConformanceError."""

    def is_running(self) -> bool:
        """Return whether its process has not ended."""

    async def connect(self, source: str) -> ByteStream:
        """Connect from an address of ours. Raises SubjectUnreachableError."""

    async def connect6(self) -> ByteStream:
        """Connect over IPv6. Raises SubjectUnreachableError."""


TrackerFactory = Callable[[], AbstractAsyncContextManager[TrackerPort]]
"""Makes a program; it is ended when the block ends."""
