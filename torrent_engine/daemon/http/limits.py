"""Limits of HTTP connections, and the count of open ones."""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from torrent_engine.base.config.units import KIB, MIB
from torrent_engine.net.sockets.descriptors import descriptor_limit
from torrent_engine.policy.limits.descriptors import clients_within


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one client, and all of them together, may cost. Times are in seconds."""

    max_connections: int = 100
    """Fewer where the process may open few files (row F9)."""
    max_connections_per_address: int = 64
    """Of one IPv4 address or IPv6 /64; connections of unix sockets count in all only."""
    max_head_bytes: int = 32 * KIB
    max_fields: int = 100
    max_target_bytes: int = 8 * KIB
    max_requests: int = 10_000
    """Requests of one connection."""
    max_pipelined_bytes: int = 64 * KIB
    """Bytes of later requests that are kept while one is answered."""
    max_drained_bytes: int = 64 * KIB
    """Bytes of a refused body that are read so that the client sees the answer."""
    head_s: float = 10.0
    """A request line with its fields comes within this, from its first byte or the connection."""
    idle_s: float = 75.0
    """Wait for the next request; proxies close theirs after 60 s."""
    body_s: float = 60.0
    """A body comes within this, by :attr:`min_body_bytes_per_s` or faster."""
    min_body_bytes_per_s: int = KIB
    body_check_s: float = 10.0
    """Interval of that check."""
    write_s: float = 60.0
    """A client that takes nothing for so long is dropped."""
    flush_s: float = 5.0
    """What is written before a close is taken within this."""
    drain_s: float = 2.0
    """Wait for the rest of a refused body."""
    stop_s: float = 2.0
    """Running requests end by themselves within this at a stop, then they are cancelled."""
    cancel_s: float = 0.4
    """Cancelled requests end within this; then the connection is dropped."""
    handshake_s: float = 10.0
    """TLS handshake."""
    backlog: int = 128


MAX_BODY_BYTES = 16 * MIB


@lru_cache(maxsize=4096)
def address_group(host: str) -> str:
    """Return what one client can vary least: its IPv4 address or its IPv6 /64."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


def is_one(host: str | None, other: str | None) -> bool:
    """Return whether two addresses may be those of one client; None, a unix socket, has none."""
    return host is not None and other is not None and address_group(host) == address_group(other)


class ConnectionCount:
    """How many connections are open, in all and by address; never more than the limits."""

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._by_group: Counter[str] = Counter()
        self.total = 0

    def admit(self, host: str | None) -> bool:
        """Count a connection; False, and not counted, if there are too many. None: unix socket."""
        if self._is_full:
            return False
        if host is not None:
            group = address_group(host)
            if self._by_group[group] >= self._limits.max_connections_per_address:
                return False
            self._by_group[group] += 1
        self.total += 1
        return True

    def is_only_full(self, host: str | None) -> bool:
        """Return whether it is the number of all that keeps a connection out, not its address."""
        return self._is_full and self.of(host) < self._limits.max_connections_per_address

    @property
    def _is_full(self) -> bool:
        return self.total >= clients_within(descriptor_limit(), self._limits.max_connections)

    def of(self, host: str | None) -> int:
        """Return how many connections an address has; 0 for unix sockets."""
        return 0 if host is None else self._by_group[address_group(host)]

    def leave(self, host: str | None) -> None:
        """Forget a connection that was admitted."""
        self.total -= 1
        if host is not None:
            group = address_group(host)
            self._by_group[group] -= 1
            if not self._by_group[group]:
                del self._by_group[group]
