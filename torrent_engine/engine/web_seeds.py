"""Owns the web seeds of one torrent: which are asked now, which wait, which are banned."""

from typing import Final

import anyio

from torrent_engine.engine.bandwidth_manager import TorrentBandwidth
from torrent_engine.engine.download_manager import DownloadManager
from torrent_engine.engine.source_counts import SourceCounts
from torrent_engine.engine.torrent import Torrent
from torrent_engine.engine.web_seed import WebSeed, WebSeedParts, WebSeedStats
from torrent_engine.engine.web_seed_fetch import BEP_OF_FILES, BEP_OF_SCRIPTS
from torrent_engine.net.http_client import HttpClient
from torrent_engine.net.peer_link import Gate
from torrent_engine.policy.suspicion import Verdict

TICK_S: Final = 0.5  # ours: how soon a web seed notices that there is something to ask for again


class WebSeeds:
    """Downloads from the web seeds that a torrent names while :meth:`run` runs."""

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
        config, metainfo = torrent.shared_config.web_seed, torrent.metainfo
        parts = WebSeedParts(torrent, downloads, http, gate, bandwidth, self._has_others)
        urls = dict.fromkeys(metainfo.http_seeds, BEP_OF_SCRIPTS)
        urls |= dict.fromkeys(metainfo.web_seeds, BEP_OF_FILES)
        known = list(urls.items())[: config.max_urls if config.enabled else 0]
        self._seeds = [WebSeed(url, bep, parts) for url, bep in known]
        self._waiting = list(self._seeds)
        self._wake = anyio.Event()

    async def run(self) -> None:
        """Ask web seeds until cancelled, or all of them are given up; raises nothing."""
        most = self._torrent.shared_config.web_seed.max_active
        async with anyio.create_task_group() as tasks:
            for _ in range(min(most, len(self._waiting))):
                tasks.start_soon(self._serve)
            while not all(seed.is_over for seed in self._seeds):
                await anyio.sleep(TICK_S)
                self._wake_all()
            tasks.cancel_scope.cancel()

    async def _serve(self) -> None:
        """Ask one web seed after another: each until it has to rest."""
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

    def _wake_all(self) -> None:
        if not self._downloads.is_active and not any(seed.is_open for seed in self._seeds):
            return  # nothing to ask for, nothing to close
        self._wake.set()
        self._wake = anyio.Event()
        for seed in self._seeds:
            seed.wake()

    def judge(self, verdict: Verdict) -> None:
        """Ban the web seeds that sent bad data."""
        for seed in self._seeds:
            if seed.identity in verdict.ban:
                seed.ban()

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

    def stats(self, now: float) -> list[WebSeedStats]:
        """Return what can be told of each of them."""
        return [seed.stats(now) for seed in self._seeds]
