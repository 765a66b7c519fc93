"""Which announces of the local network are taken in a minute.

Each datagram counts for its host, only a valid announce for all. Hosts that announce little have a
part of the total to themselves. Row C6. ``now`` is monotonic.

Hosts are counted by address: on one link all IPv6 neighbours share a /64, and would be one host.
Who makes up an address for each datagram looks like many hosts, and can use up the total of that
address family; each family therefore has a budget of its own.
"""

from collections import Counter
from typing import Final

from torrent_engine.base.config import LsdConfig

MINUTE_S: Final = 60.0
FEW_DATAGRAMS: Final = 10  # ours: of a host in a minute; BEP 14 allows one on each interface
BUSY_SHARE: Final = 0.5  # ours: of the total, for hosts with more
READ_FACTOR: Final = 10  # ours: datagrams that are decoded, invalid ones too, by the total


class AnnounceBudget:
    """The budget of one address family."""

    def __init__(self, config: LsdConfig) -> None:
        self._max_of_host = config.max_received_per_host_per_minute
        self._max = config.max_received_per_minute
        self._read: Counter[str] = Counter()
        """Host -> datagrams in this minute."""
        self._read_count = 0
        self._taken_count = 0
        self._minute_ends_s = float("-inf")

    def admits(self, host: str, now: float) -> bool:
        """Count a datagram of a host; return False if it is to be dropped unread."""
        if now >= self._minute_ends_s:
            self._read.clear()
            self._read_count = self._taken_count = 0
            self._minute_ends_s = now + MINUTE_S
        if self._read[host] >= self._max_of_host or self._read_count >= READ_FACTOR * self._max:
            return False
        self._read[host] += 1
        self._read_count += 1
        return True

    def take(self, host: str) -> bool:
        """Count a valid announce that was admitted; return False if it is over the total."""
        is_busy = self._read[host] > FEW_DATAGRAMS
        if self._taken_count >= (self._max * BUSY_SHARE if is_busy else self._max):
            return False
        self._taken_count += 1
        return True
