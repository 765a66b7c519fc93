"""The program under test, as rules of DHT nodes see it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from anyio.abc import ByteStream

from torrent_engine.conformance.dht.krpc import NodeAddress
from torrent_engine.conformance.torrent_set import SampleTorrent


class NodePort(Protocol):
    """A program that has not been started yet, or that runs a node."""

    name: str
    address: NodeAddress
    """Where its node is, over IPv4."""

    torrent: SampleTorrent
    """What it seeds once it is started."""

    async def start(self, bootstrap: Sequence[NodeAddress]) -> None:
        """Start it, with the nodes that it is to know first. Raises ConformanceError."""

    async def connect(self, source: str) -> ByteStream:
        """Connect from an address of ours, as a peer. Raises SubjectUnreachableError."""

    def is_running(self) -> bool:
        """Return whether its process has not ended."""


NodeFactory = Callable[[], AbstractAsyncContextManager[NodePort]]
"""A fresh one for each call; it is ended when the block ends."""
