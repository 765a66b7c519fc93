"""One run of one rule of a downloading program: its seeds, its tracker, and its log."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import quote

import anyio
from anyio.abc import TaskGroup

from torrent_engine.conformance.errors import UndecidedError
from torrent_engine.conformance.swarm.http_tracker import (
    KitHttpAnnounce,
    KitHttpTracker,
    KitPeerAddress,
)
from torrent_engine.conformance.swarm.kit_seed import KitSeed, SeedLink, SeedScript
from torrent_engine.conformance.swarm.lsd import KitLsd
from torrent_engine.conformance.swarm.network import CaseNetwork, SwarmLab
from torrent_engine.conformance.swarm.subject import DownloaderPort
from torrent_engine.conformance.swarm.udp_tracker import KitUdpTracker
from torrent_engine.conformance.swarm.web_server import KitWebServer
from torrent_engine.conformance.torrent_set import SampleTorrent
from torrent_engine.conformance.waiting import held_within
from torrent_engine.conformance.wire_log import WireLog

STARTING_S: Final = 3.0
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
        lab: SwarmLab,
        tasks: TaskGroup,
        *,
        patience: float = 1.0,
    ) -> None:
        self.limit_s = limit_s * patience
        self.patience = patience
        self.torrent = torrent
        self.program = program
        self._starts = lab.starts
        self.log = WireLog(anyio.current_time)
        self.tracker = KitHttpTracker(self.log, anyio.current_time)
        """The one of the torrent, unless a rule gives it others."""
        self.udp_tracker = KitUdpTracker(self.log, anyio.current_time)
        """For rules of UDP trackers."""
        self.network = CaseNetwork(lab.network, lab.addresses, tasks)
        self._tasks = tasks
        self._seeds: list[KitSeed] = []
        self._trackers = 0
        self.has_started = False

    @property
    def _dial_s(self) -> float:
        return DIAL_S * self.patience

    async def locals(self) -> KitLsd:
        """Join the groups of the local network, for a program that is started with discovery.

        Raises NotOfferedError where there is no such network.
        """
        lsd = KitLsd(self.log, anyio.current_time)
        lsd.group = await self.network.join(lsd.take)
        self.program.has_lsd = True
        return lsd

    async def seed(
        self, script: SeedScript | None = None, *, is_listed: bool = True, address: str = ""
    ) -> KitSeed:
        """Let a seed listen; ``is_listed``: the tracker names it."""
        label = _LETTERS[len(self._seeds) % len(_LETTERS)]
        address = address or self.network.new_address()
        seed = KitSeed(self.torrent, script or SeedScript(), label, self.log, address)
        seed.port = await self.network.listen(address, seed.accept)
        self._seeds.append(seed)
        if is_listed:
            self.list_seed(seed)
        return seed

    def list_seed(self, seed: KitSeed) -> None:
        """Let the tracker name a seed."""
        self.tracker.peers.append(KitPeerAddress(seed.address, seed.port, seed.peer_id))

    async def new_tracker(self) -> KitHttpTracker:
        """Return a tracker that listens, besides that of the case."""
        self._trackers += 1
        tracker = KitHttpTracker(self.log, anyio.current_time, f"t{self._trackers}")
        await self._listen(tracker)
        return tracker

    async def listen(self) -> None:
        """Let the tracker of the case listen, so that it has a URL."""
        await self._listen(self.tracker)

    def torrent_file(self) -> bytes:
        """Return the .torrent file with the tracker of the case, which listens."""
        return self.torrent.torrent_file(self.tracker.url)

    async def _listen(self, tracker: KitHttpTracker) -> None:
        if not tracker.url:
            address = self.network.new_address()
            port = await self.network.listen(address, tracker.serve)
            tracker.url = f"http://{address}:{port}/announce"

    async def start(self, tail: str = "", tiers: Sequence[Sequence[KitHttpTracker]] = ()) -> None:
        """Start the program with the torrent of this case's tracker.

        ``tail`` follows the path of its URL; ``tiers`` are the announce-list (BEP 12).
        """
        await self.listen()
        urls = [[each.url for each in tier] for tier in tiers]
        await self.start_with(self.torrent.torrent_file(self.tracker.url + tail, urls))

    async def web_server(self, files: Mapping[str, bytes]) -> KitWebServer:
        """Return a web server that listens."""
        server = KitWebServer(self.torrent, files, self.log)
        address = self.network.new_address()
        port = await self.network.listen(address, server.serve)
        server.url = f"http://{address}:{port}"
        return server

    async def start_web(self, *urls: str, http_seeds: Sequence[str] = ()) -> None:
        """Start the program with a torrent that has web seeds (BEP 19, or 17)."""
        await self._listen(self.tracker)
        torrent = self.torrent.torrent_file(self.tracker.url, web_seeds=urls, http_seeds=http_seeds)
        await self.start_with(torrent)

    async def start_magnet(self, link: str = "", *, is_tracked: bool = True) -> None:
        """Start the program with the magnet link of the torrent, or another one.

        ``is_tracked``: the tracker of this case is added to the link.
        """
        await self._listen(self.tracker)
        tracker = f"&tr={quote(self.tracker.url, safe='')}" if is_tracked else ""
        await self.start_with((link or self.torrent.magnet()) + tracker)

    async def start_with(self, torrent: bytes | str) -> None:
        """Start the program with a .torrent file or a magnet link.

        Waits while other cases start theirs: a machine that starts many at once is slow for all.
        """
        place = object()
        await self._starts.acquire_on_behalf_of(place)
        try:
            await self.program.start(torrent)
        except BaseException:
            self._starts.release_on_behalf_of(place)
            raise
        self.has_started = True
        self._tasks.start_soon(self._leave_place, place)

    async def _leave_place(self, place: object) -> None:
        """Let the next program start when this one has been heard of, or takes long."""
        try:
            await self.until(self._is_heard_of, STARTING_S)
        finally:
            self._starts.release_on_behalf_of(place)

    def _is_heard_of(self) -> bool:
        calls = (self.tracker.announces, self.udp_tracker.requests)
        return any(calls) or any(each.attempts for each in self._seeds)

    async def start_udp(self, tail: str = "", *, over_ipv6: bool = False) -> None:
        """Start the program with the torrent of the UDP tracker; ``tail`` ends its URL."""
        tracker = self.udp_tracker
        address = self.network.host6 if over_ipv6 else self.network.new_address()
        port = await self.network.listen_udp(address, tracker.take)
        tracker.peers = self.tracker.peers
        host = f"[{address}]" if over_ipv6 else address
        tracker.url = f"udp://{host}:{port}{tail}"
        await self.start_with(self.torrent.torrent_file(tracker.url))

    async def end(self) -> None:
        """End the program as its user would."""
        self.has_started = False
        await self.program.end()

    async def kill(self) -> None:
        """End the program at once."""
        self.has_started = False
        await self.program.kill()

    async def refuses(self, within_s: float) -> bool:
        """Wait for the program to end by itself with an error; return whether it did."""
        refused = await self.until(self.program.has_refused, within_s)
        self.has_started = self.has_started and not refused
        return refused

    async def dials(self, seed: KitSeed, within_s: float | None = None) -> bool:
        """Wait for a connection to a seed that was not there before; return whether it came."""
        before = len(seed.attempts)
        return await self.until(lambda: len(seed.attempts) > before, within_s or self._dial_s)

    async def announces(
        self,
        count: int = 1,
        within_s: float | None = None,
        tracker: KitHttpTracker | None = None,
    ) -> Sequence[KitHttpAnnounce]:
        """Wait for so many announces; return what came until then. Raises UndecidedError if none.

        To the tracker of the case, or another.
        """
        asked = (tracker or self.tracker).announces
        await self.until(lambda: len(asked) >= count, within_s or self._dial_s)
        if not asked:
            raise UndecidedError("it announced nothing")
        return asked

    async def introduce(self, seed: KitSeed) -> None:
        """Let a seed connect to the program, which runs. Raises SubjectUnreachableError."""
        stream = await self.network.connect(seed.address, self.program.port)
        self._tasks.start_soon(seed.join, stream)

    async def until(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Wait for a condition; return whether it held in time."""
        return await held_within(condition, within_s)

    async def link_to(self, seed: KitSeed) -> SeedLink:
        """Start the program, and wait for its connection to a seed. Raises UndecidedError."""
        await self.start()
        return await self.link_of(seed)

    async def link_of(self, seed: KitSeed) -> SeedLink:
        """Wait for a connection of the program to a seed. Raises UndecidedError."""
        if not await self.until(lambda: bool(seed.links), self._dial_s):
            raise UndecidedError("it did not connect to a seed of the tracker's list")
        return seed.links[0]

    async def first_request(self, seed: KitSeed) -> SeedLink:
        """Start the program, and wait for a request to a seed. Raises UndecidedError."""
        await self.link_to(seed)
        return await self.first_request_of(seed)

    async def first_request_of(self, seed: KitSeed) -> SeedLink:
        """Wait for a request to a seed. Raises UndecidedError."""
        if not await self.until(lambda: bool(seed.requests), max(self.limit_s, self._dial_s)):
            raise UndecidedError("it requested nothing")
        return next(each for each in seed.links if each.requests)

    def is_complete(self) -> bool:
        """Return whether the files are there as they have to be."""
        wanted = self.torrent.stored_files()
        return all(self.program.stored(name) == data for name, data in wanted.items())

    async def completes(self, within_s: float | None = None) -> bool:
        """Wait until the files are right; return whether that was in time."""
        return await self.until(self.is_complete, within_s or DOWNLOAD_S * self.patience)
