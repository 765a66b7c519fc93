"""The maintenance schedule of a routing table: bootstrap, bucket refresh, pings.

Source: BEP 5 (refresh of unchanged buckets after 15 minutes, questionable nodes, bootstrap).
"""

from dataclasses import dataclass

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import NodeId
from torrent_engine.protocol.dht.krpc import NodeInfo
from torrent_engine.protocol.dht.routing import RoutingTable

IDLE_FACTOR = 5  # ours: intervals until the next check when no node was due
MAX_REFRESHES = 2  # ours: at once; forged nodes can keep a lookup busy for minutes


@dataclass(frozen=True, slots=True)
class MaintenanceTasks:
    """The due maintenance tasks."""

    bootstrap: bool = False
    """Look up our own id, starting from the table or else from the bootstrap addresses."""
    refresh: NodeId | None = None
    """An id to look up: in a stale bucket, or periodically our own."""
    ping: NodeInfo | None = None
    """A questionable node, or one that never responded."""


class Maintenance:
    """The schedule of maintenance; what is due is at most one task of a kind."""

    def __init__(self, config: DhtConfig, now: float) -> None:
        self.is_bootstrapped = False
        """Whether the table has been filled since it was last empty."""
        self.is_bootstrapping = False
        self._config = config
        self._refresh_s = now
        self._neighbours_s = now
        self._check_s = now
        self._checked_s = float("-inf")
        self._bootstrap_s = now
        self._retry_s = config.bootstrap_retry_first_s

    def due(
        self, table: RoutingTable, now: float, *, knows_addresses: bool, refreshes: int = 0
    ) -> MaintenanceTasks:
        """Return the tasks that are due, and mark them as started.

        ``refreshes`` is the number of refreshing lookups that have not ended.
        """
        is_empty = len(table) == 0
        if is_empty:
            self.is_bootstrapped = False
        return MaintenanceTasks(
            self._bootstrap(now, is_possible=knows_addresses or not is_empty),
            self._refresh(table, now, refreshes) if self.is_bootstrapped else None,
            self._check(table, now),
        )

    def bootstrap_now(self, now: float) -> None:
        """Try to fill an empty table without waiting any longer."""
        if not self.is_bootstrapped:
            self._retry_s = self._config.bootstrap_retry_first_s
            self._bootstrap_s = now

    def check_soon(self, now: float) -> None:
        """Schedule the first ping of a node; at most one is sent in an interval."""
        self._check_s = min(
            self._check_s, max(now, self._checked_s + self._config.check_interval_s)
        )

    def refresh_own_id(self, now: float) -> None:
        """Look up our own id soon, because it has changed."""
        self._neighbours_s = self._refresh_s = now

    def bootstrap_ended(self, node_count: int, now: float) -> None:
        """Record the end of the lookup of our own id and the size of the table after it."""
        self.is_bootstrapping = False
        self.is_bootstrapped = node_count > 0
        self._bootstrap_s = now + self._retry_s
        if self.is_bootstrapped:
            self._neighbours_s = now + self._config.refresh_s
            self._retry_s = self._config.bootstrap_retry_first_s
        else:
            self._retry_s = min(2 * self._retry_s, self._config.bootstrap_retry_max_s)

    def next_timer(self) -> float:
        """Return when a task may be due."""
        times = [self._check_s]
        if self.is_bootstrapped:
            times.append(self._refresh_s)
        elif not self.is_bootstrapping:
            times.append(self._bootstrap_s)
        return min(times)

    def _bootstrap(self, now: float, *, is_possible: bool) -> bool:
        if self.is_bootstrapped or self.is_bootstrapping or now < self._bootstrap_s:
            return False
        if not is_possible:
            self._bootstrap_s = now + self._config.bootstrap_retry_max_s
            return False
        self.is_bootstrapping = True
        return True

    def _refresh(self, table: RoutingTable, now: float, running: int) -> NodeId | None:
        if now < self._refresh_s:
            return None
        self._refresh_s = now + self._config.refresh_lookup_interval_s
        if running >= MAX_REFRESHES:
            return None
        if now >= self._neighbours_s:
            self._neighbours_s = now + self._config.refresh_s
            return table.own_id
        stale = table.needs_refresh(now)
        if not stale:
            self._refresh_s += (IDLE_FACTOR - 1) * self._config.refresh_lookup_interval_s
            return None
        table.refreshed(stale[-1], now)
        return stale[-1]

    def _check(self, table: RoutingTable, now: float) -> NodeInfo | None:
        if now < self._check_s:
            return None
        nodes = table.questionable(now)
        self._checked_s = now
        self._check_s = now + self._config.check_interval_s * (1 if nodes else IDLE_FACTOR)
        return nodes[0] if nodes else None
