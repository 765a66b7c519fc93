"""One run of one rule of a downloading program: its seeds, its tracker, and its log."""

from collections.abc import Callable, Iterator
from typing import Final

import anyio
from anyio.abc import TaskGroup

from torrent_engine.conformance.errors import UndecidedError
from torrent_engine.conformance.swarm.http_tracker import KitHttpTracker, KitPeerAddress
from torrent_engine.conformance.swarm.kit_seed import KitSeed, SeedLink, SeedScript
from torrent_engine.conformance.swarm.network import NetworkPort
from torrent_engine.conformance.swarm.subject import DownloaderPort
from torrent_engine.conformance.torrent_set import SampleTorrent
from torrent_engine.conformance.wire_log import WireLog

POLL_S: Final = 0.05
DIAL_S: Final = 60.0  # from the start of the process to its first connection
DOWNLOAD_S: Final = 60.0
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


class SwarmCase:
    """What the function of a rule of a download works with."""

    def __init__(
        self,
        limit_s: float,
        torrent: SampleTorrent,
        program: DownloaderPort,
        network: NetworkPort,
        addresses: Iterator[str],
        tasks: TaskGroup,
    ) -> None:
        self.limit_s = limit_s
        self.torrent = torrent
        self.program = program
        self.log = WireLog(anyio.current_time)
        self.tracker = KitHttpTracker(self.log, anyio.current_time)
        self._network = network
        self._addresses = addresses
        self._tasks = tasks
        self._seeds: list[KitSeed] = []
        self.has_started = False

    async def seed(self, script: SeedScript | None = None, *, is_listed: bool = True) -> KitSeed:
        """Let a seed listen; ``is_listed``: the tracker names it."""
        label = _LETTERS[len(self._seeds)]
        address = next(self._addresses)
        seed = KitSeed(self.torrent, script or SeedScript(), label, self.log, address)
        seed.port = await self._network.listen(address, seed.accept, self._tasks)
        self._seeds.append(seed)
        if is_listed:
            self.list_seed(seed)
        return seed

    def list_seed(self, seed: KitSeed) -> None:
        """Let the tracker name a seed."""
        self.tracker.peers.append(KitPeerAddress(seed.address, seed.port, seed.peer_id))

    async def start(self) -> None:
        """Start the program with the torrent of this case's tracker."""
        address = next(self._addresses)
        port = await self._network.listen(address, self.tracker.serve, self._tasks)
        announce = f"http://{address}:{port}/announce"
        await self.program.start(self.torrent.torrent_file(announce))
        self.has_started = True

    async def introduce(self, seed: KitSeed) -> None:
        """Let a seed connect to the program, which runs. Raises SubjectUnreachableError."""
        stream = await self._network.connect(seed.address, self.program.port)
        self._tasks.start_soon(seed.join, stream)

    async def until(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Wait for a condition; return whether it held in time."""
        with anyio.move_on_after(within_s):
            while not condition():  # noqa: ASYNC110 - many things change it
                await anyio.sleep(POLL_S)
        return condition()

    async def link_to(self, seed: KitSeed) -> SeedLink:
        """Start the program, and wait for its connection to a seed. Raises UndecidedError."""
        await self.start()
        if not await self.until(lambda: bool(seed.links), DIAL_S):
            raise UndecidedError("it did not connect to a seed of the tracker's list")
        return seed.links[0]

    async def first_request(self, seed: KitSeed) -> SeedLink:
        """Start the program, and wait for a request to a seed. Raises UndecidedError."""
        await self.link_to(seed)
        return await self.first_request_of(seed)

    async def first_request_of(self, seed: KitSeed) -> SeedLink:
        """Wait for a request to a seed. Raises UndecidedError."""
        if not await self.until(lambda: bool(seed.requests), max(self.limit_s, DIAL_S)):
            raise UndecidedError("it requested nothing")
        return next(each for each in seed.links if each.requests)

    def is_complete(self) -> bool:
        """Return whether the file is there as it has to be."""
        return self.program.stored(self.torrent.name) == self.torrent.data

    async def completes(self, within_s: float = DOWNLOAD_S) -> bool:
        """Wait until the file is right; return whether that was in time."""
        return await self.until(self.is_complete, within_s)
