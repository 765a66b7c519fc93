"""Rate limits of all torrents of a process, in both directions.

A connection or web seed has an attribute that is None while no limit applies, else its throttle:
without limits the hot path checks that attribute only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple

import anyio

from torrent_engine.base.checks import check_number
from torrent_engine.base.config import BandwidthConfig, SessionConfig
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.engine.resources.rate_throttle import RateThrottle, Throttled, ThrottledUpload
from torrent_engine.engine.stats import BandwidthGroup
from torrent_engine.policy.addresses import is_local
from torrent_engine.policy.transfer.bandwidth import BandwidthTree, Branch, Leaf
from torrent_engine.policy.transfer.upload_slots import UploadLoad

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
    group: str = ""
    """The group of torrents that it shares a limit with; "": none."""
    honors_session_limits: bool = True
    """Whether the limits over all torrents, and those of its group, are for it too."""

    @classmethod
    def of(cls, config: SessionConfig) -> "RateLimits":
        """Return the limits that a torrent was given."""
        return cls(
            download=config.max_download_bytes_per_s,
            upload=config.max_upload_bytes_per_s,
            peer_download=config.max_peer_download_bytes_per_s,
            peer_upload=config.max_peer_upload_bytes_per_s,
            group=config.bandwidth_group,
            honors_session_limits=config.honors_session_limits,
        )


class Place(NamedTuple):
    """Where the limit of a torrent hangs."""

    tree: BandwidthTree
    parent: Branch


class Direction:
    """The limits of one direction over all torrents.

    The limit of a group is a branch between that over all and those of its torrents. It is there
    only while the group has a limit: where there is none, its torrents are as all others. What the
    limit over all is not for hangs in a tree of its own.
    """

    def __init__(
        self,
        unit_bytes: int,
        clock: Callable[[], float],
        on_wait: Callable[[float], None],
    ) -> None:
        self.tree = BandwidthTree(unit_bytes=unit_bytes)
        self.clock = clock
        self.on_wait = on_wait
        self._free = BandwidthTree(unit_bytes=unit_bytes)
        self._groups: dict[str, Branch] = {}
        """The limits of groups that have one."""

    def place(self, limits: RateLimits, group: BandwidthGroup | None, rate: int) -> Place:
        """Return where a torrent hangs; ``rate`` is the limit of its group in this direction."""
        if not limits.honors_session_limits:
            return Place(self._free, self._free.root)
        tree = self.tree if group is None or group.honors_session_limits else self._free
        if group is None or not rate:
            return Place(tree, tree.root)
        branch = self._groups.get(group.name)
        if branch is None:
            branch = self._groups[group.name] = Branch(rate, tree.root)
        return Place(tree, branch)

    def change_group(self, group: BandwidthGroup, rate: int, *, moves: bool) -> None:
        """Change the limit of a group; with ``moves`` it gets a new branch, or none."""
        branch = self._groups.get(group.name)
        if branch is not None:
            self.set_rate(branch, rate)  # also for those who wait in a branch that goes
            if moves or not rate:
                del self._groups[group.name]

    def serve(self, now: float) -> float:
        """Serve waiting transfers; return the seconds until the next call."""
        return min(self.tree.serve(now), self._free.serve(now))

    @property
    def rate_bytes_per_s(self) -> float:
        """The limit over all torrents; 0 is unlimited."""
        return self.tree.root.bucket.rate_bytes_per_s

    def set_rate(self, node: Branch, rate_bytes_per_s: int) -> None:
        """Change one limit; waiting transfers are served again soon."""
        if node.bucket.rate_bytes_per_s != rate_bytes_per_s:
            self.tree.set_rate(node, rate_bytes_per_s, self.clock())
            self.on_wait(0.0)


class Lane:
    """One direction of one torrent, and the throttles of what moves its bytes."""

    def __init__(self, direction: Direction, place: Place) -> None:
        self.place = place
        self._direction = direction
        self._branch = Branch(0, place.parent)
        self._throttles: dict[Throttled, RateThrottle] = {}

    @property
    def rate_bytes_per_s(self) -> float:
        """The limit of the torrent, or of all together if that is lower; 0: none."""
        return self._branch.rate_bytes_per_s

    def move(self, place: Place) -> None:
        """Hang the limit elsewhere, if it is not there; it and those below have no rates then.

        Who waits for the limits of the old place asks again at the new one.
        """
        if place != self.place:
            self.place, self._branch = place, Branch(0, place.parent)
            for throttle in self._throttles.values():
                throttle.move(place.tree, Leaf(0, self._branch))

    def set_rate(self, rate_bytes_per_s: int) -> None:
        """Change the limit of the torrent."""
        self._direction.set_rate(self._branch, rate_bytes_per_s)

    def throttle_for(self, mover: Throttled, rate_bytes_per_s: int) -> RateThrottle | None:
        """Return what limits one that has a limit of its own, or none; None if nothing does."""
        throttle = self._throttles.get(mover)
        is_limited = rate_bytes_per_s > 0 or self.rate_bytes_per_s > 0
        if throttle is None:
            if not is_limited:
                return None
            throttle = self._new(mover)
        self._direction.set_rate(throttle.leaf, rate_bytes_per_s)
        return throttle if is_limited else None

    def _new(self, mover: Throttled) -> RateThrottle:
        direction, leaf = self._direction, Leaf(0, self._branch)
        throttle = RateThrottle(self.place.tree, leaf, direction.clock, direction.on_wait)
        self._throttles[mover] = throttle
        return throttle

    def forget(self, mover: Throttled) -> None:
        """Remove the throttle of one that moves nothing any more."""
        self._throttles.pop(mover, None)


class TorrentBandwidth:
    """The limits of one torrent and of all that moves its bytes."""

    def __init__(self, manager: "BandwidthManager", limits: RateLimits) -> None:
        self._manager = manager
        self._limits = limits
        down, up = manager.places(limits)
        self._down, self._up = Lane(manager.download, down), Lane(manager.upload, up)
        self._links: dict[ThrottledUpload, None] = {}
        self._web_seeds: dict[Throttled, None] = {}

    @property
    def limits_downloads(self) -> bool:
        """Whether any limit concerns what comes in."""
        return self._down.rate_bytes_per_s > 0 or self._limits.peer_download > 0

    def is_short_of_downloads(self, wanted_bytes: int) -> bool:
        """Return whether a download waits, or the limit allows less than ``wanted_bytes`` soon."""
        rate = self._down.rate_bytes_per_s
        return self._down.place.tree.waits or 0 < rate * SOON_S < wanted_bytes

    def upload_load(self, bytes_per_s: float) -> UploadLoad:
        """Return what a rate of uploads means beside the limits."""
        is_exhausted = self._up.place.tree.waits
        return UploadLoad(bytes_per_s, self._up.rate_bytes_per_s, is_exhausted)

    def join(self) -> None:
        """Follow changes of the global limits from now on."""
        self._manager.torrents[self] = None
        self.set_limits(self._limits)

    def leave(self) -> None:
        """Stop following changes of the global limits."""
        self._manager.torrents.pop(self, None)

    def set_limits(self, limits: RateLimits) -> None:
        """Change the limits of the torrent, and the group that it is in."""
        self._limits = limits
        down, up = self._manager.places(limits)
        self._down.move(down)
        self._up.move(up)
        self._down.set_rate(limits.download)
        self._up.set_rate(limits.upload)
        self.apply()

    def group_changed(self, name: str) -> None:
        """Take the limits of a group that have changed, if the torrent is in it."""
        if self._limits.group == name:
            self.set_limits(self._limits)

    def apply(self) -> None:
        """Update the throttles of all connections and web seeds."""
        for link in self._links:
            self._apply_to(link)
        for web_seed in self._web_seeds:
            web_seed.download_throttle = self._down.throttle_for(web_seed, 0)

    def add_link(self, link: ThrottledUpload, host: str) -> None:
        """Limit the link of a peer at ``host``, unless no limit is for that address."""
        if self._manager.limits(host):
            self._links[link] = None
            self._apply_to(link)

    def add_sender(self, sender: ThrottledUpload) -> None:
        """Limit what sends other bytes than blocks, to any peer, as the link of one peer."""
        self._links[sender] = None
        self._apply_to(sender)

    def remove_link(self, link: ThrottledUpload) -> None:
        """Remove a connection that ends."""
        if link in self._links:
            del self._links[link]
            self._down.forget(link)
            self._up.forget(link)

    def add_web_seed(self, web_seed: Throttled) -> None:
        """Limit a web seed; the limit of a single peer is not for it."""
        self._web_seeds[web_seed] = None
        web_seed.download_throttle = self._down.throttle_for(web_seed, 0)

    def remove_web_seed(self, web_seed: Throttled) -> None:
        """Remove a web seed that is no longer used."""
        if web_seed in self._web_seeds:
            del self._web_seeds[web_seed]
            self._down.forget(web_seed)

    def _apply_to(self, link: ThrottledUpload) -> None:
        limits = self._limits
        link.download_throttle = self._down.throttle_for(link, limits.peer_download)
        link.upload_throttle = self._up.throttle_for(link, limits.peer_upload)


class BandwidthManager:
    """The limits over all torrents; :meth:`run` serves waiting transfers."""

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
        self.download = Direction(1, clock, self._somebody_waits)
        self.upload = Direction(BLOCK_BYTES, clock, self._somebody_waits)
        self._groups: dict[str, BandwidthGroup] = {}
        self._clock = clock
        self._due_s = inf
        """When waiting transfers are served next."""
        self._wake = anyio.Event()

    def limits(self, host: str) -> bool:
        """Return whether limits apply to an address; by option not to the local network."""
        if not self.config.limit_local_network and is_local(host):
            return False
        return not self._is_unlimited(host)

    def of_torrent(self, limits: RateLimits) -> TorrentBandwidth:
        """Return the limits of one torrent; they hold from its :meth:`~TorrentBandwidth.join`."""
        return TorrentBandwidth(self, limits)

    # -- groups -------------------------------------------------------------------------------

    @property
    def groups(self) -> tuple[BandwidthGroup, ...]:
        """All groups, also those that a torrent has named only."""
        return tuple(self._groups.values())

    def group(self, name: str) -> BandwidthGroup:
        """Return a group; one that is not known yet has no limits."""
        return self._groups.setdefault(name, BandwidthGroup(name))

    def set_group(self, group: BandwidthGroup) -> None:
        """Change the limits of a group, which need not be there yet.

        Raises TypeError or ConfigError for a rate that is none, then nothing is changed.
        """
        check_number("download_bytes_per_s", group.download_bytes_per_s)
        check_number("upload_bytes_per_s", group.upload_bytes_per_s)
        moves = self.group(group.name).honors_session_limits is not group.honors_session_limits
        self._groups[group.name] = group
        self.download.change_group(group, group.download_bytes_per_s, moves=moves)
        self.upload.change_group(group, group.upload_bytes_per_s, moves=moves)
        for torrent in self.torrents:
            torrent.group_changed(group.name)

    def remove_group(self, name: str) -> bool:
        """Remove a group; its torrents are limited by it no more. False if it is not there."""
        if name not in self._groups:
            return False
        self.set_group(BandwidthGroup(name))
        del self._groups[name]
        return True

    def places(self, limits: RateLimits) -> tuple[Place, Place]:
        """Return where a torrent hangs in each direction, downloads first."""
        group = self.group(limits.group) if limits.group else None
        down = 0 if group is None else group.download_bytes_per_s
        up = 0 if group is None else group.upload_bytes_per_s
        return self.download.place(limits, group, down), self.upload.place(limits, group, up)

    # -- all torrents -------------------------------------------------------------------------

    def set_rate_limits(
        self, *, download_bytes_per_s: int | None = None, upload_bytes_per_s: int | None = None
    ) -> None:
        """Change the limits over all torrents; 0 is unlimited, None leaves as it is.

        Raises TypeError or ConfigError for a rate that is none, then nothing is changed.
        """
        for name, rate in (
            ("download_bytes_per_s", download_bytes_per_s),
            ("upload_bytes_per_s", upload_bytes_per_s),
        ):
            if rate is not None:
                check_number(name, rate)
        for direction, rate in (
            (self.download, download_bytes_per_s),
            (self.upload, upload_bytes_per_s),
        ):
            if rate is not None:
                direction.set_rate(direction.tree.root, rate)
        for torrent in self.torrents:
            torrent.apply()

    async def run(self) -> None:
        """Serve waiting transfers until cancelled; there is no timer while there are none."""
        while True:
            self._wake = anyio.Event()
            delay_s = max(self._serve(), TICK_S)
            self._due_s = self._clock() + delay_s
            with anyio.move_on_after(delay_s):
                await self._wake.wait()

    def _serve(self) -> float:
        now = self._clock()
        return min(self.download.serve(now), self.upload.serve(now))

    def _somebody_waits(self, delay_s: float) -> None:
        due_s = self._clock() + max(delay_s, TICK_S)
        if due_s < self._due_s:
            self._due_s = due_s
            self._wake.set()
