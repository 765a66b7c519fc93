"""The web seeds of one torrent: which are in use, which wait, which are banned."""

from collections.abc import Collection, Iterable
from typing import Final

import anyio
import anyio.abc

from torrent_engine.engine.resources.bandwidth_manager import TorrentBandwidth
from torrent_engine.engine.stats import SourceCounts, WebSeedStats
from torrent_engine.engine.swarm.context import Torrent
from torrent_engine.engine.transfer.download_manager import DownloadManager
from torrent_engine.engine.transfer.web_seed import WebSeed, WebSeedParts
from torrent_engine.engine.transfer.web_seed_fetch import BEP_OF_FILES, BEP_OF_SCRIPTS
from torrent_engine.net.http.client import HttpClient
from torrent_engine.net.peers.peer_link import Gate
from torrent_engine.policy.peers.smart_ban import BanVerdict
from torrent_engine.policy.pieces.piece_table import Block

TICK_S: Final = 0.5  # ours: how soon a web seed notices that there is something to ask for again


class WebSeeds:
    """Downloads from web seeds while :meth:`run` runs: those of the torrent, and added ones."""

    def __init__(
        self,
        torrent: Torrent,
        downloads: DownloadManager,
        http: HttpClient,
        gate: Gate,
        bandwidth: TorrentBandwidth,
    ) -> None:
        self._torrent = torrent
        self._downloads = downloads
        self._config = torrent.shared_config.web_seed
        self._bandwidth = bandwidth
        self._parts = WebSeedParts(torrent, downloads, http, gate, bandwidth, self._has_others)
        self._seeds: list[WebSeed] = []
        self._waiting: list[WebSeed] = []
        self._workers: anyio.abc.TaskGroup | None = None
        self._worker_count = 0
        self.is_running = False
        """Whether :meth:`run` runs: it ends when there is no web seed to ask any more."""
        self._wake = anyio.Event()
        metainfo = torrent.metainfo
        urls = dict.fromkeys(metainfo.http_seeds, BEP_OF_SCRIPTS)
        urls |= dict.fromkeys(metainfo.web_seeds, BEP_OF_FILES)
        for url, bep in urls.items():
            self.add(url, bep)

    def add(self, url: str, bep: int) -> bool:
        """Add a web seed; return False if it is known, there are too many, or web seeds are off.

        Scripts (BEP 17) are of no use for what has no v1 part, which is all that they know.
        """
        metainfo = self._torrent.metainfo
        if bep == BEP_OF_SCRIPTS and metainfo.info_hash_v1 is None and metainfo.v1_swarm is None:
            return False
        is_known = any(seed.identity.url == url for seed in self._seeds)
        if is_known or not self._config.enabled or len(self._seeds) >= self._config.max_urls:
            return False
        seed = WebSeed(url, bep, self._parts)
        self._seeds.append(seed)
        self._waiting.append(seed)
        self._hire()
        self.wake()
        return True

    def remove(self, url: str) -> bool:
        """Remove a web seed and request its blocks elsewhere; return False if it is not known."""
        for seed in self._seeds:
            if seed.identity.url == url:
                self._seeds.remove(seed)
                if seed in self._waiting:
                    self._waiting.remove(seed)
                seed.retire()
                self._bandwidth.remove_web_seed(seed)
                return True
        return False

    def start(self, tasks: anyio.abc.TaskGroup) -> None:
        """Start :meth:`run` unless it runs."""
        if not self.is_running:
            self.is_running = True
            tasks.start_soon(self.run)

    async def run(self) -> None:
        """Download from web seeds until cancelled, or all of them are banned; raises nothing."""
        try:
            async with anyio.create_task_group() as tasks:
                self._workers, self._worker_count = tasks, 0
                self._hire()
                while not all(seed.is_over for seed in self._seeds):
                    await anyio.sleep(TICK_S)
                    self.wake()
                tasks.cancel_scope.cancel()
        finally:
            self._workers, self.is_running = None, False

    def _hire(self) -> None:
        """Start a task for each web seed, up to as many as may be asked at a time."""
        most = min(self._config.max_active, len(self._seeds))
        while self._workers is not None and self._worker_count < most:
            self._worker_count += 1
            self._workers.start_soon(self._serve)

    async def _serve(self) -> None:
        """Use one web seed after another, each until it has to pause."""
        while True:
            wake, seed = self._wake, self._next()
            if seed is None:
                await wake.wait()
                continue
            try:
                await seed.run()
            finally:
                if not seed.is_over:
                    self._waiting.append(seed)

    def _next(self) -> WebSeed | None:
        seed = self._first_due()
        if seed is not None:
            self._waiting.remove(seed)
        return seed

    def _first_due(self) -> WebSeed | None:
        now = self._torrent.clock()
        return next((seed for seed in self._waiting if seed.quiet_until_s <= now), None)

    def _has_others(self) -> bool:
        return self._first_due() is not None

    def wake(self) -> None:
        """Let them look at once what they can be asked for."""
        if not self._downloads.is_active and not any(seed.is_open for seed in self._seeds):
            return  # nothing to ask for, nothing to close
        self._wake.set()
        self._wake = anyio.Event()
        for seed in self._seeds:
            seed.wake()

    def judge(self, verdict: BanVerdict, piece: int) -> None:
        """Ban the web seeds that sent bad data, or ask no more for a file of this piece."""
        for seed in self._seeds:
            if seed.identity in verdict.ban:
                seed.sent_bad_data(piece)

    # -- what is due ----------------------------------------------------------------------------

    def speeds(self, now: float) -> Iterable[tuple[float, int]]:
        """Return bytes per second and pieces as bits of each that may be asked now."""
        return [(seed.download_rate.rate(now), seed.bits) for seed in self._seeds]

    def expected(self, pieces: Collection[int], now: float) -> dict[Block, float]:
        """Return in how many seconds each block of these pieces comes that one of them owes us."""
        expected: dict[Block, float] = {}
        for seed in self._seeds:
            expected |= seed.expected(pieces, now)
        return expected

    def hurry(self, soon: int) -> None:
        """Request at once what is due, of pieces ``soon``."""
        for seed in self._seeds:
            seed.hurry(soon)

    # -- facts ----------------------------------------------------------------------------------

    def bytes_per_s(self, now: float) -> float:
        """Return the download rate over all web seeds."""
        return sum(seed.download_rate.rate(now) for seed in self._seeds)

    def counts(self, now: float) -> SourceCounts:
        """Return what they gave, all together."""
        stats = self.stats(now)
        return SourceCounts(
            candidates=len(stats),
            connected=sum(each.active_requests > 0 for each in stats),
            downloaded_bytes=sum(each.downloaded_bytes for each in stats),
        )

    def stats(self, now: float, *, secrets: bool = False) -> list[WebSeedStats]:
        """Return the statistics of each."""
        return [seed.stats(now, secrets=secrets) for seed in self._seeds]
