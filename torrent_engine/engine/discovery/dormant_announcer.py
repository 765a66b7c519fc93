"""Announces of dormant torrents: one task, at a limited rate."""

import logging
from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from typing import Final

import anyio
import anyio.abc

from torrent_engine.base.config import DormancyConfig
from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.engine.discovery.tracker_coordinator import TrackerCoordinator
from torrent_engine.engine.timers import Alarm
from torrent_engine.net.sockets.interfaces import interfaces
from torrent_engine.policy.peers.external_address import ExternalAddresses
from torrent_engine.policy.rate import TokenBucket

logger = logging.getLogger(__name__)

OWN_HOSTS_S: Final = 60.0  # ours: how long the list of our addresses is believed


class DormantAnnouncer:
    """Run :meth:`run` in a task; torrents join and leave at any time, also before it runs."""

    def __init__(
        self,
        config: DormancyConfig,
        clock: Callable[[], float],
        external_addresses: ExternalAddresses,
        ports: frozenset[int] = frozenset(),
    ) -> None:
        """Create it; ``ports`` are those at which we listen."""
        self._coordinators: dict[InfoHash, TrackerCoordinator] = {}
        self._due: list[tuple[float, InfoHash]] = []
        self._next: dict[InfoHash, float] = {}
        """The valid heap entry of each torrent; others are stale."""
        self._under_way: dict[InfoHash, anyio.CancelScope] = {}
        self._turns = TokenBucket(config.max_announces_per_s, burst_bytes=1)
        self._clock = clock
        self._alarm = Alarm()
        self._external_addresses = external_addresses
        self._own_hosts: frozenset[str] = frozenset()
        self._own_hosts_s = float("-inf")
        self._ports = ports

    def __len__(self) -> int:
        """Return how many torrents are announced."""
        return len(self._coordinators)

    def join(self, info_hash: InfoHash, coordinator: TrackerCoordinator) -> None:
        """Make the announces of a torrent from now on."""
        self._coordinators[info_hash] = coordinator
        coordinator.watch(partial(self._place, info_hash))
        self._place(info_hash)

    def leave(self, info_hash: InfoHash) -> None:
        """Make them no more; one that is under way is given up, twice is harmless."""
        coordinator = self._coordinators.pop(info_hash, None)
        self._next.pop(info_hash, None)
        if coordinator is not None:
            coordinator.watch(None)
        if (scope := self._under_way.pop(info_hash, None)) is not None:
            scope.cancel()

    def is_our_own(self, address: PeerAddress) -> bool:
        """Return whether a found address is our own: trackers return us, too."""
        if address.port not in self._ports and address.port != self._external_addresses.mapped_port:
            return False
        now = self._clock()
        if now - self._own_hosts_s > OWN_HOSTS_S:
            found = (str(each.ip) for one in interfaces() for each in one.addresses)
            self._own_hosts, self._own_hosts_s = frozenset(found), now
        return address.host in self._own_hosts or address.host in self._external_addresses.hosts

    def _place(self, info_hash: InfoHash) -> None:
        """Queue the next announce of a torrent anew."""
        if info_hash in self._under_way:
            return  # its end brings it back
        due = self._coordinators[info_hash].next_timer
        if self._next.get(info_hash) == due or due == float("inf"):
            return
        self._next[info_hash] = due
        heappush(self._due, (due, info_hash))
        if self._due[0] == (due, info_hash):
            self._alarm.ring()

    async def run(self) -> None:
        """Announce until cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                await self._alarm.wait(self._start_some(tasks))

    def _start_some(self, tasks: anyio.abc.TaskGroup) -> float:
        """Start what is due; return the seconds until the next look."""
        now = self._clock()
        while self._due:
            due, info_hash = self._due[0]
            if self._next.get(info_hash) != due:
                heappop(self._due)
                continue
            if due > now:
                return due - now
            if not self._turns.take(1, now):
                return self._turns.delay_s(1, now)
            heappop(self._due)
            del self._next[info_hash]
            scope = self._under_way[info_hash] = anyio.CancelScope()
            tasks.start_soon(self._announce, info_hash, self._coordinators[info_hash], scope)
        return float("inf")

    async def _announce(
        self, info_hash: InfoHash, coordinator: TrackerCoordinator, scope: anyio.CancelScope
    ) -> None:
        """Make what is due of one torrent; a bug in it reaches no other (row F10)."""
        try:
            with scope:
                await coordinator.announce_due()
        except Exception:
            logger.exception("torrent %s: its announces failed", info_hash.hex())
        if self._under_way.get(info_hash) is scope:
            del self._under_way[info_hash]
            self._place(info_hash)
