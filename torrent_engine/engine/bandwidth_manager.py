"""Owns the rate limits of all torrents of a process, in both directions, and wakes who waits.

What moves bytes has an attribute that is None while no limit concerns it, else its throttle: so
without a limit nothing is looked at but that attribute, and nobody is counted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final

import anyio

from torrent_engine.base.config import BandwidthConfig, SessionConfig
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.engine.rate_throttle import Mover, RateThrottle, UploadMover
from torrent_engine.policy.addresses import is_local
from torrent_engine.policy.bandwidth import BandwidthTree, Branch, Leaf
from torrent_engine.policy.upload_slots import UploadLoad

SOON_S: Final = 0.3  # ours: what is asked of peers is to be let in by then
TICK_S: Final = 0.02  # ours: those who wait are served together, so often at most


@dataclass(frozen=True, slots=True)
class RateLimits:
    """The limits of one torrent in bytes per second; 0 is unlimited."""

    download: int = 0
    upload: int = 0
    peer_download: int = 0
    """Of each of its peers."""
    peer_upload: int = 0

    @classmethod
    def of(cls, config: SessionConfig) -> "RateLimits":
        """Return the limits that a torrent was given."""
        return cls(
            download=config.max_download_bytes_per_s,
            upload=config.max_upload_bytes_per_s,
            peer_download=config.max_peer_download_bytes_per_s,
            peer_upload=config.max_peer_upload_bytes_per_s,
        )


class Direction:
    """The limits of one direction over all torrents."""

    def __init__(
        self,
        tree: BandwidthTree,
        clock: Callable[[], float],
        on_wait: Callable[[float], None],
    ) -> None:
        self.tree = tree
        self.clock = clock
        self.on_wait = on_wait

    def set_rate(self, node: Branch, rate_bytes_per_s: int) -> None:
        """Change one limit; those who wait for it are looked at soon."""
        if node.bucket.rate_bytes_per_s != rate_bytes_per_s:
            self.tree.set_rate(node, rate_bytes_per_s, self.clock())
            self.on_wait(0.0)


class Lane:
    """One direction of one torrent, and the throttles of what moves its bytes."""

    def __init__(self, direction: Direction) -> None:
        self._direction = direction
        self._branch = Branch(0, direction.tree.root)
        self._throttles: dict[Mover, RateThrottle] = {}

    @property
    def rate_bytes_per_s(self) -> float:
        """The limit of the torrent, or of all together if that is lower; 0: none."""
        return self._branch.rate_bytes_per_s

    def set_rate(self, rate_bytes_per_s: int) -> None:
        """Change the limit of the torrent."""
        self._direction.set_rate(self._branch, rate_bytes_per_s)

    def throttle_for(self, mover: Mover, rate_bytes_per_s: int) -> RateThrottle | None:
        """Return what limits one that has a limit of its own, or none; None if nothing does."""
        throttle = self._throttles.get(mover)
        is_limited = rate_bytes_per_s > 0 or self.rate_bytes_per_s > 0
        if throttle is None:
            if not is_limited:
                return None
            throttle = self._new(mover)
        self._direction.set_rate(throttle.leaf, rate_bytes_per_s)
        return throttle if is_limited else None

    def _new(self, mover: Mover) -> RateThrottle:
        direction, leaf = self._direction, Leaf(0, self._branch)
        throttle = RateThrottle(direction.tree, leaf, direction.clock, direction.on_wait)
        self._throttles[mover] = throttle
        return throttle

    def forget(self, mover: Mover) -> None:
        """Let go of one that moves nothing any more."""
        self._throttles.pop(mover, None)


class TorrentBandwidth:
    """The limits of one torrent and of all that moves its bytes."""

    def __init__(self, manager: "BandwidthManager", limits: RateLimits) -> None:
        self._manager = manager
        self._limits = limits
        self._down = Lane(manager.download)
        self._up = Lane(manager.upload)
        self._links: dict[UploadMover, None] = {}
        self._web_seeds: dict[Mover, None] = {}

    @property
    def limits_downloads(self) -> bool:
        """Whether any limit concerns what comes in."""
        return self._down.rate_bytes_per_s > 0 or self._limits.peer_download > 0

    def is_short_of_downloads(self, wanted_bytes: int) -> bool:
        """Tell whether somebody waits to receive, or the limit lets in less than this soon."""
        rate = self._down.rate_bytes_per_s
        return self._manager.download.tree.waits or 0 < rate * SOON_S < wanted_bytes

    def upload_load(self, bytes_per_s: float) -> UploadLoad:
        """Return what a rate of uploads means beside the limits."""
        is_short = self._manager.upload.tree.waits
        return UploadLoad(bytes_per_s, self._up.rate_bytes_per_s, is_short)

    def join(self) -> None:
        """Hear of changes of the limits over all torrents from now on."""
        self._manager.torrents[self] = None
        self.set_limits(self._limits)

    def leave(self) -> None:
        """Hear of them no more; nothing moves."""
        self._manager.torrents.pop(self, None)

    def set_limits(self, limits: RateLimits) -> None:
        """Change the limits of the torrent."""
        self._limits = limits
        self._down.set_rate(limits.download)
        self._up.set_rate(limits.upload)
        self.apply()

    def apply(self) -> None:
        """Tell all that moves bytes whether it is limited."""
        for link in self._links:
            self._apply_to(link)
        for web_seed in self._web_seeds:
            web_seed.download_throttle = self._down.throttle_for(web_seed, 0)

    def add_link(self, link: UploadMover, host: str) -> None:
        """Limit the link of a peer at ``host``, unless no limit is for that address."""
        if self._manager.limits(host):
            self._links[link] = None
            self._apply_to(link)

    def remove_link(self, link: UploadMover) -> None:
        """Let go of a link that ends."""
        if link in self._links:
            del self._links[link]
            self._down.forget(link)
            self._up.forget(link)

    def add_web_seed(self, web_seed: Mover) -> None:
        """Limit a web seed; the limit of a single peer is not for it."""
        self._web_seeds[web_seed] = None
        web_seed.download_throttle = self._down.throttle_for(web_seed, 0)

    def remove_web_seed(self, web_seed: Mover) -> None:
        """Let go of a web seed that is not asked any more."""
        if web_seed in self._web_seeds:
            del self._web_seeds[web_seed]
            self._down.forget(web_seed)

    def _apply_to(self, link: UploadMover) -> None:
        limits = self._limits
        link.download_throttle = self._down.throttle_for(link, limits.peer_download)
        link.upload_throttle = self._up.throttle_for(link, limits.peer_upload)


class BandwidthManager:
    """The limits over all torrents; :meth:`run` serves those who wait."""

    def __init__(
        self,
        config: BandwidthConfig,
        clock: Callable[[], float],
        is_unlimited: Callable[[str], bool] = lambda _host: False,
    ) -> None:
        self.config = config
        self._is_unlimited = is_unlimited
        self.torrents: dict[TorrentBandwidth, None] = {}
        """Those that move bytes."""
        self.download = Direction(BandwidthTree(), clock, self._somebody_waits)
        self.upload = Direction(BandwidthTree(unit_bytes=BLOCK_BYTES), clock, self._somebody_waits)
        self._clock = clock
        self._due_s = inf
        """When those who wait are looked at again."""
        self._wake = anyio.Event()

    def limits(self, host: str) -> bool:
        """Tell whether limits are for peers at an address: by option not for the local network."""
        if not self.config.limits_local_network and is_local(host):
            return False
        return not self._is_unlimited(host)

    def of_torrent(self, limits: RateLimits) -> TorrentBandwidth:
        """Return the limits of one torrent; they hold from its :meth:`~TorrentBandwidth.join`."""
        return TorrentBandwidth(self, limits)

    def set_rate_limits(
        self, *, download_bytes_per_s: int | None = None, upload_bytes_per_s: int | None = None
    ) -> None:
        """Change the limits over all torrents; 0 is unlimited, None leaves as it is."""
        for direction, rate in (
            (self.download, download_bytes_per_s),
            (self.upload, upload_bytes_per_s),
        ):
            if rate is not None:
                direction.set_rate(direction.tree.root, rate)
        for torrent in self.torrents:
            torrent.apply()

    async def run(self) -> None:
        """Serve those who wait until cancelled; there is no timer while nobody does."""
        while True:
            self._wake = anyio.Event()
            delay_s = max(self._serve(), TICK_S)
            self._due_s = self._clock() + delay_s
            with anyio.move_on_after(delay_s):
                await self._wake.wait()

    def _serve(self) -> float:
        now = self._clock()
        return min(self.download.tree.serve(now), self.upload.tree.serve(now))

    def _somebody_waits(self, delay_s: float) -> None:
        due_s = self._clock() + max(delay_s, TICK_S)
        if due_s < self._due_s:
            self._due_s = due_s
            self._wake.set()
